/* Packing and products of one instruction set and one dtype, which both tables offer.
 * Included with REAL, BITS, FS_DOUBLE, FS_NAME and FS_VECTOR_BYTES defined. */

#undef VEC
#undef VECU
#undef IVEC
#undef TILE
#undef TILES_UP_TO_3
#undef ROW_TILES
#undef THREE_VECTOR_TILES
#undef LANES
#undef ITEM
#undef MAX_ROWS
#define ITEM ((long)sizeof(REAL))
#define LANES (FS_VECTOR_BYTES / (long)sizeof(REAL))
#undef ROW_PANELS
/* The tallest tile for a number of vectors, and the panels that a single row takes at once. */
#if FS_MANY_REGISTERS
#define MAX_ROWS(vectors) ((vectors) == 3 ? 8 : 6)
#define ROW_PANELS 4
#else
#define MAX_ROWS(vectors) ((vectors) == 3 ? 4 : 3)
#define ROW_PANELS 2
#endif

typedef REAL FS_NAME(vec) __attribute__((vector_size(FS_VECTOR_BYTES), may_alias));
typedef REAL FS_NAME(vecu)
    __attribute__((vector_size(FS_VECTOR_BYTES), may_alias, aligned(sizeof(REAL))));
typedef BITS FS_NAME(ivec) __attribute__((vector_size(FS_VECTOR_BYTES), may_alias));
#define VEC FS_NAME(vec)
#define VECU FS_NAME(vecu)
#define IVEC FS_NAME(ivec)

#include "partial.h"
#include "packing.h"
#include "vector_math.h"

/* --- the register tile ------------------------------------------------------------------- */

/* A rows x vectors tile over the whole depth, held in registers.  A single row goes over several
 * `panels` side by side: independent chains hide the latency of the multiply-add, and several
 * streams of weights come out of the second-level cache faster than one. */
FS_INLINE void FS_NAME(tile)(const int rows, const int vectors, const int panels, long depth,
                             const char *a, long a_row, long a_k, const char *panel,
                             long panel_stride, char *out, long out_panel, const char *next,
                             int accumulate) {
    VEC sum[8][4 * ROW_PANELS];
    const int columns = panels * vectors;
#define COLUMN(base, stride, v) ((VEC *)((base) + (v) / vectors * (stride)) + (v) % vectors)
    _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 16") for (int v = 0; v < columns; v++)
            sum[r][v] = accumulate ? *(COLUMN(out, out_panel, v) + r * vectors) : (VEC){0};
    _Pragma("GCC unroll 2") for (long k = 0; k < depth; k++) {
        if (next) {
            __builtin_prefetch(next, 0, 2);
            next += 64;
        }
#if FS_MANY_REGISTERS
        VEC b[4 * ROW_PANELS];
        _Pragma("GCC unroll 16") for (int v = 0; v < columns; v++)
            b[v] = *COLUMN(panel, panel_stride, v);
        _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) {
            REAL x = *(const REAL *)(a + r * a_row);
            _Pragma("GCC unroll 16") for (int v = 0; v < columns; v++) sum[r][v] += x * b[v];
        }
#else
        VEC x[8];
        _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++)
            x[r] = *(const REAL *)(a + r * a_row) - (VEC){0};
        _Pragma("GCC unroll 8") for (int v = 0; v < columns; v++) {
            VEC b = *COLUMN(panel, panel_stride, v);
            _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) sum[r][v] += x[r] * b;
        }
#endif
        a += a_k;
        panel += vectors * FS_VECTOR_BYTES;
    }
    _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 16") for (int v = 0; v < columns; v++)
            *(COLUMN(out, out_panel, v) + r * vectors) = sum[r][v];
#undef COLUMN
}

typedef void (*FS_NAME(tile_fn))(long, const char *, long, long, const char *, long, char *, long,
                                 const char *, int);

#define TILE(rows, vectors, panels)                                                              \
    static __attribute__((noinline)) void FS_NAME(tile_##rows##x##vectors##x##panels)(           \
        long depth, const char *a, long a_row, long a_k, const char *panel, long panel_stride,   \
        char *out, long out_panel, const char *next, int accumulate) {                           \
        if (next)                                                                                \
            FS_NAME(tile)(rows, vectors, panels, depth, a, a_row, a_k, panel, panel_stride, out, \
                          out_panel, next, accumulate);                                          \
        else                                                                                     \
            FS_NAME(tile)(rows, vectors, panels, depth, a, a_row, a_k, panel, panel_stride, out, \
                          out_panel, 0, accumulate);                                             \
    }
#define TILES_UP_TO_3(vectors)                                                                   \
    TILE(1, vectors, 2) TILE(1, vectors, 1) TILE(2, vectors, 1) TILE(3, vectors, 1)
TILES_UP_TO_3(1) TILES_UP_TO_3(2) TILES_UP_TO_3(3) TILES_UP_TO_3(4)
TILE(4, 3, 1)
#if FS_MANY_REGISTERS
TILE(1, 1, 4) TILE(1, 2, 4) TILE(1, 3, 4) TILE(1, 4, 4)
TILE(4, 1, 1) TILE(5, 1, 1) TILE(6, 1, 1)
TILE(4, 2, 1) TILE(5, 2, 1) TILE(6, 2, 1)
TILE(5, 3, 1) TILE(6, 3, 1) TILE(7, 3, 1) TILE(8, 3, 1)
TILE(4, 4, 1) TILE(5, 4, 1) TILE(6, 4, 1)
#define ROW_TILES(v)                                                                         \
    FS_NAME(tile_1x##v##x1), FS_NAME(tile_2x##v##x1), FS_NAME(tile_3x##v##x1),               \
        FS_NAME(tile_4x##v##x1), FS_NAME(tile_5x##v##x1), FS_NAME(tile_6x##v##x1)
#define THREE_VECTOR_TILES ROW_TILES(3), FS_NAME(tile_7x3x1), FS_NAME(tile_8x3x1)
#else
#define ROW_TILES(v) FS_NAME(tile_1x##v##x1), FS_NAME(tile_2x##v##x1), FS_NAME(tile_3x##v##x1)
#define THREE_VECTOR_TILES ROW_TILES(3), FS_NAME(tile_4x3x1)
#endif

static const FS_NAME(tile_fn) FS_NAME(row_tiles)[4][8] = {
    {ROW_TILES(1)}, {ROW_TILES(2)}, {THREE_VECTOR_TILES}, {ROW_TILES(4)}};
/* By the binary logarithm of the panels. */
static const FS_NAME(tile_fn) FS_NAME(single_row_tiles)[][4] = {
    {FS_NAME(tile_1x1x1), FS_NAME(tile_1x2x1), FS_NAME(tile_1x3x1), FS_NAME(tile_1x4x1)},
    {FS_NAME(tile_1x1x2), FS_NAME(tile_1x2x2), FS_NAME(tile_1x3x2), FS_NAME(tile_1x4x2)},
#if FS_MANY_REGISTERS
    {FS_NAME(tile_1x1x4), FS_NAME(tile_1x2x4), FS_NAME(tile_1x3x4), FS_NAME(tile_1x4x4)},
#endif
};

/* A single row: as many panels as possible side by side, each over its whole depth. */
static void FS_NAME(product_of_row)(long vectors, long panels, long depth, const char *a, long a_k,
                                    const char *panel, long panel_stride, char *tile) {
    const long tile_row = vectors * FS_VECTOR_BYTES;
    while (panels > 0) {
        const int log = panels >= 4 && ROW_PANELS == 4 ? 2 : panels >= 2;
        FS_NAME(single_row_tiles)[log][vectors - 1](depth, a, 0, a_k, panel, panel_stride, tile,
                                                    tile_row, 0, 0);
        panel += panel_stride << log;
        tile += tile_row << log;
        panels -= 1 << log;
    }
}

static void FS_NAME(product)(long rows, long vectors, long panels, long depth, const char *a,
                             long a_row, long a_k, const char *panel, long panel_stride,
                             char *tile, long next_panel) {
    const FS_NAME(tile_fn) *tiles = FS_NAME(row_tiles)[vectors - 1];
    const long tile_row = vectors * FS_VECTOR_BYTES;
    if (rows == 1) {
        FS_NAME(product_of_row)(vectors, panels, depth, a, a_k, panel, panel_stride, tile);
        return;
    }
    /* Equal blocks: 20 rows are four tiles of 5, not three of 6 and one of 2.  Deep panels go
     * in pieces that stay in cache while all rows use them; the sums go on where they stopped. */
    const long blocks = (rows + MAX_ROWS(vectors) - 1) / MAX_ROWS(vectors);
    const long block = rows / blocks, larger = rows % blocks;
    long piece = depth;
    if (blocks > 1 && depth * tile_row > FS_DEPTH_BYTES)
        piece = depth / (1 + depth * tile_row / FS_DEPTH_BYTES) + 1;
    for (long p = 0; p < panels; p++, panel += panel_stride)
        for (long k = 0; k < depth; k += piece) {
            const long count = piece < depth - k ? piece : depth - k;
            const char *weights = panel + k * tile_row;
            const char *next = k + count < depth ? weights + count * tile_row : panel + next_panel;
            char *out = tile + p * rows * tile_row;
            const char *first_row = a + k * a_k;
            for (long i = 0; i < blocks; i++) {
                long n = block + (i < larger);
                /* While a piece is in cache, every block asks for a part of the next one. */
                tiles[n - 1](count, first_row, a_row, a_k, weights, 0, out, 0,
                             next_panel && i < vectors ? next + i * count * 64 : 0, k > 0);
                first_row += n * a_row;
                out += n * tile_row;
            }
        }
}
