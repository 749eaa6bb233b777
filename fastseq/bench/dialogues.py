"""Updates of a dialogue model (HRED): ours, and two ways to write it in PyTorch.

The plain one is what one writes there: a loop over turns, each of which reads an utterance of all
dialogues that go on, takes a step of the context, and reads the answer with teacher forcing.  The
flat one reads all utterances at once, as ours does, and writes all answers at once.

K turns, B rows (dialogues), H of everything, V different words.  All data are made ready before,
and everyone begins with the same weights; an update is forward, backward, clipping and Adam.
"""

import numpy as np

from fastseq.bench.peers import check_equal

CELLS = ("gru", "lstm")
SHAPES = ((8, 16, 128), (8, 32, 256))
QUICK_SHAPES = ((3, 2, 16),)
VOCABULARIES = (1000, 10_000)
SHORTEST, LONGEST = 3, 20  # words of an utterance
BEGIN, END, UNKNOWN = 0, 1, 2
LR, MAX_NORM = 1e-3, 1.0


def make_batch(shape, vocabulary):
    """Dialogues of half as many turns up to all of them, and of utterances of random words."""
    from fastseq.models.dialogue_batches import DialogueBatches

    turns, rows, _ = shape
    rng = np.random.default_rng(0)

    def utterance():
        words = rng.integers(3, vocabulary, rng.integers(SHORTEST, LONGEST + 1))
        return np.array([BEGIN, *words, END])

    lengths = np.linspace(turns, (turns + 1) // 2, rows).astype(int)
    dialogues = [[utterance() for _ in range(length + 1)] for length in lengths]
    (batch,) = DialogueBatches(dialogues, batch_size=rows, shuffle=False)
    return batch


def make_network(cell, shape, vocabulary, dtype="float32"):
    """Ours."""
    from fastseq.models.dialogue_network import DialogueNetwork

    hidden = shape[2]
    special = {"begin_id": BEGIN, "end_id": END, "unknown_id": UNKNOWN}
    sizes = vocabulary, hidden, hidden, hidden
    return DialogueNetwork(*sizes, cell=cell, dtype=np.dtype(dtype), seed=0, **special)


def prepare(cell, shape, vocabulary, dtype="float32", threads=1, *, torch=True):
    """Competitor -> an update, after a check that all of them compute the same gradients."""
    import fastseq

    fastseq.set_num_threads(threads)
    batch, network = make_batch(shape, vocabulary), make_network(cell, shape, vocabulary, dtype)
    calls = {"fastseq": _our_update(network, batch)}
    if torch:
        twins = {name: make(network, cell, threads) for name, make in torch_twins().items()}
        check_twins(network, twins, batch)
        calls |= {name: twin.update_with(batch, LR, MAX_NORM) for name, twin in twins.items()}
    return calls


def _our_update(network, batch):
    from fastseq import Adam

    adam = Adam(network.parameters, lr=LR)

    def update():
        adam.zero_grad()
        loss = network.loss_and_grad(batch)
        adam.step(max_norm=MAX_NORM)
        return loss

    return update


def check_twins(network, twins, batch):
    """Raise unless all have the same loss and gradients; these are compared by our names."""
    network.parameters.zero_grad()
    expected = {"loss": np.array(network.loss_and_grad(batch)), **network.parameters.grads}
    for name, twin in twins.items():
        check_equal(name, twin.loss_and_grads(batch), expected, network.dtype)


def torch_twins():
    """Name -> a function of our network, the cell and the number of threads."""
    from fastseq.bench.torch_dialogues import FlatHRED, PlainHRED

    return {"torch": PlainHRED, "torch flat": FlatHRED}
