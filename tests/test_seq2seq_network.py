"""The network of sequence-to-sequence models: gradients through the whole of it, and equalities."""

import copy
import tracemalloc

import numpy as np
import pytest
from helpers import assert_close, assert_identical, raises
from layer_cases import backend_fixture, check_gradients  # noqa: F401
from network_cases import check_network, same_noise
from seq2seq_cases import BEGIN, END, KINDS, TARGETS, UNKNOWN, make_batch, make_network, row_of

import fastseq as fs
from fastseq.models.seq2seq_decoders import make_decoder
from fastseq.models.seq2seq_network import Seq2SeqNetwork

PLAIN = [name for name in KINDS if name != "noise"]


@pytest.mark.parametrize("name", KINDS)
def test_gradients(backend, name):
    network = make_network(name, embedding_dim=2, hidden_size=2)
    batch = make_batch(rows=3, longest=3, same_length=name == "gru")
    check_network(backend, network, same_noise(network, batch))


@pytest.mark.parametrize("sampled", [0.5, 1.0])
def test_gradients_of_scheduled_sampling(sampled):
    """What was drawn counts as given: gradients are those of the loss on that input."""
    network = make_network("deep", embedding_dim=2, hidden_size=2)
    batch = make_batch()
    network.sampled = sampled
    state = network.random_state
    network.loss_and_grad(batch)
    grads = network.parameters.flat_grad.copy()
    network.random_state = state
    inputs = network._write_some(batch.targets[:-1], batch.x, batch.lengths)
    assert (inputs != batch.targets[:-1]).any() and (inputs[0] == BEGIN).all()
    assert (inputs[1:][batch.mask[1:-1]] != BEGIN).all()

    def value():
        memory, state = network.read(batch.x, batch.lengths)
        lengths = batch.mask[1:].sum(axis=0)
        y, _ = network.decoder(network._target(inputs), state, lengths, memory, batch.lengths)
        return network._loss(y, batch.targets[1:], batch.mask[1:])

    check_gradients(value, [network.parameters.flat], [grads])


def test_scheduled_sampling_draws_what_the_network_would_write():
    network = make_network()
    network.linear.parameters["weight"][...] = 0
    network.linear.parameters["bias"][...] = [0, 0, 0, 50, 0, 0, 0, 0]
    batch = make_batch()
    network.sampled = 1.0
    inputs = network._write_some(batch.targets[:-1], batch.x, batch.lengths)
    assert (inputs[0] == BEGIN).all() and (inputs[1:] == 3).all()
    network.sampled = 0.5
    inputs = network._write_some(batch.targets[:-1], batch.x, batch.lengths)
    kept = inputs == batch.targets[:-1]
    assert (kept | (inputs == 3)).all() and not kept.all()


@pytest.mark.parametrize("name", PLAIN)
def test_loss_is_what_is_trained_without_noise(name):
    network, batch = make_network(name), make_batch()
    assert network.loss(batch) == pytest.approx(network.loss_and_grad(batch), rel=1e-13)


def test_noise_acts_in_training_alone():
    plain = make_network("noise", dropout=0.0, word_dropout=0.0, label_smoothing=0.0)
    noisy, batch = make_network("noise"), make_batch()
    noisy.load_state_dict(plain.state_dict())
    assert noisy.loss(batch) == plain.loss(batch)
    assert noisy.loss_and_grad(batch) != noisy.loss_and_grad(batch)


def test_dropout_acts_between_all_layers_of_a_decoder_that_looks():
    options = {"attention": "general", "cell": "gru", "dropout": 0.5, "dtype": np.float64}
    decoder = make_decoder(2, 3, 3, memory_size=4, seed=0, **options)
    rng, first = np.random.default_rng(0), decoder.random_state
    x, h, memory = (rng.standard_normal(shape) for shape in ((5, 2, 2), (3, 2, 3), (6, 2, 4)))

    def run(*parts):
        """With the same numbers as at first in these parts."""
        decoder.random_state |= {part: first[part] for part in parts}
        return decoder.forward(x, (h,), None, memory, None)[0]

    y = run()
    assert (run("dropout", "layers") == y).all()
    assert (run("dropout") != y).any() and (run("layers") != y).any()


@pytest.mark.parametrize("use", ["loss", "loss_and_grad"])
def test_release_reaches_the_losses(use):
    network, batch = make_network(dtype=np.float32, n_target=9000), make_batch()
    tracemalloc.start()
    try:
        getattr(network, use)(batch)
        before = tracemalloc.get_traced_memory()[0]
        network.release()
        freed = before - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    logits = network.count(batch) * network.n_target
    assert freed > logits * network.dtype.itemsize / 2


def test_label_smoothing_is_that_of_the_loss():
    batch, plain, smooth = make_batch(), make_network(), make_network(label_smoothing=0.2)
    memory, state = plain.read(batch.x, batch.lengths)
    inputs, mask = batch.targets[:-1], batch.mask[1:]
    y, _ = plain.decoder(plain._target(inputs), state, mask.sum(axis=0), memory, batch.lengths)
    expected = fs.CrossEntropyLoss(label_smoothing=0.2)(plain.linear(y), batch.targets[1:], mask)
    assert smooth.loss_and_grad(batch) == pytest.approx(expected, rel=1e-12)
    assert smooth.loss(batch) == plain.loss(batch)


def test_word_dropout_spares_begin_and_end():
    network = make_network(word_dropout=0.5)
    ids = np.random.default_rng(0).integers(TARGETS, size=(50, 40))
    dropped = network._without_some(ids)
    changed = dropped != ids
    assert (dropped[changed] == UNKNOWN).all()
    assert not changed[(ids == BEGIN) | (ids == END)].any()
    assert 0.45 < changed[ids > UNKNOWN].mean() < 0.55


@pytest.mark.parametrize("name", PLAIN)
def test_ragged_is_one_by_one(name):
    network, batch = make_network(name), make_batch(rows=6)
    log_prob = network.log_prob(batch)
    assert -log_prob.sum() / network.count(batch) == pytest.approx(network.loss(batch), rel=1e-12)
    for row in range(6):
        alone = row_of(batch, row)
        assert network.log_prob(alone)[0] == pytest.approx(log_prob[row], rel=1e-12)
        assert network.loss(alone) * network.count(alone) == pytest.approx(-log_prob[row])


@pytest.mark.parametrize("name", PLAIN)
def test_step_by_step_is_the_whole_target(name):
    network, batch = make_network(name), make_batch(rows=5)
    inputs = batch.targets[:-1]
    memory, state = network.read(batch.x, batch.lengths)
    y, weights = network.decoder(network._target(inputs), state, None, memory, batch.lengths)
    expected = network.linear(y)
    decoding = network.decode(batch.x, batch.lengths)
    for t, (ids, scores) in enumerate(zip(inputs, expected, strict=True)):
        assert_close(decoding.step(ids), scores, 1e-12)
        if weights is None:
            assert decoding.weights is None
        else:
            assert_close(decoding.weights, weights[t], 1e-12)


@pytest.mark.parametrize("name", PLAIN)
def test_rows_keep_state_and_source_wherever_they_go(name):
    network, batch = make_network(name), make_batch(rows=4)
    rng, first = np.random.default_rng(0), np.full(4, BEGIN)
    together, histories = (
        network.decode(batch.x, batch.lengths),
        [(row, [BEGIN]) for row in range(4)],
    )
    together.step(first)
    for rows in ([0, 1, 2, 3], [3, 3, 1], [2, 0, 1, 1, 0], [4, 2]):
        together.select(np.array(rows))
        ids = rng.integers(3, TARGETS, len(rows))
        scores = together.step(ids)
        histories = [
            (histories[i][0], [*histories[i][1], token]) for i, token in zip(rows, ids, strict=True)
        ]
        for (row, tokens), expected in zip(histories, scores, strict=True):
            alone = network.decode(*row_of(batch, row)[:2])
            for token in tokens:
                got = alone.step(np.array([token]))
            assert_close(got[0], expected, 1e-12)


@pytest.mark.parametrize("name", ["lstm", "deep", "general", "deep concat"])
def test_decoding_keeps_the_weights_of_its_start(backend, name):
    network, batch = make_network(name), make_batch(rows=3)
    steps = network.decoder.start(*reversed(network.read(batch.x, batch.lengths)), batch.lengths)
    expected, x = copy.deepcopy(steps), np.ones((3, 4))
    first = expected.step(x), expected.step(x)
    network.parameters.flat[:] *= 2
    assert_identical((steps.step(x), steps.step(x)), first)


@pytest.mark.parametrize("attention", [None, "general"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_decoders_read_tokens_and_what_is_beside_them(attention, num_layers):
    options = {"memory_size": 4, "cell": "gru", "dropout": 0.0, "dtype": np.float64, "seed": 0}
    decoder = make_decoder(5, 3, num_layers, attention=attention, **options)
    table = fs.Embedding(6, 2, dtype=np.float64, seed=1)
    rng = np.random.default_rng(0)
    h, memory, known = (rng.standard_normal(s) for s in ((num_layers, 4, 3), (5, 4, 4), (4, 3)))
    ids, given = rng.integers(6, size=(7, 4)), ((h,), [3, 7, 0, 7], memory, [5, 1, 2, 0])
    x = np.concatenate([table(ids), np.broadcast_to(known, (7, 4, 3))], axis=2)
    (expected, looked), inputs = decoder(x, *given), {"embedding": table, "beside": known}
    for y, weights in (decoder(ids, *given, **inputs), decoder(x[:, :, :2], *given, beside=known)):
        assert_close(y, expected, 1e-14)
        assert looked is None or (weights == looked).all()

    y, back = decoder.forward(x, *given)
    dx, (dh,), dmemory = back(2 * y)
    d_table, d_known = np.zeros((6, 2)), dx[:, :, 2:].sum(axis=0)
    np.add.at(d_table, ids, dx[:, :, :2])
    expected = dh, d_known, d_table, decoder.parameters.flat_grad.copy()
    decoder.parameters.zero_grad()
    y, back = decoder.forward(ids, *given, **inputs)
    dx, (dh,), of_memory, d_known = back(2 * y)
    assert dx is None
    d_table = table.parameters.grads["weight"]
    assert_close((dh, d_known, d_table, decoder.parameters.flat_grad), expected, 1e-13)
    if attention is not None:
        assert_close(of_memory, dmemory, 1e-13)


def test_the_state_is_handed_over_as_it_is_without_a_reverse_direction():
    network, batch = make_network("one direction"), make_batch()
    _, (h, c) = network.encoder(network.source(batch.x), None, batch.lengths)
    _, state = network.read(batch.x, batch.lengths)
    assert_close(state, (h, c), 1e-15)


def test_tied_tables_are_one():
    names = list(make_network("one table").parameters)
    assert "source.weight" in names
    assert "target.weight" not in names and "linear.weight" not in names
    names = list(make_network("tied").parameters)
    assert "target.weight" in names and "linear.weight" not in names


@pytest.mark.parametrize("name", ["lstm", "general", "noise", "one table"])
def test_copies_train_like_the_original(name):
    network, batch = make_network(name), make_batch()
    twin = copy.deepcopy(network)
    assert twin.loss_and_grad(batch) == network.loss_and_grad(batch)
    assert_identical(twin.parameters.flat_grad, network.parameters.flat_grad)


@pytest.mark.parametrize("attention", [None, "general", "additive"])
def test_results_do_not_depend_on_the_number_of_threads(attention):
    if fs.get_backend() != "cython":
        pytest.skip("only the compiled kernels promise it")
    before, results = fs.get_num_threads(), []
    batch = make_batch(rows=16, longest=12)
    try:
        for threads in (1, 2, 3):
            fs.set_num_threads(threads)
            sizes = {"embedding_dim": 32, "hidden_size": 64, "dropout": 0.2}
            network = make_network("deep lstm", np.float32, **sizes, attention=attention)
            network.sampled = 0.3
            results.append((network.loss_and_grad(batch), network.parameters.flat_grad))
    finally:
        fs.set_num_threads(before)
    for loss, gradient in results[1:]:
        assert loss == results[0][0]
        assert_identical(gradient, results[0][1])


def test_training_state_holds_how_much_is_sampled():
    network, other = make_network(), make_network()
    network.sampled = 0.25
    other.load_training_state(network.training_state())
    assert other.sampled == 0.25


@pytest.mark.parametrize(
    ("options", "error", "parts"),
    [
        ({"cell": "elman"}, ValueError, ["cell", "'lstm'", "'elman'"]),
        ({"tie_weights": True, "hidden_size": 9}, ValueError, ["tie_weights=True", "4", "9"]),
        ({"shared_embedding": True, "n_target": 30}, ValueError, ["shared_embedding", "9", "30"]),
        ({"attention": "bilinear"}, ValueError, ["score", "'additive'", "'bilinear'"]),
        ({"word_dropout": 1.0}, ValueError, ["word_dropout", "1.0"]),
        ({"label_smoothing": 2.0}, ValueError, ["label_smoothing", "2.0"]),
    ],
)
def test_errors(options, error, parts):
    with raises(error, *parts):
        make_network(**options)


@pytest.mark.parametrize("attention", [None, "general", "additive"])
def test_a_small_task_is_learned(attention):
    """Writing a sequence backwards."""
    rng = np.random.default_rng(0)
    words = [rng.integers(3, TARGETS, rng.integers(1, 5)).tolist() for _ in range(400)]
    sources = [[*word, END] for word in words]
    targets = [[BEGIN, *word[::-1], END] for word in words]
    network = Seq2SeqNetwork(
        *(TARGETS, TARGETS, 16, 32),
        begin_id=BEGIN,
        end_id=END,
        unknown_id=UNKNOWN,
        attention=attention,
        seed=0,
    )
    batches = fs.Batches(sources, targets, target_kind="sequences", batch_size=20, seed=0)
    adam = fs.Adam(network.parameters, 0.01)
    history = fs.fit(network, batches, optimizer=adam, epochs=12, max_norm=1.0, progress=False)
    assert history.epoch_loss[-1] < 0.2 < 1 < history.epoch_loss[0]


@pytest.mark.parametrize("name", ["general", "fed", "additive", "deep concat", "dot", "lstm"])
def test_it_looks_where_its_steps_look(name):
    network, batch = make_network(name), make_batch(seed=3)
    looked, decoding = network.look(batch), network.decode(batch.x, batch.lengths)
    if name == "lstm":
        assert looked is None
        return
    for step, ids in enumerate(batch.targets[:-1]):
        decoding.step(ids)
        inside = batch.mask[step + 1]
        assert inside.any()
        np.testing.assert_allclose(looked[step, inside], decoding.weights[inside], atol=1e-12)
