"""Files of word vectors in word2vec's two formats.

They begin with a line ``N D``.  In text files a line follows for each word, ``word x1 ... xD``; in
binary ones ``word``, a blank and D little-endian float32, perhaps with an end of line behind.
Words go through Python one by one, numbers never: a chunk's are parsed, or copied, at once.

N words, D numbers in a vector.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import os
import re
import warnings

import numpy as np

from fastseq import checks, files

CHUNK = 1 << 23  # bytes that are read at a time
ROWS = 4096  # vectors that are written at a time
LONGEST_WORD = 1 << 16  # bytes; what seems to be longer is something else
BEGINNING = 1 << 16  # bytes that tell the formats apart
SAMPLE = 100  # lines that show how many numbers a vector has

_WHITE = re.compile(r"[ \t-\r]")  # what separates words for those who read the formats
_NO_TEXT = re.compile(rb"[\0-\x08\x0e-\x1f]")  # numbers in binary have such bytes, texts don't


# --- reading -------------------------------------------------------------------------------------


def read_word2vec(path, *, binary, encoding, errors, limit, dtype, header):
    """The words (a list) and vectors (N, D) of a file."""
    if binary and not header:
        raise ValueError("no_header=True is for text files: a binary one can't be read without it")
    _check_codec(encoding, errors)
    name = files.display_name(path)
    with files.opened(path) as (file, damages, _):
        source = _Source(file, name, encoding, errors, dtype)
        try:
            source.skip_mark()
            if header:
                source.read_header(None if damages or path == files.STDIN else _size(file))
            read = _read_binary if binary else _read_text
            words, vectors = read(source, limit)
        except damages as error:
            files.check_damage(error)
            raise ValueError(f"{name}: damaged or cut off: {error}") from error
        except ValueError as error:
            if source.is_of_other_format(binary):
                wanted, there = ("binary", "text") if binary else ("text", "binary")
                raise ValueError(
                    f"{name}: seems to be {there}, not {wanted}; KeyedVectors."
                    f"load_word2vec_format(path, binary={not binary}) reads it"
                ) from error
            raise
    return _without_copies(name, words, vectors)


def _check_codec(encoding, errors):
    for name, value in (("encoding", encoding), ("unicode_errors", errors)):
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string, got {value!r}")
    try:
        keeps_ascii = "0".encode(encoding) == b"0"
        codecs.lookup_error(errors)
    except LookupError as error:
        raise ValueError(f"encoding and unicode_errors must be known to Python: {error}") from None
    if not keeps_ascii:
        raise ValueError(
            f"encoding must be one in which digits and blanks are ASCII, got {encoding!r}; convert "
            f"the file first, as with iconv -f {encoding} -t UTF-8"
        )


def _size(file):
    return os.fstat(file.fileno()).st_size


class _Source:
    """A file that is being read, and what its header announced."""

    def __init__(self, file, name, encoding, errors, dtype):
        self.file, self.name = file, name
        self.encoding, self.errors, self.dtype = encoding, errors, dtype
        self.count = self.size = None
        self.has_room = False  # whether the file was seen to be large enough for that
        self.line = 0  # how many were read
        self._beginning = None  # behind the header

    def skip_mark(self):
        """Skip a byte order mark at the beginning, which is no part of a text."""
        if self.file.peek(len(codecs.BOM_UTF8)).startswith(codecs.BOM_UTF8):
            self.file.read(len(codecs.BOM_UTF8))

    def read(self):
        """The next part of the file, empty at its end."""
        chunk = self.file.read(CHUNK)
        if self._beginning is None:
            self._beginning = chunk[:BEGINNING]
        return chunk

    def is_of_other_format(self, binary):
        """Whether the file, which can't be read as this format, looks like the other one."""
        if self.count is None or not self._beginning:  # those without a header are texts
            return False
        if not binary:
            return _NO_TEXT.search(self._beginning) is not None
        word, *fields = self._beginning.partition(b"\n")[0].rsplit(None, self.size) or [b""]
        numbers = _numbers(b" ".join(fields))
        return bool(word) and numbers is not None and numbers.size == self.size

    def read_header(self, bytes_there):
        """Read the first line; what it announces must have room in the file, if that is known."""
        line = self.file.readline(1000)
        self.line = 1
        fields = line.split()
        if len(fields) != 2 or not all(field.isdigit() for field in fields):
            came = files.shortened(line[:100].rstrip().decode("latin-1"))
            raise self.wrong(
                "expected how many words and numbers there are, as in '71291 200', got "
                f"{came}; for files without such a line there is "
                "KeyedVectors.load_word2vec_format(path, no_header=True)",
                1,
            )
        self.count, self.size = map(int, fields)
        if not self.size:
            raise self.wrong("expected vectors of at least one number, got 0", 1)
        least = self.count * (2 * self.size + 1)  # a text of words without letters and digits
        if bytes_there is not None and least > bytes_there:
            raise ValueError(
                f"{self.name}: truncated, or its first line is wrong: {self.count:,} vectors of "
                f"{self.size:,} numbers need {least:,} bytes, and {bytes_there:,} are there"
            )
        self.has_room = bytes_there is not None

    def wrong(self, message, number):
        return ValueError(f"{self.name}, line {number}: {message}")

    def truncated(self, got):
        return ValueError(
            f"{self.name}: truncated, or its first line is wrong: {got:,} of {self.count:,} "
            "vectors are there"
        )

    def decode(self, word, what, number):
        """A word as text."""
        try:
            return word.decode(self.encoding, self.errors)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.name}, {what} {number}: expected {self.encoding}, got byte "
                f"0x{word[error.start]:02x} in {files.shortened(word.decode('latin-1'))}; give "
                "the right encoding, or unicode_errors='replace'"
            ) from None


class _Rows:
    """Vectors that come in parts.

    Where the file is known to be as large as its header says they go to their place at once;
    otherwise memory follows what has come, not what was announced.
    """

    def __init__(self, source, wanted):
        self._source = source
        self._parts, self._count, self._dtype = [], 0, source.dtype
        self._total = np.empty((wanted, source.size), source.dtype) if source.has_room else None

    def add(self, rows):
        try:
            with np.errstate(over="raise"):
                self._put(rows)
        except FloatingPointError:
            raise ValueError(
                f"{self._source.name}: holds numbers that {np.dtype(self._dtype)} can't hold; "
                "KeyedVectors.load_word2vec_format(path, datatype=np.float64) reads them"
            ) from None

    def _put(self, rows):
        if self._total is None:
            self._parts.append(rows.astype(self._dtype, copy=False))
        else:
            self._total[self._count : self._count + len(rows)] = rows
        self._count += len(rows)

    def joined(self, size):
        if self._total is not None:
            return self._total[: self._count]
        return np.concatenate([np.empty((0, size), self._dtype), *self._parts])


def _read_binary(source, limit):
    wanted = source.count if limit is None else min(limit, source.count)
    words, rows, rest, width = [], _Rows(source, wanted), b"", 4 * source.size
    while len(words) < wanted:
        chunk = source.read()
        new, numbers, rest = _split_binary(
            source, rest + chunk, width, wanted - len(words), len(words)
        )
        words += new
        rows.add(np.frombuffer(numbers, "<f4").reshape(-1, source.size))
        if len(words) == wanted:
            break
        if b" " not in rest[: LONGEST_WORD + 1] and len(rest) > LONGEST_WORD:
            raise ValueError(
                f"{source.name}, word {len(words) + 1}: expected a word and a blank, got more than "
                f"{LONGEST_WORD:,} bytes without one; is this a binary file?"
            )
        if not chunk:
            raise source.truncated(len(words))
    if limit is None:
        _check_end(source, itertools.chain([rest], iter(source.read, b"")))
    return words, rows.joined(source.size)


def _split_binary(source, data, width, most, done):
    """The whole entries at the beginning: words, bytes of all numbers, and what comes after."""
    words, parts, begin, view = [], [], 0, memoryview(data)
    encoding, errors = source.encoding, source.errors
    for _ in range(most):
        blank = data.find(b" ", begin)
        end = blank + 1 + width
        if blank < 0 or end > len(data):
            break
        word = data[begin:blank].lstrip(b"\n")  # of the entry before
        try:
            words.append(word.decode(encoding, errors))
        except UnicodeDecodeError:
            source.decode(word, "word", done + len(words) + 1)  # raises, with a message
        parts.append(view[blank + 1 : end])
        begin = end
    return words, b"".join(parts), data[begin:]


def _check_end(source, parts):
    """Raise if there is more than white space in what comes after the last vector."""
    if any(part.strip() for part in parts):
        raise ValueError(
            f"{source.name}: expected to end after the {source.count:,} vectors that its first "
            "line announces, but there is more; is the right format chosen, and is there a "
            "word with a blank in it?"
        )


def _read_text(source, limit):
    wanted = min((n for n in (limit, source.count) if n is not None), default=None)
    words, rows = [], _Rows(source, wanted)
    blocks = _blocks_of_lines(source)
    for block, lines in enumerate(blocks):
        if block == 0:
            _check_columns(source, lines)
        while lines and len(words) != wanted:
            most = len(lines) if wanted is None else wanted - len(words)
            new, numbers = _parse(source, lines[:most])
            words += new
            rows.add(numbers)
            lines = lines[most:]
        if len(words) == wanted:
            if limit is None:
                _check_end(source, map(b"".join, itertools.chain([lines], blocks)))
            break
    if wanted is not None and len(words) < wanted and source.count is not None:
        raise source.truncated(len(words))
    if source.size is None:
        raise ValueError(f"{source.name}: expected vectors, got none")
    return words, rows.joined(source.size)


def _check_columns(source, lines):
    """Raise if most of the first lines have more numbers than the file's first line says.

    What is too much would be taken for the ends of words.  Single words may well end in a number,
    as ``route 66`` does.
    """
    rows = [(i, line.split()) for i, line in enumerate(lines[:SAMPLE], source.line + 1)]
    rows = [(i, fields) for i, fields in rows if fields]
    size, way_out = source.size, "write the right number there"
    if size is None and rows:  # the first line is a vector already, or should be one
        (_, first), *rows = rows
        size, way_out = len(first) - 1, "repair it"
        if len(first) == 2 and all(field.isdigit() for field in first):
            way_out = "leave out no_header=True if it says how many words and numbers there are"
    counts = [(i, _count_numbers(fields)) for i, fields in rows]
    wrong = [(i, count) for i, count in counts if count > size]
    if 2 * len(wrong) > len(counts):
        number, count = wrong[0]
        raise source.wrong(
            f"expected numbers as the file's first line has it, {size} in each line, got {count}, "
            f"and most of the lines have too many; {way_out}",
            number,
        )


def _count_numbers(fields):
    """How many numbers come after a word, 0 if there is something else among them."""
    numbers = _numbers(b" ".join(fields[1:]))
    return 0 if numbers is None else numbers.size


def _blocks_of_lines(source):
    """Lists of lines without their ends, some megabytes of them at a time."""
    longest = CHUNK + LONGEST_WORD + 64 * (source.size or CHUNK)
    rest, chunk = b"", b"\n"
    while chunk:
        chunk = source.read()
        data = rest + chunk
        end = data.rfind(b"\n") + 1 if chunk else len(data)
        block, rest = data[:end], data[end:]
        if block:
            yield block.removesuffix(b"\n").split(b"\n")
        if len(rest) > longest:
            raise source.wrong(
                f"expected a word and its numbers, got {len(rest):,} bytes; is this a text file?",
                source.line + 1,
            )


def _parse(source, lines):
    """The words and numbers of lines.

    Usually a line has as many blanks as numbers, so that the first one ends the word, and all
    numbers are parsed at once.  Where that doesn't work lines are read one by one.
    """
    first, source.line = source.line + 1, source.line + len(lines)
    if source.size is None:  # the first line says it
        source.size = len(lines[0].split()) - 1
        if source.size < 1:
            raise source.wrong("expected a word and numbers, got something else", first)
    blanks, words, texts = source.size - 1, [], []
    for line in lines:
        word, _, text = line.rstrip().partition(b" ")
        if text.count(b" ") != blanks or not word:
            break
        words.append(word)
        texts.append(text)
    numbers = _numbers(b" ".join(texts)) if len(texts) == len(lines) else None
    if numbers is None or numbers.size != len(lines) * source.size:
        return _parse_one_by_one(source, lines, first)
    try:
        words = [word.decode(source.encoding, source.errors) for word in words]
    except UnicodeDecodeError:
        for i, word in enumerate(words):
            source.decode(word, "line", first + i)
    return words, numbers.reshape(-1, source.size)


def _parse_one_by_one(source, lines, first):
    """The same, of lines that may be empty, have words with blanks in them, or be wrong."""
    words, rows = [], []
    for number, line in enumerate(lines, first):
        if not line.strip():
            continue
        word, *fields = line.rsplit(None, source.size)
        row = _numbers(b" ".join(fields))
        if len(fields) < source.size or row is None or row.size != source.size:
            raise source.wrong(
                f"expected a word and {source.size} numbers, got "
                f"{files.shortened(line.decode('latin-1'))}",
                number,
            )
        words.append(source.decode(word, "line", number))
        rows.append(row)
    return words, np.array(rows).reshape(-1, source.size)


def _numbers(text):
    """Decimals with white space between them; None if there is something else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what NumPy raises is a warning until 2.3
        try:
            return np.fromstring(text, np.float64, sep=" ")
        except (ValueError, DeprecationWarning):
            return None


def _without_copies(name, words, vectors):
    """Words and vectors without those that came before."""
    first = {}
    for i, word in enumerate(words):
        first.setdefault(word, i)
    if len(first) == len(words):
        return words, vectors
    copies = len(words) - len(first)
    word = next(word for i, word in enumerate(words) if first[word] != i)
    checks.warn(
        f"{name}: {copies} words come again, such as {word!r}; their first vectors are taken"
    )
    return list(first), vectors[list(first.values())]


def read_counts(path, words, encoding, errors):
    """The counts of words (N,), from a file with a word and its count in each line."""
    name, counts = files.display_name(path), {}
    with files.opened(path) as (file, damages, _):
        source = _Source(file, name, encoding, errors, None)
        try:
            source.skip_mark()
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                word, *count = line.rsplit(None, 1)
                if len(count) != 1 or not count[0].isdigit():
                    raise source.wrong(
                        "expected a word and its count, got "
                        f"{files.shortened(line.strip().decode('latin-1'))}",
                        number,
                    )
                counts.setdefault(source.decode(word, "line", number), int(count[0]))
        except damages as error:
            files.check_damage(error)
            raise ValueError(f"{name}: damaged or cut off: {error}") from error
    missing = next((word for word in words if word not in counts), None)
    if missing is not None:
        raise ValueError(f"{name}: expected a count for each word, got none for {missing!r}")
    return np.array([counts[word] for word in words], np.int64)


# --- writing -------------------------------------------------------------------------------------


def write_word2vec(path, words, vectors, binary, header, counts=None):
    """Write words and vectors (N, D), perhaps with a second file: ``counts`` is path and counts."""
    encoded = _encode(words)
    with files.replacing_together() as replacing:
        with _writing(path, replacing) as file:
            if header:
                file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
            block = _binary_block if binary else _text_block
            for i in range(0, len(words), ROWS):
                file.write(block(encoded[i : i + ROWS], vectors[i : i + ROWS]))
        if counts is not None:
            write_counts(counts[0], words, counts[1], replacing)


def _encode(words):
    for i, word in enumerate(words):
        if not word or _WHITE.search(word):
            raise ValueError(
                f"the format separates words by white space and can't hold {word!r}, key {i}: "
                "replace it, as with key.replace(' ', '_'), or save a .safetensors file"
            )
    try:
        return [word.encode() for word in words]
    except UnicodeEncodeError as error:
        i = words.index(error.object)
        raise ValueError(
            f"the format is UTF-8 and can't hold {error.object!r}, key {i}, which has half a "
            "character: read its text with encoding='utf-8', or save a .safetensors file"
        ) from None


def _binary_block(words, vectors):
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(vectors, "<f4")
    lost = np.argwhere(np.isinf(single) & np.isfinite(vectors))
    if lost.size:
        raise ValueError(
            f"the binary format has float32 and can't hold {vectors[tuple(lost[0])]} in the vector "
            f"of {words[lost[0, 0]].decode()!r}: save a text, .npy or .safetensors file"
        )
    data = memoryview(single.tobytes())
    width, parts = 4 * vectors.shape[1], []
    for i, word in enumerate(words):
        parts += (word, b" ", data[i * width : (i + 1) * width], b"\n")
    return b"".join(parts)


def _text_block(words, vectors):
    digits = 9 if vectors.dtype == np.float32 else 17  # so that the same numbers are read back
    line = b"%b" + f" %.{digits}g".encode() * vectors.shape[1] + b"\n"
    pairs = zip(words, vectors.tolist(), strict=True)
    return b"".join([line % (word, *row) for word, row in pairs])


def write_counts(path, words, counts, replacing=files.replacing):
    """Write a file with a word and its count in each line."""
    with _writing(path, replacing) as file:
        pairs = zip(words, counts.tolist(), strict=True)
        file.write("".join([f"{word} {count}\n" for word, count in pairs]).encode())


@contextlib.contextmanager
def _writing(path, replacing=files.replacing):
    """A file that is replaced in the end, compressed if its name says so."""
    with replacing(path) as file, files.compressing(path, file) as packed:
        yield packed
