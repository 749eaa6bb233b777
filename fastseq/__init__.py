"""Recurrent sequence models that are fast on CPUs: NumPy arrays in, NumPy arrays out.

>>> import numpy as np, fastseq as fs
>>> lstm = fs.LSTM(3, 4, seed=0)
>>> y, (h, c) = lstm(np.ones((5, 2, 3), np.float32))
>>> y.shape, h.shape, c.shape
((5, 2, 4), (1, 2, 4), (1, 2, 4))
"""

import importlib
from typing import Any

from fastseq._version import __version__
from fastseq.backend import free_memory, get_backend, get_num_threads, set_backend, set_num_threads
from fastseq.cells import GRUCell, LSTMCell, RNNCell
from fastseq.config import show_config
from fastseq.elementwise import sigmoid
from fastseq.layers import Dropout, Embedding, LayerNorm, Linear
from fastseq.module import Module
from fastseq.parameters import Parameters
from fastseq.recurrent import GRU, LSTM, RNN
from fastseq.streaming import Stream

# Layers come at once.
_AT_ONCE = (
    "Dropout",
    "Embedding",
    "GRU",
    "GRUCell",
    "LSTM",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "Module",
    "Parameters",
    "RNN",
    "RNNCell",
    "Stream",
    "__version__",
    "free_memory",
    "get_backend",
    "get_num_threads",
    "set_backend",
    "set_num_threads",
    "show_config",
    "sigmoid",
)

# What belongs to training is imported when it is first asked for: all of it would take as long as
# NumPy.  ``__init__.pyi`` tells type checkers.
_LATER = {
    "attention.coverage_attention": (
        "CoverageAttention",
        "CoverageLoss",
    ),
    "attention.global_attention": (
        "AdditiveAttention",
        "ConcatAttention",
        "DotAttention",
        "GeneralAttention",
    ),
    "attention.local_attention": ("LocalAttention",),
    "attention.monotonic_attention": ("MonotonicAttention",),
    "attention.multihead": (
        "MultiheadAttention",
        "ScaledDotProductAttention",
        "scaled_dot_product_attention",
    ),
    "checkpoint": (
        "load_model",
        "read_model",
        "save_model",
    ),
    "data.batching": (
        "Batch",
        "Batches",
        "BPTTWindows",
        "pad",
    ),
    "data.dialogues": ("read_dialogues",),
    "data.prefetching": (
        "Prefetcher",
        "prefetch",
    ),
    "data.readers": (
        "read_conll",
        "read_text",
        "read_tsv",
    ),
    "data.sequences": ("to_sequences",),
    "data.subwords": ("Subwords",),
    "data.timeseries": (
        "TimeSeries",
        "read_ts",
    ),
    "data.vocabulary": ("Vocabulary",),
    "decoders": (
        "AttentionGRU",
        "AttentionLSTM",
    ),
    "decoding": ("DecoderState",),
    "dialogue_metrics": (
        "distinct_n",
        "embedding_average",
        "embedding_extrema",
        "embedding_greedy",
    ),
    "latent": ("GaussianLatent",),
    "losses.adaptive_softmax": ("AdaptiveLogSoftmaxWithLoss",),
    "losses.basic": (
        "BCEWithLogitsLoss",
        "CrossEntropyLoss",
        "HuberLoss",
        "MSELoss",
        "QuantileLoss",
    ),
    "losses.crf": ("CRF",),
    "losses.ctc": ("CTCLoss",),
    "losses.latent_losses": (
        "BagOfWordsLoss",
        "KLSchedule",
        "active_units",
        "free_bits",
    ),
    "losses.linear_cross_entropy": ("LinearCrossEntropyLoss",),
    "losses.sampled_softmax": ("SampledSoftmaxLoss",),
    "metrics": (
        "bleu",
        "character_error_rate",
        "chrf",
        "edit_distances",
        "exact_match",
        "perplexity",
        "phone_error_rate",
        "sequence_error_rate",
        "word_error_rate",
    ),
    "models": (
        "HRED",
        "Conversation",
        "LanguageModel",
        "NotFittedError",
        "Seq2Seq",
        "SequenceClassifier",
        "SequenceRegressor",
        "SequenceTagger",
        "SequenceVAE",
        "VAE",
        "VHRED",
        "load",
    ),
    "sampling": ("Sampler",),
    "search.hypotheses": (
        "Hypothesis",
        "copy_unknown",
    ),
    "search.searches": (
        "beam_search",
        "greedy_search",
        "sample_sequences",
    ),
    "tensor_files": (
        "load_tensors",
        "save_tensors",
    ),
    "training.averaging": ("AveragedParameters",),
    "training.clipping": (
        "clip_grad_norm",
        "clip_grad_value",
    ),
    "training.history": ("History",),
    "training.optim": (
        "SGD",
        "Adagrad",
        "Adam",
        "AdamW",
        "RMSprop",
    ),
    "training.schedules": (
        "CosineAnnealingLR",
        "CosineAnnealingWarmRestarts",
        "ExponentialLR",
        "LambdaLR",
        "LinearLR",
        "MultiStepLR",
        "ReduceLROnPlateau",
        "SequentialLR",
        "StepLR",
    ),
    "training.trainer": ("fit",),
    "words.corpus": ("Corpus",),
    "words.keyed_vectors": ("KeyedVectors",),
    "words.phrases": ("Phrases",),
    "words.word2vec": ("Word2Vec",),
}
_MODULES = {name: module for module, names in _LATER.items() for name in names}

__all__ = sorted([*_AT_ONCE, *_MODULES])


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'fastseq' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fastseq.{_MODULES[name]}"), name)
    globals()[name] = value  # the next time it is found at once
    return value


def __dir__() -> list[str]:
    return sorted(__all__)  # not the modules, which are ours
