"""Which of many vectors have the largest cosine with a few others.

Q queries, N vectors, D numbers in each.
"""

import numpy as np

SCORES_AT_ONCE = 1 << 22  # 16 MB of float32


def unit(vector):
    """A vector (D,) divided by its norm; zeros stay."""
    vector, _ = scaled(vector)
    norm = np.linalg.norm(vector)
    return vector / norm if norm else vector


def scaled(vectors):
    """Vectors (..., D) divided by 2^e, so that no square is too large or small, and the e (...).

    The largest number of each is then from 0.5 to 1; dividing by powers of 2 rounds nothing.
    """
    _, exponents = np.frexp(np.abs(vectors).max(axis=-1, initial=0))
    return np.ldexp(vectors, -exponents[..., None]), exponents


def safe_norms(norms):
    """Norms to divide by: a vector of zeros is similar to nothing."""
    return np.where(norms == 0, 1, norms)


def scores_in_blocks(queries, vectors, norms):
    """Blocks of cosines (q, N) with vectors whose norms (N,) are known, for queries of length 1.

    Yields each block with the number of its first query.
    """
    norms = safe_norms(norms)
    size = max(1, SCORES_AT_ONCE // max(1, len(vectors)))
    for first in range(0, len(queries), size):
        scores = queries[first : first + size] @ vectors.T
        scores /= norms
        yield first, scores


def best(scores, count):
    """The places of the largest scores (N,) in falling order; equal ones by their place."""
    if 0 < count < len(scores):
        least = np.partition(scores, -count)[-count]
        places = np.flatnonzero(scores >= least)
    else:
        places = np.arange(len(scores))
    return places[np.argsort(-scores[places], kind="stable")][:count]
