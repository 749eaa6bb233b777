"""Word vectors as what an Embedding begins with, by itself and within the estimators."""

import re
import warnings

import numpy as np
import pytest
from estimator_cases import SMALL, labelled, make_classifier, sentences
from helpers import assert_identical, raises
from layer_cases import backend_fixture  # noqa: F401

import fastseq as fs

VECTORS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)

# --- the layer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_pretrained_table(dtype):
    table = VECTORS.astype(dtype)
    embedding = fs.Embedding.from_pretrained(table, freeze=False, padding_idx=-1)
    assert_identical(embedding([2, 5]), table[[2, 5]])
    assert embedding.padding_idx == 5 and not embedding.freeze
    y, backprop = embedding.forward([2, 5])
    backprop(np.ones_like(y))
    assert embedding.parameters.grads["weight"].sum(axis=1).tolist() == [0, 0, 4, 0, 0, 0]
    table[2] = 0
    assert embedding([2]).any()  # it has a copy


def test_a_pretrained_table_is_not_drawn_first(monkeypatch):
    monkeypatch.setattr(np.random, "default_rng", None)
    assert_identical(fs.Embedding.from_pretrained(VECTORS).weight, VECTORS)


def test_a_frozen_table_gets_no_gradient(backend):
    embedding = fs.Embedding.from_pretrained(VECTORS)
    model = fs.Module(embedding=embedding, gru=fs.GRU(4, 3, seed=0))
    ids = np.array([[1, 2], [2, 0]])
    y, _, backprop = model.gru.forward(ids, embedding=embedding)
    backprop(np.ones_like(y))
    vectors, into_table = embedding.forward(ids)
    into_table(np.ones_like(vectors))
    assert not embedding.parameters.grads["weight"].any() and model.parameters.flat_grad.any()
    fs.Adam(model.parameters, lr=1.0).step()
    assert_identical(embedding.parameters["weight"], VECTORS)
    assert repr(embedding) == "Embedding(6, 4, freeze=True, dtype=float32)"
    with raises(ValueError, "tied", "freeze=True"):
        fs.Linear(4, 6, tied=embedding)


@pytest.mark.parametrize(
    ("arguments", "error", "parts"),
    [
        ((np.ones((2, 3), int),), TypeError, ["embeddings", "floating-point"]),
        ((np.ones(3),), ValueError, ["embeddings", "(num_embeddings, F)", "(3,)"]),
        ((np.ones((0, 3)),), ValueError, ["embeddings", "(0, 3)"]),
        ((np.ones((2, 3)), 1), TypeError, ["freeze", "True or False"]),
        ((np.ones((2, 3)), True, 2), ValueError, ["padding_idx", "2"]),
    ],
)
def test_bad_tables(arguments, error, parts):
    with raises(error, *parts):
        fs.Embedding.from_pretrained(*arguments)


def test_a_table_for_a_vocabulary():
    words = fs.KeyedVectors.from_arrays([f"w{i}" for i in range(2000)], np.ones((2000, 8)) * 2)
    words["w0"] = np.resize([3.0, -3], 8)
    tokens = ["<pad>", "w7", "new", "w0"]
    table, missing = words.embedding_matrix(tokens, seed=1)
    assert missing == ["<pad>", "new"] and table.dtype == np.float64
    assert table[1].tolist() == [2] * 8 and table[3].tolist() == [3, -3] * 4
    again, _ = words.embedding_matrix(tokens, seed=1)
    assert_identical(again, table)
    table, _ = words.embedding_matrix(["w0", *(f"x{i}" for i in range(500))], seed=1)
    assert table[1:].std() == pytest.approx(3, rel=0.05)  # as spread as w0's numbers
    with raises(ValueError, "tokens", "none among 2", "2,000 keys", "'w0'"):
        words.embedding_matrix(["a", "b"])


# --- estimators ---------------------------------------------------------------------------------


def words_of(size=5, words=("ab", "ba", "cab"), seed=3):
    table = np.random.default_rng(seed).standard_normal((len(words), size))
    return fs.KeyedVectors.from_arrays(words, table)


def texts():
    X, _ = sentences()
    return X, [len(x) % 2 for x in X]


MAKE = {
    "tagger": lambda **options: (
        fs.SequenceTagger(char_embedding_dim=4, char_hidden_size=3, **options),
        sentences(),
    ),
    "classifier": lambda **options: (fs.SequenceClassifier(**options), texts()),
    "regressor": lambda **options: (fs.SequenceRegressor(**options), texts()),
    "language": lambda **options: (
        fs.LanguageModel(unit="word", steps=4, **options),
        (sentences()[0],),
    ),
    "dialogue": lambda **options: (fs.HRED(unit="token", **options), ([sentences()[0]],)),
    "sequence vae": lambda **options: (
        fs.SequenceVAE(unit="token", kl_schedule="constant", **options),
        (sentences()[0],),
    ),
}
all_models = pytest.mark.parametrize("name", MAKE)


def make(name, **options):
    return MAKE[name](**SMALL | {"embedding_dim": 5} | options)


def table_of(model):
    network = model.network_
    network = network if hasattr(network, "embedding") else network.encoder
    return network.embedding.parameters["weight"]


def fit(model, data, **options):
    with pytest.warns(UserWarning, match="no vector for 1 of . tokens, such as 'b'"):
        return model.fit(*data, **options)


@all_models
def test_training_begins_with_the_vectors(name, monkeypatch):
    vectors = words_of()
    model, data = make(name, embeddings=vectors)
    seen = []
    train = type(model)._train

    def spy(self, *args):
        seen.append(table_of(self).copy())
        train(self, *args)

    monkeypatch.setattr(type(model), "_train", spy)
    fit(model, data)
    ids = model.vocabulary_.encode(["ab", "ba", "cab"])
    assert_identical(seen[0][ids], vectors.vectors.astype(np.float32))
    rest = np.delete(seen[0], ids, axis=0)
    assert 0.2 < rest.std() / vectors.vectors.std() < 2
    assert model.missing_words_.tolist() == ["b"]
    assert not np.array_equal(table_of(model)[ids], seen[0][ids])  # they are trained on

    twin, data = make(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twin.fit(*data)
    assert twin.missing_words_ is None
    assert not np.array_equal(table_of(twin), table_of(model))


@all_models
def test_files_of_vectors_and_of_models(name, tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    vectors = words_of()
    vectors.save("words.txt")
    by_path, data = make(name, embeddings="words.txt")
    by_value, _ = make(name, embeddings=fs.KeyedVectors.load("words.txt"))
    fit(by_path, data)
    fit(by_value, data)
    assert_identical(table_of(by_path), table_of(by_value))
    for model, setting in ((by_path, "words.txt"), (by_value, None)):
        model.save("model")
        again = fs.load("model")
        assert again.embeddings == setting and again.missing_words_.tolist() == ["b"]
        assert_identical(table_of(again), table_of(model))


@all_models
def test_a_run_goes_on_with_its_own_vectors_only(name, tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "checkpoint"
    whole, data = make(name, embeddings=words_of())
    fit(whole, data)
    fit(make(name, embeddings=words_of(), epochs=2)[0], data, checkpoint=path)
    resumed = fit(make(name, embeddings=words_of())[0], data, checkpoint=path)
    assert_identical(table_of(resumed), table_of(whole))
    other, _ = make(name, embeddings=words_of(seed=4), epochs=9)
    with pytest.warns(UserWarning, match="no vector"), raises(ValueError, "same settings"):
        other.fit(*data, checkpoint=path)


@all_models
def test_vectors_that_do_not_fit(name):
    for options, error, parts in (
        ({"embeddings": words_of(7)}, ValueError, ["embedding_dim must be", "7", "5"]),
        ({"embeddings": words_of(words=("x", "y"))}, ValueError, ["tokens must have vectors"]),
        ({"embeddings": np.ones((3, 5))}, TypeError, ["embeddings", "KeyedVectors", "ndarray"]),
        ({"embeddings": "none.bin"}, FileNotFoundError, ["none.bin"]),
        ({"embeddings": "none"}, ValueError, ["none", ".safetensors"]),
    ):
        model, data = make(name, **options)
        with raises(error, *parts):
            model.fit(*data)
        assert not hasattr(model, "network_")


def test_vectors_are_for_tokens():
    with raises(ValueError, "embeddings are for tokens", "features"):
        make_classifier(embeddings=words_of()).fit(*labelled())
    with raises(ValueError, "embeddings are for tokens", "unit='id'"):
        fs.LanguageModel(unit="id", embeddings=words_of(128)).fit(np.arange(50) % 3)


def test_all_words_have_vectors():
    model, data = make("tagger", embeddings=words_of(words=("ab", "b", "ba", "cab")))
    model.fit(*data)  # without a warning, and special tokens don't count
    assert model.missing_words_ is None


# --- two tables ---------------------------------------------------------------------------------


def translator(**options):
    model = fs.Seq2Seq(**SMALL | {"embedding_dim": 5, "random_state": 0} | options)
    return model, [("ab ba", "x y"), ("ba cab", "y z"), ("cab b", "z w")]


def test_a_translator_begins_with_vectors_of_both_languages(monkeypatch):
    sources, targets = words_of(), words_of(words=("x", "y", "z"), seed=4)
    model, pairs = translator(source_embeddings=sources, target_embeddings=targets)
    seen = []

    def look(self, *args):
        network = self.network_
        seen.append(
            [table.parameters["weight"].copy() for table in (network.source, network.target)]
        )

    monkeypatch.setattr(fs.Seq2Seq, "_train", look)
    with pytest.warns(UserWarning) as warned:
        model.fit(pairs)
    assert [str(one.message).split(" have")[0] for one in warned] == [*model.missing_words]
    for table, vectors, vocabulary in zip(
        seen[0],
        (sources, targets),
        (model.source_vocabulary_, model.target_vocabulary_),
        strict=True,
    ):
        known = vocabulary.encode(list(vectors.index_to_key))
        assert_identical(table[known], vectors.vectors.astype(np.float32))
    assert model.missing_source_words_.tolist() == ["b"]
    assert model.missing_target_words_.tolist() == ["w"]


def test_one_table_for_both_languages(tmp_path):
    pytest.importorskip("safetensors")
    words = words_of(words=("ab", "b", "ba", "cab", "w", "x", "y", "z"))
    model, pairs = translator(source_embeddings=words, joint_vocabulary=True)
    model.fit(pairs).save(tmp_path / "model")
    again = fs.load(tmp_path / "model")
    assert again.missing_source_words_ is None and again.missing_target_words_ is None
    assert again.predict(["ab ba"]) == model.predict(["ab ba"])
    model, pairs = translator(target_embeddings=words, joint_vocabulary=True)
    with raises(ValueError, "joint_vocabulary=True", "source_embeddings"):
        model.fit(pairs)
    model, pairs = translator(target_embeddings=words_of(7))
    with raises(ValueError, "size of the target_embeddings", "7", "5"):
        model.fit(pairs)
    with raises(TypeError, "source_embeddings must be KeyedVectors", "ndarray"):
        translator(source_embeddings=np.ones((3, 5)))[0].fit(pairs)


def test_a_model_is_not_its_vectors(tmp_path):
    pytest.importorskip("safetensors")
    words = fs.Word2Vec([["ab", "b"]], min_count=1, vector_size=5, epochs=1, workers=1)
    with raises(TypeError, "embeddings must be KeyedVectors", "got Word2Vec: give its wv"):
        fs.SequenceTagger(embeddings=words).fit([["ab"]], [["A"]])
    for name in ("model.st", "model.safetensors"):
        path = str(tmp_path / name)
        words.save(path)
        with raises(ValueError, path, "of a Word2Vec model save its wv", "vectors.bin')") as error:
            fs.SequenceTagger(embeddings=path).fit([["ab"]], [["A"]])
        way_out = re.search(r"fastseq\.load\((.*)\)\.wv\.save", str(error.value))[1]
        assert way_out == repr(path)
        assert fs.load(path).wv.index_to_key == words.wv.index_to_key
