"""Conditional random fields against sums over all sequences of tags, one by one."""

import itertools

import numpy as np
import pytest
from helpers import assert_close, raises

import fastseq as fs

TAGS = 3
LENGTHS = [[4, 4], [4, 2, 0, 1], [1], [3, 3, 3, 5]]


def make(lengths, *, dtype=np.float64, seed=0, scale=1.0, **options):
    """A field with random parameters, emissions (T, B, K) and tags (T, B)."""
    rng = np.random.default_rng(seed)
    crf = fs.CRF(TAGS, dtype=dtype, **options)
    crf.parameters.flat[:] = scale * rng.standard_normal(crf.parameters.flat.size)
    shape = (max(lengths), len(lengths))
    emissions = (scale * rng.standard_normal((*shape, TAGS))).astype(dtype)
    return crf, emissions, rng.integers(TAGS, size=shape)


def score(crf, emissions, tags):
    """The score of one sequence, as the definition has it."""
    if not len(tags):
        return 0.0
    p = crf.parameters
    total = p["start_transitions"][tags[0]] + p["end_transitions"][tags[-1]]
    total += sum(emissions[t, tag] for t, tag in enumerate(tags))
    return total + sum(p["transitions"][pair] for pair in itertools.pairwise(tags))


def enumerate_scores(crf, emissions):
    """All sequences of tags, and their scores."""
    sequences = list(itertools.product(range(TAGS), repeat=len(emissions)))
    return sequences, np.array([score(crf, emissions, tags) for tags in sequences])


def log_likelihood(crf, emissions, tags):
    _, scores = enumerate_scores(crf, emissions)
    return score(crf, emissions, tags) - np.log(np.exp(scores - scores.max()).sum()) - scores.max()


def rows(lengths, *arrays):
    """The real part of each row."""
    for row, length in enumerate(lengths):
        yield [array[:length, row] for array in arrays]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_loss_is_that_of_all_sequences(lengths, reduction):
    crf, emissions, tags = make(lengths, reduction=reduction)
    expected = -sum(log_likelihood(crf, e, t) for e, t in rows(lengths, emissions, tags) if len(t))
    expected /= sum(lengths) if reduction == "mean" else 1
    np.testing.assert_allclose(crf(emissions, tags, lengths), expected, rtol=1e-12)


@pytest.mark.parametrize("lengths", LENGTHS)
def test_best_tags_are_those_of_the_highest_score(lengths):
    crf, emissions, _ = make(lengths, scale=2.0)
    decoded = crf.decode(emissions, lengths)
    for row, length in enumerate(lengths):
        sequences, scores = enumerate_scores(crf, emissions[:length, row])
        assert tuple(decoded[:length, row]) == sequences[scores.argmax()]
        assert (decoded[length:, row] == -1).all()


@pytest.mark.parametrize("lengths", LENGTHS)
def test_marginals_are_sums_over_all_sequences(lengths):
    crf, emissions, _ = make(lengths)
    marginals = crf.marginals(emissions, lengths)
    for row, length in enumerate(lengths):
        sequences, scores = enumerate_scores(crf, emissions[:length, row])
        weights = np.exp(scores) / np.exp(scores).sum()
        expected = np.zeros((len(emissions), TAGS))
        for tags, weight in zip(sequences, weights, strict=True):
            expected[np.arange(length), list(tags)] += weight
        assert_close(marginals[:, row], expected)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_gradients_by_central_differences(lengths, reduction):
    crf, emissions, tags = make(lengths, reduction=reduction)
    loss, backprop = crf.forward(emissions, tags, lengths)
    assert loss == crf(emissions, tags, lengths)
    crf.parameters.flat_grad[:] = 0.5  # gradients are added to
    gradients = {"emissions": backprop(2.5), "parameters": crf.parameters.flat_grad - 0.5}
    for name, array in (("emissions", emissions), ("parameters", crf.parameters.flat)):
        expected, flat = np.empty(array.size), array.reshape(-1)
        for i in range(array.size):
            value, losses = flat[i], []
            for step in (1e-5, -1e-5):
                flat[i] = value + step
                losses.append(crf(emissions, tags, lengths))
            flat[i] = value
            expected[i] = 2.5 * (losses[0] - losses[1]) / 2e-5
        assert_close(gradients[name].reshape(-1), expected, 1e-8, name=name)


def test_a_batch_is_its_rows_one_by_one():
    lengths = [5, 2, 4]
    crf, emissions, tags = make(lengths, reduction="sum")
    crf.parameters.zero_grad()
    loss, backprop = crf.forward(emissions, tags, lengths)
    d_emissions, grads = backprop(), crf.parameters.flat_grad.copy()
    crf.parameters.zero_grad()
    total = 0.0
    for row, (e, t) in enumerate(rows(lengths, emissions, tags)):
        value, backprop = crf.forward(e, t)  # without a batch
        assert_close(backprop(), d_emissions[: lengths[row], row])
        assert (d_emissions[lengths[row] :, row] == 0).all()
        assert crf.decode(e).tolist() == crf.decode(emissions, lengths)[: len(e), row].tolist()
        total += value
    assert_close(crf.parameters.flat_grad, grads)
    np.testing.assert_allclose(total, loss, rtol=1e-13)


def test_extreme_scores_overflow_nowhere():
    crf, emissions, tags = make([6, 3], scale=100.0)
    emissions *= 100
    loss, backprop = crf.forward(emissions, tags, [6, 3])
    d_emissions = backprop()
    assert np.isfinite(loss) and loss > 100
    assert np.isfinite(d_emissions).all() and np.isfinite(crf.parameters.flat_grad).all()
    best = crf.decode(emissions, [6, 3])
    assert abs(crf(emissions, np.maximum(best, 0), [6, 3])) < 1e-9


def test_a_constant_more_on_all_transitions_changes_nothing():
    crf, emissions, tags = make([4, 3])
    before = crf(emissions, tags, [4, 3]), crf.marginals(emissions, [4, 3])
    crf.parameters["transitions"] += 5000.0
    assert_close(crf.marginals(emissions, [4, 3]), before[1], 1e-11)
    np.testing.assert_allclose(crf(emissions, tags, [4, 3]), before[0], rtol=1e-10)


def test_float32_is_float64_rounded():
    crf, emissions, tags = make([5, 3])
    single, emissions_32, _ = make([5, 3], dtype=np.float32)
    loss, backprop = single.forward(emissions_32, tags, [5, 3])
    d_emissions = backprop()
    assert d_emissions.dtype == single.parameters.flat_grad.dtype == np.float32
    np.testing.assert_allclose(loss, crf(emissions, tags, [5, 3]), rtol=1e-6)
    expected = crf.forward(emissions, tags, [5, 3])[1]()
    assert_close(d_emissions, expected.astype(np.float32))
    assert_close(single.parameters.flat_grad, crf.parameters.flat_grad.astype(np.float32))


def test_no_tags_are_best_where_a_score_is_nan():
    crf, emissions, _ = make([4, 2, 3])
    emissions[3, 1] = np.nan  # past a length: never read
    assert (crf.decode(emissions, [4, 2, 3])[:2] >= 0).all()
    for place in ((0, 1, 2), (1, 1, 0), (3, 0, 1)):
        wrong = emissions.copy()
        wrong[place] = np.nan
        with raises(FloatingPointError, "emissions and transitions must be numbers", "NaN"):
            crf.decode(wrong, [4, 2, 3])
    emissions[0, 0] = [-np.inf, 1, 0]
    assert crf.decode(emissions, [4, 2, 3])[0, 0] > 0  # what is impossible is not wrong


def test_nothing_to_tag():
    crf, emissions, tags = make([2, 2])
    loss, backprop = crf.forward(emissions, tags, [0, 0])
    assert loss == 0 and not backprop().any() and not crf.parameters.flat_grad.any()
    assert (crf.decode(emissions, [0, 0]) == -1).all()


def test_a_field_is_a_part_of_a_model():
    crf = fs.CRF(2, seed=3)
    model = fs.Module(linear=fs.Linear(4, 2, seed=0), crf=crf)
    assert "crf.transitions" in model.parameters
    assert (np.abs(crf.parameters.flat) <= 0.1).all() and crf.parameters.flat.std() > 0.01
    assert repr(crf) == "CRF(2, dtype=float32)"


@pytest.mark.parametrize(
    ("change", "error", "parts"),
    [
        (lambda e, t: (e[..., :2], t), ValueError, ["emissions must have shape (T, B, 3)"]),
        (lambda e, t: (e.astype(int), t), TypeError, ["emissions must hold floating-point"]),
        (lambda e, t: (e, t[:2]), ValueError, ["tags must have the shape", "(4, 2)", "(2, 2)"]),
        (lambda e, t: (e, t + 1.0), TypeError, ["tags must hold integers"]),
        (lambda e, t: (e, 3 + 0 * t), ValueError, ["tags must lie between 0 and 2", "got 3"]),
        (lambda e, t: (e, t, [4, 5]), ValueError, ["lengths must lie between 0 and 4"]),
    ],
)
def test_wrong_arguments(change, error, parts):
    crf, emissions, tags = make([4, 4])
    with raises(error, *parts):
        crf.forward(*change(emissions, tags))


def test_transitions_that_can_not_be_summed():
    crf, emissions, tags = make([4, 4])
    crf.parameters["transitions"][0, 1] = -1000
    with raises(ValueError, "transitions must differ by at most 600", "-1000"):
        crf(emissions, tags)
