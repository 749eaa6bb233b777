"""The history of a training run: what was measured, and pictures of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks
from fastseq.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History:
    """What :func:`fit` returns: losses, norms and more, of each update and each epoch.

    Attributes
    ----------
    loss : list of float
        The loss of each update's batch.
    norm : list of float
        The norm of each update's gradients, before clipping.
    lr : list of float
        The learning rate of each update.
    epoch_loss : list of float
        The mean of an epoch's losses, each batch counted by its size.
    validation : list of float
        What validation gave after each epoch; empty if there is none.
    epoch_end : list of int
        How many updates there were by the end of each epoch.
    seconds : list of float
        The time that each epoch took, validation included.
    reports : dict of str to list of float
        What else the model had to say of each epoch, by name; see :func:`fit`.
    best_epoch : int or None
        The number, from 1, of the epoch with the best validation.
    stopped : str or None
        Why the run has ended: ``"epochs"`` (all done), ``"patience"``, ``"callback"`` or
        ``"interrupted"``; None while it goes on.

    Examples
    --------
    >>> import fastseq as fs
    >>> history = fs.History()
    >>> history.loss += [3.0, 2.0, 1.5, 1.25]
    >>> history.epoch_end += [2, 4]
    >>> history.epoch_loss += [2.5, 1.375]
    >>> history
    History(epochs=2, updates=4, loss=1.375)
    """

    _LISTS = ("loss", "norm", "lr", "epoch_loss", "validation", "epoch_end", "seconds")

    def __init__(self) -> None:
        self.loss: list[float] = []
        self.norm: list[float] = []
        self.lr: list[float] = []
        self.epoch_loss: list[float] = []
        self.validation: list[float] = []
        self.epoch_end: list[int] = []
        self.seconds: list[float] = []
        self.reports: dict[str, list[float]] = {}
        self.best_epoch: int | None = None
        self.stopped: str | None = None

    def __repr__(self):
        parts = {"epochs": len(self.epoch_end), "updates": len(self.loss)}
        parts |= {"loss": f"{self.epoch_loss[-1]:.4g}"} if self.epoch_loss else {}
        parts |= {"validation": f"{self.validation[-1]:.4g}"} if self.validation else {}
        reports = (f"{name}: {values[-1]:.4g}" for name, values in self.reports.items())
        parts |= {"reports": f"{{{', '.join(reports)}}}"} if self.reports else {}
        parts |= {"best_epoch": self.best_epoch} if self.best_epoch else {}
        parts |= {"stopped": repr(self.stopped)} if self.stopped else {}
        return f"History({', '.join(f'{name}={value}' for name, value in parts.items())})"

    @classmethod
    def load(cls, path: str | os.PathLike) -> History:
        """The history of a run so far, from its checkpoint.

        Raises
        ------
        ValueError
            If it is no checkpoint, or truncated or corrupted.
        OSError
            If it can't be read.
        ImportError
            If safetensors is missing.
        """
        history = cls()
        history.load_state_dict(load_checkpoint(path)["history"])
        return history

    def add_report(self, report: Mapping[str, float]) -> None:
        """Take in what a model says of an epoch: the same names each time.

        Raises
        ------
        TypeError, ValueError
            If it is something else, or has other names than before.
        """
        if not isinstance(report, Mapping):
            raise TypeError(
                f"report() must give a dict of numbers by name, got {type(report).__name__}"
            )
        if self.epoch_end and list(report) != list(self.reports):
            raise ValueError(
                f"report() must give the same names after each epoch, {list(self.reports)}, got "
                f"{list(report)}"
            )
        values = {name: checks.number(f"report()[{name!r}]", report[name]) for name in report}
        for name, value in values.items():
            self.reports.setdefault(name, []).append(value)

    def state_dict(self) -> dict[str, Any]:
        """All of it, as arrays, numbers and strings by name."""
        arrays = {name: np.array(getattr(self, name)) for name in self._LISTS}
        reports = {name: list(values) for name, values in self.reports.items()}
        return arrays | {
            "reports": reports,
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a :meth:`state_dict`."""
        checks.state_dict(state_dict, list(self.state_dict()))
        for name in self._LISTS:
            getattr(self, name)[:] = np.asarray(state_dict[name]).tolist()
        self.reports = {name: list(values) for name, values in state_dict["reports"].items()}
        self.best_epoch, self.stopped = state_dict["best_epoch"], state_dict["stopped"]

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Draw losses, validation and the gradients' norm over the updates.

        Parameters
        ----------
        path : str or path, optional
            Where to save the picture; the ending says in which format.

        Returns
        -------
        figure : matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is missing.
        OSError
            If the picture can't be written.
        """
        if path is not None:
            checks.path("path", path)
        try:
            from matplotlib.figure import Figure  # pyplot would look for a display
        except ImportError as error:
            raise ImportError("plots need matplotlib: pip install 'fastseq[plot]'") from error
        figure = Figure(figsize=(8, 6), layout="tight")
        above, below = figure.subplots(2, sharex=True, height_ratios=(2, 1))
        self._draw_losses(above)
        below.plot(range(1, len(self.norm) + 1), self.norm, linewidth=0.5)
        below.set(xlabel="update", ylabel="gradients' norm", yscale="log")
        if path is not None:
            figure.savefig(path)
        return figure

    def _draw_losses(self, axes):
        axes.plot(range(1, len(self.loss) + 1), self.loss, linewidth=0.5, alpha=0.5, label="loss")
        axes.plot(self.epoch_end, self.epoch_loss, marker=".", label="mean of an epoch")
        if self.validation:
            axes.plot(self.epoch_end, self.validation, marker=".", label="validation")
        if self.best_epoch:
            i = self.best_epoch - 1
            axes.plot(self.epoch_end[i], self.validation[i], "o", fillstyle="none", label="best")
        axes.set(ylabel="loss")
        axes.legend()
