"""The kernels compiled by Numba: the fast backend where no C compiler was at hand.

The twin of :mod:`fastseq.reference`, whose docstring is the contract for every function
here.  Products over all time steps go through ``np.matmul``; what has to walk through time
is compiled, serial and free of the GIL.

================  ============================================================
compiling.py      how everything here is compiled, and cached on disk
vector_math.py    exp, tanh and sigmoid as polynomials that vectorise
time_steps.py     pieces that all three cells share
rnn.py, lstm.py,  one cell each: the compiled scans, forward and backward,
gru.py            with the kernels that call them
rows.py           adding to rows of a table
softmax.py        softmax cross-entropy
attention.py      attention of many queries at once; decoders are the NumPy twin's walk
                  around it and the compiled cells
dot_product.py    scaled dot-product attention
continuations.py  what may come next in a search
stepper.py        one step a call, for streams
optimizers.py     updates of the parameters, their average, the gradients' norm
word2vec.py       the training of word vectors
================  ============================================================
"""
# ruff: noqa: F401  (what is imported here is offered: the names of the contract's __all__)

try:
    import numba
    import scipy.linalg  # np.dot inside compiled code calls SciPy's BLAS
except ImportError as error:  # missing, or at odds with the NumPy that is installed
    raise ImportError(
        f"fastseq.jit needs numba and scipy ({error}): pip install 'fastseq[jit]'"
    ) from error

import functools
import sys

from fastseq._reference import decoder
from fastseq.jit.attention import attention_backward, attention_forward
from fastseq.jit.continuations import best_continuations
from fastseq.jit.dot_product import scaled_dot_product_backward, scaled_dot_product_forward
from fastseq.jit.gru import gru_backward, gru_forward
from fastseq.jit.lstm import lstm_backward, lstm_forward
from fastseq.jit.optimizers import (
    adagrad_step,
    adam_step,
    average,
    rmsprop_step,
    sgd_step,
    squared_norm,
)
from fastseq.jit.rnn import rnn_backward, rnn_forward
from fastseq.jit.rows import add_rows
from fastseq.jit.softmax import softmax_cross_entropy_backward, softmax_cross_entropy_forward
from fastseq.jit.stepper import Stepper
from fastseq.jit.vector_math import exp, sigmoid, tanh
from fastseq.reference import (
    RowMultiplier,
    __all__,
    add_linear_gradients,
    empty,
    gather,
    multiply_rows,
    pack_weights,
    scatter,
    sort_lengths,
)


def set_num_threads(n):
    """Accept the package's setting; the BLAS of NumPy and SciPy decides about its threads."""


# Products with the rows of a step, and the compiled cells and attention.
decoder_forward = functools.partial(decoder.scan_forward, sys.modules[__name__])
decoder_backward = functools.partial(decoder.scan_backward, sys.modules[__name__])


class DecoderStepper(decoder.DecoderStepper):
    """:class:`fastseq._reference.decoder.DecoderStepper` with these kernels."""

    _kernels = sys.modules[__name__]
