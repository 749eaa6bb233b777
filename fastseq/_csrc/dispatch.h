/* The instruction sets.  Each extension has a table of its own functions, compiled from the same
 * units: with FS_WORDS that of word vectors, else that of the kernels. */
#ifndef FASTSEQ_DISPATCH_H
#define FASTSEQ_DISPATCH_H

#ifdef FS_WORDS
#include "word2vec.h"
typedef fs_word2vec fs_table;
#else
#include "tiles.h"
typedef fs_tiles fs_table;
#endif

/* One instruction set, for both dtypes. */
typedef struct {
    const char *name;
    const fs_table *f32, *f64;
} fs_isa;

extern const fs_isa fs_isa_generic, fs_isa_avx2, fs_isa_avx512;

/* The instruction sets this build and this processor have, best first; NULL at the end. */
const fs_isa *const *fs_available_isas(void);

#endif
