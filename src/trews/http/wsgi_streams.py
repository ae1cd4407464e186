"""The streams of a WSGI environ: `wsgi.input`, `wsgi.errors`, and what `wsgi.file_wrapper` makes of a file.

Source: PEP 3333, Input and Error Streams, Optional Platform-Specific File Handling.
"""

from __future__ import annotations

import io
import logging
import os
import re
import stat
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import WriteableBuffer

logger = logging.getLogger("trews.http")

BLOCK = 64 * 1024  # bytes of a file, or of an input, at once
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
MAX_LINE = 8 * 1024  # characters of wsgi.errors that wait for the end of their line


class InputError(OSError):
    """`wsgi.input` has no more: the client is gone, or what it sent is no body, too large, or too slow.

    What it was is its `__cause__`.
    """


class NoInput:
    """The input of a request without a body. It has no state: all such requests share one."""

    def read(self, size: int | None = -1, /) -> bytes:
        return b""

    def readline(self, size: int | None = -1, /) -> bytes:
        return b""

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        return []

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        """Nothing: others have it, too."""


class BodyInput(io.RawIOBase):
    """The body of a request, as it comes; in a thread, under an `io.BufferedReader`.

    Args:
        take: waits for more and returns it; b"" at the end.
    """

    def __init__(self, take: Callable[[], bytes]) -> None:
        self._take = take
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer with what is there, or comes next. Raises what `take` does."""
        if not self._rest:
            self._rest = memoryview(self._take())
        room = memoryview(buffer).cast("B")
        count = min(len(room), len(self._rest))
        room[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class ErrorLog:
    """`wsgi.errors`: its lines go to the log, each when it is complete, or flushed."""

    def __init__(self) -> None:
        self._local = threading.local()  # so that the lines of two threads do not mix

    def write(self, text: str) -> int:
        """Log what lines are complete now."""
        if not isinstance(text, str):
            raise TypeError(f"wsgi.errors takes str, not {text!r} (PEP 3333)")
        *lines, rest = (getattr(self._local, "rest", "") + text).split("\n")
        for line in lines:
            _log(line)
        self._local.rest = rest
        if len(rest) > MAX_LINE:
            self.flush()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """The same with several."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Log what waits for the end of its line."""
        rest = getattr(self._local, "rest", "")
        if rest:
            self._local.rest = ""
            _log(rest)


def _log(line: str) -> None:
    """Log a line. Frameworks write in it what a client has sent, such as the path, decoded: no terminal obeys that."""
    logger.error("wsgi.errors: %s", _CONTROL.sub(_escape, line.rstrip("\r")))


def _escape(match: re.Match[str]) -> str:
    return f"\\x{ord(match.group()):02x}"


class FileWrapper:
    """A file as the body of an answer; `environ["wsgi.file_wrapper"]`. A real one is sent by the system, unread.

    Args:
        filelike: has `read(size)`, and perhaps `close()`.
        block_size: bytes that are read at once where it cannot be sent by the system.
    """

    def __init__(self, filelike: Any, block_size: int = BLOCK) -> None:
        self.filelike = filelike
        self.block_size = block_size

    def close(self) -> None:
        """Close the file, if it can be."""
        close = getattr(self.filelike, "close", None)
        if close is not None:
            close()

    def __iter__(self) -> Iterator[bytes]:
        while data := self.filelike.read(self.block_size):
            yield data

    def part(self) -> tuple[int, int] | None:
        """Where in a regular file what is to be sent begins, and how many bytes that is; None if this is none."""
        file = self.filelike
        if not isinstance(file, io.IOBase) or isinstance(file, io.TextIOBase):
            return None
        try:
            status = os.fstat(file.fileno())
            offset = file.tell()
        except (OSError, ValueError):
            return None
        return (offset, max(0, status.st_size - offset)) if stat.S_ISREG(status.st_mode) else None
