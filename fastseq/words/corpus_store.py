"""Where an encoded corpus lies while it grows: in memory, or from some size on in a file."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections import deque

import numpy as np

from fastseq import control_groups

SLAB = 16 << 20  # bytes


def default_limit():
    """Half of the memory that this process may have, in bytes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([memory, *control_groups.limits("memory", _read_limit)]) // 2


def _read_limit(folder, version):
    """A control group's limit in bytes."""
    name = "memory.max" if version == 2 else "memory.limit_in_bytes"
    return int(control_groups.read(f"{folder}/{name}"))


class Slabs:
    """Memory for items, which goes back to the system as soon as nobody uses a slab any more.

    Arrays of NumPy's own would come from the heap, which keeps what was freed at its beginning.
    """

    def __init__(self):
        self._slab = np.empty(0, np.int32)

    def room(self, size):
        """An array of so many items at least."""
        if len(self._slab) < size:
            private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            memory = mmap.mmap(-1, max(SLAB, 4 * size), private)
            self._slab = np.frombuffer(memory, np.int32)
        return self._slab

    def take(self, size):
        """The beginning of the array that was given last, which nobody else gets."""
        taken, self._slab = self._slab[:size], self._slab[size:]
        return taken


class Store:
    """Items as they come, and then the ids and ends of sentences that are made of them.

    In memory items are given back as soon as they were read, so that items and ids together hardly
    take more than items alone.  On the disk ids take the place of items.
    """

    def __init__(self, memory_limit, folder):
        self._limit = memory_limit
        self._folder = folder
        self._chunks = deque()
        self._file = self._offsets_file = None
        self._sizes = []
        self.size = 0

    def close(self):
        """Give up what is on the disk, unless it was handed out."""
        for file in (self._file, self._offsets_file):
            if file is not None:
                file.close()

    def append(self, items):
        """Keep an array of items, which lies in a slab or will not be written to any more."""
        if self._file is None and 4 * (self.size + len(items)) > self._limit:
            self._move_to_disk()
        if self._file is None:
            self._chunks.append(items)
        else:
            self._file.append(items)
        self._sizes.append(len(items))
        self.size += len(items)

    def encode(self, n_ids, n_words, renumber):
        """The corpus: ids, and the places where sentences begin and the last one ends.

        Of all items ``n_words`` are words.  ``renumber(items, ids, ends)`` writes what becomes of
        some items, and returns how many ids and ends there are.
        """
        ids, offsets = self._outputs(n_ids, 1 + self.size - n_words)
        offsets.append(np.zeros(1, np.int64))
        longest = max(self._sizes, default=0)
        new_ids, new_ends = np.empty(longest, np.int32), np.empty(longest, np.int64)
        for items in self._read():
            n, n_ends = renumber(items, new_ids, new_ends)
            ids.append(new_ids[:n])
            offsets.append(new_ends[:n_ends])
        return ids.finished(), offsets.finished()

    def _move_to_disk(self):
        self._file = GrowingFile(np.int32, self._folder)
        while self._chunks:
            self._file.append(self._chunks.popleft())

    def _outputs(self, n_ids, most_offsets):
        if self._file is None:
            ids, offsets = np.empty(n_ids, np.int32), np.empty(most_offsets, np.int64)
            return _Filled(ids), _Filled(offsets)
        self._offsets_file = GrowingFile(np.int64, self._folder)
        return _Rewritten(self._file), self._offsets_file

    def _read(self):
        if self._file is None:
            while self._chunks:
                yield self._chunks.popleft()
            return
        at = 0
        for size in self._sizes:
            yield self._file.read(at, size)
            at += size


class GrowingFile:
    """An array in a file without a name, which goes away with the last who uses it."""

    def __init__(self, dtype, folder):
        self._dtype = np.dtype(dtype)
        self._folder = tempfile.gettempdir() if folder is None else folder
        self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        self.size = 0

    def append(self, array):
        self.write(self.size, array)
        self.size += len(array)

    def write(self, at, array):
        """Put an array at a place; what doesn't fit on the disk is an error, not a crash later."""
        view, at = memoryview(array).cast("B"), at * self._dtype.itemsize
        try:
            while view:
                written = os.pwrite(self._file.fileno(), view, at)
                view, at = view[written:], at + written
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror} for the encoded corpus; give a folder on another disk as "
                "folder, or a higher memory_limit",
                os.fspath(self._folder),
            ) from error

    def read(self, at, size):
        length, parts = size * self._dtype.itemsize, []
        at *= self._dtype.itemsize
        while length:
            parts.append(os.pread(self._file.fileno(), length, at))
            if not parts[-1]:
                raise OSError("the temporary file of the encoded corpus was cut off")
            at, length = at + len(parts[-1]), length - len(parts[-1])
        return np.frombuffer(b"".join(parts), self._dtype)

    def finished(self):
        """The array, mapped into memory; it can't be written to."""
        self._file.truncate(self.size * self._dtype.itemsize)
        return np.memmap(self._file, self._dtype, "r", shape=(self.size,))

    def close(self):
        """The file goes away, unless it is mapped."""
        self._file.close()


class _Rewritten:
    """A file whose beginning is overwritten by less than was read of it."""

    def __init__(self, file):
        self._file, self._size = file, 0

    def append(self, array):
        self._file.write(self._size, array)
        self._size += len(array)

    def finished(self):
        self._file.size = self._size
        return self._file.finished()


class _Filled:
    """An array that is large enough; what is left of it was never touched, and takes no memory."""

    def __init__(self, array):
        self._array, self._size = array, 0

    def append(self, array):
        self._array[self._size : self._size + len(array)] = array
        self._size += len(array)

    def finished(self):
        self._array.flags.writeable = False
        return self._array[: self._size]
