/* Packing weights into panels: see panels.h. */

/* --- lanes x lanes numbers, transposed in registers ----------------------------------------
 *
 * A vector has Q quarters (or halves, or is one) of 16 bytes, W numbers each.  Shuffles within
 * them are the cheap ones: first W x W numbers are transposed there, then Q x Q quarters change
 * places. */

#if defined(__clang__) || __GNUC__ >= 12
#define HAVE_SHUFFLES 1
#else
#define HAVE_SHUFFLES 0
#endif

#define LONG_ROW 1024 /* bytes */

#if HAVE_SHUFFLES
#undef PAIR
#undef W
#undef Q
#define W (16 / ITEM)
#define Q (FS_VECTOR_BYTES / 16)
#define PAIR FS_NAME(pair)

typedef double PAIR __attribute__((vector_size(FS_VECTOR_BYTES), may_alias));

/* Of each quarter of two vectors the first or the second half, in turn by numbers, or `_8` by 8
 * bytes; and the quarters of two vectors that have an even or an odd place. */
#define SHUFFLE(a, b, ...) (VEC) __builtin_shufflevector(a, b, __VA_ARGS__)
#define SHUFFLE_8(a, b, ...) SHUFFLE((PAIR)(a), (PAIR)(b), __VA_ARGS__)
#undef FIRST
#undef SECOND
#undef FIRST_8
#undef SECOND_8
#undef EVEN
#undef ODD
#if FS_VECTOR_BYTES == 64
#define FIRST(a, b) SHUFFLE(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define SECOND(a, b) SHUFFLE(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define FIRST_8(a, b) SHUFFLE_8(a, b, 0, 8, 2, 10, 4, 12, 6, 14)
#define SECOND_8(a, b) SHUFFLE_8(a, b, 1, 9, 3, 11, 5, 13, 7, 15)
#define EVEN(a, b) SHUFFLE_8(a, b, 0, 1, 4, 5, 8, 9, 12, 13)
#define ODD(a, b) SHUFFLE_8(a, b, 2, 3, 6, 7, 10, 11, 14, 15)
#elif FS_VECTOR_BYTES == 32
#define FIRST(a, b) SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define SECOND(a, b) SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define FIRST_8(a, b) SHUFFLE_8(a, b, 0, 4, 2, 6)
#define SECOND_8(a, b) SHUFFLE_8(a, b, 1, 5, 3, 7)
#define EVEN(a, b) SHUFFLE_8(a, b, 0, 1, 4, 5)
#define ODD(a, b) SHUFFLE_8(a, b, 2, 3, 6, 7)
#else
#define FIRST(a, b) SHUFFLE(a, b, 0, 4, 1, 5)
#define SECOND(a, b) SHUFFLE(a, b, 2, 6, 3, 7)
#define FIRST_8(a, b) SHUFFLE_8(a, b, 0, 2)
#define SECOND_8(a, b) SHUFFLE_8(a, b, 1, 3)
#define EVEN(a, b) (a) /* no vector has two: never used */
#define ODD(a, b) (b)
#endif

FS_INLINE void FS_NAME(transpose)(VEC *rows) {
    VEC next[LANES];
#if FS_DOUBLE
    for (int i = 0; i < LANES; i++) next[i] = rows[i];
#else
    for (int i = 0; i < LANES; i += 4)
        for (int j = 0; j < 2; j++) {
            next[i + j] = j ? SECOND(rows[i], rows[i + 1]) : FIRST(rows[i], rows[i + 1]);
            next[i + j + 2] =
                j ? SECOND(rows[i + 2], rows[i + 3]) : FIRST(rows[i + 2], rows[i + 3]);
        }
#endif
    for (int i = 0; i < LANES; i += W)
        for (int j = 0; j < W / 2; j++) {
            VEC a = next[i + j], b = next[i + j + W / 2];
            rows[i + 2 * j] = FIRST_8(a, b);
            rows[i + 2 * j + 1] = SECOND_8(a, b);
        }
    for (int round = 1; round < Q; round *= 2) {
        for (int i = 0; i < Q / 2; i++)
            for (int j = 0; j < W; j++) {
                VEC a = rows[2 * i * W + j], b = rows[(2 * i + 1) * W + j];
                next[i * W + j] = EVEN(a, b);
                next[(i + Q / 2) * W + j] = ODD(a, b);
            }
        for (int i = 0; i < LANES; i++) rows[i] = next[i];
    }
}

/* `depth` numbers of n rows, LANES at a time. */
FS_INLINE void FS_NAME(pack_rows)(const long n, const char *src, long depth, long lane_stride,
                                  char *dst, long dst_stride) {
    /* Weights with rows this long are often beyond the second cache: ask for the rows and the
     * panel that come next. */
    const int ahead = lane_stride >= LONG_ROW;
    for (long k = 0; k < depth; k += LANES) {
        const long left = depth - k;
        VEC rows[LANES];
        for (long l = 0; l < LANES; l++)
            rows[l] = l < n ? FS_NAME(load)(src + l * lane_stride + k * ITEM, left) : (VEC){0};
        for (long l = 0; ahead && l < LANES; l++) {
            __builtin_prefetch(src + (l + LANES) * lane_stride + k * ITEM, 0, 2);
            __builtin_prefetch(dst + (k + l + depth) * dst_stride, 1, 2);
        }
        FS_NAME(transpose)(rows);
        for (long l = 0; l < LANES && l < left; l++)
            FS_NAME(save)(dst + (k + l) * dst_stride, rows[l], n);
    }
}
#endif

/* --- packing ----------------------------------------------------------------------------- */

/* Rows of n numbers: vectors, of which the last one may not be whole. */
FS_INLINE void FS_NAME(copy_rows)(const long n, const char *src, long depth, long k_stride,
                                  char *dst, long dst_stride) {
    for (long k = 0; k < depth; k++)
        for (long i = 0; i < n; i += LANES) {
            const char *from = src + k * k_stride + i * ITEM;
            FS_NAME(save)(dst + k * dst_stride + i * ITEM, FS_NAME(load)(from, n - i), n - i);
        }
}

static void FS_NAME(pack)(const char *src, long n, long depth, long lane_stride, long k_stride,
                          char *dst, long dst_stride) {
    if (lane_stride == ITEM) {
        if (n == FS_PANEL_VECTORS * LANES)
            FS_NAME(copy_rows)(FS_PANEL_VECTORS * LANES, src, depth, k_stride, dst, dst_stride);
        else
            FS_NAME(copy_rows)(n, src, depth, k_stride, dst, dst_stride);
        return;
    }
#if HAVE_SHUFFLES
    if (k_stride == ITEM) {
        if (n == LANES)
            FS_NAME(pack_rows)(LANES, src, depth, lane_stride, dst, dst_stride);
        else
            FS_NAME(pack_rows)(n, src, depth, lane_stride, dst, dst_stride);
        return;
    }
#endif
    for (long k = 0; k < depth; k++) {
        REAL *out = (REAL *)(dst + k * dst_stride);
        for (long l = 0; l < n; l++) out[l] = *(const REAL *)(src + l * lane_stride + k * k_stride);
    }
}
