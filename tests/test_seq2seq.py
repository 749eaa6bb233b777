"""Seq2Seq: what it reads and writes, searches, selection, ensembles, pictures, mistakes."""

import copy
import itertools
import pickle
import sys
import types
import unicodedata

import numpy as np
import pytest
from estimator_cases import change_file, make_seq2seq, spelled
from helpers import raises

import fastseq as fs
from fastseq.models import seq2seq, token_pairs
from fastseq.models.alignment_plot import draw

WORDS = ["".join(letters) for letters in itertools.product("abcd", repeat=3)]
SETTINGS = {"embedding_dim": 16, "hidden_size": 24, "epochs": 40, "batch_size": 8, "lr": 0.02}


@pytest.fixture(name="fitted", scope="module")
def fitted_fixture():
    """A model that writes words backwards; a copy for each test that changes it."""
    model = make_seq2seq(**SETTINGS, dropout=0.0)
    assert model.attention == "general"
    return model.fit([(word, word[::-1]) for word in WORDS])


def test_it_learns_to_write_backwards(fitted):
    assert fitted.predict(WORDS) == [word[::-1] for word in WORDS]
    assert fitted.score(WORDS, [word[::-1] for word in WORDS]) == 1.0
    assert fitted.score([(word, word[::-1]) for word in WORDS]) == 1.0
    assert fitted.score([("abc", "cba"), ("abd", "cba")]) == 0.5


def test_scores_are_those_of_the_metric():
    X, y = [["a"], ["b"], ["c"]], [["a", "b"], ["b"], ["c"]]
    model = make_seq2seq(source_unit="token", target_unit="token").fit(X, y)
    model.candidates = lambda X, **_: [[types.SimpleNamespace(tokens=x)] for x in X]
    for metric, expected in (("exact", 2 / 3), ("wer", 3 / 4)):
        assert model.set_params(metric=metric).score(X, y) == pytest.approx(expected)
    with raises(ValueError, "metric must be", "'ter'"):
        model.set_params(metric="ter").score(X, y)
    pytest.importorskip("sacrebleu")
    lines = ["a", "b", "c"], ["a b", "b", "c"]
    assert model.set_params(metric="bleu").score(X, y) == fs.bleu(*lines, tokenize="none")
    assert model.set_params(metric="chrf").score(X, y) == fs.chrf(*lines)


@pytest.mark.parametrize(
    ("unit", "source", "target", "expected"),
    [
        ("character", "ab", "ba", str),
        ("word", "a b", "b a", str),
        ("word", ["a", "b"], ["b", "a"], str),
        ("token", ["a", "b"], ["b", "a"], list),
    ],
)
def test_targets_are_predicted_in_the_form_of_their_unit(unit, source, target, expected):
    model = make_seq2seq(source_unit=unit, target_unit=unit, **SETTINGS | {"dropout": 0.0})
    model.fit([source] * 8, [target] * 8)
    (predicted,) = model.predict([source])
    assert type(predicted) is expected
    assert predicted == (target if type(target) is expected else " ".join(target))
    assert model.source_vocabulary_.tokens == ("<unk>", "<s>", "</s>", "a", "b")


def test_pairs_are_sources_and_targets():
    X, y = spelled()
    one, two = make_seq2seq().fit(X, y), make_seq2seq().fit(list(zip(X, y, strict=True)))
    assert one.history_.loss == two.history_.loss
    one.fit(X, y, validation=(X[:5], y[:5]))
    two.fit(list(zip(X, y, strict=True)), validation=list(zip(X[:5], y[:5], strict=True)))
    assert one.history_.validation == two.history_.validation != []
    with raises(ValueError, "validation: X must be a list of pairs", "got 'a' as X[0]"):
        two.fit(list(zip(X, y, strict=True)), validation=["a"])
    pairs = np.array(list(zip(X, y, strict=True)))
    two.fit(pairs, validation=pairs[:5])
    assert one.history_.loss == two.history_.loss
    assert one.history_.validation == two.history_.validation


def test_sources_are_normalized():
    X = [unicodedata.normalize("NFC", word) for word in ("é", "가", "è")]
    model = make_seq2seq(normalization="NFD").fit(X, ["a", "b", "c"])
    expected = {"e", "\u0301", "\u0300", "\u1100", "\u1161"}
    assert set(model.source_vocabulary_.tokens[3:]) == expected
    decomposed = [unicodedata.normalize("NFD", word) for word in X]
    assert model.log_prob(X, ["a"] * 3).tolist() == model.log_prob(decomposed, ["a"] * 3).tolist()
    plain = make_seq2seq().fit(X, ["a", "b", "c"])
    assert set(plain.source_vocabulary_.tokens[3:]) == set(X)


def test_vocabularies_may_be_joint_and_small():
    X, y = [["a", "b"], ["a", "c"]], [["x", "a"], ["x"]]
    model = make_seq2seq(source_unit="token", target_unit="token", joint_vocabulary=True)
    model.fit(X, y)
    assert model.source_vocabulary_ == model.target_vocabulary_
    assert set(model.source_vocabulary_.tokens[3:]) == set("abcx")
    assert "target.weight" not in model.network_.parameters
    model.set_params(joint_vocabulary=False, min_count=2).fit(X, y)
    assert model.source_vocabulary_.tokens[3:] == ("a",)
    assert model.target_vocabulary_.tokens[3:] == ("x",)
    model.set_params(min_count=1, vocabulary_size=5).fit(X, y)
    assert model.source_vocabulary_.tokens[3:] == ("a", "b")


def test_the_n_best_come_in_order_and_have_their_probabilities(fitted):
    X = ["abc", "dd", ""]
    for source, candidates in zip(X, fitted.candidates(X, beam_size=6, n_best=4), strict=True):
        assert len({candidate.output for candidate in candidates}) == len(candidates) == 4
        scores = [candidate.score for candidate in candidates]
        assert scores == sorted(scores, reverse=True)
        ended = [candidate for candidate in candidates if not candidate.cut]
        outputs = [candidate.output for candidate in ended]
        expected = fitted.log_prob([source] * len(ended), outputs)
        np.testing.assert_allclose([c.log_prob for c in ended], expected, rtol=1e-4, atol=1e-4)
    outputs = fitted.predict(X, beam_size=6, n_best=4)
    assert outputs[0][0] == "cba" and [len(best) for best in outputs] == [4, 4, 4]


def test_probabilities_of_all_short_targets_sum_to_less_than_one(fitted):
    targets = ["".join(t) for size in range(4) for t in itertools.product("abcd", repeat=size)]
    total = np.exp(fitted.log_prob(["ab"] * len(targets), targets)).sum()
    assert 0.5 < total < 1


def test_lengths_are_bounded(fitted):
    (found,) = fitted.candidates(["abcd"], max_length=2)[0]
    assert len(found.tokens) == 2
    (found,) = fitted.candidates(["abc"], min_length=5)[0]
    assert len(found.tokens) >= 5
    endless = copy.deepcopy(fitted)
    endless.network_.linear.parameters["bias"][endless.target_vocabulary_.end_id] = -1e4
    (found,) = endless.candidates(["abc"])[0]
    assert found.cut and len(found.tokens) == 10 + 2 * 3


def test_no_target_of_fit_is_too_long_to_be_written():
    """Where lengths differ much, what is usual for a source is less than some have."""
    long = "abcdefghijklmnopqrstuvwx"
    pairs = [(word, word) for word in WORDS] + [("e", long)] * 16
    model = make_seq2seq(**SETTINGS | {"epochs": 15}, dropout=0.0).fit(pairs)
    assert model.longest_target_ == 24 > 10 + 2 * model.length_ratio_
    assert model.predict(["e"], beam_size=1) == model.predict(["e"]) == [long]
    model.network_.linear.parameters["bias"][model.target_vocabulary_.end_id] = -1e4
    (found,), (usual,) = model.candidates(["e", "abcdabcdabcdabcd"])
    assert found.cut and len(found.tokens) == 10 + 24
    assert usual.cut and len(usual.tokens) == 10 + np.ceil(2 * model.length_ratio_ * 16)

    model.set_params(warm_start=True, epochs=1).fit([("e", "a" * 30), ("e", "a")])
    assert model.longest_target_ == 30
    model.fit([("e", "a")])
    assert model.longest_target_ == 30  # the network has learned it all the same
    model.set_params(warm_start=False).fit([("e", "a")])
    assert model.longest_target_ == 1


def test_files_from_before_lack_numbers_of_targets(fitted, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    endless = copy.deepcopy(fitted)
    endless.network_.linear.parameters["bias"][endless.target_vocabulary_.end_id] = -1e4
    endless.save(path)
    for name in ("longest_target_", "unknown_targets_"):
        change_file(path, lambda metadata, _, name=name: metadata["learned"].pop(name))
    again = fs.load(path)
    again.predict(["abx"], unknown="copy")  # without a warning
    assert [len(found.tokens) for (found,) in again.candidates(["", "abc"])] == [10, 10 + 2 * 3]
    again.save(path)
    assert fs.load(path).predict(["abc"]) == again.predict(["abc"])
    again.set_params(warm_start=True, epochs=1).fit([("a", "b" * 9)])
    assert again.longest_target_ == 9 and again.unknown_targets_ is None


def test_targets_may_have_to_be_longer_than_is_usual(fitted):
    sources = ["abcdabcdabcd", "abc", "a"]
    found = fitted.candidates(sources, min_length=50)
    assert all(len(one.tokens) >= 50 for (one,) in found)
    short = fitted.candidates(sources, min_length=15)
    assert 15 <= len(short[2][0].tokens) <= len(found[2][0].tokens)


def test_prefixes_and_phrases_come_true(fitted):
    sources, rng = ["abcd", "a", "", "bc", "dab"], np.random.default_rng(0)
    prefixes = ["dd", "", "abc" * 10, "c", ""]  # one is longer than usual targets
    constraints = [["ab", "c"], [], [], ["ad"], ["ccc", "ccc"]]
    found = fitted.candidates(sources, prefixes=prefixes, constraints=constraints, n_best=2)
    for candidates, prefix, phrases in zip(found, prefixes, constraints, strict=True):
        for one in candidates:
            assert one.output.startswith(prefix)
            assert all(phrase in one.output for phrase in phrases)
    assert found[4][0].output.count("ccc") >= 2
    assert found[1][0].output == fitted.predict(["a"])[0]
    order = rng.permutation(len(sources))  # each goes with its own source
    turned = fitted.predict(
        [sources[i] for i in order],
        prefixes=[prefixes[i] for i in order],
        constraints=[constraints[i] for i in order],
    )
    assert turned == [found[i][0].output for i in order]
    best = fitted.predict(WORDS)
    same = fitted.predict(
        WORDS, prefixes=[y[:2] for y in best], constraints=[[y[1:]] for y in best]
    )
    assert same == best


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        ({"constraints": [[], ["aa"], ["aa"]], "no_repeat_ngram": 1}, "that holds 'aa' with"),
        ({"constraints": [[], ["abc", "ab"], []], "no_repeat_ngram": 2}, "holds 'abc' and 'ab'"),
        (
            {"prefixes": ["", "ab", ""], "constraints": [[], ["ba"], []], "no_repeat_ngram": 1},
            "that begins with 'ab' and holds 'ba' with no_repeat_ngram=1: raise that (0 lets",
        ),
    ],
)
def test_what_no_target_can_hold_is_told(fitted, options, holds):
    sources = ["a", "bc", "abcdab"]
    for write in (fitted.predict, fitted.candidates):
        with raises(ValueError, "X[1] got no target", holds) as caught:
            write(sources, beam_size=3, n_best=2, **options)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        assert len(write(sources, **options | {"no_repeat_ngram": 3})) == 3


def test_a_source_longer_than_any_in_training_and_an_empty_one_are_no_matter(fitted):
    long, empty = fitted.candidates(["abcd" * 50, ""])
    assert len(long[0].tokens) <= 10 + 2 * 200 and len(empty[0].tokens) <= 10
    assert fitted.predict(["abcd" * 50, ""]) == [long[0].output, empty[0].output]


def test_tokens_that_never_came_are_unknown(fitted):
    assert fitted.log_prob(["axc"], ["cxa"]) < fitted.log_prob(["abc"], ["cba"])
    assert isinstance(fitted.predict(["xyz"])[0], str)


def test_a_beam_may_be_larger_than_the_vocabulary(fitted):
    assert fitted.predict(["abc"], beam_size=50) == ["cba"]
    assert len(fitted.predict(["abc"], beam_size=50, n_best=50)[0]) == 50


def test_batches_make_no_difference(fitted, monkeypatch):
    together = fitted.candidates(WORDS, n_best=2)
    monkeypatch.setattr(seq2seq, "AT_ONCE", 7)
    apart = fitted.candidates(WORDS, n_best=2)
    for ours, theirs in zip(together, apart, strict=True):
        assert [one.tokens for one in ours] == [one.tokens for one in theirs]
        np.testing.assert_allclose([c.score for c in ours], [c.score for c in theirs], atol=1e-4)


def test_unknown_tokens_are_kept_or_excluded():
    X = [["a", "b"], ["a", "c"], ["a", "d"]] * 4
    model = make_seq2seq(
        source_unit="token", target_unit="token", min_count=5, **SETTINGS | {"dropout": 0.0}
    ).fit(X, X)
    assert model.predict([["a", "b"]]) == [["a", "<unk>"]]
    assert "<unk>" not in model.predict([["a", "b"]], unknown="exclude")[0]


def test_samples_follow_the_probabilities(fitted):
    drawn = fitted.sample(["abc"] * 2, 400, seed=0)
    assert drawn == fitted.sample(["abc"] * 2, 400, seed=0)
    probability = np.exp(fitted.log_prob(["abc"], ["cba"])[0])
    share = np.mean([output == "cba" for samples in drawn for output in samples])
    assert share == pytest.approx(probability, abs=4 * np.sqrt(0.25 / 800))
    assert fitted.sample(["abc"], 3, temperature=0.0) == [["cba"] * 3]
    assert fitted.sample(["abc"], 3, top_k=1, seed=0) == [["cba"] * 3]


# --- attention ----------------------------------------------------------------------------------


def test_samples_obey_the_rules(fitted):
    drawn = fitted.sample(["abc"], 200, temperature=3.0, seed=0)[0]
    assert min(map(len, drawn)) < 3 and any("aa" in text[1:] for text in drawn)
    drawn = fitted.sample(
        ["abc"], 200, temperature=3.0, min_length=3, max_length=6, no_repeat_ngram=1, seed=0
    )[0]
    assert all(len(set(text)) == len(text) for text in drawn)
    assert min(map(len, drawn)) == 3


def test_samples_tell_their_probabilities(fitted):
    X, options = ["abc", "dab"], {"temperature": 3.0, "max_length": 2, "seed": 1}
    drawn = fitted.sample_candidates(X, 20, attention=True, **options)
    assert [[one.output for one in some] for some in drawn] == fitted.sample(X, 20, **options)
    assert {one.cut for some in drawn for one in some} == {True, False}
    for source, candidates in zip(X, drawn, strict=True):
        assert all(len(one.tokens) == 2 for one in candidates if one.cut)
        outputs = [one.output for one in candidates]
        expected = fitted.log_prob([source] * len(outputs), outputs)
        np.testing.assert_allclose([one.log_prob for one in candidates], expected, rtol=1e-4)
        for one in candidates:
            assert one.score == one.log_prob
            assert one.attention.shape == (len(one.tokens) + 1, 4)
            expected = fitted.align(source, one.output)[2]
            np.testing.assert_allclose(one.attention, expected, atol=1e-5)


def test_samples_begin_with_prefixes_and_come_from_several_models(fitted):
    prefixes = ["dd", "", "a" * 30]
    drawn = fitted.sample(["abc"] * 3, 20, prefixes=prefixes, temperature=5.0, seed=0)
    for prefix, outputs in zip(prefixes, drawn, strict=True):
        assert all(output.startswith(prefix) for output in outputs)
    assert any(len(output) > 30 for output in drawn[2])  # it goes on behind the prefix
    with raises(ValueError, "X[0] needs 2 tokens for its prefix", "raise max_length, which is 1"):
        fitted.sample(["abc"], prefixes=["dd"], max_length=1)
    other = copy.deepcopy(fitted)
    other.network_.linear.parameters["bias"][other.target_vocabulary_.encode(["a"])] -= 1e4
    together = fitted.sample_candidates(["abc"], 20, ensemble=[other], seed=0)[0]
    alone = fitted.log_prob(["abc"], ["cba"])[0]
    halved = next(one for one in together if one.output == "cba")  # one of two has no "a"
    assert halved.log_prob == pytest.approx(alone + np.log(0.5), abs=0.02)


def test_samples_copy_unknown_tokens():
    X = [[f"n{i}", "a"] for i in range(60)]
    model = make_seq2seq(source_unit="token", target_unit="token", min_count=2)
    model.set_params(**SETTINGS | {"epochs": 8}).fit(X, X)
    options = {"temperature": 0.0, "unknown": "copy"}
    assert model.sample([["Ann", "a"]], 2, **options) == [[["Ann", "a"]] * 2]


@pytest.mark.parametrize("name", ["predict", "candidates", "sample", "sample_candidates"])
def test_options_that_there_are_not_are_told(fitted, name):
    write = getattr(fitted, name)
    theirs, there = ("beam_size", "predict") if "sample" in name else ("temperature", "sample")
    own = "temperature, top_k" if "sample" in name else "beam_size, n_best"
    with raises(TypeError, f"options must be among {own}", "got 'beam'"):
        write(["abc"], beam=3)
    with raises(TypeError, f"got {theirs!r}, which {there} takes"):
        write(["abc"], **{theirs: 1})
    assert write(X=["abc"]) == write(["abc"]) or "sample" in name


def test_the_decoder_looks_at_what_it_writes(fitted):
    source, target, attention = fitted.align("abcd", "dcba")
    assert (source, target) == (["a", "b", "c", "d", "</s>"], ["d", "c", "b", "a", "</s>"])
    assert attention.shape == (5, 5)
    np.testing.assert_allclose(attention.sum(axis=1), 1, rtol=1e-5)
    source, target, attention = fitted.align("abc")
    assert target == ["c", "b", "a", "</s>"]
    (found,) = fitted.candidates(["abc"], attention=True)[0]
    assert found.tokens == target[:-1]
    np.testing.assert_allclose(found.attention, attention, atol=1e-5)
    assert fitted.candidates(["abc"])[0][0].attention is None


def test_attention_has_the_positions_of_its_own_source(fitted):
    found = fitted.candidates(["abc", "", "abcd"], attention=True)
    for source, (candidate,) in zip(["abc", "", "abcd"], found, strict=True):
        assert candidate.attention.shape == (len(candidate.tokens) + 1, len(source) + 1)
        np.testing.assert_allclose(candidate.attention.sum(axis=1), 1, rtol=1e-5)


def test_pictures_of_attention(fitted, tmp_path):
    pytest.importorskip("matplotlib")
    figure = fitted.plot_attention("abc", path=tmp_path / "picture.png")
    (axes,) = figure.axes
    _, _, attention = fitted.align("abc")
    np.testing.assert_array_equal(axes.images[0].get_array(), attention)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c", "</s>"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "b", "a", "</s>"]
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    fitted.plot_attention("日本")  # letters that the font lacks are no matter


def test_pictures_have_tokens_as_they_are(tmp_path):
    pytest.importorskip("matplotlib")
    tokens = ["$x_{$", "$x$", "a_b^c"]
    figure = draw(tokens, tokens[::-1], np.eye(3), tmp_path / "picture.png")
    (axes,) = figure.axes
    drawn = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    assert [label.get_text() for label in drawn] == [*tokens, *tokens[::-1]]
    assert not any(label.get_parse_math() for label in drawn)


def test_pictures_need_matplotlib(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with raises(ImportError, "pip install 'fastseq[plot]'"):
        fitted.plot_attention("abc")


def test_pictures_need_paths(fitted):
    with raises(TypeError, "path must be the path of a file, got 3"):
        fitted.plot_attention("abc", path=3)


def test_unknown_tokens_are_copied_from_where_the_decoder_looked():
    """Names are rare: each is unknown, stands somewhere, and is to be repeated."""
    rng = np.random.default_rng(0)
    X, y = [], []
    for i in range(150):
        words = list(rng.choice(["a", "b"], 3))
        words[rng.integers(3)] = f"name{i}"
        X.append([str(word) for word in words])
        y.append([str(word) for word in words])
    model = make_seq2seq(
        source_unit="token", target_unit="token", min_count=2, **SETTINGS | {"epochs": 15}
    ).fit(X, y)
    tests = [["a", "b", "Ann"], ["Bob", "a", "a"], ["b", "Cy", "a"]]
    assert model.predict(tests) == [
        ["<unk>" if word[0].isupper() else word for word in words] for words in tests
    ]
    copied = model.predict(tests, unknown="copy")
    assert copied == tests
    assert model.unknown_targets_ == len(X)


@pytest.mark.parametrize(
    ("normalization", "unit", "source", "expected"),
    [
        ("NFD", "word", "l'\u00e9cole  \u00e0 a", ["l'\u00e9cole", "\u00e0", "a"]),
        ("NFKC", "word", "\u2460\u2461 \ufb01n", ["\u2460\u2461", "\ufb01n"]),
        ("NFKC", "word", "x\u00a8y \ufb01n", ["x", "\u0308y", "\ufb01n"]),  # a blank comes of it
        ("NFC", "word", ["e\u0301", "a b"], ["e\u0301", "a b"]),
        (None, "word", "\u2460 a", ["\u2460", "a"]),
        ("NFKC", "character", "\u2460a\u2167", ["\u2460", "a", "V", "I", "I", "I"]),
        ("NFC", "character", "te\u0301a", ["t", "e\u0301", "a"]),
        ("NFD", "character", "t\u00e9", ["t", "e", "\u0301"]),
        ("NFC", "character", "\u1112\u1161\u2460", ["\ud558", "\u2460"]),  # of two letters one
        ("NFC", "character", "", []),
    ],
)
def test_sources_are_copied_as_they_are_spelled(normalization, unit, source, expected):
    tokens = token_pairs.read_one("X", source, unit, normalization)
    spelled = token_pairs.spelling(source, tokens, unit, normalization)
    assert len(tokens) == len(expected) and spelled == expected


def test_names_are_copied_with_their_own_accents():
    X = [f"{word} n{i}" if i % 3 else f"n{i} {word}" for i, word in enumerate("ab" * 60)]
    model = fs.Seq2Seq(normalization="NFD", min_count=2, random_state=0, dropout=0.0)
    model.set_params(**SETTINGS | {"epochs": 12}).fit(X, X)
    tests = ["a \u00e9cole", "caf\u00e9 b", ["\u00fc", "a"]]
    assert model.predict(tests, unknown="copy") == [*tests[:2], "\u00fc a"]


def test_where_no_token_was_unknown_nothing_is_copied(fitted):
    assert fitted.unknown_targets_ == 0
    with pytest.warns(UserWarning, match="'copy' will copy nothing: no target token of fit was"):
        assert fitted.predict(["abx"], unknown="copy") == fitted.predict(["abx"])
    knows_some = make_seq2seq(min_count=2).fit([*WORDS, "a"], [*WORDS, "xyz"])
    assert knows_some.unknown_targets_ == 3
    knows_some.predict(["abx"], unknown="copy")
    fitted.predict(["abx"], unknown="copy", ensemble=[knows_some])
    goes_on = copy.deepcopy(fitted).set_params(warm_start=True, epochs=1)
    assert goes_on.fit(["ab"], ["axx"]).unknown_targets_ == 2


def test_an_unknown_token_that_no_target_held_is_not_written():
    pairs = [(a + b, b + a) for a in "abcd" for b in "abcd"]
    model = make_seq2seq().fit(pairs)
    assert model.unknown_targets_ == 0
    written = model.sample([source for source, _ in pairs], 100, max_length=4, seed=0)
    assert not any("<unk>" in target for targets in written for target in targets)
    knows_none = copy.deepcopy(model)
    model.unknown_targets_ = 1  # as if one had
    for ensemble in ((), [knows_none]):
        written = model.sample(["ab"] * 16, 100, max_length=4, seed=0, ensemble=ensemble)
        assert any("<unk>" in target for targets in written for target in targets)


def test_without_attention_there_is_none_to_show():
    model = make_seq2seq(attention=None).fit(*spelled())
    looking = make_seq2seq().fit(*spelled())
    for options in ({"attention": True}, {"unknown": "copy"}, {"coverage_penalty": 0.1}):
        with raises(ValueError, "this model has attention=None, but", "need models with attention"):
            model.candidates(["ab"], **options)
        with raises(ValueError, "ensemble[1] has attention=None, but attention, coverage_pen"):
            looking.candidates(["ab"], ensemble=[looking, model], **options)
    with raises(ValueError, "this model has no attention"):
        model.plot_attention("ab")


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "additive"},
        {"attention": "dot", "bidirectional": False},
        {"attention": "concat", "attention_size": 7, "num_layers": 2},
        {"attention": "general", "input_feeding": True, "cell": "gru"},
        {"attention": None, "cell": "rnn"},
        {"tie_weights": True, "joint_vocabulary": True, "hidden_size": 5},
    ],
)
def test_every_kind_is_saved_and_searched(settings, tmp_path):
    pytest.importorskip("safetensors")
    X, y = spelled()
    model = make_seq2seq(**settings).fit(X, y)
    model.save(tmp_path / "model")
    assert fs.load(tmp_path / "model").predict(X) == model.predict(X)
    found = [candidates[0] for candidates in model.candidates(X)]
    ended = [i for i, candidate in enumerate(found) if not candidate.cut]
    expected = model.log_prob([X[i] for i in ended], [found[i].output for i in ended])
    np.testing.assert_allclose([found[i].log_prob for i in ended], expected, rtol=1e-4)


# --- training -----------------------------------------------------------------------------------


def test_selection_by_score_keeps_the_epoch_with_the_best_one():
    X, y = WORDS, [word[::-1] for word in WORDS]
    model = make_seq2seq(**SETTINGS | {"epochs": 8}, selection="score")
    model.fit(X, y, validation=(X[:20], y[:20]))
    history = model.history_
    assert max(history.validation) == history.validation[history.best_epoch - 1]
    model.beam_size = 1
    assert model.score(X[:20], y[:20]) == max(history.validation)
    model.set_params(schedule="plateau", patience=1, lr=1e-9, epochs=4)
    model.fit(X, y, validation=(X[:20], y[:20]))
    assert model.history_.stopped == "patience"


def test_scheduled_sampling_grows():
    X, y = spelled()
    seen = []
    model = make_seq2seq(scheduled_sampling=0.6, epochs=3)
    plain = make_seq2seq(epochs=3).fit(X, y)
    model.fit(X, y, callbacks=[lambda trainer: seen.append(trainer.model.sampled)])
    np.testing.assert_allclose(seen, [0.2, 0.4, 0.6])
    assert model.history_.loss[0] == plain.history_.loss[0]
    assert model.history_.loss[-1] != plain.history_.loss[-1]
    assert "updates" in model.network_.settings  # which a checkpoint of a run like this compares
    model.set_params(scheduled_sampling=0.0, warm_start=True).fit(X, y)
    assert "updates" not in model.network_.settings


def test_models_decide_together(fitted):
    y = [word[::-1] for word in WORDS]
    settings = SETTINGS | {"epochs": 4, "dropout": 0.0}
    others = [make_seq2seq(**settings | {"random_state": s}).fit(WORDS, y) for s in (1, 2)]
    first, second = others
    for candidate, twice in zip(
        first.candidates(WORDS), first.candidates(WORDS, ensemble=[first]), strict=True
    ):
        assert twice[0].tokens == candidate[0].tokens
        assert twice[0].log_prob == pytest.approx(candidate[0].log_prob, rel=1e-5)
    there = first.candidates(WORDS, ensemble=[second])
    back = second.candidates(WORDS, ensemble=[first])
    assert [one.tokens for (one,) in there] == [one.tokens for (one,) in back]
    assert [one.tokens for (one,) in there] != [one.tokens for (one,) in first.candidates(WORDS)]
    with raises(TypeError, "ensemble[0] must be a Seq2Seq, got str"):
        first.predict(["abc"], ensemble=["abc"])
    with raises(TypeError, "ensemble must be a list of Seq2Seq, got Seq2Seq; put a single model"):
        first.predict(["abc"], ensemble=second)
    stranger = make_seq2seq(**settings).fit(["x"], ["y"])
    with raises(ValueError, "ensemble[0] has another source_vocabulary_ than this model"):
        first.predict(["abc"], ensemble=[stranger])


def test_models_decide_together_whatever_was_held_out_of_them(tmp_path):
    """The library splits by the seed: some have never seen a token of the others."""
    X = [*spelled(30)[0], "x", "y", "z"]
    options = {"epochs": 1, "min_count": 1}
    models = [make_seq2seq(**options, random_state=s) for s in range(4)]
    for model in models:
        model.fit(X, X, validation=0.5)
        assert model.source_vocabulary_.tokens == models[0].source_vocabulary_.tokens
        assert {"x", "y", "z"} <= set(model.target_vocabulary_.tokens)
    models[0].predict(["ab"], ensemble=models[1:])
    given = make_seq2seq(**options).fit(X[:20], X[:20], validation=(X, X))
    assert not {"x", "y", "z"} & set(given.target_vocabulary_.tokens)


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"source_unit": "line"}, ValueError, "source_unit must be one of 'word', 'character'"),
        ({"normalization": "nfd"}, ValueError, "one of 'NFC', 'NFD', 'NFKC', 'NFKD' or None"),
        (
            {"attention": "bilinear"},
            ValueError,
            "'general', 'concat' or None",
        ),
        ({"cell": "rnn", "attention": "dot"}, ValueError, "attention needs cell='lstm' or"),
        ({"attention": "dot"}, ValueError, "attention='dot' needs bidirectional=False"),
        ({"vocabulary_size": 3}, ValueError, "vocabulary_size must leave room for the 3 special"),
        ({"attention_size": 9}, ValueError, "attention_size is for 'additive' and 'concat'"),
        (
            {"input_feeding": True, "attention": None},
            ValueError,
            "input_feeding=True needs attention, since that is what is fed, got it with",
        ),
        ({"tie_weights": True, "hidden_size": 7}, ValueError, "needs embedding_dim = hidden_size"),
        ({"tie_weights": True, "hidden_size": 0}, ValueError, "hidden_size must be at least 1"),
        ({"attention": "dot", "bidirectional": 1}, TypeError, "bidirectional must be True or"),
        ({"beam_size": 0}, ValueError, "beam_size must be at least 1"),
        ({"metric": "f1"}, ValueError, "metric must be one of 'exact', 'wer', 'bleu', 'chrf'"),
        ({"selection": "best"}, ValueError, "selection must be one of 'loss', 'score'"),
        ({"selection": "score"}, ValueError, "selection='score' needs a validation"),
        ({"scheduled_sampling": 1.5}, ValueError, "scheduled_sampling must"),
        ({"word_dropout": 1.0}, ValueError, "word_dropout must"),
        ({"label_smoothing": -0.1}, ValueError, "label_smoothing must"),
        ({"length_penalty": "x"}, ValueError, "length_penalty must be a number or 'average'"),
        ({"length_penalty": float("nan")}, ValueError, "length_penalty must be a finite number"),
    ],
)
def test_wrong_settings(settings, error, message):
    model = make_seq2seq(**settings)
    with raises(error, message):
        model.fit(*spelled())
    assert not model.__sklearn_is_fitted__()


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (["a", "b"], ["a"], ValueError, "y must have one entry for each of the 2 sequences"),
        (["abc", "cd"], None, ValueError, "X must be a list of pairs (source, target)"),
        ("ab", None, TypeError, "X must be a list of pairs (source, target)"),
        (["a"], None, ValueError, "where there is no y, got 'a' as X[0]"),
        ([("a",) * 99], None, ValueError, "got ('a', 'a', 'a', 'a', 'a'"),
        ([("a",) * 99], None, ValueError, "... as X[0]"),
        ([3], ["a"], TypeError, "X must be a list of sequences, got 3 as X[0]"),
        (["a"], [["a", 3]], TypeError, "y[0][1] must be a string, got 3 of type int; convert it"),
        (["a"], [["a", "</s>"]], ValueError, "y[0] has the token '</s>'"),
        (["", ""], ["a", "b"], ValueError, "X must hold at least one token"),
        (["a", "b"], ["", ""], ValueError, "y must hold at least one token"),
        ([], [], ValueError, "X must hold at least one sequence, got none"),
    ],
)
def test_wrong_data(X, y, error, message):
    model = make_seq2seq()
    with raises(error, message):
        model.fit(X, y)
    assert not model.__sklearn_is_fitted__()


def test_strings_are_no_lists_of_tokens():
    model = make_seq2seq(source_unit="token")
    with raises(TypeError, "X[0] must be a list of tokens, got the string 'a b'"):
        model.fit(["a b"], ["a"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_best": 9}, ValueError, "n_best must be at most beam_size = 5, got 9"),
        ({"beam_size": 0}, ValueError, "beam_size must be at least 1"),
        ({"unknown": "drop"}, ValueError, "unknown must be one of 'keep', 'exclude', 'copy'"),
        ({"max_length": -1}, ValueError, "max_length must be at least 0"),
        ({"prefixes": ["a", "b"]}, ValueError, "prefixes must have one entry for each of the 1"),
        (
            {"prefixes": ["axb"]},
            ValueError,
            "prefixes[0] must hold tokens that the model can write",
        ),
        ({"constraints": [["x"]]}, ValueError, "constraints[0] must hold tokens that the"),
        ({"prefixes": [["a", "</s>"]]}, ValueError, "that the model can write, got '</s>'"),
        ({"constraints": [[["<unk>"]]]}, ValueError, "that the model can write, got '<unk>'"),
        ({"constraints": [["a", ""]]}, ValueError, "constraints[0] must have at least one token"),
        ({"constraints": ["ab"]}, TypeError, "constraints[0] must be a list"),
        (
            {"prefixes": ["ab"], "constraints": [["cd"]], "max_length": 3},
            ValueError,
            "X[0] needs 4 tokens for its prefix and its phrases: raise max_length, which is 3",
        ),
        ({"min_length": 2.5}, TypeError, "min_length must be an integer"),
        ({"beam": 3}, TypeError, "options must be among beam_size, n_best, length_penalty, cov"),
        ({"beam": 3}, TypeError, "unknown, attention, ensemble, got 'beam'"),
        (
            {"min_length": 9, "max_length": 8},
            ValueError,
            "min_length must be at most max_length = 8, got 9",
        ),
    ],
)
def test_wrong_options(fitted, options, error, message):
    with raises(error, message):
        fitted.predict(["abc"], **options)


def test_what_a_prefix_has_of_phrases_takes_no_more_room(fitted):
    options = {"prefixes": ["ab"], "constraints": [["b", "a"]], "max_length": 2}
    assert fitted.predict(["abc"], **options) == ["ab"]


def test_weights_that_are_not_finite_are_told(fitted):
    broken = copy.deepcopy(fitted)
    broken.network_.parameters.flat[:] = np.nan
    for write in (broken.predict, broken.sample):
        with raises(FloatingPointError, "the model's parameters are not finite, got NaN or inf"):
            write(["abc"])
    for judge in (broken.log_prob, broken.score):
        with raises(FloatingPointError, "the model's parameters are not finite"):
            judge(["abc"], ["cba"])
    for show in (broken.align, broken.plot_attention):
        for target in (None, "cba"):
            with raises(FloatingPointError, "the model's parameters are not finite"):
                show("abc", target)
    with raises(FloatingPointError, "ensemble[0]'s parameters are not finite"):
        fitted.predict(["abc"], ensemble=[broken])


def test_a_file_of_other_vocabularies_is_refused(fitted, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    other = copy.deepcopy(fitted)
    other.target_vocabulary_ = fs.Vocabulary.build([["x"]], padding=None, begin="<s>", end="</s>")
    other.save(path)
    with raises(ValueError, "model.safetensors"):
        fs.load(path)
    fitted.save(path)
    assert fs.load(path).predict(WORDS) == fitted.predict(WORDS)
