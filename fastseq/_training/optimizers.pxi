"""The optimisers' kernels: from flat arrays to pointers, and blocks of them over threads."""

cdef enum:
    BLOCK = 4096          # numbers that stay together; their squares are summed before the sums are
    PART_NUMBERS = 65536  # below so many a second thread costs more than it brings


cdef struct Job:
    const fs_optimizers *optimizers
    fs_updater updater
    fs_update update
    long size, item
    double *sums          # of each block's squares


cdef Job new_job(cnp.ndarray values, cnp.ndarray grads, double scale, double decay, double rate):
    cdef const fs_tiles *tiles = tiles_of(values)
    cdef Job job
    memset(&job, 0, sizeof(job))
    job.optimizers, job.size, job.item = tiles.optimizers, values.size, tiles.item
    job.update.values, job.update.gradients = data(values), data(grads)
    job.update.scale, job.update.decay, job.update.rate = scale, decay, rate
    return job


cdef void run_job(Job *job, void (*part)(int, int, void *) noexcept nogil):
    cdef int parts = <int>min(_threads, 1 + job.size // PART_NUMBERS)
    with nogil:
        fs_run(parts, part, job)


cdef inline long block_of(long size, int index, int parts) noexcept nogil:
    """The first block of a part."""
    return (size + BLOCK - 1) // BLOCK * index // parts


cdef inline long begin_of(long size, int index, int parts) noexcept nogil:
    """The first number of a part."""
    return min(block_of(size, index, parts) * BLOCK, size)


# --- updates --------------------------------------------------------------------------------------

cdef void update_part(int index, int parts, void *argument) noexcept nogil:
    cdef Job *job = <Job *>argument
    cdef long begin = begin_of(job.size, index, parts)
    job.optimizers.update(job.updater, &job.update, begin, begin_of(job.size, index + 1, parts))


def sgd_step(
    cnp.ndarray values, cnp.ndarray grads, cnp.ndarray buffer, double scale, double lr,
    double decay, double momentum, double gain, bint nesterov,
):
    cdef Job job = new_job(values, grads, scale, decay, lr)
    job.update.state[0] = data(buffer)
    job.update.momentum, job.update.gain = momentum, gain
    job.updater = job.optimizers.sgd[0 if buffer is None else 1 + nesterov]
    run_job(&job, update_part)


def adam_step(
    cnp.ndarray values, cnp.ndarray grads, cnp.ndarray mean, cnp.ndarray square,
    cnp.ndarray largest, double scale, double rate, double decay, double shrink, double beta1,
    double beta2, double correction, double eps,
):
    cdef Job job = new_job(values, grads, scale, decay, rate)
    job.update.state = [data(mean), data(square), data(largest)]
    job.update.beta1, job.update.beta2 = beta1, beta2
    job.update.shrink, job.update.correction, job.update.eps = shrink, correction, eps
    job.updater = job.optimizers.adam[largest is not None]
    run_job(&job, update_part)


def rmsprop_step(
    cnp.ndarray values, cnp.ndarray grads, cnp.ndarray square, cnp.ndarray mean,
    cnp.ndarray buffer, double scale, double lr, double decay, double alpha, double momentum,
    double eps,
):
    cdef Job job = new_job(values, grads, scale, decay, lr)
    job.update.state = [data(square), data(mean), data(buffer)]
    job.update.beta2, job.update.momentum, job.update.eps = alpha, momentum, eps
    job.updater = job.optimizers.rmsprop[(mean is not None) + 2 * (buffer is not None)]
    run_job(&job, update_part)


def adagrad_step(
    cnp.ndarray values, cnp.ndarray grads, cnp.ndarray total, double scale, double rate,
    double decay, double eps,
):
    cdef Job job = new_job(values, grads, scale, decay, rate)
    job.update.state[0], job.update.eps = data(total), eps
    job.updater = job.optimizers.adagrad
    run_job(&job, update_part)


# --- in float64 whatever the dtype ----------------------------------------------------------------

cdef void average_part(int index, int parts, void *argument) noexcept nogil:
    cdef Job *job = <Job *>argument
    cdef long begin = begin_of(job.size, index, parts)
    job.optimizers.average(&job.update, begin, begin_of(job.size, index + 1, parts))


def average(cnp.ndarray mean, cnp.ndarray values, double weight):
    cdef Job job = new_job(values, None, 1, 0, weight)
    job.update.state[0] = data(mean)
    run_job(&job, average_part)


cdef void norm_part(int index, int parts, void *argument) noexcept nogil:
    cdef Job *job = <Job *>argument
    cdef long block, begin
    for block in range(block_of(job.size, index, parts), block_of(job.size, index + 1, parts)):
        begin = block * BLOCK
        job.sums[block] = job.optimizers.squared_norm(
            min(BLOCK, job.size - begin), job.update.values + begin * job.item
        )


def squared_norm(cnp.ndarray x):
    cdef Job job = new_job(x, None, 1, 0, 0)
    cdef long block, blocks = block_of(job.size, 1, 1)
    cdef double total = 0
    job.sums = <double *>fs_take_scratch(blocks * sizeof(double))
    if job.sums == NULL:
        raise MemoryError(f"no memory for the sums of {blocks} blocks")
    run_job(&job, norm_part)
    for block in range(blocks):
        total += job.sums[block]
    fs_give_back(job.sums)
    return total
