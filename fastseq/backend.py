"""The waist: which module's kernels run, and on how many threads.

Layers above call ``kernels()`` whenever they need a kernel, so that a change of backend takes
effect at once.  The three modules offer the same functions: see ``reference.py``.

Environment variables, read at import: ``FASTSEQ_BACKEND`` (cython, numba or numpy),
``FASTSEQ_NUM_THREADS`` and, by the Cython extension, ``FASTSEQ_ISA``.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from fastseq import _command, checks
from fastseq.cpus import usable_cpus

_MODULES = {"cython": "fastseq._kernels", "numba": "fastseq.jit", "numpy": "fastseq.reference"}
# Those of words: reading texts, and training vectors.
_WORD_MODULES = {
    "text": {
        "cython": "fastseq._word2vec",
        "numba": "fastseq._reference.corpus",
        "numpy": "fastseq._reference.corpus",
    },
    "word vectors": {
        "cython": "fastseq._word2vec",
        "numba": "fastseq.jit.word2vec",
        "numpy": "fastseq._reference.word2vec",
    },
}
_FOLDER = Path(__file__).parent


def _how_to_compile():
    """The way to the compiled extension, from where this package lies."""
    if not (_FOLDER / "_kernels.pyx").exists():  # wheels don't carry it
        return "install fastseq from a wheel, or build it where a C compiler is installed"
    return (
        f"start Python outside of the source folder {_FOLDER.parent} to import the installed "
        "package, or compile in that folder with `pip install -e .` and a C compiler"
    )


_REMEDIES = {
    "cython": _how_to_compile(),
    "numba": "pip install 'fastseq[jit]'",
    "numpy": "reinstall fastseq",
}
NAMES = tuple(_MODULES)
MAX_THREADS = 256  # as many parts as the thread pool can make of a job

_name: str
_kernels: ModuleType
_threads: int


def kernels() -> ModuleType:
    """The module whose kernels are in use."""
    return _kernels


def word_kernels(use: str) -> ModuleType:
    """The module of kernels for ``"text"`` or ``"word vectors"``."""
    modules = _WORD_MODULES[use]
    try:
        return importlib.import_module(modules[_name])
    except ImportError as error:
        if _name != "cython":
            raise
        checks.warn(
            f"fastseq runs on its slower Python code for {use}, since its second extension is not "
            f"usable ({error}): build it where a C compiler is installed",
            RuntimeWarning,
        )
        return importlib.import_module(modules["numpy"])


def get_backend() -> str:
    """The name of the backend in use: 'cython', 'numba' or 'numpy'.

    Examples
    --------
    >>> import fastseq as fs
    >>> fs.get_backend() in ("cython", "numba", "numpy")
    True
    """
    return _name


def set_backend(name: str) -> None:
    """Choose the backend; existing layers use it from their next call on.

    A stream keeps the backend it was made with until its ``reload()``.

    Parameters
    ----------
    name : {"cython", "numba", "numpy"}
        The compiled extension, Numba's just-in-time compiled twin, or plain NumPy.

    Raises
    ------
    TypeError, ValueError
        If there is no backend of this name.
    ImportError
        If it isn't installed; the backend in use stays.

    Examples
    --------
    >>> import fastseq as fs
    >>> before = fs.get_backend()
    >>> fs.set_backend("numpy")
    >>> fs.get_backend()
    'numpy'
    >>> fs.set_backend(before)
    """
    _activate(name, _load(name, "name"))


def get_num_threads() -> int:
    """The number of threads that a kernel may use.

    Examples
    --------
    >>> import fastseq as fs
    >>> fs.get_num_threads() >= 1
    True
    """
    return _threads


def set_num_threads(n: int) -> None:
    """Set how many threads a kernel may use.

    At import it is ``FASTSEQ_NUM_THREADS``, or else the number of CPUs that this process may
    use, with regard to its affinity and a container's quota.  A stream keeps the number it was
    made with until its ``reload()``.  The Cython backend's results don't depend on the number,
    bit for bit; the Numba backend runs on one thread, and the NumPy backend leaves threads to
    NumPy's BLAS.

    Parameters
    ----------
    n : int
        From 1 to 256.  More than there are CPUs to spare make a call slower.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is no integer, or out of this range.

    Examples
    --------
    >>> import fastseq as fs
    >>> before = fs.get_num_threads()
    >>> fs.set_num_threads(1)
    >>> fs.get_num_threads()
    1
    >>> fs.set_num_threads(before)
    """
    global _threads
    n = thread_count("n", n)
    _kernels.set_num_threads(n)
    _threads = n


def free_memory() -> None:
    """Give memory that the kernels keep for later calls, 128 MB at most, back to the system.

    They keep scratch memory, and that of large results which nobody holds any more, since mapping
    memory in anew takes about as long as a pass over it.  What layers keep for themselves goes
    there with ``layer.release()``, or with the layer.

    Examples
    --------
    >>> import fastseq as fs
    >>> fs.free_memory()
    """
    for name in ("_kernels", "_word2vec"):
        extension = sys.modules.get(f"fastseq.{name}")
        if extension is not None:
            extension.free_memory()


# --- choosing -------------------------------------------------------------------------------


def _load(name, argument):
    """The module of a backend; ``argument`` is where the name came from."""
    checks.choice(argument, name, _MODULES)
    try:
        return importlib.import_module(_MODULES[name])
    except ImportError as error:
        message, remedy = f"the {name} backend is not available ({error})", _REMEDIES[name]
        raise ImportError(message if remedy in message else f"{message}: {remedy}") from error


def _activate(name, module):
    global _name, _kernels
    module.set_num_threads(_threads)
    _name, _kernels = name, module


def is_installed(name):
    """Whether a backend is there; it may still be broken."""
    module = "numba" if name == "numba" else _MODULES[name]
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # what import hooks and placeholders lead to
        return False


def _choose():
    """The backend to start with: (name, module)."""
    name = os.environ.get("FASTSEQ_BACKEND")
    if name:
        return name, _load(name, "the environment variable FASTSEQ_BACKEND")
    broken = []
    for name in ("cython", "numba"):
        if not is_installed(name):
            continue
        try:
            module = _load(name, "name")
        except ImportError as error:  # there, but broken: worth telling
            broken.append(str(error))
            continue
        if name != "cython":
            _warn_of(name, broken)
        return name, module
    _warn_of("numpy", broken)
    return "numpy", _load("numpy", "name")


def _warn_of(name, broken):
    """Say that the backend of this name has to serve; ``broken`` says what is wrong with others."""
    sentences = [f"fastseq runs on its slower {name} backend."]
    if name == "numpy":
        remedies = f"either {_REMEDIES['cython']}, or {_REMEDIES['numba']}"
        sentences.append(f"Neither the compiled extension nor Numba is usable: {remedies}.")
    elif not broken:  # else the reason names the way out
        sentences.append(f"The compiled extension is missing: {_REMEDIES['cython']}.")
    sentences += [f"Reason: {message}." for message in broken]
    sentences.append(f"FASTSEQ_BACKEND={name} silences this warning.")
    with _command.plain_warnings() if _command.is_running() else contextlib.nullcontext():
        checks.warn(" ".join(sentences), RuntimeWarning)


def thread_count(argument, value):
    """The value as a number of threads."""
    n = checks.positive_int(argument, value)
    if n > MAX_THREADS:
        raise ValueError(
            f"{argument} must be at most {MAX_THREADS}, got {n}; "
            "use no more threads than there are CPUs"
        )
    return n


def _threads_at_start():
    value = os.environ.get("FASTSEQ_NUM_THREADS")
    if not value:
        return min(usable_cpus(), MAX_THREADS)
    argument = "the environment variable FASTSEQ_NUM_THREADS"
    try:
        value = int(value)
    except ValueError:
        raise ValueError(
            f"{argument} must be an integer from 1 to {MAX_THREADS}, got {value!r}; "
            "unset it to use all CPUs that this process may use"
        ) from None
    return thread_count(argument, value)


try:
    _threads = _threads_at_start()
    _activate(*_choose())
except (ImportError, ValueError) as error:  # a wrong environment variable
    if _command.is_running():
        _command.report(error)
        sys.exit(2)
    raise
