"""Estimators in files: settings, what was learned from the data, and a network's parameters.

In the safetensors file the network's parameters have PyTorch's names; a name with a slash is
another array of the estimator: ``learned/x_mean_``, ``history/loss``.  All else is metadata, the
states of random generators among it: training that goes on draws what it would have drawn.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checkpoint, tensor_files
from fastseq.data.subwords import Subwords
from fastseq.data.vocabulary import Vocabulary
from fastseq.training.history import History
from fastseq.words import word2vec_states
from fastseq.words.keyed_vectors import KeyedVectors
from fastseq.words.word2vec import Word2Vec

if TYPE_CHECKING:
    from fastseq.models.estimator import Estimator

KIND = "estimator"
KINDS: dict[str, type[Estimator]] = {}  # by class_name; estimators enter themselves


def class_name(cls: type[Estimator]) -> str:
    """What a class is called in files: those of others by their module, too."""
    is_ours = cls.__module__.startswith("fastseq.models.")
    return cls.__name__ if is_ours else f"{cls.__module__}.{cls.__qualname__}"


def load(path: str | os.PathLike) -> Estimator | Word2Vec:
    """The estimator in a file, whichever it is; or the Word2Vec model.

    Parameters
    ----------
    path : str or path
        What ``save`` of an estimator wrote, or that of ``Word2Vec``.

    Returns
    -------
    estimator : SequenceTagger, SequenceClassifier, ..., Word2Vec
        Of the class that the file names.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it holds something else, is truncated or corrupted; the message names the file.
    ImportError
        If safetensors is missing.

    Examples
    --------
    >>> import os, tempfile, fastseq as fs
    >>> tagger = fs.SequenceTagger(epochs=1, random_state=0)
    >>> tagger = tagger.fit([["so", "it", "goes"]], [["ADV", "PRON", "VERB"]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "tagger.safetensors")
    ...     tagger.save(path)
    ...     again = fs.load(path)
    >>> type(again).__name__, again.classes_.tolist()
    ('SequenceTagger', ['ADV', 'PRON', 'VERB'])
    """
    file = tensor_files.read(path)
    if file.kind == word2vec_states.KIND:
        return Word2Vec._from_state(checkpoint.state_in(file))
    return _read(path, file, None)


def write(estimator: Estimator, path: str | os.PathLike) -> None:
    """Write a fitted estimator; see ``Estimator.save``."""
    arrays = dict(estimator.network_.parameters)
    learned = {}
    for name in estimator.learned:
        learned[name] = _pack(f"learned/{name}", getattr(estimator, name), arrays)
    history = {
        name: _pack(f"history/{name}", value, arrays)
        for name, value in estimator.history_.state_dict().items()
    }
    metadata = {
        "class": class_name(type(estimator)),
        "settings": {n: plain_setting(value) for n, value in estimator.get_params().items()},
        "learned": learned,
        "history": history,
        "random_state": estimator.network_.random_state,
    }
    tensor_files.write(path, KIND, arrays, metadata)


def read(path: str | os.PathLike, cls: type[Estimator] | None = None) -> Estimator:
    """The estimator in a file; if a class is given it must be of this one."""
    return _read(path, tensor_files.read(path), cls)


def _read(path, file, cls):
    if file.kind != KIND:
        raise ValueError(
            f"{path}: holds {checkpoint.describe_kind(file.kind)}, not "
            f"{checkpoint.describe_kind(KIND)}"
        )
    name = file.metadata["class"]
    known = KINDS.get(name)
    # a class that is given needs no import that makes it known, nor its module's name of then
    if known is None and cls is not None and name.rpartition(".")[2] == cls.__name__:
        known = cls
    if known is None:
        raise ValueError(
            f"{path}: holds a {name}, which fastseq has no class for; import the module that "
            "defines it, or install the fastseq that wrote the file"
        )
    if cls is not None and not issubclass(known, cls):
        raise ValueError(
            f"{path}: holds a {name}, not a {class_name(cls)}; fastseq.load(path) takes any"
        )
    try:
        return _restore(path, known, file)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: holds a {name} of fastseq {file.version} that this one can't read: {error}"
        ) from error


def _restore(path, cls, file):
    arrays, metadata = file.arrays, file.metadata
    settings = metadata["settings"]
    estimator = cls(**{name: _tuples(value) for name, value in settings.items()})
    for name, value in cls._unlearned.items():
        setattr(estimator, name, value)
    for name, value in metadata["learned"].items():
        setattr(estimator, name, _unpack(value, arrays))
    network = estimator.make_network(0)
    parameters = {name: array for name, array in arrays.items() if "/" not in name}
    checkpoint.check_fits(path, type(network).__name__, parameters, network)
    network.load_state_dict(parameters)
    _load_random_state(path, network, metadata.get("random_state"))
    estimator.network_ = network
    estimator.fitted_settings_ = estimator._network_settings()
    estimator.history_ = History()
    history = {name: _unpack(value, arrays) for name, value in metadata["history"].items()}
    estimator.history_.load_state_dict(history)
    return estimator


def _load_random_state(path, network, state):
    if state is None:  # files once were without
        return
    try:
        network.random_state = state
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def plain_setting(value):
    """A setting as a file holds it, and gives it back: dtypes by name, arrays as tuples.

    Vectors that the training began with are left out: what came of them is in the parameters.
    """
    if isinstance(value, KeyedVectors):
        return None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    return _tuples(value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value)


def _tuples(value):
    """A setting from JSON, which has no tuples; those are what settings usually are."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _pack(name, value, arrays) -> Any:
    """A value for the metadata, or what says where it is; arrays of numbers go to ``arrays``."""
    if isinstance(value, Subwords):
        return {"subwords": value.to_json()}
    if isinstance(value, Vocabulary):
        return {"vocabulary": value.to_json()}
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        return {"strings": value.tolist(), "objects": value.dtype.kind == "O"}
    if isinstance(value, np.ndarray):
        arrays[name] = value
        return {"array": name}
    return {"value": value}


def _unpack(packed, arrays):
    ((form, value), *options) = packed.items()
    if form == "vocabulary":
        return Vocabulary.from_json(value)
    if form == "subwords":
        return Subwords.from_json(value)
    if form == "strings":
        return np.array(value, object if dict(options)["objects"] else str)
    return arrays[value] if form == "array" else value
