/* The table of tile functions: what the loops over time call, once per instruction set and dtype.
 *
 * All strides are in bytes, so the loops above need not know the dtype.  Every output element is
 * accumulated over k = 0, 1, 2, ... in one chain, whatever the number of rows: a result does not
 * depend on which rows share a tile, nor on how many threads there are.
 */
#ifndef FASTSEQ_TILES_H
#define FASTSEQ_TILES_H

#include "panels.h"
#include "score_blocks.h"
#include "scores.h"
#include "updates.h"

/* A block of rows x units that a point function works on, pointers set to its first element. */
typedef struct {
    long rows, units;
    long vectors;       /* vectors per panel of the tile */
    char *tile;         /* recurrent product [panel][row][vector][lane], the last panel's gates as
                           in panels.h; in two stages the first's results; NULL: no product */
    const char *z;      /* forward: the input's part of the pre-activations */
    long z_row, z_gate;
    char *slots;        /* saved activations; forward: NULL saves nothing; backward: rewritten */
    long slots_row, slots_gate;
    const char *bias;   /* recurrent bias of the GRU's candidate, or NULL */
    const char *h_previous, *c_previous;
    long h_previous_row, c_previous_row;
    char *h, *c;
    long h_row, c_row;
    const char *dy;
    long dy_row;
    char *dh, *dc;      /* gradients carried from step to step */
    long dh_row, dc_row;
    long next;          /* from a row to the same one at the step that comes next; 0: none does */
    long soon;          /* bytes to what a row that comes soon needs; 0: it is in cache */
} fs_block;

typedef void (*fs_point)(const fs_block *);

typedef struct {
    FS_PRODUCTS

    /* dst[row][vector][lane] (+)= tile + bias, for the first `units` of a panel.  A vector's units
     * start at vector * unit_step, its numbers at vector * dst_vector.  With unit_step 0 panels
     * are interleaved and "vectors" are gates, however many vectors of the tile they fill. */
    void (*store)(long rows, long vectors, long units, long unit_step, const char *tile,
                  const char *bias, long bias_vector, char *dst, long dst_row, long dst_vector,
                  int accumulate);

    /* out[column] += sum over rows of a[row][column]; likewise out2 unless NULL. */
    void (*column_sums)(long rows, long columns, const char *a, long a_row, char *out, char *out2);

    fs_point rnn_forward[3], rnn_backward[3]; /* tanh, relu, sigmoid */
    fs_point lstm_forward, lstm_backward;
    fs_point gru_forward, gru_backward;           /* reset gate after the product */
    fs_point gru_reset, gru_candidate;            /* before it: two stages */
    fs_point gru_candidate_backward, gru_reset_backward;

    void (*exp)(long n, const char *x, char *y);
    void (*tanh)(long n, const char *x, char *y);
    void (*sigmoid)(long n, const char *x, char *y);

    /* Of n numbers the largest, `top`, and the sum of exp(x - top); in `total` unless NULL their
     * own sum. */
    void (*softmax_sums)(long n, const char *x, double *top, double *sum, double *total);

    /* d = scale * exp(x - log_sum) - shift; d may be x. */
    void (*softmax_gradient)(long n, const char *x, double log_sum, double scale, double shift,
                             char *d);

    const fs_optimizers *optimizers;
    const fs_attention *attention;
    const fs_dot_product *dot_product;
} fs_tiles;

#endif
