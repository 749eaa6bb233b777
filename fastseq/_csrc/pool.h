/* A small thread pool, and memory that is kept from call to call.
 *
 * One job runs at a time.  A caller that finds the pool busy (another Python thread is using it)
 * runs its job alone; results do not depend on the number of parts, so nothing else changes.
 * Workers spin for a moment after a job, then sleep.  A forked child starts with a fresh pool.
 */
#ifndef FASTSEQ_POOL_H
#define FASTSEQ_POOL_H

#include <stdatomic.h>
#include <stddef.h>

/* Part `part` of `parts`; the parts of one job run at the same time. */
typedef void (*fs_job)(int part, int parts, void *argument);

/* Run a job in at most `parts` parts; returns when all are done. */
void fs_run(int parts, fs_job job, void *argument);

typedef struct {
    atomic_int waiting;
    atomic_uint phase; /* may wrap around */
} fs_barrier;

/* Wait until `parts` parts have come here. */
void fs_barrier_wait(fs_barrier *barrier, int parts);

/* Memory aligned for vectors, contents undefined, for a call or for an array that it returns; given
 * back, it serves later ones without new page faults.  NULL when there is none left.  At most
 * FS_KEPT_BYTES wait for their next use. */
#define FS_KEPT_BYTES ((size_t)128 << 20)
void *fs_take_scratch(size_t bytes);
void *fs_take_result(size_t bytes);
void *fs_resize_result(void *memory, size_t bytes);
void fs_give_back(void *memory);

/* Give up what is kept for later calls. */
void fs_free_kept(void);

/* Bytes to leave unused behind each buffer in scratch memory, and a report from the address
 * sanitizer for whoever touches them; otherwise nothing. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define FS_GUARD_BYTES 64
#define FS_GUARD(memory, bytes) ASAN_POISON_MEMORY_REGION(memory, bytes)
#else
#define FS_GUARD_BYTES 0
#define FS_GUARD(memory, bytes) ((void)(memory), (void)(bytes))
#endif

#endif
