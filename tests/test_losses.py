"""Losses: their definitions, gradients, masks, and bad arguments.

Test sizes: N rows, V classes.
"""

import copy
import itertools
import tracemalloc

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises
from layer_cases import (
    assert_waits_for,
    backend_fixture,  # noqa: F401
    check_gradients,
    run_backprop_in_threads,
)

import fastseq as fs
from fastseq.losses import linear_cross_entropy
from fastseq.losses.sampled_softmax import draw_distinct

NUMBER_LOSSES = {
    "bce": fs.BCEWithLogitsLoss,
    "mse": fs.MSELoss,
    "huber": lambda **options: fs.HuberLoss(0.7, **options),
    "quantile": lambda **options: fs.QuantileLoss([0.1, 0.5, 0.95], **options),
}
all_number_losses = pytest.mark.parametrize("name", NUMBER_LOSSES)
both_reductions = pytest.mark.parametrize("reduction", ["mean", "sum"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SHAPE, V = (4, 3), 5


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def make_numbers(name, rng, dtype=np.float64):
    """Inputs and targets; no difference is near a kink."""
    x = rng.standard_normal((*SHAPE, 3) if name == "quantile" else SHAPE).astype(dtype)
    t = rng.random(SHAPE) if name == "bce" else rng.standard_normal(SHAPE)
    t = np.asarray(t, dtype)
    near = t[..., None] if name == "quantile" else t
    for kink in (0, 0.7, -0.7):
        assert np.abs(x - near - kink).min() > 1e-4
    return x, t


def make_mask(rng):
    mask = rng.random(SHAPE) < 0.6
    mask[0, 0], mask[1, 1] = True, False
    return mask


def gradient_of(loss, *arguments, **options):
    return loss.forward(*arguments, **options)[1]()


# --- losses of numbers ----------------------------------------------------------------------


def define(name, x, t):
    """One element's loss, as in the books."""
    if name == "bce":
        p = 1 / (1 + np.exp(-x))
        return -t * np.log(p) - (1 - t) * np.log(1 - p)
    if name == "mse":
        return (x - t) ** 2
    if name == "huber":
        error = abs(x - t)
        return error**2 / 2 if error <= 0.7 else 0.7 * (error - 0.35)
    pairs = zip((0.1, 0.5, 0.95), t - x, strict=True)
    return sum(q * error if error > 0 else (q - 1) * error for q, error in pairs)


@all_number_losses
@both_reductions
@both_dtypes
def test_numbers_are_compared_as_defined(name, reduction, dtype, rng):
    x, t = make_numbers(name, rng, dtype)
    loss, mask = NUMBER_LOSSES[name](reduction=reduction), make_mask(rng)
    for chosen in (None, mask):
        places = [i for i in np.ndindex(SHAPE) if chosen is None or chosen[i]]
        expected = sum(define(name, x[i].astype(float), float(t[i])) for i in places)
        if reduction == "mean":
            expected /= len(places) * (3 if name == "quantile" else 1)
        value = loss(x, t, chosen)
        assert type(value) is float
        assert abs(value / expected - 1) < (1e-6 if dtype is np.float32 else 1e-13)
        assert loss.forward(x, t, chosen)[0] == value


@all_number_losses
@both_reductions
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_gradients_of_numbers(backend, name, reduction, masked, rng):
    x, t = make_numbers(name, rng)
    loss, mask = NUMBER_LOSSES[name](reduction=reduction), make_mask(rng) if masked else None
    before = x.copy(), t.copy()
    dx = gradient_of(loss, x, t, mask)
    assert_identical((x, t), before)
    check_gradients(lambda: loss(x, t, mask), [x], [dx], tolerance=1e-9)
    assert_close(loss.forward(x, t, mask)[1](-2.5), -2.5 * dx, 1e-15)
    if masked:
        assert not dx[~mask].any()


@all_number_losses
def test_what_is_masked_may_be_anything(name, rng):
    x, t = make_numbers(name, rng)
    loss, mask = NUMBER_LOSSES[name](), make_mask(rng)
    expected = loss(x, t, mask), gradient_of(loss, x, t, mask)
    for wrong in (np.nan, np.inf, -np.inf, 1e300):
        x[~mask] = wrong
        t[~mask] = wrong
        value, backprop = loss.forward(x, t, mask)
        assert value == expected[0]
        assert_identical(backprop(), expected[1])


@all_number_losses
def test_masks_may_leave_out_trailing_axes(name, rng):
    x, t = make_numbers(name, rng)
    loss, rows = NUMBER_LOSSES[name](), np.array([True, False, True, True])
    whole = np.repeat(rows[:, None], 3, axis=1)
    assert loss(x, t, rows) == loss(x, t, whole)
    assert abs(loss(x, t, rows) - loss(x[rows], t[rows])) < 1e-14


@all_number_losses
def test_nothing_has_no_loss(name, rng):
    x, t = make_numbers(name, rng)
    loss = NUMBER_LOSSES[name]()
    value, backprop = loss.forward(x, t, np.zeros(SHAPE, bool))
    assert value == 0 and not backprop().any()
    value, backprop = loss.forward(x[:0], t[:0])
    assert value == 0 and backprop().shape == x[:0].shape


def test_single_numbers():
    value, backprop = fs.MSELoss().forward(np.array(3.0), np.array(1.0), np.array(True))
    assert (value, backprop()) == (4, 4)


def test_bce_of_extreme_logits(backend):
    x = np.array([1000.0, -1000.0, 1000.0, -1000.0])
    value, backprop = fs.BCEWithLogitsLoss(reduction="sum").forward(x, np.array([1.0, 0, 0, 1]))
    assert value == 2000
    assert_identical(backprop(), np.array([0.0, 0, 1, -1]))


def test_quantiles_are_found(rng):
    """The loss is smallest where a share q of the targets lies below."""
    targets = rng.standard_normal(1001)
    loss = fs.QuantileLoss([0.2, 0.9])
    at = np.quantile(targets, [0.2, 0.9])
    best = loss(np.tile(at, (1001, 1)), targets)
    for i, step in itertools.product((0, 1), (-0.05, 0.05)):
        other = at.copy()
        other[i] += step
        assert loss(np.tile(other, (1001, 1)), targets) > best


def test_quantiles_have_no_slope_where_they_are_right():
    loss, x = fs.QuantileLoss([0.25, 0.5], reduction="sum"), [[1.0, 2.0], [3.0, 1.0]]
    assert_identical(gradient_of(loss, x, [1.0, 1.0]), np.array([[0, 0.5], [0.75, 0]]))


def test_sums_are_taken_in_float64():
    x = np.full(2**20, 0.1, np.float32)
    x[0] = 1e4
    expected = np.square(x.astype(np.float64)).sum()
    assert abs(fs.MSELoss(reduction="sum")(x, np.zeros_like(x)) / expected - 1) < 1e-8


# --- cross-entropy --------------------------------------------------------------------------


def make_classes(rng, dtype=np.float64, classes=V):
    """Logits, targets of which some are to be ignored, and a mask that hides a wrong one."""
    logits = (2 * rng.standard_normal((*SHAPE, classes))).astype(dtype)
    targets, mask = rng.integers(0, classes, SHAPE), make_mask(rng)
    targets[2, 0] = targets[3, 2] = -100
    targets[1, 1] = 99
    return logits, targets, mask


def define_cross_entropy(logits, targets, mask, smoothing, ignore_index=-100):
    """The sum, and how many count."""
    total = count = 0
    for i in np.ndindex(targets.shape):
        if mask[i] and targets[i] != ignore_index:
            x, count = logits[i].astype(np.float64), count + 1
            log_p = x - np.log(np.exp(x).sum())
            q = np.full(len(x), smoothing / len(x))
            q[targets[i]] += 1 - smoothing
            total -= (q * log_p).sum()
    return total, count


@both_reductions
@both_dtypes
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_is_as_defined(backend, smoothing, dtype, reduction, rng):
    logits, targets, mask = make_classes(rng, dtype)
    loss = fs.CrossEntropyLoss(label_smoothing=smoothing, reduction=reduction)
    expected, count = define_cross_entropy(logits, targets, mask, smoothing)
    assert count < mask.sum()
    if reduction == "mean":
        expected /= count
    value = loss(logits, targets, mask)
    assert type(value) is float
    assert abs(value - expected) < (1e-5 if dtype is np.float32 else 1e-12)
    assert loss.forward(logits, targets, mask)[0] == value


@both_reductions
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_gradient_of_cross_entropy(backend, masked, smoothing, reduction, rng):
    logits, targets, mask = make_classes(rng)
    targets[1, 1] = 0
    mask = mask if masked else None
    loss = fs.CrossEntropyLoss(label_smoothing=smoothing, reduction=reduction)
    before = logits.copy()
    d_logits = gradient_of(loss, logits, targets, mask)
    assert_identical(logits, before)
    check_gradients(lambda: loss(logits, targets, mask), [logits], [d_logits], tolerance=1e-9)
    assert_close(loss.forward(logits, targets, mask)[1](3), 3 * d_logits, 1e-15)
    assert not d_logits[2, 0].any()


def test_ignore_index_may_be_a_class(backend, rng):
    logits, targets, _ = make_classes(rng)
    targets[targets > 5] = 0
    targets[targets < 0] = 3
    loss = fs.CrossEntropyLoss(ignore_index=0)
    total, count = define_cross_entropy(logits, targets, np.ones(SHAPE, bool), 0, ignore_index=0)
    assert abs(loss(logits, targets) - total / count) < 1e-12
    assert not gradient_of(loss, logits, targets)[targets == 0].any()


def test_masked_logits_may_be_anything(backend, rng):
    logits, targets, mask = make_classes(rng)
    loss = fs.CrossEntropyLoss()
    expected = loss(logits, targets, mask), gradient_of(loss, logits, targets, mask)
    logits[~mask | (targets == -100)] = np.nan
    value, backprop = loss.forward(logits, targets, mask)
    assert value == expected[0]
    assert_identical(backprop(), expected[1])


@pytest.mark.parametrize("lead", [(), (6,), (2, 3), (1, 2, 3), (0,), (3, 0)])
def test_leading_axes_are_arbitrary(lead, rng):
    logits, targets = rng.standard_normal((*lead, V)), rng.integers(0, V, lead)
    value, backprop = fs.CrossEntropyLoss().forward(logits, targets)
    flat = logits.reshape(-1, V), targets.reshape(-1)
    assert value == fs.CrossEntropyLoss()(*flat)
    assert_identical(backprop(), gradient_of(fs.CrossEntropyLoss(), *flat).reshape(*lead, V))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_targets_of_any_integer_dtype(dtype, rng):
    logits, targets = rng.standard_normal((6, V)), rng.integers(0, V, 6)
    loss = fs.CrossEntropyLoss(ignore_index=2)
    expected = loss(logits, targets), gradient_of(loss, logits, targets)
    for given in (targets.astype(dtype), targets.tolist()):
        assert loss(logits, given) == expected[0]
        assert_identical(gradient_of(loss, logits, given), expected[1])


def test_no_targets_at_all(rng):
    logits, targets, _ = make_classes(rng)
    value, backprop = fs.CrossEntropyLoss().forward(logits, np.full(SHAPE, -100))
    assert value == 0 and not backprop().any()
    assert fs.CrossEntropyLoss()(logits, targets, np.zeros(SHAPE, bool)) == 0


@both_dtypes
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("huge", ["least", "most", 1e30])
def test_rows_of_huge_logits_leave_the_others_alone(backend, huge, smoothing, dtype, rng):
    """A row of nothing but masked classes: the loss is that of equal logits."""
    limits = np.finfo(dtype)
    huge = {"least": limits.min, "most": limits.max}.get(huge, huge)
    logits, targets = rng.standard_normal((4, V)).astype(dtype), np.array([1, 4, 0, 2])
    logits[1] = 0
    far = logits.copy()
    far[1] = huge
    loss = fs.CrossEntropyLoss(label_smoothing=smoothing)
    assert loss(far, targets) == loss(logits, targets)
    expected = gradient_of(loss, logits, targets)
    assert_identical(gradient_of(loss, far, targets), expected)
    assert_identical(gradient_of(loss, far, targets, in_place=True), expected)


all_sizes = pytest.mark.parametrize("size", [2e4, 1e6, 1e9, 1e30], ids=str)


def make_wide_layer(size):
    """255 outputs of this size for x = (1, 1), and x."""
    linear = fs.Linear(2, 255, seed=0)
    linear.parameters["weight"][...] = 0, size
    linear.parameters["bias"][...] = 0
    return linear, np.ones((1, 2), np.float32)


@all_sizes
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_smoothing_of_large_equal_logits(backend, smoothing, size):
    linear, x = make_wide_layer(size)
    loss = fs.CrossEntropyLoss(label_smoothing=smoothing)
    assert abs(loss(linear(x), [3]) - np.log(255)) < 1e-6
    loss = fs.LinearCrossEntropyLoss(linear, label_smoothing=smoothing)
    assert abs(loss(x, [3]) - np.log(255)) < 1e-6


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("target", range(4))
def test_rows_may_span_more_than_float32(backend, smoothing, target):
    logits = np.array([[3e38, -3e38, 0, 1e38]], np.float32)
    loss = fs.CrossEntropyLoss(label_smoothing=smoothing)
    x = logits[0].astype(np.float64)
    expected = x[0] - (1 - smoothing) * x[target] - smoothing * x.mean()
    assert abs(loss(logits, [target]) - expected) <= 1e-6 * expected
    gradient = np.full(4, -smoothing / 4)
    gradient[0] += 1
    gradient[target] -= 1 - smoothing
    assert_close(gradient_of(loss, logits, [target]), gradient[None].astype(np.float32))


@both_dtypes
def test_all_smoothed_rows_may_span_more_than_their_dtype(backend, dtype):
    """The loss is too large then, but it is a number, and the gradient is right."""
    most = np.finfo(dtype).max * dtype(0.6)
    linear, x = fs.Linear(1, 3, bias=False, dtype=dtype), np.ones((1, 1), dtype)
    linear.parameters["weight"][:, 0] = most, -most, -most
    expected = np.array([1 - 1 / 3, -1 / 3, -1 / 3], dtype)
    loss = fs.LinearCrossEntropyLoss(linear, label_smoothing=1.0)
    value, backprop = loss.forward(x, [1])
    assert value == np.inf
    backprop()
    assert_close(linear.parameters.grads["weight"][:, 0], expected)
    value, backprop = fs.CrossEntropyLoss(label_smoothing=1.0).forward(linear(x), [1])
    assert value > most / 2
    assert_close(backprop()[0], expected)


def test_rows_of_huge_features_leave_the_others_alone(rng):
    """The loss of one that is right beyond doubt is 0."""
    linear = fs.Linear(I, 5, bias=False, dtype=np.float64, seed=2)
    adaptive = fs.AdaptiveLogSoftmaxWithLoss(
        I, 5, [2], div_value=1, reduction="sum", dtype=np.float64, seed=2
    )
    x, targets = rng.standard_normal((4, I)), np.array([1, 4, 0, 2])
    x[1] *= 1e30
    for loss, best in (
        (fs.LinearCrossEntropyLoss(linear, reduction="sum"), linear(x)[1].argmax()),
        (adaptive, adaptive.predict(x)[1]),
    ):
        targets[1] = best
        others = loss(np.delete(x, 1, axis=0), np.delete(targets, 1))
        assert loss(x[1:2], targets[1:2]) == 0
        assert others > 1 and abs(loss(x, targets) - others) < 1e-12


def test_rows_without_a_finite_logit_have_no_loss(backend):
    assert np.isnan(fs.CrossEntropyLoss()(np.array([[-np.inf] * 3, [0, 0, 0]]), [0, 1]))


@both_dtypes
def test_gradient_in_place(backend, dtype, rng):
    logits, targets, mask = make_classes(rng, dtype)
    loss = fs.CrossEntropyLoss(label_smoothing=0.1)
    expected = gradient_of(loss, logits, targets, mask)
    value, backprop = loss.forward(logits, targets, mask, in_place=True)
    assert value == loss(logits, targets, mask)
    assert backprop() is logits
    assert_identical(logits, expected)


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x[:, ::2],
        lambda x: x.tolist(),
        lambda x: x.astype(">f8"),
        lambda x: np.broadcast_to(x[:1], x.shape),
        lambda x: np.frombuffer(x.tobytes()).reshape(x.shape),
        lambda x: x.astype(np.float16),
    ],
    ids=["strided", "lists", "byte-swapped", "broadcast", "read-only", "float16"],
)
def test_in_place_needs_an_array_of_ours(convert, rng):
    logits = convert(rng.standard_normal((6, V)))
    targets = np.zeros(6, int)
    with raises(ValueError, "in_place=True needs", "writeable C-contiguous", "leave in_place out"):
        fs.CrossEntropyLoss().forward(logits, targets, in_place=True)
    fs.CrossEntropyLoss().forward(logits, targets)


def test_in_place_takes_no_second_array(backend, rng):
    if backend != "cython":
        pytest.skip("the other backends' kernels may take temporary arrays")
    logits, targets = rng.random((200, 5000), dtype=np.float32), rng.integers(0, 5000, 200)
    loss = fs.CrossEntropyLoss(label_smoothing=0.1)
    tracemalloc.start()
    try:
        gradient_of(loss, logits, targets, in_place=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.02 * logits.nbytes


# --- many classes ---------------------------------------------------------------------------

I = 6  # noqa: E741  (features)


def make_features(rng, classes, *, bias=True, tied=False):
    """Features, a linear layer, targets of which some don't count, and a mask."""
    _, targets, mask = make_classes(rng, classes=classes)
    x = rng.standard_normal((*SHAPE, I))
    options = {"bias": bias, "dtype": np.float64}
    if tied:
        options["tied"] = fs.Embedding(classes, I, dtype=np.float64, seed=1)
    linear = fs.Linear(I, classes, seed=2, **options)
    linear.parameters.flat[:] *= 3
    return x, linear, targets, mask


def gradients_of_weights(linear):
    grads = dict(linear.parameters.grads)
    if linear.tied is not None:
        grads["weight"] = linear.tied.parameters.grads["weight"]
    return grads


def zero_grad(linear):
    linear.parameters.zero_grad()
    if linear.tied is not None:
        linear.tied.parameters.zero_grad()


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of seven classes for the sizes of these tests."""
    monkeypatch.setattr(linear_cross_entropy, "_BLOCK_BYTES", 0)
    monkeypatch.setattr(linear_cross_entropy, "_LEAST_CLASSES", 7)
    monkeypatch.setattr(linear_cross_entropy, "_PANEL_CLASSES", 2)


@pytest.mark.parametrize("classes", [5, 7, 8, 23])
@pytest.mark.parametrize(
    "options",
    [{}, {"label_smoothing": 0.2}, {"reduction": "sum"}],
    ids=["plain", "smoothed", "sum"],
)
@pytest.mark.parametrize("kind", [{}, {"bias": False}, {"tied": True}], ids=str)
@pytest.mark.parametrize("keep", [{}, {"keep_bytes": 0}], ids=["kept", "again"])
def test_linear_cross_entropy_is_linear_then_cross_entropy(
    backend, small_blocks, classes, options, kind, keep, rng
):
    x, linear, targets, mask = make_features(rng, classes, **kind)
    loss, dense = (
        fs.LinearCrossEntropyLoss(linear, **options, **keep),
        fs.CrossEntropyLoss(**options),
    )
    for chosen in (mask, None):
        if chosen is None:
            targets[1, 1] = targets[2, 0] = targets[3, 2] = 4  # all count
        zero_grad(linear)
        logits, through_linear = linear.forward(x)
        expected, backprop = dense.forward(logits, targets, chosen)
        dx = through_linear(backprop(1.5))
        grads = copy.deepcopy(gradients_of_weights(linear))
        zero_grad(linear)
        for _ in range(2):  # with buffers from the call before
            value, backprop = loss.forward(x, targets, chosen)
            assert abs(value - expected) < 1e-12 and value == loss(x, targets, chosen)
            assert_close(backprop(1.5), dx, 1e-13)
            for name, gradient in gradients_of_weights(linear).items():
                assert_close(gradient, grads[name], 1e-13, name=name)
            zero_grad(linear)
        loss.release()


@both_dtypes
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("keep", [{}, {"keep_bytes": 0}], ids=["kept", "again"])
def test_linear_cross_entropy_of_huge_logits(backend, small_blocks, keep, smoothing, dtype, rng):
    """A row of equal logits of 1e38 beside others, whose loss and gradient stay bit for bit."""
    linear = fs.Linear(2, 20, bias=False, dtype=dtype, seed=0)
    linear.parameters["weight"][:, 1] = 1e19
    x, targets = rng.standard_normal((4, 2)).astype(dtype), np.array([1, 19, 0, 2])
    x[:, 1] = 0
    others = np.delete(np.arange(4), 1)
    loss = fs.LinearCrossEntropyLoss(linear, label_smoothing=smoothing, reduction="sum", **keep)
    alone = gradient_of(loss, x[others], targets[others])
    without = loss(x[others], targets[others])
    x[1] = 0, 1e19
    linear.parameters.zero_grad()
    value, backprop = loss.forward(x, targets)
    assert abs(value - without - np.log(20)) < 1e-6 and value == loss(x, targets)
    dx = backprop()
    assert_identical(dx[others], alone)
    # of 1 less than all of the probability on the target, elsewhere 1 / 20 too much
    d_logits = 1 / 20 - smoothing / 20 - (1 - smoothing) * (np.arange(20) == 19)
    assert_close(linear.parameters.grads["weight"][:, 1] / 1e19, d_logits.astype(dtype), 1e-6)


def test_blocks_of_classes_are_whole_panels():
    loss = fs.LinearCrossEntropyLoss(fs.Linear(2, 10_001))
    blocks = loss._blocks(320)
    sizes = [end - begin for begin, end in blocks]
    assert [end for _, end in blocks] == [*(begin for begin, _ in blocks[1:]), 10_001]
    assert len(blocks) == 4 and all(size % 64 == 0 for size in sizes[:-1])
    assert max(sizes) * 320 * 4 <= 1 << 22


@pytest.mark.parametrize("keep_bytes", [0, 1 << 20])
def test_linear_cross_entropy_may_run_several_times_before_its_backprops(
    small_blocks, keep_bytes, rng
):
    x, linear, targets, mask = make_features(rng, 20)
    loss = fs.LinearCrossEntropyLoss(linear, keep_bytes=keep_bytes)
    alone = [gradient_of(loss, scale * x, targets, mask) for scale in (1, 2, 3)]
    backprops = [loss.forward(scale * x, targets, mask)[1] for scale in (1, 2, 3)]
    for backprop, expected in zip(backprops, alone, strict=True):
        assert_identical(backprop(), expected)


def test_linear_cross_entropy_holds_all_logits_only_where_they_fit(rng):
    linear = fs.Linear(4, 150000, seed=1)
    x, targets = rng.random((400, 4), dtype=np.float32), rng.integers(0, 150000, 400)
    all_logits = 400 * 150000 * 4
    for keep_bytes, least, most in [(all_logits - 1, 0, 0.2), (all_logits, 1, 1.2)]:
        loss = fs.LinearCrossEntropyLoss(linear, keep_bytes=keep_bytes)
        tracemalloc.start()
        try:
            gradient_of(loss, x, targets)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert least * all_logits <= peak < most * all_logits


def test_measuring_alone_keeps_no_logits(small_blocks, rng):
    x, linear, targets, mask = make_features(rng, 700)
    loss = fs.LinearCrossEntropyLoss(linear)
    loss(x, targets, mask)
    assert loss._pool.borrow().get("logits", (1,)).base.size < 700


def make_adaptive(rng, **options):
    loss = fs.AdaptiveLogSoftmaxWithLoss(
        I, 20, [4, 9], div_value=2, dtype=np.float64, seed=1, **options
    )
    loss.parameters.flat[:] *= 3
    targets, mask = rng.integers(0, 20, SHAPE), make_mask(rng)
    targets[0], mask[0] = (4, 9, 19), True
    targets[2, 0], targets[1, 1] = -100, 99
    return loss, rng.standard_normal((*SHAPE, I)), targets, mask


@pytest.mark.parametrize("head_bias", [False, True])
@both_reductions
def test_adaptive_softmax(backend, head_bias, reduction, rng):
    loss, x, targets, mask = make_adaptive(rng, head_bias=head_bias, reduction=reduction)
    assert list(loss.parameters) == [
        "head.weight",
        *["head.bias"] * head_bias,
        "tail.0.0.weight",
        "tail.0.1.weight",
        "tail.1.0.weight",
        "tail.1.1.weight",
    ]
    log_p, counted = loss.log_prob(x), mask & (targets >= 0)
    assert_close(np.exp(log_p).sum(axis=-1), np.ones(SHAPE), 1e-14)
    picked = log_p[counted][np.arange(counted.sum()), targets[counted]]
    expected = -picked.sum() if reduction == "sum" else -picked.mean()
    assert abs(loss(x, targets, mask) - expected) < 1e-12
    assert_identical(loss.predict(x), log_p.argmax(axis=-1))

    value, backprop = loss.forward(x, targets, mask)
    assert value == loss(x, targets, mask)
    dx, grads = backprop(), loss.parameters.flat_grad.copy()
    check_gradients(
        lambda: loss(x, targets, mask), [x, loss.parameters.flat], [dx, grads], tolerance=1e-8
    )
    loss.parameters.zero_grad()
    assert_close(loss.forward(x, targets, mask)[1](-2), -2 * dx, 1e-14)
    assert_close(loss.parameters.flat_grad, -2 * grads, 1e-14)


@all_sizes
def test_adaptive_log_prob_of_large_logits(backend, size):
    """Of equal ones, whose probabilities are known."""
    loss = fs.AdaptiveLogSoftmaxWithLoss(2, 40, [10, 20], div_value=1, seed=0)
    for i in range(2):
        loss.parameters[f"tail.{i}.0.weight"][...] = np.eye(2)
    for name in ("head.weight", "tail.0.1.weight", "tail.1.1.weight"):
        loss.parameters[name][...] = 0, size
    x = np.ones((3, 2), np.float32)
    expected = np.repeat(-np.log([12, 12 * 10, 12 * 20]), (10, 10, 20)).astype(np.float32)
    assert_close(loss.log_prob(x), np.tile(expected, (3, 1)), 3e-7)
    for target in (0, 10, 39):
        assert abs(loss(x, [target] * 3) + expected[target]) < 1e-5


def test_adaptive_log_prob_keeps_its_digits(backend, rng):
    loss = fs.AdaptiveLogSoftmaxWithLoss(I, 40, [10, 20], div_value=2, head_bias=True, seed=0)
    wide = fs.AdaptiveLogSoftmaxWithLoss(
        I, 40, [10, 20], div_value=2, head_bias=True, dtype=np.float64
    )
    loss.parameters["head.bias"][...] += 1000  # which is no part of the probabilities
    wide.load_state_dict(loss.state_dict())
    x = np.zeros((1, I), np.float32)
    assert_close(loss.log_prob(x), wide.log_prob(x).astype(np.float32), 3e-7)
    loss.parameters.flat[:] *= 1e5
    wide.load_state_dict(loss.state_dict())
    x = rng.standard_normal((5, I)).astype(np.float32)
    expected = wide.log_prob(x)
    assert (np.abs(loss.log_prob(x) - expected) <= 1e-5 * np.abs(expected).max()).all()


def test_adaptive_log_prob_of_a_row_that_spans_more_than_float32(backend):
    loss = fs.AdaptiveLogSoftmaxWithLoss(2, 6, [2, 4], div_value=1, seed=0)
    for i in range(2):
        loss.parameters[f"tail.{i}.0.weight"][...] = np.eye(2)
    loss.parameters["head.weight"][...] = 0
    loss.parameters["tail.0.1.weight"][...] = [[3e38, 0], [-3e38, 0]]
    loss.parameters["tail.1.1.weight"][...] = 0
    p = np.exp(loss.log_prob(np.ones((1, 2), np.float32)))
    assert_close(p, np.array([[2, 2, 2, 0, 1, 1]], np.float32) / 8)


def test_adaptive_softmax_within_a_model(rng):
    loss, x, targets, mask = make_adaptive(rng)
    expected = loss(x, targets, mask)
    model = fs.Module(norm=fs.LayerNorm(I, dtype=np.float64), loss=loss)
    assert list(model.parameters)[2:4] == ["loss.head.weight", "loss.tail.0.0.weight"]
    assert loss(x, targets, mask) == expected
    other = copy.deepcopy(model)
    gradient_of(other.loss, x, targets, mask)
    assert other.parameters.flat_grad.any() and not model.parameters.flat_grad.any()
    other.parameters.flat[:] = 0
    assert_close(np.exp(other.loss.log_prob(x[0, 0])[:4]), np.full(4, 1 / 6), 1e-12)
    other.release()
    assert loss.cutoffs == [4, 9]
    only_frequent = np.array([0, 3]), np.array([2, 2])
    for targets in only_frequent:  # no cluster takes part
        backprop = loss.forward(x[0, :2], targets)[1]
        loss.parameters.zero_grad()
        backprop()
        assert not loss.parameters.grads["tail.0.0.weight"].any()
        assert loss.parameters.grads["head.weight"].any()


@pytest.mark.parametrize("kind", [{}, {"bias": False}, {"tied": True}], ids=str)
def test_sampled_softmax_gradients(backend, kind, rng):
    """Of one draw, which is repeated by setting the generator back."""
    x, linear, targets, mask = make_features(rng, 30, **kind)
    owner = fs.Module(table=linear.tied, linear=linear) if linear.tied else linear
    loss = fs.SampledSoftmaxLoss(linear, 8, seed=3)
    state = loss.random_state

    def run():
        loss.random_state = state
        return loss.forward(x, targets, mask)

    dx = run()[1](2.0)
    grads = owner.parameters.flat_grad.copy()
    assert 0 < np.count_nonzero(gradients_of_weights(linear)["weight"]) < 25 * I
    check_gradients(lambda: 2 * run()[0], [x, owner.parameters.flat], [dx, grads], tolerance=1e-8)
    exact = fs.LinearCrossEntropyLoss(linear)(x, targets, mask)
    assert loss(x, targets, mask) == exact
    assert run()[0] != loss.forward(x, targets, mask)[0]


def test_sampling_all_classes_is_the_full_softmax(backend, rng):
    x, linear, targets, mask = make_features(rng, 10)
    loss, full = fs.SampledSoftmaxLoss(linear, 10, seed=3), fs.LinearCrossEntropyLoss(linear)
    expected = full(x, targets, mask), gradient_of(full, x, targets, mask)
    grads = linear.parameters.flat_grad.copy()
    linear.parameters.zero_grad()
    # All are drawn in the end, but some are less expected to: correct for nothing here.
    loss._offsets = lambda classes, tries: linear.parameters["bias"][classes]
    value, backprop = loss.forward(x, targets, mask)
    assert abs(value - expected[0]) < 1e-12
    assert_close(backprop(), expected[1], 1e-13)
    assert_close(linear.parameters.flat_grad, grads, 1e-13)


@both_dtypes
def test_sampled_softmax_of_huge_logits(backend, dtype, rng):
    """A row of equal logits of 1e38 beside others, whose loss and gradient stay bit for bit."""
    linear = fs.Linear(2, 40, bias=False, dtype=dtype, seed=0)
    linear.parameters["weight"][:, 1] = 1e19
    x, targets = rng.standard_normal((4, 2)).astype(dtype), np.array([1, 39, 0, 2])
    x[:, 1] = 0
    others = np.delete(np.arange(4), 1)
    loss = fs.SampledSoftmaxLoss(linear, 8, seed=3, reduction="sum")
    sampled, _ = draw_distinct(np.random.default_rng(3), 40, 8)
    assert 39 not in sampled
    state = loss.random_state
    without, backprop = loss.forward(x[others], targets[others])
    alone = backprop()
    x[1] = 0, 1e19
    loss.random_state = state
    linear.parameters.zero_grad()
    value, backprop = loss.forward(x, targets)
    assert abs(value - without - np.log(9)) < 1e-6
    assert_identical(backprop()[others], alone)
    expected = np.zeros(40, dtype)
    expected[sampled], expected[39] = 1 / 9, 1 / 9 - 1
    assert_close(linear.parameters.grads["weight"][:, 1] / 1e19, expected, 1e-6)


def test_sampled_softmax_is_as_defined(backend, rng):
    x, linear, targets, mask = make_features(rng, 30)
    loss = fs.SampledSoftmaxLoss(linear, 8, seed=3)
    sampled, tries = draw_distinct(np.random.default_rng(3), 30, 8)
    p = (np.log(np.arange(30) + 2) - np.log(np.arange(30) + 1)) / np.log(31)
    logits = linear(x) - np.log(1 - (1 - p) ** tries)
    counted = [i for i in np.ndindex(SHAPE) if mask[i] and targets[i] >= 0]
    assert any(targets[i] in sampled for i in counted)
    total = 0
    for i in counted:
        classes = [targets[i], *(k for k in sampled if k != targets[i])]
        total += np.log(np.exp(logits[i][classes]).sum()) - logits[i][targets[i]]
    assert abs(loss.forward(x, targets, mask)[0] - total / len(counted)) < 1e-12


def test_sampled_softmax_leaves_a_right_model_alone():
    """If targets come from the model's own distribution, the mean gradient is almost 0."""
    rng = np.random.default_rng(0)
    linear = fs.Linear(1, 40, dtype=np.float64)
    linear.parameters["weight"].fill(0)
    bias = rng.standard_normal(40) - np.log(np.arange(40) + 2)
    linear.parameters["bias"] = bias
    loss, p = fs.SampledSoftmaxLoss(linear, 20, seed=3), np.exp(bias) / np.exp(bias).sum()

    def mean_gradient():
        linear.parameters.zero_grad()
        for _ in range(300):
            gradient_of(loss, np.ones((100, 1)), rng.choice(40, 100, p=p))
        return np.linalg.norm(linear.parameters.grads["bias"]) / 300

    right = mean_gradient()
    loss._offsets = lambda classes, tries: bias[classes]  # without the correction
    assert right < 0.15 * mean_gradient()


def test_classes_are_drawn_log_uniformly():
    rng, counts, expected = np.random.default_rng(0), np.zeros(50), np.zeros(50)
    p = np.log1p(1 / np.arange(1, 51)) / np.log(51)
    assert abs(p.sum() - 1) < 1e-12
    for _ in range(4000):
        classes, tries = draw_distinct(rng, 50, 8)
        assert len(classes) == 8 == len(set(classes)) and tries >= 8
        assert (np.diff(classes) > 0).all()
        counts[classes] += 1
        expected += -np.expm1(tries * np.log1p(-p))
    # Four standard deviations of a count, and the expectation's own error.
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected) + 0.03 * expected).all()
    assert draw_distinct(rng, 1, 1)[0].tolist() == [0]
    assert draw_distinct(rng, 300, 300)[0].tolist() == list(range(300))


def test_sampled_softmax_is_a_part_of_a_model(rng):
    x, linear, targets, mask = make_features(rng, 30)
    loss = fs.SampledSoftmaxLoss(linear, 5, seed=3)
    model = fs.Module(linear=linear, loss=loss)
    assert list(model.random_state) == ["loss"]
    assert list(model.parameters) == ["linear.weight", "linear.bias"]
    other = copy.deepcopy(model)
    assert other.loss.linear is other.linear
    assert other.loss.forward(x, targets, mask)[0] == loss.forward(x, targets, mask)[0]
    gradient_of(other.loss, x, targets, mask)
    assert other.parameters.flat_grad.any() and not model.parameters.flat_grad.any()
    model.release()
    single = fs.SampledSoftmaxLoss(fs.Linear(2, 1, dtype=np.float64), 1)
    assert single.forward(np.ones((3, 2)), [0, 0, 0])[0] == 0


@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("make", [fs.LinearCrossEntropyLoss, lambda x: fs.SampledSoftmaxLoss(x, 5)])
def test_gradients_are_added_one_pass_at_a_time(make, part, rng):
    x, linear, targets, mask = make_features(rng, 30, tied=True)
    backprop = make(linear).forward(x, targets, mask)[1]
    parameters = (linear if part == "bias" else linear.tied).parameters
    assert_waits_for(parameters.grads_lock, backprop, parameters.grads[part])


FEATURE_LOSSES = {
    "linear": lambda rng: fs.LinearCrossEntropyLoss(make_features(rng, 20)[1]),
    "adaptive": lambda rng: make_adaptive(rng)[0],
    "sampled": lambda rng: fs.SampledSoftmaxLoss(make_features(rng, 20)[1], 5, seed=1),
}


@pytest.mark.parametrize("name", FEATURE_LOSSES)
def test_features_that_do_not_count_may_be_anything(name, rng):
    loss, x = FEATURE_LOSSES[name](rng), rng.standard_normal((*SHAPE, I))
    targets, mask = rng.integers(0, 20, SHAPE), make_mask(rng)
    expected = loss(x, targets, mask)
    x[~mask], targets[~mask] = np.nan, 77
    assert loss(x, targets, mask) == expected
    dx = gradient_of(loss, x, targets, mask)
    assert np.isfinite(dx).all() and not dx[~mask].any() and dx[mask].all()
    for empty in (x[:0], targets[:0]), (x, np.full(SHAPE, -100)):
        value, backprop = loss.forward(*empty)
        assert value == loss(*empty) == 0 and not backprop().any()


# --- CTC ------------------------------------------------------------------------------------


def read_path(path, blank):
    """What a path says: repetitions and blanks removed."""
    return [label for label, _ in itertools.groupby(path) if label != blank]


def define_ctc(logits, label, blank):
    """-log p by going through all paths; logits (T, V)."""
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    total = 0.0
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        if read_path(path, blank) == list(label):
            total += np.prod([p[t, c] for t, c in enumerate(path)])
    return -np.log(total)


LABELS = [[1, 2], [2, 2], [1, 0], [1, 1], [0, 0]]
INPUT_LENGTHS, LABEL_LENGTHS = np.array([5, 4, 5, 3, 2]), np.array([2, 2, 1, 2, 0])


def make_ctc(rng, blank, dtype=np.float64):
    """Logits (5, 5, 3) and labels that don't hold the blank within their lengths."""
    labels = np.array(LABELS)
    if blank == 1:
        labels = np.array([1, 0, 2])[labels]
    return rng.standard_normal((5, 5, 3)).astype(dtype), labels


@pytest.mark.parametrize("blank", [0, 1])
@both_dtypes
def test_ctc_goes_through_all_paths(backend, blank, dtype, rng):
    logits, labels = make_ctc(rng, blank, dtype)
    each = [
        define_ctc(logits[:steps, b].astype(float), labels[b, :size], blank)
        for b, (steps, size) in enumerate(zip(INPUT_LENGTHS, LABEL_LENGTHS, strict=True))
    ]
    given = logits, labels, INPUT_LENGTHS, LABEL_LENGTHS
    tolerance = 1e-5 if dtype is np.float32 else 1e-12
    assert abs(fs.CTCLoss(blank, reduction="sum")(*given) - sum(each)) < tolerance
    mean = np.mean(np.array(each) / np.maximum(LABEL_LENGTHS, 1))
    loss = fs.CTCLoss(blank)
    assert abs(loss(*given) - mean) < tolerance
    assert loss.forward(*given)[0] == loss(*given)
    full = loss(logits, labels[[0, 1, 0, 1, 0]])
    assert full == loss(logits, labels[[0, 1, 0, 1, 0]], [5] * 5, [2] * 5)


@pytest.mark.parametrize("blank", [0, 1])
@both_reductions
def test_ctc_gradients(backend, blank, reduction, rng):
    logits, labels = make_ctc(rng, blank)
    given = labels, INPUT_LENGTHS, LABEL_LENGTHS
    loss = fs.CTCLoss(blank, reduction=reduction)
    dx = gradient_of(loss, logits, *given)
    check_gradients(lambda: loss(logits, *given), [logits], [dx], tolerance=1e-9)
    assert_close(loss.forward(logits, *given)[1](2.5), 2.5 * dx, 1e-14)
    past = np.arange(5)[:, None] >= INPUT_LENGTHS
    assert not dx[past].any()
    value = loss(logits, *given)
    for anything in (np.nan, np.inf, -np.inf, 1e308):
        logits[past] = anything
        assert loss(logits, *given) == value
        assert_identical(gradient_of(loss, logits, *given), dx)


def test_ctc_of_targets_that_do_not_fit(rng):
    logits = rng.standard_normal((2, 2, 3))
    labels = [[1, 1], [1, 2]]  # the first needs a blank between
    assert fs.CTCLoss()(logits, labels) == np.inf
    value, backprop = fs.CTCLoss().forward(logits, labels)
    dx = backprop()
    assert value == np.inf and np.isnan(dx[:, 0]).any() and np.isfinite(dx[:, 1]).all()
    dx = gradient_of(fs.CTCLoss(), logits, labels, [1, 2])
    assert np.isnan(dx[0, 0]).any() and not dx[1, 0].any()
    loss = fs.CTCLoss(reduction="sum", zero_infinity=True)
    value, backprop = loss.forward(logits, labels)
    alone = fs.CTCLoss(reduction="sum").forward(logits[:, 1:], labels[1:])
    dx = backprop()
    assert value == alone[0] and not dx[:, 0].any()
    assert_close(dx[:, 1:], alone[1](), 1e-14)


def test_ctc_of_nothing(rng):
    empty = np.zeros((1, 0), int)
    assert fs.CTCLoss()(rng.standard_normal((0, 1, 3)), empty) == 0
    assert fs.CTCLoss()(rng.standard_normal((0, 1, 3)), [[1]]) == np.inf
    logits = rng.standard_normal((3, 1, 3))
    expected = -(logits[:, 0, 0] - np.log(np.exp(logits[:, 0]).sum(axis=1))).sum()
    assert abs(fs.CTCLoss()(logits, empty) - expected) < 1e-12
    assert fs.CTCLoss()(np.zeros((3, 0, 3)), np.zeros((0, 2), int)) == 0


# --- bad arguments --------------------------------------------------------------------------

ALL = {
    "cross-entropy": (fs.CrossEntropyLoss(), np.ones((2, V)), [0, 1]),
    "mse": (fs.MSELoss(), np.ones(2), np.ones(2)),
    "linear": (fs.LinearCrossEntropyLoss(fs.Linear(3, V)), np.ones((2, 3)), [0, 1]),
    "adaptive": (fs.AdaptiveLogSoftmaxWithLoss(4, V, [2]), np.ones((2, 4)), [0, 1]),
    "sampled": (fs.SampledSoftmaxLoss(fs.Linear(3, V), 2), np.ones((2, 3)), [0, 1]),
    "ctc": (fs.CTCLoss(), np.ones((4, 1, V)), [[1, 2]]),
}


@pytest.mark.parametrize("name", ALL)
def test_backprop_runs_once_and_has_no_duplicates(name):
    loss, *given = ALL[name]
    backprop = loss.forward(*given)[1]
    with raises(TypeError, "a LossBackprop can't be copied"):
        copy.copy(backprop)
    for wrong in ("1", None, True, [1.0]):
        with raises(TypeError, "scale must be a number"):
            backprop(wrong)
    expected = backprop()
    with raises(RuntimeError, "already run"):
        backprop()
    if name != "sampled":

        class Scale:
            """A number that all threads have to wait for."""

            def __init__(self, array):
                self.array = array

            def __float__(self):
                return float(np.asarray(self.array))

        backprop = loss.forward(*given)[1]
        found = run_backprop_in_threads(lambda scale: backprop(Scale(scale)), np.array(1.0))
        assert_identical(found, expected)


@pytest.mark.parametrize(
    "make, error, parts",
    [
        (lambda: fs.CrossEntropyLoss(reduction="none"), ValueError, ["reduction", "'mean', 'sum'"]),
        (lambda: fs.CrossEntropyLoss(label_smoothing=1.5), ValueError, ["label_smoothing", "1.5"]),
        (lambda: fs.CrossEntropyLoss(ignore_index=0.5), TypeError, ["ignore_index", "0.5"]),
        (lambda: fs.MSELoss(reduction=None), TypeError, ["reduction", "None"]),
        (lambda: fs.HuberLoss(0), ValueError, ["delta", "above 0", "0"]),
        (lambda: fs.HuberLoss("1"), TypeError, ["delta", "'1'"]),
        (lambda: fs.QuantileLoss([]), ValueError, ["quantiles", "between 0 and 1", "[]"]),
        (lambda: fs.QuantileLoss([0.5, 1.0]), ValueError, ["quantiles", "[0.5, 1.0]"]),
        (lambda: fs.QuantileLoss(0.5), ValueError, ["quantiles", "sequence", "0.5"]),
        (lambda: fs.QuantileLoss([float("nan")]), ValueError, ["quantiles", "nan"]),
        (lambda: fs.QuantileLoss([1, 2]), TypeError, ["quantiles", "floating-point"]),
        (lambda: fs.CTCLoss(-1), ValueError, ["blank", "from 0 on", "-1"]),
        (lambda: fs.CTCLoss(zero_infinity=1), TypeError, ["zero_infinity", "True or False"]),
        (lambda: fs.LinearCrossEntropyLoss("x"), TypeError, ["linear must be a Linear", "str"]),
        (
            lambda: fs.LinearCrossEntropyLoss(fs.Linear(2, 3), keep_bytes=-1),
            ValueError,
            ["keep_bytes", "-1"],
        ),
        (lambda: fs.SampledSoftmaxLoss(fs.LSTM(2, 3), 2), TypeError, ["linear must", "LSTM"]),
        (
            lambda: fs.SampledSoftmaxLoss(fs.Linear(2, 3), 4),
            ValueError,
            ["num_sampled", "at most 3", "got 4"],
        ),
        (lambda: fs.SampledSoftmaxLoss(fs.Linear(2, 3), 0), ValueError, ["num_sampled", "0"]),
        (lambda: fs.SampledSoftmaxLoss(fs.Linear(2, 3), 1, seed=-1), ValueError, ["seed", "-1"]),
        (
            lambda: fs.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 3]),
            ValueError,
            ["cutoffs must be rising", "1 to 9", "[3, 3]"],
        ),
        (lambda: fs.AdaptiveLogSoftmaxWithLoss(8, 10, [10]), ValueError, ["cutoffs", "[10]"]),
        (lambda: fs.AdaptiveLogSoftmaxWithLoss(8, 10, [0, 3]), ValueError, ["cutoffs", "[0, 3]"]),
        (lambda: fs.AdaptiveLogSoftmaxWithLoss(8, 10, []), ValueError, ["cutoffs", "[]"]),
        (lambda: fs.AdaptiveLogSoftmaxWithLoss(8, 10, 3), ValueError, ["cutoffs", "3"]),
        (lambda: fs.AdaptiveLogSoftmaxWithLoss(8, 10, [2.5]), TypeError, ["cutoffs", "float64"]),
        (
            lambda: fs.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 5]),
            ValueError,
            ["div_value=4.0 leaves no features of 8 for cluster 1", "smaller"],
        ),
        (
            lambda: fs.AdaptiveLogSoftmaxWithLoss(8, 10, [3], div_value=0.5),
            ValueError,
            ["div_value", "from 1 on", "0.5"],
        ),
    ],
)
def test_constructors(make, error, parts):
    with raises(error, *parts):
        make()


@pytest.mark.parametrize("name", ["cross-entropy", "linear", "adaptive", "sampled"])
@pytest.mark.parametrize(
    "targets, mask, error, parts",
    [
        ([0], None, ValueError, ["targets must have the shape of the inputs", "(2,)", "(1,)"]),
        ([0.0, 1.0], None, TypeError, ["targets must hold integers", "float64"]),
        (
            [0, 5],
            None,
            ValueError,
            ["between 0 and 4", "5 classes", "ignore_index=-100", "got 5 at targets[1]"],
        ),
        ([-1, 9], None, ValueError, ["got -1 at targets[0]"]),
        ([-1, 9], [False, True], ValueError, ["got 9 at targets[1]"]),
        ([0, 1], [1, 0], TypeError, ["mask must hold booleans", "int64", "mask != 0"]),
        ([0, 1], [True], ValueError, ["mask must have the shape of the targets, (2,)", "got (1,)"]),
        ([0, 1], [[True, True]], ValueError, ["mask must have the shape", "got (1, 2)"]),
    ],
)
def test_targets_and_masks(name, targets, mask, error, parts):
    loss, inputs, _ = ALL[name]
    for call in (loss, loss.forward):
        with raises(error, *parts):
            call(inputs, targets, mask)


@pytest.mark.parametrize(
    "name, inputs, error, parts",
    [
        (
            "cross-entropy",
            np.float64(1),
            ValueError,
            ["inputs must have shape (..., classes)", "()"],
        ),
        ("cross-entropy", np.ones((2, 0)), ValueError, ["inputs must have shape", "(2, 0)"]),
        ("cross-entropy", np.ones((2, V), int), TypeError, ["inputs must hold floating-point"]),
        (
            "mse",
            np.ones(3),
            ValueError,
            ["targets must have the shape of the inputs, (3,)", "(2,)"],
        ),
        ("mse", [1, 2], TypeError, ["inputs must hold floating-point"]),
        ("linear", np.ones((2, 4)), ValueError, ["inputs must have shape (..., 3)", "(2, 4)"]),
        ("adaptive", np.ones((2, 3)), ValueError, ["inputs must have shape (..., 4)"]),
        ("sampled", np.ones(2, int), TypeError, ["inputs must hold floating-point"]),
        ("ctc", np.ones((4, V)), ValueError, ["inputs must have shape (T, B, classes)", "(4, 5)"]),
        ("ctc", np.ones((4, 2, V)), ValueError, ["targets must have shape (B, S) = (2, S)", "pad"]),
    ],
)
def test_inputs(name, inputs, error, parts):
    loss, _, targets = ALL[name]
    for call in (loss, loss.forward):
        with raises(error, *parts):
            call(inputs, targets)


@pytest.mark.parametrize(
    "arguments, error, parts",
    [
        (([[1, 0]],), ValueError, ["not be blank=0", "got 0 at targets[0, 1]"]),
        (([[1, 5]],), ValueError, ["between 0 and 4", "got 5 at targets[0, 1]"]),
        (([[1, 2]], [5]), ValueError, ["input_lengths must lie between 0 and 4", "got 5"]),
        (([[1, 2]], [-1]), ValueError, ["input_lengths", "got -1 at input_lengths[0]"]),
        (([[1, 2]], None, [3]), ValueError, ["target_lengths must lie between 0 and 2", "got 3"]),
        (([[1, 2]], None, [1, 1]), ValueError, ["target_lengths must have shape (B,) = (1,)"]),
        (([[1, 2]], [2.0]), TypeError, ["input_lengths must hold integers"]),
        (([1, 2],), ValueError, ["targets must have shape (B, S)", "(2,)"]),
    ],
)
def test_ctc_arguments(arguments, error, parts):
    with raises(error, *parts):
        fs.CTCLoss()(np.ones((4, 1, V)), *arguments)


def test_in_place_is_a_flag():
    with raises(TypeError, "in_place must be True or False", "1"):
        fs.CrossEntropyLoss().forward(np.ones((2, V)), [0, 1], in_place=1)


def test_quantiles_need_an_axis_of_their_own():
    loss = fs.QuantileLoss([0.1, 0.9])
    assert loss.quantiles == (0.1, 0.9)
    with raises(ValueError, "inputs must have shape (..., 2)", "(4, 3)", "number of quantiles"):
        loss(np.ones((4, 3)), np.ones(4))
    with raises(ValueError, "targets must have the shape", "(4,)", "(4, 2)"):
        loss(np.ones((4, 2)), np.ones((4, 2)))


def test_repr():
    assert repr(fs.CrossEntropyLoss()) == "CrossEntropyLoss()"
    loss = fs.CrossEntropyLoss(ignore_index=0, label_smoothing=0.1, reduction="sum")
    assert repr(loss) == "CrossEntropyLoss(ignore_index=0, label_smoothing=0.1, reduction='sum')"
    assert repr(fs.HuberLoss(0.5)) == "HuberLoss(0.5)"
    assert repr(fs.QuantileLoss([0.5])) == "QuantileLoss([0.5])"
    assert repr(fs.CTCLoss()) == "CTCLoss(blank=0)"
    linear = fs.Linear(2, 3)
    assert repr(fs.LinearCrossEntropyLoss(linear)) == f"LinearCrossEntropyLoss({linear!r})"
    shown = repr(fs.LinearCrossEntropyLoss(linear, keep_bytes=0))
    assert shown == f"LinearCrossEntropyLoss({linear!r}, keep_bytes=0)"
    assert repr(fs.SampledSoftmaxLoss(linear, 2)) == f"SampledSoftmaxLoss({linear!r}, 2)"
    assert repr(fs.AdaptiveLogSoftmaxWithLoss(8, 9, [2, 5], div_value=2)) == (
        "AdaptiveLogSoftmaxWithLoss(8, 9, [2, 5], div_value=2.0, dtype=float32)"
    )
    options = {"head_bias": True, "ignore_index": 0, "reduction": "sum", "dtype": np.float64}
    assert repr(fs.AdaptiveLogSoftmaxWithLoss(8, 9, [2], **options)) == (
        "AdaptiveLogSoftmaxWithLoss(8, 9, [2], head_bias=True, ignore_index=0, dtype=float64, "
        "reduction='sum')"
    )


# --- options stay ---------------------------------------------------------------------------------

OPTIONS = ["ignore_index", "label_smoothing", "reduction"]


@pytest.mark.parametrize(
    "make, names",
    [
        (fs.CrossEntropyLoss, OPTIONS),
        (lambda: fs.LinearCrossEntropyLoss(fs.Linear(2, 3)), [*OPTIONS, "keep_bytes"]),
        (lambda: fs.SampledSoftmaxLoss(fs.Linear(2, 3), 2), [*OPTIONS, "num_sampled"]),
        (lambda: fs.AdaptiveLogSoftmaxWithLoss(4, 6, [3], div_value=2.0), OPTIONS),
        (lambda: fs.BagOfWordsLoss(2, 3), OPTIONS),
        (fs.MSELoss, ["reduction"]),
        (fs.BCEWithLogitsLoss, ["reduction"]),
        (fs.HuberLoss, ["reduction", "delta"]),
        (lambda: fs.QuantileLoss([0.5]), ["reduction", "quantiles"]),
        (fs.CTCLoss, ["reduction", "blank", "zero_infinity"]),
    ],
)
def test_options_of_losses_stay(make, names):
    loss = make()
    for name in names:
        before = getattr(loss, name)
        with raises(AttributeError, f"{name} can't be changed: make a new {type(loss).__name__}"):
            setattr(loss, name, None)
        assert getattr(loss, name) == before
    with raises(AttributeError, f"{type(loss).__name__} has no attribute 'weight'", "make a new"):
        loss.weight = np.ones(3)
