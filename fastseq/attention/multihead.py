"""Scaled dot-product attention, with one head or several (Vaswani et al., 2017).

No array of all pairs of queries and keys is made: memory grows with the length, not with its
square.  B rows, T queries and S keys in each, E embedding size, F size of a query or key.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.layers import map_rows
from fastseq.module import Backprop, Module, Settled, fixed
from fastseq.parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike


_explained_call = checks.explained(
    attn_mask="causal=True lets a query see the keys up to its own place",
    is_causal="causal=True lets a query see the keys up to its own place",
    key_padding_mask="key_lengths says how many keys each row has",
)


class MultiheadBackprop(Backprop):
    """The backward pass of one call of ``forward``."""

    __slots__ = ()

    def __call__(
        self, dy: ArrayLike, *, input_grad: bool = True
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """Gradients of the inputs, and of the layer's parameters if it has any; runs once.

        Parameters
        ----------
        dy : array of floats, the shape of y
            Gradient of the loss with respect to y.
        input_grad : bool
            False saves the inputs' gradients where nobody needs them.

        Returns
        -------
        dquery, dkey, dvalue : ndarray or None
            Of what was left out in the call None: its part is in the gradient of what took its
            place.

        Raises
        ------
        RuntimeError
            If it has run before.
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape; it can still run after that.
        """
        tape, (shape, dtype) = self._read_tape(), self._shape
        input_grad = checks.flag("input_grad", input_grad)
        dy = checks.floats("dy", dy, dtype)
        checks.shape("dy", dy, shape, "of y")
        self._use_up()
        return self._owner._back(tape, dy, input_grad)


def _weights(query, key, key_lengths, causal, scale, log_sums):
    """Of one head's queries (B, T, F) and keys (B, S, F) the matrices (B, T, S)."""
    positions = np.arange(key.shape[1])
    seen = np.ones((len(query), 1, 1), bool)
    if key_lengths is not None:
        seen = positions < key_lengths[:, None, None]
    if causal:
        seen = seen & (positions <= np.arange(query.shape[1])[:, None])
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        scores = query @ key.swapaxes(1, 2) * query.dtype.type(scale)
        return np.where(seen, np.exp(scores - log_sums[:, :, None]), 0).astype(query.dtype)


# --- the function -------------------------------------------------------------------------------


def scaled_dot_product_attention(
    query: ArrayLike,
    key: ArrayLike,
    value: ArrayLike,
    key_lengths: ArrayLike | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> np.ndarray:
    r"""Values weighted by how well their keys fit: what PyTorch's function computes.

    .. math:: \mathrm{softmax}(\mathrm{scale} \; Q K^T) \, V

    Masks are ``key_lengths`` and ``causal``, instead of ``attn_mask`` and ``is_causal``.

    To train, use :class:`ScaledDotProductAttention`.

    Parameters
    ----------
    query : array of floats, (B, heads, T, F) or (B, T, F)
    key : array of floats, (B, heads, S, F) or (B, S, F)
    value : array of floats, (B, heads, S, E) or (B, S, E)
        All three of one dtype, float32 or float64.
    key_lengths : array of integers, (B,), optional
        How many keys of each row count; the rest may hold anything.  Without any key the result
        is 0 (PyTorch's is NaN).
    causal : bool
        Whether query t sees keys 0 to t alone.
    scale : float, optional
        Above 0; 1 / sqrt(F) unless given.

    Returns
    -------
    y : ndarray, (B, heads, T, E) or (B, T, E)

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, dtype or shape.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> query, key = np.array([[[1.0, 0.0]]]), np.array([[[9.0, 0.0], [0.0, 9.0]]])
    >>> value = np.array([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]])
    >>> fs.scaled_dot_product_attention(query, key, value, scale=1.0).round(3).tolist()
    [[[1.0, 2.0, 3.0]]]
    """
    return ScaledDotProductAttention(causal=causal, scale=scale)(query, key, value, key_lengths)


class ScaledDotProductAttention(Settled, Module):
    r"""The function :func:`scaled_dot_product_attention` as a layer, which can be trained through.

    Parameters
    ----------
    causal : bool
        Whether query t sees keys 0 to t alone.
    scale : float, optional
        Above 0; 1 / sqrt(F) unless given.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> attention, x = fs.ScaledDotProductAttention(causal=True), np.eye(3)[None]
    >>> y, backprop = attention.forward(x, x, x)
    >>> y[0, 0].tolist()  # it sees but itself
    [1.0, 0.0, 0.0]
    >>> dquery, dkey, dvalue = backprop(np.ones_like(y))
    """

    def __init__(self, *, causal: bool = False, scale: float | None = None) -> None:
        self._causal = checks.flag("causal", causal)
        self._scale = None if scale is None else checks.positive_float("scale", scale)
        self._parameters = Parameters({}, np.float32)

    def __repr__(self):
        options = ["causal=True"] * self._causal
        options += [f"scale={self._scale}"] * (self._scale is not None)
        return f"ScaledDotProductAttention({', '.join(options)})"

    def __call__(
        self,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        key_lengths: ArrayLike | None = None,
    ) -> np.ndarray:
        """As the function, of which these are the arguments."""
        return self._attend(query, key, value, key_lengths)[0]

    def forward(
        self,
        query: ArrayLike,
        key: ArrayLike,
        value: ArrayLike,
        key_lengths: ArrayLike | None = None,
    ) -> tuple[np.ndarray, MultiheadBackprop]:
        """As calling the layer, with a function that runs the backward pass.

        The arrays are kept without a copy until then; don't change them before.

        Returns
        -------
        y : ndarray, (B, heads, T, E) or (B, T, E)
        backprop : MultiheadBackprop
            ``dquery, dkey, dvalue = backprop(dy)``
        """
        y, tape = self._attend(query, key, value, key_lengths)
        return y, MultiheadBackprop(self, tape, (y.shape, y.dtype))

    def _attend(self, query, key, value, key_lengths):
        query = checks.floats_of_any_precision("query", query)
        key = checks.floats("key", key, query.dtype)
        value = checks.floats("value", value, query.dtype)
        lengths = self._check(query, key, value, key_lengths)
        scale = query.shape[-1] ** -0.5 if self._scale is None else self._scale
        y = kernels().empty((*query.shape[:-1], value.shape[-1]), query.dtype)
        log_sums = np.empty(query.shape[:-1])
        q, k, v, out = (_with_heads(array) for array in (query, key, value, y))
        arguments = q, k, v, lengths, self._causal, scale, out, log_sums.reshape(q.shape[:3])
        kernels().scaled_dot_product_forward(*arguments)
        return y, arguments

    @staticmethod
    def _check(query, key, value, key_lengths):
        if query.ndim not in (3, 4) or not query.shape[-1]:
            raise ValueError(
                "query must have shape (B, heads, T, F) or (B, T, F), with F at least 1, "
                f"got {query.shape}"
            )
        if not (key.ndim == value.ndim == query.ndim and value.shape[-1]):
            raise ValueError(
                "key and value must have as many axes as query, which is "
                f"{query.shape}, and numbers in the last, got {key.shape} and {value.shape}"
            )
        steps = key.shape[-2]
        lead, letters = (*query.shape[:-2], steps), "(B, heads, S," if query.ndim == 4 else "(B, S,"
        checks.shape("key", key, (*lead, query.shape[-1]), f"{letters} F)")
        checks.shape("value", value, (*lead, value.shape[-1]), f"{letters} E)")
        if key_lengths is None:
            return None
        return checks.lengths(key_lengths, len(query), steps, name="key_lengths", of="key")

    def _back(self, arguments, dy, input_grad):
        if not input_grad:
            return None, None, None
        arrays = [kernels().empty(array.shape, dy.dtype) for array in arguments[:3]]
        kernels().scaled_dot_product_backward(_with_heads(dy), *arguments, *arrays)
        return tuple(a if dy.ndim == 4 else a[:, 0] for a in arrays)


def _with_heads(array):
    """(B, heads, T, F), of one head if there is no such axis."""
    return array if array.ndim == 4 else array[:, None]


# --- the layer ----------------------------------------------------------------------------------


class MultiheadAttention(Settled, Module):
    r"""Attention of several heads at once, each in its part of the embedding.

    It computes what PyTorch's does; masks are ``key_lengths`` and ``causal``, instead of
    ``key_padding_mask``, ``attn_mask`` and ``is_causal``, and ``need_weights`` is off by default.

    .. math::

        \mathrm{head}_i = \mathrm{softmax}\!\left(
            \frac{Q W_i^Q (K W_i^K)^T}{\sqrt{E / \mathrm{heads}}}\right) V W_i^V, \qquad
        y = \mathrm{concat}(\mathrm{head}_1, \ldots) \, W^O

    with biases (Vaswani et al., 2017).  PyTorch's ``dropout`` of weights is not offered: use a
    ``Dropout`` behind the layer.

    Parameters
    ----------
    embed_dim : int
        E, of queries and outputs.
    num_heads : int
        It divides E.
    bias : bool
        Whether there are biases.
    kdim, vdim : int, optional
        Sizes of keys and values; E unless given.
    batch_first : bool
        Whether arrays are (B, T, E) instead of (T, B, E).
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial weights, uniform as PyTorch's.

    Attributes
    ----------
    parameters : Parameters
        ``in_proj_weight`` (3 E, E), or ``q_proj_weight`` (E, E), ``k_proj_weight`` (E, kdim) and
        ``v_proj_weight`` (E, vdim) where these sizes differ from E; ``in_proj_bias`` (3 E,),
        ``out_proj.weight`` (E, E), ``out_proj.bias`` (E,).

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> attention = fs.MultiheadAttention(8, 2, seed=0)
    >>> x = np.random.default_rng(0).standard_normal((5, 3, 8), dtype=np.float32)
    >>> y, weights = attention(x, key_lengths=[5, 2, 4], need_weights=True)
    >>> y.shape, weights.shape, float(abs(weights[1, :, 2:]).max())
    ((5, 3, 8), (3, 5, 5), 0.0)
    >>> y, _, backprop = attention.forward(x, causal=True)
    >>> dx, _, _ = backprop(np.ones_like(y))
    """

    embed_dim = fixed("embed_dim")
    num_heads = fixed("num_heads")
    bias = fixed("bias")
    kdim = fixed("kdim")
    vdim = fixed("vdim")
    batch_first = fixed("batch_first")
    dtype = fixed("dtype")

    _not_here = Settled._not_here | {"dropout": "put a Dropout behind the layer"}

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        *,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        size = self._embed_dim = checks.positive_int("embed_dim", embed_dim)
        self._num_heads = checks.positive_int("num_heads", num_heads)
        if size % self._num_heads:
            raise ValueError(
                f"num_heads must divide embed_dim {size}, since each head takes an equal part, "
                f"got {self._num_heads}"
            )
        self._bias = checks.flag("bias", bias)
        self._kdim = size if kdim is None else checks.positive_int("kdim", kdim)
        self._vdim = size if vdim is None else checks.positive_int("vdim", vdim)
        self._batch_first = checks.flag("batch_first", batch_first)
        self._dtype = checks.float_dtype(dtype)
        self._is_packed = self._kdim == self._vdim == size
        rng = checks.generator(seed)
        self._parameters = Parameters(self._shapes(), self._dtype)
        for name, view in self._parameters.items():
            if view.ndim == 2:
                bound = size**-0.5 if name == "out_proj.weight" else (6 / sum(view.shape)) ** 0.5
                view[...] = rng.uniform(-bound, bound, view.shape)

    def _shapes(self):
        size = self._embed_dim
        if self._is_packed:
            shapes = {"in_proj_weight": (3 * size, size)}
        else:
            sizes = {"q": size, "k": self._kdim, "v": self._vdim}
            shapes = {f"{part}_proj_weight": (size, own) for part, own in sizes.items()}
        shapes |= {"in_proj_bias": (3 * size,)} if self._bias else {}
        shapes |= {"out_proj.weight": (size, size)}
        return shapes | ({"out_proj.bias": (size,)} if self._bias else {})

    def __repr__(self):
        options = ", bias=False" * (not self._bias)
        options += f", kdim={self._kdim}, vdim={self._vdim}" * (not self._is_packed)
        options += ", batch_first=True" * self._batch_first
        sizes = f"{self._embed_dim}, {self._num_heads}"
        return f"MultiheadAttention({sizes}{options}, dtype={self._dtype})"

    @_explained_call
    def __call__(
        self,
        query: ArrayLike,
        key: ArrayLike | None = None,
        value: ArrayLike | None = None,
        key_lengths: ArrayLike | None = None,
        *,
        causal: bool = False,
        need_weights: bool = False,
        average_attn_weights: bool = True,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """What each query finds.

        Parameters
        ----------
        query : array of floats, (T, B, E), (B, T, E) with batch_first, or (T, E)
        key : array of floats, (S, B, kdim), (B, S, kdim) or (S, kdim), optional
            The query unless given.
        value : array of floats, (S, B, vdim), (B, S, vdim) or (S, vdim), optional
            The key unless given.
        key_lengths : array of integers, (B,), optional
            How many keys of each row count; all unless given.  A row without keys gets the
            output's bias (PyTorch's is NaN).
        causal : bool
            Whether query t sees keys 0 to t alone.
        need_weights : bool
            Whether to return the weights, which takes memory for all pairs of queries and keys.
        average_attn_weights : bool
            Whether these are the heads' mean.

        Returns
        -------
        y : ndarray, the shape of query
        weights : ndarray or None
            (B, T, S), or (B, heads, T, S) if they are not averaged; without B where the query
            has no batch axis.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape.
        """
        want = self._read_want(need_weights, average_attn_weights)
        return self._attend(query, key, value, key_lengths, causal, want)[:2]

    @_explained_call
    def forward(
        self,
        query: ArrayLike,
        key: ArrayLike | None = None,
        value: ArrayLike | None = None,
        key_lengths: ArrayLike | None = None,
        *,
        causal: bool = False,
        need_weights: bool = False,
        average_attn_weights: bool = True,
    ) -> tuple[np.ndarray, np.ndarray | None, MultiheadBackprop]:
        """As calling the layer, with a function that runs the backward pass.

        The inputs are kept without a copy until then; don't change them before, nor the
        parameters.

        Returns
        -------
        y, weights
            As from a call; weights have no gradient.
        backprop : MultiheadBackprop
            ``dquery, dkey, dvalue = backprop(dy)`` adds to ``parameters.grads``.
        """
        want = self._read_want(need_weights, average_attn_weights)
        y, weights, tape = self._attend(query, key, value, key_lengths, causal, want)
        return y, weights, MultiheadBackprop(self, tape, (y.shape, y.dtype))

    # --- arguments --------------------------------------------------------------------------

    @staticmethod
    def _read_want(need_weights, average):
        """None for no weights, or whether they are averaged."""
        average = checks.flag("average_attn_weights", average)
        return average if checks.flag("need_weights", need_weights) else None

    def _read(self, query, key, value, key_lengths):
        """The three inputs with three axes, which of them come from which argument, lengths."""
        owners = [0, 0 if key is None else 1]
        owners.append(owners[1] if value is None else 2)
        names = ("query", "key", "value")
        given = [query, key, value]
        arrays = [checks.floats(names[i], given[i], self._dtype) for i in owners]
        for i, size in enumerate(("embed_dim", "kdim", "vdim")):
            checks.last_axis(names[owners[i]], arrays[i], getattr(self, size), size)
        if arrays[0].ndim not in (2, 3):
            letters = "(B, T, E)" if self._batch_first else "(T, B, E)"
            raise ValueError(f"query must have shape {letters} or (T, E), got {arrays[0].shape}")
        batched = arrays[0].ndim == 3
        arrays = [array if batched else self._add_batch(array) for array in arrays]
        rows, steps = self._rows_and_steps(arrays[1])
        self._check_lead(names[owners[1]], arrays[1], self._rows_and_steps(arrays[0])[0], steps)
        self._check_lead(names[owners[2]], arrays[2], rows, steps)
        if key_lengths is not None:
            hint = "" if batched else "; the query has no batch axis"
            key_lengths = checks.lengths(
                key_lengths, rows, steps, hint, name="key_lengths", of=names[owners[1]]
            )
        return arrays, owners, key_lengths, batched

    def _add_batch(self, array):
        return array[None] if self._batch_first else array[:, None]

    def _drop_batch(self, array):
        return array[0] if self._batch_first else array[:, 0]

    def _rows_and_steps(self, array):
        return array.shape[:2] if self._batch_first else array.shape[1::-1]

    def _check_lead(self, name, array, rows, steps):
        lead = (rows, steps) if self._batch_first else (steps, rows)
        letters = "(B, S, ...)" if self._batch_first else "(S, B, ...)"
        if array.ndim != 3:
            raise ValueError(f"{name} must have as many axes as query, got {array.shape}")
        checks.shape(name, array, (*lead, array.shape[2]), letters)

    # --- forward ----------------------------------------------------------------------------

    def _attend(self, query, key, value, key_lengths, causal, want):
        causal = checks.flag("causal", causal)
        inputs, owners, lengths, batched = self._read(query, key, value, key_lengths)
        groups = list(self._groups(inputs, owners))
        projected = [self._project(x, first, last) for _, x, first, last in groups]
        q, k, v = self._split(projected)
        context = kernels().empty(inputs[0].shape, self._dtype)
        log_sums = np.empty(q.shape[:3])
        options = lengths, causal, q.shape[3] ** -0.5
        kernels().scaled_dot_product_forward(q, k, v, *options, self._heads(context, 0), log_sums)
        y = kernels().empty(context.shape, self._dtype)
        bias = self._parameters["out_proj.bias"] if self._bias else None
        map_rows(_rows(context), self._parameters["out_proj.weight"], bias, _rows(y))
        weights = None if want is None else self._weights(q, k, options, log_sums, average=want)
        if not batched:
            y, weights = self._drop_batch(y), None if weights is None else weights[0]
        return y, weights, (groups, projected, context, log_sums, options)

    def _groups(self, inputs, owners):
        """What is projected in one product: (argument, its array, first block, end of blocks).

        The blocks are those of queries, keys and values.
        """
        if not self._is_packed:
            yield from ((owners[i], inputs[i], i, i + 1) for i in range(3))
            return
        for owner, blocks in itertools.groupby(range(3), owners.__getitem__):
            first, *others = blocks
            yield owner, inputs[first], first, first + 1 + len(others)

    def _project(self, x, first, last):
        weight, bias = self._in_projection(self._parameters, first, last)
        out = kernels().empty((*x.shape[:2], (last - first) * self._embed_dim), self._dtype)
        map_rows(_rows(x), weight, bias, _rows(out))
        return out

    def _in_projection(self, buffers, first, last):
        """Weight and bias of some blocks, or their gradients."""
        own = slice(first * self._embed_dim, last * self._embed_dim)
        if self._is_packed:
            weight = buffers["in_proj_weight"][own]
        else:
            weight = buffers[f"{'qkv'[first]}_proj_weight"]
        return weight, buffers["in_proj_bias"][own] if self._bias else None

    def _split(self, projected):
        """Queries, keys and values as the kernels take them."""
        return [
            self._heads(array, block)
            for array in projected
            for block in range(array.shape[2] // self._embed_dim)
        ]

    def _heads(self, array, block):
        """One block of the last axis as (B, heads, T, F)."""
        size, heads = self._embed_dim, self._num_heads
        own = array[:, :, block * size : (block + 1) * size]
        own = own.reshape(*own.shape[:2], heads, size // heads)  # a view: it splits one axis
        return own.transpose((0, 2, 1, 3) if self._batch_first else (1, 2, 0, 3))

    def _weights(self, q, k, options, log_sums, *, average):
        heads = (
            _weights(q[:, head], k[:, head], *options, log_sums[:, head])
            for head in range(self._num_heads)
        )
        if not average:
            return np.stack(list(heads), axis=1)
        total = next(heads)
        for weights in heads:
            total += weights
        total /= self._num_heads
        return total

    # --- backward ---------------------------------------------------------------------------

    def _back(self, tape, dy, input_grad):
        groups, projected, context, log_sums, options = tape
        batched, dy = dy.ndim == 3, _rows(dy)
        d_context = kernels().empty(context.shape, self._dtype)
        map_rows(dy, self._parameters["out_proj.weight"].T, None, _rows(d_context))
        d_projected = [kernels().empty(array.shape, self._dtype) for array in projected]
        kernels().scaled_dot_product_backward(
            self._heads(d_context, 0),
            *self._split(projected),
            *options,
            self._heads(context, 0),
            log_sums,
            *self._split(d_projected),
        )
        self._add_gradients(dy, context, groups, d_projected)
        if not input_grad:
            return None, None, None
        d_inputs = self._input_gradients(groups, d_projected)
        return tuple(d if batched or d is None else self._drop_batch(d) for d in d_inputs)

    def _add_gradients(self, dy, context, groups, d_projected):
        add, parameters = kernels().add_linear_gradients, self._parameters
        with parameters.grads_lock:
            grads = parameters.grads
            d_bias = grads["out_proj.bias"] if self._bias else None
            add(dy, _rows(context), grads["out_proj.weight"], d_bias)
            for (_, x, first, last), d in zip(groups, d_projected, strict=True):
                add(_rows(d), _rows(x), *self._in_projection(grads, first, last))

    def _input_gradients(self, groups, d_projected):
        d_inputs = [None, None, None]
        for (owner, x, first, last), d in zip(groups, d_projected, strict=True):
            weight, _ = self._in_projection(self._parameters, first, last)
            dx = kernels().empty(x.shape, self._dtype)
            map_rows(_rows(d), weight.T, None, _rows(dx))
            if d_inputs[owner] is None:
                d_inputs[owner] = dx
            else:
                d_inputs[owner] += dx
        return d_inputs


def _rows(array):
    """All tokens, (N, features)."""
    return array.reshape(-1, array.shape[-1])
