"""Losses: how far outputs are from targets, and the gradient that training follows.

``loss(inputs, targets, mask=None) -> float`` measures;
``value, backprop = loss.forward(inputs, targets, mask=None)`` also trains, with
``d_inputs = backprop()``.  Axes come as they suit, (T, B, ...) or (B, T, ...).  A mask is True
for what counts; the rest has no part in the loss, gets a gradient of 0, and may hold anything,
NaN included.  Sums are taken in float64.

N rows, which is the product of the leading axes, V classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.elementwise import sigmoid
from fastseq.module import Backprop, Settled, fixed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_FAR = 2.0**32  # from 0: rows are computed anew, nearer to it
_FAR_IF_SUMMED = 2.0**14  # ... where float32 sums them up


class LossBackprop(Backprop):
    """The backward pass of one call of a loss's ``forward``."""

    __slots__ = ()

    def __call__(self, scale: float = 1.0) -> np.ndarray:
        """The gradient with respect to the inputs; it can run once.

        Parameters
        ----------
        scale : float
            The gradient is that of ``scale * loss``.

        Returns
        -------
        d_inputs : ndarray, the shape of the inputs

        Raises
        ------
        RuntimeError
            If it has run before.
        TypeError
            If the scale is no number.
        """
        tape, scale = self._read_tape(), checks.number("scale", scale)
        self._use_up()
        return self._owner._back(*tape, scale)


class Loss(Settled):
    """Common to all losses: how sums become what is handed out."""

    reduction = fixed("reduction")

    def __init__(self, reduction):
        self._reduction = checks.choice("reduction", reduction, ("mean", "sum"))

    def _reduce(self, total, count):
        """The loss, and the factor that the gradient of the sum has to be multiplied with.

        The mean of nothing is 0, so that an empty batch changes nothing.
        """
        factor = 1.0 if self._reduction == "sum" else 1 / max(int(count), 1)
        return float(total) * factor, factor

    def _repr(self, *options):
        options += () if self._reduction == "mean" else (f"reduction={self._reduction!r}",)
        return f"{type(self).__name__}({', '.join(options)})"


# --- classes ------------------------------------------------------------------------------------


class ClassLoss(Loss):
    """Common to the losses whose targets are classes."""

    ignore_index = fixed("ignore_index")
    label_smoothing = fixed("label_smoothing")

    def __init__(self, *, ignore_index, label_smoothing, reduction):
        super().__init__(reduction)
        self._ignore_index = checks.integer("ignore_index", ignore_index)
        self._label_smoothing = checks.probability("label_smoothing", label_smoothing)

    def _options(self):
        options = (f"ignore_index={self._ignore_index}",) * (self._ignore_index != -100)
        smoothing = self._label_smoothing
        return options + (f"label_smoothing={smoothing}",) * (smoothing > 0)

    def _read_targets(self, targets, mask, lead, classes):
        """The targets as the kernels take them, int64 (N,), -1 where a row doesn't count."""
        array = checks.integers("targets", targets)
        checks.shape("targets", array, lead, "of the inputs without their last axis")
        counted = array != self._ignore_index
        if mask is not None:
            counted &= checks.mask(mask, lead, "of the targets")
        wrong = counted & ((array < 0) | (array >= classes))
        if wrong.any():
            at = checks.first(array, wrong)
            raise ValueError(
                f"targets must lie between 0 and {classes - 1}, since there are {classes} "
                f"classes, or be ignore_index={self._ignore_index}, "
                f"got {array[at]} at {checks.position('targets', at)}"
            )
        return np.where(counted, array.astype(np.int64), -1).reshape(-1)

    def _total(self, log_sums, picked, totals, classes):
        """The sum of all rows' losses; all three are 0 where a row doesn't count."""
        return self._row_losses(log_sums, picked, totals, classes).sum()

    def _row_losses(self, log_sums, picked, totals, classes):
        """Each row's loss: a row of huge logits must not round away what the others have."""
        on_target, elsewhere = self._weights(classes)
        with np.errstate(invalid="ignore"):  # NaN, which shows in the result
            losses = log_sums - (on_target * picked if on_target else 0)  # not 0 * -inf
            if totals is not None:
                losses -= elsewhere * totals
        return losses

    def _weights(self, classes):
        """What the target and each class get of the targets' probability."""
        return 1 - self._label_smoothing, self._label_smoothing / classes

    def _are_far(self, log_sums, dtype):
        """Which rows, as of nothing but masked classes, have to be computed anew, nearer to 0.

        There float64 begins to lose the difference of log(sum(exp(x))) to x itself, or float32,
        in which the kernels sum some hundred logits at a time, that to their mean.
        """
        limit = _FAR_IF_SUMMED if self._label_smoothing and dtype == np.float32 else _FAR
        return (np.abs(log_sums) > limit) & np.isfinite(log_sums)


class CrossEntropyLoss(ClassLoss):
    r"""Softmax cross-entropy of logits and classes, as PyTorch's, but with the classes last.

    .. math:: -\log \mathrm{softmax}(x)_t = \log \sum_v e^{x_v} - x_t

    With label smoothing :math:`\epsilon` (Szegedy et al., 2016) a part of the target's
    probability goes to all V classes alike:
    :math:`\log \sum_v e^{x_v} - (1 - \epsilon) \, x_t - \frac{\epsilon}{V} \sum_v x_v`.

    Parameters
    ----------
    ignore_index : int
        Targets of this number don't count.
    label_smoothing : float
        :math:`\epsilon`, from 0 to 1.
    reduction : {"mean", "sum"}
        Over the targets that count.  The mean of none is 0 (PyTorch's is NaN).

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> loss = fs.CrossEntropyLoss()
    >>> logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    >>> value, backprop = loss.forward(logits, [0, 1, -100])
    >>> bool(np.isclose(value, -np.log(0.5 * 0.8) / 2))
    True
    >>> backprop().round(3).tolist()
    [[-0.25, 0.125, 0.125], [0.05, -0.1, 0.05], [0.0, 0.0, 0.0]]
    """

    def __init__(
        self, *, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
    ) -> None:
        super().__init__(
            ignore_index=ignore_index, label_smoothing=label_smoothing, reduction=reduction
        )

    def __repr__(self):
        return self._repr(*self._options())

    def __call__(
        self, inputs: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None
    ) -> float:
        """The loss.

        Parameters
        ----------
        inputs : array of floats, (..., V)
            Logits: any numbers, of which softmax makes probabilities.
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
        inputs, targets = self._read(inputs, targets, mask)
        return self._measure(inputs, targets)[0]

    def forward(
        self,
        inputs: ArrayLike,
        targets: ArrayLike,
        mask: ArrayLike | None = None,
        *,
        in_place: bool = False,
    ) -> tuple[float, LossBackprop]:
        """As calling the loss, with a function that gives the gradient.

        ``inputs`` are kept without a copy until then; don't change them before.

        Parameters
        ----------
        inputs, targets, mask
            As in a call.
        in_place : bool
            Let ``backprop`` write the gradient over ``inputs``, which saves as much memory as
            they take.  They must be an array that needs no conversion.

        Returns
        -------
        loss : float
        backprop : LossBackprop
            ``d_inputs = backprop(scale=1.0)``.
        """
        in_place = checks.flag("in_place", in_place)
        x, targets = self._read(inputs, targets, mask)
        if in_place and not (x is inputs and x.flags.writeable):
            raise ValueError(
                "in_place=True needs inputs that can take the gradient: a writeable C-contiguous "
                "array of float32 or float64, got something else; leave in_place out"
            )
        loss, factor, log_sums, far = self._measure(x, targets)
        return loss, LossBackprop(self, (x, targets, log_sums, far, factor, in_place), None)

    def _read(self, inputs, targets, mask):
        inputs = checks.floats_of_any_precision("inputs", inputs)
        if inputs.ndim == 0 or inputs.shape[-1] == 0:
            raise ValueError(f"inputs must have shape (..., classes), got {inputs.shape}")
        lead, classes = inputs.shape[:-1], inputs.shape[-1]
        return inputs, self._read_targets(targets, mask, lead, classes)

    def _measure(self, inputs, targets):
        """The loss, the gradient's factor, log(sum(exp(x))) of each row, and the far rows."""
        rows = inputs.reshape(len(targets), inputs.shape[-1])
        log_sums, losses = self._sum_rows(rows, targets)
        far = np.flatnonzero(self._are_far(log_sums, rows.dtype))
        shifted = shifted_sums = None
        if far.size:
            wide = rows[far].astype(np.float64)  # which holds all differences of float32
            with np.errstate(over="ignore"):  # -inf, which has no part in softmax either
                wide -= wide.max(axis=1, keepdims=True)
                shifted = wide.astype(rows.dtype, copy=False)
            shifted_sums, losses[far] = self._sum_rows(wide, targets[far])
        loss, factor = self._reduce(losses.sum(), np.count_nonzero(targets >= 0))
        return loss, factor, log_sums, (far, shifted, shifted_sums)

    def _sum_rows(self, rows, targets):
        """log(sum(exp(x))) of each row, and its loss."""
        log_sums, picked = np.zeros(len(targets)), np.zeros(len(targets))
        totals = np.zeros(len(targets)) if self._label_smoothing else None
        kernels().softmax_cross_entropy_forward(rows, targets, log_sums, picked, totals)
        return log_sums, self._row_losses(log_sums, picked, totals, rows.shape[1])

    def _back(self, inputs, targets, log_sums, far, factor, in_place, scale):
        d_inputs = inputs if in_place else kernels().empty(inputs.shape, inputs.dtype)
        shape, factor = (len(targets), inputs.shape[-1]), factor * scale
        rows, d_rows = inputs.reshape(shape), d_inputs.reshape(shape)
        self._differentiate_rows(rows, targets, log_sums, factor, d_rows)
        far, shifted, shifted_sums = far
        if far.size:
            self._differentiate_rows(shifted, targets[far], shifted_sums, factor, shifted)
            d_rows[far] = shifted
        return d_inputs

    def _differentiate_rows(self, rows, targets, log_sums, factor, d_rows):
        weights = self._weights(rows.shape[1])
        kernels().softmax_cross_entropy_backward(rows, targets, log_sums, factor, *weights, d_rows)


# --- numbers ------------------------------------------------------------------------------------


class NumberLoss(Loss):
    """Common to the losses that compare number with number."""

    def __call__(
        self, inputs: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None
    ) -> float:
        """The loss.

        Parameters
        ----------
        inputs : array of floats, any shape
        targets : array of floats, the shape of inputs
        mask : array of booleans, optional
            False for what doesn't count; the shape of targets, or without trailing axes.

        Returns
        -------
        loss : float

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape.
        """
        inputs, targets, mask = self._read(inputs, targets, mask)
        return self._measure(inputs, targets, mask)[0]

    def forward(
        self, inputs: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None
    ) -> tuple[float, LossBackprop]:
        """As calling the loss, with a function that gives the gradient.

        ``inputs`` and ``targets`` are kept without a copy until then; don't change them before.

        Returns
        -------
        loss : float
        backprop : LossBackprop
            ``d_inputs = backprop(scale=1.0)``.
        """
        inputs, targets, mask = self._read(inputs, targets, mask)
        loss, factor = self._measure(inputs, targets, mask)
        return loss, LossBackprop(self, (inputs, targets, mask, factor), None)

    def _read(self, inputs, targets, mask):
        """Arrays of the shape of inputs; the mask, if there is any."""
        inputs = checks.floats_of_any_precision("inputs", inputs)
        targets = checks.floats("targets", targets, inputs.dtype)
        checks.shape("targets", targets, inputs.shape, "of the inputs")
        if mask is not None:
            mask = checks.mask(mask, inputs.shape, "of the targets")
        return inputs, targets, mask

    def _measure(self, inputs, targets, mask):
        with np.errstate(invalid="ignore", over="ignore"):  # inf or NaN, which is masked or shows
            values = np.asarray(self._values(inputs, targets))
        if mask is None:
            return self._reduce(values.sum(dtype=np.float64), values.size)
        total = values.sum(dtype=np.float64, where=mask)
        return self._reduce(total, np.count_nonzero(mask))

    def _back(self, inputs, targets, mask, factor, scale):
        with np.errstate(invalid="ignore", over="ignore"):
            d_inputs = np.asarray(self._slopes(inputs, targets))
        d_inputs *= factor * scale
        if mask is not None:
            d_inputs[~mask] = 0
        return d_inputs

    def _values(self, x, t):
        """The loss of each element; a new array."""
        raise NotImplementedError

    def _slopes(self, x, t):
        """Its derivative with respect to x; a new array."""
        raise NotImplementedError


class BCEWithLogitsLoss(NumberLoss):
    r"""Binary cross-entropy of logits and probabilities, as PyTorch's.

    .. math:: -t \log \sigma(x) - (1 - t) \log (1 - \sigma(x))

    with the sigmoid :math:`\sigma`, computed without overflow.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        Over the elements that count.  The mean of none is 0.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> value, backprop = fs.BCEWithLogitsLoss().forward(np.array([0.0, 2.0]), [1.0, 1.0])
    >>> round(value, 4), backprop().round(4).tolist()
    (0.41, [-0.25, -0.0596])
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def __repr__(self):
        return self._repr()

    def _values(self, x, t):
        return np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))

    def _slopes(self, x, t):
        return np.subtract(sigmoid(x), t)


class MSELoss(NumberLoss):
    r"""Squared error, :math:`(x - t)^2`, as PyTorch's.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        Over the elements that count.  The mean of none is 0.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> x, t = np.array([[1.0, 2.0], [3.0, 9.0]]), np.array([[1.0, 4.0], [5.0, 5.0]])
    >>> value, backprop = fs.MSELoss().forward(x, t, mask=[[True, True], [True, False]])
    >>> value == 8 / 3, backprop(3).tolist()
    (True, [[0.0, -4.0], [-4.0, 0.0]])
    """

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def __repr__(self):
        return self._repr()

    def _values(self, x, t):
        return np.square(x - t)

    def _slopes(self, x, t):
        d = np.subtract(x, t)
        return np.add(d, d)


class HuberLoss(NumberLoss):
    r"""Squared error where it is small, absolute where it is large (Huber, 1964), as PyTorch's.

    .. math::

        \tfrac{1}{2} (x - t)^2 \;\text{ if } |x - t| \le \delta, \qquad
        \delta \, (|x - t| - \tfrac{1}{2} \delta) \;\text{ otherwise}

    Parameters
    ----------
    delta : float
        :math:`\delta`, above 0.
    reduction : {"mean", "sum"}
        Over the elements that count.  The mean of none is 0.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> value, backprop = fs.HuberLoss(2.0).forward(np.array([1.0, 5.0]), [0.0, 0.0])
    >>> value, backprop().tolist()
    (4.25, [0.5, 1.0])
    """

    delta = fixed("delta")

    def __init__(self, delta: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self._delta = checks.positive_float("delta", delta)

    def __repr__(self):
        return self._repr(str(self._delta))

    def _values(self, x, t):
        error = np.abs(x - t)
        near = np.minimum(error, self._delta)
        return near * (error - 0.5 * near)

    def _slopes(self, x, t):
        return np.clip(np.subtract(x, t), -self._delta, self._delta)


class QuantileLoss(NumberLoss):
    r"""The loss whose minimum is at quantiles of the targets (Koenker & Bassett, 1978).

    .. math:: \max(q \, (t - x), \; (q - 1) \, (t - x))

    For forecasts with their uncertainty: a model gives one number for each quantile.

    Parameters
    ----------
    quantiles : sequence of floats
        Q numbers between 0 and 1.
    reduction : {"mean", "sum"}
        Over the targets that count, and all quantiles.  The mean of none is 0.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> loss = fs.QuantileLoss([0.1, 0.5, 0.9])
    >>> value, backprop = loss.forward(np.array([[1.0, 2.0, 3.0]]), [2.5])
    >>> round(value, 4), backprop().round(4).tolist()
    (0.15, [[-0.0333, -0.1667, 0.0333]])
    """

    quantiles = fixed("quantiles")

    def __init__(self, quantiles: ArrayLike, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        array = checks.floats_of_any_precision("quantiles", quantiles)
        if array.ndim != 1 or not array.size or not ((array > 0) & (array < 1)).all():
            raise ValueError(
                f"quantiles must be a sequence of numbers between 0 and 1, got {quantiles!r}"
            )
        self._quantiles = tuple(array.tolist())

    def __repr__(self):
        return self._repr(str(list(self._quantiles)))

    def __call__(
        self, inputs: ArrayLike, targets: ArrayLike, mask: ArrayLike | None = None
    ) -> float:
        """The loss.

        Parameters
        ----------
        inputs : array of floats, (..., Q)
            For each target an estimate of each quantile.
        targets : array of floats, (...)
        mask : array of booleans, optional
            False for targets that don't count; the shape of targets, or without trailing axes.

        Returns
        -------
        loss : float

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape.
        """
        return super().__call__(inputs, targets, mask)

    def _read(self, inputs, targets, mask):
        inputs = checks.floats_of_any_precision("inputs", inputs)
        checks.last_axis("inputs", inputs, len(self._quantiles), "the number of quantiles")
        targets = checks.floats("targets", targets, inputs.dtype)
        lead = inputs.shape[:-1]
        checks.shape("targets", targets, lead, "of the inputs without their last axis")
        if mask is not None:
            mask = checks.mask(mask, lead, "of the targets")
            mask = np.broadcast_to(mask[..., None], inputs.shape)
        return inputs, targets[..., None], mask

    def _values(self, x, t):
        q = np.asarray(self._quantiles, x.dtype)
        return np.maximum(q * (t - x), (q - 1) * (t - x))

    def _slopes(self, x, t):
        q = np.asarray(self._quantiles, x.dtype)
        return np.where(x < t, -q, np.where(x > t, 1 - q, x.dtype.type(0)))
