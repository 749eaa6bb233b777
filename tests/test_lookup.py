"""Recurrent layers over indices of an embedding: the same as over its vectors."""

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises
from layer_cases import backend_fixture, make_layer_fixture  # noqa: F401

import fastseq as fs

VECTORS, FEATURES, HIDDEN = 6, 4, 5
LENGTHS = [3, 7, 0, 5]
# more tokens than vectors, and fewer
all_sizes = pytest.mark.parametrize("vectors", [VECTORS, 50])


class Model(fs.Module):
    """A layer over an embedding; ``direct`` says whether it takes indices itself."""

    def __init__(self, make_layer, vectors, direct, **options):
        super().__init__(
            embedding=fs.Embedding(vectors, FEATURES, padding_idx=1, dtype=np.float64, seed=0),
            layer=make_layer(FEATURES, HIDDEN, dtype=np.float64, seed=1, **options),
        )
        self.direct = direct

    def __call__(self, ids, state=None, lengths=None):
        if self.direct:
            return self.layer(ids, state, lengths, embedding=self.embedding)
        return self.layer(self.embedding(ids), state, lengths)

    def gradients(self, ids, lengths=None, seed=2):
        """Outputs, and the gradients of everything for random gradients of the outputs."""
        self.parameters.zero_grad()
        if self.direct:
            y, state, backprop = self.layer.forward(ids, None, lengths, embedding=self.embedding)
        else:
            x, backprop_embedding = self.embedding.forward(ids)
            y, state, backprop = self.layer.forward(x, None, lengths)
        dy = np.random.default_rng(seed).standard_normal(y.shape)
        dx, dstate = backprop(dy, state)
        assert (dx is None) == self.direct
        if not self.direct:
            backprop_embedding(dx)
        return (y, state, dstate, self.parameters.flat_grad.copy())


def make_ids(vectors, batch_first=False):
    ids = np.random.default_rng(3).integers(vectors, size=(7, 4))
    return ids.T if batch_first else ids


def make_pair(make_layer, vectors, **options):
    return [Model(make_layer, vectors, direct, **options) for direct in (True, False)]


@all_sizes
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["dense", "ragged"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"batch_first": True},
        {"bidirectional": True, "num_layers": 2},
    ],
    ids=lambda options: "-".join(options) or "default",
)
def test_indices_equal_vectors(backend, make_layer, vectors, lengths, options):
    direct, usual = make_pair(make_layer, vectors, **options)
    ids = make_ids(vectors, options.get("batch_first", False))
    for actual, expected in zip(
        direct.gradients(ids, lengths), usual.gradients(ids, lengths), strict=True
    ):
        assert_close(actual, expected)
    assert_close(direct(ids, None, lengths), usual(ids, None, lengths))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_and_cuts_do_not_show(make_layer, dtype):
    """A sequence's outputs are the same bits whatever shares its batch, however it is cut."""
    if fs.get_backend() != "cython":
        pytest.skip("only the Cython backend promises this")
    embedding = fs.Embedding(300, 65, dtype=dtype, seed=0)
    layer = make_layer(65, 33, dtype=dtype, seed=1)
    ids = np.random.default_rng(3).integers(300, size=(20, 9))
    y, state = layer(ids, embedding=embedding)
    for row in (0, 8):
        alone, _ = layer(ids[:, row : row + 1], embedding=embedding)
        assert_identical(alone, y[:, row : row + 1])
    first, middle = layer(ids[:7], embedding=embedding)
    second, last = layer(ids[7:], middle, embedding=embedding)
    assert_identical(np.concatenate([first, second]), y)
    assert_identical(last, state)


def test_without_a_batch(make_layer):
    direct, usual = make_pair(make_layer, VECTORS)
    ids = make_ids(VECTORS)[:, 0]
    assert_close(direct.gradients(ids), usual.gradients(ids))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_no_tokens(shape):
    direct, usual = make_pair(fs.LSTM, VECTORS)
    ids = np.zeros(shape, int)
    for actual, expected in zip(direct.gradients(ids), usual.gradients(ids), strict=True):
        assert_identical(actual, expected)


def test_gradients_accumulate_and_the_padding_row_gets_none(backend):
    model = Model(fs.GRU, VECTORS, True)
    ids = make_ids(VECTORS)
    *_, once = model.gradients(ids)
    assert not model.embedding.parameters.grads["weight"][1].any()
    assert np.abs(model.embedding.parameters.grads["weight"][[0, 2, 3, 4, 5]]).min() > 0
    y, _, backprop = model.layer.forward(ids, embedding=model.embedding)
    backprop(np.random.default_rng(2).standard_normal(y.shape), y[-1:])
    assert_close(model.parameters.flat_grad, 2 * once)


def test_the_embeddings_gradient_can_be_left_out():
    model = Model(fs.LSTM, VECTORS, True)
    y, _, backprop = model.layer.forward(make_ids(VECTORS), embedding=model.embedding)
    backprop(y, input_grad=False)
    assert not model.embedding.parameters.flat_grad.any()
    assert model.layer.parameters.grads["weight_ih_l0"].any()


def test_parameters_may_change_between_calls(backend):
    direct, usual = make_pair(fs.RNN, VECTORS)
    ids = make_ids(VECTORS)
    for model in (direct, usual):
        model.gradients(ids)
        model.parameters.flat[:] *= 0.5
    assert_close(direct.gradients(ids), usual.gradients(ids))


def test_bad_arguments():
    lstm, embedding = fs.LSTM(FEATURES, HIDDEN), fs.Embedding(VECTORS, FEATURES)
    with raises(TypeError, "embedding must be an Embedding", "ndarray"):
        lstm(make_ids(VECTORS), embedding=np.zeros((VECTORS, FEATURES)))
    with raises(ValueError, "4 features of float32", "got 3 of float32"):
        lstm(make_ids(VECTORS), embedding=fs.Embedding(VECTORS, 3))
    with raises(ValueError, "got 4 of float64"):
        lstm(make_ids(VECTORS), embedding=fs.Embedding(VECTORS, 4, dtype=np.float64))
    with raises(TypeError, "x must hold integers", "float32"):
        lstm(np.zeros((2, 3), np.float32), embedding=embedding)
    with raises(ValueError, "x must lie between 0 and 5", "got 6 at x[1, 0]"):
        lstm([[0, 1], [6, 2]], embedding=embedding)
    with raises(ValueError, "shape (T, B)", "got (1, 2, 3)"):
        lstm(np.zeros((1, 2, 3), int), embedding=embedding)
    with raises(ValueError, "lengths"):
        lstm(make_ids(VECTORS), lengths=[1, 2], embedding=embedding)
