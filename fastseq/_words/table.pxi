# A table of words: their numbers, counts, and where each came first.
#
# A word is known by a key of 64 bits.  One of up to 7 bytes is its own key, with its length in the
# top byte; the key of another is a hash with the top bit set, and then its bytes are compared too.
# Slots hold key, number and count side by side, so that a frequent word costs one cache line.

cdef extern from *:
    """
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "words are read eight bytes at a time, the first one being the lowest"
    #endif
    """
    int __builtin_ctzll(unsigned long long) nogil
    void __builtin_prefetch(const void *, int, int) nogil

ctypedef const unsigned char *text_t

cdef enum:
    SHORT = 7  # bytes of the longest word that is its own key
    FIRST_BITS = 12  # of the number of slots
    UNKNOWN = -2

cdef struct Slot:
    uint64_t key  # 0 where there is no word
    int32_t word
    uint32_t count  # its lower 32 bits

cdef struct Word:
    int64_t text  # where in `texts`
    int64_t length
    int64_t first  # where it came first
    int64_t carried  # the count above 32 bits

cdef struct Table:
    Slot *slots
    uint64_t mask  # one less than the number of slots, a power of two
    int shift
    Word *words
    int64_t size, room
    char *texts
    int64_t texts_size, texts_room


cdef bint open_table(Table *t) noexcept nogil:
    memset(t, 0, sizeof(Table))
    return resize_slots(t, FIRST_BITS)


cdef void close_table(Table *t) noexcept nogil:
    free(t.slots)
    free(t.words)
    free(t.texts)
    memset(t, 0, sizeof(Table))


cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    x ^= x >> 32
    x *= <uint64_t>0x9E3779B97F4A7C15
    return x ^ (x >> 29)


cdef inline uint64_t home(const Table *t, uint64_t key) noexcept nogil:
    """The slot in which the search for a key begins."""
    return ((key ^ (key >> 32)) * <uint64_t>0x9E3779B97F4A7C15) >> t.shift


cdef uint64_t key_of(text_t text, int64_t length) noexcept nogil:
    cdef uint64_t key = 0, piece
    cdef int64_t at
    if 0 < length <= SHORT:
        memcpy(&key, text, length)
        return key | <uint64_t>length << 56
    for at in range(0, length, 8):
        piece = 0
        memcpy(&piece, text + at, min(length - at, 8))
        key = mixed(key ^ piece)
    return key | <uint64_t>1 << 63


cdef inline Slot *find(const Table *t, uint64_t key, text_t text, int64_t length) noexcept nogil:
    """The slot of a word, or the empty one in which it belongs."""
    cdef uint64_t at = home(t, key)
    cdef Slot *slot
    cdef Word *word
    while True:
        slot = &t.slots[at]
        if slot.key == key:
            if key >> 63 == 0:
                return slot
            word = &t.words[slot.word]
            if word.length == length and memcmp(t.texts + word.text, text, length) == 0:
                return slot
        elif slot.key == 0:
            return slot
        at = (at + 1) & t.mask


cdef inline void count(Table *t, Slot *slot) noexcept nogil:
    slot.count += 1
    if slot.count == 0:
        t.words[slot.word].carried += <int64_t>1 << 32


cdef bint insert(
    Table *t, Slot *slot, uint64_t key, text_t text, int64_t length, int64_t first, uint32_t n
) noexcept nogil:
    """Put a new word with count n into the empty slot that `find` gave; False if memory is out."""
    cdef void *more
    cdef int64_t room
    if t.size == t.room:
        room = max(1024, t.room + t.room // 2)
        more = realloc(t.words, room * sizeof(Word))
        if more == NULL:
            return False
        t.words, t.room = <Word *>more, room
    if t.texts_size + length > t.texts_room:
        room = max(16384, t.texts_room + t.texts_room // 2 + length)
        more = realloc(t.texts, room)
        if more == NULL:
            return False
        t.texts, t.texts_room = <char *>more, room
    if t.size == INT32_MAX:
        return False
    memcpy(t.texts + t.texts_size, text, length)
    t.words[t.size] = Word(t.texts_size, length, first, 0)
    slot[0] = Slot(key, <int32_t>t.size, n)
    t.texts_size += length
    t.size += 1
    if 2 * t.size > <int64_t>t.mask:
        return resize_slots(t, 65 - t.shift)
    return True


cdef bint resize_slots(Table *t, int bits) noexcept nogil:
    """Move all words to 2^bits slots."""
    cdef Slot *old = t.slots
    cdef uint64_t old_slots = t.mask + 1 if old != NULL else 0, i, at
    cdef Slot *slots = <Slot *>calloc(<size_t>1 << bits, sizeof(Slot))
    if slots == NULL:
        return False
    t.slots, t.mask, t.shift = slots, (<uint64_t>1 << bits) - 1, 64 - bits
    for i in range(old_slots):
        if old[i].key:
            at = home(t, old[i].key)
            while slots[at].key:
                at = (at + 1) & t.mask
            slots[at] = old[i]
    free(old)
    return True


cdef bint is_utf8(text_t text, int64_t length) noexcept nogil:
    cdef int64_t i = 0, more, k
    cdef unsigned char c, low, high
    while i < length:
        c = text[i]
        i += 1
        if c < 0x80:
            continue
        low, high = 0x80, 0xBF  # of the second byte
        if 0xC2 <= c <= 0xDF:
            more = 1
        elif 0xE0 <= c <= 0xEF:
            more = 2
            if c == 0xE0:
                low = 0xA0  # below is what fewer bytes can say
            elif c == 0xED:
                high = 0x9F  # above are surrogates
        elif 0xF0 <= c <= 0xF4:
            more = 3
            if c == 0xF0:
                low = 0x90
            elif c == 0xF4:
                high = 0x8F
        else:
            return False
        if i + more > length:
            return False
        for k in range(more):
            if not low <= text[i + k] <= high:
                return False
            low, high = 0x80, 0xBF
        i += more
    return True
