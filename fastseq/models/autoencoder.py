"""What the variational autoencoders have in common, be it of vectors or of sequences.

N data, Z the size of the latent variable.
"""

from __future__ import annotations

import inspect
import numbers
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from fastseq import checks
from fastseq.latent import divergence, log_mean_exp
from fastseq.losses.latent_losses import active_units
from fastseq.models import inputs
from fastseq.models.estimator import naming
from fastseq.models.latent_training import LatentEstimator, noise_of_rows
from fastseq.models.networks import check_parameters
from fastseq.models.settings import Run, run_described


class LatentReport(NamedTuple):
    """What a latent variable does for some data, in nats for each of them in the mean.

    Attributes
    ----------
    reconstruction : float
        -log p(x | z), for a z of each posterior.
    kl : float
        How far posteriors are from the prior; 0 if the latent variable says nothing.
    active_units : int
        How many of its dimensions depend on the data (Burda et al., 2016).
    bound : float
        The lower bound of log p(x): -(reconstruction + kl).
    """

    reconstruction: float
    kl: float
    active_units: int
    bound: float


class Autoencoder(LatentEstimator):
    """Common to the variational autoencoders.

    A subclass has, beside what :class:`Estimator` asks for, ``_read(X)``, and
    ``_data_batches(X, seed)`` of what that returns; its network has ``posterior_of(batch)`` and
    ``judge(batch, noise)``.
    """

    _needs_targets = False
    _data = "X"

    @run_described
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        validation: Any = None,
        checkpoint: str | os.PathLike | None = None,
        callbacks: Sequence = (),
        keep_interrupted: bool = True,
        progress: bool | None = None,
    ) -> Self:
        """Learn from data.

        ``history_.reports`` then has, of each epoch, ``reconstruction`` and ``kl`` of a datum in
        nats and ``active_units``, as :meth:`latent_report` explains them, all measured on the
        way; the progress bar shows them.

        Parameters
        ----------
        X
            See the class.
        y
            Ignored; scikit-learn's tools give it.
        validation : data like X, pair (X, y), or float, optional
            Data, or a fraction of X, that is not learned from; a tuple of two is a pair, unless
            they are strings, and its y is ignored.  After each epoch the loss, with
            the last weight of the divergence, is measured on it, the best epoch's parameters are
            kept, and ``patience`` may end the training.
        {run}
        """
        if not (validation is None or isinstance(validation, numbers.Real) or _is_pair(validation)):
            validation = validation, None
        run = Run(checkpoint, callbacks, keep_interrupted, progress)
        return self._fit(X, None, validation, run)

    def make_batches(self, X, y, seed):
        return self._data_batches(X, seed)

    def fit_transform(self, X: Any, y: Any = None, **options: Any) -> np.ndarray:
        """Learn from data, and encode them: :meth:`fit` and :meth:`encode`.

        Parameters
        ----------
        X
            See the class.
        y
            Ignored; scikit-learn's tools give it.
        **options
            As for :meth:`fit`.

        Returns
        -------
        z : ndarray, (N, Z)

        Raises
        ------
        TypeError, ValueError, OSError, FloatingPointError
            As :meth:`fit`.
        """
        return self.fit(X, y, **options).encode(X)

    def encode(self, X: Any) -> np.ndarray:
        """The means of the posteriors.

        Parameters
        ----------
        X
            See the class.

        Returns
        -------
        z : ndarray, (N, Z)

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X is something else.
        FloatingPointError
            If the model's parameters are not finite.
        """
        return self._posteriors(X)[0]

    def transform(self, X: Any) -> np.ndarray:
        """As :meth:`encode`, by scikit-learn's name.

        Parameters
        ----------
        X
            See the class.

        Returns
        -------
        z : ndarray, (N, Z)

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`encode`.
        """
        return self.encode(X)

    def predict(self, X: Any) -> Any:
        """As :meth:`reconstruct`, for tools that ask for predictions.

        Parameters
        ----------
        X
            See the class.

        Returns
        -------
        data
            As many, of the same kind.

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`encode`.
        """
        return self.reconstruct(X)

    def interpolate(self, a: Any, b: Any, steps: int = 5, **options: Any) -> Any:
        """What lies between two data: decoded from points on the line between their codes.

        Parameters
        ----------
        a, b : one datum each
        steps : int
            How many points, both ends included; from 2 on.
        **options
            As for :meth:`decode`.

        Returns
        -------
        data
            Of the ``steps`` points, the first near to a, the last near to b.

        Raises
        ------
        NotFittedError, FloatingPointError
            As :meth:`encode`.
        TypeError, ValueError
            If a or b is something else, ``steps`` is less than 2, or there is no such option.

        Examples
        --------
        See the class.
        """
        if checks.integer("steps", steps) < 2:
            raise ValueError(f"steps must be at least 2, both ends, got {steps}")
        self._check_fitted()
        self._check_options(options)
        for name, datum in (("a", a), ("b", b)):
            with naming(name):
                self._read([datum])
        first, last = self.encode([a, b])
        part = np.linspace(0, 1, steps, dtype=first.dtype)[:, None]
        return self.decode((1 - part) * first + part * last, **options)

    def _check_options(self, given):
        """Raise unless these are options of ``decode``."""
        parameters = inspect.signature(self.decode).parameters.values()
        known = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
        if known:
            checks.options(given, known)
        elif given:
            kind = type(self).__name__
            raise TypeError(f"decode of {kind} takes no options, got {next(iter(given))!r}")

    def log_prob(self, X: Any, n_samples: int = 50, *, seed: int = 0) -> np.ndarray:
        r"""How probable data are, by importance weighting (Burda et al., 2016).

        .. math:: \log p(x) \approx \log \frac{1}{n} \sum_{i=1}^n
            \frac{p(x | z_i) \, p(z_i)}{q(z_i | x)}

        is a lower bound in the mean, and the more samples the closer; with one sample it is
        that of training.

        Parameters
        ----------
        X
            See the class.
        n_samples : int
        seed : int
            What each datum gets depends on the seed and on its place in X, not on the others.

        Returns
        -------
        log_prob : ndarray of float64, (N,)
            Natural logarithms.

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`encode`.
        """
        n_samples, seed = read_samples(n_samples, seed)
        return log_mean_exp(sum(self._judge(X, n_samples, seed)))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of :meth:`log_prob`: more is better.

        Parameters
        ----------
        X
            See the class.
        y
            Ignored; scikit-learn's tools give it.

        Returns
        -------
        score : float
            In nats.

        Raises
        ------
        NotFittedError, TypeError, FloatingPointError
            As :meth:`encode`.
        ValueError
            As :meth:`encode`, and if X holds nothing.
        """
        log_prob = self.log_prob(X)
        if not len(log_prob):
            raise ValueError("X must hold at least one datum, got none")
        return float(log_prob.mean())

    def latent_report(self, X: Any, n_samples: int = 1, *, seed: int = 0) -> LatentReport:
        """Whether and how the latent variable is used.

        Parameters
        ----------
        X
            See the class.
        n_samples : int
            How many z of each posterior.
        seed : int

        Returns
        -------
        report : LatentReport

        Raises
        ------
        NotFittedError, FloatingPointError
            As :meth:`encode`.
        TypeError, ValueError
            If X is something else, or holds nothing; if ``n_samples`` or ``seed`` is out of its
            range.
        """
        n_samples, seed = read_samples(n_samples, seed)
        mean, log_var = self._posteriors(X)
        if not len(mean):
            raise ValueError("X must hold at least one datum, got none")
        kl = float(divergence(mean, log_var, 0.0, 0.0).sum(axis=1, dtype=np.float64).mean())
        reconstruction = -float(self._judge(X, n_samples, seed)[0].mean())
        return LatentReport(reconstruction, kl, active_units(mean), -reconstruction - kl)

    def _read_codes(self, z):
        """Latent variables (N, Z) as the network takes them."""
        self._check_fitted()
        z, size = checks.numbers("z", inputs.by_position(z)), self.latent_size
        if z.shape == (0,):
            z = np.empty((0, size))
        if z.ndim != 2 or z.shape[1] != size:
            raise ValueError(
                f"z must have shape (N, {size}), since latent_size is {size}, got {z.shape}"
            )
        inputs.check_finite("z", z, "row")
        return inputs.standardized_array("z", z, None, None, checks.float_dtype(self.dtype))

    def _posteriors(self, X):
        """Means and log variances, (N, Z) each."""
        self._check_fitted()
        X = self._read(X)
        results = np.empty((2, len(X), self.latent_size), checks.float_dtype(self.dtype))
        for batch in self._data_batches(X, None) if len(X) else ():
            results[:, batch.rows] = self.network_.posterior_of(batch)
        self.network_.release()
        return self._sound(results)

    def _judge(self, X, n, seed):
        """log p(x | z), and log p(z) - log q(z | x), for n z of each datum: (n, N) each."""
        self._check_fitted()
        X = self._read(X)
        results = np.empty((2, n, len(X)))
        for batch in self._data_batches(X, None) if len(X) else ():
            noise = noise_of_rows(batch.rows, n, self.latent_size, seed)
            results[:, :, batch.rows] = self.network_.judge(batch, noise)
        self.network_.release()
        results[0] += self._log_unit()
        return self._sound(results)

    def _sound(self, results):
        """The results; raise if it is the network that is broken where they are not finite."""
        if not np.isfinite(results).all():
            check_parameters("the model's", self.network_)
        return results

    def __sklearn_tags__(self):
        from sklearn.utils import TransformerTags

        tags = super().__sklearn_tags__()
        tags.transformer_tags = TransformerTags()
        return tags

    def _log_unit(self):
        """What the logarithm of a density changes by, if data are measured as users have them."""
        return 0.0


def _is_pair(validation):
    """Whether these are data and targets, as scikit-learn's users have them, not texts."""
    is_pair = isinstance(validation, tuple) and len(validation) == 2
    return is_pair and not isinstance(validation[0], str)


def read_samples(n_samples, seed):
    """How many samples, and their seed, checked."""
    return checks.positive_int("n_samples", n_samples), checks.not_negative_int("seed", seed)
