"""Word vectors, here and by gensim: an epoch, and the way from a file to vectors."""

import importlib.util

import fastseq as fs

VARIANTS = {
    "cbow-ns": {"sg": 0, "hs": 0, "negative": 5},
    "cbow-hs": {"sg": 0, "hs": 1, "negative": 0},
    "sg-ns": {"sg": 1, "hs": 0, "negative": 5},
    "sg-hs": {"sg": 1, "hs": 1, "negative": 0},
}
EPOCHS = 5  # from a file to vectors


def has_gensim():
    return importlib.util.find_spec("gensim") is not None


def epochs(path, variant, size, threads):
    """Calls that train an epoch of a text.

    The words were counted before.  fastseq has also encoded them; gensim splits the text again in
    each epoch, and reads it itself, which is the quickest that it offers.
    """
    corpus = fs.Corpus.from_file(path)
    ours = {"fastseq": _ours(corpus, variant, size, threads)}
    if threads > 1:
        ours["fastseq 1 thread"] = _ours(corpus, variant, size, 1)
    ours["fastseq deterministic"] = _ours(corpus, variant, size, threads, deterministic=True)
    if has_gensim():
        ours["gensim"] = _gensims(path, variant, size, threads)
    return ours


def _ours(corpus, variant, size, threads, **options):
    model = fs.Word2Vec(vector_size=size, workers=threads, **VARIANTS[variant], **options)
    model.build_vocab(corpus)
    return lambda: model.train(epochs=1)


def _gensims(path, variant, size, threads):
    from gensim.models import Word2Vec

    model = Word2Vec(vector_size=size, workers=threads, **VARIANTS[variant])
    model.build_vocab(corpus_file=path)
    words = model.corpus_total_words
    return lambda: model.train(corpus_file=path, total_words=words, epochs=1)


def from_file(path, variant, size, threads):
    """Calls that make vectors of a text: its vocabulary, and all epochs."""
    options = {"vector_size": size, "workers": threads, "epochs": EPOCHS, **VARIANTS[variant]}
    calls = {"fastseq": lambda: fs.Word2Vec(corpus_file=path, progress=False, **options)}
    if has_gensim():
        from gensim.models import Word2Vec

        calls["gensim"] = lambda: Word2Vec(corpus_file=path, **options)
    return calls
