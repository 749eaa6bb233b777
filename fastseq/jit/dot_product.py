"""Scaled dot-product attention (contract: :mod:`fastseq._reference.dot_product`).

Products go through ``np.matmul``, one block of queries with all keys at a time; what lies between
them is compiled.
"""

import numpy as np

from fastseq._reference.dot_product import query_blocks
from fastseq.jit.compiling import compiled
from fastseq.jit.softmax import _largest, _sum
from fastseq.jit.time_steps import read_only
from fastseq.jit.vector_math import ONE, ZERO, exp_of
from fastseq.quiet import quiet


@compiled
def _seen(row, keys, begin, causal):
    """How many keys a query sees."""
    return min(keys, begin + row + 1) if causal else keys


@compiled
def _exps(x, scale, shift):
    for i in range(x.size):
        x[i] = exp_of(x[i] * scale - shift)


@compiled
def _weigh(scores, begin, causal, scale, log_sums):
    """Products (heads, queries, keys) to weights; what is not seen weighs nothing."""
    heads, rows, keys = scores.shape
    scratch = np.empty(keys, scores.dtype)
    for head in range(heads):
        for row in range(rows):
            seen = _seen(row, keys, begin, causal)
            scores[head, row, seen:] = ZERO
            if seen == 0:
                log_sums[head, row] = -np.inf
                continue
            x, copy = scores[head, row, :seen], scratch[:seen]
            copy[:] = x
            top = _largest(copy) * scale
            top = ZERO if top == -np.inf else top  # or -inf - -inf would be NaN
            _exps(x, scale, top)
            copy[:] = x
            total = _sum(copy)
            log_sums[head, row] = np.float64(top) + np.log(np.float64(total))
            factor = ZERO if total == ZERO else ONE / total
            for i in range(seen):
                x[i] *= factor


@quiet
def scaled_dot_product_forward(query, key, value, key_lengths, causal, scale, out, log_sums):
    """out = softmax(scale * query @ key^T) @ value, and log(sum(exp(...))) of each query."""
    for row, keys, block in query_blocks(query, key, key_lengths):
        weights = query[row, :, block] @ key[row, :, :keys].swapaxes(1, 2)
        _weigh(weights, block.start, causal, query.dtype.type(scale), log_sums[row, :, block])
        out[row, :, block] = weights @ value[row, :, :keys]


@compiled
def _differentiate(x, high, low, scale, delta, d):
    for i in range(x.size):
        x[i] = exp_of((x[i] * scale - high) - low)
        d[i] = x[i] * (d[i] - delta) * scale


@compiled
def _weigh_back(scores, d, begin, causal, scale, highs, lows, deltas):
    heads, rows, keys = scores.shape
    for head in range(heads):
        for row in range(rows):
            seen = _seen(row, keys, begin, causal)
            scores[head, row, seen:] = ZERO
            d[head, row, seen:] = ZERO
            _differentiate(
                scores[head, row, :seen],
                highs[head, row],
                lows[head, row],
                scale,
                deltas[head, row],
                d[head, row, :seen],
            )


@quiet
def scaled_dot_product_backward(
    d_out, query, key, value, key_lengths, causal, scale, out, log_sums, d_query, d_key, d_value
):
    """Gradients of query, key and value; those of keys past a length are 0."""
    dtype = query.dtype
    # In two parts, or rounding would cost a large log_sum's weights some digits.
    log_sums = np.where(np.isneginf(log_sums), 0, log_sums)
    highs = log_sums.astype(dtype)
    lows = (log_sums - highs).astype(dtype)
    deltas = (d_out * out).sum(axis=3)
    d_key[...] = 0
    d_value[...] = 0
    for row, keys, block in query_blocks(query, key, key_lengths):
        q, k, v = query[row, :, block], key[row, :, :keys], value[row, :, :keys]
        dy, own = d_out[row, :, block], (row, slice(None), block)
        weights, d_scores = q @ k.swapaxes(1, 2), dy @ v.swapaxes(1, 2)
        saved = (read_only(a[own]) for a in (highs, lows, deltas))
        _weigh_back(weights, d_scores, block.start, causal, dtype.type(scale), *saved)
        d_value[row, :, :keys] += weights.swapaxes(1, 2) @ dy
        d_query[own] = d_scores @ k
        d_key[row, :, :keys] += d_scores.swapaxes(1, 2) @ q
