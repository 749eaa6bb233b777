"""A character model: an LSTM that guesses the next character, and so can write.

The text is cut into ``batch_size`` streams that are read side by side, ``steps`` characters at
a time.  The state is carried from chunk to chunk, gradients stop at the chunk's beginning
(truncated backpropagation through time)::

    h_t, c_t = LSTM(one_hot(character_t), (h_{t-1}, c_{t-1}))
    p_t = softmax(W h_t + b)                     the next character
    loss = mean_t -log p_t[character_{t+1}]      nats per character
"""

import contextlib
import gzip
import time
from importlib import resources

import numpy as np

import fastseq as fs

HELD_OUT = 0.05  # the share of the text that is kept from training


class CharacterModel:
    """One LSTM layer from one-hot characters, and a softmax over the next character.

    Parameters
    ----------
    vocabulary_size, hidden_size : int
    seed : int or None
    """

    def __init__(self, vocabulary_size, hidden_size=192, *, seed=None):
        self.lstm = fs.LSTM(vocabulary_size, hidden_size, seed=seed)
        # A forget gate that starts open lets gradients reach back from the first update on.
        self.lstm.parameters["bias_ih_l0"][hidden_size : 2 * hidden_size] = 1
        self.weight = np.zeros((vocabulary_size, hidden_size), np.float32)
        self.bias = np.zeros(vocabulary_size, np.float32)
        self.d_weight, self.d_bias = np.zeros_like(self.weight), np.zeros_like(self.bias)
        self.one_hot = np.eye(vocabulary_size, dtype=np.float32)

    @property
    def values_and_gradients(self):
        """All parameters as (values, gradient) pairs of arrays."""
        lstm = self.lstm.parameters
        return [
            (lstm.flat, lstm.flat_grad),
            (self.weight, self.d_weight),
            (self.bias, self.d_bias),
        ]

    def logits(self, h):
        """Unnormalised log-probabilities of the next character: (..., H) to (..., V)."""
        return h @ self.weight.T + self.bias

    def loss(self, inputs, targets, state=None):
        """Mean loss of a chunk of ids (T, B), and the state after it."""
        h, state = self.lstm(self.one_hot[inputs], state)
        loss, _ = cross_entropy(self.logits(h), targets)
        return loss, state

    def loss_and_grad(self, inputs, targets, state=None):
        """As :meth:`loss`; leaves the gradients beside the values."""
        h, state, backprop = self.lstm.forward(self.one_hot[inputs], state)
        loss, d_logits = cross_entropy(self.logits(h), targets)
        rows = d_logits.reshape(-1, d_logits.shape[-1])
        np.matmul(rows.T, h.reshape(len(rows), -1), out=self.d_weight)
        np.sum(rows, axis=0, out=self.d_bias)
        self.lstm.parameters.zero_grad()  # layers add to their gradients
        backprop(d_logits @ self.weight)
        return loss, state


def cross_entropy(logits, targets):
    """Mean of -log softmax(logits)[target], and its gradient with respect to the logits."""
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    chosen = targets[..., None]
    p_target = np.take_along_axis(p, chosen, axis=-1)
    np.put_along_axis(p, chosen, p_target - 1, axis=-1)
    p /= targets.size
    tiny = np.finfo(p.dtype).tiny  # a probability may underflow to 0
    return -float(np.log(np.maximum(p_target, tiny)).mean(dtype=np.float64)), p


class Adam:
    """Adam (Kingma & Ba, 2015) with the gradients' joint norm clipped."""

    def __init__(self, values_and_gradients, *, beta1=0.9, beta2=0.99, epsilon=1e-8, clip=1.0):
        self.pairs = values_and_gradients
        self.moments = [(np.zeros_like(g), np.zeros_like(g)) for _, g in self.pairs]
        self.beta1, self.beta2, self.epsilon, self.clip = beta1, beta2, epsilon, clip
        self.updates = 0

    def step(self, learning_rate):
        """Change the values in place."""
        self.updates += 1
        norm = np.sqrt(sum(float(np.vdot(g, g)) for _, g in self.pairs))
        scale = min(1.0, self.clip / (norm + 1e-12))
        # The moments start at zero and are biased towards it by these factors.
        bias1, bias2 = 1 - self.beta1**self.updates, 1 - self.beta2**self.updates
        rate = learning_rate * np.sqrt(bias2) / bias1
        for (value, gradient), (m, v) in zip(self.pairs, self.moments, strict=True):
            gradient *= scale
            m += (1 - self.beta1) * (gradient - m)
            v += (1 - self.beta2) * (gradient * gradient - v)
            value -= float(rate) * m / (np.sqrt(v) + self.epsilon)


# --- the text -------------------------------------------------------------------------------


def load_text():
    """Tiny Shakespeare (1,115,394 characters, public domain), which ships with the package."""
    path = resources.files("fastseq.demo") / "data" / "tinyshakespeare.txt.gz"
    return gzip.decompress(path.read_bytes()).decode("ascii")


def encode(text):
    """The distinct characters, sorted, and the text as indices into them."""
    characters, ids = np.unique(np.array(list(text)), return_inverse=True)
    return characters, ids


def split(ids):
    """Training part and held-out part, which is the end of the text."""
    end = round(len(ids) * (1 - HELD_OUT))
    return ids[:end], ids[end:]


def chunks(ids, batch_size, steps):
    """One pass over the text: yields inputs and targets, each (steps or fewer, batch_size).

    Column b goes through the b-th part of the text, from chunk to chunk without a gap.
    """
    length = (len(ids) - 1) // batch_size
    inputs = ids[: length * batch_size].reshape(batch_size, length).T
    targets = ids[1 : length * batch_size + 1].reshape(batch_size, length).T
    for t in range(0, length, steps):
        yield inputs[t : t + steps], targets[t : t + steps]


# --- training -------------------------------------------------------------------------------


def train(model, ids, *, seconds, updates=np.inf, batch_size=16, steps=32, learning_rate=5e-3):
    """Train for ``seconds`` of wall-clock time, or for ``updates`` if they are done earlier.

    Returns the losses as (update, nats per character) points.
    """
    losses, characters, state = [], 0, None
    adam = Adam(model.values_and_gradients)
    begin = time.monotonic()
    with progress(seconds) as report:
        for first, inputs, targets in endless(ids, batch_size, steps):
            elapsed = time.monotonic() - begin
            done = max(elapsed / seconds, len(losses) / updates)
            if done >= 1:
                break
            loss, state = model.loss_and_grad(inputs, targets, None if first else state)
            adam.step(learning_rate * (1 - done))  # smaller steps towards the end
            losses.append((len(losses), loss))
            characters += inputs.size
            report(elapsed, loss, characters)
    return losses


def endless(ids, batch_size, steps):
    """Chunks, one pass after the other, and whether each is the first of its pass."""
    while True:
        for i, (inputs, targets) in enumerate(chunks(ids, batch_size, steps)):
            yield i == 0, inputs, targets


@contextlib.contextmanager
def progress(seconds):
    """Gives a function report(elapsed, loss, characters): a bar, or lines without tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        tqdm = None
    if tqdm is None:
        yield line_reporter(seconds)
        return
    layout = "{percentage:3.0f}%|{bar:30}| {elapsed}, {remaining} left{postfix}"
    with tqdm(total=seconds, bar_format=layout) as bar:

        def report(elapsed, loss, characters):
            bar.set_postfix_str(status(elapsed, loss, characters), refresh=False)
            bar.update(elapsed - bar.n)

        yield report
        bar.update(seconds - bar.n)


def line_reporter(seconds, lines=10):
    """The progress as about ``lines`` printed lines."""
    due = 0.0

    def report(elapsed, loss, characters):
        nonlocal due
        if elapsed >= due:
            due = elapsed + seconds / lines
            left = max(seconds - elapsed, 0)
            print(f"{status(elapsed, loss, characters)}, {left:.0f} s left", flush=True)

    return report


def status(elapsed, loss, characters):
    """What a reader wants to know meanwhile."""
    return f"loss {loss:.3f}, {characters / max(elapsed, 1e-9):,.0f} characters/s"


# --- what came of it ------------------------------------------------------------------------


def evaluate(model, ids, *, batch_size=16, steps=64):
    """Nats per character on a text."""
    total, count, state = 0.0, 0, None
    for inputs, targets in chunks(ids, batch_size, steps):
        loss, state = model.loss(inputs, targets, state)
        total, count = total + loss * targets.size, count + targets.size
    return total / count


def sample(model, length, rng, *, prompt, temperature=0.7):
    """Let the model write: ``length`` ids, each drawn from p^(1 / temperature).

    A stream keeps the state between the steps; ``prompt`` (ids) is read first.
    """
    stream = model.lstm.stream()
    *read, latest = prompt
    for i in read:
        stream.step(model.one_hot[i : i + 1])
    written = []
    for _ in range(length):
        h = stream.step(model.one_hot[latest : latest + 1])
        logits = model.logits(h[0]) / temperature
        latest = int(np.argmax(logits + rng.gumbel(size=len(logits))))  # draws from softmax
        written.append(latest)
    return written


def run(*, seed=0, seconds=30.0, length=800):
    """Train, report the loss on unseen text, print a sampled text; returns the losses."""
    characters, ids = encode(load_text())
    training, held_out = split(ids)
    model = CharacterModel(len(characters), seed=seed)
    print(f"Training for {seconds:g} s on {len(training):,} characters")
    losses = train(model, training, seconds=seconds)
    loss = evaluate(model, held_out)
    bits = loss / np.log(2)
    print(f"Held-out loss: {loss:.3f} nats ({bits:.2f} bits) per character\n")
    prompt = np.searchsorted(characters, ["\n", "\n"])
    written = sample(model, length, np.random.default_rng(seed), prompt=prompt)
    print("".join(characters[written]))
    return losses
