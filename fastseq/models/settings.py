"""Settings of estimators: class attributes with a type and a default, and what all share.

::

    @estimator
    class Tagger(Estimator):
        '''Tags.

        Parameters
        ----------
        hidden_size : int
        {training}
        '''

        hidden_size: int = 100
        epochs: int = 30  # another default than in Training

makes a constructor of keyword arguments that stores them and does nothing else, and describes the
settings of training in the place of {training}; ``run_described`` does as much for what every
``fit`` takes besides data, which goes on from there as a ``Run``.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, dataclass_transform

from fastseq import checks

_DESCRIBED = """optimizer : {"adam", "adamw", "rmsprop", "adagrad", "sgd"}
        How gradients become updates.
    lr : float
        The learning rate.
    schedule : {"cosine", "linear", "plateau"}, optional
        How the learning rate goes to 0 over all updates; "plateau" divides it by 10 when the
        validation has not become better for 10 epochs.
    weight_decay : float
        The factor of an L2 penalty's gradient; AdamW's is decoupled.
    max_norm : float, optional
        What the gradients' norm is clipped to.
    patience : int, optional
        Epochs without a better validation after which the training ends.
    average : float, optional
        Decay of a running average of the parameters, which then takes their place.
    warm_start : bool
        Whether ``fit`` goes on from all that it has learned before, or has from a file; dropout
        draws on as well.  The order of the data begins anew: with a ``random_state`` it is that of
        the ``fit`` before, until another one is set.
    dtype : {"float32", "float64"}
        Of parameters and all arithmetic.
    random_state : int, optional
        Makes results reproducible: initial parameters, order of the data, dropout."""

_RUN = """checkpoint : str or path, optional
            A file from which a run that was killed goes on, when ``fit`` is called again with
            the same settings and data; see :func:`fastseq.fit`.  ``patience`` may be another
            one, and so may ``epochs`` unless something depends on them: a schedule, scheduled
            sampling, a weight that rises.
        callbacks : sequence
            What is called after updates or epochs; see :func:`fastseq.fit`.
        keep_interrupted : bool
            Whether Ctrl-C ends the training and keeps what was learned until then.  Otherwise it
            raises KeyboardInterrupt after the update, the estimator is as it was, and a search
            or cross-validation ends as well: ``GridSearchCV(...).fit(X, y,
            keep_interrupted=False)``.
        progress : bool, optional
            Whether to show a bar.  By default there is one if standard error is a terminal and
            tqdm is installed.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If settings or data are wrong, or the checkpoint is of another run; the estimator is
            as it was.
        OSError
            If a checkpoint can't be written; the estimator is as it was, and calling ``fit``
            again goes on from the checkpoint before.
        FloatingPointError
            If the loss is not finite.  The estimator has the last good parameters, or with a
            validation those of the best epoch, and the history of what was done."""


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class Training:
    """The settings that all estimators share."""

    epochs: int = 20
    batch_size: int = 32
    optimizer: str = "adam"
    lr: float = 2e-3
    schedule: str | None = None
    weight_decay: float = 0.0
    max_norm: float | None = 1.0
    patience: int | None = None
    average: float | None = None
    warm_start: bool = False
    dtype: str = "float32"
    random_state: int | None = None


TRAINING = tuple(field.name for field in dataclasses.fields(Training))


@dataclass_transform(kw_only_default=True, eq_default=False)
def estimator(cls: type) -> type:
    """Give a class the constructor that its settings call for; those of training come last."""
    cls = dataclasses.dataclass(kw_only=True, eq=False, repr=False)(cls)
    cls.__init__ = checks.explained(cls.__name__)(cls.__init__)
    fields = sorted(dataclasses.fields(cls), key=lambda field: field.name in TRAINING)
    self = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    settings = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=f.type
        )
        for f in fields
    ]
    cls.__init__.__signature__ = inspect.Signature([self, *settings], return_annotation="None")
    _describe(cls, "{training}", _DESCRIBED)
    return cls


class Run(NamedTuple):
    """What every ``fit`` takes besides data and validation."""

    checkpoint: str | os.PathLike | None
    callbacks: Sequence
    keep_interrupted: bool
    progress: bool | None

    def also_calling(self, callback: object) -> Run:
        """The run with a callback of the estimator's own, before those of the user."""
        return self._replace(callbacks=[callback, *self.callbacks])


def run_described(fit: Callable) -> Callable:
    """Describe what every ``fit`` takes besides data in the place of {run} in its docstring."""
    _describe(fit, "{run}", _RUN)
    return fit


def _describe(documented, place, description):
    """Put a description into a docstring, both without indentation, which 3.13 takes away."""
    if documented.__doc__ is not None:  # python -OO takes it away
        doc = inspect.cleandoc(documented.__doc__)
        documented.__doc__ = doc.replace(place, inspect.cleandoc(description))
