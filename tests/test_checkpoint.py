"""Files of models, and of the states of runs."""

import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from helpers import raises

import fastseq as fs
from fastseq import checkpoint

SIZES = {"input_size": 3, "hidden_size": 4}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


class Pair(fs.Module):
    def __init__(self, size, *, dtype=np.float32, seed=None):
        options = {"dtype": dtype, "seed": seed}
        super().__init__(gru=fs.GRU(size, 4, **options), linear=fs.Linear(4, 2, **options))


# --- models ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saved_model_is_the_same_model(path, dtype):
    settings = {"size": 3, "dtype": dtype}
    model = Pair(**settings, seed=1)
    fs.save_model(model, path, settings=settings)
    copy = fs.load_model(path, fs.LSTM, Pair)
    assert type(copy) is Pair and copy.dtype == model.dtype
    assert list(copy.parameters) == list(model.parameters)
    np.testing.assert_array_equal(copy.parameters.flat, model.parameters.flat, strict=True)
    saved = fs.read_model(path)
    assert (saved.class_name, saved.settings, saved.version) == ("Pair", settings, fs.__version__)
    assert list(saved.parameters) == list(model.parameters)


def test_other_programs_find_the_parameters_by_their_names(path):
    model = Pair(3, seed=1)
    fs.save_model(model, path)
    arrays = safetensors.numpy.load_file(path)
    assert arrays.keys() == model.state_dict().keys()
    model.parameters.flat[:] = 0
    model.load_state_dict(arrays)
    assert model.parameters.flat.any()


def test_a_part_of_a_model(path):
    model = Pair(3, seed=1)
    fs.save_model(model.gru, path, settings=SIZES)
    np.testing.assert_array_equal(
        fs.load_model(path, fs.GRU).parameters.flat, model.gru.parameters.flat
    )


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (lambda: fs.GRU(3, 5), ["weight_ih_l0 is (12, 3) of float32 in the file, but (15, 3)"]),
        (lambda: fs.GRU(3, 4, dtype=np.float64), ["of float32 in the file", "of float64 here"]),
        (lambda: fs.GRU(3, 4, num_layers=2), ["4 names are missing, such as weight_ih_l1"]),
        (lambda: fs.GRU(3, 4, bias=False), ["2 names are unexpected, such as bias_ih_l0"]),
        (lambda: Pair(3), ["6 names are missing", "4 names are unexpected", "this is a Pair"]),
    ],
    ids=["shape", "dtype", "missing", "unexpected", "class"],
)
def test_a_file_of_another_model(path, other, parts):
    fs.save_model(fs.GRU(**SIZES, seed=0), path)
    saved, model = fs.read_model(path), other()
    before = model.parameters.flat.copy()
    with raises(ValueError, f"{path}: made for another model: ", *parts[:2], "it holds a GRU"):
        saved.load_into(model)
    np.testing.assert_array_equal(model.parameters.flat, before)


def test_models_that_cannot_be_made(path):
    gru = fs.GRU(**SIZES)
    fs.save_model(gru, path)
    with raises(ValueError, f"{path}: was saved without settings", "load_into(model)"):
        fs.load_model(path, fs.GRU)
    with raises(ValueError, f"{path}: holds a GRU, but LSTM or RNN was expected"):
        fs.load_model(path, fs.LSTM, fs.RNN)
    with raises(ValueError, "but <lambda> was expected; give the class, or a function that has"):
        fs.load_model(path, lambda **settings: fs.GRU(**settings))
    with raises(TypeError, "classes must be given"):
        fs.load_model(path)
    fs.save_model(gru, path, settings={"input_size": 3, "hidden": 4})
    with raises(ValueError, f"{path}: a GRU can't be made from the settings in it", "hidden"):
        fs.load_model(path, fs.GRU)
    fs.save_model(gru, path, settings={"input_size": 3, "hidden_size": -4})
    with raises(ValueError, f"{path}: a GRU can't be made", "hidden_size must be at least 1"):
        fs.load_model(path, fs.GRU)
    fs.save_model(gru, path, settings={"input_size": 3, "hidden_size": 5})
    with raises(ValueError, f"{path}: made for another model"):
        fs.load_model(path, fs.GRU)


def test_models_that_cannot_be_saved(path):
    with raises(TypeError, "model must be a Module", "Parameters"):
        fs.save_model(fs.GRU(**SIZES).parameters, path)
    with raises(TypeError, "settings must be a mapping", "list"):
        fs.save_model(fs.GRU(**SIZES), path, settings=[3, 4])
    with raises(TypeError, "settings['seed'] must be", "Generator"):
        fs.save_model(fs.GRU(**SIZES), path, settings={"seed": np.random.default_rng(0)})
    assert not path.exists()


def test_files_of_another_kind(path):
    fs.save_tensors(path, {})
    with raises(ValueError, f"{path}: holds arrays, for load_tensors, not a model"):
        fs.read_model(path)
    checkpoint.save_checkpoint(path, {})
    with raises(ValueError, f"{path}: holds the checkpoint of a training run", "not a model"):
        fs.load_model(path, fs.GRU)
    fs.save_model(fs.GRU(**SIZES), path)
    with raises(ValueError, f"{path}: holds a model, for load_model, not the checkpoint"):
        checkpoint.load_checkpoint(path)


# --- states ---------------------------------------------------------------------------------


def test_a_state_comes_back_as_it_was(path):
    state = {
        "numbers": [1, 2.5, True, None, "text", 2**127],
        "nested": ({"h": np.ones((2, 3)), "c": (np.zeros(0), ())}, [np.float64(0.1)]),
        "": {"a.b": np.arange(3)},
        "random": np.random.default_rng(0).bit_generator.state,
        "twister": np.random.MT19937(0).state,
    }
    checkpoint.save_checkpoint(path, state)
    got = checkpoint.load_checkpoint(path)
    np.testing.assert_equal(got, state)
    assert isinstance(got["nested"], tuple) and isinstance(got["nested"][0]["c"][1], tuple)
    assert type(got["nested"][1][0]) is float
    assert fs.load_tensors(path)[0]["nested/0/h"].shape == (2, 3)


@pytest.mark.parametrize(
    ("state", "error", "parts"),
    [
        ({"a": {"b": {1: 2}}}, TypeError, ["keys of a/b must be strings", "1"]),
        ({"a": [object()]}, TypeError, ["a/0 must be", "object"]),
        ({"a": {"__array__": "b"}}, ValueError, ["'__array__' can't be a key of a"]),
        ({"a": {"b/c": np.ones(1), "b": {"c": np.ones(1)}}}, ValueError, ["a/b/c", "rename"]),
    ],
)
def test_states_that_cannot_be_saved(path, state, error, parts):
    with raises(error, *parts):
        checkpoint.save_checkpoint(path, state)
    assert not path.exists()


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    target = tmp_path / "run[1].safetensors"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = [f".{target.name}.{ended.pid}.0.tmp", f".{target.name}.{os.getpid()}.12.tmp"]
    stay = [
        f".{target.name}.{os.getppid()}.0.tmp",  # of one that is running
        f".other.{ended.pid}.0.tmp",
        f".{target.name}.words.0.tmp",
        target.name,
    ]
    for name in gone + stay:
        (tmp_path / name).write_text("")
    link = tmp_path / "link"
    link.symlink_to(target)
    checkpoint.remove_leftovers(link)
    assert sorted(os.listdir(tmp_path)) == sorted([*stay, "link"])


@pytest.mark.skipif(os.name == "nt", reason="nobody is asked there")
def test_what_another_user_writes_stays(tmp_path, monkeypatch):
    def kill(process, number):
        assert number == 0
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    file = tmp_path / f".run.{os.getppid()}.0.tmp"
    file.write_text("")
    checkpoint.remove_leftovers(tmp_path / "run")
    assert file.exists()
