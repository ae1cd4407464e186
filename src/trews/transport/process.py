"""`exec:`: a program that is started for one connection. Its input and output are the connection.

Its errors (stderr) are logged, and its exit status is the reason for the end. It is told to go if it stays long
after its connection.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

from trews.addresses import shown
from trews.backends import READ, WRITE
from trews.errors import ConnectError, EndpointError, ProcessExited, sentence
from trews.transport.core import OPEN, StreamCore
from trews.transport.pipe import PipeSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from trews.endpoint import Endpoint

logger = logging.getLogger("trews")

EXIT_TIME = 1.0  # seconds to exit, after the program has closed one of its ends: then its status is the reason
TERM_TIME = 5.0  # seconds from SIGTERM to SIGKILL, or close_timeout if that is less
KILL_TIME = 1.0  # seconds from SIGKILL to the exit, at most
LOG_LINE = 1000  # bytes of a line on stderr; the rest of it is left out
LOG_READ = 4096  # at once, then the others get their turn: 20 us a line
LINES_AT_EXIT = 1000  # of what a program has left behind on stderr; somebody else may go on writing to it


_living: set[ProcessSocket] = set()  # whose program has not exited; the watcher of children keeps these alive anyway


def has_programs(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether some that were started on a loop have not exited."""
    return any(sock._loop is loop for sock in _living)


async def end_programs(loop: asyncio.AbstractEventLoop) -> None:
    """Kill those of a loop that is about to be closed: nobody would do it later."""
    for sock in _living:
        if sock._loop is loop:
            sock._child.signal("kill")
    end = loop.time() + KILL_TIME
    while has_programs(loop) and loop.time() < end:
        await asyncio.sleep(0.001)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_living.clear)  # they are the parent's


@atexit.register
def _kill_all() -> None:
    for sock in _living:  # of loops that did not do it
        sock._child.signal("kill")


class _Child(asyncio.SubprocessProtocol):
    """What the loop tells of the program: that it has ended."""

    transport: Any = None
    status: int | None = None
    on_exit: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def process_exited(self) -> None:
        self.status = self.transport.get_returncode()
        self.transport.close()
        if self.on_exit is not None:
            self.on_exit()

    def signal(self, name: str) -> None:
        """`terminate` or `kill` it, if it is still there."""
        try:
            getattr(self.transport, name)()
        except ProcessLookupError:
            pass


class ProcessSocket(PipeSocket):
    """A program's input and output. It has ended when the program has, and what it wrote was read.

    A program that closes one of its ends is mostly about to exit, so that is waited for: then both ends and the status
    are one event.

    Attributes:
        reason: how the program has ended; None while it has not.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ends: tuple[int, int, int], name: str, child: _Child) -> None:
        super().__init__(loop, ends[0], ends[1], name)
        self.reason: ProcessExited | None = None
        self._child = child
        self._log = _Log(loop, ends[2], name)
        self._owner: Any = None
        self._waits_for_us = False
        self._is_there = True
        self._is_waited_for = False  # the wait for the exit is over
        self._is_end_told = False
        self._is_closed = False
        self._resets = False
        self._kill_timer: asyncio.TimerHandle | None = None
        _living.add(self)
        child.on_exit = self._on_exit
        if child.status is not None:
            self._on_exit()

    def belongs_to(self, owner: Any) -> None:
        """The connection whose `close_timeout` counts."""
        self._owner = owner

    def outlives(self, owner: Any) -> bool:
        """Whether the program is still there when its connection would end; `_end_if_idle` is called when it is not."""
        self._owner = owner
        self._waits_for_us = self._is_there
        return self._is_there

    # -- the socket

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        if option == socket.SO_LINGER:
            self._resets = True

    def sendmsg(self, pieces: Any) -> int:
        try:
            return super().sendmsg(pieces)
        except BrokenPipeError:
            if self._is_end_told or self._is_waited_for or self._is_closing():
                raise
            self._hold(WRITE)  # what it has written comes first
            raise BlockingIOError from None

    def _is_closing(self) -> bool:
        return isinstance(self._watcher, StreamCore) and self._watcher.state != OPEN

    def close(self) -> None:
        """End its input, and have it end. Its output is thrown away."""
        if self._is_closed:
            return
        self._is_closed = True
        self._stop_waiting()
        self._watcher = None
        self._mask = 0
        self._update()
        self.shutdown(0)
        if self.reason is not None:
            self._finish()
        elif self._loop.is_closed():
            self._child.signal("kill")
            self._finish()
        else:
            self._loop.add_reader(self._reader, self._throw_away)
            self._watched.add(("reader", self._reader))
            timeout = getattr(self._owner, "close_timeout", None)
            if self._resets:
                self._terminate()
            elif timeout is not None:
                self._kill_timer = self._loop.call_later(timeout, self._terminate)

    def _throw_away(self) -> None:
        if self._read(LOG_READ) == b"":
            self._close_reader()

    def _finish(self) -> None:
        self._log.close()
        self._close_reader()
        self._is_there = False
        if self._waits_for_us:
            self._owner._end_if_idle()

    # -- its end

    def _no_input(self, is_eof: bool) -> bytes:
        if self.reason is not None or (is_eof and self._is_waited_for):
            # Its own children may still have the pipe.
            self._is_end_told = True
            return b""
        if is_eof:
            self._hold(READ)
            raise BlockingIOError
        return super()._no_input(is_eof)

    def _on_gone(self) -> None:
        self._tells_end = False
        self._unwatch("reader", self._writer)
        self._hold(WRITE)

    def _hold(self, side: int) -> None:
        """It has closed one of its ends: wait for its exit."""
        self._held |= side
        self._update()
        self._wait_for_end(EXIT_TIME)

    def _give_up(self) -> None:
        """It lives on without that end."""
        self._gone_timer = None
        self._is_waited_for = True
        self._is_broken = bool(self._held & WRITE)
        self._held = 0
        self._update()

    def _ready(self) -> int:
        return super()._ready() | (READ if self.reason is not None else 0)

    def _on_exit(self) -> None:
        _living.discard(self)
        self._child.on_exit = None
        self.reason = ProcessExited(status=self._child.status or 0)
        self._stop_waiting()
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        self._log.close()
        self._is_there = False
        if self._is_closed:
            self._finish()
        else:
            self._held = 0
            self._update()

    def _terminate(self) -> None:
        timeout = getattr(self._owner, "close_timeout", None)
        self._child.signal("terminate")
        self._kill_timer = self._loop.call_later(
            TERM_TIME if timeout is None else min(timeout, TERM_TIME), self._child.signal, "kill"
        )


class _Log:
    """What a program writes to stderr, line by line into the log."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, name: str) -> None:
        self._loop = loop
        self._fd = fd
        self._name = name
        self._line = bytearray()
        self._lines = 0
        self._is_cut = False
        os.set_blocking(fd, False)
        loop.add_reader(fd, self._on_readable)

    def _on_readable(self) -> None:
        if self._read() == b"":
            self.close()

    def _read(self) -> bytes | None:
        """Log what there is: `b""` at the end, None if there is nothing now."""
        try:
            data = os.read(self._fd, LOG_READ)
        except (BlockingIOError, InterruptedError):
            return None
        first, *others = data.split(b"\n")
        self._add(first)
        for other in others:
            self._end_line()
            self._add(other)
        return data

    def _add(self, data: bytes) -> None:
        room = LOG_LINE - len(self._line)
        self._is_cut |= len(data) > room
        self._line += data[:room]

    def _end_line(self) -> None:
        self._lines += 1
        text = self._line.decode("utf-8", "replace").removesuffix("\r")
        if text:
            logger.warning("%s: %s%s", shown(self._name), shown(text), " [...]" if self._is_cut else "")
        self._line.clear()
        self._is_cut = False

    def close(self) -> None:
        """Log what is still there."""
        if self._fd < 0:
            return
        most = self._lines + LINES_AT_EXIT
        while self._lines < most and self._read():
            pass
        self._end_line()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


async def open_process(endpoint: Endpoint, loop: asyncio.AbstractEventLoop) -> ProcessSocket:
    """Start the program of an `exec:` endpoint.

    Raises:
        ConnectError: it cannot be started.
        EndpointError: its command cannot be cut into words.
    """
    words = _words(endpoint)
    fds: list[int] = []
    try:
        for _ in range(3):
            fds += os.pipe()
        child_in, to_child, from_child, child_out, errors, child_errors = fds
        child = await _start(loop, words, child_in, child_out, child_errors)
        ours = (from_child, to_child, errors)
        sock = ProcessSocket(loop, ours, endpoint.shown, child)
        for fd in ours:
            fds.remove(fd)
        return sock
    except OSError as exc:
        why = _why_not(words[0], exc) if len(fds) == 6 else sentence(exc)
        raise ConnectError(endpoint.shown, [(endpoint.shown, why)]) from None
    finally:
        for fd in fds:
            os.close(fd)


def check_program(endpoint: Endpoint) -> None:
    """Refuse an `exec:` endpoint whose program is not there; raises as `open_process`."""
    from shutil import which  # here because few programs need it, and it costs 3 ms to import

    program = _words(endpoint)[0]
    if which(program) is None:
        number = errno.EACCES if os.path.dirname(program) and os.path.exists(program) else errno.ENOENT
        raise ConnectError(endpoint.shown, [(endpoint.shown, _why_not(program, OSError(number, "")))])


def _words(endpoint: Endpoint) -> list[str]:
    if sys.platform == "win32":
        raise EndpointError(f"{endpoint.shown}: exec: needs pipes that can be polled, which Windows has not")
    import shlex  # here because few programs need it

    try:
        words = shlex.split(endpoint.path)
    except ValueError as exc:
        raise EndpointError(f"{endpoint.shown}: the command has a quote or a backslash too many ({exc})") from None
    if not words:
        raise EndpointError(f"{endpoint.shown}: there is no command")
    return words


async def _start(loop: asyncio.AbstractEventLoop, words: list[str], *fds: int) -> _Child:
    """Start a program on descriptors. One that is started while this is cancelled is killed."""
    starting = loop.create_task(loop.subprocess_exec(_Child, *words, stdin=fds[0], stdout=fds[1], stderr=fds[2]))
    try:
        return (await asyncio.shield(starting))[1]
    except asyncio.CancelledError:
        await _kill(loop, starting)
        raise


async def _kill(loop: asyncio.AbstractEventLoop, starting: asyncio.Task[tuple[Any, _Child]]) -> None:
    try:
        _, child = await starting
    except OSError:
        return
    ended = loop.create_future()
    child.on_exit = lambda: ended.set_result(None)
    child.signal("kill")
    if child.status is None:
        await ended


def _why_not(program: str, exc: OSError) -> str:
    from shutil import which  # here because only errors need it, and it costs 3 ms to import

    if exc.errno == errno.ENOENT and which(program):
        return f"the interpreter that the first line of {program!r} names does not exist"
    if exc.errno == errno.ENOENT or not program:
        return f"there is no program {program!r}"
    if exc.errno == errno.EACCES:
        return f"{program!r} is not a program that may be executed"
    if exc.errno == errno.ENOEXEC:
        return f"{program!r} is not a program: neither machine code nor a script with '#!' in its first line"
    return sentence(exc)
