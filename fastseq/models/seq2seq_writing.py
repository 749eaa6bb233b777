"""What a sequence-to-sequence model writes for its sources: searched for, or drawn."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from fastseq import checks, files
from fastseq.models import inputs, token_pairs
from fastseq.models.estimator import Estimator
from fastseq.models.networks import check_parameters
from fastseq.search.constraints import tokens_needed
from fastseq.search.searches import beam_search, sample_sequences

if TYPE_CHECKING:
    from fastseq.models.seq2seq import Seq2Seq

_Method = TypeVar("_Method", bound=Callable)

UNKNOWNS = ("keep", "exclude", "copy")
LONGER = 10  # tokens more than is usual, or than there were in fit, end a target


class Candidate(NamedTuple):
    """What a :class:`Seq2Seq` may write for a source.

    Attributes
    ----------
    output : str or list of str
        As ``target_unit`` says.
    tokens : list of str
    score : float
        What candidates are sorted by; of those that are drawn ``log_prob``.
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


def _telling_options(method: _Method) -> _Method:
    """Let a method tell which options it has when it is given another one."""

    @functools.wraps(method)
    def telling(self, *args, **options):
        _check_options({name: None for name in options if name not in ("X", "n_samples")}, telling)
        return method(self, *args, **options)

    return telling


def _check_options(given, method):
    """Raise if an option is given that the method, one of two, doesn't have."""
    methods = {"predict": TargetWriter.candidates, "sample": TargetWriter.sample_candidates}
    known = _options_of(method)
    (other,) = (name for name, one in methods.items() if _options_of(one) != known)
    checks.options(given, known, _options_of(methods[other]), other)


def _options_of(method):
    parameters = inspect.signature(method).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


class TargetWriter(Estimator):
    """The half of :class:`Seq2Seq` that writes targets, which the other half has learned."""

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
            If X holds something else, an option is out of its range, or no target was found for a
            source, as where its phrases can't be had together with ``no_repeat_ngram``.
        FloatingPointError
            If the model's parameters are not finite.
        """
        found = self.candidates(X, **options)
        if "n_best" in options:
            return [[candidate.output for candidate in candidates] for candidates in found]
        return [candidates[0].output for candidates in found]

    @_telling_options
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
            Of targets, in tokens.  By default a target may have 10 tokens more than the longest
            of ``fit``, or than twice of what is usual for its source's length, whichever is more,
            beside its prefix and phrases; or ``min_length``, which may be up to 65,536, if that is
            more.  Candidates that were longer say so in ``cut``.
        prefixes : list of targets, optional
            What the target of each source begins with, in whole tokens; it may be empty.
        constraints : list of lists of targets, optional
            Of each source the phrases, in whole tokens, that must occur in its targets, each at a
            place of its own; there may be none.
        unknown : {"keep", "exclude", "copy"}
            What becomes of the unknown token: it may be written; it must not; or the source
            token that the decoder looked at the most takes its place (Luong et al., 2015), spelled
            as it came.  It is never written where no token of a target was unknown in ``fit``:
            some are with ``min_count`` from 2 on or a ``vocabulary_size``.
        attention : bool
            Whether candidates come with their attention.
        ensemble : list of Seq2Seq
            Other models of the same vocabularies: the mean of all models' probabilities counts.

        Returns
        -------
        candidates : list of lists of Candidate
            Of each source at least one; fewer than ``n_best`` where what is asked for allows no
            more.

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`predict`.
        """
        self._check_fitted()
        models, sources = self._check_ensemble(ensemble), self._read_sources(X)
        wanted = self._read_wanted(prefixes, constraints, len(sources))
        looks = checks.not_negative("coverage_penalty", coverage_penalty) or attention
        _check_unknown(unknown, models, looks)

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
                excluded=self._excluded(unknown, models),
                source_lengths=batch.lengths,
                attention=attention or unknown == "copy",
            )

        needed = [tokens_needed(prefix, phrases) for prefix, phrases in wanted]
        bounds = _read_bounds(min_length, max_length, np.array(needed, np.int64))
        found = self._search(sources, models, bounds, search)
        if not all(found):
            row = next(i for i, hypotheses in enumerate(found) if not hypotheses)
            raise self._not_found(row, *wanted[row], no_repeat_ngram)
        return self._candidates(X, sources, found, unknown, attention)

    def sample(self, X: Sequence, n_samples: int = 1, **options: Any) -> list[list]:
        """Targets that are drawn, token by token.

        Parameters
        ----------
        X : list of sources
        n_samples : int
            How many for each source.
        **options
            As for :meth:`sample_candidates`, which also tells how probable they are.

        Returns
        -------
        targets : list of lists
            Strings, or lists of tokens, in the order in which they were drawn.

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`predict`.
        """
        drawn = self.sample_candidates(X, n_samples, **options)
        return [[candidate.output for candidate in candidates] for candidates in drawn]

    @_telling_options
    def sample_candidates(
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
        prefixes: Sequence | None = None,
        unknown: str = "keep",
        attention: bool = False,
        ensemble: Sequence[Seq2Seq] = (),
        seed: checks.Seed = None,
    ) -> list[list[Candidate]]:
        """Targets that are drawn, with all that is known of them.

        Parameters
        ----------
        X : list of sources
        n_samples : int
            How many for each source.
        temperature, top_k, top_p
            How tokens are drawn: see :class:`fastseq.Sampler`.
        min_length, max_length, no_repeat_ngram, prefixes, unknown, attention, ensemble
            See :meth:`candidates`.
        seed : int, Generator or None

        Returns
        -------
        candidates : list of lists of Candidate
            In the order in which they were drawn.  Their probabilities are the model's own, as
            they are without temperature, ``top_k`` and ``top_p``.

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`predict`.
        """
        self._check_fitted()
        models, sources = self._check_ensemble(ensemble), self._read_sources(X)
        wanted, rng = self._read_wanted(prefixes, None, len(sources)), checks.generator(seed)
        _check_unknown(unknown, models, attention)

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
                excluded=self._excluded(unknown, models),
                prefixes=[wanted[row][0] for row in batch.rows],
                attention=attention or unknown == "copy",
                seed=rng,
            )

        needed = [len(prefix) for prefix, _ in wanted]
        bounds = _read_bounds(min_length, max_length, np.array(needed, np.int64))
        found = self._search(sources, models, bounds, search)
        return self._candidates(X, sources, found, unknown, attention)

    def _search(self, sources, models, bounds, search):
        """What a search finds for each source, batch by batch."""
        least, most, needed = bounds
        needed = np.broadcast_to(needed, len(sources))
        results = [None] * len(sources)
        for batch in self._batches(sources, None, None) if sources else ():
            lengths = batch.lengths - 1  # without the end
            usual = np.ceil(2 * self.length_ratio_ * lengths).astype(np.int64)
            limits = LONGER + np.maximum(usual, self.longest_target_) + needed[batch.rows]
            limits = np.maximum(limits, least)
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
        for name, value in (("prefixes", prefixes), ("constraints", constraints)):
            if value is not None and inputs.count(name, value) != count:
                raise ValueError(
                    f"{name} must have one entry for each of the {count} sources, got {len(value)}"
                )
        begins, phrases = [[]] * count, [[]] * count
        if prefixes is not None:
            targets = token_pairs.read_tokens("prefixes", prefixes, self.target_unit)
            begins = [self._encode_wanted("prefixes", i, one) for i, one in enumerate(targets)]
        if constraints is not None:
            phrases = [self._read_phrases(i, some) for i, some in enumerate(constraints)]
        return list(zip(begins, phrases, strict=True))

    def _read_phrases(self, row, phrases):
        """The phrases of a source as ids."""
        phrases = token_pairs.read_tokens(f"constraints[{row}]", phrases, self.target_unit)
        if not all(phrases):
            raise inputs.RowError(
                "constraints", row, "must have at least one token in each phrase, got none"
            )
        return [self._encode_wanted("constraints", row, phrase) for phrase in phrases]

    def _encode_wanted(self, name, row, tokens):
        return token_pairs.encode_wanted(name, row, tokens, self.target_vocabulary_)

    def _not_found(self, row, prefix, phrases, ngram):
        """The error about a source without a target: all ways to its phrases repeat an n-gram."""
        begins = f"begins with {files.shortened(self._text(prefix))} and " if len(prefix) else ""
        holds = " and ".join(files.shortened(self._text(phrase)) for phrase in phrases)
        return inputs.RowError(
            "X",
            row,
            f"got no target that {begins}holds {holds} with no_repeat_ngram={ngram}: raise that "
            "(0 lets everything repeat) or max_length, or ask for other phrases",
        )

    def _excluded(self, unknown, models):
        vocabulary = self.target_vocabulary_
        # What no model has learned is as probable as chance made it.
        never = unknown == "exclude" or all(model.unknown_targets_ == 0 for model in models)
        return [vocabulary.begin_id] + [vocabulary.unknown_id] * never

    def _check_ensemble(self, others):
        """This model and others, whose ids mean the same."""
        if not isinstance(others, (list, tuple)):
            raise TypeError(
                f"ensemble must be a list of Seq2Seq, got {type(others).__name__}; put a single "
                "model in a list"
            )
        for i, other in enumerate(others):
            if not isinstance(other, TargetWriter):
                raise TypeError(f"ensemble[{i}] must be a Seq2Seq, got {type(other).__name__}")
            other._check_fitted()
            for name in ("source_vocabulary_", "target_vocabulary_"):
                if getattr(other, name).tokens != getattr(self, name).tokens:
                    raise inputs.RowError(
                        "ensemble",
                        i,
                        f"has another {name} than this model: train all models of an ensemble on "
                        "the same pairs, with the same units, min_count and vocabulary_size",
                    )
            if other.normalization != self.normalization:
                raise inputs.RowError(
                    "ensemble",
                    i,
                    f"normalizes sources by {other.normalization}, this model by "
                    f"{self.normalization}",
                )
        return [self, *others]

    def _candidates(self, X, sources, found, unknown, attention):
        """What was found for each source, as users get it."""
        copied = self._spelling(X, sources) if unknown == "copy" else [None] * len(sources)
        return [
            [self._candidate(one, source, copied[i], attention) for one in hypotheses]
            for i, (source, hypotheses) in enumerate(zip(sources, found, strict=True))
        ]

    def _spelling(self, X, sources):
        """Of each source what is copied from it: its tokens, as they were before normalisation."""
        pairs = zip(X, sources, strict=True)
        unit, normalization = self.source_unit, self.normalization
        return [token_pairs.spelling(x, tokens, unit, normalization) for x, tokens in pairs]

    def _candidate(self, found, source, copied, attention):
        """What was found; ``copied`` is of each source token what may take an unknown's place."""
        tokens = self.target_vocabulary_.decode(found.tokens).tolist()
        weights = found.attention
        if copied:
            unknown, positions = token_pairs.SPECIAL["unknown"], found.attention[:-1, : len(source)]
            for i, token in enumerate(tokens):
                if token == unknown:
                    tokens[i] = copied[int(np.argmax(positions[i]))]
        if weights is not None:
            weights = weights[:, : len(source) + 1]
        output = token_pairs.join(tokens, self.target_unit)
        return Candidate(
            output, tokens, found.score, found.log_prob, weights if attention else None, found.cut
        )

    def _text(self, ids):
        return token_pairs.join(self.target_vocabulary_.decode(ids), self.target_unit)


def _check_parameters(models):
    """Raise if a model of an ensemble, of which the first is ours, is broken."""
    for i, model in enumerate(models):
        which = f"ensemble[{i - 1}]'s" if i else "the model's"
        check_parameters(which, model.network_)


def _check_unknown(unknown, models, looks):
    """Check what becomes of the unknown token; ``looks`` says whether attention is asked for."""
    checks.choice("unknown", unknown, UNKNOWNS)
    if looks or unknown == "copy":
        _check_that_all_look(models)
    if unknown == "copy" and all(model.unknown_targets_ == 0 for model in models):
        checks.warn(
            "unknown='copy' will copy nothing: no target token of fit was unknown, so the model "
            "doesn't write the unknown token; fit with min_count=2 or a vocabulary_size"
        )


def _check_that_all_look(models):
    """Raise unless all models of an ensemble, of which the first is ours, have attention."""
    for i, model in enumerate(models):
        if model.attention is None:
            wrong = (
                "has attention=None, but attention, coverage_penalty and unknown='copy' need "
                "models with attention"
            )
            raise (
                inputs.RowError("ensemble", i - 1, wrong)
                if i
                else ValueError(f"this model {wrong}")
            )


def _read_bounds(min_length, max_length, needed):
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
            raise inputs.RowError(
                "X",
                i,
                f"needs {needed[i]} tokens for its prefix and its phrases: raise max_length, "
                f"which is {max_length}",
            )
    return min_length, max_length, needed
