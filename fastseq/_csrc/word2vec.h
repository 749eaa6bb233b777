/* The table of functions for word vectors, once per instruction set and dtype (word2vec_rows.h).
 *
 * A row is `vectors` whole vectors of 64 bytes' alignment: what exceeds its numbers is zero, and
 * stays so.  Sums over a row, or over rows, run in one order, whatever other rows there are.
 */
#ifndef FASTSEQ_WORD2VEC_H
#define FASTSEQ_WORD2VEC_H

#include "panels.h"

/* A row is to become more by scale * delta. */
typedef struct {
    char *row;
    const char *delta;
    double scale;
    long index; /* of the row in its matrix */
} fs_change;

typedef struct {
    FS_PRODUCTS

    /* out[row][i] = x[row] . y[i], the rows of x lying side by side, those of out `out_row` bytes
     * apart; there is room in them for count rounded up to a multiple of four. */
    void (*dots)(long vectors, long rows, long count, const char *x, const char *const *y,
                 char *out, long out_row);

    /* out[i] = x[i] . y[i]; with room likewise. */
    void (*row_dots)(long vectors, long count, const char *x, const char *const *y, char *out);

    /* dx += errors[i] y[i] and dy[i] += errors[i] x, one i after the other; dy may be y, or NULL
     * for dx alone. */
    void (*pairs)(long vectors, long count, const char *errors, const char *x, char *dx,
                  const char *const *y, char *const *dy);

    /* out[row] += sum over k < depth of errors[row * row_step + k * k_step] * b[k].  Steps are in
     * bytes. */
    void (*products)(long vectors, long rows, char *const *out, const char *errors, long row_step,
                     long k_step, long depth, const char *const *b);

    /* The negative gradient of sum(weights * softplus(s) - labels * s) times rate, in place:
     * s = rate * (labels - weights * sigmoid(s)).  labels may be NULL: all are zero.  n is a
     * multiple of a vector's numbers. */
    void (*errors)(long n, const char *labels, const char *weights, double rate, char *s);

    /* sum(weights * softplus(s) - labels * s) */
    double (*loss)(long n, const char *labels, const char *weights, const char *s);

    /* sums[0] = 0, sums[i + 1] = sums[i] + rows[i]: count + 1 rows. */
    void (*running_sums)(long vectors, long count, const char *const *rows, char *sums);

    /* out = scale * ((end - begin) - (next - centre)): a window's sum without its centre. */
    void (*window)(long vectors, const char *begin, const char *end, const char *centre,
                   double scale, char *out);

    /* begin += scale * d, end -= scale * d: a difference that running sums make a window of. */
    void (*open_window)(long vectors, double scale, const char *d, char *begin, char *end);

    /* sum += difference, out += sum, less scale * own unless own is NULL. */
    void (*add_windows)(long vectors, const char *difference, char *sum, const char *own,
                        double scale, char *out);

    /* row += scale * delta for those of the changes whose index is `part` modulo `parts`, one
     * after the other. */
    void (*add_changes)(long vectors, long count, const fs_change *changes, int part, int parts);

    /* row += copy - before; then both are what the row is. */
    void (*exchange)(long vectors, char *copy, char *before, char *row);
} fs_word2vec;

#endif
