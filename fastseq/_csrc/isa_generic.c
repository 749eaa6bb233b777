#define FS_ISA generic
#define FS_VECTOR_BYTES 16
#include "isa.h"
