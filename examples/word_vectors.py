"""Word vectors beside gensim's and word2vec.c's: quality after the same epochs, and speed.

On gutenberg8, 18.6 million words of old books.  The last twentieth of the text is held out: vectors
are judged there by the objective that made them, with the same windows and negatives.
"""

import itertools
import lzma
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from results import parse, parser, record, recorded

import fastseq as fs
from fastseq.bench import fresh
from fastseq.words.word_counts import huffman_tree, keep_thresholds

VARIANTS = {
    "cbow-ns": {"sg": 0, "hs": 0, "negative": 5},
    "cbow-hs": {"sg": 0, "hs": 1, "negative": 0},
    "sg-hs": {"sg": 1, "hs": 1, "negative": 0},
    "sg-ns": {"sg": 1, "hs": 0, "negative": 5},
}
NAMES = {
    "cbow-ns": "CBOW, negative sampling",
    "cbow-hs": "CBOW, hierarchical softmax",
    "sg-hs": "skip-gram, hierarchical softmax",
    "sg-ns": "skip-gram, negative sampling",
}
ORDER = list(NAMES.values())
PROGRAMS = ("fastseq", "gensim", "word2vec.c")
SETTINGS = {"window": 5, "min_count": 5, "sample": 1e-3}
SENTENCE = 1000  # words: the text has no sentences of its own
COMMAND = "python examples/word_vectors.py"
SPEED = "Word vectors: speed beside gensim"
FILE = "Word vectors: from a file to vectors"
MEMORY = "Word vectors: memory"


def main():
    options = parser(__doc__.splitlines()[0])
    add = options.add_argument
    add("--epochs", type=int, default=2, metavar="N", help="of the quality (default: 2)")
    add("--rounds", type=int, default=3, metavar="N", help="of the speed (default: 3)")
    add("--words", type=int, metavar="N", help="use the first N words only")
    add("--only", choices=["quality", "speed", "file", "memory"])
    add("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME",
        help=f"some of {', '.join(VARIANTS)}")  # fmt: skip
    add("--programs", nargs="+", choices=PROGRAMS, default=["fastseq", "gensim"], metavar="NAME",
        help=f"of the quality: some of {', '.join(PROGRAMS)}")  # fmt: skip
    add("--word2vec-c", metavar="FILE", help="the program word2vec.c, whose seed is $W2V_SEED")
    args = parse(options)
    if "word2vec.c" in args.programs and args.word2vec_c is None:
        options.error("give the compiled word2vec.c, as with --word2vec-c FILE")
    with lzma.open(args.data / "gutenberg8" / "gut8.xz", "rt", encoding="ascii") as file:
        words = file.read().split()[: args.words]
    parts = {
        "quality": compare_quality,
        "speed": compare_speed,
        "file": compare_from_file,
        "memory": measure_memory,
    }
    with tempfile.TemporaryDirectory() as folder:
        for part in parts if args.only is None else [args.only]:
            parts[part](args, words, Path(folder))


def write_text(path, words):
    """A line for each SENTENCE words."""
    lines = (words[i : i + SENTENCE] for i in range(0, len(words), SENTENCE))
    path.write_text("".join(" ".join(line) + "\n" for line in lines), "ascii")
    return path


def gensim_model(**settings):
    from gensim.models import Word2Vec

    return Word2Vec(**SETTINGS, **settings)


# --- quality --------------------------------------------------------------------------------


class Trained:
    """What a program made of a text: vectors, those of outputs, and how words are written."""

    def __init__(self, wv, outputs=None, tree=None):
        self.wv, self.outputs, self.tree = wv, outputs, tree


def train_fastseq(args, path, variant, seed):
    model = fs.Word2Vec(
        corpus_file=path, epochs=args.epochs, workers=1, seed=seed, **SETTINGS, **variant
    )
    if not model.hs:
        return Trained(model.wv, model.syn1neg)
    tree = huffman_tree(model.wv.expandos["count"])
    return Trained(model.wv, model.syn1, lambda key: tree.path(model.wv.key_to_index[key]))


def train_gensim(args, path, variant, seed):
    model = gensim_model(corpus_file=str(path), epochs=args.epochs, workers=1, seed=seed, **variant)
    keys, attribute = model.wv.index_to_key, model.wv.get_vecattr
    counts = [attribute(key, "count") for key in keys]
    wv = fs.KeyedVectors.from_arrays(keys, model.wv.vectors, counts=counts)
    if not model.hs:
        return Trained(wv, model.syn1neg)
    return Trained(wv, model.syn1, lambda key: (attribute(key, "point"), attribute(key, "code")))


def train_word2vec_c(args, path, variant, seed):
    """By word2vec.c, which writes the words' vectors alone."""
    out = path.with_suffix(".bin")
    options = {
        "train": path,
        "output": out,
        "binary": 1,
        "size": 100,
        "alpha": 0.025,
        "window": SETTINGS["window"],
        "sample": SETTINGS["sample"],
        "min-count": SETTINGS["min_count"],
        "cbow": 1 - variant["sg"],
        "hs": variant["hs"],
        "negative": variant["negative"],
        "iter": args.epochs,
        "threads": 1,
    }
    command = [args.word2vec_c]
    for name, value in options.items():
        command += [f"-{name}", str(value)]
    environment = os.environ | {"W2V_SEED": str(seed)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return Trained(fs.KeyedVectors.load_word2vec_format(out, binary=True))


TRAIN = {"fastseq": train_fastseq, "gensim": train_gensim, "word2vec.c": train_word2vec_c}


def compare_quality(args, words, folder):
    """A row for each variant, seed and program, written as soon as it is there.

    Rows of other runs with as many epochs stay.
    """
    title = f"Word vectors: quality after {args.epochs} epochs"
    cut = len(words) - len(words) // 20
    path = write_text(folder / "train.txt", words[:cut])
    corpus = fs.Corpus.from_file(path, min_count=SETTINGS["min_count"])
    held_out = HeldOut(words[cut:], corpus)
    rows = {tuple(row[:3]): row for row in recorded(args.results, title)}
    for name, seed, program in itertools.product(args.variants, args.seeds, args.programs):
        # gensim's first vectors are the same for every seed that is 0
        trained = TRAIN[program](args, path, VARIANTS[name], seed + 1)
        row = [NAMES[name], str(seed), program, *judge(args, trained, held_out, VARIANTS[name])]
        rows[tuple(row[:3])] = row
        record(
            args.results,
            title,
            COMMAND,
            ["variant", "seed", "program", "loss", "WordSim-353", "analogies"],
            [*sorted((row for row in rows.values() if row[1] != "mean"), key=place), *means(rows)],
            [
                f"gensim 4.4 and word2vec.c with the same settings, {args.epochs} epochs, one "
                "thread, D = 100. The loss is that of the text held out, for each pair (word2vec.c "
                "keeps to itself what it takes); WordSim-353 is Spearman's correlation in percent, "
                "analogies are those solved of questions-words, in percent, among the 30,000 most "
                "frequent words. Rows of several runs; in the end the mean of all seeds, and how "
                "far the seeds lie apart."
            ],
        )


def place(row):
    return ORDER.index(row[0]), int(row[1]), PROGRAMS.index(row[2])


def means(rows):
    """For each variant and program the mean of the seeds, and the range of their values."""
    result = []
    for name, program in itertools.product(ORDER, PROGRAMS):
        mine = [r[3:] for r in rows.values() if (r[0], r[2]) == (name, program) and r[1] != "mean"]
        if mine:
            result.append([name, "mean", program, *map(mean_and_range, zip(*mine, strict=True))])
    return result


def mean_and_range(values):
    if "-" in values:
        return "-"
    values = [float(value) for value in values]
    return f"{statistics.mean(values):.4g} ({max(values) - min(values):.2g})"


def judge(args, trained, held_out, variant):
    """Loss, correlation and solved analogies."""
    wv, folder = trained.wv, args.data / "word_eval"
    loss = "-" if trained.outputs is None else f"{held_out.loss(trained, variant):.4g}"
    correlation = wv.evaluate_word_pairs(folder / "ws353.txt")[1][0]
    solved = wv.evaluate_word_analogies(folder / "questions-words.txt", restrict_vocab=30_000)[0]
    return loss, f"{100 * correlation:.4g}", f"{100 * solved:.4g}"


class HeldOut:
    """Pairs of a text, thinned out and in windows as in training on a corpus."""

    def __init__(self, words, corpus, most=100_000):
        self.keys = corpus.index_to_key
        places = {key: i for i, key in enumerate(self.keys)}
        self.rng = np.random.default_rng(7)
        ids = np.array([places[word] for word in words if word in places])
        keep = keep_thresholds(corpus.counts, SETTINGS["sample"])
        ids = ids[self.rng.integers(0, 2**32, len(ids)) <= keep[ids]]
        centres, others = self._pairs(len(ids))
        pick = self.rng.permutation(len(centres))[:most]
        self.pairs = ids[others[pick]], ids[centres[pick]]
        order = np.argsort(centres, kind="stable")
        bags, begins = np.unique(centres[order], return_index=True)
        n = min(most, len(bags) - 1)
        self.targets, self.begins = ids[bags[:n]], begins[:n]
        self.bags = ids[others[order[: begins[n]]]]
        share = corpus.counts**0.75
        draws = np.searchsorted(np.cumsum(share) / share.sum(), self.rng.random((most, 5)))
        self.negatives = np.minimum(draws, len(share) - 1)

    def _pairs(self, count):
        """Places of centres and of words in their windows."""
        window, places = SETTINGS["window"], np.arange(count)
        reach = self.rng.integers(1, window + 1, count)
        centres, others = [], []
        for step in (*range(-window, 0), *range(1, window + 1)):
            is_near = (abs(step) <= reach) & (places + step >= 0) & (places + step < count)
            centres.append(places[is_near])
            others.append(places[is_near] + step)
        return np.concatenate(centres), np.concatenate(others)

    def loss(self, trained, variant):
        """Mean of a pair, or of a bag of words, by the objective that the variant has."""
        wv = trained.wv
        places = np.array(
            [wv.key_to_index[key] for key in self.keys]
        )  # equal counts may be swapped
        vectors = wv.vectors[places]
        if variant["sg"]:
            x, targets = vectors[self.pairs[0]], self.pairs[1]
        else:
            sizes = np.diff(np.append(self.begins, len(self.bags)))
            x = np.add.reduceat(vectors[self.bags], self.begins) / sizes[:, None]
            targets = self.targets
        if variant["hs"]:
            return self._tree_loss(x, targets, trained)
        outputs = np.asarray(trained.outputs, np.float64)[places]
        negatives = self.negatives[: len(x)]
        s = np.einsum("nd,nkd->nk", x, outputs[negatives])
        wrong = (negatives != targets[:, None]) * np.logaddexp(0, s)
        right = np.logaddexp(0, -np.einsum("nd,nd->n", x, outputs[targets]))
        return (right + wrong.sum(axis=1)).mean()

    def _tree_loss(self, x, targets, trained):
        total = 0.0
        for word in np.unique(targets):
            at, codes = trained.tree(self.keys[word])
            s = x[targets == word] @ np.asarray(trained.outputs[at], np.float64).T
            total += np.logaddexp(0, np.where(np.asarray(codes) == 0, -s, s)).sum()
        return total / len(x)


# --- speed ----------------------------------------------------------------------------------


def compare_speed(args, words, folder):
    """Words per second of both, in turn; gensim sees a part of the text, which takes it longer.

    Rows of other variants stay.
    """
    path = write_text(folder / "text.txt", words)
    part = words[len(words) // 3 :][:600_000]
    part_path = write_text(folder / "part.txt", part)
    corpus = fs.Corpus.from_file(path)
    rows = {tuple(row[:2]): row for row in recorded(args.results, SPEED)}
    counts = dict(zip(corpus.index_to_key, corpus.counts.tolist(), strict=True))
    sizes = [(name, 100) for name in args.variants]
    for name, size in [*sizes, *[("sg-ns", 300)] * ("sg-ns" in args.variants)]:
        theirs = gensim_model(vector_size=size, workers=1, **VARIANTS[name])
        theirs.build_vocab_from_freq(counts, corpus_count=len(corpus))
        ours = fs.Word2Vec(vector_size=size, **SETTINGS, **VARIANTS[name])
        ours.build_vocab(corpus)

        def train_theirs(model=theirs):
            model.train(
                corpus_file=str(part_path), total_words=len(part), total_examples=1, epochs=1
            )

        def train_ours(workers, deterministic=False, model=ours):
            model.workers, model.deterministic = workers, deterministic
            model.train(epochs=1)

        rates = {"gensim": [], "one": [], "two": [], "deterministic": []}
        for _ in range(args.rounds):
            rates["gensim"].append(len(part) / seconds(train_theirs))
            rates["one"].append(len(words) / seconds(train_ours, 1))
            rates["two"].append(len(words) / seconds(train_ours, 2))
            rates["deterministic"].append(len(words) / seconds(train_ours, 1, True))
        rate = {kind: statistics.median(values) for kind, values in rates.items()}
        rows[NAMES[name], str(size)] = [
            NAMES[name],
            str(size),
            f"{rate['one'] / 1e3:,.0f}",
            f"{rate['gensim'] / 1e3:,.0f}",
            f"{rate['one'] / rate['gensim']:.1f}",
            f"{rate['two'] / rate['one']:.2f}",
            f"{rate['one'] / rate['deterministic']:.2f}",
        ]
        record(
            args.results,
            SPEED,
            COMMAND,
            ["variant", "D", "1000 words/s", "gensim's", "ratio", "two workers", "deterministic"],
            sorted(
                rows.values(), key=lambda row: (int(row[1]), list(NAMES.values()).index(row[0]))
            ),
            [
                "gensim 4.4, one worker, window 5, 5 negatives, sample 1e-3; words of the text, "
                "rare ones included, in an epoch without reading the vocabulary: medians of "
                f"{args.rounds} rounds in turn in one process. Two workers: how many times as "
                "fast. Deterministic: how many times as long, with one worker."
            ],
        )


def seconds(call, *arguments):
    begin = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - begin


def compare_from_file(args, words, folder):
    """Everything from a file to vectors, five epochs of skip-gram, in turn."""
    path = str(write_text(folder / "text.txt", words))
    settings = {"corpus_file": path, "workers": 1, "epochs": 5, **VARIANTS["sg-ns"]}
    times = {"fastseq": [], "gensim": []}
    for _ in range(args.rounds):
        for name, make in (("fastseq", fs.Word2Vec), ("gensim", gensim_model)):
            options = settings | SETTINGS if name == "fastseq" else settings
            times[name].append(seconds(lambda make=make, options=options: make(**options)))
    ours, theirs = (statistics.median(times[name]) for name in ("fastseq", "gensim"))
    record(
        args.results,
        FILE,
        COMMAND,
        ["words", "seconds", "gensim's", "ratio"],
        [[f"{len(words):,}", f"{ours:.2f}", f"{theirs:.1f}", f"{theirs / ours:.1f}"]],
        [
            "Words counted, then five epochs of skip-gram with negative sampling, D = 100, one "
            f"worker: medians of {args.rounds} rounds in turn in one process. gensim 4.4 reads "
            "the file by itself (`corpus_file`), which is its quickest way."
        ],
    )


def measure_memory(args, words, folder):
    """What fresh processes need, from a file to vectors, beside what they keep."""
    path, rows = str(write_text(folder / "text.txt", words)), []
    for name, size in itertools.product(args.variants, (100, 300)):
        bytes_of = fresh.in_fresh_process("word2vec_memory", path=path, variant=name, size=size)
        kept, grown = (bytes_of[key] / 1e6 for key in ("kept", "grown"))
        rows.append([NAMES[name], size, f"{kept:.0f}", f"{grown:.0f}", f"{grown / kept:.2f}"])
        record(
            args.results,
            MEMORY,
            COMMAND,
            ["variant", "D", "kept MB", "grown MB", "ratio"],
            rows,
            [
                f"{len(words):,} words, one epoch, one worker. Kept are the numbers of all vectors "
                "(of words and of outputs) and the encoded text; grown is the peak of a fresh "
                "process above what it takes with all code loaded (39 MB, of which Python and "
                "NumPy are 26). In between are the words themselves, their places and counts, rows "
                "that end at whole cache lines (100 numbers take the place of 112), and trees."
            ],
        )


if __name__ == "__main__":
    main()
