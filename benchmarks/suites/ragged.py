"""Sequences of unequal lengths: the cost should follow the real tokens."""

from fastseq.bench.problems import spread_lengths

from .common import CELLS, prepare

SHAPE = (100, 16, 128)


class Ragged:
    params = (CELLS, ["inference", "training"], ["fastseq", "torch"], ["ragged", "dense"])
    param_names = ("cell", "mode", "competitor", "batch")

    def setup(self, cell, mode, competitor, batch):
        steps, rows, _ = SHAPE
        lengths = spread_lengths(rows, steps // 4, steps) if batch == "ragged" else None
        self.call = prepare(competitor, mode, cell, SHAPE, lengths=lengths)

    def time_layer(self, cell, mode, competitor, batch):
        self.call()
