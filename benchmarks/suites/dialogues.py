"""Updates of a dialogue model, forward and backward, clipping and Adam."""

from fastseq.bench.dialogues import CELLS, SHAPES, VOCABULARIES, prepare

from .common import require


class Updates:
    params = (list(CELLS), list(SHAPES), list(VOCABULARIES), ["fastseq", "torch", "torch flat"])
    param_names = ("cell", "shape", "words", "competitor")

    def setup(self, cell, shape, words, competitor):
        if competitor != "fastseq":
            require("torch")
        calls = prepare(cell, shape, words, torch=competitor != "fastseq")
        self.call = calls[competitor]
        self.call()

    def time_update(self, cell, shape, words, competitor):
        self.call()
