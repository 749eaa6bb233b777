"""The waist: which module's kernels run, and on how many threads.

Layers above call ``kernels()`` whenever they need a kernel, so that a change of backend takes
effect at once.  The three modules offer the same functions: see ``reference.py``.

Environment variables, read at import: ``FASTSEQ_BACKEND`` (cython, numba or numpy),
``FASTSEQ_NUM_THREADS`` and, by the Cython extension, ``FASTSEQ_ISA``.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import warnings
from types import ModuleType
from typing import Any

import numpy as np

from fastseq import checks

_MODULES = {"cython": "fastseq._kernels", "numba": "fastseq.jit", "numpy": "fastseq.reference"}
_REMEDIES = {
    "cython": "install fastseq from a wheel, or build it where a C compiler is installed",
    "numba": "pip install 'fastseq[jit]'",
    "numpy": "reinstall fastseq",
}

_name: str
_kernels: ModuleType
_threads: int


def kernels() -> ModuleType:
    """The module whose kernels are in use."""
    return _kernels


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
    run on.  The Cython backend's results don't depend on it, bit for bit; the Numba backend
    runs on one thread and the NumPy backend leaves threads to NumPy's BLAS.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        If ``n`` is no integer, or less than 1.

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
    n = checks.positive_int("n", n)
    _kernels.set_num_threads(n)
    _threads = n


def config() -> dict[str, Any]:
    """What :func:`show_config` prints, as a dict."""
    from fastseq import __version__

    compiled = _name == "cython"
    return {
        "fastseq": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backend": _name,
        "backends": tuple(name for name in _MODULES if _is_installed(name)),
        "isa": _kernels.isa() if compiled else None,
        "available_isas": tuple(_kernels.available_isas()) if compiled else (),
        "num_threads": _threads,
        "cpus": _usable_cpus(),
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith("FASTSEQ_")},
    }


def show_config() -> None:
    """Print versions, backend, instruction set, threads and environment overrides.

    Examples
    --------
    >>> import fastseq as fs
    >>> fs.show_config()  # doctest: +ELLIPSIS
    fastseq         ...
    """
    for key, value in config().items():
        if isinstance(value, dict):
            value = " ".join(f"{k}={v}" for k, v in value.items()) or "no overrides"
        elif isinstance(value, tuple):
            value = ", ".join(value) or "none"
        print(f"{key:15} {value}")


# --- choosing -------------------------------------------------------------------------------


def _load(name, argument):
    """The module of a backend; ``argument`` is where the name came from."""
    checks.choice(argument, name, _MODULES)
    try:
        return importlib.import_module(_MODULES[name])
    except ImportError as error:
        raise ImportError(
            f"the {name} backend is not available ({error}): {_REMEDIES[name]}"
        ) from error


def _activate(name, module):
    global _name, _kernels
    module.set_num_threads(_threads)
    _name, _kernels = name, module


def _is_installed(name):
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
    reasons = []
    for name in ("cython", "numba"):
        if not _is_installed(name):
            continue
        try:
            return name, _load(name, "name")
        except ImportError as error:  # it is there but broken: worth telling
            reasons.append(str(error))
    warnings.warn(
        "fastseq runs on its slow NumPy backend: neither the compiled extension nor Numba is "
        f"usable. Either {_REMEDIES['cython']}, or {_REMEDIES['numba']}. "
        + " ".join([*reasons, "FASTSEQ_BACKEND=numpy silences this warning."]),
        RuntimeWarning,
        stacklevel=2,
    )
    return "numpy", _load("numpy", "name")


def _usable_cpus():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads_at_start():
    value = os.environ.get("FASTSEQ_NUM_THREADS")
    if not value:
        return _usable_cpus()
    argument = "the environment variable FASTSEQ_NUM_THREADS"
    try:
        value = int(value)
    except ValueError:
        raise ValueError(f"{argument} must be an integer, got {value!r}") from None
    return checks.positive_int(argument, value)


_threads = _threads_at_start()
_activate(*_choose())
