"""Arrays and data frames as lists of sequences."""

from __future__ import annotations

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
        If there is something else than real numbers.
    ValueError
        If shapes don't fit the table above, or a key is missing.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> sales = np.array([[3.0], [5.0], [1.0], [4.0]])
    >>> [shop.tolist() for shop in fs.to_sequences(sales, by=np.array(["b", "a", "b", "b"]))]
    [[[3.0], [1.0], [4.0]], [[5.0]]]
    """
    if _is_frame(data):
        features = list(data.columns) if columns is None else list(columns)
        if by is not None and not isinstance(by, np.ndarray):
            names = by if isinstance(by, list) else [by]
            _check_names("by", names, data)
            features = [c for c in features if c not in names] if columns is None else features
            by = [tuple(row) for row in zip(*(data[c].tolist() for c in names), strict=True)]
        _check_names("columns", features, data)
        data = _from_frame("data", data[features])
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
        if any(
            part is None or part != part for part in (key if isinstance(key, tuple) else (key,))
        ):
            raise ValueError(f"by must have a key for each row, got {key!r} in row {i}")
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    groups = np.fromiter(map(numbers.get, keys, repeat(-1)), np.int64, len(keys))
    order = np.argsort(groups, kind="stable")
    ends = np.cumsum(np.bincount(groups, minlength=len(numbers)))
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
    try:
        return frame.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must hold numbers only: {error}; choose them with columns=[...]"
        ) from error


def _check_names(argument, names, frame):
    for column in names:
        if column not in frame.columns:
            raise ValueError(
                f"{argument} must name columns of the data frame, got {column!r}; "
                f"there are {', '.join(map(str, frame.columns))}"
            )
