"""Attention in the kernels: right values and gradients, equal backends."""

import numpy as np
import pytest
from attention_cases import attend, attend_back, make_memory, output_gradients
from helpers import assert_close, assert_identical
from layer_cases import check_gradients
from test_kernels import ISAS, both_dtypes, force_isa

from fastseq import reference

LENGTHS = [(3, 5), (4, 0, 1, 7), (1,), (0,)]
all_lengths = pytest.mark.parametrize("lengths", LENGTHS, ids=str)
both_scores = pytest.mark.parametrize("additive", [True, False], ids=["additive", "dot"])


def naive(case):
    """One query and one position at a time, in float64."""
    weights = np.zeros((len(case.query), case.longest))
    context = np.zeros((len(case.query), case.values.shape[1]))
    for n, source in enumerate(case.sources):
        scores = []
        begin, end = case.source_offsets[source : source + 2]
        for key in case.keys[begin:end].astype(np.float64):
            if case.v is None:
                scores.append(sum(case.query[n] * key))
            else:
                scores.append(sum(case.v * np.tanh(case.query[n] + key)))
        exps = np.exp(np.array(scores) - max(scores, default=0))
        weights[n, : end - begin] = exps / exps.sum()
        for w, value in zip(weights[n], case.values[begin:end], strict=False):
            context[n] += w * value
    return weights.astype(case.keys.dtype), context.astype(case.keys.dtype)


def loss(kernels, case, d_weights, d_context):
    weights, context = attend(kernels, case)
    return (weights * d_weights).sum() + (context * d_context).sum()


def everything(kernels, case, *, with_d_weights=True):
    """Outputs and gradients, in one order."""
    weights, context = attend(kernels, case)
    d_weights, d_context = output_gradients(weights, context)
    d_weights = d_weights if with_d_weights else None
    return weights, context, *attend_back(kernels, case, weights, d_weights, d_context).values()


# --- values and gradients -------------------------------------------------------------------


@all_lengths
@both_scores
@both_dtypes
def test_forward_computes_the_equations(kernels, lengths, additive, dtype):
    case = make_memory(lengths, 6, additive=additive, dtype=dtype)
    assert_close(attend(kernels, case), naive(case))


@all_lengths
@both_scores
def test_gradients_are_central_differences(kernels, lengths, additive):
    case = make_memory(lengths, 5, additive=additive)
    weights, context = attend(kernels, case)
    heads = output_gradients(weights, context)
    grads = attend_back(kernels, case, weights, *heads)
    check_gradients(
        lambda: loss(kernels, case, *heads), case.inputs().values(), grads.values(), tolerance=1e-8
    )


@pytest.mark.parametrize("shift", [12.0, 100.0, -300.0])
def test_gradients_where_tanh_is_saturated_but_in_sum(kernels, shift):
    """Large queries and keys that cancel out: exponentials of either alone would overflow."""
    case = make_memory((3, 4), 5)
    plain = everything(kernels, case)
    case.query += shift
    case.keys -= shift
    assert_close(everything(kernels, case), plain, 1e-11)


@both_dtypes
@pytest.mark.parametrize("scale", [9.0, 30.0, 1e4])
def test_large_numbers(kernels, dtype, scale):
    case = make_memory((3, 4), 5, dtype=dtype)
    case.query *= dtype(scale)
    case.keys *= dtype(scale)
    assert_close(attend(kernels, case), naive(case), 1e-5 if dtype is np.float32 else 1e-13)
    assert all(np.isfinite(array).all() for array in everything(kernels, case))


@both_dtypes
def test_keys_may_be_large_where_queries_are_small(kernels, dtype):
    """Exponentials of these keys alone would overflow."""
    case = make_memory((3, 4), 5, dtype=dtype)
    case.keys *= dtype(1000)
    found = everything(kernels, case)
    assert_close(found[:2], naive(case))
    assert_close(found, everything(reference, case), 1e-5 if dtype is np.float32 else 1e-12)


@both_scores
@both_dtypes
@pytest.mark.parametrize("with_d_weights", [True, False], ids=["d_weights", "none"])
def test_equals_the_numpy_twin(compiled_kernels, additive, dtype, with_d_weights):
    for lengths, queries, sizes in [((9, 17, 0, 30), 50, (33, 20)), ((5,), 1, (64, 64))]:
        case = make_memory(lengths, queries, sizes=sizes, additive=additive, dtype=dtype)
        found, expected = (
            everything(module, case, with_d_weights=with_d_weights)
            for module in (compiled_kernels, reference)
        )
        assert_close(found, expected, 1e-5 if dtype is np.float32 else 1e-12)


@both_scores
def test_gradients_accumulate_but_for_the_query(kernels, additive):
    case = make_memory((3, 0, 5), 7, additive=additive)
    weights, context = attend(kernels, case)
    heads = output_gradients(weights, context)
    plain = attend_back(kernels, case, weights, *heads)
    started = attend_back(kernels, case, weights, *heads, start=2.0)
    for name, gradient in plain.items():
        assert_close(started[name], gradient + (0 if name == "query" else 2), name=name)


@both_scores
def test_room_past_the_longest_source_becomes_zero(kernels, additive):
    case = make_memory((3, 5), 4, additive=additive)
    weights, context = attend(kernels, case)
    wide, same = attend(kernels, case, longest=9)
    assert_identical((wide[:, :5], same), (weights, context))
    assert not wide[:, 5:].any()


@both_scores
def test_an_empty_source_gives_nothing(kernels, additive):
    case = make_memory((0, 2), 4, additive=additive)
    case.sources[:] = [0, 1, 0, 1]
    weights, context, d_query, *_ = everything(kernels, case)
    for array in (weights, context, d_query):
        assert not array[[0, 2]].any() and array[[1, 3]].any()


@both_scores
def test_without_queries(kernels, additive):
    *outputs, d_query, d_keys, d_values = everything(
        kernels, make_memory((2, 3), 0, additive=additive)
    )[:5]
    assert len(outputs[0]) == len(d_query) == 0
    assert not d_keys.any() and not d_values.any()


@both_scores
def test_read_only_inputs(kernels, additive):
    case = make_memory((3, 5), 4, additive=additive)
    expected = everything(kernels, case)
    for array in (*case.inputs().values(), case.sources, case.source_offsets):
        array.flags.writeable = False
    assert_identical(everything(kernels, case), expected)


@both_scores
@both_dtypes
def test_nan_stays_in_its_source(kernels, additive, dtype):
    case = make_memory((3, 5), 8, additive=additive, dtype=dtype)
    case.sources[:] = [0, 1] * 4
    case.keys[1, 0] = np.nan
    weights, context = attend(kernels, case)
    assert np.isnan(weights[::2, :3]).all() and np.isnan(context[::2]).all()
    assert np.isfinite(weights[1::2]).all() and np.isfinite(context[1::2]).all()


# --- what only the Cython kernels promise ---------------------------------------------------


@both_scores
@both_dtypes
def test_cython_results_do_not_depend_on_threads(cython_kernels, additive, dtype):
    case = make_memory((30, 0, 41, 1, 60), 300, sizes=(70, 90), additive=additive, dtype=dtype)
    cython_kernels.set_num_threads(1)
    expected = everything(cython_kernels, case)
    for threads in (2, 3, 7):
        cython_kernels.set_num_threads(threads)
        assert_identical(everything(cython_kernels, case), expected)


@both_scores
@both_dtypes
def test_cython_queries_do_not_depend_on_their_company(cython_kernels, additive, dtype):
    case = make_memory((7, 12, 3), 9, sizes=(37, 21), additive=additive, dtype=dtype)
    weights, context = attend(cython_kernels, case)
    for n in range(9):
        alone = attend(cython_kernels, case.of_queries([n]), longest=12)
        assert_identical(alone, (weights[n : n + 1], context[n : n + 1]))


@pytest.mark.parametrize("isa", ISAS)
@both_scores
@both_dtypes
def test_cython_every_isa_at_awkward_sizes(cython_kernels, isa, additive, dtype):
    force_isa(cython_kernels, isa)
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    for size in [*range(1, 10), 15, 16, 17, 31, 33, 64, 65, 130]:
        sizes = size, 131 - size
        case = make_memory((size, 2, 0, 5), 7, sizes=sizes, additive=additive, dtype=dtype)
        found, expected = everything(cython_kernels, case), everything(reference, case)
        assert_close(found, expected, tolerance, name=f"size {size}")
    test_nan_stays_in_its_source(cython_kernels, additive, dtype)
