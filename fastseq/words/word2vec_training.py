"""Training of word vectors: some chunks of the corpus at a time, from epoch to epoch."""

from __future__ import annotations

import math
import time

import numpy as np

from fastseq import backend
from fastseq._reference.word2vec import CHUNK, Settings, random_bits
from fastseq.interrupts import Interrupt
from fastseq.progress import make_words_bar
from fastseq.words import word2vec_states
from fastseq.words.word_counts import huffman_tree, keep_thresholds, noise_table

CHUNKS_AT_ONCE = 64  # between two looks at the clock and at Ctrl-C: half a million words
VIRTUAL_WORKERS = 4  # whose changes are added together when training is deterministic
BLOCK = 16  # words trained at once: more than there are negatives would cost quality
MOST_DRAWS = 64
CALLS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_train_end")
ALIGNMENT = 64


class Training:
    """One call of ``train``: some chunks of the corpus at a time, from epoch to epoch."""

    def __init__(self, model, corpus, epochs, alphas, with_loss, callbacks):
        self.model, self.corpus, self.epochs, self.alphas = model, corpus, epochs, alphas
        self.trained = _what_is_trained(model)
        self.with_loss, self.callbacks = with_loss, callbacks
        self.chunks = -(-len(corpus.ids) // CHUNK)
        self.epoch = self.chunk = 0
        self.sums = np.zeros(2)  # the epoch's losses and pairs so far
        self.first_epoch = model.epochs_trained
        draws = 2 * BLOCK if model.sg else BLOCK  # fewer cost skip-gram some analogies
        while draws < 2 * model.negative and draws < MOST_DRAWS:
            draws *= 2
        self.settings = Settings(
            skip_gram=bool(model.sg),
            mean=bool(model.cbow_mean),
            window=model.window,
            shrink=model.shrink_windows,
            negative=model.negative,
            draws=draws,
            block=BLOCK,
            with_loss=with_loss,
            virtual_workers=VIRTUAL_WORKERS if model.deterministic else 0,
        )

    def run(self):
        model = self.model
        model.stopped, interrupt = None, Interrupt()
        if model.checkpoint is not None:
            model._runs[self.first_epoch] = word2vec_states.description(self)
            if word2vec_states.load_run(self):
                return
        tables = tables_of(model)
        backend.word_kernels("word vectors").give_memory_back()
        total = self.corpus.raw_words * self.epochs
        bar = make_words_bar(model.progress, total, self._words_done())
        saved = time.monotonic()
        self._call("on_train_begin")
        with interrupt:
            try:
                while self.epoch < self.epochs and not interrupt.is_noted:
                    if self.chunk == 0:
                        self._call("on_epoch_begin")
                    rates = self._train_chunks(*tables)
                    bar.update(self._words_done(), self.epoch + 1, rates[-1], self._loss())
                    if self.chunk == self.chunks:
                        self._end_epoch()
                    due = time.monotonic() - saved >= model.checkpoint_every
                    if model.checkpoint is not None and due:
                        word2vec_states.save_run(self)
                        saved = time.monotonic()
            finally:
                bar.close()
                model.wv.vectors = model._syn0  # whose norms are others now
            if self.epoch < self.epochs:
                model.stopped = "interrupted"
            if model.checkpoint is not None:
                word2vec_states.save_run(self)
        self._call("on_train_end")

    def _train_chunks(self, keep, alias, tree):
        """Train the next chunks; returns their learning rates."""
        model, corpus = self.model, self.corpus
        chunks = np.arange(self.chunk, min(self.chunk + CHUNKS_AT_ONCE, self.chunks))
        done = (self.epoch + chunks * CHUNK / max(1, len(corpus.ids))) / self.epochs
        rates = self.alphas[0] - (self.alphas[0] - self.alphas[1]) * done
        losses = np.zeros((len(chunks), 2))
        if len(chunks):
            backend.word_kernels("word vectors").train_words(
                model._syn0,
                model.syn1neg,
                model.syn1,
                corpus.ids,
                corpus.offsets,
                keep,
                alias,
                tree,
                self.settings,
                _streams(model.seed, self.first_epoch + self.epoch),
                self.chunk,
                rates,
                losses,
                model.workers or backend.get_num_threads(),
            )
        self.sums += losses.sum(axis=0)
        self.chunk += len(chunks)
        return rates

    def _loss(self):
        if not self.with_loss:
            return None
        return self.sums[0] / self.sums[1] if self.sums[1] else math.nan

    def _words_done(self):
        share = self.chunk / max(1, self.chunks)
        return int(self.corpus.raw_words * (self.epoch + share))

    def _end_epoch(self):
        self.model.losses.append(float(self._loss()) if self.with_loss else math.nan)
        self.model.epochs_trained += 1
        self.sums[:] = 0
        self.chunk = 0
        self.epoch += 1
        self.model.wv.vectors = self.model._syn0
        ends = self.model._syn0.min(), self.model._syn0.max()  # NaN if there is one
        if not np.isfinite(ends).all():
            raise FloatingPointError(
                f"vectors are no finite numbers any more after epoch {self.epoch}: train anew with "
                f"a lower alpha than {self.alphas[0]}"
            )
        self._call("on_epoch_end")

    def _call(self, name):
        for callback in self.callbacks:
            if method := getattr(callback, name, None):
                method(self.model)
                if name != "on_train_end":
                    self._check_trained()
                self.model._take_vectors()  # which it may have changed

    def _check_trained(self):
        """Raise if a callback has changed what the corpus and the tables rely on."""
        if self.trained != _what_is_trained(self.model):
            raise ValueError(
                "callbacks must leave the vocabulary, negative and hs as they are while a model is "
                "trained: build vocabularies before train or after it"
            )


def _what_is_trained(model):
    """Which words, and which matrices there are."""
    return id(model._counts), model.syn1neg is None, model.syn1 is None


def tables_of(model):
    """What follows from the words' counts: kept from call to call, since trees take their time."""
    settings = (model.sample, model.ns_exponent, bool(model.negative), bool(model.hs))
    if model._tables is None or model._tables[0] != settings:
        keep = keep_thresholds(model._counts, model.sample)
        alias = noise_table(model._counts, model.ns_exponent) if model.negative else None
        tree = huffman_tree(model._counts) if model.hs else None
        model._tables = settings, (keep, alias, tree)
    return model._tables[1]


def _streams(seed, epoch):
    """Starts of an epoch's random numbers: of tokens and of negatives."""
    start = random_bits(seed % 2**64, [0])[0]
    return tuple(int(bits) for bits in random_bits(start, [2 * epoch, 2 * epoch + 1]))


def new_rows(count, size):
    """Zeros (count, size) whose rows begin at whole cache lines."""
    numbers = ALIGNMENT // 4
    width = -(-size // numbers) * numbers
    memory = np.zeros(count * width + numbers, np.float32)
    begin = -memory.ctypes.data % ALIGNMENT // 4
    return memory[begin : begin + count * width].reshape(count, width)[:, :size]


def placed(matrix):
    """The matrix where kernels can work on it: itself if it lies as :func:`new_rows` makes them."""
    rows = new_rows(0, matrix.shape[1])
    is_placed = matrix.strides == rows.strides and matrix.ctypes.data % ALIGNMENT == 0
    if is_placed and matrix.dtype == np.float32 and matrix.flags.writeable:
        return matrix
    rows = new_rows(*matrix.shape)
    rows[:] = matrix
    return rows
