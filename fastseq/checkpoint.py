"""Models and states of training runs in files, never as pickles.

A state is a tree of dicts, lists and tuples with arrays, numbers and strings in it.  In a file
its arrays lie side by side, named by the way that leads to them, and the rest is JSON.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastseq import tensor_files
from fastseq.module import Module

ARRAY, TUPLE = "__array__", "__tuple__"  # what stands in JSON for what it lacks


class SavedModel(NamedTuple):
    """What :func:`read_model` returns.

    Attributes
    ----------
    path : str
    class_name : str
        Of the model.
    settings : dict or None
        What its constructor was given.
    parameters : dict
        Name to array.
    version : str
        Of the fastseq that wrote the file.
    """

    path: str
    class_name: str
    settings: dict[str, Any] | None
    parameters: dict[str, np.ndarray]
    version: str

    def load_into(self, model: Module) -> None:
        """Copy the parameters into a model that is there, all of them or none.

        Raises
        ------
        ValueError
            If the file was made for another model: names, shapes or the dtype differ.
        """
        check_fits(self.path, self.class_name, self.parameters, model)
        model.load_state_dict(self.parameters)


def save_model(
    model: Module, path: str | os.PathLike, *, settings: Mapping[str, Any] | None = None
) -> None:
    """Write a model's parameters into a safetensors file, under PyTorch's names.

    The file is written atomically: whatever happens, it holds its old content or the new one.

    Parameters
    ----------
    model : Module
        A layer or model.
    path : str or path
        An existing file is replaced.
    settings : mapping, optional
        The constructor's arguments by name, so that :func:`load_model` can make the model
        again: strings, numbers, None, and lists and dicts of these.

    Raises
    ------
    TypeError
        If it is no model, or the settings hold something else.
    OSError
        If the file can't be written, as on a full disk.  The old one is as it was.
    ImportError
        If safetensors is missing.

    Examples
    --------
    >>> import os, tempfile, fastseq as fs
    >>> sizes = {"input_size": 3, "hidden_size": 4}
    >>> gru = fs.GRU(**sizes, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "gru.safetensors")
    ...     fs.save_model(gru, path, settings=sizes)
    ...     copy = fs.load_model(path, fs.GRU, fs.LSTM)  # whichever is in it
    >>> copy
    GRU(3, 4, dtype=float32)
    >>> bool((copy.parameters.flat == gru.parameters.flat).all())
    True
    """
    _check_model(model)
    if settings is not None and not isinstance(settings, Mapping):
        raise TypeError(f"settings must be a mapping, got {type(settings).__name__}")
    metadata = {
        "class": type(model).__name__,
        "settings": tensor_files.plain("settings", settings),
        "names": list(model.parameters),  # in the model's order, which safetensors doesn't keep
    }
    tensor_files.write(path, "model", model.parameters, metadata)


def read_model(path: str | os.PathLike) -> SavedModel:
    """Read and verify what :func:`save_model` has written, without making a model of it.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    saved : SavedModel
        With ``class_name``, ``settings``, ``parameters`` and ``load_into(model)``.

    Raises
    ------
    ValueError
        If it is no file of a model, is truncated or corrupted, or has a format that is newer
        than this version.
    OSError
        If it can't be read.
    ImportError
        If safetensors is missing.

    Examples
    --------
    >>> import os, tempfile, fastseq as fs
    >>> rnn = fs.RNN(2, 3, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "rnn.safetensors")
    ...     fs.save_model(rnn, path)
    ...     saved = fs.read_model(path)
    >>> saved.class_name, saved.settings, list(saved.parameters)[:1]
    ('RNN', None, ['weight_ih_l0'])
    >>> saved.load_into(fs.RNN(2, 3))
    >>> saved.load_into(fs.RNN(2, 4))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: .../rnn.safetensors: made for another model: weight_ih_l0 is (3, 2) ...
    """
    file = _read(path, "model")
    class_name, settings = file.metadata["class"], file.metadata["settings"]
    parameters = {name: file.arrays[name] for name in file.metadata["names"]}
    return SavedModel(os.fspath(path), class_name, settings, parameters, file.version)


def load_model(path: str | os.PathLike, *classes: Callable[..., Module]) -> Module:
    """Make the model that :func:`save_model` has written together with its settings.

    Nothing but the classes given here is ever called, whatever the file says.

    Parameters
    ----------
    path : str or path
    *classes : type
        Which the model may be of.

    Returns
    -------
    model : Module
        Of the class that the file names.

    Raises
    ------
    ValueError
        As :func:`read_model`; and if the model is of another class, the file has no settings,
        or the class can't be made from them.
    OSError
        If the file can't be read.
    ImportError
        If safetensors is missing.

    Examples
    --------
    >>> import os, tempfile, fastseq as fs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "linear.safetensors")
    ...     sizes = {"in_features": 2, "out_features": 1}
    ...     fs.save_model(fs.Linear(**sizes), path, settings=sizes)
    ...     fs.load_model(path, fs.Linear)
    Linear(2, 1, dtype=float32)
    """
    if not classes:
        raise TypeError("classes must be given, as in load_model(path, fs.GRU)")
    saved = read_model(path)
    make = {kind.__name__: kind for kind in classes}.get(saved.class_name)
    if make is None:
        names = " or ".join(kind.__name__ for kind in classes)
        is_class = all(isinstance(kind, type) for kind in classes)
        hint = "" if is_class else "; give the class, or a function that has its name"
        raise ValueError(f"{path}: holds a {saved.class_name}, but {names} was expected{hint}")
    if saved.settings is None:
        raise ValueError(
            f"{path}: was saved without settings: make the model, then "
            "read_model(path).load_into(model)"
        )
    try:
        model = make(**saved.settings)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: a {saved.class_name} can't be made from the settings in it: {error}"
        ) from error
    saved.load_into(model)
    return model


def _check_model(model):
    if not isinstance(model, Module):
        raise TypeError(f"model must be a Module, got {type(model).__name__}")


def check_fits(path, class_name, arrays, model):
    """Raise unless these arrays are a model's parameters: in names, shapes and dtype."""
    ours, theirs = _forms(model.parameters), _forms(arrays)
    if ours == theirs:
        return
    parts = [
        f"{len(names)} names {what}, such as {names[0]}"
        for what, names in (
            ("are missing", [name for name in ours if name not in theirs]),
            ("are unexpected", [name for name in theirs if name not in ours]),
        )
        if names
    ]
    parts += [
        f"{name} is {theirs[name]} in the file, but {ours[name]} here"
        for name in ours
        if theirs.get(name, ours[name]) != ours[name]
    ][:1]
    ours = type(model).__name__
    parts.append(f"it holds a {class_name}" + f", this is a {ours}" * (class_name != ours))
    raise ValueError(f"{path}: made for another model: {'; '.join(parts)}")


def _forms(arrays):
    return {name: f"{array.shape} of {array.dtype}" for name, array in arrays.items()}


# --- checkpoints ----------------------------------------------------------------------------


def save_checkpoint(path, state, kind="checkpoint"):
    """Write a state: a tree of dicts, lists and tuples."""
    arrays = {}
    metadata = {"state": _pack(state, (), arrays)}
    tensor_files.write(path, kind, arrays, metadata)


def load_checkpoint(path, kind="checkpoint"):
    """Read a state."""
    return state_in(_read(path, kind))


def state_in(file):
    """The state that a TensorFile of :func:`save_checkpoint` holds."""
    return _unpack(file.metadata["state"], file.arrays)


def remove_leftovers(path):
    """Remove what writers of this file left beside it when they were killed."""
    target = Path(os.path.realpath(path))
    pattern = re.compile(re.escape(f".{target.name}.") + r"(\d+)\.\d+\.tmp")  # see files.replacing
    for file in target.parent.glob(f".{glob.escape(target.name)}.*.tmp"):
        match = pattern.fullmatch(file.name)
        if match and not _is_running(int(match[1])):
            file.unlink(missing_ok=True)


def _is_running(process):
    """Whether another process has this number; without means to know, so it is."""
    if process == os.getpid():
        return False  # it was someone else's, earlier: this one isn't writing
    if os.name == "nt":
        return True  # os.kill would do what it says there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _pack(value, way, arrays):
    """The tree as JSON can hold it; its arrays go into ``arrays``."""
    if isinstance(value, np.ndarray):
        name = "/".join(way)
        if name in arrays:
            raise ValueError(f"two arrays of the state would be called {name}: rename one")
        arrays[name] = value
        return {ARRAY: name}
    if isinstance(value, Mapping):
        return {key: _pack(value[key], (*way, _check_key(way, key)), arrays) for key in value}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, (*way, str(i)), arrays) for i, item in enumerate(value)]
        return {TUPLE: items} if isinstance(value, tuple) else items
    return tensor_files.plain("/".join(way), value)


def _unpack(value, arrays):
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {ARRAY}:
        return arrays[value[ARRAY]]
    if value.keys() == {TUPLE}:
        return tuple(_unpack(item, arrays) for item in value[TUPLE])
    return {key: _unpack(item, arrays) for key, item in value.items()}


def _check_key(way, key):
    if key in (ARRAY, TUPLE):
        raise ValueError(f"{key!r} can't be a key of {'/'.join(way)}: it has a meaning in the file")
    return tensor_files.check_key("/".join(way), key)


def _read(path, kind):
    """The content of a file, which must be of this kind."""
    file = tensor_files.read(path)
    if file.kind != kind:
        raise ValueError(f"{path}: holds {describe_kind(file.kind)}, not {describe_kind(kind)}")
    return file


def describe_kind(kind):
    """What a file of this kind is, and who reads it."""
    return _KINDS.get(kind, kind)


_KINDS = {
    "checkpoint": "the checkpoint of a training run, to go on from with checkpoint=path",
    "estimator": "an estimator, for fastseq.load",
    "model": "a model, for load_model",
    "tensors": "arrays, for load_tensors",
    "vectors": "word vectors, for KeyedVectors.load",
    "word2vec": "a Word2Vec model, for Word2Vec.load",
}
