"""Parity with PyTorch: outputs, states and every gradient, from the same parameters."""

import numpy as np
import pytest
from layer_cases import as_tuple, backend_fixture  # noqa: F401

import fastseq as fs

torch = pytest.importorskip("torch")

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-10}  # relative to a tensor's largest value
T, B, I, H = 7, 5, 4, 9  # noqa: E741
LENGTHS = [3, 7, 1, 7, 4]  # PyTorch has no empty sequences
KINDS = {
    "rnn-tanh": (fs.RNN, torch.nn.RNN, {"nonlinearity": "tanh"}),
    "rnn-relu": (fs.RNN, torch.nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (fs.LSTM, torch.nn.LSTM, {}),
    "gru": (fs.GRU, torch.nn.GRU, {}),
}
CELLS = {
    "rnn-tanh": (fs.RNNCell, torch.nn.RNNCell, {"nonlinearity": "tanh"}),
    "rnn-relu": (fs.RNNCell, torch.nn.RNNCell, {"nonlinearity": "relu"}),
    "lstm": (fs.LSTMCell, torch.nn.LSTMCell, {}),
    "gru": (fs.GRUCell, torch.nn.GRUCell, {}),
}


def torch_dtype(dtype):
    return torch.float32 if dtype is np.float32 else torch.float64


def make_pair(kinds, kind, *sizes, dtype, **options):
    """Our layer and PyTorch's with the same parameters."""
    ours, theirs, own = kinds[kind]
    torch.manual_seed(0)
    theirs = theirs(*sizes, **own, **options, dtype=torch_dtype(dtype))
    ours = ours(*sizes, **own, **options, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def tensors(arrays):
    return tuple(torch.tensor(array, requires_grad=True) for array in arrays)


def as_state(items):
    return items[0] if len(items) == 1 else tuple(items)


def run_torch(layer, x, states, lengths, dy, dstates):
    """All that comes out of PyTorch: {name: array}."""
    (x,), states = tensors([x]), tensors(states)
    given = x
    if lengths is not None:
        given = torch.nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=layer.batch_first, enforce_sorted=False
        )
    y, final = layer(given, as_state(states))
    if lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=layer.batch_first)
    final = as_tuple(final)
    heads = [torch.tensor(array) for array in (dy, *dstates)]
    torch.autograd.backward([y, *final], heads)
    out = {"y": y, "dx": x.grad}
    out |= {f"state {i}": state for i, state in enumerate(final)}
    out |= {f"dstate {i}": state.grad for i, state in enumerate(states)}
    out |= {name: parameter.grad for name, parameter in layer.named_parameters()}
    return {name: tensor.detach().numpy() for name, tensor in out.items()}


def run_ours(layer, x, states, lengths, dy, dstates):
    y, final, backprop = layer.forward(x, as_state(states), lengths)
    dx, dinitial = backprop(dy, as_state(dstates))
    out = {"y": y, "dx": dx}
    out |= {f"state {i}": state for i, state in enumerate(as_tuple(final))}
    out |= {f"dstate {i}": state for i, state in enumerate(as_tuple(dinitial))}
    return out | dict(layer.parameters.grads)


def assert_parity(ours, theirs, dtype):
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert ours[name].shape == expected.shape and ours[name].dtype == expected.dtype, name
        error, scale = np.abs(ours[name] - expected).max(), np.abs(expected).max()
        assert scale > 0, name
        assert error <= TOLERANCE[dtype] * scale, f"{name} is off by {error / scale:.2g}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["dense", "ragged"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["time-first", "batch-first"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["ahead", "both"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_layers(backend, kind, num_layers, bidirectional, bias, batch_first, lengths, dtype):
    options = {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
    ours, theirs = make_pair(KINDS, kind, I, H, num_layers, dtype=dtype, **options)
    rng = np.random.default_rng(0)
    count, directions = len(as_tuple(ours._kind.states)), 2 if bidirectional else 1
    lead = (B, T) if batch_first else (T, B)

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    x, dy = normal(*lead, I), normal(*lead, directions * H)
    states = [normal(num_layers * directions, B, H) for _ in range(count)]
    dstates = [normal(num_layers * directions, B, H) for _ in range(count)]
    given = x, states, lengths, dy, dstates
    expected = run_torch(theirs, *given)
    assert_parity(run_ours(ours, *given), expected, dtype)

    y, final = ours(x, as_state(states), lengths)
    called = {"y": y} | {f"state {i}": state for i, state in enumerate(as_tuple(final))}
    assert_parity(called, {name: expected[name] for name in called}, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(35, 20, 30, 50), (100, 1, 64, 64), (3, 70, 17, 33)])
@pytest.mark.parametrize("kind", KINDS)
def test_larger_layers(backend, kind, shape, dtype):
    steps, rows, width, hidden = shape
    ours, theirs = make_pair(KINDS, kind, width, hidden, dtype=dtype)
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    states, dstates = (
        [normal(1, rows, hidden) for _ in ours._kind.states] for _ in ("states", "gradients")
    )
    given = normal(steps, rows, width), states, None, normal(steps, rows, hidden), dstates
    assert_parity(run_ours(ours, *given), run_torch(theirs, *given), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("kind", CELLS)
def test_cells(backend, kind, bias, dtype):
    ours, theirs = make_pair(CELLS, kind, I, H, dtype=dtype, bias=bias)
    rng = np.random.default_rng(0)
    states, dstates = (
        [rng.standard_normal((B, H)).astype(dtype) for _ in ours._kind.states] for _ in range(2)
    )
    x = rng.standard_normal((B, I)).astype(dtype)
    given, leaves = tensors(states), tensors([x])
    final = as_tuple(theirs(*leaves, as_state(given)))
    torch.autograd.backward(final, [torch.tensor(array) for array in dstates])
    expected = [*final, leaves[0].grad, *(state.grad for state in given)]
    expected = {str(i): tensor.detach().numpy() for i, tensor in enumerate(expected)}
    expected |= {name: value.grad.numpy() for name, value in theirs.named_parameters()}

    state, backprop = ours.forward(x, as_state(states))
    dx, dinitial = backprop(as_state(dstates))
    got = [*as_tuple(state), dx, *as_tuple(dinitial)]
    got = {str(i): array for i, array in enumerate(got)} | dict(ours.parameters.grads)
    assert_parity(got, expected, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_move_back(dtype):
    """What we save, PyTorch loads."""
    ours, theirs = make_pair(KINDS, "lstm", I, H, 2, dtype=dtype, bidirectional=True)
    state = fs.LSTM(I, H, 2, bidirectional=True, dtype=dtype, seed=3).state_dict()
    ours.load_state_dict(state)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    x = np.random.default_rng(0).standard_normal((T, B, I)).astype(dtype)
    expected = theirs(torch.from_numpy(x))[0].detach().numpy()
    assert_parity({"y": ours(x)[0]}, {"y": expected}, dtype)
