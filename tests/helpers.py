"""What several test files share: packed batches, kernel calls by name, comparisons."""

import importlib
import itertools
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

BACKENDS = {
    "cython": "fastseq._kernels",
    "numba": "fastseq.jit",
    "numpy": "fastseq.reference",
}

SLOTS = {"rnn": 0, "lstm": 4, "gru": 4}  # saved slots for each token
GATES = {"rnn": 1, "lstm": 4, "gru": 3}  # blocks of rows in the weights

# cell and option, as the kernels take them
CELLS = [
    ("rnn", "tanh"),
    ("rnn", "relu"),
    ("rnn", "sigmoid"),
    ("lstm", None),
    ("gru", True),
    ("gru", False),
]
CELL_IDS = ["rnn-tanh", "rnn-relu", "rnn-sigmoid", "lstm", "gru-after", "gru-before"]

DIRECTIONS = [(False,), (True,), (False, True)]
DIRECTION_IDS = ["forward", "reverse", "both"]

LENGTHS = [(4, 4, 4), (5, 3, 3, 1, 0, 0), (1, 1, 1), (6,), (1,)]
LENGTH_IDS = ["dense", "ragged", "one-step", "one-row", "one-token"]

WEIGHT_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

# Differences that stem from rounding only, relative to the largest value.
TOLERANCE = {np.dtype(np.float32): 3e-6, np.dtype(np.float64): 1e-13}


def load_kernels(backend):
    """A backend's kernel module, or skip the test and say why."""
    try:
        return importlib.import_module(BACKENDS[backend])
    except ImportError as error:
        pytest.skip(f"the {backend} backend is not available: {error}")


def pack_offsets(lengths):
    """First token of each step, (T + 1,), for lengths in falling order."""
    lengths = np.asarray(lengths)
    rows = [np.count_nonzero(lengths > t) for t in range(lengths.max(initial=0))]
    return np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)


def row_tokens(offsets, row):
    """The packed positions of one row's tokens, in time order."""
    return [begin + row for begin, end in itertools.pairwise(offsets) if begin + row < end]


@dataclass
class Case:
    """One layer's inputs, named as in the kernels."""

    cell: str
    option: str | bool | None
    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray | None
    weights: list
    offsets: np.ndarray
    reverse: tuple

    def inputs(self):
        """Everything that has a gradient, by name."""
        named = {"h0": self.h0} if self.indices else {"x": self.x, "h0": self.h0}
        if self.cell == "lstm":
            named["c0"] = self.c0
        return named | name_weights(self.weights)

    @property
    def indices(self):
        """Whether x holds indices of rows of weight_ih instead of input tokens."""
        return self.x.dtype == np.int64

    def one_hot(self):
        """The same case without indices."""
        x = np.eye(len(self.weights[0][0]), dtype=self.h0.dtype)[self.x]
        x = x if self.x.ndim == 1 else x.sum(axis=1)
        weights = [(np.ascontiguousarray(w[0].T), *w[1:]) for w in self.weights]
        return replace(self, x=x, weights=weights)

    @property
    def options(self):
        return () if self.cell == "lstm" else (self.option,)


@dataclass
class Outputs:
    """What the forward kernels write."""

    y: np.ndarray
    h_n: np.ndarray
    c_n: np.ndarray | None
    gates: np.ndarray | None
    cells: np.ndarray | None


def name_weights(weights):
    return {
        f"{name}[{d}]": array
        for d, arrays in enumerate(weights)
        for name, array in zip(WEIGHT_NAMES, arrays, strict=True)
        if array is not None
    }


def make_case(
    cell,
    option,
    *,
    lengths,
    reverse=(False,),
    input_size=2,
    hidden_size=3,
    bias=True,
    dtype=np.float64,
    seed=0,
    indices=0,
):
    """A case with random numbers everywhere; weights get smaller as sizes grow.

    With ``indices`` there are ``input_size`` rows to look up, so many for each token.
    """
    rng = np.random.default_rng(seed)
    offsets = pack_offsets(lengths)
    rows, directions = GATES[cell] * hidden_size, len(reverse)

    def normal(*shape, scale=1.0):
        return (scale * rng.standard_normal(shape)).astype(dtype)

    weights = [
        (
            normal(*(input_size, rows) if indices else (rows, input_size), scale=input_size**-0.5),
            normal(rows, hidden_size, scale=hidden_size**-0.5),
            normal(rows, scale=0.5) if bias else None,
            normal(rows, scale=0.5) if bias else None,
        )
        for _ in reverse
    ]
    h0 = normal(directions, len(lengths), hidden_size)
    c0 = normal(directions, len(lengths), hidden_size) if cell == "lstm" else None
    tokens = offsets[-1]
    x = normal(tokens, input_size)
    if indices:
        x = rng.integers(input_size, size=tokens if indices == 1 else (tokens, indices))
    return Case(cell, option, x, h0, c0, weights, offsets, reverse)


def forward(kernels, case, *, training=True, x=None, y=None):
    """Run the forward kernel of the case's cell; NaN stands wherever it fails to write.

    ``x`` and ``y`` are padded batches instead of the case's tokens, and of those of the result.
    """
    directions, _, hidden = case.h0.shape
    tokens, dtype = len(case.x), case.h0.dtype

    def unset(*shape):
        return np.full(shape, np.nan, dtype)

    out = Outputs(unset(tokens, directions * hidden), unset(*case.h0.shape), None, None, None)
    if training and SLOTS[case.cell]:
        out.gates = unset(directions, tokens, SLOTS[case.cell] * hidden)
    tail = [out.y if y is None else y, out.h_n]
    states = [case.h0]
    if case.cell == "lstm":
        out.c_n = unset(*case.h0.shape)
        out.cells = unset(directions, tokens, hidden) if training else None
        states, tail = [case.h0, case.c0], [*tail, out.c_n, out.gates, out.cells]
    elif case.cell == "gru":
        tail.append(out.gates)
    kernel = getattr(kernels, f"{case.cell}_forward")
    x = case.x if x is None else x
    kernel(x, *states, case.weights, case.offsets, case.reverse, *case.options, *tail)
    return out


def to_padded(tokens, offsets, order, *, batch_first=False, more_steps=2):
    """A padded batch (T or more, B, F) with these tokens, and NaN everywhere else."""
    lead = (len(offsets) - 1 + more_steps, len(order))
    padded = np.full((*(lead[::-1] if batch_first else lead), tokens.shape[1]), np.nan)
    padded = padded.astype(tokens.dtype)
    if batch_first:
        padded = padded.swapaxes(0, 1)
    for t, (begin, end) in enumerate(itertools.pairwise(offsets)):
        padded[t, order[: end - begin]] = tokens[begin:end]
    return padded


def output_gradients(case, seed=1):
    """Random dy, dh_n and dc_n (None but for the LSTM)."""
    rng = np.random.default_rng(seed)
    directions, _, hidden = case.h0.shape
    dtype = case.h0.dtype
    dy = rng.standard_normal((len(case.x), directions * hidden)).astype(dtype)
    dh = rng.standard_normal(case.h0.shape).astype(dtype)
    dc = rng.standard_normal(case.h0.shape).astype(dtype) if case.cell == "lstm" else None
    return dy, dh, dc


def backward(kernels, case, out, d_out, *, start=0.0, need_dx=True):
    """Gradients by the names of ``case.inputs()``; weights' gradients begin at ``start``.

    ``out`` (from :func:`forward`) is left as it is, though the kernels overwrite ``gates``.
    """
    dy, dh, dc = (None if a is None else a.copy() for a in d_out)
    kept = [out.y] if out.gates is None else [out.y, out.gates.copy()]
    need_dx = need_dx and not case.indices
    dx = np.full_like(case.x, np.nan) if need_dx else None
    grads = [
        tuple(None if w is None else np.full_like(w, start) for w in arrays)
        for arrays in case.weights
    ]
    states, d_states = [case.h0], [dh]
    if case.cell == "lstm":
        states, d_states = [case.h0, case.c0], [dh, dc]
        kept.append(out.cells)
    kernel = getattr(kernels, f"{case.cell}_backward")
    head = (dy, case.x, *states, case.weights, case.offsets, case.reverse, *case.options)
    kernel(*head, *kept, dx, *d_states, grads)
    named = {"h0": dh} | name_weights(grads)
    if need_dx:
        named["x"] = dx
    if case.cell == "lstm":
        named["c0"] = dc
    return named


def flatten(results):
    """The arrays in nested tuples, in order."""
    if not isinstance(results, tuple):
        return [results]
    return list(itertools.chain.from_iterable(map(flatten, results)))


def assert_identical(actual, expected, *, name=""):
    """The same arrays bit for bit, in nested tuples."""
    for a, e in zip(flatten(actual), flatten(expected), strict=True):
        np.testing.assert_array_equal(a, e, err_msg=name, strict=True)


def assert_close(actual, expected, tolerance=None, *, name=""):
    """The same arrays in nested tuples, up to rounding or a given tolerance.

    Tolerances are relative to an array's largest value, or to 1 where that is larger: sums may
    cancel out.
    """
    for a, e in zip(flatten(actual), flatten(expected), strict=True):
        assert a.shape == e.shape and a.dtype == e.dtype, name
        limit = (tolerance or TOLERANCE[e.dtype]) * max(1.0, np.abs(e).max(initial=0))
        worst = np.abs(a - e).max(initial=0)
        assert worst <= limit, f"{name} differs by {worst:.3g}, allowed is {limit:.3g}"


def assert_same_outputs(actual, expected, compare=assert_close):
    for name in ("y", "h_n", "c_n"):
        if getattr(expected, name) is not None:
            compare(getattr(actual, name), getattr(expected, name), name=name)


def assert_same_gradients(actual, expected, compare=assert_close):
    assert actual.keys() == expected.keys()
    for name in expected:
        compare(actual[name], expected[name], name=name)


def central_differences(loss, array, step):
    """The gradient of ``loss()`` with respect to the array that it reads, in the array's dtype."""
    gradient = np.empty_like(array)
    for i in np.ndindex(array.shape):
        value = array[i]
        array[i] = value + step
        above = loss()
        array[i] = value - step
        below = loss()
        array[i] = value
        gradient[i] = (above - below) / (2 * step)
    return gradient


def raises(error, *parts):
    """Expect an error whose message has all these parts, in order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, parts)))


def shared_data(*parts):
    """A real data set's file beside the repository, or skip the test and say so."""
    path = Path(__file__).parents[1].joinpath("..", "shared", "data", *parts).resolve()
    if not path.exists():
        pytest.skip(f"real data are not at {path}")
    return path


def run_python(code, **environment):
    """Run code in a fresh interpreter outside any source tree; its finished process.

    -P because ``-c`` would look for packages in the current folder first.
    """
    variables = {k: v for k, v in os.environ.items() if not k.startswith("FASTSEQ_")}
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        env=variables | {"PYTHONWARNINGS": "default"} | environment,
        cwd=tempfile.gettempdir(),
        timeout=120,
        check=False,
    )


# Forks while another thread trains a layer, which ``model`` makes; in the child ``holds`` must be
# true.  For an interpreter of its own; the child has an alarm set: a hang fails.
FORK_INSIDE_BACKWARD = """
import os, signal, threading
import numpy as np
import fastseq as fs
from fastseq import backend

{model}
x = np.ones((5, 2, 3), np.float32)

def train():
    y, _, backprop = layer.forward(x)
    return backprop(y)[0]

def wait_inside(*arguments):
    inside.set()
    go_on.wait()
    kernel(*arguments)

expected = train()
inside, go_on = threading.Event(), threading.Event()
kernel = backend.kernels().lstm_backward
backend.kernels().lstm_backward = wait_inside
worker = threading.Thread(target=train)
worker.start()
inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(20)
    backend.kernels().lstm_backward = kernel
    os._exit(not ({holds}) or not np.array_equal(train(), expected))
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
go_on.set()
worker.join()
print("the child left with", status)
"""
