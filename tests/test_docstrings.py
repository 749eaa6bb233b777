"""The examples in docstrings do what they say."""

import doctest
import importlib
import inspect
import itertools
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


def described(doc):
    """The names in a docstring's Parameters section."""
    _, _, section = doc.partition("Parameters\n----------\n")
    names = []
    for line, under in itertools.pairwise([*section.splitlines(), ""]):
        if under and not under.strip("-"):
            break  # the next section's heading
        if line and not line.startswith(" "):
            names += [name.strip(" *") for name in line.partition(" : ")[0].split(",")]
    return names


def test_parameters_are_described_all_or_none():
    """Those of a class stand in its own docstring; further options have no names to compare."""
    wrong, count = [], 0
    for name in set(fastseq.__all__) - {"__version__"}:
        value = getattr(fastseq, name)
        own = inspect.getmembers(value, inspect.isroutine) if inspect.isclass(value) else ()
        for function in [value, *(member for key, member in own if not key.startswith("_"))]:
            names = described(inspect.getdoc(function) or "")
            if not names:
                continue
            parameters = inspect.signature(function).parameters
            known = {
                n for n, p in parameters.items() if n != "self" and p.kind is not p.VAR_KEYWORD
            }
            options = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
            count += len(names)
            if not (known <= set(names) if options else known == set(names)):
                wrong.append((name, function.__qualname__, sorted(known ^ set(names))))
    assert not wrong and count > 1000
