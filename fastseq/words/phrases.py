"""Phrases: words that come together more often than by chance, such as ``new_york``.

Names and meanings are gensim 4's, so that programs move over.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fastseq import checks, files

SCORINGS = ("default", "npmi")
# what may stand within a phrase, but neither begin nor end it
_CONNECTORS = "a an the for of with without at from to in on by and or"
ENGLISH_CONNECTOR_WORDS = frozenset(_CONNECTORS.split())

_FORMAT = "fastseq phrases"
_SETTINGS = ("min_count", "threshold", "delimiter", "scoring", "connector_words")


class _Transformation:
    """What finds phrases in sentences, by ``_score(first, between, last)``: a pair or None."""

    def _score(self, first, between, last):
        raise NotImplementedError

    def analyze_sentence(self, sentence: Iterable[str]) -> Iterator[tuple[str, float | None]]:
        """The words and phrases of a sentence, phrases with their score and words with None.

        Phrases don't overlap: what comes first is taken.

        Parameters
        ----------
        sentence : iterable of str

        Yields
        ------
        token : str
        score : float or None

        Raises
        ------
        TypeError
            If it is a string, or nothing to iterate over; where a word is no string, when the
            result gets there.

        Examples
        --------
        >>> import fastseq as fs
        >>> lines = [["in", "new", "york"], ["new", "york", "is", "new"], ["old", "york"]]
        >>> phrases = fs.Phrases(lines, min_count=1, threshold=1)
        >>> [(token, score and round(score, 2)) for token, score in
        ...  phrases.analyze_sentence(["in", "new", "york"])]
        [('in', None), ('new_york', 1.11)]
        """
        if isinstance(sentence, (str, bytes)) or not isinstance(sentence, Iterable):
            raise TypeError(
                f"sentence must be a list of words, got {files.shortened(sentence)}; split texts "
                "first, as with text.split()"
            )
        return self._analyze(sentence)

    def _analyze(self, sentence):
        first, between = None, []
        for word in sentence:
            if not isinstance(word, str):
                raise TypeError(f"sentence must hold strings, got {files.shortened(word)}")
            if word in self.connector_words:
                if first is None:
                    yield word, None
                else:
                    between.append(word)
                continue
            found = None if first is None else self._score(first, between, word)
            if found is not None:
                yield found
                first, between = None, []
                continue
            if first is not None:
                yield first, None
                yield from ((other, None) for other in between)
            first, between = word, []
        if first is not None:
            yield first, None
            yield from ((other, None) for other in between)

    def __getitem__(self, sentences: Iterable) -> list[str] | PhrasedSentences:
        """A sentence with its phrases as single words; or many sentences, one by one.

        Parameters
        ----------
        sentences : iterable of str, or iterable of iterables of str
            Many sentences are gone through when the result is, and as often as it is if they
            allow it: a list or another object that begins anew, not an iterator.

        Returns
        -------
        sentences : list of str, or iterable of lists of str

        Raises
        ------
        TypeError
            If it is a string, or nothing to iterate over; where one of many sentences is that,
            when the result gets there.

        Examples
        --------
        See :class:`Phrases`.
        """
        if isinstance(sentences, (str, bytes)) or not isinstance(sentences, Iterable):
            raise TypeError(
                "sentences must be a list of words, or an iterable of such lists, got "
                f"{files.shortened(sentences)}"
            )
        beginning = iter(sentences)
        head = list(itertools.islice(beginning, 1))
        whole = itertools.chain(head, beginning) if beginning is sentences else sentences
        if not head or isinstance(head[0], str):
            return [token for token, _ in self.analyze_sentence(whole)]
        return PhrasedSentences(self, whole)

    def find_phrases(self, sentences: Iterable[Iterable[str]]) -> dict[str, float]:
        """The phrases that come in sentences, with their scores.

        Parameters
        ----------
        sentences : iterable of iterables of str

        Returns
        -------
        phrases : dict of str to float
            In the order in which they come first.

        Raises
        ------
        TypeError
            If sentences, or one of them, are a string, or nothing to iterate over.

        Examples
        --------
        >>> import fastseq as fs
        >>> lines = [["in", "new", "york"], ["new", "york", "is", "new"], ["old", "york"]]
        >>> phrases = fs.Phrases(lines, min_count=1, threshold=1)
        >>> list(phrases.find_phrases([["a", "new", "york"], ["old", "york"]]))
        ['new_york']
        """
        if isinstance(sentences, (str, bytes)) or not isinstance(sentences, Iterable):
            raise TypeError(
                f"sentences must be an iterable of lists of words, got {files.shortened(sentences)}"
            )
        found = {}
        for sentence in sentences:
            pairs = self.analyze_sentence(sentence)
            found |= {token: score for token, score in pairs if score is not None}
        return found


class PhrasedSentences:
    """Sentences whose phrases become single words when they are gone through."""

    def __init__(self, phrases: _Transformation, sentences: Iterable[Iterable[str]]) -> None:
        self._phrases, self._sentences = phrases, sentences

    def __iter__(self) -> Iterator[list[str]]:
        analyze = self._phrases.analyze_sentence
        for sentence in self._sentences:
            yield [token for token, _ in analyze(sentence)]


class Phrases(_Transformation):
    r"""Pairs of words that belong together, learned from how often they come.

    A pair's score, of n counts and N words in all, is

    .. math::

        \frac{n_{ab} - \mathrm{min\_count}}{n_a n_b} V \quad\text{("default")}, \qquad
        \ln \frac{n_{ab} N}{n_a n_b} \Big/ -\ln \frac{n_{ab}}{N} \quad\text{("npmi")}

    with V the number of different words and pairs (Mikolov et al., 2013; Bouma, 2009, whose
    scores reach from -1 to 1).  Longer phrases come from phrases of phrases.

    Parameters
    ----------
    sentences : iterable of iterables of str, optional
        What to learn from; :meth:`add_vocab` takes more.
    min_count : float
        Pairs that come less often are no phrases.
    threshold : float
        What the score of a phrase must exceed.
    max_vocab_size : int
        When there are more different words and pairs than that, those that came less often than
        ``min_reduce`` are forgotten, which grows by one each time.
    delimiter : str
        What joins the words of a phrase.
    scoring : {"default", "npmi"}
    connector_words : iterable of str
        Words that don't count, and may stand within a phrase, as in ``bank_of_america``; for
        English there is ``fastseq.words.phrases.ENGLISH_CONNECTOR_WORDS``.

    Attributes
    ----------
    vocab : dict
        How often each word and each joined pair was seen.
    corpus_word_count : int
        The number of words, connector words included.
    min_reduce : int
        1 if nothing was forgotten.

    Examples
    --------
    >>> import fastseq as fs
    >>> lines = [["in", "new", "york"], ["new", "york", "is", "new"], ["old", "york"]]
    >>> phrases = fs.Phrases(lines, min_count=1, threshold=1)
    >>> phrases[["he", "left", "new", "york"]]
    ['he', 'left', 'new_york']
    >>> [" ".join(line) for line in phrases[lines]]
    ['in new_york', 'new_york is new', 'old york']
    """

    def __init__(
        self,
        sentences: Iterable[Iterable[str]] | None = None,
        min_count: float = 5,
        threshold: float = 10.0,
        max_vocab_size: int = 40_000_000,
        delimiter: str = "_",
        scoring: str = "default",
        connector_words: Iterable[str] = frozenset(),
    ) -> None:
        self.min_count = checks.positive_float("min_count", min_count)
        self.scoring = checks.choice("scoring", scoring, SCORINGS)
        self.threshold = _check_threshold(threshold, scoring)
        self.max_vocab_size = checks.positive_int("max_vocab_size", max_vocab_size)
        self.delimiter = _check_delimiter(delimiter)
        self.connector_words = _check_connectors(connector_words)
        self.vocab: dict[str, int] = {}
        self.min_reduce, self.corpus_word_count = 1, 0
        if sentences is not None:
            self.add_vocab(sentences)

    def __repr__(self):
        return (
            f"<Phrases of {len(self.vocab):,} words and pairs, min_count={self.min_count:g}, "
            f"threshold={self.threshold:g}, scoring={self.scoring!r}>"
        )

    def add_vocab(self, sentences: Iterable[Iterable[str]]) -> None:
        """Learn from more sentences.

        Parameters
        ----------
        sentences : iterable of iterables of str
            Their counts are added to those that are there.

        Raises
        ------
        TypeError
            If a sentence is a string, or a word is none.

        Examples
        --------
        >>> import fastseq as fs
        >>> phrases = fs.Phrases([["new", "york"]])
        >>> phrases.add_vocab([["new", "town"]])
        >>> phrases.vocab["new"], phrases.corpus_word_count
        (2, 4)
        """
        if isinstance(sentences, (str, bytes)) or not isinstance(sentences, Iterable):
            raise TypeError(
                f"sentences must be an iterable of lists of words, got {type(sentences).__name__}"
            )
        counts, words, least = Counter(), 0, 1
        for i, sentence in enumerate(sentences):
            sentence = _check_sentence(i, sentence)
            words += len(sentence)
            self._count(counts, sentence)
            if len(counts) > self.max_vocab_size:
                counts, least = _without_rare(counts, least), least + 1
        self.corpus_word_count += words
        self.min_reduce = max(self.min_reduce, least)
        counts.update(self.vocab)
        if len(counts) > self.max_vocab_size:
            counts, self.min_reduce = _without_rare(counts, self.min_reduce), self.min_reduce + 1
        self.vocab = dict(counts)

    def _count(self, counts, sentence):
        join = self.delimiter.join
        if not self.connector_words or self.connector_words.isdisjoint(sentence):
            counts.update(sentence)
            counts.update(map(join, itertools.pairwise(sentence)))
            return
        pair = []  # a word and the connector words after it
        for word in sentence:
            if word not in self.connector_words:
                counts[word] += 1
                if pair:
                    counts[join([*pair, word])] += 1
                pair = [word]
            elif pair:
                pair.append(word)

    def _score(self, first, between, last):
        vocab = self.vocab
        one, other = vocab.get(first), vocab.get(last)
        if not one or not other:
            return None
        phrase = self.delimiter.join([first, *between, last])
        both = vocab.get(phrase)
        if not both:
            return None
        score = self._rate(one, other, both)
        return (phrase, score) if score > self.threshold else None

    def _rate(self, one, other, both):
        if self.scoring == "default":
            return (both - self.min_count) / (one * other) * len(self.vocab)
        total = self.corpus_word_count
        if both < self.min_count or both >= total:
            return -math.inf
        return math.log(both / total / (one / total * (other / total))) / -math.log(both / total)

    def export_phrases(self) -> dict[str, float]:
        """All phrases that were learned, with their scores.

        Returns
        -------
        phrases : dict of str to float

        Examples
        --------
        >>> import fastseq as fs
        >>> lines = [["in", "new", "york"], ["new", "york", "is", "new"], ["old", "york"]]
        >>> phrases = fs.Phrases(lines, min_count=1, threshold=1)
        >>> {phrase: round(score, 2) for phrase, score in phrases.export_phrases().items()}
        {'new_york': 1.11}
        """
        found = {}
        for token in self.vocab:
            scores = [self._score(*parts) for parts in self._splits(token)]
            scores = [score for _, score in filter(None, scores)]
            if scores:
                found[token] = max(scores)
        return found

    def _splits(self, token):
        """The ways in which a token may be a word, connector words, and another word.

        There are several if words have delimiters in them, as phrases of phrases do.
        """
        parts, join = token.split(self.delimiter), self.delimiter.join
        for i in range(1, len(parts)):
            for j in range(i, len(parts)):
                yield join(parts[:i]), parts[i:j], join(parts[j:])
                if parts[j] not in self.connector_words:
                    break  # it is no part of what is between

    def freeze(self) -> FrozenPhrases:
        """The phrases that were learned and nothing else: small, quick, and for good.

        Returns
        -------
        frozen : FrozenPhrases

        Examples
        --------
        See :class:`FrozenPhrases`.
        """
        settings = {name: getattr(self, name) for name in _SETTINGS}
        return FrozenPhrases(self.export_phrases(), **settings)


class FrozenPhrases(_Transformation):
    """Phrases that were learned before; what :meth:`Phrases.freeze` returns.

    Parameters
    ----------
    phrasegrams : mapping of str to number
        Phrases and their scores, which are kept as floats.
    min_count, threshold, delimiter, scoring, connector_words
        As of :class:`Phrases`.

    Raises
    ------
    TypeError, ValueError
        If a phrase is no string, a score no number, or a setting something else.

    Examples
    --------
    >>> import fastseq as fs
    >>> lines = [["in", "new", "york"], ["new", "york", "is", "new"], ["old", "york"]]
    >>> frozen = fs.Phrases(lines, min_count=1, threshold=1).freeze()
    >>> frozen
    <FrozenPhrases: 1 phrases, threshold=1, scoring='default'>
    >>> frozen[["new", "york"]]
    ['new_york']
    """

    def __init__(
        self,
        phrasegrams: Mapping[str, float],
        *,
        min_count: float = 5,
        threshold: float = 10.0,
        delimiter: str = "_",
        scoring: str = "default",
        connector_words: Iterable[str] = frozenset(),
    ) -> None:
        self.phrasegrams = _check_phrases(phrasegrams)
        self.min_count = checks.positive_float("min_count", min_count)
        self.scoring = checks.choice("scoring", scoring, SCORINGS)
        self.threshold = _check_threshold(threshold, scoring)
        self.delimiter = _check_delimiter(delimiter)
        self.connector_words = _check_connectors(connector_words)

    def __repr__(self):
        return (
            f"<FrozenPhrases: {len(self.phrasegrams):,} phrases, threshold={self.threshold:g}, "
            f"scoring={self.scoring!r}>"
        )

    def _score(self, first, between, last):
        phrase = self.delimiter.join([first, *between, last])
        score = self.phrasegrams.get(phrase)
        return None if score is None or score <= self.threshold else (phrase, score)

    def save(self, path: str | os.PathLike) -> None:
        """Write a JSON file, which is replaced as a whole or not at all.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        TypeError
            If it is no path.
        TypeError, ValueError
            If phrases or settings that were assigned are wrong; see :class:`FrozenPhrases`.
        OSError
            If the file can't be written.

        Examples
        --------
        See :meth:`load`.
        """
        settings = {name: getattr(self, name) for name in _SETTINGS}
        checked = FrozenPhrases(self.phrasegrams, **settings)  # JSON has no numbers of NumPy's
        content = {"format": _FORMAT, "version": 1}
        content |= {name: getattr(checked, name) for name in _SETTINGS}
        content["connector_words"] = sorted(checked.connector_words)
        content["phrases"] = checked.phrasegrams
        files.write_atomically(path, json.dumps(content, indent=0).encode())

    @classmethod
    def load(cls, path: str | os.PathLike) -> FrozenPhrases:
        """The phrases in a file that :meth:`save` wrote.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        phrases : FrozenPhrases

        Raises
        ------
        TypeError
            If it is no path.
        OSError
            If the file can't be read.
        ValueError
            If it holds something else, or is damaged; the message names the file.

        Examples
        --------
        >>> import os, tempfile, fastseq as fs
        >>> from fastseq.words.phrases import FrozenPhrases
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "phrases.json")
        ...     FrozenPhrases({"new_york": 12.0}).save(path)
        ...     FrozenPhrases.load(path)[["new", "york"]]
        ['new_york']
        """
        name = checks.path("path", path)
        try:
            content = json.loads(Path(path).read_text("utf-8"))
        except (ValueError, RecursionError) as error:  # the latter of lists in lists in lists
            raise ValueError(f"{name}: expected phrases as JSON: {error}") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ValueError(f'{name}: expected phrases, got no "format": "{_FORMAT}"')
        if content.get("version") != 1:
            raise ValueError(
                f"{name}: expected version 1 of the format, got {content.get('version')!r}; a "
                "newer fastseq may read it"
            )
        try:
            settings = {name: content[name] for name in _SETTINGS}
            return cls(content["phrases"], **settings)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{name}: expected phrases, got damaged ones: {error}") from error


# --- arguments ----------------------------------------------------------------------------------


def _check_phrases(phrases):
    if not isinstance(phrases, Mapping):
        raise TypeError(
            f"phrasegrams must be a mapping from phrases to scores, got {files.shortened(phrases)}"
        )
    scores = {}
    for phrase, score in phrases.items():
        if not isinstance(phrase, str):
            raise TypeError(f"phrasegrams must have strings as keys, got {phrase!r}")
        scores[phrase] = checks.number(f"phrasegrams[{phrase!r}]", score)
        if math.isnan(scores[phrase]):
            raise ValueError(f"phrasegrams[{phrase!r}] must be a number, got nan: leave it out")
    return scores


def _check_threshold(value, scoring):
    if scoring == "default":
        return checks.positive_float("threshold", value)
    value = checks.finite("threshold", value)
    if not -1 <= value <= 1:
        raise ValueError(
            f"threshold must lie between -1 and 1 with scoring='npmi', got {value}; the scores do"
        )
    return value


def _check_delimiter(value):
    if not isinstance(value, str) or not value:
        raise ValueError(f"delimiter must be a string, not empty, got {value!r}")
    return value


def _check_connectors(words):
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise TypeError(f"connector_words must be an iterable of strings, got {words!r}")
    words = frozenset(words)
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"connector_words must hold strings, got {word!r}")
    return words


def _check_sentence(i, sentence):
    if isinstance(sentence, (str, bytes)) or not isinstance(sentence, Iterable):
        raise TypeError(
            f"sentences[{i}] must be a list of words, got {files.shortened(sentence)}; split "
            "texts first, as with text.split()"
        )
    sentence = sentence if isinstance(sentence, (list, tuple)) else list(sentence)
    for word in sentence:
        if not isinstance(word, str):
            raise TypeError(f"sentences[{i}] must hold strings, got {word!r}")
    return sentence


def _without_rare(counts, least):
    """The counts that are not below a number."""
    return Counter({token: count for token, count in counts.items() if count >= least})
