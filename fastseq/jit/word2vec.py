"""Training of word vectors (contract: :mod:`fastseq.reference_word2vec`).

Chunks are read with NumPy, which is quick enough; what is done with blocks is compiled.
"""

import sys

from fastseq import reference_word2vec
from fastseq.reference_word2vec import train_with

from .compiling import compiled

skip_gram_pairs = compiled(reference_word2vec.skip_gram_pairs)
bag_pairs = compiled(reference_word2vec.bag_pairs)
all_negatives = compiled(reference_word2vec.all_negatives)
path_nodes = compiled(reference_word2vec.path_nodes)


def train_words(
    syn0,
    syn1neg,
    syn1,
    ids,
    offsets,
    keep,
    alias,
    paths,
    settings,
    streams,
    first_chunk,
    rates,
    losses,
    workers,
):
    """Train on some chunks of the corpus, in place."""
    train_with(
        sys.modules[__name__],
        syn0,
        syn1neg,
        syn1,
        ids,
        offsets,
        keep,
        alias,
        paths,
        settings,
        streams,
        first_chunk,
        rates,
        losses,
    )
