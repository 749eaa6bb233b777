"""Scaled dot-product attention in the kernels: values, gradients, equal backends and threads."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from helpers import assert_close, assert_identical
from test_kernels import ISAS, both_dtypes, force_isa

from fastseq import reference


@dataclass
class Heads:
    """Queries, keys and values, with the options of the kernels."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    lengths: np.ndarray | None = None
    causal: bool = False
    scale: float = 0.4

    @property
    def inputs(self):
        return {"query": self.query, "key": self.key, "value": self.value}

    @property
    def arguments(self):
        return self.query, self.key, self.value, self.lengths, self.causal, self.scale


def make_heads(shape, *, dtype=np.float64, lengths=None, causal=False, seed=0):
    """Random heads of (B, heads, T, S, F, E)."""
    rng = np.random.default_rng(seed)
    rows, heads, queries, keys, size, value_size = shape
    sizes = (queries, size), (keys, size), (keys, value_size)
    arrays = (rng.standard_normal((rows, heads, *own)).astype(dtype) for own in sizes)
    return Heads(*arrays, None if lengths is None else np.array(lengths), causal)


def forward(kernels, case):
    """Output and sums; NaN stands wherever the kernel fails to write."""
    shape = case.query.shape[:3]
    out = np.full((*shape, case.value.shape[3]), np.nan, case.query.dtype)
    log_sums = np.full(shape, np.nan)
    kernels.scaled_dot_product_forward(*case.arguments, out, log_sums)
    return out, log_sums


def output_gradient(case, seed=1):
    shape = (*case.query.shape[:3], case.value.shape[3])
    return np.random.default_rng(seed).standard_normal(shape).astype(case.query.dtype)


def backward(kernels, case, saved=None, d_out=None):
    saved = forward(kernels, case) if saved is None else saved
    d_out = output_gradient(case) if d_out is None else d_out
    grads = tuple(np.full(array.shape, np.nan, array.dtype) for array in case.inputs.values())
    kernels.scaled_dot_product_backward(d_out, *case.arguments, *saved, *grads)
    return grads


def naive(case):
    """One query at a time, in float64."""
    rows, heads, queries, _ = case.query.shape
    out = np.zeros((rows, heads, queries, case.value.shape[3]))
    log_sums = np.full((rows, heads, queries), -np.inf)
    for b, h, t in np.ndindex(rows, heads, queries):
        keys = case.key.shape[2] if case.lengths is None else case.lengths[b]
        keys = min(keys, t + 1) if case.causal else keys
        if keys:
            scores = case.scale * case.key[b, h, :keys].astype(float) @ case.query[b, h, t]
            log_sums[b, h, t] = np.logaddexp.reduce(scores)
            weights = np.exp(scores - log_sums[b, h, t])
            out[b, h, t] = weights @ case.value[b, h, :keys]
    return out, log_sums


SMALL = {
    "plain": {"shape": (2, 2, 3, 4, 2, 3)},
    "causal": {"shape": (2, 2, 4, 4, 3, 2), "causal": True},
    "fewer-keys": {"shape": (1, 1, 5, 2, 2, 2), "causal": True},
    "more-keys": {"shape": (1, 1, 2, 5, 2, 2), "causal": True},
    "ragged": {"shape": (4, 1, 3, 4, 2, 3), "lengths": [4, 0, 1, 2]},
    "ragged-causal": {"shape": (4, 1, 3, 4, 2, 3), "lengths": [4, 0, 1, 2], "causal": True},
    "one": {"shape": (1, 1, 1, 1, 1, 1)},
    "no-keys": {"shape": (2, 1, 3, 0, 2, 2)},
}
# Several blocks of queries and of keys, several panels, and what is left over.
BIG = {
    "big": {"shape": (2, 1, 420, 601, 67, 20)},
    "big-causal": {"shape": (1, 2, 430, 520, 20, 70), "causal": True},
    "big-ragged": {"shape": (4, 1, 50, 530, 16, 16), "lengths": [530, 0, 257, 256]},
    "exact": {"shape": (1, 2, 96, 512, 64, 64), "causal": True},
}


def cases(*groups):
    named = {name: case for group in groups for name, case in group.items()}
    return pytest.mark.parametrize("case", named.values(), ids=named.keys())


# --- values and gradients -------------------------------------------------------------------


def assert_values(kernels, case):
    out, log_sums = forward(kernels, case)
    expected, expected_sums = naive(case)
    single = case.query.dtype == np.float32
    assert_close(out.astype(float), expected, 5e-6 if single else 1e-13)
    found = np.isfinite(expected_sums)
    assert_identical(log_sums[~found], expected_sums[~found])
    assert_close(log_sums[found], expected_sums[found], 2e-6 if single else 1e-13)


@cases(SMALL, BIG)
@both_dtypes
def test_forward_computes_the_equations(kernels, case, dtype):
    assert_values(kernels, make_heads(**case, dtype=dtype))


def assert_gradients(kernels, case):
    d_out = output_gradient(case)
    grads = backward(kernels, case, d_out=d_out)
    for (name, array), grad in zip(case.inputs.items(), grads, strict=True):
        for i in np.ndindex(array.shape):
            value = array[i]
            array[i] = value + 1e-5
            above = (forward(kernels, case)[0] * d_out).sum()
            array[i] = value - 1e-5
            numeric = (above - (forward(kernels, case)[0] * d_out).sum()) / 2e-5
            array[i] = value
            assert abs(grad[i] - numeric) < 2e-9, (name, i)


@cases(SMALL)
def test_gradients_are_central_differences(kernels, case):
    assert_gradients(kernels, make_heads(**case))


def assert_parity(kernels, case):
    saved = forward(reference, case)
    # float32: the twins add up hundreds of numbers in different orders
    tolerance = 2e-5 if case.query.dtype == np.float32 else 5e-14
    assert_close(forward(kernels, case)[0], saved[0], tolerance)
    assert_close(backward(kernels, case, saved), backward(reference, case, saved), tolerance)


@cases(SMALL, BIG)
@both_dtypes
def test_equals_the_numpy_twin(compiled_kernels, case, dtype):
    assert_parity(compiled_kernels, make_heads(**case, dtype=dtype))


# --- what must not matter -------------------------------------------------------------------


@cases(SMALL, BIG)
def test_keys_past_a_length_may_hold_anything(kernels, case):
    heads = make_heads(**case)
    if heads.lengths is None:
        heads.lengths = np.full(len(heads.query), heads.key.shape[2] // 2)
    expected = forward(kernels, heads), backward(kernels, heads)
    for row, length in enumerate(heads.lengths):
        heads.key[row, :, length:] = np.nan
        heads.value[row, :, length:] = np.inf
    grads = backward(kernels, heads)
    assert_identical((forward(kernels, heads), grads), expected)
    for row, length in enumerate(heads.lengths):
        assert not grads[1][row, :, length:].any() and not grads[2][row, :, length:].any()


@cases(SMALL, BIG)
def test_strides_and_write_protection(kernels, case):
    heads = make_heads(**case)
    expected = forward(kernels, heads), backward(kernels, heads)

    def as_slices(array):  # (B, T, heads, size) and more numbers in each row
        wide = np.zeros((*(array.shape[i] for i in (0, 2, 1)), array.shape[3] + 3), array.dtype)
        view = wide[..., 1:-2].transpose(0, 2, 1, 3)
        view[...] = array
        view.flags.writeable = False
        return view

    sliced = replace(heads, **{name: as_slices(a) for name, a in heads.inputs.items()})
    assert_close(forward(kernels, sliced)[0], expected[0][0], 1e-13)
    assert_close(backward(kernels, sliced), expected[1], 1e-13)
    out, log_sums = expected[0]
    for array in (out, log_sums):
        array.flags.writeable = False
    grads = backward(kernels, sliced, (as_slices(out), log_sums), as_slices(output_gradient(heads)))
    assert_close(grads, expected[1], 1e-13)


@cases(SMALL, BIG)
def test_results_may_be_slices(kernels, case):
    heads = make_heads(**case)
    out, log_sums = forward(kernels, heads)
    wide = np.zeros((*out.shape[:3], out.shape[3] + 2))
    kernels.scaled_dot_product_forward(*heads.arguments, wide[..., 1:-1], np.empty_like(log_sums))
    assert_close(wide[..., 1:-1], out, 1e-14)
    assert not wide[..., 0].any() and not wide[..., -1].any()
    grads = [np.zeros((*a.shape[:3], a.shape[3] + 2)) for a in heads.inputs.values()]
    views = [grad[..., 1:-1] for grad in grads]
    d_out = output_gradient(heads)
    kernels.scaled_dot_product_backward(d_out, *heads.arguments, out, log_sums, *views)
    assert_close(tuple(np.array(v) for v in views), backward(kernels, heads), 1e-13)
    assert not any(grad[..., [0, -1]].any() for grad in grads)


def test_huge_scores_do_not_overflow(kernels):
    heads = make_heads((1, 1, 3, 300, 4, 4), dtype=np.float32)
    heads.query *= 1e4
    out, log_sums = forward(kernels, heads)
    best = (heads.query[0, 0] @ heads.key[0, 0].T).argmax(axis=1)
    assert_close(out[0, 0], heads.value[0, 0][best])
    assert np.isfinite(log_sums).all() and np.isfinite(backward(kernels, heads)[0]).all()


def test_nan_shows(kernels):
    heads = make_heads((1, 1, 3, 5, 2, 2))
    heads.query[0, 0, 1] = np.nan
    assert np.isnan(forward(kernels, heads)[0]).any(axis=3).tolist() == [[[False, True, False]]]
    grads = backward(kernels, heads)
    assert np.isnan(grads[0]).any(axis=3).tolist() == [[[False, True, False]]]
    assert all(np.isnan(grad).all() for grad in grads[1:])


# --- what only the Cython kernels promise ---------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@cases(SMALL, BIG)
@both_dtypes
def test_cython_every_isa(cython_kernels, isa, case, dtype):
    force_isa(cython_kernels, isa)
    heads = make_heads(**case, dtype=dtype)
    assert_values(cython_kernels, heads)
    assert_parity(cython_kernels, heads)


@pytest.mark.parametrize("isa", ISAS)
def test_cython_every_isa_has_exact_gradients(cython_kernels, isa):
    force_isa(cython_kernels, isa)
    assert_gradients(cython_kernels, make_heads(**SMALL["ragged-causal"]))


@cases(BIG)
@both_dtypes
def test_cython_threads_do_not_show(cython_kernels, case, dtype):
    results = []
    for threads in (1, 2, 3, 7):  # 7: more than there are heads
        cython_kernels.set_num_threads(threads)
        heads = make_heads(**case, dtype=dtype)
        results.append((forward(cython_kernels, heads), backward(cython_kernels, heads)))
    for other in results[1:]:
        assert_identical(other, results[0])


@cases(SMALL, BIG)
def test_cython_company_does_not_show(cython_kernels, case):
    heads = make_heads(**case, dtype=np.float32)
    out, log_sums = forward(cython_kernels, heads)
    for row in range(len(heads.query)):
        lengths = None if heads.lengths is None else heads.lengths[row : row + 1]
        alone = {name: array[row : row + 1] for name, array in heads.inputs.items()}
        found = forward(cython_kernels, replace(heads, **alone, lengths=lengths))
        assert_identical(found, (out[row : row + 1], log_sums[row : row + 1]))
    if not heads.causal:  # a query by itself
        one = replace(heads, query=heads.query[:, :, -1:])
        assert_identical(forward(cython_kernels, one), (out[:, :, -1:], log_sums[:, :, -1:]))
