"""Another loop's transport with the face of a socket, so that `TLSSocket` can stand on it.

What the transport tells is passed on in the next turn, never from inside of it: uvloop reads on and on in one turn as
long as there is something, and asyncio's transport is in the middle of its own work when it says that it can write.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from trews.backends import FAILED, READ, WRITE
from trews.timers import clock_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from trews.dispatcher import Watcher

HIGH = 256 * 1024  # bytes received and not yet taken, then the transport is paused
CLOSE_TIMEOUT = 2.0  # seconds for the last bytes of a transport that is closed


class TransportSocket(asyncio.Protocol):
    """Behaves like a connected, non-blocking socket, and is its own poller.

    Args:
        made: called once the transport is there, if this is the protocol that it is made for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, made: Callable[[TransportSocket], None] | None = None) -> None:
        self._loop = loop
        self._clock = clock_of(loop)
        self._made = made
        self._transport: Any = None
        self._inbound = bytearray()
        self._watcher: Watcher | None = None
        self._mask = 0
        self._owed = 0  # bytes in the transport's hands that are sent when it has none left
        self._is_full = False
        self._is_eof = False
        self._loss: OSError | None = None
        self._is_reading = True
        self._is_kicked = False
        self._is_closed = False
        self._resets = False  # close() drops what waits
        self._is_shut = False  # no more sending
        self._is_lost = False  # the transport is of no use any more
        self._abort_timer: asyncio.TimerHandle | None = None

    def take(self, transport: Any) -> None:
        """Stand on a transport that has another protocol now."""
        self._transport = transport
        self._is_reading = transport.is_reading()
        transport.set_protocol(self)
        # It tells as soon as it has anything left, and when it has nothing left.
        transport.set_write_buffer_limits(0, 0)
        self._is_full = transport.get_write_buffer_size() > 0

    # -- what the transport tells (asyncio.Protocol)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(0, 0)  # type: ignore[attr-defined]  # every stream transport has it
        if self._made is not None:
            self._made(self)

    def data_received(self, data: bytes) -> None:
        self._inbound += data
        if len(self._inbound) > HIGH and self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()
        self._kick()

    def eof_received(self) -> bool:
        self._is_eof = True
        self._kick()
        return True

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._kick()

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(exc, OSError):
            self._loss = exc
        elif not self._is_eof:
            self._loss = ConnectionAbortedError("the transport was closed under the connection")
        self._is_eof = self._is_lost = True
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._kick()

    # -- the socket

    @property
    def family(self) -> Any:
        return getattr(self._transport.get_extra_info("socket"), "family", -1)

    def fileno(self) -> int:
        return -1

    def getsockname(self) -> Any:
        return self._transport.get_extra_info("sockname")

    def getpeername(self) -> Any:
        return self._transport.get_extra_info("peername")

    def getsockopt(self, *args: Any) -> Any:
        return self._transport.get_extra_info("socket").getsockopt(*args)

    def setsockopt(self, *args: Any) -> None:
        self._resets = self._resets or args[1] == socket.SO_LINGER
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._is_lost:
            sock.setsockopt(*args)

    def recv(self, size: int) -> bytes:
        if self._inbound:
            data = bytes(self._inbound[:size])
            del self._inbound[:size]
            self._regulate()
            return data
        if self._loss is not None:
            raise self._loss
        if self._is_eof:
            return b""
        raise BlockingIOError

    def send(self, data: Any) -> int:
        """Write all or nothing; while the transport has something left, it is to be given here again."""
        if self._loss is not None:
            raise self._loss
        if self._is_shut or self._is_lost or self._transport.is_closing():
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self._is_full:
            raise BlockingIOError
        if self._owed:
            owed, self._owed = self._owed, 0
            return owed
        self._transport.write(data)
        if self._is_full:
            self._owed = len(data)
            raise BlockingIOError
        return len(data)

    def shutdown(self, how: int) -> None:
        self._is_shut = True
        if not self._is_lost and self._transport.can_write_eof():
            self._transport.write_eof()

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self._watcher = None
        transport = self._transport
        if self._is_lost or self._loop.is_closed():
            return  # it is found as garbage, and so is the transport
        if transport.get_write_buffer_size() and not self._resets:
            transport.close()
            self._abort_timer = self._loop.call_later(CLOSE_TIMEOUT, transport.abort)
        else:
            transport.abort()

    # -- the poller

    @property
    def tick(self) -> float:
        return self._clock.tick

    def watch(self, fd: int, watcher: Watcher, mask: int) -> None:
        self._watcher = watcher if mask else None
        self._mask = mask
        self._regulate()
        self._kick()

    def _kick(self) -> None:
        if self._mask & self._ready() and self._watcher is not None and not self._is_kicked:
            self._is_kicked = True
            self._loop.call_soon(self._kicked)

    def _regulate(self) -> None:
        wanted = len(self._inbound) <= HIGH and bool(self._mask & READ)
        if wanted is not self._is_reading and not self._is_eof:
            self._is_reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _ready(self) -> int:
        ready = READ if self._inbound or self._is_eof else 0
        return ready if self._is_full and self._loss is None else ready | WRITE

    def _kicked(self) -> None:
        self._is_kicked = False
        ready = self._mask & self._ready()
        if self._watcher is not None and ready:
            self._watcher.on_event(ready if self._loss is None else ready | FAILED)
            self._kick()  # level-triggered: it may not have taken all
