"""Recurrent sequence models that are fast on CPUs: NumPy arrays in, NumPy arrays out.

>>> import numpy as np, fastseq as fs
>>> lstm = fs.LSTM(3, 4, seed=0)
>>> y, (h, c) = lstm(np.ones((5, 2, 3), np.float32))
>>> y.shape, h.shape, c.shape
((5, 2, 4), (1, 2, 4), (1, 2, 4))
"""

from fastseq._version import __version__
from fastseq.averaging import AveragedParameters
from fastseq.backend import get_backend, get_num_threads, set_backend, set_num_threads
from fastseq.cells import GRUCell, LSTMCell, RNNCell
from fastseq.checkpoint import load_model, read_model, save_model
from fastseq.config import show_config
from fastseq.elementwise import sigmoid
from fastseq.history import History
from fastseq.layers import Dropout, Embedding, LayerNorm, Linear
from fastseq.module import Module
from fastseq.optim import SGD, Adagrad, Adam, AdamW, RMSprop, clip_grad_norm, clip_grad_value
from fastseq.parameters import Parameters
from fastseq.recurrent import GRU, LSTM, RNN
from fastseq.schedules import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from fastseq.streaming import Stream
from fastseq.tensor_files import load_tensors, save_tensors
from fastseq.training import fit

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AveragedParameters",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "Dropout",
    "Embedding",
    "ExponentialLR",
    "GRUCell",
    "History",
    "LSTMCell",
    "LambdaLR",
    "LayerNorm",
    "Linear",
    "LinearLR",
    "Module",
    "MultiStepLR",
    "Parameters",
    "RMSprop",
    "RNNCell",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "Stream",
    "__version__",
    "clip_grad_norm",
    "clip_grad_value",
    "fit",
    "get_backend",
    "get_num_threads",
    "load_model",
    "load_tensors",
    "read_model",
    "save_model",
    "save_tensors",
    "set_backend",
    "set_num_threads",
    "show_config",
    "sigmoid",
]
