"""One and two threads, and what they run on."""

import os

from fastseq.bench import machine

from .common import CELLS, prepare, require_cores


class Threads:
    params = (
        CELLS,
        ["inference", "training"],
        [(100, 1, 512), (50, 16, 128), (100, 32, 256)],
        ["fastseq", "torch"],
        [1, 2],
    )
    param_names = ("cell", "mode", "shape", "competitor", "threads")

    def setup(self, cell, mode, shape, competitor, threads):
        require_cores(threads)
        self.call = prepare(competitor, mode, cell, shape, threads=threads)

    def time_layer(self, cell, mode, shape, competitor, threads):
        self.call()


class Machine:
    """CPU features and thread counts, kept beside the times that they explain."""

    def track_cores(self):
        return len(machine.allowed_cores())

    def track_default_threads(self):
        return machine.describe_fastseq()["threads"]

    def track_blas_threads(self):
        return int(os.environ["OPENBLAS_NUM_THREADS"])

    def track_widest_vector_bits(self):
        flags = machine.vector_flags()
        return 512 if "avx512f" in flags else 256 if "avx2" in flags else 128

    def track_isa(self):
        names = ["", "generic", "avx2", "avx512"]  # a number, so that asv can plot it
        isa = machine.describe_fastseq()["isa"]
        return names.index(isa) if isa in names else -1
