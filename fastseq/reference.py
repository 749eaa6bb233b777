"""The kernels in plain NumPy: the readable oracle, and the backend of last resort.

Every backend (``_kernels.pyx``, ``jit/``, this file) offers what ``__all__`` names, with these
signatures.  A kernel runs one layer, in one or two directions, over whole sequences; it
checks nothing, writes into the arrays it is given, and adds to gradients that accumulate.

Letters
-------
T time steps (the longest sequence), B batch rows, I input size, H hidden size, D directions,
N tokens: the sum of the lengths.  G gates in the weights (RNN 1, LSTM 4, GRU 3).

Layout
------
Rows are sorted by falling length, and tokens are stored time-major without padding: the
tokens of step ``t`` are ``offsets[t]:offsets[t + 1]``, rows 0, 1, ... in order, so a dense
batch is simply (T * B, I).  ``offsets`` is int64 with shape (T + 1,).

==========  =================  ===================================================
x           (N, I)             input tokens; or (N,) or (N, K) int64: see below
y           (N, D * H)         outputs; direction d owns columns d * H : (d + 1) * H
h0, h_n     (D, B, H)          states before and after (``h_n`` is ``h0`` for length 0)
weights     D tuples           (weight_ih (G*H, I), weight_hh (G*H, H), bias_ih, bias_hh);
                               both biases are None in a layer without biases; in forward
                               also what ``pack_weights`` gives
reverse     D bools            whether a direction runs from each sequence's end
gates       (D, N, slots*H)    saved by forward; backward overwrites them with gradients
cells       (D, N, H)          the LSTM's cell states, saved by forward
dh, dc      (D, B, H)          in: gradients of the final states; out: of the initial ones
dx          (N, I) or None     written, not accumulated; None when nobody needs it
grads       D tuples           like ``weights``; accumulated
==========  =================  ===================================================

Saved slots: LSTM ``i f g o``; GRU ``hn r z n``, where ``hn`` is the recurrent part of the
candidate (``reset_after``) or the reset state ``r * h`` (otherwise).  RNN saves nothing
beyond ``y``.

In forward, where no backward pass will follow, x and y, each or both, may be padded batches
instead: pairs ``(padded, order)`` of an array (T or more, B, features), the features side by side,
and int64 (B,); row ``order[r]`` is row r.  Of x the tokens alone are read; y is 0 past the end of
each sequence.

Indices in the place of input tokens stand for one-hot rows.  Their product is looked up, not
multiplied: ``weight_ih`` then is (V, G*H), the transpose of what V inputs would have, and so is
its gradient; ``dx`` is None.  A token of K indices stands for the sum of their rows.
"""

import functools
import inspect
import itertools
import sys

import numpy as np

from fastseq._reference import decoder
from fastseq._reference.attention import attention_backward, attention_forward
from fastseq._reference.dot_product import scaled_dot_product_backward, scaled_dot_product_forward
from fastseq.quiet import quiet

__all__ = [
    "DecoderStepper",
    "RowMultiplier",
    "Stepper",
    "adagrad_step",
    "adam_step",
    "add_linear_gradients",
    "add_rows",
    "attention_backward",
    "attention_forward",
    "average",
    "best_continuations",
    "decoder_backward",
    "decoder_forward",
    "empty",
    "exp",
    "gather",
    "gru_backward",
    "gru_forward",
    "lstm_backward",
    "lstm_forward",
    "multiply_rows",
    "pack_weights",
    "rmsprop_step",
    "rnn_backward",
    "rnn_forward",
    "scaled_dot_product_backward",
    "scaled_dot_product_forward",
    "scatter",
    "set_num_threads",
    "sgd_step",
    "sigmoid",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
    "sort_lengths",
    "squared_norm",
    "tanh",
]

NONLINEARITIES = ("tanh", "relu", "sigmoid")


def set_num_threads(n):
    """Accept the package's setting; NumPy's own BLAS decides about its threads."""


def empty(shape, dtype):
    """As ``np.empty``, for a result of dtype float32 or float64.

    It may lie in memory that earlier results have left, which need not be mapped in again.
    """
    return np.empty(shape, dtype)


def exp(x, out):
    """out = exp(x), elementwise."""
    with np.errstate(over="ignore", under="ignore"):
        np.exp(x, out=out)


def tanh(x, out):
    """out = tanh(x), elementwise."""
    np.tanh(x, out=out)


def sigmoid(x, out):
    """out = 1 / (1 + exp(-x)), elementwise, without overflow."""
    e = np.exp(-np.abs(x))
    np.copyto(out, np.where(x < 0, e, x.dtype.type(1)) / (1 + e))


def _sigmoid(x):
    out = np.empty_like(x)
    sigmoid(x, out)
    return out


# --- walking ragged time -------------------------------------------------------------------


def _steps(offsets, reverse):
    """Token ranges in the order of the recurrence: (begin, rows, begin of previous, carried).

    ``carried`` rows continue from the previous step's tokens; the others, if any, start here.
    """
    begins = offsets[:-1].tolist()
    rows = np.diff(offsets).tolist()
    order = range(len(rows))
    previous_begin, previous_rows = 0, 0
    for t in reversed(order) if reverse else order:
        yield begins[t], rows[t], previous_begin, min(previous_rows, rows[t])
        previous_begin, previous_rows = begins[t], rows[t]


def _previous(states, initial, begin, rows, carried):
    """The states (rows, H) that a step starts from."""
    if carried == rows:
        return states[begin : begin + rows]
    return np.concatenate([states[begin : begin + carried], initial[carried:rows]])


def _previous_states(states, initial, offsets, reverse):
    """For every token the state it started from, (N, H)."""
    out = np.empty_like(states)
    for begin, rows, previous, carried in _steps(offsets, reverse):
        out[begin : begin + rows] = _previous(states, initial, previous, rows, carried)
    return out


def _final(states, initial, offsets, reverse, out):
    """Write each row's last state, (B, H)."""
    out[...] = initial
    for begin, rows, _, _ in _steps(offsets, reverse):
        out[:rows] = states[begin : begin + rows]


def _columns(y, direction, hidden):
    return y[:, direction * hidden : (direction + 1) * hidden]


def _project(x, weight, bias):
    z = look_up(weight, x) if x.dtype == np.int64 else x @ weight.T
    if bias is not None:
        z += bias
    return z


def look_up(weight, x):
    """Rows of ``weight``, or sums of rows, one for each token."""
    return weight[x] if x.ndim == 1 else weight[x].sum(axis=1)


def accumulate_weights(grads, dz, x, h_previous):
    """Add the gradients of the two weights and biases from all steps at once."""
    d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh = grads
    accumulate_input_weight(d_weight_ih, dz, x)
    d_weight_hh += dz.T @ h_previous
    if d_bias_ih is not None:
        d_bias_ih += dz.sum(axis=0)
        d_bias_hh += dz.sum(axis=0)


def accumulate_input_weight(d_weight_ih, dz, x):
    """Add the gradient of the input's weight, or of its rows that were looked up."""
    if x.dtype == np.int64:
        np.add.at(d_weight_ih, x if x.ndim == 2 else x[:, None], dz[:, None])
    else:
        d_weight_ih += dz.T @ x


def input_gradient(dx, dz, weight_ih, direction):
    """Write the input's gradient, if it is wanted; a second direction's is added."""
    if dx is None:
        return
    if direction == 0:
        np.matmul(dz, weight_ih, out=dx)
    else:
        dx += dz @ weight_ih


# --- padded batches -------------------------------------------------------------------------


def sort_lengths(lengths, order, offsets):
    """The packing of sequences of these lengths: row ``order[r]`` becomes row r.

    ``offsets`` may have entries beyond the longest length; they repeat the last one.
    """
    order[...] = np.argsort(-lengths, kind="stable")
    ended = np.cumsum(np.bincount(lengths, minlength=len(offsets)))[:-1]  # before each step
    offsets[0] = 0
    np.cumsum(len(lengths) - ended, out=offsets[1:])


def gather(padded, order, offsets, tokens):
    """Tokens (N, F) of a padded batch (T, B, F), whose row ``order[r]`` becomes row r.

    Without offsets all rows have all steps, and ``tokens`` may have the shape of ``padded``.
    """
    if offsets is None:
        np.take(padded, order, axis=1, out=tokens.reshape(padded.shape))
        return
    for t, (begin, end) in enumerate(itertools.pairwise(offsets.tolist())):
        tokens[begin:end] = padded[t, order[: end - begin]]


def scatter(tokens, order, offsets, padded):
    """The reverse of :func:`gather`; what lies past a sequence's length becomes 0."""
    if offsets is None:
        padded[:, order] = tokens.reshape(padded.shape)
        return
    padded[...] = 0
    for t, (begin, end) in enumerate(itertools.pairwise(offsets.tolist())):
        padded[t, order[: end - begin]] = tokens[begin:end]


def over_padded(forward):
    """The forward kernel for x and y that may be padded batches."""
    names = list(inspect.signature(forward).parameters)
    x_at, offsets_at, y_at = map(names.index, ("x", "offsets", "y"))

    def tokens_for(place, offsets):
        padded, _ = place
        return np.empty((offsets[-1], padded.shape[2]), padded.dtype)

    @functools.wraps(forward)
    def over_tokens(*arguments):
        arguments = list(arguments)
        x, offsets, y = arguments[x_at], arguments[offsets_at], arguments[y_at]
        if type(x) is tuple:
            arguments[x_at] = tokens_for(x, offsets)
            gather(*x, offsets, arguments[x_at])
        if type(y) is tuple:
            arguments[y_at] = tokens_for(y, offsets)
        forward(*arguments)
        if type(y) is tuple:
            padded, order = y
            scatter(arguments[y_at], order, offsets, padded)

    return over_tokens


# --- RNN ------------------------------------------------------------------------------------


def _activate(z, nonlinearity):
    if nonlinearity == "tanh":
        return np.tanh(z)
    if nonlinearity == "relu":
        return np.maximum(z, 0)
    return _sigmoid(z)


def _activation_gradient(dy, y, nonlinearity):
    """dy * (d activation / d z), in terms of the activation's value y."""
    if nonlinearity == "tanh":
        return dy * (1 - y * y)
    if nonlinearity == "relu":
        return np.where(y <= 0, 0, dy)  # no product: what is off stays 0 whatever dy is
    return dy * (y * (1 - y))


@over_padded
@quiet
def rnn_forward(x, h0, weights, offsets, reverse, nonlinearity, y, h_n):
    """h_t = activation(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)  (Elman, 1990)."""
    hidden = h0.shape[2]
    for d, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(weights):
        out = _columns(y, d, hidden)
        out[...] = _project(x, weight_ih, bias_ih)
        for begin, rows, previous, carried in _steps(offsets, reverse[d]):
            now = slice(begin, begin + rows)
            h = _previous(out, h0[d], previous, rows, carried)
            out[now] = _activate(out[now] + _project(h, weight_hh, bias_hh), nonlinearity)
        _final(out, h0[d], offsets, reverse[d], h_n[d])


@quiet
def rnn_backward(dy, x, h0, weights, offsets, reverse, nonlinearity, y, dx, dh, grads):
    """Gradients of :func:`rnn_forward`."""
    hidden = h0.shape[2]
    for d, (weight_ih, weight_hh, _, _) in enumerate(weights):
        out = _columns(y, d, hidden)
        dz = np.empty_like(out)
        for begin, rows, _, _ in reversed(list(_steps(offsets, reverse[d]))):
            now = slice(begin, begin + rows)
            dh_now = dh[d, :rows] + _columns(dy, d, hidden)[now]
            dz[now] = _activation_gradient(dh_now, out[now], nonlinearity)
            dh[d, :rows] = dz[now] @ weight_hh
        h_previous = _previous_states(out, h0[d], offsets, reverse[d])
        accumulate_weights(grads[d], dz, x, h_previous)
        input_gradient(dx, dz, weight_ih, d)


# --- LSTM -----------------------------------------------------------------------------------


@over_padded
@quiet
def lstm_forward(x, h0, c0, weights, offsets, reverse, y, h_n, c_n, gates, cells):
    """Long short-term memory (Hochreiter & Schmidhuber, 1997; forget gate: Gers et al., 2000).

    i, f, o = sigmoid(W x + b + U h + b'),  g = tanh(...),  c = f c + i g,  h = o tanh(c).
    ``gates`` and ``cells`` are None when no backward pass will follow.
    """
    hidden = h0.shape[2]
    for d, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(weights):
        out = _columns(y, d, hidden)
        z = _project(x, weight_ih, bias_ih)
        c = np.empty((len(x), hidden), y.dtype) if cells is None else cells[d]
        for begin, rows, previous, carried in _steps(offsets, reverse[d]):
            now = slice(begin, begin + rows)
            h = _previous(out, h0[d], previous, rows, carried)
            z[now] += _project(h, weight_hh, bias_hh)
            i, f, g, o = np.split(z[now], 4, axis=1)  # views
            i[...], f[...], g[...], o[...] = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
            c[now] = f * _previous(c, c0[d], previous, rows, carried) + i * g
            out[now] = o * np.tanh(c[now])
        if gates is not None:
            gates[d] = z
        _final(out, h0[d], offsets, reverse[d], h_n[d])
        _final(c, c0[d], offsets, reverse[d], c_n[d])


@quiet
def lstm_backward(dy, x, h0, c0, weights, offsets, reverse, y, gates, cells, dx, dh, dc, grads):
    """Gradients of :func:`lstm_forward`; ``gates`` turn into the gates' gradients."""
    hidden = h0.shape[2]
    for d, (weight_ih, weight_hh, _, _) in enumerate(weights):
        out, dz = _columns(y, d, hidden), gates[d]
        for begin, rows, previous, carried in reversed(list(_steps(offsets, reverse[d]))):
            now = slice(begin, begin + rows)
            c_previous = _previous(cells[d], c0[d], previous, rows, carried)
            i, f, g, o = np.split(dz[now], 4, axis=1)  # views: activations become gradients
            tanh_c = np.tanh(cells[d, now])
            dh_now = dh[d, :rows] + _columns(dy, d, hidden)[now]
            dc_now = dc[d, :rows] + dh_now * o * (1 - tanh_c * tanh_c)
            dc[d, :rows] = dc_now * f
            di, df, dg = dc_now * g, dc_now * c_previous, dc_now * i
            do = dh_now * tanh_c
            o[...] = do * o * (1 - o)
            i[...], f[...] = di * i * (1 - i), df * f * (1 - f)
            g[...] = dg * (1 - g * g)
            dh[d, :rows] = dz[now] @ weight_hh
        h_previous = _previous_states(out, h0[d], offsets, reverse[d])
        accumulate_weights(grads[d], dz, x, h_previous)
        input_gradient(dx, dz, weight_ih, d)


# --- GRU ------------------------------------------------------------------------------------


@over_padded
@quiet
def gru_forward(x, h0, weights, offsets, reverse, reset_after, y, h_n, gates):
    """Gated recurrent unit (Cho et al., 2014).

    r, z = sigmoid(W x + b + U h + b'),  h = (1 - z) n + z h, and the candidate is
    n = tanh(W x + b + r (U h + b')) with ``reset_after`` (PyTorch's and cuDNN's form) or
    n = tanh(W x + b + U (r h) + b') without (the paper's).  ``gates`` may be None.
    """
    hidden = h0.shape[2]
    for d, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(weights):
        out = _columns(y, d, hidden)
        z_all = _project(x, weight_ih, bias_ih)
        gate_weight, new_weight = weight_hh[: 2 * hidden], weight_hh[2 * hidden :]
        gate_bias = new_bias = None
        if bias_hh is not None:
            gate_bias, new_bias = bias_hh[: 2 * hidden], bias_hh[2 * hidden :]
        for begin, rows, previous, carried in _steps(offsets, reverse[d]):
            now = slice(begin, begin + rows)
            h = _previous(out, h0[d], previous, rows, carried)
            r, z = np.split(
                _sigmoid(z_all[now, : 2 * hidden] + _project(h, gate_weight, gate_bias)), 2, axis=1
            )
            if reset_after:
                hn = _project(h, new_weight, new_bias)
                n = np.tanh(z_all[now, 2 * hidden :] + r * hn)
            else:
                hn = r * h
                n = np.tanh(z_all[now, 2 * hidden :] + _project(hn, new_weight, new_bias))
            out[now] = n + z * (h - n)
            if gates is not None:
                gates[d, now] = np.concatenate([hn, r, z, n], axis=1)
        _final(out, h0[d], offsets, reverse[d], h_n[d])


@quiet
def gru_backward(dy, x, h0, weights, offsets, reverse, reset_after, y, gates, dx, dh, grads):
    """Gradients of :func:`gru_forward`.

    ``gates`` turn into ``dhn dr dz dn`` (``reset_after``) or keep slot 0 (otherwise).
    """
    hidden = h0.shape[2]
    for d, (weight_ih, weight_hh, _, _) in enumerate(weights):
        out, saved = _columns(y, d, hidden), gates[d]
        gate_weight, new_weight = weight_hh[: 2 * hidden], weight_hh[2 * hidden :]
        for begin, rows, previous, carried in reversed(list(_steps(offsets, reverse[d]))):
            now = slice(begin, begin + rows)
            h = _previous(out, h0[d], previous, rows, carried)
            hn, r, z, n = np.split(saved[now], 4, axis=1)  # views
            dh_now = dh[d, :rows] + _columns(dy, d, hidden)[now]
            dn = dh_now * (1 - z) * (1 - n * n)
            dz = dh_now * (h - n) * z * (1 - z)
            dh_before = dh_now * z
            if reset_after:
                dr = dn * hn * r * (1 - r)
                hn[...] = dn * r
                dh_before += hn @ new_weight
            else:
                d_reset_state = dn @ new_weight
                dr = d_reset_state * h * r * (1 - r)
                dh_before += d_reset_state * r
            r[...], z[...], n[...] = dr, dz, dn
            dh[d, :rows] = dh_before + saved[now, hidden : 3 * hidden] @ gate_weight
        h_previous = _previous_states(out, h0[d], offsets, reverse[d])
        accumulate_gru_weights(grads[d], saved, x, h_previous, reset_after)
        input_gradient(dx, saved[:, hidden:], weight_ih, d)


def accumulate_gru_weights(grads, saved, x, h_previous, reset_after):
    """As :func:`accumulate_weights`, of what :func:`gru_backward` has left in ``gates``."""
    hidden = h_previous.shape[1]
    dhn, dgates, dr_dz = saved[:, :hidden], saved[:, hidden:], saved[:, hidden : 3 * hidden]
    # without reset_after slot 0 still holds r * h, the state that the candidate's weight saw
    d_new, new_state = (dhn, h_previous) if reset_after else (saved[:, 3 * hidden :], dhn)
    d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh = grads
    accumulate_input_weight(d_weight_ih, dgates, x)
    d_weight_hh[: 2 * hidden] += dr_dz.T @ h_previous
    d_weight_hh[2 * hidden :] += d_new.T @ new_state
    if d_bias_ih is not None:
        d_bias_ih += dgates.sum(axis=0)
        d_bias_hh[: 2 * hidden] += dr_dz.sum(axis=0)
        d_bias_hh[2 * hidden :] += d_new.sum(axis=0)


# --- streaming ------------------------------------------------------------------------------


def pack_weights(cell, option, weights):
    """What stands for a layer's weights, as they are now, in any number of forward passes.

    D copies, one a direction; the compiled kernels keep them in the order in which they read
    them, which they else make anew in each pass.  ``cell`` and ``option`` are those of
    :class:`Stepper`.
    """
    return [tuple(None if a is None else a.copy() for a in own) for own in weights]


class Stepper:
    """Stacked cells that advance one step a call.

    Parameters
    ----------
    cell : {"rnn", "lstm", "gru"}
    weights : list
        One element of what :func:`pack_weights` gives for each layer.
    option : str or bool or None
        The RNN's nonlinearity, the GRU's ``reset_after``; None for the LSTM.
    h, c : ndarray, (layers, B, H)
        The state, updated in place; ``c`` is None but for the LSTM.

    Calling it with x (B, I) returns the top layer's ``h`` (B, H), a read-only view that the next
    call overwrites.
    """

    def __init__(self, cell, weights, option, h, c):
        self.cell, self.weights, self.option, self.h, self.c = cell, weights, option, h, c
        self.offsets = np.array([0, h.shape[1]], dtype=np.int64)
        self.h_next = np.empty_like(h[:1])
        self.c_next = None if c is None else np.empty_like(c[:1])
        self.top = h[-1]
        self.top.flags.writeable = False

    def over(self, h, c):
        """The same weights with another state to update."""
        return type(self)(self.cell, self.weights, self.option, h, c)

    def __call__(self, x):
        shape = (self.h.shape[1], self.weights[0][0].shape[1])
        if type(x) is not np.ndarray or x.dtype != self.h.dtype or x.shape != shape:
            # Never seen: Stream.step then converts x, or says what came.
            raise ValueError("x must be an array (batch_size, input_size) of h's dtype")
        for layer, weights in enumerate(self.weights):
            x = self._advance(layer, weights, x)
        return self.top

    def _advance(self, layer, weights, x):
        h, y = self.h[layer : layer + 1], np.empty_like(self.h_next[0])
        args = (x, h)
        if self.cell == "lstm":
            c = self.c[layer : layer + 1]
            lstm_forward(
                *args, c, [weights], self.offsets, (False,), y, self.h_next, self.c_next, None, None
            )
            c[...] = self.c_next
        elif self.cell == "gru":
            gru_forward(*args, [weights], self.offsets, (False,), self.option, y, self.h_next, None)
        elif self.cell == "rnn":
            rnn_forward(*args, [weights], self.offsets, (False,), self.option, y, self.h_next)
        else:
            raise ValueError(f"no cell {self.cell!r}")
        h[...] = self.h_next
        return h[0]


# --- products ------------------------------------------------------------------------------


@quiet
def multiply_rows(x, weight, bias, out, accumulate=False):
    """out (+)= x @ weight.T + bias for x (N, I) and weight (O, I), a view with any strides.

    ``x`` and ``out`` may be columns of wider arrays.  ``bias`` is (O,) or None; with
    ``accumulate`` out is added to.  The compiled kernels compute each row of out in one way,
    whatever other rows there are.
    """
    if accumulate:
        out += x @ weight.T
    else:
        np.matmul(x, weight.T, out=out)
    if bias is not None:
        out += bias


class RowMultiplier:
    """``multiply_rows`` with a weight and a bias of the moment it was made: whoever has few rows
    and comes often saves packing the weight each time.

    Parameters
    ----------
    weight : ndarray, (O, I), a view with any strides
    bias : ndarray (O,), or None

    Calling it with x (N, I) and out (N, O) writes x @ weight.T + bias to out.
    """

    def __init__(self, weight, bias):
        self.weight, self.bias = weight.copy(), None if bias is None else bias.copy()

    def __call__(self, x, out):
        multiply_rows(x, self.weight, self.bias, out)


@quiet
def add_linear_gradients(dy, x, d_weight, d_bias):
    """d_weight += dy.T @ x for dy (N, O) and x (N, I); d_bias += dy.sum(axis=0) unless None.

    ``dy``, ``x`` and ``d_weight`` (O, I) may be columns of wider arrays.

    The compiled kernels add 320 rows at a time, whatever the number of threads.
    """
    # in pieces of outputs that are still in cache when they are added, but not too small
    pieces = max(64, (1 << 20) // max(1, x.shape[1] * x.itemsize))
    for at in range(0, dy.shape[1], pieces):
        d_weight[at : at + pieces] += dy[:, at : at + pieces].T @ x
    if d_bias is not None:
        d_bias += dy.sum(axis=0)


# --- tables of which a batch uses some rows -------------------------------------------------


@quiet
def add_rows(rows, places, out):
    """out[places[n]] += rows[n] for n = 0, 1, ...; rows with a negative place are left out.

    rows is (N, F), places int64 (N,), out (M, F).
    """
    kept = places >= 0
    np.add.at(out, places[kept], rows[kept])


# --- search ---------------------------------------------------------------------------------


def best_continuations(logits, log_probs, offsets, barred, log_sums, known, gains, rows, tokens):
    """Of each sentence the K continuations with the largest sums, falling, of all its rows.

    logits (R, V) continue R rows with the sums log_probs (R,), of which offsets[n]:offsets[n + 1]
    belong to sentence n of L; barred is uint8 (V,), not 0 for tokens that must not come, or None.
    log_sums (R,) are the logarithms of the sums of exp(logits): what is to be written, or if
    ``known`` to be read.  gains (L, K) are ``log_probs + min(logits - log_sums, 0)`` with their
    rows and tokens, int64 (L, K).  Of equal ones the first row comes first, then the first token;
    -inf, the sentence's first row and token 0 stand where there are no more above -inf.  A row
    whose log_sum is not finite may give anything.
    """
    if not known:
        elsewhere = np.full(len(logits), logits.shape[1])
        softmax_cross_entropy_forward(logits, elsewhere, log_sums, np.empty(len(logits)), None)
    with np.errstate(invalid="ignore"):  # what is not finite is refused by the caller
        sums = np.minimum(logits - log_sums[:, None], 0) + log_probs[:, None]
    if barred is not None:
        sums[:, barred != 0] = -np.inf
    gains[...], rows[...], tokens[...] = -np.inf, offsets[:-1, None], 0
    for n, begin in enumerate(offsets[:-1]):
        flat = sums[begin : offsets[n + 1]].ravel()
        count = min(gains.shape[1], flat.size)
        least = np.partition(flat, flat.size - count)[flat.size - count] if count else 0
        enough = np.flatnonzero((flat >= least) & (flat > -np.inf))  # more where some are equal
        best = enough[np.argsort(-flat[enough], kind="stable")][:count]
        gains[n, : len(best)] = flat[best]
        rows[n, : len(best)] = begin + best // logits.shape[1]
        tokens[n, : len(best)] = best % logits.shape[1]


# --- optimisers -----------------------------------------------------------------------------
#
# Values, gradients and what an optimiser remembers are flat arrays (size,) of one dtype; the
# numbers are floats.  ``scale`` multiplies the gradients, ``decay`` is the weight decay that joins
# them.  Gradients stay as they are, the other arrays change in place.


@quiet
def sgd_step(values, grads, buffer, scale, lr, decay, momentum, gain, nesterov):
    """Gradient descent with momentum (Polyak, 1964; Nesterov, 1983) unless ``buffer`` is None."""
    g = scale * grads + decay * values
    if buffer is not None:
        buffer[...] = momentum * buffer + gain * g
        g = g + momentum * buffer if nesterov else buffer
    values -= lr * g


@quiet
def adam_step(
    values,
    grads,
    mean,
    square,
    largest,
    scale,
    rate,
    decay,
    shrink,
    beta1,
    beta2,
    correction,
    eps,
):
    """Adam (Kingma & Ba, 2015), with ``largest`` AMSGrad (Reddi et al., 2018).

    ``rate`` is lr / (1 - beta1^t), ``correction`` is 1 / sqrt(1 - beta2^t) after t updates, and
    AdamW's decoupled weight decay (Loshchilov & Hutter, 2019) is ``shrink`` = 1 - lr * decay.
    """
    g = scale * grads + decay * values
    mean += (1 - beta1) * (g - mean)
    square[...] = beta2 * square + (1 - beta2) * g * g
    if largest is not None:
        np.maximum(largest, square, out=largest)
    root = np.sqrt(square if largest is None else largest)
    values[...] = shrink * values - rate * mean / (root * correction + eps)


@quiet
def rmsprop_step(values, grads, square, mean, buffer, scale, lr, decay, alpha, momentum, eps):
    """RMSprop (Tieleman & Hinton, 2012), with ``mean`` centered, with ``buffer`` momentum."""
    g = scale * grads + decay * values
    square[...] = alpha * square + (1 - alpha) * g * g
    variance = square
    if mean is not None:
        mean += (1 - alpha) * (g - mean)
        variance = np.maximum(square - mean * mean, 0)  # rounding may go below 0
    step = g / (np.sqrt(variance) + eps)
    if buffer is not None:
        buffer[...] = momentum * buffer + step
        step = buffer
    values -= lr * step


@quiet
def adagrad_step(values, grads, total, scale, rate, decay, eps):
    """Adagrad (Duchi et al., 2011): ``total`` holds the sums of all squares."""
    g = scale * grads + decay * values
    total += g * g
    values -= rate * g / (np.sqrt(total) + eps)


@quiet
def average(mean, values, weight):
    """Move ``mean``, which is float64, towards the values."""
    mean += weight * (values - mean)


@quiet
def squared_norm(x):
    """The sum of squares, in float64 and in one order.

    Blocks of 4096 numbers go into 16 sums each, which are folded in halves; then come the blocks.
    """
    total = 0.0
    for begin in range(0, len(x), 4096):
        block = np.zeros(4096)
        block[: len(x) - begin] = x[begin : begin + 4096]
        sums = np.square(block).reshape(-1, 16).sum(axis=0)
        while len(sums) > 1:
            sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
        total += float(sums[0])
    return total


# --- softmax cross-entropy ------------------------------------------------------------------
#
# N rows of V logits.  ``targets`` int64 (N,) say in which column a row's target is: V or more if it
# is not among these columns (of which there may be more elsewhere), negative if the row doesn't
# count.  ``log_sums``, ``picked`` and ``totals`` are float64 (N,).


def softmax_cross_entropy_forward(logits, targets, log_sums, picked, totals):
    """Of each row that counts log(sum(exp(logits))), its target's logit, and sum(logits).

    A logit that isn't among the columns is not written; ``totals`` may be None.  The loss is
    log_sums - picked.
    """
    rows = np.flatnonzero(targets >= 0)
    x = logits[rows].astype(np.float64)
    top = x.max(axis=1, keepdims=True)
    top[np.isneginf(top)] = 0  # or -inf - -inf would be NaN
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        log_sums[rows] = np.log(np.exp(x - top).sum(axis=1)) + top[:, 0]
    if totals is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            totals[rows] = x.sum(axis=1)
    rows = rows[targets[rows] < logits.shape[1]]
    picked[rows] = logits[rows, targets[rows]]


def softmax_cross_entropy_backward(
    logits, targets, log_sums, scale, on_target, elsewhere, d_logits
):
    """d_logits = scale * (softmax(logits) - elsewhere), less scale * on_target at the target.

    Rows that don't count get zeros.  ``d_logits`` may be ``logits``.
    """
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        np.exp(logits - log_sums[:, None], out=d_logits, casting="same_kind")
    d_logits -= elsewhere
    d_logits[targets < 0] = 0
    rows = np.flatnonzero((targets >= 0) & (targets < logits.shape[1]))
    d_logits[rows, targets[rows]] -= on_target
    d_logits *= scale


# --- decoders -------------------------------------------------------------------------------

decoder_forward = functools.partial(decoder.scan_forward, sys.modules[__name__])
decoder_backward = functools.partial(decoder.scan_backward, sys.modules[__name__])


class DecoderStepper(decoder.DecoderStepper):
    """:class:`fastseq._reference.decoder.DecoderStepper` with these kernels."""

    _kernels = sys.modules[__name__]
