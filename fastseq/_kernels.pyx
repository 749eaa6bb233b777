# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True
"""The fast kernels: the loops over time, forward and back, for RNN, LSTM and GRU.

The contract (functions, letters, token-packed layout) is that of ``reference.py``, which says
the same in plain NumPy.  Here a cell is a short description (``Cell``: its stages, slots and
gradient pieces), and one forward and one backward walk serve them all.  They go over time
steps, row segments and panels, and call the tile functions of ``_csrc/tiles.h`` through the
table of the chosen instruction set; strides are in bytes, so one source serves both dtypes.

A stage is a product with packed recurrent weights followed by a point function on the tile while
it is in cache.  RNN, LSTM and the usual GRU have one stage a step; the GRU with the reset gate
before the product has two.

Work is split over threads by rows (each part walks its own rows, without synchronisation) or by
hidden units (each part keeps its slice of the weights in its own cache, one barrier a stage).
Every number is computed by the same chain of operations in all cases.
"""

import os

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

cnp.import_array()


cdef extern from "tiles.h" nogil:
    ctypedef struct fs_block:
        long rows, units, vectors
        const char *tile
        const char *z
        long z_row, z_gate
        char *slots
        long slots_row, slots_gate
        const char *bias
        const char *h_previous
        const char *c_previous
        long h_previous_row, c_previous_row
        char *h
        char *c
        long h_row, c_row
        const char *dy
        long dy_row
        char *dh
        char *dc
        long dh_row, dc_row
    ctypedef void (*fs_point)(const fs_block *) noexcept nogil
    ctypedef struct fs_tiles:
        const char *isa
        long item, lanes
        void (*pack)(const char *, long, long, long, long, char *, long) noexcept nogil
        void (*product)(long, long, long, long, const char *, long, long, const char *, long,
                        char *, long) noexcept nogil
        void (*store)(long, long, long, long, const char *, const char *, long, char *, long,
                      long, int) noexcept nogil
        void (*column_sums)(long, long, const char *, long, char *, char *) noexcept nogil
        fs_point rnn_forward[3]
        fs_point rnn_backward[3]
        fs_point lstm_forward, lstm_backward, gru_forward, gru_backward
        fs_point gru_reset, gru_candidate, gru_candidate_backward, gru_reset_backward
        void (*exp)(long, const char *, char *) noexcept nogil
        void (*tanh)(long, const char *, char *) noexcept nogil
        void (*sigmoid)(long, const char *, char *) noexcept nogil
    ctypedef struct fs_isa:
        const char *name
        const fs_tiles *f32
        const fs_tiles *f64
    const fs_isa *const *fs_available_isas()
    enum: FS_PANEL_VECTORS

cdef extern from "pool.h" nogil:
    ctypedef struct fs_barrier:
        pass
    void fs_run(int, void (*)(int, int, void *) noexcept nogil, void *)
    void fs_barrier_wait(fs_barrier *, int)
    void *fs_take_scratch(size_t)
    void fs_give_scratch(void *)
    enum: FS_GUARD_BYTES
    void FS_GUARD(void *, size_t)


cdef enum:
    ROW_GROUP = 48             # rows of a tile block: with 4 vectors 12 KB, beside the panel in L1
    TILE_BYTES = 16384
    FORWARD_BYTES = 262144     # pre-activations computed ahead of the recurrence, about half an L2
    FORWARD_TOKENS = 192       # ... and never fewer tokens than a product needs to run at speed
    BACKWARD_TOKENS = 256      # tokens whose gradients go into the weights in one product
    GRADIENT_BYTES = 4194304   # ... twice as many where the weights are larger than this
    PACKED_BYTES = 262144      # gradients packed at a time
    LARGE_BYTES = 786432       # weights beyond this may not stay in cache: ask ahead
    PIECE_BYTES = 131072       # ... and walk them in pieces of this size, up and down in turn
    THREAD_FLOPS = 4000000     # below this a second thread costs more than it brings
    ROWS_PER_PART = 8          # fewer rows than this and splitting hidden units is better
    UNITS_PER_PART = 64


# --- settings -------------------------------------------------------------------------------

cdef const fs_isa *_isa = fs_available_isas()[0]
cdef int _threads = 1


def available_isas():
    """Names of the instruction sets this build and this processor have, best first."""
    cdef const fs_isa *const *isas = fs_available_isas()
    names = []
    while isas[len(names)] != NULL:
        names.append(isas[len(names)].name.decode())
    return tuple(names)


def isa():
    """Name of the instruction set in use."""
    return _isa.name.decode()


def set_isa(name):
    """Use another instruction set than the best one."""
    global _isa
    names = available_isas()
    if name not in names:
        raise ValueError(
            f"FASTSEQ_ISA: expected one of {', '.join(names)} (what this processor has), got {name!r}"
        )
    _isa = fs_available_isas()[names.index(name)]


if os.environ.get("FASTSEQ_ISA"):
    set_isa(os.environ["FASTSEQ_ISA"])


def set_num_threads(n):
    """Use at most n threads in a call."""
    global _threads
    _threads = n


# --- what a cell is -------------------------------------------------------------------------

cdef struct Stage:
    bint own_slot        # the product's rows: a slot of this step, or the previous state
    long slot            # forward: that slot; backward: the first of the slots multiplied
    long gate, gates     # the rows of weight_hh, counted in gates
    long rotate          # backward: gate that comes first in the slots
    bint interleaved     # panels with one vector per gate, or plain ones
    fs_point point

cdef struct Piece:       # a run of slots and the weight rows whose gradients it gives
    long slot, slots
    long row_ih, row_hh  # in gates; -1: none
    long state_slot      # slot that multiplies weight_hh's rows; -1: the previous state

cdef struct Cell:
    long gates, slots, input_slot
    bint has_cell_state
    bint saves_slots     # even in inference
    bint carries         # dh holds a direct part beside the product's
    int stages, pieces
    Stage forward[2]
    Stage backward[2]
    Piece piece[3]


cdef Cell describe(str cell, option, const fs_tiles *tiles):
    cdef Cell c
    cdef int kind
    memset(&c, 0, sizeof(c))
    c.stages = c.pieces = 1
    if cell == "rnn":
        kind = ("tanh", "relu", "sigmoid").index(option)
        c.gates = c.slots = 1
        c.forward[0] = Stage(False, 0, 0, 1, 0, False, tiles.rnn_forward[kind])
        c.backward[0] = Stage(False, 0, 0, 1, 0, False, tiles.rnn_backward[kind])
        c.piece[0] = Piece(0, 1, 0, 0, -1)
    elif cell == "lstm":
        c.gates = c.slots = 4
        c.has_cell_state = True
        c.forward[0] = Stage(False, 0, 0, 4, 0, True, tiles.lstm_forward)
        c.backward[0] = Stage(False, 0, 0, 4, 0, False, tiles.lstm_backward)
        c.piece[0] = Piece(0, 4, 0, 0, -1)
    else:
        c.gates, c.slots, c.input_slot = 3, 4, 1
        c.carries = True
        if option:  # slots dhn dr dz dn
            c.forward[0] = Stage(False, 0, 0, 3, 0, True, tiles.gru_forward)
            c.backward[0] = Stage(False, 0, 0, 3, 2, False, tiles.gru_backward)
            c.pieces = 3
            c.piece[0] = Piece(0, 1, -1, 2, -1)
            c.piece[1] = Piece(1, 2, 0, 0, -1)
            c.piece[2] = Piece(3, 1, 2, -1, -1)
        else:  # slots rh dr dz dn
            c.stages, c.pieces = 2, 2
            c.saves_slots = True
            c.forward[0] = Stage(False, 0, 0, 2, 0, True, tiles.gru_reset)
            c.forward[1] = Stage(True, 0, 2, 1, 0, False, tiles.gru_candidate)
            c.backward[0] = Stage(False, 1, 0, 2, 0, False, tiles.gru_candidate_backward)
            c.backward[1] = Stage(True, 3, 2, 1, 0, False, tiles.gru_reset_backward)
            c.piece[0] = Piece(1, 2, 0, 0, -1)
            c.piece[1] = Piece(3, 1, 2, 2, 0)
    return c


# --- packed weights -------------------------------------------------------------------------

cdef struct Panels:
    char *data
    long depth      # k
    long outputs    # units
    long vectors    # of a full panel
    long step       # units from one vector of a panel to the next; 0: interleaved gates
    long span       # units a panel covers
    long count
    long stride     # bytes of a full panel

cdef struct Scratch:
    char *data      # NULL while sizes are being counted
    size_t used


cdef inline char *take(Scratch *scratch, size_t bytes) noexcept nogil:
    cdef size_t begin = scratch.used
    scratch.used += (bytes + FS_GUARD_BYTES + 63) // 64 * 64
    if scratch.data == NULL:
        return NULL
    FS_GUARD(scratch.data + begin + bytes, scratch.used - begin - bytes)
    return scratch.data + begin


cdef Panels make_panels(
    const fs_tiles *tiles, long depth, long outputs, long interleaved_gates, Scratch *scratch
) noexcept nogil:
    cdef Panels p
    p.depth, p.outputs = depth, outputs
    p.vectors = interleaved_gates if interleaved_gates else FS_PANEL_VECTORS
    p.step = 0 if interleaved_gates else tiles.lanes
    p.span = tiles.lanes if interleaved_gates else FS_PANEL_VECTORS * tiles.lanes
    p.count = (outputs + p.span - 1) // p.span
    p.stride = depth * p.vectors * tiles.lanes * tiles.item
    p.data = take(scratch, p.count * p.stride)
    return p


cdef inline long panel_vectors(const Panels *p, long panel, long lanes) noexcept nogil:
    """The last plain panel may be narrower."""
    cdef long left
    if p.step == 0:
        return p.vectors
    left = (p.outputs - panel * p.span + lanes - 1) // lanes
    return left if left < p.vectors else p.vectors


cdef void pack_panels(
    const fs_tiles *tiles, const Panels *p, long first, long last, const char *src,
    long output_stride, long gate_stride, long k_stride, long k_begin, long k_first, long k_count,
) noexcept nogil:
    """Rows k_begin : k_begin + k_count of panels first : last, from source rows k_first onwards."""
    cdef long panel, v, output, vectors, row
    cdef const char *source
    for panel in range(first, last):
        vectors = panel_vectors(p, panel, tiles.lanes)
        row = vectors * tiles.lanes * tiles.item
        for v in range(vectors):
            output = panel * p.span + v * p.step
            source = src + output * output_stride + k_first * k_stride
            if p.step == 0:
                source += v * gate_stride
            tiles.pack(
                source, min(tiles.lanes, p.outputs - output), k_count, output_stride, k_stride,
                p.data + panel * p.stride + k_begin * row + v * tiles.lanes * tiles.item, row,
            )


# --- products -------------------------------------------------------------------------------

cdef inline bint is_large(const Panels *p) noexcept nogil:
    return p.stride * p.count > LARGE_BYTES


cdef inline long group_rows(long rows) noexcept nogil:
    """Rows of a tile block: equal groups of at most ROW_GROUP."""
    cdef long groups
    if rows <= ROW_GROUP:
        return rows
    groups = (rows + ROW_GROUP - 1) // ROW_GROUP
    return (rows + groups - 1) // groups


cdef void multiply_store(
    const fs_tiles *tiles, const Panels *p, long first, long last, char *tile,
    long rows, const char *a, long a_row, long a_k,
    const char *bias, long bias_vector, char *dst, long dst_row, long dst_vector, bint accumulate,
) noexcept nogil:
    """dst (+)= a @ panels + bias, for panels first : last."""
    cdef long panel = first, panels, i, row, n, vectors, offset
    cdef long next_panel = p.stride if is_large(p) else 0
    cdef long group = group_rows(rows)
    cdef const char *panel_bias = NULL
    while panel < last:
        vectors = panel_vectors(p, panel, tiles.lanes)
        panels = 1
        if rows == 1 and panel + 1 < last and panel_vectors(p, panel + 1, tiles.lanes) == vectors:
            panels = 2  # a single row needs two to keep the arithmetic busy
        row = 0
        while row < rows:
            n = min(group, rows - row)
            tiles.product(
                n, vectors, panels, p.depth, a + row * a_row, a_row, a_k,
                p.data + panel * p.stride, p.stride, tile, next_panel,
            )
            for i in range(panels):
                offset = (panel + i) * p.span * tiles.item
                if bias != NULL:
                    panel_bias = bias + offset
                tiles.store(
                    n, vectors, p.outputs - (panel + i) * p.span, p.step,
                    tile + i * vectors * tiles.lanes * tiles.item, panel_bias, bias_vector,
                    dst + row * dst_row + offset, dst_row, dst_vector, accumulate,
                )
            row += n
        panel += panels


cdef inline void advance(fs_block *b, long rows, long bytes) noexcept nogil:
    """Move a block down by rows and right by bytes."""
    b.z += rows * b.z_row + bytes
    if b.slots != NULL:
        b.slots += rows * b.slots_row + bytes
    if b.bias != NULL:
        b.bias += bytes
    b.h_previous += rows * b.h_previous_row + bytes
    b.c_previous += rows * b.c_previous_row + bytes
    b.h += rows * b.h_row + bytes
    b.c += rows * b.c_row + bytes
    b.dy += rows * b.dy_row + bytes
    b.dh += rows * b.dh_row + bytes
    b.dc += rows * b.dc_row + bytes


cdef long panels_at_once(const Panels *p, long rows, long vector) noexcept nogil:
    """Full panels whose tiles of `rows` rows fit together."""
    cdef long most = p.count
    if rows * p.count * p.vectors * vector > TILE_BYTES:
        most = max(1, TILE_BYTES // (rows * p.vectors * vector))
    if is_large(p):  # in small pieces, so that walking backwards finds the last ones in cache
        most = min(most, max(2, PIECE_BYTES // p.stride) if rows == 1 else 1)
    return most


cdef void multiply_apply(
    const fs_tiles *tiles, const Panels *p, long first, long last, bint descending, char *tile,
    const char *a, long a_row, fs_point point, const fs_block *whole,
) noexcept nogil:
    """Run a point function over a block, its tiles multiplied just before; a NULL: no product.

    Weights that exceed the cache are walked up and down in turn: what was used last is still
    there.
    """
    cdef fs_block b
    cdef long row, n, vectors, panels, panel, begin = first, end = last
    cdef long vector = tiles.lanes * tiles.item
    cdef long group = group_rows(whole.rows)
    cdef long most = panels_at_once(p, group, vector)
    cdef long next_panel = 0
    if is_large(p):
        next_panel = -p.stride if descending else p.stride
    while begin < end:
        panel = end - 1 if descending else begin
        vectors = panel_vectors(p, panel, tiles.lanes)
        panels = 1
        if vectors == p.vectors:  # several full panels at once where the rows are few
            panels = min(most, end - begin)
            if panels > 1 and panel_vectors(p, end - 1, tiles.lanes) < vectors:
                panels = min(panels, end - 1 - begin)
            if descending:
                panel = end - panels
        row = 0
        while row < whole.rows:
            n = min(group, whole.rows - row)
            b = whole[0]
            advance(&b, row, panel * p.span * tiles.item)
            b.rows, b.vectors = n, vectors
            b.units = min(p.outputs - panel * p.span, panels * p.span)
            b.tile = NULL
            if a != NULL:
                b.tile = tile
                tiles.product(
                    n, vectors, panels, p.depth, a + row * a_row, a_row, tiles.item,
                    p.data + panel * p.stride, p.stride, tile, next_panel,
                )
            point(&b)
            row += n
        if descending:
            end -= panels
        else:
            begin += panels


# --- one direction of one layer ----------------------------------------------------------------

cdef struct Direction:
    const fs_tiles *tiles
    Cell cell
    long T, B, H
    long I "input_size"  # C's complex.h owns the letter
    const int64_t *offsets
    bint reverse
    # Arrays and the bytes between their rows; states (B, H) have rows of `state_row` bytes.
    const char *x
    char *y
    long x_row, y_row, state_row
    const char *h0
    const char *c0
    char *h_n
    char *c_n
    char *slots
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
    char *dh
    char *dc
    char *d_weight_ih
    char *d_weight_hh
    char *d_bias_ih
    char *d_bias_hh
    # Scratch; per part where two parts would write it.
    Panels input
    Panels stage[2]
    Panels x_panels       # backward: one chunk's inputs, previous states and gradients
    Panels h_panels
    Panels dz_panels
    char *packed
    char *bias            # forward: the biases joined, (G * H,)
    char *candidate_bias  # ... but for the recurrent one of the GRU's candidate, (H,)
    char *work            # inference: slots of one chunk of tokens
    char *tile
    long chunk_tokens, work_part, packed_part
    long steps_before     # streaming: steps of earlier calls
    fs_barrier barrier
    int parts


cdef struct Part:
    int index, parts
    bint by_units
    long row_begin, row_end     # rows walked
    long unit_begin, unit_end   # units walked
    char *tile
    char *work                  # where pre-activations go: slots of token `work_origin` and on
    long work_row, work_origin


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
    p.work, p.work_row, p.work_origin = d.slots, d.slots_row, 0
    if d.work != NULL:
        # Parts that share rows share the buffer: a second stage multiplies slots of all units.
        p.work = d.work + (0 if p.by_units else index * d.work_part)
        p.work_row = d.cell.slots * gate_bytes(d)
    elif d.slots == NULL:  # RNN: pre-activations are computed where the outputs will be
        p.work, p.work_row = d.y, d.y_row
    return p


cdef bint splits_units(const Direction *d, int parts) noexcept nogil:
    if d.H < 2 * UNITS_PER_PART:
        return False
    return d.B < ROWS_PER_PART * parts


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


# --- forward -----------------------------------------------------------------------------------

cdef void join_biases(Direction *d) noexcept nogil:
    """One bias joins the input's product; the GRU's candidate keeps its recurrent one apart."""
    cdef long size = d.cell.gates * d.H
    cdef long joint = size - d.H if d.cell.carries else size
    memset(d.bias, 0, size * d.tiles.item)
    memset(d.candidate_bias, 0, gate_bytes(d))
    if d.bias_ih != NULL:  # a sum over one row adds it
        d.tiles.column_sums(1, size, d.bias_ih, 0, d.bias, NULL)
        d.tiles.column_sums(1, joint, d.bias_hh, 0, d.bias, NULL)
        d.tiles.column_sums(
            1, size - joint, d.bias_hh + joint * d.tiles.item, 0, d.candidate_bias, NULL
        )


cdef void pack_forward(Direction *d, const Part *part) noexcept nogil:
    cdef long item = d.tiles.item, n, s
    cdef Stage *stage
    if part.index == 0:
        join_biases(d)
    n = d.input.count
    pack_panels(
        d.tiles, &d.input, n * part.index // part.parts, n * (part.index + 1) // part.parts,
        d.weight_ih, d.I * item, d.H * d.I * item, item, 0, 0, d.I,
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


cdef void project(Direction *d, const Part *part, long low, long high) noexcept nogil:
    """Pre-activations of the times low : high from the input, into the part's work slots."""
    cdef long first = first_panel(&d.input, part.unit_begin), panel, pair, t, begin, end
    cdef long last = first_panel(&d.input, part.unit_end), pairs = (last - first + 1) // 2
    cdef bint interleaved = d.input.step == 0
    cdef long vector = gate_bytes(d) if interleaved else d.tiles.lanes * d.tiles.item
    cdef char *z = part.work + d.cell.input_slot * gate_bytes(d)
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
                    d.x + begin * d.x_row, d.x_row, d.tiles.item, d.bias, vector,
                    z + (begin - part.work_origin) * part.work_row, part.work_row, vector, False,
                )


cdef fs_block block_at(
    Direction *d, const Part *part, long t, long row, long rows, long previous, bint carried
) noexcept nogil:
    """The block of a step's rows, all units; `carried` rows continue from time `previous`."""
    cdef fs_block b
    cdef long token = d.offsets[t] + row
    cdef long before = d.offsets[previous] + row if carried else 0
    memset(&b, 0, sizeof(b))
    b.rows = rows
    b.z_row, b.z_gate = part.work_row, gate_bytes(d)
    b.slots = part.work + (token - part.work_origin) * part.work_row
    b.z = b.slots + d.cell.input_slot * gate_bytes(d)
    if d.slots == NULL and not d.cell.saves_slots:
        b.slots = NULL
    b.slots_row, b.slots_gate = part.work_row, gate_bytes(d)
    b.bias = d.candidate_bias
    b.h, b.h_row = d.y + token * d.y_row, d.y_row
    if carried:
        b.h_previous, b.h_previous_row = d.y + before * d.y_row, d.y_row
    else:
        b.h_previous, b.h_previous_row = d.h0 + row * d.state_row, d.state_row
    if d.cell.has_cell_state:
        if d.cells == NULL:  # inference: the running state alone
            b.c, b.c_row = d.c_n + row * d.state_row, d.state_row
            b.c_previous, b.c_previous_row = b.c, b.c_row
        else:
            b.c, b.c_row = d.cells + token * d.cells_row, d.cells_row
            b.c_previous, b.c_previous_row = d.c0 + row * d.state_row, d.state_row
            if carried:
                b.c_previous = d.cells + before * d.cells_row
                b.c_previous_row = d.cells_row
    return b


cdef void forward_step(Direction *d, const Part *part, long t, long previous) noexcept nogil:
    cdef long s, row, end, carried = shared_rows(d, t, previous)
    cdef const char *a
    cdef long a_row
    cdef Stage *stage
    cdef fs_block b
    for s in range(d.cell.stages):
        stage = &d.cell.forward[s]
        row = part.row_begin
        while row < min(part.row_end, rows_at(d, t)):
            end = min(part.row_end, carried if row < carried else rows_at(d, t))
            b = block_at(d, part, t, row, end - row, previous, row < carried)
            a, a_row = b.h_previous, b.h_previous_row
            if stage.own_slot:
                a, a_row = b.slots + stage.slot * gate_bytes(d), b.slots_row
            multiply_apply(
                d.tiles, &d.stage[s], first_panel(&d.stage[s], part.unit_begin),
                first_panel(&d.stage[s], part.unit_end), (t ^ d.steps_before) & 1, part.tile,
                a, a_row, stage.point, &b,
            )
            row = end
        if part.by_units:
            wait(d, part)


cdef long chunk_end(const Direction *d, long step, long tokens, int sign) noexcept nogil:
    """The step after `step` (walking by `sign`) at which a chunk of that many tokens is full."""
    cdef long count = 0
    while 0 <= step < d.T:
        count += rows_at(d, time_of(d, step))
        step += sign
        if 0 <= step < d.T and count + rows_at(d, time_of(d, step)) > tokens:
            break
    return step


cdef void forward_direction(Direction *d, int index, int parts) noexcept nogil:
    cdef Part part = make_part(d, index, parts)
    cdef long step = 0, end, low, high
    pack_forward(d, &part)
    while step < d.T:
        end = chunk_end(d, step, d.chunk_tokens, 1)
        low = min(time_of(d, step), time_of(d, end - 1))
        high = max(time_of(d, step), time_of(d, end - 1)) + 1
        if d.work != NULL:
            part.work_origin = d.offsets[low]
        project(d, &part, low, high)
        while step < end:
            forward_step(d, &part, time_of(d, step), time_of(d, step - 1))
            step += 1


cdef void copy_final(
    const Direction *d, const char *states, long row_bytes, const char *initial, char *out
) noexcept nogil:
    """Each row's last state; the initial one where there is no token."""
    cdef long step, t, row
    memcpy(out, initial, d.B * d.state_row)
    for step in range(d.T):
        t = time_of(d, step)
        for row in range(shared_rows(d, t, time_of(d, step + 1)), rows_at(d, t)):
            memcpy(out + row * d.state_row, states + (d.offsets[t] + row) * row_bytes, d.state_row)


# --- backward ------------------------------------------------------------------------------------

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
    """Rows of time t from first_row on started there: their gradient is the initial state's."""
    cdef long row = max(first_row, part.row_begin), end = min(part.row_end, rows_at(d, t))
    cdef Stage *stage = &d.cell.backward[0]
    if row < end:
        multiply_store(
            d.tiles, &d.stage[0], first_panel(&d.stage[0], part.unit_begin),
            first_panel(&d.stage[0], part.unit_end), part.tile, end - row,
            d.slots + (d.offsets[t] + row) * d.slots_row + stage.slot * gate_bytes(d), d.slots_row,
            d.tiles.item, NULL, 0, d.dh + row * d.state_row, d.state_row,
            d.tiles.lanes * d.tiles.item, d.cell.carries,
        )


cdef void backward_step(Direction *d, const Part *part, long step) noexcept nogil:
    cdef long t = time_of(d, step), later = time_of(d, step + 1), previous = time_of(d, step - 1)
    cdef long linked = shared_rows(d, t, later), carried = shared_rows(d, t, previous)
    cdef long s, row, end
    cdef const char *a
    cdef Stage *stage
    cdef fs_block b
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
            b = block_at(d, part, t, row, end - row, previous, row < carried)
            b.dy, b.dy_row = d.dy + (d.offsets[t] + row) * d.dy_row, d.dy_row
            b.dh, b.dh_row = d.dh + row * d.state_row, d.state_row
            if d.dc != NULL:
                b.dc, b.dc_row = d.dc + row * d.state_row, d.state_row
            a = NULL
            if stage.own_slot:
                a = b.slots + stage.slot * gate_bytes(d)
            elif row < linked:
                a = d.slots + (d.offsets[later] + row) * d.slots_row + stage.slot * gate_bytes(d)
            multiply_apply(
                d.tiles, &d.stage[s], first_panel(&d.stage[s], part.unit_begin),
                first_panel(&d.stage[s], part.unit_end), t & 1, part.tile, a, d.slots_row,
                stage.point, &b,
            )
            row = end
        if part.by_units:
            wait(d, part)


cdef void input_gradient(Direction *d, const Part *part, long begin, long end) noexcept nogil:
    """dx of the part's share of the tokens begin : end."""
    cdef long n = end - begin
    begin, end = begin + n * part.index // part.parts, begin + n * (part.index + 1) // part.parts
    if begin < end:
        multiply_store(
            d.tiles, &d.input, 0, d.input.count, part.tile, end - begin,
            d.slots + begin * d.slots_row + d.cell.input_slot * gate_bytes(d), d.slots_row,
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


cdef Panels panels_of_tokens(const Direction *d, const Panels *p, long tokens, char *data) noexcept nogil:
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
    pack_panels(d.tiles, &x, 0, x.count, d.x + begin * d.x_row, item, 0, d.x_row, 0, 0, tokens)
    pack_previous_states(d, &h, low, high, begin, end)
    for i in range(d.cell.pieces):
        piece = &d.cell.piece[i]
        if piece.state_slot >= 0:  # every product with the previous states is done by now
            a = d.slots + begin * d.slots_row + piece.state_slot * gate
            pack_panels(d.tiles, &h, 0, h.count, a, item, 0, d.slots_row, 0, 0, tokens)
        columns = piece.slots * d.H
        column = share_of_columns(columns, part.index, part.parts)
        last = share_of_columns(columns, part.index + 1, part.parts)
        while column < last:
            n = min(last - column, d.dz_panels.outputs)
            a = d.slots + begin * d.slots_row + piece.slot * gate + column * item
            dz.outputs = n
            dz.count = (n + dz.span - 1) // dz.span
            pack_panels(d.tiles, &dz, 0, dz.count, a, item, 0, d.slots_row, 0, 0, tokens)
            if piece.row_ih >= 0:
                add_product(d, &x, &dz, part.tile, d.d_weight_ih, piece.row_ih * d.H + column)
            if piece.row_hh >= 0:
                add_product(d, &h, &dz, part.tile, d.d_weight_hh, piece.row_hh * d.H + column)
            add_bias_sums(d, piece, tokens, a, column, n)
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


cdef void add_bias_sums(
    Direction *d, const Piece *piece, long tokens, const char *a, long first, long columns
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
        tokens, columns, a, d.slots_row, hh if ih == NULL else ih, NULL if ih == NULL else hh
    )


cdef void backward_direction(Direction *d, int index, int parts, bint with_dx) noexcept nogil:
    cdef Part part = make_part(d, index, parts)
    cdef long step = d.T - 1, end, low, high
    pack_backward(d, &part)
    while step >= 0:
        end = chunk_end(d, step, d.chunk_tokens, -1)
        low = min(time_of(d, step), time_of(d, end + 1))
        high = max(time_of(d, step), time_of(d, end + 1)) + 1
        while step > end:
            backward_step(d, &part, step)
            step -= 1
        if not part.by_units:
            wait(d, &part)  # the products below need the rows of all parts
        if with_dx:
            input_gradient(d, &part, d.offsets[low], d.offsets[high])
        weight_gradients(d, &part, low, high)
    if d.T > 0:
        release(d, &part, time_of(d, 0), 0)


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
        backward_direction(d, index, parts, d.dx != NULL and layer.directions == 1)
    else:
        forward_direction(d, index, parts)


cdef void whole_input_gradient(Direction *d, int index, int parts) noexcept nogil:
    cdef Part part
    memset(&part, 0, sizeof(part))
    part.index, part.parts = index, parts
    part.tile = d.tile + index * TILE_BYTES
    input_gradient(d, &part, 0, d.offsets[d.T])


cdef void lay_out(Direction *d, bint backward, int parts, Scratch *scratch) noexcept nogil:
    """Place the packed weights and the parts' buffers in scratch memory."""
    cdef long s, vector = d.tiles.lanes * d.tiles.item, token = d.cell.slots * gate_bytes(d)
    cdef Stage *stage
    cdef Scratch unplaced
    unplaced.data, unplaced.used = NULL, 0
    d.tile = take(scratch, parts * TILE_BYTES)
    for s in range(d.cell.stages):
        stage = &d.cell.backward[s] if backward else &d.cell.forward[s]
        d.stage[s] = make_panels(
            d.tiles, stage.gates * d.H if backward else d.H, d.H,
            stage.gates if stage.interleaved else 0, scratch,
        )
    if backward:
        if d.cell.gates == 1:  # an RNN saves no slots: its gradients take scratch memory
            d.slots, d.slots_row = take(scratch, d.offsets[d.T] * gate_bytes(d)), gate_bytes(d)
        # Large weights: longer products, since each reads and writes all their gradients.
        d.chunk_tokens = BACKWARD_TOKENS
        if d.cell.gates * gate_bytes(d) * (d.I + d.H) > GRADIENT_BYTES:
            d.chunk_tokens *= 2
        if d.dx != NULL:
            d.input = make_panels(d.tiles, d.cell.gates * d.H, d.I, 0, scratch)
        d.x_panels = make_panels(d.tiles, d.chunk_tokens, d.I, 0, &unplaced)
        d.h_panels = make_panels(d.tiles, d.chunk_tokens, d.H, 0, &unplaced)
        d.dz_panels = make_panels(
            d.tiles, d.chunk_tokens, PACKED_BYTES // (d.chunk_tokens * d.tiles.item), 0, &unplaced
        )
        d.packed_part = panel_bytes(&d.x_panels) + panel_bytes(&d.h_panels) + panel_bytes(&d.dz_panels)
        d.packed = take(scratch, parts * d.packed_part)
    else:
        d.bias = take(scratch, d.cell.gates * gate_bytes(d))
        d.candidate_bias = take(scratch, gate_bytes(d))
        d.chunk_tokens = max(FORWARD_TOKENS, FORWARD_BYTES // token)
        d.input = make_panels(
            d.tiles, d.I, d.H, d.cell.gates if d.cell.gates > 1 else 0, scratch
        )
        if d.slots == NULL and d.cell.gates > 1:
            d.work_part = max(d.chunk_tokens, d.B) * token
            d.work = take(scratch, parts * d.work_part)


cdef int parts_for(const Layer *layer) noexcept:
    """Threads worth using."""
    cdef const Direction *d = &layer.direction[0]
    cdef double flops = 2.0 * d.offsets[d.T] * d.cell.gates * d.H * (d.I + d.H) * layer.directions
    cdef long useful
    if flops * (3 if layer.backward else 1) < THREAD_FLOPS:
        return 1
    useful = max(d.B // 2, d.H // UNITS_PER_PART, 1) * layer.directions
    return min(_threads, useful)


cdef run_layer(Layer *layer):
    """Take scratch memory, run, give it back."""
    cdef Scratch scratch
    cdef int i, parts = parts_for(layer)
    cdef void *memory = NULL
    cdef size_t bytes
    scratch.data, scratch.used = NULL, 0
    for i in range(layer.directions):
        lay_out(&layer.direction[i], layer.backward, parts, &scratch)
    bytes = scratch.used
    memory = fs_take_scratch(bytes)
    if memory == NULL:
        raise MemoryError(f"no memory for {bytes} bytes of packed weights")
    scratch.data, scratch.used = <char *>memory, 0
    for i in range(layer.directions):
        lay_out(&layer.direction[i], layer.backward, parts, &scratch)
    with nogil:
        fs_run(parts, run_part, layer)
        if not layer.backward:
            for i in range(layer.directions):
                finish_forward(&layer.direction[i])
        fs_give_scratch(memory)


cdef void finish_forward(Direction *d) noexcept nogil:
    copy_final(d, d.y, d.y_row, d.h0, d.h_n)
    if d.cells != NULL:
        copy_final(d, d.cells, d.cells_row, d.c0, d.c_n)


# --- from arrays to pointers ---------------------------------------------------------------------

cdef inline char *data(cnp.ndarray array) noexcept:
    return NULL if array is None else <char *>cnp.PyArray_DATA(array)


cdef inline char *part_of(cnp.ndarray array, long index) noexcept:
    """array[index]."""
    return NULL if array is None else <char *>cnp.PyArray_DATA(array) + index * array.strides[0]


cdef const fs_tiles *tiles_of(cnp.ndarray array) except NULL:
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32:
        return _isa.f32
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT64:
        return _isa.f64
    raise TypeError(f"expected float32 or float64, got {array.dtype}")


cdef set_weights(
    Direction *d, cnp.ndarray weight_ih, cnp.ndarray weight_hh, cnp.ndarray bias_ih,
    cnp.ndarray bias_hh,
):
    d.weight_ih, d.weight_hh = data(weight_ih), data(weight_hh)
    d.bias_ih, d.bias_hh = data(bias_ih), data(bias_hh)


cdef class _Pass:
    """A layer's structs; the caller keeps the arrays they point into."""
    cdef Layer layer

    cdef set_common(self, str cell, option, cnp.ndarray x, cnp.ndarray h0, weights,
                    cnp.ndarray offsets, reverse, cnp.ndarray y):
        cdef const fs_tiles *tiles = tiles_of(x)
        cdef Direction *d
        cdef int i
        self.layer.directions = len(weights)
        for i in range(self.layer.directions):
            d = &self.layer.direction[i]
            d.tiles, d.cell = tiles, describe(cell, option, tiles)
            d.T, d.B, d.I, d.H = offsets.shape[0] - 1, h0.shape[1], x.shape[1], h0.shape[2]
            d.offsets, d.reverse = <const int64_t *>data(offsets), reverse[i]
            d.x, d.x_row = data(x), x.strides[0]
            d.state_row = d.H * tiles.item
            d.h0 = part_of(h0, i)
            d.y, d.y_row = data(y) + i * d.H * tiles.item, y.strides[0]
            weight_ih, weight_hh, bias_ih, bias_hh = weights[i]
            set_weights(d, weight_ih, weight_hh, bias_ih, bias_hh)

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


# --- the kernels of the table ---------------------------------------------------------------------

def rnn_forward(x, h0, weights, offsets, reverse, nonlinearity, y, h_n):
    cdef _Pass p = new_pass("rnn", nonlinearity, x, h0, weights, offsets, reverse, y)
    p.set_final(h_n)
    p.run()


def rnn_backward(dy, x, h0, weights, offsets, reverse, nonlinearity, y, dx, dh, grads):
    cdef _Pass p = new_pass("rnn", nonlinearity, x, h0, weights, offsets, reverse, y)
    p.set_gradients(dy, dx, dh, None, grads)
    p.run()


def lstm_forward(x, h0, c0, weights, offsets, reverse, y, h_n, c_n, gates, cells):
    cdef _Pass p = new_pass("lstm", None, x, h0, weights, offsets, reverse, y)
    p.set_slots(gates)
    p.set_final(h_n)
    p.set_cell_states(c0, cells, c_n)
    p.run()


def lstm_backward(
    dy, x, h0, c0, weights, offsets, reverse, y, gates, cells, dx, dh, dc, grads
):
    cdef _Pass p = new_pass("lstm", None, x, h0, weights, offsets, reverse, y)
    p.set_slots(gates)
    p.set_cell_states(c0, cells, None)
    p.set_gradients(dy, dx, dh, dc, grads)
    p.run()


def gru_forward(x, h0, weights, offsets, reverse, reset_after, y, h_n, gates):
    cdef _Pass p = new_pass("gru", reset_after, x, h0, weights, offsets, reverse, y)
    p.set_slots(gates)
    p.set_final(h_n)
    p.run()


def gru_backward(dy, x, h0, weights, offsets, reverse, reset_after, y, gates, dx, dh, grads):
    cdef _Pass p = new_pass("gru", reset_after, x, h0, weights, offsets, reverse, y)
    p.set_slots(gates)
    p.set_gradients(dy, dx, dh, None, grads)
    p.run()


# --- streaming ------------------------------------------------------------------------------------

cdef struct Stack:       # the layers of a Stepper
    Direction *layer
    long layers


cdef void step_part(int index, int parts, void *argument) noexcept nogil:
    cdef Stack *stack = <Stack *>argument
    cdef Part part
    cdef long i
    for i in range(stack.layers):
        part = make_part(&stack.layer[i], index, parts)
        project(&stack.layer[i], &part, 0, 1)
        forward_step(&stack.layer[i], &part, 0, -1)
        if parts > 1 and not part.by_units:
            wait(&stack.layer[i], &part)


cdef class Stepper:
    """Stacked cells that advance one step a call; see ``reference.Stepper``."""
    cdef Stack stack
    cdef void *memory
    cdef size_t state_bytes
    cdef int parts, kind
    cdef long batch, inputs
    cdef int64_t offsets[2]
    cdef char *next_states
    cdef readonly cnp.ndarray h, c
    cdef cnp.ndarray top, top_row

    def __cinit__(self, str cell, list weights, option, cnp.ndarray h, cnp.ndarray c):
        cdef const fs_tiles *tiles = tiles_of(h)
        cdef Direction *d
        cdef long i
        self.stack.layers = len(weights)
        self.stack.layer = <Direction *>fs_take_scratch(self.stack.layers * sizeof(Direction))
        if self.stack.layer == NULL:
            raise MemoryError("no memory for a stream")
        memset(self.stack.layer, 0, self.stack.layers * sizeof(Direction))
        self.h, self.c = h, c
        self.kind = cnp.PyArray_TYPE(h)
        self.batch, self.inputs = h.shape[1], weights[0][0].shape[1]
        self.offsets[0], self.offsets[1] = 0, self.batch
        self.state_bytes = h.nbytes
        for i in range(self.stack.layers):
            d = &self.stack.layer[i]
            d.tiles, d.cell = tiles, describe(cell, option, tiles)
            weight_ih, weight_hh, bias_ih, bias_hh = weights[i]
            d.T, d.B, d.I, d.H = 1, self.batch, weight_ih.shape[1], h.shape[2]
            d.offsets = self.offsets
            d.x_row = d.I * tiles.item
            d.y_row = d.state_row = d.H * tiles.item
            d.h0 = part_of(h, i)
            d.c0 = d.c_n = part_of(c, i)
            set_weights(d, weight_ih, weight_hh, bias_ih, bias_hh)
        self.pack()
        self.top = h[h.shape[0] - 1]
        self.top.flags.writeable = False
        self.top_row = self.top[0] if self.batch == 1 else None

    cdef pack(self):
        """Pack the weights; with large ones, threads each keep a slice in their own cache."""
        cdef Scratch scratch
        cdef Part whole
        cdef Direction *d
        cdef long i
        cdef int attempt
        scratch.data, scratch.used = NULL, 0
        self.parts = 1
        for attempt in range(2):
            for i in range(self.stack.layers):
                lay_out(&self.stack.layer[i], False, _threads, &scratch)
            self.next_states = take(&scratch, self.state_bytes)
            if attempt == 0:
                self.memory = fs_take_scratch(scratch.used)
                if self.memory == NULL:
                    raise MemoryError(f"no memory for {scratch.used} bytes of packed weights")
                if scratch.used > LARGE_BYTES:
                    self.parts = _threads
                scratch.data, scratch.used = <char *>self.memory, 0
        for i in range(self.stack.layers):
            d = &self.stack.layer[i]
            d.y = self.next_states + i * self.batch * d.state_row
            if i > 0:
                d.x = self.stack.layer[i - 1].y
            whole = make_part(d, 0, 1)
            pack_forward(d, &whole)

    def __dealloc__(self):
        fs_give_scratch(self.memory)
        fs_give_scratch(self.stack.layer)

    def __call__(self, cnp.ndarray x not None):
        cdef bint row = cnp.PyArray_NDIM(x) == 1
        cdef long i
        if (
            cnp.PyArray_TYPE(x) != self.kind
            or not cnp.PyArray_ISCARRAY_RO(x)
            or cnp.PyArray_NDIM(x) > 2
            or cnp.PyArray_SIZE(x) != self.batch * self.inputs
            or cnp.PyArray_DIM(x, 0) != (self.inputs if row else self.batch)
        ):
            raise ValueError("x must be a contiguous array (batch_size, input_size) of the stream's dtype")
        self.stack.layer[0].x = <char *>cnp.PyArray_DATA(x)
        with nogil:
            fs_run(self.parts, step_part, &self.stack)
            for i in range(self.stack.layers):
                self.stack.layer[i].steps_before += 1
            memcpy(<char *>cnp.PyArray_DATA(self.h), self.next_states, self.state_bytes)
        return self.top_row if row else self.top


# --- padded batches ---------------------------------------------------------------------------------

def gather(cnp.ndarray padded, cnp.ndarray order, cnp.ndarray offsets, cnp.ndarray tokens):
    copy_tokens(padded, order, offsets, tokens, False)


def scatter(cnp.ndarray tokens, cnp.ndarray order, cnp.ndarray offsets, cnp.ndarray padded):
    copy_tokens(padded, order, offsets, tokens, True)


cdef copy_tokens(
    cnp.ndarray padded, cnp.ndarray order, cnp.ndarray offsets, cnp.ndarray tokens, bint out
):
    cdef char *outer = data(padded)
    cdef char *packed = data(tokens)
    cdef char *place
    cdef const int64_t *rows = <const int64_t *>data(order)
    cdef const int64_t *begin = <const int64_t *>data(offsets)
    cdef long steps = padded.shape[0], batch = padded.shape[1], running, t, row
    cdef long used = offsets.shape[0] - 1
    cdef long step_bytes = padded.strides[0], row_bytes = padded.strides[1]
    cdef size_t size = padded.shape[2] * cnp.PyArray_ITEMSIZE(padded)
    with nogil:
        for t in range(steps if out else used):
            running = begin[t + 1] - begin[t] if t < used else 0
            for row in range(batch if out else running):
                place = outer + t * step_bytes + rows[row] * row_bytes
                if row >= running:
                    memset(place, 0, size)
                elif out:
                    memcpy(place, packed + (begin[t] + row) * size, size)
                else:
                    memcpy(packed + (begin[t] + row) * size, place, size)


# --- elementwise functions -------------------------------------------------------------------------

def exp(cnp.ndarray x, cnp.ndarray out):
    """out = exp(x), elementwise, for contiguous arrays."""
    tiles_of(x).exp(x.size, data(x), data(out))


def tanh(cnp.ndarray x, cnp.ndarray out):
    """out = tanh(x), elementwise, for contiguous arrays."""
    tiles_of(x).tanh(x.size, data(x), data(out))


def sigmoid(cnp.ndarray x, cnp.ndarray out):
    """out = 1 / (1 + exp(-x)), elementwise, for contiguous arrays."""
    tiles_of(x).sigmoid(x.size, data(x), data(out))
