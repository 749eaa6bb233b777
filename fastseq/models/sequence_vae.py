"""The variational autoencoder of sequences of tokens, such as sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastseq import checks
from fastseq.data.batching import Batches
from fastseq.models import inputs, token_pairs
from fastseq.models.autoencoder import Autoencoder
from fastseq.models.networks import CELLS, check_parameters, check_tied
from fastseq.models.sequence_vae_network import SequenceVAENetwork
from fastseq.models.settings import estimator
from fastseq.models.writing_options import WritingOptions

if TYPE_CHECKING:
    from fastseq.words.keyed_vectors import KeyedVectors

AT_ONCE = 4_000  # tokens of a batch that nothing is learned from
ROWS_AT_ONCE = 200  # texts that are written at a time


class Perplexity(NamedTuple):
    """How well a model knows texts.

    Attributes
    ----------
    per_token : float
        Among so many equally probable tokens it might as well have guessed; the end of a text
        counts as one.
    nats : float
        -log p(x) of a text, in the mean.
    """

    per_token: float
    nats: float


@estimator
class SequenceVAE(Autoencoder):
    r"""Sentences as points of a space, and points of the space as sentences.

    An encoder reads a text and guesses a latent variable z; a decoder, which begins with z and
    has it beside each token, writes the text again (Bowman et al., 2016).  Both learn from a
    lower bound of the text's probability:

    .. math:: \log p(x) \ge E_{q(z | x)} \log p(x | z) - \mathrm{KL}(q(z | x) \,\|\, N(0, 1))

    A decoder that can guess each word from those before soon does without z, whose divergence
    then falls to 0.  Against it help a weight of the divergence that rises slowly, words that the
    decoder does not get to see (``word_dropout``), ``free_bits``, and ``bag_of_words``.  Whether
    z is used say ``history_.reports`` of each epoch, and :meth:`latent_report`.

    Texts are strings, which the unit says how to split, or lists of tokens.

    Parameters
    ----------
    unit : {"word", "character", "token"}
        What a token is: what stands between white space, a character, or an element of a list.
        Texts are written in the same form: strings, or with "token" lists.
    normalization : {"NFC", "NFD", "NFKC", "NFKD"}, optional
        Unicode normalisation.
    min_count : int
        Tokens that come less often in ``fit`` are unknown, as are those that never came.
    vocabulary_size : int, optional
        At most, special tokens included.
    latent_size : int
        Z, the size of z.
    cell : {"lstm", "gru", "rnn"}
        Of all recurrent layers.
    embedding_dim : int
        The size of tokens' vectors.
    embeddings : str or KeyedVectors, optional
        Vectors to begin with: a file, or what it holds; of size ``embedding_dim``.  Tokens
        without a vector are named in a warning, and begin at random.
    hidden_size, num_layers : int
        Of the encoder, in each direction, and of the decoder.
    bidirectional : bool
        Whether the encoder also reads from the end.
    tie_weights : bool
        Whether the tokens' vectors are the output weights as well (Press & Wolf, 2017); needs
        embedding_dim = hidden_size.
    dropout : float
        For tokens' vectors, between layers, and for outputs.
    word_dropout : float
        Probability that the decoder does not see a token that it has to go on from, while
        training.
    bag_of_words : float
        Weight of a loss that asks z alone for all words of the text (Zhao et al., 2017).
    kl_schedule : {"constant", "linear", "cyclical"}
        How the weight of the divergence goes up to ``kl_weight``, in each ``fit`` anew: see
        :class:`fastseq.KLSchedule`.
    kl_updates : int, optional
        How many updates a rise takes; by default so many that the weight rises during half of
        the run, in all.
    kl_cycles : int
        How many rises there are in a cyclical schedule.
    kl_weight : float
        The weight in the end.
    free_bits : float
        Nats that each dimension of z may tell for free: see :func:`fastseq.free_bits`.
    beam_size : int
        How many beginnings a search keeps; with 1 it is greedy.
    epochs : int
        Passes over the data.
    batch_size : int
        How many texts an update takes.
    {training}

    Attributes
    ----------
    vocabulary_ : Vocabulary
    longest_ : int
        The most tokens that a text of ``fit`` had.
    missing_words_ : ndarray or None
        The tokens without a vector in ``embeddings``, if there were some.
    network_ : Module
    history_ : History
        Losses and more, for each update and epoch; ``reports`` has those of the latent variable.

    Examples
    --------
    >>> import fastseq as fs
    >>> kinds = {"cat": "purrs and sleeps", "dog": "barks and runs", "cow": "eats green grass"}
    >>> texts = [f"{a} {b} {animal} {what}" for animal, what in kinds.items()
    ...          for a in ("the", "this", "my") for b in ("old", "big", "small")]
    >>> model = fs.SequenceVAE(
    ...     latent_size=4, embedding_dim=16, hidden_size=32, bag_of_words=1.0, epochs=60,
    ...     batch_size=8, lr=0.01, random_state=0,
    ... ).fit(texts)
    >>> report = model.latent_report(texts)
    >>> report.kl > 1, report.active_units > 1
    (True, True)
    >>> model.encode(["my old dog barks and runs"]).shape
    (1, 4)
    >>> all(text in texts for text in model.sample(10, seed=0))
    True
    >>> between = model.interpolate("my old cat purrs and sleeps", "the big cow eats green grass")
    >>> model.perplexity(texts).per_token < 2
    True
    """

    learned = ("vocabulary_", "longest_", "missing_words_")
    _free = (*Autoencoder._free, "beam_size")

    unit: str = "word"
    normalization: str | None = None
    min_count: int = 1
    vocabulary_size: int | None = None
    cell: str = "lstm"
    embedding_dim: int = 128
    embeddings: str | KeyedVectors | None = None
    hidden_size: int = 256
    num_layers: int = 1
    bidirectional: bool = True
    tie_weights: bool = False
    dropout: float = 0.2
    word_dropout: float = 0.4
    bag_of_words: float = 0.0
    beam_size: int = 5

    # --- use ------------------------------------------------------------------------------------

    def decode(
        self,
        z: Any,
        *,
        beam_size: int | None = None,
        sample: bool = False,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_length: int = 0,
        max_length: int | None = None,
        no_repeat_ngram: int = 0,
        unknown: str = "exclude",
        seed: checks.Seed = None,
    ) -> list:
        """The texts that latent variables stand for.

        Parameters
        ----------
        z : array, (N, Z)
        beam_size : int, optional
            Instead of the setting; 1 is greedy.
        sample : bool
            Whether tokens are drawn, instead of searching for the most probable text.
        temperature, top_k, top_p
            How tokens are drawn: see :class:`fastseq.Sampler`; with ``sample=True`` alone.
        min_length, max_length : int
            In tokens.  By default a text may have 10 tokens more than the longest one of ``fit``,
            or ``min_length`` if that is more.
        no_repeat_ngram : int
            No so many tokens in a row come twice in a text; 0 lets them.
        unknown : {"exclude", "keep"}
            Whether the unknown token may be written.
        seed : int, Generator or None
            For tokens that are drawn.

        Returns
        -------
        texts : list
            A string, or a list of tokens, for each z.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If z is something else, or an option is out of its range.
        FloatingPointError
            If the model's parameters are not finite.

        Examples
        --------
        See the class.
        """
        z = self._read_codes(z)
        given = {
            "beam_size": beam_size,
            "sample": sample,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_length": min_length,
            "max_length": max_length,
            "no_repeat_ngram": no_repeat_ngram,
            "unknown": unknown,
            "seed": seed,
        }
        how = WritingOptions(self.vocabulary_, self.longest_, beam_size=self.beam_size, given=given)
        texts = []
        for begin in range(0, len(z), ROWS_AT_ONCE):
            texts += self._write(z[begin : begin + ROWS_AT_ONCE], how)
        self.network_.release()
        return texts

    def _write(self, z, how):
        """The texts of some latent variables."""
        begins = np.full(len(z), self.vocabulary_.begin_id)
        try:
            found = how.write(self.network_.decode(z), begins)
        except FloatingPointError:
            check_parameters("the model's", self.network_)
            raise
        return [self._text(best.tokens) for (best,) in found]

    def sample(self, n: int = 1, *, seed: checks.Seed = None, **options: Any) -> list:
        """New texts: z is drawn, and decoded.

        Parameters
        ----------
        n : int
            How many.
        seed : int, Generator or None
        **options
            As for :meth:`decode`; with ``sample=True`` tokens are drawn as well.

        Returns
        -------
        texts : list

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`decode`; also if n is no positive integer.
        """
        self._check_fitted()
        self._check_options(options)
        rng = checks.generator(seed)
        return self.decode(self.network_.latent.sample(n=n, seed=rng), seed=rng, **options)

    def reconstruct(self, X: Sequence, **options: Any) -> list:
        """What comes of texts through the latent variable: ``decode(encode(X), **options)``.

        Parameters
        ----------
        X : list of texts
        **options
            As for :meth:`decode`.

        Returns
        -------
        texts : list

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`encode`, and as :meth:`decode` for the options.
        """
        self._check_options(options)
        return self.decode(self.encode(X), **options)

    def perplexity(self, X: Sequence, n_samples: int = 50, *, seed: int = 0) -> Perplexity:
        """How well the model knows texts, by importance weighting: see :meth:`log_prob`.

        Parameters
        ----------
        X : list of texts
        n_samples, seed : int

        Returns
        -------
        perplexity : Perplexity

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X is something else, or holds nothing; if ``n_samples`` or ``seed`` is out of its
            range.
        FloatingPointError
            If the model's parameters are not finite.
        """
        log_prob = self.log_prob(X, n_samples, seed=seed)
        if not len(log_prob):
            raise ValueError("X must hold at least one text, got none")
        tokens = sum(len(text) + 1 for text in self._read(X))
        with np.errstate(over="ignore"):  # infinity says it
            per_token = float(np.exp(-log_prob.sum() / tokens))
        return Perplexity(per_token, -float(log_prob.mean()))

    def _text(self, ids):
        return token_pairs.join(self.vocabulary_.decode(ids), self.unit)

    # --- training -------------------------------------------------------------------------------

    def check_settings(self):
        self._check_training()
        self._check_latent()
        checks.choice("unit", self.unit, token_pairs.UNITS)
        token_pairs.check_vocabulary(self)
        checks.choice("cell", self.cell, tuple(CELLS))
        for name in ("embedding_dim", "hidden_size", "num_layers", "beam_size"):
            checks.positive_int(name, getattr(self, name))
        for name in ("bidirectional", "tie_weights"):
            checks.flag(name, getattr(self, name))
        if self.tie_weights:
            check_tied(self.embedding_dim, self.hidden_size)
        for name in ("dropout", "word_dropout"):
            checks.fraction(name, getattr(self, name))
        checks.not_negative("bag_of_words", self.bag_of_words)

    def read(self, X, y=None):
        X = self._read(X)
        if not X:
            raise ValueError("X must hold at least one text, got none")
        return X, None

    def _read(self, X):
        X = token_pairs.read_tokens("X", inputs.by_position(X), self.unit, self.normalization)
        token_pairs.check_targets("X", X)
        return X

    def learn(self, X, y):
        self.vocabulary_ = token_pairs.learn_vocabulary(
            "X", X, min_count=self.min_count, max_size=self.vocabulary_size
        )
        self.longest_ = max(map(len, X))

    def table(self, setting):
        return self.vocabulary_, self.network_.embedding

    def make_network(self, seed):
        vocabulary = self.vocabulary_
        return SequenceVAENetwork(
            len(vocabulary),
            self.embedding_dim,
            self.hidden_size,
            self.latent_size,
            self.num_layers,
            **token_pairs.special_ids(vocabulary),
            cell=self.cell,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            word_dropout=self.word_dropout,
            tie_weights=self.tie_weights,
            bag_of_words=self.bag_of_words,
            dtype=self.dtype,
            seed=seed,
        )

    def _data_batches(self, X, seed):
        """Batches of ids; the end stands after all texts, the begin before what is written."""
        read = self.vocabulary_.encode_all(X, end=True)
        written = self.vocabulary_.encode_all(X, begin=True, end=True)
        return Batches(read, written, target_kind="sequences", **self._batch_options(seed, AT_ONCE))
