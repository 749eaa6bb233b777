"""Searching for what a decoder would write: beam search, greedy search, sampling.

B sentences, R hypotheses that run at a step (rows, sentence by sentence, the best first), K of
them at most for each sentence, V tokens, S source positions.

A model is known through a small protocol.  Its state for R rows has

- ``step(ids (R,)) -> logits (R, V)``: reads a token in each row, goes on, and scores the next ones;
  the search may write into the result;
- ``select(rows)``: goes on with these rows, reordered, repeated, or left out;
- ``weights``: the attention (R, S) of the last step; needed only where it is asked for.

Several such states together are an ensemble: the mean of their probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from fastseq import checks
from fastseq.sampling import Sampler
from fastseq.search import constraints as phrases_of
from fastseq.search.decoding_models import Model
from fastseq.search.hypotheses import Hypothesis, Penalties
from fastseq.search.rules import Rules, per_row, tokens_of
from fastseq.search.steps import BeamSearch, draw

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MOST_BEAMS = 65_536  # more is a slip, which would take all memory


@checks.explained()
def beam_search(
    state: Any,
    start_ids: ArrayLike,
    *,
    end_id: int,
    max_length: int | ArrayLike,
    beam_size: int = 5,
    n_best: int = 1,
    length_penalty: float | str = 0.0,
    coverage_penalty: float = 0.0,
    min_length: int | ArrayLike = 0,
    no_repeat_ngram: int = 0,
    excluded: Iterable[int] = (),
    prefixes: Sequence[ArrayLike] | None = None,
    constraints: Sequence[Sequence[ArrayLike]] | None = None,
    source_lengths: ArrayLike | None = None,
    attention: bool = False,
) -> list[list[Hypothesis]]:
    r"""The most probable sequences, by keeping a few beginnings at each length.

    At each step all tokens continue all hypotheses of a sentence, and the K most probable ones
    of them stay.  One that has ended keeps its place, so that with K = 1 the search is greedy.  A
    sentence is done when none of its running hypotheses can beat the ``n_best`` ones that have
    ended, whatever would come; it then leaves the batch.  Scores are

    .. math:: \frac{\log P(y)}{\mathrm{lp}(n)} + \beta \sum_{i=1}^S \log \min(c_i, 1), \qquad
        \mathrm{lp}(n) = \left(\frac{5 + n}{6}\right)^\alpha \text{ or } n

    with the length n (the end included) and the attention c_i that source position i got in all
    (Wu et al., 2016).

    Parameters
    ----------
    state : object with step and select, or list of them
        A model that has read its sources, one row for each sentence:
        ``step(ids (R,)) -> logits (R, V)``, ``select(rows)`` and perhaps ``weights (R, S)``; the
        search may write into the logits.  What ``decoder.start`` gives needs an embedding below
        and a linear layer above it, as in README.  With a list the mean of the models'
        probabilities counts.  Their states are used up.
    start_ids : array of integers, (B,)
        What each row reads first.
    end_id : int
    max_length : int or array of integers, (B,)
        The most tokens, without the end.  What has as many must end, at the cost of the
        end's probability.
    beam_size : int
        K; more than there are tokens is fine.
    n_best : int
        How many hypotheses to return of each sentence, up to K.
    length_penalty : float or "average"
        :math:`\alpha`, from -10 to 10, or n itself.  0 compares probabilities, which favours
        short ones.
    coverage_penalty : float
        :math:`\beta`, from 0 on, for models with attention.
    min_length : int or array of integers, (B,)
        The fewest tokens, up to 65,536.
    no_repeat_ngram : int
        No n tokens in a row come twice in a sentence; 0 lets them.
    excluded : iterable of int
        Tokens that never come, such as padding.
    prefixes : list of lists of int, optional
        What each sentence begins with; it may hold what is excluded or repeated.
    constraints : list of lists of lists of int, optional
        Of each sentence the phrases, lists of tokens, that must occur in it, each at a
        place of its own (dynamic beam allocation: Post & Vilar, 2018).
    source_lengths : array of integers, (B,), optional
        For the coverage; by default all S positions are real.
    attention : bool
        Whether hypotheses come with the attention of their tokens.

    Returns
    -------
    hypotheses : list of lists of Hypothesis
        Of each sentence the best first; of equal ones that which ended first.  Fewer than
        ``n_best`` where the rules allow no more; none where all ways to its phrases would repeat
        an n-gram.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or value, or the model lacks attention.
    FloatingPointError
        If the model's scores or weights are NaN or infinite.

    Notes
    -----
    Probabilities are the model's own: what is excluded or must not come yet takes its share with
    it.  Where all that a sentence could go on with is ruled out it ends, even before
    ``min_length``.  A
    sentence's result does not depend on the others in its batch, as long as the model's scores
    don't; equal scores are decided by rank and token.

    References
    ----------
    Wu et al. (2016), "Google's neural machine translation system".

    Huang et al. (2017), "When to finish? Optimal beam search for neural text generation".

    Post & Vilar (2018), "Fast lexically constrained decoding with dynamic beam allocation".

    Examples
    --------
    A model whose scores depend on the last token only; 0 is the end, and 1 the start.

    >>> import numpy as np, fastseq as fs
    >>> class Chain:
    ...     weights = None
    ...     probabilities = np.array([[1, 0, 0], [0.1, 0.5, 0.4], [0.9, 0, 0.1]])
    ...
    ...     def step(self, ids):
    ...         with np.errstate(divide="ignore"):
    ...             return np.log(self.probabilities[ids])
    ...
    ...     def select(self, rows):
    ...         pass
    >>> for found in fs.beam_search(Chain(), [1], end_id=0, max_length=9, n_best=2)[0]:
    ...     print(found.tokens, round(np.exp(found.log_prob), 3))
    [2] 0.36
    [1 2] 0.18
    """
    start_ids = _read_start(start_ids)
    rows = len(start_ids)
    beam_size = checks.positive_int("beam_size", beam_size)
    if beam_size > MOST_BEAMS:
        raise ValueError(f"beam_size must be at most {MOST_BEAMS:,}, got {beam_size:,}")
    n_best = checks.positive_int("n_best", n_best)
    if n_best > beam_size:
        raise ValueError(
            f"n_best must be at most beam_size = {beam_size}, got {n_best}; raise beam_size"
        )
    rules = Rules(rows, end_id, max_length, min_length, no_repeat_ngram, excluded, prefixes)
    lengths = None
    if source_lengths is not None:
        lengths = per_row("source_lengths", source_lengths, rows)
    search = BeamSearch(
        Model(state),
        rules,
        size=beam_size,
        n_best=n_best,
        penalties=Penalties(length_penalty, coverage_penalty),
        phrases=phrases_of.read(constraints, rules, rows),
        source_lengths=lengths,
        attention=checks.flag("attention", attention),
    )
    return search.run(start_ids)


@checks.explained()
def greedy_search(
    state: Any,
    start_ids: ArrayLike,
    *,
    end_id: int,
    max_length: int | ArrayLike,
    min_length: int | ArrayLike = 0,
    no_repeat_ngram: int = 0,
    excluded: Iterable[int] = (),
    prefixes: Sequence[ArrayLike] | None = None,
    attention: bool = False,
) -> list[Hypothesis]:
    """Always the most probable next token: a beam of 1.

    Parameters
    ----------
    state, start_ids, end_id, max_length, min_length, no_repeat_ngram, excluded, prefixes, \
attention
        As for :func:`beam_search`.

    Returns
    -------
    hypotheses : list of Hypothesis
        One for each sentence.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As for :func:`beam_search`.

    Examples
    --------
    A model that counts, and then is more and more inclined to end (0).

    >>> import numpy as np, fastseq as fs
    >>> class Counter:
    ...     weights = None
    ...
    ...     def step(self, ids):
    ...         logits = 4.0 * (np.arange(9) == ids[:, None] + 1)
    ...         logits[:, 0] = ids
    ...         return logits
    ...
    ...     def select(self, rows):
    ...         pass
    >>> found = fs.greedy_search(Counter(), [1, 3], end_id=0, max_length=9)
    >>> [hypothesis.tokens.tolist() for hypothesis in found]
    [[2, 3, 4], [4]]
    """
    found = beam_search(
        state,
        start_ids,
        end_id=end_id,
        max_length=max_length,
        beam_size=1,
        min_length=min_length,
        no_repeat_ngram=no_repeat_ngram,
        excluded=excluded,
        prefixes=prefixes,
        attention=attention,
    )
    return [hypotheses[0] for hypotheses in found]


@checks.explained()
def sample_sequences(
    state: Any,
    start_ids: ArrayLike,
    *,
    end_id: int,
    max_length: int | ArrayLike,
    n_samples: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_length: int | ArrayLike = 0,
    no_repeat_ngram: int = 0,
    excluded: Iterable[int] = (),
    prefixes: Sequence[ArrayLike] | None = None,
    attention: bool = False,
    seed: checks.Seed = None,
) -> list[list[Hypothesis]]:
    """Sequences drawn token by token.

    Parameters
    ----------
    state, start_ids, end_id, max_length, min_length, no_repeat_ngram, excluded, prefixes, \
attention
        As for :func:`beam_search`; what they leave is drawn from.
    n_samples : int
        For each sentence.
    temperature, top_k, top_p
        How tokens are drawn: see :class:`fastseq.Sampler`.
    seed : int, Generator or None
        What a sentence gets depends on the seed and on its place in the batch, not on the others.

    Returns
    -------
    hypotheses : list of lists of Hypothesis
        In the order in which they were drawn.  Scores are the model's own, as they are without
        temperature, ``top_k`` and ``top_p``.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As for :func:`beam_search`.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> class Coin:
    ...     weights = None
    ...
    ...     def step(self, ids):
    ...         return np.zeros((len(ids), 3))
    ...
    ...     def select(self, rows):
    ...         pass
    >>> drawn = fs.sample_sequences(Coin(), [0], end_id=0, max_length=9, n_samples=3, seed=1)[0]
    >>> [found.tokens.tolist() for found in drawn]
    [[], [2, 2, 1, 2, 2, 1, 1], []]
    """
    start_ids = _read_start(start_ids)
    n_samples = checks.positive_int("n_samples", n_samples)
    rules = Rules(
        len(start_ids), end_id, max_length, min_length, no_repeat_ngram, excluded, prefixes
    )
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    Sampler(1, **how)  # so that they are wrong before the model has begun
    attention = checks.flag("attention", attention)
    return draw(Model(state), start_ids, rules, n_samples, how, attention, seed)


def _read_start(start_ids):
    ids = tokens_of("start_ids", start_ids)
    if ids.size and ids.min() < 0:
        raise ValueError(f"start_ids must be at least 0, got {ids.min()}")
    return ids
