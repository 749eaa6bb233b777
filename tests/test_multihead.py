"""Scaled dot-product and multi-head attention: gradients, equivalences, bad arguments."""

import copy
import tracemalloc

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises
from layer_cases import (
    assert_waits_for,
    backend_fixture,  # noqa: F401
    check_gradients,
    run_backprop_in_threads,
)

import fastseq as fs

T, S, B, E = 4, 3, 2, 6
LENGTHS = [3, 0]
OPTIONS = {
    "plain": {},
    "no-bias": {"bias": False},
    "own-sizes": {"kdim": 5, "vdim": 4},
    "batch-first": {"batch_first": True},
}
all_options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def make(options=None, **more):
    return fs.MultiheadAttention(E, 2, **(options or {}), **more, dtype=np.float64, seed=1)


def swap(layer, array):
    """From time first to the layer's own layout."""
    return np.ascontiguousarray(array.swapaxes(0, 1)) if layer.batch_first else array


def make_inputs(layer, rng):
    """query, key, value"""
    sizes = (T, layer.embed_dim), (S, layer.kdim), (S, layer.vdim)
    return [swap(layer, rng.standard_normal((steps, B, size))) for steps, size in sizes]


# --- gradients ------------------------------------------------------------------------------


def assert_gradients(layer, inputs, dy, **call):
    """Of parameters and of the inputs, some of which may be None."""
    layer.parameters.flat[:] = np.random.default_rng(3).standard_normal(layer.parameters.flat.size)
    layer.parameters.zero_grad()
    grads = layer.forward(*inputs, **call)[-1](dy)
    assert [g is None for g in grads] == [x is None for x in inputs]

    def loss():
        return (layer(*inputs, **call)[0] * dy).sum()

    arrays = [x for x in inputs if x is not None] + [layer.parameters.flat]
    check_gradients(
        loss, arrays, [*(g for g in grads if g is not None), layer.parameters.flat_grad]
    )


@all_options
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("key_lengths", [None, LENGTHS])
def test_gradients(backend, rng, options, causal, key_lengths):
    layer = make(options)
    inputs = make_inputs(layer, rng)
    dy = rng.standard_normal(inputs[0].shape)
    assert_gradients(layer, inputs, dy, causal=causal, key_lengths=key_lengths)


@pytest.mark.parametrize("given", [1, 2, 3])
@pytest.mark.parametrize("steps, rows", [(4, 2), (1, 1)])
def test_gradients_of_what_is_given_once(rng, given, steps, rows):
    layer = make()
    inputs = [rng.standard_normal((steps, rows, E)) if i < given else None for i in range(3)]
    assert_gradients(layer, inputs, rng.standard_normal((steps, rows, E)))


def test_gradients_of_values_alone(rng):
    layer = make()
    inputs = [rng.standard_normal((T, B, E)), None, rng.standard_normal((T, B, E))]
    assert_gradients(layer, inputs, rng.standard_normal((T, B, E)))


def test_gradients_of_a_key_that_is_the_value_too(rng):
    layer = make(kdim=5, vdim=5)
    inputs = [rng.standard_normal((T, B, E)), rng.standard_normal((S, B, 5)), None]
    assert_gradients(layer, inputs, rng.standard_normal((T, B, E)))


# --- equivalences ---------------------------------------------------------------------------


def train(layer, *inputs, dy, **call):
    """All that comes out: y, weights, the inputs' gradients, the parameters'."""
    layer.parameters.zero_grad()
    y, weights, backprop = layer.forward(*inputs, need_weights=True, **call)
    return y, weights, *backprop(dy), layer.parameters.flat_grad.copy()


def test_what_is_left_out_is_the_query(rng):
    layer = make()
    x, dy = rng.standard_normal((2, T, B, E))
    y, weights, dx, _, _, grads = train(layer, x, dy=dy)
    expected = train(layer, x, x, x, dy=dy)
    assert_close((y, weights), expected[:2])
    assert_close((dx, grads), (expected[2] + expected[3] + expected[4], expected[5]))


def test_time_first_is_batch_first_turned(rng):
    ahead, turned = make(), make(batch_first=True)
    inputs, dy = make_inputs(ahead, rng), rng.standard_normal((T, B, E))
    call = {"key_lengths": LENGTHS, "causal": True}
    y, weights, *grads, own = train(ahead, *inputs, dy=dy, **call)
    other = train(turned, *(swap(turned, x) for x in inputs), dy=swap(turned, dy), **call)
    assert_close(swap(turned, y), other[0])
    assert_close((weights, own), (other[1], other[5]))
    assert_close(tuple(swap(turned, g) for g in grads), other[2:5])


@all_options
def test_without_a_batch_axis(rng, options):
    layer = make(options)
    inputs = [swap(layer, swap(layer, x)[:, :1]) for x in make_inputs(layer, rng)]
    dy = rng.standard_normal(inputs[0].shape)
    expected = train(layer, *inputs, dy=dy, key_lengths=[2])
    axis = 0 if layer.batch_first else 1
    alone = train(layer, *(x.squeeze(axis) for x in inputs), dy=dy.squeeze(axis), key_lengths=[2])
    assert_identical(alone[1], expected[1][0])
    assert_identical(alone[5], expected[5])
    for i in (0, 2, 3, 4):
        assert_identical(alone[i], expected[i].squeeze(axis))


def test_rows_do_not_know_of_each_other(rng):
    layer = make()
    query, key, value = make_inputs(layer, rng)
    y, weights = layer(query, key, value, [2, 3], need_weights=True)
    for b, length in enumerate([2, 3]):
        own = layer(query[:, b], key[:length, b], value[:length, b], need_weights=True)
        assert_close(own, (y[:, b], weights[b, :, :length]))
    assert not weights[0, :, 2:].any()


def test_no_keys_leave_the_bias(rng):
    layer = make()
    layer.parameters["out_proj.bias"] = rng.standard_normal(E)
    y, weights = layer(*make_inputs(layer, rng), [0, 3], need_weights=True)
    assert (y[:, 0] == layer.parameters["out_proj.bias"]).all() and not weights[0].any()


def test_causal_outputs_do_not_see_the_future(rng):
    layer, x = make(), rng.standard_normal((T, B, E))
    y, weights = layer(x, causal=True, need_weights=True)
    assert not np.triu(weights, 1).any()
    for t in range(1, T):
        assert_close(layer(x[:t], causal=True)[0], y[:t])


def test_weights_make_the_output(backend, rng):
    layer = fs.MultiheadAttention(E, 1, dtype=np.float64, seed=1)
    query, key, value = make_inputs(layer, rng)
    y, weights = layer(query, key, value, LENGTHS, causal=True, need_weights=True)
    p = layer.parameters
    v = value @ p["in_proj_weight"][2 * E :].T + p["in_proj_bias"][2 * E :]
    context = np.einsum("bts,sbe->tbe", weights, v)
    assert_close(y, context @ p["out_proj.weight"].T + p["out_proj.bias"])
    assert_close(weights[0].sum(axis=1), np.ones(T))


def test_weights_of_every_head(rng):
    layer = make()
    inputs = make_inputs(layer, rng)
    _, each = layer(*inputs, LENGTHS, need_weights=True, average_attn_weights=False)
    _, mean = layer(*inputs, LENGTHS, need_weights=True)
    assert each.shape == (B, 2, T, S)
    assert_close(each.mean(axis=1), mean)
    assert layer(*inputs, LENGTHS)[1] is None


def test_function_and_layer_are_what_a_head_does(backend, rng):
    q, k, v = (rng.standard_normal((B, 2, n, 3)) for n in (T, S, S))
    y, backprop = fs.ScaledDotProductAttention(causal=True).forward(q, k, v, LENGTHS)
    assert_identical(fs.scaled_dot_product_attention(q, k, v, LENGTHS, causal=True), y)
    dy = rng.standard_normal(y.shape)
    grads = backprop(dy)
    for head in range(2):
        own = [array[:, head].copy() for array in (q, k, v)]
        layer = fs.ScaledDotProductAttention(causal=True, scale=3**-0.5)
        found, back = layer.forward(*own, LENGTHS)
        assert_close(found, y[:, head])
        assert_close(back(dy[:, head].copy()), tuple(g[:, head] for g in grads))
    assert fs.ScaledDotProductAttention().forward(q, k, v)[1](dy, input_grad=False) == (None,) * 3


def test_scale_changes_scores(rng):
    q, k, v = rng.standard_normal((3, 1, 4, 2))
    y = fs.scaled_dot_product_attention(q, k, v, scale=0.3)
    assert_close(y, fs.scaled_dot_product_attention(0.3 * 2**0.5 * q, k, v))
    assert_close(y, fs.scaled_dot_product_attention(0.3 * q, k, v, scale=1.0))


def test_memory_grows_with_the_length():
    """All pairs of positions would take four times as much, not twice."""
    layer = fs.MultiheadAttention(8, 1, seed=0)

    def peak(steps):
        x = np.ones((steps, 1, 8), np.float32)
        tracemalloc.start()
        try:
            layer.forward(x)[2](x)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(4000) < 2.5 * peak(2000)


# --- a layer among layers -------------------------------------------------------------------


def test_in_a_model(rng):
    seeds = fs.Module.split_seed(0, 2)
    model = fs.Module(
        attention=fs.MultiheadAttention(E, 2, seed=seeds[0]), linear=fs.Linear(E, 3, seed=seeds[1])
    )
    assert list(model.parameters)[:4] == [
        "attention.in_proj_weight",
        "attention.in_proj_bias",
        "attention.out_proj.weight",
        "attention.out_proj.bias",
    ]
    x = rng.standard_normal((T, B, E)).astype(np.float32)
    other = copy.deepcopy(model)
    assert_identical(other.attention(x)[0], model.attention(x)[0])
    other.parameters.flat[:] = 0
    assert model.attention(x)[0].any() and not other.attention(x)[0].any()


def test_seed_and_dtype():
    first, second = (fs.MultiheadAttention(E, 2, seed=3) for _ in range(2))
    assert_identical(first.parameters.flat, second.parameters.flat)
    assert first.parameters.flat.dtype == np.float32 and not first.parameters["in_proj_bias"].any()
    x = np.ones((1, 1, E), np.float32)
    assert first(x, need_weights=True)[0].dtype == first(x, need_weights=True)[1].dtype == x.dtype
    assert repr(make(OPTIONS["own-sizes"])) == (
        "MultiheadAttention(6, 2, kdim=5, vdim=4, dtype=float64)"
    )
    assert repr(fs.ScaledDotProductAttention(scale=2)) == "ScaledDotProductAttention(scale=2.0)"


def test_backprop_runs_once_and_holds_the_lock(rng):
    layer = make()
    x = rng.standard_normal((T, B, E))
    run_backprop_in_threads(layer.forward(x)[2], x)
    layer.parameters.zero_grad()
    backprop = layer.forward(x)[2]
    gradients = layer.parameters.flat_grad
    assert_waits_for(layer.parameters.grads_lock, lambda: backprop(x, input_grad=False), gradients)
    with raises(RuntimeError, "already run"):
        backprop(x)


# --- bad arguments --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, options, error, parts",
    [
        ((6, 4), {}, ValueError, ("num_heads must divide embed_dim 6", "got 4")),
        ((0, 1), {}, ValueError, ("embed_dim must be at least 1",)),
        ((6, 2), {"kdim": 0}, ValueError, ("kdim must be at least 1",)),
        ((6, 2), {"bias": 1}, TypeError, ("bias must be True or False",)),
        ((6, 2), {"dtype": np.int32}, ValueError, ("dtype must be float32 or float64",)),
    ],
)
def test_bad_constructors(arguments, options, error, parts):
    with raises(error, *parts):
        fs.MultiheadAttention(*arguments, **options)


def zeros(*shape):
    return np.zeros(shape)


@pytest.mark.parametrize(
    "arguments, call, error, parts",
    [
        ((zeros(4, 2, 5),), {}, ValueError, ("query must have shape (..., 6)", "embed_dim")),
        ((zeros(6),), {}, ValueError, ("query must have shape (T, B, E) or (T, E)",)),
        ((zeros(4, 2, 6), zeros(3, 6)), {}, ValueError, ("key must have as many axes as query",)),
        (
            (zeros(4, 2, 6), zeros(3, 1, 6)),
            {},
            ValueError,
            ("key must have shape (S, B, ...) = (3, 2, 6), got (3, 1, 6)",),
        ),
        (
            (zeros(4, 2, 6), zeros(3, 2, 6), zeros(4, 2, 6)),
            {},
            ValueError,
            ("value must have shape (S, B, ...) = (3, 2, 6), got (4, 2, 6)",),
        ),
        ((np.zeros((4, 2, 6), int),), {}, TypeError, ("query must hold floating-point numbers",)),
        (
            (zeros(4, 2, 6),),
            {"key_lengths": [5, 1]},
            ValueError,
            ("key_lengths must lie between 0 and 4, the number of steps in query, got 5",),
        ),
        ((zeros(4, 2, 6),), {"key_lengths": [1]}, ValueError, ("key_lengths", "(B,) = (2,)")),
        ((zeros(4, 2, 6),), {"key_lengths": [True, False]}, TypeError, ("count the steps of",)),
        ((zeros(4, 2, 6),), {"causal": 1}, TypeError, ("causal must be True or False",)),
        ((zeros(4, 2, 6),), {"need_weights": 1}, TypeError, ("need_weights must be True",)),
    ],
)
def test_bad_calls(arguments, call, error, parts):
    with raises(error, *parts):
        make()(*arguments, **call)


@pytest.mark.parametrize(
    "arguments, options, error, parts",
    [
        ((zeros(4, 6), zeros(3, 6), zeros(3, 6)), {}, ValueError, ("(B, heads, T, F)", "(4, 6)")),
        ((zeros(1, 4, 0), zeros(1, 3, 0), zeros(1, 3, 6)), {}, ValueError, ("F at least 1",)),
        (
            (zeros(1, 4, 6), zeros(1, 3, 5), zeros(1, 3, 6)),
            {},
            ValueError,
            ("key must have shape (B, S, F) = (1, 3, 6), got (1, 3, 5)",),
        ),
        (
            (zeros(1, 2, 4, 6), zeros(1, 2, 3, 6), zeros(1, 2, 2, 6)),
            {},
            ValueError,
            ("value must have shape (B, heads, S, E) = (1, 2, 3, 6), got (1, 2, 2, 6)",),
        ),
        ((zeros(1, 4, 6), zeros(3, 6), zeros(3, 6)), {}, ValueError, ("as many axes as query",)),
        (
            (zeros(1, 4, 6), zeros(1, 3, 6), zeros(1, 3, 6)),
            {"scale": 0},
            ValueError,
            ("scale must be a finite number above 0",),
        ),
        (
            (zeros(1, 4, 6), zeros(1, 3, 6), zeros(1, 3, 6)),
            {"key_lengths": [4]},
            ValueError,
            ("key_lengths must lie between 0 and 3, the number of steps in key, got 4",),
        ),
    ],
)
def test_bad_calls_of_the_function(arguments, options, error, parts):
    with raises(error, *parts):
        fs.scaled_dot_product_attention(*arguments, **options)


def test_bad_gradients_leave_the_backprop_alone(rng):
    x = rng.standard_normal((T, B, E))
    backprop = make().forward(x)[2]
    with raises(ValueError, "dy must have the shape of y"):
        backprop(x[:1])
    with raises(TypeError, "input_grad must be True or False"):
        backprop(x, input_grad=1)
    assert backprop(x)[0].shape == x.shape
