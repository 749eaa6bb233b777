"""``fastseq score``: how far lines that were written are from those that are right."""

import argparse
import sys

import numpy as np

from fastseq import dialogue_metrics, files, metrics
from fastseq.data import readers
from fastseq.words.keyed_vectors import KeyedVectors

METRICS = {  # name: a function of lines, and what its value is multiplied by
    "exact": (metrics.exact_match, 100),
    "ser": (metrics.sequence_error_rate, 100),
    "wer": (metrics.word_error_rate, 100),
    "per": (metrics.phone_error_rate, 100),
    "cer": (metrics.character_error_rate, 100),
    "bleu": (metrics.bleu, 1),
    "chrf": (metrics.chrf, 1),
}
VARIETY = {"distinct-1": 1, "distinct-2": 2}  # of what was written alone
SIMILARITIES = {  # those that need vectors
    "average": dialogue_metrics.embedding_average,
    "extrema": dialogue_metrics.embedding_extrema,
    "greedy": dialogue_metrics.embedding_greedy,
}
NAMES = (*METRICS, *VARIETY, *SIMILARITIES)


def add(commands):
    command = commands.add_parser(
        "score",
        help="compare lines with those that are right: BLEU, error rates",
        description=(
            "Compare lines with those that are right. All numbers are percentages or go to 100: "
            "exact, lines that are equal; ser, lines that are not (what tasks of pronunciation "
            "call WER); wer and per, edits for each word or phone, with blanks between them; cer, "
            "edits for each character; bleu and chrf, by sacrebleu, which counts over all lines: a "
            "line that is empty on one side has nothing to be counted for chrf; distinct-1 and "
            "distinct-2, different words and pairs of words for each word written; average, "
            "extrema and greedy, how similar vectors of words are in meaning."
        ),
        epilog="example: fastseq score written.txt right.txt --metrics bleu chrf",
    )
    command.add_argument("written", metavar="WRITTEN", help="a file; - is standard input")
    command.add_argument("right", metavar="RIGHT", help="a file with as many lines")
    command.add_argument(
        "--metrics",
        nargs="+",
        type=_metric,
        default=["exact", "wer"],
        metavar="NAME",
        help=f"some of {', '.join(NAMES)}, behind the files (default: exact wer)",
    )
    command.add_argument(
        "--vectors", metavar="FILE", help="of words, for average, extrema and greedy"
    )
    command.add_argument(
        "--tokenize",
        default="13a",
        metavar="NAME",
        help="how sacrebleu cuts lines for bleu: none where they are cut (default: 13a)",
    )
    command.set_defaults(run=run, parser=command)


def _metric(text):
    """A metric's name; a file's is likely to be one that was given behind them."""
    if text not in NAMES:
        raise argparse.ArgumentTypeError(
            f"expected some of {', '.join(NAMES)}, got {text!r}; files stand before --metrics"
        )
    return text


def run(args):
    """Read two files, print a line for each metric."""
    _check_vectors(args)
    written, right = (readers.read_text(path, unit="character") for path in _paths(args))
    if len(written) != len(right):
        raise ValueError(
            f"{files.display_name(args.written)}: expected a line for each of the {len(right)} of "
            f"{files.display_name(args.right)}, got {len(written)}"
        )
    _check_tabs(args, written, right)
    vectors = None if args.vectors is None else KeyedVectors.load(args.vectors)
    for name in args.metrics:
        print(f"{name}\t{_measure(name, written, right, vectors, args.tokenize):.2f}")
    return 0


def _check_vectors(args):
    """End the command if vectors are missing, or there is nothing to do with them."""
    wanted = [name for name in args.metrics if name in SIMILARITIES]
    if wanted and args.vectors is None:
        args.parser.error(f"{wanted[0]} needs vectors of words, as with --vectors FILE")
    if args.vectors is not None and not wanted:
        args.parser.error(f"--vectors is for {', '.join(SIMILARITIES)}")


def _check_tabs(args, written, right):
    """Raise if one of the files is a table, and the other one isn't."""
    first = [next((i for i, x in enumerate(side, 1) if "\t" in x), 0) for side in (written, right)]
    for path, line, other in zip((args.written, args.right), first, first[::-1], strict=True):
        if line and not other:
            raise files.located(
                path,
                line,
                "holds a tab, which no line of the other file does: compare one column, as cut -f2 "
                "writes it",
            )


def _measure(name, written, right, vectors, tokenize):
    """A metric's value, a percentage or a number up to 100."""
    if name in VARIETY:
        return 100 * dialogue_metrics.distinct_n(written, VARIETY[name])
    if name in SIMILARITIES:
        return 100 * _mean(name, SIMILARITIES[name](written, right, vectors))
    function, factor = METRICS[name]
    options = {"tokenize": tokenize} if name == "bleu" else {}
    return factor * function(written, right, **options)


def _mean(name, similarities):
    """The mean over the lines of which something can be said."""
    unknown = np.count_nonzero(np.isnan(similarities))
    if unknown == len(similarities):
        raise ValueError(f"{name}: no line that is right has a word with a vector")
    if unknown:
        print(
            f"fastseq: {name} is without {unknown} of {len(similarities)} lines, which have no "
            "word with a vector",
            file=sys.stderr,
        )
    return np.nanmean(similarities)


def _paths(args):
    if args.written == args.right == files.STDIN:
        raise ValueError("standard input can't be both files")
    return args.written, args.right
