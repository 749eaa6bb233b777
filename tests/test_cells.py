"""Cells: one step, the same as a layer's over one token."""

import copy
import pickle
import re

import numpy as np
import pytest
from layer_cases import (
    CELLS,
    LAYERS,
    as_tuple,
    assert_identical,
    assert_same,
    backend_fixture,  # noqa: F401
    check_gradients,
    make_cell_fixture,  # noqa: F401
    map_state,
    random_state,
    run_backprop_in_threads,
)

import fastseq as fs

B, I, H = 4, 3, 5  # noqa: E741


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def layer_like(name, cell):
    """The layer with a cell's parameters."""
    layer = LAYERS[name](cell.input_size, cell.hidden_size, bias=cell.bias, dtype=cell.dtype)
    layer.load_state_dict({f"{key}_l0": value for key, value in cell.state_dict().items()})
    return layer


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_are_the_layer(backend, rng, name, bias, dtype):
    cell = CELLS[name](I, H, bias=bias, dtype=dtype, seed=1)
    x = rng.standard_normal((6, B, I)).astype(dtype)
    state = random_state(cell, B, rng, lead=(B,))
    y, final = layer_like(name, cell)(x, map_state(lambda array: array[None], state))
    for x_t, y_t in zip(x, y, strict=True):
        state = cell(x_t, state)
        assert_same(backend, as_tuple(state)[0], y_t)
    assert_same(backend, state, map_state(lambda array: array[0], final))


@pytest.mark.parametrize("name", CELLS)
def test_backprop_is_the_layers(backend, rng, name):
    cell = CELLS[name](I, H, seed=1)
    layer = layer_like(name, cell)
    x = rng.standard_normal((B, I)).astype(np.float32)
    state, dstate = (random_state(cell, B, rng, lead=(B,)) for _ in range(2))

    def add_axis(state):
        return map_state(lambda array: array[None], state)

    final, backprop = cell.forward(x, state)
    assert_same(backend, final, cell(x, state))
    got = backprop(dstate)
    dx, dinitial = layer.forward(x[None], add_axis(state))[2](None, add_axis(dstate))
    assert_same(backend, (got[0][None], add_axis(got[1])), (dx, dinitial))
    assert_same(backend, cell.parameters.flat_grad, layer.parameters.flat_grad)


def test_gradients_by_central_differences(backend, make_cell, rng):
    """Two steps, the same cell twice: states and gradients pass from one to the other."""
    cell = make_cell(2, 3, dtype=np.float64, seed=1)
    x = rng.standard_normal((2, 4, 2))
    state, weight = (random_state(cell, 4, rng, lead=(4,)) for _ in range(2))

    def loss():
        final = cell(x[1], cell(x[0], state))
        return sum((a * b).sum() for a, b in zip(as_tuple(final), as_tuple(weight), strict=True))

    middle, first = cell.forward(x[0], state)
    _, second = cell.forward(x[1], middle)
    dx1, dmiddle = second(weight)
    dx0, dstate = first(dmiddle)
    arrays = [x, *as_tuple(state), cell.parameters.flat]
    gradients = [np.stack([dx0, dx1]), *as_tuple(dstate), cell.parameters.flat_grad]
    check_gradients(loss, arrays, gradients)


def test_without_a_batch(backend, make_cell, rng):
    cell = make_cell(I, H, seed=1)
    x = rng.standard_normal((1, I)).astype(np.float32)
    state = random_state(cell, 1, rng, lead=(1,))
    batched, backprop = cell.forward(x, state)
    dx, dstate = backprop(batched)
    single = map_state(lambda array: array[0], state)
    got, backprop = cell.forward(x[0], single)
    assert_identical((got, backprop(got)), map_first(batched, (dx, dstate)))
    assert_identical(cell(x[0], single), map_state(lambda array: array[0], cell(x, state)))


def map_first(*nested):
    return tuple(map_first(*n) if isinstance(n, tuple) else n[0] for n in nested)


def test_no_state_is_zero_state_and_empty_batch(backend, make_cell, rng):
    cell = make_cell(I, H, seed=1)
    x = rng.standard_normal((B, I)).astype(np.float32)
    zeros = map_state(np.zeros_like, random_state(cell, B, rng, lead=(B,)))
    assert_identical(cell(x), cell(x, zeros))
    empty, backprop = cell.forward(x[:0])
    dx, dstate = backprop(empty)
    for array in (*as_tuple(empty), *as_tuple(dstate)):
        assert array.shape == (0, H)
    assert dx.shape == (0, I) and not cell.parameters.flat_grad.any()


def test_backprop_options(backend, make_cell, rng):
    cell = make_cell(I, H, seed=1)
    x = rng.standard_normal((B, I)).astype(np.float32)
    state, backprop = cell.forward(x)
    dx, dstate = backprop(state)
    without, again = cell.forward(x)[1](state, input_grad=False)
    assert without is None and dx.shape == x.shape
    assert_identical(again, dstate)
    with pytest.raises(RuntimeError, match="already run"):
        backprop(state)


def test_names_and_state_dict():
    cell = fs.GRUCell(I, H, seed=1)
    shapes = {name: view.shape for name, view in cell.parameters.items()}
    assert shapes == {
        "weight_ih": (3 * H, I),
        "weight_hh": (3 * H, H),
        "bias_ih": (3 * H,),
        "bias_hh": (3 * H,),
    }
    assert list(fs.LSTMCell(I, H, bias=False).parameters) == ["weight_ih", "weight_hh"]
    assert repr(cell) == "GRUCell(3, 5, dtype=float32)"


def test_repr_shows_what_differs_from_the_default():
    cell = fs.RNNCell(2, 3, nonlinearity="relu", bias=False)
    assert repr(cell) == "RNNCell(2, 3, nonlinearity='relu', bias=False, dtype=float32)"
    cell = fs.GRUCell(2, 3, reset_after=False, dtype=np.float64)
    assert repr(cell) == "GRUCell(2, 3, reset_after=False, dtype=float64)"
    assert repr(fs.RNNCell(2, 3)) == "RNNCell(2, 3, dtype=float32)"


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda cell: pickle.loads(pickle.dumps(cell)), "state_dict"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saved_then_loaded_is_the_same(make_cell, rng, duplicate, dtype):
    cell = make_cell(I, H, dtype=dtype, seed=1)
    x = rng.standard_normal((B, I)).astype(dtype)
    if duplicate == "state_dict":
        other = make_cell(I, H, dtype=dtype, seed=2)
        other.load_state_dict(cell.state_dict())
    else:
        other = duplicate(cell)
    assert other.dtype is np.dtype(dtype)  # the very object: checks rely on it
    assert_identical(other(x), cell(x))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(
    "x, state_shape, error, message",
    [
        (np.zeros((1, B, I)), None, ValueError, r"x must have shape (B, 3), or (3,)"),
        (np.zeros((B, I + 1)), None, ValueError, r"x must have shape (B, 3), or (3,)"),
        (np.zeros(()), None, ValueError, r"x must have shape (B, 3), or (3,)"),
        (np.zeros((B, I), int), None, TypeError, "x must hold floating-point numbers"),
        (np.zeros((B, I)), (1, H), ValueError, "(B, hidden_size) = (4, 5), got (1, 5)"),
        (np.zeros((B, I)), (H,), ValueError, "(B, hidden_size) = (4, 5), got (5,)"),
        (np.zeros(I), (1, H), ValueError, "(hidden_size,) = (5,), got (1, 5)"),
    ],
)
def test_errors(name, x, state_shape, error, message):
    cell = CELLS[name](I, H)
    state = None
    if state_shape:
        state = np.zeros(state_shape, np.float32)
        state = (state, state) if name == "lstm" else state
    for call in (cell, cell.forward):
        with pytest.raises(error, match=re.escape(message)):
            call(x, state)


def test_errors_of_dstate_leave_backprop_usable(make_cell):
    cell = make_cell(I, H, seed=1)
    state, backprop = cell.forward(np.ones((B, I)))
    wrong = map_state(lambda array: array[:1], state)
    with pytest.raises(ValueError, match="dstate"):
        backprop(wrong)
    with pytest.raises(TypeError, match="dstate"):
        backprop(map_state(lambda array: array.astype(int), state))
    backprop(state)
    assert cell.parameters.flat_grad.any()


@pytest.mark.parametrize("wrong", [1, None, "no"])
def test_input_grad(make_cell, wrong):
    cell = make_cell(I, H, seed=1)
    state, backprop = cell.forward(np.ones((B, I)))
    with pytest.raises(TypeError, match=f"input_grad must be True or False, got {wrong!r}"):
        backprop(state, input_grad=wrong)
    assert backprop(state)[0].shape == (B, I)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"]
)
def test_backprop_has_no_duplicates(make_cell, duplicate):
    state, backprop = make_cell(I, H, seed=1).forward(np.ones((B, I)))
    with pytest.raises(TypeError, match="a CellBackprop can't be copied or pickled"):
        duplicate(backprop)
    assert backprop(state)[0].shape == (B, I)


def test_backprop_runs_once_whatever_the_threads(make_cell, rng):
    cell = make_cell(I, H, seed=1)
    x = rng.standard_normal((B, I)).astype(np.float32)
    state, backprop = cell.forward(x)
    expected = backprop(state)
    grads = cell.parameters.flat_grad.copy()
    cell.parameters.zero_grad()
    backprop = cell.forward(x)[1]
    assert_identical(run_backprop_in_threads(backprop, state), expected)
    assert_identical(cell.parameters.flat_grad, grads)


def test_lstm_state_is_a_pair():
    cell = fs.LSTMCell(I, H)
    with pytest.raises(TypeError, match=r"state must be a pair \(h, c\)"):
        cell(np.zeros((B, I)), np.zeros((B, H)))
