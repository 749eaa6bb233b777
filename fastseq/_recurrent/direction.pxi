"""One direction of one layer: its arrays, its scratch memory, and how it is split into parts."""

cdef enum:
    ROWS_PER_PART = 4          # fewer rows than this and splitting hidden units is better
    ROWS_IF_LARGE = 16         # ... where the weights exceed a core's cache, that is
    UNITS_PER_PART = 64


cdef struct Direction:
    const fs_tiles *tiles
    Cell cell
    long T, B, H
    long I "input_size"  # C's complex.h owns the letter
    long ahead            # input columns multiplied ahead of the walk; a decoder feeds the others
    bint rows_only        # parts take rows, never units
    const int64_t *offsets
    bint reverse
    # Arrays and the bytes between their rows; states (B, H) have rows of `state_row` bytes.
    const char *x
    const int64_t *ids    # instead of x: rows of weight_ih, which then is (V, G * H)
    long ids_per_token    # whose rows are summed
    char *y
    long x_row, y_row, state_row
    const char *h0
    const char *c0
    char *h_n
    char *c_n
    char *slots           # an RNN saves none: on its way back they are scratch memory
    char *cells
    long slots_row, cells_row
    const char *weight_ih
    const char *weight_hh
    const char *bias_ih
    const char *bias_hh
    # Backward.
    const char *dy
    char *dx
    long dy_row, dx_row
    bint dx_accumulate
    bint dx_at_end        # from the slots of all tokens, since the other direction adds to it, too
    char *dh
    char *dc
    char *d_weight_ih
    char *d_weight_hh
    char *d_bias_ih
    char *d_bias_hh
    # Forward: padded batches in the place of x and y.
    Padded padded_x
    Padded padded_y
    bint is_packed        # the weights lie in panels already, which belong to a PackedWeights
    # Scratch; per part where two parts would write it.
    Panels input
    Panels stage[2]
    Panels x_panels       # backward: one chunk's inputs, previous states and gradients
    Panels h_panels
    Panels dz_panels
    char *packed
    char *bias            # forward: the biases joined, (G * H,)
    char *candidate_bias  # ... but for the recurrent one of the GRU's candidate, (H,)
    char *work            # forward: pre-activations of one chunk of tokens
    char *tile
    char *gathered        # one chunk of tokens of a padded x
    int64_t *turns        # with a padded y: y has the outputs of two steps, in turn; where each is
    long chunk_tokens, work_part, packed_part, gathered_part
    long chunk_slots      # bytes, where an RNN's slots are those of two chunks in turn; or 0
    long steps_before     # streaming: steps of earlier calls
    fs_barrier barrier
    int parts


cdef struct Part:
    int index, parts
    bint by_units
    long row_begin, row_end     # rows walked
    long unit_begin, unit_end   # units walked
    char *tile
    # Where token 0 is, or would be if it were with those of the chunk that is there.
    char *work                  # pre-activations
    char *slots                 # what is saved, on the way back gradients; NULL: nothing
    long work_row, slots_row
    const char *x
    const int64_t *y_offsets    # the row of y at which a step's outputs begin
    const char *later           # backward: slots of the step walked before
    long chunks                 # ... and chunks begun


cdef set_weights(
    Direction *d, cnp.ndarray weight_ih, cnp.ndarray weight_hh, cnp.ndarray bias_ih,
    cnp.ndarray bias_hh,
):
    d.weight_ih, d.weight_hh = data(weight_ih), data(weight_hh)
    d.bias_ih, d.bias_hh = data(bias_ih), data(bias_hh)


cdef inline long rows_at(const Direction *d, long t) noexcept nogil:
    return d.offsets[t + 1] - d.offsets[t]


cdef inline long time_of(const Direction *d, long step) noexcept nogil:
    """Step -> time: the recurrence's order; -1 outside."""
    if step < 0 or step >= d.T:
        return -1
    return d.T - 1 - step if d.reverse else step


cdef inline long shared_rows(const Direction *d, long t, long other) noexcept nogil:
    """Rows of time t that the neighbouring time `other` has too."""
    return 0 if other < 0 else min(rows_at(d, t), rows_at(d, other))


cdef inline long tokens_to(const Direction *d, long t, long other) noexcept nogil:
    """From a row of time t to the same one of the neighbouring time `other`; 0 outside."""
    return d.offsets[other] - d.offsets[t] if 0 <= other < d.T else 0


cdef inline char *output_of(Direction *d, const Part *part, long t, long row) noexcept nogil:
    return d.y + (part.y_offsets[t] + row) * d.y_row


cdef inline long gate_bytes(const Direction *d) noexcept nogil:
    return d.H * d.tiles.item


cdef inline void wait(Direction *d, const Part *part) noexcept nogil:
    if part.parts > 1:
        fs_barrier_wait(&d.barrier, part.parts)


cdef Part make_part(Direction *d, int index, int parts) noexcept nogil:
    """Rows or units of one part of a job."""
    cdef Part p
    cdef long unit = FS_PANEL_VECTORS * d.tiles.lanes
    cdef long blocks = (d.H + unit - 1) // unit
    p.index, p.parts = index, parts
    p.row_begin, p.row_end, p.unit_begin, p.unit_end = 0, d.B, 0, d.H
    p.by_units = parts > 1 and splits_units(d, parts)
    if p.by_units:
        p.unit_begin = min(d.H, blocks * index // parts * unit)
        p.unit_end = min(d.H, blocks * (index + 1) // parts * unit)
    elif parts > 1:
        p.row_begin = row_at_share(d, index, parts)
        p.row_end = row_at_share(d, index + 1, parts)
    p.tile = d.tile + index * TILE_BYTES
    p.x, p.y_offsets = d.x, d.offsets if d.turns == NULL else d.turns
    p.slots, p.slots_row = d.slots, d.slots_row
    p.later, p.chunks = NULL, 0
    p.work, p.work_row = d.slots, d.slots_row  # on the way back, where slots are what is read
    if d.work != NULL:
        use_work(d, &p, 0)
    return p


cdef inline void use_work(const Direction *d, Part *part, long token) noexcept nogil:
    """Let that token be the first one in the part's work buffer."""
    part.work_row = d.cell.slots * gate_bytes(d)
    part.work = d.work - token * part.work_row
    if not part.by_units:  # who shares rows shares the buffer: a second stage multiplies all units
        part.work += part.index * d.work_part
    if d.slots == NULL and d.cell.saves_slots:
        # For the steps' own use, in the places of their pre-activations, which are read before.
        part.slots, part.slots_row = part.work, part.work_row


cdef bint splits_units(const Direction *d, int parts) noexcept nogil:
    cdef bint large = d.cell.gates * d.H * gate_bytes(d) >= LARGE_BYTES
    if d.H < 2 * UNITS_PER_PART or d.rows_only:
        return False
    return d.B < (ROWS_IF_LARGE if large else ROWS_PER_PART) * parts


cdef long row_at_share(const Direction *d, int index, int parts) noexcept nogil:
    """The row before which index / parts of all tokens lie."""
    cdef long t, row = 0, tokens = 0, wanted = d.offsets[d.T] * index // parts
    if index == parts:
        return d.B
    t = d.T  # the length of row 0
    while row < d.B and tokens < wanted:
        while t > 0 and rows_at(d, t - 1) <= row:
            t -= 1
        tokens += t
        row += 1
    return row


cdef inline long first_panel(const Panels *p, long unit) noexcept nogil:
    return (unit + p.span - 1) // p.span
