"""Softmax cross-entropy over rows of logits; a row is one part's, whatever the number of parts."""

from libc.math cimport log

cdef enum:
    LOGITS_PER_THREAD = 65536  # below this a second thread costs more than it brings


cdef struct Logits:
    const fs_tiles *tiles
    long rows, columns
    const char *x
    const int64_t *targets
    double *log_sums
    double *picked       # forward
    double *totals
    char *d              # backward
    double scale, on_target, elsewhere


def softmax_cross_entropy_forward(
    cnp.ndarray logits, cnp.ndarray targets, cnp.ndarray log_sums, cnp.ndarray picked,
    cnp.ndarray totals,
):
    cdef Logits job = read_logits(logits, targets, log_sums)
    job.picked, job.totals = <double *>data(picked), <double *>data(totals)
    with nogil:
        fs_run(parts_for_logits(&job), sum_rows, &job)


def softmax_cross_entropy_backward(
    cnp.ndarray logits, cnp.ndarray targets, cnp.ndarray log_sums, double scale, double on_target,
    double elsewhere, cnp.ndarray d_logits,
):
    cdef Logits job = read_logits(logits, targets, log_sums)
    job.d, job.scale, job.on_target, job.elsewhere = data(d_logits), scale, on_target, elsewhere
    with nogil:
        fs_run(parts_for_logits(&job), differentiate_rows, &job)


cdef Logits read_logits(cnp.ndarray logits, cnp.ndarray targets, cnp.ndarray log_sums):
    cdef Logits job
    memset(&job, 0, sizeof(job))
    job.tiles = tiles_of(logits)
    job.rows, job.columns, job.x = logits.shape[0], logits.shape[1], data(logits)
    job.targets, job.log_sums = <const int64_t *>data(targets), <double *>data(log_sums)
    return job


cdef int parts_for_logits(const Logits *job) noexcept nogil:
    return <int>max(1, min(_threads, job.rows, 1 + job.rows * job.columns // LOGITS_PER_THREAD))


cdef void sum_rows(int part, int parts, void *argument) noexcept nogil:
    cdef const Logits *job = <const Logits *>argument
    cdef const char *x
    cdef double top, exps
    cdef long n
    for n in range(job.rows * part // parts, job.rows * (part + 1) // parts):
        if job.targets[n] < 0:
            continue
        x = job.x + n * job.columns * job.tiles.item
        job.tiles.softmax_sums(
            job.columns, x, &top, &exps, NULL if job.totals == NULL else job.totals + n
        )
        job.log_sums[n] = top + log(exps)
        if job.targets[n] < job.columns:
            job.picked[n] = number_at(job, x, job.targets[n])


cdef inline double number_at(const Logits *job, const char *x, long i) noexcept nogil:
    return (<const float *>x)[i] if job.tiles.item == sizeof(float) else (<const double *>x)[i]


cdef void differentiate_rows(int part, int parts, void *argument) noexcept nogil:
    cdef const Logits *job = <const Logits *>argument
    cdef long n, row_bytes = job.columns * job.tiles.item
    cdef char *d
    for n in range(job.rows * part // parts, job.rows * (part + 1) // parts):
        d = job.d + n * row_bytes
        if job.targets[n] < 0:
            memset(d, 0, row_bytes)
            continue
        job.tiles.softmax_gradient(
            job.columns, job.x + n * row_bytes, job.log_sums[n], job.scale,
            job.scale * job.elsewhere, d,
        )
        if job.targets[n] < job.columns:
            if job.tiles.item == sizeof(float):
                (<float *>d)[job.targets[n]] -= <float>(job.scale * job.on_target)
            else:
                (<double *>d)[job.targets[n]] -= job.scale * job.on_target
