"""Arrays for results, whose memory NumPy takes from what earlier ones have left (NEP 49)."""

cdef extern from "numpy/arrayobject.h":
    ctypedef struct PyDataMemAllocator:
        void *ctx
        void *(*malloc)(void *, size_t) noexcept
        void *(*calloc)(void *, size_t, size_t) noexcept
        void *(*realloc)(void *, void *, size_t) noexcept
        void (*free)(void *, void *, size_t) noexcept
    ctypedef struct PyDataMem_Handler:
        char name[127]
        uint8_t version
        PyDataMemAllocator allocator
    object PyDataMem_SetHandler(object)

# Left to NumPy's own memory: smaller arrays, larger ones than can be kept, and those of more axes.
cdef enum:
    RESULT_BYTES = 65536
    MOST_AXES = 8


cdef void *result_malloc(void *unused, size_t bytes) noexcept:
    return fs_take_result(bytes)


cdef void *result_calloc(void *unused, size_t count, size_t bytes) noexcept:
    cdef void *memory = fs_take_result(count * bytes)
    if memory != NULL:
        memset(memory, 0, count * bytes)
    return memory


cdef void *result_realloc(void *unused, void *memory, size_t bytes) noexcept:
    return fs_resize_result(memory, bytes)


cdef void result_free(void *unused, void *memory, size_t bytes) noexcept:
    fs_give_back(memory)


cdef PyDataMem_Handler _result_memory
memset(&_result_memory, 0, sizeof(_result_memory))
memcpy(_result_memory.name, <const char *>b"fastseq", 8)
_result_memory.version = 1
_result_memory.allocator = PyDataMemAllocator(
    NULL, result_malloc, result_calloc, result_realloc, result_free
)
cdef object _result_handler = PyCapsule_New(&_result_memory, "mem_handler", NULL)


def empty(tuple shape not None, cnp.dtype dtype not None):
    cdef cnp.npy_intp sizes[MOST_AXES]
    cdef int i, axes = <int>len(shape)
    cdef double bytes = dtype.itemsize  # may be beyond what an integer holds; NumPy says so
    cdef object before
    if axes > MOST_AXES:
        return np.empty(shape, dtype)
    for i in range(axes):
        sizes[i] = shape[i]
        bytes *= sizes[i]
    if not RESULT_BYTES <= bytes <= <double>FS_KEPT_BYTES:
        return cnp.PyArray_EMPTY(axes, sizes, dtype.type_num, 0)
    before = PyDataMem_SetHandler(_result_handler)
    try:
        return cnp.PyArray_EMPTY(axes, sizes, dtype.type_num, 0)
    finally:
        PyDataMem_SetHandler(before)
