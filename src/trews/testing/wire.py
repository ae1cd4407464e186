"""A wire: one connection, with you at its other end. No network, no running loop, time is yours.

w = wire(Echo)
w.feed(b"hi")
assert w.sent() == b"hi"
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload

from trews.connection import Connection
from trews.errors import Error
from trews.handler import connection_class
from trews.server import Server
from trews.transport.attach import attach
from trews.transport.memory import CAPACITY, memory_pair
from trews.virtual import DetachedLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trews.errors import ConnectionClosed
    from trews.virtual import VirtualLoop

C = TypeVar("C", bound=Connection)


class _Errors:
    """What the code of a connection raised. Apart from the wire, which ends when only its connection knows it."""

    def __init__(self, connection: Any) -> None:
        self.first: BaseException | None = None
        self._due: BaseException | None = None  # the first that the test has to be told
        self._connection = connection
        self._tell = connection._tell_error
        connection._tell_error = self._note

    def _note(self, exc: BaseException) -> Any:
        if self.first is None:
            self.first = exc
        is_raised = isinstance(exc, (KeyboardInterrupt, SystemExit))  # by the loop, at once
        if self._due is None and not is_raised and not self._is_handled():
            self._due = exc
        return self._tell(exc)

    def _is_handled(self) -> bool:
        """Whether there is an `on_error` of the user's."""
        connection, server = self._connection, self._connection.server
        return _is_overridden(connection) or (server is not None and _is_overridden(server))

    def raise_due(self) -> None:
        exc, self._due = self._due, None
        if exc is not None:
            raise exc


def _is_overridden(owner: Any) -> bool:
    """Whether its `on_error` is the user's."""
    function = getattr(owner.on_error, "__func__", owner.on_error)
    return not str(getattr(function, "__module__", None)).startswith("trews.")


class Wire(Generic[C]):
    """What `wire` returns. It may be used as a context manager; else `end()` it, or let it be.

    What the connection's code raises is raised by the next call of a method here, once, unless there is an
    `on_error` of one's own to see to it.

    Attributes:
        connection: the connection under test.
        loop: its private `VirtualLoop`.
    """

    def __init__(self, handler: Any, settings: dict[str, Any], server: Server | None, capacity: int) -> None:
        self.connection = cast("C", make_connection(handler, settings, server))
        self._errors = _Errors(self.connection)
        self.loop: VirtualLoop = DetachedLoop()
        self._near, self._far = memory_pair(self.loop, "wire", capacity)
        self._received = bytearray()
        self._is_peer_done = False
        self._is_eof = False
        self._is_reset = False
        self.loop.call_soon(attach, self.loop, self._near, self.connection, None, _unreachable)
        self._settle()

    def feed(self, data: bytes | bytearray | memoryview, *, chunk: int | None = None) -> Self:
        """The peer sends `data`; the connection gets it in pieces of `chunk` bytes, or as it comes.

        Raises:
            TypeError: `data` is not bytes-like.
            Error: the peer has ended already.
            BufferError: the connection does not read, and the wire is full.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"feed() takes bytes, bytearray or memoryview, not {type(data).__name__}")
        if self._is_peer_done:
            raise Error("the peer sends no more after its eof(), reset() or end()")
        view = memoryview(bytes(data))  # as slices of bytes would be copies of all that is left
        size = chunk if chunk is not None else max(len(view), 1)
        for start in range(0, len(view), size):
            self._send(view[start : start + size])
        return self.settle()

    def sent(self) -> bytes:
        """What the connection has sent since this was last asked."""
        self.settle()
        data = bytes(self._received)
        self._received.clear()
        return data

    def eof(self) -> Self:
        """The peer says goodbye (FIN)."""
        self._is_peer_done = True
        self._far.shutdown(socket.SHUT_WR)
        return self.settle()

    def reset(self) -> Self:
        """The peer breaks the connection off (RST)."""
        self._break_off()
        return self.settle()

    def clog(self) -> Self:
        """The peer stops reading: what the connection sends waits."""
        self._far.clog()
        return self

    def unclog(self) -> Self:
        """The peer reads again."""
        self._far.unclog()
        return self.settle()

    def advance(self, seconds: float) -> Self:
        """Let `seconds` pass, with everything that is due on the way."""
        self.loop.advance(seconds)
        return self.settle()

    def settle(self) -> Self:
        """Let the connection do what it can do now."""
        self._settle()
        self._errors.raise_due()
        return self

    @property
    def closed(self) -> bool:
        """Whether the peer has seen the end of the connection: its goodbye, or a reset."""
        return self._is_eof or self._is_reset

    @property
    def was_reset(self) -> bool:
        """Whether the connection was broken off, rather than said goodbye."""
        return self._is_reset

    @property
    def reason(self) -> ConnectionClosed | None:
        """Why the connection ended; None while it has not."""
        return self.connection.reason

    @property
    def error(self) -> BaseException | None:
        """What the connection's code raised, the first of it; None if nothing. To look at it raises nothing."""
        return self._errors.first

    def end(self) -> None:
        """Close the loop; a connection that is still open is aborted."""
        self._end()
        self._errors.raise_due()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        self._end()
        if exc_type is None:
            self._errors.raise_due()

    def __del__(self) -> None:
        if hasattr(self, "_far"):
            self._end()

    def __repr__(self) -> str:
        return f"<Wire of {self.connection!r}>"

    def _send(self, data: memoryview) -> None:
        while data:
            try:
                data = data[self._far.send(data) :]
            except BlockingIOError:
                before = self._near.inbound
                self._settle()
                if self._near.inbound == before:
                    raise BufferError(
                        f"the connection does not read: {before} bytes of what was fed are waiting"
                    ) from None
            except OSError:
                break  # it is closed: what is fed is lost, as on a network
        self.settle()

    def _break_off(self) -> None:
        self._is_peer_done = True
        self._far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._far.close()

    def _end(self) -> None:
        if self.loop.is_closed():
            return
        if not self.connection.is_closed:
            self.connection.abort()
        self._break_off()
        self._settle()
        self.loop.advance(3600)  # what its code may still take
        self.loop.close()

    def _settle(self) -> None:
        while True:
            self.loop.settle()
            if not self._receive():
                return

    def _receive(self) -> bool:
        try:
            data = self._far.recv(CAPACITY)
        except BlockingIOError:
            return False
        except OSError:
            self._is_reset = True
            return False
        self._is_eof = self._is_eof or not data
        self._received += data
        return bool(data)


@overload
def wire(handler: Server, *, capacity: int = CAPACITY, **settings: Any) -> Wire[Any]: ...


@overload
def wire(handler: type[C], *, server: Server | None = None, capacity: int = CAPACITY, **settings: Any) -> Wire[C]: ...


@overload
def wire(
    handler: Callable[[Connection], Awaitable[Any]],
    *,
    server: Server | None = None,
    capacity: int = CAPACITY,
    **settings: Any,
) -> Wire[Connection]: ...


def wire(handler: Any, *, server: Server | None = None, capacity: int = CAPACITY, **settings: Any) -> Wire[Any]:
    """A connection with nobody but the test at its other end.

    Args:
        handler: a `Connection` subclass, or an async function of a connection; or a server of them.
        server: becomes `connection.server`; if it was made with `handler`, its settings apply.
        capacity: bytes that the wire holds each way before the sender must wait.
        settings: settings of the connection.

    Raises:
        TypeError: an unknown handler, setting or server.
    """
    return Wire(handler, settings, server, capacity)


def make_connection(handler: Any, settings: dict[str, Any], server: Server | None) -> Connection:
    """What a server, or a client if that is None, makes for a new connection."""
    if isinstance(handler, Server) and server is None:
        server, handler = handler, handler._class
    if server is not None:
        if not isinstance(server, Server):
            raise TypeError(f"server= takes a trews.Server, made with its handler, not {server!r}")
        if _is_made_from(server._class, handler):
            handler = server._class
    connection = connection_class(handler, settings)()
    connection._server = server
    return connection


def _is_made_from(cls: Any, handler: Any) -> bool:
    """Whether `cls` is `handler` with settings, or the class of a function."""
    if isinstance(handler, type):
        return cls is not None and cls.__base__ is handler and cls.__qualname__ == handler.__qualname__
    return bool(getattr(cls, "_handler", None) == handler)


def _unreachable(exc: BaseException) -> None:
    raise exc
