"""Words counted and numbered, in plain Python: the contract of ``_word2vec.pyx``'s ``WordTable``.

Texts come in blocks, which end at white space; lists of tokens in lists.  What is read becomes
*items* (int32): the number of each word, and ``SENTENCE_END``; a table that is frozen has
``UNKNOWN`` for words that it lacks.  Words are numbered in the order in which they came.
``renumber`` then makes ids and ends of sentences of items.
"""

from __future__ import annotations

import re

import numpy as np

SENTENCE_END = -1
UNKNOWN = -2

# What stands between white space of ASCII: a word, or other white space of str.split in UTF-8.
_BLANK = rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80"
_TOKENS = re.compile(rb"\n|(?P<blank>%b)|(?:(?!%b)[^\t-\r\x1c- ])+" % (_BLANK, _BLANK))


class WordTable:
    """Words with their numbers and counts.

    Parameters
    ----------
    limit : int, optional
        Reading stops at the end of a sentence, when there are more words than these, so that
        the table can be pruned.
    longest_piece : int, optional
        In texts, every so many words of a sentence count as its end in this.

    Attributes
    ----------
    piece : int
        Words of a text since the last place where reading might have stopped.
    """

    def __init__(self, limit=None, longest_piece=None):
        self.piece = 0
        self._limit = np.inf if limit is None else limit
        self._longest_piece = longest_piece
        self._frozen = False
        self._numbers = {}  # of the words, in UTF-8
        self._counts = []
        self._firsts = []

    def __len__(self):
        return len(self._numbers)

    def freeze(self):
        """From now on words are looked up, in several threads if need be, and nothing changes."""
        self._frozen = True

    def add_words(self, words):
        """Add words that were not read; returns the index of one that is there already, or None."""
        for i, word in enumerate(words):
            text = word.encode()
            if text in self._numbers:
                return i
            self._insert(text, i - len(words))
        return None

    def add_text(self, text, begin, base, items):
        """Read a text from one of its bytes on.

        Parameters
        ----------
        text : bytes or array of bytes
        begin : int
        base : int
            The position of the text's first byte in all that is read.
        items : ndarray of int32, or None
            Where items go, which can be as many as there are bytes.

        Returns
        -------
        end : int
            How far it came; if something is wrong, where the word begins that isn't UTF-8.
        n_items, n_words : int
        wrong : bool
        """
        text, at, out = bytes(text), begin, []
        n_words, wrong = 0, False
        for token in _TOKENS.finditer(text, begin):
            word, at = token[0], token.end()
            if token["blank"]:
                continue
            if word == b"\n":
                out.append(SENTENCE_END)
                ends = self.piece > 0
            else:
                number = self._take(word, base + token.start())
                if number is None:
                    at, wrong = token.start(), True
                    break
                out.append(number)
                n_words += 1
                self._count_piece(1)
                ends = self.piece == self._longest_piece
            if ends:
                self._count_piece(-self.piece)
                if len(self) > self._limit:
                    break
        else:
            at = len(text)
        return _write(out, items, at, n_words, wrong)

    def add_sentences(self, sentences, begin, base, items):
        """Read a list of lists of tokens from one of them on.

        As :meth:`add_text`, but for: ``base`` counts words, items are as many as tokens and
        sentences, ``end`` is a sentence's index, and what may be wrong is a token that is no
        string, or has a lone surrogate.
        """
        out, n_words = [], 0
        for i in range(begin, len(sentences)):
            for token in sentences[i]:
                word = token.encode("utf-8", "surrogatepass") if isinstance(token, str) else None
                number = None if word is None else self._take(word, base + n_words)
                if number is None:
                    return _write(out, items, i, n_words, True)
                out.append(number)
                n_words += 1
            out.append(SENTENCE_END)
            if len(self) > self._limit:
                return _write(out, items, i + 1, n_words, False)
        return _write(out, items, len(sentences), n_words, False)

    def merge(self, other):
        """Add another table's words and counts; returns the numbers that its words have here."""
        numbers = []
        parts = zip(other._numbers, other._counts, other._firsts, strict=True)
        for word, count, first in parts:
            number = self._numbers.get(word)
            if number is None:
                number = self._insert(word, first)
            self._counts[number] += count
            self._firsts[number] = min(self._firsts[number], first)
            numbers.append(number)
        return np.array(numbers, np.int32)

    def counts(self):
        """How often each word came, as int64."""
        return np.array(self._counts, np.int64)

    def firsts(self):
        """The position at which each word came first, as int64; negative for words added."""
        return np.array(self._firsts, np.int64)

    def words(self, numbers):
        """The words of some numbers, as a list of strings."""
        words = list(self._numbers)
        return [words[number].decode() for number in numbers]

    def packed(self, numbers):
        """The words of some numbers as bytes, and where each of them ends in these, as int64."""
        words = list(self._numbers)
        words = [words[number] for number in numbers]
        return b"".join(words), np.cumsum([len(word) for word in words], dtype=np.int64)

    def prune(self, numbers):
        """Keep the words of these numbers alone; they get the numbers from 0 on."""
        words = list(self._numbers)
        self._numbers = {words[number]: i for i, number in enumerate(numbers)}
        self._counts = [self._counts[number] for number in numbers]
        self._firsts = [self._firsts[number] for number in numbers]

    def _take(self, word, first):
        """The number of a word that was read; None if it isn't UTF-8."""
        number = self._numbers.get(word)
        if number is None:
            try:
                word.decode()
            except UnicodeDecodeError:
                return None
            number = UNKNOWN if self._frozen else self._insert(word, first)
        if not self._frozen:
            self._counts[number] += 1
        return number

    def _insert(self, word, first):
        number = self._numbers[word] = len(self._numbers)
        self._counts.append(0)
        self._firsts.append(first)
        return number

    def _count_piece(self, n):
        if not self._frozen:
            self.piece += n


def _write(out, items, end, n_words, wrong):
    """What reading returns; items are written on the way."""
    if items is not None:
        items[: len(out)] = out
    return end, len(out), n_words, wrong


def count_items(items, counts):
    """Add how often each word comes to its count."""
    counts += np.bincount(items[items >= 0], minlength=len(counts))


def renumber(items, numbers, ids, ends, n_ids, last_end, open_words):
    """Give words other numbers, and make ends of sentences of the marks between them.

    Words without a number are left out, and so are sentences of which no word is left.

    Parameters
    ----------
    items : ndarray of int32
    numbers : ndarray of int32
        The number of each word, or -1.
    ids : ndarray of int32
        Where numbers go; may be ``items`` itself.
    ends : ndarray of int64
        Where ends of sentences go.
    n_ids, last_end : int
        What came before: the number of ids, and the last sentence's end.
    open_words : int
        Words, in whatever form, of the sentence that has not ended yet.

    Returns
    -------
    n, n_ends : int
        How many were written.
    sentences : int
        How many ended that had words, perhaps none with a number.
    open_words : int
    """
    is_mark = items == SENTENCE_END
    marks = np.flatnonzero(is_mark)
    known = np.where(items >= 0, numbers[np.maximum(items, 0)] if len(numbers) else -1, -1)
    kept = np.concatenate([[0], np.cumsum(known >= 0)])
    places = n_ids + kept[marks]
    words = np.diff(np.concatenate([[-1], marks])) - 1
    if len(marks):
        words[0] += open_words
        open_words = 0
    open_words += int(len(items) - (marks[-1] + 1 if len(marks) else 0))
    before = np.concatenate([[last_end], places[:-1]]) if len(marks) else places
    found = places[places > before]
    ends[: len(found)] = found
    ids[: kept[-1]] = known[known >= 0]
    return int(kept[-1]), len(found), int(np.count_nonzero(words)), open_words
