"""Parity with PyTorch of the layers that treat each token by itself."""

import numpy as np
import pytest
from layer_cases import backend_fixture  # noqa: F401
from test_parity_torch import assert_parity, torch_dtype

import fastseq as fs

torch = pytest.importorskip("torch")

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def run_torch(layer, x, dy):
    """{name: array} of all that comes out."""
    x = torch.tensor(x, requires_grad=np.issubdtype(x.dtype, np.floating))
    y = layer(x)
    y.backward(torch.tensor(dy))
    out = {"y": y} | ({} if x.grad is None else {"dx": x.grad})
    out |= {name: parameter.grad for name, parameter in layer.named_parameters()}
    return {name: tensor.detach().numpy() for name, tensor in out.items()}


def run_ours(layer, x, dy):
    y, backprop = layer.forward(x)
    dx = backprop(dy)
    return {"y": y} | ({} if dx is None else {"dx": dx}) | dict(layer.parameters.grads)


@both_dtypes
@pytest.mark.parametrize("lead", [(7,), (4, 5), (2, 3, 2)])
@pytest.mark.parametrize(
    "name, arguments, options",
    [
        ("Linear", (6, 9), {}),
        ("Linear", (6, 9), {"bias": False}),
        ("LayerNorm", (6,), {}),
        ("LayerNorm", ((3, 6),), {"eps": 1e-3}),
        ("Embedding", (11, 6), {}),
        ("Embedding", (11, 6), {"padding_idx": 3}),
        ("Embedding", (11, 6), {"padding_idx": -2}),
    ],
)
def test_layers(backend, name, arguments, options, lead, dtype):
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*arguments, **options, dtype=torch_dtype(dtype))
    ours = getattr(fs, name)(*arguments, **options, dtype=dtype)
    assert_identical_names(ours, theirs)
    if name == "LayerNorm":
        for parameter in theirs.parameters():
            torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    if name == "Embedding":
        x = rng.integers(0, 11, lead)
    else:
        axes = arguments[0] if isinstance(arguments[0], tuple) else arguments[:1]
        x = rng.standard_normal((*lead, *axes)).astype(dtype)
    dy = rng.standard_normal(ours(x).shape).astype(dtype)
    assert_parity(run_ours(ours, x, dy), run_torch(theirs, x, dy), dtype)


def assert_identical_names(ours, theirs):
    assert [(n, tuple(p.shape)) for n, p in theirs.named_parameters()] == [
        (n, p.shape) for n, p in ours.parameters.items()
    ]


class Tied(torch.nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.embedding = torch.nn.Embedding(11, 6, padding_idx=0, dtype=dtype)
        self.linear = torch.nn.Linear(6, 11, dtype=dtype)
        self.linear.weight = self.embedding.weight

    def forward(self, x):
        return self.linear(self.embedding(x))


@both_dtypes
def test_tied_weights(backend, dtype):
    theirs = Tied(torch_dtype(dtype))
    embedding = fs.Embedding(11, 6, padding_idx=0, dtype=dtype)
    ours = fs.Module(embedding=embedding, linear=fs.Linear(6, 11, tied=embedding, dtype=dtype))
    ours.load_state_dict(theirs.state_dict())
    state = {name: torch.from_numpy(a) for name, a in ours.state_dict(tied=True).items()}
    theirs.load_state_dict(state)
    assert state.keys() == theirs.state_dict().keys()
    rng = np.random.default_rng(0)
    x, dy = rng.integers(0, 11, (4, 5)), rng.standard_normal((4, 5, 11)).astype(dtype)
    h, into_table = embedding.forward(x)
    y, backprop = ours.linear.forward(h)
    into_table(backprop(dy))
    assert_parity({"y": y, **ours.parameters.grads}, run_torch(theirs, x, dy), dtype)


@both_dtypes
@pytest.mark.parametrize("freeze", [True, False])
def test_pretrained_tables(freeze, dtype):
    table = np.random.default_rng(0).standard_normal((6, 4)).astype(dtype)
    ours = fs.Embedding.from_pretrained(table, freeze, padding_idx=1)
    theirs = torch.nn.Embedding.from_pretrained(torch.tensor(table), freeze, padding_idx=1)
    assert ours.freeze != theirs.weight.requires_grad
    np.testing.assert_array_equal(ours.state_dict()["weight"], theirs.state_dict()["weight"])
    if not freeze:
        y, backprop = ours.forward([1, 2, 2])
        backprop(np.ones_like(y))
        theirs(torch.tensor([1, 2, 2])).sum().backward()
        np.testing.assert_array_equal(ours.parameters.grads["weight"], theirs.weight.grad)
