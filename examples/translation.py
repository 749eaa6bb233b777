"""English to Japanese and back, with attention and without, and the same with PyTorch.

All start with the same weights, see the same batches with the same learning rates, drop the same
numbers, and write by the same search.

Data: small_parallel_enja/ of --data.
"""

import copy
import time

import results

import fastseq as fs

UPDATES = 50  # of which losses are compared
SETTINGS = {
    "vocabulary_size": 4000,
    "embedding_dim": 256,
    "hidden_size": 256,
    "attention": "general",
    "dropout": 0.3,
    "label_smoothing": 0.1,
    "epochs": 8,
    "batch_size": 64,
    "lr": 2e-3,
    "schedule": "cosine",
    "length_penalty": 0.6,
    "metric": "bleu",
}


def main():
    parser = results.parser(__doc__.splitlines()[0], seeds=[0])
    parser.add_argument(
        "--directions", nargs="+", choices=("en-ja", "ja-en"), default=["en-ja", "ja-en"]
    )
    parser.add_argument("--epochs", type=int, default=SETTINGS["epochs"], metavar="N")
    parser.add_argument("--pairs", type=int, metavar="N", help="the first N alone (default: all)")
    parser.add_argument("--without-torch", action="store_true", help="fastseq alone")
    args = results.parse(parser)
    twin = None if args.without_torch else find_twin()
    rows, notes = [], []
    for direction in args.directions:
        data = [read(args.data, direction, part) for part in ("train", "dev", "test")]
        data[0] = [lines[: args.pairs] for lines in data[0]]
        for seed in args.seeds:
            for name, model in make_models(args.epochs, seed).items():
                beside = None if model.attention is None else twin
                rows += compare(beside, direction, name, model, *data)
        if twin is not None and not notes:
            difference = largest_difference(twin, data[0])
            notes.append(
                f"PyTorch {twin.torch.__version__}, with the same weights, batches and random "
                f"numbers: losses of the first {UPDATES} updates differ by at most "
                f"{difference:.1g} of their value, by rounding alone."
            )
    settings = ", ".join(f"{name}={value!r}" for name, value in SETTINGS.items())
    results.record(
        args.results,
        "Translation between English and Japanese",
        "python examples/translation.py",
        ["direction", "model", "seed", "dev loss", "dev BLEU", "test BLEU", "seconds"],
        rows,
        [
            f"small_parallel_enja, {len(data[0][0]):,} pairs; `Seq2Seq({settings})`, "
            f"{args.epochs} epochs, of which the one with the least loss on the development set "
            "is kept. BLEU by sacrebleu, of tokens as they come with the data.",
            *notes,
        ],
    )


def find_twin():
    try:
        import torch_seq2seq
    except ImportError:
        print("PyTorch is not installed: fastseq alone")
        return None
    return torch_seq2seq


def make_models(epochs, seed):
    settings = SETTINGS | {"epochs": epochs, "random_state": seed}
    return {
        "attention": fs.Seq2Seq(**settings),
        "last state alone": fs.Seq2Seq(**settings | {"attention": None}),
    }


def compare(twin, direction, name, model, train, dev, test):
    """The rows of a model and of its twin."""
    begin = time.perf_counter()
    model.fit(*train, validation=dev)
    seconds = time.perf_counter() - begin
    loss = min(model.history_.validation)
    yield row(direction, name, model, loss, dev, test, seconds)
    if twin is None:
        return
    theirs, loss, seconds = run_twin(twin, model, train, dev)
    yield row(direction, f"{name}, PyTorch", theirs, loss, dev, test, seconds)


def row(direction, name, model, loss, dev, test, seconds):
    scores = [f"{model.score(*pairs):.2f}" for pairs in (dev, test)]
    cells = [direction, name, model.random_state, f"{loss:.4f}", *scores, f"{seconds:.0f}"]
    print(*cells, sep=" | ", flush=True)
    return cells


def run_twin(twin, model, train, dev):
    """PyTorch's weights in a model of ours, the loss of its best epoch, and seconds."""
    network, batches = begin_again(model, train)
    twin.use_threads_of_fastseq()
    theirs = twin.TorchSeq2Seq(network, model.get_params())
    held_out = model._batches(*model.read(*dev), None)
    _, loss, seconds = twin.train(theirs, batches, model.history_.lr, held_out)
    ours = copy.deepcopy(model)
    ours.network_.load_state_dict(theirs.state_for(ours.network_))
    return ours, loss, seconds


def begin_again(model, train):
    """A network as it was before training, and the batches in the order of training."""
    network_seed, order_seed, _ = fs.Module.split_seed(model.random_state, 3)  # as fit has it
    return model.make_network(network_seed), model._batches(*model.read(*train), order_seed)


def largest_difference(twin, train, updates=UPDATES, **settings):
    """Of the first updates' losses, relative to them."""
    settings = SETTINGS | {"random_state": 0} | settings
    model = fs.Seq2Seq(**settings)
    pairs = model.read(*train)
    model.learn_names(*pairs)
    model.learn(*pairs)
    network, batches = begin_again(model, train)
    theirs = twin.TorchSeq2Seq(network, settings | {"max_norm": model.max_norm})
    few = [batch for batch, _ in zip(batches, range(updates), strict=False)]
    adam = fs.Adam(network.parameters, model.lr)
    ours = fs.fit(network, few, optimizer=adam, max_norm=model.max_norm, progress=False).loss
    losses, _, _ = twin.train(theirs, few, [model.lr] * len(few))
    return max(abs(a - b) / b for a, b in zip(ours, losses, strict=True))


def read(folder, direction, part):
    """The lines of both languages."""
    ending = ".gz" if part == "train" else ""
    return [
        fs.read_text(
            folder / "small_parallel_enja" / f"{part}.{language}{ending}", unit="character"
        )
        for language in direction.split("-")
    ]


if __name__ == "__main__":
    main()
