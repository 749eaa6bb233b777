"""Files: text read line by line, with errors that name the line; files replaced atomically."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
import zlib
from collections.abc import Iterator

STDIN = "-"


def display_name(path: str | os.PathLike) -> str:
    """What errors call the file."""
    name = os.fspath(path)
    return "standard input" if name == STDIN else name


def located(path: str | os.PathLike, number: int, message: str) -> ValueError:
    """An error about one line of a file."""
    return ValueError(f"{display_name(path)}, line {number}: {message}")


def shortened(text: str, limit: int = 60) -> str:
    """Text for an error message: quoted, and not longer than a line can hold."""
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


def numbered_lines(path: str | os.PathLike) -> Iterator[tuple[int, str]]:
    """Line numbers, from 1, and lines without their ends, of a text in UTF-8.

    Lines end with LF or CR LF, and with nothing else: a separator such as U+2028 may stand in
    a text.  A byte order mark at the beginning is no part of the text.

    Parameters
    ----------
    path : str or path
        What ends with ``.gz`` or ``.xz`` is decompressed; ``"-"`` is standard input.

    Raises
    ------
    OSError
        If the file can't be read.
    ValueError
        If it isn't UTF-8, is damaged or cut off (when compressed), or empty; names file and line.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a string or a path, got {type(path).__name__}")
    number = 0
    with _open(path) as (file, damages):
        try:
            for number, raw in enumerate(file, 1):
                yield number, _decode(path, number, raw)
        except damages as error:
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


@contextlib.contextmanager
def _open(path):
    """The bytes of a file, and the exceptions that its decompression may raise."""
    name = os.fspath(path)
    with contextlib.ExitStack() as stack:
        if name == STDIN:
            file, damages = standard_input(), ()  # not ours to close
        elif name.lower().endswith(".gz"):
            import gzip

            file = stack.enter_context(gzip.open(name))
            damages = (EOFError, zlib.error, gzip.BadGzipFile)
        elif name.lower().endswith(".xz"):
            import lzma

            file = stack.enter_context(lzma.open(name))
            damages = (EOFError, lzma.LZMAError)
        else:
            file, damages = stack.enter_context(open(name, "rb")), ()
        if damages:  # decompressing line by line is slow
            file = stack.enter_context(io.BufferedReader(file, 1 << 20))
        yield file, damages


def _decode(path, number, raw):
    if number == 1:
        raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        wide = number == 1 and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = "UTF-16" if wide else "LATIN1"
        raise located(
            path,
            number,
            f"expected UTF-8, got byte 0x{raw[error.start]:02x} at position {error.start + 1}; "
            f"convert the file, as with iconv -f {encoding} -t UTF-8",
        ) from None
    return line.removesuffix("\n").removesuffix("\r")


def write_atomically(path: str | os.PathLike, data: bytes) -> None:
    """Replace a file by new content; whatever happens, it holds the old or the new one.

    The data are written to a file beside it and are on the disk before that file takes the
    name.  A symbolic link stays one, and an existing file keeps its permissions.  What exists and
    is no regular file, such as a pipe or a device, is written into.

    Raises
    ------
    OSError
        If the data can't be written; the old file is as it was.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as file:
            file.write(data)
        return
    folder, name = os.path.split(target)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(temporary, os.stat(target).st_mode & 0o7777)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder):
    """Bring the new name to the disk too, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
