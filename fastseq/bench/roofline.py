"""A lower bound for the time of one layer, from what the machine can compute and read.

The bound counts products and weight traffic only::

    inference = P + R            training = 4 P + 2 R

P is one product over all tokens (the input projection; in training also dX and the two dW)
at the rate of the best matrix product.  R is the recurrence: at every step the larger of its
arithmetic at that rate and of reading W_hh once, each thread its own share, from the cache
that holds the share.  Gate functions are not counted, so 1.0 cannot be reached.

The numbers in ``MACHINE`` were measured on two cores of a server with AVX-512 at 2.75 GHz
and 2 MB of L2 per core.  They describe that class of machine: pass another ``Machine`` for
yours.
"""

from dataclasses import dataclass

import numpy as np

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
KB = 1024


@dataclass(frozen=True)
class Machine:
    """What bounds a recurrent layer.

    Parameters
    ----------
    gflops : dict
        Threads -> float32 GFLOP/s of the best matrix product; float64 reaches half.
    read_gb : tuple
        (bytes, GB/s of one thread reading a buffer of up to that size), by rising size.
    """

    gflops: dict
    read_gb: tuple

    def rate(self, threads, dtype):
        """Floating-point operations per second.

        Thread counts beyond those measured scale from the largest one.
        """
        most = max(self.gflops)
        gflops = self.gflops.get(threads) or self.gflops[most] * threads / most
        return gflops * 1e9 * 4 / np.dtype(dtype).itemsize

    def bandwidth(self, size):
        """Bytes per second at which a thread reads ``size`` bytes again and again."""
        for limit, gigabytes in self.read_gb:
            if size <= limit:
                return gigabytes * 1e9
        return self.read_gb[-1][1] * 1e9


MACHINE = Machine(
    gflops={1: 170, 2: 335},
    read_gb=(
        (48 * KB, 280),  # L1
        (1024 * KB, 135),  # L2
        (2048 * KB, 61),  # L2 and a little more
        (4096 * KB, 29),
        (8192 * KB, 27.7),
        (16384 * KB, 26.1),
        (32768 * KB, 19.9),
        (65536 * KB, 14.8),
    ),
)


def bound(cell, shape, mode, threads=1, dtype=np.float32, machine=MACHINE):
    """The least seconds that one call can take.

    >>> f"{1e3 * bound('lstm', (100, 32, 256), 'inference'):.1f} ms"
    '19.7 ms'
    """
    steps, batch, hidden = shape
    rate = machine.rate(threads, dtype)
    weights = GATES[cell] * hidden * hidden
    step_flops = 2 * batch * weights
    share = weights * np.dtype(dtype).itemsize / threads
    product = steps * step_flops / rate
    recurrence = steps * max(step_flops / rate, share / machine.bandwidth(share))
    if mode == "inference":
        return product + recurrence
    return 4 * product + 2 * recurrence
