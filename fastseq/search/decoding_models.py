"""What a search knows of models: scores for the next token, one row for each hypothesis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.decoding import DecoderState
from fastseq.elementwise import log_sum_exp


class Writer(Protocol):
    """A model in the middle of writing, as searches need it."""

    weights: np.ndarray | None  # (R, S), the attention of the last step

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read a token in each row, ids (R,), and score the next one: logits (R, V)."""

    def select(self, rows: np.ndarray) -> None:
        """Go on with these rows (R',): in another order, repeated, or left out."""


class Model:
    """One model, or several together: checked, and with the normalisers of its softmax."""

    def __init__(self, states: Any):
        self._states = list(states) if isinstance(states, Sequence) else [states]
        if not self._states:
            raise ValueError("state must be a model's state, or a list of at least one, got none")
        if len(set(map(id, self._states))) < len(self._states):
            raise ValueError("state must be different objects, got one of them twice in a list")
        for state in self._states:
            if isinstance(state, DecoderState):
                raise TypeError(
                    "state must read and score tokens, got a DecoderState, which reads and gives "
                    "vectors: put it between an embedding and a linear layer, into an object whose "
                    "step(ids) returns linear(decoder_state.step(embedding(ids))), whose "
                    "select(rows) calls decoder_state.select(rows), and whose weights are "
                    "decoder_state.weights"
                )
            if not callable(getattr(state, "step", None)) or not callable(
                getattr(state, "select", None)
            ):
                raise TypeError(
                    "state must have the methods step(ids) and select(rows), or be a list of such "
                    f"objects, got {type(state).__name__}"
                )
        self.classes = None

    def step(self, ids):
        """Logits (R, V), which the search may overwrite."""
        if len(self._states) == 1:
            return self._step(self._states[0], ids)
        parts = []
        for state in self._states:
            logits = self._step(state, ids)
            parts.append(logits - checked_log_sum_exp(logits)[:, None].astype(logits.dtype))
        return _mean(parts)

    def _step(self, state, ids):
        logits = checks.floats_of_any_precision("state.step(ids)", state.step(ids))
        expected = (len(ids), self.classes or logits.shape[-1])
        checks.shape("the logits of state.step", logits, expected, "(R, V)")
        self.classes = expected[1]
        return logits if logits.flags.writeable else logits.copy()

    def select(self, rows):
        for state in self._states:
            state.select(rows)

    def attention(self, rows):
        """The weights of the last step (R, S): the mean of all models'."""
        weights = [getattr(state, "weights", None) for state in self._states]
        if any(w is None for w in weights):
            raise ValueError(
                "attention and coverage_penalty need a model that has attention, but "
                "state.weights is None"
            )
        for w in weights:
            if np.ndim(w) != 2 or np.shape(w) != (rows, np.shape(weights[0])[-1]):
                raise ValueError(
                    f"state.weights must have shape (R, S) with R = {rows} and the same S for all "
                    f"models, got {np.shape(w)}"
                )
        weights = np.asarray(weights[0]) if len(weights) == 1 else np.mean(weights, axis=0)
        if not math.isfinite(np.add.reduce(weights, axis=None)):
            raise FloatingPointError(
                "state.weights must be finite, got NaN or infinity: the model's parameters or its "
                "inputs have them"
            )
        return weights


def checked_log_sum_exp(logits):
    """log(sum(exp(logits))) of each row, float64 (R,)."""
    log_sums = log_sum_exp(logits)
    check_log_sums(log_sums)
    return log_sums


def check_log_sums(log_sums):
    """Raise unless all rows of logits had numbers, one of them finite."""
    if not math.isfinite(np.add.reduce(log_sums)):
        raise FloatingPointError(
            "the logits of state.step must be numbers, and one in each row finite, got NaN or "
            "infinity: the model's parameters or its inputs have them"
        )


def _mean(log_probs):
    """The logarithm of the mean of probabilities, but for a constant, which softmax takes away."""
    top = np.maximum.reduce(log_probs)
    shift = np.where(np.isfinite(top), top, 0)
    total = sum(np.exp(part - shift) for part in log_probs)
    with np.errstate(divide="ignore"):  # where all say that it is impossible
        return np.log(total) + shift


def continuations(logits, log_probs, offsets, barred, log_sums, count):
    """Of each sentence the best continuations: sums, rows and tokens, (L, count) each.

    With ``log_sums``, which are made unless they are known; the kernel says what all these are.
    """
    shape, known = (len(offsets) - 1, count), log_sums is not None
    gains, rows, tokens = np.empty(shape), np.empty(shape, np.int64), np.empty(shape, np.int64)
    if not known:
        log_sums = np.empty(len(logits))
    arrays = (gains, rows, tokens)
    kernels().best_continuations(logits, log_probs, offsets, barred, log_sums, known, *arrays)
    if not known:
        check_log_sums(log_sums)
    return arrays, log_sums
