"""What estimators with a latent variable have in common: how it is trained, and watched.

N rows, Z the size of the latent variable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastseq import checks
from fastseq.losses.latent_losses import ACTIVE, KL_SCHEDULES, BagOfWordsLoss, KLSchedule, free_bits
from fastseq.models.estimator import Estimator
from fastseq.models.settings import estimator


def noise_of_rows(rows: np.ndarray, n: int, size: int, seed: int = 0) -> np.ndarray:
    """Noise (n, N, size), which for each row follows from its number, whatever rows come along."""
    seeds = ([seed, row] for row in rows.tolist())
    noise = [np.random.default_rng(own).standard_normal((n, size)) for own in seeds]
    return np.stack(noise, axis=1) if noise else np.empty((n, 0, size))


@estimator
class LatentEstimator(Estimator):
    """Common to estimators whose network has an ``objective``: an :class:`Objective`."""

    _free = ("kl_schedule", "kl_updates", "kl_cycles", "kl_weight", "free_bits")

    latent_size: int = 32
    kl_schedule: str = "linear"
    kl_updates: int | None = None
    kl_cycles: int = 4
    kl_weight: float = 1.0
    free_bits: float = 0.0

    def _check_latent(self):
        """Raise unless the settings of the latent variable make sense."""
        checks.positive_int("latent_size", self.latent_size)
        checks.choice("kl_schedule", self.kl_schedule, KL_SCHEDULES)
        if self.kl_updates is not None:
            checks.positive_int("kl_updates", self.kl_updates)
        checks.positive_int("kl_cycles", self.kl_cycles)
        checks.not_negative("kl_weight", self.kl_weight)
        checks.not_negative("free_bits", self.free_bits)

    def _make_kl_schedule(self, updates):
        """The schedule of a run of so many updates."""
        rise, cycles = self.kl_updates, self.kl_cycles
        if rise is None:  # half of the run is rising, be it at once or in cycles
            parts = 2 * cycles if self.kl_schedule == "cyclical" else 2
            rise = max(1, updates // parts)
        return KLSchedule(self.kl_schedule, updates=rise, cycles=cycles, weight=self.kl_weight)

    def _train(self, batches, validation, run):
        network, schedule = self.network_, self._make_kl_schedule(self.epochs * len(batches))
        network.objective.begin(schedule(0), schedule.weight, self.free_bits)
        network.settings["kl"] = repr(schedule)  # which a checkpoint compares
        super()._train(batches, validation, run.also_calling(_Weigh(schedule)))


class LatentNetwork:
    """Common to the networks of these estimators: what has come of the objective.

    It stands before the network's other class, a :class:`Module` whose own state goes along.
    """

    objective: Objective

    def report(self) -> dict[str, float]:
        """Reconstruction, divergence and active units of the epoch that ends here."""
        return self.objective.report()

    def training_state(self) -> dict[str, Any]:
        """What changes from batch to batch beside parameters, for checkpoints."""
        return super().training_state() | {"objective": self.objective.state()}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`training_state` gave."""
        self.objective.load_state(state["objective"])
        super().load_training_state({name: state[name] for name in state if name != "objective"})


class LatentWriter(LatentNetwork):
    """Common to those that write: a bag of words beside the decoder's loss, if it has a weight."""

    def _bag_parts(self, weight, in_features, n_tokens, hidden_size, *, dtype, seed):
        """What the network needs for it."""
        self._bag_weight = checks.not_negative("bag_of_words", weight)
        if not self._bag_weight:
            return {}
        sizes = {"hidden_size": hidden_size, "dtype": dtype}
        return {"bag": BagOfWordsLoss(in_features, n_tokens, reduction="sum", seed=seed, **sizes)}

    def _bag_forward(self, known, targets, mask, tokens):
        """The weighed loss of the bag of words per token, and its gradient of what is known."""
        if not self._bag_weight:
            return 0.0, 0
        words = targets != self._special[1]  # the end says nothing
        loss, backprop = self.bag.forward(known, targets, words if mask is None else words & mask)
        scale = self._bag_weight / tokens
        return scale * loss, backprop(scale)


class _Weigh:
    """Lets the divergence count as much as the schedule says."""

    def __init__(self, schedule):
        self._schedule = schedule

    def on_update(self, trainer):
        trainer.model.objective.weight = self._schedule(trainer.update)


class Objective:
    """How much the divergence counts in training, and what has come of it in an epoch.

    Attributes
    ----------
    weight : float
        Of the divergence, for the next update.
    final_weight : float
        Of the divergence in validation.
    free_bits : float
        What each dimension may say for free, in training.
    """

    def __init__(self, latent_size: int) -> None:
        self._size = latent_size
        self.begin(1.0, 1.0, 0.0)

    def begin(self, weight: float, final_weight: float, free_bits: float) -> None:
        """Begin a run."""
        self.weight, self.final_weight, self.free_bits = weight, final_weight, free_bits
        self._clear()

    def _clear(self):
        self._rows, self._reconstruction, self._kl = 0, 0.0, 0.0
        self._sums, self._squares = np.zeros((2, self._size))

    def divergence(self, kl: np.ndarray) -> tuple[float, np.ndarray]:
        """What training adds for a row, in the mean, and the derivative; kl is (N, Z)."""
        value, derivative = free_bits(kl, self.free_bits)
        derivative *= self.weight
        return self.weight * value, derivative

    def note(self, reconstruction: float, kl: np.ndarray, means: np.ndarray) -> None:
        """Take a batch into account: the rows' sum of losses, their kl and posterior means."""
        self._rows += len(kl)
        self._reconstruction += float(reconstruction)
        self._kl += float(kl.sum(dtype=np.float64))
        self._sums += means.sum(axis=0, dtype=np.float64)
        self._squares += np.square(means, dtype=np.float64).sum(axis=0)

    def report(self) -> dict[str, float]:
        """Of a row in the mean, over the epoch that ends here."""
        rows = max(self._rows, 1)
        variances = self._squares / rows - np.square(self._sums / rows)
        report = {
            "reconstruction": self._reconstruction / rows,
            "kl": self._kl / rows,
            "active_units": int(np.count_nonzero(variances > ACTIVE)),
        }
        self._clear()
        return report

    def state(self) -> dict[str, Any]:
        """What changes from batch to batch, for checkpoints."""
        return {
            "weight": self.weight,
            "rows": self._rows,
            "reconstruction": self._reconstruction,
            "kl": self._kl,
            "sums": self._sums.copy(),
            "squares": self._squares.copy(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self.weight, self._rows = state["weight"], state["rows"]
        self._reconstruction, self._kl = state["reconstruction"], state["kl"]
        self._sums, self._squares = state["sums"].copy(), state["squares"].copy()
