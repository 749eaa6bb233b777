"""Phrases that must occur in what a search finds: dynamic beam allocation.

Post & Vilar (2018), "Fast lexically constrained decoding with dynamic beam allocation for neural
machine translation": hypotheses compete only with those that have met as many tokens of the
phrases, so that the ones which put the phrases in are not beaten by those which leave them out.
"""

from __future__ import annotations

from typing import NamedTuple

from fastseq import checks
from fastseq.search_rules import per_row_lists, tokens_of


class Progress(NamedTuple):
    """How far a hypothesis has come: phrases it has in it, and the part of one it ends with."""

    met: int  # a bit for each phrase
    part: tuple  # of the phrases that begin so, any one may come


class Phrases:
    """The phrases that must occur in one sentence, each at a place of its own."""

    start = Progress(0, ())

    def __init__(self, phrases):
        self._phrases = phrases
        self.size = sum(map(len, phrases))  # tokens

    def _unmet(self, progress):
        return [i for i in range(len(self._phrases)) if not progress.met >> i & 1]

    def count(self, progress):
        """How many tokens of phrases a hypothesis has."""
        met = (len(p) for i, p in enumerate(self._phrases) if progress.met >> i & 1)
        return sum(met) + len(progress.part)

    def left(self, progress):
        """How many tokens it needs at least."""
        return self.size - self.count(progress)

    def next_tokens(self, progress):
        """What brings it on."""
        begin, n = progress.part, len(progress.part)
        unmet = [self._phrases[i] for i in self._unmet(progress)]
        return [p[n] for p in unmet if p[:n] == begin]

    def advance(self, progress, token):
        """Its progress with one token more: the longest end of it that begins a phrase."""
        unmet = self._unmet(progress)
        end = (*progress.part, token)
        while end:
            for i in unmet:
                if self._phrases[i] == end:
                    return Progress(progress.met | 1 << i, ())
            if any(self._phrases[i][: len(end)] == end for i in unmet):
                return Progress(progress.met, end)
            end = end[1:]
        return Progress(progress.met, ())


def read(value, rules, rows):
    """The phrases of each row, or None where there are none; None if there are none at all."""
    if value is None:
        return None
    lists = per_row_lists("constraints", value, rows, "a list of phrases")
    read = [_read_row(f"constraints[{i}]", phrases, rules, i) for i, phrases in enumerate(lists)]
    return read if any(phrases is not None for phrases in read) else None


def _read_row(name, phrases, rules, row):
    if isinstance(phrases, (str, bytes)) or not hasattr(phrases, "__len__"):
        raise TypeError(
            f"{name} must be a list of phrases, each a list of tokens, got {type(phrases).__name__}"
        )
    tuples = []
    for i, phrase in enumerate(phrases):
        if not hasattr(phrase, "__len__"):
            raise TypeError(
                f"{name}[{i}] must be a list of tokens, got {phrase!r}; "
                "a single token is a phrase, too: put it in a list"
            )
        tokens = tuple(tokens_of(f"{name}[{i}]", phrase).tolist())
        if not tokens:
            raise ValueError(f"{name}[{i}] must have at least one token, got none")
        if rules.end in tokens or not set(tokens).isdisjoint(rules.excluded.tolist()):
            raise ValueError(
                f"{name}[{i}] must have neither end_id nor excluded tokens in it, got {tokens}"
            )
        tuples.append(tokens)
    if not tuples:
        return None
    phrases = Phrases(tuples)
    progress, prefix = Phrases.start, 0
    for token in rules.prefixes[:, row].tolist():
        if token >= 0:
            progress, prefix = phrases.advance(progress, token), prefix + 1
    if prefix + phrases.left(progress) > rules.longest[row]:
        raise ValueError(
            f"{name} must fit into max_length = {rules.longest[row]}, got {phrases.left(progress)} "
            f"tokens after {prefix} of the prefix; raise max_length"
        )
    return phrases


def check_classes(constraints, classes):
    """Raise unless all tokens of phrases are among so many classes."""
    for i, phrases in enumerate(constraints):
        for phrase in phrases._phrases if phrases is not None else ():
            checks.indices(f"a phrase of constraints[{i}]", list(phrase), classes, "tokens")


def allocate(candidates, size, slots):
    """The candidates that stay on the beam, best first.

    Parameters
    ----------
    candidates : list of (count, log_prob, row, token)
        With the number of tokens of phrases that they have.
    size : int
        How many tokens phrases have in all.
    slots : int
        How many may stay: as many for each number of tokens met, what is left over goes to those
        who have met more.  What a bank can't fill others do, those nearest to its number first.
    """
    banks = [[] for _ in range(size + 1)]
    for candidate in candidates:
        banks[candidate[0]].append(candidate)
    for bank in banks:
        bank.sort(key=_rank)
    share, rest = divmod(slots, size + 1)
    wanted = [share + (i > size - rest) for i in range(size + 1)]
    taken = [min(n, len(bank)) for n, bank in zip(wanted, banks, strict=True)]
    for i in range(size, -1, -1):
        spare = wanted[i] - min(wanted[i], len(banks[i]))
        # nearest first; of two as near the one that has met more
        for j in sorted(range(size + 1), key=lambda j: (abs(j - i), -j)):
            more = min(spare, len(banks[j]) - taken[j])
            taken[j], spare = taken[j] + more, spare - more
    kept = [c for n, bank in zip(taken, banks, strict=True) for c in bank[:n]]
    return sorted(kept, key=_rank)


def _rank(candidate):
    _, log_prob, row, token = candidate
    return -log_prob, row, token
