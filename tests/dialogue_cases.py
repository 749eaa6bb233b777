"""What the tests of dialogue models share."""

import numpy as np

from fastseq.models.dialogue_batches import DialogueBatches
from fastseq.models.dialogue_network import DialogueNetwork
from fastseq.models.latent_dialogue_network import LatentDialogueNetwork

BEGIN, END, UNKNOWN = 0, 1, 2
TOKENS = 8

KINDS = {
    "gru": {},
    "lstm": {"cell": "lstm"},
    "rnn": {"cell": "rnn"},
    "one direction": {"bidirectional": False},
    "deep": {"num_layers": 2},
    "deep lstm": {"num_layers": 2, "cell": "lstm", "bidirectional": False},
    "tied": {"tie_weights": True},
    "last": {"context": False},
    "last lstm": {"context": False, "cell": "lstm", "num_layers": 2},
    "last one direction": {"context": False, "bidirectional": False},
    "general": {"attention": "general"},
    "additive": {"attention": "additive", "cell": "lstm", "num_layers": 2, "tie_weights": True},
    "concat": {"attention": "concat"},
    "dot": {"attention": "dot", "context_size": 4},
    "noise": {"num_layers": 2, "dropout": 0.3, "word_dropout": 0.3, "label_smoothing": 0.1},
}

LATENT = {
    "latent gru": {},
    "latent lstm": {"cell": "lstm", "num_layers": 2},
    "latent rnn": {"cell": "rnn", "bidirectional": False},
    "latent general": {"attention": "general"},
    "latent additive": {"attention": "additive", "cell": "lstm", "tie_weights": True},
    "latent bag": {"bag_of_words": 0.5},
    "latent noise": {
        "num_layers": 2,
        "dropout": 0.3,
        "word_dropout": 0.3,
        "label_smoothing": 0.1,
        "bag_of_words": 0.5,
    },
}
KINDS |= LATENT
PLAIN = [name for name in KINDS if "noise" not in name]


def make_network(name="gru", dtype=np.float64, seed=0, **options):
    sizes = {"embedding_dim": 4, "hidden_size": 4, "context_size": 3}
    special = {"begin_id": BEGIN, "end_id": END, "unknown_id": UNKNOWN}
    kind = DialogueNetwork
    if name in LATENT:
        kind, sizes["latent_size"] = LatentDialogueNetwork, 3
    settings = {"n_tokens": TOKENS} | sizes | special | KINDS[name] | options
    network = kind(**settings, dtype=dtype, seed=seed)
    network.parameters.flat[:] *= 2  # so that no gradient is small
    return network


def make_dialogues(seed=0, turns=(1, 4, 6, 2, 3), longest=3):
    """Dialogues of so many utterances of 0, 1, ... words, from BEGIN to END."""
    rng = np.random.default_rng(seed)

    def utter():
        words = rng.integers(UNKNOWN, TOKENS, rng.integers(0, longest + 1))
        return np.array([BEGIN, *words, END])

    return [[utter() for _ in range(count)] for count in turns]


def make_batches(dialogues=None, **options):
    dialogues = make_dialogues() if dialogues is None else dialogues
    usual = {
        "batch_size": 8,
        "shuffle": False,
        "read_answers": options.get("answers", "") is not None,
    }
    return DialogueBatches(dialogues, **usual | options)


def measure(network, batches):
    """The logarithms of the probabilities of all answers, by dialogue and place."""
    carried, found = None, {}
    for batch in batches:
        heard, carried = network.hear(batch, carried)
        turns, rows = batch.answered
        values = network.log_prob(heard, batch)
        for turn, row, value in zip(turns + batch.begin, batch.rows[rows], values, strict=True):
            found[int(row), int(turn) + 1] = value
    return found
