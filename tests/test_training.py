"""The fit loop: what it does in which order, what it keeps, and how it ends."""

import io
import math
import re
import signal
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import raises
from training_cases import Reporter, Shuffled, Writer, make_windows

import fastseq as fs
from fastseq import progress

BATCHES = make_windows(5, seed=1)
HELD_OUT = make_windows(2, seed=2)


def make(lr=0.1, **options):
    """A model without dropout, and plain gradient descent."""
    model = Writer(**{"dropout": 0.0} | options)
    return model, fs.SGD(model.parameters, lr)


def fit(model, optimizer, batches=BATCHES, **options):
    return fs.fit(model, batches, optimizer=optimizer, **options)


class Scripted(fs.Module):
    """Losses and validation as they are told, and a gradient of ones."""

    def __init__(self, values=(), losses=None):
        super().__init__(rnn=fs.RNN(1, 1, dtype=np.float64, seed=0))
        self.values, self.losses = iter(values), losses and iter(losses)
        self.parameters.flat[:] = 0
        self.seen = []

    def loss_and_grad(self, batch):
        self.seen.append(batch)
        self.parameters.flat_grad += 1
        return next(self.losses) if self.losses else 1.0

    def validate(self):
        return next(self.values)


def fit_scripted(values, **options):
    """One update an epoch, each of which adds 1 to all parameters."""
    model = Scripted(values)
    options = {"optimizer": fs.SGD(model.parameters, 1.0), "epochs": len(values)} | options
    history = fs.fit(model, [0], validation=model.validate, **options)
    return history, -model.parameters.flat[0]


# --- the loop -------------------------------------------------------------------------------


@pytest.mark.parametrize("every", ["update", "epoch"])
@pytest.mark.parametrize("max_norm", [None, 0.3])
def test_it_is_the_loop_that_one_would_write(every, max_norm):
    def begin():
        model = Writer(seed=3)
        adam = fs.Adam(model.parameters, 0.05)
        return model, adam, fs.ExponentialLR(adam, 0.8)

    model, adam, schedule = begin()
    losses, norms, lrs = [], [], []
    for _ in range(3):
        for batch in BATCHES:
            model.parameters.zero_grad()
            losses.append(model.loss_and_grad(batch))
            norms.append(float(np.linalg.norm(model.parameters.flat_grad.astype(float))))
            lrs.append(adam.lr)
            adam.step(max_norm=max_norm)
            if every == "update":
                schedule.step()
        if every == "epoch":
            schedule.step()
    expected = model.parameters.flat

    model, adam, schedule = begin()
    options = {"max_norm": max_norm, "schedule": schedule, "schedule_every": every}
    history = fit(model, adam, epochs=3, **options)
    np.testing.assert_array_equal(model.parameters.flat, expected)
    assert (history.loss, history.lr) == (losses, lrs)
    np.testing.assert_allclose(history.norm, norms, rtol=1e-6)
    assert history.epoch_end == [5, 10, 15] and len(history.seconds) == 3
    assert history.stopped == "epochs" and history.best_epoch is None and not history.validation


def test_means_count_each_batch_by_its_size():
    sizes = np.array([batch.tokens for batch in BATCHES])
    assert len(set(sizes)) == 2
    history = fit(*make(lr=0.0))
    assert history.epoch_loss == [pytest.approx(np.average(history.loss, weights=sizes), rel=1e-12)]

    model, sgd = make(lr=0.0)
    model.count = lambda batch: len(batch.x)
    lengths = [len(batch.x) for batch in BATCHES]
    history = fit(model, sgd)
    assert history.epoch_loss == [pytest.approx(np.average(history.loss, weights=lengths))]

    model = Scripted(losses=[1.0, 2.0, 6.0])  # batches without a number of tokens
    history = fs.fit(model, "abc", optimizer=fs.SGD(model.parameters))
    assert history.epoch_loss == [3.0] and model.seen == ["a", "b", "c"]


def test_batches_come_anew_in_each_epoch():
    class Countdown:
        """Without a length or a state."""

        def __iter__(self):
            return iter([3, 2, 1])

    model = Scripted()
    fs.fit(model, Countdown(), optimizer=fs.SGD(model.parameters), epochs=2)
    assert model.seen == [3, 2, 1, 3, 2, 1]
    shuffled = Shuffled(list(range(6)), seed=0)
    model = Scripted()
    fs.fit(model, shuffled, optimizer=fs.SGD(model.parameters), epochs=2)
    assert sorted(model.seen[:6]) == sorted(model.seen[6:]) == list(range(6))
    assert model.seen[:6] != model.seen[6:] and shuffled.epoch == 2


def test_iterators_are_wound_up():
    """As those of a prefetcher must be, since a thread works for them."""
    ends = []

    class Watched:
        def __iter__(self):
            try:
                yield from range(5)
            finally:
                ends.append("end")

    def give_up(trainer):
        raise RuntimeError("enough")

    class Updates:
        on_update = staticmethod(give_up)

    model = Scripted()
    with raises(RuntimeError, "enough") as caught:
        fs.fit(model, Watched(), optimizer=fs.SGD(model.parameters), callbacks=[Updates()])
    assert ends == ["end"] and caught.traceback  # which still holds all frames


# --- validation, and the best model ---------------------------------------------------------


def test_validation_is_the_mean_over_all_batches():
    model, sgd = make()
    seen = []
    history = fit(
        model,
        sgd,
        epochs=2,
        validation=HELD_OUT,
        callbacks=[lambda trainer: seen.append(model.parameters.flat.copy())],
    )
    for value, flat in zip(history.validation, seen, strict=True):
        copy = Writer(dropout=0.0)
        copy.parameters.flat[:] = flat
        losses = [copy.loss(batch) for batch in HELD_OUT]
        sizes = [batch.tokens for batch in HELD_OUT]
        assert value == pytest.approx(np.average(losses, weights=sizes), rel=1e-12)


def test_validation_leaves_training_as_it_is():
    """Dropout draws the same numbers, and the state is carried on from where it was."""

    class Halves:
        """An epoch that ends amidst the stream."""

        def __init__(self):
            self.halves = [BATCHES[:2], BATCHES[2:]]

        def __iter__(self):
            self.halves.reverse()
            return iter(self.halves[1])

    class InPlace(Writer):
        """Validates in the very arrays that it carries on."""

        def loss(self, batch):
            kept = self.state
            loss = super().loss(batch)
            if kept is not None:
                for array, new in zip(kept, self.state, strict=True):
                    array[:] = new
                self.state = kept
            return loss

    results = []
    for validation in (None, HELD_OUT):
        model = InPlace(dropout=0.5)
        sgd = fs.SGD(model.parameters, 0.1)
        history = fit(model, sgd, Halves(), epochs=2, validation=validation, keep_best=False)
        results.append((history.loss, model.parameters.flat.tolist(), model.random_state))
    assert results[0] == results[1]


def test_the_best_model_is_kept():
    history, value = fit_scripted([5.0, 3.0, math.nan, 4.0, 3.0])
    assert (value, history.best_epoch) == (2, 2)
    assert history.validation[:2] == [5.0, 3.0] and len(history.validation) == 5
    assert fit_scripted([5.0, 3.0, 4.0], keep_best=False)[1] == 3
    assert fit_scripted([5.0, 3.0, 7.0, 4.0], mode="max")[1] == 3
    history, value = fit_scripted([math.nan, math.nan])
    assert (value, history.best_epoch) == (2, None)


def test_patience():
    history, value = fit_scripted([5.0, 3.0, 4.0, 3.0, 2.0], patience=2)
    assert history.stopped == "patience" and history.validation == [5.0, 3.0, 4.0, 3.0]
    assert (value, history.best_epoch) == (2, 2)
    history, value = fit_scripted([5.0, 3.0, 4.0, 2.0, 2.5], patience=2)
    assert history.stopped == "epochs" and (value, history.best_epoch) == (4, 4)
    history, _ = fit_scripted([1.0, 2.0, 1.0, 0.5], patience=2, mode="max")
    assert history.stopped == "patience" and history.best_epoch == 2


def test_a_schedule_on_plateaus_goes_by_the_validation():
    values = [3.0, 2.0, 2.0, 1.0, 1.5]
    model = Scripted(values)
    sgd = fs.SGD(model.parameters, 1.0)
    schedule = fs.ReduceLROnPlateau(sgd, factor=0.5, patience=0)
    options = {"optimizer": sgd, "schedule": schedule, "validation": model.validate}
    history = fs.fit(model, [0, 1], epochs=5, **options)
    assert history.lr == [1.0] * 6 + [0.5] * 4 and sgd.lr == 0.25


def test_averages_are_validated_and_kept():
    def run(values, **options):
        model = Scripted()
        rest = iter(values)

        def validate():
            seen.append(-model.parameters.flat[0])
            return next(rest)

        seen = []
        average = fs.AveragedParameters(model.parameters)
        sgd = fs.SGD(model.parameters, 1.0)
        validation = validate if values else None
        options = {"epochs": 4, "average": average, "validation": validation} | options
        fs.fit(model, [0], optimizer=sgd, **options)
        return seen, -model.parameters.flat[0]

    # the values are 1, 2, 3, 4, and so their means
    assert run([4.0, 2.0, 1.0, 3.0]) == ([1, 1.5, 2, 2.5], 2)
    assert run([4.0, 2.0, 1.0, 3.0], keep_best=False)[1] == 2.5
    assert run([]) == ([], 2.5)


# --- numbers that are not finite ------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite(bad):
    model = Scripted(losses=[3.0, 2.0, 1.0, bad, 1.0])
    adam = fs.Adam(model.parameters, 0.1)
    average = fs.AveragedParameters(model.parameters)
    before = []
    hooks = [lambda trainer: before.append(model.parameters.flat.copy())]
    parts = ["update 4 (epoch 2, batch 1 of it): the loss is", str(bad), "lower the learning rate"]
    with raises(FloatingPointError, *parts, "the parameters are as they were before it"):
        fs.fit(model, range(3), optimizer=adam, epochs=2, average=average, callbacks=hooks)
    np.testing.assert_array_equal(model.parameters.flat, before[-1])
    assert adam.steps == average.updates == 3


def test_a_loss_that_is_not_finite_leaves_the_best_model():
    model = Scripted([2.0, 1.0, 3.0], losses=[5.0, 4.0, 3.0, math.nan])
    sgd = fs.SGD(model.parameters, 1.0)
    with raises(FloatingPointError, "update 4", "kept the model of epoch 2") as caught:
        fs.fit(model, [0], optimizer=sgd, epochs=9, validation=model.validate)
    assert -model.parameters.flat[0] == 2
    history = caught.value.history
    assert history.loss == [5.0, 4.0, 3.0] and history.validation == [2.0, 1.0, 3.0]


@pytest.mark.parametrize("max_norm", [None, 1.0])
def test_gradients_that_are_not_finite(max_norm):
    model = Scripted()
    before = []

    def loss_and_grad(batch):
        if batch == 2:
            model.parameters.grads["rnn.bias_hh_l0"][:] = np.nan
        before.append(model.parameters.flat.copy())
        return 1.0

    model.loss_and_grad = loss_and_grad
    adam = fs.Adam(model.parameters, 0.1)
    parts = ["update 3 (epoch 1, batch 3 of it): the gradients' norm is nan", "rnn.bias_hh_l0"]
    with raises(FloatingPointError, *parts, "the parameters are as they were before it"):
        fs.fit(model, range(5), optimizer=adam, max_norm=max_norm)
    np.testing.assert_array_equal(model.parameters.flat, before[-1])
    assert adam.steps == 2 and len(before) == 3


# --- callbacks ------------------------------------------------------------------------------


class Recorder:
    """Notes what it sees, and stops the run when it is told to."""

    def __init__(self, stop_at=None):
        self.updates, self.epochs, self.stop_at = [], [], stop_at

    def on_update(self, trainer):
        self.updates.append((trainer.epoch, trainer.update, trainer.loss, trainer.norm))
        if self.stop_at == trainer.update:
            trainer.stop()

    def on_epoch(self, trainer):
        self.epochs.append((trainer.epoch, trainer.update, len(trainer.history.validation)))
        if self.stop_at == ("epoch", trainer.epoch):
            trainer.stop()


def test_callbacks_see_the_run():
    model, sgd = make()
    recorder, trainers = Recorder(), []
    callbacks = [recorder, trainers.append]
    history = fit(model, sgd, epochs=2, validation=HELD_OUT, callbacks=callbacks)
    assert recorder.epochs == [(1, 5, 1), (2, 10, 2)]
    assert [seen[:2] for seen in recorder.updates] == [(i // 5, i + 1) for i in range(10)]
    assert [seen[2:] for seen in recorder.updates] == [
        *zip(history.loss, history.norm, strict=True)
    ]
    assert trainers[0].model is model and trainers[0].optimizer is sgd
    assert trainers[0].history is history and trainers[0] is trainers[1]


def test_callbacks_stop_the_run():
    model, sgd = make()
    history = fit(model, sgd, epochs=3, callbacks=[Recorder(stop_at=7)])
    assert (len(history.loss), history.epoch_end, history.stopped) == (7, [5], "callback")
    model, sgd = make()
    callbacks = [Recorder(stop_at=("epoch", 1))]
    history = fit(model, sgd, epochs=3, validation=HELD_OUT, callbacks=callbacks)
    assert (history.epoch_end, history.stopped) == ([5], "callback")
    model = Scripted(values=[1.0, 2.0])
    options = {"optimizer": fs.SGD(model.parameters, 1.0), "epochs": 5}
    options |= {"validation": model.validate, "callbacks": [Recorder(stop_at=("epoch", 2))]}
    fs.fit(model, [0], **options)
    assert model.parameters.flat[0] == -1  # the best one, all the same


# --- Ctrl-C ---------------------------------------------------------------------------------


class Pressed:
    """Presses Ctrl-C within some updates, once or more often."""

    def __init__(self, model, **presses):
        self.presses, self.updates, self.inner = presses, 0, model.loss_and_grad
        model.loss_and_grad = self

    def __call__(self, batch):
        self.updates += 1
        loss = self.inner(batch)
        for _ in range(self.presses.get(f"at_{self.updates}", 0)):
            signal.raise_signal(signal.SIGINT)
        return loss


def test_an_interrupt_ends_after_the_update(capsys):
    model, sgd = make()
    Pressed(model, at_7=1)
    history = fit(model, sgd, epochs=3, validation=HELD_OUT)
    assert (len(history.loss), history.epoch_end) == (7, [5])
    assert history.stopped == "interrupted"
    expected = "fit: interrupted after update 7, in epoch 2; kept the model of epoch 1\n"
    assert capsys.readouterr().err == expected
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    once, sgd = make()
    fit(once, sgd)
    np.testing.assert_array_equal(model.parameters.flat, once.parameters.flat)


def test_a_second_interrupt_is_immediate():
    model, sgd = make()
    Pressed(model, at_2=2)
    before = []
    with pytest.raises(KeyboardInterrupt):
        fit(model, sgd, callbacks=[Recorder(), lambda trainer: before.append(1)])
    assert sgd.steps == 1 and not before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_within_the_validation():
    model, sgd = make()
    held_out = Shuffled(make_windows(4, seed=2), seed=0)
    seen = []
    inner = model.loss

    def loss(batch):
        seen.append(batch)
        if len(seen) == 6:  # the second one of the second epoch
            signal.raise_signal(signal.SIGINT)
        return inner(batch)

    model.loss = loss
    history = fit(model, sgd, epochs=3, validation=held_out)
    assert (len(history.loss), len(history.validation), len(seen)) == (10, 1, 6)
    assert history.stopped == "interrupted" and history.epoch_end == [5]
    assert held_out.state_dict() == {"epoch": 1, "position": 0, "items": 4}  # comes anew


@pytest.mark.parametrize("presses", [1, 2])
def test_an_interrupt_of_a_run_within_another_ends_both(presses):
    histories = []

    def run_another(trainer):
        model, sgd = make()
        Pressed(model, at_2=presses)
        histories.append(fit(model, sgd, epochs=9))

    model, sgd = make()
    if presses == 2:  # the second one is immediate, and nobody notes it
        with pytest.raises(KeyboardInterrupt):
            fit(model, sgd, epochs=3, callbacks=[Recorder(), run_another])
        assert sgd.steps == 5 and not histories
    else:
        histories.append(fit(model, sgd, epochs=3, callbacks=[run_another]))
        assert [history.stopped for history in histories] == ["interrupted"] * 2
        assert [len(history.loss) for history in histories] == [2, 5]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_after_a_run_within_another_ends_that_one():
    def run_another(trainer):
        assert fit(*make(), epochs=1).stopped == "epochs"
        signal.raise_signal(signal.SIGINT)

    assert fit(*make(), epochs=3, callbacks=[run_another]).epoch_end == [5]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_someone_else_raises(capsys):
    """In threads, and where the program handles signals itself, there is nothing to note it."""

    def interrupt(trainer):
        raise KeyboardInterrupt

    histories = []

    def run():
        model, sgd = make()
        histories.append(fit(model, sgd, epochs=3, callbacks=[interrupt]))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    own = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        handler = signal.getsignal(signal.SIGINT)
        run()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, own)
    for history in histories:
        assert (history.epoch_end, history.stopped) == ([5], "interrupted")
    assert capsys.readouterr().err.count("interrupted after update 5, in epoch 2\n") == 2


def test_an_interrupt_before_there_is_an_average():
    class Interrupted:
        def __iter__(self):
            raise KeyboardInterrupt

    model = Scripted()
    options = {"average": fs.AveragedParameters(model.parameters)}
    history = fit(model, fs.SGD(model.parameters), Interrupted(), **options)
    assert (history.loss, history.stopped) == ([], "interrupted")
    assert not model.parameters.flat.any()


def test_what_others_do_at_an_interrupt_stays():
    """Be it set before a run, which then doesn't note it, or within one."""
    noted = []

    def note(number, frame):
        noted.append(number)

    def press(trainer):
        assert signal.getsignal(signal.SIGINT) is note
        signal.raise_signal(signal.SIGINT)

    def replace(trainer):
        signal.signal(signal.SIGINT, note)

    before = signal.signal(signal.SIGINT, note)
    try:
        assert fit(*make(), epochs=1, callbacks=[press]).stopped == "epochs"
        assert len(noted) == 1 and signal.getsignal(signal.SIGINT) is note
        signal.signal(signal.SIGINT, before)
        assert fit(*make(), epochs=1, callbacks=[replace, press]).stopped == "epochs"
        assert len(noted) == 2 and signal.getsignal(signal.SIGINT) is note
    finally:
        signal.signal(signal.SIGINT, before)


# --- what a model reports -------------------------------------------------------------------


def test_reports_are_of_each_epoch(tmp_path):
    model = Reporter(dropout=0.0)
    path = tmp_path / "run.safetensors"
    sgd = fs.SGD(model.parameters, 0.1)
    history = fit(model, sgd, epochs=3, validation=HELD_OUT, checkpoint=path)
    epochs = np.reshape(history.loss, (3, 5))
    expected = {"least": epochs.min(axis=1).tolist(), "largest_loss": epochs.max(axis=1).tolist()}
    assert history.reports == expected == fs.History.load(path).reports
    other = fs.History()
    other.load_state_dict(history.state_dict())
    other.reports["least"].append(0.0)
    assert history.reports == expected and other.reports != expected
    assert fit(*make()).reports == {}


def test_an_epoch_that_was_left_is_not_reported():
    model = Reporter(dropout=0.0)
    stop = Stopper(7)
    history = fit(model, fs.SGD(model.parameters, 0.1), epochs=3, callbacks=[stop])
    assert len(history.loss) == 7 and len(history.reports["least"]) == 1


class Stopper:
    def __init__(self, update):
        self.update = update

    def on_update(self, trainer):
        if trainer.update == self.update:
            trainer.stop()


@pytest.mark.parametrize(
    ("reports", "error", "parts"),
    [
        ([[0.5]], TypeError, ["report() must give a dict of numbers by name, got list"]),
        ([{"a": "x"}], TypeError, ["report()['a'] must be a number, got 'x'"]),
        ([{"a": 1}, {"b": 1}], ValueError, ["the same names after each epoch, ['a'], got ['b']"]),
        ([{}, {"b": 1}], ValueError, ["the same names after each epoch, [], got ['b']"]),
    ],
)
def test_reports_that_are_none(reports, error, parts):
    model, sgd = make()
    reports = iter(reports)
    model.report = lambda: next(reports)
    with raises(error, *parts):
        fit(model, sgd, epochs=2)


# --- what one sees --------------------------------------------------------------------------


def test_the_bar(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    model = Reporter(dropout=0.0)
    sgd = fs.SGD(model.parameters, 0.1)
    history = fit(model, sgd, epochs=2, validation=HELD_OUT, progress=True)
    shown = capsys.readouterr().err
    last = shown.rstrip("\n").rpartition("\r")[2]
    assert "epoch 2" in last and "10/10" in last and "100%" in last
    assert f"loss {history.epoch_loss[-1]:.4g}" in last
    assert f"validation {history.validation[-1]:.4g}" in last and " tokens/s" in last
    assert f"largest loss {history.reports['largest_loss'][-1]:.4g}" in last
    assert "epoch 1" in shown and "1/10" in shown


def test_the_bar_of_a_run_that_goes_on_within_an_epoch(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    path = tmp_path / "run.safetensors"
    model, sgd = make()
    Pressed(model, at_2=1)
    fit(model, sgd, epochs=2, checkpoint=path)
    capsys.readouterr()
    fit(*make(), epochs=2, checkpoint=path, progress=True)
    shown = capsys.readouterr().err
    assert "3/10" in shown and "10/10" in shown


def test_no_bar_where_nobody_looks(capsys):
    fit(*make())
    fit(*make(), progress=False)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_if_there_can_be_one(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    fit(*make())
    assert "5/5" in sys.stderr.getvalue()
    monkeypatch.setitem(sys.modules, "tqdm", None)
    sys.stderr.truncate(0)
    fit(*make())
    assert sys.stderr.getvalue() == ""
    model, sgd = make()
    with raises(ImportError, "tqdm", "pip install 'fastseq[train]'"):
        fit(model, sgd, progress=True)
    assert sgd.steps == 0


def test_a_bar_without_a_known_end(capsys, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)

    class Endless:
        def __iter__(self):
            return iter([1, 2])

    model = Scripted()
    fs.fit(model, Endless(), optimizer=fs.SGD(model.parameters), progress=True)
    last = capsys.readouterr().err.rstrip("\n").rpartition("\r")[2]
    assert "2update" in last and "loss 1" in last and "tokens" not in last


def test_a_history_can_be_drawn(tmp_path):
    model, sgd = make()
    history = fit(model, sgd, epochs=3, validation=HELD_OUT)
    figure = history.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    above, below = figure.axes
    lines = {line.get_label(): line.get_xydata().T.tolist() for line in above.lines}
    assert lines["loss"] == [list(range(1, 16)), history.loss]
    assert lines["mean of an epoch"] == [[5, 10, 15], history.epoch_loss]
    assert lines["validation"] == [[5, 10, 15], history.validation]
    assert lines["best"] == [[15], [history.validation[2]]]
    assert below.lines[0].get_ydata().tolist() == history.norm
    fs.History().plot()
    assert len(fit(*make()).plot().axes[0].lines) == 2  # without validation


def test_drawing_needs_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with raises(ImportError, "matplotlib", "pip install 'fastseq[plot]'"):
        fs.History().plot()


def test_the_readme_does_what_it_says(tmp_path, monkeypatch):
    readme = Path(__file__).parents[1] / "README.md"
    section = readme.read_text("utf-8").partition("\n## Training\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"fs": fs, "np": np}
    exec(compile(block, str(readme), "exec"), names)
    history, forecaster = names["history"], names["forecaster"]
    assert history.validation[-1] < history.validation[0] / 5
    losses = [forecaster.loss(series) for series in names["series"][25:]]
    assert np.mean(losses) == pytest.approx(min(history.validation), rel=1e-12)
    files = ["forecaster.safetensors", "loss.png", "run.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files


# --- arguments ------------------------------------------------------------------------------


def other_sgd():
    return fs.SGD(Writer().parameters)


WRONG = {
    "epochs": ({"epochs": 0}, ValueError, ["epochs must be at least 1"]),
    "max_norm": ({"max_norm": 0}, ValueError, ["max_norm"]),
    "optimizer": ({"optimizer": "adam"}, TypeError, ["optimizer must be an optimiser", "str"]),
    "its parameters": ({"optimizer": other_sgd()}, ValueError, ["optimizer belongs to other"]),
    "schedule": ({"schedule": 0.1}, TypeError, ["schedule must be a schedule", "float"]),
    "its optimizer": ({"schedule": fs.StepLR(other_sgd(), 1)}, ValueError, ["schedule belongs"]),
    "schedule_every": ({"schedule_every": "step"}, ValueError, ["schedule_every", "'epoch'"]),
    "validation": ({"validation": 3}, TypeError, ["validation must be an iterable", "int"]),
    "mode": ({"mode": "most"}, ValueError, ["mode must be one of"]),
    "patience": ({"patience": 3}, ValueError, ["patience needs a validation"]),
    "its number": ({"patience": 0, "validation": HELD_OUT}, ValueError, ["patience must be at"]),
    "keep_best": ({"keep_best": 1}, TypeError, ["keep_best must be True or False"]),
    "average": ({"average": 0.9}, TypeError, ["average must be AveragedParameters", "float"]),
    "its average": (
        {"average": fs.AveragedParameters(Writer().parameters)},
        ValueError,
        ["average belongs to other"],
    ),
    "checkpoint_every": ({"checkpoint_every": -1}, ValueError, ["checkpoint_every"]),
    "resume": ({"resume": 1}, ValueError, ["resume must be True, False or 'auto'", "1"]),
    "what to resume": ({"resume": True}, ValueError, ["resume=True needs a checkpoint"]),
    "callbacks": ({"callbacks": print}, TypeError, ["callbacks must be a list"]),
    "a callback": ({"callbacks": [print, 3]}, TypeError, ["callbacks[1] must be a function"]),
    "progress": ({"progress": "bar"}, TypeError, ["progress must be True or False"]),
    "an iterator": ({"batches": iter(BATCHES)}, TypeError, ["batches must give", "list_iterator"]),
    "batches": ({"batches": 5}, TypeError, ["batches must be an iterable of batches", "int"]),
    "their place": (
        {"batches": {1, 2}, "checkpoint": "a.safetensors"},
        TypeError,
        ["a checkpoint needs batches whose place can be saved", "set"],
    ),
    "an iterator of validation": ({"validation": iter([1])}, TypeError, ["validation must give"]),
    "model": ({"model": fs.RNN(1, 1)}, TypeError, ["loss_and_grad(batch)", "RNN"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused_before_any_work(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, error, parts = WRONG[name]
    model, sgd = make()
    model.loss_and_grad = None  # it must not come to that
    with raises(error, *parts):
        fs.fit(**{"model": model, "batches": BATCHES, "optimizer": sgd} | options)
    assert not list(tmp_path.iterdir())


def test_plateaus_need_a_validation_of_the_same_mode():
    model, sgd = make()
    schedule = fs.ReduceLROnPlateau(sgd, mode="max")
    with raises(ValueError, "ReduceLROnPlateau needs a validation"):
        fit(model, sgd, schedule=schedule)
    with raises(ValueError, "mode is 'min', but the schedule's is 'max'"):
        fit(model, sgd, schedule=schedule, validation=HELD_OUT)


def test_models_without_a_loss_are_validated_by_functions():
    model = Scripted()
    with raises(TypeError, "validation with batches needs a method loss(batch)", "Scripted"):
        fs.fit(model, [0], optimizer=fs.SGD(model.parameters), validation=[0])


def test_answers_of_models_are_checked():
    model, sgd = make()
    model.loss_and_grad = lambda batch: None
    with raises(TypeError, "loss_and_grad(batch) must be a number", "None"):
        fit(model, sgd)
    model, sgd = make()
    model.count = lambda batch: 0.5
    with raises(TypeError, "count(batch) must be an integer", "0.5"):
        fit(model, sgd)
    model = Scripted(values=[None])
    with raises(TypeError, "validation() must be a number", "None"):
        fs.fit(model, [0], optimizer=fs.SGD(model.parameters), validation=model.validate)


def test_epochs_without_batches():
    with raises(ValueError, "batches must give at least one batch"):
        fit(*make(), [])
    with raises(ValueError, "validation must have at least one batch"):
        fit(*make(), validation=[])


def test_epochs_in_which_nothing_counts():
    model, sgd = make()
    model.count = lambda batch: 0
    with raises(ValueError, "something to learn from", "count(batch)", "is 0 for all of them"):
        fit(model, sgd)
    model, sgd = make()
    model.count = lambda batch: int(batch is BATCHES[-1])  # one is enough
    fit(model, sgd)
