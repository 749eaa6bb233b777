# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True
"""The fast kernels: the loops over time, forward and back, for RNN, LSTM and GRU.

The contract (functions, letters, token-packed layout) is that of ``reference.py``, which says
the same in plain NumPy.  Here a cell is a short description (``Cell``: its stages, slots and
gradient pieces), and one forward and one backward walk serve them all.  They go over time
steps, row segments and panels, and call the tile functions of ``_csrc/tiles.h`` through the
table of the chosen instruction set; strides are in bytes, so one source serves both dtypes.

A stage is a product with packed recurrent weights followed by a point function on the tile while
it is in cache.  RNN, LSTM and the usual GRU have one stage a step; the GRU with the reset gate
before the product has two.

Work is split over threads by rows (each part walks its own rows, without synchronisation) or by
hidden units (each part keeps its slice of the weights in its own cache, one barrier a stage).
Every number is computed by the same chain of operations in all cases.
"""

import os

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memset

cnp.import_array()

include "_shared/memory.pxi"
include "_training/updates.pxi"
include "_attention/score_blocks.pxi"
include "_attention/scores.pxi"
include "_recurrent/tiles.pxi"


# --- settings -------------------------------------------------------------------------------

include "_shared/isa.pxi"

cdef int _threads = 1


cdef const fs_tiles *tiles_of(cnp.ndarray array) except NULL:
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32:
        return _isa.f32
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT64:
        return _isa.f64
    raise TypeError(f"expected float32 or float64, got {array.dtype}")


def set_num_threads(n):
    """Use at most n threads in a call."""
    global _threads
    _threads = n


# --- results --------------------------------------------------------------------------------

include "_recurrent/results.pxi"


# --- the walks through time, from the tile's products up ------------------------------------

include "_recurrent/cell.pxi"
include "_recurrent/panels.pxi"
include "_recurrent/padded.pxi"
include "_recurrent/direction.pxi"
include "_recurrent/forward.pxi"
include "_recurrent/backward.pxi"
include "_recurrent/packed.pxi"
include "_recurrent/layer.pxi"
include "_recurrent/stepper.pxi"


# --- what training and search need besides -------------------------------------------------

include "_training/rows.pxi"
include "_training/row_products.pxi"
include "_training/softmax.pxi"
include "_search/continuations.pxi"


# --- attention ------------------------------------------------------------------------------

include "_attention/memory.pxi"
include "_attention/attention.pxi"
include "_attention/decoder.pxi"
include "_attention/decoder_walks.pxi"
include "_attention/decoder_stepper.pxi"
include "_attention/dot_product.pxi"


# --- the kernels of the table ---------------------------------------------------------------

def rnn_forward(x, h0, weights, offsets, reverse, nonlinearity, y, h_n):
    cdef _Pass p = new_pass("rnn", nonlinearity, x, h0, weights, offsets, reverse, y)
    p.set_final(h_n)
    p.run()


def rnn_backward(dy, x, h0, weights, offsets, reverse, nonlinearity, y, dx, dh, grads):
    cdef _Pass p = new_pass("rnn", nonlinearity, x, h0, weights, offsets, reverse, y)
    p.set_gradients(dy, dx, dh, None, grads)
    p.run()


def lstm_forward(x, h0, c0, weights, offsets, reverse, y, h_n, c_n, gates, cells):
    cdef _Pass p = new_pass("lstm", None, x, h0, weights, offsets, reverse, y)
    p.set_slots(gates)
    p.set_final(h_n)
    p.set_cell_states(c0, cells, c_n)
    p.run()


def lstm_backward(
    dy, x, h0, c0, weights, offsets, reverse, y, gates, cells, dx, dh, dc, grads
):
    cdef _Pass p = new_pass("lstm", None, x, h0, weights, offsets, reverse, y)
    p.set_slots(gates)
    p.set_cell_states(c0, cells, None)
    p.set_gradients(dy, dx, dh, dc, grads)
    p.run()


def gru_forward(x, h0, weights, offsets, reverse, reset_after, y, h_n, gates):
    cdef _Pass p = new_pass("gru", reset_after, x, h0, weights, offsets, reverse, y)
    p.set_slots(gates)
    p.set_final(h_n)
    p.run()


def gru_backward(dy, x, h0, weights, offsets, reverse, reset_after, y, gates, dx, dh, grads):
    cdef _Pass p = new_pass("gru", reset_after, x, h0, weights, offsets, reverse, y)
    p.set_slots(gates)
    p.set_gradients(dy, dx, dh, None, grads)
    p.run()


# --- padded batches -------------------------------------------------------------------------

def sort_lengths(cnp.ndarray lengths, cnp.ndarray order, cnp.ndarray offsets):
    """A counting sort, in `offsets` alone."""
    cdef const int64_t *length = <const int64_t *>data(lengths)
    cdef int64_t *place = <int64_t *>data(order)
    cdef int64_t *count = <int64_t *>data(offsets)
    cdef long rows = lengths.shape[0], steps = offsets.shape[0] - 1, longer = rows, t, row
    with nogil:
        memset(count, 0, (steps + 1) * sizeof(int64_t))
        for row in range(rows):
            count[length[row]] += 1
        for t in range(steps + 1):  # rows longer than t: there those of length t begin
            longer -= count[t]
            count[t] = longer
        for row in range(rows):
            place[count[length[row]]] = row
            count[length[row]] += 1
        # Now count[t] is the number of rows of length t or more: the tokens of step t - 1.
        count[0] = 0
        for t in range(1, steps + 1):
            count[t] += count[t - 1]


def gather(cnp.ndarray padded, cnp.ndarray order, cnp.ndarray offsets, cnp.ndarray tokens):
    cdef Padded p = padded_of(padded, order, 0, padded.shape[2])
    cdef const int64_t *begin = <const int64_t *>data(offsets)
    cdef char *to = data(tokens)
    cdef long t, rows, steps = p.steps if begin == NULL else offsets.shape[0] - 1
    with nogil:
        for t in range(steps):
            rows = p.rows if begin == NULL else begin[t + 1] - begin[t]
            gather_step(&p, t, 0, rows, to)
            to += rows * p.size


def scatter(cnp.ndarray tokens, cnp.ndarray order, cnp.ndarray offsets, cnp.ndarray padded):
    cdef Padded p = padded_of(padded, order, 0, padded.shape[2])
    cdef const int64_t *begin = <const int64_t *>data(offsets)
    cdef const char *step = data(tokens)
    cdef long t, running, steps = p.steps if begin == NULL else offsets.shape[0] - 1
    with nogil:
        for t in range(p.steps):
            running = 0
            if t < steps:
                running = p.rows if begin == NULL else begin[t + 1] - begin[t]
            scatter_step(&p, t, 0, p.rows, running, step, p.size, 0, p.size)
            step += running * p.size


# --- elementwise functions ------------------------------------------------------------------

ctypedef void (*elementwise)(long, const char *, char *) noexcept nogil


cdef apply(elementwise function, cnp.ndarray x, cnp.ndarray out):
    """To contiguous arrays."""
    cdef long size = x.size
    cdef const char *numbers = data(x)
    cdef char *results = data(out)
    with nogil:
        function(size, numbers, results)


def exp(cnp.ndarray x, cnp.ndarray out):
    """out = exp(x), elementwise, for contiguous arrays."""
    apply(tiles_of(x).exp, x, out)


def tanh(cnp.ndarray x, cnp.ndarray out):
    """out = tanh(x), elementwise, for contiguous arrays."""
    apply(tiles_of(x).tanh, x, out)


def sigmoid(cnp.ndarray x, cnp.ndarray out):
    """out = 1 / (1 + exp(-x)), elementwise, for contiguous arrays."""
    apply(tiles_of(x).sigmoid, x, out)


# --- optimisers -----------------------------------------------------------------------------

include "_training/optimizers.pxi"
