"""Softmax cross-entropy over rows of logits (contract: :mod:`fastseq.reference`).

LLVM keeps the order of a sum, and so would not vectorise it.  Here a row of numbers is folded in
half again and again instead, which is also more exact.
"""

import numpy as np

from fastseq.jit.compiling import compiled
from fastseq.jit.time_steps import read_only
from fastseq.jit.vector_math import ZERO, exp_of


@compiled
def _largest(x):
    """Overwrites x."""
    while x.size > 1:
        half, rest = x.size // 2, x.size - x.size // 2
        for i in range(half):
            x[i] = x[i] if x[i] > x[rest + i] else x[rest + i]
        x = x[:rest]
    return x[0]


@compiled
def _sum(x):
    """Overwrites x."""
    while x.size > 1:
        half, rest = x.size // 2, x.size - x.size // 2
        for i in range(half):
            x[i] += x[rest + i]
        x = x[:rest]
    return x[0]


@compiled
def _exps(x, shift, out):
    for i in range(x.size):
        out[i] = exp_of(x[i] - shift)


@compiled
def _forward(logits, targets, log_sums, picked, totals, part):
    scratch = np.empty(logits.shape[1], logits.dtype)
    for n in range(len(targets)):
        if targets[n] < 0:
            continue
        x = logits[n]
        scratch[:] = x
        top = _largest(scratch)
        top = ZERO if top == -np.inf else top  # or -inf - -inf would be NaN
        _exps(x, top, scratch)
        log_sums[n] = np.float64(top) + np.log(np.float64(_sum(scratch)))
        if totals.size:
            for i in range(x.size):
                scratch[i] = part * x[i]
            totals[n] = np.float64(_sum(scratch)) / np.float64(part)
        if targets[n] < x.size:
            picked[n] = x[targets[n]]


def softmax_cross_entropy_forward(logits, targets, log_sums, picked, totals):
    """Of each row that counts log(sum(exp(logits))), its target's logit, and sum(logits)."""
    totals = np.empty(0) if totals is None else totals
    # sums of parts are finite where the numbers are huge; being a power of two it changes no bit
    part = logits.dtype.type(0.5 ** logits.shape[1].bit_length())
    _forward(read_only(logits), read_only(targets), log_sums, picked, totals, part)


@compiled
def _differentiate(x, high, low, scale, shift, d):
    for i in range(x.size):
        d[i] = scale * exp_of((x[i] - high) - low) - shift


@compiled
def _backward(logits, targets, highs, lows, factors, d_logits):
    scale, shift, at_target = factors
    for n in range(len(targets)):
        if targets[n] < 0:
            d_logits[n] = ZERO
            continue
        _differentiate(logits[n], highs[n], lows[n], scale, shift, d_logits[n])
        if targets[n] < logits.shape[1]:
            d_logits[n, targets[n]] -= at_target


def softmax_cross_entropy_backward(
    logits, targets, log_sums, scale, on_target, elsewhere, d_logits
):
    """d_logits = scale * (softmax(logits) - elsewhere), less scale * on_target at the target."""
    # In two parts, or rounding would cost a large log_sum's probabilities some digits.
    highs = log_sums.astype(logits.dtype)
    lows = (log_sums - highs).astype(logits.dtype)
    factors = np.array([scale, scale * elsewhere, scale * on_target], logits.dtype)
    _backward(read_only(logits), read_only(targets), highs, lows, factors, d_logits)
