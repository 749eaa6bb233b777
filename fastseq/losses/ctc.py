"""Connectionist temporal classification: sequences of labels without their times.

T steps, B rows, V classes, S labels of the longest target.  A target's path has 2 S + 1 places:
blank, label, blank, ..., label, blank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.losses.basic import Loss, LossBackprop
from fastseq.module import fixed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class CTCLoss(Loss):
    r"""Connectionist temporal classification (Graves et al., 2006), with PyTorch's names.

    .. math:: -\log \sum_{\pi \to t} \prod_\tau \mathrm{softmax}(x_\tau)_{\pi_\tau}

    over all paths that give the target t when repeated classes, then blanks are removed.

    The inputs are logits.  PyTorch's ``log_softmax`` of them gives the same loss, since softmax
    changes nothing about it, but the gradient returned here is that with respect to the logits.

    Parameters
    ----------
    blank : int
        The class that stands for no label.
    reduction : {"mean", "sum"}
        As in PyTorch the mean divides each row's loss by the length of its target first.
    zero_infinity : bool
        Whether rows whose target is too long for their input have a loss of 0 and no gradient;
        otherwise their loss is infinite and their gradient NaN.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> logits = np.zeros((4, 1, 3))  # 4 steps, 1 row; blank and 2 labels, all as probable
    >>> value, backprop = fs.CTCLoss(reduction="sum").forward(logits, [[1, 2]])
    >>> paths = 15  # that read 1 2, such as 1 1 2 - and - 1 - 2
    >>> bool(np.isclose(value, -np.log(paths / 3**4)))
    True
    >>> backprop().shape
    (4, 1, 3)
    """

    blank = fixed("blank")
    zero_infinity = fixed("zero_infinity")

    def __init__(
        self, blank: int = 0, *, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction)
        self._blank = checks.integer("blank", blank)
        if self._blank < 0:
            raise ValueError(f"blank must be a class, from 0 on, got {self._blank}")
        self._zero_infinity = checks.flag("zero_infinity", zero_infinity)

    def __repr__(self):
        zero = ("zero_infinity=True",) * self._zero_infinity
        return self._repr(f"blank={self._blank}", *zero)

    def __call__(
        self,
        inputs: ArrayLike,
        targets: ArrayLike,
        input_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
    ) -> float:
        """The loss.

        Parameters
        ----------
        inputs : array of floats, (T, B, V)
            Logits.
        targets : array of integers, (B, S)
            Labels, from 0 to V - 1 but not ``blank``; what is past a length may be anything.
        input_lengths : array of integers, (B,), optional
            From 0 to T; None means that all have T steps.
        target_lengths : array of integers, (B,), optional
            From 0 to S; None means that all have S labels.

        Returns
        -------
        loss : float

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, dtype or shape, or a label is out of range: the
            message names the first such one.
        """
        lattice = self._read(inputs, targets, input_lengths, target_lengths)
        with np.errstate(invalid="ignore"):  # NaN, which shows in the result
            return self._sum_up(lattice, lattice.log_likelihoods(lattice.forward()))[0]

    def forward(
        self,
        inputs: ArrayLike,
        targets: ArrayLike,
        input_lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
    ) -> tuple[float, LossBackprop]:
        """As calling the loss, with a function that gives the gradient.

        ``inputs`` are kept without a copy until then; don't change them before.

        Returns
        -------
        loss : float
        backprop : LossBackprop
            ``d_inputs = backprop(scale=1.0)``.
        """
        lattice = self._read(inputs, targets, input_lengths, target_lengths)
        with np.errstate(invalid="ignore"):
            alpha = lattice.forward()
            log_likelihoods = lattice.log_likelihoods(alpha)
            loss, factors = self._sum_up(lattice, log_likelihoods)
        return loss, LossBackprop(self, (lattice, alpha, log_likelihoods, factors), None)

    def _read(self, inputs, targets, input_lengths, target_lengths):
        x = checks.floats_of_any_precision("inputs", inputs)
        if x.ndim != 3 or x.shape[2] <= self._blank:
            raise ValueError(
                f"inputs must have shape (T, B, classes) with more than blank={self._blank} "
                f"classes, got {x.shape}"
            )
        steps, rows, classes = x.shape
        labels = checks.integers("targets", targets)
        if labels.ndim != 2 or len(labels) != rows:
            raise ValueError(
                f"targets must have shape (B, S) = ({rows}, S), got {labels.shape}; pad them to "
                "one length and give target_lengths"
            )
        input_lengths = self._read_lengths("input", input_lengths, rows, steps)
        target_lengths = self._read_lengths("target", target_lengths, rows, labels.shape[1])
        counted = np.arange(labels.shape[1]) < target_lengths[:, None]
        wrong = counted & ((labels < 0) | (labels >= classes) | (labels == self._blank))
        if wrong.any():
            at = checks.first(labels, wrong)
            raise ValueError(
                f"targets must lie between 0 and {classes - 1} and not be blank={self._blank}, "
                f"got {labels[at]} at {checks.position('targets', at)}"
            )
        labels = np.where(counted, labels.astype(np.int64), self._blank)
        return Lattice(x, labels, input_lengths, target_lengths, self._blank)

    @staticmethod
    def _read_lengths(of, value, rows, most):
        if value is None:
            return np.full(rows, most)
        return checks.lengths(value, rows, most, name=f"{of}_lengths", of=f"{of}s")

    def _sum_up(self, lattice, log_likelihoods):
        """The loss, and the factor of each row's part of the gradient."""
        losses, factors = -log_likelihoods, np.ones(len(log_likelihoods))
        if self._reduction == "mean":
            factors /= np.maximum(lattice.target_lengths, 1) * max(len(losses), 1)
        if self._zero_infinity:
            impossible = np.isinf(losses)
            losses[impossible] = factors[impossible] = 0
        return float((losses * factors).sum()), factors

    def _back(self, lattice, alpha, log_likelihoods, factors, scale):
        with np.errstate(invalid="ignore"):  # NaN also where a target has no path
            return lattice.gradient(alpha, log_likelihoods, factors * scale)


class Lattice:
    """The probabilities of a batch's paths, as logarithms in float64."""

    def __init__(self, x, labels, input_lengths, target_lengths, blank):
        self.x, self.input_lengths, self.target_lengths = x, input_lengths, target_lengths
        rows, places = len(labels), 2 * labels.shape[1] + 1
        self.classes = np.full((rows, places), blank)
        self.classes[:, 1::2] = labels
        # From a label a path may go on to the next one without a blank, if they differ.
        self.may_skip = np.zeros((rows, places), bool)
        self.may_skip[:, 3::2] = labels[:, 1:] != labels[:, :-1]
        self.used = np.arange(places) <= 2 * target_lengths[:, None]
        self.running = np.arange(len(x))[:, None] < input_lengths  # (T, B)
        self.log_sums = self._log_sums()
        picked = np.take_along_axis(x, self.classes[None], axis=2).astype(np.float64)
        self.log_p = picked - self.log_sums[..., None]  # of each place's class, (T, B, places)

    def _log_sums(self):
        """log(sum(exp(x))) of each step that runs."""
        steps, rows, classes = self.x.shape
        targets = np.where(self.running, classes, -1).reshape(-1)  # there is no target to pick
        log_sums, picked = np.zeros(steps * rows), np.zeros(steps * rows)
        logits = self.x.reshape(steps * rows, classes)
        kernels().softmax_cross_entropy_forward(logits, targets, log_sums, picked, None)
        return log_sums.reshape(steps, rows)

    def forward(self):
        """log p of all beginnings of paths that are at a place after a step, (T + 1, B, places).

        Entry 0 is before the first step: there a path is nowhere, which stands in the row of
        place 0 as if a blank had been read.
        """
        alpha = np.full((len(self.x) + 1, *self.classes.shape), -np.inf)
        alpha[0, :, 0] = 0
        for t, log_p in enumerate(self.log_p):
            before = alpha[t]
            total = np.logaddexp(before, shifted(before, 1))
            skipped = np.where(self.may_skip, shifted(before, 2), -np.inf)
            np.logaddexp(total, skipped, out=total)
            total += log_p
            alpha[t + 1] = np.where(self.running[t, :, None] & self.used, total, -np.inf)
        return alpha

    def log_likelihoods(self, alpha):
        """log p of each row's target, (B,)."""
        rows, last = np.arange(len(self.classes)), 2 * self.target_lengths
        ends = alpha[self.input_lengths, rows]
        before_last = np.where(last > 0, ends[rows, np.maximum(last - 1, 0)], -np.inf)
        return np.logaddexp(ends[rows, last], before_last)

    def gradient(self, alpha, log_likelihoods, factors):
        """That with respect to x, (T, B, V): softmax less the paths' share of each class."""
        steps, rows, classes = self.x.shape
        dx = np.empty_like(self.x)
        targets = np.where(self.running, classes, -1).reshape(-1)
        shape = (steps * rows, classes)
        kernels().softmax_cross_entropy_backward(
            self.x.reshape(shape), targets, self.log_sums.reshape(-1), 1, 0, 0, dx.reshape(shape)
        )
        beta = self._ends()
        columns = self.classes + classes * np.arange(rows)[:, None]
        for t in range(steps - 1, -1, -1):
            share = np.exp(alpha[t + 1] + beta - log_likelihoods[:, None])
            share[~self.running[t]] = 0
            summed = np.bincount(columns.reshape(-1), share.reshape(-1), rows * classes)
            dx[t] -= summed.reshape(rows, classes)
            beta = np.where(self.running[t, :, None], self._back_one_step(beta, t), beta)
        dx *= factors[:, None]
        dx[:, factors == 0] = 0
        return dx

    def _ends(self):
        """log p of what is left of a path that is complete: 0 at the last label and blank."""
        places = np.arange(self.classes.shape[1])
        last = 2 * self.target_lengths[:, None]
        return np.where((places == last) | (places == last - 1), 0, -np.inf)

    def _back_one_step(self, beta, t):
        """log p of all ends of paths from a place on, one step earlier."""
        ends = beta + self.log_p[t]
        total = np.logaddexp(ends, shifted(ends, -1))
        skipped = shifted(np.where(self.may_skip, ends, -np.inf), -2)
        return np.where(self.used, np.logaddexp(total, skipped), -np.inf)


def shifted(array, places):
    """The array (B, places) moved to the right, or with negative numbers to the left."""
    out = np.full_like(array, -np.inf)
    if places > 0:
        out[:, places:] = array[:, :-places]
    else:
        out[:, :places] = array[:, -places:]
    return out
