"""Attention to a memory: definitions, gradients, equivalences, bad arguments."""

import copy
import itertools
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
from fastseq.attention import global_attention, local_attention

T, S, B, Q, E = 3, 4, 3, 5, 4
LENGTHS = [4, 0, 1]
KINDS = {
    "additive": lambda **o: fs.AdditiveAttention(Q, E, 3, **o),
    "additive-no-bias": lambda **o: fs.AdditiveAttention(Q, E, bias=False, **o),
    "concat": lambda **o: fs.ConcatAttention(Q, E, 3, **o),
    "general": lambda **o: fs.GeneralAttention(Q, E, **o),
    "dot": lambda dtype, seed=None: fs.DotAttention(),
    "local-m": lambda **o: fs.LocalAttention(Q, E, 1, position="monotonic", **o),
    "local-p": lambda **o: fs.LocalAttention(Q, E, 2, **o),
    "local-dot": lambda **o: fs.LocalAttention(E, E, 1, score="dot", **o),
    "monotonic": lambda **o: fs.MonotonicAttention(Q, E, 3, noise=0.0, **o),
    "coverage": lambda **o: fs.CoverageAttention(Q, E, 3, **o),
}
USE_KERNELS = ["additive", "additive-no-bias", "concat", "general", "dot"]
all_kinds = pytest.mark.parametrize("kind", KINDS)


def make(kind, dtype=np.float64, seed=1):
    """With parameters that are far from 0."""
    layer = KINDS[kind](dtype=dtype, seed=seed)
    flat = layer.parameters.flat
    flat[:] = np.random.default_rng(seed).standard_normal(flat.size)
    return layer


def make_inputs(layer, dtype=np.float64, steps=T, positions=S, rows=B, seed=0):
    rng = np.random.default_rng(seed)
    size = layer.query_size or E
    query, memory = (
        rng.standard_normal((n, rows, own)).astype(dtype)
        for n, own in ((steps, size), (positions, E))
    )
    return query, memory


def output_gradients(query, memory, seed=2):
    rng = np.random.default_rng(seed)
    shapes = (*query.shape[:2], E), (*query.shape[:2], len(memory))
    return [rng.standard_normal(shape).astype(query.dtype) for shape in shapes]


def expectation(layer, query, memory, lengths):
    """What ``forward`` gives, without a backward pass."""
    options = {"hard": False} if isinstance(layer, fs.MonotonicAttention) else {}
    return layer(query, memory, lengths, **options)


# --- definitions ----------------------------------------------------------------------------


def align(scores):
    """Softmax of a list that may be empty."""
    exps = np.exp(np.array(scores, float))
    return exps / exps.sum()


def naive_scores(layer, q, m):
    """Of one query and one row's memory (S, E), by the papers."""
    p = layer.parameters
    if isinstance(layer, fs.AdditiveAttention):
        bias = p.get("bias_key", 0)
        return [
            p["weight_score"] @ np.tanh(p["weight_query"] @ q + p["weight_key"] @ x + bias)
            for x in m
        ]
    if isinstance(layer, fs.ConcatAttention):
        return [p["weight_score"] @ np.tanh(p["weight_concat"] @ np.concatenate([q, x])) for x in m]
    return [q @ p["weight_key"] @ x if "weight_key" in p else q @ x for x in m]


def naive_local(layer, q, m, t):
    p, window = layer.parameters, layer.window
    center = t
    if layer.position == "predictive":
        value = p["weight_center"] @ np.tanh(p["weight_position"] @ q)
        center = len(m) / (1 + np.exp(-value))
    near = [s for s in range(len(m)) if abs(s - center) <= window]
    weights = np.zeros(len(m))
    weights[near] = align([naive_scores(layer, q, m)[s] for s in near])
    if layer.position == "predictive":
        for s in near:
            weights[s] *= np.exp(-((s - center) ** 2) / (2 * (window / 2) ** 2))
    return weights


def naive_monotonic(layer, queries, m):
    """The sum over all ways of stopping at s_0 <= s_1 <= ... of their probabilities."""
    p = layer.parameters
    unit = p["weight_score"] / np.linalg.norm(p["weight_score"])

    def stops(q, x):
        hidden = np.tanh(p["weight_query"] @ q + p["weight_key"] @ x + p["bias_key"])
        return 1 / (1 + np.exp(-(p["scale_score"][0] * unit @ hidden + p["bias_score"][0])))

    table = np.array([[stops(q, x) for x in m] for q in queries]).reshape(len(queries), len(m))
    weights = np.zeros(table.shape)
    for t in range(len(queries)):
        for path in itertools.combinations_with_replacement(range(len(m)), t + 1):
            probability, before = 1.0, 0
            for i, s in enumerate(path):
                probability *= np.prod(1 - table[i, before:s]) * table[i, s]
                before = s
            weights[t, path[-1]] += probability
    return weights, table


def naive_coverage(layer, queries, m):
    p, weights, coverage = layer.parameters, [], np.zeros(len(m))
    for q in queries:
        scores = []
        for s, x in enumerate(m):
            z = p["weight_query"] @ q + p["weight_key"] @ x + p["bias_key"]
            scores.append(p["weight_score"] @ np.tanh(z + p["weight_coverage"] * coverage[s]))
        weights.append(align(scores))
        coverage = coverage + weights[-1]
    return np.array(weights)


def naive_weights(layer, queries, m):
    """(T, S) of one row."""
    if not len(m):
        return np.zeros((len(queries), 0))
    if isinstance(layer, fs.LocalAttention):
        return np.array([naive_local(layer, q, m, t) for t, q in enumerate(queries)])
    if isinstance(layer, fs.MonotonicAttention):
        return naive_monotonic(layer, queries, m)[0]
    if isinstance(layer, fs.CoverageAttention):
        return naive_coverage(layer, queries, m)
    return np.array([align(naive_scores(layer, q, m)) for q in queries])


@all_kinds
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_values(backend, kind, lengths, dtype):
    layer = make(kind, dtype)
    query, memory = make_inputs(layer, dtype)
    context, weights = expectation(layer, query, memory, lengths)
    assert context.dtype == weights.dtype == dtype
    expected = np.zeros(weights.shape)
    for b, length in enumerate([S] * B if lengths is None else lengths):
        expected[:, b, :length] = naive_weights(layer, query[:, b], memory[:length, b])
    tolerance = 3e-6 if dtype is np.float32 else 1e-13
    assert_close(weights.astype(float), expected, tolerance)
    of_memory = np.einsum("tbs,sbe->tbe", expected, memory)
    assert_close(context.astype(float), of_memory, 3 * tolerance)
    assert_identical(layer.forward(query, memory, lengths)[:2], (context, weights))


def test_local_window_may_be_empty():
    layer = make("local-m")
    query, memory = make_inputs(layer, steps=7)
    context, weights, backprop = layer.forward(query, memory)
    assert weights[4].any() and not weights[5:].any() and not context[5:].any()
    assert not backprop(np.ones_like(context))[0][5:].any()


@pytest.mark.parametrize("score_bias", [-3.0, 0.0, 2.0])
def test_monotonic_decisions(score_bias):
    layer = make("monotonic")
    layer.parameters["bias_score"] = np.array([score_bias])
    query, memory = make_inputs(layer, steps=5, positions=6, rows=8)
    lengths = [6, 6, 5, 4, 3, 2, 1, 0]
    context, weights = layer(query, memory, lengths)
    for b, length in enumerate(lengths):
        table = naive_monotonic(layer, query[:, b], memory[:length, b])[1]
        at = 0
        for t in range(5):
            at = next((s for s in range(at, length) if table[t, s] >= 0.5), length)
            expected = np.zeros(6)
            expected[at : at + 1] = at < length
            assert_identical(weights[t, b], expected)
            assert_close(context[t, b], memory[at, b] if at < length else np.zeros(E))


def test_monotonic_decisions_of_nan(backend):
    """What it takes to know where a query stops, and nothing else."""
    layer = make("monotonic")
    layer.parameters["bias_score"] = np.array([-0.5])
    query, memory = make_inputs(layer, steps=5, positions=6, rows=8)
    lengths = [6, 6, 5, 4, 3, 2, 1, 0]
    expected = layer(query, memory, lengths)
    stopped = expected[1].argmax(axis=2)
    assert expected[1][0].any() and (stopped[3] > stopped[1]).any()
    query[2] = np.nan
    context, weights = layer(query, memory, lengths)
    assert_identical((context[:2], weights[:2]), tuple(array[:2] for array in expected))
    for b, length in enumerate(lengths):
        if expected[1][1, b].any():
            assert np.isnan(weights[2:, b]).any(axis=1).all() and np.isnan(context[2:, b]).all()
            assert not weights[2:, b, length:].any() and not weights[2:, b, : stopped[1, b]].any()
        else:  # row b had come to its end before
            assert not weights[2:, b].any() and not context[2:, b].any()


@all_kinds
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_no_arithmetic_warns(backend, kind, value):
    """As that of compiled kernels: what comes of such numbers shows in the results."""
    layer = make(kind, np.float32)
    query, memory = make_inputs(layer, np.float32)
    for array in (query, memory):
        array[1, 0, :2] = value, -value
    layer(query, memory)
    *_, backprop = layer.forward(query, memory)
    backprop(*output_gradients(query, memory))


def test_losses_of_coverage_do_not_warn():
    value, backprop = fs.CoverageLoss().forward(np.full((3, 1, 2), np.inf))
    assert np.isnan(value) and backprop().shape == (3, 1, 2)


def test_monotonic_decisions_are_made_before_nan():
    layer = make("monotonic")
    layer.parameters["bias_score"] = np.array([9.0])
    query, memory = make_inputs(layer)
    memory[1, 0] = np.nan
    weights = layer(query, memory)[1]
    assert (weights[:, :, 0] == 1).all() and not weights[:, :, 1:].any()


def test_monotonic_noise_is_in_training_alone():
    layer = fs.MonotonicAttention(Q, E, noise=1.0, dtype=np.float64, seed=1)
    query, memory = make_inputs(layer)
    assert_identical(layer(query, memory), layer(query, memory))
    state = layer.random_state
    first = layer.forward(query, memory)[1]
    assert np.abs(first - layer.forward(query, memory)[1]).max() > 1e-3
    layer.random_state = state
    assert_identical(layer.forward(query, memory)[1], first)


def test_certain_decisions_are_the_expectation():
    layer = make("monotonic")
    layer.parameters["scale_score"] = np.array([1e4])
    query, memory = make_inputs(layer)
    assert_close(layer(query, memory), layer.forward(query, memory)[:2], 1e-9)


def test_coverage_goes_on_step_by_step():
    layer = make("coverage")
    query, memory = make_inputs(layer)
    context, weights = layer(query, memory, LENGTHS)
    coverage = np.zeros((B, S))
    for t in range(T):
        own, more = layer(query[t : t + 1], memory, LENGTHS, coverage=coverage)
        assert_close((own, more), (context[t : t + 1], weights[t : t + 1]))
        coverage += more[0]


def check_steps(layer, lengths, next_start, cuts, dtype, **options):
    """Calls that go on where others ended are one call; others aren't."""
    query, memory = make_inputs(layer, dtype, steps=7, positions=6, rows=5, seed=4)
    whole = layer(query, memory, lengths, **options)
    start, parts = None, []
    for begin, end in itertools.pairwise([0, *cuts, 7]):
        parts.append(layer(query[begin:end], memory, lengths, start=start, **options))
        start = next_start(end, parts[-1][1])
    assert_close(tuple(np.concatenate(part) for part in zip(*parts, strict=True)), whole)
    from_anew = layer(query[cuts[-1] :], memory, lengths, **options)[1]
    assert np.abs(from_anew - whole[1][cuts[-1] :]).max() > 0.1


into_calls = pytest.mark.parametrize("cuts", [[1, 2, 3, 4, 5, 6], [3], [2, 3, 5]])


@into_calls
@pytest.mark.parametrize("lengths", [None, [6, 5, 4, 1, 0]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_local_windows_go_on_step_by_step(backend, dtype, lengths, cuts):
    check_steps(make("local-m", dtype), lengths, lambda t, weights: t, cuts, dtype)


@into_calls
@pytest.mark.parametrize("lengths", [None, [6, 5, 4, 1, 0]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hard", [True, False])
def test_monotonic_stops_go_on_step_by_step(backend, hard, dtype, lengths, cuts):
    layer = make("monotonic", dtype)
    layer.parameters["bias_score"] = np.array([-0.5])
    check_steps(layer, lengths, lambda t, weights: weights[-1], cuts, dtype, hard=hard)


def test_monotonic_starts():
    """From NaN nothing is known, from nothing nothing is found, past a length nothing counts."""
    layer = make("monotonic")
    layer.parameters["bias_score"] = np.array([9.0])  # stops wherever it starts
    query, memory = make_inputs(layer)
    start = np.array([[0, 0, 1.0, 0], [0, 0, 0, 0], [0, np.nan, 0, 0]])
    weights = layer(query, memory, start=start)[1]
    assert_identical(weights[0], start)
    assert_identical(weights[2], start)
    assert not layer(query, memory, [2, 4, 1], start=start)[1].any()


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_expectation_from_a_distribution(lengths):
    """It is linear: the mean of those from each position."""
    layer = make("monotonic")
    query, memory = make_inputs(layer)
    start = np.random.default_rng(5).dirichlet(np.ones(S), B)
    expected = np.zeros((T, B, S))
    for s in range(S):
        own = np.zeros((B, S))
        own[:, s] = 1
        weights = layer(query, memory, lengths, hard=False, start=own)[1]
        assert not weights[:, :, :s].any()
        expected += start[:, s, None] * weights
    assert_close(layer(query, memory, lengths, hard=False, start=start)[1], expected)


# --- gradients ------------------------------------------------------------------------------


def assert_gradients(layer, query, memory, lengths, tolerance=1e-7):
    d_context, d_weights = output_gradients(query, memory)
    layer.parameters.zero_grad()
    grads = layer.forward(query, memory, lengths)[2](d_context, d_weights)

    def loss():
        context, weights = expectation(layer, query, memory, lengths)
        return (context * d_context).sum() + (weights * d_weights).sum()

    arrays = [query, memory, layer.parameters.flat]
    check_gradients(loss, arrays, [*grads, layer.parameters.flat_grad], tolerance=tolerance)


@pytest.mark.parametrize("kind", USE_KERNELS)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_gradients_on_all_backends(backend, kind, lengths):
    layer = make(kind)
    assert_gradients(layer, *make_inputs(layer), lengths)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in USE_KERNELS])
@pytest.mark.parametrize("lengths", [None, LENGTHS, [3, 4, 2]])
def test_gradients_of_special_kinds(kind, lengths):
    layer = make(kind)
    assert_gradients(layer, *make_inputs(layer), lengths)


@all_kinds
@pytest.mark.parametrize("steps, positions, rows", [(1, 1, 1), (1, 4, 1), (4, 1, 2)])
def test_gradients_of_single_steps_and_rows(kind, steps, positions, rows):
    layer = make(kind)
    assert_gradients(layer, *make_inputs(layer, np.float64, steps, positions, rows), None)


@all_kinds
def test_gradients_without_those_of_weights(kind):
    layer = make(kind)
    inputs = make_inputs(layer)
    d_context, d_weights = output_gradients(*inputs)

    def train(*gradients, **options):
        layer.parameters.zero_grad()
        grads = layer.forward(*inputs, LENGTHS)[2](*gradients, **options)
        return grads, layer.parameters.flat_grad.copy()

    expected = train(d_context, np.zeros_like(d_weights))
    assert_close(train(d_context), expected)
    grads, own = train(d_context, d_weights, input_grad=False)
    assert grads == (None, None)
    assert_identical(own, train(d_context, d_weights)[1])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "dot" not in kind])
def test_gradients_of_inputs_that_are_not_wanted_are_not_computed(kind, monkeypatch):
    layer = make(kind)
    inputs = make_inputs(layer)
    d_context, _ = output_gradients(*inputs)
    projections, project = [], global_attention.project

    def noted(*given):
        projections.append(given)
        return project(*given)

    def count(**options):
        backprop = layer.forward(*inputs, LENGTHS)[2]
        projections.clear()
        backprop(d_context, **options)
        return len(projections)

    monkeypatch.setattr(global_attention, "project", noted)
    monkeypatch.setattr(local_attention, "project", noted)
    assert count(input_grad=False) < count()


@all_kinds
def test_gradients_accumulate(kind):
    layer = make(kind)
    inputs = make_inputs(layer)
    d_context, _ = output_gradients(*inputs)
    layer.forward(*inputs)[2](d_context)
    once = layer.parameters.flat_grad.copy()
    layer.forward(*inputs)[2](d_context)
    assert_close(layer.parameters.flat_grad, 2 * once)


# --- equivalences ---------------------------------------------------------------------------


def train(layer, query, memory, lengths=None):
    d_context, d_weights = output_gradients(query, memory)
    layer.parameters.zero_grad()
    context, weights, backprop = layer.forward(query, memory, lengths)
    return context, weights, *backprop(d_context, d_weights), layer.parameters.flat_grad.copy()


@all_kinds
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_past_a_length_there_may_be_anything(backend, kind, dtype):
    layer = make(kind, dtype)
    query, memory = make_inputs(layer, dtype)
    expected = train(layer, query, memory, LENGTHS)
    for b, length in enumerate(LENGTHS):
        memory[length:, b] = np.nan
    found = train(layer, query, memory, LENGTHS)
    assert_identical(found, expected)
    for b, length in enumerate(LENGTHS):
        assert not found[1][:, b, length:].any() and not found[3][length:, b].any()


@all_kinds
@pytest.mark.parametrize("steps, positions, rows", [(T, S, B), (T, S, 1), (1, 1, B), (1, 1, 1)])
def test_arguments_stay_what_they_are(backend, kind, steps, positions, rows):
    layer = make(kind)
    query, memory = make_inputs(layer, np.float64, steps, positions, rows)
    given = query, memory, *output_gradients(query, memory)
    lengths = np.arange(rows) % (positions + 1)
    before = copy.deepcopy(given)
    context, weights, backprop = layer.forward(query, memory, lengths)
    results = copy.deepcopy((context, weights))
    backprop(*given[2:])
    layer(query, memory, lengths)
    layer(query, layer.read(memory, lengths))
    assert_identical(given, before)
    assert_identical((context, weights), results)


@all_kinds
def test_ragged_is_one_by_one(kind):
    layer = make(kind)
    query, memory = make_inputs(layer)
    lengths = [4, 2, 1]
    context, weights = expectation(layer, query, memory, lengths)
    for b, length in enumerate(lengths):
        own = expectation(layer, query[:, b : b + 1], memory[:length, b : b + 1], None)
        assert_close(own, (context[:, b : b + 1], weights[:, b : b + 1, :length]))


@all_kinds
@pytest.mark.parametrize("shape", [(0, S, B), (T, 0, B), (T, S, 0)])
def test_nothing_at_all(backend, kind, shape):
    layer = make(kind)
    context, weights, dquery, dmemory, grads = train(layer, *make_inputs(layer, np.float64, *shape))
    assert not any(array.any() for array in (context, weights, dquery, dmemory, grads))
    assert layer(*make_inputs(layer, np.float64, *shape))[0].shape == context.shape


def test_concat_is_additive_without_bias():
    concat, additive = make("concat"), fs.AdditiveAttention(Q, E, 3, bias=False, dtype=np.float64)
    weight = concat.parameters["weight_concat"]
    additive.parameters["weight_query"] = weight[:, :Q].copy()
    additive.parameters["weight_key"] = weight[:, Q:].copy()
    additive.parameters["weight_score"] = concat.parameters["weight_score"]
    inputs = make_inputs(concat)
    ours, theirs = (train(layer, *inputs, LENGTHS) for layer in (concat, additive))
    assert_close(ours[:4], theirs[:4])
    d_weight = concat.parameters.grads["weight_concat"]
    assert_close(d_weight[:, :Q].copy(), additive.parameters.grads["weight_query"])


# --- a memory that is read once -------------------------------------------------------------


@all_kinds
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_a_memory_may_be_read_ahead(backend, kind, dtype, lengths):
    layer = make(kind, dtype)
    query, memory = make_inputs(layer, dtype)
    expected = expectation(layer, query, memory, lengths)
    known = layer.read(memory, lengths)
    assert len(known) == B and repr(layer) in repr(known)
    assert_identical(expectation(layer, query, known, None), expected)
    assert_identical(layer(query, known), layer(query, memory, lengths))


@all_kinds
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_rows_of_a_memory_may_be_chosen(backend, kind, lengths):
    layer = make(kind)
    query, memory = make_inputs(layer)
    known, chosen = layer.read(memory, lengths), np.arange(B)
    for rows in [2, 0, 2, 1], [3, 1, 0], [], []:
        earlier, known, chosen = known, known.select(rows), chosen[rows]
        own = None if lengths is None else np.array(lengths)[chosen]
        expected = expectation(layer, query[:, chosen], memory[:, chosen], own)
        assert_identical(expectation(layer, query[:, chosen], known, None), expected)
        assert len(known) == len(rows) and known is not earlier
    whole = layer(query, memory, lengths)
    assert_identical(layer(query, layer.read(memory, lengths)), whole)


@all_kinds
def test_a_memory_is_projected_when_it_is_read(kind):
    layer = make(kind)
    query, memory = make_inputs(layer)
    expected, known = expectation(layer, query, memory, None), layer.read(memory)
    for name, values in layer.parameters.items():
        if name == "weight_concat":
            values[:, Q:] = 0
        elif name.endswith("_key"):
            values[...] = 0
    if "dot" not in kind:
        assert np.abs(expectation(layer, query, memory, None)[1] - expected[1]).max() > 1e-3
    assert_identical(expectation(layer, query, known, None), expected)


def test_a_decoder_reads_once_and_goes_on():
    local, monotonic, coverage = make("local-m"), make("monotonic"), make("coverage")
    query, memory = make_inputs(local)
    known = [layer.read(memory, [4, 3, 2]) for layer in (local, monotonic, coverage)]
    found, start, covered = [], None, np.zeros((B, S))
    for t in range(T):
        q = query[t : t + 1]
        found.append(
            (
                local(q, known[0], start=t)[1],
                monotonic(q, known[1], start=start, hard=False)[1],
                coverage(q, known[2], coverage=covered)[1],
            )
        )
        start, covered = found[-1][1][-1], covered + found[-1][2][0]
    found = tuple(np.concatenate(weights) for weights in zip(*found, strict=True))
    layers = local, monotonic, coverage
    assert_close(found, tuple(expectation(own, query, memory, [4, 3, 2])[1] for own in layers))


@all_kinds
def test_bad_memories_that_were_read(kind):
    layer, other = make(kind), make(kind)
    query, memory = make_inputs(layer)
    known, size = layer.read(memory, LENGTHS), query.shape[2]
    with raises(ValueError, "memory must be read by this attention", "read(...)"):
        layer(query, other.read(memory))
    with raises(ValueError, "memory_lengths must be None here", "read()"):
        layer(query, known, LENGTHS)
    with raises(TypeError, "forward needs the memory itself", "which is for calls"):
        layer.forward(query, known)
    message = f"query must have shape (T, B, Q) = (3, 2, {size}), got (3, 3, {size}); B is the memo"
    with raises(ValueError, message):
        layer(query, known.select([0, 1]))
    with raises(ValueError, "query must have shape (T, B, Q)"):
        layer(query[0], known)
    with raises(ValueError, f"query must have shape (..., {size})"):
        layer(query[:, :, 1:], known)
    with raises(TypeError, "query must hold floating-point numbers"):
        layer(query.astype(int), known)
    with raises(ValueError, "rows must lie between 0 and 2", "got 3 at rows[1]"):
        known.select([0, 3])
    with raises(ValueError, "rows must have shape (B',), got (1, 2)"):
        known.select([[0, 1]])
    with raises(ValueError, "memory must have shape (S, B, E), got (3, 4)"):
        layer.read(memory[0])
    with raises(TypeError, "memory must hold floating-point numbers"):
        layer.read(memory.astype(int))
    with raises(ValueError, "memory_lengths must lie between 0 and 4"):
        layer.read(memory, [5, 1, 1])


# --- coverage loss --------------------------------------------------------------------------

MASK = np.array([[True, True], [True, False], [True, True], [False, True]])


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_coverage_loss(mask, reduction):
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(5), (4, 2))
    loss = fs.CoverageLoss(reduction=reduction)
    total, counted = 0.0, np.ones((4, 2), bool) if mask is None else mask
    for b in range(2):
        covered = np.zeros(5)
        for t in range(4):
            if counted[t, b]:
                total += np.minimum(weights[t, b], covered).sum()
                covered += weights[t, b]
    expected = total / counted.sum() if reduction == "mean" else total
    value, backprop = loss.forward(weights, mask)
    assert abs(value - expected) < 1e-14 and loss(weights, mask) == value
    gradient = backprop(3.0)
    check_gradients(lambda: 3 * loss(weights, mask), [weights], [gradient], step=1e-6)
    weights[~counted] = np.nan
    assert_identical(loss.forward(weights, mask)[1](3.0), gradient)


def test_coverage_loss_refuses():
    with raises(ValueError, "weights must have shape (T, B, S), got (2, 3)"):
        fs.CoverageLoss()(np.zeros((2, 3)))
    with raises(ValueError, "mask must have shape (T, B) = (2, 3)"):
        fs.CoverageLoss()(np.zeros((2, 3, 4)), np.ones((3, 2), bool))


# --- memory ---------------------------------------------------------------------------------


def test_monotonic_hidden_layers_are_never_copied():
    """They are (T, B, S, A): kept once in training, one query's at a time in a call."""
    layer = fs.MonotonicAttention(Q, E, 64, seed=0)
    query, memory = make_inputs(layer, np.float32, steps=40, positions=50, rows=4)
    hidden = 4 * 40 * 50 * 4 * 64

    def peak(compute):
        tracemalloc.start()
        try:
            compute()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(lambda: layer(query, memory)) < hidden / 4
    assert peak(lambda: layer(query, memory, hard=False)) < hidden / 4
    assert peak(lambda: train(layer, query, memory)) < 1.5 * hidden


# --- a layer among layers -------------------------------------------------------------------


@all_kinds
def test_copies_and_seeds(kind):
    first, second = (KINDS[kind](dtype=np.float64, seed=3) for _ in range(2))
    assert_identical(first.parameters.flat, second.parameters.flat)
    layer = make(kind)
    inputs = make_inputs(layer)
    assert_identical(copy.deepcopy(layer)(*inputs), layer(*inputs))
    assert repr(layer).startswith(type(layer).__name__ + "(")
    if kind != "dot":
        assert layer.dtype == np.float64 and layer.memory_size == E
        with raises(AttributeError, "query_size can't be changed"):
            layer.query_size = 3


def test_initial_parameters():
    monotonic = fs.MonotonicAttention(Q, E, 4, score_bias=-2)
    assert monotonic.parameters["scale_score"].tolist() == [0.5]
    assert monotonic.parameters["bias_score"].tolist() == [-2.0]
    additive = fs.AdditiveAttention(100, 100, seed=0).parameters
    assert not additive["bias_key"].any()
    assert 0.09 < np.abs(additive["weight_query"]).max() < 0.1


@all_kinds
def test_backprop_runs_once_and_holds_the_lock(kind):
    layer = make(kind)
    inputs = make_inputs(layer)
    d_context, _ = output_gradients(*inputs)
    run_backprop_in_threads(layer.forward(*inputs)[2], d_context)
    if kind == "dot":
        return
    layer.parameters.zero_grad()
    backprop, parameters = layer.forward(*inputs)[2], layer.parameters
    assert_waits_for(parameters.grads_lock, lambda: backprop(d_context), parameters.flat_grad)
    with raises(RuntimeError, "already run"):
        backprop(d_context)


# --- bad arguments --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "construct, error, parts",
    [
        (lambda: fs.AdditiveAttention(0, E), ValueError, ("query_size must be at least 1",)),
        (lambda: fs.AdditiveAttention(Q, 0), ValueError, ("memory_size must be at least 1",)),
        (lambda: fs.ConcatAttention(Q, E, 0), ValueError, ("attention_size must be at least",)),
        (lambda: fs.GeneralAttention(Q, E, dtype=int), ValueError, ("dtype must be float32",)),
        (lambda: fs.LocalAttention(Q, E, 0), ValueError, ("window must be at least 1",)),
        (
            lambda: fs.LocalAttention(Q, E, 1, score="dot"),
            ValueError,
            ("memory_size must be query_size 5", "got 4", "score='general'"),
        ),
        (lambda: fs.LocalAttention(Q, E, 1, position="p"), ValueError, ("position must be one",)),
        (lambda: fs.MonotonicAttention(Q, E, noise=-1), ValueError, ("noise must be a finite",)),
        (lambda: fs.CoverageAttention(Q, E, seed="a"), (TypeError, ValueError), ("seed must be",)),
    ],
)
def test_bad_constructors(construct, error, parts):
    with raises(error, *parts):
        construct()


def zeros(*shape):
    return np.zeros(shape)


@all_kinds
@pytest.mark.parametrize(
    "shapes, lengths, error, parts",
    [
        (((B, Q), (S, B, E)), None, ValueError, ("query must have shape (T, B, Q), got (3, 5)",)),
        (((T, B, Q), (B, E)), None, ValueError, ("memory must have shape (S, B, E), got (3, 4)",)),
        (
            ((T, B, Q), (S, 2, E)),
            None,
            ValueError,
            ("memory must have shape (S, B, E) = (4, 3, 4), got (4, 2, 4); B is the query's",),
        ),
        (((T, B, 7), (S, B, E)), None, ValueError, ("query must have shape (...",)),
        (((T, B, Q), (S, B, E)), [1, 2], ValueError, ("memory_lengths", "(B,) = (3,)")),
        (
            ((T, B, Q), (S, B, E)),
            [1, 5, 2],
            ValueError,
            ("memory_lengths must lie between 0 and 4, the number of steps in memory, got 5",),
        ),
        (((T, B, Q), (S, B, E)), [1.0, 2, 3], TypeError, ("memory_lengths must hold integers",)),
    ],
)
def test_bad_calls(kind, shapes, lengths, error, parts):
    layer = make(kind)
    size = layer.query_size or E
    query, memory = (zeros(*(size if n == Q else n for n in shape)) for shape in shapes)
    if size == E:
        parts = [part.replace("(3, 5)", "(3, 4)") for part in parts]
    with raises(error, *parts):
        layer(query, memory, lengths)
    with raises(error, *parts):
        layer.forward(query, memory, lengths)


def test_bad_options_and_gradients():
    monotonic, coverage = make("monotonic"), make("coverage")
    query, memory = make_inputs(monotonic)
    with raises(TypeError, "hard must be True or False"):
        monotonic(query, memory, hard=1)
    with raises(ValueError, "coverage must have shape (B, S) = (3, 4), got (4, 3)"):
        coverage(query, memory, coverage=zeros(S, B))
    with raises(ValueError, "start must have shape (B, S) = (3, 4), got (4, 3)"):
        monotonic(query, memory, start=zeros(S, B))
    with raises(TypeError, "start must hold floating-point numbers"):
        monotonic(query, memory, start=np.zeros((B, S), int))
    start = np.array([[1.0, 0, 0, 0], [0, 0, 0, 0], [0, 0.5, 0, 0.5]])
    with raises(ValueError, "start must hold decisions", "got 0.5 at start[2, 1]", "hard=False"):
        monotonic(query, memory, start=start)
    start[2] = 1
    with raises(ValueError, "start must have one position", "got 4 in row 2", "weights[-1]"):
        monotonic(query, memory, start=start)
    start[2] = 0, 1, 1, 0
    with raises(ValueError, "start must have one position", "got 2 in row 2"):
        monotonic(query, memory, start=start)
    local = make("local-m")
    with raises(ValueError, "start must be at least 0, got -1"):
        local(query, memory, start=-1)
    with raises(TypeError, "start must be an integer, got 1.5"):
        local(query, memory, start=1.5)
    with raises(ValueError, "start must be None", "got 2", "position='monotonic'"):
        make("local-p")(query, memory, start=2)
    with raises(TypeError, "query must hold floating-point numbers"):
        coverage(query.astype(int), memory)
    context, weights, backprop = coverage.forward(query, memory)
    with raises(ValueError, "d_context must have the shape of the context"):
        backprop(weights[:, :, :2].copy())
    with raises(ValueError, "d_weights must have the shape of the weights"):
        backprop(context, context[:1])
    with raises(TypeError, "input_grad must be True or False"):
        backprop(context, input_grad=1)
    assert backprop(context, weights)[0].shape == query.shape
