"""Tables of which a batch uses some rows, such as embeddings."""

ctypedef fused real:
    float
    double

cdef enum:
    ADDITIONS_PER_THREAD = 262144  # below this a second thread costs more than it brings


cdef struct RowSum:
    const char *rows
    const int64_t *places
    char *out
    long count, width, item


def add_rows(cnp.ndarray rows, cnp.ndarray places, cnp.ndarray out):
    cdef RowSum job
    job.rows, job.out, job.places = data(rows), data(out), <const int64_t *>data(places)
    job.count, job.width, job.item = rows.shape[0], rows.shape[1], cnp.PyArray_ITEMSIZE(rows)
    cdef int parts = <int>min(_threads, 1 + job.count * job.width // ADDITIONS_PER_THREAD)
    with nogil:
        fs_run(parts, add_columns, &job)


cdef void add_columns(int part, int parts, void *argument) noexcept nogil:
    """Each part has columns of its own, so rows are added in one order whatever the parts."""
    cdef const RowSum *job = <const RowSum *>argument
    cdef long begin = job.width * part // parts, size = job.width * (part + 1) // parts - begin, n
    cdef const char *row
    cdef char *to
    for n in range(job.count):
        if job.places[n] < 0:
            continue
        row = job.rows + (n * job.width + begin) * job.item
        to = job.out + (job.places[n] * job.width + begin) * job.item
        if job.item == sizeof(float):
            add_row(<const float *>row, <float *>to, size)
        else:
            add_row(<const double *>row, <double *>to, size)


cdef inline void add_row(const real *row, real *to, long size) noexcept nogil:
    cdef long i
    for i in range(size):
        to[i] += row[i]
