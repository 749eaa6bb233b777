"""The examples in docstrings do what they say."""

import doctest
import importlib

import pytest

MODULES = [
    "batching",
    "crf",
    "hypotheses",
    "metrics",
    "models.classifier",
    "models.regressor",
    "models.tagger",
    "prefetching",
    "readers",
    "sampling",
    "search",
    "sequences",
    "subwords",
    "timeseries",
    "vocabulary",
]
NEEDS = {"metrics": "sacrebleu", "subwords": "sentencepiece"}


@pytest.mark.filterwarnings("ignore:builtin type .*wig:DeprecationWarning")  # SentencePiece's
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    result = doctest.testmod(importlib.import_module(f"fastseq.{name}"))
    assert result.attempted and not result.failed
