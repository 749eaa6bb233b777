"""Reading texts: from a file or lists to a vocabulary and ids, and gensim's vocabulary alone."""

import fastseq as fs
from fastseq.bench import texts

from .common import require, require_cores

WORDS = 2_000_000


class Reading:
    """A file, on one and two threads."""

    params = (["fastseq", "gensim"], [1, 2])
    param_names = ("competitor", "threads")

    def setup(self, competitor, threads):
        require_cores(threads)
        if competitor == "gensim":
            require("gensim")
            if threads > 1:
                raise NotImplementedError("gensim counts on one thread")
        self.file = texts.text_file(WORDS)
        calls = texts.readers(self.file.__enter__(), threads)
        self.call = calls["fastseq" if competitor == "fastseq" else "gensim build_vocab"]
        self.call()

    def teardown(self, competitor, threads):
        self.file.__exit__(None, None, None)

    def time_read(self, competitor, threads):
        self.call()

    def peakmem_read(self, competitor, threads):
        self.call()


class Kinds:
    """What a corpus can be read from, and where to."""

    params = (["file", "disk", "keys", "max_vocab_size", "lists"],)
    param_names = ("kind",)

    def setup(self, kind):
        self.file = texts.text_file(WORDS)
        path = self.file.__enter__()
        options = {"workers": 1}
        if kind == "disk":
            options["memory_limit"] = 0
        elif kind == "keys":
            options["keys"] = fs.Corpus.from_file(path).index_to_key
        elif kind == "max_vocab_size":
            options["max_vocab_size"] = 20_000
        self.call = lambda: fs.Corpus.from_file(path, **options)
        if kind == "lists":
            with open(path, encoding="ascii") as file:
                lists = [line.split() for line in file]
            self.call = lambda: fs.Corpus.from_sentences(lists)
        self.call()

    def teardown(self, kind):
        self.file.__exit__(None, None, None)

    def time_read(self, kind):
        self.call()
