"""In-memory sockets: a connected pair that behaves like two non-blocking TCP sockets, without a network.

`StreamTransport` runs on them as on real ones, on every loop: bounded buffers, half-close, resets, a reset when
something unread is closed over. `memory:NAME` endpoints and the test kit are made of them.
"""

from __future__ import annotations

import contextvars
import errno
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from trews.backends import READ, WRITE
from trews.errors import ConnectError, ListenError
from trews.timers import clock_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from trews.dispatcher import Watcher
    from trews.endpoint import Endpoint

CAPACITY = 64 * 1024
BACKLOG = 4096  # connections that wait while a server is full


class MemorySocket:
    """One end. It is its own poller: `watch` has a transport called when it can read or write.

    Attributes:
        chunk: the most bytes one `recv` gives; None for all there are.
        is_clogged: nothing more is taken from the peer while this is set (`clog`, `unclog`).
    """

    family = -1  # of no address family

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, capacity: int = CAPACITY) -> None:
        self._loop = loop
        self._clock = clock_of(loop)
        self._context = contextvars.copy_context()
        self._name: Any = name
        self._capacity = capacity
        self._inbound = bytearray()
        self._watcher: Watcher | None = None
        self._mask = 0
        self._is_scheduled = False
        self._is_shut = False  # no more sending
        self._is_closed = False
        self._resets = False  # close() is a reset
        self._at_eof = False  # after what is inbound
        self._was_reset = False
        self.peer: MemorySocket = self
        self.chunk: int | None = None
        self.is_clogged = False

    # -- the socket

    def fileno(self) -> int:
        return -1

    def getsockname(self) -> Any:
        return self._name

    def getpeername(self) -> Any:
        return self.peer._name

    def recv(self, size: int) -> bytes:
        if self._inbound and not self.is_clogged:
            count = size if self.chunk is None else min(size, self.chunk)
            data = bytes(self._inbound[:count])
            del self._inbound[:count]
            self.peer._kick()
            return data
        if self._was_reset:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if self._at_eof and not self._inbound:
            return b""
        raise BlockingIOError

    def recv_into(self, buffer: Any) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: Any) -> int:
        if self._is_shut or self._was_reset or self.peer._is_closed:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        count = min(self._room(), len(data))
        if not count and len(data):
            raise BlockingIOError
        self.peer._inbound += data[:count]
        self.peer._kick()
        return count

    def sendmsg(self, pieces: Iterable[Any]) -> int:
        # One by one: joined, all that waits would be copied for each bit that there is room for.
        count = 0
        for piece in pieces:
            if count and not self._room():
                break
            count += self.send(piece)
        return count

    def shutdown(self, how: int) -> None:
        self._is_shut = True
        self.peer._at_eof = True
        self.peer._kick()

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        if option == socket.SO_LINGER:
            self._resets = True

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._watcher = None
        # As in TCP: closing over unread input tells the peer that it was not read.
        if self._resets or self._inbound:
            self.peer._was_reset = True
        self.peer._at_eof = True
        self.peer._kick()

    @property
    def inbound(self) -> int:
        """Bytes that have come and were not received yet."""
        return len(self._inbound)

    # -- the network between

    def clog(self) -> None:
        """Let nothing through from the peer."""
        self.is_clogged = True

    def unclog(self) -> None:
        """End `clog`."""
        self.is_clogged = False
        self._kick()
        self.peer._kick()

    def cut(self) -> None:
        """Break the connection: both ends are reset, what was under way is lost."""
        for end in (self, self.peer):
            end._inbound.clear()
            end._was_reset = True
            end._kick()

    # -- the poller

    @property
    def tick(self) -> float:
        return self._clock.tick

    def watch(self, fd: int, watcher: Watcher, mask: int) -> None:
        self._watcher = watcher if mask else None
        self._mask = mask
        self._kick()

    def _room(self) -> int:
        return max(self._capacity - len(self.peer._inbound), 0)

    def _ready(self) -> int:
        ready = 0
        if (self._inbound and not self.is_clogged) or self._was_reset or (self._at_eof and not self._inbound):
            ready = READ
        if self._was_reset or self.peer._is_closed or self._room():
            ready |= WRITE
        return ready & self._mask

    def _kick(self) -> None:
        if self._watcher is not None and not self._is_scheduled and self._ready():
            self._is_scheduled = True
            self._loop.call_soon(self._dispatch, context=self._context)

    def _dispatch(self) -> None:
        self._is_scheduled = False
        ready = self._ready()
        if self._watcher is not None and ready:
            self._watcher.on_event(ready)
            self._kick()  # level-triggered


def memory_pair(
    loop: asyncio.AbstractEventLoop, name: str = "memory", capacity: int = CAPACITY
) -> tuple[MemorySocket, MemorySocket]:
    """Two connected ends, with room for `capacity` bytes each way."""
    one, other = MemorySocket(loop, f"{name}:a", capacity), MemorySocket(loop, f"{name}:b", capacity)
    one.peer, other.peer = other, one
    return one, other


def _names(loop: asyncio.AbstractEventLoop) -> dict[str, MemoryListener]:
    """The listeners of a loop, by name."""
    # On the loop, not in a table: a listener refers to its loop, and a table would keep both for ever.
    names: dict[str, MemoryListener] | None = getattr(loop, "_trews_names", None)
    if names is None:
        names = loop._trews_names = {}  # type: ignore[attr-defined]
    return names


class MemoryListener:
    """What a `memory:NAME` endpoint listens with: clients of the same loop find it by its name."""

    is_used_up = False
    tls = None
    arriving = 0  # as of a Listener: every socket is a connection at once

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._waiting: deque[MemorySocket] = deque()
        self._accept: Callable[[Any, Any], None] | None = None
        self._has_room: Callable[[], bool] = lambda: True
        self._loop: asyncio.AbstractEventLoop | None = None
        self._context = contextvars.copy_context()
        self._is_paused = False

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        accept: Callable[[Any, Any], None],
        has_room: Callable[[], bool],
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        """Take connections from now on: `accept(socket, address)` for each, while `has_room()`."""
        names = _names(loop)
        if self.endpoint.path in names:
            raise ListenError(f"cannot listen on {self.endpoint}: a server of this loop has that name already")
        names[self.endpoint.path] = self
        self._loop, self._accept, self._has_room = loop, accept, has_room

    def pause(self) -> None:
        """Take no more until `resume()`."""
        self._is_paused = True

    def resume(self) -> None:
        """Go on taking connections."""
        self._is_paused = False
        self.take_all()

    def connect(self, address: Any = None) -> MemorySocket:
        """A client's end; the server gets the other in the next turn.

        Args:
            address: who the server is told has connected; else it is named after the listener.

        Raises:
            ConnectError: the backlog is full, or the listener closed.
        """
        name, waiting = f"memory:{self.endpoint.path}", len(self._waiting)
        if self._loop is None:
            raise ConnectError(name, [(name, "the server listens no more")])
        if waiting >= (self.endpoint.get("backlog") or BACKLOG):
            reason = f"the server's backlog is full: {waiting} connections wait for it to accept them"
            raise ConnectError(name, [(name, reason)])
        # Both ends must not carry the client's context into the server. (A copy: that of `take_all` may be entered.)
        ours, theirs = self._context.copy().run(memory_pair, self._loop, name)
        if address is not None:
            theirs._name = address
        self._waiting.append(ours)
        self._loop.call_soon(self.take_all, context=self._context)
        return theirs

    def take_all(self) -> None:
        """Take what waits."""
        while self._waiting and not self._is_paused and self._accept is not None:
            if not self._has_room():
                return
            self._accept(self._waiting.popleft(), None)

    def close(self) -> None:
        """Give up the name; who waits is refused."""
        if self._loop is not None:
            _names(self._loop).pop(self.endpoint.path, None)
        self._loop = self._accept = None
        for sock in self._waiting:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"")
            sock.close()
        self._waiting.clear()


def find_listener(loop: asyncio.AbstractEventLoop, name: str) -> MemoryListener | None:
    """The listener of that name on that loop."""
    return _names(loop).get(name)
