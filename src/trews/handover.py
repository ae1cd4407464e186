"""A transport between two connections: `switch` takes it from one, and gives it to the other in the next turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from trews.errors import Switched
from trews.phase import Phase

if TYPE_CHECKING:
    from trews.lifecycle import Lifecycle


def hand_over(old: Lifecycle, new: Lifecycle) -> None:
    """End one connection, and let the other go on with its transport."""
    transport, server = old._transport, old._server
    new._server = server
    old._note_address()
    new._remote_address, new._local_address = old._remote_address, old._local_address
    new._is_reading, new._is_write_closed = old._is_reading, old._is_write_closed
    data = old._inbox.leftover()
    old._set_reason(Switched())
    old._has_handed_over = True
    old._let_go(new)
    if server is not None:
        server._handed_over(old, new)
    old._go_down()
    old._release()
    handover = Handover(transport, new, data, old._is_eof, old._is_full)
    old._loop.call_soon(handover.finish, context=old._context.copy())  # what is set in it stays visible
    old._pump_soon()


class Handover(asyncio.Protocol):
    """Holds a transport until the new connection may be told: one's code must not run inside the other's.

    Args:
        transport: the transport; its protocol becomes this, then the new connection.
        new: the connection that gets it.
        data: what has come and was not delivered.
        is_eof: whether the peer has ended.
        is_full: whether the transport has asked to write no more.
    """

    def __init__(self, transport: Any, new: Lifecycle, data: bytes, is_eof: bool, is_full: bool) -> None:
        self._transport = transport
        self._new = new
        self._data = bytearray(data)
        self._is_eof = is_eof
        self._is_full = is_full
        self._is_lost = False
        self._loss: BaseException | None = None
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._new._bytes_in += len(data)

    def eof_received(self) -> bool:
        self._is_eof = True
        return True

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False

    def connection_lost(self, exc: BaseException | None) -> None:
        self._is_lost, self._loss = True, exc

    def finish(self) -> None:
        """Give it to the new connection."""
        new = self._new
        if not self._is_lost:
            self._transport.set_protocol(new)
        new.connection_made(self._transport)
        if self._is_full:
            new.pause_writing()
        if new._phase is Phase.OPEN and self._transport.get_write_buffer_size():
            new._deadlines.watch_stall(new.write_timeout)
        if self._data and new._phase is Phase.OPEN:
            new._own_inbox().feed(self._data)
            new._has_news = True
            new._pump()
        if self._is_eof:
            new.eof_received()
        if self._is_lost:
            new.connection_lost(self._loss)
