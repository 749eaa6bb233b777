"""Parity with PyTorch of the losses: values and gradients from the same numbers."""

import numpy as np
import pytest
from layer_cases import backend_fixture  # noqa: F401
from test_parity_torch import assert_parity, torch_dtype

import fastseq as fs

torch = pytest.importorskip("torch")

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
both_reductions = pytest.mark.parametrize("reduction", ["mean", "sum"])
N, V = 12, 37


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def compare(ours, theirs, dtype, x, targets, *more):
    """Loss and gradients of inputs and parameters, the inputs of both being x."""
    value, backprop = ours.forward(x, targets, *more)
    found = {"loss": np.asarray(value, dtype), "dx": backprop()}
    leaf = torch.tensor(x, requires_grad=True)
    expected = theirs(leaf, torch.tensor(targets), *more)
    expected = getattr(expected, "loss", expected)  # adaptive softmax returns more
    expected.backward()
    tensors = {"loss": expected, "dx": leaf.grad}
    if isinstance(ours, fs.Module):
        found |= ours.parameters.grads
        tensors |= {name: parameter.grad for name, parameter in theirs.named_parameters()}
    assert_parity(found, {n: t.detach().numpy() for n, t in tensors.items()}, dtype)


@both_dtypes
@both_reductions
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignore_index", [-100, 3])
def test_cross_entropy(backend, ignore_index, smoothing, reduction, dtype, rng):
    x, targets = 3 * rng.standard_normal((N, V)).astype(dtype), rng.integers(0, V, N)
    targets[[1, 4]] = ignore_index
    options = {
        "ignore_index": ignore_index,
        "label_smoothing": smoothing,
        "reduction": reduction,
    }
    compare(fs.CrossEntropyLoss(**options), torch.nn.CrossEntropyLoss(**options), dtype, x, targets)


@both_dtypes
@both_reductions
@pytest.mark.parametrize(
    "name, arguments", [("BCEWithLogitsLoss", ()), ("MSELoss", ()), ("HuberLoss", (0.6,))]
)
def test_losses_of_numbers(backend, name, arguments, reduction, dtype, rng):
    x, targets = (rng.standard_normal((N, 3)).astype(dtype) for _ in range(2))
    options = {"delta": arguments[0]} if arguments else {}
    ours = getattr(fs, name)(*arguments, reduction=reduction)
    theirs = getattr(torch.nn, name)(**options, reduction=reduction)
    compare(ours, theirs, dtype, x, targets)


class Projected(torch.nn.Module):
    def __init__(self, linear, loss):
        super().__init__()
        self.linear, self.loss = linear, loss

    def forward(self, x, targets):
        return self.loss(self.linear(x), targets)


@both_dtypes
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_linear_cross_entropy(backend, smoothing, dtype, rng):
    """At a size that takes several blocks."""
    rows, classes = 300, 5000
    linear = torch.nn.Linear(8, classes, dtype=torch_dtype(dtype))
    theirs = Projected(linear, torch.nn.CrossEntropyLoss(label_smoothing=smoothing))
    ours = fs.Linear(8, classes, dtype=dtype)
    ours.load_state_dict(linear.state_dict())
    x, targets = rng.standard_normal((rows, 8)).astype(dtype), rng.integers(0, classes, rows)
    targets[3] = -100
    loss = fs.LinearCrossEntropyLoss(ours, label_smoothing=smoothing)
    assert len(loss._blocks(rows)) > 1
    compare(loss, theirs, dtype, x, targets)
    gradients = {name: parameter.grad.numpy() for name, parameter in linear.named_parameters()}
    assert_parity(dict(ours.parameters.grads), gradients, dtype)


@both_dtypes
@pytest.mark.parametrize("head_bias", [False, True])
@pytest.mark.parametrize("cutoffs, div_value", [([5], 4.0), ([4, 10, 30], 2.0)])
def test_adaptive_softmax(backend, cutoffs, div_value, head_bias, dtype, rng):
    options = {"div_value": div_value, "head_bias": head_bias, "dtype": torch_dtype(dtype)}
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(16, V, cutoffs, **options)
    ours = fs.AdaptiveLogSoftmaxWithLoss(16, V, cutoffs, **options | {"dtype": dtype})
    assert [(n, tuple(p.shape)) for n, p in theirs.named_parameters()] == [
        (n, p.shape) for n, p in ours.parameters.items()
    ]
    ours.load_state_dict(theirs.state_dict())
    x, targets = rng.standard_normal((N, 16)).astype(dtype), rng.integers(0, V, N)
    targets[:4] = 0, cutoffs[0] - 1, cutoffs[0], V - 1
    targets[4:7] = np.add(cutoffs, 1)[[0, -1, len(cutoffs) // 2]]
    compare(ours, theirs, dtype, x, targets)
    given = torch.tensor(x)
    found = {"log_prob": ours.log_prob(x), "predict": ours.predict(x)}
    expected = {"log_prob": theirs.log_prob(given), "predict": theirs.predict(given)}
    assert_parity(found, {n: t.detach().numpy() for n, t in expected.items()}, dtype)


class LogSoftmaxCTC(torch.nn.Module):
    """PyTorch's takes log-probabilities; in float32 it rounds more than ours, so not there."""

    def __init__(self, **options):
        super().__init__()
        self.loss = torch.nn.CTCLoss(**options)

    def forward(self, x, targets, input_lengths, target_lengths):
        lengths = torch.tensor(input_lengths), torch.tensor(target_lengths)
        return self.loss(x.double().log_softmax(dim=2), targets, *lengths).to(x.dtype)


@both_dtypes
@both_reductions
@pytest.mark.parametrize("blank", [0, 4])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_ctc(backend, zero_infinity, blank, reduction, dtype, rng):
    options = {"blank": blank, "reduction": reduction, "zero_infinity": zero_infinity}
    x = 2 * rng.standard_normal((20, 5, 9)).astype(dtype)
    targets = rng.integers(5, 9, (5, 6))
    targets[1, :3] = 5
    lengths = [20, 11, 7, 20, 2], [6, 3, 5, 1, 0]
    if zero_infinity:
        lengths[0][2] = 3
    compare(fs.CTCLoss(**options), LogSoftmaxCTC(**options), dtype, x, targets, *lengths)
