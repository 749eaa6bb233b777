"""A lower bound for the time of one layer, from what the machine can compute and read.

The bound counts products and weight traffic only::

    inference = P + R            training = 4 P + 2 R

P is one product over all tokens (the input projection; in training also dX and the two dW)
at the rate of the best matrix product.  R is the recurrence: at every step the larger of its
arithmetic at that rate and of reading W_hh once, each thread its own share, again and again.
Gate functions are not counted, so 1.0 cannot be reached.

The machine is measured, not assumed: clocks and neighbours change its speed from minute to
minute.  :class:`Calibration` holds probes that take turns with a row's competitors, so each
round has its own machine and its own bound.

- The rate is that of the faster of two products: NumPy's, 1024 x 1024 x 1024, and one that is
  nearly all input projection in our own kernels.
- What L1 and L2 deliver is more than NumPy can read.  They run on the core's clock as the
  arithmetic does, so they count with as many bytes per operation as a read loop in C reached on
  a core with AVX-512 and 2 MB of L2.
- A larger share can keep 2 MB in L2 from step to step.  The rest comes at the rate at which
  NumPy finds the maximum of an array of the share's size, which is the most that one thread
  reads from there.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

import fastseq as fs

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
L1, L2 = 48 * 1024, 2048 * 1024
L1_PER_FLOP, L2_PER_FLOP = 1.65, 0.8  # bytes per float32 operation of the best product
SIDE = 1024  # of NumPy's square product
TOKENS, INPUTS, UNITS = (16, 96), 1024, 64  # our product: an LSTM whose input is wide


@dataclass(frozen=True)
class Machine:
    """What bounds a recurrent layer.

    Parameters
    ----------
    flops : float
        Floating-point operations per second of the best matrix product, all threads together.
    read : float
        Bytes per second at which one thread reads its share of the weight again and again.
    threads : int
    dtype : dtype or its name
    """

    flops: float
    read: float
    threads: int = 1
    dtype: str = "float32"


def share_bytes(cell, hidden, threads, dtype):
    """What one thread reads of W_hh at every step."""
    return GATES[cell] * hidden * hidden * np.dtype(dtype).itemsize / threads


def bound(cell, shape, mode, machine):
    """The least seconds that one call can take.

    >>> machine = Machine(flops=170e9, read=135e9)
    >>> f"{1e3 * bound('lstm', (100, 32, 256), 'inference', machine):.1f} ms"
    '19.7 ms'
    """
    steps, batch, hidden = shape
    step = 2 * batch * GATES[cell] * hidden * hidden / machine.flops
    read = share_bytes(cell, hidden, machine.threads, machine.dtype) / machine.read
    product, recurrence = steps * step, steps * max(step, read)
    if mode == "inference":
        return product + recurrence
    return 4 * product + 2 * recurrence


class Calibration:
    """Probes of the machine for one kind of row.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
    hidden, threads : int
        NumPy's BLAS must have been started with as many threads.
    dtype : dtype

    Attributes
    ----------
    calls : dict
        Name -> function, to be timed in turn with the competitors.
    """

    def __init__(self, cell, hidden, threads, dtype):
        self.threads, self.dtype = threads, np.dtype(dtype)
        self.share = share_bytes(cell, hidden, threads, dtype)
        square = np.ones((SIDE, SIDE), dtype)
        layer = fs.LSTM(INPUTS, UNITS, dtype=dtype, seed=0)
        weight = np.ones(max(1, int(self.share) // self.dtype.itemsize), dtype)
        self.calls = {
            "probe: NumPy": partial(np.matmul, square, square, out=np.empty_like(square)),
            "probe: layer": partial(layer, np.ones((*TOKENS, INPUTS), dtype)),
            "probe: read": partial(np.maximum.reduce, weight),
        }

    def machines(self, times):
        """A :class:`Machine` for each round, from the probes' seconds per call."""
        layer_flops = 2 * math.prod(TOKENS) * 4 * UNITS * (UNITS + INPUTS)
        rounds = zip(*(times[name] for name in self.calls), strict=True)
        for square, layer, read in rounds:
            flops = max(2 * SIDE**3 / square, layer_flops / layer)
            yield Machine(flops, self._bandwidth(flops, read), self.threads, self.dtype)

    def _bandwidth(self, flops, read_seconds):
        single = flops / self.threads * self.dtype.itemsize / 4  # in float32, on one thread
        if self.share <= L1:
            return L1_PER_FLOP * single
        far = max(self.share - L2, 0) / self.share
        return 1 / ((1 - far) / (L2_PER_FLOP * single) + far * read_seconds / self.share)
