"""The largest numbers of each row (contract: :mod:`fastseq.reference`)."""

from .compiling import compiled
from .time_steps import read_only


@compiled
def _insert(value, place, to, values, places):
    """Behind equal ones, which came first; the one at ``to`` is lost."""
    while to > 0 and values[to - 1] < value:
        values[to], places[to] = values[to - 1], places[to - 1]
        to -= 1
    values[to], places[to] = value, place


@compiled
def _scan(rows, values, places):
    kept = places.shape[1]
    for n in range(len(rows)):
        row, best, where = rows[n], values[n], places[n]
        for i in range(kept):
            _insert(row[i], i, i, best, where)
        for i in range(kept, row.size):
            if row[i] > best[kept - 1]:
                _insert(row[i], i, kept - 1, best, where)


def largest_of_rows(rows, values, places):
    """The largest numbers of each row and their columns, falling; of equal ones the first."""
    _scan(read_only(rows), values, places)
