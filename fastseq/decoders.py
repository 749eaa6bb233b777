"""Decoders with attention: recurrent layers that look at a source at every step.

The whole target sequence is one kernel call, forward and back, though each step depends on what
the one before has looked at.

T target steps, S source positions, B rows, N target tokens, I input size, H hidden size, E memory
size, A attention size, G gates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastseq import checks, module, packing, stack
from fastseq.backend import kernels
from fastseq.decoding import DecoderState, Memory

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

State = Any  # an array h, or for the LSTM a pair (h, c); perhaps with what is fed first behind it

SCORES = ("additive", "dot", "general", "concat")
QUERIES = ("previous", "current")


class _Run(NamedTuple):
    """What a pass forward leaves for the way back."""

    packed: Any
    buffers: packing.Buffers
    memory: Memory
    states: list  # h0, for the LSTM c0, where an output is fed that one's first
    given: bool  # whether the user gave what is fed first
    keys: np.ndarray
    query_weight: np.ndarray | None
    x: np.ndarray  # (N, I), with what is fed (N, I + F)
    attended: np.ndarray
    alignments: np.ndarray
    y: np.ndarray
    queries: np.ndarray | None
    saved: list


class AttentionDecoder(stack.Stack):
    """Common to AttentionLSTM and AttentionGRU."""

    _names = "{}"  # weight_ih and so on
    _bound = (*stack.Stack._bound, "_own")

    memory_size = module.fixed("memory_size")
    attention_size = module.fixed("attention_size")
    score = module.fixed("score")
    query = module.fixed("query")
    input_feeding = module.fixed("input_feeding")

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
        dtype,
        seed,
    ):
        hidden_size = checks.positive_int("hidden_size", hidden_size)
        self._memory_size = checks.positive_int("memory_size", memory_size)
        self._score = checks.choice("score", score, SCORES)
        if query is None:
            query = "previous" if score == "additive" else "current"
        self._query = checks.choice("query", query, QUERIES)
        self._input_feeding = checks.flag("input_feeding", input_feeding)
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
        default = "previous" if self.score == "additive" else "current"
        options = [f"score={self.score!r}"]
        options += [f"query={self.query!r}"] * (self.query != default)
        options += ["input_feeding=False"] * (not self.input_feeding)
        options += [f"attention_size={self.attention_size}"] * (
            self.attention_size != self.hidden_size
        )
        start = f"{type(self).__name__}({self.input_size}, {self.hidden_size}, "
        return self._repr(options).replace(start, f"{start}{self.memory_size}, ", 1)

    # --- parameters -------------------------------------------------------------------------

    @property
    def _fed_size(self):
        if not self.input_feeding:
            return 0
        return self.memory_size if self.query == "previous" else self.hidden_size

    @property
    def _feeds_output(self):
        return self.input_feeding and self.query == "current"

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

    def _bind(self):
        super()._bind()
        self._own = dict(self._parameters), dict(self._parameters.grads)

    def _of_attention(self, views):
        """The weights of queries and keys, or their gradients; None where there is none."""
        if self.score == "concat":
            both = views["weight_concat"]
            return both[:, : self.hidden_size], both[:, self.hidden_size :]
        return views.get("weight_query"), views.get("weight_key")

    def _output(self):
        return self._own[0]["weight_output"], self._own[0].get("bias_output")

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
        x : array of floats, (T, B, I)
            The targets' inputs, as in teacher forcing: those of the tokens before.
        memory : array of floats, (S, B, E)
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
        y : ndarray, (T, B, H)
            tanh(W_o [context; h] + b_o) at each step, 0 past a target's length.
        state : like the argument
            The state after each target's own last step.
        weights : ndarray, (T, B, S)
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
                f"x must have shape (T, B, {self.input_size}), got {x.shape}; the last axis is "
                "input_size"
            )
        rows = x.shape[1]
        memory = self._read_memory(memory, memory_lengths, rows)
        if lengths is not None:
            lengths = checks.lengths(lengths, rows, len(x))
        states, given = self._read_decoder_states("state", state, rows)
        packed, buffers = packing.pack(x.shape[:2], lengths, False), self._pool.borrow()
        states = [packed.sort(s) for s in states]
        x = packed.gather(x, buffers, "x")
        if self._fed_size:
            inputs = buffers.get("inputs", (packed.tokens, self.input_size + self._fed_size))
            inputs[:, : self.input_size] = x
            x = inputs
        weight, _ = self._of_attention(self._own[0])
        run = _Run(
            packed,
            buffers,
            memory,
            states,
            given,
            self._keys(memory),
            None if weight is None else np.ascontiguousarray(weight),
            x,
            buffers.get("attended", (packed.tokens, self.memory_size + self.hidden_size)),
            packed.result(buffers, "alignments", memory.longest, self._dtype),
            packed.result(buffers, "y", self.hidden_size, self._dtype),
            self._queries(buffers, packed.tokens) if training else None,
            self._arrays_to_save(buffers, 0, packed.tokens) if training else self._not_saved,
        )
        finals = [s.copy() for s in states]
        if packed.tokens:
            (self._scan if self._fed_size else self._attend_at_once)(run, finals)
        return run, finals

    def _queries(self, buffers, tokens):
        if self.score in ("dot", "general"):
            return None
        return buffers.get("queries", (tokens, self.attention_size))

    def _keys(self, memory):
        """The memory's keys, projected once for all steps."""
        _, weight = self._of_attention(self._own[0])
        if weight is None:
            return memory.values
        keys = np.empty((len(memory.values), len(weight)), self._dtype)
        kernels().multiply_rows(memory.values, weight, self._own[0].get("bias_key"), keys)
        return keys

    def _call(self, run):
        """The arguments that the two kernels of the scan have in common."""
        cell, memory, feeds = self._kind.name, run.memory, self._feeds_output
        h0, c0, fed0 = self._three(run.states)
        return (
            cell,
            self._option[0] if self._option else None,
            run.x,
            h0,
            c0,
            fed0,
            self._weights[0][0],
            run.keys,
            memory.values,
            self._own[0].get("weight_score"),
            run.packed.order,
            memory.offsets,
            run.query_weight,
            self._output() if feeds else None,
            run.packed.offsets,
            run.attended,
            run.alignments,
            run.y if feeds else None,
        )

    def _stepper(self, memory):
        weight, _ = self._of_attention(self._own[0])
        feeds = None
        if self._fed_size:
            feeds = "output" if self._feeds_output else "context"
        return kernels().DecoderStepper(
            self._kind.name,
            self._option[0] if self._option else None,
            self._weights[0][0],
            self._keys(memory),
            memory.values,
            self._own[0].get("weight_score"),
            memory.offsets,
            None if weight is None else np.ascontiguousarray(weight),
            self._output(),
            feeds,
        )

    def _three(self, states):
        """h, c or None, and what is fed or None, each (B, H)."""
        arrays = [s[0] if s.ndim == 3 else s for s in states]
        fed = arrays.pop() if self._feeds_output else None
        return arrays[0], arrays[1] if len(arrays) > 1 else None, fed

    def _scan(self, run, finals):
        h_n, c_n, fed = self._three(finals)
        gates, cells = ([None if s is None else s[0] for s in run.saved] + [None])[:2]
        kernels().decoder_forward(*self._call(run), h_n, c_n, run.queries, gates, cells)
        if fed is None:
            self._find_output(run)
        else:
            _copy_last(run.y, run.packed.offsets, fed)

    def _find_output(self, run):
        weight, bias = self._output()
        kernels().multiply_rows(run.attended, weight, bias, run.y)
        flat = run.y.reshape(-1)
        kernels().tanh(flat, flat)

    def _attend_at_once(self, run, finals):
        """Nothing is fed: the cell runs by itself, then all steps look at their sources."""
        packed, buffers, size = run.packed, run.buffers, self.memory_size
        h = buffers.get("h", (packed.tokens, self.hidden_size))
        context = buffers.get("context", (packed.tokens, size))
        given = (run.x, *run.states, self._weights[0], packed.offsets, (False,), *self._option)
        getattr(kernels(), self._kind.forward)(*given, h, *finals, *run.saved)
        query = h
        if run.query_weight is not None:
            query = buffers.get("queries", (packed.tokens, self.attention_size))
            kernels().multiply_rows(h, run.query_weight, None, query)
        arguments = self._attention_arguments(run, query)
        kernels().attention_forward(*arguments, run.alignments, context)
        run.attended[:, :size], run.attended[:, size:] = context, h
        self._find_output(run)

    def _attention_arguments(self, run, query):
        memory, v = run.memory, self._own[0].get("weight_score")
        sources = run.packed.order[packing.rows_of_tokens(run.packed.offsets)]
        return query, run.keys, memory.values, v, sources, memory.offsets

    def _results(self, run, finals):
        if not run.given and self._feeds_output:
            finals = finals[:-1]
        packed = run.packed
        state = self._hand_out(finals, packed.unsort)
        return packed.scatter(run.y), state, packed.scatter(run.alignments)

    # --- backward ---------------------------------------------------------------------------

    def _back(self, run, dy, dstates, d_alignments, input_grad):
        """dx (N, I) or None, dmemory, and ``dstates``, which become the initial states'."""
        packed, buffers, memory = run.packed, run.buffers, run.memory
        dx = packed.result(buffers, "dx", self.input_size, self._dtype) if input_grad else None
        d_values = np.zeros_like(memory.values)
        grads = self._own[1]
        d_keys = d_values if run.keys is memory.values else np.zeros_like(run.keys)
        with self._parameters.grads_lock:
            if packed.tokens:
                step = self._scan_back if self._fed_size else self._attend_back
                d_queries, asked = step(run, dy, dstates, d_alignments, dx, d_keys, d_values)
                kernels().add_linear_gradients(
                    dy, run.attended, grads["weight_output"], grads.get("bias_output")
                )
                self._projections_back(run, d_queries, asked, d_keys, d_values)
        return dx, memory.unpack(d_values)

    def _scan_back(self, run, dy, dstates, d_alignments, dx, d_keys, d_values):
        """The queries' gradients, and the states that asked; dy becomes its pre-activation's."""
        d_attended = run.buffers.get("d_attended", run.attended.shape)
        dh, dc, dfed = self._three(dstates)
        if dfed is None:
            self._output_back(run, dy, d_attended)
        else:
            d_attended.fill(0)
            _add_to_last(dy, run.packed.offsets, dfed)
            not_run = np.diff(run.packed.offsets[:2])[0]
            kept = dfed[not_run:].copy()
        d_queries = None
        if run.queries is not None:
            d_queries = run.buffers.get("d_queries", run.queries.shape)
        gates, cells = ([s[0] for s in run.saved] + [None])[:2]
        kernels().decoder_backward(
            d_attended,
            None if dfed is None else dy,
            d_alignments,
            *self._call(run),
            run.queries,
            gates,
            cells,
            dx,
            dh,
            dc,
            dfed,
            d_queries,
            d_keys,
            d_values,
            self._own[1].get("weight_score"),
            self._grads[0][0],
        )
        if dfed is not None:
            dfed[not_run:] = kept
        return d_queries, None if d_queries is None else self._states_that_asked(run)

    def _states_that_asked(self, run):
        h = run.attended[:, self.memory_size :]
        asked = run.buffers.get("asked", (len(h), self.hidden_size))
        if self.query == "current":
            np.copyto(asked, h)
            return asked
        offsets = run.packed.offsets
        first, rows = offsets[1], packing.rows_of_tokens(offsets)
        asked[:first] = run.states[0][0, :first]
        before = np.repeat(offsets[:-2], np.diff(offsets[1:]))
        asked[first:] = h[before + rows[first:]]
        return asked

    def _output_back(self, run, dy, d_attended):
        dy *= 1 - run.y * run.y
        kernels().multiply_rows(dy, self._output()[0].T, None, d_attended)

    def _attend_back(self, run, dy, dstates, d_alignments, dx, d_keys, d_values):
        """As :meth:`_scan_back`, where nothing is fed."""
        buffers, size, tokens = run.buffers, self.memory_size, run.packed.tokens
        d_attended = buffers.get("d_attended", run.attended.shape)
        self._output_back(run, dy, d_attended)
        h, dh = (buffers.get(name, (tokens, self.hidden_size)) for name in ("h", "d_h"))
        d_context = buffers.get("d_context", (tokens, size))
        np.copyto(dh, d_attended[:, size:])
        np.copyto(d_context, d_attended[:, :size])
        query = h if run.queries is None else run.queries
        d_query = buffers.get("d_queries", query.shape)
        kernels().attention_backward(
            d_context,
            d_alignments,
            *self._attention_arguments(run, query),
            run.alignments,
            d_query,
            d_keys,
            d_values,
            self._own[1].get("weight_score"),
        )
        through = d_query
        if run.queries is not None:
            through = buffers.get("through_queries", dh.shape)
            kernels().multiply_rows(d_query, run.query_weight.T, None, through)
        dh += through
        given = (run.x, *run.states, self._weights[0], run.packed.offsets, (False,), *self._option)
        getattr(kernels(), self._kind.backward)(
            dh, *given, h, *run.saved, dx, *dstates, self._grads[0]
        )
        return (None, None) if run.queries is None else (d_query, h)

    def _projections_back(self, run, d_queries, asked, d_keys, d_values):
        """What queries and keys were projected by, and from."""
        _, key_weight = self._of_attention(self._own[0])
        d_query_weight, d_key_weight = self._of_attention(self._own[1])
        if d_queries is not None:
            kernels().add_linear_gradients(d_queries, asked, d_query_weight, None)
        if key_weight is not None:
            d_bias = self._own[1].get("bias_key")
            kernels().add_linear_gradients(d_keys, run.memory.values, d_key_weight, d_bias)
            through = np.empty_like(d_values)
            kernels().multiply_rows(d_keys, key_weight.T, None, through)
            d_values += through

    # --- arguments --------------------------------------------------------------------------

    def _read_memory(self, memory, lengths, rows=None):
        memory = checks.floats("memory", memory, self._dtype)
        if memory.ndim != 3 or memory.shape[2] != self.memory_size:
            raise ValueError(
                f"memory must have shape (S, B, {self.memory_size}), got {memory.shape}; the last "
                "axis is memory_size"
            )
        if rows is not None and memory.shape[1] != rows:
            raise ValueError(
                f"memory must have as many rows as x, {rows}, got {memory.shape[1]}: its shape is "
                f"{memory.shape}"
            )
        return Memory.pack(memory, lengths)

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
        dy : array of floats, (T, B, H), or None
            Gradient of the loss with respect to y.  None is zeros.
        dstate : None, array or tuple of arrays, the shape of the state
            Gradient with respect to the final state.  None is zeros.
        dweights : array of floats, (T, B, S), or None
            Gradient with respect to the weights of the attention, beside what y gives them.
        input_grad : bool
            False saves the work for dx where nobody needs it.

        Returns
        -------
        dx : ndarray, (T, B, I), or None
            Gradient with respect to x, 0 past a target's length; None if not wanted.
        dmemory : ndarray, (S, B, E)
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
        (packed, buffers), (y_shape, weights_shape) = (run.packed, run.buffers), self._shape
        input_grad = checks.flag("input_grad", input_grad)
        dy = self._read("dy", dy, y_shape, "of y")
        if dweights is not None:
            dweights = self._read("dweights", dweights, weights_shape, "of the weights")
        dstates, _ = layer._read_decoder_states("dstate", dstate, packed.rows)
        self._use_up()
        own = buffers.get("own dy", (packed.tokens, layer.hidden_size))
        np.copyto(own, packed.gather(dy, buffers, "dy"))
        dstates = [packed.sort(array).copy() for array in dstates]  # the kernels write there
        if dweights is not None:
            dweights = packed.gather(dweights, buffers, "dweights")
        dx, dmemory = layer._back(run, own, dstates, dweights, input_grad)
        dx = None if dx is None else packed.scatter(dx)
        if layer._feeds_output and not run.given:
            dstates = dstates[:-1]
        dstate = layer._hand_out(dstates, packed.unsort)
        layer._pool.give_back(buffers)
        return dx, dmemory, dstate

    def _read(self, name, value, shape, letters):
        if value is None:
            return np.zeros(shape, self._owner.dtype)
        value = checks.floats(name, value, self._owner.dtype)
        checks.shape(name, value, shape, letters)
        return value


def _last_tokens(offsets):
    """Each row's last token, for the rows that have any."""
    rows = np.diff(offsets)
    steps = np.searchsorted(-rows, -np.arange(rows[0]), side="left") - 1
    return offsets[steps] + np.arange(rows[0])


def _copy_last(tokens, offsets, out):
    last = _last_tokens(offsets)
    out[: len(last)] = tokens[last]


def _add_to_last(tokens, offsets, rows):
    last = _last_tokens(offsets)
    tokens[last] += rows[: len(last)]


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
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int or None
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
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
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
    dtype, seed
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
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
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
            dtype=dtype,
            seed=seed,
        )
