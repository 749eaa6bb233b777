"""Checks of arguments: everything above the kernels that says no, or warns.

A message names the argument, what was expected, what came, and the way out.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

import numpy as np

# --- warnings -----------------------------------------------------------------------------------


def warn(message, category=UserWarning):
    """Warn of the line outside the package that has led here, however deep this is within."""
    level, frame = 2, sys._getframe(1)
    while _is_within(frame) and frame.f_back is not None:
        level += not _is_import(frame)
        frame = frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_within(frame):
    own = frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]
    return own or _is_import(frame)


def _is_import(frame):
    """Whether it belongs to the import system, which ``stacklevel`` doesn't count."""
    return "importlib" in frame.f_code.co_filename and "_bootstrap" in frame.f_code.co_filename


# --- numbers ------------------------------------------------------------------------------------


def integer(name, value):
    """The value as an int."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {shown(value)}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"{name} must be an integer, got {shown(value)} of type {type(value).__name__}"
        ) from None


def positive_int(name, value):
    """The value as an int, at least 1."""
    number = integer(name, value)
    if number < 1:
        raise ValueError(f"{name} must be at least 1, got {number}")
    return number


def not_negative_int(name, value):
    """The value as an int, at least 0."""
    value = integer(name, value)
    if value < 0:
        raise ValueError(f"{name} must be at least 0, got {value}")
    return value


def number(name, value, expected="a number"):
    """The value as a float."""
    if isinstance(value, (bool, np.bool_, str, bytes)):
        raise TypeError(f"{name} must be {expected}, got {shown(value)}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be {expected}, got {shown(value)}") from None


def _number_with(name, value, expected, holds):
    value = number(name, value, expected)
    if not holds(value):
        raise ValueError(f"{name} must be {expected}, got {value}")
    return value


def finite(name, value):
    """The value as a float, neither infinite nor NaN."""
    return _number_with(name, value, "a finite number", math.isfinite)


def not_negative(name, value):
    """The value as a finite float, at least 0."""
    return _number_with(name, value, "a finite number, at least 0", lambda x: 0 <= x < math.inf)


def positive(name, value):
    """The value as a float above 0, which may be infinite."""
    return _number_with(name, value, "a number above 0", lambda x: x > 0)


def positive_float(name, value):
    """The value as a finite float above 0."""
    return _number_with(name, value, "a finite number above 0", lambda x: 0 < x < math.inf)


def probability(name, value):
    """The value as a float in [0, 1]."""
    value = number(name, value, "a number from 0 to 1")
    if not 0 <= value <= 1:  # NaN too
        raise ValueError(f"{name} must be a number from 0 to 1, got {value}")
    return value


def fraction(name, value):
    """The value as a float from 0 to below 1."""
    return _number_with(name, value, "a number from 0 to below 1", lambda x: 0 <= x < 1)


# --- other settings -----------------------------------------------------------------------------


def flag(name, value):
    """The value as a bool; 0, 1 and strings are more likely to be a misplaced argument."""
    if value is True or value is False:
        return value
    if not isinstance(value, np.bool_):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def choice(name, value, options, *, or_none=False):
    """The value, one of some strings; ``or_none`` tells that None is one where it is no choice."""
    expected = ", ".join(map(repr, options)) + " or None" * or_none
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {expected}, got {shown(value)}")
    if value not in options:
        raise ValueError(f"{name} must be one of {expected}, got {shown(value)}")
    return value


def options(given, known, elsewhere=(), where=""):
    """Raise if an option is given that is not known; of those known elsewhere it is told where."""
    wrong = next((name for name in given if name not in known), None)
    if wrong is not None:
        hint = f", which {where} takes" if wrong in elsewhere else ""
        raise TypeError(f"options must be among {', '.join(known)}, got {wrong!r}{hint}")


def path(name, value, of="file", hint=""):
    """The path of a file or folder as a string; a number would be taken for an open file."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be the path of a {of}, got {shown(value)}{hint}")
    return os.fspath(value)


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


# In quotes, so that NumPy imports its random numbers when some are drawn.
Seed: TypeAlias = "int | np.random.Generator | None"


def generator(seed):
    """The random generator that a seed stands for."""
    expected = "seed must be None, a non-negative integer or a np.random.Generator"
    if isinstance(seed, (bool, np.bool_)):
        raise TypeError(f"{expected}, got {seed!r}")
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{expected}, got {seed!r}") from error


# --- calls --------------------------------------------------------------------------------------


_Function = TypeVar("_Function", bound=Callable)


def explained(name: str = "", **ways_out: str) -> Callable[[_Function], _Function]:
    """A decorator: a call with other arguments than there are says what there are.

    ``name`` is what the function is called by, if not by its own; ``ways_out`` say what to do
    without arguments that one may expect.
    """

    def decorate(function):
        code = function.__code__
        if code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
            return function  # which takes any
        count, total = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
        known = code.co_varnames[:total]
        unnamed, named = known[known[0] == "self" : count], known[count:]
        parts = [", ".join(unnamed)] * bool(unnamed)
        parts += [f"by name {', '.join(named)}"] * bool(named)
        takes = f"{name or function.__name__} takes {' and '.join(parts) or 'no arguments'}"

        @functools.wraps(function)
        def call(*args, **kwargs):
            if len(args) > count:
                raise TypeError(f"{takes}; got {shown(args[count])} as one more without a name")
            for argument in kwargs:
                if argument not in known:
                    way_out = f": {ways_out[argument]}" if argument in ways_out else ""
                    raise TypeError(f"{takes}; got {argument}{way_out}")
            return function(*args, **kwargs)

        return call

    return decorate


# --- what messages say --------------------------------------------------------------------------


def shown(value):
    """A value in a message: an array by its shape alone."""
    if isinstance(value, np.ndarray) and value.ndim:
        return f"an array {value.shape} of {value.dtype}"
    return repr(value)


def first(array, found):
    """The index of the first element for which ``found``, of the same shape, is True."""
    return np.unravel_index(np.argmax(found), array.shape)


def position(name, index):
    """An element as one writes it: ``ids[3, 0]``."""
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def _shape(letters, expected):
    if letters.startswith("of "):
        return f"the shape {letters}, {expected}"
    return f"shape {letters} = {expected}"


def _listed(names, most=4):
    """The first names, and how many there are besides."""
    shown = [repr(name) for name in names][:most]
    shown += [f"and {len(names) - most} more"] * (len(names) > most)
    return f"[{', '.join(shown)}]"


# --- arrays -------------------------------------------------------------------------------------


def _read(name, value, expected):
    """The value as an array of whatever dtype."""
    masked = sys.modules.get("numpy.ma")  # np.ma would import it, which takes a hundred calls' time
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise TypeError(
            f"{name} must be {expected}, got a masked array, whose mask would be lost: "
            f"fill the gaps, as with {name}.filled(0)"
        )
    try:
        return np.asarray(value)
    except ValueError as error:  # nested lists of unequal lengths
        hint = "pad nested sequences to one length"
        if hasattr(value, "batch_sizes"):  # PyTorch's PackedSequence
            hint = "give the padded array, and lengths beside it"
        raise ValueError(
            f"{name} must be {expected}, got {type(value).__name__}, which NumPy can't read: "
            f"{error}; {hint}"
        ) from error
    except (TypeError, RuntimeError) as error:  # what tensors of other libraries say
        is_short = str(getattr(value, "dtype", "")).endswith("bfloat16")  # NumPy has none
        hint = f"; convert it first, as with {name}.float()" if is_short else ""
        raise TypeError(
            f"{name} must be {expected}, got {type(value).__name__}, "
            f"which NumPy can't read: {error}{hint}"
        ) from error


def _to_floats(kind, name, dtype):
    """How to make floats of an array of another kind; plain conversion loses complex parts."""
    if kind in "biu":
        return f"convert it first, as with np.asarray({name}, np.{dtype})"
    if kind == "c":
        return "give real and imaginary parts as features of their own"
    return "make an array of numbers first"


def floats(name, value, dtype, if_integers=""):
    """The value as a C-contiguous, aligned, native array of ``dtype``; itself if it is one.

    ``if_integers`` is another way out where there are integers.
    """
    if type(value) is np.ndarray and value.dtype is dtype and value.flags.carray:
        return value  # the usual case, kept cheap: NumPy's own dtypes are singletons
    array = _read(name, value, "an array of floating-point numbers")
    if array.dtype.kind != "f":
        came = f"dtype {array.dtype}"
        if not isinstance(value, np.ndarray):
            came += f" from {type(value).__name__}"
        way_out = _to_floats(array.dtype.kind, name, dtype)
        way_out += if_integers if array.dtype.kind in "iu" else ""
        raise TypeError(f"{name} must hold floating-point numbers, got {came}; {way_out}")
    with np.errstate(over="raise"):
        try:
            array = np.asarray(array, dtype, order="C")
        except FloatingPointError:
            raise ValueError(
                f"{name} must fit {dtype}, got numbers beyond {np.finfo(dtype).max:.1e}; scale "
                "them first, or work in float64"
            ) from None
    return array if array.flags.aligned else array.copy()


_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def floats_of_any_precision(name, value):
    """As :func:`floats`; what is neither float32 nor float64 becomes float64."""
    dtype = getattr(value, "dtype", None)
    if dtype is not _FLOAT64:
        dtype = _FLOAT32 if getattr(dtype, "itemsize", 8) == 4 else _FLOAT64
    return floats(name, value, dtype)


def integers(name, value, expected="an array of integers"):
    """The value as an array of integers; the dtype stays."""
    array = _read(name, value, expected)
    if array.dtype.kind not in "iu" and array.size:  # an empty list has dtype float64
        way_out = f"convert them first, as with np.asarray({name}, np.int64)"
        if array.dtype.kind == "O":  # such as a generator, or a list with None in it
            way_out = "give a list or an array of integers"
        if name.endswith("lengths") and array.dtype.kind == "b":
            way_out = "count the steps of a mask first, as with mask.sum over its time axis"
        raise TypeError(f"{name} must hold integers, got dtype {array.dtype}; {way_out}")
    return array


def indices(name, value, size, what):
    """The value as a C-contiguous int64 array, all from 0 to ``size - 1``.

    The message names the first one that isn't, and its position; ``what`` says what there are
    ``size`` of.
    """
    array = integers(name, value)
    if array.size and (array.min() < 0 or array.max() >= size):
        at = first(array, (array < 0) | (array >= size))
        raise ValueError(
            f"{name} must lie between 0 and {size - 1}, since there are {size} {what}, "
            f"got {array[at]} at {position(name, at)}"
        )
    return np.asarray(array, np.int64, order="C")


def chosen_rows(value, count, letters):
    """The argument ``rows`` as int64 (N,), each of ``count`` rows any number of times."""
    rows = indices("rows", value, count, "rows")
    if rows.ndim != 1:
        raise ValueError(f"rows must have shape {letters}, got {rows.shape}")
    return rows


def numbers(name, value):
    """The value as an array of real numbers or booleans."""
    array = _read(name, value, "an array of numbers")
    if array.dtype.kind not in "biuf":
        hint = "; encode tokens first, as with a Vocabulary" if array.dtype.kind in "US" else ""
        raise TypeError(f"{name} must hold numbers, got dtype {array.dtype}{hint}")
    return array


# --- shapes -------------------------------------------------------------------------------------


def shape(name, array, expected, letters, hint=""):
    """Raise unless the array has the expected shape; ``letters`` explain its axes.

    They are letters such as ``"(T, B)"``, or say whose shape it is: ``"of y"``.
    """
    if array.shape != expected:
        described = _shape(letters, expected)
        raise ValueError(f"{name} must have {described}, got {array.shape}{hint}")


def last_axis(name, array, size, argument):
    """Raise unless the last axis has ``size`` elements, which an argument of the layer says."""
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(
            f"{name} must have shape (..., {size}), got {array.shape}; the last axis is {argument}"
        )


def mask(value, expected, letters):
    """A mask as a bool array of the expected shape, of which it may leave out trailing axes."""
    array = _read("mask", value, "an array of booleans")
    if array.dtype.kind != "b":
        raise TypeError(
            f"mask must hold booleans, True for what counts, got dtype {array.dtype}; "
            "convert it first, as with mask != 0"
        )
    if array.shape != expected[: array.ndim]:
        raise ValueError(
            f"mask must have {_shape(letters, expected)}, or leave out trailing axes, "
            f"got {array.shape}"
        )
    inner = (1,) * (len(expected) - array.ndim)
    return np.broadcast_to(array.reshape(array.shape + inner), expected)


def lengths(value, rows, steps, hint="", *, name="lengths", of="x"):
    """The lengths of ``rows`` sequences as int64, each from 0 to ``steps``, those of ``of``."""
    array = integers(name, value, "a 1-D array of integers")
    shape(name, array, (rows,), "(B,)", hint)
    lengths = array.astype(np.int64)
    if rows and lengths.view(np.uint64).max() > steps:  # negative ones are very long
        at = first(array, (array < 0) | (array > steps))
        raise ValueError(
            f"{name} must lie between 0 and {steps}, the number of steps in {of}, "
            f"got {array[at]} at {position(name, at)}"
        )
    return lengths


# --- many arrays --------------------------------------------------------------------------------


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


def state_dict(value, names, hint=lambda unexpected: "", optional=()):
    """Raise unless the value is a mapping with exactly these names, and perhaps optional ones.

    ``hint`` gets the unexpected names and may say what is wrong with them.
    """
    if not isinstance(value, Mapping):
        way_out = ""
        if isinstance(value, (str, os.PathLike)):
            is_npz = str(value).endswith(".npz")
            reads = "np.load(path)" if is_npz else "arrays, metadata = fs.load_tensors(path)"
            way_out = f"; read the file first: {reads}"
        elif isinstance(value, tuple) and value and isinstance(value[0], Mapping):
            way_out = "; the first part of what fs.load_tensors(path) returns are the arrays"
        raise TypeError(
            "state_dict must be a mapping from names to arrays, "
            f"got {type(value).__name__}{way_out}"
        )
    missing = [name for name in names if name not in value]
    unexpected = [name for name in value if name not in names and name not in optional]
    if missing or unexpected:
        raise ValueError(
            f"state_dict must have the names {_listed(names)}; "
            f"missing: {_listed(missing)}, unexpected: {_listed(unexpected)}" + hint(unexpected)
        )
