# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True
"""Word vectors: what reads a corpus, and what trains on it.

An extension of its own, so that ``import fastseq`` need not load it.  What it includes lies in
``_words/``: a folder of the extension's own name would be imported where it was not built.
"""

import os

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cnp.import_array()


# --- from text to ids -----------------------------------------------------------------------


# --- training -------------------------------------------------------------------------------

include "_words/rows.pxi"
include "_words/worker.pxi"
include "_words/blocks.pxi"
include "_words/training.pxi"
