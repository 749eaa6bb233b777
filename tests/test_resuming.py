"""Runs that were stopped, in whatever way: they end as if they had not been.

``FASTSEQ_TEST_KILLS`` says how often the last test kills its runs.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import raises
from training_cases import RUNS, Shuffled, Writer, make_windows, outcome

import fastseq as fs
from fastseq import checkpoint
from fastseq.training import arguments

KILLS = int(os.environ.get("FASTSEQ_TEST_KILLS", "5"))

all_runs = pytest.mark.parametrize("name", RUNS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Without bringing bytes to the disk, which takes long and can't be seen by these tests."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def run_whole(name, **options):
    """A run without a checkpoint."""
    run = RUNS[name]() | options
    return outcome(run, fs.fit(**run))


class Crash(Exception):
    pass


class CrashAt:
    """Ends the run with an error after some update, or epoch, before what would come next."""

    def __init__(self, update=None, epoch=None):
        self.update, self.epoch = update, epoch

    def on_update(self, trainer):
        if trainer.update == self.update:
            raise Crash

    def on_epoch(self, trainer):
        if trainer.epoch == self.epoch:
            raise Crash


def crash(run, path, *, every=0, **where):
    """Begin, or go on, until the crash."""
    with pytest.raises(Crash):
        fs.fit(**run, checkpoint=path, checkpoint_every=every, callbacks=[CrashAt(**where)])


def go_on(name, path, **options):
    """Go on with everything made anew, as another process would."""
    run = RUNS[name]() | options
    return outcome(run, fs.fit(**run, checkpoint=path, checkpoint_every=1e9))


# --- crashes --------------------------------------------------------------------------------


@all_runs
def test_a_crash_after_any_update(name, path):
    """Each run goes on where the one before was stopped, one update later."""
    expected = run_whole(name)
    updates = len(fs.fit(**RUNS[name]()).loss)
    for update in range(1, updates + 1):
        crash(RUNS[name](), path, update=update)
        assert go_on(name, copy_of(path)) == expected, update


def copy_of(path):
    target = path.with_name("copy.safetensors")
    target.write_bytes(path.read_bytes())
    return target


@all_runs
@pytest.mark.parametrize("every", [2, 3, 7])
def test_checkpoints_that_are_rare(name, every, path, monkeypatch):
    """What came after the last one is done again."""
    expected, calls = run_whole(name), []

    def is_due(saver):
        calls.append(1)
        return saver.is_wanted and len(calls) % every == 0

    monkeypatch.setattr(arguments.Saver, "is_due", is_due)
    for update in range(5, 20, 4):
        crash(RUNS[name](), path, update=update)
    assert go_on(name, path) == expected


@all_runs
def test_a_crash_after_an_epoch(name, path):
    expected = run_whole(name)
    for epoch in (1, 2, 3):
        crash(RUNS[name](), path, epoch=epoch)
        assert len(fs.History.load(path).epoch_end) == epoch - 1
        assert go_on(name, copy_of(path)) == expected


@all_runs
def test_a_crash_within_the_validation(name, path):
    expected = run_whole(name)
    for batch in range(4):
        run, seen = RUNS[name](), []
        inner = run["model"].loss

        def loss(held_out, seen=seen, batch=batch, inner=inner):
            seen.append(1)
            if len(seen) > batch:
                raise Crash
            return inner(held_out)

        run["model"].loss = loss
        with pytest.raises(Crash):
            fs.fit(**run, checkpoint=path, checkpoint_every=0)
    assert go_on(name, path) == expected


def test_a_crash_before_the_first_update(path):
    """The checkpoint has the parameters that the run began with."""
    expected = run_whole("stream")
    run = RUNS["stream"]()
    run["model"].loss_and_grad = None
    with pytest.raises(TypeError):
        fs.fit(**run, checkpoint=path)
    run = RUNS["stream"]()
    run["model"].parameters.flat[:] = 0
    assert outcome(run, fs.fit(**run, checkpoint=path)) == expected


def test_states_of_callbacks(path):
    """Whatever has a state takes part."""

    class Noise:
        """Changes the learning rate at random."""

        def __init__(self):
            self.rng = np.random.default_rng(0)

        def on_update(self, trainer):
            trainer.optimizer.lr = float(self.rng.random())

        def state_dict(self):
            return self.rng.bit_generator.state

        def load_state_dict(self, state):
            self.rng.bit_generator.state = state

    expected = run_whole("sequences", callbacks=[Noise()], schedule=None)
    for update in (3, 7, 12):
        run = RUNS["sequences"]() | {"callbacks": [Noise(), CrashAt(update)], "schedule": None}
        with pytest.raises(Crash):
            fs.fit(**run, checkpoint=path, checkpoint_every=0)
    with raises(ValueError, f"{path}: the run has 1 callbacks with a state, but here are 0"):
        go_on("sequences", path, schedule=None)
    assert go_on("sequences", path, callbacks=[Noise()], schedule=None) == expected


# --- Ctrl-C, and runs that have ended -------------------------------------------------------


@all_runs
def test_interrupted_runs_go_on(name, path, capsys):
    expected = run_whole(name)
    for count in (1, 4, 3, 6):  # updates, the last of them at the end of an epoch or within
        run, seen = RUNS[name](), []
        inner = run["model"].loss_and_grad

        def loss_and_grad(batch, seen=seen, count=count, inner=inner):
            seen.append(1)
            if len(seen) == count:
                signal.raise_signal(signal.SIGINT)
            return inner(batch)

        run["model"].loss_and_grad = loss_and_grad
        assert fs.fit(**run, checkpoint=path).stopped == "interrupted"
        assert "call fit again to go on" in capsys.readouterr().err
    assert go_on(name, path) == expected


@all_runs
def test_runs_interrupted_within_the_validation_go_on(name, path):
    expected = run_whole(name)
    for _ in range(3):
        run = RUNS[name]()
        inner = run["model"].loss

        def loss(batch, inner=inner):
            signal.raise_signal(signal.SIGINT)
            return inner(batch)

        run["model"].loss = loss
        history = fs.fit(**run, checkpoint=path)
        assert history.stopped == "interrupted" and not history.validation
    assert go_on(name, path) == expected


def test_an_interrupt_amidst_an_update_leaves_the_last_checkpoint(path):
    """Raised by something else than Ctrl-C in the main thread, as soon as it is there."""
    expected = run_whole("stream")
    run, seen = RUNS["stream"](), []
    inner = run["model"].loss_and_grad

    def loss_and_grad(batch):
        seen.append(1)
        loss = inner(batch)  # dropout has drawn its numbers
        if len(seen) == 4:
            raise KeyboardInterrupt
        return loss

    run["model"].loss_and_grad = loss_and_grad
    assert fs.fit(**run, checkpoint=path).stopped == "interrupted"
    assert len(fs.History.load(path).loss) == 0
    assert go_on("stream", path) == expected


@all_runs
def test_a_run_that_has_ended_is_returned(name, path):
    expected = go_on(name, path)
    assert expected == run_whole(name)
    before = path.read_bytes()
    assert go_on(name, path) == expected
    assert path.read_bytes() == before


@all_runs
def test_more_epochs(name, path):
    """It goes on from the last parameters, not from the best."""
    go_on(name, path, epochs=2)
    assert go_on(name, path, epochs=5) == run_whole(name, epochs=5)


def test_more_patience(path):
    assert "patience" in go_on("sequences", path, patience=2)
    assert go_on("sequences", path) == run_whole("sequences")


def test_runs_that_a_callback_has_ended_stay_ended(path):
    class Stop:
        def on_update(self, trainer):
            if trainer.update == 7:
                trainer.stop()

    expected = go_on("stream", path, callbacks=[Stop()])
    assert '"callback"' in expected
    assert go_on("stream", path) == expected


def test_what_resume_means(path):
    with raises(FileNotFoundError, str(path)):
        go_on("stream", path, resume=True)
    crash(RUNS["stream"](), path, update=3)
    assert len(fs.History.load(path).loss) == 2  # the third came to no checkpoint
    go_on("stream", path, resume=True, epochs=1)
    before = fs.History.load(path)
    assert len(before.loss) == 5
    run = RUNS["stream"]() | {"epochs": 1}
    run["model"].parameters.flat[:] = 0
    fs.fit(**run, checkpoint=path, resume=False)
    assert fs.History.load(path).loss != before.loss


def test_time_goes_on_where_it_was(path):
    crash(RUNS["stream"](), path, epoch=2)
    (first,) = fs.History.load(path).seconds
    spent = checkpoint.load_checkpoint(path)["run"]["seconds"]  # in the second epoch
    time.sleep(0.3)
    seconds = fs.fit(**RUNS["stream"](), checkpoint=path).seconds
    assert seconds[0] == first and len(seconds) == 4
    assert spent < seconds[1] < spent + 0.3


# --- checkpoints that don't fit -------------------------------------------------------------


def snapshot(run):
    """All that loading a checkpoint could change."""
    states = [run["batches"].state_dict()] if isinstance(run["batches"], Shuffled) else []
    return outcome(run, fs.History()) + json.dumps(states)


def refuses(path, run, *parts):
    """Expect an error, and that nothing at all has changed."""
    before, file = snapshot(run), path.read_bytes()
    with raises(ValueError, *parts):
        fs.fit(**run, checkpoint=path)
    assert snapshot(run) == before and path.read_bytes() == file


def set_lr(run):
    run["optimizer"].lr = 0.5


def other_model(run):
    run["model"] = Writer(9)
    run["optimizer"] = fs.SGD(run["model"].parameters)
    run["schedule"] = None


def other_settings(run):
    run["model"].settings["dropout"] = 0.9


def other_optimizer(run):
    run["optimizer"] = fs.Adam(run["model"].parameters, 2.0)
    run["schedule"] = None


def fewer_batches(run):
    run["batches"] = Shuffled(run["batches"].items[:-1], 5)


def other_validation(run):
    run["validation"] = Shuffled(run["validation"].items[:-1], 6)


def as_list(run):
    run["batches"] = make_windows(2, 0)


OTHERS = {
    "model": (other_model, ["made for another model", "Writer"]),
    "settings": (other_settings, ["settings.dropout = 0.3, but here it is 0.9", "delete the file"]),
    "lr": (set_lr, ["optimizer.initial_lr = 2.0, but here it is 0.5"]),
    "optimizer": (other_optimizer, ["optimizer = 'SGD', but here it is 'Adam'"]),
    "max_norm": (lambda run: run.update(max_norm=9), ["max_norm = inf, but here it is 9.0"]),
    "schedule": (lambda run: run.update(schedule=None), ["schedule = 'ReduceLROnPlateau'", "None"]),
    "mode": (lambda run: run.update(mode="max", schedule=None), ["schedule"]),
    "batches": (fewer_batches, ["saved with 4 items, here are 3"]),
    "list": (as_list, ["begun with None batches in a list, but here are 2"]),
    "validation": (other_validation, ["saved with 3 items, here are 2"]),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_another_run(other, path):
    """Whatever is wrong with it, nothing has changed then."""
    crash(RUNS["sequences"](), path, update=6)
    change, parts = OTHERS[other]
    run = RUNS["sequences"]()
    change(run)
    refuses(path, run, *parts)


def test_damaged_checkpoints(path):
    crash(RUNS["sequences"](), path, update=6)
    good = path.read_bytes()
    damages = {
        "truncated": good[: len(good) // 2],
        "corrupted": good[:-9] + b"\xff" + good[-8:],
        "not a safetensors file": b"PK\x03\x04" + good,
    }
    for what, data in damages.items():
        path.write_bytes(data)
        refuses(path, RUNS["sequences"](), f"{path}: {what}")
    model = RUNS["sequences"]()["model"]
    fs.save_model(model, path)
    refuses(path, RUNS["sequences"](), f"{path}: holds a model")


def test_a_failure_amidst_loading_changes_nothing(path, monkeypatch):
    crash(RUNS["stream"](), path, update=6)
    monkeypatch.setattr(fs.AveragedParameters, "load_state_dict", failing(1))
    refuses(path, RUNS["stream"](), "some state is wrong")


def failing(times):
    """A load_state_dict that fails at first, and then does nothing."""
    left = [times]

    def load_state_dict(self, state):
        if left[0]:
            left[0] -= 1
            raise ValueError("some state is wrong")

    return load_state_dict


# --- full disks -----------------------------------------------------------------------------


@all_runs
def test_a_disk_that_becomes_full(name, path, monkeypatch):
    expected, written = run_whole(name), []
    replace = os.replace

    def replace_until_full(temporary, target):
        written.append(1)
        if len(written) == 8:
            raise OSError(28, "No space left on device")
        replace(temporary, target)

    monkeypatch.setattr(os, "replace", replace_until_full)
    run = RUNS[name]()
    with raises(OSError, "can't be written: No space left on device", str(path)):
        fs.fit(**run, checkpoint=path, checkpoint_every=0)
    assert len(fs.History.load(path).loss) == 5
    assert go_on(name, path) == expected


def test_a_last_checkpoint_that_fails_leaves_the_best_model(path, monkeypatch):
    run, twin = RUNS["sequences"](), RUNS["sequences"]()
    fs.fit(**twin)
    replace = os.replace

    def replace_nothing(temporary, target):
        if os.path.exists(target):
            raise OSError(28, "No space left on device")
        replace(temporary, target)

    monkeypatch.setattr(os, "replace", replace_nothing)
    with raises(OSError, "No space left"):
        fs.fit(**run, checkpoint=path, checkpoint_every=1e9)
    expected = twin["model"].parameters.flat
    np.testing.assert_array_equal(run["model"].parameters.flat, expected)


# --- kill -9 --------------------------------------------------------------------------------

CHILD = """
import os, signal, sys
import fastseq as fs
from training_cases import RUNS, outcome

name, path, where = sys.argv[1:]
if where:  # before or after one of the calls by which a file takes the place of another
    function, count, when = where.split()
    inner, calls = getattr(os, function), []
    def call(*args):
        calls.append(1)
        if len(calls) == int(count) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        inner(*args)
        if len(calls) == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
    setattr(os, function, call)
run = RUNS[name]()
print("begins", file=sys.stderr, flush=True)
history = fs.fit(**run, checkpoint=path, checkpoint_every=0)
print(outcome(run, history))
"""


def start(name, path, where=""):
    # -P: "-c" would look for packages in the current folder first, which may be the source's
    command = [sys.executable, "-P", "-c", CHILD, name, str(path), where]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, env=environment, text=True)


@pytest.mark.parametrize(
    ("where", "updates"), [("fsync 9 before", 3), ("replace 9 before", 6), ("replace 9 after", 7)]
)
def test_killed_while_a_file_takes_the_place_of_another(where, updates, path):
    child = start("stream", path, where)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    left = [name for name in os.listdir(path.parent) if name != path.name]
    assert len(left) == (0 if "after" in where else 1)
    assert len(fs.History.load(path).loss) == updates
    assert go_on("stream", path) == run_whole("stream")
    assert os.listdir(path.parent) == [path.name]


def test_killed_at_random_moments(path):
    """Until it was killed so many times; a run that comes to its end is followed by another."""
    expected = {name: run_whole(name) for name in RUNS}
    rng, kills, ends = random.Random(), 0, 0
    name = "stream"
    while kills < KILLS or not ends or path.exists():
        child = start(name, path)
        while child.stderr.readline() not in ("begins\n", ""):
            pass  # a warning, perhaps
        try:
            out, _ = child.communicate(timeout=rng.uniform(0, 0.1) if kills < KILLS else 60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            kills += 1
            continue
        assert child.returncode == 0 and out == expected[name] + "\n"
        path.unlink()
        ends, name = ends + 1, "sequences" if name == "stream" else "stream"
    assert os.listdir(path.parent) == []
