"""What tests of attention share: sources without padding, and kernel calls by name."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass
class Memory:
    """Queries and the sources they look at, named as in the kernels."""

    query: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    v: np.ndarray | None
    sources: np.ndarray
    source_offsets: np.ndarray

    def inputs(self):
        """Everything that has a gradient, by name."""
        named = {"query": self.query, "keys": self.keys, "values": self.values, "v": self.v}
        return {name: array for name, array in named.items() if array is not None}

    def arguments(self):
        return self.query, self.keys, self.values, self.v, self.sources, self.source_offsets

    @property
    def longest(self):
        return int(np.diff(self.source_offsets).max(initial=0))

    def of_queries(self, rows):
        """The same case with some of its queries."""
        return replace(self, query=self.query[rows].copy(), sources=self.sources[rows].copy())


def make_memory(lengths, queries, *, sizes=(3, 4), additive=True, dtype=np.float64, seed=0):
    """Random numbers everywhere; queries look at sources at random."""
    rng = np.random.default_rng(seed)
    size, memory_size = sizes
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    scale = dtype(1 if additive else size**-0.5)
    return Memory(
        normal(queries, size),
        normal(offsets[-1], size) * scale,
        normal(offsets[-1], memory_size),
        normal(size) if additive else None,
        rng.integers(len(lengths), size=queries) if queries else np.empty(0, np.int64),
        offsets,
    )


def attend(kernels, case, longest=None):
    """(weights, context); NaN stands wherever the kernel fails to write."""
    queries, longest = len(case.query), case.longest if longest is None else longest
    weights = np.full((queries, longest), np.nan, case.keys.dtype)
    context = np.full((queries, case.values.shape[1]), np.nan, case.keys.dtype)
    kernels.attention_forward(*case.arguments(), weights, context)
    return weights, context


def output_gradients(weights, context, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(a.shape).astype(a.dtype) for a in (weights, context)]


def attend_back(kernels, case, weights, d_weights, d_context, *, start=0.0):
    """Gradients by the names of ``case.inputs()``; what accumulates begins at ``start``."""
    grads = {name: np.full_like(array, start) for name, array in case.inputs().items()}
    grads["query"].fill(np.nan)
    kernels.attention_backward(
        d_context,
        d_weights,
        *case.arguments(),
        weights,
        *(grads.get(name) for name in ("query", "keys", "values", "v")),
    )
    return grads
