/* The table of scaled dot-product attention's functions, once per instruction set and dtype
 * (dot_product.h).
 *
 * A block is what the products of some queries with some keys leave: tiles
 * [panel][row][vector][lane], FS_PANEL_VECTORS vectors in each panel but perhaps the last.
 */
#ifndef FASTSEQ_SCORE_BLOCKS_H
#define FASTSEQ_SCORE_BLOCKS_H

typedef struct {
    long rows, vectors; /* queries; vectors of a row in all panels together */
    char *scores;       /* in: products of queries and keys; out: weights */
    /* Row r sees the first seen + r * step of the block's keys; the others weigh nothing. */
    long keys, seen, step;
    double scale;       /* of the products, above 0 */
    /* Forward: what is carried from one block of keys to the next, row by row. */
    char *top;          /* largest scaled score so far */
    char *sums;         /* a vector, whose lanes add up to the sum of exp(score - top) */
    char *shrink;       /* out: what earlier sums have to be multiplied with */
    /* Backward. */
    const double *log_sums;
    const char *deltas; /* for each row the sum of its output times the output's gradient */
    char *d;            /* in: gradients of weights; out: of the products */
} fs_score_block;

typedef struct {
    /* tile[row] += sum over k of a[row][k] * panel[k], for a panel of some vectors. */
    void (*multiply)(long rows, long vectors, long depth, const char *a, long a_row, long a_k,
                     const char *panel, char *tile);

    /* Scores to weights exp(score - top), with the largest and the sums of all blocks so far. */
    void (*weigh)(const fs_score_block *);

    /* Scores to weights of all keys together, weights' gradients to scores' gradients. */
    void (*weigh_back)(const fs_score_block *);

    /* From what the blocks have come to: log(sum(exp(score))) of each row, and 1 / the sum, which
     * is 0 where there was no key. */
    void (*finish)(long rows, const char *top, const char *sums, double *log_sums,
                   char *reciprocals);

    /* tile[row][vector][lane] *= factors[row] */
    void (*scale_rows)(long rows, long vectors, char *tile, const char *factors);

    /* out[row] = sum over columns of a[row][column] * b[row][column] */
    void (*row_dots)(long rows, long columns, const char *a, long a_row, const char *b, long b_row,
                     char *out);
} fs_dot_product;

#endif
