"""LanguageModel: what it reads, learns, says and writes."""

import copy
import functools
import re
import signal

import numpy as np
import pytest
from helpers import assert_identical, raises

import fastseq as fs
from fastseq.models import text_stream
from fastseq.training import trainer

SMALL = {
    "embedding_dim": 6,
    "hidden_size": 16,
    "steps": 8,
    "batch_size": 3,
    "epochs": 3,
    "lr": 0.02,
    "random_state": 0,
}
TEXT = "to be or not to be\nthat is the question\n" * 8
LINES = TEXT.splitlines()
WORDS = [line.split() for line in LINES]


def make_model(**settings):
    return fs.LanguageModel(**(SMALL | settings))


@pytest.fixture(name="characters", scope="module")
def characters_fixture():
    return make_model().fit(TEXT)


@pytest.fixture(name="words", scope="module")
def words_fixture():
    return make_model(unit="word", cell="gru").fit(TEXT)


# --- texts as streams ---------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["character", "word"])
def test_a_text_is_its_lines(unit):
    models = [make_model(unit=unit).fit(X) for X in (TEXT, LINES, tuple(LINES))]
    for model in models[1:]:
        assert model.vocabulary_ == models[0].vocabulary_
        assert_identical(model.network_.parameters.flat, models[0].network_.parameters.flat)
    score = models[0].score(TEXT)
    assert models[1].score(LINES) == score
    assert models[0].score(TEXT[:-1]) != score  # without the last line's end


def test_words_may_be_split_before():
    model = make_model(unit="word").fit(WORDS)
    assert model.vocabulary_.tokens[:2] == ("<unk>", "<eos>")
    assert model.score(WORDS) == model.score(TEXT) == make_model(unit="word").fit(TEXT).score(TEXT)
    assert make_model().fit([list(line) for line in LINES]).score(TEXT) == make_model().fit(
        TEXT
    ).score(TEXT)


def test_vocabularies_are_of_what_comes_often_enough():
    text = "a a a b b c\n" * 5
    tokens = make_model(unit="word", min_count=6).fit(text).vocabulary_.tokens
    assert tokens == ("<unk>", "<eos>", "a", "b")
    tokens = make_model(unit="word", vocabulary_size=3).fit(text).vocabulary_.tokens
    assert tokens == ("<unk>", "<eos>", "a")
    model = make_model().fit("aab\n" * 10)
    assert model.vocabulary_.tokens == ("<unk>", "\n", "a", "b")
    assert model.vocabulary_.counts.tolist() == [0, 10, 20, 10]
    assert model.log_prob("x").shape == (1,)  # an unknown one


@pytest.mark.parametrize("text", ["to be", "to be\n", "\n", "", "\n\nto\n\nbe or", "is"], ids=repr)
def test_words_become_text_again(words, text):
    vocabulary = words.vocabulary_
    ids = text_stream.encode("X", text, vocabulary)
    assert text_stream.decode(ids, vocabulary) == text
    assert np.count_nonzero(ids == vocabulary.end_id) == text.count("\n")


def test_pieces():
    pytest.importorskip("sentencepiece")
    model = make_model(unit="piece", vocabulary_size=18).fit(TEXT)
    assert len(model.vocabulary_) == model.n_tokens_ == 18
    ids = text_stream.encode("X", TEXT, model.vocabulary_)
    assert text_stream.decode(ids, model.vocabulary_) == TEXT
    assert model.sample(5, prompt="that is", echo=True, seed=0).startswith("that is")
    assert model.perplexity(TEXT) < 18


def test_the_path_of_a_text_is_no_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_text(TEXT)
    for path in ("corpus.txt", tmp_path / "corpus.txt"):
        with raises(ValueError, "X must be a text, got the path of a file", "fastseq.read_text"):
            make_model().fit(path)
        with raises(ValueError, "validation must be a text, got the path of a file"):
            make_model().fit(TEXT, validation=path)
    lines = fs.read_text("corpus.txt", unit="character")
    assert make_model().fit(lines).n_tokens_ == make_model().fit(TEXT).n_tokens_
    make_model(batch_size=2, steps=2).fit(["corpus.txt"])  # as a text of one line
    make_model(batch_size=2, steps=2).fit("corpus.tx")


def test_ids():
    ids = np.arange(200) % 5
    model = make_model(unit="id", epochs=20).fit(ids)
    assert model.vocabulary_ is None and model.n_tokens_ == 5
    assert model.perplexity(ids) < 1.2
    assert model.log_prob(ids).shape == (199,)
    assert model.predict([[3], [0, 1, 2]]).tolist() == [4, 3]
    sample = model.sample(4, prompt=[1, 2], temperature=0, echo=True)
    assert sample.dtype == np.int64 and sample.tolist() == [1, 2, 3, 4, 0, 1]
    in_parts = make_model(unit="id", epochs=20).fit([ids[:70], ids[70:].tolist()])
    assert_identical(in_parts.network_.parameters.flat, model.network_.parameters.flat)
    assert make_model(unit="id", vocabulary_size=9).fit(ids).n_tokens_ == 9
    with raises(ValueError, "X must lie between 0 and 4", "got 5 at X[1]"):
        model.score([0, 5])
    with raises(ValueError, "prompt must hold at least one id"):
        model.sample(3, prompt=[])
    with raises(ValueError, "prompt must be given, since ids come after others", "prompt=[i]"):
        model.sample(3)


# --- learning -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cell": "gru", "num_layers": 2, "dropout": 0.1},
        {"tie_weights": True, "embedding_dim": 16},
        {"softmax": "adaptive", "cutoffs": (6,), "optimizer": "adamw", "schedule": "cosine"},
        {"softmax": "sampled", "num_sampled": 8, "average": 0.9},
    ],
    ids=str,
)
def test_a_text_is_learned(settings):
    model = make_model(epochs=40, **settings).fit(TEXT)
    assert model.perplexity(TEXT) < 1.7  # the end of a line says not which one comes
    assert model.history_.epoch_loss[0] > 2


def test_training_is_that_of_the_network():
    """The loop, batches and seeds by hand."""
    model = make_model(epochs=2, max_norm=0.5).fit(TEXT)
    twin = model.make_network(0)
    adam = fs.Adam(twin.parameters, 0.02)
    ids = np.concatenate([[model.vocabulary_.end_id], model.vocabulary_.encode(TEXT)])
    losses = []
    for _ in range(2):
        for batch in fs.BPTTWindows(ids, 3, 8):
            adam.zero_grad()
            losses.append(twin.loss_and_grad(batch))
            adam.step(max_norm=0.5)
    assert model.history_.loss == losses
    assert_identical(twin.parameters.flat, model.network_.parameters.flat)


def test_validation_is_of_the_state_alone(characters):
    held_out = "to be that is\nthe question"
    model = make_model().fit(TEXT, validation=held_out)
    assert model.history_.loss == characters.history_.loss  # training is not disturbed
    best = int(np.argmin(model.history_.validation))
    assert model.history_.best_epoch in (best, best + 1)
    one_row = make_model(batch_size=1).fit(TEXT, validation=held_out)
    value = min(one_row.history_.validation)
    assert -one_row.score(held_out) == pytest.approx(value, rel=1e-5)


def test_a_fraction_holds_out_the_end():
    model = make_model().fit(TEXT, validation=0.1)
    cut = next(i for i in range(round(len(TEXT) * 0.9), len(TEXT)) if TEXT[i].isspace()) + 1
    twin = make_model().fit(TEXT[:cut], validation=TEXT[cut:])
    assert model.history_.validation == twin.history_.validation
    by_lines = make_model().fit(LINES, validation=0.25)
    twin = make_model().fit(LINES[:12], validation=LINES[12:])
    assert by_lines.history_.validation == twin.history_.validation


def test_an_interrupt_may_leave_the_model_as_it_was():
    model = make_model().fit(TEXT)
    score = model.score(TEXT)

    def interrupt(trainer):
        signal.raise_signal(signal.SIGINT)

    assert make_model().fit(TEXT, callbacks=[interrupt]).history_.stopped == "interrupted"
    with pytest.raises(KeyboardInterrupt):
        model.fit(TEXT, callbacks=[interrupt], keep_interrupted=False)
    assert model.score(TEXT) == score and model.history_.stopped == "epochs"


def test_warm_start_goes_on():
    model = make_model(warm_start=True).fit(TEXT)
    first, vocabulary = model.score(TEXT), model.vocabulary_
    model.fit(TEXT + "xyz")
    assert model.vocabulary_ is vocabulary and model.score(TEXT) > first


def test_settings_that_the_network_goes_with():
    model = make_model().fit(TEXT).set_params(steps=5, batch_size=2, warm_start=True)
    score = model.score(TEXT)
    assert model.fit(TEXT).score(TEXT) > score
    model.set_params(dropout=0.5)
    for use in (model.score, model.fit, model.log_prob):
        with raises(ValueError, "dropout is 0.5, but this LanguageModel was fitted with 0.0"):
            use(TEXT)


def test_a_run_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    settings = {"dropout": 0.2, "num_layers": 2}
    expected = make_model(**settings).fit(TEXT, validation=0.1)
    path, updates = tmp_path / "run.safetensors", len(expected.history_.loss)

    def die(trainer):
        if trainer.update == updates // 2:  # amidst an epoch
            raise MemoryError

    callback = type("Killer", (), {"on_update": staticmethod(die)})()
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "fit", functools.partial(trainer.fit, checkpoint_every=0))
        killed = make_model(**settings)
        with pytest.raises(MemoryError):
            killed.fit(TEXT, validation=0.1, checkpoint=path, callbacks=[callback])
        assert vars(killed) == vars(make_model(**settings))
    resumed = make_model(**settings).fit(TEXT, validation=0.1, checkpoint=path)
    assert resumed.history_.loss == expected.history_.loss
    assert resumed.history_.validation == expected.history_.validation
    assert_identical(resumed.network_.parameters.flat, expected.network_.parameters.flat)
    with raises(ValueError, "vocabulary"):  # its ids are the same
        make_model(**settings).fit(TEXT.swapcase(), validation=0.1, checkpoint=path)
    with raises(ValueError, "dropout = 0.2, but here it is 0.1"):
        make_model(dropout=0.1, num_layers=2).fit(TEXT, validation=0.1, checkpoint=path)


# --- saying how probable ------------------------------------------------------------------------


def test_score_is_the_mean_log_probability(characters):
    text = "not the question\nis"
    log_prob = characters.log_prob(text)
    assert log_prob.shape == (19,) and log_prob.dtype == np.float64
    for n in (1, 7, 19):
        proba = characters.predict_proba([text[: n - 1]])[0]
        token = characters.vocabulary_.encode(text[n - 1])[0]
        assert log_prob[n - 1] == pytest.approx(np.log(proba[token]), rel=1e-4)
    assert characters.score(text) == log_prob.mean()
    assert characters.perplexity(text) == pytest.approx(np.exp(-log_prob.mean()), rel=1e-12)
    sure_of_others = copy.deepcopy(characters)
    sure_of_others.network_.parameters.flat *= 1e5
    assert sure_of_others.perplexity(text) == np.inf


def test_long_texts_are_read_in_pieces_with_one_state(characters, monkeypatch):
    expected = characters.log_prob(TEXT)
    monkeypatch.setattr("fastseq.models.language_model.MOST_STEPS", 7)
    np.testing.assert_allclose(characters.log_prob(TEXT), expected, rtol=1e-4, atol=1e-6)


def test_predictions_are_of_each_text_alone(words):
    texts = ["to be", "", "that is the", ["to be or not", ["that"]], "\n"]
    together = words.predict_proba(texts)
    assert together.shape == (5, words.n_tokens_)
    np.testing.assert_allclose(together.sum(axis=1), 1, rtol=1e-5)
    for text, proba in zip(texts, together, strict=True):
        np.testing.assert_allclose(words.predict_proba([text])[0], proba, rtol=1e-5)
    predicted = words.predict(texts).tolist()
    assert predicted == [words.vocabulary_.tokens[i] for i in np.argmax(together, axis=1)]


# --- writing ------------------------------------------------------------------------------------


def test_a_learned_text_is_written():
    model = make_model(epochs=40).fit(TEXT)
    assert model.sample(11, prompt="that is t", temperature=0.1, seed=0) == "he question"
    assert model.sample(2, prompt="that is t", temperature=0, echo=True) == "that is the"


def test_samples_come_as_often_as_predicted(characters):
    p = characters.predict_proba(["to b"])[0]
    p[characters.vocabulary_.unknown_id] = 0
    rng = np.random.default_rng(0)
    drawn = [characters.sample(1, prompt="to b", seed=rng) for _ in range(1500)]
    ids = characters.vocabulary_.encode("".join(drawn))
    got = np.bincount(ids, minlength=len(p)) / len(drawn)
    assert abs(got - p / p.sum()).max() < 4 * np.sqrt(0.25 / len(drawn))


def test_samples_repeat_with_their_seed(characters):
    first, second, other = (characters.sample(40, seed=seed) for seed in (1, 1, 2))
    assert first == second != other
    assert characters.sample(20, seed=1) == first[:20]
    assert len(first) == 40


def test_options_of_sampling_reach_the_sampler(characters):
    greedy = characters.sample(30, prompt="to", temperature=0)
    assert greedy == characters.sample(30, prompt="to", top_k=1)
    assert greedy == characters.sample(30, prompt="to", top_p=1e-9)
    text = "to"
    for _ in range(30):
        text += characters.predict([text])[0]
    assert text == characters.sample(30, prompt="to", temperature=0, echo=True)


def test_the_unknown_token_is_drawn_only_if_wanted():
    model = make_model(unit="word", min_count=9).fit(TEXT)  # most words are unknown
    assert "<unk>" in model.sample(50, unknown=True, seed=0)
    assert "<unk>" not in model.sample(50, seed=0)


def test_words_are_written_in_lines(words):
    words_and_ends = words.sample(60, seed=0)
    assert re.fullmatch(r"[a-z]*( [a-z]+)*(\n([a-z]+( [a-z]+)*)?)+", words_and_ends)
    echoed = words.sample(60, prompt="to be", seed=0, echo=True)
    assert echoed.startswith("to be ") or echoed.startswith("to be\n")


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["character", "word", "id"])
def test_files(unit, tmp_path):
    text = [3, 1, 4, 1, 5] * 20 if unit == "id" else TEXT
    model = make_model(unit=unit, cutoffs=(2,), softmax="adaptive", hidden_size=16).fit(text)
    model.save(tmp_path / "model.safetensors")
    for load in (fs.load, fs.LanguageModel.load):
        loaded = load(tmp_path / "model.safetensors")
        assert loaded.get_params() == model.get_params()
        assert loaded.vocabulary_ == model.vocabulary_
        assert_identical(loaded.log_prob(text), model.log_prob(text))
    with raises(ValueError, "holds a LanguageModel, not a SequenceTagger"):
        fs.SequenceTagger.load(tmp_path / "model.safetensors")


def test_pieces_in_files(tmp_path):
    pytest.importorskip("sentencepiece")
    model = make_model(unit="piece", vocabulary_size=18).fit(TEXT)
    model.save(tmp_path / "model.safetensors")
    assert fs.load(tmp_path / "model.safetensors").score(TEXT) == model.score(TEXT)


def test_scikit_learn_takes_texts_line_by_line():
    selection = pytest.importorskip("sklearn.model_selection")
    base = pytest.importorskip("sklearn.base")
    model = make_model(unit="word", epochs=1)
    assert base.clone(model).get_params() == model.get_params()
    scores = selection.cross_val_score(model, LINES, cv=2)
    assert scores.shape == (2,) and np.isfinite(scores).all()
    search = selection.GridSearchCV(model, {"hidden_size": [4, 8]}, cv=2).fit(LINES)
    assert search.best_params_["hidden_size"] in (4, 8)


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "parts"),
    [
        ({"unit": "letter"}, ValueError, ["unit", "'character'", "'letter'"]),
        ({"cell": "x"}, ValueError, ["cell", "'x'"]),
        ({"softmax": "x"}, ValueError, ["softmax", "'x'"]),
        ({"steps": 0}, ValueError, ["steps", "0"]),
        ({"embedding_dim": 2.5}, TypeError, ["embedding_dim", "2.5"]),
        ({"vocabulary_size": 0}, ValueError, ["vocabulary_size"]),
        ({"dropout": 1.0}, ValueError, ["dropout", "below 1"]),
        ({"tie_weights": True}, ValueError, ["tie_weights", "embedding_dim = hidden_size", "6"]),
        ({"patience": 2}, ValueError, ["patience", "fit(text, validation=0.1)"]),
        ({"schedule": "plateau"}, ValueError, ["plateau", "validation"]),
        ({"batch_size": 5000}, ValueError, ["batch_size", "5000", "smaller batch_size", "longer"]),
        ({"vocabulary_size": 2}, ValueError, ["vocabulary_size must be at least 3", "got 2"]),
        ({"min_count": 5000}, ValueError, ["X must hold a token", "beside '<unk>', '\\n'"]),
        (
            {"softmax": "adaptive", "cutoffs": (2, 4, 6)},
            ValueError,
            ["hidden_size must be at least 64", "with 3 cutoffs, got 16", "fewer cutoffs"],
        ),
    ],
)
def test_errors_of_settings(settings, error, parts):
    model = make_model(**settings)
    with raises(error, *parts):
        model.fit(TEXT)
    assert not hasattr(model, "network_")


def test_what_can_not_be_tied_is_known_before_data_are_read():
    for settings in ({"hidden_size": 9}, {"hidden_size": 6, "softmax": "adaptive"}):
        with raises(ValueError, "tie_weights=True needs"):
            make_model(tie_weights=True, embedding_dim=6, **settings).fit(3)


@pytest.mark.parametrize(
    ("unit", "X", "error", "parts"),
    [
        ("word", 5, TypeError, ["X must be a text", "int"]),
        ("word", b"to be", TypeError, ["X must be a text", "bytes"]),
        ("word", ["to be", 5], TypeError, ["X[1] must be a line", "5"]),
        ("word", [["to", 5]], TypeError, ["X[0][1] must be a string", "5"]),
        ("character", ["to\nbe"], ValueError, ["X[0] must be one line", "splitlines"]),
        ("character", "", ValueError, ["X", "at least one token"]),
        ("id", [0.5, 1.5], TypeError, ["X must hold integers"]),
        ("id", [[1, 2], ["a"]], TypeError, ["X[1] must hold integers"]),
        ("id", np.ones((2, 3), int), ValueError, ["X must hold ids (N,)", "(2, 3)"]),
        ("id", [1, [2, 3]], ValueError, ["X must hold ids (N,)", "got shape () as X[0]"]),
        ("id", [1, 2**62], ValueError, ["X must hold ids below", str(2**62), "from 0"]),
        ("id", [-1, 2], ValueError, ["X must lie between 0", "-1"]),
        ("id", [2], ValueError, ["X must hold a token to predict"]),
    ],
)
def test_errors_of_texts(unit, X, error, parts):
    with raises(error, *parts):
        make_model(unit=unit).fit(X)


def test_an_adaptive_softmax_suits_the_hidden_size():
    ids = np.arange(100)
    settings = {"unit": "id", "softmax": "adaptive", "vocabulary_size": 60000, "epochs": 1}
    model = make_model(**settings).fit(ids)
    assert model.network_.softmax.cutoffs == [2000, 10000]
    with raises(ValueError, "softmax='adaptive' needs at least 2 different tokens, got 1"):
        make_model(unit="id", softmax="adaptive").fit(np.zeros(100, int))


def test_errors_of_pieces():
    pytest.importorskip("sentencepiece")
    message = "vocabulary_size must suit the text: SentencePiece can't train 5000 subwords: Vocab"
    with raises(ValueError, message):
        make_model(unit="piece", vocabulary_size=5000).fit(TEXT)
    assert 10 < make_model(unit="piece", epochs=1).fit(TEXT).n_tokens_ < 100  # as many as there are


def test_a_fraction_may_be_any_number():
    expected = make_model().fit(TEXT, validation=0.125).history_.validation
    assert make_model().fit(TEXT, validation=np.float32(0.125)).history_.validation == expected
    for part in (1, 0, True):
        with raises((ValueError, TypeError), "validation"):
            make_model().fit(TEXT, validation=part)
    model = make_model(batch_size=2).fit("ab" * 25 + "\n", validation=0.5)  # one space, at the end
    assert len(model.history_.loss) == 3 * 2  # 25 of 51 characters, 13 of them in each row


def test_errors_of_validation():
    for part in (0.0, 0.001, 0.999):
        with raises(ValueError, f"validation={part} of ", "neither may be 0"):
            make_model().fit(LINES, validation=part)
    with raises(ValueError, "validation must be a number from 0 to below 1"):
        make_model().fit(TEXT, validation=1.5)
    for pair in ((LINES, None), (TEXT, [0, 1]), (TEXT, TEXT)):
        with raises(TypeError, "validation must be a text like X, got a pair: leave y out"):
            make_model().fit(TEXT, validation=pair)
    twin = make_model().fit(TEXT, validation=LINES[:2]).history_.validation
    assert make_model().fit(TEXT, validation=tuple(LINES[:2])).history_.validation == twin
    with raises(ValueError, "validation must hold a token to predict"):
        make_model().fit(TEXT, validation="")


def test_errors_of_use(characters):
    for use in ("score", "log_prob", "perplexity"):
        with raises(
            fs.NotFittedError, "this LanguageModel has learned nothing yet: call fit(text)"
        ):
            getattr(make_model(), use)("to")
    with raises(fs.NotFittedError, "LanguageModel"):
        make_model().sample(3)
    with raises(ValueError, "X must hold a token to predict"):
        characters.score("")
    with raises(TypeError, "X must be a list of texts, got str; put it in a list"):
        characters.predict("to be")
    with raises(ValueError, "X must hold at least one text"):
        characters.predict([])
    with raises(ValueError, "length", "0"):
        characters.sample(0)
    with raises(ValueError, "top_p", "2"):
        characters.sample(3, top_p=2)
    with raises(TypeError, "unknown must be True or False"):
        characters.sample(3, unknown=1)


def test_predictions_of_broken_parameters_are_refused(words):
    broken = copy.deepcopy(words)
    broken.network_.parameters.flat[:] = np.nan
    for predict in (broken.predict, broken.predict_proba):
        with raises(FloatingPointError, "the model's parameters are not finite, got NaN"):
            predict(["a"])
    for judge in (broken.log_prob, broken.score, broken.perplexity):
        with raises(FloatingPointError, "the model's parameters are not finite, got NaN"):
            judge("a a")
