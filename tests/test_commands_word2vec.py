"""fastseq word2vec, and its demonstration: what reaches Word2Vec, and what is printed."""

import io
import re
import shlex
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import fastseq as fs
from fastseq import cli, demo
from fastseq.demo import word_vectors
from fastseq.words import word2vec_files

KEYS = ["king", "queen", "man", "woman", "Man"]
ROWS = np.array([[3, 1], [2, 3], [1, 1], [1, 3], [2, 1.2]], np.float32)
TESTS = """: family
man woman king queen
: other
woman queen man woman
man woman king prince
"""


@pytest.fixture(autouse=True)
def folder_fixture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fs.KeyedVectors.from_arrays(KEYS, ROWS).save("vectors.bin")
    (tmp_path / "questions-words.txt").write_text(TESTS)
    (tmp_path / "wordsim353.tsv").write_text(
        "# head\nking\tman\t8\nking\twoman\t2\nking\tqueen\t9\nking\tprince\t9\n"
    )
    (tmp_path / "corpus.txt").write_text("a text\n")


@pytest.fixture(name="calls")
def calls_fixture(monkeypatch):
    """Arguments of each call of Word2Vec, which gives vectors without any training."""
    seen = []

    def train(sentences=None, **options):
        seen.append((sentences, options))
        wv = fs.KeyedVectors.from_arrays(KEYS, ROWS, counts=[9, 7, 5, 3, 2])
        return types.SimpleNamespace(wv=wv, stopped=None)

    monkeypatch.setattr(fs, "Word2Vec", train, raising=False)
    return seen


def run(line):
    return cli.main(shlex.split(line))


# --- train --------------------------------------------------------------------------------------


def test_train(calls, capsys):
    assert run("word2vec train corpus.txt --out v.bin") == 0
    assert calls == [(None, {"corpus_file": "corpus.txt"})]
    assert capsys.readouterr().out == "v.bin: 5 words, vectors of 2 numbers\n"
    assert fs.KeyedVectors.load("v.bin")["woman"].tolist() == [1, 3]
    assert run("word2vec train corpus.txt --out v.txt.gz --vocab counts") == 0
    assert Path("counts").read_text() == "king 9\nqueen 7\nman 5\nwoman 3\nMan 2\n"
    assert fs.KeyedVectors.load("v.txt.gz").index_to_key == KEYS


def test_vectors_and_counts_are_replaced_together(calls, capsys, monkeypatch):
    names = ["v.bin", "counts"]
    for name in names:
        Path(name).write_text("of before")
    line = "word2vec train corpus.txt --out v.bin --vocab counts"
    for owner, writer in ((word2vec_files, "_binary_block"), (word2vec_files, "write_counts")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, writer, fail)
            assert run(line) == 1
        assert "No space left" in capsys.readouterr().err
        assert [Path(name).read_text() for name in names] == ["of before"] * 2
        assert not list(Path().glob(".*.tmp"))
    assert run(line) == 0
    assert Path("counts").read_text().startswith("king 9\n") and len(fs.KeyedVectors.load("v.bin"))


def fail(*args):
    raise OSError(28, "No space left on device")


def test_help_names_all_compressed_files(capsys):
    for line in ("word2vec --help", "word2vec train --help"):
        with pytest.raises(SystemExit):
            run(line)
        assert ".gz, .bz2, .xz, .zst" in " ".join(capsys.readouterr().out.split())


def test_training_that_is_interrupted_saves_what_it_has(monkeypatch, capsys):
    wv = fs.KeyedVectors.from_arrays(KEYS, ROWS)
    model = types.SimpleNamespace(wv=wv, stopped="interrupted")
    monkeypatch.setattr(fs, "Word2Vec", lambda **options: model, raising=False)
    assert run("word2vec train corpus.txt --out v.bin") == 130
    assert capsys.readouterr().err.startswith("fastseq: interrupted; the model")
    assert fs.KeyedVectors.load("v.bin").index_to_key == KEYS


def test_settings_of_training(calls):
    pytest.importorskip("safetensors")
    assert (
        run(
            "word2vec train corpus.txt --out v.safetensors --quiet --checkpoint c --vector-size 7 "
            "--sg 1 --hs 1 --negative 0 --window 3 --min-count 2 --max-final-vocab 99 "
            "--max-vocab-size 98 --sample 1e-4 --ns-exponent -0.5 --cbow-mean 0 --alpha 0.1 "
            "--min-alpha 0.01 --epochs 4 --workers 2 --deterministic --seed 5"
        )
        == 0
    )
    ((_, options),) = calls
    assert options == {
        "corpus_file": "corpus.txt",
        "progress": False,
        "checkpoint": "c",
        "vector_size": 7,
        "sg": 1,
        "hs": 1,
        "negative": 0,
        "window": 3,
        "min_count": 2,
        "max_final_vocab": 99,
        "max_vocab_size": 98,
        "sample": 1e-4,
        "ns_exponent": -0.5,
        "cbow_mean": 0,
        "alpha": 0.1,
        "min_alpha": 0.01,
        "epochs": 4,
        "workers": 2,
        "deterministic": True,
        "seed": 5,
    }
    assert fs.KeyedVectors.load("v.safetensors").get_vecattr("king", "count") == 9


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("train corpus.txt --out v.pkl", "v.pkl: expected a name that ends with .safetensors"),
        ("train corpus.txt --out no/v.bin", "No such file"),
        ("train corpus.txt --out v.bin --vocab no/v", "No such file"),
        ("similar none.bin king", "none.bin"),
        ("similar vectors.bin king prince duke", "has no vector for 'prince', 'duke'"),
        ("analogy vectors.bin king queen prince", "has no vector for 'prince'"),
        ("evaluate vectors.bin none.txt", "none.txt"),
        ("evaluate vectors.bin corpus.txt", "corpus.txt, line 1"),
    ],
)
def test_mistakes_are_one_line_and_no_training(line, part, calls, capsys):
    assert run(f"word2vec {line}") == 1
    captured = capsys.readouterr()
    assert part in captured.err and captured.err.count("\n") == 1 and not captured.out
    assert not calls


# --- ask ----------------------------------------------------------------------------------------


def test_similar(capsys, monkeypatch):
    wv = fs.KeyedVectors.load("vectors.bin")
    assert run("word2vec similar vectors.bin king queen --topn 2") == 0
    expected = [
        f"{word}\t{other}\t{cosine:.4f}"
        for word in ("king", "queen")
        for other, cosine in wv.most_similar(word, topn=2)
    ]
    assert capsys.readouterr().out.splitlines() == expected and len(expected) == 4
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"king queen\n"), "utf-8"))
    assert run("word2vec similar vectors.bin --topn 2") == 0
    assert capsys.readouterr().out.splitlines() == expected
    assert run("word2vec similar vectors.bin woman --restrict-vocab 1") == 0
    assert capsys.readouterr().out == "woman\tking\t0.6000\n"


def test_analogy(capsys):
    assert run("word2vec analogy vectors.bin man king woman --topn 1") == 0
    word, cosine = capsys.readouterr().out.split()
    wv = fs.KeyedVectors.load("vectors.bin")
    ((expected, value),) = wv.most_similar(["king", "woman"], ["man"], topn=1)
    assert (word, cosine) == (expected, f"{value:.4f}") and word == "queen"


def test_evaluate(capsys):
    assert run("word2vec evaluate vectors.bin questions-words.txt wordsim353.tsv") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == ("questions-words.txt: Total accuracy: 50.00 % of 2 analogies with known words")
    assert re.fullmatch(
        r"wordsim353.tsv: Spearman 0.5000, Pearson 0.\d{4}, 25.0 % of the pairs unknown", second
    )
    assert run("word2vec evaluate vectors.bin questions-words.txt --sections --dummy4unknown") == 0
    assert capsys.readouterr().out.splitlines() == [
        "questions-words.txt: family: 100.00 % of 1 analogies with known words",
        "questions-words.txt: other: 0.00 % of 2 analogies with known words",
        "questions-words.txt: Total accuracy: 33.33 % of 3 analogies with known words",
    ]
    assert run("word2vec evaluate vectors.bin questions-words.txt --restrict-vocab 1") == 0
    assert "nothing of 0 analogies" in capsys.readouterr().out


# --- demonstration ------------------------------------------------------------------------------


def test_demo(calls, monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(word_vectors, "load_text", lambda: "A King's war.\nSo\n\nThe man; 'tis\n")
    demo.run_word2vec(seed=4, out=tmp_path / "pictures", short=True)
    ((sentences, options),) = calls
    assert sentences == [["a", "king's", "war", "so"], ["the", "man", "tis"]]
    assert options["seed"] == 4 and options["sg"] == 1 and options["epochs"] == 10
    out = capsys.readouterr().out
    assert "Training on 7 words, 10 times\n5 words have vectors\n" in out
    assert re.search("^king  +Man, man, queen, woman$", out, re.M)
    assert (tmp_path / "pictures" / "word_vectors.png").stat().st_size > 1000
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    demo.run_word2vec(out=tmp_path)
    assert "pip install 'fastseq[demo]'" in capsys.readouterr().out
    assert calls[1][1]["epochs"] == 40


def test_the_text_of_the_demo_has_the_words_that_are_drawn():
    words = {
        word for line in word_vectors.make_sentences(word_vectors.load_text()) for word in line
    }
    assert {*word_vectors.ASKED, *word_vectors.WORDS_TO_DRAW.split()} <= words
