/* Panels, and the products with them that both tables begin with (products.h).
 *
 * A "vector" is `lanes` numbers; a "panel" is a packed strip of a weight matrix, [k][vector][lane],
 * so that one register tile (a few rows x a panel's vectors) is a product read from start to end.
 * Panels are either interleaved (vector g holds gate g of the same `lanes` units, so the gates of a
 * unit meet in one tile; of fewer units the gates lie side by side, in as few vectors as they fill)
 * or plain (the vectors are consecutive units).
 *
 * pack: dst[k][lane] = src[lane * lane_stride + k * k_stride] for lane < n.  Whole vectors that lie
 * side by side may be several; what lies past the n-th number is left alone.
 *
 * product: tile[panel][row] = sum over k of a[row][k] * panel[k].  `next_panel` is where the panel
 * used after this one lies, seen from it, and asks for it ahead; 0 does not.
 */
#ifndef FASTSEQ_PANELS_H
#define FASTSEQ_PANELS_H

#define FS_PANEL_VECTORS 4 /* vectors in a full plain panel */

#define FS_PRODUCTS                                                                             \
    long item;  /* bytes of a number */                                                         \
    long lanes; /* numbers in a vector */                                                       \
    void (*pack)(const char *src, long n, long depth, long lane_stride, long k_stride,          \
                 char *dst, long dst_stride);                                                   \
    void (*product)(long rows, long vectors, long panels, long depth, const char *a,            \
                    long a_row, long a_k, const char *panel, long panel_stride, char *tile,     \
                    long next_panel);

#endif
