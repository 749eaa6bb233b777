"""Files with sequences, as the commands take them: which format they have, and what is in them."""

import io
import sys
from pathlib import PurePath

import numpy as np

from fastseq import checks, files, readers, timeseries

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
        ".npz .txt, also with .gz or .xz)",
    )


def find_format(path, wanted, formats):
    """The format of a file, which must be one of some."""
    if wanted is not None:
        return wanted
    path = PurePath(path)
    ending = PurePath(path.stem).suffix if path.suffix in (".gz", ".xz") else path.suffix
    found = ENDINGS.get(ending.lower())
    if found not in formats:
        raise ValueError(
            f"{files.display_name(str(path))}: expected a file of format {' or '.join(formats)}, "
            "which its name doesn't tell; give it, as with --format " + formats[0]
        )
    return found


def read_sentences(path, wanted, columns):
    """Columns of sentences, one word a line; or texts, of which the words are the only one."""
    if find_format(path, wanted, ("columns", "text")) == "text":
        if len(columns or (0,)) > 1:
            raise ValueError(f"{files.display_name(path)}: a text has no columns")
        return (readers.read_text(path),)
    return readers.read_conll(path, columns)


def read_sequences(path, wanted, columns, unit, *, targets):
    """Sequences, and their labels or target values as they stand in the file; None for none."""
    form = find_format(path, wanted, ("tsv", "ts", "npz", "text"))
    if form == "ts":
        x, y, _ = timeseries.read_ts(path)
        return x, y
    if form == "npz":
        return read_npz(path)
    if form == "text":
        return readers.read_text(path, unit=unit), None
    columns = columns or ((0, -1) if targets else (0,))
    units = (unit, "character")[: len(columns)]
    x, *y = readers.read_tsv(path, columns=columns, units=units)
    return x, y[0] if y else None


def read_npz(path):
    """Arrays x (N, T, F) or (N, T), perhaps y and lengths (N,), of ``np.savez``."""
    name = files.display_name(path)
    try:
        # standard input can't be read in any order, as an archive has to be
        source = io.BytesIO(sys.stdin.buffer.read()) if path == files.STDIN else path
        with np.load(source, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (ValueError, EOFError, AttributeError) as error:
        raise ValueError(f"{name}: expected an archive of arrays of np.savez: {error}") from error
    if "x" not in arrays or not arrays.keys() <= {"x", "y", "lengths"}:
        raise ValueError(f"{name}: expected arrays x, y and lengths, got {', '.join(arrays)}")
    x, y, lengths = (arrays.get(key) for key in ("x", "y", "lengths"))
    if lengths is None:
        return list(x), y
    lengths = checks.lengths(lengths, len(x), x.shape[1], f", in {name}")
    by_steps = y is not None and y.shape[:2] == x.shape[:2]
    y = [row[:n] for row, n in zip(y, lengths, strict=True)] if by_steps else y
    return [row[:n] for row, n in zip(x, lengths, strict=True)], y
