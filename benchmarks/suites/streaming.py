"""One step from Python at batch 1, weights bound once."""

from fastseq.bench import streams
from fastseq.bench.problems import make_problem

from .common import CELLS, load, require_cores


class Step:
    params = (CELLS, [64, 128, 256, 512], ["fastseq", "torch", "onnxruntime"], [1, 2])
    param_names = ("cell", "hidden", "competitor", "threads")

    def setup(self, cell, hidden, competitor, threads):
        require_cores(threads)
        load(competitor)
        problem = make_problem(cell, (1, 1, hidden))
        self.step, _ = streams.STREAMS[competitor](problem, threads)
        self.step()

    def time_step(self, cell, hidden, competitor, threads):
        self.step()
