"""What C offers training: functions on rows (``word2vec.h``), products."""

cdef extern from "dispatch.h" nogil:
    ctypedef struct fs_change:
        char *row
        const char *delta
        double scale
        long index
    ctypedef struct fs_word2vec:
        long item, lanes
        void (*pack)(const char *, long, long, long, long, char *, long) noexcept nogil
        void (*product)(long, long, long, long, const char *, long, long, const char *, long,
                        char *, long) noexcept nogil
        void (*dots)(long, long, long, const char *, const char **, char *, long) noexcept nogil
        void (*row_dots)(long, long, const char *, const char **, char *) noexcept nogil
        void (*pairs)(long, long, const char *, const char *, char *, const char **,
                      char **) noexcept nogil
        void (*products)(long, long, char **, const char *, long, long, long,
                         const char **) noexcept nogil
        void (*errors)(long, const char *, const char *, double, char *) noexcept nogil
        double (*loss)(long, const char *, const char *, const char *) noexcept nogil
        void (*running_sums)(long, long, const char **, char *) noexcept nogil
        void (*window)(long, const char *, const char *, const char *, double,
                       char *) noexcept nogil
        void (*open_window)(long, double, const char *, char *, char *) noexcept nogil
        void (*add_windows)(long, const char *, char *, const char *, double,
                            char *) noexcept nogil
        void (*add_changes)(long, long, const fs_change *, int, int) noexcept nogil
        void (*exchange)(long, char *, char *, char *) noexcept nogil
    ctypedef struct fs_isa:
        const char *name
        const fs_word2vec *f32
        const fs_word2vec *f64
    const fs_isa *const *fs_available_isas()
    enum: FS_PANEL_VECTORS

cdef extern from *:
    """
    static inline long fs_next(long *counter) {
        return __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
    }

    /* Has memory brought into the second cache: a block and what the next ones need exceed the
     * first. */
    static inline void fs_ask_for(const char *data, long bytes) {
        for (long at = 0; at < bytes; at += 64) __builtin_prefetch(data + at, 1, 2);
        /* GCC drops calls, also those of callers, if nothing in a function has an effect. */
        __asm__ volatile("");
    }
    """
    long fs_next(long *) noexcept nogil
    void fs_ask_for(const char *, long) noexcept nogil
