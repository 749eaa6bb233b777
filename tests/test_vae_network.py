"""The network of the autoencoder for vectors: its bound, gradients, and what it reports."""

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises
from latent_cases import F, Z, make_vae_network, make_vectors
from layer_cases import backend_fixture, check_gradients  # noqa: F401
from network_cases import read_gradients, same_noise

import fastseq as fs
from fastseq.models.latent_training import noise_of_rows
from fastseq.models.vae_network import LEAST_VARIANCE


@pytest.mark.parametrize("weight", [1.0, 0.3])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("output", ["gaussian", "bernoulli"])
def test_gradients(backend, output, layers, weight):
    network = make_vae_network(output, num_layers=layers, dropout=0.2)
    network.objective.begin(weight, 1.0, 0.0)
    batch = make_vectors(output)
    value = same_noise(network, batch)
    grads = read_gradients(network, value)
    assert grads.all()
    check_gradients(value, [network.parameters.flat], [grads])


@pytest.mark.parametrize("least", [0.5, 50.0])
def test_gradients_with_free_bits(least):
    network, batch = make_vae_network(), make_vectors()
    network.objective.begin(0.7, 1.0, least)
    value = same_noise(network, batch)
    grads = read_gradients(network, value)
    check_gradients(value, [network.parameters.flat], [grads])
    network.objective.begin(0.7, 1.0, 0.0)
    assert (read_gradients(network, value) != grads).any()


def densities(network, x, z):
    """log p(x | z) of each row, by the book."""
    h = z
    for layer in (network.decoder.linear0, network.linear):
        h = h @ layer.parameters["weight"].T + layer.parameters["bias"]
        h = np.tanh(h) if layer is not network.linear else h
    if "log_var" in network.output.parameters:
        variance = np.exp(network.output.parameters["log_var"]) + LEAST_VARIANCE
        logs = -np.square(x - h) / (2 * variance) - np.log(2 * np.pi * variance) / 2
    else:
        p = 1 / (1 + np.exp(-h))
        logs = x * np.log(p) + (1 - x) * np.log(1 - p)
    return logs.sum(axis=-1)


@pytest.mark.parametrize("output", ["gaussian", "bernoulli"])
def test_the_loss_is_the_negative_bound(output):
    network, batch = make_vae_network(output), make_vectors(output)
    x, noise = batch.x[0], noise_of_rows(batch.rows, 1, Z)[0]
    mean, log_var = network.posterior_of(batch)
    z = mean + np.exp(log_var / 2) * noise
    fits = densities(network, x, z).mean()
    kl = ((np.exp(log_var) + np.square(mean) - 1 - log_var) / 2).sum(axis=1).mean()
    assert network.loss(batch) == pytest.approx(kl - fits, rel=1e-12)
    network.objective.begin(0.1, 0.25, 9.0)
    assert network.loss(batch) == pytest.approx(0.25 * kl - fits, rel=1e-12)
    fits, weights = network.judge(batch, noise[None])
    assert_close(fits[0], densities(network, x, z))
    log_q = -(np.square(noise) + log_var).sum(axis=1) / 2
    assert_close(weights[0], -np.square(z).sum(axis=1) / 2 - log_q)


def test_training_without_noise_has_the_loss_of_validation(monkeypatch):
    network, batch = make_vae_network(), make_vectors()
    noise = noise_of_rows(batch.rows, 1, Z)[0]
    forward = network.latent.forward
    monkeypatch.setattr(
        type(network.latent), "forward", lambda _, c, e, n=None: forward(c, e, noise)
    )
    assert network.loss_and_grad(batch) == pytest.approx(network.loss(batch), rel=1e-13)


def test_reports_are_of_all_rows_since_the_last_one():
    network = make_vae_network()
    batches = [make_vectors(rows=rows, seed=rows) for rows in (5, 2, 7)]
    losses = [network.loss_and_grad(batch) for batch in batches]
    posteriors = [network.posterior_of(batch) for batch in batches]
    means = np.concatenate([mean for mean, _ in posteriors])
    kls = [(np.exp(v) + np.square(m) - 1 - v).sum() / 2 for m, v in posteriors]
    whole = sum(len(batch.x[0]) * loss for batch, loss in zip(batches, losses, strict=True))
    report = network.report()
    assert report["kl"] == pytest.approx(sum(kls) / 14, rel=1e-12)
    assert report["reconstruction"] == pytest.approx((whole - sum(kls)) / 14, rel=1e-12)
    assert report["active_units"] == fs.active_units(means) > 0
    network.loss(batches[0])  # is none of it
    assert network.report() == {"reconstruction": 0.0, "kl": 0.0, "active_units": 0}


def test_what_was_collected_goes_along_with_a_checkpoint():
    network, other = make_vae_network(), make_vae_network()
    network.objective.weight = 0.5
    network.loss_and_grad(make_vectors())
    state = network.training_state()
    other.load_training_state(state)
    other.random_state = network.random_state
    for _ in range(2):
        losses = [part.loss_and_grad(make_vectors(seed=5)) for part in (network, other)]
        assert losses[0] == losses[1]
    assert network.report() == other.report()
    other.load_training_state(state)  # it was not changed meanwhile
    assert other.report()["kl"] == pytest.approx(make_kl(network), rel=1e-12)


def make_kl(network):
    mean, log_var = network.posterior_of(make_vectors())
    return (np.exp(log_var) + np.square(mean) - 1 - log_var).sum() / 2 / 6


def test_noise_of_a_row_does_not_depend_on_others():
    noise = noise_of_rows(np.arange(50), 3, Z, seed=4)
    assert_identical(noise_of_rows(np.array([7, 3]), 3, Z, seed=4), noise[:, [7, 3]])
    assert_identical(noise_of_rows(np.array([7]), 2, Z, seed=4)[:, 0], noise[:2, 7])
    assert (noise_of_rows(np.arange(50), 3, Z, seed=5) != noise).all()
    assert abs(noise.mean()) < 0.15 and abs(noise.std() - 1) < 0.1


@pytest.mark.parametrize("output", ["gaussian", "bernoulli"])
def test_draws_have_the_mean_of_the_output(output):
    network, rng = make_vae_network(output), np.random.default_rng(0)
    y = network(rng.standard_normal((1, Z)))
    drawn = network.output.draw(np.repeat(y, 20_000, axis=0), rng)
    assert_close(drawn.mean(axis=0), network.output.mean(y)[0], 0.05)
    if output == "gaussian":
        variance = np.exp(network.output.parameters["log_var"]) + LEAST_VARIANCE
        assert_close(drawn.var(axis=0), variance, 0.05)
    else:
        assert set(drawn.ravel()) == {0.0, 1.0}


def test_logits_far_out_have_finite_losses():
    network = make_vae_network("bernoulli", dtype=np.float32)
    y = np.array([[1e4, -1e4, 1e4, -1e4]], np.float32)
    x = np.array([[1, 0, 0, 1]], np.float32)
    losses, back = network.output.forward(y, x)
    assert losses.tolist() == [2e4] and back(1.0).tolist() == [[0, 0, 1, -1]]


def test_a_constant_feature_has_no_density_without_bound():
    network = make_vae_network()
    network.output.parameters["log_var"][...] = -1000
    losses = network.output.losses(np.zeros((1, F)), np.zeros((1, F)))
    assert_close(losses, np.array([F * np.log(2 * np.pi * LEAST_VARIANCE) / 2]))


def test_dropout_acts_in_training_alone():
    plain, noisy, batch = make_vae_network(), make_vae_network(dropout=0.5), make_vectors()
    assert noisy.loss(batch) == plain.loss(batch)
    state = noisy.random_state
    noisy.loss_and_grad(batch)
    assert noisy.random_state["encoder.dropout0"] != state["encoder.dropout0"]


def test_errors():
    with raises(ValueError, "output must be one of 'bernoulli', 'gaussian', got 'poisson'"):
        make_vae_network("poisson")
