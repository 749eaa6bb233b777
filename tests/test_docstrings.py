"""The examples in docstrings do what they say."""

import doctest
import importlib

import pytest

MODULES = [
    "batching",
    "crf",
    "keyed_vectors",
    "models.classifier",
    "models.regressor",
    "models.tagger",
    "phrases",
    "prefetching",
    "readers",
    "sequences",
    "subwords",
    "timeseries",
    "vocabulary",
]


@pytest.mark.filterwarnings("ignore:builtin type .*wig:DeprecationWarning")  # SentencePiece's
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name == "subwords":
        pytest.importorskip("sentencepiece")
    result = doctest.testmod(importlib.import_module(f"fastseq.{name}"))
    assert result.attempted and not result.failed
