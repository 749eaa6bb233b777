/* Scaled dot-product attention: scores of a block of keys, forward with a running softmax and
 * backward (score_blocks.h). */

FS_INLINE REAL FS_NAME(largest_lane)(VEC v) {
    REAL x[LANES];
    memcpy(x, &v, sizeof x);
    for (long half = LANES / 2; half; half /= 2)
        for (long l = 0; l < half; l++) x[l] = x[l + half] > x[l] ? x[l + half] : x[l];
    return x[0];
}

static void FS_NAME(multiply)(long rows, long vectors, long depth, const char *a, long a_row,
                              long a_k, const char *panel, char *tile) {
    const FS_NAME(tile_fn) *tiles = FS_NAME(row_tiles)[vectors - 1];
    const long blocks = (rows + MAX_ROWS(vectors) - 1) / MAX_ROWS(vectors);
    const long block = rows / blocks, larger = rows % blocks;
    for (long i = 0; i < blocks; i++) {
        const long n = block + (i < larger);
        tiles[n - 1](depth, a, a_row, a_k, panel, 0, tile, 0, 0, 1);
        a += n * a_row;
        tile += n * vectors * FS_VECTOR_BYTES;
    }
}

/* A row's vectors in each of the panels: runs `body` with `x`, the first of `width`, which is
 * vector `first` of the row. */
#define FOR_PANELS(s, row, body)                                                    \
    for (long first = 0; first < (s)->vectors; first += FS_PANEL_VECTORS) {         \
        const long left = (s)->vectors - first;                                     \
        const long width = left < FS_PANEL_VECTORS ? left : FS_PANEL_VECTORS;       \
        const long at = (first * (s)->rows + (row) * width) * FS_VECTOR_BYTES;      \
        VEC *x = (VEC *)((s)->scores + at);                                         \
        body                                                                        \
    }

/* -inf for the keys that a row doesn't see. */
FS_INLINE void FS_NAME(hide)(const fs_score_block *s, long row) {
    const long most = s->seen + row * s->step, seen = most < s->keys ? most : s->keys;
    if (seen >= s->vectors * LANES) return;
    FOR_PANELS(s, row, {
        for (long v = 0; v < width; v++)
            if (seen < (first + v + 1) * LANES)
                for (long l = 0; l < LANES; l++)
                    if ((first + v) * LANES + l >= seen) ((REAL *)(x + v))[l] = -INFINITY;
    })
}

static void FS_NAME(weigh)(const fs_score_block *s) {
    const REAL scale = (REAL)s->scale;
    for (long row = 0; row < s->rows; row++) {
        FS_NAME(hide)(s, row);
        VEC most = -INFINITY - (VEC){0};
        FOR_PANELS(s, row, {
            for (long v = 0; v < width; v++) most = FS_NAME(larger)(most, x[v]);
        })
        const REAL before = ((REAL *)s->top)[row];
        const REAL here = FS_NAME(largest_lane)(most) * scale;
        const REAL top = here > before ? here : before;
        /* As long as there is nothing but -inf, taking it away from itself would give NaN. */
        const REAL shift = top == -INFINITY ? 0 : top;
        const REAL shrink = FS_NAME(exp_vec)(before - shift - (VEC){0})[0];
        VEC sums = ((VEC *)s->sums)[row] * shrink;
        FOR_PANELS(s, row, {
            for (long v = 0; v < width; v++) {
                x[v] = FS_NAME(exp_vec)(x[v] * scale - shift);
                sums += x[v];
            }
        })
        ((VEC *)s->sums)[row] = sums;
        ((REAL *)s->top)[row] = top;
        ((REAL *)s->shrink)[row] = shrink;
    }
}

static void FS_NAME(weigh_back)(const fs_score_block *s) {
    const REAL scale = (REAL)s->scale;
    for (long row = 0; row < s->rows; row++) {
        FS_NAME(hide)(s, row);
        /* In two parts, or rounding would cost a large log_sum's weights some digits. */
        const double log_sum = s->log_sums[row] == -INFINITY ? 0 : s->log_sums[row];
        const REAL high = (REAL)log_sum, low = (REAL)(log_sum - high);
        const REAL delta = ((const REAL *)s->deltas)[row];
        FOR_PANELS(s, row, {
            VEC *d = (VEC *)(s->d + at);
            for (long v = 0; v < width; v++) {
                x[v] = FS_NAME(exp_vec)((x[v] * scale - high) - low);
                d[v] = x[v] * (d[v] - delta) * scale;
            }
        })
    }
}

static void FS_NAME(finish)(long rows, const char *top, const char *sums, double *log_sums,
                            char *reciprocals) {
    for (long row = 0; row < rows; row++) {
        const double sum = FS_NAME(lane_sum)(((const VEC *)sums)[row]);
        log_sums[row] = ((const REAL *)top)[row] + log(sum);
        ((REAL *)reciprocals)[row] = (REAL)(sum == 0 ? 0 : 1 / sum);
    }
}

static void FS_NAME(scale_rows)(long rows, long vectors, char *tile, const char *factors) {
    VEC *x = (VEC *)tile;
    for (long row = 0; row < rows; row++) {
        const REAL factor = ((const REAL *)factors)[row];
        for (long v = 0; v < vectors; v++) *x++ *= factor;
    }
}

static void FS_NAME(row_dots)(long rows, long columns, const char *a, long a_row, const char *b,
                              long b_row, char *out) {
    for (long row = 0; row < rows; row++) {
        const REAL *x = (const REAL *)(a + row * a_row), *y = (const REAL *)(b + row * b_row);
        VEC sums = {0};
        for (long i = 0; i < columns; i += LANES)
            sums += FS_NAME(load_filled)(x + i, columns - i, 0) *
                    FS_NAME(load_filled)(y + i, columns - i, 0);
        ((REAL *)out)[row] = (REAL)FS_NAME(lane_sum)(sums);
    }
}

#undef FOR_PANELS

static const fs_dot_product FS_NAME(dot_product) = {
    FS_NAME(multiply), FS_NAME(weigh),      FS_NAME(weigh_back),
    FS_NAME(finish),   FS_NAME(scale_rows), FS_NAME(row_dots),
};
