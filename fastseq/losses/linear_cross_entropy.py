"""Cross-entropy of a linear layer's outputs over many classes, such as the words of a language.

These outputs of N tokens and V classes are N * V numbers, more than all other activations together.
Here they are not held at once.  What takes the features before such a layer is common to this loss
and to those that do not compute most of the outputs at all (:mod:`fastseq.losses.adaptive_softmax`,
:mod:`fastseq.losses.sampled_softmax`); their ``backprop`` adds to the layer's gradients as well.

N rows, which is the product of the leading axes, I features, V classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.layers import Linear
from fastseq.losses.basic import ClassLoss, LossBackprop
from fastseq.module import fixed
from fastseq.packing import BufferPool

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

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
        far, shift = self._are_far(log_sums, self.dtype), None
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
        bias = None if linear.bias is None else linear.bias[own]
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
