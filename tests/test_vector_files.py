"""Files of word vectors: what is written is what is read, here and by others, or an error."""

import errno
import gzip
import lzma
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from helpers import raises

import fastseq as fs
from fastseq import files
from fastseq.words import vector_files, word2vec_files
from fastseq.words.keyed_vectors import KeyedVectors

WORDS = ["the", "größe", "日本", "a\u00a0b", "x\u2028y", "0.5", "'", "</s>"]
EXTREMES = [0.1, -0.0, 1e-45, 3.4028235e38, 1.17549435e-38, 123456.79, 1 / 3]


MAGIC = {  # how compressed files begin
    ".gz": b"\x1f\x8b",
    ".bz2": b"BZh",
    ".xz": b"\xfd7zXZ",
    ".zst": b"\x28\xb5\x2f\xfd",
}


def make(count=8, size=7, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    words = [*WORDS, *(f"w{i}" for i in range(count - len(WORDS)))][:count]
    vectors = rng.standard_normal((count, size)).astype(dtype)
    vectors[1] = np.resize(EXTREMES, size)
    return KeyedVectors.from_arrays(words, vectors)


def assert_same(one, other):
    assert one.index_to_key == other.index_to_key
    assert one.vectors.dtype == other.vectors.dtype
    np.testing.assert_array_equal(one.vectors.view(np.uint8), other.vectors.view(np.uint8))


@pytest.fixture(name="small_chunks")
def small_chunks_fixture(monkeypatch):
    """Chunks that end amidst words and vectors."""
    monkeypatch.setattr(word2vec_files, "CHUNK", 61)
    monkeypatch.setattr(word2vec_files, "ROWS", 3)


@pytest.fixture(name="gensim")
def gensim_fixture():
    return pytest.importorskip("gensim.models.keyedvectors").KeyedVectors


# --- word2vec's formats -------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
@pytest.mark.parametrize("binary", [False, True])
def test_what_is_written_is_read(tmp_path, binary, ending, small_chunks):
    wv, path = make(20), tmp_path / f"vectors{ending}"
    wv.save_word2vec_format(path, binary=binary)
    assert_same(KeyedVectors.load_word2vec_format(str(path), binary=binary), wv)
    first = KeyedVectors.load_word2vec_format(path, binary=binary, limit=11)
    assert first.index_to_key == wv.index_to_key[:11]
    np.testing.assert_array_equal(first.vectors, wv.vectors[:11])
    opener = {"": open, ".gz": gzip.open, ".xz": lzma.open}[ending]
    with opener(path, "rb") as file:
        assert file.readline() == b"20 7\n"


@pytest.mark.parametrize("binary", [False, True])
def test_chunks_make_no_difference(tmp_path, monkeypatch, binary):
    wv, path = make(40), tmp_path / "vectors"
    wv.save_word2vec_format(path, binary=binary)
    for size in [*range(1, 40), 1000, 1 << 20]:
        monkeypatch.setattr(word2vec_files, "CHUNK", size)
        assert_same(KeyedVectors.load_word2vec_format(path, binary=binary), wv)


@pytest.mark.parametrize(("count", "size"), [(2, 2), (8, 7), (300, 50)])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("binary", [False, True])
def test_the_other_format_is_recognised(tmp_path, binary, ending, count, size):
    wv, path = make(count, size), tmp_path / f"vectors.{'txt' if binary else 'bin'}{ending}"
    wv.save_word2vec_format(path, binary=binary)
    there = "binary, not text" if binary else "text, not binary"
    way_out = rf"seems to be {there}; .*load_word2vec_format\(path, binary={binary}\) reads it$"
    with pytest.raises(ValueError, match=way_out):
        KeyedVectors.load(path)
    with pytest.raises(ValueError, match=way_out):
        KeyedVectors.load_word2vec_format(path, binary=not binary)
    assert_same(KeyedVectors.load_word2vec_format(path, binary=binary), wv)


@pytest.mark.parametrize("binary", [False, True])
def test_a_damaged_file_is_not_taken_for_the_other_format(tmp_path, binary):
    wv, path = make(), tmp_path / "vectors"
    wv.save_word2vec_format(path, binary=binary)
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], data + b"more 1 2"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="vectors") as error:
            KeyedVectors.load_word2vec_format(path, binary=binary)
        assert "seems to be" not in str(error.value)


def test_float64(tmp_path):
    wv, path = make(dtype=np.float64), tmp_path / "vectors.txt"
    wv.save_word2vec_format(path)
    assert_same(KeyedVectors.load_word2vec_format(path, datatype=np.float64), wv)
    single = KeyedVectors.load_word2vec_format(path)
    np.testing.assert_array_equal(single.vectors, wv.vectors.astype(np.float32))


def test_numbers_that_are_too_large_for_float32(tmp_path):
    wv, path = make(dtype=np.float64), tmp_path / "vectors.bin"
    wv["a\u00a0b"] = np.array([1, np.inf, 2, 3, -1e300, 5, 6])
    path.write_text("old")
    with raises(ValueError, "can't hold -1e+300", repr("a\u00a0b"), ".safetensors"):
        wv.save(path)
    assert path.read_text() == "old"
    wv["a\u00a0b"] = np.full(7, np.inf)
    wv.save(path)
    assert np.isinf(KeyedVectors.load(path)["a\u00a0b"]).all()
    for ending in ("txt", "txt.gz"):  # where the size is known, and where it isn't
        path = tmp_path / f"vectors.{ending}"
        wv["a\u00a0b"] = np.array([1, np.inf, 2, 3, -1e300, 5, 6])
        wv.save(path)
        with raises(ValueError, f"{ending}: holds numbers that float32 can't hold", "np.float64"):
            KeyedVectors.load(path)
        assert_same(KeyedVectors.load_word2vec_format(path, datatype=np.float64), wv)
        wv["a\u00a0b"] = np.array([1, np.inf, 2, np.nan, -1, 5, 1e-300])
        wv.save(path)
        np.testing.assert_array_equal(
            KeyedVectors.load(path)["a\u00a0b"], [1, np.inf, 2, np.nan, -1, 5, 0]
        )


def test_files_as_word2vec_c_writes_them(tmp_path):
    numbers = np.float32([0.5, -2, 1 / 3])
    text = b"2 3\n</s> 0.500000 -2.000000 0.333333 \nfox 1.000000 2.000000 3.000000 \n"
    binary = b"2 3\n</s> " + numbers.tobytes() + b"\nfox " + (2 * numbers).tobytes() + b"\n"
    (tmp_path / "c.txt").write_bytes(text)
    (tmp_path / "c.bin").write_bytes(binary)
    wv = KeyedVectors.load(tmp_path / "c.txt")
    assert wv.index_to_key == ["</s>", "fox"] and wv["fox"].tolist() == [1, 2, 3]
    wv = KeyedVectors.load(tmp_path / "c.bin")
    assert wv.index_to_key == ["</s>", "fox"] and (wv["fox"] == 2 * numbers).all()
    wv.save(tmp_path / "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == binary


def test_other_kinds_of_text(tmp_path):
    path = tmp_path / "vectors.txt"
    expected = [[1, 2], [-0.5, 4e-3], [5, 6]]
    for text in (
        b"3 2\r\na 1 2\r\nb c -.5 4e-3\r\nd +5. 6\r\n",  # also a word with a blank
        b"3 2\na 1 2\n\nb c -0.5 0.004\n  \nd 5 6",
        b"3 2\na 1\t2\nb c -0.5   0.004\nd 5 6\n\n \n",
    ):
        path.write_bytes(text)
        wv = KeyedVectors.load(path)
        assert wv.index_to_key == ["a", "b c", "d"]
        np.testing.assert_array_equal(wv.vectors, np.float32(expected))
    path.write_bytes(text.split(b"\n", 1)[1])
    glove = KeyedVectors.load_word2vec_format(path, no_header=True)
    assert_same(glove, wv)
    assert len(KeyedVectors.load_word2vec_format(path, no_header=True, limit=2)) == 2
    glove.vectors_for_all(["a", "d"]).save_word2vec_format(path, write_header=False)
    assert path.read_bytes() == b"a 1 2\nd 5 6\n"
    path.write_bytes(b"0 5\n")
    assert len(KeyedVectors.load(path)) == 0 and KeyedVectors.load(path).vector_size == 5


@pytest.mark.parametrize("binary", [False, True])
def test_gensim_reads_ours_and_we_read_gensims(tmp_path, gensim, binary):
    path, ours = tmp_path / "vectors", make(50)
    ours.save_word2vec_format(path, binary=binary)
    theirs = gensim.load_word2vec_format(str(path), binary=binary)
    assert theirs.index_to_key == ours.index_to_key
    np.testing.assert_array_equal(theirs.vectors, ours.vectors)
    theirs.save_word2vec_format(str(path), binary=binary)
    assert_same(KeyedVectors.load_word2vec_format(path, binary=binary), ours)
    theirs.save_word2vec_format(str(path) + ".gz", binary=binary)
    assert_same(KeyedVectors.load_word2vec_format(f"{path}.gz", binary=binary), ours)


def test_counts_go_along(tmp_path, gensim):
    wv, path, counts = make(6), tmp_path / "vectors", tmp_path / "counts"
    wv.expandos["count"] = np.array([3, 9, 3, 1, 9, 2])
    wv.save_word2vec_format(path, counts)
    assert counts.read_text().split("\n")[:2] == ["größe 9", "x\u2028y 9"]
    again = KeyedVectors.load_word2vec_format(path, counts)
    assert again.index_to_key == [wv.index_to_key[i] for i in (1, 4, 0, 2, 5, 3)]
    for key in wv.index_to_key:
        assert again.get_vecattr(key, "count") == wv.get_vecattr(key, "count")
        assert again[key].tolist() == wv[key].tolist()
    wv.save_word2vec_format(path, sort_attr="none")
    assert KeyedVectors.load_word2vec_format(path).index_to_key == wv.index_to_key
    with raises(ValueError, "fvocab", "'none'"):
        wv.save_word2vec_format(path, counts, sort_attr="none")
    counts.write_text("the 3\n")
    with raises(ValueError, "counts: expected a count", "'größe'"):
        KeyedVectors.load_word2vec_format(path, counts)
    counts.write_text("the three\n")
    with raises(ValueError, "counts, line 1", "word and its count"):
        KeyedVectors.load_word2vec_format(path, counts)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint64, np.int8, np.int64, float, object])
def test_keys_are_written_by_falling_counts(tmp_path, dtype):
    wv, path = make(5), tmp_path / "vectors.txt"
    wv.expandos["count"] = np.array([0, 5, 3, 9, 0]).astype(dtype)
    wv.save(path)
    order = [1, 2, 3, 0, 4] if dtype is bool else [3, 1, 2, 0, 4]
    assert KeyedVectors.load(path).index_to_key == [wv.index_to_key[i] for i in order]


def test_keys_cannot_be_sorted_by_texts(tmp_path):
    wv, path = make(5), tmp_path / "vectors.txt"
    wv.expandos["pos"] = np.array([*"abcde"], object)
    with raises(TypeError, "'pos'", "must hold numbers", "object", "sort_attr=None"):
        wv.save_word2vec_format(path, sort_attr="pos")
    wv.save_word2vec_format(path, sort_attr=None)
    assert KeyedVectors.load(path).index_to_key == wv.index_to_key


@pytest.mark.parametrize("values", [[3.0, 1.0, 2.0], [True, False, True], [2**40, 0, 1]])
def test_counts_of_any_type_are_written_as_whole_numbers(tmp_path, values):
    wv, path, counts = make(3), tmp_path / "vectors.txt", tmp_path / "counts"
    wv.expandos["count"] = np.array(values)
    wv.save_word2vec_format(path, counts)
    wv.save(tmp_path / "vectors.npy")
    for again in (
        KeyedVectors.load_word2vec_format(path, counts),
        KeyedVectors.load(tmp_path / "vectors.npy"),
    ):
        assert [again.get_vecattr(key, "count") for key in wv.index_to_key] == values


@pytest.mark.parametrize(
    "values", [[1, 2.5, 0], [1, np.nan, 0], [1, np.inf, 0], [1, -2, 0], [1, 1e30, 0], [1, "b", 0]]
)
def test_counts_that_are_no_whole_numbers(tmp_path, values):
    wv = make(3)
    wv.expandos["count"] = np.array(values)
    if wv.expandos["count"].dtype.kind != "U":  # which can't be sorted either
        with raises(ValueError, "'count' must hold whole numbers", "key 1"):
            wv.save_word2vec_format(tmp_path / "vectors", tmp_path / "counts")
    with raises(ValueError, "'count' must hold whole numbers", "key "):
        wv.save(tmp_path / "vectors.npy")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_byte_order_mark_is_skipped(tmp_path, ending):
    path, counts = tmp_path / f"vectors.txt{ending}", tmp_path / f"counts{ending}"
    for header in (b"1 2\n", b""):
        for file, text in ((path, header + b"a 1 2\n"), (counts, b"a 3\n")):
            text = b"\xef\xbb\xbf" + text
            file.write_bytes(gzip.compress(text) if ending else text)
        wv = KeyedVectors.load_word2vec_format(path, counts, no_header=not header)
        assert wv.index_to_key == ["a"] and wv.get_vecattr("a", "count") == 3


def test_a_wrong_datatype_is_named(tmp_path):
    with raises(ValueError, "datatype must be float32 or float64, got 'f2'"):
        KeyedVectors.load_word2vec_format(tmp_path / "vectors", datatype="f2")


def test_bytes_that_are_no_utf8(tmp_path):
    for binary in (False, True):
        path = tmp_path / "vectors"
        make(3).save_word2vec_format(path, binary=binary)
        path.write_bytes(path.read_bytes().replace("ö".encode(), "ö".encode("latin-1")))
        place = "word 2" if binary else "line 3"
        with raises(ValueError, f"vectors, {place}", "utf8", "0xf6", "unicode_errors='replace'"):
            KeyedVectors.load_word2vec_format(path, binary=binary)
        for errors, word in (("replace", "gr\ufffdße"), ("ignore", "grße")):
            wv = KeyedVectors.load_word2vec_format(path, binary=binary, unicode_errors=errors)
            assert wv.index_to_key == ["the", word, "日本"]
    with raises(ValueError, "encoding and unicode_errors", "utf-99"):
        KeyedVectors.load_word2vec_format(path, encoding="utf-99")
    for encoding in ("rot13", "base64"):
        with raises(ValueError, "encoding and unicode_errors", encoding):
            KeyedVectors.load_word2vec_format(path, encoding=encoding)
    with raises(ValueError, "digits and blanks are ASCII, got 'utf-16'", "iconv -f utf-16"):
        KeyedVectors.load_word2vec_format(path, encoding="utf-16")
    with raises(TypeError, "encoding must be a string, got None"):
        KeyedVectors.load_word2vec_format(path, encoding=None)
    with raises(TypeError, "unicode_errors must be a string, got 3"):
        KeyedVectors.load_word2vec_format(path, unicode_errors=3)
    path.write_bytes("1 1\ngröße 1".encode("latin-1"))
    wv = KeyedVectors.load_word2vec_format(path, encoding="latin-1")
    assert wv.index_to_key == ["größe"]


def test_words_that_come_twice(tmp_path):
    path = tmp_path / "vectors"
    path.write_text("4 1\na 1\nb 2\na 3\nb 4\n")
    with pytest.warns(UserWarning, match="vectors: 2 words come again, such as 'a'"):
        wv = KeyedVectors.load_word2vec_format(path)
    assert wv.index_to_key == ["a", "b"] and wv.vectors.tolist() == [[1], [2]]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("word", ["new york", "", "a\nb", "a\tb", "a\rb"])
def test_words_that_the_format_cannot_hold(tmp_path, word, binary):
    path = tmp_path / "vectors"
    path.write_text("old")
    wv = KeyedVectors.from_arrays(["a", word], np.eye(2))
    with raises(ValueError, "white space", repr(word), "key 1", ".safetensors"):
        wv.save_word2vec_format(path, binary=binary)
    wv = KeyedVectors.from_arrays(["ä", "a\ud800"], np.eye(2))
    with raises(ValueError, "is UTF-8 and can't hold", "'a\\ud800'", "key 1", ".safetensors"):
        wv.save_word2vec_format(path, binary=binary)
    assert path.read_text() == "old"


# --- damaged files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["line 1", "how many words", "no_header=True"]),
        (b"a 1 2\n", ["line 1", "how many words", "'a 1 2"]),
        (b"1 2 3\na 1 2\n", ["line 1", "how many words"]),
        (b"-1 2\n", ["line 1", "how many words"]),
        (b"9" * 2000, ["line 1", "how many words"]),
        (b"2 0\na\nb\n", ["line 1", "at least one number"]),
        (b"3 2\na 1 2\nb 3 4\n    \n", ["truncated", "2 of 3"]),
        (b"3 2\na 1 2\nb 3 4\nc 5\n", ["line 4", "a word and 2 numbers", "'c 5'"]),
        (b"2 2\na 1 2\nb 3 x\n", ["line 3", "a word and 2 numbers", "'b 3 x'"]),
        (b"2 2\na 1 2\n 3 4\n", ["line 3", "a word and 2 numbers"]),
        (b"2 2\na 1 2x\nb 3 4\n", ["line 2", "a word and 2 numbers"]),
        (b"2 2\na 1 2\nb 3\tx 4\n", ["line 3", "a word and 2 numbers"]),
        (b"1 2\na 1 2\nb 3 4\n", ["after the 1 vectors", "there is more"]),
        (b"1 2\na 1 2\n" + b"\n" * 99 + b"b", ["after the 1 vectors", "there is more"]),
        (b"1 2\na 1 2\nb 3 4", ["after the 1 vectors", "there is more"]),
        (b"99999999999 300\na 1 2\n", ["99,999,999,999 vectors", "18 bytes, 22 are there"]),
        (b"1 99999999999\na 1 2\n", ["99,999,999,999 numbers", "20 are there"]),
    ],
)
def test_damaged_text(tmp_path, content, parts, small_chunks):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    if "bytes, 22" in parts[-1]:
        parts = [parts[0], "22 are there"]
    with raises(ValueError, "vectors.txt", *parts):
        KeyedVectors.load(path)


@pytest.mark.parametrize(
    ("header", "content", "parts"),
    [
        (True, b"2 1\na 1 2\nb 3 4\n", ["line 2", "1 in each line, got 2", "right number"]),
        (True, b"3 2\n\nroute 66 1 2\nab c 2 3\nb 4 5\n", None),
        (True, b"3 2\n. . . 1 2\nat a 1 2\nc d 4 5\n", None),
        (True, b"3 2\n1 2 3 4\nb 3 4\n\n5 6 7 8\n", ["line 2", "2 in each line, got 3"]),
        (False, b"2 2\na 1 2\nb 3 4\n", ["line 2", "1 in each line, got 2", "leave out no_header"]),
        (False, b"9 2\na 1 2\n", ["line 2", "leave out no_header"]),
        (False, b"a 1\n\nb 3 4\nc 5 6\n", ["line 3", "1 in each line, got 2", "repair it"]),
        (False, b"2 2\n3 4\n5 6\n", None),
        (False, b"2 2\n", None),
    ],
)
def test_lines_with_more_numbers_than_the_first_one_says(tmp_path, header, content, parts):
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    if parts is None:
        wv = KeyedVectors.load_word2vec_format(path, no_header=not header)
        assert len(wv) == len(content.split(b"\n")) - content.count(b"\n\n") - 1 - header
        return
    for limit in (None, 1):
        with raises(ValueError, "vectors.txt, ", *parts):
            KeyedVectors.load_word2vec_format(path, no_header=not header, limit=limit)


def test_damaged_binaries(tmp_path):
    path, wv = tmp_path / "vectors.bin", make(12)
    wv.save(path)
    whole = path.read_bytes()
    for size in range(len(whole) - 1):
        path.write_bytes(whole[:size])
        with raises(ValueError, "vectors.bin"):
            KeyedVectors.load(path)
    path.write_bytes(whole[:-1])  # gensim leaves out the ends of lines
    assert_same(KeyedVectors.load(path), wv)
    path.write_bytes(whole.replace("größe".encode(), b"a b"))
    with raises(ValueError, "vectors.bin"):
        KeyedVectors.load(path)
    path.write_bytes(whole + b"more")
    with raises(ValueError, "vectors.bin", "after the 12 vectors", "there is more"):
        KeyedVectors.load(path)
    path.write_bytes(b"2 3\n" + b"x" * 200_000)
    with raises(ValueError, "vectors.bin, word 1", "65,536 bytes without one"):
        KeyedVectors.load(path)
    path.write_bytes(b"999999999 300\na " + bytes(1200))
    with raises(ValueError, "truncated", "999,999,999 vectors"):
        KeyedVectors.load(path)


@pytest.mark.parametrize("binary", [False, True])
def test_lines_without_an_end(tmp_path, binary, monkeypatch):
    monkeypatch.setattr(word2vec_files, "CHUNK", 1000)
    monkeypatch.setattr(word2vec_files, "LONGEST_WORD", 1000)
    path = tmp_path / "vectors"
    path.write_bytes(b"2 3\n" + b"x" * 20_000)
    with raises(ValueError, "vectors, "):
        KeyedVectors.load_word2vec_format(path, binary=binary)


def test_forged_headers_of_compressed_files_allocate_nothing(tmp_path):
    for form, text in (
        ("bin", b"99999999999 300\na " + bytes(1200)),
        ("bin", b"1 99999999999\na " + bytes(1200)),
        ("txt", b"99999999999 2\na 1 2\n"),
        ("txt", b"1 99999999999\na 1 2\n"),
    ):
        path = tmp_path / f"vectors.{form}.gz"
        path.write_bytes(gzip.compress(text))
        with raises(ValueError, "vectors"):
            KeyedVectors.load(path)
    whole = gzip.compress(text * 1000)
    path.write_bytes(whole[: len(whole) // 2])
    with raises(ValueError, "damaged or cut off"):
        KeyedVectors.load_word2vec_format(path, no_header=True)
    path.write_bytes(b"no gzip")
    with raises(ValueError, "damaged or cut off"):
        KeyedVectors.load(path)


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "vectors.bin"
    make(9).save(path)
    code = f"""
import resource, signal, sys
import numpy as np
from fastseq.words.keyed_vectors import KeyedVectors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
wv = KeyedVectors.from_arrays([str(i) for i in range(5000)], np.ones((5000, 50), np.float32))
try:
    wv.save({str(path)!r})
except OSError as error:
    sys.exit(error.errno)
"""
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert done.returncode == errno.EFBIG, done.stderr
    assert_same(KeyedVectors.load(path), make(9))
    assert os.listdir(tmp_path) == ["vectors.bin"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 50_000  # of this process


@pytest.mark.parametrize("form", ["bin", "txt"])
@pytest.mark.parametrize(("ending", "start"), MAGIC.items())
def test_compressed_files_are_what_their_names_say(tmp_path, ending, start, form):
    if ending == ".zst" and sys.version_info < (3, 14):
        pytest.importorskip("backports.zstd")
    wv = make(20)
    wv.expandos["count"] = np.arange(20, 0, -1)
    path, counts = tmp_path / f"vectors.{form}{ending}", tmp_path / f"counts{ending.upper()}"
    for _ in range(2):
        wv.save(path)
        assert_same(KeyedVectors.load(path), wv)
        wv.save_word2vec_format(path, counts, binary=form == "bin")
        again = KeyedVectors.load_word2vec_format(path, counts, binary=form == "bin")
        assert_same(again, wv)
        assert again.expandos["count"].tolist() == wv.expandos["count"].tolist()
        assert path.read_bytes().startswith(start) and counts.read_bytes().startswith(start)


def test_missing_zstd_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "vectors.txt.zst"
    path.write_bytes(b"old")
    for name in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with raises(ImportError, "writing .zst files needs backports.zstd", "fastseq[zstd]"):
        make().save(path)
    assert folder_content(tmp_path) == {path.name: b"old"}


def test_writing_that_fails_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(ZeroDivisionError), files.replacing(path) as file:
        file.write(b"half")
        1 / 0  # noqa: B018
    assert not os.listdir(tmp_path)
    for ending in ("gz", "bz2", "xz"):
        with (
            pytest.raises(ZeroDivisionError),
            word2vec_files._writing(tmp_path / f"file.{ending}") as file,
        ):
            file.write(b"half")
            1 / 0  # noqa: B018
        assert not os.listdir(tmp_path)


def folder_content(folder):
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


@pytest.mark.parametrize("name", ["vectors.npy", "vectors.txt"])
def test_two_files_are_replaced_together_or_not_at_all(tmp_path, monkeypatch, name):
    wv, counts = make(), tmp_path / "counts"

    def save(number):
        wv.vectors = np.full_like(wv.vectors, number)
        wv.expandos["count"] = np.full(8, number)
        if name.endswith(".npy"):
            wv.save(tmp_path / name)
        else:
            wv.save_word2vec_format(tmp_path / name, counts)

    save(1)
    before, rest = folder_content(tmp_path), [2]
    assert len(before) == 2

    def sync(descriptor):  # the second file's data don't reach the disk
        rest[0] -= 1
        if not rest[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as context:
        context.setattr(os, "fsync", sync)
        second = (set(before) - {name}).pop()
        with raises(OSError, "No space left", "nothing was replaced", second):
            save(2)
    assert folder_content(tmp_path) == before
    save(2)
    assert all(content != before[name] for name, content in folder_content(tmp_path).items())


def test_a_file_of_counts_that_cannot_be_written(tmp_path):
    wv, path = make(), tmp_path / "vectors"
    wv.save_word2vec_format(path)
    before = folder_content(tmp_path)
    wv.expandos["count"] = np.arange(8)
    (tmp_path / "link").symlink_to(path)
    for same in (path, f"{tmp_path}/./vectors", tmp_path / "link"):
        with raises(ValueError, "fvocab must not be the file of fname", "another name"):
            wv.save_word2vec_format(path, same)
    (tmp_path / "link").unlink()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        wv.save_word2vec_format(path, tmp_path / "nowhere" / "counts")
    assert folder_content(tmp_path) == before


# --- .npy and safetensors -----------------------------------------------------------------------


def test_npy(tmp_path):
    path, wv = tmp_path / "vectors.npy", make(30)
    wv.add_vectors(["new york", "", "a\nb"], np.ones((3, 7)))
    wv.save(path)
    assert_same(KeyedVectors.load(path), wv)
    assert KeyedVectors.load(path).expandos == {}
    mapped = KeyedVectors.load(path, mmap="r")
    assert_same(mapped, wv)
    assert mapped.most_similar("the") == wv.most_similar("the")
    with open(path, "r+b") as file:  # what is mapped changes with the file
        file.seek(-4, os.SEEK_END)
        file.write(np.float32(8).tobytes())
    assert mapped.vectors[-1, -1] == 8
    wv.expandos["count"] = np.arange(33)
    wv.save(path)
    assert KeyedVectors.load(path).expandos["count"].tolist() == list(range(33))
    wv.set_vecattr("the", "rate", 0.5)
    with raises(ValueError, "vectors.npy", "rate", ".safetensors"):
        wv.save(path)


@pytest.mark.parametrize("name", ["empty.npy", "empty.txt", "empty.bin"])
def test_no_vectors_at_all(tmp_path, name):
    KeyedVectors(3).save(tmp_path / name)
    again = KeyedVectors.load(tmp_path / name)
    assert again.vectors.shape == (0, 3) and again.index_to_key == [] and again.expandos == {}
    again.add_vectors(["a"], [[1, 2, 3]])
    assert again["a"].tolist() == [1, 2, 3]


def test_keys_of_other_vectors_are_noticed(tmp_path):
    """As when a process was killed between the two files."""
    path, wv = tmp_path / "vectors.npy", make(30)
    wv.save(path)
    keys = path.with_suffix(".json")
    before = keys.read_text("utf-8")
    wv.vectors = wv.vectors + 1
    wv.save(path)
    assert_same(KeyedVectors.load(path), wv)
    keys.write_text(before, "utf-8")
    for mmap in (None, "r"):
        with raises(ValueError, "vectors.npy", "other vectors", "save them again"):
            KeyedVectors.load(path, mmap=mmap)
    fs.Vocabulary(wv.index_to_key).save(keys)  # of someone's own making
    assert_same(KeyedVectors.load(path), wv)


def test_damaged_npy(tmp_path):
    path, wv = tmp_path / "vectors.npy", make()
    wv.save(path)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:60], b"", b"text", whole.replace(b"(8, 7)", b"(8999, 7)")):
        path.write_bytes(content)
        for mmap in (None, "r"):
            with raises(ValueError, "vectors.npy"):
                KeyedVectors.load(path, mmap=mmap)
    for header in (b"{'shape': (8, 7", b"{[]: 1}", b"(" * 500, b"  x\n y"):
        path.write_bytes(whole[:10] + header.ljust(118) + whole[128:])
        with raises(ValueError, "no .npy file, or truncated"):
            KeyedVectors.load(path)
    np.save(path, np.ones(3))
    with raises(ValueError, "vectors.npy", "(N, D)", "(3,)"):
        KeyedVectors.load(path)
    np.save(path, np.array([{}], object), allow_pickle=True)
    with raises(ValueError, "vectors.npy"):
        KeyedVectors.load(path)
    np.save(path, np.ones((9, 7)))
    with raises(ValueError, "9 vectors", "8 keys", "vectors.json"):
        KeyedVectors.load(path)
    (tmp_path / "vectors.json").unlink()
    with pytest.raises(FileNotFoundError):
        KeyedVectors.load(path)


def test_safetensors(tmp_path):
    pytest.importorskip("safetensors")
    path, wv = tmp_path / "vectors.safetensors", make(dtype=np.float64)
    wv.add_vectors(["new york", "", "\ud800"], np.ones((3, 7)))
    wv.expandos["count"] = np.arange(11)
    wv.set_vecattr("the", "rate", 0.5)
    wv.save(path)
    again = KeyedVectors.load(path)
    assert_same(again, wv)
    assert again.expandos.keys() == {"count", "rate"}
    assert again.get_vecattr("\ud800", "count") == 10 and again.get_vecattr("the", "rate") == 0.5
    empty = KeyedVectors(5)
    empty.save(path)
    assert KeyedVectors.load(path).vectors.shape == (0, 5)
    wv.set_vecattr("the", "pos", "DET")
    with raises(ValueError, "pos", "numbers"):
        wv.save(path)
    fs.save_tensors(path, {"a": np.ones(3)})
    with raises(ValueError, "vectors.safetensors: holds arrays", "KeyedVectors.load"):
        KeyedVectors.load(path)
    wv.vectors_for_all(["the"]).save_word2vec_format(path)
    with raises(ValueError, "not a safetensors file"):
        KeyedVectors.load(path)


def test_endings(tmp_path):
    assert vector_files.format_of("a.BIN.gz") == "binary" and vector_files.format_of("a.vec")
    for name in ("vectors", "vectors.kv", "vectors.npy.gz", "vectors.gz"):
        for method in (make().save, KeyedVectors.load):
            with raises(ValueError, name, ".safetensors, .npy, .bin, .txt, .vec"):
                method(tmp_path / name)
    with raises(ValueError, "mmap", ".npy", "a.bin"):
        KeyedVectors.load("a.bin", mmap="r")
    with raises(ValueError, "mmap must be one of 'r', 'c'"):
        KeyedVectors.load("a.npy", mmap="r+")
    with raises(ValueError, "no_header", "text files"):
        KeyedVectors.load_word2vec_format("a.bin", binary=True, no_header=True)
    with pytest.raises(FileNotFoundError):
        KeyedVectors.load(tmp_path / "none.bin")
