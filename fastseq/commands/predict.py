"""``fastseq predict``: what a trained model says of new data."""

import io
import sys

import numpy as np

from fastseq import files, models
from fastseq.commands import data, options
from fastseq.commands.wrong_models import wrong_model


def add(commands):
    command = commands.add_parser(
        "predict",
        help="let a trained model tag, label or forecast",
        description=(
            "Let a trained model say what it thinks of new data. A tagger gives lines with a "
            "word and its tag, and an empty line after each sentence; a classifier a label in "
            "each line; a regressor its numbers for a sequence in a line, or where it has some "
            "for each step in as many lines, with an empty line after each sequence; a language "
            "model the token that comes next after each line."
        ),
        epilog="example: fastseq predict tagger.safetensors --format text < sentences.txt",
    )
    command.add_argument("model", metavar="MODEL", help="a file of fastseq train")
    command.add_argument(
        "data", nargs="?", default=files.STDIN, metavar="DATA", help="a file (default: -, stdin)"
    )
    command.add_argument("--out", metavar="FILE", help="where the results go (default: stdout)")
    data.add_format(command, data.FORMATS)
    command.add_argument(
        "--column",
        type=options.column,
        metavar="N",
        help="where words or texts stand: a number from 0, or in CoNLL-U a name (default: 0)",
    )
    more = command.add_mutually_exclusive_group()
    more.add_argument(
        "--proba",
        action="store_true",
        help="probabilities of all tags or labels, whose names stand in the first line",
    )
    more.add_argument(
        "--quantiles",
        action="store_true",
        help="all quantiles of a regressor that was trained with some, beside each other",
    )
    command.set_defaults(run=run, one_blas_thread=True)


def run(args):
    """Read a model and data, write predictions."""
    if args.column is not None and args.format == "text":
        raise ValueError("--column is for files with columns, and --format text has none")
    files.check_outputs([("--out", args.out)], [args.model, args.data])
    model = models.load(args.model)
    predict = next((KINDS[kind] for kind in type(model).__mro__ if kind in KINDS), None)
    if predict is None:
        raise wrong_model(args.model, model, "predicts nothing")
    lines = io.StringIO()
    lines.writelines(f"{line}\n" for line in predict(model, args))
    if args.out is None:
        sys.stdout.write(lines.getvalue())
    else:
        files.write_atomically(args.out, lines.getvalue().encode("utf-8"))
    return 0


def tag(model, args):
    """The lines of a tagger."""
    _refuse(args.quantiles, "--quantiles", model)
    sentences = data.read_sentences(args.data, _format(args, "columns"), args.column)
    if args.proba:
        yield "\t".join(["", *map(str, model.classes_)])
    results = _ask(model.predict_proba if args.proba else model.predict, sentences, args)
    for words, values in zip(sentences, results, strict=True):
        for word, value in zip(words, values, strict=True):
            yield f"{word}\t{_numbers(value) if args.proba else value}"
        yield ""


def label(model, args):
    """The lines of a classifier."""
    _refuse(args.quantiles, "--quantiles", model)
    sequences = _read_sequences(model, args)
    if args.proba:
        yield "\t".join(map(str, model.classes_))
        yield from map(_numbers, _ask(model.predict_proba, sequences, args))
    else:
        yield from map(str, _ask(model.predict, sequences, args))


def measure(model, args):
    """The lines of a regressor."""
    _refuse(args.proba, "--proba", model)
    if args.quantiles and model.quantiles is None:
        raise ValueError(f"{args.model}: can't give --quantiles, it was trained without")
    sequences = _read_sequences(model, args)
    values = _ask(model.predict_quantiles if args.quantiles else model.predict, sequences, args)
    by_steps = model.per_step or model.horizon is not None
    for steps in values:
        yield from map(_numbers, steps if by_steps else [steps])
        if by_steps:
            yield ""


def go_on(model, args):
    """The lines of a language model."""
    _refuse(args.quantiles, "--quantiles", model)
    if model.vocabulary_ is None:
        raise ValueError(f"{args.model}: holds a model of ids, which has no text for them")
    form = data.find_format(args.data, _format(args, "text"), ("text", "tsv"))
    lines, _ = data.read_sequences(args.data, form, None, "character")
    if args.proba:
        yield "\t".join(map(_in_a_line, model.vocabulary_.tokens))
        yield from map(_numbers, _ask(model.predict_proba, lines, args))
    else:
        yield from map(_in_a_line, _ask(model.predict, lines, args))


def _in_a_line(token):
    """A token that may be a line's end, or a tab."""
    return token.replace("\n", "\\n").replace("\t", "\\t")


KINDS = {
    models.SequenceTagger: tag,
    models.SequenceClassifier: label,
    models.SequenceRegressor: measure,
    models.LanguageModel: go_on,
}


def _read_sequences(model, args):
    form = _format(args, "ts" if model.vocabulary_ is None else "text")
    columns = None if args.column is None else (args.column,)
    sequences, _ = data.read_sequences(args.data, form, columns, model.unit)
    return sequences


def _ask(predict, read, args):
    """What a model says of data; what it says against them names their file."""
    try:
        return predict(read)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{files.display_name(args.data)}: {error}") from error


def _format(args, of_stdin):
    """The wanted format; standard input has a usual one."""
    return args.format or (of_stdin if args.data == files.STDIN else None)


def _refuse(given, option, model):
    if given:
        raise ValueError(f"a {type(model).__name__} can't give {option}")


def _numbers(values):
    """Numbers in a line, as exact as float32 is."""
    return "\t".join(f"{value:.7g}" for value in np.ravel(values))
