/* exp, tanh and sigmoid, one lane at a time, written so that loops over lanes vectorise.
 *
 * exp(x) = 2^n exp(r) with n = round(x / ln 2), found by adding a magic number that leaves n in the
 * low bits; exp(r) - 1 is a polynomial on |r| <= ln(2) / 2.  NaN in gives NaN out (every clamp
 * is written as x < lo ? lo : x, which is false for NaN); results below the smallest normal
 * number are 0.  At most 4 ulp off (tests/test_kernels.py measures it).
 *
 * Included once per dtype: REAL, BITS, and the constants below differ.
 */

#define AS_BITS FS_NAME(as_bits)
#define AS_REAL FS_NAME(as_real)

FS_INLINE BITS AS_BITS(REAL x) { BITS i; memcpy(&i, &x, sizeof i); return i; }
FS_INLINE REAL AS_REAL(BITS i) { REAL x; memcpy(&x, &i, sizeof x); return x; }

#if FS_DOUBLE
#define MAGIC 6755399441055744.0
#define LOG2_E 1.4426950408889634
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define MANTISSA 52
#define EXPONENT_BIAS 1023
#define EXP_MIN -708.39641853226408
#define EXP_MAX 709.78271289338397
#define EXP_SAFE 709.0 /* up to here 2^n is finite */
#define TANH_MAX 19.1
#else
#define MAGIC 12582912.0f
#define LOG2_E 1.44269504f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define MANTISSA 23
#define EXPONENT_BIAS 127
#define EXP_MIN -87.3365447f
#define EXP_MAX 88.7228394f
#define EXP_SAFE 88.0f
#define TANH_MAX 9.02f
#endif

/* exp(x) = 2^n (1 + q). */
FS_INLINE REAL FS_NAME(exp_parts)(REAL x, BITS *n) {
    REAL shifted = x * LOG2_E + MAGIC;
    REAL whole = shifted - MAGIC;
    REAL r = (x - whole * LN2_HIGH) - whole * LN2_LOW;
    *n = AS_BITS(shifted);
#if FS_DOUBLE
    REAL p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
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
    REAL p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
#endif
    return p * (r * r) + r;
}

FS_INLINE REAL FS_NAME(power_of_two)(BITS n) {
    return AS_REAL((n + EXPONENT_BIAS) << MANTISSA);
}

FS_INLINE REAL FS_NAME(clamp)(REAL x, REAL low, REAL high) {
    x = x < low ? low : x;
    return x > high ? high : x;
}

FS_INLINE REAL FS_NAME(exp_lane)(REAL x) {
    BITS n;
    REAL q = FS_NAME(exp_parts)(FS_NAME(clamp)(x, EXP_MIN, EXP_MAX), &n);
    /* 2^n may be one beyond the largest finite power: 2^(n-1) (1 + q) * 2 is safe. */
    REAL half = FS_NAME(power_of_two)(n - 1 + (x < 0));
    REAL y = (half * q + half) * (REAL)(x < 0 ? 1 : 2);
    y = x < EXP_MIN ? 0 : y;
    return x > EXP_MAX ? (REAL)INFINITY : y;
}

FS_INLINE REAL FS_NAME(sigmoid_lane)(REAL x) {
    BITS n;
    REAL q = FS_NAME(exp_parts)(FS_NAME(clamp)(-x, -EXP_SAFE, EXP_SAFE), &n);
    REAL s = FS_NAME(power_of_two)(n);
    REAL y = 1 / (s * q + (s + 1));
    return x < EXP_MIN ? 0 : y;
}

/* tanh(x) = e / (e + 2), e = exp(2 x) - 1. */
FS_INLINE REAL FS_NAME(tanh_lane)(REAL x) {
    BITS n;
    REAL q = FS_NAME(exp_parts)(FS_NAME(clamp)(2 * x, -2 * TANH_MAX, 2 * TANH_MAX), &n);
    REAL s = FS_NAME(power_of_two)(n);
    REAL e = s * q + (s - 1);
    return e / (e + 2);
}
