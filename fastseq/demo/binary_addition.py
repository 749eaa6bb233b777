"""Binary addition: the classic first exercise in backpropagation through time.

A recurrent network reads two numbers bit by bit, the least significant first, and writes
the bits of their sum.  It has to discover the carry and keep it in its hidden state::

    h_t = sigmoid(W_in x_t + W h_{t-1})          2 inputs, 16 hidden units, no biases
    y_t = sigmoid(w_out . h_t)                   the sum's bit t
    loss = 1/2 sum_t (y_t - target_t)^2

It learns online: one random addition, one step of gradient descent.
"""

import time

import numpy as np

import fastseq as fs

BITS = 8
LARGEST_TERM = 2 ** (BITS - 1)  # so that the sum still fits
BIT_TABLE = np.unpackbits(np.arange(2**BITS, dtype=np.uint8)[:, None], axis=1, bitorder="little")


class BinaryAdder(fs.Module):
    """A sigmoid RNN with one sigmoid output; all weights start from N(0, 1).

    Parameters
    ----------
    hidden_size : int
    nonlinearity : {"sigmoid", "tanh", "relu"}
        Of the hidden units.
    learning_rate : float
    seed : int, Generator or None
    """

    def __init__(self, hidden_size=16, *, nonlinearity="sigmoid", learning_rate=0.1, seed=None):
        super().__init__(
            rnn=fs.RNN(2, hidden_size, nonlinearity=nonlinearity, bias=False, dtype=np.float64),
            output=fs.Linear(hidden_size, 1, bias=False, dtype=np.float64),
        )
        self.weights = self.parameters.flat  # W_in, W and w_out in one array,
        self.gradient = self.parameters.flat_grad  # and their gradients in another
        self.weights[:] = np.random.default_rng(seed).standard_normal(self.weights.size)
        self.w_out_row = self.parameters["output.weight"]  # (1, hidden_size)
        self.w_out = self.w_out_row[0]
        self.w_out_gradient = self.parameters.grads["output.weight"][0]
        # Arrays this small take less time than turning a Python number into one.
        self.learning_rate = np.array(learning_rate)

    def __call__(self, x):
        """The probability that each bit of the sum is 1.  x is (bits, 2), or (bits, B, 2)."""
        h, _ = self.rnn(x)
        return fs.sigmoid(h.dot(self.w_out))

    def loss_and_grad(self, x, target):
        """Forward and backward for one addition: x (bits, 2), target (bits,).

        Returns the loss and the outputs, and leaves the gradients in ``gradient``.
        """
        h, _, backprop = self.rnn.forward(x)
        y = fs.sigmoid(h.dot(self.w_out))  # on arrays this small `dot` takes half the time of `@`
        error = target - y
        # The sigmoid's derivative is y (1 - y), y being its output.  Many versions of this
        # exercise apply the derivative function, which expects the input, to y itself:
        # sigmoid(y) (1 - sigmoid(y)).  That still learns, but is not the loss's gradient.
        delta = y * y  # in place from here on: (y y - y) (target - y)
        delta -= y
        delta *= error
        self.gradient.fill(0)  # layers add to their gradients
        delta.dot(h, out=self.w_out_gradient)
        backprop(delta[:, None].dot(self.w_out_row), input_grad=False)
        return 0.5 * error.dot(error), y

    def descend(self):
        """One step of gradient descent, in place."""
        # Assigning to attributes would ask whether they hold a module.
        weights, step = self.weights, self.gradient
        step *= self.learning_rate
        weights -= step


def make_examples(count, rng):
    """Random additions: terms (count, 2), inputs (count, bits, 2) and targets (count, bits)."""
    terms = rng.integers(LARGEST_TERM, size=(count, 2))
    inputs = BIT_TABLE[terms].transpose(0, 2, 1).astype(np.float64, order="C")
    targets = BIT_TABLE[terms.sum(axis=1)].astype(np.float64)
    return terms, inputs, targets


def train(adder, updates, rng, *, report_every=100, report=None):
    """Train on ``updates`` random additions; returns the losses as (update, loss) points."""
    losses = []
    terms, inputs, targets = make_examples(updates, rng)
    for i, (x, target) in enumerate(zip(inputs, targets, strict=True)):
        loss, y = adder.loss_and_grad(x, target)
        adder.descend()
        if i % report_every == 0:
            losses.append((i, float(loss)))
            if report is not None:
                report(i, loss, terms[i], y)
    return losses


def print_report(iteration, loss, terms, y):
    """Show one addition as the network sees it, the most significant bit first."""
    a, b = terms
    predicted = (y > 0.5).astype(np.uint8)
    print(f"iters:{iteration}")
    print(f"Loss:{loss}")
    print(f"Pred:{predicted[::-1]}")
    print(f"True:{BIT_TABLE[a + b][::-1]}")
    print(f"{a} + {b} = {np.packbits(predicted, bitorder='little')[0]}")
    print("------------")


def accuracy(adder):
    """The share of all possible additions that come out right in every bit."""
    terms = np.indices((LARGEST_TERM, LARGEST_TERM)).reshape(2, -1)
    x = BIT_TABLE[terms].transpose(2, 1, 0).astype(np.float64)  # (bits, B, 2)
    predicted = adder(x) > 0.5
    return np.mean((predicted == BIT_TABLE[terms.sum(axis=0)].T).all(axis=0))


def run(*, seed=0, updates=10_000):
    """Train, print every hundredth addition, and return the losses."""
    adder = BinaryAdder(seed=seed)
    begin = time.perf_counter()
    losses = train(adder, updates, np.random.default_rng(seed), report=print_report)
    seconds = time.perf_counter() - begin
    print(f"{updates:,} updates in {seconds:.2f} s ({1e6 * seconds / updates:.0f} µs each)")
    print(f"Right in all {BITS} bits: {accuracy(adder):.1%} of the {LARGEST_TERM**2:,} additions")
    return losses
