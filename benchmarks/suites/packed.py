"""Short sequences: weights packed once, or in each call."""

from fastseq.bench.peers import Fastseq
from fastseq.bench.problems import make_problem

from .common import CELLS


class ShortSequence:
    params = (CELLS, [(1, 1, 256), (5, 1, 256), (10, 1, 512), (20, 4, 256)], [True, False])
    param_names = ("cell", "shape", "packed")

    def setup(self, cell, shape, packed):
        problem = make_problem(cell, shape)
        self.call, _ = Fastseq(packed=packed).prepare(problem, "inference", 1)
        self.call()

    def time_layer(self, cell, shape, packed):
        self.call()
