"""Searches at one of their steps: beam search, and drawing token by token.

Letters, and what is known of a model, are those of ``search.py``; L sentences that are left.
"""

from __future__ import annotations

import numpy as np

from fastseq import checks
from fastseq import constraints as phrases_of
from fastseq.decoding_models import continuations, log_sum_exp
from fastseq.hypotheses import Finished, Trail
from fastseq.sampling import Sampler


class BeamSearch:
    """A search at one of its steps.

    Attributes
    ----------
    log_probs : ndarray of float64, (R,)
        Of the hypotheses that run, sentence by sentence, the best first.
    offsets : ndarray of int64, (L + 1,)
        The first row of each of the L sentences that are left.
    sentences : ndarray of int64, (L,)
        Which of all B they are.
    slots : ndarray of int64, (L,)
        How many of their hypotheses may run: K less those that have ended.
    best : ndarray of float64, (L, n_best)
        Rising scores of the best that have ended; -inf where there are fewer.
    """

    def __init__(self, model, rules, size, n_best, penalties, phrases, source_lengths, attention):
        self.model, self.rules, self.size, self.n_best = model, rules, size, n_best
        self.penalties, self.phrases, self.source_lengths = penalties, phrases, source_lengths
        self.attention = attention
        self.trail, self.finished = Trail(), Finished()

    def run(self, start_ids):
        count = len(start_ids)
        self.log_probs, self.offsets = np.zeros(count), np.arange(count + 1)
        self.sentences, self.slots = np.arange(count), np.full(count, self.size)
        self.best = np.full((count, self.n_best), -np.inf)
        self.none_has_ended = True  # of those that are left
        self.covered = 0.0
        self.history = np.empty((count, 0), np.int64)
        if self.phrases is not None:
            self.progress = [phrases and phrases.start for phrases in self.phrases]
        ids, step = start_ids, 0
        while len(ids):
            ids = self._advance(step, ids)
            step += 1
        return self.finished.best(count, self.n_best, self.trail, self.attention)

    def _advance(self, step, ids):
        """One token more; the ids of those that go on."""
        logits = self.model.step(ids)
        if not step:
            self.rules.learn_classes(self.model.classes)
            if self.phrases is not None:
                phrases_of.check_classes(self.phrases, self.model.classes)
        if self.attention or self.penalties.coverage:
            self._attend(step)
        (gains, rows, tokens), cut = self._choose(step, logits)
        ended = tokens == self.rules.end
        if self.none_has_ended and _least(gains) > -np.inf and not _any(ended):
            # the usual step, which has to be quick: all that were chosen run on
            if len(ids) != rows.size:
                self.offsets = np.arange(0, rows.size + 1, self.size)
            return self._continue(gains.ravel(), rows.ravel(), tokens.ravel())
        running = gains > -np.inf
        running &= np.arange(self.size) < self.slots[:, None]
        ended &= running
        if ended.any():
            running &= ~ended
            self._finish(step, ended, gains, rows, cut)
        running = self._leave(step, running, gains)
        return self._continue(gains[running], rows[running], tokens[running])

    def _check_source_lengths(self, positions):
        longest = self.source_lengths.max(initial=0)
        if longest > positions:
            raise ValueError(
                f"source_lengths must be at most S = {positions}, the positions that state.weights "
                f"has, got {longest}"
            )

    def _attend(self, step):
        weights = self.model.attention(len(self.log_probs))
        if not step and self.source_lengths is not None:
            self._check_source_lengths(weights.shape[1])
        if self.attention:
            self.trail.add_weights(weights)
        if self.penalties.coverage:
            if np.ndim(self.covered):  # longer sources may have left
                self.covered = self.covered[:, : weights.shape[1]]
            self.covered = self.covered + weights

    # --- what comes next ------------------------------------------------------------------------

    def _choose(self, step, logits):
        """The best continuations, as :func:`continuations`; which rows have to end, or None."""
        rules, offsets, cut = self.rules, self.offsets, None
        ends, log_sums, barred = logits[:, rules.end], None, rules.barred
        if not rules.only_bar(step):
            ends, log_sums, barred = ends.copy(), log_sum_exp(logits), None
            cut = rules.restrict(step, logits, self._row_sentences(), self.history)
        chosen, log_sums = continuations(
            logits, self.log_probs, offsets, barred, log_sums, self.size
        )
        enough = _least(chosen[0]) > -np.inf
        lost = None if enough else chosen[0][:, 0] == -np.inf
        if not enough and lost.any():
            lost = np.repeat(lost, np.diff(offsets))
            rules.end_rows(lost, logits, ends[lost])
            chosen, _ = continuations(logits, self.log_probs, offsets, barred, log_sums, self.size)
        if self.phrases is not None:
            self._choose_with_phrases(step, logits, log_sums, barred, chosen)
        return chosen, cut

    def _row_sentences(self):
        return np.repeat(self.sentences, np.diff(self.offsets))

    def _choose_with_phrases(self, step, logits, log_sums, barred, chosen):
        """Choose anew where phrases must occur."""
        each = np.arange(len(logits) + 1)  # the best of every row
        (_, _, best), _ = continuations(
            logits, self.log_probs, each, barred, log_sums, min(self.size, logits.shape[1])
        )
        for i, sentence in enumerate(self.sentences.tolist()):
            phrases = self.phrases[sentence]
            if phrases is None:
                continue
            candidates = [
                (
                    count,
                    self.log_probs[row] + min(logits[row, token] - log_sums[row], 0),
                    row,
                    token,
                )
                for row in range(self.offsets[i], self.offsets[i + 1])
                for token, count in self._usable(step, phrases, sentence, row, best[row])
                if logits[row, token] > -np.inf and (barred is None or not barred[token])
            ]
            chosen[0][i] = -np.inf
            kept = phrases_of.allocate(candidates, phrases.size, int(self.slots[i]))
            for place, (_, *found) in enumerate(kept):
                for array, value in zip(chosen, found, strict=True):
                    array[i, place] = value

    def _usable(self, step, phrases, sentence, row, tokens):
        """Tokens that leave room for the phrases, with how much of these a row then has."""
        progress = self.progress[row]
        for token in dict.fromkeys([*tokens.tolist(), *phrases.next_tokens(progress)]):
            if token == self.rules.end:
                if not phrases.left(progress):
                    yield token, phrases.size
                continue
            after = phrases.advance(progress, token)
            if step + 1 + phrases.left(after) <= self.rules.longest[sentence]:
                yield token, phrases.count(after)

    # --- who ends, who leaves, who goes on ------------------------------------------------------

    def _finish(self, step, ended, gains, rows, cut):
        owners, _ = np.nonzero(ended)
        sums, rows, sentences = gains[ended], rows[ended], self.sentences[owners]
        scores = sums / self.penalties.of_length(step + 1)
        if self.penalties.coverage:
            lengths = self.source_lengths
            lengths = None if lengths is None else lengths[sentences]
            scores += self.penalties.of_coverage(self.covered[rows], lengths)
        cut = np.zeros(len(rows), bool) if cut is None else cut[rows]
        self.finished.add(sentences, step, rows, sums, scores, cut)
        self.slots = self.slots - ended.sum(axis=1)
        new = np.full(ended.shape, -np.inf)
        new[ended] = scores
        best = np.concatenate([self.best, new], axis=1)
        best.sort(axis=1)
        self.best = best[:, -self.n_best :]
        self.none_has_ended = False

    def _leave(self, step, running, gains):
        """Sentences that are done leave; what runs on of the others."""
        left = running.any(axis=1)
        if not self.none_has_ended:
            highest = np.where(running, gains, -np.inf).max(axis=1)
            longest = self.rules.longest[self.sentences] + 1  # the end included
            left &= self.penalties.bound(highest, step + 2, longest) > self.best[:, 0]
        running = running & left[:, None]
        counts = running.sum(axis=1)
        if not left.all():
            self.sentences, self.slots = self.sentences[left], self.slots[left]
            self.best, counts = self.best[left], counts[left]
            self.none_has_ended = bool((self.slots == self.size).all())
        self.offsets = np.concatenate([[0], np.cumsum(counts)])
        return running

    def _continue(self, log_probs, rows, tokens):
        before, self.log_probs = len(self.log_probs), log_probs
        self.trail.add(rows, tokens)
        if self.rules.ngram:
            self.history = np.concatenate([self.history[rows], tokens[:, None]], axis=1)
        if self.penalties.coverage:
            self.covered = self.covered[rows]
        if self.phrases is not None:
            self._note_progress(rows, tokens)
        if len(rows) and not _are_all(rows, before):
            self.model.select(rows)
        return tokens

    def _note_progress(self, rows, tokens):
        before, self.progress = self.progress, []
        for sentence, row, token in zip(
            self._row_sentences().tolist(), rows.tolist(), tokens.tolist(), strict=True
        ):
            phrases = self.phrases[sentence]
            self.progress.append(phrases and phrases.advance(before[row], token))


def _least(gains):
    """The last of all sentences' best; without the detour that ``gains.min()`` takes."""
    return np.minimum.reduce(gains[:, -1], initial=np.inf)


def _any(array):
    return np.logical_or.reduce(array, axis=None)


def _are_all(rows, count):
    """Whether rows are 0, 1, ..., count - 1."""
    return len(rows) == count and not _any(rows != np.arange(count))


def draw(model, start_ids, rules, n_samples, how, attention, seed):
    """For each start what is drawn, as hypotheses."""
    count = len(start_ids) * n_samples
    if not count:
        return []
    samples, step = Samples(model, start_ids, rules, n_samples, how, attention, seed), 0
    while len(samples.ids):
        samples.advance(step)
        step += 1
    found = samples.finished.best(count, 1, samples.trail, attention)
    return [[f[0] for f in found[i : i + n_samples]] for i in range(0, count, n_samples)]


class Samples:
    """Rows that are drawn, each by numbers of its own: it does not depend on the others."""

    def __init__(self, model, start_ids, rules, n_samples, how, attention, seed):
        self.model, self.rules, self.attention = model, rules, attention
        count = len(start_ids) * n_samples
        root = int(checks.generator(seed).integers(2**63))
        self.draws = [np.random.default_rng([root, row]) for row in range(count)]
        self.how, self.sampler = how, None
        self.places = np.arange(count)  # of the rows that go on
        self.owners, self.ids = self.places // n_samples, start_ids
        # after the first step they are repeated, then all have their own
        self.rows_of_model = self.owners
        self.log_probs, self.history = np.zeros(count), np.empty((count, 0), np.int64)
        self.trail, self.finished = Trail(), Finished()

    def advance(self, step):
        """Draw a token for each row."""
        logits, log_sums, cut = self._restricted_logits(step)
        uniform = np.array([self.draws[place].random() for place in self.places])
        ids = self.sampler.draw(logits, uniform).copy()
        gains = logits[np.arange(len(ids)), ids] - log_sums
        self.log_probs += np.minimum(gains, 0)
        ended = ids == self.rules.end
        if ended.any():
            self._finish(np.flatnonzero(ended), step, cut)
        self._go_on(np.flatnonzero(~ended), ids)

    def _restricted_logits(self, step):
        """Logits where rules leave some out; log(sum(exp)) of all; and which rows must end."""
        logits = self.model.step(self.ids)[self.rows_of_model]
        log_sums = log_sum_exp(logits)
        if self.sampler is None:
            classes = self.model.classes
            self.rules.learn_classes(classes)
            self.sampler = Sampler(classes, batch_size=len(self.places), **self.how)
        if self.attention:
            self.trail.add_weights(self.model.attention(len(self.ids))[self.rows_of_model])
        ends = logits[:, self.rules.end].copy()
        cut = self.rules.restrict(step, logits, self.owners[self.places], self.history)
        lost = logits.max(axis=1) == -np.inf
        self.rules.end_rows(lost, logits, ends[lost])
        return logits, log_sums, cut

    def _finish(self, rows, step, cut):
        sums = self.log_probs[rows]
        cut = np.zeros(len(rows), bool) if cut is None else cut[rows]
        self.finished.add(self.places[rows], step, rows, sums, sums, cut)

    def _go_on(self, rows, ids):
        """Keep these rows alone, here and in the model."""
        rows_before, self.ids = len(self.ids), ids[rows]
        self.places, self.log_probs = self.places[rows], self.log_probs[rows]
        self.trail.add(rows, self.ids)
        if self.rules.ngram:
            self.history = np.concatenate([self.history[rows], self.ids[:, None]], axis=1)
        selected = self.rows_of_model[rows]
        if len(rows) and not _are_all(selected, rows_before):
            self.model.select(selected)
        self.rows_of_model = np.arange(len(rows))
