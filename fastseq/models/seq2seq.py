"""From sequences to sequences: pronunciation, translation, normalisation, titles.

How a model is trained and judged; what it writes is in ``seq2seq_writing.py``.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from fastseq import checks, metrics
from fastseq.data.batching import Batches
from fastseq.decoders import SCORES
from fastseq.models import token_pairs
from fastseq.models.estimator import check_pairs, naming
from fastseq.models.networks import CELLS, check_outputs, check_tied
from fastseq.models.seq2seq_network import Seq2SeqNetwork
from fastseq.models.seq2seq_writing import TargetWriter
from fastseq.models.settings import Run, estimator, run_described
from fastseq.search.hypotheses import Penalties

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fastseq.words.keyed_vectors import KeyedVectors

METRICS = ("exact", "wer", "bleu", "chrf")
SELECTIONS = ("loss", "score")
AT_ONCE = 2_000  # source tokens of a batch that nothing is learned from


@estimator
class Seq2Seq(TargetWriter):
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
        Of all recurrent layers.
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
    longest_target_ : int
        In tokens, among those of ``fit``.
    unknown_targets_ : int, or None
        How many tokens of the targets of ``fit`` were unknown: without any the unknown token is
        never written.  None for models from files that lack it.
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
        "source_vocabulary_",
        "target_vocabulary_",
        "length_ratio_",
        "longest_target_",
        "unknown_targets_",
        "missing_source_words_",
        "missing_target_words_",
    )
    _unlearned: ClassVar[dict[str, Any]] = {"longest_target_": 0, "unknown_targets_": None}
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

    def log_prob(self, X: Any, y: Any = None) -> np.ndarray:
        """How probable targets are for their sources.

        Parameters
        ----------
        X, y : lists of sources and of targets, or a list of pairs

        Returns
        -------
        log_prob : ndarray of float64, (N,)
            Natural logarithms.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X and y hold something else.
        FloatingPointError
            If the model's parameters are not finite.
        """
        self._check_fitted()
        X, y = self.read(X, y)
        results = np.empty(len(X))
        for batch in self._batches(X, y, None):
            results[batch.rows] = self.network_.log_prob(batch)
        check_outputs(results, self.network_)
        return results

    def score(self, X: Any, y: Any = None) -> float:
        """How good predictions are, by the metric of the settings: more is better.

        Parameters
        ----------
        X, y : lists of sources and of targets, or a list of pairs

        Returns
        -------
        score : float
            From 0 to 1 with "exact", up to 1 with "wer", from 0 to 100 with "bleu" and "chrf".

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X and y hold something else, or nothing; with "wer" also if no target has a token.
        ImportError
            If the metric is "bleu" or "chrf", and sacreBLEU is missing.
        FloatingPointError
            If the model's parameters are not finite.
        """
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
        TypeError, ValueError
            If source or target is something else, or the model has no attention.
        FloatingPointError
            If the model's parameters are not finite.
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
        check_outputs(attention, self.network_)
        end = token_pairs.SPECIAL["end"]
        return [*source, end], [*target, end], attention

    def plot_attention(
        self, source: Any, target: Any = None, path: str | os.PathLike | None = None
    ) -> Figure:
        """A picture of where the decoder looks while it writes a target.

        Letters that matplotlib's font lacks are boxes, with a warning for each: name a font that
        has them in ``matplotlib.rcParams["font.family"]`` before.

        Parameters
        ----------
        source, target
            As for :meth:`align`.
        path : str or path, optional
            A file to save it in, as PNG, PDF or SVG by its name's ending.

        Returns
        -------
        figure : matplotlib.figure.Figure
            pyplot does not know it: ``plt.show()`` shows nothing, notebooks do.

        Raises
        ------
        NotFittedError, TypeError, FloatingPointError
            As :meth:`align`.
        ValueError
            As :meth:`align`, and if matplotlib knows no such format of a file.
        OSError
            If the file can't be written.
        ImportError
            If matplotlib is missing.
        """
        from fastseq.models.alignment_plot import draw

        if path is not None:
            checks.path("path", path)
        return draw(*self.align(source, target), path)

    def _score(self, X, y, beam_size):
        checks.choice("metric", self.metric, METRICS)
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
            Or pairs as X alone: a list of them, or an array or data frame of two columns.
        validation : pair (X, y), list of pairs, or float, optional
            Data, or a fraction of X and y, that is not learned from: after each epoch the loss,
            or the score (``selection``), is measured on it, the best epoch's parameters are kept,
            and ``patience`` may end the training.  Tokens that only a fraction has are in the
            vocabularies, so that models of another ``random_state`` have the same.
        {run}
        """
        if y is None and not isinstance(validation, (tuple, numbers.Real, type(None))):
            with naming("validation"):
                validation = token_pairs.split_pairs(validation, None)
        X, y = token_pairs.split_pairs(X, y)
        run = Run(checkpoint, callbacks, keep_interrupted, progress)
        return self._fit(X, y, validation, run)

    @property
    def _mode(self):
        return "min" if self.selection == "loss" else "max"

    def check_settings(self):
        self._check_training()
        token_pairs.check_settings(self)
        checks.choice("cell", self.cell, tuple(CELLS))
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
        self._check_attention()
        if self.tie_weights:
            check_tied(self.embedding_dim, self.hidden_size)
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
            if self.input_feeding:
                raise ValueError(
                    "input_feeding=True needs attention, since that is what is fed, got it with "
                    "attention=None"
                )
            return
        checks.choice("attention", self.attention, SCORES, or_none=True)
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

    def learn_names(self, X, y):
        self.source_vocabulary_, self.target_vocabulary_ = token_pairs.learn_vocabularies(
            X,
            y,
            joint=self.joint_vocabulary,
            min_count=self.min_count,
            max_size=self.vocabulary_size,
        )

    def learn(self, X, y):
        self.length_ratio_ = sum(map(len, y)) / max(sum(map(len, X)), 1)
        self.longest_target_ = self.unknown_targets_ = 0

    def learn_more(self, X, y):
        self.longest_target_ = max(self.longest_target_, max(map(len, y), default=0))
        if self.unknown_targets_ is not None:
            vocabulary = self.target_vocabulary_
            ids = vocabulary.encode_all(y)
            self.unknown_targets_ += sum(np.count_nonzero(i == vocabulary.unknown_id) for i in ids)

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
            **token_pairs.special_ids(vocabulary),
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

    def _train(self, batches, validation, run):
        self.network_.sampled = 0.0
        self.network_.settings.pop("updates", None)  # of a run before
        if self.scheduled_sampling:
            updates = self.epochs * len(batches)
            self.network_.settings["updates"] = updates  # which a checkpoint compares
            run = run.also_calling(_MoreSampling(self.scheduled_sampling, updates))
        super()._train(batches, validation, run)


class _MoreSampling:
    """Lets the decoder read more and more of its own tokens."""

    def __init__(self, most, updates):
        self._most, self._updates = most, updates

    def on_update(self, trainer):
        trainer.model.sampled = self._most * min(1.0, trainer.update / self._updates)
