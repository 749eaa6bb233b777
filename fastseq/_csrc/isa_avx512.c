#define FS_ISA avx512
#define FS_VECTOR_BYTES 64
#include "isa.h"
