/* Softmax of one row of logits: what the cross-entropy and its gradient need.
 *
 * A row is read from memory once: in blocks that stay in L1 it is searched for its largest number
 * and then summed, and earlier sums are scaled down where a later block has a larger one.  Within
 * a block each lane has its own sum; blocks add up in float64.  A block's numbers are summed in
 * parts of a block's size, a power of two: the sum of huge ones stays finite, and no bit changes.
 */

#define BLOCK 512 /* numbers; a multiple of LANES */

/* b where a is NaN, which shows in the sums. */
FS_INLINE VEC FS_NAME(larger_of)(VEC a, VEC b) {
#ifdef X86
    return X86(max, a, b);
#else
    const IVEC larger = (IVEC)(a > b);
    return (VEC)(((IVEC)a & larger) | ((IVEC)b & ~larger));
#endif
}

/* In four: a comparison waits for the one before it. */
FS_INLINE REAL FS_NAME(largest)(const REAL *x, long n) {
    VEC a = -INFINITY - (VEC){0}, b = a, c = a, d = a;
    long i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        a = FS_NAME(larger_of)(*(const VECU *)(x + i), a);
        b = FS_NAME(larger_of)(*(const VECU *)(x + i + LANES), b);
        c = FS_NAME(larger_of)(*(const VECU *)(x + i + 2 * LANES), c);
        d = FS_NAME(larger_of)(*(const VECU *)(x + i + 3 * LANES), d);
    }
    for (; i < n; i += LANES)
        a = FS_NAME(larger_of)(FS_NAME(load_filled)(x + i, n - i, -INFINITY), a);
    a = FS_NAME(larger_of)(FS_NAME(larger_of)(a, b), FS_NAME(larger_of)(c, d));
    REAL top = a[0];
    for (long l = 1; l < LANES; l++) top = a[l] > top ? a[l] : top;
    return top;
}

FS_INLINE double FS_NAME(lane_sum)(VEC v) {
    double even = 0, odd = 0; /* an addition waits for the one before, too */
    for (long l = 0; l < LANES; l += 2) even += v[l], odd += v[l + 1];
    return even + odd;
}

static void FS_NAME(softmax_sums)(long n, const char *row, double *top, double *sum,
                                  double *total) {
    REAL most = -INFINITY;
    double exps = 0, all = 0;
    for (long at = 0; at < n; at += BLOCK) {
        const REAL *x = (const REAL *)row + at;
        const long m = n - at < BLOCK ? n - at : BLOCK;
        const REAL larger = FS_NAME(largest)(x, m);
        if (larger > most) {
            exps *= FS_NAME(exp_vec)(most - larger - (VEC){0})[0];
            most = larger;
        }
        /* As long as there is nothing but -inf, taking it away from itself would give NaN. */
        const REAL shift = most == -INFINITY ? 0 : most;
        VEC sums = {0}, plain = {0};
        long i = 0;
        for (; i + LANES <= m; i += LANES)
            sums += FS_NAME(exp_vec)(*(const VECU *)(x + i) - shift);
        if (i < m) sums += FS_NAME(exp_vec)(FS_NAME(load_filled)(x + i, m - i, -INFINITY) - shift);
        exps += FS_NAME(lane_sum)(sums);
        if (!total) continue;
        for (i = 0; i < m; i += LANES)
            plain += FS_NAME(load_filled)(x + i, m - i, 0) * ((REAL)1 / BLOCK);
        all += FS_NAME(lane_sum)(plain);
    }
    *top = most;
    *sum = exps;
    if (total) *total = all * BLOCK;
}

static void FS_NAME(softmax_gradient)(long n, const char *row, double log_sum, double scale,
                                      double shift, char *out) {
    /* In two parts, or rounding would cost a large log_sum's probabilities some digits. */
    const REAL high = (REAL)log_sum, low = (REAL)(log_sum - high);
    const REAL a = (REAL)scale, b = (REAL)shift;
#define GRADIENT(x) (a * FS_NAME(exp_vec)(((x) - high) - low) - b)
    long i = 0;
    for (; i + LANES <= n; i += LANES)
        *(VECU *)(out + i * ITEM) = GRADIENT(*(const VECU *)(row + i * ITEM));
    if (i < n) {
        const VEC rest = FS_NAME(load_filled)((const REAL *)row + i, n - i, 0);
        SAVE(out + i * ITEM, GRADIENT(rest), n - i);
    }
#undef GRADIENT
}

#undef BLOCK
