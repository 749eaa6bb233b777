"""The walk back through time, and the gradients of weights and inputs."""

cdef void pack_backward(Direction *d, const Part *part) noexcept nogil:
    cdef long item = d.tiles.item, n, s, first, last, head
    cdef Stage *stage
    for s in range(d.cell.stages):
        stage = &d.cell.backward[s]
        n = d.stage[s].count
        first, last = n * part.index // part.parts, n * (part.index + 1) // part.parts
        head = (stage.gates - stage.rotate) * d.H if stage.rotate else stage.gates * d.H
        pack_panels(
            d.tiles, &d.stage[s], first, last, d.weight_hh, item, 0, d.H * item,
            0, (stage.gate + stage.rotate) * d.H, head,
        )
        pack_panels(
            d.tiles, &d.stage[s], first, last, d.weight_hh, item, 0, d.H * item,
            head, stage.gate * d.H, stage.gates * d.H - head,
        )
    if d.dx != NULL:
        n = d.input.count
        pack_panels(
            d.tiles, &d.input, n * part.index // part.parts, n * (part.index + 1) // part.parts,
            d.weight_ih, item, 0, d.I * item, 0, 0, d.cell.gates * d.H,
        )
    wait(d, part)


cdef void release(Direction *d, const Part *part, long t, long first_row) noexcept nogil:
    """Rows of time t, walked before, from first_row on started there: their gradient is the initial
    state's."""
    cdef long row = max(first_row, part.row_begin), end = min(part.row_end, rows_at(d, t))
    cdef Stage *stage = &d.cell.backward[0]
    if row < end:
        multiply_store(
            d.tiles, &d.stage[0], first_panel(&d.stage[0], part.unit_begin),
            first_panel(&d.stage[0], part.unit_end), part.tile, end - row,
            part.later + row * part.slots_row + stage.slot * gate_bytes(d), part.slots_row,
            d.tiles.item, NULL, 0, d.dh + row * d.state_row, d.state_row,
            d.tiles.lanes * d.tiles.item, d.cell.carries,
        )


cdef void start_slots(const Direction *d, Part *part, long t) noexcept nogil:
    """The tokens from time t on are the first ones of the next chunk's slots.  Two in turn: other
    parts may still read the last one's."""
    if d.chunk_slots:
        part.slots = d.slots + (part.chunks & 1) * d.chunk_slots - d.offsets[t] * part.slots_row
        part.chunks += 1


cdef void backward_step(Direction *d, Part *part, fs_block *b, long step) noexcept nogil:
    cdef long t = time_of(d, step), later = time_of(d, step + 1), previous = time_of(d, step - 1)
    cdef long linked = shared_rows(d, t, later), carried = shared_rows(d, t, previous)
    cdef long s, row, end
    cdef const char *a
    cdef Stage *stage
    b.next = tokens_to(d, t, previous)
    if later >= 0:
        release(d, part, later, linked)
    for s in range(d.cell.stages):
        stage = &d.cell.backward[s]
        row = part.row_begin
        while row < min(part.row_end, rows_at(d, t)):
            end = min(part.row_end, rows_at(d, t))
            if row < linked:
                end = min(end, linked)
            if row < carried:
                end = min(end, carried)
            place_block(d, part, b, t, row, end - row, previous, row < carried)
            b.dy = d.dy + (d.offsets[t] + row) * d.dy_row
            b.dh = d.dh + row * d.state_row
            if d.dc != NULL:
                b.dc = d.dc + row * d.state_row
            a = NULL
            if stage.own_slot:
                a = b.slots + stage.slot * gate_bytes(d)
            elif row < linked:
                a = part.later + row * part.slots_row + stage.slot * gate_bytes(d)
            multiply_apply(
                d.tiles, &d.stage[s], first_panel(&d.stage[s], part.unit_begin),
                first_panel(&d.stage[s], part.unit_end), t & 1, part.tile, a, part.slots_row,
                stage.point, b,
            )
            row = end
        if part.by_units:
            wait(d, part)
    part.later = part.slots + d.offsets[t] * part.slots_row


cdef void input_gradient(Direction *d, const Part *part, long begin, long end) noexcept nogil:
    """dx of the part's share of the tokens begin : end."""
    cdef long n = end - begin
    begin, end = begin + n * part.index // part.parts, begin + n * (part.index + 1) // part.parts
    if begin < end:
        multiply_store(
            d.tiles, &d.input, 0, d.input.count, part.tile, end - begin,
            part.slots + begin * part.slots_row + d.cell.input_slot * gate_bytes(d), part.slots_row,
            d.tiles.item, NULL, 0, d.dx + begin * d.dx_row, d.dx_row,
            d.tiles.lanes * d.tiles.item, d.dx_accumulate,
        )


cdef void pack_previous_states(
    Direction *d, Panels *panels, long low, long high, long begin, long end
) noexcept nogil:
    """Panels of the states that the tokens begin : end (of the times low : high) started from."""
    cdef long item = d.tiles.item, t, previous, carried, row, row_end, n
    cdef const char *source
    for t in range(low, high):
        previous = t + 1 if d.reverse else t - 1
        if previous >= d.T:
            previous = -1
        carried = shared_rows(d, t, previous)
        row = max(0, begin - d.offsets[t])
        row_end = min(rows_at(d, t), end - d.offsets[t])
        while row < row_end:
            if row < carried:
                n = min(row_end, carried) - row
                source = d.y + (d.offsets[previous] + row) * d.y_row
                pack_panels(
                    d.tiles, panels, 0, panels.count, source, item, 0, d.y_row,
                    d.offsets[t] + row - begin, 0, n,
                )
            else:
                n = row_end - row
                source = d.h0 + row * d.state_row
                pack_panels(
                    d.tiles, panels, 0, panels.count, source, item, 0, d.state_row,
                    d.offsets[t] + row - begin, 0, n,
                )
            row += n


cdef void weight_gradients(Direction *d, const Part *part, long low, long high) noexcept nogil:
    """Add what the times low : high give to the part's share of the weights' rows."""
    cdef long begin = d.offsets[low], end
    while begin < d.offsets[high]:
        end = min(d.offsets[high], begin + d.chunk_tokens)
        weight_gradients_of_tokens(d, part, low, high, begin, end)
        begin = end


cdef Panels panels_of_tokens(
    const Direction *d, const Panels *p, long tokens, char *data
) noexcept nogil:
    """The part's own copy of chunk-sized panels, for that many tokens."""
    cdef Panels own = p[0]
    own.depth = tokens
    own.stride = tokens * FS_PANEL_VECTORS * d.tiles.lanes * d.tiles.item
    own.data = data
    return own


cdef void weight_gradients_of_tokens(
    Direction *d, const Part *part, long low, long high, long begin, long end
) noexcept nogil:
    """dW += dz.T @ [x, h] for the tokens begin : end, with all three packed into panels."""
    cdef long item = d.tiles.item, gate = gate_bytes(d), tokens = end - begin
    cdef long i, first, last, columns, column, n
    cdef char *packed = d.packed + part.index * d.packed_part
    cdef Panels x = panels_of_tokens(d, &d.x_panels, tokens, packed)
    cdef Panels h = panels_of_tokens(d, &d.h_panels, tokens, x.data + panel_bytes(&d.x_panels))
    cdef Panels dz = panels_of_tokens(d, &d.dz_panels, tokens, h.data + panel_bytes(&d.h_panels))
    cdef Piece *piece
    cdef const char *a
    if d.ids == NULL:
        pack_panels(d.tiles, &x, 0, x.count, d.x + begin * d.x_row, item, 0, d.x_row, 0, 0, tokens)
    pack_previous_states(d, &h, low, high, begin, end)
    for i in range(d.cell.pieces):
        piece = &d.cell.piece[i]
        if piece.state_slot >= 0:  # every product with the previous states is done by now
            a = part.slots + begin * part.slots_row + piece.state_slot * gate
            pack_panels(d.tiles, &h, 0, h.count, a, item, 0, part.slots_row, 0, 0, tokens)
        columns = piece.slots * d.H
        column = share_of_columns(columns, part.index, part.parts)
        last = share_of_columns(columns, part.index + 1, part.parts)
        while column < last:
            n = min(last - column, d.dz_panels.outputs)
            a = part.slots + begin * part.slots_row + piece.slot * gate + column * item
            dz.outputs = n
            dz.count = (n + dz.span - 1) // dz.span
            pack_panels(d.tiles, &dz, 0, dz.count, a, item, 0, part.slots_row, 0, 0, tokens)
            if piece.row_ih >= 0 and d.ids != NULL:
                add_looked_up(d, part, begin, end, a, piece.row_ih * gate + column * item, n)
            elif piece.row_ih >= 0:
                add_product(d, &x, &dz, part.tile, d.d_weight_ih, piece.row_ih * d.H + column)
            if piece.row_hh >= 0:
                add_product(d, &h, &dz, part.tile, d.d_weight_hh, piece.row_hh * d.H + column)
            add_bias_sums(d, part, piece, tokens, a, column, n)
            column += n


cdef inline long panel_bytes(const Panels *p) noexcept nogil:
    return p.count * p.stride


cdef inline long share_of_columns(long columns, int index, int parts) noexcept nogil:
    """Where a part's columns begin: whole cache lines, so that parts do not share one."""
    return min(columns, (columns * index // parts + 15) // 16 * 16)


cdef void add_product(
    Direction *d, const Panels *p, const Panels *dz, char *tile, char *out, long out_row
) noexcept nogil:
    """out[out_row : ...] += dz.T @ p."""
    cdef const fs_tiles *tiles = d.tiles
    cdef long row_bytes = p.outputs * tiles.item, vector = tiles.lanes * tiles.item
    cdef long panel, i, rows
    for panel in range(p.count):
        for i in range(dz.count):
            rows = min(dz.span, dz.outputs - i * dz.span)
            multiply_store(
                tiles, p, panel, panel + 1, tile, rows, dz.data + i * dz.stride, tiles.item,
                panel_vectors(dz, i, tiles.lanes) * vector, NULL, 0,
                out + (out_row + i * dz.span) * row_bytes, row_bytes, vector, True,
            )


cdef void add_looked_up(
    Direction *d, const Part *part, long begin, long end, const char *a, long first, long columns
) noexcept nogil:
    """Add each token's gradients, from byte `first` on, to the rows of weight_ih that it took."""
    cdef long token, k, row_bytes = d.cell.gates * gate_bytes(d)
    cdef const int64_t *ids
    for token in range(begin, end):
        ids = d.ids + token * d.ids_per_token
        for k in range(d.ids_per_token):
            add_row(
                d.tiles, columns, a + (token - begin) * part.slots_row,
                d.d_weight_ih + ids[k] * row_bytes + first,
            )


cdef void add_bias_sums(
    Direction *d, const Part *part, const Piece *piece, long tokens, const char *a, long first,
    long columns,
) noexcept nogil:
    cdef long item = d.tiles.item
    cdef char *ih = NULL
    cdef char *hh = NULL
    if d.d_bias_ih == NULL:
        return
    if piece.row_ih >= 0:
        ih = d.d_bias_ih + (piece.row_ih * d.H + first) * item
    if piece.row_hh >= 0:
        hh = d.d_bias_hh + (piece.row_hh * d.H + first) * item
    d.tiles.column_sums(
        tokens, columns, a, part.slots_row, hh if ih == NULL else ih, NULL if ih == NULL else hh
    )


cdef void backward_direction(Direction *d, int index, int parts) noexcept nogil:
    cdef Part part = make_part(d, index, parts)
    cdef long step = d.T - 1, end, low, high
    cdef fs_block b
    fill_block(d, &part, &b, not d.reverse)
    pack_backward(d, &part)
    while step >= 0:
        end = chunk_end(d, step, d.chunk_tokens, -1)
        low = min(time_of(d, step), time_of(d, end + 1))
        high = max(time_of(d, step), time_of(d, end + 1)) + 1
        start_slots(d, &part, low)
        while step > end:
            backward_step(d, &part, &b, step)
            step -= 1
        if not part.by_units:
            wait(d, &part)  # the products below need the rows of all parts
        if d.dx != NULL and not d.dx_at_end:
            input_gradient(d, &part, d.offsets[low], d.offsets[high])
        weight_gradients(d, &part, low, high)
    if d.T > 0:
        release(d, &part, time_of(d, 0), 0)
