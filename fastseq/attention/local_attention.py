"""Local attention: of each query only positions near one that goes along (Luong et al., 2015)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.attention.global_attention import (
    PaddedAttention,
    add_projection_gradients,
    masked_softmax,
    project,
    rows_first,
)
from fastseq.elementwise import sigmoid
from fastseq.module import fixed
from fastseq.quiet import quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from fastseq.attention.memory import AttentionMemory


class LocalAttention(PaddedAttention):
    r"""Attention within a window around a position (Luong et al., 2015, local-m and local-p).

    Of query t the window is around :math:`p`, a position counted from 0: itself t, for sequences
    that go along with each other (``position="monotonic"``), or predicted from the query and the
    length S of the memory (``position="predictive"``),

    .. math:: p = S \, \sigma(v^T \tanh(W_p \, q)).

    Scores are :math:`q^T W \, m` or, without W, :math:`q^T m`; their softmax goes over the
    positions from p - window to p + window.  Where p is predicted, weights are then multiplied by
    :math:`\exp(-(s - p)^2 / (2 \sigma^2))` with :math:`\sigma` = window / 2, so that p can be
    learned; they no longer add up to 1.

    Parameters
    ----------
    query_size, memory_size : int
        Q and E.
    window : int
        Positions on either side.
    position : {"predictive", "monotonic"}
    score : {"general", "dot"}
        "dot" needs Q = E.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters.

    Attributes
    ----------
    parameters : Parameters
        ``weight_key`` (Q, E) with "general"; ``weight_position`` (Q, Q) and ``weight_center``
        (Q,) with "predictive".

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> attention = fs.LocalAttention(4, 6, 1, position="monotonic", seed=0)
    >>> context, weights = attention(np.ones((3, 2, 4)), np.ones((5, 2, 6)))
    >>> weights[2, 0].round(2).tolist()
    [0.0, 0.33000001311302185, 0.33000001311302185, 0.33000001311302185, 0.0]

    A decoder that goes step by step:

    >>> for t in range(3):
    ...     context, weights = attention(np.ones((1, 2, 4)), np.ones((5, 2, 6)), start=t)
    >>> weights[0, 0].round(2).tolist()
    [0.0, 0.33000001311302185, 0.33000001311302185, 0.33000001311302185, 0.0]
    """

    window = fixed("window")
    position = fixed("position")
    score = fixed("score")

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        window: int,
        *,
        position: str = "predictive",
        score: str = "general",
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._set_sizes(query_size, memory_size, dtype)
        self._window = checks.positive_int("window", window)
        self._position = checks.choice("position", position, ("predictive", "monotonic"))
        self._score = checks.choice("score", score, ("general", "dot"))
        size, own = self._query_size, {}
        if self._score == "general":
            own["weight_key"] = (size, self._memory_size)
        elif size != self._memory_size:
            raise ValueError(
                f"memory_size must be query_size {size} where scores are dot products, got "
                f"{self._memory_size}; score='general' has a weight in between"
            )
        if self._position == "predictive":
            own |= {"weight_position": (size, size), "weight_center": (size,)}
        self._make_parameters(own, checks.generator(seed))

    def __repr__(self):
        options = f"position={self._position!r}", f"score={self._score!r}"
        return self._repr(self._window, *options)

    def __call__(
        self,
        query: ArrayLike,
        memory: ArrayLike | AttentionMemory,
        memory_lengths: ArrayLike | None = None,
        *,
        start: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What each query finds in its row's memory.

        Parameters
        ----------
        query, memory, memory_lengths
            As for other kinds of attention.
        start : int, optional
            The position of the first query, with ``position="monotonic"``; 0 unless given.  A
            decoder that goes step by step counts: t at step t.  ``forward`` takes whole
            sequences.

        Returns
        -------
        context : ndarray, (T, B, E)
        weights : ndarray, (T, B, S)

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape, or ``start`` comes where positions
            are predicted.
        """
        query, memory, lengths = self._read(query, memory, memory_lengths)
        return self._attend(query, memory, lengths, self._read_start(start))[:2]

    def _read_start(self, start):
        if start is None:
            return 0
        start = checks.not_negative_int("start", start)
        if self._position == "predictive":
            raise ValueError(
                f"start must be None where positions are predicted from the queries, got {start}; "
                "position='monotonic' counts them"
            )
        return start

    def _project_memory(self, m):
        return project(m, self._parameters["weight_key"]) if self._score == "general" else m

    @quiet
    def _attend(self, query, memory, lengths, start=0):
        q, (m, keys, lengths) = rows_first(query), self._padded(memory, lengths)
        center, tape = self._centers(q, lengths, start)
        distance = np.arange(m.shape[1], dtype=q.dtype) - center[:, :, None]
        inside = np.abs(distance) <= self._window
        inside &= np.arange(m.shape[1]) < lengths[:, None, None]
        align = masked_softmax(q @ keys.swapaxes(1, 2), inside)
        factors = np.ones_like(align)
        if self._position == "predictive":
            np.exp(-np.square(distance) / (2 * self._variance), out=factors)
        weights = align * factors
        context = weights @ m
        saved = q, m, keys, lengths, distance, align, factors, weights, tape
        return rows_first(context), rows_first(weights), saved

    @property
    def _variance(self):
        return (self._window / 2) ** 2

    def _centers(self, q, lengths, start):
        """The positions p (B, T), and what their gradients need."""
        if self._position == "monotonic":
            positions = np.arange(start, start + q.shape[1]).astype(q.dtype)
            return np.broadcast_to(positions, q.shape[:2]), None
        hidden = np.tanh(project(q, self._parameters["weight_position"]))
        share = sigmoid(hidden @ self._parameters["weight_center"])
        return share * lengths[:, None].astype(q.dtype), (hidden, share)

    @quiet
    def _back(self, tape, d_context, d_weights, input_grad):
        q, m, keys, lengths, distance, align, factors, weights, saved = tape
        d_context = rows_first(d_context)
        d = d_context @ m.swapaxes(1, 2)
        if d_weights is not None:
            d += rows_first(d_weights)
        d_align = d * factors
        d_scores = align * (d_align - (align * d_align).sum(axis=2, keepdims=True))
        dq, d_keys = d_scores @ keys, d_scores.swapaxes(1, 2) @ q
        d_center = (d * weights * distance).sum(axis=2) / self._variance
        with self._parameters.grads_lock:
            if self._score == "general":
                add_projection_gradients(d_keys, m, self._parameters.grads["weight_key"])
            if self._position == "predictive":
                dq += self._center_gradients(d_center, q, lengths, *saved)
        if not input_grad:
            return None, None
        if self._score == "general":
            d_keys = project(d_keys, self._parameters["weight_key"].T)
        dm = weights.swapaxes(1, 2) @ d_context + d_keys
        return rows_first(dq), rows_first(dm)

    def _center_gradients(self, d_center, q, lengths, hidden, share):
        """Add to the parameters'; the queries' (B, T, Q)."""
        grads = self._parameters.grads
        d = d_center * lengths[:, None].astype(q.dtype) * share * (1 - share)
        grads["weight_center"][...] += np.tensordot(d, hidden, axes=2)
        d_hidden = d[:, :, None] * self._parameters["weight_center"] * (1 - hidden * hidden)
        add_projection_gradients(d_hidden, q, grads["weight_position"])
        return project(d_hidden, self._parameters["weight_position"].T)
