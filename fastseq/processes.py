"""Parts of the package in a process of their own, where numbers of threads can still be set.

BLAS, OpenMP and XLA read them from the environment when they load, and with NumPy that has
happened by the time a command runs.
"""

import os
import subprocess
import sys
from pathlib import Path

import fastseq


def blas_threads(count):
    """Environment variables that give the usual BLAS libraries and OpenMP this many threads."""
    return {f"{name}_NUM_THREADS": str(count) for name in ("OMP", "OPENBLAS", "MKL")}


def has_environment(variables):
    """Whether this process has these variables, so that it needs no child to have them."""
    return all(os.environ.get(name) == value for name, value in variables.items())


def run_module(module, argv, variables):
    """``python -m module argv`` with more environment variables; returns its exit code.

    It shares standard input, output and error with this process.
    """
    command = [*python(), "-m", module, *argv]
    with subprocess.Popen(command, env=os.environ | _slow_backend() | variables) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            return _interrupted(process)
    return code if code >= 0 else 128 - code  # ended by a signal: as a shell reports it


def become_module(module, argv, variables):
    """As :func:`run_module` in the place of this process: signals then find the one that works.

    Does not return.
    """
    sys.stdout.flush()
    command = [*python(), "-m", module, *argv]
    os.execve(command[0], command, os.environ | _slow_backend() | variables)


def python():
    """The command line of this Python, to which ``-c`` or ``-m`` can be added.

    -P keeps the child from importing whatever lies in the current folder: it is to find the
    package that this process found (which may lie there after all, in a clone).
    """
    here = Path(fastseq.__file__).parents[1] == Path.cwd()
    return [sys.executable] if here else [sys.executable, "-P"]


def _slow_backend():
    """Variables that choose it for a child too, which then doesn't repeat our warning of it."""
    name = fastseq.get_backend()
    return {} if name == "cython" else {"FASTSEQ_BACKEND": name}


def _interrupted(process):
    """The exit code of a child after Ctrl-C, which the terminal sends to both processes."""
    try:
        process.wait()  # it stops by itself, after the update it is in
    except KeyboardInterrupt:
        process.terminate()
    return 130
