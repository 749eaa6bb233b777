"""Products with a weight whose rows come out the same whatever other rows there are.

BLAS promises no such thing.  Each part packs and multiplies the panels of its own columns.
"""

cdef struct RowProduct:
    const fs_tiles *tiles
    const char *x
    const char *weight
    char *out
    long rows, depth, columns
    char *memory
    long part_bytes


def multiply_rows(cnp.ndarray x, cnp.ndarray weight, cnp.ndarray out):
    cdef RowProduct job
    cdef Scratch unplaced
    cdef int parts
    cdef double flops = 2.0 * x.shape[0] * x.shape[1] * weight.shape[0]
    job.tiles, job.x, job.weight, job.out = tiles_of(x), data(x), data(weight), data(out)
    job.rows, job.depth, job.columns = x.shape[0], x.shape[1], weight.shape[0]
    parts = <int>min(_threads, job.columns // UNITS_PER_PART + 1, 1 + flops / THREAD_FLOPS)
    unplaced.data, unplaced.used = NULL, 0
    make_panels(job.tiles, job.depth, FS_PANEL_VECTORS * job.tiles.lanes, 0, &unplaced)
    job.part_bytes = unplaced.used + TILE_BYTES
    job.memory = <char *>fs_take_scratch(parts * job.part_bytes)
    if job.memory == NULL:
        raise MemoryError(f"no memory for {parts * job.part_bytes} bytes of packed weights")
    with nogil:
        fs_run(parts, multiply_columns, &job)
        fs_give_scratch(job.memory)


cdef void multiply_columns(int part, int parts, void *argument) noexcept nogil:
    """One panel after the other."""
    cdef RowProduct *job = <RowProduct *>argument
    cdef const fs_tiles *tiles = job.tiles
    cdef long item = tiles.item, width = FS_PANEL_VECTORS * tiles.lanes, column, end, panel
    cdef long panels = (job.columns + width - 1) // width
    cdef char *tile = job.memory + part * job.part_bytes
    cdef Scratch scratch
    cdef Panels p
    for panel in range(panels * part // parts, panels * (part + 1) // parts):
        column, end = panel * width, min(job.columns, (panel + 1) * width)
        scratch.data, scratch.used = tile + TILE_BYTES, 0
        p = make_panels(tiles, job.depth, end - column, 0, &scratch)
        pack_panels(
            tiles, &p, 0, 1, job.weight + column * job.depth * item, job.depth * item, 0, item,
            0, 0, job.depth,
        )
        multiply_store(
            tiles, &p, 0, 1, tile, job.rows, job.x, job.depth * item, item, NULL, 0,
            job.out + column * item, job.columns * item, tiles.lanes * item, False,
        )
