"""The cells as textbooks write them: one sequence, one step, one equation at a time.

Shares nothing with the package, so that an error there can't hide here.
"""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {"tanh": np.tanh, "sigmoid": sigmoid, "relu": lambda x: np.where(x > 0, x, 0)}


def rnn_step(x, state, weights, nonlinearity):
    w, u, b, b_hh = weights
    return (ACTIVATIONS[nonlinearity](w @ x + b + u @ state[0] + b_hh),)


def lstm_step(x, state, weights, _):
    w, u, b, b_hh = weights
    h, c = state
    i, f, g, o = np.split(w @ x + b + u @ h + b_hh, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_step(x, state, weights, reset_after):
    w, u, b, b_hh = weights
    h = state[0]
    x_r, x_z, x_n = np.split(w @ x + b, 3)
    u_r, u_z, u_n = np.split(u, 3)
    b_r, b_z, b_n = np.split(b_hh, 3)
    r, z = sigmoid(x_r + u_r @ h + b_r), sigmoid(x_z + u_z @ h + b_z)
    recurrent = r * (u_n @ h + b_n) if reset_after else u_n @ (r * h) + b_n
    n = np.tanh(x_n + recurrent)
    return ((1 - z) * n + z * h,)


STEPS = {"rnn": rnn_step, "lstm": lstm_step, "gru": gru_step}


def run_sequence(cell, option, xs, state, weights):
    """Outputs (T, H) and final state of one sequence; ``state`` is (h,) or (h, c)."""
    w, u, b, b_hh = weights
    zeros = np.zeros(len(w), w.dtype)
    weights = (w, u, zeros if b is None else b, zeros if b_hh is None else b_hh)
    ys = []
    for x in xs:
        state = STEPS[cell](x, state, weights, option)
        ys.append(state[0])
    return ys, state
