"""What C offers scaled dot-product attention (``_csrc/score_blocks.h``)."""

cdef extern from "score_blocks.h" nogil:
    ctypedef struct fs_score_block:
        long rows, vectors
        char *scores
        long keys, seen, step
        double scale
        char *top
        char *sums
        char *shrink
        const double *log_sums
        const char *deltas
        char *d
    ctypedef struct fs_dot_product:
        void (*multiply)(
            long, long, long, const char *, long, long, const char *, char *
        ) noexcept nogil
        void (*weigh)(const fs_score_block *) noexcept nogil
        void (*weigh_back)(const fs_score_block *) noexcept nogil
        void (*finish)(long, const char *, const char *, double *, char *) noexcept nogil
        void (*scale_rows)(long, long, char *, const char *) noexcept nogil
        void (*row_dots)(
            long, long, const char *, long, const char *, long, char *
        ) noexcept nogil
