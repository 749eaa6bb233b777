"""Vectors of tokens that an estimator begins with."""

import os
import zlib

import numpy as np

from fastseq import checks
from fastseq.words.keyed_vectors import KeyedVectors


def check(estimator):
    """Raise unless the settings of vectors are vectors, files of them, or None."""
    for name in estimator.missing_words:
        value = getattr(estimator, name, None)
        if value is not None and not isinstance(value, (str, os.PathLike, KeyedVectors)):
            of_model = isinstance(getattr(value, "wv", None), KeyedVectors)  # a Word2Vec
            raise TypeError(
                f"{name} must be KeyedVectors or the path of a file of them, got "
                f"{type(value).__name__}" + ": give its wv" * of_model
            )


def read(estimator):
    """The vectors that an estimator's settings name, by setting, if they fit."""
    given = {name: getattr(estimator, name, None) for name in estimator.missing_words}
    vectors = {name: _read_one(value) for name, value in given.items() if value is not None}
    for name, some in vectors.items():
        if some.vector_size != estimator.embedding_dim:
            raise ValueError(
                f"embedding_dim must be the size of the {name}, which is {some.vector_size}, got "
                f"{estimator.embedding_dim}: give embedding_dim={some.vector_size}"
            )
    return vectors


def _read_one(vectors):
    return vectors if isinstance(vectors, KeyedVectors) else KeyedVectors.load(vectors)


def begin_with(estimator, vectors):
    """Put vectors into the tables of an estimator's new network; say which tokens have none."""
    for name, attribute in estimator.missing_words.items():
        missing = None
        if name in vectors:
            missing = _fill(estimator, name, vectors[name])
        setattr(estimator, attribute, missing)


def _fill(estimator, name, vectors):
    """Put vectors into one table; return the tokens that have none, or None."""
    vocabulary, embedding = estimator.table(name)
    if vocabulary is None:
        raise ValueError(f"{name} are for tokens, but X holds features; leave them out")
    seed = None if estimator.random_state is None else [estimator.random_state, 1]
    table, missing = vectors.embedding_matrix(vocabulary.tokens, seed=checks.generator(seed))
    embedding.parameters["weight"][...] = table
    without = set(missing)
    known = np.array([token not in without for token in vocabulary.tokens])
    estimator.network_.settings[name] = zlib.crc32(table[known])  # which a checkpoint compares
    special = {vocabulary.padding, vocabulary.unknown, vocabulary.begin, vocabulary.end}
    missing = [token for token in missing if token not in special]
    if not missing:
        return None
    examples = ", ".join(map(repr, missing[:5]))
    checks.warn(
        f"{name} have no vector for {len(missing):,} of {len(vocabulary):,} tokens, such as "
        f"{examples}: these begin at random, and {estimator.missing_words[name]} names them all"
    )
    return np.array(missing, object)
