"""The autoencoder for sequences: what it codes, what it writes, and what it refuses."""

import copy

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises

import fastseq as fs

KINDS = {"cat": "purrs and sleeps", "dog": "barks and runs", "cow": "eats green grass"}
TEXTS = [
    f"{a} {b} {animal} {what}"
    for animal, what in KINDS.items()
    for a in ("the", "this", "my")
    for b in ("old", "big", "small")
]


def make(**settings):
    usual = {"latent_size": 4, "embedding_dim": 16, "hidden_size": 32, "bag_of_words": 1.0}
    training = {"epochs": 40, "batch_size": 8, "lr": 0.01, "random_state": 0}
    return fs.SequenceVAE(**(usual | training | settings))


@pytest.fixture(name="model", scope="module")
def model_fixture():
    return make().fit(TEXTS)


def test_the_latent_variable_knows_the_kind(model):
    report = model.latent_report(TEXTS, 20)
    assert report.kl > 1 and report.active_units >= 2
    codes = model.encode(TEXTS).reshape(3, 9, 4)
    centres, within = codes.mean(axis=1), codes - codes.mean(axis=1, keepdims=True)
    distances = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(3, 1)]
    assert distances.min() > 2 * np.sqrt(np.square(within).sum(axis=2).mean())
    rebuilt = model.reconstruct(TEXTS)
    assert [text.split()[2:] for text in rebuilt] == [text.split()[2:] for text in TEXTS]
    assert report.bound == -report.reconstruction - report.kl


def test_what_it_writes_are_texts_of_the_language(model):
    drawn = model.sample(50, seed=0)
    assert set(drawn) <= set(TEXTS) and {text.split()[2] for text in drawn} == set(KINDS)
    assert model.sample(5, seed=0) == drawn[:5] != model.sample(5, seed=1)
    between = model.interpolate(TEXTS[0], TEXTS[-1], steps=6)
    assert len(between) == 6 and set(between) <= set(TEXTS)
    assert [text.split()[2] for text in between][:1] == ["cat"]
    assert [text.split()[2] for text in between][-1:] == ["cow"]
    assert between[0] == model.reconstruct(TEXTS[:1])[0]


def test_decoding_is_a_search_or_draws(model):
    z = model.encode(TEXTS[:4])
    greedy, searched = model.decode(z, beam_size=1), model.decode(z)
    assert searched == model.set_params(beam_size=5).decode(z, beam_size=5)
    model.beam_size = 1
    assert model.decode(z) == greedy
    model.beam_size = 5
    drawn = model.decode(np.repeat(z, 20, axis=0), sample=True, seed=0)
    assert drawn == model.decode(np.repeat(z, 20, axis=0), sample=True, seed=0)
    assert len(set(drawn[:20])) > 1
    # a search finds what is the most probable among many draws
    for row in range(4):
        texts = sorted(set(drawn[20 * row : 20 * row + 20]) | {searched[row]})
        scores = []
        for text in texts:
            (batch,) = model._data_batches([text.split()], None)
            network = model.network_
            outputs = network._outputs(z[row : row + 1], batch)
            scores.append(network._log_probs(outputs, batch.targets[1:], None)[0])
        assert texts[int(np.argmax(scores))] == searched[row]
    cold = model.decode(z, sample=True, temperature=1e-3, seed=0)
    assert cold == greedy
    assert model.decode(z, max_length=2) == [" ".join(text.split()[:2]) for text in greedy]
    assert all(len(text.split()) >= 9 for text in model.decode(z, min_length=9))


def test_unknown_words_are_read_but_not_written():
    texts = [*TEXTS, "a rare word"]
    model = make(min_count=2, epochs=3).fit(texts)
    assert "<unk>" not in " ".join(
        model.decode(3 * np.random.default_rng(0).standard_normal((50, 4)))
    )
    assert model.encode(["nobody knows", ""]).shape == (2, 4)
    network = model.network_
    network.linear.parameters["bias"][model.vocabulary_.unknown_id] = 50
    z = np.zeros((1, 4))
    assert model.decode(z, unknown="keep", max_length=2) == ["<unk> <unk>"]
    assert "<unk>" not in model.decode(z)[0]


def test_probabilities(model):
    bounds = [model.log_prob(TEXTS, n).mean() for n in (1, 10, 100)]
    assert bounds[0] < bounds[1] < bounds[2]
    found = model.perplexity(TEXTS, 10)
    tokens = sum(len(text.split()) + 1 for text in TEXTS)
    log_prob = model.log_prob(TEXTS, 10)
    assert found.per_token == pytest.approx(np.exp(-log_prob.sum() / tokens), rel=1e-12)
    assert found.nats == pytest.approx(-log_prob.mean(), rel=1e-12)
    assert model.score(TEXTS) == model.log_prob(TEXTS).mean() > model.score(["cow cow cow"]) + 5
    # there are 27 texts: nothing can be better than to guess among them
    assert np.log(27) < found.nats < np.log(27) + 1


def test_a_perplexity_beyond_all_numbers_is_infinite_without_a_warning(model):
    sure = copy.deepcopy(model)
    sure.network_.linear.parameters["bias"][model.vocabulary_.unknown_id] = 1e6
    found = sure.perplexity(TEXTS, 1)
    assert found.per_token == np.inf and 1e6 < found.nats < np.inf


def test_probabilities_of_all_texts_are_those_of_a_distribution():
    """The decoder's own, for a z: texts of up to 3 tokens, and what is longer."""
    model = make(unit="character", epochs=2).fit(["ab", "ba", "a", "b"])
    z = np.random.default_rng(0).standard_normal((1, 4)).astype(np.float32)
    texts = [""]
    for _ in range(2):
        texts += [text + letter for text in texts for letter in "ab" if text + letter not in texts]
    found = model.decode(np.repeat(z, 4000, axis=0), sample=True, unknown="keep", seed=0)
    for text in ("", "a", "ab"):
        (batch,) = model._data_batches([list(text)], None)
        outputs = model.network_._outputs(z, batch)
        log_prob = model.network_._log_probs(outputs, batch.targets[1:], None)[0]
        # draws leave out the begin token, which has its share in log_prob
        assert found.count(text) / 4000 == pytest.approx(np.exp(log_prob), abs=0.05)


def test_each_text_is_judged_by_itself(model):
    whole = model.log_prob(TEXTS, 3)
    assert_close(model.log_prob(TEXTS[:5], 3), whole[:5], 1e-5)
    assert_close(model.encode(TEXTS[7:8]), model.encode(TEXTS)[7:8], 1e-5)
    assert (model.log_prob(TEXTS, 3, seed=1) != whole).all()


@pytest.mark.parametrize("unit", ["word", "character", "token"])
def test_texts_come_back_in_their_form(unit):
    texts = {
        "word": ["a b", "b  a", ""],
        "character": ["a b", "b", ""],
        "token": [["a", "b c"], ["b c"], []],
    }[unit]
    model = make(unit=unit, epochs=2).fit(texts)
    for written in (model.reconstruct(texts), model.sample(3, seed=0)):
        assert len(written) == 3
        assert {type(text) for text in written} == ({list} if unit == "token" else {str})
    assert model.predict(texts) == model.reconstruct(texts)


@pytest.mark.parametrize(
    "settings",
    [
        {"cell": "gru", "num_layers": 2, "dropout": 0.1},
        {"cell": "rnn", "bidirectional": False, "bag_of_words": 0.0},
        {"tie_weights": True, "embedding_dim": 32, "dtype": "float64"},
        {"kl_schedule": "cyclical", "free_bits": 0.1, "normalization": "NFC"},
    ],
)
def test_settings_reach_the_network(settings, tmp_path):
    pytest.importorskip("safetensors")
    model = make(epochs=2, **settings).fit(TEXTS)
    network = model.network_
    assert ("bag" in network.children) == bool(model.bag_of_words)
    assert network.encoder.bidirectional == model.bidirectional
    assert network.decoder.layers.num_layers == model.num_layers
    assert network.dtype == np.dtype(model.dtype)
    assert network.objective.free_bits == model.free_bits
    assert (network.linear.tied is not None) == model.tie_weights
    model.save(tmp_path / "model")
    again = fs.load(tmp_path / "model")
    assert_identical(again.encode(TEXTS), model.encode(TEXTS))
    assert again.sample(3, seed=0) == model.sample(3, seed=0)
    assert again.history_.reports == model.history_.reports
    assert again.longest_ == model.longest_ == 6


def test_validation_and_history():
    model = make(epochs=3).fit(TEXTS[::2], validation=TEXTS[1::2])
    assert len(model.history_.validation) == 3
    pair = make(epochs=3).fit(TEXTS[::2], validation=(TEXTS[1::2], None))
    assert pair.history_.validation == model.history_.validation
    for texts in (TEXTS[1::2], TEXTS[1:3]):
        fits = [make(epochs=1).fit(TEXTS, validation=kind(texts)) for kind in (list, tuple)]
        assert fits[0].history_.validation == fits[1].history_.validation
    assert list(model.history_.reports) == ["reconstruction", "kl", "active_units"]
    assert all(len(values) == 3 for values in model.history_.reports.values())


def test_data_that_are_refused_leave_the_model_as_it_was(model):
    before = model.encode(TEXTS)
    with raises(ValueError, "X must hold at least one text, got none"):
        model.fit([])
    with raises(ValueError, "X must hold at least one token, got empty sequences alone"):
        model.fit(["", ""])
    with raises(TypeError, "X must be a list of sequences, or an array, got str"):
        model.fit("a text")
    with raises(TypeError, "X[1] must be a string or a list of tokens, got 7"):
        model.fit(["a", 7])
    with raises(ValueError, "X[0] has the token '</s>'"):
        model.fit(["a </s> b"])
    with raises(ValueError, "validation: X must hold at least one text"):
        model.fit(TEXTS, validation=[])
    assert_identical(model.encode(TEXTS), before)


def test_wrong_uses(model):
    z = np.zeros((2, 4))
    wrong = {
        "z must have shape (N, 4), since latent_size is 4": lambda: model.decode(z[:, :3]),
        "z must hold finite numbers, got nan": lambda: model.decode(z * np.nan),
        "z must hold numbers that float32 can hold, got 1e+300 at z[0, 0]": lambda: model.decode(
            z + 1e300
        ),
        "beam_size is for searching, got 3 with sample=True": lambda: model.decode(
            z, sample=True, beam_size=3
        ),
        "sample must be True or False": lambda: model.decode(z, sample=1),
        "unknown must be one of 'exclude', 'keep', got 'copy'": lambda: model.decode(
            z, unknown="copy"
        ),
        "temperature must be": lambda: model.decode(z, sample=True, temperature=-1),
        "temperature is for drawing: give sample=True, got -1": lambda: model.decode(
            z, temperature=-1
        ),
        "top_k is for drawing": lambda: model.sample(2, top_k=0),
        "top_p is for drawing": lambda: model.reconstruct(TEXTS[:1], top_p=0.5),
        "top_p must": lambda: model.decode(z[:0], sample=True, top_p=1.5),
        "min_length must be at most max_length = 2, got 3": lambda: model.decode(
            z[:0], min_length=3, max_length=2
        ),
        "steps must be at least 2": lambda: model.interpolate(TEXTS[0], TEXTS[1], steps=1),
        "options must be among beam_size": lambda: model.interpolate("a", "b", noise=True),
        "top_p, min_length": lambda: model.sample(2, steps=5),
        "unknown, seed, got 'n'": lambda: model.reconstruct(TEXTS[:1], n=2),
        "b: X[0] must be a string": lambda: model.interpolate(TEXTS[0], 5),
        "n must be at least 1": lambda: model.sample(0),
        "n_samples must be at least 1": lambda: model.log_prob(TEXTS, 0),
        "seed must be at least 0": lambda: model.log_prob(TEXTS, seed=-1),
        "X must hold at least one text, got none": lambda: model.perplexity([]),
    }
    for message, use in wrong.items():
        with raises((TypeError, ValueError), message):
            use()


def test_a_broken_network_says_so():
    model = make(epochs=1).fit(TEXTS)
    model.network_.embedding.parameters.flat[:] = np.nan
    uses = [model.encode, model.log_prob, model.perplexity, model.score, model.latent_report]
    uses += [lambda _: model.decode(np.zeros((1, 4))), lambda _: model.sample()]
    for use in uses:
        with raises(FloatingPointError, "the model's parameters are not finite", "train it again"):
            use(TEXTS)


def test_what_is_not_fitted_says_so():
    model = make()
    uses = [lambda: model.decode(np.zeros((1, 4))), model.sample, lambda: model.log_prob(TEXTS)]
    for use in uses:
        with raises(
            fs.NotFittedError, "this SequenceVAE has learned nothing yet: call fit(X) first"
        ):
            use()


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("unit", "piece", "unit must be one of 'word', 'character', 'token'"),
        ("vocabulary_size", 3, "vocabulary_size must leave room for the 3 special tokens"),
        ("cell", "lst", "cell must be one of 'lstm', 'gru', 'rnn'"),
        ("word_dropout", 1.0, "word_dropout must be a number from 0 to below 1"),
        ("bag_of_words", -1, "bag_of_words must be a finite number, at least 0"),
        ("tie_weights", True, "tie_weights=True needs embedding_dim = hidden_size"),
        ("latent_size", 0, "latent_size must be at least 1"),
        ("beam_size", 0, "beam_size must be at least 1"),
    ],
)
def test_wrong_settings(setting, value, message):
    with raises((TypeError, ValueError), message):
        make(**{setting: value}).fit(TEXTS)


def test_nothing_of_nothing(model):
    assert model.encode([]).shape == (0, 4) and model.reconstruct([]) == []
    assert model.decode(np.empty((0, 4))) == [] and model.log_prob([]).shape == (0,)
