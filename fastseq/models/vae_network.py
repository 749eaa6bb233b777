"""The network of the autoencoder for vectors: layers with tanh, a latent variable, an output.

N rows, F features, H hidden size, Z latent size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.elementwise import sigmoid
from fastseq.latent import GaussianLatent
from fastseq.layers import Dropout, Linear
from fastseq.models.latent_training import LatentNetwork, Objective, noise_of_rows
from fastseq.module import Module
from fastseq.parameters import Parameters

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from fastseq.data.batching import Batch

# a feature that is constant would have a density without bound
LEAST_VARIANCE = 1e-4

_quiet = np.errstate(over="ignore", invalid="ignore")  # infinity and NaN show in the loss


class VAENetwork(LatentNetwork, Module):
    r"""From vectors to Gaussians of a latent variable, and back to distributions of vectors.

    .. math::

        h = \tanh(W x + b), \qquad z \sim N(\mu(h), \sigma(h)^2), \qquad
        g = \tanh(W' z + b'), \qquad x \sim \mathrm{output}(W'' g + b'')

    with ``num_layers`` layers of either kind (Kingma & Welling, 2014).  A batch has one step of
    features, ``x`` (1, N, F); losses are in nats for a row.

    Parameters
    ----------
    n_features, latent_size, hidden_size, num_layers : int
    output : {"bernoulli", "gaussian"}
    dropout : float
        For the outputs of all layers, in training.
    dtype : {float32, float64}
    seed : int, Generator or None
    """

    def __init__(
        self,
        n_features: int,
        latent_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        output: str,
        dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        seeds = self.named_seeds(seed, "encoder", "latent", "decoder", "linear")
        options = {"dropout": dropout, "dtype": dtype}
        super().__init__(
            encoder=TanhLayers(n_features, hidden_size, num_layers, seed=seeds.encoder, **options),
            latent=GaussianLatent(
                0, hidden_size, latent_size, hidden_size=0, dtype=dtype, seed=seeds.latent
            ),
            decoder=TanhLayers(latent_size, hidden_size, num_layers, seed=seeds.decoder, **options),
            linear=Linear(hidden_size, n_features, dtype=dtype, seed=seeds.linear),
            output=OUTPUTS[checks.choice("output", output, tuple(OUTPUTS))](n_features, dtype),
        )
        self.objective = Objective(latent_size)
        self.settings = {"network": repr(self)}  # which a checkpoint compares

    # --- training -------------------------------------------------------------------------------

    def loss_and_grad(self, batch: Batch) -> float:
        """The negative bound for a row; its gradients are added to ``parameters.grads``."""
        (x,) = batch.x
        h, into_encoder = self.encoder.forward(x)
        z, kl, into_latent = self.latent.forward(None, h)
        g, into_decoder = self.decoder.forward(z)
        y, into_linear = self.linear.forward(g)
        losses, into_output = self.output.forward(y, x)
        value, d_kl = self.objective.divergence(kl)
        self.objective.note(losses.sum(), kl, into_latent.posterior[0])
        dz = into_decoder(into_linear(into_output(1 / len(x))))
        into_encoder(into_latent(dz, d_kl)[1])
        return float(losses.mean()) + value

    def loss(self, batch: Batch) -> float:
        """The negative bound for a row, without dropout and free bits, for validation."""
        (x,) = batch.x
        noise = noise_of_rows(batch.rows, 1, self.latent.latent_size)[0]
        z, kl, _ = self.latent.forward(None, self.encoder(x), noise.astype(self.dtype))
        kl = kl.sum(axis=1, dtype=np.float64).mean()
        return float(self.output.losses(self(z), x).mean() + self.objective.final_weight * kl)

    def count(self, batch: Batch) -> int:
        """How many rows the mean loss of a batch is over."""
        return batch.x.shape[1]

    # --- use ------------------------------------------------------------------------------------

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """What z (..., Z) says of x, as the output takes it, (..., F)."""
        return self.linear(self.decoder(z))

    def posterior_of(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log variance of z (N, Z)."""
        return self.latent.posterior(None, self.encoder(batch.x[0]))

    def judge(self, batch: Batch, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log p(x | z), and log p(z) - log q(z | x), for noise (n, N, Z): (n, N) each."""
        (x,) = batch.x
        z, log_weights = self.latent.importance_samples(
            None, self.encoder(x), len(noise), noise=noise
        )
        return -np.stack([self.output.losses(self(own), x) for own in z]), log_weights


class TanhLayers(Module):
    """Linear layers, each with tanh and dropout behind it."""

    def __init__(self, in_features, hidden_size, num_layers, *, dropout, dtype, seed):
        seeds = self.split_seed(seed, 2 * num_layers)
        sizes = [in_features] + [hidden_size] * num_layers
        children = {}
        for i in range(num_layers):
            children[f"linear{i}"] = Linear(*sizes[i : i + 2], dtype=dtype, seed=seeds[2 * i])
            children[f"dropout{i}"] = Dropout(dropout, seed=seeds[2 * i + 1])
        super().__init__(**children)

    def __call__(self, x):
        """Outputs (..., H) of vectors (..., I), without dropout."""
        for layer, _ in self._pairs():
            x = np.tanh(layer(x))
        return x

    def forward(self, x):
        """Outputs, and ``back(dy)``, which gives dx."""
        backs = []
        for layer, dropout in self._pairs():
            x, into_layer = layer.forward(x)
            x = np.tanh(x)
            backs.append((into_layer, x))
            x, into_dropout = dropout.forward(x)
            backs[-1] += (into_dropout,)

        def back(dy):
            for into_layer, y, into_dropout in reversed(backs):
                dy = into_layer(into_dropout(dy) * (1 - np.square(y)))
            return dy

        return x, back

    def _pairs(self):
        parts = list(self.children.values())
        return zip(parts[::2], parts[1::2], strict=True)


class BernoulliOutput(Module):
    """Features are 1 or 0, or probabilities of it; y are logits (Kingma & Welling, 2014)."""

    def __init__(self, n_features, dtype):
        self._parameters = Parameters({}, checks.float_dtype(dtype))

    def __repr__(self):
        return "BernoulliOutput()"

    def losses(self, y, x):
        """-log p(x) of each row (N,), float64."""
        values = np.maximum(y, 0) - x * y + np.log1p(np.exp(-np.abs(y)))
        return values.sum(axis=1, dtype=np.float64)

    def forward(self, y, x):
        """The rows' losses, and ``back(scale)``, which gives dy of scale times their sum."""
        return self.losses(y, x), lambda scale: (sigmoid(y) - x) * y.dtype.type(scale)

    def mean(self, y):
        """What is expected of x."""
        return sigmoid(y)

    def draw(self, y, rng):
        """x, drawn."""
        return (rng.random(y.shape) < sigmoid(y)).astype(y.dtype)


class GaussianOutput(Module):
    """Features are normally distributed around y, each with a deviation that is learned.

    A deviation is the same for all rows, and no variance gets below ``LEAST_VARIANCE``.
    """

    def __init__(self, n_features, dtype):
        self._parameters = Parameters({"log_var": (n_features,)}, checks.float_dtype(dtype))

    def __repr__(self):
        return f"GaussianOutput({len(self._parameters['log_var'])})"

    @_quiet
    def _variance(self):
        return np.exp(self._parameters["log_var"]) + self.dtype.type(LEAST_VARIANCE)

    @_quiet
    def losses(self, y, x):
        """-log p(x) of each row (N,), float64."""
        variance = self._variance()
        values = np.square(x - y) / variance + np.log(2 * np.pi * variance)
        return values.sum(axis=1, dtype=np.float64) / 2

    def forward(self, y, x):
        """The rows' losses, and ``back(scale)``, which gives dy of scale times their sum."""

        @_quiet
        def back(scale):
            variance, steps = self._variance(), y - x
            dy = steps / variance * y.dtype.type(scale)
            # of 1/2 log v + 1/2 s^2 / v, by v
            slopes = scale * len(x) / variance - (dy * steps).sum(axis=0) / variance
            own = np.exp(self._parameters["log_var"]) * slopes / 2
            with self._parameters.grads_lock:
                self._parameters.grads["log_var"][...] += own
            return dy

        return self.losses(y, x), back

    def mean(self, y):
        """What is expected of x."""
        return y

    def draw(self, y, rng):
        """x, drawn."""
        noise = rng.standard_normal(y.shape).astype(y.dtype)
        return y + np.sqrt(self._variance()) * noise


OUTPUTS = {"bernoulli": BernoulliOutput, "gaussian": GaussianOutput}
