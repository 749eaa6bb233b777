"""Input products of a recurrent layer that are looked up, since many tokens share them.

With an embedding below the layer, x = table[ids], the product x W^T is (table W^T)[ids].  So each
row of the table that a batch uses is multiplied once, however many tokens have it: for characters,
a few dozen rows instead of thousands of tokens.  Backward likewise: the gates' gradients are
summed row by row first, and then multiplied.

Where a row of the batch reads the same vector beside x at each step, the product of that vector
is made once for the row.

V rows of the table, U of them in use (N without an embedding), I input size, H hidden size, G
gates, N tokens, B rows of the batch, F the size of what is beside x.
"""

from __future__ import annotations

import numpy as np

from fastseq.backend import kernels
from fastseq.packing import rows_of_tokens


class Lookup:
    """Products with the input weights of a layer's directions, of which each token takes a row.

    With vectors beside x, [x; v] W^T = x W_x^T + v W_v^T, it takes the sum of two: that of its x,
    and that of its row's vector.

    Parameters
    ----------
    embedding : Embedding or None
        Whose rows x are indices of.
    x : ndarray, (N,) or (N, I - F)
    beside : ndarray, (B, F), or None
    offsets : ndarray of int64, (T + 1,)
    weights : list
        As the kernels take them, one tuple a direction.
    buffers : Buffers

    Attributes
    ----------
    ids : ndarray of int64, (N,), or (N, 2) with vectors beside x
        The rows of the products that each token takes.
    weights : list
        As given, with the products (U, G * H), or (U + B, G * H), in the place of ``weight_ih``.
    d_beside : ndarray (B, F), or None
        The gradient of the vectors, in the kernels' order of rows, once ``input_gradient`` has
        run.
    """

    def __init__(self, embedding, x, beside, offsets, weights, buffers):
        self._embedding, self._buffers, self._used = embedding, buffers, None
        self.ids, self.d_beside = np.arange(len(x), dtype=np.int64), None
        if embedding is not None:
            table = embedding.parameters["weight"]
            self._used, self.ids = _number_rows(x, len(table))
            x = table[self._used]
        self._factors = [x] if beside is None else [x, beside]
        if beside is not None:
            self.ids = np.stack([self.ids, len(x) + rows_of_tokens(offsets)], axis=1)
        self.weights = [(self._product(d, w[0]), *w[1:]) for d, w in enumerate(weights)]

    @property
    def has_beside(self):
        """Whether there are vectors beside x."""
        return len(self._factors) == 2

    def _product(self, direction, weight_ih):
        rows = sum(map(len, self._factors))
        out = self._buffers.get(("looked up", direction), (rows, len(weight_ih)))
        for factor, products, weight in self._parts(out, weight_ih):
            # not BLAS: a row's product must not depend on what other rows a batch uses
            kernels().multiply_rows(factor, weight, None, products)
        return out

    def _parts(self, products, weight_ih):
        """Of x, and of what is beside it: rows, their products, their columns of the weights."""
        row = column = 0
        for factor in self._factors:
            rows, size = factor.shape
            yield factor, products[row : row + rows], weight_ih[:, column : column + size]
            row, column = row + rows, column + size

    def gradients(self, grads):
        """Like ``weights``, for the backward kernels: zeros for those of the products."""
        shape = self.weights[0][0].shape
        arrays = [self._buffers.get(("d looked up", d), shape) for d in range(len(grads))]
        for array in arrays:
            array.fill(0)
        return [(array, *g[1:]) for array, g in zip(arrays, grads, strict=True)]

    def add_to_weights(self, gradients, grads):
        """From the products to the layer's own ``weight_ih``."""
        for (d_product, *_), (d_weight_ih, *_) in zip(gradients, grads, strict=True):
            for factor, d_products, d_weight in self._parts(d_product, d_weight_ih):
                kernels().add_linear_gradients(d_products, factor, d_weight, None)

    def input_gradient(self, gradients, weights):
        """dx (N, I - F), or None where it went to the embedding."""
        totals = [np.zeros_like(factor) for factor in self._factors]
        for (d_product, *_), (weight_ih, *_) in zip(gradients, weights, strict=True):
            parts = self._parts(d_product, weight_ih)
            for total, (_, d_products, weight) in zip(totals, parts, strict=True):
                kernels().multiply_rows(d_products, weight.T, None, total, True)
        dx, self.d_beside = (*totals, None)[:2]
        if self._used is None:
            return dx
        self._embedding.add_gradient(dx, self._used)
        return None


def _number_rows(ids, count):
    """The rows of a table of ``count`` that occur in ids, and for each id which of them it is."""
    occurs = np.zeros(count, bool)
    occurs[ids] = True
    numbers = np.cumsum(occurs, dtype=np.int64)
    numbers -= 1
    return np.flatnonzero(occurs), numbers[ids]
