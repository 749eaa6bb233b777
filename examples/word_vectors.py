"""Word vectors beside gensim's: quality after the same epochs, and speed in one process.

On gutenberg8, 18.6 million words of old books.  The last twentieth of the text is held out: both
libraries' vectors are judged there by the same objective, with the same windows and negatives.
"""

import itertools
import lzma
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from results import parse, parser, record

import fastseq as fs
from fastseq.word_counts import huffman_tree, keep_thresholds

VARIANTS = {
    "CBOW, negative sampling": {"sg": 0, "hs": 0, "negative": 5},
    "CBOW, hierarchical softmax": {"sg": 0, "hs": 1, "negative": 0},
    "skip-gram, hierarchical softmax": {"sg": 1, "hs": 1, "negative": 0},
    "skip-gram, negative sampling": {"sg": 1, "hs": 0, "negative": 5},
}
SETTINGS = {"window": 5, "min_count": 5, "sample": 1e-3}
SENTENCE = 1000  # words: the text has no sentences of its own
QUALITY, SPEED = "Word vectors: quality beside gensim", "Word vectors: speed beside gensim"


def main():
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=2, metavar="N")
    options.add_argument("--rounds", type=int, default=3, metavar="N", help="of the speed")
    options.add_argument("--words", type=int, metavar="N", help="use the first N words only")
    options.add_argument("--only", choices=["quality", "speed"])
    args = parse(options)
    with lzma.open(args.data / "gutenberg8" / "gut8.xz", "rt", encoding="ascii") as file:
        words = file.read().split()[: args.words]
    with tempfile.TemporaryDirectory() as folder:
        if args.only != "speed":
            compare_quality(args, words, Path(folder))
        if args.only != "quality":
            compare_speed(args, words, Path(folder))


def write_text(path, words):
    """A line for each SENTENCE words."""
    lines = (words[i : i + SENTENCE] for i in range(0, len(words), SENTENCE))
    path.write_text("".join(" ".join(line) + "\n" for line in lines), "ascii")
    return path


def gensim_model(**settings):
    from gensim.models import Word2Vec

    return Word2Vec(**SETTINGS, **settings)


# --- quality --------------------------------------------------------------------------------


def compare_quality(args, words, folder):
    """A row for each variant, seed and library, written as soon as it is there."""
    cut = len(words) - len(words) // 20
    train = write_text(folder / "train.txt", words[:cut])
    held_out, rows = None, []
    for (name, variant), seed in itertools.product(VARIANTS.items(), args.seeds):
        for library, make in (("fastseq", fs.Word2Vec), ("gensim", gensim_model)):
            settings = SETTINGS | variant if library == "fastseq" else variant
            # gensim's first vectors are the same for every seed that is 0
            model = make(corpus_file=str(train), epochs=args.epochs, workers=1, seed=seed + 1,
                         **settings)  # fmt: skip
            wv = fs_vectors(model)
            if held_out is None:
                held_out = HeldOut(words[cut:], wv)
            rows.append(
                [name, seed, library, *(f"{x:.4g}" for x in judge(args, model, wv, held_out))]
            )
            record(
                args.results, QUALITY, "python examples/word_vectors.py",
                ["variant", "seed", "library", "loss", "WordSim-353", "analogies"], rows,
                [f"gensim 4.4 with the same settings, {args.epochs} epochs, one worker, D = 100. "
                 "The loss is that of the text held out, for each pair; WordSim-353 is Spearman's "
                 "correlation in percent, analogies are those solved of questions-words, in "
                 "percent, among the 30,000 most frequent words."],
            )  # fmt: skip


def fs_vectors(model):
    """The vectors of either library, as KeyedVectors of ours."""
    if isinstance(model, fs.Word2Vec):
        return model.wv
    counts = [model.wv.get_vecattr(key, "count") for key in model.wv.index_to_key]
    return fs.KeyedVectors.from_arrays(model.wv.index_to_key, model.wv.vectors, counts=counts)


def judge(args, model, wv, held_out):
    """Loss, correlation and solved analogies."""
    folder = args.data / "word_eval"
    loss = held_out.loss(model, wv)
    correlation = wv.evaluate_word_pairs(folder / "ws353.txt")[1][0]
    solved = wv.evaluate_word_analogies(folder / "questions-words.txt", restrict_vocab=30_000)[0]
    return loss, 100 * correlation, 100 * solved


class HeldOut:
    """Pairs of a text, thinned out and in windows as in training."""

    def __init__(self, words, wv, most=100_000):
        self.keys, self.counts = wv.index_to_key, wv.expandos["count"]
        self.rng = np.random.default_rng(7)
        ids = np.array([wv.key_to_index[word] for word in words if word in wv.key_to_index])
        keep = keep_thresholds(self.counts, SETTINGS["sample"])
        ids = ids[self.rng.integers(0, 2**32, len(ids)) <= keep[ids]]
        reach = self.rng.integers(1, SETTINGS["window"] + 1, len(ids))
        steps = [*range(-SETTINGS["window"], 0), *range(1, SETTINGS["window"] + 1)]
        centres = np.arange(len(ids))
        near = [centres[(abs(s) <= reach) & (centres + s >= 0) & (centres + s < len(ids))]
                for s in steps]  # fmt: skip
        others = np.concatenate([at + s for at, s in zip(near, steps, strict=True)])
        centres = np.concatenate(near)
        pick = self.rng.permutation(len(centres))[:most]
        self.pairs = ids[others[pick]], ids[centres[pick]]
        order = np.argsort(centres, kind="stable")
        bags, begins = np.unique(centres[order], return_index=True)
        n = min(most, len(bags) - 1)
        self.targets, self.begins = ids[bags[:n]], begins[:n]
        self.bags = ids[others[order[: begins[n]]]]
        share = self.counts**0.75
        draws = np.searchsorted(np.cumsum(share) / share.sum(), self.rng.random((most, 5)))
        self.negatives = np.minimum(draws, len(share) - 1)

    def loss(self, model, wv):
        """Mean of a pair, or of a bag of words, by the objective that the model has."""
        places = np.array(
            [wv.key_to_index[key] for key in self.keys]
        )  # equal counts may be swapped
        vectors = wv.vectors[places]
        if model.sg:
            x, targets = vectors[self.pairs[0]], self.pairs[1]
        else:
            sizes = np.diff(np.append(self.begins, len(self.bags)))
            x = np.add.reduceat(vectors[self.bags], self.begins) / sizes[:, None]
            targets = self.targets
        if model.hs:
            return tree_loss(x, targets, model.syn1, path_of(model, self.keys))
        outputs = np.asarray(model.syn1neg, np.float64)[places]
        negatives = self.negatives[: len(x)]
        s = np.einsum("nd,nkd->nk", x, outputs[negatives])
        wrong = (negatives != targets[:, None]) * np.logaddexp(0, s)
        right = np.logaddexp(0, -np.einsum("nd,nd->n", x, outputs[targets]))
        return (right + wrong.sum(axis=1)).mean()


def path_of(model, keys):
    """A function from a word's number to its nodes and codes."""
    if isinstance(model, fs.Word2Vec):
        tree = huffman_tree(model.wv.expandos["count"])
        index = [model.wv.key_to_index[key] for key in keys]
        ways = [slice(*tree.begins[i : i + 2]) for i in index]
        return lambda word: (tree.nodes[ways[word]], tree.codes[ways[word]])
    wv = model.wv
    return lambda word: (
        wv.get_vecattr(keys[word], "point"), wv.get_vecattr(keys[word], "code")
    )  # fmt: skip


def tree_loss(x, targets, nodes, path):
    total = 0.0
    for word in np.unique(targets):
        at, codes = path(word)
        s = x[targets == word] @ np.asarray(nodes[at], np.float64).T
        total += np.logaddexp(0, np.where(np.asarray(codes) == 0, -s, s)).sum()
    return total / len(x)


# --- speed ----------------------------------------------------------------------------------


def compare_speed(args, words, folder):
    """Words per second of both, in turn; gensim sees a part of the text, which takes it longer."""
    path = write_text(folder / "text.txt", words)
    part = words[len(words) // 3 :][:600_000]
    part_path = write_text(folder / "part.txt", part)
    corpus, rows = fs.Corpus.from_file(path), []
    counts = dict(zip(corpus.index_to_key, corpus.counts.tolist(), strict=True))
    sizes = [(name, variant, 100) for name, variant in VARIANTS.items()]
    for name, variant, size in [*sizes, (*sizes[-1][:2], 300)]:
        theirs = gensim_model(vector_size=size, workers=1, **variant)
        theirs.build_vocab_from_freq(counts, corpus_count=len(corpus))
        ours = fs.Word2Vec(vector_size=size, **SETTINGS, **variant)
        ours.build_vocab(corpus)
        rates = {"gensim": [], "one": [], "two": [], "deterministic": []}
        for _ in range(args.rounds):
            begin = time.perf_counter()
            theirs.train(corpus_file=str(part_path), total_words=len(part), total_examples=1,
                         epochs=1)  # fmt: skip
            rates["gensim"].append(len(part) / (time.perf_counter() - begin))
            for kind, workers in (("one", 1), ("two", 2), ("deterministic", 1)):
                ours.workers, ours.deterministic = workers, kind == "deterministic"
                begin = time.perf_counter()
                ours.train(epochs=1)
                rates[kind].append(len(words) / (time.perf_counter() - begin))
        rate = {kind: statistics.median(values) for kind, values in rates.items()}
        rows.append([
            name, size, f"{rate['one'] / 1e3:,.0f}", f"{rate['gensim'] / 1e3:,.0f}",
            f"{rate['one'] / rate['gensim']:.1f}", f"{rate['two'] / rate['one']:.2f}",
            f"{rate['one'] / rate['deterministic']:.2f}",
        ])  # fmt: skip
        record(
            args.results, SPEED, "python examples/word_vectors.py",
            ["variant", "D", "1000 words/s", "gensim's", "ratio", "two workers", "deterministic"],
            rows,
            ["gensim 4.4, one worker, window 5, 5 negatives, sample 1e-3; words of the text, rare "
             f"ones included, in an epoch without reading the vocabulary: medians of {args.rounds} "
             "rounds in turn in one process. Two workers: how many times as fast. "
             "Deterministic: how many times as long."],
        )  # fmt: skip


if __name__ == "__main__":
    main()
