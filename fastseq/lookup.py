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
    """The products of all tokens where each row has a vector beside its x.

    They lie in the place of ``weight_ih``, one for each token: [x; v] W^T = x W_x^T + v W_v^T,
    of which the second part is made once for a row, and the first by an embedding once for each
    of its rows in use.

    Attributes
    ----------
    ids, weights
        As of :class:`Lookup`.
    d_beside : ndarray (B, F)
        The gradient of the vectors, in the kernels' order of rows, once ``input_gradient`` has
        run.
    """

    def __init__(self, embedding, x, vectors, offsets, weights, buffers):
        self._embedding, self._vectors, self._offsets = embedding, vectors, offsets
        self._x, self._buffers, self.ids = x, buffers, np.arange(len(x))
        self._used = None
        if embedding is not None:
            table = embedding.parameters["weight"]
            self._used, self._numbers = _number_rows(x, len(table))
            self._x = table[self._used]
        self._split = [self._parts(w[0]) for w in weights]
        self.weights = [(self._product(d), *w[1:]) for d, w in enumerate(weights)]

    def _parts(self, weight_ih):
        """W_x and W_v."""
        size = weight_ih.shape[1] - self._vectors.shape[1]
        return tuple(map(np.ascontiguousarray, np.split(weight_ih, [size], axis=1)))

    def _steps(self):
        """The tokens of each step, whose rows are the first ones."""
        return zip(self._offsets[:-1].tolist(), self._offsets[1:].tolist(), strict=True)

    def _product(self, direction):
        w_x, w_v = self._split[direction]
        out = self._buffers.get(("beside", direction), (len(self.ids), len(w_x)))
        if self._used is None:
            kernels().multiply_rows(self._x, w_x, None, out)
        else:
            known = np.empty((len(self._x), len(w_x)), out.dtype)
            kernels().multiply_rows(self._x, w_x, None, known)
            np.take(known, self._numbers, axis=0, out=out, mode="clip")
        own = np.empty((len(self._vectors), len(w_v)), out.dtype)
        kernels().multiply_rows(self._vectors, w_v, None, own)
        for begin, end in self._steps():
            out[begin:end] += own[: end - begin]
        return out

    def gradients(self, grads):
        """As of :class:`Lookup`."""
        arrays = [
            self._buffers.get(("d beside", d), w[0].shape) for d, w in enumerate(self.weights)
        ]
        for array in arrays:
            array.fill(0)
        return [(array, *g[1:]) for array, g in zip(arrays, grads, strict=True)]

    def add_to_weights(self, gradients, grads):
        """From the tokens' products to the layer's own ``weight_ih``."""
        self._sums = [self._sum(d_product) for d_product, *_ in gradients]
        for (d_x, d_v), (w_x, w_v), (d_weight_ih, *_) in zip(
            self._sums, self._split, grads, strict=True
        ):
            d_wx, d_wv = np.zeros_like(w_x), np.zeros_like(w_v)
            kernels().add_linear_gradients(d_x, self._x, d_wx, None)
            kernels().add_linear_gradients(d_v, self._vectors, d_wv, None)
            d_weight_ih += np.concatenate([d_wx, d_wv], axis=1)

    def _sum(self, d_product):
        """The gradients of x's and of the vectors' products."""
        d_v = np.zeros((len(self._vectors), d_product.shape[1]), d_product.dtype)
        for begin, end in self._steps():
            d_v[: end - begin] += d_product[begin:end]
        if self._used is None:
            return d_product, d_v
        d_x = np.zeros((len(self._used), d_product.shape[1]), d_product.dtype)
        kernels().add_rows(d_product, self._numbers, d_x)
        return d_x, d_v

    def input_gradient(self, gradients, weights):
        """dx (N, I - F), or None where it went to the embedding."""
        dx, self.d_beside = np.zeros_like(self._x), np.zeros_like(self._vectors)
        for (d_x, d_v), (w_x, w_v) in zip(self._sums, self._split, strict=True):
            for d_product, weight, total in ((d_x, w_x, dx), (d_v, w_v, self.d_beside)):
                own = np.empty_like(total)
                kernels().multiply_rows(d_product, weight.T, None, own)
                total += own
        if self._used is None:
            return dx
        self._embedding.add_gradient(dx, self._used)
        return None


def _number_rows(ids, count):
    """The rows of a table of ``count`` that occur in ids, and for each id which of them it is."""
    occurs = np.zeros(count, bool)
    occurs[ids] = True
    numbers = np.cumsum(occurs)
    numbers -= 1
    return np.flatnonzero(occurs), numbers[ids]
