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
from trews.handler import connection_class
from trews.testing.clock import VirtualLoop
from trews.transport.attach import attach
from trews.transport.memory import CAPACITY, memory_pair

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from trews.errors import ConnectionClosed

C = TypeVar("C", bound=Connection)


class _WireLoop(VirtualLoop):
    """A loop that never waits and has nothing of the operating system's: a forgotten wire leaves nothing open."""

    def __init__(self) -> None:
        super().__init__(poller="select")  # which needs no descriptor

    def _make_self_pipe(self) -> None:
        self._csock = None  # nobody has to wake it

    def _close_self_pipe(self) -> None:
        pass

    def __del__(self) -> None:
        pass  # asyncio warns of a loop that was not closed


class Wire(Generic[C]):
    """What `wire` returns. It may be used as a context manager; else `end()` it, or let it be.

    Attributes:
        connection: the connection under test.
        loop: its private `VirtualLoop`.
    """

    def __init__(self, handler: Any, settings: dict[str, Any], server: Any, capacity: int) -> None:
        self.connection = cast("C", connection_class(handler, settings)())
        self.loop: VirtualLoop = _WireLoop()
        self._near, self._far = memory_pair(self.loop, "wire", capacity)
        self._received = bytearray()
        self._is_eof = False
        self._is_reset = False
        if server is not None:
            self.connection._server = server
        self.loop.call_soon(attach, self.loop, self._near, self.connection, None, _unreachable)
        self._settle()

    def feed(self, data: bytes, *, chunk: int | None = None) -> Self:
        """The peer sends `data`; the connection gets it in pieces of `chunk` bytes, or as it comes."""
        pieces: Iterable[bytes] = (data,)
        if chunk is not None:
            pieces = (data[i : i + chunk] for i in range(0, len(data), chunk))
        for piece in pieces:
            self._send(piece)
        return self

    def sent(self) -> bytes:
        """What the connection has sent since this was last asked."""
        self._settle()
        data = bytes(self._received)
        self._received.clear()
        return data

    def eof(self) -> Self:
        """The peer says goodbye (FIN)."""
        self._far.shutdown(socket.SHUT_WR)
        self._settle()
        return self

    def reset(self) -> Self:
        """The peer breaks the connection off (RST)."""
        self._far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._far.close()
        self._settle()
        return self

    def clog(self) -> Self:
        """The peer stops reading: what the connection sends waits."""
        self._far.clog()
        return self

    def unclog(self) -> Self:
        """The peer reads again."""
        self._far.unclog()
        self._settle()
        return self

    def advance(self, seconds: float) -> Self:
        """Let `seconds` pass, with everything that is due on the way."""
        self.loop.advance(seconds)
        self._settle()
        return self

    def settle(self) -> Self:
        """Let the connection do what it can do now."""
        self._settle()
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

    def end(self) -> None:
        """Close the loop; a connection that is still open is aborted."""
        if not self.loop.is_closed():
            if not self.connection.is_closed:
                self.connection.abort()
            self.reset()
            self.loop.advance(3600)  # what its code may still take
            self.loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()

    def __del__(self) -> None:
        if hasattr(self, "_far") and not self.loop.is_closed():
            self.end()

    def __repr__(self) -> str:
        return f"<Wire of {self.connection!r}>"

    def _send(self, data: bytes) -> None:
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
        self._settle()

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
def wire(handler: type[C], *, server: Any = None, capacity: int = CAPACITY, **settings: Any) -> Wire[C]: ...


@overload
def wire(
    handler: Callable[[Connection], Awaitable[Any]], *, server: Any = None, capacity: int = CAPACITY, **settings: Any
) -> Wire[Connection]: ...


def wire(handler: Any, *, server: Any = None, capacity: int = CAPACITY, **settings: Any) -> Wire[Any]:
    """A connection with nobody but the test at its other end.

    Args:
        handler: a `Connection` subclass, or an async function of a connection.
        server: becomes `connection.server`.
        capacity: bytes that the wire holds each way before the sender must wait.
        settings: settings of the connection.
    """
    return Wire(handler, settings, server, capacity)


def _unreachable(exc: BaseException) -> None:
    raise exc
