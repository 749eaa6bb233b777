"""Functions of numbers and of rows that models need and NumPy doesn't have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.backend import kernels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def sigmoid(x: ArrayLike) -> np.ndarray:
    """The logistic function, 1 / (1 + exp(-x)), without overflow.

    Parameters
    ----------
    x : array of floats, any shape
        Other precisions than float32 become float64.

    Returns
    -------
    y : ndarray, the shape of x
        From 0 to 1, in float32 at most 4 units in the last place off; what is below the smallest
        normal number (x under -87.3 in float32, -708.3 in float64) may become 0.

    Raises
    ------
    TypeError
        If x doesn't hold floating-point numbers.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> fs.sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    x = checks.floats_of_any_precision("x", x)
    y = np.empty(x.shape, x.dtype)  # takes less time than empty_like
    if x.ndim == 1:
        kernels().sigmoid(x, y)
    else:
        kernels().sigmoid(x.reshape(-1), y.reshape(-1))
    return y


def log_sum_exp(logits):
    """log(sum(exp(logits))) of each row of (N, V), float64 (N,)."""
    rows, classes = logits.shape
    sums, unused = np.empty(rows), np.empty(rows)
    elsewhere = np.full(rows, classes, np.int64)  # no target is picked
    kernels().softmax_cross_entropy_forward(logits, elsewhere, sums, unused, None)
    return sums


def log_probs(logits, targets):
    """log(softmax(logits)[target]) of each row of (N, V), float64 (N,)."""
    log_sums, picked = np.empty(len(targets)), np.empty(len(targets))
    kernels().softmax_cross_entropy_forward(logits, targets, log_sums, picked, None)
    return picked - log_sums
