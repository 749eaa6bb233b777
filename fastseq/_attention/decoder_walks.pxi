"""A decoder's walks through time, forward and back."""

cdef inline long first_token(const Decoder *dec, const Part *part, long t) noexcept nogil:
    return dec.d.offsets[t] + part.row_begin


cdef inline long rows_of_part(const Decoder *dec, const Part *part, long t) noexcept nogil:
    return max(0, min(part.row_end, rows_at(&dec.d, t)) - part.row_begin)


cdef void add_rows_times(
    Decoder *dec, const Part *part, const Panels *p, long rows, const char *a, long a_row,
    char *dst, long dst_row,
) noexcept nogil:
    """dst += a @ panels, for plain panels."""
    cdef long item = dec.d.tiles.item
    multiply_store(
        dec.d.tiles, p, 0, p.count, part.tile, rows, a, a_row, item, NULL, 0, dst, dst_row,
        dec.d.tiles.lanes * item, True,
    )


# --- forward ------------------------------------------------------------------------------------

cdef void ask(
    Decoder *dec, const Part *part, long t, const char *states, long states_row
) noexcept nogil:
    """Contexts of the time t, from the states of the part's rows; both of its first row."""
    cdef Direction *d = &dec.d
    cdef Memory *m = &dec.memory
    cdef long item = d.tiles.item, token = first_token(dec, part, t), i
    cdef long rows = rows_of_part(dec, part, t), queries_row = states_row
    cdef const char *query = states
    cdef char *projected
    cdef Queries q
    if dec.query_weight != NULL:
        queries_row = m.A * item
        projected = dec.queries
        projected += (part.row_begin if dec.queries_by_row else token) * queries_row
        multiply_store(
            d.tiles, &dec.query, 0, dec.query.count, part.tile, rows, states, states_row, item,
            NULL, 0, projected, queries_row, d.tiles.lanes * item, False,
        )
        query = projected
    q.count = 0
    for i in range(rows):  # neighbours with one source, as in a beam, go together
        q.source = dec.sources[part.row_begin + i]
        q.query[q.count] = query + i * queries_row
        q.weights[q.count] = dec.alignments + (token + i) * m.S * item
        q.context[q.count] = dec.attended + (token + i) * dec.attended_row
        q.count += 1
        if (
            i + 1 == rows or q.count == TOGETHER
            or dec.sources[part.row_begin + i + 1] != q.source
        ):
            attend(m, &q, dec.own + part.index * 2 * m.padded)
            q.count = 0


cdef void feed(
    Decoder *dec, const Part *part, long t, const char *vectors, long vectors_row
) noexcept nogil:
    """Keep what the part's rows are fed at time t, and add its product to their
    pre-activations."""
    cdef Direction *d = &dec.d
    cdef long item = d.tiles.item, token = first_token(dec, part, t), i
    cdef long rows = rows_of_part(dec, part, t)
    cdef char *z = part.work + token * part.work_row
    for i in range(rows if dec.inputs != NULL else 0):
        memcpy(
            dec.inputs + (token + i) * d.x_row + d.ahead * item, vectors + i * vectors_row,
            dec.F * item,
        )
    multiply_store(
        d.tiles, &dec.fed, 0, dec.fed.count, part.tile, rows, vectors, vectors_row, item, NULL, 0,
        z + d.cell.input_slot * gate_bytes(d), part.work_row, gate_bytes(d), True,
    )


cdef void find_output(Decoder *dec, const Part *part, long t) noexcept nogil:
    """y = tanh(W_o [context; h] + b_o)"""
    cdef Direction *d = &dec.d
    cdef long item = d.tiles.item, token = first_token(dec, part, t)
    cdef long rows = rows_of_part(dec, part, t), vector = d.tiles.lanes * item
    cdef char *y = dec.y + token * d.H * item
    multiply_store(
        d.tiles, &dec.output, 0, dec.output.count, part.tile, rows,
        dec.attended + token * dec.attended_row, dec.attended_row, item, dec.output_bias, vector,
        y, d.H * item, vector, False,
    )
    d.tiles.tanh(rows * d.H, y, y)


cdef void decoder_step(Decoder *dec, const Part *part, fs_block *b, long t) noexcept nogil:
    cdef Direction *d = &dec.d
    cdef const char *before = d.h0 + part.row_begin * d.state_row
    cdef const char *fed = dec.fed0
    cdef long before_row = d.state_row, fed_row = dec.F * d.tiles.item
    if rows_of_part(dec, part, t) == 0:
        return
    if dec.asks_first:
        if t > 0:
            before, before_row = d.y + first_token(dec, part, t - 1) * d.y_row, d.y_row
        ask(dec, part, t, before, before_row)
        feed(
            dec, part, t, dec.attended + first_token(dec, part, t) * dec.attended_row,
            dec.attended_row,
        )
        forward_step(d, part, b, t, t - 1)
    else:
        fed += part.row_begin * fed_row
        if t > 0:
            fed = dec.y + first_token(dec, part, t - 1) * fed_row
        if dec.feeds_output:
            feed(dec, part, t, fed, fed_row)
        forward_step(d, part, b, t, t - 1)
        ask(dec, part, t, d.y + first_token(dec, part, t) * d.y_row, d.y_row)
    if dec.output_weight != NULL:
        find_output(dec, part, t)


cdef void decoder_part(int index, int parts, void *argument) noexcept nogil:
    cdef Decoder *dec = <Decoder *>argument
    cdef Direction *d = &dec.d
    cdef Part part = make_part(d, index, parts), rows = part
    cdef long low = 0, high, t
    cdef fs_block b
    fill_block(d, &part, &b)
    pack_decoder(dec, &part)
    while low < d.T:
        high = chunk_end(d, low, d.chunk_tokens, 1)
        rows.row_end = part.row_begin
        while more_rows(d, &rows, part.row_end, low, high):
            project(d, &rows, low, high)
            for t in range(low, high):
                decoder_step(dec, &rows, &b, t)
        low = high


# --- backward -----------------------------------------------------------------------------------

cdef void ask_back(
    Decoder *dec, const Part *part, long t, const char *states, long states_row, char *d_states,
    long d_states_row,
) noexcept nogil:
    """From the gradients of the contexts of time t to those of the states that asked, added."""
    cdef Direction *d = &dec.d
    cdef Memory *m = &dec.memory
    cdef long item = d.tiles.item, token = first_token(dec, part, t), i, row
    cdef long rows = rows_of_part(dec, part, t), query_row = m.A * item, scores_row = m.S * item
    cdef char *exps = dec.own + part.index * 2 * m.padded
    cdef char *d_query = exps + m.padded
    cdef char *dk = NULL
    cdef char *dv = NULL
    cdef Queries q  # one at a time: no two rows have the same source
    q.count = 1
    for i in range(rows):
        row = part.row_begin + i
        q.source, q.query[0] = dec.sources[row], states + i * states_row
        if dec.query_weight != NULL:
            q.query[0] = dec.queries + (token + i) * query_row
            d_query = dec.d_queries + (token + i) * query_row
        if m.v != NULL:
            dk = dec.dk + m.begin[q.source] * m.padded
            dv = dec.dv + row * m.padded
        q.weights[0] = dec.alignments + (token + i) * scores_row
        q.d_context[0] = dec.d_attended + (token + i) * dec.attended_row
        q.d_weights[0] = NULL
        if dec.d_alignments != NULL:
            q.d_weights[0] = dec.d_alignments + (token + i) * scores_row
        q.d_scores[0] = dec.d_scores + (token + i) * scores_row
        q.d_query[0] = d_query
        attend_back(m, &q, exps, dk, dv)
        if dec.query_weight == NULL:
            d.tiles.attention.add_scaled(m.A, 1, NULL, d_query, d_states + i * d_states_row)
    if dec.query_weight != NULL:
        add_rows_times(
            dec, part, &dec.query, rows, dec.d_queries + token * query_row, query_row, d_states,
            d_states_row,
        )


cdef void output_back(Decoder *dec, const Part *part, long t) noexcept nogil:
    """From the gradients of y to those of its pre-activation, and of [context; h]."""
    cdef Direction *d = &dec.d
    cdef long row = dec.F * d.tiles.item, token = first_token(dec, part, t)
    cdef long rows = rows_of_part(dec, part, t)
    cdef char *dy = dec.dy + token * row
    d.tiles.attention.tanh_backward(rows * dec.F, dec.y + token * row, dy)
    add_rows_times(
        dec, part, &dec.output, rows, dy, row, dec.d_attended + token * dec.attended_row,
        dec.attended_row,
    )


cdef void feed_back(
    Decoder *dec, const Part *part, long t, char *d_vectors, long d_vectors_row
) noexcept nogil:
    """Add to the gradients of what was fed at time t."""
    cdef Direction *d = &dec.d
    add_rows_times(
        dec, part, &dec.fed, rows_of_part(dec, part, t),
        part.slots + first_token(dec, part, t) * part.slots_row
        + d.cell.input_slot * gate_bytes(d), part.slots_row, d_vectors, d_vectors_row,
    )


cdef void decoder_back_step(Decoder *dec, Part *part, fs_block *b, long t) noexcept nogil:
    cdef Direction *d = &dec.d
    cdef long token = first_token(dec, part, t), fed_row = dec.F * d.tiles.item
    if rows_of_part(dec, part, t) == 0:
        return
    if dec.feeds_output:
        output_back(dec, part, t)
        ask_back(
            dec, part, t, d.y + token * d.y_row, d.y_row,
            <char *>d.dy + token * d.dy_row, d.dy_row,
        )
        backward_step(d, part, b, t)
        if t > 0:
            feed_back(dec, part, t, dec.dy + first_token(dec, part, t - 1) * fed_row, fed_row)
        else:
            feed_back(dec, part, t, dec.dfed + part.row_begin * fed_row, fed_row)
    else:
        backward_step(d, part, b, t)
        feed_back(dec, part, t, dec.d_attended + token * dec.attended_row, dec.attended_row)
        if t > 0:  # at time 0 the initial states asked, whose gradients are ready after the walk
            token = first_token(dec, part, t - 1)
            ask_back(
                dec, part, t, d.y + token * d.y_row, d.y_row,
                <char *>d.dy + token * d.dy_row, d.dy_row,
            )


cdef void values_back(Decoder *dec, const Part *part) noexcept nogil:
    """Gradients of the part's sources, which were left to be added row by row."""
    cdef Direction *d = &dec.d
    cdef Memory *m = &dec.memory
    cdef long row, t, begin
    for row in range(part.row_begin, part.row_end):
        t = 0
        while t < d.T and rows_at(d, t) > row:
            t = values_of_row_back(dec, row, t)
        if m.v != NULL:
            begin = m.begin[dec.sources[row]]
            add_key_gradients(m, dec.sources[row], dec.dk + begin * m.padded, dec.d_keys)


cdef long values_of_row_back(Decoder *dec, long row, long t) noexcept nogil:
    """Of some steps from t on; the step after them."""
    cdef Direction *d = &dec.d
    cdef Memory *m = &dec.memory
    cdef const fs_attention *c = d.tiles.attention
    cdef long item = d.tiles.item, token, value_row = m.E * item, key_row = m.A * item
    cdef long begin = m.begin[dec.sources[row]], positions = count_positions(m, dec.sources[row])
    cdef Queries q
    q.count = 0
    while q.count < TOGETHER and t < d.T and rows_at(d, t) > row:
        token = d.offsets[t] + row
        q.weights[q.count] = dec.alignments + token * m.S * item
        q.d_context[q.count] = dec.d_attended + token * dec.attended_row
        q.d_scores[q.count] = dec.d_scores + token * m.S * item
        if dec.query_weight != NULL:
            q.query[q.count] = dec.queries + token * key_row
        elif dec.feeds_output:
            q.query[q.count] = d.y + token * d.y_row
        elif t > 0:
            q.query[q.count] = d.y + (d.offsets[t - 1] + row) * d.y_row
        else:
            q.query[q.count] = d.h0 + row * d.state_row
        q.count += 1
        t += 1
    c.add_outer(
        q.count, positions, m.E, <const char **>q.weights, q.d_context,
        dec.d_values + begin * value_row, value_row,
    )
    if m.v == NULL:
        c.add_outer(
            q.count, positions, m.A, <const char **>q.d_scores, q.query,
            dec.d_keys + begin * key_row, key_row,
        )
    return t


cdef void clear_sums(Decoder *dec, const Part *part) noexcept nogil:
    """Of the part's rows, for what accumulates over time."""
    cdef Memory *m = &dec.memory
    cdef long row, begin, fed_row = row_bytes(dec, dec.F)
    if dec.dfed != NULL:
        memset(
            dec.dfed + part.row_begin * fed_row, 0, (part.row_end - part.row_begin) * fed_row
        )
    for row in range(part.row_begin, part.row_end if m.v != NULL else part.row_begin):
        begin = m.begin[dec.sources[row]]
        memset(dec.dv + row * m.padded, 0, m.padded)
        memset(
            dec.dk + begin * m.padded, 0, (m.begin[dec.sources[row] + 1] - begin) * m.padded
        )


cdef void decoder_back_part(int index, int parts, void *argument) noexcept nogil:
    cdef Decoder *dec = <Decoder *>argument
    cdef Direction *d = &dec.d
    cdef Part part = make_part(d, index, parts)
    cdef long t = d.T - 1, end, low, high
    cdef fs_block b
    fill_block(d, &part, &b, True)
    clear_sums(dec, &part)
    pack_decoder(dec, &part)
    while t >= 0:
        end = chunk_end(d, t, d.chunk_tokens, -1)
        low, high = end + 1, t + 1
        while t > end:
            decoder_back_step(dec, &part, &b, t)
            t -= 1
        wait(d, &part)  # the products below need the rows of all parts
        if d.dx != NULL:
            input_gradient(d, &part, d.offsets[low], d.offsets[high])
        weight_gradients(d, &part, low, high)
    if d.T > 0:
        release(d, &part, 0, 0)
        if not dec.feeds_output and rows_of_part(dec, &part, 0) > 0:
            ask_back(
                dec, &part, 0, d.h0 + part.row_begin * d.state_row, d.state_row,
                d.dh + part.row_begin * d.state_row, d.state_row,
            )
    values_back(dec, &part)
