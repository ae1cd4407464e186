"""Lingering: what happens to a socket after a connection has said goodbye.

A close while unread input is in the kernel sends a reset, and a reset makes the peer lose the last bytes that
were sent to it. So after our FIN the input is read and thrown away until the peer's FIN, 2 s of silence, or
30 s in all. The connection itself has ended by then: its on_close has run.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from trews.timers import clock_of, wheel_of

if TYPE_CHECKING:
    from collections.abc import Callable

SILENCE = 2.0
IN_ALL = 30.0


class Linger(asyncio.Protocol):
    """Takes over a transport whose writing side is shut.

    Args:
        transport: the transport; its protocol becomes this.
        loop: the loop of the transport.
        gone: called once, when the socket is closed.
    """

    wheel_slot = 0.0

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, gone: Callable[[], None]) -> None:
        self._transport = transport
        self._gone = gone
        self._clock = clock_of(loop)
        self._wheel = wheel_of(loop)
        self._since = self._heard_at = loop.time()
        transport.set_protocol(self)
        transport.resume_reading()
        self._wheel.arm(self, self._since + SILENCE)
        if not getattr(transport.get_extra_info("socket"), "lingers", True):
            transport.close()  # a pipe: its reader gets what was written all the same

    def abort(self) -> None:
        """Close the socket now."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._clock.tick

    def eof_received(self) -> bool:
        return False  # the transport closes

    def connection_lost(self, exc: BaseException | None) -> None:
        self._wheel.disarm(self)
        self._gone()

    def on_deadline(self, now: float) -> float:
        due = min(self._heard_at + SILENCE, self._since + IN_ALL)
        if due > now:
            return due
        self._transport.abort()
        return 0.0
