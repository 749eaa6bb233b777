"""AttentionLSTM and AttentionGRU: gradients, equivalences, steps, errors."""

import copy
import pickle

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises
from layer_cases import (
    as_tuple,
    assert_same,
    backend_fixture,  # noqa: F401
    check_gradients,
    run_at_once,
)

import fastseq as fs

CELLS = {
    "lstm": fs.AttentionLSTM,
    "gru": fs.AttentionGRU,
    "gru-before": lambda *sizes, **options: fs.AttentionGRU(*sizes, reset_after=False, **options),
}
KINDS = {
    "additive": {"score": "additive", "attention_size": 4},
    "additive-current": {"score": "additive", "query": "current"},
    "concat": {"score": "concat", "attention_size": 4},
    "concat-previous": {"score": "concat", "query": "previous"},
    "dot": {"score": "dot"},
    "dot-previous": {"score": "dot", "query": "previous"},
    "general": {"score": "general"},
    "general-previous": {"score": "general", "query": "previous"},
    "additive-unfed": {"score": "additive", "query": "current", "input_feeding": False},
    "concat-unfed": {"score": "concat", "input_feeding": False},
    "dot-unfed": {"score": "dot", "input_feeding": False},
    "general-unfed": {"score": "general", "input_feeding": False},
}
all_cells = pytest.mark.parametrize("cell", CELLS)
all_kinds = pytest.mark.parametrize("kind", KINDS)
FEW = ["additive", "general", "concat-unfed"]
few_kinds = pytest.mark.parametrize("kind", FEW)
both_ways = pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
LENGTHS, MEMORY_LENGTHS = [2, 0, 4, 1], [3, 5, 0, 1]
T, S, B, I, H, E = 4, 5, 4, 2, 3, 4  # noqa: E741


def make(cell, kind, *, sizes=(I, H, E), dtype=np.float64, **options):
    input_size, hidden, memory = sizes
    if KINDS[kind]["score"] == "dot":
        memory = hidden
    options = KINDS[kind] | options
    return CELLS[cell](input_size, hidden, memory, dtype=dtype, seed=1, **options)


def make_inputs(decoder, shape=(T, S, B), seed=0):
    """x, memory, state, all random; the state has whatever it may have."""
    rng = np.random.default_rng(seed)
    steps, positions, rows = shape
    count = 2 if isinstance(decoder, fs.AttentionLSTM) else 1
    count += decoder.input_feeding and decoder.query == "current"

    def normal(*shape):
        return rng.standard_normal(shape).astype(decoder.dtype)

    x, memory = (
        normal(steps, rows, decoder.input_size),
        normal(positions, rows, decoder.memory_size),
    )
    state = tuple(normal(1, rows, decoder.hidden_size) for _ in range(count))
    return x, memory, state[0] if count == 1 else state


def heads_of(*results):
    rng = np.random.default_rng(5)
    flat = [array for result in results for array in as_tuple(result)]
    return [rng.standard_normal(array.shape).astype(array.dtype) for array in flat]


def like(state, arrays):
    return tuple(arrays) if isinstance(state, tuple) else arrays[0]


def train(decoder, x, memory, state=None, lengths=None, memory_lengths=None):
    """All that comes out of a pass forward and back."""
    decoder.parameters.zero_grad()
    y, final, weights, backprop = decoder.forward(x, memory, state, lengths, memory_lengths)
    dy, dweights, *dfinal = heads_of(y, weights, final)
    dx, dmemory, dstate = backprop(dy, like(final, dfinal), dweights)
    return y, final, weights, dx, dmemory, dstate, decoder.parameters.flat_grad.copy()


# --- gradients ------------------------------------------------------------------------------


@all_cells
@all_kinds
def test_gradients_are_central_differences(cell, kind):
    decoder = make(cell, kind)
    x, memory, state = make_inputs(decoder)
    given = x, memory, state, LENGTHS, MEMORY_LENGTHS
    y, final, weights = decoder(*given)
    heads = heads_of(y, weights, final)

    def loss():
        y, final, weights = decoder(*given)
        return sum(
            (a * head).sum() for a, head in zip((y, weights, *as_tuple(final)), heads, strict=True)
        )

    *_, dx, dmemory, dstate, gradient = train(decoder, *given)
    arrays = [x, memory, *as_tuple(state), decoder.parameters.flat]
    gradients = [dx, dmemory, *as_tuple(dstate), gradient]
    check_gradients(loss, arrays, gradients, tolerance=1e-8)


@few_kinds
def test_gradients_of_absent_heads_are_zeros(backend, kind):
    decoder = make("lstm", kind)
    x, memory, _ = make_inputs(decoder)
    y, final, weights, backprop = decoder.forward(x, memory)
    found = backprop(y)
    _, _, _, backprop = decoder.forward(x, memory)
    zeros = tuple(np.zeros_like(part) for part in final)
    expected = backprop(y, zeros, np.zeros_like(weights))
    assert_same(backend, found, expected)
    backprop = decoder.forward(x, memory)[3]
    dx, *_ = backprop(None, input_grad=False)
    assert dx is None


@all_kinds
def test_gradients_accumulate(kind):
    decoder = make("gru", kind)
    given = make_inputs(decoder)
    gradient = train(decoder, *given)[-1]
    y, final, weights, backprop = decoder.forward(*given)
    dy, dweights, *dfinal = heads_of(y, weights, final)
    backprop(dy, like(final, dfinal), dweights)
    assert_close(decoder.parameters.flat_grad, 2 * gradient)


@all_kinds
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_backprop_leaves_its_arguments_alone(backend, cell, kind):
    decoder = make(cell, kind)
    for lengths in ((None, None), (LENGTHS, MEMORY_LENGTHS)):
        x, memory, state = make_inputs(decoder)
        y, final, weights, backprop = decoder.forward(x, memory, state, *lengths)
        dy, dweights, *dfinal = heads_of(y, weights, final)
        given = x, memory, state, dy, like(final, dfinal), dweights
        before = copy.deepcopy(given)
        backprop(dy, like(final, dfinal), dweights)
        assert_identical(given, before)


# --- equivalences ---------------------------------------------------------------------------


@all_cells
@all_kinds
def test_ragged_is_one_by_one(backend, cell, kind):
    decoder = make(cell, kind)
    x, memory, state = make_inputs(decoder)
    y, final, weights = decoder(x, memory, state, LENGTHS, MEMORY_LENGTHS)
    for row, (steps, positions) in enumerate(zip(LENGTHS, MEMORY_LENGTHS, strict=True)):
        own = slice(row, row + 1)
        one = like(state, [part[:, own] for part in as_tuple(state)])
        alone = decoder(x[:steps, own], memory[:positions, own], one)
        assert_same(backend, y[:steps, own], alone[0])
        for found, expected in zip(as_tuple(final), as_tuple(alone[1]), strict=True):
            assert_same(backend, found[:, own], expected)
        assert_same(backend, weights[:steps, own, :positions], alone[2])
        assert not y[steps:, row].any()
        assert not weights[steps:, row].any() and not weights[:, row, positions:].any()


@all_kinds
def test_gradients_of_ragged_batches_are_those_of_single_rows(kind):
    decoder = make("lstm", kind)
    x, memory, state = make_inputs(decoder)
    *_, backprop = decoder.forward(x, memory, state, LENGTHS, MEMORY_LENGTHS)
    dy = heads_of(np.empty((T, B, H)))[0]
    dx, dmemory, dstate = backprop(dy)
    gradient = decoder.parameters.flat_grad.copy()
    decoder.parameters.zero_grad()
    for row, (steps, positions) in enumerate(zip(LENGTHS, MEMORY_LENGTHS, strict=True)):
        own = slice(row, row + 1)
        one = tuple(part[:, own] for part in state)
        *_, backprop = decoder.forward(x[:steps, own], memory[:positions, own], one)
        alone = backprop(dy[:steps, own])
        assert_close((dx[:steps, own], dmemory[:positions, own]), alone[:2])
        assert_close(tuple(part[:, own] for part in dstate), alone[2])
        assert not dx[steps:, row].any() and not dmemory[positions:, row].any()
    assert_close(decoder.parameters.flat_grad, gradient)


@all_cells
@all_kinds
def test_steps_equal_the_batch(backend, cell, kind):
    decoder = make(cell, kind)
    x, memory, state = make_inputs(decoder)
    y, final, weights = decoder(x, memory, state, None, MEMORY_LENGTHS)
    steps = decoder.start(memory, state, MEMORY_LENGTHS)
    assert steps.weights is None and len(steps) == B
    for t in range(T):
        assert_same(backend, steps.step(x[t]), y[t])
        assert_same(backend, steps.weights, weights[t])
    assert_same(backend, steps.state, final)


@all_kinds
def test_rows_can_be_chosen_between_steps(backend, kind):
    decoder = make("lstm", kind)
    x, memory, state = make_inputs(decoder)
    steps = decoder.start(memory, state, MEMORY_LENGTHS)
    steps.step(x[0])
    rows = np.array([3, 3, 0, 2, 3])
    weights = steps.weights[rows]
    steps.select(rows)
    assert_identical(steps.weights, weights)
    found = steps.step(x[1, rows])
    lengths = np.array(MEMORY_LENGTHS)[rows]
    chosen = tuple(part[:, rows] for part in state)
    y, final, weights = decoder(x[:2, rows], memory[:, rows], chosen, None, lengths)
    assert_same(backend, (found, steps.weights, steps.state), (y[1], weights[1], final))
    steps.select([])
    assert steps.step(np.empty((0, I))).shape == (0, H)


@few_kinds
def test_steps_keep_the_weights_of_their_start(backend, kind):
    decoder = make("gru", kind)
    x, memory, state = make_inputs(decoder)
    y, _, _ = decoder(x[:1], memory, state)
    steps = decoder.start(memory, state)
    decoder.parameters.flat[:] = 0
    memory[:] = 0
    assert_same(backend, steps.step(x[0]), y[0])


def go_on(steps, x):
    """All that the next steps give, and where they end."""
    found = [(steps.step(x_t), steps.weights) for x_t in x]
    return tuple(array for pair in found for array in pair) + as_tuple(steps.state)


@both_ways
@all_cells
@few_kinds
def test_copies_of_steps_are_independent(backend, cell, kind, duplicate):
    decoder = make(cell, kind)
    x, memory, state = make_inputs(decoder)
    steps = decoder.start(memory, state, MEMORY_LENGTHS)
    steps.step(x[0])
    twin, other = duplicate(steps), duplicate(steps)
    assert_identical((twin.weights, *as_tuple(twin.state)), (steps.weights, *as_tuple(steps.state)))
    expected = go_on(steps, x[1:])
    other.select([1, 3, 3])
    rows = other.step(x[1, [1, 3, 3]])
    assert_same(backend, rows, expected[0][[1, 3, 3]])
    del steps, other
    assert_identical(go_on(twin, x[1:]), expected)


@both_ways
@few_kinds
def test_copies_of_steps_keep_weights_and_backend(backend, kind, duplicate):
    decoder = make("gru", kind)
    x, memory, state = make_inputs(decoder)
    expected = go_on(decoder.start(memory, state), x)
    steps = decoder.start(memory, state)
    decoder.parameters.flat[:] = 0
    memory[:] = 0
    fs.set_backend("numpy")
    twin = duplicate(duplicate(steps))
    del steps
    assert_identical(go_on(twin, x), expected)


@few_kinds
def test_copies_of_steps_run_at_once(backend, kind):
    decoder = make("lstm", kind, sizes=(8, 48, 48))
    x, memory, state = make_inputs(decoder, (30, 9, 5))
    steps = decoder.start(memory, state)
    expected = go_on(copy.copy(steps), x)
    twins = [copy.copy(steps) for _ in range(4)]
    for found in run_at_once([lambda twin=twin: go_on(twin, x) for twin in twins]):
        assert_identical(found, expected)


def test_a_deep_copy_of_steps_stays_with_what_is_copied_beside_it():
    decoder = make("lstm", "general")
    _, memory, state = make_inputs(decoder)
    own, steps = copy.deepcopy((decoder, decoder.start(memory, state)))
    assert steps._decoder is own is not decoder


def test_steps_are_not_pickled(backend):
    decoder = make("lstm", "general")
    x, memory, state = make_inputs(decoder)
    steps = decoder.start(memory, state)
    steps.step(x[0])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with raises(TypeError, "a DecoderState can't be pickled", "decoder.start(memory, state"):
            pickle.dumps(steps, protocol)
    decoder, memory, state = pickle.loads(pickle.dumps((decoder, memory, steps.state)))
    assert_identical(go_on(decoder.start(memory, state), x[1:]), go_on(steps, x[1:]))


@all_cells
@all_kinds
def test_a_cut_sequence_goes_on_where_it_was_cut(backend, cell, kind):
    decoder = make(cell, kind)
    x, memory, state = make_inputs(decoder)
    y, final, weights = decoder(x, memory, state)
    first, middle, first_weights = decoder(x[:1], memory, state)
    second, last, second_weights = decoder(x[1:], memory, middle)
    assert_same(backend, np.concatenate([first, second]), y)
    assert_same(backend, np.concatenate([first_weights, second_weights]), weights)
    assert_same(backend, last, final)


@all_cells
@all_kinds
def test_no_state_is_zeros(cell, kind):
    decoder = make(cell, kind)
    x, memory, state = make_inputs(decoder)
    zeros = like(state, [np.zeros_like(part) for part in as_tuple(state)])
    y, final, weights = decoder(x, memory, zeros)
    found_y, found, found_weights = decoder(x, memory)
    assert_identical((found_y, found_weights), (y, weights))
    count = 2 if cell == "lstm" else 1
    assert_identical(as_tuple(found), as_tuple(final)[:count])
    assert_identical(decoder(x, memory, like(found, as_tuple(zeros)[:count]))[0], y)


@all_kinds
def test_inference_equals_training(backend, kind):
    decoder = make("lstm", kind)
    given = *make_inputs(decoder), LENGTHS, MEMORY_LENGTHS
    assert_same(backend, decoder(*given), decoder.forward(*given)[:3])


def swapped(*arrays):
    return tuple(array.swapaxes(0, 1) for array in arrays)


@all_cells
@all_kinds
@pytest.mark.parametrize("lengths", [(None, None), (LENGTHS, MEMORY_LENGTHS)], ids=["full", ""])
def test_batch_first_is_transposed(cell, kind, lengths):
    decoder, other = make(cell, kind), make(cell, kind, batch_first=True)
    x, memory, state = make_inputs(decoder)
    y, final, weights = decoder(x, memory, state, *lengths)
    y_other, final_other, weights_other = other(*swapped(x, memory), state, *lengths)
    assert_identical((y_other, weights_other), swapped(y, weights))
    assert_identical(as_tuple(final_other), as_tuple(final))


@few_kinds
@pytest.mark.parametrize("lengths", [(None, None), (LENGTHS, MEMORY_LENGTHS)], ids=["full", ""])
def test_training_batch_first_is_transposed(backend, kind, lengths):
    decoder, other = make("lstm", kind), make("lstm", kind, batch_first=True)
    x, memory, state = make_inputs(decoder)
    y, final, weights, backprop = decoder.forward(x, memory, state, *lengths)
    dy, dweights, *dfinal = heads_of(y, weights, final)
    dx, dmemory, dstate = backprop(dy, dfinal, dweights)
    y_other, _, weights_other, backprop = other.forward(*swapped(x, memory), state, *lengths)
    assert_identical((y_other, weights_other), swapped(y, weights))
    dy, dweights = swapped(dy, dweights)
    dx_other, dmemory_other, dstate_other = backprop(dy, dfinal, dweights)
    assert_identical((dx_other, dmemory_other), swapped(dx, dmemory))
    assert_identical(as_tuple(dstate_other), as_tuple(dstate))
    assert_identical(other.parameters.flat_grad, decoder.parameters.flat_grad)


@few_kinds
def test_steps_with_batch_first(kind):
    decoder, other = make("gru", kind), make("gru", kind, batch_first=True)
    x, memory, state = make_inputs(decoder)
    for lengths in (None, MEMORY_LENGTHS):
        steps = decoder.start(memory, state, lengths)
        others = other.start(*swapped(memory), state, lengths)
        for x_t in x:
            assert_identical(others.step(x_t), steps.step(x_t))
            assert_identical(others.weights, steps.weights)


def test_empty_batches_with_batch_first():
    for shape in ((0, S, B), (T, 0, B), (T, S, 0)):
        decoder = make("lstm", "general", batch_first=True)
        x, memory, state = make_inputs(decoder, shape)
        x, memory = swapped(x, memory)
        y, _, weights, dx, dmemory, _, _ = train(decoder, x, memory, state)
        steps, positions, rows = shape
        assert y.shape == (rows, steps, H) and weights.shape == (rows, steps, positions)
        assert dx.shape == x.shape and dmemory.shape == memory.shape


def test_concat_is_additive_with_one_weight():
    both, additive = make("lstm", "concat-previous"), make("lstm", "additive", attention_size=H)
    values = additive.state_dict()
    joint = np.concatenate([values.pop("weight_query"), values.pop("weight_key")], axis=1)
    both.load_state_dict(values | {"weight_concat": joint})
    given = *make_inputs(both), LENGTHS, MEMORY_LENGTHS
    assert_identical(both(*given), additive(*given))
    found, expected = train(both, *given), train(additive, *given)
    assert_close(found[:-1], expected[:-1])


def test_without_attention_to_anything_it_is_a_plain_layer():
    """Nothing is fed, and the output looks at h alone."""
    decoder, lstm = make("lstm", "dot-unfed"), fs.LSTM(I, H, dtype=np.float64, seed=3)
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    for name in names:
        decoder.parameters[name][...] = lstm.parameters[f"{name}_l0"]
    decoder.parameters["weight_output"][...] = np.hstack([np.zeros((H, H)), np.eye(H)])
    decoder.parameters["bias_output"][...] = 0
    x, memory, state = make_inputs(decoder)
    y, final, _ = decoder(x, memory, state, LENGTHS)
    expected, expected_final = lstm(x, state, LENGTHS)
    assert_close((np.arctanh(y), final), (expected, expected_final))


@few_kinds
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backends_agree(backend, kind, dtype):
    decoder = make("gru", kind, sizes=(7, 20, 11), dtype=dtype)
    given = *make_inputs(decoder, (9, 8, 4)), [9, 3, 0, 8], [8, 1, 7, 0]
    found = train(decoder, *given)
    fs.set_backend("numpy")
    assert_close(found, train(decoder, *given), 2e-5 if dtype is np.float32 else 1e-12)


@few_kinds
def test_empty_batches(backend, kind):
    decoder = make("lstm", kind)
    for shape in [(0, 3, 2), (3, 2, 0), (0, 0, 0)]:
        y, _, weights, dx, dmemory, _, gradient = train(decoder, *make_inputs(decoder, shape))
        steps, positions, rows = shape
        assert y.shape == (steps, rows, H) and weights.shape == (steps, rows, positions)
        assert dx.shape == (steps, rows, I) and dmemory.shape == (positions, rows, E)
        assert not gradient.any()
    x, memory, state = make_inputs(decoder, (3, 0, 2))  # targets without a source
    y, *_ = train(decoder, x, memory, state)
    assert np.isfinite(y).all() and y.any()


@few_kinds
def test_nan_stays_in_its_row(backend, kind):
    decoder = make("gru", kind)
    x, memory, state = make_inputs(decoder)
    memory[1, 2, 0] = np.nan
    y, *_ = decoder(x, memory, state)
    assert np.isnan(y[:, 2]).any() and np.isfinite(np.delete(y, 2, axis=1)).all()


@all_kinds
def test_copies_and_files_are_the_same_decoder(kind):
    decoder = make("lstm", kind)
    given = make_inputs(decoder)
    expected = train(decoder, *given)
    for twin in (copy.deepcopy(decoder), pickle.loads(pickle.dumps(decoder))):
        assert_identical(train(twin, *given), expected)
    other = make("lstm", kind)
    other.parameters.flat[:] = 0
    other.load_state_dict(decoder.state_dict())
    assert_identical(train(other, *given), expected)


def test_part_of_a_model():
    model = fs.Module(decoder=make("lstm", "general"), linear=fs.Linear(H, 2, dtype=np.float64))
    given = make_inputs(model.decoder)
    expected = train(make("lstm", "general"), *given)
    assert_identical(train(model.decoder, *given)[:-1], expected[:-1])
    assert_identical(
        model.parameters.grads["decoder.weight_key"],
        model.decoder.parameters.grads["weight_key"],
    )


# --- settings and errors --------------------------------------------------------------------


def test_parameters():
    def shapes(decoder):
        return {name: array.shape for name, array in decoder.parameters.items()}

    cell = {"weight_hh": (4 * H, H), "bias_ih": (4 * H,), "bias_hh": (4 * H,)}
    cell |= {"weight_output": (H, E + H), "bias_output": (H,)}
    assert shapes(make("lstm", "additive")) == cell | {
        "weight_ih": (4 * H, I + E),
        "weight_query": (4, H),
        "weight_key": (4, E),
        "bias_key": (4,),
        "weight_score": (4,),
    }
    assert shapes(make("lstm", "concat")) == cell | {
        "weight_ih": (4 * H, I + H),
        "weight_concat": (4, H + E),
        "bias_key": (4,),
        "weight_score": (4,),
    }
    general = cell | {"weight_ih": (4 * H, I + H), "weight_key": (H, E)}
    assert shapes(make("lstm", "general")) == general
    assert shapes(make("lstm", "general-unfed")) == general | {"weight_ih": (4 * H, I)}
    assert list(shapes(make("gru", "dot", bias=False))) == [
        "weight_ih",
        "weight_hh",
        "weight_output",
    ]


def test_repr():
    assert repr(make("lstm", "additive")) == (
        "AttentionLSTM(2, 3, 4, score='additive', attention_size=4, dtype=float64)"
    )
    assert repr(make("gru-before", "general-unfed", bias=False)) == (
        "AttentionGRU(2, 3, 4, reset_after=False, bias=False, score='general', "
        "input_feeding=False, dtype=float64)"
    )
    assert repr(make("gru", "general", batch_first=True)) == (
        "AttentionGRU(2, 3, 4, score='general', batch_first=True, dtype=float64)"
    )


def test_settings_are_checked():
    with raises(ValueError, "score must be one of", "got 'cosine'"):
        fs.AttentionLSTM(2, 3, 4, score="cosine")
    with raises(ValueError, "query must be one of", "got 'next'"):
        fs.AttentionLSTM(2, 3, 4, query="next")
    with raises(ValueError, "memory_size must equal hidden_size, 3,", "got 4", "general"):
        fs.AttentionGRU(2, 3, 4, score="dot")
    with raises(ValueError, "attention_size must be None", "'general'", "got 5"):
        fs.AttentionGRU(2, 3, 4, score="general", attention_size=5)
    with raises(ValueError, "input_feeding must be True with query='previous'"):
        fs.AttentionGRU(2, 3, 4, input_feeding=False)
    with raises(ValueError, "memory_size must be at least 1"):
        fs.AttentionGRU(2, 3, 0)
    with raises(AttributeError, "score can't be changed"):
        fs.AttentionGRU(2, 3, 4).score = "dot"
    with raises(TypeError, "batch_first must be True or False", "got 1"):
        fs.AttentionGRU(2, 3, 4, batch_first=1)
    with raises(AttributeError, "batch_first can't be changed"):
        fs.AttentionGRU(2, 3, 4).batch_first = True


def test_arguments_are_checked():
    decoder = make("lstm", "general")
    x, memory, (h, c, _) = make_inputs(decoder)
    with raises(ValueError, "x must have shape (T, B, 2)", "(4, 4, 3)"):
        decoder(np.zeros((4, 4, 3)), memory)
    with raises(ValueError, "memory must have shape (S, B, 4)", "(5, 4, 3)"):
        decoder(x, np.zeros((5, 4, 3)))
    with raises(ValueError, "memory must have as many rows as x, 4, got 3"):
        decoder(x, memory[:, :3])
    with raises(ValueError, "lengths must lie between 0 and 4", "got 5"):
        decoder(x, memory, lengths=[5, 1, 1, 1])
    with raises(ValueError, "memory_lengths must lie between 0 and 5", "in memory", "got 6"):
        decoder(x, memory, memory_lengths=[6, 1, 1, 1])
    with raises(ValueError, "memory_lengths must have shape (B,) = (4,)"):
        decoder(x, memory, memory_lengths=[6, 1])
    with raises(TypeError, "x must hold floating-point numbers"):
        decoder(np.zeros((4, 4, 2), int), memory)
    with raises(TypeError, "state must be a pair (h, c)"):
        decoder(x, memory, h)
    with raises(ValueError, "state[0] must have shape (1, B, hidden_size) = (1, 4, 3)"):
        decoder(x, memory, (h[:, :2], c))
    with raises(ValueError, "state[2] must have shape"):
        decoder(x, memory, (h, c, c[:, :2]))
    backprop = decoder.forward(x, memory)[3]
    with raises(ValueError, "dy must have the shape of y, (4, 4, 3)"):
        backprop(np.zeros((4, 3, 3)))
    with raises(ValueError, "dweights must have the shape of the weights, (4, 4, 5)"):
        backprop(None, None, np.zeros((4, 4, 4)))
    backprop(None)
    with raises(RuntimeError, "has already run"):
        backprop(None)


def test_arguments_are_checked_with_batch_first():
    decoder = make("lstm", "general", batch_first=True)
    x, memory, _ = make_inputs(decoder)
    x, memory = swapped(x[:3], memory)
    with raises(ValueError, "x must have shape (B, T, 2)", "(4, 3, 3)"):
        decoder(np.zeros((4, 3, 3)), memory)
    with raises(ValueError, "memory must have shape (B, S, 4)", "(4, 5, 3)"):
        decoder(x, np.zeros((4, 5, 3)))
    with raises(ValueError, "as many rows as x, 4, got 5: it is read as (B, S, 4)", "(5, 4, 4)"):
        decoder(x, memory.swapaxes(0, 1))
    with raises(ValueError, "lengths must lie between 0 and 3", "got 4"):
        decoder(x, memory, lengths=[4, 1, 1, 1])
    with raises(ValueError, "memory_lengths must lie between 0 and 5", "in memory", "got 6"):
        decoder.start(memory, memory_lengths=[6, 1, 1, 1])
    backprop = decoder.forward(x, memory)[3]
    with raises(ValueError, "dy must have the shape of y, (4, 3, 3)"):
        backprop(np.zeros((3, 4, 3)))


def test_steps_are_checked():
    decoder = make("lstm", "general")
    x, memory, state = make_inputs(decoder)
    steps = decoder.start(memory, state)
    with raises(ValueError, "x must have shape (R, input_size) = (4, 2)", "(3, 2)"):
        steps.step(x[0, :3])
    with raises(ValueError, "rows must lie between 0 and 3", "got 4"):
        steps.select([0, 4])
    with raises(ValueError, "rows must have shape (R',)"):
        steps.select([[0, 1]])
    expected = decoder(x[:1], memory, state)[0][0]
    assert_close(steps.step(x[0]), expected)
