"""Attention in plain NumPy: part of ``reference.py``, which offers these kernels.

Letters
-------
N queries, B sources, M positions of all sources together, S positions of the longest source,
A attention size, E memory size.

Layout
------
Sources lie one after the other without padding: the positions of source ``b`` are
``source_offsets[b]:source_offsets[b + 1]``.  A query says by ``sources`` which one it looks at,
so any number of queries share a source.

==============  ===============  ============================================================
query           (N, A)           what is looked for
keys            (M, A)           what each position offers, projected once
values          (M, E)           what a query gets from each position
v               (A,) or None     turns tanh(query + key) into a score; None: their dot product
sources         int64 (N,)       each query's source
source_offsets  int64 (B + 1,)
weights         (N, S)           softmax of the scores; 0 past the end of a source
context         (N, E)           values weighted by them; 0 for an empty source
==============  ===============  ============================================================
"""

import numpy as np

from fastseq.quiet import quiet


def _by_source(sources, source_offsets):
    """For each source in use (its queries in order, the slice of its positions, their number)."""
    for b in np.unique(sources):
        begin, end = source_offsets[b : b + 2].tolist()
        yield np.flatnonzero(sources == b), slice(begin, end), end - begin


def _softmax(scores):
    exps = np.exp(scores - scores.max(axis=1, keepdims=True, initial=-np.inf))
    return exps / exps.sum(axis=1, keepdims=True)


@quiet
def attention_forward(query, keys, values, v, sources, source_offsets, weights, context):
    """weights = softmax of the scores, context = the weighted sum of the values.

    A score is v . tanh(query + key) (Bahdanau et al., 2015) or, without v, query . key (Luong et
    al., 2015).  What goes into either one linearly is projected ahead.
    """
    weights[...] = context[...] = 0
    for rows, positions, count in _by_source(sources, source_offsets):
        if not count:
            continue
        if v is None:
            scores = query[rows] @ keys[positions].T
        else:
            scores = np.tanh(query[rows, None] + keys[positions]) @ v
        weights[rows, :count] = _softmax(scores)
        context[rows] = weights[rows, :count] @ values[positions]


@quiet
def attention_backward(
    d_context,
    d_weights,
    query,
    keys,
    values,
    v,
    sources,
    source_offsets,
    weights,
    d_query,
    d_keys,
    d_values,
    d_v,
):
    """Gradients of :func:`attention_forward`.

    ``d_weights`` may be None: what else than the context depends on the weights.  ``d_query`` is
    written; ``d_keys``, ``d_values`` and ``d_v`` (None without v) are accumulated.
    """
    d_query[...] = 0
    for rows, positions, count in _by_source(sources, source_offsets):
        if not count:
            continue
        w = weights[rows, :count]
        d_w = d_context[rows] @ values[positions].T
        if d_weights is not None:
            d_w += d_weights[rows, :count]
        d_values[positions] += w.T @ d_context[rows]
        d_scores = w * (d_w - (w * d_w).sum(axis=1, keepdims=True))
        if v is None:
            d_query[rows] = d_scores @ keys[positions]
            d_keys[positions] += d_scores.T @ query[rows]
            continue
        t = np.tanh(query[rows, None] + keys[positions])
        d_sum = d_scores[:, :, None] * v * (1 - t * t)
        d_query[rows] = d_sum.sum(axis=1)
        d_keys[positions] += d_sum.sum(axis=0)
        d_v += np.einsum("ns,nsa->a", d_scores, t)
