"""What training works on: the plan, which all share and only read, and what a worker has."""

cdef enum:
    CHUNK = 8192   # tokens of the corpus that a worker takes at a time
    MARKS = 4096   # bytes that say whether a word may be among the negatives
    TOP_NODES = 64 # of a tree, which many ways go through
    MOST_COPIES = 256  # of nodes
    PATHS_AHEAD = 4  # centres whose nodes are asked for in advance
    PATHS_TOGETHER = 4  # that are climbed side by side
    PATHS = 16  # that a worker keeps: twice as many, and those climbed with the last of them
    STALE_WORDS = 1024  # which all workers together train before they see each other's top nodes


cdef struct Matrix:
    char *data          # NULL: not trained
    long row_bytes


cdef struct Plan:
    const fs_word2vec *table
    Matrix inputs, outputs, nodes  # syn0, syn1neg, syn1
    long width, vectors            # numbers of a row that count; vectors of a whole row
    const int32_t *ids
    const int64_t *offsets
    long tokens, sentences
    const uint32_t *keep
    const uint32_t *threshold      # Vose's alias table
    const int32_t *other
    long words
    const int32_t *parents         # of words, then of nodes
    const uint8_t *codes           # on which side of these they are
    const uint8_t *path_lengths
    long longest_path
    bint skip_gram, mean, shrink, with_loss
    long window, block, draws
    double negative                # draws of a pair, which the block's stand for
    uint64_t token_stream, draw_stream
    const double *rates
    double *losses                 # loss and pairs of each chunk
    long first_chunk, last_chunk, next_chunk
    bint deferred
    long top                       # nodes at the tree's top
    long span                      # words for which workers have copies of them, 0: none
    int workers
    Worker *worker
    fs_barrier barrier


cdef struct Path:
    long centre          # whose way through the tree this is, -1: nobody's
    long length
    int32_t *nodes       # from the root down
    uint8_t *codes


cdef struct Worker:
    Plan *plan
    # the chunk: words that were kept, the centres among them, and each centre's window
    int32_t *words
    int32_t *first
    int32_t *last
    long begin, end
    long chunk, at
    double rate, loss
    long pairs
    # the block
    char *x              # inputs, as they were when the block began
    char *n              # outputs, likewise
    char *sums           # running sums of inputs; and differences of gradients
    char *d              # gradients of CBOW's inputs
    char *panel
    char *scores
    char *weights
    char *positives
    char *labels
    char *ones
    const char **of_x    # where the rows of x and n are
    const char **of_n
    const char **y
    char **dy
    char **targets       # by place in the block, its windows included
    char **dx
    char **dn
    int32_t *negatives
    int32_t *next_negatives
    long drawn           # where the block begins that the next ones are for, -1: none
    long *pair_begins
    uint8_t *marks
    Path paths[PATHS]    # of this and the next centres
    # deferred changes
    fs_change *changes
    char *deltas
    long changed
    long inputs          # of negatives, which are to be changed by them; 0: none
    # the tree's top nodes: their changes in this block, or copies of them; NULL: none yet
    char *top[MOST_COPIES]
    uint8_t used[MOST_COPIES]  # whether a copy was, since the workers' changes were added up
    char *copies
    char *before         # what the copies were when their changes were last added up
    long waiting         # words since then


cdef inline uint64_t random_bits(uint64_t stream, uint64_t position) noexcept nogil:
    """Number ``position`` of a stream of SplitMix64 (Steele, Lea and Flood, 2014)."""
    cdef uint64_t z = stream + (position + 1) * <uint64_t>0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline long below(uint32_t bits, long n) noexcept nogil:
    """An integer from 0 to n - 1."""
    return <long>((<uint64_t>bits * <uint64_t>n) >> 32)


cdef inline char *row_of(const Matrix *matrix, long index) noexcept nogil:
    return matrix.data + index * matrix.row_bytes


cdef inline char *change(Worker *w, const Matrix *matrix, long index) noexcept nogil:
    """Where to add to a row: the row itself, or zeros that are added to it later."""
    cdef char *row = row_of(matrix, index)
    cdef char *delta
    if not w.plan.deferred:
        return row
    delta = w.deltas + w.changed * matrix.row_bytes
    memset(delta, 0, matrix.row_bytes)
    note_change(w, row, delta, 1, index)
    return delta


cdef inline void note_change(
    Worker *w, char *row, const char *delta, double scale, long index
) noexcept nogil:
    """A row is to become more by scale * delta."""
    cdef fs_change *noted = &w.changes[w.changed]
    noted.row, noted.delta, noted.scale, noted.index = row, delta, scale, index
    w.changed += 1


cdef inline double number_at(const fs_word2vec *table, const char *array, long i) noexcept nogil:
    return (<const float *>array)[i] if table.item == sizeof(float) else (<const double *>array)[i]


cdef inline long place_of(const Plan *plan, long node) noexcept nogil:
    """A node's place at the top of the tree, where the root is last; negative: it is below."""
    return node - (plan.words - 1 - plan.top)


cdef inline char *node_row(Worker *w, long node) noexcept nogil:
    """A node's vector: at the top of the tree the worker's own copy, if it has copies.

    Every way goes through there.  Without copies, threads would wait for each other's cache lines.
    """
    cdef long place = place_of(w.plan, node), row = w.plan.nodes.row_bytes
    if place < 0 or w.plan.span == 0:
        return row_of(&w.plan.nodes, node)
    if w.top[place] == NULL:
        w.top[place] = w.copies + place * row
        memcpy(w.top[place], row_of(&w.plan.nodes, node), row)
        memcpy(w.before + place * row, w.top[place], row)
    w.used[place] = 1
    return w.top[place]


cdef void exchange_copies(Worker *w) noexcept nogil:
    """Add what the copies became more to the nodes, and what others added to them to the copies."""
    cdef const Plan *plan = w.plan
    cdef long place, row = plan.nodes.row_bytes
    for place in range(plan.top):
        if w.used[place]:
            plan.table.exchange(
                plan.vectors, w.top[place], w.before + place * row,
                row_of(&plan.nodes, plan.words - 1 - plan.top + place),
            )
            w.used[place] = 0
        else:
            w.top[place] = NULL  # too old
    w.waiting = 0


cdef inline char *change_node(Worker *w, long node) noexcept nogil:
    """``change`` for a node; the block's changes of a node at the top go into one row."""
    cdef long place = place_of(w.plan, node)
    if not w.plan.deferred:
        return node_row(w, node)
    if place < 0:
        return change(w, &w.plan.nodes, node)
    if w.top[place] == NULL:
        w.top[place] = change(w, &w.plan.nodes, node)
    return w.top[place]


cdef inline void ask_for(const Matrix *matrix, long index) noexcept nogil:
    """Have a row brought into the cache: the rows of rare words come from memory."""
    fs_ask_for(row_of(matrix, index), matrix.row_bytes)


# --- chunks -------------------------------------------------------------------------------------

cdef inline bint is_kept(const Plan *plan, long token, uint64_t bits) noexcept nogil:
    return <uint32_t>(bits >> 32) <= plan.keep[plan.ids[token]]


cdef void read_chunk(Worker *w, long chunk) noexcept nogil:
    """Subsample a chunk, and beside it as many words as windows reach out to.

    What becomes of a token depends on its place in the corpus and nothing else, so that windows
    reach across the chunks' borders.
    """
    cdef const Plan *plan = w.plan
    cdef long begin = chunk * CHUNK, end = min(begin + CHUNK, plan.tokens), at, kept, found
    cdef long sentence = sentence_of(plan, begin), stop, count = 0, start
    at, found = begin, 0
    while at > plan.offsets[sentence] and found < plan.window:
        at -= 1
        found += is_kept(plan, at, random_bits(plan.token_stream, at))
    while at < end:
        stop = min(plan.offsets[sentence + 1], end)
        start = count
        if at < begin:
            count = keep_tokens(w, count, at, begin)
            at = begin
            w.begin = count
        elif at == begin:
            w.begin = count
        count = keep_tokens(w, count, at, stop)
        w.end = count
        if stop == end:
            kept, found = end, 0
            while kept < plan.offsets[sentence + 1] and found < plan.window:
                found += is_kept(plan, kept, random_bits(plan.token_stream, kept))
                kept += 1
            count = keep_tokens(w, count, end, kept)
        set_windows(w, start, count)
        at = stop
        sentence += 1
    w.chunk, w.at = chunk, w.begin
    w.rate = plan.rates[chunk - plan.first_chunk]
    w.loss, w.pairs, w.drawn = 0, 0, -1
    for at in range(PATHS):
        w.paths[at].centre = -1


cdef long sentence_of(const Plan *plan, long token) noexcept nogil:
    """The last sentence that begins at or before a token."""
    cdef long low = 0, high = plan.sentences, middle
    while high - low > 1:
        middle = (low + high) // 2
        if plan.offsets[middle] <= token:
            low = middle
        else:
            high = middle
    return low


cdef long keep_tokens(Worker *w, long count, long begin, long end) noexcept nogil:
    """Append the tokens that are kept, and how far their windows reach; returns the new count."""
    cdef const Plan *plan = w.plan
    cdef uint64_t bits
    cdef long token
    for token in range(begin, end):
        bits = random_bits(plan.token_stream, token)
        w.words[count] = plan.ids[token]
        w.first[count] = <int32_t>plan.window
        if plan.shrink:
            w.first[count] = <int32_t>(1 + below(<uint32_t>bits, plan.window))
        count += is_kept(plan, token, bits)
    return count


cdef void set_windows(Worker *w, long start, long stop) noexcept nogil:
    """From reaches to [first, last), within one sentence."""
    cdef long i, reach
    for i in range(start, stop):
        reach = w.first[i]
        w.first[i] = <int32_t>max(i - reach, start)
        w.last[i] = <int32_t>min(i + reach + 1, stop)


# --- memory -------------------------------------------------------------------------------------

cdef void lay_out_worker(Worker *w, Plan *plan, Scratch *scratch) noexcept nogil:
    cdef long row = plan.inputs.row_bytes, item = plan.table.item, around = 2 * plan.window
    cdef long places = plan.block + around, columns = max(plan.draws, plan.longest_path)
    cdef long pairs = plan.block * around + 64
    cdef long changes = plan.block + 2 * places + plan.block * plan.longest_path
    cdef long i
    w.plan = plan
    w.words = <int32_t *>take(scratch, (CHUNK + around + 1) * sizeof(int32_t))
    w.first = <int32_t *>take(scratch, (CHUNK + around + 1) * sizeof(int32_t))
    w.last = <int32_t *>take(scratch, (CHUNK + around + 1) * sizeof(int32_t))
    w.x = take(scratch, places * row)
    w.n = take(scratch, max(1, plan.draws) * row)
    w.sums = take(scratch, (places + 1) * row)
    w.d = take(scratch, plan.block * row)
    w.panel = take(scratch, plan.draws * row)
    w.scores = take(scratch, (max(plan.block, around + 1) * (columns + 64)) * item)
    w.weights = take(scratch, (max(plan.block, around + 1) * (columns + 64)) * item)
    w.labels = take(scratch, (max(plan.block, around + 1) * (columns + 64)) * item)
    w.positives = take(scratch, pairs * item)
    w.ones = take(scratch, pairs * item)
    w.of_x = <const char **>take(scratch, places * sizeof(char *))
    w.of_n = <const char **>take(scratch, plan.draws * sizeof(char *))
    w.y = <const char **>take(scratch, (pairs + columns) * sizeof(char *))
    w.dy = <char **>take(scratch, (pairs + columns) * sizeof(char *))
    w.targets = <char **>take(scratch, places * sizeof(char *))
    w.dx = <char **>take(scratch, places * sizeof(char *))
    w.dn = <char **>take(scratch, columns * sizeof(char *))
    w.negatives = <int32_t *>take(scratch, plan.draws * sizeof(int32_t))
    w.next_negatives = <int32_t *>take(scratch, plan.draws * sizeof(int32_t))
    w.pair_begins = <long *>take(scratch, (plan.block + 1) * sizeof(long))
    w.marks = <uint8_t *>take(scratch, MARKS)
    for i in range(PATHS if plan.nodes.data != NULL else 0):
        w.paths[i].nodes = <int32_t *>take(scratch, plan.longest_path * sizeof(int32_t))
        w.paths[i].codes = <uint8_t *>take(scratch, plan.longest_path)
    if plan.deferred:
        w.changes = <fs_change *>take(scratch, changes * sizeof(fs_change))
        w.deltas = take(scratch, changes * row)
    if plan.span:
        w.copies = take(scratch, plan.top * row)
        w.before = take(scratch, plan.top * row)
    w.changed, w.inputs, w.chunk, w.at, w.end, w.waiting = 0, 0, -1, 0, 0, 0
    memset(w.top, 0, sizeof(w.top))
    memset(w.used, 0, sizeof(w.used))
    if scratch.data != NULL:
        memset(w.marks, 0, MARKS)
        for i in range(places):
            w.of_x[i] = w.x + i * row
        for i in range(plan.draws):
            w.of_n[i] = w.n + i * row
        for i in range(pairs):
            set_number(plan.table, w.ones, i, 1)


cdef inline void set_number(
    const fs_word2vec *table, char *array, long i, double value
) noexcept nogil:
    if table.item == sizeof(float):
        (<float *>array)[i] = <float>value
    else:
        (<double *>array)[i] = value


cdef inline void fill(
    const fs_word2vec *table, char *array, long count, double value
) noexcept nogil:
    cdef long i
    if table.item == sizeof(float):
        for i in range(count):
            (<float *>array)[i] = <float>value
    else:
        for i in range(count):
            (<double *>array)[i] = value
