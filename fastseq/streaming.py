"""Streams: a layer that advances one step a call, for the smallest latency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.module import Settled, fixed
from fastseq.stepwise import Stepwise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Stream(Settled, Stepwise):
    """A layer that advances one step a call, and allocates nothing to do so.

    Made by ``layer.stream(batch_size)``, with a state of zeros.  The layer's weights, and the
    backend, are read when the stream is made: after a change, call :meth:`reload`.  Use a
    stream from one thread at a time.

    ``copy.copy(stream)`` goes on from the same state, with the same weights and backend,
    independently of the original; ``copy.deepcopy`` copies the layer as well, whose weights
    a later ``reload`` reads.  A stream can't be pickled; its layer and its ``state`` can.

    Parameters
    ----------
    layer : RNN, LSTM or GRU
        Not bidirectional.
    batch_size : int
        B, the number of sequences that advance side by side.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> lstm = fs.LSTM(3, 4, seed=0)
    >>> x = np.ones((5, 3), np.float32)
    >>> stream = lstm.stream()
    >>> steps = np.stack([stream.step(x_t).copy() for x_t in x])
    >>> np.allclose(steps, lstm(x)[0], rtol=0, atol=1e-6)
    True
    """

    _anew = (
        "pickle its layer and its state, make a new stream with layer.stream(batch_size), and "
        "assign the state to it"
    )

    batch_size = fixed("batch_size")

    def __init__(self, layer, batch_size: int = 1) -> None:
        batch_size = checks.positive_int("batch_size", batch_size)
        if layer.bidirectional:
            raise ValueError(
                "a bidirectional layer can't be streamed: its reverse direction begins at the "
                "sequence's end; call the layer on whole sequences"
            )
        self._batch_size = batch_size
        self._layer = layer
        self._shape = (layer.num_layers, batch_size, layer.hidden_size)
        try:
            self._states = layer._zero_states(self._shape)
        except (MemoryError, ValueError):
            raise MemoryError(
                f"there is no memory for a stream's state of shape {self._shape}: "
                f"take a smaller batch_size than {batch_size}"
            ) from None
        self._vectors = batch_size == 1  # whether x may come without its batch axis
        self.reload()

    def reload(self) -> None:
        """Read the layer's weights again, and use the backend that is chosen now."""
        layer = self._layer
        weights = [own for (own,) in layer._pack_weights()]
        cell, option = layer._kind.name, layer._only_option()
        self._advance = kernels().Stepper(cell, weights, option, *self._h_and_c())

    def _h_and_c(self):
        """The state's arrays as the kernels take them: c is None but for the LSTM."""
        return (*self._states, None)[:2]

    def step(self, x: ArrayLike) -> np.ndarray:
        """Advance by one step.

        Parameters
        ----------
        x : array of floats, (B, I), or (I,) if the batch size is 1
            The fast path is a C-contiguous array of the layer's dtype; others are converted.

        Returns
        -------
        y : ndarray, (B, H) or (H,)
            The top layer's h: a read-only view that the next step overwrites.  Copy it to keep
            it.

        Raises
        ------
        TypeError, ValueError
            If x has the wrong dtype or shape; the state is as before.
        """
        try:
            return self._advance(x)  # it checks x itself
        except (TypeError, ValueError, BufferError):
            pass
        layer = self._layer
        x = checks.floats("x", x, layer.dtype)
        if self._vectors and x.shape == (layer.input_size,):
            return self._advance(x[None])[0]
        checks.shape("x", x, (self.batch_size, layer.input_size), "(batch_size, input_size)")
        return self._advance(x)

    @property
    def state(self) -> Any:
        """A copy of the state: h, for the LSTM (h, c), each (L, B, H); can be assigned."""
        return self._layer._hand_out(self._states, np.copy)

    @state.setter
    def state(self, value: Any) -> None:
        if value is None:
            self.reset()
            return
        letters = "(num_layers, batch_size, hidden_size)"
        arrays = self._layer._read_states("state", value, self._shape, letters)
        for own, array in zip(self._states, arrays, strict=True):
            np.copyto(own, array)

    def reset(self) -> None:
        """Set the state to zeros."""
        for array in self._states:
            array.fill(0)

    def _copy_of(self, advance):
        return advance.over(*self._h_and_c())  # a stepper knows its states
