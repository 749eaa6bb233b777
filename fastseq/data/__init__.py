"""From files, arrays and texts to sequences, and from sequences to batches.

readers.py      text, CoNLL and tables from files
timeseries.py   series of numbers from files
dialogues.py    lists of utterances from files
sequences.py    arrays and data frames as sequences
vocabulary.py   from tokens to ids and back
subwords.py     the same with pieces of words
batching.py     from sequences to batches
prefetching.py  batches made ahead in a thread
"""
