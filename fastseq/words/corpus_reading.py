"""Reading a corpus: from files and from lists of words to items, perhaps in several threads."""

from __future__ import annotations

import codecs
import os
import stat
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np

from fastseq import backend, checks, files
from fastseq.words.corpus_store import Slabs

BLOCK = 1 << 18  # bytes of text, or words, that are read at a time
PIECE = 10_000  # words of a line after which the table's size is looked at, as gensim does


class Chunk(NamedTuple):
    """Some of the corpus."""

    data: bytes | list
    begin: int  # where in the data reading begins
    base: int  # the position of the data's beginning in the corpus
    done: int  # bytes of the file that were read up to its end


class Read(NamedTuple):
    """What was made of a chunk."""

    chunk: Chunk
    table: int  # which one numbered its words
    items: np.ndarray
    end: int
    n_words: int
    wrong: bool


class TextFile:
    """A file with a sentence on each line, its words separated by white space."""

    longest_piece = PIECE

    def __init__(self, path):
        hint = "; lists of words are for Corpus.from_sentences"
        self.path = checks.path("path", path, hint=hint)
        self.name = files.display_name(path)
        self.threads = True
        # for errors: whole lines, and bytes of the last one, before the chunk in question
        self._lines = self._line_begin = 0
        self._first_bytes = b""

    def bytes(self):
        """How many there are on the disk, or None if that can't be known."""
        return None if self.path == files.STDIN else os.stat(self.path).st_size or None

    def check_rereadable(self):
        if self.path == files.STDIN or not stat.S_ISREG(os.stat(self.path).st_mode):
            raise ValueError(
                f"{self.name}: max_vocab_size needs to read the text twice, which can be done with "
                "files alone; write it to one first, or leave max_vocab_size out"
            )

    def chunks(self):
        self._lines = self._line_begin = base = 0
        for data, done in files.blocks(self.path, BLOCK):
            begin = 0
            if base == 0:
                begin = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
                self._first_bytes, self._line_begin = data[:4], begin
            yield Chunk(data, begin, base, done)
            base += len(data)

    def room(self, chunk):
        """As many items as a chunk can give."""
        return len(chunk.data) + 1

    def read(self, table, chunk, items):
        return table.add_text(chunk.data, chunk.begin, chunk.base, items)

    def passed(self, chunk, n_items, n_words):
        """A chunk was read as a whole."""
        self._lines += n_items - n_words
        newline = chunk.data.rfind(b"\n")
        if newline >= 0:
            self._line_begin = chunk.base + newline + 1

    def error(self, chunk, n_items, n_words, end):
        """What is wrong with the word at ``end``, up to where the chunk was read."""
        try:
            chunk.data[end:].decode()
        except UnicodeDecodeError as error:
            at = end + error.start
        newline = chunk.data.rfind(b"\n", 0, at)
        line_begin = chunk.base + newline + 1 if newline >= 0 else self._line_begin
        number = self._lines + n_items - n_words + 1
        position = chunk.base + at - line_begin
        return files.not_utf8(self.path, number, position, chunk.data[at], self._first_bytes)


class Sentences:
    """Lists of words, from something that can be iterated over."""

    longest_piece = None
    name = "sentences"

    def __init__(self, sentences):
        if isinstance(sentences, (str, bytes, os.PathLike)):
            raise TypeError(
                f"sentences must be lists of words, got {files.shortened(sentences)}; "
                "files are for Corpus.from_file"
            )
        try:
            iter(sentences)
        except TypeError:
            raise TypeError(
                f"sentences must be lists of words, got {type(sentences).__name__}"
            ) from None
        self.sentences = sentences
        self.threads = False  # Python's objects belong to one of them

    def bytes(self):
        return None

    def check_rereadable(self):
        if iter(self.sentences) is self.sentences:
            raise TypeError(
                "sentences must be lists of words that can be read twice if max_vocab_size is "
                f"given, got {type(self.sentences).__name__}, which can be read once only; make a "
                "list of it, give an object whose __iter__ starts anew, or leave max_vocab_size out"
            )

    def chunks(self):
        batch, size, base, number = [], 0, 0, 0
        for number, sentence in enumerate(self.sentences):
            batch.append(_as_tokens(number, sentence))
            size += len(batch[-1])
            if size >= BLOCK or len(batch) >= BLOCK:
                yield Chunk(batch, 0, base, number + 1)
                batch, size, base = [], 0, base + size
        if batch:
            yield Chunk(batch, 0, base, number + 1)

    def room(self, chunk):
        return sum(map(len, chunk.data)) + len(chunk.data)

    def read(self, table, chunk, items):
        return table.add_sentences(chunk.data, chunk.begin, chunk.base, items)

    def passed(self, chunk, n_items, n_words):
        pass

    def error(self, chunk, n_items, n_words, end):
        number = chunk.done - len(chunk.data) + end
        for i, token in enumerate(chunk.data[end]):
            where = f"sentences[{number}][{i}]"
            if not isinstance(token, str):
                return TypeError(
                    f"{where} must be a string, got {token!r} of type {type(token).__name__}; "
                    "convert it first, as with str"
                )
            try:
                token.encode()
            except UnicodeEncodeError as error:
                return ValueError(
                    f"{where} must be text, got {token!r}, in which {token[error.start]!r} is half "
                    "a character; read files with encoding='utf-8'"
                )
        raise AssertionError("nothing is wrong with this sentence")


def _as_tokens(number, sentence):
    if isinstance(sentence, (list, tuple)):
        return sentence
    if isinstance(sentence, (str, bytes)):
        raise TypeError(
            f"sentences[{number}] must be a list of words, got the string "
            f"{files.shortened(sentence)}; split it first, as with text.split()"
        )
    try:
        return sentence.tolist() if isinstance(sentence, np.ndarray) else list(sentence)
    except TypeError:
        raise TypeError(
            f"sentences[{number}] must be a list of words, got {type(sentence).__name__}"
        ) from None


def read_all(source, tables, store, counts, bar, workers):
    """Read the whole source into the store; returns the number of words, and each chunk's table.

    Tables may be the same one many times, if it is frozen: it doesn't count then, but words are
    added to ``counts``, if it isn't None.
    """
    free = SimpleQueue()
    for number in range(len(tables)):
        free.put((number, Slabs()))
    thread = threading.local()

    def read(chunk):
        # A table belongs to a thread: it must get its chunks in their order, as a thread does.
        if not hasattr(thread, "own"):
            thread.own = free.get_nowait()
        number, slabs = thread.own
        room = slabs.room(source.room(chunk))
        end, n_items, n_words, wrong = source.read(tables[number], chunk, room)
        return Read(chunk, number, slabs.take(n_items), end, n_words, wrong)

    words, numbers = 0, []
    with closing(source.chunks()) as chunks, closing(_in_order(read, chunks, workers)) as results:
        for done in results:
            chunk, n_items = done.chunk, len(done.items)
            if done.wrong:
                raise source.error(chunk, n_items, done.n_words, done.end)
            source.passed(chunk, n_items, done.n_words)
            store.append(done.items)
            if counts is not None:
                backend.word_kernels("text").count_items(done.items, counts)
            numbers.append(done.table)
            words += done.n_words
            bar.update(chunk.done, words)
    return words, numbers


def count_all(source, table, prune, bar):
    """Read the whole source for its counts alone; ``prune()`` where a sentence or piece ends."""
    words = 0
    with closing(source.chunks()) as chunks:
        for chunk in chunks:
            words += _count(source, table, prune, chunk)
            bar.update(chunk.done, words)
    if table.piece:  # the last line may have no end
        prune()
    return words


def _count(source, table, prune, chunk):
    n_items = n_words = 0
    rest = chunk
    while rest.begin < len(chunk.data):
        open_words = table.piece
        end, more_items, more_words, wrong = source.read(table, rest, None)
        n_items, n_words = n_items + more_items, n_words + more_words
        if wrong:
            raise source.error(chunk, n_items, n_words, end)
        rest = rest._replace(begin=end)
        if source.longest_piece is None:
            rest = rest._replace(base=rest.base + more_words)  # which counts words
            prune()
        elif table.piece == 0 and open_words + more_words:  # or else it was looked at before
            prune()
    source.passed(chunk, n_items, n_words)
    return n_words


def _in_order(function, arguments, workers):
    """As map, but in threads; few results are waiting at a time."""
    if workers == 1:
        yield from map(function, arguments)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque()
        try:
            for argument in arguments:
                waiting.append(pool.submit(function, argument))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
