"""The demo's two models: right gradients, the learning they promise, and what they print."""

import hashlib
import importlib.util
import itertools
import re
import sys
import types
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from fastseq import demo
from fastseq.demo import binary_addition, character_model


def central_differences(loss, values, epsilon):
    """The gradient of ``loss()`` with respect to the array it reads, in float64."""
    gradient = np.zeros(values.shape)
    for i in np.ndindex(values.shape):
        kept = values[i]
        values[i] = kept + epsilon
        above = loss()
        values[i] = kept - epsilon
        below = loss()
        values[i] = kept
        gradient[i] = (above - below) / (2 * epsilon)
    return gradient


# --- binary addition ------------------------------------------------------------------------


def test_addition_gradient():
    adder = binary_addition.BinaryAdder(hidden_size=5, seed=1)
    _, inputs, targets = binary_addition.make_examples(1, np.random.default_rng(2))
    x, target = inputs[0], targets[0]

    def loss():
        return 0.5 * np.sum((adder(x) - target) ** 2)

    value, y = adder.loss_and_grad(x, target)
    assert value == pytest.approx(loss(), rel=1e-12)
    np.testing.assert_allclose(y, adder(x), rtol=1e-12)
    for values, gradient in [
        (adder.weights, adder.gradient),
        (adder.w_out, adder.w_out_gradient),
    ]:
        expected = central_differences(loss, values, 1e-5)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)


def test_addition_examples_are_additions_from_the_least_significant_bit_on():
    terms, inputs, targets = binary_addition.make_examples(50, np.random.default_rng(0))
    weights = 2 ** np.arange(8)
    np.testing.assert_array_equal(inputs.transpose(0, 2, 1) @ weights, terms)
    np.testing.assert_array_equal(targets @ weights, terms.sum(axis=1))
    assert terms.min() >= 0
    assert terms.max() < 128


def test_addition_is_learned():
    adder = binary_addition.BinaryAdder(seed=0)
    untrained = binary_addition.accuracy(adder)
    losses = binary_addition.train(adder, 10_000, np.random.default_rng(0))
    assert [i for i, _ in losses] == list(range(0, 10_000, 100))
    assert untrained < 0.05
    assert binary_addition.accuracy(adder) == 1
    assert np.mean([loss for _, loss in losses[-10:]]) < 0.05


def test_addition_prints_what_the_network_sees(capsys):
    y = np.array([0.9, 0.2, 0.6, 0.1, 0.4, 0.8, 0.3, 0.0])  # 1 + 4 + 32
    binary_addition.print_report(300, 0.25, np.array([12, 7]), y)
    assert capsys.readouterr().out.splitlines() == [
        "iters:300",
        "Loss:0.25",
        "Pred:[0 0 1 0 0 1 0 1]",
        "True:[0 0 0 1 0 0 1 1]",
        "12 + 7 = 37",
        "------------",
    ]


def test_addition_repeats_with_its_seed(capsys):
    first = binary_addition.run(seed=5, updates=201)
    second = binary_addition.run(seed=5, updates=201)
    other = binary_addition.run(seed=6, updates=201)
    assert [i for i, _ in first] == [0, 100, 200]
    assert first == second != other
    assert capsys.readouterr().out.count("iters:200\n") == 3


# --- character model ------------------------------------------------------------------------


def test_the_text_is_complete():
    text = character_model.load_text()
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()
    notice = (resources.files("fastseq.demo") / "data" / "README.txt").read_text("ascii")
    assert len(text) == 1_115_394
    assert digest in notice
    assert "public domain" in notice


def test_encode():
    characters, ids = character_model.encode("hello")
    assert "".join(characters) == "ehlo"
    assert "".join(characters[ids]) == "hello"


def test_chunks_read_every_column_without_a_gap():
    ids = np.arange(50)
    pieces = list(character_model.chunks(ids, batch_size=3, steps=5))
    inputs = np.concatenate([inputs for inputs, _ in pieces])
    targets = np.concatenate([targets for _, targets in pieces])
    assert [len(inputs) for inputs, _ in pieces] == [5, 5, 5, 1]
    np.testing.assert_array_equal(inputs.T.ravel(), np.arange(48))
    np.testing.assert_array_equal(targets, inputs + 1)


def test_a_new_pass_is_announced():
    ids = np.arange(11)
    stream = character_model.endless(ids, batch_size=2, steps=3)
    starts = [next(stream)[0] for _ in range(5)]
    assert starts == [True, False, True, False, True]


def test_nothing_held_out_is_trained_on():
    training, held_out = character_model.split(np.arange(1000))
    assert len(held_out) == 50
    np.testing.assert_array_equal(np.concatenate([training, held_out]), np.arange(1000))


def test_cross_entropy_gradient():
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((3, 2, 5)), rng.integers(5, size=(3, 2))
    loss, gradient = character_model.cross_entropy(logits, targets)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    chosen = [p[t, b, targets[t, b]] for t in range(3) for b in range(2)]
    assert loss == pytest.approx(-np.mean(np.log(chosen)), rel=1e-12)
    expected = central_differences(
        lambda: character_model.cross_entropy(logits, targets)[0], logits, 1e-5
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)


def test_cross_entropy_survives_extreme_logits():
    logits = np.array([[1e4, -1e4]], np.float32)
    loss, gradient = character_model.cross_entropy(logits, np.array([1]))
    assert np.isfinite(loss)
    np.testing.assert_array_equal(gradient, [[1, -1]])


def small_model(seed=0):
    """A model with an output layer that isn't zero, so that every gradient counts."""
    model = character_model.CharacterModel(7, 6, seed=seed)
    rng = np.random.default_rng(seed)
    model.weight[...] = rng.standard_normal(model.weight.shape)
    model.bias[...] = rng.standard_normal(model.bias.shape)
    return model


def test_character_model_gradient():
    model, rng = small_model(), np.random.default_rng(1)
    inputs, targets = rng.integers(7, size=(2, 5, 3))
    _, state = model.loss(inputs, targets)

    def loss():
        return model.loss(inputs, targets, state)[0]

    value, _ = model.loss_and_grad(inputs, targets, state)
    assert value == pytest.approx(loss(), rel=1e-5)
    for values, gradient in model.values_and_gradients:
        expected = central_differences(loss, values, 1e-2)  # the model is float32
        np.testing.assert_allclose(gradient, expected, rtol=5e-3, atol=2e-4)


def test_carried_state_joins_chunks():
    model, ids = small_model(), np.random.default_rng(0).integers(7, size=61)
    in_pieces = character_model.evaluate(model, ids, batch_size=2, steps=4)
    at_once = character_model.evaluate(model, ids, batch_size=2, steps=30)
    assert in_pieces == pytest.approx(at_once, rel=1e-5)


def test_adam_follows_the_paper():
    rng = np.random.default_rng(0)
    value, gradient = rng.standard_normal(4), np.zeros(4)
    expected, m, v = value.copy(), 0, 0
    adam = character_model.Adam([(value, gradient)], beta1=0.9, beta2=0.99, epsilon=0, clip=np.inf)
    for t in range(1, 6):
        g = rng.standard_normal(4)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        expected -= 0.1 * (m / (1 - 0.9**t)) / np.sqrt(v / (1 - 0.99**t))
        gradient[:] = g
        adam.step(0.1)
        np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_adam_clips_the_joint_norm():
    pairs = [(np.zeros(2), np.array([3.0, 0.0])), (np.zeros(1), np.array([4.0]))]
    character_model.Adam(pairs, clip=1.0).step(0.1)
    np.testing.assert_allclose(np.concatenate([g for _, g in pairs]), [0.6, 0, 0.8])


PATTERN = "the quick brown fox. "


def train_on_pattern(seed=0):
    characters, ids = character_model.encode(PATTERN * 100)
    model = character_model.CharacterModel(len(characters), 32, seed=seed)
    losses = character_model.train(
        model, ids, seconds=np.inf, updates=200, batch_size=4, steps=16, learning_rate=0.02
    )
    return characters, ids, model, losses


def test_character_model_learns_and_writes():
    characters, ids, model, losses = train_on_pattern()
    assert losses[0][1] == pytest.approx(np.log(len(characters)), rel=1e-6)
    assert character_model.evaluate(model, ids, batch_size=4) < 0.1
    written = character_model.sample(
        model,
        4 * len(PATTERN),
        np.random.default_rng(0),
        prompt=ids[: 2 * len(PATTERN)],
        temperature=0.2,
    )
    assert "".join(characters[written]) == PATTERN * 4


def test_training_carries_the_state_through_a_pass(monkeypatch):
    characters, ids = character_model.encode(PATTERN)
    model = character_model.CharacterModel(len(characters), 4, seed=0)
    original, given, returned = model.loss_and_grad, [], []

    def spy(inputs, targets, state):
        loss, after = original(inputs, targets, state)
        given.append(state)
        returned.append(after)
        return loss, after

    monkeypatch.setattr(model, "loss_and_grad", spy)
    character_model.train(model, ids, seconds=np.inf, updates=5, batch_size=2, steps=4)
    assert len(ids) == 21  # two columns of 10: three chunks a pass
    assert given == [None, returned[0], returned[1], None, returned[3]]


def test_training_repeats_with_its_seed():
    first, second, other = (train_on_pattern(seed)[3] for seed in (1, 1, 2))
    assert first == second != other
    assert len(first) == 200


def test_sampling_draws_from_the_softmax():
    """The first character after a prompt comes as often as the model says."""
    model, rng = small_model(), np.random.default_rng(0)
    prompt = np.array([1, 4, 2])
    h, _ = model.lstm(model.one_hot[prompt[:, None]])
    p = np.exp(model.logits(h[-1, 0]) / 0.7)
    drawn = [
        character_model.sample(model, 1, rng, prompt=prompt, temperature=0.7)[0]
        for _ in range(3000)
    ]
    np.testing.assert_allclose(np.bincount(drawn, minlength=7) / 3000, p / p.sum(), atol=0.04)


def test_training_stops_with_the_clock(monkeypatch):
    clock = types.SimpleNamespace(monotonic=itertools.count().__next__)  # a second per look
    monkeypatch.setattr(character_model, "time", clock)
    characters, ids = character_model.encode(PATTERN * 100)
    model = character_model.CharacterModel(len(characters), 8, seed=0)
    losses = character_model.train(model, ids, seconds=10, batch_size=4, steps=4)
    assert len(losses) == 9  # the tenth look finds the time over


# --- the whole demo, with and without its extras ---------------------------------------------


def test_demo_without_extras(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    demo.run(out=tmp_path / "new", seconds=0.3, short=True, updates=101)
    out = capsys.readouterr().out
    assert "iters:100\n" in out
    assert re.search(r"^loss \d\.\d{3}, [\d,]+ characters/s, \d s left$", out, re.MULTILINE)
    assert re.search(r"^Held-out loss: \d\.\d{3} nats", out, re.MULTILINE)
    assert out.count("pip install 'fastseq[demo]'") == 2
    assert list((tmp_path / "new").iterdir()) == []


def test_demo_with_extras(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("tqdm")
    demo.run(out=tmp_path, seconds=0.3, short=True, updates=101)
    captured = capsys.readouterr()
    assert "characters/s" in captured.err  # the progress bar
    assert "characters/s" not in captured.out
    pictures = sorted(tmp_path.iterdir())
    assert [path.name for path in pictures] == [
        "binary_addition_loss.png",
        "character_model_loss.png",
    ]
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG")


# --- README ---------------------------------------------------------------------------------


def inference_works(names):
    assert names["y"].shape == (20, 3, 64)
    assert names["h"].shape == names["c"].shape == (4, 3, 32)


def training_works(names):
    y, _ = names["gru"](names["x"])
    assert np.mean((y - names["target"]) ** 2) < 0.9 * np.mean(names["target"] ** 2)


def models_work(names):
    logits = names["tagger"](names["ids"])
    assert logits.shape == (20, 3, 17)
    assert names["tagger"].loss(logits, names["tags"]) < 0.9 * np.log(17)
    assert list(names["tagger"].parameters)[:2] == ["embedding.weight", "lstm.weight_ih_l0"]


def ragged_batches_work(names):
    alone, _ = names["lstm"](names["x"][:7, 1:2])
    np.testing.assert_allclose(names["y"][:7, 1:2], alone, rtol=1e-5, atol=1e-6)
    assert not names["y"][7:, 1].any()


def streams_work(names):
    y, _ = names["forward_lstm"](names["x"][:, :1])
    np.testing.assert_allclose(names["y_t"], y[-1], rtol=1e-5, atol=1e-6)


def data_become_batches(names):
    (batch,) = names["batches"]
    first = batch.rows.tolist().index(0)
    tokens = names["vocabulary"].decode(batch.x[: batch.lengths[first], first])
    assert tokens.tolist() == names["lines"][0]
    assert names["batch"].carried and names["batch"].targets[-1, -1] == 1000


def pytorch_works(names):
    with names["torch"].no_grad():
        theirs, _ = names["theirs"](names["torch"].from_numpy(names["x"]))
    np.testing.assert_allclose(names["lstm"](names["x"])[0], theirs, rtol=1e-4, atol=1e-5)


def test_the_quick_start_in_the_readme_does_what_it_says():
    readme = Path(__file__).parents[1] / "README.md"
    quick_start, _, _ = readme.read_text("utf-8").partition("\n## Training\n")
    blocks = re.findall(r"```python\n(.*?)```", quick_start, re.DOTALL)
    checks = [inference_works, training_works, models_work, ragged_batches_work]
    checks += [streams_work, data_become_batches, pytorch_works]
    if importlib.util.find_spec("torch") is None:
        assert "import torch" in blocks.pop()
        checks.pop()
    names = {}
    for block, check in zip(blocks, checks, strict=True):
        exec(compile(block, str(readme), "exec"), names)
        check(names)
