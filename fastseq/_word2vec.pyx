# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True
"""Word vectors: what reads a corpus, and what trains on it.

An extension of its own, so that ``import fastseq`` need not load it.  What it includes lies in
``_words/``: a folder of the extension's own name would be imported where it was not built.
"""

import os

import numpy as np

cimport numpy as cnp
from libc.stdint cimport INT32_MAX, INT64_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

cnp.import_array()

include "_shared/memory.pxi"


# --- from text to ids -----------------------------------------------------------------------

include "_words/table.pxi"
include "_words/tokens.pxi"
include "_words/word_table.pxi"


# --- training -------------------------------------------------------------------------------

include "_words/rows.pxi"
include "_shared/isa.pxi"
include "_words/worker.pxi"
include "_words/blocks.pxi"
include "_words/training.pxi"
