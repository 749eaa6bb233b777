"""Interleaved timing, and the statistics that are reported.

Shared machines drift: a comparison is only as good as its ratios.  So all competitors take
turns within each round, the order rotates from round to round, and a ratio is the median of
the ratios within rounds rather than a ratio of medians.
"""

import gc
import math
import time
from dataclasses import dataclass, field
from statistics import median

SLOT_SECONDS = 0.020
PAUSE_SECONDS = 0.130  # OpenMP's threads spin for some 15 ms after their work, OpenBLAS's for 110


@dataclass
class Row:
    """The times of all competitors in one case.

    Parameters
    ----------
    case : dict
        What was measured, e.g. ``{"cell": "lstm", "mode": "training", "shape": [100, 32, 128]}``.
    times : dict
        Competitor -> one value per round, seconds per call (bytes in the memory suite).
    facts : dict
        Numbers that belong to the case: token counts, and "bound": the seconds that the
        roofline allows, one value per round.
    """

    case: dict
    times: dict
    facts: dict = field(default_factory=dict)

    def median(self, name):
        """The median over rounds.

        >>> Row({}, {"fastseq": [1.0, 9.0, 2.0]}).median("fastseq")
        2.0
        """
        return median(self.times[name])

    def ratio(self, name, over="fastseq"):
        """How many times longer ``name`` took than ``over``: the median of rounds' ratios.

        >>> Row({}, {"fastseq": [1.0, 2.0, 1.0], "torch": [3.0, 4.0, 1.0]}).ratio("torch")
        2.0
        """
        pairs = zip(self.times[name], self.times[over], strict=True)
        return median(a / b for a, b in pairs)

    def over_bound(self):
        """How many times longer fastseq took than the roofline allows: median of rounds' ratios.

        >>> Row({}, {"fastseq": [2.0, 3.0, 6.0]}, {"bound": [1.0, 2.0, 2.0]}).over_bound()
        2.0
        """
        pairs = zip(self.times["fastseq"], self.facts["bound"], strict=True)
        return median(a / b for a, b in pairs)

    def ratios(self, names=None, over="fastseq"):
        """Ratio of every competitor but ``over``; ``names`` keeps only those."""
        others = (name for name in self.times if name != over)
        return {name: self.ratio(name, over) for name in others if names is None or name in names}


def geometric_mean(values):
    """Geometric mean, or None of nothing.

    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    values = list(values)
    if not values:
        return None
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def interleave(calls, rounds, slot_seconds=SLOT_SECONDS, pause=0.0, clock=time.perf_counter):
    """Time functions against each other.

    Parameters
    ----------
    calls : dict
        Competitor -> function without arguments.
    rounds : int
    slot_seconds : float
        In each round a function is called until about this time is filled, at least once.
    pause : float
        Seconds before each slot, for the threads of the one before to fall asleep: one that
        still spins would take a core from whoever is next.
    clock : callable
        Seconds; for tests.

    Returns
    -------
    dict
        Competitor -> list of seconds per call, one per round.
    """
    counts = {name: _calls_per_slot(call, slot_seconds, clock) for name, call in calls.items()}
    names = list(calls)
    times = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(pause)
            times[name].append(_slot(calls[name], counts[name], clock))
    return times


def _calls_per_slot(call, slot_seconds, clock):
    """Warm up, then count the calls that fill a slot."""
    call()  # compiles, allocates, loads
    count, start = 0, clock()
    while True:
        call()
        count += 1
        if clock() - start >= slot_seconds:
            return count


def _slot(call, count, clock):
    """Seconds per call over ``count`` calls in a row."""
    if count > 1:
        call()  # not timed: own data back into the caches, own threads awake
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = clock()
        for _ in range(count):
            call()
        return (clock() - start) / count
    finally:
        if collecting:
            gc.enable()
