"""Prefetching: order, errors at their place, no thread left, the state of what was consumed."""

import copy
import itertools
import os
import pickle
import signal
import sys
import threading
import time

import numpy as np
import pytest
from helpers import raises, run_python

import fastseq as fs


def threads():
    return [t for t in threading.enumerate() if t.name == "fastseq-prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    assert not threads()
    yield
    assert not threads()


def make_batches(**settings):
    sequences = [[n] * (n % 5 + 1) for n in range(20)]
    return fs.Batches(sequences, **({"batch_size": 2, "seed": 0} | settings))


def rows(batches):
    return [batch.rows.tolist() for batch in batches]


class Failing:
    """Counts up to ``count``, but fails once at each place in ``failures``."""

    def __init__(self, count, failures):
        self.count, self.failures, self.position = count, set(failures), 0

    def __iter__(self):
        while self.position < self.count:
            if self.position in self.failures:
                self.failures.discard(self.position)
                raise OSError(f"no item {self.position}")
            self.position += 1
            yield self.position - 1
        self.position = 0

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


# --- items ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_the_same_items_in_the_same_order(size, count):
    ahead = fs.prefetch(list(range(count)), size)
    for _ in range(2):
        assert list(ahead) == list(range(count))
    assert len(ahead) == count


def test_epochs_are_those_of_the_batches():
    ahead, batches = fs.prefetch(make_batches()), make_batches()
    for _ in range(3):
        assert rows(ahead) == rows(batches)
        assert ahead.state_dict() == batches.state_dict()


def test_items_are_made_in_another_thread_while_one_is_in_use():
    second_is_made = threading.Event()
    makers = set()

    def items():
        for n in range(2):
            makers.add(threading.get_ident())
            if n == 1:
                second_is_made.set()
            yield n

    for n in fs.prefetch(items()):
        if n == 0:
            assert second_is_made.wait(60)
    assert makers and threading.get_ident() not in makers


@pytest.mark.parametrize("size", [1, 3])
def test_no_more_items_are_made_ahead_than_asked_for(size):
    made = []

    def items():
        for n in range(30):
            made.append(n)
            yield n

    full = []
    for n in fs.prefetch(items(), size):
        expected = min(30, n + 1 + size)
        deadline = time.monotonic() + 60
        while len(made) < expected and time.monotonic() < deadline:
            time.sleep(0.001)
        full.append(len(made) == expected)
    assert all(full) and len(full) == 30


def test_the_length_is_that_of_the_epoch_under_way():
    batches = make_batches(batch_size=None, max_tokens=9)
    lengths = []
    for _ in range(5):
        lengths.append(len(batches))
        list(batches)
    assert len(set(lengths)) > 1
    ahead = fs.prefetch(make_batches(batch_size=None, max_tokens=9), 1000)
    for expected in lengths:
        found = [len(ahead) for _ in ahead]
        assert found == [expected] * expected


def test_an_iterator_has_no_length():
    ahead = fs.prefetch(iter([1, 2]))
    for expected in ([1, 2], []):
        with raises(TypeError, "number of items is not known", "list_iterator has no length"):
            len(ahead)
        assert [*ahead] == expected


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_copies_are_made_between_iterations(duplicate):
    ahead = fs.prefetch(make_batches())
    iteration = iter(ahead)
    next(iteration)
    with raises(TypeError, "while an iteration is under way", "close() first"):
        duplicate(ahead)
    iteration.close()
    duplicate(ahead)
    assert len(list(copy.deepcopy(ahead))) == len(list(ahead))


@pytest.mark.parametrize(
    "arguments, error, parts",
    [
        ((5,), TypeError, ["iterable", "int"]),
        (([], 0), ValueError, ["size", "at least 1", "0"]),
        (([], 1.5), TypeError, ["size", "integer", "1.5"]),
    ],
)
def test_bad_arguments(arguments, error, parts):
    with raises(error, *parts):
        fs.prefetch(*arguments)


# --- errors, and ends before the end --------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1, 4])
def test_an_error_comes_where_its_item_would_have_come(place):
    ahead, found = fs.prefetch(Failing(5, {place} if place < 5 else ())), []
    with pytest.raises(OSError, match=f"no item {place}") as caught:
        for item in ahead:
            found.append(item)
    assert found == list(range(place)) and ahead.state_dict() == {"position": place}
    assert "Failing" in str(caught.traceback[-1].frame.f_locals["self"])  # where it arose
    assert not threads()
    assert list(ahead) == list(range(place, 5))  # it goes on where it stopped


def test_an_iterable_that_cannot_begin():
    class Wrong:
        def __iter__(self):
            raise OSError("no file")

    with pytest.raises(OSError, match="no file"):
        list(fs.prefetch(Wrong()))


def test_break_ends_the_thread_and_nothing_is_lost():
    batches = make_batches()
    ahead, expected = fs.prefetch(batches, 3), rows(make_batches())
    found = []
    while len(found) < len(expected):
        for batch in ahead:
            found.append(batch.rows.tolist())
            if len(found) % 3 == 0:
                break
        assert not threads()
        assert batches.state_dict() == ahead.state_dict()
    assert found == expected


def test_items_of_an_iterator_are_kept():
    ahead = fs.prefetch(iter(range(10)), 4)
    found = []
    for stop in (1, 2, 3, 99):
        for item in ahead:
            found.append(item)
            if item == stop:
                break
        assert not threads()
    assert found == list(range(10))
    assert list(ahead) == []


def test_an_error_in_the_loop_ends_the_thread():
    ahead = fs.prefetch(make_batches())
    try:
        for _ in ahead:
            raise KeyError("mine")
    except KeyError as error:
        assert not threads()  # though the error's traceback is still there
        assert error.args == ("mine",)
    assert ahead.state_dict()["position"] == 1


def test_close_and_with():
    with fs.prefetch(make_batches()) as ahead:
        iterator = iter(ahead)
        next(iterator)
        assert threads()
    assert not threads()
    with raises(RuntimeError, "ended", "close()"):
        next(iterator)
    ahead.close()
    assert ahead.state_dict()["position"] == 1
    assert rows(ahead) == rows(make_batches())[1:]


def test_a_second_iteration_ends_the_first():
    ahead, expected = fs.prefetch(make_batches()), rows(make_batches())
    first = iter(ahead)
    assert next(first).rows.tolist() == expected[0]
    second = iter(ahead)
    assert next(second).rows.tolist() == expected[1]
    with raises(RuntimeError, "ended", "began later"):
        next(first)
    assert rows(second) == expected[2:]


def test_an_iteration_that_is_forgotten_ends():
    def forget():
        iterator = iter(fs.prefetch(make_batches()))
        next(iterator)

    forget()
    assert not threads()
    iter(fs.prefetch(make_batches()))  # never begun


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("waiting", [True, False])
def test_keyboard_interrupt(waiting):
    """While the consumer waits for an item, or works on one."""
    waiter = threading.Event()

    class Slow(Failing):
        def __iter__(self):
            for item in super().__iter__():
                if item == 3 and waiting and not waiter.is_set():
                    waiter.set()
                    time.sleep(0.05)  # the consumer most likely waits by now
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.05)
                yield item

    ahead, found = fs.prefetch(Slow(6, ()), 1), []
    with pytest.raises(KeyboardInterrupt):
        for item in ahead:
            found.append(item)
            if item == 3 and not waiting:
                signal.raise_signal(signal.SIGINT)
    assert not threads()
    assert ahead.state_dict() == {"position": len(found)}
    assert found + list(ahead) == list(range(6))


def test_a_program_ends_while_a_thread_is_at_work():
    code = """
import itertools, fastseq as fs
iterator = iter(fs.prefetch(itertools.count()))
next(iterator)
kept = [iterator]
kept.append(kept)
print("end")
"""
    done = run_python(code, FASTSEQ_BACKEND="numpy")
    assert (done.stdout, done.stderr, done.returncode) == ("end\n", "", 0)


# --- states ---------------------------------------------------------------------------------


def test_the_state_is_that_of_the_consumed_items():
    plain, ahead = make_batches(), fs.prefetch(make_batches(), 5)
    assert ahead.state_dict() == plain.state_dict()
    for _ in range(2):
        for expected, batch in zip(plain, ahead, strict=True):
            assert batch.rows.tolist() == expected.rows.tolist()
            assert ahead.state_dict() == plain.state_dict()
        assert ahead.state_dict() == plain.state_dict()


def test_a_run_is_resumed_from_any_state():
    ahead = fs.prefetch(make_batches(), 3)
    states, expected = [], []
    for _ in range(2):
        for batch in ahead:
            expected.append(batch.rows.tolist())
            states.append(ahead.state_dict())
    for done, state in enumerate(states, 1):
        resumed = fs.prefetch(make_batches(seed=9), 2)
        resumed.load_state_dict(state)
        found = []
        while resumed.state_dict()["epoch"] < 2:
            found += rows(resumed)
        assert found == expected[done:]


def test_loading_a_state_ends_the_iteration_under_way():
    ahead = fs.prefetch(make_batches())
    state = ahead.state_dict()
    for number, _ in enumerate(ahead):
        if number == 3:
            break
    iterator = iter(ahead)
    next(iterator)
    ahead.load_state_dict(state)
    assert not threads()
    with raises(RuntimeError, "ended"):
        next(iterator)
    assert rows(ahead) == rows(make_batches())


def test_what_has_no_state():
    ahead = fs.prefetch([1, 2])
    with raises(TypeError, "list has no state", "state_dict"):
        ahead.state_dict()
    with raises(TypeError, "list has no state"):
        ahead.load_state_dict({})


# --- forks ----------------------------------------------------------------------------------

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
forks = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # about threads


def in_a_child(work):
    """Whether work() is true in a forked child."""
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


@fork
@forks
def test_an_iteration_goes_on_in_parent_and_child():
    ahead, expected = fs.prefetch(make_batches(), 3), rows(make_batches())
    iterator = iter(ahead)
    found = rows(itertools.islice(iterator, 4))
    assert in_a_child(lambda: found + rows(iterator) == expected and not threads())
    assert found + rows(iterator) == expected


@fork
@forks
def test_without_a_state_a_child_is_told():
    iterator = iter(fs.prefetch(list(range(9))))
    next(iterator)

    def told():
        with raises(RuntimeError, "fork", "begin it in the child"):
            next(iterator)
        return True

    assert in_a_child(told)
    assert list(iterator) == list(range(1, 9))


@fork
@forks
def test_a_child_may_close_and_begin_anew():
    ahead = fs.prefetch(make_batches())
    iterator = iter(ahead)
    next(iterator)

    def close_and_go_on():
        ahead.close()
        return rows(ahead) == rows(make_batches())[1:]

    assert in_a_child(close_and_go_on)
    assert rows(iterator) == rows(make_batches())[1:]


def test_many_iterations_leave_nothing_behind():
    before = threading.active_count()
    ahead = fs.prefetch(make_batches(), 2)
    found = []
    for stop in np.random.default_rng(0).integers(1, 12, 200):
        found += rows(itertools.islice(ahead, int(stop)))
    batches, expected = make_batches(), []
    while len(expected) < len(found):
        expected += rows(batches)
    assert found == expected[: len(found)]
    assert threading.active_count() == before
