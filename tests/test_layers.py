"""Layers: equivalences that hold for every cell and backend, and gradients.

Test sizes: T steps, B rows, I input size, H hidden size.
"""

import copy
import os
import pickle
import re
import signal
import sys
import tracemalloc

import numpy as np
import pytest
from helpers import FORK_INSIDE_BACKWARD, flatten, load_kernels, run_python
from layer_cases import (
    LAYERS,
    as_tuple,
    assert_close,
    assert_identical,
    assert_same,
    backend_fixture,  # noqa: F401
    check_gradients,
    make_layer_fixture,  # noqa: F401
    map_state,
    random_state,
    run_at_once,
    run_backprop_in_threads,
    train,
)

import fastseq as fs
from fastseq import checks, packing, recurrent, stack

T, B, I, H = 6, 5, 3, 7  # noqa: E741
LENGTHS = np.array([4, 6, 0, 1, 4])


def random(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --- equivalences ---------------------------------------------------------------------------


def test_no_state_is_zero_state(backend, make_layer, rng):
    layer = make_layer(I, H, 2, bidirectional=True, seed=1)
    x = random(rng, T, B, I)
    zeros = map_state(np.zeros_like, random_state(layer, B, rng))
    assert_identical(layer(x), layer(x, zeros))
    assert_identical(train(layer, x), train(layer, x, zeros))


def test_forward_is_call(backend, make_layer, rng):
    layer = make_layer(I, H, 4, bidirectional=True, seed=1)  # a call has two arrays for all layers
    x, state = random(rng, T, B, I), random_state(layer, B, rng)
    for lengths in (LENGTHS, None):
        assert_same(backend, layer.forward(x, state, lengths)[:2], layer(x, state, lengths))


def test_cut_into_calls_is_whole(backend, make_layer, rng):
    layer = make_layer(I, H, 2, seed=1)
    x, state = random(rng, T, B, I), random_state(layer, B, rng)
    whole = layer(x, state)
    parts = []
    for begin, end in ((0, 1), (1, 4), (4, 4), (4, T)):
        y, state = layer(x[begin:end], state)
        parts.append(y)
    assert_same(backend, (np.concatenate(parts), state), whole)


@pytest.mark.parametrize("batch_first", [False, True])
def test_ragged_is_one_by_one(backend, make_layer, rng, batch_first):
    layer = make_layer(I, H, 2, bidirectional=True, batch_first=batch_first, seed=1)
    x, state = random(rng, T, B, I), random_state(layer, B, rng)
    if batch_first:
        x = x.swapaxes(0, 1)
    y, final = layer(x, state, LENGTHS)
    rows = y if batch_first else y.swapaxes(0, 1)
    inputs = x if batch_first else x.swapaxes(0, 1)
    for b, length in enumerate(LENGTHS):
        alone = layer(inputs[b, :length], map_state(lambda array, b=b: array[:, b], state))
        mine = rows[b, :length], map_state(lambda array, b=b: array[:, b], final)
        assert_same(backend, mine, alone)
        assert not rows[b, length:].any()


def test_ragged_gradients_are_sums_of_one_by_one(backend, make_layer, rng):
    layer = make_layer(I, H, 2, bidirectional=True, dtype=np.float64, seed=1)
    x, state = random(rng, T, B, I, dtype=np.float64), random_state(layer, B, rng)
    dy = random(rng, T, B, 2 * H, dtype=np.float64)
    dstate = random_state(layer, B, rng)
    *_, dx, dinitial, grads = train(layer, x, state, LENGTHS, dy, dstate)
    total = np.zeros_like(grads)
    for b, length in enumerate(LENGTHS):

        def row(array, b=b):
            return array[:, b]

        *_, dx_alone, dinitial_alone, grads_alone = train(
            layer,
            x[:length, b],
            map_state(row, state),
            dy=dy[:length, b],
            dstate=map_state(row, dstate),
        )
        assert_close((dx[:length, b], map_state(row, dinitial)), (dx_alone, dinitial_alone), 1e-12)
        assert not dx[length:, b].any()
        total += grads_alone
    assert_close(grads, total, 1e-12)


def test_padding_is_never_read(backend, make_layer, rng):
    layer = make_layer(I, H, 2, bidirectional=True, seed=1)
    x, dy = random(rng, T, B, I), random(rng, T, B, 2 * H)
    dstate = random_state(layer, B, rng)
    clean = train(layer, x, None, LENGTHS, dy, dstate)
    past = np.arange(T)[:, None] >= LENGTHS
    x[past] = np.nan
    dy[past] = np.nan
    assert_identical(train(layer, x, None, LENGTHS, dy, dstate), clean)


def test_full_lengths_are_no_lengths(backend, make_layer, rng):
    layer = make_layer(I, H, seed=1)
    x = random(rng, T, B, I)
    assert_identical(train(layer, x, None, [T] * B), train(layer, x))


def test_a_row_does_not_depend_on_its_batch(backend, make_layer, rng):
    layer = make_layer(9, 21, seed=1)
    x = random(rng, T, 33, 9)
    y, final = layer(x)
    for rows in ([0], [4, 17], list(range(8, 29)), list(range(32, -1, -1))):
        part = y[:, rows], map_state(lambda array, rows=rows: array[:, rows], final)
        assert_same(backend, layer(x[:, rows]), part)


def bind(layer, source, suffix):
    """Give a layer of one direction the parameters that end in a suffix."""
    named = {f"{kind}_l0": source[f"{kind}{suffix}"] for kind in KINDS}
    layer.load_state_dict(named)
    return layer


KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def flip(x, lengths):
    """Reverse each sequence within its length."""
    out = np.zeros_like(x)
    for b, length in enumerate(lengths):
        out[:length, b] = x[:length, b][::-1]
    return out


def test_bidirectional_is_two_runs_and_reverse_is_flipped(backend, make_layer, rng):
    both = make_layer(I, H, bidirectional=True, seed=1)
    x, state = random(rng, T, B, I), random_state(both, B, rng)
    ahead = bind(make_layer(I, H), both.parameters, "_l0")
    back = bind(make_layer(I, H), both.parameters, "_l0_reverse")
    y, final = both(x, state, LENGTHS)

    y_ahead, final_ahead = ahead(x, map_state(lambda array: array[:1], state), LENGTHS)
    flipped = flip(x, LENGTHS)
    y_back, final_back = back(flipped, map_state(lambda array: array[1:], state), LENGTHS)
    assert_same(backend, y, np.concatenate([y_ahead, flip(y_back, LENGTHS)], axis=2))
    for got, a, b in zip(*map(as_tuple, (final, final_ahead, final_back)), strict=True):
        assert_same(backend, got, np.concatenate([a, b]))


def test_stacked_is_composed(backend, make_layer, rng):
    count = 4  # more than the outputs that a call without a backward pass keeps at a time
    stacked = make_layer(I, H, count, seed=1)
    x, state = random(rng, T, B, I), random_state(stacked, B, rng)
    dy, dstate = random(rng, T, B, H), random_state(stacked, B, rng)
    y, final, dx, dinitial, _ = train(stacked, x, state, LENGTHS, dy, dstate)
    grads = {name: view.copy() for name, view in stacked.parameters.grads.items()}

    below, backprops, layers = x, [], []
    for i in range(count):
        layer = bind(make_layer(H if i else I, H), stacked.parameters, f"_l{i}")
        part = map_state(lambda array, i=i: array[i : i + 1], state)
        below, top, backprop = layer.forward(below, part, LENGTHS)
        assert_same(backend, map_state(lambda array, i=i: array[i : i + 1], final), top)
        backprops.append(backprop)
        layers.append(layer)
    assert_same(backend, y, below)
    for i in reversed(range(count)):
        part = map_state(lambda array, i=i: array[i : i + 1], dstate)
        dy, dpart = backprops[i](dy, part)
        assert_same(backend, map_state(lambda array, i=i: array[i : i + 1], dinitial), dpart)
        for kind in KINDS:
            assert_same(backend, grads[f"{kind}_l{i}"], layers[i].parameters.grads[f"{kind}_l0"])
    assert_same(backend, dx, dy)


def test_batch_first_is_transposed(backend, make_layer, rng):
    options = {"num_layers": 2, "bidirectional": True, "seed": 1}
    time_first = make_layer(I, H, **options)
    batch_first = make_layer(I, H, batch_first=True, **options)
    x, state = random(rng, T, B, I), random_state(time_first, B, rng)
    dy = random(rng, T, B, 2 * H)
    for lengths in (None, LENGTHS):
        y, final, dx, dinitial, grads = train(time_first, x, state, lengths, dy)
        expected = y.swapaxes(0, 1), final, dx.swapaxes(0, 1), dinitial, grads
        swapped = x.swapaxes(0, 1), state, lengths, dy.swapaxes(0, 1)
        assert_identical(train(batch_first, *swapped), expected)
        assert_identical(
            batch_first(*swapped[:3])[0], time_first(x, state, lengths)[0].swapaxes(0, 1)
        )


@pytest.mark.parametrize("batch_first", [False, True])
def test_unbatched_is_a_batch_of_one(backend, make_layer, rng, batch_first):
    layer = make_layer(I, H, 2, bidirectional=True, batch_first=batch_first, seed=1)
    x, state = random(rng, T, I), random_state(layer, 1, rng)
    axis = 0 if batch_first else 1
    for lengths in (None, [3]):
        y, final, dx, dinitial, grads = train(layer, np.expand_dims(x, axis), state, lengths)
        single = map_state(lambda array: array[:, 0], state)
        got = train(layer, x, single, lengths)
        final, dinitial = (map_state(lambda array: array[:, 0], s) for s in (final, dinitial))
        assert_identical(got, (y.squeeze(axis), final, dx.squeeze(axis), dinitial, grads))
        assert_same(backend, layer(x, single, lengths), got[:2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(40, 1, 5, 150), (9, 48, 6, 33), (7, 3, 130, 64)])
def test_threads_do_not_change_results(backend, make_layer, rng, dtype, shape):
    steps, rows, width, hidden = shape
    layer = make_layer(width, hidden, 2, bidirectional=True, dtype=dtype, seed=1)
    x = random(rng, steps, rows, width, dtype=dtype)
    lengths = rng.integers(0, steps + 1, rows)
    for chosen in (None, lengths):
        fs.set_num_threads(1)
        alone = train(layer, x, None, chosen)
        for n in (2, 3, 4):
            fs.set_num_threads(n)
            assert_identical(train(layer, x, None, chosen), alone)


def test_repeated_calls_agree_while_shapes_change(backend, make_layer, rng):
    """Buffers are reused; nothing may leak from call to call or into what the user holds."""
    layer = make_layer(I, H, 2, bidirectional=True, seed=1)
    cases = [(random(rng, t, b, I), lengths) for t, b, lengths in SHAPES]
    first = [train(layer, x, None, lengths) for x, lengths in cases]
    kept = copy.deepcopy(first)
    again = [train(layer, x, None, lengths) for x, lengths in reversed(cases)]
    assert_identical(tuple(first), tuple(kept))
    assert_identical(tuple(reversed(again)), tuple(kept))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_is_the_layer_of_its_moment(backend, make_layer, rng, bidirectional):
    layer = make_layer(I, H, 2, bidirectional=bidirectional, batch_first=True, seed=1)
    x, state = random(rng, B, T, I), random_state(layer, B, rng)
    expected = layer(x), layer(x, state, LENGTHS), layer(x[0]), layer(x[:, :0], state)
    packed = layer.packed()
    layer.parameters.flat[:] = np.nan
    for _ in range(2):
        given = packed(x), packed(x, state, LENGTHS), packed(x[0]), packed(x[:, :0], state)
        assert_identical(given, expected)


@pytest.mark.parametrize("shape", [(40, 1, 5, 150), (9, 48, 6, 33), (7, 3, 130, 300)])
def test_packed_is_the_layer_on_any_number_of_threads(backend, make_layer, rng, shape):
    steps, rows, width, hidden = shape
    layer = make_layer(width, hidden, 2, bidirectional=True, seed=1)
    x, lengths = random(rng, steps, rows, width), rng.integers(0, steps + 1, rows)
    packed, expected = layer.packed(), (layer(x), layer(x, None, lengths))
    for n in (1, 2, 3):
        fs.set_num_threads(n)
        assert_identical((packed(x), packed(x, None, lengths)), expected)
    fs.set_num_threads(1)
    for found in run_at_once([lambda: packed(x)] * 4):
        assert_identical(found, expected[0])


def test_packed_keeps_its_backend_and_layer(backend, make_layer, rng):
    layer = make_layer(I, H, 2, seed=1)
    x, expected = random(rng, T, B, I), layer(random(np.random.default_rng(0), T, B, I))
    packed = layer.packed()
    del layer
    for name in ("numpy", "cython"):
        try:
            fs.set_backend(name)
        except ImportError:
            continue
        assert_identical(packed(x), expected)
        assert copy.copy(packed) is packed and copy.deepcopy(packed) is packed
    with pytest.raises(TypeError, match=r"a PackedLayer can't be pickled.*call layer.packed\(\)"):
        pickle.dumps(packed)


def test_packed_refuses_what_the_layer_refuses(make_layer):
    layer = make_layer(I, H, seed=1)
    packed = layer.packed()
    assert repr(packed) == f"{layer!r}.packed()"
    for x in (np.ones((T, I + 1), np.float32), np.ones((T, I), int), np.ones(I, np.float32)):
        with pytest.raises((TypeError, ValueError)) as ours:
            packed(x)
        with pytest.raises(ours.type, match=re.escape(str(ours.value))):
            layer(x)


SHAPES = [(6, 5, LENGTHS), (2, 9, None), (8, 1, [3]), (6, 5, None), (1, 1, None), (7, 2, [7, 2])]


def test_two_forwards_before_two_backprops(backend, make_layer, rng):
    layer = make_layer(I, H, 2, seed=1)
    inputs = [random(rng, T, B, I) for _ in range(3)]
    alone = [train(layer, x, None, LENGTHS) for x in inputs]
    layer.parameters.zero_grad()
    passes = [layer.forward(x, None, LENGTHS) for x in inputs]
    for (y, final, backprop), (*_, dx, dinitial, _) in zip(passes, alone, strict=True):
        assert_identical(backprop(y, final), (dx, dinitial))
    assert_close(layer.parameters.flat_grad, sum(grads for *_, grads in alone))


# --- gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, [3, 4, 0, 1]], ids=["dense", "ragged"])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_by_central_differences(backend, make_layer, rng, lengths, bias):
    layer = make_layer(
        2, 3, 2, bias=bias, batch_first=True, bidirectional=True, dtype=np.float64, seed=1
    )
    x, state = random(rng, 4, 4, 2, dtype=np.float64), random_state(layer, 4, rng)
    dy, dstate = random(rng, 4, 4, 6, dtype=np.float64), random_state(layer, 4, rng)
    *_, dx, dinitial, grads = train(layer, x, state, lengths, dy, dstate)

    def loss():
        y, final = layer(x, state, lengths)
        pairs = zip(as_tuple(final), as_tuple(dstate), strict=True)
        return (y * dy).sum() + sum((a * b).sum() for a, b in pairs)

    arrays = [x, *as_tuple(state), layer.parameters.flat]
    check_gradients(loss, arrays, [dx, *as_tuple(dinitial), grads])


def test_gradients_through_dropout(backend, make_layer, rng):
    """The mask is held fixed by starting each pass from the same generator state."""
    layer = make_layer(
        2, 3, 4, dropout=0.4, bidirectional=True, batch_first=True, dtype=np.float64, seed=1
    )
    x, dy = random(rng, 3, 4, 2, dtype=np.float64), random(rng, 3, 4, 6, dtype=np.float64)
    lengths = [4, 2, 3]
    start = copy.deepcopy(layer._rng)

    def forward():
        layer._rng = copy.deepcopy(start)
        return layer.forward(x, None, lengths)

    layer.parameters.zero_grad()
    y, _, backprop = forward()
    dx, _ = backprop(dy)
    assert np.abs(y - layer(x, None, lengths)[0]).max() > 1e-3  # it does drop something
    grads = layer.parameters.flat_grad.copy()
    check_gradients(lambda: (forward()[0] * dy).sum(), [x, layer.parameters.flat], [dx, grads])


def test_gradients_accumulate(backend, make_layer, rng):
    layer = make_layer(I, H, 2, dtype=np.float64, seed=1)
    x = random(rng, T, B, I, dtype=np.float64)
    *_, once = train(layer, x, None, LENGTHS)
    y, final, backprop = layer.forward(x, None, LENGTHS)
    backprop(y, final)
    assert_close(layer.parameters.flat_grad, 2 * once)
    layer.parameters.zero_grad()
    assert not layer.parameters.flat_grad.any()


def test_without_input_gradient_the_rest_is_the_same(backend, make_layer, rng):
    layer = make_layer(I, H, 2, bidirectional=True, seed=1)
    x = random(rng, T, B, I)
    y, final, _, dinitial, grads = train(layer, x, None, LENGTHS)
    layer.parameters.zero_grad()
    dx, dstate = layer.forward(x, None, LENGTHS)[2](y, final, input_grad=False)
    assert dx is None
    assert_identical((dstate, layer.parameters.flat_grad), (dinitial, grads))


def test_missing_gradients_are_zeros(backend, make_layer, rng):
    layer = make_layer(I, H, seed=1)
    x = random(rng, T, B, I)
    y, final = layer(x)
    none = map_state(lambda array: None, final)
    expected = train(layer, x, dy=y, dstate=map_state(np.zeros_like, final))
    layer.parameters.zero_grad()
    assert_identical(layer.forward(x)[2](y), expected[2:4])
    assert_identical(layer.forward(x)[2](y, none), expected[2:4])
    expected = train(layer, x, dy=np.zeros_like(y), dstate=final)
    assert_identical(layer.forward(x)[2](None, final), expected[2:4])


def test_backprop_leaves_its_arguments_alone(backend, make_layer, rng):
    layer = make_layer(I, H, 2, bidirectional=True, seed=1)
    for lengths in (None, LENGTHS):
        x, state = random(rng, T, B, I), random_state(layer, B, rng)
        dy, dstate = random(rng, T, B, 2 * H), random_state(layer, B, rng)
        before = copy.deepcopy((x, state, dy, dstate))
        train(layer, x, state, lengths, dy, dstate)
        assert_identical((x, state, dy, dstate), before)


# --- dropout --------------------------------------------------------------------------------


def test_dropout_drops_and_scales_between_layers(backend):
    """With weights that pass their input on, what leaves the second layer is dropout's output."""
    layer = fs.RNN(1, 900, 2, nonlinearity="relu", bias=False, dropout=0.25, seed=3)
    layer.parameters.flat.fill(0)
    layer.parameters["weight_ih_l0"] = np.ones((900, 1), np.float32)
    layer.parameters["weight_ih_l1"] = np.eye(900, dtype=np.float32)
    x = np.ones((2, 1, 1), np.float32)
    y, _, backprop = layer.forward(x)
    assert np.unique(y).tolist() == [0, np.float32(4 / 3)]
    assert 0.22 < (y == 0).mean() < 0.28
    dx, _ = backprop(np.ones_like(y))
    np.testing.assert_allclose(dx[:, 0, 0], y.sum(axis=(1, 2)), rtol=1e-4)
    assert (layer(x)[0] == 1).all()


def test_dropout_one_passes_nothing(backend, make_layer, rng):
    layer = make_layer(I, H, 2, dropout=1.0, seed=1)
    first = layer.forward(random(rng, T, B, I))[0]
    assert np.isfinite(first).all()
    assert_identical(first, layer.forward(random(rng, T, B, I))[0])


def test_dropout_follows_the_seed(make_layer, rng):
    x = random(rng, T, B, I)
    one, same, other = (make_layer(I, H, 2, dropout=0.5, seed=seed) for seed in (1, 1, 2))
    other.load_state_dict(one.state_dict())
    y = one.forward(x)[0]
    assert_identical(y, same.forward(x)[0])
    assert (y != other.forward(x)[0]).any() and (y != one.forward(x)[0]).any()


def test_dropout_can_be_assigned(backend, make_layer, rng):
    x = random(rng, T, B, I)
    expected = train(make_layer(I, H, 2, dropout=0.5, seed=1), x)
    layer = make_layer(I, H, 2, seed=1)
    layer.dropout = 0.5
    assert layer.dropout == 0.5
    assert_identical(train(layer, x), expected)
    layer.dropout = 0
    assert_same(backend, layer.forward(x)[:2], layer(x))


def test_dropout_of_a_pass_is_that_of_its_forward(backend, make_layer, rng):
    x = random(rng, T, B, I)
    expected = train(make_layer(I, H, 3, dropout=0.5, seed=1), x)
    for later in (0.0, 0.25, 1.0):
        layer = make_layer(I, H, 3, dropout=0.5, seed=1)
        y, final, backprop = layer.forward(x)
        layer.dropout = later
        results = (y, final, *backprop(y, final), layer.parameters.flat_grad)
        assert_identical(results, expected)


def test_dropout_with_one_layer_warns():
    with pytest.warns(
        UserWarning, match="dropout=0.5 has no effect with num_layers=1.*more layers"
    ):
        fs.LSTM(I, H, dropout=0.5)


# --- empty and odd input --------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    "steps, rows, lengths",
    [(0, 3, None), (0, 3, [0, 0, 0]), (4, 0, None), (4, 0, []), (4, 3, [0, 0, 0]), (0, 0, None)],
)
def test_empty_input_passes_the_state_through(
    backend, make_layer, rng, steps, rows, lengths, batch_first
):
    layer = make_layer(I, H, 2, bidirectional=True, batch_first=batch_first, seed=1)
    lead = (rows, steps) if batch_first else (steps, rows)
    x, state = random(rng, *lead, I), random_state(layer, rows, rng)
    dstate = random_state(layer, rows, rng)
    assert_identical(layer(x, state, lengths), (np.zeros((*lead, 2 * H), np.float32), state))
    y, final, dx, dinitial, grads = train(layer, x, state, lengths, dstate=dstate)
    assert_identical((y, final), (np.zeros((*lead, 2 * H), np.float32), state))
    assert_identical((dx, dinitial), (np.zeros_like(x), dstate))
    assert not grads.any()
    for mine, given in zip(as_tuple(final), as_tuple(state), strict=True):
        assert not np.shares_memory(mine, given)


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda x: x.astype(">f4"), id="byte-swapped"),
        pytest.param(lambda x: x.astype(">f8"), id="byte-swapped-float64"),
        pytest.param(lambda x: x.astype(np.float64), id="float64"),
        pytest.param(lambda x: x.astype(np.longdouble), id="longdouble"),
        pytest.param(lambda x: np.repeat(x, 2, axis=0)[::2], id="strided"),
        pytest.param(lambda x: np.asfortranarray(x), id="fortran"),
        pytest.param(lambda x: x[::-1].copy()[::-1], id="reversed"),
        pytest.param(lambda x: unaligned(x), id="unaligned"),
        pytest.param(lambda x: read_only(x), id="read-only"),
        pytest.param(lambda x: x.tolist(), id="lists"),
    ],
)
def test_other_layouts_of_float_are_converted(backend, make_layer, rng, convert):
    layer = make_layer(I, H, 2, seed=1)
    x, state = random(rng, T, B, I), random_state(layer, B, rng)
    dy, dstate = random(rng, T, B, H), random_state(layer, B, rng)
    expected = train(layer, x, state, LENGTHS, dy, dstate)
    given = convert(x), map_state(convert, state), LENGTHS, convert(dy), map_state(convert, dstate)
    assert_identical(train(layer, *given), expected)
    assert_identical(layer(*given[:2]), layer(x, state))


def test_kernels_get_aligned_arrays(rng):
    x = random(rng, T, B, I)
    given = unaligned(x)
    assert not given.flags.aligned
    array = checks.floats("x", given, np.dtype(np.float32))
    assert array.flags.aligned
    assert_identical(array, x)


def unaligned(x):
    buffer = np.zeros(x.nbytes + 1, np.uint8)[1:]
    view = buffer.view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def test_float16_is_converted(backend, make_layer, rng):
    layer = make_layer(I, H, seed=1)
    x = rng.standard_normal((T, B, I)).astype(np.float16)
    assert_identical(layer(x), layer(x.astype(np.float32)))


@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.int64])
def test_lengths_of_any_integer_dtype(make_layer, rng, dtype):
    layer, x = make_layer(I, H, seed=1), random(rng, T, B, I)
    assert_identical(layer(x, None, LENGTHS.astype(dtype)), layer(x, None, LENGTHS.tolist()))


def test_nan_stays_in_its_row_and_after_its_step(backend, make_layer, rng):
    layer = make_layer(I, H, 2, seed=1)
    x = random(rng, T, B, I)
    clean, _ = layer(x)
    x[3, 1, 0] = np.nan
    y, final = layer(x)
    assert np.isnan(y[3:, 1]).all()
    assert all(np.isnan(array[:, 1]).all() for array in as_tuple(final))
    others = np.ones((T, B), bool)
    others[3:, 1] = False
    assert_identical(y[others], clean[others])


def test_more_than_2_to_the_31_elements(backend):
    """Only a few rows of the array are touched, so that it never comes into real memory."""
    width, rows = 2**20, 1024
    try:
        x = np.zeros((3, rows, width), np.float32)
    except MemoryError:
        pytest.skip("needs 12 GB of address space")
    lengths = np.zeros(rows, np.int64)
    lengths[[0, rows - 1]] = 1, 3
    x[:3, rows - 1, -5:] = np.arange(15).reshape(3, 5) + 1
    layer = fs.RNN(width, 2, bias=False, seed=1)
    layer.parameters["weight_ih_l0"] = np.full((2, width), 0.01, np.float32)
    y, h, backprop = layer.forward(x, None, lengths)
    small = fs.RNN(5, 2, bias=False, seed=1)
    small.parameters["weight_ih_l0"] = np.full((2, 5), 0.01, np.float32)
    small.parameters["weight_hh_l0"] = layer.parameters["weight_hh_l0"]
    expected = small(x[:, rows - 1, -5:])
    np.testing.assert_allclose(y[:, rows - 1], expected[0], rtol=1e-5)
    np.testing.assert_allclose(h[:, rows - 1], expected[1], rtol=1e-5)
    assert_identical(layer(x, None, lengths), (y, h))
    backprop(y, input_grad=False)
    assert not layer.parameters.grads["weight_ih_l0"][:, :-5].any()
    assert layer.parameters.grads["weight_ih_l0"][:, -5:].all()


KEPT = {"rnn": 4 + 1, "lstm": 4 + 5, "gru": 4 + 4}  # x, y, dy, dx and what cells save, in T * B * H


@pytest.mark.parametrize("name", LAYERS)
def test_training_makes_no_hidden_copies(backend, name):
    if backend != "cython":
        pytest.skip("the other backends' kernels do")
    layer = LAYERS[name](64, 64, seed=1)
    tracemalloc.start()  # NumPy reports its arrays to it
    try:
        x, dy = (np.ones((400, 16, 64), np.float32) for _ in range(2))
        for _ in range(2):
            y, _, backprop = layer.forward(x)
            dx, _ = backprop(dy)
            del y, backprop, dx
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * KEPT[layer._kind.name] * x.nbytes


SAVED = {"rnn": 0, "lstm": 4 + 1, "gru": 4}  # what forward keeps beside y, in N * H


def test_release_lets_go_of_buffers(backend, make_layer, rng):
    """Of ragged batches y lies in a buffer as well, before it is spread out."""
    layer = make_layer(4, 64, 2, seed=1)
    x, lengths = random(rng, 100, 8, 4), np.full(8, 100)
    lengths[0] = 99
    tracemalloc.start()
    try:
        expected = train(layer, x, None, lengths)
        before = tracemalloc.get_traced_memory()[0]
        layer.release()
        freed = before - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    kept = (1 + SAVED[layer._kind.name]) * layer.num_layers * layer.hidden_size * lengths.sum()
    assert freed >= kept * layer.dtype.itemsize
    assert_identical(train(layer, x, None, lengths), expected)


PEAK = """
import resource, sys, numpy as np, fastseq as fs
fs.set_num_threads(2)
layer = fs.GRU(1024, 16, bidirectional=True, seed=0)
x, lengths = np.ones((2, 16000, 1024), np.float32), np.full(16000, 2)
lengths[0] = 0
layer(x[:, :8].copy(), None, lengths[:8])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
layer(x, None, lengths)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * (1 if sys.platform == "darwin" else 1024) / x.nbytes)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no resource module")
def test_a_ragged_call_makes_no_copy_of_its_input():
    done = run_python(PEAK, FASTSEQ_BACKEND="cython")
    assert float(done.stdout) < 0.5, done.stderr


LATER = """
import sys
import numpy as np
early = "numpy.ma" in sys.modules  # before version 2
import fastseq as fs
gru = fs.GRU(3, 4)
gru([[[1.0, 2.0, 3.0]]], None, [1])
gru(np.ones((5, 2, 3)), lengths=[5, 2])
gru.stream().step(np.ones(3))
assert early or "numpy.ma" not in sys.modules
"""


def test_what_converts_arguments_loads_nothing(backend):
    """It would take longer than a hundred calls."""
    if backend == "numba":
        pytest.skip("it loads so much itself")
    done = run_python(LATER, FASTSEQ_BACKEND=backend)
    assert done.returncode == 0, done.stderr


FREED = """
import numpy as np, fastseq as fs

def in_memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

linear = fs.Linear(1000, 1000)
y = linear(np.ones((10000, 1000), np.float32))
del y
before = in_memory()
y = linear(np.ones((10000, 1000), np.float32))
del y
assert in_memory() < before + 10e6
fs.free_memory()
print((before - in_memory()) / 1e6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="nothing is kept then")
def test_kept_memory_can_be_given_back():
    done = run_python(FREED, FASTSEQ_BACKEND="cython")
    assert float(done.stdout) > 30, done.stderr


def test_packings_of_long_batches_are_not_kept():
    packing._short_dense.cache_clear()
    for lead in [(9000,), (9000, 2), (2, 9000), (20, 3)]:
        packing.pack(lead, None, False)
    assert packing._short_dense.cache_info().currsize == 1


def test_later_calls_take_memory_for_their_results_alone(backend, make_layer, rng):
    if backend != "cython":
        pytest.skip("the other backends' kernels do")
    layer = make_layer(64, 64, 3, seed=1)
    x, lengths = random(rng, 50, 8, 64), np.arange(43, 51)
    train(layer, x, None, lengths)
    tracemalloc.start()
    try:
        results = train(layer, x, None, lengths)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * sum(array.nbytes for array in flatten(results))


def test_release_between_forward_and_backprop(make_layer, rng):
    layer = make_layer(I, H, 2, seed=1)
    x, other = random(rng, T, B, I), random(rng, T, B, I)
    expected = train(layer, x, None, LENGTHS)
    layer.parameters.zero_grad()
    y, final, backprop = layer.forward(x, None, LENGTHS)
    layer.release()
    layer.forward(other, None, LENGTHS)  # must find other buffers than those still in use
    results = (y, final, *backprop(y, final), layer.parameters.flat_grad)
    assert_identical(results, expected)


# --- parameters -----------------------------------------------------------------------------


def test_names_and_shapes_are_pytorchs():
    layer = fs.LSTM(3, 4, 2, bidirectional=True)
    shapes = {name: view.shape for name, view in layer.parameters.items()}
    assert list(shapes) == [
        f"{kind}_l{i}{reverse}" for i in (0, 1) for reverse in ("", "_reverse") for kind in KINDS
    ]
    assert shapes["weight_ih_l0_reverse"] == (16, 3) and shapes["weight_ih_l1"] == (16, 8)
    assert shapes["weight_hh_l1"] == (16, 4) and shapes["bias_hh_l1_reverse"] == (16,)
    assert list(fs.GRU(3, 4, bias=False).parameters) == ["weight_ih_l0", "weight_hh_l0"]


def test_parameters_are_views_of_flat_arrays(make_layer):
    parameters = make_layer(I, H, 2, seed=1).parameters
    parameters.flat[:] = np.arange(parameters.flat.size)
    parameters.flat_grad[:] = -np.arange(parameters.flat.size)
    joined = np.concatenate([view.ravel() for view in parameters.values()])
    assert_identical(joined, parameters.flat)
    joined = np.concatenate([view.ravel() for view in parameters.grads.values()])
    assert_identical(joined, parameters.flat_grad)
    assert len(parameters) == len(parameters.grads) == 8 and "bias_ih_l1" in parameters
    assert "bias_ih_l2" not in parameters


def test_assignments_copy_into_the_buffers(make_layer, rng):
    layer = make_layer(I, H, seed=1)
    x = random(rng, T, B, I)
    before, _ = layer(x)
    flat, weight = layer.parameters.flat, layer.parameters["weight_hh_l0"].copy()
    layer.parameters["weight_hh_l0"] = 2 * weight
    layer.parameters["weight_hh_l0"] += weight
    layer.parameters.grads["weight_hh_l0"] += 1
    layer.parameters.flat_grad *= 2
    assert_close(layer.parameters["weight_hh_l0"], 3 * weight)
    assert layer.parameters.flat is flat and layer.parameters.flat_grad.sum() == 2 * weight.size
    assert (layer(x)[0] != before).any()
    layer.parameters.flat -= flat
    assert not layer.parameters["weight_ih_l0"].any()
    for name in ("flat", "flat_grad"):
        with pytest.raises(AttributeError, match="can't be replaced"):
            setattr(layer.parameters, name, flat.copy())


# In an interpreter of its own, where nothing has run: which kernels run while layers are made.
COUNT_KERNELS = """
import pickle
import fastseq as fs
from fastseq import backend

ran = []

def record(name):
    kernel = getattr(backend.kernels(), name)

    def recording(*arguments):
        ran.append(name)
        kernel(*arguments)

    setattr(backend.kernels(), name, recording)

record("gru_forward")
record("gru_backward")

class Words(fs.GRU):
    def __init__(self, words, **options):
        super().__init__(len(words), 4, seed=0, **options)

def make():
    return {make}

first = make()
print(*ran)
ran.clear()
again = make()
assert not ran
assert (first.parameters.flat == again.parameters.flat).all()
assert not first.parameters.flat_grad.any() and first.parameters.flat.any()
"""
MAKE = [
    "fs.GRU(3, 4, seed=0)",
    "fs.GRU(3, 4, seed=0, reset_after=False, dtype='float64')",
    "Words('abc')",
    f"pickle.loads({pickle.dumps(fs.GRU(3, 4, seed=0))!r})",
]


@pytest.mark.parametrize("make", MAKE, ids=["layer", "option", "subclass", "pickle"])
def test_first_layer_of_a_kind_runs_a_small_one_and_changes_nothing(make):
    compiled = fs.get_backend() == "cython"  # Numba would compile
    done = run_python(COUNT_KERNELS.format(make=make), FASTSEQ_BACKEND=fs.get_backend())
    assert not done.stderr
    assert done.stdout.split() == ["gru_forward", "gru_forward", "gru_backward"] * 2 * compiled


class Toy(recurrent.RecurrentLayer):
    """A cell with a name of its own, which is made from words."""

    _kind = stack.LSTM._replace(name="toy")

    def __init__(self, words):
        super().__init__(
            len(words),
            H,
            num_layers=1,
            bias=True,
            batch_first=False,
            dropout=0.0,
            bidirectional=False,
            dtype=np.float32,
            seed=1,
        )


def test_a_cell_is_added_by_its_kind(backend, rng):
    toy, layer, x = Toy(["a", "b", "c"]), fs.LSTM(3, H, seed=1), random(rng, T, B, 3)
    assert_identical(toy(x), layer(x))
    assert_identical(train(toy, x), train(layer, x))
    with pytest.raises(ValueError, match="no cell 'toy'"):  # the steppers know cells by name
        toy.stream().step(x[0, :1])


def test_initial_parameters_follow_seed_and_size():
    one, same, other = (fs.GRU(50, 16, seed=seed).parameters.flat for seed in (1, 1, 2))
    assert_identical(one, same)
    assert (one != other).all()
    assert 0.24 < np.abs(one).max() <= 0.25 and abs(one.mean()) < 0.01
    assert abs(one.std() - 0.25 / 3**0.5) < 0.01
    double = fs.GRU(50, 16, seed=1, dtype=np.float64).parameters.flat
    assert_identical(double.astype(np.float32), one)


def test_saved_then_loaded_is_the_same(make_layer, rng, tmp_path):
    layer = make_layer(I, H, 2, bidirectional=True, seed=1)
    x = random(rng, T, B, I)
    state = layer.state_dict()
    np.savez(tmp_path / "layer.npz", **state)
    for loaded in (state, np.load(tmp_path / "layer.npz")):
        other = make_layer(I, H, 2, bidirectional=True, seed=2)
        other.load_state_dict(loaded)
        assert_identical(train(other, x), train(layer, x))
    state["bias_ih_l0"] += 1  # copies: the layer doesn't see it
    assert (layer.parameters["bias_ih_l0"] != state["bias_ih_l0"]).all()


def test_own_views_may_change_places(make_layer):
    layer = make_layer(H, H, seed=1)
    parameters, before = layer.parameters, layer.state_dict()
    turned = dict(zip(KINDS, ("weight_hh", "weight_ih", "bias_hh", "bias_ih"), strict=True))
    layer.load_state_dict({f"{kind}_l0": parameters[f"{turned[kind]}_l0"] for kind in KINDS})
    for kind in KINDS:
        assert_identical(parameters[f"{kind}_l0"], before[f"{turned[kind]}_l0"])


def test_own_views_may_overlap(make_layer):
    layer = make_layer(H, H, seed=1)
    flat, view = layer.parameters.flat, layer.parameters["weight_ih_l0"]
    shifted = flat[3 : 3 + view.size].reshape(view.shape)
    expected = layer.state_dict() | {"weight_ih_l0": shifted.copy()}
    layer.load_state_dict({**layer.parameters, "weight_ih_l0": shifted})
    assert_identical(tuple(layer.state_dict().values()), tuple(expected.values()))


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_are_whole_and_independent(make_layer, rng, duplicate, dtype):
    layer = make_layer(I, H, 2, dropout=0.3, dtype=dtype, seed=1)
    x = random(rng, T, B, I, dtype=dtype)
    train(layer, x)
    other = duplicate(layer)
    assert other.dtype is np.dtype(dtype)  # the very object: checks rely on it
    assert_identical(other(x), layer(x))
    expected = other(x)
    assert_identical(train(other, x), train(layer, x))
    layer.parameters.flat[:] = 0
    assert_identical(other(x), expected)
    other.parameters.flat[:] = 0
    assert_identical(other(x), layer(x))
    assert (
        other.parameters["weight_ih_l0"].base is not None
        and not other.parameters["weight_ih_l0"].any()
    )


# --- several at once ------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_python_threads_share_a_layer(backend, make_layer, rng, threads):
    fs.set_num_threads(threads)
    # large enough for the Cython kernels to use their own threads as well
    steps, hidden, layers = (20, 160, 1) if backend == "cython" else (2, 33, 2)
    layer = make_layer(I, hidden, layers, bidirectional=True, dtype=np.float64, seed=1)
    inputs = [random(rng, steps + i, 8, I, dtype=np.float64) for i in range(4)]
    calls = [layer(x) for x in inputs]
    trained = [train(layer, x) for x in inputs]
    layer.parameters.zero_grad()

    def work(x):
        out = []
        for _ in range(3):
            y, final, backprop = layer.forward(x)
            out.append((layer(x), y, final, *backprop(y, final)))
        return out

    results = run_at_once([lambda x=x: work(x) for x in inputs])
    for repeats, called, expected in zip(results, calls, trained, strict=True):
        for got in repeats:
            assert_identical(got, (called, *expected[:4]))
    assert_close(layer.parameters.flat_grad, 3 * sum(grads for *_, grads in trained), 1e-12)


def test_backprop_runs_once_whatever_the_threads(make_layer, rng):
    layer = make_layer(I, H, 2, seed=1)
    x, dy, dstate = random(rng, T, B, I), random(rng, T, B, H), random_state(layer, B, rng)
    *_, dx, dinitial, grads = train(layer, x, None, LENGTHS, dy, dstate)
    layer.parameters.zero_grad()
    backprop = layer.forward(x, None, LENGTHS)[2]
    assert_identical(run_backprop_in_threads(backprop, dy, dstate), (dx, dinitial))
    assert_identical(layer.parameters.flat_grad, grads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # about forking threads
@pytest.mark.parametrize("name", LAYERS)
def test_fork_after_use(backend, rng, name):
    fs.set_num_threads(2)
    layer = LAYERS[name](I, 150, seed=1)
    x = random(rng, 20, 48, I)
    expected = train(layer, x)
    child = os.fork()
    if child == 0:  # never let pytest run on in the child
        status = 1
        try:
            signal.alarm(20)  # a hang fails
            assert_identical(train(layer, x), expected)
            status = 0
        finally:
            os._exit(status)
    assert_identical(train(layer, x), expected)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# What follows runs in an interpreter of its own, and the child has an alarm set: a hang fails.

FORK_WHILE_KERNELS_RUN = """
import os, signal, threading
import numpy as np
import fastseq as fs

fs.set_num_threads(2)
layer = fs.LSTM(3, 160, seed=1)
x = np.ones((20, 8, 3), np.float32)

def train():
    y, _, backprop = layer.forward(x)
    return backprop(y)[0]

def keep_on():
    while not enough.is_set():
        train()

expected, enough = train(), threading.Event()
worker = threading.Thread(target=keep_on)
worker.start()
statuses = []
for _ in range(8):
    train()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(not np.array_equal(train(), expected))
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
enough.set()
worker.join()
print("the child left with", max(map(abs, statuses)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "code",
    [
        FORK_INSIDE_BACKWARD.format(model="layer = fs.LSTM(3, 8, seed=1)", holds="True"),
        FORK_WHILE_KERNELS_RUN,
    ],
    ids=["holding-the-lock", "busy"],
)
def test_fork_while_another_thread_trains(code):
    load_kernels("cython")  # a BLAS may not outlive a fork of busy threads
    process = run_python(code, FASTSEQ_BACKEND="cython", PYTHONWARNINGS="ignore")
    assert (process.stdout, process.stderr) == ("the child left with 0\n", "")


# --- the rest -------------------------------------------------------------------------------


def test_repr_shows_what_differs_from_the_default():
    layer = fs.GRU(2, 3, 2, batch_first=True, dropout=0.5, bidirectional=True, bias=False)
    assert repr(layer) == (
        "GRU(2, 3, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True, "
        "dtype=float32)"
    )
    assert repr(fs.LSTM(2, 3)) == "LSTM(2, 3, dtype=float32)"
    assert repr(fs.RNN(2, 3)) == "RNN(2, 3, dtype=float32)"
    assert repr(fs.GRU(2, 3)) == "GRU(2, 3, dtype=float32)"
    relu = fs.RNN(2, 3, nonlinearity="relu", dtype=np.float64)
    assert repr(relu) == "RNN(2, 3, nonlinearity='relu', dtype=float64)"
    before = fs.GRU(2, 3, 2, reset_after=False)
    assert repr(before) == "GRU(2, 3, num_layers=2, reset_after=False, dtype=float32)"
