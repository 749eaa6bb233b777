"""Schedules: what becomes of an optimiser's learning rate while it trains.

Names, arguments and values are PyTorch's.  A schedule sets ``optimizer.lr`` when it is made, and
at each ``step()``, which follows the optimiser's steps of an epoch, or each single one.  What "an
epoch" is in the names below is thus for the caller to say.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastseq import checks
from fastseq.module import Settled, fixed
from fastseq.training.optim import Optimizer


class LRScheduler(Settled):
    """Common to all whose learning rate follows from the number of steps alone.

    ``base_lr`` is the optimiser's learning rate when the schedule is made: the one that was last
    assigned, not what another schedule has made of it.  A subclass says in ``_lr_at`` what it
    becomes; what is assigned to ``optimizer.lr`` later holds until the next step.
    """

    optimizer = fixed("optimizer")
    base_lr = fixed("base_lr")
    last_epoch = fixed("last_epoch")

    def __init__(self, optimizer):
        self._optimizer = _check_optimizer(optimizer)
        self._base_lr = optimizer.initial_lr
        self._go_to(0)

    def step(self) -> None:
        """Go on to the next learning rate."""
        self._go_to(self._last_epoch + 1)

    def _go_to(self, epoch):
        self._optimizer.schedule_lr(self._lr_at(epoch, self._base_lr))
        self._last_epoch = epoch  # only now: a caller's function may raise

    def _lr_at(self, epoch, base):
        """The learning rate after ``epoch`` steps from ``base``."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, float]:
        """All that changes from step to step, as numbers by name; the learning rate is in it."""
        return {"last_epoch": self._last_epoch, "base_lr": self._base_lr, "lr": self._optimizer.lr}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state, or none of it if anything in it is wrong; sets ``optimizer.lr``.

        Parameters
        ----------
        state_dict : mapping
            Exactly the names of ``state_dict()``; numbers may be arrays without axes.

        Raises
        ------
        TypeError
            If it is no mapping, or a value has the wrong type.
        ValueError
            If names are missing or unexpected, or a number is wrong.
        """
        checks.state_dict(state_dict, ["last_epoch", "base_lr", "lr"])
        last_epoch = checks.not_negative_int("last_epoch", state_dict["last_epoch"])
        base, lr = (checks.not_negative(name, state_dict[name]) for name in ("base_lr", "lr"))
        self._last_epoch, self._base_lr = last_epoch, base
        self._optimizer.schedule_lr(lr)


class StepLR(LRScheduler):
    """Multiplies the learning rate by ``gamma`` every ``step_size`` steps.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
        At least 1.
    gamma : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import fastseq as fs
    >>> optimizer = fs.SGD(fs.RNN(1, 1).parameters, 1.0)
    >>> schedule = fs.StepLR(optimizer, 2, gamma=0.5)
    >>> lrs = []
    >>> for epoch in range(5):
    ...     lrs.append(optimizer.lr)
    ...     schedule.step()
    >>> lrs
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, *, gamma: float = 0.1) -> None:
        self._step_size = checks.positive_int("step_size", step_size)
        self._gamma = checks.not_negative("gamma", gamma)
        super().__init__(optimizer)

    def _lr_at(self, epoch, base):
        return base * self._gamma ** (epoch // self._step_size)


class MultiStepLR(LRScheduler):
    """Multiplies the learning rate by ``gamma`` at each of the milestones.

    Parameters
    ----------
    optimizer : Optimizer
    milestones : iterable of int
        Numbers of steps in rising order, at least 0; one that is there twice counts twice.
    gamma : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import fastseq as fs
    >>> optimizer = fs.SGD(fs.RNN(1, 1).parameters, 1.0)
    >>> schedule = fs.MultiStepLR(optimizer, [1, 3], gamma=0.5)
    >>> lrs = []
    >>> for epoch in range(5):
    ...     lrs.append(optimizer.lr)
    ...     schedule.step()
    >>> lrs
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    def __init__(
        self, optimizer: Optimizer, milestones: Iterable[int], *, gamma: float = 0.1
    ) -> None:
        self._milestones = _check_milestones(milestones)
        self._gamma = checks.not_negative("gamma", gamma)
        super().__init__(optimizer)

    def _lr_at(self, epoch, base):
        return base * self._gamma ** bisect.bisect_right(self._milestones, epoch)


class ExponentialLR(LRScheduler):
    """Multiplies the learning rate by ``gamma`` at each step.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import fastseq as fs
    >>> optimizer = fs.SGD(fs.RNN(1, 1).parameters, 1.0)
    >>> schedule = fs.ExponentialLR(optimizer, gamma=0.5)
    >>> lrs = []
    >>> for epoch in range(4):
    ...     lrs.append(optimizer.lr)
    ...     schedule.step()
    >>> lrs
    [1.0, 0.5, 0.25, 0.125]
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self._gamma = checks.not_negative("gamma", gamma)
        super().__init__(optimizer)

    def _lr_at(self, epoch, base):
        return base * self._gamma**epoch


class CosineAnnealingLR(LRScheduler):
    """Half a cosine wave from the base to ``eta_min`` in ``T_max`` steps, then up again, and so on.

    lr = eta_min + (base - eta_min) * (1 + cos(pi * epoch / T_max)) / 2, the annealing of
    Loshchilov & Hutter (2017) without their restarts.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        At least 1.
    eta_min : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import fastseq as fs
    >>> optimizer = fs.SGD(fs.RNN(1, 1).parameters, 1.0)
    >>> schedule = fs.CosineAnnealingLR(optimizer, 4)
    >>> lrs = []
    >>> for epoch in range(5):
    ...     lrs.append(round(optimizer.lr, 3))
    ...     schedule.step()
    >>> lrs
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, *, eta_min: float = 0.0) -> None:
        self._length = checks.positive_int("T_max", T_max)
        self._eta_min = checks.not_negative("eta_min", eta_min)
        super().__init__(optimizer)

    def _lr_at(self, epoch, base):
        return _cosine(base, self._eta_min, epoch / self._length)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine wave from the base to ``eta_min``, again and again (Loshchilov & Hutter, 2017).

    The first takes ``T_0`` steps, each other one ``T_mult`` times as many as the one before.

    Parameters
    ----------
    optimizer : Optimizer
    T_0, T_mult : int
        At least 1.
    eta_min : float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import fastseq as fs
    >>> optimizer = fs.SGD(fs.RNN(1, 1).parameters, 1.0)
    >>> schedule = fs.CosineAnnealingWarmRestarts(optimizer, 2, T_mult=2)
    >>> lrs = []
    >>> for epoch in range(7):
    ...     lrs.append(round(optimizer.lr, 3))
    ...     schedule.step()
    >>> lrs
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """

    def __init__(
        self, optimizer: Optimizer, T_0: int, *, T_mult: int = 1, eta_min: float = 0.0
    ) -> None:
        self._first = checks.positive_int("T_0", T_0)
        self._factor = checks.positive_int("T_mult", T_mult)
        self._eta_min = checks.not_negative("eta_min", eta_min)
        super().__init__(optimizer)

    def _lr_at(self, epoch, base):
        length = self._first
        if self._factor == 1:
            epoch %= length
        while epoch >= length:
            epoch -= length
            length *= self._factor
        return _cosine(base, self._eta_min, epoch / length)


class LinearLR(LRScheduler):
    """A straight line from ``start_factor`` to ``end_factor`` times the base, then level.

    From a small factor to 1 it is a warm-up; ``SequentialLR`` puts it before another schedule.

    Parameters
    ----------
    optimizer : Optimizer
    start_factor : float
        Above 0, at most 1.
    end_factor : float
        From 0 to 1.
    total_iters : int
        Steps until the line is level, at least 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import fastseq as fs
    >>> optimizer = fs.SGD(fs.RNN(1, 1).parameters, 1.0)
    >>> schedule = fs.LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> lrs = []
    >>> for epoch in range(5):
    ...     lrs.append(optimizer.lr)
    ...     schedule.step()
    >>> lrs
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        self._start = checks.probability(
            "start_factor", checks.positive("start_factor", start_factor)
        )
        self._end = checks.probability("end_factor", end_factor)
        self._length = checks.positive_int("total_iters", total_iters)
        super().__init__(optimizer)

    def _lr_at(self, epoch, base):
        done = min(epoch, self._length) / self._length
        return base * (self._start + (self._end - self._start) * done)


class LambdaLR(LRScheduler):
    """The base times a function of the number of steps.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable
        Takes the number of steps, an int from 0 on, and returns a factor of at least 0.  It is no
        part of the state.

    Raises
    ------
    TypeError, ValueError
        If it can't be called; here or in ``step``, if it returns no such factor.

    Examples
    --------
    >>> import fastseq as fs
    >>> optimizer = fs.SGD(fs.RNN(1, 1).parameters, 1.0)
    >>> schedule = fs.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> lrs = []
    >>> for epoch in range(4):
    ...     lrs.append(round(optimizer.lr, 3))
    ...     schedule.step()
    >>> lrs
    [1.0, 0.5, 0.333, 0.25]
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        if not callable(lr_lambda):
            raise TypeError(f"lr_lambda must be a function of the epoch, got {lr_lambda!r}")
        self._lr_lambda = lr_lambda
        super().__init__(optimizer)

    def _lr_at(self, epoch, base):
        return base * checks.not_negative("lr_lambda(epoch)", self._lr_lambda(epoch))


class SequentialLR(LRScheduler):
    """One schedule after the other: each starts anew at its milestone.

    All start from this schedule's ``base_lr``; only this one is to be stepped and saved.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : sequence of schedules
        Of this optimiser; any here but ``ReduceLROnPlateau``.
    milestones : iterable of int
        The numbers of steps at which the second, third, ... takes over, in rising order.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range, or the numbers of schedules and milestones don't fit.

    Examples
    --------
    >>> import fastseq as fs
    >>> optimizer = fs.SGD(fs.RNN(1, 1).parameters, 1.0)
    >>> warm_up = fs.LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> cosine = fs.CosineAnnealingLR(optimizer, 4)
    >>> schedule = fs.SequentialLR(optimizer, [warm_up, cosine], [3])
    >>> lrs = []
    >>> for epoch in range(8):
    ...     lrs.append(round(optimizer.lr, 3))
    ...     schedule.step()
    >>> lrs
    [0.25, 0.5, 0.75, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Iterable[int]
    ) -> None:
        _check_optimizer(optimizer)
        if not isinstance(schedulers, Sequence):
            raise TypeError(f"schedulers must be a list of schedules, got {schedulers!r}")
        self._schedulers = tuple(schedulers)
        self._milestones = _check_milestones(milestones)
        for i, schedule in enumerate(self._schedulers):
            if not isinstance(schedule, LRScheduler):
                raise TypeError(
                    f"schedulers[{i}] must be a schedule that follows from the number of steps, "
                    f"got {type(schedule).__name__}"
                )
            if schedule.optimizer is not optimizer:
                raise ValueError(f"schedulers[{i}] belongs to another optimizer")
        if len(self._schedulers) != len(self._milestones) + 1:
            raise ValueError(
                "there must be one schedule more than milestones, got "
                f"{len(self._schedulers)} schedulers and {len(self._milestones)} milestones"
            )
        super().__init__(optimizer)

    def _lr_at(self, epoch, base):
        i = bisect.bisect_right(self._milestones, epoch)
        begin = self._milestones[i - 1] if i else 0
        return self._schedulers[i]._lr_at(epoch - begin, base)


class ReduceLROnPlateau(Settled):
    """Multiplies the learning rate by ``factor`` where a measure has stopped getting better.

    That is after more than ``patience`` steps in a row whose measure did not beat the best one.
    NaN beats nothing.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Whether less is better, or more.
    factor : float
        From 0 to below 1.
    patience : int
        At least 0.
    threshold : float
        What it takes to beat the best, at least 0.
    threshold_mode : {"rel", "abs"}
        Whether that is in proportion to the best, best * (1 - threshold) or
        best * (1 + threshold), or a difference.
    cooldown : int
        Steps after a reduction that don't count.
    min_lr : float
        The learning rate is never reduced below it.
    eps : float
        A reduction by no more than this is left out.

    Attributes
    ----------
    best : float
        The best measure so far.
    num_bad_epochs : int
        Steps in a row that did not beat it.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import fastseq as fs
    >>> optimizer = fs.SGD(fs.RNN(1, 1).parameters, 1.0)
    >>> schedule = fs.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> lrs = []
    >>> for loss in (3.0, 2.0, 2.0, 2.1, 1.5):
    ...     schedule.step(loss)
    ...     lrs.append(optimizer.lr)
    >>> lrs
    [1.0, 1.0, 1.0, 0.5, 0.5]
    """

    optimizer = fixed("optimizer")
    mode = fixed("mode")
    best = fixed("best")
    num_bad_epochs = fixed("num_bad_epochs")

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self._optimizer = _check_optimizer(optimizer)
        self._mode = checks.choice("mode", mode, ("min", "max"))
        self._sign = 1 if self._mode == "min" else -1
        self._factor = checks.fraction("factor", factor)
        self._patience = checks.not_negative_int("patience", patience)
        self._threshold = checks.not_negative("threshold", threshold)
        self._relative = checks.choice("threshold_mode", threshold_mode, ("rel", "abs")) == "rel"
        self._cooldown = checks.not_negative_int("cooldown", cooldown)
        self._min_lr = checks.not_negative("min_lr", min_lr)
        self._eps = checks.not_negative("eps", eps)
        self._best = self._sign * math.inf
        self._num_bad_epochs = self._cooldown_counter = 0

    def step(self, metrics: float) -> None:
        """Take the latest measure into account.

        Parameters
        ----------
        metrics : float
            Usually the loss on validation data.
        """
        metrics = checks.number("metrics", metrics)
        if self._beats_best(metrics):
            self._best, self._num_bad_epochs = metrics, 0
        else:
            self._num_bad_epochs += 1
        if self._cooldown_counter:
            self._cooldown_counter -= 1
            self._num_bad_epochs = 0
        if self._num_bad_epochs > self._patience:
            self._reduce()
            self._cooldown_counter, self._num_bad_epochs = self._cooldown, 0

    def _beats_best(self, metrics):
        margin = self._sign * self._threshold
        mark = self._best * (1 - margin) if self._relative else self._best - margin
        return self._sign * metrics < self._sign * mark

    def _reduce(self):
        lr = self._optimizer.lr
        lower = max(lr * self._factor, self._min_lr)
        if lr - lower > self._eps:
            self._optimizer.schedule_lr(lower)

    def state_dict(self) -> dict[str, float]:
        """All that changes from step to step, as numbers by name; the learning rate is in it."""
        return {
            "best": self._best,
            "num_bad_epochs": self._num_bad_epochs,
            "cooldown_counter": self._cooldown_counter,
            "lr": self._optimizer.lr,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state, or none of it if anything in it is wrong; sets ``optimizer.lr``.

        Parameters
        ----------
        state_dict : mapping
            Exactly the names of ``state_dict()``; numbers may be arrays without axes.

        Raises
        ------
        TypeError
            If it is no mapping, or a value has the wrong type.
        ValueError
            If names are missing or unexpected, or a number is wrong.
        """
        checks.state_dict(state_dict, list(self.state_dict()))
        best = checks.number("best", state_dict["best"])
        bad, cooldown = (
            checks.not_negative_int(name, state_dict[name])
            for name in ("num_bad_epochs", "cooldown_counter")
        )
        lr = checks.not_negative("lr", state_dict["lr"])
        self._best, self._num_bad_epochs, self._cooldown_counter = best, bad, cooldown
        self._optimizer.schedule_lr(lr)


def _cosine(base, lowest, part):
    """Half a wave from base to lowest while ``part`` goes from 0 to 1."""
    return lowest + (base - lowest) * (1 + math.cos(math.pi * part)) / 2


def _check_optimizer(value):
    if not isinstance(value, Optimizer):
        raise TypeError(f"optimizer must be an optimiser, got {type(value).__name__}")
    return value


def _check_milestones(value):
    """The milestones as a list."""
    try:
        milestones = [checks.not_negative_int("milestones", item) for item in value]
    except TypeError as error:
        raise TypeError(f"milestones must be a list of integers: {error}") from None
    if milestones != sorted(milestones):
        raise ValueError(f"milestones must be in rising order, got {milestones}")
    return milestones
