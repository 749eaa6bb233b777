"""``fastseq translate``: what a sequence-to-sequence model writes for each line."""

import itertools
import sys

from fastseq import files, models
from fastseq.commands.options import number_or_average, positive_number

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
    command.add_argument(
        "--beam",
        type=positive_number,
        metavar="K",
        help="how many beginnings to keep; 1 is greedy (default: as in the model's settings)",
    )
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
        "--max-length", type=positive_number, metavar="N", help="of what is written, in tokens"
    )
    command.add_argument(
        "--unknown",
        choices=("keep", "exclude", "copy"),
        default="keep",
        help="what becomes of the unknown token: it is written, never written, or the source's "
        "token takes its place (default: keep)",
    )
    command.add_argument(
        "--ensemble",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="further models, trained on the same data: they decide together",
    )
    command.set_defaults(run=run, one_blas_thread=True)


def run(args):
    """Read a model and lines, write what it makes of them."""
    if args.out is not None:
        files.check_writable(args.out)
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
        raise ValueError(f"{path}: holds a {type(model).__name__}, which doesn't write lines")
    return model


def _translate(model, others, args):
    """Lines to write."""
    options = {
        "beam_size": args.beam if args.beam is not None else max(model.beam_size, args.n_best or 1),
        "n_best": args.n_best or 1,
        "length_penalty": args.length_penalty,
        "max_length": args.max_length,
        "unknown": args.unknown,
        "attention": args.align,
        "ensemble": others,
    }
    lines = (line for _, line in files.numbered_lines(args.data))
    # who types wants an answer to each line
    at_once = 1 if args.data == files.STDIN and sys.stdin.isatty() else AT_ONCE
    count = 0
    while chunk := list(itertools.islice(lines, at_once)):
        sources = [line.split() if model.source_unit == "token" else line for line in chunk]
        for place, candidates in enumerate(model.candidates(sources, **options), count + 1):
            for candidate in candidates:
                yield "\t".join(_columns(place, candidate, args))
        count += len(chunk)
        sys.stdout.flush()


def _columns(place, candidate, args):
    if args.n_best is not None:
        yield from (str(place), f"{candidate.score:.4f}")
    output = candidate.output
    yield output if isinstance(output, str) else " ".join(output)
    if args.align:
        sources = candidate.attention[:-1].argmax(axis=1)
        yield " ".join(f"{source}-{target}" for target, source in enumerate(sources))
