"""The autoencoder for vectors: what it finds, what it makes, and what it refuses."""

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises

import fastseq as fs


def mixed(rows=300, features=5, factors=2, noise=0.1, seed=0):
    """Features that a few numbers are behind, in units of their own."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, factors)) @ rng.standard_normal((factors, features))
    return (X + noise * rng.standard_normal(X.shape)) * 10.0 ** np.arange(features) + 7


def bits(rows=300, features=12, kinds=3, seed=0):
    """Patterns of 0 and 1 with some errors."""
    rng = np.random.default_rng(seed)
    patterns = rng.random((kinds, features)) < 0.5
    X = patterns[rng.integers(kinds, size=rows)]
    return (X ^ (rng.random(X.shape) < 0.05)).astype(np.float64)


def make(**settings):
    usual = {"latent_size": 4, "hidden_size": 24, "epochs": 30, "lr": 0.01, "random_state": 0}
    return fs.VAE(**(usual | settings))


@pytest.fixture(name="fitted", scope="module")
def fitted_fixture():
    return make().fit(mixed()), mixed()


def test_it_uses_as_many_numbers_as_there_are(fitted):
    vae, X = fitted
    report = vae.latent_report(X)
    assert report.active_units == 2 and report.kl > 2
    error = np.square((vae.reconstruct(X) - X) / X.std(axis=0)).mean()
    assert error < 0.05
    assert report.bound == pytest.approx(-report.reconstruction - report.kl)


def test_more_samples_come_closer_to_the_likelihood(fitted):
    vae, X = fitted
    bounds = [vae.log_prob(X, n).mean() for n in (1, 10, 100)]
    assert bounds[0] < bounds[1] < bounds[2]
    assert vae.score(X) == vae.log_prob(X, 50).mean()


def test_the_likelihood_of_linear_data_is_that_of_a_gaussian():
    """With enough samples: x is Gaussian with a covariance that is known, in any units."""
    rng = np.random.default_rng(0)
    mixing = np.array([[1.0, 2.0, -1.0]])
    X = rng.standard_normal((2000, 1)) @ mixing + 0.5 * rng.standard_normal((2000, 3))
    X = X * [1, 10, 100] + [0, 5, -300]
    vae = make(latent_size=1, epochs=40, batch_size=100).fit(X)
    covariance = np.cov(X.T)
    steps = X - X.mean(axis=0)
    distances = np.einsum("ni,ij,nj->n", steps, np.linalg.inv(covariance), steps)
    exact = -(distances + np.linalg.slogdet(2 * np.pi * covariance)[1]).mean() / 2
    assert vae.log_prob(X[:500], 200).mean() == pytest.approx(exact, abs=0.15)


def test_new_vectors_are_like_those_of_fit(fitted):
    vae, X = fitted
    new = vae.sample(4000, noise=True, seed=0)
    assert new.shape == (4000, 5) and new.dtype == np.float32
    scale = X.std(axis=0)
    assert (abs(new.mean(axis=0) - X.mean(axis=0)) < 0.2 * scale).all()
    assert abs(np.corrcoef(new.T) - np.corrcoef(X.T)).max() < 0.15
    assert_identical(vae.sample(3, seed=1), vae.sample(3, seed=1))
    assert (vae.sample(3, seed=1) != vae.sample(3, seed=2)).all()
    assert (vae.sample(3, seed=1) != vae.sample(3, noise=True, seed=1)).all()


def test_bits():
    X = bits()
    vae = make(output="bernoulli").fit(X)
    probabilities = vae.reconstruct(X)
    assert probabilities.min() >= 0 and probabilities.max() <= 1
    assert ((probabilities > 0.5) == X).mean() > 0.93
    assert set(vae.sample(20, noise=True, seed=0).ravel()) == {0.0, 1.0}
    guess = np.log(np.where(X == 1, X.mean(axis=0), 1 - X.mean(axis=0))).sum(axis=1).mean()
    assert vae.score(X) > guess + 1


def test_between_two_vectors(fitted):
    vae, X = fitted
    between = vae.interpolate(X[0], X[1], steps=4)
    ends = vae.encode(X[:2])
    assert between.shape == (4, 5)
    parts = np.linspace(0, 1, 4)[:, None]
    assert_close(vae.encode(between), ((1 - parts) * ends[0] + parts * ends[1]).astype("f"), 0.3)
    assert_identical(between[[0, -1]], vae.reconstruct(X[:2]))
    with raises(ValueError, "steps must be at least 2, both ends, got 1"):
        vae.interpolate(X[0], X[1], steps=1)
    with raises(TypeError, "decode of VAE takes no options, got 'noise'"):
        vae.interpolate(X[0], X[1], noise=True)
    with raises(ValueError, "b: X must have shape (N, 5), as it was in fit, got (1, 2)"):
        vae.interpolate(X[0], X[1, :2])
    with raises(ValueError, "a: X must have shape (N, F)", "(1,)"):
        vae.interpolate(3.0, X[1])
    with raises(fs.NotFittedError, "this VAE has learned nothing yet"):
        make().interpolate(X[0], X[1])


def test_each_row_is_judged_by_itself(fitted):
    vae, X = fitted
    whole = vae.log_prob(X, 3)
    assert_close(vae.log_prob(X[:7], 3), whole[:7], 1e-5)
    assert (vae.log_prob(X, 3, seed=1) != whole).any()
    assert_close(vae.encode(X[5:6]), vae.encode(X)[5:6], 1e-5)


def test_history_reports_what_the_latent_variable_does(fitted):
    vae, X = fitted
    reports = vae.history_.reports
    assert list(reports) == ["reconstruction", "kl", "active_units"]
    assert all(len(values) == 30 for values in reports.values())
    report = vae.latent_report(X)
    unit = np.log(X.std(axis=0)).sum()  # the training's is of standardised features
    assert reports["reconstruction"][-1] == pytest.approx(report.reconstruction - unit, abs=0.5)
    assert reports["kl"][-1] == pytest.approx(report.kl, abs=0.5)
    assert reports["active_units"][-1] == 2


def test_the_weight_of_the_divergence_follows_the_schedule():
    weights = []

    class Note:
        def on_update(self, trainer):
            weights.append(trainer.model.objective.weight)

    settings = {"epochs": 4, "batch_size": 50}  # 24 updates
    make(**settings).fit(mixed(), callbacks=[Note()])
    assert weights == [min(1, update / 12) for update in range(1, 25)]
    weights.clear()
    make(**settings, kl_updates=5, kl_weight=0.5).fit(mixed(), callbacks=[Note()])
    assert weights == [min(0.5, 0.5 * update / 5) for update in range(1, 25)]
    weights.clear()
    make(**settings, kl_schedule="cyclical", kl_cycles=2).fit(mixed(), callbacks=[Note()])
    expected = [min(1, update % 12 / 6) for update in range(1, 24)]
    assert weights == [*expected, 1.0]
    weights.clear()
    make(**settings, kl_schedule="constant").fit(mixed(), callbacks=[Note()])
    assert weights == [1.0] * 24


def test_a_heavy_divergence_leaves_nothing_and_free_bits_bring_it_back():
    X = mixed()
    heavy = {"kl_schedule": "constant", "kl_weight": 100.0}
    collapsed = make(**heavy).fit(X).latent_report(X)
    assert collapsed.kl < 0.1 and collapsed.active_units == 0
    free = make(**heavy, free_bits=1.0).fit(X).latent_report(X)
    assert free.kl > 2 and free.active_units >= 2


def test_training_goes_on_with_new_weights():
    X = mixed()
    vae = make(epochs=2, warm_start=True).fit(X)
    vae.set_params(kl_weight=3.0, free_bits=0.5).fit(X)
    objective = vae.network_.objective
    assert (objective.final_weight, objective.free_bits) == (3.0, 0.5)
    with raises(ValueError, "latent_size is 5, but this VAE was fitted with 4"):
        vae.set_params(latent_size=5).fit(X)


def test_a_run_whose_schedule_depends_on_its_length_keeps_it(tmp_path):
    pytest.importorskip("safetensors")
    X, path = mixed(50), tmp_path / "run"
    make(epochs=2).fit(X, checkpoint=path)
    with raises(ValueError, "settings.kl = ", "updates=2", "but here it is", "updates=4"):
        make(epochs=4).fit(X, checkpoint=path)


def test_data_frames_and_lists():
    X = mixed(40)
    vae = make(epochs=2).fit(X)
    assert_identical(make(epochs=2).fit(X.tolist()).encode(X), vae.encode(X))
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcde"))
    assert_identical(make(epochs=2).fit(frame).encode(frame), vae.encode(X))
    assert_identical(make(epochs=2).fit_transform(X), vae.transform(X))
    assert_identical(vae.predict(X), vae.reconstruct(X))


def test_validation_is_data_alone_or_a_pair():
    X = mixed(60)
    fits = [
        make(epochs=2).fit(X[:40], validation=validation).history_.validation
        for validation in (X[40:], (X[40:], None), (X[40:], np.zeros(20)), X[40:].tolist())
    ]
    fits.append(make(epochs=2).fit(X[:40], validation=tuple(X[40:])).history_.validation)
    assert len(fits[0]) == 2 and all(values == fits[0] for values in fits)
    parts = [
        make(epochs=2).fit(X, validation=part).history_.validation
        for part in (0.25, np.float64(0.25), np.float32(0.25))
    ]
    assert len(parts[0]) == 2 and parts[0] == parts[1] == parts[2]
    with raises(ValueError, "validation: X must have shape (N, 5), as it was in fit, got (20, 4)"):
        make().fit(X[:40], validation=X[40:, :4])


def test_data_that_are_refused_leave_the_estimator_as_it_was():
    X = mixed(40)
    vae = make(epochs=2).fit(X)
    before = vae.encode(X)
    broken = X.copy()
    broken[3, 1] = np.nan
    wrong = {
        "X must have shape (N, F), a vector each, got (40,)": X[:, 0],
        "X must hold finite numbers, got nan at X[3, 1]": np.where(
            np.arange(200).reshape(40, 5) == 16, np.nan, X
        ),
        "X must hold at least one vector, got none": np.empty((0, 5)),
    }
    for message, data in wrong.items():
        with raises(ValueError, message):
            vae.fit(data)
    with raises(TypeError, "X must hold numbers"):
        vae.fit([["a", "b"]])
    assert_identical(vae.encode(X), before)
    with raises(ValueError, "X must have shape (N, 5), as it was in fit, got (40, 4)"):
        vae.encode(X[:, :4])
    with raises(ValueError, "X must hold numbers that float32 can hold", "at X[0, 0]; divide"):
        vae.encode(X * 1e300)
    with raises(ValueError, "z must have shape (N, 4), since latent_size is 4, got (2, 3)"):
        vae.decode(np.zeros((2, 3)))
    with raises(ValueError, "z must hold finite numbers, got inf at z[0, 1]", "leave the row out"):
        vae.decode([[0, np.inf, 0, 0]])
    with raises(ValueError, "z must hold numbers that float32 can hold, got 1e+300 at z[0, 0]"):
        vae.decode([[1e300, 0, 0, 0]])
    with raises(ValueError, "n_samples must be at least 1"):
        vae.log_prob(X, 0)
    with raises(ValueError, "from 0 to 1 with output='bernoulli', got -", "at X[0, 0]"):
        make(output="bernoulli").fit(-abs(X))
    assert vae.fit(X[:, :4]).encode(X[:, :4]).shape == (40, 4)  # a new fit may be of others


def test_a_loss_that_is_not_finite_ends_the_training_without_a_warning():
    X = mixed(60)
    for settings, data in (({"standardize": False}, X * 1e30), ({"lr": 1e4}, X)):
        vae = make(**settings)
        with raises(FloatingPointError, "the loss is "):
            vae.fit(data)
        assert np.isfinite(vae.network_.parameters.flat).all()


@pytest.mark.parametrize("part", ["encoder", "linear", "output"])
def test_a_broken_network_says_so(part):
    X = mixed(20)
    vae = make(epochs=1).fit(X)
    getattr(vae.network_, part).parameters.flat[0] = np.nan
    uses = [vae.log_prob, vae.score, vae.latent_report]
    if part == "encoder":
        uses += [vae.encode, vae.reconstruct]
    elif part == "linear":
        uses += [lambda _: vae.decode(np.zeros((1, 4))), lambda _: vae.sample(), vae.reconstruct]
    else:
        uses += [lambda _: vae.sample(noise=True)]
    for use in uses:
        with raises(FloatingPointError, "the model's parameters are not finite", "train it again"):
            use(X)


def test_far_data_have_no_probability_in_a_network_that_is_sound():
    vae = make(epochs=1, standardize=False).fit(mixed(20) / 1e5)
    assert (vae.log_prob(np.full((2, 5), 1e37)) == -np.inf).all()


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("latent_size", 0, "latent_size must be at least 1"),
        ("output", "poisson", "output must be one of 'bernoulli', 'gaussian'"),
        ("standardize", 1, "standardize must be True or False"),
        ("kl_schedule", "sine", "kl_schedule must be one of 'constant'"),
        ("kl_updates", 0, "kl_updates must be at least 1"),
        ("kl_cycles", 0, "kl_cycles must be at least 1"),
        ("kl_weight", -1, "kl_weight must be a finite number, at least 0"),
        ("free_bits", -1, "free_bits must be a finite number, at least 0"),
    ],
)
def test_wrong_settings(setting, value, message):
    with raises((TypeError, ValueError), message):
        make(**{setting: value}).fit(mixed(20))


def test_what_is_not_fitted_says_so():
    for use in (make().sample, lambda: make().encode(mixed())):
        with raises(fs.NotFittedError, "this VAE has learned nothing yet: call fit(X) first"):
            use()
    with raises(ValueError, "patience=3 needs a validation, as with fit(X, validation=0.1)"):
        make(patience=3).fit(mixed())


def test_nothing_of_nothing(fitted):
    vae, _ = fitted
    assert vae.encode([]).shape == (0, 4) and vae.reconstruct(np.empty((0, 5))).shape == (0, 5)
    assert vae.log_prob([]).shape == (0,)
    for use in (vae.latent_report, vae.score):
        with raises(ValueError, "X must hold at least one datum, got none"):
            use([])


def test_files(fitted, tmp_path):
    pytest.importorskip("safetensors")
    vae, X = fitted
    vae.save(tmp_path / "vae")
    again = fs.load(tmp_path / "vae")
    assert_identical(again.encode(X), vae.encode(X))
    assert_identical(again.sample(3, noise=True, seed=0), vae.sample(3, noise=True, seed=0))
    assert again.history_.reports == vae.history_.reports


def test_it_stands_in_a_pipeline():
    pytest.importorskip("sklearn")
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.utils import get_tags

    tags = get_tags(make())
    assert tags.transformer_tags is not None and not tags.target_tags.required
    assert tags.input_tags.two_d_array
    X = mixed(200)
    y = X[:, 0] > np.median(X[:, 0])
    pipeline = make_pipeline(make(epochs=20), LogisticRegression())
    assert pipeline.fit(X, y).score(X, y) > 0.8
    search = GridSearchCV(make(epochs=3), {"latent_size": [1, 2]}, cv=2).fit(X)
    assert search.best_params_["latent_size"] in (1, 2)
    assert repr(clone(make())) == repr(make())
