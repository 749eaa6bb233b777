"""``fastseq score``: how far lines that were written are from those that are right."""

from fastseq import files, metrics, readers

METRICS = {  # name: a function of lines, and what its value is multiplied by
    "exact": (metrics.exact_match, 100),
    "ser": (metrics.sequence_error_rate, 100),
    "wer": (metrics.word_error_rate, 100),
    "per": (metrics.phone_error_rate, 100),
    "cer": (metrics.character_error_rate, 100),
    "bleu": (metrics.bleu, 1),
    "chrf": (metrics.chrf, 1),
}


def add(commands):
    command = commands.add_parser(
        "score",
        help="compare lines with those that are right: BLEU, error rates",
        description=(
            "Compare lines with those that are right. All numbers are percentages or go to 100: "
            "exact, lines that are equal; ser, lines that are not (what tasks of pronunciation "
            "call WER); wer and per, edits for each word or phone, with blanks between them; cer, "
            "edits for each character; bleu and chrf, by sacrebleu, which counts over all lines: a "
            "line that is empty on one side has nothing to be counted for chrf."
        ),
        epilog="example: fastseq score written.txt right.txt --metrics bleu chrf",
    )
    command.add_argument("written", metavar="WRITTEN", help="a file; - is standard input")
    command.add_argument("right", metavar="RIGHT", help="a file with as many lines")
    command.add_argument(
        "--metrics",
        nargs="+",
        choices=METRICS,
        default=["exact", "wer"],
        metavar="NAME",
        help=f"of {', '.join(METRICS)} (default: exact wer)",
    )
    command.add_argument(
        "--tokenize",
        default="13a",
        metavar="NAME",
        help="how sacrebleu cuts lines for bleu: none where they are cut (default: 13a)",
    )
    command.set_defaults(run=run)


def run(args):
    """Read two files, print a line for each metric."""
    written, right = (readers.read_text(path, unit="character") for path in _paths(args))
    if len(written) != len(right):
        raise ValueError(
            f"{files.display_name(args.written)}: expected a line for each of the {len(right)} of "
            f"{files.display_name(args.right)}, got {len(written)}"
        )
    for name in args.metrics:
        function, factor = METRICS[name]
        options = {"tokenize": args.tokenize} if name == "bleu" else {}
        print(f"{name}\t{factor * function(written, right, **options):.2f}")
    return 0


def _paths(args):
    if args.written == args.right == files.STDIN:
        raise ValueError("standard input can't be both files")
    return args.written, args.right
