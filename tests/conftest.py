"""Fixtures for every test: the kernel modules, each skipped where it can't run.

And what becomes of tests that are skipped because something isn't installed:

- ``FASTSEQ_TEST_SKIPPED=FILE`` adds their names to a file, for ``pytest @FILE`` to run later;
- with ``FASTSEQ_TEST_EVERYTHING=1`` they fail.
"""

import os
import re
import signal

import pytest
from helpers import BACKENDS, load_kernels

import fastseq

# A shell starts what runs in its background with Ctrl-C ignored, which children inherit; the tests
# of interrupts need Python's own handler.
signal.signal(signal.SIGINT, signal.default_int_handler)

MISSING = re.compile("could not import|backend is not available")  # in the reasons of skips


def judge(report):
    """The report of a test or of a file's collection, as the environment wants it."""
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return report
    reason = report.longrepr[2]
    if not MISSING.search(reason):
        return report
    if os.environ.get("FASTSEQ_TEST_SKIPPED"):
        with open(os.environ["FASTSEQ_TEST_SKIPPED"], "a", encoding="utf-8") as names:
            print(report.nodeid, file=names)
    if os.environ.get("FASTSEQ_TEST_EVERYTHING", "0") not in ("", "0"):
        report.outcome, report.longrepr = "failed", f"{reason}; FASTSEQ_TEST_EVERYTHING is set"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return judge((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return judge((yield))


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
