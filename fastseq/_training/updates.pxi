"""What C offers optimisers: their updates (``_csrc/updates.h``)."""

cdef extern from "updates.h" nogil:
    ctypedef struct fs_update:
        char *values
        const char *gradients
        char *state[3]
        double scale, decay, shrink, rate, momentum, gain, beta1, beta2, correction, eps
    ctypedef void (*fs_updater)(const fs_update *, long, long) noexcept nogil
    ctypedef struct fs_optimizers:
        void (*update)(fs_updater, const fs_update *, long, long) noexcept nogil
        fs_updater sgd[3]
        fs_updater adam[2]
        fs_updater rmsprop[4]
        fs_updater adagrad
        void (*average)(const fs_update *, long, long) noexcept nogil
        double (*squared_norm)(long, const char *) noexcept nogil
