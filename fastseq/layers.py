"""Layers that treat each token by itself: Embedding, Linear, Dropout and LayerNorm.

``y = layer(x)`` is inference; ``y, backprop = layer.forward(x)`` is training, and
``dx = backprop(dy)`` adds to ``layer.parameters.grads``.  Leading axes are arbitrary, so arrays
come as (T, B, F), (B, T, F) or whatever suits.  N tokens, which is the product of the leading
axes, F features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.module import Backprop, Module, Settled, fixed
from fastseq.packed import Packed
from fastseq.parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike


class TokenBackprop(Backprop):
    """The backward pass of one call of a layer's ``forward``."""

    __slots__ = ()

    def __call__(self, dy: ArrayLike, *, input_grad: bool = True) -> np.ndarray | None:
        """Add to the layer's gradients; it can run once.

        Parameters
        ----------
        dy : array of floats, the shape of y
            Gradient of the loss with respect to y.
        input_grad : bool
            False saves the work for dx where nobody needs it.

        Returns
        -------
        dx : ndarray, the shape of x, or None
            Gradient with respect to x; None if not wanted, or if x are indices.

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


class TokenLayer(Settled, Module):
    """Common to these layers."""

    def _with_backprop(self, y, tape):
        return y, TokenBackprop(self, tape, (y.shape, y.dtype))


class Embedding(TokenLayer):
    """A table of vectors that are looked up by index, as PyTorch's.

    Parameters
    ----------
    num_embeddings : int
        How many vectors there are.
    embedding_dim : int
        F, their size.
    padding_idx : int or None
        A row that starts as zeros and gets no gradient, so it stays as it is; negative numbers
        count from the end.
    dtype : {float32, float64}
        Of parameters and outputs.
    seed : int, Generator or None
        For the initial vectors, N(0, 1).

    Attributes
    ----------
    parameters : Parameters
        ``weight`` (num_embeddings, F).

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> embedding = fs.Embedding(10, 4, padding_idx=0, seed=0)
    >>> y, backprop = embedding.forward([[3, 3, 5], [7, 0, 0]])
    >>> y.shape, float(abs(y[1, 1:]).max())
    ((2, 3, 4), 0.0)
    >>> backprop(np.ones_like(y))
    >>> embedding.parameters.grads["weight"][:, 0].tolist()
    [0.0, 0.0, 0.0, 2.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0]
    """

    num_embeddings = fixed("num_embeddings")
    embedding_dim = fixed("embedding_dim")
    padding_idx = fixed("padding_idx")
    freeze = fixed("freeze")
    dtype = fixed("dtype")
    weight: np.ndarray

    _not_here = Settled._not_here | {
        "max_norm": "scale the vectors after a step, embedding.weight[...] = ...",
        "sparse": "an optimiser goes over the whole table; freeze one with from_pretrained(table)",
    }
    _freeze = False

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        padding_idx: int | None = None,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        dtype, rng = checks.float_dtype(dtype), checks.generator(seed)
        self._settle(num_embeddings, embedding_dim, padding_idx, dtype)
        for rows in blocks_of_rows(self.weight):  # numbers are drawn in float64
            rows[...] = rng.standard_normal(rows.shape)
        if self._padding_idx is not None:
            self.weight[self._padding_idx] = 0

    def _settle(self, num_embeddings, embedding_dim, padding_idx, dtype):
        """Be an embedding of these sizes, whose vectors are zeros."""
        self._num_embeddings = checks.positive_int("num_embeddings", num_embeddings)
        self._embedding_dim = checks.positive_int("embedding_dim", embedding_dim)
        self._padding_idx = self._read_padding(padding_idx)
        self._dtype = dtype
        shape = (self._num_embeddings, self._embedding_dim)
        self._parameters = Parameters({"weight": shape}, dtype)

    @classmethod
    def from_pretrained(
        cls, embeddings: ArrayLike, freeze: bool = True, padding_idx: int | None = None
    ) -> Embedding:
        """A table of vectors that are known already, such as words' vectors.

        Parameters
        ----------
        embeddings : array of floats, (num_embeddings, F)
            They are copied; float32 and float64 stay what they are.
        freeze : bool
            Whether the table gets no gradient and optimisers leave it as it is, weight decay and
            all.
        padding_idx : int or None
            A row that gets no gradient; it is not set to zeros.

        Raises
        ------
        TypeError, ValueError
            If embeddings are something else, or have no row ``padding_idx``.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> words = fs.KeyedVectors.from_arrays(["to", "be"], np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> embedding = fs.Embedding.from_pretrained(words.vectors)
        >>> embedding([words.key_to_index["be"]]).tolist(), embedding
        ([[3.0, 4.0]], Embedding(2, 2, freeze=True, dtype=float64))
        """
        table = checks.floats_of_any_precision("embeddings", embeddings)
        if table.ndim != 2 or not table.size:
            raise ValueError(
                f"embeddings must have shape (num_embeddings, F), not empty, got {table.shape}"
            )
        freeze = checks.flag("freeze", freeze)
        layer = cls.__new__(cls)  # the constructor would draw a table first
        layer._settle(*table.shape, padding_idx, table.dtype)
        layer.weight[...] = table
        layer._freeze = freeze
        if freeze:
            layer._parameters.freeze()
        return layer

    def _read_padding(self, value):
        if value is None:
            return None
        count, number = self._num_embeddings, checks.integer("padding_idx", value)
        if not -count <= number < count:
            raise ValueError(
                f"padding_idx must lie between {-count} and {count - 1}, since there are {count} "
                f"embeddings, got {number}"
            )
        return number % count

    def __repr__(self):
        padding = "" if self._padding_idx is None else f"padding_idx={self._padding_idx}, "
        padding += "freeze=True, " * self._freeze
        sizes = f"{self._num_embeddings}, {self._embedding_dim}"
        return f"Embedding({sizes}, {padding}dtype={self._dtype})"

    def __call__(self, ids: ArrayLike) -> np.ndarray:
        """Look up vectors.

        Parameters
        ----------
        ids : array of integers, any shape
            From 0 to num_embeddings - 1.

        Returns
        -------
        y : ndarray, (*ids.shape, F)

        Raises
        ------
        TypeError, ValueError
            If ids are no integers, or out of this range: the message names the first such one.
        """
        ids = checks.indices("ids", ids, self._num_embeddings, "embeddings")
        return self._look_up(ids)

    def forward(self, ids: ArrayLike) -> tuple[np.ndarray, TokenBackprop]:
        """As calling the layer, with a function that runs the backward pass.

        ``ids`` are kept without a copy until then; don't change them before.

        Returns
        -------
        y : ndarray, (*ids.shape, F)
        backprop : TokenBackprop
            ``backprop(dy)`` adds to ``parameters.grads``, vector by vector in the order of the
            ids, and returns None, since indices have no gradient.
        """
        ids = checks.indices("ids", ids, self._num_embeddings, "embeddings")
        return self._with_backprop(self._look_up(ids), ids)

    def _look_up(self, ids):
        y = kernels().empty((*ids.shape, self._embedding_dim), self._dtype)
        # they are valid: without mode, take would write to a copy of y first
        return np.take(self._parameters["weight"], ids, axis=0, out=y, mode="clip")

    def _back(self, ids, dy, input_grad):
        self.add_gradient(dy.reshape(ids.size, self._embedding_dim), ids.reshape(-1))

    def add_gradient(self, rows, ids=None):
        """Add rows (N, F) to those of the gradient with these indices; None means one for each."""
        if self._freeze:
            return
        ids = np.arange(len(rows)) if ids is None else ids
        if self._padding_idx is not None:
            ids = np.where(ids == self._padding_idx, -1, ids)  # the kernel leaves these out
        with self._parameters.grads_lock:
            kernels().add_rows(rows, ids, self._parameters.grads["weight"])


def blocks_of_rows(table, size=1 << 16):
    """Views of a table's rows, one after the other, of about ``size`` numbers each."""
    count = max(size // table.shape[1], 1)
    return [table[i : i + count] for i in range(0, len(table), count)]


def map_rows(rows, weight, bias, out):
    """out = rows @ weight.T + bias for rows (N, I) and weight (O, I); bias may be None."""
    if len(rows) == 1:  # not worth packing the weights
        np.matmul(rows, weight.T, out=out)
        out += 0 if bias is None else bias
    else:
        kernels().multiply_rows(rows, weight, bias, out)


class Linear(TokenLayer):
    r"""A linear map of each token's features, :math:`y = x W^T + b`, as PyTorch's.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Whether there is b.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters, U(-1 / sqrt(in_features), 1 / sqrt(in_features)).
    tied : Embedding, optional
        Use its table (out_features, in_features) as W, and add to its gradient: one table for a
        language model's inputs and outputs (Press & Wolf, 2017).  Both have to be parts of one
        model, or an optimiser refuses it.  The layer's own parameters are then its bias alone.
        PyTorch's state dict has the table under both names: the model's ``load_state_dict`` takes
        it so, and its ``state_dict(tied=True)`` gives it so.

    Attributes
    ----------
    parameters : Parameters
        ``weight`` (out_features, in_features) unless it is tied, ``bias`` (out_features,).

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> linear = fs.Linear(4, 3, seed=0)
    >>> y, backprop = linear.forward(np.ones((5, 2, 4), np.float32))
    >>> dx = backprop(np.ones_like(y))
    >>> y.shape, dx.shape, linear.parameters.grads["bias"].tolist()
    ((5, 2, 3), (5, 2, 4), [10.0, 10.0, 10.0])
    >>> embedding = fs.Embedding(1000, 4, seed=0)
    >>> list(fs.Linear(4, 1000, tied=embedding).parameters)
    ['bias']
    """

    in_features = fixed("in_features")
    out_features = fixed("out_features")
    dtype = fixed("dtype")
    tied = fixed("tied")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
        tied: Embedding | None = None,
    ) -> None:
        self._in_features = checks.positive_int("in_features", in_features)
        self._out_features = checks.positive_int("out_features", out_features)
        self._bias = checks.flag("bias", bias)
        self._dtype = checks.float_dtype(dtype)
        self._tied = self._read_tied(tied)
        rng = checks.generator(seed)
        shapes = {} if tied is not None else {"weight": (self._out_features, self._in_features)}
        shapes |= {"bias": (self._out_features,)} if self._bias else {}
        self._parameters = Parameters(shapes, self._dtype)
        bound = self._in_features**-0.5
        for view in self._parameters.values():
            view[...] = rng.uniform(-bound, bound, view.shape)
        if tied is not None:
            self._parameters.borrow(tied.parameters, {"weight": "weight"})

    def _read_tied(self, tied):
        if tied is None:
            return None
        if not isinstance(tied, Embedding):
            raise TypeError(f"tied must be an Embedding, got {type(tied).__name__}")
        expected = (self._out_features, self._in_features, self._dtype)
        got = (tied.num_embeddings, tied.embedding_dim, tied.dtype)
        if got != expected:
            raise ValueError(
                "tied must be an embedding of {} vectors of {} features of {}, as in_features, "
                "out_features and dtype say, got {} of {} of {}".format(*expected, *got)
            )
        if tied.freeze:
            raise ValueError(
                "tied must be an embedding that is trained, got one with freeze=True; make it "
                "with from_pretrained(..., freeze=False)"
            )
        return tied

    def __repr__(self):
        options = ", bias=False" * (not self._bias)
        options += f", tied={self._tied!r}" if self._tied is not None else ""
        sizes = f"{self._in_features}, {self._out_features}"
        return f"Linear({sizes}{options}, dtype={self._dtype})"

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """The map of each token.

        Parameters
        ----------
        x : array of floats, (..., in_features)

        Returns
        -------
        y : ndarray, (..., out_features)

        Raises
        ------
        TypeError, ValueError
            If x has the wrong dtype or shape.
        """
        return self._map(self._read(x))

    def forward(self, x: ArrayLike) -> tuple[np.ndarray, TokenBackprop]:
        """As calling the layer, with a function that runs the backward pass.

        ``x`` is kept without a copy until then; don't change it before, nor the parameters.

        Returns
        -------
        y : ndarray, (..., out_features)
        backprop : TokenBackprop
            ``dx = backprop(dy)`` adds to ``parameters.grads``, if tied also to the embedding's.
        """
        x = self._read(x)
        return self._with_backprop(self._map(x), x)

    def packed(self) -> PackedLinear:
        """The layer as it is now, for many calls with few tokens, as a search makes them.

        The weights are copied, in the order in which the kernels read them; a call of the layer
        itself does that each time, since they may have changed.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> linear, x = fs.Linear(4, 1000, seed=0), np.ones((5, 4), np.float32)
        >>> packed = linear.packed()
        >>> bool((packed(x) == linear(x)).all())
        True
        """
        return PackedLinear(self)

    def _read(self, x):
        x = checks.floats("x", x, self._dtype)
        checks.last_axis("x", x, self._in_features, "in_features")
        return x

    def _map(self, x):
        y = kernels().empty((*x.shape[:-1], self._out_features), self._dtype)
        map_rows(_rows(x), *self._weights(), _rows(y))
        return y

    def _weights(self):
        return self.weight, self._parameters["bias"] if self._bias else None

    def _back(self, x, dy, input_grad):
        shape = x.shape
        x, dy = x.reshape(-1, self._in_features), dy.reshape(-1, self._out_features)
        self.add_gradients(x, dy)
        if not input_grad:
            return None
        dx = kernels().empty(x.shape, self._dtype)
        kernels().multiply_rows(dy, self.weight.T, None, dx)
        return dx.reshape(shape)

    # Losses that never hold all outputs call these for some of the outputs at a time.

    @property
    def weight_owner(self) -> Parameters:
        """The parameters that the weight belongs to: an embedding's if it is tied."""
        return self._parameters if self._tied is None else self._tied.parameters

    @property
    def weight(self) -> np.ndarray:
        """W (out_features, in_features), wherever it lies."""
        return self.weight_owner["weight"]

    @weight.setter
    def weight(self, value):  # of a tied layer, whose own parameters have none
        self._check_replaced("weight", value)

    @property
    def bias(self) -> np.ndarray | Any:  # who made it with a bias can index it, without a check
        """b (out_features,), or None, as in PyTorch."""
        return self._parameters["bias"] if self._bias else None

    @bias.setter
    def bias(self, value):  # of a layer without
        raise AttributeError("bias can't be changed: make a new Linear instead")

    def add_gradients(self, x, dy, begin=0):
        """Add those of the outputs from ``begin`` on, whose gradients dy (N, outputs) are."""
        own = slice(begin, begin + dy.shape[1])
        source, parameters = self.weight_owner, self._parameters
        with source.grads_lock:
            d_bias = None
            if self._bias and parameters.grads_lock is source.grads_lock:
                d_bias = parameters.grads["bias"][own]
            kernels().add_linear_gradients(dy, x, source.grads["weight"][own], d_bias)
        if self._bias and d_bias is None:  # of a tied layer that isn't part of a model yet
            with parameters.grads_lock:
                parameters.grads["bias"][own] += dy.sum(axis=0)


class PackedLinear(Packed):
    """A :class:`Linear` layer as it was when its ``packed()`` made this: see there.

    Calling it is like calling the layer; where x is a single row, for which the layer asks BLAS,
    the two agree to rounding.

    A copy is itself.  It can't be pickled; its layer can.
    """

    def __init__(self, layer):
        super().__init__(layer)
        self._multiply = kernels().RowMultiplier(*layer._weights())

    @property
    def in_features(self) -> int:
        """Those of the layer."""
        return self._layer.in_features

    @property
    def out_features(self) -> int:
        """Those of the layer."""
        return self._layer.out_features

    @property
    def dtype(self) -> np.dtype:
        """That of the layer."""
        return self._layer.dtype

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """The map of each token; x and y are those of a layer's call."""
        x = self._layer._read(x)
        y = kernels().empty((*x.shape[:-1], self._layer.out_features), x.dtype)
        self._multiply(_rows(x), _rows(y))
        return y


def _rows(x):
    """All vectors of an array, (N, F); a view."""
    return x.reshape(-1, x.shape[-1])


class Dropout(TokenLayer):
    """Set each number to 0 with probability p while training, and scale up the others.

    The scale is 1 / (1 - p), so that the expected value stays; calling the layer changes
    nothing (Srivastava et al., 2014).  The layer has its own random generator, whose state is
    :attr:`random_state`.

    Parameters
    ----------
    p : float
        From 0 to 1; can be assigned.
    seed : int, Generator or None

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> dropout = fs.Dropout(0.5, seed=0)
    >>> y, backprop = dropout.forward(np.ones(6, np.float32))
    >>> y.tolist(), backprop(np.ones(6, np.float32)).tolist()
    ([2.0, 2.0, 2.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 0.0, 0.0, 0.0])
    """

    def __init__(self, p: float = 0.5, *, seed: checks.Seed = None) -> None:
        self.p = p
        self._rng = checks.generator(seed)
        self._parameters = Parameters({}, np.float32)

    @property
    def p(self) -> float:
        """Probability that a number becomes 0."""
        return self._p

    @p.setter
    def p(self, value: float) -> None:
        self._p = checks.probability("p", value)

    def __repr__(self):
        return f"Dropout({self._p})"

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """x as it is.

        Parameters
        ----------
        x : array of floats, any shape

        Returns
        -------
        y : ndarray, the shape of x
            x itself where it is a float32 or float64 array.

        Raises
        ------
        TypeError
            If x doesn't hold floating-point numbers.
        """
        return checks.floats_of_any_precision("x", x)

    def forward(self, x: ArrayLike) -> tuple[np.ndarray, TokenBackprop]:
        """x with numbers dropped, and a function that runs the backward pass.

        Returns
        -------
        y : ndarray, the shape of x
            With p = 0 x itself, as from a call.
        backprop : TokenBackprop
            ``dx = backprop(dy)`` drops and scales the same numbers of dy.
        """
        x = checks.floats_of_any_precision("x", x)
        if not self._p:
            return self._with_backprop(x, None)
        factors = np.asarray(self._rng.random(x.shape, dtype=x.dtype))
        np.greater_equal(factors, self._p, out=factors)
        factors *= 1 / (1 - self._p) if self._p < 1 else 0
        return self._with_backprop(x * factors, factors)

    def _back(self, factors, dy, input_grad):
        if not input_grad:
            return None
        return dy if factors is None else dy * factors


class LayerNorm(TokenLayer):
    r"""Normalise each token's features, then scale and shift them (Ba et al., 2016).

    .. math:: y = \frac{x - \mathrm{mean}(x)}{\sqrt{\mathrm{var}(x) + \epsilon}} \, w + b

    with the mean and the (biased) variance over the normalised axes of one token.

    Parameters
    ----------
    normalized_shape : int or sequence of ints
        The trailing axes to normalise over; an int is the last one alone.
    eps : float
        :math:`\epsilon`
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.

    Attributes
    ----------
    parameters : Parameters
        ``weight`` and ``bias``, both of normalized_shape; they start as ones and zeros.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> norm = fs.LayerNorm(4, dtype=np.float64)
    >>> y, backprop = norm.forward(np.array([[1.0, 2.0, 3.0, 4.0]]))
    >>> y.round(3).tolist()
    [[-1.342, -0.447, 0.447, 1.342]]
    >>> dx = backprop(y)
    """

    normalized_shape = fixed("normalized_shape")
    eps = fixed("eps")
    dtype = fixed("dtype")
    weight: np.ndarray
    bias: np.ndarray

    _not_here = Settled._not_here | {"elementwise_affine": "there are always weights"}

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        *,
        eps: float = 1e-5,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self._normalized_shape = self._read_shape(normalized_shape)
        self._eps = checks.positive_float("eps", eps)
        self._dtype = checks.float_dtype(dtype)
        shapes = {"weight": self._normalized_shape, "bias": self._normalized_shape}
        self._parameters = Parameters(shapes, self._dtype)
        self._parameters["weight"].fill(1)

    @staticmethod
    def _read_shape(value):
        if not isinstance(value, (tuple, list)):
            value = (value,)
        if not value:
            raise ValueError("normalized_shape must have at least one axis, got ()")
        return tuple([checks.positive_int("normalized_shape", size) for size in value])

    def __repr__(self):
        options = f", eps={self._eps}" * (self._eps != 1e-5)
        shape = self._normalized_shape
        shown = shape[0] if len(shape) == 1 else shape
        return f"LayerNorm({shown}{options}, dtype={self._dtype})"

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """Normalise each token.

        Parameters
        ----------
        x : array of floats, (..., *normalized_shape)

        Returns
        -------
        y : ndarray, the shape of x

        Raises
        ------
        TypeError, ValueError
            If x has the wrong dtype or shape.
        """
        return self._scale(*self._normalize(x)[:2])

    def forward(self, x: ArrayLike) -> tuple[np.ndarray, TokenBackprop]:
        """As calling the layer, with a function that runs the backward pass.

        Returns
        -------
        y : ndarray, the shape of x
        backprop : TokenBackprop
            ``dx = backprop(dy)`` adds to ``parameters.grads``.
        """
        normal, shape, deviations = self._normalize(x)
        return self._with_backprop(self._scale(normal, shape), (normal, deviations))

    def _normalize(self, x):
        """x with mean 0 and variance 1, (N, F); the shape of x; the standard deviations (N, 1)."""
        x = checks.floats("x", x, self._dtype)
        axes = len(self._normalized_shape)
        if x.shape[-axes:] != self._normalized_shape:
            expected = ", ".join(map(str, self._normalized_shape))
            raise ValueError(
                f"x must have shape (..., {expected}), got {x.shape}; "
                "the last axes are normalized_shape"
            )
        rows = x.reshape(-1, self._parameters["weight"].size)
        centred = rows - rows.mean(axis=1, keepdims=True)
        deviations = np.square(centred).mean(axis=1, keepdims=True)
        deviations += self._eps
        np.sqrt(deviations, out=deviations)
        centred /= deviations
        return centred, x.shape, deviations

    def _scale(self, normal, shape):
        y = normal * self._parameters["weight"].reshape(-1)
        y += self._parameters["bias"].reshape(-1)
        return y.reshape(shape)

    def _back(self, tape, dy, input_grad):
        normal, deviations = tape
        shape, dy = dy.shape, dy.reshape(normal.shape)
        grads = self._parameters.grads
        d_weight, d_bias = (dy * normal).sum(axis=0), dy.sum(axis=0)
        with self._parameters.grads_lock:
            grads["weight"][...] += d_weight.reshape(self._normalized_shape)
            grads["bias"][...] += d_bias.reshape(self._normalized_shape)
        if not input_grad:
            return None
        # The mean takes out what all features have in common, the variance what follows `normal`.
        dx = dy * self._parameters["weight"].reshape(-1)
        along = (dx * normal).mean(axis=1, keepdims=True)
        dx -= dx.mean(axis=1, keepdims=True)
        dx -= normal * along
        dx /= deviations
        return dx.reshape(shape)
