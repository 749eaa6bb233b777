"""What goes on step by step, in memory of its own: how it is copied."""

from __future__ import annotations

import copy
from typing import Any, Self


class Stepwise:
    """Has ``_states``, arrays that each step changes, and ``_advance``, the kernels' stepper.

    ``_copy_of(advance)`` makes another stepper of the same weights, for the states that are here.
    Copies go on from the same place, independently of the original.
    """

    _anew = ""  # how to make another one, for whoever would pickle it

    def __copy__(self) -> Self:
        return self._twin(vars(self))

    def __deepcopy__(self, memo: dict) -> Self:
        own = ("_states", "_advance")
        rest = {name: value for name, value in vars(self).items() if name not in own}
        return self._twin(copy.deepcopy(rest, memo))

    def _twin(self, attributes):
        """One with these attributes, our weights, and states of its own like ours."""
        twin = type(self).__new__(type(self))
        vars(twin).update(attributes)
        twin._states = [state.copy() for state in self._states]
        twin._advance = twin._copy_of(self._advance)
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"a {type(self).__name__} can't be pickled, as it works in memory of this process: "
            f"{self._anew}"
        )
