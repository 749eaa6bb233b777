"""Training over an embedding: products looked up, multiplied as any input, and PyTorch's."""

import numpy as np

import fastseq as fs

from .common import CELLS, require

STEPS, BATCH, HIDDEN = 100, 32, 256
VECTORS = [65, 1000, 33000]  # characters; subwords; words, of which a batch uses a part
COMPETITORS = ["looked up", "multiplied", "torch"]


def draw_ids(vectors):
    """As in texts: the n-th word comes about 1 / n as often as the first."""
    ids = np.random.default_rng(0).zipf(1.1, size=(STEPS, BATCH))
    return (ids - 1) % vectors


def prepare_fastseq(cell, vectors, looked_up):
    fs.set_num_threads(1)
    embedding = fs.Embedding(vectors, HIDDEN, seed=0)
    layer = {"lstm": fs.LSTM, "gru": fs.GRU, "rnn": fs.RNN}[cell](HIDDEN, HIDDEN, seed=1)
    ids = draw_ids(vectors)

    def call():
        if looked_up:
            y, _, backprop = layer.forward(ids, embedding=embedding)
            backprop(y)
        else:
            x, to_embedding = embedding.forward(ids)
            y, _, backprop = layer.forward(x)
            to_embedding(backprop(y)[0])

    return call


def prepare_torch(cell, vectors):
    torch = require("torch")
    torch.set_num_threads(1)
    embedding = torch.nn.Embedding(vectors, HIDDEN)
    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell](HIDDEN, HIDDEN)
    ids = torch.from_numpy(draw_ids(vectors))

    def call():
        y, _ = layer(embedding(ids))
        y.backward(y.detach())

    return call


class Training:
    params = (CELLS, VECTORS, COMPETITORS)
    param_names = ("cell", "vectors", "competitor")

    def setup(self, cell, vectors, competitor):
        if competitor == "torch":
            self.call = prepare_torch(cell, vectors)
        else:
            self.call = prepare_fastseq(cell, vectors, competitor == "looked up")
        self.call()

    def time_layer(self, cell, vectors, competitor):
        self.call()
