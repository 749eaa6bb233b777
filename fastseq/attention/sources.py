"""What attention looks at: the memories of a batch's rows, without padding."""

from __future__ import annotations

import numpy as np


class Sources:
    """A memory (S, B, E) as its rows' positions, one row after the other.

    S source positions, B rows, M real positions of all rows together, E memory size.

    Parameters
    ----------
    memory : ndarray, (S, B, E), with ``batch_first`` (B, S, E)
    lengths : ndarray of int64, (B,), or None
    batch_first : bool

    Attributes
    ----------
    values : ndarray, (M, E)
        The positions of row b are ``offsets[b]:offsets[b + 1]``.
    offsets : ndarray of int64, (B + 1,)
    rows : int
        B
    longest : int
        S, with padding.
    """

    def __init__(self, memory, lengths, batch_first=False):
        by_row = memory if batch_first else memory.swapaxes(0, 1)
        self.rows, self.longest, size = by_row.shape
        self._batch_first = batch_first
        self._real = None  # which positions (B, S) are no padding; None: all
        if lengths is None or (lengths == self.longest).all():
            self.values = by_row.reshape(-1, size)
            self.offsets = np.arange(self.rows + 1, dtype=np.int64) * self.longest
        else:
            self._real = np.arange(self.longest) < lengths[:, None]
            self.values = by_row[self._real]
            self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def of_queries(self, steps, rows=None):
        """Each query's row, int64 (T * B,), of that many steps; ``rows`` if not all, in order."""
        return np.tile(np.arange(self.rows) if rows is None else rows, steps)

    def pad(self, values):
        """The padded array, as the memory was, that holds these values; 0 past a row's length."""
        shape = self.rows, self.longest, values.shape[1]
        if self._real is None:
            by_row = values.reshape(shape)
            return by_row if self._batch_first else np.ascontiguousarray(by_row.swapaxes(0, 1))
        if self._batch_first:
            padded = by_row = np.zeros(shape, values.dtype)
        else:
            padded = np.zeros((shape[1], shape[0], shape[2]), values.dtype)
            by_row = padded.swapaxes(0, 1)
        by_row[self._real] = values
        return padded
