"""Vectors that stand beside each row's x: the same as concatenating, with all gradients."""

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises
from layer_cases import as_tuple, backend_fixture, check_gradients, make_layer_fixture  # noqa: F401

import fastseq as fs

LENGTHS = {"dense": None, "ragged": [4, 0, 2, 1], "all empty": [0, 0, 0, 0]}
OPTIONS = {"dtype": np.float64, "seed": 0}


def make_arrays(dtype=np.float64):
    """Indices (T, B), a table for them, and vectors (B, F)."""
    rng = np.random.default_rng(0)
    table = fs.Embedding(5, 3, dtype=dtype, seed=0)
    return rng.integers(5, size=(4, 4)), table, rng.standard_normal((4, 2)).astype(dtype)


def joined(x, beside):
    return np.concatenate([x, np.broadcast_to(beside, (len(x), *beside.shape))], axis=2)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_it_is_concatenating(backend, make_layer, lengths, bidirectional):
    layer = make_layer(5, 3, 2, bidirectional=bidirectional, **OPTIONS)
    ids, table, vectors = make_arrays()
    x = table(ids)
    y, state, backprop = layer.forward(joined(x, vectors), None, lengths)
    dx, d_state = backprop(y, state)
    grads = layer.parameters.flat_grad.copy()
    layer.parameters.zero_grad()
    own, own_state, backprop = layer.forward(x, None, lengths, beside=vectors)
    assert_close((own, as_tuple(own_state)), (y, as_tuple(state)), 1e-13)
    own_dx, own_d_state, d_vectors = backprop(y, state)
    assert_close(own_dx, np.ascontiguousarray(dx[..., :3]), 1e-13)
    assert_close(d_vectors, dx[..., 3:].sum(axis=0), 1e-13)
    assert_close(as_tuple(own_d_state), as_tuple(d_state), 1e-13)
    assert_close(layer.parameters.flat_grad, grads, 1e-13)
    called, _ = layer(x, None, lengths, beside=vectors)
    assert_close(called, y, 1e-13)

    layer.parameters.zero_grad()
    looked, _, backprop = layer.forward(ids, None, lengths, embedding=table, beside=vectors)
    nothing, _, d_vectors_too = backprop(y, state)
    assert nothing is None
    assert_close((looked, d_vectors_too), (y, d_vectors), 1e-13)
    assert_close(layer.parameters.flat_grad, grads, 1e-13)
    expected = np.zeros((5, 3))
    np.add.at(expected, ids, own_dx)
    assert_close(table.parameters.grads["weight"], expected, 1e-13)


@pytest.mark.parametrize("by_index", [False, True])
def test_gradients(backend, by_index):
    layer = fs.GRU(5, 2, 2, **OPTIONS)
    ids, table, vectors = make_arrays()
    x, weights = table(ids), np.random.default_rng(1).standard_normal((4, 4, 2))
    given = {"embedding": table, "beside": vectors} if by_index else {"beside": vectors}

    def value():
        return (layer(ids if by_index else x, None, [4, 0, 2, 1], **given)[0] * weights).sum()

    _, _, backprop = layer.forward(ids if by_index else x, None, [4, 0, 2, 1], **given)
    dx, _, d_vectors = backprop(weights)
    arrays, gradients = [vectors, layer.parameters.flat], [d_vectors, layer.parameters.flat_grad]
    if by_index:
        arrays, gradients = (
            [*arrays, table.parameters["weight"]],
            [*gradients, table.parameters.grads["weight"]],
        )
    else:
        arrays, gradients = [*arrays, x], [*gradients, dx]
    check_gradients(value, arrays, gradients)


def test_a_batch_of_no_rows(backend, make_layer):
    layer = make_layer(5, 3, **OPTIONS)
    layer.parameters.zero_grad()
    y, _, backprop = layer.forward(np.zeros((4, 0, 3)), beside=np.zeros((0, 2)))
    dx, _, d_vectors = backprop(y)
    assert (y.shape, dx.shape, d_vectors.shape) == ((4, 0, 3), (4, 0, 3), (0, 2))
    assert not layer.parameters.flat_grad.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layouts_and_dtypes(dtype):
    ids, table, vectors = make_arrays(dtype)
    x, kinds = table(ids), {"dtype": dtype, "seed": 0}
    y, _, backprop = fs.LSTM(5, 3, **kinds).forward(x, beside=vectors)
    dx, _, d_vectors = backprop(y)
    assert y.dtype == d_vectors.dtype == dtype
    first = fs.LSTM(5, 3, batch_first=True, **kinds)
    own, _, backprop = first.forward(x.swapaxes(0, 1), beside=vectors)
    assert_identical(np.ascontiguousarray(own.swapaxes(0, 1)), y)
    own_dx, _, own_d = backprop(own)
    assert_identical((np.ascontiguousarray(own_dx.swapaxes(0, 1)), own_d), (dx, d_vectors))
    alone, _, backprop = fs.LSTM(5, 3, **kinds).forward(x[:, 1], beside=vectors[1])
    assert_close(alone, y[:, 1])
    own_dx, _, own_d = backprop(alone)
    assert_close((own_dx, own_d), (dx[:, 1], d_vectors[1]))
    _, _, backprop = fs.LSTM(5, 3, **kinds).forward(x, beside=vectors)
    dx, _, d_vectors = backprop(y, input_grad=False)
    assert dx is None and d_vectors is None


def test_a_row_does_not_depend_on_its_company_nor_on_threads():
    if fs.get_backend() != "cython":
        pytest.skip("only the compiled kernels promise it")
    rng, before = np.random.default_rng(0), fs.get_num_threads()
    layer, lengths = fs.GRU(40, 32, seed=0), rng.integers(0, 12, 24)
    x = rng.standard_normal((11, 24, 30), dtype=np.float32)
    vectors = rng.standard_normal((24, 10), dtype=np.float32)
    results = []
    try:
        for threads in (1, 2, 3):
            fs.set_num_threads(threads)
            layer.parameters.zero_grad()
            y, _, backprop = layer.forward(x, None, lengths, beside=vectors)
            results.append((y, *backprop(y)[::2], layer.parameters.flat_grad.copy()))
    finally:
        fs.set_num_threads(before)
    for result in results[1:]:
        assert_identical(result, results[0])
    some = np.array([3, 20, 7])
    y, _, backprop = layer.forward(x[:, some], None, lengths[some], beside=vectors[some])
    dx, _, d_vectors = backprop(y)
    whole = results[0]
    assert_identical((y, dx), (whole[0][:, some], whole[1][:, some]))
    assert_identical(d_vectors, whole[2][some])


@pytest.mark.parametrize(
    ("vectors", "error", "parts"),
    [
        (np.ones((4, 5)), ValueError, ["beside", "less than input_size, 5", "(4, 5)"]),
        (np.ones((4, 1, 2)), ValueError, ["beside must have shape (B, F)", "(4, 1, 2)"]),
        (np.float64(1.0), ValueError, ["beside must have shape (B, F)"]),
        (np.ones((3, 2)), ValueError, ["beside must have shape (B, F)", "(4, 2)", "(3, 2)"]),
        (np.ones((4, 1)), ValueError, ["x must have shape (T, B, 4)", "without what is beside x"]),
        ("abc", TypeError, ["beside"]),
    ],
)
def test_errors(vectors, error, parts):
    ids, table, _ = make_arrays()
    with raises(error, *parts):
        fs.GRU(5, 3, **OPTIONS).forward(table(ids), beside=vectors)


def test_an_embedding_must_leave_room():
    ids, table, _ = make_arrays()
    with raises(ValueError, "embedding must have vectors of 4", "without what is beside x"):
        fs.GRU(5, 3, **OPTIONS)(ids, embedding=table, beside=np.ones((4, 1)))
