"""Recurrent layers: RNN, LSTM and GRU over whole sequences.

A call checks its arguments, packs the real tokens (``packing.py``), and has the kernels walk
through time (``stack.py``).  T steps, B rows, I input size, H hidden size, D directions (1 or
2), L layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks, module, stack
from fastseq.backend import get_backend, kernels
from fastseq.layers import Embedding
from fastseq.lookup import Lookup
from fastseq.packed import PackedLayer
from fastseq.packing import pack
from fastseq.streaming import Stream

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

State = Any  # an array h, or for the LSTM a pair (h, c)

_IF_INDICES = ", or give embedding=... if they are indices of vectors"


class RecurrentLayer(stack.Stack):
    """Common to RNN, LSTM and GRU: reading arguments, and the passes forward and back."""

    batch_first = module.fixed("batch_first")
    bidirectional = module.fixed("bidirectional")

    flatten_parameters = module.Elsewhere("parameters always lie in one array, parameters.flat")
    backward = module.Elsewhere(
        "forward returns a function that goes back: y, state, backprop = layer.forward(x)"
    )

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers,
        *,
        bias,
        batch_first,
        dropout,
        bidirectional,
        dtype,
        seed,
    ):
        self._batch_first = checks.flag("batch_first", batch_first)
        self._bidirectional = checks.flag("bidirectional", bidirectional)
        dropout = checks.probability("dropout", dropout)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            2 if self.bidirectional else 1,
            bias=bias,
            dropout=dropout,
            dtype=dtype,
            seed=seed,
        )
        self._warn_of_idle_dropout()

    def _bind(self):
        super()._bind()
        kind = self._kind
        own = {kind.option: getattr(self, kind.option)} if kind.option else {}
        _warm_up(kind, self._dtype, own)

    def __repr__(self):
        options = ["batch_first=True"] * self.batch_first
        options += [f"dropout={self.dropout}"] * (self.dropout > 0)
        options += ["bidirectional=True"] * self.bidirectional
        return self._repr(options)

    @property
    def dropout(self) -> float:
        """Probability that an output is dropped on its way to the next layer; can be assigned."""
        return self._dropout

    @dropout.setter
    def dropout(self, value: float) -> None:
        self._dropout = checks.probability("dropout", value)
        self._warn_of_idle_dropout()

    def _warn_of_idle_dropout(self):
        if self.dropout and self.num_layers == 1:
            checks.warn(
                f"dropout={self.dropout} has no effect with num_layers=1: it acts between layers; "
                "take more layers, or dropout=0"
            )

    def __call__(
        self,
        x: ArrayLike,
        state: State = None,
        lengths: ArrayLike | None = None,
        *,
        embedding: Embedding | None = None,
        beside: ArrayLike | None = None,
    ) -> tuple[np.ndarray, State]:
        """Run over whole sequences, saving nothing for a backward pass and without dropout.

        Parameters
        ----------
        x : array of floats, (T, B, I), with ``batch_first`` (B, T, I), without a batch (T, I)
            Floats of another precision or layout are converted.  T and B may be 0.
        state : None, array or pair of arrays, (L * D, B, H), without a batch (L * D, H)
            The initial state: h, for the LSTM (h, c).  None is zeros.
        lengths : array of integers, (B,), optional
            The real length of each sequence, from 0 to T, in any order.  None means that all
            have T steps.  The cost follows the sum of the lengths.
        embedding : Embedding, optional
            Its vectors are the input, and x are indices of them, (T, B), with ``batch_first``
            (B, T), without a batch (T,).  The same as ``embedding(x)`` for x, but each vector
            in use is multiplied once, however often it comes: with small vocabularies this
            saves up to half of the time.
        beside : array of floats, (B, F), without a batch (F,), optional
            A vector for each row that stands behind its x at every step, such as what a decoder
            knows of a whole sequence.  x, or the embedding's vectors, then have I - F features.
            The same as concatenating, but each vector is multiplied once.  Without an embedding
            the products of all tokens are kept at once, which takes more memory.

        Returns
        -------
        y : ndarray, (T, B, D * H), (B, T, D * H) or (T, D * H)
            The top layer's h at each step, forward and reverse side by side; 0 past a
            sequence's length.  With ``batch_first`` it may be a view with its axes swapped.
        state : like the argument
            The state after each sequence's own last step, in the reverse direction its first.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype, rank, shape or value.
        """
        return self._call(x, state, lengths, embedding, beside)

    def forward(
        self,
        x: ArrayLike,
        state: State = None,
        lengths: ArrayLike | None = None,
        *,
        embedding: Embedding | None = None,
        beside: ArrayLike | None = None,
    ) -> tuple[np.ndarray, State, LayerBackprop]:
        """As calling the layer, with dropout, and with a function that runs the backward pass.

        ``x``, ``state`` and the returned ``y`` are kept without a copy until the backward pass
        has run; don't change them before, nor the parameters.

        Returns
        -------
        y, state
            As from a call of the layer.
        backprop : LayerBackprop
            ``dx, dstate = backprop(dy, dstate=None)`` adds to ``parameters.grads``, and with an
            embedding to that one's; dx then is None.  With vectors beside x their gradient comes
            as a third one.  It can run once.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> gru = fs.GRU(2, 3, dtype=np.float64, seed=0)
        >>> y, h, backprop = gru.forward(np.ones((4, 1, 2)))
        >>> dx, dh = backprop(2 * y)  # of the loss (y**2).sum()
        >>> dx.shape, dh.shape, gru.parameters.grads["weight_hh_l0"].shape
        ((4, 1, 2), (1, 1, 3), (9, 3))
        """
        buffers = self._pool.borrow()
        x, states, packing, lookup = self._read(
            x, state, lengths, buffers, embedding, beside, training=True
        )
        y, finals, tape = self._run(x, states, packing, buffers, lookup, training=True)
        return y, packing.state(finals), LayerBackprop(self, tape, y.shape)

    def packed(self) -> PackedLayer:
        """The layer as it is now, for many calls over short sequences.

        The weights are copied, in the order in which the kernels read them; a call of the layer
        itself does that each time, since they may have changed.  It takes a tenth of a call for
        a single sequence of 100 steps with 512 units, and a third for 10 steps.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> gru, x = fs.GRU(4, 16, seed=0), np.ones((3, 1, 4), np.float32)
        >>> packed = gru.packed()
        >>> y, h = packed(x)
        >>> bool((y == gru(x)[0]).all())
        True
        """
        return PackedLayer(self)

    def stream(self, batch_size: int = 1) -> Stream:
        """The layer one step at a time: see :class:`Stream`.

        Parameters
        ----------
        batch_size : int
            How many sequences advance side by side.

        Raises
        ------
        ValueError
            If the layer is bidirectional: its reverse direction begins at the end.
        """
        return Stream(self, batch_size)

    def _call(self, x, state, lengths, embedding=None, beside=None, cell=None):
        """See ``__call__``; ``cell`` as in ``_run``."""
        buffers = self._pool.borrow()
        x, states, packing, lookup = self._read(
            x, state, lengths, buffers, embedding, beside, training=False
        )
        y, finals, _ = self._run(x, states, packing, buffers, lookup, training=False, cell=cell)
        state = packing.state(finals)
        self._pool.give_back(buffers)
        return y, state

    # --- arguments and results --------------------------------------------------------------

    def _read(self, x, state, lengths, buffers, embedding, beside, *, training):
        """Checked arguments as ``_run`` takes them: x, states, packing, lookup."""
        size = self._input_size
        if beside is not None:
            beside = checks.floats("beside", beside, self._dtype)
            size = self._size_without(beside)
        if embedding is None:
            x = checks.floats("x", x, self._dtype, _IF_INDICES)
            lead = x.shape[:-1]
            if len(lead) not in (1, 2) or x.shape[-1] != size:
                raise self._wrong_shape(x.shape, size)
        else:
            x = self._read_indices(x, embedding, size)
            lead = x.shape
        if lengths is not None:
            lengths = self._read_lengths(lengths, lead)
        packing = pack(lead, lengths, self._batch_first, not training)
        if state is None:
            states = self._initial_zeros(packing.rows)
        else:
            stack.refuse_lengths(state)
            states = self._read_layer_states("state", state, packing)
        if embedding is None and beside is None:
            return packing.given(x, buffers, "x"), states, packing, None
        x = packing.gather(x, buffers, "x") if embedding is None else packing.gather_indices(x)
        if beside is not None:
            beside = self._read_beside(beside, packing)
        lookup = Lookup(embedding, x, beside, packing.offsets, self._weights[0], buffers)
        return lookup.ids, states, packing, lookup

    def _size_without(self, beside):
        """How many features x has where these vectors stand beside it."""
        size = self._input_size - (beside.shape[-1] if beside.ndim else 0)
        if beside.ndim not in (1, 2) or not 0 < size < self._input_size:
            raise ValueError(
                "beside must have shape (B, F), or (F,) without a batch, where F is less than "
                f"input_size, {self._input_size}, got {beside.shape}"
            )
        return size

    def _read_beside(self, beside, packing):
        """The vectors (B, F) in the kernels' order of rows."""
        expected = (packing.rows, beside.shape[-1])[not packing.batched :]
        checks.shape("beside", beside, expected, "(B, F)" if packing.batched else "(F,)")
        return np.take(beside.reshape(packing.rows, beside.shape[-1]), packing.order, axis=0)

    def _read_indices(self, x, embedding, size):
        if not isinstance(embedding, Embedding):
            raise TypeError(f"embedding must be an Embedding, got {type(embedding).__name__}")
        expected, got = (size, self._dtype), (embedding.embedding_dim, embedding.dtype)
        if got != expected:
            without = " without what is beside x" * (size < self._input_size)
            raise ValueError(
                f"embedding must have vectors of {size} features of {self._dtype}, the layer's "
                "input_size{} and dtype, got {} of {}".format(without, *got)
            )
        x = checks.indices("x", x, embedding.num_embeddings, "embeddings")
        if x.ndim not in (1, 2):
            axes = "(B, T)" if self._batch_first else "(T, B)"
            raise ValueError(
                f"with an embedding x must have shape {axes}, or (T,) without a batch, "
                f"got {x.shape}"
            )
        return x

    def _wrong_shape(self, shape, size):
        axes = f"(B, T, {size})" if self._batch_first else f"(T, B, {size})"
        return ValueError(
            f"x must have shape {axes}, or (T, {size}) without a batch, got {shape}; "
            f"the last axis is input_size{' without what is beside x' * (size < self._input_size)}"
        )

    def _read_lengths(self, lengths, lead):
        if isinstance(lengths, np.ndarray) and lengths.ndim > 1 and lengths.dtype.kind == "f":
            raise TypeError(
                f"lengths must be a 1-D array of integers, got an array {lengths.shape}; "
                "the parts of a state are one argument: state=(h, c)"
            )
        if len(lead) == 1:
            return checks.lengths(lengths, 1, lead[0], "; x has no batch axis: give a list of one")
        rows, steps = lead if self._batch_first else lead[::-1]
        hint = ""
        count = len(lengths) if isinstance(lengths, list) else getattr(lengths, "size", None)
        if count == steps != rows:
            hint = (
                f"; x is read as {'(B, T, I)' if self._batch_first else '(T, B, I)'}, "
                f"with batch_first={not self._batch_first} the other way round"
            )
        return checks.lengths(lengths, rows, steps, hint)

    def _read_layer_states(self, name, value, packing):
        """The state arrays (L * D, B, H) of an argument that is not None, rows sorted."""
        count, hidden = self.num_layers * len(self._reverse), self.hidden_size
        if packing.batched:
            letters = "(num_layers * directions, B, hidden_size)"
            arrays = self._read_states(name, value, (count, packing.rows, hidden), letters)
            return [packing.sort(array) for array in arrays]
        letters = "(num_layers * directions, hidden_size)"
        arrays = self._read_states(name, value, (count, hidden), letters)
        return [array.reshape(count, 1, hidden) for array in arrays]


class LayerBackprop(module.Backprop):
    """The backward pass of one call of a layer's ``forward``."""

    __slots__ = ()

    def __call__(
        self, dy: ArrayLike | None, dstate: State = None, *, input_grad: bool = True
    ) -> tuple[np.ndarray | None, State]:
        """Backpropagation through time (Werbos, 1990); adds to the layer's gradients.

        Parameters
        ----------
        dy : array of floats, the shape of y, or None
            Gradient of the loss with respect to y.  None is zeros.
        dstate : None, array or pair of arrays, the shape of the state
            Gradient with respect to the final state.  None is zeros, also within a pair.
        input_grad : bool
            False saves the work for dx, or for the embedding's gradient, where nobody needs it.

        Returns
        -------
        dx : ndarray, the shape of x, or None
            Gradient with respect to x, 0 past a sequence's length; None if not wanted, or if x
            are indices.
        dstate : array or pair of arrays
            Gradient with respect to the initial state.
        d_beside : ndarray, the shape of ``beside``, or None
            Only where vectors stood beside x; None if not wanted.

        Raises
        ------
        RuntimeError
            If it has run before.
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape; it can still run after that.
        """
        layer, tape = self._owner, self._read_tape()
        packing, buffers, _, lookup = tape
        input_grad = checks.flag("input_grad", input_grad)
        if dy is None:
            dy = np.zeros(self._shape, layer.dtype)
        dy = checks.floats("dy", dy, layer._dtype)
        checks.shape("dy", dy, self._shape, "of y")
        if dstate is None:
            dstates = layer._initial_zeros(packing.rows)
        else:
            dstates = layer._read_layer_states("dstate", dstate, packing)
        dstates = stack.copies(dstates)  # the kernels write there

        self._use_up()
        dx = layer._run_back(tape, packing.gather(dy, buffers, "dy"), dstates, input_grad)
        dx = None if dx is None else packing.scatter(dx)
        layer._pool.give_back(buffers)
        dstate = packing.state(dstates)
        if lookup is None or not lookup.has_beside:
            return dx, dstate
        return dx, dstate, packing.unsort(lookup.d_beside[None])[0] if input_grad else None


class RNN(RecurrentLayer):
    r"""Elman's recurrent network (Elman, 1990), with PyTorch's names and layouts.

    .. math:: h_t = \sigma(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})

    Parameters
    ----------
    input_size : int
        I
    hidden_size : int
        H
    num_layers : int
        L; layer l + 1 reads the outputs of layer l.
    nonlinearity : {"tanh", "relu", "sigmoid"}
        The activation :math:`\sigma`.
    bias : bool
        Whether there are ``bias_ih`` and ``bias_hh``.
    batch_first : bool
        Whether x and y are (B, T, ...) rather than (T, B, ...).  States don't change.
    dropout : float
        Probability that an output is dropped on its way to the next layer; in ``forward`` only.
    bidirectional : bool
        Whether each layer also runs from the end; outputs are forward and reverse side by side.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters, U(-1 / sqrt(H), 1 / sqrt(H)), and for dropout.

    Attributes
    ----------
    parameters : Parameters
        ``weight_ih_l0`` (H, I), ``weight_hh_l0`` (H, H), ``bias_ih_l0`` (H,), ``bias_hh_l0``
        (H,), then those of ``_l0_reverse``, and of ``_l1`` and above, which read (D * H) inputs.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> rnn = fs.RNN(3, 4, num_layers=2, nonlinearity="relu", seed=0)
    >>> y, h = rnn(np.ones((5, 2, 3), np.float32))
    >>> y.shape, h.shape, bool((y[-1] == h[-1]).all())
    ((5, 2, 4), (2, 2, 4), True)
    """

    _kind = stack.RNN
    nonlinearity = module.fixed("nonlinearity")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._nonlinearity = checks.choice("nonlinearity", nonlinearity, stack.NONLINEARITIES)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            dtype=dtype,
            seed=seed,
        )


class LSTM(RecurrentLayer):
    r"""Long short-term memory (Hochreiter & Schmidhuber, 1997; forget gate: Gers et al., 2000).

    .. math::

        i, f, o &= \mathrm{sigmoid}(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh}) \\
        g &= \tanh(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh}) \\
        c_t &= f \, c_{t-1} + i \, g, \qquad h_t = o \tanh(c_t)

    where each gate has its own rows of the weights, in the order i, f, g, o.  The state is
    (h, c).

    Parameters
    ----------
    input_size : int
        I
    hidden_size : int
        H
    num_layers : int
        L; layer l + 1 reads the outputs of layer l.
    bias : bool
        Whether there are ``bias_ih`` and ``bias_hh``.
    batch_first : bool
        Whether x and y are (B, T, ...) rather than (T, B, ...).  States don't change.
    dropout : float
        Probability that an output is dropped on its way to the next layer; in ``forward`` only.
    bidirectional : bool
        Whether each layer also runs from the end; outputs are forward and reverse side by side.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters, U(-1 / sqrt(H), 1 / sqrt(H)), and for dropout.

    Attributes
    ----------
    parameters : Parameters
        ``weight_ih_l0`` (4 * H, I), ``weight_hh_l0`` (4 * H, H), ``bias_ih_l0`` (4 * H,),
        ``bias_hh_l0`` (4 * H,), then those of ``_l0_reverse``, and of ``_l1`` and above,
        which read (D * H) inputs.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> lstm = fs.LSTM(3, 4, bidirectional=True, seed=0)
    >>> y, (h, c) = lstm(np.ones((5, 2, 3), np.float32), lengths=[2, 5])
    >>> y.shape, h.shape, c.shape, float(abs(y[2:, 0]).max())
    ((5, 2, 8), (2, 2, 4), (2, 2, 4), 0.0)
    """

    _kind = stack.LSTM

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            dtype=dtype,
            seed=seed,
        )


class GRU(RecurrentLayer):
    r"""Gated recurrent unit (Cho et al., 2014).

    .. math::

        r, z &= \mathrm{sigmoid}(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh}) \\
        n &= \tanh(W_{ih} x_t + b_{ih} + r \, (W_{hh} h_{t-1} + b_{hh})) \\
        h_t &= (1 - z) \, n + z \, h_{t-1}

    where each gate has its own rows of the weights, in the order r, z, n.  This is the form of
    PyTorch and cuDNN; with ``reset_after=False`` it is the paper's,
    :math:`n = \tanh(W_{ih} x_t + b_{ih} + W_{hh} (r \, h_{t-1}) + b_{hh})`.

    Parameters
    ----------
    input_size : int
        I
    hidden_size : int
        H
    num_layers : int
        L; layer l + 1 reads the outputs of layer l.
    reset_after : bool
        Whether the reset gate acts after the recurrent product.
    bias : bool
        Whether there are ``bias_ih`` and ``bias_hh``.
    batch_first : bool
        Whether x and y are (B, T, ...) rather than (T, B, ...).  States don't change.
    dropout : float
        Probability that an output is dropped on its way to the next layer; in ``forward`` only.
    bidirectional : bool
        Whether each layer also runs from the end; outputs are forward and reverse side by side.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters, U(-1 / sqrt(H), 1 / sqrt(H)), and for dropout.

    Attributes
    ----------
    parameters : Parameters
        ``weight_ih_l0`` (3 * H, I), ``weight_hh_l0`` (3 * H, H), ``bias_ih_l0`` (3 * H,),
        ``bias_hh_l0`` (3 * H,), then those of ``_l0_reverse``, and of ``_l1`` and above,
        which read (D * H) inputs.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> gru = fs.GRU(3, 4, batch_first=True, seed=0)
    >>> y, h = gru(np.ones((2, 5, 3), np.float32))
    >>> y.shape, h.shape
    ((2, 5, 4), (1, 2, 4))
    """

    _kind = stack.GRU
    reset_after = module.fixed("reset_after")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset_after: bool = True,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._reset_after = checks.flag("reset_after", reset_after)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            dtype=dtype,
            seed=seed,
        )


_WARM_STEPS, _WARM_UNITS = 50, 64  # enough for the kernels' usual tiles, in 0.3 to 1.2 ms
_WARM_LENGTHS = (5, 4, 2)  # of a ragged batch
_WARM_BYTES = 2 * 1024**2 - 4096  # of scratch memory: a huge page
_warm = set()  # kinds of layers, with dtypes and options, that have run in this process


def _warm_up(kind, dtype, options):
    """Run a small layer of a kind, forward and back, once a process.

    Code and memory that are used for the first time make a small call take three to seven times as
    long.  So this happens while a layer is made, and not while somebody waits for its first answer.
    """
    like = (kind, dtype, *options.values())
    if like in _warm or get_backend() != "cython":  # Numba would compile for seconds
        return
    _warm.add(like)
    kernels().reserve_memory(_WARM_BYTES)
    layer = _plain_layer(kind, options, _WARM_UNITS, dtype)
    steps, rows = max(_WARM_LENGTHS), len(_WARM_LENGTHS)
    for lead, lengths in (((_WARM_STEPS, 1), None), ((steps, rows), _WARM_LENGTHS)):
        x = np.zeros((*lead, _WARM_UNITS), dtype)
        layer(x, None, lengths)
        y, _, backprop = layer.forward(x, None, lengths)
        backprop(y)


def _plain_layer(kind, options, size, dtype):
    """A layer of a kind, whatever the classes of that kind want to be made from."""
    plain = type("Plain", (RecurrentLayer,), {"_kind": kind} | options)
    return plain(
        size,
        size,
        num_layers=1,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        dtype=dtype,
        seed=0,
    )
