"""Latent variables: what a model has to guess about its data, and draws anew each time.

A variational autoencoder explains x by a vector z that nobody saw.  A network guesses z from x,
q(z | x), another one writes x from z, and both learn from a lower bound of log p(x) (Kingma &
Welling, 2014):

    log p(x | c) >= E_q log p(x | z, c) - KL(q(z | x, c) || p(z | c))

All values are in nats.

N rows, C the size of a condition, E that of the evidence, Z that of z, V words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.layers import Linear
from fastseq.losses import ClassLoss, LossBackprop
from fastseq.module import Backprop, Module, fixed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

KL_SCHEDULES = ("constant", "linear", "cyclical")
ACTIVE = 0.01  # variance over the data from which on a unit counts as active (Burda et al., 2016)

_quiet = np.errstate(over="ignore", invalid="ignore")  # infinity and NaN show in the loss


# --- the latent variable ------------------------------------------------------------------------


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


class GaussianNetwork(Module):
    """From vectors (N, F) to a mean and the logarithm of a variance (N, Z) each.

    One hidden layer with tanh, or with ``hidden_size`` 0 none.
    """

    def __init__(self, in_features, latent_size, hidden_size, *, dtype, seed):
        seeds, children, size = self.split_seed(seed, 2), {}, in_features
        if hidden_size:
            children["hidden"] = Linear(size, hidden_size, dtype=dtype, seed=seeds[0])
            size = hidden_size
        children["output"] = Linear(size, 2 * latent_size, dtype=dtype, seed=seeds[1])
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


class GaussianLatent(Module):
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
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self._condition_size = checks.not_negative_int("condition_size", condition_size)
        self._evidence_size = checks.positive_int("evidence_size", evidence_size)
        self._latent_size = checks.positive_int("latent_size", latent_size)
        hidden_size = self._evidence_size if hidden_size is None else hidden_size
        self._hidden_size = checks.not_negative_int("hidden_size", hidden_size)
        seeds = self.split_seed(seed, 3)
        self._rng = seeds[0]
        sizes = {"posterior_network": self._condition_size + self._evidence_size}
        if self._condition_size:
            sizes["prior_network"] = self._condition_size
        super().__init__(
            **{
                name: GaussianNetwork(
                    size, self._latent_size, self._hidden_size, dtype=dtype, seed=own
                )
                for (name, size), own in zip(sizes.items(), seeds[1:], strict=False)
            }
        )

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
        seed: int | np.random.Generator | None = None,
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
        seed: int | np.random.Generator | None = None,
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

    @_quiet
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


@_quiet
def _spread(noise, log_var):
    """Noise with this variance instead of 1."""
    return np.exp(log_var / 2) * noise


@_quiet
def divergence(mean_q, log_var_q, mean_p, log_var_p):
    """KL(q || p) of each pair of Gaussians, in nats."""
    difference = log_var_q - log_var_p
    distance = np.square(mean_q - mean_p) * np.exp(-log_var_p)
    return (np.expm1(difference) - difference + distance) / 2


@_quiet
def shifts(posterior, prior):
    """How far posteriors' means (N, Z) are from those of their priors, in standard deviations.

    What :func:`active_units` asks for where priors differ, and means vary with them.
    """
    (mean_q, _), (mean_p, log_var_p) = posterior, prior
    return (mean_q - mean_p) * np.exp(-log_var_p / 2)


@_quiet
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


# --- so that it is used -------------------------------------------------------------------------


class KLSchedule:
    """How much the divergence counts at each update.

    A model that must not say much about z at first learns to do without it.  The weight
    therefore begins at 0 and rises, once (Bowman et al., 2016) or again and again (Fu et al.,
    2019).  It follows from the number of the update alone, so a run can go on anywhere.

    Parameters
    ----------
    kind : {"constant", "linear", "cyclical"}
        Always ``weight``; from 0 up to it and then constant; or several cycles, each of which
        rises from 0 and then stays at the weight for as many updates.
    updates : int
        How many updates a rise takes.
    cycles : int
        How many cycles; after them the weight is constant.
    weight : float
        1 is the lower bound itself; another one is that of a beta-VAE (Higgins et al., 2017).

    Examples
    --------
    >>> import fastseq as fs
    >>> linear = fs.KLSchedule("linear", updates=4)
    >>> [linear(update) for update in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    >>> cyclical = fs.KLSchedule("cyclical", updates=2, cycles=2)
    >>> [cyclical(update) for update in range(10)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    """

    def __init__(
        self, kind: str = "linear", *, updates: int = 1, cycles: int = 4, weight: float = 1.0
    ) -> None:
        self.kind = checks.choice("kind", kind, KL_SCHEDULES)
        self.updates = checks.positive_int("updates", updates)
        self.cycles = checks.positive_int("cycles", cycles)
        self.weight = checks.not_negative("weight", weight)

    def __repr__(self):
        options = "" if self.kind == "constant" else f", updates={self.updates}"
        options += f", cycles={self.cycles}" * (self.kind == "cyclical")
        return f"KLSchedule({self.kind!r}{options}, weight={self.weight})"

    def __call__(self, update: int) -> float:
        """The weight after so many updates.

        Parameters
        ----------
        update : int
            From 0.

        Returns
        -------
        weight : float

        Raises
        ------
        TypeError, ValueError
            If it is no such number.
        """
        update = checks.not_negative_int("update", update)
        if self.kind == "constant":
            return self.weight
        period = 2 * self.updates
        if self.kind == "cyclical" and update < self.cycles * period:
            update %= period
        return self.weight * min(1.0, update / self.updates)


def free_bits(kl: ArrayLike, least: float = 0.0) -> tuple[float, np.ndarray]:
    r"""The divergence as training counts it, where each dimension may say something for free.

    .. math:: \sum_j \max\left(\lambda, \frac{1}{N} \sum_n \mathrm{kl}_{nj}\right)

    A dimension that says less than :math:`\lambda` has no reason to say even less (Kingma et
    al., 2016).

    Parameters
    ----------
    kl : array of floats, (N, Z)
        Of each row and dimension, as :class:`GaussianLatent` gives it.
    least : float
        :math:`\lambda`, in nats; 0 for the plain divergence.

    Returns
    -------
    value : float
        For a row, in the mean.  Of no rows it is 0.
    derivative : ndarray, (N, Z)
        Of the value, with respect to kl.

    Raises
    ------
    TypeError, ValueError
        If kl is no such array, or least below 0.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> fs.free_bits(np.array([[0.1, 1.0], [0.1, 3.0]]), least=0.5)
    (2.5, array([[0. , 0.5],
           [0. , 0.5]]))
    """
    kl, least = checks.floats_of_any_precision("kl", kl), checks.not_negative("least", least)
    if kl.ndim != 2:
        raise ValueError(f"kl must have shape (N, Z), got {kl.shape}")
    if not len(kl):
        return 0.0, np.zeros_like(kl)
    means = kl.mean(axis=0, dtype=np.float64)
    counts = ~(means < least)  # NaN counts, too, or a broken model would look like a silent one
    value = float(np.where(counts, means, least).sum())
    return value, np.broadcast_to(counts / len(kl), kl.shape).astype(kl.dtype)


def active_units(means: ArrayLike, threshold: float = ACTIVE) -> int:
    """How many dimensions of z depend on the data.

    Those count whose posterior mean varies over the data by more than the threshold (Burda et
    al., 2016).

    Parameters
    ----------
    means : array of floats, (N, Z)
        Of the posteriors of N data.
    threshold : float
        A variance.

    Returns
    -------
    count : int
        From 0 to Z.

    Raises
    ------
    TypeError, ValueError
        If means are no such array, or the threshold is below 0.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> fs.active_units(np.array([[1.0, 0.01], [-1.0, 0.02], [2.0, 0.01]]))
    1
    """
    means = checks.floats_of_any_precision("means", means)
    threshold = checks.not_negative("threshold", threshold)
    if means.ndim != 2:
        raise ValueError(f"means must have shape (N, Z), got {means.shape}")
    if not len(means):
        return 0
    return int(np.count_nonzero(means.astype(np.float64).var(axis=0) > threshold))


class BagOfWordsLoss(Module, ClassLoss):
    r"""How well one vector knows which words a text has, in whatever order.

    .. math:: -\sum_t \log p(w_t | x), \qquad
        p(w | x) = \mathrm{softmax}(W_2 \tanh(W_1 x + b_1) + b_2)_w

    Beside the loss of a decoder it makes the latent variable say what a text is about, since
    here no earlier word helps (Zhao et al., 2017).

    Parameters
    ----------
    in_features : int
        The size of x.
    n_classes : int
        V
    hidden_size : int, optional
        Of the hidden layer; by default that of x.
    ignore_index : int
        Targets of this number don't count.
    reduction : {"mean", "sum"}
        Over the words that count.  The mean of none is 0.
    dtype : {float32, float64}
        Of parameters and all arithmetic.
    seed : int, Generator or None

    Attributes
    ----------
    parameters : Parameters
        ``hidden.weight``, ``hidden.bias``, ``output.weight`` (V, hidden), ``output.bias``.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> loss = fs.BagOfWordsLoss(4, 10, seed=0)
    >>> x, words = np.ones((2, 4), np.float32), np.array([[1, 2], [3, 3], [5, 5]])
    >>> value, backprop = loss.forward(x, words, mask=[[True, True], [True, True], [False, True]])
    >>> dx = backprop()
    >>> dx.shape, value < 3
    ((2, 4), True)
    """

    in_features = fixed("in_features")
    n_classes = fixed("n_classes")
    hidden_size = fixed("hidden_size")

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        *,
        hidden_size: int | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        dtype: DTypeLike = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        ClassLoss.__init__(self, ignore_index=ignore_index, label_smoothing=0, reduction=reduction)
        self._in_features = checks.positive_int("in_features", in_features)
        self._n_classes = checks.positive_int("n_classes", n_classes)
        hidden_size = self._in_features if hidden_size is None else hidden_size
        self._hidden_size = checks.positive_int("hidden_size", hidden_size)
        seeds = self.split_seed(seed, 2)
        output = Linear(self._hidden_size, self._n_classes, dtype=dtype, seed=seeds[1])
        output.parameters["bias"][...] = 0
        Module.__init__(
            self,
            hidden=Linear(self._in_features, self._hidden_size, dtype=dtype, seed=seeds[0]),
            output=output,
        )

    def __repr__(self):
        hidden = (f"hidden_size={self._hidden_size}",) * (self._hidden_size != self._in_features)
        sizes = str(self._in_features), str(self._n_classes)
        return self._repr(*sizes, *hidden, *self._options(), f"dtype={self.dtype}")

    def __call__(self, x: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None) -> float:
        """The loss.

        Parameters
        ----------
        x : array of floats, (N, in_features)
        targets : array of integers, (T, N)
            The words of each row's text, from 0 to V - 1, or ``ignore_index``.
        mask : array of booleans, (T, N), optional
            False for what doesn't count.

        Returns
        -------
        loss : float

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape, or a word that counts is out of
            range.
        """
        x, words, rows = self._read(x, targets, mask)
        logits = self.output(np.tanh(self.hidden(x)))
        return self._reduce(self._sum(logits, words, rows)[0], len(words))[0]

    def forward(
        self, x: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None
    ) -> tuple[float, LossBackprop]:
        """As calling the loss, with a function that runs the backward pass.

        Returns
        -------
        loss : float
        backprop : LossBackprop
            ``dx = backprop(scale=1.0)`` adds to ``parameters.grads``.
        """
        x, words, rows = self._read(x, targets, mask)
        h, into_hidden = self.hidden.forward(x)
        h = np.tanh(h)
        logits, into_output = self.output.forward(h)
        total, log_sums = self._sum(logits, words, rows)
        loss, factor = self._reduce(total, len(words))
        tape = (logits, log_sums, words, rows), h, (into_hidden, into_output), factor
        return loss, LossBackprop(self, tape, None)

    def _read(self, x, targets, mask):
        """x, the words that count, and the rows they belong to."""
        x = checks.floats("x", x, self.dtype)
        targets = checks.integers("targets", targets)
        if x.ndim != 2:
            raise ValueError(f"x must have shape (N, {self._in_features}), got {x.shape}")
        checks.last_axis("x", x, self._in_features, "in_features")
        if targets.ndim != 2 or targets.shape[1] != len(x):
            raise ValueError(
                f"targets must have shape (T, {len(x)}), a column for each row of x, got "
                f"{targets.shape}"
            )
        flat = self._read_targets(targets, mask, targets.shape, self._n_classes)
        counted = np.flatnonzero(flat >= 0)
        return x, flat[counted], counted % max(len(x), 1)

    @_quiet
    def _sum(self, logits, words, rows):
        """The sum of the words' losses, and the logarithm of each row's sum of exponentials."""
        log_sums, unused = np.empty(len(logits)), np.empty(len(logits))
        any_word = np.zeros(len(logits), np.int64)
        kernels().softmax_cross_entropy_forward(logits, any_word, log_sums, unused, None)
        return (log_sums[rows] - logits[rows, words]).sum(), log_sums

    @_quiet
    def _back(self, scores, h, into, factor, scale):
        (logits, log_sums, words, rows), (into_hidden, into_output) = scores, into
        counts = np.bincount(rows, minlength=len(logits)).astype(logits.dtype)
        d_logits = np.exp(logits - log_sums[:, None], dtype=logits.dtype, casting="same_kind")
        d_logits *= counts[:, None]
        np.subtract.at(d_logits.reshape(-1), rows * self._n_classes + words, 1)
        d_logits *= factor * scale
        return into_hidden(into_output(d_logits) * (1 - np.square(h)))
