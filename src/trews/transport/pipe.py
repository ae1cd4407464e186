"""Pipes, terminals and files as a connection: two file descriptors that behave like one connected socket.

`StreamTransport` runs on them as on real sockets, on every loop: a `PipeSocket` is its own poller, over the loop's
`add_reader` and `add_writer`. What a descriptor cannot do differs: there is no reset (a peer that breaks off looks
like one that ends), and nothing lingers after the end.

A descriptor that was inherited is left blocking, as the flag belongs to all processes that have it. So it is asked
before each read and write, and written to in bits that surely go in.
"""

from __future__ import annotations

import contextvars
import errno
import os
import select
import stat
from itertools import islice
from typing import TYPE_CHECKING, Any

from trews.backends import READ, WRITE
from trews.timers import clock_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from trews.dispatcher import Watcher

PIPE_BUF = getattr(select, "PIPE_BUF", 512)  # a blocking pipe that is writable takes so many bytes (POSIX, pipe(7))
BITS_A_SEND = 16  # of that size; together what a pipe holds
GONE_TIME = 0.1  # seconds for the end of the input to come, after the reader of the output has gone


class PipeSocket:
    """A descriptor to read and one to write; the same one for a terminal. Closed by `close`, or when it is forgotten.

    Args:
        reader, writer: the descriptors; -1 for one that there is not: then nothing comes, or nothing can be sent.
        name: what both ends are called, or (this end, the peer).
        is_shared: other processes have them as well, so they stay blocking.
    """

    family = -1  # of no address family
    lingers = False  # nothing is under way that closing would destroy

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reader: int,
        writer: int,
        name: str | tuple[str, str],
        is_shared: bool = False,
    ) -> None:
        self._loop = loop
        self._clock = clock_of(loop)
        self._context = contextvars.copy_context()
        self._reader, self._writer = reader, writer
        self._name, self._peer_name = (name, name) if isinstance(name, str) else name
        self._is_shared = is_shared
        self._is_file = {fd: _is_file(fd) for fd in (reader, writer) if fd >= 0}
        # Only a pipe tells by itself that nobody reads it any more.
        self._tells_end = writer >= 0 and writer != reader and stat.S_ISFIFO(os.fstat(writer).st_mode)
        self._watcher: Watcher | None = None
        self._mask = 0
        self._held = 0  # what is not to be told for now
        self._watched: set[tuple[str, int]] = set()
        self._always = 0  # what is ready without being asked: files
        self._is_scheduled = False
        self._is_broken = False  # nobody reads what is sent
        self._gone_timer: asyncio.TimerHandle | None = None
        if not is_shared:
            for fd in self._is_file:
                os.set_blocking(fd, False)

    @property
    def descriptors(self) -> set[int]:
        """Those that it has open."""
        return {self._reader, self._writer} - {-1}

    # -- the socket

    def fileno(self) -> int:
        return -1

    def getsockname(self) -> str:
        return self._name

    def getpeername(self) -> str:
        return self._peer_name

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        """No option means anything here."""

    def recv(self, size: int) -> bytes:
        data = self._read(size)
        return data or self._no_input(is_eof=data is not None)

    def recv_into(self, buffer: Any) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: Any) -> int:
        return self.sendmsg((data,))

    def sendmsg(self, pieces: Iterable[Any]) -> int:
        if self._writer < 0:
            raise self._broken()
        views = [memoryview(piece).cast("B") for piece in pieces]
        if not self._is_shared or self._is_file[self._writer]:
            return os.writev(self._writer, views)
        count = 0
        for bit in islice(_bits(views), BITS_A_SEND):
            if not _is_ready(self._writer, select.POLLOUT):
                break
            try:
                written = os.write(self._writer, bit)
            except BlockingIOError:  # a terminal that was opened anew
                break
            count += written
            if written < len(bit):
                break
        if not count and any(views):
            raise BlockingIOError
        return count

    def shutdown(self, how: int) -> None:
        """End the output: the peer reads an end, if nobody else has the descriptor."""
        writer, self._writer = self._writer, -1
        if writer < 0:
            return
        self._unwatch("writer", writer)
        if writer != self._reader:
            self._unwatch("reader", writer)
            os.close(writer)

    def close(self) -> None:
        self._stop_waiting()
        self.shutdown(0)
        self._close_reader()
        self._watcher = None

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, -1
        if reader >= 0:
            self._unwatch("reader", reader)
            os.close(reader)

    def __del__(self) -> None:
        fds, self._reader, self._writer = self.descriptors, -1, -1  # a transport may close this once more
        for fd in fds:
            os.close(fd)

    # -- reading

    def _read(self, size: int) -> bytes | None:
        """Some input, `b""` at its end, None if there is none now."""
        if self._reader < 0:
            return None
        is_asked = self._is_shared and not self._is_file[self._reader]
        if is_asked and not _is_ready(self._reader, select.POLLIN):
            return None
        try:
            return os.read(self._reader, size)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as exc:
            if exc.errno == errno.EIO:  # a terminal that has gone
                return b""
            raise

    def _no_input(self, is_eof: bool) -> bytes:
        """What `recv` does without data."""
        if is_eof:
            return b""
        if self._is_broken:
            raise self._broken()
        raise BlockingIOError

    def _broken(self) -> OSError:
        return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    # -- the poller

    @property
    def tick(self) -> float:
        return self._clock.tick

    def watch(self, fd: int, watcher: Watcher, mask: int) -> None:
        self._watcher = watcher
        self._mask = mask
        self._update()

    def _update(self) -> None:
        """Have the loop watch what is wanted."""
        self._always = 0
        wanted = self._mask & ~self._held
        self._set("reader", self._reader, READ, self._on_readable, bool(wanted & READ))
        self._set("writer", self._writer, WRITE, self._on_writable, bool(wanted & WRITE))
        if self._tells_end:
            # Never readable, but an error is told to who waits for input, too.
            self._set("reader", self._writer, 0, self._on_gone, bool(wanted & READ))
        self._kick()

    def _set(self, side: str, fd: int, bit: int, callback: Callable[[], None], wanted: bool) -> None:
        if not wanted or fd < 0:
            self._unwatch(side, fd)
        elif self._is_file[fd]:
            self._always |= bit
        elif (side, fd) not in self._watched:
            try:
                self._add(side, fd, callback)
            except OSError:  # EPERM of epoll: /dev/null, for instance
                self._is_file[fd] = True
                self._always |= bit

    def _add(self, side: str, fd: int, callback: Callable[[], None]) -> None:
        was_blocking = self._is_shared and os.get_blocking(fd)
        (self._loop.add_reader if side == "reader" else self._loop.add_writer)(fd, callback)
        self._watched.add((side, fd))
        if was_blocking:
            os.set_blocking(fd, True)  # libuv changes it, and does not need to

    def _unwatch(self, side: str, fd: int) -> None:
        if (side, fd) in self._watched:
            self._watched.discard((side, fd))
            (self._loop.remove_reader if side == "reader" else self._loop.remove_writer)(fd)

    def _on_readable(self) -> None:
        self._tell(READ)

    def _on_writable(self) -> None:
        self._tell(WRITE)

    def _tell(self, ready: int) -> None:
        if self._watcher is not None and self._mask & ready & ~self._held:
            self._watcher.on_event(ready)

    def _kick(self) -> None:
        """Tell in the next turn what no descriptor will tell."""
        is_ready = self._mask & self._ready() & ~self._held
        if is_ready and self._watcher is not None and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._dispatch, context=self._context)

    def _ready(self) -> int:
        return self._always | (READ if self._is_broken else 0)

    def _dispatch(self) -> None:
        self._is_scheduled = False
        self._tell(self._ready())
        self._kick()

    # -- a peer that reads no more

    def _on_gone(self) -> None:
        """Nobody reads the output. If the peer has ended altogether, the end of the input is about to come."""
        self._tells_end = False
        self._unwatch("reader", self._writer)
        self._wait_for_end(GONE_TIME)

    def _wait_for_end(self, seconds: float) -> None:
        if self._gone_timer is None:
            self._gone_timer = self._loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        """The end has not come: it was broken off."""
        self._gone_timer = None
        self._is_broken = True
        self._kick()

    def _stop_waiting(self) -> None:
        if self._gone_timer is not None:
            self._gone_timer.cancel()
            self._gone_timer = None


def _is_file(fd: int) -> bool:
    """Whether it is a regular file: always ready, and not to be polled."""
    return stat.S_ISREG(os.fstat(fd).st_mode)


def _is_ready(fd: int, event: int) -> bool:
    """Whether a read or write would not block now."""
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(0))


def _bits(views: Iterable[memoryview]) -> Iterable[memoryview]:
    """What is to be written, in bits that a blocking pipe takes."""
    for view in views:
        for start in range(0, len(view), PIPE_BUF):
            yield view[start : start + PIPE_BUF]
