"""Forward through one layer: what serving costs."""

from .common import CELLS, COMPETITORS, SHAPES, prepare


class Inference:
    params = (CELLS, SHAPES, COMPETITORS)
    param_names = ("cell", "shape", "competitor")

    def setup(self, cell, shape, competitor):
        self.call = prepare(competitor, "inference", cell, shape)

    def time_layer(self, cell, shape, competitor):
        self.call()
