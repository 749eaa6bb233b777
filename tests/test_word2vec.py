"""Word2Vec: what it learns, its interface, and runs that were stopped."""

import copy
import inspect
import math
import pickle
import signal
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import raises
from word2vec_cases import BACKENDS

import fastseq as fs
from fastseq import backend
from fastseq.checkpoint import load_checkpoint
from fastseq.words import word2vec_states, word2vec_training
from fastseq.words.word_counts import huffman_tree

TOPICS = [["dog", "cat", "cow", "hen", "pig"], ["red", "blue", "pink", "green", "grey"]]


def make_sentences(count=300, seed=0):
    """Sentences about animals or colours, never both."""
    rng = np.random.default_rng(seed)
    return [rng.choice(TOPICS[i % 2], 8).tolist() for i in range(count)]


def make_model(sentences=None, **options):
    defaults = {"vector_size": 12, "min_count": 1, "sample": 0, "workers": 1, "seed": 3}
    return fs.Word2Vec(sentences, **{**defaults, **options})


def assert_same(ours, theirs):
    assert ours.wv.index_to_key == theirs.wv.index_to_key
    for name in ("syn1", "syn1neg"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert (a is None) == (b is None) and (a is None or np.array_equal(a, b))
    assert np.array_equal(ours.wv.vectors, theirs.wv.vectors)


@pytest.fixture(params=BACKENDS)
def each_backend(request):
    before = backend.get_backend()
    try:
        fs.set_backend(request.param)
    except ImportError as error:
        pytest.skip(str(error))
    yield
    fs.set_backend(before)


# --- learning -------------------------------------------------------------------------------


@pytest.mark.parametrize("sg", [0, 1])
@pytest.mark.parametrize("hs, negative", [(0, 5), (1, 0), (1, 3)])
def test_words_of_a_topic_become_similar(each_backend, sg, hs, negative):
    model = make_model(make_sentences(150), sg=sg, hs=hs, negative=negative, epochs=15,
                       alpha=0.05, compute_loss=True)  # fmt: skip
    same, other = [], []
    for topic, rest in (TOPICS, TOPICS[::-1]):
        same += [model.wv.similarity(a, b) for a in topic for b in topic if a < b]
        other += [model.wv.similarity(a, b) for a in topic for b in rest]
    assert min(same) > max(other)
    assert len(model.losses) == 15 and model.losses[-1] < 0.95 * model.losses[0]


def test_the_first_loss_is_that_of_guessing():
    """Outputs begin at zero, so each decision costs log 2, whatever the inputs."""
    sentences = make_sentences(100)
    options = {"alpha": 1e-30, "min_alpha": 0, "epochs": 1, "compute_loss": True}
    flat = make_model(sentences, hs=1, negative=0, **options)
    counts = flat.wv.expandos["count"]
    # every word has a window here
    mean = np.average(huffman_tree(counts).lengths, weights=counts)
    assert math.isclose(flat.losses[0], mean * math.log(2), rel_tol=1e-6)
    sampled = make_model(sentences, sg=1, negative=5, **options)
    share = counts**0.75 / (counts**0.75).sum()
    hits = 5 * np.average(share, weights=counts)  # negatives that are the word itself
    assert math.isclose(sampled.losses[0], (6 - hits) * math.log(2), rel_tol=2e-3)


def test_loss_is_not_computed_unless_asked_for():
    model = make_model(make_sentences(10), epochs=2)
    assert np.isnan(model.losses).all()
    with pytest.raises(ValueError, match="compute_loss=True"):
        model.get_latest_training_loss()
    model.train(make_sentences(10), epochs=1, compute_loss=True)
    assert model.get_latest_training_loss() == model.losses[2] > 0


def test_a_sentence_of_any_length_is_used_whole():
    words = [f"w{i % 50}" for i in range(30_000)]
    seen = []

    class Pairs:
        def on_epoch_end(self, model):
            seen.append(model.losses[-1])

    long = make_model([words], epochs=1, compute_loss=True, callbacks=[Pairs()])
    assert long.corpus_total_words == 30_000 and seen == long.losses
    cut = make_model([words[:10_000]], epochs=1, compute_loss=True)
    assert not np.array_equal(long.wv.vectors, cut.wv.vectors)


@pytest.fixture
def calls(monkeypatch):
    """The rates and settings of all calls of the kernels, which don't train."""
    calls = []

    def train_words(*arguments):
        _, _, _, _, _, _, _, _, settings, _, first_chunk, rates, _, _ = arguments
        calls.append(SimpleNamespace(settings=settings, chunk=first_chunk, rates=rates.tolist()))

    kernels = SimpleNamespace(train_words=train_words, give_memory_back=lambda: None)
    by_use = {"text": backend.word_kernels("text"), "word vectors": kernels}
    monkeypatch.setattr(backend, "word_kernels", by_use.get)
    return calls


def test_the_rate_falls_linearly_over_chunks_and_epochs(calls, monkeypatch):
    """Two epochs of two and a half chunks: a chunk is a fifth of the way, the last ones a tenth."""
    monkeypatch.setattr(word2vec_training, "CHUNKS_AT_ONCE", 2)
    words = [f"w{i % 50}" for i in range(5 * word2vec_training.CHUNK // 2)]
    make_model([words], epochs=2, alpha=0.5, min_alpha=0.1)
    assert [call.chunk for call in calls] == [0, 2, 0, 2]
    expected = [[0.5, 0.42], [0.34], [0.3, 0.22], [0.14]]
    for call, rates in zip(calls, expected, strict=True):
        np.testing.assert_allclose(call.rates, rates, rtol=1e-12)


@pytest.mark.parametrize(
    "sg, negative, draws",
    [(0, 5, 16), (0, 8, 16), (0, 9, 32), (0, 17, 64), (1, 5, 32), (1, 17, 64), (1, 100, 64)],
)
def test_many_negatives_are_estimated_from_more_draws(calls, sg, negative, draws):
    """From twice as many draws as there are negatives, or from 64."""
    make_model(make_sentences(10), sg=sg, negative=negative, epochs=1)
    (call,) = calls
    assert (call.settings.negative, call.settings.draws) == (negative, draws)


# --- interface ------------------------------------------------------------------------------


def test_building_and_training_is_what_the_class_does_at_once(tmp_path):
    sentences = make_sentences()
    path = tmp_path / "text.txt"
    path.write_text("\n".join(map(" ".join, sentences)), "utf-8")
    at_once = make_model(sentences)
    in_steps = make_model()
    in_steps.build_vocab(sentences)
    in_steps.train()
    assert_same(at_once, in_steps)
    assert_same(at_once, make_model(corpus_file=path))
    assert_same(at_once, make_model(fs.Corpus.from_sentences(sentences, min_count=1)))
    as_in_gensim = make_model()
    as_in_gensim.build_vocab(corpus_iterable=sentences)
    as_in_gensim.train(sentences, total_examples=as_in_gensim.corpus_count, epochs=5)
    assert_same(at_once, as_in_gensim)


@pytest.mark.parametrize("settings", [{"sg": 1}, {"hs": 1, "negative": 0}])
def test_words_take_little_memory_besides_vectors_and_text(tmp_path, settings):
    """A string, its places in a list and a dict, and its way through a tree would take 250."""
    words = 5_000
    path = tmp_path / "text.txt"
    path.write_text(" ".join(f"{i % words}word" for i in range(20 * words)), "ascii")
    options = {"vector_size": 16, "epochs": 1, "workers": 1, "progress": False, **settings}
    make_model([["a", "b"]], **options)  # what is imported and kept on the way
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        model = make_model(**options)
        model.build_vocab(corpus_file=path)
        model.train()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    kept = 2 * 4 * 16 * words + 4 * 20 * words
    assert kept < grown < kept + 80 * words
    assert model.wv.index_to_key[0] == f"{words - 1}word" and len(model.wv) == words


def test_seeds_and_further_epochs_make_a_difference():
    sentences = make_sentences(60)
    model = make_model(sentences)
    assert not np.array_equal(model.wv.vectors, make_model(sentences, seed=4).wv.vectors)
    before = model.wv.vectors.copy()
    model.train(sentences, epochs=1)
    assert model.epochs_trained == 6 and not np.array_equal(before, model.wv.vectors)


def test_constructor_has_the_arguments_of_gensim():
    gensim = pytest.importorskip("gensim.models")
    ours = inspect.signature(fs.Word2Vec).parameters
    elsewhere = {"batch_words", "comment", "null_word", "hashfxn", "sorted_vocab"}
    theirs = inspect.signature(gensim.Word2Vec).parameters
    assert set(theirs) - elsewhere <= set(ours)
    for name in set(theirs) - elsewhere - {"workers"}:
        assert ours[name].default == theirs[name].default, name


def test_callbacks_are_called_in_order():
    calls = []

    class Noted:
        def __getattr__(self, name):
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda model: calls.append((name, model.epochs_trained))

    make_model(make_sentences(10), epochs=2, callbacks=[Noted()])
    assert calls == [
        ("on_train_begin", 0), ("on_epoch_begin", 0), ("on_epoch_end", 1),
        ("on_epoch_begin", 1), ("on_epoch_end", 2), ("on_train_end", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("sg", [0, 1])
@pytest.mark.parametrize("hs", [0, 1])
def test_deterministic_vectors_do_not_depend_on_workers(sg, hs):
    sentences = make_sentences(4000)  # four chunks
    models = [
        make_model(
            sentences,
            sg=sg,
            hs=hs,
            negative=0 if hs else 5,
            epochs=2,
            workers=n,
            deterministic=True,
        )
        for n in (1, 2, 3)
    ]
    for model in models[1:]:
        assert_same(models[0], model)


def test_update_adds_words_and_keeps_vectors():
    model = make_model(make_sentences(50), hs=1)
    keys, before = model.wv.index_to_key[:], model.wv.vectors.copy()
    output, counts = model.syn1neg.copy(), model.wv.expandos["count"].copy()
    new = [["dog", "wolf", "fox"], ["fox", "wolf", "dog", "dog"]]
    model.build_vocab(new, update=True)
    assert model.wv.index_to_key[: len(keys)] == keys
    assert set(model.wv.index_to_key[len(keys) :]) == {"wolf", "fox"}
    assert np.array_equal(model.wv.vectors[: len(keys)], before)
    assert np.array_equal(model.syn1neg[: len(keys)], output)
    assert model.syn1.shape == (len(keys) + 1, 12)
    more = model.wv.expandos["count"][: len(keys)] - counts
    assert more[keys.index("dog")] == 3 and more.sum() == 3
    model.train()
    assert not np.array_equal(model.wv["wolf"], model.wv["fox"])


def test_update_keeps_attributes():
    model = make_model([["a", "b"]] * 3)
    model.wv.set_vecattr("b", "rank", 7)
    model.build_vocab([["b", "c"]], update=True)
    assert [model.wv.get_vecattr(word, "rank") for word in ("a", "b", "c")] == [0, 7, 0]
    assert [model.wv.get_vecattr(word, "count") for word in ("a", "b", "c")] == [3, 4, 1]


def test_tables_are_those_of_the_words_and_settings():
    """They are kept from call to call, but not when something else is wanted."""
    first, again = make_sentences(50), [["wolf", "fox", "dog", "dog"]] * 9
    models = []
    for calls in (1, 2):
        model = make_model(first, hs=1, epochs=1)
        model.build_vocab(again, update=True)
        model.sample = 1e-2
        if calls == 1:
            model._tables = None
        model.train(epochs=1)
        models.append(model)
    assert_same(*models)


def test_vectors_given_to_wv_are_trained_on():
    sentences = make_sentences(20)
    model = make_model(sentences)
    model.wv.vectors = np.zeros((10, 12), np.float32)
    model.syn1neg[:] = 0
    model.train(sentences, epochs=1)
    assert not model.wv.vectors.any()  # nothing moves from all zeros


# --- files and stopped runs -----------------------------------------------------------------


def test_saved_models_are_as_they_were_and_go_on(tmp_path):
    pytest.importorskip("safetensors")
    sentences = make_sentences(50)
    model = make_model(sentences, hs=1, compute_loss=True)
    model.save(tmp_path / "model.safetensors")
    copy = fs.Word2Vec.load(tmp_path / "model.safetensors")
    assert_same(model, copy)
    assert copy.losses == model.losses
    assert np.array_equal(copy.wv.expandos["count"], model.wv.expandos["count"])
    copy.workers = 1
    assert_same(model, fs.load(tmp_path / "model.safetensors"))
    for each in (model, copy):
        each.train(sentences, epochs=2)
    assert_same(model, copy)
    fs.save_model(fs.GRU(1, 1), tmp_path / "gru.safetensors")
    with pytest.raises(ValueError, match="gru"):
        fs.Word2Vec.load(tmp_path / "gru.safetensors")
    with pytest.raises(ValueError, match=r"holds a Word2Vec model, .* not word vectors"):
        fs.KeyedVectors.load(tmp_path / "model.safetensors")
    model.wv.save(tmp_path / "vectors.safetensors")
    with pytest.raises(ValueError, match=r"holds word vectors, .* not a Word2Vec model"):
        fs.Word2Vec.load(tmp_path / "vectors.safetensors")


def test_models_are_saved_with_the_attributes_of_their_words(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "model.safetensors"
    model = make_model([["a", "b"]] * 3)
    values = {"rank": 7, "share": 0.5, "is/name": True, "tag": "ä", "parts": ["x", [1, 2]]}
    for name, value in values.items():
        model.wv.set_vecattr("b", name, value)
    model.save(path)
    copy = fs.Word2Vec.load(path)
    assert copy.wv.expandos.keys() == model.wv.expandos.keys() == {"count", *values}
    for name, held in model.wv.expandos.items():
        assert copy.wv.expandos[name].dtype == held.dtype
        assert copy.wv.expandos[name].tolist() == held.tolist()
    model.wv.set_vecattr("a", "tag", object())
    with raises(TypeError, "attributes/tag/1 must be a string, a number"):
        model.save(path)
    assert fs.Word2Vec.load(path).wv.get_vecattr("b", "tag") == "ä"


class Stop:
    """Breaks a run off, or interrupts it, after some epochs."""

    def __init__(self, epochs, act):
        self.epochs, self.act = epochs, act

    def on_epoch_begin(self, model):
        if model.epochs_trained == self.epochs:
            self.act()


def fail():
    raise RuntimeError("broken off")


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_run_that_was_broken_off_goes_on(tmp_path, monkeypatch, deterministic):
    pytest.importorskip("safetensors")
    monkeypatch.setattr(word2vec_training, "CHUNKS_AT_ONCE", 1)
    sentences, path = make_sentences(2500), tmp_path / "state.safetensors"
    options = {"epochs": 3, "compute_loss": True, "deterministic": deterministic, "hs": 1}
    whole = make_model(sentences, **options)
    options |= {"checkpoint": path, "checkpoint_every": 0}
    with pytest.raises(RuntimeError, match="broken off"):
        make_model(sentences, callbacks=[Stop(1, fail)], **options)
    assert load_checkpoint(path)["epoch"] == 1
    resumed = make_model(sentences, **options)
    assert_same(resumed, whole)
    assert resumed.losses == whole.losses and resumed.stopped is None
    assert_same(make_model(sentences, **options), whole)  # it had ended: nothing is left to do


def test_ctrl_c_keeps_what_was_learned(tmp_path):
    pytest.importorskip("safetensors")
    sentences, path = make_sentences(100), tmp_path / "state.safetensors"
    stop = Stop(2, lambda: signal.raise_signal(signal.SIGINT))
    model = make_model(sentences, epochs=4, callbacks=[stop], checkpoint=path)
    assert model.stopped == "interrupted" and model.epochs_trained < 4
    assert model.wv.similarity("dog", "dog") > 0.99
    resumed = make_model(sentences, epochs=4, checkpoint=path)
    assert resumed.stopped is None
    assert_same(resumed, make_model(sentences, epochs=4))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)  # it has its usual meaning again


@pytest.mark.parametrize("change", [{"window": 3}, {"epochs": 6}, {"seed": 9}, {"corpus": 1}])
def test_checkpoints_of_other_runs_are_refused(tmp_path, change):
    pytest.importorskip("safetensors")
    options = {"checkpoint": tmp_path / "state.safetensors"}
    make_model(make_sentences(20), **options)
    options |= change
    sentences = make_sentences(20, seed=options.pop("corpus", 0))
    with pytest.raises(ValueError, match=r"state\.safetensors: the checkpoint of another"):
        make_model(sentences, **options)


# --- wrong arguments ------------------------------------------------------------------------

WRONG = [
    ({"vector_size": 0}, ValueError, "vector_size"),
    ({"window": 10_001}, ValueError, "window must be at most"),
    ({"alpha": 0}, ValueError, "alpha"),
    ({"min_alpha": -1}, ValueError, "min_alpha"),
    ({"sg": 2}, ValueError, "sg must be 0 or 1"),
    ({"sg": np.array([1, 0])}, ValueError, "sg must be 0 or 1"),
    ({"negative": 0}, ValueError, "hs=1 for hierarchical softmax"),
    ({"negative": -1}, ValueError, "negative"),
    ({"epochs": 0}, ValueError, "epochs"),
    ({"workers": 0}, ValueError, "workers"),
    ({"workers": 257}, ValueError, "workers"),
    ({"callbacks": print}, TypeError, "callbacks"),
    (
        {"callbacks": [print]},
        TypeError,
        r"callbacks\[0\] must have one of the methods on_train",
    ),
    ({"callbacks": [Stop]}, TypeError, r"got a class; give Stop\(\)"),
    ({"ns_exponent": math.inf}, ValueError, "ns_exponent"),
    ({"seed": -1}, ValueError, "seed"),
    ({"sentences": "a text"}, TypeError, "corpus_file="),
    ({"sentences": []}, ValueError, "sentences"),
    ({"sentences": [["a"]], "corpus_file": "text"}, ValueError, "one of sentences and corpus_file"),
    ({"sentences": [["a"]], "min_count": 2}, ValueError, "min_count"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        make_model(**arguments)


@pytest.mark.parametrize("cbow_mean", [0, 1])
def test_words_in_the_middle_of_others(cbow_mean):
    model = make_model(make_sentences(150), epochs=15, alpha=0.05, cbow_mean=cbow_mean)
    place = model.wv.key_to_index["hen"]
    x = model.wv["dog"] + model.wv["hen"]
    scores = np.exp(model.syn1neg @ (x / 2 if cbow_mean else x))
    expected = scores / scores.sum()
    found = model.predict_output_word(["dog", "unknown", place], topn=None)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    words = model.predict_output_word(("dog", "hen"), topn=5)
    assert {word for word, _ in words} == set(TOPICS[0])
    assert [p for _, p in words] == sorted(found, reverse=True)[:5]
    assert model.predict_output_word(["dog"], topn=0) == []


def test_a_rule_for_one_vocabulary():
    model = make_model(trim_rule=lambda word, count, least: 1 if word == "a" else 0)
    model.build_vocab([["a", "b", "c"]], trim_rule=lambda word, *_: 1 if word == "b" else 0)
    assert set(model.wv.index_to_key) == {"a", "c"}
    model.build_vocab([["a", "b", "c"]])
    assert set(model.wv.index_to_key) == {"b", "c"}
    with raises(TypeError, "build_vocab takes", "progress_per", "progress="):
        model.build_vocab([["a"]], progress_per=1000)
    with raises(TypeError, "train takes", "queue_factor"):
        model.train([["a"]], queue_factor=2)


def test_words_in_the_middle_are_gensims():
    theirs = pytest.importorskip("gensim.models.word2vec").Word2Vec
    sentences = make_sentences(60)
    model = theirs(sentences, vector_size=12, min_count=1, workers=1, seed=3)
    ours = make_model(sentences, epochs=1)
    places = [model.wv.key_to_index[word] for word in ours.wv.index_to_key]
    ours.wv.vectors = model.wv.vectors[places]
    ours.syn1neg = model.syn1neg[places]
    for words in (["dog", "red"], ["pig"], ["hen", "unknown", "grey"]):
        expected = model.predict_output_word(words, topn=4)
        found = ours.predict_output_word(words, topn=4)
        assert [word for word, _ in found] == [word for word, _ in expected]
        np.testing.assert_allclose(*([p for _, p in each] for each in (found, expected)), rtol=1e-4)


def test_what_words_in_the_middle_need():
    model = make_model(make_sentences(10), epochs=1)
    with raises(TypeError, "context_words_list must be a list of words", "'dog'"):
        model.predict_output_word("dog")
    with raises(ValueError, "context_words_list must hold at least one word"):
        model.predict_output_word([])
    with raises(KeyError, "no vector for any word of context_words_list, such as 'unknown'"):
        model.predict_output_word(["unknown"])
    with raises(TypeError, "context_words_list[1] must be a string or a place, got None"):
        model.predict_output_word(["dog", None])
    with raises(ValueError, "topn"):
        model.predict_output_word(["dog"], topn=-1)
    with raises(ValueError, "negative sampling", "negative=5"):
        make_model(make_sentences(10), hs=1, negative=0).predict_output_word(["dog"])


def test_queries_are_those_of_the_vectors():
    model = make_model(make_sentences(10), epochs=1)
    with raises(AttributeError, "no attribute 'most_similar'", "model.wv"):
        model.most_similar("dog")
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        _ = model.nothing


@pytest.mark.parametrize(
    ("settings", "name", "value", "words"),
    [
        ({}, "negative", 0, ["negative=0 with hs=0"]),
        ({}, "negative", -3, ["negative"]),
        ({"hs": 1}, "negative", 0, ["negative must fit syn1neg", "negative=0 with it"]),
        ({}, "hs", 1, ["hs must fit syn1", "hs=1 without it"]),
        ({}, "window", -5, ["window"]),
        ({}, "window", 10**9, ["window must be at most 10,000"]),
        ({}, "epochs", -1, ["epochs"]),
        ({}, "alpha", math.nan, ["alpha"]),
        ({}, "workers", -2, ["workers"]),
        ({}, "vector_size", 9, ["vector_size must stay 12", "got 9"]),
        ({}, "syn1neg", None, ["negative=5 without it"]),
        ({}, "syn1neg", np.zeros((2, 2)), ["syn1neg", "(10, 12)", "(2, 2)"]),
        ({"hs": 1}, "syn1", np.zeros((10, 12), np.float32), ["syn1", "(9, 12)", "(10, 12)"]),
        ({"hs": 1}, "syn1", [1.0], ["syn1 must be an array of floats"]),
    ],
)
def test_what_is_assigned_is_checked_before_it_is_used(settings, name, value, words):
    sentences = make_sentences(20)
    model = make_model(sentences, **settings)
    before = model.wv.vectors.copy()
    setattr(model, name, value)
    with raises((TypeError, ValueError), *words):
        model.train(sentences)
    assert (model.wv.vectors == before).all() and model.epochs_trained == 5


def test_a_corpus_stays_as_it_was_read():
    corpus = fs.Corpus.from_sentences(make_sentences(5), min_count=1)
    for name in ("ids", "offsets", "counts", "raw_words"):
        with raises(AttributeError, f"{name} can't be changed: make a new Corpus"):
            setattr(corpus, name, getattr(corpus, name))
    for array in (corpus.ids, corpus.offsets):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 10**6
    with raises(ValueError, "index_to_key must have 10 words, as it had, got 1"):
        corpus.index_to_key = ["a"]


def test_vectors_that_a_callback_changes_are_trained_on():
    class Shortened:
        def on_epoch_end(self, model):
            model.wv.unit_normalize_all()
            assert model.wv.norms == pytest.approx(1)

    model = make_model(make_sentences(20), callbacks=[Shortened()])
    assert model.wv.norms == pytest.approx(1)
    assert np.array_equal(model.wv.vectors, model._syn0)


@pytest.mark.parametrize("settings", [{"sg": 1}, {"hs": 1, "negative": 0}])
@pytest.mark.parametrize("update", [False, True])
def test_callbacks_leave_the_vocabulary(settings, update):
    class Builder:
        def build(self, model):
            model.build_vocab([["x", "y"]], update=update)

    for name in ("on_train_begin", "on_epoch_begin", "on_epoch_end"):
        callback = Builder()
        setattr(callback, name, callback.build)
        with raises(ValueError, "callbacks must leave the vocabulary", "before train or after"):
            make_model([["a", "b", "c", "d"]] * 9, callbacks=[callback], **settings)
    callback = Builder()
    callback.on_train_end = callback.build
    model = make_model([["a", "b"]] * 9, callbacks=[callback], **settings)
    assert {"x", "y"} <= set(model.wv.index_to_key)


def test_callbacks_leave_the_objectives():
    class Changer:
        def on_epoch_begin(self, model):
            model.hs, model.syn1 = 1, np.zeros((9, 12), np.float32)

    with raises(ValueError, "callbacks must leave the vocabulary, negative and hs"):
        make_model(make_sentences(20), callbacks=[Changer()])


def test_keys_without_vectors_are_noticed():
    others = [[f"x{i}" for i in range(1000)]]
    model = make_model([["a", "b"]])
    model.wv.index_to_key.extend(others[0])
    with raises(ValueError, "index_to_key must have a key for each of the 2 vectors", "1,002"):
        model.train(others)
    model.wv.index_to_key = fs.Corpus.from_sentences(others, min_count=1).index_to_key
    with raises(ValueError, "index_to_key must have a key for each of the 2 vectors", "1,000"):
        model.train(others)


def test_rates_of_one_call_are_checked():
    model = make_model([["a", "b"]] * 3)
    before = model.wv.vectors.copy()
    for name, value in (("start_alpha", math.inf), ("start_alpha", 0), ("end_alpha", math.inf)):
        with raises(ValueError, name, str(value)):
            model.train([["a", "b"]], **{name: value})
    assert np.array_equal(model.wv.vectors, before)


def test_what_is_missing_is_said():
    model = make_model()
    for call in (
        model.train,
        lambda: model.save("x"),
        lambda: model.build_vocab([["a"]], update=1),
    ):
        with pytest.raises((ValueError, TypeError)):
            call()
    model = make_model([["a", "b"]])
    with pytest.raises(ValueError, match="give sentences or corpus_file"):
        model.train()
    model = make_model([["a", "b"]] * 3, min_count=3)
    with pytest.raises(ValueError, match="often enough to join them, got none with min_count=3"):
        model.build_vocab([["c"], ["c"]], update=True)


def test_vectors_that_were_added_are_taken_out_as_the_message_says(tmp_path):
    texts, more = [["a", "b", "c"], ["a", "c", "d"]] * 5, [["q", "a"]] * 5
    model = make_model(texts)
    untouched = copy.deepcopy(model)
    model.wv.add_vector("q", np.ones(12))
    for call in (
        lambda: model.train(texts),
        lambda: model.train(fs.Corpus.from_sentences(texts, min_count=1)),
        lambda: model.build_vocab(more, update=True),
        lambda: model.save(tmp_path / "model.safetensors"),
    ):
        with pytest.raises(ValueError, match="wv has 5 words now, but the model has 4") as error:
            call()
        assert "model.wv = model.wv.vectors_for_all(model.wv.index_to_key[:4])" in str(error.value)
    model.wv = model.wv.vectors_for_all(model.wv.index_to_key[:4])
    model.save(tmp_path / "model.safetensors")
    for one in (model, untouched):
        one.build_vocab(more, update=True)
        one.train()
    assert model.wv.expandos["count"].tolist() == untouched.wv.expandos["count"].tolist()
    assert_same(model, untouched)


@pytest.mark.parametrize("others", [fs.KeyedVectors(12), fs.KeyedVectors(5)])
def test_vectors_of_other_words_are_refused(others):
    model = make_model([["a", "b"]])
    model.wv = others
    with pytest.raises(ValueError, match=r"of shape \(2, 12\), got \(0, \d+\): give it back"):
        model.train([["a", "b"]])


def test_a_corpus_of_one_word_or_one_sentence_trains():
    for sentences in ([["a"]], [["a", "a"]], [["a"], ["b"]]):
        for hs in (0, 1):
            model = make_model(sentences, hs=hs, negative=5 * (1 - hs))
            assert np.isfinite(model.wv.vectors).all()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("settings", [{"sg": 1}, {"hs": 1, "negative": 0}])
def test_copies_go_on_like_the_original(copied, settings):
    texts = [[f"w{(i * j) % 30}" for j in range(40)] for i in range(60)]
    model = fs.Word2Vec(vector_size=20, min_count=1, epochs=1, workers=1, seed=3, **settings)
    model.build_vocab(texts)
    model.train()
    other = copied(model)
    for one in (model, other):
        one.train()
    assert np.array_equal(other.wv.vectors, model.wv.vectors)
    assert not np.may_share_memory(other.wv.vectors, model.wv.vectors)


def test_a_checkpoint_that_has_no_place_is_refused_before_any_work():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fs.Word2Vec([["a", "b"]] * 9, min_count=1, checkpoint="/nowhere/at/all")


def test_calls_of_train_share_a_checkpoint(tmp_path):
    """Each call is a run of its own; in a new process those that have ended pass at once."""
    path, texts = tmp_path / "state.safetensors", make_sentences()

    def train(calls, **options):
        model = fs.Word2Vec(vector_size=8, min_count=1, workers=1, seed=3, **options)
        model.build_vocab(texts)
        for _ in range(calls):
            model.train(epochs=2)
        return model

    plain = train(2)
    assert plain.epochs_trained == 4
    for calls in (1, 2):  # the second time the first call finds its own end
        model = train(calls, checkpoint=path)
        assert model.epochs_trained == 2 * calls
    assert np.array_equal(model.wv.vectors, plain.wv.vectors)
    again = train(2, checkpoint=path)
    assert np.array_equal(again.wv.vectors, plain.wv.vectors) and again.epochs_trained == 4


def test_a_call_before_that_of_the_checkpoint_leaves_trained_vectors(tmp_path):
    """Those of the call to come, since its own are gone."""
    path, texts = tmp_path / "state.safetensors", make_sentences()
    options = {"hs": 1, "checkpoint": path, "compute_loss": True}
    whole = make_model(texts, **options)
    whole.build_vocab([["dog", "fox"]] * 9, update=True)
    whole.train(epochs=2)
    first = make_model(texts, **options)
    assert first.epochs_trained == 5 and first.losses == whole.losses[:5]
    assert np.array_equal(first.wv.vectors, whole.wv.vectors[:10])
    assert np.array_equal(first.syn1neg, whole.syn1neg[:10])
    first.build_vocab([["dog", "fox"]] * 9, update=True)
    first.train(epochs=2)
    assert_same(first, whole)
    assert first.losses == whole.losses


@pytest.mark.parametrize("change", [{"sg": 1}, {"epochs": 4}, {"window": 3}, "words", "text"])
def test_a_call_before_that_of_the_checkpoint_must_be_of_its_training(tmp_path, change):
    path, texts, options = tmp_path / "state.safetensors", make_sentences(), {}
    make_model(texts, checkpoint=path).train(texts, epochs=2)
    if change == "words":
        texts = [[word + "s" for word in text] for text in texts]
    elif change == "text":
        texts = [text[::-1] for text in texts]
    else:
        options = change
    with raises(ValueError, "another training, it differs in"):
        make_model(texts, checkpoint=path, **options)


def test_a_checkpoint_that_cannot_be_written_loses_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(word2vec_states, "save_checkpoint", fail)
    with pytest.warns(RuntimeWarning, match="no checkpoint was written: .*No space left"):
        model = fs.Word2Vec(
            make_sentences(), vector_size=8, min_count=1, epochs=2, checkpoint=tmp_path / "state"
        )
    assert model.epochs_trained == 2


def test_vectors_that_grow_without_bounds_are_noticed():
    with pytest.raises(FloatingPointError, match="lower alpha than 1e\\+30"):
        fs.Word2Vec(make_sentences(), vector_size=8, min_count=1, alpha=1e30)


@pytest.mark.parametrize("name", ["wv.vectors", "syn1neg", "syn1"])
@pytest.mark.parametrize("number", [math.nan, -math.inf])
def test_vectors_that_are_no_finite_numbers_before_training(name, number):
    sentences = make_sentences(20)
    model = make_model(sentences, hs=1)
    matrix = model.wv.vectors.copy() if name == "wv.vectors" else getattr(model, name)
    matrix[3:5, 2] = number
    if name == "wv.vectors":
        model.wv.vectors = matrix
    with raises(ValueError, f"{name} must hold finite numbers", "2 rows, first in row 3"):
        model.train(sentences)
    assert model.epochs_trained == 5
    matrix[3:5, 2] = 0
    model.train(sentences)
    assert model.epochs_trained == 10


def test_corpora_that_cannot_be_trained_on():
    empty = fs.Corpus([], [0], ["a"], [1])
    with raises(ValueError, "the corpus must have sentences", "got none"):
        make_model(empty)
    model = make_model([["a"]])
    with raises(ValueError, "the corpus must have sentences", "got none"):
        model.train(empty)
    unseen = fs.Corpus.from_sentences([["a"]], keys=["b", "a"])
    with raises(ValueError, "each of its words, got 'b'", "without keys="):
        make_model(unseen)
    assert model.epochs_trained == 5
