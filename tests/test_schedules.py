"""Schedules: the learning rates they give, their state, and their arguments."""

import math
import re

import numpy as np
import pytest

import fastseq as fs


def raises(error, *parts):
    """Expect an error whose message has all these parts, in order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, parts)))


def make_optimizer(lr=2.0):
    return fs.SGD(fs.RNN(1, 1, seed=0).parameters, lr)


def warm_up_and(make, steps):
    """A schedule that begins with a linear warm-up."""

    def make_both(optimizer):
        warm_up = fs.LinearLR(optimizer, start_factor=0.25, total_iters=steps)
        return fs.SequentialLR(optimizer, [warm_up, make(optimizer)], [steps])

    return make_both


def nested(optimizer):
    inner = warm_up_and(lambda o: fs.ExponentialLR(o, 0.5), 2)(optimizer)
    return fs.SequentialLR(optimizer, [fs.StepLR(optimizer, 1, gamma=0.1), inner], [2])


def half_waves(*lengths):
    """The factors of half cosine waves, one after the other."""
    return [(1 + math.cos(math.pi * i / n)) / 2 for n in lengths for i in range(n)]


# how to make it, and the factors that the base is multiplied by
SCHEDULES = {
    "step": (lambda o: fs.StepLR(o, 3), [1, 1, 1, 0.1, 0.1, 0.1, 0.01]),
    "step-gamma": (lambda o: fs.StepLR(o, 1, gamma=2), [1, 2, 4, 8]),
    "milestones": (
        lambda o: fs.MultiStepLR(o, [0, 2, 3, 3], gamma=0.5),
        [0.5, 0.5, 0.25, 0.0625, 0.0625],
    ),
    "exponential": (lambda o: fs.ExponentialLR(o, 0.5), [1, 0.5, 0.25, 0.125]),
    "cosine": (
        lambda o: fs.CosineAnnealingLR(o, 4),
        half_waves(4) + [1 - factor for factor in half_waves(4)] + half_waves(4),
    ),
    "cosine-minimum": (
        lambda o: fs.CosineAnnealingLR(o, 2, eta_min=0.5),  # a quarter of the base
        [1, 0.625, 0.25, 0.625, 1],
    ),
    "restarts": (lambda o: fs.CosineAnnealingWarmRestarts(o, 3), half_waves(3, 3, 3)),
    "longer-restarts": (
        lambda o: fs.CosineAnnealingWarmRestarts(o, 2, T_mult=3),
        half_waves(2, 6, 18),
    ),
    "linear": (lambda o: fs.LinearLR(o, total_iters=2), [1 / 3, 2 / 3, 1, 1]),
    "linear-down": (
        lambda o: fs.LinearLR(o, start_factor=1, end_factor=0, total_iters=4),
        [1, 0.75, 0.5, 0.25, 0, 0],
    ),
    "lambda": (lambda o: fs.LambdaLR(o, lambda epoch: 1 / (1 + epoch)), [1, 1 / 2, 1 / 3]),
    "warm-up": (
        warm_up_and(lambda o: fs.StepLR(o, 2, gamma=0.5), 3),
        [0.25, 0.5, 0.75, 1, 1, 0.5, 0.5, 0.25],
    ),
    "nested": (nested, [1, 0.1, 0.25, 0.625, 1, 0.5, 0.25]),
}
all_schedules = pytest.mark.parametrize("name", SCHEDULES)


def follow(schedule, steps):
    """The learning rates before, between and after the steps."""
    lrs = [schedule.optimizer.lr]
    for _ in range(steps):
        schedule.step()
        lrs.append(schedule.optimizer.lr)
    return lrs


@all_schedules
def test_learning_rates(name):
    make, factors = SCHEDULES[name]
    optimizer = make_optimizer(2.0)
    schedule = make(optimizer)
    lrs = follow(schedule, len(factors) - 1)
    np.testing.assert_allclose(lrs, 2 * np.array(factors), rtol=1e-14, atol=1e-15)
    assert (schedule.last_epoch, schedule.base_lr) == (len(factors) - 1, 2.0)
    assert optimizer.initial_lr == 2.0


@all_schedules
def test_the_optimizer_uses_it(name):
    optimizer = make_optimizer(2.0)
    schedule = SCHEDULES[name][0](optimizer)
    optimizer.parameters.flat[:], optimizer.parameters.flat_grad[:] = 0, 1
    total = 0.0
    for _ in range(5):
        optimizer.step()
        total += optimizer.lr
        schedule.step()
    np.testing.assert_allclose(optimizer.parameters.flat, -total, rtol=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, -1.0, None])
def test_a_step_that_raises_is_no_step(wrong):
    factors = {0: 1.0, 1: wrong, 2: 0.5}
    optimizer = make_optimizer()
    inner = fs.LambdaLR(optimizer, lambda epoch: factors[epoch])
    for schedule in (
        inner,
        fs.SequentialLR(optimizer, [inner, fs.ExponentialLR(optimizer, 1)], [9]),
    ):
        factors[1] = wrong
        before = schedule.state_dict()
        with raises((ValueError, TypeError), "lr_lambda"):
            schedule.step()
        assert schedule.state_dict() == before
        factors[1] = 0.25
        schedule.step()
        assert optimizer.lr == 0.25 * schedule.base_lr and schedule.last_epoch == 1


def test_what_is_assigned_holds_until_the_next_step():
    optimizer = make_optimizer(1.0)
    schedule = fs.ExponentialLR(optimizer, 0.5)
    schedule.step()
    optimizer.lr = 8
    assert optimizer.lr == 8
    schedule.step()
    assert optimizer.lr == 0.25
    assert fs.ExponentialLR(optimizer, 0.5).base_lr == 8  # a new one starts from it


# the loss of each step, and the learning rate after it
PLATEAUS = {
    "patience": (
        {"patience": 1, "factor": 0.5},
        [(3, 1), (2, 1), (2, 1), (2.1, 0.5), (1, 0.5), (1, 0.5), (1, 0.25)],
    ),
    "no-patience": ({"patience": 0}, [(1, 1), (1, 0.1), (0.5, 0.1), (0.6, 0.01)]),
    "relative": (
        {"patience": 0, "threshold": 0.1, "factor": 0.5},
        [(10, 1), (9.1, 0.5), (8.9, 0.5), (8.1, 0.25)],
    ),
    "absolute": (
        {"patience": 0, "threshold": 0.1, "threshold_mode": "abs", "factor": 0.5},
        [(10, 1), (9.95, 0.5), (9.8, 0.5), (9.6, 0.5)],
    ),
    "more-is-better": (
        {"patience": 0, "mode": "max", "threshold": 0.1, "factor": 0.5},
        [(10, 1), (10.5, 0.5), (11.1, 0.5), (12, 0.25)],
    ),
    "more-by-a-difference": (
        {"patience": 0, "mode": "max", "threshold": 1, "threshold_mode": "abs", "factor": 0.5},
        [(10, 1), (11, 0.5), (11.1, 0.5)],
    ),
    "cooldown": (
        {"patience": 0, "cooldown": 2, "factor": 0.5},
        [(1, 1), (1, 0.5), (1, 0.5), (1, 0.5), (1, 0.25)],
    ),
    "lowest": ({"patience": 0, "min_lr": 0.3, "factor": 0.5}, [(1, 1), (1, 0.5), (1, 0.3)]),
    "too-small": ({"patience": 0, "eps": 0.3, "factor": 0.5}, [(1, 1), (1, 0.5), (1, 0.5)]),
    "just-too-small": (
        {"patience": 0, "eps": 0.25, "factor": 0.5},
        [(1, 1), (1, 0.5), (1, 0.5)],
    ),
    "nan": (
        {"patience": 1, "factor": 0.5},
        [(1, 1), (math.nan, 1), (math.nan, 0.5), (0.5, 0.5), (math.inf, 0.5)],
    ),
    "below-zero": (  # a relative threshold moves the mark up there, as in PyTorch
        {"patience": 0, "threshold": 0.1, "factor": 0.5},
        [(-10, 1), (-9.5, 1), (-8, 0.5)],
    ),
}


@pytest.mark.parametrize("case", PLATEAUS)
def test_plateaus(case):
    options, steps = PLATEAUS[case]
    optimizer = make_optimizer(1.0)
    schedule = fs.ReduceLROnPlateau(optimizer, **options)
    for loss, lr in steps:
        schedule.step(loss)
        assert optimizer.lr == pytest.approx(lr, rel=1e-14), loss


# --- state ----------------------------------------------------------------------------------


def saved(state, tmp_path):
    """The state after a stay in a file, where numbers become arrays without axes."""
    np.savez(tmp_path / "state.npz", **state)
    return np.load(tmp_path / "state.npz")


@pytest.mark.parametrize("loaded", ["optimizer, schedule", "schedule, optimizer", "schedule"])
@all_schedules
def test_a_saved_schedule_goes_on_as_it_would_have(name, loaded, tmp_path):
    make, _ = SCHEDULES[name]
    schedule = make(make_optimizer(2.0))
    follow(schedule, 3)
    schedule.optimizer.lr = 0.7  # holds until the next step
    resumed = make(make_optimizer(1.0))
    pairs = {
        "optimizer": (resumed.optimizer, schedule.optimizer),
        "schedule": (resumed, schedule),
    }
    for part in loaded.split(", "):
        to, of = pairs[part]
        to.load_state_dict(saved(of.state_dict(), tmp_path))
    assert follow(resumed, 6) == follow(schedule, 6)
    assert resumed.last_epoch == schedule.last_epoch == 9


def test_a_saved_plateau_goes_on_as_it_would_have(tmp_path):
    losses = np.random.default_rng(0).uniform(1, 2, 30)
    options = {"patience": 2, "cooldown": 1, "factor": 0.5}
    schedule = fs.ReduceLROnPlateau(make_optimizer(), **options)
    resumed = fs.ReduceLROnPlateau(make_optimizer(1.0), **options)
    resumed.load_state_dict(saved(schedule.state_dict(), tmp_path))  # the best is infinite yet
    assert resumed.optimizer.lr == 2
    for loss in losses[:12]:
        schedule.step(loss)
    resumed.load_state_dict(saved(schedule.state_dict(), tmp_path))
    for loss in losses[12:]:
        schedule.step(loss)
        resumed.step(loss)
        assert resumed.state_dict() == schedule.state_dict()
    assert schedule.optimizer.lr < 0.1


@pytest.mark.parametrize(
    "changes, error, parts",
    [
        ({"last_epoch": -1}, ValueError, ["last_epoch", "at least 0", "-1"]),
        ({"last_epoch": 1.0}, TypeError, ["last_epoch", "integer", "1.0"]),
        ({"base_lr": -1}, ValueError, ["base_lr", "at least 0"]),
        ({"lr": math.nan}, ValueError, ["lr", "nan"]),
        ({"gamma": 1}, ValueError, ["unexpected", "gamma"]),
    ],
)
def test_load_state_dict_takes_all_or_nothing(changes, error, parts):
    schedule = fs.ExponentialLR(make_optimizer(), 0.5)
    schedule.step()
    before = schedule.state_dict()
    with raises(error, *parts):
        schedule.load_state_dict({"last_epoch": 5, "base_lr": 7.0, "lr": 3.0} | changes)
    assert schedule.state_dict() == before


@pytest.mark.parametrize(
    "changes, error, parts",
    [
        ({"best": "low"}, TypeError, ["best", "number", "'low'"]),
        ({"num_bad_epochs": -1}, ValueError, ["num_bad_epochs", "at least 0"]),
        ({"cooldown_counter": 0.5}, TypeError, ["cooldown_counter", "integer"]),
        ({"lr": -1}, ValueError, ["lr", "at least 0"]),
        ({"base_lr": 1}, ValueError, ["unexpected", "base_lr"]),
    ],
)
def test_load_state_dict_of_a_plateau(changes, error, parts):
    schedule = fs.ReduceLROnPlateau(make_optimizer())
    before = schedule.state_dict()
    new = {"best": 1.0, "num_bad_epochs": 1, "cooldown_counter": 1, "lr": 3.0}
    with raises(error, *parts):
        schedule.load_state_dict(new | changes)
    assert schedule.state_dict() == before


# --- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make, error, parts",
    [
        (lambda o: fs.StepLR(o, 0), ValueError, ["step_size", "at least 1", "0"]),
        (lambda o: fs.StepLR(o, 2.0), TypeError, ["step_size", "integer", "2.0"]),
        (lambda o: fs.StepLR(o, 2, gamma=-1), ValueError, ["gamma", "at least 0", "-1"]),
        (lambda o: fs.StepLR("sgd", 2), TypeError, ["optimizer", "str"]),
        (lambda o: fs.MultiStepLR(o, [3, 2]), ValueError, ["milestones", "rising", "[3, 2]"]),
        (lambda o: fs.MultiStepLR(o, [-1]), ValueError, ["milestones", "at least 0", "-1"]),
        (lambda o: fs.MultiStepLR(o, 3), TypeError, ["milestones", "list of integers"]),
        (lambda o: fs.MultiStepLR(o, [1.5]), TypeError, ["milestones", "1.5"]),
        (lambda o: fs.ExponentialLR(o, math.nan), ValueError, ["gamma", "nan"]),
        (lambda o: fs.CosineAnnealingLR(o, 0), ValueError, ["T_max", "at least 1", "0"]),
        (lambda o: fs.CosineAnnealingLR(o, 3, eta_min=-1), ValueError, ["eta_min", "-1"]),
        (lambda o: fs.CosineAnnealingWarmRestarts(o, 0), ValueError, ["T_0", "at least 1"]),
        (
            lambda o: fs.CosineAnnealingWarmRestarts(o, 3, T_mult=1.5),
            TypeError,
            ["T_mult", "integer", "1.5"],
        ),
        (lambda o: fs.LinearLR(o, start_factor=0), ValueError, ["start_factor", "above 0"]),
        (lambda o: fs.LinearLR(o, start_factor=1.5), ValueError, ["start_factor", "to 1", "1.5"]),
        (lambda o: fs.LinearLR(o, end_factor=-1), ValueError, ["end_factor", "-1"]),
        (lambda o: fs.LinearLR(o, total_iters=0), ValueError, ["total_iters", "at least 1"]),
        (lambda o: fs.LambdaLR(o, 0.5), TypeError, ["lr_lambda", "function", "0.5"]),
        (lambda o: fs.LambdaLR(o, lambda n: -1), ValueError, ["lr_lambda", "at least 0", "-1"]),
        (lambda o: fs.LambdaLR(o, lambda n: "1"), TypeError, ["lr_lambda", "number", "'1'"]),
        (lambda o: fs.SequentialLR(o, 3, []), TypeError, ["schedulers", "list", "3"]),
        (lambda o: fs.SequentialLR(o, [], []), ValueError, ["0 schedulers", "0 milestones"]),
        (
            lambda o: fs.SequentialLR(o, [fs.StepLR(o, 1)], [1]),
            ValueError,
            ["1 schedulers", "1 milestones"],
        ),
        (
            lambda o: fs.SequentialLR(o, [fs.StepLR(o, 1), fs.ReduceLROnPlateau(o)], [1]),
            TypeError,
            ["schedulers[1]", "ReduceLROnPlateau"],
        ),
        (
            lambda o: fs.SequentialLR(o, [fs.StepLR(make_optimizer(), 1)], []),
            ValueError,
            ["schedulers[0]", "another optimizer"],
        ),
        (lambda o: fs.ReduceLROnPlateau(o, mode="least"), ValueError, ["mode", "'min', 'max'"]),
        (lambda o: fs.ReduceLROnPlateau(o, factor=1), ValueError, ["factor", "below 1", "1"]),
        (lambda o: fs.ReduceLROnPlateau(o, patience=-1), ValueError, ["patience", "at least 0"]),
        (lambda o: fs.ReduceLROnPlateau(o, cooldown=0.5), TypeError, ["cooldown", "integer"]),
        (lambda o: fs.ReduceLROnPlateau(o, threshold=-1), ValueError, ["threshold", "-1"]),
        (
            lambda o: fs.ReduceLROnPlateau(o, threshold_mode="sum"),
            ValueError,
            ["threshold_mode", "'rel', 'abs'"],
        ),
        (lambda o: fs.ReduceLROnPlateau(o, min_lr=None), TypeError, ["min_lr", "None"]),
        (lambda o: fs.ReduceLROnPlateau(o, eps=-1), ValueError, ["eps", "-1"]),
        (lambda o: fs.ReduceLROnPlateau(None), TypeError, ["optimizer", "NoneType"]),
        (
            lambda o: fs.ReduceLROnPlateau(o).step("low"),
            TypeError,
            ["metrics", "number", "'low'"],
        ),
    ],
)
def test_arguments(make, error, parts):
    optimizer = make_optimizer()
    with raises(error, *parts):
        make(optimizer)


def test_attributes_stay():
    schedule = fs.StepLR(make_optimizer(), 2)
    for name in ("optimizer", "base_lr", "last_epoch"):
        with raises(AttributeError, f"{name} can't be changed"):
            setattr(schedule, name, None)
