"""Streams: step by step, the same as the layer at once."""

import copy
import pickle
import re
import tracemalloc

import numpy as np
import pytest
from layer_cases import (
    LAYERS,
    as_tuple,
    assert_identical,
    assert_same,
    backend_fixture,  # noqa: F401
    make_layer_fixture,  # noqa: F401
    map_state,
    random_state,
)

import fastseq as fs

T, I, H = 7, 3, 6  # noqa: E741


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def collect(stream, x):
    return np.stack([stream.step(x_t).copy() for x_t in x])


@pytest.mark.parametrize("rows", [1, 2, 9])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_stream_is_batch(backend, make_layer, rng, rows, num_layers, dtype, bias):
    layer = make_layer(I, H, num_layers, bias=bias, dtype=dtype, seed=1)
    x, state = rng.standard_normal((T, rows, I)).astype(dtype), random_state(layer, rows, rng)
    y, final = layer(x, state)
    stream = layer.stream(rows)
    stream.state = state
    assert_same(backend, (collect(stream, x), stream.state), (y, final))


@pytest.mark.parametrize("hidden", [1, 17, 64, 200])
def test_stream_is_batch_for_other_sizes(backend, make_layer, rng, hidden):
    layer = make_layer(33, hidden, 2, seed=1)
    x = rng.standard_normal((4, 33)).astype(np.float32)
    assert_same(backend, collect(layer.stream(), x), layer(x)[0])


@pytest.mark.parametrize("backend", ["cython"], indirect=True)
@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize("hidden", [16, 64, 128, 300])
def test_threads_do_not_change_streams(backend, make_layer, rng, rows, hidden):
    layer = make_layer(33, hidden, 2, seed=1)
    x = rng.standard_normal((T, rows, 33)).astype(np.float32)

    def run(threads):
        fs.set_num_threads(threads)  # a stream keeps the number it was made with
        stream = layer.stream(rows)
        return collect(stream, x), stream.state

    alone = run(1)
    assert_identical(run(2), alone)
    assert_identical(run(3), alone)


def test_stream_starts_from_zeros_and_resets(backend, make_layer, rng):
    layer = make_layer(I, H, 2, seed=1)
    x = rng.standard_normal((T, 1, I)).astype(np.float32)
    stream = layer.stream()
    assert not any(array.any() for array in as_tuple(stream.state))
    first = collect(stream, x)
    assert any(array.any() for array in as_tuple(stream.state))
    stream.reset()
    assert not any(array.any() for array in as_tuple(stream.state))
    assert_identical(collect(stream, x), first)


def test_state_can_be_saved_and_restored(backend, make_layer, rng):
    layer = make_layer(I, H, 2, seed=1)
    x = rng.standard_normal((T, 2, I)).astype(np.float32)
    stream, other = layer.stream(2), layer.stream(2)
    stream.step(x[0])
    state = stream.state
    kept = map_state(np.copy, state)
    rest = collect(stream, x[1:])
    assert_identical(state, kept)  # a copy: the stream went on without it
    other.state = state
    assert_identical(collect(other, x[1:]), rest)
    assert_identical(state, kept)
    other.state = None
    assert not any(array.any() for array in as_tuple(other.state))


def test_vectors_without_a_batch_axis(backend, make_layer, rng):
    layer = make_layer(I, H, 2, seed=1)
    x = rng.standard_normal((T, I)).astype(np.float32)
    rows = collect(layer.stream(), x[:, None])
    vectors = collect(layer.stream(), x)
    assert vectors.shape == (T, H)
    assert_identical(vectors, rows[:, 0])


def test_other_inputs_are_converted(backend, make_layer, rng):
    layer = make_layer(I, H, seed=1)
    x = rng.standard_normal((T, 2, I)).astype(np.float32)
    expected = collect(layer.stream(2), x)
    for same in (
        x.astype(np.float64),
        x.astype(">f4"),
        np.asfortranarray(x.swapaxes(0, 2)).swapaxes(0, 2),
        np.repeat(x, 2, axis=2)[..., ::2],
        list(map(np.ndarray.tolist, x)),
    ):
        assert_same(backend, collect(layer.stream(2), same), expected)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert_same(backend, collect(layer.stream(2), frozen), expected)


def test_result_is_a_read_only_view(backend, make_layer, rng):
    stream = make_layer(I, H, 2, seed=1).stream()
    y = stream.step(np.ones((1, I), np.float32))
    before = y.copy()
    with pytest.raises(ValueError, match="read-only"):
        y[...] = 0
    stream.step(np.ones((1, I), np.float32))
    assert (y != before).any()
    assert_identical(y, as_tuple(stream.state)[0][-1])


def test_weights_are_read_when_made_and_on_reload(backend, make_layer, rng):
    layer = make_layer(I, H, 2, seed=1)
    x = rng.standard_normal((T, I)).astype(np.float32)
    stream, before = layer.stream(), layer(x)[0]
    layer.parameters.flat *= 0.5
    assert_same(backend, collect(stream, x), before)
    state = stream.state
    stream.reload()
    assert_identical(stream.state, state)
    stream.reset()
    assert_same(backend, collect(stream, x), layer(x)[0])


def test_streams_are_independent(backend, make_layer, rng):
    layer = make_layer(I, H, seed=1)
    x = rng.standard_normal((2, T, I)).astype(np.float32)
    streams = [layer.stream(), layer.stream()]
    steps = [
        [s.step(x_t).copy() for s, x_t in zip(streams, at_t, strict=True)]
        for at_t in x.swapaxes(0, 1)
    ]
    for got, alone in zip(np.swapaxes(steps, 0, 1), x, strict=True):
        assert_same(backend, got, layer(alone)[0])


# --- copies ---------------------------------------------------------------------------------


def assert_goes_on_alone(backend, original, twin, layer, x):
    """Both go on from the same state with the same weights, whatever the other one does."""
    state, rest = original.state, x[2:]
    assert_identical(twin.state, state)
    alone = layer(rest, state)
    assert_same(backend, collect(twin, rest), alone[0])
    assert_same(backend, twin.state, alone[1])
    assert_identical(original.state, state)
    twin.reset()
    assert_same(backend, (collect(original, rest), original.state), alone)
    assert not any(array.any() for array in as_tuple(twin.state))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("num_layers, bias", [(1, True), (2, True), (2, False)])
def test_copies_are_independent(backend, make_layer, rng, duplicate, rows, num_layers, bias):
    layer = make_layer(I, H, num_layers, bias=bias, seed=1)
    x = rng.standard_normal((T, rows, I)).astype(np.float32)
    stream = layer.stream(rows)
    collect(stream, x[:2])
    y = stream.step(x[1])
    twin = duplicate(stream)
    assert not np.shares_memory(twin.step(x[1]), y)
    stream.step(x[1])
    assert_goes_on_alone(backend, stream, twin, layer, x)


@pytest.mark.parametrize("hidden", [17, 200])
def test_copies_of_other_sizes(backend, make_layer, rng, hidden):
    layer = make_layer(33, hidden, 2, dtype=np.float64, seed=1)
    x = rng.standard_normal((5, 1, 33))
    stream = layer.stream()
    stream.step(x[0])
    twin = copy.copy(copy.deepcopy(stream))
    assert_goes_on_alone(backend, stream, twin, layer, x)
    other = copy.copy(twin)
    state = other.state
    del stream, twin
    assert_same(backend, collect(other, x), layer(x, state)[0])


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_copies_keep_the_weights_and_the_backend_that_the_stream_was_made_with(
    backend, make_layer, rng, duplicate
):
    layer = make_layer(I, H, 2, seed=1)
    x = rng.standard_normal((T, I)).astype(np.float32)
    stream, before = layer.stream(), layer(x)[0]
    layer.parameters.flat *= 0.5
    fs.set_backend("numpy")
    twin = duplicate(stream)
    assert_identical(collect(twin, x), collect(stream, x))
    fs.set_backend(backend)
    twin.reset()
    assert_same(backend, collect(twin, x), before)
    twin.reload()
    twin.reset()
    assert_same(backend, collect(twin, x), layer(x)[0])


@pytest.mark.parametrize("backend", ["cython"], indirect=True)
@pytest.mark.parametrize("rows", [1, 40])
def test_copies_keep_the_number_of_threads(backend, make_layer, rng, rows):
    layer = make_layer(33, 300, 2, seed=1)
    x = rng.standard_normal((T, rows, 33)).astype(np.float32)
    fs.set_num_threads(2)
    stream = layer.stream(rows)
    fs.set_num_threads(1)
    stream.step(x[0])
    assert_goes_on_alone(backend, stream, copy.copy(stream), layer, x)


def test_a_copy_reads_the_layer_and_a_deep_copy_its_own_on_reload(backend, make_layer, rng):
    layer = make_layer(I, H, 2, seed=1)
    x = rng.standard_normal((T, I)).astype(np.float32)
    stream, before = layer.stream(), layer(x)[0]
    shallow, deep = copy.copy(stream), copy.deepcopy(stream)
    layer.parameters.flat *= 0.5
    shallow.reload()
    deep.reload()
    assert_same(backend, collect(shallow, x), layer(x)[0])
    assert_same(backend, collect(deep, x), before)


def test_a_deep_copy_stays_with_what_is_copied_beside_it(backend, make_layer, rng):
    layer = make_layer(I, H, seed=1)
    x = rng.standard_normal((T, I)).astype(np.float32)
    own_layer, deep = copy.deepcopy((layer, layer.stream()))
    own_layer.parameters.flat *= 0.5
    deep.reload()
    assert_same(backend, collect(deep, x), own_layer(x)[0])


def test_streams_are_not_pickled(backend, make_layer):
    stream = make_layer(I, H, seed=1).stream()
    stream.step(np.ones(I, np.float32))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=r"a Stream can't be pickled.*layer.stream\(batch"):
            pickle.dumps(stream, protocol)
    layer, state = pickle.loads(pickle.dumps((stream._layer, stream.state)))
    again = layer.stream()
    again.state = state
    assert_identical(again.step(np.ones(I, np.float32)), stream.step(np.ones(I, np.float32)))


def test_nan_propagates(backend, make_layer):
    stream = make_layer(I, H, 2, seed=1).stream()
    assert np.isnan(stream.step(np.full((1, I), np.nan, np.float32))).all()


def test_step_allocates_nothing(backend, make_layer):
    if backend != "cython":
        pytest.skip("the other backends do allocate")
    layer, x = make_layer(I, H, 2, seed=1), np.ones((1, I), np.float32)
    stream = layer.stream()
    for _ in range(3):
        stream.step(x)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(100):
            stream.step(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - before < 400  # the loop's own objects; one array header is a hundred bytes


# --- errors ---------------------------------------------------------------------------------


def test_bidirectional_layers_cannot_stream(make_layer):
    with pytest.raises(ValueError, match="bidirectional layer can't be streamed"):
        make_layer(I, H, bidirectional=True).stream()


def test_batch_size():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        fs.GRU(I, H).stream(0)
    with pytest.raises(TypeError, match=r"batch_size must be an integer, got 1\.5"):
        fs.GRU(I, H).stream(1.5)


def test_batch_size_stays():
    stream = fs.GRU(I, H).stream(2)
    with pytest.raises(AttributeError, match="batch_size can't be changed: make a new Stream"):
        stream.batch_size = 3
    assert stream.batch_size == 2
    stream.step(np.ones((2, I), np.float32))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (np.zeros((2, I), int), TypeError, "x must hold floating-point numbers, got dtype int64"),
        (np.zeros((2, I), complex), TypeError, "x must hold floating-point numbers"),
        (None, TypeError, "x must hold floating-point numbers"),
        (np.zeros(I), ValueError, "x must have shape (batch_size, input_size) = (2, 3), got (3,)"),
        (np.zeros((1, I)), ValueError, "(batch_size, input_size) = (2, 3), got (1, 3)"),
        (np.zeros((2, I + 1)), ValueError, "(batch_size, input_size) = (2, 3), got (2, 4)"),
        (np.zeros((1, 2, I)), ValueError, "(batch_size, input_size) = (2, 3), got (1, 2, 3)"),
    ],
)
def test_bad_steps_leave_the_state_alone(backend, name, wrong, error, message):
    stream = LAYERS[name](I, H, 2, seed=1).stream(2)
    stream.step(np.ones((2, I), np.float32))
    state = stream.state
    with pytest.raises(error, match=re.escape(message)):
        stream.step(wrong)
    assert_identical(stream.state, state)


@pytest.mark.parametrize("inputs", [1, I])
@pytest.mark.parametrize("wrong", [np.float32(1), np.array(1, np.float32), np.array(1.0), 1.0])
def test_a_step_is_no_single_number(backend, inputs, wrong):
    stream = fs.LSTM(inputs, H, seed=1).stream()
    stream.step(np.ones((1, inputs), np.float32))
    state = stream.state
    expected = f"x must have shape (batch_size, input_size) = (1, {inputs}), got ()"
    with pytest.raises(ValueError, match=re.escape(expected)):
        stream.step(wrong)
    assert_identical(stream.state, state)


@pytest.mark.parametrize("name", LAYERS)
def test_bad_states(name):
    stream = LAYERS[name](I, H, 2, seed=1).stream(2)
    good = stream.state
    with pytest.raises(ValueError, match=r"\(num_layers, batch_size, hidden_size\) = \(2, 2, 6\)"):
        stream.state = map_state(lambda array: array[:1], good)
    with pytest.raises(TypeError, match=r"state.* must hold floating-point numbers"):
        stream.state = map_state(lambda array: array.astype(int), good)


def test_masked_steps_would_lose_their_mask(make_layer):
    x = np.ma.masked_array(np.ones((2, I), np.float32), np.ones((2, I), bool))
    with pytest.raises(TypeError, match=r"x must be an array.*masked"):
        make_layer(I, H).stream(2).step(x)
