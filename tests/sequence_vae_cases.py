"""What the tests of the autoencoder for sequences share."""

import numpy as np

import fastseq as fs
from fastseq.models.sequence_vae_network import SequenceVAENetwork

BEGIN, END, UNKNOWN, TOKENS, Z = 0, 1, 2, 8, 3

KINDS = {
    "lstm": {},
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn"},
    "one direction": {"bidirectional": False},
    "deep": {"num_layers": 2, "cell": "gru"},
    "deep lstm": {"num_layers": 2},
    "tied": {"tie_weights": True},
    "bag": {"bag_of_words": 0.6},
    "noise": {
        "num_layers": 2,
        "dropout": 0.3,
        "word_dropout": 0.3,
        "bag_of_words": 0.5,
        "tie_weights": True,
    },
}


def make_network(name="lstm", dtype=np.float64, seed=0, **options):
    settings = {"n_tokens": TOKENS, "embedding_dim": 4, "hidden_size": 4, "latent_size": Z}
    special = {"begin_id": BEGIN, "end_id": END, "unknown_id": UNKNOWN}
    network = SequenceVAENetwork(
        **(settings | special | KINDS[name] | options), dtype=dtype, seed=seed
    )
    network.parameters.flat[:] *= 2  # so that no gradient is small
    return network


def make_batch(seed=0, rows=4, longest=5, texts=None):
    """Texts that end with END, and the same from BEGIN on; one of them has no words."""
    rng = np.random.default_rng(seed)
    if texts is None:
        texts = [
            rng.integers(3, TOKENS, size).tolist() for size in rng.integers(1, longest + 1, rows)
        ]
        texts[0] = []
    read = [[*text, END] for text in texts]
    written = [[BEGIN, *text, END] for text in texts]
    options = {"target_kind": "sequences", "batch_size": len(texts), "shuffle": False}
    (batch,) = fs.Batches(read, written, bucket=False, **options)
    return batch
