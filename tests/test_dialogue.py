"""Dialogue models as users have them: answers, conversations, scores, files, wrong use."""

import copy
import functools

import numpy as np
import pytest
from helpers import raises

import fastseq as fs
from fastseq.models import dialogue, writing_options
from fastseq.models.conversation import Conversation
from fastseq.training import trainer

SMALL = {
    "embedding_dim": 8,
    "hidden_size": 12,
    "context_size": 10,
    "epochs": 3,
    "batch_size": 4,
    "lr": 0.01,
    "random_state": 0,
}
NAMES = ("ann", "bob", "eve", "tom")
TALKS = [
    [f"my name is {name}", f"hello {name}", "who am i ?", f"you are {name}"] for name in NAMES
] * 4
VARIANTS = [
    {},
    {"cell": "lstm", "num_layers": 2, "bidirectional": False},
    {"attention": "general"},
    {"context": False},
]


class Killed(Exception):
    """The end of a run, at any moment."""


class Kill:
    """Amid the windows of a batch."""

    def on_update(self, trainer):
        if trainer.update == 12:
            raise Killed


def make(**settings):
    return fs.HRED(**(SMALL | settings))


def talks(count=20, seed=0):
    """Dialogues of 2 to 6 utterances of 0 to 3 words."""
    rng = np.random.default_rng(seed)

    def utter():
        return " ".join(str(word) for word in rng.choice(["ab", "ba", "cab"], rng.integers(4)))

    return [[utter() for _ in range(size)] for size in rng.integers(2, 7, count)]


@pytest.fixture(scope="module", name="model")
def model_fixture():
    """One that remembers names."""
    sizes = {"hidden_size": 32, "context_size": 32, "embedding_dim": 16}
    return make(**sizes, dropout=0.0, epochs=40).fit(TALKS)


# --- what it says -------------------------------------------------------------------------------


def test_answers_depend_on_what_was_said_before(model):
    histories = [talk[:3] for talk in TALKS[:4]]
    assert model.predict(histories) == [f"you are {name}" for name in NAMES]
    assert model.respond(histories[1]) == ["you are bob"]
    assert model.score(TALKS) == 1.0


def test_without_context_they_do_not():
    model = make(context=False, hidden_size=32, epochs=30, dropout=0.0).fit(TALKS)
    assert len(set(model.predict([talk[:3] for talk in TALKS[:4]]))) == 1
    assert model.respond(["hello bob", "my name is ann"]) == ["hello ann"]
    assert model.score(TALKS) == pytest.approx(2.25 / 3)


@pytest.mark.parametrize("settings", VARIANTS)
def test_a_conversation_is_the_whole_history(settings):
    model = make(**settings, dtype="float64").fit(talks())
    talk, history = model.conversation(), []
    for utterance in ("ab", "", "ba cab nobody knows", "cab cab cab"):
        talk.hear(utterance)
        history.append(utterance)
        assert talk.suggest(3) == model.respond(history, 3)
        options = {"sample": True, "seed": 1}
        assert talk.suggest(4, **options) == model.respond(history, 4, **options)
        expected = model.respond(history)[0]
        assert talk.respond() == expected
        history.append(expected)
        assert talk.history == history
    twin = copy.copy(talk)
    talk.hear("ab")
    assert twin.history == history and twin.suggest() == model.respond(history)
    talk.reset()
    assert talk.history == [] and talk.suggest() == model.respond([]) == model.respond([""])
    drawn = {"sample": True, "seed": 2}
    assert talk.suggest(20, **drawn) == model.respond([], 20, **drawn)
    assert talk.respond() == model.respond([])[0]
    assert talk.suggest(2) == model.respond(talk.history, 2)


def test_a_conversation_does_not_outlive_its_model():
    model = make().fit(talks())
    talk = model.conversation()
    talk.hear("ab")
    model.fit(TALKS)
    for call in (talk.respond, talk.suggest, lambda: talk.hear("ab")):
        with raises(ValueError, "the model was fitted anew", "reset()"):
            call()
    assert talk.history == ["ab"]
    talk.reset()
    talk.hear("who am i ?")
    assert talk.suggest() == model.respond(["who am i ?"])
    model.set_params(hidden_size=99)
    with raises(ValueError, "hidden_size is 99"):
        talk.respond()


@pytest.mark.parametrize("settings", VARIANTS)
def test_a_conversation_hears_nothing_with_a_broken_network(settings):
    model = make(epochs=1, **settings).fit(talks())
    talk = model.conversation()
    talk.hear("ab")
    flat, heard = model.network_.parameters.flat, talk.suggest()
    before = flat.copy()
    flat[:] = np.nan
    with raises(FloatingPointError, "the model's parameters are not finite"):
        talk.hear("who am i ?")
    flat[:] = before
    assert talk.history == ["ab"] and talk.suggest() == heard


def test_the_size_of_a_beam_is_checked_where_it_was_set_after_fit(model):
    model = copy.copy(model).set_params(beam_size=0)
    for use in (model.conversation().respond, lambda: model.predict([["ab"]])):
        with raises(ValueError, "beam_size must be at least 1, got 0"):
            use()


def test_a_conversation_does_not_go_on_with_other_parameters():
    model = make(warm_start=True).fit(talks())
    talk = model.conversation()
    talk.hear("ab")
    model.fit(talks())
    for call in (talk.respond, talk.suggest, lambda: talk.hear("ab")):
        with raises(ValueError, "the model was fitted anew", "reset()"):
            call()
    talk.reset()
    before = model.network_.parameters.flat.copy()
    with raises(TypeError, "X[0] must be a list"):
        model.fit(["ab"])
    assert np.array_equal(model.network_.parameters.flat, before)
    talk.hear("ab")
    assert talk.suggest() == model.respond(["ab"])


def test_what_a_conversation_has_heard_does_not_change():
    model = make(unit="token").fit([[talk.split() for talk in own] for own in TALKS])
    talk, said = model.conversation(), ["my", "name"]
    talk.hear(said)
    answer = talk.respond()
    expected = [["my", "name"], list(answer)]
    said.append("is"), answer.append("tom")
    history = talk.history
    assert history == expected
    history[0].append("is"), history.append(["tom"])
    twin = copy.copy(talk)
    twin.hear(said)
    assert talk.history == expected and twin.history == [*expected, said]
    assert talk.suggest(2) == model.respond(expected, 2)
    with pytest.raises(AttributeError):
        talk.history = []


@pytest.mark.parametrize("unit", ["word", "character"])
def test_an_unknown_token_that_was_written_is_heard_as_one(unit, monkeypatch):
    model = make(unit=unit).fit(TALKS)
    talk, heard = model.conversation(), []
    hear = type(model.network_).hear
    monkeypatch.setattr(
        type(model.network_),
        "hear",
        lambda self, batch, *a: heard.append(batch) or hear(self, batch, *a),
    )
    model.network_.linear.parameters["bias"][model.vocabulary_.unknown_id] = 100
    assert talk.respond(unknown="keep", max_length=3).split() == (
        ["<unk>"] * 3 if unit == "word" else ["<unk>" * 3]
    )
    assert heard[-1].utterances.shape == (4, 1)  # and the end


def test_a_conversation_reads_an_utterance_once(model, monkeypatch):
    talk, heard = model.conversation(), []
    hear = model.network_.hear
    monkeypatch.setattr(
        type(model.network_), "hear", lambda self, batch, *a: heard.append(batch) or hear(batch, *a)
    )
    for turn in range(200):
        talk.hear(f"hello {NAMES[turn % 4]}")
    assert len(heard) == 200 and all(batch.utterances.shape == (3, 1) for batch in heard)
    assert talk.suggest() == model.respond(talk.history)


@pytest.mark.parametrize("settings", VARIANTS)
def test_answers_do_not_depend_on_what_else_is_answered(settings):
    model = make(**settings, dtype="float64").fit(talks())
    histories = [*talks(12, seed=1), [], [""], ["ab"], ["nobody knows"], ["ab"] * 200]
    together = model.predict(histories)
    assert together == [model.respond(history)[0] for history in histories]
    dialogues = talks(8, seed=2)
    for own, expected in zip(dialogues, model.log_prob(dialogues), strict=True):
        assert model.log_prob([own])[0] == pytest.approx(expected, rel=1e-10)


def test_several_answers_are_the_best_ones(model):
    history = TALKS[0][:3]
    found = model.respond(history, 4)
    assert len(set(found)) == 4
    scores = [model.log_prob([[*history, answer]])[0][-1] for answer in found]
    assert scores == sorted(scores, reverse=True)
    assert model.respond(history, 2, beam_size=4) == found[:2]
    with raises(ValueError, "n_best must be at most beam_size = 2, got 3"):
        model.respond(history, 3, beam_size=2)


@pytest.mark.parametrize("options", [{}, {"sample": True, "temperature": 2.0}])
def test_several_answers_to_several_histories(model, options, monkeypatch):
    histories = [[], *(talk[:3] for talk in TALKS[:4]), ["hello"]]
    found = model.predict(histories, 3, **options, seed=1)
    assert all(len(answers) == 3 for answers in found)
    assert model.predict([], 3) == []
    for history, answers in zip(histories, found, strict=True):
        assert model.predict([history], n=4, **options, seed=1) == [
            model.respond(history, 4, **options, seed=1)
        ]
        if not options:
            assert answers == model.respond(history, 3)
    assert [[answer] for answer in model.predict(histories)] == model.predict(histories, 1)
    if not options:
        monkeypatch.setattr(dialogue, "ROWS_AT_ONCE", 7)
        assert model.predict(histories, 3) == found


def test_drawn_answers_follow_their_seed(model):
    history, options = ["who am i ?"], {"sample": True, "temperature": 2.0}
    found = model.respond(history, 20, **options, seed=0)
    assert found == model.respond(history, 20, **options, seed=0)
    assert found != model.respond(history, 20, **options, seed=1) and len(set(found)) > 3
    greedy = model.respond(history, 3, sample=True, top_k=1, seed=0)
    assert greedy == model.respond(history, beam_size=1) * 3


def test_lengths_and_unknown_words(model):
    answers = model.respond(["who am i ?"], 5, min_length=4, max_length=5)
    assert {len(answer.split()) for answer in answers} <= {4, 5}
    rare = make(min_count=13, epochs=30, dropout=0.0).fit(TALKS)
    history = ["my name is zoe", "hello zoe", "who am i ?"]
    assert "ann" not in rare.vocabulary_.tokens
    assert rare.respond(history, unknown="keep") == ["you are <unk>"]
    assert "<unk>" not in " ".join(rare.respond(history, 5))
    assert rare.score(TALKS) == pytest.approx(1 / 3)  # the question; other answers hold a name


@pytest.mark.parametrize(("unit", "join"), [("character", "".join), ("token", list)])
def test_units(unit, join):
    dialogues = [[join(text) for text in ("ab", "ba", "")]] * 4 + [[join("b"), join("ab")]] * 4
    model = make(unit=unit, epochs=30, dropout=0.0).fit(dialogues)
    assert model.predict([dialogues[0][:1], dialogues[0][:2], dialogues[-1][:1]]) == [
        join("ba"),
        join(""),
        join("ab"),
    ]
    talk = model.conversation()
    talk.hear(join("b"))
    assert talk.respond() == join("ab")


# --- how good it is -----------------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["all", "second"])
@pytest.mark.parametrize("settings", VARIANTS)
def test_scores_are_those_of_answers_one_by_one(settings, answers):
    model = make(**settings, answers=answers, max_turns=3, dtype="float64").fit(talks())
    dialogues = [*talks(6, seed=1), ["ab"]]
    step = 2 if answers == "second" else 1
    pairs = [(own[:k], own[k]) for own in dialogues for k in range(1, len(own), step)]
    right = [model.respond(history) == [answer] for history, answer in pairs]
    assert model.score(dialogues) == np.mean(right)
    log_probs = np.concatenate(model.log_prob(dialogues))
    assert len(log_probs) == len(pairs) and len(model.log_prob(dialogues)[-1]) == 0
    words = sum(len(answer.split()) + 1 for _, answer in pairs)
    perplexity = model.perplexity(dialogues)
    assert perplexity.per_word == pytest.approx(np.exp(-log_probs.sum() / words))
    assert perplexity.per_utterance == pytest.approx(-log_probs.mean())
    batches = model.make_batches(*model.read(dialogues), None)
    losses = [model.network_.loss(batch) * model.network_.count(batch) for batch in batches]
    assert sum(losses) == pytest.approx(-log_probs.sum())


# --- training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("selection", ["loss", "score"])
def test_validation_keeps_the_best_epoch(selection):
    settings = {"epochs": 40, "patience": 3, "lr": 0.1, "selection": selection}
    dialogues = talks()
    model = make(**settings, max_turns=2).fit(dialogues[5:], validation=dialogues[:5])
    history = model.history_
    assert history.stopped == "patience" and len(history.validation) == history.best_epoch + 3
    best = (min if selection == "loss" else max)(history.validation)
    if selection == "score":
        model.beam_size = 1
        assert model.score(dialogues[:5]) == best
    else:
        assert np.log(model.perplexity(dialogues[:5]).per_word) == pytest.approx(best, rel=1e-5)


def test_a_fraction_can_be_held_out():
    fitted = [make().fit(talks(), validation=0.25) for _ in range(2)]
    assert fitted[0].history_.validation == fitted[1].history_.validation
    assert len(fitted[0].history_.loss) == 3 * -(-15 // 4)


@pytest.mark.parametrize("settings", [*VARIANTS, {"average": 0.9}])
def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(settings, tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    settings = settings | {"dropout": 0.2, "word_dropout": 0.1, "max_turns": 2}
    path, dialogues = tmp_path / "run.safetensors", talks()

    whole = make(**settings).fit(dialogues, checkpoint=tmp_path / "other.safetensors")

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trainer, "fit", functools.partial(trainer.fit, checkpoint_every=0))
        make(**settings).fit(dialogues, checkpoint=path, callbacks=[Kill()])
    resumed = make(**settings).fit(dialogues, checkpoint=path)
    assert resumed.history_.loss == whole.history_.loss and len(whole.history_.loss) > 20
    assert np.array_equal(resumed.network_.parameters.flat, whole.network_.parameters.flat)
    dialogues[3][1] += " ab"
    with raises(ValueError, "go on with the same"):
        make(**settings).fit(dialogues, checkpoint=path)


class Look:
    """Measures and answers amid the windows of a batch."""

    def __init__(self, model):
        self._model, self.seen = model, 0

    def on_update(self, trainer):
        model = self._model
        model.predict([["ab"]]), model.score(talks(3, seed=5)), model.perplexity(talks(3, seed=6))
        for batch in model.make_batches(*model.read(talks(4, seed=7)), None):
            trainer.model.loss(batch)
        self.seen += 1


@pytest.mark.parametrize("kind", [fs.HRED, fs.VHRED])
@pytest.mark.parametrize("warm_start", [False, True])
def test_who_looks_at_a_model_does_not_change_its_training(kind, warm_start):
    settings = SMALL | {"max_turns": 2, "warm_start": warm_start, "dtype": "float64"}
    dialogues, results = talks(), []
    for looks in (False, True):
        model = kind(**settings)
        for _ in range(1 + warm_start):
            callbacks = [Look(model)] if looks else []
            model.fit(dialogues, callbacks=callbacks)
        results.append(model.network_.parameters.flat)
    assert callbacks[0].seen > 10 and np.array_equal(*results)


def test_truncation_ends_gradients_alone():
    whole, cut = (make(max_turns=turns, epochs=1, optimizer="sgd") for turns in (None, 2))
    dialogues = talks(4)
    whole.fit(dialogues), cut.fit(dialogues)
    assert len(whole.history_.loss) == 1 < len(cut.history_.loss)


@pytest.mark.parametrize("settings", VARIANTS)
def test_what_is_loaded_is_what_was_saved(settings, tmp_path):
    pytest.importorskip("safetensors")
    path, dialogues = tmp_path / "model.safetensors", talks()
    model = make(**settings, normalization="NFC").fit(dialogues)
    model.save(path)
    for loaded in (fs.load(path), fs.HRED.load(path)):
        assert loaded.get_params() == model.get_params()
        assert repr(loaded.network_) == repr(model.network_)
        assert loaded.history_.loss == model.history_.loss
        assert loaded.predict(dialogues) == model.predict(dialogues)
        for ours, theirs in zip(model.log_prob(dialogues), loaded.log_prob(dialogues), strict=True):
            assert np.array_equal(ours, theirs)
    again = loaded.set_params(warm_start=True).fit(dialogues)
    assert again.history_.loss[0] < model.history_.loss[0]


def test_scikit_learn_takes_it():
    selection = pytest.importorskip("sklearn.model_selection")
    base = pytest.importorskip("sklearn.base")
    dialogues = talks()
    assert base.clone(make(cell="lstm")).get_params() == make(cell="lstm").get_params()
    folds = selection.KFold(2)
    scores = selection.cross_val_score(make(), dialogues, cv=folds, error_score="raise")
    expected = []
    for learned, tested in folds.split(dialogues):
        model = make().fit([dialogues[i] for i in learned])
        expected.append(model.score([dialogues[i] for i in tested]))
    assert scores.tolist() == expected


def test_it_begins_with_word_vectors():
    words = ["hello", "who", "ann"]
    vectors = fs.KeyedVectors.from_arrays(words, np.random.default_rng(0).normal(size=(3, 8)))
    with pytest.warns(UserWarning, match="embeddings have no vector for"):
        model = make(embeddings=vectors, epochs=1, lr=1e-9).fit(TALKS)
    table = model.network_.embedding.parameters["weight"]
    for word in words:
        row = table[model.vocabulary_.encode([word])[0]]
        np.testing.assert_allclose(row, vectors[word], atol=1e-5)
    assert "bob" in model.missing_words_ and "ann" not in model.missing_words_
    assert make().fit(TALKS).missing_words_ is None


# --- wrong use ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"unit": "piece"}, ["unit", "'word'", "'piece'"]),
        ({"cell": "elman"}, ["cell", "'gru'", "'elman'"]),
        ({"context_size": 0}, ["context_size", "0"]),
        ({"attention": "bilinear"}, ["attention", "'general'", "'bilinear'"]),
        ({"attention": "general", "cell": "rnn"}, ["attention needs cell='lstm'"]),
        ({"attention": "general", "context": False}, ["context=False leaves out", "Seq2Seq"]),
        ({"attention": "dot"}, ["context_size = hidden_size", "10 and 12", "'general'"]),
        ({"tie_weights": True}, ["embedding_dim = hidden_size", "8 and 12"]),
        ({"answers": "third"}, ["answers", "'second'", "'third'"]),
        ({"answers": "second", "max_turns": 1}, ["max_turns must be at least 2", "1"]),
        ({"max_turns": 0}, ["max_turns", "0"]),
        ({"selection": "bleu"}, ["selection", "'score'", "'bleu'"]),
        ({"dropout": 1.0}, ["dropout", "1.0"]),
        ({"length_penalty": "long"}, ["length_penalty", "'long'"]),
        ({"patience": 3}, ["patience=3 needs a validation", "fit(dialogues, validation=0.1)"]),
        ({"selection": "score"}, ["selection='score'", "validation", "validation=0.1"]),
        ({"vocabulary_size": 3}, ["vocabulary_size must leave room for the 3 special tokens"]),
    ],
)
def test_wrong_settings(settings, parts):
    model = make(**settings)
    with raises(ValueError, *parts):
        model.fit(talks())
    assert not model.__sklearn_is_fitted__()


@pytest.mark.parametrize(
    ("dialogues", "error", "parts"),
    [
        ("hello", TypeError, ["X must be a list", "str"]),
        (
            ["hello", "you"],
            TypeError,
            ["X[0] must be a list of utterances, got 'hello'; put", "in a list"],
        ),
        ([["hello", 3]], TypeError, ["X[0][1] must be a string or a list of tokens", "3"]),
        ([["hello", ["you", 3]]], TypeError, ["X[0][1][1] must be a string", "3"]),
        ([["hello", "you </s>"]], ValueError, ["X[0][1] has the token '</s>'"]),
        ([["hello"], ["you"]], ValueError, ["must have an answer", "got 2 without any"]),
        ([["", ""]], ValueError, ["X must hold at least one token, got empty utterances alone"]),
        ([], ValueError, ["X must hold at least one token, got no dialogues"]),
    ],
)
def test_wrong_dialogues(dialogues, error, parts):
    model = make()
    with raises(error, *parts):
        model.fit(dialogues)
    assert not model.__sklearn_is_fitted__()
    if "at least one token" not in parts[0]:
        with raises(error, "validation: ", *parts):
            model.fit(talks(), validation=dialogues)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda m: m.respond("hello"), TypeError, ["history must be a list of utterances"]),
        (lambda m: m.respond(None), TypeError, ["history must be a list of utt", "got None; put"]),
        (lambda m: m.predict(["hello"]), TypeError, ["X[0] must be a list of utterances"]),
        (lambda m: m.respond(["hello"], 0), ValueError, ["n", "0"]),
        (lambda m: m.predict([["hello"]], n=0), ValueError, ["n", "0"]),
        (lambda m: m.respond(["a"], beam=3), TypeError, ["among beam_size, ", "got 'beam'"]),
        (lambda m: m.respond(["a"], beam_size=0), ValueError, ["beam_size", "0"]),
        (lambda m: m.respond(["a"], sample=True, top_p=3), ValueError, ["top_p", "3"]),
        (lambda m: m.predict([], sample=True, top_k=0), ValueError, ["top_k", "0"]),
        (lambda m: m.respond(["a"], max_length=-1), ValueError, ["max_length", "-1"]),
        (
            lambda m: m.respond(["a"], max_length=2, min_length=3),
            ValueError,
            ["min_length must be at most max_length = 2, got 3"],
        ),
        (lambda m: m.respond(["a"], unknown="copy"), ValueError, ["unknown", "'copy'"]),
        (lambda m: m.respond(["a"], seed="x"), TypeError, ["seed", "'x'"]),
        (lambda m: m.respond(["a"], sample=1), TypeError, ["sample", "1"]),
        (
            lambda m: m.respond(["a"], sample=True, temperature=-1.0),
            ValueError,
            ["temperature", "-1.0"],
        ),
        (
            lambda m: m.respond(["a"], temperature=0.5),
            ValueError,
            ["temperature is for drawing: give sample=True, got 0.5"],
        ),
        (
            lambda m: m.respond(["a"], sample=True, beam_size=3),
            ValueError,
            ["beam_size is for searching, got 3 with sample=True"],
        ),
        (lambda m: m.conversation().hear(3), TypeError, ["utterance must be a string", "3"]),
        (
            lambda m: m.conversation().hear("hello <s>"),
            ValueError,
            ["utterance has the token '<s>'"],
        ),
        (lambda m: m.conversation().respond(n=2), TypeError, ["suggest(n) gives several"]),
        (lambda m: m.perplexity([["hello"]]), ValueError, ["must have an answer"]),
    ],
)
def test_wrong_use(model, call, error, parts):
    with raises(error, *parts):
        call(model)


def test_what_is_not_fitted_says_what_to_do():
    for call in ("predict", "respond", "score", "log_prob", "perplexity"):
        with raises(fs.NotFittedError, "this HRED has learned nothing yet: call fit(dialogues)"):
            getattr(make(), call)([["ab"]])
    for converse in (fs.HRED.conversation, Conversation):
        with raises(fs.NotFittedError, "this HRED has learned nothing yet"):
            converse(make())


@pytest.mark.parametrize("kind", ["model", "asking"])
def test_weights_that_are_not_finite_are_told(kind, request):
    broken = copy.deepcopy(request.getfixturevalue(kind))
    measures = ["score", "log_prob", "perplexity"] + ["latent_report"] * (kind == "asking")
    broken.network_.parameters.flat[:] = np.nan
    calls = [lambda: broken.respond(["hello"])]
    calls += [lambda c=call: getattr(broken, c)(TALKS) for call in measures]
    for call in calls:
        with raises(FloatingPointError, "the model's parameters are not finite"):
            call()


def test_a_perplexity_beyond_all_numbers_is_infinite(model):
    wrong = copy.deepcopy(model)
    wrong.network_.linear.parameters["bias"][wrong.vocabulary_.unknown_id] = 1e4
    perplexity = wrong.perplexity(TALKS)
    assert perplexity.per_word == np.inf and 1e4 < perplexity.per_utterance < 1e5


# --- with a latent variable ---------------------------------------------------------------------

QUESTIONS = ["how are you", "what is new", "did you sleep well", "are you hungry"]
ASKED = [["hello", question] for question in QUESTIONS] * 8


def make_latent(**settings):
    return fs.VHRED(**(SMALL | {"latent_size": 4} | settings))


@pytest.fixture(scope="module", name="asking")
def asking_fixture():
    """One that has several answers."""
    sizes = {"hidden_size": 32, "context_size": 16, "embedding_dim": 16}
    return make_latent(**sizes, epochs=40, batch_size=8, random_state=1).fit(ASKED)


def test_answers_vary_where_hred_repeats_itself(asking):
    repeating = make(hidden_size=32, epochs=20).fit(ASKED)
    assert len({repeating.respond(["hello"])[0] for _ in range(8)}) == 1
    drawn = asking.respond(["hello"], 40, seed=0)
    assert len(set(drawn) & set(QUESTIONS)) > 2
    assert asking.respond(["hello"], 40, seed=0) == drawn != asking.respond(["hello"], 40, seed=1)
    assert len(set(asking.predict([["hello"]] * 5))) == 1
    one_by_one = [asking.respond(["hello"], seed=seed)[0] for seed in range(30)]
    assert len(set(one_by_one)) > 2


def test_what_is_drawn_is_searched_for_and_drawn_words_follow_their_seed(asking):
    options = {"sample": True, "temperature": 3.0, "seed": 1}
    drawn = asking.respond(["hello"], 10, **options)
    assert drawn == asking.respond(["hello"], 10, **options) and not set(drawn) <= set(QUESTIONS)
    greedy = asking.respond(["hello"], 5, beam_size=1, seed=0)
    assert greedy == asking.respond(["hello"], 5, sample=True, top_k=1, seed=0)


def test_answers_do_not_depend_on_how_many_are_asked_for(monkeypatch):
    model, widths = make_latent(epochs=2, beam_size=2).fit(ASKED), set()
    search = writing_options.beam_search
    monkeypatch.setattr(
        writing_options,
        "beam_search",
        lambda *a, beam_size, **k: widths.add(beam_size) or search(*a, beam_size=beam_size, **k),
    )
    many = model.respond(["hello"], 40, seed=1)
    assert many[:4] == model.respond(["hello"], 4, seed=1) and widths == {2}
    assert many == model.respond(["hello"], 40, seed=1, beam_size=2)
    talk = model.conversation()
    talk.hear("hello")
    assert talk.suggest(40, seed=1) == many


def test_several_drawn_answers_to_several_histories(asking):
    histories = [["hello"], [], ["hello", "how are you"], ["hello"]]
    found = asking.predict(histories, 20, seed=0)
    assert asking.predict(histories[:1], 20, seed=0) == [asking.respond(["hello"], 20, seed=0)]
    assert found == asking.predict(histories, 20, seed=0) != asking.predict(histories, 20, seed=1)
    assert len(set(found[0])) > 2 and found[0] != found[3]
    assert [len(answers) for answers in found] == [20] * 4


def test_the_latent_variable_is_used(asking):
    report = asking.latent_report(ASKED)
    assert 0.5 < report.kl < 4 and 0 < report.active_units <= 4
    assert report.bound == -(report.reconstruction + report.kl)
    reports = asking.history_.reports
    assert list(reports) == ["reconstruction", "kl", "active_units"]
    assert all(len(values) == 40 for values in reports.values())
    assert reports["kl"][-1] == pytest.approx(report.kl, rel=0.3)


def test_importance_weights_come_near_what_is_known(asking):
    """Each of four answers has a probability of 1/4 at most, in the mean."""
    bound = asking.latent_report(ASKED, 50).bound
    one, many = asking.perplexity(ASKED, 1), asking.perplexity(ASKED, 200)
    assert -one.per_utterance == pytest.approx(bound, abs=0.3)
    assert np.log(4) < many.per_utterance < one.per_utterance < np.log(4) + 1
    log_probs = asking.log_prob(ASKED, 200)
    assert np.mean(log_probs) == pytest.approx(-many.per_utterance)
    words = sum(len(question.split()) + 1 for _, question in ASKED)
    assert many.per_word == pytest.approx(np.exp(-np.sum(log_probs) / words))
    assert np.mean(asking.log_prob(ASKED, 200, seed=1)) == pytest.approx(
        np.mean(log_probs), abs=0.1
    )


@pytest.mark.parametrize("settings", [{}, {"attention": "general"}, {"cell": "lstm"}])
def test_a_latent_conversation_is_the_whole_history(settings):
    model = make_latent(**settings, dtype="float64").fit(talks())
    talk, history = model.conversation(), []
    for turn, utterance in enumerate(("ab", "", "ba cab nobody knows")):
        talk.hear(utterance)
        history.append(utterance)
        assert talk.suggest(4, seed=turn) == model.respond(history, 4, seed=turn)
        history += model.respond(history, seed=turn)
        assert talk.respond(seed=turn) == history[-1]
    assert talk.history == history


def test_latent_scores_do_not_depend_on_what_else_is_scored():
    model = make_latent(dtype="float64", max_turns=2).fit(talks(), validation=talks(5, seed=1))
    dialogues = talks(6, seed=2)
    expected = model.log_prob(dialogues, 3)
    model.max_turns = None
    again = model.log_prob(dialogues, 3)
    first = model.log_prob(dialogues[:1], 3)[0]
    for ours, theirs in zip([*again, first], [*expected, expected[0]], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-10)
    right = [model.predict([own[:k]]) == [own[k]] for own in dialogues for k in range(1, len(own))]
    assert model.score(dialogues) == np.mean(right)


@pytest.mark.parametrize("settings", [{}, {"kl_schedule": "cyclical", "free_bits": 0.1}])
def test_a_latent_run_goes_on_from_its_checkpoint_bit_for_bit(settings, tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    settings = settings | {"max_turns": 2, "attention": "general"}
    path, dialogues = tmp_path / "run.safetensors", talks()
    whole = make_latent(**settings).fit(dialogues, validation=0.2)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trainer, "fit", functools.partial(trainer.fit, checkpoint_every=0))
        make_latent(**settings).fit(dialogues, validation=0.2, checkpoint=path, callbacks=[Kill()])
    resumed = make_latent(**settings).fit(dialogues, validation=0.2, checkpoint=path)
    assert resumed.history_.loss == whole.history_.loss and len(whole.history_.loss) > 13
    assert resumed.history_.reports == whole.history_.reports
    assert resumed.history_.validation == whole.history_.validation
    assert np.array_equal(resumed.network_.parameters.flat, whole.network_.parameters.flat)
    with raises(ValueError, "free_bits", "but here it is 0.5", "delete the file"):
        make_latent(**settings | {"free_bits": 0.5}).fit(dialogues, validation=0.2, checkpoint=path)


def test_a_latent_model_in_a_file(tmp_path):
    pytest.importorskip("safetensors")
    path, dialogues = tmp_path / "model.safetensors", talks()
    model = make_latent().fit(dialogues)
    model.save(path)
    loaded = fs.load(path)
    assert type(loaded) is fs.VHRED and isinstance(fs.HRED.load(path), fs.VHRED)
    assert loaded.get_params() == model.get_params() and "context" not in model.get_params()
    assert loaded.history_.reports == model.history_.reports
    assert loaded.respond(["ab"], 5, seed=0) == model.respond(["ab"], 5, seed=0)
    for ours, theirs in zip(loaded.log_prob(dialogues), model.log_prob(dialogues), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"latent_size": 0}, ["latent_size", "0"]),
        ({"kl_schedule": "square"}, ["kl_schedule", "'linear'", "'square'"]),
        ({"free_bits": -1.0}, ["free_bits", "-1.0"]),
        ({"bag_of_words": -1.0}, ["bag_of_words", "-1.0"]),
        ({"attention": "bilinear"}, ["attention", "'bilinear'"]),
    ],
)
def test_wrong_latent_settings(settings, parts):
    with raises(ValueError, *parts):
        make_latent(**settings).fit(talks())


def test_wrong_samples(asking):
    with raises(ValueError, "n_samples", "0"):
        asking.perplexity(ASKED, 0)
    with raises(ValueError, "seed", "-1"):
        asking.latent_report(ASKED, seed=-1)
