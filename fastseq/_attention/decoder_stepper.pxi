"""A decoder that advances one step a call, for any number of rows."""

cdef void step_decoder(int index, int parts, void *argument) noexcept nogil:
    cdef Decoder *dec = <Decoder *>argument
    cdef Direction *d = &dec.d
    cdef Part part = make_part(d, index, parts)
    cdef long row, item = d.tiles.item, begin = part.row_begin
    cdef fs_block b
    fill_block(d, &part, &b)
    project(d, &part, 0, 1)
    decoder_step(dec, &part, &b, 0)
    for row in range(begin, part.row_end):
        memcpy(<char *>d.h0 + row * d.state_row, d.y + row * d.y_row, d.H * item)
    if dec.feeds_output:
        memcpy(
            <char *>dec.fed0 + begin * d.state_row, dec.y + begin * d.state_row,
            (part.row_end - begin) * d.state_row,
        )


cdef class DecoderStepper:
    """See ``_reference/decoder.py``."""
    cdef Decoder decoder
    cdef void *rows
    cdef long capacity            # rows that `rows` has room for; -1 before the first
    cdef int parts                # at most
    cdef int64_t offsets[2]
    cdef object keep              # the arrays, and what is packed, to which pointers lead

    def __init__(
        self, str cell, option, weights, attention, output, str feeds,
    ):
        cdef Decoder *dec = &self.decoder
        cdef Direction *d = &dec.d
        cdef const fs_tiles *tiles
        cdef cnp.ndarray weight_ih, weight_hh, output_weight, output_bias
        cdef cnp.ndarray keys, values, v, source_offsets, query_weight
        weight_ih, weight_hh, bias_ih, bias_hh = weights
        keys, values, v, source_offsets, query_weight = attention
        tiles = tiles_of(keys)
        output_weight, output_bias = output
        # What is packed is a copy; these are read in each step.
        keys, values = keys.copy(), values.copy()
        output_bias = None if output_bias is None else output_bias.copy()
        memset(dec, 0, sizeof(Decoder))
        d.tiles, d.cell, d.rows_only = tiles, describe_decoder(cell, option, tiles), True
        d.T, d.H, d.I = 1, weight_hh.shape[1], weight_ih.shape[1]
        dec.memory = read_memory(keys, values, v, source_offsets, keys)
        dec.feeds_output, dec.asks_first = feeds == "output", feeds == "context"
        if feeds is not None:
            dec.F = d.H if dec.feeds_output else dec.memory.E
        d.ahead = d.I - dec.F
        d.x_row, d.state_row = d.ahead * tiles.item, d.H * tiles.item
        d.offsets = self.offsets
        set_weights(d, weight_ih, weight_hh, bias_ih, bias_hh)
        dec.query_weight, dec.queries_by_row = data(query_weight), True
        dec.output_weight, dec.output_bias = data(output_weight), data(output_bias)
        self.parts, self.capacity = _threads, -1
        self.keep = keys, values, source_offsets, output_bias, self.pack()

    def copy(self):
        """See ``_reference/decoder.py``."""
        cdef DecoderStepper other = DecoderStepper.__new__(DecoderStepper)
        other.decoder, other.parts, other.keep = self.decoder, self.parts, self.keep
        other.decoder.d.offsets, other.capacity = other.offsets, -1
        return other

    cdef _KeptMemory pack(self):
        cdef Decoder *dec = &self.decoder
        cdef _KeptMemory packed = _KeptMemory()
        cdef Scratch scratch = scratch_at(NULL)
        cdef Part whole
        while lay_out_again(&scratch):
            lay_out_cell(&dec.d, &scratch)
            lay_out_weights(dec, &scratch)
        packed.memory = scratch.data
        whole = make_part(&dec.d, 0, 1)
        with nogil:
            pack_decoder(dec, &whole)
        return packed

    cdef make_room(self, long rows):
        """For what is kept of each row during a step, and of each part."""
        cdef Decoder *dec = &self.decoder
        cdef Direction *d = &dec.d
        cdef Scratch scratch = scratch_at(NULL)
        fs_give_back(self.rows)
        self.rows, self.capacity = NULL, -1
        dec.attended_row = row_bytes(dec, dec.memory.E + d.H)
        while lay_out_again(&scratch):
            d.tile = take(&scratch, <size_t>self.parts * TILE_BYTES)
            dec.own = take(&scratch, <size_t>self.parts * 2 * dec.memory.padded)
            d.work = take(&scratch, rows * d.cell.slots * gate_bytes(d))
            dec.attended = take(&scratch, rows * dec.attended_row)
            dec.queries = take(&scratch, rows * row_bytes(dec, dec.memory.A))
        self.rows = scratch.data
        d.y, d.y_row = dec.attended + row_bytes(dec, dec.memory.E), dec.attended_row
        self.capacity = rows

    def __dealloc__(self):
        fs_give_back(self.rows)

    def __call__(
        self, cnp.ndarray x not None, cnp.ndarray sources not None, cnp.ndarray h not None,
        cnp.ndarray c, cnp.ndarray fed, cnp.ndarray y not None, cnp.ndarray alignments not None,
    ):
        cdef Decoder *dec = &self.decoder
        cdef Direction *d = &dec.d
        cdef long rows = x.shape[0]
        cdef int parts
        if rows > self.capacity:
            self.make_room(rows)
        self.offsets[0], self.offsets[1], d.B = 0, rows, rows
        d.x, d.h0 = data(x), data(h)
        d.c0 = d.c_n = data(c)
        dec.fed0, dec.y, dec.sources = data(fed), data(y), <const int64_t *>data(sources)
        dec.alignments, dec.memory.S = data(alignments), alignments.shape[1]
        parts = min(self.parts, parts_for_decoder(dec))
        with nogil:
            fs_run(parts, step_decoder, dec)
