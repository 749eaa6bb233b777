"""Files of word vectors besides word2vec's: ``.npy``, safetensors, and which one a name means."""

from __future__ import annotations

import itertools
import os
from pathlib import PurePath

import numpy as np

from fastseq import files
from fastseq.vocabulary import Vocabulary

ENDINGS = {
    ".safetensors": "safetensors",
    ".npy": "npy",
    ".bin": "binary",
    ".txt": "text",
    ".vec": "text",
}
COMPRESSED = (".gz", ".xz")
KIND = "vectors"  # in safetensors files


def format_of(path):
    """The format that a file's ending says."""
    path = PurePath(path)
    ending = path.suffix.lower()
    if ending in COMPRESSED:
        ending = PurePath(path.stem).suffix.lower()
    form = ENDINGS.get(ending)
    if form is None or (path.suffix.lower() in COMPRESSED and form not in ("binary", "text")):
        raise ValueError(
            f"{path}: expected a name that ends with {', '.join(ENDINGS)}, perhaps with .gz or .xz "
            "behind the last three; files of pickles are not read"
        )
    return form


def write_npy(path, keys, vectors, attributes):
    """Write the vectors, and beside them keys and counts."""
    rest = [name for name in attributes if name != "count"]
    if rest:
        raise ValueError(
            f"{path}: a .npy file has no room for the attributes {', '.join(rest)}; save a "
            ".safetensors file"
        )
    vocabulary = Vocabulary(keys, counts=attributes.get("count"))
    with files.replacing(path) as file:
        np.save(file, np.ascontiguousarray(vectors), allow_pickle=False)
    vocabulary.save(_beside(path))


def _beside(path):
    return os.fspath(PurePath(path).with_suffix(".json"))


def read_npy(path, mmap):
    """Keys, vectors (left on the disk if ``mmap`` is given), and attributes."""
    try:  # mapped in any case: a header that announces too much is noticed
        vectors = np.load(path, mmap_mode=mmap or "r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{os.fspath(path)}: no .npy file, or truncated: {error}") from error
    if vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise ValueError(
            f"{os.fspath(path)}: expected numbers of shape (N, D), got {vectors.dtype} and "
            f"{vectors.shape}"
        )
    vocabulary = Vocabulary.load(_beside(path))
    if len(vocabulary) != len(vectors):
        raise ValueError(
            f"{os.fspath(path)}: has {len(vectors):,} vectors, but there are {len(vocabulary):,} "
            f"keys in {_beside(path)}"
        )
    attributes = {"count": vocabulary.counts} if vocabulary.counts.any() else {}
    return list(vocabulary.tokens), vectors if mmap else np.array(vectors), attributes


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
        raise ValueError(
            f"{os.fspath(path)}: holds {checkpoint.describe_kind(file.kind)}, not "
            f"{checkpoint.describe_kind(KIND)}"
        )
    arrays = file.arrays
    text, offsets = arrays["keys"].tobytes(), arrays["key_offsets"].tolist()
    pairs = itertools.pairwise(offsets)
    keys = [text[begin:end].decode("utf-8", "surrogatepass") for begin, end in pairs]
    names = [name for name in arrays if name.startswith("attribute/")]
    return keys, arrays["vectors"], {n.removeprefix("attribute/"): arrays[n] for n in names}
