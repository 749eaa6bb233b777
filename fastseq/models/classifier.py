"""Sequences to classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq.losses.basic import CrossEntropyLoss
from fastseq.models import inputs
from fastseq.models.estimator import check_pairs
from fastseq.models.networks import softmax
from fastseq.models.sequence_estimator import SequenceEstimator
from fastseq.models.settings import estimator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastseq.words.keyed_vectors import KeyedVectors


@estimator
class SequenceClassifier(SequenceEstimator):
    """Classes of whole sequences, by recurrent layers: time series, or texts.

    A sequence's steps go through RNN, LSTM or GRU layers, their outputs become one vector
    (``pooling``), and a linear map gives the classes' logits.  Follows scikit-learn's
    conventions, so ``clone``, ``cross_val_score``, ``GridSearchCV`` and pipelines take it.

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
    pooling : {"last", "mean", "max"}
        The final states, or the mean or maximum of the outputs over a sequence's steps.
    dropout : float
        For tokens' vectors, between layers, and before the linear map; from 0 to below 1.
    memory : int, optional
        The number of steps over which the gates expect dependencies: their biases are
        initialised for it (Tallec & Ollivier, 2018).  For long sequences.
    standardize : bool
        Whether features are brought to mean 0 and deviation 1, as measured in ``fit``.
    unit : {"word", "character"}
        What the tokens of texts are: words in lists, or the characters of strings.
    embedding_dim : int
        The size of tokens' vectors.
    embeddings : str or KeyedVectors, optional
        Vectors to begin with: a file, or what it holds; of size ``embedding_dim``.  Tokens
        without a vector are named in a warning, and begin at random.
    min_count : int
        Tokens that come less often in ``fit`` are unknown, as are those that never came.
    epochs : int
        Passes over the data.
    batch_size : int
        How many sequences an update takes.
    {training}

    Attributes
    ----------
    classes_ : ndarray
        The labels, sorted.
    n_features_in_ : int or None
        The number of features, of time series.
    vocabulary_ : Vocabulary or None
        Of the tokens, of texts.
    missing_words_ : ndarray or None
        The tokens without a vector in ``embeddings``, if there were some.
    network_ : Module
    history_ : History
        Losses and more, for each update and epoch.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.standard_normal((length, 2)).cumsum(axis=0) for length in [5, 9, 7] * 20]
    >>> y = ["up" if x[-1, 0] > 0 else "down" for x in X]
    >>> model = fs.SequenceClassifier(hidden_size=8, epochs=15, lr=0.02, random_state=0)
    >>> model.fit(X[:50], y[:50]).score(X[50:], y[50:]) >= 0.9
    True
    >>> model.predict(X[50:53]).tolist() == y[50:53], model.predict_proba(X[:2]).shape
    (True, (2, 2))
    """

    _estimator_type = "classifier"
    learned = ("classes_", *SequenceEstimator.learned)

    cell: str = "lstm"
    hidden_size: int = 64
    num_layers: int = 1
    bidirectional: bool = True
    pooling: str = "mean"
    dropout: float = 0.0
    memory: int | None = None
    standardize: bool = True
    unit: str = "word"
    embedding_dim: int = 64
    embeddings: str | KeyedVectors | None = None
    min_count: int = 2

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each sequence.

        Parameters
        ----------
        X : list of sequences, or array (N, T, F)

        Returns
        -------
        labels : ndarray, (N,)

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X is of another kind than in ``fit``.
        FloatingPointError
            If the network's parameters are not finite.
        """
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, in the order of ``classes_``.

        Parameters
        ----------
        X : list of sequences, or array (N, T, F)

        Returns
        -------
        probabilities : ndarray, (N, classes)

        Raises
        ------
        NotFittedError, TypeError, ValueError, FloatingPointError
            As :meth:`predict`.
        """
        return softmax(self._outputs(X))

    def score(self, X: Any, y: ArrayLike) -> float:
        """The part of the sequences whose class is predicted: the accuracy.

        Parameters
        ----------
        X : list of sequences, or array (N, T, F)
        y : array or list, (N,)
            Labels that ``fit`` did not see are wrong ones.

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
        inputs.check_kind("y", y, self.classes_)
        return float(np.mean(self.predict(X) == y))

    # --- training -------------------------------------------------------------------------------

    def read(self, X, y):
        X, y = check_pairs(X, y)
        return self._read_inputs(X), inputs.read_labels("y", y)

    def learn_names(self, X, y):
        self.classes_ = np.unique(y)

    def learn(self, X, y):
        self._learn_inputs(X)

    def make_network(self, seed):
        return self._network((len(self.classes_),), CrossEntropyLoss(), seed)

    def make_batches(self, X, y, seed):
        return self._batches(X, inputs.encode_classes("y", y, self.classes_), seed)
