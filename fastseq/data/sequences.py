"""Arrays and data frames as lists of sequences."""

from __future__ import annotations

import decimal
import numbers
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from fastseq import checks


def to_sequences(
    data: Any,
    *,
    by: Hashable | Sequence[Hashable] | np.ndarray | None = None,
    columns: Sequence[Hashable] | None = None,
) -> list[np.ndarray]:
    """Arrays or pandas data frames as a list of sequences of feature vectors.

    =============================  ================================================
    data                           sequences
    =============================  ================================================
    array (N, T, F)                N of (T, F)
    array (N, T)                   N of (T, 1): each row is a series
    data frame                     the same: each row is a series
    array (rows, F), ``by``        rows with the same key, in their order, are the
                                   steps of a sequence
    data frame, ``by``             the same; the other columns are the features
    list of arrays, lists, frames  each of (T_i, F), or (T_i,) for one feature
    =============================  ================================================

    Parameters
    ----------
    data : array, data frame, or list of such
    by : column name, list of column names, or array of keys (rows,)
        What tells the sequences apart.  They come out in the order of their first rows:
        for a column ``frame[by].unique()``.
    columns : list of column names
        The features, of a data frame only; by default all columns but those of ``by``.

    Returns
    -------
    sequences : list of ndarray, each (T_i, F)
        Numbers in the precision they had; integers and booleans as float64, and missing values
        of data frames as NaN.

    Raises
    ------
    TypeError
        If there is something else than real numbers, such as times, or texts of digits.
    ValueError
        If shapes don't fit the table above, a key is missing, or a name is that of no column or
        of several.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> sales = np.array([[3.0], [5.0], [1.0], [4.0]])
    >>> [shop.tolist() for shop in fs.to_sequences(sales, by=np.array(["b", "a", "b", "b"]))]
    [[[3.0], [1.0], [4.0]], [[5.0]]]
    """
    if _is_frame(data):
        data, by = _choose(data, by, columns)
    elif columns is not None:
        raise ValueError("columns must be None unless data is a data frame")
    if by is not None:
        return _group(_as_floats("data", data), by)
    if isinstance(data, np.ndarray) and data.dtype != object:
        data = _as_floats("data", data)
        if data.ndim == 2:
            data = data[:, :, None]
        if data.ndim != 3:
            raise ValueError(
                f"data must have shape (N, T, F) or (N, T), got {data.shape}; "
                "put a single sequence in a list"
            )
        return list(data)
    if isinstance(data, (str, bytes, Mapping)) or not isinstance(data, Iterable):
        raise TypeError(
            f"data must be an array, a data frame, or a list of such, got {type(data).__name__}"
        )
    return [_one(f"data[{i}]", sequence) for i, sequence in enumerate(data)]


def _choose(frame, by, columns):
    """The features of a data frame (rows, F), and the keys of its rows, if there are some."""
    features = frame if columns is None else frame[_read_names("columns", columns, frame)]
    if by is not None and not isinstance(by, np.ndarray):
        names = _read_names("by", by if isinstance(by, list) else [by], frame)
        if columns is None:
            features = frame.loc[:, [name not in names for name in frame.columns]]
        by = list(zip(*(frame[name].tolist() for name in names), strict=True))
    return _from_frame("data", features), by


def _one(name, sequence):
    """A single sequence (T, F)."""
    if _is_frame(sequence):
        sequence = _from_frame(name, sequence)
    array = _as_floats(name, sequence)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape (T, F) or (T,), got {array.shape}")
    return array


def _group(rows, keys):
    """Rows with the same key as sequences, in the order in which keys come first."""
    if rows.ndim == 1:
        rows = rows[:, None]
    keys = _read_keys(keys)
    if rows.ndim != 2 or len(keys) != len(rows):
        raise ValueError(
            f"data must have shape (rows, F) with a key for each row in by, "
            f"got {rows.shape} and {len(keys)} keys"
        )
    for i, key in enumerate(keys):
        if not isinstance(key, Hashable):
            raise TypeError(
                f"by must hold keys such as numbers, strings or tuples, got {key!r} in row {i}"
            )
        if any(map(_is_missing, key if isinstance(key, tuple) else (key,))):
            raise ValueError(f"by must have a key for each row, got {key!r} in row {i}")
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    groups = np.fromiter(map(places.get, keys, repeat(-1)), np.int64, len(keys))
    order = np.argsort(groups, kind="stable")
    ends = np.cumsum(np.bincount(groups, minlength=len(places)))
    return np.split(rows[order], ends[:-1]) if len(keys) else []


def _read_keys(value):
    """The keys of all rows as a list."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(
            f"by must hold a key for each row, got {value!r}; only data frames have columns with "
            "a name"
        )
    if len(getattr(value, "shape", (0,))) != 1:
        raise ValueError(f"by must have shape (rows,), got {value.shape}")
    return value.tolist() if hasattr(value, "tolist") else list(value)


def _as_floats(name, value):
    """The value as an array of floating-point numbers."""
    array = checks.numbers(name, value)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _is_frame(data):
    """Whether it is a pandas data frame, without importing pandas."""
    return hasattr(data, "columns") and hasattr(data, "to_numpy")


def _from_frame(name, frame):
    array = frame.to_numpy()
    if array.dtype.kind == "f":
        return array
    for place, column in enumerate(frame.columns):
        wrong = _not_a_number(frame.iloc[:, place])
        if wrong is not None:
            raise TypeError(
                f"{name} must hold numbers only, got {wrong} in column {column!r}; choose "
                "columns with columns=[...]"
            )
    return frame.to_numpy(np.float64, na_value=np.nan)


def _not_a_number(column):
    """What a column holds that is neither a number nor missing, for a message; or None.

    pandas would make numbers of more: of texts, of times, and of complex numbers' real parts.
    """
    if column.dtype.kind in "biuf":  # missing values may be among these, too
        return None
    if column.dtype.kind in "mMc":
        return f"dtype {column.dtype}"
    known = numbers.Real, np.bool_, decimal.Decimal
    for value in column.tolist():
        if not (isinstance(value, known) or _is_missing(value)):
            return repr(value)
    return None


def _is_missing(value):
    """Whether it is None, NaN, or pandas's NaT or NA: what doesn't equal itself."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # of NA nothing is said
        return True


def _read_names(argument, names, frame):
    """Names as a list, each of one column of a data frame."""
    if isinstance(names, (str, bytes, set, frozenset)) or not isinstance(names, Iterable):
        raise TypeError(f"{argument} must be a list of columns' names, got {names!r}")
    names = list(names)
    if not names:
        raise ValueError(f"{argument} must name at least one column, got none")
    for name in names:
        _check_name(argument, name, list(frame.columns))
    return names


def _check_name(argument, name, known):
    """Raise unless one column has this name."""
    expected = f"{argument} must name columns of the data frame, got"
    if not isinstance(name, Hashable):
        hint = "; give keys as an array, as with by.to_numpy()" * hasattr(name, "to_numpy")
        raise TypeError(f"{expected} {type(name).__name__}{hint}")
    if name not in known:
        raise ValueError(f"{expected} {name!r}; there are {', '.join(map(str, known))}")
    if known.count(name) > 1:
        raise ValueError(f"{expected} {name!r}, which {known.count(name)} of them are called")
