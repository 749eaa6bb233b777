"""What tests of training word vectors share: small corpora, and calls of the kernels."""

import importlib

import numpy as np
import pytest

from fastseq._reference.word2vec import Settings
from fastseq.words.word_counts import huffman_tree, keep_thresholds, noise_table

BACKENDS = {
    "cython": "fastseq._word2vec",
    "numba": "fastseq.jit.word2vec",
    "numpy": "fastseq._reference.word2vec",
}
# skip-gram, hierarchical softmax, negatives, mean
VARIANTS = [
    (True, False, 5, True),
    (True, True, 0, True),
    (True, True, 5, True),
    (False, False, 5, True),
    (False, False, 5, False),
    (False, True, 0, True),
    (False, True, 0, False),
    (False, True, 5, True),
]
VARIANT_IDS = [
    "sg-ns", "sg-hs", "sg-both", "cbow-ns", "sum-ns", "cbow-hs", "sum-hs", "cbow-both",
]  # fmt: skip
all_variants = pytest.mark.parametrize("variant", VARIANTS, ids=VARIANT_IDS)
STREAMS = (12345, 99999)


def load(backend):
    try:
        return importlib.import_module(BACKENDS[backend])
    except ImportError as error:
        pytest.skip(f"the {backend} backend is not available: {error}")


def aligned(count, size, dtype):
    """Zeros (count, size) in rows of whole cache lines, as the kernels want them."""
    numbers = 64 // np.dtype(dtype).itemsize
    width = -(-size // numbers) * numbers
    memory = np.zeros(count * width + numbers, dtype)
    begin = -memory.ctypes.data % 64 // memory.itemsize
    return memory[begin : begin + count * width].reshape(count, width)[:, :size]


def make_corpus(words=60, length=9000, seed=0):
    """(ids, offsets): sentences of many lengths, some of them across chunks."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, words + 1)
    ids = rng.choice(words, length, p=share / share.sum()).astype(np.int32)
    ends = np.cumsum(rng.choice([1, 2, 5, 30, 700], length))
    return ids, np.unique(np.concatenate([[0], ends[ends < length], [length]])).astype(np.int64)


class Case:
    """Matrices, a corpus, tables and settings, for one call."""

    def __init__(self, corpus, variant, *, dtype=np.float64, size=13, words=60, sample=1e-2,
                 seed=1, **settings):  # fmt: skip
        skip_gram, tree, negative, mean = variant
        self.ids, self.offsets = corpus
        counts = np.bincount(self.ids, minlength=words) + 1
        rng = np.random.default_rng(seed)
        self.syn0, self.syn1neg, self.syn1 = (
            self._random(rng, n, size, dtype) for n in (words, words, words - 1)
        )
        self.syn1neg = self.syn1neg if negative else None
        self.syn1 = self.syn1 if tree else None
        self.keep = keep_thresholds(counts, sample)
        self.alias = noise_table(counts) if negative else None
        self.tree = huffman_tree(counts) if tree else None
        defaults = {"window": 4, "shrink": True, "draws": 16, "block": 16, "with_loss": True}
        self.settings = Settings(
            skip_gram=skip_gram, mean=mean, negative=negative,
            **{"virtual_workers": 0, **defaults, **settings},
        )  # fmt: skip
        self.chunks = -(-len(self.ids) // 8192)

    @staticmethod
    def _random(rng, count, size, dtype):
        rows = aligned(count, size, dtype)
        rows[:] = 0.5 * rng.standard_normal(rows.shape)
        return rows

    def matrices(self):
        named = {"syn0": self.syn0, "syn1neg": self.syn1neg, "syn1": self.syn1}
        return {name: matrix for name, matrix in named.items() if matrix is not None}

    def train(self, module, *, rates=None, workers=1):
        """(matrices, losses) after training copies of the matrices."""
        after = {}
        for name, matrix in self.matrices().items():
            after[name] = aligned(*matrix.shape, matrix.dtype)
            after[name][:] = matrix
        rates = np.linspace(0.01, 0.008, self.chunks) if rates is None else rates
        losses = np.full((self.chunks, 2), np.nan)
        module.train_words(
            after["syn0"], after.get("syn1neg"), after.get("syn1"), self.ids, self.offsets,
            self.keep, self.alias, self.tree, self.settings, STREAMS, 0, rates, losses, workers,
        )  # fmt: skip
        return after, losses
