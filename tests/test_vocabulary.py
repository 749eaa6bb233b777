"""Vocabularies: ids, order, text, files, and what they refuse."""

import copy
import json
import pickle
import sys
from collections import Counter

import numpy as np
import pytest
from helpers import raises, shared_data

import fastseq as fs
from fastseq import files

# SWIG's modules, such as SentencePiece, give one when they are imported
pytestmark = pytest.mark.filterwarnings("ignore:builtin type .*wig:DeprecationWarning")

LINES = [["the", "cat", "sat"], ["the", "cat"], [], ["the", "bat", "sat"]]


@pytest.fixture
def words():
    return fs.Vocabulary.build(LINES)


# --- building -------------------------------------------------------------------------------


def test_order_is_special_tokens_then_count_then_text(words):
    assert words.tokens == ("<pad>", "<unk>", "the", "cat", "sat", "bat")
    assert words.counts.tolist() == [0, 0, 3, 2, 2, 1]
    assert (words.padding_id, words.unknown_id, words.begin_id, words.end_id) == (0, 1, None, None)
    assert len(words) == 6 and "cat" in words and "dog" not in words


def test_order_does_not_depend_on_that_of_the_data():
    rng = np.random.default_rng(0)
    tokens = [f"w{i}" for i in rng.zipf(1.5, 500) % 50]
    first = fs.Vocabulary.build([tokens])
    assert first == fs.Vocabulary.build([[t] for t in reversed(tokens)])
    counts = Counter(tokens)
    assert list(first.tokens[2:]) == sorted(counts, key=lambda t: (-counts[t], t))


def test_rare_tokens_become_the_unknown_token():
    vocabulary = fs.Vocabulary.build(LINES, min_count=2)
    assert vocabulary.tokens == ("<pad>", "<unk>", "the", "cat", "sat")
    assert vocabulary.counts.tolist() == [0, 1, 3, 2, 2]  # one bat
    small = fs.Vocabulary.build(LINES, max_size=3, padding=None, end="</s>")
    assert small.tokens == ("<unk>", "</s>", "the")
    assert small.counts.tolist() == [5, 0, 3]


def test_special_tokens_in_the_data_are_the_same_tokens():
    vocabulary = fs.Vocabulary.build([["a", "<unk>", "</s>"], ["<unk>"]], end="</s>", min_count=5)
    assert vocabulary.tokens == ("<pad>", "<unk>", "</s>")
    assert vocabulary.counts.tolist() == [0, 3, 1]
    assert vocabulary.encode(["</s>", "<unk>", "<pad>"]).tolist() == [2, 1, 0]


def test_one_token_may_begin_and_end():
    vocabulary = fs.Vocabulary.build(LINES, begin="<s>", end="<s>")
    assert vocabulary.encode(["cat"], begin=True, end=True).tolist() == [2, 4, 2]


@pytest.mark.parametrize(
    "text", ["hello", ["hel", "lo"], [["h", "e"], ["l", "l", "o"]], np.array(list("hello"))]
)
def test_characters_from_strings_and_lists(text):
    vocabulary = fs.Vocabulary.build(text, unit="character", padding=None, unknown=None)
    assert vocabulary.tokens == ("l", "e", "h", "o")
    assert vocabulary.counts.tolist() == [2, 1, 1, 1]


class Frame:
    """What all data frames do: they give the names of their columns."""

    columns = ("a", "b")

    def __iter__(self):
        return iter(self.columns)


@pytest.mark.parametrize(
    "sequences, options, error, parts",
    [
        (["a b"], {}, TypeError, ["sequences[0]", "list of words", "'a b'", "split"]),
        ("a b", {}, TypeError, ["list of words", "'a b'"]),
        ([["a"], 5], {}, TypeError, ["sequences[1]", "sequence of strings"]),
        ([["a"], ["b", 5]], {}, TypeError, ["must be a string", "5", "int"]),
        ([["a"], [["b"]]], {}, TypeError, ["sequences[1]", "unhashable"]),
        ([[], []], {}, ValueError, ["at least one token"]),
        (LINES, {"min_count": 0}, ValueError, ["min_count", "at least 1", "0"]),
        (LINES, {"max_size": 1}, ValueError, ["max_size", "2 special", "'<pad>', '<unk>'", "1"]),
        (LINES, {"min_count": 2, "unknown": None}, ValueError, ["leave out 1 token", "unknown="]),
        (LINES, {"max_size": 2, "unknown": None}, ValueError, ["leave out 3 tokens", "unknown="]),
        (LINES, {"unit": "piece"}, ValueError, ["unit", "'word', 'character'", "'piece'"]),
        (LINES, {"end": 3}, TypeError, ["end", "string or None", "3"]),
        ([["a"], None], {}, TypeError, ["sequences[1]", "sequence of strings", "NoneType"]),
        ([["a"], {"b": 3}], {}, TypeError, ["sequences[1]", "sequence of strings", "dict"]),
        ({"a": 1}, {"unit": "character"}, TypeError, ["sequences", "list of texts", "dict"]),
        (Frame(), {"unit": "character"}, TypeError, ["sequences", "data frame", "columns"]),
        (LINES, {"unit": "character"}, ValueError, ["single characters", "'the'"]),
    ],
)
def test_bad_data(sequences, options, error, parts):
    with raises(error, *parts):
        fs.Vocabulary.build(sequences, **options)


@pytest.mark.parametrize(
    "tokens, options, error, parts",
    [
        ([], {}, ValueError, ["at least one token"]),
        ("ab", {}, TypeError, ["sequence of strings", "'ab'"]),
        (["a", 1], {}, TypeError, ["tokens[1]", "string", "1"]),
        (["a", "b", "a"], {}, ValueError, ["differ", "'a' twice"]),
        (["a"], {"unknown": "<unk>"}, ValueError, ["unknown", "one of the tokens", "'<unk>'"]),
        (["a"], {"counts": [1, 2]}, ValueError, ["counts", "(1,)", "(2,)"]),
        (["a"], {"counts": [1.5]}, TypeError, ["counts", "integers", "float64"]),
        (["a", "b"], {"counts": [0, -2]}, ValueError, ["counts", "0 and", "-2 at counts[1]"]),
        (["a"], {"counts": np.array([1 << 63], "u8")}, ValueError, [f"{1 << 63} at counts[0]"]),
        ({"a", "b"}, {}, TypeError, ["sequence of strings", "a set", "sorted"]),
    ],
)
def test_bad_tokens(tokens, options, error, parts):
    with raises(error, *parts):
        fs.Vocabulary(tokens, **options)


# --- encoding and decoding ------------------------------------------------------------------


def test_encode_looks_every_token_up(words):
    ids = words.encode(["sat", "the", "dog", "cat"])
    assert ids.dtype == np.int64 and ids.tolist() == [4, 2, 1, 3]
    assert words.encode([]).tolist() == []
    assert words.encode(t for t in ("sat", "the")).tolist() == [4, 2]


@pytest.mark.parametrize("dtype", [str, object])
def test_arrays_keep_their_shape(words, dtype):
    tokens = np.array([["the", "cat"], ["dog", "sat"], ["bat", "the"]], dtype)
    ids = words.encode(tokens)
    assert ids.tolist() == [[2, 3], [1, 4], [5, 2]]
    back = words.decode(ids)
    assert back.shape == (3, 2) and back.dtype == object
    assert back.tolist() == [["the", "cat"], ["<unk>", "sat"], ["bat", "the"]]
    assert words.decode(np.uint8(3)) == "cat"
    assert words.decode([]).tolist() == []


def test_encode_all_adds_begin_and_end_to_each():
    vocabulary = fs.Vocabulary.build(LINES, begin="<s>", end="</s>")
    found = [ids.tolist() for ids in vocabulary.encode_all(LINES[:3], begin=True, end=True)]
    assert found == [[2, 4, 5, 6, 3], [2, 4, 5, 3], [2, 3]]
    assert vocabulary.to_text(found[0]) == "the cat sat"


TEXT = "naïve 日本語 \U0001f600\0 e\u0301\u2028\ud800 x"


def test_strings_are_encoded_like_lists_of_characters():
    vocabulary = fs.Vocabulary.build(TEXT, unit="character", begin="\n")
    ids = vocabulary.encode(TEXT)
    np.testing.assert_array_equal(ids, vocabulary.encode(list(TEXT)), strict=True)
    assert vocabulary.to_text(ids) == TEXT
    unseen = "é\U0010ffff\nï"  # between known characters, after all of them, and special
    assert vocabulary.encode(unseen).tolist() == vocabulary.encode(list(unseen)).tolist()
    assert vocabulary.encode(unseen).tolist()[:3] == [1, 1, vocabulary.begin_id]
    assert vocabulary.encode("").tolist() == []


def test_words_are_split_and_joined(words):
    tokens = words.split("  the\tcat\u00a0sat \n")
    assert tokens == ["the", "cat", "sat"] and words.join(tokens) == "the cat sat"
    assert words.to_text([0, 2, 1, 3, 0]) == "the <unk> cat"
    characters = fs.Vocabulary.build("abc", unit="character")
    assert characters.split("a b") == ["a", " ", "b"] and characters.join("ab") == "ab"


@pytest.mark.parametrize(
    "tokens, options, error, parts",
    [
        ("the cat", {}, TypeError, ["sequence of strings", "'the cat'", "split"]),
        (["the", 2], {}, TypeError, ["tokens[1]", "string", "2", "int"]),
        (["the", None], {}, TypeError, ["tokens[1]", "string", "None"]),
        (["the", float("nan")], {}, TypeError, ["tokens[1]", "string", "nan"]),
        ([["the"]], {}, TypeError, ["tokens[0]", "string", "['the']", "list"]),
        (np.array([1, 2]), {}, TypeError, ["tokens[0]", "string", "1"]),
        (5, {}, TypeError, ["sequence of strings", "int"]),
        (["the"], {"begin": True}, ValueError, ["begin=True", "<begin>"]),
        (["the"], {"begin": 3}, TypeError, ["begin", "True or False", "3"]),
        (["the"], {"end": ""}, TypeError, ["end", "True or False", "''"]),
        ({"the"}, {}, TypeError, ["sequence of strings", "a set", "sorted"]),
    ],
)
def test_what_cannot_be_encoded(words, tokens, options, error, parts):
    with raises(error, *parts):
        words.encode(tokens, **options)


@pytest.mark.parametrize(
    "sequences, options, parts",
    [
        (5, {}, ["sequences", "list of texts", "int"]),
        ("the", {}, ["sequences", "the string 'the'", "in a list"]),
        ({"the": 1}, {}, ["sequences", "dict"]),
        (Frame(), {}, ["sequences", "data frame"]),
        ([], {"begin": 3}, ["begin must be True or False", "3"]),
    ],
)
def test_what_are_no_sequences(sequences, options, parts):
    characters = fs.Vocabulary.build("the", unit="character")
    with raises(TypeError, *parts):
        characters.encode_all(sequences, **options)


@pytest.mark.parametrize("tokens, parts", [(5, ["int"]), (["a", 1], ["1 of type int"])])
def test_what_cannot_be_joined(words, tokens, parts):
    for vocabulary in (words, fs.Vocabulary(["a"], unit="character")):
        with raises(TypeError, "tokens", "string", *parts):
            vocabulary.join(tokens)
    with raises(TypeError, "sequence of strings", "'the cat'"):
        words.join("the cat")


@pytest.mark.parametrize("ids, shape", [(3, "()"), ([[2, 3], [1, 4]], "(2, 2)")])
def test_texts_are_of_one_sequence(words, ids, shape):
    with raises(ValueError, "ids", "one sequence", shape, "one by one"):
        words.to_text(ids)


def test_begin_and_end_go_with_sequences_only():
    vocabulary = fs.Vocabulary.build(LINES, end="</s>")
    with raises(ValueError, "1-D", "(1, 2)"):
        vocabulary.encode(np.array([["the", "cat"]]), end=True)


def test_an_unknown_token_is_named_with_its_place():
    words = fs.Vocabulary.build(LINES, unknown=None)
    with raises(ValueError, "tokens[1] = 'dog'", "no unknown token", "unknown="):
        words.encode(["the", "dog"])
    with raises(ValueError, "sequences[2]", "tokens[0] = 'dog'"):
        words.encode_all([["the"], [], ["dog"]])
    with raises(TypeError, "sequences[1]", "tokens[0]", "5"):
        words.encode_all([["the"], [5]])
    characters = fs.Vocabulary.build("abc", unit="character", unknown=None)
    with raises(ValueError, "tokens[2] = 'd'"):
        characters.encode("abd")


@pytest.mark.parametrize(
    "ids, error, parts",
    [
        ([0, -1], ValueError, ["between 0 and 5", "ids[1] = -1"]),
        ([[0, 1], [6, 0]], ValueError, ["between 0 and 5", "ids[1, 0] = 6"]),
        ([0.0], TypeError, ["ids", "integers", "float64"]),
        (["a"], TypeError, ["ids", "integers"]),
        ([True], TypeError, ["ids", "integers", "bool"]),
        ([[0], [0, 1]], ValueError, ["ids", "array of integers", "one length"]),
        (None, TypeError, ["ids", "integers", "object"]),
    ],
)
def test_what_cannot_be_decoded(words, ids, error, parts):
    with raises(error, *parts):
        words.decode(ids)


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vocabulary",
    [
        fs.Vocabulary.build(LINES, end="</s>"),
        fs.Vocabulary.build(TEXT, unit="character", padding=None),
        fs.Vocabulary(['say "no"', "back\\slash", "two words", "tab\t"]),
    ],
    ids=["words", "characters", "awkward"],
)
def test_saved_and_loaded_is_the_same(vocabulary, tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabulary.save(path)
    copies = [fs.Vocabulary.load(path), fs.Vocabulary.from_json(vocabulary.to_json())]
    copies += [copy.deepcopy(vocabulary), pickle.loads(pickle.dumps(vocabulary))]
    for other in copies:
        assert other == vocabulary
        assert (other.tokens, other.unit) == (vocabulary.tokens, vocabulary.unit)
        assert other.counts.tolist() == vocabulary.counts.tolist()
        assert (other.padding_id, other.unknown_id) == (
            vocabulary.padding_id,
            vocabulary.unknown_id,
        )
        assert (other.begin, other.end) == (vocabulary.begin, vocabulary.end)
    json.loads(path.read_text("utf-8"))  # any JSON reader can
    assert [p.name for p in tmp_path.iterdir()] == ["vocabulary.json"]


def test_the_file_can_be_read_by_people(words, tmp_path):
    words.save(tmp_path / "v.json")
    assert '  ["cat", 2],\n' in (tmp_path / "v.json").read_text("utf-8")


def test_vocabularies_differ_by_all_they_hold(words):
    assert words != fs.Vocabulary.build(LINES, unknown="?")
    assert words != fs.Vocabulary.build([*LINES, ["the"]])  # counts
    assert words != 5


@pytest.mark.parametrize(
    "text, parts",
    [
        ("", ["JSON", "can't be read"]),
        ("[" * 100_000, ["JSON", "can't be read"]),
        ('{"format": "fastseq vocabulary", "version": 1, "tok', ["can't be read"]),
        ("[]", ["without", "format"]),
        ('{"tokens": []}', ["without", "format"]),
        ('{"format": "fastseq vocabulary", "version": 2}', ["version 1", "2", "newer"]),
        ('{"format": "fastseq vocabulary", "version": 1}', ["damaged", "tokens"]),
        ('{"format": "fastseq vocabulary", "version": 1, "tokens": [["a"]]}', ["damaged"]),
        ('{"format": "fastseq vocabulary", "version": 1, "tokens": [[1, 1]]}', ["damaged"]),
        ('{"format": "fastseq vocabulary", "version": 1, "tokens": [["a", 1]], "x": 1}', ["x"]),
        ('{"format": "fastseq vocabulary", "version": 1, "unit": "piece"}', ["Subwords"]),
    ],
)
def test_damaged_files(text, parts, tmp_path):
    path = tmp_path / "v.json"
    path.write_text(text, "utf-8")
    with raises(ValueError, str(path), *parts):
        fs.Vocabulary.load(path)


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "v.json"
    path.write_bytes(b"\xff\xfe\x00")
    with raises(ValueError, str(path), "utf-8"):
        fs.Vocabulary.load(path)


def test_a_failed_write_leaves_the_old_file(words, tmp_path, monkeypatch):
    path = tmp_path / "v.json"
    words.save(path)
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        fs.Vocabulary.build([["other"]]).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["v.json"]


def test_writing_keeps_links_and_permissions(words, tmp_path):
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    words.save(link)
    assert link.is_symlink() and fs.Vocabulary.load(target) == words
    assert target.stat().st_mode & 0o777 == 0o600


def test_no_folder_to_write_to(words, tmp_path):
    with pytest.raises(FileNotFoundError):
        words.save(tmp_path / "no" / "v.json")


# --- subwords -------------------------------------------------------------------------------

SENTENCES = ["the cat sat", "the hat is on the cat", "a bat sat on that hat"] * 5


@pytest.fixture(scope="module")
def subwords():
    pytest.importorskip("sentencepiece")
    return fs.Subwords.train(SENTENCES, 20, model="bpe", begin="<s>", end="</s>")


def test_subwords_have_the_interface_of_a_vocabulary(subwords):
    assert len(subwords) == 20 and subwords.unit == "piece"
    assert subwords.tokens[:4] == ("<pad>", "<unk>", "<s>", "</s>")
    assert (subwords.padding_id, subwords.unknown_id) == (0, 1)
    ids = subwords.encode(subwords.split("the bat sat on 日"), begin=True, end=True)
    assert (ids[0], ids[-1]) == (2, 3) and ids.tolist().count(1) == 1
    assert subwords.to_text(ids[1:-3]) == "the bat sat on"
    assert subwords.to_text(subwords.encode(subwords.split("that cat"), end=True)) == "that cat"
    assert subwords.decode(ids)[0] == "<s>"
    with raises(TypeError, "'the bat'", "split"):
        subwords.encode("the bat")


def test_subwords_get_the_ids_that_sentencepiece_gives(subwords):
    import sentencepiece

    theirs = sentencepiece.SentencePieceProcessor(model_proto=subwords.model)
    for text in [*SENTENCES, "zebra the", " ", ""]:
        assert subwords.encode(subwords.split(text)).tolist() == theirs.EncodeAsIds(text)


def test_subwords_are_deterministic_and_saved_whole(subwords, tmp_path):
    path = tmp_path / "subwords.model"
    subwords.save(path)
    again = fs.Subwords.train(SENTENCES, 20, model="bpe", begin="<s>", end="</s>")
    copies = [fs.Subwords.load(path), fs.Subwords.from_json(subwords.to_json()), again]
    copies += [copy.deepcopy(subwords), pickle.loads(pickle.dumps(subwords))]
    for other in copies:
        assert other.model == subwords.model and other == subwords
        assert other.split("the bat") == subwords.split("the bat")


def test_long_texts_are_not_left_out_of_the_training(subwords):
    found = fs.Subwords.train([*SENTENCES, "z " * 5000], 19)
    assert any("z" in token for token in found.tokens)


@pytest.mark.parametrize(
    "call, error, parts",
    [
        (lambda: fs.Subwords.train(SENTENCES, 500), ValueError, ["500", "too high"]),
        (lambda: fs.Subwords.train([], 10), ValueError, ["10 subwords"]),
        (lambda: fs.Subwords.train("text", 10), TypeError, ["texts", "list"]),
        (lambda: fs.Subwords.train(3, 10), TypeError, ["texts", "list", "int"]),
        (
            lambda: fs.Subwords.train(["a", "a\ud800"], 9),
            ValueError,
            ["texts[1]", "surrogate", "1"],
        ),
        (lambda: fs.Subwords.train(SENTENCES, 18, end=3), TypeError, ["end", "string", "3"]),
        (
            lambda: fs.Subwords.train(SENTENCES, 18, vocab_size=9),
            TypeError,
            ["vocab_size", "there is size"],
        ),
        (lambda: fs.Subwords.build([["a"]]), TypeError, ["built", "Subwords.train(texts, size)"]),
        (lambda: fs.Subwords.train(["a", 1], 10), TypeError, ["texts[1]", "string", "1"]),
        (lambda: fs.Subwords.train(SENTENCES, 18, model="x"), ValueError, ["model", "'x'"]),
        (lambda: fs.Subwords.train(SENTENCES, 18, unknown=None), ValueError, ["unknown"]),
        (lambda: fs.Subwords("m.model"), TypeError, ["bytes", "str", "Subwords.load"]),
        (lambda: fs.Subwords(b""), ValueError, ["SentencePiece model", "empty"]),
        (lambda: fs.Subwords(b"junk"), ValueError, ["SentencePiece model"]),
    ],
)
def test_bad_subwords(subwords, call, error, parts):
    with raises(error, *parts):
        call()


@pytest.mark.parametrize("model", ["!!", "AAAA", "", "é", 5, None])
def test_damaged_subwords(subwords, model):
    content = json.loads(subwords.to_json()) | {"model": model}
    with raises(ValueError, "whole subwords", "damaged"):
        fs.Subwords.from_json(json.dumps(content))


@pytest.mark.parametrize("kind", [fs.Vocabulary, fs.Subwords])
def test_json_is_a_string(kind):
    with raises(TypeError, "text", "JSON", "int", "load"):
        kind.from_json(5)


def test_what_subwords_cannot_take(subwords):
    for tokens, parts in ((["l", 1], ["1 of type int"]), (3, ["int"]), ("low", ["'low'"])):
        with raises(TypeError, "tokens", "string", *parts):
            subwords.join(tokens)
    with raises(ValueError, "text", "UTF-8", "surrogate pair at 1"):
        subwords.split("a\ud800")
    with raises(ValueError, "ids", "one sequence"):
        subwords.to_text(3)


def test_subwords_from_other_files(subwords, words, tmp_path):
    path = tmp_path / "words.json"
    words.save(path)
    with raises(ValueError, str(path), "SentencePiece model"):
        fs.Subwords.load(path)
    with raises(ValueError, "expected subwords", "'word'"):
        fs.Subwords.from_json(words.to_json())


def test_without_sentencepiece_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)  # importing it raises ImportError
    with raises(ImportError, "pip install 'fastseq[text]'"):
        fs.Subwords.train(SENTENCES, 18)


# --- real data ------------------------------------------------------------------------------


def test_wikitext2_has_the_published_vocabulary():
    path = shared_data("wikitext2", "wiki.valid.tokens.gz")
    lines = [[*line, "<eos>"] for line in fs.read_text(path)]
    assert sum(map(len, lines)) == 217_646
    vocabulary = fs.Vocabulary.build(lines, end="<eos>")
    ids = np.concatenate(vocabulary.encode_all(lines))
    assert vocabulary.decode(ids).tolist() == [token for line in lines for token in line]
    np.testing.assert_array_equal(np.bincount(ids, minlength=len(vocabulary)), vocabulary.counts)
