/* The tile functions of one instruction set and one dtype.
 * Included by isa.h with REAL, BITS, FS_DOUBLE, FS_NAME and FS_VECTOR_BYTES defined. */

#include "products.h"

/* --- what becomes of a tile -------------------------------------------------------------- */

/* Whole vectors: nothing to decide inside the loops. */
FS_INLINE void FS_NAME(store_full)(long rows, const int vectors, const char *tile,
                                   const char *bias, long bias_vector, char *dst, long dst_row,
                                   long dst_vector, const int accumulate) {
    VEC b[FS_PANEL_VECTORS];
    for (int v = 0; v < vectors; v++)
        b[v] = bias ? *(const VECU *)(bias + v * bias_vector) : (VEC){0};
    for (long r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) {
            VEC x = ((const VEC *)tile)[r * vectors + v];
            VECU *to = (VECU *)(dst + r * dst_row + v * dst_vector);
            if (bias) x += b[v];
            if (accumulate) x += *to;
            *to = x;
        }
}

FS_INLINE void FS_NAME(store_partial)(long rows, long vectors, long units, long unit_step,
                                      const char *tile, const char *bias, long bias_vector,
                                      char *dst, long dst_row, long dst_vector, int accumulate) {
    /* Interleaved: the gates of the last units lie side by side. */
    const long step = unit_step ? FS_VECTOR_BYTES : units * ITEM;
    const long tile_vectors = (vectors * step + FS_VECTOR_BYTES - 1) / FS_VECTOR_BYTES;
    const long tile_row = tile_vectors * FS_VECTOR_BYTES;
    for (long r = 0; r < rows; r++)
        for (long v = 0; v < vectors; v++) {
            const long n = units - v * unit_step;
            VEC x = FS_NAME(load)(tile + r * tile_row + v * step, n);
            char *to = dst + r * dst_row + v * dst_vector;
            if (bias) x += FS_NAME(load)(bias + v * bias_vector, n);
            if (accumulate) x += FS_NAME(load)(to, n);
            FS_NAME(save)(to, x, n);
        }
}

static void FS_NAME(store)(long rows, long vectors, long units, long unit_step, const char *tile,
                           const char *bias, long bias_vector, char *dst, long dst_row,
                           long dst_vector, int accumulate) {
#define STORE_FULL(v)                                                                          \
    if (accumulate)                                                                            \
        FS_NAME(store_full)(rows, v, tile, bias, bias_vector, dst, dst_row, dst_vector, 1);    \
    else                                                                                       \
        FS_NAME(store_full)(rows, v, tile, bias, bias_vector, dst, dst_row, dst_vector, 0);    \
    return
    if (units - (vectors - 1) * unit_step >= LANES) switch (vectors) {
        case 1: STORE_FULL(1);
        case 2: STORE_FULL(2);
        case 3: STORE_FULL(3);
        default: STORE_FULL(4);
    }
#undef STORE_FULL
    FS_NAME(store_partial)(rows, vectors, units, unit_step, tile, bias, bias_vector, dst, dst_row,
                           dst_vector, accumulate);
}

/* The rows of some columns that lie side by side: one sum a lane, row after row. */
FS_INLINE void FS_NAME(sum_vectors)(const int vectors, long rows, const char *a, long a_row,
                                    char *out, char *out2) {
    VEC sum[8];
    for (int v = 0; v < vectors; v++) sum[v] = (VEC){0};
    for (long r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[v] += ((const VECU *)(a + r * a_row))[v];
    for (int v = 0; v < vectors; v++) {
        ((VECU *)out)[v] += sum[v];
        if (out2) ((VECU *)out2)[v] += sum[v];
    }
}

static void FS_NAME(column_sums)(long rows, long columns, const char *a, long a_row, char *out,
                                 char *out2) {
    long c = 0;
    /* Many at a time: each line of a row is fetched once, and long rows meet in the same sets of
     * the cache. */
    for (; c + 8 * LANES <= columns; c += 8 * LANES)
        FS_NAME(sum_vectors)(8, rows, a + c * ITEM, a_row, out + c * ITEM,
                             out2 ? out2 + c * ITEM : 0);
    for (; c + LANES <= columns; c += LANES)
        FS_NAME(sum_vectors)(1, rows, a + c * ITEM, a_row, out + c * ITEM,
                             out2 ? out2 + c * ITEM : 0);
    if (c < columns) {
        const long n = columns - c;
        VEC sum = {0};
        for (long r = 0; r < rows; r++) sum += FS_NAME(load)(a + r * a_row + c * ITEM, n);
        for (int i = 0; i < 2; i++) {
            char *to = i ? out2 : out;
            if (to) FS_NAME(save)(to + c * ITEM, FS_NAME(load)(to + c * ITEM, n) + sum, n);
        }
    }
}

#include "gates.h"
#include "losses.h"
#include "attention.h"
#include "optimizers.h"
#include "dot_product.h"

static const fs_tiles FS_NAME(table) = {
    sizeof(REAL),
    LANES,
    FS_NAME(pack),
    FS_NAME(product),
    FS_NAME(store),
    FS_NAME(column_sums),
    {FS_NAME(rnn_tanh_forward), FS_NAME(rnn_relu_forward), FS_NAME(rnn_sigmoid_forward)},
    {FS_NAME(rnn_tanh_backward), FS_NAME(rnn_relu_backward), FS_NAME(rnn_sigmoid_backward)},
    FS_NAME(lstm_forward),
    FS_NAME(lstm_backward),
    FS_NAME(gru_forward),
    FS_NAME(gru_backward),
    FS_NAME(gru_reset),
    FS_NAME(gru_candidate),
    FS_NAME(gru_candidate_backward),
    FS_NAME(gru_reset_backward),
    FS_NAME(exp_array),
    FS_NAME(tanh_array),
    FS_NAME(sigmoid_array),
    FS_NAME(softmax_sums),
    FS_NAME(softmax_gradient),
    &FS_NAME(optimizers),
    &FS_NAME(attention),
    &FS_NAME(dot_product),
};
