"""What a search has found: the steps that led there, scores, and attention on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastseq import checks
from fastseq.search.rules import IMPOSSIBLE

STEEPEST = 10  # exponent of a penalty; far beyond any use, and no length overflows


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    """A sequence that a search has found.

    Attributes
    ----------
    tokens : ndarray of int64, (n,)
        Without the start and the end.
    score : float
        What hypotheses are sorted by: ``log_prob`` with the penalties of lengths and coverage.
    log_prob : float
        The logarithm of the probability that the model gives to these tokens and the end; -inf
        if it holds for impossible what had to come.
    cut : bool
        Whether it ends only because it had to, at the maximum length, where something else was
        more probable.
    attention : ndarray, (n + 1, S), or None
        Of each token the weights with which the model looked at the source, then of the end.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> found = fs.Hypothesis(np.array([7]), -0.5, -0.5, False, np.array([[0.1, 0.9], [0.5, 0.5]]))
    >>> found.alignment()
    array([1])
    """

    tokens: np.ndarray
    score: float
    log_prob: float
    cut: bool
    attention: np.ndarray | None = None

    def alignment(self) -> np.ndarray:
        """Of each token the source position that had the largest weight, int64 (n,).

        Raises
        ------
        ValueError
            If the search was not asked for attention.
        """
        if self.attention is None:
            raise ValueError("there is no attention: ask the search for it with attention=True")
        weights = self.attention[:-1]
        if not weights.shape[1]:
            raise ValueError("the source is empty, so nothing can be aligned to it")
        return np.argmax(weights, axis=1)


def copy_unknown(
    tokens: list[Any],
    source: list[Any],
    attention: Any,
    *,
    unknown: Any = "<unk>",
    lexicon: dict[Any, Any] | None = None,
) -> list[Any]:
    """Put source words in the place of unknown ones (Luong et al., 2015).

    Parameters
    ----------
    tokens : list
        Words that a model has written, n of them.
    source : list
        Words that it has read.
    attention : array of floats, (n, S) or (n + 1, S)
        The weights of each of the tokens, as :class:`Hypothesis` has them; S may exceed the
        source's length.
    unknown : object
        What stands for a word that the model could not write.
    lexicon : dict, optional
        Of source words that are translated, rather than copied.

    Returns
    -------
    tokens : list
        A new one.

    Raises
    ------
    ValueError
        If the attention has another number of tokens or fewer source positions.

    References
    ----------
    Luong et al. (2015), "Addressing the rare word problem in neural machine translation".

    Examples
    --------
    >>> import fastseq as fs
    >>> weights = [[0.9, 0.1], [0.2, 0.8]]
    >>> fs.copy_unknown(["in", "<unk>"], ["nach", "Ulm"], weights)
    ['in', 'Ulm']
    """
    weights = checks.floats_of_any_precision("attention", attention)
    if weights.ndim != 2 or not len(tokens) <= len(weights) <= len(tokens) + 1:
        raise ValueError(
            f"attention must have shape (n, S) or (n + 1, S) with n = {len(tokens)} tokens, "
            f"got {weights.shape}"
        )
    if weights.shape[1] < len(source):
        raise ValueError(
            f"attention must have a weight for each of {len(source)} source tokens, "
            f"got {weights.shape[1]}"
        )
    if not len(source):
        return list(tokens)
    places = weights[:, : len(source)].argmax(axis=1) if len(tokens) else ()
    words, lexicon = list(tokens), lexicon or {}
    for i, word in enumerate(words):
        if word == unknown:
            copied = source[places[i]]
            words[i] = lexicon.get(copied, copied)
    return words


class Penalties:
    """How sums of logarithms become scores.

    With the length n, the end included, a score is ``log_prob / penalty(n)``, plus
    ``coverage * sum(log(min(c_i, 1)))`` with the attention c_i that source position i got in all.
    """

    def __init__(self, length, coverage):
        self._average = isinstance(length, str)
        if self._average and length != "average":
            raise ValueError(f"length_penalty must be a number or 'average', got {length!r}")
        if not self._average:
            self._alpha = checks.finite("length_penalty", length)
            if abs(self._alpha) > STEEPEST:
                raise ValueError(
                    f"length_penalty must lie between -{STEEPEST} and {STEEPEST}, got {length}"
                )
        self.coverage = checks.not_negative("coverage_penalty", coverage)

    def of_length(self, n):
        """By what sums are divided: n, or ((5 + n) / 6) ** alpha (Wu et al., 2016)."""
        if self._average:
            return np.asarray(n, np.float64)
        return ((5.0 + np.asarray(n)) / 6.0) ** self._alpha

    def of_coverage(self, covered, lengths):
        """What is added to scores, at most 0; of sources (F, S) with these lengths, or None."""
        # log(0) would end everything; in float32 the least number would be 0
        covered = np.clip(covered.astype(np.float64), np.finfo(np.float64).tiny, 1.0)
        logs = np.log(covered)
        if lengths is not None:
            logs[np.arange(logs.shape[1]) >= lengths[:, None]] = 0
        return self.coverage * logs.sum(axis=1)

    def bound(self, log_probs, shortest, longest):
        """The best score that hypotheses may come to which have these sums by now.

        Sums only fall, coverage costs at least nothing, and the penalty of the length is
        monotonous: at one of the two ends a falling sum is divided by the most.
        """
        return np.maximum(log_probs / self.of_length(shortest), log_probs / self.of_length(longest))


class Trail:
    """Tokens and parents of all rows at all steps, so that no history is copied on the way.

    A row of step t reads ``tokens[t - 1]``, and is the child of row ``parents[t - 1]`` of the
    step before.
    """

    def __init__(self):
        self._tokens, self._parents, self._weights = [], [], []

    def add(self, parents, tokens):
        self._parents.append(parents)
        self._tokens.append(tokens)

    def add_weights(self, weights):
        self._weights.append(np.array(weights))  # models may use their memory again

    def read(self, steps, rows):
        """The tokens before these rows of these falling steps, (F, steps.max()); 0 elsewhere."""
        tokens = np.zeros((len(steps), steps.max(initial=0)), np.int64)
        for step, at, _ in self._back(steps, rows):
            tokens[: len(at), step] = self._tokens[step][at]
        return tokens

    def read_weights(self, steps, rows):
        """The attention up to these rows of these falling steps, (F, steps.max() + 1, S)."""
        widest = max(weights.shape[1] for weights in self._weights)  # fewer when some have left
        shape = (len(steps), steps.max(initial=0) + 1, widest)
        weights = np.zeros(shape, self._weights[0].dtype)
        for i, (step, row) in enumerate(zip(steps, rows, strict=True)):
            last = self._weights[step][row]
            weights[i, step, : len(last)] = last
        for step, _, before in self._back(steps, rows):
            at_step = self._weights[step][before]
            weights[: len(before), step, : at_step.shape[1]] = at_step
        return weights

    def _back(self, steps, rows):
        """From the last step to the first: its number, rows it led to, and their parents."""
        rows = np.array(rows)
        for step in range(steps.max(initial=0) - 1, -1, -1):
            active = int(np.searchsorted(-steps, -step, side="left"))  # those of later steps
            at = rows[:active].copy()
            rows[:active] = self._parents[step][at]
            yield step, at, rows[:active]


class Finished:
    """Hypotheses that have ended, of all sentences, in the order in which they ended."""

    def __init__(self):
        self._parts = []

    def add(self, sentences, step, rows, log_probs, scores, cut):
        steps = np.full(len(rows), step)
        self._parts.append((sentences, steps, rows, log_probs, scores, cut))

    def best(self, n_sentences, n_best, trail, attention):
        """The best of each sentence, as lists of :class:`Hypothesis`."""
        results = [[] for _ in range(n_sentences)]
        if not self._parts:
            return results
        sentences, steps, rows, log_probs, scores, cut = map(
            np.concatenate, zip(*self._parts, strict=True)
        )
        order = np.lexsort((-scores, sentences))  # stable: of equal ones the first to end
        first = np.searchsorted(sentences[order], sentences[order])
        order = order[np.arange(len(order)) - first < n_best]
        # sums are finite until here, so that what had to come could be compared
        impossible = log_probs <= IMPOSSIBLE / 2
        log_probs = np.where(impossible, -np.inf, log_probs)
        scores = np.where(impossible, -np.inf, scores)
        falling = np.argsort(-steps[order], kind="stable")
        found = order[falling]
        tokens = trail.read(steps[found], rows[found])
        weights = trail.read_weights(steps[found], rows[found]) if attention else None
        for place, i in zip(np.argsort(falling), order, strict=True):
            results[sentences[i]].append(
                Hypothesis(
                    tokens[place, : steps[i]].copy(),
                    float(scores[i]),
                    float(log_probs[i]),
                    bool(cut[i]),
                    None if weights is None else weights[place, : steps[i] + 1].copy(),
                )
            )
        return results
