"""The demo's two models: right gradients, the learning they promise, and what they print."""

import contextlib
import hashlib
import itertools
import re
import sys
import types
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from helpers import central_differences

from fastseq import demo
from fastseq.demo import binary_addition, character_model, pronunciation

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


def test_nothing_held_out_is_trained_on():
    text = "".join(map(chr, range(1000)))
    training, held_out = character_model.split(text)
    assert len(held_out) == 50
    assert training + held_out == text


PATTERN = "the quick brown fox. "


def train_on_pattern(seed=0):
    model = character_model.make_model(
        seed=seed, embedding_dim=16, hidden_size=32, batch_size=4, steps=16, lr=0.02
    )
    losses = character_model.train(model, PATTERN * 100, seconds=np.inf, updates=200)
    return model, losses


def test_character_model_learns_and_writes():
    model, losses = train_on_pattern()
    assert losses[0] == (0, pytest.approx(np.log(19), rel=0.05))  # 17 characters and two more
    assert -model.score(PATTERN * 20) < 0.1
    written = model.sample(4 * len(PATTERN), prompt=PATTERN * 2, temperature=0.2, seed=0)
    assert written == PATTERN * 4


def test_training_repeats_with_its_seed():
    first, second, other = (train_on_pattern(seed)[1] for seed in (1, 1, 2))
    assert first == second != other
    assert [update for update, _ in first] == list(range(200))


def fake_clock(monkeypatch):
    """A clock that goes on by a second at each look."""
    clock = types.SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr(character_model, "time", clock)


def test_training_stops_with_the_clock(monkeypatch):
    fake_clock(monkeypatch)
    model = character_model.make_model(seed=0, hidden_size=8, batch_size=4, steps=4)
    losses = character_model.train(model, PATTERN * 100, seconds=10)
    assert len(losses) == 10


def test_steps_become_smaller_towards_the_end(monkeypatch):
    fake_clock(monkeypatch)
    model = character_model.make_model(seed=0, hidden_size=8, batch_size=4, steps=4, lr=0.5)
    character_model.train(model, PATTERN * 100, seconds=5)
    assert model.history_.lr == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])


def test_what_is_reported(monkeypatch):
    fake_clock(monkeypatch)
    reports = []
    monkeypatch.setattr(
        character_model, "progress", lambda seconds: contextlib.nullcontext(reports_to(reports))
    )
    model = character_model.make_model(seed=0, hidden_size=8, batch_size=4, steps=4)
    losses = character_model.train(model, PATTERN * 100, seconds=3)
    assert reports == [(1, losses[0][1], 16), (2, losses[1][1], 32), (3, losses[2][1], 48)]


def reports_to(reports):
    return lambda *report: reports.append(report)


def test_an_interrupted_training_ends_the_demo(monkeypatch):
    def interrupt(seconds):
        def report(*_):
            raise KeyboardInterrupt

        return contextlib.nullcontext(report)

    monkeypatch.setattr(character_model, "progress", interrupt)
    model = character_model.make_model(seed=0, hidden_size=8, batch_size=4, steps=4)
    with pytest.raises(KeyboardInterrupt):
        character_model.train(model, PATTERN * 100, seconds=10)


# --- pronunciation --------------------------------------------------------------------------


def test_the_words_are_complete_and_have_their_licence():
    folder = resources.files("fastseq.demo") / "data"
    pairs = pronunciation.load_words()
    text = "".join(f"{word}\t{phones}\n" for word, phones in pairs)
    assert len(pairs) == 20_000 and dict(pairs)["knowledge"] == "N AA L AH JH"
    assert hashlib.sha256(text.encode("ascii")).hexdigest() in (folder / "README.txt").read_text()
    licence = (folder / "cmudict_LICENSE.txt").read_text("ascii")
    assert "Redistributions of source code must retain the above copyright" in licence


def test_no_word_is_learned_that_is_tested():
    learned, held_out = pronunciation.split(pronunciation.load_words())
    assert len(held_out) == 1000 and len(learned) == 19_000
    assert not {word for word, _ in learned} & {word for word, _ in held_out}


def train_on_words(seed=0):
    model = pronunciation.make_model(seed=seed, embedding_dim=16, hidden_size=32, batch_size=16)
    pairs = [(word, " ".join(word)) for word in ("ab", "ba", "abba", "baa")] * 20
    return model, pronunciation.train(model, pairs, seconds=np.inf, updates=60)


def test_pronunciation_is_learned_and_repeats_with_its_seed():
    (model, first), (_, second), (_, other) = (train_on_words(seed) for seed in (1, 1, 2))
    assert first == second != other and len(first) == 60
    assert model.predict(["abba", "ba"]) == ["a b b a", "b a"]


def test_words_come_from_a_terminal_or_from_a_list(monkeypatch):
    assert tuple(pronunciation.words_to_say()) == pronunciation.WORDS  # pytest's is none
    typed = iter(["Hello ", "world", "", "never"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    assert list(pronunciation.words_to_say()) == ["hello", "world"]

    def end(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    assert list(pronunciation.words_to_say()) == []


def test_the_demo_of_pronunciation(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    pairs = pronunciation.load_words()[:200]
    monkeypatch.setattr(pronunciation, "load_words", lambda: pairs)
    demo.run_g2p(out=tmp_path, seconds=0.3, short=True)
    out = capsys.readouterr().out
    assert "Training for 0.3 s on 190 words" in out
    assert re.search(r"^\d+\.\d% of 10 unseen words are pronounced", out, re.MULTILINE)
    assert all(re.search(f"^{word} ", out, re.MULTILINE) for word in pronunciation.WORDS)
    pictures = sorted(path.name for path in tmp_path.iterdir())
    assert pictures == ["g2p_attention.png", "g2p_loss.png"]


# --- the whole demo, with and without its extras ---------------------------------------------


def test_progress_is_lines_where_nobody_watches(monkeypatch, capsys):
    for is_terminal in (False, True):
        monkeypatch.setattr(character_model, "is_terminal", lambda seen=is_terminal: seen)
        with character_model.progress(9.0) as report:
            report(1.0, 0.5, 20)
        captured = capsys.readouterr()
        assert ("characters/s, 8 s left\n" in captured.out) == (not is_terminal)
        assert ("\r" in captured.err) == is_terminal


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


def test_demo_with_extras(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    pytest.importorskip("tqdm")
    monkeypatch.setattr(character_model, "is_terminal", lambda: True)
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
    assert names["tagger"].criterion(logits, names["tags"]) < 0.9 * np.log(17)
    assert list(names["tagger"].parameters)[:2] == ["embedding.weight", "lstm.weight_ih_l0"]


def attention_works(names):
    weights, backprop = names["weights"], names["backprop"]
    assert names["dmemory"].shape == names["memory"].shape and names["context"].shape == (5, 3, 16)
    assert weights.shape == (5, 3, 20) and abs(weights.sum(axis=2) - 1).max() < 1e-6
    with pytest.raises(RuntimeError):
        backprop(names["context"])


def ragged_batches_work(names):
    alone, _ = names["lstm"](names["x"][:7, 1:2])
    np.testing.assert_allclose(names["y"][:7, 1:2], alone, rtol=1e-5, atol=1e-6)
    assert not names["y"][7:, 1].any()


def short_sequences_work(names):
    y, _ = names["lstm"](names["x"])
    np.testing.assert_array_equal(names["y"], y)


def streams_work(names):
    y, _ = names["forward_lstm"](names["x"][:, :1])
    np.testing.assert_allclose(names["y_t"], y[-1], rtol=1e-5, atol=1e-6)


def data_become_batches(names):
    (batch,) = names["batches"]
    first = batch.rows.tolist().index(0)
    tokens = names["vocabulary"].decode(batch.x[: batch.lengths[first], first])
    assert tokens.tolist() == names["lines"][0]
    assert names["batch"].carried and names["batch"].targets[-1, -1] == 1000


def corpora_work(names):
    corpus, lines = names["corpus"], names["lines"]
    words = [corpus.index_to_key[i] for i in corpus.ids]
    assert len(corpus.counts) == 8 and words == [word for line in lines for word in line]
    assert np.diff(corpus.offsets).tolist() == [len(line) for line in lines]


def pytorch_works(names):
    with names["torch"].no_grad():
        theirs, _ = names["theirs"](names["torch"].from_numpy(names["x"]))
    np.testing.assert_allclose(names["lstm"](names["x"])[0], theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("with_torch", [False, True], ids=["alone", "torch"])
def test_the_quick_start_in_the_readme_does_what_it_says(with_torch):
    if with_torch:
        pytest.importorskip("torch")
    readme = Path(__file__).parents[1] / "README.md"
    quick_start, _, _ = readme.read_text("utf-8").partition("\n## Training\n")
    blocks = re.findall(r"```python\n(.*?)```", quick_start, re.DOTALL)
    checks = [inference_works, training_works, models_work, attention_works]
    checks += [ragged_batches_work, short_sequences_work, streams_work, data_become_batches]
    checks += [corpora_work, pytorch_works]
    if not with_torch:
        assert "import torch" in blocks.pop()
        checks.pop()
    names = {}
    for block, check in zip(blocks, checks, strict=True):
        exec(compile(block, str(readme), "exec"), names)
        check(names)
