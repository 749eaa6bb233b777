"""Corpora: texts as numbers, for models of words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from fastseq import backend, checks, files
from fastseq._reference.corpus import SENTENCE_END
from fastseq.module import fixed
from fastseq.progress import make_reading_bar
from fastseq.words.corpus_reading import Sentences, TextFile, count_all, read_all
from fastseq.words.corpus_store import Store, default_limit
from fastseq.words.packed_words import PackedWords

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MOST_WORDS = 2**31 - 1  # that int32 can number
RULE_DEFAULT, RULE_DISCARD, RULE_KEEP = range(3)  # what a trim_rule returns, as in gensim


class Corpus:
    """Sentences as numbers of words, without the rare words.

    Usually read by :meth:`from_file` or :meth:`from_sentences`, which count the words, choose a
    vocabulary and encode the text, all in one pass.

    Parameters
    ----------
    ids : array of int, (N,)
        The words of all sentences, one sentence after the other.
    offsets : array of int, (S + 1,)
        Where sentences begin, and where the last one ends: from 0 to N, none of them empty.
    index_to_key : sequence of str, (V,)
        The words, none twice.
    counts : array of int, (V,)
        How often each of them came.
    raw_words : int, optional
        How many words there were before the rare ones were left out; N by default.
    raw_sentences : int, optional
        How many sentences had words; S by default.

    Attributes
    ----------
    ids : ndarray of int32, (N,)
        Read-only, and perhaps mapped into memory from a file.
    offsets : ndarray of int64, (S + 1,)
        Read-only, as ``ids``.
    index_to_key : list of str, (V,)
    counts : ndarray of int64, (V,)
    raw_words, raw_sentences : int

    Raises
    ------
    TypeError, ValueError
        If the arguments don't fit together.

    Examples
    --------
    >>> import fastseq as fs
    >>> corpus = fs.Corpus.from_sentences(
    ...     [["the", "cat", "sat"], ["the", "dog", "sat"], ["birds", "sing"]], min_count=2
    ... )
    >>> corpus.index_to_key, corpus.counts
    (['sat', 'the'], array([2, 2]))
    >>> corpus.ids, corpus.offsets
    (array([1, 0, 1, 0], dtype=int32), array([0, 2, 4]))
    >>> corpus.raw_words, corpus[1]
    (8, ['the', 'sat'])
    """

    # They fit together, on which the kernels rely.
    ids = fixed("ids")
    offsets = fixed("offsets")
    counts = fixed("counts")
    raw_words = fixed("raw_words")
    raw_sentences = fixed("raw_sentences")

    def __init__(
        self,
        ids: ArrayLike,
        offsets: ArrayLike,
        index_to_key: Sequence[str],
        counts: ArrayLike,
        *,
        raw_words: int | None = None,
        raw_sentences: int | None = None,
    ) -> None:
        keys = _check_keys("index_to_key", index_to_key)
        ids = checks.indices("ids", ids, len(keys), "words")
        offsets = checks.integers("offsets", offsets).astype(np.int64)
        ends = (0, ids.size) if ids.ndim == offsets.ndim == 1 and offsets.size else (None, None)
        if (*offsets[:1], *offsets[-1:]) != ends or (np.diff(offsets) < 1).any():
            raise ValueError(
                f"offsets must rise from 0 to the number of ids, {ids.size}, both of one axis; "
                f"got {offsets}, and ids of shape {ids.shape}"
            )
        counts = checks.integers("counts", counts).astype(np.int64)
        checks.shape("counts", counts, (len(keys),), "(number of words,)")
        if counts.min(initial=0) < 0:
            raise ValueError(f"counts must not be negative, got {counts.min()}")
        words = ids.size if raw_words is None else checks.not_negative_int("raw_words", raw_words)
        sentences = len(offsets) - 1
        if raw_sentences is not None:
            sentences = checks.not_negative_int("raw_sentences", raw_sentences)
        self._set(ids.astype(np.int32), offsets, keys, counts, words, sentences)

    def _set(self, ids, offsets, keys, counts, raw_words, raw_sentences):
        ids.flags.writeable = offsets.flags.writeable = False
        self._ids, self._offsets = ids, offsets
        self._keys, self._counts = keys, counts
        self._raw_words, self._raw_sentences = raw_words, raw_sentences
        return self

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike,
        *,
        min_count: int = 5,
        max_vocab_size: int | None = None,
        max_final_vocab: int | None = None,
        trim_rule: Callable[[str, int, int], int] | None = None,
        keys: Sequence[str] | None = None,
        update: bool = False,
        workers: int | None = None,
        memory_limit: int | None = None,
        folder: str | os.PathLike | None = None,
        progress: bool | None = None,
    ) -> Corpus:
        r"""Read a text with a sentence on each line.

        Words stand between white space, as ``str.split`` finds it.  Lines end with line feeds, and
        may be of any length.  Results depend neither on the number of threads nor on the backend.

        Parameters
        ----------
        path : str or path
            A file in UTF-8, compressed if it ends with ``.gz``, ``.bz2``, ``.xz`` or ``.zst``;
            ``"-"`` is standard input.  A byte order mark is no part of the text.
        min_count : int
            Words that come less often are left out.
        max_vocab_size : int, optional
            For less memory: whenever there are more different words at the end of a sentence (or
            of 10,000 words of it), the rarest ones are forgotten with their counts; those that
            came once when this happens for the second time, those that came twice at the third
            time, and so on.  The text is read twice then.
        max_final_vocab : int, optional
            Raises ``min_count`` until there are no more words than these.
        trim_rule : callable, optional
            ``trim_rule(word, count, min_count)`` returns 2 to keep a word, 1 to leave it out, and
            0 to let ``min_count`` decide.
        keys : sequence of str, optional
            A vocabulary that is there already.  Words get the numbers that they have in it, and
            others are left out, whatever their counts.
        update : bool
            Add new words behind those of ``keys``, if they come often enough, in the order in
            which they came first.
        workers : int, optional
            Threads; by default ``get_num_threads()``.
        memory_limit : int, optional
            Bytes that the encoded text may take in memory (4 for each word or sentence) before it
            is written to a temporary file; by default half of what this process may have.
        folder : str or path, optional
            Where this file is to lie; by default where Python puts temporary files.
        progress : bool, optional
            Whether to show a progress bar; by default if standard error is a terminal.

        Returns
        -------
        corpus : Corpus
            Words are sorted by falling count; among those that come equally often, the one that
            came first for the first time is the last, as in gensim.  With ``keys`` they stay in
            their order.  Sentences of which no word is left are left out.

        Raises
        ------
        OSError
            If the file can't be read, or the disk is full.
        TypeError, ValueError
            If the text isn't UTF-8, which names file and line, or is damaged; if it has no words,
            or none that stay; if an argument is wrong.

        Examples
        --------
        >>> import tempfile, pathlib, fastseq as fs
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name, "rain.txt")
        >>> size = path.write_text("the rain in Spain\nthe rain\n", "utf-8")
        >>> corpus = fs.Corpus.from_file(path, min_count=1)
        >>> corpus.index_to_key
        ['rain', 'the', 'Spain', 'in']
        >>> corpus.ids, corpus.offsets
        (array([1, 0, 3, 2, 1, 0], dtype=int32), array([0, 4, 6]))
        >>> fs.Corpus.from_file(path, keys=["Spain", "rain"]).ids
        array([1, 0, 1], dtype=int32)
        >>> folder.cleanup()
        """
        settings = _Settings(min_count, max_vocab_size, max_final_vocab, trim_rule, keys, update)
        store, workers = _check_resources(workers, memory_limit, folder, progress)
        with closing(store):
            return cls._read(TextFile(path), settings, store, workers, progress)

    @classmethod
    def from_sentences(
        cls,
        sentences: Iterable[Sequence[str]],
        *,
        min_count: int = 5,
        max_vocab_size: int | None = None,
        max_final_vocab: int | None = None,
        trim_rule: Callable[[str, int, int], int] | None = None,
        keys: Sequence[str] | None = None,
        update: bool = False,
        memory_limit: int | None = None,
        folder: str | os.PathLike | None = None,
        progress: bool | None = None,
    ) -> Corpus:
        """Read lists of words.

        Parameters
        ----------
        sentences : iterable of lists of str
            A generator will do, unless ``max_vocab_size`` is given.  Words may be any strings,
            with blanks in them too.
        min_count, max_vocab_size, max_final_vocab, trim_rule, keys, update
            As for :meth:`from_file`, but that the number of words is looked at only where a
            sentence ends.
        memory_limit, folder, progress
            As for :meth:`from_file`.

        Returns
        -------
        corpus : Corpus
            As from :meth:`from_file`.

        Raises
        ------
        TypeError, ValueError
            If a sentence is a string, or has something else than strings; if there are no words,
            or none that stay; if an argument is wrong.
        OSError
            If the disk is full.

        Examples
        --------
        >>> import fastseq as fs
        >>> pairs = (f"{name} speaks".split() for name in ["Ann", "Bob"])
        >>> corpus = fs.Corpus.from_sentences(pairs, min_count=1)
        >>> [corpus[i] for i in range(len(corpus))]
        [['Ann', 'speaks'], ['Bob', 'speaks']]
        """
        settings = _Settings(min_count, max_vocab_size, max_final_vocab, trim_rule, keys, update)
        store, _ = _check_resources(1, memory_limit, folder, progress)
        with closing(store):
            return cls._read(Sentences(sentences), settings, store, 1, progress)

    @property
    def index_to_key(self) -> list[str]:
        """The words (V,), by their numbers."""
        keys = self._keys  # a list, or packed until it is asked for
        if isinstance(keys, PackedWords):
            keys = self._keys = keys.unpacked()
        return keys

    @index_to_key.setter
    def index_to_key(self, keys: Sequence[str]) -> None:
        keys = _check_keys("index_to_key", keys)
        if len(keys) != len(self.counts):
            raise ValueError(
                f"index_to_key must have {len(self.counts)} words, as it had, got {len(keys)}"
            )
        self._keys = keys

    def __len__(self) -> int:
        """The number of sentences."""
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> list[str]:
        """The words of one sentence."""
        n = len(self)
        index = checks.integer("index", index)
        if not -n <= index < n:
            raise IndexError(f"index must lie between {-n} and {n - 1}, got {index}")
        begin, end = self.offsets[index % n : index % n + 2]
        return [self.index_to_key[number] for number in self.ids[begin:end].tolist()]

    def __repr__(self) -> str:
        return (
            f"<Corpus of {len(self):,} sentences, {len(self.ids):,} words, "
            f"{len(self._keys):,} of them different>"
        )

    @classmethod
    def _read(cls, source, settings, store, workers, progress):
        keys, counts = None if settings.update else settings.keys, None
        if settings.max_vocab_size is not None:
            source.check_rereadable()
            table = settings.count(source, progress)
            keys = table.words(settings.choose(source, table))
        if keys is None:
            tables = [settings.new_table() for _ in range(workers)]
        else:  # one for all threads, since it stays as it is
            tables, counts = [_frozen_table(keys)] * workers, np.zeros(len(keys), np.int64)
        with closing(make_reading_bar(progress, source.bytes())) as bar:
            words, chunk_tables = read_all(source, tables, store, counts, bar, workers)
        _check_any(source, words)
        if keys is None:
            maps = [tables[0].merge(table) for table in tables[1:]]
            order, counts = settings.choose(source, tables[0]), tables[0].counts()
        else:
            maps, order = [], settings.final_order(counts)
        keys = PackedWords(*tables[0].packed(order))
        del tables  # which may take more than all that is still to come
        numbers = np.full(len(counts), -1, np.int32)
        numbers[order] = np.arange(len(order))
        counts = counts[order]
        n_ids = int(counts.sum())
        if not n_ids:
            raise ValueError(f"{source.name}: {settings.why_none()}")
        numbers = [numbers, *(numbers[each] for each in maps)] if maps else [numbers] * workers
        renumber = _Renumbering(numbers, chunk_tables)
        store.append(np.full(1, SENTENCE_END, np.int32))  # the last line may have none
        ids, offsets = store.encode(n_ids, words, renumber)
        corpus = cls.__new__(cls)
        return corpus._set(ids, offsets, keys, counts, words, renumber.sentences)


class _Settings:
    """How a vocabulary is chosen."""

    def __init__(self, min_count, max_vocab_size, max_final_vocab, trim_rule, keys, update):
        self.min_count = checks.not_negative_int("min_count", min_count)
        self.max_vocab_size = _check_size("max_vocab_size", max_vocab_size)
        self.max_final_vocab = _check_size("max_final_vocab", max_final_vocab)
        if trim_rule is not None and not callable(trim_rule):
            raise TypeError(f"trim_rule must be a function or None, got {trim_rule!r}")
        self.trim_rule = trim_rule
        self.update = checks.flag("update", update)
        self.keys = None if keys is None else _check_keys("keys", keys)
        if update and keys is None:
            raise ValueError("update=True needs the keys that there are already; give them as keys")
        if keys is not None and not update:
            for name in ("max_vocab_size", "max_final_vocab", "trim_rule"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} chooses words, which keys have done already; leave it out, or add "
                        "words with update=True"
                    )
        self._known = len(self.keys) if update else 0

    def new_table(self, **options):
        """An empty table, or one of the words that are known already."""
        table = backend.word_kernels("text").WordTable(**options)
        if self._known:
            table.add_words(self.keys)
        return table

    def count(self, source, progress):
        """A table of the source's words, pruned whenever there are too many of them."""
        limit = self._known + min(self.max_vocab_size, MOST_WORDS)
        table = self.new_table(limit=limit, longest_piece=source.longest_piece)
        min_count = 1

        def prune():
            nonlocal min_count
            if len(table) > limit:
                stay = self._stay(table, table.counts(), min_count)
                stay[: self._known] = True
                table.prune(np.flatnonzero(stay))
                min_count += 1

        with closing(make_reading_bar(progress, source.bytes())) as bar:
            _check_any(source, count_all(source, table, prune, bar))
        return table

    def choose(self, source, table):
        """The numbers of the words that stay, in the order of the vocabulary."""
        counts, firsts = table.counts(), table.firsts()
        min_count = self._final_min_count(counts)
        stay = self._stay(table, counts, min_count)
        if self.update:
            new = np.flatnonzero(stay[self._known :]) + self._known
            return np.concatenate([np.arange(self._known), new[np.argsort(firsts[new])]])
        if not stay.any():
            raise ValueError(f"{source.name}: {self._why_none_stays(table, counts, min_count)}")
        order = np.lexsort((-firsts, -counts))
        return order[stay[order]]

    def final_order(self, counts):
        """The order of keys that were counted again."""
        if self.keys is not None:
            return np.arange(len(counts))
        return np.argsort(-counts, kind="stable")

    def why_none(self):
        """What is wrong where no word of a text is in the vocabulary."""
        if self.update:
            return (
                "expected words that are among the keys, or come often enough to join them, got "
                f"none with min_count={self.min_count}; lower it"
            )
        return "expected words that are among the keys, got none"

    def _why_none_stays(self, table, counts, min_count):
        """What is wrong where no word stays in a vocabulary that is new."""
        if not len(counts):  # all of them were pruned
            return "max_vocab_size left no word; raise it"
        most, word = counts.max(), int(np.argmax(counts))
        if most >= min_count:
            return f"trim_rule left out all of the {len(counts):,} words; let it keep some"
        if min_count > self.min_count:
            alike = np.count_nonzero(counts == most)
            return (
                f"max_final_vocab={self.max_final_vocab} left no word, since {alike:,} of them "
                f"come equally often, {most:,} times: raise it to {alike} at least"
            )
        (text,) = table.words(np.array([word]))
        return (
            f"no word comes min_count={min_count} times; the most frequent one, "
            f"{files.shortened(text)}, comes {most} times: lower min_count"
        )

    def _final_min_count(self, counts):
        counts = counts[counts > 0]  # some that were known may not have come
        if self.max_final_vocab is None or self.max_final_vocab >= len(counts):
            return self.min_count
        rank = len(counts) - 1 - self.max_final_vocab
        return max(self.min_count, int(np.partition(counts, rank)[rank]) + 1)

    def _stay(self, table, counts, min_count):
        """Which words stay, as an array of bool."""
        stay = counts >= min_count
        if self.trim_rule is not None:
            words = table.words(np.arange(len(table)))
            for i, (word, count) in enumerate(zip(words, counts.tolist(), strict=True)):
                rule = self.trim_rule(word, count, min_count)
                if isinstance(rule, bool) or rule not in (RULE_DEFAULT, RULE_DISCARD, RULE_KEEP):
                    raise ValueError(
                        f"trim_rule must return 0 (let min_count decide), 1 (leave out) or 2 "
                        f"(keep), got {rule!r} for {word!r}"
                    )
                if rule != RULE_DEFAULT:
                    stay[i] = rule == RULE_KEEP
        return stay


class _Renumbering:
    """From items, chunk by chunk, to ids and ends of sentences."""

    def __init__(self, numbers, chunk_tables):
        self._numbers = numbers
        self._tables = iter([*chunk_tables, 0])
        self._ids = self._last_end = self._open_words = self.sentences = 0

    def __call__(self, items, ids, ends):
        numbers = self._numbers[next(self._tables)]
        n, n_ends, sentences, self._open_words = backend.word_kernels("text").renumber(
            items, numbers, ids, ends, self._ids, self._last_end, self._open_words
        )
        self._ids += n
        self.sentences += sentences
        if n_ends:
            self._last_end = int(ends[n_ends - 1])
        return n, n_ends


def _frozen_table(keys):
    table = backend.word_kernels("text").WordTable()
    table.add_words(keys)
    table.freeze()
    return table


# --- arguments ------------------------------------------------------------------------------


def _check_resources(workers, memory_limit, folder, progress):
    workers = backend.get_num_threads() if workers is None else workers
    workers = backend.thread_count("workers", workers)
    if memory_limit is None:
        memory_limit = default_limit()
    memory_limit = checks.not_negative_int("memory_limit", memory_limit)
    if folder is not None and not os.path.isdir(checks.path("folder", folder, "folder")):
        raise ValueError(f"folder must be a folder, or None, got {os.fspath(folder)!r}")
    if progress is not None:
        checks.flag("progress", progress)
    return Store(memory_limit, folder), workers


def _check_size(name, value):
    return None if value is None else checks.positive_int(name, value)


def _check_keys(name, keys):
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):
        raise TypeError(f"{name} must be a list of strings, got {files.shortened(keys)}")
    keys = list(keys)
    for i, key in enumerate(keys):
        if not isinstance(key, str):
            raise TypeError(f"{name} must be strings, got {key!r} at {name}[{i}]")
        try:
            key.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{name} must be text, got {key!r} with half a character at {name}[{i}]"
            ) from None
    if not keys:
        raise ValueError(f"{name} must have at least one word, got none")
    if len(set(keys)) < len(keys):
        seen = set()
        key = next(key for key in keys if key in seen or seen.add(key))
        raise ValueError(f"{name} must differ from each other, got {key!r} twice")
    return keys


def _check_any(source, words):
    if not words:
        raise ValueError(f"{source.name}: expected words, got none")
