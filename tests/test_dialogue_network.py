"""The network of dialogue models: gradients through the whole hierarchy, and equalities."""

import copy
import itertools

import numpy as np
import pytest
from dialogue_cases import (
    BEGIN,
    END,
    KINDS,
    TOKENS,
    UNKNOWN,
    make_batches,
    make_dialogues,
    make_network,
    measure,
)
from helpers import assert_close, assert_identical, raises
from layer_cases import backend_fixture, check_gradients  # noqa: F401

import fastseq as fs
from fastseq.models.dialogue_batches import one_turn
from fastseq.models.seq2seq_network import Seq2SeqNetwork

PLAIN = [name for name in KINDS if name != "noise"]
SMALL = {"embedding_dim": 2, "hidden_size": 2, "context_size": 2}


def check(backend, network, value):
    """Gradients of a value that leaves them in the network's parameters."""
    network.parameters.zero_grad()
    value()
    flat, grads = network.parameters.flat, network.parameters.flat_grad.copy()
    assert np.count_nonzero(grads) > grads.size / 2
    if backend == "cython":
        check_gradients(value, [flat], [grads])
        return
    rng, start = np.random.default_rng(0), flat.copy()
    for _ in range(4):  # all at once, in some directions: the others are slow
        direction = rng.standard_normal(flat.size)
        losses = []
        for step in (1e-5, -1e-5):
            flat[:] = start + step * direction
            losses.append(value())
        assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(grads @ direction, 1e-6, 1e-7)


@pytest.mark.parametrize("name", KINDS)
def test_gradients(backend, name):
    network = make_network(name, **SMALL)
    (batch,) = make_batches(make_dialogues(turns=(1, 4, 2, 3)))
    assert len(batch.lengths) < batch.turn_lengths.sum()  # some utterances come several times
    assert 1 in batch.lengths  # and some have no word
    state = network.random_state

    def value():
        network.random_state = state
        return network.loss_and_grad(batch)

    check(backend, network, value)


@pytest.mark.parametrize("name", ["gru", "deep lstm", "last", "general", "additive"])
def test_gradients_of_a_later_window(backend, name):
    """What was carried counts as given."""
    network = make_network(name, **SMALL)
    first, second, _ = make_batches(make_dialogues(turns=(4, 6, 3)), max_turns=2)
    assert second.carried and len(second.rows) == len(first.rows) - 1
    network.loss_and_grad(first)
    carried = network.training_state()

    def value():
        network.load_training_state(carried)
        return network.loss_and_grad(second)

    check(backend, network, value)


def test_gradients_where_only_the_second_answers():
    network = make_network("gru", **SMALL)
    (batch,) = make_batches(make_dialogues(turns=(2, 6, 3, 5)), answers="second")
    assert len(batch.places) < batch.turn_lengths.sum()
    check("cython", network, lambda: network.loss_and_grad(batch))


@pytest.mark.parametrize("name", PLAIN)
def test_loss_is_what_is_trained_without_noise(name):
    network = make_network(name)
    for batch in make_batches(max_turns=2):
        carried = network.training_state()
        loss, after = network.loss(batch), network.training_state()
        network.load_training_state(carried)
        assert loss == pytest.approx(network.loss_and_grad(batch), rel=1e-12)
        assert str(after) == str(network.training_state())


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


@pytest.mark.parametrize("name", PLAIN)
def test_a_batch_is_its_dialogues_one_by_one(name):
    network, dialogues = make_network(name), make_dialogues(turns=(5, 2, 3, 1))
    together = measure(network, make_batches(dialogues))
    alone = measure(network, make_batches(dialogues, batch_size=1, bucket=False))
    assert alone == pytest.approx(together, rel=1e-12) and len(alone) == 7
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


@pytest.mark.parametrize("name", ["gru", "lstm", "last", "general", "noise"])
def test_copies_train_like_the_original(name):
    network, batches = make_network(name), list(make_batches(max_turns=2))
    network.loss_and_grad(batches[0])
    twin = copy.deepcopy(network)
    assert twin.loss_and_grad(batches[1]) == network.loss_and_grad(batches[1])
    assert_identical(twin.parameters.flat_grad, network.parameters.flat_grad)


@pytest.mark.parametrize("attention", [None, "general", "additive"])
def test_results_do_not_depend_on_the_number_of_threads(attention):
    if fs.get_backend() != "cython":
        pytest.skip("only the compiled kernels promise it")
    before, results = fs.get_num_threads(), []
    batches = list(make_batches(make_dialogues(turns=range(2, 18), longest=12), max_turns=6))
    sizes = {"embedding_dim": 32, "hidden_size": 64, "context_size": 48, "dropout": 0.2}
    try:
        for threads in (1, 2, 3):
            fs.set_num_threads(threads)
            network = make_network("gru", np.float32, **sizes, attention=attention)
            losses = [network.loss_and_grad(batch) for batch in batches]
            results.append((losses, network.parameters.flat_grad))
    finally:
        fs.set_num_threads(before)
    for losses, gradient in results[1:]:
        assert losses == results[0][0]
        assert_identical(gradient, results[0][1])


@pytest.mark.parametrize("name", ["gru", "last", "general"])
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
