"""Sources that queries look at, and the queries' way through them, forward and back.

A query takes what its scores need from its source alone, so a result depends neither on other
queries nor on threads.
"""

cdef struct Memory:
    const fs_tiles *tiles
    long A "attention_size"
    long E "memory_size"
    long S "longest"
    long sources, positions     # all sources' positions
    const int64_t *begin        # of a source's positions; (sources + 1,)
    const char *keys
    const char *values
    const char *v               # NULL: scores are dot products
    long padded                 # bytes of A numbers, padded to whole vectors
    # Scratch, for scores with v.
    char *padded_v
    char *exps                  # of all keys
    char *small                 # for each source: whether its exponentials may be used


cdef Memory read_memory(
    cnp.ndarray keys, cnp.ndarray values, cnp.ndarray v, cnp.ndarray source_offsets,
    cnp.ndarray weights,
):
    cdef Memory m
    memset(&m, 0, sizeof(m))
    m.tiles = tiles_of(keys)
    m.A, m.E, m.S = keys.shape[1], values.shape[1], weights.shape[1]
    m.sources, m.positions = source_offsets.shape[0] - 1, keys.shape[0]
    m.begin = <const int64_t *>data(source_offsets)
    m.keys, m.values, m.v = data(keys), data(values), data(v)
    m.padded = (m.A + m.tiles.lanes - 1) // m.tiles.lanes * m.tiles.lanes * m.tiles.item
    return m


cdef void lay_out_memory(Memory *m, Scratch *scratch) noexcept nogil:
    if m.v != NULL:
        m.padded_v = take(scratch, m.padded)
        m.exps = take(scratch, m.positions * m.padded)
        m.small = take(scratch, m.sources)


cdef void prepare_memory(Memory *m, int index, int parts) noexcept nogil:
    """The part's share of the keys' exponentials; the parts must wait for each other after it."""
    cdef long source, at, row = m.A * m.tiles.item
    if m.v == NULL:
        return
    if index == 0:
        memset(m.padded_v, 0, m.padded)
        memcpy(m.padded_v, m.v, row)
    for source in range(m.sources * index // parts, m.sources * (index + 1) // parts):
        m.small[source] = 1
        for at in range(m.begin[source], m.begin[source + 1]):
            if not m.tiles.attention.exp_twice(m.A, m.keys + at * row, m.exps + at * m.padded):
                m.small[source] = 0


cdef enum:
    TOGETHER = 16  # queries of a source that go through it side by side


cdef struct Queries:     # some of one source, at most TOGETHER; arrays of pointers
    long count, source
    const char *query[TOGETHER]
    char *weights[TOGETHER]      # (S,)
    char *context[TOGETHER]      # (E,)
    # Backward.
    const char *d_context[TOGETHER]
    const char *d_weights[TOGETHER]  # NULL: none
    char *d_scores[TOGETHER]     # (S,): what the weights' gradients become
    char *d_query[TOGETHER]      # (A,)


cdef struct Look:        # a query at its source
    int way              # of computing scores with v
    const char *query    # as it goes into them: itself or its exponentials
    const char *keys
    long keys_row


cdef inline long count_positions(const Memory *m, long source) noexcept nogil:
    return m.begin[source + 1] - m.begin[source]


cdef inline const char *keys_of(const Memory *m, long source) noexcept nogil:
    return m.keys + m.begin[source] * m.A * m.tiles.item


cdef inline const char *values_of(const Memory *m, long source) noexcept nogil:
    return m.values + m.begin[source] * m.E * m.tiles.item


cdef Look look_at(
    const Memory *m, const char *query, long source, char *exps
) noexcept nogil:
    """`exps` has room for the query's exponentials."""
    cdef Look look
    look.query, look.way = query, FS_FROM_SUMS
    look.keys, look.keys_row = keys_of(m, source), m.A * m.tiles.item
    if m.tiles.attention.exp_twice(m.A, query, exps) and m.small[source]:
        look.way, look.query, look.keys_row = FS_FROM_EXPS, exps, m.padded
        look.keys = m.exps + m.begin[source] * m.padded
    return look


cdef void attend(const Memory *m, Queries *q, char *exps) noexcept nogil:
    """The queries' weights and contexts."""
    cdef const fs_attention *c = m.tiles.attention
    cdef long i, item = m.tiles.item, positions = count_positions(m, q.source)
    cdef Look look
    if m.v == NULL:
        c.dots(
            q.count, positions, m.A, q.query, keys_of(m, q.source), m.A * item, q.weights
        )
    for i in range(q.count):
        if m.v != NULL:
            look = look_at(m, q.query[i], q.source, exps)
            c.tanh_scores[look.way](
                positions, m.A, look.query, look.keys, look.keys_row, m.padded_v, q.weights[i]
            )
        c.softmax(positions, q.weights[i])
        memset(q.weights[i] + positions * item, 0, (m.S - positions) * item)
    c.weighted_sum(
        q.count, positions, m.E, <const char **>q.weights, values_of(m, q.source), m.E * item,
        q.context,
    )


cdef void attend_back(const Memory *m, Queries *q, char *exps, char *dk, char *dv) noexcept nogil:
    """Gradients of the queries and, through the scores alone, of their source.

    With v those of keys and v go to the padded `dk` and `dv` (see ``scores.h``), `dk` being the
    source's own; without it the caller multiplies `d_scores` by the queries.
    """
    cdef const fs_attention *c = m.tiles.attention
    cdef long i, item = m.tiles.item, positions = count_positions(m, q.source)
    cdef Look look
    c.dots(
        q.count, positions, m.E, q.d_context, values_of(m, q.source), m.E * item, q.d_scores
    )
    for i in range(q.count):
        if q.d_weights[i] != NULL:
            c.add_scaled(positions, 1, NULL, q.d_weights[i], q.d_scores[i])
        c.softmax_backward(positions, q.weights[i], q.d_scores[i])
        if m.v != NULL:
            look = look_at(m, q.query[i], q.source, exps)
            c.tanh_scores_backward[look.way](
                positions, m.A, q.d_scores[i], look.query, look.keys, look.keys_row, m.padded_v,
                q.d_query[i], dk, m.padded, dv,
            )
    if m.v == NULL:
        c.weighted_sum(
            q.count, positions, m.A, <const char **>q.d_scores, keys_of(m, q.source), m.A * item,
            q.d_query,
        )


cdef void add_key_gradients(
    const Memory *m, long source, const char *dk, char *d_keys
) noexcept nogil:
    """d_keys += 4 v dk, for a source's positions."""
    cdef long at, row = m.A * m.tiles.item
    for at in range(m.begin[source], m.begin[source + 1]):
        m.tiles.attention.add_scaled(m.A, 4, m.v, dk, d_keys + at * row)
        dk += m.padded


cdef void add_v_gradients(
    const Memory *m, long rows, const char *dv, char *total, char *d_v
) noexcept nogil:
    """d_v -= 2 (the sum of rows of dv); `total` has room for one."""
    memset(total, 0, m.padded)
    m.tiles.column_sums(rows, m.A, dv, m.padded, total, NULL)
    m.tiles.attention.add_scaled(m.A, -2, NULL, total, d_v)
