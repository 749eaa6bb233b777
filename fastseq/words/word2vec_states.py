"""Models of Word2Vec, and their training where it stopped, in safetensors files."""

from __future__ import annotations

import os

import numpy as np

from fastseq import checks
from fastseq._reference.word2vec import random_bits
from fastseq.checkpoint import load_checkpoint, remove_leftovers, save_checkpoint

KIND = "word2vec"  # of a model's file
RUN = "Word2Vec training"  # of a checkpoint's state
SETTINGS = (
    "vector_size",
    "window",
    "alpha",
    "min_alpha",
    "sample",
    "seed",
    "epochs",
    "sg",
    "hs",
    "negative",
    "ns_exponent",
    "cbow_mean",
    "shrink_windows",
    "compute_loss",
    "deterministic",
)


# --- models -------------------------------------------------------------------------------------


def settings_of(model):
    """What the vectors depend on, and the class is given to make the model again."""
    choice = {name: value for name, value in model._choice.items() if name != "trim_rule"}
    return {name: getattr(model, name) for name in SETTINGS} | choice


def state_of(model):
    """All that there is to know of a model, but for its corpus."""
    matrices = {"syn0": model._syn0, "syn1neg": model.syn1neg, "syn1": model.syn1}
    return {
        "settings": settings_of(model),
        "keys": model.wv.index_to_key,
        "counts": model._counts,
        "matrices": {
            name: np.ascontiguousarray(matrix)
            for name, matrix in matrices.items()
            if matrix is not None
        },
        "losses": model.losses,
        "epochs_trained": model.epochs_trained,
        "corpus": [model.corpus_count, model.corpus_total_words],
    }


def attributes_of(model):
    """Those of the words, their counts among them: what isn't in an array of numbers as a list."""
    held = model.wv.expandos.items()
    return {
        "attributes": {
            name: values.tolist() if values.dtype.kind == "O" else values for name, values in held
        }
    }


def load_attributes(model, state):
    """Give the words their attributes; there are none but counts in files of before."""
    for name, values in state.get("attributes", {}).items():
        if isinstance(values, list):
            values = np.fromiter(values, object, len(values))
        model.wv.expandos[name] = values


def load_state(model, state):
    """Bring a model that has its vocabulary to this state."""
    for name, matrix in state["matrices"].items():
        getattr(model, "_syn0" if name == "syn0" else name)[:] = matrix
    model.wv.vectors = model._syn0
    model.losses, model.epochs_trained = list(state["losses"]), state["epochs_trained"]
    model.corpus_count, model.corpus_total_words = state["corpus"]


# --- runs: calls of train -----------------------------------------------------------------------


def save_run(run):
    """Write where a run is; a warning where that can't be done."""
    state = {
        "kind": RUN,
        **state_of(run.model),
        "runs": list(run.model._runs.items()),
        "epoch": run.epoch,
        "chunk": run.chunk,
        "sums": run.sums,
        "first_epoch": run.first_epoch,
    }
    try:
        save_checkpoint(run.model.checkpoint, state)
    except OSError as error:  # no reason to lose what is being learned
        checks.warn(f"no checkpoint was written: {error}", RuntimeWarning)


def load_run(run):
    """Go on from the checkpoint if it is of this run; True if that has ended already."""
    model, path = run.model, run.model.checkpoint
    remove_leftovers(path)
    if not os.path.exists(path):
        return False
    state = load_checkpoint(path)
    if state.get("kind") != RUN:
        raise ValueError(f"{path}: expected a checkpoint of Word2Vec, got another state")
    if state["first_epoch"] < run.first_epoch:  # of a call before, which has ended
        return False
    is_later = state["first_epoch"] > run.first_epoch  # of a call to come, so this one had ended
    changed = _differences(run, state, is_later)
    if changed:
        raise ValueError(
            f"{path}: the checkpoint of another training, it differs in {', '.join(changed)}: "
            "go on with the same corpus and settings, or name another file"
        )
    if is_later:
        _take_later(run, state)
        return True
    load_state(model, state)
    run.epoch, run.chunk = state["epoch"], state["chunk"]
    run.sums = state["sums"].copy()
    return run.epoch >= run.epochs


def _differences(run, state, is_later):
    """What a run doesn't have in common with that of a checkpoint, or with one before that."""
    ours, keys = run.model._runs[run.first_epoch], run.model.wv.index_to_key
    theirs = dict(state["runs"]).get(run.first_epoch, {})
    changed = [name for name in ours if ours[name] != theirs.get(name)]
    # until then the vocabulary may have grown
    if keys != (state["keys"][: len(keys)] if is_later else state["keys"]):
        changed.append("vocabulary")
    return changed


def _take_later(run, state):
    """Vectors from the call to come, which will take the others, too, when it goes on."""
    model, matrices = run.model, state["matrices"]
    model._syn0[:] = matrices["syn0"][: len(model._syn0)]
    if model.syn1neg is not None:
        model.syn1neg[:] = matrices["syn1neg"][: len(model.syn1neg)]
    if model.syn1 is not None and model.syn1.shape == matrices["syn1"].shape:
        model.syn1[:] = matrices["syn1"]  # of a tree that has not been made anew since
    model.wv.vectors = model._syn0
    model.epochs_trained += run.epochs
    model.losses = list(state["losses"][: model.epochs_trained])


def description(run):
    """What a run must have in common with the one that wrote a checkpoint."""
    ids = run.corpus.ids
    return {
        **settings_of(run.model),
        "epochs": run.epochs,
        "alphas": list(run.alphas),
        "ids": len(ids),
        "sentences": len(run.corpus.offsets) - 1,
        "text": _fingerprint(ids),
    }


def _fingerprint(ids):
    """A number for the text, from at most a million of its words."""
    words = np.asarray(ids[:: max(1, len(ids) // 1_000_000)], np.uint64)
    places = np.arange(len(words), dtype=np.uint64) << np.uint64(32)
    return int(np.bitwise_xor.reduce(random_bits(0, places + words)))
