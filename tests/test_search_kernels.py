"""The largest of each row: right, of equal ones the first, the same on all backends."""

import numpy as np
import pytest
from helpers import assert_identical
from test_kernels import both_dtypes

SHAPES = [(6, 5, 1), (6, 5, 5), (1, 1, 1), (3, 17, 4), (4, 1300, 60), (0, 4, 2), (2, 50, 50)]
KINDS = ["normal", "equal", "rising", "falling", "infinite"]


def make_rows(kind, shape, dtype):
    rng = np.random.default_rng(0)
    rows = {
        "normal": lambda: rng.standard_normal(shape),
        "equal": lambda: rng.integers(0, 3, shape),
        "rising": lambda: np.sort(rng.standard_normal(shape)),
        "falling": lambda: -np.sort(rng.standard_normal(shape)),
        "infinite": lambda: np.where(rng.random(shape) < 0.8, -np.inf, rng.integers(0, 3, shape)),
    }[kind]()
    return rows.astype(dtype)


def largest(kernels, rows, count):
    values = np.full((len(rows), count), np.nan, rows.dtype)
    places = np.full((len(rows), count), -7)
    kernels.largest_of_rows(rows, values, places)
    return values, places


@both_dtypes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
def test_largest_of_rows(kernels, shape, kind, dtype):
    *shape, count = shape
    rows = make_rows(kind, shape, dtype)
    order = [sorted(range(len(row)), key=lambda i: (-row[i], i))[:count] for row in rows]
    order = np.array(order, np.int64).reshape(len(rows), count)
    rows.flags.writeable = False
    assert_identical(largest(kernels, rows, count), (np.take_along_axis(rows, order, 1), order))


@both_dtypes
def test_cython_largest_of_rows_on_threads(cython_kernels, dtype):
    rows = make_rows("normal", (37, 20_000), dtype)
    cython_kernels.set_num_threads(1)
    expected = largest(cython_kernels, rows, 5)
    for threads in (2, 3, 4):
        cython_kernels.set_num_threads(threads)
        assert_identical(largest(cython_kernels, rows, 5), expected)


def test_what_is_no_number_does_no_harm(cython_kernels):
    _, places = largest(cython_kernels, np.full((3, 9), np.nan), 4)
    assert places.min() >= 0 and places.max() < 9
