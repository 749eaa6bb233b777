"""Training of word vectors (contract: :mod:`fastseq._reference.word2vec`).

Chunks are read with NumPy, which is quick enough; what is done with blocks is compiled.
"""

import sys

from fastseq._reference import word2vec as reference
from fastseq.jit.compiling import compiled

skip_gram_pairs = compiled(reference.skip_gram_pairs)
bag_pairs = compiled(reference.bag_pairs)
all_negatives = compiled(reference.all_negatives)
path_nodes = compiled(reference.path_nodes)

give_memory_back = reference.give_memory_back
train_words = reference.make_train_words(sys.modules[__name__])
