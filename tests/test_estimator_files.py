"""Estimators in files: what is loaded is what was saved, and what is wrong is told."""

import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import pytest
from estimator_cases import (
    CASES,
    change_file,
    make_classifier,
    make_regressor,
    same,
    sentences,
    series,
    soft,
)
from helpers import raises

import fastseq as fs
from fastseq.models.estimator import Estimator

pytest.importorskip("safetensors")


@pytest.fixture(name="path")
def path_fixture(tmp_path):
    return str(tmp_path / "model.safetensors")


def tokens():
    X, _ = sentences()
    return X, [len(words) for words in X]


SAVED = {
    **{name: (lambda make=make: make(), data) for name, (make, data) in CASES.items()},
    "tagger-crf": (lambda: CASES["tagger"][0](crf=True, cell="gru"), sentences),
    "tagger-words": (lambda: CASES["tagger"][0](char_hidden_size=0), sentences),
    "classifier-tokens": (lambda: make_classifier(pooling="max"), tokens),
    "classifier-raw": (lambda: make_classifier(standardize=False, dtype=np.float64), None),
    "regressor-tokens": (lambda: make_regressor(num_layers=2, dropout=0.1), tokens),
    "regressor-steps": (lambda: make_regressor(per_step=True), lambda: (series(), series())),
    "regressor-forecast": (
        lambda: make_regressor(horizon=2, quantiles=[0.1, 0.5, 0.9]),
        lambda: ([x for x in series(30) if len(x) > 2], None),
    ),
}


@pytest.mark.parametrize("name", SAVED)
def test_what_is_loaded_is_what_was_saved(name, path):
    make, data = SAVED[name]
    X, y = (data or CASES["classifier"][1])()
    estimator = make().fit(X, y)
    estimator.save(path)
    for loaded in (fs.load(path), type(estimator).load(path)):
        assert type(loaded) is type(estimator)
        assert same(soft(loaded, X), soft(estimator, X))
        assert repr(loaded.network_) == repr(estimator.network_)
        assert loaded.history_.state_dict().keys() == estimator.history_.state_dict().keys()
        assert loaded.history_.loss == estimator.history_.loss
        assert loaded.score(X, y) == estimator.score(X, y)
        for setting, value in estimator.get_params().items():
            if setting == "dtype":
                assert np.dtype(loaded.dtype) == np.dtype(value)
            else:
                assert getattr(loaded, setting) == (
                    tuple(value) if isinstance(value, list) else value
                )


@pytest.mark.parametrize(
    "labels",
    [
        ["no", "yes"],
        [0, 5],
        [True, False],
        np.array(["x", "y"], object),
        np.array([3, 7], np.uint8),
        ["\ud800 half a pair", "ünïcode"],
        np.array(["a", "a\0"], object),
    ],
    ids=["str", "int", "bool", "objects", "uint8", "unicode", "nul"],
)
def test_labels_come_back_as_they_were(labels, path):
    y = np.array(list(labels) * 10) if isinstance(labels, list) else np.tile(labels, 10)
    estimator = make_classifier(epochs=1).fit(series(), y)
    estimator.save(path)
    classes = fs.load(path).classes_
    assert classes.dtype == estimator.classes_.dtype == y.dtype
    assert classes.tolist() == estimator.classes_.tolist() == np.unique(y).tolist()


def test_labels_that_end_in_nul_stay_different(path):
    estimator = make_classifier(epochs=30, lr=0.05).fit(*CASES["classifier"][1]())
    X, y = CASES["classifier"][1]()
    twin = make_classifier(epochs=30, lr=0.05).fit(X, ["u\0" if n == "up" else "u" for n in y])
    assert twin.classes_.tolist() == ["u", "u\0"]
    twin.save(path)
    expected = ["u\0" if name == "up" else "u" for name in estimator.predict(X)]
    assert fs.load(path).predict(X).tolist() == twin.predict(X).tolist() == expected


def test_training_goes_on_after_loading(path):
    X, y = CASES["classifier"][1]()
    make_classifier().fit(X, y).save(path)
    loaded = fs.load(path).set_params(warm_start=True, lr=1e-12, epochs=1)
    before = loaded.network_.parameters.flat.copy()
    loaded.fit(X, y)
    np.testing.assert_allclose(loaded.network_.parameters.flat, before, atol=1e-6)


LINES = ["ab ba cab", "ba ab", "cab ba ab b", "b ab"] * 5
DIALOGUES = [[LINES[i], LINES[i + 1], LINES[i + 2]] for i in range(8)]
SIZES = {"hidden_size": 6, "embedding_dim": 6, "epochs": 2, "batch_size": 4, "random_state": 0}
RANDOM = {  # estimators that draw in training, each in several ways
    **{name: (make, {}, data) for name, (make, data) in CASES.items()},
    "language": (fs.LanguageModel, SIZES | {"steps": 4}, lambda: (LINES, None)),
    "language-sampled": (
        fs.LanguageModel,
        SIZES | {"steps": 4, "softmax": "sampled", "num_sampled": 3},
        lambda: (LINES, None),
    ),
    "hred": (fs.HRED, SIZES | {"context_size": 5}, lambda: (DIALOGUES, None)),
    "vhred": (fs.VHRED, SIZES | {"context_size": 5}, lambda: (DIALOGUES, None)),
}


@pytest.mark.parametrize("name", RANDOM)
def test_what_is_loaded_goes_on_as_what_was_saved(name, path):
    make, settings, data = RANDOM[name]
    X, y = data()
    settings = settings | {"dropout": 0.3, "warm_start": True}
    settings |= {"scheduled_sampling": 0.8, "word_dropout": 0.2} if name == "seq2seq" else {}
    estimator = make(**settings).fit(X, y)
    estimator.save(path)
    estimator.fit(X, y)
    loaded = fs.load(path).fit(X, y)
    expected = estimator.network_.parameters.flat
    np.testing.assert_array_equal(loaded.network_.parameters.flat, expected)

    change_file(path, lambda metadata, arrays: metadata.pop("random_state"))  # as files once were
    other = fs.load(path).fit(X, y)
    assert (other.network_.parameters.flat != expected).any()


def test_parameters_have_pytorch_names_for_others(path):
    estimator = make_classifier(epochs=1).fit(*CASES["classifier"][1]())
    estimator.save(path)
    arrays, metadata = fs.load_tensors(path)
    for name, values in estimator.network_.parameters.items():
        assert np.array_equal(arrays[name], values)
    assert metadata["class"] == "SequenceClassifier" and metadata["settings"]["epochs"] == 1


@pytest.fixture(name="saved")
def saved_fixture(path):
    make_classifier(epochs=1).fit(*CASES["classifier"][1]()).save(path)
    return path


def test_a_file_of_another_estimator(saved):
    with raises(ValueError, saved, "holds a SequenceClassifier, not a SequenceTagger"):
        fs.SequenceTagger.load(saved)


def test_a_file_of_something_else(path):
    fs.save_model(fs.GRU(2, 3), path)
    with raises(ValueError, path, "holds a model, for load_model, not an estimator"):
        fs.load(path)
    with open(path, "w") as file:
        file.write("some text")
    with raises(ValueError, path, "not a safetensors file"):
        fs.load(path)
    with raises(FileNotFoundError, path + "x"):
        fs.load(path + "x")


def test_other_readers_say_what_an_estimator_is(saved):
    with raises(ValueError, saved, "holds an estimator, for fastseq.load, not a model"):
        fs.read_model(saved)


@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_a_truncated_file(saved, part):
    os.truncate(saved, int(part * os.path.getsize(saved)))
    with raises(ValueError, saved):
        fs.load(saved)


def test_a_corrupted_file(saved):
    with open(saved, "r+b") as file:
        file.seek(-40, os.SEEK_END)
        file.write(b"\x55" * 8)
    with raises(ValueError, saved, "corrupted"):
        fs.load(saved)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m, a: m.update({"class": "Oracle"}), "holds a Oracle, which fastseq has no class"),
        (lambda m, a: m["settings"].update(novelty=1), "this one can't read"),
        (lambda m, a: m["settings"].update(hidden_size=7), "made for another model"),
        (lambda m, a: m.pop("learned"), "this one can't read"),
        (lambda m, a: m["random_state"].clear(), "random_state must have a state for each of"),
        (lambda m, a: m["random_state"].update(dropout={}), "['dropout'] is no state of a PCG64"),
        (lambda m, a: a.pop("linear.weight"), "made for another model: 1 names are missing"),
        (lambda m, a: a.pop("learned/mean_"), "this one can't read"),
    ],
    ids=["class", "setting", "size", "metadata", "no states", "bad state", "array", "learned"],
)
def test_a_file_that_does_not_fit(edit, message, saved):
    change_file(saved, edit)
    with raises(ValueError, saved, message):
        fs.load(saved)


def test_nothing_is_lost_on_a_full_disk(saved, monkeypatch):
    with open(saved, "rb") as file:
        before = file.read()

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    estimator = fs.load(saved)
    monkeypatch.setattr(os, "fsync", fail)
    with raises(OSError, "No space left on device", saved):
        estimator.save(saved)
    with open(saved, "rb") as file:
        assert file.read() == before
    assert os.listdir(os.path.dirname(saved)) == [os.path.basename(saved)]


def test_estimators_of_users_are_found_by_their_names(path):
    class Loud(fs.SequenceClassifier):
        def predict(self, X):
            return np.char.upper(super().predict(X))

    assert issubclass(Loud, Estimator)
    X, y = CASES["classifier"][1]()
    estimator = Loud(hidden_size=4, epochs=1).fit(X, y)
    estimator.save(path)
    loaded = fs.load(path)
    assert type(loaded) is Loud and set(loaded.predict(X)) <= {"UP", "DOWN"}


def test_a_class_of_a_user_takes_the_place_of_no_other(path):
    X, y = CASES["classifier"][1]()

    class SequenceClassifier(fs.SequenceClassifier):
        pass

    ours, theirs = fs.SequenceClassifier, SequenceClassifier
    for cls in (ours, theirs):
        cls(hidden_size=4, epochs=1).fit(X, y).save(path)
        assert type(fs.load(path)) is type(ours.load(path)) is cls
    assert type(theirs.load(path)) is theirs
    ours(hidden_size=4, epochs=1).fit(X, y).save(path)
    with raises(ValueError, "holds a SequenceClassifier, not a ", "<locals>.SequenceClassifier"):
        theirs.load(path)
    with raises(ValueError, "holds a SequenceClassifier, not a SequenceTagger"):
        fs.SequenceTagger.load(path)


def test_a_class_that_is_given_need_not_be_known(path):
    X, y = CASES["classifier"][1]()

    class Quiet(fs.SequenceClassifier):
        pass

    Quiet(hidden_size=4, epochs=1).fit(X, y).save(path)
    change_file(path, lambda metadata, arrays: metadata.update({"class": "__main__.Quiet"}))
    assert type(Quiet.load(path)) is Quiet
    with raises(ValueError, "holds a __main__.Quiet, which fastseq has no class for; import"):
        fs.load(path)


def test_the_readme_does_what_it_says(tmp_path, monkeypatch):
    readme = Path(__file__).parents[1] / "README.md"
    section = (
        readme.read_text("utf-8").partition("\n## Ready-made models\n")[2].partition("\n## ")[0]
    )
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    if importlib.util.find_spec("matplotlib") is None:
        blocks[1] = blocks[1].partition("speller.plot_attention")[0]
    monkeypatch.chdir(tmp_path)
    names = {"fs": fs, "np": np}
    for block in blocks:
        exec(compile(block, str(readme), "exec"), names)
    assert names["tagger"].predict([["a", "dog", "sleeps"]]) == [["DET", "NOUN", "VERB"]]
    loaded = fs.load("tagger.safetensors")
    assert loaded.score(names["X"], names["y"]) == names["tagger"].score(names["X"], names["y"])
    assert names["speller"].predict(["abc", "dab"]) == ["cba", "bad"]
    assert names["codes"].shape == (12, 4)
    assert names["space"].latent_report(names["texts"]).kl > 1
    assert names["low"].shape == (20, 3) and (names["low"] <= names["high"]).all()
