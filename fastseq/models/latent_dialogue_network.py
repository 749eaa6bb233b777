"""The network of dialogue models with a latent variable for each answer.

A answers, T words of an answer, H hidden size, D directions, C context size, Z latent size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks
from fastseq.latent import GaussianLatent, shifts
from fastseq.models.dialogue_network import DialogueNetwork, Heard, Opening
from fastseq.models.latent_training import LatentWriter, Objective, noise_of_rows
from fastseq.models.writing_network import shifted

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from fastseq.models.dialogue_batches import DialogueBatch


class LatentDialogueNetwork(LatentWriter, DialogueNetwork):
    r"""A hierarchical encoder and decoder that draws what an answer is about (Serban et al., 2017).

    .. math::

        z_k \sim N(\mu_p(s_k), \sigma_p(s_k)^2), \qquad
        h_0 = \mathrm{bridge}([s_k; z_k]), \qquad
        h_t = \mathrm{decoder}([y_{t-1}; s_k; z_k], h_{t-1})

    While it learns, z is drawn from a posterior that has read the answer, too: its evidence is
    what the encoder makes of the answer.  The rest is :class:`DialogueNetwork`; batches must let
    the answers be read.  Losses are in nats per word of the answers.

    Parameters
    ----------
    n_tokens, embedding_dim, hidden_size, context_size : int
        As of :class:`DialogueNetwork`.
    latent_size : int
        Z
    num_layers : int
    bag_of_words : float
        Weight of a :class:`BagOfWordsLoss` of context and z, in training.
    word_dropout : float
        Acts on what the decoder reads alone.
    bidirectional, dtype, seed, **options
        As of :class:`DialogueNetwork`.
    """

    _drops_heard = False

    def __init__(
        self,
        n_tokens: int,
        embedding_dim: int,
        hidden_size: int,
        context_size: int,
        latent_size: int,
        num_layers: int = 1,
        *,
        bag_of_words: float = 0.0,
        bidirectional: bool = True,
        dtype: DTypeLike = np.float32,
        seed: checks.Seed = None,
        **options: Any,
    ) -> None:
        seeds = self.named_seeds(seed, "latent", "bag", "others")
        self._latent_size = checks.positive_int("latent_size", latent_size)
        evidence_size = hidden_size * (1 + bidirectional)
        parts = {
            "latent": GaussianLatent(
                context_size, evidence_size, latent_size, dtype=dtype, seed=seeds.latent
            )
        }
        known_size = context_size + latent_size
        parts |= self._bag_parts(
            bag_of_words, known_size, n_tokens, hidden_size, dtype=dtype, seed=seeds.bag
        )
        super().__init__(
            n_tokens,
            embedding_dim,
            hidden_size,
            context_size,
            num_layers,
            bidirectional=bidirectional,
            dtype=dtype,
            seed=seeds.others,
            **options,
            **parts,
        )
        self.objective = Objective(latent_size)
        self.settings["bag_of_words"] = self._bag_weight

    # --- training -------------------------------------------------------------------------------

    def _open_forward(self, heard, batch):
        z, kl, into_latent = self.latent.forward(heard.states, heard.answers)
        known = np.concatenate([heard.states, z], axis=1)
        state, through_bridge = self.bridge.forward(known)
        value, d_kl = self.objective.divergence(kl)
        share = len(z) / batch.tokens  # both are for an answer in the mean, the loss is per word
        _, targets, mask, _ = shifted(batch)
        bag, d_bag = self._bag_forward(known, targets, mask, batch.tokens)
        means = shifts(into_latent.posterior, into_latent.prior)

        def complete(loss):
            self.objective.note(loss * batch.tokens, kl, means)
            return loss + (share * value + bag)

        def back(d_state, d_known):
            d_known = d_known + through_bridge(d_state) + d_bag
            d_states, dz = np.split(d_known, [known.shape[1] - self._latent_size], axis=1)
            d_condition, d_answers = into_latent(np.ascontiguousarray(dz), share * d_kl)
            return Heard(states=d_states + d_condition, answers=d_answers)

        return Opening(state, known, heard.memory, heard.memory_lengths), complete, back

    def loss(self, batch: DialogueBatch) -> float:
        """The negative bound per word without dropout and smoothing, for validation.

        z is drawn by noise that is always the same, and the divergence has its last weight.  It
        carries on by itself.
        """
        heard, self._carried_in_loss = self.hear(batch, self._carried_in_loss)
        _, targets, mask, _ = shifted(batch)
        noise = noise_of_rows(batch.answer_numbers, 1, self._latent_size)[0].astype(self.dtype)
        z, kl, _ = self.latent.forward(heard.states, heard.answers, noise)
        kl = kl.sum(dtype=np.float64) / batch.tokens
        loss = self._loss(self._outputs(self.open(heard, z), batch), targets, mask)
        return loss + self.objective.final_weight * kl

    # --- answers --------------------------------------------------------------------------------

    def open(self, heard: Heard, z: np.ndarray | None = None) -> Opening:
        """What the decoder begins the answers with, of z (A, Z), by default the prior's mean."""
        if z is None:
            z = self.latent.prior(heard.states)[0]
        known = np.concatenate([heard.states, z], axis=1)
        return Opening(self.bridge(known), known, heard.memory, heard.memory_lengths)

    def judge(
        self, heard: Heard, batch: DialogueBatch, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """log p(answer | z), and log p(z) - log q(z | answer), for noise (n, A, Z): (n, A) each."""
        _, targets, mask, _ = shifted(batch)
        z, log_weights = self.latent.importance_samples(
            heard.states, heard.answers, len(noise), noise=noise
        )
        outputs = (self._outputs(self.open(heard, own), batch) for own in z)
        return np.stack([self._log_probs(y, targets, mask) for y in outputs]), log_weights
