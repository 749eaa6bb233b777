"""Decoders in the kernels: right values and gradients, equal backends, what each one promises."""

import itertools

import numpy as np
import pytest
from attention_cases import Memory
from attention_cases import attend as attend_at_once
from decoder_cases import (
    CELLS,
    OUTPUTS,
    QUERIES,
    SCORES,
    backward,
    forward,
    make_case,
    output_gradients,
    row_of,
    run,
    states_that_asked,
)
from helpers import assert_close, assert_identical
from layer_cases import check_gradients
from test_kernels import ISAS, both_dtypes, force_isa

from fastseq import reference

all_cells = pytest.mark.parametrize("cell", CELLS)
all_scores = pytest.mark.parametrize("score", SCORES)
both_queries = pytest.mark.parametrize("query", QUERIES)
LENGTHS = {
    "ragged": dict(lengths=(3, 2, 2, 0), source_lengths=(4, 1, 0, 3)),
    "dense": dict(lengths=(2, 2), source_lengths=(3, 3)),
    "one": dict(lengths=(1,), source_lengths=(1,)),
}
all_lengths = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}
BIG = dict(lengths=(9, 9, 8, 8, 7, 5, 5, 1, 0), source_lengths=(7, 12, 1, 5, 0, 20, 3, 33, 2))


def skip_most_on_numba(kernels, *case, but):
    """Its scan is that of the NumPy twin around compiled pieces: few cases show their fit."""
    if kernels.__name__.endswith("jit") and case != but:
        pytest.skip("Numba's pieces have tests of their own")


def everything(kernels, case, **options):
    """Outputs and gradients by name."""
    out = forward(kernels, case)
    grads = backward(kernels, case, out, output_gradients(out), **options)
    return {name: out[name] for name in OUTPUTS if out[name] is not None} | grads


def compare(found, expected, check=assert_close, *arguments):
    assert found.keys() == expected.keys()
    for name in expected:
        check(found[name], expected[name], *arguments, name=name)


# --- values and gradients -------------------------------------------------------------------


def naive(case):
    """Row by row and step by step, with nothing but the equations."""

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    weight_ih, weight_hh, bias_ih, bias_hh = case.weights
    begins = case.offsets
    results = {}
    for row in range(len(case.h0)):
        begin, end = case.source_offsets[case.sources[row] :][:2]
        keys, values = case.keys[begin:end], case.values[begin:end]

        def attend(h, keys=keys, values=values):
            q = h if case.query_weight is None else case.query_weight @ h
            scores = keys @ q if case.v is None else np.tanh(keys + q) @ case.v
            exps = np.exp(scores)
            weights = exps / exps.sum() if len(keys) else exps
            return weights, weights @ values

        h = case.h0[row]
        c = None if case.c0 is None else case.c0[row]
        fed = None if case.fed0 is None else case.fed0[row]
        for t in range(len(begins) - 1):
            if begins[t] + row >= begins[t + 1]:
                break
            token = begins[t] + row
            if case.fed0 is None:
                weights, context = attend(h)
                fed = context
            zi = weight_ih @ np.concatenate([case.x[token], fed]) + bias_ih
            zh = weight_hh @ h + bias_hh
            if case.cell == "lstm":
                i, f, g, o = np.split(zi + zh, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            else:
                (ri, zi_, ni), (rh, zh_, nh) = np.split(zi, 3), np.split(zh, 3)
                r, z = sigmoid(ri + rh), sigmoid(zi_ + zh_)
                n = ni + r * nh
                if not case.option:
                    size = len(h)
                    n = ni + weight_hh[2 * size :] @ (r * h) + bias_hh[2 * size :]
                h = (1 - z) * np.tanh(n) + z * h
            if case.fed0 is not None:
                weights, context = attend(h)
                fed = np.tanh(case.output[0] @ np.concatenate([context, h]) + case.output[1])
            results[token] = (np.concatenate([context, h]), weights, fed)
    tokens = range(len(case.x))
    attended = np.array([results[n][0] for n in tokens])
    alignments = [results[n][1] for n in tokens]
    return attended, alignments, np.array([results[n][2] for n in tokens])


@all_cells
@all_scores
@both_queries
def test_forward_computes_the_equations(kernels, cell, score, query):
    skip_most_on_numba(kernels, score, but=("dot",))
    case = make_case(cell, score, query)
    out = forward(kernels, case)
    attended, alignments, fed = naive(case)
    assert_close(out["attended"], attended)
    for found, expected in zip(out["alignments"], alignments, strict=True):
        assert_close(found[: len(expected)], expected)
        assert not found[len(expected) :].any()
    assert_close(fed, out["inputs"][:, 2:] if case.fed0 is None else out["y"])


@all_cells
@all_scores
@both_queries
@all_lengths
def test_gradients_are_central_differences(kernels, cell, score, query, lengths):
    skip_most_on_numba(kernels, score, lengths["lengths"], but=("additive", (3, 2, 2, 0)))
    if kernels is reference and lengths is not LENGTHS["ragged"]:
        pytest.skip("the NumPy twin has no paths of its own for other lengths")
    case = make_case(cell, score, query, **lengths)
    heads = output_gradients(forward(kernels, case))

    def loss():
        out = forward(kernels, case)
        return sum((out[name] * head).sum() for name, head in heads.items())

    grads = backward(kernels, case, forward(kernels, case), heads)
    inputs = case.inputs()
    assert grads.keys() == inputs.keys()
    names = list(inputs)
    check_gradients(loss, [inputs[n] for n in names], [grads[n] for n in names], tolerance=1e-8)


@all_cells
@all_scores
@both_queries
@both_dtypes
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_equals_the_numpy_twin(compiled_kernels, cell, score, query, dtype, bias):
    skip_most_on_numba(compiled_kernels, score, dtype, bias, but=("additive", np.float64, True))
    case = make_case(cell, score, query, **BIG, sizes=(5, 20, 17, 33), dtype=dtype, bias=bias)
    found, expected = everything(compiled_kernels, case), everything(reference, case)
    compare(found, expected, assert_close, TOLERANCE[dtype])


@all_cells
@both_queries
def test_inference_equals_training(kernels, cell, query):
    case = make_case(cell, "additive", query)
    expected = forward(kernels, case)
    found = forward(kernels, case, training=False)
    for name in OUTPUTS:
        if expected[name] is not None:
            assert_identical(found[name], expected[name], name=name)


@all_scores
@both_queries
def test_gradients_accumulate(kernels, score, query):
    case = make_case("lstm", score, query)
    plain, started = everything(kernels, case), everything(kernels, case, start=2.0)
    for name, gradient in plain.items():
        added = 0 if name in ("x", "h0", "c0", "fed0", *OUTPUTS) else 2
        assert_close(started[name], gradient + added, name=name)
    without = everything(kernels, case, need_dx=False)
    plain.pop("x")
    compare(without, plain, assert_identical)


@both_queries
def test_weights_are_those_of_attention_at_once(kernels, query):
    case = make_case("gru", "additive", query)
    out = forward(kernels, case)
    rows = [n - begin for begin, end in itertools.pairwise(case.offsets) for n in range(begin, end)]
    queries = states_that_asked(case, out) @ case.query_weight.T
    sources = case.sources[rows]
    at_once = Memory(queries, case.keys, case.values, case.v, sources, case.source_offsets)
    weights, context = attend_at_once(kernels, at_once)
    assert_close((out["alignments"], out["attended"][:, :4]), (weights, context))


@both_queries
def test_rows_may_share_a_source(kernels, query):
    case = make_case("lstm", "additive", query, lengths=(2, 2, 2), source_lengths=(3, 4))
    case.sources = np.array([1, 0, 1])
    out = forward(kernels, case)
    assert_close(out["attended"], naive(case)[0])


@both_queries
def test_without_tokens(kernels, query):
    case = make_case("lstm", "additive", query, lengths=(0, 0), source_lengths=(2, 3))
    out = forward(kernels, case)
    heads = output_gradients(out)
    grads = backward(kernels, case, out, heads)
    assert_identical((out["h_n"], out["c_n"]), (case.h0, case.c0))
    assert_identical((grads["h0"], grads["c0"]), (heads["h_n"], heads["c_n"]))
    assert not any(grads[name].any() for name in ("keys", "values", "weight_ih"))


@pytest.mark.parametrize("cell", ["foo", "rnn"])
def test_a_cell_without_kernels_is_refused(kernels, cell):
    case = make_case("gru")
    out = forward(kernels, case)
    case.cell = cell
    with pytest.raises(ValueError, match=f"no cell '{cell}'"):
        run(kernels, case, out)


# --- what only the Cython kernels promise ---------------------------------------------------


@all_cells
@all_scores
@both_queries
def test_cython_results_do_not_depend_on_threads(cython_kernels, cell, score, query):
    lengths = [30] * 8 + [17, 16, 3, 2, 1, 0]
    case = make_case(
        cell,
        score,
        query,
        lengths=lengths,
        source_lengths=[(7 * i) % 31 for i in range(len(lengths))],
        sizes=(50, 64, 70, 80),
        dtype=np.float32,
    )
    cython_kernels.set_num_threads(1)
    expected = everything(cython_kernels, case)
    inference = forward(cython_kernels, case, training=False)
    for threads in (2, 3, 7):
        cython_kernels.set_num_threads(threads)
        compare(everything(cython_kernels, case), expected, assert_identical)
        assert_identical(
            forward(cython_kernels, case, training=False)["attended"], inference["attended"]
        )


@all_cells
@both_queries
@pytest.mark.parametrize("threads", [1, 3])
def test_cython_steps_of_more_rows_than_a_chunk(cython_kernels, cell, query, threads):
    lengths = [3] * 700 + [1] * 100
    sources = [i % 4 for i in range(len(lengths))]
    case = make_case(
        cell, "projected", query, lengths=lengths, source_lengths=sources, sizes=(5, 64, 7, 6)
    )
    cython_kernels.set_num_threads(threads)
    compare(everything(cython_kernels, case), everything(reference, case))


@all_cells
@all_scores
@both_queries
@both_dtypes
def test_cython_rows_do_not_depend_on_their_company(cython_kernels, cell, score, query, dtype):
    case = make_case(cell, score, query, **BIG, sizes=(5, 20, 17, 33), dtype=dtype)
    out = forward(cython_kernels, case)
    for row in range(len(BIG["lengths"])):
        alone, tokens = row_of(case, row, BIG["lengths"])
        found = forward(cython_kernels, alone, longest=out["alignments"].shape[1])
        for name in ("attended", "alignments", "y"):
            if out[name] is not None:
                assert_identical(found[name], out[name][tokens], name=name)
        assert_identical(found["h_n"], out["h_n"][[row]])


@pytest.mark.parametrize("isa", ISAS)
@all_cells
@both_queries
@both_dtypes
def test_cython_every_isa_at_awkward_sizes(cython_kernels, isa, cell, query, dtype):
    force_isa(cython_kernels, isa)
    for size in (1, 3, 16, 17, 40, 65):
        for score in SCORES:
            case = make_case(
                cell,
                score,
                query,
                lengths=(3, 3, 2, 1),
                source_lengths=(size, 2, 5, 0),
                sizes=(size % 7 + 1, size, 66 - size, size + 1),
                dtype=dtype,
            )
            found, expected = everything(cython_kernels, case), everything(reference, case)
            compare(found, expected, assert_close, TOLERANCE[dtype])
