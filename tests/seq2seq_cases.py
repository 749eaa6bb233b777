"""What the tests of sequence-to-sequence models share."""

import numpy as np

import fastseq as fs
from fastseq.models.seq2seq_network import Seq2SeqNetwork

BEGIN, END, UNKNOWN = 0, 1, 2
SOURCES, TARGETS = 9, 8

KINDS = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn"},
    "one direction": {"bidirectional": False},
    "deep": {"num_layers": 2, "cell": "gru"},
    "deep lstm": {"num_layers": 2},
    "deep one direction": {"num_layers": 2, "bidirectional": False},
    "tied": {"tie_weights": True},
    "one table": {"shared_embedding": True, "n_target": SOURCES, "tie_weights": True},
    "general": {"attention": "general"},
    "fed": {"attention": "general", "input_feeding": True},
    "additive": {"attention": "additive", "cell": "gru", "num_layers": 2, "tie_weights": True},
    "deep concat": {"attention": "concat", "num_layers": 2, "attention_size": 3},
    "dot": {"attention": "dot", "bidirectional": False},
    "noise": {
        "attention": "general",
        "num_layers": 3,
        "dropout": 0.3,
        "word_dropout": 0.3,
        "label_smoothing": 0.1,
        "tie_weights": True,
    },
}


def make_network(name="lstm", dtype=np.float64, seed=0, **options):
    sizes = {"n_source": SOURCES, "n_target": TARGETS, "embedding_dim": 4, "hidden_size": 4}
    special = {"begin_id": BEGIN, "end_id": END, "unknown_id": UNKNOWN}
    settings = sizes | special | KINDS[name] | options
    network = Seq2SeqNetwork(**settings, dtype=dtype, seed=seed)
    network.parameters.flat[:] *= 2  # so that no gradient is small
    return network


def make_batch(seed=0, rows=4, longest=5, same_length=False):
    """Sources that end with END; targets that begin with BEGIN and end with END."""
    rng = np.random.default_rng(seed)

    def write(size):
        return rng.integers(3, TARGETS, longest if same_length else size).tolist()

    sources = [[*write(size), END] for size in rng.integers(0, longest + 1, rows)]
    targets = [[BEGIN, *write(size), END] for size in rng.integers(0, longest + 1, rows)]
    (batch,) = fs.Batches(sources, targets, target_kind="sequences", batch_size=rows, seed=0)
    return batch


def row_of(batch, row):
    """A batch of one of the rows, without padding."""
    size = len(batch.targets) if batch.mask is None else int(batch.mask[:, row].sum())
    own = slice(row, row + 1)
    x = batch.x[: batch.lengths[row], own]
    return fs.Batch(x, batch.lengths[own], batch.targets[:size, own])
