"""What the tests of layers, cells and streams share."""

import contextlib
import threading

import pytest
from helpers import BACKENDS, assert_close, assert_identical, central_differences

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


def use_backend(name):
    """Switch to a backend, or skip the test and say why."""
    try:
        fs.set_backend(name)
    except ImportError as error:
        pytest.skip(str(error))


# Test files import the fixtures; their own names keep them apart from the arguments.


@pytest.fixture(name="backend", params=BACKENDS)
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


def run_at_once(functions):
    """Run functions in threads of their own; their results, or the first error."""
    results, start = [None] * len(functions), threading.Barrier(len(functions))

    def run(i):
        start.wait()
        try:
            results[i] = functions[i]()
        except BaseException as error:
            results[i] = error

    workers = [threading.Thread(target=run, args=(i,)) for i in range(len(functions))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


class Rendezvous:
    """An array that NumPy reads when all threads have come to that point, or none else will."""

    def __init__(self, array, barrier):
        self.array, self.barrier = array, barrier

    def __array__(self, dtype=None, copy=None):
        with contextlib.suppress(threading.BrokenBarrierError):
            self.barrier.wait(timeout=1)
        return self.array


def run_backprop_in_threads(backprop, *gradients):
    """Call it in three threads that all are past its first checks; the one success's result."""
    barrier = threading.Barrier(3)
    arguments = [map_state(lambda a: Rendezvous(a, barrier), gradient) for gradient in gradients]

    def run():
        try:
            return backprop(*arguments)
        except RuntimeError as error:
            assert "already run" in str(error)
            return None

    succeeded = [result for result in run_at_once([run] * 3) if result is not None]
    assert len(succeeded) == 1
    return succeeded[0]


def assert_waits_for(lock, backprop, gradients):
    """A backward pass adds nothing while another one holds the lock, and all of it later."""
    with lock:
        worker = threading.Thread(target=backprop)
        worker.start()
        worker.join(timeout=0.05)
        assert worker.is_alive() and not gradients.any()
    worker.join()
    assert gradients.any()


def assert_same(backend, actual, expected):
    """Identical where the backend promises it (Cython), close in the others."""
    (assert_identical if backend == "cython" else assert_close)(actual, expected)


def check_gradients(loss, arrays, gradients, *, step=1e-5, tolerance=1e-7):
    """Compare gradients with central differences of ``loss()`` over the arrays' elements."""
    for array, gradient in zip(arrays, gradients, strict=True):
        assert_close(gradient, central_differences(loss, array, step), tolerance)
