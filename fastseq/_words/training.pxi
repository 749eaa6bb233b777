"""Training over chunks of the corpus, by threads."""

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    #define fs_give_memory_back() ((void)malloc_trim(0))
    #else
    #define fs_give_memory_back() ((void)0)
    #endif
    """
    void fs_give_memory_back() noexcept nogil


def give_memory_back():
    """Give the system what was freed and glibc's heap keeps; see ``_reference/word2vec.py``."""
    with nogil:
        fs_give_memory_back()


def train_words(
    cnp.ndarray syn0, cnp.ndarray syn1neg, cnp.ndarray syn1, cnp.ndarray ids, cnp.ndarray offsets,
    cnp.ndarray keep, alias, tree, settings, streams, long first_chunk, cnp.ndarray rates,
    cnp.ndarray losses, int workers,
):
    """Train on some chunks; see ``_reference/word2vec.py``."""
    cdef Plan plan
    cdef int parts = workers, i
    cdef Scratch scratch = scratch_at(NULL)
    memset(&plan, 0, sizeof(plan))
    read_matrices(&plan, syn0, syn1neg, syn1)
    read_corpus(&plan, ids, offsets, keep)
    read_tables(&plan, alias, tree)
    read_settings(&plan, settings, streams)
    plan.rates, plan.losses = <const double *>data(rates), <double *>data(losses)
    plan.first_chunk = plan.next_chunk = first_chunk
    plan.last_chunk = first_chunk + rates.shape[0]
    plan.workers = settings.virtual_workers if plan.deferred else workers
    parts = min(parts, plan.workers)
    read_top(&plan)
    plan.worker = <Worker *>calloc(plan.workers, sizeof(Worker))
    if plan.worker == NULL:
        raise MemoryError(f"no memory for {plan.workers} workers")
    try:
        while lay_out_again(&scratch):
            for i in range(plan.workers):
                lay_out_worker(&plan.worker[i], &plan, &scratch)
        with nogil:
            fs_run(parts, train_together if plan.deferred else train_alone, &plan)
            fs_give_back(scratch.data)
    finally:
        free(plan.worker)


cdef void train_alone(int part, int parts, void *argument) noexcept nogil:
    """Take chunk after chunk, and change rows whoever else does (Recht et al., 2011)."""
    cdef Plan *plan = <Plan *>argument
    cdef Worker *w = &plan.worker[part]
    cdef long chunk = fs_next(&plan.next_chunk)
    while chunk < plan.last_chunk:
        read_chunk(w, chunk)
        while w.at < w.end:
            train_block(w, min(plan.block, w.end - w.at))
        note_loss(w)
        chunk = fs_next(&plan.next_chunk)


cdef void note_loss(Worker *w) noexcept nogil:
    cdef double *losses = w.plan.losses + 2 * (w.chunk - w.plan.first_chunk)
    losses[0], losses[1] = w.loss, w.pairs


# --- deterministic ------------------------------------------------------------------------------

cdef void train_together(int part, int parts, void *argument) noexcept nogil:
    """Workers train a block each from the same rows, then their changes are added in their order.

    There are as many workers whatever the number of parts, which share them; and each row's
    changes are added by one part.  So the result does not depend on the number of parts.
    """
    cdef Plan *plan = <Plan *>argument
    cdef Worker *w
    cdef int i
    cdef bint busy = True
    while busy:
        for i in range(plan.workers):
            if i % parts == part:
                if i + parts < plan.workers:
                    ask_for_next_block(&plan.worker[i + parts])
                train_next_block(&plan.worker[i], i)
        fs_barrier_wait(&plan.barrier, parts)
        busy = False
        for i in range(plan.workers):
            w = &plan.worker[i]
            busy |= w.chunk < plan.last_chunk
            if i == plan.workers - 1:
                ask_for_next_block(&plan.worker[part])
            plan.table.add_changes(plan.vectors, w.changed, w.changes, part, parts)
            if w.inputs:
                change_negatives(w, w.inputs, part, parts)
        fs_barrier_wait(&plan.barrier, parts)


cdef void train_next_block(Worker *w, int index) noexcept nogil:
    """Each worker has chunks of its own: every so many."""
    cdef const Plan *plan = w.plan
    w.changed = w.inputs = 0
    while w.at == w.end and w.chunk < plan.last_chunk:
        if w.chunk >= 0:
            note_loss(w)
        w.chunk = plan.first_chunk + index if w.chunk < 0 else w.chunk + plan.workers
        if w.chunk < plan.last_chunk:
            read_chunk(w, w.chunk)
    if w.at < w.end:
        train_block(w, min(plan.block, w.end - w.at))


cdef void ask_for_next_block(Worker *w) noexcept nogil:
    """Rows that a worker soon needs; asked for a block of its own ahead, they would have left the
    cache again.
    """
    if w.at < w.end:
        ask_for_words(w, w.at)
        if w.plan.outputs.data != NULL:
            draw_negatives(w, w.at)


# --- from Python to C ---------------------------------------------------------------------------

cdef read_matrices(Plan *plan, cnp.ndarray syn0, cnp.ndarray syn1neg, cnp.ndarray syn1):
    plan.table = _isa.f32 if cnp.PyArray_TYPE(syn0) == cnp.NPY_FLOAT32 else _isa.f64
    plan.vectors = syn0.strides[0] // (plan.table.lanes * plan.table.item)
    plan.width = syn0.shape[1]
    for matrix, array in ((0, syn0), (1, syn1neg), (2, syn1)):
        if array is not None and array.strides[0] != syn0.strides[0]:
            raise ValueError("all matrices must have rows of the same size")
    plan.inputs.data, plan.inputs.row_bytes = data(syn0), syn0.strides[0]
    plan.outputs.data, plan.outputs.row_bytes = data(syn1neg), syn0.strides[0]
    plan.nodes.data, plan.nodes.row_bytes = data(syn1), syn0.strides[0]


cdef read_corpus(Plan *plan, cnp.ndarray ids, cnp.ndarray offsets, cnp.ndarray keep):
    plan.ids, plan.tokens = <const int32_t *>data(ids), ids.shape[0]
    plan.offsets, plan.sentences = <const int64_t *>data(offsets), offsets.shape[0] - 1
    plan.keep, plan.words = <const uint32_t *>data(keep), keep.shape[0]


cdef read_tables(Plan *plan, alias, tree):
    if alias is not None:
        plan.threshold = <const uint32_t *>data(alias[0])
        plan.other = <const int32_t *>data(alias[1])
    if tree is not None:
        plan.parents = <const int32_t *>data(tree[0])
        plan.codes = <const uint8_t *>data(tree[1])
        plan.path_lengths = <const uint8_t *>data(tree[2])
        plan.longest_path = int(tree[2].max(initial=0))


cdef read_settings(Plan *plan, settings, streams):
    plan.skip_gram, plan.mean = settings.skip_gram, settings.mean
    plan.window, plan.shrink = settings.window, settings.shrink
    plan.negative, plan.draws = settings.negative, settings.draws
    plan.block, plan.with_loss = settings.block, settings.with_loss
    plan.deferred = settings.virtual_workers > 0
    plan.token_stream, plan.draw_stream = streams


cdef void read_top(Plan *plan) noexcept nogil:
    """How many nodes are the top of the tree, and for how long workers have copies of them.

    One of the first n nodes is met about once in n words or less often, so that a copy of it
    would not pay for itself.  The more workers there are, the shorter they go on alone: else all
    of them would make the same way from the same place, and together go too far.
    """
    plan.top, plan.span = TOP_NODES, 0
    if plan.nodes.data != NULL and plan.workers > 1 and not plan.deferred:
        plan.span = max(plan.block, STALE_WORDS // plan.workers)
        plan.top = min(plan.span, MOST_COPIES)
    plan.top = min(plan.top, plan.words - 1)
