"""docs/notes.md and its Japanese twin: what they say is what comes out, in both alike."""

import importlib
import re
from pathlib import Path

import pytest

import fastseq as fs

DOCS = Path(__file__).parents[1] / "docs"
NAMES = "notes.md", "notes.ja.md"


@pytest.fixture(name="notes")
def notes_fixture(monkeypatch):
    """The module that runs the notes."""
    if not DOCS.is_dir():
        pytest.skip(f"the documents are not at {DOCS}")
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("run_notes")


@pytest.mark.parametrize("name", NAMES)
def test_the_notes_say_what_comes_out(notes, name, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    if fs.get_backend() != "cython":
        pytest.skip("they train some twenty models: minutes without the compiled kernels")
    monkeypatch.chdir(tmp_path)
    result = notes.run(DOCS / name)
    assert result.attempted > 100 and not result.failed
    pictures = {path.name for path in tmp_path.iterdir()}
    assert pictures == {path.name for path in (DOCS / "pictures").iterdir()}


def test_both_notes_have_the_same_examples(notes):
    one, other = (notes.read_examples(DOCS / name).examples for name in NAMES)
    assert [(e.source, e.want) for e in one] == [(e.source, e.want) for e in other]


def test_both_notes_have_the_same_sections_and_pictures(notes):
    one, other = ((DOCS / name).read_text("utf-8") for name in NAMES)
    for pattern in (r"^#+ ", r"^> \*\*", r"\]\(pictures/(\w+)\.png\)", r"^```\w*"):
        found = re.findall(pattern, one, re.MULTILINE)
        assert found and found == re.findall(pattern, other, re.MULTILINE)
    for picture in set(re.findall(r"\]\(pictures/([\w.]+)\)", one + other)):
        assert (DOCS / "pictures" / picture).stat().st_size < 60_000
