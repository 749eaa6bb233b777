"""Pieces that the three cells share."""

import numpy as np

from fastseq.jit.compiling import compiled
from fastseq.jit.vector_math import sigmoid_of, tanh_of
from fastseq.reference import look_up

# LLVM vectorises a loop only if a few run-time comparisons can show that its arrays don't
# overlap.  So the scans work on a row at a time, in short loops that write one to three arrays.


def read_only(array):
    """A view for compiled code that reads only.

    Numba compiles a function again, for seconds, when an array is writable in one call and
    not in the next.  Through this view all of them are the same to it.
    """
    view = array.view()
    view.flags.writeable = False
    return view


@compiled
def time_step(step, offsets, reverse):
    """First token and number of rows of the recurrence's step number ``step``."""
    t = len(offsets) - 2 - step if reverse else step
    return offsets[t], offsets[t + 1] - offsets[t]


@compiled
def four_slots(saved):
    """Views of one token's saved slots."""
    hidden = saved.size // 4
    return (
        saved[:hidden],
        saved[hidden : 2 * hidden],
        saved[2 * hidden : 3 * hidden],
        saved[3 * hidden :],
    )


@compiled
def _copy_states_before(states, column, initial, offsets, reverse, out):
    hidden = initial.shape[1]
    previous, previous_rows = 0, 0
    for step in range(len(offsets) - 1):
        begin, rows = time_step(step, offsets, reverse)
        for row in range(rows):
            if row < previous_rows:
                out[begin + row] = states[previous + row, column : column + hidden]
            else:
                out[begin + row] = initial[row]
        previous, previous_rows = begin, rows


def states_before(states, direction, initial, offsets, reverse):
    """For every token the state it started from, (N, H).

    ``states`` (N, anything) holds the direction's own states from column direction * H.
    """
    hidden = initial.shape[1]
    out = np.empty((len(states), hidden), states.dtype)
    _copy_states_before(
        read_only(states), direction * hidden, read_only(initial), offsets, reverse, out
    )
    return out


@compiled
def sigmoid_of_sum(row, other):
    """row = sigmoid(row + other)"""
    for j in range(row.size):
        row[j] = sigmoid_of(row[j] + other[j])


@compiled
def tanh_of_sum(row, other):
    """row = tanh(row + other)"""
    for j in range(row.size):
        row[j] = tanh_of(row[j] + other[j])


@compiled
def add(row, other):
    """row += other"""
    for j in range(row.size):
        row[j] += other[j]


def project(x, weight, biases, out):
    """out = x @ weight.T + all of the biases, for all tokens at once; indices x are looked up."""
    if x.dtype == np.int64:
        out[...] = look_up(weight, x)
    else:
        np.matmul(x, weight.T, out=out)
    for bias in biases:
        if bias is not None:
            out += bias
