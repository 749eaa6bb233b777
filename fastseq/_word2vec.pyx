# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True
"""Word vectors: what reads a corpus, and what trains on it.

An extension of its own, so that ``import fastseq`` need not load it.  What it includes lies in
``_words/``: a folder of the extension's own name would be imported where it was not built.
"""

cimport numpy as cnp

cnp.import_array()


# --- from text to ids -----------------------------------------------------------------------


# --- training -------------------------------------------------------------------------------
