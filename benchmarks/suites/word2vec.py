"""Training of word vectors: an epoch of a text, and gensim's."""

import fastseq as fs
from fastseq.bench import texts

from .common import require, require_cores

WORDS = 2_000_000
VARIANTS = {
    "cbow-ns": {"sg": 0, "hs": 0, "negative": 5},
    "cbow-hs": {"sg": 0, "hs": 1, "negative": 0},
    "sg-ns": {"sg": 1, "hs": 0, "negative": 5},
    "sg-hs": {"sg": 1, "hs": 1, "negative": 0},
}


class Training:
    """One epoch over an encoded text; gensim's reads the text again, as it always does."""

    params = (list(VARIANTS), ["fastseq", "deterministic", "gensim"], [1, 2])
    param_names = ("variant", "competitor", "threads")
    timeout = 300

    def setup(self, variant, competitor, threads):
        require_cores(threads)
        with texts.text_file(WORDS) as path:
            self.corpus = fs.Corpus.from_file(path)
            with open(path, encoding="ascii") as file:
                lines = [line.split() for line in file] if competitor == "gensim" else None
        if competitor == "gensim":
            gensim = require("gensim.models")
            model = gensim.Word2Vec(workers=threads, **VARIANTS[variant])
            model.build_vocab(lines)
            self.call = lambda: model.train(lines, total_examples=len(lines), epochs=1)
        else:
            model = fs.Word2Vec(
                workers=threads, deterministic=competitor == "deterministic", **VARIANTS[variant]
            )
            model.build_vocab(self.corpus)
            self.call = lambda: model.train(epochs=1)

    def time_epoch(self, variant, competitor, threads):
        self.call()
