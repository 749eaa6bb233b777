"""The kernels of every backend: right gradients, equal backends, and what each one promises.

Layers and their equivalences are tested elsewhere; here the kernels are called directly.
"""

import __future__

import ctypes
import importlib
import inspect
import mmap
import os
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType, WrapperDescriptorType

import helpers
import naive
import numpy as np
import pytest
from helpers import (
    CELL_IDS,
    CELLS,
    DIRECTION_IDS,
    DIRECTIONS,
    LENGTH_IDS,
    LENGTHS,
    assert_close,
    assert_identical,
    assert_same_gradients,
    assert_same_outputs,
    backward,
    forward,
    load_kernels,
    make_case,
    output_gradients,
)

import fastseq
from fastseq import reference, stack

all_cells = pytest.mark.parametrize(("cell", "option"), CELLS, ids=CELL_IDS)
all_directions = pytest.mark.parametrize("reverse", DIRECTIONS, ids=DIRECTION_IDS)
all_lengths = pytest.mark.parametrize("lengths", LENGTHS, ids=LENGTH_IDS)
with_and_without_bias = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])


# --- the contract ---------------------------------------------------------------------------

# What the extension offers besides: the choice of an instruction set, what pack_weights gives, and
# memory that is kept.
OF_THE_EXTENSION = {"available_isas", "isa", "set_isa", "PackedWeights"}
OF_THE_EXTENSION |= {"reserve_memory", "free_memory"}


def load_stub(name):
    """An extension's stub, which is Python with empty bodies, as one more module."""
    path = Path(fastseq.__file__).with_name(f"{name}.pyi")
    flags = __future__.annotations.compiler_flag  # a class's own name isn't known within it
    module = ModuleType(name)
    exec(compile(path.read_text(), path, "exec", flags, dont_inherit=True), module.__dict__)
    return module


def own_names(module):
    """Public names of the functions and classes that a module itself defines."""
    return {
        name
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", None) == module.__name__
    }


def parameters(function):
    return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]


def methods(kind):
    """A class's methods by name, its way to be made and to be called among them."""
    return {
        name: method
        for name, method in inspect.getmembers(kind, inspect.isroutine)
        if name in ("__init__", "__call__") or name[0] != "_"
    }


def assert_same_signature(actual, expected, name):
    if not inspect.isclass(expected):
        assert parameters(actual) == parameters(expected), name
        return
    actual, expected = methods(actual), methods(expected)
    assert actual.keys() == expected.keys(), name
    for method in expected:
        if not isinstance(actual[method], WrapperDescriptorType):  # Cython's: called below
            assert_same_signature(actual[method], expected[method], f"{name}.{method}")


@pytest.mark.parametrize("name", reference.__all__)
def test_signatures_are_equal(name, compiled_kernels):
    assert_same_signature(getattr(compiled_kernels, name), getattr(reference, name), name)


def test_backends_offer_the_contract_and_nothing_else():
    assert sorted(load_kernels("numba").__all__) == sorted(reference.__all__)
    assert own_names(load_kernels("cython")) == OF_THE_EXTENSION.union(reference.__all__)


def test_layers_know_the_nonlinearities_of_the_contract():
    """Which they can't import: it is loaded only where it is chosen."""
    assert stack.NONLINEARITIES == reference.NONLINEARITIES


@pytest.mark.parametrize("name", ["_kernels", "_word2vec"])
def test_the_stub_tells_what_the_extension_is(name):
    stub, extension = load_stub(name), pytest.importorskip(f"fastseq.{name}")
    assert own_names(stub) == own_names(extension)
    for own in own_names(stub):
        assert_same_signature(getattr(extension, own), getattr(stub, own), own)
    for own in set(reference.__all__) & own_names(stub):
        assert_same_signature(getattr(stub, own), getattr(reference, own), own)


def test_classes_take_the_contracts_arguments_by_name(kernels):
    """Those of extension types can't be inspected."""
    case = make_case("gru", True, lengths=(1, 1), input_size=2, hidden_size=2)
    (weights,), x, h = case.weights, case.x, case.h0
    packed = kernels.pack_weights(cell="gru", option=True, weights=case.weights)
    stepper = kernels.Stepper(cell="gru", weights=packed, option=True, h=h.copy(), c=None)
    expected = stepper(x=x).copy()
    assert_identical(stepper.over(h=h.copy(), c=None)(x=x), expected)
    weight_ih, _, bias_ih, _ = weights
    out = np.full((2, len(weight_ih)), np.nan)
    kernels.RowMultiplier(weight=weight_ih, bias=bias_ih)(x=x, out=out)
    assert_close(out, x @ weight_ih.T + bias_ih)
    memory, offsets, state = np.ones((2, 2)), np.array([0, 1, 2]), h[0].copy()
    decoder = kernels.DecoderStepper(
        cell="gru",
        option=True,
        weights=weights,
        attention=(memory, memory, None, offsets, None),
        output=(np.eye(2, 4), None),
        feeds=None,
    )
    y, alignments = np.empty((2, 2)), np.empty((2, 1))
    sources = np.array([0, 1])
    decoder.copy()(x=x, sources=sources, h=state, c=None, fed=None, y=y, alignments=alignments)
    assert_close(state, expected)
    assert_close(y, np.full((2, 2), np.tanh(1.0)))


def test_a_cell_without_kernels_is_refused(kernels):
    case = make_case("gru", True, lengths=(1, 1))
    with pytest.raises(ValueError, match="no cell 'foo'"):
        weights = kernels.pack_weights("foo", True, case.weights)
        kernels.Stepper("foo", weights, True, case.h0, None)(case.x)


# --- results --------------------------------------------------------------------------------

# Some of them are recycled, some have many axes.
RESULT_SHAPES = [(), (0, 3), (3, 5), (100, 300), (3, 1, 256, 512), (1,) * 7 + (9, 9000), (1,) * 32]


@both_dtypes
@pytest.mark.parametrize("shape", RESULT_SHAPES, ids=str)
def test_empty_is_an_array_to_write_to(kernels, shape, dtype):
    array = kernels.empty(shape, np.dtype(dtype))
    assert array.shape == shape and array.dtype == dtype
    assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
    array[...] = 1
    assert array.sum() == array.size


def test_a_view_keeps_a_results_memory(kernels):
    """New arrays are taken while earlier ones are held, in whole or in part, or gone."""
    rng, held = np.random.default_rng(0), []
    for number in range(200):
        array = kernels.empty((int(rng.integers(100, 300)), 256), np.dtype(np.float32))
        array[...] = number
        held.append((number, array[5:][::2]))
        if len(held) > 20:
            del held[rng.integers(20)]
    for number, view in held:
        assert (view == number).all()


def test_results_of_threads_are_their_own(kernels):
    def fill(number):
        for rows in [200, 300] * 50:
            array = kernels.empty((rows, 128), np.dtype(np.float64))
            array[...] = number
            assert (array == number).all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(8)))


def test_results_are_traced_as_numpys_arrays_are(kernels):
    tracemalloc.start()
    try:
        array = kernels.empty((1000, 1000), np.dtype(np.float32))
        held = tracemalloc.take_snapshot()
        del array
        freed = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    numpys = [tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)]
    sizes = [sum(t.size for t in s.filter_traces(numpys).traces) for s in (held, freed)]
    assert sizes[0] - sizes[1] == 4e6


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="nothing is kept then")
def test_a_result_takes_kept_memory_larger_by_at_most_a_quarter(cython_kernels):
    def address_of(megabytes):
        return cython_kernels.empty((megabytes, 1 << 18), np.dtype(np.float32)).ctypes.data

    cython_kernels.free_memory()
    kept = address_of(16)
    assert address_of(13) == kept == address_of(16)
    assert address_of(12) != kept != address_of(1)
    cython_kernels.free_memory()


@pytest.mark.parametrize("shape", [(2**40, 2**20), (2**20, -1)], ids=str)
def test_an_impossible_result_is_refused(kernels, shape):
    with pytest.raises((MemoryError, ValueError)):
        kernels.empty(shape, np.dtype(np.float64))


@pytest.mark.parametrize("rows", [10, 1000])
def test_a_result_is_an_array_like_any_other(kernels, rows):
    """Small or recycled: it owns its data, can be locked and unlocked, and resized."""
    array = kernels.empty((rows, 100), np.dtype(np.float32))
    array[...] = np.arange(rows)[:, None]
    assert array.flags.owndata and array.base is None
    array.flags.writeable = False
    array.flags.writeable = True
    for size in (rows // 2, 2 * rows, 20 * rows):
        array.resize((size, 100), refcheck=False)
        assert array.nbytes == 400 * size and sys.getsizeof(array) > array.nbytes
        np.testing.assert_array_equal(array[: rows // 2, 7], np.arange(rows // 2))


# --- padded batches -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lengths, order, offsets",
    [
        ([4, 2, 1], [0, 1, 2], [0, 3, 5, 6, 7]),
        ([1, 0, 4, 1], [2, 0, 3, 1], [0, 3, 4, 5, 6]),  # equal ones stay in their order
        ([2, 0, 2], [0, 2, 1], [0, 2, 4, 4, 4]),  # nothing beyond the longest
        ([0, 0], [0, 1], [0, 0, 0, 0, 0]),
        ([], [], [0, 0, 0, 0, 0]),
    ],
)
def test_sort_lengths(kernels, lengths, order, offsets):
    lengths = np.array(lengths, np.int64)
    found_order, found_offsets = np.full(len(lengths), -1), np.full(5, -1)
    kernels.sort_lengths(lengths, found_order, found_offsets)
    assert found_order.tolist() == order
    assert found_offsets.tolist() == offsets


@both_dtypes
@pytest.mark.parametrize("size", [1, 3, 16, 21, 40])
def test_gather_and_scatter(kernels, size, dtype):
    padded = np.arange(3 * 4 * size, dtype=dtype).reshape(3, 4, size) + 1
    order, offsets = np.array([2, 0, 3, 1]), np.array([0, 3, 4])
    tokens, back = np.full((4, size), np.nan, dtype), np.full_like(padded, np.nan)
    kernels.gather(padded, order, offsets, tokens)
    assert_identical((tokens,), (padded[[0, 0, 0, 1], [2, 0, 3, 2]],))
    kernels.scatter(tokens, order, offsets, back)
    real = np.zeros((3, 4, 1), bool)
    real[0, [2, 0, 3]] = real[1, 2] = True
    assert_identical((back,), (np.where(real, padded, 0).astype(dtype),))


@both_dtypes
def test_gather_and_scatter_of_all_rows(kernels, dtype):
    """States, (L * D, B, H): without offsets."""
    states = np.random.default_rng(0).standard_normal((2, 5, 19)).astype(dtype)
    order = np.array([3, 0, 4, 1, 2])
    ordered, back = np.full_like(states, np.nan), np.full_like(states, np.nan)
    kernels.gather(states, order, None, ordered)
    kernels.scatter(ordered, order, None, back)
    assert_identical((ordered, back), (states[:, order], states))


def test_sort_lengths_agrees_on_many_rows(compiled_kernels):
    lengths = np.random.default_rng(0).integers(0, 301, 1000)
    pairs = [(np.empty(1000, np.int64), np.empty(302, np.int64)) for _ in range(2)]
    for module, pair in zip((reference, compiled_kernels), pairs, strict=True):
        module.sort_lengths(lengths, *pair)
    for expected, found in zip(*pairs, strict=True):
        np.testing.assert_array_equal(found, expected)


# --- tables of which a batch uses some rows -------------------------------------------------


def make_rows(count, width, dtype):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((count, width)).astype(dtype)
    return rows, rng.integers(-1, 9, count), np.ones((9, width), dtype)


@both_dtypes
@pytest.mark.parametrize("sizes", [(5, 3, 7), (1, 1, 1), (0, 4, 5), (50, 700, 130)], ids=str)
def test_multiply_rows(kernels, sizes, dtype):
    rows, inputs, outputs = sizes
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, inputs)).astype(dtype)
    weight = rng.standard_normal((outputs, inputs)).astype(dtype)
    out = np.full((rows, outputs), np.nan, dtype)
    kernels.multiply_rows(x, weight, None, out)
    expected = np.einsum("ni,oi->no", x.astype(np.float64), weight.astype(np.float64))
    assert_close(out, expected.astype(dtype))
    bias = rng.standard_normal(outputs).astype(dtype)
    kernels.multiply_rows(x, np.asfortranarray(weight), bias, out)
    assert_close(out, (expected + bias).astype(dtype))
    wider = np.concatenate([weight, weight], axis=1)
    kernels.multiply_rows(x, wider[:, inputs:], None, out, True)
    assert_close(out, (2 * expected + bias).astype(dtype))


@both_dtypes
@pytest.mark.parametrize("sizes", [(5, 3, 7), (1, 1, 1), (0, 4, 5), (400, 70, 130)], ids=str)
def test_products_of_columns_of_wider_arrays(kernels, sizes, dtype):
    rows, inputs, outputs = sizes
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((rows, n + 3)).astype(dtype) for n in (inputs, outputs))
    weight = rng.standard_normal((outputs, inputs)).astype(dtype)
    kept, own_x, own_y = y.copy(), x[:, 1:-2], y[:, 2:-1]
    d_weight = np.zeros_like(weight)
    kernels.add_linear_gradients(own_y, own_x, d_weight, None)
    expected = own_y.astype(np.float64).T @ own_x.astype(np.float64)
    assert_close(d_weight, expected.astype(dtype))
    kernels.multiply_rows(own_x, weight, None, own_y)
    expected = own_x.astype(np.float64) @ weight.astype(np.float64).T
    assert_close(own_y, expected.astype(dtype))
    assert_identical(y[:, [0, 1, -1]], kept[:, [0, 1, -1]])


@both_dtypes
@pytest.mark.parametrize("sizes", [(5, 3, 7), (1, 1, 1), (0, 4, 5), (50, 300, 130)], ids=str)
def test_row_multiplier(kernels, sizes, dtype):
    rows, inputs, outputs = sizes
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, inputs)).astype(dtype)
    weight = rng.standard_normal((outputs, inputs)).astype(dtype)
    bias = rng.standard_normal(outputs).astype(dtype)
    for now, layout in ((bias, np.ascontiguousarray), (None, np.asfortranarray)):
        expected, out = (np.full((rows, outputs), np.nan, dtype) for _ in range(2))
        kernels.multiply_rows(x, weight, now, expected)
        own, own_bias = layout(weight).copy(order="A"), None if now is None else now.copy()
        multiply = kernels.RowMultiplier(own, own_bias)
        own[...] = np.nan  # it keeps the weights of the moment when it was made
        if own_bias is not None:
            own_bias[...] = np.nan
        multiply(x, out)
        assert_close(out, expected)


def test_cython_row_multipliers_take_their_memory_once(cython_kernels):
    x, out = np.ones((3, 20), np.float32), np.empty((3, 40), np.float32)
    multiply = cython_kernels.RowMultiplier(np.ones((40, 20), np.float32), None)
    multiply.__init__(np.zeros((40, 20), np.float32), None)  # has nothing to do any more
    multiply(x, out)
    assert (out == 20).all()
    with pytest.raises(TypeError, match="argument"):
        cython_kernels.RowMultiplier.__new__(cython_kernels.RowMultiplier)


@both_dtypes
@pytest.mark.parametrize("columns", [300, 65])  # split by columns, by rows
def test_cython_row_multiplier_gives_the_same_bits(cython_kernels, columns, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((210, 700)).astype(dtype)
    weight = rng.standard_normal((columns, 700)).astype(dtype)
    bias = rng.standard_normal(columns).astype(dtype)
    multiply, expected = cython_kernels.RowMultiplier(weight, bias), np.empty((210, columns), dtype)
    cython_kernels.multiply_rows(x, weight, bias, expected)
    for rows in (1, 2, 7, 210):
        for threads in (1, 3):
            cython_kernels.set_num_threads(threads)
            out = np.empty((rows, columns), dtype)
            multiply(x[:rows].copy(), out)
            assert_identical(out, expected[:rows])


@both_dtypes
@pytest.mark.parametrize("columns", [300, 65])  # split by columns, by rows
def test_cython_multiply_rows_does_not_depend_on_other_rows(cython_kernels, columns, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((210, 700)).astype(dtype)
    weight = rng.standard_normal((columns, 700)).astype(dtype)
    bias = rng.standard_normal(columns).astype(dtype)
    expected = np.empty((210, columns), dtype)
    cython_kernels.multiply_rows(x, weight, bias, expected)
    for rows in (1, 2, 7, 209):
        for threads in (1, 3):
            cython_kernels.set_num_threads(threads)
            out = np.empty((rows, columns), dtype)
            cython_kernels.multiply_rows(x[:rows].copy(), weight, bias, out)
            assert_identical(out, expected[:rows])


@both_dtypes
@pytest.mark.parametrize(
    "sizes", [(5, 3, 7), (1, 1, 1), (0, 4, 5), (4, 5, 64), (300, 70, 130), (513, 2, 65)], ids=str
)
def test_add_linear_gradients(kernels, sizes, dtype):
    rows, inputs, outputs = sizes
    rng = np.random.default_rng(0)
    dy = rng.standard_normal((rows, outputs)).astype(dtype)
    x = rng.standard_normal((rows, inputs)).astype(dtype)
    for d_bias in (np.full(outputs, 2, dtype), None):
        wider = np.ones((outputs, inputs + 3), dtype)
        d_weight = wider[:, 3:] if d_bias is None else np.ones((outputs, inputs), dtype)
        kernels.add_linear_gradients(dy, x, d_weight, d_bias)
        expected = 1 + np.einsum("no,ni->oi", dy.astype(np.float64), x.astype(np.float64))
        assert_close(d_weight, expected.astype(dtype))
        if d_bias is not None:
            assert_close(d_bias, (2 + dy.sum(axis=0, dtype=np.float64)).astype(dtype))
        assert (wider[:, :3] == 1).all()


@both_dtypes
def test_cython_linear_gradients_do_not_depend_on_threads(cython_kernels, dtype):
    rng = np.random.default_rng(0)
    dy = rng.standard_normal((700, 200)).astype(dtype)
    x = rng.standard_normal((700, 90)).astype(dtype)
    results = []
    for threads in (1, 2, 3):
        cython_kernels.set_num_threads(threads)
        results.append((np.zeros((200, 90), dtype), np.zeros(200, dtype)))
        cython_kernels.add_linear_gradients(dy, x, *results[-1])
        assert_identical(results[-1], results[0])


@both_dtypes
@pytest.mark.parametrize("shape", [(40, 7), (3, 1), (0, 5), (1, 33)])
def test_add_rows(kernels, shape, dtype):
    rows, places, out = make_rows(*shape, dtype)
    expected = out.copy()
    for row, place in zip(rows, places, strict=True):
        if place >= 0:
            expected[place] += row
    for array in (rows, places):
        array.flags.writeable = False
    kernels.add_rows(rows, places, out)
    assert_identical(out, expected)


@pytest.mark.parametrize("width", [700, 701])
def test_cython_add_rows_on_threads(cython_kernels, width):
    rows, places, expected = make_rows(1500, width, np.float32)
    cython_kernels.set_num_threads(1)
    cython_kernels.add_rows(rows, places, expected)
    for threads in (2, 3, 4):
        cython_kernels.set_num_threads(threads)
        _, _, out = make_rows(1500, width, np.float32)
        cython_kernels.add_rows(rows, places, out)
        assert_identical(out, expected)


# --- forward: the NumPy twin against the equations, the others against the NumPy twin -------


def run_naively(case):
    """Outputs by :mod:`naive`, row by row and direction by direction."""
    directions, batch, hidden = case.h0.shape
    y, h_n = np.empty((len(case.x), directions * hidden)), np.empty(case.h0.shape)
    c_n = None if case.c0 is None else np.empty(case.h0.shape)
    for d, row in np.ndindex(directions, batch):
        tokens = helpers.row_tokens(case.offsets, row)
        tokens = tokens[::-1] if case.reverse[d] else tokens
        state = (case.h0[d, row],) if c_n is None else (case.h0[d, row], case.c0[d, row])
        ys, state = naive.run_sequence(
            case.cell, case.option, case.x[tokens], state, case.weights[d]
        )
        for token, values in zip(tokens, ys, strict=True):
            y[token, d * hidden : (d + 1) * hidden] = values
        h_n[d, row] = state[0]
        if c_n is not None:
            c_n[d, row] = state[1]
    return helpers.Outputs(y, h_n, c_n, None, None)


@all_cells
@all_directions
@all_lengths
@with_and_without_bias
def test_forward_computes_the_equations(kernels, cell, option, reverse, lengths, bias):
    case = make_case(cell, option, lengths=lengths, reverse=reverse, bias=bias)
    assert_same_outputs(forward(kernels, case), run_naively(case))


@all_cells
@all_directions
def test_inference_equals_training(kernels, cell, option, reverse):
    case = make_case(cell, option, lengths=(5, 3, 1, 0), reverse=reverse, hidden_size=9)
    inference = forward(kernels, case, training=False)
    assert_same_outputs(inference, forward(kernels, case), assert_identical)


def assert_padded_equals_tokens(kernels, case, *, x, y):
    """With x, y or both in padded batches the results are the same, and y is 0 past the ends."""
    rows = case.h0.shape[1]
    order = np.random.default_rng(3).permutation(rows)
    expected = forward(kernels, case, training=False)
    unset = helpers.to_padded(np.full_like(expected.y, np.nan), case.offsets, order)
    padded_x = helpers.to_padded(case.x, case.offsets, order, batch_first=rows % 2)
    out = forward(
        kernels,
        case,
        training=False,
        x=(padded_x, order) if x else None,
        y=(unset, order) if y else None,
    )
    if y:
        real = helpers.to_padded(expected.y, case.offsets, order)
        assert_identical(unset, np.where(np.isnan(real), 0, real), name="padded y")
        out.y = expected.y
    assert_same_outputs(out, expected, assert_identical)


which_are_padded = pytest.mark.parametrize(
    "padded", [{"x": True, "y": False}, {"x": False, "y": True}, {"x": True, "y": True}], ids=str
)


@all_cells
@all_directions
@all_lengths
@which_are_padded
def test_padded_batches_are_tokens(kernels, cell, option, reverse, lengths, padded):
    case = make_case(cell, option, lengths=lengths, reverse=reverse, hidden_size=9)
    assert_padded_equals_tokens(kernels, case, **padded)


@all_cells
@all_directions
@all_lengths
@with_and_without_bias
@both_dtypes
def test_equals_the_numpy_twin(compiled_kernels, cell, option, reverse, lengths, bias, dtype):
    case = make_case(
        cell,
        option,
        lengths=lengths,
        reverse=reverse,
        bias=bias,
        dtype=dtype,
        input_size=7,
        hidden_size=19,
    )
    assert_parity(compiled_kernels, case)


@all_cells
@all_directions
@both_dtypes
@pytest.mark.parametrize("indices", [1, 2])
def test_indices_are_one_hot_rows(kernels, cell, option, reverse, dtype, indices):
    case = make_case(
        cell,
        option,
        lengths=(9, 5, 5, 1, 0),
        reverse=reverse,
        input_size=6,
        hidden_size=19,
        dtype=dtype,
        indices=indices,
    )
    out, expected_out = forward(kernels, case), forward(kernels, case.one_hot())
    assert_same_outputs(out, expected_out)
    d_out = output_gradients(case)
    gradients = backward(kernels, case, out, d_out)
    expected = backward(kernels, case.one_hot(), expected_out, d_out)
    for name, gradient in gradients.items():
        other = expected[name].T if "weight_ih" in name else expected[name]
        assert_close(gradient, other, name=name)


def assert_parity(kernels, case):
    """Outputs and gradients, the saved activations included, equal the NumPy twin's.

    Both go back from the same outputs: a relu's that is 0 but for rounding would tip otherwise.
    """
    out, expected_out = forward(kernels, case), forward(reference, case)
    assert_same_outputs(out, expected_out)
    if case.cell != "rnn":
        assert_close(out.gates, expected_out.gates, name="gates")
    d_out = output_gradients(case)
    gradients = backward(kernels, case, out, d_out, start=0.5)
    expected = backward(reference, case, out, d_out, start=0.5)
    assert_same_gradients(gradients, expected)


@all_cells
@pytest.mark.parametrize("indices", [0, 1, 2], ids=["tokens", "indices", "pairs"])
def test_no_tokens_at_all(kernels, cell, option, indices):
    case = make_case(cell, option, lengths=(0, 0), reverse=(False, True), indices=indices)
    out = forward(kernels, case)
    assert_identical(out.h_n, case.h0)
    dy, dh, dc = output_gradients(case)
    gradients = backward(kernels, case, out, (dy, dh, dc), start=2.0)
    assert_identical(gradients["h0"], dh)
    assert np.all(gradients["weight_hh[1]"] == 2.0)
    if cell == "lstm":
        assert_identical(out.c_n, case.c0)
        assert_identical(gradients["c0"], dc)


@all_cells
def test_read_only_inputs(kernels, cell, option):
    case = make_case(cell, option, lengths=(4, 2), reverse=(False, True))
    expected = forward(kernels, case)
    for array in [*case.inputs().values(), case.offsets]:
        array.flags.writeable = False
    assert_same_outputs(forward(kernels, case), expected, assert_identical)


@all_cells
def test_nan_stays_in_its_row(kernels, cell, option):
    case = make_case(cell, option, lengths=(4, 4, 4))
    case.x[1] = np.nan  # row 1 at its first step
    out = forward(kernels, case)
    assert np.isnan(out.y[1::3]).all()
    assert np.isfinite(out.y[0::3]).all() and np.isfinite(out.y[2::3]).all()


# --- backward: central differences ----------------------------------------------------------

STEP = 1e-5


def loss(kernels, case, d_out):
    """A number whose gradients with respect to y, h_n and c_n are ``d_out``."""
    out = forward(kernels, case, training=False)
    pairs = zip((out.y, out.h_n, out.c_n), d_out, strict=True)
    return sum(float((value * grad).sum()) for value, grad in pairs if grad is not None)


def central_difference(kernels, case, d_out, array):
    """d loss / d array, one element after the other."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + STEP
        above = loss(kernels, case, d_out)
        array[index] = value - STEP
        gradient[index] = (above - loss(kernels, case, d_out)) / (2 * STEP)
        array[index] = value
    return gradient


def smallest_preactivation(case):
    """How near any unit of an RNN comes to the kink of relu."""
    case = case.one_hot() if case.indices else case
    y = run_naively(case).y
    closest = np.inf
    hidden = case.h0.shape[2]
    for d, (w, u, b, b_hh) in enumerate(case.weights):
        h_before = reference._previous_states(
            y[:, d * hidden : (d + 1) * hidden], case.h0[d], case.offsets, case.reverse[d]
        )
        z = case.x @ w.T + h_before @ u.T + (0 if b is None else b + b_hh)
        closest = min(closest, np.abs(z).min())
    return closest


def smooth_case(cell, option, **sizes):
    """A case in which small steps don't cross relu's kink."""
    for seed in range(100):
        case = make_case(cell, option, seed=seed, **sizes)
        if option != "relu" or smallest_preactivation(case) > 100 * STEP:
            return case
    raise AssertionError("no seed keeps away from the kink")


@all_cells
@all_directions
@all_lengths
@with_and_without_bias
def test_gradients_are_central_differences(kernels, cell, option, reverse, lengths, bias):
    check_gradients(kernels, smooth_case(cell, option, lengths=lengths, reverse=reverse, bias=bias))


def check_gradients(kernels, case):
    d_out = output_gradients(case)
    gradients = backward(kernels, case, forward(kernels, case), d_out)
    assert gradients.keys() == case.inputs().keys()
    for name, array in case.inputs().items():
        expected = central_difference(kernels, case, d_out, array)
        assert np.abs(gradients[name] - expected).max(initial=0) < 1e-8, name


@all_cells
@all_directions
@with_and_without_bias
@pytest.mark.parametrize("indices", [1, 2])
def test_gradients_of_rows_looked_up_are_central_differences(
    kernels, cell, option, reverse, bias, indices
):
    sizes = {"lengths": (4, 2, 1), "reverse": reverse, "bias": bias}
    check_gradients(kernels, smooth_case(cell, option, input_size=5, indices=indices, **sizes))


@all_cells
@all_directions
def test_weight_gradients_accumulate(kernels, cell, option, reverse):
    case = make_case(cell, option, lengths=(4, 2, 1), reverse=reverse)
    out, d_out = forward(kernels, case), output_gradients(case)
    from_zero = backward(kernels, case, out, d_out)
    from_three = backward(kernels, case, out, d_out, start=3.0)
    for name, gradient in from_zero.items():
        assert_close(from_three[name], gradient + 3.0 * ("[" in name), name=name)


@all_cells
@all_directions
def test_dx_is_optional(kernels, cell, option, reverse):
    case = make_case(cell, option, lengths=(4, 2, 1), reverse=reverse)
    out, d_out = forward(kernels, case), output_gradients(case)
    expected = backward(kernels, case, out, d_out)
    del expected["x"]
    without_dx = backward(kernels, case, out, d_out, need_dx=False)
    assert_same_gradients(without_dx, expected, assert_identical)


def test_relu_passes_no_gradient_where_it_is_off(kernels):
    """Not even an infinite or undefined one, though 0 times these is NaN."""
    case = make_case("rnn", "relu", lengths=(5, 3, 3, 1), reverse=(False, True), hidden_size=19)
    out, (dy, dh, _) = forward(kernels, case), output_gradients(case)
    off = np.argwhere(out.y == 0)
    assert 10 < len(off) < 0.9 * out.y.size
    dy[tuple(off.T)] = 0
    expected = backward(kernels, case, out, (dy, dh, None))
    for number, place in enumerate(off):
        dy[tuple(place)] = (np.inf, -np.inf, np.nan)[number % 3]
    assert_same_gradients(backward(kernels, case, out, (dy, dh, None)), expected, assert_identical)


@both_dtypes
def test_relu_passes_the_gradient_on_where_its_value_is_nan(kernels, dtype):
    """So that whoever looks at gradients alone sees what has happened."""
    case = make_case("rnn", "relu", lengths=(1, 1), hidden_size=19, dtype=dtype)
    out, d_out = forward(kernels, case), output_gradients(case)
    out.y[0, ::3] = np.nan
    passed = (d_out[0] + d_out[1][0]) * ~(out.y <= 0)
    gradients = backward(kernels, case, out, d_out)
    assert_close(gradients["bias_ih[0]"], passed.sum(axis=0))
    assert_close(gradients["x"], passed @ case.weights[0][0])


@all_cells
def test_python_threads_may_call_at_once(kernels, cell, option):
    cases = [make_case(cell, option, lengths=(9, 5, 2), hidden_size=33, seed=i) for i in range(8)]

    def run(case):
        out = forward(kernels, case)
        return out, backward(kernels, case, out, output_gradients(case))

    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(run, cases * 4))
    for (out, gradients), (expected, expected_gradients) in zip(
        at_once, [run(case) for case in cases] * 4, strict=True
    ):
        assert_same_outputs(out, expected)
        assert_same_gradients(gradients, expected_gradients)


# --- streaming ------------------------------------------------------------------------------


def make_stack(cell, option, batch, dtype, steps=5, hidden_size=21):
    """Cases of two layers, the second with the first one's outputs as input."""
    sizes = {"lengths": (steps,) * batch, "hidden_size": hidden_size, "dtype": dtype}
    first = make_case(cell, option, input_size=6, seed=1, **sizes)
    return first, make_case(cell, option, input_size=hidden_size, seed=2, **sizes)


@all_cells
@both_dtypes
@with_and_without_bias
@pytest.mark.parametrize("batch", [1, 3])
def test_stream_equals_batch(kernels, cell, option, dtype, bias, batch):
    first, second = make_stack(cell, option, batch, dtype)
    if not bias:
        for case in (first, second):
            case.weights = [(w, u, None, None) for w, u, _, _ in case.weights]
    lower = forward(kernels, first)
    second.x = lower.y
    upper = forward(kernels, second)

    h = np.concatenate([first.h0, second.h0])
    c = np.concatenate([first.c0, second.c0]) if cell == "lstm" else None
    weights = [kernels.pack_weights(cell, option, case.weights)[0] for case in (first, second)]
    stepper = kernels.Stepper(cell, weights, option, h, c)
    streamed = np.concatenate([stepper(x).copy() for x in np.split(first.x, 5)])

    # the Cython kernels promise equal bits, and keep to it however a sequence is cut
    compare = assert_identical if kernels.__name__.endswith("_kernels") else assert_close
    compare(streamed, upper.y, name="y")
    compare(h, np.concatenate([lower.h_n, upper.h_n]), name="h")
    if cell == "lstm":
        compare(c, np.concatenate([lower.c_n, upper.c_n]), name="c")


@all_cells
@both_dtypes
@with_and_without_bias
@pytest.mark.parametrize("reverse", DIRECTIONS, ids=DIRECTION_IDS)
def test_packed_weights_stand_for_those_of_their_moment(
    kernels, cell, option, dtype, bias, reverse
):
    case = make_case(
        cell, option, lengths=(5, 3, 3, 1, 0), reverse=reverse, hidden_size=70, dtype=dtype
    )
    if not bias:
        case.weights = [(w, u, None, None) for w, u, _, _ in case.weights]
    expected = [forward(kernels, case, training=training) for training in (False, True)]
    given, case.weights = case.weights, kernels.pack_weights(cell, option, case.weights)
    for own in given:
        for array in own:
            if array is not None:
                array[...] = np.nan
    for training in (False, True):
        assert_identical(forward(kernels, case, training=training).y, expected[training].y)
        assert_identical(forward(kernels, case, training=training).h_n, expected[training].h_n)


def make_stepper(kernels):
    # by keyword, which also shows that the names are equal: a compiled class has no signature
    case, _ = make_stack("lstm", None, batch=2, dtype=np.float32)
    weights = kernels.pack_weights(cell="lstm", option=None, weights=case.weights)
    stepper = kernels.Stepper(cell="lstm", weights=weights, option=None, h=case.h0, c=case.c0)
    return stepper, case


def test_stepper_returns_a_view_that_the_next_call_overwrites(kernels):
    stepper, case = make_stepper(kernels)
    y = stepper(case.x[:2])
    assert np.shares_memory(y, case.h0) and not y.flags.writeable
    before = y.copy()
    assert np.shares_memory(stepper(case.x[2:4]), y)
    assert not np.array_equal(y, before)


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 7), np.float32),
        np.zeros((1, 6), np.float32),
        np.zeros(6, np.float32),
        np.zeros((2, 6), np.float64),
        np.array(1, np.float32),
        [[0.0] * 6] * 2,
    ],
    ids=["features", "rows", "rank", "dtype", "no-axes", "list"],
)
def test_stepper_refuses_what_does_not_fit(kernels, x):
    stepper, case = make_stepper(kernels)
    before = case.h0.copy()
    with pytest.raises((TypeError, ValueError), match=r"\bx\b"):
        stepper(x)
    assert_identical(case.h0, before)


def test_stepper_refuses_a_number_for_a_row_of_one(kernels):
    """An array without axes has as many elements as that row, but no axis to look at."""
    case = make_case("rnn", "tanh", lengths=(1,), input_size=1, dtype=np.float32)
    weights = kernels.pack_weights("rnn", "tanh", case.weights)
    stepper = kernels.Stepper("rnn", weights, "tanh", case.h0, None)
    before = case.h0.copy()
    for x in (np.array(1, np.float32), np.float32(1)):
        with pytest.raises((TypeError, ValueError), match=r"\bx\b"):
            stepper(x)
    assert_identical(case.h0, before)
    stepper(np.ones((1, 1), np.float32))
    assert (case.h0 != before).any()


# --- exp, tanh, sigmoid ---------------------------------------------------------------------

FUNCTIONS = {"exp": np.exp, "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
MAX_ULP = 4

all_functions = pytest.mark.parametrize("name", FUNCTIONS)


def apply(kernels, name, x):
    out = np.full_like(x, 7)
    getattr(kernels, name)(x, out)
    return out


def whole_range(dtype):
    """Every magnitude of both signs, and densely where the functions change."""
    info = np.finfo(dtype)
    magnitudes = np.geomspace(info.tiny, info.max, 20001, dtype=np.longdouble)
    grids = [
        magnitudes,
        -magnitudes,
        np.linspace(-20, 20, 50001),
        np.linspace(-800, 800, 50001),
        # around the ends of exp's range, where the exponent is about to run over
        float(np.log(info.max)) + np.linspace(-1, 1, 20001),
        float(np.log(info.tiny)) + np.linspace(-1, 1, 20001),
        np.array([0.0, -0.0, info.max, info.min, info.tiny, info.smallest_subnormal]),
        info.smallest_subnormal * 2.0 ** np.arange(1, info.nmant),
        -info.smallest_subnormal * 2.0 ** np.arange(info.nmant),
    ]
    return np.concatenate([np.asarray(grid, dtype) for grid in grids])


@all_functions
@both_dtypes
def test_vector_math_is_within_four_ulp(kernels, name, dtype):
    info = np.finfo(dtype)
    if np.finfo(np.longdouble).eps > info.eps / 100:
        pytest.skip("long double is too short here to judge float64")
    x = whole_range(dtype)
    actual = apply(kernels, name, x)
    with np.errstate(all="ignore"):
        exact = FUNCTIONS[name](x.astype(np.longdouble))
        rounded = exact.astype(dtype)
        ulp = np.maximum(np.spacing(np.abs(rounded)), np.spacing(info.tiny))
        error = np.abs(actual - exact) / ulp
    assert np.array_equal(np.isfinite(actual), np.isfinite(rounded))
    # below the smallest normal number a result may be flushed to 0
    normal = np.isfinite(rounded) & (np.abs(exact) >= info.tiny)
    worst = np.argmax(np.where(normal, error, 0))
    assert error[worst] <= MAX_ULP, f"{error[worst]} ulp at {x[worst]!r}"
    assert np.all(np.abs(actual[np.abs(exact) < info.tiny]) <= info.tiny)


@both_dtypes
def test_vector_math_at_the_ends(kernels, dtype):
    ends = np.array([np.inf, -np.inf, 1e30, -1e30, 0.0, -0.0, np.nan], dtype)
    expected = {
        "exp": [np.inf, 0, np.inf, 0, 1, 1, np.nan],
        "tanh": [1, -1, 1, -1, 0, 0, np.nan],
        "sigmoid": [1, 0, 1, 0, 0.5, 0.5, np.nan],
    }
    for name, values in expected.items():
        actual = apply(kernels, name, np.tile(ends, 11))
        assert_identical(actual, np.tile(np.array(values, dtype), 11), name=name)


@all_functions
@both_dtypes
def test_vector_math_does_not_depend_on_position(compiled_kernels, name, dtype):
    # NumPy's own functions promise no such thing, so the NumPy twin is left out
    x = np.random.default_rng(0).normal(scale=10, size=80).astype(dtype)
    expected = np.concatenate([apply(compiled_kernels, name, x[i : i + 1]) for i in range(80)])
    for size in range(1, 71):
        start = size % 9
        part = slice(start, start + size)
        assert_identical(
            apply(compiled_kernels, name, x[part]), expected[part], name=f"size {size}"
        )


@all_functions
def test_vector_math_in_place(kernels, name):
    x = np.linspace(-5, 5, 37)
    expected = apply(kernels, name, x)
    getattr(kernels, name)(x, x)
    assert_close(x, expected)


# --- what only the Cython kernels promise ---------------------------------------------------

# T, B, H, and how threads share the work
SHAPES = [
    (6, 5, 7),  # one has all
    (20, 8, 160),  # two by rows, three by units
    (30, 1, 300),  # by units
    (200, 2, 130),  # ... in several chunks of tokens
    (20, 40, 64),  # by rows, in several chunks
    (2, 700, 100),  # ... where a step is more than a chunk
    (5, 24, 260),  # by units although there are many rows, since the weights are large
]
all_shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))


def make_big_case(cell, option, shape, dtype=np.float32, reverse=(False, True), indices=0):
    steps, batch, hidden = shape
    lengths = np.linspace(steps, steps // 2, batch).astype(int)
    return make_case(
        cell,
        option,
        lengths=lengths,
        reverse=reverse,
        input_size=11,
        hidden_size=hidden,
        dtype=dtype,
        indices=indices,
    )


def one_row(case, row):
    """The case with nothing but this row in its batch."""
    tokens = helpers.row_tokens(case.offsets, row)
    h0 = case.h0[:, row : row + 1].copy()
    c0 = None if case.c0 is None else case.c0[:, row : row + 1].copy()
    offsets = helpers.pack_offsets([len(tokens)])
    return helpers.Case(
        case.cell, case.option, case.x[tokens], h0, c0, case.weights, offsets, case.reverse
    )


@all_cells
@all_shapes
@both_dtypes
@pytest.mark.parametrize("indices", [0, 1, 2], ids=["tokens", "indices", "pairs"])
def test_cython_rows_do_not_depend_on_their_batch(
    cython_kernels, cell, option, shape, dtype, indices
):
    case = make_big_case(cell, option, shape, dtype, indices=indices)
    together = forward(cython_kernels, case, training=False)
    for row in {0, shape[1] // 2, shape[1] - 1}:
        alone = forward(cython_kernels, one_row(case, row), training=False)
        assert_identical(alone.y, together.y[helpers.row_tokens(case.offsets, row)], name="y")
        assert_identical(alone.h_n[:, 0], together.h_n[:, row], name="h_n")


@all_cells
@all_shapes
def test_cython_calls_can_be_cut_anywhere(cython_kernels, cell, option, shape):
    steps, batch, hidden = shape
    sizes = {"hidden_size": hidden, "input_size": 11, "dtype": np.float32}
    whole = make_case(cell, option, lengths=(steps,) * batch, **sizes)
    expected = forward(cython_kernels, whole)
    for cut in (1, steps // 2, steps - 1):
        h, c, ys = whole.h0, whole.c0, []
        for x in np.split(whole.x, [cut * batch]):
            offsets = np.arange(0, len(x) + 1, batch)
            part = helpers.Case(cell, option, x, h, c, whole.weights, offsets, (False,))
            out = forward(cython_kernels, part)
            h, c = out.h_n, out.c_n
            ys.append(out.y)
        assert_identical(np.concatenate(ys), expected.y, name="y")
        assert_identical(h, expected.h_n, name="h_n")


@all_cells
@all_directions
@all_shapes
@both_dtypes
@pytest.mark.parametrize("indices", [0, 1, 2], ids=["tokens", "indices", "pairs"])
def test_cython_results_do_not_depend_on_threads(
    cython_kernels, cell, option, reverse, shape, dtype, indices
):
    case = make_big_case(cell, option, shape, dtype, reverse, indices)
    d_out = output_gradients(case)

    def run(threads):
        cython_kernels.set_num_threads(threads)
        out = forward(cython_kernels, case)
        inference = forward(cython_kernels, case, training=False)
        return out, inference, backward(cython_kernels, case, out, d_out, start=0.5)

    out, inference, gradients = run(1)
    for threads in (2, 3):
        out_n, inference_n, gradients_n = run(threads)
        assert_same_outputs(out_n, out, assert_identical)
        assert_same_outputs(inference_n, inference, assert_identical)
        assert_same_gradients(gradients_n, gradients, assert_identical)


@all_cells
@all_directions
@all_shapes
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_cython_padded_batches_are_tokens(cython_kernels, cell, option, reverse, shape, threads):
    cython_kernels.set_num_threads(threads)
    case = make_big_case(cell, option, shape, reverse=reverse)
    assert_padded_equals_tokens(cython_kernels, case, x=True, y=True)


@all_cells
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_cython_padded_steps_of_many_rows(cython_kernels, cell, option, threads):
    cython_kernels.set_num_threads(threads)
    lengths = np.linspace(3, 0, 700).round().astype(int)
    case = make_case(
        cell, option, lengths=lengths, reverse=(False, True), input_size=700, dtype=np.float32
    )
    assert_padded_equals_tokens(cython_kernels, case, x=True, y=True)


@all_cells
@all_directions
@all_shapes
def test_cython_threads_equal_the_numpy_twin(cython_kernels, cell, option, reverse, shape):
    cython_kernels.set_num_threads(3)
    assert_parity(cython_kernels, make_big_case(cell, option, shape, reverse=reverse))
    indices = make_big_case(cell, option, shape, reverse=reverse, indices=1)
    assert_parity(cython_kernels, indices)


ISAS = ["generic", "avx2", "avx512"]


def force_isa(kernels, isa):
    if isa not in kernels.available_isas():
        pytest.skip(f"this machine or build has no {isa}")
    kernels.set_isa(isa)
    assert kernels.isa() == isa


def test_cython_isas_are_all_tested(cython_kernels):
    assert set(cython_kernels.available_isas()) <= set(ISAS)
    assert cython_kernels.isa() in cython_kernels.available_isas()


@pytest.mark.parametrize("isa", ISAS)
@all_cells
@both_dtypes
@pytest.mark.parametrize("hidden", [1, 3, 16, 17, 40, 65])
def test_cython_every_isa_at_awkward_sizes(cython_kernels, isa, cell, option, dtype, hidden):
    force_isa(cython_kernels, isa)
    for number, batch in enumerate([*range(1, 10), 20, 33]):
        case = make_case(
            cell,
            option,
            lengths=[3] * (batch - 1) + [2],
            reverse=DIRECTIONS[number % 3],
            input_size=(1, 5, 33)[number % 3],
            hidden_size=hidden,
            dtype=dtype,
            bias=number % 4 != 3,
            seed=number,
        )
        assert_parity(cython_kernels, case)


def ending_a_page(array):
    """A copy after whose last number the process has no memory: touching it ends the process."""
    room = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    block = mmap.mmap(-1, room + mmap.PAGESIZE)
    behind = ctypes.addressof(ctypes.c_char.from_buffer(block)) + room
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(behind), mmap.PAGESIZE, 0) == 0
    copy = np.frombuffer(block, array.dtype, array.size, room - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.skipif(not hasattr(mmap, "MAP_PRIVATE"), reason="memory is protected as POSIX does")
@pytest.mark.parametrize("isa", ISAS)
@all_cells
@both_dtypes
@pytest.mark.parametrize("hidden", [1, 5, 11, 19])
def test_cython_touches_nothing_behind_an_array(
    cython_kernels, monkeypatch, isa, cell, option, dtype, hidden
):
    force_isa(cython_kernels, isa)
    case = make_case(
        cell, option, lengths=[3, 2, 1, 1, 1, 1, 1], hidden_size=hidden, input_size=7, dtype=dtype
    )
    expected = forward(cython_kernels, case)
    gradients = backward(cython_kernels, case, expected, output_gradients(case))

    moved = replace(
        case,
        x=ending_a_page(case.x),
        h0=ending_a_page(case.h0),
        c0=None if case.c0 is None else ending_a_page(case.c0),
        weights=[tuple(map(ending_a_page, arrays)) for arrays in case.weights],
    )
    full = np.full
    monkeypatch.setattr(np, "full", lambda *given: ending_a_page(full(*given)))
    monkeypatch.setattr(
        np, "full_like", lambda like, value: ending_a_page(full(like.shape, value, like.dtype))
    )
    out = forward(cython_kernels, moved)
    d_out = tuple(None if d is None else ending_a_page(d) for d in output_gradients(case))
    assert_same_gradients(backward(cython_kernels, moved, out, d_out), gradients)
    assert_same_outputs(out, expected)


@pytest.mark.parametrize("isa", ISAS)
@all_functions
@both_dtypes
def test_cython_every_isa_has_exact_vector_math(cython_kernels, isa, name, dtype):
    force_isa(cython_kernels, isa)
    test_vector_math_is_within_four_ulp(cython_kernels, name, dtype)
    test_vector_math_does_not_depend_on_position(cython_kernels, name, dtype)
    test_vector_math_at_the_ends(cython_kernels, dtype)


@pytest.mark.parametrize("isa", ISAS)
@both_dtypes
def test_cython_every_isa_passes_gradients_of_nan_on(cython_kernels, isa, dtype):
    force_isa(cython_kernels, isa)
    test_relu_passes_the_gradient_on_where_its_value_is_nan(cython_kernels, dtype)


@pytest.mark.parametrize("isa", ISAS)
@all_cells
@pytest.mark.parametrize(
    "shape", [(20, 8, 160), (20, 40, 64), (5, 24, 260)], ids=["by-units", "by-rows", "large"]
)
def test_cython_every_isa_on_threads(cython_kernels, isa, cell, option, shape):
    force_isa(cython_kernels, isa)
    cython_kernels.set_num_threads(3)  # of two directions each would have a thread to itself
    assert_parity(cython_kernels, make_big_case(cell, option, shape, reverse=(True,)))


@pytest.mark.parametrize("isa", ISAS)
@all_cells
def test_cython_every_isa_takes_padded_batches(cython_kernels, isa, cell, option):
    force_isa(cython_kernels, isa)
    case = make_big_case(cell, option, (70, 64, 64))  # y is larger than a cache
    assert_padded_equals_tokens(cython_kernels, case, x=True, y=True)


@pytest.mark.parametrize("isa", ISAS)
@all_cells
def test_cython_every_isa_streams_like_the_batch(cython_kernels, isa, cell, option):
    force_isa(cython_kernels, isa)
    test_stream_equals_batch(cython_kernels, cell, option, np.float32, True, 1)


# --- what only the Numba kernels need -------------------------------------------------------


def test_numba_compiles_where_nothing_can_be_cached(monkeypatch):
    load_kernels("numba")
    compiling = importlib.import_module("fastseq.jit.compiling")
    njit = compiling.numba.njit

    def njit_without_cache(*, cache, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(compiling.numba, "njit", njit_without_cache)
    assert compiling.compiled(lambda x: x + 1)(2) == 3


def test_numba_names_its_extra_when_missing(monkeypatch):
    load_kernels("numba")
    for name in [name for name in sys.modules if name.startswith("fastseq.jit")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match=r"pip install 'fastseq\[jit\]'"):
        importlib.import_module("fastseq.jit")
