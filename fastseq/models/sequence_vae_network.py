"""The network of the autoencoder for sequences: an encoder, a latent variable, a decoder.

S positions, T target steps, B rows, I the size of tokens' vectors, H hidden size, D directions, Z
latent size, V different tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.latent import GaussianLatent
from fastseq.layers import Embedding
from fastseq.models.latent_training import LatentWriter, Objective, noise_of_rows
from fastseq.models.networks import recurrent_layers, run_over_tokens
from fastseq.models.seq2seq_decoders import PlainDecoder, VectorBridge, as_parts, as_state
from fastseq.models.writing_network import (
    Decoding,
    WritingNetwork,
    from_highest,
    highest,
    shifted,
)

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from fastseq.data.batching import Batch


class SequenceVAENetwork(LatentWriter, WritingNetwork):
    r"""From sequences of tokens to Gaussians of a latent variable, and back to sequences.

    .. math::

        h = \mathrm{encoder}(x_1 \dots x_S), \qquad z \sim N(\mu(h), \sigma(h)^2), \qquad
        s_0 = \mathrm{bridge}(z)

        s_t = \mathrm{decoder}([x_{t-1}; z], s_{t-1}), \qquad
        p(x_t = v) = \mathrm{softmax}(W s_t + b)_v

    h is what both directions of the encoder's highest layer have come to.  Mean and log variance
    are linear maps of it (Bowman et al., 2016).  A batch has ``x`` (S, B) with ``lengths``, which
    end with the end token, and as ``targets`` (T + 1, B) with a ``mask`` the same from the begin
    token on.  Losses are in nats per token of the targets.

    Parameters
    ----------
    n_tokens, embedding_dim, hidden_size, latent_size, num_layers : int
    begin_id, end_id, unknown_id : int
    cell : {"lstm", "gru", "rnn"}
    bidirectional : bool
        Of the encoder.
    dropout : float
        For tokens' vectors, between layers, and for outputs.
    word_dropout : float
        Probability that the decoder reads the unknown token instead of the right one, in
        training.
    tie_weights : bool
        Whether W is the table of the tokens' vectors; then I must be H.
    bag_of_words : float
        Weight of a :class:`BagOfWordsLoss` of z, in training.
    dtype : {float32, float64}
    seed : int, Generator or None
    """

    def __init__(
        self,
        n_tokens: int,
        embedding_dim: int,
        hidden_size: int,
        latent_size: int,
        num_layers: int = 1,
        *,
        begin_id: int,
        end_id: int,
        unknown_id: int,
        cell: str = "lstm",
        bidirectional: bool = True,
        dropout: float = 0.0,
        word_dropout: float = 0.0,
        tie_weights: bool = False,
        bag_of_words: float = 0.0,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
    ) -> None:
        names = "words embedding bag dropout encoder latent bridge decoder tied linear dropout_out"
        seeds = self.named_seeds(seed, *names.split())
        embedding = Embedding(n_tokens, embedding_dim, dtype=dtype, seed=seeds.embedding)
        directions = 1 + checks.flag("bidirectional", bidirectional)
        sizes, own = (hidden_size, num_layers), {"cell": cell, "dtype": dtype}
        options = {"dropout": dropout, "bidirectional": bidirectional, "seed": seeds.encoder}
        bag = self._bag_parts(
            bag_of_words, latent_size, n_tokens, hidden_size, dtype=dtype, seed=seeds.bag
        )
        super().__init__(
            {"embedding": embedding},
            (begin_id, end_id, unknown_id),
            seeds,
            hidden_size=hidden_size,
            dropout=dropout,
            tie_weights=tie_weights,
            word_dropout=word_dropout,
            label_smoothing=0.0,
            encoder=recurrent_layers(embedding_dim, *sizes, **options, **own),
            latent=GaussianLatent(
                0,
                directions * hidden_size,
                latent_size,
                hidden_size=0,
                dtype=dtype,
                seed=seeds.latent,
            ),
            bridge=VectorBridge(latent_size, *sizes, seed=seeds.bridge, **own),
            decoder=PlainDecoder(
                embedding_dim + latent_size, *sizes, dropout=dropout, seed=seeds.decoder, **own
            ),
            **bag,
        )
        self._directions = directions
        self.objective = Objective(latent_size)
        self.settings["bag_of_words"] = self._bag_weight

    # --- training -------------------------------------------------------------------------------

    def loss_and_grad(self, batch: Batch) -> float:
        """The negative bound per token; its gradients are added to ``parameters.grads``.

        The divergence counts as :attr:`objective` says, and the bag of words is added.
        """
        inputs, targets, mask, lengths = shifted(batch)
        evidence, into_encoder = self._read_forward(batch)
        z, kl, into_latent = self.latent.forward(None, evidence)
        state, into_bridge = self.bridge.forward(z)
        y, through_decoder = self._decode_forward(inputs, state, lengths, z)
        loss, backprop = self._loss_forward(y, targets, mask)
        tokens, (value, d_kl) = self.count(batch), self.objective.divergence(kl)
        self.objective.note(loss * tokens, kl, into_latent.posterior[0])
        d_state, dz, _ = through_decoder(backprop())
        dz += into_bridge(d_state)
        bag, d_bag = self._bag_forward(z, targets, mask, tokens)
        share = len(z) / tokens  # value and d_kl are for a row in the mean, this is per token
        d_kl *= share
        into_encoder(into_latent(dz + d_bag, d_kl)[1])
        return loss + share * value + bag

    def _read_forward(self, batch):
        """What the encoder has come to (B, D * H), and the way back."""
        _, last, through_encoder = run_over_tokens(
            self.encoder, self.embedding, self.dropout, batch.x, batch.lengths
        )
        last = as_parts(last)

        def back(d_evidence):
            through_encoder(None, as_state(from_highest(d_evidence, last, self._directions)))

        return highest(last, self._directions), back

    def loss(self, batch: Batch) -> float:
        """The negative bound per token without noise in words and dropout, for validation.

        z is drawn by noise that is always the same, and the divergence has its last weight.
        """
        _, targets, mask, _ = shifted(batch)
        noise = noise_of_rows(batch.rows, 1, self.latent.latent_size)[0].astype(self.dtype)
        z, kl, _ = self.latent.forward(None, self.read(batch), noise)
        kl = kl.sum(dtype=np.float64) / self.count(batch)
        return self._loss(self._outputs(z, batch), targets, mask) + self.objective.final_weight * kl

    # --- use ------------------------------------------------------------------------------------

    def read(self, batch: Batch) -> np.ndarray:
        """What the encoder comes to, (B, D * H)."""
        _, last = self.encoder(batch.x, None, batch.lengths, embedding=self.embedding)
        return highest(as_parts(last), self._directions)

    def posterior_of(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log variance of z (B, Z)."""
        return self.latent.posterior(None, self.read(batch))

    def judge(self, batch: Batch, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log p(x | z), and log p(z) - log q(z | x), for noise (n, B, Z): (n, B) each."""
        _, targets, mask, _ = shifted(batch)
        z, log_weights = self.latent.importance_samples(
            None, self.read(batch), len(noise), noise=noise
        )
        fits = [self._log_probs(self._outputs(own, batch), targets, mask) for own in z]
        return np.stack(fits), log_weights

    def decode(self, z: np.ndarray) -> Decoding:
        """Sequences that z (B, Z) stands for, token by token; see :class:`Decoding`."""
        return Decoding(self, self.decoder.start(self.bridge(z), None, None), z)

    def _outputs(self, z, batch):
        """The decoder's outputs (T, B, H) for a batch's targets."""
        inputs, _, _, lengths = shifted(batch)
        return self._decode(inputs, self.bridge(z), lengths, z)[0]
