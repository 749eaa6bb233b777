"""Token packing: how a padded batch of sequences lies in memory for the kernels.

Kernels want tokens time-major and without padding, rows sorted by falling length (the layout
in ``reference.py``).  ``Dense`` serves batches whose sequences all have full length: packing
is a reshape.  ``Ragged`` gathers the real tokens once below the whole stack of layers and
scatters them once above it.  ``StillPadded`` leaves that to the kernels of layers, which do it a
few steps at a time, while the tokens are in cache; without a backward pass, which needs them all.
There is no Python loop over T or B, and time goes into real tokens only, but for zeros past the
ends.

T steps, B rows, N tokens, F features.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from fastseq.backend import kernels

LONG = 8192  # steps or rows


class Buffers:
    """Arrays that are kept from call to call, so that memory need not be mapped in each time.

    Nothing that lies in them may reach the user.
    """

    def __init__(self, dtype):
        self._dtype = dtype
        self._blocks = {}  # name: flat array, as large as was ever needed
        self._views = {}  # name: its beginning, in the shape that was asked for last

    def get(self, name, shape):
        """An array of this shape with undefined content."""
        view = self._views.get(name)
        if view is None or view.shape != shape:
            size = math.prod(shape)
            block = self._blocks.get(name)
            if block is None or block.size < size:
                block = view = None
                self._views[name] = self._blocks[name] = None  # free before allocating
                block = self._blocks[name] = np.empty(size, self._dtype)
            view = self._views[name] = block[:size].reshape(shape)
        return view


class BufferPool:
    """Sets of buffers waiting for their next use.

    A set belongs to one forward pass until its backward pass has run, so there are as many as
    passes under way.  ``list.append`` and ``list.pop`` are atomic: no lock is needed.
    """

    KEEP = 2

    def __init__(self, dtype):
        self._dtype = dtype
        self._free = []

    def borrow(self):
        try:
            return self._free.pop()
        except IndexError:
            return Buffers(self._dtype)

    def give_back(self, buffers):
        if len(self._free) < self.KEEP:
            self._free.append(buffers)


def pack(lead, lengths, batch_first, keep_padded=False):
    """The packing of an input with leading axes ``lead``: (T,), (T, B) or (B, T).

    ``lengths`` is None or int64 (B,), checked.  ``keep_padded`` is for a layer's forward kernels
    without a backward pass.
    """
    if lengths is not None:
        ragged = (StillPadded if keep_padded else Ragged)(lead, lengths, batch_first)
        if ragged.tokens < math.prod(lead):
            return ragged
    # Those of long batches are quickly made, compared with the walk, and take memory.
    return (_short_dense if lead[0] < LONG > lead[-1] else Dense)(lead, batch_first)


class Dense:
    """All sequences have full length; it never changes, and serves all calls of a shape.

    Attributes
    ----------
    tokens : int
        N
    offsets : ndarray of int64, (T + 1,)
        The tokens of step t are ``offsets[t]:offsets[t + 1]``.
    rows : int
        B
    batched : bool
        Whether the user's arrays have a batch axis.
    order : ndarray of int64, (B,)
        Which of the user's rows is row r of the kernels.
    """

    def __init__(self, lead, batch_first):
        batch_first = batch_first and len(lead) == 2
        rows, steps = (*lead, 1)[:2] if batch_first else (*lead, 1)[1::-1]
        self.rows, self.tokens = rows, steps * rows
        # Without rows no step has a token.
        self.offsets = np.arange(0, steps * rows + 1, rows or 1, dtype=np.int64)
        self.batched = len(lead) == 2
        self.order = np.arange(rows)
        self._lead = lead
        self._batch_first = batch_first

    def gather(self, padded, buffers, name):
        """Tokens (N, F) of an array (*lead, F)."""
        if self._batch_first:
            time_major = buffers.get(name, (*reversed(self._lead), padded.shape[-1]))
            np.copyto(time_major, padded.swapaxes(0, 1))
            padded = time_major
        elif not self.batched:
            return padded
        return padded.reshape(self.tokens, padded.shape[-1])

    def gather_indices(self, padded):
        """Indices (N,) of an array (*lead,) of them."""
        return np.ascontiguousarray(padded.T if self._batch_first else padded).reshape(-1)

    def result(self, buffers, name, features, dtype):
        """An array (N, F) for what :meth:`scatter` is going to hand out: never a buffer."""
        return kernels().empty((self.tokens, features), dtype)

    def scatter(self, tokens):
        """The array (*lead, F) that holds these tokens; a view of them."""
        if self._batch_first:
            rows, steps = self._lead
            return tokens.reshape(steps, rows, tokens.shape[1]).swapaxes(0, 1)
        return tokens.reshape(*self._lead, tokens.shape[1]) if self.batched else tokens

    given = gather  # what a layer's kernels take for an array (*lead, F)

    def sort(self, state):
        """A state (L, B, H) with its rows in the kernels' order."""
        return state

    def unsort(self, state):
        """A state with its rows in the user's order: (L, B, H), or without a batch (L, H)."""
        return state if self.batched else state[:, 0]

    def state(self, arrays):
        """A layer's state as the user gets it: h alone, or (h, c)."""
        if len(arrays) == 1:
            return self.unsort(arrays[0])
        return tuple([self.unsort(array) for array in arrays])


class Ragged:
    """Sequences of different lengths; attributes and methods as in :class:`Dense`."""

    def __init__(self, lead, lengths, batch_first):
        self.rows, self.batched = len(lengths), len(lead) == 2
        self._lead = lead
        self._batch_first = batch_first
        self.order = np.empty(self.rows, np.int64)
        offsets = np.empty(lead[1 if batch_first and self.batched else 0] + 1, np.int64)
        kernels().sort_lengths(lengths, self.order, offsets)
        longest = lengths[self.order[0]] if self.rows else 0
        self.offsets = offsets[: longest + 1]
        self.tokens = int(offsets[-1])

    def _time_major(self, padded):
        """A view (T, B, F)."""
        if not self.batched:
            return padded[:, None]
        return padded.swapaxes(0, 1) if self._batch_first else padded

    def gather(self, padded, buffers, name):
        tokens = buffers.get(name, (self.tokens, padded.shape[-1]))
        kernels().gather(self._time_major(padded), self.order, self.offsets, tokens)
        return tokens

    given = gather

    def gather_indices(self, padded):
        rows = self._time_major(padded)[: len(self.offsets) - 1, self.order]
        return rows[np.arange(self.rows) < np.diff(self.offsets)[:, None]]

    def result(self, buffers, name, features, dtype):
        return buffers.get(name, (self.tokens, features))  # scatter copies

    def scatter(self, tokens):
        padded = kernels().empty((*self._lead, tokens.shape[1]), tokens.dtype)
        kernels().scatter(tokens, self.order, self.offsets, self._time_major(padded))
        return padded

    def sort(self, state):
        in_order = np.empty(state.shape, state.dtype)
        kernels().gather(state, self.order, None, in_order)
        return in_order

    def unsort(self, state):
        if not self.batched:
            return state[:, 0]
        padded = np.empty(state.shape, state.dtype)
        kernels().scatter(state, self.order, None, padded)
        return padded

    state = Dense.state


class StillPadded(Ragged):
    """Ragged, but that a layer's forward kernels gather and scatter: they take pairs with padded
    arrays, ``given`` and ``result``."""

    def given(self, padded, buffers, name):
        return self._time_major(padded), self.order

    def result(self, buffers, name, features, dtype):
        padded = kernels().empty((*self._lead, features), dtype)
        return self._time_major(padded), self.order

    def scatter(self, tokens):
        time_major, _ = tokens
        if not self.batched:
            return time_major[:, 0]
        return time_major.swapaxes(0, 1) if self._batch_first else time_major


_short_dense = lru_cache(maxsize=32)(Dense)


def rows_of_tokens(offsets):
    """For each packed token its row of the batch, (N,): those of a step are the first ones."""
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))


def tokens_before(offsets):
    """For each packed token behind the first step the one before it in its row."""
    rows = np.diff(offsets)
    return np.arange(rows[:1].sum(), offsets[-1]) - np.repeat(rows[:-1], rows[1:])


def last_tokens(offsets):
    """Each row's last packed token, for the rows that have any."""
    rows = np.diff(offsets)
    # rows are sorted by falling length: the same row has the same place in every step
    places = np.arange(rows[:1].sum())
    lengths = np.searchsorted(-rows, -places)
    return offsets[lengths - 1] + places
