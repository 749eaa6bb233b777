"""What the tests of commands share: command lines that run in this process, and files."""

import io
import shlex
import sys

from fastseq import cli


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def run(line, monkeypatch=None, stdin=""):
    """A command line; its exit code."""
    if monkeypatch is not None:
        data = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
    return cli.main(shlex.split(line))


def epilog(words):
    """The example in the --help of a command."""
    parser = cli.build_parser()
    for word in words:
        (subparsers,) = (
            a for a in parser._actions if hasattr(a, "choices") and a.dest == "==SUPPRESS=="
        )
        parser = subparsers.choices[word]
    return parser.epilog.removeprefix("example: ")
