"""An embedding below a recurrent layer: input products are looked up, not multiplied.

With x = table[ids] the input's product x W^T is (table W^T)[ids].  So each row of the table that
a batch uses is multiplied once, however many tokens have it: for characters, a few dozen rows
instead of thousands of tokens.  Backward likewise: the gates' gradients are summed row by row
first, and then multiplied.

V rows of the table, U of them in use, I input size, H hidden size, G gates, N tokens.
"""

from __future__ import annotations

import numpy as np

from fastseq.backend import kernels


class Lookup:
    """The products of an embedding's rows with the input weights of a layer's directions.

    Attributes
    ----------
    ids : ndarray of int64, (N,)
        Which row of ``weights`` each token takes.
    weights : list
        As the kernels take them, one tuple a direction, with the rows' products (U, G * H) in
        the place of ``weight_ih``.
    """

    def __init__(self, embedding, ids, weights, buffers):
        table = embedding.parameters["weight"]
        self._embedding = embedding
        self._used, self.ids = _number_rows(ids, len(table))
        self._rows = table[self._used]
        self._buffers = buffers
        self.weights = [(self._product(d, w[0]), *w[1:]) for d, w in enumerate(weights)]

    def _product(self, direction, weight_ih):
        out = self._buffers.get(("looked up", direction), (len(self._rows), len(weight_ih)))
        # not BLAS: a row's product must not depend on what other rows a batch uses
        kernels().multiply_rows(self._rows, weight_ih, None, out)
        return out

    def gradients(self, grads):
        """Like ``weights``, for the backward kernels: zeros for those of the rows' products."""
        shape = self.weights[0][0].shape
        arrays = [self._buffers.get(("d looked up", d), shape) for d in range(len(grads))]
        for array in arrays:
            array.fill(0)
        return [(array, *g[1:]) for array, g in zip(arrays, grads, strict=True)]

    def add_to_weights(self, gradients, grads):
        """From the rows' products to the layer's own ``weight_ih``."""
        for (d_product, *_), (d_weight_ih, *_) in zip(gradients, grads, strict=True):
            kernels().add_linear_gradients(d_product, self._rows, d_weight_ih, None)

    def add_to_table(self, gradients, weights):
        """... and to the embedding."""
        for (d_product, *_), (weight_ih, *_) in zip(gradients, weights, strict=True):
            d_rows = self._buffers.get("d rows", self._rows.shape)
            kernels().multiply_rows(d_product, weight_ih.T, None, d_rows)
            self._embedding.add_gradient(d_rows, self._used)


def _number_rows(ids, count):
    """The rows of a table of ``count`` that occur in ids, and for each id which of them it is."""
    occurs = np.zeros(count, bool)
    occurs[ids] = True
    numbers = np.cumsum(occurs)
    numbers -= 1
    return np.flatnonzero(occurs), numbers[ids]
