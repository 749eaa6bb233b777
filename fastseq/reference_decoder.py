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
H hidden size; G gates) and ``reference_attention.py`` (M positions, S, A, E), with F the size of
what is fed: E for contexts, H otherwise.

==============  ==================  =========================================================
inputs          (N, I + F)          x in the first I columns; what was fed is written to the others
h0, c0          (B, H)              c0 is None for the GRU
fed0            (B, F) or None      y_{-1}; None: the state before a step asks
weights                             (weight_ih (G*H, I + F), weight_hh, bias_ih, bias_hh)
keys ...                            as in ``reference_attention.py``; sources (B,) for each row
query_weight    (A, H) or None      W_q; None: the state itself is the query
output          (W_o, b_o)          (F, E + H) and (F,) or None; None without fed0
attended        (N, E + H)          [context_t; h_t], written
alignments      (N, S)              weights of the attention, written
y               (N, F)              written; None without fed0
h_n, c_n        (B, H)              final states
queries         (N, A)              saved, as gates (N, slots*H) and cells (N, H) are; each may be
                                    None when no backward pass will follow, and queries are None
                                    without query_weight
==============  ==================  =========================================================
"""

import numpy as np

FEEDS = (None, "context", "output")


def _step_offsets(rows):
    return np.array([0, rows], np.int64)


def _query(h, query_weight):
    return np.ascontiguousarray(h if query_weight is None else h @ query_weight.T)


def _before(attended, initial, begin, rows, memory_size):
    """The states (rows, H) that the tokens from ``begin`` on started from."""
    if begin is None:
        return np.ascontiguousarray(initial[:rows])
    return np.ascontiguousarray(attended[begin : begin + rows, memory_size:])


def scan_forward(
    kernels,
    cell,
    option,
    inputs,
    h0,
    c0,
    fed0,
    weights,
    keys,
    values,
    v,
    sources,
    source_offsets,
    query_weight,
    output,
    offsets,
    attended,
    alignments,
    y,
    h_n,
    c_n,
    queries,
    gates,
    cells,
):
    """Run a decoder over whole target sequences, with the cells of a backend's ``kernels``."""
    size, begins = values.shape[1], offsets.tolist()
    h_n[...] = h0
    if c0 is not None:
        c_n[...] = c0
    for t, begin in enumerate(begins[:-1]):
        rows = begins[t + 1] - begin
        now = slice(begin, begin + rows)

        def attend(h, rows=rows, now=now):
            query, context = _query(h, query_weight), np.empty((rows, size), h.dtype)
            if queries is not None:
                queries[now] = query
            kernels.attention_forward(
                query, keys, values, v, sources[:rows], source_offsets, alignments[now], context
            )
            return context

        if fed0 is None:
            context = attend(h_n[:rows])
            inputs[now, -size:] = context
        else:
            inputs[now, -fed0.shape[1] :] = y[begins[t - 1] :][:rows] if t else fed0[:rows]
        h, h_final = np.empty_like(h_n[:rows]), np.empty_like(h_n[None, :rows])
        step = (inputs[now], h_n[None, :rows])
        where = ([weights], _step_offsets(rows), (False,))
        saved = None if gates is None else gates[None, now]
        if cell == "lstm":
            c, c_before = np.empty_like(h), c_n[None, :rows]
            saved_c = None if cells is None else cells[None, now]
            kernels.lstm_forward(*step, c_before, *where, h, h_final, c[None], saved, saved_c)
            c_n[:rows] = c
        else:
            kernels.gru_forward(*step, *where, option, h, h_final, saved)
        h_n[:rows] = h
        if fed0 is not None:
            context = attend(h)
        attended[now, :size], attended[now, size:] = context, h
        if fed0 is not None:
            weight, bias = output
            z = attended[now] @ weight.T
            y[now] = np.tanh(z if bias is None else z + bias)


def scan_backward(
    kernels,
    d_attended,
    dy,
    d_alignments,
    cell,
    option,
    inputs,
    h0,
    c0,
    fed0,
    weights,
    keys,
    values,
    v,
    sources,
    source_offsets,
    query_weight,
    output,
    offsets,
    attended,
    alignments,
    y,
    queries,
    gates,
    cells,
    dx,
    dh,
    dc,
    dfed,
    d_queries,
    d_keys,
    d_values,
    d_v,
    grads,
):
    """Gradients of :func:`scan_forward`; no two rows may look at the same source.

    ``d_attended`` and ``dy`` come in as gradients from elsewhere and are overwritten; ``dy``, None
    without fed0, by the gradient of y's pre-activations, from which and from ``attended`` the
    caller computes those of the output's weight and bias.  Likewise ``d_queries`` (N, A), None
    without query_weight, are written for the caller.  ``d_alignments`` may be None.

    ``dh`` and ``dc`` are as in the other kernels, ``dfed`` (B, F) is written.  ``dx`` (N, I) is
    written or None; ``d_keys``, ``d_values``, ``d_v`` (None without v), ``grads`` and ``gates``
    are as elsewhere.
    """
    size, begins = values.shape[1], offsets.tolist()
    fed = size if fed0 is None else fed0.shape[1]
    if fed0 is not None:
        dfed[...] = 0
    for t in range(len(begins) - 2, -1, -1):
        begin, rows = begins[t], begins[t + 1] - begins[t]
        now, previous = slice(begin, begin + rows), begins[t - 1] if t else None
        h_before = _before(attended, h0, previous, rows, size)

        def attend_back(h, rows=rows, now=now):
            """To the gradient of the state that asked."""
            query = _query(h, None) if query_weight is None else queries[now]
            d_query = np.empty_like(query)
            d_context = np.ascontiguousarray(d_attended[now, :size])
            d_weights = None if d_alignments is None else d_alignments[now]
            kernels.attention_backward(
                d_context,
                d_weights,
                query,
                keys,
                values,
                v,
                sources[:rows],
                source_offsets,
                alignments[now],
                d_query,
                d_keys,
                d_values,
                d_v,
            )
            if query_weight is None:
                return d_query
            d_queries[now] = d_query
            return d_query @ query_weight

        if fed0 is not None:
            dy[now] *= 1 - y[now] * y[now]
            d_attended[now] += dy[now] @ output[0]
            d_attended[now, size:] += attend_back(attended[now, size:])
        h = np.ascontiguousarray(attended[now, size:])
        d_out = np.ascontiguousarray(d_attended[now, size:])
        d_inputs, saved = np.empty_like(inputs[now]), gates[None, now]
        step = (d_out, inputs[now], h_before[None])
        where = ([weights], _step_offsets(rows), (False,))
        if cell == "lstm":
            c_before = cells[previous : previous + rows] if t else c0[:rows]
            own = (h, saved, cells[None, now], d_inputs, dh[None, :rows], dc[None, :rows])
            kernels.lstm_backward(*step, c_before[None], *where, *own, [grads])
        else:
            own = (h, saved, d_inputs, dh[None, :rows])
            kernels.gru_backward(*step, *where, option, *own, [grads])
        if dx is not None:
            dx[now] = d_inputs[:, :-fed]
        if fed0 is None:
            d_attended[now, :size] += d_inputs[:, -fed:]
            before = d_attended[previous:, size:] if t else dh
            before[:rows] += attend_back(h_before)
        else:
            before = dy[previous:] if t else dfed
            before[:rows] += d_inputs[:, -fed:]


def _copies(arrays):
    return tuple(None if array is None else array.copy() for array in arrays)


class DecoderStepper:
    """A decoder that advances one step a call, with copies of its weights and sources.

    Parameters
    ----------
    cell, option, weights, query_weight, keys, values, v, source_offsets
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

    def __init__(
        self, cell, option, weights, keys, values, v, source_offsets, query_weight, output, feeds
    ):
        self.cell, self.option, self.feeds = cell, option, feeds
        self.weights, self.output = map(_copies, (weights, output))
        (self.query_weight,) = _copies([query_weight])
        self.memory = _copies([keys, values, v])
        self.source_offsets = source_offsets

    def __call__(self, x, sources, h, c, fed, y, alignments):
        keys, values, v = self.memory
        rows, size = len(x), values.shape[1]
        attended = np.empty((rows, size + h.shape[1]), h.dtype)
        if not rows:
            return
        if self.feeds is None:
            self._step_unfed(x, sources, h, c, attended, alignments)
        else:
            fed_size = size if fed is None else h.shape[1]
            inputs = np.concatenate([x, np.empty((rows, fed_size), x.dtype)], axis=1)
            feeds_output = self.feeds == "output"
            head = self.cell, self.option, inputs, h.copy(), None if c is None else c.copy()
            head += (fed.copy() if feeds_output else None, self.weights, keys, values, v, sources)
            head += (self.source_offsets, self.query_weight, self.output if feeds_output else None)
            out = attended, alignments, y if feeds_output else None, h, c, None, None, None
            scan_forward(self._kernels, *head, _step_offsets(rows), *out)
        if self.feeds == "output":
            fed[...] = y
            return
        weight, bias = self.output
        np.matmul(attended, weight.T, out=y)
        y += 0 if bias is None else bias
        np.tanh(y, out=y)

    def _step_unfed(self, x, sources, h, c, attended, alignments):
        k, (keys, values, v), size = self._kernels, self.memory, self.memory[1].shape[1]
        out, h_n = np.empty_like(h), np.empty_like(h[None])
        where = [self.weights], _step_offsets(len(x)), (False,)
        if self.cell == "lstm":
            c_n = np.empty_like(h_n)
            k.lstm_forward(x, h[None], c[None], *where, out, h_n, c_n, None, None)
            c[...] = c_n[0]
        else:
            k.gru_forward(x, h[None], *where, self.option, out, h_n, None)
        h[...] = out
        context = np.empty((len(x), size), h.dtype)
        query = _query(out, self.query_weight)
        k.attention_forward(
            query, keys, values, v, sources, self.source_offsets, alignments, context
        )
        attended[:, :size], attended[:, size:] = context, out
