"""Inputs, weights and output gradients that all peers share."""

from dataclasses import dataclass

import numpy as np

from fastseq.bench.roofline import GATES


@dataclass(frozen=True)
class Problem:
    """One layer and one batch.

    ``x`` is (T, B, I), ``dy`` (T, B, H), ``state`` the tuple (h0,) or (h0, c0) of (1, B, H),
    ``weights`` has PyTorch's names and layouts, ``lengths`` is None for a dense batch.
    """

    cell: str
    x: np.ndarray
    state: tuple
    dy: np.ndarray
    weights: dict
    lengths: np.ndarray | None = None

    @property
    def dtype(self):
        return self.x.dtype

    @property
    def hidden(self):
        return self.dy.shape[2]

    @property
    def layer_state(self):
        """The state as PyTorch's and fastseq's layers take it."""
        return self.state if self.cell == "lstm" else self.state[0]

    @property
    def tokens(self):
        """Real tokens: those within the lengths."""
        steps, batch = self.x.shape[:2]
        return steps * batch if self.lengths is None else int(self.lengths.sum())


def make_problem(cell, shape, dtype=np.float32, lengths=None, seed=0):
    """A problem whose input size is its hidden size.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
    shape : (T, B, H)
    dtype : float32 or float64
    lengths : ndarray of int64, (B,), optional
    seed : int
    """
    steps, batch, hidden = shape
    random = np.random.default_rng(seed)

    def normal(*sizes):
        # In its own type at once: freed temporaries would spoil the measurement of memory.
        return random.standard_normal(sizes, dtype=np.dtype(dtype))

    def uniform(*sizes):  # PyTorch's initialization
        return random.uniform(-1, 1, sizes).astype(dtype) / np.sqrt(hidden).astype(dtype)

    rows = GATES[cell] * hidden
    weights = {
        "weight_ih_l0": uniform(rows, hidden),
        "weight_hh_l0": uniform(rows, hidden),
        "bias_ih_l0": uniform(rows),
        "bias_hh_l0": uniform(rows),
    }
    state = tuple(normal(1, batch, hidden) for _ in range(2 if cell == "lstm" else 1))
    return Problem(
        cell, normal(steps, batch, hidden), state, normal(steps, batch, hidden), weights, lengths
    )


def spread_lengths(batch, shortest, longest, seed=0):
    """Lengths spread evenly from ``shortest`` to ``longest``, in random order, int64 (B,).

    >>> sorted(spread_lengths(4, 25, 100).tolist())
    [25, 50, 75, 100]
    """
    lengths = np.linspace(shortest, longest, batch).round().astype(np.int64)
    return np.random.default_rng(seed).permutation(lengths)
