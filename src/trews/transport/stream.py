"""The stream transport: a non-blocking socket, or anything that behaves like one, as an `asyncio.Transport`.

The bytes are moved by its `core`; this is the face that asyncio wants to see around it. The same two carry real
sockets and those in memory.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import warnings
from asyncio import constants, transports, trsock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trews.dispatcher import Dispatcher

from trews.backends import READ, WRITE
from trews.transport.core import LOST, OPEN, StreamCore, nobody

logger = logging.getLogger("asyncio")

_NOTHING_MORE: Mapping[str, Any] = MappingProxyType({})


class StreamTransport(transports._FlowControlMixin, asyncio.Transport):
    """The `asyncio.Transport` around a `StreamCore`.

    Args:
        loop, protocol: as ever in asyncio.
        sock: a non-blocking socket, or what behaves like one.
        poller: calls the core for each event of the socket.
        extra: what `get_extra_info` knows; socket, sockname and peername are asked of the socket if they are not in it.
        server: an `asyncio.Server` that counts its connections.
    """

    # 200 bytes of an idle connection less than with a __dict__.
    __slots__ = ("__weakref__", "_drops", "_peername", "_protocol", "_server", "_sock", "_sock_fd", "core", "write")

    # Of asyncio's classes, which do not declare them.
    _loop: asyncio.AbstractEventLoop
    _extra: Mapping[str, Any]
    _maybe_pause_protocol: Callable[[], None]
    _maybe_resume_protocol: Callable[[], None]

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: Any,
        protocol: asyncio.BaseProtocol,
        poller: Dispatcher,
        extra: Mapping[str, Any] = _NOTHING_MORE,
        server: Any = None,
    ) -> None:
        super().__init__(extra, loop)
        self._sock: Any = sock
        self._sock_fd: int = sock.fileno()
        self._server = server
        self._drops = 0
        self._peername: Any = None  # as accept told it; the socket is not asked again
        self.core = StreamCore(sock, poller, loop, self)
        self.write = self.core.write  # type: ignore[method-assign]  # one call less on the hot path
        self.set_protocol(protocol)
        if server is not None:
            _attach(server, self)

    def start(self) -> None:
        """Tell the protocol, then read."""
        self._protocol.connection_made(self)
        self._start_reading()

    def _start_reading(self) -> None:
        self.core.starting = False
        self.core.watch()

    def keep_names(self) -> None:
        """Have what `get_extra_info` tells outlive the socket, as asyncio's transports do."""
        names = ("socket", "sockname", "peername")
        self._extra = {**{name: self.get_extra_info(name) for name in names}, **self._extra}

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name in self._extra:
            return self._extra[name]
        sock = self.core.sock
        if name == "socket":
            return trsock.TransportSocket(sock) if isinstance(sock, socket.socket) else sock
        if name == "peername" and self._peername is not None:
            return self._peername
        if name in ("sockname", "peername"):
            return _name(sock.getsockname if name == "sockname" else sock.getpeername)
        return default

    # -- protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol: Any = protocol
        self.core.into = isinstance(protocol, asyncio.BufferedProtocol)
        self.core.data_received = getattr(protocol, "data_received", nobody)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", self._protocol)

    # -- reading

    def is_reading(self) -> bool:
        return self.core.state == OPEN and not self.core.paused

    def pause_reading(self) -> None:
        if self.is_reading():
            self.core.paused = True
            self.core.watch()

    def resume_reading(self) -> None:
        if self.core.paused and self.core.state == OPEN:
            self.core.paused = False
            self.core.watch()

    # -- writing (`write` is the core's)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.core.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self.core.waiting

    def _refuse_write(self, data: bytes) -> None:
        """A write after the end: asyncio warns when a protocol does not notice."""
        if self.core.eof_wanted:
            _after_eof(data)
        if data and self.core.state == LOST:
            self._drops += 1
            if self._drops == constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("socket.send() raised exception.")

    def _admit_more(self) -> bool:
        return True  # asyncio has no limit

    def _backlogged(self) -> None:
        self._maybe_pause_protocol()

    # -- ends

    def is_closing(self) -> bool:
        return self.core.state != OPEN

    def close(self) -> None:
        self.core.close()

    def abort(self) -> None:
        self.core.lose(None)

    def _force_close(self, exc: BaseException | None) -> None:
        self.core.lose(exc)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        if not isinstance(exc, OSError):
            self._loop.call_exception_handler(
                {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
            )
        self.core.lose(exc)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._sock.close()
            self._sock = None
            self.core.data_received = nobody
            server, self._server = self._server, None
            if server is not None:
                _detach(server, self)

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_sock", None) is not None:
            if isinstance(self._sock, socket.socket):  # in memory there is nothing to run out of
                _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._sock.close()
            if self._server is not None:
                _detach(self._server, self)

    def __repr__(self) -> str:
        core = self.core
        state = ("open", "closing", "closed")[core.state]
        reading, writing = ("polling" if core.mask & side else "idle" for side in (READ, WRITE))
        name = type(self).__name__
        return f"<{name} {state} fd={self._sock_fd} read={reading} write=<{writing}, bufsize={core.waiting}>>"

    # -- what asyncio's loop asks of a transport for sendfile and start_tls

    def _make_empty_waiter(self) -> asyncio.Future[None]:
        core = self.core
        if core.empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        core.empty_waiter = waiter = self._loop.create_future()
        core.gate = _during_sendfile
        if not core.buffer:
            waiter.set_result(None)
        return waiter

    def _reset_empty_waiter(self) -> None:
        self.core.empty_waiter = None
        if self.core.state == OPEN:
            self.core.gate = _after_eof if self.core.eof_wanted else None


def _after_eof(data: bytes) -> None:
    raise RuntimeError("Cannot call write() after write_eof()")


def _during_sendfile(data: bytes) -> None:
    raise RuntimeError("unable to write; sendfile is in progress")


def _name(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except OSError:
        return None


# An asyncio.Server counts its connections; from Python 3.13 on it wants to know which.
if sys.version_info >= (3, 13):

    def _attach(server: Any, transport: StreamTransport) -> None:
        server._attach(transport)

    def _detach(server: Any, transport: StreamTransport) -> None:
        server._detach(transport)
else:

    def _attach(server: Any, transport: StreamTransport) -> None:
        server._attach()

    def _detach(server: Any, transport: StreamTransport) -> None:
        server._detach()
