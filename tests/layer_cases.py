"""What the tests of layers, cells and streams share."""

import itertools

import numpy as np
import pytest

import fastseq as fs

# name: a function that makes the layer, with the options that a cell has
LAYERS = {
    "rnn-tanh": lambda *sizes, **options: fs.RNN(*sizes, **options),
    "rnn-relu": lambda *sizes, **options: fs.RNN(*sizes, nonlinearity="relu", **options),
    "rnn-sigmoid": lambda *sizes, **options: fs.RNN(*sizes, nonlinearity="sigmoid", **options),
    "lstm": lambda *sizes, **options: fs.LSTM(*sizes, **options),
    "gru": lambda *sizes, **options: fs.GRU(*sizes, **options),
    "gru-before": lambda *sizes, **options: fs.GRU(*sizes, reset_after=False, **options),
}
CELLS = {
    "rnn-tanh": lambda *sizes, **options: fs.RNNCell(*sizes, **options),
    "rnn-relu": lambda *sizes, **options: fs.RNNCell(*sizes, nonlinearity="relu", **options),
    "rnn-sigmoid": lambda *sizes, **options: fs.RNNCell(*sizes, nonlinearity="sigmoid", **options),
    "lstm": lambda *sizes, **options: fs.LSTMCell(*sizes, **options),
    "gru": lambda *sizes, **options: fs.GRUCell(*sizes, **options),
    "gru-before": lambda *sizes, **options: fs.GRUCell(*sizes, reset_after=False, **options),
}

# Differences that stem from the order of additions only, relative to the largest value.
CLOSE = {np.dtype(np.float32): 3e-6, np.dtype(np.float64): 1e-13}


def use_backend(name):
    """Switch to a backend, or skip the test and say why."""
    try:
        fs.set_backend(name)
    except ImportError as error:
        pytest.skip(str(error))


# Test files import the fixtures; their own names keep them apart from the arguments.


@pytest.fixture(name="backend", params=["cython", "numba", "numpy"])
def backend_fixture(request):
    """Each backend in turn; backend and thread count are put back."""
    before, threads = fs.get_backend(), fs.get_num_threads()
    use_backend(request.param)
    yield request.param
    fs.set_num_threads(threads)
    fs.set_backend(before)


@pytest.fixture(name="make_layer", params=LAYERS)
def make_layer_fixture(request):
    """A constructor for each layer and option in turn."""
    return LAYERS[request.param]


@pytest.fixture(name="make_cell", params=CELLS)
def make_cell_fixture(request):
    """A constructor for each cell and option in turn."""
    return CELLS[request.param]


def as_tuple(state):
    """A state as a tuple of arrays: (h,) or (h, c)."""
    return state if isinstance(state, tuple) else (state,)


def map_state(function, state):
    """A state of the same structure."""
    if isinstance(state, tuple):
        return tuple(function(array) for array in state)
    return function(state)


def random_state(layer, rows, rng, lead=None):
    """A state like that of the layer (L * D, B, H), or with other leading axes (*lead, H)."""
    if lead is None:
        directions = 2 if layer.bidirectional else 1
        lead = (layer.num_layers * directions, rows)
    lstm = isinstance(layer, (fs.LSTM, fs.LSTMCell))
    arrays = tuple(
        rng.standard_normal((*lead, layer.hidden_size)).astype(layer.dtype)
        for _ in range(2 if lstm else 1)
    )
    return arrays if lstm else arrays[0]


def train(layer, x, state=None, lengths=None, dy=None, dstate=None):
    """A pass forward and back: (y, state, dx, dstate, gradients), all that comes out of it."""
    layer.parameters.zero_grad()
    y, final, backprop = layer.forward(x, state, lengths)
    dx, dinitial = backprop(y if dy is None else dy, final if dstate is None else dstate)
    return y, final, dx, dinitial, layer.parameters.flat_grad.copy()


def flatten(results):
    """The arrays in nested tuples, in order."""
    if not isinstance(results, tuple):
        return [results]
    return list(itertools.chain.from_iterable(map(flatten, results)))


def assert_identical(actual, expected):
    """The same arrays bit for bit, in nested tuples."""
    for a, e in zip(flatten(actual), flatten(expected), strict=True):
        np.testing.assert_array_equal(a, e, strict=True)


def assert_close(actual, expected, tolerance=None):
    """The same arrays in nested tuples, up to the order of additions or a given tolerance.

    Tolerances are relative to the largest value of an array.
    """
    for a, e in zip(flatten(actual), flatten(expected), strict=True):
        assert a.shape == e.shape and a.dtype == e.dtype
        limit = tolerance or CLOSE[e.dtype]
        error, scale = np.abs(a - e).max(initial=0), np.abs(e).max(initial=0)
        assert error <= limit * scale, f"off by {error:.3g} where values reach {scale:.3g}"


def assert_same(backend, actual, expected):
    """Identical where the backend promises it (Cython), close in the others."""
    (assert_identical if backend == "cython" else assert_close)(actual, expected)


def check_gradients(loss, arrays, gradients, *, step=1e-5, tolerance=1e-7):
    """Compare gradients with central differences of ``loss()`` over the arrays' elements."""
    for array, gradient in zip(arrays, gradients, strict=True):
        numeric = np.empty_like(array)
        for i in np.ndindex(array.shape):
            value = array[i]
            array[i] = value + step
            above = loss()
            array[i] = value - step
            below = loss()
            array[i] = value
            numeric[i] = (above - below) / (2 * step)
        assert_close(gradient, numeric, tolerance)
