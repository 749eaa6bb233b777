"""The comparison tool: its statistics, its peers' agreement, its bound. No times are judged."""

import importlib.util
import io
import json
import sys

import numpy as np
import pytest

import fastseq as fs
from fastseq.bench import (
    command,
    dialogues,
    fresh,
    goals,
    machine,
    peers,
    roofline,
    streams,
    suites,
    tables,
)
from fastseq.bench.problems import make_problem, spread_lengths
from fastseq.bench.shapes import CELLS, MODES, SHAPES, Shape, parse_shapes
from fastseq.bench.timing import Row, geometric_mean, interleave

TINY = (5, 3, 4)


class FakeTime:
    """A clock that calls advance by known amounts."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def clock(self):
        return self.now

    def call(self, name, seconds):
        """A function that takes the next of some times, the last one again and again."""
        left = list(seconds)

        def call():
            self.order.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return call


# --- timing ---------------------------------------------------------------------------------


def test_long_calls_take_turns_and_the_order_rotates():
    time = FakeTime()
    # Two calls to warm up and count, then one a round.
    calls = {"a": time.call("a", [9, 9, 1, 2, 3]), "b": time.call("b", [9, 9, 4, 5, 6])}
    times = interleave(calls, rounds=3, slot_seconds=0.5, clock=time.clock)
    assert times == {"a": [1, 2, 3], "b": [4, 5, 6]}
    assert "".join(time.order) == "aabb" + "ab" + "ba" + "ab"


def test_short_calls_fill_their_slot():
    time = FakeTime()
    calls = {"a": time.call("a", [0.25])}
    times = interleave(calls, rounds=2, slot_seconds=1.0, clock=time.clock)
    assert times == {"a": [0.25, 0.25]}
    # One to warm up, four to count; then an untimed one and four, twice.
    assert len(time.order) == 1 + 4 + 2 * (1 + 4)


def test_ratio_is_the_median_of_ratios_within_rounds():
    row = Row({}, {"fastseq": [1.0, 10.0, 2.0], "torch": [3.0, 20.0, 3.0], "jax": [1.0, 5.0, 1.0]})
    assert row.median("fastseq") == 2.0
    assert row.ratio("torch") == 2.0  # of 3, 2, 1.5
    assert row.ratios() == {"torch": 2.0, "jax": 0.5}
    assert row.ratios(["jax"]) == {"jax": 0.5}
    assert row.ratio("fastseq", over="jax") == 2.0


def test_geometric_mean():
    assert geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)
    assert geometric_mean([]) is None


# --- the bound ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "shape", "mode", "threads", "read", "expected"),
    [
        ("lstm", (50, 1, 64), "inference", 1, 131.4, "0.0346"),
        ("lstm", (100, 1, 512), "inference", 1, 29.3, "15.5"),
        ("lstm", (100, 1, 512), "training", 2, 61.2, "9.36"),
        ("lstm", (100, 32, 256), "training", 1, 135, "59.2"),
        ("gru", (100, 1, 512), "inference", 2, 61.2, "3.04"),
        ("gru", (35, 20, 200), "training", 2, 135, "3.01"),
        ("rnn", (50, 1, 64), "inference", 1, 242.6, "0.00579"),
        ("rnn", (1000, 1, 128), "inference", 2, 279.7, "0.215"),
        ("rnn", (100, 64, 512), "training", 1, 135, "118"),
    ],
)
def test_bound_in_milliseconds(cell, shape, mode, threads, read, expected):
    """Values worked out by hand for 170 GFLOP/s a thread and a bandwidth in GB/s."""
    gflops = {1: 170, 2: 335}[threads]
    machine = roofline.Machine(gflops * 1e9, read * 1e9, threads)
    assert f"{1e3 * roofline.bound(cell, shape, mode, machine):.3g}" == expected


def test_bound_of_float64_is_half_the_rate_and_twice_the_traffic():
    single = roofline.Machine(170e9, 135e9)
    double = roofline.Machine(85e9, 135e9, dtype="float64")
    for shape in ((100, 32, 256), (100, 1, 256)):
        once = roofline.bound("lstm", shape, "training", single)
        assert roofline.bound("lstm", shape, "training", double) == pytest.approx(2 * once)


SQUARE_FLOPS, LAYER_FLOPS = 2 * 1024**3, 2 * 16 * 96 * 4 * 64 * (64 + 1024)


@pytest.mark.parametrize(
    ("hidden", "threads", "dtype", "read"),
    [
        (32, 1, "float32", 1.65 * 100e9),  # 16 KB lie in L1
        (256, 1, "float32", 0.8 * 100e9),  # 1 MB in L2
        (512, 2, "float32", 0.8 * 50e9),  # 2 MB for each of two
        (256, 1, "float64", 0.8 * 200e9),  # 2 MB; 100 GFLOP/s in float64 are 200 in float32
        (512, 1, "float32", 2 / (1 / 80e9 + 1 / 20e9)),  # half of 4 MB
    ],
)
def test_machine_is_that_of_the_probes(hidden, threads, dtype, read):
    calibration = roofline.Calibration("lstm", hidden, threads, dtype)
    share = 4 * hidden**2 * np.dtype(dtype).itemsize / threads
    numpy, layer, reading = calibration.calls
    times = {
        numpy: [SQUARE_FLOPS / 100e9, SQUARE_FLOPS / 50e9],
        layer: [LAYER_FLOPS / 80e9, LAYER_FLOPS / 100e9],
        reading: [share / 20e9] * 2,
    }
    for found in calibration.machines(times):  # once one is faster, once the other
        assert found.flops == pytest.approx(100e9)
        assert found.read == pytest.approx(read)
        assert (found.threads, found.dtype) == (threads, dtype)


def test_probes_do_the_work_that_they_are_counted_with():
    calls = roofline.Calibration("gru", 64, 1, "float64").calls
    square, (y, _), largest = (call() for call in calls.values())
    assert square.shape == (1024, 1024) and (square == 1024).all()
    assert y.shape == (16, 96, 64) and y.dtype == np.float64
    assert largest == 1


# --- peers ----------------------------------------------------------------------------------


def _installed(name):
    if name == "fastseq":
        return peers.Fastseq()
    if name == "torch":
        pytest.importorskip("torch")  # which an extra of ours has, unlike the others
    try:
        return peers.PEERS[name]()
    except ImportError as error:
        pytest.skip(f"no {name} to compare with: {error}")


@pytest.mark.parametrize("lengths", [None, spread_lengths(3, 1, 5)], ids=["dense", "ragged"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", [name for name in peers.PEERS if name != "jax"])
def test_peers_compute_the_same(name, cell, mode, dtype, lengths):
    peer, problem = _installed(name), make_problem(cell, TINY, dtype, lengths)
    if not peer.supports(problem, mode):
        assert name in ("onnxruntime", "openvino") or lengths is not None
        return
    # Raises if results differ.
    calls = peers.prepare_all([peers.Fastseq(), peer], problem, mode, threads=1)
    assert list(calls) == ["fastseq", name]


@pytest.mark.parametrize("suite", ["layers", "float64"])
def test_jax_computes_the_same(suite, capfd):
    """In a process of its own: once JAX is loaded, other tests couldn't fork without a warning."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    assert command.main([suite, "--quick", "--peers", "jax", "--shapes", "5,3,4"]) == 0
    assert "jax ms" in capfd.readouterr().out


def test_training_compares_all_gradients():
    problem = make_problem("lstm", TINY)
    call, arrays = peers.Fastseq().training(problem, 1)
    expected = {"y", "h_n", "c_n", "dx", "dh0", "dc0", *peers.PARAMETERS}
    assert set(arrays(call())) == expected


def test_different_results_are_refused():
    ours = {"y": np.ones(3), "dx": np.full(3, 1e-3)}
    theirs = {"y": np.ones(3), "dx": np.array([1e-3, 1e-3, 1.001e-3])}
    peers.check_equal("peer", theirs, {"y": ours["y"]}, "float32")
    with pytest.raises(peers.DifferentResults, match=r"peer: dx differs by 1\.0e-03"):
        peers.check_equal("peer", theirs, ours, "float32")
    with pytest.raises(peers.DifferentResults, match="no result in common"):
        peers.check_equal("peer", {"z": ours["y"]}, ours, "float32")
    with pytest.raises(peers.DifferentResults, match="y differs by nan"):
        peers.check_equal("peer", {"y": np.full(3, np.nan)}, ours, "float32")
    with pytest.raises(peers.DifferentResults, match="y is"):
        peers.check_equal("peer", {"y": np.ones((3, 1))}, ours, "float32")


def test_missing_peer_is_skipped_and_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises ImportError
    out = io.StringIO()
    command.run(
        ["layers"],
        cells=("rnn",),
        modes=("inference",),
        shapes=(Shape(*TINY),),
        peers=("torch", "numpy"),
        quick=True,
        out=out,
        progress=io.StringIO(),
    )
    text = out.getvalue()
    assert text.startswith("skipped: torch (")
    assert "numpy ms" in text
    assert "torch ms" not in text


def test_unknown_peer_is_refused():
    with pytest.raises(ValueError, match=r"peers: expected 'auto' or names out of torch, .*torhc"):
        peers.load_peers(["torhc"])


# --- tables and goals -----------------------------------------------------------------------


def _layer_row(cell="lstm", mode="inference", shape=(50, 1, 64), **times):
    times = {name: [value] * 3 for name, value in times.items()}
    return Row({"cell": cell, "mode": mode, "shape": list(shape)}, times, {"bound": [0.001] * 3})


def test_rows_table():
    rows = [
        _layer_row(fastseq=0.002, torch=0.003, jax=0.0018),
        _layer_row(cell="gru", fastseq=0.002, torch=0.002),
    ]
    text = tables.rows_table("layers", rows)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert cells[0][3:] == ["fastseq ms", "torch ms", "jax ms", "x bound", "not clearly ahead"]
    assert cells[2] == [
        "lstm", "inference", "50,1,64", "2", "3 (1.50x)", "1.8 (0.90x)", "2.00", "loses to jax",
    ]  # fmt: skip
    assert cells[3][4:] == ["2 (1.00x)", "", "2.00", "ties with torch"]


def test_odd_sizes_have_their_own_goal():
    rows = [
        _layer_row(shape=(50, 16, 10), fastseq=1.0, torch=3.0),
        _layer_row(shape=(50, 16, 50), fastseq=1.0, torch=0.9),
        _layer_row(cell="gru", shape=(50, 16, 10), fastseq=1.0, torch=2.0),
    ]
    lstm, gru = goals.goals("odd-sizes", rows, {"threads": 1, "dtype": "float32"})
    assert lstm.what.endswith("slowest shape over torch (50, 16, 50)")
    assert (lstm.value, lstm.met, gru.value, gru.met) == (0.9, False, 2.0, True)


def test_means_table():
    rows = [_layer_row(fastseq=1.0, torch=1.0), _layer_row(fastseq=1.0, torch=4.0)]
    assert "| lstm | inference | 2.00x |" in tables.means_table(rows)


def test_goals_of_layers():
    rows = [
        _layer_row(fastseq=1.0, torch=1.0, onnxruntime=1.5, openvino=1.2),
        _layer_row(shape=(100, 32, 256), fastseq=1.0, torch=0.96, onnxruntime=2, openvino=1.0),
        _layer_row(cell="gru", mode="training", fastseq=1.0, torch=9.0, jax=1.2),
    ]
    reached = goals.goals("layers", rows, {"threads": 1, "dtype": "float32"})
    values = {goal.what: (round(goal.value, 3), goal.met) for goal in reached}
    assert values["lstm inference: geometric mean over torch, 2 shapes"] == (0.98, False)
    assert values["lstm inference: slowest shape over torch (50, 1, 64)"] == (1.0, True)
    assert values["lstm inference: slowest big over torch (100, 32, 256)"] == (0.96, True)
    better = "lstm inference: geometric mean over the better of onnxruntime and openvino, 2 shapes"
    assert values[better] == (1.095, False)
    assert values["gru training (50, 1, 64): over the better of torch and jax"] == (1.2, False)
    assert values["gru training: geometric mean over torch, 1 shape"] == (9.0, True)


def test_goals_of_attention():
    rows = [
        Row({"mode": "training", "shape": [8, 8, steps, 64]}, {"fastseq": [2.0], "torch": [time]})
        for steps, time in ((128, 4.0), (512, 1.0))
    ]
    (goal,) = goals.goals("attention", rows, {"threads": 1, "dtype": "float32"})
    assert (goal.value, goal.met) == (0.5, False) and goal.what.endswith("(8, 8, 512, 64)")


def test_goals_of_streams():
    rows = [
        Row({"cell": "gru", "hidden": hidden}, {"fastseq": [1.0], "onnxruntime": [2.5]})
        for hidden in (64, 512)
    ]
    for threads in (1, 2):
        (goal,) = goals.goals("stream", rows, {"threads": threads, "dtype": "float32"})
        assert (goal.what, goal.met) == ("gru step H=64: over onnxruntime, bound buffers", True)


def test_goals_of_word_vectors():
    case = {"what": "epoch", "variant": "sg-ns", "D": 100, "words": 9}
    times = {"fastseq": [1.0], "fastseq deterministic": [1.5], "gensim": [12.5]}
    row = Row(case, times)
    over, deterministic = goals.goals("word2vec", [row], {"threads": 1})
    assert (over.value, over.met, over.what) == (12.5, True, "epoch, sg-ns, D = 100: over gensim")
    assert (deterministic.value, deterministic.met) == (1.5, False)
    row.times["fastseq 1 thread"] = [1.6]
    (scaling,) = goals.goals("word2vec", [row], {"threads": 2})
    assert (scaling.value, scaling.met) == (1.6, False)
    row = Row({**case, "what": "file, 5 epochs"}, {"fastseq": [1.0], "gensim": [8.5]})
    (over,) = goals.goals("word2vec", [row], {"threads": 1})
    assert (over.bar, over.met) == (8.0, True)
    row = Row({"variant": "sg-ns", "D": 300}, {"fastseq": [1.2], "kept": [1.0]})
    (memory,) = goals.goals("word2vec-memory", [row], {"threads": 1})
    assert (memory.value, memory.met) == (1.2, False)


def test_goal_of_ragged_batches_counts_tokens():
    row = Row(
        {"cell": "gru", "mode": "training", "shape": [100, 16, 128]},
        {"fastseq": [1.0], "fastseq dense": [2.0], "torch": [3.0]},
        {"tokens": 40, "dense_tokens": 100},
    )
    per_token, over_torch = goals.goals("ragged", [row], {"threads": 1, "dtype": "float32"})
    assert (per_token.value, per_token.met) == (1.25, False)
    assert (over_torch.value, over_torch.met) == (3.0, False)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", streams.STREAMS)
def test_streams_compute_the_same(name, threads):
    if name != "fastseq":
        _installed(name)
    before = fs.get_num_threads()
    problem = make_problem("lstm", (1, 1, 8))
    call, state = streams.STREAMS[name](problem, threads)
    expected_call, expected = streams.fastseq_stream(problem, 1)
    fs.set_num_threads(before)
    for _ in range(3):
        call()
        expected_call()
    np.testing.assert_allclose(state(), expected(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_dialogue_models_compute_the_same(cell, dtype):
    pytest.importorskip("torch")
    before = fs.get_num_threads()
    calls = dialogues.prepare(cell, (5, 4, 16), 50, dtype)
    losses = {name: [call() for _ in range(5)] for name, call in calls.items()}
    fs.set_num_threads(before)
    assert list(losses) == ["fastseq", "torch", "torch flat"]
    assert losses["fastseq"][-1] < losses["fastseq"][0]
    for name in ("torch", "torch flat"):
        np.testing.assert_allclose(losses[name], losses["fastseq"], rtol=1e-5)


def test_dialogue_models_that_differ_are_noticed():
    pytest.importorskip("torch")
    shape, words = (5, 4, 16), 50
    batch, network = dialogues.make_batch(shape, words), dialogues.make_network("gru", shape, words)
    (twin, *_) = (make(network, "gru", 1) for make in dialogues.torch_twins().values())
    network.parameters["context.bias_hh_l0"][-1] += 0.1
    with pytest.raises(peers.DifferentResults, match=r"torch: .* differs by"):
        dialogues.check_twins(network, {"torch": twin}, batch)


def test_goals_of_dialogue_models():
    case = {"cell": "gru", "mode": "training", "shape": [8, 16, 128]}
    rows = [
        Row({**case, "words": words}, {"fastseq": [1.0], "torch": [time], "torch flat": [9.0]})
        for words, time in ((1000, 4.0), (10_000, 2.0))
    ]
    found = goals.goals("dialogue", rows, {"threads": 1, "dtype": "float32"})
    assert [(goal.value, goal.met) for goal in found] == [(4.0, True), (2.0, False)]
    assert "8, 16, 128" in found[0].what and "10000 words" in found[1].what
    assert not goals.goals("dialogue", [Row(case, {"fastseq": [1.0]})], {})


# --- suites and command ---------------------------------------------------------------------


SAVED = ["layers", "odd-sizes", "float64", "ragged", "packed", "stream", "decoder", "attention"]
SAVED += ["binary-addition", "corpus", "dialogue", "word2vec", "word2vec-memory"]


@pytest.mark.parametrize("suite", SAVED)
def test_suites_run_and_save(suite, tmp_path):
    path = tmp_path / "results.json"
    options = {"cells": ("gru",), "shapes": (Shape(*TINY),), "peers": ("numpy",)}
    results = command.run(
        [suite],
        **{name: value for name, value in options.items() if name in suites.OPTIONS[suite]},
        quick=True,
        rounds=2,
        json=path,
        out=io.StringIO(),
        progress=io.StringIO(),
    )
    assert command.load(path) == json.loads(json.dumps(results))
    (result,) = results
    double = suite in ("float64", "binary-addition")
    assert result["settings"]["dtype"] == ("float64" if double else "float32")
    assert result["machine"]["cores"] >= 1
    assert result["settings"]["rounds"] == 2
    for row in result["rows"]:
        assert all(len(values) == 2 and min(values) > 0 for values in row["times"].values())


class Recording(suites.Settings):
    """Settings that remember which of them were read."""

    def __getattribute__(self, name):
        read = super().__getattribute__("__dict__").setdefault("read", set())
        read.add(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("suite", suites.SUITES)
def test_suites_take_the_options_that_they_read(suite):
    every = set(sum(suites.OPTIONS.values(), ()))
    settings = Recording.create(
        peers=("numpy",), quick=True, cells=("gru",), modes=("inference",), rounds=1
    )
    rows = suites.measure(suite, settings)
    assert {len(times) for row in rows for times in row.times.values()} == {1}
    assert settings.read & every == set(suites.OPTIONS[suite])


def test_a_file_that_cannot_be_written_fails_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(suites.SUITES, "layers", None)  # calling it would be a TypeError
    for path in ("", tmp_path, tmp_path / "missing" / "results.json"):
        with pytest.raises(OSError, match=r"\[Errno"):
            command.run(["layers"], peers=(), json=path, out=io.StringIO())


def test_rounds_that_were_asked_for_are_not_cut_down(monkeypatch):
    monkeypatch.setattr(suites, "learn_addition", lambda *args, **options: np.zeros(1))
    monkeypatch.setattr(suites.tutorial, "learn_addition", lambda *args, **options: np.zeros(1))
    for options, rounds in (({"rounds": 5}, 5), ({}, 3)):
        out = io.StringIO()
        (result,) = command.run(["binary-addition"], **options, out=out, progress=out)
        assert len(result["rows"][0]["times"]["numpy"]) == rounds
        assert f"threads 1, rounds {rounds}\n" in out.getvalue()


def test_binary_addition_learns_the_same_as_the_tutorial():
    weights = suites.tutorial.first_weights(seed=3)
    ours, theirs = (
        learn(30, weights, np.random.default_rng(4), every=1)
        for learn in (suites.learn_addition, suites.tutorial.learn_addition)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    assert len(ours) == 30


def test_busy_machine_is_mentioned():
    machine = {"load": 1.2, "allowed_cores": [0]}
    result = {"settings": {"threads": 1, "quick": False}, "machine": machine}
    assert list(command.warnings(result)) == []
    result["machine"]["load"] = 2.5
    assert "busy (load 2.5)" in " ".join(command.warnings(result))


def test_fewer_cores_than_threads_are_mentioned():
    machine = {"load": 0.5, "allowed_cores": [1]}
    result = {"settings": {"threads": 2, "quick": False}, "machine": machine}
    assert list(command.warnings(result)) == [
        "The process may use 1 of the cores, too few for 2 threads."
    ]


def test_a_headline_names_what_was_measured():
    out = io.StringIO()
    options = {"peers": ("numpy",), "quick": True, "out": out, "progress": io.StringIO()}
    command.run(["stream"], cells=("rnn",), **options)
    assert "stream: float32, threads 1" in out.getvalue()
    assert " against no peers\n" in out.getvalue()
    command.run(["layers"], cells=("rnn",), shapes=(Shape(*TINY),), **options)
    assert f"against numpy {np.__version__}\n" in out.getvalue()


def test_what_has_no_floats_is_of_no_dtype():
    result = {"suite": "corpus", "settings": {"dtype": "float32"}}
    assert command.dtype_text(result) == ""
    assert command.dtype_text(result | {"suite": "word2vec"}) == "float32, "


def test_libraries_held_back_are_mentioned():
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_CORETYPE": "Haswell"}
    machine = {"load": 0.5, "allowed_cores": [0], "environment": environment}
    result = {"settings": {"threads": 1, "quick": False}, "machine": machine}
    (warning,) = command.warnings(result)
    assert "OPENBLAS_CORETYPE=Haswell" in warning


def test_first_call_in_a_fresh_process():
    times = fresh.in_fresh_process("first_call", cell="rnn", mode="training", shape=TINY, threads=1)
    assert set(times) == {"first", "second"}


def test_failing_process_is_reported():
    with pytest.raises(OSError, match="no_such_package"):
        fresh.import_seconds("no_such_package")


def test_kept_bytes():
    tokens_times_hidden = 1000 * 32 * 64
    assert fresh.kept_bytes("lstm", (1000, 32, 64)) == 4 * 7 * tokens_times_hidden
    assert fresh.kept_bytes("rnn", (1000, 32, 64), itemsize=8) == 8 * 2 * tokens_times_hidden


def test_parse_shapes():
    assert parse_shapes("100,32,128; 50,1,64;") == (Shape(100, 32, 128), Shape(50, 1, 64))
    assert parse_shapes(";".join(map(str, SHAPES))) == SHAPES
    with pytest.raises(ValueError, match=r"shapes: expected .* got '100,32'"):
        parse_shapes("100,32")
    with pytest.raises(ValueError, match="got '1,0,3'"):
        parse_shapes("1,0,3")
    for empty in ("", " ", ";", "5,3,4;;5,3,4"):
        with pytest.raises(ValueError, match=r"shapes: expected three positive .* got ''"):
            parse_shapes(empty)


def test_command_line():
    options = command.parse(["layers", "backends", "--cells", "gru,rnn", "--shapes", "5,3,4"])
    assert options.suites == ["layers", "backends"]
    assert options.cells == ("gru", "rnn")
    assert options.shapes == (Shape(5, 3, 4),)
    assert command.parse([]).suites == ["layers"]
    assert command.parse(["layers", "--quick", "stream"]).suites == ["layers", "stream"]


def test_help_has_an_example_that_parses(capsys):
    with pytest.raises(SystemExit):
        command.parse(["--help"])
    _, _, example = capsys.readouterr().out.partition("example: fastseq bench ")
    assert example and command.parse(example.split()).suites == ["layers"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nothing"], "expected some of layers"),
        (["--cells", "lstm,grue"], "'lstm,grue'"),
        (["--mode", "both"], "inference, training"),
        (["--peers", "tensorflow"], "'tensorflow'"),
        (["--shapes", "1,2"], "T,B,H"),
        (["--shapes", ""], "T,B,H"),
        (["--rounds", "0"], "1 or more"),
        (["--threads", "0"], "1 or more"),
    ],
)
def test_wrong_command_line(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_there_may_be_as_many_threads_as_the_machine_has_cpus(monkeypatch, capsys):
    monkeypatch.setattr(command.os, "cpu_count", lambda: 8)
    assert command.parse(["--threads", "8"]).threads == 8
    with pytest.raises(SystemExit):
        command.parse(["--threads", "9"])
    assert "--threads: expected at most 8, as there are CPUs, got 9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["layers", "stream", "memory", "--shapes", "5,3,4"],
            "--shapes has no effect on stream, memory, only on layers, odd-sizes, ",
        ),
        (["float64", "--dtype", "float32"], "--dtype has no effect on float64, only on layers, "),
        (["import", "--threads", "1"], "--threads has no effect on import, only on "),
        (["stream", "--mode", "training"], "--mode has no effect on stream, only on layers, "),
        (["backends", "--peers", "torch"], "--peers has no effect on backends, only on layers, "),
        (["binary-addition", "--cells", "rnn"], "--cells has no effect on binary-addition, only "),
    ],
)
def test_options_without_effect_are_refused(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(argv)
    assert stop.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"fastseq bench: error: {message}")
    assert last.endswith("leave it out, or run those suites alone")


def test_options_without_effect_are_refused_in_python_too():
    with pytest.raises(
        ValueError, match="--dtype has no effect on stream, only on layers, odd-sizes, ragged"
    ):
        command.run(["stream"], dtype="float64")
    assert command.parse(["import", "--quick", "--rounds", "2", "--json", "x"]).rounds == 2


def test_environment_fixes_threads():
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        assert command.environment(2)[name] == "2"
    assert "intra_op_parallelism_threads=1" in command.environment(1)["XLA_FLAGS"]


def test_pinning_is_undone():
    before = machine.allowed_cores()
    with command.pinned(1):
        inside = machine.allowed_cores()
    assert machine.allowed_cores() == before
    assert inside == before or len(inside) == 1


def test_main_measures_in_a_process_of_its_own(capfd):
    options = ["--quick", "--peers", "numpy", "--cells", "rnn", "--mode", "inference"]
    assert command.main([*options, "--shapes", "5,3,4"]) == 0
    assert "| rnn  | inference | 5,3,4 |" in capfd.readouterr().out
