"""What follows from how often words come: which are skipped, drawn, and how a tree codes them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastseq import checks

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_ALWAYS = 2**32 - 1  # the highest threshold


class AliasTable(NamedTuple):
    """Draws from a distribution over V words with one look-up (Walker, 1977).

    Take a word ``i`` out of V with equal chances, and 32 random bits: the draw is ``i`` if they
    are below ``thresholds[i]``, and ``aliases[i]`` otherwise.

    Attributes
    ----------
    thresholds : ndarray of uint32, (V,)
    aliases : ndarray of int32, (V,)
        A word itself where no other shares its place.
    """

    thresholds: NDArray[np.uint32]
    aliases: NDArray[np.int32]


class HuffmanTree(NamedTuple):
    """A binary tree with V words as its leaves and V - 1 inner nodes; the last one is its root.

    The words' paths themselves would take ten times the memory.

    Attributes
    ----------
    parents : ndarray of int32, (2 V - 1,)
        Parents of the words, then of the inner nodes, as numbers of inner nodes; these are
        numbered from 0 in the order they were made.  The root has -1.
    codes : ndarray of uint8, (2 V - 1,)
        On which side of the parent each of them is: 0 or 1.
    lengths : ndarray of uint8, (V,)
        Inner nodes on each word's path.
    """

    parents: NDArray[np.int32]
    codes: NDArray[np.uint8]
    lengths: NDArray[np.uint8]

    def path(self, word: int) -> tuple[list[int], list[int]]:
        """The inner nodes from the root down to a word, and the sides on which it goes on."""
        place, nodes, codes = word, [], []
        for _ in range(self.lengths[word]):
            nodes.append(int(self.parents[place]))
            codes.append(int(self.codes[place]))
            place = len(self.lengths) + nodes[-1]
        return nodes[::-1], codes[::-1]


def keep_thresholds(counts: ArrayLike, sample: float) -> NDArray[np.uint32]:
    r"""How readily each word is kept when frequent words are thinned out.

    A word is kept if 32 random bits are not above its threshold: with the probability

    .. math:: \min(1, (\sqrt{n / t} + 1) \, t / n)

    where n is its count and t is ``sample`` times the sum of all counts (what word2vec.c does;
    the paper has another formula).

    Parameters
    ----------
    counts : array of int, (V,)
    sample : float
        0 keeps everything.  From 1 on it is no share of all words but a count, as in gensim:
        t is 2.618 times as much, rounded down.

    Returns
    -------
    thresholds : ndarray of uint32, (V,)

    Raises
    ------
    TypeError, ValueError
        If counts are not positive integers, or ``sample`` is negative or not finite.

    References
    ----------
    Mikolov et al. (2013), "Distributed representations of words and phrases and their
    compositionality", section 2.3.

    Examples
    --------
    >>> from fastseq.words.word_counts import keep_thresholds
    >>> (keep_thresholds([90, 9, 1], sample=0.1) / 2**32).round(2).tolist()
    [0.44, 1.0, 1.0]
    """
    counts = check_counts(counts).astype(np.float64)
    sample = checks.not_negative("sample", sample)
    if not sample or not counts.size:
        return np.full(len(counts), _ALWAYS, np.uint32)
    t = sample * counts.sum() if sample < 1 else float(int(sample * (3 + np.sqrt(5)) / 2))
    keep = (np.sqrt(counts / t) + 1) * (t / counts)
    return (np.minimum(keep, 1) * _ALWAYS).astype(np.uint32)


def noise_table(counts: ArrayLike, ns_exponent: float = 0.75) -> AliasTable:
    r"""A table to draw words from, each with a probability in proportion to
    :math:`n^\mathrm{ns\_exponent}`.

    Parameters
    ----------
    counts : array of int, (V,)
        At least one word.
    ns_exponent : float
        1 draws words as they come in the text, 0 all of them alike; a negative one prefers rare
        words.

    Returns
    -------
    table : AliasTable

    Raises
    ------
    TypeError, ValueError
        If counts are not positive integers, if there are none, or the exponent is not finite.

    References
    ----------
    Walker (1977), "An efficient method for generating discrete random variables with general
    distributions"; Vose (1991) for making the table in linear time.

    Examples
    --------
    >>> from fastseq.words.word_counts import noise_table
    >>> table = noise_table([16, 1], ns_exponent=0.5)  # 4 to 1
    >>> (table.thresholds / 2**32).round(2).tolist(), table.aliases.tolist()
    ([1.0, 0.4], [0, 0])
    """
    counts = check_counts(counts)
    exponent = checks.finite("ns_exponent", ns_exponent)
    if not counts.size:
        raise ValueError("counts must have at least one word, got none")
    logs = exponent * np.log(counts)
    weights = np.exp(logs - logs.max())  # whose sum can't overflow
    return _alias_table(weights * (len(weights) / weights.sum()))


def _alias_table(shares):
    """The table of shares whose mean is 1: those below 1 are filled up from those above."""
    aliases = np.arange(len(shares), dtype=np.int32)
    small = _array("q", np.flatnonzero(shares < 1))
    large = _array("q", np.flatnonzero(shares >= 1))
    shares = _array("d", shares)
    while small and large:
        i, j = small.pop(), large[-1]
        aliases[i] = j
        shares[j] -= 1 - shares[i]
        if shares[j] < 1:
            small.append(large.pop())
    for i in small + large:  # 1 but for rounding
        shares[i] = 1.0
    thresholds = np.minimum(np.rint(np.multiply(shares, 2.0**32)), _ALWAYS).astype(np.uint32)
    return AliasTable(thresholds, aliases)


def huffman_tree(counts: ArrayLike) -> HuffmanTree:
    """The binary tree in which the mean path to a word is shortest.

    Parameters
    ----------
    counts : array of int, (V,)
        In any order.

    Returns
    -------
    tree : HuffmanTree
        With fewer than two words all paths are empty.

    Raises
    ------
    TypeError, ValueError
        If counts are not positive integers.

    References
    ----------
    Huffman (1952), "A method for the construction of minimum-redundancy codes"; van Leeuwen
    (1976) for two queues instead of a heap.

    Examples
    --------
    >>> from fastseq.words.word_counts import huffman_tree
    >>> tree = huffman_tree([5, 2, 1])
    >>> [tree.path(word) for word in range(3)]
    [([1], [1]), ([1, 0], [0, 1]), ([1, 0], [0, 0])]
    """
    counts = check_counts(counts)
    parents, codes = _join_nodes(counts)
    return HuffmanTree(parents, codes, _lengths(len(counts), parents))


def _join_nodes(counts):
    """Each node's parent, and its side; nodes are the words, then the inner ones as made."""
    size = len(counts)
    order = np.argsort(counts, kind="stable")
    leaves = _array("q", order)
    leaf_counts = _array("q", counts[order])
    inner_counts = []  # rise too: the two least of all are among the next of both
    parents = np.full(max(2 * size - 1, 0), -1, np.int32)
    codes = np.zeros(len(parents), np.uint8)
    parent_of, code_of = memoryview(parents), memoryview(codes)
    leaf = inner = 0
    for made in range(size - 1):
        total = 0
        for code in (0, 1):
            if leaf < size and (inner == made or leaf_counts[leaf] <= inner_counts[inner]):
                node, count = leaves[leaf], leaf_counts[leaf]
                leaf += 1
            else:
                node, count = size + inner, inner_counts[inner]
                inner += 1
            parent_of[node], code_of[node] = made, code
            total += count
        inner_counts.append(total)
    return parents, codes


def _lengths(size, parents):
    """The nodes on each word's path, less than 100 in any text; all words climb at once."""
    lengths, climbing = np.zeros(size, np.uint8), np.arange(size)
    nodes = parents[:size]
    while (climbing := climbing[nodes >= 0]).size:
        lengths[climbing] += 1
        nodes = parents[size + nodes[nodes >= 0]]
    return lengths


def _array(code, numbers):
    """Numbers that Python walks over fast; a list of them would take several times the memory."""
    return array(code, numbers.tobytes())


def check_counts(counts):
    """Counts as an array of int64, all at least 1."""
    array = checks.integers("counts", counts)
    if array.ndim != 1:
        raise ValueError(f"counts must have shape (number of words,), got {array.shape}")
    if array.size and array.min() < 1:
        at = int(np.argmax(array < 1))
        raise ValueError(f"counts must be at least 1, got {array[at]} at counts[{at}]")
    return array.astype(np.int64)
