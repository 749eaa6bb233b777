"""Streams: stacked cells that advance one step a call."""

cdef struct Stack:       # the layers of a Stepper
    Direction *layer
    long layers
    bint large           # the weights exceed a core's cache


cdef void step_part(int index, int parts, void *argument) noexcept nogil:
    cdef Stack *stack = <Stack *>argument
    cdef Direction *d
    cdef Part part
    cdef fs_block b
    cdef long i
    for i in range(stack.layers):
        d = &stack.layer[i]
        part = make_part(d, index, parts)
        fill_block(d, &part, &b)
        if d.cell.stages == 1 and stack.large:
            step_in_slices(d, part, &b)
        else:
            forward_chunk(d, &part, &b, 0, 1)


cdef void step_in_slices(Direction *d, Part part, fs_block *b) noexcept nogil:
    """Both products of a few units, then those of the next ones: up and down in turn, so that the
    weights used last, which are still in cache, come first in the next step."""
    cdef long begin = part.unit_begin, end = part.unit_end
    cdef long slice_units = FS_PANEL_VECTORS * d.tiles.lanes
    cdef bint by_units = part.by_units
    part.by_units = False  # waiting once is enough
    while begin < end:
        if d.steps_before & 1:
            part.unit_begin, part.unit_end = max(begin, (end - 1) // slice_units * slice_units), end
            end = part.unit_begin
        else:
            part.unit_begin, part.unit_end = begin, min(end, begin + slice_units)
            begin = part.unit_end
        forward_chunk(d, &part, b, 0, 1)
    if by_units:
        wait(d, &part)


cdef class Stepper:
    """Stacked cells that advance one step a call; see ``reference.Stepper``."""
    cdef Stack stack
    cdef list weights     # to whose memory the layers point
    cdef void *memory
    cdef size_t state_bytes
    cdef int parts, kind
    cdef long batch, inputs
    cdef int64_t offsets[2]
    cdef char *next_states
    cdef readonly cnp.ndarray h, c
    cdef cnp.ndarray top, top_row

    def __init__(self, str cell, list weights, option, cnp.ndarray h, cnp.ndarray c):
        cdef Direction *d
        cdef long i
        self.take_layers(weights)
        for i in range(self.stack.layers):
            d = &self.stack.layer[i]
            d[0] = (<PackedWeights?>weights[i]).d
            d.T, d.B = 1, h.shape[1]
            d.x_row = d.I * d.tiles.item
            d.y_row = d.state_row = d.H * d.tiles.item
        self.bind(h, c)
        self.parts = self.useful_parts()
        self.take_memory()

    def over(self, cnp.ndarray h, cnp.ndarray c):
        """The same weights with another state; see ``reference.Stepper``."""
        cdef Stepper other = Stepper.__new__(Stepper)
        other.take_layers(self.weights)
        memcpy(other.stack.layer, self.stack.layer, self.stack.layers * sizeof(Direction))
        other.bind(h, c)
        other.parts = self.parts
        other.take_memory()
        return other

    cdef take_layers(self, list weights):
        self.weights, self.stack.layers = weights, len(weights)
        fs_give_back(self.stack.layer)
        self.stack.layer = <Direction *>fs_take_scratch(len(weights) * sizeof(Direction))
        if self.stack.layer == NULL:
            raise MemoryError("no memory for a stream")
        memset(self.stack.layer, 0, len(weights) * sizeof(Direction))

    cdef bind(self, cnp.ndarray h, cnp.ndarray c):
        """Advance this state."""
        cdef Direction *d
        cdef long i
        self.h, self.c = h, c
        self.kind = cnp.PyArray_TYPE(h)
        self.batch, self.inputs = h.shape[1], self.stack.layer[0].I
        self.offsets[0], self.offsets[1] = 0, self.batch
        self.state_bytes = h.nbytes
        for i in range(self.stack.layers):
            d = &self.stack.layer[i]
            d.offsets = self.offsets
            d.h0 = part_of(h, i)
            d.c0 = d.c_n = part_of(c, i)
        self.top = h[h.shape[0] - 1]
        self.top.flags.writeable = False
        self.top_row = self.top[0] if self.batch == 1 else None

    cdef int useful_parts(self):
        """With large weights, threads each keep a slice in their own cache."""
        cdef size_t weights = 0
        cdef double work = 0
        cdef const Direction *d
        cdef long i
        for i in range(self.stack.layers):
            d = &self.stack.layer[i]
            weights += d.cell.gates * gate_bytes(d) * (d.I + d.H)
            work += flops(d)
        self.stack.large = weights >= LARGE_BYTES
        if not self.stack.large and work < THREAD_FLOPS:
            return 1
        return min(_threads, max(d.B // 2, d.H // UNITS_PER_PART, 1))

    cdef take_memory(self):
        """For the parts' buffers and the next states."""
        cdef Scratch scratch = scratch_at(NULL)
        cdef Direction *d
        cdef long i
        fs_give_back(self.memory)
        self.memory = NULL
        while lay_out_again(&scratch):
            for i in range(self.stack.layers):
                lay_out(&self.stack.layer[i], False, self.parts, &scratch)
            self.next_states = take(&scratch, self.state_bytes)
        self.memory = scratch.data
        for i in range(self.stack.layers):
            d = &self.stack.layer[i]
            d.y = self.next_states + i * self.batch * d.state_row
            if i > 0:
                d.x = self.stack.layer[i - 1].y

    def __dealloc__(self):
        fs_give_back(self.memory)
        fs_give_back(self.stack.layer)

    def __call__(self, cnp.ndarray x not None):
        cdef bint row = cnp.PyArray_NDIM(x) == 1
        cdef long i
        if (
            not cnp.PyArray_CheckExact(x)
            or cnp.PyArray_TYPE(x) != self.kind
            or not cnp.PyArray_ISCARRAY_RO(x)
            or not 1 <= cnp.PyArray_NDIM(x) <= 2
            or cnp.PyArray_SIZE(x) != self.batch * self.inputs
            or cnp.PyArray_DIM(x, 0) != (self.inputs if row else self.batch)
        ):
            # Never seen: Stream.step then converts x, or says what came.  Cheap for that reason.
            raise ValueError("x must be a contiguous array (batch_size, input_size) of h's dtype")
        self.stack.layer[0].x = <char *>cnp.PyArray_DATA(x)
        with nogil:
            fs_run(self.parts, step_part, &self.stack)
            for i in range(self.stack.layers):
                self.stack.layer[i].steps_before += 1
            memcpy(<char *>cnp.PyArray_DATA(self.h), self.next_states, self.state_bytes)
        return self.top_row if row else self.top
