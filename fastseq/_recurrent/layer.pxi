"""A layer, which is one or two directions: from arrays to pointers, scratch memory, threads."""

cdef enum:
    FORWARD_BYTES = 262144     # pre-activations (or inputs) ahead of the recurrence, half an L2
    FORWARD_TOKENS = 192       # ... and never fewer tokens than a product needs to run at speed
    BACKWARD_TOKENS = 256      # tokens whose gradients go into the weights in one product
    GRADIENT_BYTES = 4194304   # ... twice as many where the weights are larger than this
    PACKED_BYTES = 262144      # gradients packed at a time
    THREAD_FLOPS = 4000000     # below this a second thread costs more than it brings


# --- a layer: one or two directions -------------------------------------------------------------

cdef struct Layer:
    Direction direction[2]
    int directions
    bint backward
    fs_barrier barrier


cdef void run_part(int index, int parts, void *argument) noexcept nogil:
    """With two directions and several parts, each direction gets half of the parts."""
    cdef Layer *layer = <Layer *>argument
    cdef int i, own_parts
    if layer.directions == 2 and parts > 1:
        own_parts = (parts + 1 - index % 2) // 2
        run_direction(&layer.direction[index % 2], layer, index // 2, own_parts)
    else:
        for i in range(layer.directions):
            run_direction(&layer.direction[i], layer, index, parts)
    if layer.backward and layer.directions == 2 and layer.direction[0].dx != NULL:
        # Both directions add to dx: one after the other, every part its own tokens.
        if parts > 1:
            fs_barrier_wait(&layer.barrier, parts)
        for i in range(2):
            whole_input_gradient(&layer.direction[i], index, parts)


cdef void run_direction(Direction *d, Layer *layer, int index, int parts) noexcept nogil:
    if layer.backward:
        backward_direction(d, index, parts)
    else:
        forward_direction(d, index, parts)


cdef void whole_input_gradient(Direction *d, int index, int parts) noexcept nogil:
    cdef Part part
    memset(&part, 0, sizeof(part))
    part.index, part.parts = index, parts
    part.tile = d.tile + index * TILE_BYTES
    part.slots, part.slots_row = d.slots, d.slots_row
    input_gradient(d, &part, 0, d.offsets[d.T])


cdef void lay_out(Direction *d, bint backward, int parts, Scratch *scratch) noexcept nogil:
    """Place the packed weights and the parts' buffers in scratch memory."""
    d.tile = take(scratch, <size_t>parts * TILE_BYTES)
    if backward:
        lay_out_backward(d, parts, scratch)
    else:
        lay_out_forward(d, parts, scratch)


cdef void lay_out_forward(Direction *d, size_t parts, Scratch *scratch) noexcept nogil:
    cdef long token = d.cell.slots * gate_bytes(d)
    cdef long larger = token if d.padded_x.data == NULL else max(token, d.x_row)
    if not d.is_packed:
        lay_out_cell(d, scratch)
    d.chunk_tokens = min(d.offsets[d.T], max(FORWARD_TOKENS, FORWARD_BYTES // larger))
    if d.padded_x.data != NULL:
        d.gathered_part = d.chunk_tokens * d.x_row
        d.gathered = take(scratch, parts * d.gathered_part)
    if d.padded_y.data != NULL:
        lay_out_turns(d, scratch)
    d.work_part = d.chunk_tokens * token
    d.work = take(scratch, parts * d.work_part)


cdef void lay_out_turns(Direction *d, Scratch *scratch) noexcept nogil:
    cdef long t
    d.y = take(scratch, 2 * d.B * d.y_row)
    d.turns = <int64_t *>take(scratch, d.T * sizeof(int64_t))
    for t in range(d.T if d.turns != NULL else 0):
        d.turns[t] = d.B if t & 1 else 0


cdef void lay_out_backward(Direction *d, size_t parts, Scratch *scratch) noexcept nogil:
    cdef long s, most = BACKWARD_TOKENS
    cdef Stage *stage
    cdef Scratch unplaced = scratch_at(NULL)
    for s in range(d.cell.stages):
        stage = &d.cell.backward[s]
        d.stage[s] = make_panels(
            d.tiles, stage.gates * d.H, d.H, stage.gates if stage.interleaved else 0, scratch
        )
    # Large weights: longer products, since each reads and writes all their gradients.
    if d.cell.gates * gate_bytes(d) * (d.I + d.H) > GRADIENT_BYTES:
        most *= 2
    d.chunk_tokens = min(d.offsets[d.T], most)
    if d.cell.gates == 1:
        lay_out_slots(d, scratch)
    if d.dx != NULL:
        d.input = make_panels(d.tiles, d.cell.gates * d.H, d.ahead, 0, scratch)
        d.input.far = True
    d.x_panels = make_panels(d.tiles, d.chunk_tokens, d.I, 0, &unplaced)
    d.h_panels = make_panels(d.tiles, d.chunk_tokens, d.H, 0, &unplaced)
    d.x_panels.far = d.h_panels.far = True
    d.dz_panels = make_panels(
        d.tiles, d.chunk_tokens, PACKED_BYTES // (most * d.tiles.item), 0, &unplaced
    )
    d.packed_part = panel_bytes(&d.x_panels) + panel_bytes(&d.h_panels)
    d.packed_part += panel_bytes(&d.dz_panels)
    d.packed = take(scratch, parts * d.packed_part)


cdef void lay_out_slots(Direction *d, Scratch *scratch) noexcept nogil:
    """An RNN saves none: its gradients take scratch memory, that of two chunks where this will do,
    since what is in cache need not be written to memory."""
    cdef long chunk = max(d.chunk_tokens, d.B), tokens = d.offsets[d.T]
    d.slots_row = gate_bytes(d)
    d.chunk_slots = 0
    if tokens > chunk and not d.dx_at_end:
        d.chunk_slots, tokens = chunk * d.slots_row, 2 * chunk
    d.slots = take(scratch, tokens * d.slots_row)


cdef int parts_for(const Layer *layer) noexcept:
    """Threads worth using."""
    cdef const Direction *d = &layer.direction[0]
    cdef double work = flops(d) * layer.directions * (3 if layer.backward else 1)
    cdef long useful = max(d.B // 2, d.H // UNITS_PER_PART, 1) * layer.directions
    return <int>min(_threads, useful, 1 + work / THREAD_FLOPS)


cdef inline double flops(const Direction *d) noexcept nogil:
    """Of a forward pass."""
    return 2.0 * d.offsets[d.T] * d.cell.gates * d.H * (d.I + d.H)


cdef run_layer(Layer *layer):
    """Take scratch memory, run, give it back."""
    cdef Scratch scratch = scratch_at(NULL)
    cdef int i, parts = parts_for(layer)
    while lay_out_again(&scratch):
        for i in range(layer.directions):
            lay_out(&layer.direction[i], layer.backward, parts, &scratch)
    with nogil:
        fs_run(parts, run_part, layer)
        if not layer.backward:
            for i in range(layer.directions):
                finish_forward(&layer.direction[i])
        fs_give_back(scratch.data)


cdef void finish_forward(Direction *d) noexcept nogil:
    copy_final(d, d.y, d.y_row, NULL if d.turns == NULL else &d.padded_y, d.h0, d.h_n)
    if d.cells != NULL:
        copy_final(d, d.cells, d.cells_row, NULL, d.c0, d.c_n)


# --- from arrays to pointers ---------------------------------------------------------------------

cdef inline long features_of(tokens) except -1:
    cdef cnp.ndarray array = tokens[0] if type(tokens) is tuple else tokens
    return array.shape[cnp.PyArray_NDIM(array) - 1]


cdef char *tokens_at(tokens, long first, long columns, long *row, Padded *padded) except? NULL:
    """Where the first token has its columns from `first` on, and the bytes between tokens; NULL
    where they are in a padded batch."""
    cdef cnp.ndarray array, order
    if type(tokens) is tuple:
        array, order = tokens
        padded[0] = padded_of(array, order, first, columns)
        row[0] = padded.size  # of tokens copied from there
        return NULL
    array = tokens
    row[0] = array.strides[0]
    return data(array) + first * cnp.PyArray_ITEMSIZE(array)


cdef class _Pass:
    """A layer's structs; the caller keeps the arrays they point into."""
    cdef Layer layer

    cdef set_common(self, str cell, option, x, cnp.ndarray h0, weights, cnp.ndarray offsets,
                    reverse, y):
        cdef const fs_tiles *tiles = tiles_of(h0)
        cdef Direction *d
        cdef int i
        self.layer.directions = len(weights)
        for i in range(self.layer.directions):
            d = &self.layer.direction[i]
            own = weights[i]
            if type(own) is PackedWeights:
                d[0] = (<PackedWeights>own).d
                tiles = d.tiles
            else:
                d.tiles, d.cell = tiles, describe(cell, option, tiles)
                weight_ih, weight_hh, bias_ih, bias_hh = own
                set_weights(d, weight_ih, weight_hh, bias_ih, bias_hh)
            d.T, d.B, d.H = offsets.shape[0] - 1, h0.shape[1], h0.shape[2]
            d.offsets, d.reverse = <const int64_t *>data(offsets), reverse[i]
            if type(x) is not tuple and cnp.PyArray_TYPE(x) == cnp.NPY_INT64:
                d.ids = <const int64_t *>data(x)
                d.ids_per_token = x.shape[1] if cnp.PyArray_NDIM(x) == 2 else 1
            else:
                d.I = d.ahead = features_of(x)
                d.x = tokens_at(x, 0, d.I, &d.x_row, &d.padded_x)
            d.state_row = d.H * tiles.item
            d.h0 = part_of(h0, i)
            d.y = tokens_at(y, i * d.H, d.H, &d.y_row, &d.padded_y)

    cdef set_slots(self, cnp.ndarray gates):
        cdef int i
        for i in range(self.layer.directions if gates is not None else 0):
            self.layer.direction[i].slots = part_of(gates, i)
            self.layer.direction[i].slots_row = gates.strides[1]

    cdef set_final(self, cnp.ndarray h_n):
        cdef int i
        for i in range(self.layer.directions):
            self.layer.direction[i].h_n = part_of(h_n, i)

    cdef set_cell_states(self, cnp.ndarray c0, cnp.ndarray cells, cnp.ndarray c_n):
        cdef Direction *d
        cdef int i
        for i in range(self.layer.directions):
            d = &self.layer.direction[i]
            d.c0, d.c_n = part_of(c0, i), part_of(c_n, i)
            if cells is not None:
                d.cells, d.cells_row = part_of(cells, i), cells.strides[1]
            elif c_n is not None:
                memcpy(d.c_n, d.c0, d.B * d.state_row)

    cdef set_gradients(self, cnp.ndarray dy, cnp.ndarray dx, cnp.ndarray dh, cnp.ndarray dc, grads):
        cdef cnp.ndarray d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh
        cdef Direction *d
        cdef int i
        self.layer.backward = True
        for i in range(self.layer.directions):
            d = &self.layer.direction[i]
            d.dy, d.dy_row = data(dy) + i * d.H * d.tiles.item, dy.strides[0]
            if dx is not None:
                d.dx, d.dx_row, d.dx_accumulate = data(dx), dx.strides[0], i > 0
                d.dx_at_end = self.layer.directions == 2
            d.dh, d.dc = part_of(dh, i), part_of(dc, i)
            d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh = grads[i]
            d.d_weight_ih, d.d_weight_hh = data(d_weight_ih), data(d_weight_hh)
            d.d_bias_ih, d.d_bias_hh = data(d_bias_ih), data(d_bias_hh)

    cdef run(self):
        run_layer(&self.layer)


cdef _Pass new_pass(str cell, option, x, h0, weights, offsets, reverse, y):
    cdef _Pass p = _Pass.__new__(_Pass)  # Python's own way of making one takes as long as a step
    p.set_common(cell, option, x, h0, weights, offsets, reverse, y)
    return p
