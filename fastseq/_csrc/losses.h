/* Softmax of one row of logits: what the cross-entropy and its gradient need.
 *
 * A row is read from memory once: in blocks that stay in L1 it is searched for its largest number
 * and then summed, and earlier sums are scaled down where a later block has a larger one.  Within
 * a block each lane has its own sum; blocks add up in float64.
 */

#define BLOCK 512 /* numbers; a multiple of LANES */

/* The n numbers from x on, n up to a vector's; the lanes past them hold `filling`. */
FS_INLINE VEC FS_NAME(load_filled)(const REAL *x, long n, REAL filling) {
    if (n >= LANES) return *(const VECU *)x;
    VEC v = filling - (VEC){0};
    for (long l = 0; l < n; l++) v[l] = x[l];
    return v;
}

/* NaN is passed over: it shows in the sums. */
FS_INLINE REAL FS_NAME(largest)(const REAL *x, long n) {
    VEC most = -INFINITY - (VEC){0};
    for (long i = 0; i < n; i += LANES) {
        const VEC v = FS_NAME(load_filled)(x + i, n - i, -INFINITY);
        const IVEC larger = (IVEC)(v > most);
        most = (VEC)(((IVEC)v & larger) | ((IVEC)most & ~larger));
    }
    REAL top = most[0];
    for (long l = 1; l < LANES; l++) top = most[l] > top ? most[l] : top;
    return top;
}

FS_INLINE double FS_NAME(lane_sum)(VEC v) {
    double sum = 0;
    for (long l = 0; l < LANES; l++) sum += v[l];
    return sum;
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
        for (long i = 0; i < m; i += LANES) {
            sums += FS_NAME(exp_vec)(FS_NAME(load_filled)(x + i, m - i, -INFINITY) - shift);
            plain += FS_NAME(load_filled)(x + i, m - i, 0);
        }
        exps += FS_NAME(lane_sum)(sums);
        all += FS_NAME(lane_sum)(plain);
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
    for (long i = 0; i < n; i += LANES) {
        const long m = n - i < LANES ? n - i : LANES;
        const VEC x = FS_NAME(load_filled)((const REAL *)row + i, m, 0);
        SAVE(out + i * ITEM, a * FS_NAME(exp_vec)((x - high) - low) - b, m);
    }
}

#undef BLOCK
