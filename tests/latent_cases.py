"""What the tests of latent variables and of the autoencoder for vectors share."""

import numpy as np

import fastseq as fs
from fastseq.models.vae_network import VAENetwork

C, E, Z, N = 3, 4, 2, 5  # condition, evidence, latent variable, rows
F, H = 4, 3  # features, hidden size

SIZES = {
    "no condition": {"condition_size": 0},
    "condition": {"condition_size": C},
    "hidden layer": {"condition_size": C, "hidden_size": 6},
    "linear": {"condition_size": C, "hidden_size": 0},
    "linear, no condition": {"condition_size": 0, "hidden_size": 0},
}


def make_latent(name="condition", dtype=np.float64, seed=0):
    options = dict(SIZES[name])
    latent = fs.GaussianLatent(
        options.pop("condition_size"), E, Z, **options, dtype=dtype, seed=seed
    )
    rng = np.random.default_rng(seed)
    latent.parameters.flat[:] = 0.7 * rng.standard_normal(latent.parameters.flat.size)
    return latent


def make_inputs(latent, rows=N, seed=1):
    """Condition, evidence, noise."""
    rng = np.random.default_rng(seed)
    sizes = latent.condition_size, latent.evidence_size, latent.latent_size
    arrays = [rng.standard_normal((rows, size)).astype(latent.dtype) for size in sizes]
    return [arrays[0] if latent.condition_size else None, *arrays[1:]]


def make_vae_network(output="gaussian", dtype=np.float64, seed=0, **options):
    network = VAENetwork(F, Z, H, output=output, dtype=dtype, seed=seed, **options)
    rng = np.random.default_rng(seed)
    network.parameters.flat[:] = 0.6 * rng.standard_normal(network.parameters.flat.size)
    return network


def make_vectors(output="gaussian", rows=6, seed=1, dtype=np.float64):
    """A batch of them; for Bernoulli outputs they are probabilities."""
    rng = np.random.default_rng(seed)
    x = rng.random((rows, F)) if output == "bernoulli" else rng.standard_normal((rows, F))
    return fs.Batch(x[None].astype(dtype), rows=np.arange(rows))
