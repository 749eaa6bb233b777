"""The variational autoencoder of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastseq import checks
from fastseq.data.batching import Batches
from fastseq.models import inputs
from fastseq.models.autoencoder import Autoencoder
from fastseq.models.settings import estimator
from fastseq.models.vae_network import OUTPUTS, VAENetwork

ROWS_AT_ONCE = 1_000  # of a batch that nothing is learned from


@estimator
class VAE(Autoencoder):
    r"""Finds a few numbers behind vectors, and makes new vectors from such numbers.

    A network guesses a latent variable z from x, another one x from z; both learn from a lower
    bound of the probability of x (Kingma & Welling, 2014):

    .. math:: \log p(x) \ge E_{q(z | x)} \log p(x | z) - \mathrm{KL}(q(z | x) \,\|\, N(0, 1))

    Data are arrays (N, F), or data frames.

    Parameters
    ----------
    latent_size : int
        Z, how many numbers.
    hidden_size, num_layers : int
        Of the layers with tanh before z, and of those behind it.
    output : {"gaussian", "bernoulli"}
        Features are normally distributed, each with a deviation that is learned; or they are 0
        or 1, or numbers between that are taken for probabilities, such as grey values.
    standardize : bool
        Whether Gaussian features are brought to a mean of 0 and a deviation of 1 first.
    dropout : float
        For the outputs of the layers, while training.
    kl_schedule : {"constant", "linear", "cyclical"}
        How the weight of the divergence goes up to ``kl_weight``, in each ``fit`` anew: see
        :class:`fastseq.KLSchedule`.
    kl_updates : int, optional
        How many updates a rise takes; by default so many that the weight rises during half of
        the run, in all.
    kl_cycles : int
        How many rises there are in a cyclical schedule.
    kl_weight : float
        More than 1 asks for simple codes, less for accurate ones (Higgins et al., 2017).
    free_bits : float
        Nats that each dimension of z may tell for free: see :func:`fastseq.free_bits`.
    epochs : int
        Passes over the data.
    batch_size : int
        How many vectors an update takes.
    {training}

    Attributes
    ----------
    n_features_in_ : int
    mean_, scale_ : ndarray (F,) or None
        Of each feature, if it is standardised.
    network_ : Module
    history_ : History
        Losses and more, for each update and epoch; ``reports`` has those of the latent variable.

    Examples
    --------
    Five features that are mixed of two numbers, and some noise:

    >>> import numpy as np, fastseq as fs
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((500, 2)) @ rng.standard_normal((2, 5))
    >>> X += 0.1 * rng.standard_normal(X.shape)
    >>> vae = fs.VAE(latent_size=4, hidden_size=32, epochs=40, lr=0.01, random_state=0).fit(X)
    >>> vae.latent_report(X).active_units  # of four
    2
    >>> vae.encode(X).shape, vae.sample(10, seed=0).shape
    ((500, 4), (10, 5))
    >>> bool(np.square(vae.reconstruct(X) - X).mean() < 0.03 * X.var())
    True
    >>> vae.history_.reports["active_units"][-1]
    2.0
    """

    learned = ("n_features_in_", "mean_", "scale_")

    latent_size: int = 8
    hidden_size: int = 128
    num_layers: int = 1
    output: str = "gaussian"
    standardize: bool = True
    dropout: float = 0.0
    epochs: int = 30
    max_norm: float | None = None

    # --- use ------------------------------------------------------------------------------------

    def decode(self, z: Any) -> np.ndarray:
        """The vectors that latent variables stand for.

        Parameters
        ----------
        z : array, (N, Z)

        Returns
        -------
        X : ndarray, (N, F)
            The means of p(x | z); with ``output="bernoulli"`` probabilities.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If z is something else.
        FloatingPointError
            If the model's parameters are not finite.
        """
        return self._measured(self.network_.output.mean(self._outputs(z)))

    def reconstruct(self, X: Any) -> np.ndarray:
        """What comes of vectors through the latent variable: ``decode(encode(X))``.

        Parameters
        ----------
        X : array, (N, F)

        Returns
        -------
        X : ndarray, (N, F)

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`encode`.
        """
        return self.decode(self.encode(X))

    def sample(
        self,
        n: int = 1,
        *,
        noise: bool = False,
        seed: checks.Seed = None,
    ) -> np.ndarray:
        """New vectors.

        Parameters
        ----------
        n : int
            How many.
        noise : bool
            Whether vectors are drawn from p(x | z), or are its means; z is drawn either way.
        seed : int, Generator or None

        Returns
        -------
        X : ndarray, (n, F)

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If an argument is something else.
        FloatingPointError
            If the model's parameters are not finite.
        """
        self._check_fitted()
        rng, noise = checks.generator(seed), checks.flag("noise", noise)
        y, output = self._outputs(self.network_.latent.sample(n=n, seed=rng)), self.network_.output
        return self._measured(output.draw(y, rng) if noise else output.mean(y))

    def _outputs(self, z):
        """What z says of x, as the network's output takes it."""
        return self.network_(self._read_codes(z))

    def _measured(self, x):
        """Vectors of the network as users measure them."""
        self._sound(x)
        return x if self.mean_ is None else (x * self.scale_ + self.mean_).astype(x.dtype)

    def _log_unit(self):
        return 0.0 if self.scale_ is None else -float(np.log(self.scale_).sum())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = True, False
        return tags

    # --- training -------------------------------------------------------------------------------

    def check_settings(self):
        self._check_training()
        self._check_latent()
        for name in ("hidden_size", "num_layers"):
            checks.positive_int(name, getattr(self, name))
        checks.choice("output", self.output, tuple(OUTPUTS))
        checks.flag("standardize", self.standardize)
        checks.fraction("dropout", self.dropout)

    def read(self, X, y=None):
        return self._check_range(inputs.read_vectors("X", X)), None

    def _read(self, X):
        return self._check_range(inputs.read_vectors("X", X, self.n_features_in_))

    def _check_range(self, X):
        """The vectors, if the output can be such."""
        wrong = (X < 0) | (X > 1)
        if self.output == "bernoulli" and wrong.any():
            at = checks.first(X, wrong)
            raise ValueError(
                "X must hold numbers from 0 to 1 with output='bernoulli', got "
                f"{X[at]} at {checks.position('X', at)}; scale them, or give output='gaussian'"
            )
        return X

    def learn(self, X, y):
        if not len(X):
            raise ValueError("X must hold at least one vector, got none")
        self.n_features_in_, self.mean_, self.scale_ = X.shape[1], None, None
        if self.output == "gaussian" and self.standardize:
            self.mean_, self.scale_ = inputs.learn_scale("X", [X])

    def make_network(self, seed):
        return VAENetwork(
            self.n_features_in_,
            self.latent_size,
            self.hidden_size,
            self.num_layers,
            output=self.output,
            dropout=self.dropout,
            dtype=self.dtype,
            seed=seed,
        )

    def _data_batches(self, X, seed):
        inputs.check_features("X", X, self.n_features_in_)  # of a validation
        dtype = checks.float_dtype(self.dtype)
        X = inputs.standardized_array("X", X, self.mean_, self.scale_, dtype)
        return Batches(X[:, None], **self._batch_options(seed, ROWS_AT_ONCE))
