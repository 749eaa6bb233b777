"""Drawing classes from a model's scores: words of a text, characters, pieces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.module import Settled

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Sampler(Settled):
    r"""Draws classes from softmax, sharpened or flattened, and cut to the likely ones.

    With logits (or logarithms of probabilities) :math:`x` a class has the probability

    .. math:: p_v \propto e^{x_v / \mathrm{temperature}}

    if it is among the ``top_k`` most probable ones and in the nucleus, which is the smallest set
    of most probable ones that have ``top_p`` of what is left (Holtzman et al., 2020).  Classes
    that are as probable as the last one that stays, stay too.

    Its memory is its own, and nothing is allocated that grows with the number of classes.  Use
    it from one thread at a time.

    Parameters
    ----------
    n_classes : int
        V
    batch_size : int
        B, how many rows are drawn for at a time, at most.
    temperature : float
        At least 0; with 0 the most probable class is taken (the first of several).
    top_k : int, optional
        From 1 on; None, or more than there are, cuts nothing.
    top_p : float, optional
        Above 0, up to 1; None cuts nothing.
    excluded : iterable of int
        Classes that are never drawn.
    seed : int, Generator or None
        For the draws: one random number each.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or all classes are excluded.

    References
    ----------
    Holtzman et al. (2020), "The curious case of neural text degeneration".

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> logits = np.log([[0.5, 0.3, 0.15, 0.05]])
    >>> sampler = fs.Sampler(4, top_k=3, top_p=0.8, seed=0)
    >>> sampler.probabilities(logits).round(3).tolist()  # 0.15 / 0.95 lies outside of the nucleus
    [[0.625, 0.375, 0.0, 0.0]]
    >>> [int(sampler.draw(logits)[0]) for _ in range(8)]
    [1, 0, 0, 0, 1, 1, 0, 1]
    """

    def __init__(
        self,
        n_classes: int,
        *,
        batch_size: int = 1,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        excluded: Iterable[int] = (),
        seed: checks.Seed = None,
    ) -> None:
        self._classes = checks.positive_int("n_classes", n_classes)
        rows = checks.positive_int("batch_size", batch_size)
        self._temperature = checks.not_negative("temperature", temperature)
        self._top_k = None if top_k is None else checks.positive_int("top_k", top_k)
        if self._top_k is not None and self._top_k >= self._classes:
            self._top_k = None
        self._top_p = None if top_p is None else _check_top_p(top_p)
        self._excluded = _check_excluded(excluded, self._classes)
        self._rng = checks.generator(seed)
        shape = (rows, self._classes)
        self._weights, self._sums = np.empty(shape), np.empty(shape)  # float64, whatever comes
        cuts = self._top_k is not None or self._top_p is not None
        self._sorted = np.empty(shape) if cuts else None
        self._unlikely = np.empty(shape, bool) if cuts else None
        self._uniform, self._drawn = np.empty(rows), np.empty(rows, np.int64)

    def draw(self, logits: ArrayLike, uniform: ArrayLike | None = None) -> np.ndarray:
        """A class for each row.

        Parameters
        ----------
        logits : array of floats, (R, V)
            R rows, up to B; they stay as they are.
        uniform : array of floats, (R,), optional
            The numbers from 0 to below 1 that decide; by default they are drawn.

        Returns
        -------
        classes : ndarray of int64, (R,)
            The next draw overwrites it.

        Raises
        ------
        ValueError
            If the shape is wrong.
        FloatingPointError
            If a row has NaN or infinity in it, so that no class is probable.
        """
        weights = self._weigh(logits)
        rows = len(weights)
        drawn = self._drawn[:rows]
        if uniform is not None:
            uniform = self._read_uniform(uniform, rows)
        if not self._temperature:
            return np.argmax(weights, axis=1, out=drawn)
        if uniform is None:
            uniform = self._uniform[:rows]
            self._rng.random(out=uniform)
        np.cumsum(weights, axis=1, out=self._sums[:rows])
        for row, sums in enumerate(self._sums[:rows]):
            drawn[row] = sums.searchsorted(uniform[row] * sums[-1], side="right")
        return drawn

    def _read_uniform(self, uniform, rows):
        uniform = checks.floats("uniform", uniform, self._uniform.dtype)
        checks.shape("uniform", uniform, (rows,), "(R,)")
        if not ((uniform >= 0) & (uniform < 1)).all():  # NaN too
            raise ValueError("uniform must hold numbers from 0 to below 1")
        return uniform

    def probabilities(self, logits: ArrayLike) -> np.ndarray:
        """What :meth:`draw` draws from: a new array (R, V) of float64."""
        weights = self._weigh(logits)
        if not self._temperature:
            return (np.arange(self._classes) == np.argmax(weights, axis=1)[:, None]).astype(float)
        return weights / weights.sum(axis=1, keepdims=True)

    def _weigh(self, logits):
        """Unnormalised probabilities, at most 1 each; with temperature 0 just what decides."""
        logits = np.asarray(logits)
        weights = self._weights[: len(logits) if logits.ndim else 0]
        checks.shape("logits", logits, weights.shape, "(up to batch_size, n_classes)")
        np.copyto(weights, logits)
        weights[:, self._excluded] = -np.inf
        top = weights.max(axis=1, keepdims=True)
        if not np.isfinite(top).all():
            raise FloatingPointError(
                f"the largest logits must be finite, got {top.ravel().tolist()}: the model's "
                "parameters or its inputs have NaN or infinity in them"
            )
        weights -= top
        if not self._temperature:
            return weights
        with np.errstate(over="ignore"):  # with a very small one, -inf is right
            weights /= self._temperature
        if self._top_k is not None:
            rising = self._sorted[: len(weights)]
            np.copyto(rising, weights)
            place = self._classes - self._top_k
            rising.partition(place, axis=1)
            self._cut(weights, rising[:, place, None], -np.inf)
        np.exp(weights, out=weights)
        if self._top_p is not None:
            self._cut_to_nucleus(weights)
        return weights

    def _cut_to_nucleus(self, weights):
        rising, sums = self._sorted[: len(weights)], self._sums[: len(weights)]
        least = self._uniform[: len(weights)]
        np.copyto(rising, weights)
        rising.sort(axis=1)
        falling = rising[:, ::-1]
        np.cumsum(falling, axis=1, out=sums)
        for row, row_sums in enumerate(sums):
            last = min(row_sums.searchsorted(self._top_p * row_sums[-1]), self._classes - 1)
            least[row] = falling[row, last]
        self._cut(weights, least[:, None], 0)

    def _cut(self, weights, least, value):
        """Put a value where the weights are less."""
        unlikely = self._unlikely[: len(weights)]
        np.less(weights, least, out=unlikely)
        np.copyto(weights, value, where=unlikely)


def _check_top_p(value):
    value = checks.number("top_p", value)
    if not 0 < value <= 1:
        raise ValueError(f"top_p must be a number above 0, up to 1, got {value}")
    return value


def _check_excluded(value, classes):
    array = checks.indices("excluded", list(value), classes, "classes")
    if len(np.unique(array)) == classes:
        raise ValueError(f"excluded must leave at least one of {classes} classes, got all of them")
    return array
