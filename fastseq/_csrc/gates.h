/* The cells' point functions: what happens to a block of rows x units once its product is in the
 * tile.  A forward function and its backward stand next to each other; the NumPy twin in
 * fastseq/reference.py says the same in a line per equation.
 *
 * Each works on `lanes` units of one row, loaded into local arrays, so that the arithmetic is one
 * loop over a constant number of lanes.  `n` is smaller than LANES at the end of a layer whose
 * size is no multiple of it; the lanes past n compute on zeros and are not stored.
 */

FS_INLINE void FS_NAME(load)(REAL *restrict to, const void *from, long n) {
    if (n == LANES) {
        memcpy(to, from, LANES * sizeof(REAL));
    } else {
        for (long l = 0; l < LANES; l++) to[l] = 0;
        for (long l = 0; l < n; l++) to[l] = ((const REAL *)from)[l];
    }
}

FS_INLINE void FS_NAME(save)(void *to, const REAL *restrict from, long n) {
    if (n == LANES)
        memcpy(to, from, LANES * sizeof(REAL));
    else
        for (long l = 0; l < n; l++) ((REAL *)to)[l] = from[l];
}

#define LOAD FS_NAME(load)
#define SAVE FS_NAME(save)
#define SIGMOID FS_NAME(sigmoid_lane)
#define TANH FS_NAME(tanh_lane)
#define FOR_LANES for (int l = 0; l < LANES; l++)
/* Where row r of the block finds its unit u. */
#define AT(field) (b->field + r * b->field##_row + u * ITEM)

/* Defines `name`: call name_lanes for every LANES units of every row of the block.  `t` is the
 * row's part of the tile; in interleaved panels gate g starts at t + g * LANES. */
#define POINT_FUNCTION(name, vectors_of_units)                                                  \
    static void FS_NAME(name)(const fs_block *b) {                                              \
        const long t_row = b->vectors * FS_VECTOR_BYTES;                                        \
        long at = 0; /* of vector v of the current panel's first row */                         \
        for (long u = 0, v = 0; u < b->units; u += LANES) {                                     \
            const long n = b->units - u;                                                        \
            for (long r = 0; r < b->rows; r++) {                                                \
                const REAL *t = b->tile ? (const REAL *)(b->tile + at + r * t_row) : 0;         \
                if (n >= LANES)                                                                 \
                    FS_NAME(name##_lanes)(b, t, r, u, LANES);                                   \
                else                                                                            \
                    FS_NAME(name##_lanes)(b, t, r, u, n);                                       \
            }                                                                                   \
            at += FS_VECTOR_BYTES;                                                              \
            if (++v == (vectors_of_units)) {                                                    \
                at += b->rows * t_row - v * FS_VECTOR_BYTES;                                    \
                v = 0;                                                                          \
            }                                                                                   \
        }                                                                                       \
    }
#define INTERLEAVED 1
#define PLAIN b->vectors

/* --- RNN: h = activation(z + t) ------------------------------------------------------------ */

#define RNN_FUNCTIONS(name, ACTIVATION, GRADIENT)                                                \
    FS_INLINE void FS_NAME(rnn_##name##_forward_lanes)(const fs_block *b, const REAL *t, long r, \
                                                       long u, long n) {                         \
        REAL z[LANES], h[LANES];                                                                 \
        LOAD(z, AT(z), n);                                                                       \
        FOR_LANES { REAL x = z[l] + t[l]; h[l] = ACTIVATION; }                                   \
        SAVE(AT(h), h, n);                                                                       \
    }                                                                                            \
    FS_INLINE void FS_NAME(rnn_##name##_backward_lanes)(const fs_block *b, const REAL *t,        \
                                                        long r, long u, long n) {                \
        REAL h[LANES], dy[LANES], dh[LANES], dz[LANES];                                          \
        LOAD(h, AT(h), n);                                                                       \
        LOAD(dy, AT(dy), n);                                                                     \
        LOAD(dh, t ? (const char *)t : AT(dh), t ? LANES : n);                                   \
        FOR_LANES { REAL y = h[l], d = dy[l] + dh[l]; dz[l] = GRADIENT; }                        \
        SAVE(AT(slots), dz, n);                                                                  \
    }                                                                                            \
    POINT_FUNCTION(rnn_##name##_forward, PLAIN)                                                  \
    POINT_FUNCTION(rnn_##name##_backward, PLAIN)

RNN_FUNCTIONS(tanh, TANH(x), d * (1 - y * y))
RNN_FUNCTIONS(relu, x < 0 ? 0 : x, y <= 0 ? 0 : d)
RNN_FUNCTIONS(sigmoid, SIGMOID(x), d * (y * (1 - y)))

/* --- LSTM: slots i f g o ------------------------------------------------------------------- */

FS_INLINE void FS_NAME(lstm_forward_lanes)(const fs_block *b, const REAL *t, long r, long u,
                                           long n) {
    REAL i[LANES], f[LANES], g[LANES], o[LANES], c[LANES], h[LANES];
    LOAD(i, AT(z), n);
    LOAD(f, AT(z) + b->z_gate, n);
    LOAD(g, AT(z) + 2 * b->z_gate, n);
    LOAD(o, AT(z) + 3 * b->z_gate, n);
    LOAD(c, AT(c_previous), n);
    FOR_LANES {
        i[l] = SIGMOID(i[l] + t[l]);
        f[l] = SIGMOID(f[l] + t[LANES + l]);
        g[l] = TANH(g[l] + t[2 * LANES + l]);
        o[l] = SIGMOID(o[l] + t[3 * LANES + l]);
        c[l] = f[l] * c[l] + i[l] * g[l];
        h[l] = o[l] * TANH(c[l]);
    }
    SAVE(AT(c), c, n);
    SAVE(AT(h), h, n);
    if (b->slots) {
        SAVE(AT(slots), i, n);
        SAVE(AT(slots) + b->slots_gate, f, n);
        SAVE(AT(slots) + 2 * b->slots_gate, g, n);
        SAVE(AT(slots) + 3 * b->slots_gate, o, n);
    }
}

FS_INLINE void FS_NAME(lstm_backward_lanes)(const fs_block *b, const REAL *t, long r, long u,
                                            long n) {
    REAL i[LANES], f[LANES], g[LANES], o[LANES], c[LANES], c_previous[LANES];
    REAL dy[LANES], dh[LANES], dc[LANES];
    LOAD(i, AT(slots), n);
    LOAD(f, AT(slots) + b->slots_gate, n);
    LOAD(g, AT(slots) + 2 * b->slots_gate, n);
    LOAD(o, AT(slots) + 3 * b->slots_gate, n);
    LOAD(c, AT(c), n);
    LOAD(c_previous, AT(c_previous), n);
    LOAD(dy, AT(dy), n);
    LOAD(dh, t ? (const char *)t : AT(dh), t ? LANES : n);
    LOAD(dc, AT(dc), n);
    FOR_LANES {
        REAL tanh_c = TANH(c[l]), d = dy[l] + dh[l];
        REAL dc_now = dc[l] + d * o[l] * (1 - tanh_c * tanh_c);
        REAL di = dc_now * g[l] * i[l] * (1 - i[l]);
        o[l] = d * tanh_c * o[l] * (1 - o[l]);
        dc[l] = dc_now * f[l];
        f[l] = dc_now * c_previous[l] * f[l] * (1 - f[l]);
        g[l] = dc_now * i[l] * (1 - g[l] * g[l]);
        i[l] = di;
    }
    SAVE(AT(slots), i, n);
    SAVE(AT(slots) + b->slots_gate, f, n);
    SAVE(AT(slots) + 2 * b->slots_gate, g, n);
    SAVE(AT(slots) + 3 * b->slots_gate, o, n);
    SAVE(AT(dc), dc, n);
}

POINT_FUNCTION(lstm_forward, INTERLEAVED)
POINT_FUNCTION(lstm_backward, PLAIN)

/* --- GRU, reset gate after the product: slots hn r z n -------------------------------------- */

FS_INLINE void FS_NAME(gru_forward_lanes)(const fs_block *b, const REAL *t, long r, long u,
                                          long n) {
    REAL reset[LANES], update[LANES], new[LANES], h[LANES], hn[LANES];
    LOAD(reset, AT(z), n);
    LOAD(update, AT(z) + b->z_gate, n);
    LOAD(new, AT(z) + 2 * b->z_gate, n);
    LOAD(h, AT(h_previous), n);
    LOAD(hn, b->bias + u * ITEM, n);
    FOR_LANES {
        reset[l] = SIGMOID(reset[l] + t[l]);
        update[l] = SIGMOID(update[l] + t[LANES + l]);
        hn[l] = hn[l] + t[2 * LANES + l];
        new[l] = TANH(new[l] + reset[l] * hn[l]);
        h[l] = new[l] + update[l] * (h[l] - new[l]);
    }
    SAVE(AT(h), h, n);
    if (b->slots) {
        SAVE(AT(slots), hn, n);
        SAVE(AT(slots) + b->slots_gate, reset, n);
        SAVE(AT(slots) + 2 * b->slots_gate, update, n);
        SAVE(AT(slots) + 3 * b->slots_gate, new, n);
    }
}

/* Slots become dhn dr dz dn; dh keeps the part that flows straight through z. */
FS_INLINE void FS_NAME(gru_backward_lanes)(const fs_block *b, const REAL *t, long r, long u,
                                           long n) {
    REAL hn[LANES], reset[LANES], update[LANES], new[LANES], h_previous[LANES];
    REAL dy[LANES], dh[LANES], product[LANES] = {0};
    LOAD(hn, AT(slots), n);
    LOAD(reset, AT(slots) + b->slots_gate, n);
    LOAD(update, AT(slots) + 2 * b->slots_gate, n);
    LOAD(new, AT(slots) + 3 * b->slots_gate, n);
    LOAD(h_previous, AT(h_previous), n);
    LOAD(dy, AT(dy), n);
    LOAD(dh, AT(dh), n);
    if (t) LOAD(product, t, LANES);
    FOR_LANES {
        REAL d = dy[l] + dh[l] + product[l];
        REAL dn = d * (1 - update[l]) * (1 - new[l] * new[l]);
        dh[l] = d * update[l];
        update[l] = d * (h_previous[l] - new[l]) * update[l] * (1 - update[l]);
        new[l] = dn;
        REAL dhn = dn * reset[l];
        reset[l] = dn * hn[l] * reset[l] * (1 - reset[l]);
        hn[l] = dhn;
    }
    SAVE(AT(slots), hn, n);
    SAVE(AT(slots) + b->slots_gate, reset, n);
    SAVE(AT(slots) + 2 * b->slots_gate, update, n);
    SAVE(AT(slots) + 3 * b->slots_gate, new, n);
    SAVE(AT(dh), dh, n);
}

POINT_FUNCTION(gru_forward, INTERLEAVED)
POINT_FUNCTION(gru_backward, PLAIN)

/* --- GRU, reset gate before the product, two stages: slots rh r z n -------------------------- */

FS_INLINE void FS_NAME(gru_reset_lanes)(const fs_block *b, const REAL *t, long r, long u, long n) {
    REAL reset[LANES], update[LANES], h[LANES];
    LOAD(reset, AT(z), n);
    LOAD(update, AT(z) + b->z_gate, n);
    LOAD(h, AT(h_previous), n);
    FOR_LANES {
        reset[l] = SIGMOID(reset[l] + t[l]);
        update[l] = SIGMOID(update[l] + t[LANES + l]);
        h[l] = reset[l] * h[l];
    }
    SAVE(AT(slots), h, n);
    SAVE(AT(slots) + b->slots_gate, reset, n);
    SAVE(AT(slots) + 2 * b->slots_gate, update, n);
}

FS_INLINE void FS_NAME(gru_candidate_lanes)(const fs_block *b, const REAL *t, long r, long u,
                                            long n) {
    REAL update[LANES], new[LANES], h[LANES], bias[LANES];
    LOAD(update, AT(slots) + 2 * b->slots_gate, n);
    LOAD(new, AT(z) + 2 * b->z_gate, n);
    LOAD(h, AT(h_previous), n);
    LOAD(bias, b->bias + u * ITEM, n);
    FOR_LANES {
        new[l] = TANH(new[l] + (bias[l] + t[l]));
        h[l] = new[l] + update[l] * (h[l] - new[l]);
    }
    SAVE(AT(slots) + 3 * b->slots_gate, new, n);
    SAVE(AT(h), h, n);
}

FS_INLINE void FS_NAME(gru_candidate_backward_lanes)(const fs_block *b, const REAL *t, long r,
                                                     long u, long n) {
    REAL update[LANES], new[LANES], h_previous[LANES], dy[LANES], dh[LANES], product[LANES] = {0};
    LOAD(update, AT(slots) + 2 * b->slots_gate, n);
    LOAD(new, AT(slots) + 3 * b->slots_gate, n);
    LOAD(h_previous, AT(h_previous), n);
    LOAD(dy, AT(dy), n);
    LOAD(dh, AT(dh), n);
    if (t) LOAD(product, t, LANES);
    FOR_LANES {
        REAL d = dy[l] + dh[l] + product[l];
        REAL dn = d * (1 - update[l]) * (1 - new[l] * new[l]);
        dh[l] = d * update[l];
        update[l] = d * (h_previous[l] - new[l]) * update[l] * (1 - update[l]);
        new[l] = dn;
    }
    SAVE(AT(slots) + 2 * b->slots_gate, update, n);
    SAVE(AT(slots) + 3 * b->slots_gate, new, n);
    SAVE(AT(dh), dh, n);
}

FS_INLINE void FS_NAME(gru_reset_backward_lanes)(const fs_block *b, const REAL *t, long r, long u,
                                                 long n) {
    REAL reset[LANES], h_previous[LANES], dh[LANES];
    LOAD(reset, AT(slots) + b->slots_gate, n);
    LOAD(h_previous, AT(h_previous), n);
    LOAD(dh, AT(dh), n);
    FOR_LANES {
        dh[l] += t[l] * reset[l];
        reset[l] = t[l] * h_previous[l] * reset[l] * (1 - reset[l]);
    }
    SAVE(AT(slots) + b->slots_gate, reset, n);
    SAVE(AT(dh), dh, n);
}

POINT_FUNCTION(gru_reset, INTERLEAVED)
POINT_FUNCTION(gru_candidate, PLAIN)
POINT_FUNCTION(gru_candidate_backward, PLAIN)
POINT_FUNCTION(gru_reset_backward, PLAIN)

/* --- whole arrays -------------------------------------------------------------------------- */

#define ARRAY_FUNCTION(name)                                               \
    static void FS_NAME(name##_array)(long n, const char *x, char *y) {    \
        for (long at = 0; at < n; at += LANES) {                           \
            REAL lane[LANES];                                              \
            long m = n - at < LANES ? n - at : LANES;                      \
            LOAD(lane, x + at * ITEM, m);                                  \
            FOR_LANES lane[l] = FS_NAME(name##_lane)(lane[l]);             \
            SAVE(y + at * ITEM, lane, m);                                  \
        }                                                                  \
    }
ARRAY_FUNCTION(exp)
ARRAY_FUNCTION(tanh)
ARRAY_FUNCTION(sigmoid)

#undef LOAD
#undef SAVE
#undef SIGMOID
#undef TANH
#undef FOR_LANES
#undef AT
#undef POINT_FUNCTION
#undef INTERLEAVED
#undef PLAIN
#undef RNN_FUNCTIONS
#undef ARRAY_FUNCTION
