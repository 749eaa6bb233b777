"""Sequences to numbers: one for each sequence or each step, or the next steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastseq import checks
from fastseq.losses.basic import HuberLoss, MSELoss, QuantileLoss
from fastseq.models import inputs
from fastseq.models.estimator import check_pairs
from fastseq.models.sequence_estimator import SequenceEstimator
from fastseq.models.settings import estimator

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fastseq.words.keyed_vectors import KeyedVectors

LOSSES = {"mse": MSELoss, "huber": HuberLoss}


class Targets(NamedTuple):
    """What is to be predicted."""

    values: Any  # (N, K), or by steps a list of (T_i, K)
    single: bool  # whether they came without the last axis

    def __len__(self):
        return len(self.values)

    def take(self, rows):
        values = self.values
        if isinstance(values, list):
            return Targets([values[i] for i in rows], self.single)
        return Targets(values[rows], self.single)


@estimator
class SequenceRegressor(SequenceEstimator):
    """Numbers from sequences, by recurrent layers, and how sure they are.

    ==================  =============================  ================  ======================
    settings            y in ``fit``                   ``predict``       what is predicted
    ==================  =============================  ================  ======================
    (none)              (N,) or (N, K)                 the same          one for each sequence
    ``per_step=True``   list of (T_i,) or (T_i, K)     the same          one for each step
    ``horizon=n``       None, for the series X         (N, n, K)         the n steps after the
                        themselves, or list of (T_i,)  or (N, n)         end of each series
                        or (T_i, K)
    ==================  =============================  ================  ======================

    A forecast learns from all steps of a series: at each of them the network gives the next n,
    as far as they are known (Wen et al., 2017).  With ``quantiles`` there is a number for each
    of them (Koenker & Bassett, 1978), sorted, so that none crosses another (Chernozhukov et
    al., 2010).  Follows scikit-learn's conventions, so ``clone``, ``cross_val_score``,
    ``GridSearchCV`` and pipelines take it.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
        What the layers are made of.
    hidden_size : int
        The size of the layers' outputs, in each direction.
    num_layers : int
        How many layers lie on top of each other.
    bidirectional : bool
        Whether the layers also read from the end; not for forecasts.
    pooling : {"last", "mean", "max"}
        How the steps become one vector, where there is one target for each sequence: the final
        states, or the mean or maximum of the outputs.
    per_step : bool
        Whether there is a target for each step.
    horizon : int, optional
        How many steps to forecast.
    quantiles : sequence of float, optional
        What to estimate of the targets' distribution, rising and with 0.5 among them; the loss
        is that of quantiles then.
    loss : {"mse", "huber"}
        Without quantiles, what is to be small; it is over standardised targets.
    dropout : float
        For tokens' vectors, between layers, and before the linear map; from 0 to below 1.
    memory : int, optional
        The number of steps over which the gates expect dependencies: their biases are
        initialised for it (Tallec & Ollivier, 2018).  For long sequences.
    standardize : bool
        Whether features and targets are brought to mean 0 and deviation 1, as measured in
        ``fit``; predictions are in the targets' own units.
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
    n_features_in_ : int or None
        The number of features, of time series.
    vocabulary_ : Vocabulary or None
        Of the tokens, of texts.
    mean_, scale_, target_mean_, target_scale_ : ndarray or None
        Of features and targets, where they are standardised.
    missing_words_ : ndarray or None
        The tokens without a vector in ``embeddings``, if there were some.
    network_ : Module
    history_ : History
        Losses and more, for each update and epoch.

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> series = [np.sin(0.5 * np.arange(40) + start) for start in range(20)]
    >>> settings = {"hidden_size": 16, "batch_size": 4, "lr": 0.01, "random_state": 0}
    >>> model = fs.SequenceRegressor(horizon=3, quantiles=(0.1, 0.5, 0.9), **settings)
    >>> model.fit(series).score(series) > 0.9
    True
    >>> low, middle, high = np.moveaxis(model.predict_quantiles(series[:1]), -1, 0)
    >>> middle.shape, bool((low <= middle).all() and (middle <= high).all())
    ((1, 3), True)
    """

    _estimator_type = "regressor"
    learned = (
        *SequenceEstimator.learned,
        "target_mean_",
        "target_scale_",
        "n_outputs_",
        "single_output_",
    )

    cell: str = "lstm"
    hidden_size: int = 64
    num_layers: int = 1
    bidirectional: bool = False
    pooling: str = "last"
    per_step: bool = False
    horizon: int | None = None
    quantiles: Sequence[float] | None = None
    loss: str = "mse"
    dropout: float = 0.0
    memory: int | None = None
    standardize: bool = True
    unit: str = "word"
    embedding_dim: int = 64
    embeddings: str | KeyedVectors | None = None
    min_count: int = 2

    def predict(self, X: Any, quantile: float | None = None) -> np.ndarray | list[np.ndarray]:
        """The numbers that are expected.

        Parameters
        ----------
        X : list of sequences, or array (N, T, F)
        quantile : float, optional
            One of ``quantiles``; by default 0.5, the median.

        Returns
        -------
        y : ndarray (N,), (N, K), (N, n) or (N, n, K), or with ``per_step`` a list of arrays
            As in the table above.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X is of another kind than in ``fit``, there is no such quantile, or a series to
            forecast has no step.
        FloatingPointError
            If the network's parameters are not finite.
        """
        self._check_fitted()
        if self.quantiles is None:
            if quantile is not None:
                raise ValueError("quantile needs an estimator with quantiles=(0.1, 0.5, 0.9)")
            return self._predictions(X)
        known = list(self.quantiles)
        if quantile is None:
            quantile = 0.5
        if quantile not in known:
            raise ValueError(f"quantile must be one of {known}, which fit knew, got {quantile!r}")
        place, predictions = known.index(quantile), self._predictions(X)
        if self.per_step:
            return [values[..., place] for values in predictions]
        return predictions[..., place]

    def predict_quantiles(self, X: Any) -> np.ndarray | list[np.ndarray]:
        """All quantiles: as ``predict``, with the quantiles as one more axis, the last.

        Parameters
        ----------
        X : list of sequences, or array (N, T, F)

        Returns
        -------
        y : ndarray (..., Q), or with ``per_step`` a list of arrays
            Never falling along the last axis.

        Raises
        ------
        NotFittedError, TypeError, FloatingPointError
            As :meth:`predict`.
        ValueError
            As :meth:`predict`, and if the estimator has no quantiles.
        """
        self._check_fitted()
        if self.quantiles is None:
            raise ValueError("predict_quantiles needs an estimator with quantiles=(0.1, 0.5, 0.9)")
        return self._predictions(X)

    def score(self, X: Any, y: Any = None) -> float:
        """The coefficient of determination R^2 of ``predict``; the mean of all K outputs.

        A forecast is measured on the last ``horizon`` steps of each series, which it does not
        see: y is None, or the series to forecast, as in ``fit``.

        Parameters
        ----------
        X : list of sequences, or array (N, T, F)
        y : array or list, optional
            As for :meth:`fit`; only a forecast can do without.

        Returns
        -------
        r2 : float
            1 where all is predicted exactly, 0 where the mean of the targets does as well.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        TypeError, ValueError
            If X or y are of another kind than in ``fit``, differ in length, or hold nothing; if
            a series has no more than the steps to forecast.
        FloatingPointError
            If the network's parameters are not finite.
        """
        self._check_fitted()
        if inputs.count("X", X):
            self._read_as_fitted(X)  # what is wrong with X is told before what it does to y
        X, targets = self.read(X, y)
        self._check_outputs(targets)
        if self.horizon is None:
            truth = targets.values
            predicted = self._predict_columns(X)
        else:
            truth = [values[-self.horizon :] for values in targets.values]
            predicted = self._predict_columns(self._beginnings(X))
        if self._by_steps:
            truth, predicted = np.concatenate(truth), np.concatenate(list(predicted))
        return _r2(truth, predicted)

    def _beginnings(self, X):
        """The series without the steps that are to be forecast."""
        for i, series in enumerate(X):
            if len(series) <= self.horizon:
                raise ValueError(
                    f"X[{i}] must have more than the {self.horizon} steps that score forecasts, "
                    f"got {len(series)}"
                )
        return [series[: -self.horizon] for series in X]

    # --- predictions ----------------------------------------------------------------------------

    @property
    def _by_steps(self):
        return self.per_step or self.horizon is not None

    def _predictions(self, X):
        """Predictions in the targets' units; quantiles, if there are any, as the last axis."""
        outputs = self._outputs(X)
        if self.horizon is not None:
            for i, values in enumerate(outputs):
                if not len(values):
                    raise ValueError(f"X[{i}] must have a step from which to go on, got none")
            shape = (0, *self.network_.outputs)
            outputs = np.stack([v[-1] for v in outputs]) if outputs else np.empty(shape)
        if isinstance(outputs, list):
            return [self._in_units(values) for values in outputs]
        return self._in_units(outputs)

    def _in_units(self, outputs):
        outputs = outputs.astype(np.float64)
        if self.quantiles is not None:
            outputs.sort(axis=-1)
        if self.target_mean_ is not None:
            shape = (-1, 1) if self.quantiles is not None else (-1,)
            outputs *= self.target_scale_.reshape(shape)
            outputs += self.target_mean_.reshape(shape)
        if not self.single_output_:
            return outputs
        return outputs.squeeze(-2 if self.quantiles is not None else -1)

    def _predict_columns(self, X):
        """Predictions with an axis for the K outputs, whether targets had one or not."""
        predictions = self.predict(X)
        if not self.single_output_:
            return predictions
        if isinstance(predictions, list):
            return [values[:, None] for values in predictions]
        return predictions[..., None]

    # --- training -------------------------------------------------------------------------------

    def check_settings(self):
        super().check_settings()
        checks.choice("loss", self.loss, tuple(LOSSES))
        checks.flag("per_step", self.per_step)
        if self.horizon is not None:
            checks.positive_int("horizon", self.horizon)
            if self.per_step:
                raise ValueError("per_step=True and horizon exclude each other: leave one out")
            if self.bidirectional:
                raise ValueError(
                    "bidirectional must be False with a horizon: a forecast may not see what it "
                    "forecasts"
                )
        if self.quantiles is not None:
            quantiles = list(QuantileLoss(self.quantiles).quantiles)
            if quantiles != sorted(set(quantiles)) or 0.5 not in quantiles:
                raise ValueError(
                    "quantiles must rise and have 0.5 among them, which predict returns, got "
                    f"{self.quantiles!r}"
                )

    def read(self, X, y):
        if y is None:
            if self.horizon is None:
                raise TypeError("y must hold the targets, got None")
            if inputs.hold_tokens(inputs.read_sequences("X", X)):
                raise TypeError(
                    "X must hold numbers where they are to be forecast, got tokens; give what is "
                    "to be forecast as y"
                )
            y = X
        X, y = check_pairs(X, y)
        X = self._read_inputs(X)
        return X, self._read_step_targets(X, y) if self._by_steps else _read_targets(y)

    def _read_step_targets(self, X, y):
        values = inputs.read_features("y", y)
        for i, (series, steps) in enumerate(zip(X, values, strict=True)):
            if len(series) != len(steps):
                raise ValueError(
                    f"y[{i}] must have a target for each of the {len(series)} steps of X[{i}], "
                    f"got {len(steps)}"
                )
        told = next((steps for steps in y if len(steps)), y[0])  # an empty list says nothing
        return Targets(values, np.ndim(told) == 1)

    def _validation_pair(self, validation, y):
        if y is None and not isinstance(validation, tuple):
            return validation, None  # series to forecast, as in fit
        return super()._validation_pair(validation, y)

    def learn(self, X, y):
        if self.horizon is not None:
            self._check_reach(X)
        self._learn_inputs(X)
        self.target_mean_ = self.target_scale_ = None
        if self.standardize:
            scale = inputs.learn_scale("y", y.values if self._by_steps else [y.values])
            self.target_mean_, self.target_scale_ = scale
        self.n_outputs_, self.single_output_ = y.values[0].shape[-1], y.single

    def _check_reach(self, X):
        """Raise unless some series tells of all steps that are to be forecast."""
        longest = max(map(len, X))
        if longest <= self.horizon:
            hint = "take a smaller horizon"
            if longest == 1:  # which is what the rows of a single one are taken for
                hint = "a single series (T, K) goes into a list, [X]"
            raise ValueError(
                f"horizon={self.horizon} needs a series of at least {self.horizon + 1} steps, the "
                f"longest has {longest}: {hint}"
            )

    def make_network(self, seed):
        outputs = (self.n_outputs_,) if self.horizon is None else (self.horizon, self.n_outputs_)
        if self.quantiles is None:
            loss = LOSSES[self.loss]()
        else:
            loss, outputs = QuantileLoss(self.quantiles), (*outputs, len(self.quantiles))
        return self._network(outputs, loss, seed, partial=self.horizon is not None)

    def make_batches(self, X, y, seed):
        self._check_outputs(y)
        scale = self.target_mean_, self.target_scale_, checks.float_dtype(self.dtype)
        if not self._by_steps:
            values = inputs.standardized_array("y", y.values, *scale)
            return self._batches(X, values, seed, target_kind="single")
        needed = 1 if self.horizon is None else 2
        if max(map(len, X)) < needed:
            raise ValueError(f"X must have a sequence of {needed} or more steps, got none")
        values = inputs.standardized("y", y.values, *scale)
        if self.horizon is not None:
            values = [_next_steps(series, self.horizon) for series in values]
        return self._batches(X, values, seed, target_kind="steps")

    def _check_outputs(self, y):
        got = y.values[0].shape[-1]
        if got != self.n_outputs_:
            raise ValueError(f"y must have the {self.n_outputs_} outputs of fit, got {got}")


def _read_targets(y: ArrayLike) -> Targets:
    """One target, or K, for each sequence."""
    values = checks.numbers("y", y).astype(np.float64)
    if values.ndim not in (1, 2) or not values.size:
        raise ValueError(f"y must have shape (N,) or (N, K), got {values.shape}")
    inputs.check_finite("y", values)
    return Targets(values.reshape(len(values), -1), values.ndim == 1)


def _next_steps(series, horizon):
    """For each step of a series (T, K) the next ones, (T, horizon, K); NaN where it has ended."""
    ended = np.full((horizon, series.shape[1]), np.nan, series.dtype)
    rows = np.concatenate([series[1:], ended])
    windows = np.lib.stride_tricks.sliding_window_view(rows, horizon, axis=0)
    return windows[: len(series)].swapaxes(1, 2)


def _r2(truth, predicted):
    """The mean over columns; 1 where a constant is met, 0 where it isn't, as scikit-learn's."""
    units = inputs.unit([truth, predicted])  # in which squares stay within float64
    truth, predicted = truth / units, predicted / units
    errors = np.square(truth - predicted).sum(axis=0)
    variation = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    constant = np.where(errors == 0, 1.0, 0.0)
    return float(
        np.where(variation == 0, constant, 1 - errors / np.maximum(variation, 1e-300)).mean()
    )
