"""From sequences to sequences: pronunciation, translation, normalisation, titles."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from fastseq import checks, metrics
from fastseq.batching import Batches
from fastseq.hypotheses import Penalties
from fastseq.models import inputs, token_pairs
from fastseq.models.estimator import Estimator, check_pairs
from fastseq.models.networks import CELLS, check_parameters
from fastseq.models.seq2seq_network import Seq2SeqNetwork
from fastseq.models.settings import estimator, run_described
from fastseq.models.writing_network import check_tied
from fastseq.search import beam_search, sample_sequences

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastseq.keyed_vectors import KeyedVectors

SCORES = ("additive", "dot", "general", "concat")
METRICS = ("exact", "wer", "bleu", "chrf")
SELECTIONS = ("loss", "score")
UNKNOWNS = ("keep", "exclude", "copy")
AT_ONCE = 2_000  # source tokens of a batch that nothing is learned from
LONGEST = 10  # tokens more than twice of what is usual for a source end a target


class Candidate(NamedTuple):
    """What a :class:`Seq2Seq` may write for a source.

    Attributes
    ----------
    output : str or list of str
        As ``target_unit`` says.
    tokens : list of str
    score : float
        What candidates are sorted by.
    log_prob : float
        The logarithm of its probability.
    attention : ndarray (T, S), or None
        How much each token, and the end, looked at each source token, and at its end.
    cut : bool
        Whether it ends only because it was as long as it may be.
    """

    output: Any
    tokens: list
    score: float
    log_prob: float
    attention: np.ndarray | None
    cut: bool


@estimator
class Seq2Seq(Estimator):
    """Writes a sequence for a sequence: an encoder reads it, a decoder with attention writes.

    The encoder's recurrent layers read the source; the decoder begins with what their last states
    say, and writes token by token; at each one it looks at those outputs of the encoder that
    matter for it (Bahdanau et al., 2015; Luong et al., 2015).  With ``attention=None`` the last
    states are all that it knows (Sutskever et al., 2014).

    Sources and targets are strings, which the units say how to split, or lists of tokens.

    Parameters
    ----------
    source_unit, target_unit : {"word", "character", "token"}
        What a token is: what stands between white space, a character, or an element of a list.
        Targets are predicted in the same form: strings, or with "token" lists.
    normalization : {"NFC", "NFD", "NFKC", "NFKD"}, optional
        Unicode normalisation of sources; NFD takes accents, or Hangul's letters, apart.
    joint_vocabulary : bool
        Whether sources and targets have one vocabulary, and one table of vectors.
    min_count : int
        Tokens that come less often in ``fit`` are unknown, as are those that never came.
    vocabulary_size : int, optional
        Of each vocabulary at most, special tokens included.
    cell : {"lstm", "gru", "rnn"}
    embedding_dim : int
        The size of tokens' vectors.
    source_embeddings, target_embeddings : str or KeyedVectors, optional
        Vectors to begin with, of size ``embedding_dim``: a file, or what it holds.  Tokens without
        one begin at random.  With a joint vocabulary the first is for both.
    hidden_size, num_layers : int
        Of the encoder, in each direction, and of the decoder.
    bidirectional : bool
        Whether the encoder also reads from the end.
    attention : {"additive", "dot", "general", "concat"}, optional
        How the decoder finds what matters; None for the encoder's last states alone.
    input_feeding : bool
        Whether each step also reads what the step before has found; "additive" always does.
    attention_size : int, optional
        The size in which "additive" and "concat" compare; by default that of the decoder.
    tie_weights : bool
        Whether the targets' vectors are the output weights as well (Press & Wolf, 2017); needs
        embedding_dim = hidden_size.
    dropout : float
        For tokens' vectors, between layers, and for outputs.
    word_dropout : float
        Probability that a token passes for an unknown one, while training.
    label_smoothing : float
        The part of a token's probability that training gives to all alike.
    scheduled_sampling : float
        Probability that the decoder reads its own token instead of the right one at the end of
        the training; it grows from 0 on (Bengio et al., 2015).
    beam_size : int
        How many beginnings a search keeps; with 1 it is greedy.
    length_penalty : float or "average"
        With 0 probabilities decide, which favours short targets; see :func:`fastseq.beam_search`.
    metric : {"exact", "wer", "bleu", "chrf"}
        What :meth:`score` measures: targets that are predicted exactly; 1 - the rate of wrong
        tokens; BLEU or chrF from 0 to 100.
    selection : {"loss", "score"}
        What of the validation decides on the best epoch; the score is that of greedy search.
    epochs : int
        Passes over the data.
    batch_size : int
        How many pairs an update takes.
    {training}

    Attributes
    ----------
    source_vocabulary_, target_vocabulary_ : Vocabulary
    length_ratio_ : float
        How many target tokens there are for a source token.
    missing_source_words_, missing_target_words_ : ndarray of object, or None
        The tokens without a vector in ``source_embeddings`` or ``target_embeddings``.
    network_ : Module
    history_ : History
        Losses and more, for each update and epoch.

    Examples
    --------
    >>> import fastseq as fs
    >>> words = [a + b + c for a in "abcd" for b in "abcd" for c in "abcd"]
    >>> pairs = [(word, word[::-1]) for word in words]
    >>> model = fs.Seq2Seq(
    ...     source_unit="character", target_unit="character", embedding_dim=16, hidden_size=32,
    ...     epochs=40, batch_size=8, lr=0.01, random_state=0,
    ... )
    >>> model.fit(pairs).predict(["abc", "dab"])
    ['cba', 'bad']
    """

    missing_words: ClassVar[dict[str, str]] = {
        "source_embeddings": "missing_source_words_",
        "target_embeddings": "missing_target_words_",
    }
    learned = (
        *("source_vocabulary_", "target_vocabulary_", "length_ratio_"),
        *("missing_source_words_", "missing_target_words_"),
    )
    _free = ("beam_size", "length_penalty", "metric", "selection", "scheduled_sampling")

    source_unit: str = "word"
    target_unit: str = "word"
    normalization: str | None = None
    joint_vocabulary: bool = False
    min_count: int = 1
    vocabulary_size: int | None = None
    cell: str = "lstm"
    embedding_dim: int = 128
    source_embeddings: str | KeyedVectors | None = None
    target_embeddings: str | KeyedVectors | None = None
    hidden_size: int = 256
    num_layers: int = 1
    bidirectional: bool = True
    attention: str | None = "general"
    input_feeding: bool = False
    attention_size: int | None = None
    tie_weights: bool = False
    dropout: float = 0.3
    word_dropout: float = 0.0
    label_smoothing: float = 0.0
    scheduled_sampling: float = 0.0
    beam_size: int = 5
    length_penalty: float | str = 0.0
    metric: str = "exact"
    selection: str = "loss"

    # --- use ------------------------------------------------------------------------------------

    def predict(self, X: Sequence, **options: Any) -> list:
        """The best targets.

        Parameters
        ----------
        X : list of sources
            Strings or lists of tokens; they may be empty.
        **options
            As for :meth:`candidates`.

        Returns
        -------
        targets : list
            A string, or a list of tokens, for each source; with ``n_best`` a list of those.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X holds something else, or an option is out of its range.
        FloatingPointError
            If the model's parameters are not finite.
        """
        found = self.candidates(X, **options)
        if "n_best" in options:
            return [[candidate.output for candidate in candidates] for candidates in found]
        return [candidates[0].output for candidates in found]

    def candidates(
        self,
        X: Sequence,
        *,
        beam_size: int | None = None,
        n_best: int = 1,
        length_penalty: float | str | None = None,
        coverage_penalty: float = 0.0,
        min_length: int = 0,
        max_length: int | None = None,
        no_repeat_ngram: int = 0,
        prefixes: Sequence | None = None,
        constraints: Sequence[Sequence] | None = None,
        unknown: str = "keep",
        attention: bool = False,
        ensemble: Sequence[Seq2Seq] = (),
    ) -> list[list[Candidate]]:
        """Several targets for each source, the best first, with all that is known of them.

        Parameters
        ----------
        X : list of sources
        beam_size : int, optional
            Instead of the setting.
        n_best : int
            How many, up to beam_size.
        length_penalty, coverage_penalty, no_repeat_ngram
            See :func:`fastseq.beam_search`; by default the first one is the setting.
        min_length, max_length : int
            Of targets, in tokens.  By default a target may have 10 tokens more than twice of what
            is usual for its source's length, beside its prefix and phrases, or ``min_length`` if
            that is more.
        prefixes : list of targets, optional
            What the target of each source begins with, in whole tokens; it may be empty.
        constraints : list of lists of targets, optional
            Of each source the phrases, in whole tokens, that must occur in its targets, each at a
            place of its own; there may be none.
        unknown : {"keep", "exclude", "copy"}
            What becomes of the unknown token: it may be written; it must not; or the source
            token that the decoder looked at the most takes its place (Luong et al., 2015).
        attention : bool
            Whether candidates come with their attention.
        ensemble : list of Seq2Seq
            Other models of the same vocabularies: the mean of all models' probabilities counts.

        Returns
        -------
        candidates : list of lists of Candidate
        """
        self._check_fitted()
        models, sources = self._check_ensemble(ensemble), self._read_sources(X)
        checks.choice("unknown", unknown, UNKNOWNS)
        wanted = self._read_wanted(prefixes, constraints, len(sources))
        if (
            checks.not_negative("coverage_penalty", coverage_penalty)
            or unknown == "copy"
            or attention
        ):
            _check_that_all_look(models)

        def search(states, batch, limits):
            return beam_search(
                states,
                np.full(len(limits), self.target_vocabulary_.begin_id),
                end_id=self.target_vocabulary_.end_id,
                max_length=limits,
                beam_size=self.beam_size if beam_size is None else beam_size,
                n_best=n_best,
                length_penalty=self.length_penalty if length_penalty is None else length_penalty,
                coverage_penalty=coverage_penalty,
                min_length=min_length,
                no_repeat_ngram=no_repeat_ngram,
                prefixes=[wanted[row][0] for row in batch.rows],
                constraints=[wanted[row][1] for row in batch.rows],
                excluded=self._excluded(unknown),
                source_lengths=batch.lengths,
                attention=attention or unknown == "copy",
            )

        bounds = _read_bounds(
            min_length,
            max_length,
            np.array([len(p) + sum(map(len, phrases)) for p, phrases in wanted], np.int64),
        )
        found = self._search(sources, models, bounds, search)
        return [
            [self._candidate(one, source, unknown == "copy", attention) for one in hypotheses]
            for source, hypotheses in zip(sources, found, strict=True)
        ]

    def sample(
        self,
        X: Sequence,
        n_samples: int = 1,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_length: int = 0,
        max_length: int | None = None,
        no_repeat_ngram: int = 0,
        unknown: str = "keep",
        seed: int | np.random.Generator | None = None,
    ) -> list[list]:
        """Targets that are drawn, token by token.

        Parameters
        ----------
        X : list of sources
        n_samples : int
            How many for each source.
        temperature, top_k, top_p
            How tokens are drawn: see :class:`fastseq.Sampler`.
        min_length, max_length, no_repeat_ngram
            See :meth:`candidates`.
        unknown : {"keep", "exclude"}
            Whether the unknown token may be drawn.
        seed : None, int or Generator

        Returns
        -------
        targets : list of lists
        """
        self._check_fitted()
        sources, rng = self._read_sources(X), checks.generator(seed)
        checks.choice("unknown", unknown, UNKNOWNS[:2])

        def search(states, batch, limits):
            return sample_sequences(
                states,
                np.full(len(limits), self.target_vocabulary_.begin_id),
                end_id=self.target_vocabulary_.end_id,
                max_length=limits,
                n_samples=n_samples,
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                min_length=min_length,
                no_repeat_ngram=no_repeat_ngram,
                excluded=self._excluded(unknown),
                seed=rng,
            )

        found = self._search(sources, [self], _read_bounds(min_length, max_length), search)
        return [[self._text(one.tokens) for one in hypotheses] for hypotheses in found]

    def log_prob(self, X: Any, y: Any = None) -> np.ndarray:
        """How probable targets are for their sources.

        Parameters
        ----------
        X, y : lists of sources and of targets, or a list of pairs

        Returns
        -------
        log_prob : ndarray of float64, (N,)
            Natural logarithms.
        """
        self._check_fitted()
        X, y = self.read(X, y)
        results = np.empty(len(X))
        for batch in self._batches(X, y, None):
            results[batch.rows] = self.network_.log_prob(batch)
        return results

    def score(self, X: Any, y: Any = None) -> float:
        """How good predictions are, by the metric of the settings: more is better."""
        self._check_fitted()
        X, y = self.read(X, y)
        return self._score(X, y, self.beam_size)

    def align(self, source: Any, target: Any = None) -> tuple[list, list, np.ndarray]:
        """Where the decoder looks while it writes a target.

        Parameters
        ----------
        source : str or list of str
        target : str or list of str, optional
            By default the best one.

        Returns
        -------
        source_tokens, target_tokens : list of str
            With the end token of each.
        attention : ndarray, (T, S)
            Each row sums to 1.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            If the model has no attention.
        """
        self._check_fitted()
        if self.attention is None:
            raise ValueError("this model has no attention: fit one with attention='general'")
        (source,) = self._read_sources([source])
        if target is None:
            ((found,),) = self.candidates([source])
            target = found.tokens
        else:
            (target,) = self._read_targets([target])
        (batch,) = self._batches([source], [target], None)
        attention = self.network_.look(batch)[:, 0].copy()  # the layer may write there again
        end = token_pairs.SPECIAL["end"]
        return [*source, end], [*target, end], attention

    def plot_attention(
        self, source: Any, target: Any = None, path: str | os.PathLike | None = None
    ) -> Figure:
        """A picture of where the decoder looks while it writes a target.

        Parameters
        ----------
        source, target
            As for :meth:`align`.
        path : str or path, optional
            A file to save it in, as PNG, PDF or SVG by its name's ending.

        Returns
        -------
        figure : matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is missing.
        """
        from fastseq.models.alignment_plot import draw

        return draw(*self.align(source, target), path)

    def _search(self, sources, models, bounds, search):
        """What a search finds for each source, batch by batch."""
        least, most, needed = bounds
        needed = np.broadcast_to(needed, len(sources))
        results = [None] * len(sources)
        for batch in self._batches(sources, None, None) if sources else ():
            lengths = batch.lengths - 1  # without the end
            limits = LONGEST + np.ceil(2 * self.length_ratio_ * lengths).astype(np.int64)
            limits = np.maximum(limits + needed[batch.rows], least)
            if most is not None:
                limits = np.full(len(lengths), most)
            states = [model.network_.decode(batch.x, batch.lengths) for model in models]
            try:
                found = search(states, batch, limits)
            except FloatingPointError:
                _check_parameters(models)
                raise
            for row, hypotheses in zip(batch.rows, found, strict=True):
                results[row] = hypotheses
        for model in models:
            model.network_.release()
        return results

    def _read_wanted(self, prefixes, constraints, count):
        """For each source the ids that its targets begin with, and those of phrases in them."""

        def read(name, targets):
            return token_pairs.encode_wanted(
                name, targets, self.target_unit, self.target_vocabulary_
            )

        for name, value in (("prefixes", prefixes), ("constraints", constraints)):
            if value is not None and inputs.count(name, value) != count:
                raise ValueError(
                    f"{name} must have one entry for each of the {count} sources, got {len(value)}"
                )
        begins = [[]] * count if prefixes is None else read("prefixes", prefixes)
        phrases = [[]] * count
        if constraints is not None:
            phrases = [read(f"constraints[{i}]", some) for i, some in enumerate(constraints)]
        return list(zip(begins, phrases, strict=True))

    def _excluded(self, unknown):
        vocabulary = self.target_vocabulary_
        return [vocabulary.begin_id] + [vocabulary.unknown_id] * (unknown == "exclude")

    def _check_ensemble(self, others):
        """This model and others, whose ids mean the same."""
        if not isinstance(others, (list, tuple)):
            raise TypeError(
                f"ensemble must be a list of Seq2Seq, got {type(others).__name__}; put a single "
                "model in a list"
            )
        for i, other in enumerate(others):
            if not isinstance(other, Seq2Seq):
                raise TypeError(f"ensemble[{i}] must be a Seq2Seq, got {type(other).__name__}")
            other._check_fitted()
            for name in ("source_vocabulary_", "target_vocabulary_"):
                if getattr(other, name).tokens != getattr(self, name).tokens:
                    raise ValueError(
                        f"ensemble[{i}] has another {name} than this model: models of an ensemble "
                        "must be trained on the same pairs"
                    )
            if other.normalization != self.normalization:
                raise ValueError(
                    f"ensemble[{i}] normalizes sources by {other.normalization}, this model by "
                    f"{self.normalization}"
                )
        return [self, *others]

    def _candidate(self, found, source, copies, attention):
        tokens = self.target_vocabulary_.decode(found.tokens).tolist()
        weights = found.attention
        if copies:
            unknown, positions = token_pairs.SPECIAL["unknown"], found.attention[:-1, : len(source)]
            for i, token in enumerate(tokens):
                if token == unknown and source:
                    tokens[i] = source[int(np.argmax(positions[i]))]
        if weights is not None:
            weights = weights[:, : len(source) + 1]
        output = token_pairs.join(tokens, self.target_unit)
        return Candidate(
            output, tokens, found.score, found.log_prob, weights if attention else None, found.cut
        )

    def _text(self, ids):
        return token_pairs.join(self.target_vocabulary_.decode(ids), self.target_unit)

    def _score(self, X, y, beam_size):
        predicted = [found.tokens for (found,) in self.candidates(X, beam_size=beam_size)]
        if self.metric == "exact":
            return metrics.exact_match(predicted, y)
        if self.metric == "wer":
            return 1 - metrics.word_error_rate(predicted, y)
        if self.metric == "bleu":
            lines = ([" ".join(tokens) for tokens in side] for side in (predicted, y))
            return metrics.bleu(*lines, tokenize="none")
        between = "" if self.target_unit == "character" else " "
        return metrics.chrf(*([between.join(tokens) for tokens in side] for side in (predicted, y)))

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
        """Learn from pairs.

        Parameters
        ----------
        X, y : lists of sources and of targets
            Or a list of pairs as X alone.
        validation : pair (X, y), list of pairs, or float, optional
            Data, or a fraction of X and y, that is not learned from: after each epoch the loss,
            or the score (``selection``), is measured on it, the best epoch's parameters are kept,
            and ``patience`` may end the training.
        {run}
        """
        if y is None and isinstance(validation, list):
            validation = token_pairs.split_pairs(validation, None)
        X, y = token_pairs.split_pairs(X, y)
        return self._fit(X, y, validation, checkpoint, callbacks, keep_interrupted, progress)

    @property
    def _mode(self):
        return "min" if self.selection == "loss" else "max"

    def check_settings(self):
        self._check_training()
        token_pairs.check_settings(self)
        checks.choice("cell", self.cell, tuple(CELLS))
        self._check_attention()
        if self.tie_weights is True:
            check_tied(self.embedding_dim, self.hidden_size)
        if self.joint_vocabulary and self.target_embeddings is not None:
            raise ValueError(
                "with joint_vocabulary=True there is one table of vectors: give source_embeddings, "
                "which are for both, instead of target_embeddings"
            )
        for name in ("embedding_dim", "hidden_size", "num_layers", "beam_size"):
            checks.positive_int(name, getattr(self, name))
        for name in ("bidirectional", "input_feeding", "tie_weights"):
            checks.flag(name, getattr(self, name))
        for name in ("dropout", "word_dropout", "label_smoothing"):
            checks.fraction(name, getattr(self, name))
        checks.probability("scheduled_sampling", self.scheduled_sampling)
        Penalties(self.length_penalty, 0.0)
        checks.choice("metric", self.metric, METRICS)
        checks.choice("selection", self.selection, SELECTIONS)

    def _check_attention(self):
        if self.attention_size is not None:
            checks.positive_int("attention_size", self.attention_size)
            if self.attention not in ("additive", "concat"):
                raise ValueError(
                    f"attention_size is for 'additive' and 'concat', got it with "
                    f"attention={self.attention!r}"
                )
        if self.attention is None:
            return
        checks.choice("attention", self.attention, SCORES)
        if self.cell == "rnn":
            raise ValueError("attention needs cell='lstm' or cell='gru'; None is without it")
        if self.attention == "dot" and self.bidirectional:
            raise ValueError(
                "attention='dot' needs bidirectional=False, since it compares vectors of one size; "
                "take 'general' for an encoder of two directions"
            )

    def read(self, X, y=None):
        X, y = token_pairs.split_pairs(X, y)
        X, y = check_pairs(X, y)
        return self._read_sources(X), self._read_targets(y)

    def _read_sources(self, X):
        return token_pairs.read_tokens("X", X, self.source_unit, self.normalization)

    def _read_targets(self, y):
        y = token_pairs.read_tokens("y", y, self.target_unit)
        token_pairs.check_targets("y", y)
        return y

    def learn(self, X, y):
        self.source_vocabulary_, self.target_vocabulary_ = token_pairs.learn_vocabularies(
            X,
            y,
            joint=self.joint_vocabulary,
            min_count=self.min_count,
            max_size=self.vocabulary_size,
        )
        self.length_ratio_ = sum(map(len, y)) / max(sum(map(len, X)), 1)

    def table(self, setting):
        side = setting.removesuffix("_embeddings")
        vocabulary = self.source_vocabulary_ if side == "source" else self.target_vocabulary_
        return vocabulary, getattr(self.network_, side)

    def make_network(self, seed):
        vocabulary = self.target_vocabulary_
        return Seq2SeqNetwork(
            len(self.source_vocabulary_),
            len(vocabulary),
            self.embedding_dim,
            self.hidden_size,
            self.num_layers,
            begin_id=vocabulary.begin_id,
            end_id=vocabulary.end_id,
            unknown_id=vocabulary.unknown_id,
            cell=self.cell,
            bidirectional=self.bidirectional,
            attention=self.attention,
            input_feeding=self.input_feeding,
            attention_size=self.attention_size,
            dropout=self.dropout,
            word_dropout=self.word_dropout,
            shared_embedding=self.joint_vocabulary,
            tie_weights=self.tie_weights,
            label_smoothing=self.label_smoothing,
            dtype=self.dtype,
            seed=seed,
        )

    def make_batches(self, X, y, seed):
        return self._batches(X, y, seed)

    def _make_validation(self, X, y):
        if self.selection == "loss":
            return self._batches(X, y, None)
        return lambda: self._score(X, y, beam_size=1)

    def _batches(self, X, y, seed):
        """Batches of ids; the end stands after all sequences, the begin before targets."""
        sources = self.source_vocabulary_.encode_all(X, end=True)
        targets = y
        if y is not None:
            targets = self.target_vocabulary_.encode_all(y, begin=True, end=True)
        options = self._batch_options(seed, AT_ONCE)
        kind = None if y is None else "sequences"
        return Batches(sources, targets, target_kind=kind, **options)

    def _train(self, batches, validation, checkpoint, progress, callbacks=()):
        self.network_.sampled = 0.0
        self.network_.settings.pop("updates", None)  # of a run before
        if self.scheduled_sampling:
            updates = self.epochs * len(batches)
            self.network_.settings["updates"] = updates  # which a checkpoint compares
            callbacks = [*callbacks, _MoreSampling(self.scheduled_sampling, updates)]
        super()._train(batches, validation, checkpoint, progress, callbacks)


def _check_parameters(models):
    """Raise if a model of an ensemble, of which the first is ours, is broken."""
    for i, model in enumerate(models):
        which = f"ensemble[{i - 1}]'s" if i else "the model's"
        check_parameters(which, model.network_)


def _check_that_all_look(models):
    """Raise unless all models of an ensemble, of which the first is ours, have attention."""
    without = [i for i, model in enumerate(models) if model.attention is None]
    if without:
        which = f"ensemble[{without[0] - 1}]" if without[0] else "this model"
        raise ValueError(
            f"attention, coverage_penalty and unknown='copy' need models with attention, but "
            f"{which} has attention=None"
        )


def _read_bounds(min_length, max_length, needed=0):
    """The fewest and the most tokens of targets, None where sources decide, and those needed."""
    min_length = checks.not_negative_int("min_length", min_length)
    if max_length is not None:
        max_length = checks.not_negative_int("max_length", max_length)
        if min_length > max_length:
            raise ValueError(
                f"min_length must be at most max_length = {max_length}, got {min_length}"
            )
        if np.max(needed, initial=0) > max_length:
            i = int(np.argmax(needed))
            raise ValueError(
                f"the prefix and the phrases for X[{i}] have {needed[i]} tokens: raise max_length, "
                f"which is {max_length}"
            )
    return min_length, max_length, needed


class _MoreSampling:
    """Lets the decoder read more and more of its own tokens."""

    def __init__(self, most, updates):
        self._most, self._updates = most, updates

    def on_update(self, trainer):
        trainer.model.sampled = self._most * min(1.0, trainer.update / self._updates)
