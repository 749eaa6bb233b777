"""Products of linear maps, forward and backward, on our own threads.

BLAS promises neither that a row comes out the same whatever other rows there are, nor whatever
the number of threads; and its threads would keep cores busy that ours need.
"""

cdef enum:
    ROWS_FOR_PANELS = 32  # rows of a part that pay for packing all weights once more
    PANELS_PER_PART = 4   # ... which parts with so many panels of their own need not do
    ROWS_AT_ONCE = 320    # whose gradients go into the weights in one product: what L2 holds


cdef struct RowProduct:
    const fs_tiles *tiles
    const char *x
    const char *weight
    const char *bias
    char *out
    long rows, depth, columns
    long x_row, out_row                 # bytes from one row to the next
    long weight_row, weight_column      # ... and from one number
    bint by_rows, accumulate
    const Panels *packed                # all weights, or NULL: a panel at a time is packed
    char *memory
    long part_bytes


def multiply_rows(
    cnp.ndarray x, cnp.ndarray weight, cnp.ndarray bias, cnp.ndarray out, bint accumulate=False
):
    cdef RowProduct job
    job.packed, job.weight, job.bias = NULL, data(weight), data(bias)
    job.depth, job.columns = weight.shape[1], weight.shape[0]
    job.weight_row, job.weight_column = weight.strides[0], weight.strides[1]
    job.accumulate = accumulate
    run_row_product(&job, x, out)


cdef class RowMultiplier:
    """``multiply_rows`` with weights that are packed once; see ``reference.RowMultiplier``."""
    cdef RowProduct job
    cdef Panels panels
    cdef cnp.ndarray bias

    def __cinit__(self, cnp.ndarray weight, cnp.ndarray bias):
        cdef const fs_tiles *tiles = tiles_of(weight)
        cdef const char *source = data(weight)
        cdef long row = weight.strides[0], column = weight.strides[1]
        cdef Scratch scratch = scratch_at(NULL)
        self.bias = None if bias is None else bias.copy()
        self.job.bias, self.job.packed = data(self.bias), &self.panels
        self.job.columns, self.job.depth = weight.shape[0], weight.shape[1]
        while lay_out_again(&scratch):
            self.panels = make_panels(tiles, self.job.depth, self.job.columns, 0, &scratch)
        with nogil:
            pack_panels(
                tiles, &self.panels, 0, self.panels.count, source, row, 0, column, 0, 0,
                self.job.depth,
            )

    def __dealloc__(self):
        fs_give_back(self.panels.data)

    def __call__(self, cnp.ndarray x, cnp.ndarray out):
        cdef RowProduct job = self.job  # of this call: others may be under way in other threads
        run_row_product(&job, x, out)


cdef run_row_product(RowProduct *job, cnp.ndarray x, cnp.ndarray out):
    cdef Scratch unplaced = scratch_at(NULL)
    cdef long panels
    cdef int parts
    job.tiles, job.x, job.out, job.rows = tiles_of(x), data(x), data(out), x.shape[0]
    job.x_row, job.out_row = x.strides[0], out.strides[0]
    panels = panels_of(job.tiles, job.columns)
    parts = parts_for_product(job.rows, job.depth, job.columns)
    job.by_rows = panels < PANELS_PER_PART * parts and job.rows >= ROWS_FOR_PANELS * parts
    if not job.by_rows:
        parts = <int>max(1, min(parts, panels))
    if job.packed == NULL:
        make_panels(job.tiles, job.depth, FS_PANEL_VECTORS * job.tiles.lanes, 0, &unplaced)
    job.part_bytes = unplaced.used + TILE_BYTES
    job.memory = take_memory(parts * job.part_bytes)
    with nogil:
        fs_run(parts, multiply_part, job)
        fs_give_back(job.memory)


cdef inline long panels_of(const fs_tiles *tiles, long columns) noexcept nogil:
    return (columns + FS_PANEL_VECTORS * tiles.lanes - 1) // (FS_PANEL_VECTORS * tiles.lanes)


cdef inline int parts_for_product(long rows, long depth, long columns) noexcept nogil:
    return <int>min(_threads, 1 + 2.0 * rows * depth * columns / THREAD_FLOPS)


cdef void multiply_part(int part, int parts, void *argument) noexcept nogil:
    """The part's own columns, or all of them for its own rows."""
    cdef RowProduct *job = <RowProduct *>argument
    cdef const fs_tiles *tiles = job.tiles
    cdef long width = FS_PANEL_VECTORS * tiles.lanes, column, end, panel
    cdef long row = 0, last_row = job.rows, first = 0, last = panels_of(tiles, job.columns)
    cdef char *tile = job.memory + part * job.part_bytes
    cdef Scratch scratch
    cdef Panels p
    if job.by_rows:
        row, last_row = job.rows * part // parts, job.rows * (part + 1) // parts
    else:
        first, last = last * part // parts, last * (part + 1) // parts
    if job.packed != NULL:
        multiply_columns(job, job.packed, first, last, row, last_row, tile, 0)
        return
    for panel in range(first, last):
        column, end = panel * width, min(job.columns, (panel + 1) * width)
        scratch = scratch_at(tile + TILE_BYTES)
        p = make_panels(tiles, job.depth, end - column, 0, &scratch)
        pack_panels(
            tiles, &p, 0, 1, job.weight + column * job.weight_row, job.weight_row, 0,
            job.weight_column, 0, 0, job.depth,
        )
        multiply_columns(job, &p, 0, 1, row, last_row, tile, column)


cdef inline void multiply_columns(
    const RowProduct *job, const Panels *p, long first, long last, long row, long last_row,
    char *tile, long column,
) noexcept nogil:
    """Rows row : last_row times panels first : last, whose first one begins at a column."""
    cdef long item = job.tiles.item
    cdef const char *bias = NULL
    if job.bias != NULL:
        bias = job.bias + column * item
    multiply_store(
        job.tiles, p, first, last, tile, last_row - row, job.x + row * job.x_row,
        job.x_row, item, bias,
        job.tiles.lanes * item, job.out + row * job.out_row + column * item,
        job.out_row, job.tiles.lanes * item, job.accumulate,
    )


# --- backward -----------------------------------------------------------------------------------

cdef struct LinearGradient:
    const fs_tiles *tiles
    const char *dy
    const char *x
    char *d_weight
    char *d_bias
    long rows, inputs, outputs
    long dy_row, x_row, d_row  # bytes from one row to the next, the last of d_weight
    char *memory
    long part_bytes


def add_linear_gradients(
    cnp.ndarray dy, cnp.ndarray x, cnp.ndarray d_weight, cnp.ndarray d_bias
):
    cdef LinearGradient job
    cdef Scratch unplaced = scratch_at(NULL)
    cdef int parts
    job.tiles, job.dy, job.x = tiles_of(x), data(dy), data(x)
    job.d_weight, job.d_bias = data(d_weight), data(d_bias)
    job.rows, job.inputs, job.outputs = x.shape[0], x.shape[1], dy.shape[1]
    job.dy_row, job.x_row, job.d_row = dy.strides[0], x.strides[0], d_weight.strides[0]
    parts = parts_for_product(job.rows, job.inputs, job.outputs)
    parts = <int>max(1, min(parts, panels_of(job.tiles, job.outputs)))
    place_gradient_panels(&job, ROWS_AT_ONCE, &unplaced)
    job.part_bytes = unplaced.used + TILE_BYTES
    job.memory = take_memory(parts * job.part_bytes)
    with nogil:
        fs_run(parts, add_gradients_of_part, &job)
        fs_give_back(job.memory)


cdef (Panels, Panels) place_gradient_panels(
    const LinearGradient *job, long rows, Scratch *scratch
) noexcept nogil:
    """Room for some rows of x, and for a panel of dy."""
    cdef Panels x = make_panels(job.tiles, rows, job.inputs, 0, scratch)
    return x, make_panels(job.tiles, rows, FS_PANEL_VECTORS * job.tiles.lanes, 0, scratch)


cdef void add_gradients_of_part(int part, int parts, void *argument) noexcept nogil:
    """Rows of the weight's gradient that are the part's own, some rows of dy and x at a time."""
    cdef LinearGradient *job = <LinearGradient *>argument
    cdef const fs_tiles *tiles = job.tiles
    cdef long panels = panels_of(tiles, job.outputs), begin = 0, panel
    cdef char *tile = job.memory + part * job.part_bytes
    cdef Scratch scratch = scratch_at(tile + TILE_BYTES)
    cdef Panels x, dy
    x, dy = place_gradient_panels(job, ROWS_AT_ONCE, &scratch)
    while begin < job.rows:
        x.depth = dy.depth = min(ROWS_AT_ONCE, job.rows - begin)
        pack_panels(
            tiles, &x, 0, x.count, job.x + begin * job.x_row, tiles.item, 0, job.x_row,
            0, 0, x.depth,
        )
        for panel in range(panels * part // parts, panels * (part + 1) // parts):
            add_gradients_of_panel(job, &x, &dy, panel, begin, tile)
        begin += x.depth


cdef void add_gradients_of_panel(
    const LinearGradient *job, const Panels *x, Panels *dy, long panel, long begin, char *tile
) noexcept nogil:
    cdef const fs_tiles *tiles = job.tiles
    cdef long item = tiles.item, width = FS_PANEL_VECTORS * tiles.lanes, column = panel * width, i
    cdef const char *source = job.dy + begin * job.dy_row + column * item
    dy.outputs = min(width, job.outputs - column)
    pack_panels(tiles, dy, 0, 1, source, item, 0, job.dy_row, 0, 0, dy.depth)
    for i in range(x.count):
        multiply_store(
            tiles, x, i, i + 1, tile, dy.outputs, dy.data, item,
            panel_vectors(dy, 0, tiles.lanes) * tiles.lanes * item, NULL, 0,
            job.d_weight + column * job.d_row, job.d_row, tiles.lanes * item, True,
        )
    if job.d_bias != NULL:
        tiles.column_sums(
            dy.depth, dy.outputs, source, job.dy_row, job.d_bias + column * item, NULL
        )
