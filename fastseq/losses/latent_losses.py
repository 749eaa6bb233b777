"""What training adds so that a latent variable is used, and whether it is.

A decoder that can guess each word from those before soon does without its latent variable.
Against it help a weight of the divergence that rises slowly, a divergence that is free up to a
limit, and a loss that z has to answer for alone.

N rows, Z the size of z, V words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.elementwise import log_sum_exp
from fastseq.layers import Linear
from fastseq.losses.basic import ClassLoss, LossBackprop
from fastseq.module import Module, Settled, fixed
from fastseq.quiet import quiet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

KL_SCHEDULES = ("constant", "linear", "cyclical")
ACTIVE = 0.01  # variance over the data from which on a unit counts as active (Burda et al., 2016)


class KLSchedule(Settled):
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

    kind = fixed("kind")
    updates = fixed("updates")
    cycles = fixed("cycles")
    weight = fixed("weight")

    def __init__(
        self, kind: str = "linear", *, updates: int = 1, cycles: int = 4, weight: float = 1.0
    ) -> None:
        self._kind = checks.choice("kind", kind, KL_SCHEDULES)
        self._updates = checks.positive_int("updates", updates)
        self._cycles = checks.positive_int("cycles", cycles)
        self._weight = checks.not_negative("weight", weight)

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


class BagOfWordsLoss(ClassLoss, Module):
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
        seed: checks.Seed = None,
    ) -> None:
        ClassLoss.__init__(self, ignore_index=ignore_index, label_smoothing=0, reduction=reduction)
        self._in_features = checks.positive_int("in_features", in_features)
        self._n_classes = checks.positive_int("n_classes", n_classes)
        hidden_size = self._in_features if hidden_size is None else hidden_size
        self._hidden_size = checks.positive_int("hidden_size", hidden_size)
        seeds = self.named_seeds(seed, "hidden", "output")
        output = Linear(self._hidden_size, self._n_classes, dtype=dtype, seed=seeds.output)
        output.parameters["bias"][...] = 0
        Module.__init__(
            self,
            hidden=Linear(self._in_features, self._hidden_size, dtype=dtype, seed=seeds.hidden),
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

    @quiet
    def _sum(self, logits, words, rows):
        """The sum of the words' losses, and the logarithm of each row's sum of exponentials."""
        log_sums = log_sum_exp(logits)
        return (log_sums[rows] - logits[rows, words]).sum(), log_sums

    @quiet
    def _back(self, scores, h, into, factor, scale):
        (logits, log_sums, words, rows), (into_hidden, into_output) = scores, into
        counts = np.bincount(rows, minlength=len(logits)).astype(logits.dtype)
        d_logits = np.exp(logits - log_sums[:, None], dtype=logits.dtype, casting="same_kind")
        d_logits *= counts[:, None]
        np.subtract.at(d_logits.reshape(-1), rows * self._n_classes + words, 1)
        d_logits *= factor * scale
        return into_hidden(into_output(d_logits) * (1 - np.square(h)))
