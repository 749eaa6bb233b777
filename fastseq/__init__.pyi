"""The names of ``__init__.py``, for type checkers."""

from fastseq._version import __version__
from fastseq.averaging import AveragedParameters
from fastseq.backend import get_backend, get_num_threads, set_backend, set_num_threads
from fastseq.batching import Batch, Batches, BPTTWindows, pad
from fastseq.cells import GRUCell, LSTMCell, RNNCell
from fastseq.checkpoint import load_model, read_model, save_model
from fastseq.clipping import clip_grad_norm, clip_grad_value
from fastseq.config import show_config
from fastseq.crf import CRF
from fastseq.ctc import CTCLoss
from fastseq.decoders import AttentionGRU, AttentionLSTM
from fastseq.decoding import DecoderState
from fastseq.elementwise import sigmoid
from fastseq.history import History
from fastseq.hypotheses import Hypothesis, copy_unknown
from fastseq.large_vocabulary import (
    AdaptiveLogSoftmaxWithLoss,
    LinearCrossEntropyLoss,
    SampledSoftmaxLoss,
)
from fastseq.layers import Dropout, Embedding, LayerNorm, Linear
from fastseq.losses import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, MSELoss, QuantileLoss
from fastseq.metrics import (
    bleu,
    character_error_rate,
    chrf,
    edit_distances,
    exact_match,
    perplexity,
    phone_error_rate,
    sequence_error_rate,
    word_error_rate,
)
from fastseq.models import (
    LanguageModel,
    NotFittedError,
    Seq2Seq,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    load,
)
from fastseq.module import Module
from fastseq.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from fastseq.parameters import Parameters
from fastseq.prefetching import Prefetcher, prefetch
from fastseq.readers import read_conll, read_text, read_tsv
from fastseq.recurrent import GRU, LSTM, RNN
from fastseq.sampling import Sampler
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
from fastseq.search import beam_search, greedy_search, sample_sequences
from fastseq.sequences import to_sequences
from fastseq.streaming import Stream
from fastseq.subwords import Subwords
from fastseq.tensor_files import load_tensors, save_tensors
from fastseq.timeseries import TimeSeries, read_ts
from fastseq.training import fit
from fastseq.vocabulary import Vocabulary

__all__ = [
    "CRF",
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdaptiveLogSoftmaxWithLoss",
    "AttentionGRU",
    "AttentionLSTM",
    "AveragedParameters",
    "BCEWithLogitsLoss",
    "BPTTWindows",
    "Batch",
    "Batches",
    "CTCLoss",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CrossEntropyLoss",
    "DecoderState",
    "Dropout",
    "Embedding",
    "ExponentialLR",
    "GRUCell",
    "History",
    "HuberLoss",
    "Hypothesis",
    "LSTMCell",
    "LambdaLR",
    "LanguageModel",
    "LayerNorm",
    "Linear",
    "LinearCrossEntropyLoss",
    "LinearLR",
    "MSELoss",
    "Module",
    "MultiStepLR",
    "NotFittedError",
    "Parameters",
    "Prefetcher",
    "QuantileLoss",
    "RMSprop",
    "RNNCell",
    "ReduceLROnPlateau",
    "SampledSoftmaxLoss",
    "Sampler",
    "Seq2Seq",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "SequentialLR",
    "StepLR",
    "Stream",
    "Subwords",
    "TimeSeries",
    "Vocabulary",
    "__version__",
    "beam_search",
    "bleu",
    "character_error_rate",
    "chrf",
    "clip_grad_norm",
    "clip_grad_value",
    "copy_unknown",
    "edit_distances",
    "exact_match",
    "fit",
    "get_backend",
    "get_num_threads",
    "greedy_search",
    "load",
    "load_model",
    "load_tensors",
    "pad",
    "perplexity",
    "phone_error_rate",
    "prefetch",
    "read_conll",
    "read_model",
    "read_text",
    "read_ts",
    "read_tsv",
    "sample_sequences",
    "save_model",
    "save_tensors",
    "sequence_error_rate",
    "set_backend",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "to_sequences",
    "word_error_rate",
]
