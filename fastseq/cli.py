"""The ``fastseq`` command.

Each subcommand is a function that imports what it needs when it runs, so that ``--help`` and
``--version`` stay quick.  Exit codes: 0 done, 1 an error (one line on stderr), 2 a wrong
command line or environment variable, 130 interrupted.
"""

import argparse
import os
import sys

import fastseq
from fastseq import _command


def main(argv=None):
    """Run the command line ``argv`` (default: the process's own) and return the exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        code = dispatch(argv)
        sys.stdout.flush()  # a closed pipe is noticed here, where it can be handled
        return code
    except KeyboardInterrupt:
        print("\nfastseq: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or flushing at exit would fail again
        return 1
    except (ImportError, OSError, ValueError) as error:
        _command.report(error)
        return 1


def dispatch(argv):
    """Parse ``argv`` and run the subcommand."""
    if argv[:1] == ["bench"]:  # it parses its own options, --help included
        return bench(argv[1:])
    args = build_parser().parse_args(argv, argparse.Namespace(argv=argv))
    return args.run(args)


def bench(argv):
    """Compare with the peers that are installed."""
    from fastseq.bench import main as bench_main

    return bench_main(argv) or 0


def info(args):
    """Show what the package runs on."""
    fastseq.show_config()
    return 0


def demo(args):
    """Run the demonstrations, with NumPy's own products on one thread.

    They are small: more threads gain little on free cores and cost much on busy ones.
    """
    from fastseq import demo, processes

    variables = {k: os.environ.get(k, v) for k, v in processes.blas_threads(1).items()}
    if not processes.has_environment(variables):
        return processes.run_module("fastseq", args.argv, variables)
    demo.run(
        short=args.short, seed=args.seed, out=args.out, seconds=args.seconds, updates=args.updates
    )
    return 0


def build_parser():
    """The parser of everything but ``bench``'s own options."""
    parser = argparse.ArgumentParser(
        prog="fastseq",
        description="Recurrent sequence models, fast on CPUs.",
        epilog="example: fastseq demo --short",
    )
    parser.add_argument("--version", action="version", version=f"fastseq {fastseq.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_demo(commands)
    add_info(commands)
    # For the list in --help only: dispatch() never lets `bench` come this far.
    commands.add_parser("bench", help="compare speed with PyTorch, ONNX Runtime and NumPy")
    return parser


def add_demo(commands):
    command = commands.add_parser(
        "demo",
        help="train two small models and show what they learn",
        description=(
            "A sigmoid RNN learns binary addition by online updates, then an LSTM learns to "
            "write like Shakespeare, character by character. The loss curves are saved as "
            "pictures if matplotlib is installed."
        ),
        epilog="example: fastseq demo --short --out pictures",
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
        help="training time of the character model (default: 30, with --short 5)",
    )
    command.add_argument(
        "--updates",
        type=positive_number,
        default=10_000,
        metavar="N",
        help="updates of the binary addition (default: 10000)",
    )
    command.set_defaults(run=demo)


def add_info(commands):
    command = commands.add_parser(
        "info",
        help="show version, backend, instruction set and threads",
        description="Show what the package runs on: worth adding to every bug report.",
        epilog="example: fastseq info",
    )
    command.set_defaults(run=info)


def whole_number(text):
    """An option's value that is an integer >= 0."""
    return _number(int, text, lambda n: n >= 0, "an integer of 0 or more")


def positive_number(text):
    """An option's value that is an integer >= 1."""
    return _number(int, text, lambda n: n >= 1, "an integer of 1 or more")


def positive_seconds(text):
    """An option's value that is a finite time > 0."""
    return _number(float, text, lambda s: 0 < s < float("inf"), "a number of seconds above 0")


def _number(kind, text, accept, expected):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not accept(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value
