"""The Elman network (contract and equations: :mod:`fastseq.reference`)."""

import numpy as np

from fastseq.jit.compiling import compiled
from fastseq.jit.time_steps import (
    project,
    read_only,
    sigmoid_of_sum,
    states_before,
    tanh_of_sum,
    time_step,
)
from fastseq.jit.vector_math import ZERO, slope_of_sigmoid, slope_of_tanh
from fastseq.quiet import quiet
from fastseq.reference import NONLINEARITIES, accumulate_weights, input_gradient, over_padded

TANH, RELU, SIGMOID = (NONLINEARITIES.index(name) for name in ("tanh", "relu", "sigmoid"))


@compiled
def _activate_sum(row, other, activation):
    """row = activation(row + other)"""
    if activation == TANH:
        tanh_of_sum(row, other)
    elif activation == SIGMOID:
        sigmoid_of_sum(row, other)
    else:
        for j in range(row.size):
            total = row[j] + other[j]
            row[j] = ZERO if total < ZERO else total  # in this order NaN stays


@compiled
def _scan(z, weight_hh, offsets, reverse, activation, y, column, h):
    """Walk forward.  ``h`` (B, H) holds the running state, ``z`` (N, H) the projected input."""
    hidden = h.shape[1]
    recurrent = np.empty_like(h)
    for step in range(len(offsets) - 1):
        begin, rows = time_step(step, offsets, reverse)
        np.dot(h[:rows], weight_hh.T, recurrent[:rows])
        for row in range(rows):
            h[row] = z[begin + row]
            _activate_sum(h[row], recurrent[row], activation)
            y[begin + row, column : column + hidden] = h[row]


@compiled
def _activation_gradient(dh, dy, y, activation, dz):
    """dz = (dh + dy) * (d activation / d z, in terms of the activation's value y)"""
    for j in range(dz.size):
        dz[j] = dh[j] + dy[j]
    if activation == TANH:
        for j in range(dz.size):
            dz[j] *= slope_of_tanh(y[j])
    elif activation == SIGMOID:
        for j in range(dz.size):
            dz[j] *= slope_of_sigmoid(y[j])
    else:
        for j in range(dz.size):
            dz[j] = ZERO if y[j] <= ZERO else dz[j]


@compiled
def _scan_back(dy, y, column, weight_hh, offsets, reverse, activation, dz, dh):
    """Walk backward.  ``dh`` (B, H) holds the running gradient; ``dz`` (N, H) is written."""
    hidden = dh.shape[1]
    for step in range(len(offsets) - 2, -1, -1):
        begin, rows = time_step(step, offsets, reverse)
        for row in range(rows):
            token = begin + row
            out, d_out = y[token, column : column + hidden], dy[token, column : column + hidden]
            _activation_gradient(dh[row], d_out, out, activation, dz[token])
        np.dot(dz[begin : begin + rows], weight_hh, dh[:rows])


@over_padded
@quiet
def rnn_forward(x, h0, weights, offsets, reverse, nonlinearity, y, h_n):
    """h_t = activation(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)  (Elman, 1990)."""
    hidden = h0.shape[2]
    activation, offsets = NONLINEARITIES.index(nonlinearity), read_only(offsets)
    z = np.empty((len(x), hidden), y.dtype)
    for d, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(weights):
        project(x, weight_ih, (bias_ih, bias_hh), out=z)
        h_n[d] = h0[d]
        way, weight_hh = bool(reverse[d]), read_only(weight_hh)
        _scan(z, weight_hh, offsets, way, activation, y, d * hidden, h_n[d])


@quiet
def rnn_backward(dy, x, h0, weights, offsets, reverse, nonlinearity, y, dx, dh, grads):
    """Gradients of :func:`rnn_forward`."""
    dgates = np.empty((len(weights), len(x), h0.shape[2]), y.dtype)
    hidden = h0.shape[2]
    activation, offsets = NONLINEARITIES.index(nonlinearity), read_only(offsets)
    dy_read, y_read = read_only(dy), read_only(y)
    for d, (weight_ih, weight_hh, _, _) in enumerate(weights):
        way, weight_hh = bool(reverse[d]), read_only(weight_hh)
        _scan_back(
            dy_read, y_read, d * hidden, weight_hh, offsets, way, activation, dgates[d], dh[d]
        )
        h_before = states_before(y, d, h0[d], offsets, way)
        accumulate_weights(grads[d], dgates[d], x, h_before)
        input_gradient(dx, dgates[d], weight_ih, d)
