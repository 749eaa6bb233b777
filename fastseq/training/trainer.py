"""The loop that trains every model which has ``loss_and_grad(batch)``."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from fastseq import checks
from fastseq.interrupts import Interrupt
from fastseq.module import Module
from fastseq.progress import make_bar
from fastseq.training.arguments import (
    Saver,
    check_average,
    check_model,
    check_optimizer,
    check_place,
    check_schedule,
    hooks_of,
    make_best,
)
from fastseq.training.averaging import AveragedParameters
from fastseq.training.history import History
from fastseq.training.optim import Optimizer
from fastseq.training.schedules import LRScheduler, ReduceLROnPlateau
from fastseq.training.state import ANEW, Place, check_run, settings_of_run
from fastseq.training.validation import Validation, batch_count, has_state, iterating


@checks.explained(lr="the optimizer has it, as in fs.Adam(model.parameters, lr=0.01)")
def fit(
    model: Module,
    batches: Iterable,
    *,
    optimizer: Optimizer,
    epochs: int = 1,
    max_norm: float | None = None,
    schedule: LRScheduler | ReduceLROnPlateau | None = None,
    schedule_every: str = "update",
    validation: Iterable | Callable[[], float] | None = None,
    mode: str = "min",
    patience: int | None = None,
    keep_best: bool = True,
    average: AveragedParameters | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: float = 60.0,
    resume: bool | str = "auto",
    callbacks: Sequence = (),
    progress: bool | None = None,
) -> History:
    """Train a model.

    Each update takes one batch: ``model.loss_and_grad(batch)``, a step of the optimiser with the
    gradients' norm clipped, the average, the schedule.  After each epoch comes the validation.

    Parameters
    ----------
    model : Module
        With a method ``loss_and_grad(batch) -> float``, which adds to ``parameters.grads``.
        What else it may have say the notes.
    batches : iterable
        What gives the batches of an epoch each time: :class:`Batches`, :class:`BPTTWindows`,
        ``prefetch(...)`` of one of them, a list.
    optimizer : Optimizer
        Of ``model.parameters``.
    epochs : int
        How many passes over the batches, those of a resumed run included.
    max_norm : float, optional
        The gradients' joint norm is clipped to it.
    schedule : schedule, optional
        Of this optimizer.
    schedule_every : {"update", "epoch"}
        When the schedule goes on: PyTorch's examples mostly mean epochs, where ``StepLR(o, 30)``
        needs "epoch".  ``ReduceLROnPlateau`` does so after each epoch's validation,
        whatever stands here.
    validation : iterable or callable, optional
        Batches, for the mean of ``model.loss(batch)``; or a function without arguments that
        returns a number.
    mode : {"min", "max"}
        Whether less of the validation is better, or more.
    patience : int, optional
        Stop after so many epochs in a row whose validation did not beat the best one.
    keep_best : bool
        Whether the model ends with the parameters of the epoch with the best validation.
    average : AveragedParameters, optional
        Of ``model.parameters``; updated after each update.  Validation is then of the averages,
        and the model ends with them: those of the best epoch, or the last ones.
    checkpoint : str or path, optional
        A safetensors file that holds all there is to a run.  Needs batches that are a list, or
        have ``state_dict`` and ``load_state_dict``.
    checkpoint_every : float
        Seconds from one checkpoint to the next; with 0 there is one after each update.  One is
        written when the run begins and ends, in any case.
    resume : {"auto", True, False}
        Whether to go on from the checkpoint: if it is there, as it must be, or not at all, which
        replaces it.
    callbacks : sequence
        Functions, called with the :class:`Trainer` after each epoch; or objects with methods
        ``on_update(trainer)``, ``on_epoch(trainer)`` or both.  ``trainer.stop()`` ends the run.
    progress : bool, optional
        Whether to show a bar, by tqdm.  By default there is one if standard error is a terminal
        and tqdm is installed.

    Returns
    -------
    history : History
        Losses, norms, learning rates, validation.

    Raises
    ------
    FloatingPointError
        If a loss or the gradients' norm is not finite.  It names the update and the batch; the
        parameters are as they were before it, or those of the best epoch if there is one.  The
        error's ``history`` is that of the run.
    OSError
        If a checkpoint can't be written, as on a full disk: the one before is as it was, and
        calling ``fit`` again goes on from there.
    ValueError
        If arguments don't fit each other; if an epoch, or the validation, has no batch with
        something in it; if the checkpoint is damaged, or of another model,
        other data or other settings, and then nothing has changed.
    TypeError
        If an argument is of the wrong type.
    ImportError
        If safetensors or tqdm is needed and missing.

    Notes
    -----
    **A model may have** ``loss(batch) -> float`` without dropout, for validation;
    ``count(batch) -> int``, how many items a batch's mean loss is over (by default
    ``batch.tokens``, or else 1), which weighs it in the mean of an epoch;
    ``training_state()`` and ``load_training_state(state)`` in place of those of :class:`Module`;
    ``report() -> dict``, numbers by name that it has collected since the epoch began, which go
    into ``history.reports`` and the bar;
    ``settings``, its constructor's arguments by name, which a checkpoint notes and compares.

    **A run that was killed**, at any moment, goes on from its last checkpoint when ``fit`` is
    called with the same arguments again, and ends with the very parameters and history that it
    would have had; only ``history.seconds`` differ.  The checkpoint holds the parameters, the
    states of optimizer, schedule, average, random generators, batches, carried state and
    callbacks (which have ``state_dict`` and ``load_state_dict``), the best model, and the
    history.  Other data and settings are refused, as far as they are known: of a list only its
    length is, and of a schedule its kind; seeds are those of the run that was begun.  ``epochs``
    and ``patience`` may be other ones; a run that has ended is returned as it ended, and more
    epochs, or more patience, let it go on.

    **Ctrl-C** ends the run after the update it is in: the best model is kept, a checkpoint is
    written, the history returned.  Another one raises KeyboardInterrupt at once.  This is so in
    the main thread, and where Ctrl-C has its usual meaning.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> class Echo(fs.Module):
    ...     "Repeats its input one step later."
    ...     def __init__(self):
    ...         super().__init__(gru=fs.GRU(1, 8, seed=0), linear=fs.Linear(8, 1, seed=1))
    ...
    ...     def loss_and_grad(self, x):
    ...         h, _, into_gru = self.gru.forward(x)
    ...         y, into_linear = self.linear.forward(h)
    ...         error = y[1:] - x[:-1]
    ...         dy = np.zeros_like(y)
    ...         dy[1:] = 2 * error / error.size
    ...         into_gru(into_linear(dy), input_grad=False)
    ...         return float(np.square(error).mean())
    ...
    ...     def loss(self, x):
    ...         return float(np.square(self.linear(self.gru(x)[0])[1:] - x[:-1]).mean())
    >>> rng = np.random.default_rng(0)
    >>> batches = list(rng.standard_normal((20, 10, 4, 1), dtype=np.float32))
    >>> model = Echo()
    >>> adam = fs.Adam(model.parameters, lr=0.01)
    >>> history = fs.fit(model, batches, optimizer=adam, epochs=10, validation=batches[:2])
    >>> len(history.loss), len(history.validation), history.stopped
    (200, 10, 'epochs')
    >>> history.validation[-1] < history.validation[0] / 10
    True
    """
    trainer = Trainer(
        model,
        batches,
        optimizer,
        epochs=checks.positive_int("epochs", epochs),
        max_norm=math.inf if max_norm is None else checks.positive("max_norm", max_norm),
        schedule=schedule,
        schedule_every=checks.choice("schedule_every", schedule_every, ("update", "epoch")),
        validation=validation,
        best=make_best(validation, mode, patience, keep_best),
        average=average,
        saver=Saver(checkpoint, checkpoint_every, resume),
        callbacks=callbacks,
        bar=make_bar(None if progress is None else checks.flag("progress", progress)),
    )
    trainer.run()
    return trainer.history


class NotFinite(FloatingPointError):
    """A loss or norm is not finite; ``history`` is that of the run until then."""

    history: History


class Trainer:
    """A run of :func:`fit`, as callbacks see it.

    Attributes
    ----------
    model : Module
    optimizer : Optimizer
    history : History
    epoch : int
        How many epochs are complete.
    update : int
        How many updates have been made.
    loss, norm : float or None
        Of the latest update's batch, and of its gradients before clipping.
    stopped : str or None
        As in :class:`History`.
    """

    def __init__(
        self,
        model,
        batches,
        optimizer,
        *,
        epochs,
        max_norm,
        schedule,
        schedule_every,
        validation,
        best,
        average,
        saver,
        callbacks,
        bar,
    ):
        self.model = check_model(model)
        self.optimizer = check_optimizer(optimizer, model)
        self.history = History()
        self.loss = self.norm = None
        self._place, self._saved_place = Place(), None
        self._batches = check_place(batches, saver.is_wanted)
        self._epochs, self._max_norm = epochs, max_norm
        self._schedule = check_schedule(schedule, optimizer, validation, best.mode)
        self._steps_by_update = schedule is not None and schedule_every == "update"
        self._steps_by_update &= not isinstance(schedule, ReduceLROnPlateau)
        self._validation = None if validation is None else Validation(model, validation)
        self._average = check_average(average, model)
        self._best, self._saver, self._bar = best, saver, bar
        self._interrupt = Interrupt()
        self._on_update, self._on_epoch = hooks_of(callbacks)
        self._stateful = [callback for callback in callbacks if has_state(callback)]
        self._count_of = batch_count(model)
        self._clock = None  # when this epoch began, without the time between two processes
        self._settings = None
        if saver.is_wanted:
            self._settings = settings_of_run(
                model,
                optimizer,
                max_norm=max_norm,
                schedule=schedule,
                schedule_every=schedule_every,
                validation=self._validation,
                mode=best.mode,
                average=average,
            )

    @property
    def epoch(self):
        return self._place.epoch

    @property
    def update(self):
        return self._place.update

    @property
    def stopped(self):
        return self._place.stopped

    def stop(self) -> None:
        """End the run after this update, or epoch; for callbacks.

        Calling ``fit`` again with the checkpoint then returns the run as it ended.
        """
        self._place.stopped = "callback"

    def run(self):
        """The whole run, or what is left of it."""
        self._begin()
        self._clock = time.perf_counter() - self._place.seconds
        with self._interrupt:
            is_whole = True
            try:
                while not self._has_ended():
                    self._run_epoch()
            except KeyboardInterrupt:
                if self._interrupt.is_noted:  # the second one
                    raise
                # raised by something else than our handler, perhaps amidst an update
                self._place.stopped, is_whole = "interrupted", False
            except NotFinite as error:
                error.history = self.history
                if self._best.flat is not None:
                    self._take_best()
                raise
            finally:
                self._bar.close()
            self._finish(is_whole)

    def _has_ended(self):
        """Whether there is nothing left to do, and why."""
        if self.stopped is None:
            if self._interrupt.is_noted:
                self._place.stopped = "interrupted"
            elif self._best.is_exhausted:
                self._place.stopped = "patience"
            elif self.epoch >= self._epochs:
                self._place.stopped = "epochs"
        return self.stopped is not None

    def _must_stop(self):
        """Whether to leave the epoch as it is."""
        return self._interrupt.is_noted or self.stopped is not None

    # --- an epoch ---------------------------------------------------------------------------

    def _run_epoch(self):
        self._bar.begin(self.update, self._expected_updates(), self.epoch + 1)
        if not self._place.updates_done:
            self._run_updates()
        if self._place.updates_done and not self._must_stop():
            self._end_epoch()

    def _run_updates(self):
        with iterating(self._batches) as batches:
            for batch in batches:
                self._run_update(batch)
                if self._must_stop():
                    return
        if not self._place.epoch_updates:
            raise ValueError("batches must give at least one batch in each epoch, got none")
        if not self._place.count:
            raise ValueError(
                "batches must hold something to learn from, but count(batch), by default "
                f"batch.tokens, is 0 for all of them in epoch {self.epoch + 1}"
            )
        self._place.updates_done = True

    def _run_update(self, batch):
        lr = self.optimizer.lr
        self._descend(batch)
        if self._average is not None:
            self._average.update()
        if self._steps_by_update:
            self._schedule.step()
        self._record(batch, lr)
        for callback in self._on_update:
            callback(self)
        if self._saver.is_due():
            self._save()

    def _descend(self, batch):
        """One step, or an error before anything has changed."""
        self.model.parameters.zero_grad()
        loss = checks.number("loss_and_grad(batch)", self.model.loss_and_grad(batch))
        if not math.isfinite(loss):
            raise self._not_finite(
                f"the loss is {loss}; lower the learning rate, or look for bad values in the data"
            )
        try:
            norm = self.optimizer.step(max_norm=self._max_norm)
        except FloatingPointError as error:
            raise self._not_finite(error) from error
        self.loss, self.norm = loss, norm

    def _not_finite(self, what):
        where = f"epoch {self.epoch + 1}, batch {self._place.epoch_updates + 1} of it"
        kept = "the parameters are as they were before it"
        if self._best.flat is not None:
            kept = f"kept the model of epoch {self._best.epoch}"
        return NotFinite(f"update {self.update + 1} ({where}): {what}; {kept}")

    def _record(self, batch, lr):
        count = checks.not_negative_int("count(batch)", self._count_of(batch))
        self._place.add_update(self.loss, count)
        self.history.loss.append(self.loss)
        self.history.norm.append(self.norm)
        self.history.lr.append(lr)
        self._bar.update(self._place.mean_loss, batch)

    def _end_epoch(self):
        if self._validation is not None and not self._validate():
            return
        if isinstance(self._schedule, ReduceLROnPlateau):
            self._schedule.step(self.history.validation[-1])
        elif self._schedule is not None and not self._steps_by_update:
            self._schedule.step()
        if hasattr(self.model, "report"):
            report = self.model.report()
            self.history.add_report(report)
            self._bar.reported(report)
        self.history.epoch_loss.append(self._place.mean_loss)
        self.history.epoch_end.append(self.update)
        self.history.seconds.append(self._elapsed())
        self._place.add_epoch()
        self._clock = time.perf_counter()
        for callback in self._on_epoch:
            callback(self)
        if self._saver.is_due():
            self._save()

    def _validate(self):
        """Measure, and keep the model if it is the best; False if it was interrupted."""
        with self._averaged():
            value = self._validation.measure(lambda: self._interrupt.is_noted)
            if value is None:
                return False
            self._best.update(value, self.epoch + 1, self.model.parameters.flat)
        self.history.validation.append(value)
        self.history.best_epoch = self._best.epoch
        self._bar.measured(value)
        return True

    def _elapsed(self):
        """Seconds since the epoch began."""
        return 0.0 if self._clock is None else time.perf_counter() - self._clock

    def _averaged(self):
        """A context in which the model has the averages, if there are any."""
        if self._average is None or not self._average.updates:
            return contextlib.nullcontext()
        return self._average.applied()

    def _expected_updates(self):
        """Of the whole run, or None if nobody knows."""
        try:
            each = len(self._batches)
        except TypeError:
            return None
        return self.update - self._place.epoch_updates + each * (self._epochs - self.epoch)

    # --- begin and end ----------------------------------------------------------------------

    def _begin(self):
        """Go to where the checkpoint was written, if there is one."""
        state = self._saver.load()
        if state is None:
            self._save()  # so that what can't be saved is known before any work
            return
        check_run(self._saver.path, state, self.model, self._settings, len(self._stateful))
        before = copy.deepcopy(self._state())
        try:
            self._load(state)
        except BaseException as error:
            self._load(before)
            if isinstance(error, ValueError):
                what = str(error).removesuffix(", or start anew")
                raise ValueError(f"{self._saver.path}: {what}{ANEW}") from error
            raise

    def _finish(self, is_whole):
        self.history.stopped = self.stopped
        try:
            if is_whole and self._place != self._saved_place:
                self._save()
        finally:
            self._take_best()
        if self._interrupt.is_noted:  # perhaps when all was done
            self.history.stopped = "interrupted"
        if self.history.stopped == "interrupted":
            self._report()

    def _take_best(self):
        flat = self.model.parameters.flat
        if self._best.flat is not None:
            np.copyto(flat, self._best.flat)
            return
        with self._averaged():
            values = flat.copy()
        np.copyto(flat, values)

    def _report(self):
        if sys.stderr is None:
            return
        print(
            f"fit: interrupted after update {self.update}, in epoch {self.epoch + 1}"
            + (f"; kept the model of epoch {self._best.epoch}" if self._best.epoch else "")
            + ("; call fit again to go on" if self._saver.is_wanted else ""),
            file=sys.stderr,
        )

    # --- checkpoints ------------------------------------------------------------------------

    def _save(self):
        if self._saver.is_wanted:
            self._saver.save(self._state())
            self._saved_place = dataclasses.replace(self._place)

    def _state(self):
        """All that a run needs to go on, as a tree; arrays may be the ones in use."""
        return {
            "settings": self._settings,
            "class": type(self.model).__name__,
            "parameters": dict(self.model.parameters),
            "random_state": self.model.random_state,
            "training_state": self.model.training_state(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": _state_of(self._schedule),
            "average": _state_of(self._average),
            "batches": self._batches.state_dict(),
            "validation": _state_of(self._validation),
            "callbacks": [callback.state_dict() for callback in self._stateful],
            "best": self._best.state_dict(),
            "history": self.history.state_dict(),
            "run": dataclasses.asdict(self._place) | {"seconds": self._elapsed()},
        }

    def _load(self, state):
        self._batches.load_state_dict(state["batches"])
        self.model.load_state_dict(state["parameters"])
        self.model.random_state = state["random_state"]
        self.model.load_training_state(state["training_state"])
        self.optimizer.load_state_dict(state["optimizer"])
        parts = [self._schedule, self._average, self._validation, *self._stateful]
        states = [state[name] for name in ("schedule", "average", "validation")]
        for part, own in zip(parts, [*states, *state["callbacks"]], strict=True):
            if part is not None:
                part.load_state_dict(own)
        self._best.load_state_dict(state["best"])
        self.history.load_state_dict(state["history"])
        self._place = Place(**state["run"])
        self._saved_place = dataclasses.replace(self._place)
        if self.stopped != "callback":  # with more epochs or patience it goes on
            self._place.stopped = self.history.stopped = None


def _state_of(part):
    return None if part is None else part.state_dict()
