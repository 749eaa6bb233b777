"""Dialogues: a model whose answers vary, by a latent variable for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from fastseq import checks
from fastseq.latent import divergence, log_mean_exp, shifts
from fastseq.losses.latent_losses import active_units
from fastseq.models.autoencoder import LatentReport, read_samples
from fastseq.models.dialogue import HRED, DialoguePerplexity
from fastseq.models.latent_dialogue_network import LatentDialogueNetwork
from fastseq.models.latent_training import LatentEstimator, noise_of_rows
from fastseq.models.settings import estimator


@estimator
class VHRED(HRED, LatentEstimator):
    r"""Answers in dialogues that vary: an HRED with a latent variable for each answer.

    Before the decoder writes, a vector z is drawn that says what the answer will be about; the
    decoder gets it together with the context (Serban et al., 2017).  Its prior follows from the
    context, so several answers to one history are several draws.  In training z comes from a
    posterior that has read the answer as well; training maximises a lower bound:

    .. math:: \log p(y | s) \ge E_{q(z | s, y)} \log p(y | s, z)
        - \mathrm{KL}(q(z | s, y) \,\|\, p(z | s))

    A decoder that can guess each word from those before soon does without z, whose divergence
    then falls to 0.  Against it help a weight of the divergence that rises slowly, words that the
    decoder does not get to see (``word_dropout``), ``bag_of_words``, and ``free_bits``.  Whether
    z is used say ``history_.reports`` of each epoch, and :meth:`latent_report`.

    :meth:`respond`, conversations, and :meth:`predict` with n draw z anew for each answer, and
    then search, or draw words; :meth:`predict` without n and :meth:`score` take the prior's mean
    for z, and always give the same.

    Parameters
    ----------
    latent_size : int
        The size of z.
    bag_of_words : float
        Weight of a loss that asks z and the context for all words of the answer at once (Zhao et
        al., 2017).
    word_dropout : float
        Probability that the decoder does not see a token that it has to go on from, while
        training.
    kl_schedule : {"constant", "linear", "cyclical"}
        How the weight of the divergence goes up to ``kl_weight``: see
        :class:`fastseq.KLSchedule`.
    kl_updates : int, optional
        How many updates a rise takes; by default so many that the weight rises during half of
        the run, in all.
    kl_cycles : int
        How many rises there are in a cyclical schedule.
    kl_weight : float
        The weight in the end.
    free_bits : float
        Nats that each dimension of z may tell for free: see :func:`fastseq.free_bits`.  Where
        answers follow from the context all but entirely, these keep z from falling silent.
    unit, normalization, min_count, vocabulary_size, cell, embedding_dim, embeddings, hidden_size
        As of :class:`HRED`.
    context_size, num_layers, bidirectional, attention, tie_weights, dropout, label_smoothing
        As of :class:`HRED`.
    answers, max_turns, beam_size, length_penalty, selection, epochs, batch_size
        As of :class:`HRED`.
    {training}

    Attributes
    ----------
    vocabulary_ : Vocabulary
    longest_answer_ : int
        In tokens, among those of ``fit``.
    missing_words_ : ndarray or None
        The tokens without a vector in ``embeddings``, if there were some.
    network_ : LatentDialogueNetwork
    history_ : History
        Losses in nats per word, and more, for each update and epoch; ``reports`` has
        reconstruction, divergence and active units of an answer, measured on the way.

    Examples
    --------
    Whoever says hello is asked one of several things.

    >>> import fastseq as fs
    >>> questions = ["how are you", "what is new", "did you sleep well", "are you hungry"]
    >>> dialogues = [["hello", question] for question in questions] * 8
    >>> model = fs.VHRED(
    ...     latent_size=4, embedding_dim=16, hidden_size=32, context_size=16, epochs=40,
    ...     batch_size=8, lr=0.01, random_state=1,
    ... ).fit(dialogues)
    >>> report = model.latent_report(dialogues)
    >>> report.kl > 0.5, report.active_units > 0
    (True, True)
    >>> answers = model.respond(["hello"], 40, seed=0)
    >>> len(set(answers) & set(questions)) > 2
    True
    """

    _free = (*LatentEstimator._free, *HRED._free)
    _of_network = (*HRED._of_network, "latent_size", "bag_of_words")
    _reads_answers = True

    context: ClassVar[bool] = True  # no setting here
    latent_size: int = 32
    word_dropout: float = 0.25
    bag_of_words: float = 1.0
    kl_schedule: str = "linear"
    kl_updates: int | None = None
    kl_cycles: int = 4
    kl_weight: float = 1.0
    free_bits: float = 0.02

    # --- how good it is -------------------------------------------------------------------------

    def log_prob(self, X: Sequence, n_samples: int = 50, *, seed: int = 0) -> list[np.ndarray]:
        r"""How probable the answers in dialogues are, by importance weighting.

        .. math:: \log p(y | s) \approx \log \frac{1}{n} \sum_{i=1}^n
            \frac{p(y | s, z_i) \, p(z_i | s)}{q(z_i | s, y)}

        is a lower bound in the mean, and the more samples the closer (Burda et al., 2016).

        Parameters
        ----------
        X : list of dialogues
        n_samples : int
        seed : int
            What an answer gets depends on the seed, on its dialogue's place in X, and on its
            own there.

        Returns
        -------
        log_prob : list of ndarray of float64
            Natural logarithms, of each dialogue's answers.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X holds something else than dialogues, or there is no answer in them; if
            ``n_samples`` or ``seed`` is out of its range.
        FloatingPointError
            If the model's parameters are not finite.
        """
        return self._log_prob(X, n_samples=n_samples, seed=seed)

    def perplexity(self, X: Sequence, n_samples: int = 50, *, seed: int = 0) -> DialoguePerplexity:
        """How surprising the answers in dialogues are, by :meth:`log_prob`.

        Parameters
        ----------
        X : list of dialogues
        n_samples, seed : int

        Returns
        -------
        perplexity : DialoguePerplexity

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X holds something else than dialogues, or there is no answer in them; if
            ``n_samples`` or ``seed`` is out of its range.
        FloatingPointError
            If the model's parameters are not finite.
        """
        return self._perplexity(X, n_samples=n_samples, seed=seed)

    def latent_report(self, X: Sequence, n_samples: int = 1, *, seed: int = 0) -> LatentReport:
        """Whether and how the latent variable is used, of an answer in the mean.

        Parameters
        ----------
        X : list of dialogues
        n_samples : int
            How many z of each posterior.
        seed : int

        Returns
        -------
        report : LatentReport
            Of the units those count as active whose posterior mean varies over the answers,
            measured from the prior's mean and in its standard deviations.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X holds something else than dialogues, or there is no answer in them; if
            ``n_samples`` or ``seed`` is out of its range.
        FloatingPointError
            If the model's parameters are not finite.
        """
        self._check_fitted()
        n_samples, seed = read_samples(n_samples, seed)
        latent, reconstruction, kl, means = self.network_.latent, 0.0, 0.0, []
        for batch, heard in self._heard(self.read(X)[0]):
            posterior = latent.posterior(heard.states, heard.answers)
            prior = latent.prior(heard.states)
            kl += divergence(*posterior, *prior).sum(dtype=np.float64)
            fits, _ = self._judge(batch, heard, n_samples, seed)
            reconstruction -= fits.mean(axis=0).sum()
            means.append(shifts(posterior, prior))
        means = np.concatenate(means)
        reconstruction, kl = float(reconstruction / len(means)), float(kl / len(means))
        return LatentReport(reconstruction, kl, active_units(means), -reconstruction - kl)

    def _log_probs(self, dialogues, *, n_samples, seed):
        n_samples, seed = read_samples(n_samples, seed)
        for batch, heard in self._heard(dialogues):
            yield batch, log_mean_exp(sum(self._judge(batch, heard, n_samples, seed)))

    def _judge(self, batch, heard, n, seed):
        """log p(answer | z), and log p(z) - log q(z | answer), for n z of each: (n, A) each."""
        noise = noise_of_rows(batch.answer_numbers, n, self.latent_size, seed)
        return self.network_.judge(heard, batch, noise)

    # --- answers --------------------------------------------------------------------------------

    def _read_options(self, n, options):
        return super()._read_options(1, options)  # each z has a search of its own

    def _answer_some(self, heard, n, how):
        count = heard.count
        heard = heard.take(np.repeat(np.arange(count), n))
        z = self.network_.latent.sample(heard.states, seed=how.rng)[:, 0]
        found = [one for (one,) in self._search(self.network_.open(heard, z), 1, how)]
        return [found[row * n : (row + 1) * n] for row in range(count)]

    # --- training -------------------------------------------------------------------------------

    def check_settings(self):
        super().check_settings()
        self._check_latent()
        checks.not_negative("bag_of_words", self.bag_of_words)

    def make_network(self, seed):
        options = self._network_options()
        del options["context"]
        return LatentDialogueNetwork(**options, seed=seed)
