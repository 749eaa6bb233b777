"""Texts as one stream of ids, and back, for models that read on and on.

A line break is a token: the character itself, or a token of its own after the words or pieces
of a line.
"""

from __future__ import annotations

import os

import numpy as np

from fastseq import checks, files
from fastseq.data.subwords import Subwords
from fastseq.data.vocabulary import check_strings
from fastseq.models import inputs

UNITS = ("character", "word", "piece", "id")
UNKNOWN = "<unk>"
END = {"character": "\n", "word": "<eos>", "piece": "</s>"}
MOST_IDS = 1 << 31
MOST_OF_PATH = 4096  # characters; longer strings are no paths anywhere
PIECES = 8000  # so many if nothing else is said


def learn_vocabulary(X, unit, min_count, size):
    """The vocabulary of a text; None for ids."""
    if unit == "id":
        return None
    lines, is_ended = read_lines("X", X)
    if not any(len(line) for line in lines):
        raise ValueError("X must hold at least one token, got none")
    if unit == "piece":
        texts = [line if isinstance(line, str) else " ".join(line) for line in lines]
        return _learn_pieces(texts, size)
    if size is not None and size < 3:
        raise ValueError(
            "vocabulary_size must be at least 3, for unknown tokens, ends of lines and another "
            f"one, got {size}"
        )
    tokens = [line.split() if unit == "word" and isinstance(line, str) else line for line in lines]
    return inputs.learn_vocabulary(
        "X",
        [*tokens, [END[unit]] * (len(lines) - 1 + is_ended)],
        unit=unit,
        min_count=min_count,
        max_size=size,
        padding=None,
        unknown=UNKNOWN,
        end=END[unit],
    )


def _learn_pieces(texts, size):
    options = {"padding": None, "unknown": UNKNOWN, "end": END["piece"]}
    if size is None:  # small texts have fewer
        return Subwords.train(texts, PIECES, hard_vocab_limit=False, **options)
    try:
        return Subwords.train(texts, size, **options)
    except ValueError as error:
        raise ValueError(f"vocabulary_size must suit the text: {error}") from error


def read_lines(name, X):
    """A text as a list of lines, each a string or a list of tokens; whether the last one ends."""
    if isinstance(X, str):
        return X.split("\n"), False
    expected = f"{name} must be a text: a string, or a list of lines"
    if isinstance(X, (bytes, dict)) or not hasattr(X, "__len__"):
        raise TypeError(f"{expected}, got {type(X).__name__}")
    lines = list(X)
    for i, line in enumerate(lines):
        if isinstance(line, str):
            if "\n" in line:
                raise ValueError(
                    f"{name}[{i}] must be one line, got {files.shortened(line)}; split it first, "
                    "as with text.splitlines()"
                )
            continue
        if not hasattr(line, "__len__"):
            raise TypeError(
                f"{name}[{i}] must be a line, got {line!r} of type {type(line).__name__}"
            )
        check_strings(f"{name}[{i}]", line, range(len(line)))
    return lines, True


def check_no_path(name, X):
    """Raise if it is the path of a text, which nobody wants to learn by heart."""
    if isinstance(X, os.PathLike) or (
        isinstance(X, str) and len(X) < MOST_OF_PATH and os.path.isfile(X)
    ):
        raise ValueError(
            f"{name} must be a text, got the path of a file, {os.fspath(X)!r}: read it first, as "
            "with fastseq.read_text, or put it in a list if it is the text"
        )


def check_no_pair(name, X):
    """Raise if it is a text and what other estimators take beside it, rather than two lines."""
    kinds = [isinstance(part, str) for part in X]
    is_text = kinds[:1] == [True] and "\n" in X[0]
    if len(X) == 2 and (X[1] is None or kinds[0] != kinds[1] or is_text):
        raise TypeError(f"{name} must be a text like X, got a pair: leave y out")


def encode(name, X, vocabulary):
    """The ids of a text (N,), int64."""
    if vocabulary.unit == "character" and isinstance(X, str):
        return vocabulary.encode(X)
    lines, is_ended = read_lines(name, X)
    end = np.array([vocabulary.end_id])
    parts = []
    for i, line in enumerate(lines):
        tokens = vocabulary.split(line) if isinstance(line, str) else line
        try:
            parts += [vocabulary.encode(tokens), end]
        except ValueError as error:
            raise ValueError(f"{name}[{i}]: {error}") from None
    return np.concatenate(parts if is_ended else parts[:-1]) if parts else np.empty(0, np.int64)


def read_ids(name, X, size=None):
    """One array of ids (N,), or a list of them one after the other; ``size`` is V if known."""
    if isinstance(X, (list, tuple)) and any(np.ndim(part) for part in X):
        parts = [checks.integers(f"{name}[{i}]", part) for i, part in enumerate(X)]
        for i, part in enumerate(parts):
            if part.ndim != 1:
                raise ValueError(
                    f"{name} must hold ids (N,), or arrays of them, got shape {part.shape} as "
                    f"{name}[{i}]"
                )
        X = np.concatenate([np.asarray(part, np.int64) for part in parts])
    ids = checks.integers(name, X)
    if ids.ndim != 1:
        raise ValueError(f"{name} must hold ids (N,), or arrays of them, got shape {ids.shape}")
    if size is None:
        size = int(ids.max(initial=0)) + 1
        if size > MOST_IDS:
            raise ValueError(
                f"{name} must hold ids below {MOST_IDS}, since there is a vector for each up to "
                f"the largest, got {size - 1}: number the tokens in use from 0"
            )
    return checks.indices(name, ids, size, "different ids")


def decode(ids, vocabulary):
    """The text of ids."""
    if vocabulary.unit == "character":
        return "".join(vocabulary.decode(ids))
    ends = np.flatnonzero(np.asarray(ids) == vocabulary.end_id)
    lines = np.split(np.asarray(ids), ends)
    tokens = [vocabulary.decode(line[i > 0 :]) for i, line in enumerate(lines)]
    return "\n".join(vocabulary.join(line.tolist()) for line in tokens)


def continued(prompt, given, drawn, vocabulary):
    """A prompt as it was written, not as ids know it, and what was drawn after it."""
    head = decode(given, vocabulary)
    tail = decode(np.concatenate([given, drawn]), vocabulary)[len(head) :]
    if not isinstance(prompt, str):
        return head + tail
    return (prompt if vocabulary.unit == "character" else prompt.rstrip(" ")) + tail


def hold_out(X, part):
    """A text in two: what is learned from, and its end, which is not."""
    if not hasattr(X, "__len__"):
        raise TypeError(f"X must be a text or ids, got {type(X).__name__}")
    size = round(checks.fraction("validation", part) * len(X))
    at = len(X) - size
    if isinstance(X, str):  # not amidst a word, if there is another place
        at = next((i + 1 for i in range(at, len(X) - 1) if X[i].isspace()), at)
    if not 0 < at < len(X):
        raise ValueError(
            f"validation={part} of {len(X)} leaves {at} to learn from and {len(X) - at} to "
            "validate with, and neither may be 0"
        )
    return X[:at], X[at:]
