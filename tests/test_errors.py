"""Bad arguments: each error names the argument, and what was expected and what came."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from helpers import raises
from layer_cases import (
    CELLS,
    LAYERS,
    as_tuple,
    assert_identical,
    make_layer_fixture,  # noqa: F401
)

import fastseq as fs

T, B, I, H = 4, 3, 2, 5  # noqa: E741

KINDS_OF_ERROR = (TypeError, ValueError)


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((T, B, I)).astype(np.float32)


# --- constructors ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", [fs.RNN, fs.LSTM, fs.GRU, fs.RNNCell, fs.LSTMCell, fs.GRUCell])
@pytest.mark.parametrize(
    "arguments, options, error, parts",
    [
        ((0, 3), {}, ValueError, ["input_size", "at least 1", "0"]),
        ((2, -1), {}, ValueError, ["hidden_size", "at least 1", "-1"]),
        ((2.0, 3), {}, TypeError, ["input_size", "integer", "2.0"]),
        ((2, "3"), {}, TypeError, ["hidden_size", "integer", "'3'"]),
        ((2, True), {}, TypeError, ["hidden_size", "integer", "True"]),
        ((2, None), {}, TypeError, ["hidden_size", "integer", "None"]),
        ((2, 3), {"bias": 1}, TypeError, ["bias", "True or False", "1"]),
        ((2, 3), {"dtype": np.int32}, ValueError, ["dtype", "float32 or float64", "int32"]),
        ((2, 3), {"dtype": np.float16}, ValueError, ["dtype", "float32 or float64", "float16"]),
        ((2, 3), {"dtype": ">f4"}, ValueError, ["dtype", "float32 or float64", ">f4"]),
        ((2, 3), {"dtype": None}, ValueError, ["dtype", "float32 or float64", "None"]),
        ((2, 3), {"dtype": "fast"}, ValueError, ["dtype", "float32 or float64", "fast"]),
        ((2, 3), {"seed": -1}, ValueError, ["seed", "non-negative", "-1"]),
        ((2, 3), {"seed": "one"}, TypeError, ["seed", "integer", "'one'"]),
    ],
)
def test_constructor(make, arguments, options, error, parts):
    with raises(error, *parts):
        make(*arguments, **options)


@pytest.mark.parametrize("make", [fs.RNN, fs.LSTM, fs.GRU])
@pytest.mark.parametrize(
    "options, error, parts",
    [
        ({"num_layers": 0}, ValueError, ["num_layers", "at least 1", "0"]),
        ({"num_layers": 1.5}, TypeError, ["num_layers", "integer", "1.5"]),
        ({"dropout": -0.1}, ValueError, ["dropout", "from 0 to 1", "-0.1"]),
        ({"dropout": 1.5}, ValueError, ["dropout", "from 0 to 1", "1.5"]),
        ({"dropout": float("nan")}, ValueError, ["dropout", "from 0 to 1", "nan"]),
        ({"dropout": "0.5"}, TypeError, ["dropout", "from 0 to 1", "'0.5'"]),
        ({"dropout": True}, TypeError, ["dropout", "from 0 to 1", "True"]),
        ({"dropout": None}, TypeError, ["dropout", "from 0 to 1", "None"]),
        ({"batch_first": "yes"}, TypeError, ["batch_first", "True or False", "'yes'"]),
        ({"bidirectional": 2}, TypeError, ["bidirectional", "True or False", "2"]),
    ],
)
def test_layer_constructor(make, options, error, parts):
    with raises(error, *parts):
        make(2, 3, **options)


@pytest.mark.parametrize("make", [fs.RNN, fs.RNNCell])
def test_nonlinearity(make):
    with raises(ValueError, "nonlinearity", "'tanh', 'relu', 'sigmoid'", "'gelu'"):
        make(2, 3, nonlinearity="gelu")
    with raises(TypeError, "nonlinearity", "'tanh', 'relu', 'sigmoid'", "None"):
        make(2, 3, nonlinearity=None)


@pytest.mark.parametrize("make", [fs.GRU, fs.GRUCell])
def test_reset_after(make):
    with raises(TypeError, "reset_after", "True or False", "'no'"):
        make(2, 3, reset_after="no")


PARAMETERS = fs.RNN(1, 1).parameters


@pytest.mark.parametrize(
    "call, parts",
    [
        (lambda: fs.SGD(PARAMETERS, 0.1, 0.9), ["SGD takes parameters, lr and by name mom", "0.9"]),
        (lambda: fs.AdamW(PARAMETERS, learning_rate=1), ["AdamW takes", "lr", "got learning_rate"]),
        (
            lambda: fs.StepLR(fs.SGD(PARAMETERS), 3, 0.1),
            ["StepLR takes optimizer, step_size and by name gamma; got 0.1"],
        ),
        (lambda: fs.MSELoss("sum"), ["MSELoss takes by name reduction; got 'sum' as one more"]),
        (lambda: fs.CrossEntropyLoss(weight=[1.0]), ["label_smoothing, reduction; got weight"]),
        (lambda: fs.BagOfWordsLoss(2, 3, 4), ["takes in_features, n_classes and by name hidden"]),
        (lambda: fs.Linear(3, 2, False), ["Linear takes in_features, out_features and by name"]),
        (lambda: fs.Embedding(5, 2, max_norm=1.0), ["Embedding takes num_", "max_norm: scale"]),
        (lambda: fs.Dropout(0.5, inplace=True), ["Dropout takes p and by name seed; got inplace"]),
        (lambda: fs.LayerNorm(4, elementwise_affine=False), ["eps, dtype; got elementwise_aff"]),
        (lambda: fs.LayerNorm(4, device="cpu"), ["got device: all arrays are NumPy's"]),
        (lambda: fs.MultiheadAttention(8, 2, 0.1), ["MultiheadAttention takes embed_dim", "0.1"]),
        (lambda: fs.MultiheadAttention(8, 2, dropout=0.1), ["dropout: put a Dropout behind"]),
        (lambda: fs.ScaledDotProductAttention(True), ["takes by name causal, scale; got True"]),
        (lambda: fs.AdditiveAttention(4, 6, 8, False), ["AdditiveAttention takes query_size", "F"]),
        (lambda: fs.DotAttention(4), ["DotAttention takes no arguments; got 4"]),
        (lambda: fs.CoverageAttention(4, 6, heads=1), ["CoverageAttention takes", "got heads"]),
        (lambda: fs.CRF(3, batch_first=True), ["CRF takes ", "; got batch_first"]),
        (lambda: fs.LSTM(2, 3, 1, np.ones(99)), ["got an array (99,) of float64 as one more"]),
        (
            lambda: fs.Batches([[1]], [2], 8, drop_last=True),
            ["Batches takes sequences, targets and by name batch_size", "got 8 as one more"],
        ),
        (lambda: fs.Batches([[1]], drop_last=True), ["got drop_last: nothing is left out"]),
        (
            lambda: fs.BPTTWindows([1, 2], 1, 1, bptt=3),
            ["BPTTWindows takes stream, batch_size, steps and by name targets", "got bptt"],
        ),
        (
            lambda: fs.fit(PARAMETERS, [], lr=0.1),
            ["fit takes model, batches and by name optimizer", "got lr: the optimizer has it"],
        ),
        (
            lambda: fs.beam_search(None, [0], num_beams=3),
            ["beam_search takes state, start_ids and by name end_id", "beam_size", "num_beams"],
        ),
        (lambda: fs.greedy_search(None, [0], beam_size=3), ["greedy_search takes", "beam_size"]),
        (lambda: fs.sample_sequences(None, [0], top=3), ["sample_sequences takes", "top_k", "top"]),
        (
            lambda: fs.clip_grad_norm(PARAMETERS, 1.0, norm_type=1),
            ["clip_grad_norm takes parameters, max_norm; got norm_type: the norm is Euclidean"],
        ),
        (
            lambda: fs.LSTM(1, 1).load_state_dict({}, strict=False),
            ["load_state_dict takes state_dict; got strict: ", "model.state_dict() | "],
        ),
    ],
)
def test_other_arguments_than_there_are(call, parts):
    with raises(TypeError, *parts):
        call()


def test_a_layer_derived_from_ours_may_pass_on_any_arguments():
    class Doubled(fs.Linear):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)

    assert Doubled(3, 2, bias=False).bias is None
    with raises(TypeError, "Linear takes in_features", "got scale"):
        Doubled(3, 2, scale=2)


x_of_3_rows, h_of_3_rows = np.zeros((T, B, I), np.float32), np.zeros((1, B, H), np.float32)


@pytest.mark.parametrize(
    "call, error, parts",
    [
        (lambda: fs.LSTM(3, 2**40), MemoryError, ["weight_hh_l0", "smaller sizes"]),
        (lambda: fs.GRUCell(3, 2**33), MemoryError, ["GiB", "weight_hh"]),
        (lambda: fs.RNN(I, H).stream(2**50), MemoryError, ["batch_size", str(2**50)]),
        (lambda: fs.RNN(I, H).stream(x_of_3_rows), TypeError, ["batch_size", "(4, 3, 2)"]),
        (lambda: fs.LSTM(I, H, proj_size=2), TypeError, ["got proj_size", "Linear"]),
        (lambda: fs.GRU(I, H, device="cpu"), TypeError, ["got device", "NumPy's"]),
        (lambda: fs.LSTM(I, H, 1, True), TypeError, ["LSTM takes", "got True"]),
        (lambda: fs.LSTMCell(I, H, 2), TypeError, ["LSTMCell takes", "got 2"]),
        (lambda: fs.LSTM(I, H).load_state_dict("a.pt"), TypeError, ["str", "arrays, metadata ="]),
        (lambda: fs.LSTM(I, H).load_state_dict(({}, {})), TypeError, ["tuple", "the first part"]),
        (lambda: fs.LSTM(I, H).to("cpu"), AttributeError, ["no to here", "memory"]),
        (lambda: fs.LSTM(I, H).flatten_parameters(), AttributeError, ["parameters.flat"]),
        (lambda: fs.LSTM(I, H).backward(x_of_3_rows), AttributeError, ["layer.forward"]),
        (lambda: fs.LSTM(I, H).packed().hidden_size, AttributeError, ["ask its layer"]),
        (lambda: fs.LSTM(I, H).packed().colour, AttributeError, ["no colour here"]),
        (lambda: fs.Word2Vec(size=3), TypeError, ["Word2Vec takes", "vector_size"]),
        (lambda: fs.Word2Vec(iter=3), TypeError, ["got iter", "epochs"]),
        (lambda: fs.SequenceTagger(units=3), TypeError, ["SequenceTagger takes", "got units"]),
        (lambda: attend(attn_mask=None), TypeError, ["got attn_mask", "causal=True"]),
        (lambda: attend(key_padding_mask=None), TypeError, ["key_lengths"]),
        (
            lambda: setattr(fs.GRU(I, H).stream(), "stat", 0),
            AttributeError,
            ["no attribute 'stat'"],
        ),
    ],
)
def test_what_is_elsewhere_or_too_large(call, error, parts):
    with raises(error, *parts):
        call()


def attend(**options):
    x = np.zeros((2, 1, 4), np.float32)
    return fs.MultiheadAttention(4, 2)(x, x, **options)


@pytest.mark.parametrize(
    "call, error, parts",
    [
        (lambda: fs.GRU(I, H)(np.full((T, B, I), 1e300)), ValueError, ["x must fit float32", "64"]),
        (lambda: fs.GRU(I, H, seed=True), TypeError, ["seed", "got True"]),
        (lambda: fs.Module(**{"": fs.GRU(I, H)}), ValueError, ["child must have a name"]),
        (lambda: fs.Vocabulary.build(None), TypeError, ["sequences", "NoneType"]),
        (lambda: fs.KeyedVectors(2)[None], TypeError, ["key", "None"]),
        (lambda: fs.Corpus([0], [0, 1], ["a"], [-1]), ValueError, ["counts", "-1"]),
        (
            lambda: fs.LanguageModel(unit="character", cutoffs=[2]).fit("abcdefgh" * 9),
            ValueError,
            ["cutoffs", "softmax='adaptive'", "'full'"],
        ),
    ],
)
def test_what_is_clearly_a_mistake(call, error, parts):
    with raises(error, *parts):
        call()


def test_infinities_are_converted_as_they_are():
    x = np.zeros((T, B, I))
    x[0] = np.inf
    np.testing.assert_array_equal(
        fs.GRU(I, H, seed=0)(x)[0], fs.GRU(I, H, seed=0)(np.float32(x))[0]
    )


def test_dropout_without_effect_warns_when_it_is_set():
    gru = fs.GRU(I, H)
    with pytest.warns(UserWarning, match="no effect with num_layers=1"):
        gru.dropout = 0.5
    gru.dropout = 0  # says nothing


@pytest.mark.parametrize(
    "cell, state, lengths, batch_first, error, parts",
    [
        ("RNN", (h_of_3_rows, None), None, False, TypeError, ["state", "one array", "a pair"]),
        ("GRU", [h_of_3_rows, h_of_3_rows], None, False, TypeError, ["one array", "LSTM"]),
        ("GRU", [4, 2, 1], None, False, TypeError, ["3 integers", "lengths=..."]),
        ("LSTM", np.array([4, 2, 1]), None, False, TypeError, ["3 integers", "lengths=..."]),
        ("LSTM", None, [3, 3, 1, 2], False, ValueError, ["(4,)", "(T, B, I)", "batch_first=True"]),
        ("LSTM", None, [3, 3, 1], True, ValueError, ["(3,)", "(B, T, I)", "batch_first=False"]),
        ("LSTM", None, {1, 2, 3}, False, TypeError, ["lengths", "give a list"]),
        ("LSTM", None, [1, 2, None], False, TypeError, ["lengths", "give a list"]),
    ],
)
def test_what_one_takes_for_another(cell, state, lengths, batch_first, error, parts):
    layer = getattr(fs, cell)(I, H, batch_first=batch_first)
    with raises(error, *parts):
        layer(x_of_3_rows, state, lengths)


def test_lengths_are_told_of_where_there_are_some(x):
    decoder, memory = fs.AttentionGRU(I, H, I), np.zeros((2, B, I), np.float32)
    with raises(TypeError, "3 integers", "lengths=..."):
        decoder(x, memory, [1, 2, 3])
    stream = fs.GRU(I, H).stream(B)
    calls = [
        lambda: fs.GRUCell(I, H)(x[0], [1, 2, 3]),
        lambda: setattr(stream, "state", [1, 2, 3]),
        lambda: decoder.start(memory, [1, 2, 3]),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="state must hold floating-point") as error:
            call()
        assert "lengths" not in str(error.value)


def test_a_list_of_states_by_layer_is_an_array(x):
    layer = fs.GRU(I, H, 2, seed=0)
    state = np.random.default_rng(1).standard_normal((2, B, H)).astype(np.float32)
    assert_identical(layer(x, list(state)), layer(x, state))


def test_signatures_stay():
    assert list(inspect.signature(fs.StepLR).parameters) == ["optimizer", "step_size", "gamma"]
    assert list(inspect.signature(fs.clip_grad_norm).parameters) == ["parameters", "max_norm"]


# --- attributes -----------------------------------------------------------------------------

FIXED = ["input_size", "hidden_size", "bias", "dtype"]
OWN = {"rnn": ["nonlinearity"], "lstm": [], "gru": ["reset_after"]}


def assert_fixed(made, names):
    for name in names:
        before = getattr(made, name)
        with raises(AttributeError, f"{name} can't be changed", f"new {type(made).__name__}"):
            setattr(made, name, None)
        assert getattr(made, name) == before, name


def test_attributes_of_a_layer_stay(make_layer, x):
    layer = make_layer(I, H, seed=1)
    expected = layer(x)
    names = [*FIXED, "num_layers", "batch_first", "bidirectional", *OWN[layer._kind.name]]
    assert_fixed(layer, names)
    assert_identical(layer(x), expected)


@pytest.mark.parametrize("name", CELLS)
def test_attributes_of_a_cell_stay(name, x):
    cell = CELLS[name](I, H, seed=1)
    expected = cell(x[0])
    assert_fixed(cell, FIXED + OWN[cell._kind.name])
    assert_identical(cell(x[0]), expected)


@pytest.mark.parametrize(
    "wrong, error",
    [
        (-0.1, ValueError),
        (1.5, ValueError),
        (float("nan"), ValueError),
        ("0.5", TypeError),
        (True, TypeError),
        (None, TypeError),
        ([0.1, 0.2], TypeError),
    ],
)
def test_assigning_dropout(make_layer, wrong, error):
    layer = make_layer(I, H, 2, dropout=0.25)
    with raises(error, "dropout must be a number from 0 to 1", str(wrong)):
        layer.dropout = wrong
    assert layer.dropout == 0.25


# --- calls ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["__call__", "forward"])
@pytest.mark.parametrize(
    "wrong, error, parts",
    [
        (np.zeros((T, B, I), int), TypeError, ["x must hold floating-point numbers", "int64"]),
        (np.zeros((T, B, I), bool), TypeError, ["x must hold floating-point numbers", "bool"]),
        (
            np.zeros((T, B, I), complex),
            TypeError,
            ["x must hold floating", "complex128; give real"],
        ),
        (np.zeros((T, B, I), object), TypeError, ["x must hold floating", "object; make an array"]),
        (np.zeros((T, B, I), "U3"), TypeError, ["x must hold floating", "<U3; make an array"]),
        ("text", TypeError, ["x must hold floating", "<U4 from str; make an array"]),
        (None, TypeError, ["x must hold floating", "object from NoneType; make an array"]),
        ([[1, 2], [3, 4]], TypeError, ["x must hold", "int64 from list; ", "np.asarray(x, np.f"]),
        ([[1.0, 2.0], [3.0]], ValueError, ["x must be an array", "got list", "inhomog", "pad"]),
        (np.float32(1), ValueError, ["x must have shape (T, B, 2), or (T, 2)", "()"]),
        (np.zeros(I), ValueError, ["x must have shape (T, B, 2)", "(2,)"]),
        (np.zeros((1, T, B, I)), ValueError, ["x must have shape (T, B, 2)", "(1, 4, 3, 2)"]),
        (np.zeros((T, B, 3)), ValueError, ["x must have shape (T, B, 2)", "(4, 3, 3)"]),
        (np.zeros((T, B, 0)), ValueError, ["x must have shape (T, B, 2)", "(4, 3, 0)"]),
        (np.zeros((T, 1)), ValueError, ["or (T, 2) without a batch", "(4, 1)", "input_size"]),
    ],
)
def test_x(make_layer, method, wrong, error, parts):
    with raises(error, *parts):
        getattr(make_layer(I, H), method)(wrong)


@pytest.mark.parametrize("method", ["__call__", "forward"])
def test_indices_without_their_embedding(make_layer, method):
    run = getattr(make_layer(I, H), method)
    with raises(TypeError, "got dtype int64", "np.float32", "or give embedding=... if"):
        run(np.zeros((T, B), np.int64))
    with raises(TypeError, "got dtype bool") as caught:
        run(np.zeros((T, B, I), bool))
    assert "embedding" not in str(caught.value)


def test_x_of_a_batch_first_layer_is_described_as_such():
    with raises(ValueError, "x must have shape (B, T, 2)", "(4, 3, 9)"):
        fs.LSTM(I, H, batch_first=True)(np.zeros((T, B, 9)))


@pytest.mark.parametrize("method", ["__call__", "forward"])
@pytest.mark.parametrize(
    "wrong, error, parts",
    [
        ([1, 2], ValueError, ["lengths must have shape (B,) = (3,)", "(2,)"]),
        ([[1, 2, 3]], ValueError, ["lengths must have shape (B,) = (3,)", "(1, 3)"]),
        (3, ValueError, ["lengths must have shape (B,) = (3,)", "()"]),
        ([1, 2, 5], ValueError, ["lengths must lie between 0 and 4", "got 5 at lengths[2]"]),
        ([1, -2, 3], ValueError, ["lengths must lie between 0 and 4", "got -2"]),
        (np.array([1, 2, 2**64 - 1], np.uint64), ValueError, ["lengths must lie", str(2**64 - 1)]),
        ([1.0, 2.0, 3.0], TypeError, ["lengths must hold integers", "float64", "np.int64"]),
        ([True, False, True], TypeError, ["lengths must hold integers", "bool", "mask.sum"]),
        (["1", "2", "3"], TypeError, ["lengths must hold integers", "<U1"]),
        ([1, 2, 2**70], TypeError, ["lengths must hold integers", "object"]),
        ([1, [2], 3], ValueError, ["lengths must be a 1-D array of integers"]),
    ],
)
def test_lengths(make_layer, x, method, wrong, error, parts):
    with raises(error, *parts):
        getattr(make_layer(I, H), method)(x, None, wrong)


@pytest.mark.parametrize("method", ["__call__", "forward"])
@pytest.mark.parametrize(
    "wrong, got", [([], "(0,)"), ([2] * T, "(4,)"), ([[2]], "(1, 1)"), (2, "()")]
)
def test_lengths_without_a_batch(make_layer, method, wrong, got):
    with raises(ValueError, "lengths must have shape", "(1,)", f"got {got}", "no batch axis"):
        getattr(make_layer(I, H), method)(np.zeros((T, I)), None, np.array(wrong, int))


def test_masked_lengths_would_lose_their_mask(make_layer, x):
    with raises(TypeError, "lengths must be a 1-D array of integers", "masked", ".filled(0)"):
        make_layer(I, H)(x, None, np.ma.masked_array([T] * x.shape[1], [True] * x.shape[1]))


def test_masked_arrays_would_lose_their_mask(make_layer, x):
    layer = make_layer(I, H, seed=1)
    masked = np.ma.masked_array(x, x > 0)
    for call in (layer, layer.forward):
        with raises(TypeError, "x must be an array", "masked", "x.filled(0)"):
            call(masked)
    y, _, backprop = layer.forward(masked.filled(0))
    with raises(TypeError, "dy must be an array", "masked", "dy.filled(0)"):
        backprop(np.ma.masked_array(y, y > 0))
    backprop(y)


@pytest.mark.parametrize("options", [{"requires_grad": True}, {"dtype": "bfloat16"}])
def test_tensors_that_numpy_cannot_read(make_layer, options):
    torch = pytest.importorskip("torch")
    if "dtype" in options:
        options = {"dtype": getattr(torch, options["dtype"])}
    layer, tensor = make_layer(I, H, seed=1), torch.zeros(T, B, I, **options)
    expected = "x must be an array of floating-point numbers, got Tensor"
    way_out = "convert it first, as with x.float()" if "dtype" in options else "detach()"
    for call in (layer, layer.forward):
        with raises(TypeError, expected, "can't read", way_out):
            call(tensor)
    assert_identical(layer(tensor.detach().float()), layer(np.zeros((T, B, I))))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "wrong, error, parts",
    [
        (
            np.zeros((1, B, H)),
            ValueError,
            ["(num_layers * directions, B, hidden_size)", "(4, 3, 5)"],
        ),
        (np.zeros((4, B + 1, H)), ValueError, ["= (4, 3, 5), got (4, 4, 5)"]),
        (np.zeros((4, B, H + 1)), ValueError, ["= (4, 3, 5), got (4, 3, 6)"]),
        (np.zeros((4, H)), ValueError, ["= (4, 3, 5), got (4, 5)"]),
        (np.zeros((4, B, H), int), TypeError, ["must hold floating", "int64"]),
        (np.zeros((4, B, H), complex), TypeError, ["must hold floating", "complex128"]),
    ],
)
def test_state_and_dstate(name, x, wrong, error, parts):
    layer = LAYERS[name](I, H, 2, bidirectional=True, seed=1)
    y, final, backprop = layer.forward(x)
    pairs = isinstance(layer, fs.LSTM)
    right = as_tuple(final)[0]
    for at in (0, 1) if pairs else (None,):
        given = wrong if at is None else tuple(wrong if i == at else right for i in (0, 1))
        place = "" if at is None else f"[{at}]"
        for call in (layer, layer.forward):
            with raises(error, f"state{place} ", *parts):
                call(x, given)
        with raises(error, f"dstate{place} ", *parts):
            backprop(y, given)
    backprop(y, final)  # it can still run after that


@pytest.mark.parametrize(
    "wrong, got",
    [
        (np.zeros((1, B, H)), "an array (1, 3, 5)"),
        ((np.zeros((1, B, H)),), "a tuple of 1"),
        ([np.zeros((1, B, H))] * 3, "a list of 3"),
        ("hc", "str"),
    ],
)
def test_state_of_an_lstm_is_a_pair(x, wrong, got):
    lstm = fs.LSTM(I, H, seed=1)
    with raises(TypeError, "state must be a pair (h, c)", "(1, 3, 5)", got):
        lstm(x, wrong)
    y, _, backprop = lstm.forward(x)
    with raises(TypeError, "dstate must be a pair (h, c)", "(1, 3, 5)", got):
        backprop(y, wrong)


def test_the_parts_of_a_state_are_not_lengths(x):
    lstm, part = fs.LSTM(I, H, seed=1), np.zeros((1, B, H), np.float32)
    with raises(TypeError, "lengths must be a 1-D array", "(1, 3, 5)", "state=(h, c)"):
        lstm(x, part, part)


def test_state_without_a_batch(make_layer):
    layer, x = make_layer(I, H), np.zeros((T, I))
    state = np.zeros((1, 1, H))
    if isinstance(layer, fs.LSTM):
        state = (state, state)
    with raises(
        ValueError, "state", "(num_layers * directions, hidden_size) = (1, 5)", "(1, 1, 5)"
    ):
        layer(x, state)


@pytest.mark.parametrize(
    "wrong, error, parts",
    [
        (
            np.zeros((T, B, H + 1)),
            ValueError,
            ["dy must have the shape of y, (4, 3, 5), got (4, 3, 6)"],
        ),
        (np.zeros((T * B, H)), ValueError, ["dy must have the shape of y, (4, 3, 5), got (12, 5)"]),
        (np.zeros((T, B, H), int), TypeError, ["dy must hold floating", "int64"]),
        (1.0, ValueError, ["dy must have the shape of y, (4, 3, 5), got ()"]),
    ],
)
@pytest.mark.parametrize("lengths", [None, [4, 2, 1]])
def test_dy(make_layer, x, wrong, error, parts, lengths):
    layer = make_layer(I, H, seed=1)
    y, _, backprop = layer.forward(x, None, lengths)
    with raises(error, *parts):
        backprop(wrong)
    assert not layer.parameters.flat_grad.any()
    backprop(y)  # it can still run after that


@pytest.mark.parametrize("wrong", [1, 0, None, "no", [True]])
def test_input_grad(make_layer, x, wrong):
    layer = make_layer(I, H, seed=1)
    y, _, backprop = layer.forward(x)
    with raises(TypeError, "input_grad must be True or False", repr(wrong)):
        backprop(y, input_grad=wrong)
    assert not layer.parameters.flat_grad.any()
    backprop(y)  # it can still run after that


def test_backprop_runs_once(make_layer, x):
    layer = make_layer(I, H, seed=1)
    y, _, backprop = layer.forward(x)
    backprop(y)
    grads = layer.parameters.flat_grad.copy()
    with raises(RuntimeError, "already run", "call forward again"):
        backprop(y)
    assert_identical(layer.parameters.flat_grad, grads)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"]
)
def test_backprop_has_no_duplicates(make_layer, x, duplicate):
    layer = make_layer(I, H, seed=1)
    y, _, backprop = layer.forward(x)
    with raises(TypeError, "a LayerBackprop can't be copied or pickled", "call forward again"):
        duplicate(backprop)
    backprop(y)  # it can still run after that


def test_errors_leave_the_layer_usable(make_layer, x):
    layer = make_layer(I, H, seed=1)
    expected = layer(x)
    for wrong in (x[..., :1], x.astype(int), x[0, 0]):
        for call in (layer, layer.forward):
            with pytest.raises(KINDS_OF_ERROR):
                call(wrong)
    with pytest.raises(ValueError):
        layer(x, None, [9, 9, 9])
    assert_identical(layer(x), expected)


# --- parameters -----------------------------------------------------------------------------


def changed(layer, **changes):
    state = layer.state_dict() | changes
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    "changes, error, parts",
    [
        ({"bias_hh_l0": None}, ValueError, ["missing: ['bias_hh_l0'], unexpected: []"]),
        ({"gamma": np.zeros(3)}, ValueError, ["missing: [], unexpected: ['gamma']"]),
        (
            {"bias_hh_l0": np.zeros(3)},
            ValueError,
            ["bias_hh_l0 must have the shape", "(5,)", "(3,)"],
        ),
        (
            {"bias_hh_l0": np.zeros((5, 1))},
            ValueError,
            ["bias_hh_l0 must have the shape", "(5, 1)"],
        ),
        ({"bias_hh_l0": np.zeros(5, int)}, TypeError, ["bias_hh_l0 must hold floating", "int64"]),
        ({"bias_hh_l0": "zeros"}, TypeError, ["bias_hh_l0 must hold floating", "<U5"]),
    ],
)
def test_load_state_dict_takes_all_or_nothing(changes, error, parts):
    layer = fs.RNN(I, H, seed=1)
    state = changed(layer, weight_ih_l0=np.ones((H, I), np.float32), **changes)
    before = layer.parameters.flat.copy()
    with raises(error, *parts):
        layer.load_state_dict(state)
    assert_identical(layer.parameters.flat, before)


def test_load_state_dict_of_a_larger_model():
    layer = fs.RNN(I, H, seed=1)
    whole = {f"encoder.rnn.{name}": value for name, value in layer.state_dict().items()}
    with raises(ValueError, "state_dict must have the names", "model.encoder.rnn.state_dict()"):
        layer.load_state_dict(whole)
    with pytest.raises(ValueError, match=r"unexpected: \['other.bias'\]$"):
        layer.load_state_dict(changed(layer, **{"other.bias": np.zeros(H)}))


def test_load_state_dict_of_something_else():
    with raises(TypeError, "state_dict must be a mapping", "list"):
        fs.RNN(I, H).load_state_dict([1, 2])
    with raises(TypeError, "state_dict must be a mapping", "np.load(path)"):
        fs.RNN(I, H).load_state_dict("weights.npz")
    with raises(TypeError, "state_dict must be a mapping", "fs.load_tensors(path)"):
        fs.RNN(I, H).load_state_dict("weights.safetensors")


def test_assigning_parameters():
    parameters = fs.RNN(I, H, seed=1).parameters
    before = parameters.flat.copy()
    with raises(ValueError, "weight_hh_l0 must have the shape", "(5, 5)", "(5,)"):
        parameters["weight_hh_l0"] = np.zeros(H)
    with raises(TypeError, "weight_hh_l0 must hold floating", "int64"):
        parameters["weight_hh_l0"] = np.zeros((H, H), int)
    with raises(KeyError, "no parameter 'weight'", "weight_ih_l0"):
        parameters["weight"] = np.zeros((H, H))
    with raises(KeyError, "no parameter 'bias'", "weight_ih_l0"):
        parameters.grads["bias"] = np.zeros(H)
    with raises(KeyError, "no parameter 'weight_ih'", "weight_ih_l0"):
        parameters["weight_ih"]
    assert_identical(parameters.flat, before)


def test_gradients_cannot_be_replaced(make_layer):
    parameters = make_layer(I, H).parameters
    with raises(AttributeError, "grads can't be replaced", "grads[name] = ..."):
        parameters.grads = None
    parameters.zero_grad()


def test_parameters_cannot_be_replaced(make_layer):
    layer = make_layer(I, H)
    parameters = layer.parameters
    with raises(AttributeError, "parameters can't be replaced", "load_state_dict"):
        layer.parameters = make_layer(I, H).parameters
    assert layer.parameters is parameters


# --- files ----------------------------------------------------------------------------------

WV = fs.KeyedVectors.from_arrays(["a", "b"], np.eye(2, dtype=np.float32))
WORDS = [["a", "b"]]
PHRASES = fs.Phrases(WORDS).freeze()


@pytest.mark.parametrize("path", [3, 3.5, b"bytes", ["a"]], ids=repr)
@pytest.mark.parametrize(
    "name, use",
    [
        ("path", lambda path: fs.save_model(fs.Linear(2, 3), path)),
        ("path", fs.read_model),
        ("path", lambda path: fs.load_model(path, fs.Linear)),
        ("path", lambda path: fs.save_tensors(path, {})),
        ("path", fs.load_tensors),
        ("path", fs.History.load),
        ("path", fs.History().plot),
        ("path", fs.read_text),
        ("path", fs.read_tsv),
        ("path", fs.read_conll),
        ("path", fs.read_ts),
        ("path", fs.read_dialogues),
        ("path", fs.Vocabulary(["a"]).save),
        ("path", fs.Vocabulary.load),
        ("path", fs.Subwords.load),
        ("path", PHRASES.save),
        ("path", PHRASES.load),
        ("path", fs.Corpus.from_file),
        ("folder", lambda path: fs.Corpus.from_sentences(WORDS, folder=path)),
        ("corpus_file", lambda path: fs.Word2Vec(corpus_file=path)),
        ("folder", lambda path: fs.Word2Vec(WORDS, folder=path)),
        ("checkpoint", lambda path: fs.Word2Vec(checkpoint=path)),
        ("path", fs.Word2Vec.load),
        ("path", WV.save),
        ("path", fs.KeyedVectors.load),
        ("path", lambda path: WV.plot(path=path)),
        ("fname", WV.save_word2vec_format),
        ("fvocab", lambda path: WV.save_word2vec_format("never.txt", path)),
        ("fname", fs.KeyedVectors.load_word2vec_format),
        ("fvocab", lambda path: fs.KeyedVectors.load_word2vec_format("never.txt", path)),
        ("analogies", WV.evaluate_word_analogies),
        ("pairs", WV.evaluate_word_pairs),
    ],
)
def test_paths(name, use, path):
    of = "folder" if name == "folder" else "file"
    with raises(TypeError, f"{name} must be the path of a {of}, got {path!r}"):
        use(path)
