/* Which instruction sets this build and this processor have. */
#include <stddef.h>

#include "dispatch.h"

const fs_isa *const *fs_available_isas(void) {
    static const fs_isa *found[4];
    int n = 0;
#if defined(FS_X86) /* set by setup.py where these are compiled in */
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        found[n++] = &fs_isa_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[n++] = &fs_isa_avx2;
#endif
    found[n++] = &fs_isa_generic;
    found[n] = NULL;
    return found;
}
