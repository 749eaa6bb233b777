"""Parity with PyTorch: optimisers, clipping, schedules and averages, step by step."""

import numpy as np
import pytest
from layer_cases import backend_fixture  # noqa: F401

import fastseq as fs

torch = pytest.importorskip("torch")

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-10}  # relative to the largest value
STEPS = 50

OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd-decay": ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    "sgd-momentum": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "sgd-nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "sgd-defaults": ("SGD", {}),
    "adam": ("Adam", {}),
    "adam-decay": ("Adam", {"lr": 0.01, "weight_decay": 0.1, "betas": (0.5, 0.9), "eps": 1e-3}),
    "adam-amsgrad": ("Adam", {"lr": 0.01, "amsgrad": True, "betas": (0.9, 0.8)}),
    "adamw": ("AdamW", {}),
    "adamw-amsgrad": ("AdamW", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.5}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop-decay": ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
    "rmsprop-centered": ("RMSprop", {"centered": True}),
    "rmsprop-momentum": ("RMSprop", {"momentum": 0.9}),
    "rmsprop-both": ("RMSprop", {"centered": True, "momentum": 0.9, "weight_decay": 0.1}),
    "adagrad": ("Adagrad", {}),
    "adagrad-decay": (
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1},
    ),
}


def make_pair(dtype):
    """A layer's parameters and their twins in PyTorch."""
    ours = fs.LSTM(5, 6, dtype=dtype, seed=0).parameters
    theirs = {name: torch.tensor(value.copy()) for name, value in ours.items()}
    return ours, {name: tensor.requires_grad_() for name, tensor in theirs.items()}


def make_gradients(parameters):
    """New ones for each step; they vary in size, and some are 0."""
    rng = np.random.default_rng(1)
    size = parameters.flat.size
    scales = 10.0 ** rng.uniform(-2, 1, size)
    for _ in range(STEPS):
        gradient = scales * rng.standard_normal(size) * (rng.random(size) < 0.9)
        yield gradient.astype(parameters.flat.dtype)


def set_gradients(ours, theirs, gradient):
    ours.flat_grad[:] = gradient
    for name, tensor in theirs.items():
        tensor.grad = torch.tensor(ours.grads[name].copy())


def assert_parity(ours, theirs, dtype):
    """Arrays by name, each against its tensor."""
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        expected = tensor.detach().numpy()
        assert ours[name].shape == expected.shape, name
        error, scale = np.abs(ours[name] - expected).max(), np.abs(expected).max()
        assert error <= TOLERANCE[dtype] * scale, f"{name} is off by {error / scale:.2g}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(backend, name, dtype):
    kind, options = OPTIMIZERS[name]
    ours, theirs = make_pair(dtype)
    optimizer = getattr(fs, kind)(ours, **options)
    twin = getattr(torch.optim, kind)(theirs.values(), **options)
    for gradient in make_gradients(ours):
        set_gradients(ours, theirs, gradient)
        optimizer.step()
        twin.step()
        assert_parity(ours, theirs, dtype)
    state = {
        f"{array}.{key}": value
        for key, tensor in theirs.items()
        for array, value in twin.state[tensor].items()
        if array != "step" and value is not None
    }
    kept = optimizer.state_dict()
    assert_parity({key: kept[key] for key in kept if "." in key}, state, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_decay_is_a_group_of_its_own(backend, dtype):
    ours, theirs = make_pair(dtype)
    optimizer = fs.AdamW(ours, weight_decay=0.3, no_decay=["bias*"])
    groups = [
        {"params": [t for name, t in theirs.items() if name.startswith("weight")]},
        {"params": [t for name, t in theirs.items() if name.startswith("bias")]},
    ]
    twin = torch.optim.AdamW([groups[0], groups[1] | {"weight_decay": 0}], weight_decay=0.3)
    for gradient in make_gradients(ours):
        set_gradients(ours, theirs, gradient)
        optimizer.step()
        twin.step()
    assert_parity(ours, theirs, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fused", [True, False])
def test_clipping(backend, fused, dtype):
    ours, theirs = make_pair(dtype)
    optimizer, twin = fs.Adam(ours, lr=0.01), torch.optim.Adam(theirs.values(), lr=0.01)
    for i, gradient in enumerate(make_gradients(ours)):
        set_gradients(ours, theirs, gradient)
        max_norm = 1e3 if i % 3 == 0 else 0.5
        if fused:
            norm = optimizer.step(max_norm=max_norm)
        else:
            norm = fs.clip_grad_norm(ours, max_norm)
            optimizer.step()
        expected = torch.nn.utils.clip_grad_norm_(theirs.values(), max_norm)
        twin.step()
        assert norm == pytest.approx(float(expected), rel=TOLERANCE[dtype])
        if not fused:
            assert_parity(ours.grads, {key: t.grad for key, t in theirs.items()}, dtype)
    assert_parity(ours, theirs, dtype)


def test_clipping_of_values():
    ours, theirs = make_pair(np.float32)
    set_gradients(ours, theirs, next(make_gradients(ours)))
    fs.clip_grad_value(ours, 0.5)
    torch.nn.utils.clip_grad_value_(theirs.values(), 0.5)
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(ours.grads[name], tensor.grad.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decay", [None, 0.9])
def test_averages(backend, decay, dtype):
    ours, theirs = make_pair(dtype)
    averaged = fs.AveragedParameters(ours, decay)
    module = torch.nn.ParameterList(theirs.values())
    utils = torch.optim.swa_utils
    function = None if decay is None else utils.get_ema_multi_avg_fn(decay)
    twin = utils.AveragedModel(module, multi_avg_fn=function)
    for gradient in make_gradients(ours):
        ours.flat[:] = gradient
        with torch.no_grad():
            for name, tensor in theirs.items():
                tensor.copy_(torch.tensor(ours[name]))
        averaged.update()
        twin.update_parameters(module)
    with averaged.applied():
        assert_parity(ours, dict(zip(ours, twin.module, strict=True)), dtype)


# --- schedules ------------------------------------------------------------------------------


def sequence(*parts):
    """SequentialLR of (name, arguments) up to milestones that stand between them."""

    def make(module, optimizer):
        schedules = [getattr(module, name)(optimizer, **args) for name, args in parts[::2]]
        return module.SequentialLR(optimizer, schedules, milestones=list(parts[1::2]))

    return make


def single(name, **args):
    return lambda module, optimizer: getattr(module, name)(optimizer, **args)


WARM_UP = ("LinearLR", {"start_factor": 0.1, "total_iters": 8})
SCHEDULES = {
    "step": single("StepLR", step_size=7, gamma=0.3),
    "step-defaults": single("StepLR", step_size=20),
    "milestones": single("MultiStepLR", milestones=[3, 3, 20, 41], gamma=0.5),
    "exponential": single("ExponentialLR", gamma=0.93),
    "cosine": single("CosineAnnealingLR", T_max=50),
    "cosine-waves": single("CosineAnnealingLR", T_max=9, eta_min=0.01),
    "restarts": single("CosineAnnealingWarmRestarts", T_0=7, eta_min=0.01),
    "longer-restarts": single("CosineAnnealingWarmRestarts", T_0=3, T_mult=2),
    "linear": single("LinearLR"),
    "linear-down": single("LinearLR", start_factor=0.9, end_factor=0.2, total_iters=20),
    "lambda": single("LambdaLR", lr_lambda=lambda epoch: 0.95**epoch / (1 + epoch)),
    "warm-up-cosine": sequence(WARM_UP, 8, ("CosineAnnealingLR", {"T_max": 40})),
    "warm-up-restarts": sequence(WARM_UP, 8, ("CosineAnnealingWarmRestarts", {"T_0": 10})),
    "warm-up-step-exponential": sequence(
        WARM_UP, 10, ("StepLR", {"step_size": 4}), 30, ("ExponentialLR", {"gamma": 0.9})
    ),
}


def make_optimizers(lr=0.3):
    ours = fs.SGD(fs.RNN(1, 1).parameters, lr)
    return ours, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr)


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # of PyTorch's own SequentialLR
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    ours, theirs = make_optimizers()
    schedule = SCHEDULES[name](fs, ours)
    twin = SCHEDULES[name](torch.optim.lr_scheduler, theirs)
    for step in range(60):
        expected = theirs.param_groups[0]["lr"]
        assert ours.lr == pytest.approx(expected, rel=1e-12, abs=1e-14), step
        theirs.step()
        schedule.step()
        twin.step()


PLATEAUS = [
    {},
    {"patience": 2, "factor": 0.5},
    {"patience": 1, "factor": 0.5, "cooldown": 3, "min_lr": 0.01},
    {"patience": 1, "factor": 0.7, "threshold": 0.1, "threshold_mode": "abs"},
    {"patience": 1, "factor": 0.7, "threshold": 0.05, "mode": "max"},
    {"patience": 1, "factor": 0.7, "threshold": 0.2, "mode": "max", "threshold_mode": "abs"},
    {"patience": 0, "factor": 0.1, "eps": 1e-3},
]


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_plateaus(options):
    ours, theirs = make_optimizers()
    schedule = fs.ReduceLROnPlateau(ours, **options)
    twin = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    rng = np.random.default_rng(0)
    for step in range(100):
        measure = rng.uniform(-0.5, 1) + 3 / (1 + step)
        if step % 17 == 16:
            measure = np.nan
        schedule.step(measure)
        twin.step(measure)
        assert ours.lr == theirs.param_groups[0]["lr"], step
        assert (schedule.best, schedule.num_bad_epochs) == (twin.best, twin.num_bad_epochs)
