"""Dialogues: models that answer with regard to all that was said before."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from fastseq import checks, files
from fastseq.decoders import SCORES
from fastseq.models import inputs, token_pairs
from fastseq.models.conversation import Conversation
from fastseq.models.dialogue_batches import ANSWERS, DialogueBatch, DialogueBatches
from fastseq.models.dialogue_network import DialogueNetwork, Heard
from fastseq.models.estimator import Estimator
from fastseq.models.networks import CELLS, check_parameters, check_tied
from fastseq.models.settings import Run, estimator, run_described
from fastseq.models.writing_options import WritingOptions
from fastseq.search.hypotheses import Hypothesis, Penalties

if TYPE_CHECKING:
    from fastseq.words.keyed_vectors import KeyedVectors

SELECTIONS = ("loss", "score")
AT_ONCE = 5_000  # words of a batch that nothing is learned from
ROWS_AT_ONCE = 1_000  # answers that are written at a time, where there are several to each


class DialoguePerplexity(NamedTuple):
    """How surprising answers are.

    Attributes
    ----------
    per_word : float
        The exponential of the mean nats per word, ends of answers included.
    per_utterance : float
        The mean nats per answer.
    """

    per_word: float
    per_utterance: float


@estimator
class HRED(Estimator):
    """Answers in dialogues: a hierarchical recurrent encoder and decoder.

    An encoder reads each utterance, a second recurrent layer, the context, reads what came of
    them one after the other, and a decoder writes the answer, with the context as its first
    state and beside each word (Sordoni et al., 2015; Serban et al., 2016).

    A dialogue is a list of utterances.  These are strings, which the unit says how to split, or
    lists of tokens; they may be empty.

    Parameters
    ----------
    unit : {"word", "character", "token"}
        What a token is: what stands between white space, a character, or an element of a list.
        Answers have the same form: strings, or with "token" lists.
    normalization : {"NFC", "NFD", "NFKC", "NFKD"}, optional
        Unicode normalisation of utterances.
    min_count : int
        Tokens that come less often in ``fit`` are unknown, as are those that never came.
    vocabulary_size : int, optional
        Tokens at most, special ones included.
    cell : {"gru", "lstm", "rnn"}
        Of all recurrent layers.
    embedding_dim : int
        The size of tokens' vectors.
    embeddings : str or KeyedVectors, optional
        Vectors to begin with: a file, or what it holds; of size ``embedding_dim``.  Tokens
        without a vector are named in a warning, and begin at random.
    hidden_size, num_layers : int
        Of the encoder, in each direction, and of the decoder.
    context_size : int
        Of the context.
    bidirectional : bool
        Whether the encoder also reads utterances from their ends.
    attention : {"additive", "dot", "general", "concat"}, optional
        How the decoder also looks at what the context was after each utterance so far; by
        default it does not.  It takes memory for all of these for each answer.
    context : bool
        Whether there is a context.  Without, the last utterance is all that the decoder knows: a
        model to compare with.
    tie_weights : bool
        Whether the tokens' vectors are the output weights as well (Press & Wolf, 2017); needs
        embedding_dim = hidden_size.
    dropout : float
        For tokens' vectors, between layers, and for outputs.
    word_dropout : float
        Probability that a token passes for an unknown one, while training.
    label_smoothing : float
        The part of a token's probability that training gives to all alike.
    answers : {"all", "second"}
        Which utterances are learned and scored: all but the first, each as an answer to those
        before it; or the second, the fourth, and so on, which are those of the other speaker.
    max_turns : int, optional
        How many utterances back gradients reach; the context is carried on (truncated
        backpropagation through time).  None for whole dialogues, however long.
    beam_size : int
        How many beginnings a search keeps; with 1 it is greedy.
    length_penalty : float or "average"
        With 0 probabilities decide, which favours short answers; see
        :func:`fastseq.beam_search`.
    selection : {"loss", "score"}
        What of the validation decides on the best epoch; the score is that of greedy search.
    epochs : int
        Passes over the data.
    batch_size : int
        How many dialogues an update takes.
    {training}

    Attributes
    ----------
    vocabulary_ : Vocabulary
    longest_answer_ : int
        In tokens, among those of ``fit``.
    missing_words_ : ndarray or None
        The tokens without a vector in ``embeddings``, if there were some.
    network_ : DialogueNetwork
    history_ : History
        Losses in nats per word, and more, for each update and epoch.

    Notes
    -----
    In a batch utterances lie side by side, as long as the longest of them: one that is much longer
    than all others takes memory for each of them.

    An empty history is answered as if nothing had been said aloud: as the history of one empty
    utterance.  A dialogue of one utterance has no answer, and only its words are learned.

    Examples
    --------
    What the last question asks for was said before.

    >>> import fastseq as fs
    >>> dialogues = [
    ...     [f"my name is {name}", f"hello {name}", "who am i ?", f"you are {name}"]
    ...     for name in ("ann", "bob", "eve", "tom")
    ... ] * 4
    >>> sizes = {"embedding_dim": 16, "hidden_size": 32, "context_size": 32}
    >>> model = fs.HRED(
    ...     **sizes, dropout=0.0, epochs=40, batch_size=4, lr=0.01, random_state=0
    ... ).fit(dialogues)
    >>> model.respond(["my name is bob", "hello bob", "who am i ?"])
    ['you are bob']
    >>> model.score(dialogues)
    1.0
    >>> talk = model.conversation()
    >>> talk.hear("my name is eve")
    >>> talk.respond(), talk.history
    ('hello eve', ['my name is eve', 'hello eve'])
    """

    learned = ("vocabulary_", "longest_answer_", "missing_words_")
    _free = ("answers", "max_turns", "beam_size", "length_penalty", "selection")
    _needs_targets = False
    _data = "dialogues"
    _of_network = (  # settings that are arguments of the network
        "embedding_dim",
        "hidden_size",
        "context_size",
        "num_layers",
        "cell",
        "bidirectional",
        "context",
        "attention",
        "dropout",
        "word_dropout",
        "tie_weights",
        "label_smoothing",
        "dtype",
    )
    _reads_answers = False  # whether its batches let the network read the answers, too

    unit: str = "word"
    normalization: str | None = None
    min_count: int = 1
    vocabulary_size: int | None = None
    cell: str = "gru"
    embedding_dim: int = 128
    embeddings: str | KeyedVectors | None = None
    hidden_size: int = 256
    context_size: int = 256
    num_layers: int = 1
    bidirectional: bool = True
    attention: str | None = None
    context: bool = True
    tie_weights: bool = False
    dropout: float = 0.2
    word_dropout: float = 0.0
    label_smoothing: float = 0.0
    answers: str = "all"
    max_turns: int | None = 50
    beam_size: int = 5
    length_penalty: float | str = 0.0
    selection: str = "loss"
    batch_size: int = 16

    # --- use ------------------------------------------------------------------------------------

    def respond(self, history: Sequence, n: int = 1, **options: Any) -> list:
        """Answers to one history.

        Parameters
        ----------
        history : list of utterances
            What was said so far, by both; it may be empty.
        n : int
            How many answers: the best ones of a search, or so many that are drawn.
        **options
            As for :meth:`predict`.

        Returns
        -------
        answers : list
            The best one first, or as they were drawn; fewer than n where the options, such as
            ``max_length``, allow a search no more.

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`predict`; also if n is no positive integer.
        """
        self._check_fitted()
        n = checks.positive_int("n", n)
        how = self._read_options(n, options)
        (answers,) = self._respond([self._read_history("history", history)], n, how)
        return answers

    def predict(self, X: Sequence, n: int | None = None, **options: Any) -> list:
        """An answer, or several, to each of several histories.

        Parameters
        ----------
        X : list of histories
            Lists of utterances; they may be empty.
        n : int, optional
            How many answers to each, as :meth:`respond` gives them; by default one, by itself.
        beam_size : int, optional
            Instead of the setting; for n answers at least n.
        length_penalty, no_repeat_ngram
            See :func:`fastseq.beam_search`; by default the first one is the setting.
        sample : bool
            Whether answers are drawn token by token instead.
        temperature, top_k, top_p
            How tokens are drawn: see :class:`fastseq.Sampler`; with ``sample=True`` alone.
        min_length, max_length : int
            Of answers, in tokens.  By default an answer may have 10 tokens more than the longest
            in ``fit``.
        unknown : {"exclude", "keep"}
            Whether the unknown token may be written.
        seed : int, Generator or None
            For what is drawn, which also depends on what else is in X.

        Returns
        -------
        answers : list
            Strings, or lists of tokens, as ``unit`` says; with n a list of them for each history.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X holds something else, or an option is out of its range.
        FloatingPointError
            If the model's parameters are not finite.
        """
        self._check_fitted()
        n = None if n is None else checks.positive_int("n", n)
        how, _ = self._read_options(n or 1, options), inputs.count("X", X)
        histories = [self._read_history(f"X[{i}]", history) for i, history in enumerate(X)]
        return self._respond(histories, n, how)

    def _respond(self, histories, n, how):
        """n answers to each of these histories; or one, by itself."""
        results = [None] * len(histories)
        for batch in self._batches(self._encode(histories), answers=None) if histories else ():
            heard, _ = self.network_.hear(batch)
            _, rows = batch.answered
            if n is None:
                answers = [self._text(found.tokens) for found in self._best(heard, how)]
            else:
                found = self._answer(heard, n, how)
                answers = [[self._text(one.tokens) for one in several] for several in found]
            for row, answer in zip(batch.rows[rows], answers, strict=True):
                results[row] = answer
        self.network_.release()
        return results

    def conversation(self) -> Conversation:
        """A dialogue that goes on turn by turn; see :class:`fastseq.Conversation`.

        Returns
        -------
        conversation : Conversation
            In which nothing has been said.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        """
        self._check_fitted()
        return Conversation(self)

    def score(self, X: Sequence, y: Any = None) -> float:
        """The share of the answers in dialogues that are written exactly, by beam search.

        Each is written after what was really said before it; ``answers`` says which they are.

        Parameters
        ----------
        X : list of dialogues
        y
            Ignored; scikit-learn's tools give it.

        Returns
        -------
        score : float
            From 0 to 1.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X holds something else than dialogues, or there is no answer in them.
        FloatingPointError
            If the model's parameters are not finite.
        """
        self._check_fitted()
        dialogues, _ = self.read(X)
        return self._score(dialogues, self.beam_size)

    def log_prob(self, X: Sequence) -> list[np.ndarray]:
        """How probable the answers in dialogues are, each after what was said before it.

        Parameters
        ----------
        X : list of dialogues

        Returns
        -------
        log_prob : list of ndarray of float64
            Natural logarithms, of each dialogue's answers.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X holds something else than dialogues, or there is no answer in them.
        FloatingPointError
            If the model's parameters are not finite.
        """
        return self._log_prob(X)

    def _log_prob(self, X, **options):
        self._check_fitted()
        dialogues, _ = self.read(X)
        results = [[] for _ in dialogues]
        for batch, log_probs in self._log_probs(dialogues, **options):
            _, rows = batch.answered
            for row, value in zip(batch.rows[rows], log_probs, strict=True):
                results[row].append(value)
        return [np.array(values) for values in results]

    def perplexity(self, X: Sequence) -> DialoguePerplexity:
        """How surprising the answers in dialogues are, per word and per answer.

        Parameters
        ----------
        X : list of dialogues

        Returns
        -------
        perplexity : DialoguePerplexity

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X holds something else than dialogues, or there is no answer in them.
        FloatingPointError
            If the model's parameters are not finite.
        """
        return self._perplexity(X)

    def _perplexity(self, X, **options):
        self._check_fitted()
        dialogues, _ = self.read(X)
        nats, words, answers = 0.0, 0, 0
        for batch, log_probs in self._log_probs(dialogues, **options):
            nats -= log_probs.sum()
            words, answers = words + batch.tokens, answers + len(log_probs)
        with np.errstate(over="ignore"):
            return DialoguePerplexity(float(np.exp(nats / words)), float(nats / answers))

    def _score(self, dialogues, beam_size):
        """The score of dialogues that were read."""
        how, right, count = self._read_options(1, {"beam_size": beam_size}), 0, 0
        for batch, heard in self._heard(dialogues):
            ends = (batch.targets == self.vocabulary_.end_id).argmax(axis=0)
            for a, found in enumerate(self._best(heard, how)):
                right += np.array_equal(found.tokens, batch.targets[1 : ends[a], a])
            count += len(ends)
        return right / count

    def _log_probs(self, dialogues) -> Iterator[tuple[DialogueBatch, np.ndarray]]:
        """Batches, and how probable their answers are."""
        for batch, heard in self._heard(dialogues):
            yield batch, self.network_.log_prob(heard, batch)

    def _heard(self, dialogues) -> Iterator[tuple[DialogueBatch, Heard]]:
        """Batches, and what there is to answer to in them."""
        check_parameters("the model's", self.network_)
        carried = None
        for batch in self._batches(self._encode(dialogues)):
            heard, carried = self.network_.hear(batch, carried)
            yield batch, heard
        self.network_.release()

    # --- answers --------------------------------------------------------------------------------

    def _read_options(self, n, options):
        """How answers are written, of which n come from one search."""
        return WritingOptions(
            self.vocabulary_,
            self.longest_answer_,
            beam_size=max(checks.positive_int("beam_size", self.beam_size), n),
            length_penalty=self.length_penalty,
            given=options,
        )

    def _best(self, heard: Heard, how: WritingOptions) -> list[Hypothesis]:
        """The answer to each of what was heard."""
        return [found for (found,) in self._search(self.network_.open(heard), 1, how)]

    def _answer(self, heard: Heard, n: int, how: WritingOptions) -> list[list[Hypothesis]]:
        """n answers to each of what was heard."""
        found, step = [], max(1, ROWS_AT_ONCE // n)
        for begin in range(0, heard.count, step):
            own = heard.take(np.arange(begin, min(begin + step, heard.count)))
            found += self._answer_some(own, n, how)
        return found

    def _answer_some(self, heard, n, how):
        """As :meth:`_answer`, all at once."""
        return self._search(self.network_.open(heard), n, how)

    def _search(self, opening, n, how):
        """n answers from each row of an opening."""
        network, vocabulary = self.network_, self.vocabulary_
        begins = np.full(len(opening.state[0][0]), vocabulary.begin_id)
        try:
            return how.write(network.decode(opening), begins, n)
        except FloatingPointError:
            check_parameters("the model's", network)
            raise

    def _text(self, ids):
        return token_pairs.join(self.vocabulary_.decode(ids), self.unit)

    def _read_history(self, name, history):
        """A history as lists of tokens: there is always an utterance to answer to."""
        return self._read_dialogue(name, history) or [[]]

    # --- training -------------------------------------------------------------------------------

    @run_described
    def fit(
        self,
        X: Sequence,
        y: Any = None,
        *,
        validation: Sequence | float | None = None,
        checkpoint: str | os.PathLike | None = None,
        callbacks: Sequence = (),
        keep_interrupted: bool = True,
        progress: bool | None = None,
    ) -> Self:
        """Learn from dialogues.

        Parameters
        ----------
        X : list of dialogues
            Lists of utterances.
        y
            Ignored; scikit-learn's tools give it.
        validation : list of dialogues, or float, optional
            Dialogues, or a fraction of X, that are not learned from: after each epoch the loss,
            or the score (``selection``), is measured on them, the best epoch's parameters are
            kept, and ``patience`` may end the training.
        {run}
        """
        if validation is not None and not isinstance(validation, numbers.Real):
            validation = (validation, None)
        run = Run(checkpoint, callbacks, keep_interrupted, progress)
        return self._fit(X, None, validation, run)

    @property
    def _mode(self):
        return "min" if self.selection == "loss" else "max"

    def check_settings(self):
        self._check_training()
        checks.choice("unit", self.unit, token_pairs.UNITS)
        token_pairs.check_vocabulary(self)
        checks.choice("cell", self.cell, tuple(CELLS))
        for name in ("embedding_dim", "hidden_size", "context_size", "num_layers", "beam_size"):
            checks.positive_int(name, getattr(self, name))
        for name in ("bidirectional", "context", "tie_weights"):
            checks.flag(name, getattr(self, name))
        for name in ("dropout", "word_dropout", "label_smoothing"):
            checks.fraction(name, getattr(self, name))
        self._check_attention()
        if self.tie_weights:
            check_tied(self.embedding_dim, self.hidden_size)
        Penalties(self.length_penalty, 0.0)
        checks.choice("answers", self.answers, ANSWERS)
        checks.choice("selection", self.selection, SELECTIONS)
        if self.max_turns is not None:
            checks.positive_int("max_turns", self.max_turns)
            if self.answers == "second" and self.max_turns < 2:
                raise ValueError(
                    "max_turns must be at least 2 with answers='second', or some windows would "
                    f"have no answer, got {self.max_turns}"
                )

    def _check_attention(self):
        if self.attention is None:
            return
        checks.choice("attention", self.attention, SCORES, or_none=True)
        if self.cell == "rnn":
            raise ValueError("attention needs cell='lstm' or cell='gru'; None is without it")
        if not self.context:
            raise ValueError(
                "attention looks at the context, which context=False leaves out; take "
                "attention=None, or a Seq2Seq for attention to words"
            )
        if self.attention == "dot" and self.context_size != self.hidden_size:
            raise ValueError(
                "attention='dot' needs context_size = hidden_size, since it compares vectors of "
                f"one size, got {self.context_size} and {self.hidden_size}; take 'general'"
            )

    def read(self, X, y=None):
        inputs.count("X", X)
        return [self._read_dialogue(f"X[{i}]", dialogue) for i, dialogue in enumerate(X)], None

    def _read_dialogue(self, name, dialogue):
        """A dialogue as a list of lists of tokens."""
        if isinstance(dialogue, (str, bytes, dict)) or not hasattr(dialogue, "__len__"):
            raise TypeError(
                f"{name} must be a list of utterances, got {files.shortened(dialogue)}; put "
                "a single utterance in a list"
            )
        dialogue = inputs.by_position(dialogue)
        utterances = token_pairs.read_tokens(name, dialogue, self.unit, self.normalization)
        token_pairs.check_targets(name, utterances)
        return utterances

    def _read_utterance(self, name, utterance):
        """An utterance as a list of tokens."""
        tokens = token_pairs.read_one(name, utterance, self.unit, self.normalization)
        token_pairs.check_target(name, tokens)
        return tokens

    def learn(self, X, y):
        utterances = [utterance for dialogue in X for utterance in dialogue]
        if not any(utterances):
            found = "empty utterances alone" if X else "no dialogues"
            raise ValueError(f"X must hold at least one token, got {found}")
        self.vocabulary_ = token_pairs.learn_vocabulary(
            "X", utterances, min_count=self.min_count, max_size=self.vocabulary_size
        )
        answers = (len(utterance) for dialogue in X for utterance in dialogue[1:])
        self.longest_answer_ = max(answers, default=0)

    def table(self, setting):
        return self.vocabulary_, self.network_.embedding

    def make_network(self, seed):
        return DialogueNetwork(**self._network_options(), seed=seed)

    def _network_options(self):
        """The arguments of the network that are settings, or follow from the vocabulary."""
        special = token_pairs.special_ids(self.vocabulary_)
        settings = {name: getattr(self, name) for name in self._of_network}
        return {"n_tokens": len(self.vocabulary_), **special, **settings}

    def make_batches(self, X, y, seed):
        return self._batches(self._encode(X), seed)

    def _make_validation(self, X, y):
        if self.selection == "loss":
            return self.make_batches(X, y, None)
        self.make_batches(X, y, None)  # which tells if there is nothing to score
        return lambda: self._score(X, beam_size=1)

    def _train(self, batches, validation, run):
        super()._train(batches, validation, run)
        self.network_.forget()

    def _encode(self, dialogues):
        """The utterances of dialogues as ids, from the begin token to the end token."""
        encode_all = self.vocabulary_.encode_all
        return [encode_all(utterances, begin=True, end=True) for utterances in dialogues]

    def _batches(self, encoded, seed=None, answers=""):
        """Batches of dialogues, or with ``answers=None`` of histories to answer."""
        histories = answers is None
        return DialogueBatches(
            encoded,
            answers=None if histories else self.answers,
            max_turns=None if histories else self.max_turns,
            read_answers=self._reads_answers and not histories,
            **self._batch_options(seed, AT_ONCE),
        )
