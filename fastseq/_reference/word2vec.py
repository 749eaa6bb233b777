"""Word vectors in plain NumPy: what the compiled kernels must compute, and the contract.

Letters: V words, D numbers of a vector, T centres of a block, K negatives of a block.

``train_words(syn0, syn1neg, syn1, ids, offsets, keep, alias, tree, settings, streams, first_chunk,
rates, losses, workers)`` trains on some chunks of the corpus, in place:

syn0 : (V, D) float32 or float64
    Vectors of words.
syn1neg : (V, D), or None
    Vectors of words as outputs: negative sampling.
syn1 : (V - 1, D), or None
    Vectors of the nodes of a Huffman tree: hierarchical softmax.  One of the two may be None.
ids : (N,) int32
    The corpus; ``offsets`` (S + 1,) int64 says where its sentences begin.
keep, alias, tree
    See :mod:`fastseq.words.word_counts`; ``alias`` and ``tree`` may be None, as their matrices.
settings : Settings
streams : (int, int)
    Starts of the random numbers of tokens and of negatives, uint64; others for each epoch.
first_chunk : int
    A chunk is CHUNK tokens, whatever the sentences.
rates : (C,) float64
    The learning rate of each chunk from ``first_chunk`` on.
losses : (C, 2) float64
    Is given each chunk's sum of losses (0 unless ``with_loss``), and its number of pairs.
workers : int
    Threads; the twins use one.

A token is kept or dropped, and its window's size drawn, by a random number that depends on its
place in the corpus, so windows reach across chunks.  A block is T centres in a row.  Input x and
output y of a pair with label l (1 for the word itself, 0 for a negative) have the loss softplus(s)
- l s, s = x . y, and the gradient of both follows from dloss/ds = sigmoid(s) - l.

With ``virtual_workers`` > 0 as many blocks are computed from the same matrices, each of another
chunk, and then their changes are added: so the result doesn't depend on threads.

The functions on blocks are written so that Numba compiles them as they stand.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np

from fastseq.quiet import quiet

CHUNK = 8192


class Settings(NamedTuple):
    """What training with word vectors needs to know."""

    skip_gram: bool
    mean: bool  # of a bag of words, else its sum
    window: int
    shrink: bool  # windows of 1 to `window` words to each side
    negative: int  # negatives of a pair
    draws: int  # K, a power of two from 16 on
    block: int  # T
    with_loss: bool
    virtual_workers: int


def random_bits(stream, position):
    """Numbers of a stream of SplitMix64, uint64, for an array of positions."""
    position = np.asarray(position, np.uint64)
    z = np.uint64(stream) + (position + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def below(bits, n):
    """Integers from 0 to n - 1 from 32 random bits."""
    return ((bits & np.uint64(0xFFFFFFFF)) * np.uint64(n) >> np.uint64(32)).astype(np.int64)


class Chunk(NamedTuple):
    """Kept words of a chunk and around it; centres are begin : end, their windows first : last."""

    words: np.ndarray
    first: np.ndarray
    last: np.ndarray
    begin: int
    end: int


def read_chunk(ids, offsets, keep, settings, stream, chunk):
    """Subsample a chunk, and as many words beside it as windows reach out to."""
    begin, end = chunk * CHUNK, min((chunk + 1) * CHUNK, len(ids))
    sentences = np.searchsorted(offsets, [begin, end - 1], side="right") - 1
    left, right = offsets[sentences[0]], offsets[sentences[1] + 1]
    places = np.arange(left, right)
    bits = random_bits(stream, places)
    places = places[(bits >> np.uint64(32)) <= keep[ids[left:right]]]
    inside = np.searchsorted(places, [begin, end])
    lowest = max(inside[0] - settings.window, 0)
    places = places[lowest : inside[1] + settings.window]
    reach = np.full(len(places), settings.window)
    if settings.shrink:
        reach = 1 + below(random_bits(stream, places), settings.window)
    sentence = np.searchsorted(offsets, places, side="right") - 1
    start = np.searchsorted(sentence, sentence, side="left")
    stop = np.searchsorted(sentence, sentence, side="right")
    at = np.arange(len(places))
    first, last = np.maximum(at - reach, start), np.minimum(at + reach + 1, stop)
    return Chunk(ids[places], first, last, inside[0] - lowest, inside[1] - lowest)


def draw_negatives(alias, settings, stream, chunk, block_begin):
    """K words with the probabilities of an alias table."""
    threshold, other = alias
    first = (chunk * CHUNK + block_begin) * settings.draws
    bits = random_bits(stream, first + np.arange(settings.draws))
    words = below(bits >> np.uint64(32), len(threshold))
    low = bits & np.uint64(0xFFFFFFFF)
    return np.where(low < threshold[words], words, other[words]).astype(np.int64)


# --- functions on blocks --------------------------------------------------------------------
#
# ``words`` are those of a block and of its windows.  Its centres are at places ``centres``; their
# windows reach from ``first`` to ``last``.  Changes go to rows of ``d...``, at places ``..._at``:
# these are the matrices themselves and the words, or zeros that are added later.
# Each function returns its loss.


def skip_gram_pairs(x, words, centres, first, last, syn1neg, rate, dx, dx_at, dy, dy_at):
    """A centre's vector, row t of x, is the input; the words of its window are positives.

    All errors come from the matrices as they are at first.
    """
    loss = 0.0
    errors = np.zeros((len(centres), len(words)), x.dtype)
    for t in range(len(centres)):
        for i in range(first[t], last[t]):
            if i != centres[t]:
                s = np.sum(x[t] * syn1neg[words[i]])
                loss += np.logaddexp(0.0, -s)
                errors[t, i] = rate * (1 - 1 / (1 + np.exp(-s)))
    for t in range(len(centres)):
        for i in range(first[t], last[t]):
            if i != centres[t]:
                dx[dx_at[t]] += errors[t, i] * syn1neg[words[i]]
                dy[dy_at[i]] += errors[t, i] * x[t]
    return loss


def bag_pairs(x, words, centres, first, last, syn1neg, rate, dx, dx_at, dy, dy_at):
    """A bag of words, row t of x, is the input; the centre is the positive."""
    loss = 0.0
    errors = np.zeros(len(centres), x.dtype)
    for t in range(len(centres)):
        if last[t] - first[t] > 1:
            s = np.sum(x[t] * syn1neg[words[centres[t]]])
            loss += np.logaddexp(0.0, -s)
            errors[t] = rate * (1 - 1 / (1 + np.exp(-s)))
    for t in range(len(centres)):
        dx[dx_at[t]] += errors[t] * syn1neg[words[centres[t]]]
        dy[dy_at[centres[t]]] += errors[t] * x[t]
    return loss


def all_negatives(x, weights, n, rate, dx, dx_at, dn, dn_at):
    """All inputs x (T, D) with all negatives n (K, D), each with its weight (T, K)."""
    s = np.dot(x, n.T)
    loss = np.sum(weights * np.logaddexp(0.0, s))
    errors = (-rate * weights / (1 + np.exp(-s))).astype(x.dtype)
    to_x, to_n = np.dot(errors, n), np.dot(errors.T, x)
    for t in range(len(x)):
        dx[dx_at[t]] += to_x[t]
    for k in range(len(n)):
        dn[dn_at[k]] += to_n[k]
    return loss


def path_nodes(x, weights, n, labels, rate, dx, dx_at, dn, dn_at):
    """Inputs x (I, D), each with its weight, and the nodes n (L, D) on one word's way."""
    s, weights = np.dot(x, n.T), weights.reshape(-1, 1)
    loss = np.sum(weights * (np.logaddexp(0.0, s) - labels * s))
    errors = (rate * weights * (labels - 1 / (1 + np.exp(-s)))).astype(x.dtype)
    to_x, to_n = np.dot(errors, n), np.dot(errors.T, x)
    for i in range(len(x)):
        dx[dx_at[i]] += to_x[i]
    for k in range(len(n)):
        dn[dn_at[k]] += to_n[k]
    return loss


# --- workers --------------------------------------------------------------------------------


class AtOnce:
    """Changes go to the matrices themselves."""

    def rows(self, matrix, words):
        """An array, and its rows to which to add what is for these words."""
        return matrix, np.asarray(words, np.int64)

    def add(self):
        """Nothing is left to do."""


class Later:
    """Changes are collected."""

    def __init__(self):
        self.changes = []

    def rows(self, matrix, words):
        changes = np.zeros((len(words), matrix.shape[1]), matrix.dtype)
        self.changes.append((matrix, words, changes))
        return changes, np.arange(len(words))

    def add(self):
        for matrix, words, changes in self.changes:
            for word, change in zip(words, changes, strict=True):
                matrix[word] += change
        self.changes = []


class Worker:
    """Trains chunks, a block at a time, with the functions of a module."""

    def __init__(self, functions, matrices, corpus, alias, tree, settings, streams):
        self.functions, self.settings, self.streams = functions, settings, streams
        self.syn0, self.syn1neg, self.syn1 = matrices
        self.corpus, self.alias, self.tree = corpus, alias, tree
        self.changes = Later() if settings.virtual_workers else AtOnce()
        self.chunk, self.at, self.end, self.result = None, 0, 0, None

    def take(self, chunk, rate, result):
        """Begin a chunk; its loss and its number of pairs are added to the result."""
        read = read_chunk(*self.corpus, self.settings, self.streams[0], chunk)
        self.words, self.first, self.last, self.begin, self.end = read
        self.chunk, self.at, self.rate, self.result = chunk, self.begin, rate, result

    def train_block(self):
        centres = np.arange(self.at, min(self.at + self.settings.block, self.end))
        first, last = self.first[centres], self.last[centres]
        begin, end = first.min(), last.max()
        block = Block(self.words[begin:end], centres - begin, first - begin, last - begin)
        self.result[1] += self.skip_gram(block) if self.settings.skip_gram else self.bags(block)
        self.at += len(centres)

    def skip_gram(self, block):
        """Train a block; returns the number of pairs."""
        others, centres = block.others(), block.words[block.centres]
        if self.syn1 is not None:
            # the words of a window are the inputs, the centre is what each of them predicts
            x, (dx, dx_at) = self.syn0[block.words], self.changes.rows(self.syn0, block.words)
            for t, i in enumerate(block.centres):
                here = np.arange(block.first[t], block.last[t])
                if len(here) > 1:
                    counts = (here != i).astype(x.dtype)
                    self.descend(block.words[i], x[here], counts, dx, dx_at[here])
        if self.syn1neg is not None:
            x, dx = self.syn0[centres], self.changes.rows(self.syn0, centres)
            positives = [block.words[window] for window in others]
            self.sample(self.functions.skip_gram_pairs, block, x, positives, *dx)
        return sum(map(len, others))

    def bags(self, block):
        """Train a block; returns the number of bags that are not empty."""
        others, centres = block.others(), block.words[block.centres]
        sizes = np.array([len(window) for window in others])
        scale = (1 / np.maximum(sizes, 1)).astype(self.syn0.dtype)
        dx, dx_at = self.changes.rows(self.syn0, block.words)
        x = np.array([self.syn0[block.words[window]].sum(axis=0) for window in others])
        if self.settings.mean:
            x *= scale[:, None]
        d, d_at = np.zeros_like(x), np.arange(len(x))
        if self.syn1 is not None:
            for t in np.flatnonzero(sizes):
                one = slice(t, t + 1)
                self.descend(centres[t], x[one], np.ones(1, x.dtype), d, d_at[one])
        if self.syn1neg is not None:
            positives = [centres[t : t + 1][: sizes[t]] for t in range(len(x))]
            self.sample(self.functions.bag_pairs, block, x, positives, d, d_at)
        # as in word2vec and gensim the gradient of a mean is not divided, that of a sum is
        if not self.settings.mean:
            d *= scale[:, None]
        for t, window in enumerate(others):
            for i in window:
                dx[dx_at[i]] += d[t]
        return np.count_nonzero(sizes)

    def sample(self, train_pairs, block, x, positives, dx, dx_at):
        """The positives of each input, and the block's negatives."""
        settings = self.settings
        drawn = draw_negatives(
            self.alias, settings, self.streams[1], self.chunk, self.at - self.begin
        )
        n, (dn, dn_at) = self.syn1neg[drawn], self.changes.rows(self.syn1neg, drawn)
        weights = np.array([[np.count_nonzero(words != k) for k in drawn] for words in positives])
        weights = (weights * (settings.negative / settings.draws)).astype(x.dtype)
        dy = self.changes.rows(self.syn1neg, block.words)
        loss = train_pairs(x, *block, self.syn1neg, self.rate, dx, dx_at, *dy)
        loss += self.functions.all_negatives(x, weights, n, self.rate, dx, dx_at, dn, dn_at)
        self.result[0] += loss * settings.with_loss

    def descend(self, word, x, counts, dx, dx_at):
        """A word's way through the tree."""
        nodes, codes = self.tree.path(word)
        n, (dn, dn_at) = self.syn1[nodes], self.changes.rows(self.syn1, nodes)
        labels = (1 - np.array(codes)).astype(x.dtype)
        loss = self.functions.path_nodes(x, counts, n, labels, self.rate, dx, dx_at, dn, dn_at)
        self.result[0] += loss * self.settings.with_loss


class Block(NamedTuple):
    """The words of a block and of its windows, its centres, and where their windows reach."""

    words: np.ndarray
    centres: np.ndarray
    first: np.ndarray
    last: np.ndarray

    def others(self):
        """Of each centre the places of its window, without its own."""
        windows = zip(self.centres, self.first, self.last, strict=True)
        return [np.concatenate([np.arange(a, i), np.arange(i + 1, b)]) for i, a, b in windows]


def give_memory_back():
    """Give the system the memory back that was freed before training, where that takes a call.

    The C library keeps several megabytes of what the tables of words and nodes took on their way.
    """


def make_train_words(functions):
    """``train_words`` with the block functions of a module."""

    @quiet
    def train_words(
        syn0,
        syn1neg,
        syn1,
        ids,
        offsets,
        keep,
        alias,
        tree,
        settings,
        streams,
        first_chunk,
        rates,
        losses,
        workers,
    ):
        """Train on some chunks of the corpus, in place."""
        losses[:] = 0
        matrices, corpus = (syn0, syn1neg, syn1), (ids, offsets, keep)
        parts = [
            Worker(functions, matrices, corpus, alias, tree, settings, streams)
            for _ in range(settings.virtual_workers or 1)
        ]
        queues = [iter(range(i, len(rates), len(parts))) for i in range(len(parts))]
        working = True
        while working:
            working = False
            for worker, queue in zip(parts, queues, strict=True):
                while worker.at == worker.end:
                    chunk = next(queue, None)
                    if chunk is None:
                        break
                    worker.take(first_chunk + chunk, rates[chunk], losses[chunk])
                else:
                    worker.train_block()
                    working = True
            for worker in parts:
                worker.changes.add()

    return train_words


train_words = make_train_words(sys.modules[__name__])
