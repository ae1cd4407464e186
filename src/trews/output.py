"""The writing half of a connection: what waits for the peer, how much of it may, and when a write is refused."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar

from trews.calls import Calls, Started
from trews.errors import ClosedLocally, ConnectionClosed, Error, WriteBufferFull
from trews.phase import Phase
from trews.transport.core import as_bytes
from trews.transport.filepart import CHUNK, FilePart
from trews.transport.stream import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trews.deadlines import Deadlines

_NEW, _OPEN, _FLUSHING, _DOWN, _CLOSED = Phase
YIELD = 1024 * 1024  # bytes of a file in pieces, then the others get their turn


class Output(Calls):
    """The part of a connection that writes."""

    write_high: int
    write_low: int
    write_limit: int
    write_timeout: float | None
    close_timeout: float | None

    _plain_write: ClassVar[Any] = None  # the `write` of Connection, before anybody overrides it
    _transport: Any
    _deadlines: Deadlines
    write: Callable[[Any], None]

    _phase: Phase
    _raw_write: Callable[[Any], None]  # what `write` does: the transport's own
    _reason: ConnectionClosed | None = None
    _accepted_out = 0  # by write, on transports that do not count themselves
    _seen_out = 0  # what of it was sent when that was last looked at
    _out_before = 0  # bytes that the transport has sent for another connection
    _in_before = 0  # bytes that it has received for another
    _out_in_all: int | None = None  # when the transport has gone to another connection
    _in_in_all: int | None = None
    _drainers: Sequence[asyncio.Future[None]] = ()
    _files: frozenset[Started] = frozenset()  # that are being sent
    # On transports that are not ours: what waits while a file is sent in pieces.
    _held: deque[bytes | FilePart] | None = None
    _held_bytes = 0
    _is_silent = False  # that the transport is full is not the user's business
    _is_full = False
    _is_closed_by_user = False
    _is_write_closed = False
    _limits = (-1, -1)

    @property
    def bytes_out(self) -> int:
        """Bytes handed to the operating system so far; at least, once another loop's transport is lost."""
        if self._phase is _NEW:
            return 0
        transport = self._transport
        if self._out_in_all is not None:
            return self._out_in_all
        if isinstance(transport, StreamTransport):
            return transport.core.total_out - transport.core.waiting - self._out_before
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

    @property
    @abstractmethod
    def bytes_in(self) -> int: ...

    @abstractmethod
    def _receive(self, data: bytes) -> None:
        """Bytes have come (from our transport, which counts them)."""

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
        if self._phase is _OPEN and not self._is_silent:
            self._loop.call_soon(self._tell, "on_full")

    def resume_writing(self) -> None:
        self._is_full = False
        self._note_sent()
        self._wake("_drainers")
        if self._phase is _OPEN and not self._is_silent:
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
        core.owner = self
        if is_method(self, "data_received"):  # and not one that shows the traffic
            core.data_received = self._receive
        self._raw_write = transport.write

    def _overrides_write(self) -> bool:
        """Whether its class has a `write` of its own, be it from the class body or put there later."""
        return getattr(type(self), "write", None) is not type(self)._plain_write

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
        if self._held is not None:
            self._held.append(data)
            self._held_bytes += len(data)
            return
        self._emit(data)

    def _emit(self, data: bytes) -> None:
        self._set_limits()  # before: it tells at once that it is full
        self._accepted_out += len(data)
        self._transport.write(data)
        self._deadlines.sent()
        if self.bytes_out != self._accepted_out:
            self._deadlines.watch_stall(self.write_timeout if self._phase is _OPEN else self.close_timeout)
            self._deadlines.watch_idle()

    def _refuse_write(self, data: bytes) -> None:
        """A write after the end: the user's own mistake raises, anything else drops."""
        if self._is_closed_by_user or self._is_write_closed:
            raise self._closed(ClosedLocally("write() after this program closed the connection"))

    def _say_goodbye(self) -> None:
        """FIN, after what waits."""
        if self._held is not None:
            return  # `_send_held` will
        try:
            self._transport.write_eof()
        except OSError:
            pass  # asyncio's own transports tell here that the peer is gone; reading will tell too

    def _admit_more(self) -> bool:
        """Whether a write may be added to what waits. If not, the connection has been ended."""
        transport = self._transport
        waiting = transport.get_write_buffer_size() + self._held_bytes
        if isinstance(transport, StreamTransport):
            waiting -= transport.core.file_bytes  # which are in no memory
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
        if limits == self._limits or self._phase > _OPEN:
            return False
        self._limits = limits
        self._transport.set_write_buffer_limits(*limits)
        return True

    # -- another connection takes over

    def _let_go(self, new: Output) -> None:
        """From now on `new` writes. What waits is sent, and counted there."""
        transport = self._transport
        self._out_in_all, self._in_in_all = self.bytes_out, self.bytes_in
        if isinstance(transport, StreamTransport):
            core = transport.core
            new._out_before = core.total_out - core.waiting
            new._in_before = core.total_in
        else:
            new._accepted_out = transport.get_write_buffer_size()
        self._raw_write = self._write_unowned

    def _write_unowned(self, data: Any) -> None:
        as_bytes(data)
        raise self._closed(self._reason)

    # -- files

    def _file_sent(self, sending: asyncio.Future[None]) -> None:
        self._files = frozenset(other for other in self._files if other is not sending)

    def _sends_file(self) -> bool:
        """Whether one is not sent yet (also if nobody waits for it any more)."""
        transport = self._transport
        return transport.core.file_bytes > 0 if isinstance(transport, StreamTransport) else self._held is not None

    def _send_file(self, path_or_file: Any, offset: int, count: int | None) -> Started:
        if self._overrides_write():
            raise TypeError(
                f"{type(self).__name__} has a write() of its own, which write_file() would pass by; "
                "read the file and write it in pieces, with drain() after each"
            )
        sending = Started(self)
        if self._phase is not _OPEN or self._is_write_closed:
            self._refuse_write(b"")
            sending.settle(self._closed(self._reason))
            return sending
        try:
            part = FilePart(path_or_file, offset, count, sending.settle)
        except (OSError, EOFError) as exc:
            sending.settle(exc.with_traceback(None))  # whose frames hold `sending`: it would only go as garbage
            return sending
        if not len(part):
            part.finish()
            return sending
        self._files |= {sending}
        sending.add_done_callback(self._file_sent)
        transport = self._transport
        if isinstance(transport, StreamTransport):
            transport.core.write_file(part)
        elif self._held is not None:
            self._held.append(part)
        else:
            self._held = deque([part])
            self._spawn(self._send_held())
        return sending

    async def _send_held(self) -> None:
        """Send files in pieces, each when the one before has gone, and what was written after them."""
        while self._held:
            item = self._held.popleft()
            if isinstance(item, FilePart):
                await self._send_pieces(item)
            else:
                self._held_bytes -= len(item)
                self._emit(item)
        self._held = None
        self._wake("_drainers")
        if self._is_write_closed or self._phase is _FLUSHING:
            self._loop.call_soon(self._flushed if self._phase is _FLUSHING else self._say_goodbye)

    def _end_files(self) -> None:
        """The connection is down: what was not sent of files will not be."""
        for item in self._held or ():
            if isinstance(item, FilePart):
                item.close()
        self._held, self._held_bytes = None, 0
        for sending in self._files:
            sending.settle(self._closed(self._reason))

    async def _send_pieces(self, part: FilePart) -> None:
        sent = 0
        try:
            while sent < len(part):
                data = part.read(sent)
                if not data:
                    return
                self._emit(data)
                sent += len(data)
                await self._while_full()
                if sent % YIELD < CHUNK:
                    await asyncio.sleep(0)  # a peer that takes everything at once must not keep the others from running
            await self._until_all_is_out()
            part.finish()
        finally:
            part.close()

    async def _while_full(self) -> None:
        while self._is_full:
            await self._wait_in("_drainers")

    async def _until_all_is_out(self) -> None:
        """Wait for the last byte: such a transport tells only when it has less than its limit, so that is 0 now."""
        await self._while_full()
        if self._transport.get_write_buffer_size():
            self._is_silent = True
            self._limits = (0, 0)
            self._transport.set_write_buffer_limits(0, 0)
            await self._while_full()
            self._is_silent = False


def is_method(instance: object, name: str) -> bool:
    """Whether this is what the class says, and nothing that was put on the object.

    (Not looked up in its `__dict__`, which would have to be made for that, and makes the object slower.)
    """
    return getattr(getattr(instance, name), "__func__", None) is getattr(type(instance), name)
