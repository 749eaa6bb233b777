"""The progress of a training run, or of reading a corpus: a bar of tqdm's on standard error."""

import sys
import time

INTERVAL = 0.1  # seconds from one look of the bar to the next
SMOOTHING = 0.3  # weight of the latest interval in the tokens per second


def make_bar(wanted):
    """A bar; one that shows nothing if ``wanted`` is False, or None and nobody would see it."""
    tqdm = _tqdm(wanted)
    return Bar(tqdm) if tqdm else NoBar()


def make_reading_bar(wanted, total):
    """A bar for a file of ``total`` bytes, or for something of unknown length if it is None."""
    tqdm = _tqdm(wanted)
    return ReadingBar(tqdm, total) if tqdm else NoReadingBar()


def make_words_bar(wanted, total, done):
    """A bar for so many words in all, some of which are done."""
    tqdm = _tqdm(wanted)
    return WordsBar(tqdm, total, done) if tqdm else NoWordsBar()


def _tqdm(wanted):
    """What draws a bar; None if there is to be none."""
    if wanted is False or (wanted is None and not is_terminal()):
        return None
    try:
        from tqdm import tqdm
    except ImportError as error:
        if wanted is None:
            return None
        raise ImportError(
            "a progress bar needs tqdm: pip install 'fastseq[train]', or give progress=False"
        ) from error
    return tqdm


def is_terminal():
    """Whether somebody may be watching standard error."""
    return sys.stderr is not None and sys.stderr.isatty()


class NoBar:
    """Shows nothing."""

    def begin(self, updates, total, epoch):
        """An epoch begins after so many updates; ``total`` of the run, or None if unknown."""

    def update(self, loss, batch):
        """One more update, with this batch; the loss is the epoch's so far."""

    def measured(self, validation):
        """A value of the validation."""

    def reported(self, report):
        """Numbers by name that the model has to say of an epoch."""

    def close(self):
        """Leave the last look where it is."""


class Bar(NoBar):
    """A line with the loss, tokens per second and the time that is left."""

    def __init__(self, tqdm):
        self._tqdm = tqdm
        self._bar = None
        self._updates = self._tokens = 0  # since the last look
        self._looked = self._rate = None
        self._loss = self._validation = self._report = ""

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

    def reported(self, report):
        parts = (f"{name.replace('_', ' ')} {value:.4g}" for name, value in report.items())
        self._report = ", ".join(parts)
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
        parts = filter(None, (self._loss, self._validation, self._report, rate))
        self._bar.set_postfix_str(", ".join(parts), refresh=False)
        if self._updates:
            self._bar.update(self._updates)
        else:
            self._bar.refresh()
        self._updates = 0
        self._looked = time.perf_counter()


class NoReadingBar:
    """Shows nothing."""

    def update(self, done, words):
        """So many bytes of the file were read, and so many words."""

    def close(self):
        """Leave the last look where it is."""


class ReadingBar(NoReadingBar):
    """A line with the bytes that were read, words per second and the time that is left."""

    def __init__(self, tqdm, total):
        unit = {"unit": "B", "unit_divisor": 1024} if total else {"unit": "word"}
        self._bar = tqdm(total=total, unit_scale=True, dynamic_ncols=True, desc="reading", **unit)
        self._in_bytes = bool(total)
        self._begun = self._looked = time.perf_counter()
        self._latest = (0, 0)

    def update(self, done, words):
        self._latest = (done, words)
        if time.perf_counter() - self._looked >= INTERVAL:
            self._look()

    def close(self):
        self._look()
        self._bar.close()

    def _look(self):
        done, words = self._latest
        self._looked = time.perf_counter()
        rate = words / max(self._looked - self._begun, 1e-9)
        self._bar.set_postfix_str(f"{rate:,.0f} words/s", refresh=False)
        self._bar.update((done if self._in_bytes else words) - self._bar.n)


class NoWordsBar:
    """Shows nothing."""

    def update(self, words, epoch, alpha, loss):
        """So many words are done, and an epoch is under way; the loss may be None."""

    def close(self):
        """Leave the last look where it is."""


class WordsBar(NoWordsBar):
    """A line with words per second, loss, learning rate and the time that is left."""

    def __init__(self, tqdm, total, done):
        options = {"unit": "word", "unit_scale": True, "dynamic_ncols": True}
        self._bar = tqdm(total=total, initial=done, desc="training", **options)

    def update(self, words, epoch, alpha, loss):
        self._bar.set_description(f"epoch {epoch}", refresh=False)
        parts = [] if loss is None else [f"loss {loss:.4f}"]
        self._bar.set_postfix_str(", ".join([*parts, f"alpha {alpha:.4f}"]), refresh=False)
        self._bar.update(words - self._bar.n)

    def close(self):
        self._bar.close()
