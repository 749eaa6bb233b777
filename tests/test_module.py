"""Modules with joint parameters: one pair of buffers, and children that work as before.

Test sizes: T steps, B rows, I input size, H hidden size.
"""

import copy
import operator
import os
import pickle
import re
import types

import numpy as np
import pytest
from helpers import FORK_INSIDE_BACKWARD, load_kernels, raises, run_python
from layer_cases import (
    LAYERS,
    assert_close,
    assert_identical,
    backend_fixture,  # noqa: F401
    check_gradients,
    make_layer_fixture,  # noqa: F401
    run_at_once,
    train,
)

import fastseq as fs

T, B, I, H = 6, 5, 3, 7  # noqa: E741
LENGTHS = np.array([4, 6, 0, 1, 4])

DUPLICATES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}
all_duplicates = pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)


class Chain(fs.Module):
    """Children with equal signatures, one after the other."""

    def __call__(self, x):
        for child in self.children.values():
            x = child(x)[0]
        return x

    def loss_and_grad(self, x):
        """The gradients of half the sum of the squared outputs."""
        y, backprops = x, []
        for child in self.children.values():
            y, _, backprop = child.forward(y)
            backprops.append(backprop)
        dy = y
        for backprop in reversed(backprops):
            dy, _ = backprop(dy)
        self.dx = dy
        return 0.5 * float((y * y).sum())


def make_chain(make=fs.GRU, **options):
    """Three layers; the last two lie in a module of their own.

    Sizes such that not one of them begins at a multiple of a vector.
    """
    options = {"dtype": np.float64, **options}
    lower = make(I, 1, seed=1, **options)
    upper = Chain(first=make(1, H, seed=2, **options), second=make(H, 2, seed=3, **options))
    return Chain(lower=lower, upper=Flat(upper))


class Flat(fs.Module):
    """A module around one other, which it calls like a layer."""

    def __init__(self, inner):
        super().__init__(inner=inner)

    def __call__(self, x):
        return self.inner(x), None

    def forward(self, x):
        y, _, first = self.inner.first.forward(x)
        y, _, second = self.inner.second.forward(y)
        return y, None, lambda dy: first(second(dy)[0])


def layers_of(chain):
    return chain.lower, chain.upper.inner.first, chain.upper.inner.second


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((T, B, I))


# --- one pair of buffers --------------------------------------------------------------------


def test_names_have_prefixes_in_the_order_of_the_children():
    chain = make_chain()
    names = list(chain.parameters)
    assert names[:5] == [
        "lower.weight_ih_l0",
        "lower.weight_hh_l0",
        "lower.bias_ih_l0",
        "lower.bias_hh_l0",
        "upper.inner.first.weight_ih_l0",
    ]
    assert len(names) == 12 and names[-1] == "upper.inner.second.bias_hh_l0"
    assert list(chain.parameters.grads) == names
    assert next(iter(chain.upper.parameters)) == "inner.first.weight_ih_l0"
    assert next(iter(chain.lower.parameters)) == "weight_ih_l0"


def test_children_are_slices_one_after_the_other():
    alone = [layer.parameters.flat.copy() for layer in layers_of(make_chain())]
    chain = make_chain()
    assert_identical(chain.parameters.flat, np.concatenate(alone))
    for which in ("flat", "flat_grad"):
        whole = getattr(chain.parameters, which)
        whole[:] = np.arange(whole.size)
        begin = 0
        for layer in layers_of(chain):
            part = getattr(layer.parameters, which)
            assert_identical(part, np.arange(begin, begin + part.size, dtype=np.float64))
            assert np.shares_memory(part, whole)
            begin += part.size
        assert begin == whole.size
    assert_identical(
        chain.upper.inner.second.parameters["bias_hh_l0"],
        chain.parameters["upper.inner.second.bias_hh_l0"],
    )
    assert_identical(
        chain.upper.parameters.grads["inner.first.weight_hh_l0"],
        chain.parameters.grads["upper.inner.first.weight_hh_l0"],
    )


def test_gradients_move_too():
    layer = fs.RNN(I, H)
    layer.parameters.flat_grad[:] = np.arange(layer.parameters.flat.size)
    model = fs.Module(first=fs.RNN(2, 2), layer=layer)
    assert_identical(model.parameters.flat_grad[-3:], layer.parameters.flat_grad[-3:])
    assert layer.parameters.flat_grad[5] == 5
    layer.parameters.zero_grad()
    assert not model.parameters.flat_grad.any()


def test_children_work_as_before(backend, make_layer, x):
    alone = make_layer(I, H, 2, bidirectional=True, seed=1)
    layer = make_layer(I, H, 2, bidirectional=True, seed=1)
    train(layer, x)  # with buffers and bound weights from a call before
    model = fs.Module(odd=fs.RNN(1, 1, bias=False), layer=layer, last=fs.RNN(2, 2))
    before = model.parameters.flat.copy()
    for lengths in (None, LENGTHS):
        assert_identical(train(layer, x, None, lengths), train(alone, x, None, lengths))
        assert_identical(layer(x, None, lengths), alone(x, None, lengths))
    assert_identical(model.parameters.flat, before)
    grads = model.parameters.flat_grad
    assert grads[2:-12].any() and not grads[:2].any() and not grads[-12:].any()
    model.parameters.flat *= 0.5
    alone.parameters.flat *= 0.5
    assert_identical(train(layer, x), train(alone, x))


@pytest.mark.parametrize("make", [fs.RNN, fs.LSTM, fs.GRU])
def test_streams_and_cells_within(backend, make, x):
    layer = make(I, H, dtype=np.float64, seed=1)
    model = fs.Module(odd=fs.RNN(1, 1, dtype=np.float64), layer=layer)
    model.parameters.flat[:] *= 2
    stream = layer.stream(B)
    streamed = np.stack([stream.step(x_t).copy() for x_t in x])
    assert_close(streamed, layer(x)[0])
    cell = getattr(fs, f"{make.__name__}Cell")(I, H, dtype=np.float64)
    fs.Module(odd=fs.RNN(1, 1, dtype=np.float64), cell=cell)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    h = cell(x[0])
    assert_close(h[0] if make is fs.LSTM else h, streamed[0])


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_a_model_are_central_differences(backend, name, x):
    chain, x = make_chain(LAYERS[name]), x[:3, :2]
    chain.loss_and_grad(x)
    grads, dx = chain.parameters.flat_grad.copy(), chain.dx
    check_gradients(
        lambda: 0.5 * (chain(x) ** 2).sum(), [x, chain.parameters.flat], [dx, grads], tolerance=1e-8
    )


def test_the_same_child_twice_occurs_once(x):
    layer = fs.GRU(I, I, dtype=np.float64, seed=1)
    chain = Chain(one=layer, two=layer)
    assert list(chain.parameters) == [f"one.{name}" for name in layer.parameters]
    chain.loss_and_grad(x)
    grads = chain.parameters.flat_grad.copy()
    check_gradients(lambda: 0.5 * (chain(x) ** 2).sum(), [chain.parameters.flat], [grads])
    for other in (copy.deepcopy(chain), pickle.loads(pickle.dumps(chain))):
        assert other.one is other.two
        assert_identical(other(x), chain(x))


def test_state_dict_is_the_models(x):
    one, two = make_chain(), make_chain()
    two.parameters.flat[:] = 0
    two.load_state_dict(one.state_dict())
    assert_identical(two(x), one(x))
    wrong = one.state_dict()
    wrong["upper.inner.second.bias_hh_l0"] = np.zeros(5)
    wrong["lower.bias_hh_l0"] = np.ones(3)
    with raises(ValueError, "upper.inner.second.bias_hh_l0 must have the shape", "(6,)", "(5,)"):
        two.load_state_dict(wrong)
    assert_identical(two(x), one(x))


def test_weights_alone_move_through_files_of_numpy(tmp_path):
    ours, other = fs.LSTM(2, 3, seed=0), fs.LSTM(2, 3, seed=1)
    np.savez(tmp_path / "lstm.npz", **ours.state_dict())
    with np.load(tmp_path / "lstm.npz") as arrays:
        other.load_state_dict(arrays)
    assert_identical(other.parameters.flat, ours.parameters.flat)


class Tied(fs.Module):
    """A table for inputs and outputs, within another module."""

    def __init__(self, **options):
        embedding = fs.Embedding(5, 3, **options)
        out = fs.Linear(3, 5, tied=embedding, seed=1)
        super().__init__(out=out, inner=fs.Module(rnn=fs.RNN(3, 3), table=embedding))


@pytest.mark.parametrize(
    "duplicate", [lambda model: model, *DUPLICATES.values()], ids=["itself", *DUPLICATES]
)
def test_tied_tables_have_two_names_in_pytorch(duplicate):
    model, other = duplicate(Tied(seed=0)), Tied(seed=1)
    state = model.state_dict(tied=True)
    assert set(state) - set(model.state_dict()) == {"out.weight"}
    assert_identical(state["out.weight"], model.inner.table.weight)
    assert not np.shares_memory(state["out.weight"], state["inner.table.weight"])
    other.load_state_dict(state)
    assert_identical(other.parameters.flat, model.parameters.flat)
    other.load_state_dict(model.state_dict())
    before = other.parameters.flat.copy()
    for wrong, parts in (
        (state["out.weight"] + 1, ["must have the same values", "without tied"]),
        (np.zeros((5, 2)), ["(5, 3)", "(5, 2)"]),
    ):
        with raises(ValueError, "out.weight", "inner.table.weight", *parts):
            other.load_state_dict(
                {**state, "inner.rnn.bias_hh_l0": np.ones(3), "out.weight": wrong}
            )
        assert_identical(other.parameters.flat, before)


def test_tied_names_are_those_within():
    model = Tied()
    assert list(model.out.state_dict(tied=True)) == ["bias"]
    assert list(model.inner.state_dict(tied=True)) == list(model.inner.state_dict())
    assert list(fs.RNN(1, 1).state_dict(tied=True)) == list(fs.RNN(1, 1).parameters)
    with raises(TypeError, "tied must be True or False", "1"):
        model.state_dict(tied=1)


LSTM_STATE = fs.LSTM(2, 3).state_dict()


@pytest.mark.parametrize(
    "make, state, hint",
    [
        (fs.LSTM, fs.LSTM(2, 3, 2, bidirectional=True), "num_layers=2, bidirectional=True"),
        (fs.LSTM, fs.LSTM(2, 3, bias=False), "make the layer with bias=False"),
        (fs.LSTM, fs.LSTMCell(2, 3), "these names are a cell's, and this is a layer"),
        (fs.LSTMCell, fs.LSTM(2, 3), "these names are a layer's, and this is a cell"),
        (
            fs.LSTM,
            {**LSTM_STATE, "weight_hr_l0": np.ones((1, 3))},
            "proj_size, which isn't there in fastseq",
        ),
        (
            fs.LSTM,
            {"epoch": 3, "state_dict": LSTM_STATE},
            "give that alone, as with x['state_dict']",
        ),
        (fs.LSTM, fs.Module(a=fs.Module(b=fs.LSTM(2, 3))), "as with model.a.b.state_dict()"),
        (
            lambda *sizes: fs.Module(a=fs.Module(b=fs.LSTM(*sizes))),
            fs.Module(a=fs.Module(b=fs.LSTM(2, 3, 2))),
            "make a.b with num_layers=2",
        ),
        (
            lambda *sizes: fs.Module(a=fs.LSTM(*sizes)),
            fs.Module(module=fs.Module(a=fs.LSTM(2, 3))),
            "as with model.module.state_dict()",
        ),
        (fs.LSTM, {**LSTM_STATE, "weights": np.ones(3)}, "unexpected: ['weights']"),
    ],
)
def test_other_names_say_what_is_different(make, state, hint):
    state = state.state_dict() if isinstance(state, fs.Module) else state
    with pytest.raises(ValueError, match=f"{re.escape(hint)}$"):
        make(2, 3).load_state_dict(state)


# --- copies ---------------------------------------------------------------------------------


def assert_tied(chain, x):
    """The children read the model's values and write its gradients."""
    y = chain(x)
    chain.parameters.zero_grad()
    chain.loss_and_grad(x)
    parts = [layer.parameters.flat_grad for layer in layers_of(chain)]
    assert all(part.any() for part in parts)
    assert_identical(np.concatenate(parts), chain.parameters.flat_grad)
    before = chain.parameters.flat.copy()
    chain.parameters.flat *= 0.5
    assert (chain(x) != y).any()
    for layer in layers_of(chain):
        layer.parameters.flat *= 2
    assert_identical(chain.parameters.flat, before)
    assert_identical(chain(x), y)
    assert {id(layer.parameters.grads_lock) for layer in layers_of(chain)} == {
        id(chain.parameters.grads_lock)
    }


@all_duplicates
def test_copies_are_tied_and_independent(x, duplicate, make_layer):
    chain = make_chain(make_layer)
    chain.loss_and_grad(x)
    other = duplicate(chain)
    assert_identical(other.parameters.flat, chain.parameters.flat)
    assert_identical(other.parameters.flat_grad, chain.parameters.flat_grad)
    assert list(other.parameters) == list(chain.parameters)
    expected = chain(x)
    assert_identical(other(x), expected)
    assert_tied(other, x)
    assert_tied(chain, x)
    other.parameters.flat[:] = 0
    assert_identical(chain(x), expected)


@pytest.mark.parametrize("make", [fs.LSTM, fs.GRUCell, fs.Linear])
def test_what_bind_makes_is_known_and_no_part_of_a_copy(make, monkeypatch):
    module, made, plain = make(2, 3), set(), fs.Module.__setattr__

    def note(self, name, value):
        made.add(name)
        plain(self, name, value)

    monkeypatch.setattr(fs.Module, "__setattr__", note)
    module._bind()
    assert made == set(module._bound)
    assert not made & set(module.__getstate__())


@all_duplicates
def test_copies_hold_no_value_twice(duplicate):
    chain = make_chain(lambda *sizes, **options: fs.GRU(*sizes, **options))
    bytes_of_arrays = chain.parameters.flat.nbytes + chain.parameters.flat_grad.nbytes
    assert len(pickle.dumps(chain)) < bytes_of_arrays + 6000
    alone = duplicate(chain.lower)
    assert alone.parameters.flat.size == chain.lower.parameters.flat.size
    flat = alone.parameters.flat
    assert (flat if flat.base is None else flat.base).size == flat.size
    assert_identical(alone.parameters.flat, chain.lower.parameters.flat)
    alone.parameters.flat[:] = 0
    assert chain.lower.parameters.flat.all()
    fs.Module(alone=alone)  # it is part of nothing yet


@all_duplicates
@pytest.mark.parametrize("order", [0, 1], ids=["parameters-first", "model-first"])
def test_what_holds_the_parameters_is_copied_with_the_model(x, duplicate, order):
    """As an optimiser does."""
    chain = make_chain()
    pair = (chain.parameters, chain) if order == 0 else (chain, chain.parameters)
    copied = duplicate(pair)
    parameters, other = copied if order == 0 else copied[::-1]
    assert other.parameters is parameters
    assert_tied(other, x)


class ChainWithList(Chain):
    """Whose state holds the layers before the joint parameters."""

    def __init__(self, **children):
        self.own = list(children.values())
        super().__init__(**children)


@all_duplicates
def test_copies_are_tied_in_whatever_order(x, duplicate):
    chain = make_chain()
    chain = duplicate(ChainWithList(**copy.deepcopy(chain).children))
    assert chain.own == [chain.lower, chain.upper]
    assert_tied(chain, x)


def test_shallow_copies_share(x):
    chain = make_chain()
    other = copy.copy(chain)
    assert other.parameters is chain.parameters and other.lower is chain.lower
    assert_tied(other, x)


@pytest.mark.parametrize("which", ["original", "copy"])
@pytest.mark.parametrize("duplicate", [lambda pair: pair, copy.deepcopy], ids=["", "deepcopy"])
def test_shallow_copies_share_also_what_becomes_a_part_later(make_layer, x, which, duplicate):
    layer = make_layer(I, H, 2, seed=1, dropout=0.5)
    layer, other = duplicate((layer, copy.copy(layer)))
    other.dropout = 0.0  # settings are its own
    model = fs.Module(odd=fs.RNN(1, 1), layer=layer if which == "original" else other)
    model.parameters.flat *= 2
    assert_identical(other(x), layer(x))
    assert np.shares_memory(other.weight_hh_l1, model.parameters.flat)
    layer.dropout = 0.0
    train(layer, x)
    expected = model.parameters.flat_grad.copy()
    model.parameters.zero_grad()
    train(other, x)
    assert expected.any()
    assert_identical(model.parameters.flat_grad, expected)


def test_shallow_copies_share_what_has_been_unpickled(x):
    layer = fs.GRU(I, H, seed=1, dtype=np.float64)
    model, other = pickle.loads(pickle.dumps((fs.Module(layer=layer), copy.copy(layer))))
    model.parameters.flat *= 2
    assert_identical(other(x), model.layer(x))


# --- locks ----------------------------------------------------------------------------------


def test_parameters_have_no_shallow_copies():
    chain = make_chain()
    for module in (chain, chain.upper, chain.lower):
        with raises(TypeError, "shallow copy of Parameters", "deepcopy", "state_dict()"):
            copy.copy(module.parameters)
        assert copy.copy(module).parameters is module.parameters


def test_one_lock_for_one_buffer():
    chain = make_chain()
    locks = {id(layer.parameters.grads_lock) for layer in (*layers_of(chain), chain.upper, chain)}
    assert len(locks) == 1
    assert fs.RNN(1, 1).parameters.grads_lock is not chain.parameters.grads_lock


def test_threads_train_a_model_at_once(x):
    chain = make_chain()
    inputs = [x[: i + 2] for i in range(4)]
    for each in inputs * 3:
        chain.loss_and_grad(each)
    expected = chain.parameters.flat_grad.copy()
    chain.parameters.zero_grad()
    run_at_once(
        [lambda each=each: [chain.loss_and_grad(each) for _ in range(3)] for each in inputs]
    )
    assert_close(chain.parameters.flat_grad, expected, 1e-12)


FORK_OF_A_PART = FORK_INSIDE_BACKWARD.format(
    model="""
layer = fs.LSTM(3, 8, seed=1)
model = fs.Module(lower=layer, upper=fs.LSTM(8, 8, seed=1))
""",
    holds="model.upper.parameters.grads_lock is layer.parameters.grads_lock",
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_another_thread_trains_a_part():
    load_kernels("cython")
    process = run_python(FORK_OF_A_PART, FASTSEQ_BACKEND="cython", PYTHONWARNINGS="ignore")
    assert (process.stdout, process.stderr) == ("the child left with 0\n", "")


# --- randomness and memory ------------------------------------------------------------------


def test_random_state_is_that_of_all_generators(x):
    chain = Chain(
        one=fs.GRU(I, H, 2, dropout=0.5, seed=1), two=Flat(Chain(**inner_layers(dropout=0.5)))
    )
    state = chain.random_state
    assert list(state) == ["one", "two.inner.first", "two.inner.second"]
    first, second = (chain.loss_and_grad(x) for _ in range(2))
    assert first != second
    chain.random_state = state
    assert [chain.loss_and_grad(x) for _ in range(2)] == [first, second]
    other = copy.deepcopy(chain)
    assert other.loss_and_grad(x) == chain.loss_and_grad(x)
    chain.random_state = other.random_state
    assert other.loss_and_grad(x) == chain.loss_and_grad(x)


def inner_layers(**options):
    return {
        "first": fs.GRU(H, H, 2, seed=2, **options),
        "second": fs.GRU(H, 2, 2, seed=3, **options),
    }


def test_random_state_is_all_or_nothing():
    model = fs.Module(one=fs.RNN(1, 1, seed=1), two=fs.RNN(1, 1, seed=2))
    state = model.random_state
    other = fs.Module(one=fs.RNN(1, 1, seed=3), two=fs.RNN(1, 1, seed=4)).random_state
    for wrong, parts in (
        ({"one": other["one"]}, ["each of ['one', 'two']", "got ['one']"]),
        ({**other, "three": other["one"]}, ["got ['one', 'two', 'three']"]),
        ({**other, "two": {"state": 1}}, ["random_state['two'] is no state of a PCG64"]),
        ({**other, "two": None}, ["random_state['two'] is no state of a PCG64"]),
        (None, ["got NoneType"]),
    ):
        with raises(ValueError, *parts):
            model.random_state = wrong
        assert model.random_state == state
    model.random_state = other
    assert model.random_state == other != state


def test_one_seed_for_several_parts():
    draws = [rng.random() for rng in fs.Module.split_seed(7, 3)]
    assert len(set(draws)) == 3
    assert draws == [rng.random() for rng in fs.Module.split_seed(7, 3)]
    assert draws != [rng.random() for rng in fs.Module.split_seed(8, 3)]
    rng = np.random.default_rng(7)
    first, second = fs.Module.split_seed(rng, 1), fs.Module.split_seed(rng, 1)
    assert first[0].random() != second[0].random()
    with raises(TypeError, "seed must be None", "'seven'"):
        fs.Module.split_seed("seven", 2)
    with raises(ValueError, "count must be at least 1", "0"):
        fs.Module.split_seed(7, 0)


def test_named_seeds_are_those_in_order():
    seeds = fs.Module.named_seeds(7, "ahead", "back")
    expected = fs.Module.split_seed(7, 2)
    for name, rng in zip(("ahead", "back"), expected, strict=True):
        assert getattr(seeds, name).random() == rng.random()
    assert list(vars(seeds)) == ["ahead", "back"]


def test_a_module_carries_nothing_unless_it_says_so():
    class Half(Chain):
        def training_state(self):
            return {"window": 3}

    chain, half = make_chain(), Half(lower=fs.GRU(2, 3))
    assert chain.training_state() == {}
    chain.load_training_state({})
    with raises(NotImplementedError, "Half has a training_state", "load_training_state(state)"):
        half.load_training_state(half.training_state())


def test_release_reaches_the_layers(x):
    chain = make_chain()
    expected = chain.loss_and_grad(x), chain(x)
    assert all(layer._pool._free for layer in layers_of(chain))
    chain.release()
    assert not any(layer._pool._free for layer in layers_of(chain))
    assert_identical(chain(x), expected[1])


def test_two_sets_of_buffers_are_kept_at_most(make_layer, x):
    """However many passes were under way at once."""
    layer = make_layer(3, 4, seed=0)
    passes = [layer.forward(x) for _ in range(4)]
    for y, _, backprop in passes:
        backprop(y)
    assert len(layer._pool._free) == 2


# --- what is refused ------------------------------------------------------------------------


def test_a_part_belongs_to_one_module():
    layer = fs.RNN(2, 3, seed=1)
    model = fs.Module(layer=layer)
    for make in (
        lambda: fs.Module(again=layer),
        lambda: fs.Module(model=model, again=layer),
        lambda: fs.Module(first=fs.RNN(1, 1), again=layer),
    ):
        with raises(ValueError, "again is part of another module already", "copy.deepcopy"):
            make()
    assert np.shares_memory(layer.parameters.flat, model.parameters.flat)
    fs.Module(again=copy.deepcopy(layer), model=model)


def test_parts_of_a_module_that_is_gone_are_free():
    layer = fs.RNN(2, 3, seed=1)
    before = layer.parameters.flat.copy()
    fs.Module(other=fs.RNN(1, 1), layer=layer)
    model = fs.Module(layer=layer)
    assert_identical(model.parameters.flat, before)
    assert np.shares_memory(layer.parameters.flat, model.parameters.flat)


@pytest.mark.parametrize(
    "children, error, parts",
    [
        ({}, ValueError, ["Module must have children", "super().__init__(lstm="]),
        ({"a": np.zeros(3)}, TypeError, ["a must be a Module", "got ndarray"]),
        ({"a": fs.RNN}, TypeError, ["a must be a Module", "got type"]),
        ({"dtype": fs.RNN(1, 1)}, ValueError, ["can't be called 'dtype'", "an attribute"]),
        ({"_parameters": fs.RNN(1, 1)}, ValueError, ["can't be called '_parameters'"]),
        ({"_rng": fs.RNN(1, 1)}, ValueError, ["can't be called '_rng'"]),
        (
            {"a": fs.RNN(1, 1), "b": fs.RNN(1, 1, dtype=np.float64)},
            ValueError,
            ["one dtype", "a float32, b float64"],
        ),
        (
            {"a": fs.Module(b=fs.RNN(1, 1)), "a.b": fs.RNN(1, 1)},
            ValueError,
            ["two parameters would be called a.b.weight_ih_l0"],
        ),
    ],
)
def test_children(children, error, parts):
    with raises(error, *parts):
        fs.Module(**children)


def test_children_can_be_joined_after_an_error():
    layer, other = fs.RNN(1, 1), fs.RNN(1, 1, dtype=np.float64)
    with pytest.raises(ValueError):
        fs.Module(layer=layer, other=other)
    fs.Module(layer=layer)


def test_children_stay():
    chain = make_chain()
    layer = chain.lower
    with raises(AttributeError, "lower can't be replaced", "make a new Chain"):
        chain.lower = fs.GRU(I, 1)
    assert chain.lower is layer
    chain.foreign = types.SimpleNamespace(_modules={})  # as PyTorch's modules have it
    chain.children["lower"] = None
    assert chain.children["lower"] is layer
    chain.anything = 3


MISSPELT = {
    "dropuot": (lambda: fs.LSTM(2, 3), "dropout"),
    "weight_hh_l5": (lambda: fs.GRU(2, 3), "weight_hh_l0"),
    "hidden_dim": (lambda: fs.RNNCell(2, 3), "hidden_size"),
    "input_feed": (lambda: fs.AttentionGRU(2, 3, 4), "input_feeding"),
    "P": (lambda: fs.Dropout(), "p"),
    "padding_index": (lambda: fs.Embedding(2, 3), "padding_idx"),
    "head_num": (lambda: fs.MultiheadAttention(4, 2), None),
    "dropout": (lambda: fs.AdditiveAttention(2, 3), None),
    "latent_dim": (lambda: fs.GaussianLatent(0, 2, 3), "latent_size"),
    "tag_count": (lambda: fs.CRF(3), None),
}


@pytest.mark.parametrize("name", MISSPELT)
def test_layers_have_no_other_attributes(name):
    """Or a misspelt option would change nothing, and say nothing."""
    make, nearest = MISSPELT[name]
    layer = make()
    parts = [f"{type(layer).__name__} has no attribute {name!r} that can be assigned"]
    parts += [f"the nearest name is {nearest!r}"] if nearest else []
    with raises(AttributeError, *parts):
        setattr(layer, name, 0.5)
    assert not hasattr(layer, name)


def test_classes_of_users_have_what_they_like():
    class Layer(fs.LSTM):
        def __init__(self):
            self.early = 1
            super().__init__(2, 3)
            self.late = 2

    class Loss(fs.CrossEntropyLoss):
        pass

    layer, loss, model = Layer(), Loss(), fs.Module(layer=fs.RNN(2, 3))
    layer.later = loss.later = model.later = 3
    assert (layer.early, layer.late, layer.later, loss.later, model.later) == (1, 2, 3, 3, 3)


@pytest.mark.parametrize(
    "make, name",
    [
        (lambda: fs.AdaptiveLogSoftmaxWithLoss(4, 20, [5]), "head"),
        (lambda: fs.BagOfWordsLoss(4, 20), "hidden"),
    ],
)
def test_parts_of_losses_stay(make, name):
    loss = make()
    with raises(AttributeError, f"{name} can't be replaced, since its parameters lie among those"):
        setattr(loss, name, fs.Linear(4, 4))


def test_parameters_are_no_attributes_of_parameters():
    layer = fs.LSTM(2, 3)
    for views in (layer.parameters, layer.parameters.grads):
        with raises(AttributeError, "weight_hh_l0 is no attribute", "parameters[name] = ..."):
            views.weight_hh_l0 = np.zeros((12, 3))


def test_parts_and_parameters_are_not_deleted():
    """They would still be trained and saved."""
    chain, layer, linear = make_chain(), fs.LSTM(2, 3), fs.Linear(2, 3)
    chain.anything = 3
    for owner, name in ((chain, "lower"), (layer, "weight_hh_l0"), (linear, "bias")):
        with raises(AttributeError, f"{name} can't be deleted", f"new {type(owner).__name__}"):
            delattr(owner, name)
        assert hasattr(owner, name)
    del chain.anything
    assert not hasattr(chain, "anything")


HOLDINGS = {
    "a layer": lambda: fs.RNN(1, 1),
    "a list": lambda: [1, fs.RNN(1, 1)],
    "a dict": lambda: {"a": fs.RNN(1, 1)},
    "a random generator": lambda: fs.Dropout(0.5),
    "a loss of a layer": lambda: fs.LinearCrossEntropyLoss(fs.Linear(1, 2)),
    "a model": lambda: fs.Module(layer=fs.RNN(1, 1)),
}


@pytest.mark.parametrize("hold", HOLDINGS.values(), ids=HOLDINGS)
def test_no_module_is_held_that_is_no_part(hold):
    """It would be neither trained nor saved."""

    class Model(fs.Module):
        def __init__(self, early=None):
            if early is not None:
                self.early = early
            super().__init__(layer=fs.RNN(2, 3))

    class Layer(fs.RNN):
        pass

    parts = ["is no part of this", "super().__init__(name=...)"]
    with raises(AttributeError, "early holds a", *parts):
        Model(hold())
    for module in (Model(), Layer(2, 3)):
        with raises(AttributeError, "late holds a", *parts):
            module.late = hold()
        assert not hasattr(module, "late")


def make_borrowers():
    embedding = fs.Embedding(5, 3)
    linear = fs.Linear(3, 5)
    return {
        "tied": (embedding, fs.Linear(3, 5, tied=embedding)),
        "sampled": (linear, fs.SampledSoftmaxLoss(linear, 2)),
    }


@pytest.mark.parametrize("name", make_borrowers())
def test_weights_that_a_part_uses_must_be_in_the_model(name):
    """Whatever module has them; else they would get gradients, and stay as they are."""
    lender, borrower = make_borrowers()[name]
    inner = fs.Module(borrower=borrower, other=fs.RNN(1, 1))
    for parameters in (borrower.parameters, inner.parameters, copy.deepcopy(inner).parameters):
        with raises(ValueError, "borrower" if len(parameters) > 1 else "", "is no part"):
            fs.SGD(parameters)
    model = fs.Module(inner=inner, lender=lender)
    for whole in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        fs.SGD(whole.parameters)
        fs.SGD(whole.inner.parameters)
    with raises(ValueError, "inner.borrower uses the parameters of a module that is no part"):
        fs.SGD(fs.Module(inner=copy.deepcopy(inner)).parameters)


def test_parts_may_have_other_names(x):
    class Model(fs.Module):
        def __init__(self):
            self.early = fs.RNN(I, H, dtype=np.float64, seed=1)
            self.loss = fs.CrossEntropyLoss()
            super().__init__(inner=fs.Module(layer=self.early))
            self.late, self.all = self.inner.layer, [self.early, self.inner]

    model = Model()
    assert model.early is model.late
    loaded = copy.deepcopy(model)
    assert loaded.early is loaded.late is loaded.all[0] is loaded.inner.layer
    assert np.shares_memory(loaded.early.parameters.flat, loaded.parameters.flat)


def test_repr_shows_the_tree():
    assert repr(make_chain()).splitlines() == [
        "Chain(",
        "  lower=GRU(3, 1, dtype=float64),",
        "  upper=Flat(",
        "    inner=Chain(",
        "      first=GRU(1, 7, dtype=float64),",
        "      second=GRU(7, 2, dtype=float64),",
        "    ),",
        "  ),",
        ")",
    ]


def test_dtype_is_that_of_the_children():
    assert make_chain().dtype is np.dtype(np.float64)
    assert fs.Module(layer=fs.RNN(1, 1)).dtype is np.dtype(np.float32)
    loaded = pickle.loads(pickle.dumps(make_chain()))
    assert loaded.dtype is np.dtype(np.float64)


# --- as in PyTorch, but wrong here ----------------------------------------------------------------


class ForwardAlone(fs.Module):
    def __init__(self):
        super().__init__(lstm=fs.LSTM(2, 3))

    def forward(self, x):
        return self.lstm(x)[0]


class NothingJoined(fs.Module):
    def __init__(self):
        self.lstm = fs.LSTM(2, 3)

    def loss_and_grad(self, batch):
        return 0.0


def test_a_model_without_call_says_what_to_define():
    with pytest.raises(TypeError, match=r"ForwardAlone has no __call__: .*loss_and_grad\(batch\)"):
        ForwardAlone()(np.ones((4, 1, 2)))


def test_what_is_called_may_come_from_a_class_beside():
    class Doubling:
        def __call__(self, x, times=2):
            return times * self.forward(x)

    class Both(ForwardAlone, Doubling):
        pass

    model, x = Both(), np.ones((4, 1, 2), np.float32)
    np.testing.assert_array_equal(model(x, times=3), 3 * model.forward(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: fs.Embedding(5, 3),
        lambda: fs.Linear(3, 2),
        lambda: fs.LayerNorm(3),
        lambda: fs.LSTM(3, 2, 2, bidirectional=True),
        lambda: fs.GRUCell(3, 2),
        lambda: fs.AdditiveAttention(3, 2),
        lambda: fs.AttentionGRU(3, 2, 4),
        lambda: fs.CRF(3),
    ],
)
def test_parameters_are_read_by_name_and_copied_into(make):
    layer = make()
    for name, view in layer.parameters.items():
        assert getattr(layer, name) is view
        before = view.copy()
        with raises(AttributeError, f"{name} can't be replaced", f"layer.{name}[...] = ..."):
            setattr(layer, name, np.zeros_like(view))
        assert_identical(getattr(layer, name), before)
        setattr(layer, name, operator.iadd(getattr(layer, name), 1))  # as layer.name += 1 does
        assert_identical(layer.parameters[name], before + 1)


def test_the_names_follow_the_parameters_into_a_model():
    layer = fs.Linear(2, 3)
    model = fs.Module(first=fs.RNN(1, 1), layer=layer)
    layer.weight[...] = 7
    assert (model.parameters["layer.weight"] == 7).all()
    model.parameters["layer.bias"] = np.ones(3)
    assert_identical(layer.bias, np.ones(3, np.float32))


def test_weights_and_bias_of_a_linear_layer_are_pytorchs():
    embedding = fs.Embedding(4, 3)
    tied, plain = fs.Linear(3, 4, tied=embedding), fs.Linear(3, 4, bias=False)
    assert tied.weight is embedding.weight and plain.bias is None
    tied.weight *= 2
    with raises(AttributeError, "weight can't be replaced", "layer.weight[...]"):
        tied.weight = np.zeros((4, 3))
    with raises(AttributeError, "bias can't be changed: make a new Linear"):
        plain.bias = np.zeros(4)


@all_duplicates
def test_the_names_of_a_copy_are_its_own(duplicate):
    layer = fs.Linear(2, 3, seed=0)
    layer.weight[...] = 7
    for other in (duplicate(layer), duplicate(fs.Module(first=fs.RNN(1, 1), layer=layer)).layer):
        assert other.weight is other.parameters["weight"]
        other.weight[...] = 1
        assert (layer.weight == 7).all() and (other.parameters["weight"] == 1).all()


NOT_HERE = {
    "training": "calling a layer is inference, and its forward(...) is training",
    "train": "calling a layer is inference, and its forward(...) is training",
    "eval": "calling a layer is inference, and its forward(...) is training",
    "requires_grad": "fs.Adam(model.linear.parameters)",
    "zero_grad": "parameters.zero_grad()",
}


@pytest.mark.parametrize("name", NOT_HERE)
@pytest.mark.parametrize("make", [lambda: fs.LSTM(2, 3), ForwardAlone, lambda: fs.Dropout(0.5)])
def test_switches_of_pytorch_are_refused(make, name):
    module = make()
    for use in (lambda: getattr(module, name), lambda: setattr(module, name, False)):
        with raises(AttributeError, f"there is no {name} here", NOT_HERE[name]):
            use()
    assert not hasattr(module, name)


def test_parameters_are_not_called():
    with pytest.raises(TypeError, match=r"no method here.*fs\.Adam\(model\.parameters\)"):
        fs.Adam(ForwardAlone().parameters())


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.parameters,
        lambda model: model.dtype,
        lambda model: model.state_dict(),
        lambda model: model.load_state_dict({}),
        lambda model: fs.fit(model, [0], optimizer=fs.Adam(fs.LSTM(2, 3).parameters)),
        lambda model: fs.save_model(model, "x"),
        lambda model: fs.Module(model=model),
    ],
)
def test_a_model_that_was_given_no_parts_says_so(use):
    with pytest.raises(AttributeError, match=r"NothingJoined has no parameters yet.*super\(\)"):
        use(NothingJoined())
    assert repr(NothingJoined()) == "NothingJoined()"
