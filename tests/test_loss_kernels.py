"""Softmax cross-entropy in the kernels: right values and gradients, equal backends."""

import numpy as np
import pytest
from helpers import assert_close, assert_identical
from test_kernels import ISAS, both_dtypes, force_isa

from fastseq import reference

SHAPES = [(6, 5), (1, 1), (3, 16), (4, 17), (5, 1300), (0, 4)]
all_shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))


def make_logits(shape, dtype=np.float64, scale=3.0, seed=0):
    """Logits and targets; one row doesn't count, and one has its target elsewhere."""
    rng = np.random.default_rng(seed)
    rows, columns = shape
    targets = rng.integers(0, columns, rows)
    targets[1:2] = -1
    targets[2:3] = columns + 3
    return (scale * rng.standard_normal(shape)).astype(dtype), targets


def forward(kernels, logits, targets, *, with_totals=True):
    """The three results; 7 stands where nothing was written."""
    log_sums, picked, totals = (np.full(len(targets), 7.0) for _ in range(3))
    totals = totals if with_totals else None
    kernels.softmax_cross_entropy_forward(logits, targets, log_sums, picked, totals)
    return (log_sums, picked, totals) if with_totals else (log_sums, picked)


def backward(kernels, logits, targets, log_sums, factors=(1.0, 1.0, 0.0), out=None):
    d_logits = np.full_like(logits, np.nan) if out is None else out
    kernels.softmax_cross_entropy_backward(logits, targets, log_sums, *factors, d_logits)
    return d_logits


FACTORS = (0.3, 0.9, 0.02)  # scale, on_target, elsewhere


def loss(kernels, logits, targets):
    """The number whose gradient :func:`backward` gives for FACTORS."""
    scale, on_target, elsewhere = FACTORS
    log_sums, picked, totals = forward(kernels, logits, targets)
    counted, here = targets >= 0, (targets >= 0) & (targets < logits.shape[1])
    parts = log_sums[counted].sum(), on_target * picked[here].sum(), totals[counted].sum()
    return scale * (parts[0] - parts[1] - elsewhere * parts[2])


# --- values and gradients -------------------------------------------------------------------


@all_shapes
@both_dtypes
def test_forward_computes_the_equations(kernels, shape, dtype):
    logits, targets = make_logits(shape, dtype)
    log_sums, picked, totals = forward(kernels, logits, targets)
    for n, target in enumerate(targets):
        x = logits[n].astype(np.float64)
        if target < 0:
            assert log_sums[n] == picked[n] == totals[n] == 7
            continue
        tolerance = 3e-7 if dtype is np.float32 else 1e-14
        assert abs(log_sums[n] - np.log(np.exp(x).sum())) < tolerance * max(1, np.abs(x).max())
        assert picked[n] == (x[target] if target < len(x) else 7)
        assert abs(totals[n] - x.sum()) < tolerance * np.abs(x).sum()  # they may cancel out
    assert_identical(forward(kernels, logits, targets, with_totals=False), (log_sums, picked))


@pytest.mark.parametrize("shape", [(6, 5), (1, 1), (4, 17), (3, 40)])
def test_gradients_are_central_differences(kernels, shape):
    logits, targets = make_logits(shape)
    log_sums = forward(kernels, logits, targets)[0]
    gradient = backward(kernels, logits, targets, log_sums, FACTORS)
    for i in np.ndindex(shape):
        value = logits[i]
        logits[i] = value + 1e-5
        above = loss(kernels, logits, targets)
        logits[i] = value - 1e-5
        numeric = (above - loss(kernels, logits, targets)) / 2e-5
        logits[i] = value
        assert abs(gradient[i] - numeric) < 1e-9, i


def assert_parity(kernels, logits, targets):
    found, expected = (forward(module, logits, targets) for module in (kernels, reference))
    tolerance = 5e-7 if logits.dtype == np.float32 else 1e-14
    assert_close(found[:2], expected[:2], tolerance)
    means = [totals / logits.shape[1] for *_, totals in (found, expected)]  # sums may cancel out
    assert_close(*means, tolerance)
    for factors in (FACTORS, (1.0, 1.0, 0.0)):
        given = logits, targets, expected[0], factors
        assert_close(backward(kernels, *given), backward(reference, *given))


@all_shapes
@both_dtypes
def test_equals_the_numpy_twin(compiled_kernels, shape, dtype):
    assert_parity(compiled_kernels, *make_logits(shape, dtype))


@both_dtypes
def test_gradient_may_overwrite_the_logits(kernels, dtype):
    logits, targets = make_logits((5, 700), dtype)
    log_sums = forward(kernels, logits, targets)[0]
    expected = backward(kernels, logits, targets, log_sums, FACTORS)
    backward(kernels, logits, targets, log_sums, FACTORS, out=logits)
    assert_identical(logits, expected)


def test_read_only_inputs(kernels):
    logits, targets = make_logits((5, 7))
    expected = forward(kernels, logits, targets)
    gradient = backward(kernels, logits, targets, expected[0], FACTORS)
    log_sums = expected[0].copy()
    for array in (logits, targets, log_sums):
        array.flags.writeable = False
    assert_identical(forward(kernels, logits, targets), expected)
    assert_identical(backward(kernels, logits, targets, log_sums, FACTORS), gradient)


# --- numbers at the ends --------------------------------------------------------------------


@both_dtypes
@pytest.mark.parametrize("where", [0, 3, 699, 1299])
def test_one_large_logit_anywhere(kernels, dtype, where):
    """Sums of blocks before it are scaled down to nothing, those after it add nothing."""
    logits, targets = np.full((1, 1300), -1e4, dtype), np.array([where])
    logits[0, where] = 3e4
    log_sums, picked = forward(kernels, logits, targets, with_totals=False)
    assert log_sums[0] == picked[0] == 3e4
    assert not backward(kernels, logits, targets, log_sums).any()
    rising = np.linspace(-50, 50, 1300).astype(dtype)[None]
    for x in (rising, rising[:, ::-1].copy()):
        exact = np.logaddexp.reduce(x[0].astype(np.float64))
        found = forward(kernels, x, targets)[0][0]
        assert abs(found - exact) < (1e-5 if dtype is np.float32 else 1e-12)


@pytest.mark.parametrize("columns", [3, 700])
def test_sums_of_huge_logits_are_finite(kernels, columns):
    logits, targets = make_logits((4, columns), np.float32)
    logits *= np.float32(3e38) / np.abs(logits).max(axis=1, keepdims=True)
    *_, totals = forward(kernels, np.abs(logits), targets)
    exact = np.abs(logits).sum(axis=1, dtype=np.float64)
    assert exact.max() > np.finfo(np.float32).max
    np.testing.assert_allclose(totals[targets >= 0], exact[targets >= 0], rtol=1e-6)


@both_dtypes
def test_probabilities_keep_their_digits_beside_large_logits(kernels, dtype):
    logits, targets = make_logits((4, 50), dtype)
    shifted = logits.astype(np.float64) + 2.0**14
    exact = logits + dtype(2.0**14) - dtype(2.0**14)  # what of the logits such numbers can hold
    first = forward(kernels, shifted.astype(dtype), targets)[0]
    second = forward(kernels, exact, targets)[0]
    assert_close(
        backward(kernels, shifted.astype(dtype), targets, first),
        backward(kernels, exact, targets, second),
        1e-6 if dtype is np.float32 else 1e-11,
    )


@both_dtypes
def test_minus_infinity_has_no_probability(kernels, dtype):
    logits, targets = make_logits((3, 1300), dtype)
    targets[:] = 1299
    few = logits[:, 1290:].copy()
    logits[:, :1290] = -np.inf
    log_sums, picked = forward(kernels, logits, targets, with_totals=False)
    expected = forward(kernels, few, targets - 1290, with_totals=False)
    assert_close((log_sums, picked), expected, 5e-7 if dtype is np.float32 else 1e-14)
    gradient = backward(kernels, logits, targets, log_sums)
    assert not gradient[:, :1290].any()
    assert_close(gradient[:, 1290:], backward(kernels, few, targets - 1290, log_sums))


@both_dtypes
def test_nothing_but_minus_infinity(kernels, dtype):
    logits = np.full((1, 1300), -np.inf, dtype)
    assert forward(kernels, logits, np.array([5]))[0][0] == -np.inf


@both_dtypes
@pytest.mark.parametrize("where", [0, 5, 1299])
def test_nan_stays_in_its_row(kernels, dtype, where):
    logits, targets = make_logits((4, 1300), dtype)
    targets[:] = 3
    logits[2, where] = np.nan
    log_sums = forward(kernels, logits, targets)[0]
    assert np.isnan(log_sums).tolist() == [False, False, True, False]
    gradient = backward(kernels, logits, targets, log_sums)
    assert np.isnan(gradient[2]).all() and np.isfinite(gradient[[0, 1, 3]]).all()


def test_rows_that_do_not_count_are_not_read(kernels):
    logits, targets = make_logits((3, 40))
    logits[1] = np.nan
    log_sums, picked, totals = forward(kernels, logits, targets)
    assert log_sums[1] == picked[1] == totals[1] == 7
    log_sums[1] = np.nan
    gradient = backward(kernels, logits, targets, log_sums)
    assert not gradient[1].any() and np.isfinite(gradient).all()


# --- what only the Cython kernels promise ---------------------------------------------------


@both_dtypes
@pytest.mark.parametrize("shape", [(300, 700), (1, 200000), (5, 40001), (70000, 3)])
def test_cython_results_do_not_depend_on_threads(cython_kernels, shape, dtype):
    logits, targets = make_logits(shape, dtype)

    def run(threads):
        cython_kernels.set_num_threads(threads)
        out = forward(cython_kernels, logits, targets)
        return (*out, backward(cython_kernels, logits, targets, out[0], FACTORS))

    expected = run(1)
    for threads in (2, 3):
        assert_identical(run(threads), expected)


@both_dtypes
def test_cython_rows_do_not_depend_on_their_company(cython_kernels, dtype):
    logits, targets = make_logits((9, 777), dtype)
    log_sums = forward(cython_kernels, logits, targets)[0]
    gradient = backward(cython_kernels, logits, targets, log_sums, FACTORS)
    for n in range(9):
        row, target = logits[n : n + 1].copy(), targets[n : n + 1]
        alone = forward(cython_kernels, row, target)[0]
        assert_identical(alone, log_sums[n : n + 1])
        assert_identical(backward(cython_kernels, row, target, alone, FACTORS), gradient[n : n + 1])


@pytest.mark.parametrize("isa", ISAS)
@both_dtypes
def test_cython_every_isa_at_awkward_sizes(cython_kernels, isa, dtype):
    force_isa(cython_kernels, isa)
    for columns in [*range(1, 20), 31, 33, 511, 512, 513, 1025]:
        assert_parity(cython_kernels, *make_logits((4, columns), dtype, seed=columns))
    test_minus_infinity_has_no_probability(cython_kernels, dtype)
    test_one_large_logit_anywhere(cython_kernels, dtype, 699)
    test_nan_stays_in_its_row(cython_kernels, dtype, 5)
