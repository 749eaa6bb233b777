"""Validation during a training run, and what is kept of it: the best model."""

import contextlib
import copy
import math

import numpy as np

from fastseq import checks


def batch_count(model):
    """A function of a batch: how many items its mean loss is over."""
    if hasattr(model, "count"):
        return model.count
    return lambda batch: getattr(batch, "tokens", 1)


def has_state(batches):
    """Whether the place in these batches can be saved."""
    return hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict")


def check_batches(name, value):
    """The batches, if they can be iterated over again and again."""
    if not hasattr(value, "__iter__"):
        raise TypeError(f"{name} must be an iterable of batches, got {type(value).__name__}")
    if hasattr(value, "__next__"):
        raise TypeError(
            f"{name} must give its batches in each epoch anew, got a {type(value).__name__}, which "
            "does so once: give a list, or something like Batches"
        )
    return value


@contextlib.contextmanager
def iterating(batches):
    """An iterator that is wound up at the end if it can be: threads that work ahead end then."""
    iterator = iter(batches)
    try:
        yield iterator
    finally:
        if hasattr(iterator, "close"):
            iterator.close()


class Validation:
    """The mean loss over batches, or whatever a function returns."""

    def __init__(self, model, source):
        self._model, self._source = model, source
        is_function = callable(source) and not hasattr(source, "__iter__")
        self.kind = "function" if is_function else "batches"
        if self.kind == "batches":
            check_batches("validation", source)
            if not hasattr(model, "loss"):
                raise TypeError(
                    f"validation with batches needs a method loss(batch), which "
                    f"{type(model).__name__} lacks: write one, or give a function as validation"
                )

    def measure(self, is_interrupted):
        """The value, or None if it was interrupted; then the batches are where they were."""
        if self.kind == "function":
            return checks.number("validation()", self._source())
        before, carried = self.state_dict(), copy.deepcopy(self._model.training_state())
        try:
            value = self._mean_loss(is_interrupted)
        finally:
            self._model.load_training_state(carried)
        if value is None:
            self.load_state_dict(before)
        return value

    def _mean_loss(self, is_interrupted):
        count_of, total, count = batch_count(self._model), 0.0, 0
        with iterating(self._source) as batches:
            for batch in batches:
                if is_interrupted():
                    return None
                items = checks.not_negative_int("count(batch)", count_of(batch))
                total += items * checks.number("loss(batch)", self._model.loss(batch))
                count += items
        if not count:
            raise ValueError(
                "validation must have at least one batch with something in it, for which "
                "count(batch), by default batch.tokens, is more than 0"
            )
        return total / count

    def state_dict(self):
        """The place in the batches: where they come in another order next time, sums differ."""
        if not has_state(self._source):
            return None
        try:
            return self._source.state_dict()
        except TypeError:  # as of a prefetcher whose source has none
            return None

    def load_state_dict(self, state):
        if state is not None:
            self._source.load_state_dict(state)


class Best:
    """The best value so far, the parameters that belong to it, and how long ago that was."""

    def __init__(self, mode, patience, keep):
        self.mode, self._sign = mode, 1 if mode == "min" else -1
        self._patience, self._keep = patience, keep
        self.value, self.epoch, self.bad_epochs = self._sign * math.inf, None, 0
        self.flat = None  # a copy of the best parameters

    @property
    def is_exhausted(self):
        """Whether there were as many epochs without a better value as patience allows."""
        return self._patience is not None and self.bad_epochs >= self._patience

    def update(self, value, epoch, flat):
        """Take a value into account; NaN is never better."""
        if not self._sign * value < self._sign * self.value:
            self.bad_epochs += 1
            return
        self.value, self.epoch, self.bad_epochs = value, epoch, 0
        if self._keep:
            self._copy(flat)

    def state_dict(self):
        return {
            "value": self.value,
            "epoch": self.epoch,
            "bad_epochs": self.bad_epochs,
            "parameters": self.flat,
        }

    def load_state_dict(self, state):
        self.value, self.epoch = state["value"], state["epoch"]
        self.bad_epochs = state["bad_epochs"]
        self.flat = None
        if self._keep and state["parameters"] is not None:
            self._copy(state["parameters"])

    def _copy(self, flat):
        if self.flat is None:
            self.flat = np.empty_like(flat)
        np.copyto(self.flat, flat)
