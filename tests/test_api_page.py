"""docs/api.md is what its script writes, so that no public name is missing there or out of date."""

import importlib
from pathlib import Path

import pytest

import fastseq as fs

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(name="writer")
def writer_fixture(monkeypatch):
    """The module that writes the page."""
    if not DOCS.is_dir():
        pytest.skip(f"the documents are not at {DOCS}")
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("write_api")


def test_the_page_is_up_to_date(writer):
    written = writer.PAGE.read_text(encoding="utf-8")
    assert written == writer.page(), "python docs/write_api.py writes it anew"


def test_each_public_name_has_an_entry(writer):
    headings = writer.page().splitlines()
    missing = [n for n in fs.__all__ if f"### {n}" not in headings and not n.startswith("__")]
    assert not missing
