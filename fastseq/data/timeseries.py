"""Time series from ``.ts`` files, the text format of the UCR and UEA archives."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from fastseq import checks, files


class TimeSeries(NamedTuple):
    """A set of time series.

    Attributes
    ----------
    x : list of ndarray, each (T_i, F)
        One array for each series: its steps, and in each step the value of each dimension.
    y : ndarray of str, ndarray of float64, or None, (N,)
        Class labels as they are spelled in the file, target values, or nothing.
    header : dict
        What the file says about itself: tags in lower case and without ``@``, such as
        ``problemname``, and their values.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> series = fs.TimeSeries([np.zeros((3, 1))], np.array(["up"]), {"univariate": "true"})
    >>> series.x[0].shape, series.y.tolist()
    ((3, 1), ['up'])
    """

    x: list[np.ndarray]
    y: np.ndarray | None
    header: dict[str, str]


def read_ts(path: str | os.PathLike, *, dtype: np.typing.DTypeLike = np.float64) -> TimeSeries:
    """Time series from a ``.ts`` file.

    A header of ``@`` tags ends with ``@data``.  Each line after it is a series: its dimensions,
    separated by ``:``, each a list of numbers separated by commas, and last a class label
    (``@classLabel true ...``) or a target value (``@targetLabel true``).  Lengths may differ
    from series to series.  A missing value, ``?``, becomes NaN.

    Parameters
    ----------
    path : str or path
        A file in UTF-8, compressed if it ends with ``.gz``, ``.bz2``, ``.xz`` or ``.zst``;
        ``"-"`` is standard input.
    dtype : dtype
        float32 or float64, of the series.

    Returns
    -------
    series : TimeSeries
        ``x``, ``y`` and ``header``.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If a line isn't as described, contradicts the header (number of dimensions, lengths,
        class labels), or holds numbers that the dtype can't; if the series have time stamps; if
        the file is empty, damaged, or not UTF-8.

    References
    ----------
    https://www.aeon-toolkit.org/en/stable/api_reference/data_format.html

    Examples
    --------
    >>> import tempfile, pathlib, fastseq as fs
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "two.ts")
    >>> header = "@univariate false\\n@classLabel true up down\\n@data\\n"
    >>> size = path.write_text(header + "1,2,3:0,0,1:up\\n2,1:?,0:down\\n", "utf-8")
    >>> x, y, header = fs.read_ts(path)
    >>> x[0].shape, x[1].tolist(), y.tolist()
    ((3, 2), [[2.0, nan], [1.0, 0.0]], ['up', 'down'])
    >>> folder.cleanup()
    """
    dtype = checks.float_dtype(dtype)
    lines = files.numbered_lines(path)
    header, numbers = _read_header(path, lines)
    expected = _Expected(path, header, numbers)
    x, y = [], []
    for number, line in lines:
        if line and not line.isspace():
            series, label = _read_series(path, number, line, expected, dtype)
            x.append(series)
            y.append(label)
    if not x:
        raise ValueError(f"{files.display_name(path)}: expected series after @data, got none")
    if expected.classes is not None:
        return TimeSeries(x, np.array(y, str), header)
    return TimeSeries(x, np.array(y, np.float64) if expected.has_target else None, header)


def _read_header(path, lines):
    """Tags and their values, and the line of each tag."""
    header, numbers = {}, {}
    for number, line in lines:
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if not line.startswith("@"):
            raise files.located(
                path, number, f"expected a tag such as @data, got {files.shortened(line)}"
            )
        tag, value = [*line[1:].split(None, 1), "", ""][:2]
        tag = tag.lower()
        if tag == "data":
            return header, numbers
        header[tag], numbers[tag] = value.strip(), number
    raise ValueError(f"{files.display_name(path)}: expected a line @data, got none")


class _Expected:
    """What the header says about each line of data.

    Attributes
    ----------
    classes : set of str or None
        The class labels, empty if they are not listed; None if there are none.
    has_target : bool
    dimensions, steps : int or None
        None until a line or the header tells.
    """

    def __init__(self, path, header, numbers):
        self.path, self._header, self._numbers = path, header, numbers
        if self._says("timestamps"):
            raise files.located(
                path,
                numbers["timestamps"],
                "expected @timeStamps false, got true: series with a time for each value can't "
                "be read yet",
            )
        self.has_target = bool(self._says("targetlabel"))
        labels = header.get("classlabel", "").split()[1:]
        self.classes = set(labels) if self._says("classlabel") else None
        if self.has_target and self.classes is not None:
            raise files.located(
                path, numbers["targetlabel"], "expected @targetLabel or @classLabel, got both"
            )
        self.dimensions = self._number("dimensions", self._number("dimension"))
        self.dimensions = 1 if self._says("univariate") else self.dimensions
        self.equal_lengths = self._says("equallength")
        self.steps = self._number("serieslength") if self.equal_lengths else None

    def _says(self, tag):
        """Whether a tag is true; None if it is not there."""
        if tag not in self._header:
            return None
        words = self._header[tag].lower().split()
        if words[:1] not in (["true"], ["false"]):
            raise self._wrong(tag, "true or false")
        return words[0] == "true"

    def _number(self, tag, default=None):
        if tag not in self._header:
            return default
        try:
            number = int(self._header[tag])
        except ValueError:
            raise self._wrong(tag, "a number") from None
        if number < 1:
            raise self._wrong(tag, "a number from 1 on")
        return number

    def _wrong(self, tag, expected):
        return files.located(
            self.path,
            self._numbers[tag],
            f"expected {expected} after @{tag}, got {files.shortened(self._header[tag])}",
        )


def _read_series(path, number, line, expected, dtype):
    """One series (T, F), and its class label, target value, or None."""
    texts, label = line.split(":"), None
    if expected.classes is not None or expected.has_target:
        label = texts.pop().strip()
        if expected.has_target:
            target = _numbers(path, number, label, "the target value")
            if len(target) > 1:
                raise files.located(
                    path, number, f"expected one target value, got {files.shortened(label)}"
                )
            label = target[0]
        elif not label or (expected.classes and label not in expected.classes):
            among = f" among {' '.join(sorted(expected.classes))}" if expected.classes else ""
            raise files.located(
                path, number, f"expected a class label{among}, got {files.shortened(label)}"
            )
    expected.dimensions = expected.dimensions or len(texts)
    if len(texts) != expected.dimensions:
        raise files.located(
            path,
            number,
            f"expected {expected.dimensions} dimensions (separated by :)"
            f"{'' if label is None else ' and a label'}, got {len(texts)}",
        )
    values = [_numbers(path, number, t, f"dimension {i}") for i, t in enumerate(texts, 1)]
    steps = len(values[0])
    if expected.equal_lengths:
        expected.steps = steps = expected.steps or steps
    for i, dimension in enumerate(values, 1):
        if len(dimension) != steps:
            raise files.located(
                path, number, f"expected {steps} values in dimension {i}, got {len(dimension)}"
            )
    try:
        with np.errstate(over="raise"):
            return np.array(values, dtype).T.copy(), label
    except FloatingPointError:
        raise files.located(
            path, number, f"expected numbers that {dtype} can hold; read them as float64"
        ) from None


def _numbers(path, number, text, place):
    """The numbers in a list with commas; NaN for a question mark."""
    values = []
    try:
        if "_" in text:  # Python's numbers may have underscores, these must not
            raise ValueError
        values.extend(map(float, text.replace("?", "nan").split(",")))
    except ValueError:
        fields = text.split(",")
        wrong = next((i for i, field in enumerate(fields) if not _is_number(field)), 0)
        raise files.located(
            path,
            number,
            f"expected a number or ? as value {wrong + 1} of {place}, "
            f"got {files.shortened(fields[wrong])}",
        ) from None
    return values


def _is_number(field):
    try:
        float(field.replace("?", "nan"))
    except ValueError:
        return False
    return "_" not in field
