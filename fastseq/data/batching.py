"""Batches of sequences: padded and bucketed by length, or cut from one long stream.

T steps, B rows (sequences), N sequences or positions of a stream.

All batches of an epoch are known by their number, from a seed and the number of the epoch.  So
the place where a run stands is a few numbers, and a run that goes on from there sees the very
batches that it would have seen.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastseq import checks
from fastseq.module import Explained, fixed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

POOL = 100  # how many batches' sequences are sorted by length together, at most
POOLS = 4  # pools in an epoch at least: with few batches chance is worth more than less padding
TARGET_KINDS = ("single", "steps", "sequences")


class Batch(NamedTuple):
    """What a model takes at a time.

    Attributes
    ----------
    x : ndarray, (T, B, ...)
        Token ids (T, B) or features (T, B, F), time first.
    lengths : ndarray of int64 (B,), or None
        How many steps each row has; None if all have T, in windows of a stream.
    targets : ndarray, or None
        One for each step, (T, B, ...), or one for each row, (B, ...).  The steps of targets
        may be others than those of x.
    mask : ndarray of bool, or None
        As the first two axes of targets for each step: where they count and are not padding.
        None if all targets count.
    rows : ndarray of int64 (B,), or None
        Which sequences of the data these are; None in a stream.
    carried : bool
        Whether the rows go on where those of the batch before ended, so that a state should be
        carried over.

    Examples
    --------
    >>> import fastseq as fs
    >>> (batch,) = fs.Batches([[5, 6, 7], [8]], [[0, 1, 0], [1]], shuffle=False, bucket=False)
    >>> batch.x.tolist(), batch.lengths.tolist(), batch.tokens
    ([[5, 8], [6, 0], [7, 0]], [3, 1], 4)
    >>> batch.targets.tolist(), batch.mask.tolist()
    ([[0, 1], [1, 0], [0, 0]], [[True, True], [True, False], [True, False]])
    """

    x: np.ndarray
    lengths: np.ndarray | None = None
    targets: np.ndarray | None = None
    mask: np.ndarray | None = None
    rows: np.ndarray | None = None
    carried: bool = False

    @property
    def tokens(self) -> int:
        """The number of real steps."""
        if self.lengths is None:
            return self.x.shape[0] * self.x.shape[1]
        return int(self.lengths.sum())


def pad(
    sequences: Sequence[ArrayLike],
    *,
    value: float = 0,
    steps: int | None = None,
    dtype: DTypeLike = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of different lengths side by side in one array.

    Parameters
    ----------
    sequences : sequence of arrays, each (T_i, ...)
        Lists of ids, arrays (T_i, F), ...; lengths may be 0.
    value : number
        What stands where a sequence has ended.
    steps : int or None
        T, no less than the longest sequence has; by default just that.
    dtype : dtype or None
        Of the padded array; by default one that holds all sequences.

    Returns
    -------
    padded : ndarray, (T, B, ...)
    lengths : ndarray of int64, (B,)

    Raises
    ------
    TypeError
        If there is something else than numbers, or dtype can't hold it.
    ValueError
        If there are no sequences, their other axes differ, or one is longer than ``steps``.

    Examples
    --------
    >>> import fastseq as fs
    >>> padded, lengths = fs.pad([[1, 2, 3], [4]])
    >>> padded.tolist(), lengths.tolist()
    ([[1, 4], [2, 0], [3, 0]], [3, 1])
    """
    arrays = checks.sequences("sequences", sequences)
    dtype = _common_dtype("sequences", arrays, dtype)
    lengths = _lengths(arrays)
    longest = int(lengths.max())
    if steps is None:
        steps = longest
    elif checks.positive_int("steps", steps) < longest:
        raise ValueError(
            f"steps must be at least {longest}, the longest sequence's length, got {steps}: "
            "nothing is cut off"
        )
    return _pad(arrays, steps, dtype, _check_padding("value", value, dtype)), lengths


class _Epochs(Explained):
    """Batches that are known by their number within an epoch; the place is kept, and can be saved.

    A subclass has ``_count()``, ``_make(number)`` and ``_identity``: what it was made from.
    """

    _not_here: Mapping[str, str] = {  # of PyTorch's DataLoader
        "drop_last": "nothing is left out, and the last batch may be smaller",
        "num_workers": "fs.prefetch(batches) makes them ahead in a thread",
    }

    def __init__(self, seed):
        # one number from whatever a seed may be; raw bits don't depend on NumPy's version
        self._seed = int(checks.generator(seed).bit_generator.random_raw())
        self._epoch = self._position = 0

    @property
    def epoch(self) -> int:
        """How many epochs are complete."""
        return self._epoch

    @property
    def position(self) -> int:
        """How many batches of the current epoch have been handed out."""
        return self._position

    def __len__(self) -> int:
        """The number of batches in the current epoch."""
        return self._count()

    def __getitem__(self, number: int) -> Batch:
        """A batch of the current epoch; the position stays."""
        number, count = checks.integer("the number of a batch", number), len(self)
        if not -count <= number < count:
            raise IndexError(f"there are {count} batches in this epoch, got number {number}")
        return self._make(number % count)

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the current position to the end of the epoch."""
        while self._position < len(self):
            batch = self._make(self._position)
            self._position += 1  # from now on it counts as handed out
            yield batch
        self._position = 0
        self._epoch += 1

    def state_dict(self) -> dict[str, Any]:
        """The place where an iteration stands, as numbers and strings that JSON can hold."""
        place = {"epoch": self._epoch, "position": self._position, "seed": self._seed}
        return place | self._identity()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to a saved place; the batches that follow are those that would have followed there.

        Raises
        ------
        TypeError
            If it is no mapping, or a number in it is none.
        ValueError
            If a name is missing, a number is negative, or it was saved from other data or with
            other settings.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict must be a mapping, got {type(state_dict).__name__}")
        expected = self.state_dict()
        kind = state_dict.get("kind")
        if kind != expected["kind"]:
            raise ValueError(f"the state must be one of {expected['kind']}, got one of {kind}")
        if set(state_dict) != set(expected):
            raise ValueError(
                f"state_dict must have the names {list(expected)}, got {list(state_dict)}"
            )
        for name, ours in self._identity().items():
            if state_dict[name] != ours:
                raise ValueError(
                    f"the state was saved with {name} = {state_dict[name]!r}, but here it is "
                    f"{ours!r}: go on with the same data and settings, or start anew"
                )
        epoch, position, seed = (
            checks.not_negative_int(name, state_dict[name])
            for name in ("epoch", "position", "seed")
        )
        before = self._epoch, self._position, self._seed
        self._epoch, self._position, self._seed = epoch, position, seed
        if position > len(self):
            self._epoch, self._position, self._seed = before
            raise ValueError(f"position must be at most the number of batches, got {position}")


class Batches(_Epochs):
    """Batches of whole sequences, padded to the longest of each.

    Every sequence comes exactly once in an epoch, and nothing is cut off.  Sequences of similar
    length come together: they are shuffled, sorted by length in pools of up to 100 batches' size
    (at least four pools an epoch), cut into batches, and the batches are shuffled.

    Iterating goes from the current position to the end of the epoch; the next iteration is the
    next epoch.  After ``break`` it goes on with the batch that follows.

    Parameters
    ----------
    sequences : sequence of arrays, each (T_i, ...), or array (N, T, ...)
        Token ids (T_i,) or features (T_i, F).
    targets : None, or sequence or array of N targets
        What they may be says ``target_kind``.
    batch_size : int or None
        Rows of a batch at most.  32 by default, without a limit if ``max_tokens`` is given.
    max_tokens : int or None
        Rows times steps of a batch at most, padding included (with targets that are longer
        than x, steps of the targets).  A sequence longer than that is a batch of its own.
    shuffle : bool
        Without it each epoch is the same: the data's order, or from short to long if bucketed.
    bucket : bool
        Whether to put sequences of similar length together.
    target_kind : str or None
        ``"single"``: a number or an array of fixed shape for each sequence; ``"steps"``: one for
        each of its steps; ``"sequences"``: sequences with lengths of their own.  By default
        single numbers, or else steps.
    seed : int, Generator or None
        Fixes the order of all epochs.
    dtype : dtype or None
        float32 or float64, for sequences and targets of floating-point numbers; those of
        integers stay as they are.  By default nothing is converted.
    padding, target_padding : number
        What stands where a sequence has ended.

    Raises
    ------
    TypeError
        If sequences or targets hold something else than numbers.
    ValueError
        If there are no sequences, or another number of targets; if shapes or lengths don't
        fit.

    Examples
    --------
    >>> import fastseq as fs
    >>> sequences = [[5, 6, 7, 8], [9, 9], [4, 3, 2], [1]]
    >>> batches = fs.Batches(sequences, [0, 1, 0, 1], batch_size=2, seed=0)
    >>> for batch in batches:
    ...     print(batch.rows, batch.lengths, batch.targets)
    [1 3] [2 1] [1 1]
    [2 0] [3 4] [0 0]
    >>> batches.epoch, batches.position
    (1, 0)
    """

    batch_size = fixed("batch_size")
    max_tokens = fixed("max_tokens")
    shuffle = fixed("shuffle")
    bucket = fixed("bucket")

    def __init__(
        self,
        sequences: Sequence[ArrayLike],
        targets: Sequence[ArrayLike] | ArrayLike | None = None,
        *,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        shuffle: bool = True,
        bucket: bool = True,
        target_kind: str | None = None,
        seed: checks.Seed = None,
        dtype: DTypeLike = None,
        padding: float = 0,
        target_padding: float = 0,
    ) -> None:
        super().__init__(seed)
        self._max_tokens = _optional_size("max_tokens", max_tokens)
        batch_size = 32 if batch_size is None and max_tokens is None else batch_size
        self._batch_size = _optional_size("batch_size", batch_size)
        self._shuffle = checks.flag("shuffle", shuffle)
        self._bucket = checks.flag("bucket", bucket)
        dtype = None if dtype is None else checks.float_dtype(dtype)
        self._x = _Padded("sequences", checks.sequences("sequences", sequences), dtype, padding)
        self._y = self._targets = None
        if targets is None and target_kind is not None:
            raise ValueError(f"target_kind={target_kind!r} needs targets, got None")
        if targets is not None:
            targets = _check_targets(targets, len(self._x.arrays))
            if _target_kind(target_kind, targets) == "single":
                self._targets = _as_floats(checks.numbers("targets", targets), dtype)
            else:
                arrays = checks.sequences("targets", targets)
                self._y = _Padded("targets", arrays, dtype, target_padding)
                if target_kind != "sequences":
                    _check_steps(self._x.lengths, self._y.lengths)
        self._planned = None  # the epoch of the plan, with its seed
        self._plan = []
        self._checksum = None

    def _count(self):
        if self._planned != (self._epoch, self._seed):
            self._plan = self._cut(*self._sort())
            self._planned = (self._epoch, self._seed)
        return len(self._plan)

    def _make(self, number):
        rows = self._plan[number].copy()
        x, lengths = self._x.take(rows)
        if self._y is None:
            targets = None if self._targets is None else self._targets[rows]
            return Batch(x, lengths, targets, rows=rows)
        targets, target_lengths = self._y.take(rows)
        return Batch(x, lengths, targets, _mask(len(targets), target_lengths), rows)

    def _identity(self):
        if self._checksum is None:
            targets = [] if self._targets is None else [self._targets]
            targets = targets if self._y is None else self._y.arrays
            self._checksum = _checksum([*self._x.arrays, *targets])
        targets = self._targets if self._y is None else self._y
        return {
            "kind": "Batches",
            "batch_size": self.batch_size,
            "max_tokens": self.max_tokens,
            "shuffle": self.shuffle,
            "bucket": self.bucket,
            "dtype": str(self._x.dtype),
            "target_dtype": None if targets is None else str(targets.dtype),
            "padding": _as_text(self._x.padding, self._x.dtype),
            "target_padding": None if self._y is None else _as_text(self._y.padding, self._y.dtype),
            "sequences": len(self._x.arrays),
            "data_checksum": self._checksum,
        }

    # --- the plan of an epoch ---------------------------------------------------------------

    def _sort(self):
        """All rows in the order in which they are cut, and random bits that do the rest."""
        count = len(self._x.arrays)
        rows = np.arange(count)
        bits = np.random.PCG64(np.random.SeedSequence([self._seed, self._epoch]))
        if self.shuffle:
            # sorting raw bits: what NumPy's own shuffling gives may change with its version
            rows = np.argsort(bits.random_raw(count), kind="stable")
        if self.bucket:
            pools = np.arange(count) // self._pool_size() if self.shuffle else np.zeros(count, int)
            # up and down in turn, so that a batch across two pools has similar lengths too
            sign = 1 - 2 * (pools % 2)
            keys = [sign * lengths[rows] for lengths in self._all_lengths()]
            rows = rows[np.lexsort((*reversed(keys), pools))]
        return rows, bits

    def _cut(self, rows, bits):
        """The rows of each batch."""
        costs = np.maximum(1, np.max(self._all_lengths(), axis=0))[rows].tolist()
        most_rows = self.batch_size or len(rows)
        most_tokens = self.max_tokens or len(rows) * max(costs)
        cuts, begin, longest = [], 0, 0
        for i, cost in enumerate(costs):
            longest = max(longest, cost)
            wide = i - begin + 1  # with this row
            if wide > most_rows or (wide > 1 and wide * longest > most_tokens):
                cuts.append(i)
                begin, longest = i, cost
        plan = np.split(rows, cuts)
        if self.shuffle and self.bucket:
            order = np.argsort(bits.random_raw(len(plan)), kind="stable")
            plan = [plan[i] for i in order]
        return plan

    def _pool_size(self):
        """How many sequences are sorted together."""
        mean = max(1.0, float(np.max(self._all_lengths(), axis=0).mean()))
        rows = [self.batch_size] if self.batch_size else []
        rows += [max(1, int(self.max_tokens / mean))] if self.max_tokens else []
        batches = -(-len(self._x.arrays) // min(rows))
        return min(rows) * min(POOL, max(1, batches // POOLS))

    def _all_lengths(self):
        return [self._x.lengths] if self._y is None else [self._x.lengths, self._y.lengths]


class BPTTWindows(_Epochs):
    """Windows of one long stream, for truncated backpropagation through time.

    The stream is cut into B columns that are read side by side, ``steps`` at a time; each
    window goes on where the one before ended (``batch.carried``), from the first window of an
    epoch, which begins anew::

        stream   0 1 2 3 4 5 6 7 8 9 10           batch_size=2, steps=3

        column 0   0 1 2 | 3 4          each token's target is the next one
        column 1   5 6 7 | 8 9

    Every token but the first is a target exactly once in an epoch: nothing is cut off.  Columns
    differ by at most one step in length; where they do, the last window has ``lengths`` and a
    ``mask``.  The last window may have fewer steps than the others.

    Iterating goes from the current position to the end of the epoch; the next iteration is the
    next epoch.  A run that is resumed in the middle of an epoch needs the model's state as well.

    Parameters
    ----------
    stream : array, (N, ...)
        Token ids (N,) or features (N, F).
    batch_size : int
        B.
    steps : int
        T, how far gradients reach back.
    targets : array (N, ...), or None
        One for each position of the stream.  By default the next position of the stream.
    dtype : dtype or None
        float32 or float64, for what is of floating-point numbers; integers stay as they are.
    padding, target_padding : number
        What stands where a column has ended.

    Raises
    ------
    TypeError
        If the stream holds something else than numbers.
    ValueError
        If the stream is too short for so many columns, or the targets aren't as many.

    References
    ----------
    Williams and Peng (1990), "An efficient gradient-based algorithm for on-line training of
    recurrent network trajectories".

    Examples
    --------
    >>> import numpy as np, fastseq as fs
    >>> for batch in fs.BPTTWindows(np.arange(11), batch_size=2, steps=3):
    ...     print(batch.carried, batch.x.T.tolist(), batch.targets.T.tolist())
    False [[0, 1, 2], [5, 6, 7]] [[1, 2, 3], [6, 7, 8]]
    True [[3, 4], [8, 9]] [[4, 5], [9, 10]]
    """

    batch_size = fixed("batch_size")
    steps = fixed("steps")

    def __init__(
        self,
        stream: ArrayLike,
        batch_size: int,
        steps: int,
        *,
        targets: ArrayLike | None = None,
        dtype: DTypeLike = None,
        padding: float = 0,
        target_padding: float = 0,
    ) -> None:
        super().__init__(0)  # nothing is random here
        self._batch_size = checks.positive_int("batch_size", batch_size)
        self._steps = checks.positive_int("steps", steps)
        dtype = None if dtype is None else checks.float_dtype(dtype)
        stream = _as_floats(checks.numbers("stream", stream), dtype)
        if not stream.ndim:
            raise ValueError(f"stream must have shape (N, ...), got the number {stream}")
        if targets is None:
            self._x, self._y = stream[:-1], stream[1:]
        else:
            self._x, self._y = stream, _as_floats(checks.numbers("targets", targets), dtype)
            if self._y.shape[:1] != stream.shape[:1]:
                raise ValueError(
                    f"targets must be as many as the stream's {len(stream)} positions, "
                    f"got shape {self._y.shape}"
                )
        count = len(self._x)
        if count < self.batch_size:
            raise ValueError(
                f"batch_size must be at most the number of targets, {count}, got {batch_size}: use "
                "a smaller batch_size, or a longer text or stream"
            )
        self._padding = _check_padding("padding", padding, self._x.dtype)
        self._target_padding = _check_padding("target_padding", target_padding, self._y.dtype)
        short, longer = divmod(count, self.batch_size)
        self._lengths = np.full(self.batch_size, short)
        self._lengths[:longer] += 1
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._checksum = None

    def _count(self):
        return -(-int(self._lengths[0]) // self.steps)

    def _make(self, number):
        begin = number * self.steps
        lengths = np.clip(self._lengths - begin, 0, self.steps)
        steps = int(lengths[0])
        places = self._starts + np.arange(begin, begin + steps)[:, None]
        mask = _mask(steps, lengths)
        if mask is None:
            return Batch(self._x[places], None, self._y[places], carried=number > 0)
        places[~mask] = 0
        x, targets = self._x[places], self._y[places]
        x[~mask], targets[~mask] = self._padding, self._target_padding
        return Batch(x, lengths, targets, mask, carried=number > 0)

    def _identity(self):
        if self._checksum is None:
            self._checksum = _checksum([self._x, self._y])
        return {
            "kind": "BPTTWindows",
            "batch_size": self.batch_size,
            "steps": self.steps,
            "dtype": str(self._x.dtype),
            "target_dtype": str(self._y.dtype),
            "padding": _as_text(self._padding, self._x.dtype),
            "target_padding": _as_text(self._target_padding, self._y.dtype),
            "positions": len(self._x),
            "data_checksum": self._checksum,
        }


# --- arrays ---------------------------------------------------------------------------------


class _Padded:
    """Sequences that are padded when they are taken."""

    def __init__(self, name, arrays, dtype, padding):
        self.dtype = _common_dtype(name, arrays, None)
        if dtype is not None and self.dtype.kind == "f":
            self.dtype = dtype
        self.arrays = arrays
        self.lengths = _lengths(arrays)
        argument = "padding" if name == "sequences" else "target_padding"
        self.padding = _check_padding(argument, padding, self.dtype)

    def take(self, rows):
        """Some of the sequences, (T, B, ...), and their lengths."""
        lengths = self.lengths[rows]
        arrays = [self.arrays[i] for i in rows]
        return _pad(arrays, int(lengths.max()), self.dtype, self.padding), lengths


def _pad(arrays, steps, dtype, value):
    padded = np.full((steps, len(arrays), *arrays[0].shape[1:]), value, dtype)
    for row, array in enumerate(arrays):
        padded[: len(array), row] = array
    return padded


def _lengths(arrays):
    return np.fromiter(map(len, arrays), np.int64, len(arrays))


def _mask(steps, lengths):
    """Where rows have a step, (T, B); None if they have all of them."""
    if lengths.min() == steps:
        return None
    return np.arange(steps)[:, None] < lengths


def _as_floats(array, dtype):
    """The array, in this dtype if it holds floating-point numbers and dtype is given."""
    if dtype is None or array.dtype.kind != "f":
        return array
    return array.astype(dtype, copy=False)


def _as_text(number, dtype):
    """The number that an array of this dtype holds then; as a text NaN equals itself, too."""
    return str(np.full((), number, dtype)[()])


def _checksum(arrays):
    """A number that tells other data, or lengths, from these."""
    total = 0
    for array in arrays:
        total = zlib.crc32(f"{array.dtype.str}{array.shape}".encode(), total)
        total = zlib.crc32(np.ascontiguousarray(array), total)
    return total


# --- arguments ------------------------------------------------------------------------------


def _optional_size(name, value):
    return None if value is None else checks.positive_int(name, value)


def _common_dtype(name, arrays, dtype):
    """The dtype that holds all arrays, or the given one if it can."""
    common = np.result_type(*{array.dtype for array in arrays})
    if dtype is None:
        return common
    dtype = np.dtype(dtype)
    if not np.can_cast(common, dtype, "same_kind"):
        raise TypeError(f"dtype must be able to hold {name} of dtype {common}, got {dtype}")
    return dtype


def _check_padding(name, value, dtype):
    """The value, which this dtype can hold."""
    if not np.isscalar(value) or isinstance(value, (str, bytes)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if dtype.kind != "f":
        with np.errstate(invalid="ignore"):
            held = np.asarray(value).astype(dtype)
        if held != value:
            raise ValueError(f"{name} must be a number that {dtype} can hold, got {value!r}")
    return value


def _check_targets(targets, count):
    """Targets as a list, tuple or array of this many."""
    if not hasattr(targets, "__len__") or isinstance(targets, (str, bytes, Mapping)):
        raise TypeError(f"targets must be a list or an array, got {type(targets).__name__}")
    if len(targets) != count:
        raise ValueError(f"targets must be one for each of {count} sequences, got {len(targets)}")
    return targets if isinstance(targets, (list, tuple)) else np.asarray(targets)


def _target_kind(kind, targets):
    if kind is not None:
        return checks.choice("target_kind", kind, TARGET_KINDS)
    return "steps" if np.ndim(targets[0]) else "single"


def _check_steps(lengths, target_lengths):
    """Raise unless there is a target for each step."""
    (wrong,) = np.nonzero(lengths != target_lengths)
    if wrong.size:
        i = wrong[0]
        raise ValueError(
            f"targets must be one for each step, but targets[{i}] has {target_lengths[i]} and "
            f"sequences[{i}] has {lengths[i]} steps; give target_kind='single' or 'sequences' if "
            "they are something else"
        )
