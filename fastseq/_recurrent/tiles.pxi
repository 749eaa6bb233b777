"""What C offers: tile functions (``tiles.h``)."""

cdef extern from "dispatch.h" nogil:
    ctypedef struct fs_block:
        long rows, units, vectors
        char *tile
        const char *z
        long z_row, z_gate
        char *slots
        long slots_row, slots_gate
        const char *bias
        const char *h_previous
        const char *c_previous
        long h_previous_row, c_previous_row
        char *h
        char *c
        long h_row, c_row
        const char *dy
        long dy_row
        char *dh
        char *dc
        long dh_row, dc_row
        long next, soon
    ctypedef void (*fs_point)(const fs_block *) noexcept nogil
    ctypedef struct fs_tiles:
        long item, lanes
        void (*pack)(const char *, long, long, long, long, char *, long) noexcept nogil
        void (*product)(long, long, long, long, const char *, long, long, const char *, long,
                        char *, long) noexcept nogil
        void (*store)(long, long, long, long, const char *, const char *, long, char *, long,
                      long, int) noexcept nogil
        void (*column_sums)(long, long, const char *, long, char *, char *) noexcept nogil
        fs_point rnn_forward[3]
        fs_point rnn_backward[3]
        fs_point lstm_forward, lstm_backward, gru_forward, gru_backward
        fs_point gru_reset, gru_candidate, gru_candidate_backward, gru_reset_backward
        void (*exp)(long, const char *, char *) noexcept nogil
        void (*tanh)(long, const char *, char *) noexcept nogil
        void (*sigmoid)(long, const char *, char *) noexcept nogil
        void (*softmax_sums)(long, const char *, double *, double *, double *) noexcept nogil
        void (*softmax_gradient)(long, const char *, double, double, double, char *) noexcept nogil
        const fs_optimizers *optimizers
        const fs_attention *attention
        const fs_dot_product *dot_product
    ctypedef struct fs_isa:
        const char *name
        const fs_tiles *f32
        const fs_tiles *f64
    const fs_isa *const *fs_available_isas()
    enum: FS_PANEL_VECTORS


cdef inline void add_row(const fs_tiles *tiles, long n, const char *row, char *out) noexcept nogil:
    """out += row"""
    tiles.column_sums(1, n, row, 0, out, NULL)
