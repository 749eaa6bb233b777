"""Sampled softmax: in training a target is compared with a few classes that are drawn.

N rows, which is the product of the leading axes, I features, V classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.losses.linear_cross_entropy import FeatureLoss, LinearCrossEntropyLoss
from fastseq.module import Module, fixed
from fastseq.packing import BufferPool
from fastseq.parameters import Parameters

if TYPE_CHECKING:
    from fastseq.layers import Linear


class SampledSoftmaxLoss(FeatureLoss, Module):
    r"""Cross-entropy against a few sampled classes in training, against all when called.

    ``forward`` compares a target with ``num_sampled`` other classes that one draw gives the whole
    batch (Jean et al., 2015), so that a step takes num_sampled / V of the time.  Classes are
    drawn without replacement from

    .. math:: p(k) = \frac{\log (k + 2) - \log (k + 1)}{\log (V + 1)}

    which suits classes sorted by falling frequency, as words by Zipf's law.  From each logit the
    logarithm of how often its class is expected in such a draw is taken away, so that the
    weights tend to those of the full softmax; where a target was drawn as well, the drawn one
    doesn't count.

    Calling the loss gives the exact cross-entropy over all classes, for validation.

    Being a module without parameters, it can be a part of a model; its random generator is then
    part of the model's :attr:`random_state`.

    Parameters
    ----------
    linear : Linear
        The layer that gives the logits; its weights may be tied.
    num_sampled : int
        From 1 to V.
    ignore_index : int
        Targets of this number don't count.
    reduction : {"mean", "sum"}
        Over the targets that count.  The mean of none is 0.
    seed : int, Generator or None
        For the draws.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> linear = fs.Linear(8, 1000, dtype=np.float64, seed=0)
    >>> loss = fs.SampledSoftmaxLoss(linear, 50, seed=0)
    >>> x, targets = np.ones((3, 2, 8)), np.arange(6).reshape(3, 2)
    >>> value, backprop = loss.forward(x, targets)
    >>> backprop().shape, bool((linear.parameters.grads["bias"] == 0).sum() >= 1000 - 56)
    ((3, 2, 8), True)
    >>> bool(np.isclose(loss(x, targets), fs.CrossEntropyLoss()(linear(x), targets)))
    True
    """

    _bound = ("_pool",)

    def __init__(
        self,
        linear: Linear,
        num_sampled: int,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        seed: checks.Seed = None,
    ) -> None:
        FeatureLoss.__init__(
            self, ignore_index=ignore_index, label_smoothing=0.0, reduction=reduction
        )
        self._exact = LinearCrossEntropyLoss(linear, reduction="sum")
        self._num_sampled = checks.positive_int("num_sampled", num_sampled)
        if self._num_sampled > self.n_classes:
            raise ValueError(
                f"num_sampled must be at most {self.n_classes}, the number of classes, "
                f"got {self._num_sampled}"
            )
        self._rng = checks.generator(seed)
        self._parameters = Parameters({}, linear.dtype)
        self._parameters.borrow(linear.parameters)
        self._bind()

    num_sampled = fixed("num_sampled")

    def __repr__(self):
        return self._repr(repr(self.linear), str(self._num_sampled), *self._options())

    @property
    def linear(self) -> Linear:
        """The linear layer."""
        return self._exact.linear

    @property
    def in_features(self) -> int:
        """I"""
        return self.linear.in_features

    @property
    def n_classes(self) -> int:
        """V"""
        return self.linear.out_features

    def _bind(self):
        self._pool = BufferPool(self.dtype)

    def release(self) -> None:
        """Let go of the memory that is kept from call to call."""
        self._bind()
        self._exact.release()

    def _measure(self, x, targets):
        return self._exact._measure(x, targets)

    def _measure_to_train(self, x, targets):
        buffers, count = self._pool.borrow(), self._num_sampled
        sampled, tries = draw_distinct(self._rng, self.n_classes, count)
        logits = buffers.get("logits", (len(x), 1 + count))  # the targets', then the sampled ones
        weight = self.linear.weight
        weights = weight[targets], weight[sampled]
        np.einsum("ni,ni->n", x, weights[0], out=logits[:, 0])
        logits[:, 0] += self._offsets(targets, tries)
        kernels().multiply_rows(x, weights[1], self._offsets(sampled, tries), logits[:, 1:])
        place = np.minimum(np.searchsorted(sampled, targets), count - 1)
        drawn = np.flatnonzero(sampled[place] == targets)
        logits[drawn, 1 + place[drawn]] = -np.inf
        total, log_sums = self._sum(logits)
        return total, (x, targets, sampled, weights, log_sums, logits, buffers)

    def _sum(self, logits):
        """The sum of the rows' losses, and log(sum(exp)) of each; far rows are moved near to 0."""
        rows, classes = logits.shape
        first, log_sums, picked = np.zeros(rows, np.int64), np.zeros(rows), np.zeros(rows)
        kernels().softmax_cross_entropy_forward(logits, first, log_sums, picked, None)
        far = np.flatnonzero(self._are_far(log_sums, self.dtype))
        if far.size:
            with np.errstate(over="ignore"):  # -inf, which has no part in softmax either
                logits[far] -= logits[far].max(axis=1, keepdims=True)
            kernels().softmax_cross_entropy_forward(logits, first, log_sums, picked, None)
        return self._total(log_sums, picked, None, classes), log_sums

    def _offsets(self, classes, tries):
        """What is added to these classes' products: bias, and the correction for the draw."""
        p = np.log1p(1 / (classes + 1.0)) / np.log(self.n_classes + 1.0)
        with np.errstate(divide="ignore"):  # of a single class, which is drawn for certain
            expected = -np.expm1(tries * np.log1p(-p))
        offsets = -np.log(expected)
        if self.linear.bias is not None:
            offsets += self.linear.bias[classes]
        return offsets.astype(self.dtype)

    def _differentiate(self, tape, scale):
        x, targets, sampled, weights, log_sums, logits, buffers = tape
        first = np.zeros(len(x), np.int64)
        kernels().softmax_cross_entropy_backward(logits, first, log_sums, scale, 1, 0, logits)
        d_target, d_sampled = logits[:, 0], logits[:, 1:]
        add_rows, source = kernels().add_rows, self.linear.weight_owner
        parts = d_target[:, None] * x, np.zeros_like(weights[1])
        kernels().add_linear_gradients(d_sampled, x, parts[1], None)
        with source.grads_lock:
            add_rows(parts[0], targets, source.grads["weight"])
            add_rows(parts[1], sampled, source.grads["weight"])
        if self.linear.bias is not None:
            parameters = self.linear.parameters
            with parameters.grads_lock:
                np.add.at(parameters.grads["bias"], targets, d_target)
                parameters.grads["bias"][sampled] += d_sampled.sum(axis=0)
        dx = d_target[:, None] * weights[0]
        kernels().multiply_rows(d_sampled, weights[1].T, None, dx, True)
        self._pool.give_back(buffers)
        return dx


def draw_distinct(rng, n_classes, count):
    """Distinct classes, log-uniformly drawn, in rising order; and how many draws that took."""
    draws = np.empty(0, np.int64)
    while True:
        # the exponential of a uniform number, down to an integer
        size = max(2 * count, len(draws))
        more = np.exp(rng.random(size) * np.log(n_classes + 1.0)).astype(np.int64) - 1
        draws = np.concatenate([draws, np.minimum(more, n_classes - 1)])
        classes, firsts = np.unique(draws, return_index=True)
        if len(classes) >= count:
            last = np.partition(firsts, count - 1)[count - 1]
            return classes[firsts <= last], int(last) + 1
