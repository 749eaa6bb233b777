"""How good word vectors are: analogies, and similarities beside people's judgments.

N keys that are known.  Files and rules are gensim's and word2vec.c's, so that results can be
compared.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastseq import checks, files
from fastseq.words.vector_search import safe_norms, scores_in_blocks

LEAST = 1e-300  # what a continued fraction must not fall below


class Correlation(NamedTuple):
    """A coefficient, and the probability of one at least as far from 0 if there were none."""

    statistic: float
    pvalue: float


class Known:
    """The words that count: the first keys, perhaps whatever their case.

    Of keys that are spelled alike the first one stands for all of them.

    Parameters
    ----------
    wv : KeyedVectors
    restrict_vocab : int or None
        How many keys are known.
    case_insensitive : bool
    """

    def __init__(self, wv, restrict_vocab, case_insensitive):
        if restrict_vocab is not None:
            checks.positive_int("restrict_vocab", restrict_vocab)
        self._ignore_case = checks.flag("case_insensitive", case_insensitive)
        keys = wv.index_to_key[:restrict_vocab]
        self.vectors, self.norms = wv.vectors[: len(keys)], wv.norms[: len(keys)]
        self._places, self.first = {}, np.empty(len(keys), np.int64)
        for i, key in enumerate(keys):
            self.first[i] = self._places.setdefault(self.spelled(key), i)
        self._others = {}  # further places of words that are spelled alike
        for i in np.flatnonzero(self.first != np.arange(len(keys))).tolist():
            self._others.setdefault(int(self.first[i]), []).append(i)

    def spelled(self, word):
        """The word as it is compared."""
        return word.upper() if self._ignore_case else word

    def find(self, words):
        """The places of words, or None if one of them is unknown."""
        places = [self._places.get(word) for word in words]
        return None if None in places else places

    def alike(self, place):
        """The places of all words that are spelled like this one."""
        return [place, *self._others.get(place, ())]

    def units(self, places):
        """Vectors of length 1."""
        norms = safe_norms(self.norms[places])
        return self.vectors[places] / norms[..., None]


# --- analogies ----------------------------------------------------------------------------------


def analogies(known, path, count_unknown):
    """The part of a file's analogies that is solved, and its sections; see KeyedVectors."""
    checks.flag("dummy4unknown", count_unknown)
    sections, questions = [], []  # questions: section, words, places
    for name, lines in _sections(path):
        sections.append({"section": name, "correct": [], "incorrect": []})
        for words in lines:
            words = tuple(map(known.spelled, words))
            places = known.find(words)
            if places is not None or count_unknown:
                questions.append((sections[-1], words, places))
    asked = [places for *_, places in questions if places is not None]
    asked = np.array(asked, np.int64).reshape(-1, 4)
    solved = iter(solve(known, asked[:, :3]) == asked[:, 3])
    total = {"section": "Total accuracy", "correct": [], "incorrect": []}
    for section, words, places in questions:
        outcome = "correct" if places is not None and next(solved) else "incorrect"
        section[outcome].append(words)
        total[outcome].append(words)
    score = len(total["correct"]) / len(questions) if questions else 0.0
    return score, [*sections, total]


def solve(known, places):
    """For words a, b, c (Q, 3) the word that is to c as b is to a, (Q,); all by place.

    Where no word but the three is known it is -1.
    """
    answers = np.empty(len(places), np.int64)
    a, b, c = (known.units(places[:, i]) for i in range(3))
    queries = b - a + c
    for first, scores in scores_in_blocks(queries, known.vectors, known.norms):
        for row, given in zip(scores, places[first:].tolist(), strict=False):
            for place in given:
                row[known.alike(place)] = -np.inf
        none = scores.max(axis=1) == -np.inf
        best = known.first[scores.argmax(axis=1)]
        answers[first : first + len(scores)] = np.where(none, -1, best)
    return answers


def _sections(path):
    """Names, and lists of four words."""
    name, lines = None, []
    for number, line in files.numbered_lines(path):
        if line.startswith(":"):
            if name is not None:
                yield name, lines
            name, lines = line[1:].strip(), []
        elif line and not line.isspace():
            words = line.split()
            if name is None:
                raise files.located(path, number, "expected a line ': section' first")
            if len(words) != 4:
                raise files.located(
                    path, number, f"expected four words, got {files.shortened(line)}"
                )
            lines.append(words)
    if name is not None:
        yield name, lines


# --- similarities -------------------------------------------------------------------------------


def pairs(known, path, delimiter, count_unknown):
    """Correlations of a file's judgments, and the percentage of unknown pairs; see KeyedVectors."""
    checks.flag("dummy4unknown", count_unknown)
    truth, found, unknown = [], [], 0
    for words, value in _judgments(path, delimiter):
        places = known.find(map(known.spelled, words))
        unknown += places is None
        if places is not None:
            one, other = known.units(places)
            found.append(float(one @ other))
            truth.append(value)
        elif count_unknown:
            found.append(0.0)
            truth.append(value)
    if len(truth) < 2:
        raise ValueError(
            f"{files.display_name(path)}: expected at least two pairs of words with vectors, got "
            f"{len(truth)}; {unknown} have none"
        )
    percentage = 100 * unknown / (len(truth) + (0 if count_unknown else unknown))
    truth, found = np.array(truth), np.array(found)
    return pearson(truth, found), pearson(_ranks(truth), _ranks(found)), percentage


def _judgments(path, delimiter):
    if not isinstance(delimiter, str) or not delimiter:
        raise ValueError(f"delimiter must be a string, not empty, got {delimiter!r}")
    for number, line in files.numbered_lines(path):
        if line.startswith("#") or not line or line.isspace():
            continue
        fields = line.split(delimiter)
        try:
            first, second, value = fields
            yield (first, second), checks.finite("judgment", float(value))
        except ValueError:
            raise files.located(
                path,
                number,
                f"expected two words and a number, separated by {delimiter!r}, got "
                f"{files.shortened(line)}; what begins with # is a comment",
            ) from None


def pearson(x, y):
    """The correlation of two arrays (n,), n at least 2."""
    x, y = x - x.mean(), y - y.mean()
    scale = np.linalg.norm(x) * np.linalg.norm(y)
    if not scale:
        return Correlation(math.nan, math.nan)
    r = float(np.clip(x @ y / scale, -1, 1))
    return Correlation(r, _pvalue(r, len(x)))


def _ranks(x):
    """The places of numbers among the sorted ones; equal numbers share the mean of theirs."""
    _, groups, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return (ends - (counts - 1) / 2)[groups]


def _pvalue(r, n):
    """Of a coefficient of n normal pairs, by Student's t with n - 2 degrees of freedom."""
    if n == 2:
        return 1.0
    # P(|T| > t) = I_x(m / 2, 1 / 2) with x = m / (m + t^2), which is 1 - r^2
    return _incomplete_beta((n - 2) / 2, 0.5, (1 - r) * (1 + r))


def _incomplete_beta(a, b, x):
    """The regularised incomplete beta function I_x(a, b) by its continued fraction (Lentz)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the other side converges faster
        return 1 - _incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    log_front += a * math.log(x) + b * math.log1p(-x)
    value, c, d = 1.0, 1.0, 0.0
    for i in range(10_000):
        m = i // 2
        if i == 0:
            step = 1.0
        elif i % 2 == 0:
            step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 + step * d
        d = 1 / (d if abs(d) > LEAST else LEAST)
        c = 1 + step / c
        c = c if abs(c) > LEAST else LEAST
        value *= c * d
        if abs(1 - c * d) < 1e-15:
            break
    return math.exp(log_front) / a * (value - 1)
