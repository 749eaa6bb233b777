"""Fixtures for every test: the kernel modules, each skipped where it can't run."""

import signal

import pytest
from helpers import BACKENDS, load_kernels

import fastseq

# A shell starts what runs in its background with Ctrl-C ignored, which children inherit; the tests
# of interrupts need Python's own handler.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=BACKENDS)
def kernels(request):
    """Each backend's kernels in turn."""
    return load_kernels(request.param)


@pytest.fixture(params=[name for name in BACKENDS if name != "numpy"])
def compiled_kernels(request):
    """Each backend's kernels in turn, but for the NumPy twin that they are compared with."""
    return load_kernels(request.param)


@pytest.fixture
def cython_kernels():
    """The Cython kernels; instruction set and thread count are put back afterwards."""
    kernels = load_kernels("cython")
    isa = kernels.isa()
    yield kernels
    kernels.set_isa(isa)
    kernels.set_num_threads(fastseq.get_num_threads())
