"""Stacked recurrent cells over packed tokens: what layers, cells and streams have in common.

T steps, B rows, N tokens, I input size, H hidden size, D directions, L layers, G gates.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.packing import BufferPool
from fastseq.parameters import Parameters


class CellKind(NamedTuple):
    """All that the layers know about a cell; the rest is in its kernels.

    The kernels are called as ``<name>_forward(x, *states, weights, offsets, reverse, *option,
    y, *final_states, *saved)`` and ``<name>_backward(dy, x, *states, weights, offsets, reverse,
    *option, y, *saved, dx, *state_gradients, grads)``.
    """

    name: str
    gates: int  # G
    states: tuple[str, ...]
    saved: tuple[int, ...]  # widths, in H, of the arrays that forward saves for backward

    @property
    def forward(self):
        """The forward kernel of the backend in use."""
        return getattr(kernels(), self.name + "_forward")

    @property
    def backward(self):
        return getattr(kernels(), self.name + "_backward")


NONLINEARITIES = ("tanh", "relu", "sigmoid")

RNN = CellKind("rnn", gates=1, states=("h",), saved=())
LSTM = CellKind("lstm", gates=4, states=("h", "c"), saved=(4, 1))
GRU = CellKind("gru", gates=3, states=("h",), saved=(4,))


class Stack:
    """Layers of one kind of cell, their parameters, and their passes over packed tokens."""

    _kind: CellKind
    _names = "{}_l{}{}"  # of parameters: what, layer, "_reverse" or nothing

    def __init__(
        self, input_size, hidden_size, num_layers, directions, option, *, bias, dropout, dtype, seed
    ):
        self.input_size = checks.positive_int("input_size", input_size)
        self.hidden_size = checks.positive_int("hidden_size", hidden_size)
        self.num_layers = checks.positive_int("num_layers", num_layers)
        self.bias = checks.flag("bias", bias)
        self.dropout = dropout
        self.dtype = checks.float_dtype(dtype)
        self._option = option  # () or (value,): what the kernels take beside arrays
        self._reverse = (False, True)[:directions]
        self._rng = checks.generator(seed)
        self._parameters = Parameters(self._parameter_shapes(), self.dtype)
        self._initialize()
        self._bind()

    # --- parameters -------------------------------------------------------------------------

    @property
    def parameters(self):
        """The parameters and their gradients by PyTorch's names: :class:`Parameters`."""
        return self._parameters

    def state_dict(self):
        """Copies of all parameters: a dict from PyTorch's names to arrays."""
        return self._parameters.state_dict()

    def load_state_dict(self, state_dict):
        """Copy parameters from a mapping: a :meth:`state_dict`, or PyTorch's.

        Everything is checked before anything is copied; see ``Parameters.load_state_dict``.
        """
        self._parameters.load_state_dict(state_dict)

    def _parameter_names(self, layer, reverse):
        what = ["weight_ih", "weight_hh"] + ["bias_ih", "bias_hh"] * self.bias
        return [self._names.format(w, layer, "_reverse" * reverse) for w in what]

    def _parameter_shapes(self):
        hidden, rows = self.hidden_size, self._kind.gates * self.hidden_size
        shapes = {}
        for layer in range(self.num_layers):
            width = hidden * len(self._reverse) if layer else self.input_size
            sizes = [(rows, width), (rows, hidden)] + [(rows,), (rows,)] * self.bias
            for reverse in self._reverse:
                shapes |= zip(self._parameter_names(layer, reverse), sizes, strict=True)
        return shapes

    def _initialize(self):
        """PyTorch's default: U(-1 / sqrt(H), 1 / sqrt(H)) for everything."""
        bound = self.hidden_size**-0.5
        for view in self._parameters.values():
            view[...] = self._rng.uniform(-bound, bound, view.shape)

    def _bind(self):
        """Collect what a pass would otherwise have to look up at every call."""
        self._weights = self._by_layer(self._parameters)
        self._grads = self._by_layer(self._parameters.grads)
        self._top = self.num_layers - 1
        self._not_saved = [None] * len(self._kind.saved)
        self._pool = BufferPool(self.dtype)
        self._zeros = None
        self._grads_lock = threading.Lock()

    def _by_layer(self, views):
        """For each layer a list, one tuple a direction, as the kernels take them."""
        absent = () if self.bias else (None, None)
        return [
            [
                (*(views[name] for name in self._parameter_names(layer, reverse)), *absent)
                for reverse in self._reverse
            ]
            for layer in range(self.num_layers)
        ]

    def __getstate__(self):
        bound = ("_weights", "_grads", "_pool", "_zeros", "_grads_lock")  # made again by _bind
        return {name: value for name, value in self.__dict__.items() if name not in bound}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._bind()

    # --- states -----------------------------------------------------------------------------

    def _read_states(self, name, value, shape, letters):
        """The state arrays of an argument that is not None, checked; zeros for None in a pair."""
        names = self._kind.states
        if len(names) == 1:
            return [self._read_state(name, value, shape, letters)]
        if not isinstance(value, (tuple, list)) or len(value) != len(names):
            raise TypeError(
                f"{name} must be a pair ({', '.join(names)}) of arrays, each "
                f"{letters} = {shape}, got {_describe(value)}"
            )
        return [
            self._read_state(f"{name}[{i}]", array, shape, letters) for i, array in enumerate(value)
        ]

    def _read_state(self, name, value, shape, letters):
        if value is None:
            return np.zeros(shape, self.dtype)
        array = checks.floats(name, value, self.dtype)
        checks.shape(name, array, shape, letters)
        return array

    def _zero_states(self, shape):
        return [np.zeros(shape, self.dtype) for _ in self._kind.states]

    def _initial_zeros(self, rows):
        """The states (L * D, B, H) of a call without any: kept for the next, never written to."""
        zeros = self._zeros
        if zeros is None or zeros[0].shape[1] != rows:
            shape = (self.num_layers * len(self._reverse), rows, self.hidden_size)
            zeros = self._zeros = self._zero_states(shape)
        return zeros

    def _state(self, arrays):
        """State arrays as the user gets them: h alone, or (h, c)."""
        return arrays[0] if len(arrays) == 1 else tuple(arrays)

    # --- passes -----------------------------------------------------------------------------

    def _run(self, x, states, packing, buffers, *, training):
        """From x (N, I) and states (L * D, B, H) to y (N, D * H), final states, and a tape.

        The tape is what a backward pass needs: (packing, buffers, states, layers), with
        (x, y, saved, kept) for each layer, where ``kept`` tells what dropout let through, or
        is None.
        """
        kind = self._kind
        forward = kind.forward
        tokens, width, top = packing.tokens, len(self._reverse) * self.hidden_size, self._top
        output = packing.result(buffers, "y", width, self.dtype)
        finals = [state.copy() for state in states]  # and so they stay without tokens
        layers = []
        for layer in range(top + 1 if tokens else 0):
            # without a backward pass two arrays in turn are enough between the layers
            slot = layer if training else layer % 2
            y = output if layer == top else buffers.get(("y", slot), (tokens, width))
            saved = self._not_saved
            if training and saved:
                saved = self._arrays(kind.saved, buffers, ("saved", layer), tokens)
            forward(
                x,
                *self._of_layer(layer, states),
                self._weights[layer],
                packing.offsets,
                self._reverse,
                *self._option,
                y,
                *self._of_layer(layer, finals),
                *saved,
            )
            above, kept = y, None
            if training and self.dropout and layer < top:
                above, kept = self._drop(y, buffers, layer)
            layers.append((x, y, saved, kept))
            x = above
        return output, finals, (packing, buffers, states, layers)

    def _run_back(self, tape, dy, dstates, *, input_grad):
        """Turn ``dstates`` into the initial states' gradients and return dx (N, I) or None.

        Adds to the parameters' gradients: one backward pass at a time.
        """
        packing, buffers, states, layers = tape
        backward, dx = self._kind.backward, None
        if input_grad:
            dx = packing.result(buffers, "dx", self.input_size, self.dtype)
        with self._grads_lock:
            for layer in range(len(layers) - 1, -1, -1):
                x, y, saved, kept = layers[layer]
                if kept is not None:
                    self._scale_kept(dy, kept)
                dbelow = buffers.get(("dx", layer % 2), x.shape) if layer else dx
                backward(
                    dy,
                    x,
                    *self._of_layer(layer, states),
                    self._weights[layer],
                    packing.offsets,
                    self._reverse,
                    *self._option,
                    y,
                    *saved,
                    dbelow,
                    *self._of_layer(layer, dstates),
                    self._grads[layer],
                )
                dy = dbelow
        return dx

    def _of_layer(self, layer, states):
        """The part of each state (L * D, B, H) that belongs to a layer, (D, B, H)."""
        if not self._top:
            return states
        count = len(self._reverse)
        return [state[layer * count : (layer + 1) * count] for state in states]

    def _arrays(self, widths, buffers, name, tokens):
        """Buffers (D, N, width * H) for one layer's saved activations."""
        count, hidden = len(self._reverse), self.hidden_size
        return [
            buffers.get((name, i), (count, tokens, width * hidden))
            for i, width in enumerate(widths)
        ]

    def _drop(self, y, buffers, layer):
        """A copy of y with each element dropped with probability ``dropout``, and what was kept."""
        dropped = buffers.get(("dropped", layer), y.shape)
        self._rng.random(out=dropped, dtype=self.dtype)
        kept = dropped >= self.dropout
        np.copyto(dropped, y)
        self._scale_kept(dropped, kept)
        return dropped, kept

    def _scale_kept(self, array, kept):
        """Inverted dropout, in place: the expected value stays."""
        array *= kept
        array *= 1 / (1 - self.dropout) if self.dropout < 1 else 0


class Backprop:
    """The backward pass of one forward call.

    It can run once, since it turns the saved activations into gradients in place; then it lets
    go of all arrays.
    """

    def __init__(self, owner, tape, shape):
        self._owner = owner
        self._tape = tape
        self._shape = shape  # of the output, or its leading axes

    def _read_tape(self):
        if self._tape is None:
            raise RuntimeError(
                "this backprop has already run, and has overwritten the activations that "
                "forward saved: call forward again for another backward pass"
            )
        return self._tape


def _describe(value):
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"an array {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
