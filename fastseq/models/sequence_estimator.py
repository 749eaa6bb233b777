"""What estimators have in common that read whole sequences, of features or of tokens."""

from __future__ import annotations

import numpy as np

from fastseq import checks
from fastseq.data.batching import Batches
from fastseq.data.vocabulary import UNITS
from fastseq.models import inputs
from fastseq.models.estimator import Estimator
from fastseq.models.networks import Encoder, SequenceNetwork, check_layers, check_outputs
from fastseq.models.pooling import POOLINGS

STEPS_AT_ONCE = 20_000  # steps of a batch that nothing is learned from


class SequenceEstimator(Estimator):
    """Common to the classifier and the regressor: inputs, and runs of the network.

    Attributes
    ----------
    n_features_in_ : int or None
        The number of features; None for tokens.
    vocabulary_ : Vocabulary or None
        Of the tokens; None for features.
    mean_, scale_ : ndarray (F,) or None
        Of each feature, if it is standardised.
    """

    learned = ("n_features_in_", "vocabulary_", "mean_", "scale_", "missing_words_")
    _by_steps = False  # whether there are outputs for each step of a sequence

    def check_settings(self):
        check_layers(self)
        checks.choice("pooling", self.pooling, tuple(POOLINGS))
        checks.flag("standardize", self.standardize)
        checks.choice("unit", self.unit, UNITS)
        checks.positive_int("embedding_dim", self.embedding_dim)
        checks.positive_int("min_count", self.min_count)
        self._check_training()

    # --- inputs ---------------------------------------------------------------------------------

    def _read_inputs(self, X):
        """The sequences of ``fit``, as lists of tokens or arrays of features."""
        X = inputs.read_sequences("X", X)
        if inputs.hold_tokens(X):
            return inputs.read_tokens("X", X, self.unit)
        return inputs.read_features("X", X)

    def _learn_inputs(self, X):
        self.vocabulary_ = self.n_features_in_ = self.mean_ = self.scale_ = None
        if isinstance(X[0], np.ndarray):
            self.n_features_in_ = X[0].shape[1]
            if self.standardize:
                self.mean_, self.scale_ = inputs.learn_scale("X", X)
        else:
            if not any(map(len, X)):
                raise ValueError("X must hold at least one token, got none")
            options = {"unit": self.unit, "min_count": self.min_count}
            self.vocabulary_ = inputs.learn_vocabulary("X", X, **options)

    def _read_as_fitted(self, X):
        """The sequences, if they are of the kind that ``fit`` had."""
        if self.vocabulary_ is not None:
            return inputs.read_tokens("X", X, self.unit)
        X = inputs.read_sequences("X", X)
        if inputs.hold_tokens(X):
            raise ValueError(
                f"X must hold sequences of the {self.n_features_in_} features of fit, got tokens"
            )
        return inputs.read_features("X", X, self.n_features_in_)

    def _encode(self, X):
        """Sequences as the network takes them: ids, or features."""
        X = self._read_as_fitted(X)
        if self.vocabulary_ is not None:
            return self.vocabulary_.encode_all(X)
        return inputs.standardized("X", X, self.mean_, self.scale_, checks.float_dtype(self.dtype))

    # --- network --------------------------------------------------------------------------------

    def _network(self, outputs, loss, seed, **options):
        encoder_seed, seed = SequenceNetwork.split_seed(seed, 2)
        tokens = self.vocabulary_ is not None
        encoder = Encoder(
            len(self.vocabulary_) if tokens else self.n_features_in_,
            self.embedding_dim if tokens else None,
            self.cell,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
            memory=self.memory,
            dtype=self.dtype,
            seed=encoder_seed,
        )
        options |= {"pooling": None if self._by_steps else self.pooling, "dropout": self.dropout}
        return SequenceNetwork(encoder, outputs, loss, seed=seed, **options)

    def _batches(self, X, targets, seed, **options):
        """Batches of the network."""
        options |= self._batch_options(seed, STEPS_AT_ONCE)
        return Batches(self._encode(X), targets, **options)

    def _outputs(self, X):
        """What the network says of each sequence, (N, ...); with steps a list of (T_i, ...)."""
        self._check_fitted()
        outputs = [None] * inputs.count("X", X)
        for batch in self._batches(X, None, None) if outputs else ():
            y = self.network_(batch.x, batch.lengths)
            check_outputs(y, self.network_)
            for place, row in enumerate(batch.rows):
                outputs[row] = y[: batch.lengths[place], place] if self._by_steps else y[place]
        if self._by_steps:
            return outputs
        return np.stack(outputs) if outputs else np.empty((0, *self.network_.outputs), self.dtype)
