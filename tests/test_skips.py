"""What becomes of tests that are skipped because something isn't installed; see conftest.py."""

from pathlib import Path

import pytest
from helpers import run_python

TESTS = """
import pytest

def test_missing():
    pytest.importorskip("no_such_module")

def test_no_backend():
    pytest.skip("the numba backend is not available: for a test")

def test_other_machine():
    pytest.skip("this machine has no such thing")

def test_fine():
    pass
"""


@pytest.fixture
def run(tmp_path):
    """Run pytest in a folder of its own, with our conftest.py: (its exit code, what it says)."""
    here = Path(__file__).parent
    (tmp_path / "conftest.py").write_text((here / "conftest.py").read_text("utf-8"), "utf-8")
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_whole.py").write_text("import pytest; pytest.importorskip('no_such_module')")

    def run_pytest(*names, **environment):
        paths = [str(tmp_path / name) for name in names]
        arguments = ["-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", *paths]
        code = f"import sys, pytest; sys.path.insert(0, {str(here)!r})"
        done = run_python(f"{code}; sys.exit(pytest.main({arguments!r}))", **environment)
        return done.returncode, done.stdout

    return run_pytest


def test_names_are_noted_and_nothing_else_changes(run, tmp_path):
    noted = tmp_path / "noted.txt"
    code, said = run(".", FASTSEQ_TEST_SKIPPED=str(noted), FASTSEQ_TEST_EVERYTHING="0")
    assert code == 0 and "1 passed, 4 skipped" in said
    names = ["test_whole.py", "test_some.py::test_missing", "test_some.py::test_no_backend"]
    assert noted.read_text().splitlines() == names


def test_everything_must_be_there(run):
    code, said = run("test_some.py", FASTSEQ_TEST_EVERYTHING="1")
    assert code == 1 and "2 failed, 1 passed, 1 skipped" in said
    assert "could not import 'no_such_module'" in said and "FASTSEQ_TEST_EVERYTHING is set" in said
    code, said = run("test_whole.py", FASTSEQ_TEST_EVERYTHING="1")
    assert code == 2 and "could not import 'no_such_module'" in said
