"""Vectors by keys: queries against hand-computed values, and against gensim where it is there."""

import copy
import math
import pickle
import sys
import types

import numpy as np
import pytest
from helpers import raises

import fastseq as fs
from fastseq.words import vector_evaluation, vector_search, vector_similarity
from fastseq.words.packed_words import PackedWords

KEYS = ["king", "queen", "man", "woman", "Man", "zero"]
ROWS = [[3, 1], [2, 3], [1, 1], [1, 3], [2, 1.2], [0, 0]]


@pytest.fixture(name="wv")
def wv_fixture():
    return fs.KeyedVectors.from_arrays(KEYS, np.array(ROWS, np.float32))


def random_arrays(count=400, size=12, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    words = [f"w{i}" for i in range(count - 3)] + ["W7", "w7x", "W8"]
    return words, rng.standard_normal((count, size)).astype(dtype)


@pytest.fixture(name="twins")
def twins_fixture():
    """The same vectors here and in gensim."""
    keyedvectors = pytest.importorskip("gensim.models.keyedvectors")
    words, vectors = random_arrays()
    theirs = keyedvectors.KeyedVectors(vectors.shape[1])
    theirs.add_vectors(words, vectors)
    return fs.KeyedVectors.from_arrays(words, vectors), theirs


def assert_similar(ours, theirs):
    assert [key for key, _ in ours] == [key for key, _ in theirs]
    np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], rtol=3e-6, atol=1e-7)


# --- vectors ------------------------------------------------------------------------------------


def test_vectors_are_found_by_key_and_by_place(wv):
    assert wv["man"].tolist() == wv[2].tolist() == wv[np.int64(2)].tolist() == [1, 1]
    assert wv[["man", 0]].tolist() == [[1, 1], [3, 1]]
    assert wv.get_vector("king", norm=True) == pytest.approx([3 / 10**0.5, 1 / 10**0.5])
    assert wv.get_vector("zero", norm=True).tolist() == [0, 0]
    assert "king" in wv and 5 in wv and "prince" not in wv and 6 not in wv and -1 not in wv
    assert wv.get_index("prince", -7) == -7 and len(wv) == 6 and wv.vector_size == 2
    with raises(KeyError, "prince"):
        wv["prince"]
    with raises(TypeError, "key must be"):
        wv.get_index([1])


def test_what_is_neither_key_nor_place(wv):
    for wrong in (True, False, np.True_, 1.5, 2.0, None, b"king", np.array(2), np.array("king")):
        with raises(TypeError, "key must be a string or a place", "got"):
            wv[wrong]
        with raises(TypeError, "key must be a string or a place"):
            wv[["king", wrong]]
        if not isinstance(wrong, np.ndarray):
            assert wrong not in wv and wv.get_index(wrong, -7) == -7
    for mask in (True, [False, True], np.arange(6) < 2):
        with raises(TypeError, "key must be", "the places of a mask are np.flatnonzero(mask)"):
            wv[mask]
    with raises(TypeError, "a key must be", "b'king'", "key.decode()"):
        wv[b"king"]


def test_norms_follow_the_vectors(wv):
    np.testing.assert_array_equal(wv.norms, np.sqrt(np.float32([10, 13, 2, 10, 5.44, 0])))
    assert wv.norms is wv.norms and wv.norms.dtype == np.float32
    wv["man"] = [3, 4]
    assert wv.norms[2] == 5 and wv.most_similar("zero")[0][1] == 0
    wv.vectors = np.ones((6, 2))
    assert wv.norms[0] == 2**0.5 and wv.norms.dtype == np.float64
    array = np.ones((6, 2), np.float32)
    wv.vectors = array
    assert wv.norms[0] == np.float32(2**0.5)
    array[0] = 0
    wv.fill_norms(force=True)
    assert wv.norms[0] == 0
    for view in (wv.vectors, wv.norms, wv["man"]):
        with raises(ValueError, "read-only"):
            view[0] = 1
    with raises(ValueError, "vectors must have"):
        wv.vectors = np.ones((5, 2))


def test_norms_are_summed_in_float64(wv):
    wv["man"] = [3e19, 4e19]  # whose squares are more than float32 can hold
    assert wv.norms[2] == np.float32(5e19)
    wv["man"] = [np.nan, 0]
    with raises(ValueError, "finite", "1 keys", "'man'"):
        wv.most_similar("king")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_norms_of_extreme_vectors(dtype):
    limits = np.finfo(dtype)
    for unit in (limits.smallest_subnormal * 2**20, limits.tiny, limits.max / 8, 1e-30, 1e30):
        rows = np.array([[1, 1], [0, 2], [-1, 1], [0, 0]], dtype) * dtype(unit)
        wv = fs.KeyedVectors.from_arrays(["a", "b", "c", "zero"], rows)
        np.testing.assert_allclose(wv.norms / dtype(unit), [2**0.5, 2, 2**0.5, 0], rtol=2e-6)
        expected = [1, 0.5**0.5, 0, 0]
        np.testing.assert_allclose(wv.similarities("a"), expected, rtol=2e-6, atol=1e-7)
        np.testing.assert_allclose(wv.similarities(rows[0], ["b"]), expected[1:2], rtol=2e-6)
        assert wv.similarity("a", "b") == pytest.approx(0.5**0.5, rel=2e-6)
        assert wv.most_similar(rows[0])[1] == ("b", pytest.approx(0.5**0.5, rel=2e-6))
    wv["c"] = [limits.max, limits.max]
    with raises(ValueError, f"norms that {np.dtype(dtype)} can hold", "1 keys", "'c'", "divide"):
        wv.similarities("a", ["c"])


def test_unit_vectors(wv):
    units = wv.get_normed_vectors()
    np.testing.assert_allclose(units[1], [2 / 13**0.5, 3 / 13**0.5], rtol=1e-6)
    assert units[5].tolist() == [0, 0]
    wv.unit_normalize_all()
    np.testing.assert_array_equal(wv.vectors, units)


def test_vectors_are_added_and_replaced(wv):
    before = wv["king"].copy()
    wv.add_vectors(["king", "prince", "prince"], [[9, 9], [1, 2], [4, 5]])
    assert wv["king"].tolist() == before.tolist() and wv["prince"].tolist() == [4, 5]
    assert wv.index_to_key[6:] == ["prince"] and wv.key_to_index["prince"] == 6
    wv.add_vectors(["king", "duke"], np.array([[9, 9], [7, 8]]), replace=True)
    assert wv["king"].tolist() == [9, 9] and wv["duke"].tolist() == [7, 8] and len(wv) == 8
    assert wv.add_vector("earl", [0.5, 1]) == 8 and wv["earl"].tolist() == [0.5, 1]
    wv["man"] = [0, 1]
    wv[["man", "new"]] = [[1, 0], [2, 2]]
    assert wv[["man", "new"]].tolist() == [[1, 0], [2, 2]]
    assert wv.vectors.dtype == np.float32
    for keys, rows, parts in (
        (["a"], [[1, 2, 3]], ["weights", "(1, 3)"]),
        (["a", "b"], [[1, 2]], ["weights", "(1, 2)"]),
        ([1], [[1, 2]], ["keys[0]", "string"]),
        (["a"], [["x", "y"]], ["weights", "numbers"]),
        (["a"], [[1, 1e300]], ["weights", "float32", "float64"]),
    ):
        with raises((TypeError, ValueError), *parts):
            wv.add_vectors(keys, rows)
    for vector, parts in (
        ([1, 2, 3], ["must have shape (D,) = (2,), got (3,)"]),
        (["x", "y"], ["must hold numbers"]),
        (5, ["must have shape", "got ()"]),
        ([1, 1e300], ["float32", "float64"]),
    ):
        with raises((TypeError, ValueError), "vector ", *parts):
            wv.add_vector("a", vector)
        with raises((TypeError, ValueError), "weights ", *parts):
            wv.add_vectors("a", vector)
        with raises((TypeError, ValueError), "vectors ", *parts):
            wv["a"] = vector
    with raises(TypeError, "key must be a string, got 5"):
        wv.add_vector(5, [1, 2])
    assert "a" not in wv and len(wv) == len(wv.vectors)


def test_attributes_of_keys(wv):
    wv.set_vecattr("man", "count", 7)
    wv.set_vecattr("man", "pos", "NOUN")
    wv.add_vectors(["prince"], [[1, 1]], {"count": [3], "pos": ["X"], "rate": [0.5]})
    assert [wv.get_vecattr(key, "count") for key in ("king", "man", "prince")] == [0, 7, 3]
    assert [wv.get_vecattr(key, "pos") for key in ("king", "man", "prince")] == [None, "NOUN", "X"]
    assert wv.expandos["rate"].tolist() == [0] * 6 + [0.5]
    some = wv.vectors_for_all(["prince", "earl", "man", "prince"])
    assert some.index_to_key == ["prince", "man"] and some.expandos["count"].tolist() == [3, 7]
    assert some["man"].tolist() == [1, 1]
    with raises(KeyError, "'color'"):
        wv.get_vecattr("man", "color")
    for wrong in (3, ["count"], None):
        for method, *value in (("get_vecattr",), ("set_vecattr", 1)):
            with raises(TypeError, "attr must be the name of an attribute", repr(wrong)):
                getattr(wv, method)("man", wrong, *value)
    for extras, parts in (
        ([1], ["extras must be a mapping", "[1]"]),
        ({3: [1]}, ["a key of extras must be the name of an attribute, got 3"]),
    ):
        with raises(TypeError, *parts):
            wv.add_vectors(["duke"], [[1, 1]], extras)
    assert "duke" not in wv


def test_attributes_become_what_holds_all_values(wv):
    wv.set_vecattr("king", "rate", 1)
    held = wv.expandos["rate"]
    wv.set_vecattr("man", "rate", 2)
    assert wv.expandos["rate"] is held  # or setting them one by one would copy them each time
    wv.set_vecattr("man", "rate", 2.75)
    assert wv.expandos["rate"].tolist() == [1, 0, 2.75, 0, 0, 0]
    wv.expandos["count"] = np.arange(6)
    wv.add_vectors([], np.empty((0, 2)), {"count": []})
    assert wv.expandos["count"].dtype == np.arange(6).dtype
    wv.add_vectors(["prince"], [[1, 1]], {"count": [0.5], "tag": [b"long"]})
    assert wv.expandos["count"].tolist() == [0, 1, 2, 3, 4, 5, 0.5]
    wv.set_vecattr("king", "tag", b"longer")
    assert wv.get_vecattr("king", "tag") == b"longer"


def test_a_list_is_one_value_of_an_attribute(wv):
    values = [[1, 2], (3,), [1, [2, 3]], np.ones(3), {"a": 1}, "text", np.array("text"), None]
    for value in values:
        wv.expandos.clear()
        wv.set_vecattr("man", "tag", value)
        assert wv.expandos["tag"].shape == (6,) and wv.get_vecattr("king", "tag") is None
        np.testing.assert_equal(wv.get_vecattr("man", "tag"), value)
    wv.set_vecattr("man", "tag", "text")
    assert type(wv.get_vecattr("man", "tag")) is str
    wv.set_vecattr("man", "rate", 1)
    with raises(TypeError, "'rate'", "int64", "[1, 2], of dtype object", "another name"):
        wv.set_vecattr("king", "rate", [1, 2])
    with raises(ValueError, "extras['tag'] must have shape", "unequal", "array of objects"):
        wv.add_vectors(["a", "b"], np.ones((2, 2)), {"tag": [[1], [2, 3]]})


@pytest.mark.parametrize(
    ("held", "value"),
    [(1, "abc"), (1.5, None), (2**53 + 1, 0.5), (0.5, 2**53 + 1), (-1, 2**63), (1, 1j)],
)
def test_attributes_that_would_lose_something(wv, held, value):
    wv.set_vecattr("king", "rate", held)
    dtype = str(wv.expandos["rate"].dtype)
    with raises(TypeError, "'rate'", dtype, str(value), "another name"):
        wv.set_vecattr("man", "rate", value)
    with raises(TypeError, "'rate'", dtype, str(value), "another name"):
        wv.add_vectors(["man", "prince"], np.ones((2, 2)), {"rate": [value] * 2}, replace=True)
    assert "prince" not in wv and len(wv) == len(wv.vectors) == 6
    assert wv.expandos["rate"].tolist() == [held, 0, 0, 0, 0, 0]
    assert wv["man"].tolist() == ROWS[2]


@pytest.mark.parametrize(
    ("keys", "vectors", "parts"),
    [
        (["a", "b", "a"], np.ones((3, 2)), ["keys must differ", "'a' twice"]),
        (["a"], np.ones((2, 2)), ["vectors", "(1, 2)", "(2, 2)"]),
        (["a"], np.ones(2), ["vectors", "(N, D)"]),
        (["a"], np.ones((1, 0)), ["vectors", "(N, D)"]),
        ([b"a"], np.ones((1, 2)), ["keys[0]", "string"]),
        ("ab", np.ones((2, 2)), ["keys", "list of strings"]),
    ],
)
def test_bad_arrays(keys, vectors, parts):
    with raises((TypeError, ValueError), *parts):
        fs.KeyedVectors.from_arrays(keys, vectors)


def packed_vectors():
    """The keys a, b and c with vectors, as training makes them."""
    packed = PackedWords("aße".encode(), np.array([1, 3, 4]))
    return fs.KeyedVectors.from_arrays(packed, np.eye(3))


def test_packed_keys_are_as_good_as_a_list():
    wv = packed_vectors()
    assert len(wv) == 3 and repr(wv) == "<KeyedVectors: 3 keys, vectors of 3 numbers, float64>"
    assert "ß" in wv and "x" not in wv and wv.get_index("e") == 2
    for copied in (copy.copy, copy.deepcopy, lambda w: pickle.loads(pickle.dumps(w))):
        for original in (packed_vectors(), wv):
            other = copied(original)
            assert other.index_to_key == ["a", "ß", "e"]
            assert other.key_to_index == {"a": 0, "ß": 1, "e": 2}
    wv = packed_vectors()
    wv.add_vector("x", [1, 2, 3])
    assert wv.index_to_key == ["a", "ß", "e", "x"] and wv["x"].tolist() == [1, 2, 3]
    with raises(ValueError, "vectors must have shape (number of keys, D)", "(3, 3), got (2, 3)"):
        fs.KeyedVectors.from_arrays(PackedWords(b"abc", np.array([1, 2, 3])), np.ones((2, 3)))


def test_keys_that_are_changed_leave_their_places():
    wv = packed_vectors()
    wv.index_to_key.append("x")
    assert len(wv) == 4 and wv.key_to_index == {"a": 0, "ß": 1, "e": 2}
    wv = packed_vectors()
    wv.index_to_key = ["d", "ß", "e"]
    assert wv.index_to_key[0] == "d" and wv.key_to_index == {"a": 0, "ß": 1, "e": 2}
    wv = packed_vectors()
    wv.key_to_index = {"x": 1}
    assert wv.index_to_key == ["a", "ß", "e"] and wv["x"].tolist() == [0, 1, 0]


def test_arrays_are_not_copied():
    array = np.ones((2, 3), np.float32)
    assert np.shares_memory(fs.KeyedVectors.from_arrays(["a", "b"], array).vectors, array)
    assert fs.KeyedVectors.from_arrays(["a"], [[1, 2]]).vectors.dtype == np.float64
    for dtype, expected in ((">f4", "f4"), (">f8", "f8"), ("f2", "f4"), ("i2", "f4"), ("i4", "f8")):
        wv = fs.KeyedVectors.from_arrays(["a", "b"], array.astype(dtype))
        assert wv.vectors.dtype == np.dtype(expected) and wv.vectors.dtype.isnative
        np.testing.assert_array_equal(wv.vectors, array.astype(dtype))
    counted = fs.KeyedVectors.from_arrays(["a"], array[:1], counts=[4])
    assert counted.get_vecattr("a", "count") == 4


# --- what is similar ----------------------------------------------------------------------------


def test_similarity_by_hand(wv):
    assert wv.similarity("king", "man") == pytest.approx(4 / 20**0.5)
    assert wv.distance("king", "man") == pytest.approx(1 - 4 / 20**0.5)
    assert wv.similarity("king", "zero") == 0
    expected = [1, 9 / 130**0.5, 4 / 20**0.5, 0.6, 7.2 / 54.4**0.5, 0]
    np.testing.assert_allclose(wv.similarities("king"), expected, rtol=1e-6)
    np.testing.assert_allclose(wv.similarities(np.array([6.0, 2])), expected, rtol=1e-6)
    np.testing.assert_allclose(wv.distances("king", ["man"]), [1 - expected[2]], rtol=1e-6)
    assert wv.n_similarity(["king", "none"], ["man", "woman"]) == pytest.approx(10 / 200**0.5)


def test_most_similar_by_hand(wv):
    similar = wv.most_similar(positive=["king", "woman"], negative=["man"])
    mean = np.array([4, 4]) / 10**0.5 - np.array([1, 1]) / 2**0.5
    assert [key for key, _ in similar] == ["queen", "Man", "zero"]
    cosine = mean @ [2, 3] / np.linalg.norm(mean) / 13**0.5
    assert similar[0][1] == pytest.approx(cosine) and similar[2][1] == 0
    assert wv.most_similar("king", topn=0) == []
    assert [key for key, _ in wv.most_similar("king", topn=2)] == ["Man", "man"]
    assert [key for key, _ in wv.most_similar("king", topn=9)] == [
        "Man",
        "man",
        "queen",
        "woman",
        "zero",
    ]


def test_equally_similar_keys_come_by_place(wv):
    wv.vectors = np.ones((6, 2))
    assert [key for key, _ in wv.most_similar("queen", topn=3)] == ["king", "man", "woman"]
    scores = np.array([1, 3, 3, 2, 3, 0.0])
    assert vector_search.best(scores, 2).tolist() == [1, 2]
    assert vector_search.best(scores, 4).tolist() == [1, 2, 4, 3]
    assert vector_search.best(scores, 9).tolist() == [1, 2, 4, 3, 0, 5]


def test_weights_and_vectors_in_a_query(wv):
    assert wv.most_similar([("king", 2.0), ("man", -1.0)], topn=None).tolist() == pytest.approx(
        wv.most_similar(["king", "king"], ["man"], topn=None).tolist()
    )
    by_vector = wv.similar_by_vector([3, 1], topn=2)
    assert [key for key, _ in by_vector] == ["king", "Man"]  # nothing is left out
    np.testing.assert_allclose(wv.most_similar("king", topn=None)[2], 4 / 20**0.5, rtol=1e-6)
    assert wv.similar_by_word("king") == wv.similar_by_key("king") == wv.most_similar(["king"])


def test_parts_of_the_keys_are_searched(wv):
    for options in ({"restrict_vocab": 3}, {"clip_end": 3}):
        assert [key for key, _ in wv.most_similar("woman", **options)] == ["queen", "man", "king"]
    assert [key for key, _ in wv.most_similar("king", clip_start=2, clip_end=5)] == [
        "Man",
        "man",
        "woman",
    ]
    assert wv.most_similar("king", clip_start=9) == []
    assert len(wv.most_similar("king", topn=None, clip_start=4)) == 2


@pytest.mark.parametrize(
    ("arguments", "error", "parts"),
    [
        ((), ValueError, ["positive or negative", "got none"]),
        (("prince",), KeyError, ["prince"]),
        ((["king", 17],), KeyError, ["17"]),
        (([np.ones(3)],), ValueError, ["positive", "(2,)", "(3,)"]),
        (([("king", "man")],), TypeError, ["weight", "'man'"]),
        ((1.5,), TypeError, ["positive must be a key", "1.5"]),
        (([1.5],), TypeError, ["positive[0] must be a key", "1.5"]),
        (("king", ["man", True]), TypeError, ["negative[1] must be a key", "True"]),
        (([(None, 2.0)],), TypeError, ["positive[0] must be a key", "None"]),
        (([[3.0, 1.0]],), TypeError, ["positive[0]", "a vector as an array", "[3.0, 1.0]"]),
        ((b"king",), TypeError, ["positive must be a key", "b'king'", "decode"]),
        ((np.array(2),), TypeError, ["positive must be a key", "array(2)"]),
        (("king", None, -1), ValueError, ["topn", "-1"]),
        (("king", None, 2.5), TypeError, ["topn", "2.5"]),
        (("king", None, 2, -1), ValueError, ["clip_start", "-1"]),
        (("king", None, 2, 0, None, 0), ValueError, ["restrict_vocab", "0"]),
    ],
)
def test_bad_queries(wv, arguments, error, parts):
    with raises(error, *parts):
        wv.most_similar(*arguments)


@pytest.mark.parametrize(
    ("number", "parts"),
    [(np.nan, ["finite", "nan"]), (-np.inf, ["finite", "-inf"]), (1e300, ["float32", "float64"])],
)
def test_queries_that_are_no_direction(wv, number, parts):
    vector = np.array([1, number])
    for method, name, *arguments in (
        ("most_similar", "positive", vector),
        ("most_similar", "positive", [(vector, 2.0)]),
        ("most_similar", "negative", "king", ["man", vector]),
        ("most_similar_batch", "positive", [["king"], vector]),
        ("most_similar_cosmul", "positive", vector),
        ("most_similar_cosmul", "negative", "king", vector),
        ("similar_by_vector", "vector", vector),
        ("similarities", "word_or_vector", vector),
        ("distances", "word_or_vector", vector, ["man"]),
        ("get_mean_vector", "keys", vector),
    ):
        with raises(ValueError, name, *parts):
            getattr(wv, method)(*arguments)


def test_an_array_of_integers_may_be_places_or_a_vector(wv):
    some = np.array([3, 1])
    for method, name, *arguments in (
        ("most_similar", "positive", some),
        ("most_similar", "negative", "king", some),
        ("most_similar_batch", "positive", some[None]),
        ("most_similar_cosmul", "positive", some),
        ("get_mean_vector", "keys", some),
        ("n_similarity", "ws2", "king", some),
    ):
        with raises(TypeError, f"{name} must be keys or a vector", f"{name}.tolist()", "float"):
            getattr(wv, method)(*arguments)
    assert wv.most_similar(some.tolist()) == wv.most_similar(["woman", "queen"])
    by_vector = wv.similar_by_vector(some)
    assert wv.most_similar(some.astype(float)) == wv.most_similar([some]) == by_vector
    assert wv.most_similar(some[None]) == by_vector  # rows are vectors
    assert wv.most_similar_batch(some) == wv.most_similar_batch(some.tolist())
    assert wv.rank_by_centrality(some) == wv.rank_by_centrality(["woman", "queen"])


def test_many_queries_are_one_by_one(monkeypatch):
    words, vectors = random_arrays()
    wv = fs.KeyedVectors.from_arrays(words, vectors)
    monkeypatch.setattr(vector_search, "SCORES_AT_ONCE", 900)  # two queries at a time
    positive = ["w1", ["w2", "w3"], vectors[4], [("w5", 0.5), "w6"], 7]
    negative = [None, "w1", ["w2", "w9"], None, []]
    batch = wv.most_similar_batch(positive, negative, topn=6)
    scores = wv.most_similar_batch(positive, negative, topn=None, clip_start=3)
    assert scores.shape == (5, 397)
    for i, pair in enumerate(zip(positive, negative, strict=True)):
        assert_similar(batch[i], wv.most_similar(*pair, topn=6))
        np.testing.assert_allclose(
            scores[i], wv.most_similar(*pair, topn=None, clip_start=3), atol=1e-6
        )
    assert_similar(wv.most_similar_batch(vectors[:2])[1], wv.similar_by_vector(vectors[1]))
    assert wv.most_similar_batch([]) == []
    with raises(TypeError, "sequence of queries", "most_similar"):
        wv.most_similar_batch("w1")
    with raises(ValueError, "each of the 1 queries"):
        wv.most_similar_batch(["w1"], [])
    for wrong in (5, "w", b"w", np.array(3), iter(["w1"])):
        with raises(TypeError, "positive must be a sequence of queries"):
            wv.most_similar_batch(wrong)
        with raises(TypeError, "negative must be a sequence of queries"):
            wv.most_similar_batch(["w1"], wrong)


def test_ranks(wv):
    assert wv.closer_than("king", "queen") == ["man", "Man"]
    assert wv.rank("king", "queen") == 3 and wv.rank("king", "king") == 1
    assert wv.most_similar_to_given("king", ["zero", "woman", "queen"]) == "queen"
    assert wv.doesnt_match(["king", "queen", "man", "zero"]) == "zero"
    with pytest.warns(UserWarning, match="no vector: .'prince'"):
        ranked = wv.rank_by_centrality(["king", "prince", "woman"])
    assert [word for _, word in ranked] in (["king", "woman"], ["woman", "king"])
    with raises(ValueError, "words must hold"):
        wv.doesnt_match(["prince"])


def test_one_key_is_no_list_of_keys(wv):
    for method, name in (
        ("similarities", "other_words"),
        ("distances", "other_words"),
        ("most_similar_to_given", "keys_list"),
    ):
        for key in ("man", 2):
            with raises(TypeError, f"{name} must be a list of keys", f"give [{key!r}]"):
                getattr(wv, method)("king", key)
    with raises(ValueError, "keys_list must hold at least one key, got none"):
        wv.most_similar_to_given("king", [])
    np.testing.assert_array_equal(wv.similarities("king", []), wv.similarities("king"))
    assert wv.most_similar_to_given("king", dict.fromkeys(["zero", "woman"])) == "woman"


def test_mean_vectors(wv):
    units = np.array(ROWS) / np.maximum(np.linalg.norm(ROWS, axis=1), 1)[:, None]
    np.testing.assert_allclose(
        wv.get_mean_vector(["king", "none", "man"]), units[[0, 2]].mean(axis=0), rtol=1e-6
    )
    np.testing.assert_allclose(
        wv.get_mean_vector(["king", "man"], [3, -1], pre_normalize=False), [8 / 4, 2 / 4]
    )
    np.testing.assert_allclose(
        wv.get_mean_vector(["king", np.array([1.0, 5])], pre_normalize=False, post_normalize=True),
        np.array([4, 6]) / 52**0.5,
        rtol=1e-6,
    )
    assert wv.get_mean_vector(["none"]).tolist() == [0, 0]
    with raises(KeyError, "none"):
        wv.get_mean_vector(["none"], ignore_missing=False)
    with raises(ValueError, "keys"):
        wv.get_mean_vector([])
    with raises(ValueError, "weights", "(2,)"):
        wv.get_mean_vector(["king"], [1, 2])
    with raises(KeyError, "ws2", "'none'"):
        wv.n_similarity(["king"], ["none"])


def test_what_no_mean_can_be_taken_of(wv):
    for weight in (np.nan, np.inf):
        with raises(ValueError, "weights must hold finite", f"{weight} as number 1 of 2"):
            wv.get_mean_vector(["king", "man"], [1, weight])
    for wrong in (1.5, None, True, [1.0, 2.0]):
        with raises(TypeError, "keys[1] must be a key, its place, or a vector", str(wrong)):
            wv.get_mean_vector(["king", wrong])
        with raises(TypeError, "ws2[0] must be a key"):
            wv.n_similarity("king", [wrong])
    for name, sets in (("ws1", ([], ["man"])), ("ws2", (["man"], None))):
        with raises(ValueError, f"{name} must hold at least one key, got none"):
            wv.n_similarity(*sets)
    with raises(TypeError, "words[1] must be a string or a place, got 1.5"):
        wv.doesnt_match(["king", 1.5])


def test_cosines_of_what_arrays_can_be_made_of():
    cosines = fs.KeyedVectors.cosine_similarities
    rows = [[1, 0], [1, 1], [0, 0]]
    for vector, others, norms in (
        ([2, 0], rows, None),
        (np.array([2, 0]), np.array(rows), None),
        (np.float16([2, 0]), np.array(rows, np.float16), [1, 2**0.5, 0]),
        (np.array([2.0, 0]), np.array(rows, np.float32), None),
    ):
        np.testing.assert_allclose(cosines(vector, others, norms), [1, 0.5**0.5, 0], rtol=1e-6)
    for arguments, parts in (
        (("king", rows), ["vector_1 must hold numbers"]),
        (([1, 2, 3], rows), ["vector_1", "(2,)", "(3,)"]),
        (([1, np.nan], rows), ["vector_1", "finite", "nan"]),
        (([1, 2], [1, 2]), ["vectors_all", "(n, D)", "(2,)"]),
        (([1, 2], [[1, 2], [np.inf, 0]]), ["vectors_all", "finite", "row 1"]),
        (([1, 2], np.full((1, 2), 3e38, np.float32)), ["vectors_all", "float32", "row 0"]),
        (([1, 2], rows, [1, 2]), ["norms", "(3,)", "(2,)"]),
    ):
        with raises((TypeError, ValueError), *parts):
            cosines(*arguments)


def test_places_are_ranked_as_their_keys():
    wv = fs.KeyedVectors.from_arrays(["a", "b", "c"], np.eye(3))
    assert sorted(key for _, key in wv.rank_by_centrality(["a", 2, 1])) == ["a", "b", "c"]
    assert wv.doesnt_match([0, 1]) in ("a", "b")


def test_what_is_no_list_of_keys_or_counts():
    wv = fs.KeyedVectors.from_arrays(["a", "b"], np.eye(2))
    for wrong in ("ab", [0], 5):
        with raises(TypeError, "keys"):
            wv.vectors_for_all(wrong)
    with raises(ValueError, "counts must not be negative, got -1"):
        fs.KeyedVectors.from_arrays(["a", "b"], np.eye(2), counts=[-1, 2])
    with raises(ValueError, "counts must fit int64, got 9223372036854775808"):
        fs.KeyedVectors.from_arrays(["a", "b"], np.eye(2), counts=np.array([1, 2**63], np.uint64))
    for empty in (fs.KeyedVectors(2), wv):
        with raises(ValueError, "tokens must have vectors") as error:
            empty.embedding_matrix(["x"])
        assert ("such as 'a', 'b'" in str(error.value)) == bool(len(empty))


def test_similarity_among_neighbours(wv):
    nearest = sorted((wv.similarity("king", key) for key in KEYS[1:]), reverse=True)
    for topn in (1, 3):
        expected = wv.similarity("king", "woman") / sum(nearest[:topn])
        found = wv.relative_cosine_similarity("king", "woman", topn)
        assert found == pytest.approx(expected, rel=1e-6)
    assert math.isnan(wv.relative_cosine_similarity("zero", "king"))
    with raises(ValueError, "topn"):
        wv.relative_cosine_similarity("king", "man", 0)
    with raises(KeyError, "prince"):
        wv.relative_cosine_similarity("king", "prince")


def test_cosmul_by_hand(wv):
    cosines = {key: (1 + wv.similarities(key)) / 2 for key in ("king", "woman", "man")}
    expected = cosines["king"] * cosines["woman"] / (cosines["man"] + 1e-6)
    got = wv.most_similar_cosmul(["king", "woman"], "man", topn=None)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert [k for k, _ in wv.most_similar_cosmul(["king", "woman"], "man", restrict_vocab=4)] == [
        "queen"
    ]


def test_bad_arguments_of_cosmul_are_refused_before_any_work(wv, monkeypatch):
    monkeypatch.setattr(vector_similarity, "_cosines", None)
    for arguments, error, parts in (
        (([("king", 2.0)],), TypeError, ["positive[0]", "('king', 2.0)", "for most_similar"]),
        (("king", [("man", 2.0)]), TypeError, ["negative[0]", "for most_similar"]),
        (([[3.0, 1.0]],), TypeError, ["positive[0]", "a vector as an array"]),
        (("king", [1.5]), TypeError, ["negative[0] must be a key", "1.5"]),
        ((None, "man"), ValueError, ["positive must hold at least one key"]),
        (("king", None, 2.5), TypeError, ["topn", "2.5"]),
        (("king", "prince"), KeyError, ["prince"]),
    ):
        with raises(error, *parts):
            wv.most_similar_cosmul(*arguments)


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")
def test_queries_as_gensim(twins):
    ours, theirs = twins
    for arguments in (
        {"positive": "w1"},
        {"positive": ["w1", "w2"], "negative": ["w3"], "topn": 25},
        {"positive": [("w1", 0.3), "w2"], "negative": [("w4", -2.0)]},
        {"positive": ["w1", ours["w9"] * 3]},
        {"negative": "w5"},
        {"positive": 3, "restrict_vocab": 50},
        {"positive": "w1", "clip_start": 20, "clip_end": 90},
    ):
        assert_similar(ours.most_similar(**arguments), theirs.most_similar(**arguments))
        if "topn" not in arguments:
            np.testing.assert_allclose(
                ours.most_similar(**arguments, topn=None),
                theirs.most_similar(**arguments, topn=None),
                atol=1e-6,
            )
    assert_similar(
        ours.most_similar_cosmul(["w1", "w2"], ["w3"]),
        theirs.most_similar_cosmul(["w1", "w2"], ["w3"]),
    )
    assert_similar(
        ours.similar_by_vector(ours["w2"] * 2), theirs.similar_by_vector(theirs["w2"] * 2)
    )
    some = ["w1", "w5", "w9", "w20"]
    assert ours.doesnt_match(some) == theirs.doesnt_match(some)
    assert ours.rank("w1", "w2") == theirs.rank("w1", "w2")
    for topn in (1, 10):
        found = ours.relative_cosine_similarity("w1", "w2", topn)
        assert found == pytest.approx(theirs.relative_cosine_similarity("w1", "w2", topn), rel=1e-5)
    assert ours.closer_than("w1", "w2") == theirs.closer_than("w1", "w2")
    assert ours.similarity("w1", "w2") == pytest.approx(theirs.similarity("w1", "w2"), rel=1e-5)
    assert ours.n_similarity(some, ["w2", "no"]) == pytest.approx(
        theirs.n_similarity(some, ["w2", "no"]), rel=1e-5
    )
    np.testing.assert_allclose(ours.distances("w1"), theirs.distances("w1"), atol=1e-6)
    np.testing.assert_allclose(ours.norms, np.linalg.norm(theirs.vectors, axis=1), rtol=1e-6)
    np.testing.assert_allclose(
        ours.get_mean_vector(some, [1, -2, 3, 0.5]),
        theirs.get_mean_vector(some, [1, -2, 3, 0.5]),
        rtol=1e-5,
    )


# --- evaluation ---------------------------------------------------------------------------------

ANALOGIES = """: family
man woman king queen
king queen man woman

woman queen man king
: nothing
man woman king prince
"""


def test_analogies_by_hand(wv, tmp_path):
    path = tmp_path / "analogies.txt"
    path.write_text(ANALOGIES)
    # Man is man where case doesn't count, and answers none of the questions
    score, (family, nothing, total) = wv.evaluate_word_analogies(path)
    assert (score, family["section"], nothing["section"]) == (1.0, "family", "nothing")
    assert family["correct"][0] == ("MAN", "WOMAN", "KING", "QUEEN")
    assert not nothing["correct"] and not nothing["incorrect"] and not family["incorrect"]
    assert total == {
        "section": "Total accuracy",
        "correct": family["correct"],
        "incorrect": [],
    }
    score, (*_, nothing, total) = wv.evaluate_word_analogies(path, dummy4unknown=True)
    assert score == 0.75 and nothing["incorrect"] == [("MAN", "WOMAN", "KING", "PRINCE")]
    score, (family, *_) = wv.evaluate_word_analogies(path, case_insensitive=False)
    assert score == 2 / 3 and family["incorrect"] == [("woman", "queen", "man", "king")]  # Man
    assert wv.evaluate_word_analogies(path, restrict_vocab=2)[0] == 0.0


def test_an_analogy_that_no_other_word_can_answer_is_not_solved(tmp_path):
    path, three = tmp_path / "analogies.txt", fs.KeyedVectors.from_arrays([*"abc"], np.eye(3))
    path.write_text(": x\na b c a\n")
    score, (section, _) = three.evaluate_word_analogies(path)
    assert score == 0.0 and section["incorrect"] == [("A", "B", "C", "A")]


@pytest.mark.parametrize("options", [{}, {"case_insensitive": False}, {"dummy4unknown": True}])
@pytest.mark.parametrize("restrict", [300_000, 200])
def test_analogies_as_gensim(twins, tmp_path, options, restrict):
    ours, theirs = twins
    rng, path = np.random.default_rng(1), tmp_path / "analogies.txt"
    lines = [": one"]
    for i in range(300):
        a, b, c = rng.choice(ours.index_to_key, 3, replace=False)
        guess = theirs.most_similar([b, c], [a], topn=1, restrict_vocab=restrict)[0][0]
        lines += [": two"] * (i == 150) + [f"{a} {b} {c} {guess if i % 3 else 'w1'}"]
    path.write_text("\n".join([*lines, "w1 w2 w3 none"]))
    score, sections = ours.evaluate_word_analogies(path, restrict, **options)
    expected, their_sections = theirs.evaluate_word_analogies(str(path), restrict, **options)
    assert 0 < score < 1 and score == expected
    assert [s["section"] for s in sections] == [s["section"] for s in their_sections]
    for section, their_section in zip(sections, their_sections, strict=True):
        for outcome in ("correct", "incorrect"):
            assert sorted(section[outcome]) == sorted(their_section[outcome])


def test_judgments_by_hand(wv, tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text(
        "# a comment\nking\tman\t8\nking\tWOMAN\t2\n\nking\tqueen\t9\nking\tprince\t1\n"
    )
    pearson, spearman, unknown = wv.evaluate_word_pairs(path)
    found = [wv.similarity("king", word) for word in ("man", "woman", "queen")]
    assert pearson.statistic == pytest.approx(np.corrcoef([8, 2, 9], found)[0, 1])
    assert spearman.statistic == pytest.approx(0.5) and unknown == 25
    # with one degree of freedom the distribution is Cauchy's: t = 1 / sqrt(3)
    assert spearman.pvalue == pytest.approx(1 - 2 * math.atan(1 / 3**0.5) / math.pi)
    assert wv.evaluate_word_pairs(path, dummy4unknown=True)[2] == 25
    assert wv.evaluate_word_pairs(path, case_insensitive=False)[2] == 50
    path.write_text("king, man, 9\nking, prince, 8\n")
    with raises(ValueError, "pairs.tsv", "at least two", "1 have none"):
        wv.evaluate_word_pairs(path, ", ")


def test_judgments_as_gensim(twins, tmp_path):
    ours, theirs = twins
    rng, path = np.random.default_rng(2), tmp_path / "pairs.tsv"
    pairs = rng.choice([*ours.index_to_key, "none"], (60, 2))
    values = rng.integers(0, 9, 60)  # with ties
    path.write_text("".join(f"{a}\t{b}\t{n}\n" for (a, b), n in zip(pairs, values, strict=True)))
    for options in ({}, {"restrict_vocab": 300}, {"dummy4unknown": True, "restrict_vocab": 300}):
        got = ours.evaluate_word_pairs(path, **options)
        expected = theirs.evaluate_word_pairs(str(path), **options)
        for one, other in zip(got[:2], expected[:2], strict=True):
            assert one.statistic == pytest.approx(other[0], rel=1e-5)
            assert one.pvalue == pytest.approx(other[1], rel=1e-5)
        assert got[2] == expected[2]


@pytest.mark.parametrize(
    ("n", "r", "p"),
    [  # of Student's t with 2 degrees of freedom p = 1 - |r|
        (4, 0.3, 0.7),
        (4, -0.999, 0.001),
        (3, 0.5, 1 - 2 * math.atan(1 / 3**0.5) / math.pi),
        (5, 0.0, 1.0),
        (9, 1.0, 0.0),
        (2, 1.0, 1.0),
        # and of 4: 1 - |r| (3 - r^2) / 2
        (6, 0.6, 1 - 0.6 * (3 - 0.36) / 2),
        (6, 0.02, 1 - 0.02 * (3 - 0.0004) / 2),
    ],
)
def test_probabilities_of_coefficients(n, r, p):
    assert vector_evaluation._pvalue(r, n) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize(
    ("method", "text", "parts"),
    [
        ("analogies", "a b c d\n", ["line 1", ": section"]),
        ("analogies", ": x\na b c\n", ["line 2", "four words", "'a b c'"]),
        ("analogies", "", ["empty"]),
        ("pairs", "a\tb\n", ["line 1", "two words and a number", "'\\t'"]),
        ("pairs", "# x\na\tb\tmuch\n", ["line 2", "two words and a number"]),
        ("pairs", "a\tb\t1\na\tb\tnan\n", ["line 2", "two words and a number"]),
        ("pairs", "a\tb\tinf\n", ["line 1", "two words and a number"]),
    ],
)
def test_bad_evaluation_files(wv, tmp_path, method, text, parts):
    path = tmp_path / "file.txt"
    path.write_text(text)
    with raises(ValueError, "file.txt", *parts):
        getattr(wv, f"evaluate_word_{method}")(path)


# --- pictures -----------------------------------------------------------------------------------


def test_principal_components():
    from fastseq.words import vector_plots

    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((5, 5)))[0][:2]
    directions *= np.sign(directions[range(2), abs(directions).argmax(axis=1)])[:, None]
    spread = rng.standard_normal((20, 2)) * [5, 1]
    spread -= spread.mean(axis=0)
    spread = np.linalg.qr(spread)[0] * [5, 1]  # uncorrelated
    points = vector_plots.project(spread @ directions + 7, "pca", None)
    np.testing.assert_allclose(points, spread, atol=1e-12)
    line = vector_plots.project(np.array([[1.0], [3.0]]), "pca", None)
    np.testing.assert_allclose(line, [[-1, 0], [1, 0]], atol=1e-12)


def test_plot(wv, tmp_path):
    pytest.importorskip("matplotlib")
    wv.set_vecattr("king", "count", 1)
    wv.add_vector("$x$", [1, 2])
    figure = wv.plot(path=tmp_path / "words.png")
    assert [text.get_text() for text in figure.axes[0].texts] == [*KEYS, "$x$"]
    assert (tmp_path / "words.png").stat().st_size > 1000
    figure = wv.plot(["man", "king"])
    points = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(points, [[-1, 0], [1, 0]], atol=1e-6)
    with raises(KeyError, "prince"):
        wv.plot(["prince", "man"])
    with raises(ValueError, "method", "'pca', 'umap', 'tsne'"):
        wv.plot(method="lda")
    with raises(ValueError, "at least two"):
        wv.plot(["man"])
    wv["man"] = [np.nan, 1]
    with raises(ValueError, "finite numbers to be drawn", "1 of them, first for keys[1]"):
        wv.plot(["king", "man", "queen"])


@pytest.mark.parametrize(
    ("method", "module", "name", "option"),
    [
        ("tsne", "sklearn.manifold", "TSNE", {"perplexity": 5 / 3}),
        ("umap", "umap", "UMAP", {"n_neighbors": 5}),
    ],
)
def test_other_projections(wv, monkeypatch, method, module, name, option):
    pytest.importorskip("matplotlib")

    class Projection:
        def __init__(self, **options):
            assert options == option | {"random_state": 3}

        def fit_transform(self, vectors):
            return vectors[:, ::-1]

    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**{name: Projection}))
    figure = wv.plot(method=method, seed=3)
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), np.array(ROWS)[:, ::-1])
    monkeypatch.setitem(sys.modules, module, None)
    with raises(ImportError, f"method='{method}' needs", "pip install"):
        wv.plot(method=method)
