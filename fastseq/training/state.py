"""What a checkpoint knows of a run besides its parts: where it stands, and which run it is."""

from __future__ import annotations

import dataclasses
import math

from fastseq.checkpoint import check_fits
from fastseq.tensor_files import plain

ANEW = ", or delete the file to start anew"


@dataclasses.dataclass
class Place:
    """Where a run stands."""

    epoch: int = 0  # so many are complete
    update: int = 0  # so many have been made
    stopped: str | None = None  # as in History
    # of the epoch that goes on
    updates_done: bool = False  # its validation is what comes next
    epoch_updates: int = 0
    loss_sum: float = 0.0  # each batch counted by its size
    count: int = 0
    seconds: float = dataclasses.field(default=0.0, compare=False)  # where a run begins again

    @property
    def mean_loss(self) -> float:
        """Of this epoch's batches until now."""
        return self.loss_sum / self.count if self.count else math.nan

    def add_update(self, loss: float, count: int) -> None:
        """One more update, of a batch with so many items."""
        self.update += 1
        self.epoch_updates += 1
        self.loss_sum += loss * count
        self.count += count

    def add_epoch(self) -> None:
        """One more epoch is complete."""
        self.epoch += 1
        self.updates_done = False
        self.epoch_updates, self.loss_sum, self.count = 0, 0.0, 0


def settings_of_run(
    model, optimizer, *, max_norm, schedule, schedule_every, validation, mode, average
):
    """What makes it another run if it changes."""
    names = (*optimizer.option_names, "weight_decay", "no_decay")
    options = {name: getattr(optimizer, name) for name in names}
    settings = getattr(model, "settings", None) or {}
    return {
        **{f"model.settings.{name}": plain(name, settings[name]) for name in settings},
        "optimizer": type(optimizer).__name__,
        **{f"optimizer.{name}": plain(name, value) for name, value in options.items()},
        "optimizer.initial_lr": optimizer.initial_lr,
        "max_norm": max_norm,
        "schedule": schedule and type(schedule).__name__,
        "schedule_every": schedule_every,
        "validation": validation and validation.kind,
        "mode": mode,
        "average": average and f"AveragedParameters(decay={average.decay})",
    }


def check_run(path, state, model, settings, callbacks):
    """Raise unless a state is of a run with these settings, and so many callbacks."""
    check_fits(path, state["class"], state["parameters"], model)
    begun_with = state["settings"]
    for name in [*settings, *begun_with]:
        if begun_with.get(name) != settings.get(name):
            raise ValueError(
                f"{path}: the run was begun with {name} = {begun_with.get(name)!r}, but here it is "
                f"{settings.get(name)!r}: go on with the same settings{ANEW}"
            )
    if len(state["callbacks"]) != callbacks:
        raise ValueError(
            f"{path}: the run has {len(state['callbacks'])} callbacks with a state, but here "
            f"are {callbacks}: go on with the same{ANEW}"
        )
