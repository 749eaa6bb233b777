"""What an attention has read of a memory, so that several calls project it once."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from fastseq import checks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class AttentionMemory:
    """A memory that an attention has read, to be given to its calls in place of the memory.

    Made by ``attention.read(memory, memory_lengths)``, which projects it: calls give what they
    would with memory and lengths, without doing so anew.  It keeps the attention's parameters of
    that moment as far as they act on the memory, and the array itself where nothing is copied, so
    don't change either.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> attention = fs.AdditiveAttention(4, 6, seed=0)
    >>> memory = attention.read(np.ones((5, 2, 6)), [5, 2])
    >>> context, weights = attention(np.ones((1, 2, 4)), memory)
    >>> weights[0, 1].tolist()
    [0.5, 0.5, 0.0, 0.0, 0.0]
    >>> memory = memory.select([1, 1, 0])  # as searches do
    >>> context, weights = attention(np.ones((1, 3, 4)), memory)
    >>> weights[0, 0].tolist()
    [0.5, 0.5, 0.0, 0.0, 0.0]
    """

    __slots__ = ("chosen", "dtype", "owner", "parts", "shape")

    def __init__(self, owner, memory, parts, chosen=None):
        self.owner, self.shape, self.dtype = owner, memory.shape, memory.dtype
        self.parts = parts  # what the owner makes of it
        self.chosen = chosen  # rows of the parts (B,); None: all, as they are

    def __len__(self) -> int:
        """B, the number of rows."""
        return self.shape[1]

    def __repr__(self):
        return f"{self.owner!r}.read(...)"

    def select(self, rows: ArrayLike) -> AttentionMemory:
        """These rows alone, in this order.

        Parameters
        ----------
        rows : array of integers, (B',)
            From 0 to B - 1; a row may come several times.

        Returns
        -------
        memory : AttentionMemory
            Another one; this one stays as it is.

        Raises
        ------
        TypeError, ValueError
            If there is no such row.
        """
        rows = checks.chosen_rows(rows, len(self), "(B',)")
        selected = copy.copy(self)
        selected.chosen = rows if self.chosen is None else self.chosen[rows]
        selected.shape = self.shape[0], len(rows), self.shape[2]
        return selected

    @property
    def of_rows(self):
        """The parts where they are arrays with B rows, of the chosen ones."""
        if self.chosen is None:
            return self.parts
        return tuple(part[self.chosen] for part in self.parts)
