"""``fastseq demo``."""

from fastseq.commands.options import positive_number, positive_seconds, whole_number


def add(commands):
    command = commands.add_parser(
        "demo",
        help="train small models and show what they learn",
        description=(
            "A sigmoid RNN learns binary addition by online updates, then an LSTM learns to "
            "write like Shakespeare, character by character. With g2p a model with attention "
            "learns instead how English words are pronounced, and pronounces those that you type. "
            "Loss curves and attention are saved as pictures if matplotlib is installed."
        ),
        epilog="example: fastseq demo --short --out pictures",
    )
    command.add_argument(
        "name",
        nargs="?",
        choices=["word2vec", "g2p"],
        help="another demonstration: word vectors of Shakespeare, and a picture of them; or how "
        "English words are pronounced",
    )
    command.add_argument("--short", action="store_true", help="finish in about ten seconds")
    command.add_argument("--seed", type=whole_number, default=0, metavar="N", help="default: 0")
    command.add_argument(
        "--out", default=".", metavar="DIR", help="folder for the pictures (default: this one)"
    )
    command.add_argument(
        "--seconds",
        type=positive_seconds,
        metavar="S",
        help="training time of the character model (default: 30, with --short 5), or of g2p "
        "(default: 60, with --short 10)",
    )
    command.add_argument(
        "--updates",
        type=positive_number,
        metavar="N",
        help="updates of the binary addition (default: 10000)",
    )
    command.set_defaults(run=run, one_blas_thread=True)


def run(args):
    """Run the demonstrations."""
    from fastseq import demo

    options = {"short": args.short, "seed": args.seed, "out": args.out}
    if args.name is not None and args.updates is not None:
        raise ValueError(
            f"--updates is for the binary addition, which isn't part of demo {args.name}: "
            "leave it out"
        )
    if args.name == "word2vec":
        if args.seconds is not None:
            raise ValueError(
                "--seconds is for the character model and g2p; for word vectors give --short"
            )
        demo.run_word2vec(**options)
    elif args.name == "g2p":
        demo.run_g2p(**options, seconds=args.seconds)
    else:
        demo.run(**options, seconds=args.seconds, updates=args.updates or 10_000)
    return 0
