"""Recurrent sequence models that are fast on CPUs: NumPy arrays in, NumPy arrays out.

>>> import numpy as np, fastseq as fs
>>> lstm = fs.LSTM(3, 4, seed=0)
>>> y, (h, c) = lstm(np.ones((5, 2, 3), np.float32))
>>> y.shape, h.shape, c.shape
((5, 2, 4), (1, 2, 4), (1, 2, 4))
"""

from fastseq._version import __version__
from fastseq.backend import get_backend, get_num_threads, set_backend, set_num_threads
from fastseq.cells import GRUCell, LSTMCell, RNNCell
from fastseq.config import show_config
from fastseq.ctc import CTCLoss
from fastseq.elementwise import sigmoid
from fastseq.large_vocabulary import (
    AdaptiveLogSoftmaxWithLoss,
    LinearCrossEntropyLoss,
    SampledSoftmaxLoss,
)
from fastseq.layers import Dropout, Embedding, LayerNorm, Linear
from fastseq.losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    MSELoss,
    QuantileLoss,
)
from fastseq.module import Module
from fastseq.parameters import Parameters
from fastseq.recurrent import GRU, LSTM, RNN
from fastseq.streaming import Stream

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveLogSoftmaxWithLoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "GRUCell",
    "HuberLoss",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "LinearCrossEntropyLoss",
    "MSELoss",
    "Module",
    "Parameters",
    "QuantileLoss",
    "RNNCell",
    "SampledSoftmaxLoss",
    "Stream",
    "__version__",
    "get_backend",
    "get_num_threads",
    "set_backend",
    "set_num_threads",
    "show_config",
    "sigmoid",
]
