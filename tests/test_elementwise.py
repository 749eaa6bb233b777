"""Elementwise functions, through every backend."""

import numpy as np
import pytest
from layer_cases import backend_fixture  # noqa: F401

import fastseq as fs
from fastseq.elementwise import log_probs


@pytest.mark.parametrize("shape", [(), (0,), (5,), (3, 4), (2, 3, 17)])
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_sigmoid(backend, shape, dtype, tolerance):
    x = np.asarray(np.random.default_rng(0).normal(0, 5, shape), dtype)
    before = x.copy()
    y = fs.sigmoid(x)
    assert (y.dtype, y.shape) == (x.dtype, shape)
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-x)), rtol=tolerance)
    np.testing.assert_array_equal(x, before)


def test_sigmoid_at_the_ends(backend):
    x = np.array([-np.inf, -1000, 0, 1000, np.inf, np.nan])
    np.testing.assert_array_equal(fs.sigmoid(x), [0, 0, 0.5, 1, 1, np.nan])


def test_sigmoid_of_other_layouts(backend):
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    expected = fs.sigmoid(x)
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x.astype(">f4")):
        found = fs.sigmoid(other)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
    assert fs.sigmoid([0.0, 1.0]).dtype == fs.sigmoid(x.astype(np.float16)).dtype == np.float64


@pytest.mark.parametrize("wrong", [[1, 2], [1j], ["a"], None, np.array([True])])
def test_sigmoid_of_no_floats(wrong):
    with pytest.raises(TypeError, match="x must hold floating-point numbers"):
        fs.sigmoid(wrong)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_log_probs(backend, dtype, tolerance):
    rng = np.random.default_rng(0)
    logits = np.asarray(rng.normal(0, 5, (6, 9)), dtype)
    logits[2] += 900
    targets = rng.integers(9, size=6)
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    expected = np.log(powers / powers.sum(axis=1, keepdims=True))[np.arange(6), targets]
    found = log_probs(logits, targets)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert log_probs(logits[:0], targets[:0]).shape == (0,)
