"""Monotonic attention: each query stops at one position, never before the last one's.

Raffel et al., 2017.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.attention.global_attention import HiddenAttention, project, weigh, weights_gradient
from fastseq.elementwise import sigmoid
from fastseq.module import fixed
from fastseq.quiet import quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from fastseq.attention.memory import AttentionMemory


class MonotonicAttention(HiddenAttention):
    r"""Attention that goes through the memory once, from start to end (Raffel et al., 2017).

    A query goes on from where the last one stopped, and stops at a position with probability

    .. math:: p = \sigma\!\left(g \, \frac{v^T}{\|v\|} \tanh(W_q \, q + W_m \, m + b) + r\right).

    A call decides: it stops at the first position where p is at least 1/2, whose weight then is 1.
    A query that finds none, and all after it, have weights and context of 0; where p is NaN, both
    are NaN.  ``forward``, for training, gives the probabilities of all positions instead, through
    which gradients flow; noise before the sigmoid teaches the model to make p nearly 0 or 1.

    Parameters
    ----------
    query_size, memory_size : int
        Q and E.
    attention_size : int, optional
        A, of the hidden layer; query_size unless given.
    noise : float
        Standard deviation of the noise in ``forward``.
    score_bias : float
        r at the start: the lower, the farther a new model goes on.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters, and for the noise.

    Attributes
    ----------
    parameters : Parameters
        ``weight_query`` (A, Q), ``weight_key`` (A, E), ``bias_key`` (A,), ``weight_score`` (A,),
        ``scale_score`` (1,), which is g, and ``bias_score`` (1,), which is r.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> attention = fs.MonotonicAttention(4, 6, score_bias=0.0, seed=211)
    >>> rng = np.random.default_rng(0)
    >>> query, memory = rng.standard_normal((4, 1, 4)), rng.standard_normal((9, 1, 6))
    >>> context, weights = attention(query, memory)
    >>> weights[:, 0].argmax(axis=1).tolist()
    [2, 3, 7, 7]

    A decoder that goes step by step:

    >>> start, stops = None, []
    >>> for t in range(4):
    ...     context, weights = attention(query[t : t + 1], memory, start=start)
    ...     start = weights[-1]
    ...     stops.append(int(start[0].argmax()))
    >>> stops
    [2, 3, 7, 7]

    Training:

    >>> context, weights, backprop = attention.forward(query, memory)
    >>> dquery, dmemory = backprop(np.ones_like(context))
    """

    noise = fixed("noise")

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int | None = None,
        *,
        noise: float = 1.0,
        score_bias: float = -1.0,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._set_sizes(query_size, memory_size, dtype)
        size = self._set_attention_size(attention_size)
        self._noise = checks.not_negative("noise", noise)
        score_bias = checks.finite("score_bias", score_bias)
        self._rng = checks.generator(seed)
        shapes = self._hidden_shapes() | {"scale_score": (1,), "bias_score": (1,)}
        self._make_parameters(shapes, self._rng)
        self._parameters["scale_score"].fill(size**-0.5)
        self._parameters["bias_score"].fill(score_bias)

    def __repr__(self):
        return self._repr(self._attention_size, f"noise={self._noise}")

    def __call__(
        self,
        query: ArrayLike,
        memory: ArrayLike | AttentionMemory,
        memory_lengths: ArrayLike | None = None,
        *,
        hard: bool = True,
        start: ArrayLike | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where each query stops.

        Parameters
        ----------
        query, memory, memory_lengths
            As for other kinds of attention.
        hard : bool
            Whether to decide; otherwise weights are probabilities, without noise.
        start : array of floats, (B, S), optional
            The weights of the query before the first one, from where the first one goes on; 1 at
            the first position unless given.  A decoder that goes step by step gives
            ``weights[-1]`` of its last call.  ``forward`` takes whole sequences.

        Returns
        -------
        context : ndarray, (T, B, E)
        weights : ndarray, (T, B, S)

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape, or if ``start`` holds other numbers
            than 0 and one 1 for each row where queries decide.
        """
        hard = checks.flag("hard", hard)
        query, memory, lengths = self._read(query, memory, memory_lengths)
        start = self._read_start(start, memory)
        if not hard:
            return self._attend(query, memory, lengths, start, training=False)[:2]
        check_decisions(start)
        return self._decide(query, memory, lengths, start)

    @quiet
    def _decide(self, query, memory, lengths, start):
        m, keys, lengths = self._padded(memory, lengths)
        p, _ = self._stopping(query, keys, lengths, training=False)
        weights = decide(p, within(start, lengths))
        return weigh(weights, m), weights

    def _read_start(self, start, memory):
        """The weights (B, S) of the query before the first one."""
        shape = memory.shape[1::-1]
        if start is None:
            weights = np.zeros(shape, self._dtype)
            weights[:, :1] = 1
            return weights
        start = checks.floats("start", start, self._dtype)
        checks.shape("start", start, shape, "(B, S)")
        return start

    @quiet
    def _attend(self, query, memory, lengths, start=None, *, training=True):
        start = self._read_start(None, memory) if start is None else start
        m, keys, lengths = self._padded(memory, lengths)
        p, saved = self._stopping(query, keys, lengths, training)
        weights, reach = expect(p, within(start, lengths))
        return weigh(weights, m), weights, (query, m, p, reach, weights, saved)

    def _stopping(self, query, keys, lengths, training):
        """The probabilities of stopping (T, B, S), 0 past the lengths; and what was computed.

        In training there is noise, and the hidden layers of all queries are kept.
        """
        parameters = self._parameters
        q = project(query, parameters["weight_query"])
        direction = parameters["weight_score"] / np.sqrt(
            np.square(parameters["weight_score"]).sum()
        )
        hidden = np.empty((len(q) if training else 1, *keys.shape), q.dtype)
        cosines = np.empty((*q.shape[:2], keys.shape[1]), q.dtype)
        for t, own in enumerate(q):
            now = np.add(keys, own[:, None], out=hidden[t if training else 0])
            cosines[t] = np.tanh(now, out=now) @ direction
        scores = cosines * parameters["scale_score"] + parameters["bias_score"]
        if training and self._noise:
            noise = self._rng.standard_normal(scores.shape, dtype=scores.dtype)
            scores += scores.dtype.type(self._noise) * noise
        p = sigmoid(scores)
        p[:, np.arange(keys.shape[1]) >= lengths[:, None]] = 0
        return p, (hidden, cosines, direction)

    @quiet
    def _back(self, tape, d_context, d_weights, input_grad):
        query, m, p, reach, weights, (hidden, cosines, direction) = tape
        d = weights_gradient(d_context, d_weights, m)
        d_scores = expect_back(d, p, reach) * p * (1 - p)
        parameters, scale = self._parameters, self._parameters["scale_score"]
        size = self._attention_size
        dq = np.empty((*query.shape[:2], size), query.dtype)
        d_keys = np.zeros((*m.shape[:2], size), query.dtype)
        for t, now in enumerate(hidden):
            d_hidden = d_scores[t, ..., None] * (scale * direction) * (1 - now * now)
            dq[t] = d_hidden.sum(axis=1)
            d_keys += d_hidden
        # The norm takes out what goes along with v.
        d_direction = scale * np.tensordot(d_scores, hidden, axes=3)
        dv = d_direction - direction * (direction @ d_direction)
        dv /= np.sqrt(np.square(parameters["weight_score"]).sum())
        return self._finish_back(
            (query, m, weights),
            d_context,
            dq,
            d_keys,
            input_grad,
            weight_score=dv,
            scale_score=(d_scores * cosines).sum(),
            bias_score=d_scores.sum(),
        )


def within(start, lengths):
    """The weights (B, S), 0 past the lengths."""
    return np.where(np.arange(start.shape[1]) < lengths[:, None], start, 0)


def check_decisions(start):
    """Raise unless each row has one 1, or none where nothing was found; NaN may stand for it."""
    wrong = (start != 0) & (start != 1) & ~np.isnan(start)
    if wrong.any():
        at = checks.first(start, wrong)
        raise ValueError(
            f"start must hold decisions, 0 or 1, got {start[at]} at "
            f"{checks.position('start', at)}; probabilities go with hard=False"
        )
    several = np.count_nonzero(start, axis=1) > 1
    if several.any():
        raise ValueError(
            "start must have one position that is not 0 in each row, got "
            f"{np.count_nonzero(start[several.argmax()])} in row {several.argmax()}; give the "
            "weights of one query, as weights[-1]"
        )


def decide(p, start):
    """Weights (T, B, S) that are 1 where queries stop; ``start`` has those of the query before.

    Where p is NaN, nobody knows whether a query stops that gets there: its weight is NaN, and so
    are those of all later ones, which go on from there.
    """
    weights, rows = np.zeros_like(p), np.arange(p.shape[1])
    if not p.size:
        return weights
    decided = np.where(p >= 0.5, 1, 0 * p)
    before = start
    for here, own in zip(decided, weights, strict=True):
        reached = before.cumsum(axis=1)  # 1 from where the last one stopped
        stops = np.where(reached == 0, 0, here * reached)
        first = (stops != 0).argmax(axis=1)
        own[rows, first] = stops[rows, first]
        before = own
    return weights


# The expectation.  With p the probability of stopping at a position that is reached,
#
#   reach[t, s] = (1 - p[t, s - 1]) reach[t, s - 1] + weight[t - 1, s]
#   weight[t, s] = p[t, s] reach[t, s]
#
# where weight[-1] is the start, 1 at position 0 unless given.  All (t, s) of one t + s are computed
# at once: in an array with a border around it, where rows of flattened axes have W positions, they
# lie W - 1 apart.


def _bordered(array):
    """(T, B, S) as ((T + 2) * (S + 2), B), with zeros all around."""
    steps, rows, positions = array.shape
    out = np.zeros((steps + 2, positions + 2, rows), array.dtype)
    out[1:-1, 1:-1] = array.swapaxes(1, 2)
    return out.reshape((steps + 2) * (positions + 2), rows)


def _inside(flat, shape):
    """Back from there."""
    steps, rows, positions = shape
    inside = flat.reshape(steps + 2, positions + 2, rows)[1:-1, 1:-1]
    return np.ascontiguousarray(inside.swapaxes(1, 2))


def _diagonals(steps, positions):
    """Slices of the flattened border array, each of one t + s."""
    apart = positions + 1
    for total in range(2, steps + positions + 1 if steps and positions else 0):
        first, last = max(1, total - positions), min(steps, total - 1)
        yield slice(total + first * apart, total + last * apart + 1, apart)


def _moved(own, by):
    return slice(own.start + by, own.stop + by, own.step)


def expect(p, start):
    """The weights (T, B, S), and the probabilities that positions are reached."""
    steps, _, positions = p.shape
    width = positions + 2
    flat, weights, reach = _bordered(p), _bordered(np.zeros_like(p)), _bordered(np.zeros_like(p))
    weights[1 : positions + 1] = start.T
    for own in _diagonals(steps, positions):
        left, above = _moved(own, -1), _moved(own, -width)
        reach[own] = (1 - flat[left]) * reach[left] + weights[above]
        weights[own] = flat[own] * reach[own]
    return _inside(weights, p.shape), _inside(reach, p.shape)


def expect_back(d_weights, p, reach):
    """The gradient of p."""
    steps, _, positions = p.shape
    width = positions + 2
    d, flat, reach = _bordered(d_weights), _bordered(p), _bordered(reach)
    d_reach, dp = np.zeros_like(d), np.zeros_like(d)
    for own in reversed(list(_diagonals(steps, positions))):
        right, below = _moved(own, 1), _moved(own, width)
        total = d[own] + d_reach[below]
        d_reach[own] = total * flat[own] + (1 - flat[own]) * d_reach[right]
        dp[own] = (total - d_reach[right]) * reach[own]
    return _inside(dp, p.shape)
