"""Attention to a memory: of each query a weighted mean of what an encoder put out.

``context, weights = attention(query, memory, memory_lengths)`` is inference;
``context, weights, backprop = attention.forward(...)`` is training, and
``dquery, dmemory = backprop(d_context)`` adds to ``attention.parameters.grads``.  The memory of a
row is projected once for all of its queries, and with ``attention.read(memory)`` for all calls.

T queries and S positions in the memory of each of B rows, N queries and M positions of all rows;
Q query size, E memory size, A attention size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.attention.memory import AttentionMemory
from fastseq.attention.sources import Sources
from fastseq.backend import kernels
from fastseq.layers import map_rows
from fastseq.module import Backprop, Module, Settled, fixed
from fastseq.parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike


class AttentionBackprop(Backprop):
    """The backward pass of one call of an attention's ``forward``."""

    __slots__ = ()

    def __call__(
        self,
        d_context: ArrayLike,
        d_weights: ArrayLike | None = None,
        *,
        input_grad: bool = True,
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Add to the layer's gradients; it can run once.

        Parameters
        ----------
        d_context : array of floats, (T, B, E)
            Gradient of the loss with respect to the context.
        d_weights : array of floats, (T, B, S), optional
            The same of the weights, where the loss depends on them in another way.
        input_grad : bool
            False saves the inputs' gradients where nobody needs them.

        Returns
        -------
        dquery, dmemory : ndarray or None
            Gradients with respect to the inputs, 0 past the memory's lengths; None if not wanted.

        Raises
        ------
        RuntimeError
            If it has run before.
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape; it can still run after that.
        """
        tape, (context_shape, weights_shape, dtype) = self._read_tape(), self._shape
        input_grad = checks.flag("input_grad", input_grad)
        d_context = checks.floats("d_context", d_context, dtype)
        checks.shape("d_context", d_context, context_shape, "of the context")
        if d_weights is not None:
            d_weights = checks.floats("d_weights", d_weights, dtype)
            checks.shape("d_weights", d_weights, weights_shape, "of the weights")
        self._use_up()
        return self._owner._back(tape, d_context, d_weights, input_grad)


class Attention(Settled, Module):
    """Common to these layers."""

    query_size = fixed("query_size")
    memory_size = fixed("memory_size")
    dtype = fixed("dtype")

    def __call__(
        self,
        query: ArrayLike,
        memory: ArrayLike | AttentionMemory,
        memory_lengths: ArrayLike | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What each query finds in its row's memory.

        Parameters
        ----------
        query : array of floats, (T, B, Q)
        memory : array of floats, (S, B, E), or what :meth:`read` gave
        memory_lengths : array of integers, (B,), optional
            How many positions of each row count; the rest may hold anything.  All unless given.

        Returns
        -------
        context : ndarray, (T, B, E)
            The memory weighted; 0 where a row has none.
        weights : ndarray, (T, B, S)
            0 past a length.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape.
        """
        return self._attend(*self._read(query, memory, memory_lengths))[:2]

    def forward(
        self, query: ArrayLike, memory: ArrayLike, memory_lengths: ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray, AttentionBackprop]:
        """As calling the layer, with a function that runs the backward pass.

        Inputs and results are kept without a copy until then; don't change them before, nor the
        parameters.  The memory is an array.

        Returns
        -------
        context, weights : ndarray
            As from a call.
        backprop : AttentionBackprop
            ``dquery, dmemory = backprop(d_context, d_weights=None)`` adds to
            ``parameters.grads``.
        """
        if isinstance(memory, AttentionMemory):
            raise TypeError(
                "forward needs the memory itself, whose gradient it gives, got what read() made "
                "of it, which is for calls"
            )
        return self._with_backprop(self._attend(*self._read(query, memory, memory_lengths)))

    def read(self, memory: ArrayLike, memory_lengths: ArrayLike | None = None) -> AttentionMemory:
        """Project a memory once for several calls, as those of a decoder that goes step by step.

        Parameters
        ----------
        memory, memory_lengths
            As for a call.

        Returns
        -------
        memory : AttentionMemory
            To be given to calls instead; they give the same, bit for bit.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape.
        """
        memory = self._check_memory(memory)
        return self._take_in(memory, lengths_of(memory, memory_lengths))

    def _with_backprop(self, results):
        context, weights, tape = results
        shapes = context.shape, weights.shape, context.dtype
        return context, weights, AttentionBackprop(self, tape, shapes)

    def _read(self, query, memory, memory_lengths):
        if isinstance(memory, AttentionMemory):
            return self._read_query(query, memory, memory_lengths), memory, None
        query = checks.floats("query", query, self._dtype)
        checks.last_axis("query", query, self._query_size, "query_size")
        memory = self._check_memory(memory)
        return query, memory, read_lengths(query, memory, memory_lengths)

    def _read_query(self, query, memory, memory_lengths):
        """The query for a memory that has been read."""
        if memory.owner is not self:
            raise ValueError(f"memory must be read by this attention, {self!r}, got {memory!r}")
        if memory_lengths is not None:
            raise ValueError("memory_lengths must be None here: give them to read(), with memory")
        size = self.query_size or memory.shape[2]
        query = checks.floats("query", query, memory.dtype)
        checks.last_axis("query", query, size, "query_size")
        expected = len(query), len(memory), size
        checks.shape("query", query, expected, "(T, B, Q)", "; B is the memory's")
        return query

    def _check_memory(self, memory):
        memory = checks.floats("memory", memory, self._dtype)
        checks.last_axis("memory", memory, self._memory_size, "memory_size")
        return memory

    def _take_in(self, memory, lengths):
        """What all calls need of a memory, unless that was read before."""
        if isinstance(memory, AttentionMemory):
            return memory
        return AttentionMemory(self, memory, self._parts_of(memory, lengths))

    def _set_sizes(self, query_size, memory_size, dtype):
        self._query_size = checks.positive_int("query_size", query_size)
        self._memory_size = checks.positive_int("memory_size", memory_size)
        self._dtype = checks.float_dtype(dtype)

    def _set_attention_size(self, size):
        size = self._query_size if size is None else size
        self._attention_size = checks.positive_int("attention_size", size)
        return self._attention_size

    def _make_parameters(self, shapes, rng):
        """Uniform as those of Linear; biases start as zeros."""
        self._parameters = Parameters(shapes, self._dtype)
        for name, view in self._parameters.items():
            if not name.startswith("bias"):
                bound = view.shape[-1] ** -0.5
                view[...] = rng.uniform(-bound, bound, view.shape)

    def _repr(self, *options):
        arguments = (self._query_size, self._memory_size, *options, f"dtype={self._dtype}")
        return f"{type(self).__name__}({', '.join(map(str, arguments))})"


def read_lengths(query, memory, memory_lengths):
    """The lengths of memories as int64 (B,); raises where shapes don't fit together."""
    check_axes("query", query, "(T, B, Q)")
    check_axes("memory", memory, "(S, B, E)")
    expected = len(memory), query.shape[1], memory.shape[2]
    checks.shape("memory", memory, expected, "(S, B, E)", "; B is the query's")
    return lengths_of(memory, memory_lengths)


def check_axes(name, array, letters):
    if array.ndim != 3:
        raise ValueError(f"{name} must have shape {letters}, got {array.shape}")


def lengths_of(memory, memory_lengths):
    """The lengths of memories as int64 (B,)."""
    check_axes("memory", memory, "(S, B, E)")
    steps, rows, _ = memory.shape
    if memory_lengths is None:
        return np.full(rows, steps, np.int64)
    return checks.lengths(memory_lengths, rows, steps, name="memory_lengths", of="memory")


def project(x, weight, bias=None):
    """x @ weight.T + bias over the last axis, in the kernels."""
    out = kernels().empty((*x.shape[:-1], len(weight)), x.dtype)
    map_rows(x.reshape(-1, x.shape[-1]), weight, bias, out.reshape(-1, len(weight)))
    return out


def add_projection_gradients(dy, x, d_weight, d_bias=None):
    """Those of :func:`project`, of the weight's and the bias's."""
    dy, x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    kernels().add_linear_gradients(dy, x, d_weight, d_bias)


# --- what NumPy computes ------------------------------------------------------------------------


class PaddedAttention(Attention):
    """Common to those that NumPy computes, from a memory with zeros past the lengths.

    Arrays have rows first here, so that NumPy multiplies one row's matrices after the other.
    """

    def _parts_of(self, memory, lengths):
        m = real_memory(memory, lengths)
        return m, self._project_memory(m), lengths

    def _padded(self, memory, lengths):
        """The memory (B, S, E), its keys (B, S, A) and its lengths (B,)."""
        return self._take_in(memory, lengths).of_rows


class HiddenAttention(PaddedAttention):
    """Common to those of them whose scores come from one hidden layer."""

    attention_size = fixed("attention_size")

    def _hidden_shapes(self, **of_layer):
        """Those of the parameters; others of the layer come between weights and bias."""
        size = self._attention_size
        shapes = {"weight_query": (size, self._query_size)}
        shapes |= {"weight_key": (size, self._memory_size), **of_layer}
        return shapes | {"bias_key": (size,), "weight_score": (size,)}

    def _project_memory(self, m):
        return project(m, self._parameters["weight_key"], self._parameters["bias_key"])

    def _finish_back(self, tape, d_context, dq, d_keys, input_grad, **own):
        """Add the projections' gradients, and ``own``; those of the query and of the memory."""
        (query, m, weights), parameters = tape, self._parameters
        with parameters.grads_lock:
            grads = parameters.grads
            for name, gradient in own.items():
                grads[name][...] += gradient
            add_projection_gradients(dq, query, grads["weight_query"])
            add_projection_gradients(d_keys, m, grads["weight_key"], grads["bias_key"])
        if not input_grad:
            return None, None
        dm = rows_first(weights).swapaxes(1, 2) @ rows_first(d_context)
        dm += project(d_keys, parameters["weight_key"].T)
        return project(dq, parameters["weight_query"].T), rows_first(dm)


def rows_first(array):
    """From (T, B, ...) to (B, T, ...), or back."""
    return np.ascontiguousarray(array.swapaxes(0, 1))


def weigh(weights, m):
    """Of weights (T, B, S) and memory (B, S, E) the context (T, B, E)."""
    return rows_first(rows_first(weights) @ m)


def weights_gradient(d_context, d_weights, m):
    """The weights' (T, B, S): through the context, and their own if there is one."""
    d = rows_first(rows_first(d_context) @ m.swapaxes(1, 2))
    if d_weights is not None:
        d += d_weights
    return d


def real_memory(memory, lengths):
    """The memory (B, S, E), with zeros past the lengths."""
    if (lengths == len(memory)).all():
        return rows_first(memory)
    m = memory.swapaxes(0, 1).copy()  # even of a single row, where rows_first copies nothing
    m[np.arange(len(memory)) >= lengths[:, None]] = 0
    return m


def masked_softmax(scores, mask):
    """Softmax over the last axis where the mask is True, 0 elsewhere; overwrites the scores."""
    scores[~np.broadcast_to(mask, scores.shape)] = -np.inf
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    top[np.isneginf(top)] = 0  # or -inf - -inf would be NaN
    with np.errstate(invalid="ignore", under="ignore"):
        np.exp(scores - top, out=scores)
    sums = scores.sum(axis=-1, keepdims=True)
    sums[sums == 0] = 1
    scores /= sums
    return scores


# --- all queries at once ------------------------------------------------------------------------


class ContentAttention(Attention):
    """Common to those whose scores depend on query and memory alone: one kernel for all queries."""

    def _parts_of(self, memory, lengths):
        sources = Sources(memory, lengths)
        return sources, self._project_memory(sources.values)

    def _attend(self, query, memory, lengths):
        (steps, rows, _), (positions, _, size) = query.shape, memory.shape
        memory = self._take_in(memory, lengths)
        sources, keys = memory.parts
        q = self._project_query(query)
        q = q.reshape(-1, q.shape[-1])
        of_queries = sources.of_queries(steps, memory.chosen)
        given = q, keys, sources.values, self._v, of_queries, sources.offsets
        weights = np.empty((len(q), positions), q.dtype)
        context = np.empty((len(q), size), q.dtype)
        kernels().attention_forward(*given, weights, context)
        tape = query, sources, given, weights
        return context.reshape(steps, rows, size), weights.reshape(steps, rows, positions), tape

    def _back(self, tape, d_context, d_weights, input_grad):
        query, sources, given, weights = tape
        q, keys, values, v, *_ = given
        d_context = d_context.reshape(len(q), values.shape[1])
        d_weights = None if d_weights is None else d_weights.reshape(weights.shape)
        dq, d_keys, d_values = np.empty_like(q), np.zeros_like(keys), np.zeros_like(values)
        dv = None if v is None else np.zeros_like(v)
        kernels().attention_backward(
            d_context, d_weights, *given, weights, dq, d_keys, d_values, dv
        )
        dq = dq.reshape(*query.shape[:2], q.shape[1])
        with self._parameters.grads_lock:
            self._add_gradients(self._parameters.grads, query, values, dq, d_keys, dv)
        if not input_grad:
            return None, None
        d_values += self._through_memory(d_keys)
        return self._through_query(dq), sources.pad(d_values)

    # What differs: the two projections, and their gradients.

    _v = None

    def _project_query(self, query):
        return query

    def _project_memory(self, values):
        return values

    def _through_query(self, dq):
        return dq

    def _through_memory(self, d_keys):
        return d_keys

    def _add_gradients(self, grads, query, values, dq, d_keys, dv):
        pass


class AdditiveAttention(ContentAttention):
    r"""Scores from one hidden layer (Bahdanau et al., 2015).

    .. math:: v^T \tanh(W_q \, q + W_m \, m + b)

    Parameters
    ----------
    query_size, memory_size : int
        Q and E.
    attention_size : int, optional
        A, of the hidden layer; query_size unless given.
    bias : bool
        Whether there is b.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters.

    Attributes
    ----------
    parameters : Parameters
        ``weight_query`` (A, Q), ``weight_key`` (A, E), ``weight_score`` (A,), ``bias_key`` (A,).

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> attention = fs.AdditiveAttention(4, 6, 8, seed=0)
    >>> query, memory = np.ones((3, 2, 4), np.float32), np.ones((5, 2, 6), np.float32)
    >>> context, weights, backprop = attention.forward(query, memory, [5, 2])
    >>> context.shape, weights[0, 1].tolist()
    ((3, 2, 6), [0.5, 0.5, 0.0, 0.0, 0.0])
    >>> dquery, dmemory = backprop(np.ones_like(context))
    """

    attention_size = fixed("attention_size")
    bias = fixed("bias")

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int | None = None,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._set_sizes(query_size, memory_size, dtype)
        size = self._set_attention_size(attention_size)
        self._bias = checks.flag("bias", bias)
        shapes = {"weight_query": (size, self._query_size)}
        shapes |= {"weight_key": (size, self._memory_size), "weight_score": (size,)}
        shapes |= {"bias_key": (size,)} if self._bias else {}
        self._make_parameters(shapes, checks.generator(seed))

    def __repr__(self):
        return self._repr(self._attention_size, *["bias=False"] * (not self._bias))

    @property
    def _v(self):
        return self._parameters["weight_score"]

    def _project_query(self, query):
        return project(query, self._parameters["weight_query"])

    def _project_memory(self, values):
        bias = self._parameters["bias_key"] if self._bias else None
        return project(values, self._parameters["weight_key"], bias)

    def _through_query(self, dq):
        return project(dq, self._parameters["weight_query"].T)

    def _through_memory(self, d_keys):
        return project(d_keys, self._parameters["weight_key"].T)

    def _add_gradients(self, grads, query, values, dq, d_keys, dv):
        add_projection_gradients(dq, query, grads["weight_query"])
        d_bias = grads["bias_key"] if self._bias else None
        add_projection_gradients(d_keys, values, grads["weight_key"], d_bias)
        grads["weight_score"][...] += dv


class ConcatAttention(ContentAttention):
    r"""Scores from one hidden layer over query and memory side by side (Luong et al., 2015).

    .. math:: v^T \tanh(W \, [q; m])

    It equals an additive attention without a bias whose two weights are the parts of W.

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
        ``weight_concat`` (A, Q + E), ``weight_score`` (A,).

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> attention = fs.ConcatAttention(4, 6, seed=0)
    >>> context, weights = attention(np.ones((3, 2, 4)), np.ones((5, 2, 6)))
    >>> context.shape, weights.shape
    ((3, 2, 6), (3, 2, 5))
    """

    attention_size = fixed("attention_size")

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
        shapes = {
            "weight_concat": (size, self._query_size + self._memory_size),
            "weight_score": (size,),
        }
        self._make_parameters(shapes, checks.generator(seed))

    def __repr__(self):
        return self._repr(self._attention_size)

    @property
    def _v(self):
        return self._parameters["weight_score"]

    def _parts(self, weight):
        """Those of W that query and memory are multiplied with."""
        return weight[:, : self._query_size], weight[:, self._query_size :]

    def _project_query(self, query):
        return project(query, self._parts(self._parameters["weight_concat"])[0])

    def _project_memory(self, values):
        return project(values, self._parts(self._parameters["weight_concat"])[1])

    def _through_query(self, dq):
        return project(dq, self._parts(self._parameters["weight_concat"])[0].T)

    def _through_memory(self, d_keys):
        return project(d_keys, self._parts(self._parameters["weight_concat"])[1].T)

    def _add_gradients(self, grads, query, values, dq, d_keys, dv):
        for part, dy, x in zip(
            self._parts(grads["weight_concat"]), (dq, d_keys), (query, values), strict=True
        ):
            add_projection_gradients(dy, x, part)
        grads["weight_score"][...] += dv


class GeneralAttention(ContentAttention):
    r"""Scores from one weight between query and memory (Luong et al., 2015).

    .. math:: q^T W \, m

    Parameters
    ----------
    query_size, memory_size : int
        Q and E.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters.

    Attributes
    ----------
    parameters : Parameters
        ``weight_key`` (Q, E).

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> attention = fs.GeneralAttention(4, 6, seed=0)
    >>> context, weights = attention(np.ones((3, 2, 4)), np.ones((5, 2, 6)))
    >>> context.shape, weights.shape
    ((3, 2, 6), (3, 2, 5))
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._set_sizes(query_size, memory_size, dtype)
        shapes = {"weight_key": (self._query_size, self._memory_size)}
        self._make_parameters(shapes, checks.generator(seed))

    def __repr__(self):
        return self._repr()

    def _project_memory(self, values):
        return project(values, self._parameters["weight_key"])

    def _through_memory(self, d_keys):
        return project(d_keys, self._parameters["weight_key"].T)

    def _add_gradients(self, grads, query, values, dq, d_keys, dv):
        add_projection_gradients(d_keys, values, grads["weight_key"])


class DotAttention(ContentAttention):
    r"""Scores that are dot products (Luong et al., 2015).

    .. math:: q^T m

    There are no parameters; queries are as long as the memory's vectors, and of their dtype.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> memory = 9 * np.eye(3)[:, None]
    >>> context, weights = fs.DotAttention()(np.array([[[0.0, 1.0, 0.0]]]), memory)
    >>> context.round(2).tolist(), weights.round(2).tolist()
    ([[[0.0, 9.0, 0.0]]], [[[0.0, 1.0, 0.0]]])
    """

    def __init__(self) -> None:
        self._parameters = Parameters({}, np.float32)

    def __repr__(self):
        return "DotAttention()"

    query_size = memory_size = property(lambda self: None, doc="Whatever the memory's is.")
    dtype = Module.dtype

    def _read(self, query, memory, memory_lengths):
        if isinstance(memory, AttentionMemory):
            return self._read_query(query, memory, memory_lengths), memory, None
        query = checks.floats_of_any_precision("query", query)
        memory = checks.floats("memory", memory, query.dtype)
        lengths = read_lengths(query, memory, memory_lengths)
        checks.last_axis("query", query, memory.shape[2], "that of memory, for a dot product")
        return query, memory, lengths

    def _check_memory(self, memory):
        return checks.floats_of_any_precision("memory", memory)
