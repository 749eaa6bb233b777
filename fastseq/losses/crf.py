"""Conditional random fields: the probability of a whole sequence of tags.

T steps, B rows, N tokens (packed, see ``packing.py``), K tags.  Scores come in float32 or
float64; the sums over all sequences of tags are taken in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.losses.basic import LossBackprop
from fastseq.module import Module, Settled, fixed
from fastseq.packing import Buffers, last_tokens, pack, rows_of_tokens, tokens_before
from fastseq.parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

WIDEST = 600.0  # e ** 600 and its inverse are still numbers


class CRF(Settled, Module):
    r"""A linear-chain conditional random field on top of scores (Lafferty et al., 2001).

    Sequences of tags y have the score

    .. math:: s(y) = a_{y_1} + \sum_t e_{t, y_t} + \sum_{t > 1} A_{y_{t-1}, y_t} + b_{y_T}

    with what a network says of each token, the emissions e, and how tags follow each other.
    The loss is :math:`\log \sum_{y'} e^{s(y')} - s(y)`, the negative log-probability of the
    right tags.

    Parameters
    ----------
    num_tags : int
        K
    reduction : {"mean", "sum"}
        Of the sequences' losses: their sum, or that divided by the number of tokens.
    dtype : {float32, float64}
        Of parameters and emissions.
    seed : int, Generator or None
        For the initial parameters, U(-0.1, 0.1).

    Attributes
    ----------
    parameters : Parameters
        ``start_transitions`` (K,), a; ``end_transitions`` (K,), b; ``transitions`` (K, K), A,
        from the row's tag to the column's.

    Notes
    -----
    Sums over sequences of tags are products with :math:`e^A`, which are exact to rounding as long
    as transitions differ by at most 600 from each other; where they differ by more the methods
    raise ValueError.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> crf = fs.CRF(2, dtype=np.float64, seed=0)
    >>> crf.parameters["transitions"] = np.array([[0.0, 2.0], [2.0, 0.0]])  # tags alternate
    >>> emissions = np.array([[3.0, 0.0], [0.5, 0.0], [1.0, 0.0]])  # each step says 0
    >>> crf.decode(emissions)
    array([0, 1, 0])
    >>> loss, backprop = crf.forward(emissions, [0, 1, 0])
    >>> d_emissions = backprop()
    >>> bool(np.allclose(d_emissions, (crf.marginals(emissions) - np.eye(2)[[0, 1, 0]]) / 3))
    True
    """

    num_tags = fixed("num_tags")
    reduction = fixed("reduction")
    dtype = fixed("dtype")

    def __init__(
        self,
        num_tags: int,
        *,
        reduction: str = "mean",
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._num_tags = tags = checks.positive_int("num_tags", num_tags)
        self._reduction = checks.choice("reduction", reduction, ("mean", "sum"))
        self._dtype = checks.float_dtype(dtype)
        rng = checks.generator(seed)
        shapes = {
            "start_transitions": (tags,),
            "end_transitions": (tags,),
            "transitions": (tags, tags),
        }
        self._parameters = Parameters(shapes, self._dtype)
        for view in self._parameters.values():
            view[...] = rng.uniform(-0.1, 0.1, view.shape)

    def __repr__(self):
        reduction = "" if self._reduction == "mean" else f"reduction={self._reduction!r}, "
        return f"CRF({self._num_tags}, {reduction}dtype={self._dtype})"

    def __call__(
        self, emissions: ArrayLike, tags: ArrayLike, lengths: ArrayLike | None = None
    ) -> float:
        """The loss.

        Parameters
        ----------
        emissions : array of floats, (T, B, K), or (T, K) without a batch
        tags : array of integers, (T, B) or (T,)
            From 0 to K - 1; past a sequence's length they may be anything.
        lengths : array of integers, (B,), optional
            The real length of each sequence, from 0 to T.

        Returns
        -------
        loss : float
            0 if there are no tokens.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype, shape or value.
        """
        chain, tags = self._read(emissions, tags, lengths)
        return self._measure(chain, tags)[0]

    def forward(
        self, emissions: ArrayLike, tags: ArrayLike, lengths: ArrayLike | None = None
    ) -> tuple[float, LossBackprop]:
        """As calling it, with a function that runs the backward pass.

        Returns
        -------
        loss : float
        backprop : LossBackprop
            ``d_emissions = backprop(scale=1.0)`` adds to ``parameters.grads``.
        """
        chain, tags = self._read(emissions, tags, lengths)
        loss, factor = self._measure(chain, tags)
        return loss, LossBackprop(self, (chain, tags, factor), None)

    def decode(self, emissions: ArrayLike, lengths: ArrayLike | None = None) -> np.ndarray:
        """The most probable sequence of tags of each row (Viterbi, 1967).

        Parameters
        ----------
        emissions, lengths
            As in a call.

        Returns
        -------
        tags : ndarray of int64, (T, B) or (T,)
            -1 past a sequence's length.

        Raises
        ------
        FloatingPointError
            If there is NaN among the scores: then no sequence is the most probable one.
        """
        return self._read_chain(emissions, lengths).best_tags()

    def marginals(self, emissions: ArrayLike, lengths: ArrayLike | None = None) -> np.ndarray:
        """The probability of each tag at each step, whatever the others are.

        Parameters
        ----------
        emissions, lengths
            As in a call.

        Returns
        -------
        probabilities : ndarray, (T, B, K) or (T, K)
            0 past a sequence's length.
        """
        chain = self._read_chain(emissions, lengths)
        chain.go_ahead()
        chain.go_back()
        return chain.padded(chain.marginals())

    def _read(self, emissions, tags, lengths):
        chain = self._read_chain(emissions, lengths)
        array = checks.integers("tags", tags)
        checks.shape("tags", array, chain.lead, "of the emissions without their last axis")
        tags = chain.packing.gather_indices(array).astype(np.int64)
        if tags.size and (tags.min() < 0 or tags.max() >= self._num_tags):
            wrong = tags[(tags < 0) | (tags >= self._num_tags)][0]
            raise ValueError(
                f"tags must lie between 0 and {self._num_tags - 1}, since there are "
                f"{self._num_tags} of them, got {wrong}"
            )
        return chain, tags

    def _read_chain(self, emissions, lengths):
        emissions = checks.floats("emissions", emissions, self._dtype)
        tags = self._num_tags
        if emissions.ndim not in (2, 3) or emissions.shape[-1] != tags:
            raise ValueError(
                f"emissions must have shape (T, B, {tags}), or (T, {tags}) without a batch, got "
                f"{emissions.shape}; the last axis is num_tags"
            )
        if lengths is not None:
            steps, rows = (*emissions.shape[:-1], 1)[:2]
            lengths = checks.lengths(lengths, rows, steps)
        return _Chain(emissions, lengths, self._parameters)

    def _measure(self, chain, tags):
        total = chain.go_ahead() - chain.score(tags)
        factor = 1.0 if self._reduction == "sum" else 1 / max(len(tags), 1)
        return float(total) * factor, factor

    def _back(self, chain, tags, factor, scale):
        factor *= scale
        chain.go_back()
        gradients = chain.gradients(tags)
        with self._parameters.grads_lock:
            for name, gradient in gradients.items():
                view = self._parameters.grads[name]
                view += (factor * gradient).astype(self._dtype)
        d_emissions = chain.marginals()
        d_emissions[np.arange(len(tags)), tags] -= 1
        d_emissions *= factor
        return chain.padded(d_emissions)


class _Chain:
    """Packed tokens with their scores, and the sums over all sequences of tags.

    Attributes
    ----------
    ahead : ndarray, (N, K)
        The log of the sum over all beginnings that end with this tag at this token.
    back : ndarray, (N, K)
        The log of the sum over all that can follow this tag at this token.
    totals : ndarray, (rows with tokens,)
        The log of the sum over all sequences of tags.
    """

    def __init__(self, emissions, lengths, parameters):
        self.lead, self._dtype = emissions.shape[:-1], emissions.dtype
        self.packing = pack(self.lead, lengths, False)
        buffers = Buffers(self._dtype)
        self._emissions = self.packing.gather(emissions, buffers, "emissions").astype(np.float64)
        self._start, self._end, self._transitions = (
            parameters[name].astype(np.float64)
            for name in ("start_transitions", "end_transitions", "transitions")
        )
        # products work with factors of at most 1, so that none overflows
        self._shift = self._check_range()
        self._factors = np.exp(self._transitions - self._shift)
        self._offsets = self.packing.offsets
        self._rows = rows = np.diff(self._offsets)  # of each step
        self._later = np.arange(rows[:1].sum(), len(self._emissions))  # behind the first step
        self._before = tokens_before(self._offsets)
        self._last = last_tokens(self._offsets)

    def _check_range(self):
        """The largest of the transitions, which must not differ too much."""
        largest, least = self._transitions.max(), self._transitions.min()
        if largest - least > WIDEST:
            raise ValueError(
                f"transitions must differ by at most {WIDEST:g} from each other, got numbers from "
                f"{least:g} to {largest:g}; for what is forbidden -100 is little enough"
            )
        return largest

    def _steps(self):
        """The first token of each step, and the one behind its last."""
        return list(zip(self._offsets[:-1], self._offsets[1:], strict=True))

    def padded(self, tokens):
        """An array (N, K) as (T, B, K)."""
        return self.packing.scatter(tokens.astype(self._dtype))

    # --- sums over all sequences ----------------------------------------------------------------

    def go_ahead(self):
        """Fill ``ahead`` and ``totals``; the sum of these."""
        self.ahead = np.empty_like(self._emissions)
        previous = None
        for begin, end in self._steps():
            if previous is None:
                ahead = np.broadcast_to(self._start, (end - begin, len(self._start)))
            else:
                ahead = self._shift + _log_of_product(previous[: end - begin], self._factors)
            previous = np.add(ahead, self._emissions[begin:end], out=self.ahead[begin:end])
        self.totals = _log_of_sum(self.ahead[self._last] + self._end)
        return self.totals.sum()

    def go_back(self):
        """Fill ``back``."""
        self.back, steps = np.empty_like(self._emissions), self._steps()
        self.back[self._last] = self._end
        for (begin, _), (later, end) in zip(steps[-2::-1], steps[:0:-1], strict=True):
            follow = _log_of_product(
                self._emissions[later:end] + self.back[later:end], self._factors.T
            )
            self.back[begin : begin + end - later] = self._shift + follow

    def _row_totals(self):
        """The total of each token's row, (N, 1)."""
        return self.totals[rows_of_tokens(self._offsets), None]

    def marginals(self):
        """The probability of each tag of each token, (N, K)."""
        return np.exp(self.ahead + self.back - self._row_totals())

    def _expected_transitions(self):
        """How often each tag is expected to follow each other one, (K, K)."""
        before = self.ahead[self._before]
        after = (self._emissions + self.back - self._row_totals())[self._later]
        highest, after_highest = before.max(1, keepdims=True), after.max(1, keepdims=True)
        before = np.exp(before - highest)
        after = np.exp(after - after_highest) * np.exp(highest + after_highest + self._shift)
        return before.T @ after * self._factors

    # --- one sequence ---------------------------------------------------------------------------

    def score(self, tags):
        """The sum of the scores of these tags (N,)."""
        steps = self._emissions[np.arange(len(tags)), tags].sum()
        steps += self._transitions[tags[self._before], tags[self._later]].sum()
        first, last = tags[: len(self._last)], tags[self._last]
        return steps + self._start[first].sum() + self._end[last].sum()

    def gradients(self, tags):
        """Those of the parameters, for the sum of the rows' losses: expected less real counts."""
        marginals, first, last = self.marginals(), np.arange(len(self._last)), self._last
        start, end = marginals[first].sum(axis=0), marginals[last].sum(axis=0)
        transitions = self._expected_transitions()
        np.subtract.at(start, tags[first], 1)
        np.subtract.at(end, tags[last], 1)
        np.subtract.at(transitions, (tags[self._before], tags[self._later]), 1)
        return {"start_transitions": start, "end_transitions": end, "transitions": transitions}

    def best_tags(self):
        """The tags with the highest score, (T, B) or (T,); -1 past a length."""
        highest = np.empty_like(self._emissions)
        choices = np.empty(self._emissions.shape, np.int64)  # the best tag before
        previous = None
        for begin, end in self._steps():
            if previous is None:
                ahead = self._start
            else:
                ways = previous[: end - begin, :, None] + self._transitions
                choices[begin:end] = ways.argmax(axis=1)
                ahead = ways.max(axis=1)
            previous = np.add(ahead, self._emissions[begin:end], out=highest[begin:end])
        tags, last = np.empty(len(highest), np.int64), highest[self._last] + self._end
        if np.isnan(last).any():  # which NaN of any step has become: it has no largest one
            raise FloatingPointError(
                "emissions and transitions must be numbers, got NaN: look for it in what gives the "
                "emissions, and in its inputs"
            )
        tags[self._last] = last.argmax(axis=1)
        # backwards by steps: a token's tag says which was best before it
        for later, end in reversed(self._steps()[1:]):
            places = np.arange(later, end)
            tags[self._before[places - self._rows[0]]] = choices[places, tags[later:end]]
        return self._padded_tags(tags)

    def _padded_tags(self, tags):
        padded = self.packing.scatter(tags[:, None].astype(np.float64) + 1)
        return padded[..., 0].astype(np.int64) - 1


def _log_of_product(logs, factors):
    """log(exp(logs) @ factors), (rows, K)."""
    highest = logs.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(logs - highest) @ factors) + highest


def _log_of_sum(logs):
    """log(sum(exp(logs))) of each row, (rows,)."""
    highest = logs.max(axis=1)
    return np.log(np.exp(logs - highest[:, None]).sum(axis=1)) + highest
