"""What both extensions begin with: threads and memory of C (``pool.h``), pointers into arrays."""

cdef extern from "pool.h" nogil:
    ctypedef struct fs_barrier:
        pass
    void fs_run(int, void (*)(int, int, void *) noexcept nogil, void *)
    void fs_barrier_wait(fs_barrier *, int)
    void *fs_take_scratch(size_t)
    void *fs_take_result(size_t)
    void *fs_resize_result(void *, size_t)
    void fs_give_back(void *)
    void fs_free_kept()
    size_t FS_KEPT_BYTES
    enum: FS_GUARD_BYTES
    void FS_GUARD(void *, size_t)


# --- scratch memory -------------------------------------------------------------------------

cdef struct Scratch:
    char *data      # NULL while sizes are being counted
    size_t used
    int layouts     # begun by `lay_out_again`


cdef inline Scratch scratch_at(char *memory) noexcept nogil:
    """With NULL sizes are counted."""
    return Scratch(memory, 0, 0)


cdef inline char *take(Scratch *scratch, size_t bytes) noexcept nogil:
    cdef size_t begin = scratch.used
    scratch.used += (bytes + FS_GUARD_BYTES + 63) // 64 * 64
    if scratch.data == NULL:
        return NULL
    FS_GUARD(scratch.data + begin + bytes, scratch.used - begin - bytes)
    return scratch.data + begin


cdef char *take_memory(size_t bytes) except NULL:
    cdef char *memory
    with nogil:  # mapping in what is large takes a while
        memory = <char *>fs_take_scratch(bytes)
    if memory == NULL:
        raise MemoryError(f"no memory for {bytes} bytes of packed weights and buffers")
    return memory


cdef bint lay_out_again(Scratch *scratch) except -1:
    """True twice, for a loop that lays out memory: at first sizes are counted, then it is there.
    Who lays it out gives it back."""
    scratch.layouts += 1
    if scratch.layouts == 2:
        scratch.data = take_memory(scratch.used)
        scratch.used = 0
    return scratch.layouts <= 2


def reserve_memory(size_t bytes):
    """Keep a block of this size, its pages mapped in, for the calls to come."""
    fs_give_back(take_memory(bytes))


def free_memory():
    """Give up what is kept for the calls to come."""
    with nogil:
        fs_free_kept()


# --- from arrays to pointers ----------------------------------------------------------------

cdef inline char *data(cnp.ndarray array) noexcept:
    return NULL if array is None else <char *>cnp.PyArray_DATA(array)


cdef inline char *part_of(cnp.ndarray array, long index) noexcept:
    """array[index]."""
    return NULL if array is None else <char *>cnp.PyArray_DATA(array) + index * array.strides[0]
