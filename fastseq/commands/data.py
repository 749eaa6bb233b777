"""Files with sequences, as the commands take them: which format they have, and what is in them."""

import errno
import io
import os
import zipfile
import zlib
from pathlib import Path, PurePath

import numpy as np

from fastseq import checks, files
from fastseq.data import readers, timeseries

ENDINGS = {
    ".conllu": "columns",
    ".conll": "columns",
    ".columns": "columns",
    ".tsv": "tsv",
    ".ts": "ts",
    ".npz": "npz",
    ".txt": "text",
}
FORMATS = ("columns", "tsv", "ts", "npz", "text")


def add_format(parser, formats):
    """Options that say how a file is to be read."""
    parser.add_argument(
        "--format",
        choices=formats,
        help="of all files; by default their endings say it (.conllu .conll .columns .tsv .ts "
        ".npz .txt, also with .gz .bz2 .xz .zst)",
    )


def find_format(path, wanted, formats):
    """The format of a file, which must be one of some."""
    if path != files.STDIN and not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if wanted is not None:
        if wanted not in formats:
            raise ValueError(
                f"--format must be {' or '.join(formats)} for this model, got {wanted}; without it "
                "the names of files say theirs"
            )
        return wanted
    path = PurePath(path)
    ending = PurePath(path.stem).suffix if path.suffix in files.COMPRESSED else path.suffix
    found = ENDINGS.get(ending.lower())
    if found not in formats:
        raise ValueError(
            f"{files.display_name(str(path))}: expected a file of format {' or '.join(formats)}, "
            "which its name doesn't tell; give it, as with --format " + formats[0]
        )
    return found


def read_tagged(path, wanted, columns):
    """Words and tags of sentences, one word a line."""
    find_format(path, wanted, ("columns",))
    words, tags = readers.read_conll(path, columns)
    if words == tags:
        raise ValueError(
            f"{files.display_name(path)}: expected words and tags, got one column for both; "
            "choose them, as with --columns 0 1"
        )
    return words, tags


def read_sentences(path, wanted, column):
    """Words of sentences, one a line in a column, or a sentence a line."""
    if find_format(path, wanted, ("columns", "text")) == "text":
        return readers.read_text(path)
    return readers.read_conll(path, None if column is None else (column,))[0]


def read_sequences(path, wanted, columns, unit):
    """Sequences, and their labels or target values as they stand in the file; None for none."""
    form = find_format(path, wanted, ("tsv", "ts", "npz", "text"))
    if form == "ts":
        x, y, _ = timeseries.read_ts(path)
        return x, y
    if form == "npz":
        return read_npz(path)
    if form == "text":
        return readers.read_text(path, unit=unit), None
    texts, *others = readers.read_tsv(path, columns=columns)
    x = [text.split() for text in texts] if unit == "word" else texts
    return x, others[-1] if others else None


def read_vectors(path):
    """An array x (N, F) of ``np.savez``, which comes alone."""
    name, arrays = files.display_name(path), _read_archive(path)
    if arrays.keys() != {"x"}:
        raise ValueError(f"{name}: expected an array x alone, got {', '.join(arrays) or 'none'}")
    if arrays["x"].ndim != 2 or not len(arrays["x"]):
        raise ValueError(
            f"{name}: expected x of shape (N, F), at least one vector, got {arrays['x'].shape}"
        )
    return arrays["x"]


def read_npz(path):
    """Arrays x (N, T, F) or (N, T), perhaps y and lengths (N,), of ``np.savez``."""
    name, arrays = files.display_name(path), _read_archive(path)
    if "x" not in arrays or not arrays.keys() <= {"x", "y", "lengths"}:
        raise ValueError(
            f"{name}: expected arrays x, y and lengths, got {', '.join(arrays) or 'none'}"
        )
    x, y, lengths = (arrays.get(key) for key in ("x", "y", "lengths"))
    if x.ndim < 2 or x.dtype.kind not in "biufU":
        raise ValueError(
            f"{name}: expected x of numbers or strings and shape (N, T) or (N, T, F), got "
            f"{x.dtype} and {x.shape}"
        )
    rows = x.tolist() if x.dtype.kind == "U" else x  # lists of tokens, or arrays of features
    if lengths is None:
        return list(rows), y
    try:
        lengths = checks.lengths(lengths, *x.shape[:2])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    if y is not None and y.shape[:2] == x.shape[:2]:
        y = [row[:n] for row, n in zip(y, lengths, strict=True)]
    return [row[:n] for row, n in zip(rows, lengths, strict=True)], y


def _read_archive(path):
    """The arrays of a file by name."""
    # as a whole: an archive is read in any order, and standard input can't be
    content = files.standard_input().read() if path == files.STDIN else Path(path).read_bytes()
    expected = f"{files.display_name(path)}: expected an archive of arrays of np.savez"
    if content.startswith(np.lib.format.MAGIC_PREFIX):
        raise ValueError(f"{expected}, got a single array of np.save")
    if not zipfile.is_zipfile(io.BytesIO(content)):  # NumPy would take it for a pickle
        raise ValueError(f"{expected}, got something else, or a part of one")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{expected}: {error}") from error
