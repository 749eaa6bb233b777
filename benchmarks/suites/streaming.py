"""One step from Python at batch 1, weights bound once."""

from fastseq.bench import streams
from fastseq.bench.problems import make_problem

from .common import CELLS, load


class Step:
    params = (CELLS, [64, 128, 256], ["fastseq", "torch", "onnxruntime"])
    param_names = ("cell", "hidden", "competitor")

    def setup(self, cell, hidden, competitor):
        load(competitor)
        problem = make_problem(cell, (1, 1, hidden))
        self.step, _ = streams.STREAMS[competitor](problem)
        self.step()

    def time_step(self, cell, hidden, competitor):
        self.step()
