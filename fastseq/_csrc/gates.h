/* The cells' point functions: what happens to a block of rows x units once its product is in the
 * tile.  A forward function and its backward stand next to each other; the NumPy twin in
 * fastseq/reference.py says the same in a line per equation.
 *
 * Each works on a vector of units of one row.  `n` is smaller than LANES at the end of a layer
 * whose size is no multiple of it; the lanes past n compute on zeros and are not stored.
 */

#undef SAVE
#define SAVE FS_NAME(save)
#define SIGMOID FS_NAME(sigmoid_vec)
#define TANH FS_NAME(tanh_vec)
/* Where row r of the block finds its unit u, and what is there. */
#define AT(field) (b->field + r * b->field##_row + u * ITEM)
#define LOAD(field) FS_NAME(load)(AT(field), n)
#define Z(gate) FS_NAME(load)(AT(z) + (gate) * b->z_gate, n)
#define SLOT(slot) FS_NAME(load)(AT(slots) + (slot) * b->slots_gate, n)
#define SAVE_SLOT(slot, x) SAVE(AT(slots) + (slot) * b->slots_gate, x, n)
/* A gate's part of the tile, in interleaved panels: the last one's gates lie side by side. */
#define T(gate) FS_NAME(load)((char *)t + (gate) * n * ITEM, n)
#define SAVE_T(gate, x) SAVE((char *)t + (gate) * n * ITEM, x, n)
/* Ask for what the next step is going to need.  While this one computes it comes from memory; left
 * to itself the processor does not guess it, above all not on the way back through time. */
#define NEXT(field, offset, writes) \
    __builtin_prefetch(AT(field) + (offset) + b->next * b->field##_row, writes, 2)
#define NEXT_READ(field) NEXT(field, 0, 0)
#define NEXT_WRITTEN(field) NEXT(field, 0, 1)
#define NEXT_SLOTS(count) \
    for (long slot = 0; slot < (count); slot++) NEXT(slots, slot * b->slots_gate, 1)
/* ... and for what a row that comes soon needs: written ahead of the walk, it may have left the
 * cache. */
#define SOON(field, gates)                                                             \
    for (long gate = 0; b->soon && gate < (gates); gate++)                             \
        __builtin_prefetch(AT(field) + b->soon + gate * b->field##_gate, 0, 3)
#define POINT(name) \
    FS_INLINE void FS_NAME(name##_vec)(const fs_block *b, VEC *t, long r, long u, long n)

/* Call name_vec for a vector of every row of the block.  `t` is the row's part of the tile, NULL
 * without a product. */
#define EACH_ROW_OF(name, n)                                      \
    for (long r = 0; r < b->rows; r++) {                          \
        VEC *t = b->tile ? (VEC *)(b->tile + at + r * t_row) : 0; \
        FS_NAME(name##_vec)(b, t, r, u, n);                       \
    }
#define EACH_ROW(name)                 \
    if (n >= LANES) {                  \
        EACH_ROW_OF(name, LANES)       \
    } else {                           \
        EACH_ROW_OF(name, n)           \
    }

/* Defines `name`: the loops over rows for all vectors of the block, one after the other. */
#define WALK(name, vectors_of_units, ...)                                           \
    static void FS_NAME(name)(const fs_block *shared) {                             \
        const fs_block own = *shared, *const b = &own;                              \
        const long t_row = b->vectors * FS_VECTOR_BYTES;                            \
        long at = 0; /* of vector v of the current panel's first row */             \
        for (long u = 0, v = 0; u < b->units; u += LANES) {                         \
            const long n = b->units - u;                                            \
            __VA_ARGS__                                                             \
            at += FS_VECTOR_BYTES;                                                  \
            if (++v == (vectors_of_units)) {                                        \
                at += b->rows * t_row - v * FS_VECTOR_BYTES;                        \
                v = 0;                                                              \
            }                                                                       \
        }                                                                           \
    }
#define POINT_FUNCTION(name, vectors_of_units) WALK(name, vectors_of_units, EACH_ROW(name))
/* In two stages, of which the first leaves what the second needs in the tile.  A gate, the cell and
 * its tanh in one go are a chain so long that the processor sees no other row's beside it. */
#define TWO_STAGES(name, first, second) WALK(name, INTERLEAVED, EACH_ROW(first) EACH_ROW(second))
#define INTERLEAVED 1
#define PLAIN b->vectors

/* --- RNN: h = activation(z + t) ------------------------------------------------------------ */

#define RNN_FUNCTIONS(name, ACTIVATION, GRADIENT)                 \
    POINT(rnn_##name##_forward) {                                 \
        NEXT_WRITTEN(h);                                          \
        const VEC x = Z(0) + t[0];                                \
        SAVE(AT(h), ACTIVATION, n);                               \
    }                                                             \
    POINT(rnn_##name##_backward) {                                \
        NEXT_READ(h);                                             \
        NEXT_READ(dy);                                            \
        const VEC y = LOAD(h), d = LOAD(dy) + (t ? t[0] : LOAD(dh)); \
        SAVE_SLOT(0, GRADIENT);                                   \
    }                                                             \
    POINT_FUNCTION(rnn_##name##_forward, PLAIN)                   \
    POINT_FUNCTION(rnn_##name##_backward, PLAIN)

RNN_FUNCTIONS(tanh, TANH(x), d *(1 - y * y))
RNN_FUNCTIONS(relu, FS_NAME(at_least)(0, x), (VEC)((IVEC)d & ~(y <= 0)))
RNN_FUNCTIONS(sigmoid, SIGMOID(x), d *(y * (1 - y)))

/* --- LSTM: slots i f g o ------------------------------------------------------------------- */

POINT(lstm_gates) {
    NEXT_WRITTEN(h);
    SOON(z, 4);
    const VEC i = SIGMOID(Z(0) + T(0));
    const VEC f = SIGMOID(Z(1) + T(1));
    const VEC g = TANH(Z(2) + T(2));
    const VEC o = SIGMOID(Z(3) + T(3));
    const VEC c = f * LOAD(c_previous) + i * g;
    SAVE(AT(c), c, n);
    SAVE_T(0, c);
    SAVE_T(3, o);
    if (b->slots) {
        NEXT_SLOTS(4);
        NEXT_WRITTEN(c);
        SAVE_SLOT(0, i);
        SAVE_SLOT(1, f);
        SAVE_SLOT(2, g);
        SAVE_SLOT(3, o);
    }
}

POINT(lstm_output) { SAVE(AT(h), T(3) * TANH(T(0)), n); }

POINT(lstm_backward) {
    NEXT_SLOTS(4);
    NEXT_READ(c_previous);
    NEXT_READ(dy);
    SOON(slots, 4);
    const VEC i = SLOT(0), f = SLOT(1), g = SLOT(2), o = SLOT(3);
    const VEC tanh_c = TANH(LOAD(c)), d = LOAD(dy) + (t ? t[0] : LOAD(dh));
    const VEC dc = LOAD(dc) + d * o * (1 - tanh_c * tanh_c);
    SAVE_SLOT(0, dc * g * i * (1 - i));
    SAVE_SLOT(1, dc * LOAD(c_previous) * f * (1 - f));
    SAVE_SLOT(2, dc * i * (1 - g * g));
    SAVE_SLOT(3, d * tanh_c * o * (1 - o));
    SAVE(AT(dc), dc * f, n);
}

TWO_STAGES(lstm_forward, lstm_gates, lstm_output)
POINT_FUNCTION(lstm_backward, PLAIN)

/* --- GRU, reset gate after the product: slots hn r z n -------------------------------------- */

POINT(gru_gates) {
    NEXT_WRITTEN(h);
    SOON(z, 3);
    const VEC reset = SIGMOID(Z(0) + T(0));
    const VEC update = SIGMOID(Z(1) + T(1));
    const VEC hn = FS_NAME(load)(b->bias + u * ITEM, n) + T(2);
    SAVE_T(2, Z(2) + reset * hn);
    SAVE_T(1, update);
    if (b->slots) {
        NEXT_SLOTS(4);
        SAVE_SLOT(0, hn);
        SAVE_SLOT(1, reset);
        SAVE_SLOT(2, update);
    }
}

POINT(gru_output) {
    const VEC new = TANH(T(2));
    SAVE(AT(h), new + T(1) * (LOAD(h_previous) - new), n);
    if (b->slots) SAVE_SLOT(3, new);
}

/* Slots become dhn dr dz dn; dh keeps the part that flows straight through z. */
POINT(gru_backward) {
    NEXT_SLOTS(4);
    SOON(slots, 4);
    NEXT_READ(h_previous);
    NEXT_READ(dy);
    const VEC hn = SLOT(0), reset = SLOT(1), update = SLOT(2), new = SLOT(3);
    const VEC d = LOAD(dy) + LOAD(dh) + (t ? t[0] : (VEC){0});
    const VEC dn = d * (1 - update) * (1 - new * new);
    SAVE_SLOT(0, dn * reset);
    SAVE_SLOT(1, dn * hn * reset * (1 - reset));
    SAVE_SLOT(2, d * (LOAD(h_previous) - new) * update * (1 - update));
    SAVE_SLOT(3, dn);
    SAVE(AT(dh), d * update, n);
}

TWO_STAGES(gru_forward, gru_gates, gru_output)
POINT_FUNCTION(gru_backward, PLAIN)

/* --- GRU, reset gate before the product, two stages: slots rh r z n -------------------------- */

POINT(gru_reset) {
    NEXT_SLOTS(4);
    const VEC reset = SIGMOID(Z(0) + T(0));
    SAVE_SLOT(0, reset * LOAD(h_previous));
    SAVE_SLOT(1, reset);
    SAVE_SLOT(2, SIGMOID(Z(1) + T(1)));
}

POINT(gru_candidate) {
    NEXT_WRITTEN(h);
    const VEC new = TANH(Z(2) + (FS_NAME(load)(b->bias + u * ITEM, n) + t[0]));
    SAVE_SLOT(3, new);
    SAVE(AT(h), new + SLOT(2) * (LOAD(h_previous) - new), n);
}

POINT(gru_candidate_backward) {
    NEXT_SLOTS(4);
    NEXT_READ(h_previous);
    NEXT_READ(dy);
    const VEC update = SLOT(2), new = SLOT(3);
    const VEC d = LOAD(dy) + LOAD(dh) + (t ? t[0] : (VEC){0});
    SAVE_SLOT(2, d * (LOAD(h_previous) - new) * update * (1 - update));
    SAVE_SLOT(3, d * (1 - update) * (1 - new * new));
    SAVE(AT(dh), d * update, n);
}

POINT(gru_reset_backward) {
    const VEC reset = SLOT(1);
    SAVE(AT(dh), LOAD(dh) + t[0] * reset, n);
    SAVE_SLOT(1, t[0] * LOAD(h_previous) * reset * (1 - reset));
}

POINT_FUNCTION(gru_reset, INTERLEAVED)
POINT_FUNCTION(gru_candidate, PLAIN)
POINT_FUNCTION(gru_candidate_backward, PLAIN)
POINT_FUNCTION(gru_reset_backward, PLAIN)

/* --- whole arrays -------------------------------------------------------------------------- */

#define ARRAY_FUNCTION(name)                                            \
    static void FS_NAME(name##_array)(long size, const char *x, char *y) { \
        long n = LANES;                                                 \
        for (; size > 0; size -= n, x += n * ITEM, y += n * ITEM) {     \
            if (size < n) n = size;                                     \
            SAVE(y, FS_NAME(name##_vec)(FS_NAME(load)(x, n)), n);       \
        }                                                               \
    }
ARRAY_FUNCTION(exp)
ARRAY_FUNCTION(tanh)
ARRAY_FUNCTION(sigmoid)

#undef SIGMOID
#undef TANH
#undef AT
#undef LOAD
#undef Z
#undef SLOT
#undef SAVE_SLOT
#undef T
#undef SAVE_T
#undef NEXT
#undef NEXT_READ
#undef NEXT_WRITTEN
#undef NEXT_SLOTS
#undef SOON
#undef POINT
#undef EACH_ROW_OF
#undef EACH_ROW
#undef WALK
#undef POINT_FUNCTION
#undef TWO_STAGES
#undef INTERLEAVED
#undef PLAIN
#undef RNN_FUNCTIONS
#undef ARRAY_FUNCTION
