"""Readers of text files: lines, columns in the manner of CoNLL, and tab-separated values.

All of them take UTF-8, decompress ``.gz``, ``.bz2``, ``.xz`` and ``.zst``, read standard input for
``"-"``, and name file and line when something is wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from fastseq import checks, files
from fastseq.data.vocabulary import UNITS

CONLL_U = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")


def read_text(path: str | os.PathLike, *, unit: str = "word") -> list[list[str]] | list[str]:
    """The lines of a text.

    Parameters
    ----------
    path : str or path
        A file in UTF-8, compressed if it ends with ``.gz``, ``.bz2``, ``.xz`` or ``.zst``;
        ``"-"`` is standard input.
    unit : str
        ``"word"`` splits lines at white space; ``"character"`` leaves them as strings, which
        are sequences of characters.

    Returns
    -------
    lines : list of lists of str, or list of str
        One entry for each line, also for empty ones.  Line ends are left out.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it is empty, damaged, or not UTF-8.

    Examples
    --------
    >>> import tempfile, pathlib, fastseq as fs
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "rain.txt")
    >>> size = path.write_text("the rain in Spain\\nfalls\\n", "utf-8")
    >>> fs.read_text(path)
    [['the', 'rain', 'in', 'Spain'], ['falls']]
    >>> fs.read_text(path, unit="character")
    ['the rain in Spain', 'falls']
    >>> folder.cleanup()
    """
    checks.choice("unit", unit, UNITS)
    return [_tokens(line, unit) for _, line in files.numbered_lines(path)]


def read_tsv(
    path: str | os.PathLike,
    *,
    columns: Sequence[int | str] | None = None,
    units: str | Sequence[str] | None = None,
    header: bool = False,
) -> tuple[list, ...]:
    """The columns of a file of tab-separated values, such as pairs or labelled lines.

    Tabs separate, whatever stands around them: there are no quotation marks with a meaning.
    Empty lines are left out.

    Parameters
    ----------
    path : str or path
        A file in UTF-8, compressed if it ends with ``.gz``, ``.bz2``, ``.xz`` or ``.zst``;
        ``"-"`` is standard input.
    columns : sequence of int or str, or None
        Which columns: numbers from 0, or from the end if negative; with a header also names.
        None stands for all of them.
    units : str, or sequence of str
        For all columns or for each of them: ``"word"`` splits values at white space;
        ``"character"``, the default, leaves them as strings.
    header : bool
        Whether the first line holds names.

    Returns
    -------
    columns : tuple of lists
        For each column one entry a line: a string, or a list of words.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If lines have different numbers of columns, a column doesn't exist, or several have its
        name; if the file is empty, damaged, or not UTF-8.

    Examples
    --------
    >>> import tempfile, pathlib, fastseq as fs
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "words.tsv")
    >>> size = path.write_text("cat\\tk æ t\\ndog\\td o g\\n", "utf-8")
    >>> spelling, phones = fs.read_tsv(path, units=("character", "word"))
    >>> spelling, phones
    (['cat', 'dog'], [['k', 'æ', 't'], ['d', 'o', 'g']])
    >>> folder.cleanup()
    """
    _check_columns(columns)
    checks.flag("header", header)
    rows = [(number, line) for number, line in files.numbered_lines(path) if line]
    table = _Table(path, rows, "\t")
    names = table.fields(*rows.pop(0)) if header else None
    if not rows:
        raise ValueError(f"{files.display_name(path)}: expected lines with values, got none")
    chosen = range(table.width) if columns is None else table.places(columns, names)
    units = _check_units(units, len(chosen))
    read = tuple([] for _ in chosen)
    for number, line in rows:
        fields = table.fields(number, line)
        for values, place, unit in zip(read, chosen, units, strict=True):
            values.append(_tokens(fields[place], unit))
    return read


def read_conll(
    path: str | os.PathLike, columns: Sequence[int | str] | None = None
) -> tuple[list[list[str]], ...]:
    """Columns of sentences, one word a line and an empty line after each sentence.

    Reads CoNLL-U, CoNLL-U Plus, and other files of this kind, with any number of columns.  If
    the first line of a word has a tab, tabs separate columns, else white space does.

    In CoNLL-U (ten columns of which the first is a number, or names in a comment
    ``# global.columns = ID ...``) the words are those of the syntactic tree: lines of multiword
    tokens (``1-2``), whose words follow, and of empty nodes (``1.1``) are left out, as are
    comments.  Elsewhere a line is a comment if it begins with ``#`` and has no tab, in files
    whose columns are separated by tabs; in others every line is a word.

    Parameters
    ----------
    path : str or path
        A file in UTF-8, compressed if it ends with ``.gz``, ``.bz2``, ``.xz`` or ``.zst``;
        ``"-"`` is standard input.
    columns : sequence of int or str, or None
        Numbers from 0, or from the end if negative; in CoNLL-U also names such as ``"FORM"``.
        By default FORM and UPOS in CoNLL-U, elsewhere the first and the last column.

    Returns
    -------
    columns : tuple of lists of lists of str
        For each column, the values of each sentence's words.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If a line has another number of columns than the first, or an empty value in a column
        that is read; if a column doesn't exist; if the IDs of CoNLL-U don't count 1, 2, 3, ...;
        if the file is empty, damaged, or not UTF-8.

    References
    ----------
    https://universaldependencies.org/format.html

    Examples
    --------
    >>> import tempfile, pathlib, fastseq as fs
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "tagged.txt")
    >>> size = path.write_text("Hvor\\tADV\\nkommer\\tVERB\\n\\nUnder\\tADP\\n", "utf-8")
    >>> words, tags = fs.read_conll(path)
    >>> words, tags
    ([['Hvor', 'kommer'], ['Under']], [['ADV', 'VERB'], ['ADP']])
    >>> folder.cleanup()
    """
    _check_columns(columns)
    lines = list(files.numbered_lines(path))
    table, names = _conll_table(path, lines)
    if columns is None:
        columns = (0, -1) if names is None else ("FORM", "UPOS")
    places = table.places(columns, names)
    read = tuple([] for _ in places)
    for sentence in _sentences(lines, table, names):
        for sentences, place in zip(read, places, strict=True):
            sentences.append([_value(path, number, fields, place) for number, fields in sentence])
    if not read[0]:
        raise ValueError(f"{files.display_name(path)}: expected sentences, got none")
    return read


class _Table:
    """Lines that all have as many columns as the first of them."""

    def __init__(self, path, rows, separator):
        if not rows:
            raise ValueError(f"{files.display_name(path)}: expected lines with values, got none")
        self.path = path
        self.separator = separator
        self.first, line = rows[0]
        self.width = len(line.split(separator))

    def fields(self, number, line):
        """The values in a line."""
        fields = line.split(self.separator)
        if len(fields) != self.width:
            raise files.located(
                self.path,
                number,
                f"expected {_count(self.width)} as in line {self.first}, "
                f"got {len(fields)}: {files.shortened(line)}",
            )
        return fields

    def places(self, columns, names):
        """Columns, by number or name, as numbers from 0."""
        return [self._place(column, names) for column in columns]

    def _place(self, column, names):
        if not isinstance(column, str):
            if -self.width <= column < self.width:
                return column % self.width
            raise ValueError(
                f"{files.display_name(self.path)}: column {column} doesn't exist, "
                f"lines have {_count(self.width)}"
            )
        if names is None:
            raise ValueError(
                f"{files.display_name(self.path)}: column {column!r} is unknown: the file names "
                "no columns; give the column's number, from 0"
            )
        if column not in names:
            raise ValueError(
                f"{files.display_name(self.path)}: column {column!r} is unknown, "
                f"there are {', '.join(names)}"
            )
        if names.count(column) > 1:
            raise ValueError(
                f"{files.display_name(self.path)}: column {column!r} is there "
                f"{names.count(column)} times; give its number, from 0"
            )
        return names.index(column)


def _count(columns):
    return f"{columns} column" + ("s" if columns != 1 else "")


def _tokens(text, unit):
    return text.split() if unit == "word" else text


def _check_units(units, columns):
    """The unit of each column."""
    if units is None or isinstance(units, str):
        units = ["character" if units is None else units] * columns
    if not isinstance(units, Sequence):
        raise TypeError(f"units must be a unit, or a list of them, got {units!r}")
    if len(units) != columns:
        raise ValueError(f"units must be one for each of {_count(columns)}, got {len(units)}")
    return [checks.choice("units", unit, UNITS) for unit in units]


def _check_columns(columns):
    if columns is None:
        return
    has_order = hasattr(columns, "__len__") and not isinstance(columns, (str, set, dict))
    if not has_order or not len(columns):
        raise TypeError(f"columns must be a list of numbers or names, got {columns!r}")
    for column in columns:
        if not isinstance(column, str):
            try:
                checks.integer("columns", column)
            except TypeError:
                raise TypeError(f"columns must be numbers or names, got {column!r}") from None


# --- CoNLL ----------------------------------------------------------------------------------

_GLOBAL_COLUMNS = re.compile(r"#\s*global\.columns\s*=\s*(.+)")
_ID = re.compile(r"[0-9]+(-[0-9]+|\.[0-9]+)?")


def _conll_table(path, lines):
    """The table that the lines make up, and its columns' names if it is CoNLL-U."""
    plus = _GLOBAL_COLUMNS.fullmatch(lines[0][1])
    names = plus[1].split() if plus else None
    filled = [(n, line) for n, line in lines if line and not line.isspace()]
    words = [row for row in filled if not row[1].startswith("#")] or filled
    separator = "\t" if words and "\t" in words[0][1] else None
    table = _Table(path, words, separator)
    first = table.fields(*words[0])
    if names is None and table.width == len(CONLL_U) and _ID.fullmatch(first[0]):
        names = list(CONLL_U)
    if names is not None and len(names) != table.width:
        raise files.located(
            path,
            table.first,
            f"expected the columns that line 1 names, {' '.join(names)}, got {_count(table.width)}",
        )
    return table, names


def _sentences(lines, table, names):
    """Each sentence's words: numbers of lines, and their fields."""
    id_place = names.index("ID") if names is not None and "ID" in names else None
    sentence = []
    for number, line in lines:
        if not line or line.isspace():
            if sentence:
                yield sentence
            sentence = []
        elif not _is_comment(line, table, names):
            fields = table.fields(number, line)
            expected = len(sentence) + 1
            if id_place is None or _is_word(table.path, number, fields[id_place], expected):
                sentence.append((number, fields))
    if sentence:
        yield sentence


def _is_comment(line, table, names):
    separate = names is not None or (table.separator == "\t" and "\t" not in line)
    return separate and line.startswith("#")


def _value(path, number, fields, place):
    if not fields[place]:
        raise files.located(path, number, f"expected a value in column {place}, got none")
    return fields[place]


def _is_word(path, number, text, expected):
    """Whether a line of CoNLL-U with this ID is a word, which must be the expected one."""
    if text == str(expected):
        return True
    if _ID.fullmatch(text) and not text.isdecimal():
        return False
    hint = "; is the empty line between two sentences missing?" if text == "1" else ""
    raise files.located(
        path, number, f"expected ID {expected}, a range or an empty node, got {text!r}{hint}"
    )
