"""Latent variables: what a model has to guess about its data, and draws anew each time.

A variational autoencoder explains x by a vector z that nobody saw.  A network guesses z from x,
q(z | x), another one writes x from z, and both learn from a lower bound of log p(x) (Kingma &
Welling, 2014):

    log p(x | c) >= E_q log p(x | z, c) - KL(q(z | x, c) || p(z | c))

All values are in nats.  ``losses/latent_losses.py`` has what training adds so that z is used.

N rows, C the size of a condition, E that of the evidence, Z that of z.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.layers import Linear
from fastseq.module import Backprop, Explained, Module, Settled, fixed
from fastseq.quiet import quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike


class LatentBackprop(Backprop):
    """The backward pass of one call of ``GaussianLatent.forward``."""

    __slots__ = ()

    def __call__(
        self, dz: ArrayLike | None, dkl: ArrayLike | None
    ) -> tuple[np.ndarray | None, np.ndarray]:
        """Add to the networks' gradients; it can run once.

        Parameters
        ----------
        dz, dkl : arrays of floats, (N, Z), or None
            Gradients of the loss with respect to z and to kl.  None is zeros.

        Returns
        -------
        d_condition : ndarray, (N, C), or None
            None where there is no condition.
        d_evidence : ndarray, (N, E)

        Raises
        ------
        RuntimeError
            If it has run before.
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape; it can still run after that.
        """
        tape, (shape, dtype) = self._read_tape(), self._shape
        dz, dkl = self._read("dz", dz, shape, dtype), self._read("dkl", dkl, shape, dtype)
        self._use_up()
        return self._owner._back(tape, dz, dkl)

    @property
    def posterior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log variance (N, Z) of what z was drawn from, until it has run."""
        return tuple(self._read_tape()[1])

    @property
    def prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log variance of the prior, (N, Z) or without a condition (1, Z)."""
        return tuple(self._read_tape()[2])

    def _read(self, name, value, shape, dtype):
        if value is None:
            return np.zeros(shape, dtype)
        value = checks.floats(name, value, dtype)
        checks.shape(name, value, shape, f"of {name[1:]}")
        return value


class GaussianNetwork(Explained, Module):
    """From vectors (N, F) to a mean and the logarithm of a variance (N, Z) each.

    One hidden layer with tanh, or with ``hidden_size`` 0 none.
    """

    def __init__(self, in_features, latent_size, hidden_size, *, dtype, seed):
        seeds, children, size = self.named_seeds(seed, "hidden", "output"), {}, in_features
        if hidden_size:
            children["hidden"] = Linear(size, hidden_size, dtype=dtype, seed=seeds.hidden)
            size = hidden_size
        children["output"] = Linear(size, 2 * latent_size, dtype=dtype, seed=seeds.output)
        children["output"].parameters["bias"][...] = 0
        super().__init__(**children)

    def __call__(self, x):
        """Mean and log variance."""
        if "hidden" in self.children:
            x = np.tanh(self.hidden(x))
        return np.split(self.output(x), 2, axis=1)

    def forward(self, x):
        """Mean, log variance, and ``back(d_mean, d_log_var)``, which gives dx."""
        if "hidden" in self.children:
            x, into_hidden = self.hidden.forward(x)
            x = np.tanh(x)
        y, into_output = self.output.forward(x)

        def back(d_mean, d_log_var):
            dx = into_output(np.concatenate([d_mean, d_log_var], axis=1))
            return into_hidden(dx * (1 - np.square(x))) if "hidden" in self.children else dx

        return *np.split(y, 2, axis=1), back


class GaussianLatent(Settled, Module):
    r"""A latent variable of independent Gaussians, with networks for its prior and its posterior.

    .. math::

        z = \mu_q + \sigma_q \varepsilon, \qquad \varepsilon \sim N(0, 1), \qquad
        [\mu_q; \log \sigma_q^2] = W_2 \tanh(W_1 [c; e] + b_1) + b_2

        \mathrm{kl}_j = \tfrac{1}{2} \left(\log \frac{\sigma_{p,j}^2}{\sigma_{q,j}^2}
        + \frac{\sigma_{q,j}^2 + (\mu_{q,j} - \mu_{p,j})^2}{\sigma_{p,j}^2} - 1 \right)

    The posterior q sees a condition c, which is known whenever something is generated, and the
    evidence e, which is what is to be explained.  The prior p sees the condition alone (Sohn et
    al., 2015; Serban et al., 2017), by a network of the same form; without a condition it is
    N(0, 1) (Kingma & Welling, 2014).

    Parameters
    ----------
    condition_size : int
        C; 0 for none.
    evidence_size : int
        E
    latent_size : int
        Z
    hidden_size : int, optional
        Of the networks' hidden layers; 0 for none.  By default that of the evidence.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters, drawn as those of :class:`Linear` with zeros as the last
        biases, and for noise.

    Attributes
    ----------
    parameters : Parameters
        ``posterior_network.hidden.weight``, ``posterior_network.output.weight`` (2 * Z rows, the
        means first), their biases, and with a condition the same of ``prior_network``.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> latent = fs.GaussianLatent(0, 4, 2, seed=0)
    >>> evidence = np.ones((3, 4), np.float32)
    >>> z, kl, backprop = latent.forward(None, evidence)
    >>> d_condition, d_evidence = backprop(2 * z, np.ones_like(kl))  # of (z**2).sum() + kl.sum()
    >>> z.shape, kl.shape, d_condition, d_evidence.shape
    ((3, 2), (3, 2), None, (3, 4))
    >>> bool((kl >= 0).all())
    True
    """

    condition_size = fixed("condition_size")
    evidence_size = fixed("evidence_size")
    latent_size = fixed("latent_size")
    hidden_size = fixed("hidden_size")

    def __init__(
        self,
        condition_size: int,
        evidence_size: int,
        latent_size: int,
        *,
        hidden_size: int | None = None,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        self._condition_size = checks.not_negative_int("condition_size", condition_size)
        self._evidence_size = checks.positive_int("evidence_size", evidence_size)
        self._latent_size = checks.positive_int("latent_size", latent_size)
        hidden_size = self._evidence_size if hidden_size is None else hidden_size
        self._hidden_size = checks.not_negative_int("hidden_size", hidden_size)
        seeds = self.named_seeds(seed, "noise", "posterior", "prior")
        self._rng, sizes = seeds.noise, (self._latent_size, self._hidden_size)
        both = self._condition_size + self._evidence_size
        networks = {
            "posterior_network": GaussianNetwork(both, *sizes, dtype=dtype, seed=seeds.posterior)
        }
        if self._condition_size:
            networks["prior_network"] = GaussianNetwork(
                self._condition_size, *sizes, dtype=dtype, seed=seeds.prior
            )
        super().__init__(**networks)

    def __repr__(self):
        sizes = f"{self.condition_size}, {self.evidence_size}, {self.latent_size}"
        hidden = f", hidden_size={self.hidden_size}" * (self.hidden_size != self.evidence_size)
        return f"GaussianLatent({sizes}{hidden}, dtype={self.dtype})"

    def prior(self, condition: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What z is thought to be before there is evidence.

        Parameters
        ----------
        condition : array of floats, (N, C), or None
            None where there is none.

        Returns
        -------
        mean, log_var : ndarrays, (N, Z)
            Without a condition zeros, (1, Z) each.

        Raises
        ------
        TypeError, ValueError
            If the condition has the wrong dtype or shape, or is missing.
        """
        condition = self._read_condition(condition)
        if condition is None:
            return tuple(np.zeros((2, 1, self._latent_size), self.dtype))
        return tuple(self.prior_network(condition))

    def posterior(
        self, condition: ArrayLike | None, evidence: ArrayLike
    ) -> tuple[np.ndarray, np.ndarray]:
        """What z is thought to be, given the evidence.

        Parameters
        ----------
        condition : array of floats, (N, C), or None
        evidence : array of floats, (N, E)

        Returns
        -------
        mean, log_var : ndarrays, (N, Z)

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong dtype or shape.
        """
        return tuple(self.posterior_network(self._read(condition, evidence)[1]))

    def sample(
        self,
        condition: ArrayLike | None = None,
        n: int = 1,
        *,
        seed: checks.Seed = None,
    ) -> np.ndarray:
        """Draw from the prior.

        Parameters
        ----------
        condition : array of floats, (N, C), or None
        n : int
            How many for each row of the condition.
        seed : int, Generator or None

        Returns
        -------
        z : ndarray, (N, n, Z), or without a condition (n, Z)
        """
        mean, log_var = self.prior(condition)
        n, rng = checks.positive_int("n", n), checks.generator(seed)
        noise = rng.standard_normal((len(mean), n, self._latent_size)).astype(self.dtype)
        z = mean[:, None] + _spread(noise, log_var[:, None])
        return z[0] if condition is None else z

    def importance_samples(
        self,
        condition: ArrayLike | None,
        evidence: ArrayLike,
        n: int = 1,
        *,
        noise: ArrayLike | None = None,
        seed: checks.Seed = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""Draw from the posterior, with weights that make it the prior.

        .. math:: \log p(x | c) \approx
            \log \frac{1}{n} \sum_{i=1}^n p(x | z_i, c) \frac{p(z_i | c)}{q(z_i | x, c)}

        is a lower bound too, in the mean, and the more samples the closer (Burda et al., 2016).

        Parameters
        ----------
        condition : array of floats, (N, C), or None
        evidence : array of floats, (N, E)
        n : int
            How many for each row.
        noise : array of floats, (n, N, Z), optional
            What epsilon is; by default it is drawn.
        seed : int, Generator or None

        Returns
        -------
        z : ndarray, (n, N, Z)
        log_weights : ndarray of float64, (n, N)
            log p(z | c) - log q(z | x, c).

        Examples
        --------
        >>> import numpy as np, fastseq as fs
        >>> latent = fs.GaussianLatent(0, 4, 2, seed=0)
        >>> evidence = np.ones((1, 4), np.float32)
        >>> z, log_weights = latent.importance_samples(None, evidence, 20000, seed=0)
        >>> round(float(np.exp(log_weights).mean()), 2)  # of the weights of all there is
        1.0
        """
        condition, both = self._read(condition, evidence)
        mean_q, log_var_q = (part.astype(np.float64) for part in self.posterior_network(both))
        mean_p, log_var_p = self.prior(condition)
        shape = checks.positive_int("n", n), *mean_q.shape
        rng = checks.generator(seed)
        noise = rng.standard_normal(shape) if noise is None else noise
        noise = checks.floats("noise", noise, np.dtype(np.float64))
        checks.shape("noise", noise, shape, "(n, N, Z)")
        z = mean_q + _spread(noise, log_var_q)
        distances = np.square(z - mean_p) * np.exp(-log_var_p.astype(np.float64))
        log_weights = (np.square(noise) + log_var_q - distances - log_var_p).sum(axis=2) / 2
        return z.astype(self.dtype), log_weights

    def forward(
        self,
        condition: ArrayLike | None,
        evidence: ArrayLike,
        noise: ArrayLike | None = None,
    ) -> tuple[np.ndarray, np.ndarray, LatentBackprop]:
        """Draw z from the posterior, for training.

        Arguments are kept without a copy until ``backprop`` has run; don't change them before,
        nor the parameters.

        Parameters
        ----------
        condition : array of floats, (N, C), or None
            None where there is none.
        evidence : array of floats, (N, E)
        noise : array of floats, (N, Z), optional
            What epsilon is; by default it is drawn.  Zeros give the posterior's mean.

        Returns
        -------
        z : ndarray, (N, Z)
        kl : ndarray, (N, Z)
            The divergence of the posterior from the prior for each row and dimension, in nats.
        backprop : LatentBackprop
            ``d_condition, d_evidence = backprop(dz, dkl)`` adds to ``parameters.grads``; until
            then ``backprop.posterior`` is the mean and the log variance.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape.
        """
        condition, both = self._read(condition, evidence)
        shape = len(both), self._latent_size
        if noise is None:
            noise = self._rng.standard_normal(shape)
        noise = checks.floats("noise", noise, self.dtype)
        checks.shape("noise", noise, shape, "(N, Z)")
        *posterior, into_posterior = self.posterior_network.forward(both)
        if condition is None:
            prior, into_prior = self.prior(), None
        else:
            *prior, into_prior = self.prior_network.forward(condition)
        noise = _spread(noise, posterior[1])
        z, kl = posterior[0] + noise, divergence(*posterior, *prior)
        tape = noise, posterior, prior, into_posterior, into_prior
        return z, kl, LatentBackprop(self, tape, (z.shape, z.dtype))

    @quiet
    def _back(self, tape, dz, dkl):
        noise, posterior, prior, into_posterior, into_prior = tape
        slopes = divergence_slopes(*posterior, *prior)
        d_mean, d_log_var, *d_prior = (slope * dkl for slope in slopes)
        d_both = into_posterior(d_mean + dz, d_log_var + dz * noise / 2)
        if into_prior is None:
            return None, d_both
        d_condition = into_prior(*d_prior)
        d_condition += d_both[:, : self._condition_size]
        return d_condition, np.ascontiguousarray(d_both[:, self._condition_size :])

    def _read_condition(self, condition):
        if self._condition_size == 0:
            if condition is not None:
                raise ValueError(
                    f"condition must be None, since condition_size is 0, got {condition!r}"
                )
            return None
        if condition is None:
            raise ValueError(
                f"condition must be an array (N, {self._condition_size}), as condition_size says, "
                "got None"
            )
        return self._read_rows("condition", condition, self._condition_size)

    def _read(self, condition, evidence):
        """The condition or None, and what the posterior sees, (N, C + E)."""
        condition = self._read_condition(condition)
        evidence = self._read_rows("evidence", evidence, self._evidence_size)
        if condition is None:
            return None, evidence
        expected = len(condition), self._evidence_size
        checks.shape("evidence", evidence, expected, "(N, E)", "; a row for each of the condition")
        return condition, np.concatenate([condition, evidence], axis=1)

    def _read_rows(self, name, value, size):
        array = checks.floats(name, value, self.dtype)
        if array.ndim != 2:
            raise ValueError(f"{name} must have shape (N, {size}), got {array.shape}")
        checks.last_axis(name, array, size, f"{name}_size")
        return array


# --- means and logarithms of variances ------------------------------------------------------------


@quiet
def _spread(noise, log_var):
    """Noise with this variance instead of 1."""
    return np.exp(log_var / 2) * noise


@quiet
def divergence(mean_q, log_var_q, mean_p, log_var_p):
    """KL(q || p) of each pair of Gaussians, in nats."""
    difference = log_var_q - log_var_p
    distance = np.square(mean_q - mean_p) * np.exp(-log_var_p)
    return (np.expm1(difference) - difference + distance) / 2


@quiet
def shifts(posterior, prior):
    """How far posteriors' means (N, Z) are from those of their priors, in standard deviations.

    What active units are counted by where priors differ, and means vary with them.
    """
    (mean_q, _), (mean_p, log_var_p) = posterior, prior
    return (mean_q - mean_p) * np.exp(-log_var_p / 2)


@quiet
def divergence_slopes(mean_q, log_var_q, mean_p, log_var_p):
    """Its derivatives with respect to each of the four."""
    ratio = np.exp(log_var_q - log_var_p)
    steps = mean_q - mean_p
    slopes = steps * np.exp(-log_var_p)
    return slopes, (ratio - 1) / 2, -slopes, (1 - ratio - steps * slopes) / 2


def log_mean_exp(log_weights: np.ndarray) -> np.ndarray:
    """The logarithm of the mean over the first axis of what these are logarithms of."""
    top = log_weights.max(axis=0)
    top = np.where(np.isfinite(top), top, 0)  # or -inf - -inf would be NaN
    with np.errstate(divide="ignore"):
        return np.log(np.exp(log_weights - top).mean(axis=0)) + top
