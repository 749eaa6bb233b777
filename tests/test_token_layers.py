"""Embedding, Linear, Dropout and LayerNorm: values, gradients, randomness, bad arguments."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises
from layer_cases import (
    assert_waits_for,
    backend_fixture,  # noqa: F401
    check_gradients,
    run_at_once,
    run_backprop_in_threads,
)

import fastseq as fs

LAYERS = {
    "embedding": lambda **options: fs.Embedding(5, 3, seed=1, **options),
    "linear": lambda **options: fs.Linear(4, 3, seed=1, **options),
    "linear-no-bias": lambda **options: fs.Linear(4, 3, bias=False, seed=1, **options),
    "norm": lambda **options: make_norm(4, **options),
    "norm-two-axes": lambda **options: make_norm((2, 4), **options),
}
all_layers = pytest.mark.parametrize("name", LAYERS)
all_leads = pytest.mark.parametrize("lead", [(), (6,), (3, 2), (0, 2)])


def make_norm(shape, **options):
    """With weights that aren't ones."""
    norm = fs.LayerNorm(shape, **options)
    flat = norm.parameters.flat
    flat[:] = np.random.default_rng(1).standard_normal(flat.size)
    return norm


def make_input(name, lead, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    if name == "embedding":
        return rng.integers(0, 5, lead)
    axes = (2, 4) if name == "norm-two-axes" else (4,)
    return np.asarray(rng.standard_normal((*lead, *axes)), dtype)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --- values ---------------------------------------------------------------------------------


def expected_output(layer, name, x):
    """The layer's definition, token by token."""
    p = layer.parameters
    if name == "embedding":
        return np.array([p["weight"][i] for i in x.ravel()]).reshape(*x.shape, 3)
    if name.startswith("linear"):
        return np.einsum("...i,oi->...o", x, p["weight"]) + p.get("bias", 0)
    out = np.empty_like(x)
    for i in np.ndindex(x.shape[: x.ndim - p["weight"].ndim]):
        out[i] = (x[i] - x[i].mean()) / np.sqrt(x[i].var() + layer.eps) * p["weight"] + p["bias"]
    return out


@all_layers
@all_leads
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values(name, lead, dtype):
    layer, x = LAYERS[name](dtype=dtype), make_input(name, lead, dtype)
    y = layer(x)
    assert y.dtype == dtype
    assert_close(y, expected_output(layer, name, x).astype(dtype))
    assert_identical(layer.forward(x)[0], y)


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_epsilon_counts_where_the_variance_is_small(eps):
    norm = fs.LayerNorm(3, eps=eps, dtype=np.float64)
    x = np.array([1e-2, 0, 0])
    assert_close(norm(x), (x - x.mean()) / np.sqrt(x.var() + eps))


# --- gradients ------------------------------------------------------------------------------


@all_layers
@all_leads
def test_gradients_are_central_differences(backend, name, lead, rng):
    layer, x = LAYERS[name](dtype=np.float64), make_input(name, lead)
    y, backprop = layer.forward(x)
    dy = rng.standard_normal(y.shape)
    kept = dy.copy()
    dx = backprop(dy)
    arrays, gradients = [layer.parameters.flat], [layer.parameters.flat_grad.copy()]
    if name == "embedding":
        assert dx is None
    else:
        arrays, gradients = [x, *arrays], [dx, *gradients]
    check_gradients(lambda: (layer(x) * dy).sum(), arrays, gradients, tolerance=1e-8)
    assert_identical(dy, kept)

    once = layer.parameters.flat_grad.copy()
    layer.forward(x)[1](dy)
    assert_close(layer.parameters.flat_grad, 2 * once)
    layer.parameters.zero_grad()
    assert layer.forward(x)[1](dy, input_grad=False) is None
    assert_identical(layer.parameters.flat_grad, once)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_tied_weights(backend, rng, bias):
    """One table at both ends of a model."""
    embedding = fs.Embedding(5, 3, padding_idx=2, dtype=np.float64, seed=1)
    linear = fs.Linear(3, 5, bias=bias, dtype=np.float64, tied=embedding)
    model = fs.Module(embedding=embedding, linear=linear)
    assert list(model.parameters) == ["embedding.weight"] + ["linear.bias"] * bias
    ids, dy = np.array([[1, 4], [1, 0]]), rng.standard_normal((2, 2, 5))

    def run():
        return (linear(np.tanh(embedding(ids))) * dy).sum()

    for owner in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        embedding, linear = owner.embedding, owner.linear
        assert linear.tied is embedding
        h, into_table = embedding.forward(ids)
        _, through_linear = linear.forward(np.tanh(h))
        into_table(through_linear(dy) * (1 - np.tanh(h) ** 2))
        grads = owner.parameters.flat_grad.copy()
        check_gradients(run, [owner.parameters.flat], [grads], tolerance=1e-8)


@all_leads
@pytest.mark.parametrize("bias", [True, False])
def test_packed_linear_keeps_the_weights_of_its_moment(backend, rng, bias, lead):
    linear = fs.Linear(4, 70, bias=bias, dtype=np.float64, seed=1)
    x = rng.standard_normal((*lead, 4))
    before, packed = linear(x), linear.packed()
    linear.parameters.flat[:] = np.nan
    assert_close(packed(x), before)
    with raises(ValueError, "x must have shape", "(2, 3)", "in_features"):
        packed(np.ones((2, 3)))
    with raises(TypeError, "x must hold floating-point numbers"):
        packed(np.ones((2, 4), int))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_packed_linear_never_changes_and_copies_are_itself(backend, rng, duplicate):
    model = fs.Module(linear=fs.Linear(4, 70, seed=1))
    model.scores = model.linear.packed()
    x = rng.standard_normal((3, 4)).astype(np.float32)
    before = model.scores(x)
    twin = duplicate(model)
    model.linear.parameters.flat[:] = np.nan
    del model
    assert_identical(twin.scores(x), before)
    assert duplicate(twin.scores) is twin.scores


def test_packed_linears_are_not_pickled(backend):
    linear = fs.Linear(4, 70, dtype=np.float64, seed=1)
    packed = linear.packed()
    assert (packed.in_features, packed.out_features, packed.dtype) == (4, 70, np.float64)
    assert repr(packed) == f"{linear!r}.packed()" == "Linear(4, 70, dtype=float64).packed()"
    with pytest.raises(AttributeError):
        packed.out_features = 3
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with raises(TypeError, "a PackedLinear can't be pickled", "call layer.packed() anew"):
            pickle.dumps(packed, protocol)


def test_packed_linear_of_tied_weights(rng):
    embedding = fs.Embedding(50, 8, seed=1)
    linear, x = fs.Linear(8, 50, tied=embedding), rng.standard_normal((7, 8)).astype(np.float32)
    assert_identical(linear.packed()(x), linear(x))


def test_tied_weights_without_a_model(rng):
    embedding = fs.Embedding(50, 8, seed=1)
    linear = fs.Linear(8, 50, tied=embedding)
    plain = fs.Linear(8, 50)
    plain.load_state_dict(embedding.state_dict() | linear.state_dict())
    x, dy = (rng.standard_normal((7, n)).astype(np.float32) for n in (8, 50))
    assert_identical(linear(x), plain(x))
    assert_identical(linear.forward(x)[1](dy), plain.forward(x)[1](dy))
    assert_identical(embedding.parameters.grads["weight"], plain.parameters.grads["weight"])
    assert_identical(linear.parameters.grads["bias"], plain.parameters.grads["bias"])


def test_large_weights_get_their_gradient_in_pieces(rng):
    linear = fs.Linear(300, 2500, seed=1)
    x, dy = (rng.standard_normal((9, n)).astype(np.float32) for n in (300, 2500))
    linear.parameters.flat_grad.fill(1)
    linear.forward(x)[1](dy)
    assert_close(linear.parameters.grads["weight"], 1 + dy.T @ x, 1e-6)
    linear.release()
    linear.forward(x)[1](dy)
    assert_close(linear.parameters.grads["weight"], 1 + 2 * (dy.T @ x), 1e-6)


def test_the_padding_row_stays(backend):
    for padding in (3, -2):
        embedding = fs.Embedding(5, 2, padding_idx=padding, seed=1)
        assert embedding.padding_idx == 3
        weight = embedding.parameters["weight"]
        assert not weight[3].any() and weight[[0, 1, 2, 4]].all()
        y, backprop = embedding.forward([3, 1, 3, 1])
        backprop(np.ones_like(y))
        expected = np.zeros((5, 2), np.float32)
        expected[1] = 2
        assert_identical(embedding.parameters.grads["weight"], expected)


def test_python_threads_share_layers(backend, rng):
    """Gradients add up whoever adds them; these two layers share a table."""
    embedding = fs.Embedding(40, 64, dtype=np.float64, seed=1)
    linear = fs.Linear(64, 40, dtype=np.float64, tied=embedding)
    model = fs.Module(embedding=embedding, linear=linear)
    inputs = [rng.integers(0, 40, (30, 20)) for _ in range(4)]

    def work(ids):
        for _ in range(5):
            y, first = embedding.forward(ids)
            z, second = linear.forward(y)
            first(second(z))

    for ids in inputs:
        work(ids)
    expected = model.parameters.flat_grad.copy()
    model.parameters.zero_grad()
    run_at_once([lambda ids=ids: work(ids) for ids in inputs])
    assert_close(model.parameters.flat_grad, expected, 1e-12)


@all_layers
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_gradients_are_added_one_pass_at_a_time(name, part):
    layer, x = LAYERS[name](dtype=np.float64), make_input(name, (4,))
    if part in layer.parameters:
        y, backprop = layer.forward(x)
        gradients = layer.parameters.grads[part]
        assert_waits_for(layer.parameters.grads_lock, lambda: backprop(y), gradients)


def test_tied_gradients_are_added_one_pass_at_a_time(rng):
    embedding = fs.Embedding(5, 3, dtype=np.float64, seed=1)
    linear = fs.Linear(3, 5, dtype=np.float64, tied=embedding)
    x = rng.standard_normal((4, 3))
    for owner, part in ((embedding, "weight"), (linear, "bias")):
        y, backprop = linear.forward(x)
        gradients = owner.parameters.grads[part]
        gradients.fill(0)
        assert_waits_for(owner.parameters.grads_lock, lambda: backprop(y), gradients)  # noqa: B023


@all_layers
def test_backprop_runs_once_and_has_no_duplicates(name):
    layer, x = LAYERS[name](dtype=np.float64), make_input(name, (4,))
    y, backprop = layer.forward(x)
    with raises(TypeError, "a TokenBackprop can't be copied"):
        copy.copy(backprop)
    for wrong, error, parts in (
        (y[:2], ValueError, ["dy must have the shape of y", str(y.shape), str(y[:2].shape)]),
        (np.ones(y.shape, int), TypeError, ["dy must hold floating-point", "int64"]),
    ):
        with raises(error, *parts):
            backprop(wrong)
    with raises(TypeError, "input_grad must be True or False"):
        backprop(y, input_grad=1)
    assert not layer.parameters.flat_grad.any()
    backprop(y)
    once = layer.parameters.flat_grad.copy()
    with raises(RuntimeError, "already run"):
        backprop(y)
    assert_identical(layer.parameters.flat_grad, once)
    layer.parameters.zero_grad()
    if name != "embedding":  # whose result is None
        run_backprop_in_threads(layer.forward(x)[1], y)
        assert_identical(layer.parameters.flat_grad, once)


# --- arrays as they come --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "norm", "norm-two-axes"])
@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(">f4"),
        lambda x: x.astype(np.float64),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x.tolist(),
    ],
    ids=["byte-swapped", "float64", "fortran", "strided", "lists"],
)
def test_other_layouts_of_float_are_converted(name, convert):
    layer, x = LAYERS[name](), make_input(name, (3, 2), np.float32)
    y, backprop = layer.forward(x)
    dx, grads = backprop(y), layer.parameters.flat_grad.copy()
    layer.parameters.zero_grad()
    assert_identical(layer(convert(x)), y)
    _, backprop = layer.forward(convert(x))
    assert_identical((backprop(convert(y)), layer.parameters.flat_grad), (dx, grads))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64])
def test_ids_of_any_integer_dtype(dtype):
    embedding = fs.Embedding(5, 2, seed=1)
    ids = np.array([[4, 0], [1, 1]])
    assert_identical(embedding(ids.astype(dtype)), embedding(ids.tolist()))
    assert embedding([]).shape == (0, 2)


# --- randomness -----------------------------------------------------------------------------


def test_initial_parameters_are_drawn_like_pytorchs():
    linear = fs.Linear(64, 500, seed=1).parameters
    for view in linear.values():
        assert 0.12 < np.abs(view).max() <= 0.125
        assert abs(view.std() - 0.125 / 3**0.5) < 0.004
    embedding = fs.Embedding(500, 64, seed=1).parameters["weight"]
    assert abs(embedding.std() - 1) < 0.02 and abs(embedding.mean()) < 0.02
    norm = fs.LayerNorm((2, 3)).parameters
    assert_identical(norm["weight"], np.ones((2, 3), np.float32))
    assert not norm["bias"].any()
    for make in (
        lambda **o: fs.Linear(64, 500, **o),
        lambda **o: fs.Embedding(500, 64, **o),
    ):
        one, same, other = (make(seed=seed).parameters.flat for seed in (1, 1, 2))
        assert_identical(one, same)
        assert (one != other).mean() > 0.99
        double = make(seed=1, dtype=np.float64).parameters.flat
        assert_identical(double.astype(np.float32), one)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.1, 0.25, 0.8])
def test_dropout_drops_and_scales(p, dtype, rng):
    dropout = fs.Dropout(p, seed=1)
    x = 1 + rng.random((200, 50)).astype(dtype)
    y, backprop = dropout.forward(x)
    kept = y != 0
    assert abs(kept.mean() - (1 - p)) < 0.02
    assert_close(y[kept], (x * dtype(1 / (1 - p)))[kept])
    dx = backprop(x)
    assert_identical(dx, y)
    assert y.dtype == dx.dtype == dtype
    assert dropout(x) is x
    assert backprop is not dropout.forward(x)[1] and (dropout.forward(x)[0] != y).any()


def test_dropout_at_the_ends(rng):
    x = rng.standard_normal((3, 4))
    for p, expected in ((0, x), (1, np.zeros_like(x))):
        y, backprop = fs.Dropout(p, seed=1).forward(x)
        assert_identical(y, expected)
        assert_identical(backprop(x), expected)
    assert fs.Dropout(0.5).forward(x)[1](x, input_grad=False) is None
    idle = fs.Dropout(0, seed=1)
    assert idle.forward(x)[0] is x and idle.random_state == fs.Dropout(0, seed=1).random_state


def test_dropout_follows_its_own_generator(rng):
    x = np.ones(1000)
    one, same, other = (fs.Dropout(0.5, seed=seed) for seed in (1, 1, 2))
    first = one.forward(x)[0]
    assert_identical(same.forward(x)[0], first)
    assert (other.forward(x)[0] != first).any()
    state = one.random_state
    second = one.forward(x)[0]
    other.random_state = state
    assert_identical(other.forward(x)[0], second)
    assert (second != first).any()
    duplicate = pickle.loads(pickle.dumps(other))
    assert_identical(duplicate.forward(x)[0], other.forward(x)[0])
    model = fs.Module(linear=fs.Linear(2, 2, dtype=np.float64), dropout=one)
    assert list(model.random_state) == ["dropout"] and model.dtype == np.float64
    one.p = 0
    assert_identical(one.forward(x)[0], x)


# --- bad arguments --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, error, parts",
    [
        (lambda: fs.Embedding(0, 3), ValueError, ["num_embeddings", "at least 1", "0"]),
        (lambda: fs.Embedding(3, 1.5), TypeError, ["embedding_dim", "integer", "1.5"]),
        (lambda: fs.Embedding(3, 2, padding_idx=3), ValueError, ["padding_idx", "-3 and 2", "3"]),
        (lambda: fs.Embedding(3, 2, padding_idx=-4), ValueError, ["padding_idx", "-4"]),
        (lambda: fs.Embedding(3, 2, padding_idx=True), TypeError, ["padding_idx", "True"]),
        (lambda: fs.Embedding(3, 2, dtype=np.int64), ValueError, ["dtype", "int64"]),
        (lambda: fs.Embedding(3, 2, seed=-1), ValueError, ["seed", "non-negative", "-1"]),
        (lambda: fs.Linear(0, 3), ValueError, ["in_features", "at least 1", "0"]),
        (lambda: fs.Linear(3, "2"), TypeError, ["out_features", "integer", "'2'"]),
        (lambda: fs.Linear(3, 2, bias=1), TypeError, ["bias", "True or False", "1"]),
        (lambda: fs.Linear(3, 2, tied=fs.Linear(3, 2)), TypeError, ["tied", "Embedding", "Linear"]),
        (
            lambda: fs.Linear(3, 2, tied=fs.Embedding(3, 2)),
            ValueError,
            ["tied must be an embedding of 2 vectors of 3", "got 3 of 2 of float32"],
        ),
        (
            lambda: fs.Linear(3, 2, tied=fs.Embedding(2, 3), dtype=np.float64),
            ValueError,
            ["features of float64", "of float32"],
        ),
        (lambda: fs.Dropout(1.5), ValueError, ["p must be", "from 0 to 1", "1.5"]),
        (lambda: fs.Dropout("0.5"), TypeError, ["p must be", "'0.5'"]),
        (lambda: fs.LayerNorm(0), ValueError, ["normalized_shape", "at least 1", "0"]),
        (lambda: fs.LayerNorm(()), ValueError, ["normalized_shape", "at least one axis"]),
        (lambda: fs.LayerNorm((2, 1.5)), TypeError, ["normalized_shape", "integer", "1.5"]),
        (lambda: fs.LayerNorm(2, eps=0), ValueError, ["eps", "above 0", "0"]),
        (lambda: fs.LayerNorm(2, eps=np.inf), ValueError, ["eps", "finite", "inf"]),
        (lambda: fs.LayerNorm(2, eps=None), TypeError, ["eps", "None"]),
    ],
)
def test_constructors(make, error, parts):
    with raises(error, *parts):
        make()


@pytest.mark.parametrize("method", ["__call__", "forward"])
@pytest.mark.parametrize(
    "ids, error, parts",
    [
        (
            [[0, 1], [5, -1]],
            ValueError,
            ["ids must lie between 0 and 4", "5 embeddings", "got 5 at ids[1, 0]"],
        ),
        ([3, -1, 9], ValueError, ["got -1 at ids[1]"]),
        (7, ValueError, ["got 7 at ids"]),
        (np.array([2**63], np.uint64), ValueError, [f"got {2**63} at ids[0]"]),
        ([0.0, 1.0], TypeError, ["ids must hold integers", "float64", "np.int64"]),
        ([True], TypeError, ["ids must hold integers", "bool"]),
        ([[0], [1, 2]], ValueError, ["ids must be an array of integers"]),
        (np.ma.masked_array([1, 2], [0, 1]), TypeError, ["ids must be", "masked array"]),
    ],
)
def test_ids(method, ids, error, parts):
    with raises(error, *parts):
        getattr(fs.Embedding(5, 3), method)(ids)


@pytest.mark.parametrize("method", ["__call__", "forward"])
@pytest.mark.parametrize(
    "layer, x, error, parts",
    [
        (fs.Linear(4, 3), np.ones((2, 3)), ValueError, ["(..., 4)", "(2, 3)", "in_features"]),
        (fs.Linear(4, 3), np.float64(1), ValueError, ["(..., 4)", "()"]),
        (fs.Linear(4, 3), np.ones(4, int), TypeError, ["x must hold floating-point", "int64"]),
        (fs.LayerNorm(4), np.ones((4, 3)), ValueError, ["(..., 4)", "(4, 3)", "normalized_shape"]),
        (fs.LayerNorm((2, 4)), np.ones(4), ValueError, ["(..., 2, 4)", "(4,)"]),
        (fs.LayerNorm(4), ["a"], TypeError, ["x must hold floating-point"]),
        (fs.Dropout(0.5), [1, 2], TypeError, ["x must hold floating-point"]),
    ],
)
def test_x(method, layer, x, error, parts):
    with raises(error, *parts):
        getattr(layer, method)(x)


def test_attributes_stay():
    for layer, names in (
        (fs.Embedding(2, 3), ["num_embeddings", "embedding_dim", "padding_idx", "dtype"]),
        (fs.Linear(2, 3), ["in_features", "out_features", "dtype", "tied"]),
        (fs.LayerNorm(3), ["normalized_shape", "eps", "dtype"]),
    ):
        for name in names:
            with raises(AttributeError, f"{name} can't be changed"):
                setattr(layer, name, None)


def test_repr():
    embedding = fs.Embedding(3, 2, padding_idx=0)
    assert repr(embedding) == "Embedding(3, 2, padding_idx=0, dtype=float32)"
    assert repr(fs.Embedding(3, 2, dtype=np.float64)) == "Embedding(3, 2, dtype=float64)"
    assert repr(fs.Linear(2, 3, bias=False)) == "Linear(2, 3, bias=False, dtype=float32)"
    assert "tied=Embedding(3, 2" in repr(fs.Linear(2, 3, tied=embedding))
    assert repr(fs.Dropout(0.25)) == "Dropout(0.25)"
    assert repr(fs.LayerNorm(3)) == "LayerNorm(3, dtype=float32)"
    assert repr(fs.LayerNorm((3, 2), eps=1e-3)) == "LayerNorm((3, 2), eps=0.001, dtype=float32)"


# --- memory -------------------------------------------------------------------------------------


def test_a_table_is_drawn_in_blocks():
    tracemalloc.start()
    try:
        embedding = fs.Embedding(100_000, 10, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * embedding.weight.nbytes + 1_000_000  # with the gradient
    drawn = np.random.default_rng(0).standard_normal(embedding.weight.shape)
    assert_identical(embedding.weight, drawn.astype(np.float32))
