"""Streams: stacked cells that advance one step a call."""

import numpy as np

from fastseq import reference
from fastseq.jit.gru import gru_forward
from fastseq.jit.lstm import lstm_forward
from fastseq.jit.rnn import rnn_forward

FORWARD = (False,)


class Stepper(reference.Stepper):
    """:class:`fastseq.reference.Stepper` with the compiled kernels.

    These update a state in place when the final state is the initial one's array.
    """

    def __init__(self, cell, weights, option, h, c):
        super().__init__(cell, weights, option, h, c)
        self.y = np.empty_like(h[0])

    def _advance(self, layer, weights, x):
        h, y, offsets = self.h[layer : layer + 1], self.y, self.offsets
        if self.cell == "lstm":
            c = self.c[layer : layer + 1]
            lstm_forward(x, h, c, [weights], offsets, FORWARD, y, h, c, None, None)
        elif self.cell == "gru":
            gru_forward(x, h, [weights], offsets, FORWARD, self.option, y, h, None)
        elif self.cell == "rnn":
            rnn_forward(x, h, [weights], offsets, FORWARD, self.option, y, h)
        else:
            raise ValueError(f"no cell {self.cell!r}")
        return h[0]
