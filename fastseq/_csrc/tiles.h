/* The table of tile functions: what the loops over time call, once per instruction set and dtype.
 *
 * A "vector" is `lanes` numbers; a "panel" is a packed strip of a weight matrix, [k][vector][lane],
 * so that one register tile (a few rows x a panel's vectors) is a product read from start to end.
 * Panels are either interleaved (vector g holds gate g of the same `lanes` units, so the gates of a
 * unit meet in one tile) or plain (the vectors are consecutive units).
 *
 * All strides are in bytes, so the loops above need not know the dtype.  Every output element is
 * accumulated over k = 0, 1, 2, ... in one chain, whatever the number of rows: a result does not
 * depend on which rows share a tile, nor on how many threads there are.
 */
#ifndef FASTSEQ_TILES_H
#define FASTSEQ_TILES_H

#include "score_blocks.h"
#include "scores.h"
#include "updates.h"
#include "word2vec.h"

#define FS_PANEL_VECTORS 4 /* vectors in a full plain panel */

/* A block of rows x units that a point function works on, pointers set to its first element. */
typedef struct {
    long rows, units;
    long vectors;       /* vectors per panel of the tile */
    const char *tile;   /* recurrent product [panel][row][vector][lane]; NULL: there is none */
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
} fs_block;

typedef void (*fs_point)(const fs_block *);

typedef struct {
    long item;  /* bytes of a number */
    long lanes; /* numbers in a vector */

    /* dst[k][lane] = src[lane * lane_stride + k * k_stride] for lane < n, zero for the others of a
     * vector; whole vectors that lie side by side may be several. */
    void (*pack)(const char *src, long n, long depth, long lane_stride, long k_stride, char *dst,
                 long dst_stride);

    /* tile[panel][row] = sum over k of a[row][k] * panel[k].  `next_panel` is where the panel used
     * after this one lies, seen from it, and asks for it ahead; 0 does not. */
    void (*product)(long rows, long vectors, long panels, long depth, const char *a, long a_row,
                    long a_k, const char *panel, long panel_stride, char *tile, long next_panel);

    /* dst[row][vector][lane] (+)= tile + bias, for the first `units` of a panel.  A vector's units
     * start at vector * unit_step (0 in interleaved panels), its numbers at vector * dst_vector. */
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
    const fs_word2vec *word2vec;
    const fs_attention *attention;
    const fs_dot_product *dot_product;
} fs_tiles;

/* One instruction set, for both dtypes. */
typedef struct {
    const char *name;
    const fs_tiles *f32, *f64;
} fs_isa;

extern const fs_isa fs_isa_generic, fs_isa_avx2, fs_isa_avx512;

/* The instruction sets this build and this processor have, best first; NULL at the end. */
const fs_isa *const *fs_available_isas(void);

#endif
