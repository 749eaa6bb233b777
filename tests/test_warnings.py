"""Warnings show the user's line, however deep in the package they come from."""

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers import run_python

import fastseq as fs
from fastseq.words import word2vec_states

PACKAGE = Path(fs.__file__).parent
WORDS = [["a", "c"], ["b", "c"]] * 4
SMALL = {"embedding_dim": 4, "hidden_size": 4, "epochs": 1, "min_count": 1, "random_state": 0}


def some_vectors():
    return fs.KeyedVectors.from_arrays(["a", "b"], np.ones((2, 4), np.float32))


def write_words_twice(path):
    path.write_text("3 2\na 1 2\na 3 4\nb 5 6\n", "utf-8")
    return path


def begin_with_vectors(make, *data, name="embeddings", **options):
    return lambda path: make(**{name: some_vectors()}, **SMALL, **options).fit(*data)


def train_word_vectors(path):
    return fs.Word2Vec(WORDS, min_count=1, vector_size=2, epochs=1, checkpoint=path)


PLACES = {  # each warns once
    "layer": lambda path: fs.GRU(2, 3, dropout=0.1),
    "language model": begin_with_vectors(
        fs.LanguageModel, "a c b c " * 9, unit="word", batch_size=2, steps=2
    ),
    "tagger": begin_with_vectors(fs.SequenceTagger, WORDS, WORDS),
    "classifier": begin_with_vectors(fs.SequenceClassifier, WORDS, [0, 1] * 4),
    "regressor": begin_with_vectors(fs.SequenceRegressor, WORDS, [0.0, 1.0] * 4),
    "seq2seq": begin_with_vectors(fs.Seq2Seq, WORDS, WORDS, name="source_embeddings"),
    "dialogues": begin_with_vectors(fs.HRED, [[["a", "c"], ["b", "c"]]] * 4, context_size=4),
    "file": lambda path: fs.KeyedVectors.load(write_words_twice(path)),
    "word2vec's file": lambda path: fs.KeyedVectors.load_word2vec_format(write_words_twice(path)),
    "no vector": lambda path: some_vectors().rank_by_centrality(["a", "z"]),
    "no match": lambda path: some_vectors().doesnt_match(["a", "b", "z"]),
    "checkpoint": train_word_vectors,
    "no extension": train_word_vectors,
    "no extension for text": lambda path: fs.Corpus.from_sentences(WORDS),
}


def fail(*arguments):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("name", PLACES)
def test_they_show_the_users_line(name, tmp_path, monkeypatch):
    if name == "checkpoint":
        monkeypatch.setattr(word2vec_states, "save_checkpoint", fail)
    if name.startswith("no extension"):
        if fs.get_backend() != "cython":
            pytest.skip("the others need no extension")
        monkeypatch.setitem(sys.modules, "fastseq._word2vec", None)
        monkeypatch.delattr("fastseq._word2vec", raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PLACES[name](tmp_path / "file.txt")
    assert caught and {w.filename for w in caught} == {__file__}


def test_what_runs_in_a_function_of_the_user_shows_it(tmp_path):
    class Mine(fs.SequenceTagger):
        def learn(self, X, y):
            super().learn(X, y)
            fs.GRU(2, 3, dropout=0.1)

    with pytest.warns(UserWarning, match="dropout=0.1 has no effect") as caught:
        Mine(epochs=1, hidden_size=2).fit(WORDS, WORDS)
    (line,) = {w.lineno for w in caught}
    assert "fs.GRU(2, 3" in Path(__file__).read_text("utf-8").splitlines()[line - 1]


def test_a_missing_extension_shows_the_import():
    hide = "import sys; sys.modules['fastseq._kernels'] = sys.modules['numba'] = None"
    done = run_python(f"{hide}\n\nimport fastseq")
    assert re.findall(r"^(.*): RuntimeWarning", done.stderr, re.MULTILINE) == ["<string>:3"]


def test_all_warn_in_one_way():
    direct = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.p*")
        if path.suffix in (".py", ".pyx", ".pxi") and "warnings.warn(" in path.read_text("utf-8")
    ]
    assert direct == ["checks.py"]
