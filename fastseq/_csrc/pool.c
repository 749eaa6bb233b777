#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#else
typedef int cpu_set_t;
#endif

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

enum {
    MAX_PARTS = 256,
    WORKER_SPINS = 4000,
    PARTS_RANGE = 1024,
    BARRIER_SPINS = 200 /* then give way: whom we wait for may need this very core */
};

/* --- threads --------------------------------------------------------------------------------- */

typedef enum { AWAKE, ASLEEP, KEPT_AWAY } worker_state;

static struct {
    pthread_mutex_t caller;   /* held by the one job that runs */
    pthread_mutex_t sleep;    /* guards the condition, `state` and `processors` */
    pthread_cond_t wake;
    int workers;              /* threads started; they have the numbers from 1 on */
    pthread_t thread[MAX_PARTS];
    worker_state state[MAX_PARTS];
    cpu_set_t processors;     /* that the last caller to wake workers could use */
    atomic_ullong ticket;     /* job's number * PARTS_RANGE + its parts; a change wakes workers */
    atomic_int pending;       /* workers that have not finished their part */
    atomic_int sleepers;
    fs_job job;               /* only workers with a part may read these two */
    void *argument;
} pool = {.caller = PTHREAD_MUTEX_INITIALIZER,
          .sleep = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER};

/* A virtual machine's idle processor counts as busy while its host has it off the real one.  Then
 * Linux wakes a worker on the caller's own processor, where it waits milliseconds for its turn.
 * So a caller keeps sleeping workers away from there, and they lift that as soon as they run. */
#if defined(__linux__)
static void keep_sleepers_away(void) { /* holding `sleep` */
    int here = sched_getcpu();
    if (here < 0 || sched_getaffinity(0, sizeof pool.processors, &pool.processors)) return;
    cpu_set_t others = pool.processors;
    CPU_CLR(here, &others);
    if (!CPU_COUNT(&others)) return;
    for (int i = 1; i <= pool.workers; i++) {
        if (pool.state[i] != ASLEEP) continue;
        if (!pthread_setaffinity_np(pool.thread[i], sizeof others, &others))
            pool.state[i] = KEPT_AWAY;
    }
}

static void come_back(cpu_set_t processors) {
    pthread_setaffinity_np(pthread_self(), sizeof processors, &processors);
}
#else
static void keep_sleepers_away(void) {}
static void come_back(cpu_set_t processors) { (void)processors; }
#endif

static unsigned long long sleep_until_job(int number, unsigned long long seen) {
    pthread_mutex_lock(&pool.sleep);
    pool.state[number] = ASLEEP;
    atomic_fetch_add(&pool.sleepers, 1);
    while (atomic_load(&pool.ticket) == seen) pthread_cond_wait(&pool.wake, &pool.sleep);
    atomic_fetch_sub(&pool.sleepers, 1);
    int kept_away = pool.state[number] == KEPT_AWAY;
    cpu_set_t processors = pool.processors;
    pool.state[number] = AWAKE;
    pthread_mutex_unlock(&pool.sleep);
    if (kept_away) come_back(processors);
    return atomic_load(&pool.ticket);
}

static unsigned long long wait_for_job(int number, unsigned long long seen) {
    for (int spins = 0; spins < WORKER_SPINS; spins++) {
        unsigned long long now = atomic_load_explicit(&pool.ticket, memory_order_acquire);
        if (now != seen) return now;
        PAUSE();
    }
    return sleep_until_job(number, seen);
}

/* What a worker needs to know when it starts. */
typedef struct {
    int part;
    unsigned long long ticket;
} worker_start;

static void *work(void *pointer) {
    worker_start start = *(worker_start *)pointer;
    free(pointer);
    unsigned long long seen = start.ticket;
    for (;;) {
        seen = wait_for_job(start.part, seen);
        int parts = seen % PARTS_RANGE;
        if (start.part >= parts) continue; /* not awaited: the next job may already be there */
        pool.job(start.part, parts, pool.argument);
        atomic_fetch_sub_explicit(&pool.pending, 1, memory_order_release);
    }
    return NULL;
}

static int start_worker(void) {
    worker_start *start = malloc(sizeof *start);
    pthread_t thread;
    if (!start) return 0;
    *start = (worker_start){pool.workers + 1, atomic_load(&pool.ticket)};
    if (pthread_create(&thread, NULL, work, start)) {
        free(start);
        return 0;
    }
    pthread_detach(thread);
    pool.thread[++pool.workers] = thread;
    return 1;
}

static void forget_workers(void) {
    /* The child of a fork has none of the parent's threads and must not inherit its locks. */
    pthread_mutex_init(&pool.caller, NULL);
    pthread_mutex_init(&pool.sleep, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.workers = 0;
    memset(pool.state, 0, sizeof pool.state);
    atomic_store(&pool.pending, 0);
    atomic_store(&pool.sleepers, 0);
}

static void register_fork_handler(void) { pthread_atfork(NULL, NULL, forget_workers); }

void fs_run(int parts, fs_job job, void *argument) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (parts > MAX_PARTS) parts = MAX_PARTS;
    if (parts <= 1 || pthread_mutex_trylock(&pool.caller)) {
        job(0, 1, argument);
        return;
    }
    pthread_once(&once, register_fork_handler);
    while (pool.workers < parts - 1 && start_worker()) {}
    if (parts > pool.workers + 1) parts = pool.workers + 1;
    pool.job = job;
    pool.argument = argument;
    atomic_store(&pool.pending, parts - 1);
    unsigned long long number = atomic_load(&pool.ticket) / PARTS_RANGE;
    atomic_store(&pool.ticket, (number + 1) * PARTS_RANGE + parts);
    if (atomic_load(&pool.sleepers)) {
        pthread_mutex_lock(&pool.sleep);
        keep_sleepers_away();
        pthread_cond_broadcast(&pool.wake);
        pthread_mutex_unlock(&pool.sleep);
    }
    job(0, parts, argument);
    for (int spins = 0; atomic_load_explicit(&pool.pending, memory_order_acquire); spins++) {
        PAUSE();
        if (spins > BARRIER_SPINS) sched_yield();
    }
    pthread_mutex_unlock(&pool.caller);
}

void fs_barrier_wait(fs_barrier *barrier, int parts) {
    unsigned phase = atomic_load_explicit(&barrier->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&barrier->waiting, 1, memory_order_acq_rel) == parts - 1) {
        atomic_store_explicit(&barrier->waiting, 0, memory_order_relaxed);
        atomic_store_explicit(&barrier->phase, phase + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&barrier->phase, memory_order_acquire) == phase;
         spins++) {
        PAUSE();
        if (spins > BARRIER_SPINS) sched_yield();
    }
}

/* --- memory ---------------------------------------------------------------------------------- */

enum { KEPT_BLOCKS = 16 };
/* With guards around buffers every call takes new memory: sizes and guards differ. */
static const size_t KEPT_BYTES = FS_GUARD_BYTES ? 0 : FS_KEPT_BYTES;
static const size_t HUGE_PAGE = (size_t)2 << 20;
static const size_t LARGEST_PAGE = (size_t)64 << 10;
static const size_t HEADER = 64;

/* Each block starts with its size, one cache line before the memory handed out.  The longest kept
 * comes first, and is the first to go. */
static struct {
    pthread_mutex_t lock;
    char *blocks[KEPT_BLOCKS];
    int count;
    size_t bytes;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t block_size(const char *block) { return *(const size_t *)block; }

/* A fork waits until no thread is moving blocks: a child that had one twice would use it twice. */
static void lock_kept(void) { pthread_mutex_lock(&kept.lock); }
static void unlock_kept(void) { pthread_mutex_unlock(&kept.lock); }
static void reset_kept_lock(void) { pthread_mutex_init(&kept.lock, NULL); }

static void register_kept_fork_handlers(void) {
    pthread_atfork(lock_kept, unlock_kept, reset_kept_lock);
}

static char *remove_kept(int at) {
    char *block = kept.blocks[at];
    kept.count--;
    kept.bytes -= block_size(block);
    memmove(kept.blocks + at, kept.blocks + at + 1, (kept.count - at) * sizeof(char *));
    return block;
}

/* The smallest kept block that is large enough, but larger by no more than `spare`; or NULL. */
static char *find_kept(size_t bytes, size_t spare) {
    int best = -1;
    for (int i = 0; i < kept.count; i++) {
        size_t size = block_size(kept.blocks[i]);
        if (size < bytes || size - bytes > spare) continue;
        if (best < 0 || size < block_size(kept.blocks[best])) best = i;
    }
    return best < 0 ? NULL : remove_kept(best);
}

#if defined(__linux__) && FS_GUARD_BYTES == 0
/* Large blocks are mappings of their own: in malloc's heap one that is kept would hold on to all
 * that was freed below it.  They begin at huge pages: fewer faults and TLB misses. */
static int is_mapping(size_t bytes) { return bytes >= HUGE_PAGE; }

static size_t whole_pages(size_t bytes) {
    return (bytes + LARGEST_PAGE - 1) / LARGEST_PAGE * LARGEST_PAGE;
}

static char *map_block(size_t bytes) {
    char *all = mmap(
        NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return NULL;
    char *block = (char *)(((uintptr_t)all + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    size_t before = block - all;
    if (before) munmap(all, before);
    munmap(block + bytes, HUGE_PAGE - before);
#if defined(MADV_HUGEPAGE)
    madvise(block, bytes, MADV_HUGEPAGE);
#endif
    return block;
}

static void unmap_block(char *block) { munmap(block, block_size(block)); }
#else
static int is_mapping(size_t bytes) { return (void)bytes, 0; }
static size_t whole_pages(size_t bytes) { return bytes; }
static char *map_block(size_t bytes) { return (void)bytes, NULL; }
static void unmap_block(char *block) { (void)block; }
#endif

static char *new_block(size_t bytes) {
    void *block = NULL;
    if (is_mapping(bytes))
        block = map_block(bytes = whole_pages(bytes));
    else if (posix_memalign(&block, HEADER, bytes))
        block = NULL;
    if (block) *(size_t *)block = bytes;
    return block;
}

static void free_block(char *block) {
    if (block && is_mapping(block_size(block)))
        unmap_block(block);
    else
        free(block);
}

/* All pages at once, which takes less time than one by one. */
static void map_pages(char *block) {
#if defined(__linux__) && defined(MADV_POPULATE_WRITE)
    const size_t page = 4096; /* where it is larger this fails, and the pages come one by one */
    char *first = (char *)(((uintptr_t)block + page - 1) / page * page);
    char *last = (char *)(((uintptr_t)block + block_size(block)) / page * page);
    if (first < last) madvise(first, last - first, MADV_POPULATE_WRITE);
#else
    (void)block;
#endif
}

static char *take_kept(size_t bytes, size_t spare) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_kept_fork_handlers);
    pthread_mutex_lock(&kept.lock);
    char *block = find_kept(bytes, spare);
    pthread_mutex_unlock(&kept.lock);
    return block;
}

static char *give_up_oldest(void) {
    pthread_mutex_lock(&kept.lock);
    char *block = kept.count ? remove_kept(0) : NULL;
    pthread_mutex_unlock(&kept.lock);
    return block;
}

void fs_free_kept(void) {
    for (char *block; (block = give_up_oldest());) free_block(block);
}

/* With the header, in whole lines; exactly where the address sanitizer watches what lies behind. */
static size_t with_header(size_t bytes) {
    return FS_GUARD_BYTES ? HEADER + bytes : (bytes + 2 * HEADER - 1) / HEADER * HEADER;
}

/* What is kept and of no use must not stand in the way. */
static char *new_block_at_any_rate(size_t bytes) {
    char *block = new_block(bytes);
    if (block) return block;
    fs_free_kept();
    return new_block(bytes);
}

void *fs_take_scratch(size_t bytes) {
    char *block = take_kept(with_header(bytes), 3 * bytes + HUGE_PAGE);
    if (!block) {
        block = new_block_at_any_rate(with_header(bytes));
        if (block) map_pages(block);
    }
    return block ? block + HEADER : NULL;
}

/* Who holds a result for long shall not hold much more than it.  Its pages come when it is written,
 * by threads that do not hold the interpreter. */
void *fs_take_result(size_t bytes) {
    char *block = take_kept(with_header(bytes), bytes / 4);
    if (!block) block = new_block_at_any_rate(with_header(bytes));
    return block ? block + HEADER : NULL;
}

void *fs_resize_result(void *memory, size_t bytes) {
    size_t room = memory ? block_size((char *)memory - HEADER) - HEADER : 0;
    if (memory && bytes <= room) return memory;
    void *larger = fs_take_result(bytes);
    if (larger && memory) {
        memcpy(larger, memory, room);
        fs_give_back(memory);
    }
    return larger;
}

void fs_give_back(void *memory) {
    char *block = memory ? (char *)memory - HEADER : NULL;
    while (block) {
        char *unused = block;
        pthread_mutex_lock(&kept.lock);
        if (block_size(block) > KEPT_BYTES) {
            block = NULL;
        } else if (kept.count == KEPT_BLOCKS || kept.bytes + block_size(block) > KEPT_BYTES) {
            unused = remove_kept(0);
        } else {
            kept.blocks[kept.count++] = block;
            kept.bytes += block_size(block);
            block = unused = NULL;
        }
        pthread_mutex_unlock(&kept.lock);
        free_block(unused);
    }
}
