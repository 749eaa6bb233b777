"""Sequences to classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastseq.losses import CrossEntropyLoss
from fastseq.models import inputs
from fastseq.models.estimator import check_pairs
from fastseq.models.networks import softmax
from fastseq.models.sequence_estimator import SequenceEstimator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastseq.keyed_vectors import KeyedVectors


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
    optimizer : {"adam", "adamw", "rmsprop", "adagrad", "sgd"}
        How gradients become updates.
    lr : float
        The learning rate.
    schedule : {"cosine", "linear", "plateau"}, optional
        How the learning rate goes to 0 over all updates; "plateau" divides it by 10 when the
        validation's loss has not become less for 10 epochs.
    weight_decay : float
        The factor of an L2 penalty's gradient; AdamW's is decoupled.
    max_norm : float, optional
        What the gradients' norm is clipped to.
    patience : int, optional
        Epochs without a better validation after which the training ends.
    average : float, optional
        Decay of a running average of the parameters, which then takes their place.
    warm_start : bool
        Whether ``fit`` goes on from what it has learned before, classes and all.
    dtype : {"float32", "float64"}
        Of parameters and all arithmetic.
    random_state : int, optional
        Makes results reproducible: initial parameters, order of the data, dropout.

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

    def __init__(
        self,
        *,
        cell: str = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = True,
        pooling: str = "mean",
        dropout: float = 0.0,
        memory: int | None = None,
        standardize: bool = True,
        unit: str = "word",
        embedding_dim: int = 64,
        embeddings: str | KeyedVectors | None = None,
        min_count: int = 2,
        epochs: int = 20,
        batch_size: int = 32,
        optimizer: str = "adam",
        lr: float = 2e-3,
        schedule: str | None = None,
        weight_decay: float = 0.0,
        max_norm: float | None = 1.0,
        patience: int | None = None,
        average: float | None = None,
        warm_start: bool = False,
        dtype: str = "float32",
        random_state: int | None = None,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.dropout = dropout
        self.memory = memory
        self.standardize = standardize
        self.unit = unit
        self.embedding_dim = embedding_dim
        self.embeddings = embeddings
        self.min_count = min_count
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.lr = lr
        self.schedule = schedule
        self.weight_decay = weight_decay
        self.max_norm = max_norm
        self.patience = patience
        self.average = average
        self.warm_start = warm_start
        self.dtype = dtype
        self.random_state = random_state

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
        """
        return softmax(self._outputs(X))

    def score(self, X: Any, y: ArrayLike) -> float:
        """The part of the sequences whose class is predicted: the accuracy.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X or y are of another kind than in ``fit``.
        """
        self._check_fitted()
        X, y = self.read(X, y)
        inputs.check_kind("y", y, self.classes_)
        return float(np.mean(self.predict(X) == y))

    # --- training -------------------------------------------------------------------------------

    def read(self, X, y):
        X, y = check_pairs(X, y)
        return self._read_inputs(X), inputs.read_labels("y", y)

    def learn(self, X, y):
        self.classes_ = np.unique(y)
        self._learn_inputs(X)

    def make_network(self, seed):
        return self._network((len(self.classes_),), CrossEntropyLoss(), seed)

    def make_batches(self, X, y, seed):
        return self._batches(X, inputs.encode_classes("y", y, self.classes_), seed)
