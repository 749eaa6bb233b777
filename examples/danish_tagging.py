"""Parts of speech of Danish, and the same with PyTorch: weights, order of data and updates alike.

Data: UD Danish (DDT), in ud_danish_ddt/ of --data.
"""

import time

import numpy as np
import results

import fastseq as fs

UPDATES = 100  # of which losses are compared, without dropout


def main():
    parser = results.parser(__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="default: 20")
    args = results.parse(parser)
    train, test = (
        fs.read_conll(args.data / "ud_danish_ddt" / f"da-ud-{part}.conllu.gz")
        for part in ("train", "test")
    )
    try:
        import torch_tagger as twin
    except ImportError:
        twin = None
        print("PyTorch is not installed: fastseq alone")
    rows, notes = [], []
    for seed in args.seeds:
        model = fs.SequenceTagger(epochs=args.epochs, random_state=seed)
        begin = time.perf_counter()
        model.fit(*train)
        row = [seed, f"{model.score(*test):.4f}", f"{time.perf_counter() - begin:.0f}"]
        rows.append(row + ([] if twin is None else run_twin(twin, model, train, test)))
    columns = ["seed", "test accuracy", "seconds"]
    if twin is not None:
        columns += ["PyTorch's accuracy", "PyTorch's seconds"]
        means = [np.mean([float(row[i]) for row in rows]) for i in (1, 3)]
        notes.append(
            f"Mean accuracy {means[0]:.4f}, PyTorch {twin.torch.__version__} {means[1]:.4f}. "
            "Without dropout, which has other random numbers there, losses of the first "
            f"{UPDATES} updates differ by at most {compare(twin, train):.1g} of their value."
        )
    model.set_params(random_state=None)
    sizes = [f"{len(x):,} sentences of {sum(map(len, x)):,} words" for x, _ in (train, test)]
    notes.insert(0, f"`{model}`; {sizes[0]} to learn from, {sizes[1]} to test on.")
    results.record(
        args.results,
        "Danish parts of speech",
        "python examples/danish_tagging.py",
        columns,
        rows,
        notes,
    )


# --- the twin -----------------------------------------------------------------------------------


def run_twin(twin, model, train, test):
    """Accuracy and seconds of PyTorch, from the weights that the fitted model started with."""
    network, batches = begin_again(model, train)
    unknown_id, settings = model.vocabulary_.unknown_id, model.get_params()
    twin.torch.manual_seed(model.random_state)
    twin.use_threads_of_fastseq()
    theirs = twin.TorchTagger(network, settings)
    _, seconds = twin.train(theirs, batches, model.epochs, model.lr, model.max_norm, unknown_id)
    tested = model.make_batches(*test, None)
    return [f"{twin.accuracy(theirs, tested, unknown_id):.4f}", f"{seconds:.0f}"]


def begin_again(model, train):
    """A network as it was before training, and the batches in the order of training."""
    network_seed, order_seed, _ = fs.Module.split_seed(model.random_state, 3)  # as fit has it
    return model.make_network(network_seed), model.make_batches(*train, order_seed)


def compare(twin, train):
    """The largest relative difference of the first updates' losses."""
    model = fs.SequenceTagger(epochs=1, dropout=0.0, word_dropout=0.0, random_state=0)
    head = [part[: UPDATES * model.batch_size] for part in train]
    ours = np.array(model.fit(*head).history_.loss)
    network, batches = begin_again(model, head)
    theirs = twin.TorchTagger(network, model.get_params())
    losses, _ = twin.train(theirs, batches, 1, model.lr, model.max_norm, 1)
    return np.max(np.abs(ours - losses) / np.abs(losses))


if __name__ == "__main__":
    main()
