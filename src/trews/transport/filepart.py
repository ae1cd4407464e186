"""A part of a file that waits to be sent, in a transport's buffer among the bytes."""

from __future__ import annotations

import errno
import io
import os
import socket
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 256 * 1024  # what is read at once where there is no sendfile
SENDFILE_MAX = 1024 * 1024  # what one sendfile may take, so that the others get their turn

# Of a socket. Whatever else sendfile says is about the file, or that it cannot do it.
_PEER_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT, errno.ECONNABORTED})


class FilePart:
    """`len()` bytes of a file, from an offset.

    Args:
        path_or_file: a path; or a file that is open for reading bytes, which the caller closes.
        offset: where it begins.
        count: how many bytes; None is to the end.
        done: called once, with None when the last byte is sent, or with what went wrong.

    Raises:
        OSError: there is no such file, it may not be read, or it is none.
        EOFError: it is not long enough.
        TypeError, ValueError: what was given cannot be a part of a file.
    """

    __slots__ = ("_done", "_fd", "_file", "_is_native", "_is_own", "_left", "_name", "_offset", "_size")

    def __init__(
        self, path_or_file: Any, offset: int, count: int | None, done: Callable[[BaseException | None], None]
    ) -> None:
        for name, value in (("offset", offset), ("count", 0 if count is None else count)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} is a number of bytes, not {value!r}")
            if value < 0:
                raise ValueError(f"{name} is 0 or more, not {value}")
        self._is_own = isinstance(path_or_file, (str, bytes, os.PathLike))
        self._file: Any = _open(path_or_file) if self._is_own else _checked(path_or_file)
        self._name = os.fsdecode(path_or_file) if self._is_own else str(getattr(self._file, "name", "the file"))
        self._fd = _fileno(self._file)
        self._is_native = self._fd is not None and hasattr(os, "sendfile")
        self._offset = offset
        self._left = memoryview(b"")  # what was read and not sent: TLS wants the very same again
        self._done: Callable[[BaseException | None], None] | None = done
        try:
            left = max(0, self._end() - offset)
            if count is not None and count > left:
                raise EOFError(f"{self.name} has {left} bytes from offset {offset} on, not {count}")
        except BaseException:
            self.close()
            raise
        self._size = left if count is None else count

    def __len__(self) -> int:
        return self._size

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self._name

    def send(self, sock: Any, sent: int) -> int:
        """Send some of it, from the byte `sent` on.

        Returns:
            How many bytes; 0 if the file cannot give the rest: `done` has been told why.

        Raises:
            BlockingIOError: the peer takes none now.
            OSError: of the socket: the connection is broken.
        """
        if self._is_native and isinstance(sock, socket.socket):
            try:
                # It may wait for the disk; what was read lately, or ahead, comes from memory.
                size = min(self._size - sent, SENDFILE_MAX)
                count: int = os.sendfile(sock.fileno(), self._fd or 0, self._offset + sent, size)
                if not count:
                    self._cut_short(sent)
                return count
            except BlockingIOError:
                raise
            except OSError as exc:
                if exc.errno in _PEER_GONE:
                    raise
                self._is_native = False  # a file system that does not know how; or the reading fails, too
        self._left = data = self._left or memoryview(self.read(sent))
        count = int(sock.send(data)) if data else 0
        self._left = data[count:]
        return count

    def read(self, sent: int) -> bytes:
        """Some of it, from the byte `sent` on; `b""` if the file cannot give the rest: `done` has been told why."""
        size = min(self._size - sent, CHUNK)
        try:
            data: bytes
            if self._fd is not None and hasattr(os, "pread"):
                data = os.pread(self._fd, size, self._offset + sent)
            else:
                self._file.seek(self._offset + sent)
                data = self._file.read(size)
        except (OSError, ValueError) as exc:  # ValueError: somebody has closed it
            self.finish(exc.with_traceback(None))
            return b""
        if not data:
            self._cut_short(sent)
        return data

    def finish(self, exc: BaseException | None = None) -> None:
        """It is sent, or it cannot be."""
        done, self._done = self._done, None
        self.close()
        if done is not None:
            done(exc)

    def _cut_short(self, sent: int) -> None:
        self.finish(
            EOFError(f"{self.name} has become shorter: {self._size} bytes were to be sent, there were only {sent}")
        )

    def close(self) -> None:
        """Close the file, if it was opened here."""
        if self._is_own:
            self._file.close()

    def _end(self) -> int:
        if self._fd is not None:
            return os.fstat(self._fd).st_size
        end: int = self._file.seek(0, os.SEEK_END)
        return end


def _open(path: Any) -> Any:
    # Not to wait for the writer of a FIFO: it is refused like all that is no file.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode):
        return io.FileIO(number, "rb")
    os.close(number)
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(code, os.strerror(code) if code == errno.EISDIR else "not a regular file", os.fspath(path))


def _checked(file: Any) -> Any:
    if isinstance(file, io.TextIOBase):
        raise TypeError(f"open {getattr(file, 'name', 'the file')!r} for reading bytes: open(path, 'rb')")
    if not callable(getattr(file, "read", None)):
        raise TypeError(f"write_file() takes a path or a file open for reading bytes, not {type(file).__name__}")
    number = _fileno(file)
    is_file = callable(getattr(file, "seek", None)) if number is None else stat.S_ISREG(os.fstat(number).st_mode)
    if not is_file:
        raise ValueError("write_file() sends regular files; what can be read only once is read and written in pieces")
    if callable(getattr(file, "readable", None)) and not file.readable():
        raise ValueError("the file is not open for reading")
    return file


def _fileno(file: Any) -> int | None:
    """Its descriptor; None for what only behaves like a file, such as BytesIO."""
    try:
        number: int = file.fileno()
    except (AttributeError, OSError):
        return None
    return number
