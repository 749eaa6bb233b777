"""Files of word vectors besides word2vec's: ``.npy``, safetensors, and which one a name means."""

from __future__ import annotations

import itertools
import os
import re
import zlib
from pathlib import Path, PurePath

import numpy as np

from fastseq import checks, files
from fastseq.data import vocabulary
from fastseq.data.vocabulary import Vocabulary

ENDINGS = {
    ".safetensors": "safetensors",
    ".npy": "npy",
    ".bin": "binary",
    ".txt": "text",
    ".vec": "text",
}
KIND = "vectors"  # in safetensors files
MARK = "vectors"  # in files of keys
MARKED = 1000  # vectors


def format_of(path):
    """The format that a file's ending says."""
    path = PurePath(checks.path("path", path))
    ending = path.suffix.lower()
    if ending in files.COMPRESSED:
        ending = PurePath(path.stem).suffix.lower()
    form = ENDINGS.get(ending)
    if form is None or (path.suffix.lower() in files.COMPRESSED and form not in ("binary", "text")):
        raise ValueError(
            f"{path}: expected a name that ends with {', '.join(ENDINGS)}, perhaps with one of "
            f"{', '.join(files.COMPRESSED)} behind the last three; files of pickles are not read"
        )
    return form


def format_to_read(path):
    """The same of a file that should hold vectors, but may be that of a whole model."""
    try:
        return format_of(path)
    except ValueError as error:
        raise ValueError(f"{error}; {_if_model(path)}") from None


def _if_model(path):
    """What to do where a model was saved instead of its vectors."""
    name = os.fspath(path)
    return f"of a Word2Vec model save its wv, as with fastseq.load({name!r}).wv.save('vectors.bin')"


def names_of(path):
    """All files that hold the vectors: a .npy file has another one beside it."""
    is_npy = PurePath(path).suffix.lower() == ".npy"
    return [os.fspath(path), _beside(path)] if is_npy else [os.fspath(path)]


def write_npy(path, keys, vectors, attributes):
    """Write the vectors, and beside them keys and counts."""
    rest = [name for name in attributes if name != "count"]
    if rest:
        raise ValueError(
            f"{path}: a .npy file has no room for the attributes {', '.join(rest)}; save a "
            ".safetensors file"
        )
    if len(keys):
        text = Vocabulary(keys, counts=attributes.get("count")).to_json()
    else:
        text = vocabulary.write_json({"tokens": []})
    mark = f'{{\n "{MARK}": "{_mark(vectors)}",'
    with files.replacing_together() as replacing:
        with replacing(path) as file:
            np.save(file, np.ascontiguousarray(vectors), allow_pickle=False)
        with replacing(_beside(path)) as file:
            file.write((mark + text.removeprefix("{")).encode())


def _beside(path):
    return os.fspath(PurePath(path).with_suffix(".json"))


def _mark(vectors):
    """What tells these vectors from others, by some of them: the rest may stay on the disk."""
    some = np.ascontiguousarray(vectors[:: max(1, len(vectors) // MARKED)])
    return f"{zlib.crc32(some.reshape(-1).view(np.uint8)):08x}"


def read_npy(path, mmap):
    """Keys, vectors (left on the disk if ``mmap`` is given), and attributes."""
    try:  # mapped in any case: a header that announces too much is noticed
        vectors = np.load(path, mmap_mode=mmap or "r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy parses the header as Python, with whatever errors that has
        raise ValueError(f"{os.fspath(path)}: no .npy file, or truncated: {error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise ValueError(
            f"{os.fspath(path)}: expected numbers of shape (N, D), got {vectors.dtype} and "
            f"{vectors.shape}"
        )
    mark, keys, counts = _read_keys(_beside(path), len(vectors))
    if len(keys) != len(vectors):
        raise ValueError(
            f"{os.fspath(path)}: has {len(vectors):,} vectors, but there are {len(keys):,} "
            f"keys in {_beside(path)}"
        )
    if mark not in (None, _mark(vectors)):
        raise ValueError(
            f"{os.fspath(path)}: has other vectors than those whose keys are in {_beside(path)}: "
            "saving them was broken off; save them again"
        )
    attributes = {"count": counts} if counts.any() else {}
    return keys, vectors if mmap else np.array(vectors), attributes


def _read_keys(path, expected):
    """The mark of the vectors, None if there is none; the keys, and their counts."""
    try:
        text = Path(path).read_text("utf-8")
        mark = re.match(r'\{\n "' + MARK + r'": "([0-9a-f]{8})",', text)
        if mark:
            text = "{" + text[mark.end() :]
        # a vocabulary has at least one token
        if expected == 0 and vocabulary.parse_json(text).get("tokens") == []:
            return mark and mark[1], [], np.zeros(0, np.int64)
        read = Vocabulary.from_json(text)
        return mark and mark[1], list(read.tokens), read.counts
    except ValueError as error:  # also of bytes that are no UTF-8
        raise ValueError(f"{path}: {error}") from error


def write_safetensors(path, keys, vectors, attributes):
    """Write everything into one file; the keys are UTF-8 with offsets, since headers are small."""
    from fastseq import tensor_files

    encoded = [key.encode("utf-8", "surrogatepass") for key in keys]
    arrays = {
        "vectors": vectors,
        "keys": np.frombuffer(b"".join(encoded), np.uint8),
        "key_offsets": np.cumsum([0, *map(len, encoded)]),
    }
    for name, values in attributes.items():
        if values.dtype.kind == "O":
            raise ValueError(
                f"{path}: the attribute {name} must hold numbers to be saved, got objects"
            )
        arrays[f"attribute/{name}"] = values
    tensor_files.write(path, KIND, arrays, {})


def read_safetensors(path):
    """Keys, vectors and attributes."""
    from fastseq import checkpoint, tensor_files

    file = tensor_files.read(path)
    if file.kind != KIND:
        way_out = f"; {_if_model(path)}" if file.kind == "word2vec" else ""
        raise ValueError(
            f"{os.fspath(path)}: holds {checkpoint.describe_kind(file.kind)}, not "
            f"{checkpoint.describe_kind(KIND)}{way_out}"
        )
    arrays = file.arrays
    text, offsets = arrays["keys"].tobytes(), arrays["key_offsets"].tolist()
    pairs = itertools.pairwise(offsets)
    keys = [text[begin:end].decode("utf-8", "surrogatepass") for begin, end in pairs]
    names = [name for name in arrays if name.startswith("attribute/")]
    return keys, arrays["vectors"], {n.removeprefix("attribute/"): arrays[n] for n in names}
