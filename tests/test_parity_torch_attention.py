"""Parity with PyTorch of attention: outputs, weights and every gradient."""

import numpy as np
import pytest
from layer_cases import backend_fixture  # noqa: F401
from test_parity_torch import assert_parity, torch_dtype
from test_parity_torch_layers import assert_identical_names

import fastseq as fs

torch = pytest.importorskip("torch")

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
B, T, S, E = 3, 7, 5, 8
LENGTHS = np.array([5, 1, 3])  # PyTorch's result is NaN for a row without keys
PADDING = np.arange(S) >= LENGTHS[:, None]
NAMES = ("query", "key", "value")


def run_torch(call, inputs, dy, parameters=()):
    tensors = [torch.tensor(x, requires_grad=True) for x in inputs]
    out = {key: value for key, value in call(*tensors).items() if value is not None}
    out["y"].backward(torch.tensor(dy))
    out |= {f"d{name}": tensor.grad for name, tensor in zip(NAMES, tensors, strict=False)}
    out |= {name: parameter.grad for name, parameter in parameters}
    return {name: tensor.detach().numpy() for name, tensor in out.items()}


@both_dtypes
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False}, {"kdim": 6, "vdim": 10}, {"batch_first": True}],
    ids=["plain", "no-bias", "own-sizes", "batch-first"],
)
@pytest.mark.parametrize("masks", ["none", "lengths", "causal", "both"])
def test_multihead(backend, options, masks, need_weights, dtype):
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(E, 2, **options, dtype=torch_dtype(dtype))
    ours = fs.MultiheadAttention(E, 2, **options, dtype=dtype)
    assert_identical_names(ours, theirs)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    rng = np.random.default_rng(0)
    sizes = (T, E), (S, ours.kdim), (S, ours.vdim)
    lead = (lambda steps: (B, steps)) if ours.batch_first else (lambda steps: (steps, B))
    inputs = [rng.standard_normal((*lead(n), size)).astype(dtype) for n, size in sizes]
    dy = rng.standard_normal((*lead(T), E)).astype(dtype)
    lengths = LENGTHS if masks in ("lengths", "both") else None
    causal = masks in ("causal", "both")

    def call(*tensors):
        y, weights = theirs(
            *tensors,
            key_padding_mask=None if lengths is None else torch.tensor(PADDING),
            attn_mask=torch.triu(torch.ones(T, S, dtype=torch.bool), 1) if causal else None,
            need_weights=need_weights,
        )
        return {"y": y, "weights": weights}

    y, weights, backprop = ours.forward(*inputs, lengths, causal=causal, need_weights=need_weights)
    found = {"y": y} | ({"weights": weights} if need_weights else {})
    found |= {f"d{name}": d for name, d in zip(NAMES, backprop(dy), strict=True)}
    found |= dict(ours.parameters.grads)
    assert_parity(found, run_torch(call, inputs, dy, theirs.named_parameters()), dtype)


@both_dtypes
@pytest.mark.parametrize("masks", ["none", "lengths", "causal"])
@pytest.mark.parametrize("scale", [None, 0.7])
def test_scaled_dot_product(backend, masks, scale, dtype):
    rng = np.random.default_rng(0)
    shapes = (B, 2, T, 4), (B, 2, S, 4), (B, 2, S, 6)
    inputs = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    dy = rng.standard_normal((B, 2, T, 6)).astype(dtype)
    lengths, causal = LENGTHS if masks == "lengths" else None, masks == "causal"

    def call(*tensors):
        mask = None if lengths is None else torch.tensor(~PADDING[:, None, None])
        function = torch.nn.functional.scaled_dot_product_attention
        return {"y": function(*tensors, attn_mask=mask, is_causal=causal, scale=scale)}

    layer = fs.ScaledDotProductAttention(causal=causal, scale=scale)
    y, backprop = layer.forward(*inputs, lengths)
    found = {"y": y} | {f"d{name}": d for name, d in zip(NAMES, backprop(dy), strict=True)}
    assert_parity(found, run_torch(call, inputs, dy), dtype)


# --- attention to a memory ------------------------------------------------------------------


def torch_scores(kind, query, memory, p, coverage):
    """(B, S) of one step's queries (B, Q) and the memory (S, B, E), with PyTorch's operations."""
    if kind == "dot":
        return torch.einsum("be,sbe->bs", query, memory)
    if kind == "general":
        return torch.einsum("bq,qe,sbe->bs", query, p["weight_key"], memory)
    if kind == "concat":
        both = torch.cat([query.expand(len(memory), -1, -1), memory], dim=2)
        return (torch.tanh(both @ p["weight_concat"].T) @ p["weight_score"]).T
    z = query @ p["weight_query"].T + memory @ p["weight_key"].T + p["bias_key"]
    if kind == "coverage":
        z = z + coverage.T[:, :, None] * p["weight_coverage"]
    return (torch.tanh(z) @ p["weight_score"]).T


MEMORY_KINDS = {
    "additive": lambda dtype: fs.AdditiveAttention(E, E, 6, dtype=dtype, seed=1),
    "concat": lambda dtype: fs.ConcatAttention(E, E, 6, dtype=dtype, seed=1),
    "general": lambda dtype: fs.GeneralAttention(E, E, dtype=dtype, seed=1),
    "dot": lambda dtype: fs.DotAttention(),
    "coverage": lambda dtype: fs.CoverageAttention(E, E, 6, dtype=dtype, seed=1),
}


@both_dtypes
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("kind", MEMORY_KINDS)
def test_attention_to_a_memory(backend, kind, lengths, dtype):
    layer, rng = MEMORY_KINDS[kind](dtype), np.random.default_rng(0)
    inputs = [rng.standard_normal((steps, B, E)).astype(dtype) for steps in (T, S)]
    d_context, d_weights = (rng.standard_normal((T, B, n)).astype(dtype) for n in (E, S))
    p = {n: torch.tensor(a, requires_grad=True) for n, a in layer.parameters.items()}
    query, memory = (torch.tensor(x, requires_grad=True) for x in inputs)
    coverage, weights = torch.zeros(B, S, dtype=torch_dtype(dtype)), []
    for q in query:
        scores = torch_scores(kind, q, memory, p, coverage)
        if lengths is not None:
            scores = scores.masked_fill(torch.tensor(PADDING), -torch.inf)
        weights.append(scores.softmax(dim=1))
        coverage = coverage + weights[-1]
    weights = torch.stack(weights)
    context = torch.einsum("tbs,sbe->tbe", weights, memory)
    torch.autograd.backward([context, weights], [torch.tensor(d) for d in (d_context, d_weights)])
    expected = {"context": context, "weights": weights, "dquery": query.grad}
    expected |= {"dmemory": memory.grad} | {name: tensor.grad for name, tensor in p.items()}
    context, weights, backprop = layer.forward(*inputs, lengths)
    dquery, dmemory = backprop(d_context, d_weights)
    found = {"context": context, "weights": weights, "dquery": dquery, "dmemory": dmemory}
    found |= dict(layer.parameters.grads)
    assert_parity(found, {n: t.detach().numpy() for n, t in expected.items()}, dtype)
