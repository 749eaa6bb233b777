"""The best continuations of each sentence's hypotheses (contract: :mod:`fastseq.reference`)."""

import numpy as np

from fastseq.jit.compiling import compiled
from fastseq.jit.softmax import softmax_cross_entropy_forward
from fastseq.jit.time_steps import read_only


@compiled
def _keep(found, gain, row, token, gains, rows, tokens):
    """Behind equal ones, which came first; when there are enough, the last one goes."""
    to = min(found, len(gains) - 1)
    while to > 0 and gains[to - 1] < gain:
        gains[to], rows[to], tokens[to] = gains[to - 1], rows[to - 1], tokens[to - 1]
        to -= 1
    gains[to], rows[to], tokens[to] = gain, row, token


@compiled
def _scan(logits, log_probs, offsets, barred, log_sums, gains, rows, tokens):
    kept = gains.shape[1]
    for n in range(len(offsets) - 1):
        found, least = 0, -np.inf
        for row in range(offsets[n], offsets[n + 1]):
            x, log_prob, log_sum = logits[row], log_probs[row], log_sums[row]
            for i in range(x.size):
                gain = min(np.float64(x[i]) - log_sum, 0.0) + log_prob
                if gain > least and not (barred.size and barred[i]):
                    _keep(found, gain, row, i, gains[n], rows[n], tokens[n])
                    found = min(found + 1, kept)
                    least = gains[n, kept - 1] if found == kept else -np.inf
        gains[n, found:], rows[n, found:], tokens[n, found:] = -np.inf, offsets[n], 0


def best_continuations(logits, log_probs, offsets, barred, log_sums, known, gains, rows, tokens):
    """Of each sentence the K continuations with the largest sums, falling, of all its rows."""
    if not known:
        elsewhere = np.full(len(logits), logits.shape[1])
        softmax_cross_entropy_forward(logits, elsewhere, log_sums, np.empty(len(logits)), None)
    barred = np.empty(0, np.uint8) if barred is None else barred
    arrays = (logits, log_probs, offsets, barred)
    _scan(*map(read_only, arrays), log_sums, gains, rows, tokens)
