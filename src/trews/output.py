"""The writing half of a connection: what waits for the peer, how much of it may, and when a write is refused."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from trews.calls import Calls
from trews.errors import ClosedLocally, ConnectionClosed, Error, WriteBufferFull
from trews.phase import Phase
from trews.transport.stream import StreamTransport, as_bytes

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from trews.deadlines import Deadlines

_NEW, _OPEN, _FLUSHING, _DOWN, _CLOSED = Phase


class Output(Calls):
    """The part of a connection that writes."""

    write_high: int
    write_low: int
    write_limit: int
    write_timeout: float | None

    _overrides_write: ClassVar[bool] = False
    _transport: Any
    _deadlines: Deadlines
    write: Callable[[Any], None]

    def _prepare_output(self) -> None:
        self._phase = _NEW
        self._accepted_out = 0  # by write, on transports that do not count themselves
        self._seen_out = 0  # what of it was sent when that was last looked at
        self._drainers: list[asyncio.Future[None]] = []
        self._is_full = False
        self._is_closed_by_user = False
        self._is_write_closed = False
        self._limits = (-1, -1)
        self._raw_write: Callable[[Any], None] = self._write_unconnected

    @property
    def bytes_out(self) -> int:
        """Bytes handed to the operating system so far; at least, once another loop's transport is lost."""
        if self._phase is _NEW:
            return 0
        transport = self._transport
        if isinstance(transport, StreamTransport):
            return transport.core.total_out - transport.core.waiting
        self._note_sent()
        return self._seen_out

    def _note_sent(self) -> None:
        """How much has gone out of a transport that is not ours: it cannot be asked when it is lost."""
        if self._phase <= _FLUSHING:
            self._seen_out = self._accepted_out - self._transport.get_write_buffer_size()

    def _require_connected(self) -> None:
        if self._phase is _NEW:
            raise Error(f"{self!r} is not connected yet: use it in on_connect or later")

    # -- what comes of it

    @abstractmethod
    def _drop(self, reason: ConnectionClosed) -> None:
        """End now. Nothing that waits is sent."""

    @abstractmethod
    def _flushed(self) -> None:
        """All is sent, and the connection is closing."""

    @abstractmethod
    def _tell(self, name: str) -> None:
        """Call a callback, if the connection is open."""

    @abstractmethod
    def _closed(self, reason: ConnectionClosed | None) -> ConnectionClosed:
        """A reason as a fresh exception of this connection."""

    # -- what the transport tells (asyncio.Protocol)

    def pause_writing(self) -> None:
        self._is_full = True
        if self._phase is _OPEN:
            self._loop.call_soon(self._tell, "on_full")

    def resume_writing(self) -> None:
        self._is_full = False
        self._note_sent()
        wake(self._drainers)
        if self._phase is _OPEN:
            self._loop.call_soon(self._tell, "on_drain")
        elif self._phase is _FLUSHING:
            self._loop.call_soon(self._flushed)

    # -- writing

    def _bind_write(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, StreamTransport):
            self._raw_write = self._write_foreign
            self._set_limits()
            return
        core = transport.core
        core.refuse = self._refuse_write
        core.admit = self._admit_more
        core.backlogged = self._backlogged
        self._raw_write = core.write
        if not self._overrides_write:
            self.write = core.write  # one call less a write

    def _write_unconnected(self, data: Any) -> None:
        self._require_connected()

    def _write_foreign(self, data: Any) -> None:
        """`write` on a transport that is not ours."""
        if type(data) is not bytes:
            data = as_bytes(data)
        if self._phase is not _OPEN or self._is_write_closed:
            self._refuse_write(data)
            return
        if not data or not self._admit_more():
            return
        self._set_limits()  # before: it tells at once that it is full
        self._accepted_out += len(data)
        self._transport.write(data)
        self._deadlines.sent()
        if self.bytes_out != self._accepted_out:
            self._deadlines.watch_stall(self.write_timeout)
            self._deadlines.watch_idle()

    def _refuse_write(self, data: bytes) -> None:
        """A write after the end: the user's own mistake raises, anything else drops."""
        if self._is_closed_by_user or self._is_write_closed:
            raise self._closed(ClosedLocally("write() after this program closed the connection"))

    def _say_goodbye(self) -> None:
        """FIN, after what waits."""
        try:
            self._transport.write_eof()
        except OSError:
            pass  # asyncio's own transports tell here that the peer is gone; reading will tell too

    def _admit_more(self) -> bool:
        """Whether a write may be added to what waits. If not, the connection has been ended."""
        waiting = self._transport.get_write_buffer_size()
        if waiting <= self.write_limit:
            return True
        self._drop(WriteBufferFull(f"the peer does not read: {waiting} bytes wait, write_limit is {self.write_limit}"))
        return False

    def _backlogged(self) -> None:
        """A write has left bytes waiting (in our transport)."""
        if not self._set_limits():
            self._transport._maybe_pause_protocol()
        self._deadlines.watch_stall(self.write_timeout)

    def _set_limits(self) -> bool:
        """Have the transport use the settings. False if it does already."""
        limits = (self.write_high, min(self.write_low, self.write_high))
        if limits == self._limits:
            return False
        self._limits = limits
        self._transport.set_write_buffer_limits(*limits)
        return True


def wake(waiters: list[asyncio.Future[None]]) -> None:
    """Let everybody on the list go on."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
