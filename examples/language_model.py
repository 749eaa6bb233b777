"""Language models of Tiny Shakespeare and WikiText-2, and the same with PyTorch, side by side.

First both train on the same batches from the same weights, and the losses are compared update by
update.  Then they go on in turn, some updates each, and their times are compared: making batches,
forward, backward, clipping and the optimiser's step are all in them.

Data: tinyshakespeare/input.txt and wikitext2/wiki.train.tokens.gz of --data.
"""

import gzip
import itertools
import time

import numpy as np
import results

import fastseq as fs

try:
    import torch_language_model as twin
except ImportError:
    twin = None

CHARACTERS = {"embedding_dim": 128, "hidden_size": 256, "steps": 100, "batch_size": 32}
WORDS = {"unit": "word", "num_layers": 2, "steps": 35, "batch_size": 20}
SMALL, LARGE = (
    WORDS | {"embedding_dim": size, "hidden_size": size, "tie_weights": tied}
    for size, tied in ((200, False), (650, True))
)
ADAM = {"optimizer": "adam", "lr": 2e-3, "max_norm": 1.0}
SGD = {"optimizer": "sgd", "lr": 1.0, "max_norm": 0.25}
CASES = {  # name: corpus, settings, updates of a round
    "characters": ("Tiny Shakespeare", CHARACTERS, 20),
    "words": ("WikiText-2", SMALL, 5),
    "tied": ("WikiText-2", LARGE, 3),
}


def main():
    parser = results.parser(__doc__.splitlines()[0], seeds=[0])
    parser.add_argument(
        "--cases", nargs="+", choices=CASES, default=["characters", "words"], metavar="NAME"
    )
    parser.add_argument("--updates", type=int, default=200, metavar="N", help="default: 200")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="default: 15")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    args = results.parse(parser)
    if twin is None:
        raise SystemExit("this example compares with PyTorch: pip install torch")
    for name in args.cases:
        run(args, name, *CASES[name])


def run(args, name, corpus, settings, updates):
    """Compare losses and times of one corpus, and write them down."""
    text, compared, timed = read_text(args.data, corpus), [], []
    for cell, training in itertools.product(("lstm", "gru"), (ADAM, SGD)):
        model = fs.LanguageModel(cell=cell, **settings, **training, random_state=args.seeds[0])
        pair = Pair(model, text)
        compared.append([describe(model), *pair.compare(args.updates)])
        print(*compared[-1], sep=" | ", flush=True)
        for threads in args.threads if training is ADAM else ():
            timed.append([describe(model), threads, *pair.time(threads, args.rounds, updates)])
            print(*timed[-1], sep=" | ", flush=True)
    title = f"Language models of {corpus} ({name})"
    results.record(
        args.results,
        f"{title}: losses beside PyTorch",
        "python examples/language_model.py",
        ["model", "optimiser", "first loss", "last loss", "PyTorch's", "difference"],
        compared,
        [
            f"PyTorch {twin.torch.__version__} with the same weights and batches; seed "
            f"{args.seeds[0]}, the first {args.updates} updates. The difference is the largest "
            "of them all, relative to the loss. PyTorch's norm for clipping is summed in float64 "
            "here, as ours always is: its own sums squares in float32, which with millions of "
            "them in an array is off by 2e-4, and the losses of words then differ by as much.",
        ],
    )
    results.record(
        args.results,
        f"{title}: speed beside PyTorch",
        "python examples/language_model.py",
        ["model", "threads", "tokens/s", "PyTorch's", "ratio", "from", "to"],
        timed,
        [
            f"PyTorch {twin.torch.__version__}, Adam, in turn with fastseq in one process: "
            f"{args.rounds} rounds of {updates} updates, of whose ratios this is the median, and "
            "the range in which the middle half of them lies. The whole loop: batches, forward, "
            "backward, clipping, update.",
        ],
    )


def describe(model):
    tied = " tied" * model.tie_weights
    layers = f"{model.num_layers} x " * (model.num_layers > 1)
    sizes = f"embedding {model.embedding_dim}, T {model.steps}, B {model.batch_size}"
    return f"{model.cell.upper()} {layers}{model.hidden_size}{tied}, {sizes}"


class Pair:
    """A model and its twin, which start with the same weights and see the same batches."""

    def __init__(self, model, text):
        self.model, learned = model, model.learn_tokens(text)
        model.vocabulary_, model.n_tokens_ = learned
        self.network = model.make_network(model.random_state)
        self.optimizer = {"adam": fs.Adam, "sgd": fs.SGD}[model.optimizer](
            self.network.parameters, model.lr
        )
        self.theirs = twin.Run(self.network, model.get_params())
        windows = [model.make_windows("text", text, *learned) for _ in range(2)]
        self.batches = [endless(batches) for batches in windows]

    def compare(self, updates):
        """Train both; first and last loss, and the largest relative difference."""
        twin.set_threads(1)
        ours = self.train(take(self.batches[0], updates))
        clip, self.theirs.clip = self.theirs.clip, twin.clip_exactly
        theirs = self.theirs.train(take(self.batches[1], updates))
        self.theirs.clip = clip
        difference = np.max(np.abs(np.subtract(ours, theirs)) / np.abs(theirs))
        losses = [f"{loss:.5f}" for loss in (ours[0], ours[-1], theirs[-1])]
        return [self.model.optimizer, *losses, f"{difference:.1g}"]

    def train(self, batches):
        """The loss of each batch, in fastseq's own loop."""
        return fs.fit(
            self.network,
            batches,
            optimizer=self.optimizer,
            max_norm=self.model.max_norm,
            progress=False,
        ).loss

    def time(self, threads, rounds, updates):
        """Tokens per second of both, and how much faster we are."""
        twin.set_threads(threads)
        trains, seconds = (self.train, self.theirs.train), []
        for _ in range(rounds + 1):
            seconds.append([])
            for train, batches in zip(trains, self.batches, strict=True):
                begin = time.perf_counter()
                train(take(batches, updates))
                seconds[-1].append(time.perf_counter() - begin)
        ours, theirs = np.array(seconds[1:]).T  # the first round is to get warm
        tokens = updates * self.model.steps * self.model.batch_size
        low, ratio, high = np.quantile(theirs / ours, [0.25, 0.5, 0.75])
        speeds = [f"{tokens / np.median(times):,.0f}" for times in (ours, theirs)]
        return [*speeds, *(f"{number:.2f}" for number in (ratio, low, high))]


class take:
    """The next batches, made when they are asked for."""

    def __init__(self, batches, count):
        self.batches, self.count = batches, count

    def __iter__(self):
        return itertools.islice(self.batches, self.count)


def endless(windows):
    """Whole windows, epoch after epoch: PyTorch's twin takes no lengths."""
    while True:
        for batch in windows:
            if batch.lengths is None:
                yield batch


def read_text(data, corpus):
    if corpus == "Tiny Shakespeare":
        return (data / "tinyshakespeare" / "input.txt").read_text("utf-8")
    with gzip.open(data / "wikitext2" / "wiki.train.tokens.gz", "rt", encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    main()
