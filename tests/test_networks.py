"""The estimators' networks: gradients by central differences, and parts against naive twins."""

import numpy as np
import pytest
from helpers import assert_close
from layer_cases import check_gradients
from network_cases import read_gradients, same_noise

import fastseq as fs
from fastseq.data.batching import Batch
from fastseq.models import networks, pooling
from fastseq.models.tagger_network import TaggerBatch, TaggerNetwork

LENGTHS = np.array([4, 2, 0, 1])


def make_network(*, tokens=False, outputs=(3,), loss, cell="lstm", dropout=0.0, **options):
    layers = {"hidden_size": 3, "num_layers": 1, "bidirectional": True, "memory": None}
    names = ("pooling", "partial")
    layers |= {name: value for name, value in options.items() if name not in names}
    encoder = networks.Encoder(
        5 if tokens else 2,
        2 if tokens else None,
        cell,
        dropout=dropout,
        dtype=np.float64,
        seed=0,
        **layers,
    )
    options = {name: options[name] for name in names if name in options}
    return networks.SequenceNetwork(encoder, outputs, loss, dropout=dropout, seed=1, **options)


def make_batch(network, *, tokens=False, outputs=None, steps=False):
    """Random inputs and targets: classes, or numbers of the shape of outputs."""
    rng = np.random.default_rng(2)
    lead = (4, 4)
    x = rng.integers(5, size=lead) if tokens else rng.standard_normal((*lead, 2))
    mask = np.arange(4)[:, None] < LENGTHS if steps else None
    lead = lead if steps else lead[1:]
    if outputs is None:
        targets = rng.integers(3, size=lead)
    else:
        targets = rng.standard_normal((*lead, *outputs))
    return Batch(x, LENGTHS, targets, mask, np.arange(4))


def check(network, batch):
    """Compare all gradients with central differences, the same numbers dropped each time."""
    loss = same_noise(network, batch)
    gradients = read_gradients(network, loss)
    assert np.isfinite(gradients).all() and np.count_nonzero(gradients) > 0.5 * gradients.size
    check_gradients(loss, [network.parameters.flat], [gradients], tolerance=1e-8)


CLASSES = {"loss": fs.CrossEntropyLoss()}
QUANTILES = {"loss": fs.QuantileLoss([0.2, 0.5]), "outputs": (2, 2)}
CASES = {
    "last": (CLASSES | {"pooling": "last"}, {}),
    "mean": (CLASSES | {"pooling": "mean", "cell": "gru"}, {}),
    "max": (CLASSES | {"pooling": "max", "cell": "rnn"}, {}),
    "last-deep-one-way": (
        CLASSES | {"pooling": "last", "num_layers": 2, "bidirectional": False, "dropout": 0.3},
        {},
    ),
    "tokens": (CLASSES | {"pooling": "mean", "tokens": True}, {"tokens": True}),
    "tokens-dropout": (
        CLASSES | {"pooling": "last", "tokens": True, "dropout": 0.4, "cell": "gru"},
        {"tokens": True},
    ),
    "steps": ({"loss": fs.MSELoss(), "outputs": (3,)}, {"outputs": (3,), "steps": True}),
    "quantiles": (QUANTILES | {"pooling": "last"}, {"outputs": (2,)}),
    "step-quantiles": (QUANTILES, {"outputs": (2,), "steps": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_central_differences(name):
    settings, form = CASES[name]
    network = make_network(**({"pooling": None} | settings))
    check(network, make_batch(network, **form))


def test_dropout_acts_on_vectors_of_tokens_in_training_alone():
    network = make_network(**CLASSES, pooling="last", tokens=True, dropout=0.5)
    encoder, batch = network.encoder, make_batch(network, tokens=True)
    plain, _ = encoder(batch.x, LENGTHS)
    state = network.random_state
    dropped, _, _ = encoder.forward(batch.x, LENGTHS)
    assert np.abs(dropped - plain).max() > 0.01
    network.random_state = state
    vectors, _ = encoder.dropout.forward(encoder.embedding(batch.x))
    assert_close(dropped, encoder.layers(vectors, None, LENGTHS)[0])


def test_targets_that_are_missing_have_no_part():
    network = make_network(loss=fs.MSELoss(), outputs=(2, 1), pooling=None, partial=True)
    batch = make_batch(network, outputs=(2, 1), steps=True)
    batch.targets[0, 1, 0] = batch.targets[3, 0, :] = np.nan
    check(network, batch)
    known = ~np.isnan(batch.targets) & batch.mask[..., None, None]
    assert network.count(batch) == np.count_nonzero(known) == 14 - 3
    errors = np.square(network(batch.x, LENGTHS) - batch.targets)[known]
    np.testing.assert_allclose(network.loss(batch), errors.mean(), rtol=1e-13)


def test_losses_are_weighed_by_what_they_are_over():
    network = make_network(loss=fs.MSELoss(), outputs=(3,), pooling=None)
    ragged = make_batch(network, outputs=(3,), steps=True)
    assert network.count(ragged) == 3 * LENGTHS.sum()
    assert network.count(ragged._replace(mask=None)) == 3 * 16
    pooled = make_network(**CLASSES, pooling="mean")
    assert pooled.count(make_batch(pooled)) == 4


# --- pooling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", pooling.POOLINGS)
@pytest.mark.parametrize("lengths", [LENGTHS, np.array([0, 0]), np.array([3, 3])], ids=str)
def test_pooling_is_what_a_row_alone_gives(kind, lengths):
    rng = np.random.default_rng(0)
    lstm = fs.LSTM(2, 3, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    x = rng.standard_normal((lengths.max(), len(lengths), 2))
    pooled, _ = pooling.POOLINGS[kind](*lstm(x, None, lengths), lengths)
    for row, length in enumerate(lengths):
        y, (h, _) = lstm(x[:length, row])
        naive = {
            "last": lambda y=y, h=h: h[-2:].reshape(-1),
            "mean": lambda y=y: y.mean(axis=0) if len(y) else np.zeros(6),
            "max": lambda y=y: y.max(axis=0) if len(y) else np.zeros(6),
        }
        assert_close(pooled[row], naive[kind]())


# --- layers that expect a memory ----------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_memory_sets_what_the_gates_keep(cell):
    hidden, steps = 400, 600
    options = {"num_layers": 2, "bidirectional": True, "dropout": 0.0, "dtype": np.float64}
    layers, plain = (
        networks.make_layers(2, hidden, cell=cell, memory=memory, seed=0, **options)
        for memory in (steps, None)
    )
    parameters = layers.parameters
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        bias = parameters[f"bias_ih_{suffix}"] + parameters[f"bias_hh_{suffix}"]
        kept = np.exp(bias[hidden : 2 * hidden])
        assert 1 <= kept.min() < 20 and steps - 20 < kept.max() <= steps - 1
        assert abs(kept.mean() - steps / 2) < 40
        if cell == "lstm":
            assert_close(bias[:hidden], -bias[hidden : 2 * hidden])
        rest = slice(2 * hidden, None)
        np.testing.assert_array_equal(
            parameters[f"bias_ih_{suffix}"][rest], plain.parameters[f"bias_ih_{suffix}"][rest]
        )
        for name in ("weight_ih_", "weight_hh_"):
            np.testing.assert_array_equal(
                parameters[name + suffix], plain.parameters[name + suffix]
            )
    assert not np.array_equal(parameters["bias_ih_l0"], parameters["bias_ih_l1"])


# --- tagger -------------------------------------------------------------------------------------


def make_tagger(*, crf=False, cell="lstm", characters=4, dropout=0.0, word_dropout=0.0):
    return TaggerNetwork(
        6,
        characters,
        3,
        unknown_id=1,
        cell=cell,
        hidden_size=3,
        num_layers=1,
        bidirectional=True,
        embedding_dim=2,
        char_embedding_dim=2,
        char_hidden_size=2,
        dropout=dropout,
        word_dropout=word_dropout,
        memory=None,
        crf=crf,
        dtype=np.float64,
        seed=0,
    )


def make_tagger_batch():
    rng = np.random.default_rng(1)
    mask = np.arange(4)[:, None] < LENGTHS
    places = np.where(mask, rng.integers(1, 5, (4, 4)), 0)
    words = np.array([0, 2, 5, 3, 1])[places]
    characters = rng.integers(4, size=(3, 5))
    lengths = np.array([0, 3, 1, 2, 3])
    targets = rng.integers(3, size=(4, 4))
    return TaggerBatch(words, places, characters, lengths, LENGTHS, targets, mask, np.arange(4))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"crf": True, "cell": "gru"},
        {"characters": 0, "cell": "rnn"},
        {"dropout": 0.3, "word_dropout": 0.4},
    ],
    ids=["plain", "crf-gru", "words", "dropout"],
)
def test_gradients_of_the_tagger_are_central_differences(options):
    check(make_tagger(**options), make_tagger_batch())


def test_a_word_is_spelled_once_but_learns_from_all_its_places():
    """The same as when each place of a word had characters of its own."""
    network, batch = make_tagger(), make_tagger_batch()
    apart = batch._replace(
        places=np.arange(16).reshape(4, 4),
        characters=batch.characters[:, batch.places.reshape(-1)],
        character_lengths=batch.character_lengths[batch.places.reshape(-1)],
    )
    results = []
    for each in (batch, apart):
        network.parameters.zero_grad()
        results.append((network.loss_and_grad(each), network.parameters.flat_grad.copy()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-13)
    assert_close(results[0][1], results[1][1])


def test_words_that_pass_for_unknown_ones():
    network, batch = make_tagger(word_dropout=0.2), make_tagger_batch()
    words = np.full((100, 100), 4)
    unknown = network.unknown.forward(words) == 1
    assert abs(unknown.mean() - 0.2) < 0.03
    network.parameters.zero_grad()
    network.loss_and_grad(batch)
    assert network.embedding.parameters.grads["weight"][1].any()
    assert network.loss(batch) == network.loss(batch)  # nothing is dropped without training
