"""Sampling: what is drawn, how often, and from what."""

import tracemalloc

import numpy as np
import pytest
from helpers import raises

import fastseq as fs
from fastseq.sampling import Sampler

LOGITS = np.array([[2.0, -1.0, 0.5, 1.5, 0.0], [0.0, 3.0, -1.0, -2.0, 2.5]])


def softmax(x):
    p = np.exp(x - x.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def frequencies(sampler, logits, count):
    """How often each class is drawn, (B, V)."""
    drawn = np.array([sampler.draw(logits).copy() for _ in range(count)])
    return np.stack([np.bincount(column, minlength=logits.shape[1]) for column in drawn.T]) / count


def in_words(logits, temperature, top_k, top_p):
    """The distribution for one row, class by class as the docstring says it."""
    p = softmax(logits / temperature)
    by_p = sorted(range(len(p)), key=lambda v: -p[v])
    kept = by_p[:top_k]
    nucleus, mass = [], 0.0
    for v in kept:
        if mass >= top_p * p[kept].sum():
            break
        nucleus.append(v)
        mass += p[v]
    cut = np.zeros(len(p))
    cut[nucleus] = p[nucleus]
    return cut / cut.sum()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("top_k", [None, 1, 3, 5, 50])
@pytest.mark.parametrize("top_p", [None, 1.0, 0.9, 0.6, 1e-9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_are_as_defined(temperature, top_k, top_p, dtype):
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    logits = LOGITS.astype(dtype)
    got = Sampler(5, batch_size=2, **options).probabilities(logits)
    for row, p in zip(LOGITS, got, strict=True):
        expected = in_words(row, temperature, top_k, 1.0 if top_p is None else top_p)
        np.testing.assert_allclose(p, expected, rtol=1e-6)
    np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(logits, LOGITS)  # they stay as they are


def test_what_ties_with_the_last_that_stays_stays_too():
    logits = np.array([[0.0, 1.0, 0.0, -1.0, 0.0]])
    p = Sampler(5, top_k=2).probabilities(logits)[0]
    assert (p > 0).tolist() == [True, True, True, False, True]
    p = Sampler(5, top_p=0.5).probabilities(logits)[0]
    assert (p > 0).tolist() == [True, True, True, False, True]


def test_a_nucleus_is_complete_once_its_sum_is_top_p():
    logits = np.log([[0.25, 0.5, 0.25]])
    assert Sampler(3, top_p=0.5).probabilities(logits).tolist() == [[0, 1, 0]]
    p = Sampler(3, top_p=0.51).probabilities(logits)
    np.testing.assert_allclose(p, [[0.25, 0.5, 0.25]], rtol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.8, "temperature": 2}], ids=str
)
def test_draws_come_as_often_as_they_are_probable(options):
    sampler = Sampler(5, batch_size=2, seed=1, **options)
    p = sampler.probabilities(LOGITS)
    got = frequencies(sampler, LOGITS, 4000)
    assert abs(got - p).max() < 4 * np.sqrt(0.25 / 4000)
    assert not got[p == 0].any()


def test_temperature_0_takes_the_first_of_the_most_probable():
    logits = np.array([[1.0, 3.0, 3.0], [5.0, 1.0, 2.0]])
    sampler = Sampler(3, batch_size=2, temperature=0)
    assert sampler.draw(logits).tolist() == [1, 0]
    assert sampler.probabilities(logits).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert Sampler(3, batch_size=2, temperature=0, excluded=[1]).draw(logits).tolist() == [2, 0]
    assert Sampler(3, batch_size=2, temperature=1e-320).draw(logits)[1] == 0


def test_excluded_classes_are_never_drawn():
    sampler = Sampler(5, batch_size=2, excluded=[0, 1], seed=0)
    p = sampler.probabilities(LOGITS)
    np.testing.assert_allclose(p[:, 2:], softmax(LOGITS[:, 2:]), rtol=1e-12)
    assert not p[:, :2].any()
    assert frequencies(sampler, LOGITS, 200)[:, :2].sum() == 0


def test_logits_of_any_size_are_fine():
    logits = np.array([[1e4, 1e4 - 1, -1e4, -np.inf]])
    expected = softmax(np.array([0.0, -1.0]))
    p = Sampler(4).probabilities(logits)[0]
    np.testing.assert_allclose(p[:2], expected, rtol=1e-12)
    assert p[2:].tolist() == [0, 0]


def test_a_seed_repeats_its_draws():
    def draw(seed):
        sampler = Sampler(5, batch_size=2, seed=seed)
        return [sampler.draw(LOGITS).tolist() for _ in range(30)]

    assert draw(3) == draw(3) == draw(np.random.default_rng(3)) != draw(4)


def test_the_largest_random_number_draws_something_probable():
    class Largest:
        def random(self, out):
            out.fill(np.nextafter(1, 0))

    sampler = Sampler(5, batch_size=2, excluded=[4])
    sampler._rng = Largest()
    p = sampler.probabilities(LOGITS)
    for row, drawn in enumerate(sampler.draw(LOGITS)):
        assert p[row, drawn] > 0


def test_nothing_that_grows_with_the_classes_is_allocated():
    classes = 100_000
    logits = np.random.default_rng(0).standard_normal((1, classes), dtype=np.float32)
    sampler = Sampler(classes, top_k=1000, top_p=0.9, temperature=0.8, seed=0)
    sampler.draw(logits)
    tracemalloc.start()
    try:
        sampler.draw(logits)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"n_classes": 0}, ValueError, ["n_classes", "at least 1"]),
        ({"batch_size": 0}, ValueError, ["batch_size", "0"]),
        ({"temperature": -1}, ValueError, ["temperature", "at least 0", "-1"]),
        ({"temperature": float("nan")}, ValueError, ["temperature", "nan"]),
        ({"temperature": "hot"}, TypeError, ["temperature", "'hot'"]),
        ({"top_k": 0}, ValueError, ["top_k", "0"]),
        ({"top_k": 1.5}, TypeError, ["top_k", "1.5"]),
        ({"top_p": 0}, ValueError, ["top_p", "above 0, up to 1", "0"]),
        ({"top_p": 1.01}, ValueError, ["top_p", "1.01"]),
        ({"excluded": [5]}, ValueError, ["excluded", "between 0 and 4", "5"]),
        ({"excluded": range(5)}, ValueError, ["excluded", "all of them"]),
        ({"seed": -1}, ValueError, ["seed", "-1"]),
    ],
)
def test_errors(options, error, words):
    with pytest.raises(error) as caught:
        Sampler(**({"n_classes": 5} | options))
    for word in words:
        assert word in str(caught.value)


def test_errors_of_logits():
    sampler = Sampler(5, batch_size=2)
    with pytest.raises(ValueError, match=r"logits must have shape .*\(2, 5\), got \(5,\)"):
        sampler.draw(LOGITS[0])
    for bad in (np.nan, np.inf):
        logits = LOGITS.copy()
        logits[1, 2] = bad
        with pytest.raises(FloatingPointError, match="must be finite"):
            sampler.draw(logits)
    with pytest.raises(FloatingPointError, match="must be finite"):
        Sampler(2).draw(np.full((1, 2), -np.inf))
    assert fs.Sampler is Sampler


def test_fewer_rows_than_there_is_room_for():
    for options in ({}, {"top_k": 3, "top_p": 0.8}, {"temperature": 0}):
        wide, narrow = (Sampler(5, batch_size=n, seed=3, **options) for n in (4, 1))
        for row in (LOGITS[:1], LOGITS[1:], LOGITS[:1]):
            assert wide.probabilities(row).tolist() == narrow.probabilities(row).tolist()
            assert wide.draw(row).tolist() == narrow.draw(row).tolist()
        assert wide.draw(LOGITS[:0]).shape == (0,)
        with raises(ValueError, "logits", "up to batch_size", "(4, 5)", "(5, 5)"):
            wide.draw(np.zeros((5, 5)))


def test_settings_of_samplers_stay():
    sampler = Sampler(5)
    with raises(AttributeError, "Sampler has no attribute 'temperature'", "make a new one"):
        sampler.temperature = 2
    with raises(TypeError, "Sampler takes n_classes and by name batch_size", "got top"):
        Sampler(5, top=3)


def test_the_largest_random_number_draws_the_last_class():
    below = np.nextafter(1, 0)
    for size in (1, 2, 3, 7, 1000):
        logits = np.random.default_rng(size).standard_normal((1, size))
        assert Sampler(size).draw(logits, np.array([below])).tolist() == [size - 1]


def test_the_smallest_random_number_draws_something_probable():
    for options in ({}, {"top_k": 1}, {"top_p": 0.3}):
        sampler = Sampler(4, excluded=[0], **options)
        assert sampler.draw(np.array([[9.0, -2e3, 1, 0]]), np.zeros(1)).tolist() == [2], options


def test_random_numbers_may_be_given():
    sampler = Sampler(5, batch_size=2, seed=0)
    p = np.cumsum(sampler.probabilities(LOGITS), axis=1)
    for place in range(5):
        below = p[:, place] - 1e-9
        assert sampler.draw(LOGITS, below).tolist() == [place] * 2
    assert sampler.draw(LOGITS, np.zeros(2)).tolist() == [0, 0]
    assert sampler.draw(LOGITS).tolist() == Sampler(5, batch_size=2, seed=0).draw(LOGITS).tolist()
    for wrong in ([0.5], [0.5, 1.0], [-0.1, 0.5], [np.nan, 0.5]):
        with raises(ValueError, "uniform"):
            sampler.draw(LOGITS, np.array(wrong))
