"""What the package runs on: versions, backend, instruction set, threads."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

from fastseq import backend
from fastseq._version import __version__
from fastseq.cpus import usable_cpus


def get_config() -> dict[str, Any]:
    """What :func:`show_config` prints, as a dict, for programs that record it."""
    kernels = backend.kernels()
    compiled = backend.get_backend() == "cython"
    return {
        "fastseq": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "backend": backend.get_backend(),
        "backends": tuple(name for name in backend.NAMES if backend.is_installed(name)),
        "isa": kernels.isa() if compiled else None,
        "available_isas": tuple(kernels.available_isas()) if compiled else (),
        "num_threads": backend.get_num_threads(),
        "cpus": usable_cpus(),
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
    for key, value in get_config().items():
        if isinstance(value, dict):
            value = " ".join(f"{k}={v}" for k, v in value.items()) or "no overrides"
        elif isinstance(value, tuple):
            value = ", ".join(value) or "none"
        print(f"{key:15} {value}")
