"""A decoder that goes step by step.

S source positions, R rows that are decoded, I input size, H hidden size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks
from fastseq.stepwise import Stepwise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class DecoderState(Stepwise):
    """A decoder that advances one step a call, for rows that may be chosen anew at any time.

    Made by ``decoder.start(memory, state, memory_lengths)``, with a row for each of the memory's.
    The weights of the decoder, and the backend, are read then.

    ``copy.copy(state)`` goes on from the same place, with the same weights and backend,
    independently of the original; ``copy.deepcopy`` copies the decoder as well.  What is here
    can't be pickled; the decoder, the memory and ``state`` can.

    Attributes
    ----------
    weights : ndarray, (R, S), or None
        How much each row looked at each position in the last step; None before the first.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> decoder = fs.AttentionLSTM(3, 4, 5, seed=0)
    >>> state = decoder.start(np.ones((6, 2, 5), np.float32))
    >>> state.step(np.ones((2, 3), np.float32)).shape
    (2, 4)
    >>> state.select([1, 1, 0])  # go on with the second row twice
    >>> state.step(np.ones((3, 3), np.float32)).shape, state.weights.shape
    ((3, 4), (3, 6))
    """

    _anew = (
        "pickle its decoder, the memory of its rows and its state, and make a new one with "
        "decoder.start(memory, state, memory_lengths)"
    )

    def __init__(self, decoder, memory, states):
        self._decoder, self._longest = decoder, memory.longest
        self._states = [np.array(s[0]) for s in states]
        self._sources = np.arange(memory.rows)
        self._advance = decoder._stepper(memory)
        self.weights = None

    def __len__(self) -> int:
        """R, the number of rows."""
        return len(self._sources)

    def step(self, x: ArrayLike) -> np.ndarray:
        """Advance all rows by one step.

        Parameters
        ----------
        x : array of floats, (R, I)

        Returns
        -------
        y : ndarray, (R, H)

        Raises
        ------
        TypeError, ValueError
            If x has the wrong dtype or shape; the state is as before.
        """
        decoder, rows = self._decoder, len(self._sources)
        x = checks.floats("x", x, decoder._dtype)
        checks.shape("x", x, (rows, decoder.input_size), "(R, input_size)")
        y = np.empty((rows, decoder.hidden_size), decoder._dtype)
        weights = np.empty((rows, self._longest), decoder._dtype)
        self._advance(x, self._sources, *decoder._three(self._states), y, weights)
        self.weights = weights
        return y

    def select(self, rows: ArrayLike) -> None:
        """Go on with these rows alone, in this order.

        Parameters
        ----------
        rows : array of integers, (R',)
            From 0 to R - 1; a row may come several times.

        Raises
        ------
        TypeError, ValueError
            If there is no such row.
        """
        rows = checks.chosen_rows(rows, len(self), "(R',)")
        self._states = [state[rows] for state in self._states]
        self._sources = self._sources[rows]
        if self.weights is not None:
            self.weights = self.weights[rows]

    @property
    def state(self) -> Any:
        """A copy of the state (1, R, H), as the decoder's calls take and give it."""
        return self._decoder._hand_out(self._states, lambda state: state[None].copy())

    def _copy_of(self, advance):
        return advance.copy()  # it gets the states in each call
