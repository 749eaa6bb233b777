"""Tables of which a batch uses some rows (contract: :mod:`fastseq.reference`)."""

from fastseq.jit.compiling import compiled
from fastseq.jit.time_steps import add, read_only


@compiled
def _add_rows(rows, places, out):
    for n in range(len(places)):
        if places[n] >= 0:
            add(out[places[n]], rows[n])


def add_rows(rows, places, out):
    """out[places[n]] += rows[n] for n = 0, 1, ...; rows with a negative place are left out."""
    _add_rows(read_only(rows), read_only(places), out)
