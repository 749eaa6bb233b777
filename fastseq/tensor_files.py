"""Files of named arrays: safetensors with metadata, verified when they are read.

All that is ours stands in one entry of the file's metadata, as JSON::

    {"format": 1, "kind": "model", "version": "0.1.0", "metadata": {...}, "checksum": "89abcdef"}

The checksum is over names, dtypes, shapes and values of all arrays, and over the rest of this.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastseq import checks, files
from fastseq._version import __version__

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FORMAT = 1  # files of a higher one are refused
ENTRY = "fastseq"
LARGEST_HEADER = 100_000_000  # bytes, as safetensors has it
# what both NumPy and safetensors know
KINDS = {"b": (1,), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}


class TensorFile(NamedTuple):
    """What is in a file."""

    kind: str  # what the file is: "tensors", "model" or "checkpoint"
    version: str  # of the fastseq that wrote it
    arrays: dict[str, np.ndarray]
    metadata: dict[str, Any]


def save_tensors(
    path: str | os.PathLike,
    arrays: Mapping[str, ArrayLike],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write arrays by name, and what else there is to say of them, into a safetensors file.

    The file is written atomically: whatever happens, it holds its old content or the new one.
    Other programs can read it as well; they find the metadata as JSON under ``fastseq``.

    Parameters
    ----------
    path : str or path
        Usually ends with ``.safetensors``; an existing file is replaced.
    arrays : mapping
        Name to array, of any shape: booleans, integers, or floating-point numbers up to float64.
    metadata : mapping, optional
        Strings, numbers, True, False, None, and lists and dicts of these.  Tuples become lists;
        NumPy's numbers become Python's.

    Raises
    ------
    TypeError
        If an array or the metadata hold something else, or a name is no string.
    OSError
        If the file can't be written, as on a full disk.  The old one is as it was.
    ImportError
        If safetensors is missing.

    Examples
    --------
    >>> import os, tempfile, numpy as np, fastseq as fs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "vectors.safetensors")
    ...     fs.save_tensors(path, {"a": np.arange(3), "b": np.eye(2)}, {"words": ["to", "be"]})
    ...     arrays, metadata = fs.load_tensors(path)
    >>> sorted(arrays), arrays["a"].tolist(), metadata
    (['a', 'b'], [0, 1, 2], {'words': ['to', 'be']})
    """
    write(path, "tensors", arrays, {} if metadata is None else metadata)


def load_tensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read and verify what :func:`save_tensors`, or anything else in fastseq, has written.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    arrays : dict
        Name to array.
    metadata : dict

    Raises
    ------
    ValueError
        If it is no safetensors file, wasn't written by fastseq, is truncated or corrupted, or
        has a format that is newer than this version.
    OSError
        If it can't be read.
    ImportError
        If safetensors is missing.

    Examples
    --------
    >>> import os, tempfile, fastseq as fs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "rnn.safetensors")
    ...     fs.save_tensors(path, fs.RNN(2, 3, seed=0).parameters)
    ...     os.truncate(path, os.path.getsize(path) - 1)
    ...     fs.load_tensors(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: .../rnn.safetensors: truncated: ... of ... bytes are there; get a whole copy of it
    """
    _, _, arrays, metadata = read(path)
    return arrays, metadata


def write(path, kind, arrays, metadata):
    """Write a file of this kind; see :func:`save_tensors`."""
    checks.path("path", path)
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata must be a mapping, got {type(metadata).__name__}")
    arrays = _check_arrays(arrays)
    content = {
        "format": FORMAT,
        "kind": kind,
        "version": __version__,
        "metadata": plain("metadata", metadata),
    }
    content["checksum"] = _checksum(content, arrays)
    data = _library().numpy.save(arrays, {ENTRY: json.dumps(content)})
    files.write_atomically(path, data)


def read(path):
    """The verified content of a file, as a TensorFile; see :func:`load_tensors`."""
    checks.path("path", path)
    library = _library()
    with open(path, "rb") as file:
        data = file.read()
    content = _content(path, data)
    try:
        arrays = library.numpy.load(data)
    except (library.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _corrupted(path, error) from error
    checksum = content.pop("checksum")
    if _checksum(content, arrays) != checksum:
        raise _corrupted(path, "its checksum doesn't fit its content")
    return TensorFile(content["kind"], content["version"], arrays, content["metadata"])


def plain(name, value):
    """The value as JSON gives it back: numbers, strings, None, lists and dicts."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(f"{name}[{i}]", item) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {check_key(name, key): plain(f"{name}[{key!r}]", value[key]) for key in value}
    raise TypeError(
        f"{name} must be a string, a number, None, or a list or dict of these, which JSON can "
        f"hold, got {type(value).__name__}"
    )


def check_key(name, key):
    """The key, if it is a string: JSON would make one of it without a word."""
    if not isinstance(key, str):
        raise TypeError(f"the keys of {name} must be strings, got {key!r}")
    return key


def _check_arrays(arrays):
    """The arrays in C order and in this machine's order of bytes."""
    if not isinstance(arrays, Mapping):
        raise TypeError(
            f"arrays must be a mapping from names to arrays, got {type(arrays).__name__}"
        )
    checked = {}
    for name, value in arrays.items():
        if check_key("arrays", name) == "__metadata__":
            raise ValueError("an array can't be called '__metadata__': safetensors needs the name")
        array = np.asarray(value)
        if array.dtype.itemsize not in KINDS.get(array.dtype.kind, ()):
            raise TypeError(
                f"{name} must hold booleans, integers or floating-point numbers up to float64, "
                f"got dtype {array.dtype}"
            )
        checked[name] = np.asarray(array, array.dtype.newbyteorder("="), order="C")
    return checked


def _checksum(content, arrays):
    total = zlib.crc32(json.dumps(content).encode())
    for name in sorted(arrays):
        array = arrays[name]
        total = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8), total)
    return f"{total:08x}"


def _content(path, data):
    """Our entry of the metadata, of a file that has all of its bytes."""
    header = _header(path, data)
    try:
        content = json.loads(header["__metadata__"][ENTRY])
        number, _ = content["format"], content["metadata"]
        version, _, _ = (str(content[name]) for name in ("version", "kind", "checksum"))
    except (KeyError, TypeError):
        raise ValueError(
            f"{path}: not written by fastseq, or corrupted: its metadata say nothing of it; "
            "read files of other programs with safetensors.numpy.load_file"
        ) from None
    except ValueError as error:
        raise _corrupted(path, error) from None
    if number != FORMAT:
        raise ValueError(
            f"{path}: written by fastseq {version} in format {number}, but fastseq {__version__} "
            f"reads format {FORMAT} only: upgrade, as with pip install -U fastseq"
        )
    return content


def _header(path, data):
    """The file's header, a dict, after a check that nothing behind it is missing."""
    size = int.from_bytes(data[:8], "little")
    if data[8:9] not in (b"{", b"") or (len(data) >= 8 and size > LARGEST_HEADER):
        hint = (
            "; a file of torch.save, or of np.savez, is read with torch.load or np.load, and its "
            "state dict given to load_state_dict of a layer or model"
        )
        raise ValueError(f"{path}: not a safetensors file" + hint * data.startswith(b"PK"))
    if len(data) < 8 + size or not size:
        raise _truncated(path, f"{len(data):,} bytes are there, less than its header has")
    try:
        header = json.loads(data[8 : 8 + size])
        ends = [info["data_offsets"][1] for name, info in header.items() if name != "__metadata__"]
        expected = 8 + size + max(ends, default=0)
    except (ValueError, AttributeError, LookupError, TypeError, RecursionError) as error:
        raise _corrupted(path, f"its header can't be read: {error}") from None
    if len(data) < expected:
        raise _truncated(path, f"{len(data):,} of {expected:,} bytes are there")
    return header


def _truncated(path, what):
    return ValueError(f"{path}: truncated: {what}; get a whole copy of it")


def _corrupted(path, what):
    reason = " ".join(str(what).split())
    return ValueError(f"{path}: corrupted: {reason}; get a good copy of it")


def check_library():
    """Raise if files can't be written for want of safetensors, before any work."""
    _library()


def _library():
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "files of models and checkpoints need safetensors: pip install 'fastseq[train]'"
        ) from error
    return safetensors
