"""Language models: how probable a text is, and texts that are."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastseq import checks
from fastseq.data.batching import BPTTWindows, pad
from fastseq.models import text_stream, word_vectors
from fastseq.models.estimator import Estimator
from fastseq.models.language_network import SOFTMAXES, LanguageNetwork, check_softmax_to_tie
from fastseq.models.networks import CELLS, check_outputs, check_tied, softmax
from fastseq.models.settings import Run, estimator, run_described
from fastseq.sampling import Sampler

if TYPE_CHECKING:
    from fastseq.words.keyed_vectors import KeyedVectors

SCORES_AT_ONCE = 1 << 22  # scores held at a time where a text is judged
MOST_STEPS = 1024  # ... and steps


@estimator
class LanguageModel(Estimator):
    """A model of text, by recurrent layers: it judges texts, and writes them.

    The text is one stream of tokens, line breaks among them, that is read on and on: the state
    is carried along, gradients reach ``steps`` tokens back (truncated backpropagation through
    time).  In training ``batch_size`` parts of the stream are read side by side.

    A text is a string, or a list of lines, each a string or a list of tokens.  With
    ``unit="id"`` it is an array of integers, or a list of such arrays.

    Parameters
    ----------
    unit : {"character", "word", "piece", "id"}
        What a token is: a character, what stands between white space, a subword of
        SentencePiece, or a number that you give.
    cell : {"lstm", "gru", "rnn"}
        The kind of recurrent layers.
    embedding_dim : int
        The size of tokens' vectors.
    embeddings : str or KeyedVectors, optional
        Vectors to begin with: a file, or what it holds; of size ``embedding_dim``.  Tokens
        without a vector are named in a warning, and begin at random.
    hidden_size : int
        Hidden units of each recurrent layer.
    num_layers : int
        How many recurrent layers there are.
    dropout : float
        For tokens' vectors, between layers, and for outputs (Zaremba et al., 2014).
    tie_weights : bool
        One table for inputs and outputs (Press & Wolf, 2017); needs embedding_dim = hidden_size.
    softmax : {"full", "adaptive", "sampled"}
        How training goes about large vocabularies: over all tokens; in clusters, of which the
        rare tokens' are small (Grave et al., 2017); or against ``num_sampled`` other tokens
        (Jean et al., 2015).  The last two expect ids sorted by falling frequency, which those of
        characters and words are.
    cutoffs : tuple of int, optional
        Of the adaptive softmax; by default up to 2000, 10000 and 50000 tokens.
    num_sampled : int
        Of the sampled softmax.
    min_count : int
        Characters or words that come less often in ``fit`` are unknown, as are those that never
        came.
    vocabulary_size : int, optional
        Characters or words at most, special ones included; the number of pieces (by default up
        to 8000); the number of different ids (by default the largest in ``fit`` and one).
    steps : int
        How many tokens back gradients reach.
    epochs : int
        Passes over the text.
    batch_size : int
        Parts of the text that are read side by side.
    {training}

    Attributes
    ----------
    vocabulary_ : Vocabulary, Subwords or None
        Of the tokens; None for ids.
    n_tokens_ : int
        How many different ones there are.
    missing_words_ : ndarray or None
        The tokens without a vector in ``embeddings``, if there were some.
    network_ : LanguageNetwork
    history_ : History
        Losses in nats for each token, and more, for each update and epoch.

    Notes
    -----
    A text begins as if a line had just ended, so that its first token can be predicted, too;
    an array of ids does not, and its first one is given.

    Examples
    --------
    >>> import fastseq as fs
    >>> model = fs.LanguageModel(
    ...     cell="gru", hidden_size=32, steps=16, batch_size=4, epochs=12, lr=0.02, random_state=0
    ... )
    >>> text = "the quick brown fox. " * 60
    >>> model.fit(text[:1200], validation=text[1200:]).perplexity(text) < 1.2
    True
    >>> model.sample(42, prompt="the ", temperature=0.5, seed=0)
    'quick brown fox. the quick brown fox. the '
    >>> model.predict(["the q", "the quick b"]).tolist(), model.predict_proba([""]).shape
    (['u', 'r'], (1, 19))
    """

    learned = ("vocabulary_", "n_tokens_", "missing_words_")
    _data = "text"
    _free = ("steps",)

    unit: str = "character"
    cell: str = "lstm"
    embedding_dim: int = 128
    embeddings: str | KeyedVectors | None = None
    hidden_size: int = 256
    num_layers: int = 1
    dropout: float = 0.0
    tie_weights: bool = False
    softmax: str = "full"
    cutoffs: Sequence[int] | None = None
    num_sampled: int = 1000
    min_count: int = 1
    vocabulary_size: int | None = None
    steps: int = 64
    epochs: int = 5

    def check_settings(self):
        self._check_training()
        checks.choice("unit", self.unit, text_stream.UNITS)
        checks.choice("cell", self.cell, tuple(CELLS))
        sizes = ("embedding_dim", "hidden_size", "num_layers", "num_sampled", "min_count", "steps")
        for name in sizes:
            checks.positive_int(name, getattr(self, name))
        if self.vocabulary_size is not None:
            checks.positive_int("vocabulary_size", self.vocabulary_size)
        checks.fraction("dropout", self.dropout)
        checks.flag("tie_weights", self.tie_weights)
        checks.choice("softmax", self.softmax, SOFTMAXES)
        if self.tie_weights:
            check_tied(self.embedding_dim, self.hidden_size)
            check_softmax_to_tie(self.softmax)
        if self.cutoffs is not None and self.softmax != "adaptive":
            raise ValueError(
                f"cutoffs are for softmax='adaptive', got softmax={self.softmax!r}; leave them out"
            )
        if self.embeddings is not None and self.unit == "id":
            raise ValueError("embeddings are for tokens, got unit='id'; leave them out")

    # --- training -------------------------------------------------------------------------------

    @run_described
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        validation: Any = None,
        checkpoint: str | os.PathLike | None = None,
        callbacks: Sequence = (),
        keep_interrupted: bool = True,
        progress: bool | None = None,
    ) -> Self:
        """Learn from a text.

        Parameters
        ----------
        X : str, list of lines, or ids
            See the class.
        y
            Ignored; scikit-learn's tools give it.
        validation : text like X, or float, optional
            A text, or a fraction of X (its end), that is not learned from: after each epoch the
            loss is measured on it, the best epoch's parameters are kept, and ``patience`` may
            end the training.
        {run}
        """
        self.check_settings()
        checks.flag("keep_interrupted", keep_interrupted)
        self._check_validation(validation)
        text_stream.check_no_path("X", X)
        text_stream.check_no_path("validation", validation)
        vectors = word_vectors.read(self)
        if isinstance(validation, numbers.Real):
            X, validation = text_stream.hold_out(X, validation)
        elif isinstance(validation, tuple):
            text_stream.check_no_pair("validation", validation)
        goes_on = self._goes_on()
        learned = self._known() if goes_on else self.learn_tokens(X)
        stream = self.make_windows("X", X, *learned)
        held_out = None
        if validation is not None:
            held_out = self.make_windows("validation", validation, *learned, few=True)
        with self._unchanged_by_errors(goes_on):
            if not goes_on:
                self.vocabulary_, self.n_tokens_ = learned
                self._begin(self.random_state, vectors)
            run = Run(checkpoint, callbacks, keep_interrupted, progress)
            self._train_network(goes_on, stream, held_out, run)
        return self

    def _known(self):
        return self.vocabulary_, self.n_tokens_

    def learn_tokens(self, X):
        """The vocabulary, and how many tokens there are."""
        size = self.vocabulary_size
        if self.unit == "id":
            ids = text_stream.read_ids("X", X, size)
            return None, size or int(ids.max(initial=0)) + 1
        vocabulary = text_stream.learn_vocabulary(X, self.unit, self.min_count, size)
        return vocabulary, len(vocabulary)

    def make_network(self, seed):
        return LanguageNetwork(
            self.n_tokens_,
            self.embedding_dim,
            self.hidden_size,
            self.num_layers,
            cell=self.cell,
            dropout=self.dropout,
            tie_weights=self.tie_weights,
            softmax=self.softmax,
            cutoffs=self.cutoffs,
            num_sampled=self.num_sampled,
            dtype=self.dtype,
            seed=seed,
        )

    def make_windows(self, name, X, vocabulary, n_tokens, few=False):
        """Windows of a text; with ``few`` in fewer columns where it is short."""
        ids = self._encode(name, X, vocabulary, n_tokens)
        if len(ids) < 2:
            raise ValueError(f"{name} must hold a token to predict, got {len(ids)} tokens")
        rows = min(self.batch_size, len(ids) - 1) if few else self.batch_size
        return BPTTWindows(ids, rows, self.steps)

    def read(self, X, y=None):
        """Raise unless X is a text that can be learned from."""
        self.check_settings()
        return self.make_windows("X", X, *self.learn_tokens(X))

    def _encode(self, name, X, vocabulary, n_tokens):
        """A text as the ids of a stream; before its first token a line has ended."""
        if vocabulary is None:
            return text_stream.read_ids(name, X, n_tokens)
        ids = text_stream.encode(name, X, vocabulary)
        return np.concatenate([[vocabulary.end_id], ids])

    # --- how probable texts are -----------------------------------------------------------------

    def log_prob(self, X: Any) -> np.ndarray:
        """How probable each token of a text is after those before it.

        Parameters
        ----------
        X : str, list of lines, or ids
            Read from its beginning to its end with one state, whatever ``batch_size``.

        Returns
        -------
        log_prob : ndarray of float64, (N,), for ids (N - 1,)
            Natural logarithms.

        Raises
        ------
        NotFittedError
            If the model has learned nothing yet.
        TypeError, ValueError
            If X is no such text.
        FloatingPointError
            If the model's parameters are not finite.
        """
        self._check_fitted()
        ids, network = self._encode("X", X, *self._known()), self.network_
        steps = max(1, min(MOST_STEPS, SCORES_AT_ONCE // self.n_tokens_))
        parts, state = [], None
        for begin in range(0, len(ids) - 1, steps):
            part, state = network.log_prob(ids[begin : begin + steps + 1], state)
            parts.append(part)
        results = np.concatenate(parts) if parts else np.empty(0)
        check_outputs(results, network)
        return results

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of :meth:`log_prob`, in nats for each token: more is better.

        Divided by -log(2) it is bits for each token; ``exp(-score)`` is the perplexity.

        Parameters
        ----------
        X : str, list of lines, or ids
        y
            Ignored.

        Returns
        -------
        score : float

        Raises
        ------
        NotFittedError, TypeError, FloatingPointError
            As :meth:`log_prob`.
        ValueError
            As :meth:`log_prob`, and if there is no token to predict.
        """
        log_prob = self.log_prob(X)
        if not log_prob.size:
            raise ValueError("X must hold a token to predict, got none")
        return float(log_prob.mean())

    def perplexity(self, X: Any) -> float:
        """``exp(-score(X))``: among so many tokens the model might as well have guessed.

        Parameters
        ----------
        X : str, list of lines, or ids

        Returns
        -------
        perplexity : float
            From 1 on; infinite where it is more than a float can hold.

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`score`.
        """
        with np.errstate(over="ignore"):  # infinity says it
            return float(np.exp(-self.score(X)))

    # --- what comes next ------------------------------------------------------------------------

    def predict(self, X: Sequence[Any]) -> np.ndarray:
        """The most probable next token after each of several texts.

        Parameters
        ----------
        X : list of texts
            Each a string, a list of lines, or ids.

        Returns
        -------
        tokens : ndarray of str (objects), or of int64 for ids, (n,)

        Raises
        ------
        NotFittedError
            If the model has learned nothing yet.
        TypeError, ValueError
            If X is no list of texts, or empty; with ids also if one of the texts is.
        FloatingPointError
            If the model's parameters are not finite.
        """
        ids = np.argmax(self._scores_after(X), axis=1)
        return ids if self.vocabulary_ is None else self.vocabulary_.decode(ids)

    def predict_proba(self, X: Sequence[Any]) -> np.ndarray:
        """The probabilities of all tokens to come next after each of several texts.

        Parameters
        ----------
        X : list of texts

        Returns
        -------
        probabilities : ndarray, (n, n_tokens_)

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`predict`.
        """
        return softmax(self._scores_after(X))

    def _scores_after(self, X):
        self._check_fitted()
        if isinstance(X, (str, bytes)) or not hasattr(X, "__len__"):
            raise TypeError(f"X must be a list of texts, got {type(X).__name__}; put it in a list")
        if not len(X):
            raise ValueError("X must hold at least one text, got none")
        prompts = [self._read_prompt(f"X[{i}]", text) for i, text in enumerate(X)]
        ids, lengths = pad(prompts)
        network = self.network_
        h, _ = network.layers(ids, None, lengths, embedding=network.embedding)
        scores = network.scores(h[lengths - 1, np.arange(len(lengths))])
        check_outputs(scores, network)
        return scores

    def _read_prompt(self, name, prompt):
        ids = self._encode(name, prompt, *self._known())
        if not len(ids):
            raise ValueError(f"{name} must hold at least one id, after which others come")
        return ids

    def sample(
        self,
        length: int,
        *,
        prompt: Any = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        unknown: bool = False,
        echo: bool = False,
        seed: checks.Seed = None,
    ) -> str | np.ndarray:
        """Let the model write.

        Parameters
        ----------
        length : int
            How many tokens.
        prompt : text, optional
            What comes before them; for ids an array of at least one.
        temperature, top_k, top_p
            How tokens are drawn: see :class:`fastseq.Sampler`.
        unknown : bool
            Whether the unknown token may be drawn.
        echo : bool
            Whether the result begins with the prompt.
        seed : int, Generator or None

        Returns
        -------
        text : str, or ndarray of int64 for ids

        Raises
        ------
        NotFittedError
            If the model has learned nothing yet.
        TypeError, ValueError
            If an argument is out of its range.
        FloatingPointError
            If the model's parameters are not finite.
        """
        self._check_fitted()
        vocabulary, length = self.vocabulary_, checks.positive_int("length", length)
        if prompt is None:
            if vocabulary is None:
                raise ValueError(
                    "prompt must be given, since ids come after others: give prompt=[i] for "
                    "those after i"
                )
            prompt = ""
        given = self._read_prompt("prompt", prompt)
        excluded = [] if vocabulary is None else [vocabulary.unknown_id]
        sampler = Sampler(
            self.n_tokens_,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            excluded=[] if checks.flag("unknown", unknown) else excluded,
            seed=seed,
        )
        drawn = np.fromiter(self._draw(given, sampler, length), np.int64, length)
        if vocabulary is None:
            return np.concatenate([given, drawn]) if checks.flag("echo", echo) else drawn
        if not checks.flag("echo", echo):
            return text_stream.decode(drawn, vocabulary)
        return text_stream.continued(prompt, given[1:], drawn, vocabulary)

    def _draw(self, prompt, sampler, length) -> Iterator[int]:
        """Ids, each drawn after reading the ones before."""
        stream = self.network_.stream()
        scores = stream.read(prompt)
        for left in range(length, 0, -1):
            token = sampler.draw(scores)[0]
            yield token
            if left > 1:
                scores = stream.step(token)
