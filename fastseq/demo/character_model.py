"""A character model: an LSTM that guesses the next character, and so can write.

The text is cut into ``batch_size`` streams that are read side by side, ``steps`` characters at
a time.  The state is carried from window to window, gradients stop at a window's beginning
(truncated backpropagation through time)::

    h_t, c_t = LSTM(table[character_t], (h_{t-1}, c_{t-1}))
    p_t = softmax(W h_t + b)                     the next character
    loss = mean_t -log p_t[character_{t+1}]      nats per character
"""

import contextlib
import gzip
import time
from importlib import resources

import numpy as np

import fastseq as fs
from fastseq.progress import is_terminal

HELD_OUT = 0.05  # the share of the text that is kept from training
MANY = 1_000_000  # epochs: a clock ends the training


def make_model(*, seed, **settings):
    """A model that learns as much as it can in half a minute."""
    usual = {"embedding_dim": 64, "hidden_size": 192, "steps": 32, "batch_size": 16, "lr": 5e-3}
    return fs.LanguageModel(**(usual | settings), epochs=MANY, random_state=seed)


# --- the text -------------------------------------------------------------------------------


def load_text():
    """Tiny Shakespeare (1,115,394 characters, public domain), which ships with the package."""
    path = resources.files("fastseq.demo") / "data" / "tinyshakespeare.txt.gz"
    return gzip.decompress(path.read_bytes()).decode("ascii")


def split(text):
    """Training part and held-out part, which is the end of the text."""
    end = round(len(text) * (1 - HELD_OUT))
    return text[:end], text[end:]


# --- training -------------------------------------------------------------------------------


class Clock:
    """Ends a training when its time is over, and takes smaller steps towards the end.

    Parameters
    ----------
    seconds : float
        Of wall-clock time.
    updates : int or inf
        If they are done earlier they end it.
    lr : float
        The learning rate to begin with.
    size : int
        How much an update reads.
    report : function
        Called with the seconds gone by, the loss, and how much was read.
    """

    def __init__(self, seconds, updates, *, lr, size, report):
        self.seconds, self.updates = seconds, updates
        self.lr, self.size, self.report = lr, size, report
        self.begin = time.monotonic()

    def on_update(self, trainer):
        elapsed = min(time.monotonic() - self.begin, self.seconds)
        done = max(elapsed / self.seconds, trainer.update / self.updates)
        trainer.optimizer.lr = self.lr * (1 - done)
        self.report(elapsed, trainer.loss, trainer.update * self.size)
        if done >= 1:
            trainer.stop()


def train(model, text, *, seconds, updates=np.inf):
    """Train for ``seconds`` of wall-clock time, or for ``updates`` if they are done earlier.

    Returns the losses as (update, nats per character) points.
    """
    with progress(seconds) as report:
        size = model.steps * model.batch_size
        clock = Clock(seconds, updates, lr=model.lr, size=size, report=report)
        model.fit(text, callbacks=[clock], progress=False)
    if model.history_.stopped == "interrupted":
        raise KeyboardInterrupt
    return list(enumerate(model.history_.loss))


@contextlib.contextmanager
def progress(seconds, unit="characters"):
    """Gives a function report(elapsed, loss, count): a bar, or lines without tqdm or terminal."""
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    if tqdm is None or not is_terminal():
        yield line_reporter(seconds, unit)
        return
    layout = "{percentage:3.0f}%|{bar:30}| {elapsed}, {remaining} left{postfix}"
    with tqdm(total=seconds, bar_format=layout) as bar:

        def report(elapsed, loss, count):
            bar.set_postfix_str(status(elapsed, loss, count, unit), refresh=False)
            bar.update(elapsed - bar.n)

        yield report
        bar.update(seconds - bar.n)


def line_reporter(seconds, unit="characters", lines=10):
    """The progress as about ``lines`` printed lines."""
    due = 0.0

    def report(elapsed, loss, count):
        nonlocal due
        if elapsed >= due:
            due = elapsed + seconds / lines
            left = max(seconds - elapsed, 0)
            print(f"{status(elapsed, loss, count, unit)}, {left:.0f} s left", flush=True)

    return report


def status(elapsed, loss, count, unit):
    """What a reader wants to know meanwhile."""
    return f"loss {loss:.3f}, {count / max(elapsed, 1e-9):,.0f} {unit}/s"


# --- what came of it ------------------------------------------------------------------------


def run(*, seed=0, seconds=30.0, length=800):
    """Train, report the loss on unseen text, print a sampled text; returns the losses."""
    training, held_out = split(load_text())
    model = make_model(seed=seed)
    print(f"Training for {seconds:g} s on {len(training):,} characters")
    losses = train(model, training, seconds=seconds)
    loss = -model.score(held_out)
    bits = loss / np.log(2)
    print(f"Held-out loss: {loss:.3f} nats ({bits:.2f} bits) per character\n")
    print(model.sample(length, prompt="\n\n", temperature=0.7, seed=seed))
    return losses
