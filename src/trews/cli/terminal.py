"""The command's own input and output as something to await: terminals, pipes, sockets and files.

The descriptors belong to the shell and other programs as well, so they are left blocking as they are. What can
be polled is polled before each read and write; what cannot (epoll refuses files) is read in a thread.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import select
import threading
from typing import IO, TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PIECE = 64 * 1024  # bytes of one read
ATOMIC = 512  # bytes that a writable pipe takes without blocking, at least (POSIX); Linux: 4096
_PIPE_BUF = getattr(select, "PIPE_BUF", ATOMIC)


class Input:
    """Standard input. None is one that was closed from the beginning (`<&-`)."""

    def __init__(self, stream: IO[Any] | None) -> None:
        self._fd = _descriptor(stream)
        self._needs_thread = False

    async def read(self) -> bytes:
        """The next bytes, `b""` at the end.

        Raises:
            OSError: it cannot be read; a directory, for instance.
        """
        if self._fd < 0:
            return b""
        loop = asyncio.get_running_loop()
        if not self._needs_thread:
            try:
                await _ready(loop.add_reader, loop.remove_reader, self._fd)
            except (OSError, NotImplementedError):
                self._needs_thread = True
        try:
            if self._needs_thread:
                return await _in_thread(os.read, self._fd, PIECE)
            return os.read(self._fd, PIECE)
        except OSError as exc:
            if exc.errno == errno.EIO:  # the terminal has gone
                return b""
            raise


class Output:
    """Standard output. None is one that was closed from the beginning: all is thrown away."""

    def __init__(self, stream: IO[Any] | None) -> None:
        self._fd = _descriptor(stream)
        self._is_pollable = True

    async def write(self, data: bytes) -> None:
        """Write it all, however long the reader takes.

        Raises:
            OSError: BrokenPipeError if nobody reads any more.
        """
        rest = memoryview(data)
        while rest and self._fd >= 0:
            await self._wait_writable()
            # Not more than surely goes in: the descriptor is blocking.
            rest = rest[os.write(self._fd, rest[:_PIPE_BUF] if self._is_pollable else rest) :]

    async def _wait_writable(self) -> None:
        if not self._is_pollable or _is_writable(self._fd):
            return
        loop = asyncio.get_running_loop()
        try:
            await _ready(loop.add_writer, loop.remove_writer, self._fd)
        except (OSError, NotImplementedError):
            self._is_pollable = False


def _descriptor(stream: IO[Any] | None) -> int:
    """The descriptor of a stream; -1 for none, and for one that somebody has put in its place in this process."""
    try:
        return stream.fileno() if stream is not None else -1
    except io.UnsupportedOperation:
        return -1


def _is_writable(fd: int) -> bool:
    """Whether a write would not block now: asked first, for it costs a tenth of waiting."""
    if not hasattr(select, "poll"):
        return False
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


async def _ready(watch: Callable[..., Any], unwatch: Callable[[int], Any], fd: int) -> None:
    """Wait for one event of a descriptor."""
    future = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    watch(fd, wake)
    try:
        await future
    finally:
        unwatch(fd)


async def _in_thread(fn: Callable[..., T], *args: Any) -> T:
    """The result of a call that may block. Not in the loop's executor, whose end waits for its threads."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(outcome: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            outcome(value)

    def work() -> None:
        try:
            done: tuple[Callable[[Any], None], Any] = future.set_result, fn(*args)
        except OSError as exc:
            done = future.set_exception, exc
        try:
            loop.call_soon_threadsafe(settle, *done)
        except RuntimeError:
            pass  # the loop has been closed meanwhile

    threading.Thread(target=work, daemon=True).start()
    return await future
