/* One instruction set: a three-line file defines FS_ISA and FS_VECTOR_BYTES and includes this. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#if FS_VECTOR_BYTES >= 32 /* AVX2 or AVX-512 */
#include <immintrin.h>
#endif

#include "dispatch.h"

#ifdef FS_WORDS
#define FS_TEMPLATE "word2vec_rows.h"
#else
#define FS_TEMPLATE "tiles_body.h"
#endif

#define FS_CAT_(a, b) a##_##b
#define FS_CAT(a, b) FS_CAT_(a, b)
#define FS_STRING_(a) #a
#define FS_STRING(a) FS_STRING_(a)
#define FS_INLINE static inline __attribute__((always_inline))
/* With 32 vector registers a tile holds 24 accumulators, with 16 it holds 12. */
#if FS_VECTOR_BYTES == 64 || defined(__aarch64__)
#define FS_MANY_REGISTERS 1
#else
#define FS_MANY_REGISTERS 0
#endif

/* Bytes of a panel that all rows of a block go over before the next ones. */
#ifndef FS_DEPTH_BYTES
#define FS_DEPTH_BYTES 131072
#endif

#define FS_DOUBLE 0
#define REAL float
#define BITS uint32_t
#define FS_NAME(name) FS_CAT(name, f32)
#include FS_TEMPLATE
#undef FS_DOUBLE
#undef REAL
#undef BITS
#undef FS_NAME

#define FS_DOUBLE 1
#define REAL double
#define BITS uint64_t
#define FS_NAME(name) FS_CAT(name, f64)
#include FS_TEMPLATE

const fs_isa FS_CAT(fs_isa, FS_ISA) = {FS_STRING(FS_ISA), &table_f32, &table_f64};
