"""A model that pronounces English words: letters in, phones out.

A bidirectional LSTM reads the letters; another LSTM writes the phones, and at each of them looks
at the letters that it comes from (Luong et al., 2015)::

    m = BiLSTM(letters)                          a vector for each letter, in its context
    h_t = LSTM(phone_{t-1}, h_{t-1})
    a_t = softmax_s(h_t W m_s)                   where to look
    p_t = softmax(V tanh(U [sum_s a_ts m_s; h_t]) + b)
"""

import contextlib
import gzip
import sys
from importlib import resources

import fastseq as fs
from fastseq.demo.character_model import MANY, Clock, progress

HELD_OUT = 20  # each so manieth word is kept from training
WORDS = ("through", "knowledge", "phonetics", "attention", "recurrent", "zebrafish")


def make_model(*, seed, **settings):
    """A model that learns as much as it can in a minute."""
    usual = {
        "source_unit": "character",
        "target_unit": "word",
        "embedding_dim": 64,
        "hidden_size": 128,
        "dropout": 0.2,
        "batch_size": 64,
        "lr": 5e-3,
    }
    return fs.Seq2Seq(**(usual | settings), epochs=MANY, random_state=seed)


def load_words():
    """20,000 words and their pronunciations (CMUdict), which ship with the package."""
    path = resources.files("fastseq.demo") / "data" / "cmudict_common.tsv.gz"
    lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
    return [tuple(line.split("\t")) for line in lines]


def split(pairs):
    """Words to learn from, and words to test with."""
    held_out = pairs[HELD_OUT - 1 :: HELD_OUT]
    learned = [pair for i, pair in enumerate(pairs, 1) if i % HELD_OUT]
    return learned, held_out


def train(model, pairs, *, seconds, updates=float("inf")):
    """Train for ``seconds`` of wall-clock time, or for ``updates`` if they are done earlier.

    Returns the losses as (update, nats per phone) points.
    """
    with progress(seconds, "words") as report:
        clock = Clock(seconds, updates, lr=model.lr, size=model.batch_size, report=report)
        model.fit(pairs, callbacks=[clock], progress=False)
    if model.history_.stopped == "interrupted":
        raise KeyboardInterrupt
    return list(enumerate(model.history_.loss))


def words_to_say():
    """What the user types, or some words if nobody is there to type."""
    if not sys.stdin.isatty():
        yield from WORDS
        return
    print("Type words, one a line; an empty line ends it.")
    with contextlib.suppress(EOFError):
        while word := input("> ").strip().lower():
            yield word


def run(*, seed=0, seconds=60.0, picture="g2p_attention.png"):
    """Train, report the errors on unseen words, pronounce words; returns the losses."""
    training, held_out = split(load_words())
    model = make_model(seed=seed)
    print(f"Training for {seconds:g} s on {len(training):,} words")
    losses = train(model, training, seconds=seconds)
    right = model.score(held_out)
    print(f"{right:.1%} of {len(held_out):,} unseen words are pronounced as the dictionary says\n")
    word = ""
    for word in words_to_say():
        print(f"{word:12} {model.predict([word])[0]}")
    if word:
        draw(model, word, picture)
    return losses


def draw(model, word, path):
    """A picture of a word's attention, if there can be one."""
    try:
        model.plot_attention(word, path=path)
    except ImportError:
        print("No picture of the attention without matplotlib: pip install 'fastseq[demo]'")
        return
    print(f"Where it looked at last: {path}")
