"""Adaptive softmax: clusters of rarer classes, which few tokens have to look into.

N rows, which is the product of the leading axes, I features, V classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.elementwise import log_sum_exp
from fastseq.layers import Linear
from fastseq.losses.linear_cross_entropy import FeatureLoss, LinearCrossEntropyLoss
from fastseq.module import Module, fixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike


class AdaptiveLogSoftmaxWithLoss(FeatureLoss, Module):
    r"""Adaptive softmax (Grave et al., 2017), with PyTorch's names.

    Classes are sorted by falling frequency.  A head decides among the frequent ones, up to the
    first cutoff, and the clusters between the cutoffs; within a cluster a small model decides:

    .. math:: p(c) = p_{head}(c), \qquad p(c) = p_{head}(k) \, p_k(c) \text{ for } c \in k

    Only the clusters of a batch's targets are computed.  Cluster i projects the features to
    :math:`I / \mathrm{div\_value}^{i + 1}` numbers first.  Other classes than the frequent ones
    thereby get fewer parameters, too.

    Being a module, it can be a part of a model.

    Parameters
    ----------
    in_features : int
        I
    n_classes : int
        V
    cutoffs : sequence of ints
        Rising, from 1 to V - 1: where a cluster ends and the next one begins.
    div_value : float
        At least 1.
    head_bias : bool
        Whether the head has a bias; the clusters never have.
    ignore_index : int
        Targets of this number don't count.
    reduction : {"mean", "sum"}
        Over the targets that count.  The mean of none is 0.
    dtype : {float32, float64}
        Of parameters, outputs and all arithmetic.
    seed : int, Generator or None
        For the initial parameters, drawn as those of :class:`Linear`.

    Attributes
    ----------
    parameters : Parameters
        ``head.weight`` (cutoffs[0] + clusters, I), ``head.bias``; for cluster i
        ``tail.i.0.weight`` (projection, I) and ``tail.i.1.weight`` (classes, projection).

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> loss = fs.AdaptiveLogSoftmaxWithLoss(16, 100, [10, 40], dtype=np.float64, seed=0)
    >>> x, targets = np.ones((4, 16)), np.array([3, 99, 12, 0])
    >>> value, backprop = loss.forward(x, targets)
    >>> log_p = loss.log_prob(x)
    >>> bool(np.isclose(value, -log_p[np.arange(4), targets].mean()))
    True
    >>> bool(np.allclose(np.exp(log_p).sum(axis=1), 1)), backprop().shape
    (True, (4, 16))
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        *,
        div_value: float = 4.0,
        head_bias: bool = False,
        ignore_index: int = -100,
        reduction: str = "mean",
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        FeatureLoss.__init__(
            self, ignore_index=ignore_index, label_smoothing=0.0, reduction=reduction
        )
        self._in_features = checks.positive_int("in_features", in_features)
        self._n_classes = checks.positive_int("n_classes", n_classes)
        self._cutoffs = self._read_cutoffs(cutoffs)
        self._div_value = checks.number("div_value", div_value)
        sizes = self._projections(self._div_value)
        clusters = len(self._cutoffs)
        rngs = iter(self.split_seed(seed, 1 + 2 * clusters))

        def linear(inputs, outputs, bias=False):
            return Linear(inputs, outputs, bias=bias, dtype=dtype, seed=next(rngs))

        head_bias = checks.flag("head_bias", head_bias)
        modules = {"head": linear(self._in_features, self._cutoffs[0] + clusters, head_bias)}
        ends = [*self._cutoffs, self._n_classes]
        for i, size in enumerate(sizes):
            modules[f"tail.{i}.0"] = linear(self._in_features, size)
            modules[f"tail.{i}.1"] = linear(size, ends[i + 1] - ends[i])
        Module.__init__(self, **modules)
        self._head_loss = LinearCrossEntropyLoss(modules["head"], reduction="sum")
        self._tail = [
            (
                modules[f"tail.{i}.0"],
                LinearCrossEntropyLoss(modules[f"tail.{i}.1"], reduction="sum"),
            )
            for i in range(clusters)
        ]

    def _read_cutoffs(self, cutoffs):
        array = checks.integers("cutoffs", cutoffs)
        values = array.tolist() if array.ndim == 1 else []
        rising = values == sorted(set(values))
        if not values or not rising or values[0] < 1 or values[-1] >= self._n_classes:
            raise ValueError(
                f"cutoffs must be rising integers from 1 to {self._n_classes - 1}, which is "
                f"n_classes - 1, got {cutoffs!r}"
            )
        return values

    def _projections(self, div_value):
        if not 1 <= div_value < float("inf"):
            raise ValueError(f"div_value must be a finite number from 1 on, got {div_value}")
        sizes = [int(self._in_features // div_value ** (i + 1)) for i in range(len(self._cutoffs))]
        if not all(sizes):
            raise ValueError(
                f"div_value={div_value} leaves no features of {self._in_features} for cluster "
                f"{sizes.index(0)}: use a smaller one, or fewer cutoffs"
            )
        return sizes

    in_features = fixed("in_features")
    n_classes = fixed("n_classes")
    div_value = fixed("div_value")

    def __repr__(self):
        sizes = f"{self._in_features}, {self._n_classes}, {self._cutoffs}"
        options = (f"div_value={self._div_value}",) * (self._div_value != 4)
        options += ("head_bias=True",) * (self.head.bias is not None)
        return self._repr(sizes, *options, *self._options(), f"dtype={self.dtype}")

    @property
    def cutoffs(self) -> list[int]:
        """Where the clusters begin; a copy."""
        return list(self._cutoffs)

    def release(self) -> None:
        """Let go of the memory that is kept from call to call."""
        super().release()
        for loss in (self._head_loss, *(loss for _, loss in self._tail)):
            loss.release()

    def log_prob(self, x: ArrayLike) -> np.ndarray:
        """The logarithms of all classes' probabilities.

        Parameters
        ----------
        x : array of floats, (..., I)

        Returns
        -------
        log_prob : ndarray, (..., V)

        Raises
        ------
        TypeError, ValueError
            If x has the wrong dtype or shape.
        """
        rows, lead = self._read_features(x)
        out = np.empty((len(rows), self._n_classes), self.dtype)
        head = log_softmax(self.head(rows))
        begin = self._cutoffs[0]
        out[:, :begin] = head[:, :begin]
        for i, (project, loss) in enumerate(self._tail):
            end = begin + loss.n_classes
            cluster = log_softmax(loss.linear(project(rows)))
            np.add(cluster, head[:, self._cutoffs[0] + i, None], out=out[:, begin:end])
            begin = end
        return out.reshape(*lead, self._n_classes)

    def predict(self, x: ArrayLike) -> np.ndarray:
        """The most probable class of each row.

        Parameters
        ----------
        x : array of floats, (..., I)

        Returns
        -------
        classes : ndarray of int64, (...)
        """
        rows, lead = self._read_features(x)
        classes = np.argmax(self.head(rows), axis=1)
        # A class in a cluster is at most as probable as the cluster, so that the frequent ones
        # that win are decided.
        undecided = np.flatnonzero(classes >= self._cutoffs[0])
        if undecided.size:
            classes[undecided] = np.argmax(self.log_prob(rows[undecided]), axis=1)
        return classes.reshape(lead)

    def _read_features(self, x):
        x = checks.floats("x", x, self.dtype)
        checks.last_axis("x", x, self._in_features, "in_features")
        return x.reshape(-1, self._in_features), x.shape[:-1]

    def _measure(self, x, targets):
        clusters, own = self._split(targets)
        total = self._head_loss._measure(x, own)
        for i, (project, loss) in enumerate(self._tail):
            rows = np.flatnonzero(clusters == i + 1)
            if rows.size:
                total += loss._measure(project(x[rows]), targets[rows] - self._cutoffs[i])
        return total

    def _measure_to_train(self, x, targets):
        clusters, own = self._split(targets)
        total, head = self._head_loss._measure_to_train(x, own)
        tails = []
        for i, (project, loss) in enumerate(self._tail):
            rows = np.flatnonzero(clusters == i + 1)
            if rows.size:
                y, backprop = project.forward(x[rows])
                part, tape = loss._measure_to_train(y, targets[rows] - self._cutoffs[i])
                total += part
                tails.append((loss, tape, backprop, rows))
        return total, (head, tails)

    def _split(self, targets):
        """Each target's cluster, from 1 on, or 0; and what it is to the head."""
        clusters = np.searchsorted(self._cutoffs, targets, side="right")
        return clusters, np.where(clusters == 0, targets, self._cutoffs[0] + clusters - 1)

    def _differentiate(self, tape, scale):
        head, tails = tape
        dx = self._head_loss._differentiate(head, scale)
        for loss, cluster, backprop, rows in tails:
            dx[rows] += backprop(loss._differentiate(cluster, scale))
        return dx


def log_softmax(logits):
    """Of each row (N, V), in place."""
    # nearer to 0 first: of large logits the dtype doesn't hold the digits that make the difference
    with np.errstate(over="ignore", invalid="ignore"):  # -inf; NaN, which shows in the result
        logits -= logits.max(axis=1, keepdims=True)
    logits -= log_sum_exp(logits)[:, None].astype(logits.dtype)
    return logits
