"""How good sequences are: edit distances and what rests on them, exact matches, BLEU, chrF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq import checks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


ROUNDING = 1e-3  # above 0, in which logarithms of a probability of 1 may come


def edit_distances(hypotheses: Sequence[Any], references: Sequence[Any]) -> np.ndarray:
    r"""How many tokens to replace, insert or delete to come from one sequence to another.

    The distance of Levenshtein (1966), each of the three at the cost of 1:

    .. math:: d_{i,j} = \min(d_{i-1,j-1} + [x_i \ne y_j],\ d_{i-1,j} + 1,\ d_{i,j-1} + 1)

    Parameters
    ----------
    hypotheses, references : sequence of sequences
        As many of both; strings count as sequences of characters, everything else as sequences
        of tokens that can be compared and hashed, such as words, phones or ids.

    Returns
    -------
    distances : ndarray of int64, (n,)

    Raises
    ------
    TypeError, ValueError
        If they are no sequences, or not as many.

    Notes
    -----
    A column of d is computed at once, by Myers's bit vectors of any length: pairs of ten words
    take microseconds, pairs of a thousand some milliseconds.

    References
    ----------
    Levenshtein (1966), "Binary codes capable of correcting deletions, insertions, and reversals".

    Myers (1999), "A fast bit-vector algorithm for approximate string matching based on dynamic
    programming"; Hyyrö (2003), "A bit-vector algorithm for computing Levenshtein and Damerau
    edit distances".

    Examples
    --------
    >>> import fastseq as fs
    >>> fs.edit_distances(["kitten", ["a", "cat"]], ["sitting", ["the", "cat", "sat"]])
    array([3, 2])
    """
    pairs = _read_pairs(hypotheses, references)
    return np.fromiter((_distance(x, y) for x, y in pairs), np.int64, len(pairs))


def word_error_rate(hypotheses: Sequence[Any], references: Sequence[Any]) -> float:
    """Edits of words for each word of the references.

    Parameters
    ----------
    hypotheses, references : sequence of str, or of sequences of words
        Strings are split at white space.

    Returns
    -------
    rate : float
        From 0 on; above 1 if hypotheses are long.

    Raises
    ------
    TypeError, ValueError
        If there are not as many of both, or the references are all empty.

    See Also
    --------
    sequence_error_rate : what is called WER where each sequence is a word, as in pronunciation.

    Examples
    --------
    >>> import fastseq as fs
    >>> fs.word_error_rate(["the cat sat", "no"], ["the cat sits", "yes"])
    0.5
    """
    return _error_rate(*(_split(name, value) for name, value in _named(hypotheses, references)))


def phone_error_rate(hypotheses: Sequence[Any], references: Sequence[Any]) -> float:
    """Edits of phones for each phone of the references.

    Parameters
    ----------
    hypotheses, references : sequence of str, or of sequences of phones
        Strings are phones with white space between them, as in ``"HH AH0 L OW1"``.

    Returns
    -------
    rate : float

    Raises
    ------
    TypeError, ValueError
        If there are not as many of both, or the references are all empty.

    Examples
    --------
    >>> import fastseq as fs
    >>> fs.phone_error_rate(["HH EH L OW"], ["HH AH L OW"])
    0.25
    """
    return word_error_rate(hypotheses, references)


def character_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Edits of characters for each character of the references.

    Parameters
    ----------
    hypotheses, references : sequence of str

    Returns
    -------
    rate : float

    Raises
    ------
    TypeError, ValueError
        If there are not as many of both, or the references are all empty.

    Examples
    --------
    >>> import fastseq as fs
    >>> fs.character_error_rate(["kitten"], ["mitten"]) == 1 / 6
    True
    """
    return _error_rate(hypotheses, references)


def exact_match(hypotheses: Sequence[Any], references: Sequence[Any]) -> float:
    """The share of hypotheses that equal their references.

    Parameters
    ----------
    hypotheses, references : sequence
        Strings, or sequences of tokens.

    Returns
    -------
    share : float
        From 0 to 1.

    Raises
    ------
    TypeError, ValueError
        If there are not as many of both, or none; if strings meet sequences of tokens.

    Examples
    --------
    >>> import fastseq as fs
    >>> fs.exact_match(["a b", "c"], ["a b", "d"])
    0.5
    """
    pairs = _read_comparable(hypotheses, references)
    return sum(x == y for x, y in pairs) / len(pairs)


def sequence_error_rate(hypotheses: Sequence[Any], references: Sequence[Any]) -> float:
    """The share of hypotheses that differ from their references: 1 - :func:`exact_match`.

    Where each sequence is the pronunciation of a word it is called the word error rate
    (SIGMORPHON's shared tasks).

    Parameters
    ----------
    hypotheses, references : sequence

    Returns
    -------
    rate : float
        From 0 to 1.

    Raises
    ------
    TypeError, ValueError
        If there are not as many of both, or none; if strings meet sequences of tokens.

    Examples
    --------
    >>> import fastseq as fs
    >>> fs.sequence_error_rate([["HH", "AY"], ["B", "AY"]], [["HH", "AY"], ["B", "IY"]])
    0.5
    """
    pairs = _read_comparable(hypotheses, references)
    return sum(x != y for x, y in pairs) / len(pairs)


def bleu(hypotheses: Sequence[str], references: Sequence[Any], *, tokenize: str = "13a") -> float:
    """BLEU (Papineni et al., 2002) of a corpus, by sacreBLEU: ``pip install 'fastseq[text]'``.

    Parameters
    ----------
    hypotheses : sequence of str
    references : sequence of str, or of sequences of str
        One for each hypothesis, or several.
    tokenize : str
        How sacreBLEU cuts: "13a" for plain text, "none" for text that is tokenised,
        "char" for languages without spaces, and others.

    Returns
    -------
    bleu : float
        From 0 to 100.

    Raises
    ------
    TypeError, ValueError
        If there are not as many of both, or none, or the tokeniser is unknown.
    ImportError
        If sacreBLEU is missing.

    References
    ----------
    Papineni et al. (2002), "BLEU: a method for automatic evaluation of machine translation".

    Post (2018), "A call for clarity in reporting BLEU scores".

    Examples
    --------
    >>> import fastseq as fs
    >>> round(fs.bleu(["the cat sat on the mat"], ["the cat sat on a mat"]), 1)
    53.7
    """
    metrics = _import_sacrebleu()
    known = metrics.BLEU.TOKENIZERS
    checks.choice("tokenize", tokenize, tuple(sorted(str(name) for name in known)))
    # what comes tokenised is meant so: no warning of it
    metric = metrics.BLEU(tokenize=tokenize, force=True)
    return metric.corpus_score(*_read_texts(hypotheses, references)).score


def chrf(hypotheses: Sequence[str], references: Sequence[Any], *, word_order: int = 0) -> float:
    """chrF (Popović, 2015) of a corpus, by sacreBLEU: ``pip install 'fastseq[text]'``.

    An F-score of n-grams of characters, in which recall counts twice.  They are counted over the
    whole corpus: a text that is empty, where the reference is not, has none that are wrong.

    Parameters
    ----------
    hypotheses : sequence of str
    references : sequence of str, or of sequences of str
        One for each hypothesis, or several.
    word_order : int
        2 counts pairs of words, too: chrF++.

    Returns
    -------
    chrf : float
        From 0 to 100.

    Raises
    ------
    TypeError, ValueError
        If there are not as many of both, or none.
    ImportError
        If sacreBLEU is missing.

    References
    ----------
    Popović (2015), "chrF: character n-gram F-score for automatic MT evaluation".

    Examples
    --------
    >>> import fastseq as fs
    >>> round(fs.chrf(["the cat sat"], ["the cat sat"]), 1)
    100.0
    """
    word_order = checks.not_negative_int("word_order", word_order)
    metric = _import_sacrebleu().CHRF(word_order=word_order)
    return metric.corpus_score(*_read_texts(hypotheses, references)).score


def perplexity(log_probs: ArrayLike) -> float:
    """Among so many tokens a model might as well have guessed: exp(-mean(log_probs)).

    Parameters
    ----------
    log_probs : array of floats
        Natural logarithms of the probabilities that it gave to the right tokens, in any shape.

    Returns
    -------
    perplexity : float
        From 1 on; infinite if something was held for impossible.

    Raises
    ------
    TypeError, ValueError
        If there are none, they are no numbers, or one is above 0.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> round(fs.perplexity(np.log([0.25, 0.25])), 12)
    4.0
    """
    array = checks.floats_of_any_precision("log_probs", log_probs)
    if not array.size:
        raise ValueError("log_probs must hold at least one number, got none")
    mean = array.mean(dtype=np.float64)
    if np.isnan(mean):
        raise ValueError("log_probs must be numbers, got NaN")
    largest = array.max()
    if largest > ROUNDING:
        raise ValueError(
            f"log_probs must be logarithms of probabilities, which are at most 0, got {largest}; "
            "take np.log of probabilities, and change the sign of losses"
        )
    with np.errstate(over="ignore"):
        return float(np.exp(-mean))


# --- reading --------------------------------------------------------------------------------------


def _named(hypotheses, references):
    return (("hypotheses", hypotheses), ("references", references))


def _check_sequences(name, value):
    has_order = hasattr(value, "__len__") and not isinstance(value, (str, bytes, dict, set))
    if not has_order or hasattr(value, "columns"):  # of a data frame one would compare names
        raise TypeError(
            f"{name} must be a list of sequences, got {type(value).__name__}; put a single "
            "sequence in a list"
        )


def _check_count(hypotheses, references):
    for name, value in _named(hypotheses, references):
        _check_sequences(name, value)
    if len(hypotheses) != len(references):
        raise ValueError(
            f"hypotheses must be as many as references = {len(references)}, got {len(hypotheses)}"
        )


def _tokens(name, sequence):
    if isinstance(sequence, (str, bytes)):
        return sequence
    if isinstance(sequence, np.ndarray):
        sequence = sequence.tolist()
    try:
        return list(sequence)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of tokens, got {sequence!r}") from None


def _read_pairs(hypotheses, references):
    _check_count(hypotheses, references)
    read = (
        [_tokens(f"{name}[{i}]", sequence) for i, sequence in enumerate(value)]
        for name, value in _named(hypotheses, references)
    )
    return list(zip(*read, strict=True))


def _read_comparable(hypotheses, references):
    """At least one pair, each of two strings or of two lists of tokens: others never match."""
    pairs = _read_pairs(hypotheses, references)
    if not pairs:
        raise ValueError("references must hold at least one sequence, got none")
    for i, (x, y) in enumerate(pairs):
        if type(x) is not type(y) and (isinstance(x, list) or isinstance(y, list)):
            raise TypeError(
                f"hypotheses[{i}] and references[{i}] must both be strings, or both sequences of "
                f"tokens, got {type(x).__name__} and {type(y).__name__}; split the string first, "
                "as with text.split()"
            )
    return pairs


def _split(name, value):
    _check_sequences(name, value)
    return [sequence.split() if isinstance(sequence, str) else sequence for sequence in value]


def _error_rate(hypotheses, references):
    edits = edit_distances(hypotheses, references).sum()
    total = sum(map(len, references))
    if not total:
        raise ValueError("references must have at least one token in all, got none")
    return float(edits / total)


def _read_texts(hypotheses, references):
    """As sacreBLEU takes them: references by their number, each for all hypotheses."""
    _check_count(hypotheses, references)
    if not len(hypotheses):
        raise ValueError("hypotheses must hold at least one text, got none")
    lists = [[text] if isinstance(text, str) else list(text) for text in references]
    for i, texts in enumerate([hypotheses, *lists]):
        name = f"references[{i - 1}]" if i else "hypotheses"
        for text in texts:
            if not isinstance(text, str):
                raise TypeError(
                    f"{name} must be text, got {type(text).__name__}; join tokens first, as with "
                    "' '.join(tokens)"
                )
        if not len(texts):
            raise ValueError(f"{name} must hold at least one text, got none")
    most = max(map(len, lists))
    columns = [[texts[i] if i < len(texts) else None for texts in lists] for i in range(most)]
    return list(hypotheses), columns


def _import_sacrebleu():
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise ImportError(
            f"BLEU and chrF need sacrebleu ({error}): pip install 'fastseq[text]'"
        ) from error
    return metrics


# --- distances ------------------------------------------------------------------------------------


def _distance(x, y):
    """The distance of two sequences, a whole column of the table at once.

    Neighbours in a column differ by -1, 0 or 1.  So it is two sets of rows, bits of two integers:
    those where it rises and those where it falls.  Names are those of the paper (P for +1, M for
    -1; V down a column, H from a column to the next).
    """
    if len(x) < len(y):  # bits are cheaper than steps
        x, y = y, x
    if not len(y):
        return len(x)
    places = {}
    for i, token in enumerate(x):
        places[token] = places.get(token, 0) | 1 << i
    score, last, every = len(x), 1 << (len(x) - 1), (1 << len(x)) - 1
    pv, mv = every, 0
    for token in y:
        equal = places.get(token, 0)
        xv = equal | mv
        xh = (((equal & pv) + pv) ^ pv) | equal  # the carry runs through whole runs of rows
        ph = mv | (every & ~(xh | pv))
        mh = pv & xh
        if ph & last:
            score += 1
        elif mh & last:
            score -= 1
        ph = ph << 1 | 1
        pv = (mh << 1 | ~(xv | ph)) & every
        mv = ph & xv & every
    return score
