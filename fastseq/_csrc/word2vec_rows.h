/* What word vectors take of one instruction set and one dtype, see word2vec.h.
 * Included by isa.h with REAL, BITS, FS_DOUBLE, FS_NAME and FS_VECTOR_BYTES defined. */

#include "products.h"

/* A tile of products is four rows high: wide enough to hide the latency of the multiply-add, and
 * its sums stay in registers. */
#undef TILE_VECTORS
#undef PAIR_VECTORS
#if FS_MANY_REGISTERS
#define TILE_VECTORS 4
#define PAIR_VECTORS 8
#else
#define TILE_VECTORS 2
#define PAIR_VECTORS 4
#endif

FS_INLINE REAL FS_NAME(sum_lanes)(VEC x) {
    REAL sum[LANES];
    memcpy(sum, &x, sizeof sum);
    for (long half = LANES / 2; half; half /= 2)
        for (long l = 0; l < half; l++) sum[l] += sum[half + l];
    return sum[0];
}

/* out[i] = the sum of x[i]'s lanes, for four of them. */
FS_INLINE void FS_NAME(sum_four)(const VEC *x, REAL *out) {
#if FS_VECTOR_BYTES == 64 && !FS_DOUBLE
    __m256 half[4];
    for (int i = 0; i < 4; i++)
        half[i] = _mm256_add_ps(_mm512_castps512_ps256((__m512)x[i]),
                                _mm512_extractf32x8_ps((__m512)x[i], 1));
#elif FS_VECTOR_BYTES == 32 && !FS_DOUBLE
    __m256 half[4] = {(__m256)x[0], (__m256)x[1], (__m256)x[2], (__m256)x[3]};
#endif
#if FS_VECTOR_BYTES >= 32 && !FS_DOUBLE
    const __m256 quads = _mm256_hadd_ps(_mm256_hadd_ps(half[0], half[1]),
                                        _mm256_hadd_ps(half[2], half[3]));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(quads),
                                  _mm256_extractf128_ps(quads, 1)));
#else
    for (int i = 0; i < 4; i++) out[i] = FS_NAME(sum_lanes)(x[i]);
#endif
}

/* Some rows of x with all of y, four at a time; or, `matched`, each row of x with its own one. */
FS_INLINE void FS_NAME(dot_rows)(const int rows, const int matched, long vectors, long count,
                                 const char *x, const char *const *y, REAL *out, long out_row) {
    const VEC *a = (const VEC *)x;
    const long last = count - 1;
    for (long i = 0; i < count; i += 4) {
        const VEC *b[4], *own[4];
        for (int j = 0; j < 4; j++) {
            const long at = i + j < last ? i + j : last;
            b[j] = (const VEC *)y[at];
            own[j] = a + (matched ? at : 0) * vectors;
        }
        VEC sum[2][4] = {{{0}, {0}, {0}, {0}}, {{0}, {0}, {0}, {0}}};
        for (long v = 0; v < vectors; v++)
            _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++)
                _Pragma("GCC unroll 2") for (int r = 0; r < rows; r++)
                    sum[r][j] += own[j][r * vectors + v] * b[j][v];
        _Pragma("GCC unroll 2") for (int r = 0; r < rows; r++)
            FS_NAME(sum_four)(sum[r], out + r * out_row + i);
    }
}

static void FS_NAME(word_dots)(long vectors, long rows, long count, const char *x,
                               const char *const *y, char *out, long out_row) {
    long r = 0;
    for (; r + 2 <= rows; r += 2)
        FS_NAME(dot_rows)(2, 0, vectors, count, x + r * vectors * FS_VECTOR_BYTES, y,
                          (REAL *)(out + r * out_row), out_row / ITEM);
    if (r < rows)
        FS_NAME(dot_rows)(1, 0, vectors, count, x + r * vectors * FS_VECTOR_BYTES, y,
                          (REAL *)(out + r * out_row), 0);
}

static void FS_NAME(word_row_dots)(long vectors, long count, const char *x, const char *const *y,
                                   char *out) {
    FS_NAME(dot_rows)(1, 1, vectors, count, x, y, (REAL *)out, 0);
}

/* --- pairs ------------------------------------------------------------------------------- */

FS_INLINE void FS_NAME(pair_columns)(const int columns, const int both, long at, long count,
                                     const REAL *errors, const char *x, char *dx,
                                     const char *const *y, char *const *dy) {
    VEC a[PAIR_VECTORS], sum[PAIR_VECTORS];
    _Pragma("GCC unroll 8") for (int v = 0; v < columns; v++) {
        a[v] = ((const VEC *)x)[at + v];
        sum[v] = ((const VEC *)dx)[at + v];
    }
    for (long i = 0; i < count; i++) {
        const VEC *b = (const VEC *)y[i] + at;
        VEC *db = both ? (VEC *)dy[i] + at : 0;
        const VEC error = errors[i] - (VEC){0};
        _Pragma("GCC unroll 8") for (int v = 0; v < columns; v++) {
            sum[v] += error * b[v];
            if (both) db[v] += error * a[v];
        }
    }
    _Pragma("GCC unroll 8") for (int v = 0; v < columns; v++) ((VEC *)dx)[at + v] = sum[v];
}

static void FS_NAME(pairs)(long vectors, long count, const char *errors, const char *x, char *dx,
                           const char *const *y, char *const *dy) {
    const REAL *e = (const REAL *)errors;
    for (long at = 0; at < vectors;) {
        const long left = vectors - at;
#define COLUMNS(n)                                                        \
    case n:                                                               \
        if (dy)                                                           \
            FS_NAME(pair_columns)(n, 1, at, count, e, x, dx, y, dy);      \
        else                                                              \
            FS_NAME(pair_columns)(n, 0, at, count, e, x, dx, y, dy);      \
        break;
        switch (left < PAIR_VECTORS ? left : PAIR_VECTORS) {
            COLUMNS(1)
            COLUMNS(2)
            COLUMNS(3)
            COLUMNS(4)
#if PAIR_VECTORS == 8
            COLUMNS(5)
            COLUMNS(6)
            COLUMNS(7)
            COLUMNS(8)
#endif
        }
#undef COLUMNS
        at += PAIR_VECTORS;
    }
}

/* --- products ---------------------------------------------------------------------------- */

FS_INLINE void FS_NAME(add_tile)(const int rows, const int columns, long at, char *const *out,
                                 const char *errors, long row_step, long k_step, long depth,
                                 const char *const *b) {
    VEC sum[4][4];
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 4") for (int v = 0; v < columns; v++)
            sum[r][v] = ((const VEC *)out[r])[at + v];
    for (long k = 0; k < depth; k++) {
        const VEC *of_b = (const VEC *)b[k] + at;
        const char *e = errors + k * k_step;
        VEC x[4];
        _Pragma("GCC unroll 4") for (int v = 0; v < columns; v++) x[v] = of_b[v];
        _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++) {
            const VEC error = *(const REAL *)(e + r * row_step) - (VEC){0};
            _Pragma("GCC unroll 4") for (int v = 0; v < columns; v++) sum[r][v] += error * x[v];
        }
    }
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 4") for (int v = 0; v < columns; v++)
            ((VEC *)out[r])[at + v] = sum[r][v];
}

FS_INLINE void FS_NAME(add_tiles)(const int rows, long vectors, char *const *out,
                                  const char *errors, long row_step, long k_step, long depth,
                                  const char *const *b) {
    for (long at = 0; at < vectors; at += TILE_VECTORS) {
#define COLUMNS(n)                                                                                \
    case n:                                                                                       \
        FS_NAME(add_tile)(rows, n, at, out, errors, row_step, k_step, depth, b);                  \
        break;
        switch (vectors - at < TILE_VECTORS ? vectors - at : TILE_VECTORS) {
            COLUMNS(1)
            COLUMNS(2)
#if TILE_VECTORS == 4
            COLUMNS(3)
            COLUMNS(4)
#endif
        }
#undef COLUMNS
    }
}

/* Whether one of four rows is another one, too: a tile would lose what it adds first. */
FS_INLINE int FS_NAME(repeats)(char *const *rows) {
    return rows[0] == rows[1] || rows[0] == rows[2] || rows[0] == rows[3] ||
           rows[1] == rows[2] || rows[1] == rows[3] || rows[2] == rows[3];
}

static void FS_NAME(products)(long vectors, long rows, char *const *out, const char *errors,
                              long row_step, long k_step, long depth,
                              const char *const *b) {
    for (long r = 0; r < rows;) {
        const char *e = errors + r * row_step;
        if (r + 4 <= rows && !FS_NAME(repeats)(out + r)) {
            FS_NAME(add_tiles)(4, vectors, out + r, e, row_step, k_step, depth, b);
            r += 4;
        } else {
            FS_NAME(add_tiles)(1, vectors, out + r, e, row_step, k_step, depth, b);
            r += 1;
        }
    }
}

/* --- errors and losses ------------------------------------------------------------------- */

static void FS_NAME(errors)(long n, const char *labels, const char *weights, double rate,
                            char *s) {
    for (long at = 0; at < n * ITEM; at += FS_VECTOR_BYTES) {
        const VEC p = FS_NAME(sigmoid_vec)(*(const VEC *)(s + at));
        VEC error = -*(const VEC *)(weights + at) * p;
        if (labels) error += *(const VEC *)(labels + at);
        *(VEC *)(s + at) = (REAL)rate * error;
    }
}

/* log(1 + exp(x)) = max(x, 0) + log1p(e), e = exp(-|x|); log1p(e) = 2 artanh(e / (2 + e)), whose
 * series converges fast, since the argument is at most 1/3. */
FS_INLINE VEC FS_NAME(softplus)(VEC x) {
    const VEC zero = {0}, positive = FS_NAME(at_least)(0, x);
    const VEC e = FS_NAME(exp_vec)(x - positive - positive);
    const VEC z = e / (2 + e), square = z * z;
    VEC sum = zero;
    for (int k = FS_DOUBLE ? 33 : 13; k > 0; k -= 2) sum = sum * square + (REAL)1 / k;
    return positive + 2 * z * sum;
}

static double FS_NAME(loss)(long n, const char *labels, const char *weights, const char *s) {
    VEC sum = {0};
    for (long i = 0; i < n; i += LANES) {
        VEC x = {0}, w = {0}, l = {0}; /* zeros behind the end add nothing */
        const size_t bytes = (n - i < LANES ? n - i : LANES) * ITEM;
        memcpy(&x, s + i * ITEM, bytes);
        memcpy(&w, weights + i * ITEM, bytes);
        if (labels) memcpy(&l, labels + i * ITEM, bytes);
        sum += w * FS_NAME(softplus)(x) - l * x;
    }
    double total = 0;
    for (int l = 0; l < LANES; l++) total += sum[l];
    return total;
}

/* --- sums over windows ------------------------------------------------------------------- */

static void FS_NAME(running_sums)(long vectors, long count, const char *const *rows, char *sums) {
    VEC *to = (VEC *)sums;
    for (long v = 0; v < vectors; v++) to[v] = (VEC){0};
    for (long i = 0; i < count; i++, to += vectors)
        for (long v = 0; v < vectors; v++) to[vectors + v] = to[v] + ((const VEC *)rows[i])[v];
}

static void FS_NAME(window)(long vectors, const char *begin, const char *end, const char *centre,
                            double scale, char *out) {
    const VEC *b = (const VEC *)begin, *e = (const VEC *)end, *c = (const VEC *)centre;
    for (long v = 0; v < vectors; v++)
        ((VEC *)out)[v] = (REAL)scale * ((e[v] - b[v]) - (c[vectors + v] - c[v]));
}

static void FS_NAME(open_window)(long vectors, double scale, const char *d, char *begin,
                                 char *end) {
    for (long v = 0; v < vectors; v++) {
        const VEC x = (REAL)scale * ((const VEC *)d)[v];
        ((VEC *)begin)[v] += x;
        ((VEC *)end)[v] -= x;
    }
}

static void FS_NAME(add_windows)(long vectors, const char *difference, char *sum, const char *own,
                                 double scale, char *out) {
    for (long v = 0; v < vectors; v++) {
        VEC x = ((VEC *)sum)[v] += ((const VEC *)difference)[v];
        if (own) x -= (REAL)scale * ((const VEC *)own)[v];
        ((VEC *)out)[v] += x;
    }
}

/* --- changes ----------------------------------------------------------------------------- */

static void FS_NAME(add_changes)(long vectors, long count, const fs_change *changes, int part,
                                 int parts) {
    const long ahead = 8; /* rows that are asked for: the block may be over for long */
    for (long i = 0; i < count; i++) {
        if (i + ahead < count)
            for (long at = 0; at < vectors * FS_VECTOR_BYTES; at += 64)
                __builtin_prefetch(changes[i + ahead].row + at, 1, 3);
        if (parts > 1 && changes[i].index % parts != part) continue;
        const VEC scale = (REAL)changes[i].scale - (VEC){0};
        const VEC *x = (const VEC *)changes[i].delta;
        VEC *row = (VEC *)changes[i].row;
        for (long v = 0; v < vectors; v++) row[v] += scale * x[v];
    }
}

static void FS_NAME(exchange)(long vectors, char *copy, char *before, char *row) {
    VEC *c = (VEC *)copy, *b = (VEC *)before, *r = (VEC *)row;
    for (long v = 0; v < vectors; v++) r[v] = c[v] = b[v] = r[v] + (c[v] - b[v]);
}

static const fs_word2vec FS_NAME(table) = {
    sizeof(REAL),          LANES,                  FS_NAME(pack),        FS_NAME(product),
    FS_NAME(word_dots),    FS_NAME(word_row_dots), FS_NAME(pairs),       FS_NAME(products),
    FS_NAME(errors),       FS_NAME(loss),          FS_NAME(running_sums), FS_NAME(window),
    FS_NAME(open_window),  FS_NAME(add_windows),   FS_NAME(add_changes), FS_NAME(exchange),
};
