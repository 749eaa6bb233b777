/* The table of what attention does with queries and their source, once per instruction set and
 * dtype (attention.h).
 *
 * Strides are in bytes.  Each number is summed in an order that follows from the source alone, so
 * it depends neither on other queries and sources nor on threads.
 *
 * tanh(q + k) is 1 - 2 r with r = 1 / (e^2q e^2k + 1): one product and half a division for each
 * pair of a query and a key, whose exponentials are computed once.  The 1 is the same for all
 * scores of a query, so softmax does not see it, and v . tanh becomes -2 v . r.  Where numbers are
 * so large that their exponentials might overflow, r is a sigmoid of the sum.
 */
#ifndef FASTSEQ_SCORES_H
#define FASTSEQ_SCORES_H

enum { FS_FROM_EXPS, FS_FROM_SUMS }; /* how r is computed: from e^2q and e^2k, or from q and k */

typedef struct {
    /* out = exp(2 x), padded to whole vectors; whether all x are small enough for FS_FROM_EXPS. */
    int (*exp_twice)(long size, const char *x, char *out);

    /* scores[s] = -2 v . r.  Exponentials and v are padded to whole vectors, q and k are not. */
    void (*tanh_scores[2])(long positions, long size, const char *q, const char *keys,
                           long keys_row, const char *v, char *scores);

    /* From the scores' gradients d: dq = 4 v sum(d r (1 - r)), for each position
     * dk += d r (1 - r), which is to be multiplied by 4 v in the end, and for all of them
     * dv += d r, to be multiplied by -2.  dk and dv are padded. */
    void (*tanh_scores_backward[2])(long positions, long size, const char *d, const char *q,
                                    const char *keys, long keys_row, const char *v, char *dq,
                                    char *dk, long dk_row, char *dv);

    /* For each of some queries: out[s] = x . rows[s] */
    void (*dots)(long queries, long positions, long size, const char *const *x, const char *rows,
                 long row, char *const *out);

    /* out = sum over s of w[s] rows[s] */
    void (*weighted_sum)(long queries, long positions, long size, const char *const *w,
                         const char *rows, long row, char *const *out);

    /* rows[s] += w[s] x, one query after the other */
    void (*add_outer)(long queries, long positions, long size, const char *const *w,
                      const char *const *x, char *rows, long row);

    /* out += factor v x, for unpadded v and out */
    void (*add_scaled)(long size, double factor, const char *v, const char *x, char *out);

    /* dy = dy (1 - y y), for y = tanh of something */
    void (*tanh_backward)(long n, const char *y, char *dy);

    void (*softmax)(long n, char *x);

    /* dw = w (dw - w . dw) */
    void (*softmax_backward)(long n, const char *w, char *dw);
} fs_attention;

#endif
