"""What follows from counts: thresholds, draws, trees."""

import heapq
from fractions import Fraction

import numpy as np
import pytest
from helpers import raises

from fastseq.words.word_counts import huffman_tree, keep_thresholds, noise_table

ZIPF = np.random.default_rng(0).zipf(1.3, 2000).clip(1, 10**12)
COUNTS = [[1], [3, 3], [5, 2, 1], [1, 1, 1, 1, 1], [1, 2, 3, 5, 8, 13, 21, 34], np.sort(ZIPF), ZIPF]
COUNTS_IDS = ["one", "two", "three", "equal", "fibonacci", "zipf-rising", "zipf-shuffled"]

counts_cases = pytest.mark.parametrize("counts", COUNTS, ids=COUNTS_IDS)


# --- words that are kept --------------------------------------------------------------------


@pytest.mark.parametrize("sample", [1e-5, 1e-3, 0.5])
def test_share_of_all_words_from_which_on_they_are_thinned_out(sample):
    thresholds = keep_thresholds(ZIPF, sample)
    assert thresholds.dtype == np.uint32
    t = sample * int(ZIPF.sum())
    for count, threshold in zip(ZIPF.tolist(), thresholds.tolist(), strict=True):
        keep = min(1.0, ((count / t) ** 0.5 + 1) * t / count)
        assert threshold == pytest.approx(keep * (2**32 - 1), rel=1e-12, abs=1)


def test_sample_as_a_count():
    # t is 261, and words are thinned out from 2.618 t on
    thresholds = keep_thresholds([1, 261, 683, 684, 1000], sample=100)
    assert (thresholds == 2**32 - 1).tolist() == [True, True, True, False, False]


def test_without_sample_all_words_are_kept():
    assert (keep_thresholds([1, 10**15], 0) == 2**32 - 1).all()
    assert keep_thresholds([], 1e-3).shape == (0,)


# --- words that are drawn -------------------------------------------------------------------


def exact_probabilities(table):
    """The probability of each draw, as a fraction."""
    size = len(table.thresholds)
    chances = [Fraction(0)] * size
    for i, (threshold, alias) in enumerate(zip(*map(np.ndarray.tolist, table), strict=True)):
        own = Fraction(threshold, 2**32) if alias != i else Fraction(1)
        chances[i] += own / size
        chances[alias] += (1 - own) / size
    return chances


@counts_cases
@pytest.mark.parametrize("exponent", [0.75, 1, 0, -0.5])
def test_draws_have_the_probabilities_of_the_counts(counts, exponent):
    table = noise_table(counts, exponent)
    assert table.thresholds.dtype == np.uint32 and table.aliases.dtype == np.int32
    chances = exact_probabilities(table)
    assert sum(chances) == 1
    weights = np.asarray(counts, np.longdouble) ** np.longdouble(exponent)
    expected = np.asarray(weights / weights.sum(), np.float64)
    # thresholds are rounded to 32 bits, of one place for each word that shares it
    error = np.abs(np.array([float(c) for c in chances]) - expected)
    assert error.max() < len(expected) * 2.0**-32


def test_huge_counts_and_exponents_do_not_overflow():
    chances = exact_probabilities(noise_table([10**18, 1], 20.0))
    assert chances[0] > 1 - 2**-30
    chances = exact_probabilities(noise_table([10**18, 1], -20.0))
    assert chances[1] > 1 - 2**-30


# --- the tree -------------------------------------------------------------------------------


def shortest_cost(counts):
    """The least possible sum of counts times lengths, by a heap."""
    heap, cost = [int(count) for count in counts], 0
    heapq.heapify(heap)
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        cost += joined
        heapq.heappush(heap, joined)
    return cost


@counts_cases
def test_paths_lead_to_their_words_and_are_as_short_as_can_be(counts):
    tree = huffman_tree(counts)
    size = len(counts)
    assert tree.parents.dtype == np.int32 and tree.codes.dtype == np.uint8
    assert len(tree.parents) == len(tree.codes) == 2 * size - 1 and tree.parents[-1] == -1
    paths = [tree.path(word) for word in range(size)]
    lengths = [len(nodes) for nodes, _ in paths]
    assert tree.lengths.dtype == np.uint8 and tree.lengths.tolist() == lengths
    assert sum(n * int(c) for n, c in zip(lengths, counts, strict=True)) == shortest_cost(counts)
    # Each inner node has two sides, each of which leads to one place only.
    children = {}
    for word in range(size):
        nodes, codes = paths[word]
        assert not nodes or nodes[0] == size - 2  # the root
        below = [*nodes[1:], f"word {word}"] if nodes else []
        for node, code, child in zip(nodes, codes, below, strict=True):
            assert children.setdefault((node, code), child) == child
    assert set(children) == {(node, code) for node in range(size - 1) for code in (0, 1)}
    assert len(set(children.values())) == len(children)


def test_tree_of_counts_whose_sum_has_more_than_64_bits():
    assert huffman_tree([2**62] * 16).lengths.tolist() == [4] * 16


def test_tree_of_no_words():
    assert [len(array) for array in huffman_tree([])] == [0, 0, 0]


def test_words_of_equal_counts_are_joined_in_their_order():
    """A model in a file has no tree: it is made anew, and must be the same one."""
    tree = huffman_tree([2, 2, 1, 1, 2])
    assert tree.parents.tolist() == [1, 1, 0, 0, 2, 2, 3, 3, -1]
    assert tree.codes.tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]


# --- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", [lambda c: keep_thresholds(c, 1e-3), noise_table, huffman_tree]
)
def test_counts_are_checked(function):
    with raises(ValueError, "counts must be at least 1, got 0 at counts[1]"):
        function([3, 0])
    with raises(ValueError, "counts must have shape (number of words,), got (1, 2)"):
        function([[1, 2]])
    with raises(TypeError, "counts must hold integers, got dtype float64"):
        function([0.5])


def test_settings_are_checked():
    with raises(ValueError, "sample must be a finite number, at least 0, got -1.0"):
        keep_thresholds([1], -1)
    with raises(ValueError, "ns_exponent must be a finite number, got nan"):
        noise_table([1], float("nan"))
    with raises(ValueError, "counts must have at least one word, got none"):
        noise_table([])
