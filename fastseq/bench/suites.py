"""What is measured: one generator per suite, yielding a :class:`Row` per case."""

import importlib.util
import inspect
import itertools
import os
import time
from dataclasses import dataclass, field

import numpy as np

from fastseq.bench import beams, decoders, dialogues, fresh, streams, texts, tutorial, word_vectors
from fastseq.bench.attention import LIBRARIES, make_heads
from fastseq.bench.peers import Fastseq, check_equal, load_peers, prepare_all
from fastseq.bench.problems import make_problem, spread_lengths
from fastseq.bench.roofline import Calibration, bound
from fastseq.bench.shapes import CELLS, MODES, QUICK_SHAPES, SHAPES, Shape
from fastseq.bench.timing import PAUSE_SECONDS, SLOT_SECONDS, Row, interleave
from fastseq.demo.binary_addition import BinaryAdder, train

# (T, B, H), shortest, longest
RAGGED = (
    (Shape(100, 16, 128), 25, 100),
    (Shape(100, 32, 256), 10, 100),
    (Shape(50, 64, 64), 1, 50),
)
SHORT_SHAPES = tuple(
    Shape(*sizes)
    for sizes in ((1, 1, 256), (5, 1, 256), (10, 1, 512), (20, 1, 128), (50, 1, 64), (20, 4, 256))
)
STREAM_HIDDEN = (64, 128, 256, 512)
FIRST_CALL_SHAPES = (
    Shape(50, 1, 64),
    Shape(20, 4, 96),
    Shape(10, 8, 256),
    Shape(100, 32, 128),
    Shape(100, 32, 256),
)
# sizes that people choose and no vector divides
ODD_SHAPES = tuple(
    Shape(*sizes)
    for sizes in ((50, 1, 20), (50, 16, 10), (50, 16, 50), (50, 32, 100), (50, 32, 300))
)
BACKENDS_SHAPE = Shape(100, 32, 256)
MEMORY_SHAPE = Shape(1000, 32, 64)
ATTENTION_HEADS, ATTENTION_SIZE = (8, 8), 64  # batch and heads, size of a head
ATTENTION_STEPS = (128, 512, 2048)
FLOAT64_SHAPES = (Shape(50, 1, 64), Shape(100, 32, 128), Shape(100, 32, 256))
BEAMS, LONGEST = 5, 30
SENTENCES = ((32, LONGEST), (32, LONGEST // 3), (1, LONGEST))  # how many, the shortest length
VOCABULARIES = (50, 200, 1000, 3000, 10_000)
UPDATES = 10_000
ROUNDS = 9
FEW_ROUNDS = 3  # where a call takes seconds
QUICK_RAGGED = ((Shape(20, 4, 32), 5, 20),)
QUICK_ODD_SHAPES = (Shape(20, 4, 10),)
QUICK_UPDATES = 50
WORDS = (1_000_000, 5_000_000)
QUICK_WORDS = 20_000
WORD2VEC_WORDS = (300_000, 1_000_000)  # from file to vectors, and of an epoch
WORD2VEC_MEMORY_WORDS = 30_000_000  # 300 for each different one; in English they are more
WORD2VEC_SIZES = [*((variant, 100) for variant in word_vectors.VARIANTS), ("sg-ns", 300)]


@dataclass
class Settings:
    """How a suite is run; ``None`` stands for the suite's own choice."""

    cells: tuple = CELLS
    modes: tuple = MODES
    shapes: tuple | None = None
    threads: int = 1
    rounds: int | None = None
    dtype: str = "float32"
    quick: bool = False
    slot_seconds: float = SLOT_SECONDS
    peers: list = field(default_factory=list)
    missing: dict = field(default_factory=dict)

    @classmethod
    def create(cls, peers="auto", quick=False, **options):
        """Load the peers; ``quick`` is for a look, not for numbers to keep."""
        loaded, missing = load_peers(peers)
        if quick:
            options = {"rounds": 3, "slot_seconds": 0.002, **options}
        return cls(peers=loaded, missing=missing, quick=quick, **options)

    def pick(self, normal, quick):
        """The shapes asked for, else the suite's own."""
        return self.shapes or (quick if self.quick else normal)

    def turns(self, normal=ROUNDS):
        """The rounds asked for, else the suite's own number."""
        return self.rounds or normal

    def interleave(self, calls, rounds=ROUNDS):
        pause = PAUSE_SECONDS if self.threads > 1 else 0.0
        return interleave(calls, self.turns(rounds), self.slot_seconds, pause)

    def has_peer(self, name):
        return any(peer.name == name for peer in self.peers)


def _cases(settings, shapes):
    for cell in settings.cells:
        for mode in settings.modes:
            for shape in shapes:
                yield {"cell": cell, "mode": mode, "shape": list(shape)}


def layers(settings):
    """Whole layers, dense batches, all peers, with the roofline bound beside them."""
    yield from _layers(settings, settings.pick(SHAPES, QUICK_SHAPES), settings.dtype)


def _layers(settings, shapes, dtype):
    competitors = [Fastseq(), *settings.peers]
    for case in _cases(settings, shapes):
        problem = make_problem(case["cell"], case["shape"], dtype)
        calls = prepare_all(competitors, problem, case["mode"], settings.threads)
        calibration = Calibration(case["cell"], problem.hidden, settings.threads, problem.dtype)
        times = settings.interleave(calls | calibration.calls)
        machines = calibration.machines({name: times.pop(name) for name in calibration.calls})
        yield Row(case, times, {"bound": [bound(**case, machine=m) for m in machines]})


def odd_sizes(settings):
    """Whole layers of sizes that are no multiple of a vector's."""
    yield from _layers(settings, settings.pick(ODD_SHAPES, QUICK_ODD_SHAPES), settings.dtype)


def float64(settings):
    """The same in double precision, on fewer shapes."""
    yield from _layers(settings, settings.pick(FLOAT64_SHAPES, QUICK_SHAPES), "float64")


def ragged(settings):
    """Batches of unequal lengths against our own dense batch and PyTorch's packed sequences."""
    peers = [peer for peer in settings.peers if peer.ragged]
    cases = QUICK_RAGGED if settings.quick else RAGGED
    for shape, shortest, longest in cases:
        lengths = spread_lengths(shape.batch, shortest, longest)
        for case in _cases(settings, [shape]):
            cell, mode = case["cell"], case["mode"]
            problem = make_problem(cell, shape, settings.dtype, lengths)
            calls = prepare_all([Fastseq(), *peers], problem, mode, settings.threads)
            dense = make_problem(cell, shape, settings.dtype)
            calls["fastseq dense"], _ = Fastseq().prepare(dense, mode, settings.threads)
            facts = {"tokens": problem.tokens, "dense_tokens": dense.tokens}
            case["lengths"] = f"{shortest} to {longest}"
            yield Row(case, settings.interleave(calls), facts)


def packed(settings):
    """Short sequences: weights packed once, or in each call, and runtimes that compile ahead."""
    competitors = [Fastseq(packed=True), *settings.peers]
    for cell in settings.cells:
        for shape in settings.pick(SHORT_SHAPES, QUICK_SHAPES):
            problem = make_problem(cell, shape, settings.dtype)
            calls = prepare_all(competitors, problem, "inference", settings.threads)
            calls["fastseq layer"], _ = Fastseq().prepare(problem, "inference", settings.threads)
            case = {"cell": cell, "mode": "inference", "shape": list(shape)}
            yield Row(case, settings.interleave(calls))


def stream(settings):
    """One step at batch 1, called from Python."""
    wanted = {"fastseq", *(peer.name for peer in settings.peers)}
    functions = {name: f for name, f in streams.STREAMS.items() if name in wanted}
    for cell in settings.cells:
        for hidden in STREAM_HIDDEN[:1] if settings.quick else STREAM_HIDDEN:
            problem = make_problem(cell, (1, 1, hidden))
            calls, states = {}, {}
            for name, function in functions.items():
                call, state = function(problem, settings.threads)
                for _ in range(3):
                    call()
                calls[name], states[name] = call, state()
            for name, state in states.items():
                check_equal(name, {"h": state}, {"h": states["fastseq"]}, problem.dtype)
            yield Row({"cell": cell, "hidden": hidden}, settings.interleave(calls))


def decoder(settings):
    """Decoders with attention over (T, B, H), H of everything, against a loop in PyTorch."""
    settings_of_all = settings.dtype, settings.threads
    for case in _cases(settings, settings.pick(decoders.SHAPES, decoders.QUICK_SHAPES)):
        if case["cell"] == "rnn":
            continue
        for kind in decoders.KINDS:
            given = case["cell"], kind, case["mode"], case["shape"], *settings_of_all
            calls = decoders.prepare(*given, torch=settings.has_peer("torch"))
            yield Row({**case, "kind": kind}, settings.interleave(calls))


def dialogue(settings):
    """Updates of HRED over (turns, B, H), H of everything, against two ways of PyTorch."""
    shapes = settings.pick(dialogues.SHAPES, dialogues.QUICK_SHAPES)
    vocabularies = dialogues.VOCABULARIES[: 1 if settings.quick else None]
    cells = [cell for cell in settings.cells if cell in dialogues.CELLS]
    for cell, shape, words in itertools.product(cells, shapes, vocabularies):
        given = cell, shape, words, settings.dtype, settings.threads
        calls = dialogues.prepare(*given, torch=settings.has_peer("torch"))
        case = {"cell": cell, "mode": "training", "shape": list(shape), "words": words}
        yield Row(case, settings.interleave(calls))


def attention(settings):
    """Scaled dot-product attention over ever longer sequences, against PyTorch's."""
    libraries = ["fastseq"] + ["torch"] * settings.has_peer("torch")
    for mode in settings.modes:
        for causal in (False, True):
            for steps in ATTENTION_STEPS[:1] if settings.quick else ATTENTION_STEPS:
                shape = (*ATTENTION_HEADS, steps, ATTENTION_SIZE)
                heads = make_heads(shape, causal=causal, dtype=settings.dtype)
                calls = _attention_calls(libraries, heads, mode, settings.threads)
                case = {"mode": mode, "causal": causal, "shape": list(shape)}
                yield Row(case, settings.interleave(calls))


def _attention_calls(libraries, heads, mode, threads):
    """``{library: call}``, checked against the first one's results."""
    calls, expected = {}, None
    for name in libraries:
        calls[name], arrays = LIBRARIES[name](heads, mode, threads)
        results = arrays(calls[name]())
        expected = results if expected is None else expected
        check_equal(name, results, expected, heads.dtype)
    return calls


def backends(settings):
    """Our own backends against each other at one shape."""
    import fastseq

    active = fastseq.get_backend()
    competitors = []
    for name in ("cython", "numba", "numpy"):
        try:
            fastseq.set_backend(name)
            competitors.append(Fastseq(name))
        except ImportError as error:
            settings.missing[name] = str(error)
        finally:
            fastseq.set_backend(active)
    for case in _cases(settings, settings.pick((BACKENDS_SHAPE,), QUICK_SHAPES)):
        problem = make_problem(case["cell"], case["shape"], settings.dtype)
        calls = prepare_all(competitors, problem, case["mode"], settings.threads)
        yield Row(case, settings.interleave(calls))


def beam_search(settings):
    """Beam search over scores that cost nothing, and over a decoder with attention."""
    wanted = {"fastseq", *(peer.name for peer in settings.peers)}
    searches = {name: make for name, make in beams.SEARCHES.items() if name in wanted}
    vocabularies = VOCABULARIES[:1] if settings.quick else VOCABULARIES
    for model, classes, (count, shortest) in itertools.product(
        beams.MODELS, vocabularies, SENTENCES
    ):
        lengths = spread_lengths(count, shortest, LONGEST).tolist()
        sizes = lengths, BEAMS, classes
        calls = {
            name: search(beams.MODELS[model][name](*sizes), *sizes, settings.threads)
            for name, search in searches.items()
        }
        beams.check_searches({name: call() for name, call in calls.items()}, lengths)
        case = {"model": model, "sentences": count, "beams": BEAMS, "tokens": classes}
        case["lengths"] = f"{shortest} to {LONGEST}"
        yield Row(case, settings.interleave(calls))


def binary_addition(settings):
    """Online updates of a sigmoid RNN, 2-16-1: the public API against a tutorial's loop."""
    updates = QUICK_UPDATES if settings.quick else UPDATES
    weights = tutorial.first_weights()
    calls = {
        "fastseq": lambda: learn_addition(updates, weights, np.random.default_rng(0)),
        "numpy": lambda: tutorial.learn_addition(updates, weights, np.random.default_rng(0)),
    }
    ours, theirs = (
        learn(50, weights, np.random.default_rng(1), every=1)
        for learn in (learn_addition, tutorial.learn_addition)
    )
    check_equal("fastseq", {"losses": ours}, {"losses": theirs}, np.float64)
    times = interleave(calls, settings.turns(FEW_ROUNDS), settings.slot_seconds)
    yield Row({"updates": updates}, times)


def learn_addition(updates, weights, random, every=100):
    """``tutorial.learn_addition`` with a fastseq layer: the demo's training."""
    w_in, w_hidden, w_out = weights
    adder = BinaryAdder(len(w_hidden), learning_rate=tutorial.RATE)
    adder.rnn.load_state_dict({"weight_ih_l0": w_in.T, "weight_hh_l0": w_hidden.T})
    adder.w_out[:] = w_out[:, 0]
    return np.array([loss for _, loss in train(adder, updates, random, report_every=every)])


def first_call(settings):
    """The first call of a layer against its second, each pair in a fresh process."""
    for case in _cases(settings, settings.pick(FIRST_CALL_SHAPES, QUICK_SHAPES)):
        pairs = [
            fresh.in_fresh_process("first_call", **case, threads=settings.threads)
            for _ in range(settings.turns())
        ]
        yield Row(case, {key: [pair[key] for pair in pairs] for key in ("first", "second")})


def memory(settings):
    """Bytes by which training grows a fresh process, against what must be kept."""
    libraries = ["fastseq"] + ["torch"] * settings.has_peer("torch")
    shape = Shape(20, 4, 32) if settings.quick else MEMORY_SHAPE
    rounds = settings.turns(FEW_ROUNDS)
    for cell in settings.cells:
        grown = {
            name: [
                fresh.in_fresh_process("peak_memory", library=name, cell=cell, shape=shape)["grown"]
                for _ in range(rounds)
            ]
            for name in libraries
        }
        case = {"cell": cell, "shape": list(shape)}
        yield Row(case, {**grown, "kept": [fresh.kept_bytes(cell, shape)] * rounds})


def imports(settings):
    """Import times in fresh processes, taking turns; a package's dependencies count for it."""
    names = ["numpy", "fastseq"] + [p.name for p in settings.peers if p.name != "numpy"]
    names = [name for name in names if importlib.util.find_spec(name)]
    for name in names:
        fresh.import_seconds(name)  # files into the page cache
    times = {name: [] for name in names}
    for _ in range(settings.turns()):
        for name in names:
            times[name].append(fresh.import_seconds(name))
    yield Row({}, times)


def corpus(settings):
    """A text counted and encoded, against gensim's build_vocab, which only counts."""
    for words in (QUICK_WORDS,) if settings.quick else WORDS:
        with texts.text_file(words) as path:
            calls = texts.readers(path, settings.threads)
            times = settings.interleave(calls, FEW_ROUNDS)
            yield Row({"words": words}, times, {"bytes": os.path.getsize(path)})


def word2vec(settings):
    """Word vectors against gensim's: an epoch of all kinds, and from a file to vectors."""
    few, many = (QUICK_WORDS, QUICK_WORDS) if settings.quick else WORD2VEC_WORDS

    def rows(words, kinds):
        with texts.text_file(words) as path:
            for what, variant, size, make in kinds:
                calls = make(path, variant, size, settings.threads)
                times = settings.interleave(calls, FEW_ROUNDS)
                yield Row({"what": what, "variant": variant, "D": size, "words": words}, times)

    yield from rows(many, [("epoch", *case, word_vectors.epochs) for case in WORD2VEC_SIZES])
    from_file = (f"file, {word_vectors.EPOCHS} epochs", "sg-ns", 100, word_vectors.from_file)
    yield from rows(few, [from_file])


def word2vec_memory(settings):
    """Bytes by which Word2Vec grows a fresh process, against vectors and encoded text."""
    with texts.text_file(QUICK_WORDS if settings.quick else WORD2VEC_MEMORY_WORDS) as path:
        for variant, size in WORD2VEC_SIZES[: 1 if settings.quick else None]:
            runs = [
                fresh.in_fresh_process("word2vec_memory", path=path, variant=variant, size=size)
                for _ in range(settings.turns(FEW_ROUNDS))
            ]
            times = {
                name: [run[key] for run in runs]
                for name, key in (("fastseq", "grown"), ("kept", "kept"))
            }
            yield Row({"variant": variant, "D": size}, times)


SUITES = {
    "layers": layers,
    "odd-sizes": odd_sizes,
    "float64": float64,
    "ragged": ragged,
    "packed": packed,
    "stream": stream,
    "decoder": decoder,
    "dialogue": dialogue,
    "attention": attention,
    "first-call": first_call,
    "backends": backends,
    "beam-search": beam_search,
    "binary-addition": binary_addition,
    "corpus": corpus,
    "word2vec": word2vec,
    "word2vec-memory": word2vec_memory,
    "memory": memory,
    "import": imports,
}
FLOAT64_SUITES = ("float64", "binary-addition")  # they take no dtype
SUITES_WITHOUT_FLOATS = ("corpus", "import")

# The options that a suite takes; every suite takes the others, such as --rounds.
OPTIONS = {
    "layers": ("cells", "modes", "shapes", "threads", "peers", "dtype"),
    "odd-sizes": ("cells", "modes", "shapes", "threads", "peers", "dtype"),
    "float64": ("cells", "modes", "shapes", "threads", "peers"),
    "ragged": ("cells", "modes", "threads", "peers", "dtype"),
    "packed": ("cells", "shapes", "threads", "peers", "dtype"),
    "stream": ("cells", "threads", "peers"),
    "decoder": ("cells", "modes", "shapes", "threads", "peers", "dtype"),
    "dialogue": ("cells", "shapes", "threads", "peers", "dtype"),
    "attention": ("modes", "threads", "peers", "dtype"),
    "first-call": ("cells", "modes", "shapes", "threads"),
    "backends": ("cells", "modes", "shapes", "threads", "dtype"),
    "beam-search": ("threads", "peers"),
    "binary-addition": (),
    "corpus": ("threads",),
    "word2vec": ("threads",),
    "word2vec-memory": (),
    "memory": ("cells", "peers"),
    "import": ("peers",),
}


def refuse_ignored(names, given):
    """Raise ValueError if one of these suites would ignore an option that was given."""
    for option in dict.fromkeys(sum(OPTIONS.values(), ())):
        ignoring = [name for name in names if option not in OPTIONS[name]]
        if option in given and ignoring:
            takers = ", ".join(name for name in SUITES if option in OPTIONS[name])
            flag = {"modes": "mode"}.get(option, option)
            raise ValueError(
                f"--{flag} has no effect on {', '.join(ignoring)}, only on {takers}: "
                "leave it out, or run those suites alone"
            )


def summary(name):
    """A suite's first line of documentation."""
    return inspect.getdoc(SUITES[name]).splitlines()[0]


def measure(name, settings, report=lambda row, seconds: None):
    """Run a suite; ``report(row, seconds)`` hears of every row as soon as it is measured."""
    rows, start = [], time.perf_counter()
    for row in SUITES[name](settings):
        rows.append(row)
        report(row, time.perf_counter() - start)
        start = time.perf_counter()
    return rows
