/* exp, tanh and sigmoid of a vector.
 *
 * exp(x) = 2^n exp(r) with n = round(x / ln 2), found by adding a magic number that leaves n in the
 * low bits; exp(r) - 1 is a polynomial on |r| <= ln(2) / 2.  NaN in gives NaN out: a bound is
 * the first operand of max and min, and the second one is what they return if either is NaN.
 * At most 4 ulp off (tests/test_kernels.py measures it); what is below the smallest normal number
 * may become 0.
 *
 * Included once per dtype: VEC, BITS, and the constants below differ.
 */

#undef MAGIC
#undef LOG2_E
#undef LN2_HIGH
#undef LN2_LOW
#undef MANTISSA
#undef EXPONENT_BIAS
#undef EXP_ZERO
#undef EXP_ONE
#undef EXP_INFINITE
#undef TANH_ONE
#if FS_DOUBLE
#define MAGIC 6755399441055744.0
#define LOG2_E 1.4426950408889634
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define MANTISSA 52
#define EXPONENT_BIAS 1023
#define EXP_ZERO -746.0    /* exp is 0 here */
#define EXP_ONE 40.0       /* 1 + exp is 1 from its negative down */
#define EXP_INFINITE 710.0 /* exp is infinite here, and n is 1024: so is 2^n */
#define TANH_ONE 19.1
#else
#define MAGIC 12582912.0f
#define LOG2_E 1.44269504f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define MANTISSA 23
#define EXPONENT_BIAS 127
#define EXP_ZERO -104.5f
#define EXP_ONE 20.0f
#define EXP_INFINITE 88.8f
#define TANH_ONE 9.02f
#endif

/* Compilers find no single instruction for x < low ? low : x where x may be NaN; x86 has one. */
#undef X86
#if FS_VECTOR_BYTES == 64 && FS_DOUBLE
#define X86(op, a, b) (VEC) _mm512_##op##_pd((__m512d)(a), (__m512d)(b))
#elif FS_VECTOR_BYTES == 64
#define X86(op, a, b) (VEC) _mm512_##op##_ps((__m512)(a), (__m512)(b))
#elif FS_VECTOR_BYTES == 32 && FS_DOUBLE
#define X86(op, a, b) (VEC) _mm256_##op##_pd((__m256d)(a), (__m256d)(b))
#elif FS_VECTOR_BYTES == 32
#define X86(op, a, b) (VEC) _mm256_##op##_ps((__m256)(a), (__m256)(b))
#endif

FS_INLINE VEC FS_NAME(at_least)(REAL low, VEC x) {
#ifdef X86
    return X86(max, low - (VEC){0}, x);
#else
    for (int l = 0; l < LANES; l++) x[l] = x[l] < low ? low : x[l];
    return x;
#endif
}

FS_INLINE VEC FS_NAME(at_most)(REAL high, VEC x) {
#ifdef X86
    return X86(min, high - (VEC){0}, x);
#else
    for (int l = 0; l < LANES; l++) x[l] = x[l] > high ? high : x[l];
    return x;
#endif
}

FS_INLINE VEC FS_NAME(clamp)(REAL low, VEC x, REAL high) {
    return FS_NAME(at_most)(high, FS_NAME(at_least)(low, x));
}

/* exp(x) = 2^n (1 + q): q; the low bits of `shifted` hold n. */
FS_INLINE VEC FS_NAME(exp_parts)(VEC x, VEC *shifted) {
    *shifted = x * LOG2_E + MAGIC;
    const VEC whole = *shifted - MAGIC;
    const VEC r = (x - whole * LN2_HIGH) - whole * LN2_LOW;
#if FS_DOUBLE
    VEC p = r * (1.0 / 6227020800.0) + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
#else
    VEC p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
#endif
    return p * (r * r) + r;
}

FS_INLINE VEC FS_NAME(power_of_two)(IVEC n) { return (VEC)((n + EXPONENT_BIAS) << MANTISSA); }

FS_INLINE VEC FS_NAME(exp_vec)(VEC x) {
    VEC shifted;
    const VEC q = FS_NAME(exp_parts)(FS_NAME(clamp)(EXP_ZERO, x, EXP_INFINITE), &shifted);
#if FS_VECTOR_BYTES == 64
    return X86(scalef, q + 1, shifted - MAGIC);
#else
    /* 2^n in two factors: it may be beyond what one normal number holds, either way. */
    const IVEC n = (IVEC)shifted - (IVEC)((VEC){0} + MAGIC);
    const IVEC half = ((n + 2048) >> 1) - 1024; /* of an unsigned number that may be negative */
    return (q + 1) * FS_NAME(power_of_two)(half) * FS_NAME(power_of_two)(n - half);
#endif
}

/* 1 / (1 + exp(-x)) */
FS_INLINE VEC FS_NAME(sigmoid_vec)(VEC x) {
    VEC shifted;
    const VEC q = FS_NAME(exp_parts)(-FS_NAME(clamp)(-EXP_INFINITE, x, EXP_ONE), &shifted);
    /* Infinite where sigmoid is 0; 2^n q + 2^n would be NaN there. */
    return 1 / (FS_NAME(power_of_two)((IVEC)shifted) * (q + 1) + 1);
}

/* tanh(x) = e / (e + 2), e = exp(2 x) - 1. */
FS_INLINE VEC FS_NAME(tanh_vec)(VEC x) {
    VEC shifted;
    const VEC q = FS_NAME(exp_parts)(2 * FS_NAME(clamp)(-TANH_ONE, x, TANH_ONE), &shifted);
    const VEC s = FS_NAME(power_of_two)((IVEC)shifted);
    const VEC e = s * q + (s - 1);
    return e / (e + 2);
}
