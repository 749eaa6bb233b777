"""Small models that show the package at work: ``fastseq demo``, and ``fastseq demo NAME``.

They are written to be read.  The adder takes a recurrent layer of fastseq and does everything
around it (output layer, loss, optimiser) in a few lines of NumPy; the character model is a
``LanguageModel``, which has all of that; the word vectors come from ``Word2Vec``, and what
pronounces words is a ``Seq2Seq``.
"""

import errno
import os
from pathlib import Path


def run(*, short=False, seed=0, out=".", seconds=None, updates=10_000):
    """Run both demonstrations and print what happens.

    Parameters
    ----------
    short : bool
        Finish in about ten seconds instead of forty.
    seed : int
        Seeds weights, training examples and the sampled text.
    out : str or Path
        Folder for the pictures of the loss curves; made if it is missing.
    seconds : float or None
        How long the character model trains; None means 30, or 5 with ``short``.
    updates : int
        Online updates of the binary addition.
    """
    from fastseq.demo import binary_addition, character_model

    out = Path(out)
    make_folder(out)  # before any work, so that a bad folder fails at once
    if seconds is None:
        seconds = 5.0 if short else 30.0

    print("1. Binary addition: a sigmoid RNN learns to add two numbers of 7 bits\n")
    losses = binary_addition.run(seed=seed, updates=updates)
    save_curve(out / "binary_addition_loss.png", losses, "loss of one addition", "update")

    print("\n2. A character model: an LSTM learns to write like Shakespeare\n")
    losses = character_model.run(seed=seed, seconds=seconds, length=300 if short else 800)
    save_curve(out / "character_model_loss.png", losses, "nats per character", "update")


def run_g2p(*, short=False, seed=0, out=".", seconds=None):
    """Train a model that pronounces English words, and let it; arguments as of :func:`run`."""
    from fastseq.demo import pronunciation

    out = Path(out)
    make_folder(out)
    if seconds is None:
        seconds = 10.0 if short else 60.0
    print("Pronunciation: a model with attention learns to read English words\n")
    losses = pronunciation.run(seed=seed, seconds=seconds, picture=out / "g2p_attention.png")
    save_curve(out / "g2p_loss.png", losses, "nats per phone", "update")


def run_word2vec(*, short=False, seed=0, out="."):
    """Train word vectors, and print and draw which words are similar.

    Parameters
    ----------
    short : bool
        Read the text fewer times.
    seed : int
        Seeds the training.
    out : str or Path
        Folder for the picture; made if it is missing.
    """
    from fastseq.demo import word_vectors

    out = Path(out)
    make_folder(out)
    wv = word_vectors.run(seed=seed, epochs=10 if short else 40)
    save_words(out / "word_vectors.png", wv, word_vectors.WORDS_TO_DRAW.split())


def make_folder(path):
    """Make a folder for the pictures, unless it is there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "not writable")
    except OSError as error:
        raise OSError(
            f"out must be a folder to write pictures into, got {str(path)!r} ({error.strerror}); "
            "choose another with --out"
        ) from error


def save_curve(path, points, ylabel, xlabel):
    """Draw (x, y) points into a picture, or say what is missing to do so."""
    try:
        from matplotlib.figure import Figure  # pyplot would look for a display
    except ImportError:
        print("No picture of the loss without matplotlib: pip install 'fastseq[demo]'")
        return
    axes = (figure := Figure(figsize=(7, 4), layout="tight")).add_subplot()
    axes.plot(*zip(*points, strict=True))
    axes.set(xlabel=xlabel, ylabel=ylabel)
    figure.savefig(path)
    print(f"Loss curve: {path}")


def save_words(path, wv, words):
    """Draw words' vectors into a picture, or say what is missing to do so."""
    try:
        wv.plot([word for word in words if word in wv], path)
    except ImportError:
        print("No picture of the words without matplotlib: pip install 'fastseq[demo]'")
        return
    print(f"Words in a plane: {path}")
