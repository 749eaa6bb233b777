"""Sources that queries look at, and one query's way through them, forward and back.

A query takes what the scores need from its source alone, so a result depends neither on other
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


cdef struct Look:        # a query at its source
    long positions, first
    int way              # of computing scores with v
    const char *query    # as it goes into the scores: itself or its exponentials
    const char *keys
    long keys_row
    const char *values
    long values_row


cdef Look look_at(
    const Memory *m, const char *query, long source, char *exps
) noexcept nogil:
    """`exps` has room for the query's exponentials."""
    cdef Look look
    look.first = m.begin[source]
    look.positions = m.begin[source + 1] - look.first
    look.query, look.way = query, FS_FROM_SUMS
    look.keys_row, look.values_row = m.A * m.tiles.item, m.E * m.tiles.item
    look.keys = m.keys + look.first * look.keys_row
    look.values = m.values + look.first * look.values_row
    if m.v != NULL and m.tiles.attention.exp_twice(m.A, query, exps) and m.small[source]:
        look.way, look.query, look.keys_row = FS_FROM_EXPS, exps, m.padded
        look.keys = m.exps + look.first * m.padded
    return look


cdef void attend(
    const Memory *m, const char *query, long source, char *exps, char *weights, char *context
) noexcept nogil:
    """One query's weights (S,) and context (E,)."""
    cdef const fs_attention *c = m.tiles.attention
    cdef Look look = look_at(m, query, source, exps)
    if m.v != NULL:
        c.tanh_scores[look.way](
            look.positions, m.A, look.query, look.keys, look.keys_row, m.padded_v, weights
        )
    else:
        c.dots(look.positions, m.A, query, look.keys, look.keys_row, weights)
    c.softmax(look.positions, weights)
    memset(
        weights + look.positions * m.tiles.item, 0, (m.S - look.positions) * m.tiles.item
    )
    c.weighted_sum(
        look.positions, m.E, weights, look.values, look.values_row, context, False
    )


cdef void attend_back(
    const Memory *m, const char *query, long source, char *exps, const char *weights,
    const char *d_context, const char *d_weights, char *d_scores, char *d_query, char *dk, char *dv,
) noexcept nogil:
    """Gradients of a query and, through the scores alone, of its source.

    `d_weights` may be NULL.  `d_scores` (S,) is what the weights' gradients become.  With v
    those of keys and v go to the padded `dk` and `dv` (see ``scores.h``), `dk` being the source's
    own; without it the caller multiplies `d_scores` by the query.
    """
    cdef const fs_attention *c = m.tiles.attention
    cdef Look look = look_at(m, query, source, exps)
    c.dots(look.positions, m.E, d_context, look.values, look.values_row, d_scores)
    if d_weights != NULL:
        c.add_scaled(look.positions, 1, NULL, d_weights, d_scores)
    c.softmax_backward(look.positions, weights, d_scores)
    if m.v != NULL:
        c.tanh_scores_backward[look.way](
            look.positions, m.A, d_scores, look.query, look.keys, look.keys_row, m.padded_v,
            d_query, dk, m.padded, dv,
        )
    else:
        c.weighted_sum(
            look.positions, m.A, d_scores, look.keys, look.keys_row, d_query, False
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
