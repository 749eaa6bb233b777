# Words of a text: what stands between white space, as Python's str.split sees it.
#
# Tokens are found some way ahead of their look-up, so that their slots are on the way from memory
# meanwhile.  Words that are short and ASCII, most of English, take one load of eight bytes.

cdef enum:
    AHEAD = 32
    SENTENCE_END = -1

cdef uint64_t ONES = 0x0101010101010101
cdef uint64_t HIGH_BITS = 0x8080808080808080
cdef uint64_t BLANKS = 0x2020202020202020

cdef struct Token:
    uint64_t key
    text_t text
    int64_t length  # 0 for the end of a sentence

cdef struct Reader:
    text_t begin, at, end
    int64_t base  # the position of `begin` in the whole text
    int32_t *items  # where numbers go, if anywhere
    int64_t n_items, n_words
    int64_t limit  # stop after a piece of a sentence, when there are more words
    int64_t piece, longest_piece
    bint frozen  # words are looked up, but neither counted nor added
    text_t wrong  # a word that isn't UTF-8, or NULL
    bint out_of_memory


cdef inline uint64_t load(text_t p, text_t end) noexcept nogil:
    """Eight bytes; beyond the end of the text come blanks."""
    cdef uint64_t x = BLANKS
    if end - p >= 8:
        memcpy(&x, p, 8)
    else:
        memcpy(&x, p, end - p)
    return x


cdef inline uint64_t low_bytes(uint64_t x) noexcept nogil:
    """A bit for each byte up to the blank, of which the lowest one can be relied on."""
    return (x - ONES * 33) & ~x & HIGH_BITS


cdef inline bint is_blank(unsigned char c) noexcept nogil:
    return c == 32 or 9 <= c <= 13 or 28 <= c <= 31


cdef inline int blank_at(text_t p, text_t end) noexcept nogil:
    """The number of bytes of the white space that begins here, or 0."""
    cdef unsigned char c = p[0]
    if c <= 32:
        return is_blank(c)
    if c < 0xC2 or c > 0xE3 or end - p < 2:
        return 0
    if c == 0xC2:
        return 2 if p[1] == 0x85 or p[1] == 0xA0 else 0
    if end - p < 3:
        return 0
    if c == 0xE1:
        return 3 if p[1] == 0x9A and p[2] == 0x80 else 0
    if c == 0xE2 and p[1] == 0x80:
        return 3 if 0x80 <= p[2] <= 0x8A or p[2] == 0xA8 or p[2] == 0xA9 or p[2] == 0xAF else 0
    if c == 0xE2:
        return 3 if p[1] == 0x81 and p[2] == 0x9F else 0
    if c == 0xE3:
        return 3 if p[1] == 0x80 and p[2] == 0x80 else 0
    return 0


cdef inline bint plain_token(Reader *r, Token *token) noexcept nogil:
    """The token here, if it is ASCII and ends at a blank; False leaves the work to others."""
    cdef text_t p = r.at
    cdef uint64_t x = load(p, r.end), found = low_bytes(x), key = 0
    cdef int bits
    while found == 0:  # eight bytes more of a long word
        if x & HIGH_BITS:
            return False
        key = mixed(key ^ x)
        p += 8
        x = load(p, r.end)
        found = low_bytes(x)
    bits = __builtin_ctzll(found) - 7
    if not is_blank(<unsigned char>(x >> bits)):
        return False
    x &= (<uint64_t>1 << bits) - 1
    if x & HIGH_BITS:
        return False
    p += bits >> 3
    token.text, token.length = r.at, p - r.at
    if token.length <= SHORT:
        token.key = x | <uint64_t>token.length << 56
    else:
        token.key = (mixed(key ^ x) if bits else key) | <uint64_t>1 << 63
    r.at = p
    return True


cdef inline void any_token(Reader *r, Token *token) noexcept nogil:
    """The token here, whatever its characters."""
    cdef text_t p = r.at
    while p < r.end and not blank_at(p, r.end):
        p += 1
    token.text, token.length = r.at, p - r.at
    token.key = key_of(r.at, token.length)
    r.at = p


cdef int find_tokens(const Table *t, Reader *r, Token *tokens) noexcept nogil:
    """Up to AHEAD tokens, with their slots asked for; returns how many."""
    cdef int n = 0, blanks
    while n < AHEAD and r.at < r.end:
        if r.at[0] == 10:
            tokens[n] = Token(0, r.at, 0)
            r.at += 1
            n += 1
            continue
        if is_blank(r.at[0]):
            r.at += 1
            continue
        if not plain_token(r, &tokens[n]):
            blanks = blank_at(r.at, r.end)
            if blanks:
                r.at += blanks
                continue
            any_token(r, &tokens[n])
        __builtin_prefetch(&t.slots[home(t, tokens[n].key)], 1, 3)
        if r.at < r.end and r.at[0] == 32:
            r.at += 1
        n += 1
    return n


cdef inline bint take_token(Table *t, Reader *r, const Token *token) noexcept nogil:
    """Write a token's number down; False stops the reader."""
    cdef Slot *slot = find(t, token.key, token.text, token.length)
    cdef int32_t word
    cdef int64_t first
    if slot.key:
        word = slot.word
        if not r.frozen:
            count(t, slot)
    elif not is_utf8(token.text, token.length):
        r.wrong = token.text
        return False
    elif r.frozen:
        word = UNKNOWN
    else:
        word = <int32_t>t.size
        first = r.base + (token.text - r.begin)
        if not insert(t, slot, token.key, token.text, token.length, first, 1):
            r.out_of_memory = True
            return False
    put(r, word)
    r.n_words += 1
    r.piece += 1
    return True


cdef inline void put(Reader *r, int32_t item) noexcept nogil:
    if r.items != NULL:
        r.items[r.n_items] = item
    r.n_items += 1


cdef void read_tokens(Table *t, Reader *r) noexcept nogil:
    """Go through a text, or to where pruning is due or something is wrong; `at` tells how far."""
    cdef Token tokens[AHEAD]
    cdef int n, i
    cdef bint piece_ends
    while r.at < r.end:
        n = find_tokens(t, r, tokens)
        for i in range(n):
            if tokens[i].length == 0:
                put(r, SENTENCE_END)
            elif not take_token(t, r, &tokens[i]):
                return
            piece_ends = r.piece == r.longest_piece or tokens[i].length == 0 and r.piece > 0
            if piece_ends:
                r.piece = 0
                if t.size > r.limit:
                    r.at = tokens[i].text + max(tokens[i].length, 1)
                    return
