"""The event loop: asyncio's own, on our poller, with our stream transport.

Every asyncio library runs on it unchanged. `EventLoop` adds: events of our transports are handled inside the
poll (see `poller`), and connections that are still open when the loop closes are told.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from trews.poller import Poller
from trews.threads import enter
from trews.transport.stream import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from trews.poller import Watcher
    from trews.timers import Clock

logger = logging.getLogger("asyncio")
T = TypeVar("T")


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's selector loop on trews' poller.

    Args:
        poller: the poller to use, or its name; the best there is by default.
        transports: `"trews"` gives asyncio libraries our stream transport, `"asyncio"` the stock one.
    """

    _transports: Any  # of asyncio: its stream transports by fd
    _closed = True  # of asyncio, which asks when a loop goes that was refused by __init__

    def __init__(self, poller: Poller | str | None = None, *, transports: str = "trews") -> None:
        if transports not in ("trews", "asyncio"):
            raise ValueError(f"transports is 'trews' or 'asyncio', not {transports!r}")
        self._poller = poller if isinstance(poller, Poller) else Poller(poller)
        self._own_transports = transports == "trews"
        self._streams: WeakSet[StreamTransport] = WeakSet()
        super().__init__(self._poller)
        enter(self)

    @property
    def poller(self) -> str:
        """The name of the system call that waits for events: epoll, kqueue, poll or select."""
        return self._poller.name

    @property
    def clock(self) -> Clock:
        """The loop's time as of the last event; reading it is free."""
        return self._poller

    def attach_stream(
        self, sock: Any, protocol: asyncio.BaseProtocol, peername: Any = None, poller: Any = None
    ) -> StreamTransport:
        """Make a transport for a connected, non-blocking socket and start it, in this very turn.

        Args:
            peername: the peer's address, if it is known.
            poller: who calls for its events; this loop's by default (sockets in memory call for their own).
        """
        extra = {} if peername is None else {"peername": peername}
        transport = StreamTransport(self, sock, protocol, poller or self._poller, extra)
        self._streams.add(transport)
        transport.start()
        return transport

    def set_debug(self, enabled: bool) -> None:
        super().set_debug(enabled)
        # Swapped in, so that the plain case does not ask.
        self._poller.report_calls(self._report_slow if enabled else None)

    def close(self) -> None:
        if not self.is_closed() and not self.is_running():
            self._abandon_streams()
        super().close()

    def _abandon_streams(self) -> None:
        """Connections that outlive their loop are told: their on_close runs."""
        open_streams = [s for s in self._streams if not s.is_closing()]
        for stream in open_streams:
            stream.abort()
        if open_streams:
            self.call_soon(self.stop)
            self.run_forever()

    def _report_slow(self, watcher: Watcher, seconds: float) -> None:
        if seconds >= self.slow_callback_duration:
            protocol = watcher.face.get_protocol() if hasattr(watcher, "face") else watcher
            logger.warning("Handling an event of %r took %.3f seconds", protocol, seconds)

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> Any:
        if not self._own_transports:
            return super()._make_socket_transport(  # type: ignore[misc]
                sock, protocol, waiter, extra=extra, server=server
            )
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport = StreamTransport(self, sock, protocol, self._poller, extra, server)
        self._transports[sock.fileno()] = transport
        self.call_soon(protocol.connection_made, transport)
        self.call_soon(transport._start_reading)
        if waiter is not None:
            self.call_soon(_release, waiter)
        return transport


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.cancelled():
        waiter.set_result(None)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The best loop of this machine: trews' own, or on Windows asyncio's Proactor loop."""
    if sys.platform == "win32":
        return asyncio.ProactorEventLoop()
    return EventLoop()


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine on the best loop there is and return its result.

    Args:
        main: the coroutine; when it has ended, its remaining tasks are cancelled and the loop is closed.
        debug: asyncio's debug mode; None is what PYTHONASYNCIODEBUG says.
    """
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)
