"""How the outputs of all steps become one vector for each row, and the way back.

Each function takes the outputs y (T, B, D * H) of recurrent layers, which are 0 past a row's
length, their final state and the lengths (B,).  It gives the vectors (B, D * H) and a function
``dy, d_state = back(d_vectors)``, where None stands for zeros.  A row without steps gets zeros.
"""

import numpy as np


def last(y, state, lengths):
    """The top layer's state at each row's end, in the reverse direction at its beginning."""
    hidden = state[0] if isinstance(state, tuple) else state
    directions = y.shape[2] // hidden.shape[2]
    top = hidden[-directions:]

    def back(d_vectors):
        d_hidden = np.zeros_like(hidden)
        d_top = d_vectors.reshape(len(d_vectors), directions, -1)
        d_hidden[-directions:] = d_top.swapaxes(0, 1)
        return None, (d_hidden, None) if isinstance(state, tuple) else d_hidden

    return top.swapaxes(0, 1).reshape(y.shape[1:]), back


def mean(y, state, lengths):
    """The mean over a row's steps."""
    factors = (1 / np.maximum(lengths, 1)).astype(y.dtype)[:, None]

    def back(d_vectors):
        # what stands past a row's length is never read
        return np.broadcast_to(d_vectors * factors, y.shape), None

    return y.sum(axis=0) * factors, back


def largest(y, state, lengths):
    """The largest number of each feature over a row's steps."""
    if not len(y):
        return np.zeros(y.shape[1:], y.dtype), lambda d_vectors: (None, None)
    inside = np.arange(len(y))[:, None] < lengths
    reached = np.where(inside[..., None], y, -np.inf)
    places = reached.argmax(axis=0)[None]

    def back(d_vectors):
        dy = np.zeros_like(y)
        # what stands past a row's length is never read
        np.put_along_axis(dy, places, d_vectors[None], axis=0)
        return dy, None

    return np.take_along_axis(y, places, axis=0)[0], back


POOLINGS = {"last": last, "mean": mean, "max": largest}
