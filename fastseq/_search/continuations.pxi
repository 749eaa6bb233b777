"""The best continuations of each sentence's hypotheses; a sentence is one part's.

R rows (hypotheses, sentence by sentence), V tokens, L sentences, K continuations of each.
"""

from libc.math cimport INFINITY, fabs, log

ctypedef fused real:
    float
    double

cdef enum:
    PASSED_AT_ONCE = 32  # scores, where none is large enough


cdef struct Beams:
    const fs_tiles *tiles
    long sentences, classes, kept
    bint known
    const char *logits
    const double *log_probs
    const int64_t *offsets
    const unsigned char *barred
    double *log_sums
    double *gains
    int64_t *rows
    int64_t *tokens


cdef struct Best:
    long kept, found
    double *gains
    int64_t *rows
    int64_t *tokens


def best_continuations(
    cnp.ndarray logits, cnp.ndarray log_probs, cnp.ndarray offsets, cnp.ndarray barred,
    cnp.ndarray log_sums, bint known, cnp.ndarray gains, cnp.ndarray rows, cnp.ndarray tokens,
):
    cdef Beams job
    job.tiles = tiles_of(logits)
    job.sentences, job.classes, job.kept = gains.shape[0], logits.shape[1], gains.shape[1]
    job.logits, job.log_probs = data(logits), <const double *>data(log_probs)
    job.offsets, job.barred = <const int64_t *>data(offsets), <const unsigned char *>data(barred)
    job.log_sums, job.known, job.gains = <double *>data(log_sums), known, <double *>data(gains)
    job.rows, job.tokens = <int64_t *>data(rows), <int64_t *>data(tokens)
    cdef int parts = <int>max(
        1, min(_threads, job.sentences, 1 + logits.size // LOGITS_PER_THREAD)
    )
    with nogil:
        fs_run(parts, search_sentences, &job)


cdef void search_sentences(int part, int parts, void *argument) noexcept nogil:
    cdef const Beams *job = <const Beams *>argument
    cdef Best best
    cdef long n, i
    best.kept = job.kept
    for n in range(job.sentences * part // parts, job.sentences * (part + 1) // parts):
        best.found = 0
        best.gains, best.rows = job.gains + n * job.kept, job.rows + n * job.kept
        best.tokens = job.tokens + n * job.kept
        for i in range(job.offsets[n], job.offsets[n + 1]):
            search_row(job, i, &best)
        for i in range(best.found, best.kept):
            best.gains[i], best.rows[i], best.tokens[i] = -INFINITY, job.offsets[n], 0


cdef inline void search_row(const Beams *job, long row, Best *best) noexcept nogil:
    cdef const char *x = job.logits + row * job.classes * job.tiles.item
    cdef double top = INFINITY, exps
    if not job.known:
        job.tiles.softmax_sums(job.classes, x, &top, &exps, NULL)
        job.log_sums[row] = top + log(exps)
    if job.tiles.item == sizeof(float):
        scan_row(<const float *>x, top, job, row, best)
    else:
        scan_row(<const double *>x, top, job, row, best)


cdef inline void scan_row(
    const real *x, double top, const Beams *job, long row, Best *best
) noexcept nogil:
    cdef double log_prob = job.log_probs[row], log_sum = job.log_sums[row]
    cdef double least = best.gains[best.kept - 1] if best.found == best.kept else -INFINITY
    cdef double gain
    cdef real bound = bound_of[real](0, least, log_prob, log_sum)
    cdef long block, begin, end, i
    cdef int some
    if top < bound:  # often: few hypotheses have much of the probability
        return
    for block in range((job.classes + PASSED_AT_ONCE - 1) // PASSED_AT_ONCE):
        begin = block * PASSED_AT_ONCE
        end = min(begin + PASSED_AT_ONCE, job.classes)
        some = 0
        for i in range(begin, end):  # without branches, so that it vectorises
            some |= x[i] >= bound
        if not some:
            continue
        for i in range(begin, end):
            if not x[i] >= bound or (job.barred != NULL and job.barred[i]):
                continue
            gain = x[i] - log_sum
            gain = (0 if gain > 0 else gain) + log_prob  # rounding may make it more than 0
            if gain > least:
                keep(gain, row, i, best)
                if best.found == best.kept:
                    least = best.gains[best.kept - 1]
                    bound = bound_of[real](0, least, log_prob, log_sum)


cdef inline real bound_of(real kind, double least, double log_prob, double log_sum) noexcept nogil:
    """A little less than the logit that has the gain ``least``: what is below can't exceed it."""
    cdef double logit = least - log_prob + log_sum
    return <real>(logit - 1e-5 * (1 + fabs(log_prob) + fabs(log_sum) + fabs(least)))


cdef inline void keep(double gain, long row, long token, Best *best) noexcept nogil:
    """Behind equal ones, which came first; when there are enough, the last one goes."""
    cdef long to = min(best.found, best.kept - 1)
    while to > 0 and best.gains[to - 1] < gain:
        best.gains[to], best.rows[to] = best.gains[to - 1], best.rows[to - 1]
        best.tokens[to] = best.tokens[to - 1]
        to -= 1
    best.gains[to], best.rows[to], best.tokens[to] = gain, row, token
    best.found = min(best.found + 1, best.kept)
