"""scikit-learn's tools take our estimators, on lists of sequences of different lengths."""

import os
import signal

import numpy as np
import pytest
from estimator_cases import CASES, labelled, make_classifier, make_regressor, same, series, soft

import fastseq as fs

pytest.importorskip("sklearn")

from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted


@pytest.fixture(name="case", params=CASES)
def case_fixture(request):
    make, data = CASES[request.param]
    return make, data()


def test_clone_has_the_settings_and_nothing_learned(case):
    make, (X, y) = case
    estimator = make(lr=0.01).fit(X, y)
    cloned = clone(estimator)
    assert type(cloned) is type(estimator) and cloned.get_params() == estimator.get_params()
    assert not cloned.__sklearn_is_fitted__()
    assert same(soft(cloned.fit(X, y), X), soft(estimator, X))


def test_is_fitted(case):
    make, (X, y) = case
    with pytest.raises(NotFittedError):
        check_is_fitted(make())
    check_is_fitted(make().fit(X, y))


def test_kinds():
    assert is_classifier(fs.SequenceClassifier()) and not is_regressor(fs.SequenceClassifier())
    assert is_regressor(fs.SequenceRegressor()) and not is_classifier(fs.SequenceRegressor())
    assert not is_regressor(fs.SequenceTagger()) and not is_classifier(fs.SequenceTagger())
    assert get_tags(fs.SequenceTagger()).target_tags.required


def test_cross_val_score_is_fits_by_hand(case):
    make, (X, y) = case
    folds = KFold(3)
    scores = cross_val_score(make(), X, y, cv=folds, error_score="raise")
    expected = []
    for learned, tested in folds.split(X):
        estimator = make().fit([X[i] for i in learned], [y[i] for i in learned])
        expected.append(estimator.score([X[i] for i in tested], [y[i] for i in tested]))
    assert scores.tolist() == expected


def test_a_classifier_is_cross_validated_by_classes():
    X, y = labelled(30)
    scores = cross_val_score(make_classifier(epochs=1), X, y, cv=5, scoring="balanced_accuracy")
    assert len(scores) == 5 and np.isfinite(scores).all()
    probabilities = cross_val_predict(make_classifier(epochs=1), X, y, cv=5, method="predict_proba")
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_forecasts_need_no_targets():
    X = [x for x in series(40) if len(x) > 2]
    scores = cross_val_score(make_regressor(horizon=2), X, cv=3, error_score="raise")
    assert len(scores) == 3 and np.isfinite(scores).all()


def test_grid_search(case):
    make, (X, y) = case
    search = GridSearchCV(make(epochs=15), {"hidden_size": [2, 5], "lr": [1e-7, 0.05]}, cv=2)
    search.fit(X, y)
    assert search.best_params_["lr"] == 0.05  # 1e-7 learns nothing
    assert search.best_estimator_.lr == 0.05
    assert same(search.predict(X), search.best_estimator_.predict(X))
    assert search.score(X, y) == search.best_estimator_.score(X, y)


@pytest.mark.skipif(os.name == "nt", reason="signals reach the main thread otherwise there")
def test_an_interrupt_ends_a_search(case, monkeypatch, capsys):
    make, (X, y) = case
    network = type(make(epochs=1).fit(X, y).network_)
    loss_and_grad, updates = network.loss_and_grad, []

    def interrupted(self, batch):
        updates.append(batch)
        if len(updates) == 3:
            signal.raise_signal(signal.SIGINT)
        return loss_and_grad(self, batch)

    monkeypatch.setattr(network, "loss_and_grad", interrupted)
    search = GridSearchCV(make(), {"hidden_size": [2, 5]}, cv=2)
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, y, keep_interrupted=False)
    assert len(updates) == 3 and "interrupted after update 3" in capsys.readouterr().err
    updates.clear()
    estimator = make().fit(X, y)  # by itself it keeps what it has
    assert len(estimator.history_.loss) == 3 and estimator.history_.stopped == "interrupted"
    updates.clear()
    before = soft(estimator, X)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y, keep_interrupted=False)
    assert same(soft(estimator, X), before)


def test_pipelines():
    X, y = labelled(30)
    double = FunctionTransformer(lambda X: [2 * x for x in X])
    pipeline = make_pipeline(double, make_classifier(standardize=False)).fit(X, y)
    alone = make_classifier(standardize=False).fit([2 * x for x in X], y)
    assert same(pipeline.predict_proba(X), alone.predict_proba([2 * x for x in X]))
    pipeline.set_params(sequenceclassifier__hidden_size=3)
    assert pipeline[-1].hidden_size == 3
    check_is_fitted(pipeline)
    assert pipeline[-1].n_features_in_ == 2
