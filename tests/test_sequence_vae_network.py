"""The network of the autoencoder for sequences: its bound, gradients, equalities."""

import itertools

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises
from layer_cases import backend_fixture, check_gradients  # noqa: F401
from network_cases import check_network, same_noise
from sequence_vae_cases import END, KINDS, UNKNOWN, Z, make_batch, make_network

import fastseq as fs
from fastseq.models.latent_training import noise_of_rows


@pytest.mark.parametrize("name", KINDS)
def test_gradients(backend, name):
    network = make_network(name, embedding_dim=2, hidden_size=2, latent_size=2)
    network.objective.begin(0.7, 1.0, 0.1)
    batch = make_batch(rows=3, longest=3)
    check_network(backend, network, same_noise(network, batch))


@pytest.mark.parametrize("rows", [1, 3])
def test_gradients_of_short_texts(rows):
    """Texts of no word and of one alone, and a batch without a mask."""
    network = make_network("bag", embedding_dim=2, hidden_size=2)
    batch = make_batch(texts=[[3], [5], [3]][:rows])
    assert batch.mask is None
    check_network("cython", network, same_noise(network, batch))
    empty = make_batch(texts=[[]] * rows)
    network.parameters.zero_grad()
    assert np.isfinite(network.loss_and_grad(empty))
    assert not network.parameters.grads["bag.output.weight"].any()


def by_the_book(network, batch, z):
    """log p(x | z) of each row of an LSTM of one layer, token by token."""
    logs = np.zeros(len(z))
    for row, own in enumerate(z):
        ids = batch.targets[:, row]
        length = len(ids) if batch.mask is None else int(batch.mask[:, row].sum())
        state = network.bridge(own[None])
        for before, after in itertools.pairwise(ids[:length]):
            x = np.concatenate([network.embedding([before])[0], own])
            y, state = network.decoder.layers(x[None, None], state)
            logits = network.linear(y[0])[0]
            logs[row] += logits[after] - np.log(np.exp(logits).sum())
    return logs


@pytest.mark.parametrize("name", ["lstm", "one direction", "deep lstm", "tied"])
def test_the_loss_is_the_negative_bound(name):
    network, batch = make_network(name), make_batch()
    noise = noise_of_rows(batch.rows, 1, Z)[0]
    mean, log_var = network.posterior_of(batch)
    z = mean + np.exp(log_var / 2) * noise
    fits = by_the_book(network, batch, z)
    kl = ((np.exp(log_var) + np.square(mean) - 1 - log_var) / 2).sum(axis=1)
    tokens = network.count(batch)
    assert tokens == batch.mask[1:].sum()
    assert network.loss(batch) == pytest.approx((kl - fits).sum() / tokens, rel=1e-12)
    network.objective.begin(0.0, 0.5, 0.0)
    assert network.loss(batch) == pytest.approx((kl / 2 - fits).sum() / tokens, rel=1e-12)
    judged, weights = network.judge(batch, noise[None])
    assert_close(judged[0], fits, 1e-12)
    log_q = -(np.square(noise) + log_var).sum(axis=1) / 2
    assert_close(weights[0], -np.square(z).sum(axis=1) / 2 - log_q)


def test_training_counts_as_the_objective_says():
    """Reconstruction per token, and of the row's divergence what schedule and free bits leave."""
    batch, losses = make_batch(), []
    for weight, least in ((0.0, 0.0), (1.0, 0.0), (0.5, 0.0), (0.5, 100.0)):
        network = make_network()
        network.objective.begin(weight, 1.0, least)
        losses.append(network.loss_and_grad(batch))
        report = network.report()
        assert report["reconstruction"] * 4 == pytest.approx(losses[0] * network.count(batch))
    share = 4 / network.count(batch)
    assert losses[1] - losses[0] == pytest.approx(share * report["kl"], rel=1e-12)
    assert losses[2] - losses[0] == pytest.approx(share * report["kl"] / 2, rel=1e-12)
    assert losses[3] - losses[0] == pytest.approx(share * 0.5 * 100 * Z, rel=1e-12)


def test_the_bag_knows_all_words_but_the_end():
    network, batch = make_network("bag"), make_batch()
    plain = make_network()
    plain.load_state_dict({n: v for n, v in network.state_dict().items() if n[:4] != "bag."})
    plain.random_state = network.random_state
    difference = network.loss_and_grad(batch) - plain.loss_and_grad(batch)
    plain.random_state = make_network("bag").random_state
    z, _, _ = plain.latent.forward(None, plain.read(batch))
    words = batch.mask[1:] & (batch.targets[1:] != END)
    bag = network.bag(z, batch.targets[1:], words)
    assert difference == pytest.approx(0.6 * bag / network.count(batch), rel=1e-12)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "noise"])
def test_rows_do_not_depend_on_each_other(name):
    network, batch = make_network(name), make_batch(rows=6)
    noise = np.random.default_rng(1).standard_normal((2, 6, Z))
    mean, log_var = network.posterior_of(batch)
    fits, weights = network.judge(batch, noise)
    for row in range(6):
        text = batch.x[: batch.lengths[row] - 1, row].tolist()
        alone = make_batch(texts=[text])
        assert_close(network.posterior_of(alone), (mean[row : row + 1], log_var[row : row + 1]))
        own = network.judge(alone, noise[:, row : row + 1])
        assert_close(own, (fits[:, row : row + 1], weights[:, row : row + 1]))


@pytest.mark.parametrize("name", ["lstm", "gru", "deep"])
def test_decoding_step_by_step_is_what_is_judged(name):
    network, batch = make_network(name), make_batch()
    z = np.random.default_rng(0).standard_normal((4, Z))
    logs, steps = np.zeros(4), network.decode(z)
    order = np.array([2, 0, 3, 1])
    steps.select(order)
    for t in range(len(batch.targets) - 1):
        logits = steps.step(batch.targets[t, order])
        picked = logits[np.arange(4), batch.targets[t + 1, order]]
        own = picked - np.log(np.exp(logits).sum(axis=1))
        logs[order] += own * batch.mask[t + 1, order]
    expected = network._log_probs(network._outputs(z, batch), batch.targets[1:], batch.mask[1:])
    assert_close(logs, expected, 1e-12)


def test_noise_acts_in_training_alone():
    noisy, plain, batch = (
        make_network("noise"),
        make_network("deep lstm", tie_weights=True),
        make_batch(),
    )
    plain.load_state_dict({n: v for n, v in noisy.state_dict().items() if n[:4] != "bag."})
    assert noisy.loss(batch) == plain.loss(batch)
    assert noisy.loss_and_grad(batch) != noisy.loss_and_grad(batch)


def test_the_decoder_alone_loses_words():
    network = make_network(word_dropout=0.9)
    network.embedding.parameters["weight"][UNKNOWN] = np.nan  # whoever reads it
    batch = make_batch(rows=8)
    assert np.isnan(network.loss_and_grad(batch))
    assert np.isfinite(network._read_forward(batch)[0]).all()
    assert np.isfinite(network.loss(batch))


def test_what_was_collected_goes_along_with_a_checkpoint():
    network, other, batch = make_network("noise"), make_network("noise"), make_batch()
    network.loss_and_grad(batch)
    network.objective.weight = 0.25
    other.load_training_state(network.training_state())
    other.random_state = network.random_state
    assert network.loss_and_grad(batch) == other.loss_and_grad(batch)
    assert network.report() == other.report()


def test_float32_agrees():
    network, single, batch = make_network("bag"), make_network("bag", np.float32), make_batch()
    assert single.loss(batch) == pytest.approx(network.loss(batch), rel=1e-5)
    single.random_state = network.random_state
    assert single.loss_and_grad(batch) == pytest.approx(network.loss_and_grad(batch), rel=1e-5)


def test_results_do_not_depend_on_the_number_of_threads():
    before = fs.get_num_threads()
    results = []
    try:
        for threads in (1, 3):
            fs.set_num_threads(threads)
            network, batch = make_network("noise", np.float32), make_batch(rows=9)
            network.parameters.zero_grad()
            loss = network.loss_and_grad(batch)
            results.append((np.array(loss), network.parameters.flat_grad.copy()))
    finally:
        fs.set_num_threads(before)
    assert_identical(*results)


def test_errors():
    with raises(ValueError, "tie_weights=True needs embedding_dim = hidden_size", "4 and 5"):
        make_network("tied", hidden_size=5)
    with raises(ValueError, "bag_of_words must be a finite number, at least 0"):
        make_network(bag_of_words=-1)
    with raises(ValueError, "cell must be one of 'lstm', 'gru', 'rnn'"):
        make_network(cell="lst")
    assert "BagOfWordsLoss" in repr(make_network("bag"))
