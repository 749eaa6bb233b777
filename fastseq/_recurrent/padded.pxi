"""Padded batches as users have them: a walk forward without a backward pass gathers its tokens from
one and scatters them into another, while they are in cache."""

cdef enum:
    CACHE_BYTES = 1048576  # what is larger than this is not in cache: ask for rows
    ROWS_AHEAD = 4         # ... that many ahead


cdef struct Padded:        # (T or more, B, F); without data: there is none
    char *data
    const int64_t *order   # which of its rows is row r
    long steps, rows
    long step, row         # bytes to the next step, and to the next row
    long size              # bytes of a token that are this direction's
    bint large


cdef Padded padded_of(cnp.ndarray array, cnp.ndarray order, long first, long columns) noexcept:
    """The columns from `first` on."""
    cdef Padded p
    cdef long item = cnp.PyArray_ITEMSIZE(array)
    p.data, p.order = data(array) + first * item, <const int64_t *>data(order)
    p.steps, p.rows = array.shape[0], array.shape[1]
    p.step, p.row, p.size = array.strides[0], array.strides[1], columns * item
    p.large = cnp.PyArray_NBYTES(array) > CACHE_BYTES // 2  # x and y each take a part
    return p


cdef inline char *padded_row(const Padded *p, long t, long row) noexcept nogil:
    return p.data + t * p.step + p.order[row] * p.row


cdef void gather_step(const Padded *p, long t, long first, long last, char *to) noexcept nogil:
    """The tokens of rows first : last at time t, side by side."""
    cdef long row, size = p.size
    for row in range(first, last):
        if p.large:
            prepare(padded_row(p, t, min(row + ROWS_AHEAD, p.rows - 1)), size, False)
        memcpy(to, padded_row(p, t, row), size)
        to += size


cdef void scatter_step(
    const Padded *p, long t, long first, long last, long running, const char *tokens, long stride,
    long begin, long end,
) noexcept nogil:
    """Bytes begin : end of the rows first : last at time t: those of the tokens, the first of
    which is at `tokens`, and 0 for rows that have ended, from `running` on."""
    cdef long row, size = end - begin
    cdef char *place
    for row in range(first, last):
        if p.large:
            prepare(padded_row(p, t, min(row + ROWS_AHEAD, p.rows - 1)) + begin, size, True)
        place = padded_row(p, t, row) + begin
        if row < running:
            memcpy(place, tokens + (row - first) * stride, size)
        else:
            memset(place, 0, size)


cdef inline void prepare(const char *row, long size, bint writing) noexcept nogil:
    """Ask for a row that is soon read, or written."""
    cdef long at
    for at in range(0, size, 64):
        if writing:
            __builtin_prefetch(row + at, 1, 3)
        else:
            __builtin_prefetch(row + at, 0, 3)
