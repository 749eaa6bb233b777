"""A tag for each word of a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastseq import checks
from fastseq.data.batching import Batches
from fastseq.data.vocabulary import Vocabulary
from fastseq.models import inputs
from fastseq.models.estimator import Estimator, check_pairs
from fastseq.models.networks import check_layers
from fastseq.models.settings import estimator
from fastseq.models.tagger_network import SpelledBatches, Spelling, TaggerNetwork

if TYPE_CHECKING:
    from fastseq.words.keyed_vectors import KeyedVectors

WORDS_AT_ONCE = 5_000  # words of a batch that nothing is learned from


@estimator
class SequenceTagger(Estimator):
    """Tags of words, by recurrent layers over words and their spelling.

    A word's vector is that of the word itself, and of its characters as a bidirectional layer
    of its own reads them (Ling et al., 2015; Plank et al., 2016).  Layers over the sentence and
    a linear map give the scores of the tags; with ``crf`` the tags of a sentence are chosen
    together (Lafferty et al., 2001; Lample et al., 2016).  Follows scikit-learn's conventions,
    so ``clone``, ``cross_val_score`` and ``GridSearchCV`` take it.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
        What the layers are made of.
    hidden_size : int
        The size of the layers' outputs, in each direction.
    num_layers : int
        How many layers lie on top of each other.
    bidirectional : bool
        Whether the layers also read from the end.
    crf : bool
        Whether tags depend on the tags beside them.
    embedding_dim : int
        The size of words' vectors.
    embeddings : str or KeyedVectors, optional
        Vectors to begin with: a file, or what it holds; of size ``embedding_dim``.  Words
        without a vector are named in a warning, and begin at random.
    char_embedding_dim : int
        The size of characters' vectors.
    char_hidden_size : int
        The size of the layer that reads the characters, in each direction; 0 is without
        characters.
    dropout : float
        For words' vectors, between layers, and before the linear map; from 0 to below 1.
    word_dropout : float
        Probability that a word passes for an unknown one, while training.
    min_count : int
        Words that come less often in ``fit`` are unknown, as are those that never came; their
        spelling is seen nevertheless.
    memory : int, optional
        The number of steps over which the gates expect dependencies: their biases are
        initialised for it (Tallec & Ollivier, 2018).
    epochs : int
        Passes over the data.
    batch_size : int
        How many sentences an update takes.
    {training}

    Attributes
    ----------
    classes_ : ndarray
        The tags, sorted.
    vocabulary_ : Vocabulary
        Of the words.
    characters_ : Vocabulary or None
    missing_words_ : ndarray or None
        The words without a vector in ``embeddings``, if there were some.
    network_ : Module
    history_ : History
        Losses and more, for each update and epoch.

    Examples
    --------
    >>> import fastseq as fs
    >>> X = [["the", "dog", "runs"], ["a", "cat", "sleeps"], ["dogs", "run"]] * 10
    >>> y = [["DET", "NOUN", "VERB"], ["DET", "NOUN", "VERB"], ["NOUN", "VERB"]] * 10
    >>> tagger = fs.SequenceTagger(hidden_size=16, epochs=20, batch_size=8, random_state=0)
    >>> tagger.fit(X, y).score(X, y)
    1.0
    >>> tagger.predict([["a", "dog", "sleeps"]])
    [['DET', 'NOUN', 'VERB']]
    """

    learned = ("classes_", "vocabulary_", "characters_", "missing_words_")

    cell: str = "lstm"
    hidden_size: int = 100
    num_layers: int = 1
    bidirectional: bool = True
    crf: bool = False
    embedding_dim: int = 100
    embeddings: str | KeyedVectors | None = None
    char_embedding_dim: int = 32
    char_hidden_size: int = 50
    dropout: float = 0.3
    word_dropout: float = 0.1
    min_count: int = 1
    memory: int | None = None

    def predict(self, X: Sequence[Sequence[str]]) -> list[list]:
        """The most probable tags.

        Parameters
        ----------
        X : list of lists of str
            Sentences; they may be empty.

        Returns
        -------
        tags : list of lists
            One for each word.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X holds something else than words.
        FloatingPointError
            If the network's parameters are not finite.
        """
        return [self.classes_[tags].tolist() for tags in self._by_sentence(X, "best_tags")]

    def predict_proba(self, X: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """The probability of each tag for each word, in the order of ``classes_``.

        Parameters
        ----------
        X : list of lists of str

        Returns
        -------
        probabilities : list of ndarray, each (T_i, K)
            With ``crf`` those of a word's tag whatever the other words' tags are.

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`predict`.
        """
        return list(self._by_sentence(X, "probabilities"))

    def score(self, X: Sequence[Sequence[str]], y: Sequence[Sequence]) -> float:
        """The part of the words whose tag is predicted: the accuracy.

        Parameters
        ----------
        X : list of lists of str
        y : list of lists
            A tag for each word; tags that ``fit`` did not see are wrong ones.

        Returns
        -------
        accuracy : float
            From 0 to 1.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X or y are of another kind than in ``fit``, differ in length, or hold nothing.
        FloatingPointError
            If the network's parameters are not finite.
        """
        self._check_fitted()
        X, y = self.read(X, y)
        inputs.check_kind("y", np.concatenate(y), self.classes_)
        pairs = zip(_joined(self.predict(X)), _joined(y), strict=True)
        return float(np.mean([tag == truth for tag, truth in pairs]))

    def _by_sentence(self, X, method):
        """What a method of the network gives for each sentence, its real steps alone."""
        self._check_fitted()
        X = self._read_sentences(X)
        results = [None] * len(X)
        for batch in self._batches(X, None, None) if X else ():
            values = getattr(self.network_, method)(batch)
            for place, row in enumerate(batch.rows):
                results[row] = values[: batch.lengths[place], place]
        return results

    # --- training -------------------------------------------------------------------------------

    def check_settings(self):
        check_layers(self)
        checks.flag("crf", self.crf)
        for name in ("embedding_dim", "char_embedding_dim", "min_count"):
            checks.positive_int(name, getattr(self, name))
        checks.not_negative_int("char_hidden_size", self.char_hidden_size)
        checks.fraction("word_dropout", self.word_dropout)
        self._check_training()

    def read(self, X, y):
        X, y = check_pairs(X, y)
        X, y = self._read_sentences(X), [inputs.by_position(tags) for tags in y]
        for i, (words, tags) in enumerate(zip(X, y, strict=True)):
            if isinstance(tags, str) or not hasattr(tags, "__len__"):
                raise TypeError(f"y[{i}] must be a list of tags, got {tags!r}")
            if len(words) != len(tags):
                raise ValueError(
                    f"y[{i}] must have a tag for each of the {len(words)} words of X[{i}], got "
                    f"{len(tags)}"
                )
        tags = inputs.read_labels("y", _joined(y))
        return X, np.split(tags, np.cumsum([len(words) for words in X])[:-1])

    def _read_sentences(self, X):
        return inputs.read_tokens("X", X)

    def learn_names(self, X, y):
        self.classes_ = np.unique(np.concatenate(y))

    def learn(self, X, y):
        if not self.char_hidden_size:
            self.vocabulary_ = inputs.learn_vocabulary("X", X, min_count=self.min_count)
            self.characters_ = None
        else:
            # words may all be unknown, since their spelling is seen
            self.vocabulary_ = Vocabulary.build(X, min_count=self.min_count)
            words = [word for sentence in X for word in sentence]
            if not any(words):
                raise ValueError(
                    "X must hold at least one character, got none; give char_hidden_size=0 for "
                    "words without"
                )
            self.characters_ = Vocabulary.build(words, unit="character")

    def make_network(self, seed):
        return TaggerNetwork(
            len(self.vocabulary_),
            len(self.characters_) if self.characters_ is not None else 0,
            len(self.classes_),
            unknown_id=self.vocabulary_.unknown_id,
            cell=self.cell,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            embedding_dim=self.embedding_dim,
            char_embedding_dim=self.char_embedding_dim,
            char_hidden_size=self.char_hidden_size,
            dropout=self.dropout,
            word_dropout=self.word_dropout,
            memory=self.memory,
            crf=self.crf,
            dtype=self.dtype,
            seed=seed,
        )

    def make_batches(self, X, y, seed):
        numbers = inputs.encode_classes("y", np.concatenate(y), self.classes_)
        return self._batches(X, np.split(numbers, np.cumsum([len(tags) for tags in y])[:-1]), seed)

    def _batches(self, X, targets, seed):
        spelling = Spelling(X, self.vocabulary_, self.characters_)
        options = self._batch_options(seed, WORDS_AT_ONCE)
        sentences = [spelling.encode(sentence) for sentence in X]
        kind = None if targets is None else "steps"
        return SpelledBatches(Batches(sentences, targets, target_kind=kind, **options), spelling)


def _joined(y):
    return [tag for tags in y for tag in tags]
