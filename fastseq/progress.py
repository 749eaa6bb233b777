"""The progress of a training run, as a bar of tqdm's on standard error."""

import sys
import time

INTERVAL = 0.1  # seconds from one look of the bar to the next
SMOOTHING = 0.3  # weight of the latest interval in the tokens per second


def make_bar(wanted):
    """A bar; one that shows nothing if ``wanted`` is False, or None and nobody would see it."""
    if wanted is False or (wanted is None and not _is_terminal()):
        return NoBar()
    try:
        from tqdm import tqdm
    except ImportError as error:
        if wanted is None:
            return NoBar()
        raise ImportError(
            "a progress bar needs tqdm: pip install 'fastseq[train]', or give progress=False"
        ) from error
    return Bar(tqdm)


def _is_terminal():
    return sys.stderr is not None and sys.stderr.isatty()


class NoBar:
    """Shows nothing."""

    def begin(self, updates, total, epoch):
        """An epoch begins after so many updates; ``total`` of the run, or None if unknown."""

    def update(self, loss, batch):
        """One more update, with this batch; the loss is the epoch's so far."""

    def measured(self, validation):
        """A value of the validation."""

    def close(self):
        """Leave the last look where it is."""


class Bar(NoBar):
    """A line with the loss, tokens per second and the time that is left."""

    def __init__(self, tqdm):
        self._tqdm = tqdm
        self._bar = None
        self._updates = self._tokens = 0  # since the last look
        self._looked = self._rate = None
        self._loss = self._validation = ""

    def begin(self, updates, total, epoch):
        if self._bar is None:
            # it looks anew whenever it is told to, which is seldom enough
            options = {"unit": "update", "mininterval": 0, "miniters": 1, "dynamic_ncols": True}
            self._bar = self._tqdm(total=total, initial=updates, **options)
        self._bar.total = total
        self._bar.set_description(f"epoch {epoch}", refresh=False)
        self._tokens, self._looked = 0, time.perf_counter()

    def update(self, loss, batch):
        self._updates += 1
        self._tokens += getattr(batch, "tokens", 0)
        elapsed = time.perf_counter() - self._looked
        if elapsed >= INTERVAL:
            self._loss = f"loss {loss:.4g}"
            self._count(elapsed)
            self._look()

    def measured(self, validation):
        self._validation = f"validation {validation:.4g}"
        self._look()

    def close(self):
        if self._bar is not None:
            self._look()
            self._bar.close()

    def _count(self, elapsed):
        rate = self._tokens / elapsed
        self._rate = rate if self._rate is None else self._rate + SMOOTHING * (rate - self._rate)
        self._tokens = 0

    def _look(self):
        rate = f"{self._rate:,.0f} tokens/s" if self._rate else ""
        parts = filter(None, (self._loss, self._validation, rate))
        self._bar.set_postfix_str(", ".join(parts), refresh=False)
        if self._updates:
            self._bar.update(self._updates)
        else:
            self._bar.refresh()
        self._updates = 0
        self._looked = time.perf_counter()
