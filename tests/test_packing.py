"""What follows from the offsets of packed tokens, against a loop over rows."""

import pytest
from helpers import pack_offsets, row_tokens

from fastseq import packing

LENGTHS = [(4, 3, 1), (1,), (5,), (2, 2, 2), (3, 3, 1, 0, 0), (1, 1, 0), (0, 0)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_tokens_of_rows(lengths):
    offsets = pack_offsets(lengths)
    rows, before, last = {}, {}, []
    for row in range(len(lengths)):
        tokens = row_tokens(offsets, row)
        rows |= dict.fromkeys(tokens, row)
        before |= dict(zip(tokens[1:], tokens, strict=False))
        last += tokens[-1:]
    assert packing.rows_of_tokens(offsets).tolist() == by_token(rows)
    assert packing.tokens_before(offsets).tolist() == by_token(before)
    assert packing.last_tokens(offsets).tolist() == last


def test_a_pool_keeps_few_sets():
    pool = packing.BufferPool("float32")
    sets = [pool.borrow() for _ in range(packing.BufferPool.KEEP + 1)]  # of passes at once
    for buffers in sets:
        pool.give_back(buffers)
    again = [pool.borrow() for _ in sets]
    assert len({*map(id, sets), *map(id, again)}) == len(sets) + 1  # one of them is new


def by_token(values):
    return [values[token] for token in sorted(values)]
