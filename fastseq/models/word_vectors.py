"""Vectors of tokens that an estimator begins with."""

import os
import warnings
import zlib

import numpy as np

from fastseq import checks
from fastseq.keyed_vectors import KeyedVectors


def check(embeddings):
    """Raise unless the setting is vectors, a file of them, or None."""
    if embeddings is not None and not isinstance(embeddings, (str, os.PathLike, KeyedVectors)):
        raise TypeError(
            "embeddings must be KeyedVectors or the path of a file of them, got "
            f"{type(embeddings).__name__}"
        )


def read(estimator):
    """The vectors that an estimator's settings name, if there are some and they fit."""
    vectors = getattr(estimator, "embeddings", None)
    if vectors is None:
        return None
    if not isinstance(vectors, KeyedVectors):
        vectors = KeyedVectors.load(vectors)
    if vectors.vector_size != estimator.embedding_dim:
        raise ValueError(
            f"embedding_dim must be the size of the embeddings, which is {vectors.vector_size}, "
            f"got {estimator.embedding_dim}: give embedding_dim={vectors.vector_size}"
        )
    return vectors


def begin_with(estimator, vectors):
    """Put vectors into the table of an estimator's new network; say which tokens have none."""
    estimator.missing_words_ = None
    if vectors is None:
        return
    vocabulary, network = estimator.vocabulary_, estimator.network_
    if vocabulary is None:
        raise ValueError("embeddings are for tokens, but X holds features; leave them out")
    seed = None if estimator.random_state is None else [estimator.random_state, 1]
    table, missing = vectors.embedding_matrix(vocabulary.tokens, seed=checks.generator(seed))
    embedding = getattr(network, "encoder", network).embedding
    embedding.parameters["weight"][...] = table
    without = set(missing)
    known = np.array([token not in without for token in vocabulary.tokens])
    network.settings["embeddings"] = zlib.crc32(table[known])  # which a checkpoint compares
    special = {vocabulary.padding, vocabulary.unknown, vocabulary.begin, vocabulary.end}
    missing = [token for token in missing if token not in special]
    if missing:
        estimator.missing_words_ = np.array(missing, object)
        examples = ", ".join(map(repr, missing[:5]))
        warnings.warn(
            f"embeddings have no vector for {len(missing):,} of {len(vocabulary):,} tokens, such "
            f"as {examples}: these begin at random, and missing_words_ names them all",
            stacklevel=4,
        )
