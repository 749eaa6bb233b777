"""What the ``fastseq`` command says of errors, warnings, and training that was interrupted.

Importing the package comes before the command's own code, and refuses wrong environment
variables.  So this has to be known that early, and imports nothing of the package.
"""

import contextlib
import sys
import warnings
from pathlib import Path


def report(error):
    """Print an error as one line on standard error."""
    print(f"fastseq: error: {describe(error)}", file=sys.stderr)


def describe(error):
    """An error in one line; of a file its name comes first, as everywhere in the package."""
    message = str(error)
    if isinstance(error, OSError) and error.filename and error.filename2 is None:
        message = f"{error.filename}: {error.strerror}"
    elif isinstance(error, UnicodeEncodeError):
        message = f"the output's encoding {error.encoding} can't hold all that is to be printed; "
        message += "set PYTHONUTF8=1 or another locale, or write to a file"
    return " ".join(message.split()) or type(error).__name__


@contextlib.contextmanager
def plain_warnings():
    """Print warnings as users of a command want to see them: without the place in the code."""

    def show(message, *place, **more):
        print(f"fastseq: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def code_of(stopped):
    """The exit code of a training that was saved, though perhaps it ended early."""
    if stopped != "interrupted":
        return 0
    print("fastseq: interrupted; the model is as good as it came to be", file=sys.stderr)
    return 130


def is_running():
    """Whether this process is ``fastseq ...`` or ``python -m fastseq ...``."""
    argv = getattr(sys, "argv", None) or [""]  # programs that embed Python may have none
    if argv[0] == "-m":  # until Python has found the module
        return sys.orig_argv[-len(argv)] in ("fastseq", "fastseq.bench")
    return Path(argv[0]).name in ("fastseq", "fastseq.exe")
