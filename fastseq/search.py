"""Searching for what a decoder would write: beam search, greedy search, sampling.

B sentences, R hypotheses that run at a step (rows, sentence by sentence, the best first), K of
them at most for each sentence, V tokens, S source positions.

A model is known through a small protocol.  Its state for R rows has

- ``step(ids (R,)) -> logits (R, V)``: reads a token in each row, goes on, and scores the next ones;
  the search may write into the result;
- ``select(rows)``: goes on with these rows, reordered, repeated, or left out;
- ``weights``: the attention (R, S) of the last step; needed only where it is asked for.

Several such states together are an ensemble: the mean of their probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks
from fastseq import constraints as phrases_of
from fastseq.decoding_models import Model, continuations, log_sum_exp
from fastseq.hypotheses import Finished, Hypothesis, Penalties, Trail
from fastseq.sampling import Sampler
from fastseq.search_rules import Rules, per_row, tokens_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MOST_BEAMS = 65_536  # more is a slip, which would take all memory


def beam_search(
    state: Any,
    start_ids: ArrayLike,
    *,
    end_id: int,
    max_length: int | ArrayLike,
    beam_size: int = 5,
    n_best: int = 1,
    length_penalty: float | str = 0.0,
    coverage_penalty: float = 0.0,
    min_length: int | ArrayLike = 0,
    no_repeat_ngram: int = 0,
    excluded: Iterable[int] = (),
    prefixes: Sequence[ArrayLike] | None = None,
    constraints: Sequence[Sequence[ArrayLike]] | None = None,
    source_lengths: ArrayLike | None = None,
    attention: bool = False,
) -> list[list[Hypothesis]]:
    r"""The most probable sequences, by keeping a few beginnings at each length.

    At each step all tokens continue all hypotheses of a sentence, and the K most probable ones
    of them stay.  One that has ended keeps its place, so that with K = 1 the search is greedy.  A
    sentence is done when none of its running hypotheses can beat the ``n_best`` ones that have
    ended, whatever would come; it then leaves the batch.  Scores are

    .. math:: \frac{\log P(y)}{\mathrm{lp}(n)} + \beta \sum_{i=1}^S \log \min(c_i, 1), \qquad
        \mathrm{lp}(n) = \left(\frac{5 + n}{6}\right)^\alpha \text{ or } n

    with the length n (the end included) and the attention c_i that source position i got in all
    (Wu et al., 2016).

    Parameters
    ----------
    state : DecoderState, or list of them
        A model that has read its sources, one row for each sentence: an object with
        ``step(ids (R,)) -> logits (R, V)``, ``select(rows)`` and perhaps ``weights (R, S)``; the
        search may write into the logits.  With a list the mean of the models' probabilities
        counts.  Their states are used up.
    start_ids : array of integers, (B,)
        What each row reads first.
    end_id : int
    max_length : int or array of integers, (B,)
        The most tokens, without the end.  What has as many must end, at the cost of the
        end's probability.
    beam_size : int
        K; more than there are tokens is fine.
    n_best : int
        How many hypotheses to return of each sentence, up to K.
    length_penalty : float or "average"
        :math:`\alpha`, from -10 to 10, or n itself.  0 compares probabilities, which favours
        short ones.
    coverage_penalty : float
        :math:`\beta`, from 0 on, for models with attention.
    min_length : int or array of integers, (B,)
        The fewest tokens.
    no_repeat_ngram : int
        No n tokens in a row come twice in a sentence; 0 lets them.
    excluded : iterable of int
        Tokens that never come, such as padding.
    prefixes : list of lists of int, optional
        What each sentence begins with; it may hold what is excluded or repeated.
    constraints : list of lists of lists of int, optional
        Of each sentence the phrases, lists of tokens, that must occur in it, each at a
        place of its own (dynamic beam allocation: Post & Vilar, 2018).
    source_lengths : array of integers, (B,), optional
        For the coverage; by default all S positions are real.
    attention : bool
        Whether hypotheses come with the attention of their tokens.

    Returns
    -------
    hypotheses : list of lists of Hypothesis
        Of each sentence the best first; of equal ones that which ended first.  Fewer than
        ``n_best`` where the rules allow no more.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or value, or the model lacks attention.
    FloatingPointError
        If the model's scores or weights are NaN or infinite.

    Notes
    -----
    Probabilities are the model's own: what is excluded or must not come yet takes its share with
    it.  Where all that a sentence could go on with is ruled out it ends, even before
    ``min_length``.  A
    sentence's result does not depend on the others in its batch, as long as the model's scores
    don't; equal scores are decided by rank and token.

    References
    ----------
    Wu et al. (2016), "Google's neural machine translation system".

    Huang et al. (2017), "When to finish? Optimal beam search for neural text generation".

    Post & Vilar (2018), "Fast lexically constrained decoding with dynamic beam allocation".

    Examples
    --------
    A model whose scores depend on the last token only; 0 is the end, and 1 the start.

    >>> import numpy as np, fastseq as fs
    >>> class Chain:
    ...     weights = None
    ...     probabilities = np.array([[1, 0, 0], [0.1, 0.5, 0.4], [0.9, 0, 0.1]])
    ...
    ...     def step(self, ids):
    ...         with np.errstate(divide="ignore"):
    ...             return np.log(self.probabilities[ids])
    ...
    ...     def select(self, rows):
    ...         pass
    >>> for found in fs.beam_search(Chain(), [1], end_id=0, max_length=9, n_best=2)[0]:
    ...     print(found.tokens, round(np.exp(found.log_prob), 3))
    [2] 0.36
    [1 2] 0.18
    """
    start_ids = _read_start(start_ids)
    rows = len(start_ids)
    beam_size = checks.positive_int("beam_size", beam_size)
    if beam_size > MOST_BEAMS:
        raise ValueError(f"beam_size must be at most {MOST_BEAMS:,}, got {beam_size:,}")
    n_best = checks.positive_int("n_best", n_best)
    if n_best > beam_size:
        raise ValueError(
            f"n_best must be at most beam_size = {beam_size}, got {n_best}; raise beam_size"
        )
    rules = Rules(rows, end_id, max_length, min_length, no_repeat_ngram, excluded, prefixes)
    search = _BeamSearch(
        Model(state),
        rules,
        beam_size,
        n_best,
        Penalties(length_penalty, coverage_penalty),
        phrases_of.read(constraints, rules, rows),
        None if source_lengths is None else per_row("source_lengths", source_lengths, rows),
        checks.flag("attention", attention),
    )
    return search.run(start_ids)


def greedy_search(
    state: Any,
    start_ids: ArrayLike,
    *,
    end_id: int,
    max_length: int | ArrayLike,
    min_length: int | ArrayLike = 0,
    no_repeat_ngram: int = 0,
    excluded: Iterable[int] = (),
    prefixes: Sequence[ArrayLike] | None = None,
    attention: bool = False,
) -> list[Hypothesis]:
    """Always the most probable next token: a beam of 1.

    Parameters
    ----------
    state, start_ids, end_id, max_length, min_length, no_repeat_ngram, excluded, prefixes, \
attention
        As for :func:`beam_search`.

    Returns
    -------
    hypotheses : list of Hypothesis
        One for each sentence.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As for :func:`beam_search`.

    Examples
    --------
    A model that counts, and then is more and more inclined to end (0).

    >>> import numpy as np, fastseq as fs
    >>> class Counter:
    ...     weights = None
    ...
    ...     def step(self, ids):
    ...         logits = 4.0 * (np.arange(9) == ids[:, None] + 1)
    ...         logits[:, 0] = ids
    ...         return logits
    ...
    ...     def select(self, rows):
    ...         pass
    >>> found = fs.greedy_search(Counter(), [1, 3], end_id=0, max_length=9)
    >>> [hypothesis.tokens.tolist() for hypothesis in found]
    [[2, 3, 4], [4]]
    """
    found = beam_search(
        state,
        start_ids,
        end_id=end_id,
        max_length=max_length,
        beam_size=1,
        min_length=min_length,
        no_repeat_ngram=no_repeat_ngram,
        excluded=excluded,
        prefixes=prefixes,
        attention=attention,
    )
    return [hypotheses[0] for hypotheses in found]


def sample_sequences(
    state: Any,
    start_ids: ArrayLike,
    *,
    end_id: int,
    max_length: int | ArrayLike,
    n_samples: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_length: int | ArrayLike = 0,
    no_repeat_ngram: int = 0,
    excluded: Iterable[int] = (),
    prefixes: Sequence[ArrayLike] | None = None,
    attention: bool = False,
    seed: int | np.random.Generator | None = None,
) -> list[list[Hypothesis]]:
    """Sequences drawn token by token.

    Parameters
    ----------
    state, start_ids, end_id, max_length, min_length, no_repeat_ngram, excluded, prefixes, \
attention
        As for :func:`beam_search`; what they leave is drawn from.
    n_samples : int
        For each sentence.
    temperature, top_k, top_p
        How tokens are drawn: see :class:`fastseq.Sampler`.
    seed : None, int or Generator
        What a sentence gets depends on the seed and on its place in the batch, not on the others.

    Returns
    -------
    hypotheses : list of lists of Hypothesis
        In the order in which they were drawn.  Scores are the model's own, as they are without
        temperature, ``top_k`` and ``top_p``.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As for :func:`beam_search`.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> class Coin:
    ...     weights = None
    ...
    ...     def step(self, ids):
    ...         return np.zeros((len(ids), 3))
    ...
    ...     def select(self, rows):
    ...         pass
    >>> drawn = fs.sample_sequences(Coin(), [0], end_id=0, max_length=9, n_samples=3, seed=1)[0]
    >>> [found.tokens.tolist() for found in drawn]
    [[], [2, 2, 1, 2, 2, 1, 1], []]
    """
    start_ids = _read_start(start_ids)
    n_samples = checks.positive_int("n_samples", n_samples)
    rules = Rules(
        len(start_ids), end_id, max_length, min_length, no_repeat_ngram, excluded, prefixes
    )
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    Sampler(1, **how)  # so that they are wrong before the model has begun
    attention = checks.flag("attention", attention)
    return _sample(Model(state), start_ids, rules, n_samples, how, attention, seed)


def _read_start(start_ids):
    ids = tokens_of("start_ids", start_ids)
    if ids.size and ids.min() < 0:
        raise ValueError(f"start_ids must be at least 0, got {ids.min()}")
    return ids


class _BeamSearch:
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


def _sample(model, start_ids, rules, n_samples, how, attention, seed):
    """For each start what is drawn, as hypotheses."""
    count = len(start_ids) * n_samples
    if not count:
        return []
    samples, step = _Samples(model, start_ids, rules, n_samples, how, attention, seed), 0
    while len(samples.ids):
        samples.advance(step)
        step += 1
    found = samples.finished.best(count, 1, samples.trail, attention)
    return [[f[0] for f in found[i : i + n_samples]] for i in range(0, count, n_samples)]


class _Samples:
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
