"""The largest numbers of each row; a row is one part's, whatever the number of parts."""

cdef enum:
    SCANNED_PER_THREAD = 131072  # below this a second thread costs more than it brings


cdef struct Rows:
    const char *rows
    char *values
    int64_t *places
    long count, width, kept, item


def largest_of_rows(cnp.ndarray rows, cnp.ndarray values, cnp.ndarray places):
    cdef Rows job
    job.rows, job.values, job.places = data(rows), data(values), <int64_t *>data(places)
    job.count, job.width, job.kept = rows.shape[0], rows.shape[1], places.shape[1]
    job.item = cnp.PyArray_ITEMSIZE(rows)
    cdef int parts = <int>max(
        1, min(_threads, job.count, 1 + job.count * job.width // SCANNED_PER_THREAD)
    )
    with nogil:
        fs_run(parts, scan_rows, &job)


cdef void scan_rows(int part, int parts, void *argument) noexcept nogil:
    cdef const Rows *job = <const Rows *>argument
    cdef const char *row
    cdef char *values
    cdef int64_t *places
    cdef long n
    for n in range(job.count * part // parts, job.count * (part + 1) // parts):
        row = job.rows + n * job.width * job.item
        values = job.values + n * job.kept * job.item
        places = job.places + n * job.kept
        if job.item == sizeof(float):
            scan_row(<const float *>row, job.width, job.kept, <float *>values, places)
        else:
            scan_row(<const double *>row, job.width, job.kept, <double *>values, places)


cdef inline void scan_row(
    const real *row, long width, long kept, real *values, int64_t *places
) noexcept nogil:
    """An insertion sort of what is larger than the least that is kept: soon hardly anything is."""
    cdef long i
    for i in range(kept):
        insert(row[i], i, i, values, places)
    cdef real least = values[kept - 1]
    for i in range(kept, width):
        if row[i] > least:
            insert(row[i], i, kept - 1, values, places)
            least = values[kept - 1]


cdef inline void insert(
    real value, long place, long to, real *values, int64_t *places
) noexcept nogil:
    """Behind equal ones, which came first; the one at ``to`` is lost."""
    while to > 0 and values[to - 1] < value:
        values[to], places[to] = values[to - 1], places[to - 1]
        to -= 1
    values[to], places[to] = value, place
