"""Attention of many queries at once (contract: :mod:`fastseq._reference.attention`)."""

import numpy as np

from fastseq.jit.compiling import compiled
from fastseq.jit.softmax import _exps, _largest, _sum
from fastseq.jit.time_steps import add, read_only
from fastseq.jit.vector_math import ZERO, slope_of_tanh, tanh_of


@compiled
def _tanh_of_sum(query, key, out):
    for a in range(out.size):
        out[a] = tanh_of(query[a] + key[a])


@compiled
def _dot(x, y, product):
    """x . y, by way of the array ``product``."""
    for a in range(product.size):
        product[a] = x[a] * y[a]
    return _sum(product)


@compiled
def _add_scaled(factor, x, out):
    for a in range(out.size):
        out[a] += factor * x[a]


@compiled
def _softmax(scores, scratch):
    scratch[:] = scores
    top = _largest(scratch)
    _exps(scores, top, scores)
    scratch[:] = scores
    total = _sum(scratch)
    for s in range(scores.size):
        scores[s] /= total


@compiled
def _attend(query, keys, values, v, weights, context, product, scratch):
    """One query: its weights and context; v is empty for dot products."""
    for s in range(len(keys)):
        if v.size:
            _tanh_of_sum(query, keys[s], scratch)
            weights[s] = _dot(v, scratch, product)
        else:
            weights[s] = _dot(query, keys[s], product)
    if len(keys):
        _softmax(weights[: len(keys)], np.empty(len(keys), query.dtype))
    weights[len(keys) :] = ZERO
    context[:] = ZERO
    for s in range(len(keys)):
        _add_scaled(weights[s], values[s], context)


@compiled
def _forward(query, keys, values, v, sources, begins, weights, context):
    product, scratch = np.empty(keys.shape[1], keys.dtype), np.empty(keys.shape[1], keys.dtype)
    for n in range(len(sources)):
        begin, end = begins[sources[n]], begins[sources[n] + 1]
        own_keys, own_values = keys[begin:end], values[begin:end]
        _attend(query[n], own_keys, own_values, v, weights[n], context[n], product, scratch)


def attention_forward(query, keys, values, v, sources, source_offsets, weights, context):
    """weights = softmax of the scores, context = the weighted sum of the values."""
    _forward(*_read_only(query, keys, values, v, sources, source_offsets), weights, context)


def _read_only(query, keys, values, v, sources, source_offsets):
    v = np.empty(0, keys.dtype) if v is None else v
    return [read_only(a) for a in (query, keys, values, v, sources, source_offsets)]


@compiled
def _score_back(d, query, key, v, t, d_query, d_key, d_v):
    """What a score's gradient gives to all that it depends on; t = tanh(query + key)."""
    for a in range(t.size):
        g = d * v[a] * slope_of_tanh(t[a])
        d_query[a] += g
        d_key[a] += g
    _add_scaled(d, t, d_v)


@compiled
def _attend_back(
    d_context, d_scores, query, keys, values, v, weights, d_query, d_keys, d_values, d_v, scratch
):
    """One query's gradients; ``d_scores`` come in as those of the weights from elsewhere."""
    product, t = np.empty(values.shape[1], values.dtype), scratch
    for s in range(len(keys)):
        d_scores[s] += _dot(d_context, values[s], product)
        _add_scaled(weights[s], d_context, d_values[s])
    mean = ZERO
    for s in range(len(keys)):
        mean += weights[s] * d_scores[s]
    for s in range(len(keys)):
        d = weights[s] * (d_scores[s] - mean)
        if v.size:
            _tanh_of_sum(query, keys[s], t)
            _score_back(d, query, keys[s], v, t, d_query, d_keys[s], d_v)
        else:
            _add_scaled(d, keys[s], d_query)
            _add_scaled(d, query, d_keys[s])


@compiled
def _backward(
    d_context,
    d_weights,
    query,
    keys,
    values,
    v,
    sources,
    begins,
    weights,
    d_query,
    d_keys,
    d_values,
    d_v,
):
    scratch = np.empty(keys.shape[1], keys.dtype)
    d_scores = np.empty(weights.shape[1], weights.dtype)
    for n in range(len(sources)):
        begin, end = begins[sources[n]], begins[sources[n] + 1]
        d_scores[:] = ZERO
        if d_weights.size:
            add(d_scores, d_weights[n])
        d_query[n] = ZERO
        _attend_back(
            d_context[n],
            d_scores,
            query[n],
            keys[begin:end],
            values[begin:end],
            v,
            weights[n],
            d_query[n],
            d_keys[begin:end],
            d_values[begin:end],
            d_v,
            scratch,
        )


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
    """Gradients of :func:`attention_forward`."""
    if d_weights is None:
        d_weights = np.empty((0, 0), weights.dtype)
    d_v = np.empty(0, keys.dtype) if d_v is None else d_v
    given = _read_only(query, keys, values, v, sources, source_offsets)
    before = read_only(d_context), read_only(d_weights)
    _backward(*before, *given, read_only(weights), d_query, d_keys, d_values, d_v)
