"""Latent variables: gradients, divergences, weights of the divergence, bags of words."""

import copy

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises
from latent_cases import SIZES, C, E, N, Z, make_inputs, make_latent
from layer_cases import backend_fixture, check_gradients  # noqa: F401

import fastseq as fs
from fastseq.latent import divergence, log_mean_exp


@pytest.mark.parametrize("rows", [1, N])
@pytest.mark.parametrize("name", SIZES)
def test_gradients(backend, name, rows):
    latent = make_latent(name)
    condition, evidence, noise = make_inputs(latent, rows)
    rng = np.random.default_rng(2)
    dz, dkl = rng.standard_normal((2, rows, Z))

    def value():
        z, kl, _ = latent.forward(condition, evidence, noise)
        return (dz * z).sum() + (dkl * kl).sum()

    latent.parameters.zero_grad()
    _, _, backprop = latent.forward(condition, evidence, noise)
    d_condition, d_evidence = backprop(dz, dkl)
    arrays, gradients = [evidence, latent.parameters.flat], [d_evidence]
    gradients.append(latent.parameters.flat_grad)
    if condition is None:
        assert d_condition is None
    else:
        arrays.append(condition)
        gradients.append(d_condition)
    check_gradients(value, arrays, gradients)


def test_gradients_of_nothing_are_zeros():
    latent = make_latent()
    condition, evidence, noise = make_inputs(latent)
    whole = [np.zeros((N, Z)), np.ones((N, Z))]
    for given in ([None, whole[1]], [whole[1], None]):
        expected = [whole[0] if array is None else array for array in given]
        results = []
        for gradients in (given, expected):
            latent.parameters.zero_grad()
            _, _, backprop = latent.forward(condition, evidence, noise)
            results.append((*backprop(*gradients), latent.parameters.flat_grad.copy()))
        assert_identical(*results)


def test_divergence_is_that_of_the_densities():
    """KL(q || p) = E_q log q / p, here by quadrature."""
    mean_q, log_var_q, mean_p, log_var_p = 0.3, -0.8, -0.5, 0.4
    x = np.linspace(-12, 12, 200_001)

    def log_density(mean, log_var):
        return -(np.square(x - mean) / np.exp(log_var) + log_var + np.log(2 * np.pi)) / 2

    q, p = log_density(mean_q, log_var_q), log_density(mean_p, log_var_p)
    expected = (np.exp(q) * (q - p)).sum() * (x[1] - x[0])
    assert divergence(mean_q, log_var_q, mean_p, log_var_p) == pytest.approx(expected, rel=1e-9)


def test_divergence_of_equals_is_0_and_never_below():
    rng = np.random.default_rng(0)
    mean, log_var = rng.standard_normal((2, 1000))
    assert not divergence(mean, log_var, mean, log_var).any()
    for scale in (1e-9, 1e-6, 1e-3, 1.0):
        other = log_var + scale * rng.standard_normal(1000)
        assert divergence(mean, log_var, mean, other).min() > -1e-16


def test_forward_is_what_prior_and_posterior_say():
    latent = make_latent()
    condition, evidence, noise = make_inputs(latent)
    mean, log_var = latent.posterior(condition, evidence)
    z, kl, backprop = latent.forward(condition, evidence, noise)
    assert_identical(backprop.posterior, (mean, log_var))
    assert_close(z, mean + np.exp(log_var / 2) * noise)
    assert_close(kl, divergence(mean, log_var, *latent.prior(condition)))
    assert_close(latent.forward(condition, evidence, np.zeros((N, Z)))[0], mean)


def test_without_a_condition_the_prior_is_a_standard_normal():
    latent = make_latent("no condition")
    mean, log_var = latent.prior()
    assert not mean.any() and not log_var.any() and mean.shape == (1, Z)
    drawn = latent.sample(n=20_000, seed=0)
    assert drawn.shape == (20_000, Z)
    assert abs(drawn.mean(axis=0)).max() < 0.03 and abs(drawn.std(axis=0) - 1).max() < 0.03


def test_samples_of_the_prior_have_its_mean_and_deviation():
    latent = make_latent()
    condition, _, _ = make_inputs(latent)
    mean, log_var = latent.prior(condition)
    drawn = latent.sample(condition, 20_000, seed=0)
    assert drawn.shape == (N, 20_000, Z)
    assert_close(drawn.mean(axis=1), mean, 0.05)
    assert_close(drawn.std(axis=1), np.exp(log_var / 2), 0.05)


def test_noise_is_drawn_from_the_own_generator():
    latent = make_latent()
    condition, evidence, _ = make_inputs(latent)
    state = latent.random_state
    first = latent.forward(condition, evidence)[0]
    assert (latent.forward(condition, evidence)[0] != first).any()
    latent.random_state = state
    assert_identical(latent.forward(condition, evidence)[0], first)
    means, _ = latent.posterior(condition, evidence)
    drawn = np.array([latent.forward(condition, evidence)[0] for _ in range(5000)])
    _, log_var = latent.posterior(condition, evidence)
    assert_close(drawn.mean(axis=0), means, 0.1)
    assert_close(drawn.std(axis=0), np.exp(log_var / 2), 0.1)


def test_importance_samples_have_weights_of_1_in_the_mean():
    latent = make_latent()
    latent.parameters.flat[:] *= 0.4
    inputs = make_inputs(latent)[:2]
    z, log_weights = latent.importance_samples(*inputs, 50_000, seed=0)
    assert z.shape == (50_000, N, Z) and log_weights.dtype == np.float64
    assert abs(log_mean_exp(log_weights)).max() < 0.05
    # in the mean the logarithms are the divergence, the other way
    _, kl, _ = latent.forward(*inputs)
    assert_close(-log_weights.mean(axis=0), kl.sum(axis=1), 0.03)
    # and weighted samples are those of the prior
    weights = np.exp(log_weights)[..., None]
    assert_close((weights * z).mean(axis=0), latent.prior(inputs[0])[0], 0.05)


def test_importance_weights_estimate_a_likelihood_that_is_known():
    """x = z + noise, both N(0, 1), is N(0, 2); the more samples the closer, from below."""
    latent = fs.GaussianLatent(0, 1, 1, hidden_size=0, dtype=np.float64, seed=0)
    latent.posterior_network.output.parameters["weight"][...] = [[0.3], [0.0]]
    x, rng = np.array([[1.3]]), np.random.default_rng(0)
    exact = -(np.square(x[0, 0]) / 2 + np.log(2 * np.pi * 2)) / 2

    def bound(n):
        estimates = []
        for _ in range(4000 // n):
            z, log_weights = latent.importance_samples(None, x, n, seed=rng)
            fits = -(np.square(x - z)[..., 0] + np.log(2 * np.pi)) / 2
            estimates.append(log_mean_exp(fits + log_weights)[0])
        return np.mean(estimates)

    one, ten, many = bound(1), bound(10), bound(4000)
    assert one < ten < exact + 0.02 and many == pytest.approx(exact, abs=0.02)
    assert one < exact - 0.05


def test_log_mean_exp():
    values = np.array([[0.0, -1000.0, -np.inf], [np.log(3), -1000.0, -np.inf]])
    assert_close(log_mean_exp(values)[:2], np.array([np.log(2), -1000.0]))
    assert log_mean_exp(values)[2] == -np.inf


def test_a_condition_reaches_prior_and_posterior():
    latent = make_latent()
    condition, evidence, noise = make_inputs(latent)
    z, kl, _ = latent.forward(condition, evidence, noise)
    other_z, other_kl, _ = latent.forward(condition + 1, evidence, noise)
    assert (z != other_z).all() and (kl != other_kl).all()
    assert (latent.prior(condition)[0] != latent.prior(condition + 1)[0]).all()


def test_rows_do_not_depend_on_each_other():
    latent = make_latent()
    arrays = make_inputs(latent)
    z, kl, _ = latent.forward(*arrays)
    for row in range(0, N, 2):
        own = [array[row : row + 2] for array in arrays]
        some_z, some_kl, _ = latent.forward(*own)
        assert_close((some_z, some_kl), (z[row : row + 2], kl[row : row + 2]))


def test_no_rows():
    latent = make_latent()
    latent.parameters.zero_grad()
    z, kl, backprop = latent.forward(*make_inputs(latent, rows=0))
    d_condition, d_evidence = backprop(z, kl)
    assert z.shape == kl.shape == (0, Z)
    assert d_condition.shape == (0, C) and d_evidence.shape == (0, E)
    assert not latent.parameters.flat_grad.any()


@pytest.mark.filterwarnings("error")
def test_overflow_shows_without_a_warning():
    latent = make_latent(dtype=np.float32)
    latent.posterior_network.output.parameters["bias"][Z:] = 500
    condition, evidence, noise = make_inputs(latent)
    _, kl, backprop = latent.forward(condition, evidence, noise)
    assert np.isinf(kl).all()
    backprop(np.ones_like(kl), np.ones_like(kl))
    assert not np.isfinite(latent.parameters.flat_grad).all()


def test_float32_agrees():
    latent, single = make_latent(), make_latent(dtype=np.float32)
    arrays = make_inputs(latent)
    z, kl, _ = single.forward(*[array.astype(np.float32) for array in arrays])
    assert z.dtype == kl.dtype == np.float32
    assert_close((z.astype(float), kl.astype(float)), latent.forward(*arrays)[:2], 1e-5)


def test_backprop_runs_once_and_only_with_good_gradients():
    latent = make_latent()
    z, _, backprop = latent.forward(*make_inputs(latent))
    with raises(ValueError, "dkl must have the shape of kl, (5, 2), got (5, 3)"):
        backprop(z, np.ones((N, 3)))
    backprop(z, None)
    with raises(RuntimeError, "already run"):
        backprop(z, None)
    with raises(TypeError, "can't be copied"):
        copy.copy(backprop)


def test_errors_of_latent():
    with raises(ValueError, "latent_size must be at least 1, got 0"):
        fs.GaussianLatent(0, 4, 0)
    with raises(ValueError, "condition_size must be at least 0, got -1"):
        fs.GaussianLatent(-1, 4, 2)
    latent, free = make_latent(), make_latent("no condition")
    condition, evidence, _ = make_inputs(latent)
    with raises(ValueError, "condition must be an array (N, 3)", "got None"):
        latent.forward(None, evidence)
    with raises(ValueError, "condition must be None, since condition_size is 0"):
        free.forward(condition, evidence)
    with raises(ValueError, "condition must have shape (..., 3), got (5, 4)", "condition_size"):
        latent.forward(evidence, evidence)
    with raises(ValueError, "evidence must have shape (N, E) = (4, 4), got (5, 4)"):
        latent.forward(condition[:4], evidence)
    with raises(ValueError, "evidence must have shape (N, 4), got (4,)"):
        latent.forward(condition, evidence[0])
    with raises(ValueError, "noise must have shape (N, Z) = (5, 2), got (5, 3)"):
        latent.forward(condition, evidence, condition)
    with raises(TypeError, "evidence must hold floating-point numbers"):
        latent.posterior(condition, np.ones((N, E), int))
    with raises(ValueError, "n must be at least 1, got 0"):
        latent.sample(condition, 0)


def test_state_dict_and_copies():
    latent, other = make_latent(), make_latent(seed=5)
    other.load_state_dict(latent.state_dict())
    arrays = make_inputs(latent)
    expected = latent.forward(*arrays)[:2]
    assert_identical(other.forward(*arrays)[:2], expected)
    assert_identical(copy.deepcopy(latent).forward(*arrays)[:2], expected)
    assert repr(latent) == "GaussianLatent(3, 4, 2, dtype=float64)"


# --- weights of the divergence ------------------------------------------------------------------


def test_schedules():
    constant = fs.KLSchedule("constant", weight=0.3)
    assert {constant(update) for update in (0, 1, 10**6)} == {0.3}
    linear = fs.KLSchedule("linear", updates=10, weight=2.0)
    assert [linear(update) for update in (0, 5, 10, 1000)] == [0.0, 1.0, 2.0, 2.0]
    cyclical = fs.KLSchedule("cyclical", updates=10, cycles=3)
    for cycle in range(3):
        assert [cyclical(20 * cycle + n) for n in (0, 5, 10, 19)] == [0.0, 0.5, 1.0, 1.0]
    assert [cyclical(60 + n) for n in (0, 5, 20)] == [1.0, 1.0, 1.0]


def test_settings_of_schedules_stay():
    schedule = fs.KLSchedule("linear", updates=2)
    for name in ("kind", "updates", "cycles", "weight"):
        with raises(AttributeError, f"{name} can't be changed: make a new KLSchedule"):
            setattr(schedule, name, -5)
    with raises(AttributeError, "KLSchedule has no attribute 'wait'"):
        schedule.wait = 1
    with raises(TypeError, "KLSchedule takes kind and by name updates, cycles, weight; got wait"):
        fs.KLSchedule(wait=1)


def test_errors_of_schedules():
    with raises(ValueError, "kind must be one of 'constant', 'linear', 'cyclical', got 'sine'"):
        fs.KLSchedule("sine")
    with raises(ValueError, "updates must be at least 1, got 0"):
        fs.KLSchedule("linear", updates=0)
    with raises(ValueError, "cycles must be at least 1, got 0"):
        fs.KLSchedule("cyclical", cycles=0)
    with raises(ValueError, "weight must be a finite number, at least 0, got -1.0"):
        fs.KLSchedule("constant", weight=-1)
    for kind in ("constant", "linear", "cyclical"):
        schedule = fs.KLSchedule(kind, updates=4)
        with raises(ValueError, "update must be at least 0, got -3"):
            schedule(-3)
        with raises(TypeError, "update must be an integer, got 'a'"):
            schedule("a")


@pytest.mark.parametrize("least", [0.0, 0.4, 10.0])
def test_gradients_of_free_bits(least):
    kl = np.random.default_rng(0).random((N, 4))
    value, derivative = fs.free_bits(kl, least)
    assert value == pytest.approx(np.maximum(kl.mean(axis=0), least).sum(), rel=1e-14)
    check_gradients(lambda: fs.free_bits(kl, least)[0], [kl], [derivative])
    assert derivative.any() == (least < 10)


def test_free_bits_of_no_rows():
    value, derivative = fs.free_bits(np.empty((0, 4), np.float32), 0.5)
    assert value == 0 and derivative.shape == (0, 4) and derivative.dtype == np.float32


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_free_bits_do_not_hide_what_is_not_finite(least):
    kl = np.array([[np.nan, 1.0, 0.1], [1.0, 1.0, 0.1]])
    value, derivative = fs.free_bits(kl, least)
    assert np.isnan(value)
    assert_identical(derivative, np.array([[0.5, 0.5, 0.0 if least else 0.5]] * 2))
    kl[0, 0] = np.inf
    assert fs.free_bits(kl, least)[0] == np.inf


def test_errors_of_free_bits_and_active_units():
    with raises(ValueError, "kl must have shape (N, Z), got (3,)"):
        fs.free_bits(np.ones(3))
    with raises(ValueError, "least must be a finite number, at least 0"):
        fs.free_bits(np.ones((3, 3)), -0.1)
    with raises(ValueError, "means must have shape (N, Z), got (3,)"):
        fs.active_units(np.ones(3))
    with raises(TypeError, "threshold must be a finite number, at least 0, got 'a'"):
        fs.active_units(np.ones((3, 3)), "a")
    with raises(ValueError, "threshold must be a finite number, at least 0, got -1"):
        fs.active_units(np.ones((3, 3)), -1)


def test_active_units():
    rng = np.random.default_rng(0)
    means = rng.standard_normal((1000, 5)) * [1, 0.5, 0.11, 0.09, 0] + 7
    assert fs.active_units(means) == fs.active_units(means.astype(np.float32)) == 3
    assert fs.active_units(means, threshold=0.2) == 2
    assert fs.active_units(means[:1]) == fs.active_units(means[:0]) == 0


# --- bags of words ------------------------------------------------------------------------------


WORDS = 7


def make_bag(reduction="mean", **options):
    loss = fs.BagOfWordsLoss(Z, WORDS, reduction=reduction, dtype=np.float64, seed=0, **options)
    loss.parameters.flat[:] = np.random.default_rng(0).standard_normal(loss.parameters.flat.size)
    return loss


def make_words(longest=6, rows=N, seed=0):
    """x, words with repetitions, and a mask that leaves row 0 without any."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, Z))
    words, lengths = rng.integers(WORDS, size=(longest, rows)), rng.integers(1, longest, rows)
    lengths[0] = 0
    return x, words, np.arange(longest)[:, None] < lengths


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("hidden_size", [None, 3])
def test_gradients_of_bags(backend, reduction, hidden_size):
    loss = make_bag(reduction, hidden_size=hidden_size)
    x, words, mask = make_words()
    loss.parameters.zero_grad()
    value, backprop = loss.forward(x, words, mask)
    dx = backprop(0.7)
    assert loss(x, words, mask) == pytest.approx(value, rel=1e-14)
    assert not dx[0].any() and dx[1:].all()
    gradients = [dx, loss.parameters.flat_grad]
    check_gradients(lambda: 0.7 * loss(x, words, mask), [x, loss.parameters.flat], gradients)


def test_bag_is_the_cross_entropy_of_each_word():
    loss, (x, words, mask) = make_bag(), make_words()
    logits = loss.output(np.tanh(loss.hidden(x)))
    expected = fs.CrossEntropyLoss()(np.broadcast_to(logits, (6, N, WORDS)), words, mask)
    assert loss(x, words, mask) == pytest.approx(expected, rel=1e-13)


def test_bag_does_not_know_order_or_padding():
    loss, (x, words, mask) = make_bag(), make_words()
    value = loss(x, words, mask)
    assert loss(x, words[::-1], mask[::-1]) == pytest.approx(value, rel=1e-14)
    assert loss(x, np.where(mask, words, -100)) == pytest.approx(value, rel=1e-14)
    assert loss(x, np.where(mask, words, 99), mask) == pytest.approx(value, rel=1e-14)


def test_bags_of_nothing():
    loss, (x, words, mask) = make_bag(), make_words()
    value, backprop = loss.forward(x, words, np.zeros_like(mask))
    assert value == 0 and not backprop().any()
    value, backprop = loss.forward(x[:0], words[:, :0])
    assert value == 0 and backprop().shape == (0, Z)


def test_errors_of_bags():
    loss, (x, words, mask) = make_bag(), make_words()
    with raises(ValueError, "targets must lie between 0 and 6", "got 7 at targets[2, 1]"):
        loss(x, np.where(np.arange(words.size).reshape(words.shape) == 2 * N + 1, 7, words))
    with raises(ValueError, "targets must have shape (T, 5)", "got (5,)"):
        loss(x, words[0])
    with raises(ValueError, "x must have shape (N, 2), got (6, 5, 2)"):
        loss(np.ones((6, N, Z)), words)
    with raises(ValueError, "mask must have the shape of the targets"):
        loss(x, words, mask.T)
    with raises(ValueError, "n_classes must be at least 1"):
        fs.BagOfWordsLoss(2, 0)


def test_a_bag_is_part_of_a_model_and_learns():
    loss, (x, words, mask) = make_bag(), make_words()
    adam = fs.Adam(loss.parameters, lr=0.1)
    values = []
    for _ in range(1000):
        adam.zero_grad()
        value, backprop = loss.forward(x, words, mask)
        backprop()
        adam.step()
        values.append(value)
    # what is left is the entropy of the words within each row
    counts = np.array(
        [np.bincount(w[m], minlength=WORDS) for w, m in zip(words.T, mask.T, strict=True)]
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    least = -(counts * np.log(np.where(shares > 0, shares, 1))).sum() / counts.sum()
    assert least < values[-1] < least + 0.02 < values[0]
