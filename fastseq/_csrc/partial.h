/* Vectors of which only the first n numbers are there; from n = LANES on all of them are.  What
 * lies past those is neither read nor written.
 *
 * With masks where there are any: from loops over numbers compilers make calls of memcpy, and keep
 * no constant in a register across them.  The address sanitizer sees what loops touch, not what
 * masked instructions do. */

#undef MASK
#undef LOAD_FIRST
#undef SAVE_FIRST
#if defined(__SANITIZE_ADDRESS__)
#elif FS_VECTOR_BYTES == 64
#define MASK(n) (uint16_t)((1u << (n)) - 1)
#if FS_DOUBLE
#define LOAD_FIRST(from, n, x) (VEC) _mm512_mask_loadu_pd((__m512d)(x), MASK(n), from)
#define SAVE_FIRST(to, n, x) _mm512_mask_storeu_pd(to, MASK(n), (__m512d)(x))
#else
#define LOAD_FIRST(from, n, x) (VEC) _mm512_mask_loadu_ps((__m512)(x), MASK(n), from)
#define SAVE_FIRST(to, n, x) _mm512_mask_storeu_ps(to, MASK(n), (__m512)(x))
#endif
#elif FS_VECTOR_BYTES == 32
FS_INLINE __m256i FS_NAME(mask)(long n) {
    IVEC lanes;
    for (int l = 0; l < LANES; l++) lanes[l] = (BITS)l;
    return (__m256i)(lanes < (BITS)n);
}
#define MASK(n) FS_NAME(mask)(n)
#if FS_DOUBLE
#define LOAD_FIRST(from, n, x) \
    (VEC) _mm256_blendv_pd((__m256d)(x), _mm256_maskload_pd(from, MASK(n)), (__m256d)MASK(n))
#define SAVE_FIRST(to, n, x) _mm256_maskstore_pd(to, MASK(n), (__m256d)(x))
#else
#define LOAD_FIRST(from, n, x) \
    (VEC) _mm256_blendv_ps((__m256)(x), _mm256_maskload_ps(from, MASK(n)), (__m256)MASK(n))
#define SAVE_FIRST(to, n, x) _mm256_maskstore_ps(to, MASK(n), (__m256)(x))
#endif
#endif

/* The lanes past n hold `filling`. */
FS_INLINE VEC FS_NAME(load_filled)(const void *from, long n, REAL filling) {
    if (n >= LANES) return *(const VECU *)from;
    VEC x = filling - (VEC){0};
#ifdef LOAD_FIRST
    x = LOAD_FIRST((const REAL *)from, n, x);
#else
    for (long l = 0; l < n; l++) x[l] = ((const REAL *)from)[l];
#endif
    return x;
}

FS_INLINE VEC FS_NAME(load)(const void *from, long n) { return FS_NAME(load_filled)(from, n, 0); }

FS_INLINE void FS_NAME(save)(void *to, VEC x, long n) {
    if (n >= LANES)
        *(VECU *)to = x;
    else {
#ifdef SAVE_FIRST
        SAVE_FIRST((REAL *)to, n, x);
#else
        for (long l = 0; l < n; l++) ((REAL *)to)[l] = x[l];
#endif
    }
}
