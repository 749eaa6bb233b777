"""A direction's weights, packed once for many walks forward."""

cdef class _KeptMemory:
    """Memory that is written once, and shared by all that read it."""
    cdef void *memory

    def __dealloc__(self):
        fs_give_back(self.memory)


cdef void lay_out_cell(Direction *d, Scratch *scratch) noexcept nogil:
    """Place the cell's packed weights in scratch memory."""
    cdef long s
    cdef Stage *stage
    for s in range(d.cell.stages):
        stage = &d.cell.forward[s]
        d.stage[s] = make_panels(
            d.tiles, d.H, d.H, stage.gates if stage.interleaved else 0, scratch
        )
    d.bias = take(scratch, d.cell.gates * gate_bytes(d))
    d.candidate_bias = take(scratch, gate_bytes(d))
    d.input = make_panels(d.tiles, d.ahead, d.H, d.cell.gates if d.cell.gates > 1 else 0, scratch)


cdef class PackedWeights(_KeptMemory):
    """See ``reference.pack_weights``."""
    cdef Direction d  # without steps, rows and arrays

    def __cinit__(
        self, str cell, option, cnp.ndarray weight_ih, cnp.ndarray weight_hh, bias_ih, bias_hh
    ):
        cdef Direction *d = &self.d
        cdef Scratch scratch = scratch_at(NULL)
        cdef Part whole
        d.tiles = tiles_of(weight_hh)
        d.cell = describe(cell, option, d.tiles)
        d.H, d.I = weight_hh.shape[1], weight_ih.shape[1]
        d.ahead = d.I
        while lay_out_again(&scratch):
            lay_out_cell(d, &scratch)
        self.memory = scratch.data
        memset(&whole, 0, sizeof(whole))
        whole.parts = 1
        set_weights(d, weight_ih, weight_hh, bias_ih, bias_hh)
        with nogil:
            pack_forward(d, &whole)
        set_weights(d, None, None, None, None)  # they may change, or go
        d.is_packed = True


def pack_weights(str cell, option, weights):
    return [PackedWeights(cell, option, *own) for own in weights]
