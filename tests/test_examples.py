"""The scripts in examples/: what they measure, and how it gets into the results."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from estimator_cases import sentences
from helpers import shared_data

import fastseq as fs

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(name="run")
def run_fixture(monkeypatch, tmp_path):
    """A function that runs an example; the results' text."""
    if not EXAMPLES.is_dir():
        pytest.skip(f"the examples are not at {EXAMPLES}")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    path = tmp_path / "results.md"

    def run(name, *argv):
        monkeypatch.setattr(sys, "argv", [name, "--results", str(path), *map(str, argv)])
        importlib.import_module(name).main()
        return path.read_text("utf-8")

    return run


def test_readme_tells_of_all_data():
    if not EXAMPLES.is_dir():
        pytest.skip(f"the examples are not at {EXAMPLES}")
    sources = [path.read_text("utf-8") for path in EXAMPLES.glob("*.py")]
    read = set(re.findall(r'(?:data|folder) / "(\w+)"', "\n".join(sources))) - {"train"}
    told = (EXAMPLES.parent / "README.md").read_text("utf-8")
    assert len(read) == 10
    assert not [name for name in read if f"`{name}/`" not in told]


def table(text, title):
    """The rows of a section's table, as lists of strings."""
    section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return lines[2:]


def test_japanese_vowels_are_told_apart(run):
    data = shared_data("timeseries", "JapaneseVowels_TRAIN.ts.gz").parents[1]
    rows = table(run("japanese_vowels", "--data", data, "--seeds", 0, 1), "JapaneseVowels")
    assert [row[0] for row in rows] == ["0", "1"]
    assert all(float(row[1]) >= 0.96 for row in rows)


def test_the_adding_problem_is_solved_where_it_is_short(run):
    argv = ["--steps", 40, "--count", 4000, "--epochs", 5, "--seeds", 0]
    rows = table(run("adding_problem", *argv), "Adding problem, T = 40")
    assert [row[0] for row in rows] == ["lstm", "gru"]
    assert all(float(row[2]) < 1e-3 for row in rows)


def test_the_tagger_has_a_twin(run):
    """Losses of the first updates are those of PyTorch; the rest is a matter of time."""
    twin = pytest.importorskip("torch") and importlib.import_module("torch_tagger")
    example = importlib.import_module("danish_tagging")
    assert example.compare(twin, sentences(300)) < 1e-5


@pytest.mark.parametrize("settings", [{}, {"unit": "word", "num_layers": 2, "tie_weights": True}])
@pytest.mark.parametrize("training", ["ADAM", "SGD"])
def test_the_language_model_has_a_twin(run, settings, training):
    twin = pytest.importorskip("torch") and importlib.import_module("torch_language_model")
    example = importlib.import_module("language_model")
    sizes = {"embedding_dim": 8, "hidden_size": 8, "steps": 10, "batch_size": 4, "random_state": 0}
    text = "".join(" ".join(words) + "\n" for words in sentences(100)[0])
    before = twin.torch.get_num_threads(), fs.get_num_threads()
    for cell in ("lstm", "gru"):
        model = fs.LanguageModel(cell=cell, **sizes, **settings, **getattr(example, training))
        pair = example.Pair(model, text)
        optimizer, first, last, theirs, difference = pair.compare(20)
        assert optimizer == model.optimizer
        assert float(difference) < 1e-5 and abs(float(last) - float(theirs)) < 1e-4
        assert float(last) < float(first)
        assert len(pair.time(1, rounds=2, updates=1)) == 5
    twin.torch.set_num_threads(before[0])
    fs.set_num_threads(before[1])


def test_pronunciations_by_models_that_decide_together(run):
    data = shared_data("sigmorphon2020_g2p", "train").parents[1]
    argv = ["--languages", "vie", "--models", 2, "--set", "epochs=2"]
    rows = table(run("pronunciation", "--data", data, *argv), "Pronunciations of SIGMORPHON 2020")
    ((language, seed, wer, alone, tested, published, *_),) = rows
    assert (language, seed, published) == ("vie", "0", "4.67")
    assert float(wer) < 90 and float(tested) < 90 and float(alone) < 100


@pytest.mark.parametrize("attention", ["general", None])
def test_the_translation_has_a_twin(run, attention):
    twin = pytest.importorskip("torch") and importlib.import_module("torch_seq2seq")
    example = importlib.import_module("translation")
    words, tags = sentences(300)
    sizes = {"embedding_dim": 8, "hidden_size": 12, "batch_size": 8, "attention": attention}
    assert example.largest_difference(twin, (words, tags), 20, **sizes) < 1e-5


def test_translations_beside_the_twin(run):
    pytest.importorskip("torch")
    pytest.importorskip("sacrebleu")
    data = shared_data("small_parallel_enja", "dev.en").parents[1]
    argv = ["--directions", "en-ja", "--pairs", 100, "--epochs", 1]
    rows = table(
        run("translation", "--data", data, *argv), "Translation between English and Japanese"
    )
    assert [row[1] for row in rows] == [
        "attention",
        "attention, PyTorch",
        "last state alone",
    ]
    assert all(0 <= float(row[5]) < 100 for row in rows)


def test_conversations_show_what_each_model_is_like(run):
    title = "Conversations: what was said before, and what else might be said"
    rows = table(run("conversations", "--seeds", 0), title)
    seq2seq, hred, vhred = ([row[0], *map(float, row[2:5])] for row in rows)
    assert [seq2seq[0], hred[0], vhred[0]] == ["Seq2Seq", "HRED", "VHRED"]
    assert seq2seq[1:3] == [0.25, 1.0]  # whatever the place, it says the same
    assert hred[1] == 1.0 and hred[2] == 1.0
    assert vhred[1] >= 0.7 and vhred[2] > 2 and vhred[3] > hred[3]


def test_tables_are_booked_in_dialogues(run):
    data = shared_data("dialog_babi", "dialog-babi-task1trn.txt.gz").parents[1]
    argv = ["--dialogues", 60, "--epochs", 8, "--seeds", 0, "--tasks", 1, "--variety", 1]
    text = run("dialogue", "--data", data, *argv)
    rows = table(text, "Dialog bAbI: answers written exactly")
    exact = {row[1]: float(row[3]) for row in rows}
    assert list(exact) == ["attention", "no context", "no attention"]
    assert all(10 < percent < 100 for percent in exact.values())
    ((seed, kl, *_),) = table(text, "Dialog bAbI, task 1: a latent variable")
    assert seed == "0" and float(kl) > 0


def test_a_section_is_replaced_and_others_stay(run, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["two", "--data", "a/b", "--seeds", "3", "--results", "c"])
    results = importlib.import_module("results")
    path = tmp_path / "results.md"
    for title, value in (("One", 1), ("Two", 2), ("One", 3)):
        results.record(path, title, f"python {title}", ["x", "y"], [[value, "a"]], ["A note."])
    text = path.read_text("utf-8")
    assert text.startswith("# Results\n") and text.count("## ") == 2
    assert table(text, "One") == [["3", "a"]] and table(text, "Two") == [["2", "a"]]
    assert text.count("A note.") == 2 and "`python Two --seeds 3`: " in text


def test_sentences_become_points_of_a_space(run, monkeypatch):
    data = shared_data("small_parallel_enja", "dev.en").parents[1]
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = importlib.import_module("sentence_vae")
    small = {"latent_size": 4, "embedding_dim": 8, "hidden_size": 16, "batch_size": 64, "lr": 0.01}
    monkeypatch.setattr(example, "MODEL", small | {"epochs": 1})
    monkeypatch.setattr(example, "SAMPLES", 2)
    text = run("sentence_vae", "--data", data, "--lines", 400, "--epochs", 2)
    rows = table(text, "Sentences as points of a space")
    assert [row[0] for row in rows] == list(example.HELPS)
    assert float(rows[2][3]) > float(rows[0][3])  # free bits are told
    assert all(1 < float(row[5]) < 2000 for row in rows)
    assert len(table(text, "New sentences, and sentences between two others")) == 6


@pytest.mark.parametrize("name", ["demo_pronunciations", "danish_tagging"])
def test_missing_data_are_said_to_be_missing(name, run, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(name, "--data", tmp_path / "none")
    assert stop.value.code == 2
    assert f"there is no folder {tmp_path / 'none'} with the data" in capsys.readouterr().err
