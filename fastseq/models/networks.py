"""What the networks of the estimators are made of: recurrent layers, and a linear map above them.

T steps, B rows, F features, H hidden size, D directions.
"""

from __future__ import annotations

import math

import numpy as np

from fastseq import checks
from fastseq.layers import Dropout, Embedding, Linear
from fastseq.models.pooling import POOLINGS
from fastseq.module import Module
from fastseq.recurrent import GRU, LSTM, RNN

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
TIED = 0.1  # vectors that serve as output weights, too, are drawn from -0.1 to 0.1


def check_parameters(which: str, network: Module) -> None:
    """Raise if a network is broken, which what came of it may have shown."""
    if not np.isfinite(network.parameters.flat).all():
        raise FloatingPointError(
            f"{which} parameters are not finite, got NaN or infinity: load or train it again"
        ) from None  # instead of what has shown it, where that was an error


def check_outputs(outputs: np.ndarray, network: Module) -> None:
    """Raise if outputs are not finite since the network is broken: NaN has no largest one."""
    if not np.isfinite(outputs).all():
        check_parameters("the model's", network)


def check_layers(estimator):
    """Raise unless the settings of an estimator's recurrent layers make sense."""
    checks.choice("cell", estimator.cell, tuple(CELLS))
    for name in ("hidden_size", "num_layers"):
        checks.positive_int(name, getattr(estimator, name))
    checks.flag("bidirectional", estimator.bidirectional)
    checks.fraction("dropout", estimator.dropout)
    if estimator.memory is not None:
        if checks.integer("memory", estimator.memory) < 2:
            raise ValueError(f"memory must be at least 2 steps, got {estimator.memory}")
        if estimator.cell == "rnn":
            raise ValueError("memory needs gates to act on: give cell='lstm' or cell='gru'")


def check_tied(embedding_dim: int, hidden_size: int) -> None:
    """Raise unless a table of vectors can be that of the output weights as well."""
    if embedding_dim != hidden_size:
        raise ValueError(
            "tie_weights=True needs embedding_dim = hidden_size, since one table is for inputs "
            f"and outputs, got {embedding_dim} and {hidden_size}"
        )


def prepare_to_tie(embedding, hidden_size, rng):
    """Draw vectors that can be output weights as well, if they can."""
    check_tied(embedding.embedding_dim, hidden_size)
    weight = embedding.parameters["weight"]
    weight[...] = rng.uniform(-TIED, TIED, weight.shape)


def recurrent_layers(input_size, hidden_size, num_layers, *, cell, dropout, **options):
    """Recurrent layers by the name of their cell; dropout acts between them, if there are several.

    The other options are those of the layers.
    """
    kind = CELLS[checks.choice("cell", cell, tuple(CELLS))]
    between = 0.0 if num_layers == 1 else dropout
    return kind(input_size, hidden_size, num_layers, dropout=between, **options)


def make_layers(*sizes, memory, seed, **options):
    """Recurrent layers; ``memory`` is how many steps back dependencies reach that they expect."""
    seed, memory_seed = Module.split_seed(seed, 2)
    layers = recurrent_layers(*sizes, seed=seed, **options)
    if memory is not None:
        _expect_memory(layers, memory, memory_seed)
    return layers


def _expect_memory(layers, steps, rng):
    """Set the biases of gates so that units keep their state for 1 to ``steps`` steps.

    The chrono initialisation of Tallec & Ollivier (2018): a gate of sigmoid(log n) keeps
    n / (n + 1) of a state in each step.
    """
    hidden, parameters = layers.hidden_size, layers.parameters
    for name in parameters:
        if name.startswith("bias_ih"):
            keep = np.log(rng.uniform(1, max(steps - 1, 1), hidden))
            bias, other = parameters[name], parameters[name.replace("_ih_", "_hh_")]
            # what keeps is the second gate: an LSTM's forget gate, a GRU's update gate
            bias[hidden : 2 * hidden], other[hidden : 2 * hidden] = keep, 0
            if isinstance(layers, LSTM):  # the input gate lets in as little as is forgotten
                bias[:hidden], other[:hidden] = -keep, 0


def read_tokens(table, dropout, ids):
    """What layers read of tokens in training: x, the embedding of which they are indices, or None.

    And the way into the table, if dx doesn't find it by itself.
    """
    if not dropout.p:  # then each token's product with the weights is made only once
        return ids, table, lambda dx: None
    vectors, into_table = table.forward(ids)
    vectors, into_dropout = dropout.forward(vectors)
    return vectors, None, lambda dx: into_table(into_dropout(dx))


def run_over_tokens(layers, table, dropout, ids, lengths, state=None):
    """Outputs and last state of layers over tokens, and ``back(dy, d_state)``."""
    x, table, into_table = read_tokens(table, dropout, ids)
    y, last, through_layers = layers.forward(x, state, lengths, embedding=table)
    return y, last, lambda dy, d_last=None: into_table(through_layers(dy, d_last)[0])


class Encoder(Module):
    """Recurrent layers over features (T, B, F), or over the vectors of tokens (T, B).

    Parameters
    ----------
    inputs : int
        F, or the number of different tokens.
    embedding_dim : int or None
        The size of the tokens' vectors; None for features.
    dropout : float
        For tokens' vectors and between the layers.
    **options
        As of :func:`make_layers`.
    """

    def __init__(self, inputs, embedding_dim, cell, *, dropout, dtype, seed, **options):
        seeds, children = self.named_seeds(seed, "embedding", "dropout", "layers"), {}
        self._has_tokens = embedding_dim is not None
        if self._has_tokens:
            children["embedding"] = Embedding(
                inputs, embedding_dim, dtype=dtype, seed=seeds.embedding
            )
            children["dropout"] = Dropout(dropout, seed=seeds.dropout)
        size = embedding_dim if self._has_tokens else inputs
        options |= {"cell": cell, "dropout": dropout, "dtype": dtype}
        layers = make_layers(size, seed=seeds.layers, **options)
        super().__init__(**children, layers=layers)

    def __call__(self, x, lengths):
        """Outputs (T, B, D * H), and the state."""
        embedding = self.embedding if self._has_tokens else None
        return self.layers(x, None, lengths, embedding=embedding)

    def forward(self, x, lengths):
        """Outputs, the state, and ``back(dy, d_state)``, which adds to the gradients."""
        if self._has_tokens:
            return run_over_tokens(self.layers, self.embedding, self.dropout, x, lengths)
        y, state, backprop = self.layers.forward(x, None, lengths)
        return y, state, lambda dy, d_state: backprop(dy, d_state, input_grad=False)


class SequenceNetwork(Module):
    """An encoder, perhaps pooling, dropout, a linear map, and a loss.

    Parameters
    ----------
    encoder : Encoder
    outputs : tuple of int
        The shape of what comes out for each step, or with pooling for each row.
    loss : loss of fastseq
        Of such outputs and of a batch's targets.
    pooling : {"last", "mean", "max"} or None
        How the steps of a row become one vector; None keeps all steps.
    partial : bool
        Whether targets may be NaN, which doesn't count.
    """

    def __init__(self, encoder, outputs, loss, *, pooling, dropout, partial=False, seed):
        seeds = self.named_seeds(seed, "dropout", "linear")
        layers = encoder.layers
        width = layers.hidden_size * (2 if layers.bidirectional else 1)
        super().__init__(
            encoder=encoder,
            dropout=Dropout(dropout, seed=seeds.dropout),
            linear=Linear(width, math.prod(outputs), dtype=layers.dtype, seed=seeds.linear),
        )
        self.outputs, self._loss, self._partial = tuple(outputs), loss, partial
        self._pool = None if pooling is None else POOLINGS[pooling]
        self.settings = {  # which a checkpoint compares
            "network": repr(self),
            "loss": repr(loss),
            "pooling": pooling,
        }

    def __call__(self, x, lengths):
        """Outputs (T, B, *outputs), or with pooling (B, *outputs)."""
        y, state = self.encoder(x, lengths)
        if self._pool is not None:
            y, _ = self._pool(y, state, lengths)
        return self._shaped(self.linear(y))

    def loss(self, batch):
        """The mean loss, for validation."""
        return self._loss(self(batch.x, batch.lengths), *self._targets(batch))

    def loss_and_grad(self, batch):
        """The mean loss; its gradients are added to ``parameters.grads``."""
        y, state, into_encoder = self.encoder.forward(batch.x, batch.lengths)
        if self._pool is not None:
            y, into_steps = self._pool(y, state, batch.lengths)
        y, into_dropout = self.dropout.forward(y)
        outputs, into_linear = self.linear.forward(y)
        loss, backprop = self._loss.forward(self._shaped(outputs), *self._targets(batch))
        dy, d_state = into_dropout(into_linear(backprop().reshape(outputs.shape))), None
        if self._pool is not None:
            dy, d_state = into_steps(dy)
        into_encoder(dy, d_state)
        return loss

    def count(self, batch):
        """How many numbers or classes the mean loss of a batch is over."""
        targets, mask = self._targets(batch)
        if mask is None:
            return targets.size
        return int(np.count_nonzero(mask)) * (targets.size // mask.size)

    def _shaped(self, y):
        return y.reshape(*y.shape[:-1], *self.outputs)

    def _targets(self, batch):
        """A batch's targets, and where they count."""
        targets, mask = batch.targets, batch.mask
        if not self._partial:
            return targets, mask
        known = ~np.isnan(targets)
        if mask is not None:
            known &= mask.reshape(*mask.shape, *(1,) * (known.ndim - mask.ndim))
        return targets, known


def softmax(logits):
    """Probabilities of the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
