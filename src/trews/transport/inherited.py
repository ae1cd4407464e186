"""`stdio:` and `fd:N`: descriptors that this process was started with, as a connection or as a listener.

They belong to the connection from then on. In the place of standard input and output, whose numbers must not be
given to something else, stand /dev/null and stderr: what the program prints does not get between the bytes that it
sends.
"""

from __future__ import annotations

import contextvars
import os
import socket
import stat
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakValueDictionary

from trews.transport.listener import Listener, set_stream_options
from trews.transport.pipe import PipeSocket

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from trews.endpoint import Endpoint

STDIN, STDOUT, STDERR = 0, 1, 2
_NAMES = {STDIN: "standard input", STDOUT: "standard output", STDERR: "standard error"}

_KINDS = (stat.S_ISSOCK, stat.S_ISFIFO, stat.S_ISCHR, stat.S_ISREG)

_replaced: set[int] = set()  # of the three, those that something else stands for
_owners: WeakValueDictionary[int, Any] = WeakValueDictionary()  # of the others: a PipeSocket or a socket


@dataclass
class Inherited:
    """Descriptors that were taken over, and wait to be used.

    Attributes:
        reader, writer: the descriptors, -1 for one that there is not; the same for a socket or a terminal.
        originals: where they stood, by what they are now, if something else stands there.
    """

    endpoint: Endpoint
    reader: int
    writer: int
    is_socket: bool
    is_listening: bool
    originals: dict[int, int] = field(default_factory=dict)

    def open(self, loop: asyncio.AbstractEventLoop) -> tuple[Any, Any]:
        """The socket or pipe, and the peer's address."""
        name = self.endpoint.shown
        if not self.is_socket:
            self._reopen_terminals()
            pipe = PipeSocket(loop, self.reader, self.writer, name, is_shared=True)
            self._remember(pipe)
            return pipe, name
        sock = self.to_socket()
        sock.setblocking(False)
        try:
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                set_stream_options(sock, self.endpoint)
            return sock, sock.getpeername()
        except OSError:  # it has gone since; reading will tell
            return sock, name

    def _reopen_terminals(self) -> None:
        """A terminal that is said to be writable may take less than is written, and blocks then.

        So it is opened once more: the flag of that is nobody else's.
        """
        new: dict[int, int] = {}
        for fd in {self.reader, self.writer} - {-1}:
            if os.isatty(fd):
                try:
                    new[fd] = os.open(os.ttyname(fd), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
                except OSError:
                    continue  # it has no name here (a container), and stays as it is
                os.close(fd)
        self.reader, self.writer = new.get(self.reader, self.reader), new.get(self.writer, self.writer)

    def to_socket(self) -> socket.socket:
        sock = socket.socket(fileno=self.reader)
        self._remember(sock)
        return sock

    def give_back(self) -> None:
        """Leave them as they were found."""
        for fd, original in self.originals.items():
            os.dup2(fd, original)
            os.close(fd)
            _replaced.discard(original)

    def _remember(self, owner: PipeSocket | socket.socket) -> None:
        for fd in {self.reader, self.writer} - {-1}:
            _owners[fd] = owner


def take(endpoint: Endpoint, refusal: Callable[[str], Exception]) -> Inherited:
    """Take over the descriptors of a `stdio:` or `fd:N` endpoint.

    Raises:
        what `refusal(why)` makes: they are not open, in use already, or of a kind that cannot be a connection.
    """

    def refuse(why: str) -> NoReturn:
        raise refusal(why) from None

    if sys.platform == "win32":
        refuse("Windows cannot poll such descriptors")
    fds = (STDIN, STDOUT) if endpoint.fd is None else (endpoint.fd,)
    for fd in fds:
        if why := _why_not(fd):
            refuse(why)
    reads, writes = _can_read(fds[0]), _can_write(fds[-1])
    if len(fds) == 2 and not (reads and writes):
        refuse("standard input is open for writing only" if not reads else "standard output is open for reading only")
    is_listening = False
    for fd in fds:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            is_listening, why = _look_at_socket(fd)
            if why:
                refuse(f"{_named(fd)} is {why}")
            if is_listening and len(fds) == 2:
                refuse(f"{_named(fd)} is a listening socket: use fd:{fd}")
    is_socket = stat.S_ISSOCK(os.fstat(fds[0]).st_mode) and os.path.sameopenfile(fds[0], fds[-1])
    return _take_over(endpoint, fds[:1] if is_socket else fds, is_socket, is_listening, (reads, writes))


def _named(fd: int) -> str:
    return _NAMES.get(fd, f"file descriptor {fd}")


def _why_not(fd: int) -> str:
    """What speaks against a descriptor, `""` for nothing."""
    owner = _owners.get(fd)
    if fd in _replaced or (owner is not None and _has(owner, fd)):
        return f"{_named(fd)} belongs to another connection or listener of this process already"
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return f"{_named(fd)} is not open"
    if (fd == STDIN and sys.__stdin__ is None) or (fd == STDOUT and sys.__stdout__ is None):
        return f"{_named(fd)} is not open"  # it was not at the start, and the number may be another's since
    if stat.S_ISDIR(mode):
        return f"{_named(fd)} is a directory"
    if not any(is_kind(mode) for is_kind in _KINDS):
        return f"{_named(fd)} is neither a socket nor a pipe, a terminal or a file"
    return ""


def _has(owner: PipeSocket | socket.socket, fd: int) -> bool:
    return fd in owner.descriptors if isinstance(owner, PipeSocket) else owner.fileno() == fd


def _look_at_socket(fd: int) -> tuple[bool, str]:
    """Whether it listens, and what speaks against it."""
    sock = socket.socket(fileno=fd)
    try:
        if sock.type != socket.SOCK_STREAM:
            return False, "a socket, but not one of a stream"
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return True, ""
        sock.getpeername()
        return False, ""
    except OSError:
        return False, "a socket that is not connected"
    finally:
        sock.detach()


def _access(fd: int) -> int:
    import fcntl  # here because Windows has none

    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE


def _can_read(fd: int) -> bool:
    return _access(fd) != os.O_WRONLY


def _can_write(fd: int) -> bool:
    return _access(fd) != os.O_RDONLY


def _take_over(
    endpoint: Endpoint, fds: tuple[int, ...], is_socket: bool, is_listening: bool, access: tuple[bool, bool]
) -> Inherited:
    moved = {fd: _moved(fd) for fd in fds}
    reads, writes = access
    return Inherited(
        endpoint,
        moved[fds[0]] if reads else -1,
        moved[fds[-1]] if writes else -1,
        is_socket,
        is_listening,
        {new: old for old, new in moved.items() if new != old},
    )


def _moved(fd: int) -> int:
    """The descriptor, which children do not get. One of the three standard ones is another now."""
    if fd > STDERR:
        os.set_inheritable(fd, False)
        return fd
    import fcntl  # here because Windows has none

    new: int = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)
    _replaced.add(fd)
    null = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(STDERR if fd == STDOUT and _is_open(STDERR) else null, fd)
    finally:
        os.close(null)
    return new


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


class OneConnection:
    """A listener for what is connected already: it has one connection to give.

    Attributes:
        is_used_up: the connection has been given.
    """

    tls = None
    arriving = 0  # as of a Listener: the socket is a connection at once

    def __init__(self, inherited: Inherited) -> None:
        self.endpoint = inherited.endpoint
        self.is_used_up = False
        self._inherited = inherited
        self._loop: asyncio.AbstractEventLoop | None = None
        self._accept: Callable[[Any, Any], None]
        self._has_room: Callable[[], bool]
        self._is_paused = False
        self._context = contextvars.copy_context()

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        accept: Callable[[Any, Any], None],
        has_room: Callable[[], bool],
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        """Give the connection in the next turn, or when there is room."""
        self._loop, self._accept, self._has_room = loop, accept, has_room
        loop.call_soon(self.take_all, context=self._context)

    def pause(self) -> None:
        """Keep it until `resume()`."""
        self._is_paused = True

    def resume(self) -> None:
        """Give it, if it was not."""
        self._is_paused = False
        self.take_all()

    def take_all(self) -> None:
        """Give it, if it was not."""
        if self._loop is None or self._is_paused or self.is_used_up or not self._has_room():
            return
        self.is_used_up = True
        self._accept(*self._inherited.open(self._loop))

    def close(self) -> None:
        """Leave it alone, if it was not given."""
        if not self.is_used_up:
            self.is_used_up = True
            self._inherited.give_back()


def listener_of(endpoint: Endpoint, refusal: Callable[[str], Exception]) -> Listener | OneConnection:
    """What listens on a `stdio:` or `fd:N` endpoint.

    Raises:
        as `take`.
    """
    inherited = take(endpoint, refusal)
    if not inherited.is_listening:
        return OneConnection(inherited)
    sock = inherited.to_socket()
    sock.setblocking(False)
    if backlog := endpoint.get("backlog"):
        sock.listen(backlog)
    return Listener(sock, endpoint)
