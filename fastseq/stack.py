"""Stacked recurrent cells over packed tokens: what layers, cells and streams have in common.

T steps, B rows, N tokens, I input size, H hidden size, D directions, L layers, G gates.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.lookup import Lookup
from fastseq.module import Module, Settled, fixed
from fastseq.packing import BufferPool, Buffers, Dense, Ragged
from fastseq.parameters import Parameters


class CellKind(NamedTuple):
    """All that the layers know about a cell; the rest is in its kernels.

    The kernels are called as ``<name>_forward(x, *states, weights, offsets, reverse, *option,
    y, *final_states, *saved)`` and ``<name>_backward(dy, x, *states, weights, offsets, reverse,
    *option, y, *saved, dx, *state_gradients, grads)``.
    """

    name: str
    forward: str  # names of the kernels
    backward: str
    gates: int  # G
    states: tuple[str, ...]
    saved: tuple[int, ...]  # widths, in H, of the arrays that forward saves for backward
    option: str = ""  # the attribute that the kernels take beside arrays
    default: object = None  # ... and its default


NONLINEARITIES = ("tanh", "relu", "sigmoid")  # those of ``reference.py``, which isn't loaded here


def _kind(name, **facts):
    return CellKind(name, f"{name}_forward", f"{name}_backward", **facts)


RNN = _kind("rnn", gates=1, states=("h",), saved=(), option="nonlinearity", default="tanh")
LSTM = _kind("lstm", gates=4, states=("h", "c"), saved=(4, 1))
GRU = _kind("gru", gates=3, states=("h",), saved=(4,), option="reset_after", default=True)


# What the backward pass of a call needs to know of it: packing, buffers, for each layer a tuple,
# and a lookup or None.  A layer's tuple has the kernel's first arguments, y, what the kernel saved,
# and what dropout let through or None.  (A named one would take a hundredth of a short call.)
Tape: TypeAlias = tuple[Dense | Ragged, Buffers, list[tuple], Lookup | None]


def copies(states):
    """Copies of a state's arrays: a single one without the machinery for several."""
    if len(states) == 1:
        return [states[0].copy()]
    return list(map(np.ndarray.copy, states))


class Stack(Settled, Module):
    """Layers of one kind of cell, their parameters, and their passes over packed tokens."""

    _kind: CellKind
    _names = "{}_l{}{}"  # of parameters: what, layer, "_reverse" or nothing
    _bound = ("_weights", "_grads", "_top", "_width", "_not_saved", "_pool", "_zeros")

    input_size = fixed("input_size")
    hidden_size = fixed("hidden_size")
    num_layers = fixed("num_layers")
    bias = fixed("bias")
    dtype = fixed("dtype")

    _not_here = Settled._not_here | {
        "proj_size": "outputs are as wide as the state; put a Linear behind the layer",
    }

    def __init__(
        self, input_size, hidden_size, num_layers, directions, *, bias, dropout, dtype, seed
    ):
        self._input_size = checks.positive_int("input_size", input_size)
        self._hidden_size = checks.positive_int("hidden_size", hidden_size)
        self._num_layers = checks.positive_int("num_layers", num_layers)
        self._bias = checks.flag("bias", bias)
        self._dropout = dropout
        self._dtype = checks.float_dtype(dtype)
        self._option = (getattr(self, self._kind.option),) if self._kind.option else ()
        self._reverse = (False, True)[:directions]
        self._rng = checks.generator(seed)
        self._parameters = Parameters(self._parameter_shapes(), self.dtype)
        self._initialize()
        self._bind()

    def _repr(self, options, *sizes):
        """The call that makes such a layer, with sizes behind the usual two.

        ``options`` are those that aren't at their default.
        """
        kind = self._kind
        own = [f"num_layers={self.num_layers}"] * (self.num_layers > 1)
        own += [f"{kind.option}={value!r}" for value in self._option if value != kind.default]
        own += ["bias=False"] * (not self.bias)
        sizes = map(str, (self.input_size, self.hidden_size, *sizes))
        arguments = ", ".join([*sizes, *own, *options, f"dtype={self.dtype}"])
        return f"{type(self).__name__}({arguments})"

    # --- parameters -------------------------------------------------------------------------

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
        self._width = self.hidden_size * len(self._reverse)
        self._not_saved = [None] * len(self._kind.saved)
        self._pool = BufferPool(self.dtype)
        self._zeros = None

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

    def _only_option(self):
        return self._option[0] if self._option else None

    def _pack_weights(self):
        """For each layer its weights of now, as the kernels take them any number of times."""
        cell, option = self._kind.name, self._only_option()
        return [kernels().pack_weights(cell, option, own) for own in self._weights]

    def release(self) -> None:
        """Let go of the memory that is kept from call to call.

        A layer keeps the buffers of its last calls (at most two sets), since mapping memory in
        anew takes about as long as a pass over it.
        """
        self._pool = BufferPool(self.dtype)
        self._zeros = None

    # --- states -----------------------------------------------------------------------------

    def _read_states(self, name, value, shape, letters):
        """The state arrays of an argument that is not None, checked; zeros for None in a pair."""
        names = self._kind.states
        if len(names) == 1:
            if _is_pair_of_states(value, len(shape)):
                raise TypeError(
                    f"{name} must be one array {letters} = {shape}, got a pair; "
                    "(h, c) is the state of an LSTM alone"
                )
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
        return [np.zeros(shape, self._dtype) for _ in self._kind.states]

    def _initial_zeros(self, rows):
        """The states (L * D, B, H) of a call without any: kept for the next, never written to."""
        zeros = self._zeros
        if zeros is None or zeros[0].shape[1] != rows:
            shape = (self.num_layers * len(self._reverse), rows, self.hidden_size)
            zeros = self._zeros = self._zero_states(shape)
        return zeros

    @staticmethod
    def _hand_out(states, shaped):
        """The state as the user gets it, h alone or (h, c), each array shaped by a function."""
        if len(states) == 1:
            return shaped(states[0])
        return tuple([shaped(state) for state in states])

    # --- passes -----------------------------------------------------------------------------

    def _run(self, x, states, packing, buffers, lookup=None, *, training, cell=None):
        """From x (N, I) and states (L * D, B, H) to y (*lead, D * H), final states, and a tape.

        x is what ``packing.given`` gives.  With a lookup x are its ids, and its products take the
        place of the first layer's weights.  ``cell`` are the kernel and packed weights of a
        PackedLayer.  The tape is what a backward pass needs, None where none will run.
        """
        forward, weights = cell or (getattr(kernels(), self._kind.forward), self._weights)
        tokens, top, saved = packing.tokens, self._top, self._not_saved
        output = packing.result(buffers, "y", self._width, self._dtype)
        finals = copies(states)  # the quickest way to arrays of these shapes
        first, last = states, finals  # of a layer's tokens
        passes = []
        if lookup is not None:
            weights = [lookup.weights, *weights[1:]]
        for layer in range(top + 1):
            y = output
            if layer < top:
                # without a backward pass two arrays in turn are enough between the layers
                slot = layer if training else layer % 2
                y = buffers.get(("y", slot), (tokens, self._width))
            if training and saved:
                saved = self._arrays_to_save(buffers, layer, tokens)
            if top:
                first, last = self._of_layer(layer, states), self._of_layer(layer, finals)
            given = (x, *first, weights[layer], packing.offsets, self._reverse, *self._option)
            forward(*given, y, *last, *saved)
            x, kept = y, None
            if not training:
                continue
            if layer < top and self._dropout:
                x, kept = self._drop(y, buffers, layer)
            passes.append((given, y, saved, kept))
        tape = (packing, buffers, passes, lookup) if training else None
        return packing.scatter(output), finals, tape

    def _run_back(self, tape: Tape, dy, dstates, input_grad):
        """Turn ``dstates`` into the initial states' gradients and return dx (N, I) or None.

        Adds to the parameters' gradients: one backward pass at a time.
        """
        packing, buffers, passes, lookup = tape
        backward, dx = getattr(kernels(), self._kind.backward), None
        grads = self._grads
        if lookup is not None:
            grads = [lookup.gradients(grads[0]), *grads[1:]]
        elif input_grad:
            dx = packing.result(buffers, "dx", self._input_size, self._dtype)
        with self._parameters.grads_lock:
            for layer in range(len(passes) - 1, -1, -1):
                given, y, saved, kept = passes[layer]
                if kept is not None:
                    _scale_kept(dy, *kept)
                below = buffers.get(("dx", layer % 2), given[0].shape) if layer else dx
                own = self._of_layer(layer, dstates) if self._top else dstates
                backward(dy, *given, y, *saved, below, *own, grads[layer])
                dy = below
            if lookup is not None:
                lookup.add_to_weights(grads[0], self._grads[0])
        if lookup is not None and input_grad:
            dx = lookup.input_gradient(grads[0], self._weights[0])
        return dx

    def _of_layer(self, layer, states):
        """The part of each state (L * D, B, H) that belongs to a layer, (D, B, H)."""
        count = len(self._reverse)
        return [state[layer * count : (layer + 1) * count] for state in states]

    def _arrays_to_save(self, buffers, layer, tokens):
        """Buffers (D, N, width * H) for one layer's saved activations."""
        count, hidden = len(self._reverse), self._hidden_size
        return [
            buffers.get(("saved", layer, i), (count, tokens, width * hidden))
            for i, width in enumerate(self._kind.saved)
        ]

    def _drop(self, y, buffers, layer):
        """A copy of y with dropout, and how to do the same to its gradient."""
        dropped = buffers.get(("dropped", layer), y.shape)
        self._rng.random(out=dropped, dtype=self.dtype)
        kept = dropped >= self._dropout
        scale = 1 / (1 - self._dropout) if self._dropout < 1 else 0
        np.copyto(dropped, y)
        _scale_kept(dropped, kept, scale)
        return dropped, (kept, scale)


def _scale_kept(array, kept, scale):
    """Inverted dropout, in place: the expected value stays."""
    array *= kept
    array *= scale


def refuse_lengths(value):
    """Of a layer that takes lengths, too: raise where they are given in the state's place."""
    if _looks_like_lengths(value):
        raise TypeError(
            f"state must be what a call returned, got {len(value)} integers; "
            "lengths are given by name: lengths=..."
        )


def _looks_like_lengths(value):
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "iu"
    is_list = isinstance(value, (tuple, list)) and len(value) > 0
    return is_list and all(isinstance(v, (int, np.integer)) for v in value)


def _is_pair_of_states(value, ndim):
    """Whether it is what an LSTM takes; a list of a layer's states with fewer axes is an array."""
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and all(part is None or getattr(part, "ndim", 0) == ndim for part in value)
    )


def _describe(value):
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"an array {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
