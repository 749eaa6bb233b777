"""An embedding below a recurrent layer: input products are looked up, not multiplied.

With x = table[ids] the input's product x W^T is (table W^T)[ids].  So each row of the table that
a batch uses is multiplied once, however many tokens have it: for characters, a few dozen rows
instead of thousands of tokens.  Backward likewise: the gates' gradients are summed row by row
first, and then multiplied.

V rows of the table in use, I input size, H hidden size, G gates, N tokens.
"""

from __future__ import annotations

import numpy as np


class Lookup:
    """The products of an embedding's rows with the input weights of a layer's directions.

    Attributes
    ----------
    ids : ndarray of int64, (N,)
        Which row of ``weights`` each token takes.
    weights : list
        As the kernels take them, one tuple a direction, with the rows' products (V, G * H) in
        the place of ``weight_ih``.
    """

    def __init__(self, embedding, ids, weights, buffers):
        self._embedding = embedding
        self._used, self._rows, self.ids = None, embedding.parameters["weight"], ids
        if len(self._rows) > ids.size:
            self._used, self.ids = np.unique(ids, return_inverse=True)
            self._rows = self._rows[self._used]
        self._buffers = buffers
        self.weights = [(self._product(d, w[0]), *w[1:]) for d, w in enumerate(weights)]

    def _product(self, direction, weight_ih):
        out = self._buffers.get(("looked up", direction), (len(self._rows), len(weight_ih)))
        return np.matmul(self._rows, weight_ih.T, out=out)

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
            d_weight_ih += d_product.T @ self._rows

    def add_to_table(self, gradients, weights):
        """... and to the embedding."""
        pairs = zip(gradients, weights, strict=True)
        d_rows = sum(d_product @ weight_ih for (d_product, *_), (weight_ih, *_) in pairs)
        self._embedding._add_gradient(d_rows, self._used)
