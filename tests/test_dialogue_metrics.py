"""Metrics of dialogues: against the papers' definitions in plain loops, and by hand."""

import math

import numpy as np
import pytest
from command_cases import run, write
from helpers import raises

import fastseq as fs

WORDS = [f"w{i}" for i in range(12)]
SIMILARITIES = (fs.embedding_average, fs.embedding_extrema, fs.embedding_greedy)


def plain_distinct(texts, n):
    """Different n-grams, words and n-grams of texts."""
    words = [text.split() for text in texts]
    ngrams = [tuple(w[i : i + n]) for w in words for i in range(len(w)) if i + n <= len(w)]
    return len(set(ngrams)), sum(map(len, words)), len(ngrams)


def plain_cosine(x, y):
    dot = sum(a * b for a, b in zip(x, y, strict=True))
    return dot / math.sqrt(sum(a * a for a in x)) / math.sqrt(sum(b * b for b in y))


def plain_average(x, y):
    means = [[sum(column) / len(rows) for column in zip(*rows, strict=True)] for rows in (x, y)]
    return plain_cosine(*means)


def plain_extrema(x, y):
    far = [
        [max(c) if max(c) >= abs(min(c)) else min(c) for c in zip(*rows, strict=True)]
        for rows in (x, y)
    ]
    return plain_cosine(*far)


def plain_greedy(x, y):
    def one_way(x, y):
        return sum(max(plain_cosine(a, b) for b in y) for a in x) / len(x)

    return (one_way(x, y) + one_way(y, x)) / 2


PLAIN = dict(zip(SIMILARITIES, (plain_average, plain_extrema, plain_greedy), strict=True))


def make_texts(rng, count):
    return [" ".join(rng.choice(WORDS, size)) for size in rng.integers(1, 9, count)]


# --- distinct-n ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3])
def test_distinct_is_as_defined(n):
    texts = make_texts(np.random.default_rng(n), 20)
    different, words, ngrams = plain_distinct(texts, n)
    assert fs.distinct_n(texts, n) == different / words
    assert fs.distinct_n(texts, n, per="ngram") == different / ngrams
    assert fs.distinct_n([text.split() for text in texts], n) == different / words
    assert fs.distinct_n((text for text in texts), n) == different / words


def test_distinct_by_hand():
    texts = ["a b a b", "b a", ""]  # ab ba ab | ba
    assert fs.distinct_n(texts, 1) == 2 / 6
    assert fs.distinct_n(texts) == 2 / 6
    assert fs.distinct_n(texts, per="ngram") == 2 / 4
    assert fs.distinct_n(["a", "b"], 2) == 0  # no pair reaches from a text into the next
    assert fs.distinct_n([np.array([1, 2]), (2, 1)], 2) == 2 / 4


def test_wrong_texts_for_distinct():
    with raises(ValueError, "texts", "at least one word", "none"):
        fs.distinct_n(["", []])
    with raises(ValueError, "texts", "sequence of 2 words"):
        fs.distinct_n(["a", "b"], per="ngram")
    with raises(ValueError, "n", "at least 1", "0"):
        fs.distinct_n(["a"], 0)
    with raises(ValueError, "per", "'word'", "'line'"):
        fs.distinct_n(["a"], per="line")
    with raises(TypeError, "texts", "list of texts", "str"):
        fs.distinct_n("a b")
    with raises(TypeError, "texts", "list of texts", "dict"):
        fs.distinct_n({"a b": 1})
    with raises(TypeError, "texts[1]", "sequence of words", "3"):
        fs.distinct_n(["a", 3])
    with raises(TypeError, "texts[1] must hold words, such as strings", "unhashable type: 'list'"):
        fs.distinct_n([["a"], [["b"]]])


# --- similarities -------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_similarities_are_as_defined(similarity, dtype):
    rng = np.random.default_rng(0)
    table = rng.standard_normal((len(WORDS), 5)).astype(dtype)
    vectors = dict(zip(WORDS, table, strict=True))
    x, y = make_texts(rng, 30), make_texts(rng, 30)
    expected = [
        PLAIN[similarity](*([vectors[word].tolist() for word in text.split()] for text in pair))
        for pair in zip(x, y, strict=True)
    ]
    got = similarity(x, y, vectors)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    keyed = fs.KeyedVectors.from_arrays(WORDS, table)
    np.testing.assert_array_equal(similarity(x, y, keyed), got)
    split = [text.split() for text in x]
    np.testing.assert_array_equal(similarity(split, y, vectors), got)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_words_without_a_vector_dont_count(similarity):
    vectors = {"a": [1.0, 2.0], "b": [3.0, -1.0], "c": [0.5, 0.5]}
    expected = similarity(["a b"], ["b c"], vectors)
    np.testing.assert_array_equal(similarity(["x a y b"], ["b x c"], vectors), expected)
    got = similarity(["", "x", "a", "x", "a"], ["a", "b c", "x", "x", ""], vectors)
    np.testing.assert_array_equal(got, [0, 0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(similarity(["a"], ["b"], {}), [np.nan])
    assert similarity([], [], vectors).shape == (0,)


def test_of_two_equally_far_numbers_the_positive_is_the_extreme():
    vectors = {"a": [1.0, 0.5], "b": [-1.0, 0.5]}
    assert fs.embedding_extrema(["a b"], ["a"], vectors) == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_text_is_most_similar_to_itself(similarity):
    vectors = {"a": [1e-200, 2e-200], "b": [1e200, -3e200], "zero": [0.0, 0.0]}
    got = similarity(["a", "b", "a"], ["a", "b", "zero"], vectors)
    np.testing.assert_allclose(got, [1, 1, 0], rtol=1e-15)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_nothing_is_more_similar_than_equals(similarity):
    rng = np.random.default_rng(0)
    table = dict(enumerate(rng.standard_normal((200, 7))))
    texts, opposite = [[i] for i in table], {-1 - i: -row for i, row in table.items()}
    assert similarity(texts, texts, table).max() == 1.0
    assert similarity(texts, [[-1 - i] for i in table], table | opposite).min() == -1.0


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_wrong_vectors(similarity):
    with raises(ValueError, "hypotheses", "references = 1", "2"):
        similarity(["a", "b"], ["a"], {})
    with raises(TypeError, "references", "list of texts", "str"):
        similarity(["a"], "a", {})
    with raises(TypeError, "vectors", "KeyedVectors", "NoneType"):
        similarity(["a"], ["a"], None)
    with raises(ValueError, "vectors['b']", "(2,)", "(3,)", "first word"):
        similarity(["a"], ["b"], {"a": [1.0, 2.0], "b": [1.0, 2.0, 3.0]})
    with raises(ValueError, "vectors['a']", "finite", "NaN"):
        similarity(["a"], ["a"], {"a": [1.0, np.nan]})
    with raises(ValueError, "vectors['a']", "(D,)"):
        similarity(["a"], ["a"], {"a": [[1.0, 2.0]]})
    with raises(ValueError, "vectors['a'] must hold at least one number, got none"):
        similarity(["a"], ["a"], {"a": []})
    with raises(TypeError, "hypotheses[0] must hold words"):
        similarity([[["a"]]], ["a"], {"a": [1.0]})


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("written.txt", ["good rain", "fine", "good good", "x"])
    write("right.txt", ["fine fine", "rain", "x", "rain"])
    wv = fs.KeyedVectors.from_arrays(
        ["good", "fine", "rain"], np.array([[1, 0], [0.8, 0.6], [0, 1]])
    )
    wv.save("vectors.txt")
    return wv


def test_command(folder, capsys):
    line = "score written.txt right.txt --metrics distinct-1 distinct-2"
    assert run(line + " average extrema greedy --vectors vectors.txt") == 0
    out, err = capsys.readouterr()
    written, right = (fs.read_text(f"{name}.txt") for name in ("written", "right"))
    expected = {"distinct-1": fs.distinct_n(written, 1), "distinct-2": fs.distinct_n(written, 2)}
    for name, similarity in zip(("average", "extrema", "greedy"), SIMILARITIES, strict=True):
        expected[name] = np.nanmean(similarity(written, right, folder))
        assert f"{name} is without 1 of 4 lines" in err
    assert dict(line.split("\t") for line in out.splitlines()) == {
        name: f"{100 * value:.2f}" for name, value in expected.items()
    }


def test_command_without_vectors(folder, capsys):
    with pytest.raises(SystemExit):
        run("score written.txt right.txt --metrics exact greedy")
    assert "greedy needs vectors of words, as with --vectors FILE" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("score written.txt right.txt --vectors vectors.txt")
    assert "--vectors is for average, extrema, greedy" in capsys.readouterr().err
    write("right.txt", "xyzx")
    assert run("score written.txt right.txt --metrics average --vectors vectors.txt") == 1
    assert "average: no line that is right has a word with a vector" in capsys.readouterr().err
