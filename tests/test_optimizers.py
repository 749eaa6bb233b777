"""Optimisers, clipping and averages: their kernels on every backend, and what is built on them."""

import copy
import math
import pickle
import re
import tracemalloc

import numpy as np
import pytest
from helpers import assert_close, assert_identical
from layer_cases import assert_same, backend_fixture  # noqa: F401

import fastseq as fs
from fastseq import reference

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])


def raises(error, *parts):
    """Expect an error whose message has all these parts, in order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, parts)))


# --- kernels --------------------------------------------------------------------------------

# name of the kernel: the states it keeps (None: absent), and its numbers
UPDATES = {
    "sgd": ("sgd_step", [None], (0.9, 0.1, 0.2, 0.0, 1.0, False)),
    "sgd-momentum": ("sgd_step", ["any"], (1.0, 0.1, 0.0, 0.8, 0.7, False)),
    "sgd-nesterov": ("sgd_step", ["any"], (0.9, 0.1, 0.2, 0.8, 1.0, True)),
    "adam": (
        "adam_step",
        ["any", "positive", None],
        (0.9, 0.1, 0.2, 1.0, 0.9, 0.99, 1.5, 1e-8),
    ),
    "adam-amsgrad": (
        "adam_step",
        ["any", "positive", "positive"],
        (1.0, 0.1, 0.0, 0.95, 0.8, 0.9, 1.1, 1e-3),
    ),
    "rmsprop": ("rmsprop_step", ["positive", None, None], (0.9, 0.1, 0.2, 0.9, 0.0, 1e-3)),
    "rmsprop-centered": ("rmsprop_step", ["large", "any", None], (1.0, 0.1, 0.0, 0.9, 0.0, 1e-3)),
    "rmsprop-momentum": (
        "rmsprop_step",
        ["positive", None, "any"],
        (1.0, 0.1, 0.0, 0.9, 0.8, 1e-3),
    ),
    "rmsprop-both": ("rmsprop_step", ["large", "any", "any"], (0.9, 0.1, 0.2, 0.9, 0.8, 1e-3)),
    "adagrad": ("adagrad_step", ["positive"], (0.9, 0.1, 0.2, 1e-10)),
}
all_updates = pytest.mark.parametrize("update", UPDATES)


def make_arrays(update, size, dtype, seed=0):
    """Values, gradients and state; squares are above 0, and above the squared mean if large."""
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(size).astype(dtype) for _ in range(2)]
    for kind in UPDATES[update][1]:
        numbers = rng.standard_normal(size)
        if kind == "positive":
            numbers = 0.1 + numbers**2
        elif kind == "large":
            numbers = 30 + numbers**2
        arrays.append(None if kind is None else numbers.astype(dtype))
    return arrays


def copies(arrays):
    return [None if array is None else array.copy() for array in arrays]


def run(kernels, update, arrays):
    """The arrays after an update."""
    name, _, numbers = UPDATES[update]
    arrays = copies(arrays)
    getattr(kernels, name)(*arrays, *numbers)
    return tuple(array for array in arrays if array is not None)


@all_updates
@both_dtypes
@pytest.mark.parametrize("size", [0, 1, 15, 16, 1000])
def test_update_equals_the_numpy_twin(compiled_kernels, update, dtype, size):
    arrays = make_arrays(update, size, dtype)
    found = run(compiled_kernels, update, arrays)
    assert_close(found, run(reference, update, arrays))
    assert_identical(found[1], arrays[1])  # gradients stay


@all_updates
@both_dtypes
def test_neither_threads_nor_places_show(cython_kernels, update, dtype):
    """Any number of threads, any cut into runs and any alignment give the same bits."""
    size = 200_003
    arrays = make_arrays(update, size, dtype)
    for isa in cython_kernels.available_isas():
        cython_kernels.set_isa(isa)
        cython_kernels.set_num_threads(1)
        expected = run(cython_kernels, update, arrays)
        cython_kernels.set_num_threads(3)
        assert_identical(run(cython_kernels, update, arrays), expected)
        runs = [
            run(cython_kernels, update, [None if a is None else a[begin:end] for a in arrays])
            for begin, end in ((0, 7), (7, 70_001), (70_001, 70_002), (70_002, size))
        ]
        assert_identical(tuple(map(np.concatenate, zip(*runs, strict=True))), expected)
        unaligned = [None if a is None else np.concatenate([a[:1], a])[1:] for a in arrays]
        name, _, numbers = UPDATES[update]
        getattr(cython_kernels, name)(*unaligned, *numbers)
        assert_identical(tuple(a for a in unaligned if a is not None), expected)


@all_updates
def test_instruction_sets_agree(cython_kernels, update):
    arrays = make_arrays(update, 1001, np.float32)
    for isa in cython_kernels.available_isas():
        cython_kernels.set_isa(isa)
        assert_close(run(cython_kernels, update, arrays), run(reference, update, arrays))


@all_updates
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_gradient_stays_in_its_place(kernels, update, bad):
    arrays = make_arrays(update, 40, np.float32)
    expected = run(kernels, update, arrays)
    for place in (3, 38):  # in a whole vector, and in the rest
        arrays[1][place] = bad
    others = np.delete(np.arange(40), [3, 38])
    for found, wanted in zip(run(kernels, update, arrays), expected, strict=True):
        assert_identical(found[others], wanted[others])
    if bad is np.nan:
        assert np.isnan(run(kernels, update, arrays)[0][[3, 38]]).all()


@both_dtypes
def test_centered_squares_stay_above_zero(kernels, dtype):
    """Where all gradients are equal, rounding makes their variance negative."""
    values, grads = np.ones(100, dtype), np.linspace(0.1, 3, 100).astype(dtype)
    square, mean = grads * grads, grads * dtype(1 + 1e-6)
    kernels.rmsprop_step(values, grads, square, mean, None, 1.0, 0.1, 0.0, 0.99, 0.0, 1e-3)
    assert np.isfinite(values).all()


@both_dtypes
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4096, 5000, 200_003])
def test_squared_norm(kernels, dtype, size):
    x = np.random.default_rng(0).standard_normal(size).astype(dtype)
    expected = math.fsum(float(number) ** 2 for number in x)
    found = kernels.squared_norm(x)
    assert type(found) is float
    assert found == pytest.approx(expected, rel=1e-14)
    if dtype is np.float32:  # squares are exact, and all backends add up in one order
        assert found == reference.squared_norm(x)


@both_dtypes
def test_neither_threads_nor_instruction_sets_show_in_the_norm(cython_kernels, dtype):
    x = np.random.default_rng(0).standard_normal(300_003).astype(dtype)
    norms = {}
    for isa in cython_kernels.available_isas():
        cython_kernels.set_isa(isa)
        for threads in (1, 2, 5):
            cython_kernels.set_num_threads(threads)
            norms[isa, threads] = cython_kernels.squared_norm(x)
            unaligned = np.concatenate([x[:1], x])[1:]
            assert cython_kernels.squared_norm(unaligned) == norms[isa, threads]
    if dtype is np.float32:
        assert len(set(norms.values())) == 1
    else:
        for isa in cython_kernels.available_isas():
            assert norms[isa, 1] == norms[isa, 2] == norms[isa, 5]


def test_squared_norm_of_large_and_bad_numbers(kernels):
    x = np.full(5000, 1e30, np.float32)  # squares beyond float32
    assert kernels.squared_norm(x) == pytest.approx(5000 * float(x[0]) ** 2, rel=1e-12)
    for bad in (np.inf, np.nan):
        x[4999] = bad
        np.testing.assert_equal(kernels.squared_norm(x), bad)


@both_dtypes
@pytest.mark.parametrize("size", [0, 1, 7, 1000, 140_001])
def test_average_kernel(kernels, dtype, size):
    rng = np.random.default_rng(0)
    mean, values = rng.standard_normal(size), rng.standard_normal(size).astype(dtype)
    expected = mean + 0.3 * (values.astype(np.float64) - mean)
    kernels.average(mean, values, 0.3)
    assert_close(mean, expected)


# --- the equations, as sums over all gradients so far ---------------------------------------

STEPS, LR = 6, 0.1


def make_parameters(dtype=np.float64, seed=0):
    """Parameters of a small layer: 4 names, 45 numbers."""
    parameters = fs.RNN(3, 4, dtype=dtype, seed=seed).parameters
    parameters.flat[:] += 1
    return parameters


def make_gradients(parameters, steps=STEPS, seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((steps, parameters.flat.size)).astype(parameters.flat.dtype)


def train(optimizer, gradients, **options):
    """The values after each step."""
    parameters, seen = optimizer.parameters, []
    for gradient in gradients:
        optimizer.zero_grad()
        parameters.flat_grad += gradient
        optimizer.step(**options)
        seen.append(parameters.flat.copy())
    return np.array(seen)


def decaying(gradients, decay):
    """Sums over the gradients so far, each decay times smaller a step."""
    t = np.arange(len(gradients))
    return np.tril(float(decay) ** np.maximum(t[:, None] - t, 0)) @ gradients


def sgd_steps(g):
    return LR * g


def momentum_steps(g):
    damped = np.concatenate([g[:1], 0.75 * g[1:]])  # the first gradient counts fully
    return LR * decaying(damped, 0.9)


def nesterov_steps(g):
    return LR * (g + 0.9 * decaying(g, 0.9))


def adam_steps(g, amsgrad=False):
    t = np.arange(1, STEPS + 1)[:, None]
    mean, square = 0.1 * decaying(g, 0.9), 0.01 * decaying(g * g, 0.99)
    if amsgrad:
        square = np.maximum.accumulate(square)
    return LR * mean / (1 - 0.9**t) / (np.sqrt(square / (1 - 0.99**t)) + 1e-3)


def rmsprop_steps(g):
    return LR * g / (np.sqrt(0.1 * decaying(g * g, 0.9)) + 1e-3)


def centered_steps(g):
    variance = 0.1 * decaying(g * g, 0.9) - (0.1 * decaying(g, 0.9)) ** 2
    return LR * decaying(g / (np.sqrt(variance) + 1e-3), 0.5)


def adagrad_steps(g):
    t = np.arange(STEPS)[:, None]
    return LR / (1 + 0.2 * t) * g / (np.sqrt(2 + np.cumsum(g * g, axis=0)) + 1e-3)


EQUATIONS = {
    "sgd": (fs.SGD, {}, sgd_steps),
    "momentum": (fs.SGD, {"momentum": 0.9, "dampening": 0.25}, momentum_steps),
    "nesterov": (fs.SGD, {"momentum": 0.9, "nesterov": True}, nesterov_steps),
    "adam": (fs.Adam, {"betas": (0.9, 0.99), "eps": 1e-3}, adam_steps),
    "amsgrad": (
        fs.Adam,
        {"betas": (0.9, 0.99), "eps": 1e-3, "amsgrad": True},
        lambda g: adam_steps(g, amsgrad=True),
    ),
    "rmsprop": (fs.RMSprop, {"alpha": 0.9, "eps": 1e-3}, rmsprop_steps),
    "centered": (
        fs.RMSprop,
        {"alpha": 0.9, "eps": 1e-3, "centered": True, "momentum": 0.5},
        centered_steps,
    ),
    "adagrad": (
        fs.Adagrad,
        {"lr_decay": 0.2, "initial_accumulator_value": 2, "eps": 1e-3},
        adagrad_steps,
    ),
}
all_optimizers = pytest.mark.parametrize("name", EQUATIONS)


def make_optimizer(name, parameters, **options):
    kind, own, _ = EQUATIONS[name]
    return kind(parameters, LR, **(own | options))


@all_optimizers
def test_equations(backend, name):
    parameters = make_parameters()
    start, gradients = parameters.flat.copy(), make_gradients(parameters)
    values = train(make_optimizer(name, parameters), gradients)
    expected = start - np.cumsum(EQUATIONS[name][2](gradients), axis=0)
    assert_close(values, expected, 1e-13)


def test_adamw_shrinks_the_values_apart_from_the_gradient(backend):
    parameters = make_parameters()
    expected, gradients = parameters.flat.copy(), make_gradients(parameters)
    optimizer = fs.AdamW(parameters, LR, betas=(0.9, 0.99), eps=1e-3, weight_decay=0.3)
    values = train(optimizer, gradients)
    for value, step in zip(values, adam_steps(gradients), strict=True):
        expected = expected * (1 - LR * 0.3) - step
        assert_close(value, expected, 1e-13)


@all_optimizers
def test_weight_decay_joins_the_gradient(backend, name):
    parameters, other = make_parameters(), make_parameters()
    optimizer = make_optimizer(name, parameters, weight_decay=0.3)
    plain = make_optimizer(name, other)
    for gradient in make_gradients(parameters):
        parameters.flat_grad[:] = gradient
        other.flat_grad[:] = gradient + 0.3 * other.flat
        optimizer.step()
        plain.step()
        assert_close(parameters.flat, other.flat, 1e-13)


@all_optimizers
@both_dtypes
def test_no_decay(backend, name, dtype):
    """Names that are left out fare as without weight decay, the others as with it."""
    results = {}
    for case, options in {
        "with": {"weight_decay": 0.3},
        "without": {},
        "some": {"weight_decay": 0.3, "no_decay": ["bias*", "weight_ih_*"]},
    }.items():
        parameters = make_parameters(dtype)
        train(make_optimizer(name, parameters, **options), make_gradients(parameters))
        results[case] = parameters.state_dict()
    for key, value in results["some"].items():
        expected = results["with" if key == "weight_hh_l0" else "without"][key]
        assert_same(fs.get_backend(), value, expected)
        assert np.abs(results["with"][key] - results["without"][key]).max() > 1e-3


class WithTable(fs.Module):
    """A table between two layers, within another module."""

    def __init__(self, freeze):
        table = fs.Embedding.from_pretrained(np.ones((7, 3), np.float32), freeze)
        inner = fs.Module(table=table, last=fs.Linear(3, 2, seed=1))
        super().__init__(first=fs.RNN(2, 3, seed=0), inner=inner)


@all_optimizers
def test_frozen_parameters_stay(backend, name):
    """Even under weight decay; the others change as they would beside a table that is trained."""
    models = {freeze: WithTable(freeze) for freeze in (True, False)}
    copied, loaded = copy.deepcopy(models[True]), pickle.loads(pickle.dumps(models[True]))
    for model in (*models.values(), copied, loaded):
        optimizer = make_optimizer(name, model.parameters, weight_decay=0.1)
        rng = np.random.default_rng(0)
        for _ in range(3):
            model.parameters.flat_grad[:] = rng.standard_normal(model.parameters.flat.size)
            optimizer.step()
    trained = models[False].state_dict()
    assert (trained["inner.table.weight"] != 1).all()
    for model in (models[True], copied, loaded):
        assert model.parameters.frozen == {"inner.table.weight"}
        for key, value in model.state_dict().items():
            if key == "inner.table.weight":
                assert (value == 1).all()
            else:
                assert_same(fs.get_backend(), value, trained[key])
    assert not models[False].parameters.frozen and models[True].inner.table.parameters.frozen


@both_dtypes
def test_defaults_are_pytorchs(dtype):
    parameters = make_parameters(dtype)
    assert repr(fs.SGD(parameters)) == (
        "SGD(lr=0.001, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0)"
    )
    adam = "betas=(0.9, 0.999), eps=1e-08, amsgrad=False"
    assert repr(fs.Adam(parameters)) == f"Adam(lr=0.001, {adam}, weight_decay=0.0)"
    assert repr(fs.AdamW(parameters)) == f"AdamW(lr=0.001, {adam}, weight_decay=0.01)"
    assert repr(fs.RMSprop(parameters)) == (
        "RMSprop(lr=0.01, alpha=0.99, eps=1e-08, momentum=0.0, centered=False, weight_decay=0.0)"
    )
    assert repr(fs.Adagrad(parameters)) == (
        "Adagrad(lr=0.01, lr_decay=0.0, initial_accumulator_value=0.0, eps=1e-10, weight_decay=0.0)"
    )


@all_optimizers
def test_a_step_allocates_no_arrays(name):
    if fs.get_backend() != "cython":
        pytest.skip("the promise of the compiled kernels")
    parameters = fs.RNN(200, 200, seed=0).parameters
    optimizer = make_optimizer(name, parameters, no_decay=["bias*"], weight_decay=0.1)
    optimizer.step(max_norm=1.0)
    tracemalloc.start()
    try:
        optimizer.step(max_norm=1.0)
        assert tracemalloc.get_traced_memory()[1] < 10_000 < parameters.flat.nbytes
    finally:
        tracemalloc.stop()


# --- scaling and clipping -------------------------------------------------------------------


@all_optimizers
def test_scale(backend, name):
    parameters, other = make_parameters(), make_parameters()
    gradients = make_gradients(parameters)
    values = train(make_optimizer(name, parameters), gradients, scale=0.5)
    assert_identical(values, train(make_optimizer(name, other), gradients * 0.5))
    assert_identical(parameters.flat_grad, gradients[-1])


@all_optimizers
@both_dtypes
@pytest.mark.parametrize("max_norm", [0.5, 1e4])
def test_a_clipped_step_is_clipping_and_a_step(backend, name, dtype, max_norm):
    parameters, other = make_parameters(dtype), make_parameters(dtype)
    optimizer, plain = make_optimizer(name, parameters), make_optimizer(name, other)
    for gradient in make_gradients(parameters):
        parameters.flat_grad[:] = other.flat_grad[:] = gradient
        norm = optimizer.step(max_norm=max_norm)
        assert_identical(parameters.flat_grad, gradient)
        assert norm == fs.clip_grad_norm(other, max_norm)
        assert plain.step() is None
        assert_close(parameters.flat, other.flat)


def test_norm_of_scaled_gradients(backend):
    parameters = make_parameters()
    parameters.flat_grad[:] = 2.0
    sgd = fs.SGD(parameters, 1.0)
    before = parameters.flat.copy()
    full = 2 * math.sqrt(parameters.flat.size)
    assert sgd.step(scale=-0.25, max_norm=np.inf) == pytest.approx(full / 4, rel=1e-15)
    assert_close(before - parameters.flat, np.full_like(before, -0.5))
    before = parameters.flat.copy()
    assert sgd.step(scale=0.25, max_norm=full / 8) == pytest.approx(full / 4, rel=1e-15)
    assert_close(before - parameters.flat, np.full_like(before, 0.25), 1e-6)


@both_dtypes
def test_clip_grad_norm(backend, dtype):
    parameters = make_parameters(dtype)
    gradient = make_gradients(parameters)[0]
    norm = np.linalg.norm(gradient.astype(np.float64))
    parameters.flat_grad[:] = gradient
    assert fs.clip_grad_norm(parameters, norm * 2) == pytest.approx(norm, rel=1e-14)
    assert_identical(parameters.flat_grad, gradient)
    assert fs.clip_grad_norm(parameters, 1.5) == pytest.approx(norm, rel=1e-14)
    assert_close(parameters.flat_grad, gradient * dtype(1.5 / (norm + 1e-6)))
    assert fs.clip_grad_norm(parameters, np.inf) == pytest.approx(1.5, rel=1e-6)
    parameters.zero_grad()
    assert fs.clip_grad_norm(parameters, 1.0) == 0


@both_dtypes
def test_clip_grad_value(dtype):
    parameters = make_parameters(dtype)
    gradient = make_gradients(parameters)[0]
    gradient[3] = np.nan
    parameters.flat_grad[:] = gradient
    fs.clip_grad_value(parameters, 0.5)
    expected = np.where(np.isnan(gradient), np.nan, np.minimum(np.maximum(gradient, -0.5), 0.5))
    assert_identical(parameters.flat_grad, expected.astype(dtype))
    assert np.count_nonzero(parameters.flat_grad == 0.5) > 3


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_norm_that_is_not_finite(backend, bad):
    parameters = make_parameters()
    adam = fs.Adam(parameters)
    train(adam, make_gradients(parameters, 2))
    parameters.grads["bias_hh_l0"][2] = parameters.grads["weight_ih_l0"][0, 0] = bad
    values, gradients = parameters.flat.copy(), parameters.flat_grad.copy()
    state = adam.state_dict()
    message = ["norm is", "NaN or infinity in weight_ih_l0, bias_hh_l0;"]
    for call in (lambda: adam.step(max_norm=1.0), lambda: fs.clip_grad_norm(parameters, 1.0)):
        with raises(FloatingPointError, *message):
            call()
        assert_identical(parameters.flat, values)
        assert_identical(parameters.flat_grad, gradients)
        assert_identical(tuple(adam.state_dict().values()), tuple(state.values()))
    parameters.zero_grad()
    adam.step(max_norm=1.0)  # the lock is free again


def test_a_norm_too_large_to_square(backend):
    parameters = make_parameters()
    parameters.flat_grad[:] = 1e200
    with raises(FloatingPointError, "norm is inf", "too large to square"):
        fs.clip_grad_norm(parameters, 1.0)


# --- state ----------------------------------------------------------------------------------


def saved(state, tmp_path):
    """The state after a stay in a file, where numbers become arrays without axes."""
    np.savez(tmp_path / "state.npz", **state)
    return np.load(tmp_path / "state.npz")


@all_optimizers
@both_dtypes
def test_a_saved_optimizer_goes_on_as_it_would_have(backend, name, dtype, tmp_path):
    parameters, other = make_parameters(dtype), make_parameters(dtype)
    gradients = make_gradients(parameters)
    optimizer = make_optimizer(name, parameters)
    train(optimizer, gradients[:3])
    optimizer.lr = 0.03
    resumed = make_optimizer(name, other)
    other.load_state_dict(parameters.state_dict())
    resumed.load_state_dict(saved(optimizer.state_dict(), tmp_path))
    assert (resumed.lr, resumed.initial_lr, resumed.steps) == (0.03, 0.03, 3)
    assert_identical(train(resumed, gradients[3:]), train(optimizer, gradients[3:]))


STATE_ARRAYS = {
    "sgd": [],
    "momentum": ["momentum_buffer"],
    "nesterov": ["momentum_buffer"],
    "adam": ["exp_avg", "exp_avg_sq"],
    "amsgrad": ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
    "rmsprop": ["square_avg"],
    "centered": ["square_avg", "grad_avg", "momentum_buffer"],
    "adagrad": ["sum"],
}


@all_optimizers
def test_names_in_the_state(name):
    parameters = make_parameters()
    optimizer = make_optimizer(name, parameters)
    state = optimizer.state_dict()
    arrays = [f"{array}.{key}" for array in STATE_ARRAYS[name] for key in parameters]
    assert list(state) == ["lr", "initial_lr", "step", *arrays]
    for key in arrays:
        assert state[key].shape == parameters[key.split(".")[1]].shape
        state[key] += 1  # copies: the optimiser doesn't see it
        assert not np.array_equal(optimizer.state_dict()[key], state[key])


@pytest.mark.parametrize(
    "changes, error, parts",
    [
        ({"lr": -1.0}, ValueError, ["lr", "at least 0", "-1.0"]),
        ({"lr": "fast"}, TypeError, ["lr", "number", "'fast'"]),
        ({"initial_lr": np.inf}, ValueError, ["initial_lr", "finite", "inf"]),
        ({"step": -1}, ValueError, ["step", "at least 0", "-1"]),
        ({"step": 1.5}, TypeError, ["step", "integer", "1.5"]),
        ({"exp_avg.bias_hh_l0": np.zeros(3)}, ValueError, ["exp_avg.bias_hh_l0", "(4,)", "(3,)"]),
        ({"exp_avg_sq.bias_hh_l0": None}, TypeError, ["exp_avg_sq.bias_hh_l0", "floating-point"]),
        ({"exp_avg_sq.bias_hh_l0": np.zeros(4, int)}, TypeError, ["exp_avg_sq.bias_hh_l0", "int"]),
        ({"exp_avg.weight": np.zeros(3)}, ValueError, ["unexpected", "exp_avg.weight"]),
    ],
)
def test_load_state_dict_takes_all_or_nothing(changes, error, parts):
    parameters = make_parameters()
    adam = fs.Adam(parameters)
    train(adam, make_gradients(parameters, 2))
    before = adam.state_dict()
    wrong = {key: value + 1 for key, value in before.items()} | changes
    with raises(error, *parts):
        adam.load_state_dict(wrong)
    assert_identical(tuple(adam.state_dict().values()), tuple(before.values()))


WITH_SQUARES = {
    "adam-amsgrad": lambda parameters: fs.Adam(parameters, amsgrad=True),
    "rmsprop": fs.RMSprop,
    "adagrad": fs.Adagrad,
}


@pytest.mark.parametrize("name", WITH_SQUARES)
def test_squares_in_a_state_are_not_negative(name):
    parameters = make_parameters()
    optimizer = WITH_SQUARES[name](parameters)
    before = optimizer.state_dict()
    squares = [key for key in before if key.endswith(".bias_hh_l0") and key[:8] != "exp_avg."]
    assert len(squares) == (2 if name == "adam-amsgrad" else 1)
    for key in squares:
        wrong = {k: v + 1 for k, v in before.items()} | {key: np.array([1, -0.5, 1, 1])}
        with raises(ValueError, f"{key} must hold squares, at least 0, got -0.5"):
            optimizer.load_state_dict(wrong)
        assert_identical(tuple(optimizer.state_dict().values()), tuple(before.values()))


def test_load_state_dict_of_another_optimizer():
    parameters = make_parameters()
    keeps = "another optimiser, which keeps {} where this Adam keeps exp_avg, exp_avg_sq"
    for other, kinds in (
        (fs.Adagrad(parameters), "sum"),
        (fs.SGD(parameters), "no arrays"),
        (fs.SGD(parameters, momentum=0.9), "momentum_buffer"),
        (fs.Adam(parameters, amsgrad=True), "exp_avg, exp_avg_sq, max_exp_avg_sq"),
    ):
        with raises(ValueError, "missing: ", "unexpected: ", keeps.format(kinds)) as caught:
            fs.Adam(parameters).load_state_dict(other.state_dict())
        assert len(str(caught.value)) < 600
    renamed = {
        name.replace("bias_hh", "b"): v for name, v in fs.Adam(parameters).state_dict().items()
    }
    with raises(
        ValueError, "missing: ['exp_avg.bias_hh_l0'", "unexpected: ['exp_avg.b_l0'"
    ) as caught:
        fs.Adam(parameters).load_state_dict(renamed)
    assert "another optimiser" not in str(caught.value)
    with raises(TypeError, "state_dict must be a mapping", "list"):
        fs.Adam(parameters).load_state_dict([1, 2])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@all_optimizers
def test_copies_are_whole_and_independent(name, duplicate):
    parameters = make_parameters()
    gradients = make_gradients(parameters)
    optimizer = make_optimizer(name, parameters)
    train(optimizer, gradients[:2])
    other = duplicate(optimizer)
    assert other.parameters is not parameters
    assert_identical(train(other, gradients[2:]), train(optimizer, gradients[2:]))
    state = tuple(optimizer.state_dict().values())
    train(other, gradients)
    assert_identical(tuple(optimizer.state_dict().values()), state)


# --- arguments ------------------------------------------------------------------------------

KINDS = [fs.SGD, fs.Adam, fs.AdamW, fs.RMSprop, fs.Adagrad]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options, error, parts",
    [
        ({"lr": -0.1}, ValueError, ["lr", "at least 0", "-0.1"]),
        ({"lr": np.nan}, ValueError, ["lr", "finite", "nan"]),
        ({"lr": np.inf}, ValueError, ["lr", "finite", "inf"]),
        ({"lr": "0.1"}, TypeError, ["lr", "number", "'0.1'"]),
        ({"lr": True}, TypeError, ["lr", "number", "True"]),
        ({"weight_decay": -1}, ValueError, ["weight_decay", "at least 0", "-1"]),
        ({"weight_decay": None}, TypeError, ["weight_decay", "number", "None"]),
        ({"no_decay": "bias*"}, TypeError, ["no_decay", "list of patterns", "'bias*'"]),
        ({"no_decay": 3}, TypeError, ["no_decay", "list of patterns", "3"]),
        ({"no_decay": [3]}, TypeError, ["no_decay", "strings", "3"]),
        ({"no_decay": ["Bias*"]}, ValueError, ["no_decay", "'Bias*'", "weight_ih_l0"]),
    ],
)
def test_arguments_of_all(kind, options, error, parts):
    with raises(error, *parts):
        kind(make_parameters(), **options)


@pytest.mark.parametrize(
    "kind, options, error, parts",
    [
        (fs.SGD, {"momentum": -1}, ValueError, ["momentum", "at least 0", "-1"]),
        (fs.SGD, {"dampening": np.nan}, ValueError, ["dampening", "nan"]),
        (fs.SGD, {"nesterov": 1}, TypeError, ["nesterov", "True or False", "1"]),
        (fs.SGD, {"nesterov": True}, ValueError, ["nesterov", "momentum=0.0"]),
        (
            fs.SGD,
            {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
            ValueError,
            ["nesterov", "dampening=0.1"],
        ),
        (fs.Adam, {"betas": 0.9}, TypeError, ["betas", "pair", "0.9"]),
        (fs.Adam, {"betas": (0.9,)}, TypeError, ["betas", "pair", "(0.9,)"]),
        (fs.Adam, {"betas": (0.9, 1.0)}, ValueError, ["betas[1]", "below 1", "1.0"]),
        (fs.AdamW, {"betas": (-0.1, 0.9)}, ValueError, ["betas[0]", "-0.1"]),
        (fs.Adam, {"eps": -1e-8}, ValueError, ["eps", "at least 0"]),
        (fs.AdamW, {"amsgrad": "yes"}, TypeError, ["amsgrad", "'yes'"]),
        (fs.RMSprop, {"alpha": 1.1}, ValueError, ["alpha", "from 0 to 1", "1.1"]),
        (fs.RMSprop, {"eps": None}, TypeError, ["eps", "None"]),
        (fs.RMSprop, {"momentum": -1}, ValueError, ["momentum", "-1"]),
        (fs.RMSprop, {"centered": 0}, TypeError, ["centered", "0"]),
        (fs.Adagrad, {"lr_decay": -1}, ValueError, ["lr_decay", "-1"]),
        (fs.Adagrad, {"eps": -1}, ValueError, ["eps", "-1"]),
        (
            fs.Adagrad,
            {"initial_accumulator_value": -1},
            ValueError,
            ["initial_accumulator_value", "-1"],
        ),
    ],
)
def test_arguments(kind, options, error, parts):
    with raises(error, *parts):
        kind(make_parameters(), **options)


def test_parameters_must_be_parameters():
    layer = fs.RNN(2, 3)
    calls = [
        *KINDS,
        fs.AveragedParameters,
        lambda value: fs.clip_grad_norm(value, 1.0),
        lambda value: fs.clip_grad_value(value, 1.0),
    ]
    for call in calls:
        with raises(TypeError, "parameters must be", ".parameters", "RNN"):
            call(layer)


def test_the_learning_rate_can_be_assigned():
    parameters = make_parameters()
    sgd = fs.SGD(parameters, 0.1)
    parameters.flat_grad[:] = 1
    before = parameters.flat.copy()
    sgd.lr = 2
    sgd.step()
    assert_close(before - parameters.flat, np.full_like(before, 2))
    for wrong, error in ((-1, ValueError), (np.nan, ValueError), (None, TypeError)):
        with raises(error, "lr must be", str(wrong)):
            sgd.lr = wrong
    assert sgd.lr == 2


@all_optimizers
def test_other_attributes_stay(name):
    optimizer = make_optimizer(name, make_parameters())
    for attribute in [*optimizer.option_names, "parameters", "weight_decay", "no_decay", "steps"]:
        with raises(AttributeError, f"{attribute} can't be changed"):
            setattr(optimizer, attribute, None)
        assert getattr(optimizer, attribute) is not None


@pytest.mark.parametrize(
    "options, error, parts",
    [
        ({"scale": np.nan}, ValueError, ["scale", "finite", "nan"]),
        ({"scale": None}, TypeError, ["scale", "None"]),
        ({"max_norm": 0}, ValueError, ["max_norm", "above 0", "0"]),
        ({"max_norm": np.nan}, ValueError, ["max_norm", "nan"]),
        ({"max_norm": "1"}, TypeError, ["max_norm", "'1'"]),
    ],
)
def test_arguments_of_a_step(options, error, parts):
    parameters = make_parameters()
    adam = fs.Adam(parameters)
    parameters.flat_grad[:] = 1
    before = parameters.flat.copy()
    with raises(error, *parts):
        adam.step(**options)
    if "max_norm" in options:
        with raises(error, *parts):
            fs.clip_grad_norm(parameters, options["max_norm"])
        with raises(error, "clip_value", *parts[1:]):
            fs.clip_grad_value(parameters, options["max_norm"])
    assert_identical(parameters.flat, before)
    assert (parameters.flat_grad == 1).all() and adam.steps == 0


# --- averages -------------------------------------------------------------------------------


def follow(averaged, values):
    for value in values:
        averaged.parameters.flat[:] = value
        averaged.update()


@both_dtypes
def test_mean(backend, dtype):
    parameters = make_parameters(dtype)
    values = make_gradients(parameters, 9)
    averaged = fs.AveragedParameters(parameters)
    follow(averaged, values)
    with averaged.applied() as applied:
        assert applied is parameters
        assert_close(parameters.flat, values.mean(axis=0, dtype=np.float64).astype(dtype))
    assert_identical(parameters.flat, values[-1])
    assert averaged.updates == 9


@both_dtypes
def test_exponential_mean(backend, dtype):
    parameters = make_parameters(dtype)
    values = make_gradients(parameters, 9)
    averaged = fs.AveragedParameters(parameters, decay=0.8)
    follow(averaged, values)
    weights = 0.2 * 0.8 ** np.arange(8, -1, -1.0)
    weights[0] = 0.8**8  # the first one begins
    with averaged.applied():
        assert_close(parameters.flat, (weights @ values.astype(np.float64)).astype(dtype))


def test_small_steps_add_up(backend):
    """In float32 each of them would be lost."""
    parameters = make_parameters(np.float32)
    averaged = fs.AveragedParameters(parameters, decay=0.9999)
    later = np.float32(1 + 1e-4)
    follow(averaged, [1.0, *[later] * 500])
    expected = 1 + (float(later) - 1) * (1 - 0.9999**500)
    assert_close(averaged.state_dict()["average.bias_hh_l0"], np.full(4, expected), 1e-14)


def test_values_come_back_after_an_error():
    parameters = make_parameters()
    averaged = fs.AveragedParameters(parameters)
    follow(averaged, [1.0, 3.0])
    with raises(KeyError, "gone"), averaged.applied():
        assert (parameters.flat == 2).all()
        raise KeyError("gone")
    assert (parameters.flat == 3).all()
    averaged.update()
    with averaged.applied():
        assert_close(parameters.flat, np.full_like(parameters.flat, 7 / 3))


def test_averages_out_of_turn():
    averaged = fs.AveragedParameters(make_parameters())
    with raises(RuntimeError, "no average yet"), averaged.applied():
        pass
    follow(averaged, [1.0, 3.0])
    with averaged.applied():
        with raises(RuntimeError, "update() can't be called within applied()"):
            averaged.update()
        with raises(RuntimeError, "applied already"), averaged.applied():
            pass
        assert (averaged.parameters.flat == 2).all()
    assert (averaged.parameters.flat == 3).all()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickle.dumps])
def test_averages_are_not_copied_while_they_are_applied(duplicate):
    """The copy's values could not come back."""
    averaged = fs.AveragedParameters(make_parameters())
    follow(averaged, [1.0, 3.0])
    with averaged.applied(), raises(RuntimeError, "within applied()", "outside"):
        duplicate(averaged)
    duplicate(averaged)
    copy.deepcopy(averaged).update()


@pytest.mark.parametrize("decay", [None, 0.7])
@both_dtypes
def test_saved_averages_go_on_as_they_would_have(backend, dtype, decay, tmp_path):
    parameters, other = make_parameters(dtype), make_parameters(dtype)
    values = make_gradients(parameters, 6)
    averaged = fs.AveragedParameters(parameters, decay)
    resumed = fs.AveragedParameters(other, decay)
    follow(averaged, values[:3])
    resumed.load_state_dict(saved(averaged.state_dict(), tmp_path))
    follow(averaged, values[3:])
    follow(resumed, values[3:])
    assert resumed.updates == 6
    assert_identical(tuple(resumed.state_dict().values()), tuple(averaged.state_dict().values()))


@pytest.mark.parametrize(
    "changes, error, parts",
    [
        ({"updates": -1}, ValueError, ["updates", "at least 0"]),
        ({"average.bias_hh_l0": np.zeros(5)}, ValueError, ["average.bias_hh_l0", "(4,)", "(5,)"]),
        ({"mean": 1.0}, ValueError, ["unexpected", "mean"]),
    ],
)
def test_averages_take_all_or_nothing(changes, error, parts):
    averaged = fs.AveragedParameters(make_parameters())
    follow(averaged, [1.0, 3.0])
    before = averaged.state_dict()
    with raises(error, *parts):
        averaged.load_state_dict({k: v + 1 for k, v in before.items()} | changes)
    assert_identical(tuple(averaged.state_dict().values()), tuple(before.values()))


@pytest.mark.parametrize("decay, error", [(1.0, ValueError), (-0.1, ValueError), ("1", TypeError)])
def test_decay_of_averages(decay, error):
    with raises(error, "decay must be a number from 0 to below 1", str(decay)):
        fs.AveragedParameters(make_parameters(), decay)


OPTIMIZERS = [fs.SGD, fs.Adam, fs.AdamW, fs.RMSprop, fs.Adagrad]


@pytest.mark.parametrize("make", [*OPTIMIZERS, fs.AveragedParameters])
def test_no_shallow_copies(make):
    """They would share moments or averages, but not how many updates those are of."""
    model = fs.RNN(1, 1, seed=0)
    owner = make(model.parameters)
    with raises(TypeError, f"shallow copy of {make.__name__}", "deepcopy", "state_dict()"):
        copy.copy(owner)
    other, own = copy.deepcopy((model, owner))
    assert own.parameters is other.parameters


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_what_an_optimizer_does_not_have_is_not_assigned(make):
    optimizer = make(fs.RNN(1, 1).parameters)
    for name in ("learning_rate", "param_groups"):
        parts = f"{make.__name__} has no attribute '{name}'", f"arguments of {make.__name__}(...)"
        with raises(AttributeError, *parts):
            setattr(optimizer, name, 0.1)
        assert not hasattr(optimizer, name)
    optimizer.lr = 0.5
    assert optimizer.lr == 0.5


def test_what_schedules_and_averages_do_not_have_is_not_assigned():
    optimizer = fs.SGD(fs.RNN(1, 1).parameters, 1.0)
    for other, name in (
        (fs.StepLR(optimizer, 2), "gamma"),
        (fs.ReduceLROnPlateau(optimizer), "patience"),
        (fs.AveragedParameters(optimizer.parameters), "beta"),
    ):
        with raises(AttributeError, f"has no attribute '{name}' that can be assigned"):
            setattr(other, name, 3)
