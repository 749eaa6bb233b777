"""The examples in docstrings do what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

import fastseq

ROOT = Path(fastseq.__file__).parent
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted(ROOT.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8") and path.name != "__init__.py"
]
NEEDS = {"metrics": "sacrebleu", "subwords": "sentencepiece"}


@pytest.mark.filterwarnings("ignore:builtin type .*wig:DeprecationWarning")  # SentencePiece's
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    result = doctest.testmod(importlib.import_module(f"fastseq.{name}"))
    assert result.attempted and not result.failed
