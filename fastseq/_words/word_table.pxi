# What Python sees of it: the contract is that of ``_reference/corpus.py``.

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    bint PyUnicode_IS_ASCII(object text)
    object PyBytes_FromStringAndSize(const char *text, Py_ssize_t size)
    char *PyBytes_AS_STRING(object text)

ctypedef unsigned char uchar


cdef class WordTable:
    cdef Table table
    cdef bint frozen
    cdef int64_t limit, longest_piece
    cdef readonly int64_t piece

    def __cinit__(self, limit=None, longest_piece=None):
        self.limit = INT64_MAX if limit is None else limit
        self.longest_piece = -1 if longest_piece is None else longest_piece
        if not open_table(&self.table):
            raise MemoryError

    def __dealloc__(self):
        close_table(&self.table)

    def __len__(self):
        return self.table.size

    def freeze(self):
        self.frozen = True

    def add_words(self, words):
        cdef bytes text
        cdef Slot *slot
        cdef uint64_t key
        cdef text_t begin
        for i, word in enumerate(words):
            text = word.encode()
            begin = <text_t>text
            key = key_of(begin, len(text))
            slot = find(&self.table, key, begin, len(text))
            if slot.key:
                return i
            if not insert(&self.table, slot, key, begin, len(text), i - len(words), 0):
                raise MemoryError
        return None

    def add_text(self, const uchar[::1] text, Py_ssize_t begin, int64_t base, items):
        cdef Reader r
        self.open_reader(&r, base, items)
        r.begin = &text[0] if len(text) else NULL
        r.at = r.begin + begin
        r.end = r.begin + len(text)
        with nogil:
            read_tokens(&self.table, &r)
        if r.out_of_memory:
            raise MemoryError
        if not self.frozen:  # which several threads read with
            self.piece = r.piece
        if r.wrong != NULL:
            return r.wrong - r.begin, r.n_items, r.n_words, True
        return r.at - r.begin, r.n_items, r.n_words, False

    def add_sentences(self, list sentences, Py_ssize_t begin, int64_t base, items):
        cdef Reader r
        cdef Py_ssize_t i
        self.open_reader(&r, base, items)
        for i in range(begin, len(sentences)):
            for token in sentences[i]:
                if not isinstance(token, str):
                    return i, r.n_items, r.n_words, True
                if not self.take_string(&r, token):
                    return i, r.n_items, r.n_words, True
            put(&r, SENTENCE_END)
            if self.table.size > self.limit:
                return i + 1, r.n_items, r.n_words, False
        return len(sentences), r.n_items, r.n_words, False

    cdef bint take_string(self, Reader *r, word) except -1:
        """Write the number of a word down; False if no text in UTF-8 can hold it."""
        cdef Py_ssize_t length
        cdef Token token
        cdef bytes kept  # a string that isn't ASCII would keep its UTF-8 for good
        if PyUnicode_IS_ASCII(word):
            token.text = <text_t>PyUnicode_AsUTF8AndSize(word, &length)
        else:
            kept = (<str>word).encode("utf-8", "surrogatepass")  # or NumPy's kind of string
            token.text, length = <text_t>kept, len(kept)
        token.length, token.key = length, key_of(token.text, length)
        r.begin = token.text - r.n_words  # so that positions count words
        if not take_token(&self.table, r, &token):
            if r.out_of_memory:
                raise MemoryError
            return False
        return True

    def merge(self, WordTable other):
        cdef cnp.ndarray numbers = np.empty(other.table.size, np.int32)
        cdef int32_t *number = <int32_t *>cnp.PyArray_DATA(numbers)
        cdef bint done
        with nogil:
            done = merge_tables(&self.table, &other.table, number)
        if not done:
            raise MemoryError
        return numbers

    def counts(self):
        cdef cnp.ndarray counts = np.empty(self.table.size, np.int64)
        with nogil:
            read_counts(&self.table, <int64_t *>cnp.PyArray_DATA(counts))
        return counts

    def firsts(self):
        cdef int64_t[::1] firsts = np.empty(self.table.size, np.int64)
        cdef int64_t i
        for i in range(self.table.size):
            firsts[i] = self.table.words[i].first
        return np.asarray(firsts)

    def words(self, const int64_t[::1] numbers):
        cdef list words = []
        cdef const Word *word
        cdef Py_ssize_t i
        for i in range(len(numbers)):
            word = &self.table.words[numbers[i]]
            words.append(self.table.texts[word.text : word.text + word.length].decode())
        return words

    def packed(self, const int64_t[::1] numbers):
        cdef int64_t[::1] ends = np.empty(len(numbers), np.int64)
        cdef const Word *word
        cdef int64_t size = 0
        cdef Py_ssize_t i
        for i in range(len(numbers)):
            size += self.table.words[numbers[i]].length
            ends[i] = size
        text = PyBytes_FromStringAndSize(NULL, size)
        for i in range(len(numbers)):
            word = &self.table.words[numbers[i]]
            memcpy(
                PyBytes_AS_STRING(text) + ends[i] - word.length, self.table.texts + word.text,
                word.length,
            )
        return text, np.asarray(ends)

    def prune(self, const int64_t[::1] numbers):
        cdef Table kept
        cdef bint done
        cdef const int64_t *number = &numbers[0] if len(numbers) else NULL
        with nogil:
            done = copy_words(&self.table, number, len(numbers), &kept)
        if not done:
            close_table(&kept)
            raise MemoryError
        close_table(&self.table)
        self.table = kept

    cdef open_reader(self, Reader *r, int64_t base, items):
        memset(r, 0, sizeof(Reader))
        r.base, r.limit, r.frozen = base, self.limit, self.frozen
        r.piece, r.longest_piece = self.piece, self.longest_piece
        if items is not None:
            r.items = <int32_t *>cnp.PyArray_DATA(items)


cdef bint merge_tables(Table *t, const Table *other, int32_t *number) noexcept nogil:
    """Add another table's words and counts; number[i] is what its word i is here."""
    cdef Slot **slots = <Slot **>malloc(max(1, other.size) * sizeof(Slot *))
    cdef uint64_t at
    cdef int64_t i, n
    cdef Slot *slot
    cdef Word *word
    cdef text_t text
    if slots == NULL:
        return False
    for at in range(other.mask + 1):
        if other.slots[at].key:
            slots[other.slots[at].word] = &other.slots[at]
    for i in range(other.size):
        word = &other.words[i]
        text = <text_t>other.texts + word.text
        slot = find(t, slots[i].key, text, word.length)
        if slot.key == 0:
            number[i] = <int32_t>t.size
            if not insert(t, slot, slots[i].key, text, word.length, word.first, slots[i].count):
                free(slots)
                return False
            t.words[number[i]].carried = word.carried
        else:
            number[i] = slot.word
            n = <int64_t>slot.count + slots[i].count
            slot.count = <uint32_t>n
            t.words[slot.word].carried += word.carried + (n >> 32 << 32)
            t.words[slot.word].first = min(t.words[slot.word].first, word.first)
    free(slots)
    return True


cdef void read_counts(const Table *t, int64_t *counts) noexcept nogil:
    cdef uint64_t at
    cdef Slot *slot
    for at in range(t.mask + 1):
        slot = &t.slots[at]
        if slot.key:
            counts[slot.word] = t.words[slot.word].carried + slot.count


cdef bint copy_words(const Table *t, const int64_t *numbers, int64_t n, Table *copy) noexcept nogil:
    """A new table of some of the words, which get the numbers from 0 on."""
    cdef int64_t *counts = <int64_t *>malloc(max(1, t.size) * sizeof(int64_t))
    cdef int64_t i
    cdef const Word *word
    cdef uint64_t key
    cdef text_t text
    cdef bint done = counts != NULL and open_table(copy)
    if counts == NULL:
        memset(copy, 0, sizeof(Table))
    if done:
        read_counts(t, counts)
    for i in range(n if done else 0):
        word = &t.words[numbers[i]]
        text = <text_t>t.texts + word.text
        key = key_of(text, word.length)
        done = done and insert(
            copy, find(copy, key, text, word.length), key, text, word.length, word.first,
            <uint32_t>counts[numbers[i]],
        )
        if done:
            copy.words[i].carried = counts[numbers[i]] >> 32 << 32
    free(counts)
    return done


def count_items(const int32_t[::1] items, int64_t[::1] counts):
    cdef Py_ssize_t i
    with nogil:
        for i in range(len(items)):
            if items[i] >= 0:
                counts[items[i]] += 1


def renumber(
    const int32_t[::1] items, const int32_t[::1] numbers, int32_t[::1] ids, int64_t[::1] ends,
    int64_t n_ids, int64_t last_end, int64_t open_words,
):
    cdef Py_ssize_t i, n = 0, n_ends = 0
    cdef int64_t sentences = 0
    cdef int32_t item, number
    with nogil:
        for i in range(len(items)):
            item = items[i]
            if item >= 0:
                number = numbers[item]
                if number >= 0:
                    ids[n] = number
                    n += 1
                open_words += 1
            elif item == UNKNOWN:
                open_words += 1
            else:
                sentences += open_words > 0
                open_words = 0
                if n_ids + n > last_end:
                    last_end = n_ids + n
                    ends[n_ends] = last_end
                    n_ends += 1
    return n, n_ends, sentences, open_words
