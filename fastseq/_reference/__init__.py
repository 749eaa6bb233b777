"""Parts of :mod:`fastseq.reference`, and the kernels of text and word vectors, in NumPy.

attention.py    attention of many queries at once
decoder.py      decoders: a cell that looks at a source before each step
dot_product.py  attention of scaled dot products
corpus.py       words counted and numbered
word2vec.py     training of word vectors
"""
