"""The commands train, predict and info: files in, files out, and what they say of mistakes."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_cases import epilog, run, write
from estimator_cases import labelled, sentences, series, valued

import fastseq as fs
from fastseq import processes
from fastseq.commands import options

pytest.importorskip("safetensors")

TAGGER = "--hidden-size 6 --embedding-dim 5 --char-embedding-dim 4 --char-hidden-size 3"
SMALL = "--hidden-size 6 --epochs 2 --random-state 0 --quiet"


@pytest.fixture(autouse=True)
def folder_fixture(tmp_path, monkeypatch):
    """A folder with the files that the examples in --help name; commands run in this process."""
    monkeypatch.chdir(tmp_path)
    for name, value in processes.blas_threads(1).items():
        monkeypatch.setenv(name, value)
    words, tags = sentences()
    write_columns("train.conllu", words, tags)
    write_columns("dev.conllu", *sentences(8, seed=1))
    lines = [" ".join(sentence) for sentence in words]
    write("sentences.txt", lines)
    write("corpus.txt", lines * 20)
    write("train.tsv", [f"{w}\t{' '.join(w[::-1])}" for w in map("".join, words)])
    write("texts.tsv", [f"{line}\t{len(line) % 2}" for line in lines])
    write_ts("train.ts", *labelled())
    write_ts("test.ts", *labelled(12, seed=1))
    write_ts("targets.ts", *valued(), kind="targetLabel")
    X = np.random.default_rng(0).standard_normal((12, 9, 2))
    np.savez("series.npz", x=X, lengths=np.arange(12) % 6 + 4)
    np.savez("steps.npz", x=X, y=X.cumsum(axis=1), lengths=np.arange(12) % 9 + 1)


def write_columns(path, words, tags):
    lines = []
    for pair in zip(words, tags, strict=True):
        lines += [f"{word}\t{tag}" for word, tag in zip(*pair, strict=True)] + [""]
    write(path, lines)


def write_ts(path, X, y, kind="classLabel"):
    names = " " + " ".join(sorted(set(y))) if kind == "classLabel" else ""
    head = ["@univariate false", f"@{kind} true{names}", "@data"]
    rows = [":".join(",".join(map(str, column)) for column in x.T) for x in X]
    write(path, head + [f"{row}:{label}" for row, label in zip(rows, y, strict=True)])


# --- examples -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tagger", "classifier", "regressor", "language", "seq2seq"])
def test_the_examples_in_help_work(kind, capsys):
    example = epilog(["train", kind])
    assert example.startswith(f"fastseq train {kind} ")
    assert run(example.removeprefix("fastseq ") + f" {SMALL}") == 0
    path = shlex.split(example)[shlex.split(example).index("--out") + 1]
    assert capsys.readouterr().out.startswith(f"{path}: History(epochs=2")
    assert fs.load(path).hidden_size == 6


def test_the_examples_of_predict_and_info_work(capsys, monkeypatch):
    train = epilog(["train"])
    assert run(train.removeprefix("fastseq ") + f" {SMALL} {TAGGER}") == 0
    command, file = epilog(["predict"]).removeprefix("fastseq ").split(" < ")
    capsys.readouterr()
    with open(file) as text:
        assert run(command, monkeypatch, text.read()) == 0
    out = capsys.readouterr().out
    words, _ = sentences()
    assert [line.split("\t")[0] for line in out.splitlines()[:4]] == [*words[0], ""][:4]
    assert run(epilog(["info"]).removeprefix("fastseq ")) == 0
    out = capsys.readouterr().out
    assert "SequenceTagger(hidden_size=6" in out and "classes_        A B\n" in out
    assert "  layers.weight_hh_l0 (24, 6)\n" in out and "History(epochs=2" in out


# --- train and predict --------------------------------------------------------------------------


def test_train_is_fit_and_predict_is_predict(capsys, monkeypatch):
    settings = "--crf --cell gru --lr 0.01 --no-bidirectional"
    line = f"train tagger train.conllu --validation dev.conllu --out m {SMALL} {settings}"
    assert run(f"{line} --test dev.conllu") == 0
    estimator = fs.SequenceTagger(
        crf=True, cell="gru", lr=0.01, bidirectional=False, hidden_size=6, epochs=2, random_state=0
    )
    (X, y), dev = fs.read_conll("train.conllu"), fs.read_conll("dev.conllu")
    estimator.fit(X, y, validation=dev)
    loaded = fs.load("m")
    assert loaded.get_params() == estimator.get_params()
    assert np.array_equal(loaded.network_.parameters.flat, estimator.network_.parameters.flat)
    assert f"dev.conllu: score {estimator.score(*dev):.4f}\n" in capsys.readouterr().out

    expected = [
        "\n".join([*map("\t".join, zip(*pair, strict=True)), "\n"])
        for pair in zip(dev[0], estimator.predict(dev[0]), strict=True)
    ]
    assert run("predict m dev.conllu") == 0
    assert capsys.readouterr().out == "".join(expected)
    with open("dev.conllu") as file:
        assert run("predict m --out tagged.conllu", monkeypatch, file.read()) == 0
    assert capsys.readouterr().out == ""
    with open("tagged.conllu") as file:
        assert file.read() == "".join(expected)


def test_what_was_good_is_saved_when_a_loss_is_not_finite(capsys):
    wild = f"train regressor targets.ts --out m {SMALL} --optimizer sgd --max-norm inf"
    assert run(f"{wild} --lr 1e25") == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("m: History(epochs=1, updates=1")
    assert captured.err.startswith("fastseq: error: update 2 (epoch 2, batch 1 of it): the loss is")
    assert captured.err.count("\n") == 1
    loaded = fs.load("m")
    assert loaded.history_.loss and np.isfinite(loaded.network_.parameters.flat).all()


def test_tags_in_other_columns(capsys):
    words, tags = sentences()
    write_columns("odd.columns", tags, words)
    for line in ("odd.columns --columns 1 0", "odd.columns --columns -1 -2"):
        assert run(f"train tagger {line} --out m {SMALL} {TAGGER}") == 0
        assert fs.load("m").classes_.tolist() == ["A", "B"]
    capsys.readouterr()
    assert run("predict m odd.columns --column 1") == 0
    assert capsys.readouterr().out.split("\t")[0] == words[0][0]


def test_probabilities_of_tags_and_labels(capsys):
    run(f"train tagger train.conllu --out m {SMALL} {TAGGER}")
    run(f"train classifier train.ts --out c {SMALL}")
    capsys.readouterr()
    assert run("predict m dev.conllu --proba") == 0
    lines = capsys.readouterr().out.splitlines()
    first = fs.load("m").predict_proba(sentences(8, seed=1)[0])[0][0]
    assert lines[0] == "\tA\tB"
    np.testing.assert_allclose(np.array(lines[1].split("\t")[1:], float), first, rtol=1e-6)
    assert run("predict c test.ts --proba") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "down\tup" and len(lines) == 13
    expected = fs.load("c").predict_proba(fs.read_ts("test.ts").x)
    np.testing.assert_allclose(np.loadtxt(lines[1:]), expected, rtol=1e-6)


def test_labels_of_series(capsys, monkeypatch):
    line = f"train classifier train.ts --validation 0.2 --test test.ts --out c {SMALL}"
    assert run(line) == 0
    model, (X, y, _) = fs.load("c"), fs.read_ts("test.ts")
    assert f"test.ts: score {model.score(X, y):.4f}\n" in capsys.readouterr().out
    assert len(model.history_.validation) == 2
    with open("test.ts") as file:
        assert run("predict c", monkeypatch, file.read()) == 0  # .ts is what it takes from stdin
    assert capsys.readouterr().out.split() == model.predict(X).tolist()


def test_labels_of_texts(capsys, monkeypatch):
    assert run(f"train classifier texts.tsv --out c {SMALL} --unit character") == 0
    model = fs.load("c")
    assert model.unit == "character" and model.classes_.tolist() == ["0", "1"]
    capsys.readouterr()
    assert run("predict c", monkeypatch, "ab cab\nb\n") == 0
    assert capsys.readouterr().out.split() == model.predict(["ab cab", "b"]).tolist()
    assert run("predict c texts.tsv") == 0
    assert len(capsys.readouterr().out.split()) == 20


def test_numbers_of_series_and_texts(capsys, monkeypatch):
    for data in ("targets.ts", "texts.tsv"):
        assert run(f"train regressor {data} --out r {SMALL}") == 0
        capsys.readouterr()
        assert run(f"predict r {data}") == 0
        model = fs.load("r")
        X = fs.read_ts(data).x if data.endswith("ts") else fs.read_tsv(data, units="word")[0]
        np.testing.assert_allclose(
            np.loadtxt(capsys.readouterr().out.split()), model.predict(X), rtol=1e-6
        )


LANGUAGE = f"{SMALL} --steps 8 --batch-size 4"


@pytest.mark.parametrize("unit", ["character", "word"])
def test_language_models(unit, capsys, monkeypatch):
    settings = f"--unit {unit} --softmax adaptive --cutoffs 2"
    line = f"train language corpus.txt --validation sentences.txt --out l {LANGUAGE} {settings}"
    assert run(f"{line} --test sentences.txt") == 0
    model, text = fs.load("l"), Path("corpus.txt").read_text()
    twin = fs.LanguageModel(**model.get_params()).fit(
        text, validation=Path("sentences.txt").read_text().splitlines()
    )
    assert np.array_equal(twin.network_.parameters.flat, model.network_.parameters.flat)
    score = model.score(Path("sentences.txt").read_text())
    expected = f"perplexity {np.exp(-score):.3f}, {-score / np.log(2):.4f} bits per {unit}\n"
    assert f"sentences.txt: {expected}" in capsys.readouterr().out

    assert run("generate l --prompt 'ab b' --length 30 --seed 1 --temperature 0.5 --top-k 3") == 0
    options = {"temperature": 0.5, "top_k": 3, "seed": 1, "echo": True}
    assert capsys.readouterr().out == model.sample(30, prompt="ab b", **options) + "\n"
    assert run("predict l", monkeypatch, "ab b\n\ncab\n") == 0
    tokens = model.predict(["ab b", "", "cab"]).tolist()
    assert capsys.readouterr().out.splitlines() == [t.replace("\n", "\\n") for t in tokens]
    assert run("predict l sentences.txt --proba") == 0
    head, first, *_ = capsys.readouterr().out.splitlines()
    assert head.split("\t")[0] == "<unk>" and len(first.split("\t")) == model.n_tokens_


def test_the_example_of_generate_works(capsys):
    assert run(f"train language corpus.txt --out language.safetensors {LANGUAGE}") == 0
    capsys.readouterr()
    assert run(epilog(["generate"]).removeprefix("fastseq ")) == 0
    text = capsys.readouterr().out
    assert text.startswith("To be")  # of which the corpus has no "T"
    assert len(text) == len("To be") + 200 + 1


def test_what_is_no_language_model_writes_nothing(capsys):
    run(f"train tagger train.conllu --out m {SMALL} {TAGGER}")
    assert run("generate m") == 1
    assert "m: holds a SequenceTagger, which writes nothing" in capsys.readouterr().err
    assert run(f"train language corpus.txt --out l {LANGUAGE} --unit id") == 1
    assert "unit 'id' is for arrays in Python" in capsys.readouterr().err
    run(f"train language corpus.txt --out l {LANGUAGE}")
    assert run("generate l --top-p 2") == 1
    assert "top_p must be a number above 0, up to 1" in capsys.readouterr().err
    fs.LanguageModel(unit="id", epochs=1, hidden_size=4).fit(np.arange(40) % 3).save("i")
    assert run("generate i") == 1
    assert "holds a model of ids" in capsys.readouterr().err


def test_numbers_of_steps(capsys):
    assert run(f"train regressor steps.npz --per-step --out r {SMALL}") == 0
    capsys.readouterr()
    assert run("predict r steps.npz") == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert blocks.pop() == "" and len(blocks) == 12
    with np.load("steps.npz") as file:
        X = [x[:n] for x, n in zip(file["x"], file["lengths"], strict=True)]
    expected = fs.load("r").predict(X)
    for block, values in zip(blocks, expected, strict=True):
        np.testing.assert_allclose(np.loadtxt(block.splitlines(), ndmin=2), values, rtol=1e-5)


def test_forecasts(capsys, monkeypatch):
    line = "train regressor series.npz --horizon 3 --quantiles 0.1 0.5 0.9 --out r"
    assert run(f"{line} {SMALL}") == 0
    with open("series.npz", "rb") as file:
        content = file.read()
    capsys.readouterr()
    assert run("predict r --format npz --quantiles", monkeypatch, content) == 0
    blocks = capsys.readouterr().out.split("\n\n")[:-1]
    with np.load("series.npz") as file:
        X = [x[:n] for x, n in zip(file["x"], file["lengths"], strict=True)]
    expected = fs.load("r").predict_quantiles(X)  # (12, 3, 2, 3)
    assert len(blocks) == 12
    for block, values in zip(blocks, expected, strict=True):
        np.testing.assert_allclose(
            np.loadtxt(block.splitlines()), values.reshape(3, 6), rtol=1e-5, atol=1e-6
        )
    assert run(f"train regressor train.ts --horizon 2 --out r {SMALL}") == 0  # labels don't matter
    assert (
        run(f"train regressor steps.npz --horizon 2 --out r {SMALL}") == 0
    )  # targets of their own


def test_a_stopped_run_goes_on(capsys):
    line = f"train classifier train.ts --checkpoint state {SMALL}"
    assert run(f"{line} --out c") == 0
    assert run(f"{line} --out c --epochs 4") == 0
    assert run(f"train classifier train.ts {SMALL} --epochs 4 --out whole") == 0
    resumed, whole = (fs.load(path).network_.parameters.flat for path in ("c", "whole"))
    assert np.array_equal(resumed, whole)


def test_an_interrupted_run_saves_what_it_has(monkeypatch, capsys):
    def interrupted(self, *data, **options):
        fitted(self, *data, **options)
        self.history_.stopped = "interrupted"
        return self

    fitted = fs.SequenceClassifier.fit
    monkeypatch.setattr(fs.SequenceClassifier, "fit", interrupted)
    assert run(f"train classifier train.ts --out c {SMALL}") == 130
    assert "interrupted" in capsys.readouterr().err
    assert len(fs.load("c").predict(series(3))) == 3


def test_settings_are_those_of_the_constructors(capsys):
    for kind, cls in (
        ("tagger", fs.SequenceTagger),
        ("classifier", fs.SequenceClassifier),
        ("regressor", fs.SequenceRegressor),
        ("seq2seq", fs.Seq2Seq),
    ):
        with pytest.raises(SystemExit):
            run(f"train {kind} --help")
        text = " ".join(capsys.readouterr().out.split())
        for name, value in cls().get_params().items():
            option = "--" + name.replace("_", "-")
            assert (option in text) == (name != "warm_start")
            value = 0 if name == "random_state" else value  # commands are reproducible
            assert name == "warm_start" or f"(default: {value})" in text
        for name, text in options._descriptions(cls).items():
            assert len(text) > 10, name


def test_settings_are_described_as_a_shell_shows_them():
    for cls in (fs.SequenceTagger, fs.LanguageModel, fs.Seq2Seq, fs.HRED, fs.VHRED, fs.SequenceVAE):
        for name, text in options._descriptions(cls).items():
            assert text[0].isalnum() and ":meth" not in text, name
    described = options._descriptions(fs.Seq2Seq)
    assert described["cell"] == "Of all recurrent layers: lstm, gru, rnn"
    assert described["metric"] == "What score measures: exact, wer, bleu, chrf"
    assert described["length_penalty"].endswith("which favours short targets; or average")


def test_models_are_trained_in_a_child_with_one_blas_thread(monkeypatch):
    seen = []
    monkeypatch.setattr(processes, "run_module", lambda *args: seen.append(args) or 7)
    variables = processes.blas_threads(1)
    for name in variables:
        monkeypatch.delenv(name)
    assert run("predict model data.ts") == 7
    assert seen == [("fastseq", ["predict", "model", "data.ts"], variables)]


@pytest.mark.skipif(os.name != "posix", reason="exec is POSIX's")
def test_the_process_that_was_started_is_the_one_that_trains():
    """So that whoever stops it stops the training: here by a signal that nobody hands on."""
    X = np.random.default_rng(0).standard_normal((200, 50, 2))
    np.savez("long.npz", x=X, y=X.cumsum(axis=1))
    argv = "train regressor long.npz --per-step --epochs 100000 --out r --checkpoint c --quiet"
    plain = {k: v for k, v in os.environ.items() if k not in processes.blas_threads(1)}
    process = subprocess.Popen(
        [*processes.python(), "-m", "fastseq", *shlex.split(argv)], env=plain
    )
    try:
        wait_until(lambda: os.path.exists("c") or process.poll() is not None)
        assert process.poll() is None
        time.sleep(1)  # from then on it trains
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130 and os.path.exists("r")
    finally:
        process.kill()
        process.wait()


def wait_until(holds, seconds=120):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)


@pytest.mark.parametrize("closed", ["stdin", "stdout"])
def test_closed_streams_are_errors_of_one_line(closed, monkeypatch, capsys):
    assert run(f"train tagger train.conllu --out m {SMALL} {TAGGER}") == 0
    capsys.readouterr()
    monkeypatch.setattr(sys, closed, None)
    assert run("predict m --format text") == 1
    assert f"standard {closed[3:]}put" in capsys.readouterr().err


def test_tokens_in_an_archive(capsys):
    x, y = np.array([["a", "b", "a"], ["c", "c", "b"]] * 12), np.array([0, 1] * 12)
    np.savez("tokens.npz", x=x, y=y, lengths=np.arange(24) % 3 + 1)
    assert run(f"train classifier tokens.npz --out m --unit word --min-count 1 {SMALL}") == 0
    capsys.readouterr()
    assert run("predict m tokens.npz") == 0
    lengths = np.arange(24) % 3 + 1
    expected = fs.load("m").predict([row[:n] for row, n in zip(x.tolist(), lengths, strict=True)])
    assert capsys.readouterr().out.split() == [str(label) for label in expected]


def test_a_missing_file_is_said_to_be_missing(capsys):
    run(f"train tagger train.conllu --out m {SMALL} {TAGGER}")
    assert run("predict m nowhere") == 1
    assert "No such file" in capsys.readouterr().err
    assert run(f"train tagger train.conllu --validation nowhere --out m {SMALL} {TAGGER}") == 1
    assert "No such file" in capsys.readouterr().err


def test_short_texts_can_validate(capsys):
    write("short.txt", ["ab"])
    command = (
        f"train language corpus.txt --validation short.txt --test short.txt --out l {LANGUAGE}"
    )
    assert run(command) == 0
    assert "short.txt: perplexity" in capsys.readouterr().out


def test_without_safetensors_nothing_is_trained_in_vain(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setattr(fs.SequenceTagger, "fit", lambda *args, **options: 1 / 0)
    assert run(f"train tagger train.conllu --out m {SMALL}") == 1
    assert "pip install 'fastseq[train]'" in capsys.readouterr().err


@pytest.mark.filterwarnings("always:embeddings have no vector")
def test_word_vectors_to_begin_with(capsys):
    words = fs.KeyedVectors.from_arrays(["ab", "ba", "cab"], np.eye(3, 5))
    words.save("words.txt")
    line = f"train tagger train.conllu --out m {SMALL} {TAGGER}"
    assert run(f"{line} --embeddings words.txt") == 0
    err = capsys.readouterr().err
    assert err.startswith("fastseq: warning: embeddings have no vector for 1 of 6 tokens, such")
    assert err.count("\n") == 1
    model = fs.load("m")
    assert model.embeddings == "words.txt" and model.missing_words_.tolist() == ["b"]
    assert run(f"{line} --embeddings words.txt --embedding-dim 7") == 1
    assert "give embedding_dim=5" in capsys.readouterr().err
    assert run("info m") == 0
    assert "missing_words_  b\n" in capsys.readouterr().out
    words.save("words.safetensors")
    assert run("info words.safetensors") == 0
    assert "kind            vectors\n" in capsys.readouterr().out


# --- mistakes -----------------------------------------------------------------------------------


@pytest.fixture(name="models")
def models_fixture(folder_fixture, capsys):
    run(f"train tagger train.conllu --out t {SMALL} {TAGGER}")
    run(f"train classifier train.ts --out c {SMALL}")
    run(f"train classifier texts.tsv --out w {SMALL}")
    run(f"train regressor targets.ts --out r {SMALL}")
    run(f"train language corpus.txt --out l {LANGUAGE}")
    fs.save_model(fs.GRU(2, 3), "gru")
    capsys.readouterr()


def broken_files():
    write("cut.conllu", ["a\tA", "b", ""])
    write("cut.ts", ["@univariate true", "@classLabel true a b", "@data", "1,2:a", "1,x:b"])
    write("cut.tsv", ["a b\t1", "c d\tmuch"])
    write("one.tsv", ["ab", "cd"])
    with open("latin.txt", "wb") as file:
        file.write("blå\n".encode("latin-1"))
    with open("t", "rb") as file, open("half", "wb") as half:
        half.write(file.read(2000))
    np.savez("other.npz", z=np.ones(3))
    np.savez("objects.npz", x=np.array([{}, 1], object))
    np.savez("flat.npz", x=np.ones(3))
    np.savez("long.npz", x=np.ones((2, 3)), y=np.ones(2), lengths=np.array([3, 4]))
    np.savez("floats.npz", x=np.ones((2, 3)), y=np.array([0.5, 1.0]))
    np.savez("lists.npz", x=np.array([[["a", "b"]]]))
    np.savez("nan.npz", x=np.full((2, 3), np.nan), y=np.ones(2))
    with open("series.npz", "rb") as file, open("cut.npz", "wb") as cut:
        cut.write(file.read()[:-100])
    np.save("array", np.ones((2, 3)))
    write("no.npz", ["text"])


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("train tagger cut.conllu --out m", ["cut.conllu, line 2:", "got 1"]),
        ("train tagger none.conllu --out m", ["error: none.conllu: No such file or directory"]),
        (
            "train tagger sentences.txt --out m",
            ["sentences.txt: expected a file of format columns"],
        ),
        ("train tagger train.ts --out m", ["train.ts: expected a file of format columns"]),
        ("train tagger train.conllu --columns 0 5 --out m", ["column 5 doesn't exist"]),
        ("train tagger one.tsv --format columns --out m", ["one.tsv: expected words and tags"]),
        ("train tagger none.conllu --out no/m", ["/no: No such file or directory"]),
        ("train tagger none.conllu --out .", ["error: .: Is a directory"]),
        ("train tagger none.conllu --out m --checkpoint no/c", ["/no: No such file"]),
        ("train tagger train.conllu --validation cut.conllu --out m", ["cut.conllu, line 2:"]),
        ("train tagger train.conllu --test cut.conllu --out m", ["cut.conllu, line 2:"]),
        ("train tagger train.conllu --validation 1.5 --out m", ["validation must be"]),
        ("train classifier cut.ts --out m", ["cut.ts, line 5:", "'x'"]),
        ("train classifier series.npz --out m", ["series.npz: expected labels"]),
        ("train classifier one.tsv --out m", ["one.tsv: expected labels, got sequences alone"]),
        ("train regressor cut.tsv --out m", ["target of sequence 2, got 'much'"]),
        ("train regressor train.ts --out m", ["target of sequence 1, got '"]),
        ("train regressor series.npz --out m", ["series.npz: expected target values"]),
        (
            "train regressor other.npz --out m",
            ["other.npz: expected arrays x, y and lengths, got z"],
        ),
        ("train regressor objects.npz --out m", ["objects.npz: expected an archive"]),
        ("train regressor no.npz --out m", ["no.npz: expected an archive of arrays"]),
        ("train regressor cut.npz --out m", ["cut.npz: expected an archive of arrays"]),
        ("train regressor array.npy --format npz --out m", ["array.npy: expected an archive"]),
        ("train regressor flat.npz --out m", ["flat.npz: expected x of numbers", "(3,)"]),
        ("train regressor long.npz --out m", ["long.npz: lengths must lie between 0 and 3"]),
        ("train regressor nan.npz --out m", ["nan.npz: X[0] must hold finite numbers"]),
        ("train classifier floats.npz --out m", ["floats.npz: y must hold labels", "float64"]),
        ("train classifier train.ts --test floats.npz --out m", ["floats.npz: y must hold"]),
        ("predict none data.ts", ["error: none: No such file or directory"]),
        ("predict half dev.conllu", ["half: truncated"]),
        ("predict train.ts dev.conllu", ["train.ts: not a safetensors file"]),
        ("predict gru dev.conllu", ["gru: holds a model, for load_model, not an estimator"]),
        ("predict t latin.txt", ["latin.txt, line 1: expected UTF-8"]),
        ("predict t test.ts", ["test.ts: expected a file of format columns or text"]),
        ("predict t t", ["t: expected a file of format", "--format"]),
        ("predict t dev.conllu --quantiles", ["a SequenceTagger can't give --quantiles"]),
        ("predict r targets.ts --proba", ["a SequenceRegressor can't give --proba"]),
        ("predict r targets.ts --quantiles", ["r: can't give --quantiles, it was trained without"]),
        ("predict t dev.conllu --format npz", ["--format must be columns or text for", "got npz"]),
        ("predict t dev.conllu --format tsv", ["--format must be columns or text for", "got tsv"]),
        ("predict c test.ts --format columns", ["--format must be tsv or ts or npz or text for"]),
        ("predict l sentences.txt --format npz", ["--format must be text or tsv for", "got npz"]),
        ("predict l series.npz", ["series.npz: expected a file of format text or tsv"]),
        ("predict l test.ts", ["test.ts: expected a file of format text or tsv"]),
        (
            "predict c sentences.txt",
            ["sentences.txt: X must hold sequences of the 2 features of fit, got tokens"],
        ),
        ("predict w test.ts", ["test.ts: X must hold sequences of strings, got numbers"]),
        ("predict w lists.npz", ["lists.npz: X[0][0] must be a string, got ['a', 'b']"]),
        ("predict none dev.conllu --out no/file", ["/no: No such file"]),
        ("info train.ts", ["train.ts: not a safetensors file"]),
        ("info none", ["error: none: No such file or directory"]),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(line, parts, models, capsys):
    broken_files()
    before = sorted(os.listdir())
    assert run(f"{line} {SMALL}" if line.startswith("train") else line) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fastseq: error: ") and captured.err.count("\n") == 1
    for part in parts:
        assert part in captured.err
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train", "MODEL"),
        ("train tager train.conllu --out m", "tager"),
        ("train tagger train.conllu", "--out"),
        ("train tagger --out m", "DATA"),
        ("train tagger train.conllu --out m --epochs 0", "epochs must be at least 1"),
        ("train tagger train.conllu --out m --epochs many", "--epochs"),
        ("train tagger train.conllu --out m --cell lstn", "cell must be one of 'lstm'"),
        ("train tagger train.conllu --out m --warm-start", "--warm-start"),
        ("train regressor series.npz --out m --quantiles 0.1 0.9", "quantiles must rise"),
        ("train regressor series.npz --out m --horizon 2 --per-step", "exclude each other"),
        ("train tagger none --out m --patience 3", "--patience 3 needs --validation, with data or"),
        ("train tagger none --out m --schedule plateau", "--schedule plateau needs --validation"),
        ("train seq2seq --pairs n --out m --selection score", "--selection score needs --validati"),
        ("train language none --out m --patience 1", "--patience 1 needs --validation, with"),
        ("predict", "MODEL"),
        ("predict t --format csv", "csv"),
        ("predict t --proba --quantiles", "not allowed with"),
    ],
)
def test_a_wrong_command_line_exits_with_2(line, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run(line)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_info_of_files_that_are_no_estimators(models, capsys):
    assert run("info gru") == 0
    assert "kind            model\n" in capsys.readouterr().out
    assert run(f"train classifier train.ts --checkpoint state --out c {SMALL}") == 0
    capsys.readouterr()
    assert run("info state") == 0
    assert "kind            checkpoint\n" in capsys.readouterr().out
    words = fs.Word2Vec([["to", "be"]], min_count=1, vector_size=3, epochs=2, workers=1)
    words.save("words")
    assert run("info words") == 0
    out = capsys.readouterr().out
    assert "kind            word2vec\n" in out and "words           be to\n" in out
    assert "model           Word2Vec, 2 words, vectors of 3 numbers\n" in out
    assert "sample=0.001" in out and "epochs          2\n" in out
