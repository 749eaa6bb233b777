"""Input products of a recurrent layer that are looked up, since many tokens share them.

With an embedding below the layer, x = table[ids], the product x W^T is (table W^T)[ids].  So each
row of the table that a batch uses is multiplied once, however many tokens have it: for characters,
a few dozen rows instead of thousands of tokens.  Backward likewise: the gates' gradients are
summed row by row first, and then multiplied.

Where a row of the batch reads the same vector beside x at each step, the product of that vector
is made once for the row.

V rows of the table, U of them in use, I input size, H hidden size, G gates, N tokens, B rows of
the batch, F the size of what is beside x.
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

    def input_gradient(self, gradients, weights):
        """... and to the embedding; there is no dx."""
        for (d_product, *_), (weight_ih, *_) in zip(gradients, weights, strict=True):
            d_rows = self._buffers.get("d rows", self._rows.shape)
            kernels().multiply_rows(d_product, weight_ih.T, None, d_rows)
            self._embedding.add_gradient(d_rows, self._used)


class Beside:
    """The products of x and of what is beside it: a vector for each row of the batch.

    [x; v] W^T = x W_x^T + v W_v^T: a token takes the sum of two rows of products, that of its x,
    which an embedding has made once for each of its rows in use, and that of its row's vector.

    Attributes
    ----------
    ids : ndarray of int64, (N, 2)
    weights : list
        As of :class:`Lookup`, of (U + B, G * H) products; U is N without an embedding.
    d_beside : ndarray (B, F)
        The gradient of the vectors, in the kernels' order of rows, once ``input_gradient`` has
        run.
    """

    def __init__(self, embedding, x, vectors, offsets, weights, buffers):
        self._embedding, self._buffers, self._used = embedding, buffers, None
        numbers = np.arange(len(x))
        if embedding is not None:
            table = embedding.parameters["weight"]
            self._used, numbers = _number_rows(x, len(table))
            x = table[self._used]
        self._x, self._vectors = x, vectors
        self.ids = np.stack([numbers, len(x) + _rows_of_tokens(offsets)], axis=1)
        self.weights = [(self._product(d, w[0]), *w[1:]) for d, w in enumerate(weights)]

    def _product(self, direction, weight_ih):
        shape = len(self._x) + len(self._vectors), len(weight_ih)
        out = self._buffers.get(("beside", direction), shape)
        for rows, products, weight in self._parts(out, weight_ih):
            kernels().multiply_rows(rows, weight, None, products)
        return out

    def _parts(self, products, weight_ih):
        """Rows, their products and their columns of the weights: of x, and of what is beside it."""
        count, size = self._x.shape
        return (
            (self._x, products[:count], weight_ih[:, :size]),
            (self._vectors, products[count:], weight_ih[:, size:]),
        )

    gradients = Lookup.gradients

    def add_to_weights(self, gradients, grads):
        """From the products to the layer's own ``weight_ih``."""
        for (d_product, *_), (d_weight_ih, *_) in zip(gradients, grads, strict=True):
            for rows, d_products, d_weight in self._parts(d_product, d_weight_ih):
                kernels().add_linear_gradients(d_products, rows, d_weight, None)

    def input_gradient(self, gradients, weights):
        """dx (N, I - F), or None where it went to the embedding."""
        dx, self.d_beside = totals = np.zeros_like(self._x), np.zeros_like(self._vectors)
        for (d_product, *_), (weight_ih, *_) in zip(gradients, weights, strict=True):
            parts = self._parts(d_product, weight_ih)
            for total, (_, d_products, weight) in zip(totals, parts, strict=True):
                kernels().multiply_rows(d_products, weight.T, None, total, True)
        if self._used is None:
            return dx
        self._embedding.add_gradient(dx, self._used)
        return None


def _rows_of_tokens(offsets):
    """For each token its row of the batch: those of a step are the first ones."""
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))


def _number_rows(ids, count):
    """The rows of a table of ``count`` that occur in ids, and for each id which of them it is."""
    occurs = np.zeros(count, bool)
    occurs[ids] = True
    numbers = np.cumsum(occurs)
    numbers -= 1
    return np.flatnonzero(occurs), numbers[ids]
