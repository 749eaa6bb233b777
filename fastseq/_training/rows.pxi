"""Tables of which a batch uses some rows, such as embeddings."""

cdef enum:
    ADDITIONS_PER_THREAD = 262144  # below this a second thread costs more than it brings


cdef struct RowSum:
    const char *rows
    const int64_t *places
    char *out
    long count, width
    const fs_tiles *tiles


def add_rows(cnp.ndarray rows, cnp.ndarray places, cnp.ndarray out):
    cdef RowSum job
    job.rows, job.out, job.places = data(rows), data(out), <const int64_t *>data(places)
    job.count, job.width, job.tiles = rows.shape[0], rows.shape[1], tiles_of(rows)
    cdef int parts = <int>min(_threads, 1 + job.count * job.width // ADDITIONS_PER_THREAD)
    with nogil:
        fs_run(parts, add_columns, &job)


cdef void add_columns(int part, int parts, void *argument) noexcept nogil:
    """Each part has columns of its own, so rows are added in one order whatever the parts."""
    cdef const RowSum *job = <const RowSum *>argument
    cdef long begin = job.width * part // parts, size = job.width * (part + 1) // parts - begin, n
    cdef long item = job.tiles.item
    for n in range(job.count):
        if job.places[n] < 0:
            continue
        add_row(
            job.tiles, size, job.rows + (n * job.width + begin) * item,
            job.out + (job.places[n] * job.width + begin) * item,
        )
