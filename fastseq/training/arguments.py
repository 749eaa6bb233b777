"""What :func:`fastseq.fit` takes besides data: checked, and made ready for the loop."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence

from fastseq import checks
from fastseq.checkpoint import load_checkpoint, remove_leftovers, save_checkpoint
from fastseq.module import Module
from fastseq.training.averaging import AveragedParameters
from fastseq.training.optim import Optimizer
from fastseq.training.schedules import LRScheduler, ReduceLROnPlateau
from fastseq.training.validation import Best, check_batches, has_state


def check_model(model):
    if not isinstance(model, Module) or not hasattr(model, "loss_and_grad"):
        raise TypeError(
            f"model must be a Module with a method loss_and_grad(batch), got {type(model).__name__}"
        )
    return model


def check_optimizer(optimizer, model):
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be an optimiser, got {type(optimizer).__name__}")
    _check_parameters("optimizer", optimizer, model)
    return optimizer


def check_average(average, model):
    if average is None:
        return None
    if not isinstance(average, AveragedParameters):
        raise TypeError(f"average must be AveragedParameters, got {type(average).__name__}")
    _check_parameters("average", average, model)
    return average


def _check_parameters(name, value, model):
    if value.parameters is not model.parameters:
        raise ValueError(
            f"{name} belongs to other parameters than the model's: make it from model.parameters, "
            "once the model is whole"
        )


def check_schedule(schedule, optimizer, validation, mode):
    if schedule is None:
        return None
    if not isinstance(schedule, (LRScheduler, ReduceLROnPlateau)):
        raise TypeError(f"schedule must be a schedule, got {type(schedule).__name__}")
    if schedule.optimizer is not optimizer:
        raise ValueError("schedule belongs to another optimizer")
    if isinstance(schedule, ReduceLROnPlateau):
        if validation is None:
            raise ValueError("ReduceLROnPlateau needs a validation to go by: give validation=...")
        if schedule.mode != mode:
            raise ValueError(
                f"mode is {mode!r}, but the schedule's is {schedule.mode!r}: less of the "
                "validation is better, or more"
            )
    return schedule


def make_best(validation, mode, patience, keep):
    if patience is not None and validation is None:
        raise ValueError("patience needs a validation to go by: give validation=...")
    mode = checks.choice("mode", mode, ("min", "max"))
    patience = None if patience is None else checks.positive_int("patience", patience)
    return Best(mode, patience, checks.flag("keep_best", keep))


def check_place(batches, is_needed):
    """The batches, with a place that can be saved if that is needed."""
    check_batches("batches", batches)
    if isinstance(batches, Sequence):
        return Listed(batches)
    if is_needed and not has_state(batches):
        raise TypeError(
            "a checkpoint needs batches whose place can be saved: a list, or something with "
            f"state_dict and load_state_dict such as Batches; got {type(batches).__name__}"
        )
    return batches


def hooks_of(callbacks):
    """What to call after each update, and after each epoch."""
    if not isinstance(callbacks, Sequence):
        raise TypeError(f"callbacks must be a list, got {type(callbacks).__name__}")
    on_update, on_epoch = [], []
    for i, callback in enumerate(callbacks):
        hooks = [getattr(callback, name, None) for name in ("on_update", "on_epoch")]
        if hooks == [None, None]:
            if not callable(callback):
                raise TypeError(
                    f"callbacks[{i}] must be a function, or have a method on_update(trainer) or "
                    f"on_epoch(trainer), got {type(callback).__name__}"
                )
            hooks[1] = callback
        for hook, found in zip(hooks, (on_update, on_epoch), strict=True):
            if hook is not None:
                found.append(hook)
    return on_update, on_epoch


class Saver:
    """Where checkpoints are, and when the next one is due."""

    def __init__(self, path, every, resume):
        self.path = None if path is None else checks.path("checkpoint", path)
        self._every = checks.not_negative("checkpoint_every", every)
        if not isinstance(resume, bool) and resume != "auto":
            raise ValueError(f"resume must be True, False or 'auto', got {resume!r}")
        if resume is True and path is None:
            raise ValueError("resume=True needs a checkpoint to go on from: give checkpoint=path")
        self._resume = resume
        self._saved = -math.inf

    @property
    def is_wanted(self):
        return self.path is not None

    def load(self):
        """The state in the checkpoint, or None if the run starts anew."""
        if not self.is_wanted:
            return None
        remove_leftovers(self.path)
        if self._resume is False or (self._resume == "auto" and not os.path.exists(self.path)):
            return None
        state = load_checkpoint(self.path)
        self._saved = time.monotonic()
        return state

    def is_due(self):
        return self.is_wanted and time.monotonic() - self._saved >= self._every

    def save(self, state):
        save_checkpoint(self.path, state)
        self._saved = time.monotonic()


class Listed:
    """Batches in a list, and the place in them."""

    def __init__(self, items):
        self._items, self._position = items, 0

    def __len__(self):
        return len(self._items)

    def __iter__(self):
        while self._position < len(self._items):
            self._position += 1
            yield self._items[self._position - 1]
        self._position = 0

    def state_dict(self):
        return {"batches": len(self._items), "position": self._position}

    def load_state_dict(self, state):
        if state.get("batches") != len(self._items):
            raise ValueError(
                f"the run was begun with {state.get('batches')} batches in a list, but here are "
                f"{len(self._items)}: go on with the same"
            )
        self._position = state["position"]
