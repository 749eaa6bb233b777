"""Forward and back through time, with gradients of weights, input and initial state."""

from .common import CELLS, COMPETITORS, SHAPES, prepare


class Training:
    params = (CELLS, SHAPES, [name for name in COMPETITORS if name != "onnxruntime"])
    param_names = ("cell", "shape", "competitor")

    def setup(self, cell, shape, competitor):
        self.call = prepare(competitor, "training", cell, shape)

    def time_layer(self, cell, shape, competitor):
        self.call()


class TrainingFloat64:
    params = (CELLS, ["fastseq", "torch", "numpy"])
    param_names = ("cell", "competitor")

    def setup(self, cell, competitor):
        self.call = prepare(competitor, "training", cell, (100, 32, 128), dtype="float64")

    def time_layer(self, cell, competitor):
        self.call()
