"""Layers whose weights are packed once, as the kernels read them: they never change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from fastseq.backend import kernels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike


class Packed:
    """Never changes, so a copy is itself; works in memory of this process.

    It keeps its layer, which knows what may be given.
    """

    def __init__(self, layer):
        self._layer = layer

    def __repr__(self):
        return f"{self._layer!r}.packed()"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict) -> Self:
        return self

    def __getattr__(self, name: str) -> Any:
        hint = ""
        if name[:1] != "_" and hasattr(self._layer, name):
            hint = f": a {type(self).__name__} is there to be called; ask its layer"
        raise AttributeError(f"there is no {name} here{hint}")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"a {type(self).__name__} can't be pickled, as it works in memory of this process: "
            "pickle its layer, and call layer.packed() anew"
        )


class PackedLayer(Packed):
    """An RNN, LSTM or GRU as it was when its ``packed()`` made this: see there.

    Calling it is like calling the layer, bit for bit, with vectors for x and nothing beside them.
    It keeps the backend that was in use, and may be called from several threads at once.  A copy
    is itself.  It can't be pickled; its layer can.
    """

    def __init__(self, layer):
        super().__init__(layer)
        self._cell = getattr(kernels(), layer._kind.forward), layer._pack_weights()

    def __call__(
        self, x: ArrayLike, state: Any = None, lengths: ArrayLike | None = None
    ) -> tuple[np.ndarray, Any]:
        """The layer over whole sequences; arguments and results are those of a layer's call."""
        return self._layer._call(x, state, lengths, cell=self._cell)
