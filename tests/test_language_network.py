"""The network of a language model: gradients through the whole of it, carried states, streams."""

import copy
import tracemalloc

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises
from layer_cases import backend_fixture, check_gradients  # noqa: F401

import fastseq as fs
from fastseq.models import language_network
from fastseq.models.language_network import LanguageNetwork

KINDS = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn"},
    "deep": {"num_layers": 2},
    "dropout": {"num_layers": 2, "dropout": 0.3},
    "tied": {"tie_weights": True},
    "tied dropout": {"tie_weights": True, "dropout": 0.3},
    "adaptive": {"softmax": "adaptive", "cutoffs": [4]},
    "sampled": {"softmax": "sampled", "num_sampled": 5, "cell": "gru"},
    "tied sampled": {"softmax": "sampled", "num_sampled": 5, "tie_weights": True},
}
TOKENS = 11


def make_network(name="lstm", dtype=np.float64, seed=0, **options):
    network = LanguageNetwork(TOKENS, 4, 4, dtype=dtype, seed=seed, **KINDS[name], **options)
    network.parameters.flat[:] *= 2  # so that no gradient is small
    return network


def make_windows(seed=0, count=30, batch_size=4, steps=3):
    """The last window has rows of different lengths."""
    stream = np.random.default_rng(seed).integers(TOKENS, size=count)
    return list(fs.BPTTWindows(stream, batch_size, steps))


@pytest.mark.parametrize("name", KINDS)
def test_gradients(backend, name):
    network, batches = make_network(name), make_windows()
    assert batches[-1].mask is not None
    for batch in (batches[0], batches[-1]):
        carried, random_state = network.training_state(), network.random_state

        def value(batch=batch, carried=carried, random_state=random_state):
            network.load_training_state(carried)
            network.random_state = random_state
            return network.loss_and_grad(batch)

        network.parameters.zero_grad()
        value()
        grads = network.parameters.flat_grad.copy()
        check_gradients(value, [network.parameters.flat], [grads])
        assert np.count_nonzero(grads) > grads.size / 3


@pytest.mark.parametrize("name", [name for name in KINDS if "dropout" not in name])
def test_loss_is_what_is_trained_without_dropout(name):
    network, twin = make_network(name), make_network(name)
    for batch in make_windows():
        loss, trained = network.loss(batch), twin.loss_and_grad(batch)
        if "sampled" in name:
            assert loss != trained
        else:
            assert loss == pytest.approx(trained, rel=1e-13)


def test_dropout_acts_in_training_alone():
    plain, dropped = make_network("deep"), make_network("dropout")
    batch = make_windows()[0]
    assert plain.loss(batch) == dropped.loss(batch)
    first, second = dropped.loss_and_grad(batch), dropped.loss_and_grad(batch)
    assert plain.loss_and_grad(batch) != first != second


@pytest.mark.parametrize("name", ["lstm", "gru", "deep", "tied", "adaptive"])
def test_the_mean_over_windows_is_the_mean_log_probability(name):
    """With one row, the state carried from window to window."""
    network = make_network(name)
    ids = np.random.default_rng(1).integers(TOKENS, size=33)
    total = count = 0
    for batch in fs.BPTTWindows(ids, 1, 7):
        total, count = total + batch.tokens * network.loss(batch), count + batch.tokens
    log_prob, _ = network.log_prob(ids)
    assert count == log_prob.size == 32
    assert total / count == pytest.approx(-log_prob.mean(), rel=1e-12)


def test_an_epoch_begins_without_a_state():
    network, windows = make_network(), make_windows()
    first = network.loss_and_grad(windows[0])
    network.loss_and_grad(windows[1])
    assert network.loss_and_grad(windows[0]) == first
    assert network.loss_and_grad(windows[1]._replace(carried=False)) != network.loss_and_grad(
        windows[1]
    )


@pytest.mark.parametrize("name", ["lstm", "gru", "adaptive"])
def test_log_prob_of_every_token_sums_to_one(name):
    network = make_network(name)
    ids = np.array([3, 1, 4, 1, 5])
    parts = [network.log_prob(np.append(ids, v))[0] for v in range(TOKENS)]
    np.testing.assert_allclose(np.exp([part[-1] for part in parts]).sum(), 1, rtol=1e-12)
    np.testing.assert_allclose([part[:-1] for part in parts], [parts[0][:-1]] * TOKENS, rtol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_a_stream_says_what_whole_sequences_say(name):
    network = make_network(name)
    ids = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    h, _ = network.layers(network.embedding(ids[:, None]))
    expected = network.scores(h[:, 0])
    stream = network.stream()
    steps = [stream.step(token)[0].copy() for token in ids]
    assert_close(np.stack(steps), expected, 1e-12)
    stream = network.stream()
    assert_close(stream.read(ids[:3]), expected[2:3], 1e-12)
    assert_close(stream.step(ids[3]), expected[3:4], 1e-12)
    assert_close(stream.read(ids[4:6]), expected[5:6], 1e-12)
    assert_close(stream.step(ids[6]), expected[6:7], 1e-12)


def test_a_step_of_a_stream_allocates_nothing():
    network = LanguageNetwork(50_000, 8, 8, seed=0)
    stream = network.stream()
    stream.step(3)
    tracemalloc.start()
    try:
        stream.step(4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5000


@pytest.mark.parametrize("name", ["lstm", "dropout", "tied sampled"])
def test_training_goes_on_from_a_saved_state_bit_for_bit(name):
    def update(network, adam, batch):
        adam.zero_grad()
        loss = network.loss_and_grad(batch)
        adam.step(max_norm=1.0)
        return loss

    windows, network = make_windows(), make_network(name)
    adam = fs.Adam(network.parameters, 0.01)
    update(network, adam, windows[0])
    state, values = copy.deepcopy(network.training_state()), network.state_dict()
    random_state, moments = network.random_state, adam.state_dict()
    losses = [update(network, adam, batch) for batch in windows[1:]]

    twin = make_network(name, seed=5)
    other = fs.Adam(twin.parameters, 0.01)
    twin.load_state_dict(values)
    twin.load_training_state(state)
    twin.random_state = random_state
    other.load_state_dict(moments)
    assert [update(twin, other, batch) for batch in windows[1:]] == losses
    assert_identical(twin.parameters.flat, network.parameters.flat)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_results_do_not_depend_on_the_number_of_threads(dropout):
    if fs.get_backend() != "cython":
        pytest.skip("only the compiled kernels promise it")
    before, results = fs.get_num_threads(), []
    stream = np.random.default_rng(0).integers(500, size=900)
    try:
        for threads in (1, 2, 3):
            fs.set_num_threads(threads)
            network = LanguageNetwork(500, 32, 64, 2, dropout=dropout, seed=0)
            adam, losses = fs.Adam(network.parameters, 0.01), []
            for batch in fs.BPTTWindows(stream, 16, 20):
                adam.zero_grad()
                losses.append(network.loss_and_grad(batch))
                adam.step(max_norm=1.0)
            results.append((np.array(losses), network.parameters.flat))
    finally:
        fs.set_num_threads(before)
    assert_identical(results[1], results[0])
    assert_identical(results[2], results[0])


def test_copies_train_like_the_original():
    network, windows = make_network("tied dropout"), make_windows()
    network.loss_and_grad(windows[0])
    twin = copy.deepcopy(network)
    assert twin.loss_and_grad(windows[1]) == network.loss_and_grad(windows[1])
    assert_identical(twin.parameters.flat_grad, network.parameters.flat_grad)


def test_a_seed_fixes_the_parameters():
    first, second, other = (make_network("deep", seed=seed) for seed in (1, 1, 2))
    assert_identical(first.parameters.flat, second.parameters.flat)
    assert (first.parameters.flat != other.parameters.flat).mean() > 0.9


def test_tied_weights_are_one_table():
    network = make_network("tied")
    assert [name for name in network.parameters if name.endswith("weight")] == ["embedding.weight"]
    assert np.abs(LanguageNetwork(50, 8, 8, tie_weights=True).embedding(range(50))).max() < 0.1


def test_release_lets_go_of_the_state():
    network = make_network()
    network.loss_and_grad(make_windows()[0])
    network.release()
    assert network.training_state() == {"state": None}


def test_a_loss_that_is_asked_for_amid_training_changes_nothing_of_it():
    network, twin = make_network(), make_network()
    for batch in make_windows():
        network.loss(make_windows()[0])
        assert network.loss_and_grad(batch) == twin.loss_and_grad(batch)
    assert_identical(network.parameters.flat_grad, twin.parameters.flat_grad)


@pytest.mark.parametrize(
    ("n_tokens", "hidden_size", "expected"),
    [
        (40_000, 64, [2000, 10_000]),
        (60_000, 64, [2000, 10_000, 50_000]),
        (60_000, 63, [2000, 10_000]),  # each cluster has a quarter of the features
        (60_000, 4, [2000]),
        (100, 64, [25]),
        (2, 64, [1]),
    ],
)
def test_usual_cutoffs(n_tokens, hidden_size, expected):
    assert language_network._usual_cutoffs(n_tokens, hidden_size) == expected


@pytest.mark.parametrize(
    ("options", "error", "parts"),
    [
        ({"n_tokens": 0}, ValueError, ["num_embeddings", "0"]),
        ({"cell": "elman"}, ValueError, ["cell", "'lstm'", "'elman'"]),
        ({"softmax": "soft"}, ValueError, ["softmax", "'adaptive'", "'soft'"]),
        ({"dropout": 2.0}, ValueError, ["p must be", "2.0"]),
        ({"tie_weights": 1}, TypeError, ["tie_weights", "True or False"]),
        ({"tie_weights": True, "hidden_size": 9}, ValueError, ["tie_weights=True", "6", "9"]),
        ({"tie_weights": True, "softmax": "adaptive"}, ValueError, ["tie_weights", "adaptive"]),
        ({"softmax": "adaptive", "cutoffs": [20]}, ValueError, ["cutoffs", "[20]"]),
        ({"softmax": "sampled", "num_sampled": 0}, ValueError, ["num_sampled", "0"]),
    ],
)
def test_errors(options, error, parts):
    sizes = {"n_tokens": TOKENS, "embedding_dim": 6, "hidden_size": 6}
    with raises(error, *parts):
        LanguageNetwork(**(sizes | options))
