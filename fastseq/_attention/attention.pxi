"""Attention of many queries at once."""

cdef enum:
    NUMBERS_PER_THREAD = 500000  # scored or summed; below this a second thread costs too much


cdef struct Attention:
    Memory memory
    long N "queries"
    const char *query
    const int64_t *sources
    char *weights
    char *context
    # Backward.
    const char *d_context
    const char *d_weights
    char *d_query
    char *d_keys
    char *d_values
    char *d_v
    int64_t *order          # queries by source
    int64_t *first          # ... and where a source's begin; (sources + 1,)
    char *dv                # a padded row for each source
    # Scratch of each part: exponentials of a query; gradients of scores and of a source's keys.
    char *own
    long own_bytes
    fs_barrier barrier


cdef void lay_out_attention(
    Attention *job, bint backward, int parts, Scratch *scratch
) noexcept nogil:
    cdef Memory *m = &job.memory
    cdef size_t own
    cdef long scores = (m.S * m.tiles.item + 63) // 64 * 64
    lay_out_memory(m, scratch)
    job.own_bytes = m.padded
    job.order = <int64_t *>take(scratch, job.N * sizeof(int64_t))
    job.first = <int64_t *>take(scratch, (m.sources + 1) * sizeof(int64_t))
    if backward:
        job.dv = take(scratch, m.sources * m.padded)
        job.own_bytes += m.S * m.padded + TOGETHER * scores
    own = parts * job.own_bytes
    job.own = take(scratch, own)


cdef run_attention(Attention *job, bint backward):
    cdef double work = <double>job.N * job.memory.S * (job.memory.A + job.memory.E)
    cdef int parts = <int>max(1, min(_threads, job.N // 2, 1 + work / NUMBERS_PER_THREAD))
    cdef Scratch scratch = scratch_at(NULL)
    while lay_out_again(&scratch):
        lay_out_attention(job, backward, parts, &scratch)
    with nogil:
        sort_by_source(job)
        fs_run(parts, attention_back_part if backward else attention_part, job)
        if backward and job.d_v != NULL:
            add_v_gradients(&job.memory, job.memory.sources, job.dv, job.own, job.d_v)
        fs_give_back(scratch.data)


cdef inline void wait_for_memory(Attention *job, int index, int parts) noexcept nogil:
    prepare_memory(&job.memory, index, parts)
    if parts > 1:
        fs_barrier_wait(&job.barrier, parts)


# --- forward ------------------------------------------------------------------------------------

def attention_forward(
    cnp.ndarray query, cnp.ndarray keys, cnp.ndarray values, cnp.ndarray v, cnp.ndarray sources,
    cnp.ndarray source_offsets, cnp.ndarray weights, cnp.ndarray context,
):
    cdef Attention job
    memset(&job, 0, sizeof(job))
    job.memory = read_memory(keys, values, v, source_offsets, weights)
    job.N, job.query, job.sources = query.shape[0], data(query), <const int64_t *>data(sources)
    job.weights, job.context = data(weights), data(context)
    run_attention(&job, False)


cdef void attention_part(int index, int parts, void *argument) noexcept nogil:
    cdef Attention *job = <Attention *>argument
    cdef long at = job.N * index // parts, end = job.N * (index + 1) // parts
    cdef Queries q
    wait_for_memory(job, index, parts)
    while at < end:
        at = gather_queries(job, at, end, &q)
        attend(&job.memory, &q, job.own + index * job.own_bytes)


cdef long gather_queries(Attention *job, long at, long end, Queries *q) noexcept nogil:
    """The next ones of one source, from the sorted queries at : end; where they end."""
    cdef const Memory *m = &job.memory
    cdef long item = m.tiles.item, n, i
    q.count, q.source = 0, job.sources[job.order[at]]
    while at < end and q.count < TOGETHER and job.sources[job.order[at]] == q.source:
        i, n = q.count, job.order[at]
        q.query[i] = job.query + n * m.A * item
        q.weights[i] = job.weights + n * m.S * item
        q.context[i] = job.context + n * m.E * item
        q.d_context[i] = job.d_context + n * m.E * item
        q.d_weights[i] = NULL
        if job.d_weights != NULL:
            q.d_weights[i] = job.d_weights + n * m.S * item
        q.d_query[i] = job.d_query + n * m.A * item
        q.count += 1
        at += 1
    return at


# --- backward -----------------------------------------------------------------------------------

def attention_backward(
    cnp.ndarray d_context, cnp.ndarray d_weights, cnp.ndarray query, cnp.ndarray keys,
    cnp.ndarray values, cnp.ndarray v, cnp.ndarray sources, cnp.ndarray source_offsets,
    cnp.ndarray weights, cnp.ndarray d_query, cnp.ndarray d_keys, cnp.ndarray d_values,
    cnp.ndarray d_v,
):
    cdef Attention job
    memset(&job, 0, sizeof(job))
    job.memory = read_memory(keys, values, v, source_offsets, weights)
    job.N, job.query, job.sources = query.shape[0], data(query), <const int64_t *>data(sources)
    job.weights, job.d_context, job.d_weights = data(weights), data(d_context), data(d_weights)
    job.d_query, job.d_keys = data(d_query), data(d_keys)
    job.d_values, job.d_v = data(d_values), data(d_v)
    run_attention(&job, True)


cdef void sort_by_source(Attention *job) noexcept nogil:
    """A counting sort: the queries of a source in their order."""
    cdef long n, b, count
    memset(job.first, 0, (job.memory.sources + 1) * sizeof(int64_t))
    for n in range(job.N):
        job.first[job.sources[n] + 1] += 1
    for b in range(job.memory.sources):
        job.first[b + 1] += job.first[b]
    for n in range(job.N):
        b = job.sources[n]
        job.order[job.first[b]] = n
        job.first[b] += 1
    for b in range(job.memory.sources, 0, -1):  # each has moved to where the next one begins
        job.first[b] = job.first[b - 1]
    job.first[0] = 0


cdef long source_at_share(const Attention *job, int index, int parts) noexcept nogil:
    """The source before which index / parts of all pairs of queries and positions lie."""
    cdef const Memory *m = &job.memory
    cdef double total = 0, wanted = 0
    cdef long b
    if index == parts:
        return m.sources
    for b in range(m.sources):
        total += pairs_of(job, b)
    for b in range(m.sources):
        if wanted * parts >= total * index:
            return b
        wanted += pairs_of(job, b)
    return m.sources


cdef inline double pairs_of(const Attention *job, long source) noexcept nogil:
    cdef const Memory *m = &job.memory
    return (
        <double>(job.first[source + 1] - job.first[source])
        * (m.begin[source + 1] - m.begin[source])
    )


cdef void attention_back_part(int index, int parts, void *argument) noexcept nogil:
    """The sources that are the part's own, with all of their queries."""
    cdef Attention *job = <Attention *>argument
    cdef long b
    wait_for_memory(job, index, parts)
    for b in range(source_at_share(job, index, parts), source_at_share(job, index + 1, parts)):
        source_back(job, b, job.own + index * job.own_bytes)


cdef void source_back(Attention *job, long source, char *own) noexcept nogil:
    cdef const Memory *m = &job.memory
    cdef const fs_attention *c = m.tiles.attention
    cdef long item = m.tiles.item, i, begin = m.begin[source], key_row = m.A * item
    cdef long positions = count_positions(m, source), value_row = m.E * item
    cdef long at = job.first[source], end = job.first[source + 1]
    cdef char *dv = job.dv + source * m.padded
    cdef char *dk = own + m.padded
    cdef char *d_scores = dk + m.S * m.padded
    cdef Queries q
    memset(dv, 0, m.padded)
    memset(dk, 0, positions * m.padded)
    for i in range(TOGETHER):
        q.d_scores[i] = d_scores + i * ((m.S * item + 63) // 64 * 64)
    while at < end:
        at = gather_queries(job, at, end, &q)
        attend_back(m, &q, own, dk, dv)
        c.add_outer(
            q.count, positions, m.E, <const char **>q.weights, q.d_context,
            job.d_values + begin * value_row, value_row,
        )
        if m.v == NULL:
            c.add_outer(
                q.count, positions, m.A, <const char **>q.d_scores, q.query,
                job.d_keys + begin * key_row, key_row,
            )
    if m.v != NULL:
        add_key_gradients(m, source, dk, job.d_keys)
