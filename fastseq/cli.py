"""The ``fastseq`` command.

Each subcommand is a module of ``commands/``.  Exit codes: 0 done, 1 an error (one line on stderr),
2 a wrong command line or environment variable, 130 interrupted, 141 nobody reads the output.
"""

import argparse
import os
import sys

import fastseq
from fastseq import _command, processes
from fastseq.commands import (
    chat,
    demo,
    generate,
    info,
    predict,
    score,
    train,
    translate,
    word2vec,
)
from fastseq.commands.parsers import CommandParser


def main(argv=None):
    """Run the command line ``argv`` (default: the process's own) and return the exit code."""
    is_own = argv is None
    argv = sys.argv[1:] if is_own else list(argv)
    try:
        if sys.stdout is None:
            raise ValueError("standard output is closed; redirect what isn't wanted to /dev/null")
        with _command.plain_warnings():
            code = dispatch(argv, is_own)
        sys.stdout.flush()  # a closed pipe is noticed here, where it can be handled
        return code
    except KeyboardInterrupt:
        print("\nfastseq: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or flushing at exit would fail again
        return 141  # as a shell reports who was ended by SIGPIPE
    except (FloatingPointError, ImportError, OSError, ValueError) as error:
        _command.report(error)
        return 1


def dispatch(argv, is_own=False):
    """Parse ``argv`` and run the subcommand; ``is_own``: this process has nothing else to do."""
    if argv[:1] == ["bench"]:  # it parses its own options, --help included
        return bench(argv[1:])
    args = build_parser().parse_args(argv)
    if getattr(args, "one_blas_thread", False):
        # what models leave to NumPy is small: more threads gain little on free cores, cost much
        # on busy ones, and may change the last bits of results
        variables = {k: os.environ.get(k, v) for k, v in processes.blas_threads(1).items()}
        if not processes.has_environment(variables):
            replaces = is_own and os.name == "posix"  # elsewhere exec returns to the shell at once
            run = processes.become_module if replaces else processes.run_module
            return run("fastseq", argv, variables)
    return args.run(args)


def bench(argv):
    """Compare with the peers that are installed."""
    from fastseq.bench import main as bench_main

    return bench_main(argv) or 0


def build_parser():
    """The parser of everything but ``bench``'s own options."""
    parser = argparse.ArgumentParser(
        prog="fastseq",
        description="Recurrent sequence models, fast on CPUs.",
        epilog="example: fastseq demo --short",
    )
    parser.add_argument("--version", action="version", version=f"fastseq {fastseq.__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=CommandParser
    )
    for command in (demo, train, predict, generate, translate, chat, score, word2vec, info):
        command.add(commands)
    # For the list in --help only: dispatch() never lets `bench` come this far.
    peers = "PyTorch, ONNX Runtime, OpenVINO, JAX, gensim and NumPy"
    commands.add_parser("bench", help=f"compare speed with {peers}")
    return parser
