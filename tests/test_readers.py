"""Readers of text, columns, tab-separated values and time series; arrays as sequences."""

import bz2
import decimal
import gzip
import io
import lzma
import sys

import numpy as np
import pytest
from helpers import raises, shared_data

import fastseq as fs


@pytest.fixture
def write(tmp_path):
    """A function that writes a file, from text or bytes, and returns its path."""

    def write(content, name="data.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


# --- all readers: files and lines -----------------------------------------------------------


def test_every_line_is_kept_even_empty_ones(write):
    path = write(" the cat\n\n sat \u3000 down\nlast")
    assert fs.read_text(path) == [["the", "cat"], [], ["sat", "down"], ["last"]]
    assert fs.read_text(path, unit="character") == [" the cat", "", " sat \u3000 down", "last"]
    assert fs.read_text(write("\n")) == [[]]


def test_line_ends_and_byte_order_mark_are_no_part_of_the_text(write):
    path = write(b"\xef\xbb\xbfa b\r\nc\xef\xbb\xbf\r\n\r\nd\re\r\r\n")
    assert fs.read_text(path, unit="character") == ["a b", "c\ufeff", "", "d\re\r"]


def test_only_line_feeds_end_lines(write):
    text = "a\u2028b\x0bc\x0cd\x85e\x1cf"  # str.splitlines would cut at each of these
    assert fs.read_text(write(text + "\ng"), unit="character") == [text, "g"]


def compress_zst(data):
    try:
        from compression import zstd
    except ImportError:
        zstd = pytest.importorskip("backports.zstd")
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


compressions = pytest.mark.parametrize(
    "suffix, compress",
    [
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", compress_zst),
    ],
)


@compressions
def test_compressed_files(write, suffix, compress):
    lines = [f"line {i} æ" for i in range(5000)]
    content = compress("\n".join(lines).encode())
    assert fs.read_text(write(content, "t.txt" + suffix), unit="character") == lines
    assert fs.read_text(str(write(content, "t" + suffix)), unit="character") == lines
    assert fs.read_text(write(content, "T.TXT" + suffix.upper()), unit="character") == lines


def test_standard_input(monkeypatch):
    source = io.BytesIO(b"a\tb\nc\td\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(source))
    assert fs.read_tsv("-") == (["a", "c"], ["b", "d"])
    assert not source.closed
    with raises(ValueError, "standard input: expected text, got an empty file"):
        fs.read_text("-")


READERS = [fs.read_text, fs.read_tsv, fs.read_conll, fs.read_ts]


@pytest.mark.parametrize("read", READERS)
def test_files_that_cannot_be_read(read, write, tmp_path):
    with raises(ValueError, "data.txt", "got an empty file"):
        read(write(""))
    with raises(ValueError, "data.gz", "got an empty file"):
        read(write(gzip.compress(b""), "data.gz"))
    with raises(ValueError, "data.txt, line 2", "UTF-8", "byte 0xe6 at position 4", "iconv"):
        read(write(b"#\n\t\xc3\xa6\xe6 \n"))
    with raises(ValueError, "data.txt, line 1", "0xff at position 1", "UTF-16"):
        read(write("a\n".encode("utf-16")))
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.txt")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    with raises(TypeError, "path must be the path of a file, got 0"):
        read(0)


@compressions
def test_damaged_compressed_files(write, suffix, compress):
    name = "data" + suffix
    rng = np.random.default_rng(0)
    whole = compress("\n".join(map(str, rng.integers(0, 10**9, 20000))).encode())
    for wrong in (whole[:-5], whole[: len(whole) // 2], b"plain text\n"):
        with raises(ValueError, name, "after line", "damaged or cut off"):
            fs.read_text(write(wrong, name))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    with raises(ValueError, name, "damaged or cut off"):
        fs.read_text(write(bytes(flipped), name))


def test_missing_zstd_is_named(write, monkeypatch):
    for name in ("compression", "compression.zstd", "backports", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with raises(ImportError, "writing .zst files needs backports.zstd", "fastseq[zstd]"):
        fs.read_text(write(b"", "a.zst"))


def test_unit_of_text(write):
    with raises(ValueError, "unit", "'word', 'character'", "'line'"):
        fs.read_text(write("a"), unit="line")


# --- tab-separated values -------------------------------------------------------------------


def test_columns_of_tsv(write):
    path = write('a b\tx\t"1\r\n\nc\t\t2 \n')
    assert fs.read_tsv(path) == (["a b", "c"], ["x", ""], ['"1', "2 "])
    assert fs.read_tsv(path, columns=[2, 0]) == (['"1', "2 "], ["a b", "c"])
    assert fs.read_tsv(path, columns=(-1,), units="word") == ([['"1'], ["2"]],)
    units = ("word", "character", "word")
    assert fs.read_tsv(path, units=units)[:2] == ([["a", "b"], ["c"]], ["x", ""])


def test_header_of_tsv(write):
    path = write("text\tlabel\nhi\tgreeting\n")
    assert fs.read_tsv(path, header=True) == (["hi"], ["greeting"])
    assert fs.read_tsv(path, header=True, columns=["label", 0]) == (["greeting"], ["hi"])


@pytest.mark.parametrize(
    "text, options, error, parts",
    [
        ("a\tb\n\nc\n", {}, ValueError, ["line 3", "2 columns as in line 1", "got 1", "'c'"]),
        ("a\nb\tc\n", {}, ValueError, ["line 2", "1 column as in line 1", "got 2"]),
        ("a\tb\n", {"header": True}, ValueError, ["data.txt", "lines with values", "none"]),
        ("\n\n", {}, ValueError, ["data.txt", "lines with values", "none"]),
        ("a\tb\n", {"columns": [2]}, ValueError, ["column 2", "2 columns"]),
        ("a\tb\n", {"columns": [-3]}, ValueError, ["column -3", "2 columns"]),
        ("a\tb\n", {"columns": ["a"]}, ValueError, ["'a'", "names no columns", "number"]),
        ("a\tb\n1\t2", {"columns": ["c"], "header": True}, ValueError, ["'c'", "a, b"]),
        (
            "a\ta\n1\t2",
            {"columns": ["a"], "header": True},
            ValueError,
            ["'a'", "2 times"],
        ),
        ("a\tb\n", {"columns": {1, 0}}, TypeError, ["columns", "list", "{0, 1}"]),
        ("a\tb\n", {"columns": {0: 1}}, TypeError, ["columns", "list", "{0: 1}"]),
        ("a\tb\n", {"columns": 0}, TypeError, ["columns", "list", "0"]),
        ("a\tb\n", {"columns": "a"}, TypeError, ["columns", "list", "'a'"]),
        ("a\tb\n", {"columns": []}, TypeError, ["columns", "list", "[]"]),
        ("a\tb\n", {"columns": [0.5]}, TypeError, ["columns", "numbers or names", "0.5"]),
        ("a\tb\n", {"columns": [True]}, TypeError, ["columns", "numbers or names", "True"]),
        ("a\tb\n", {"columns": iter([0])}, TypeError, ["columns", "list", "iterator"]),
        ("a\tb\n", {"columns": 0.5}, TypeError, ["columns", "list", "0.5"]),
        ("a\tb\n", {"units": 5}, TypeError, ["units", "a unit, or a list", "5"]),
        ("a\tb\n", {"units": iter(["word"])}, TypeError, ["units", "a unit, or a list"]),
        ("a\tb\n", {"units": ""}, ValueError, ["units", "'word', 'character'", "''"]),
        ("a\tb\n", {"units": ["word"]}, ValueError, ["units", "2 columns", "1"]),
        ("a\tb\n", {"units": "line"}, ValueError, ["units", "'line'"]),
        ("a\tb\n", {"header": 1}, TypeError, ["header", "True or False", "1"]),
    ],
)
def test_bad_tsv(write, text, options, error, parts):
    with raises(error, *parts):
        fs.read_tsv(write(text), **options)


# --- CoNLL ----------------------------------------------------------------------------------


def word(number, form, upos="X"):
    return f"{number}\t{form}\t_\t{upos}\t_\t_\t0\troot\t_\tmisc={form}\n"


# vámonos al mar: two words that are written as one, another two, and one that is not there
SPANISH = (
    "# sent_id = 1\n# text = vámonos al mar\n"
    + word("1-2", "vámonos", "_")
    + word(1, "vamos", "VERB")
    + word(2, "nos", "PRON")
    + word("2.1", "elided", "VERB")
    + word("3-4", "al", "_")
    + word(3, "a", "ADP")
    + word(4, "el", "DET")
    + word(5, "mar", "NOUN")
    + "\n# text = #1 New York\n"
    + word("0.1", "empty", "PRON")
    + word(1, "#1", "NUM")
    + word(2, "New York", "PROPN")
)


@pytest.mark.parametrize("text", [SPANISH, SPANISH + "\n", SPANISH.replace("\n", "\r\n") + "\n\n"])
def test_conll_u_gives_the_words_of_the_tree(write, text):
    words, tags = fs.read_conll(write(text))
    assert words == [["vamos", "nos", "a", "el", "mar"], ["#1", "New York"]]
    assert tags == [["VERB", "PRON", "ADP", "DET", "NOUN"], ["NUM", "PROPN"]]
    tags, words, first, misc = fs.read_conll(write(text), ["UPOS", 1, "ID", -1])
    assert words[0][0] == "vamos" and tags[0][0] == "VERB" and first[1] == ["1", "2"]
    assert misc[0][4] == "misc=mar"


def test_conll_u_plus_names_its_columns(write):
    text = "# global.columns = ID UPOS FORM MORE\n1-2\t_\tdu\t_\n1\tADP\tde\tx\n2\tDET\tle\ty\n"
    assert fs.read_conll(write(text)) == ([["de", "le"]], [["ADP", "DET"]])
    assert fs.read_conll(write(text), ["MORE"]) == ([["x", "y"]],)
    without = "# global.columns = FORM UPOS\n# text = de\nde\tADP\n"
    assert fs.read_conll(write(without)) == ([["de"]], [["ADP"]])


def test_two_columns(write):
    path = write("# a comment without a tab\n#\tSYM\nto #\tNOUN\n \t \n\n\nnext\tADJ")
    assert fs.read_conll(path) == ([["#", "to #"], ["next"]], [["SYM", "NOUN"], ["ADJ"]])


def test_columns_between_blanks(write):
    path = write("-DOCSTART- -X- O\n\n# # B-NP\nEU  NNP\u00a0B-ORG \n\nrejects VBZ O\n")
    words, tags = fs.read_conll(path)
    assert words == [["-DOCSTART-"], ["#", "EU"], ["rejects"]]  # nothing is a comment here
    assert tags == [["O"], ["B-NP", "B-ORG"], ["O"]]
    assert fs.read_conll(path, [1])[0][1] == ["#", "NNP"]


@pytest.mark.parametrize(
    "text, columns, error, parts",
    [
        ("a\tX\n\nb\n", None, ValueError, ["line 3", "2 columns as in line 1", "got 1", "'b'"]),
        ("a\tX\nb\t\n", None, ValueError, ["line 2", "value in column 1", "none"]),
        ("a X\nb\n", None, ValueError, ["line 2", "2 columns", "got 1"]),
        ("\n\n", None, ValueError, ["data.txt", "lines with values"]),
        ("# c\n\n", [3], ValueError, ["column 3"]),
        (word("1-2", "du"), None, ValueError, ["expected sentences", "none"]),
        (word(1, "a") + word(3, "b"), None, ValueError, ["line 2", "ID 2", "'3'"]),
        (word(2, "a"), None, ValueError, ["line 1", "ID 1", "'2'"]),
        (word(1, "a") + word(1, "b"), None, ValueError, ["line 2", "ID 2", "'1'", "empty line"]),
        (word(1, "a") + word("x", "b"), None, ValueError, ["line 2", "ID 2", "'x'"]),
        (word(1, "a") + "2\tb\n", None, ValueError, ["line 2", "10 columns as in line 1", "got 2"]),
        (word(1, "a"), ["POS"], ValueError, ["'POS'", "ID, FORM, LEMMA, UPOS"]),
        ("a\tX\n", ["UPOS"], ValueError, ["'UPOS'", "names no columns", "number"]),
        ("a\tX\n", [2], ValueError, ["column 2", "2 columns"]),
        ("a\tX\n", "FORM", TypeError, ["columns", "list", "'FORM'"]),
        ("# global.columns = ID FORM\n1\ta\tX\n", None, ValueError, ["line 2", "ID FORM", "3"]),
        ("# global.columns = ID X\n1\ta\n", None, ValueError, ["'FORM'", "ID, X"]),
    ],
)
def test_bad_conll(write, text, columns, error, parts):
    with raises(error, *parts):
        fs.read_conll(write(text), columns)


# --- time series ----------------------------------------------------------------------------

HEADER = "# a comment\n\n@problemName Two Words\n@UNIVARIATE false\n@dimensions 2\n"
MULTIVARIATE = HEADER + "@classLabel true up down\n@data\n1, 2,-3e1:0,?,1:up\n\n2:NaN:down\r\n"


def test_multivariate_series_of_different_lengths(write):
    x, y, header = fs.read_ts(write(MULTIVARIATE))
    np.testing.assert_array_equal(x[0], [[1, 0], [2, np.nan], [-30, 1]], strict=True)
    np.testing.assert_array_equal(x[1], [[2, np.nan]], strict=True)
    assert x[0].flags.c_contiguous and y.tolist() == ["up", "down"]
    assert header["problemname"] == "Two Words" and header["classlabel"] == "true up down"


def test_univariate_series_and_dtype(write):
    path = write("@univariate true\n@equalLength true\n@seriesLength 2\n@data\n1,2\n.5,0.1\n")
    x, y, _ = fs.read_ts(path, dtype=np.float32)
    assert y is None and [a.tolist() for a in x] == [[[1], [2]], [[0.5], [np.float32(0.1)]]]
    assert x[0].dtype == np.float32 and fs.read_ts(path).x[0].dtype == np.float64


def test_tags_may_end_with_tabs(write):
    x, y, header = fs.read_ts(write("@problemName\tA b\n@classLabel\ttrue\ta  b\n@data\t\n1,2:b\n"))
    same(x, [[[1], [2]]])
    assert y.tolist() == ["b"] and header == {"problemname": "A b", "classlabel": "true\ta  b"}


def test_numbers_that_float32_can_not_hold(write):
    path = write("@data\n1\n1,1e300\n")
    assert fs.read_ts(path).x[1].max() == 1e300
    with raises(ValueError, "line 3", "numbers that float32 can hold", "float64"):
        fs.read_ts(path, dtype="float32")


def test_targets_are_numbers(write):
    x, y, _ = fs.read_ts(write("@targetLabel true\n@data\n1,2:3,4:0.25\n5:6:-1\n"))
    assert y.dtype == np.float64 and y.tolist() == [0.25, -1]
    assert [a.tolist() for a in x] == [[[1, 3], [2, 4]], [[5, 6]]]


def test_no_labels(write):
    x, y, _ = fs.read_ts(write("@classLabel false\n@data\n1:2\n3:4\n"))
    assert y is None and [a.tolist() for a in x] == [[[1, 2]], [[3, 4]]]


CLASSES = "@univariate true\n@classLabel true a b\n"


@pytest.mark.parametrize(
    "text, parts",
    [
        ("1,2:a\n", ["line 1", "tag such as @data", "'1,2:a'"]),
        ("@univariate true\n", ["expected a line @data", "none"]),
        (CLASSES + "@data\n\n", ["expected series after @data", "none"]),
        (CLASSES + "@data\n1,x,3:a\n", ["line 4", "number or ? as value 2 of dimension 1", "'x'"]),
        (CLASSES + "@data\n1,,3:a\n", ["line 4", "value 2 of dimension 1", "''"]),
        (CLASSES + "@data\n1_0:a\n", ["line 4", "value 1", "'1_0'"]),
        (CLASSES + "@data\n:a\n", ["line 4", "value 1 of dimension 1", "''"]),
        (CLASSES + "@data\n1,2:c\n", ["line 4", "class label among a b", "'c'"]),
        (CLASSES + "@data\n1,2:\n", ["line 4", "class label", "''"]),
        (CLASSES + "@data\n1,2\n", ["line 4", "class label among a b", "'1,2'"]),
        (CLASSES + "@data\n1:2:a\n", ["line 4", "1 dimensions", "label, got 2"]),
        ("@data\n1:2\n3\n", ["line 3", "2 dimensions", "got 1"]),
        ("@data\n1,2:3\n", ["line 2", "2 values in dimension 2", "got 1"]),
        ("@dimensions 3\n@data\n1:2\n", ["line 3", "3 dimensions", "got 2"]),
        ("@equalLength true\n@data\n1,2\n1\n", ["line 4", "2 values", "got 1"]),
        ("@equalLength true\n@seriesLength 3\n@data\n1,2\n", ["line 4", "3 values", "got 2"]),
        ("@equalLength\ttrue\n@data\n1,2\n1\n", ["line 4", "2 values", "got 1"]),
        ("@univariate\n@data\n1\n", ["line 1", "true or false after @univariate", "''"]),
        ("@univariate maybe\n@data\n1\n", ["line 1", "true or false after @univariate", "'maybe'"]),
        ("@dimensions two\n@data\n1\n", ["line 1", "number after @dimensions", "'two'"]),
        ("@dimensions 0\n@data\n1\n", ["line 1", "number from 1 on", "'0'"]),
        ("@timeStamps true\n@data\n(0,1)\n", ["line 1", "@timeStamps false", "true"]),
        (CLASSES + "@targetLabel true\n@data\n1\n", ["line 3", "got both"]),
        ("@targetLabel true\n@data\n1:x\n", ["line 3", "value 1 of the target value", "'x'"]),
        ("@targetLabel true\n@data\n1:1,2\n", ["line 3", "one target value", "'1,2'"]),
    ],
)
def test_bad_series(write, text, parts):
    with raises(ValueError, "data.txt", *parts):
        fs.read_ts(write(text))


# --- arrays and data frames -----------------------------------------------------------------


def same(found, expected):
    assert len(found) == len(expected)
    for a, e in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, np.asarray(e, a.dtype), strict=True)


def test_arrays_become_feature_vectors():
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    same(fs.to_sequences(x), [x[0], x[1]])
    same(fs.to_sequences(x[:, :, 0]), [[[0], [2], [4]], [[6], [8], [10]]])
    assert fs.to_sequences(x)[0].dtype == np.float32
    assert fs.to_sequences([[1, 2]])[0].dtype == np.float64
    same(
        fs.to_sequences([[1, 2, 3], np.ones((1, 1)), []]),
        [[[1], [2], [3]], [[1]], np.empty((0, 1))],
    )


@pytest.mark.parametrize(
    "keys", [[3, 1, 3, 2, 1], ["c", "a", "c", "b", "a"], [(0, 1), (1, 0), (0, 1), 2, (1, 0)]]
)
def test_rows_with_the_same_key(keys):
    rows = np.array([[0.0], [1], [2], [3], [4]])
    expected = [[[0], [2]], [[1], [4]], [[3]]]
    same(fs.to_sequences(rows, by=keys), expected)
    same(fs.to_sequences(rows[:, 0], by=keys), expected)


def test_rows_keep_their_order_within_a_sequence():
    keys = np.random.default_rng(0).integers(0, 3, 1000)
    rows = np.arange(1000.0)[:, None]
    found = fs.to_sequences(rows, by=keys)
    same(found, [rows[keys == key] for key in dict.fromkeys(keys.tolist())])


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"shop": ["b", "a", "b"], "day": [1, 1, 2], "sold": [0.5, None, 2.0], "note": list("xyz")}
    )
    same(fs.to_sequences(frame, by="shop", columns=["sold"]), [[[0.5], [2]], [[np.nan]]])
    numbers = frame.drop(columns="note")
    same(fs.to_sequences(numbers, by="shop"), [[[1, 0.5], [2, 2]], [[1, np.nan]]])
    same(fs.to_sequences(numbers, by=["shop", "day"]), [[[0.5]], [[np.nan]], [[2]]])
    same(fs.to_sequences(numbers[["day", "sold"]])[2:], [[[2], [2]]])
    same(fs.to_sequences([numbers[["day", "sold"]]])[0][:1], [[1, 0.5]])
    same(fs.to_sequences(numbers[["day"]], by=np.array([5, 5, 4])), [[[1], [1]], [[2]]])
    with raises(TypeError, "data frame", "to_sequences"):
        fs.Batches(numbers)
    gaps = pandas.DataFrame({"x": pandas.array([1, None], dtype="Int64")})
    same(fs.to_sequences(gaps, by=np.zeros(2)), [[[1], [np.nan]]])
    with raises(TypeError, "numbers only", "columns="):
        fs.to_sequences(frame, by="shop")
    with raises(ValueError, "by", "'store'", "shop, day, sold, note"):
        fs.to_sequences(frame, by="store")
    with raises(ValueError, "columns", "'x'", "shop, day, sold, note"):
        fs.to_sequences(frame, by="shop", columns=["x"])
    with raises(ValueError, "key for each row", "nan", "row 1"):
        fs.to_sequences(frame[["day", "sold"]], by="sold")
    with raises(ValueError, "key for each row", "NA", "row 1"):
        fs.to_sequences(np.ones((2, 1)), by=gaps["x"])


def test_what_pandas_would_make_numbers_of():
    pandas = pytest.importorskip("pandas")
    times = pandas.to_datetime(["2020", "2021"])
    wrong = {
        "'1' in column 'x'": ["1", "2"],
        "dtype datetime64": times,
        "dtype timedelta64": times - times[0],
        "dtype complex128 in column 'x'": [1j, 2],
        "'2' in column 'x'": pandas.Categorical(["2", "1"]),
    }
    for what, values in wrong.items():
        frame = pandas.DataFrame({"x": values, "y": [0.5, 1.5]})
        for use in (lambda f: fs.to_sequences(f, by="y"), lambda f: fs.to_sequences([f])):
            with raises(TypeError, "must hold numbers only", what, "columns="):
                use(frame)
    numbers = {"x": [True, None], "y": pandas.Categorical([3, 4]), "z": [decimal.Decimal("0.5"), 2]}
    same(fs.to_sequences([pandas.DataFrame(numbers)]), [[[1, 3, 0.5], [np.nan, 4, 2]]])


def test_names_of_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([[1, 2.0, 3.0], [1, 4.0, 5.0]], columns=["k", "a", "a"])
    same(fs.to_sequences(frame, by="k"), [[[2, 3], [4, 5]]])
    same(fs.to_sequences(frame), [[[1], [2], [3]], [[1], [4], [5]]])
    for options in ({"by": "a"}, {"columns": ["k", "a"]}):
        with raises(ValueError, "must name columns", "'a', which 2 of them are called"):
            fs.to_sequences(frame, **options)
    for columns in ("ka", 5, {"k", "a"}):
        with raises(TypeError, "columns must be a list of columns' names, got"):
            fs.to_sequences(frame, columns=columns)
    for options in ({"by": []}, {"columns": []}):
        with raises(ValueError, "must name at least one column, got none"):
            fs.to_sequences(frame, **options)
    with raises(TypeError, "by must name columns", "got Series", "by.to_numpy()"):
        fs.to_sequences(frame, by=frame["k"])


@pytest.mark.parametrize(
    "data, options, error, parts",
    [
        (np.zeros(3), {}, ValueError, ["(N, T, F) or (N, T)", "(3,)", "list"]),
        (np.zeros((1, 2, 3, 4)), {}, ValueError, ["(N, T, F) or (N, T)", "(1, 2, 3, 4)"]),
        ([np.zeros((1, 2, 3))], {}, ValueError, ["data[0]", "(T, F) or (T,)", "(1, 2, 3)"]),
        ([[1, 2], ["a"]], {}, TypeError, ["data[1]", "numbers"]),
        ([[1j]], {}, TypeError, ["data[0]", "numbers", "complex"]),
        (np.zeros((2, 3)), {"by": [1]}, ValueError, ["key for each row", "(2, 3)", "1 keys"]),
        (np.zeros((2, 3)), {"by": [1, None]}, ValueError, ["key", "None", "row 1"]),
        (np.zeros((2, 3)), {"by": "ab"}, TypeError, ["by", "key for each row", "'ab'", "frames"]),
        (np.zeros((2, 3)), {"by": 5}, TypeError, ["by", "key for each row", "5"]),
        (np.zeros((2, 3)), {"by": [[1], [2]]}, TypeError, ["by", "tuples", "[1] in row 0"]),
        (np.zeros((2, 3)), {"by": np.ones((2, 1))}, ValueError, ["by", "(rows,)", "(2, 1)"]),
        (np.zeros((2, 3)), {"by": np.array(1)}, ValueError, ["by", "(rows,)", "()"]),
        (5, {}, TypeError, ["data must be an array, a data frame, or a list", "int"]),
        (None, {}, TypeError, ["data must be an array, a data frame, or a list", "NoneType"]),
        ("12", {}, TypeError, ["data must be an array, a data frame, or a list", "str"]),
        (np.zeros((2, 3)), {"columns": [0]}, ValueError, ["columns", "data frame"]),
        (np.ma.zeros((2, 3)), {}, TypeError, ["masked"]),
    ],
)
def test_bad_arrays(data, options, error, parts):
    with raises(error, *parts):
        fs.to_sequences(data, **options)


# --- real data ------------------------------------------------------------------------------


def test_english_ewt_has_the_published_number_of_words():
    words, tags = fs.read_conll(shared_data("ud_english_ewt", "en_ewt-ud-dev.conllu.gz"))
    assert (len(words), sum(map(len, words))) == (2001, 25147)
    assert words[0] == ["From", "the", "AP", "comes", "this", "story", ":"]
    assert tags[0] == ["ADP", "DET", "PROPN", "VERB", "DET", "NOUN", "PUNCT"]


def test_danish_ddt_has_the_published_number_of_words():
    words, _ = fs.read_conll(shared_data("ud_danish_ddt", "da-ud-train.conllu.gz"))
    assert (len(words), sum(map(len, words))) == (4868, 88979)


def test_japanese_vowels_are_read_whole():
    path = shared_data("timeseries", "JapaneseVowels_TRAIN.ts.gz")
    x, y, header = fs.read_ts(path)
    assert len(x) == 270 and np.unique(y, return_counts=True)[1].tolist() == [30] * 9
    assert {a.shape[1] for a in x} == {12} and header["equallength"] == "false"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    data = lines[lines.index("@data") + 1 :]
    assert sum(a.size for a in x) == sum(
        len(line.replace(":", ",").split(",")) - 1 for line in data
    )
    last = [float(v) for v in data[-1].split(":")[11].split(",")]
    assert x[-1][:, 11].tolist() == last


def test_pronunciations_are_pairs():
    path = shared_data("sigmorphon2020_g2p", "train", "fre_train.tsv")
    spelling, phones = fs.read_tsv(path, units=("character", "word"))
    assert len(spelling) == 3600 and (spelling[1], phones[1]) == ("abby", ["a", "b", "i"])
