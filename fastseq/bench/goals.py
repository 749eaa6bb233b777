"""The bars that results are held against: all of them, in one place.

A ratio is a peer's time over ours, so more is better, unless a goal says "at most".
"""

from dataclasses import dataclass

from fastseq.bench.timing import geometric_mean

# (cell, mode) -> geometric mean over PyTorch, all shapes.
OVER_TORCH = {
    1: {
        ("lstm", "inference"): 1.25,
        ("lstm", "training"): 1.4,
        ("gru", "inference"): 2.3,
        ("gru", "training"): 3.5,
        ("rnn", "inference"): 2.3,
        ("rnn", "training"): 3.5,
    },
    2: {
        ("lstm", "inference"): 1.2,
        ("lstm", "training"): 1.2,
        ("gru", "inference"): 2.5,
        ("gru", "training"): 2.5,
        ("rnn", "inference"): 2.5,
        ("rnn", "training"): 2.5,
    },
}
EVERY_SHAPE = 1.0
BIG_LSTM = 0.95  # B >= 20 and H >= 256, where PyTorch is close to the machine's limit
SERVING_PEERS, OVER_SERVING = ("onnxruntime", "openvino"), 1.1
TRAINING_PEERS, OVER_TRAINING = ("torch", "jax"), 1.3
SMALL_SHAPES = ([50, 1, 64], [100, 1, 256], [50, 16, 128])
ROOFLINE, ROOFLINE_BATCH = 1.25, 16
FLOAT64_OVER_TORCH = 2.0
RAGGED_PER_TOKEN, RAGGED_OVER_TORCH = 1.15, 4.0
RAGGED_SHAPE = [100, 16, 128]
STREAM_OVER_ONNXRUNTIME, STREAM_HIDDEN = 2.0, (64, 128, 256)
DECODER = {"training": 2.0, "inference": 1.8}
SMALL_DECODER, SMALL_BATCH = 4.0, 8
UNFED_DECODER = 1.2
DIALOGUE_OVER_TORCH = 3.0
ATTENTION_OVER_TORCH = 1 / 1.2
BEAM_SEARCH_OVER_TORCH = 3.0
FIRST_OVER_SECOND = 2.0
NUMBA_OVER_CYTHON = 2.5
ADDITION_OVER_TUTORIAL = 20.0
MEMORY_OVER_KEPT = 1.1
WORD2VEC_OVER_GENSIM = {  # an epoch, D
    ("cbow-ns", 100): 3.5,
    ("cbow-hs", 100): 4.0,
    ("sg-ns", 100): 12.0,
    ("sg-hs", 100): 3.5,
    ("sg-ns", 300): 8.0,
}
FILE_OVER_GENSIM = 8.0
THREADS_OVER_ONE, DETERMINISTIC_OVER_RACING = 1.7, 1.3
CORPUS_OVER_GENSIM = 6.0
IMPORT_SECONDS = 0.05

TIE = 0.05  # ratios of 0.95 to 1.05 are a draw


@dataclass(frozen=True)
class Goal:
    """One measured number beside its bar."""

    what: str
    value: float
    bar: float
    at_most: bool = False

    @property
    def met(self):
        return self.value <= self.bar if self.at_most else self.value >= self.bar


def verdict(ratios):
    """Peers that are not clearly beaten, the strongest first; empty if there are none.

    >>> verdict({"torch": 1.5, "numpy": 1.02, "jax": 0.94, "openvino": 0.9})
    'loses to openvino, jax; ties with numpy'
    """
    names = sorted(ratios, key=ratios.get)
    losses = [name for name in names if ratios[name] < 1 - TIE]
    ties = [name for name in names if 1 - TIE <= ratios[name] <= 1 + TIE]
    groups = (("loses to", losses), ("ties with", ties))
    return "; ".join(f"{verb} {', '.join(group)}" for verb, group in groups if group)


def goals(suite, rows, settings):
    """The goals that these rows can speak about.

    Parameters
    ----------
    suite : str
    rows : list of Row
    settings : dict
        ``threads`` and ``dtype`` are read.
    """
    function = _GOALS.get(suite)
    return list(function(rows, settings)) if function else []


def _layers(rows, settings):
    if settings["dtype"] == "float64":
        yield from _float64(rows, settings)
        return
    threads = settings["threads"]
    for (cell, mode), bar in OVER_TORCH.get(threads, {}).items():
        mine = [r for r in rows if (r.case["cell"], r.case["mode"]) == (cell, mode)]
        yield from _over_torch(f"{cell} {mode}", mine, bar, threads)
    if threads == 1:
        yield from _over_serving(rows)
        yield from _over_training(rows)
    yield from _roofline(rows)


def _over_torch(what, rows, bar, threads):
    ratios = [(row.ratio("torch"), row) for row in rows if "torch" in row.times]
    if not ratios:
        return
    mean = geometric_mean(ratio for ratio, _ in ratios)
    yield Goal(f"{what}: geometric mean over torch, {_count(ratios)}", mean, bar)
    if threads > 1:
        return
    worst = {"slowest shape": (False, EVERY_SHAPE), "slowest big": (True, BIG_LSTM)}
    for words, (big, least) in worst.items():
        group = [(r, row.case["shape"]) for r, row in ratios if _is_big_lstm(row) == big]
        if group:
            ratio, shape = min(group)
            yield Goal(f"{what}: {words} over torch {_words(shape)}", ratio, least)


def _is_big_lstm(row):
    _, batch, hidden = row.case["shape"]
    return row.case["cell"] == "lstm" and batch >= 20 and hidden >= 256


def _words(shape):
    return f"({', '.join(map(str, shape))})"


def _count(items):
    return f"{len(items)} shape{'s' * (len(items) != 1)}"


def _name(row):
    return f"{row.case['cell']} {row.case.get('mode', 'training')} {_words(row.case['shape'])}"


def _best(row, names):
    """Ratio of the strongest of some peers, None if one of them was not measured."""
    ratios = row.ratios(names)
    return min(ratios.values()) if len(ratios) == len(names) else None


def _over_serving(rows):
    cells = {"lstm", "gru", "rnn"} & {row.case["cell"] for row in rows}
    for name, group in {"all cells": cells, **{cell: {cell} for cell in sorted(cells)}}.items():
        mine = [r for r in rows if r.case["cell"] in group and r.case["mode"] == "inference"]
        ratios = [best for row in mine if (best := _best(row, SERVING_PEERS)) is not None]
        if ratios:
            better = " and ".join(SERVING_PEERS)
            what = f"{name} inference: geometric mean over the better of {better}"
            yield Goal(f"{what}, {_count(ratios)}", geometric_mean(ratios), OVER_SERVING)


def _over_training(rows):
    for row in rows:
        cell, mode, shape = row.case["cell"], row.case["mode"], row.case["shape"]
        if cell == "lstm" or mode != "training" or shape not in SMALL_SHAPES:
            continue
        best = _best(row, TRAINING_PEERS)
        if best is not None:
            better = " and ".join(TRAINING_PEERS)
            yield Goal(f"{_name(row)}: over the better of {better}", best, OVER_TRAINING)


def _roofline(rows):
    batched = [row for row in rows if row.case["shape"][1] >= ROOFLINE_BATCH]
    if batched:
        within = sum(row.over_bound() <= ROOFLINE for row in batched) / len(batched)
        what = f"share of rows with B >= {ROOFLINE_BATCH} within {ROOFLINE}x of the roofline"
        yield Goal(what, within, 1.0)


def _odd_sizes(rows, settings):
    """No shape slower than PyTorch."""
    for cell, mode in dict.fromkeys((row.case["cell"], row.case["mode"]) for row in rows):
        ratios = [
            (row.ratio("torch"), row.case["shape"])
            for row in rows
            if (row.case["cell"], row.case["mode"]) == (cell, mode) and "torch" in row.times
        ]
        if ratios:
            ratio, shape = min(ratios)
            what = f"{cell} {mode}, odd sizes: slowest shape over torch {_words(shape)}"
            yield Goal(what, ratio, EVERY_SHAPE)


def _float64(rows, settings):
    wanted = {"cell": "lstm", "mode": "training", "shape": [100, 32, 128]}
    for row in rows:
        if row.case == wanted and "torch" in row.times:
            yield Goal(f"float64 {_name(row)}: over torch", row.ratio("torch"), FLOAT64_OVER_TORCH)


def _ragged(rows, settings):
    for row in rows:
        yield Goal(
            f"{_name(row)}: cost per real token over dense",
            row.facts["dense_tokens"] / row.facts["tokens"] / row.ratio("fastseq dense"),
            RAGGED_PER_TOKEN,
            at_most=True,
        )
        mode, shape = row.case["mode"], row.case["shape"]
        if (mode, shape) == ("training", RAGGED_SHAPE) and "torch" in row.times:
            what = f"{_name(row)}: over torch, packed"
            yield Goal(what, row.ratio("torch"), RAGGED_OVER_TORCH)


def _packed(rows, settings):
    yield from _over_serving(rows)


def _stream(rows, settings):
    for row in rows:
        if row.case["hidden"] in STREAM_HIDDEN and "onnxruntime" in row.times:
            what = f"{row.case['cell']} step H={row.case['hidden']}"
            ratio = row.ratio("onnxruntime")
            yield Goal(f"{what}: over onnxruntime, bound buffers", ratio, STREAM_OVER_ONNXRUNTIME)


def _decoder(rows, settings):
    for row in rows:
        if "torch" not in row.times:
            continue
        mode, (_, batch, _) = row.case["mode"], row.case["shape"]
        bar = SMALL_DECODER if batch <= SMALL_BATCH else DECODER[mode]
        if row.case["kind"] == "general unfed":
            bar = UNFED_DECODER
        yield Goal(f"{_name(row)} {row.case['kind']}: over torch", row.ratio("torch"), bar)


def _dialogue(rows, settings):
    for row in rows:
        if "torch" in row.times:
            what = f"HRED {_name(row)}, {row.case['words']} words: over torch, a turn at a time"
            yield Goal(what, row.ratio("torch"), DIALOGUE_OVER_TORCH)


def _beam_search(rows, settings):
    for row in rows:
        if row.case["model"] == "decoder" and "torch" in row.times:
            sizes = "{sentences} x {beams} beams, {tokens} tokens, lengths {lengths}"
            what = f"beam search, {sizes.format(**row.case)}"
            yield Goal(f"{what}: over torch", row.ratio("torch"), BEAM_SEARCH_OVER_TORCH)


def _attention(rows, settings):
    for mode in dict.fromkeys(row.case["mode"] for row in rows):
        ratios = [
            (row.ratio("torch"), row.case["shape"])
            for row in rows
            if row.case["mode"] == mode and "torch" in row.times
        ]
        if ratios:
            ratio, shape = min(ratios)
            what = f"attention {mode}: slowest shape over torch {_words(shape)}"
            yield Goal(what, ratio, ATTENTION_OVER_TORCH)


def _first_call(rows, settings):
    for row in rows:
        what = f"{_name(row)}: first call over second"
        yield Goal(what, row.ratio("first", over="second"), FIRST_OVER_SECOND, at_most=True)


def _backends(rows, settings):
    for row in rows:
        if {"cython", "numba"} <= set(row.times):
            what = f"{_name(row)}: numba over cython"
            yield Goal(what, row.ratio("numba", over="cython"), NUMBA_OVER_CYTHON, at_most=True)


def _addition(rows, settings):
    for row in rows:
        what = f"{row.case['updates']} updates: over the tutorial's loop"
        yield Goal(what, row.ratio("numpy"), ADDITION_OVER_TUTORIAL)


def _memory(rows, settings):
    for row in rows:
        what = f"{_name(row)}: memory grown over kept"
        yield Goal(what, row.ratio("fastseq", over="kept"), MEMORY_OVER_KEPT, at_most=True)


def _imports(rows, settings):
    for row in rows:
        added = row.median("fastseq") - row.median("numpy")
        yield Goal("seconds that fastseq adds to numpy", added, IMPORT_SECONDS, at_most=True)


def _corpus(rows, settings):
    for row in rows:
        if "gensim build_vocab" in row.times:
            what = f"{row.case['words']:,} words: over gensim's vocabulary"
            yield Goal(what, row.ratio("gensim build_vocab"), CORPUS_OVER_GENSIM)


def _word2vec(rows, settings):
    for row in rows:
        what = f"{row.case['what']}, {row.case['variant']}, D = {row.case['D']}"
        key = row.case["variant"], row.case["D"]
        if "gensim" in row.times and settings["threads"] == 1:
            bar = WORD2VEC_OVER_GENSIM[key] if row.case["what"] == "epoch" else FILE_OVER_GENSIM
            yield Goal(f"{what}: over gensim", row.ratio("gensim"), bar)
        if "fastseq deterministic" in row.times and settings["threads"] == 1:
            slower = row.ratio("fastseq deterministic")
            yield Goal(f"{what}: deterministic", slower, DETERMINISTIC_OVER_RACING, at_most=True)
        if settings["threads"] == 2 and "fastseq 1 thread" in row.times:
            yield Goal(f"{what}: over one thread", row.ratio("fastseq 1 thread"), THREADS_OVER_ONE)


def _word2vec_memory(rows, settings):
    for row in rows:
        what = f"{row.case['variant']}, D = {row.case['D']}: memory grown over kept"
        yield Goal(what, row.ratio("fastseq", over="kept"), MEMORY_OVER_KEPT, at_most=True)


_GOALS = {
    "layers": _layers,
    "odd-sizes": _odd_sizes,
    "float64": _float64,
    "ragged": _ragged,
    "packed": _packed,
    "stream": _stream,
    "decoder": _decoder,
    "dialogue": _dialogue,
    "attention": _attention,
    "beam-search": _beam_search,
    "first-call": _first_call,
    "backends": _backends,
    "binary-addition": _addition,
    "corpus": _corpus,
    "word2vec": _word2vec,
    "word2vec-memory": _word2vec_memory,
    "memory": _memory,
    "import": _imports,
}
