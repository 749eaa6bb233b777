"""What networks have in common that write a target, whatever it is that they have read before.

T target steps, B rows, I the size of tokens' vectors, H hidden size, V different target tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks
from fastseq.elementwise import log_probs
from fastseq.layers import Dropout, Linear
from fastseq.losses.linear_cross_entropy import LinearCrossEntropyLoss
from fastseq.models.networks import prepare_to_tie, read_tokens
from fastseq.module import Module

if TYPE_CHECKING:
    from types import SimpleNamespace

    from fastseq.layers import Embedding

LOGITS_AT_ONCE = 1 << 22  # where targets are judged token by token


class WritingNetwork(Module):
    """A network that ends in a softmax over the next token of a target.

    A batch has ``targets`` (T + 1, B), from the begin token to the end token, and perhaps a
    ``mask``.

    Parameters
    ----------
    tables : dict of Embedding
        Parts that are tables of tokens' vectors, the last one that of the target's tokens.
    special : tuple of int
        The ids of begin, end and unknown token.
    seeds : namespace of Generator
        ``words`` is for word dropout, ``dropout``, ``dropout_out`` and ``linear`` for these parts,
        and ``tied`` for the target's table where it serves for outputs, too.
    hidden_size : int
        H
    dropout : float
        For tokens' vectors, and for outputs.
    tie_weights : bool
        Whether the linear map's weight is the target's table; then I must be H.
    word_dropout : float
        Probability that a token passes for an unknown one, in training (Bowman et al., 2016).
    label_smoothing : float
        In training.
    **parts : Module
        What lies between, a ``decoder`` among them.
    """

    def __init__(
        self,
        tables: dict[str, Embedding],
        special: tuple[int, int, int],
        seeds: SimpleNamespace,
        *,
        hidden_size: int,
        dropout: float,
        tie_weights: bool,
        word_dropout: float,
        label_smoothing: float,
        **parts: Module,
    ) -> None:
        self._word_dropout = checks.fraction("word_dropout", word_dropout)
        self._rng, self._special = seeds.words, special
        *_, target = tables.values()
        super().__init__(
            **tables,
            dropout=Dropout(dropout, seed=seeds.dropout),
            **parts,
            dropout_out=Dropout(dropout, seed=seeds.dropout_out),
            linear=_output_layer(hidden_size, target, tie_weights, seeds),
        )
        self._target = target
        self._loss = LinearCrossEntropyLoss(self.linear)
        self._smooth = LinearCrossEntropyLoss(self.linear, label_smoothing=label_smoothing)
        self.settings = {  # which a checkpoint compares
            "network": repr(self),
            "label_smoothing": float(label_smoothing),
            "word_dropout": self._word_dropout,
        }

    @property
    def n_target(self) -> int:
        """V"""
        return self.linear.out_features

    def count(self, batch: Any) -> int:
        """How many tokens the mean loss of a batch is over."""
        _, targets, mask, _ = shifted(batch)
        return targets.size if mask is None else int(np.count_nonzero(mask))

    def release(self) -> None:
        """Let go of the memory that is kept from call to call."""
        super().release()
        self._loss.release()
        self._smooth.release()

    # --- tokens ---------------------------------------------------------------------------------

    def _without_some(self, ids):
        """The ids with some words as unknown ones."""
        if not self._word_dropout:
            return ids
        begin, end, unknown = self._special
        dropped = self._rng.random(ids.shape) < self._word_dropout
        return np.where(dropped & (ids != begin) & (ids != end), unknown, ids)

    def _decode(self, ids, state, lengths, known=None, memory=None, memory_lengths=None):
        """The decoder over ids and, beside them, what is known: see its call."""
        given = state, lengths, memory, memory_lengths
        return self.decoder(ids, *given, embedding=self._target, beside=known)

    def _decode_forward(self, ids, state, lengths, known=None, memory=None, memory_lengths=None):
        """The decoder's outputs (T, B, H) in training, and the way back.

        The way back gives the gradients of state, of what is known, and of the memory.
        """
        given = state, lengths, memory, memory_lengths
        x, table, into_table = read_tokens(self._target, self.dropout, self._without_some(ids))
        y, through_decoder = self.decoder.forward(x, *given, embedding=table, beside=known)

        def back(dy):
            dx, d_state, d_memory, *d_known = through_decoder(dy)
            into_table(dx)
            return d_state, d_known[0] if d_known else None, d_memory

        return y, back

    # --- outputs --------------------------------------------------------------------------------

    def _loss_forward(self, y, targets, mask):
        """The training's mean loss of outputs, and the way back to them."""
        y, into_outputs = self.dropout_out.forward(y)
        loss, backprop = self._smooth.forward(y, targets, mask)
        return loss, lambda: into_outputs(backprop())

    def _log_probs(self, y, targets, mask):
        """The logarithm of the probability of each row's target (B,), float64."""
        rows, size = y.shape[1:]
        mask = np.ones(targets.shape, bool) if mask is None else mask
        places = np.flatnonzero(mask)
        h, targets = y.reshape(-1, size), targets.reshape(-1)
        sums, at_once = np.zeros(rows), max(1, LOGITS_AT_ONCE // self.n_target)
        for begin in range(0, len(places), at_once):
            own = places[begin : begin + at_once]
            np.add.at(sums, own % rows, log_probs(self.linear(h[own]), targets[own]))
        return sums


class Decoding:
    """Targets that a network writes token by token, for whatever chooses the tokens.

    It begins with a row for each source.  Rows may be taken several times, or be left out, at any
    step; each keeps its state and its source.

    Parameters
    ----------
    network : WritingNetwork
    steps : what ``decoder.start`` gives
    beside : ndarray (R, F), optional
        What each row reads beside its tokens' vectors.
    """

    def __init__(self, network, steps, beside=None):
        self._network, self._steps, self._beside = network, steps, beside
        self._scores = network.linear.packed()

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read a token (R,) for each row; the scores (R, V) of the ones after them."""
        x = self._network._target(ids)
        if self._beside is not None:
            x = np.concatenate([x, self._beside], axis=1)
        return self._scores(self._steps.step(x))

    def select(self, rows: np.ndarray) -> None:
        """Go on with these rows alone, in this order; they may come several times."""
        self._steps.select(rows)
        if self._beside is not None:
            self._beside = self._beside[rows]

    @property
    def weights(self) -> np.ndarray | None:
        """How much each row's last step looked at each position of its source, (R, S)."""
        return self._steps.weights


def _output_layer(hidden_size, target, tie_weights, seeds):
    """A linear map to logits, whose weight may be the target's table."""
    if checks.flag("tie_weights", tie_weights):
        prepare_to_tie(target, hidden_size, seeds.tied)
    linear = Linear(
        hidden_size,
        target.num_embeddings,
        dtype=target.dtype,
        seed=seeds.linear,
        tied=target if tie_weights else None,
    )
    linear.parameters["bias"][...] = 0
    return linear


def shifted(batch):
    """What the decoder reads, what it is to write, where that counts, and its lengths."""
    targets, mask = batch.targets, batch.mask
    if mask is None:
        return targets[:-1], targets[1:], None, None
    return targets[:-1], targets[1:], mask[1:], mask[1:].sum(axis=0)


def highest(state, directions):
    """The state h of an encoder's highest layer, (B, D * H), of its parts (L * D, B, H)."""
    return np.concatenate(list(state[0][-directions:]), axis=1)


def from_highest(d_h, state, directions):
    """The gradient of all parts of that state."""
    d_state = tuple(map(np.zeros_like, state))
    d_state[0][-directions:] = np.split(d_h, directions, axis=1)
    return d_state
