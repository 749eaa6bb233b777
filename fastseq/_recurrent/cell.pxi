"""What tells a cell from the others: stages, slots and gradient pieces."""

cdef struct Stage:
    bint own_slot        # the product's rows: a slot of this step, or the previous state
    long slot            # forward: that slot; backward: the first of the slots multiplied
    long gate, gates     # the rows of weight_hh, counted in gates
    long rotate          # backward: gate that comes first in the slots
    bint interleaved     # panels with a unit's gates side by side, or plain ones
    fs_point point

cdef struct Piece:       # a run of slots and the weight rows whose gradients it gives
    long slot, slots
    long row_ih, row_hh  # in gates; -1: none
    long state_slot      # slot that multiplies weight_hh's rows; -1: the previous state

cdef struct Cell:
    long gates, slots, input_slot
    bint has_cell_state
    bint saves_slots     # even in inference
    bint carries         # dh holds a direct part beside the product's
    int stages, pieces
    Stage forward[2]
    Stage backward[2]
    Piece piece[3]


cdef Cell describe(str cell, option, const fs_tiles *tiles) except *:
    cdef Cell c
    cdef int kind
    memset(&c, 0, sizeof(c))
    c.stages = c.pieces = 1
    if cell == "rnn":
        kind = 0 if option == "tanh" else 1 if option == "relu" else 2
        c.gates = c.slots = 1
        c.forward[0] = Stage(False, 0, 0, 1, 0, False, tiles.rnn_forward[kind])
        c.backward[0] = Stage(False, 0, 0, 1, 0, False, tiles.rnn_backward[kind])
        c.piece[0] = Piece(0, 1, 0, 0, -1)
    elif cell == "lstm":
        c.gates = c.slots = 4
        c.has_cell_state = True
        c.forward[0] = Stage(False, 0, 0, 4, 0, True, tiles.lstm_forward)
        c.backward[0] = Stage(False, 0, 0, 4, 0, False, tiles.lstm_backward)
        c.piece[0] = Piece(0, 4, 0, 0, -1)
    elif cell == "gru":
        c.gates, c.slots, c.input_slot = 3, 4, 1
        c.carries = True
        if option:  # slots dhn dr dz dn
            c.forward[0] = Stage(False, 0, 0, 3, 0, True, tiles.gru_forward)
            c.backward[0] = Stage(False, 0, 0, 3, 2, False, tiles.gru_backward)
            c.pieces = 3
            c.piece[0] = Piece(0, 1, -1, 2, -1)
            c.piece[1] = Piece(1, 2, 0, 0, -1)
            c.piece[2] = Piece(3, 1, 2, -1, -1)
        else:  # slots rh dr dz dn
            c.stages, c.pieces = 2, 2
            c.saves_slots = True
            c.forward[0] = Stage(False, 0, 0, 2, 0, True, tiles.gru_reset)
            c.forward[1] = Stage(True, 0, 2, 1, 0, False, tiles.gru_candidate)
            c.backward[0] = Stage(False, 1, 0, 2, 0, False, tiles.gru_candidate_backward)
            c.backward[1] = Stage(True, 3, 2, 1, 0, False, tiles.gru_reset_backward)
            c.piece[0] = Piece(1, 2, 0, 0, -1)
            c.piece[1] = Piece(3, 1, 2, 2, 0)
    else:
        raise ValueError(f"no cell {cell!r}")
    return c
