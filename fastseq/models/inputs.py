"""What estimators are given: sequences of features or tokens, and labels, as arrays of numbers."""

import numbers

import numpy as np

from fastseq import checks, files
from fastseq.data.vocabulary import Vocabulary


class RowError(ValueError):
    """An error about one entry of a list, for which a command can name file and line.

    Its arguments are the list's name, the entry's index, and what is wrong with it.
    """

    def __str__(self):
        name, row, message = self.args
        return f"{name}[{row}] {message}"


# --- sequences ----------------------------------------------------------------------------------


def by_position(data):
    """The data, where they are of pandas as a list or array: those have places, not labels."""
    if hasattr(data, "columns"):
        return np.asarray(data)
    return list(data) if hasattr(data, "iloc") else data


def read_sequences(name, X):
    """Sequences of whatever kind, by position; raise if there is something else."""
    if hasattr(X, "columns"):
        raise TypeError(
            f"{name} must be a list of sequences, got a data frame; to_sequences makes sequences "
            "of it"
        )
    count(name, X)
    X = [by_position(sequence) for sequence in X]
    for i, sequence in enumerate(X):
        is_number = isinstance(sequence, np.ndarray) and not sequence.ndim
        if is_number or not hasattr(sequence, "__len__") or isinstance(sequence, (dict, set)):
            way_out = "put a single sequence in a list"
            if sequence is None:
                way_out = "leave it out, or give an empty one"
            raise TypeError(
                f"{name} must be a list of sequences, got {sequence!r} as {name}[{i}]; {way_out}"
            )
    return X


def hold_tokens(X):
    """Whether the sequences are of strings, or strings themselves."""
    for sequence in X:
        if isinstance(sequence, str):
            return True
        if len(sequence):
            return isinstance(sequence[0], str)
    return False


def read_features(name, X, expected=None):
    """Sequences as a list of finite arrays (T_i, F); ``expected`` is F if it is known."""
    X = read_sequences(name, X)
    arrays = checks.sequences(name, X)
    if expected is not None and all(array.shape == (0,) for array in arrays):
        return [np.empty((0, expected))] * len(arrays)  # nothing says that there is one feature
    is_flat = arrays[0].ndim == 1
    if is_flat:
        arrays = [array[:, None] for array in arrays]
    if arrays[0].ndim != 2:
        raise ValueError(
            f"{name} must hold sequences of shape (T, F), or (T,) for one feature, got "
            f"{name}[0] of shape {arrays[0].shape}"
        )
    features = arrays[0].shape[1]
    if not features:
        raise ValueError(f"{name} must have at least one feature, got sequences of shape (T, 0)")
    if expected is not None and features != expected:
        hint = "; put a single sequence in a list" if is_flat else ""
        raise ValueError(f"{name} must have the {expected} features of fit, got {features}{hint}")
    for i, array in enumerate(arrays):
        check_finite(f"{name}[{i}]", array)
    return arrays


def read_vectors(name, X, expected=None):
    """Vectors as a finite array (N, F); ``expected`` is F if it is known."""
    array = checks.numbers(name, by_position(X))
    if array.shape == (0,) and expected is not None:
        array = np.empty((0, expected))  # an empty list has no features, but nothing else either
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{name} must have shape (N, F), a vector each, got {array.shape}")
    if expected is not None:
        check_features(name, array, expected)
    check_finite(name, array, "row")
    return array


def check_features(name, array, expected):
    """Raise unless vectors have as many features as they had in ``fit``."""
    if array.shape[1] != expected:
        raise ValueError(
            f"{name} must have shape (N, {expected}), as it was in fit, got {array.shape}"
        )


def check_finite(name, array, what="sequence"):
    """Raise unless all numbers are finite; ``what`` may be left out otherwise."""
    finite = np.isfinite(array)
    if not finite.all():
        at = checks.first(array, ~finite)
        raise ValueError(
            f"{name} must hold finite numbers, got {array[at]} at {checks.position(name, at)}; "
            f"fill the gaps first, as with np.nan_to_num, or leave the {what} out"
        )


def learn_scale(name, arrays):
    """Mean and standard deviation (F,) of all steps; 1 where a feature never changes."""
    count = max(sum(map(len, arrays)), 1)
    units = unit(arrays)  # or squares of large and small numbers would leave float64
    mean = sum((array / units).sum(axis=0, dtype=np.float64) for array in arrays) / count
    squares = sum(np.square(array / units - mean).sum(axis=0) for array in arrays)
    scale = np.sqrt(squares / count)
    # a constant's deviation is what rounding leaves of it
    constant = scale <= 1e-12 * np.abs(mean)
    mean, scale = mean * units, np.where(constant, 1.0, scale * units)
    tiny = np.finfo(np.float64).tiny
    if (scale < tiny).any():
        raise ValueError(
            f"{name} must hold numbers that differ by {tiny:.0e} or more where they differ, got a "
            f"deviation of {scale.min():.0e}: multiply them first"
        )
    return mean, scale


def unit(arrays):
    """For each column (F,) the power of 2 that its largest number is near: dividing is exact."""
    largest = np.zeros(arrays[0].shape[1:])
    for array in arrays:
        if len(array):
            largest = np.maximum(largest, np.abs(array.astype(np.float64)).max(axis=0))
    _, exponents = np.frexp(largest)
    return np.where(largest == 0, 1.0, np.ldexp(1.0, exponents - 1))


def standardized(name, arrays, mean, scale, dtype):
    """The arrays with means of 0 and deviations of 1; only converted if the mean is None."""
    return [
        standardized_array(name, array, mean, scale, dtype, place=f"{name}[{i}]")
        for i, array in enumerate(arrays)
    ]


def standardized_array(name, array, mean, scale, dtype, *, place=None):
    """As :func:`standardized`, of one array; ``place`` is its name where it is one of several."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = array if mean is None else (array - mean) / scale
        values = values.astype(dtype, copy=False)
    finite = np.isfinite(values)
    if not finite.all():
        at = checks.first(values, ~finite)
        raise ValueError(
            f"{name} must hold numbers that {dtype} can hold"
            + " once they are standardized" * (mean is not None)
            + f", got {array[at]} at {checks.position(place or name, at)}; divide them first"
        )
    return values


def read_tokens(name, X, unit=None):
    """Sequences of strings: lists of them, or with characters as tokens also strings.

    ``unit`` is the estimator's setting, if it has one.
    """
    X = read_sequences(name, X)
    first = next((sequence[0] for sequence in X if len(sequence)), "")
    if isinstance(first, (numbers.Number, np.generic, np.ndarray)) and not isinstance(first, str):
        raise ValueError(f"{name} must hold sequences of strings, got numbers")
    for i, sequence in enumerate(X):
        if isinstance(sequence, str):
            if unit == "character":
                continue
            raise TypeError(
                f"{name}[{i}] must be a list of words, got the string "
                f"{files.shortened(sequence)}; split it first, as with text.split()"
                + ", or give unit='character'"
                * (unit is not None)
            )
        for j, token in enumerate(sequence):
            if not isinstance(token, str):
                raise TypeError(
                    f"{name}[{i}][{j}] must be a string, got {token!r} of type "
                    f"{type(token).__name__}; convert it first, as with str"
                )
    return [sequence if isinstance(sequence, str) else list(sequence) for sequence in X]


def learn_vocabulary(name, sequences, *, min_count, **options):
    """The vocabulary of sequences; raise if they would all be unknown tokens."""
    vocabulary = Vocabulary.build(sequences, min_count=min_count, **options)
    special = (vocabulary.padding, vocabulary.unknown, vocabulary.begin, vocabulary.end)
    if set(vocabulary.tokens) <= set(special):
        raise ValueError(
            f"{name} must hold a token that comes at least min_count={min_count} times, beside "
            f"{', '.join(map(repr, vocabulary.tokens))}, got none: lower min_count"
        )
    return vocabulary


def count(name, X):
    """How many sequences there are."""
    if not hasattr(X, "__len__") or isinstance(X, (str, bytes, dict)):
        hint = "; put a single sequence in a list" if isinstance(X, str) else ""
        raise TypeError(
            f"{name} must be a list of sequences, or an array, got {type(X).__name__}{hint}"
        )
    return len(X)


# --- labels -------------------------------------------------------------------------------------


def read_labels(name, labels):
    """Labels as an array (N,) of strings, integers or booleans, at least one."""
    array = labels if isinstance(labels, np.ndarray) else _as_array(name, list(labels))
    if array.ndim != 1:
        raise ValueError(f"{name} must have shape (N,), a label each, got {array.shape}")
    if not array.size:
        raise ValueError(f"{name} must hold at least one label, got none")
    kinds = {_kind(label) for label in array.tolist()} if array.dtype.kind == "O" else set()
    if kinds == {str} or array.dtype.kind in "biuU":
        return array
    got = " and ".join(sorted(kind.__name__ for kind in kinds)) or f"dtype {array.dtype}"
    raise TypeError(
        f"{name} must hold labels, which are all strings, all integers or all booleans, got {got}; "
        "convert them first, as with [str(label) for label in y]"
    )


def check_kind(name, labels, classes):
    """Raise unless labels could be among the classes: strings, or else numbers."""
    kinds = ["strings" if array.dtype.kind in "OU" else "numbers" for array in (labels, classes)]
    if kinds[0] != kinds[1]:
        raise TypeError(
            f"{name} must hold {kinds[1]}, as the labels of fit were, got {kinds[0]}; convert "
            "them first"
        )


def encode_classes(name, labels, classes):
    """The number of each label (N,) among the classes, int64."""
    numbers = {label: i for i, label in enumerate(classes.tolist())}
    try:
        return np.fromiter((numbers[label] for label in labels.tolist()), np.int64, len(labels))
    except KeyError as error:
        known = ", ".join(map(repr, classes[:10].tolist())) + ", ..." * (len(classes) > 10)
        raise ValueError(
            f"{name} must hold labels that fit has seen, {known}, got {error.args[0]!r}"
        ) from None


def _as_array(name, labels):
    """A list as an array of which nothing is lost."""
    kinds = {_kind(label) for label in labels}
    is_mixed = len(kinds) > 1 and bool(kinds & {str, bool})  # NumPy would convert the others
    if is_mixed or any(label.endswith("\0") for label in labels if isinstance(label, str)):
        return np.fromiter(labels, object, len(labels))
    array = np.array(labels)
    if kinds == {int} and array.dtype.kind not in "iu":
        largest = max(labels, key=abs)
        raise ValueError(
            f"{name} must hold integers of 64 bits, got {largest}; make strings of them, as with "
            "[str(label) for label in y]"
        )
    return array


def _kind(label):
    """What NumPy takes a label for: the type, of Python where NumPy has its own."""
    for kind, types in ((str, str), (bool, (bool, np.bool_)), (int, (int, np.integer))):
        if isinstance(label, types):
            return kind
    return type(label)
