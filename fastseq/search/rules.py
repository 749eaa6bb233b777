"""What may come next in a search: lengths, prefixes, excluded tokens, no repetition."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fastseq import checks

IMPOSSIBLE = float(np.finfo(np.float32).min)  # of what has to come all the same; sums are finite
MOST_AT_LEAST = 65_536  # tokens of a minimum; more is a slip, which would run for hours


def per_row(name, value, rows):
    """A number for each row, int64 (B,), all at least 0; one stands for all."""
    if np.ndim(value) == 0:
        return np.full(rows, checks.not_negative_int(name, value))
    array = checks.integers(name, value)
    checks.shape(name, array, (rows,), "(B,)", "; or give one number for all rows")
    if rows and array.min() < 0:
        raise ValueError(f"{name} must be at least 0, got {array.min()}")
    return array.astype(np.int64)


def per_row_lists(name, value, rows, what):
    """A list for each row; None stands for none at all."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        raise TypeError(
            f"{name} must be a list with {what} for each row, got {type(value).__name__}"
        )
    if len(value) != rows:
        raise ValueError(f"{name} must have {what} for each of {rows} rows, got {len(value)}")
    return list(value)


def tokens_of(name, value):
    """Some tokens as a 1-D int64 array."""
    array = checks.integers(name, value, "a list of integers")
    if array.ndim != 1:
        raise ValueError(f"{name} must be a list of integers, got shape {array.shape}")
    return array.astype(np.int64)


class Rules:
    """Takes out of the scores of each step what must not come.

    Scores are those of whatever rows there are, each of a sentence.  Normalise them before: what
    is taken out does not make the rest more probable.
    """

    def __init__(self, rows, end, max_length, min_length, no_repeat_ngram, excluded, prefixes):
        self.end = checks.not_negative_int("end_id", end)
        self.longest = per_row("max_length", max_length, rows)
        self._shortest = per_row("min_length", min_length, rows)
        self._late = int(self._shortest.max(initial=0))
        if self._late > MOST_AT_LEAST:
            raise ValueError(f"min_length must be at most {MOST_AT_LEAST:,}, got {self._late:,}")
        wrong = self._shortest > self.longest
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"min_length must be at most max_length, got {self._shortest[row]} and "
                f"{self.longest[row]} for row {row}"
            )
        self.ngram = checks.not_negative_int("no_repeat_ngram", no_repeat_ngram)
        if not isinstance(excluded, Iterable):
            way_out = "give () for none" if excluded is None else "put a single one in a list"
            raise TypeError(f"excluded must be a list of tokens, got {excluded!r}; {way_out}")
        self.excluded = np.unique(tokens_of("excluded", list(excluded)))
        if self.end in self.excluded:
            raise ValueError("excluded must not have end_id in it; min_length delays the end")
        self.barred = None  # uint8 (V,), not 0 for what is excluded
        self.prefixes = self._read_prefixes(prefixes, rows)
        self._soon = int(self.longest.min(initial=2**62))

    def _read_prefixes(self, prefixes, rows):
        """Tokens by step and row, (T, B), with -1 behind each prefix."""
        if prefixes is None:
            return np.empty((0, rows), np.int64)
        lists = per_row_lists("prefixes", prefixes, rows, "a list of tokens")
        lists = [tokens_of(f"prefixes[{i}]", tokens) for i, tokens in enumerate(lists)]
        table = np.full((max(map(len, lists), default=0), rows), -1, np.int64)
        for row, tokens in enumerate(lists):
            if len(tokens) > self.longest[row]:
                raise ValueError(
                    f"prefixes[{row}] must have at most max_length = {self.longest[row]} tokens, "
                    f"got {len(tokens)}"
                )
            if tokens.min(initial=0) < 0:
                raise ValueError(f"prefixes[{row}] must be at least 0, got {tokens.min()}")
            if (tokens == self.end).any():
                raise ValueError(f"prefixes[{row}] must not have end_id = {self.end} in it")
            table[: len(tokens), row] = tokens
        return table

    def learn_classes(self, classes):
        """Hear how many tokens there are; raise unless all that were named are among them."""
        named = {"end_id": self.end, "excluded": self.excluded, "prefixes": self.prefixes}
        for name, tokens in named.items():
            largest, least = np.max(tokens, initial=0), np.min(tokens, initial=0)
            if largest >= classes or least < -(name == "prefixes"):
                wrong = largest if largest >= classes else least
                raise ValueError(
                    f"{name} must lie between 0 and {classes - 1}, since the model knows "
                    f"{classes} tokens, got {wrong}"
                )
        if self.excluded.size:
            self.barred = np.zeros(classes, np.uint8)
            self.barred[self.excluded] = 1

    def only_bar(self, step):
        """Whether at this step nothing is ruled out but ``barred``, for all rows."""
        return (
            len(self.prefixes) <= step < self._soon
            and step >= self._late
            and not (self.ngram and step >= self.ngram)
        )

    def restrict(self, step, logits, sentences, history):
        """Put -inf where nothing may follow; which rows must end though they would go on.

        ``history`` (R, step) has the tokens so far where ``ngram`` asks for it.  The result is
        None, or booleans (R,).
        """
        forced = self._forced(step, sentences)
        if forced is None:
            self._take_out(step, logits, sentences, history)
            return None
        rows = np.flatnonzero(forced >= 0)
        forced = forced[rows]
        kept = logits[rows, forced]
        at_end = rows[forced == self.end]
        cut = np.zeros(len(logits), bool)
        cut[at_end] = logits[at_end].argmax(axis=1) != self.end
        if len(rows) < len(logits):
            self._take_out(step, logits, sentences, history)
        logits[rows] = -np.inf
        # a model may hold it for impossible, but there is nothing else
        logits[rows, forced] = np.maximum(kept, IMPOSSIBLE)
        return cut

    def end_rows(self, lost, logits, ends):
        """Let these rows end, with the logits that their ends had, since nothing else may come."""
        logits[lost] = -np.inf
        logits[lost, self.end] = np.maximum(ends, IMPOSSIBLE)

    def _forced(self, step, sentences):
        """What must come, or -1, of each row; None if nothing must anywhere."""
        forced = None
        if step < len(self.prefixes):
            forced = self.prefixes[step, sentences]
        if step >= self._soon:
            forced = np.full(len(sentences), -1) if forced is None else forced
            forced[self.longest[sentences] <= step] = self.end
        return forced

    def _take_out(self, step, logits, sentences, history):
        if self.excluded.size:
            logits[:, self.excluded] = -np.inf
        if step < self._late:
            logits[self._shortest[sentences] > step, self.end] = -np.inf
        if self.ngram and step >= self.ngram:
            rows, tokens = repeated(history, self.ngram)
            logits[rows, tokens] = -np.inf


def repeated(history, n):
    """What would repeat an n-gram if it came next: rows and tokens."""
    begins = history.shape[1] - n + 1  # of n-grams so far
    same = np.ones((len(history), begins), bool)
    for i in range(n - 1):  # the last n - 1 tokens against all others
        same &= history[:, i : i + begins] == history[:, begins + i, None]
    rows, places = np.nonzero(same)
    return rows, history[rows, places + n - 1]
