"""The walk forward through time."""

cdef void join_biases(Direction *d) noexcept nogil:
    """One bias joins the input's product; the GRU's candidate keeps its recurrent one apart."""
    cdef long size = d.cell.gates * d.H
    cdef long joint = size - d.H if d.cell.carries else size
    memset(d.bias, 0, size * d.tiles.item)
    memset(d.candidate_bias, 0, gate_bytes(d))
    if d.bias_ih != NULL:
        add_row(d.tiles, size, d.bias_ih, d.bias)
        add_row(d.tiles, joint, d.bias_hh, d.bias)
        add_row(d.tiles, size - joint, d.bias_hh + joint * d.tiles.item, d.candidate_bias)


cdef void pack_forward(Direction *d, const Part *part) noexcept nogil:
    cdef long item = d.tiles.item, n, s
    cdef Stage *stage
    if part.index == 0:
        join_biases(d)
    if d.ids == NULL:
        n = d.input.count
        pack_panels(
            d.tiles, &d.input, n * part.index // part.parts, n * (part.index + 1) // part.parts,
            d.weight_ih, d.I * item, d.H * d.I * item, item, 0, 0, d.ahead,
        )
    for s in range(d.cell.stages):
        stage = &d.cell.forward[s]
        n = d.stage[s].count
        pack_panels(
            d.tiles, &d.stage[s], n * part.index // part.parts, n * (part.index + 1) // part.parts,
            d.weight_hh + stage.gate * d.H * d.H * item, d.H * item, d.H * d.H * item, item,
            0, 0, d.H,
        )
    wait(d, part)


cdef void look_up(Direction *d, const Part *part, long low, long high) noexcept nogil:
    """Pre-activations of the times low : high from rows of weight_ih, into the work buffer."""
    cdef long item = d.tiles.item, gate = gate_bytes(d), begin = part.unit_begin * item
    cdef long units = part.unit_end - part.unit_begin, t, token, g, k
    cdef const int64_t *ids
    cdef char *z
    for t in range(low, high):
        for token in range(
            d.offsets[t] + part.row_begin, d.offsets[t] + min(part.row_end, rows_at(d, t))
        ):
            ids = d.ids + token * d.ids_per_token
            z = part.work + token * part.work_row + begin
            z += d.cell.input_slot * gate
            for g in range(d.cell.gates):
                memcpy(z + g * gate, looked_up(d, ids[0], begin + g * gate), units * item)
                for k in range(1, d.ids_per_token):
                    add_row(d.tiles, units, looked_up(d, ids[k], begin + g * gate), z + g * gate)
                if d.bias_ih != NULL:
                    add_row(d.tiles, units, d.bias + g * gate + begin, z + g * gate)


cdef inline const char *looked_up(const Direction *d, int64_t row, long byte) noexcept nogil:
    return d.weight_ih + row * d.cell.gates * gate_bytes(d) + byte


cdef void gather_chunk(Direction *d, Part *part, long low, long high) noexcept nogil:
    """The part's rows of a padded x at the times low : high, as tokens.  Where parts take units
    each has all rows to itself: no waiting."""
    cdef long first = d.offsets[low] + part.row_begin, t
    cdef char *x = d.gathered + part.index * d.gathered_part - first * d.x_row
    for t in range(low, high):
        gather_step(
            &d.padded_x, t, part.row_begin, min(part.row_end, rows_at(d, t)),
            x + (d.offsets[t] + part.row_begin) * d.x_row,
        )
    part.x = x


cdef void project(Direction *d, const Part *part, long low, long high) noexcept nogil:
    """Pre-activations of the times low : high from the input, into the part's work buffer."""
    cdef long first = first_panel(&d.input, part.unit_begin), panel, pair, t, begin, end
    cdef long last = first_panel(&d.input, part.unit_end), pairs = (last - first + 1) // 2
    cdef bint interleaved = d.input.step == 0
    cdef long vector = gate_bytes(d) if interleaved else d.tiles.lanes * d.tiles.item
    cdef char *z = part.work + d.cell.input_slot * gate_bytes(d)
    if d.ids != NULL:
        look_up(d, part, low, high)
        return
    for pair in range(pairs):
        # In a stream up and down in turn, as the recurrent weights.
        panel = first + 2 * (pairs - 1 - pair if d.steps_before & 1 else pair)
        t = low
        while t < high:
            begin = d.offsets[t] + part.row_begin
            end = d.offsets[t] + min(part.row_end, rows_at(d, t))
            if part.row_begin == 0 and part.row_end == d.B:
                end = d.offsets[high]  # all rows: the tokens of all times lie side by side
                t = high
            t += 1
            if begin < end:
                multiply_store(
                    d.tiles, &d.input, panel, min(panel + 2, last), part.tile, end - begin,
                    part.x + begin * d.x_row, d.x_row, d.tiles.item, d.bias, vector,
                    z + begin * part.work_row, part.work_row, vector, False,
                )


cdef void fill_block(
    Direction *d, const Part *part, fs_block *b, bint downwards=False
) noexcept nogil:
    """What all blocks of a part have in common; `place_block` does the rest for each of them."""
    memset(b, 0, sizeof(fs_block))
    b.z_row, b.z_gate = part.work_row, gate_bytes(d)
    b.slots_row, b.slots_gate = part.slots_row, gate_bytes(d)
    if d.chunk_tokens * part.work_row + panel_bytes(&d.stage[0]) > CACHE_BYTES:
        # Of few rows these are other steps'.
        b.soon = ROWS_AHEAD * part.work_row * (-1 if downwards and d.B <= ROWS_AHEAD else 1)
    b.h_row, b.c_row = d.y_row, d.cells_row if d.cells != NULL else d.state_row
    b.dy_row, b.dh_row, b.dc_row = d.dy_row, d.state_row, d.state_row


cdef inline void place_block(
    Direction *d, const Part *part, fs_block *b, long t, long row, long rows, long previous,
    bint carried,
) noexcept nogil:
    """Move it to a step's rows, all units; `carried` rows continue from time `previous`."""
    cdef long token = d.offsets[t] + row
    b.rows, b.bias = rows, d.candidate_bias
    b.z = part.work + token * part.work_row + d.cell.input_slot * gate_bytes(d)
    b.slots = NULL if part.slots == NULL else part.slots + token * part.slots_row
    b.h = output_of(d, part, t, row)
    if carried:
        b.h_previous, b.h_previous_row = output_of(d, part, previous, row), d.y_row
    else:
        b.h_previous, b.h_previous_row = d.h0 + row * d.state_row, d.state_row
    if d.cell.has_cell_state and d.cells == NULL:  # inference: the running state alone
        b.c = d.c_n + row * d.state_row
        b.c_previous, b.c_previous_row = b.c, d.state_row
    elif d.cell.has_cell_state:
        b.c = d.cells + token * d.cells_row
        if carried:
            b.c_previous = d.cells + (d.offsets[previous] + row) * d.cells_row
            b.c_previous_row = d.cells_row
        else:
            b.c_previous, b.c_previous_row = d.c0 + row * d.state_row, d.state_row


cdef void forward_step(
    Direction *d, const Part *part, fs_block *b, long t, long previous
) noexcept nogil:
    cdef long s, row, end, carried = shared_rows(d, t, previous)
    cdef const char *a
    cdef long a_row
    cdef Stage *stage
    if d.turns == NULL:  # the outputs of two steps are in cache anyway
        b.next = tokens_to(d, t, t - 1 if d.reverse else t + 1)
    for s in range(d.cell.stages):
        stage = &d.cell.forward[s]
        row = part.row_begin
        while row < min(part.row_end, rows_at(d, t)):
            end = min(part.row_end, carried if row < carried else rows_at(d, t))
            place_block(d, part, b, t, row, end - row, previous, row < carried)
            a, a_row = b.h_previous, b.h_previous_row
            if stage.own_slot:
                a, a_row = b.slots + stage.slot * gate_bytes(d), b.slots_row
            multiply_apply(
                d.tiles, &d.stage[s], first_panel(&d.stage[s], part.unit_begin),
                first_panel(&d.stage[s], part.unit_end), (t ^ d.steps_before) & 1, part.tile,
                a, a_row, stage.point, b,
            )
            row = end
        if part.by_units:
            wait(d, part)
    if d.turns != NULL:
        scatter_outputs(d, part, t)


cdef void scatter_outputs(Direction *d, const Part *part, long t) noexcept nogil:
    """The part's rows and units of time t, which may lie past the longest sequence, go to y."""
    cdef long begin = part.unit_begin * d.tiles.item, end = part.unit_end * d.tiles.item
    cdef long running = rows_at(d, t) if t < d.T else 0
    cdef const char *outputs = output_of(d, part, t, part.row_begin) + begin if running else NULL
    scatter_step(
        &d.padded_y, t, part.row_begin, part.row_end, running, outputs, d.y_row, begin, end
    )


cdef long chunk_end(const Direction *d, long step, long tokens, int sign) noexcept nogil:
    """The step after `step` (walking by `sign`) at which a chunk of that many tokens is full."""
    cdef long count = 0
    while 0 <= step < d.T:
        count += rows_at(d, time_of(d, step))
        step += sign
        if 0 <= step < d.T and count + rows_at(d, time_of(d, step)) > tokens:
            break
    return step


cdef bint more_rows(const Direction *d, Part *rows, long end, long low, long high) noexcept nogil:
    """On to the next rows before `end` of the times low : high: all of several steps, but of a step
    alone no more than there is room for."""
    rows.row_begin = rows.row_end
    rows.row_end = end if high - low > 1 else min(end, rows.row_begin + d.chunk_tokens)
    use_work(d, rows, d.offsets[low] + rows.row_begin)
    return rows.row_begin < end


cdef void forward_chunk(
    Direction *d, const Part *part, fs_block *b, long begin, long end
) noexcept nogil:
    """The steps begin : end."""
    cdef Part rows = part[0]
    cdef long low = min(time_of(d, begin), time_of(d, end - 1)), high = low + end - begin, step
    rows.row_end = rows.row_begin
    while more_rows(d, &rows, part.row_end, low, high):
        if d.padded_x.data != NULL:
            gather_chunk(d, &rows, low, high)
        project(d, &rows, low, high)
        for step in range(begin, end):
            forward_step(d, &rows, b, time_of(d, step), time_of(d, step - 1))


cdef void forward_direction(Direction *d, int index, int parts) noexcept nogil:
    cdef Part part = make_part(d, index, parts)
    cdef long step = 0, end
    cdef fs_block b
    fill_block(d, &part, &b, d.reverse)
    if not d.is_packed:
        pack_forward(d, &part)
    while step < d.T:
        end = chunk_end(d, step, d.chunk_tokens, 1)
        forward_chunk(d, &part, &b, step, end)
        step = end
    for step in range(d.T, d.padded_y.steps):
        scatter_outputs(d, &part, step)


cdef void copy_final(
    const Direction *d, const char *states, long row_bytes, const Padded *padded,
    const char *initial, char *out,
) noexcept nogil:
    """Each row's last state, from tokens or a padded batch; the initial one where there is none."""
    cdef long step, t, row
    cdef const char *last
    memcpy(out, initial, d.B * d.state_row)
    for step in range(d.T):
        t = time_of(d, step)
        for row in range(shared_rows(d, t, time_of(d, step + 1)), rows_at(d, t)):
            if padded == NULL:
                last = states + (d.offsets[t] + row) * row_bytes
            else:
                last = padded_row(padded, t, row)
            memcpy(out + row * d.state_row, last, d.state_row)
