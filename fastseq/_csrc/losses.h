/* Softmax of one row of logits: what the cross-entropy and its gradient need.
 *
 * A row is read from memory once: in blocks that stay in L1 it is searched for its largest number
 * and then summed, and earlier sums are scaled down where a later block has a larger one.  Within
 * a block each lane has its own sum; blocks add up in float64.
 *
 * Exponentials go through an array of a block's size, so that the loop over them has nothing else
 * to do, nor arrays that might overlap: compilers vectorise that.
 */

#define BLOCK 512 /* numbers; a multiple of LANES */

/* exp(x) for x <= 0, and so simpler than exp_lane; larger ones must not exceed EXP_SAFE. */
FS_INLINE REAL FS_NAME(exp_negative_lane)(REAL x) {
    BITS n;
    REAL q = FS_NAME(exp_parts)(FS_NAME(clamp)(x, EXP_MIN, EXP_SAFE), &n);
    REAL s = FS_NAME(power_of_two)(n);
    REAL y = s * q + s;
    return x < EXP_MIN ? 0 : y;
}

/* Copy n numbers and write `filling` behind them, up to whole vectors; returns how many vectors. */
FS_INLINE long FS_NAME(pad)(REAL *restrict to, const REAL *restrict from, long n, REAL filling) {
    memcpy(to, from, n * sizeof(REAL));
    for (; n % LANES; n++) to[n] = filling;
    return n / LANES;
}

FS_INLINE REAL FS_NAME(largest)(const REAL *x, long vectors) {
    REAL most[LANES], top = x[0];
    memcpy(most, x, sizeof most);
    for (long v = 1; v < vectors; v++)
        for (long l = 0; l < LANES; l++)
            most[l] = x[v * LANES + l] > most[l] ? x[v * LANES + l] : most[l];
    for (long l = 0; l < LANES; l++) top = most[l] > top ? most[l] : top;
    return top;
}

FS_INLINE double FS_NAME(sum)(const REAL *x, long vectors) {
    VEC sums = {0};
    REAL lanes[LANES];
    double sum = 0;
    for (long v = 0; v < vectors; v++) sums += ((const VECU *)x)[v];
    memcpy(lanes, &sums, sizeof lanes);
    for (long l = 0; l < LANES; l++) sum += lanes[l];
    return sum;
}

static void FS_NAME(softmax_sums)(long n, const char *row, double *top, double *sum,
                                  double *total) {
    const REAL *x = (const REAL *)row;
    REAL block[BLOCK], most = -INFINITY;
    double exps = 0, all = 0;
    for (long at = 0; at < n; at += BLOCK) {
        const long m = n - at < BLOCK ? n - at : BLOCK;
        if (total) all += FS_NAME(sum)(block, FS_NAME(pad)(block, x + at, m, 0));
        const long vectors = FS_NAME(pad)(block, x + at, m, -INFINITY);
        const REAL larger = FS_NAME(largest)(block, vectors);
        if (larger > most) {
            exps *= FS_NAME(exp_negative_lane)(most - larger);
            most = larger;
        }
        /* As long as there is nothing but -inf, taking it away from itself would give NaN. */
        const REAL shift = most == -INFINITY ? 0 : most;
        for (long i = 0; i < vectors * LANES; i++)
            block[i] = FS_NAME(exp_negative_lane)(block[i] - shift);
        exps += FS_NAME(sum)(block, vectors);
    }
    *top = most;
    *sum = exps;
    if (total) *total = all;
}

static void FS_NAME(softmax_gradient)(long n, const char *row, double log_sum, double scale,
                                      double shift, char *out) {
    /* In two parts, or rounding would cost a large log_sum's probabilities some digits. */
    const REAL high = (REAL)log_sum, low = (REAL)(log_sum - high);
    const REAL a = (REAL)scale, b = (REAL)shift;
    REAL block[BLOCK];
    for (long at = 0; at < n; at += BLOCK) {
        const long m = n - at < BLOCK ? n - at : BLOCK;
        memcpy(block, row + at * ITEM, m * ITEM);
        for (long i = 0; i < m; i++)
            block[i] = a * FS_NAME(exp_negative_lane)((block[i] - high) - low) - b;
        memcpy(out + at * ITEM, block, m * ITEM);
    }
}

#undef BLOCK
