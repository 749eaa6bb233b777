"""What word vectors are trained with besides the words: tables that follow from their counts.

Each function takes the counts of a vocabulary, sorted by falling count, int64 (V,).
"""

from __future__ import annotations

import numpy as np

_MOST = 2**32 - 1  # tables hold probabilities as fractions of it


def keep_thresholds(counts, sample):
    """Which random uint32 keep a word, uint32 (V,): those that don't exceed its threshold.

    A word with share f of all words is kept with the probability (sqrt(f / sample) + 1) sample / f,
    at most 1; sample = 0 keeps all.  ``sample`` of 1 and more is a count instead of a share.
    This is word2vec's and gensim's rule, not the paper's.
    """
    counts = np.asarray(counts, np.float64)
    threshold = sample * counts.sum() if sample < 1 else sample * (3 + np.sqrt(5)) / 2
    if sample == 0:
        return np.full(len(counts), _MOST, np.uint32)
    probability = (np.sqrt(counts / threshold) + 1) * (threshold / counts)
    return np.rint(np.minimum(probability, 1) * _MOST).astype(np.uint32)


def alias_table(counts, exponent):
    """(threshold, other), uint32 and int32 (V,): to draw words with probability ~ count**exponent.

    Draw a word i and a uint32; below threshold[i] the word is i, else other[i] (Vose, 1991).
    """
    weights = np.asarray(counts, np.float64) ** exponent
    size = len(weights)
    share = (weights * (size / weights.sum())).tolist()
    other = list(range(size))
    small = [i for i in range(size) if share[i] < 1]
    large = [i for i in range(size) if share[i] >= 1]
    while small and large:
        i, j = small.pop(), large[-1]
        other[i] = j
        share[j] -= 1 - share[i]
        if share[j] < 1:
            small.append(large.pop())
    for i in small + large:  # 1, but for rounding
        share[i], other[i] = 1.0, i
    threshold = np.rint(np.minimum(share, 1) * _MOST).astype(np.uint32)
    return threshold, np.array(other, np.int32)


def huffman_paths(counts):
    """(begins, nodes, codes): each word's way from the root of a Huffman tree to its leaf.

    Word i goes through nodes[begins[i] : begins[i + 1]], int32, and from each of them along the
    branch that codes says, uint8.  There are V - 1 nodes; the root is the last one.
    """
    counts = np.asarray(counts).tolist()
    size = len(counts)
    parent, branch = _join_smallest(counts)
    # Nodes are made after what they join: from the root down, a node's way is known before theirs.
    length = [0] * (2 * size - 1)
    for i in range(2 * size - 3, -1, -1):
        length[i] = length[parent[i]] + 1
    begins = np.concatenate([[0], np.cumsum(length[:size])]).astype(np.int64)
    nodes, codes = np.empty(begins[-1], np.int32), np.empty(begins[-1], np.uint8)
    if size > 1:
        parent, branch = np.array(parent), np.array(branch, np.uint8)
        node, at = np.arange(size), begins[1:] - 1
        while len(node):  # one step up with all words that are not there yet
            codes[at], nodes[at] = branch[node], parent[node] - size
            node = parent[node]
            going = node != 2 * size - 2
            node, at = node[going], at[going] - 1
    return begins, nodes, codes


def _join_smallest(counts):
    """Of each leaf and node its parent and the branch that leads to it.

    Sums of counts come in rising order, so two queues do for a heap.
    """
    size = len(counts)
    total = counts + [0] * (size - 1)
    parent, branch = [0] * (2 * size - 1), [0] * (2 * size - 1)
    leaf, node = size - 1, size
    for new in range(size, 2 * size - 1):
        pair = []
        for _ in range(2):
            if leaf >= 0 and (node >= new or total[leaf] <= total[node]):
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(node)
                node += 1
        total[new] = total[pair[0]] + total[pair[1]]
        parent[pair[0]] = parent[pair[1]] = new
        branch[pair[1]] = 1
    return parent, branch
