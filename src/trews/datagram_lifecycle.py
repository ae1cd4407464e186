"""The life of a Datagram, from its sockets to `on_close`: all that decides, nothing that waits.

The states are those of a connection (`phase`). What comes waits in `_inbox`, and `_pump` is the one place that hands
it out, one event after the other: errors, datagrams, the close. It stops while an async callback runs. As for a
connection, callbacks are called from the loop only. Users call `Datagram`, nothing here.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

from trews import debugging
from trews.addresses import is_address
from trews.calls import Calls
from trews.errors import Aborted, ClosedLocally, ConnectionClosed, Error, WriteStalled
from trews.phase import Phase
from trews.settings import AFTER_GRACE
from trews.timers import clock_of
from trews.transport import multicast
from trews.transport.datagram import OVERHEAD, DatagramCore, address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trews.transport.bound import Bound

logger = logging.getLogger("trews")

_NEW, _OPEN, _FLUSHING, _DOWN, _CLOSED = Phase

SECONDS_A_TURN = 0.010  # for what waits, in a turn; then the others get theirs
ERRORS_KEPT = 16  # that nobody was told of yet
QUIET = 1.0  # seconds between two tracebacks in the log: whoever sends garbage must not fill it


class DatagramLife(Calls):
    """What happens to a Datagram, and in which order its callbacks learn of it."""

    # Settings and callbacks of Datagram that are used here.
    read_high: int
    write_low: int
    close_timeout: float | None
    multicast_interface: str | None
    multicast_ttl: int | None
    multicast_loopback: bool | None
    on_open: Callable[[], Any]
    on_read: Callable[[bytes, Any], Any]
    on_close: Callable[[Any], Any]

    _overrides_read: ClassVar[bool] = False

    def _prepare(self) -> None:
        self._phase = _NEW
        self._task = None
        self._server: Any = None
        self._bound: Bound | None = None
        self._cores: list[DatagramCore] = []
        self._local_address: Any = None
        self._remote_address: Any = None
        self._reason: ConnectionClosed | None = None
        self._inbox: deque[tuple[bytes, Any]] = deque()
        self._inbox_size = 0  # bytes, OVERHEAD included
        self._errors: deque[tuple[BaseException, bool]] = deque(maxlen=ERRORS_KEPT)  # and whether of the network
        self._network_error: BaseException | None = None  # that on_error is being told
        self._read_error: OSError | None = None  # of the network, for the next read()
        self._quiet_until = 0.0
        self._untold = 0
        self._reader: asyncio.Future[None] | None = None
        self._drainers: Sequence[asyncio.Future[None]] = ()
        self._down_waiters: Sequence[asyncio.Future[None]] = ()
        self._end_waiters: Sequence[asyncio.Future[None]] = ()
        self._bytes_in = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_reading = self._is_pumping = False
        self._is_stopping = self._is_aborted = self._is_ended = False

    @property
    def _waiting(self) -> int:
        return sum(core.waiting for core in self._cores)

    def _require_open(self) -> None:
        if self._phase is _NEW:
            raise Error(f"{self!r} is not open yet: use it in on_open or later")

    def _closed(self, reason: ConnectionClosed | None = None) -> ConnectionClosed:
        """A reason as a fresh exception of this one."""
        reason = reason or self._reason
        exc = reason.fresh() if reason is not None else ClosedLocally()
        exc.connection = self
        return exc

    # -- its life

    def _open(self, bound: Bound) -> None:
        """Begin. The sockets are this one's from now on, but not if it raises.

        Raises:
            ListenError, ValueError: its settings for groups cannot be had.
        """
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        has_v4 = any(sock.family == socket.AF_INET for sock in bound.sockets)
        for sock in bound.sockets:
            interface = self.multicast_interface
            if has_v4 and sock.family != socket.AF_INET and is_address(interface):
                interface = None  # an address of IPv4 is for that socket, and says nothing to IPv6's beside it
            multicast.set_outgoing(sock, interface, self.multicast_ttl, self.multicast_loopback)
        self._bound = bound
        self._cores = [DatagramCore(sock, self, self._loop, bound.is_connected) for sock in bound.sockets]
        self._local_address = address_of(bound.sockets[0].getsockname())
        self._remote_address = None if bound.peer is None else address_of(bound.peer)
        self._phase = _OPEN
        if self._loop.get_debug():
            debugging.check_threads(self)
        if debugging.is_tracing:
            debugging.trace_datagrams(self)
        if self._server is not None:
            self._server._datagram_opened(self)
        self._deliver(self.on_open)
        self._pump()

    def _took(self, data: bytes, address: Any) -> None:
        self._bytes_in += len(data)
        if self._phase is not _OPEN:
            return
        if self._task is None and not (self._inbox or self._errors) and self._reader is None and self._has_on_read():
            self._deliver(self.on_read, data, address)  # the plain case
            return
        self._inbox.append((data, address))
        self._inbox_size += len(data) + OVERHEAD
        self._wake_reader()
        self._regulate()

    def _core_failed(self, exc: OSError) -> None:
        self._errors.append((exc, True))
        if self._bound is not None and self._bound.is_connected and not self._has_on_read():
            self._read_error = exc
            self._wake_reader()
        self._pump_soon()

    def _core_sent(self) -> None:
        waiting = self._waiting
        if waiting <= self.write_low:
            self._wake("_drainers")
        if not waiting and self._phase is _FLUSHING:
            self._flushed()

    def _abandoned(self) -> None:
        self._drop(Aborted("its loop was closed"))

    def _has_on_read(self) -> bool:
        return self._overrides_read or "on_read" in self.__dict__

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _regulate(self) -> None:
        """Receive or not: what is not taken stays in the kernel, which drops what is too much."""
        wanted = self._phase is _OPEN and self._inbox_size <= self.read_high
        wanted = wanted and not (self._is_stopping and self._reader is None)
        if wanted is not self._is_reading:
            self._is_reading = wanted
            for core in self._cores:
                core.read(wanted)

    # -- handing out events

    def _pump(self) -> None:
        """Hand out what is due, in order, until something must be waited for."""
        if self._is_pumping:
            return
        self._is_pumping = True
        now = clock_of(self._loop).now
        end = now() + SECONDS_A_TURN
        try:
            while self._task is None and self._step():
                if now() >= end:
                    self._pump_soon()
                    break
            self._regulate()
        finally:
            self._is_pumping = False

    def _step(self) -> bool:
        """Hand out one event. False if there is none, or none before something else has happened."""
        if self._errors:
            exc, is_network = self._errors.popleft()
            self._network_error = exc if is_network else None
            told = self._tell_error(exc)
            if told is not None:
                self._follow(told)
            return True
        if self._phase is _OPEN:
            if self._inbox and self._reader is None and self._has_on_read():
                data, address = self._inbox.popleft()
                self._inbox_size -= len(data) + OVERHEAD
                self._deliver(self.on_read, data, address)
                return True
            if self._is_stopping:
                self._shut(ClosedLocally("the server is stopping"))
        elif self._phase is _DOWN and not self._spawned:
            self._finish()
            return True
        elif self._phase is _CLOSED:
            self._end_if_idle()
        return False

    # -- what comes of calls

    def _returned(self) -> None:
        self._pump()

    def _spawned_returned(self) -> None:
        if self._task is None and self._phase > _FLUSHING:
            self._pump()

    def _running(self) -> None:
        if self._phase > _FLUSHING:
            self._watch_tasks()
            if self._is_aborted:  # in the first step of that code, before it could be cancelled
                self._cancel_tasks()

    def _failed(self, exc: BaseException) -> None:
        self._errors.append((exc, False))
        self._pump_soon()

    def _cancelled(self) -> None:
        pass  # by the end of this, or by somebody who must know

    # -- ending

    def _begin_stop(self) -> None:
        """The server is stopping: `on_stop`, soon."""
        self._loop.call_soon(self._tell_stop)

    def _tell_stop(self) -> None:
        if self._phase is _OPEN:
            self._notify("on_stop")

    def _close_when_done(self) -> None:
        self._is_stopping = True
        if self._phase is _OPEN:
            self._wake_reader()
            self._pump_soon()

    def _shut(self, reason: ConnectionClosed) -> None:
        """Begin an orderly end: what waits is sent. Nothing more is received."""
        if self._phase is not _OPEN:
            return
        self._set_reason(reason)
        self._phase = _FLUSHING
        self._inbox.clear()
        self._inbox_size = 0
        self._regulate()
        self._wake_reader()
        if not self._waiting:
            self._loop.call_soon(self._flushed)
        elif self.close_timeout is not None:
            self._timer = self._loop.call_later(self.close_timeout, self._stalled)

    def _stalled(self) -> None:
        self._reason = None
        self._drop(WriteStalled("the system did not take what was to be sent within close_timeout"))

    def _flushed(self) -> None:
        if self._phase is _FLUSHING:
            self._go_down()

    def _drop(self, reason: ConnectionClosed) -> None:
        """End now."""
        if self._phase is _NEW:
            return
        if isinstance(reason, Aborted):
            self._is_aborted = True
            self._cancel_tasks()
        if self._phase <= _FLUSHING:
            self._set_reason(reason)
            self._go_down()

    def _set_reason(self, reason: ConnectionClosed) -> None:
        if self._reason is None or not reason.is_clean:
            reason.connection = self
            self._reason = reason

    def _go_down(self) -> None:
        self._phase = _DOWN
        self._inbox.clear()
        self._inbox_size = 0
        self._is_reading = False
        for core in self._cores:
            core.close()
        if self._bound is not None:
            self._bound.release()
        self._wake_reader()
        self._wake("_drainers")
        self._wake("_down_waiters")
        for task in self._spawned:
            task.cancel()
        if self._loop.is_closed():
            return
        self._watch_tasks()
        self._pump_soon()

    def _watch_tasks(self) -> None:
        """What still runs has `close_timeout`, and is then cancelled."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._has_tasks() and self.close_timeout is not None:
            self._timer = self._loop.call_later(self.close_timeout, self._end_tasks)

    def _end_tasks(self) -> None:
        self._cancel_tasks()
        self._timer = self._loop.call_later(AFTER_GRACE, self._leave_tasks)

    def _leave_tasks(self) -> None:
        """Code that goes on although it was cancelled must not keep this from ending."""
        if self._has_tasks():
            self._forget_tasks()
            self._pump_soon()

    def _finish(self) -> None:
        """Everything before the close has been handed out: `on_close`, once."""
        self._phase = _CLOSED
        self._is_aborted = False
        self._deliver(self.on_close, self._reason)
        self._watch_tasks()

    def _end_if_idle(self) -> None:
        """The end of all, once what `on_close` and `on_error` began is over too."""
        if self._has_tasks() or self._is_ended:
            return
        self._is_ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake("_end_waiters")
        if self._server is not None:
            self._server._datagram_ended(self)

    def _log(self, exc: BaseException) -> None:
        """What nobody has handled."""
        if exc is self._network_error:
            logger.debug("%r: %s", self, exc)
            return
        now = self._loop.time()
        if now < self._quiet_until:
            self._untold += 1
            return
        more = f" ({self._untold} errors before it were not logged)" if self._untold else ""
        self._quiet_until, self._untold = now + QUIET, 0
        logger.error("%r: its code failed%s", self, more, exc_info=exc)
