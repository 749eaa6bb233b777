"""How this backend's functions are compiled."""

import numba

OPTIONS = {
    # Several Python threads may run kernels at once.  For the same reason there is no
    # parallel=True: Numba's default threading layer aborts when it is entered twice.
    "nogil": True,
    # Fused multiply-adds only.  The other fast-math flags either break NaN and infinity
    # (nnan, ninf) or the order of operations that the range reduction of exp depends on.
    "fastmath": {"contract"},
    # Division by zero gives inf; the branch that would raise keeps loops from vectorising.
    "error_model": "numpy",
}


def compiled(function):
    """``numba.njit`` with this backend's options, cached on disk where that is possible.

    The cache notices edits of the file that defines a function, and nothing else.  After
    changing OPTIONS, or a function that compiled code in another file calls, delete
    ``jit/__pycache__/*.nb*``.
    """
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # neither __pycache__ nor the user's cache directory is writable
        return numba.njit(cache=False, **OPTIONS)(function)
