"""Latent variables and autoencoders train as their twins in PyTorch do."""

import numpy as np
import pytest
from helpers import assert_close
from latent_cases import SIZES, make_inputs, make_latent, make_vae_network, make_vectors
from sequence_vae_cases import END, KINDS, make_batch, make_network

import fastseq as fs
from fastseq.models.vae_network import LEAST_VARIANCE

torch = pytest.importorskip("torch")
functional, distributions = torch.nn.functional, torch.distributions


class Values(dict):
    """Copies of a network's parameters that have gradients."""

    def __init__(self, network):
        for name, array in network.parameters.items():
            self[name] = torch.from_numpy(array.copy()).requires_grad_()

    def linear(self, name, x):
        weight = self.get(f"{name}.weight")
        weight = self["embedding.weight"] if weight is None else weight  # it is tied
        return x @ weight.T + self[f"{name}.bias"]

    def gaussian(self, name, x):
        """By a network with one hidden layer or none."""
        if f"{name}.hidden.weight" in self:
            x = torch.tanh(self.linear(f"{name}.hidden", x))
        mean, log_var = self.linear(f"{name}.output", x).chunk(2, dim=1)
        return distributions.Normal(mean, torch.exp(log_var / 2))

    def check(self, network):
        for name, value in self.items():
            gradient = np.zeros(value.shape) if value.grad is None else value.grad.numpy()
            assert_close(network.parameters.grads[name], gradient, 1e-11, name=name)


def standard(like):
    return distributions.Normal(torch.zeros_like(like), torch.ones_like(like))


@pytest.mark.parametrize("name", SIZES)
def test_latent_variables(name):
    latent = make_latent(name)
    arrays = make_inputs(latent)
    values = Values(latent)
    condition, evidence, noise = (
        None if array is None else torch.from_numpy(array).requires_grad_() for array in arrays
    )
    seen = evidence if condition is None else torch.cat([condition, evidence], dim=1)
    posterior = values.gaussian("posterior_network", seen)
    prior = standard(posterior.mean)
    if condition is not None:
        prior = values.gaussian("prior_network", condition)
    z = posterior.mean + posterior.stddev * noise
    kl = distributions.kl_divergence(posterior, prior)
    rng = np.random.default_rng(0)
    dz, dkl = rng.standard_normal((2, *z.shape))
    ((torch.from_numpy(dz) * z).sum() + (torch.from_numpy(dkl) * kl).sum()).backward()
    latent.parameters.zero_grad()
    ours_z, ours_kl, backprop = latent.forward(*arrays)
    assert_close((ours_z, ours_kl), (z.detach().numpy(), kl.detach().numpy()), 1e-12)
    d_condition, d_evidence = backprop(dz, dkl)
    assert_close(d_evidence, evidence.grad.numpy(), 1e-11)
    if condition is not None:
        assert_close(d_condition, condition.grad.numpy(), 1e-11)
    values.check(latent)
    drawn, log_weights = latent.importance_samples(*arrays[:2], 3, seed=0)
    drawn = torch.from_numpy(drawn)
    expected = (prior.log_prob(drawn) - posterior.log_prob(drawn)).sum(dim=2)
    assert_close(log_weights, expected.detach().numpy(), 1e-11)


def noise_of(network, rows):
    """What the network is going to draw."""
    rng = np.random.default_rng(0)
    rng.bit_generator.state = network.random_state["latent"]
    return torch.from_numpy(rng.standard_normal((rows, network.latent.latent_size)))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("output", ["gaussian", "bernoulli"])
def test_autoencoders_of_vectors(output, layers):
    network, batch = make_vae_network(output, num_layers=layers), make_vectors(output)
    network.objective.begin(0.4, 1.0, 0.0)
    values, noise = Values(network), noise_of(network, len(batch.x[0]))
    x = torch.from_numpy(batch.x[0])
    h = x
    for layer in range(layers):
        h = torch.tanh(values.linear(f"encoder.linear{layer}", h))
    posterior = values.gaussian("latent.posterior_network", h)
    g = posterior.mean + posterior.stddev * noise
    kl = distributions.kl_divergence(posterior, standard(g)).sum(dim=1)
    for layer in range(layers):
        g = torch.tanh(values.linear(f"decoder.linear{layer}", g))
    y = values.linear("linear", g)
    if output == "gaussian":
        deviations = torch.sqrt(torch.exp(values["output.log_var"]) + LEAST_VARIANCE)
        fits = distributions.Normal(y, deviations).log_prob(x).sum(dim=1)
    else:
        fits = -functional.binary_cross_entropy_with_logits(y, x, reduction="none").sum(dim=1)
    loss = (0.4 * kl - fits).mean()
    loss.backward()
    network.parameters.zero_grad()
    assert network.loss_and_grad(batch) == pytest.approx(loss.item(), rel=1e-12)
    values.check(network)


def layers_of(network, name):
    """A copy of recurrent layers in PyTorch, and the parameters' names here and there."""
    layers = getattr(network, name)
    layers = getattr(layers, "layers", layers)
    kind = {fs.LSTM: torch.nn.LSTM, fs.GRU: torch.nn.GRU, fs.RNN: torch.nn.RNN}[type(layers)]
    sizes = layers.input_size, layers.hidden_size, layers.num_layers
    theirs = kind(*sizes, bidirectional=layers.bidirectional).double()
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in layers.state_dict().items()})
    return theirs


@pytest.mark.parametrize("name", [name for name in KINDS if name != "noise"])
def test_autoencoders_of_sequences(name):
    network, batch = make_network(name), make_batch(rows=5)
    network.objective.begin(0.4, 1.0, 0.05)
    values, rows = Values(network), batch.x.shape[1]
    encoder, decoder = layers_of(network, "encoder"), layers_of(network, "decoder")
    table, noise = values["embedding.weight"], noise_of(network, rows)
    directions = 1 + encoder.bidirectional
    evidence = []
    for row in range(rows):
        ids = torch.from_numpy(batch.x[: batch.lengths[row], row])
        last = encoder(table[ids])[1]
        last = last[0] if isinstance(last, tuple) else last
        evidence.append(last[-directions:].reshape(-1))
    posterior = values.gaussian("latent.posterior_network", torch.stack(evidence))
    z = posterior.mean + posterior.stddev * noise
    kl = distributions.kl_divergence(posterior, standard(z))
    parts = values.linear("bridge.linear", z).reshape(rows, -1, decoder.num_layers, 4)
    total, bag, tokens = 0.0, 0.0, 0
    for row in range(rows):
        ids = torch.from_numpy(batch.targets[: batch.lengths[row] + 1, row])
        state = [torch.tanh(parts[row, 0]), *parts[row, 1:]]
        x = torch.cat([table[ids[:-1]], z[row].expand(len(ids) - 1, -1)], dim=1)
        y, _ = decoder(x, tuple(state) if len(state) > 1 else state[0])
        total = total + functional.cross_entropy(
            values.linear("linear", y), ids[1:], reduction="sum"
        )
        tokens += len(ids) - 1
        if "bag" in network.children:
            words = ids[1:][ids[1:] != END]
            logits = values.linear("bag.output", torch.tanh(values.linear("bag.hidden", z[row])))
            bag = bag - torch.log_softmax(logits, dim=0)[words].sum()
    penalty = torch.clamp(kl.mean(dim=0), min=0.05).sum()
    loss = (total + rows * 0.4 * penalty + 0.6 * bag) / tokens
    loss.backward()
    for prefix, layers in (("encoder", encoder), ("decoder.layers", decoder)):
        for key, value in layers.named_parameters():
            values[f"{prefix}.{key}"].grad = value.grad
    network.parameters.zero_grad()
    assert network.loss_and_grad(batch) == pytest.approx(loss.item(), rel=1e-12)
    values.check(network)
