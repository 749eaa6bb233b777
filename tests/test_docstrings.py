"""The examples in docstrings do what they say."""

import doctest
import importlib
import inspect
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


def test_seeds_may_be_generators():
    found = 0
    for name in set(fastseq.__all__) - {"__version__", "NotFittedError", "Word2Vec"}:
        value = getattr(fastseq, name)
        seed = inspect.signature(value).parameters.get("seed")
        if seed is not None:
            found += 1
            assert seed.annotation == "checks.Seed", name
            assert "seed : int or None" not in value.__doc__, name
    assert found > 15


def test_all_that_is_public_is_described():
    silent = []
    for name in set(fastseq.__all__) - {"__version__"}:
        value = getattr(fastseq, name)
        if not inspect.getdoc(value):
            silent.append(name)
        for own, member in inspect.getmembers(value) if inspect.isclass(value) else ():
            is_public = inspect.isroutine(member) and not own.startswith("_")
            if is_public and not inspect.getdoc(member):
                silent.append(f"{name}.{own}")
    assert not silent
