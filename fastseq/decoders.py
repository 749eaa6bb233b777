"""Decoders with attention: recurrent layers that look at a source at every step.

The whole target sequence is one kernel call, forward and back, though each step depends on what
the one before has looked at.

T target steps, S source positions, B rows, N target tokens, I input size, H hidden size, E memory
size, A attention size, G gates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks, module, stack
from fastseq.attention.sources import Sources
from fastseq.decoder_passes import DecoderPasses
from fastseq.decoding import DecoderState

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

State = Any  # an array h, or for the LSTM a pair (h, c); perhaps with what is fed first behind it

SCORES = ("additive", "dot", "general", "concat")
QUERIES = ("previous", "current")


class AttentionDecoder(DecoderPasses):
    """Common to AttentionLSTM and AttentionGRU."""

    def __init__(
        self,
        input_size,
        hidden_size,
        memory_size,
        *,
        score,
        query,
        input_feeding,
        attention_size,
        bias,
        batch_first,
        dtype,
        seed,
    ):
        hidden_size = checks.positive_int("hidden_size", hidden_size)
        self._memory_size = checks.positive_int("memory_size", memory_size)
        self._score = checks.choice("score", score, SCORES)
        query = self._usual_query if query is None else query
        self._query = checks.choice("query", query, QUERIES)
        self._input_feeding = checks.flag("input_feeding", input_feeding)
        self._batch_first = checks.flag("batch_first", batch_first)
        self._attention_size = self._read_attention_size(attention_size, hidden_size)
        if self._query == "previous" and not self._input_feeding:
            raise ValueError(
                "input_feeding must be True with query='previous', where the context is part of "
                "the cell's input; take query='current' for attention without feeding"
            )
        if self._score == "dot" and self._memory_size != hidden_size:
            raise ValueError(
                f"memory_size must equal hidden_size, {hidden_size}, with score='dot', got "
                f"{self._memory_size}; take score='general'"
            )
        super().__init__(
            input_size, hidden_size, 1, 1, bias=bias, dropout=0.0, dtype=dtype, seed=seed
        )

    @property
    def _usual_query(self):
        return "previous" if self._score == "additive" else "current"

    def _read_attention_size(self, size, hidden_size):
        if self._score in ("dot", "general"):
            if size is not None:
                raise ValueError(
                    f"attention_size must be None with score={self._score!r}, whose queries are "
                    f"the states themselves, got {size!r}"
                )
            return hidden_size
        return hidden_size if size is None else checks.positive_int("attention_size", size)

    def __repr__(self):
        options = [f"score={self.score!r}"]
        options += [f"query={self.query!r}"] * (self.query != self._usual_query)
        options += ["input_feeding=False"] * (not self.input_feeding)
        options += [f"attention_size={self.attention_size}"] * (
            self.attention_size != self.hidden_size
        )
        options += ["batch_first=True"] * self.batch_first
        return self._repr(options, self.memory_size)

    # --- parameters -------------------------------------------------------------------------

    def _parameter_shapes(self):
        hidden, memory, size = self.hidden_size, self.memory_size, self.attention_size
        gates = self._kind.gates * hidden
        shapes = {"weight_ih": (gates, self.input_size + self._fed_size)}
        shapes["weight_hh"] = (gates, hidden)
        if self.bias:
            shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
        if self.score == "additive":
            shapes |= {"weight_query": (size, hidden), "weight_key": (size, memory)}
        elif self.score == "concat":
            shapes["weight_concat"] = (size, hidden + memory)
        elif self.score == "general":
            shapes["weight_key"] = (hidden, memory)
        if self.score in ("additive", "concat"):
            shapes |= {"bias_key": (size,)} if self.bias else {}
            shapes["weight_score"] = (size,)
        shapes["weight_output"] = (hidden, memory + hidden)
        return shapes | ({"bias_output": (hidden,)} if self.bias else {})

    def _initialize(self):
        """U(-1 / sqrt(n), 1 / sqrt(n)): n is H in the cell, elsewhere a weight's inputs."""
        for name, view in self._parameters.items():
            n = self.hidden_size
            if not name.endswith(("_ih", "_hh")) and name.startswith("weight"):
                n = view.shape[-1]
            view[...] = self._rng.uniform(-(n**-0.5), n**-0.5, view.shape)

    # --- passes -----------------------------------------------------------------------------

    def __call__(
        self,
        x: ArrayLike,
        memory: ArrayLike,
        state: State = None,
        lengths: ArrayLike | None = None,
        memory_lengths: ArrayLike | None = None,
    ) -> tuple[np.ndarray, State, np.ndarray]:
        """Run over whole target sequences, saving nothing for a backward pass.

        Parameters
        ----------
        x : array of floats, (T, B, I), with ``batch_first`` (B, T, I)
            The targets' inputs, as in teacher forcing: those of the tokens before.
        memory : array of floats, (S, B, E), with ``batch_first`` (B, S, E)
            What the sources offer: an encoder's outputs.
        state : None, array or tuple of arrays, each (1, B, H)
            The initial state: h, for the LSTM (h, c); None is zeros.  Where outputs are fed
            (``query="current"``, ``input_feeding=True``) there may be one array more behind
            these: the output before the first step, which else is zeros.
        lengths : array of integers, (B,), optional
            The targets' lengths, from 0 to T, in any order.  None means that all have T steps.
        memory_lengths : array of integers, (B,), optional
            The sources' lengths, from 0 to S.  A source of length 0 gives contexts of zeros.

        Returns
        -------
        y : ndarray, (T, B, H) or (B, T, H)
            tanh(W_o [context; h] + b_o) at each step, 0 past a target's length.  With
            ``batch_first`` it may be a view with its axes swapped, as weights may.
        state : like the argument
            The state after each target's own last step.
        weights : ndarray, (T, B, S) or (B, T, S)
            How much each step looked at each position: sums to 1; 0 past a target's or a
            source's length.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype, rank, shape or value.
        """
        run, finals = self._forward(x, memory, state, lengths, memory_lengths, training=False)
        result = self._results(run, finals)
        self._pool.give_back(run.buffers)
        return result

    def forward(
        self,
        x: ArrayLike,
        memory: ArrayLike,
        state: State = None,
        lengths: ArrayLike | None = None,
        memory_lengths: ArrayLike | None = None,
    ) -> tuple[np.ndarray, State, np.ndarray, DecoderBackprop]:
        """As calling the layer, with a function that runs the backward pass.

        The arguments and the returned ``y`` and ``weights`` may be kept without a copy until the
        backward pass has run; don't change them before, nor the parameters.

        Returns
        -------
        y, state, weights
            As from a call of the layer.
        backprop : DecoderBackprop
            ``dx, dmemory, dstate = backprop(dy, dstate=None, dweights=None)`` adds to
            ``parameters.grads``.  It can run once.

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> decoder = fs.AttentionGRU(2, 3, 4, dtype=np.float64, seed=0)
        >>> y, h, weights, backprop = decoder.forward(np.ones((5, 1, 2)), np.ones((6, 1, 4)))
        >>> dx, dmemory, dh = backprop(2 * y)  # of the loss (y**2).sum()
        >>> dx.shape, dmemory.shape, dh.shape
        ((5, 1, 2), (6, 1, 4), (1, 1, 3))
        """
        run, finals = self._forward(x, memory, state, lengths, memory_lengths, training=True)
        y, state, weights = self._results(run, finals)
        return y, state, weights, DecoderBackprop(self, run, (y.shape, weights.shape))

    def start(
        self,
        memory: ArrayLike,
        state: State = None,
        memory_lengths: ArrayLike | None = None,
    ) -> DecoderState:
        """The decoder one step at a time, as searches need it.

        Parameters
        ----------
        memory, state, memory_lengths
            As in a call of the layer.

        Returns
        -------
        state : DecoderState
            ``y = state.step(x)`` goes on by one step; the weights, and the backend, are those of
            this moment.
        """
        memory = self._read_memory(memory, memory_lengths)
        states, _ = self._read_decoder_states("state", state, memory.rows)
        return DecoderState(self, memory, states)

    def _forward(self, x, memory, state, lengths, memory_lengths, *, training):
        x = checks.floats("x", x, self._dtype)
        if x.ndim != 3 or x.shape[2] != self.input_size:
            raise ValueError(
                f"x must have shape {self._axes('T', self.input_size)}, got {x.shape}; the last "
                "axis is input_size"
            )
        steps, rows = self._time_first(x)
        memory = self._read_memory(memory, memory_lengths, rows)
        if lengths is not None:
            lengths = checks.lengths(lengths, rows, steps)
        stack.refuse_lengths(state)
        states, given = self._read_decoder_states("state", state, rows)
        return self._run_over(x, lengths, memory, states, given, training)

    # --- arguments --------------------------------------------------------------------------

    def _axes(self, steps, size):
        return f"(B, {steps}, {size})" if self._batch_first else f"({steps}, B, {size})"

    def _time_first(self, array):
        """How many steps and rows it has."""
        return array.shape[1::-1] if self._batch_first else array.shape[:2]

    def _read_memory(self, memory, lengths, rows_of_x=None):
        memory = checks.floats("memory", memory, self._dtype)
        if memory.ndim != 3 or memory.shape[2] != self.memory_size:
            raise ValueError(
                f"memory must have shape {self._axes('S', self.memory_size)}, got {memory.shape}; "
                "the last axis is memory_size"
            )
        steps, rows = self._time_first(memory)
        if rows_of_x is not None and rows != rows_of_x:
            raise ValueError(
                f"memory must have as many rows as x, {rows_of_x}, got {rows}: it is read as "
                f"{self._axes('S', self.memory_size)}, and has shape {memory.shape}"
            )
        if lengths is not None:
            lengths = checks.lengths(lengths, rows, steps, name="memory_lengths", of="memory")
        return Sources(memory, lengths, self._batch_first)

    def _read_decoder_states(self, name, value, rows):
        """h0, for the LSTM c0, and where outputs are fed the first; whether that was given."""
        shape, letters = (1, rows, self.hidden_size), "(1, B, hidden_size)"
        count = len(self._kind.states) + self._feeds_output
        if value is None:
            return [np.zeros(shape, self._dtype) for _ in range(count)], False
        fed, given = [], isinstance(value, (tuple, list)) and len(value) == count
        if self._feeds_output:
            fed = [np.zeros(shape, self._dtype)]
            if given:
                *value, last = value
                fed = [self._read_state(f"{name}[{count - 1}]", last, shape, letters)]
                value = value[0] if count == 2 else value
        states = self._read_states(name, value, shape, letters)
        return states + fed, bool(given and fed)


class DecoderBackprop(module.Backprop):
    """The backward pass of one call of a decoder's ``forward``."""

    __slots__ = ()

    def __call__(
        self,
        dy: ArrayLike | None,
        dstate: State = None,
        dweights: ArrayLike | None = None,
        *,
        input_grad: bool = True,
    ) -> tuple[np.ndarray | None, np.ndarray, State]:
        """Backpropagation through time and attention; adds to the decoder's gradients.

        Parameters
        ----------
        dy : array of floats, the shape of y, or None
            Gradient of the loss with respect to y.  None is zeros.
        dstate : None, array or tuple of arrays, the shape of the state
            Gradient with respect to the final state.  None is zeros.
        dweights : array of floats, the shape of the weights, or None
            Gradient with respect to the weights of the attention, beside what y gives them.
        input_grad : bool
            False saves the work for dx where nobody needs it.

        Returns
        -------
        dx : ndarray, the shape of x, or None
            Gradient with respect to x, 0 past a target's length; None if not wanted.
        dmemory : ndarray, the shape of the memory
            Gradient with respect to the memory, 0 past a source's length.
        dstate : like the state that forward was given
            Gradient with respect to the initial state.

        Raises
        ------
        RuntimeError
            If it has run before.
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape; it can still run after that.
        """
        layer, run = self._owner, self._read_tape()
        (packing, buffers), (y_shape, weights_shape) = (run.packing, run.buffers), self._shape
        input_grad = checks.flag("input_grad", input_grad)
        dy = self._read("dy", dy, y_shape, "of y")
        if dweights is not None:
            dweights = self._read("dweights", dweights, weights_shape, "of the weights")
        dstates, _ = layer._read_decoder_states("dstate", dstate, packing.rows)
        self._use_up()
        own = buffers.get("own dy", (packing.tokens, layer.hidden_size))
        np.copyto(own, packing.gather(dy, buffers, "dy"))
        dstates = [packing.sort(array).copy() for array in dstates]  # the kernels write there
        if dweights is not None:
            dweights = packing.gather(dweights, buffers, "dweights")
        dx, dmemory = layer._back(run, own, dstates, dweights, input_grad)
        dx = None if dx is None else packing.scatter(dx)
        if layer._feeds_output and not run.given:
            dstates = dstates[:-1]
        dstate = packing.state(dstates)
        layer._pool.give_back(buffers)
        return dx, dmemory, dstate

    def _read(self, name, value, shape, letters):
        if value is None:
            return np.zeros(shape, self._owner.dtype)
        value = checks.floats(name, value, self._owner.dtype)
        checks.shape(name, value, shape, letters)
        return value


class AttentionLSTM(AttentionDecoder):
    r"""An LSTM that looks at a source at every step: a decoder (Bahdanau et al., 2015).

    With ``query="previous"``, as in that paper, the state before a step asks, and the context is
    part of the step's input:

    .. math::

        c_t &= \mathrm{attention}(h_{t-1}), \qquad
        h_t = \mathrm{LSTM}([x_t; c_t], h_{t-1}) \\
        y_t &= \tanh(W_o [c_t; h_t] + b_o)

    With ``query="current"`` the state after it asks, and what comes of it is fed to the next step
    (Luong et al., 2015):

    .. math::

        h_t &= \mathrm{LSTM}([x_t; y_{t-1}], h_{t-1}), \qquad
        c_t = \mathrm{attention}(h_t) \\
        y_t &= \tanh(W_o [c_t; h_t] + b_o)

    or, with ``input_feeding=False``, is not.  The attention is the softmax over the source's
    positions m of a score, and the sum of the m weighted by it.  Scores are

    ============  =====================================================================
    "additive"    :math:`v \cdot \tanh(W_q h + W_k m + b_k)`
    "concat"      :math:`v \cdot \tanh(W [h; m] + b_k)`: the same with one weight
    "dot"         :math:`h \cdot m`
    "general"     :math:`h \cdot W_k m`
    ============  =====================================================================

    Parameters
    ----------
    input_size : int
        I
    hidden_size : int
        H
    memory_size : int
        E, the features of the memory, which is an encoder's outputs.
    score : {"additive", "dot", "general", "concat"}
    query : {"previous", "current"}, optional
        By default "previous" for additive scores, "current" for the others.
    input_feeding : bool
        False with ``query="current"``: no step knows what the one before has looked at.  Then
        the attention runs for all steps at once.
    attention_size : int, optional
        A, in which additive and concat scores compare; by default H.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Whether x, memory, y and weights are (B, T, ...) and (B, S, ...) rather than (T, B, ...) and
        (S, B, ...).  States, and what goes step by step, don't change.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters, U(-1 / sqrt(n), 1 / sqrt(n)), where n is H in the cell and
        elsewhere the number of a weight's inputs.

    Attributes
    ----------
    parameters : Parameters
        ``weight_ih`` (4 * H, I + F), where F columns are for what is fed: E, H or 0;
        ``weight_hh`` (4 * H, H), ``bias_ih``, ``bias_hh`` (4 * H,), gates in the order i, f, g, o;
        ``weight_query`` (A, H) and ``weight_key`` (A, E), or ``weight_concat`` (A, H + E), or with
        general scores ``weight_key`` (H, E); ``bias_key`` (A,), ``weight_score`` (A,) for v;
        ``weight_output`` (H, E + H), ``bias_output`` (H,).

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> decoder = fs.AttentionLSTM(3, 4, 5, seed=0)
    >>> x, memory = np.ones((6, 2, 3), np.float32), np.ones((7, 2, 5), np.float32)
    >>> y, (h, c), weights = decoder(x, memory, lengths=[6, 2], memory_lengths=[3, 7])
    >>> y.shape, h.shape, weights.shape, float(weights[0, 0, 3:].max())
    ((6, 2, 4), (1, 2, 4), (6, 2, 7), 0.0)
    """

    _kind = stack.LSTM

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        *,
        score: str = "additive",
        query: str | None = None,
        input_feeding: bool = True,
        attention_size: int | None = None,
        bias: bool = True,
        batch_first: bool = False,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            memory_size,
            score=score,
            query=query,
            input_feeding=input_feeding,
            attention_size=attention_size,
            bias=bias,
            batch_first=batch_first,
            dtype=dtype,
            seed=seed,
        )


class AttentionGRU(AttentionDecoder):
    """A GRU that looks at a source at every step: a decoder (Bahdanau et al., 2015).

    As :class:`AttentionLSTM`, which explains all of it, with the cell of :class:`~fastseq.GRU`.

    Parameters
    ----------
    input_size, hidden_size, memory_size, score, query, input_feeding, attention_size, bias
        As of :class:`AttentionLSTM`.
    reset_after : bool
        Whether the reset gate acts after the recurrent product; False is the paper's own form.
    batch_first, dtype, seed
        As of :class:`AttentionLSTM`.

    Attributes
    ----------
    parameters : Parameters
        As of :class:`AttentionLSTM`, with 3 * H rows in the cell's weights, in the order r, z, n.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> decoder = fs.AttentionGRU(3, 4, 4, score="dot", seed=0)
    >>> x, memory = np.ones((6, 2, 3), np.float32), np.ones((7, 2, 4), np.float32)
    >>> y, h, weights = decoder(x, memory)
    >>> y.shape, h.shape, weights.shape
    ((6, 2, 4), (1, 2, 4), (6, 2, 7))
    """

    _kind = stack.GRU
    reset_after = module.fixed("reset_after")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int,
        *,
        score: str = "additive",
        query: str | None = None,
        input_feeding: bool = True,
        attention_size: int | None = None,
        reset_after: bool = True,
        bias: bool = True,
        batch_first: bool = False,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._reset_after = checks.flag("reset_after", reset_after)
        super().__init__(
            input_size,
            hidden_size,
            memory_size,
            score=score,
            query=query,
            input_feeding=input_feeding,
            attention_size=attention_size,
            bias=bias,
            batch_first=batch_first,
            dtype=dtype,
            seed=seed,
        )
