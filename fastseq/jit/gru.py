"""The gated recurrent unit (contract and equations: :mod:`fastseq.reference`).

Saved slots: ``hn, r, z, n``.
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
from fastseq.jit.vector_math import ONE, slope_of_sigmoid, slope_of_tanh, tanh_of
from fastseq.quiet import quiet
from fastseq.reference import accumulate_gru_weights, input_gradient, over_padded

# --- forward --------------------------------------------------------------------------------


@compiled
def _reset(saved, h, reset_state):
    """hn = r * h, also as a row of its own for the product."""
    hn, r, _, _ = four_slots(saved)
    for j in range(h.size):
        reset_state[j] = r[j] * h[j]
    hn[:] = reset_state


@compiled
def _candidate(saved, product, bias):
    """hn = recurrent product + bias, n = tanh(n + r * hn)."""
    hn, r, _, n = four_slots(saved)
    for j in range(n.size):
        hn[j] = product[j] + bias[j]
        n[j] = tanh_of(n[j] + r[j] * hn[j])


@compiled
def _mix(saved, h):
    """h = (1 - z) n + z h"""
    _, _, z, n = four_slots(saved)
    for j in range(h.size):
        h[j] = n[j] + z[j] * (h[j] - n[j])


@compiled
def _scan(saved, weight_hh, new_bias, offsets, reverse, reset_after, y, column, h):
    """Walk forward.  ``h`` (B, H) holds the running state.

    ``saved`` (N, 4H) comes in with the projected input in slots 1 to 3.
    """
    batch, hidden = h.shape
    gate_weight, new_weight = weight_hh[: 2 * hidden], weight_hh[2 * hidden :]
    gate_product = np.empty((batch, 2 * hidden), h.dtype)
    new_product, reset_state = np.empty_like(h), np.empty_like(h)
    for step in range(len(offsets) - 1):
        begin, rows = time_step(step, offsets, reverse)
        now = saved[begin : begin + rows]
        np.dot(h[:rows], gate_weight.T, gate_product[:rows])
        for row in range(rows):
            sigmoid_of_sum(now[row, hidden : 3 * hidden], gate_product[row])
        if reset_after:
            np.dot(h[:rows], new_weight.T, new_product[:rows])
            for row in range(rows):
                _candidate(now[row], new_product[row], new_bias)
        else:
            for row in range(rows):
                _reset(now[row], h[row], reset_state[row])
            np.dot(reset_state[:rows], new_weight.T, new_product[:rows])
            for row in range(rows):
                tanh_of_sum(now[row, 3 * hidden :], new_product[row])
        for row in range(rows):
            _mix(now[row], h[row])
            y[begin + row, column : column + hidden] = h[row]


@over_padded
@quiet
def gru_forward(x, h0, weights, offsets, reverse, reset_after, y, h_n, gates):
    """Gated recurrent unit (Cho et al., 2014).

    r, z = sigmoid(W x + b + U h + b'),  h = (1 - z) n + z h, and the candidate is
    n = tanh(W x + b + r (U h + b')) with ``reset_after`` (PyTorch's and cuDNN's form) or
    n = tanh(W x + b + U (r h) + b') without (the paper's).  ``gates`` may be None.
    """
    hidden = h0.shape[2]
    offsets, reset_after = read_only(offsets), bool(reset_after)
    no_bias = np.zeros(hidden, y.dtype)
    scratch = np.empty((len(x), 4 * hidden), y.dtype) if gates is None else None
    for d, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(weights):
        saved = scratch if gates is None else gates[d]
        new_bias = no_bias
        if reset_after and bias_hh is not None:  # the reset gate scales this bias too
            new_bias = bias_hh[2 * hidden :]
            bias_hh = np.concatenate([bias_hh[: 2 * hidden], no_bias])
        project(x, weight_ih, (bias_ih, bias_hh), out=saved[:, hidden:])
        h_n[d] = h0[d]
        way, weight_hh, new_bias = bool(reverse[d]), read_only(weight_hh), read_only(new_bias)
        _scan(saved, weight_hh, new_bias, offsets, way, reset_after, y, d * hidden, h_n[d])


# --- backward -------------------------------------------------------------------------------


@compiled
def _mix_back(saved, h_before, dh):
    """z and n turn into their gradients, ``dh`` into the direct path's part."""
    _, _, z, n = four_slots(saved)
    for j in range(dh.size):
        dn = dh[j] * (ONE - z[j]) * slope_of_tanh(n[j])
        dz = dh[j] * (h_before[j] - n[j]) * slope_of_sigmoid(z[j])
        dh[j] *= z[j]
        z[j] = dz
        n[j] = dn


@compiled
def _candidate_back(saved):
    """hn and r turn into their gradients."""
    hn, r, _, dn = four_slots(saved)
    for j in range(dn.size):
        dr = dn[j] * hn[j] * slope_of_sigmoid(r[j])
        hn[j] = dn[j] * r[j]
        r[j] = dr


@compiled
def _reset_back(saved, h_before, d_reset_state, dh):
    """r turns into its gradient; ``dh`` gains the part that came through r * h."""
    _, r, _, _ = four_slots(saved)
    for j in range(dh.size):
        dh[j] += d_reset_state[j] * r[j]
        r[j] = d_reset_state[j] * h_before[j] * slope_of_sigmoid(r[j])


@compiled
def _scan_back(dy, column, weight_hh, offsets, reverse, reset_after, saved, h_before, dh):
    """Walk backward.  ``dh`` (B, H) holds the running gradient, ``h_before`` (N, H) the states."""
    batch, hidden = dh.shape
    gate_weight, new_weight = weight_hh[: 2 * hidden], weight_hh[2 * hidden :]
    # np.dot wants contiguous operands, so the gradients of the gates are copied from `saved`.
    d_gates, d_new = np.empty((batch, 2 * hidden), dh.dtype), np.empty_like(dh)
    through_gates, through_new = np.empty_like(dh), np.empty_like(dh)
    new_slot = 0 if reset_after else 3 * hidden
    for step in range(len(offsets) - 2, -1, -1):
        begin, rows = time_step(step, offsets, reverse)
        now, before = saved[begin : begin + rows], h_before[begin : begin + rows]
        for row in range(rows):
            add(dh[row], dy[begin + row, column : column + hidden])
            _mix_back(now[row], before[row], dh[row])
            if reset_after:
                _candidate_back(now[row])
            d_new[row] = now[row, new_slot : new_slot + hidden]
        np.dot(d_new[:rows], new_weight, through_new[:rows])
        for row in range(rows):
            if reset_after:
                add(dh[row], through_new[row])
            else:
                _reset_back(now[row], before[row], through_new[row], dh[row])
            d_gates[row] = now[row, hidden : 3 * hidden]
        np.dot(d_gates[:rows], gate_weight, through_gates[:rows])
        for row in range(rows):
            add(dh[row], through_gates[row])


@quiet
def gru_backward(dy, x, h0, weights, offsets, reverse, reset_after, y, gates, dx, dh, grads):
    """Gradients of :func:`gru_forward`.

    ``gates`` turn into ``dhn dr dz dn`` (``reset_after``) or keep slot 0 (otherwise).
    """
    hidden = h0.shape[2]
    offsets, dy, reset_after = read_only(offsets), read_only(dy), bool(reset_after)
    for d, (weight_ih, weight_hh, _, _) in enumerate(weights):
        way, weight_hh, saved = bool(reverse[d]), read_only(weight_hh), gates[d]
        h_before = states_before(y, d, h0[d], offsets, way)
        _scan_back(dy, d * hidden, weight_hh, offsets, way, reset_after, saved, h_before, dh[d])
        accumulate_gru_weights(grads[d], saved, x, h_before, reset_after)
        input_gradient(dx, saved[:, hidden:], weight_ih, d)
