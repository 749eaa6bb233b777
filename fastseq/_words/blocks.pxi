"""A block of consecutive words is trained at once: negative sampling and hierarchical softmax.

Negatives are drawn for a block, not for a pair: every input meets all of them, each with the weight
of the draws that it stands for.  The expected gradient is that of skip-gram negative sampling at
the block's first parameters; three small dense products take the place of the work per pair.
"""

cdef void train_block(Worker *w, long count) noexcept nogil:
    """Centres w.at : w.at + count of the chunk."""
    cdef const Plan *plan = w.plan
    cdef long t
    if plan.deferred:
        memset(w.top, 0, sizeof(w.top))
    else:
        ask_for_words(w, w.at + count + plan.window)  # those before are in reach already
    if plan.skip_gram:
        for t in range(w.at, w.at + count):
            w.pairs += w.last[t] - w.first[t] - 1
        if plan.nodes.data != NULL:
            skip_gram_tree(w, w.at, count)
        if plan.outputs.data != NULL:
            skip_gram_negatives(w, w.at, count)
    else:
        train_bags(w, w.at, count)
    w.at += count
    w.waiting += count
    if plan.span and (w.waiting >= plan.span or w.at == w.end):
        exchange_copies(w)


cdef void ask_for_words(Worker *w, long begin) noexcept nogil:
    """Rows that the next block needs."""
    cdef const Plan *plan = w.plan
    cdef long i
    for i in range(begin, min(begin + plan.block, w.end)):
        ask_for(&plan.inputs, w.words[i])
        if plan.outputs.data != NULL:
            ask_for(&plan.outputs, w.words[i])


cdef inline void find_reach(
    const Worker *w, long begin, long count, long *first, long *last
) noexcept nogil:
    """Where the windows of a block's centres begin, and where they end."""
    cdef long t
    first[0], last[0] = w.first[begin], w.last[begin]
    for t in range(begin + 1, begin + count):
        first[0], last[0] = min(first[0], w.first[t]), max(last[0], w.last[t])


# --- negatives ----------------------------------------------------------------------------------

cdef void take_negatives(Worker *w, long begin, long next) noexcept nogil:
    """Copies of the rows of a block's negatives; those of its next block are drawn ahead, unless
    other workers' blocks come in between.
    """
    cdef const Plan *plan = w.plan
    cdef long k, row = plan.outputs.row_bytes
    if w.drawn != begin:
        draw_negatives(w, begin)
    for k in range(plan.draws):
        w.negatives[k] = w.next_negatives[k]
        memcpy(w.n + k * row, row_of(&plan.outputs, w.negatives[k]), row)
        w.dn[k] = row_of(&plan.outputs, w.negatives[k])
    if next < w.end and not plan.deferred:
        draw_negatives(w, next)


cdef void draw_negatives(Worker *w, long begin) noexcept nogil:
    cdef const Plan *plan = w.plan
    cdef uint64_t bits, first = <uint64_t>((w.chunk * CHUNK + begin - w.begin) * plan.draws)
    cdef long k, word
    for k in range(plan.draws):
        bits = random_bits(plan.draw_stream, first + k)
        word = below(<uint32_t>(bits >> 32), plan.words)
        if <uint32_t>bits >= plan.threshold[word]:
            word = plan.other[word]
        w.next_negatives[k] = <int32_t>word
        ask_for(&plan.outputs, word)
    w.drawn = begin


cdef inline long panel_columns(const Plan *plan) noexcept nogil:
    """Negatives whose scores lie side by side, as the tiles want it."""
    return min(plan.draws, FS_PANEL_VECTORS * plan.table.lanes)


cdef inline long score_place(const Plan *plan, long rows, long t, long k) noexcept nogil:
    """Where the score of input t and negative k lies, in [panel][input][column]."""
    cdef long columns = panel_columns(plan)
    return (k // columns * rows + t) * columns + k % columns


cdef void weigh_negatives(
    Worker *w, long count, const long *pairs, long begin, long first, long last
) noexcept nogil:
    """How many draws a negative stands for: those of an input's pairs, but for pairs whose own
    word it is.  ``pairs`` and the windows are those of skip-gram; NULL: one pair each.
    """
    cdef const Plan *plan = w.plan
    cdef long columns = panel_columns(plan), panel, t, i, k
    cdef double each = plan.negative / plan.draws
    for panel in range(plan.draws // columns):
        for t in range(count):
            fill(
                plan.table, w.weights + (panel * count + t) * columns * plan.table.item, columns,
                each * pairs_of(w, pairs, begin, t),
            )
    for k in range(plan.draws):
        w.marks[w.negatives[k] % MARKS] = 1
    for i in range(first, last):
        if w.marks[w.words[i] % MARKS]:
            for k in range(plan.draws):
                if w.negatives[k] == w.words[i]:
                    leave_out(w, count, pairs, begin, i, k, each)
    for k in range(plan.draws):
        w.marks[w.negatives[k] % MARKS] = 0


cdef inline long pairs_of(Worker *w, const long *pairs, long begin, long t) noexcept nogil:
    if pairs == NULL:
        return w.last[begin + t] - w.first[begin + t] > 1
    return pairs[t + 1] - pairs[t]


cdef void leave_out(
    Worker *w, long count, const long *pairs, long begin, long i, long k, double each
) noexcept nogil:
    """Negative k is word i: no draw for the pairs that have it as their positive."""
    cdef long t, place
    for t in range(count):
        if pairs == NULL:
            if begin + t != i or pairs_of(w, NULL, begin, t) == 0:
                continue
        elif begin + t == i or i < w.first[begin + t] or i >= w.last[begin + t]:
            continue
        place = score_place(w.plan, count, t, k)
        if w.plan.table.item == sizeof(float):
            (<float *>w.weights)[place] -= <float>each
        else:
            (<double *>w.weights)[place] -= each


cdef void add_negatives(Worker *w, long count, char **dx) noexcept nogil:
    """All inputs and all negatives of a block: three dense products, of which the last one changes
    the negatives, perhaps later.
    """
    cdef const Plan *plan = w.plan
    cdef const fs_word2vec *table = plan.table
    cdef long columns = panel_columns(plan), item = table.item, row = plan.outputs.row_bytes
    cdef long vectors = columns // table.lanes, panels = plan.draws // columns, panel, v
    cdef long stride = plan.width * columns * item, size = count * columns
    cdef char *s
    for panel in range(panels):
        for v in range(vectors):
            table.pack(
                w.n + (panel * columns + v * table.lanes) * row, table.lanes, plan.width, row,
                item, w.panel + panel * stride + v * table.lanes * item, columns * item,
            )
    table.product(
        count, vectors, panels, plan.width, w.x, row, item, w.panel, stride, w.scores, 0
    )
    if plan.with_loss:
        w.loss += plan.table.loss(panels * size, NULL, w.weights, w.scores)
    plan.table.errors(panels * size, NULL, w.weights, w.rate, w.scores)
    for panel in range(panels):
        s = w.scores + panel * size * item
        plan.table.products(
            plan.vectors, count, dx, s, columns * item, item, columns,
            w.of_n + panel * columns,
        )
    if plan.deferred:
        w.inputs = count
    else:
        change_negatives(w, count, 0, 1)


cdef void change_negatives(Worker *w, long count, int part, int parts) noexcept nogil:
    """Add the inputs, times their errors, to those negatives whose index is ``part`` modulo
    ``parts``.
    """
    cdef const Plan *plan = w.plan
    cdef long columns = panel_columns(plan), item = plan.table.item, step = columns * item
    cdef long panel, first, k
    cdef char *s
    for panel in range(plan.draws // columns):
        first, s = panel * columns, w.scores + panel * count * step
        if parts == 1:
            plan.table.products(plan.vectors, columns, w.dn + first, s, item, step, count, w.of_x)
            continue
        for k in range(columns):
            if w.negatives[first + k] % parts == part:
                plan.table.products(
                    plan.vectors, 1, w.dn + first + k, s + k * item, item, step, count, w.of_x
                )


# --- skip-gram ----------------------------------------------------------------------------------

cdef inline long rounded(const Plan *plan, long n) noexcept nogil:
    """Up to whole vectors."""
    return (n + plan.table.lanes - 1) // plan.table.lanes * plan.table.lanes


cdef void skip_gram_negatives(Worker *w, long begin, long count) noexcept nogil:
    """A centre's vector is the input, the words of its window are what it should predict."""
    cdef const Plan *plan = w.plan
    cdef long first, last, row = plan.inputs.row_bytes, t, i
    cdef long item = plan.table.item, pairs = 0, p
    find_reach(w, begin, count, &first, &last)
    for t in range(count):
        memcpy(w.x + t * row, row_of(&plan.inputs, w.words[begin + t]), row)
        w.dx[t] = change(w, &plan.inputs, w.words[begin + t])
    for i in range(first, last):
        w.targets[i - first] = change(w, &plan.outputs, w.words[i])
    take_negatives(w, begin, begin + count)
    for t in range(count):
        w.pair_begins[t] = pairs
        for i in range(w.first[begin + t], w.last[begin + t]):
            w.y[pairs] = row_of(&plan.outputs, w.words[i])
            w.dy[pairs] = w.targets[i - first]
            pairs += i != begin + t
        p = w.pair_begins[t]
        if pairs > p:
            plan.table.dots(
                plan.vectors, 1, pairs - p, w.x + t * row, w.y + p, w.positives + p * item, 0
            )
    w.pair_begins[count] = pairs
    if plan.with_loss:
        w.loss += plan.table.loss(pairs, w.ones, w.ones, w.positives)
    plan.table.errors(rounded(plan, pairs), w.ones, w.ones, w.rate, w.positives)
    for t in range(count):
        p = w.pair_begins[t]
        plan.table.pairs(
            plan.vectors, w.pair_begins[t + 1] - p, w.positives + p * item, w.x + t * row,
            w.dx[t], w.y + p, w.dy + p,
        )
    weigh_negatives(w, count, w.pair_begins, begin, first, last)
    add_negatives(w, count, w.dx)


cdef void skip_gram_tree(Worker *w, long begin, long count) noexcept nogil:
    """The words of a window are the inputs, the centre is what each of them should predict."""
    cdef const Plan *plan = w.plan
    cdef long first, last, row = plan.inputs.row_bytes, t, i
    find_reach(w, begin, count, &first, &last)
    for i in range(first, last):
        memcpy(w.x + (i - first) * row, row_of(&plan.inputs, w.words[i]), row)
        w.dx[i - first] = change(w, &plan.inputs, w.words[i])
    for t in range(begin, begin + count):
        ask_for_path(w, t + PATHS_AHEAD)
        if w.last[t] - w.first[t] > 1:
            descend(w, t, w.first[t], w.last[t] - w.first[t], w.first[t] - first)


cdef void descend(Worker *w, long centre, long begin, long inputs, long at) noexcept nogil:
    """A centre's way through the tree, and some inputs, from place ``at`` on; the centre's own row
    counts nothing.
    """
    cdef const Plan *plan = w.plan
    cdef const fs_word2vec *table = plan.table
    cdef long item = table.item, i, size
    cdef const Path *path = take_path(w, centre)
    cdef long length = path.length, columns = (length + 3) // 4 * 4, l
    for l in range(length):
        w.dn[l] = change_node(w, path.nodes[l])
    table.dots(plan.vectors, inputs, length, w.of_x[at], w.y, w.scores, columns * item)
    for i in range(inputs):
        if begin + i == centre:
            fill(table, w.weights + i * columns * item, columns, 0)
            fill(table, w.labels + i * columns * item, columns, 0)
        else:
            fill(table, w.weights + i * columns * item, columns, 1)
            memcpy(w.labels + i * columns * item, w.positives, columns * item)
            fill(table, w.weights + (i * columns + length) * item, columns - length, 0)
    size = inputs * columns
    if plan.with_loss:
        w.loss += table.loss(size, w.labels, w.weights, w.scores)
    table.errors(rounded(plan, size), w.labels, w.weights, w.rate, w.scores)
    table.products(plan.vectors, inputs, w.dx + at, w.scores, columns * item, item, length, w.y)
    table.products(
        plan.vectors, length, w.dn, w.scores, item, columns * item, inputs, w.of_x + at
    )


cdef const Path *take_path(Worker *w, long centre) noexcept nogil:
    """A centre's way; its nodes' vectors are in ``y``, what they should say in ``positives``."""
    cdef const Plan *plan = w.plan
    cdef const Path *path = path_to(w, centre)
    cdef long length = path.length, l
    for l in range(length):
        w.y[l] = (
            row_of(&plan.nodes, path.nodes[l]) if plan.span == 0 else node_row(w, path.nodes[l])
        )
    if plan.table.item == sizeof(float):
        for l in range(length):
            (<float *>w.positives)[l] = 1 - path.codes[l]
    else:
        for l in range(length):
            (<double *>w.positives)[l] = 1 - path.codes[l]
    for l in range(length, (length + 3) // 4 * 4):
        set_number(plan.table, w.positives, l, 0)
    return path


cdef const Path *path_to(Worker *w, long centre) noexcept nogil:
    """A centre's way through the tree, climbed with those of the next centres."""
    cdef const Path *path = &w.paths[centre % PATHS]
    if path.centre != centre:
        climb(w, centre, min(centre + PATHS_TOGETHER, w.end))
    return path


cdef void climb(Worker *w, long begin, long end) noexcept nogil:
    """Some centres' ways, side by side: each step of a way waits for the one before."""
    cdef const Plan *plan = w.plan
    cdef long place[PATHS_TOGETHER]
    cdef Path *path
    cdef long centre, steps = 0, step, left
    for centre in range(begin, end):
        path = &w.paths[centre % PATHS]
        path.centre, path.length = centre, plan.path_lengths[w.words[centre]]
        place[centre - begin] = w.words[centre]
        steps = max(steps, path.length)
    for step in range(steps):
        for centre in range(begin, end):
            path = &w.paths[centre % PATHS]
            left = path.length - step - 1
            if left >= 0:
                path.nodes[left] = plan.parents[place[centre - begin]]
                path.codes[left] = plan.codes[place[centre - begin]]
                place[centre - begin] = plan.words + path.nodes[left]


cdef void ask_for_path(Worker *w, long centre) noexcept nogil:
    """The nodes of a centre that is soon to come, and the way of one that comes later."""
    cdef const Plan *plan = w.plan
    cdef const Path *path
    cdef long l
    if centre + PATHS_AHEAD < w.end:
        path_to(w, centre + PATHS_AHEAD)
    if centre < w.end:
        path = path_to(w, centre)
        for l in range(path.length):
            if place_of(plan, path.nodes[l]) < 0:
                ask_for(&plan.nodes, path.nodes[l])


# --- continuous bags of words -------------------------------------------------------------------

cdef void train_bags(Worker *w, long begin, long count) noexcept nogil:
    """The mean (or sum) of a window is the input, the centre is what it should predict."""
    cdef const Plan *plan = w.plan
    cdef long first, last, row = plan.inputs.row_bytes, t, i
    cdef char **bags = w.targets
    find_reach(w, begin, count, &first, &last)
    for i in range(first, last):
        w.y[i - first] = row_of(&plan.inputs, w.words[i])
        w.dx[i - first] = change(w, &plan.inputs, w.words[i])
    plan.table.running_sums(plan.vectors, last - first, w.y, w.sums)
    memset(w.d, 0, count * row)
    for t in range(count):
        i = begin + t
        plan.table.window(
            plan.vectors, w.sums + (w.first[i] - first) * row, w.sums + (w.last[i] - first) * row,
            w.sums + (i - first) * row, 1.0 / max(1, w.last[i] - w.first[i] - 1)
            if plan.mean else 1.0, w.x + t * row,
        )
        bags[t] = w.d + t * row
        w.pairs += w.last[i] - w.first[i] > 1
    if plan.nodes.data != NULL:
        for t in range(count):
            ask_for_path(w, begin + t + PATHS_AHEAD)
            if w.last[begin + t] - w.first[begin + t] > 1:
                descend_bag(w, begin + t, w.x + t * row, bags[t])
    if plan.outputs.data != NULL:
        bag_negatives(w, begin, count, bags)
    spread(w, begin, count, first, last)


cdef void descend_bag(Worker *w, long centre, const char *x, char *d) noexcept nogil:
    cdef const Plan *plan = w.plan
    cdef const Path *path = take_path(w, centre)
    cdef long length = path.length, l
    plan.table.dots(plan.vectors, 1, length, x, w.y, w.scores, 0)
    if plan.with_loss:
        w.loss += plan.table.loss(length, w.positives, w.ones, w.scores)
    plan.table.errors(rounded(plan, length), w.positives, w.ones, w.rate, w.scores)
    if plan.deferred:
        for l in range(length):
            note_pair(w, &plan.nodes, path.nodes[l], w.scores, l, x)
    plan.table.pairs(
        plan.vectors, length, w.scores, x, d, w.y, NULL if plan.deferred else <char **>w.y
    )


cdef inline void note_pair(
    Worker *w, const Matrix *matrix, long index, const char *errors, long i, const char *x
) noexcept nogil:
    """A row is to become more by errors[i] * x, which needs no zeros to add to."""
    note_change(w, row_of(matrix, index), x, number_at(w.plan.table, errors, i), index)


cdef void bag_negatives(Worker *w, long begin, long count, char **bags) noexcept nogil:
    cdef const Plan *plan = w.plan
    cdef long row = plan.outputs.row_bytes, item = plan.table.item, t
    take_negatives(w, begin, begin + count)
    for t in range(count):
        w.y[t] = row_of(&plan.outputs, w.words[begin + t])
        set_number(plan.table, w.labels, t, pairs_of(w, NULL, begin, t))
    plan.table.row_dots(plan.vectors, count, w.x, w.y, w.positives)
    if plan.with_loss:
        w.loss += plan.table.loss(count, w.labels, w.labels, w.positives)
    plan.table.errors(rounded(plan, count), w.labels, w.labels, w.rate, w.positives)
    for t in range(count):
        if plan.deferred:
            note_pair(w, &plan.outputs, w.words[begin + t], w.positives, t, w.x + t * row)
        plan.table.pairs(
            plan.vectors, 1, w.positives + t * item, w.x + t * row, bags[t], w.y + t,
            NULL if plan.deferred else <char **>w.y + t,
        )
    weigh_negatives(w, count, NULL, begin, begin, begin + count)
    add_negatives(w, count, bags)


cdef void spread(Worker *w, long begin, long count, long first, long last) noexcept nogil:
    """Each bag's gradient goes to all words of its window, whatever their number.

    A window is opened where it begins and closed where it ends; the running sum of both is what a
    word gets.  As in word2vec and gensim, the gradient of a mean is not divided by the number of
    words, that of a sum is.
    """
    cdef const Plan *plan = w.plan
    cdef long row = plan.inputs.row_bytes, t, i
    cdef char *sum = w.n  # the inputs may still be needed for changes
    cdef char *own
    cdef double scale
    memset(w.sums, 0, (last - first + 1) * row)
    memset(sum, 0, row)
    for t in range(begin, begin + count):
        plan.table.open_window(
            plan.vectors, bag_scale(w, t), w.d + (t - begin) * row,
            w.sums + (w.first[t] - first) * row, w.sums + (w.last[t] - first) * row,
        )
    for i in range(first, last):
        own, scale = NULL, 0
        if begin <= i < begin + count:
            own, scale = w.d + (i - begin) * row, bag_scale(w, i)
        plan.table.add_windows(
            plan.vectors, w.sums + (i - first) * row, sum, own, scale, w.dx[i - first]
        )


cdef inline double bag_scale(Worker *w, long i) noexcept nogil:
    return 1.0 if w.plan.mean else 1.0 / max(1, w.last[i] - w.first[i] - 1)
