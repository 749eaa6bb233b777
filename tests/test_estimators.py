"""What all estimators have in common: settings, training, and going on."""

import copy
import functools
import inspect
import itertools
import pickle
import re

import numpy as np
import pytest
from estimator_cases import (
    CASES,
    labelled,
    make_classifier,
    make_regressor,
    make_tagger,
    same,
    series,
    soft,
    valued,
)
from helpers import raises

import fastseq as fs
from fastseq.models.estimator import Estimator
from fastseq.models.settings import TRAINING
from fastseq.training import arguments, trainer


@pytest.fixture(name="case", params=CASES)
def case_fixture(request):
    """A constructor of each estimator, and data for it."""
    make, data = CASES[request.param]
    return make, data()


@pytest.fixture(name="threads")
def threads_fixture():
    before = fs.get_num_threads()
    yield
    fs.set_num_threads(before)


# --- settings -----------------------------------------------------------------------------------


def test_settings_are_stored_unchanged(case):
    make, _ = case
    cls = type(make())
    names = list(inspect.signature(cls).parameters)
    settings = {name: object() for name in names}
    estimator = cls(**settings)
    assert estimator.get_params() == estimator.get_params(deep=False) == settings
    assert list(estimator.get_params()) == names and vars(estimator) == settings
    other = object()
    assert estimator.set_params(lr=other) is estimator and estimator.lr is other


def test_settings_of_training_come_last_and_are_described(case):
    make, _ = case
    cls = type(make())
    names = list(inspect.signature(cls).parameters)
    assert names[-len(TRAINING) :] == list(TRAINING)
    for name in names:
        assert re.search(rf"^(\w+, )*{name}(, \w+)* : ", cls.__doc__, re.M), name
    assert "{training}" not in cls.__doc__ and "{run}" not in cls.fit.__doc__
    for name in ("validation", "checkpoint", "callbacks", "keep_interrupted", "progress"):
        assert re.search(rf"^{name} : ", cls.fit.__doc__, re.M), name
    with pytest.raises(TypeError, match="got 3 as one more without a name"):
        cls(3)


@pytest.mark.parametrize("lacks", ["read", "learn", "make_network", "make_batches"])
def test_a_subclass_that_lacks_a_method_says_which(lacks):
    class Mine(Estimator):
        """With methods that do nothing, but for one."""

        def __init__(self):
            vars(self).update(vars(fs.SequenceTagger()))

        def check_settings(self):
            pass

        def read(self, X, y):
            return X, y

        def learn(self, X, y):
            self.vocabulary_ = None

        def make_network(self, seed):
            return fs.Linear(1, 1)

        def make_batches(self, X, y, seed):
            return []

    delattr(Mine, lacks)
    with raises(NotImplementedError, f"Mine has no method {lacks}(", f"Estimator.{lacks}"):
        Mine().fit([["a"]], [["b"]])
    assert inspect.getdoc(getattr(Mine, lacks))


def test_an_unknown_setting_changes_nothing(case):
    make, _ = case
    estimator = make()
    before = estimator.get_params()
    name = type(estimator).__name__
    with raises(ValueError, f"'learning_rate' is no setting of {name}", "lr"):
        estimator.set_params(epochs=9, learning_rate=1.0)
    assert estimator.get_params() == before


def test_repr_shows_what_is_not_at_its_default():
    assert repr(fs.SequenceTagger()) == "SequenceTagger()"
    settings = "hidden_size=8, crf=True, lr=0.1"
    assert repr(eval(f"fs.SequenceTagger({settings})")) == f"SequenceTagger({settings})"
    assert "quantiles=array" in repr(fs.SequenceRegressor(quantiles=np.array([0.5, 0.9])))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("cell", "lstn", "cell must be one of 'lstm', 'gru', 'rnn', got 'lstn'"),
        ("hidden_size", 0, "hidden_size must be at least 1"),
        ("dropout", 1.0, "dropout must be a number from 0 to below 1"),
        ("memory", 1, "memory must be at least 2 steps, got 1"),
        ("epochs", 0, "epochs must be at least 1"),
        ("batch_size", 2.5, "batch_size must be an integer"),
        ("optimizer", "adamax", "optimizer must be one of 'adam'"),
        ("lr", -1.0, "lr must be a finite number above 0"),
        ("schedule", "cosin", "must be one of 'cosine', 'linear', 'plateau' or None"),
        ("weight_decay", -1, "weight_decay must be a finite number, at least 0"),
        ("max_norm", 0, "max_norm must be a number above 0"),
        ("average", 1.0, "average must be a number from 0 to below 1"),
        ("warm_start", 1, "warm_start must be True or False"),
        ("dtype", "float16", "dtype must be float32 or float64"),
        ("random_state", -1, "random_state must be at least 0"),
        ("random_state", "abc", "random_state must be an integer"),
        ("patience", 0, "patience must be at least 1"),
        ("patience", 3, "=3 needs a validation, as with fit(DATA, validation=0.1)"),
        ("schedule", "plateau", "='plateau' needs a validation, as with fit(DATA, val"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(case, setting, value, message):
    make, (X, y) = case
    if setting not in make().get_params():
        pytest.skip(f"there is no setting {setting}")
    estimator = make(**{setting: value})
    with raises((TypeError, ValueError), message.replace("DATA", "X" if y is X else "X, y")):
        estimator.fit(X, y)
    assert not [name for name in vars(estimator) if name.endswith("_")]


def test_memory_needs_gates(case):
    make, (X, y) = case
    if "memory" not in make().get_params():
        pytest.skip("there is no setting memory")
    with raises(ValueError, "memory needs gates"):
        make(cell="rnn", memory=100).fit(X, y)


def test_other_settings_than_those_of_fit_are_noticed(case, tmp_path):
    pytest.importorskip("safetensors")
    make, (X, y) = case
    estimator, path = make().fit(X, y), tmp_path / "model"
    expected = soft(estimator, X)
    estimator.set_params(lr=0.5, epochs=1, batch_size=3, patience=2).save(path)
    content = path.read_bytes()
    for setting, value, other in (("hidden_size", 6, 9), ("dtype", "float32", "float64")):
        estimator.set_params(**{setting: other})
        parts = [f"{setting} is {other!r}, but this", f"was fitted with {value!r}"]
        calls = [
            lambda: estimator.predict(X),
            lambda: estimator.score(X, y),
            lambda: estimator.save(path),
            lambda: estimator.set_params(warm_start=True, patience=None).fit(X, y),
        ]
        for call in calls:
            with raises(ValueError, *parts, f"set_params({setting}={value!r})"):
                call()
        estimator.set_params(**{setting: value}, warm_start=False)
    assert same(soft(estimator, X), expected)
    loaded = fs.load(path).set_params(hidden_size=9)
    assert path.read_bytes() == content
    with raises(ValueError, "hidden_size is 9"):
        loaded.predict(X)
    assert len(loaded.set_params(patience=None).fit(X, y).predict(X)) == len(X)


def test_what_a_prediction_is_does_not_change_after_fit():
    X, y = valued()
    model = make_regressor(quantiles=[0.1, 0.5, 0.9]).fit(X, y)
    model.predict(X)
    model.quantiles[:] = [0.5, 0.9, 0.95]
    with raises(ValueError, "quantiles is (0.5, 0.9, 0.95), but", "with (0.1, 0.5, 0.9)"):
        model.predict(X)
    X = [x for x in X if len(x) > 2]
    model = make_regressor(horizon=2).fit(X)
    with raises(ValueError, "horizon is None, but", "with 2"):
        model.set_params(horizon=None).predict(X)
    model = make_classifier().fit(*labelled())
    with raises(ValueError, "pooling is 'max', but", "with 'mean'"):
        model.set_params(pooling="max").predict_proba(X)


# --- fit ----------------------------------------------------------------------------------------


def test_what_is_not_fitted_says_what_to_do(case, tmp_path):
    make, (X, y) = case
    estimator = make()
    assert not estimator.__sklearn_is_fitted__()
    calls = [
        lambda: estimator.predict(X),
        lambda: estimator.score(X, y),
        lambda: estimator.save(tmp_path / "file"),
    ]
    data = "X" if y is X else "X, y"
    for call in calls:
        with raises(fs.NotFittedError, f"has learned nothing yet: call fit({data}) first"):
            call()
    assert issubclass(fs.NotFittedError, ValueError)
    assert issubclass(fs.NotFittedError, AttributeError)
    assert estimator.fit(X, y).__sklearn_is_fitted__()


def test_the_same_seed_gives_the_same_model_on_any_number_of_threads(case, threads):
    make, (X, y) = case
    results = []
    for count in (1, 2, 1):
        fs.set_num_threads(count)
        results.append(soft(make(dropout=0.2).fit(X, y), X))
    assert same(results[0], results[1]) and same(results[0], results[2])
    assert not same(results[0], soft(make(dropout=0.2, random_state=1).fit(X, y), X))


def test_a_second_fit_starts_anew(case):
    make, (X, y) = case
    estimator = make().fit(X, y)
    first = soft(estimator, X)
    assert same(first, soft(estimator.fit(X, y), X))


def test_warm_start_goes_on(case):
    make, (X, y) = case
    estimator = make().fit(X, y)
    before = estimator.network_.parameters.flat.copy()
    estimator.set_params(warm_start=True, lr=1e-12, epochs=1).fit(X, y)
    np.testing.assert_allclose(estimator.network_.parameters.flat, before, atol=1e-6)
    estimator.set_params(warm_start=False).fit(X, y)
    assert np.abs(estimator.network_.parameters.flat - before).max() > 1e-3


def test_data_that_are_refused_leave_the_estimator_as_it_was(case):
    make, (X, y) = case
    if not make()._needs_targets:
        pytest.skip("targets are ignored")
    estimator = make().fit(X, y)
    before, learned = soft(estimator, X), dict(vars(estimator))
    estimator.batch_size = 3
    with raises(ValueError, "y must have one entry for each of the 20 sequences in X, got 19"):
        estimator.fit(X, y[:-1])
    with raises(ValueError, "X must hold at least one sequence, got none"):
        estimator.fit([], [])
    with raises((TypeError, ValueError), "validation"):
        estimator.fit(X, y, validation=(X, y, y))
    text = "X must be a list of sequences, or an array, got str; put a single sequence in a list"
    with raises(TypeError, text):
        estimator.fit("abc", y)
    with raises((TypeError, ValueError), "y"):  # seen only when it comes to the batches
        estimator.fit(X, y, validation=(X, [None] * len(X)))
    assert vars(estimator) == learned | {"batch_size": 3}
    assert same(before, soft(estimator, X))


TOKENS = {"source_unit": "token", "target_unit": "token"}


@pytest.mark.parametrize(
    ("make", "settings", "y"),
    [
        (fs.SequenceClassifier, {}, [1, 2, 3]),
        (fs.SequenceRegressor, {}, [1, 2, 3]),
        (fs.SequenceTagger, {"char_hidden_size": 0}, [[1], [2], [3]]),
        (fs.Seq2Seq, TOKENS, [["ab"], ["ab"], ["ab"]]),
        (fs.SequenceVAE, {"unit": "token"}, None),
        (fs.HRED, {}, None),
    ],
)
def test_texts_of_unknown_tokens_alone(make, settings, y):
    X = [["ab"], ["ba"], ["cab"]] * 2
    with raises(ValueError, "X must hold a token", "at least min_count=3 times", "lower min_count"):
        make(**settings, min_count=3, epochs=1).fit(X, y and y * 2)
    if make is not fs.HRED:  # which learns from dialogues alone
        make(**settings, min_count=2, epochs=1).fit(X, y and y * 2)


def test_validation_keeps_the_best_epoch_and_ends_in_time(case):
    make, (X, y) = case
    settings = {"epochs": 60, "patience": 2, "lr": 0.3}  # so high that it soon gets worse
    estimator = make(**settings).fit(X[5:], y[5:], validation=(X[:5], y[:5]))
    history = estimator.history_
    assert history.stopped == "patience" and len(history.validation) == history.best_epoch + 2
    batches = estimator.make_batches(*estimator.read(X[:5], y[:5]), None)
    losses = [estimator.network_.loss(batch) for batch in batches]
    np.testing.assert_allclose(losses, [min(history.validation)], rtol=1e-6)


def test_a_fraction_is_held_out_by_the_seed(case):
    make, (X, y) = case
    fitted = [make().fit(X, y, validation=0.25) for _ in range(2)]
    assert same(soft(fitted[0], X), soft(fitted[1], X))
    assert len(fitted[0].history_.loss) == 3 * -(-15 // 4)  # 15 of 20 sequences to learn from
    with raises(ValueError, "validation=0.01 of 20 sequences leaves 20", "0 to validate"):
        make().fit(X, y, validation=0.01)


@pytest.mark.parametrize("make", [make_tagger, make_classifier])
def test_labels_may_all_be_held_out(make):
    X = [["the", "dog", "runs"]] * 9 + [["oh", "dear"]]
    y = [["D", "N", "V"]] * 9 + [["I", "N"]] if make is make_tagger else ["said"] * 9 + ["cried"]
    known = ["D", "I", "N", "V"] if make is make_tagger else ["cried", "said"]
    unseen = 0
    for seed in range(12):
        estimator = make(random_state=seed, epochs=1, min_count=1).fit(X, y, validation=0.3)
        assert estimator.classes_.tolist() == known
        unseen += "oh" not in estimator.vocabulary_.tokens  # held out with the rare label
    assert unseen
    with raises(ValueError, "validation: y must hold labels that fit has seen"):
        make(min_count=1).fit(X[:9], y[:9], validation=(X[9:], y[9:]))


def test_errors_name_the_sequence_whatever_is_held_out():
    X, y = labelled()
    X[17] = X[17] * np.nan
    for seed in range(3):
        with raises(ValueError, "X[17] must hold finite numbers"):
            make_classifier(random_state=seed).fit(X, y, validation=0.25)


def test_a_part_is_held_out_as_if_it_were_given(case):
    make, (X, y) = case
    check_what_is_held_out(make, X, y)


@pytest.mark.parametrize("steps", [{"per_step": True}, {"horizon": 1}])
def test_targets_of_steps_are_held_out_as_if_they_were_given(steps):
    X = series()
    check_what_is_held_out(functools.partial(make_regressor, **steps), X, [x[:, 0] for x in X])


def check_what_is_held_out(make, X, y):
    whole = make(dropout=0.2).fit(X, y, validation=0.25)
    order = np.argsort(fs.Module.split_seed(0, 3)[2].bit_generator.random_raw(20), kind="stable")
    held_out, learned = (
        ([X[i] for i in rows], [y[i] for i in rows])
        for rows in (np.sort(order[:5]), np.sort(order[5:]))
    )
    parts = make(dropout=0.2).fit(*learned, validation=held_out)
    assert parts.history_.validation == whole.history_.validation
    expected = whole.network_.parameters.flat
    np.testing.assert_array_equal(parts.network_.parameters.flat, expected)


def test_held_out_data_are_not_learned_from():
    X, y = labelled()
    fitted = make_classifier().fit(X, y, validation=0.25)
    y = y.copy()
    seeds = fs.Module.split_seed(0, 3)
    order = np.argsort(seeds[2].bit_generator.random_raw(20), kind="stable")
    held_out = np.sort(order[:5])
    y[held_out] = np.where(y[held_out] == "up", "down", "up")
    other = make_classifier().fit(X, y, validation=0.25)
    assert other.history_.loss == fitted.history_.loss
    assert other.history_.validation != fitted.history_.validation


@pytest.mark.parametrize(
    ("optimizer", "lr"),
    [("adam", 0.01), ("adamw", 0.01), ("rmsprop", 0.01), ("adagrad", 0.05), ("sgd", 0.3)],
)
def test_every_optimizer_learns(optimizer, lr):
    X, y = valued(40)
    estimator = make_regressor(optimizer=optimizer, lr=lr, epochs=20).fit(X, y)
    assert estimator.history_.epoch_loss[-1] < 0.8 * estimator.history_.epoch_loss[0]


def test_schedules_lower_the_learning_rate():
    X, y = valued()
    lrs = make_regressor(schedule="linear").fit(X, y).history_.lr
    np.testing.assert_allclose(lrs, 2e-3 * (1 - np.arange(15) / 15), rtol=1e-6)
    lrs = make_regressor(schedule="cosine").fit(X, y).history_.lr
    np.testing.assert_allclose(lrs, 1e-3 * (1 + np.cos(np.pi * np.arange(15) / 15)), rtol=1e-6)
    estimator = make_regressor(schedule="plateau", epochs=14, lr=1e-6)
    lrs = estimator.fit(X, y, validation=(X, y * 0)).history_.lr
    assert sorted(set(lrs)) == pytest.approx([1e-7, 1e-6])


def test_an_average_takes_the_place_of_the_parameters():
    X, y = valued()
    last = make_regressor(lr=0.05).fit(X, y)
    averaged = make_regressor(lr=0.05, average=0.9).fit(X, y)
    assert averaged.history_.loss == last.history_.loss
    difference = np.abs(averaged.network_.parameters.flat - last.network_.parameters.flat)
    assert 1e-4 < difference.max() < 1


def test_weight_decay_and_clipping_reach_the_optimizer():
    X, y = valued()
    plain, decayed = (make_regressor(weight_decay=w).fit(X, y) for w in (0.0, 0.1))
    assert decayed.history_.loss[-1] != plain.history_.loss[-1]
    clipped = make_regressor(max_norm=1e-9, optimizer="sgd").fit(X, y)
    fresh = make_regressor(max_norm=1e-9, optimizer="sgd", epochs=1, lr=1e-30).fit(X, y)
    np.testing.assert_allclose(
        clipped.network_.parameters.flat, fresh.network_.parameters.flat, atol=1e-7
    )


def test_a_run_goes_on_from_its_checkpoint(case, tmp_path):
    pytest.importorskip("safetensors")
    make, (X, y) = case
    path = tmp_path / "run.safetensors"
    make(dropout=0.1).fit(X, y, checkpoint=path)
    resumed = make(dropout=0.1, epochs=5).fit(X, y, checkpoint=path)
    whole = make(dropout=0.1, epochs=5).fit(X, y)
    assert resumed.history_.loss == whole.history_.loss
    assert same(soft(resumed, X), soft(whole, X))
    other = make(dropout=0.1, epochs=5)
    parts = ["but here it is", "go on with the same", "or delete the file to start anew"]
    with raises(ValueError, f"{path}: ", *parts):
        other.fit(X[1:], y[1:], checkpoint=path)
    assert not other.__sklearn_is_fitted__()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("random_state", 1), ("memory", 9), ("lr", 0.1), ("dropout", 0.2), ("average", 0.9)],
)
def test_a_checkpoint_of_other_settings(case, setting, value, tmp_path):
    pytest.importorskip("safetensors")
    make, (X, y) = case
    if setting not in make().get_params():
        pytest.skip(f"there is no setting {setting}")
    path = tmp_path / "run.safetensors"
    make(epochs=1).fit(X, y, checkpoint=path)
    content = path.read_bytes()
    other = make(epochs=1, **{setting: value})
    with raises(ValueError, f"{path}: ", setting, f"but here it is {value}", "delete the file"):
        other.fit(X, y, checkpoint=path)
    assert path.read_bytes() == content and not other.__sklearn_is_fitted__()


def test_a_checkpoint_of_other_words(tmp_path):
    pytest.importorskip("safetensors")
    path, y = tmp_path / "run.safetensors", [["A", "B"], ["A", "A"]] * 6
    words = [
        [["ab", "cd"], ["ab", "ef"]] * 6,
        [["cd", "ef"], ["cd", "ab"]] * 6,  # the same numbers in order of their coming
        [["ab", "ef"], ["ab", "cd"]] * 6,  # and the same vocabulary, too
    ]
    make_tagger(epochs=1).fit(words[0], y, checkpoint=path)
    for other in words[1:]:
        with raises(ValueError, f"{path}: ", "but here it is", "delete the file"):
            make_tagger(epochs=1).fit(other, y, checkpoint=path)
    texts = [["ab", "cd"], ["ab"]] * 6
    other = [["ef", "cd"], ["ef"]] * 6
    path = tmp_path / "texts.safetensors"
    make_classifier(epochs=1, min_count=1).fit(texts, [0, 1] * 6, checkpoint=path)
    with raises(ValueError, f"{path}: ", "vocabulary_ = ", "but here it is"):
        make_classifier(epochs=1, min_count=1).fit(other, [0, 1] * 6, checkpoint=path)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_schedules_over_all_updates_are_those_of_the_run(schedule, tmp_path):
    pytest.importorskip("safetensors")
    X, y = valued()
    make_regressor(schedule=schedule).fit(X, y, checkpoint=tmp_path / "run")
    with raises(ValueError, "epochs = 3, but here it is 6", "delete the file"):
        make_regressor(schedule=schedule, epochs=6).fit(X, y, checkpoint=tmp_path / "run")


def test_a_run_that_goes_on_from_a_model_is_one_of_its_own(tmp_path):
    """It may be resumed, but is never taken for the run that the model came from."""
    pytest.importorskip("safetensors")
    X, y = labelled()
    model = make_classifier(warm_start=True).fit(X, y, checkpoint=tmp_path / "first")
    model.save(tmp_path / "model")
    with raises(ValueError, "begun_with = None, but here it is", "delete the file"):
        model.fit(X, y, checkpoint=tmp_path / "first")
    model.fit(X, y, checkpoint=tmp_path / "second")
    again = fs.load(tmp_path / "model").fit(X, y, checkpoint=tmp_path / "second")
    assert same(soft(again, X), soft(model, X))


def test_a_run_that_stopped_within_an_epoch_goes_on_there(case, tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    make, (X, y) = case
    settings = {"dropout": 0.1, "average": 0.9, "schedule": "cosine"}
    whole = make(**settings).fit(X, y, validation=0.2)
    monkeypatch.setattr(trainer, "fit", functools.partial(trainer.fit, checkpoint_every=0))
    network, path = type(whole.network_), tmp_path / "run.safetensors"
    steps = itertools.count()

    def stop_at_the_seventh(self, batch):
        if next(steps) == 6:
            raise MemoryError
        return loss_and_grad(self, batch)

    loss_and_grad = network.loss_and_grad
    with monkeypatch.context() as patched:
        patched.setattr(network, "loss_and_grad", stop_at_the_seventh)
        with pytest.raises(MemoryError):
            make(**settings).fit(X, y, validation=0.2, checkpoint=path)
    resumed = make(**settings).fit(X, y, validation=0.2, checkpoint=path)
    assert len(whole.history_.loss) == 12 and resumed.history_.loss == whole.history_.loss
    assert resumed.history_.validation == whole.history_.validation
    assert same(soft(resumed, X), soft(whole, X))


def test_predictions_of_broken_parameters_are_refused(case):
    make, data = case
    estimator = make(epochs=1).fit(*data)
    estimator.network_.parameters.flat[:] = np.nan
    for name in ("predict", "predict_proba"):
        if hasattr(estimator, name):
            with raises(FloatingPointError, "the model's parameters are not finite, got NaN"):
                list(getattr(estimator, name)(data[0]))


def test_a_loss_that_is_not_finite_leaves_the_last_good_parameters():
    X, y = valued()
    estimator = make_regressor(standardize=False, max_norm=None)
    with raises(FloatingPointError, "loss"):
        estimator.fit([1e30 * x for x in X], 1e30 * y)
    assert np.isfinite(estimator.predict(X)).all()
    assert estimator.history_.loss == []


class Failing:
    """A network's loss_and_grad that fails, or is no number, at the fourth update."""

    def __init__(self, monkeypatch, network, failure):
        self.steps, self.failure, self.original = 0, failure, network.loss_and_grad
        monkeypatch.setattr(network, "loss_and_grad", lambda net, batch: self(net, batch))

    def __call__(self, network, batch):
        self.steps += 1
        if self.steps != 4:
            return self.original(network, batch)
        if isinstance(self.failure, float):
            return self.failure
        raise self.failure


def test_what_is_learned_before_a_loss_that_is_not_finite_stays(case, monkeypatch):
    make, (X, y) = case
    estimator = make().fit(X, y)
    whole, flat = estimator.history_, estimator.network_.parameters.flat.copy()
    estimator.set_params(warm_start=True)
    for other in (make(), estimator):
        with monkeypatch.context() as patch:
            Failing(patch, type(estimator.network_), np.nan)
            with raises(FloatingPointError, "update 4"):
                other.fit(X, y)
        assert len(other.history_.loss) == 3
    assert make().set_params(epochs=1).fit(X, y).history_.loss[:3] == whole.loss[:3]
    assert not np.array_equal(estimator.network_.parameters.flat, flat)


@pytest.mark.parametrize("failure", [OSError, SystemExit, MemoryError])
def test_a_failure_leaves_what_goes_on_as_it_was(case, failure, monkeypatch, tmp_path):
    if failure is OSError:  # as on a full disk
        pytest.importorskip("safetensors")
    make, (X, y) = case
    estimator = make(dropout=0.2).fit(X, y)
    expected, history = soft(estimator, X), estimator.history_
    twin = copy.deepcopy(estimator).set_params(warm_start=True).fit(X, y)
    estimator.set_params(warm_start=True)
    with monkeypatch.context() as patch:
        if failure is OSError:
            saved = itertools.count()
            patch.setattr(arguments, "save_checkpoint", lambda *args: fail_at(saved, 5))
            patch.setattr(trainer, "fit", functools.partial(trainer.fit, checkpoint_every=0))
            settings = {"checkpoint": tmp_path / "run"}
        else:
            Failing(patch, type(estimator.network_), failure)
            settings = {}
        with pytest.raises(failure):
            estimator.fit(X, y, **settings)
    assert same(soft(estimator, X), expected) and estimator.history_ is history
    assert same(soft(estimator.fit(X, y), X), soft(twin, X))  # dropout's state, too


def fail_at(numbers, last):
    if next(numbers) == last:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("path", [5, None, b"bytes", ["a"]])
def test_files_need_paths(path):
    X, y = valued()
    estimator = make_regressor(epochs=1).fit(X, y)
    for use in (estimator.save, fs.load, type(estimator).load):
        with raises(TypeError, f"path must be the path of a file, got {path!r}"):
            use(path)
    if path is not None:
        with raises(TypeError, f"checkpoint must be the path of a file, got {path!r}"):
            estimator.fit(X, y, checkpoint=path)


def test_copies_and_pickles_are_the_same(case):
    make, (X, y) = case
    estimator = make().fit(X, y)
    for other in (copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))):
        assert same(soft(other, X), soft(estimator, X))


def test_nothing_is_predicted_of_nothing(case):
    make, (X, y) = case
    assert len(make().fit(X, y).predict([])) == 0


def test_predictions_do_not_depend_on_what_else_is_predicted(case):
    make, (X, y) = case
    estimator = make(dtype="float64").fit(X, y)
    together = soft(estimator, X)
    for i in (0, 7, 19):
        np.testing.assert_allclose(soft(estimator, X[i : i + 1])[0], together[i], rtol=1e-10)
