"""Corpora: reading, counting, choosing words and encoding, compared with plain Python."""

import bz2
import contextlib
import errno
import gzip
import importlib
import io
import itertools
import lzma
import os
import queue
import sys
import time
from collections import Counter

import numpy as np
import pytest
from helpers import raises

import fastseq as fs
from fastseq import progress
from fastseq._reference import corpus as reference_corpus
from fastseq.backend import word_kernels
from fastseq.words import corpus_reading, corpus_store
from fastseq.words.packed_words import PackedWords

EXTENSION = "fastseq._word2vec"


@pytest.fixture(params=["cython", "numpy"])
def backend(request):
    """The compiled table and the one in plain Python in turn."""
    before = fs.get_backend()
    try:
        if request.param == "cython":
            importlib.import_module(EXTENSION)
        fs.set_backend(request.param)
    except ImportError as error:
        pytest.skip(f"the {request.param} backend is not available: {error}")
    yield request.param
    fs.set_backend(before)


@pytest.fixture
def new_table(backend):
    return word_kernels("text").WordTable


@pytest.fixture
def write(tmp_path):
    """A function that writes a file, from text or bytes, and returns its path."""

    def write(content, name="text.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


# --- the oracle -----------------------------------------------------------------------------


def split(text):
    """Sentences as gensim's LineSentence has them, but for its limit of 10,000 words."""
    return [line.split() for line in text.split("\n") if line.split()]


def pruned_counts(sentences, limit, piece=None):
    """gensim's way of counting with max_vocab_size."""
    counts, least = {}, 1
    for sentence in sentences:
        for begin in range(0, max(1, len(sentence)), piece or max(1, len(sentence))):
            for word in sentence[begin : begin + (piece or len(sentence))]:
                counts[word] = counts.get(word, 0) + 1
            if limit is not None and len(counts) > limit:
                counts = {word: n for word, n in counts.items() if n >= least}
                least += 1
    return counts


def naive(sentences, *, min_count=5, max_final_vocab=None, max_vocab_size=None, piece=None):
    """(ids, offsets, words, counts) of sentences."""
    seen = pruned_counts(sentences, max_vocab_size, piece)
    ranked = sorted(seen.values(), reverse=True)
    if max_final_vocab is not None and max_final_vocab < len(ranked):
        min_count = max(min_count, ranked[max_final_vocab] + 1)
    words = [word for word, n in seen.items() if n >= min_count][::-1]  # later ones first
    words.sort(key=lambda word: -seen[word])
    counts = Counter(itertools.chain.from_iterable(sentences))
    words.sort(key=lambda word: -counts[word])  # which pruning may have changed
    return (*encode(sentences, words), words, [counts[word] for word in words])


def encode(sentences, words):
    numbers = {word: i for i, word in enumerate(words)}
    kept = [[numbers[word] for word in sentence if word in numbers] for sentence in sentences]
    kept = [sentence for sentence in kept if sentence]
    ids = np.array(list(itertools.chain.from_iterable(kept)), np.int32)
    return ids, np.cumsum([0, *map(len, kept)])


def assert_same(corpus, expected):
    ids, offsets, words, counts = expected
    assert corpus.index_to_key == words
    assert corpus.counts.dtype == np.int64 and corpus.counts.tolist() == counts
    assert corpus.ids.dtype == np.int32 and corpus.offsets.dtype == np.int64
    np.testing.assert_array_equal(corpus.ids, ids)
    np.testing.assert_array_equal(corpus.offsets, offsets)
    assert not corpus.ids.flags.writeable and not corpus.offsets.flags.writeable


BLANKS = [chr(c) for c in range(0x3001) if chr(c).isspace()]
NO_BLANKS = ["\x00", "\x08", "\x0e", "\x1b", "\x7f", "\x84", "\x86", "\x9f", "\xa1", "\u1681"]
NO_BLANKS += ["\u180e", "\u200b", "\u2027", "\u202a", "\u2060", "\u3001", "\ufeff", "\U0010ffff"]
STEMS = ["a", "b", "ab", "seven77", "eight888", "nine99999", "sixteen_16161616", "long" * 30]
STEMS += ["seventeen_1717171", "æ", "ææææ", "日本語", "語", "\U0001f600", "a\x00", "seven77\x00"]


def random_text(seed, size=3000):
    """Words of all kinds, with all kinds of white space between them."""
    rng = np.random.default_rng(seed)
    stems = STEMS + [f"w{i}" for i in range(100)] + [f"x{c}y" for c in NO_BLANKS]
    ranks = np.minimum(rng.zipf(1.4, size), len(stems)) - 1
    order = rng.permutation(len(stems))
    gaps = [" "] * 12 + ["\n"] * 3 + ["  ", "\n\n", " \n \n", "\r\n", "\t\n"]
    gaps = [str(gap) for gap in rng.choice(gaps, size)]
    for place in rng.integers(0, size, size // 20):
        gaps[place] = str(rng.choice(BLANKS))
    return "".join(stems[order[rank]] + gap for rank, gap in zip(ranks, gaps, strict=True))


# --- tokens ---------------------------------------------------------------------------------


def read_words(table, data):
    """What a table makes of a text, as words and line ends."""
    items = np.empty(len(data) + 1, np.int32)
    end, n, n_words, wrong = table.add_text(data, 0, 0, items)
    assert (end, wrong) == (len(data), False) and n_words == np.count_nonzero(items[:n] >= 0)
    words = [*table.words(np.arange(len(table))), "\n"]
    return [words[item] for item in items[:n]]


def test_white_space_is_that_of_python(new_table, backend):
    codes = [*range(0x3100)]
    if backend == "cython":
        codes += [*range(0x3100, 0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 61)]
    characters = [chr(c) for c in codes if chr(c) != "\n"]
    text = "\n".join(f"a{c}b" for c in characters)
    expected = [[*line.split(), "\n"] for line in text.split("\n")]
    found = read_words(new_table(), text.encode())
    assert found == list(itertools.chain.from_iterable(expected))[:-1]


@pytest.mark.parametrize("gap", [" ", "\u3000", "\n", "\t"])
def test_words_of_all_lengths_at_all_places(new_table, gap):
    letters = "abcdefghijklmnopqrstuvwxyz" * 2
    for length in range(1, 40):
        for letter in ("", "æ"):
            word = letters[: length - 1] + letter
            text = f"{gap}{word}{gap}x{gap}{word}\x00{gap}{word[:-1]}"
            found = [w for w in read_words(new_table(), text.encode()) if w != "\n"]
            assert found == text.split()


def test_words_that_differ_in_zeros_alone_are_different(new_table):
    words = ["\x00" * n for n in range(1, 20)] + ["a" + "\x00" * n for n in range(20)]
    table = new_table()
    read_words(table, " ".join(words).encode())
    assert table.words(np.arange(len(table))) == words


def test_words_whose_hashes_are_equal_are_different(new_table):
    words = ["aaaaaaaaa00rapaa", "00000448wTN8b6fP"]  # of the hash of table.pxi
    table = new_table()
    text = " ".join([*words, *words[::-1]])
    assert read_words(table, text.encode()) == text.split()
    assert table.words(np.arange(len(table))) == words


# --- whole texts ----------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 7, 100, 1 << 20])
@pytest.mark.parametrize("seed", range(3))
def test_files(write, backend, monkeypatch, seed, block):
    monkeypatch.setattr(corpus_reading, "BLOCK", block)
    text = random_text(seed, 500 if block < 100 else 3000)
    corpus = fs.Corpus.from_file(write(text), min_count=2, workers=1)
    sentences = split(text)
    assert_same(corpus, naive(sentences, min_count=2))
    assert corpus.raw_words == sum(map(len, sentences))
    assert corpus.raw_sentences == len(sentences)


@pytest.mark.parametrize("memory_limit", [None, 0, 4000])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_and_disk_change_nothing(write, backend, monkeypatch, workers, memory_limit):
    monkeypatch.setattr(corpus_reading, "BLOCK", 300)
    text = random_text(5)
    options = {"min_count": 3, "workers": workers, "memory_limit": memory_limit}
    corpus = fs.Corpus.from_file(write(text), **options)
    assert_same(corpus, naive(split(text), min_count=3))
    on_disk = memory_limit is not None
    assert isinstance(corpus.ids, np.memmap) == isinstance(corpus.offsets, np.memmap) == on_disk
    keys = corpus.index_to_key[::-2]
    corpus = fs.Corpus.from_file(write(text), keys=keys, **options)
    counts = Counter(itertools.chain.from_iterable(split(text)))
    assert_same(corpus, (*encode(split(text), keys), keys, [counts[key] for key in keys]))


def test_a_thread_that_waits_changes_nothing(write, backend, monkeypatch):
    calls = itertools.count()

    class Slow(queue.SimpleQueue):
        """Whoever comes first has its chunk by then, and is overtaken."""

        def get(self, *args):
            if next(calls) == 0:
                time.sleep(0.1)
            return super().get(*args)

        def get_nowait(self):
            return self.get(False)

    monkeypatch.setattr(corpus_reading, "SimpleQueue", Slow)
    monkeypatch.setattr(corpus_reading, "BLOCK", 300)
    text = random_text(5)
    corpus = fs.Corpus.from_file(write(text), min_count=1, workers=2)
    assert_same(corpus, naive(split(text), min_count=1))


@pytest.mark.parametrize("memory_limit", [None, 0, 4000])
def test_lists_of_words(backend, monkeypatch, memory_limit):
    monkeypatch.setattr(corpus_reading, "BLOCK", 300)
    sentences = split(random_text(6))
    sentences[3:3] = [[], ["New York", "a\nb", "", "w1"] * 5, ["", "æ\u3000"] * 5]
    forms = [
        iter,
        list,
        lambda all_: (np.array(each, object) for each in all_),
        lambda all_: map(iter, all_),
    ]
    for form in forms:
        corpus = fs.Corpus.from_sentences(form(sentences), min_count=3, memory_limit=memory_limit)
        assert_same(corpus, naive(sentences, min_count=3))
        assert corpus.raw_words == sum(map(len, sentences))
        assert corpus.raw_sentences == len([each for each in sentences if each])
    assert corpus[1] == [w for w in sentences[1] if w in corpus.index_to_key]


def test_other_kinds_of_strings(backend):
    class Word(str):
        pass

    sentences = [[np.str_("a"), "b", Word("ä")], ["a", np.str_("ä"), Word("a\0")]]
    corpus = fs.Corpus.from_sentences(sentences, min_count=1)
    assert_same(corpus, naive([list(map(str, sentence)) for sentence in sentences], min_count=1))
    assert {type(key) for key in corpus.index_to_key} == {str}
    with raises(ValueError, "sentences[0][1] must be text", "half a character"):
        fs.Corpus.from_sentences([["a", np.str_("\ud800")]])


def test_slabs_of_memory(backend, write, monkeypatch):
    monkeypatch.setattr(corpus_reading, "BLOCK", 300)
    monkeypatch.setattr(corpus_store, "SLAB", 4096)
    text = random_text(7)
    assert_same(fs.Corpus.from_file(write(text), min_count=1), naive(split(text), min_count=1))


def test_long_lines_and_long_words_are_whole(backend, write, monkeypatch):
    monkeypatch.setattr(corpus_reading, "BLOCK", 1000)
    long_word = "æ" * 50_000
    text = " ".join(["a", "b"] * 15_000 + [long_word] * 2)
    corpus = fs.Corpus.from_file(write(text), min_count=1)
    assert_same(corpus, naive([text.split()], min_count=1))
    assert len(corpus) == 1 and corpus[0][-1] == long_word


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \n\n"])
def test_ends_of_files(backend, write, end):
    corpus = fs.Corpus.from_file(write("a b\r\nc" + end), min_count=1)
    assert [corpus[i] for i in range(len(corpus))] == [["a", "b"], ["c"]]


def test_byte_order_mark_is_no_part_of_the_text(backend, write):
    corpus = fs.Corpus.from_file(write("\ufeffa \ufeff"), min_count=1)
    assert sorted(corpus.index_to_key) == ["a", "\ufeff"]


@pytest.mark.parametrize(
    "suffix, compress",
    [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".XZ", lzma.compress)],
)
def test_compressed_files(backend, write, monkeypatch, suffix, compress):
    monkeypatch.setattr(corpus_reading, "BLOCK", 1000)
    text = random_text(8)
    corpus = fs.Corpus.from_file(write(compress(text.encode()), "text" + suffix))
    assert_same(corpus, naive(split(text)))


def test_standard_input(backend, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b a")))
    assert fs.Corpus.from_file("-", min_count=2).index_to_key == ["a"]


# --- vocabularies ---------------------------------------------------------------------------


@pytest.mark.parametrize("min_count, max_final_vocab", [(0, 20), (3, 20), (1, 1), (2, 10**6)])
def test_max_final_vocab(backend, min_count, max_final_vocab):
    sentences = split(random_text(9))
    options = {"min_count": min_count, "max_final_vocab": max_final_vocab}
    expected = naive(sentences, **options)
    assert len(expected[2]) <= max_final_vocab
    assert_same(fs.Corpus.from_sentences(sentences, **options), expected)


@pytest.mark.parametrize("block", [50, 1 << 20])
@pytest.mark.parametrize("limit", [1, 8, 30, 60])
def test_max_vocab_size(backend, write, monkeypatch, limit, block):
    monkeypatch.setattr(corpus_reading, "BLOCK", block)
    monkeypatch.setattr(corpus_reading.TextFile, "longest_piece", 10)
    for seed, end in [(10, "\n"), (11, " new"), (12, "")]:
        text = random_text(seed, 400).rstrip() + end
        options = {"min_count": 1, "max_vocab_size": limit}
        sentences = split(text)
        counts = pruned_counts(sentences, limit, 10)
        if counts:
            corpus = fs.Corpus.from_file(write(text), **options)
            assert_same(corpus, naive(sentences, **options, piece=10))
        else:
            with raises(ValueError, "max_vocab_size left no word; raise it"):
                fs.Corpus.from_file(write(text), **options)
        sentences.insert(1, [])
        if pruned_counts(sentences, limit):
            corpus = fs.Corpus.from_sentences(sentences, **options)
            assert_same(corpus, naive(sentences, **options))


def test_a_limit_beyond_any_vocabulary(backend):
    sentences = [["a", "b", "a"]]
    huge = {"max_vocab_size": 10**30, "max_final_vocab": 10**30}
    assert_same(
        fs.Corpus.from_sentences(sentences, min_count=2, **huge), naive(sentences, min_count=2)
    )


def test_words_before_and_after_pruning_keep_their_order(backend):
    sentences = [["p", "q", "r", "x", "x"], ["s"], ["y", "y"]]
    corpus = fs.Corpus.from_sentences(sentences, min_count=2, max_vocab_size=3)
    assert corpus.index_to_key == ["y", "x"]  # as without pruning: the later one first
    assert corpus.index_to_key == fs.Corpus.from_sentences(sentences, min_count=2).index_to_key


def test_trim_rule(backend):
    sentences = [["a"] * 4, ["b"] * 3, ["c"] * 2, ["d"]]
    calls = []

    def rule(word, count, min_count):
        calls.append((word, count, min_count))
        return {"a": 1, "d": 2}.get(word, 0)

    corpus = fs.Corpus.from_sentences(sentences, min_count=3, trim_rule=rule)
    assert corpus.index_to_key == ["b", "d"]
    assert calls == [("a", 4, 3), ("b", 3, 3), ("c", 2, 3), ("d", 1, 3)]
    corpus = fs.Corpus.from_sentences(sentences, min_count=3, trim_rule=rule, max_vocab_size=1)
    assert corpus.index_to_key == ["b", "d"]
    with raises(ValueError, "trim_rule must return 0", "1 (leave out)", "got True for 'a'"):
        fs.Corpus.from_sentences(sentences, trim_rule=lambda *_: True)


@pytest.mark.parametrize("max_vocab_size", [None, 3])
def test_update_adds_words_behind_the_known_ones(backend, write, monkeypatch, max_vocab_size):
    monkeypatch.setattr(corpus_reading, "BLOCK", 5)
    text = "new old new\nrare old2 other\nother other new\n"
    options = {"keys": ["absent", "old2", "old"], "update": True, "min_count": 2}
    for corpus in (
        fs.Corpus.from_file(write(text), **options, max_vocab_size=max_vocab_size, workers=2),
        fs.Corpus.from_sentences(split(text), **options, max_vocab_size=max_vocab_size),
    ):
        words = ["absent", "old2", "old", "new", "other"]
        assert_same(corpus, (*encode(split(text), words), words, [0, 1, 1, 3, 3]))
        assert corpus.raw_words == 9


def test_known_words_are_not_pruned(backend):
    sentences = [["a", "b"], ["c", "d"], ["e", "f", "f"], ["f", "e", "known"]]
    options = {"keys": ["known"], "update": True, "min_count": 1, "max_vocab_size": 1}
    corpus = fs.Corpus.from_sentences(sentences, **options)
    expected = [word for word, n in pruned_counts([s[:2] for s in sentences], 1).items() if n]
    assert corpus.index_to_key == ["known", *expected]


def test_counts_beyond_32_bits(new_table):
    table = new_table()
    read_words(table, b"a abcdefgh")
    for _ in range(31):  # 2^32 - 1
        table.merge(table)
        read_words(table, b"a abcdefgh")
    assert table.counts().tolist() == [2**32 - 1] * 2
    read_words(table, b"a abcdefgh b")
    assert table.counts().tolist() == [2**32, 2**32, 1]
    table.merge(table)
    table.prune(np.array([1, 2]))
    assert table.words(np.arange(2)) == ["abcdefgh", "b"]
    assert table.counts().tolist() == [2**33, 2]
    other = new_table()
    read_words(other, b"c b")
    assert other.merge(table).tolist() == [2, 1]
    assert other.counts().tolist() == [1, 3, 2**33]


def test_many_words(new_table):
    words = [f"{'x' * (i % 12)}{i}" for i in range(20_000)]
    table = new_table()
    read_words(table, " ".join(words).encode())
    assert len(table) == 20_000 and table.words(np.arange(20_000)) == words
    table.prune(np.arange(0, 20_000, 3))
    assert table.words(np.arange(len(table))) == words[::3]
    read_words(table, " ".join(words).encode())
    assert table.words(np.arange(len(table))) == words[::3] + [
        word for i, word in enumerate(words) if i % 3
    ]
    assert table.counts().tolist() == [2] * len(words[::3]) + [1] * (20_000 - len(words[::3]))


def test_packed_words_are_the_words(new_table):
    words = ["a", "größer", "日本語", "abcdefg", "abcdefgh", "x" * 1000, "naïve"]
    table = new_table()
    read_words(table, " ".join(words).encode())
    for numbers in (range(7), [5, 0, 2], [3], []):
        numbers = np.array(numbers, np.int64)
        packed = PackedWords(*table.packed(numbers))
        assert len(packed) == len(numbers) and packed.unpacked() == table.words(numbers)
    text, ends = table.packed(np.array([2, 0]))
    assert (text, ends.tolist(), ends.dtype) == ("日本語a".encode(), [9, 10], np.int64)


# --- the class ------------------------------------------------------------------------------


def test_words_of_a_corpus_are_a_list_from_the_first_look_on():
    corpus = fs.Corpus.from_sentences([["a", "b", "a"]], min_count=1)
    assert repr(corpus) == "<Corpus of 1 sentences, 3 words, 2 of them different>"
    corpus.index_to_key[1] = "c"
    assert corpus.index_to_key == ["a", "c"] and corpus[0] == ["a", "c", "a"]
    corpus.index_to_key = ["d", "e"]
    assert corpus[0] == ["d", "e", "d"]


def test_a_corpus_of_ones_own():
    corpus = fs.Corpus([1, 0, 1], [0, 1, 3], ["a", "b"], [1, 2])
    assert len(corpus) == 2 and corpus[0] == ["b"] and corpus[-1] == ["a", "b"]
    assert corpus.ids.dtype == np.int32 and (corpus.raw_words, corpus.raw_sentences) == (3, 2)
    assert repr(corpus) == "<Corpus of 2 sentences, 3 words, 2 of them different>"
    for index in (2, -3):
        with raises(IndexError, "index must lie between -2 and 1"):
            corpus[index]


@pytest.mark.parametrize(
    "changes, parts",
    [
        ({"ids": [0, 2, 1]}, ["ids must lie between 0 and 1", "2 words", "got 2 at ids[1]"]),
        ({"offsets": [0, 2]}, ["offsets must rise from 0 to the number of ids, 3"]),
        ({"offsets": [0, 1, 1, 3]}, ["offsets must rise"]),
        ({"offsets": [1, 3]}, ["offsets must rise"]),
        ({"offsets": []}, ["offsets must rise"]),
        ({"ids": [[1, 0, 1]]}, ["both of one axis"]),
        ({"counts": [1]}, ["counts must have shape (number of words,) = (2,), got (1,)"]),
        ({"index_to_key": ["a", "a"]}, ["index_to_key must differ", "got 'a' twice"]),
    ],
)
def test_parts_that_do_not_fit(changes, parts):
    arguments = {"ids": [1, 0, 1], "offsets": [0, 1, 3], "index_to_key": ["a", "b"]}
    with raises(ValueError, *parts):
        fs.Corpus(**{**arguments, "counts": [1, 2], **changes})


# --- what is wrong with a text --------------------------------------------------------------

WRONG = [b"\x80", b"\xc3", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xe2\x80"]
WRONG += [b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5", b"\xff", b"\xe6\x97", b"\xf0\x9f\x98"]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("workers, block", [(1, 1 << 20), (1, 20), (3, 20)])
def test_bytes_that_are_not_utf8_are_named(backend, write, monkeypatch, wrong, workers, block):
    monkeypatch.setattr(corpus_reading, "BLOCK", block)
    rest = b"long sentence \xe6\x97\xa5 " * 5
    for before, behind in [(b"", b""), (b"", b" c"), (b"ab\xc3\xa6", b"c d"), (rest, b"\nd")]:
        content = b"\xef\xbb\xbfa b\n\n" + rest + b"\n" + before + wrong + behind
        content += b"\n" + rest * 4 + b"\xff"
        for text in (content, content[3:], before + wrong + behind):
            path = write(text)
            with pytest.raises(ValueError) as expected:
                fs.read_text(path)
            for options in ({}, {"max_vocab_size": 5}, {"keys": ["a"]}):
                with pytest.raises(ValueError) as caught:
                    fs.Corpus.from_file(path, workers=workers, **options)
                assert str(caught.value) == str(expected.value)


def test_utf16_is_recognised(backend, write):
    path = write("a b".encode("utf-16"))
    with raises(ValueError, "text.txt, line 1", "0xff at position 1", "iconv -f UTF-16"):
        fs.Corpus.from_file(path)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf", "\u3000".encode()])
def test_texts_without_words(backend, write, content):
    for options in ({}, {"max_vocab_size": 5}, {"keys": ["a"]}):
        with raises(ValueError, "text.txt: expected words, got none"):
            fs.Corpus.from_file(write(content), **options)
    with raises(ValueError, "sentences: expected words, got none"):
        fs.Corpus.from_sentences([[], []])


def test_no_word_that_stays(backend, write):
    with raises(ValueError, "no word comes min_count=5 times", "'b', comes 2 times: lower"):
        fs.Corpus.from_file(write("a b b"))
    with raises(ValueError, "expected words that are among the keys, got none"):
        fs.Corpus.from_file(write("a b b"), keys=["c"])
    with raises(ValueError, "or come often enough to join them, got none with min_count=5"):
        fs.Corpus.from_file(write("a b b"), keys=["c"], update=True)


def test_what_left_no_word_is_to_blame(backend):
    def fail(*parts, **options):
        with raises(ValueError, "sentences: ", *parts):
            fs.Corpus.from_sentences([["a", "b", "a", "c", "b"]], **options)

    fail(
        "max_final_vocab=1", "2 of them", "2 times", "raise it to 2", max_final_vocab=1, min_count=1
    )
    fail("trim_rule left out all of the 3 words", trim_rule=lambda *_: 1, min_count=1)
    fail("min_count=3", "comes 2 times", "lower min_count", min_count=3, max_final_vocab=1)
    fail("min_count=3", "lower min_count", trim_rule=lambda *_: 0, min_count=3)
    fail("max_vocab_size left no word", max_vocab_size=1, trim_rule=lambda *_: 1)


def test_sentences_that_are_none(backend):
    good = ["a", "b"]
    with raises(TypeError, "sentences[1] must be a list of words, got the string 'a b'", "split"):
        fs.Corpus.from_sentences([good, "a b"])
    with raises(TypeError, "sentences must be lists of words, got 'a.txt'", "Corpus.from_file"):
        fs.Corpus.from_sentences("a.txt")
    with raises(TypeError, "sentences must be lists of words, got int"):
        fs.Corpus.from_sentences(3)
    with raises(TypeError, "sentences[0] must be a list of words, got int"):
        fs.Corpus.from_sentences([3])
    for options in ({}, {"max_vocab_size": 5}, {"keys": ["a"]}):
        with raises(TypeError, "sentences[2][1] must be a string, got 5 of type int"):
            fs.Corpus.from_sentences([good, good, ["a", 5]], **options)
        with raises(ValueError, "sentences[1][0] must be text", r"'\ud800' is half"):
            fs.Corpus.from_sentences([good, ["a\ud800"]], **options)


def test_sentences_that_can_be_read_once_only(backend, write, monkeypatch):
    with raises(TypeError, "read twice if max_vocab_size is given, got list_iterator"):
        fs.Corpus.from_sentences(iter([["a"]]), max_vocab_size=5)
    with raises(ValueError, "standard input: max_vocab_size needs to read the text twice"):
        fs.Corpus.from_file("-", max_vocab_size=5)


def test_files_that_can_not_be_read(backend, tmp_path, write):
    with pytest.raises(FileNotFoundError):
        fs.Corpus.from_file(tmp_path / "missing.txt")
    with pytest.raises(IsADirectoryError):
        fs.Corpus.from_file(tmp_path)
    with raises(TypeError, "path must be the path of a file, got [['a']]", "from_sentences"):
        fs.Corpus.from_file([["a"]])
    whole = gzip.compress(random_text(1).encode())
    with raises(ValueError, "cut.gz: damaged or cut off"):
        fs.Corpus.from_file(write(whole[:-20], "cut.gz"), workers=2)


@pytest.mark.parametrize("full_after", [0, 3000])
def test_a_full_disk(backend, write, monkeypatch, tmp_path, full_after):
    pwrite = os.pwrite

    def full(descriptor, data, at):
        if at + len(data) > full_after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, data[:100], at)  # part of it, as systems may

    monkeypatch.setattr(os, "pwrite", full)
    with raises(OSError, "No space left", "give a folder on another disk", str(tmp_path)) as caught:
        fs.Corpus.from_file(write(random_text(2)), memory_limit=0, folder=tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == ["text.txt"]


def test_files_that_are_written_in_parts(backend, write, monkeypatch):
    pwrite, pread = os.pwrite, os.pread
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:101], at))
    monkeypatch.setattr(os, "pread", lambda file, n, at: pread(file, min(n, 99), at))
    text = random_text(2)
    assert_same(fs.Corpus.from_file(write(text), memory_limit=0), naive(split(text)))


@pytest.mark.parametrize(
    "options, error, parts",
    [
        ({"min_count": -1}, ValueError, ["min_count must be at least 0"]),
        ({"max_vocab_size": 0}, ValueError, ["max_vocab_size must be at least 1"]),
        ({"max_final_vocab": 0}, ValueError, ["max_final_vocab must be at least 1"]),
        ({"trim_rule": 1}, TypeError, ["trim_rule must be a function or None"]),
        ({"update": True}, ValueError, ["update=True needs the keys"]),
        ({"keys": "abc"}, TypeError, ["keys must be a list of strings, got 'abc'"]),
        ({"keys": 5}, TypeError, ["keys must be a list of strings, got 5"]),
        ({"keys": b"abc"}, TypeError, ["keys must be a list of strings, got b'abc'"]),
        ({"keys": []}, ValueError, ["keys must have at least one word"]),
        ({"keys": ["a", "b", "a"]}, ValueError, ["keys must differ", "got 'a' twice"]),
        ({"keys": ["a", 1]}, TypeError, ["keys must be strings, got 1 at keys[1]"]),
        ({"keys": ["\ud800"]}, ValueError, ["keys must be text", "at keys[0]"]),
        ({"keys": ["a"], "max_vocab_size": 1}, ValueError, ["max_vocab_size chooses words"]),
        ({"workers": 0}, ValueError, ["workers must be at least 1"]),
        ({"workers": 1000}, ValueError, ["workers must be at most 256"]),
        ({"memory_limit": -1}, ValueError, ["memory_limit must be at least 0"]),
        ({"folder": "/nowhere"}, ValueError, ["folder must be a folder, or None"]),
        ({"progress": "yes"}, TypeError, ["progress must be True or False"]),
    ],
)
def test_arguments(options, error, parts):
    with raises(error, *parts):
        fs.Corpus.from_file("no such file", **options)


# --- interruptions, progress, the missing extension -----------------------------------------


def test_an_interruption_leaves_nothing_behind(backend, write, monkeypatch, tmp_path):
    monkeypatch.setattr(corpus_reading, "BLOCK", 100)
    updates = itertools.count()

    def interrupt(self, done, words):
        if next(updates) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(progress.NoReadingBar, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fs.Corpus.from_file(write(random_text(3)), workers=2, memory_limit=0, folder=tmp_path)
    assert os.listdir(tmp_path) == ["text.txt"]


def test_progress_bar(write, capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    path = write(random_text(4))
    fs.Corpus.from_file(path, progress=True)
    err = capsys.readouterr().err
    assert "reading: 100%" in err and "words/s" in err
    fs.Corpus.from_sentences([["a"] * 5], progress=True)
    assert "5.00word" in capsys.readouterr().err
    fs.Corpus.from_file(path, progress=False)
    assert capsys.readouterr().err == ""


def test_without_the_extension_plain_python_serves(monkeypatch):
    monkeypatch.setattr("fastseq.backend._name", "cython")
    monkeypatch.setitem(sys.modules, EXTENSION, None)
    monkeypatch.delattr("fastseq._word2vec", raising=False)
    with pytest.warns(RuntimeWarning, match="slower Python code for text"):
        assert word_kernels("text") is reference_corpus


def test_both_tables_have_the_same_methods():
    compiled = pytest.importorskip(EXTENSION)
    ours = {name for name in dir(reference_corpus.WordTable) if not name.startswith("_")}
    assert ours <= {name for name in dir(compiled.WordTable) if not name.startswith("_")}


# --- against gensim -------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"max_final_vocab": 25}, {"max_vocab_size": 40}])
def test_vocabulary_is_gensims(write, backend, options):
    with contextlib.suppress(DeprecationWarning):
        word2vec = pytest.importorskip("gensim.models.word2vec")
    path = write(random_text(13))
    theirs = word2vec.Word2Vec(min_count=2, **options)
    theirs.build_vocab(corpus_file=str(path))
    ours = fs.Corpus.from_file(path, min_count=2, **options)
    assert (ours.raw_words, ours.raw_sentences) == (theirs.corpus_total_words, theirs.corpus_count)
    counts = [theirs.wv.get_vecattr(word, "count") for word in theirs.wv.index_to_key]
    if "max_vocab_size" in options:  # ours are counted again
        assert set(ours.index_to_key) == set(theirs.wv.index_to_key)
        assert sum(counts) < ours.counts.sum()
    else:
        assert ours.index_to_key == theirs.wv.index_to_key
        assert ours.counts.tolist() == counts
