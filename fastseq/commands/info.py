"""``fastseq info``: what the package runs on, or what is in a file."""

import numpy as np

import fastseq


def add(commands):
    command = commands.add_parser(
        "info",
        help="show version, backend, instruction set and threads, or what is in a model's file",
        description=(
            "Without a file show what the package runs on: worth adding to every bug report. "
            "With one show what model is in it, its settings, and how its training went."
        ),
        epilog="example: fastseq info tagger.safetensors",
    )
    command.add_argument("model", nargs="?", metavar="MODEL", help="a file that fastseq wrote")
    command.set_defaults(run=run)


def run(args):
    """Show the configuration, or a file."""
    if args.model is None:
        fastseq.show_config()
    else:
        for name, value in describe(args.model):
            print(f"{name:15} {value}")
    return 0


def describe(path):
    """Names and values of what there is to say about a file."""
    from fastseq import checkpoint, tensor_files
    from fastseq.models import estimator_files
    from fastseq.words import word2vec_states

    file = tensor_files.read(path)
    yield "file", path
    yield "kind", file.kind
    yield "fastseq", file.version
    if file.kind == estimator_files.KIND:
        yield from _describe_estimator(estimator_files.load(path))
    elif file.kind == word2vec_states.KIND:
        yield from _describe_word2vec(checkpoint.state_in(file))
    else:
        yield "arrays", len(file.arrays)
        yield "numbers", f"{sum(array.size for array in file.arrays.values()):,}"


def _describe_estimator(estimator):
    yield "model", estimator
    for name in estimator.learned:
        value = getattr(estimator, name)
        if value is not None:
            yield name, _shortened(value)
    parameters = estimator.network_.parameters
    yield "parameters", f"{parameters.flat.size:,} of {parameters.flat.dtype}"
    yield from ((f"  {name}", view.shape) for name, view in parameters.items())
    yield "history", estimator.history_


def _describe_word2vec(state):
    settings = state["settings"]
    size = settings.pop("vector_size")
    yield "model", f"Word2Vec, {len(state['keys']):,} words, vectors of {size} numbers"
    yield "settings", ", ".join(f"{name}={value!r}" for name, value in settings.items())
    yield "words", _shortened(np.array(state["keys"]))
    yield "epochs", state["epochs_trained"]
    yield "losses", _shortened(np.array(state["losses"]))


def _shortened(value, most=12):
    """A value in a line; long arrays by their beginning."""
    if not hasattr(value, "tolist"):
        return value
    items = [f"{item:.6g}" if isinstance(item, float) else str(item) for item in value.tolist()]
    rest = f" ... ({len(items)} of them)" if len(items) > most else ""
    return " ".join(items[:most]) + rest
