"""Checks of arguments: everything above the kernels that says no.

A message names the argument, what was expected, what came, and the way out.
"""

from __future__ import annotations

import operator

import numpy as np


def positive_int(name, value):
    """The value as an int, at least 1."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} must be an integer, got {value!r} of type {type(value).__name__}"
        ) from None
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number


def flag(name, value):
    """The value as a bool; 0, 1 and strings are more likely to be a misplaced argument."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def probability(name, value):
    """The value as a float in [0, 1]."""
    if isinstance(value, (bool, np.bool_, str, bytes)):
        raise TypeError(f"{name} must be a number from 0 to 1, got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number from 0 to 1, got {value!r}") from None
    if not 0 <= number <= 1:  # NaN too
        raise ValueError(f"{name} must be a number from 0 to 1, got {number}")
    return number


def choice(name, value, options):
    """The value, one of some strings."""
    expected = ", ".join(map(repr, options))
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {expected}, got {value!r}")
    if value not in options:
        raise ValueError(f"{name} must be one of {expected}, got {value!r}")
    return value


def float_dtype(value):
    """The value as float32 or float64."""
    try:
        dtype = None if value is None else np.dtype(value)
    except TypeError:
        dtype = None
    for known in (np.dtype(np.float32), np.dtype(np.float64)):
        if dtype is not None and dtype == known:  # to NumPy, None equals float64 too
            return known  # NumPy's own object, not an equal one
    raise ValueError(f"dtype must be float32 or float64, got {value!r}")


def generator(seed):
    """The random generator that a seed stands for."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"seed must be None, a non-negative integer or a np.random.Generator, got {seed!r}"
        ) from error


def floats(name, value, dtype):
    """The value as a C-contiguous, aligned, native array of ``dtype``; itself if it is one."""
    if type(value) is np.ndarray and value.dtype is dtype and value.flags.carray:
        return value  # the usual case, kept cheap: NumPy's own dtypes are singletons
    array = _read(name, value, "an array of floating-point numbers")
    if array.dtype.kind != "f":
        raise TypeError(
            f"{name} must hold floating-point numbers, got dtype {array.dtype}; "
            f"convert it first, as with np.asarray({name}, np.{dtype})"
        )
    array = np.asarray(array, dtype, order="C")
    return array if array.flags.aligned else array.copy()


def numbers(name, value):
    """The value as an array of real numbers or booleans."""
    array = _read(name, value, "an array of numbers")
    if array.dtype.kind not in "biuf":
        hint = "; encode tokens first, as with a Vocabulary" if array.dtype.kind in "US" else ""
        raise TypeError(f"{name} must hold numbers, got dtype {array.dtype}{hint}")
    return array


def sequences(name, value):
    """The value as a list of arrays (T_i, ...) whose other axes are equal."""
    expected = f"{name} must be a list of sequences"
    if hasattr(value, "columns"):
        raise TypeError(f"{expected}, got a data frame; to_sequences makes sequences of it")
    if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__len__"):
        raise TypeError(f"{expected}, got {type(value).__name__}")
    if isinstance(value, np.ndarray) and value.ndim < 2 and value.dtype != object:
        raise TypeError(
            f"{expected}, got an array of shape {value.shape}; put a single sequence in a list"
        )
    arrays = [numbers(f"{name}[{i}]", sequence) for i, sequence in enumerate(value)]
    if not arrays:
        raise ValueError(f"{expected}, got none")
    for i, array in enumerate(arrays):
        if not array.ndim:
            raise TypeError(f"{expected}, got the number {array} as {name}[{i}]")
    # an empty list says nothing about axes and dtype, so it takes those of the others
    first = next((i for i, array in enumerate(arrays) if array.size), 0)
    for i, array in enumerate(arrays):
        if array.shape == (0,):
            arrays[i] = np.empty((0, *arrays[first].shape[1:]), arrays[first].dtype)
        elif array.shape[1:] != arrays[first].shape[1:]:
            raise ValueError(
                f"{name} must agree in all axes but the first: {name}[{i}] has shape "
                f"{array.shape}, {name}[{first}] has {arrays[first].shape}"
            )
    return arrays


def _read(name, value, expected):
    """The value as an array of whatever dtype."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} must be {expected}, got a masked array, whose mask would be lost: "
            f"fill the gaps, as with {name}.filled(0)"
        )
    try:
        return np.asarray(value)
    except ValueError as error:  # nested lists of unequal lengths
        raise ValueError(f"{name} must be {expected}: {error}") from error
    except (TypeError, RuntimeError) as error:  # what tensors of other libraries say
        raise TypeError(
            f"{name} must be {expected}, got {type(value).__name__}, "
            f"which NumPy can't read: {error}"
        ) from error


def shape(name, array, expected, letters, hint=""):
    """Raise unless the array has the expected shape; ``letters`` explain its axes."""
    if array.shape != expected:
        raise ValueError(f"{name} must have shape {letters} = {expected}, got {array.shape}{hint}")


def lengths(value, rows, steps, hint=""):
    """The lengths of ``rows`` sequences as int64, each from 0 to ``steps``."""
    array = _read("lengths", value, "a 1-D array of integers")
    if array.dtype.kind not in "iu" and array.size:  # an empty list has dtype float64
        raise TypeError(
            f"lengths must hold integers, got dtype {array.dtype}; "
            "convert them first, as with np.asarray(lengths, np.int64)"
        )
    shape("lengths", array, (rows,), "(B,)", hint)
    if rows and (array.min() < 0 or array.max() > steps):
        wrong = array.min() if array.min() < 0 else array.max()
        raise ValueError(
            f"lengths must lie between 0 and {steps}, the number of steps in x, got {wrong}"
        )
    return array.astype(np.int64)
