"""Searches at one of their steps: beam search, and drawing token by token.

Letters, and what is known of a model, are those of ``searches.py``; L sentences that are left.
"""

from __future__ import annotations

import numpy as np

from fastseq import checks
from fastseq.sampling import Sampler
from fastseq.search import constraints as phrases_of
from fastseq.search.decoding_models import checked_log_sum_exp, continuations
from fastseq.search.hypotheses import Finished, Trail


class Rows:
    """What changes from step to step: sequences that are being written, and those that have ended.

    Attributes
    ----------
    step : int
        How many tokens each sequence has.
    log_probs : ndarray of float64, (R,)
        Of those that are being written.
    history : ndarray of int64, (R, step)
        Their tokens, where rules want to know them.
    trail : Trail
    finished : Finished
    """

    def __init__(self, count):
        self.step, self.log_probs = 0, np.zeros(count)
        self.history = np.empty((count, 0), np.int64)
        self.trail, self.finished = Trail(), Finished()

    def go_on(self, log_probs, rows, tokens, keep_history):
        """Go on with the sequences of these rows, each with a token more."""
        self.step, self.log_probs = self.step + 1, log_probs
        self.trail.add(rows, tokens)
        if keep_history:
            self.history = np.concatenate([self.history[rows], tokens[:, None]], axis=1)


class Beams(Rows):
    """The rows of a beam search are hypotheses, sentence by sentence, the best first.

    Attributes
    ----------
    covered : ndarray, (R, S), or None
        What each source position got of their attention, where that is penalised.
    progress : list, (R,), or None
        How much each has of the phrases that must occur in it.
    offsets : ndarray of int64, (L + 1,)
        The first row of each of the L sentences that are left.
    sentences : ndarray of int64, (L,)
        Which of all B they are.
    slots : ndarray of int64, (L,)
        How many of their hypotheses may run: K less those that have ended.
    best : ndarray of float64, (L, n_best)
        Rising scores of the best that have ended; -inf where there are fewer.
    none_has_ended : bool
        None of theirs.
    """

    def __init__(self, count, size, n_best):
        super().__init__(count)
        self.size, self.offsets = size, np.arange(count + 1)
        self.covered, self.progress = None, None
        self.sentences, self.slots = np.arange(count), np.full(count, size)
        self.best, self.none_has_ended = np.full((count, n_best), -np.inf), True

    def owners(self):
        """The sentence of each row."""
        return np.repeat(self.sentences, np.diff(self.offsets))

    def cover(self, weights):
        """Add up attention (R, S); longer sources may have left since the last time."""
        before = 0.0 if self.covered is None else self.covered[:, : weights.shape[1]]
        self.covered = before + weights

    def note_ends(self, ended, scores):
        """Some of the continuations (L, K) have ended with these scores."""
        self.slots = self.slots - ended.sum(axis=1)
        new = np.full(ended.shape, -np.inf)
        new[ended] = scores
        best = np.concatenate([self.best, new], axis=1)
        best.sort(axis=1)
        self.best = best[:, -self.best.shape[1] :]
        self.none_has_ended = False

    def keep_sentences(self, left):
        """Go on with these sentences alone."""
        self.sentences, self.slots = self.sentences[left], self.slots[left]
        self.best = self.best[left]
        self.none_has_ended = bool((self.slots == self.size).all())

    def go_on(self, log_probs, rows, tokens, keep_history):
        super().go_on(log_probs, rows, tokens, keep_history)
        if self.covered is not None:
            self.covered = self.covered[rows]


class BeamSearch:
    """A beam search: its settings, and what it does at each step."""

    def __init__(
        self, model, rules, *, size, n_best, penalties, phrases, source_lengths, attention
    ):
        self.model, self.rules, self.size, self.n_best = model, rules, size, n_best
        self.penalties, self.phrases, self.source_lengths = penalties, phrases, source_lengths
        self.attention = attention

    def run(self, start_ids):
        beams, ids = Beams(len(start_ids), self.size, self.n_best), start_ids
        if self.phrases is not None:
            beams.progress = [phrases and phrases.start for phrases in self.phrases]
        while len(ids):
            ids = self._advance(beams, ids)
        return beams.finished.best(len(start_ids), self.n_best, beams.trail, self.attention)

    def _advance(self, beams, ids):
        """One token more; the ids of those that go on."""
        logits = self.model.step(ids)
        if not beams.step:
            self.rules.learn_classes(self.model.classes)
            if self.phrases is not None:
                phrases_of.check_classes(self.phrases, self.model.classes)
        if self.attention or self.penalties.coverage:
            self._attend(beams)
        (gains, rows, tokens), cut = self._choose(beams, logits)
        ended = tokens == self.rules.end
        if beams.none_has_ended and _least(gains) > -np.inf and not _any(ended):
            # the usual step, which has to be quick: all that were chosen run on
            if len(ids) != rows.size:
                beams.offsets = np.arange(0, rows.size + 1, self.size)
            return self._continue(beams, gains.ravel(), rows.ravel(), tokens.ravel())
        running = gains > -np.inf
        running &= np.arange(self.size) < beams.slots[:, None]
        ended &= running
        if ended.any():
            running &= ~ended
            self._finish(beams, ended, gains, rows, cut)
        running = self._leave(beams, running, gains)
        return self._continue(beams, gains[running], rows[running], tokens[running])

    def _check_source_lengths(self, positions):
        longest = self.source_lengths.max(initial=0)
        if longest > positions:
            raise ValueError(
                f"source_lengths must be at most S = {positions}, the positions that state.weights "
                f"has, got {longest}"
            )

    def _attend(self, beams):
        weights = self.model.attention(len(beams.log_probs))
        if not beams.step and self.source_lengths is not None:
            self._check_source_lengths(weights.shape[1])
        if self.attention:
            beams.trail.add_weights(weights)
        if self.penalties.coverage:
            beams.cover(weights)

    # --- what comes next ------------------------------------------------------------------------

    def _choose(self, beams, logits):
        """The best continuations, as :func:`continuations`; which rows have to end, or None."""
        rules, log_probs, offsets, cut = self.rules, beams.log_probs, beams.offsets, None
        ends, log_sums, barred = logits[:, rules.end], None, rules.barred
        if not rules.only_bar(beams.step):
            ends, log_sums, barred = ends.copy(), checked_log_sum_exp(logits), None
            cut = rules.restrict(beams.step, logits, beams.owners(), beams.history)
        chosen, log_sums = continuations(logits, log_probs, offsets, barred, log_sums, self.size)
        enough = _least(chosen[0]) > -np.inf
        lost = None if enough else chosen[0][:, 0] == -np.inf
        if not enough and lost.any():
            lost = np.repeat(lost, np.diff(offsets))
            rules.end_rows(lost, logits, ends[lost])
            chosen, _ = continuations(logits, log_probs, offsets, barred, log_sums, self.size)
        if self.phrases is not None:
            self._choose_with_phrases(beams, logits, log_sums, barred, chosen)
        return chosen, cut

    def _choose_with_phrases(self, beams, logits, log_sums, barred, chosen):
        """Choose anew where phrases must occur."""
        each = np.arange(len(logits) + 1)  # the best of every row
        (_, _, best), _ = continuations(
            logits, beams.log_probs, each, barred, log_sums, min(self.size, logits.shape[1])
        )
        for i, sentence in enumerate(beams.sentences.tolist()):
            phrases = self.phrases[sentence]
            if phrases is None:
                continue
            room = self.rules.longest[sentence] - beams.step - 1  # behind the next token
            candidates = [
                (
                    count,
                    beams.log_probs[row] + min(logits[row, token] - log_sums[row], 0),
                    row,
                    token,
                )
                for row in range(beams.offsets[i], beams.offsets[i + 1])
                for token, count in self._usable(phrases, beams.progress[row], room, best[row])
                if logits[row, token] > -np.inf and (barred is None or not barred[token])
            ]
            chosen[0][i] = -np.inf
            kept = phrases_of.allocate(candidates, phrases.size, int(beams.slots[i]))
            for place, (_, *found) in enumerate(kept):
                for array, value in zip(chosen, found, strict=True):
                    array[i, place] = value

    def _usable(self, phrases, progress, room, tokens):
        """Tokens that leave room for the phrases, with how much of these a row then has."""
        for token in dict.fromkeys([*tokens.tolist(), *phrases.next_tokens(progress)]):
            if token == self.rules.end:
                if not phrases.left(progress):
                    yield token, phrases.size
                continue
            after = phrases.advance(progress, token)
            if phrases.left(after) <= room:
                yield token, phrases.count(after)

    # --- who ends, who leaves, who goes on ------------------------------------------------------

    def _finish(self, beams, ended, gains, rows, cut):
        owners, _ = np.nonzero(ended)
        sums, rows, sentences = gains[ended], rows[ended], beams.sentences[owners]
        scores = sums / self.penalties.of_length(beams.step + 1)
        if self.penalties.coverage:
            lengths = self.source_lengths
            lengths = None if lengths is None else lengths[sentences]
            scores += self.penalties.of_coverage(beams.covered[rows], lengths)
        cut = np.zeros(len(rows), bool) if cut is None else cut[rows]
        beams.finished.add(sentences, beams.step, rows, sums, scores, cut)
        beams.note_ends(ended, scores)

    def _leave(self, beams, running, gains):
        """Sentences that are done leave; what runs on of the others."""
        left = running.any(axis=1)
        if not beams.none_has_ended:
            highest = np.where(running, gains, -np.inf).max(axis=1)
            longest = self.rules.longest[beams.sentences] + 1  # the end included
            left &= self.penalties.bound(highest, beams.step + 2, longest) > beams.best[:, 0]
        running = running & left[:, None]
        counts = running.sum(axis=1)
        if not left.all():
            beams.keep_sentences(left)
            counts = counts[left]
        beams.offsets = np.concatenate([[0], np.cumsum(counts)])
        return running

    def _continue(self, beams, log_probs, rows, tokens):
        before = len(beams.log_probs)
        if self.phrases is not None:
            beams.progress = self._progress(beams, rows, tokens)
        beams.go_on(log_probs, rows, tokens, self.rules.ngram)
        if len(rows) and not _are_all(rows, before):
            self.model.select(rows)
        return tokens

    def _progress(self, beams, rows, tokens):
        """What the rows' hypotheses have of their phrases once they have these tokens as well."""
        progress = []
        for sentence, row, token in zip(
            beams.owners().tolist(), rows.tolist(), tokens.tolist(), strict=True
        ):
            phrases = self.phrases[sentence]
            progress.append(phrases and phrases.advance(beams.progress[row], token))
        return progress


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
    samples = Samples(model, start_ids, rules, n_samples, how, attention, seed)
    while len(samples.ids):
        samples.advance()
    found = samples.finished.best(count, 1, samples.trail, attention)
    return [[f[0] for f in found[i : i + n_samples]] for i in range(0, count, n_samples)]


class Samples(Rows):
    """Rows that are drawn, each by numbers of its own: it does not depend on the others."""

    def __init__(self, model, start_ids, rules, n_samples, how, attention, seed):
        self.model, self.rules, self.attention = model, rules, attention
        count = len(start_ids) * n_samples
        super().__init__(count)
        root = int(checks.generator(seed).integers(2**63))
        self.draws = [np.random.default_rng([root, row]) for row in range(count)]
        self.how, self.sampler = how, None
        self.places = np.arange(count)  # of the rows that go on
        self.owners, self.ids = self.places // n_samples, start_ids
        # after the first step they are repeated, then all have their own
        self.rows_of_model = self.owners

    def advance(self):
        """Draw a token for each row."""
        logits, log_sums, cut = self._restricted_logits()
        uniform = np.array([self.draws[place].random() for place in self.places])
        ids = self.sampler.draw(logits, uniform).copy()
        gains = logits[np.arange(len(ids)), ids] - log_sums
        self.log_probs += np.minimum(gains, 0)
        ended = ids == self.rules.end
        if ended.any():
            self._finish(np.flatnonzero(ended), cut)
        self._keep(np.flatnonzero(~ended), ids)

    def _restricted_logits(self):
        """Logits where rules leave some out; log(sum(exp)) of all; and which rows must end."""
        logits = self.model.step(self.ids)[self.rows_of_model]
        log_sums = checked_log_sum_exp(logits)
        if self.sampler is None:
            classes = self.model.classes
            self.rules.learn_classes(classes)
            self.sampler = Sampler(classes, batch_size=len(self.places), **self.how)
        if self.attention:
            self.trail.add_weights(self.model.attention(len(self.ids))[self.rows_of_model])
        ends = logits[:, self.rules.end].copy()
        cut = self.rules.restrict(self.step, logits, self.owners[self.places], self.history)
        lost = logits.max(axis=1) == -np.inf
        self.rules.end_rows(lost, logits, ends[lost])
        return logits, log_sums, cut

    def _finish(self, rows, cut):
        sums = self.log_probs[rows]
        cut = np.zeros(len(rows), bool) if cut is None else cut[rows]
        self.finished.add(self.places[rows], self.step, rows, sums, sums, cut)

    def _keep(self, rows, ids):
        """Keep these rows alone, here and in the model."""
        rows_before, self.ids, self.places = len(self.ids), ids[rows], self.places[rows]
        self.go_on(self.log_probs[rows], rows, self.ids, self.rules.ngram)
        selected = self.rows_of_model[rows]
        if len(rows) and not _are_all(selected, rows_before):
            self.model.select(selected)
        self.rows_of_model = np.arange(len(rows))
