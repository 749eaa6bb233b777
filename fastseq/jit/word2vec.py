"""Training of word vectors (contract: :mod:`fastseq.reference_word2vec`).

Chunks are read with NumPy, which is quick enough; what is done with blocks is compiled.
"""

import sys

from fastseq import reference_word2vec

from .compiling import compiled

skip_gram_pairs = compiled(reference_word2vec.skip_gram_pairs)
bag_pairs = compiled(reference_word2vec.bag_pairs)
all_negatives = compiled(reference_word2vec.all_negatives)
path_nodes = compiled(reference_word2vec.path_nodes)

give_memory_back = reference_word2vec.give_memory_back
train_words = reference_word2vec.make_train_words(sys.modules[__name__])
