"""Scaled dot-product attention, and attention to a memory as decoders use it."""

import numpy as np

import fastseq as fs
from fastseq.bench.attention import LIBRARIES, make_heads

from .common import require

MEMORY = (20, 20, 32, 256)  # T, S, B, size


class ScaledDotProduct:
    params = (["inference", "training"], [128, 512, 2048], [False, True], ["fastseq", "torch"])
    param_names = ("mode", "steps", "causal", "competitor")

    def setup(self, mode, steps, causal, competitor):
        require(competitor)
        heads = make_heads((8, 8, steps, 64), causal=causal)
        self.call, _ = LIBRARIES[competitor](heads, mode, 1)
        self.call()

    def time_heads(self, mode, steps, causal, competitor):
        self.call()

    def peakmem_heads(self, mode, steps, causal, competitor):
        self.call()


class ToMemory:
    params = (
        ["Additive", "Concat", "General", "Dot", "Local", "Monotonic", "Coverage", "Multihead"],
        ["inference", "training"],
    )
    param_names = ("kind", "mode")

    def setup(self, kind, mode):
        fs.set_num_threads(1)
        steps, positions, rows, size = MEMORY
        random = np.random.default_rng(0)
        query = random.standard_normal((steps, rows, size), dtype=np.float32)
        memory = random.standard_normal((positions, rows, size), dtype=np.float32)
        sizes = {"Dot": (), "Local": (size, size, 5), "Multihead": (size, 8)}
        self.layer = getattr(fs, f"{kind}Attention")(*sizes.get(kind, (size, size)))
        self.inputs, self.d_context = (query, memory), np.ones_like(query)
        self.call = self.train if mode == "training" else self.infer
        self.call()

    def infer(self):
        self.layer(*self.inputs)

    def train(self):
        self.layer.forward(*self.inputs)[-1](self.d_context)

    def time_layer(self, kind, mode):
        self.call()
