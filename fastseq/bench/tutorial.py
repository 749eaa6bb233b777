"""Recurrent layers and binary addition as a tutorial writes them: one NumPy loop over time.

Nothing is hoisted out of the loop, on purpose: this is what a course's code costs.

Letters: B batch rows, I input size, H hidden size.  A state is the tuple (h,) or (h, c).
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def d_sigmoid(x):
    """The derivative in terms of the argument."""
    return (1 - sigmoid(x)) * sigmoid(x)


# --- one step of each cell, forward and backward --------------------------------------------
# A step returns the new state and what its backward needs; backward returns the gradients of
# the input's and of the state's part of the sums before the activations, and the direct part
# of the previous state's gradient.


def _rnn_step(x, state, weights):
    w_ih, w_hh, b_ih, b_hh = weights
    h = np.tanh(x @ w_ih.T + b_ih + state[0] @ w_hh.T + b_hh)
    return (h,), (x, state[0], h)


def _rnn_step_back(dstate, saved):
    (_, _, h), (dh,) = saved, dstate
    dz = dh * (1 - h * h)
    return dz, dz, (0.0,)


def _lstm_step(x, state, weights):
    w_ih, w_hh, b_ih, b_hh = weights
    h, c = state
    i, f, g, o = np.split(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c_next = f * c + i * g
    tanh_c = np.tanh(c_next)
    return (o * tanh_c, c_next), (x, h, c, i, f, g, o, tanh_c)


def _lstm_step_back(dstate, saved):
    _, _, c, i, f, g, o, tanh_c = saved
    dh, dc = dstate
    dc = dc + dh * o * (1 - tanh_c**2)
    dz = np.concatenate(
        [
            dc * g * i * (1 - i),
            dc * c * f * (1 - f),
            dc * i * (1 - g**2),
            dh * tanh_c * o * (1 - o),
        ],
        axis=1,
    )
    return dz, dz, (0.0, dc * f)


def _gru_step(x, state, weights):
    w_ih, w_hh, b_ih, b_hh = weights
    (h,) = state
    xr, xz, xn = np.split(x @ w_ih.T + b_ih, 3, axis=1)
    hr, hz, hn = np.split(h @ w_hh.T + b_hh, 3, axis=1)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = np.tanh(xn + r * hn)
    return ((1 - z) * n + z * h,), (x, h, r, z, n, hn)


def _gru_step_back(dstate, saved):
    _, h, r, z, n, hn = saved
    (dh,) = dstate
    dn = dh * (1 - z) * (1 - n**2)
    dz = dh * (h - n) * z * (1 - z)
    dr = dn * hn * r * (1 - r)
    from_input = np.concatenate([dr, dz, dn], axis=1)
    from_state = np.concatenate([dr, dz, dn * r], axis=1)
    return from_input, from_state, (dh * z,)


_STEPS = {
    "rnn": (_rnn_step, _rnn_step_back),
    "lstm": (_lstm_step, _lstm_step_back),
    "gru": (_gru_step, _gru_step_back),
}


def forward(cell, x, state, weights):
    """Run (T, B, I) through one layer.

    Returns
    -------
    y : ndarray (T, B, H)
    state : tuple of ndarray (B, H)
    saved : list
        What :func:`backward` needs.
    """
    step, _ = _STEPS[cell]
    outputs, saved = [], []
    for x_t in x:
        state, kept = step(x_t, state, weights)
        outputs.append(state[0])
        saved.append(kept)
    return np.stack(outputs), state, saved


def backward(cell, dy, saved, weights):
    """Back through time from dy (T, B, H).

    Returns
    -------
    dx : ndarray (T, B, I)
    dstate : tuple of ndarray (B, H)
    grads : list of ndarray
        Like ``weights``: weight_ih, weight_hh, bias_ih, bias_hh.
    """
    _, step_back = _STEPS[cell]
    w_ih, w_hh, _, _ = weights
    grads = [np.zeros_like(weight) for weight in weights]
    dstate = tuple(np.zeros_like(dy[0]) for _ in range(2 if cell == "lstm" else 1))
    dx = []
    for dy_t, kept in zip(dy[::-1], reversed(saved), strict=True):
        x_t, h_previous = kept[:2]
        dz_ih, dz_hh, direct = step_back((dstate[0] + dy_t, *dstate[1:]), kept)
        grads[0] += dz_ih.T @ x_t
        grads[1] += dz_hh.T @ h_previous
        grads[2] += dz_ih.sum(axis=0)
        grads[3] += dz_hh.sum(axis=0)
        dx.append(dz_ih @ w_ih)
        dstate = (direct[0] + dz_hh @ w_hh, *direct[1:])
    return np.stack(dx[::-1]), dstate, grads


# --- binary addition ------------------------------------------------------------------------

BITS = 8
RATE = 0.1


def first_weights(hidden=16, seed=0):
    """W_in (2, hidden), W (hidden, hidden) and W_out (hidden, 1) to start from."""
    random = np.random.default_rng(seed)
    shapes = (2, hidden), (hidden, hidden), (hidden, 1)
    return [random.standard_normal(shape) for shape in shapes]


def mean_squared_error(target, y):
    return np.mean(np.square(target - y)) / 2


def d_mean_squared_error(target, y):
    return (y - target) / target.size


def learn_addition(updates, weights, random, every=100):
    """Online gradient descent, a step and a bit at a time; returns the loss of some updates.

    Two random numbers are added bit by bit, the lowest bit first, by a sigmoid RNN without
    biases; the output is a sigmoid of the hidden units, the loss half the squared error, summed
    over the bits.
    """
    w_in, w_hidden, w_out = (weight.copy() for weight in weights)
    hidden = len(w_hidden)
    numbers = np.arange(2**BITS)
    table = (numbers[:, None] >> np.arange(BITS)) & 1
    u = np.zeros((hidden, BITS + 1))
    z = np.zeros((hidden, BITS + 1))
    y = np.zeros((1, BITS))
    delta_out = np.zeros((1, BITS))
    delta = np.zeros((hidden, BITS + 1))
    losses = []
    for i in range(updates):
        a, b = random.integers(2 ** (BITS - 1)), random.integers(2 ** (BITS - 1))
        bits_a, bits_b, bits_sum = table[a], table[b], table[a + b]
        predicted = np.zeros_like(bits_sum)
        loss = 0.0
        for t in range(BITS):
            x = np.array([bits_a[t], bits_b[t]]).reshape(1, -1)
            target = np.array([bits_sum[t]])
            u[:, t + 1] = np.dot(x, w_in) + np.dot(z[:, t].reshape(1, -1), w_hidden)
            z[:, t + 1] = sigmoid(u[:, t + 1])
            v = np.dot(z[:, t + 1].reshape(1, -1), w_out)[0]
            y[:, t] = sigmoid(v)
            loss += mean_squared_error(target, y[:, t])
            delta_out[:, t] = d_mean_squared_error(target, y[:, t]) * d_sigmoid(v)
            predicted[t] = np.round(y[0, t])
        d_in, d_hidden, d_out = (np.zeros_like(w_in), np.zeros_like(w_hidden), np.zeros_like(w_out))
        for t in range(BITS)[::-1]:
            x = np.array([bits_a[t], bits_b[t]]).reshape(1, -1)
            back = np.dot(delta[:, t + 1].T, w_hidden.T) + np.dot(delta_out[:, t].T, w_out.T)
            delta[:, t] = back * d_sigmoid(u[:, t + 1])
            d_out += np.dot(z[:, t + 1].reshape(-1, 1), delta_out[:, t].reshape(-1, 1))
            d_hidden += np.dot(z[:, t].reshape(-1, 1), delta[:, t].reshape(1, -1))
            d_in += np.dot(x.T, delta[:, t].reshape(1, -1))
        w_in -= RATE * d_in
        w_hidden -= RATE * d_hidden
        w_out -= RATE * d_out
        if i % every == 0:
            losses.append(loss)
    return np.array(losses)
