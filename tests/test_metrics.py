"""Metrics: against plain recursion, by hand, and against sacreBLEU."""

import sys

import numpy as np
import pytest
from helpers import raises

import fastseq as fs


def plain_distance(x, y):
    """The table of the definition, cell by cell."""
    table = [[0] * (len(y) + 1) for _ in range(len(x) + 1)]
    for i in range(len(x) + 1):
        for j in range(len(y) + 1):
            if not i or not j:
                table[i][j] = i + j
                continue
            table[i][j] = min(
                table[i - 1][j - 1] + (x[i - 1] != y[j - 1]),
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
            )
    return table[-1][-1]


@pytest.mark.parametrize("tokens", [2, 5, 40])
def test_distances_are_as_defined(tokens):
    rng = np.random.default_rng(tokens)
    lengths = rng.integers(0, 30, (120, 2))
    pairs = [(rng.integers(tokens, size=m), rng.integers(tokens, size=n)) for m, n in lengths]
    got = fs.edit_distances(*zip(*pairs, strict=True))
    assert got.tolist() == [plain_distance(x, y) for x, y in pairs]
    assert got.dtype == np.int64


def test_long_and_short_ones():
    rng = np.random.default_rng(0)
    lengths = [(0, 0), (0, 5), (7, 0), (300, 1), (2, 280), (40, 41), (63, 64), (64, 65), (150, 160)]
    pairs = [
        ("".join(rng.choice(list("abc"), m)), "".join(rng.choice(list("abc"), n)))
        for m, n in lengths
    ]
    expected = [plain_distance(x, y) for x, y in pairs]
    assert fs.edit_distances(*zip(*pairs, strict=True)).tolist() == expected


def test_tokens_of_all_kinds():
    assert fs.edit_distances(["abc"], ["axc"]).tolist() == [1]
    assert fs.edit_distances([("ab", "c")], [["ab", "d", "c"]]).tolist() == [1]
    assert fs.edit_distances([[1, 2.0, "x"]], [np.array([1, 2])]).tolist() == [1]
    assert fs.edit_distances([], []).tolist() == []


def test_rates_by_hand():
    hypotheses, references = ["a b c", "", "x  y"], ["a c", "b", "x y"]
    assert fs.word_error_rate(hypotheses, references) == 2 / 5
    assert fs.word_error_rate([h.split() for h in hypotheses], references) == 2 / 5
    assert fs.phone_error_rate(hypotheses, references) == 2 / 5
    assert fs.character_error_rate(hypotheses, references) == (2 + 1 + 1) / 7
    assert fs.word_error_rate(["a a a"], ["b"]) == 3.0
    assert fs.exact_match(hypotheses, references) == 0
    assert fs.exact_match([["a"], ("b", "c"), np.array([1])], [["a"], ["b", "d"], [1]]) == 2 / 3
    assert fs.sequence_error_rate([["a"], ["b"], ["c"]], [["a"], ["b"], ["d"]]) == 1 / 3


def test_perplexity():
    assert fs.perplexity(np.log([[0.5, 0.125]])) == pytest.approx(4)
    assert fs.perplexity(np.zeros(3, np.float32)) == 1
    assert fs.perplexity([-1.0, -np.inf]) == np.inf
    assert fs.perplexity([-1e6]) == np.inf
    assert fs.perplexity(np.array([1e-7, -1], np.float32)) == pytest.approx(np.exp(0.5))
    for wrong in ([0.5, 0.25], [2.3], [-1.0, np.inf]):
        with raises(ValueError, "log_probs", "at most 0", str(max(wrong)), "np.log", "sign"):
            fs.perplexity(wrong)


TEXTS = ["the cat sat on the mat .", "a dog, barks at me", "yes"]
REFERENCES = ["the cat sat on a mat .", "a dog barks at him", "yes"]
MORE = ["a cat sat on the mat .", "the dog barks at me", "yes indeed"]


def test_bleu_and_chrf_are_sacrebleus():
    sacrebleu = pytest.importorskip("sacrebleu")
    for tokenize in ("13a", "none", "char"):
        expected = sacrebleu.corpus_bleu(TEXTS, [REFERENCES], tokenize=tokenize, force=True)
        assert fs.bleu(TEXTS, REFERENCES, tokenize=tokenize) == expected.score
    assert 0 < fs.bleu(TEXTS, REFERENCES) < 100 == round(fs.bleu(TEXTS, TEXTS), 9)
    several = [list(pair) for pair in zip(REFERENCES, MORE, strict=True)]
    expected = sacrebleu.corpus_bleu(TEXTS, [REFERENCES, MORE])
    assert fs.bleu(TEXTS, several) == expected.score > fs.bleu(TEXTS, REFERENCES)
    assert fs.chrf(TEXTS, REFERENCES) == sacrebleu.corpus_chrf(TEXTS, [REFERENCES]).score
    plus = sacrebleu.corpus_chrf(TEXTS, [REFERENCES], word_order=2).score
    assert fs.chrf(TEXTS, REFERENCES, word_order=2) == plus


def test_references_may_be_more_for_some():
    pytest.importorskip("sacrebleu")
    some = [[REFERENCES[0], MORE[0]], [REFERENCES[1]], REFERENCES[2]]
    assert fs.bleu(TEXTS, some) > fs.bleu(TEXTS, REFERENCES)


@pytest.mark.parametrize("metric", [fs.bleu, fs.chrf])
def test_without_sacrebleu(monkeypatch, metric):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with raises(ImportError, "sacrebleu", "pip install 'fastseq[text]'"):
        metric(TEXTS, REFERENCES)


class Frame:
    """What a data frame does: it has rows, and gives its columns' names."""

    columns = ("a",)

    def __len__(self):
        return 1

    def __iter__(self):
        return iter(self.columns)


@pytest.mark.parametrize(
    "metric",
    [
        fs.edit_distances,
        fs.word_error_rate,
        fs.character_error_rate,
        fs.exact_match,
        fs.sequence_error_rate,
        fs.bleu,
        fs.chrf,
    ],
)
def test_wrong_lists(metric):
    if metric in (fs.bleu, fs.chrf):
        pytest.importorskip("sacrebleu")
    with raises(ValueError, "hypotheses", "references = 2", "3"):
        metric(TEXTS, REFERENCES[:2])
    with raises(TypeError, "hypotheses", "list of sequences", "str"):
        metric("one", ["one"])
    with raises(TypeError, "references", "list of sequences", "NoneType"):
        metric(["one"], None)
    for wrong in ({"a": 1}, {"a"}, Frame()):
        with raises(TypeError, "references", "list of sequences", type(wrong).__name__):
            metric(["a"], wrong)
    if metric is not fs.edit_distances:
        with raises(ValueError, "at least one", "none"):
            metric([], [])


@pytest.mark.parametrize("metric", [fs.exact_match, fs.sequence_error_rate])
def test_strings_and_lists_of_tokens_never_match(metric):
    for pair in (["a b"], [["a", "b"]]), ([np.array(["a"])], ["a"]):
        with raises(TypeError, "hypotheses[0]", "references[0]", "both", "str", "split"):
            metric(*pair)
    assert metric(["a", ("b",)], ["a", np.array(["b"])]) == (metric is fs.exact_match)


def test_wrong_tokens():
    with raises(TypeError, "hypotheses[1]", "sequence of tokens", "3"):
        fs.edit_distances(["a", 3], ["a", "b"])
    pytest.importorskip("sacrebleu")
    with raises(TypeError, "hypotheses", "text", "list", "join"):
        fs.bleu([["a"]], ["a"])
    with raises(TypeError, "references[0]", "text", "int"):
        fs.chrf(["a"], [[1]])
    with raises(ValueError, "references[1]", "at least one text"):
        fs.chrf(["a", "b"], ["a", []])
    with raises(ValueError, "tokenize", "'13a'", "'words'"):
        fs.bleu(TEXTS, REFERENCES, tokenize="words")
    with raises(ValueError, "word_order", "at least 0"):
        fs.chrf(TEXTS, REFERENCES, word_order=-1)
    for value, error in (([], ValueError), ([np.nan], ValueError), ([1], TypeError)):
        with raises(error, "log_probs"):
            fs.perplexity(value)
