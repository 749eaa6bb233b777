"""The names of ``__init__.py``, for type checkers."""

from fastseq._version import __version__
from fastseq.adaptive_softmax import AdaptiveLogSoftmaxWithLoss
from fastseq.attention import (
    AdditiveAttention,
    ConcatAttention,
    DotAttention,
    GeneralAttention,
)
from fastseq.averaging import AveragedParameters
from fastseq.backend import get_backend, get_num_threads, set_backend, set_num_threads
from fastseq.batching import Batch, Batches, BPTTWindows, pad
from fastseq.cells import GRUCell, LSTMCell, RNNCell
from fastseq.checkpoint import load_model, read_model, save_model
from fastseq.clipping import clip_grad_norm, clip_grad_value
from fastseq.config import show_config
from fastseq.corpus import Corpus
from fastseq.coverage_attention import CoverageAttention, CoverageLoss
from fastseq.crf import CRF
from fastseq.ctc import CTCLoss
from fastseq.decoders import AttentionGRU, AttentionLSTM
from fastseq.decoding import DecoderState
from fastseq.dialogue_metrics import (
    distinct_n,
    embedding_average,
    embedding_extrema,
    embedding_greedy,
)
from fastseq.dialogues import read_dialogues
from fastseq.elementwise import sigmoid
from fastseq.history import History
from fastseq.hypotheses import Hypothesis, copy_unknown
from fastseq.keyed_vectors import KeyedVectors
from fastseq.latent import GaussianLatent
from fastseq.latent_losses import BagOfWordsLoss, KLSchedule, active_units, free_bits
from fastseq.layers import Dropout, Embedding, LayerNorm, Linear
from fastseq.linear_cross_entropy import LinearCrossEntropyLoss
from fastseq.local_attention import LocalAttention
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
    HRED,
    VAE,
    VHRED,
    Conversation,
    LanguageModel,
    NotFittedError,
    Seq2Seq,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    SequenceVAE,
    load,
)
from fastseq.module import Module
from fastseq.monotonic_attention import MonotonicAttention
from fastseq.multihead import (
    MultiheadAttention,
    ScaledDotProductAttention,
    scaled_dot_product_attention,
)
from fastseq.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from fastseq.parameters import Parameters
from fastseq.phrases import Phrases
from fastseq.prefetching import Prefetcher, prefetch
from fastseq.readers import read_conll, read_text, read_tsv
from fastseq.recurrent import GRU, LSTM, RNN
from fastseq.sampled_softmax import SampledSoftmaxLoss
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
from fastseq.word2vec import Word2Vec

__all__ = [
    "CRF",
    "GRU",
    "HRED",
    "LSTM",
    "RNN",
    "SGD",
    "VAE",
    "VHRED",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdaptiveLogSoftmaxWithLoss",
    "AdditiveAttention",
    "AttentionGRU",
    "AttentionLSTM",
    "AveragedParameters",
    "BCEWithLogitsLoss",
    "BPTTWindows",
    "BagOfWordsLoss",
    "Batch",
    "Batches",
    "CTCLoss",
    "ConcatAttention",
    "Conversation",
    "Corpus",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CoverageAttention",
    "CoverageLoss",
    "CrossEntropyLoss",
    "DecoderState",
    "DotAttention",
    "Dropout",
    "Embedding",
    "ExponentialLR",
    "GRUCell",
    "GaussianLatent",
    "GeneralAttention",
    "History",
    "HuberLoss",
    "Hypothesis",
    "KLSchedule",
    "KeyedVectors",
    "LSTMCell",
    "LambdaLR",
    "LanguageModel",
    "LayerNorm",
    "Linear",
    "LinearCrossEntropyLoss",
    "LinearLR",
    "LocalAttention",
    "MSELoss",
    "Module",
    "MonotonicAttention",
    "MultiStepLR",
    "MultiheadAttention",
    "NotFittedError",
    "Parameters",
    "Phrases",
    "Prefetcher",
    "QuantileLoss",
    "RMSprop",
    "RNNCell",
    "ReduceLROnPlateau",
    "SampledSoftmaxLoss",
    "Sampler",
    "ScaledDotProductAttention",
    "Seq2Seq",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "SequenceVAE",
    "SequentialLR",
    "StepLR",
    "Stream",
    "Subwords",
    "TimeSeries",
    "Vocabulary",
    "Word2Vec",
    "__version__",
    "active_units",
    "beam_search",
    "bleu",
    "character_error_rate",
    "chrf",
    "clip_grad_norm",
    "clip_grad_value",
    "copy_unknown",
    "distinct_n",
    "edit_distances",
    "embedding_average",
    "embedding_extrema",
    "embedding_greedy",
    "exact_match",
    "fit",
    "free_bits",
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
    "read_dialogues",
    "read_model",
    "read_text",
    "read_ts",
    "read_tsv",
    "sample_sequences",
    "save_model",
    "save_tensors",
    "scaled_dot_product_attention",
    "sequence_error_rate",
    "set_backend",
    "set_num_threads",
    "show_config",
    "sigmoid",
    "to_sequences",
    "word_error_rate",
]
