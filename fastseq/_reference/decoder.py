"""Decoders with attention, one step at a time: part of ``reference.py``, and of ``jit/``.

Teacher forcing is known ahead, attention is not: each step's cell takes a vector that the step
before leads to.  Two orders are in use.

- The state before a step asks (Bahdanau et al., 2015)::

      context_t = attention(W_q h_{t-1}),    h_t = cell([x_t; context_t], h_{t-1})

- The state after it asks, and what comes of it is fed to the next step (Luong et al., 2015)::

      h_t = cell([x_t; y_{t-1}], h_{t-1}),   context_t = attention(W_q h_t),
      y_t = tanh(W_o [context_t; h_t] + b_o)

  (When nothing is fed back, the cell runs by itself and :func:`attention_forward` follows.)

Letters and layouts are those of ``reference.py`` (B rows, N target tokens, packed; I input size;
H hidden size; G gates) and ``attention.py`` (M positions, S, A, E), with F the size of
what is fed: E for contexts, H otherwise.

What belongs together is a tuple:

==============  ==================  =========================================================
inputs          (N, I + F)          x in the first I columns; what was fed is written to the others
states                              (h0, c0, fed0)
h0, c0          (B, H)              c0 is None for the GRU
fed0            (B, F) or None      y_{-1}; None: the state before a step asks
weights                             (weight_ih (G*H, I + F), weight_hh, bias_ih, bias_hh)
attention                           (keys, values, v, source_offsets, query_weight); but for the
                                    last as in ``attention.py``
query_weight    (A, H) or None      W_q; None: the state itself is the query
sources         (B,)                of each row
output          (W_o, b_o)          (F, E + H) and (F,) or None; None without fed0
results                             (attended, alignments, y), written
attended        (N, E + H)          [context_t; h_t]
alignments      (N, S)              weights of the attention
y               (N, F)              None without fed0
finals          (h_n, c_n)          (B, H), written: final states
saved                               (queries, gates, cells), written for a backward pass; each may
                                    be None when none will follow
queries         (N, A)              None without query_weight
gates, cells                        (N, slots*H) and (N, H)
==============  ==================  =========================================================
"""

from typing import NamedTuple

import numpy as np

from fastseq.quiet import quiet


def _step_offsets(rows):
    return np.array([0, rows], np.int64)


def _part(array, tokens):
    """The part of an array that may be missing."""
    return None if array is None else array[tokens]


class _Cell(NamedTuple):
    """A recurrent cell, run for one step: h_t, c_t = cell(x_t, h_{t-1}, c_{t-1})."""

    name: str
    option: bool | None
    weights: tuple

    def forward(self, kernels, x, h, c, gates, cells):
        """Take a step of the states, which are written over; gates and cells are saved or None."""
        y, h_n = np.empty_like(h), np.empty_like(h[None])
        where = [self.weights], _step_offsets(len(x)), (False,)
        gates, cells = (None if array is None else array[None] for array in (gates, cells))
        if self.name == "lstm":
            c_n = np.empty_like(h_n)
            kernels.lstm_forward(x, h[None], c[None], *where, y, h_n, c_n, gates, cells)
            c[...] = c_n[0]
        elif self.name == "gru":
            kernels.gru_forward(x, h[None], *where, self.option, y, h_n, gates)
        else:
            raise ValueError(f"no cell {self.name!r} in decoders")
        h[...] = y

    def backward(self, kernels, d_y, x, states, y, gates, cells, d_states, grads):
        """dx_t; ``d_states``, of h_t and c_t, become those of h_{t-1} and c_{t-1}."""
        dx, (h, c), (dh, dc) = np.empty_like(x), states, d_states
        d_y, h, y = (np.ascontiguousarray(array) for array in (d_y, h, y))
        where = [self.weights], _step_offsets(len(x)), (False,)
        if self.name == "lstm":
            own = y, gates[None], cells[None], dx, dh[None], dc[None], [grads]
            kernels.lstm_backward(d_y, x, h[None], c[None], *where, *own)
        elif self.name == "gru":
            own = y, gates[None], dx, dh[None], [grads]
            kernels.gru_backward(d_y, x, h[None], *where, self.option, *own)
        else:
            raise ValueError(f"no cell {self.name!r} in decoders")
        return dx


class _Attention(NamedTuple):
    """context_t = attention(q_t), where q_t = W_q h of a state, or that state."""

    keys: np.ndarray
    values: np.ndarray
    v: np.ndarray | None
    source_offsets: np.ndarray
    query_weight: np.ndarray | None

    def forward(self, kernels, h, sources, alignments, queries):
        """The context of each state; writes alignments, and queries unless None."""
        query = np.ascontiguousarray(h if self.query_weight is None else h @ self.query_weight.T)
        context = np.empty((len(h), self.values.shape[1]), h.dtype)
        if queries is not None:
            queries[...] = query
        kernels.attention_forward(query, *self._memory(sources), alignments, context)
        return context

    def backward(
        self, kernels, d_context, d_alignments, h, sources, alignments, queries, d_queries, d_memory
    ):
        """The gradient of the states that asked: dh = W_q^T dq."""
        query = np.ascontiguousarray(h) if self.query_weight is None else queries
        d_query, d_context = np.empty_like(query), np.ascontiguousarray(d_context)
        kernels.attention_backward(
            d_context, d_alignments, query, *self._memory(sources), alignments, d_query, *d_memory
        )
        if self.query_weight is None:
            return d_query
        d_queries[...] = d_query
        return d_query @ self.query_weight

    def _memory(self, sources):
        return self.keys, self.values, self.v, sources, self.source_offsets


def _write_output(attended, output, y):
    """y_t = tanh(W_o [context_t; h_t] + b_o)."""
    weight, bias = output
    z = attended @ weight.T
    np.tanh(z if bias is None else z + bias, out=y)


def _output_backward(dy, y, output, d_attended):
    """dz_t = dy_t (1 - y_t^2), in place of dy; adds W_o^T dz_t to the gradient of [context; h]."""
    dy *= 1 - y * y
    d_attended += dy @ output[0]


@quiet
def scan_forward(
    kernels,
    cell,
    option,
    inputs,
    states,
    weights,
    attention,
    sources,
    output,
    offsets,
    results,
    finals,
    saved,
):
    """Run a decoder over whole target sequences, with the cells of a backend's ``kernels``."""
    step, attention, fed0 = _Cell(cell, option, weights), _Attention(*attention), states[2]
    (attended, alignments, y), (queries, gates, cells) = results, saved
    size, begins = attention.values.shape[1], offsets.tolist()
    for final, initial in zip(finals, states, strict=False):
        if initial is not None:
            final[...] = initial
    for t, begin in enumerate(begins[:-1]):
        rows = begins[t + 1] - begin
        now = slice(begin, begin + rows)
        h, c = (_part(final, slice(rows)) for final in finals)
        asked = sources[:rows], alignments[now], _part(queries, now)
        if fed0 is None:  # context_t is read, and h_{t-1} asks for it
            context = attention.forward(kernels, h, *asked)
            inputs[now, -size:] = context
        else:  # y_{t-1} is read
            inputs[now, -fed0.shape[1] :] = y[begins[t - 1] :][:rows] if t else fed0[:rows]
        step.forward(kernels, inputs[now], h, c, _part(gates, now), _part(cells, now))
        if fed0 is not None:
            context = attention.forward(kernels, h, *asked)
        attended[now, :size], attended[now, size:] = context, h
        if fed0 is not None:
            _write_output(attended[now], output, y[now])


@quiet
def scan_backward(
    kernels,
    d_results,
    cell,
    option,
    inputs,
    states,
    weights,
    attention,
    sources,
    output,
    offsets,
    results,
    saved,
    dx,
    d_states,
    d_queries,
    d_attention,
    grads,
):
    """Gradients of :func:`scan_forward`; no two rows may look at the same source.

    ``d_results`` are (d_attended, d_alignments, dy). The first and the last come in as gradients
    from elsewhere and are overwritten; ``dy``, None without fed0, by the gradient of y's
    pre-activations, from which and from ``attended`` the caller computes those of the output's
    weight and bias.  Likewise ``d_queries`` (N, A), None without query_weight, are written for the
    caller.  ``d_alignments`` may be None.

    Of ``d_states``, (dh, dc, dfed), the first two are as in the other kernels, and dfed (B, F) is
    written.  ``dx`` (N, I) is written or None; ``d_attention``, (d_keys, d_values, d_v or None),
    ``grads`` and gates are as elsewhere.
    """
    step, attention, (h0, c0, fed0) = _Cell(cell, option, weights), _Attention(*attention), states
    (attended, alignments, y), (queries, gates, cells) = results, saved
    (d_attended, d_alignments, dy), (dh, dc, dfed) = d_results, d_states
    size, begins = attention.values.shape[1], offsets.tolist()
    fed = size if fed0 is None else fed0.shape[1]
    if fed0 is not None:
        dfed[...] = 0

    def attend_back(h, now):
        """To the gradient of the states that asked."""
        asked = sources[: len(h)], alignments[now], _part(queries, now)
        d_asked = _part(d_queries, now), d_attention
        return attention.backward(
            kernels, d_attended[now, :size], _part(d_alignments, now), h, *asked, *d_asked
        )

    for t in range(len(begins) - 2, -1, -1):
        rows = begins[t + 1] - begins[t]
        now = slice(begins[t], begins[t + 1])
        before = slice(begins[t - 1], begins[t - 1] + rows) if t else None
        if t:
            previous = attended[before, size:], _part(cells, before)
        else:
            previous = h0[:rows], _part(c0, slice(rows))
        if fed0 is not None:
            _output_backward(dy[now], y[now], output, d_attended[now])
            d_attended[now, size:] += attend_back(attended[now, size:], now)
        own = attended[now, size:], gates[now], _part(cells, now)
        d_own = dh[:rows], _part(dc, slice(rows))
        d_inputs = step.backward(
            kernels, d_attended[now, size:], inputs[now], previous, *own, d_own, grads
        )
        if dx is not None:
            dx[now] = d_inputs[:, :-fed]
        if fed0 is None:  # context_t was read, and h_{t-1} asked for it
            d_attended[now, :size] += d_inputs[:, -fed:]
            d_asked = d_attended[before, size:] if t else dh[:rows]
            d_asked += attend_back(previous[0], now)
        else:  # y_{t-1} was read
            d_read = dy[before] if t else dfed[:rows]
            d_read += d_inputs[:, -fed:]


def _copies(arrays):
    return tuple(None if array is None else array.copy() for array in arrays)


class DecoderStepper:
    """A decoder that advances one step a call, with copies of its weights and sources.

    Parameters
    ----------
    cell, option, weights, attention
        As in :func:`scan_forward`.
    output : (W_o, b_o)
        Here of every decoder.
    feeds : {None, "context", "output"}
        What is fed.

    A call reads x (R, I) and the sources (R,) of R rows, updates their states ``h``, ``c`` (None
    for the GRU) and, where an output is fed, ``fed``, all (R, H), and writes ``y`` (R, H) and
    ``alignments`` (R, S).
    """

    _kernels = None  # of the backend

    def __init__(self, cell, option, weights, attention, output, feeds):
        self.feeds, self.output = feeds, _copies(output)
        self.cell = _Cell(cell, option, _copies(weights))
        self.attention = _Attention(*_copies(attention))

    def copy(self):
        """The same, but its calls may run at once with those of this one."""
        return self  # as nothing of a call is kept

    def __call__(self, x, sources, h, c, fed, y, alignments):
        rows, size = len(x), self.attention.values.shape[1]
        attended = np.empty((rows, size + h.shape[1]), h.dtype)
        if not rows:
            return
        if self.feeds is None:
            self.cell.forward(self._kernels, x, h, c, None, None)
            context = self.attention.forward(self._kernels, h, sources, alignments, None)
            attended[:, :size], attended[:, size:] = context, h
        else:
            self._step_fed(x, sources, h, c, fed, y, attended, alignments)
        if self.feeds == "output":
            fed[...] = y
        else:
            _write_output(attended, self.output, y)

    def _step_fed(self, x, sources, h, c, fed, y, attended, alignments):
        """A scan of one step."""
        (cell, option, weights), attention = self.cell, self.attention
        feeds_output, output = self.feeds == "output", self.output
        if not feeds_output:
            fed = y = output = None
        fed_size = h.shape[1] if feeds_output else attention.values.shape[1]
        inputs = np.concatenate([x, np.empty((len(x), fed_size), x.dtype)], axis=1)
        head = cell, option, inputs, _copies([h, c, fed]), weights, attention, sources, output
        results, saved = (attended, alignments, y), (None, None, None)
        scan_forward(self._kernels, *head, _step_offsets(len(x)), results, (h, c), saved)
