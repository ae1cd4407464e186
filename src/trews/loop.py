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
from trews.timers import checked
from trews.transport.stream import StreamTransport

if TYPE_CHECKING:
    import selectors
    from collections import deque
    from collections.abc import Coroutine

    from trews.dispatcher import Dispatcher, Watcher
    from trews.transport.datagram import DatagramCore

logger = logging.getLogger("asyncio")
T = TypeVar("T")

LONGEST_POLL = 24 * 3600.0  # seconds, as asyncio's: a poller takes its milliseconds as a C int


class EventLoop(asyncio.SelectorEventLoop):
    """asyncio's selector loop on trews' poller.

    Args:
        poller: the poller to use, or its name; the best there is by default.
        transports: `"trews"` gives asyncio libraries our stream transport, `"asyncio"` the stock one.

    Attributes:
        clock: the loop's time: `clock.now()`, and `clock.tick`, that of the last event, which costs nothing to read.
    """

    # Of asyncio: its stream transports by fd, what will run next, timers (a heap), what it polls with.
    _transports: Any
    _ready: deque[Any]
    _scheduled: list[asyncio.TimerHandle]
    _selector: Any
    _clock_resolution: float
    _closed = True  # it asks when a loop goes that was refused by __init__
    _is_stepped = False

    def __init__(self, poller: Poller | str | None = None, *, transports: str = "trews") -> None:
        if transports not in ("trews", "asyncio"):
            raise ValueError(f"transports is 'trews' or 'asyncio', not {transports!r}")
        self._poller = poller if isinstance(poller, Poller) else Poller(poller)
        self._own_transports = transports == "trews"
        self._streams: WeakSet[StreamTransport | DatagramCore] = WeakSet()
        self.clock = self._poller.dispatcher
        super().__init__(self._poller)
        self.clock.loop = self
        enter(self)

    @property
    def poller(self) -> str:
        """The name of the system call that waits for events: epoll, kqueue, poll or select."""
        return self._poller.name

    def attach_stream(
        self, sock: Any, protocol: asyncio.BaseProtocol, peername: Any = None, poller: Any = None
    ) -> StreamTransport:
        """Make a transport for a connected, non-blocking socket and start it, in this very turn.

        Args:
            peername: the peer's address, if it is known.
            poller: who calls for its events; this loop's by default (sockets in memory call for their own).
        """
        transport = StreamTransport(self, sock, protocol, poller or self.clock)
        transport._peername = peername
        self._streams.add(transport)
        try:
            transport.start()
        except OSError as exc:
            transport._fatal_error(exc)  # the poller cannot take it: the end of this connection, of nobody else
        return transport

    def attach_datagrams(self, core: DatagramCore) -> Dispatcher:
        """Who calls for the events of a socket of datagrams, which is told if the loop is closed before it."""
        self._streams.add(core)
        return self.clock

    def step(self, timeout: float | None) -> bool:
        """Run one turn of the loop, for a program that has a main loop of its own.

        Waits for events, timers and calls from threads, then runs what is due. What that has asked for in its
        turn (`call_soon`, tasks that go on) waits for the next step.

        Args:
            timeout: seconds to wait at most; 0 not at all, None until something happens. It does not wait if
                something is due already.

        Returns:
            Whether there was anything to do: `while loop.step(0): pass` does all there is.

        Raises:
            RuntimeError: the loop runs already, another one does in this thread, or it is closed.
        """
        if timeout is not None:
            timeout = min(checked(timeout), LONGEST_POLL)
        if self.is_running():
            raise RuntimeError("loop.step() is for a main loop of your own, and this loop is running: await instead")
        turn = _OneTurn(self, self._poller, timeout)
        self._is_stepped = True
        self._selector = turn
        try:
            self.run_forever()
        finally:
            self._selector = self._poller
        return turn.is_busy

    def _has_due(self) -> bool:
        """Whether the next timer is due; one that was cancelled may count."""
        return bool(self._scheduled) and self._scheduled[0].when() < self.time() + self._clock_resolution

    def set_debug(self, enabled: bool) -> None:
        super().set_debug(enabled)
        # Swapped in, so that the plain case does not ask.
        self.clock.report_calls(self._report_slow if enabled else None)

    def close(self) -> None:
        if not self.is_closed() and not self.is_running():
            self._abandon_streams()
            process = sys.modules.get("trews.transport.process")  # who has started a program has imported it
            if process is not None and process.has_programs(self):
                self.run_until_complete(process.end_programs(self))
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
        transport = StreamTransport(self, sock, protocol, self.clock, extra or {}, server)
        transport.keep_names()
        self._transports[sock.fileno()] = transport
        self.call_soon(protocol.connection_made, transport)
        self.call_soon(transport._start_reading)
        if waiter is not None:
            self.call_soon(_release, waiter)
        return transport


class _OneTurn:
    """What the loop polls with in a step: it waits no longer than the step may, and the turn is the last."""

    def __init__(self, loop: EventLoop, poller: Poller, timeout: float | None) -> None:
        self._loop = loop
        self._poller = poller
        self._timeout = timeout
        self.is_busy = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self._loop
        loop._selector = self._poller  # before anything can register something
        loop.stop()
        if timeout is None or (self._timeout is not None and self._timeout < timeout):
            timeout = self._timeout
        calls = loop.clock.calls
        events = self._poller.select(timeout)
        self.is_busy = loop.clock.calls > calls or bool(events or loop._ready) or loop._has_due()
        return events


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
