"""``fastseq translate``: what a sequence-to-sequence model writes for each line."""

import itertools
import sys

import numpy as np

from fastseq import files, models
from fastseq.commands.options import (
    add_beam,
    add_drawing,
    number,
    number_or_average,
    positive_number,
    whole_number,
)
from fastseq.commands.wrong_models import wrong_model
from fastseq.models import inputs

AT_ONCE = 500  # lines that are translated together, and then written


def add(commands):
    command = commands.add_parser(
        "translate",
        help="let a trained model translate, pronounce or rewrite lines",
        description=(
            "Write a line for each line, by a model of fastseq train seq2seq. With --n-best there "
            "are several lines for each, each with the number of its line (from 1) and its score "
            "before it; with --align a last column tells which token was written where the model "
            "looked at which: source-target, both from 0. Columns are separated by tabs."
        ),
        epilog="example: echo fastseq | fastseq translate g2p.safetensors --beam 5",
    )
    command.add_argument("model", metavar="MODEL", help="a file of fastseq train seq2seq")
    command.add_argument(
        "data", nargs="?", default=files.STDIN, metavar="DATA", help="a file (default: -, stdin)"
    )
    command.add_argument("--out", metavar="FILE", help="where the results go (default: stdout)")
    _add_search(command)
    _add_limits(command)
    _add_sampling(command)
    command.set_defaults(run=run, one_blas_thread=True, parser=command)


def _add_search(command):
    add_beam(command)
    command.add_argument(
        "--n-best", type=positive_number, metavar="N", help="the N best lines, up to K"
    )
    command.add_argument("--align", action="store_true", help="tell which token comes from which")
    command.add_argument(
        "--length-penalty",
        type=number_or_average,
        metavar="X",
        help="above 0 longer lines are preferred; average compares probabilities per token "
        "(default: as in the model's settings)",
    )
    command.add_argument(
        "--coverage-penalty",
        type=number,
        default=0.0,
        metavar="X",
        help="above 0 lines are preferred that leave nothing of the source out (default: 0)",
    )
    command.add_argument(
        "--prefixes", metavar="FILE", help="for each line what the written one begins with"
    )
    command.add_argument(
        "--constraints",
        metavar="FILE",
        help="for each line phrases that must occur in the written one, separated by tabs",
    )
    command.add_argument(
        "--ensemble",
        action="append",
        default=[],
        metavar="MODEL",
        help="a further model, trained on the same data: they decide together; may be given again",
    )


def _add_limits(command):
    """Options of lines, however they are found."""
    command.add_argument(
        "--min-length", type=whole_number, default=0, metavar="N", help="of lines, in tokens"
    )
    command.add_argument(
        "--max-length",
        type=positive_number,
        metavar="N",
        help="of what is written, in tokens (default: 10 more than the longest of the training, "
        "or than twice of what is usual for a line's length, whichever is more)",
    )
    command.add_argument(
        "--no-repeat-ngram",
        type=whole_number,
        default=0,
        metavar="N",
        help="no N tokens in a row come twice in a line; 0 lets them (default: 0)",
    )
    command.add_argument(
        "--unknown",
        choices=("keep", "exclude", "copy"),
        default="keep",
        help="what becomes of the unknown token: it is written, never written, or the source's "
        "token takes its place, if the training had unknown ones (default: keep)",
    )


def _add_sampling(command):
    group = command.add_argument_group("sampling", "Lines that are drawn instead of searched for.")
    group.add_argument(
        "--samples",
        type=positive_number,
        metavar="N",
        help="draw N lines for each, each written with the number of its line",
    )
    add_drawing(group, "lines")


def _check_kind(args):
    """End the command if options of searching and of sampling come together."""
    searching = ("beam", "n_best", "length_penalty", "coverage_penalty", "constraints")
    drawing = ("temperature", "top_k", "top_p", "seed")
    wrong = drawing if args.samples is None else searching
    for name in wrong:
        value = getattr(args, name)
        # numbers equal to 0 may be given: --seed 0, --temperature 0
        if value is not None and value is not False and value != args.parser.get_default(name):
            relation = "needs" if args.samples is None else "can't come with"
            args.parser.error(f"--{name.replace('_', '-')} {relation} --samples")


def run(args):
    """Read a model and lines, write what it makes of them."""
    _check_kind(args)
    read = (args.model, *args.ensemble, args.data, args.prefixes, args.constraints)
    files.check_outputs([("--out", args.out)], read)
    model, *others = (load(path) for path in (args.model, *args.ensemble))
    lines = _translate(model, others, args)
    if args.out is not None:
        files.write_atomically(args.out, "".join(f"{line}\n" for line in lines).encode("utf-8"))
        return 0
    for line in lines:
        sys.stdout.write(f"{line}\n")
    return 0


def load(path):
    """A sequence-to-sequence model from a file."""
    model = models.load(path)
    if not isinstance(model, models.Seq2Seq):
        raise wrong_model(path, model, "doesn't write lines")
    return model


def _translate(model, others, args):
    """Lines to write."""
    write = _drawn(model, others, args) if args.samples else _found(model, others, args)
    lines = _sources(model, args.data)
    # who types wants an answer to each line
    at_once = 1 if args.data == files.STDIN and sys.stdin.isatty() else AT_ONCE
    count = 0
    while chunk := list(itertools.islice(lines, at_once)):
        sources = [_as_unit(line, model.source_unit) for line in chunk]
        try:
            written = list(write(sources))
        except inputs.RowError as error:
            name, row, message = error.args
            if name == "ensemble":
                raise ValueError(f"{args.ensemble[row]}: {message}") from error
            path = args.data if name == "X" else getattr(args, name)
            raise files.located(path, count + row + 1, message) from error
        for place, rows in enumerate(written, count + 1):
            for columns in rows:
                yield "\t".join(_numbered(place, columns, args))
        count += len(chunk)
        sys.stdout.flush()
    list(write([]))  # where no line is left, none may be in the files beside it


def _sources(model, path):
    """The lines of a file, which must be sources alone."""
    reads_tabs = model.source_unit == "character" and "\t" in model.source_vocabulary_
    for place, line in files.numbered_lines(path):
        if "\t" in line and not reads_tabs:
            raise files.located(
                path,
                place,
                "holds a tab, as a table of pairs does: give sources alone, as cut -f1 writes "
                "them, or put a blank there",
            )
        yield line


def _found(model, others, args):
    """A function from sources to the columns of what a search finds for each."""
    options = {
        "beam_size": args.beam if args.beam is not None else max(model.beam_size, args.n_best or 1),
        "n_best": args.n_best or 1,
        "length_penalty": args.length_penalty,
        "coverage_penalty": args.coverage_penalty,
        "ensemble": others,
        **_common(args),
    }
    unit, beside = model.target_unit, _prefixes(model, args)
    if args.constraints is not None:
        beside["constraints"] = _lines_of(
            args.constraints,
            lambda line: [_as_unit(part, unit) for part in line.split("\t") if part],
        )

    def write(sources):
        wanted = {name: take(len(sources)) for name, take in beside.items()}
        for candidates in model.candidates(sources, **options, **wanted):
            yield [_columns(candidate, args) for candidate in candidates]

    return write


def _prefixes(model, args):
    """What belongs to the lines, in files of as many, by its name: a function as below."""
    if args.prefixes is None:
        return {}
    return {"prefixes": _lines_of(args.prefixes, lambda line: _as_unit(line, model.target_unit))}


def _as_unit(line, unit):
    return line.split() if unit == "token" else line


def _lines_of(path, read):
    """A function that takes the next ``count`` lines of a file, each as ``read`` makes it.

    It takes 0 where there should be none left.
    """
    lines = (read(line) for _, line in files.numbered_lines(path))

    def take(count):
        taken = list(itertools.islice(lines, count))
        if len(taken) < count:
            raise ValueError(f"{path}: expected a line for each line that is translated, got fewer")
        if not count and next(lines, None) is not None:
            raise ValueError(f"{path}: expected a line for each line that is translated, got more")
        return taken

    return take


def _drawn(model, others, args):
    """A function from sources to the columns of what is drawn for each."""
    options = {
        "temperature": 1.0 if args.temperature is None else args.temperature,
        "top_k": args.top_k,
        "top_p": args.top_p,
        "seed": np.random.default_rng(args.seed),  # which goes on from chunk to chunk
        "ensemble": others,
        **_common(args),
    }
    beside = _prefixes(model, args)

    def write(sources):
        wanted = {name: take(len(sources)) for name, take in beside.items()}
        for candidates in model.sample_candidates(sources, args.samples, **options, **wanted):
            yield [_columns(candidate, args) for candidate in candidates]

    return write


def _common(args):
    """Options of lines, however they are found."""
    names = ("min_length", "max_length", "no_repeat_ngram", "unknown")
    return {name: getattr(args, name) for name in names} | {"attention": args.align}


def _numbered(place, columns, args):
    several = args.n_best is not None or args.samples is not None
    return [str(place), *columns] if several else columns


def _line(output):
    return output if isinstance(output, str) else " ".join(output)


def _columns(candidate, args):
    if args.n_best is not None:
        yield f"{candidate.score:.4f}"
    yield _line(candidate.output)
    if args.align:
        weights = candidate.attention[:-1, :-1]  # the ends are no tokens of lines
        sources = weights.argmax(axis=1) if weights.size else ()
        yield " ".join(f"{source}-{target}" for target, source in enumerate(sources))
