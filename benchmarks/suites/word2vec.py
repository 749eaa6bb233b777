"""Training of word vectors: an epoch of a text, and all from a file to vectors; gensim's, too."""

from fastseq.bench import texts, word_vectors

from .common import require, require_cores

WORDS = 1_000_000
COMPETITORS = {
    "fastseq": "fastseq",
    "deterministic": "fastseq deterministic",
    "gensim": "gensim",
}


class _File:
    timeout = 600

    def teardown(self, *case):
        self.file.__exit__(None, None, None)

    def make(self, calls, competitor, threads, *arguments):
        """The competitor's call, whose text is there until the end."""
        require_cores(threads)
        if competitor == "gensim":
            require("gensim")
        self.file = texts.text_file(WORDS)
        self.call = calls(self.file.__enter__(), *arguments, threads)[COMPETITORS[competitor]]


class Training(_File):
    """One epoch; gensim's reads the text again, as it always does."""

    params = (list(word_vectors.VARIANTS), list(COMPETITORS), [1, 2])
    param_names = ("variant", "competitor", "threads")

    def setup(self, variant, competitor, threads):
        self.make(word_vectors.epochs, competitor, threads, variant, 100)
        self.call()

    def time_epoch(self, variant, competitor, threads):
        self.call()


class FromFile(_File):
    """The vocabulary and all epochs."""

    params = (["fastseq", "gensim"], [1, 2])
    param_names = ("competitor", "threads")

    def setup(self, competitor, threads):
        self.make(word_vectors.from_file, competitor, threads, "sg-ns", 100)

    def time_all(self, competitor, threads):
        self.call()

    def peakmem_all(self, competitor, threads):
        self.call()
