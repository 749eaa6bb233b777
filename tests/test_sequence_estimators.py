"""What tagger, classifier and regressor make of data, each for itself."""

import numpy as np
import pytest
from estimator_cases import (
    labelled,
    make_classifier,
    make_regressor,
    make_tagger,
    same,
    sentences,
    series,
    valued,
)
from helpers import assert_close, raises

from fastseq.models import inputs

# --- tagger -------------------------------------------------------------------------------------


@pytest.mark.parametrize("crf", [False, True])
def test_the_tagger_learns_what_depends_on_neighbours(crf):
    X, y = sentences(150)
    tagger = make_tagger(crf=crf, hidden_size=24, epochs=30, lr=0.01, dropout=0.0).fit(X, y)
    new, truth = sentences(40, seed=1)
    assert tagger.score(new, truth) > 0.95
    predicted = tagger.predict(new)
    assert [len(tags) for tags in predicted] == [len(words) for words in new]
    pairs = [
        (a, b) for p, t in zip(predicted, truth, strict=True) for a, b in zip(p, t, strict=True)
    ]
    assert tagger.score(new, truth) == sum(a == b for a, b in pairs) / len(pairs)


def test_spelling_tags_words_that_never_came():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcde"), 4)) for _ in range(300)]
    X = [[word + "s" if i % 2 else word for i, word in enumerate(words)]]
    y = [["plural" if word.endswith("s") else "one" for word in X[0]]]
    new = [["eebbads", "ccacd", "deds", "abab"]]
    settings = {"hidden_size": 8, "epochs": 60, "lr": 0.02}
    assert make_tagger(**settings).fit(X, y).predict(new) == [["plural", "one", "plural", "one"]]
    blind = make_tagger(char_hidden_size=0, **settings).fit(X, y)
    scores = blind.predict_proba([["eebbads"], ["ccacd"]])
    assert blind.characters_ is None and np.array_equal(*scores)  # both are just unknown


def test_words_below_the_count_are_unknown():
    X, y = [["ab", "ab", "cab"]], [["A", "A", "B"]]
    tagger = make_tagger(min_count=2).fit(X, y)
    assert "ab" in tagger.vocabulary_ and "cab" not in tagger.vocabulary_


@pytest.mark.parametrize("crf", [False, True])
def test_probabilities_of_tags(crf):
    X, y = sentences()
    tagger = make_tagger(crf=crf).fit(X, y)
    probabilities = tagger.predict_proba([*X[:3], []])
    assert [p.shape for p in probabilities] == [(len(x), 2) for x in [*X[:3], []]]
    for p in probabilities:
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    if not crf:
        tags = [tagger.classes_[p.argmax(axis=1)].tolist() for p in probabilities]
        assert tags == tagger.predict([*X[:3], []])


def test_empty_sentences_have_no_tags():
    X, y = [["ab"], [], ["b", "ab"]] * 4, [["A"], [], ["B", "A"]] * 4
    tagger = make_tagger().fit(X, y)
    assert [len(tags) for tags in tagger.predict([[], ["b"], []])] == [0, 1, 0]
    assert tagger.predict([[], []]) == [[], []]


def test_tags_may_be_numbers():
    tagger = make_tagger(epochs=1).fit([["a", "b"]] * 5, [[3, 7]] * 5)
    assert tagger.classes_.tolist() == [3, 7]
    assert {type(tag) for tag in tagger.predict([["a", "b"]])[0]} == {int}


@pytest.mark.parametrize(
    ("X", "y", "error", "parts"),
    [
        ([["a"], ["b"]], [["A"], []], ValueError, ["y[1] must have a tag for each of the 1 words"]),
        ([["a"], ["b"]], [["A"], "B"], TypeError, ["y[1] must be a list of tags, got 'B'"]),
        (["a b"], [["A", "B"]], TypeError, ["X[0] must be a list of words, got the string 'a b'"]),
        ([[None, "a"]], [["A", "B"]], TypeError, ["X[0][0] must be a string, got None"]),
        ([[b"a"]], [["A"]], TypeError, ["X[0][0] must be a string, got b'a' of type bytes"]),
        ([[7]], [["A"]], ValueError, ["X must hold sequences of strings, got numbers"]),
        ([[""]], [["A"]], ValueError, ["X must hold at least one character", "char_hidden_size=0"]),
        ([["a", 7]], [["A", "B"]], TypeError, ["X[0][1] must be a string, got 7"]),
        ([["a", "b"]], [["A", 7]], TypeError, ["y must hold labels", "got int and str"]),
        ([["a", "b"]], [[0.5, 1.5]], TypeError, ["y must hold labels", "float64"]),
        ([[]], [[]], ValueError, ["y must hold at least one label"]),
    ],
)
def test_what_a_tagger_can_not_learn(X, y, error, parts):
    with raises(error, *parts):
        make_tagger().fit(X, y)


def test_a_string_of_words_is_told_of_settings_that_there_are():
    advice = r"split it first, as with text\.split\(\)"
    with pytest.raises(TypeError, match=f"{advice}$"):
        make_tagger().fit(["ab"], [["A"]])
    with pytest.raises(TypeError, match=f"{advice}, or give unit='character'$"):
        make_classifier().fit(["ab"], [0])


def test_a_tag_of_the_validation_that_fit_has_not_seen():
    X, y = sentences()
    message = "validation: y must hold labels that fit has seen, 'A', 'B', got 'C'"
    with raises(ValueError, message):
        make_tagger().fit(X, y, validation=([["b"]], [["C"]]))


# --- classifier ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_the_classifier_learns_series(pooling):
    X, y = labelled(300)
    settings = {"hidden_size": 12, "batch_size": 16, "epochs": 30, "lr": 0.01}
    model = make_classifier(pooling=pooling, **settings).fit(X, y)
    new, truth = labelled(100, seed=1)
    clear = [i for i, x in enumerate(new) if abs(x[:, 0].sum()) > 0.5]
    new, truth = [new[i] for i in clear], truth[clear]
    assert model.score(new, truth) > 0.9
    probabilities = model.predict_proba(new)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(new))
    assert model.score(new, truth) == np.mean(model.predict(new) == truth)
    assert model.n_features_in_ == 2 and model.vocabulary_ is None


@pytest.mark.parametrize("unit", ["word", "character"])
def test_the_classifier_learns_texts(unit):
    X, _ = sentences(200)
    y = ["cab" in words for words in X]
    if unit == "character":
        X = ["".join(words) for words in X]
        y = ["cab" in text for text in X]
    model = make_classifier(unit=unit, pooling="max", hidden_size=16, epochs=25, lr=0.02)
    model.fit(X[:150], y[:150])
    assert model.score(X[150:], y[150:]) > 0.9
    assert model.predict(X[:2]).dtype == bool
    assert model.n_features_in_ is None and "c" * (unit == "character") in "".join(
        model.vocabulary_.tokens
    )
    model.predict([["unheard", "of"] if unit == "word" else "xyz"])
    with raises(ValueError, "X must hold sequences of strings"):
        model.predict(series(2))


def test_series_come_in_many_forms():
    X = np.random.default_rng(0).standard_normal((12, 5, 1))
    y = [0, 1] * 6
    expected = make_classifier().fit(X, y).predict_proba(X)
    for form in (list(X), X[..., 0], [x[:, 0].tolist() for x in X], tuple(X)):
        assert np.array_equal(make_classifier().fit(form, y).predict_proba(form), expected)


def test_features_are_standardised_as_measured_in_fit():
    X, y = labelled()
    moved = [x * [1000, 0.01] + [5, -300] for x in X]
    model = make_classifier(dtype="float64").fit(moved, y)
    expected = make_classifier(dtype="float64").fit(X, y)
    assert_close(model.predict_proba(moved), expected.predict_proba(X), 1e-9)
    steps = np.concatenate(moved)
    np.testing.assert_allclose(model.mean_, steps.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.scale_, steps.std(axis=0), rtol=1e-12)
    assert make_classifier(standardize=False).fit(X, y).mean_ is None


def test_a_constant_feature_is_no_division_by_zero():
    mean, scale = inputs.learn_scale("X", [np.full((1000, 2), [0.1, 1e9])])
    assert scale.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(mean, [0.1, 1e9], rtol=1e-12)


@pytest.mark.parametrize("factor", [1e-300, 1e-200, 1e-30, 1e30, 1e200, 1e300])
def test_the_unit_of_features_and_targets_makes_no_difference(factor):
    factor = 2.0 ** round(np.log2(factor))  # exact
    X, y = valued()
    expected = make_regressor().fit(X, y)
    y = factor * y
    for scaled in ([factor * x for x in X], [x * [factor, 1] for x in X]):
        model = make_regressor().fit(scaled, y)
        assert model.history_.loss == expected.history_.loss
        np.testing.assert_allclose(model.predict(scaled) / factor, expected.predict(X), rtol=1e-12)
        assert model.score(scaled, y) == expected.score(X, y / factor)


def test_features_that_are_too_large_or_too_small():
    X, y = labelled()
    with raises(ValueError, "X must hold numbers that float32 can hold, got ", "divide them first"):
        make_classifier(standardize=False).fit([1e100 * x for x in X], y)
    model = make_classifier().fit(X, y)
    message = "float32 can hold once they are standardized, got 1e+300 at X[1][2, 0]; divide"
    with raises(ValueError, message):
        model.predict([X[0], np.array([[1.0, 1.0], [1.0, 1.0], [1e300, 1.0]])])
    with raises(ValueError, "X must hold numbers that differ by 2e-308 or more", "multiply them"):
        make_classifier().fit([1e-310 * x for x in X], y)
    with raises(ValueError, "y must hold numbers that differ by 2e-308 or more", "multiply them"):
        make_regressor().fit(X, 1e-320 * np.arange(20))
    with raises(ValueError, "y must hold numbers that float32 can hold, got "):
        make_regressor(standardize=False).fit(X, 1e50 * np.arange(20))


def test_sequences_without_steps_have_a_class_too():
    X, y = labelled()
    model = make_classifier(pooling="max").fit([*X, np.empty((0, 2))], [*y, "up"])
    both = model.predict_proba([np.empty((0, 2)), X[0]])
    assert np.isfinite(both).all()
    np.testing.assert_allclose(model.predict_proba([[]]), both[:1], rtol=1e-5)


@pytest.mark.parametrize(
    ("X", "y", "error", "parts"),
    [
        (
            [[1.0, np.nan]],
            [0],
            ValueError,
            ["X[0] must hold finite numbers, got nan at X[0][1, 0]"],
        ),
        ([np.ones((2, 2)), np.ones((2, 3))], [0, 1], ValueError, ["X must agree in all axes"]),
        ([np.ones((2, 2, 2))], [0], ValueError, ["sequences of shape (T, F)", "(2, 2, 2)"]),
        ([np.ones((2, 0))], [0], ValueError, ["at least one feature"]),
        ([["a"], "b"], [0, 1], TypeError, ["X[1] must be a list of words, got the string 'b'"]),
        ([[1.0], ["b"]], [0, 1], TypeError, ["X[1] must hold numbers"]),
        ([[1.0]], [[0]], ValueError, ["y must have shape (N,)", "(1, 1)"]),
        ([[1.0]], [None], TypeError, ["y must hold labels", "NoneType"]),
        ([[1.0]] * 2, [True, 2], TypeError, ["all integers or all booleans", "got bool and int"]),
        ([[1.0]] * 2, ["a", True], TypeError, ["y must hold labels", "got bool and str"]),
        ([[1.0]] * 2, [1, 2**70], ValueError, ["y must hold integers of 64 bits", str(2**70)]),
        ([[1.0]] * 2, [-1, 2**63], ValueError, ["y must hold integers of 64 bits", str(2**63)]),
    ],
)
def test_what_a_classifier_can_not_learn(X, y, error, parts):
    with raises(error, *parts):
        make_classifier().fit(X, y)


def test_nothing_is_no_sequence():
    with raises(TypeError, "got None as X[1]; leave it out, or give an empty one"):
        make_classifier().fit([["a"], None], ["a", "b"])


@pytest.mark.parametrize("X", [range(4), np.arange(4.0), [[1.0], 2.0], [["a"], 3], [{0: 1.0}]])
def test_what_is_no_list_of_sequences(X):
    y = ["a", "b"] * 2
    with raises(
        TypeError, "X must be a list of sequences, got ", "put a single sequence in a list"
    ):
        make_classifier().fit(X, y[: len(X)])
    with raises(
        TypeError, "X must be a list of sequences, got ", "put a single sequence in a list"
    ):
        make_classifier().fit(*labelled()).predict(X)


def test_words_in_arrays():
    words, y = [["a", "b"], ["c", "d"]] * 12, ["up", "down"] * 12
    expected = make_classifier(min_count=1).fit(words, y).predict_proba(words)
    for form in (np.array(words), [np.array(w) for w in words], np.array(words, object)):
        assert same(make_classifier(min_count=1).fit(form, y).predict_proba(form), expected)


def test_targets_by_steps_may_begin_with_none():
    X = series()
    model = make_regressor(per_step=True).fit([[], *X], [[], *X])
    predicted, none = model.predict([X[0], []])
    assert_close(predicted, said_by_the_network(model, X[0]), 1e-6)
    assert none.shape == (0, 2)
    single = make_regressor(per_step=True).fit([[], *X], [[], *(x[:, 0] for x in X)])
    assert_close(single.predict(X[:1])[0], said_by_the_network(single, X[0])[:, 0], 1e-6)


def said_by_the_network(model, x):
    """Of each step of a series, in the targets' units."""
    steps = ((x - model.mean_) / model.scale_)[:, None].astype(np.float32)
    outputs = model.network_(steps, np.array([len(x)]))[:, 0].astype(np.float64)
    return outputs * model.target_scale_ + model.target_mean_


def test_texts_without_a_character():
    with raises(ValueError, "X must hold at least one token, got none"):
        make_classifier(unit="character").fit([""] * 4, [0, 1] * 2)
    X, y = labelled()
    with raises(ValueError, "validation: X[0] must hold finite numbers"):
        make_classifier().fit(X, y, validation=([[np.nan]], ["up"]))


def test_inputs_of_another_kind_than_in_fit():
    model = make_classifier().fit(*labelled())
    flat = "X must have the 2 features of fit, got 1; put a single sequence in a list"
    with raises(ValueError, flat):
        model.predict(np.ones((5, 2)))  # of which each row is taken for a sequence
    with raises(ValueError, "X must have the 2 features of fit, got 3"):
        model.predict(series(2, features=3))
    with raises(ValueError, "X must hold sequences of the 2 features of fit, got tokens"):
        model.predict([["a", "b"]])


@pytest.mark.parametrize("labels", [[0] * 20, [True] * 20, np.zeros(20, int)])
def test_scores_are_of_labels_as_in_fit(labels):
    X, y = labelled()
    model = make_classifier().fit(X, y)
    with raises(TypeError, "y must hold strings, as the labels of fit were, got numbers"):
        model.score(X, labels)
    with raises(ValueError, "y must have shape (N,), a label each, got (20, 1)"):
        model.score(X, y[:, None])
    assert model.score(X, ["never seen"] * 20) == 0
    numbers = make_classifier().fit(X, y == "up")
    with raises(TypeError, "y must hold numbers, as the labels of fit were, got strings"):
        numbers.score(X, y)
    assert numbers.score(X, (y == "up").astype(int)) == numbers.score(X, y == "up")


def test_scores_are_of_tags_as_in_fit():
    X, y = sentences()
    with raises(TypeError, "y must hold strings, as the labels of fit were, got numbers"):
        make_tagger().fit(X, y).score(X, [[1 for _ in words] for words in X])


# --- regressor ----------------------------------------------------------------------------------


def test_tokens_in_the_place_of_features_are_told_of_x():
    X, y = valued()
    steps = [x[:, 0] for x in X]
    for model in (
        make_regressor().fit(X, y),
        make_regressor(per_step=True).fit(X, steps),
        make_regressor(horizon=1).fit(X, steps),
    ):
        for wrong in ([["a"]], [1.0], ["a"]):
            with raises(ValueError, "X must hold sequences of the 2 features of fit, got tokens"):
                model.score([["a"]], wrong)
    for use in (make_regressor(horizon=1).fit, model.score):
        with raises((TypeError, ValueError), "X must hold", "got tokens"):
            use([["a", "b"]] * 4)
    words = make_regressor(min_count=1).fit([["a"], ["b"]], [0.0, 1.0])
    with raises(ValueError, "X must hold sequences of strings, got numbers"):
        words.score([[1.0]], ["a"])


def test_the_regressor_learns_sums():
    X, y = valued(300)
    model = make_regressor(hidden_size=16, epochs=40, lr=0.01).fit(X, y)
    new, truth = valued(60, seed=1)
    predicted = model.predict(new)
    assert predicted.shape == (60,) and predicted.dtype == np.float64
    assert model.score(new, truth) > 0.9
    r2 = 1 - np.square(truth - predicted).sum() / np.square(truth - truth.mean()).sum()
    np.testing.assert_allclose(model.score(new, truth), r2, rtol=1e-12)


@pytest.mark.parametrize("settings", [{}, {"per_step": True}, {"horizon": 1}])
def test_scores_are_of_as_many_outputs_as_in_fit(settings):
    X = [x for x in series() if len(x) > 1]
    one, two = (
        [x[:, :k] if settings else x[0, :k] for x in X] for k in (1, 2)
    )  # for each step or each sequence
    flat = [y[..., 0] for y in one]
    for y, wrong in ((two, one), (two, flat), (one, two), (flat, two)):
        model = make_regressor(**settings).fit(X, y)
        expected = f"y must have the {np.shape(y[0])[-1] if y is not flat else 1} outputs of fit"
        with raises(ValueError, expected):
            model.score(X, wrong)
        with raises(ValueError, expected):
            model.set_params(warm_start=True).fit(X, wrong)
    model = make_regressor(**settings).fit(X, flat)
    assert model.score(X, one) == model.score(X, flat)


def test_targets_are_in_their_own_units():
    """Other units of the targets change nothing but the units of what is predicted."""
    X, y = valued()
    y = np.stack([y, 5 - y], axis=1)
    expected = make_regressor(dtype="float64").fit(X, y).predict(X)
    moved = make_regressor(dtype="float64").fit(X, y * [1000, 0.01] + [5, -300]).predict(X)
    assert expected.shape == (20, 2)
    assert_close((moved - [5, -300]) / [1000, 0.01], expected, 1e-8)


def test_r2_as_scikit_learn_has_it():
    metrics = pytest.importorskip("sklearn.metrics")
    X, y = valued()
    model = make_regressor().fit(X, np.stack([y, y**2], axis=1))
    truth = np.stack([y, y**2], axis=1)
    expected = metrics.r2_score(truth, model.predict(X))
    np.testing.assert_allclose(model.score(X, truth), expected, rtol=1e-12)
    constant = np.stack([y, np.ones(20)], axis=1)
    np.testing.assert_allclose(
        model.score(X, constant), metrics.r2_score(constant, model.predict(X)), rtol=1e-12
    )


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_number_for_each_step(bidirectional):
    X = series(200)
    y = [np.cumsum(x[:, 0]) for x in X]
    model = make_regressor(
        per_step=True, hidden_size=16, epochs=30, lr=0.02, bidirectional=bidirectional
    ).fit(X[:150], y[:150])
    predicted = model.predict(X[150:])
    assert [p.shape for p in predicted] == [t.shape for t in y[150:]]
    assert model.score(X[150:], y[150:]) > 0.9
    two = make_regressor(per_step=True).fit(X, [np.stack([t, t], axis=1) for t in y])
    assert two.predict(X[:1])[0].shape == (len(X[0]), 2)


def waves(count, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    return [
        7 + 3 * np.sin(0.5 * np.arange(30) + start) + noise * rng.standard_normal(30)
        for start in rng.uniform(0, 6.3, count)
    ]


def test_forecasts_go_on_after_the_end():
    model = make_regressor(horizon=4, hidden_size=24, epochs=60, lr=0.01).fit(waves(60))
    new = waves(20, seed=1)
    predicted = model.predict([x[:-4] for x in new])
    assert predicted.shape == (20, 4)
    assert np.abs(predicted - np.stack([x[-4:] for x in new])).max() < 1
    truth = np.concatenate([x[-4:] for x in new])
    r2 = 1 - np.square(truth - predicted.ravel()).sum() / np.square(truth - truth.mean()).sum()
    np.testing.assert_allclose(model.score(new), r2, rtol=1e-9)
    assert r2 > 0.95


def test_what_a_forecast_learns_from():
    """At each step the next ones, as far as they are known."""
    X = [np.arange(10.0, 15.0), np.arange(3.0)]
    model = make_regressor(horizon=2, standardize=False, batch_size=2)
    X, targets = model.read(X, None)
    model.learn(X, targets)
    (batch,) = model.make_batches(X, targets, None)
    nan = np.nan
    expected = [
        [[11, 12], [12, 13], [13, 14], [14, nan], [nan, nan]],
        [[1, 2], [2, nan], [nan] * 2],
    ]
    for row, length, place in zip(batch.rows, batch.lengths, (0, 1), strict=True):
        np.testing.assert_array_equal(batch.targets[:length, place, :, 0], expected[row])


def test_forecasts_need_a_series_that_tells_of_all_steps():
    X = [np.ones((5 + i % 3, 2)) * i for i in range(6)]
    with raises(ValueError, "horizon=7 needs a series of at least 8 steps, the longest has 7"):
        make_regressor(horizon=7).fit(X)
    model = make_regressor(horizon=6, epochs=1).fit(X)
    before = model.network_.parameters["linear.bias"].copy()
    model.set_params(warm_start=True, lr=0.1).fit(X)
    assert (model.network_.parameters["linear.bias"] != before).all()
    column = np.sin(0.5 * np.arange(40))[:, None]  # of a data frame: taken for 40 series
    with raises(ValueError, "the longest has 1", "a single series (T, K) goes into a list, [X]"):
        make_regressor(horizon=3).fit(column)
    with raises(ValueError, "X must have a sequence of 2 or more steps, got none"):
        model.fit([np.ones((1, 2))] * 3)
    with raises(ValueError, "validation: X must have a sequence of 2 or more steps, got none"):
        make_regressor(horizon=3).fit(X, validation=([np.ones((1, 2))] * 3, None))
    with raises(ValueError, "X must have a sequence of 1 or more steps, got none"):
        make_regressor(per_step=True).fit([np.zeros((0, 2))] * 3, [[]] * 3)


@pytest.mark.parametrize("count", [2, 3])
def test_forecasts_are_validated_by_series_alone(count):
    X = waves(12)
    expected = make_regressor(horizon=2).fit(X, validation=(X[:count], None)).history_.validation
    for validation in (X[:count], np.array(X[:count]), (X[:count], X[:count])):
        model = make_regressor(horizon=2).fit(X, validation=validation)
        assert model.history_.validation == expected
    with raises(ValueError, "validation must be a pair (X, y), got 3 values"):
        make_regressor(horizon=2).fit(X, X, validation=X[:3])
    with raises(TypeError, "validation must be a pair (X, y), or a fraction, got ndarray"):
        make_regressor(horizon=2).fit(X, X, validation=np.array(X[:3]))


def test_forecasts_of_others_and_of_several():
    """Of two columns: 0, 1, 0, 1, ... and 10, 20, 30, 10, ..., begun anywhere."""
    steps = np.arange(6)[:, None] + np.arange(23)
    X = list(np.stack([steps % 2, 10 + 10 * (steps % 3)], axis=2).astype(float))
    past, future = [x[:20] for x in X], np.stack([x[20:] for x in X])
    settings = {"horizon": 3, "hidden_size": 16, "epochs": 100, "lr": 0.02}
    model = make_regressor(**settings).fit(past)
    assert (np.abs(model.predict(past) - future) < [0.05, 1]).all()
    assert model.score(X) > 0.99
    model = make_regressor(**settings).fit(past, [x[:, 1] for x in past])
    assert (np.abs(model.predict(past) - future[..., 1]) < 1).all()
    assert model.score(X, [x[:, 1] for x in X]) > 0.99


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_quantiles_hold_what_they_say_and_never_cross(cell):
    quantiles = (0.1, 0.5, 0.9)
    model = make_regressor(
        cell=cell, horizon=2, quantiles=quantiles, hidden_size=16, epochs=15, lr=0.01
    ).fit(waves(200, noise=1.0))
    new = waves(1000, seed=1, noise=1.0)
    past, truth = [x[:-2] for x in new], np.stack([x[-2:] for x in new])
    predicted = model.predict_quantiles(past)
    assert predicted.shape == (1000, 2, 3) and (np.diff(predicted, axis=-1) >= 0).all()
    below = (truth[..., None] < predicted).mean(axis=(0, 1))
    np.testing.assert_allclose(below, quantiles, atol=0.06)
    for i, quantile in enumerate(quantiles):
        assert np.array_equal(model.predict(past, quantile=quantile), predicted[..., i])
    assert np.array_equal(model.predict(past), predicted[..., 1])


def test_quantiles_that_cross_are_sorted():
    X, y = valued()
    model = make_regressor(quantiles=(0.25, 0.5, 0.75), epochs=1).fit(X, y)
    model.network_.linear.parameters["bias"][:] = [3, 2, 1]
    assert (np.diff(model.predict_quantiles(X)) >= 0).all()


@pytest.mark.parametrize("outputs", [(), (2,)])
def test_quantiles_of_each_step(outputs):
    """Noise that grows with x around twice x: its quantiles are known at every step."""
    rng, quantiles = np.random.default_rng(0), (0.1, 0.5, 0.9)
    X = [rng.uniform(0, 1, length) for length in [30, 7, 20] * 60]
    noise = [rng.uniform(-1, 1, (*outputs, len(x))) for x in X]
    y = [(100 + 10 * x * (2 + 3 * own)).T for x, own in zip(X, noise, strict=True)]
    settings = {"hidden_size": 16, "epochs": 15, "lr": 0.01, "batch_size": 8}
    model = make_regressor(quantiles=quantiles, per_step=True, **settings).fit(X, y)
    predicted = model.predict_quantiles(X)
    assert [q.shape for q in predicted] == [(*values.shape, 3) for values in y]
    x, predicted, y = np.concatenate(X), np.concatenate(predicted), np.concatenate(y)
    below = (y[..., None] < predicted).mean(axis=0)
    np.testing.assert_allclose(below, np.broadcast_to(quantiles, below.shape), atol=0.06)
    exact = 100 + 10 * x[:, None] * (2 + 3 * (2 * np.array(quantiles) - 1))
    off = predicted - (exact[:, None] if outputs else exact)
    assert np.abs(off).mean() < 1.5  # of numbers that differ by up to 48


@pytest.mark.parametrize("outputs", [(), (2,)])
def test_quantiles_of_each_step_are_those_of_the_network(outputs):
    """In the targets' units, and sorted where they cross."""
    X = series(features=1)
    y = [5 + 80 * x * (1 + np.arange(2)) if outputs else 5 + 80 * x[:, 0] for x in X]
    model = make_regressor(quantiles=(0.25, 0.5, 0.75), per_step=True).fit(X, y)
    model.network_.linear.parameters["bias"].reshape(-1, 3)[:] = [0.2, 0.1, 0]
    for x, own in zip(X[:5], model.predict_quantiles(X[:5]), strict=True):
        steps = ((x - model.mean_) / model.scale_)[:, None].astype(np.float32)
        raw = np.sort(model.network_(steps, np.array([len(x)]))[:, 0].astype(np.float64))
        raw = raw * model.target_scale_[:, None] + model.target_mean_[:, None]
        assert_close(own, raw if outputs else raw[:, 0], 1e-5)


def test_huber_minds_outliers_less():
    """Of nine zeros and a 100: the mean is 10, and where Huber's slopes cancel out is 10/3."""
    X, y = [np.zeros((1, 1))] * 10, [0.0] * 9 + [100.0]
    for loss, expected in (("mse", 10), ("huber", 10 / 3)):
        model = make_regressor(loss=loss, batch_size=10, epochs=300, lr=0.01).fit(X, y)
        np.testing.assert_allclose(model.predict(X[:1]), expected, rtol=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"horizon": 2, "per_step": True}, "per_step=True and horizon exclude each other"),
        ({"horizon": 2, "bidirectional": True}, "bidirectional must be False with a horizon"),
        ({"quantiles": (0.1, 0.9)}, "quantiles must rise and have 0.5 among them"),
        ({"quantiles": (0.9, 0.5)}, "quantiles must rise and have 0.5 among them"),
        ({"quantiles": (0.0, 0.5)}, "quantiles must be a sequence of numbers between 0 and 1"),
        ({"loss": "mae"}, "loss must be one of 'mse', 'huber'"),
        ({"pooling": "sum"}, "pooling must be one of"),
    ],
)
def test_settings_of_the_regressor_that_make_no_sense(settings, message):
    with raises(ValueError, message):
        make_regressor(**settings).fit(*valued())


@pytest.mark.parametrize(
    ("settings", "y", "error", "parts"),
    [
        ({}, None, TypeError, ["y must hold the targets, got None"]),
        ({}, [1.0, np.inf], ValueError, ["y must hold finite numbers, got inf at y[1]"]),
        ({}, ["a", "b"], TypeError, ["y must hold numbers"]),
        ({}, np.ones((2, 2, 2)), ValueError, ["y must have shape (N,) or (N, K)"]),
        (
            {"per_step": True},
            [[1.0, 2.0], [1.0]],
            ValueError,
            ["y[0] must have a target for each of the 3 steps of X[0], got 2"],
        ),
    ],
)
def test_targets_that_can_not_be_learned(settings, y, error, parts):
    X = [np.ones((3, 2)), np.zeros((1, 2))]
    with raises(error, *parts):
        make_regressor(**settings).fit(X, y)


def test_predictions_that_can_not_be_made():
    X, y = valued()
    model = make_regressor().fit(X, y)
    with raises(ValueError, "quantile needs an estimator with quantiles"):
        model.predict(X, quantile=0.5)
    with raises(ValueError, "predict_quantiles needs an estimator with quantiles"):
        model.predict_quantiles(X)
    model = make_regressor(horizon=2, quantiles=(0.5, 0.9)).fit(X)
    with raises(ValueError, "quantile must be one of [0.5, 0.9], which fit knew, got 0.1"):
        model.predict(X, quantile=0.1)
    with raises(ValueError, "X[1] must have a step from which to go on, got none"):
        model.predict([X[0], np.empty((0, 2))])
    with raises(ValueError, "X[0] must have more than the 2 steps that score forecasts, got 2"):
        model.score([np.ones((2, 2))])
