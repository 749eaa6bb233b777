"""Losses for many classes, such as the words of a language model.

The outputs of a linear layer for N tokens and V classes are N * V numbers, more than all other
activations together.  Here they are never held at once, or most of them are not even computed.
All three take the features before that layer, and their ``backprop`` adds to the layer's
gradients as well.

N rows, which is the product of the leading axes, I features, V classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.layers import Linear
from fastseq.losses import ClassLoss, LossBackprop, are_far
from fastseq.module import Module, fixed
from fastseq.packing import BufferPool
from fastseq.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, DTypeLike

_BLOCK_BYTES = 1 << 22  # of logits held at a time: about what stays in cache
_LEAST_CLASSES = 256  # ... but no fewer columns, or the products get slow
_PANEL_CLASSES = 64  # columns that a product has in a panel
_KEEP_BYTES = 1 << 28  # of logits that a backward pass need not compute again


class FeatureLoss(ClassLoss):
    """Common to the losses that take features, and classes as targets."""

    def __call__(
        self, inputs: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None
    ) -> float:
        """The loss, over all classes.

        Parameters
        ----------
        inputs : array of floats, (..., I)
        targets : array of integers, (...)
            From 0 to V - 1, or ``ignore_index``.
        mask : array of booleans, (...), optional
            False for targets that don't count.

        Returns
        -------
        loss : float

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape, or a target that counts is out of
            range: the message names the first such one.
        """
        x, targets, _ = self._read(inputs, targets, mask)
        return self._reduce(self._measure(x, targets), len(x))[0]

    def forward(
        self, inputs: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None
    ) -> tuple[float, LossBackprop]:
        """As calling the loss, with a function that runs the backward pass.

        ``inputs`` are kept without a copy until then; don't change them before, nor the
        parameters.

        Returns
        -------
        loss : float
        backprop : LossBackprop
            ``d_inputs = backprop(scale=1.0)`` adds to the gradients of the classes' weights.
        """
        x, targets, place = self._read(inputs, targets, mask)
        total, tape = self._measure_to_train(x, targets)
        loss, factor = self._reduce(total, len(x))
        return loss, LossBackprop(self, (tape, place, factor), None)

    def _read(self, inputs, targets, mask):
        """The rows that count, (N, I), their targets, and where they come from."""
        inputs = checks.floats("inputs", inputs, self.dtype)
        checks.last_axis("inputs", inputs, self.in_features, "in_features")
        targets = self._read_targets(targets, mask, inputs.shape[:-1], self.n_classes)
        x, rows = inputs.reshape(len(targets), self.in_features), np.flatnonzero(targets >= 0)
        if len(rows) == len(x):
            return x, targets, (inputs.shape, None)
        return x[rows], targets[rows], (inputs.shape, rows)

    def _back(self, tape, place, factor, scale):
        dx, (shape, rows) = self._differentiate(tape, factor * scale), place
        if rows is None:
            return dx.reshape(shape)
        d_inputs = np.zeros(shape, dx.dtype)
        d_inputs.reshape(-1, shape[-1])[rows] = dx
        return d_inputs

    def _measure(self, x, targets):
        """The sum of the rows' losses."""
        raise NotImplementedError

    def _measure_to_train(self, x, targets):
        """The sum of the rows' losses, and a tape for ``_differentiate``."""
        raise NotImplementedError

    def _differentiate(self, tape, scale):
        """dx (N, I) of scale times the sum; adds to the weights' gradients."""
        raise NotImplementedError


class LinearCrossEntropyLoss(FeatureLoss):
    """Cross-entropy of a linear layer's outputs, block by block while they are in cache.

    The value of ``CrossEntropyLoss()(linear(x), targets)``, which with many classes takes N * V
    numbers for the outputs and as many again for their gradient.  This one goes over the classes
    in blocks, and turns the outputs into their gradient in place; tokens that don't count cost
    nothing.  Where the outputs would take more than ``keep_bytes`` they are never held at once:
    the backward pass computes them again, a third more work.

    PyTorch's class of this name makes a linear layer of its own; this one takes the model's,
    whose weights may be tied.

    Parameters
    ----------
    linear : Linear
    ignore_index : int
        Targets of this number don't count.
    label_smoothing : float
        From 0 to 1; see :class:`CrossEntropyLoss`.
    reduction : {"mean", "sum"}
        Over the targets that count.  The mean of none is 0.
    keep_bytes : int
        How much memory ``forward`` may take for outputs that ``backprop`` uses again; it is kept
        for the next call, until :meth:`release`.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> linear = fs.Linear(8, 1000, dtype=np.float64, seed=0)
    >>> x, targets = np.ones((3, 2, 8)), np.arange(6).reshape(3, 2)
    >>> value, backprop = fs.LinearCrossEntropyLoss(linear).forward(x, targets)
    >>> bool(np.isclose(value, fs.CrossEntropyLoss()(linear(x), targets)))
    True
    >>> backprop().shape, linear.parameters.grads["weight"].shape
    ((3, 2, 8), (1000, 8))
    """

    def __init__(
        self,
        linear: Linear,
        *,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        keep_bytes: int = _KEEP_BYTES,
    ) -> None:
        super().__init__(
            ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction
        )
        self._linear = read_linear(linear)
        self._keep_bytes = checks.not_negative_int("keep_bytes", keep_bytes)
        self.release()

    def __repr__(self):
        keep = (f"keep_bytes={self._keep_bytes}",) * (self._keep_bytes != _KEEP_BYTES)
        return self._repr(repr(self._linear), *self._options(), *keep)

    keep_bytes = fixed("keep_bytes")

    @property
    def linear(self) -> Linear:
        """The linear layer."""
        return self._linear

    def _modules_in_use(self):
        """What a module that holds this loss must have as a part."""
        return [self._linear]

    @property
    def in_features(self) -> int:
        """I"""
        return self._linear.in_features

    @property
    def n_classes(self) -> int:
        """V"""
        return self._linear.out_features

    @property
    def dtype(self) -> np.dtype:
        """That of the linear layer."""
        return self._linear.dtype

    def release(self) -> None:
        """Let go of the memory that is kept from call to call."""
        self._pool = BufferPool(self.dtype)

    def __getstate__(self):
        return {name: value for name, value in self.__dict__.items() if name != "_pool"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.release()

    def _measure(self, x, targets):
        buffers = self._pool.borrow()
        total, *_ = self._sum(x, targets, buffers, keep=False)
        self._pool.give_back(buffers)
        return total

    def _measure_to_train(self, x, targets):
        buffers = self._pool.borrow()
        keep = len(x) * self.n_classes * self.dtype.itemsize <= self._keep_bytes
        total, log_sums, shift = self._sum(x, targets, buffers, keep)
        return total, (x, targets, log_sums, shift, keep, buffers)

    def _sum(self, x, targets, buffers, keep):
        """The sum of the rows' losses, log(sum(exp)) of each, and what its logits are less by."""
        log_sums, losses = self._sum_rows(x, targets, buffers, keep, None)
        far, shift = are_far(log_sums), None
        if far.any():  # anew, with the largest logits of these rows near to 0
            shift = np.where(far, log_sums, 0)[:, None].astype(self.dtype)
            log_sums, losses = self._sum_rows(x, targets, buffers, keep, shift)
        return losses.sum(), log_sums, shift

    def _sum_rows(self, x, targets, buffers, keep, shift):
        """log(sum(exp)) of each row, and its loss."""
        log_sums, picked = np.full(len(x), -np.inf), np.zeros(len(x))
        block_sums = np.empty(len(x))
        totals, block_totals = (
            (np.zeros(len(x)), np.empty(len(x))) if self._label_smoothing else (None, None)
        )
        for begin, end in self._blocks(len(x)):
            logits = self._place(len(x), begin, end, buffers, keep)
            self._multiply(x, begin, end, shift, logits)
            own = own_targets(targets, begin, end)
            kernels().softmax_cross_entropy_forward(logits, own, block_sums, picked, block_totals)
            with np.errstate(invalid="ignore"):  # NaN, which shows in the result
                np.logaddexp(log_sums, block_sums, out=log_sums)
            if totals is not None:
                totals += block_totals
        return log_sums, self._row_losses(log_sums, picked, totals, self.n_classes)

    def _differentiate(self, tape, scale):
        x, targets, log_sums, shift, keep, buffers = tape
        factors = scale, *self._weights(self.n_classes)
        weight, dx = self._linear.weight, np.zeros_like(x)
        for begin, end in self._blocks(len(x)):
            logits = self._place(len(x), begin, end, buffers, keep)
            if not keep:
                self._multiply(x, begin, end, shift, logits)
            own = own_targets(targets, begin, end)
            kernels().softmax_cross_entropy_backward(logits, own, log_sums, *factors, logits)
            self._linear.add_gradients(x, logits, begin)
            kernels().multiply_rows(logits, weight[begin:end].T, None, dx, True)
        self._pool.give_back(buffers)
        return dx

    def _blocks(self, rows):
        """Ranges of classes, whole panels of weights but for the last ones."""
        width = max(_LEAST_CLASSES, _BLOCK_BYTES // (max(rows, 1) * self.dtype.itemsize))
        count = -(-self.n_classes // width)
        step = -(-self.n_classes // (count * _PANEL_CLASSES)) * _PANEL_CLASSES
        begins = range(0, self.n_classes if rows else 0, step)
        return [(begin, min(begin + step, self.n_classes)) for begin in begins]

    def _place(self, rows, begin, end, buffers, keep):
        """Where a block's logits (rows, end - begin) lie: one after the other if they are kept."""
        if not keep:
            return buffers.get("logits", (rows, end - begin))
        flat = buffers.get("logits", (rows * self.n_classes,))
        return flat[rows * begin : rows * end].reshape(rows, end - begin)

    def _multiply(self, x, begin, end, shift, logits):
        linear, own = self._linear, slice(begin, end)
        bias = linear.parameters["bias"][own] if linear.bias else None
        kernels().multiply_rows(x, linear.weight[own], bias, logits)
        if shift is not None:
            with np.errstate(over="ignore"):  # -inf, which has no part in softmax either
                logits -= shift


def own_targets(targets, begin, end):
    """The targets as columns of these classes; those of other classes as a column beyond them."""
    return np.where((targets >= begin) & (targets < end), targets - begin, end - begin)


def read_linear(linear):
    if not isinstance(linear, Linear):
        raise TypeError(f"linear must be a Linear, got {type(linear).__name__}")
    return linear


class AdaptiveLogSoftmaxWithLoss(Module, FeatureLoss):
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
    seed : int or None
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
        seed: int | None = None,
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
        options += ("head_bias=True",) * self.head.bias
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
    elsewhere = np.full(len(logits), logits.shape[1])
    log_sums, picked = np.empty(len(logits)), np.empty(len(logits))
    kernels().softmax_cross_entropy_forward(logits, elsewhere, log_sums, picked, None)
    logits -= log_sums[:, None].astype(logits.dtype)
    return logits


class SampledSoftmaxLoss(Module, FeatureLoss):
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
    seed : int or None
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
        seed: int | None = None,
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
        np.matmul(x, weights[1].T, out=logits[:, 1:])
        logits[:, 1:] += self._offsets(sampled, tries)
        place = np.minimum(np.searchsorted(sampled, targets), count - 1)
        drawn = np.flatnonzero(sampled[place] == targets)
        logits[drawn, 1 + place[drawn]] = -np.inf
        first, log_sums, picked = np.zeros(len(x), np.int64), np.zeros(len(x)), np.zeros(len(x))
        kernels().softmax_cross_entropy_forward(logits, first, log_sums, picked, None)
        total = self._total(log_sums, picked, None, 1 + count)
        return total, (x, targets, sampled, weights, log_sums, logits, buffers)

    def _offsets(self, classes, tries):
        """What is added to these classes' products: bias, and the correction for the draw."""
        p = np.log1p(1 / (classes + 1.0)) / np.log(self.n_classes + 1.0)
        with np.errstate(divide="ignore"):  # of a single class, which is drawn for certain
            expected = -np.expm1(tries * np.log1p(-p))
        offsets = -np.log(expected)
        if self.linear.bias:
            offsets += self.linear.parameters["bias"][classes]
        return offsets.astype(self.dtype)

    def _differentiate(self, tape, scale):
        x, targets, sampled, weights, log_sums, logits, buffers = tape
        first = np.zeros(len(x), np.int64)
        kernels().softmax_cross_entropy_backward(logits, first, log_sums, scale, 1, 0, logits)
        d_target, d_sampled = logits[:, 0], logits[:, 1:]
        add_rows, source = kernels().add_rows, self.linear.weight_owner
        parts = d_target[:, None] * x, np.matmul(d_sampled.T, x)
        with source.grads_lock:
            add_rows(parts[0], targets, source.grads["weight"])
            add_rows(parts[1], sampled, source.grads["weight"])
        if self.linear.bias:
            parameters = self.linear.parameters
            with parameters.grads_lock:
                np.add.at(parameters.grads["bias"], targets, d_target)
                parameters.grads["bias"][sampled] += d_sampled.sum(axis=0)
        dx = np.matmul(d_sampled, weights[1])
        dx += d_target[:, None] * weights[0]
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
