"""Small models, batches and whole runs for the tests of training.

A language of ids: the next one follows from the one before, most of the time.
"""

import hashlib
import json
from typing import NamedTuple

import numpy as np

import fastseq as fs

IDS = 7


class Window(NamedTuple):
    """Ids (T, B), those that follow them, and whether the rows go on from the batch before."""

    x: np.ndarray
    targets: np.ndarray
    carried: bool

    @property
    def tokens(self):
        return self.x.size


def make_windows(count, seed, steps=4, rows=3):
    """Windows of a stream; the last one is shorter."""
    rng = np.random.default_rng(seed)
    noise = rng.random((count * steps, rows)) < 0.2
    ids = np.zeros((count * steps, rows), np.int64)
    for t in range(1, len(ids)):
        ids[t] = np.where(noise[t], rng.integers(IDS, size=rows), (3 * ids[t - 1] + 1) % IDS)
    cuts = [slice(t, min(t + steps, len(ids) - 1)) for t in range(0, len(ids) - 1, steps)]
    return [Window(ids[cut], ids[cut.start + 1 : cut.stop + 1], cut.start > 0) for cut in cuts]


class Shuffled:
    """Batches in another order in each epoch; the place can be saved."""

    def __init__(self, items, seed):
        self.items, self.seed = items, seed
        self.epoch = self.position = 0

    def __len__(self):
        return len(self.items)

    def __iter__(self):
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.items))
        while self.position < len(self.items):
            self.position += 1
            yield self.items[order[self.position - 1]]
        self.position, self.epoch = 0, self.epoch + 1

    def state_dict(self):
        return {"epoch": self.epoch, "position": self.position, "items": len(self.items)}

    def load_state_dict(self, state):
        if state["items"] != len(self.items):
            raise ValueError(f"saved with {state['items']} items, here are {len(self.items)}")
        self.epoch, self.position = state["epoch"], state["position"]


class Writer(fs.Module):
    """Guesses the next id; carries its state from window to window, and drops out."""

    def __init__(self, hidden_size=5, *, dropout=0.3, dtype=np.float32, seed=0):
        self.settings = {"hidden_size": hidden_size, "dropout": dropout}
        options = {"dtype": dtype, "seed": seed}
        super().__init__(
            embedding=fs.Embedding(IDS, 4, **options),
            dropout=fs.Dropout(dropout, seed=seed),
            lstm=fs.LSTM(4, hidden_size, num_layers=2, dropout=dropout, **options),
            linear=fs.Linear(hidden_size, IDS, **options),
        )
        self.state = None

    def loss_and_grad(self, batch):
        x, into_embedding = self.embedding.forward(batch.x)
        x, through_dropout = self.dropout.forward(x)
        y, self.state, through_lstm = self.lstm.forward(x, self.state if batch.carried else None)
        logits, through_linear = self.linear.forward(y)
        loss, d_logits = cross_entropy(logits, batch.targets)
        dx, _ = through_lstm(through_linear(d_logits))
        into_embedding(through_dropout(dx))
        return loss

    def loss(self, batch):
        state = self.state if batch.carried else None
        y, self.state = self.lstm(self.embedding(batch.x), state)
        return cross_entropy(self.linear(y), batch.targets)[0]

    def training_state(self):
        return {"state": self.state}

    def load_training_state(self, state):
        self.state = state["state"]


class Reporter(Writer):
    """As before; after each epoch it says which losses there were."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.losses = []

    def loss_and_grad(self, batch):
        self.losses.append(super().loss_and_grad(batch))
        return self.losses[-1]

    def training_state(self):
        return super().training_state() | {"losses": self.losses}

    def load_training_state(self, state):
        super().load_training_state(state)
        self.losses = list(state["losses"])

    def report(self):
        losses, self.losses = self.losses, []
        return {"least": min(losses), "largest_loss": max(losses)}


def cross_entropy(logits, targets):
    """Mean of -log softmax(logits)[target], and its gradient."""
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    chosen = targets[..., None]
    p_target = np.take_along_axis(p, chosen, axis=-1)
    np.put_along_axis(p, chosen, p_target - 1, axis=-1)
    return -float(np.log(p_target).mean(dtype=np.float64)), p / targets.size


def make_stream_run():
    """A run with all there is: what ``fit`` takes, made anew."""
    model = Reporter()
    adam = fs.AdamW(model.parameters, 0.02, no_decay=["*bias*"])
    warm_up = fs.LinearLR(adam, total_iters=5)
    schedule = fs.SequentialLR(adam, [warm_up, fs.CosineAnnealingLR(adam, 20)], [5])
    return {
        "model": model,
        "batches": make_windows(5, seed=1),
        "optimizer": adam,
        "epochs": 4,
        "max_norm": 0.5,
        "schedule": schedule,
        "validation": make_windows(2, seed=2),
        "average": fs.AveragedParameters(model.parameters, 0.8),
    }


def make_sequence_run():
    """A run that goes by its validation, whose batches come in ever other orders."""
    model = Writer(4)
    sgd = fs.SGD(model.parameters, 2.0, momentum=0.9)
    return {
        "model": model,
        "batches": Shuffled([window._replace(carried=False) for window in make_windows(4, 3)], 5),
        "optimizer": sgd,
        "epochs": 9,
        "schedule": fs.ReduceLROnPlateau(sgd, factor=0.5, patience=0),
        "validation": Shuffled(make_windows(3, seed=4), 6),
        "patience": 3,
    }


RUNS = {"stream": make_stream_run, "sequences": make_sequence_run}


def outcome(run, history):
    """All that a run has come to, but for the time it took, as text that can be compared."""
    states = [history.state_dict(), run["model"].state_dict(), run["model"].random_state]
    parts = (run.get(name) for name in ("optimizer", "schedule", "average"))
    states += [part.state_dict() for part in parts if part is not None]
    states[0].pop("seconds")
    return json.dumps(states, default=_digest)


def _digest(array):
    return [array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
