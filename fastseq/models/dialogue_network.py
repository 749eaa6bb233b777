"""The network of dialogue models: it reads utterances, then a dialogue, and writes answers.

All different utterances of a batch of dialogues are one ragged batch for the encoder, all turns
one for the context's layer, and all answers one for the decoder; from one to the next rows are
gathered by their numbers, and on the way back their gradients are added up there.

W words, U utterances, K turns, B rows (dialogues), A answers, T words of an answer, S states of a
context, I the size of tokens' vectors, H hidden size, D directions, C context size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastseq import checks
from fastseq.backend import kernels
from fastseq.layers import Embedding
from fastseq.models.networks import CELLS, recurrent_layers, run_over_tokens
from fastseq.models.seq2seq_decoders import Bridge, VectorBridge, as_parts, as_state, make_decoder
from fastseq.models.writing_network import (
    Decoding,
    WritingNetwork,
    from_highest,
    highest,
    shifted,
)

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from fastseq.models.dialogue_batches import DialogueBatch
    from fastseq.module import Module


class Carried(NamedTuple):
    """What a dialogue has come to, for the turns that follow.

    Attributes
    ----------
    state : array or pair of arrays, (1, B, C)
        Of the context's layer.
    states : ndarray (S, B, C), or None
        Its outputs until then, where the decoder looks at them.
    """

    state: Any
    states: np.ndarray | None


class Heard(NamedTuple):
    """What there is to answer to, for A answers.

    On the way back the gradients of all that come in the same form.

    Attributes
    ----------
    last : tuple of arrays (layers * D, A, H), or None
        What the last utterance has left in the encoder, where there is no context.
    states : ndarray (A, C), or None
        The context.
    memory : ndarray (S, A, C), or None
        All its states until then, where the decoder looks at them.
    memory_lengths : ndarray of int64 (A,), or None
    answers : ndarray (A, D * H), or None
        What the answers themselves are to the encoder, where they are known.
    """

    last: tuple | None = None
    states: np.ndarray | None = None
    memory: np.ndarray | None = None
    memory_lengths: np.ndarray | None = None
    answers: np.ndarray | None = None

    @property
    def count(self) -> int:
        """A"""
        return self.last[0].shape[1] if self.states is None else len(self.states)

    def take(self, rows: np.ndarray) -> Heard:
        """Some of the rows, perhaps several times, to write answers; known ones are left out."""
        return Heard(
            None if self.last is None else tuple(part[:, rows] for part in self.last),
            None if self.states is None else self.states[rows],
            None if self.memory is None else self.memory[:, rows],
            None if self.memory_lengths is None else self.memory_lengths[rows],
        )


class Opening(NamedTuple):
    """What the decoder begins A answers with.

    Attributes
    ----------
    state : tuple of arrays (L, A, H)
    known : ndarray (A, F), or None
        What it reads beside each token.
    memory : ndarray (S, A, C), or None
        What it looks at.
    memory_lengths : ndarray of int64 (A,), or None
    """

    state: tuple
    known: np.ndarray | None = None
    memory: np.ndarray | None = None
    memory_lengths: np.ndarray | None = None


class DialogueNetwork(WritingNetwork):
    r"""A hierarchical recurrent encoder and decoder (Sordoni et al., 2015; Serban et al., 2016).

    .. math::

        u_k = \mathrm{encoder}(w_{k1} \dots w_{kn}), \qquad s_k = \mathrm{context}(u_k, s_{k-1})

        h_0 = \mathrm{bridge}(s_k), \qquad
        h_t = \mathrm{decoder}([y_{t-1}; s_k], h_{t-1}), \qquad
        p(y_t = v) = \mathrm{softmax}(W h_t + b)_v

    where u is what the encoder's highest layer has come to, in both directions.  Batches are
    those of :class:`DialogueBatches`; in the windows of long dialogues the context is carried on,
    and gradients end at a window's beginning.

    Parameters
    ----------
    n_tokens : int
        V
    embedding_dim, hidden_size, num_layers : int
        Of encoder (each direction) and decoder.
    context_size : int
        C
    begin_id, end_id, unknown_id : int
    cell : {"gru", "lstm", "rnn"}
        Of encoder, context and decoder.
    bidirectional : bool
        Whether the encoder also reads utterances from their ends.
    context : bool
        Whether there is one.  Without, the decoder begins with what the last utterance has left
        in the encoder: a :class:`Seq2SeqNetwork` without attention.
    attention : {"additive", "dot", "general", "concat"}, optional
        How the decoder also looks at the context's states so far, one for each turn.
    dropout : float
        For tokens' vectors, between layers, and for outputs.
    tie_weights : bool
        Whether W is the table of tokens' vectors; then I must be H.
    label_smoothing : float
        In training.
    word_dropout : float
        Probability that a token passes for an unknown one, in what is heard and in what the
        decoder reads, in training (Bowman et al., 2016).
    dtype : {float32, float64}
    seed : int, Generator or None
    **parts : Module
        Of a subclass.
    """

    _latent_size = 0  # of what the decoder knows beside the context
    _drops_heard = True  # whether word dropout also acts on what is heard

    def __init__(
        self,
        n_tokens: int,
        embedding_dim: int,
        hidden_size: int,
        context_size: int,
        num_layers: int = 1,
        *,
        begin_id: int,
        end_id: int,
        unknown_id: int,
        cell: str = "gru",
        bidirectional: bool = True,
        context: bool = True,
        attention: str | None = None,
        dropout: float = 0.0,
        tie_weights: bool = False,
        label_smoothing: float = 0.0,
        word_dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
        **parts: Module,
    ) -> None:
        names = "words embedding encoder context bridge decoder dropout tied linear dropout_out"
        seeds = self.named_seeds(seed, *names.split())
        sizes, own = (hidden_size, num_layers), {"cell": cell, "dtype": dtype}
        if not checks.flag("context", context) and attention is not None:
            raise ValueError(
                f"attention looks at the context, got {attention!r} with context=False; take "
                "attention=None, or a Seq2Seq for attention to words"
            )
        embedding = Embedding(n_tokens, embedding_dim, dtype=dtype, seed=seeds.embedding)
        options = {"dropout": dropout, "bidirectional": bidirectional, "seed": seeds.encoder}
        encoder = recurrent_layers(embedding_dim, *sizes, **options, **own)
        known = context_size + self._latent_size if context else 0
        if context:
            outputs = hidden_size * (1 + bidirectional)
            parts["context"] = CELLS[cell](outputs, context_size, dtype=dtype, seed=seeds.context)
            parts["bridge"] = VectorBridge(known, *sizes, seed=seeds.bridge, **own)
        elif bidirectional:
            parts["bridge"] = Bridge(encoder, seed=seeds.bridge)
        looks = {"memory_size": context_size, "attention": attention}
        parts["decoder"] = make_decoder(
            embedding_dim + known, *sizes, **looks, dropout=dropout, seed=seeds.decoder, **own
        )
        super().__init__(
            {"embedding": embedding},
            (begin_id, end_id, unknown_id),
            seeds,
            hidden_size=hidden_size,
            dropout=dropout,
            tie_weights=tie_weights,
            word_dropout=word_dropout,
            label_smoothing=label_smoothing,
            encoder=encoder,
            **parts,
        )
        self._directions = 1 + bidirectional
        self._has_context, self._looks = context, attention is not None
        self.forget()

    # --- training -------------------------------------------------------------------------------

    def loss_and_grad(self, batch: DialogueBatch) -> float:
        """The mean loss in nats per word of the answers; adds to ``parameters.grads``.

        The context is carried on to the next batch.
        """
        inputs, targets, mask, lengths = shifted(batch)
        heard, into_history = self._hear_forward(batch)
        opening, complete, through_opening = self._open_forward(heard, batch)
        state, *given = opening
        y, through_decoder = self._decode_forward(inputs, state, lengths, *given)
        loss, backprop = self._loss_forward(y, targets, mask)
        d_state, d_known, d_memory = through_decoder(backprop())
        into_history(through_opening(d_state, d_known)._replace(memory=d_memory))
        return complete(loss)

    def loss(self, batch: DialogueBatch) -> float:
        """The mean loss without dropout and smoothing, for validation.

        It carries on by itself, so that training goes on as if nothing had been measured.
        """
        heard, self._carried_in_loss = self.hear(batch, self._carried_in_loss)
        _, targets, mask, _ = shifted(batch)
        return self._loss(self._outputs(self.open(heard), batch), targets, mask)

    def training_state(self) -> dict[str, Any]:
        """What is carried from batch to batch, for checkpoints."""
        return {"carried": None if self._carried is None else tuple(self._carried)}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`training_state` gave."""
        carried = state["carried"]
        self._carried = None if carried is None else Carried(*carried)

    def forget(self) -> None:
        """Let go of what is carried from batch to batch."""
        self._carried = self._carried_in_loss = None

    def _hear_forward(self, batch):
        """As :meth:`hear`, which carries on, and ``back(d_heard)``."""
        words = self._without_some(batch.utterances) if self._drops_heard else batch.utterances
        _, last, through_encoder = run_over_tokens(
            self.encoder, self.embedding, self.dropout, words, batch.lengths
        )
        last = as_parts(last)
        if not self._has_context:
            at, count = batch.heard, len(batch.lengths)
            heard = Heard(_picked(last, at))

            def back(d_heard):
                return tuple(_added(d, at, count) for d in d_heard.last)
        else:
            heard, back = self._hear_context_forward(batch, last)
        return heard, lambda d_heard: through_encoder(None, as_state(back(d_heard)))

    def _hear_context_forward(self, batch, last):
        """What the context is at each answer, and the way back to the encoder's last state."""
        carried, utterances = self._of_rows(self._carried, batch), highest(last, self._directions)
        x = utterances[batch.turns]
        y, state, through_context = self.context.forward(x, carried.state, batch.turn_lengths)
        heard, self._carried = self._heard(batch, utterances, y, carried, state)

        def back(d_heard):
            dy = np.zeros_like(y)
            dy.reshape(-1, y.shape[2])[batch.places] = d_heard.states
            if d_heard.memory is not None:
                dy += self._memory_back(batch, d_heard.memory)
            dx, _ = through_context(dy)
            d_utterances = np.zeros_like(utterances)
            _add_rows(dx.reshape(-1, dx.shape[2]), batch.turns.reshape(-1), d_utterances)
            if d_heard.answers is not None:
                _add_rows(d_heard.answers, batch.answers, d_utterances)
            return from_highest(d_utterances, last, self._directions)

        return heard, back

    def _open_forward(self, heard, batch):
        """As :meth:`open`; what makes the loss complete; and the way back to what was heard."""
        if self._has_context:
            state, through_bridge = self.bridge.forward(heard.states)

            def back(d_state, d_known):
                return Heard(states=d_known + through_bridge(d_state))

            opening = Opening(state, heard.states, heard.memory, heard.memory_lengths)
            return opening, _as_it_is, back
        state, through_bridge = heard.last, lambda d_state: d_state
        if "bridge" in self.children:
            state, through_bridge = self.bridge.forward(heard.last)
        return Opening(state), _as_it_is, lambda d_state, d_known: Heard(through_bridge(d_state))

    # --- what was heard -------------------------------------------------------------------------

    def hear(self, batch: DialogueBatch, carried: Carried | None = None) -> tuple:
        """Read the turns of a batch.

        Parameters
        ----------
        batch : DialogueBatch
            Targets aren't needed.
        carried : Carried, optional
            What the rows of the batch before have come to; used if ``batch.carried``.

        Returns
        -------
        heard : Heard
            For each of the batch's answers.
        carried : Carried, or None without a context
        """
        _, last = self.encoder(batch.utterances, None, batch.lengths, embedding=self.embedding)
        last = as_parts(last)
        if not self._has_context:
            return Heard(_picked(last, batch.heard)), None
        carried, utterances = self._of_rows(carried, batch), highest(last, self._directions)
        y, state = self.context(utterances[batch.turns], carried.state, batch.turn_lengths)
        return self._heard(batch, utterances, y, carried, state)

    def _of_rows(self, carried, batch):
        """What was carried, for the rows that go on; zeros where a dialogue begins."""
        rows = len(batch.turn_lengths)
        if not batch.carried:
            empty = np.empty((0, rows, self.context.hidden_size), self.dtype)
            return Carried(None, empty if self._looks else None)
        if carried is None:
            raise ValueError(
                f"a batch that goes on after {batch.begin} turns must follow the one with these, "
                "got nothing carried; begin with the first window of its dialogues"
            )
        state = as_state([part[:, :rows] for part in as_parts(carried.state)])
        return Carried(state, None if carried.states is None else carried.states[:, :rows])

    def _heard(self, batch, utterances, y, carried, state):
        """What was heard, of the context's outputs (K, B, C), and what is carried on."""
        memory, lengths, states = None, None, None
        if self._looks:
            states = np.concatenate([carried.states, y])
            turn, row = batch.answered
            memory, lengths = states[:, row], len(carried.states) + turn + 1
            memory = memory[: lengths.max(initial=0)]
        answers = None if batch.answers is None else utterances[batch.answers]
        picked = y.reshape(-1, y.shape[2])[batch.places]
        return Heard(None, picked, memory, lengths, answers), Carried(state, states)

    def _memory_back(self, batch, d_memory):
        """The gradient of this batch's part (K, B, C) of what the decoder has looked at."""
        (turns, rows), (steps, _, size) = batch.turns.shape, d_memory.shape
        before = batch.begin
        d_states = np.zeros((before + turns, rows, size), d_memory.dtype)
        at = np.arange(steps)[:, None] * rows + batch.answered[1]
        _add_rows(d_memory.reshape(-1, size), at.reshape(-1), d_states.reshape(-1, size))
        return d_states[before:]

    # --- answers --------------------------------------------------------------------------------

    def open(self, heard: Heard) -> Opening:
        """What the decoder begins the answers to what was heard with."""
        if self._has_context:
            state = self.bridge(heard.states)
            return Opening(state, heard.states, heard.memory, heard.memory_lengths)
        return Opening(self.bridge(heard.last) if "bridge" in self.children else heard.last)

    def decode(self, opening: Opening) -> Decoding:
        """Answers token by token; see :class:`Decoding`."""
        state, known, memory, lengths = opening
        return Decoding(self, self.decoder.start(state, memory, lengths), known)

    def log_prob(self, heard: Heard, batch: DialogueBatch) -> np.ndarray:
        """The logarithm of the probability of each of a batch's answers (A,), float64."""
        _, targets, mask, _ = shifted(batch)
        return self._log_probs(self._outputs(self.open(heard), batch), targets, mask)

    def _outputs(self, opening, batch):
        """The decoder's outputs (T, A, H) for a batch's answers."""
        inputs, _, _, lengths = shifted(batch)
        state, *given = opening
        return self._decode(inputs, state, lengths, *given)[0]


def _as_it_is(loss):
    return loss


def _picked(parts, rows):
    """A state's rows."""
    return tuple(np.take(part, rows, axis=1) for part in parts)


def _added(d_rows, at, count):
    """The gradient of what rows were picked from: (L, A, F) to (L, count, F)."""
    total = np.zeros((len(d_rows), count, d_rows.shape[2]), d_rows.dtype)
    for d, own in zip(d_rows, total, strict=True):
        _add_rows(d, at, own)
    return total


def _add_rows(rows, at, total):
    kernels().add_rows(np.ascontiguousarray(rows), at, total)
