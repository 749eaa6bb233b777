"""Word vectors.

corpus.py             a text as numbers of words
corpus_reading.py     how files and lists become one
corpus_store.py       where its ids lie: in memory or on the disk
packed_words.py       its words in little memory
word_counts.py        what follows from counts: negatives, trees, what is left out
phrases.py            words that belong together
word2vec.py           the model: CBOW and skip-gram
word2vec_training.py  its training
word2vec_states.py    a training that goes on from a file
keyed_vectors.py      vectors by their words, all that can be asked of them
vector_table.py       words, vectors and attributes
vector_similarity.py  what is similar
vector_search.py      the best of many scores
vector_evaluation.py  analogies, and similarities that people gave
vector_files.py       vectors in this package's and others' files
word2vec_files.py     word2vec's formats
vector_plots.py       pictures
"""
