"""Coverage attention: scores know what earlier queries have looked at (See et al., 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.attention.global_attention import (
    HiddenAttention,
    masked_softmax,
    project,
    weigh,
    weights_gradient,
)
from fastseq.losses.basic import Loss, LossBackprop
from fastseq.quiet import quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from fastseq.attention.memory import AttentionMemory


class CoverageAttention(HiddenAttention):
    r"""Additive attention that sees the sum of earlier weights (See et al., 2017).

    .. math::

        \mathrm{score}_{t,s} = v^T \tanh(W_q \, q_t + W_m \, m_s + w_c \, c_{t,s} + b), \qquad
        c_t = \sum_{t' < t} \mathrm{weights}_{t'}

    so that nothing is said twice, or left out.  :class:`CoverageLoss` punishes repetition.

    Parameters
    ----------
    query_size, memory_size : int
        Q and E.
    attention_size : int, optional
        A, of the hidden layer; query_size unless given.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters.

    Attributes
    ----------
    parameters : Parameters
        ``weight_query`` (A, Q), ``weight_key`` (A, E), ``weight_coverage`` (A,), ``bias_key`` (A,),
        ``weight_score`` (A,).

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> attention, loss = fs.CoverageAttention(4, 6, seed=0), fs.CoverageLoss()
    >>> query, memory = np.ones((3, 1, 4)), np.ones((5, 1, 6))
    >>> context, weights, backprop = attention.forward(query, memory)
    >>> value, from_loss = loss.forward(weights)
    >>> dquery, dmemory = backprop(np.zeros_like(context), from_loss())
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int | None = None,
        *,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._set_sizes(query_size, memory_size, dtype)
        size = self._set_attention_size(attention_size)
        shapes = self._hidden_shapes(weight_coverage=(size,))
        self._make_parameters(shapes, checks.generator(seed))

    def __repr__(self):
        return self._repr(self._attention_size)

    def __call__(
        self,
        query: ArrayLike,
        memory: ArrayLike | AttentionMemory,
        memory_lengths: ArrayLike | None = None,
        *,
        coverage: ArrayLike | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What each query finds in its row's memory.

        Parameters
        ----------
        query, memory, memory_lengths
            As for other kinds of attention.
        coverage : array of floats, (B, S), optional
            The sum of weights before the first query, 0 unless given.  A decoder that goes step
            by step adds ``weights.sum(axis=0)`` to it.  ``forward`` takes whole sequences.

        Returns
        -------
        context : ndarray, (T, B, E)
        weights : ndarray, (T, B, S)

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape.
        """
        query, memory, lengths = self._read(query, memory, memory_lengths)
        coverage = self._read_coverage(coverage, memory)
        return self._attend(query, memory, lengths, coverage)[:2]

    def _read_coverage(self, coverage, memory):
        shape = memory.shape[1::-1]
        if coverage is None:
            return np.zeros(shape, self._dtype)
        coverage = checks.floats("coverage", coverage, self._dtype)
        checks.shape("coverage", coverage, shape, "(B, S)")
        return coverage

    @quiet
    def _attend(self, query, memory, lengths, coverage=None):
        parameters, (m, keys, lengths) = self._parameters, self._padded(memory, lengths)
        q = project(query, parameters["weight_query"])
        mask = np.arange(m.shape[1]) < lengths[:, None]
        covered = np.empty((*query.shape[:2], m.shape[1]), self._dtype)
        weights = np.empty_like(covered)
        so_far = self._read_coverage(None, memory) if coverage is None else coverage
        for t in range(len(query)):
            covered[t] = so_far
            scores = self._hidden(q[t], keys, so_far) @ parameters["weight_score"]
            weights[t] = masked_softmax(scores, mask)
            so_far = so_far + weights[t]
        return weigh(weights, m), weights, (query, m, q, keys, covered, weights)

    def _hidden(self, q, keys, coverage):
        """One step's hidden layer (B, S, A)."""
        z = keys + q[:, None]
        z += coverage[:, :, None] * self._parameters["weight_coverage"]
        return np.tanh(z, out=z)

    @quiet
    def _back(self, tape, d_context, d_weights, input_grad):
        query, m, q, keys, covered, weights = tape
        parameters = self._parameters
        dq, d_keys = np.empty_like(q), np.zeros_like(keys)
        later = np.zeros(covered.shape[1:], covered.dtype)
        dv, d_coverage_weight = (np.zeros(keys.shape[2], keys.dtype) for _ in range(2))
        d = weights_gradient(d_context, d_weights, m)
        for t in reversed(range(len(query))):
            d_now = d[t] + later  # all later coverages contain these weights
            d_scores = weights[t] * (d_now - (weights[t] * d_now).sum(axis=1, keepdims=True))
            hidden = self._hidden(q[t], keys, covered[t])
            dz = d_scores[:, :, None] * parameters["weight_score"] * (1 - hidden * hidden)
            dq[t] = dz.sum(axis=1)
            d_keys += dz
            dv += np.tensordot(d_scores, hidden, axes=2)
            d_coverage_weight += np.tensordot(covered[t], dz, axes=2)
            later += dz @ parameters["weight_coverage"]
        own = {"weight_score": dv, "weight_coverage": d_coverage_weight}
        return self._finish_back((query, m, weights), d_context, dq, d_keys, input_grad, **own)


class CoverageLoss(Loss):
    r"""How much queries look at what earlier ones have looked at (See et al., 2017).

    .. math:: \sum_s \min(\mathrm{weights}_{t,s}, \; c_{t,s})

    of each query, with the sum c of earlier weights.  Add it to the loss proper, and its gradient
    to the weights'.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        Over the queries that count.  The mean of none is 0.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> weights = np.array([[[0.5, 0.5]], [[0.75, 0.25]]])  # 2 queries, 1 row, 2 positions
    >>> value, backprop = fs.CoverageLoss(reduction="sum").forward(weights)
    >>> value, backprop().tolist()
    (0.75, [[[1.0, 0.0]], [[0.0, 1.0]]])
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def __repr__(self):
        return self._repr()

    def __call__(self, weights: ArrayLike, mask: ArrayLike | None = None) -> float:
        """The loss.

        Parameters
        ----------
        weights : array of floats, (T, B, S)
            Of an attention.
        mask : array of booleans, (T, B), optional
            False for queries that don't count: neither in the loss, nor as what later ones
            compare with.

        Returns
        -------
        loss : float

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape.
        """
        return self._measure(*self._read(weights, mask))[0]

    def forward(
        self, weights: ArrayLike, mask: ArrayLike | None = None
    ) -> tuple[float, LossBackprop]:
        """As calling the loss, with a function that gives the gradient.

        Returns
        -------
        loss : float
        backprop : LossBackprop
            ``d_weights = backprop(scale=1.0)``.
        """
        weights, mask = self._read(weights, mask)
        loss, factor, covered = self._measure(weights, mask)
        return loss, LossBackprop(self, (weights, covered, mask, factor), None)

    def _read(self, weights, mask):
        weights = checks.floats_of_any_precision("weights", weights)
        if weights.ndim != 3:
            raise ValueError(f"weights must have shape (T, B, S), got {weights.shape}")
        if mask is None:
            return weights, np.ones((*weights.shape[:2], 1), bool)
        mask = checks.mask(mask, weights.shape[:2], "(T, B)")[..., None]
        return np.where(mask, weights, 0), mask

    @quiet
    def _measure(self, weights, mask):
        covered = np.cumsum(weights, axis=0) - weights
        total = np.minimum(weights, covered).sum(dtype=np.float64)
        return *self._reduce(total, np.count_nonzero(mask)), covered

    def _back(self, weights, covered, mask, factor, scale):
        is_less = weights < covered
        of_covered = np.where(is_less, 0, mask).astype(weights.dtype)
        after = of_covered[::-1].cumsum(axis=0)[::-1] - of_covered  # each is in all later sums
        return np.where(mask, (is_less + after) * (factor * scale), 0).astype(weights.dtype)
