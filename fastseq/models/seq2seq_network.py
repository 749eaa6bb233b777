"""The network of sequence-to-sequence models: it reads a source and writes a target.

S source positions, T target steps, B rows, I the size of tokens' vectors, H hidden size, E the
size of the source's vectors, V different target tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks
from fastseq.layers import Embedding
from fastseq.models.networks import recurrent_layers, run_over_tokens
from fastseq.models.seq2seq_decoders import Bridge, as_parts, as_state, make_decoder
from fastseq.models.writing_network import Decoding, WritingNetwork, shifted
from fastseq.sampling import Sampler

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from fastseq.data.batching import Batch


class Seq2SeqNetwork(WritingNetwork):
    r"""An encoder over the source's tokens, and a decoder that writes the target.

    .. math::

        m_1 \dots m_S, h = \mathrm{encoder}(x_1 \dots x_S), \qquad s_0 = \mathrm{bridge}(h), \qquad
        s_t = \mathrm{decoder}(y_{t-1}, s_{t-1}, m)

        p(y_t = v) = \mathrm{softmax}(W s_t + b)_v

    A batch has sources ``x`` (S, B) with ``lengths``, and ``targets`` (T + 1, B) with a ``mask``,
    each of which begins with the begin token and ends with the end token.

    Parameters
    ----------
    n_source, n_target : int
        How many different tokens there are.
    embedding_dim, hidden_size, num_layers : int
        Of encoder (each direction) and decoder.
    begin_id, end_id, unknown_id : int
        Of the target's tokens; sources have the same ones.
    cell : {"lstm", "gru", "rnn"}
    bidirectional : bool
        Whether the encoder also reads from the end.  If not, the decoder begins with the very
        state in which it ends; else with what a :class:`Bridge` makes of both.
    attention : {"additive", "dot", "general", "concat"}, optional
        How the decoder finds what matters of the source; without, it knows the source by its first
        state alone (Sutskever et al., 2014).
    input_feeding : bool
        Whether each step also reads what the step before has found; "additive" always does.
    attention_size : int, optional
        The size in which "additive" and "concat" compare.
    dropout : float
        For tokens' vectors, between layers, and for outputs.
    shared_embedding : bool
        Whether sources and targets have one table of vectors.
    tie_weights : bool
        Whether W is the table of the target's vectors; then I must be H.
    label_smoothing : float
        In training.
    word_dropout : float
        Probability that a token passes for an unknown one, in sources and in what the decoder
        reads, in training (Bowman et al., 2016).
    dtype : {float32, float64}
    seed : int, Generator or None

    Attributes
    ----------
    sampled : float
        Probability that the decoder reads what it would have written itself instead of the right
        token, in training: scheduled sampling (Bengio et al., 2015).  0 at first; can be assigned.
    """

    def __init__(
        self,
        n_source: int,
        n_target: int,
        embedding_dim: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        begin_id: int,
        end_id: int,
        unknown_id: int,
        cell: str = "lstm",
        bidirectional: bool = True,
        attention: str | None = None,
        input_feeding: bool = False,
        attention_size: int | None = None,
        dropout: float = 0.0,
        shared_embedding: bool = False,
        tie_weights: bool = False,
        label_smoothing: float = 0.0,
        word_dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        names = "words encoder source target linear bridge decoder dropout dropout_out"
        seeds = self.named_seeds(seed, *names.split())
        seeds.tied = seeds.target  # the table is drawn anew where it serves for outputs, too
        self.sampled = 0.0
        sizes = embedding_dim, hidden_size, num_layers
        own = {"cell": cell, "dropout": dropout, "dtype": dtype}
        encoder = recurrent_layers(*sizes, bidirectional=bidirectional, seed=seeds.encoder, **own)
        bridge = {"bridge": Bridge(encoder, seed=seeds.bridge)} if bidirectional else {}
        decoder = make_decoder(
            *sizes,
            memory_size=hidden_size * (1 + bidirectional),
            attention=attention,
            attention_size=attention_size,
            input_feeding=input_feeding,
            seed=seeds.decoder,
            **own,
        )
        super().__init__(
            self._tables((n_source, n_target), shared_embedding, embedding_dim, dtype, seeds),
            (begin_id, end_id, unknown_id),
            seeds,
            hidden_size=hidden_size,
            dropout=dropout,
            tie_weights=tie_weights,
            word_dropout=word_dropout,
            label_smoothing=label_smoothing,
            encoder=encoder,
            **bridge,
            decoder=decoder,
        )

    @staticmethod
    def _tables(counts, shared, embedding_dim, dtype, seeds):
        """The tables of tokens' vectors: one, or one for each side."""
        if shared and counts[0] != counts[1]:
            raise ValueError(
                "shared_embedding=True needs as many source tokens as target tokens, got "
                f"{counts[0]} and {counts[1]}"
            )
        sides = ("source",) if shared else ("source", "target")
        return {
            side: Embedding(count, embedding_dim, dtype=dtype, seed=getattr(seeds, side))
            for side, count in zip(sides, counts, strict=False)
        }

    # --- training -------------------------------------------------------------------------------

    def loss_and_grad(self, batch: Batch) -> float:
        """The mean loss in nats per token; its gradients are added to ``parameters.grads``."""
        inputs, targets, mask, lengths = shifted(batch)
        if self.sampled:
            inputs = self._write_some(inputs, batch.x, batch.lengths)
        memory, state, into_source = self._read_forward(self._without_some(batch.x), batch.lengths)
        source = {"memory": memory, "memory_lengths": batch.lengths}
        y, through_decoder = self._decode_forward(inputs, state, lengths, **source)
        loss, backprop = self._loss_forward(y, targets, mask)
        d_state, _, d_memory = through_decoder(backprop())
        into_source(d_memory, d_state)
        return loss

    def loss(self, batch: Batch) -> float:
        """The mean loss without dropout, smoothing and sampling, for validation."""
        _, targets, mask, _ = shifted(batch)
        return self._loss(self._outputs(batch)[0], targets, mask)

    def training_state(self) -> dict[str, Any]:
        """What changes from batch to batch beside parameters, for checkpoints."""
        return {"sampled": self.sampled}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`training_state` gave."""
        self.sampled = state["sampled"]

    def _read_forward(self, x, lengths):
        """The source's vectors, the decoder's state, and the way back from their gradients."""
        memory, last, through_encoder = run_over_tokens(
            self.encoder, self.source, self.dropout, x, lengths
        )
        state, back = as_parts(last), None
        if "bridge" in self.children:
            state, back = self.bridge.forward(state)

        def into_source(d_memory, d_state):
            d_last = d_state if back is None else back(d_state)
            through_encoder(d_memory, as_state(d_last))

        return memory, state, into_source

    def _write_some(self, inputs, x, lengths):
        """Inputs some of which the network has drawn itself, each after those before it."""
        own = self._rng.random(inputs.shape) < self.sampled
        decoding, inputs = self.decode(x, lengths), inputs.copy()
        options = {"batch_size": inputs.shape[1], "excluded": [self._special[0]]}
        sampler = Sampler(self.n_target, **options, seed=self._rng)
        for step in range(1, len(inputs)):
            drawn = sampler.draw(decoding.step(inputs[step - 1]))
            np.copyto(inputs[step], drawn, where=own[step])
        return inputs

    # --- use ------------------------------------------------------------------------------------

    def read(self, x: np.ndarray, lengths: np.ndarray | None) -> tuple[np.ndarray, tuple]:
        """The source's vectors (S, B, E), and the state in which the decoder begins."""
        memory, state = self.encoder(x, None, lengths, embedding=self.source)
        state = as_parts(state)
        return memory, self.bridge(state) if "bridge" in self.children else state

    def decode(self, x: np.ndarray, lengths: np.ndarray | None) -> Decoding:
        """Targets of sources (S, B), token by token; see :class:`Decoding`."""
        memory, state = self.read(x, lengths)
        return Decoding(self, self.decoder.start(state, memory, lengths))

    def look(self, batch: Batch) -> np.ndarray | None:
        """How much each step of the targets looks at each position of its source, (T, B, S)."""
        return self._outputs(batch)[1]

    def log_prob(self, batch: Batch) -> np.ndarray:
        """The logarithm of the probability of each row's target (B,), float64."""
        _, targets, mask, _ = shifted(batch)
        return self._log_probs(self._outputs(batch)[0], targets, mask)

    def _outputs(self, batch):
        """The decoder's outputs (T, B, H) for a batch's targets, and where it looked."""
        inputs, _, _, lengths = shifted(batch)
        memory, state = self.read(batch.x, batch.lengths)
        return self._decode(inputs, state, lengths, memory=memory, memory_lengths=batch.lengths)
