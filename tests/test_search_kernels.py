"""What may come next in a search: right, of equal ones the first, the same on all backends."""

import itertools

import numpy as np
import pytest
from helpers import assert_close, assert_identical
from test_kernels import ISAS, both_dtypes, force_isa

# rows of each sentence, tokens, continuations that are kept
SHAPES = [((1,), 1, 1), ((3, 1, 2), 5, 4), ((2, 0, 5), 9, 20), ((4,) * 5, 700, 6), ((), 3, 2)]
KINDS = ["normal", "equal", "rising", "infinite"]
all_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def make_beams(kind, shape, dtype, barred=True):
    """Logits, sums so far, offsets, barred tokens, and how many to keep."""
    counts, classes, kept = shape
    rng = np.random.default_rng(0)
    rows = sum(counts)
    logits = 3 * rng.standard_normal((rows, classes))
    log_probs = -rng.exponential(2.0, rows)
    if kind == "equal":
        logits, log_probs = rng.integers(0, 2, logits.shape), -np.ones(rows)
    elif kind == "rising":
        logits.sort(axis=1)
    elif kind == "infinite":
        logits[rng.random(logits.shape) < 0.7] = -np.inf
        logits[:, -1] = 0.5
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    barred = (rng.random(classes) < 0.3).astype(np.uint8) if barred else None
    return logits.astype(dtype), log_probs, offsets, barred, kept


def search(kernels, logits, log_probs, offsets, barred, kept, log_sums=None):
    """Log-sums, gains, rows and tokens; 7 stands where nothing was written."""
    known = log_sums is not None
    shape = (len(offsets) - 1, kept)
    log_sums = log_sums.copy() if known else np.full(len(logits), 7.0)
    found = np.full(shape, 7.0), np.full(shape, 7), np.full(shape, 7)
    kernels.best_continuations(logits, log_probs, offsets, barred, log_sums, known, *found)
    return log_sums, *found


def in_words(logits, log_probs, offsets, barred, kept, log_sums):
    """The gains, rows and tokens, all candidates sorted."""
    found = []
    for begin, end in itertools.pairwise(offsets):
        candidates = [
            (min(float(logits[row, token]) - log_sums[row], 0.0) + log_probs[row], row, token)
            for row in range(begin, end)
            for token in range(logits.shape[1])
            if logits[row, token] > -np.inf and (barred is None or not barred[token])
        ]
        candidates.sort(key=lambda c: (-c[0], c[1], c[2]))
        found.append((candidates + [(-np.inf, begin, 0)] * kept)[:kept])
    array = np.array(found).reshape(len(found), kept, 3)
    return array[..., 0], array[..., 1].astype(np.int64), array[..., 2].astype(np.int64)


@both_dtypes
@pytest.mark.parametrize("barred", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@all_shapes
def test_best_continuations(kernels, shape, kind, barred, dtype):
    *arrays, kept = make_beams(kind, shape, dtype, barred)
    for array in arrays:
        if array is not None:
            array.flags.writeable = False
    log_sums, *found = search(kernels, *arrays, kept)
    x = arrays[0].astype(np.float64)
    top = x.max(axis=1, initial=-1e3)
    expected = top + np.log(np.exp(x - top[:, None]).sum(axis=1))
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    assert_close(log_sums, expected, tolerance)
    assert_identical(tuple(found), in_words(*arrays, kept, log_sums))


@both_dtypes
@all_shapes
def test_log_sums_may_be_known(kernels, shape, dtype):
    *arrays, kept = make_beams("normal", shape, dtype)
    log_sums = np.linspace(1, 2, len(arrays[0]))
    after, *found = search(kernels, *arrays, kept, log_sums)
    assert_identical(after, log_sums)
    assert_identical(tuple(found), in_words(*arrays, kept, log_sums))


@both_dtypes
@pytest.mark.parametrize("log_sum", [-3e4, 3e4, 3.0e38])
def test_numbers_of_all_sizes(kernels, log_sum, dtype):
    """What is passed over without being computed is passed over rightly."""
    logits, log_probs, offsets, barred, kept = make_beams("normal", ((4,) * 5, 700, 6), dtype)
    log_sums = np.full(len(logits), log_sum) + np.arange(len(logits))
    for sums in (log_probs, log_probs + log_sum, 1e3 * log_probs - 3.4e38):
        _, *found = search(kernels, logits, sums, offsets, barred, kept, log_sums)
        assert_identical(tuple(found), in_words(logits, sums, offsets, barred, kept, log_sums))


@both_dtypes
def test_cython_search_on_threads(cython_kernels, dtype):
    arrays = make_beams("normal", ((5, 1, 3, 5, 2, 4, 5), 30_000, 5), dtype)
    cython_kernels.set_num_threads(1)
    expected = search(cython_kernels, *arrays)
    for threads in (2, 3, 4):
        cython_kernels.set_num_threads(threads)
        assert_identical(search(cython_kernels, *arrays), expected)


@both_dtypes
@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(cython_kernels, isa, dtype):
    *arrays, kept = make_beams("normal", ((4,) * 5, 700, 6), dtype)
    force_isa(cython_kernels, isa)
    log_sums, *found = search(cython_kernels, *arrays, kept)
    assert_identical(tuple(found), in_words(*arrays, kept, log_sums))


def test_what_is_no_number_does_no_harm(kernels):
    logits = np.full((4, 200), np.nan)
    logits[1, 3], logits[2], logits[3] = 2.0, np.inf, -np.inf
    offsets = np.array([0, 2, 4])
    log_sums, _, rows, tokens = search(kernels, logits, np.zeros(4), offsets, None, 3)
    assert not np.isfinite(log_sums).any()
    assert rows.min() >= 0 and rows.max() < 4 and tokens.min() >= 0 and tokens.max() < 200
