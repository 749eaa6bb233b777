"""Weights packed into panels, and the products with them."""

cdef extern from *:
    void __builtin_prefetch(const void *, int, int) nogil

cdef enum:
    ROW_GROUP = 48             # rows of a tile block: with 4 vectors 12 KB, beside the panel in L1
    TILE_ROWS = 6              # ... and of the tallest tiles of 4 vectors
    TILE_BYTES = 16384
    ROW_PANELS = 4             # panels that a single row takes side by side
    L1_BYTES = 32768
    CHAINS = 4                 # sums of a single row that keep the arithmetic busy
    LARGE_BYTES = 786432       # weights beyond this may not stay in cache: ask ahead
    PIECE_BYTES = 131072       # ... and walk them in pieces of this size, up and down in turn


# --- packed weights -------------------------------------------------------------------------

cdef struct Panels:
    char *data
    long depth      # k
    long outputs    # units
    long vectors    # of a full panel; interleaved: the gates
    long step       # units from one vector of a panel to the next; 0: interleaved gates
    long span       # units a panel covers
    long count
    long stride     # bytes of a full panel
    bint far        # products go where they are not in cache: ask for it before


cdef Panels make_panels(
    const fs_tiles *tiles, long depth, long outputs, long interleaved_gates, Scratch *scratch
) noexcept nogil:
    cdef Panels p
    p.depth, p.outputs = depth, outputs
    p.vectors = interleaved_gates if interleaved_gates else FS_PANEL_VECTORS
    p.step = 0 if interleaved_gates else tiles.lanes
    p.span = tiles.lanes if interleaved_gates else FS_PANEL_VECTORS * tiles.lanes
    p.count = (outputs + p.span - 1) // p.span
    p.stride = depth * p.vectors * tiles.lanes * tiles.item
    p.far = False
    p.data = take(scratch, p.count * p.stride)
    return p


cdef inline long panel_vectors(const Panels *p, long panel, long lanes) noexcept nogil:
    """The last panel may be narrower."""
    cdef long left = min(p.span, p.outputs - panel * p.span)
    if p.step == 0:
        left *= p.vectors
    return (left + lanes - 1) // lanes


cdef void pack_panels(
    const fs_tiles *tiles, const Panels *p, long first, long last, const char *src,
    long output_stride, long gate_stride, long k_stride, long k_begin, long k_first, long k_count,
) noexcept nogil:
    """Rows k_begin : k_begin + k_count of panels first : last, from source rows k_first onwards."""
    cdef long panel, left, row
    cdef char *dst
    for panel in range(first, last):
        left = min(p.span, p.outputs - panel * p.span)
        row = panel_vectors(p, panel, tiles.lanes) * tiles.lanes * tiles.item
        dst = p.data + panel * p.stride + k_begin * row
        if left % tiles.lanes:
            memset(dst, 0, k_count * row)
        pack_panel(
            tiles, p, left, src + panel * p.span * output_stride + k_first * k_stride,
            output_stride, gate_stride, k_stride, k_count, dst, row,
        )


cdef inline void pack_panel(
    const fs_tiles *tiles, const Panels *p, long left, const char *src, long output_stride,
    long gate_stride, long k_stride, long k_count, char *dst, long row,
) noexcept nogil:
    """The next `left` outputs, at most a panel's span."""
    cdef long gate, output = 0, numbers
    if p.step == 0:
        for gate in range(p.vectors):
            tiles.pack(
                src + gate * gate_stride, left, k_count, output_stride, k_stride,
                dst + gate * left * tiles.item, row,
            )
        return
    while output < left:
        numbers = min(tiles.lanes, left - output)
        if output_stride == tiles.item and numbers == tiles.lanes:
            # All whole vectors of the panel: a row at a time, in the order they lie.
            numbers = (left - output) // tiles.lanes * tiles.lanes
        tiles.pack(
            src + output * output_stride, numbers, k_count, output_stride, k_stride,
            dst + output * tiles.item, row,
        )
        output += numbers


# --- products -------------------------------------------------------------------------------

cdef inline bint is_large(const Panels *p) noexcept nogil:
    return p.stride * p.count > LARGE_BYTES


cdef inline long group_rows(long rows) noexcept nogil:
    """Rows of a tile block: about equal groups of at most ROW_GROUP, in whole tiles of rows."""
    cdef long groups
    if rows <= ROW_GROUP:
        return rows
    groups = (rows + ROW_GROUP - 1) // ROW_GROUP
    return ((rows + groups - 1) // groups + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS


cdef inline void ask_for(
    const char *dst, long rows, long row, long vectors, long vector
) noexcept nogil:
    cdef long r, v
    for r in range(rows):
        for v in range(vectors):
            __builtin_prefetch(dst + r * row + v * vector, 1, 2)


cdef void multiply_store(
    const fs_tiles *tiles, const Panels *p, long first, long last, char *tile,
    long rows, const char *a, long a_row, long a_k,
    const char *bias, long bias_vector, char *dst, long dst_row, long dst_vector, bint accumulate,
) noexcept nogil:
    """dst (+)= a @ panels + bias, for panels first : last."""
    cdef long panel = first, panels, i, row, n, vectors, outputs, offset
    cdef long next_panel = p.stride if is_large(p) else 0
    cdef long group = group_rows(rows)
    cdef const char *panel_bias = NULL
    while panel < last:
        vectors = panel_vectors(p, panel, tiles.lanes)
        outputs = vectors if p.step else p.vectors
        panels = 1
        if rows == 1:  # a single row needs several to keep the arithmetic busy
            panels = min(ROW_PANELS, last - panel)
            if panels > 1 and panel_vectors(p, panel + panels - 1, tiles.lanes) < vectors:
                panels -= 1  # the last one is narrower
        row = 0
        while row < rows:
            n = min(group, rows - row)
            if p.far:
                offset = panel * p.span * tiles.item
                ask_for(dst + row * dst_row + offset, n, dst_row, outputs, dst_vector)
            tiles.product(
                n, vectors, panels, p.depth, a + row * a_row, a_row, a_k,
                p.data + panel * p.stride, p.stride, tile, next_panel,
            )
            for i in range(panels):
                offset = (panel + i) * p.span * tiles.item
                if bias != NULL:
                    panel_bias = bias + offset
                tiles.store(
                    n, outputs, p.outputs - (panel + i) * p.span, p.step,
                    tile + i * vectors * tiles.lanes * tiles.item, panel_bias, bias_vector,
                    dst + row * dst_row + offset, dst_row, dst_vector, accumulate,
                )
            row += n
        panel += panels


cdef void advance(fs_block *b, long rows, long bytes) noexcept nogil:
    """Move a block down by rows and right by bytes."""
    b.z += rows * b.z_row + bytes
    if b.slots != NULL:
        b.slots += rows * b.slots_row + bytes
    if b.bias != NULL:
        b.bias += bytes
    b.h_previous += rows * b.h_previous_row + bytes
    b.c_previous += rows * b.c_previous_row + bytes
    b.h += rows * b.h_row + bytes
    b.c += rows * b.c_row + bytes
    b.dy += rows * b.dy_row + bytes
    b.dh += rows * b.dh_row + bytes
    b.dc += rows * b.dc_row + bytes


cdef long panels_at_once(const Panels *p, long rows, long vector) noexcept nogil:
    """Full panels whose tiles of `rows` rows fit together.  Fewer of weights that exceed a cache,
    the second one or for a single row the first: in small pieces, so that walking backwards finds
    the last ones there."""
    cdef long most = p.count, pieces = L1_BYTES // p.stride
    if rows * p.count * p.vectors * vector > TILE_BYTES:
        most = max(1, TILE_BYTES // (rows * p.vectors * vector))
    if rows == 1 and L1_BYTES < p.stride * p.count <= 4 * L1_BYTES and pieces * p.vectors >= CHAINS:
        most = min(most, pieces)
    if is_large(p):
        most = min(most, max(ROW_PANELS, PIECE_BYTES // p.stride) if rows == 1 else 1)
    return most


cdef void multiply_apply(
    const fs_tiles *tiles, const Panels *p, long first, long last, bint descending, char *tile,
    const char *a, long a_row, fs_point point, fs_block *b,
) noexcept nogil:
    """Run a point function over a block, its tiles multiplied just before; a NULL: no product.

    Weights that exceed the cache are walked up and down in turn: what was used last is still
    there.  The block moves along, and stays where the walk ends.
    """
    cdef long row, n, vectors, panels, panel, begin = first, end = last, rows = b.rows
    cdef long vector = tiles.lanes * tiles.item, at_row = 0, at = 0, bytes
    cdef long group = group_rows(rows)
    cdef long most = panels_at_once(p, group, vector)
    cdef long next_panel = 0
    if is_large(p):
        next_panel = -p.stride if descending else p.stride
    while begin < end:
        panel = end - 1 if descending else begin
        vectors = panel_vectors(p, panel, tiles.lanes)
        panels = 1
        if vectors == p.vectors:  # several full panels at once where the rows are few
            panels = min(most, end - begin)
            if panels > 1 and panel_vectors(p, end - 1, tiles.lanes) < vectors:
                panels = min(panels, end - 1 - begin)
            if descending:
                panel = end - panels
        row = 0
        while row < rows:
            n = min(group, rows - row)
            bytes = panel * p.span * tiles.item
            if row != at_row or bytes != at:
                advance(b, row - at_row, bytes - at)
                at_row, at = row, bytes
            b.rows, b.vectors = n, vectors
            b.units = min(p.outputs - panel * p.span, panels * p.span)
            b.tile = NULL
            if a != NULL:
                b.tile = tile
                tiles.product(
                    n, vectors, panels, p.depth, a + row * a_row, a_row, tiles.item,
                    p.data + panel * p.stride, p.stride, tile, next_panel,
                )
            point(b)
            row += n
        if descending:
            end -= panels
        else:
            begin += panels
