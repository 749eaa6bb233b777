"""The network of dialogue models: gradients through the whole hierarchy, and equalities."""

import copy
import itertools

import numpy as np
import pytest
from dialogue_cases import (
    BEGIN,
    END,
    KINDS,
    LATENT,
    PLAIN,
    TOKENS,
    UNKNOWN,
    make_batches,
    make_dialogues,
    make_network,
    measure,
)
from helpers import assert_close, assert_identical, raises
from layer_cases import backend_fixture, check_gradients  # noqa: F401
from network_cases import check_network, same_noise

import fastseq as fs
from fastseq.latent import divergence
from fastseq.models.dialogue_batches import one_turn
from fastseq.models.latent_training import noise_of_rows
from fastseq.models.seq2seq_network import Seq2SeqNetwork

SMALL = {"embedding_dim": 2, "hidden_size": 2, "context_size": 2}
LATER = ["gru", "deep lstm", "last", "general", "additive", "latent general", "latent bag"]


@pytest.mark.parametrize("name", KINDS)
def test_gradients(backend, name):
    network = make_network(name, **SMALL)
    (batch,) = make_batches(make_dialogues(turns=(1, 4, 2, 3)))
    real = np.arange(len(batch.turns))[:, None] < batch.turn_lengths
    assert np.bincount(batch.turns[real]).max() > 1  # some utterances come several times
    assert 1 in batch.lengths  # and some have no word
    check_network(backend, network, same_noise(network, batch))


@pytest.mark.parametrize("name", LATER)
def test_gradients_of_a_later_window(backend, name):
    """What was carried counts as given."""
    network = make_network(name, **SMALL)
    first, second, _ = make_batches(make_dialogues(turns=(4, 6, 3)), max_turns=2)
    assert second.carried and len(second.rows) == len(first.rows) - 1
    network.loss_and_grad(first)
    carried, state = network.training_state(), network.random_state

    def value():
        network.load_training_state(carried)
        network.random_state = state
        return network.loss_and_grad(second)

    check_network(backend, network, value)


def test_gradients_of_a_weighed_divergence():
    network = make_network("latent gru", **SMALL, latent_size=4)
    network.parameters.flat[:] /= 2
    (batch,) = make_batches()
    value = same_noise(network, batch)
    value()
    kl = network.report()["kl"] / 4
    network.objective.begin(0.3, 1.0, kl)
    check_network("cython", network, value)
    free = network.latent.parameters.flat_grad
    assert free.any()


def test_gradients_where_only_the_second_answers():
    network = make_network("gru", **SMALL)
    (batch,) = make_batches(make_dialogues(turns=(2, 6, 3, 5)), answers="second")
    assert len(batch.places) < batch.turn_lengths.sum()
    check_network("cython", network, lambda: network.loss_and_grad(batch))


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in LATENT])
def test_loss_is_what_is_trained_without_noise(name):
    network = make_network(name)
    for batch in make_batches(max_turns=2):
        carried = str(network.training_state())
        loss = network.loss(batch)
        assert str(network.training_state()) == carried
        assert loss == pytest.approx(network.loss_and_grad(batch), rel=1e-12)


@pytest.mark.parametrize("name", ["last", "last lstm", "last one direction"])
def test_without_context_it_is_sequence_to_sequence(name):
    network, dialogues = make_network(name), make_dialogues()
    sizes = {"n_source": TOKENS, "n_target": TOKENS, "embedding_dim": 4, "hidden_size": 4}
    special = {"begin_id": BEGIN, "end_id": END, "unknown_id": UNKNOWN, "cell": "gru"}
    settings = {k: v for k, v in KINDS[name].items() if k != "context"}
    other = Seq2SeqNetwork(
        **(sizes | special | settings), shared_embedding=True, dtype=np.float64, seed=0
    )
    renamed = {k.replace("embedding.", "source."): v for k, v in network.state_dict().items()}
    other.load_state_dict(renamed)
    pairs = [(one[1:], two) for own in dialogues for one, two in itertools.pairwise(own)]
    (pairs,) = fs.Batches(*zip(*pairs, strict=True), target_kind="sequences", shuffle=False)
    (batch,) = make_batches(dialogues)
    assert network.count(batch) == other.count(pairs)
    assert network.loss_and_grad(batch) == pytest.approx(other.loss_and_grad(pairs), rel=1e-13)
    for name, gradient in network.parameters.grads.items():
        expected = other.parameters.grads[name.replace("embedding.", "source.")]
        assert_close(gradient, expected, 1e-12, name=name)


@pytest.mark.parametrize("name", ["gru", "deep lstm", "rnn", "one direction"])
def test_a_history_of_one_utterance_is_the_layers_one_after_the_other(name):
    network, (dialogue,) = make_network(name), make_dialogues(turns=(2,))
    (batch,) = make_batches([dialogue])
    table = network.embedding
    _, last = network.encoder(table(dialogue[0][1:])[:, None])
    h = last[0] if isinstance(last, tuple) else last
    count = 1 + network.encoder.bidirectional
    utterance = np.concatenate(list(h[-count:]), axis=1)
    context, _ = network.context(utterance[None])
    y = network.bridge.linear(context[0])
    h, *others = y.reshape(-1, network.encoder.num_layers, 1, 4)
    state = (np.tanh(h), *others) if others else np.tanh(h)
    inputs = dialogue[1][:-1]
    x = np.concatenate([table(inputs), np.tile(context[0], (len(inputs), 1))], axis=1)
    outputs, _ = network.decoder.layers(x[:, None], state)
    expected = fs.CrossEntropyLoss()(network.linear(outputs[:, 0]), dialogue[1][1:])
    assert network.loss(batch) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("max_turns", [1, 2, 3])
def test_what_is_carried_is_the_whole_dialogue(name, max_turns):
    network, dialogues = make_network(name), make_dialogues(turns=(1, 4, 9, 2, 7, 7))
    expected = measure(network, make_batches(dialogues))
    assert sorted(expected) == [
        (i, k) for i, own in enumerate(dialogues) for k in range(1, len(own))
    ]
    assert measure(network, make_batches(dialogues, max_turns=max_turns)) == pytest.approx(
        expected, rel=1e-12
    )


def test_a_window_needs_the_one_before():
    network, (first, second) = make_network(), make_batches(make_dialogues(turns=(4,)), max_turns=2)
    for call in (network.hear, network.loss, network.loss_and_grad):
        with raises(ValueError, "after 2 turns", "nothing carried"):
            call(second)
    network.loss(first)
    with raises(ValueError, "nothing carried"):
        network.loss_and_grad(second)
    network.loss(second)


@pytest.mark.parametrize("name", PLAIN)
def test_a_batch_is_its_dialogues_one_by_one(name):
    network, dialogues = make_network(name), make_dialogues(turns=(5, 2, 3, 1))
    together = measure(network, make_batches(dialogues))
    alone = measure(network, make_batches(dialogues, batch_size=1, bucket=False))
    assert alone == pytest.approx(together, rel=1e-12) and len(alone) == 7
    if name in LATENT:
        return
    (batch,) = make_batches(dialogues)
    nats = -sum(together.values())
    assert network.loss(batch) * network.count(batch) == pytest.approx(nats, rel=1e-12)


@pytest.mark.parametrize("name", PLAIN)
def test_turn_by_turn_is_the_whole_dialogue(name):
    network, (dialogue,) = make_network(name), make_dialogues(turns=(7,))
    (batch,) = make_batches([dialogue])
    whole, carried = network.hear(batch)[0], None
    for turn, utterance in enumerate(dialogue[:-1]):
        heard, carried = network.hear(one_turn(utterance, turn), carried)
        expected = whole.take(np.array([turn]))
        if expected.memory is not None:
            assert heard.memory_lengths == expected.memory_lengths == turn + 1
            expected = expected._replace(memory=expected.memory[: turn + 1])
        for ours, theirs in zip(network.open(heard), network.open(expected), strict=True):
            if theirs is not None:
                assert_close(ours, theirs, 1e-12)


@pytest.mark.parametrize("name", PLAIN)
def test_step_by_step_is_the_whole_answer(name):
    network = make_network(name)
    (batch,) = make_batches()
    opening = network.open(network.hear(batch)[0])
    expected = network.linear(network._outputs(opening, batch))
    rows = np.arange(len(batch.places))
    decoding, order = network.decode(opening), rows[::-1]
    for t, ids in enumerate(batch.targets[:-1]):
        inside = batch.mask[t + 1]
        scores = decoding.step(ids[rows])
        assert_close(scores[inside[rows]], expected[t, rows][inside[rows]], 1e-12)
        decoding.select(order)  # from now on backwards, and back
        rows = rows[order]


def test_noise_acts_in_training_alone():
    plain, noisy = make_network("deep"), make_network("noise")
    (batch,) = make_batches()
    noisy.load_state_dict(plain.state_dict())
    assert noisy.loss(batch) == plain.loss(batch)
    assert noisy.loss_and_grad(batch) != noisy.loss_and_grad(batch)


@pytest.mark.parametrize("name", ["gru", "lstm", "last", "general", "noise", "latent noise"])
def test_copies_train_like_the_original(name):
    network, batches = make_network(name), list(make_batches(max_turns=2))
    network.loss_and_grad(batches[0])
    twin = copy.deepcopy(network)
    assert twin.loss_and_grad(batches[1]) == network.loss_and_grad(batches[1])
    assert_identical(twin.parameters.flat_grad, network.parameters.flat_grad)


@pytest.mark.parametrize("name", ["gru", "general", "additive", "latent bag"])
def test_results_do_not_depend_on_the_number_of_threads(name):
    if fs.get_backend() != "cython":
        pytest.skip("only the compiled kernels promise it")
    before, results = fs.get_num_threads(), []
    batches = list(make_batches(make_dialogues(turns=range(2, 18), longest=12), max_turns=6))
    sizes = {"embedding_dim": 32, "hidden_size": 64, "context_size": 48, "dropout": 0.2}
    try:
        for threads in (1, 2, 3):
            fs.set_num_threads(threads)
            network = make_network(name, np.float32, **sizes, tie_weights=False)
            losses = [network.loss_and_grad(batch) for batch in batches]
            results.append((losses, network.parameters.flat_grad))
    finally:
        fs.set_num_threads(before)
    for losses, gradient in results[1:]:
        assert losses == results[0][0]
        assert_identical(gradient, results[0][1])


@pytest.mark.parametrize("name", ["gru", "last", "general", "latent gru"])
def test_long_dialogues_and_no_words(name):
    network = make_network(name)
    dialogues = [*make_dialogues(turns=(200, 2), longest=1), [np.array([BEGIN, END])] * 3]
    expected = measure(network, make_batches(dialogues))
    assert len(expected) == 199 + 1 + 2 and np.isfinite(list(expected.values())).all()
    assert measure(network, make_batches(dialogues, max_turns=50)) == pytest.approx(
        expected, rel=1e-11
    )
    batches = list(make_batches(dialogues, max_turns=50))
    assert np.isfinite([network.loss_and_grad(batch) for batch in batches]).all()
    assert np.isfinite(network.parameters.flat_grad).all()


@pytest.mark.parametrize(
    ("options", "error", "parts"),
    [
        ({"cell": "elman"}, ValueError, ["cell", "'lstm'", "'elman'"]),
        ({"tie_weights": True, "hidden_size": 9}, ValueError, ["tie_weights=True", "4", "9"]),
        ({"attention": "bilinear"}, ValueError, ["score", "'additive'", "'bilinear'"]),
        (
            {"attention": "general", "context": False},
            ValueError,
            ["attention looks at the context", "'general'", "Seq2Seq"],
        ),
        ({"word_dropout": 1.0}, ValueError, ["word_dropout", "1.0"]),
    ],
)
def test_errors(options, error, parts):
    with raises(error, *parts):
        make_network(**options)


# --- the latent variable ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in LATENT if name in PLAIN])
def test_the_loss_is_the_bound(name):
    network = make_network(name)
    (batch,) = make_batches(max_turns=None)
    network.objective.begin(0.0, 0.25, 0.0)
    heard, _ = network.hear(batch)
    noise = noise_of_rows(batch.answer_numbers, 1, 3)
    ((fits,), (log_weights,)) = network.judge(heard, batch, noise)
    posterior = network.latent.posterior(heard.states, heard.answers)
    prior = network.latent.prior(heard.states)
    kl = divergence(*posterior, *prior).sum()
    expected = (-fits.sum() + 0.25 * kl) / batch.tokens
    assert network.loss(batch) == pytest.approx(expected, rel=1e-12)
    z, mean_p = posterior[0] + np.exp(posterior[1] / 2) * noise[0], prior[0]
    ratio = (np.square(noise[0]) + posterior[1]).sum(axis=1) / 2
    ratio -= (np.square(z - mean_p) * np.exp(-prior[1]) + prior[1]).sum(axis=1) / 2
    assert_close(log_weights, ratio, 1e-12)
    opening = network.open(heard, z)
    outputs = network.decoder(
        *(
            np.concatenate(
                [
                    network.embedding(batch.targets[:-1]),
                    np.broadcast_to(opening.known, (len(batch.targets) - 1, *opening.known.shape)),
                ],
                axis=2,
            ),
            network.bridge(np.concatenate([heard.states, z], axis=1)),
            None,
        ),
        heard.memory,
        heard.memory_lengths,
    )[0]
    criterion = fs.CrossEntropyLoss(reduction="sum")
    nats = criterion(network.linear(outputs), batch.targets[1:], batch.mask[1:])
    assert -fits.sum() == pytest.approx(nats, rel=1e-12)


def test_without_a_weight_the_divergence_is_free_and_with_bags_all_words_are_asked_for():
    (batch,) = make_batches()
    plain, bag = make_network("latent gru"), make_network("latent bag")
    for name, array in bag.parameters.items():
        if name in plain.parameters:
            np.copyto(array, plain.parameters[name])
    bag.random_state = plain.random_state
    for network in (plain, bag):
        network.objective.begin(0.0, 1.0, 0.0)
    loss, more = plain.loss_and_grad(batch), bag.loss_and_grad(batch)
    report = plain.report()
    assert loss == pytest.approx(report["reconstruction"] * len(batch.places) / batch.tokens)
    assert report["kl"] > 0 and report["active_units"] == 3
    words = batch.mask[1:] & (batch.targets[1:] != END)
    assert 0.4 < (more - loss) * batch.tokens / (0.5 * words.sum() * np.log(TOKENS)) < 3
    plain.objective.begin(1.0, 1.0, 0.0)
    plain.random_state = bag.random_state
    weighed = plain.loss_and_grad(batch)
    report = plain.report()
    bound = (report["reconstruction"] + report["kl"]) * len(batch.places) / batch.tokens
    assert weighed == pytest.approx(bound, rel=1e-12)


def test_the_posterior_reads_the_answer_and_the_prior_does_not():
    network, (dialogue,) = make_network("latent gru"), make_dialogues(turns=(3,))
    changed = [*dialogue[:2], np.array([BEGIN, 3, 4, 5, 6, END])]
    heard = [network.hear(next(iter(make_batches([own]))))[0] for own in (dialogue, changed)]
    priors = [network.latent.prior(own.states)[0] for own in heard]
    posteriors = [network.latent.posterior(own.states, own.answers)[0] for own in heard]
    assert_close(priors[0], priors[1], 1e-15)
    assert_close(posteriors[0][0], posteriors[1][0], 1e-15)
    assert np.abs(posteriors[0][1] - posteriors[1][1]).max() > 0.01


def test_what_is_heard_is_not_dropped():
    network = make_network("latent gru", word_dropout=0.9)
    (batch,) = make_batches()
    expected, _ = network.hear(batch)
    heard, _ = network._hear_forward(batch)
    assert_close(heard.states, expected.states, 1e-14)
    assert_close(heard.answers, expected.answers, 1e-14)


def test_training_state_goes_on():
    network, batches = make_network("latent gru"), list(make_batches(max_turns=2))
    network.objective.weight = 0.25
    network.loss_and_grad(batches[0])
    other, state = make_network("latent gru"), network.training_state()
    other.load_training_state(copy.deepcopy(state))
    other.random_state = network.random_state
    assert other.loss_and_grad(batches[1]) == network.loss_and_grad(batches[1])
    assert other.report() == network.report()
