"""What tests of decoders' kernels share: cases, and kernel calls by name."""

from dataclasses import dataclass, replace

import numpy as np
from helpers import GATES, SLOTS, WEIGHT_NAMES, pack_offsets

# cell and option, as the kernels take them
CELLS = {"lstm": ("lstm", None), "gru": ("gru", True), "gru-before": ("gru", False)}
# (has v, has a query weight)
SCORES = {"additive": (True, True), "dot": (False, False), "projected": (False, True)}
SCORES["tanh"] = (True, False)
QUERIES = ("previous", "current")


@dataclass
class Case:
    """A decoder's inputs, named as in the kernels."""

    cell: str
    option: bool | None
    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray | None
    fed0: np.ndarray | None
    weights: tuple
    keys: np.ndarray
    values: np.ndarray
    v: np.ndarray | None
    sources: np.ndarray
    source_offsets: np.ndarray
    query_weight: np.ndarray | None
    output: tuple | None
    offsets: np.ndarray

    def inputs(self):
        """Everything that has a gradient, by name."""
        named = {name: getattr(self, name) for name in ("x", "h0", "c0", "fed0", "keys", "values")}
        named |= {"v": self.v, "query_weight": self.query_weight}
        named |= dict(zip(WEIGHT_NAMES, self.weights, strict=True))
        if self.output is not None:
            named |= {"output_weight": self.output[0], "output_bias": self.output[1]}
        return {name: array for name, array in named.items() if array is not None}

    @property
    def fed_size(self):
        return self.values.shape[1] if self.fed0 is None else self.fed0.shape[1]

    def arguments(self, out):
        """What both kernels take, with what the way forward writes."""
        return (
            self.cell,
            self.option,
            out["inputs"],
            (self.h0, self.c0, self.fed0),
            self.weights,
            (self.keys, self.values, self.v, self.source_offsets, self.query_weight),
            self.sources,
            self.output,
            self.offsets,
            tuple(out[name] for name in RESULTS),
        )


def make_case(
    cell="lstm",
    score="additive",
    query="previous",
    *,
    lengths=(3, 2, 2, 0),
    source_lengths=(4, 1, 0, 3),
    sizes=(2, 3, 4, 5),
    bias=True,
    dtype=np.float64,
    seed=0,
):
    """Random numbers everywhere; ``sizes`` are I, H, E, A.  Rows look at sources from the last."""
    rng = np.random.default_rng(seed)
    cell, option = CELLS[cell]
    has_v, has_query_weight = SCORES[score]
    input_size, hidden, memory_size, size = sizes
    size = size if has_query_weight else hidden
    fed = hidden if query == "current" else memory_size
    gates, rows = GATES[cell] * hidden, len(lengths)
    offsets, positions = pack_offsets(lengths), sum(source_lengths)

    def normal(*shape, scale=1.0):
        return (scale * rng.standard_normal(shape)).astype(dtype)

    wide = input_size + fed
    weights = (
        normal(gates, wide, scale=wide**-0.5),
        normal(gates, hidden, scale=hidden**-0.5),
        normal(gates, scale=0.5) if bias else None,
        normal(gates, scale=0.5) if bias else None,
    )
    output = None
    if query == "current":
        both = memory_size + hidden
        output = normal(fed, both, scale=both**-0.5), normal(fed) if bias else None
    return Case(
        cell,
        option,
        normal(offsets[-1], input_size),
        normal(rows, hidden),
        normal(rows, hidden) if cell == "lstm" else None,
        normal(rows, fed) if query == "current" else None,
        weights,
        normal(positions, size, scale=1 if has_v else size**-0.5),
        normal(positions, memory_size),
        normal(size) if has_v else None,
        np.arange(rows)[::-1].copy(),
        np.concatenate([[0], np.cumsum(source_lengths)]).astype(np.int64),
        normal(size, hidden, scale=hidden**-0.5) if has_query_weight else None,
        output,
        offsets,
    )


RESULTS, FINALS, SAVED = (
    ("attended", "alignments", "y"),
    ("h_n", "c_n"),
    ("queries", "gates", "cells"),
)
OUTPUTS = RESULTS + FINALS


def forward(kernels, case, *, training=True, longest=None):
    """All that the kernel writes, by name; NaN stands wherever it fails to."""
    (tokens, input_size), (rows, hidden) = case.x.shape, case.h0.shape
    longest = int(np.diff(case.source_offsets).max(initial=0)) if longest is None else longest

    def unset(*shape):
        return np.full(shape, np.nan, case.x.dtype)

    out = {
        "inputs": unset(tokens, input_size + case.fed_size),
        "attended": unset(tokens, case.values.shape[1] + hidden),
        "alignments": unset(tokens, longest),
        "y": None if case.fed0 is None else unset(tokens, case.fed_size),
        "h_n": unset(rows, hidden),
        "c_n": None if case.c0 is None else unset(rows, hidden),
        "queries": None,
        "gates": unset(tokens, SLOTS[case.cell] * hidden) if training else None,
        "cells": unset(tokens, hidden) if training and case.c0 is not None else None,
    }
    out["inputs"][:, :input_size] = case.x
    if training and case.query_weight is not None:
        out["queries"] = unset(tokens, len(case.query_weight))
    run(kernels, case, out)
    return out


def run(kernels, case, out):
    finals, saved = (tuple(out[name] for name in names) for names in (FINALS, SAVED))
    kernels.decoder_forward(*case.arguments(out), finals, saved)


def output_gradients(out, seed=1):
    """For what a loss may depend on, by name."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.standard_normal(out[name].shape).astype(out[name].dtype)
        for name in OUTPUTS
        if out[name] is not None
    }


def backward(kernels, case, out, heads, *, start=0.0, need_dx=True):
    """Gradients by the names of ``case.inputs()``; what accumulates begins at ``start``."""
    grads = {name: np.full_like(array, start) for name, array in case.inputs().items()}
    heads = {name: array.copy() for name, array in heads.items()}
    d_queries = None if out["queries"] is None else np.full_like(out["queries"], np.nan)
    grads["h0"], grads["x"] = heads["h_n"], np.full_like(case.x, np.nan) if need_dx else None
    if case.c0 is not None:
        grads["c0"] = heads["c_n"]
    if case.fed0 is not None:
        grads["fed0"] = np.full_like(case.fed0, np.nan)
    kernels.decoder_backward(
        (heads["attended"], heads.get("alignments"), heads.get("y")),
        *case.arguments(out),
        (out["queries"], out["gates"].copy(), out["cells"]),
        grads.get("x"),
        tuple(grads.get(name) for name in ("h0", "c0", "fed0")),
        d_queries,
        tuple(grads.get(name) for name in ("keys", "values", "v")),
        tuple(grads.get(name) for name in WEIGHT_NAMES),
    )
    if case.output is not None:  # what the kernel leaves to its caller
        grads["output_weight"] += heads["y"].T @ out["attended"]
        if case.output[1] is not None:
            grads["output_bias"] += heads["y"].sum(axis=0)
    if case.query_weight is not None:
        states = states_that_asked(case, out)
        grads["query_weight"] += d_queries.T @ states
    return {name: array for name, array in grads.items() if array is not None}


def states_that_asked(case, out):
    """For each token the state from which its query came."""
    h = out["attended"][:, case.values.shape[1] :]
    if case.fed0 is not None:
        return h
    begins = case.offsets.tolist()
    before = [case.h0[: begins[1]]] if len(begins) > 1 else [case.h0[:0]]
    for t in range(1, len(begins) - 1):
        before.append(h[begins[t - 1] :][: begins[t + 1] - begins[t]])
    return np.concatenate(before)


def row_of(case, row, lengths):
    """One row by itself, with its source."""
    tokens = [case.offsets[t] + row for t in range(lengths[row])]
    source = case.sources[row]
    begin, end = case.source_offsets[source : source + 2]

    def own(array, rows):
        return None if array is None else array[rows].copy()

    return replace(
        case,
        x=own(case.x, tokens),
        h0=own(case.h0, [row]),
        c0=own(case.c0, [row]),
        fed0=own(case.fed0, [row]),
        keys=own(case.keys, slice(begin, end)),
        values=own(case.values, slice(begin, end)),
        sources=np.array([0]),
        source_offsets=np.array([0, end - begin]),
        offsets=np.arange(lengths[row] + 1),
    ), tokens
