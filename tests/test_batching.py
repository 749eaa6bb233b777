"""Padding, batches of sequences, windows of a stream: nothing lost, and resumed exactly."""

import itertools
import json
import signal

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises, run_python

import fastseq as fs


def make_sequences(count=57, *, longest=9, features=None, seed=0):
    """Sequences of random length, 0 included, in which no two numbers are the same."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest + 1, count)
    shapes = [(n,) if features is None else (n, features) for n in lengths]
    numbers = itertools.count(1)
    return [np.reshape([next(numbers) for _ in range(np.prod(s))], s) for s in shapes]


def assert_same_output(found, expected):
    """Bit for bit where the backend promises that."""
    check = assert_identical if fs.get_backend() == "cython" else assert_close
    check(found, expected)


def assert_same_batch(found, expected):
    for name, value in expected._asdict().items():
        other = getattr(found, name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(other, value, err_msg=name, strict=True)
        else:
            assert other == value, name


def assert_same_batches(found, expected):
    for a, e in zip(found, expected, strict=True):
        assert_same_batch(a, e)


# --- pad ------------------------------------------------------------------------------------


def test_pad_puts_sequences_side_by_side():
    padded, lengths = fs.pad([[1, 2, 3], [], [4]], value=-1)
    np.testing.assert_array_equal(padded, [[1, -1, 4], [2, -1, -1], [3, -1, -1]])
    assert lengths.dtype == np.int64 and lengths.tolist() == [3, 0, 1]
    assert padded.dtype == np.int64 and padded.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pad_features(dtype):
    sequences = [np.ones((2, 3), dtype), [], np.full((1, 3), 2, dtype)]
    padded, lengths = fs.pad(sequences, value=np.nan, steps=4)
    assert padded.dtype == dtype and padded.shape == (4, 3, 3) and lengths.tolist() == [2, 0, 1]
    assert (padded[:2, 0] == 1).all() and (padded[0, 2] == 2).all()
    assert np.isnan(padded).sum() == 3 * (4 * 3 - 3)


def test_pad_dtypes():
    assert fs.pad([np.zeros(1, np.int32), np.zeros(2, np.int32)])[0].dtype == np.int32
    assert fs.pad([np.zeros(1, np.int32), [0.5]])[0].dtype == np.float64
    assert fs.pad([[1], [2]], dtype=np.float32)[0].dtype == np.float32
    assert fs.pad([[True], []], value=True)[0].tolist() == [[True, True]]
    assert fs.pad([[], []])[0].shape == (0, 2)


@pytest.mark.parametrize(
    "sequences, options, error, parts",
    [
        ("abc", {}, TypeError, ["sequences", "list of sequences", "str"]),
        (5, {}, TypeError, ["list of sequences", "int"]),
        ([], {}, ValueError, ["list of sequences", "none"]),
        (np.zeros(3), {}, TypeError, ["list of sequences", "(3,)", "in a list"]),
        ([1, 2], {}, TypeError, ["list of sequences", "number 1", "sequences[0]"]),
        ([[1], ["a"]], {}, TypeError, ["sequences[1]", "numbers", "Vocabulary"]),
        ([[1], None], {}, TypeError, ["sequences[1]", "numbers"]),
        ([[1], [1j]], {}, TypeError, ["sequences[1]", "numbers", "complex"]),
        ([[[1], [2, 3]]], {}, ValueError, ["sequences[0]", "numbers"]),
        ([np.ma.zeros(2)], {}, TypeError, ["sequences[0]", "masked"]),
        (
            [np.zeros((2, 3)), np.zeros((2, 4))],
            {},
            ValueError,
            ["sequences[1]", "(2, 4)", "sequences[0]", "(2, 3)"],
        ),
        ([[1, 2]], {"steps": 1}, ValueError, ["steps", "at least 2", "1", "nothing is cut off"]),
        ([[1, 2]], {"steps": 2.0}, TypeError, ["steps", "integer", "2.0"]),
        ([[0.5]], {"dtype": np.int64}, TypeError, ["dtype", "float64", "int64"]),
        ([[1]], {"value": 0.5}, ValueError, ["value", "int64", "0.5"]),
        ([[1]], {"value": np.nan}, ValueError, ["value", "int64", "nan"]),
        ([[1]], {"value": "0"}, TypeError, ["value", "number", "'0'"]),
        ([[1]], {"value": [0]}, TypeError, ["value", "number", "[0]"]),
    ],
)
def test_bad_padding(sequences, options, error, parts):
    with raises(error, *parts):
        fs.pad(sequences, **options)


# --- batches of sequences -------------------------------------------------------------------

SETTINGS = [
    {},
    {"batch_size": 1},
    {"batch_size": 8},
    {"batch_size": 1000},
    {"max_tokens": 30},
    {"max_tokens": 1},
    {"batch_size": 5, "max_tokens": 30},
]


@pytest.mark.parametrize("features", [None, 2])
@pytest.mark.parametrize("bucket", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("settings", SETTINGS)
def test_every_sequence_comes_once_and_whole(settings, shuffle, bucket, features):
    sequences = make_sequences(features=features)
    batches = fs.Batches(sequences, seed=1, shuffle=shuffle, bucket=bucket, **settings)
    for _ in range(2):
        rows, count = [], len(batches)
        for batch in batches:
            count -= 1
            assert batch.targets is batch.mask is None and batch.carried is False
            assert batch.tokens == sum(len(sequences[row]) for row in batch.rows)
            for place, row in enumerate(batch.rows):
                length = batch.lengths[place]
                np.testing.assert_array_equal(batch.x[:length, place], sequences[row])
                assert not batch.x[length:, place].any()
            assert len(batch.rows) <= settings.get("batch_size", 32 if not settings else 1000)
            if "max_tokens" in settings and len(batch.rows) > 1:
                assert max(1, len(batch.x)) * len(batch.rows) <= settings["max_tokens"]
            rows.extend(batch.rows.tolist())
        assert sorted(rows) == list(range(len(sequences))) and count == 0


def test_batches_are_filled():
    """A batch ends only where the next sequence of the order has no room."""
    sequences = make_sequences(200)
    assert len(fs.Batches(sequences, batch_size=8)) == 25
    batches = list(fs.Batches(sequences, max_tokens=40, shuffle=False))
    for batch, after in itertools.pairwise(batches):
        longest = max(1, len(batch.x), after.lengths[0])
        assert (len(batch.rows) + 1) * longest > 40


def test_the_order_follows_from_the_seed():
    def epochs(seed):
        batches = fs.Batches(make_sequences(), batch_size=4, seed=seed)
        return [[batch.rows.tolist() for batch in batches] for _ in range(3)]

    first = epochs(3)
    assert first == epochs(3) == epochs(np.random.default_rng(3))
    assert first != epochs(4)
    assert first[0] != first[1] != first[2]
    assert fs.Batches([[1]]).state_dict()["seed"] != fs.Batches([[1]]).state_dict()["seed"]


def test_the_order_of_a_seed_never_changes():
    """A run may be resumed with another version of NumPy or fastseq."""
    lengths = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    batches = fs.Batches([[0] * n for n in lengths], batch_size=3, seed=0)
    first, second = ([batch.rows.tolist() for batch in batches] for _ in range(2))
    assert first == [[9, 8, 7], [2, 6, 3], [1], [0, 4, 5]]
    assert second == [[5, 4, 8], [2], [6, 9, 0], [3, 1, 7]]


def test_lengths_are_similar_within_a_batch():
    sequences = make_sequences(5000, longest=50)

    def padding(**settings):
        batches = list(fs.Batches(sequences, batch_size=16, seed=0, **settings))
        steps = sum(batch.x.size for batch in batches)
        return 1 - sum(batch.tokens for batch in batches) / steps

    assert padding() < 0.02 < 0.4 < padding(bucket=False)


def test_batches_are_shuffled_and_not_alike_from_epoch_to_epoch():
    sequences = make_sequences(5000, longest=50)
    batches = fs.Batches(sequences, batch_size=16, seed=0)
    first, second = ([batch.rows for batch in batches] for _ in range(2))
    lengths = np.array([len(sequences[rows[0]]) for rows in first])
    assert abs(np.corrcoef(lengths, np.arange(len(lengths)))[0, 1]) < 0.2
    assert not {tuple(sorted(rows)) for rows in first} & {tuple(sorted(rows)) for rows in second}


def test_without_shuffling():
    sequences = [[1, 1, 1], [2], [3, 3], [4], [5]]
    in_order = fs.Batches(sequences, batch_size=2, shuffle=False, bucket=False)
    by_length = fs.Batches(sequences, batch_size=2, shuffle=False)
    for _ in range(2):
        assert [batch.rows.tolist() for batch in in_order] == [[0, 1], [2, 3], [4]]
        assert [batch.rows.tolist() for batch in by_length] == [[1, 3], [4, 2], [0]]


def test_arrays_of_sequences():
    x = np.random.default_rng(0).normal(size=(10, 4, 3))
    y = np.arange(10)
    rows = []
    for batch in fs.Batches(x, y, batch_size=4, seed=0, dtype=np.float32):
        assert batch.x.shape == (4, len(batch.rows), 3) and batch.x.dtype == np.float32
        np.testing.assert_array_equal(batch.x.swapaxes(0, 1), x[batch.rows].astype(np.float32))
        np.testing.assert_array_equal(batch.targets, y[batch.rows], strict=True)
        assert (batch.lengths == 4).all()
        rows += batch.rows.tolist()
    assert sorted(rows) == list(range(10)) != rows


@pytest.mark.parametrize(
    "targets, kind, expected",
    [
        ([5, 6], None, [5, 6]),
        (np.array([0.5, 1.5], np.float32), None, np.array([0.5, 1.5], np.float32)),
        ([[5, 6], [7, 8]], "single", [[5, 6], [7, 8]]),
    ],
)
def test_single_targets(targets, kind, expected):
    (batch,) = fs.Batches([[1], [2, 3]], targets, target_kind=kind, shuffle=False)
    np.testing.assert_array_equal(batch.targets, np.asarray(expected), strict=True)
    assert batch.mask is None


def test_targets_for_each_step_have_a_mask():
    x = [[1, 2, 3], [4], []]
    tags = [[7, 8, 9], [5], []]
    settings = {"shuffle": False, "bucket": False, "target_padding": -1}
    (batch,) = fs.Batches(x, tags, **settings)
    np.testing.assert_array_equal(batch.targets, [[7, 5, -1], [8, -1, -1], [9, -1, -1]])
    np.testing.assert_array_equal(batch.mask, [[1, 1, 0], [1, 0, 0], [1, 0, 0]])
    assert batch.mask.dtype == bool
    (full,) = fs.Batches(x[:1], tags[:1])
    assert full.mask is None
    (vectors,) = fs.Batches([[1, 2], [3]], [np.ones((2, 4)), np.ones((1, 4))], dtype=np.float32)
    assert vectors.targets.shape == (2, 2, 4) and vectors.targets.dtype == np.float32
    assert vectors.mask.sum() == 3 and vectors.targets.sum() == 12


def test_targets_with_lengths_of_their_own():
    spelling, phones = [[1, 2], [3], [4, 5]], [[6], [7, 8, 9], [1]]
    batches = fs.Batches(spelling, phones, target_kind="sequences", shuffle=False)
    (batch,) = batches
    assert batch.rows.tolist() == [1, 0, 2]  # by length of x, then of the target
    np.testing.assert_array_equal(batch.targets, [[7, 6, 1], [8, 0, 0], [9, 0, 0]])
    np.testing.assert_array_equal(batch.mask, [[1, 1, 1], [1, 0, 0], [1, 0, 0]])
    tight = fs.Batches(spelling, phones, target_kind="sequences", shuffle=False, max_tokens=4)
    assert [batch.rows.tolist() for batch in tight] == [[1], [0, 2]]  # 2 * 3 steps are too many


def test_a_batch_can_be_looked_at_without_moving_on():
    batches = fs.Batches(make_sequences(), batch_size=8, seed=0)
    looked_at = [batches[i] for i in range(len(batches))]
    assert_same_batch(batches[-1], looked_at[-1])
    assert batches.position == 0
    assert_same_batches(batches, looked_at)
    with raises(IndexError, "8 batches", "8"):
        batches[8]
    for wrong in ("0", slice(0, 1), 1.0, True):
        with raises(TypeError, "the number of a batch must be an integer", repr(wrong)):
            batches[wrong]


@pytest.mark.parametrize("name", ["batch_size", "max_tokens", "shuffle", "bucket", "steps"])
def test_settings_stay(name):
    """The plan of an epoch follows from them."""
    for batches in (fs.Batches([[1, 2], [3]]), fs.BPTTWindows([1, 2, 3], 1, 1)):
        if hasattr(batches, name):
            before = getattr(batches, name)
            with raises(AttributeError, name, f"make a new {type(batches).__name__}"):
                setattr(batches, name, 2)
            assert getattr(batches, name) == before


def test_batches_hold_no_memory_of_the_data():
    data = [np.array([1, 2]), np.array([3])]
    batches = fs.Batches(data, [5, 6], batch_size=2, seed=0)
    for array in batches[0]:
        if isinstance(array, np.ndarray):
            array.fill(-1)
    assert sorted(batches[0].rows) == [0, 1] and batches[0].x.max() == 3
    assert sorted(batches[0].targets) == [5, 6] and data[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    "arguments, options, error, parts",
    [
        (("ab",), {}, TypeError, ["sequences", "str"]),
        (([["a"]],), {}, TypeError, ["sequences[0]", "numbers", "Vocabulary"]),
        (([[1], [2]], [1]), {}, ValueError, ["targets", "2 sequences", "1"]),
        (([[1], [2]], ["a", "b"]), {}, TypeError, ["targets", "numbers", "Vocabulary"]),
        (([[1], [2]], 3), {}, TypeError, ["targets", "list or an array", "int"]),
        (([[1], [2, 3]], [[1], [2]]), {}, ValueError, ["targets[1] has 1", "sequences[1] has 2"]),
        (([[1]],), {"target_kind": "steps"}, ValueError, ["target_kind='steps' needs targets"]),
        (([[1]],), {"target_kind": "x"}, ValueError, ["target_kind='x' needs targets"]),
        (([[1]], [[1]]), {"target_kind": "step"}, ValueError, ["target_kind", "'step'"]),
        (([[1], [2]], [[1], [2, 3]]), {"target_kind": "single"}, ValueError, ["targets"]),
        (([[1]],), {"batch_size": 0}, ValueError, ["batch_size", "at least 1", "0"]),
        (([[1]],), {"max_tokens": 0}, ValueError, ["max_tokens", "at least 1", "0"]),
        (([[1]],), {"shuffle": 1}, TypeError, ["shuffle", "True or False"]),
        (([[1]],), {"bucket": None}, TypeError, ["bucket", "True or False"]),
        (([[1]],), {"seed": -1}, ValueError, ["seed", "-1"]),
        (([[1]],), {"dtype": np.int64}, ValueError, ["dtype", "float32 or float64", "int64"]),
        (([[1]],), {"padding": 0.5}, ValueError, ["padding", "int64", "0.5"]),
        (([[1]], [[1]]), {"target_padding": 0.5}, ValueError, ["target_padding", "int64"]),
    ],
)
def test_bad_batches(arguments, options, error, parts):
    with raises(error, *parts):
        fs.Batches(*arguments, **options)


def test_a_layer_gives_for_a_batch_what_it_gives_for_each_sequence():
    sequences = [np.random.default_rng(n).normal(size=(n, 3)) for n in (5, 0, 2, 7, 7, 1)]
    gru = fs.GRU(3, 4, dtype=np.float64, seed=0)
    for batch in fs.Batches(sequences, batch_size=4, seed=0):
        y, _ = gru(batch.x, lengths=batch.lengths)
        for place, row in enumerate(batch.rows):
            alone, _ = gru(sequences[row])
            assert_same_output(y[: len(alone), place], alone)


# --- windows of a stream --------------------------------------------------------------------


@pytest.mark.parametrize("positions", [6, 7, 11, 12, 13, 30, 31, 32, 61])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("steps", [1, 3, 7, 100])
def test_every_position_is_a_target_once_in_order(positions, batch_size, steps):
    stream = np.arange(100, 101 + positions)
    batches = fs.BPTTWindows(stream, batch_size, steps, padding=-1, target_padding=-2)
    columns = [[] for _ in range(batch_size)]
    for number, batch in enumerate(batches):
        assert batch.carried == (number > 0)
        mask = np.ones(batch.x.shape, bool) if batch.mask is None else batch.mask
        assert (batch.mask is None) == (batch.lengths is None) and len(batch.x) <= steps
        assert (number + 1 == len(batches)) or (mask.all() and len(batch.x) == steps)
        assert (batch.targets[mask] == batch.x[mask] + 1).all()  # the next token
        assert (batch.x[~mask] == -1).all() and (batch.targets[~mask] == -2).all()
        assert (mask.sum(axis=0) == (len(mask) if batch.lengths is None else batch.lengths)).all()
        assert batch.tokens == mask.sum()
        for column, x, real in zip(columns, batch.x.T, mask.T, strict=True):
            column.extend(x[real].tolist())
    assert list(itertools.chain(*columns)) == stream[:-1].tolist()
    lengths = [len(column) for column in columns]
    assert max(lengths) - min(lengths) <= 1


def test_windows_of_features_with_targets():
    rng = np.random.default_rng(0)
    stream, targets = rng.normal(size=(11, 3)), rng.integers(0, 9, 11)
    first, second = fs.BPTTWindows(stream, 2, 3, targets=targets, dtype=np.float32)
    assert first.x.dtype == np.float32 and first.targets.dtype == targets.dtype
    np.testing.assert_array_equal(first.x[:, 1], stream[6:9].astype(np.float32))
    np.testing.assert_array_equal(first.targets[:, 1], targets[6:9])
    np.testing.assert_array_equal(second.mask, [[1, 1], [1, 1], [1, 0]])
    np.testing.assert_array_equal(second.targets[second.mask], targets[[3, 9, 4, 10, 5]])
    (forecast, *_) = fs.BPTTWindows(stream, 2, 5)
    np.testing.assert_array_equal(forecast.targets[:, 0], stream[1:6])


def test_the_carried_state_makes_windows_one_long_sequence():
    stream = np.random.default_rng(0).normal(size=(24, 3))
    lstm = fs.LSTM(3, 4, dtype=np.float64, seed=0)
    state, outputs = None, []
    for batch in fs.BPTTWindows(stream, 2, 5):
        state = state if batch.carried else None
        y, state = lstm(batch.x, state, batch.lengths)
        outputs.append(y)
    y = np.concatenate(outputs)
    assert_same_output(y[:, 0], lstm(stream[:12])[0])
    assert_same_output(y[:11, 1], lstm(stream[12:23])[0])


@pytest.mark.parametrize(
    "arguments, options, error, parts",
    [
        ((["a", "b"], 1, 1), {}, TypeError, ["stream", "numbers", "Vocabulary"]),
        (([[1], [2, 3]], 1, 1), {}, ValueError, ["stream"]),
        ((5, 1, 1), {}, ValueError, ["stream", "(N, ...)", "5"]),
        (([1, 2, 3], 3, 1), {}, ValueError, ["batch_size", "targets, 2", "3"]),
        (([1], 1, 1), {}, ValueError, ["batch_size", "targets, 0"]),
        (([1, 2], 0, 1), {}, ValueError, ["batch_size", "at least 1"]),
        (([1, 2], 1, 0), {}, ValueError, ["steps", "at least 1"]),
        (([1, 2], 1, 1), {"targets": [1]}, ValueError, ["targets", "2 positions", "(1,)"]),
        (([1, 2], 1, 1), {"targets": 1}, ValueError, ["targets", "2 positions", "()"]),
        (([1, 2], 1, 1), {"padding": 0.5}, ValueError, ["padding", "int64"]),
        (([1, 2], 1, 1), {"dtype": int}, ValueError, ["dtype", "float32 or float64"]),
    ],
)
def test_bad_windows(arguments, options, error, parts):
    with raises(error, *parts):
        fs.BPTTWindows(*arguments, **options)


# --- going on where a run stopped -----------------------------------------------------------


def bucketed(seed):
    sequences = make_sequences()
    return fs.Batches(sequences, sequences, max_tokens=40, seed=seed)


def plain(seed):
    x = np.random.default_rng(0).normal(size=(20, 4, 3))
    return fs.Batches(x, np.arange(20), batch_size=3, bucket=False, seed=seed)


def windows(seed):
    return fs.BPTTWindows(np.arange(50), 3, 4)


KINDS = pytest.mark.parametrize("make", [bucketed, plain, windows])


@KINDS
def test_a_run_resumed_anywhere_gets_the_same_batches(make):
    """Also from a state that went through JSON, and into batches made with another seed."""
    whole = make(seed=1)
    expected, states = [], [whole.state_dict()]
    for _ in range(3):
        for batch in whole:
            expected.append(batch)
            states.append(whole.state_dict())
        assert whole.position == 0
        states[-1] = [states[-1], whole.state_dict()]  # before and after the epoch's end
    for start, saved in enumerate(states):
        for state in saved if isinstance(saved, list) else [saved]:
            resumed = make(seed=2)
            next(iter(resumed))
            resumed.load_state_dict(json.loads(json.dumps(state)))
            found = []
            while resumed.epoch < 3:
                found.extend(resumed)
            assert_same_batches(found, expected[start:])


@KINDS
def test_an_iteration_that_was_left_goes_on(make):
    batches, expected = make(seed=1), list(make(seed=1))
    found = list(itertools.islice(batches, 2))
    assert (batches.epoch, batches.position) == (0, 2)
    found += batches
    assert_same_batches(found, expected)
    assert (batches.epoch, batches.position) == (1, 0)


def test_the_end_of_an_epoch_is_a_place_too():
    batches = plain(seed=0)
    iterator = iter(batches)
    for _ in range(len(batches)):
        next(iterator)
    state = batches.state_dict()
    assert (batches.epoch, batches.position) == (0, len(batches))
    resumed = plain(seed=0)
    resumed.load_state_dict(state)
    assert list(resumed) == [] and resumed.epoch == 1


def test_states_of_other_batches_are_refused():
    def refused(batches, state, error, *parts):
        before = batches.state_dict()
        with raises(error, *parts):
            batches.load_state_dict(state)
        assert batches.state_dict() == before

    batches, state = plain(seed=0), plain(seed=0).state_dict()
    refused(windows(0), state, ValueError, "BPTTWindows", "Batches")
    refused(bucketed(0), state, ValueError, "batch_size = 3", "None", "start anew")
    x = np.random.default_rng(1).normal(size=(20, 4, 3))
    other = fs.Batches(x, np.arange(20), batch_size=3, bucket=False)
    refused(other, state, ValueError, "data_checksum", "same data")
    relabelled = fs.Batches(
        np.random.default_rng(0).normal(size=(20, 4, 3)),
        np.arange(20)[::-1],
        batch_size=3,
        bucket=False,
    )
    refused(relabelled, state, ValueError, "data_checksum")
    floats, column = [np.array([0.5]), np.array([1.5])], np.array([[1], [2]])
    for one, same_bytes in (
        ([[1, 2], [3]], [[1], [2, 3]]),
        ([column, column], [column.T, column.T]),
        (floats, [floats[0].view(np.int64), floats[1]]),
    ):
        state_of_one = fs.Batches(one, batch_size=1).state_dict()
        refused(fs.Batches(same_bytes, batch_size=1), state_of_one, ValueError, "data_checksum")
    longer = fs.BPTTWindows(np.arange(51), 3, 4)
    refused(longer, windows(0).state_dict(), ValueError, "positions = 49", "50")
    refused(batches, None, TypeError, "mapping", "NoneType")
    refused(batches, {"kind": "Batches"}, ValueError, "names", "epoch", "kind")
    refused(batches, state | {"more": 1}, ValueError, "names", "more")
    refused(batches, state | {"position": len(batches) + 1}, ValueError, "position", "8")
    refused(batches, state | {"position": -1}, ValueError, "position", "-1")
    refused(batches, state | {"epoch": 0.5}, TypeError, "epoch", "0.5")
    refused(batches, state | {"position": True}, TypeError, "position", "True")


FLOATS = [np.array([0.5, 1.5]), np.array([2.5])]
STEPS = [[0, 1], [1]]


@pytest.mark.parametrize(
    ("make", "was", "named"),
    [
        (lambda **o: fs.Batches(FLOATS, STEPS, **o), {"padding": 9}, "padding = '9.0'"),
        (lambda **o: fs.Batches(FLOATS, STEPS, **o), {"padding": np.nan}, "padding = 'nan'"),
        (lambda **o: fs.Batches(FLOATS, STEPS, **o), {"target_padding": 9}, "target_padding = '9'"),
        (lambda **o: fs.Batches(FLOATS, STEPS, **o), {"dtype": "float32"}, "dtype = 'float32'"),
        (lambda **o: fs.Batches(STEPS, FLOATS, **o), {"dtype": "float32"}, "target_dtype = "),
        (lambda **o: fs.Batches(STEPS, [0.5, 1], **o), {"dtype": "float32"}, "target_dtype = "),
        (lambda **o: fs.BPTTWindows(np.arange(6), 2, 3, **o), {"padding": 9}, "padding = '9'"),
        (
            lambda **o: fs.BPTTWindows(np.arange(6), 2, 3, **o),
            {"target_padding": 9},
            "target_padding = '9'",
        ),
        (
            lambda **o: fs.BPTTWindows(np.arange(6.0), 2, 3, **o),
            {"dtype": "float32"},
            "dtype = 'float32'",
        ),
    ],
)
def test_states_of_batches_that_are_filled_otherwise_are_refused(make, was, named):
    state = json.loads(json.dumps(make(**was).state_dict()))
    make(**was).load_state_dict(state)
    with raises(ValueError, f"saved with {named}", "start anew"):
        make().load_state_dict(state)


def test_an_equal_padding_is_no_other_setting():
    state = fs.Batches(FLOATS, padding=0).state_dict()
    fs.Batches(FLOATS, padding=np.float64(0), dtype="float64").load_state_dict(state)


RUN = """
import json, os, signal, sys
import numpy as np, fastseq as fs
from fastseq import files

folder, kills = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
x = [rng.normal(size=(n, 2)) for n in rng.integers(1, 9, 40)]
batches = fs.prefetch(fs.Batches(x, max_tokens=25, seed=5))
path = os.path.join(folder, "state.json")
total, updates = 0.0, 0
if os.path.exists(path):
    saved = json.load(open(path))
    total, updates = saved["total"], saved["updates"]
    batches.load_state_dict(saved["batches"])
while updates < 40:
    for batch in batches:
        total = total * 0.9 + float(batch.x.sum())  # depends on the order
        updates += 1
        saved = {"total": total, "updates": updates, "batches": batches.state_dict()}
        files.write_atomically(path, json.dumps(saved).encode())
        if kills and updates % 13 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if updates == 40:
            break
print(total.hex())
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_ends_like_one_that_ran_through(tmp_path):
    def run(folder, kills):
        folder.mkdir(exist_ok=True)
        code = f"import sys; sys.argv = ['', {str(folder)!r}, '{kills}']\n{RUN}"
        return run_python(code, FASTSEQ_BACKEND="numpy")

    whole = run(tmp_path / "whole", 0)
    assert whole.returncode == 0, whole.stderr
    for _ in range(3):
        assert run(tmp_path / "killed", 1).returncode == -signal.SIGKILL
    last = run(tmp_path / "killed", 1)
    assert last.returncode == 0, last.stderr
    assert last.stdout == whole.stdout
