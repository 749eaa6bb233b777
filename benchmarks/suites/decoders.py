"""Decoders with attention: whole target sequences, and one step of a search."""

import numpy as np

from fastseq.bench.decoders import KINDS, make_decoder, prepare

from .common import require

SHAPES = [(20, 1, 128), (20, 8, 128), (20, 32, 256)]


class WholeSequences:
    params = (["lstm", "gru"], list(KINDS), ["inference", "training"], SHAPES, ["fastseq", "torch"])
    param_names = ("cell", "kind", "mode", "shape", "competitor")

    def setup(self, cell, kind, mode, shape, competitor):
        if competitor == "torch":
            require("torch")
        calls = prepare(cell, kind, mode, shape, torch=competitor == "torch")
        self.call = calls[competitor]
        self.call()

    def time_decoder(self, cell, kind, mode, shape, competitor):
        self.call()


class Steps:
    """Beams of five hypotheses for each of 32 sources, chosen anew after each step."""

    params = (["lstm", "gru"], list(KINDS), [128, 256])
    param_names = ("cell", "kind", "hidden")

    def setup(self, cell, kind, hidden):
        decoder, x, memory, _ = make_decoder(cell, kind, (20, 32, hidden), "float32", 1)
        self.state = decoder.start(memory)
        self.rows = np.random.default_rng(0).permutation(np.repeat(np.arange(32), 5))
        self.state.select(self.rows)
        self.x, self.rows = np.repeat(x[0], 5, axis=0), np.arange(160)[::-1].copy()

    def time_step(self, cell, kind, hidden):
        self.state.step(self.x)
        self.state.select(self.rows)
