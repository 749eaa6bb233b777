"""Long short-term memory (contract and equations: :mod:`fastseq.reference`).

Saved slots: ``i, f, g, o``.
"""

import numpy as np

from fastseq.jit.compiling import compiled
from fastseq.jit.time_steps import (
    add,
    four_slots,
    project,
    read_only,
    sigmoid_of_sum,
    states_before,
    tanh_of_sum,
    time_step,
)
from fastseq.jit.vector_math import slope_of_sigmoid, slope_of_tanh, tanh_of
from fastseq.quiet import quiet
from fastseq.reference import accumulate_weights, input_gradient, over_padded


@compiled
def _update(gates, recurrent, h, c):
    """One token: ``gates`` come in as the projected input and leave as i, f, g, o."""
    i, f, g, o = four_slots(gates)
    hidden = h.size
    sigmoid_of_sum(gates[: 2 * hidden], recurrent[: 2 * hidden])
    tanh_of_sum(g, recurrent[2 * hidden : 3 * hidden])
    sigmoid_of_sum(o, recurrent[3 * hidden :])
    for j in range(hidden):
        c[j] = f[j] * c[j] + i[j] * g[j]
    for j in range(hidden):
        h[j] = o[j] * tanh_of(c[j])


@compiled
def _scan(gates, weight_hh, offsets, reverse, y, column, h, c, cells):
    """Walk forward.  ``h`` and ``c`` (B, H) hold the running state; ``cells`` may be empty."""
    hidden = h.shape[1]
    recurrent = np.empty((len(h), 4 * hidden), h.dtype)
    for step in range(len(offsets) - 1):
        begin, rows = time_step(step, offsets, reverse)
        np.dot(h[:rows], weight_hh.T, recurrent[:rows])
        for row in range(rows):
            _update(gates[begin + row], recurrent[row], h[row], c[row])
            y[begin + row, column : column + hidden] = h[row]
            if len(cells):
                cells[begin + row] = c[row]


@compiled
def _update_back(dh, dy, c, c_before, gates, dc):
    """One token: ``gates`` turn into their gradients, ``dc`` into that of the previous step."""
    i, f, g, o = four_slots(gates)
    add(dh, dy)
    for j in range(dc.size):
        tanh_c = tanh_of(c[j])
        dc[j] += dh[j] * o[j] * slope_of_tanh(tanh_c)
        o[j] = dh[j] * tanh_c * slope_of_sigmoid(o[j])
    for j in range(dc.size):
        di, dg = dc[j] * g[j], dc[j] * i[j]
        i[j] = di * slope_of_sigmoid(i[j])
        g[j] = dg * slope_of_tanh(g[j])
    for j in range(dc.size):
        df = dc[j] * c_before[j]
        dc[j] *= f[j]
        f[j] = df * slope_of_sigmoid(f[j])


@compiled
def _scan_back(dy, column, weight_hh, offsets, reverse, gates, cells, cells_before, dh, dc):
    """Walk backward.  ``dh`` and ``dc`` (B, H) hold the running gradients."""
    hidden = dh.shape[1]
    for step in range(len(offsets) - 2, -1, -1):
        begin, rows = time_step(step, offsets, reverse)
        for row in range(rows):
            token = begin + row
            d_out = dy[token, column : column + hidden]
            _update_back(dh[row], d_out, cells[token], cells_before[token], gates[token], dc[row])
        np.dot(gates[begin : begin + rows], weight_hh, dh[:rows])


@over_padded
@quiet
def lstm_forward(x, h0, c0, weights, offsets, reverse, y, h_n, c_n, gates, cells):
    """Long short-term memory (Hochreiter & Schmidhuber, 1997; forget gate: Gers et al., 2000).

    i, f, o = sigmoid(W x + b + U h + b'),  g = tanh(...),  c = f c + i g,  h = o tanh(c).
    ``gates`` and ``cells`` are None when no backward pass will follow.
    """
    hidden = h0.shape[2]
    offsets = read_only(offsets)
    no_cells = np.empty((0, hidden), y.dtype)
    scratch = np.empty((len(x), 4 * hidden), y.dtype) if gates is None else None
    for d, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(weights):
        z = scratch if gates is None else gates[d]
        kept_cells = no_cells if cells is None else cells[d]
        project(x, weight_ih, (bias_ih, bias_hh), out=z)
        h_n[d], c_n[d] = h0[d], c0[d]
        way, weight_hh = bool(reverse[d]), read_only(weight_hh)
        _scan(z, weight_hh, offsets, way, y, d * hidden, h_n[d], c_n[d], kept_cells)


@quiet
def lstm_backward(dy, x, h0, c0, weights, offsets, reverse, y, gates, cells, dx, dh, dc, grads):
    """Gradients of :func:`lstm_forward`; ``gates`` turn into the gates' gradients."""
    hidden = h0.shape[2]
    offsets, dy = read_only(offsets), read_only(dy)
    for d, (weight_ih, weight_hh, _, _) in enumerate(weights):
        way, weight_hh, dz = bool(reverse[d]), read_only(weight_hh), gates[d]
        c_before = states_before(cells[d], 0, c0[d], offsets, way)
        c = read_only(cells[d])
        _scan_back(dy, d * hidden, weight_hh, offsets, way, dz, c, c_before, dh[d], dc[d])
        h_before = states_before(y, d, h0[d], offsets, way)
        accumulate_weights(grads[d], dz, x, h_before)
        input_gradient(dx, dz, weight_ih, d)
