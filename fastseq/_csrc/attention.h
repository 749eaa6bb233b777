/* Attention of one query to the positions of its source; see scores.h. */

/* Largest |q| and |k| for which (e^2q e^2k + 1)^2 is finite, with a margin. */
#if FS_DOUBLE
#define LARGEST_EXPONENT 80.0
#else
#define LARGEST_EXPONENT 10.0f
#endif

#define MIN_LANES(left) ((left) < LANES ? (left) : LANES)

/* Half of the lanes is added to the other half, again and again. */
FS_INLINE REAL FS_NAME(sum_of_lanes)(VEC v) {
#if FS_VECTOR_BYTES >= 32 && FS_DOUBLE
#if FS_VECTOR_BYTES == 64
    const __m256d x = _mm512_castpd512_pd256((__m512d)v) + _mm512_extractf64x4_pd((__m512d)v, 1);
#else
    const __m256d x = (__m256d)v;
#endif
    const __m128d y = _mm256_castpd256_pd128(x) + _mm256_extractf128_pd(x, 1);
    return y[0] + y[1];
#elif FS_VECTOR_BYTES >= 32
#if FS_VECTOR_BYTES == 64
    const __m256 x = _mm512_castps512_ps256((__m512)v) + _mm512_extractf32x8_ps((__m512)v, 1);
#else
    const __m256 x = (__m256)v;
#endif
    const __m128 y = _mm256_castps256_ps128(x) + _mm256_extractf128_ps(x, 1);
    const __m128 z = y + _mm_movehl_ps(y, y);
    return z[0] + z[1];
#else
    REAL sum[LANES];
    memcpy(sum, &v, sizeof v);
    for (long half = LANES / 2; half > 0; half /= 2)
        for (long l = 0; l < half; l++) sum[l] += sum[l + half];
    return sum[0];
#endif
}

static int FS_NAME(exp_twice)(long size, const char *x, char *out) {
    IVEC large = {0};
    for (long a = 0; a < size; a += LANES) {
        const VEC each = FS_NAME(load)(x + a * ITEM, MIN_LANES(size - a));
        large |= (IVEC)(each > LARGEST_EXPONENT) | (IVEC)(each < -LARGEST_EXPONENT);
        *(VEC *)(out + a * ITEM) = FS_NAME(exp_vec)(each + each);
    }
    BITS any = 0;
    for (long l = 0; l < LANES; l++) any |= large[l];
    return !any;
}

/* r of a query and two keys. */
FS_INLINE void FS_NAME(two_r)(const int from_sums, VEC q, VEC k0, VEC k1, VEC *r0, VEC *r1) {
    if (from_sums) {
        *r0 = FS_NAME(sigmoid_vec)(-2 * (q + k0));
        *r1 = FS_NAME(sigmoid_vec)(-2 * (q + k1));
    } else { /* two quotients from one division, which takes longer than all the rest */
        const VEC d0 = q * k0 + 1, d1 = q * k1 + 1, inverse = 1 / (d0 * d1);
        *r0 = d1 * inverse;
        *r1 = d0 * inverse;
    }
}

#define LOAD_AT(from, a) \
    (from_sums ? FS_NAME(load)((from) + (a) * ITEM, MIN_LANES(size - (a))) \
               : *(const VEC *)((from) + (a) * ITEM))

FS_INLINE void FS_NAME(scores)(const int from_sums, long positions, long size, const char *q,
                               const char *keys, long keys_row, const char *v, char *out) {
    REAL *scores = (REAL *)out;
    for (long s = 0; s < positions; s += 2, keys += 2 * keys_row) {
        const char *next = s + 1 < positions ? keys + keys_row : keys;
        VEC sum0 = {0}, sum1 = {0}, r0, r1;
        for (long a = 0; a < size; a += LANES) {
            const VEC factor = *(const VEC *)(v + a * ITEM);
            FS_NAME(two_r)(from_sums, LOAD_AT(q, a), LOAD_AT(keys, a), LOAD_AT(next, a), &r0, &r1);
            sum0 += factor * r0;
            sum1 += factor * r1;
        }
        scores[s] = -2 * FS_NAME(sum_of_lanes)(sum0);
        if (s + 1 < positions) scores[s + 1] = -2 * FS_NAME(sum_of_lanes)(sum1);
    }
}

FS_INLINE void FS_NAME(scores_backward)(const int from_sums, long positions, long size,
                                        const char *d, const char *q, const char *keys,
                                        long keys_row, const char *v, char *dq, char *dk,
                                        long dk_row, char *dv) {
    const REAL *gradient = (const REAL *)d;
    for (long a = 0; a < size; a += LANES) {
        const VEC x = LOAD_AT(q, a);
        const char *key = keys;
        char *to = dk + a * ITEM;
        VEC query_sum = {0}, v_sum = *(VEC *)(dv + a * ITEM), r0, r1;
        for (long s = 0; s < positions; s += 2, key += 2 * keys_row, to += 2 * dk_row) {
            const int both = s + 1 < positions;
            const char *next = both ? key + keys_row : key;
            FS_NAME(two_r)(from_sums, x, LOAD_AT(key, a), LOAD_AT(next, a), &r0, &r1);
            const VEC e0 = gradient[s] * r0, e1 = (both ? gradient[s + 1] : 0) * r1;
            const VEC g0 = e0 - e0 * r0, g1 = e1 - e1 * r1;
            query_sum += g0 + g1;
            v_sum += e0 + e1;
            *(VEC *)to += g0;
            if (both) *(VEC *)(to + dk_row) += g1;
        }
        *(VEC *)(dv + a * ITEM) = v_sum;
        SAVE(dq + a * ITEM, 4 * *(const VEC *)(v + a * ITEM) * query_sum, MIN_LANES(size - a));
    }
}
#undef LOAD_AT

#define SCORES(name, from_sums)                                                                \
    static void FS_NAME(scores_##name)(long positions, long size, const char *q,               \
                                       const char *keys, long keys_row, const char *v,         \
                                       char *scores) {                                         \
        FS_NAME(scores)(from_sums, positions, size, q, keys, keys_row, v, scores);             \
    }                                                                                          \
    static void FS_NAME(scores_backward_##name)(                                               \
        long positions, long size, const char *d, const char *q, const char *keys,             \
        long keys_row, const char *v, char *dq, char *dk, long dk_row, char *dv) {             \
        FS_NAME(scores_backward)(from_sums, positions, size, d, q, keys, keys_row, v, dq, dk,  \
                                 dk_row, dv);                                                  \
    }
SCORES(from_exps, 0)
SCORES(from_sums, 1)
#undef SCORES

/* Several queries of a source share what is loaded of it.  Each query's sums are the same with and
 * without others. */
#if FS_MANY_REGISTERS
#define QUERIES 4
#else
#define QUERIES 2
#endif

#define EACH(i, count) _Pragma("GCC unroll 4") for (int i = 0; i < (count); i++)

FS_INLINE void FS_NAME(dots_of)(const int queries, long positions, long size,
                                const char *const *x, const char *rows, long row,
                                char *const *out) {
    for (long s = 0; s < positions; s += 4) {
        const int count = positions - s < 4 ? (int)(positions - s) : 4;
        const char *r[4];
        VEC sum[QUERIES][4];
        EACH(i, 4) r[i] = rows + (i < count ? s + i : s) * row;
        EACH(q, queries) EACH(i, 4) sum[q][i] = (VEC){0};
        for (long a = 0; a < size; a += LANES) {
            const long n = MIN_LANES(size - a);
            VEC each[QUERIES], key[4];
            EACH(q, queries) each[q] = FS_NAME(load)(x[q] + a * ITEM, n);
            EACH(i, 4) key[i] = FS_NAME(load)(r[i] + a * ITEM, n);
            EACH(i, 4) EACH(q, queries) sum[q][i] += each[q] * key[i];
        }
        EACH(q, queries) {
            REAL *to = (REAL *)out[q] + s;
            EACH(i, 4) if (i < count) to[i] = FS_NAME(sum_of_lanes)(sum[q][i]);
        }
    }
}

FS_INLINE void FS_NAME(weighted_sum_of)(const int queries, long positions, long size,
                                        const char *const *w, const char *rows, long row,
                                        char *const *out) {
    long a = 0;
    for (; a + 4 * LANES <= size; a += 4 * LANES) {
        VEC sum[QUERIES][4];
        EACH(q, queries) EACH(i, 4) sum[q][i] = (VEC){0};
        for (long s = 0; s < positions; s++) {
            const VECU *from = (const VECU *)(rows + s * row + a * ITEM);
            EACH(i, 4) {
                const VEC value = from[i];
                EACH(q, queries) sum[q][i] += ((const REAL *)w[q])[s] * value;
            }
        }
        EACH(q, queries) EACH(i, 4) ((VECU *)(out[q] + a * ITEM))[i] = sum[q][i];
    }
    for (; a < size; a += LANES) {
        const long n = MIN_LANES(size - a);
        EACH(q, queries) {
            VEC sum = {0};
            for (long s = 0; s < positions; s++)
                sum += ((const REAL *)w[q])[s] * FS_NAME(load)(rows + s * row + a * ITEM, n);
            SAVE(out[q] + a * ITEM, sum, n);
        }
    }
}

FS_INLINE void FS_NAME(add_outer_of)(const int queries, long positions, long size,
                                     const char *const *w, const char *const *x, char *rows,
                                     long row) {
    for (long s = 0; s < positions; s++, rows += row) {
        long a = 0;
        for (; a + LANES <= size; a += LANES) {
            VEC sum = *(const VECU *)(rows + a * ITEM);
            EACH(q, queries) sum += ((const REAL *)w[q])[s] * *(const VECU *)(x[q] + a * ITEM);
            *(VECU *)(rows + a * ITEM) = sum;
        }
        if (a < size) {
            VEC sum = FS_NAME(load)(rows + a * ITEM, size - a);
            EACH(q, queries)
                sum += ((const REAL *)w[q])[s] * FS_NAME(load)(x[q] + a * ITEM, size - a);
            SAVE(rows + a * ITEM, sum, size - a);
        }
    }
}

/* In groups of QUERIES, then one by one. */
#define IN_GROUPS(name, ...)                                                               \
    for (; queries >= QUERIES; queries -= QUERIES, first += QUERIES, second += QUERIES)    \
        FS_NAME(name##_of)(QUERIES, __VA_ARGS__);                                          \
    for (; queries > 0; queries--, first++, second++) FS_NAME(name##_of)(1, __VA_ARGS__);

static void FS_NAME(dots)(long queries, long positions, long size, const char *const *first,
                          const char *rows, long row, char *const *second) {
    IN_GROUPS(dots, positions, size, first, rows, row, second)
}

static void FS_NAME(weighted_sum)(long queries, long positions, long size,
                                  const char *const *first, const char *rows, long row,
                                  char *const *second) {
    IN_GROUPS(weighted_sum, positions, size, first, rows, row, second)
}

static void FS_NAME(add_outer)(long queries, long positions, long size, const char *const *first,
                               const char *const *second, char *rows, long row) {
    IN_GROUPS(add_outer, positions, size, first, second, rows, row)
}
#undef QUERIES
#undef EACH
#undef IN_GROUPS

static void FS_NAME(add_scaled)(long size, double factor, const char *v, const char *x,
                                char *out) {
    for (long a = 0; a < size; a += LANES) {
        const long n = MIN_LANES(size - a);
        VEC each = (REAL)factor * FS_NAME(load)(x + a * ITEM, n);
        if (v) each *= FS_NAME(load)(v + a * ITEM, n);
        SAVE(out + a * ITEM, FS_NAME(load)(out + a * ITEM, n) + each, n);
    }
}

static void FS_NAME(tanh_backward)(long n, const char *y, char *dy) {
    for (long i = 0; i < n; i += LANES) {
        const long m = MIN_LANES(n - i);
        const VEC out = FS_NAME(load)(y + i * ITEM, m);
        SAVE(dy + i * ITEM, FS_NAME(load)(dy + i * ITEM, m) * (1 - out * out), m);
    }
}

static void FS_NAME(softmax)(long n, char *x) {
    const REAL top = FS_NAME(largest)((const REAL *)x, n);
    VEC sums = {0};
    for (long i = 0; i < n; i += LANES) {
        const VEC each = FS_NAME(load_filled)((const REAL *)x + i, n - i, -INFINITY);
        const VEC e = FS_NAME(exp_vec)(each - top);
        SAVE(x + i * ITEM, e, MIN_LANES(n - i));
        sums += e;
    }
    const VEC sum = FS_NAME(sum_of_lanes)(sums) - (VEC){0};
    for (long i = 0; i < n; i += LANES) {
        const long m = MIN_LANES(n - i);
        SAVE(x + i * ITEM, FS_NAME(load)(x + i * ITEM, m) / sum, m);
    }
}

static void FS_NAME(softmax_backward)(long n, const char *w, char *dw) {
    VEC sums = {0};
    for (long i = 0; i < n; i += LANES) {
        const long m = MIN_LANES(n - i);
        sums += FS_NAME(load)(w + i * ITEM, m) * FS_NAME(load)(dw + i * ITEM, m);
    }
    const VEC sum = FS_NAME(sum_of_lanes)(sums) - (VEC){0};
    for (long i = 0; i < n; i += LANES) {
        const long m = MIN_LANES(n - i);
        char *to = dw + i * ITEM;
        SAVE(to, FS_NAME(load)(w + i * ITEM, m) * (FS_NAME(load)(to, m) - sum), m);
    }
}

static const fs_attention FS_NAME(attention) = {
    FS_NAME(exp_twice),
    {FS_NAME(scores_from_exps), FS_NAME(scores_from_sums)},
    {FS_NAME(scores_backward_from_exps), FS_NAME(scores_backward_from_sums)},
    FS_NAME(dots),
    FS_NAME(weighted_sum),
    FS_NAME(add_outer),
    FS_NAME(add_scaled),
    FS_NAME(tanh_backward),
    FS_NAME(softmax),
    FS_NAME(softmax_backward),
};

#undef LARGEST_EXPONENT
#undef MIN_LANES
