"""Arithmetic in NumPy without its warnings, as compiled kernels are: infinity and NaN show in what
comes out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

_Function = TypeVar("_Function", bound=Callable[..., Any])


def quiet(function: _Function) -> _Function:
    """A decorator: the function warns of nothing."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        with np.errstate(all="ignore"):  # a new one each time: they can't be entered twice
            return function(*args, **kwargs)

    return call
