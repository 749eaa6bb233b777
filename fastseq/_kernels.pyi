"""The compiled kernels.  Arguments and layout are explained in ``reference.py``."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
_Offsets: TypeAlias = NDArray[np.int64]
_Tokens: TypeAlias = _Floats | NDArray[np.int64]  # indices: rows of weight_ih are looked up
_Padded: TypeAlias = tuple[_Floats, NDArray[np.int64]]  # padded, order
# weight_ih, weight_hh, bias_ih, bias_hh; both biases or none
_Weights: TypeAlias = tuple[_Floats, _Floats, _Floats | None, _Floats | None]
_Nonlinearity: TypeAlias = Literal["tanh", "relu", "sigmoid"]
_GatedCell: TypeAlias = Literal["lstm", "gru"]  # of decoders with attention
_Output: TypeAlias = tuple[_Floats, _Floats | None]  # weight, bias
# keys, values, v, source_offsets, query_weight
_Attention: TypeAlias = tuple[_Floats, _Floats, _Floats | None, _Offsets, _Floats | None]
_DecoderStates: TypeAlias = tuple[_Floats, _Floats | None, _Floats | None]  # h0, c0, fed0
_DecoderResults: TypeAlias = tuple[_Floats, _Floats, _Floats | None]  # attended, alignments, y
# queries, gates, cells
_DecoderSaved: TypeAlias = tuple[_Floats | None, _Floats | None, _Floats | None]

def available_isas() -> tuple[str, ...]: ...
def isa() -> str: ...
def set_isa(name: str) -> None: ...
def set_num_threads(n: int) -> None: ...
def reserve_memory(bytes: int) -> None: ...
def free_memory() -> None: ...
def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> _Floats: ...
def exp(x: _Floats, out: _Floats) -> None: ...
def tanh(x: _Floats, out: _Floats) -> None: ...
def sigmoid(x: _Floats, out: _Floats) -> None: ...
def sort_lengths(
    lengths: NDArray[np.int64], order: NDArray[np.int64], offsets: NDArray[np.int64]
) -> None: ...
def gather(padded: _Floats, order: _Offsets, offsets: _Offsets | None, tokens: _Floats) -> None: ...
def scatter(
    tokens: _Floats, order: _Offsets, offsets: _Offsets | None, padded: _Floats
) -> None: ...
def multiply_rows(
    x: _Floats, weight: _Floats, bias: _Floats | None, out: _Floats, accumulate: bool = False
) -> None: ...

class RowMultiplier:
    def __init__(self, weight: _Floats, bias: _Floats | None) -> None: ...
    def __call__(self, x: _Floats, out: _Floats) -> None: ...

def add_linear_gradients(
    dy: _Floats, x: _Floats, d_weight: _Floats, d_bias: _Floats | None
) -> None: ...
def add_rows(rows: _Floats, places: NDArray[np.int64], out: _Floats) -> None: ...
def softmax_cross_entropy_forward(
    logits: _Floats,
    targets: NDArray[np.int64],
    log_sums: NDArray[np.float64],
    picked: NDArray[np.float64],
    totals: NDArray[np.float64] | None,
) -> None: ...
def softmax_cross_entropy_backward(
    logits: _Floats,
    targets: NDArray[np.int64],
    log_sums: NDArray[np.float64],
    scale: float,
    on_target: float,
    elsewhere: float,
    d_logits: _Floats,
) -> None: ...
def rnn_forward(
    x: _Tokens | _Padded,
    h0: _Floats,
    weights: Sequence[_Weights] | list[PackedWeights],
    offsets: _Offsets,
    reverse: Sequence[bool],
    nonlinearity: _Nonlinearity,
    y: _Floats | _Padded,
    h_n: _Floats,
) -> None: ...
def rnn_backward(
    dy: _Floats,
    x: _Tokens,
    h0: _Floats,
    weights: Sequence[_Weights],
    offsets: _Offsets,
    reverse: Sequence[bool],
    nonlinearity: _Nonlinearity,
    y: _Floats,
    dx: _Floats | None,
    dh: _Floats,
    grads: Sequence[_Weights],
) -> None: ...
def lstm_forward(
    x: _Tokens | _Padded,
    h0: _Floats,
    c0: _Floats,
    weights: Sequence[_Weights] | list[PackedWeights],
    offsets: _Offsets,
    reverse: Sequence[bool],
    y: _Floats | _Padded,
    h_n: _Floats,
    c_n: _Floats,
    gates: _Floats | None,
    cells: _Floats | None,
) -> None: ...
def lstm_backward(
    dy: _Floats,
    x: _Tokens,
    h0: _Floats,
    c0: _Floats,
    weights: Sequence[_Weights],
    offsets: _Offsets,
    reverse: Sequence[bool],
    y: _Floats,
    gates: _Floats,
    cells: _Floats,
    dx: _Floats | None,
    dh: _Floats,
    dc: _Floats,
    grads: Sequence[_Weights],
) -> None: ...
def gru_forward(
    x: _Tokens | _Padded,
    h0: _Floats,
    weights: Sequence[_Weights] | list[PackedWeights],
    offsets: _Offsets,
    reverse: Sequence[bool],
    reset_after: bool,
    y: _Floats | _Padded,
    h_n: _Floats,
    gates: _Floats | None,
) -> None: ...
def gru_backward(
    dy: _Floats,
    x: _Tokens,
    h0: _Floats,
    weights: Sequence[_Weights],
    offsets: _Offsets,
    reverse: Sequence[bool],
    reset_after: bool,
    y: _Floats,
    gates: _Floats,
    dx: _Floats | None,
    dh: _Floats,
    grads: Sequence[_Weights],
) -> None: ...
def sgd_step(
    values: _Floats,
    grads: _Floats,
    buffer: _Floats | None,
    scale: float,
    lr: float,
    decay: float,
    momentum: float,
    gain: float,
    nesterov: bool,
) -> None: ...
def adam_step(
    values: _Floats,
    grads: _Floats,
    mean: _Floats,
    square: _Floats,
    largest: _Floats | None,
    scale: float,
    rate: float,
    decay: float,
    shrink: float,
    beta1: float,
    beta2: float,
    correction: float,
    eps: float,
) -> None: ...
def rmsprop_step(
    values: _Floats,
    grads: _Floats,
    square: _Floats,
    mean: _Floats | None,
    buffer: _Floats | None,
    scale: float,
    lr: float,
    decay: float,
    alpha: float,
    momentum: float,
    eps: float,
) -> None: ...
def adagrad_step(
    values: _Floats,
    grads: _Floats,
    total: _Floats,
    scale: float,
    rate: float,
    decay: float,
    eps: float,
) -> None: ...
def average(mean: NDArray[np.float64], values: _Floats, weight: float) -> None: ...
def squared_norm(x: _Floats) -> float: ...

class PackedWeights: ...

def pack_weights(
    cell: Literal["rnn", "lstm", "gru"],
    option: _Nonlinearity | bool | None,
    weights: Sequence[_Weights],
) -> list[PackedWeights]: ...

class Stepper:
    @property
    def h(self) -> _Floats: ...
    @property
    def c(self) -> _Floats | None: ...
    def __init__(
        self,
        cell: Literal["rnn", "lstm", "gru"],
        weights: list[PackedWeights],
        option: _Nonlinearity | bool | None,
        h: _Floats,
        c: _Floats | None,
    ) -> None: ...
    def over(self, h: _Floats, c: _Floats | None) -> Stepper: ...
    def __call__(self, x: Any) -> _Floats: ...

def best_continuations(
    logits: _Floats,
    log_probs: NDArray[np.float64],
    offsets: _Offsets,
    barred: NDArray[np.uint8] | None,
    log_sums: NDArray[np.float64],
    known: bool,
    gains: NDArray[np.float64],
    rows: NDArray[np.int64],
    tokens: NDArray[np.int64],
) -> None: ...
def attention_forward(
    query: _Floats,
    keys: _Floats,
    values: _Floats,
    v: _Floats | None,
    sources: NDArray[np.int64],
    source_offsets: _Offsets,
    weights: _Floats,
    context: _Floats,
) -> None: ...
def attention_backward(
    d_context: _Floats,
    d_weights: _Floats | None,
    query: _Floats,
    keys: _Floats,
    values: _Floats,
    v: _Floats | None,
    sources: NDArray[np.int64],
    source_offsets: _Offsets,
    weights: _Floats,
    d_query: _Floats,
    d_keys: _Floats,
    d_values: _Floats,
    d_v: _Floats | None,
) -> None: ...
def scaled_dot_product_forward(
    query: _Floats,
    key: _Floats,
    value: _Floats,
    key_lengths: NDArray[np.int64] | None,
    causal: bool,
    scale: float,
    out: _Floats,
    log_sums: NDArray[np.float64],
) -> None: ...
def scaled_dot_product_backward(
    d_out: _Floats,
    query: _Floats,
    key: _Floats,
    value: _Floats,
    key_lengths: NDArray[np.int64] | None,
    causal: bool,
    scale: float,
    out: _Floats,
    log_sums: NDArray[np.float64],
    d_query: _Floats,
    d_key: _Floats,
    d_value: _Floats,
) -> None: ...
def decoder_forward(
    cell: _GatedCell,
    option: bool | None,
    inputs: _Floats,
    states: _DecoderStates,
    weights: _Weights,
    attention: _Attention,
    sources: NDArray[np.int64],
    output: _Output | None,
    offsets: _Offsets,
    results: _DecoderResults,
    finals: Sequence[_Floats | None],
    saved: _DecoderSaved,
) -> None: ...
def decoder_backward(
    d_results: tuple[_Floats, _Floats | None, _Floats | None],
    cell: _GatedCell,
    option: bool | None,
    inputs: _Floats,
    states: _DecoderStates,
    weights: _Weights,
    attention: _Attention,
    sources: NDArray[np.int64],
    output: _Output | None,
    offsets: _Offsets,
    results: _DecoderResults,
    saved: _DecoderSaved,
    dx: _Floats | None,
    d_states: _DecoderStates,
    d_queries: _Floats | None,
    d_attention: tuple[_Floats, _Floats, _Floats | None],
    grads: _Weights,
) -> None: ...

class DecoderStepper:
    def __init__(
        self,
        cell: _GatedCell,
        option: bool | None,
        weights: _Weights,
        attention: _Attention,
        output: _Output,
        feeds: Literal["context", "output"] | None,
    ) -> None: ...
    def copy(self) -> DecoderStepper: ...
    def __call__(
        self,
        x: _Floats,
        sources: NDArray[np.int64],
        h: _Floats,
        c: _Floats | None,
        fed: _Floats | None,
        y: _Floats,
        alignments: _Floats,
    ) -> None: ...
