"""What all estimators have in common: scikit-learn's conventions, training, and files.

An estimator is a number of settings.  Fitting adds what it has learned from the data, in
attributes that end with an underscore, and among them a network, which is a :class:`Module`.
scikit-learn itself is imported by nothing here but what scikit-learn calls.
"""

from __future__ import annotations

import contextlib
import inspect
import numbers
import os
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from fastseq import checks
from fastseq.data.vocabulary import Vocabulary
from fastseq.models import estimator_files, inputs, word_vectors
from fastseq.models.settings import TRAINING, Run, Training, run_described
from fastseq.module import Module
from fastseq.training import averaging, optim, schedules, trainer
from fastseq.training.history import History

if TYPE_CHECKING:
    from fastseq.layers import Embedding

OPTIMIZERS = {
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
    "adagrad": optim.Adagrad,
    "sgd": optim.SGD,
}
SCHEDULES = ("cosine", "linear", "plateau")


class NotFittedError(ValueError, AttributeError):
    """An estimator was asked for what it knows only after ``fit``.

    Examples
    --------
    >>> import fastseq as fs
    >>> try:
    ...     fs.SequenceTagger().predict([["so", "what"]])
    ... except fs.NotFittedError as error:
    ...     print(str(error)[:44])
    this SequenceTagger has learned nothing yet:
    """


class Estimator(Training):
    """Common to all estimators.

    A subclass has settings, of which ``settings.estimator`` makes its constructor, and the methods
    that ``fit`` calls in this order: :meth:`check_settings`, :meth:`read`, also for a validation,
    :meth:`learn_names`, :meth:`learn`, :meth:`learn_more`, :meth:`make_network` and
    :meth:`make_batches`, also for a validation.
    """

    learned: tuple[str, ...] = ()
    # what stands for attributes that files of older versions lack, though they have ``learned``
    _unlearned: ClassVar[dict[str, Any]] = {}
    _estimator_type: str | None = None  # "classifier" or "regressor", for scikit-learn
    _needs_targets = True
    _data = "X, y"  # what ``fit`` is given
    _mode = "min"
    _free: tuple[str, ...] = ()  # settings besides TRAINING that may change after ``fit``
    # settings of vectors to begin with, and where the tokens without one get to stand
    missing_words: ClassVar[dict[str, str]] = {"embeddings": "missing_words_"}

    network_: Module
    history_: History

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        estimator_files.KINDS[estimator_files.class_name(cls)] = cls

    # --- settings -------------------------------------------------------------------------------

    @classmethod
    def _setting_names(cls):
        _, *parameters = inspect.signature(cls.__init__).parameters
        return parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name.

        Parameters
        ----------
        deep : bool
            Makes no difference: no setting has settings of its own.

        Returns
        -------
        settings : dict
        """
        return {name: getattr(self, name) for name in self._setting_names()}

    def set_params(self, **params: Any) -> Self:
        """Change settings, for the next ``fit``.

        What a fitted estimator knows goes with the settings of its network.  Where these have
        changed it says so instead of predicting, until ``fit`` is called or they are set back;
        those that are about training alone may change.

        Parameters
        ----------
        **params
            Settings by name; their values are checked by ``fit``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is no such setting; nothing has changed then.
        """
        names = self._setting_names()
        for name in params:
            if name not in names:
                raise ValueError(
                    f"{name!r} is no setting of {type(self).__name__}; there are {', '.join(names)}"
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self):
        defaults = inspect.signature(type(self).__init__).parameters
        settings = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if not _same(value, defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(settings)})"

    def _check_training(self):
        """Raise unless the settings that all estimators share make sense."""
        checks.positive_int("epochs", self.epochs)
        checks.positive_int("batch_size", self.batch_size)
        checks.choice("optimizer", self.optimizer, tuple(OPTIMIZERS))
        checks.positive_float("lr", self.lr)
        if self.schedule is not None:
            checks.choice("schedule", self.schedule, SCHEDULES, or_none=True)
        checks.not_negative("weight_decay", self.weight_decay)
        if self.max_norm is not None:
            checks.positive("max_norm", self.max_norm)
        if self.patience is not None:
            checks.positive_int("patience", self.patience)
        if self.average is not None:
            checks.fraction("average", self.average)
        checks.flag("warm_start", self.warm_start)
        checks.float_dtype(self.dtype)
        if self.random_state is not None:
            checks.not_negative_int("random_state", self.random_state)
        word_vectors.check(self)

    # --- what subclasses have -------------------------------------------------------------------

    def check_settings(self) -> None:
        """Raise unless the settings make sense.

        Raises
        ------
        TypeError, ValueError
        """
        raise self._lack("check_settings()")

    def read(self, X: Any, y: Any) -> tuple[Any, Any]:
        """The data of ``fit`` as the methods after this one take them, checked.

        Parameters
        ----------
        X, y
            What ``fit`` is given, or a validation.

        Returns
        -------
        X, y
            Lists or arrays, or what has ``take(rows)``, with an entry for each sequence.

        Raises
        ------
        TypeError, ValueError
            If something is wrong with them.
        """
        raise self._lack("read(X, y)")

    def learn_names(self, X: Any, y: Any) -> None:
        """Learn which labels there are, or tokens that several models must have in common.

        Parameters
        ----------
        X, y
            All data that were read, a part that is held out by chance included.
        """

    def learn(self, X: Any, y: Any) -> None:
        """Learn what the network is made for, such as a vocabulary, from data that were read.

        It sets the attributes that ``learned`` names, for which ``estimator_files`` knows a form.

        Parameters
        ----------
        X, y
            Without what is held out.
        """
        raise self._lack("learn(X, y)")

    def learn_more(self, X: Any, y: Any) -> None:
        """Learn what the network is not made for; also where ``fit`` goes on with other data.

        Parameters
        ----------
        X, y
            As for :meth:`learn`.
        """

    def make_network(self, seed: Any) -> Module:
        """A new network, from settings and what was learned.

        Parameters
        ----------
        seed : int, Generator or None

        Returns
        -------
        network : Module
            With ``loss_and_grad(batch)`` and ``loss(batch)``.
        """
        raise self._lack("make_network(seed)")

    def make_batches(self, X: Any, y: Any, seed: Any) -> Any:
        """The network's batches of data that were read.

        Parameters
        ----------
        X, y
        seed : int, Generator or None
            None for a fixed order.

        Returns
        -------
        batches : iterable with a length
            As :func:`fastseq.fit` takes it.
        """
        raise self._lack("make_batches(X, y, seed)")

    def _lack(self, method):
        name = method.partition("(")[0]
        return NotImplementedError(
            f"{type(self).__name__} has no method {method}, which fit needs: Estimator.{name} "
            "describes what it does"
        )

    # --- training -------------------------------------------------------------------------------

    @run_described
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        validation: tuple | float | None = None,
        checkpoint: str | os.PathLike | None = None,
        callbacks: Sequence = (),
        keep_interrupted: bool = True,
        progress: bool | None = None,
    ) -> Self:
        """Learn from data.

        Parameters
        ----------
        X : list of sequences
        y : list or array
            One target, or sequence of targets, for each sequence.
        validation : pair (X, y) or float, optional
            Data, or a fraction of X and y, that is not learned from: after each epoch the loss
            is measured on it, the best epoch's parameters are kept, and ``patience`` may end
            the training.  Labels that only a fraction of y has are among ``classes_``; where
            a forecast's y is None, it may be X alone.
        {run}
        """
        run = Run(checkpoint, callbacks, keep_interrupted, progress)
        return self._fit(X, y, validation, run)

    def _fit(self, X, y, validation, run):
        """What every ``fit`` does, once data are pairs."""
        self.check_settings()
        checks.flag("keep_interrupted", run.keep_interrupted)
        goes_on = self._goes_on()
        network_seed, order_seed, split_seed = Module.split_seed(self.random_state, 3)
        vectors = word_vectors.read(self)
        (X, y), held_out, everything = self._read_data(X, y, validation, split_seed)
        with self._unchanged_by_errors(goes_on):
            if not goes_on:
                self.learn_names(*everything)
                self.learn(X, y)
            self.learn_more(X, y)
            if not goes_on:
                self._begin(network_seed, vectors)
            batches, validation = self.make_batches(X, y, order_seed), None
            if held_out is not None:
                with naming("validation"):
                    validation = self._make_validation(*held_out)
            self._train_network(goes_on, batches, validation, run)
        return self

    def _read_data(self, X, y, validation, seed):
        """Data to learn from, those held out or None, and all that were split, as pairs."""
        self._check_validation(validation)
        is_part = isinstance(validation, numbers.Real)
        if is_part:
            checks.fraction("validation", validation)
        elif validation is not None:
            validation = self._validation_pair(validation, y)
        X, y = self.read(X, y)
        if is_part:
            return *_hold_out(X, y, validation, seed), (X, y)
        if validation is None:
            return (X, y), None, (X, y)
        with naming("validation"):
            return (X, y), self.read(*validation), (X, y)

    def _validation_pair(self, validation, y):
        """A validation that is given, as X and y; ``y`` is that of ``fit``."""
        if not isinstance(validation, (tuple, list)):
            kind = type(validation).__name__
            raise TypeError(f"validation must be a pair (X, y), or a fraction, got {kind}")
        if len(validation) != 2:
            raise ValueError(f"validation must be a pair (X, y), got {len(validation)} values")
        return validation

    def _begin(self, seed, vectors):
        """A new network for what was learned, with vectors for its tokens."""
        self.network_, self.history_ = self.make_network(seed), History()
        word_vectors.begin_with(self, vectors)
        self.fitted_settings_ = self._network_settings()

    def _train_network(self, goes_on, batches, validation, run):
        """Train; raise if the user ended it who wants to keep nothing then."""
        self._describe_for_checkpoint(goes_on)
        self._train(batches, validation, run)
        if not run.keep_interrupted and self.history_.stopped == "interrupted":
            raise KeyboardInterrupt

    def table(self, setting: str) -> tuple[Vocabulary | None, Embedding | None]:
        """The tokens, and the layer, that a setting of vectors is for.

        Parameters
        ----------
        setting : str
            One of those in ``missing_words``, such as ``"embeddings"``.

        Returns
        -------
        vocabulary : Vocabulary or None
            None where X holds no tokens.
        embedding : Embedding or None
            None where the network has none.
        """
        network = getattr(self.network_, "encoder", self.network_)
        return self.vocabulary_, getattr(network, "embedding", None)

    def needs_validation(self) -> str | None:
        """Which setting needs a validation, as ``patience`` does.

        Returns
        -------
        name : str, or None
            Of the first such setting; None if none does.
        """
        if getattr(self, "selection", "loss") == "score":
            return "selection"
        if self.patience is not None:
            return "patience"
        return "schedule" if self.schedule == "plateau" else None

    def _check_validation(self, held_out):
        """Raise if there is none, and settings need one."""
        name = self.needs_validation()
        if held_out is None and name is not None:
            raise ValueError(
                f"{name}={getattr(self, name)!r} needs a validation, as with "
                f"fit({self._data}, validation=0.1)"
            )

    def _batch_options(self, seed, at_once):
        """Options of Batches: in training, or without a seed as large as suits and always equal."""
        if seed is None:
            return {"max_tokens": at_once, "shuffle": False}
        return {"batch_size": self.batch_size, "seed": seed}

    def _goes_on(self):
        """Whether ``fit`` goes on from what was learned; raise if the settings forbid it."""
        if not (self.warm_start and self.__sklearn_is_fitted__()):
            return False
        self._check_fitted()
        return True

    def _network_settings(self):
        """The settings that the network goes with, as they could be in a file."""
        others = {*TRAINING, *self._free} - {"dtype"}
        settings = {n: v for n, v in self.get_params().items() if n not in others}
        return {name: estimator_files.plain_setting(value) for name, value in settings.items()}

    @contextlib.contextmanager
    def _unchanged_by_errors(self, goes_on):
        """The estimator is what it was before if something goes wrong."""
        before, network = dict(self.__dict__), self.network_ if goes_on else None
        if goes_on:  # it is trained in place
            flat, random_state = network.parameters.flat.copy(), network.random_state
        try:
            yield
        except trainer.NotFinite as error:  # what was learned until then is of use
            self.history_ = error.history
            raise
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            if goes_on:
                np.copyto(network.parameters.flat, flat)
                network.random_state = random_state
            raise

    def _make_validation(self, X, y):
        """What trainer.fit takes as validation; ``_mode`` says what is better."""
        return self.make_batches(X, y, None)

    def _train(self, batches, validation, run):
        """Run the loop over batches that the network knows."""
        parameters = self.network_.parameters
        optimizer = OPTIMIZERS[self.optimizer](parameters, self.lr, weight_decay=self.weight_decay)
        average = self.average
        self.history_ = trainer.fit(
            self.network_,
            batches,
            optimizer=optimizer,
            epochs=self.epochs,
            max_norm=self.max_norm,
            schedule=self._make_schedule(optimizer, self.epochs * len(batches)),
            validation=validation,
            mode=self._mode,
            patience=self.patience,
            average=None if average is None else averaging.AveragedParameters(parameters, average),
            checkpoint=run.checkpoint,
            callbacks=run.callbacks,
            progress=run.progress,
        )
        self.network_.release()

    def _describe_for_checkpoint(self, goes_on):
        """Give the network what makes it another run if it changes; a checkpoint compares it."""
        # of embeddings the network knows a checksum
        may_differ = {"patience", "warm_start", *self.missing_words}
        if self.schedule in (None, "plateau"):  # others go by how many updates there will be
            may_differ.add("epochs")
        settings = {n: v for n, v in self.get_params().items() if n not in may_differ}
        settings = {name: estimator_files.plain_setting(value) for name, value in settings.items()}
        for name in self.learned:  # equal ids may stand for other texts
            value = getattr(self, name, None)
            if isinstance(value, Vocabulary):
                settings[name] = zlib.crc32(value.to_json().encode())
        # a run that goes on from a model, not from a checkpoint, begins with that model
        settings["begun_with"] = zlib.crc32(self.network_.parameters.flat) if goes_on else None
        own = self.network_.settings
        self.network_.settings = settings | {n: own[n] for n in own if n not in settings}

    def _make_schedule(self, optimizer, updates):
        if self.schedule == "cosine":
            return schedules.CosineAnnealingLR(optimizer, updates)
        if self.schedule == "linear":
            return schedules.LinearLR(
                optimizer, start_factor=1.0, end_factor=0.0, total_iters=updates
            )
        if self.schedule == "plateau":
            return schedules.ReduceLROnPlateau(optimizer, mode=self._mode)
        return None

    def __sklearn_is_fitted__(self):
        return "network_" in self.__dict__

    def _check_fitted(self):
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"this {type(self).__name__} has learned nothing yet: call fit({self._data}) "
                "first, or read one that has, as with fastseq.load(path)"
            )
        settings = self._network_settings()
        for name, value in self.fitted_settings_.items():
            if settings[name] != value:
                raise ValueError(
                    f"{name} is {settings[name]!r}, but this {type(self).__name__} was fitted with "
                    f"{value!r}: call fit without warm_start, or set_params({name}={value!r})"
                )

    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        kind = self._estimator_type
        return Tags(
            estimator_type=kind,
            target_tags=TargetTags(required=self._needs_targets),
            classifier_tags=ClassifierTags() if kind == "classifier" else None,
            regressor_tags=RegressorTags() if kind == "regressor" else None,
            input_tags=InputTags(two_d_array=False, three_d_array=True),
        )

    # --- files ----------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write settings, what was learned, and the history into one safetensors file.

        The file is replaced as a whole or not at all.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        NotFittedError
            If there is nothing to save.
        TypeError
            If it is no path.
        ValueError
            If the network was made with other settings.
        OSError
            If the file can't be written.
        ImportError
            If safetensors is missing.
        """
        self._check_fitted()
        estimator_files.write(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """The estimator in a file that :meth:`save` wrote, of this class or a subclass.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        estimator : Estimator
            Fitted, with the history and settings that were saved; where these were KeyedVectors
            they are None.

        Raises
        ------
        TypeError
            If it is no path.
        OSError
            If the file can't be read.
        ValueError
            If it holds something else, is truncated or corrupted; the message names the file.
        ImportError
            If safetensors is missing.
        """
        return estimator_files.read(path, cls)


# --- data ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def naming(what):
    """Errors say of which data they are."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{what}: {error}") from error


def check_pairs(X, y):
    """Sequences and targets by position; raise unless there is one for each, and at least one."""
    sequences, targets = inputs.count("X", X), inputs.count("y", y)
    if sequences != targets:
        raise ValueError(
            f"y must have one entry for each of the {sequences} sequences in X, got {targets}"
        )
    if not sequences:
        raise ValueError("X must hold at least one sequence, got none")
    return inputs.read_sequences("X", X), inputs.by_position(y)


def _hold_out(X, y, part, seed):
    """The data to learn from, and those for the validation, both as pairs."""
    count = len(X)
    size = round(part * count)
    if not 0 < size < count:
        raise ValueError(
            f"validation={part} of {count} sequences leaves {count - size} to learn from and "
            f"{size} to validate with, and neither may be 0"
        )
    # sorting raw bits: what NumPy's own shuffling gives may change with its version
    order = np.argsort(seed.bit_generator.random_raw(count), kind="stable")
    held_out, learned = np.sort(order[:size]), np.sort(order[size:])
    return (_take(X, learned), _take(y, learned)), (_take(X, held_out), _take(y, held_out))


def _take(data, rows):
    if data is None:
        return None
    if isinstance(data, np.ndarray):
        return data[rows]
    return data.take(rows) if hasattr(data, "take") else [data[i] for i in rows]


def _same(value, default):
    """Whether a setting is at its default; values may be anything."""
    return value is default or (type(value) is type(default) and bool(value == default))
