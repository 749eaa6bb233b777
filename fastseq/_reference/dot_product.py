"""Scaled dot-product attention in plain NumPy: part of ``reference.py``, which offers it.

Letters
-------
B rows with some heads each, T queries, S keys and values of a head, F and E their sizes.

===============  ================  ==========================================================
query, d_query   (B, heads, T, F)  these and the next may have any strides, but for the last
key, d_key       (B, heads, S, F)  axis, whose numbers lie side by side
value, d_value   (B, heads, S, E)
out, d_out       (B, heads, T, E)
key_lengths      int64 (B,)        how many keys a row has, or None: all S
causal           bool              whether query t sees keys 0 to t alone
log_sums         (B, heads, T)     float64; saved by forward
===============  ================  ==========================================================

Keys past a length may hold anything.  Gradients are written, not accumulated.
"""

import numpy as np

from fastseq.quiet import quiet

QUERIES_AT_ONCE = 256  # so that memory grows with the length, not with its square


def query_blocks(query, key, key_lengths):
    """(row, number of its keys, slice of queries) for all queries."""
    for row in range(len(query)):
        keys = key.shape[2] if key_lengths is None else int(key_lengths[row])
        for begin in range(0, query.shape[2], QUERIES_AT_ONCE):
            yield row, keys, slice(begin, begin + QUERIES_AT_ONCE)


def _scores(query, key, begin, causal, scale):
    """Scaled products (heads, queries, keys) of queries from ``begin`` on; -inf: not seen."""
    scores = query @ key.swapaxes(1, 2)
    scores *= scale
    if causal:
        times = np.arange(begin, begin + query.shape[1])
        scores[:, np.arange(key.shape[1]) > times[:, None]] = -np.inf
    return scores


@quiet
def scaled_dot_product_forward(query, key, value, key_lengths, causal, scale, out, log_sums):
    """out = softmax(scale * query @ key^T) @ value, and log(sum(exp(...))) of each query.

    A query without keys gets zeros, and -inf.
    """
    for row, keys, block in query_blocks(query, key, key_lengths):
        scores = _scores(query[row, :, block], key[row, :, :keys], block.start, causal, scale)
        top = scores.max(axis=2, keepdims=True, initial=-np.inf)
        top[np.isneginf(top)] = 0  # or -inf - -inf would be NaN
        with np.errstate(invalid="ignore", under="ignore"):
            np.exp(scores - top, out=scores)
        sums = scores.sum(axis=2, keepdims=True)
        with np.errstate(divide="ignore"):
            log_sums[row, :, block] = (top + np.log(sums, dtype=np.float64))[:, :, 0]
        sums[sums == 0] = 1
        out[row, :, block] = scores @ value[row, :, :keys] / sums


@quiet
def scaled_dot_product_backward(
    d_out, query, key, value, key_lengths, causal, scale, out, log_sums, d_query, d_key, d_value
):
    """Gradients of query, key and value; those of keys past a length are 0."""
    d_key[...] = 0
    d_value[...] = 0
    for row, keys, block in query_blocks(query, key, key_lengths):
        q, k, v = query[row, :, block], key[row, :, :keys], value[row, :, :keys]
        dy, log_sum = d_out[row, :, block], log_sums[row, :, block, None]
        weights = _scores(q, k, block.start, causal, scale)
        with np.errstate(invalid="ignore", under="ignore"):
            np.exp(
                weights - np.where(np.isneginf(log_sum), 0, log_sum),
                out=weights,
                casting="same_kind",
            )
        d_value[row, :, :keys] += weights.swapaxes(1, 2) @ dy
        d_scores = dy @ v.swapaxes(1, 2)
        d_scores -= (dy * out[row, :, block]).sum(axis=2, keepdims=True)  # softmax's own gradient
        d_scores *= weights
        d_scores *= scale
        d_query[row, :, block] = d_scores @ k
        d_key[row, :, :keys] += d_scores.swapaxes(1, 2) @ q
