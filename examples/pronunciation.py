"""Pronunciations in 15 languages (SIGMORPHON 2020, task 1), by one recipe for all of them.

A few small models of the same kind, from different random numbers, decide together; two of them
train at a time, each in a process of its own.

Data: sigmorphon2020_g2p/ of --data, where a language without a test set is tested on none.
"""

import ast
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import results

import fastseq as fs
from fastseq import metrics

MODELS = 10
RECIPE = {
    "source_unit": "character",
    "target_unit": "token",
    "normalization": "NFD",
    "attention": "general",
    "embedding_dim": 64,
    "hidden_size": 128,
    "dropout": 0.4,
    "label_smoothing": 0.1,
    "epochs": 60,
    "batch_size": 32,
    "lr": 3e-3,
    "schedule": "cosine",
    "selection": "score",
}
# WER and PER of the official LSTM encoder-decoder with attention (Gorman et al., 2020)
PUBLISHED = {"fre": (6.22, 1.32), "hun": (5.33, 1.18), "vie": (4.67, 1.52)}


def main():
    parser = results.parser(__doc__.splitlines()[0], seeds=[0])
    parser.add_argument(
        "--languages", nargs="+", metavar="NAME", help="such as fre hun; by default all there are"
    )
    parser.add_argument("--models", type=int, default=MODELS, metavar="N")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="settings instead of the recipe's",
    )
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="default: 2")
    args = results.parse(parser)
    args.recipe = RECIPE | dict(map(read_setting, args.set))
    folder = args.data / "sigmorphon2020_g2p"
    languages = args.languages or sorted(
        path.name.removesuffix("_train.tsv") for path in (folder / "train").iterdir()
    )
    rows, fresh = [], multiprocessing.get_context("spawn")  # threads don't survive a fork
    with ProcessPoolExecutor(args.processes, fresh, fs.set_num_threads, (1,)) as pool:
        for language in languages:
            for seed in args.seeds:
                rows.append([language, seed, *run(pool, folder, language, seed, args)])
                print(*rows[-1], sep=" | ", flush=True)
    recipe = ", ".join(f"{name}={value!r}" for name, value in args.recipe.items())
    results.record(
        args.results,
        "Pronunciations of SIGMORPHON 2020",
        "python examples/pronunciation.py",
        [
            "language",
            "seed",
            "dev WER",
            "one model's",
            "test WER",
            "published",
            "test PER",
            "published",
            "seconds",
        ],
        rows,
        [
            f"`Seq2Seq({recipe})`, {args.models} of them together, {args.processes} trained at "
            "a time; WER is the percentage of words with any mistake, PER that of wrong phones. "
            "The training set alone is learned from, the best epoch is that with the fewest "
            "mistakes on the development set.",
        ],
    )


def run(pool, folder, language, seed, args):
    """Errors on development and test set beside what was published, and seconds of training."""
    train, dev, test = (read(folder / part, language, part) for part in ("train", "dev", "test"))
    begin = time.perf_counter()
    models = fit(pool, train, dev, seed, args)
    seconds = time.perf_counter() - begin
    alone = np.mean([100 * (1 - model.score(*dev)) for model in models])
    wer, _ = errors(models, dev)
    tested = [f"{rate:.2f}" for rate in errors(models, test)] if test else ["", ""]
    published = PUBLISHED.get(language, ("", ""))
    pairs = [number for pair in zip(tested, published, strict=True) for number in pair]
    return [f"{wer:.2f}", f"{alone:.2f}", *pairs, f"{seconds:.0f}"]


def fit(pool, train, dev, seed, args):
    """Several models from different random numbers."""
    seeds = [1000 * seed + number for number in range(args.models)]
    settings = [args.recipe | {"random_state": number} for number in seeds]
    return list(pool.map(fit_one, settings, *([data] * args.models for data in (train, dev))))


def fit_one(settings, train, dev):
    return fs.Seq2Seq(**settings).fit(*train, validation=dev, progress=False)


def errors(models, pairs):
    """The percentages of wrong words and of wrong phones."""
    words, phones = pairs
    first, *others = models
    predicted = first.predict(words, ensemble=others)
    wrong = np.mean([ours != truth for ours, truth in zip(predicted, phones, strict=True)])
    return 100 * wrong, 100 * metrics.phone_error_rate(predicted, phones)


def read_setting(text):
    """The name and the value of NAME=VALUE, which is a number or a word."""
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def read(folder, language, part):
    """Words and their phones, or None if they are not there."""
    path = folder / f"{language}_{part}.tsv"
    return fs.read_tsv(path, units=("character", "word")) if path.exists() else None


if __name__ == "__main__":
    main()
