"""Phrases: scores by hand, and all of it against gensim where it is there."""

import itertools
import json
import math

import numpy as np
import pytest
from helpers import raises

import fastseq as fs
from fastseq.words.phrases import ENGLISH_CONNECTOR_WORDS, FrozenPhrases

LINES = [["in", "new", "york"], ["new", "york", "is", "new"], ["old", "york"]]


def corpus(count=300, seed=0):
    """Sentences in which some words like each other."""
    rng = np.random.default_rng(seed)
    words = [*"abcdefgh", "of", "the"]
    lines = []
    for _ in range(count):
        line = rng.choice(words, rng.integers(0, 9)).tolist()
        for pair in (["new", "york"], ["bank", "of", "the", "west"], ["a", "b"]):
            if rng.random() < 0.3:
                at = rng.integers(0, len(line) + 1)
                line[at:at] = pair
        lines.append(line)
    return lines


def test_default_scores_by_hand():
    phrases = fs.Phrases(LINES, min_count=1, threshold=0.1)
    # in new york is old, in_new new_york york_is is_new old_york
    assert len(phrases.vocab) == 10 and phrases.corpus_word_count == 9
    assert phrases.vocab["new"] == 3 and phrases.vocab["new_york"] == 2
    assert phrases.export_phrases() == {"new_york": (2 - 1) / (3 * 3) * 10}
    assert list(phrases.analyze_sentence(["new", "york", "new"])) == [
        ("new_york", 10 / 9),
        ("new", None),
    ]
    assert fs.Phrases(LINES, min_count=1, threshold=10 / 9).export_phrases() == {}


def test_npmi_by_hand():
    phrases = fs.Phrases(LINES, min_count=2, threshold=-1, scoring="npmi")
    expected = math.log((2 / 9) / (3 / 9) ** 2) / -math.log(2 / 9)
    assert phrases.export_phrases() == {"new_york": pytest.approx(expected)}
    once = fs.Phrases([["a", "b"]], min_count=1, threshold=-1, scoring="npmi").export_phrases()
    assert once == {"a_b": pytest.approx(math.log(2) / math.log(2))}


def test_connector_words_by_hand():
    lines = [["the", "bank", "of", "the", "west", "of"], ["bank", "of", "west"]]
    phrases = fs.Phrases(
        lines, min_count=0.5, threshold=0.1, connector_words=ENGLISH_CONNECTOR_WORDS
    )
    assert phrases.vocab == {"bank": 2, "west": 2, "bank_of_the_west": 1, "bank_of_west": 1}
    assert phrases.corpus_word_count == 9
    assert phrases[["the", "bank", "of", "the", "west", "of"]] == ["the", "bank_of_the_west", "of"]
    assert phrases[["bank", "of"]] == ["bank", "of"] and phrases[["of", "west"]] == ["of", "west"]
    assert phrases[["bank", "the", "west"]] == ["bank", "the", "west"]
    assert phrases[[]] == []


def test_sentences_are_taken_one_by_one():
    phrases = fs.Phrases(LINES, min_count=1, threshold=1)
    taken = []

    def endless():
        for i in itertools.count():
            taken.append(i)
            yield ["new", "york"]

    result = phrases[endless()]
    assert list(itertools.islice(result, 3)) == [["new_york"]] * 3 and len(taken) == 3
    again = phrases[LINES]
    assert list(again) == list(again) != LINES  # as often as epochs need it
    assert phrases[iter(["new", "york"])] == ["new_york"]
    assert phrases[("new", "york")] == ["new_york"]
    assert phrases.find_phrases(LINES) == phrases.export_phrases()


def test_more_sentences():
    once = fs.Phrases(corpus(), min_count=3, threshold=0.5)
    parts = fs.Phrases(min_count=3, threshold=0.5)
    parts.add_vocab(corpus()[:100])
    parts.add_vocab(tuple(line) for line in corpus()[100:])
    assert parts.vocab == once.vocab and parts.corpus_word_count == once.corpus_word_count
    assert parts.min_reduce == 1 and parts.export_phrases() == once.export_phrases() != {}


def test_phrases_of_phrases():
    lines = [["new", "york", "city"]] * 3 + [["york", "is", "new"], ["city"]]
    pairs = fs.Phrases(lines, min_count=1, threshold=0.1)
    triples = fs.Phrases(pairs[lines], min_count=1, threshold=0.1)
    for phrases in (triples, triples.freeze()):
        assert list(phrases[pairs[lines[:1]]]) == [["new_york_city"]]


SETTINGS = [
    {"min_count": 1, "threshold": 0.5},
    {"min_count": 5, "threshold": 0.3, "delimiter": "++"},
    {"min_count": 2, "threshold": 0.1, "scoring": "npmi"},
    {"min_count": 3, "threshold": -0.2, "scoring": "npmi"},
    {"min_count": 2, "threshold": 0.1, "max_vocab_size": 110},
]


@pytest.mark.parametrize("connectors", [frozenset(), ENGLISH_CONNECTOR_WORDS])
@pytest.mark.parametrize("settings", SETTINGS)
def test_as_gensim(settings, connectors):
    theirs = pytest.importorskip("gensim.models.phrases")
    if connectors:
        assert connectors == theirs.ENGLISH_CONNECTOR_WORDS
    lines, others = corpus(), corpus(50, seed=1)
    pair = [
        cls(lines, connector_words=connectors, **settings) for cls in (fs.Phrases, theirs.Phrases)
    ]
    # gensim counts forgetting from 1 on again when sentences are added
    for more in (None,) if "max_vocab_size" in settings else (None, others):
        if more is not None:
            for phrases in pair:
                phrases.add_vocab(more)
        ours, expected = pair
        assert ours.vocab == expected.vocab
        assert ours.corpus_word_count == expected.corpus_word_count
        assert ours.export_phrases() == pytest.approx(expected.export_phrases(), rel=1e-12)
        assert len(ours.export_phrases()) > 1
        assert list(ours[others]) == list(expected[others])
        assert list(ours.freeze()[others]) == list(expected.freeze()[others])


def test_frozen_phrases_in_files(tmp_path):
    path, connectors = tmp_path / "phrases.json", {"of", "the"}
    frozen = fs.Phrases(corpus(), 2, 0.7, delimiter="ß", connector_words=connectors).freeze()
    frozen.save(path)
    again = FrozenPhrases.load(path)
    assert vars(again) == vars(frozen) and len(again.phrasegrams) > 1
    assert list(again[corpus(9, seed=2)]) == list(frozen[corpus(9, seed=2)])
    content = json.loads(path.read_text())
    for text, parts in (
        ("", ["phrases.json: expected phrases as JSON"]),
        ("[" * 100_000, ["phrases.json: expected phrases as JSON"]),
        ("[]", ["phrases.json", '"format"']),
        (json.dumps(content | {"version": 2}), ["phrases.json", "version 1", "2"]),
        (json.dumps(content | {"phrases": [1]}), ["phrases.json", "damaged"]),
        (json.dumps(content | {"delimiter": 3}), ["phrases.json", "damaged", "delimiter"]),
        (json.dumps(content | {"threshold": "x"}), ["phrases.json", "damaged", "threshold"]),
        (json.dumps(content | {"min_count": None}), ["phrases.json", "damaged", "min_count"]),
        (json.dumps(content | {"connector_words": "ab"}), ["phrases.json", "connector_words"]),
        (json.dumps({k: content[k] for k in ("format", "version")}), ["phrases.json", "damaged"]),
    ):
        path.write_text(text)
        with raises(ValueError, *parts):
            FrozenPhrases.load(path)


def test_numbers_of_numpys_are_saved(tmp_path):
    path = tmp_path / "phrases.json"
    frozen = FrozenPhrases({"a_b": np.int64(3), "b_c": np.float32(0.5)}, threshold=np.int64(1))
    frozen.min_count, frozen.threshold = np.int64(2), np.float32(0.25)
    frozen.phrasegrams["c_d"] = np.int32(7)
    frozen.save(path)
    again = FrozenPhrases.load(path)
    assert again.phrasegrams == {"a_b": 3, "b_c": 0.5, "c_d": 7}
    assert (again.min_count, again.threshold) == (2, 0.25)
    frozen.min_count = "x"
    with raises(TypeError, "min_count", "'x'"):
        frozen.save(path)
    assert vars(FrozenPhrases.load(path)) == vars(again)


@pytest.mark.parametrize(
    ("phrases", "parts"),
    [
        (["a_b"], ["phrasegrams must be a mapping", "['a_b']"]),
        ({("a", "b"): 1.0}, ["phrasegrams must have strings", "('a', 'b')"]),
        ({"a_b": "x"}, ["phrasegrams['a_b'] must be a number", "'x'"]),
        ({"a_b": None}, ["phrasegrams['a_b'] must be a number", "None"]),
        ({"a_b": math.nan}, ["phrasegrams['a_b'] must be a number", "nan"]),
    ],
)
def test_bad_phrases(phrases, parts):
    with raises((TypeError, ValueError), *parts):
        FrozenPhrases(phrases)


@pytest.mark.parametrize(
    ("options", "error", "parts"),
    [
        ({"min_count": 0}, ValueError, ["min_count", "above 0"]),
        ({"threshold": 0}, ValueError, ["threshold", "above 0"]),
        ({"threshold": 2, "scoring": "npmi"}, ValueError, ["threshold", "-1 and 1", "2"]),
        ({"scoring": "pmi"}, ValueError, ["scoring", "'default', 'npmi'", "'pmi'"]),
        ({"max_vocab_size": 0}, ValueError, ["max_vocab_size", "at least 1"]),
        ({"delimiter": ""}, ValueError, ["delimiter"]),
        ({"delimiter": b"_"}, ValueError, ["delimiter", "b'_'"]),
        ({"connector_words": "of"}, TypeError, ["connector_words", "'of'"]),
        ({"connector_words": [1]}, TypeError, ["connector_words", "1"]),
        ({"sentences": "a b"}, TypeError, ["sentences", "str"]),
        ({"sentences": [["a"], "a b"]}, TypeError, ["sentences[1]", "'a b'", "split"]),
        ({"sentences": [["a", 1]]}, TypeError, ["sentences[0]", "1"]),
    ],
)
def test_bad_arguments(options, error, parts):
    with raises(error, *parts):
        fs.Phrases(**options)


def test_strings_in_the_place_of_sentences():
    phrases = fs.Phrases(LINES, min_count=1, threshold=1)
    for wrong in (phrases, phrases.freeze()):
        with raises(TypeError, "sentence must be a list of words", "'new york'"):
            wrong.analyze_sentence("new york")
        with raises(TypeError, "sentence must be a list of words", "'new'"):
            wrong.find_phrases(["new", "york"])
        with raises(TypeError, "sentences must be an iterable of lists of words"):
            wrong.find_phrases("new york")
        with raises(TypeError, "sentence must be a list of words", "'new york'"):
            list(wrong[[["a"], "new york"]])
        for word in (1, None, ["a"], b"a"):
            with raises(TypeError, "sentence must hold strings", repr(word)):
                list(wrong[[["new", word]]])


def test_bad_sentences():
    with raises(TypeError, "sentences must be", "got 3"):
        fs.Phrases(LINES)[3]
    with raises(TypeError, "sentences must be", "'new york'"):
        fs.Phrases(LINES)["new york"]
