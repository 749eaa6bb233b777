"""Pairs of sequences in files: a table with two columns, or two texts side by side."""

from fastseq import files
from fastseq.data import readers


def read_pairs(paths, columns, units):
    """Sources and targets, as strings or, where the unit is the token, as lists of them.

    Parameters
    ----------
    paths : list of str
        One file of tab-separated values, or two with as many lines.
    columns : pair of columns, or None
        Of the one file; None for the first and the last.
    units : pair of str
    """
    read = _read_table(paths[0], columns, units) if len(paths) == 1 else _read_texts(paths, units)
    for path, name, side, unit in zip(
        (paths[0], paths[-1]), ("sources", "targets"), read, units, strict=True
    ):
        if not any(line.split() if unit == "word" else line for line in side):
            raise ValueError(
                f"{files.display_name(path)}: expected at least one token among the {name}, got "
                "none"
            )
    return read


def _read_texts(paths, units):
    """The lines of two files."""
    sources, targets = (read_sequences(path, unit) for path, unit in zip(paths, units, strict=True))
    if len(sources) != len(targets):
        raise ValueError(
            f"{files.display_name(paths[1])}: expected a line for each of the {len(sources)} of "
            f"{files.display_name(paths[0])}, got {len(targets)}"
        )
    return sources, targets


def _read_table(path, columns, units):
    """Two columns of a file of tab-separated values; its ends if none are chosen."""
    read = readers.read_tsv(path, columns=columns)
    if len(read) == 1:  # source and target would be the same
        raise ValueError(
            f"{files.display_name(path)}: expected a source and a target in each line, a tab "
            "between them, got one column; or give two files, of sources and of targets"
        )
    if columns is not None and read[0] == read[1]:
        raise ValueError(
            f"{files.display_name(path)}: expected a source and a target in each line, got the "
            "same for both; choose two columns, as with --columns 0 1, or give two files, if the "
            "model should learn to copy"
        )
    ends = read[0], read[-1]
    return tuple(
        [line.split() for line in lines] if unit == "token" else lines
        for lines, unit in zip(ends, units, strict=True)
    )


def read_sequences(path, unit):
    """The lines of a file, as strings or lists of tokens."""
    return readers.read_text(path, unit="word" if unit == "token" else "character")


def describe(paths):
    """What errors call a file, or several."""
    paths = [paths] if isinstance(paths, str) else paths
    return " and ".join(map(files.display_name, paths))
