"""How far training grows the process, against what it must keep."""

from fastseq.bench import fresh

from .common import CELLS, load, prepare

SHAPE = (1000, 32, 64)


class PeakMemory:
    params = (CELLS, ["fastseq", "torch"])
    param_names = ("cell", "competitor")

    def setup(self, cell, competitor):
        load(competitor)

    def peakmem_training(self, cell, competitor):
        prepare(competitor, "training", cell, SHAPE)

    def track_growth_over_kept(self, cell, competitor):
        measured = fresh.in_fresh_process(
            "peak_memory", library=competitor, cell=cell, shape=list(SHAPE)
        )
        return measured["grown"] / fresh.kept_bytes(cell, SHAPE)

    track_growth_over_kept.unit = "ratio"
