"""Pairs of sequences as lists of tokens, and tokens as ids and text again."""

from __future__ import annotations

import unicodedata

import numpy as np

from fastseq import checks, files
from fastseq.models import inputs

UNITS = ("word", "character", "token")
NORMALIZATIONS = ("NFC", "NFD", "NFKC", "NFKD")
SPECIAL = {"padding": None, "unknown": "<unk>", "begin": "<s>", "end": "</s>"}
EDGES = frozenset((SPECIAL["begin"], SPECIAL["end"]))


def split_pairs(X, y):
    """Sources and targets, which may come as pairs in X."""
    if y is not None:
        return X, y
    expected = "X must be a list of pairs (source, target) where there is no y"
    if isinstance(X, (str, bytes, dict)) or not hasattr(X, "__len__"):
        raise TypeError(f"{expected}, got {type(X).__name__}")
    X = inputs.by_position(X)
    for i, pair in enumerate(X):
        if not isinstance(pair, (tuple, list, np.ndarray)) or len(pair) != 2:
            raise ValueError(f"{expected}, got {files.shortened(pair)} as X[{i}]")
    return [source for source, _ in X], [target for _, target in X]


def read_tokens(name, X, unit, normalization=None):
    """Sequences as lists of tokens; strings are split as the unit says, lists are tokens."""
    inputs.count(name, X)
    return [read_one(f"{name}[{i}]", x, unit, normalization) for i, x in enumerate(X)]


def read_one(name, sequence, unit, normalization=None):
    """One sequence as a list of tokens."""
    if isinstance(sequence, str):
        if unit == "token":
            raise TypeError(
                f"{name} must be a list of tokens, got the string {files.shortened(sequence)}; "
                "split it first, or give unit 'word' or 'character'"
            )
        if normalization is not None:
            sequence = unicodedata.normalize(normalization, sequence)
        return _split(sequence, unit)
    if not hasattr(sequence, "__len__") or isinstance(sequence, (bytes, dict)):
        raise TypeError(
            f"{name} must be a string or a list of tokens, got {sequence!r} of type "
            f"{type(sequence).__name__}"
        )
    tokens = list(sequence)
    for i, token in enumerate(tokens):
        if not isinstance(token, str):
            raise TypeError(
                f"{name}[{i}] must be a string, got {token!r} of type {type(token).__name__}; "
                "convert it first, as with str"
            )
    if normalization is not None:
        tokens = [unicodedata.normalize(normalization, token) for token in tokens]
    return tokens


def _split(text, unit):
    return list(text) if unit == "character" else text.split()


def spelling(sequence, tokens, unit, normalization):
    """How the tokens of a sequence that was normalised stand in it, one for each.

    Parameters
    ----------
    sequence : str or list of str
    tokens : list of str
        What :func:`read_one` makes of it.
    unit, normalization
        As there.

    Returns
    -------
    spelled : list of str
        The tokens themselves where they come of parts of what stands there, as in NFD an accent.
    """
    if normalization is None:
        return tokens
    if not isinstance(sequence, str):
        return list(sequence)
    parts = _clusters(sequence) if unit == "character" else sequence.split()
    made = [_split(unicodedata.normalize(normalization, part), unit) for part in parts]
    if [token for some in made for token in some] != tokens:
        return tokens  # parts have become one, as letters of Hangul do in NFC
    spelled = ([part] if len(some) == 1 else some for part, some in zip(parts, made, strict=True))
    return [token for some in spelled for token in some]


def _clusters(text):
    """Characters, each with the marks that it may become one with."""
    clusters = []
    for character in text:
        if clusters and unicodedata.combining(character):
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters


def check_targets(name, targets):
    """Raise if a token is spelled like what stands before and after all targets."""
    for i, tokens in enumerate(targets):
        if not EDGES.isdisjoint(tokens):
            check_target(f"{name}[{i}]", tokens)


def check_target(name, tokens):
    """Raise if a token of one target is spelled like this."""
    token = next((token for token in tokens if token in EDGES), None)
    if token is not None:
        raise ValueError(
            f"{name} has the token {token!r}, which stands for a target's edge: take it out, or "
            "spell it differently"
        )


def encode_wanted(name, row, tokens, vocabulary):
    """What the target of a row has to hold, as ids; all of it must be known."""
    ids = vocabulary.encode(tokens)
    for token, index in zip(tokens, ids.tolist(), strict=True):
        if index == vocabulary.unknown_id or token in EDGES:
            raise inputs.RowError(
                name, row, f"must hold tokens that the model can write, got {token!r}"
            )
    return ids


def join(tokens, unit):
    """Tokens in the form in which users have them."""
    if unit == "token":
        return list(tokens)
    return ("" if unit == "character" else " ").join(tokens)


def learn_vocabulary(name, sequences, *, min_count, max_size):
    """The vocabulary of sequences, which must hold something."""
    if not any(sequences):
        raise ValueError(f"{name} must hold at least one token, got empty sequences alone")
    return inputs.learn_vocabulary(
        name, sequences, min_count=min_count, max_size=max_size, **SPECIAL
    )


def special_ids(vocabulary):
    """The ids of special tokens, as networks that write take them."""
    return {name: getattr(vocabulary, name) for name in ("begin_id", "end_id", "unknown_id")}


def learn_vocabularies(sources, targets, *, joint, min_count, max_size):
    """The vocabularies of sources and of targets: one and the same if they are joint."""
    options = {"min_count": min_count, "max_size": max_size}
    if joint:
        return (learn_vocabulary("X and y", [*sources, *targets], **options),) * 2
    return tuple(
        learn_vocabulary(name, own, **options) for name, own in (("X", sources), ("y", targets))
    )


def check_settings(estimator):
    """Raise unless the settings of what tokens are make sense."""
    checks.choice("source_unit", estimator.source_unit, UNITS)
    checks.choice("target_unit", estimator.target_unit, UNITS)
    checks.flag("joint_vocabulary", estimator.joint_vocabulary)
    check_vocabulary(estimator)


def check_vocabulary(estimator):
    """Raise unless the settings of what tokens are known make sense."""
    if estimator.normalization is not None:
        checks.choice("normalization", estimator.normalization, NORMALIZATIONS, or_none=True)
    checks.positive_int("min_count", estimator.min_count)
    if estimator.vocabulary_size is not None:
        size = checks.positive_int("vocabulary_size", estimator.vocabulary_size)
        special = [token for token in SPECIAL.values() if token is not None]
        if size <= len(special):
            raise ValueError(
                f"vocabulary_size must leave room for the {len(special)} special tokens "
                f"{', '.join(special)} and another one, got {size}"
            )
