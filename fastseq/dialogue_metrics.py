"""How varied texts are, and how near they are in meaning: metrics of answers in dialogues."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastseq.words.keyed_vectors import KeyedVectors

PER = ("word", "ngram")


def distinct_n(texts: Iterable[Any], n: int = 2, *, per: str = "word") -> float:
    """How many different n-grams texts have, for each word in them: distinct-n.

    Low where answers repeat each other.  A text's n-grams don't reach into the next one.

    Parameters
    ----------
    texts : iterable of str, or of sequences of words
        Any number, which is gone through once.  Strings are split at white space.
    n : int
        1 counts words, 2 pairs of them.
    per : {"word", "ngram"}
        What they are counted against: all words, as the paper has it, or all n-grams, which is 1
        where none comes twice.

    Returns
    -------
    share : float
        From 0 to 1.  It falls as texts become more, so compare as many of both.

    Raises
    ------
    TypeError, ValueError
        If texts are something else, n is below 1, or there is nothing to count against.

    References
    ----------
    Li, Galley, Brockett, Gao & Dolan (2016), "A diversity-promoting objective function for neural
    conversation models".

    Examples
    --------
    >>> import fastseq as fs
    >>> fs.distinct_n(["i don't know", "i don't know"], 1)
    0.5
    >>> fs.distinct_n(["i don't know", "yes i do"], 2)  # four pairs, six words
    0.6666666666666666
    """
    n = checks.positive_int("n", n)
    checks.choice("per", per, PER)
    _check_texts("texts", texts)
    different, words, ngrams = set(), 0, 0
    for i, text in enumerate(texts):
        tokens = _words(f"texts[{i}]", text)
        words += len(tokens)
        ngrams += max(len(tokens) - n + 1, 0)
        different.update(zip(*(tokens[k:] for k in range(n)), strict=False))
    total = words if per == "word" else ngrams
    if not total:
        what = "word" if per == "word" else f"sequence of {n} words"
        raise ValueError(f"texts must have at least one {what} in all, got none")
    return len(different) / total


def embedding_average(
    hypotheses: Sequence[Any],
    references: Sequence[Any],
    vectors: KeyedVectors | Mapping[Any, ArrayLike],
) -> np.ndarray:
    r"""How similar the mean vectors of texts are.

    .. math:: \cos(\bar e_x, \bar e_y), \quad \bar e_x = \frac{1}{|x|} \sum_{w \in x} e_w

    Parameters
    ----------
    hypotheses, references : sequence of str, or of sequences of words
        As many of both.  Strings are split at white space.
    vectors : KeyedVectors or mapping
        A vector (D,) for each word.  Words without one don't count.

    Returns
    -------
    similarities : ndarray of float64, (n,)
        For each pair from -1 to 1: 0 where the hypothesis has no word with a vector, and NaN where
        the reference has none, so that nothing can be said.  ``np.nanmean`` is the usual figure.

    Raises
    ------
    TypeError, ValueError
        If there are not as many of both, or vectors have different sizes or numbers that are not
        finite.

    See Also
    --------
    embedding_greedy, embedding_extrema

    References
    ----------
    Liu et al. (2016), "How NOT to evaluate your dialogue system: an empirical study of unsupervised
    evaluation metrics for dialogue response generation", which also shows how little such figures
    say of what people think.

    Examples
    --------
    >>> import fastseq as fs
    >>> vectors = {"good": [1.0, 0.0], "fine": [0.8, 0.6], "rain": [0.0, 1.0]}
    >>> fs.embedding_average(["good rain", "fine", "what"], ["fine fine", "rain", "rain"], vectors)
    array([0.98994949, 0.6       , 0.        ])
    """
    return _compare(hypotheses, references, vectors, _average)


def embedding_extrema(
    hypotheses: Sequence[Any],
    references: Sequence[Any],
    vectors: KeyedVectors | Mapping[Any, ArrayLike],
) -> np.ndarray:
    r"""How similar the extreme numbers of texts' vectors are (Forgues et al., 2014).

    In each dimension the number that is farthest from 0 stands for a text, so that words which say
    much decide: the largest, unless the smallest one's magnitude is larger; then their cosine.

    Parameters
    ----------
    hypotheses, references, vectors
        As of :func:`embedding_average`.

    Returns
    -------
    similarities : ndarray of float64, (n,)
        As of :func:`embedding_average`.

    Raises
    ------
    TypeError, ValueError
        As of :func:`embedding_average`.

    References
    ----------
    Forgues et al. (2014), "Bootstrapping dialog systems with word embeddings"; Liu et al. (2016),
    see :func:`embedding_average`.

    Examples
    --------
    >>> import fastseq as fs
    >>> vectors = {"good": [1.0, 0.0], "bad": [-2.0, 0.0], "rain": [0.0, 1.0]}
    >>> fs.embedding_extrema(["good bad"], ["bad"], vectors)
    array([1.])
    """
    return _compare(hypotheses, references, vectors, _extrema)


def embedding_greedy(
    hypotheses: Sequence[Any],
    references: Sequence[Any],
    vectors: KeyedVectors | Mapping[Any, ArrayLike],
) -> np.ndarray:
    r"""How well words of texts find similar ones in each other (Rus & Lintean, 2012).

    .. math::

        \tfrac12 (G(x, y) + G(y, x)), \quad
        G(x, y) = \frac{1}{|x|} \sum_{w \in x} \max_{v \in y} \cos(e_w, e_v)

    Parameters
    ----------
    hypotheses, references, vectors
        As of :func:`embedding_average`.

    Returns
    -------
    similarities : ndarray of float64, (n,)
        As of :func:`embedding_average`.

    Raises
    ------
    TypeError, ValueError
        As of :func:`embedding_average`.

    References
    ----------
    Rus & Lintean (2012), "A comparison of greedy and optimal assessment of natural language student
    input using word-to-word similarity metrics"; Liu et al. (2016), see :func:`embedding_average`.

    Examples
    --------
    >>> import fastseq as fs
    >>> vectors = {"good": [1.0, 0.0], "fine": [0.8, 0.6], "rain": [0.0, 1.0]}
    >>> fs.embedding_greedy(["good rain"], ["fine"], vectors)  # (0.8 + 0.6) / 2, and 0.8
    array([0.75])
    """
    return _compare(hypotheses, references, vectors, _greedy)


# --- reading --------------------------------------------------------------------------------------


def _check_texts(name, texts):
    is_other = isinstance(texts, (str, bytes, dict)) or hasattr(texts, "columns")
    if is_other or not hasattr(texts, "__iter__"):
        raise TypeError(
            f"{name} must be a list of texts, got {type(texts).__name__}; put a single text in a "
            "list"
        )


def _words(name, text):
    if isinstance(text, str):
        return text.split()
    if isinstance(text, np.ndarray):
        text = text.tolist()
    try:
        words = list(text)
    except TypeError:
        raise TypeError(f"{name} must be a text or a sequence of words, got {text!r}") from None
    try:
        set(words)
    except TypeError as error:
        raise TypeError(f"{name} must hold words, such as strings, got an {error}") from None
    return words


def _read_texts(hypotheses, references):
    """The words of all texts."""
    read = []
    for name, texts in (("hypotheses", hypotheses), ("references", references)):
        _check_texts(name, texts)
        read.append([_words(f"{name}[{i}]", text) for i, text in enumerate(texts)])
    found, expected = map(len, read)
    if found != expected:
        raise ValueError(f"hypotheses must be as many as references = {expected}, got {found}")
    return read


class _Known:
    """The vectors of the words that texts have, in one array."""

    def __init__(self, vectors, texts):
        if not hasattr(vectors, "__getitem__") or not hasattr(vectors, "__contains__"):
            raise TypeError(
                f"vectors must be KeyedVectors or a mapping, got {type(vectors).__name__}"
            )
        words = dict.fromkeys(word for text in texts for word in text)
        known = [word for word in words if word in vectors]
        self._places = {word: i for i, word in enumerate(known)}
        self._vectors = self._table(known, vectors)

    @staticmethod
    def _table(known, vectors):
        """Their vectors (words, D) in float64."""
        rows = []
        for word in known:
            name = f"vectors[{word!r}]"
            row = np.asarray(checks.floats_of_any_precision(name, vectors[word]), np.float64)
            expected = rows[0].shape if rows else (row.size,)
            checks.shape(name, row, expected, "(D,)", " as of the first word")
            if not row.size:
                raise ValueError(f"{name} must hold at least one number, got none")
            if not np.isfinite(row).all():
                raise ValueError(f"{name} must hold finite numbers, got NaN or infinity")
            rows.append(row)
        return np.array(rows) if rows else np.empty((0, 1))

    def __call__(self, text):
        """The vectors (words, D) of a text's words that have one."""
        return self._vectors[[self._places[word] for word in text if word in self._places]]


def _compare(hypotheses, references, vectors, similarity):
    """The similarity of each pair whose texts have vectors."""
    hypotheses, references = _read_texts(hypotheses, references)
    known = _Known(vectors, hypotheses + references)
    similarities = np.zeros(len(hypotheses))
    for i, texts in enumerate(zip(hypotheses, references, strict=True)):
        x, y = map(known, texts)
        if not len(y):
            similarities[i] = np.nan
        elif len(x):
            similarities[i] = similarity(x, y)
    return similarities


# --- similarities of vectors x (words, D) and y (words, D) ---------------------------------------


def _average(x, y):
    return _cosines(x.mean(axis=0), y.mean(axis=0))


def _extrema(x, y):
    return _cosines(_extremes(x), _extremes(y))


def _greedy(x, y):
    cosines = _cosines(x, y)
    return (cosines.max(axis=1).mean() + cosines.max(axis=0).mean()) / 2


def _extremes(x):
    """The number that is farthest from 0 in each dimension; of two as far ones the positive."""
    largest, smallest = x.max(axis=0), x.min(axis=0)
    return np.where(-smallest > np.abs(largest), smallest, largest)


def _cosines(x, y):
    """Cosines of all vectors of x and y, 0 where one has no direction."""
    return np.clip(_normed(x) @ _normed(y).T, -1, 1)  # rounding may go beyond


def _normed(x):
    largest = np.abs(x).max(axis=-1, keepdims=True)
    x = x / np.where(largest, largest, 1)  # squares of what is left neither vanish nor overflow
    norms = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(norms, norms, 1)
