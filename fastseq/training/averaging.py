"""Averages of a model's parameters over its updates."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.module import Settled, fixed
from fastseq.parameters import Parameters, check_parameters
from fastseq.training.optim import check_arrays, like, no_shallow_copy


class AveragedParameters(Settled):
    """A running average of the parameters' values, for use in place of the last ones.

    Without ``decay`` it is the mean of the values at all calls of ``update`` (Polyak & Juditsky,
    1992; over epochs: Izmailov et al., 2018).  With it, it is the exponential moving average
    average = decay * average + (1 - decay) * value.  The first update copies the values.

    The average is kept in float64, since small steps towards it would be lost in float32.

    Parameters
    ----------
    parameters : Parameters
        Of a layer or model.
    decay : float, optional
        From 0 to below 1.

    Attributes
    ----------
    updates : int
        Updates made so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> parameters = fs.RNN(1, 1, seed=0).parameters
    >>> averaged = fs.AveragedParameters(parameters)
    >>> for value in (1, 2, 6):  # in place of a training step
    ...     parameters.flat[:] = value
    ...     averaged.update()
    >>> with averaged.applied():
    ...     parameters.flat.tolist()
    [3.0, 3.0, 3.0, 3.0]
    >>> parameters.flat.tolist()
    [6.0, 6.0, 6.0, 6.0]
    """

    parameters, decay, updates = map(fixed, ("parameters", "decay", "updates"))

    def __init__(self, parameters: Parameters, decay: float | None = None) -> None:
        self._parameters = check_parameters(parameters)
        self._decay = None if decay is None else checks.fraction("decay", decay)
        self._average = like(parameters, np.float64)
        self._updates = 0
        self._is_applied = False

    def update(self) -> None:
        """Take the present values into the average; call it after the optimiser's step.

        Raises
        ------
        RuntimeError
            Within ``applied()``, where the present values are the average.
        """
        if self._is_applied:
            raise RuntimeError("update() can't be called within applied()")
        average, values = self._average.flat, self._parameters.flat
        if self._updates:
            weight = 1 / (self._updates + 1) if self._decay is None else 1 - self._decay
            kernels().average(average, values, weight)
        else:
            np.copyto(average, values)
        self._updates += 1

    @contextlib.contextmanager
    def applied(self) -> Iterator[Parameters]:
        """A context in which the parameters hold the average; then the values come back.

        Evaluate or save the model inside; what is changed inside is lost.

        Raises
        ------
        RuntimeError
            Before the first update, or within another one of these.
        """
        if not self._updates:
            raise RuntimeError("there is no average yet: call update() first")
        if self._is_applied:
            raise RuntimeError("the average is applied already")
        flat = self._parameters.flat
        values = flat.copy()
        self._is_applied = True
        try:
            np.copyto(flat, self._average.flat, casting="same_kind")
            yield self._parameters
        finally:
            np.copyto(flat, values)
            self._is_applied = False

    def __copy__(self):
        raise no_shallow_copy(self)

    def __getstate__(self):
        if self._is_applied:
            raise RuntimeError(
                "the averages can't be copied or pickled within applied(): the values that come "
                "back there would not come back in the copy; copy them outside of it"
            )
        return self.__dict__

    def state_dict(self) -> dict[str, Any]:
        """``updates``, and copies of the averages as ``average.parameter``, in float64."""
        return {"updates": self._updates} | {
            name: view.copy() for name, view in self._views().items()
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state, or none of it if anything in it is wrong.

        Parameters
        ----------
        state_dict : mapping
            Exactly the names of ``state_dict()``; numbers may be arrays without axes.

        Raises
        ------
        TypeError
            If it is no mapping, or a value has the wrong type.
        ValueError
            If names are missing or unexpected, or a shape or number is wrong.
        """
        views = self._views()
        checks.state_dict(state_dict, ["updates", *views])
        updates = checks.not_negative_int("updates", state_dict["updates"])
        arrays = check_arrays(state_dict, views)
        self._updates = updates
        for view, array in zip(views.values(), arrays, strict=True):
            np.copyto(view, array)

    def _views(self):
        return {f"average.{name}": view for name, view in self._average.items()}
