"""Batches of dialogues: utterances, turns and answers side by side, ragged in all directions.

A dialogue of K utterances has K - 1 turns: at turn k utterance k is heard, and utterance k + 1 is
the answer to all that was heard until then.  W words, U different utterances, K turns, B rows
(dialogues), A answers, T words of an answer.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastseq.data.batching import Batches

ANSWERS = ("all", "second")
MOST_TURNS = 1 << 32


class DialogueBatch(NamedTuple):
    """Some turns of some dialogues.

    Attributes
    ----------
    utterances : ndarray of int64, (W, U)
        Different utterances, each with its end token, and zeros behind it.
    lengths : ndarray of int64, (U,)
    turns : ndarray of int64, (K, B)
        Which utterance is heard at each turn; any of them where a dialogue has ended.
    turn_lengths : ndarray of int64, (B,)
        How many turns there are of each dialogue, never more than in the row before.
    places : ndarray of int64, (A,)
        After which turns answers come, rising: k * B + b.
    targets : ndarray of int64, (T + 1, A), or None
        These answers, from the begin token to the end token.
    mask : ndarray of bool, (T + 1, A), or None
        Where targets are no padding; None if there is none.
    answers : ndarray of int64, (A,), or None
        Which utterance each answer is.
    rows : ndarray of int64, (B,)
        Which dialogues of the data these are.
    begin : int
        How many turns of them came before.
    """

    utterances: np.ndarray
    lengths: np.ndarray
    turns: np.ndarray
    turn_lengths: np.ndarray
    places: np.ndarray
    targets: np.ndarray | None = None
    mask: np.ndarray | None = None
    answers: np.ndarray | None = None
    rows: np.ndarray | None = None
    begin: int = 0

    @property
    def carried(self) -> bool:
        """Whether the rows go on where the first ones of the batch before ended."""
        return self.begin > 0

    @property
    def tokens(self) -> int:
        """The number of words that are written, ends included."""
        if self.targets is None:
            return 0
        return self.targets[1:].size if self.mask is None else int(self.mask[1:].sum())

    @property
    def answer_numbers(self) -> np.ndarray:
        """A number for each answer, which no other answer of the data has, (A,)."""
        turns, rows = self.answered
        return self.rows[rows] * MOST_TURNS + self.begin + turns

    @property
    def heard(self) -> np.ndarray:
        """Which utterance each answer follows, (A,)."""
        return self.turns.reshape(-1)[self.places]

    @property
    def answered(self) -> tuple[np.ndarray, np.ndarray]:
        """The turn and the row of each answer, both (A,)."""
        return np.divmod(self.places, self.turns.shape[1])


def one_turn(ids: np.ndarray, begin: int) -> DialogueBatch:
    """A batch of one utterance, from begin to end token, after so many others."""
    words, zero = np.asarray(ids[1:])[:, None], np.zeros(1, np.int64)
    lengths = np.array([len(words)])
    return DialogueBatch(words, lengths, zero[None], np.ones(1, np.int64), zero, begin=begin)


class DialogueBatches(Batches):
    """Batches of dialogues of about as many turns, each in windows of turns one after the other.

    As :class:`Batches`, whose sequences are here the turns of dialogues.  A batch of dialogues
    comes in windows of ``max_turns`` turns, one after the other (``batch.carried``); dialogues
    that have ended are left out of the later ones.  Dialogues without an answer give nothing.

    Parameters
    ----------
    dialogues : list of lists of arrays of int64
        Of each the utterances as ids, from the begin token to the end token.
    answers : {"all", "second"} or None
        Which utterances are answers: all but the first; the second, the fourth, and so on; None
        is for histories that are to be answered once, at their end.
    max_turns : int or None
        Of a window; not for histories.
    read_answers : bool
        Whether answers are among a batch's utterances, too.
    **options
        As of :class:`Batches`; ``max_tokens`` counts words.
    """

    def __init__(
        self,
        dialogues: Sequence[Sequence[np.ndarray]],
        *,
        answers: str | None = "all",
        max_turns: int | None = None,
        read_answers: bool = False,
        **options: Any,
    ) -> None:
        self._store = _Utterances(dialogues)
        self._answers, self._max_turns = answers, max_turns
        self._read_answers = read_answers
        counts = [self._count_turns(len(numbers)) for numbers in self._store.numbers]
        self._origins = np.flatnonzero(counts)
        if not len(self._origins):
            raise ValueError(
                "dialogues must have an answer, which is an utterance after another one, got "
                f"{len(counts)} without any"
            )
        numbers = [self._store.numbers[i] for i in self._origins]
        self._words = np.array([self._store.lengths[own].sum() for own in numbers])
        self._windows = []
        super().__init__(
            [own[: counts[i]] for i, own in zip(self._origins, numbers, strict=True)], **options
        )

    def _count_turns(self, utterances):
        """How many turns there are until the last answer."""
        if self._answers is None:
            return utterances
        turns = max(utterances - 1, 0)
        return turns - (turns > 0 and turns % 2 == 0) if self._answers == "second" else turns

    # --- the plan of an epoch -------------------------------------------------------------------

    def _count(self):
        planned = self._planned
        super()._count()
        if self._planned != planned:
            self._windows = [window for rows in self._plan for window in self._cut_turns(rows)]
        return len(self._windows)

    def _cut_turns(self, rows):
        """The windows of a batch: which rows, those that last first, and from which turn on."""
        lengths = self._x.lengths[rows]
        order = np.argsort(-lengths, kind="stable")
        rows, lengths = rows[order], lengths[order]
        step = self._max_turns or int(lengths[0])
        return [(rows[lengths > begin], begin) for begin in range(0, int(lengths[0]), step)]

    def _all_lengths(self):
        return [self._x.lengths, self._words]

    def _identity(self):
        identity = super()._identity() | {"kind": "DialogueBatches"}
        for name in ("answers", "max_turns", "read_answers"):
            identity[name] = getattr(self, f"_{name}")
        words = self._store.checksum.to_bytes(4, "big")
        return identity | {"data_checksum": zlib.crc32(words, identity["data_checksum"])}

    # --- a batch --------------------------------------------------------------------------------

    def _make(self, number):
        rows, begin = self._windows[number]
        left = self._x.lengths[rows] - begin
        lengths = np.minimum(left, self._max_turns or left[0])
        first = self._x.arrays[rows[0]][begin]  # stands where a dialogue has ended
        heard = np.full((lengths[0], len(rows)), first)
        for b, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            heard[:length, b] = self._x.arrays[row][begin : begin + length]
        places = np.flatnonzero(self._are_answered(begin, lengths))
        answers = np.empty(0, np.int64)
        if self._answers is not None:
            dialogues = [self._store.numbers[i] for i in self._origins[rows]]
            pairs = zip(*np.divmod(places, len(rows)), strict=True)
            answers = np.array([dialogues[b][begin + k + 1] for k, b in pairs], np.int64)
        return self._gather(heard, lengths, places, answers, rows, begin)

    def _are_answered(self, begin, lengths):
        """After which turns (K, B) of a window an answer comes."""
        turns = np.arange(lengths[0])[:, None]
        if self._answers is None:
            return turns == lengths - 1
        return (turns < lengths) & ((turns + begin) % (2 if self._answers == "second" else 1) == 0)

    def _gather(self, heard, lengths, places, answers, rows, begin):
        """The batch, with the utterances that it needs numbered anew."""
        needed = np.concatenate([heard.reshape(-1), answers if self._read_answers else []])
        used, numbers = np.unique(needed.astype(np.int64), return_inverse=True)
        utterances, word_lengths = self._store.take(used, skip=1)
        targets = mask = None
        if self._answers is not None:
            targets, target_lengths = self._store.take(answers)
            if target_lengths.min() < len(targets):
                mask = np.arange(len(targets))[:, None] < target_lengths
        return DialogueBatch(
            utterances,
            word_lengths,
            numbers[: heard.size].reshape(heard.shape),
            lengths,
            places,
            targets,
            mask,
            numbers[heard.size :] if self._read_answers else None,
            self._origins[rows],
            begin,
        )


class _Utterances:
    """All different utterances one after the other, and those of each dialogue by number."""

    def __init__(self, dialogues):
        known, self.numbers = {}, []
        for utterances in dialogues:
            keys = [np.ascontiguousarray(ids, np.int64).tobytes() for ids in utterances]
            own = [known.setdefault(key, len(known)) for key in keys]
            self.numbers.append(np.array(own, np.int64))
        self._ids = np.frombuffer(b"".join(known), np.int64)
        self.lengths = np.array([len(key) // self._ids.itemsize for key in known], np.int64)
        self._begins = np.cumsum(self.lengths) - self.lengths
        sizes = np.array([len(own) for own in self.numbers], np.int64)
        self.checksum = 0  # of all that dialogues hold, their last utterances included
        for part in (self._ids, self.lengths, sizes, *self.numbers):
            self.checksum = zlib.crc32(part, self.checksum)

    def take(self, numbers, skip=0):
        """Utterances without their first tokens side by side, (W, U), and their lengths."""
        lengths = self.lengths[numbers] - skip
        steps = np.arange(lengths.max())[:, None]
        real = steps < lengths
        places = np.where(real, self._begins[numbers] + skip + steps, 0)
        return np.where(real, self._ids[places], 0), lengths
