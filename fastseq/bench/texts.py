"""Texts to read: words as often as in a language, and what reads them."""

import contextlib
import os
import tempfile

import numpy as np

import fastseq as fs
from fastseq.bench.word_vectors import has_gensim

WORDS_A_LINE = 20


@contextlib.contextmanager
def text_file(size, vocabulary=100_000, seed=0):
    """A temporary file of ``size`` words; the n-th most frequent comes about 1 / n as often.

    Words have 1 to 12 letters, frequent ones fewer.
    """
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlucmfw"))
    lengths = np.clip(rng.normal(1.5 + np.log2(np.arange(vocabulary) + 1) / 2, 1), 1, 12)
    words = ["".join(rng.choice(letters, int(length))) for length in lengths]
    weights = 1 / np.arange(1, vocabulary + 1)
    drawn = rng.choice(vocabulary, size, p=weights / weights.sum())
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "text.txt")
        with open(path, "w", encoding="ascii") as file:
            for begin in range(0, size, WORDS_A_LINE):
                line = drawn[begin : begin + WORDS_A_LINE]
                file.write(" ".join(words[i] for i in line) + "\n")
        yield path


def readers(path, threads):
    """Calls that count and encode a text; gensim's, if it is installed, counts alone."""
    calls = {"fastseq": lambda: fs.Corpus.from_file(path, workers=threads)}
    if has_gensim():
        from gensim.models.word2vec import Word2Vec

        calls["gensim build_vocab"] = lambda: Word2Vec(vector_size=1).build_vocab(corpus_file=path)
    return calls
