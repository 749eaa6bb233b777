#define FS_ISA avx2
#define FS_VECTOR_BYTES 32
#include "isa.h"
