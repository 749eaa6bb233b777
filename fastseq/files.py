"""Files: text read line by line, with errors that name the line; files replaced atomically."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import itertools
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from fastseq import checks

STDIN = "-"
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}  # and /dev/fd/N


def display_name(path: str | os.PathLike) -> str:
    """What errors call the file."""
    name = os.fspath(path)
    return "standard input" if name == STDIN else name


def located(path: str | os.PathLike, number: int, message: str) -> ValueError:
    """An error about one line of a file."""
    return ValueError(f"{display_name(path)}, line {number}: {message}")


def shortened(value: object, limit: int = 60) -> str:
    """A value for an error message, not longer than a line can hold; text is quoted."""
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return repr(text) if isinstance(value, str) else text


def numbered_lines(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and lines without their ends, of a text in UTF-8.

    Lines end with LF or CR LF, and with nothing else: a separator such as U+2028 may stand in
    a text.  A byte order mark at the beginning is no part of the text.

    Parameters
    ----------
    path : str or path
        What ends with ``.gz``, ``.bz2``, ``.xz`` or ``.zst`` (with the extra ``zstd``) is
        decompressed; ``"-"`` is standard input.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it isn't UTF-8, is damaged or cut off (when compressed), or empty; names file and line.
    """
    number = 0
    with opened(path) as (file, damages, _):
        try:
            for number, raw in enumerate(file, 1):
                yield number, _decode(path, number, raw)
        except damages as error:
            check_damage(error)
            raise ValueError(
                f"{display_name(path)}, after line {number}: damaged or cut off: {error}"
            ) from error
    if not number:
        raise ValueError(f"{display_name(path)}: expected text, got an empty file")


def standard_input() -> io.BufferedReader:
    """The bytes of standard input."""
    if sys.stdin is None:
        raise ValueError("standard input: expected data, got a closed stream; give a file")
    return sys.stdin.buffer


def blocks(path: str | os.PathLike, size: int) -> Iterator[tuple[bytes, int]]:
    """A file in pieces that end after a blank or a line feed, and so between characters and words.

    Parameters
    ----------
    path : str or path
        As for :func:`numbered_lines`.
    size : int
        About how many bytes a piece has; a longer word makes it longer.

    Yields
    ------
    block : bytes
    done : int
        Bytes of the file that were read, as it lies on the disk.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it is damaged or cut off (when compressed).
    """
    parts, done = [], 0  # what was read, and has no end yet
    with opened(path) as (file, damages, tell):
        try:
            while data := file.read(size):
                done = tell()
                cut = max(data.rfind(b" "), data.rfind(b"\n")) + 1
                if cut:
                    yield b"".join([*parts, memoryview(data)[:cut]]), done
                    parts = []
                parts.append(data[cut:])
        except damages as error:
            check_damage(error)
            raise ValueError(f"{display_name(path)}: damaged or cut off: {error}") from error
    if any(parts):
        yield b"".join(parts), done


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[tuple[BinaryIO, tuple[type, ...], Callable]]:
    """A file's bytes, the exceptions its decompression may raise, how far it is on the disk."""
    name = checks.path("path", path)
    with contextlib.ExitStack() as stack:
        if name == STDIN:
            yield standard_input(), (), lambda: 0  # not ours to close
            return
        open_compressed, damages = _compression(name)
        raw = file = stack.enter_context(open(name, "rb"))
        if open_compressed:
            file = stack.enter_context(open_compressed(raw))
            file = stack.enter_context(io.BufferedReader(file, 1 << 20))  # single lines are slow
        yield file, damages, raw.tell


@contextlib.contextmanager
def compressing(path: str | os.PathLike, file: BinaryIO) -> Iterator[BinaryIO]:
    """A file to write to, which is compressed into another one if the path's ending says so."""
    open_compressed, _ = _compression(path)
    if open_compressed is None:
        yield file
        return
    with open_compressed(file, "wb") as packed:
        yield packed


def _compression(path):
    """What opens a compressed file, or None; and the exceptions that may come of reading it."""
    ending = os.path.splitext(path)[1].lower()
    if ending == ".gz":
        import gzip

        return _open_gzip, (EOFError, zlib.error, gzip.BadGzipFile)
    if ending == ".bz2":
        import bz2

        return bz2.open, (EOFError, OSError)
    if ending == ".xz":
        import lzma

        return lzma.open, (EOFError, lzma.LZMAError)
    if ending == ".zst":
        zstd = _zstd()
        return zstd.open, (EOFError, zstd.ZstdError)
    return None, ()


def _open_gzip(file, mode="rb"):
    """As ``gzip.open``, with neither name nor time in the file: the same data make the same one."""
    import gzip

    return gzip.GzipFile("", mode, fileobj=file, mtime=0)


def _zstd():
    """Python's own module from 3.14 on, or its twin for older ones."""
    try:
        from compression import zstd
    except ImportError:
        try:
            from backports import zstd
        except ImportError as error:
            raise ImportError(
                "reading and writing .zst files needs backports.zstd: pip install 'fastseq[zstd]'"
            ) from error
    return zstd


def check_damage(error):
    """Raise what is no damage but an error of the disk: bz2 has no exception of its own."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _decode(path, number, raw):
    if number == 1:
        raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(path, number, error.start, raw[error.start], raw) from None
    return line.removesuffix("\n").removesuffix("\r")


def not_utf8(path, number, position, byte, line):
    """The error about a byte at a position, from 0, of a line, whose beginning is known."""
    wide = number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "UTF-16" if wide else "LATIN1"
    return located(
        path,
        number,
        f"expected UTF-8, got byte 0x{byte:02x} at position {position + 1}; "
        f"convert the file, as with iconv -f {encoding} -t UTF-8",
    )


def check_writable(path: str | os.PathLike) -> None:
    """Raise where a file can't be put, before any work that would be lost."""
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if _is_stream(path):  # which is written into, whatever its folder allows
        number = _descriptor(path)
        if number is not None:
            os.fstat(number)  # raises if it is closed
        elif not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return
    folder = os.path.dirname(os.path.realpath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)


def check_outputs(
    outputs: Iterable[tuple[str, str | os.PathLike | None]],
    inputs: Iterable[str | os.PathLike | None],
) -> None:
    """Raise where a command's files can't be put, or would take the place of others of it.

    Parameters
    ----------
    outputs : iterable of (str, path or None)
        What is written: the option that says so, and the file; None where there is none.
    inputs : iterable of (path or None)
        What is read.  Standard input is no file.

    Raises
    ------
    OSError
        As of :func:`check_writable`.
    ValueError
        If a file is written that is read, or is written twice.
    """
    inputs = [path for path in inputs if path not in (None, STDIN)]
    written = []
    for option, path in outputs:
        if path is None:
            continue
        check_writable(path)
        if any(_is_same_file(path, other) for other in inputs):
            raise ValueError(
                f"{option} must not be a file that is read, which would be lost, got "
                f"{os.fspath(path)}: give another name"
            )
        for other_option, other in written:
            if _is_same_file(path, other):
                raise ValueError(
                    f"{option} must not be the file of {other_option}, got {os.fspath(path)}: "
                    "give another name"
                )
        written.append((option, path))


def _is_same_file(a, b):
    """Whether two names are those of one file, which need not be there yet."""
    if _is_stream(a) or _is_stream(b):
        return False
    if os.path.exists(a) and os.path.exists(b):
        return os.path.samefile(a, b)
    return os.path.normcase(os.path.realpath(a)) == os.path.normcase(os.path.realpath(b))


def _is_stream(path):
    """Whether it is a pipe, a device, or one of the process's own streams, whatever that is."""
    is_own = _descriptor(path) is not None
    return is_own or (os.path.exists(path) and not os.path.isfile(path))


def _descriptor(path):
    """Which of the process's own streams a name stands for, as a number, or None."""
    name = os.path.abspath(path)
    folder, number = os.path.split(name)
    return int(number) if folder == "/dev/fd" and number.isdecimal() else STREAMS.get(name)


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Replace a file by new content; see :func:`replacing`."""
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write bytes to, which replaces another one in the end or not at all.

    The data are written to a file beside it and are on the disk before that file takes the
    name.  A symbolic link stays one, and an existing file keeps its permissions.  What exists and
    is no regular file, such as a pipe or a device, is written into; so are the process's own
    streams, such as /dev/stdout, behind what was written there.

    Several threads or processes may write the same file: each writes one of its own beside it, and
    the last one to end stays.

    Raises
    ------
    OSError
        If the data can't be written; the old file is as it was.
    """
    with replacing_together() as replacing_one, replacing_one(path) as file:
        yield file


@contextlib.contextmanager
def replacing_together() -> Iterator[Callable]:
    """As :func:`replacing`, for files that belong together: all are replaced in the end, or none.

    Yields
    ------
    replacing_one : callable
        To be used as :func:`replacing`, for one file after the other; they take their names when
        all of them are on the disk.
    """
    written = []  # for each file its path, the new content's name, and whose name that takes

    @contextlib.contextmanager
    def replacing_one(path):
        checks.path("path", path)
        if _is_stream(path):
            number = _descriptor(path)
            # a copy of the stream, which goes on where it is: opened anew it would begin at 0
            with open(path if number is None else os.dup(number), "wb") as file:
                yield file
            return
        with _naming(path):
            target = os.path.realpath(path)
            with _open_beside(target) as file:
                written.append((path, file.name, target))
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(file.name, os.stat(target).st_mode & 0o7777)
                yield file
                file.flush()
                os.fsync(file.fileno())

    try:
        yield replacing_one
        for path, name, target in written:
            with _naming(path):
                os.replace(name, target)
    except BaseException:
        for _, name, _ in written:
            with contextlib.suppress(OSError):
                os.unlink(name)
        raise
    for folder in {os.path.dirname(target) for *_, target in written}:
        _sync_folder(folder)


@contextlib.contextmanager
def _naming(path):
    """Give errors of the disk the name that the user knows."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno or errno.EIO,
            f"can't be written: {error.strerror or error}; nothing was replaced",
            str(path),
        ) from error


def _open_beside(target):
    """A new file in the same folder; see ``checkpoint.remove_leftovers``."""
    folder, name = os.path.split(target)
    for number in itertools.count():
        with contextlib.suppress(FileExistsError):
            return open(os.path.join(folder, f".{name}.{os.getpid()}.{number}.tmp"), "xb")


def _sync_folder(folder):
    """Bring the new name to the disk too, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
