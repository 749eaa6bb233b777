"""Toy models for searches, and what searches should find, computed in the plainest way."""

import itertools

import numpy as np

END, START = 0, 1


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


class Table:
    """A random model: the logits depend on the sentence and on all tokens so far.

    It knows nothing of a search but the protocol, and notices rows that go astray.
    """

    def __init__(
        self, classes, sentences=(0,), *, scale=2.0, end=0.0, source=0, dtype=np.float64, seed=0
    ):
        self.classes, self.scale, self.end, self.dtype = classes, scale, end, dtype
        self.source, self.seed = source, seed
        self.histories = [(sentence,) for sentence in sentences]
        self.weights, self.rows = None, []

    def step(self, ids):
        assert len(ids) == len(self.histories) > 0
        assert ids.dtype == np.int64
        self.rows.append(len(ids))
        self.histories = [(*h, int(i)) for h, i in zip(self.histories, ids, strict=True)]
        if self.source:
            self.weights = np.array([self.attention(h) for h in self.histories])
        return np.array([self.logits(h) for h in self.histories], self.dtype)

    def select(self, rows):
        self.histories = [self.histories[row] for row in rows]

    def logits(self, history):
        """After (sentence, start, tokens ...)."""
        rng = np.random.default_rng([self.seed, *history])
        logits = self.scale * rng.standard_normal(self.classes)
        logits[END] += self.end
        return logits

    def attention(self, history):
        rng = np.random.default_rng([self.seed, 99, *history])
        return np.exp(log_softmax(2 * rng.standard_normal(self.source)))

    def log_prob(self, sentence, tokens):
        """Of these tokens and the end."""
        total, history = 0.0, (sentence, START)
        for token in [*tokens, END]:
            total += log_softmax(self.logits(history).astype(self.dtype))[token]
            history = (*history, int(token))
        return total

    def attentions(self, sentence, tokens):
        """(n + 1, S)"""
        histories = [(sentence, START, *tokens[:i]) for i in range(len(tokens) + 1)]
        return np.array([self.attention(history) for history in histories])


def all_sequences(classes, most, least=0):
    """All that may come before an end."""
    tokens = [token for token in range(classes) if token != END]
    for n in range(least, most + 1):
        yield from itertools.product(tokens, repeat=n)


def length_penalty(kind, n):
    return n if kind == "average" else ((5 + n) / 6) ** kind


def coverage(attention, length):
    return sum(np.log(min(c, 1.0)) for c in attention.sum(axis=0)[:length])


def naive_greedy(model, sentence, most, *, least=0, ngram=0, prefix=(), excluded=()):
    """Token by token, with the rules in words; the tokens and whether they were cut."""
    tokens = []
    while True:
        logits = model.logits((sentence, START, *tokens)).copy()
        if len(tokens) < len(prefix):
            tokens.append(prefix[len(tokens)])
            continue
        if len(tokens) == most:
            return tokens, bool(logits.argmax() != END)
        if len(tokens) < least:
            logits[END] = -np.inf
        for token in range(model.classes):
            longer = [*tokens, token]
            grams = list(zip(*(longer[i:] for i in range(ngram)), strict=False))
            if token in excluded or (token != END and grams and grams[-1] in grams[:-1]):
                logits[token] = -np.inf
        token = END if logits.max() == -np.inf else int(logits.argmax())
        if token == END:
            return tokens, False
        tokens.append(token)
