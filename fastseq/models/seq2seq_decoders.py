"""The decoders of sequence-to-sequence networks: what writes the target, from state to state.

All have the same methods, whether they look at the whole source or only begin with its last
state, and read the same: vectors x, or with an ``embedding`` indices of its vectors, and ``beside``
these a vector for each row, at every step.

T target steps, S source positions, B rows, L layers, I input size, H hidden size, E the size of the
source's vectors.  A state is a tuple of arrays (L, B, H): h, for the LSTM h and c.
"""

from __future__ import annotations

import numpy as np

from fastseq.decoders import AttentionGRU, AttentionLSTM
from fastseq.layers import Dropout, Linear
from fastseq.models.networks import CELLS, recurrent_layers
from fastseq.module import Module
from fastseq.recurrent import LSTM


def as_parts(state):
    """The state of recurrent layers as a tuple."""
    return state if isinstance(state, tuple) else (state,)


def as_state(parts):
    """A tuple as recurrent layers take it."""
    return tuple(parts) if len(parts) > 1 else parts[0]


def make_decoder(
    input_size,
    hidden_size,
    num_layers,
    *,
    memory_size,
    attention=None,
    attention_size=None,
    input_feeding=False,
    **options,
):
    """The decoder that looks at a memory by this attention, or at none."""
    sizes = input_size, hidden_size, num_layers
    if attention is None:
        return PlainDecoder(*sizes, **options)
    options |= {"score": attention, "attention_size": attention_size}
    options |= {"input_feeding": input_feeding} if attention != "additive" else {}
    return LookingDecoder(*sizes, memory_size, **options)


class PlainDecoder(Module):
    """Recurrent layers that know the source by their first state alone."""

    def __init__(self, input_size, hidden_size, num_layers, *, cell, dropout, dtype, seed):
        sizes = input_size, hidden_size, num_layers
        layers = recurrent_layers(*sizes, cell=cell, dropout=dropout, dtype=dtype, seed=seed)
        super().__init__(layers=layers)

    def __call__(self, x, state, lengths, memory, memory_lengths, *, embedding=None, beside=None):
        """Outputs (T, B, H) for inputs (T, B, I), and the source's weights, if there are any."""
        inputs = {"embedding": embedding, "beside": beside}
        return self.layers(x, as_state(state), lengths, **inputs)[0], None

    def forward(self, x, state, lengths, memory, memory_lengths, *, embedding=None, beside=None):
        """Outputs, and ``back(dy)``, which gives dx, dstate and dmemory (None for zeros).

        With an embedding its own gradient is added up, and dx is None; with vectors beside x
        their gradient comes behind these.
        """
        inputs = {"embedding": embedding, "beside": beside}
        y, _, through_layers = self.layers.forward(x, as_state(state), lengths, **inputs)

        def back(dy):
            dx, dstate, *d_beside = through_layers(dy)
            return dx, as_parts(dstate), None, *d_beside

        return y, back

    def start(self, state, memory, memory_lengths):
        """The decoder step by step."""
        return LayerSteps(self.layers.packed(), state)


class LayerSteps:
    """Recurrent layers that advance by a step a call, with rows that come and go.

    They are packed, since a step is too short for their weights to be packed anew.
    """

    weights = None  # of the source's positions, which the layers don't see

    def __init__(self, layers, state):
        self._layers, self._state = layers, state

    def step(self, x):
        """Outputs (R, H) for inputs (R, I)."""
        y, state = self._layers(x[None], as_state(self._state))
        self._state = as_parts(state)
        return y[0]

    def select(self, rows):
        """Go on with these rows alone; they may come several times."""
        self._state = tuple(np.take(part, rows, axis=1) for part in self._state)


class LookingDecoder(Module):
    """A layer that looks at the source, and plain layers above it."""

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers,
        memory_size,
        *,
        cell,
        dropout,
        dtype,
        seed,
        **options,
    ):
        seeds = self.named_seeds(seed, "bottom", "dropout", "layers")
        kind = {"lstm": AttentionLSTM, "gru": AttentionGRU}[cell]
        children = {
            "bottom": kind(
                input_size, hidden_size, memory_size, dtype=dtype, seed=seeds.bottom, **options
            )
        }
        if num_layers > 1:
            between = dropout if num_layers > 2 else 0.0
            sizes = hidden_size, hidden_size, num_layers - 1
            children["dropout"] = Dropout(dropout, seed=seeds.dropout)
            children["layers"] = CELLS[cell](
                *sizes, dropout=between, dtype=dtype, seed=seeds.layers
            )
        super().__init__(**children)

    def __call__(self, x, state, lengths, memory, memory_lengths, *, embedding=None, beside=None):
        """Outputs (T, B, H) for inputs (T, B, I), and weights (T, B, S) of the source."""
        bottom, above = _split(state)
        x = _with_rows(x if embedding is None else embedding(x), beside)
        y, _, weights = self.bottom(x, memory, as_state(bottom), lengths, memory_lengths)
        if "layers" in self.children:
            y, _ = self.layers(y, as_state(above), lengths)
        return y, weights

    def forward(self, x, state, lengths, memory, memory_lengths, *, embedding=None, beside=None):
        """Outputs, and ``back(dy)``, as that of :class:`PlainDecoder`."""
        bottom, above = _split(state)
        if embedding is not None:
            x, into_table = embedding.forward(x)
        size, x = x.shape[2], _with_rows(x, beside)
        y, _, _, through_bottom = self.bottom.forward(
            x, memory, as_state(bottom), lengths, memory_lengths
        )
        if "layers" in self.children:
            y, into_dropout = self.dropout.forward(y)
            y, _, through_layers = self.layers.forward(y, as_state(above), lengths)

        def back(dy):
            above = ()
            if "layers" in self.children:
                dy, d_above = through_layers(dy)
                dy, above = into_dropout(dy), as_parts(d_above)
            dx, d_memory, d_bottom = through_bottom(dy)
            d_bottom = as_parts(d_bottom)
            if above:
                pairs = zip(d_bottom, above, strict=True)
                d_bottom = tuple(np.concatenate(pair) for pair in pairs)
            d_beside = ()
            if beside is not None:
                dx, *d_beside = _without_rows(dx, size)
            return dx if embedding is None else into_table(dx), d_bottom, d_memory, *d_beside

        return y, back

    def start(self, state, memory, memory_lengths):
        """The decoder step by step."""
        bottom, above = _split(state)
        first = self.bottom.start(memory, as_state(bottom), memory_lengths)
        layers = LayerSteps(self.layers.packed(), above) if "layers" in self.children else None
        return AttentionSteps(first, layers)


class AttentionSteps:
    """A decoder with attention that advances by a step a call."""

    def __init__(self, bottom, above):
        self._bottom, self._above = bottom, above

    @property
    def weights(self):
        """Of the source's positions at the last step, (R, S)."""
        return self._bottom.weights

    def step(self, x):
        """Outputs (R, H) for inputs (R, I)."""
        y = self._bottom.step(x)
        return y if self._above is None else self._above.step(y)

    def select(self, rows):
        """Go on with these rows alone; they may come several times."""
        self._bottom.select(rows)
        if self._above is not None:
            self._above.select(rows)


def _split(state):
    """The state of the lowest layer, and that of those above."""
    return tuple(part[:1] for part in state), tuple(part[1:] for part in state)


def _with_rows(x, beside):
    """Inputs (T, B, I) with each row's vector (B, F) behind them, at every step."""
    if beside is None:
        return x
    return np.concatenate([x, np.broadcast_to(beside, (len(x), *beside.shape))], axis=2)


def _without_rows(dx, size):
    """The gradients of both, of inputs with I = ``size``."""
    return dx[:, :, :size], dx[:, :, size:].sum(axis=0)


class Bridge(Module):
    r"""From the last states of an encoder's two directions to the first ones of a decoder.

    .. math:: h_0 = \tanh(W_h [\overrightarrow{h}; \overleftarrow{h}] + b_h), \qquad
        c_0 = W_c [\overrightarrow{c}; \overleftarrow{c}] + b_c

    for each layer by itself (Bahdanau et al., 2015, who take the reverse direction alone).
    """

    def __init__(self, layers, *, seed):
        parts = "hc" if isinstance(layers, LSTM) else "h"
        names = [f"{part}_l{layer}" for part in parts for layer in range(layers.num_layers)]
        seeds, size = self.split_seed(seed, len(names)), layers.hidden_size
        super().__init__(
            **{
                name: Linear(2 * size, size, dtype=layers.dtype, seed=own)
                for name, own in zip(names, seeds, strict=True)
            }
        )

    def __call__(self, state):
        """The decoder's state (L, B, H) of the encoder's (2 L, B, H), both as tuples."""
        y = np.stack([linear(x) for linear, x in self._pairs(state)])
        return _squashed(np.split(y, len(state)))

    def forward(self, state):
        """As calling it, and ``back(dstate)``, which gives the gradient of the encoder's state."""
        pairs = [linear.forward(x) for linear, x in self._pairs(state)]
        outputs, backs = zip(*pairs, strict=True)
        y = _squashed(np.split(np.stack(outputs), len(state)))

        def back(dstate):
            dy = np.concatenate(_unsquashed(dstate, y))
            dx = np.stack([backprop(d) for backprop, d in zip(backs, dy, strict=True)])
            return tuple(np.split(_apart(dx), len(dstate)))

        return y, back

    def _pairs(self, state):
        """Each linear map and what it reads, of all layers h and then c."""
        return zip(self.children.values(), _beside(np.concatenate(state)), strict=True)


class VectorBridge(Module):
    r"""From a vector to the first state of a decoder.

    .. math:: h_0 = \tanh(W_h v + b_h), \qquad c_0 = W_c v + b_c

    for each layer by itself (Serban et al., 2016); it is one product for all of them, whose rows
    are h of the layers, from the lowest on, and then c.
    """

    def __init__(self, input_size, hidden_size, num_layers, *, cell, dtype, seed):
        parts = 2 if cell == "lstm" else 1
        self._shape = parts, num_layers, hidden_size
        size = parts * num_layers * hidden_size
        super().__init__(linear=Linear(input_size, size, dtype=dtype, seed=seed))

    def __call__(self, vectors):
        """The decoder's state, a tuple of (L, B, H), of vectors (B, F)."""
        return self._as_state(self.linear(vectors))

    def forward(self, vectors):
        """As calling it, and ``back(dstate)``, which gives the gradient of the vectors."""
        y, backprop = self.linear.forward(vectors)
        state = self._as_state(y)

        def back(dstate):
            parts = np.stack(_unsquashed(dstate, state))
            return backprop(np.ascontiguousarray(parts.transpose(2, 0, 1, 3)).reshape(y.shape))

        return state, back

    def _as_state(self, y):
        parts = y.reshape(len(y), *self._shape).transpose(1, 2, 0, 3)
        return _squashed(np.ascontiguousarray(parts))


def _squashed(parts):
    """The state of what linear maps made of it: h through tanh, c as it is."""
    h, *others = parts
    return np.tanh(h), *others


def _unsquashed(dstate, state):
    """... and back: the gradients before tanh."""
    return dstate[0] * (1 - np.square(state[0])), *dstate[1:]


def _beside(states):
    """States (2 L, B, H) with both directions beside each other, (L, B, 2 H)."""
    count, rows, size = states.shape
    sides = states.reshape(count // 2, 2, rows, size).swapaxes(1, 2)
    return sides.reshape(count // 2, rows, 2 * size)


def _apart(array):
    """... and back."""
    layers, rows, size = array.shape
    sides = array.reshape(layers, rows, 2, size // 2).swapaxes(1, 2)
    return np.ascontiguousarray(sides).reshape(2 * layers, rows, size // 2)
