"""Estimators take data of pandas by position, whatever their index says."""

import numpy as np
import pytest
from estimator_cases import CASES, make_classifier, make_regressor, same, series, soft
from helpers import raises

pd = pytest.importorskip("pandas")

INDICES = {
    "reversed": lambda count: range(count)[::-1],
    "strings": lambda count: [f"row {i}" for i in range(count)],
    "split": lambda count: range(100, 100 + count),
}


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("validation", [None, 0.25])
def test_an_index_makes_no_difference(name, index, validation):
    make, data = CASES[name]
    X, y = data()
    expected = make().fit(X, y, validation=validation)
    index = INDICES[index](len(X))
    frames = pd.Series(list(X), index=index), pd.Series(list(y), index=index)
    estimator = make().fit(*frames, validation=validation)
    assert estimator.history_.loss == expected.history_.loss
    assert estimator.history_.validation == expected.history_.validation
    assert same(soft(estimator, frames[0]), soft(expected, X))
    assert estimator.score(*frames) == expected.score(X, y)
    pair = make().fit(*frames, validation=frames)
    assert pair.history_.validation == make().fit(X, y, validation=(X, y)).history_.validation


def test_pairs_may_be_a_frame():
    make, data = CASES["seq2seq"]
    X, y = data()
    expected = make().fit(X, y, validation=(X[:5], y[:5])).history_
    frame = pd.DataFrame({"source": X, "target": y}, index=range(7, 27))
    found = make().fit(frame, validation=frame[:5]).history_
    assert (found.loss, found.validation) == (expected.loss, expected.validation)


def test_words_and_tags_may_be_series():
    make, data = CASES["tagger"]
    X, y = data()
    expected = make().fit(X, y)
    indexed = [
        [pd.Series(part, index=range(7, 7 + len(part)), dtype=object) for part in parts]
        for parts in (X, y)
    ]
    estimator = make().fit(*indexed, validation=None)
    assert estimator.history_.loss == expected.history_.loss
    assert estimator.score(*indexed) == expected.score(X, y)


def test_series_and_frames_as_sequences():
    X = series()
    y = np.arange(20) % 2
    expected = make_classifier().fit(X, y).predict_proba(X)
    frames = [pd.DataFrame(x, columns=["a", "b"], index=range(5, 5 + len(x))) for x in X]
    assert np.array_equal(make_classifier().fit(frames, y).predict_proba(frames), expected)
    first = [frame["a"] for frame in frames]
    expected = make_classifier().fit([x[:, :1] for x in X], y).predict_proba([x[:, 0] for x in X])
    assert np.array_equal(make_classifier().fit(first, y).predict_proba(first), expected)
    words = [["a", "b"], ["b"]] * 10
    model = make_classifier().fit([pd.Series(part, index=part) for part in words], y)
    assert same(soft(model, words), soft(make_classifier().fit(words, y), words))


@pytest.mark.parametrize("validation", [None, 0.25])
def test_frames_of_targets(validation):
    X = series()
    y = np.stack([[x[:, 0].sum(), x[:, 1].sum()] for x in X])
    frame = pd.DataFrame(y, columns=["a", "b"], index=range(20)[::-1])
    expected = make_regressor().fit(X, y, validation=validation)
    estimator = make_regressor().fit(X, frame, validation=validation)
    assert estimator.history_.loss == expected.history_.loss
    assert estimator.score(X, frame) == expected.score(X, y)


@pytest.mark.parametrize("validation", [None, 0.25])
def test_a_frame_is_no_list_of_sequences(validation):
    X, y = pd.DataFrame(np.ones((24, 3))), ["a", "b"] * 12
    with raises(TypeError, "X must be a list of sequences, got a data frame; to_sequences"):
        make_classifier().fit(X, y, validation=validation)
    with raises(TypeError, "X must be a list of sequences, got a data frame; to_sequences"):
        make_classifier().fit(series(24), y).predict(X)
