"""Decoders with attention: their arrays, scratch memory, and threads.

A decoder is one direction of a recurrent layer, whose walks it uses, with some columns of the
input that are known only when the step comes.  Parts take rows and need not wait for each other.
"""

cdef struct Decoder:
    Direction d
    Memory memory
    bint asks_first            # the state before a step asks, else that after it
    bint feeds_output          # what comes of the latter's context is fed to the next step
    long F "fed_size"          # 0: nothing is fed
    const int64_t *sources     # of each row
    char *inputs               # rows of d.x: x, and what is fed; NULL: it is not kept
    const char *fed0
    char *attended             # rows [context; h]
    long attended_row
    char *alignments
    char *y
    char *queries              # NULL: the state itself is the query
    bint queries_by_row        # kept for one step only
    const char *query_weight
    const char *output_weight
    const char *output_bias
    # Backward.
    bint backward
    char *d_attended
    char *dy
    const char *d_alignments
    char *dfed
    char *d_queries
    char *d_keys
    char *d_values
    char *d_v
    # Scratch.
    Panels fed
    Panels query
    Panels output
    char *own                  # of each part: a query's exponentials, a query's gradient
    char *dk                   # of all positions, padded
    char *dv                   # of all rows, padded
    char *d_scores             # of all tokens


cdef inline long row_bytes(const Decoder *dec, long size) noexcept nogil:
    return size * dec.d.tiles.item


cdef void lay_out_decoder(Decoder *dec, int parts, Scratch *scratch) noexcept nogil:
    cdef Direction *d = &dec.d
    cdef Memory *m = &dec.memory
    cdef size_t part_count = parts
    lay_out(d, dec.backward, parts, scratch)
    lay_out_weights(dec, scratch)
    dec.own = take(scratch, part_count * 2 * m.padded)
    if dec.queries_by_row and dec.query_weight != NULL:
        dec.queries = take(scratch, d.B * row_bytes(dec, m.A))
    if dec.backward:
        dec.d_scores = take(scratch, d.offsets[d.T] * row_bytes(dec, m.S))
        if m.v != NULL:
            dec.dk = take(scratch, m.positions * m.padded)
            dec.dv = take(scratch, d.B * m.padded)


cdef void lay_out_weights(Decoder *dec, Scratch *scratch) noexcept nogil:
    """Those that the cell does not have, and the keys' exponentials."""
    cdef Direction *d = &dec.d
    cdef Memory *m = &dec.memory
    cdef long gates = d.cell.gates * d.H, both = m.E + d.H
    lay_out_memory(m, scratch)
    if dec.backward:
        dec.fed = make_panels(d.tiles, gates, dec.F, 0, scratch)
    elif dec.F > 0:
        dec.fed = make_panels(d.tiles, dec.F, d.H, d.cell.gates, scratch)
    if dec.query_weight != NULL:
        dec.query = make_panels(
            d.tiles, m.A if dec.backward else d.H, d.H if dec.backward else m.A, 0, scratch
        )
    if dec.output_weight != NULL:
        dec.output = make_panels(
            d.tiles, d.H if dec.backward else both, both if dec.backward else d.H, 0, scratch
        )


cdef void pack_share(
    Decoder *dec, Panels *p, const Part *part, const char *weight, long outputs_row,
    long gate, long depth_row, long depth,
) noexcept nogil:
    pack_panels(
        dec.d.tiles, p, p.count * part.index // part.parts,
        p.count * (part.index + 1) // part.parts, weight, outputs_row, gate, depth_row, 0, 0, depth,
    )


cdef void pack_decoder(Decoder *dec, const Part *part) noexcept nogil:
    """The part's share of all weights; the parts have waited for each other after it."""
    cdef Direction *d = &dec.d
    cdef Memory *m = &dec.memory
    cdef long item = d.tiles.item, both = row_bytes(dec, m.E + d.H), state = d.H * item
    cdef long wide = d.I * item
    cdef const char *fed_weight = d.weight_ih + d.ahead * item
    prepare_memory(m, part.index, part.parts)
    if dec.backward:
        pack_share(dec, &dec.fed, part, fed_weight, item, 0, wide, d.cell.gates * d.H)
        if dec.query_weight != NULL:
            pack_share(dec, &dec.query, part, dec.query_weight, item, 0, state, m.A)
        if dec.output_weight != NULL:
            pack_share(dec, &dec.output, part, dec.output_weight, item, 0, both, d.H)
        pack_backward(d, part)
    else:
        if dec.F > 0:
            pack_share(dec, &dec.fed, part, fed_weight, wide, d.H * wide, item, dec.F)
        if dec.query_weight != NULL:
            pack_share(dec, &dec.query, part, dec.query_weight, state, 0, item, d.H)
        if dec.output_weight != NULL:
            pack_share(dec, &dec.output, part, dec.output_weight, both, 0, item, m.E + d.H)
        pack_forward(d, part)


cdef int parts_for_decoder(const Decoder *dec) noexcept:
    cdef double work = flops(&dec.d) * (3 if dec.backward else 1)
    return <int>max(1, min(_threads, dec.d.B // ROWS_PER_PART, 1 + work / THREAD_FLOPS))


cdef run_decoder(Decoder *dec):
    """Take scratch memory, run, give it back."""
    cdef Scratch scratch = scratch_at(NULL)
    cdef int parts = parts_for_decoder(dec)
    while lay_out_again(&scratch):
        lay_out_decoder(dec, parts, &scratch)
    with nogil:
        fs_run(parts, decoder_back_part if dec.backward else decoder_part, dec)
        if not dec.backward:
            finish_forward(&dec.d)
        elif dec.memory.v != NULL:
            add_v_gradients(&dec.memory, dec.d.B, dec.dv, dec.own, dec.d_v)
        fs_give_back(scratch.data)


# --- from arrays to pointers ---------------------------------------------------------------------

cdef Cell describe_decoder(str cell, option, const fs_tiles *tiles) except *:
    if cell == "rnn":
        raise ValueError(f"no cell {cell!r} in decoders")
    return describe(cell, option, tiles)


cdef class _Decoding:
    """A decoder's structs; the caller keeps the arrays they point into."""
    cdef Decoder decoder

    cdef set_common(
        self, str cell, option, cnp.ndarray inputs, states, weights, attention,
        cnp.ndarray sources, output, cnp.ndarray offsets, results, saved,
    ):
        cdef Decoder *dec = &self.decoder
        cdef Direction *d = &dec.d
        cdef cnp.ndarray h0, c0, fed0, keys, values, v, source_offsets, query_weight
        cdef cnp.ndarray output_weight, output_bias, attended, alignments, y
        cdef const fs_tiles *tiles
        h0, c0, fed0 = states
        keys, values, v, source_offsets, query_weight = attention
        attended, alignments, y = results
        tiles = tiles_of(h0)
        dec.memory = read_memory(keys, values, v, source_offsets, alignments)
        d.tiles, d.cell, d.rows_only = tiles, describe_decoder(cell, option, tiles), True
        d.T, d.B, d.H = offsets.shape[0] - 1, h0.shape[0], h0.shape[1]
        d.offsets = <const int64_t *>data(offsets)
        dec.feeds_output, dec.asks_first = fed0 is not None, fed0 is None
        dec.F = fed0.shape[1] if dec.feeds_output else dec.memory.E
        dec.inputs, dec.fed0 = data(inputs), data(fed0)
        d.x, d.x_row, d.I, d.ahead = data(inputs), inputs.strides[0], inputs.shape[1], 0
        d.ahead = d.I - dec.F
        d.state_row = d.H * tiles.item
        d.h0, d.c0 = data(h0), data(c0)
        dec.attended, dec.attended_row = data(attended), attended.strides[0]
        d.y, d.y_row = dec.attended + dec.memory.E * tiles.item, dec.attended_row
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        set_weights(d, weight_ih, weight_hh, bias_ih, bias_hh)
        dec.sources, dec.query_weight = <const int64_t *>data(sources), data(query_weight)
        if output is not None:
            output_weight, output_bias = output
            dec.output_weight, dec.output_bias = data(output_weight), data(output_bias)
        dec.alignments, dec.y = data(alignments), data(y)
        self.set_saved(saved)

    cdef set_saved(self, saved):
        cdef Direction *d = &self.decoder.d
        cdef cnp.ndarray queries, gates, cells
        queries, gates, cells = saved
        self.decoder.queries, self.decoder.queries_by_row = data(queries), queries is None
        if gates is not None:
            d.slots, d.slots_row = data(gates), gates.strides[0]
        if cells is not None:
            d.cells, d.cells_row = data(cells), cells.strides[0]


def decoder_forward(
    cell, option, inputs, states, weights, attention, sources, output, offsets, results, finals,
    saved,
):
    cdef _Decoding p = _Decoding.__new__(_Decoding)
    cdef Direction *d = &p.decoder.d
    cdef cnp.ndarray h_n, c_n
    p.set_common(
        cell, option, inputs, states, weights, attention, sources, output, offsets, results, saved
    )
    h_n, c_n = finals
    d.h_n, d.c_n = data(h_n), data(c_n)
    if d.cells == NULL and c_n is not None:
        memcpy(d.c_n, d.c0, c_n.nbytes)
    run_decoder(&p.decoder)


def decoder_backward(
    d_results, cell, option, inputs, states, weights, attention, sources, output, offsets, results,
    saved, cnp.ndarray dx, d_states, cnp.ndarray d_queries, d_attention, grads,
):
    cdef _Decoding p = _Decoding.__new__(_Decoding)
    cdef Decoder *dec = &p.decoder
    cdef Direction *d = &dec.d
    cdef cnp.ndarray d_attended, d_alignments, dy, dh, dc, dfed, d_keys, d_values, d_v
    cdef cnp.ndarray d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh
    p.set_common(
        cell, option, inputs, states, weights, attention, sources, output, offsets, results, saved
    )
    d_attended, d_alignments, dy = d_results
    dh, dc, dfed = d_states
    d_keys, d_values, d_v = d_attention
    dec.backward, dec.queries_by_row = True, False
    dec.d_attended, dec.dy, dec.d_alignments = data(d_attended), data(dy), data(d_alignments)
    dec.dfed, dec.d_queries, dec.d_keys = data(dfed), data(d_queries), data(d_keys)
    dec.d_values, dec.d_v = data(d_values), data(d_v)
    d.dy, d.dy_row = dec.d_attended + dec.memory.E * d.tiles.item, dec.attended_row
    if dx is not None:
        d.dx, d.dx_row = data(dx), dx.strides[0]
    d.dh, d.dc = data(dh), data(dc)
    d_weight_ih, d_weight_hh, d_bias_ih, d_bias_hh = grads
    d.d_weight_ih, d.d_weight_hh = data(d_weight_ih), data(d_weight_hh)
    d.d_bias_ih, d.d_bias_hh = data(d_bias_ih), data(d_bias_hh)
    run_decoder(dec)
