"""What C offers attention (``_csrc/scores.h``)."""

cdef extern from "scores.h" nogil:
    enum: FS_FROM_EXPS, FS_FROM_SUMS
    ctypedef struct fs_attention:
        int (*exp_twice)(long, const char *, char *) noexcept nogil
        void (*tanh_scores[2])(long, long, const char *, const char *, long, const char *,
                               char *) noexcept nogil
        void (*tanh_scores_backward[2])(long, long, const char *, const char *, const char *, long,
                                        const char *, char *, char *, long, char *) noexcept nogil
        void (*dots)(long, long, long, const char **, const char *, long,
                     char **) noexcept nogil
        void (*weighted_sum)(long, long, long, const char **, const char *, long,
                             char **) noexcept nogil
        void (*add_outer)(long, long, long, const char **, const char **, char *,
                          long) noexcept nogil
        void (*add_scaled)(long, double, const char *, const char *, char *) noexcept nogil
        void (*tanh_backward)(long, const char *, char *) noexcept nogil
        void (*softmax)(long, char *) noexcept nogil
        void (*softmax_backward)(long, const char *, char *) noexcept nogil
