"""Phrases that must occur in what a search finds: dynamic beam allocation.

Post & Vilar (2018), "Fast lexically constrained decoding with dynamic beam allocation for neural
machine translation": hypotheses compete only with those that have met as many tokens of the
phrases, so that the ones which put the phrases in are not beaten by those which leave them out.
"""

from __future__ import annotations

from typing import NamedTuple

from fastseq import checks
from fastseq.search.rules import per_row_lists, tokens_of


class Reading(NamedTuple):
    """One way to see phrases in a hypothesis: those it has, and the part of one it ends with."""

    met: int  # a bit for each phrase
    part: tuple  # of the phrases that begin so, any one may come


class Phrases:
    """The phrases that must occur in one sentence, each at a place of its own.

    What a hypothesis has of them, its progress, is a list of readings: where a phrase lies within
    another one, or begins where one might end, only what comes later tells which is meant.
    """

    start = (Reading(0, ()),)

    def __init__(self, phrases):
        self._phrases = phrases
        self.size = sum(map(len, phrases))  # tokens

    def count(self, progress):
        """How many tokens of phrases a hypothesis has."""
        return max(self._count(met, part) for met, part in progress)

    def left(self, progress):
        """How many tokens it needs at least."""
        return self.size - self.count(progress)

    def next_tokens(self, progress):
        """What brings it on, from where it has most."""
        most = self.count(progress)
        return [
            phrase[len(part)]
            for met, part in progress
            if self._count(met, part) == most
            for _, phrase in self._beginning(met, part)
            if len(phrase) > len(part)
        ]

    def advance(self, progress, token):
        """Its progress with one token more."""
        found = {}  # as a set that keeps its order
        for met, part in progress:
            found[Reading(met, ())] = None  # neither the part nor the token is of a phrase
            end = (*part, token)
            going_on = self._beginning(met, end)
            whole = [i for i, phrase in going_on if phrase == end]
            if whole:  # of equal phrases the first
                found[Reading(met | 1 << whole[0], ())] = None
            if len(whole) < len(going_on):
                found[Reading(met, end)] = None
        return tuple(reading for reading in found if not _is_worse(reading, found))

    def after(self, tokens):
        """The progress of a hypothesis of these tokens."""
        progress = self.start
        for token in tokens:
            progress = self.advance(progress, token)
        return progress

    def _count(self, met, part):
        return sum(len(p) for i, p in enumerate(self._phrases) if met >> i & 1) + len(part)

    def _beginning(self, met, part):
        """The phrases that are not met yet, and begin so, with their numbers."""
        numbered = enumerate(self._phrases)
        return [(i, p) for i, p in numbered if not met >> i & 1 and p[: len(part)] == part]


def _is_worse(reading, others):
    """Whether one of the others ends with the same part, and has more phrases."""
    return any(
        other.part == reading.part and other.met != reading.met and not reading.met & ~other.met
        for other in others
    )


def tokens_needed(prefix, phrases):
    """How many tokens a target has at least that begins with a prefix and holds phrases."""
    phrases = Phrases([tuple(phrase) for phrase in phrases])
    return len(prefix) + phrases.left(phrases.after(prefix))


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
    prefix = [token for token in rules.prefixes[:, row].tolist() if token >= 0]
    needed = tokens_needed(prefix, tuples)
    if needed > rules.longest[row]:
        raise ValueError(
            f"{name} must fit into max_length = {rules.longest[row]}, got {needed - len(prefix)} "
            f"tokens after {len(prefix)} of the prefix; raise max_length"
        )
    return Phrases(tuples)


def check_classes(constraints, classes):
    """Raise unless all tokens of phrases are among so many classes."""
    for i, phrases in enumerate(constraints):
        for j, phrase in enumerate(phrases._phrases if phrases is not None else ()):
            checks.indices(f"constraints[{i}][{j}]", list(phrase), classes, "tokens")


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
