"""Scaled dot-product attention in blocks of queries and keys (after Dao et al., 2022; Dao, 2023).

Weights exist for one group of queries and one block of keys at a time, while they are in cache.
Forward carries each query's largest score and the sum of exponentials from block to block;
backward computes the weights again, from the logarithms of these sums.

A sum over keys, or over queries, goes over them in one order.  Heads, queries and keys can thus be
shared out among threads as it suits.
"""

from libc.math cimport INFINITY

cdef enum:
    KEY_BLOCK = 256        # keys whose panels are packed at a time: a multiple of a panel's span
    QUERY_ROWS = 48        # queries whose scores with a block are in cache together
    QUERIES_AT_ONCE = 384  # queries that share packed keys: forward, the work that is shared out


cdef struct Heads:         # (B, heads, rows, size), numbers of a row side by side
    char *data
    long batch, head, row  # bytes from one to the next


cdef struct DotProduct:
    const fs_tiles *tiles
    Heads query, key, value, out
    Heads d_query, d_key, d_value, d_out
    const int64_t *lengths  # NULL: all keys
    double *log_sums        # (B, heads, T)
    long rows, heads, queries, keys, size, value_size
    bint causal
    double scale
    bint backward, split
    char *memory
    size_t part_bytes


def scaled_dot_product_forward(query, key, value, key_lengths, causal, scale, out, log_sums):
    cdef DotProduct job = read_dot_product(
        query, key, value, key_lengths, causal, scale, out, log_sums
    )
    run_dot_product(&job)


def scaled_dot_product_backward(
    d_out, query, key, value, key_lengths, causal, scale, out, log_sums, d_query, d_key, d_value
):
    cdef DotProduct job = read_dot_product(
        query, key, value, key_lengths, causal, scale, out, log_sums
    )
    job.backward = True
    job.d_out = heads_of(d_out)
    job.d_query, job.d_key, job.d_value = heads_of(d_query), heads_of(d_key), heads_of(d_value)
    run_dot_product(&job)


cdef DotProduct read_dot_product(
    cnp.ndarray query, cnp.ndarray key, cnp.ndarray value, cnp.ndarray lengths, bint causal,
    double scale, cnp.ndarray out, cnp.ndarray log_sums,
):
    cdef DotProduct job
    memset(&job, 0, sizeof(job))
    job.tiles = tiles_of(query)
    job.query, job.key, job.value = heads_of(query), heads_of(key), heads_of(value)
    job.out = heads_of(out)
    job.lengths, job.log_sums = <const int64_t *>data(lengths), <double *>data(log_sums)
    job.rows, job.heads, job.queries = query.shape[0], query.shape[1], query.shape[2]
    job.keys, job.size, job.value_size = key.shape[2], key.shape[3], value.shape[3]
    job.causal, job.scale = causal, scale
    return job


cdef Heads heads_of(cnp.ndarray array):
    return Heads(data(array), array.strides[0], array.strides[1], array.strides[2])


cdef inline char *head_of(const Heads *heads, long row, long head) noexcept nogil:
    return heads.data + row * heads.batch + head * heads.head


# --- sharing out ----------------------------------------------------------------------------------

cdef inline long blocks_of(long count, long size) noexcept nogil:
    return (count + size - 1) // size


cdef run_dot_product(DotProduct *job):
    cdef long heads = job.rows * job.heads
    cdef double flops = 2.0 * heads * job.queries * job.keys * (job.size + job.value_size)
    cdef int parts
    cdef Scratch unplaced = scratch_at(NULL)
    if heads == 0:
        return
    flops *= 2.5 if job.backward else 1
    parts = <int>min(_threads, 1 + flops / THREAD_FLOPS)
    job.split = not job.backward or heads < parts
    parts = <int>max(1, min(parts, units_of(job)))
    place_work(job, &unplaced)
    job.part_bytes = unplaced.used
    job.memory = take_memory(parts * job.part_bytes)
    with nogil:
        fs_run(parts, dot_product_part, job)
        fs_give_back(job.memory)


cdef long units_of(const DotProduct *job) noexcept nogil:
    """Pieces of work that need nothing of each other."""
    cdef long units = 1
    if job.split:
        units = blocks_of(job.queries, QUERIES_AT_ONCE)
        if job.backward:
            units += blocks_of(job.keys, KEY_BLOCK)
    return units * job.rows * job.heads


cdef void dot_product_part(int part, int parts, void *argument) noexcept nogil:
    cdef DotProduct *job = <DotProduct *>argument
    cdef long units = units_of(job), of_head = units // (job.rows * job.heads), unit, head, own
    cdef long key_blocks = blocks_of(job.keys, KEY_BLOCK)
    cdef Scratch scratch
    cdef Head work
    for unit in range(units * part // parts, units * (part + 1) // parts):
        scratch = scratch_at(job.memory + part * job.part_bytes)
        work = place_work(job, &scratch)
        head, own = unit // of_head, unit % of_head
        take_head(job, &work, head // job.heads, head % job.heads)
        if not job.backward:
            head_forward(job, &work, own * QUERIES_AT_ONCE)
        elif not job.split:
            head_back(job, &work, 0, job.keys, 0, job.queries, True, True)
        elif own < key_blocks:
            head_back(
                job, &work, own * KEY_BLOCK, min(job.keys, (own + 1) * KEY_BLOCK), 0, job.queries,
                True, False,
            )
        else:
            own = (own - key_blocks) * QUERIES_AT_ONCE
            head_back(
                job, &work, 0, job.keys, own, min(job.queries, own + QUERIES_AT_ONCE), False, True
            )


# --- one head -------------------------------------------------------------------------------------

cdef struct Head:          # of one part; pointers to the arrays of its head
    long keys              # that the head has
    const char *query
    const char *key
    const char *value
    char *out
    double *log_sums
    const char *d_out
    char *d_query
    char *d_key
    char *d_value
    fs_score_block scores
    char *key_panels       # a block's keys and values, packed for the products
    char *value_panels
    char *key_rows
    char *query_rows       # backward: a group's queries and output gradients
    char *d_out_rows
    char *factors
    char *out_tiles        # outputs or gradients, tiles of [group][panel][row][vector][lane]
    char *d_key_tiles
    char *d_value_tiles
    char *deltas


cdef size_t panels_size(const fs_tiles *tiles, long depth, long outputs) noexcept nogil:
    return panels_of(tiles, outputs) * depth * FS_PANEL_VECTORS * tiles.lanes * tiles.item


cdef Head place_work(const DotProduct *job, Scratch *scratch) noexcept nogil:
    cdef const fs_tiles *tiles = job.tiles
    cdef long block = min(job.keys, KEY_BLOCK), item = tiles.item, lanes = tiles.lanes
    cdef long rows = min(job.queries, QUERY_ROWS)
    cdef long queries = blocks_of(min(job.queries, QUERIES_AT_ONCE), QUERY_ROWS) * QUERY_ROWS
    cdef Head w
    memset(&w, 0, sizeof(w))
    w.key_panels = take(scratch, panels_size(tiles, job.size, block))
    w.factors = take(scratch, queries * item)
    if not job.backward:
        w.value_panels = take(scratch, panels_size(tiles, block, job.value_size))
        w.scores.scores = take(scratch, panels_size(tiles, rows, block))
        w.scores.top = take(scratch, queries * item)
        w.scores.sums = take(scratch, queries * lanes * item)
        w.out_tiles = take(scratch, panels_size(tiles, queries, job.value_size))
        return w
    if not job.split:
        queries = blocks_of(job.queries, QUERY_ROWS) * QUERY_ROWS
    w.value_panels = take(scratch, panels_size(tiles, job.value_size, block))
    w.key_rows = take(scratch, panels_size(tiles, block, job.size))
    w.query_rows = take(scratch, panels_size(tiles, rows, job.size))
    w.d_out_rows = take(scratch, panels_size(tiles, rows, job.value_size))
    w.scores.scores = take(scratch, panels_size(tiles, rows, 1))
    w.scores.d = take(scratch, panels_size(tiles, rows, 1))
    w.out_tiles = take(scratch, panels_size(tiles, queries, job.size))
    w.d_key_tiles = take(scratch, panels_size(tiles, KEY_BLOCK, job.size))
    w.d_value_tiles = take(scratch, panels_size(tiles, KEY_BLOCK, job.value_size))
    w.deltas = take(scratch, job.queries * item)
    return w


cdef void take_head(const DotProduct *job, Head *w, long row, long head) noexcept nogil:
    w.keys = job.keys if job.lengths == NULL else job.lengths[row]
    w.query, w.key = head_of(&job.query, row, head), head_of(&job.key, row, head)
    w.value, w.out = head_of(&job.value, row, head), head_of(&job.out, row, head)
    w.log_sums = job.log_sums + (row * job.heads + head) * job.queries
    w.scores.scale, w.scores.step = job.scale, job.causal
    if job.backward:
        w.d_out, w.d_query = head_of(&job.d_out, row, head), head_of(&job.d_query, row, head)
        w.d_key, w.d_value = head_of(&job.d_key, row, head), head_of(&job.d_value, row, head)


cdef Panels pack_whole(
    const fs_tiles *tiles, char *memory, long depth, long outputs, const char *source,
    long output_stride, long k_stride,
) noexcept nogil:
    cdef Scratch unplaced = scratch_at(NULL)
    cdef Panels p
    p = make_panels(tiles, depth, outputs, 0, &unplaced)
    p.data = memory
    pack_panels(tiles, &p, 0, p.count, source, output_stride, 0, k_stride, 0, 0, depth)
    return p


cdef inline long keys_seen(
    const DotProduct *job, Head *w, long query, long rows, long begin, long count
) noexcept nogil:
    """How many of the keys begin : begin + count the last of some queries sees."""
    w.scores.rows, w.scores.keys, w.scores.seen = rows, count, count
    if not job.causal:
        return count
    w.scores.seen = query + 1 - begin
    return max(0, min(count, w.scores.seen + rows - 1))


cdef inline void multiply_panels(
    const fs_tiles *tiles, const Panels *p, long first_k, long rows, long depth, const char *a,
    long a_row, long a_k, char *tiles_out, long tile_rows,
) noexcept nogil:
    """tiles += a @ the panels' rows first_k : first_k + depth; there is room for tile_rows."""
    cdef long panel, vectors, vector = tiles.lanes * tiles.item
    for panel in range(p.count):
        vectors = panel_vectors(p, panel, tiles.lanes)
        tiles.dot_product.multiply(
            rows, vectors, depth, a, a_row, a_k,
            p.data + panel * p.stride + first_k * vectors * vector,
            tiles_out + panel * tile_rows * FS_PANEL_VECTORS * vector,
        )


cdef inline void store_panels(
    const fs_tiles *tiles, long outputs, long rows, const char *tiles_in, long tile_rows,
    char *out, long out_row,
) noexcept nogil:
    cdef long panel, left, lanes = tiles.lanes, width = FS_PANEL_VECTORS * lanes
    for panel in range(panels_of(tiles, outputs)):
        left = outputs - panel * width
        tiles.store(
            rows, min(FS_PANEL_VECTORS, (left + lanes - 1) // lanes), left, lanes,
            tiles_in + panel * tile_rows * width * tiles.item, NULL, 0,
            out + panel * width * tiles.item, out_row, lanes * tiles.item, False,
        )


# --- forward --------------------------------------------------------------------------------------

cdef void head_forward(const DotProduct *job, Head *w, long first) noexcept nogil:
    """QUERIES_AT_ONCE queries from `first` on, with all keys."""
    cdef const fs_tiles *tiles = job.tiles
    cdef long last = min(job.queries, first + QUERIES_AT_ONCE), block, begin, count, query
    cdef long group, groups = blocks_of(last - first, QUERY_ROWS)
    cdef long keys = min(w.keys, last) if job.causal else w.keys
    cdef Panels key, value
    memset(w.out_tiles, 0, panels_size(tiles, last - first, job.value_size))
    memset(w.scores.sums, 0, (last - first) * tiles.lanes * tiles.item)
    fill_top(tiles, last - first, w.scores.top)
    for block in range(blocks_of(keys, KEY_BLOCK)):
        begin = block * KEY_BLOCK
        count = min(KEY_BLOCK, keys - begin)
        key = pack_whole(
            tiles, w.key_panels, job.size, count, w.key + begin * job.key.row, job.key.row,
            tiles.item,
        )
        value = pack_whole(
            tiles, w.value_panels, count, job.value_size, w.value + begin * job.value.row,
            tiles.item, job.value.row,
        )
        for group in range(groups):
            query = first + group * QUERY_ROWS
            block_forward(job, w, &key, &value, first, query, last, begin, count)
    for group in range(groups):
        query = first + group * QUERY_ROWS
        finish_group(job, w, first, query, min(QUERY_ROWS, last - query))


cdef void fill_top(const fs_tiles *tiles, long rows, char *top) noexcept nogil:
    cdef long i
    for i in range(rows):
        if tiles.item == sizeof(float):
            (<float *>top)[i] = -INFINITY
        else:
            (<double *>top)[i] = -INFINITY


cdef fs_score_block of_group(const fs_tiles *tiles, const Head *w, long at) noexcept nogil:
    """What is carried for the queries from `at` on, counted from the first at once."""
    cdef fs_score_block s = w.scores
    s.top += at * tiles.item
    s.sums += at * tiles.lanes * tiles.item
    s.shrink = w.factors + at * tiles.item
    return s


cdef inline char *group_tiles(
    const DotProduct *job, const Head *w, long at, long size
) noexcept nogil:
    """The tiles of a group of queries: groups before it are full."""
    return w.out_tiles + panels_size(job.tiles, at, size)


cdef void block_forward(
    const DotProduct *job, Head *w, const Panels *key, const Panels *value, long first,
    long query, long last, long begin, long count,
) noexcept nogil:
    """A group of queries with a block of keys."""
    cdef const fs_tiles *tiles = job.tiles
    cdef long rows = min(QUERY_ROWS, last - query), seen, panels, panel, vectors
    cdef long vector = tiles.lanes * tiles.item, full = FS_PANEL_VECTORS * tiles.lanes
    cdef char *out = group_tiles(job, w, query - first, job.value_size)
    cdef fs_score_block s
    seen = keys_seen(job, w, query, rows, begin, count)
    if seen == 0:
        return
    s = of_group(tiles, w, query - first)
    panels = blocks_of(seen, full)
    s.vectors = 0
    for panel in range(panels):
        vectors = panel_vectors(key, panel, tiles.lanes)
        s.vectors += vectors
        tiles.product(
            rows, vectors, 1, job.size, w.query + query * job.query.row, job.query.row, tiles.item,
            key.data + panel * key.stride, 0, s.scores + panel * rows * full * tiles.item, 0,
        )
    tiles.dot_product.weigh(&s)
    if begin > 0:
        for panel in range(value.count):
            tiles.dot_product.scale_rows(
                rows, panel_vectors(value, panel, tiles.lanes),
                out + panel * rows * full * tiles.item, s.shrink,
            )
    for panel in range(panels):
        vectors = panel_vectors(key, panel, tiles.lanes)
        multiply_panels(
            tiles, value, panel * full, rows, min(full, seen - panel * full),
            s.scores + panel * rows * full * tiles.item, vectors * vector, tiles.item, out, rows,
        )


cdef void finish_group(
    const DotProduct *job, const Head *w, long first, long query, long rows
) noexcept nogil:
    cdef const fs_tiles *tiles = job.tiles
    cdef long panel, left, lanes = tiles.lanes, width = FS_PANEL_VECTORS * lanes
    cdef char *out = group_tiles(job, w, query - first, job.value_size)
    cdef fs_score_block s = of_group(tiles, w, query - first)
    tiles.dot_product.finish(rows, s.top, s.sums, w.log_sums + query, s.shrink)
    for panel in range(panels_of(tiles, job.value_size)):
        left = job.value_size - panel * width
        tiles.dot_product.scale_rows(
            rows, min(FS_PANEL_VECTORS, (left + lanes - 1) // lanes),
            out + panel * rows * width * tiles.item, s.shrink,
        )
    store_panels(
        tiles, job.value_size, rows, out, rows, w.out + query * job.out.row, job.out.row
    )


# --- backward -------------------------------------------------------------------------------------

cdef void head_back(
    const DotProduct *job, Head *w, long first_key, long last_key, long first, long last,
    bint of_keys, bint of_queries,
) noexcept nogil:
    """Gradients of some keys and values, of some queries, or of both."""
    cdef const fs_tiles *tiles = job.tiles
    cdef long item = tiles.item, keys = min(w.keys, last_key), block, begin, count
    cdef long group, groups = blocks_of(last - first, QUERY_ROWS), query, rows
    cdef Panels key, value, key_rows
    tiles.dot_product.row_dots(
        last - first, job.value_size, w.out + first * job.out.row, job.out.row,
        w.d_out + first * job.d_out.row, job.d_out.row, w.deltas,
    )
    if of_queries:
        memset(w.out_tiles, 0, panels_size(tiles, last - first, job.size))
    for block in range(blocks_of(keys - first_key, KEY_BLOCK)):
        begin = first_key + block * KEY_BLOCK
        count = min(KEY_BLOCK, keys - begin)
        key = pack_whole(
            tiles, w.key_panels, job.size, count, w.key + begin * job.key.row, job.key.row, item
        )
        value = pack_whole(
            tiles, w.value_panels, job.value_size, count, w.value + begin * job.value.row,
            job.value.row, item,
        )
        key_rows = pack_whole(
            tiles, w.key_rows, count, job.size, w.key + begin * job.key.row, item, job.key.row
        )
        if of_keys:
            memset(w.d_key_tiles, 0, panels_size(tiles, KEY_BLOCK, job.size))
            memset(w.d_value_tiles, 0, panels_size(tiles, KEY_BLOCK, job.value_size))
        for group in range(groups):
            block_back(
                job, w, &key, &value, &key_rows, first, first + group * QUERY_ROWS, last, begin,
                count, of_keys, of_queries,
            )
        if of_keys:
            store_keys(job, w, begin, count)
    if of_keys:
        for begin in range(max(keys, first_key), last_key):  # those past the length
            memset(w.d_key + begin * job.d_key.row, 0, job.size * item)
            memset(w.d_value + begin * job.d_value.row, 0, job.value_size * item)
    if of_queries:
        for group in range(groups):
            query = first + group * QUERY_ROWS
            rows = min(QUERY_ROWS, last - query)
            store_panels(
                tiles, job.size, rows, group_tiles(job, w, query - first, job.size), rows,
                w.d_query + query * job.d_query.row, job.d_query.row,
            )


cdef void block_back(
    const DotProduct *job, Head *w, const Panels *key, const Panels *value,
    const Panels *key_rows, long first, long query, long last, long begin, long count,
    bint of_keys, bint of_queries,
) noexcept nogil:
    """A group of queries with a block of keys, of which one panel at a time."""
    cdef const fs_tiles *tiles = job.tiles
    cdef long rows = min(QUERY_ROWS, last - query), item = tiles.item, seen, panel, n, vectors
    cdef long vector = tiles.lanes * item, full = FS_PANEL_VECTORS * tiles.lanes, score_row
    cdef const char *q = w.query + query * job.query.row
    cdef const char *d_out = w.d_out + query * job.d_out.row
    cdef Panels query_rows, d_out_rows
    cdef fs_score_block s
    seen = keys_seen(job, w, query, rows, begin, count)
    if seen == 0:
        return
    s = w.scores
    s.log_sums, s.deltas = w.log_sums + query, w.deltas + (query - first) * item
    if of_keys:
        query_rows = pack_whole(tiles, w.query_rows, rows, job.size, q, item, job.query.row)
        d_out_rows = pack_whole(
            tiles, w.d_out_rows, rows, job.value_size, d_out, item, job.d_out.row
        )
    for panel in range(blocks_of(seen, full)):
        n = min(full, seen - panel * full)
        vectors = s.vectors = panel_vectors(key, panel, tiles.lanes)
        score_row = vectors * vector
        tiles.product(
            rows, vectors, 1, job.size, q, job.query.row, item, key.data + panel * key.stride, 0,
            s.scores, 0,
        )
        tiles.product(
            rows, vectors, 1, job.value_size, d_out, job.d_out.row, item,
            value.data + panel * value.stride, 0, s.d, 0,
        )
        tiles.dot_product.weigh_back(&s)
        s.keys -= full
        s.seen -= full
        if of_keys:
            multiply_panels(
                tiles, &d_out_rows, 0, n, rows, s.scores, item, score_row,
                w.d_value_tiles + panel * panels_size(tiles, full, job.value_size), full,
            )
            multiply_panels(
                tiles, &query_rows, 0, n, rows, s.d, item, score_row,
                w.d_key_tiles + panel * panels_size(tiles, full, job.size), full,
            )
        if of_queries:
            multiply_panels(
                tiles, key_rows, panel * full, rows, n, s.d, score_row, item,
                group_tiles(job, w, query - first, job.size), rows,
            )


cdef void store_keys(const DotProduct *job, const Head *w, long begin, long count) noexcept nogil:
    cdef const fs_tiles *tiles = job.tiles
    cdef long full = FS_PANEL_VECTORS * tiles.lanes, panel, at, rows
    for panel in range(blocks_of(count, full)):
        at, rows = begin + panel * full, min(full, count - panel * full)
        store_panels(
            tiles, job.size, rows, w.d_key_tiles + panel * panels_size(tiles, full, job.size),
            full, w.d_key + at * job.d_key.row, job.d_key.row,
        )
        store_panels(
            tiles, job.value_size, rows,
            w.d_value_tiles + panel * panels_size(tiles, full, job.value_size), full,
            w.d_value + at * job.d_value.row, job.d_value.row,
        )
