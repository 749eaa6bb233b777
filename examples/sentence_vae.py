"""English sentences as points of a space: what keeps the latent variable in use, and new sentences.

The same model is trained four times: with the lower bound alone, with a divergence whose weight
rises and words that the decoder does not see, and with free bits or a bag of words besides.  A
divergence near 0 is that of a decoder that does without the latent variable.

Data: small_parallel_enja/ of --data, of which the English side is used.
"""

import time

import numpy as np
import results

import fastseq as fs

MODEL = {
    "latent_size": 32,
    "min_count": 2,
    "embedding_dim": 128,
    "hidden_size": 192,
    "epochs": 8,
    "batch_size": 64,
    "lr": 3e-3,
}
HELPS = {
    "the bound alone": {"kl_schedule": "constant", "word_dropout": 0.0},
    "rising weight, word drop 0.5": {"word_dropout": 0.5},
    "the same with free bits 0.1": {"word_dropout": 0.5, "free_bits": 0.1},
    "rising weight, word drop 0.3, bag of words 0.3": {"word_dropout": 0.3, "bag_of_words": 0.3},
}
SAMPLES = 20  # for the perplexity
PAIRS = (("i have a book .", "where is the station ?"), ("he is a doctor .", "she likes music ."))


def main():
    parser = results.parser(__doc__.splitlines()[0], seeds=[0])
    parser.add_argument("--lines", type=int, default=12_000, metavar="N", help="to learn from")
    parser.add_argument("--epochs", type=int, default=MODEL["epochs"], metavar="N")
    args = results.parse(parser)
    train, dev = read(args.data, args.lines)
    recipe, rows = MODEL | {"epochs": args.epochs}, []
    for seed in args.seeds:
        for name, helps in HELPS.items():
            begin = time.perf_counter()
            model = fs.SequenceVAE(**recipe, **helps, random_state=seed).fit(
                train, validation=dev, progress=False
            )
            seconds = time.perf_counter() - begin
            rows.append([name, seed, *measure(model, dev), f"{seconds:.0f}"])
            print(*rows[-1], sep=" | ", flush=True)
    settings = ", ".join(f"{name}={value!r}" for name, value in recipe.items())
    results.record(
        args.results,
        "Sentences as points of a space",
        "python examples/sentence_vae.py",
        [
            "model",
            "seed",
            "reconstruction",
            "KL",
            "active units",
            "perplexity",
            "words kept",
            "seconds",
        ],
        rows,
        [
            f"`SequenceVAE({settings})`; {len(train):,} English sentences to learn from, "
            f"{len(dev)} to test on. Reconstruction and KL are in nats for a sentence, active "
            "units are those dimensions of z whose mean varies, perplexity is per word by "
            f"{SAMPLES} importance samples, words kept are those of a sentence that are in its "
            "greedy reconstruction, in percent.",
        ],
    )
    written = [model.sample(6, seed=0), *(model.interpolate(*pair, steps=6) for pair in PAIRS)]
    results.record(
        args.results,
        "New sentences, and sentences between two others",
        "python examples/sentence_vae.py",
        ["from points drawn at random", *(f"from “{a}” to “{b}”" for a, b in PAIRS)],
        zip(*written, strict=True),
        ["By the last model of the table before; the most probable sentence for each point."],
    )


def read(folder, lines):
    """Sentences to learn from, and to test on."""
    folder = folder / "small_parallel_enja"
    train, dev = (fs.read_text(folder / name) for name in ("train.en.gz", "dev.en"))
    return [[" ".join(line) for line in part] for part in (train[:lines], dev)]


def measure(model, sentences):
    """What the latent variable does, how probable sentences are, and what is left of them."""
    report = model.latent_report(sentences)
    rebuilt = model.reconstruct(sentences, beam_size=1)
    kept = [
        len(set(text.split()) & set(other.split())) / len(set(text.split()))
        for text, other in zip(sentences, rebuilt, strict=True)
    ]
    return [
        f"{report.reconstruction:.1f}",
        f"{report.kl:.2f}",
        report.active_units,
        f"{model.perplexity(sentences, SAMPLES).per_token:.1f}",
        f"{100 * np.mean(kept):.0f}",
    ]


if __name__ == "__main__":
    main()
