"""A pair: two connections joined in memory, and the link between them in your hands."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from trews.connection import Connection
from trews.testing.wire import make_connection
from trews.transport.attach import attach
from trews.transport.memory import CAPACITY, MemorySocket, memory_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trews.server import Server


class Link:
    """Two connections and what is between them; unpacks as `a, b`.

    Attributes:
        a, b: the connections.
    """

    def __init__(self, a: Connection, b: Connection, ends: tuple[MemorySocket, MemorySocket]) -> None:
        self.a = a
        self.b = b
        self._ends = ends

    def __iter__(self) -> Any:
        return iter((self.a, self.b))

    @property
    def chunk(self) -> int | None:
        """The most bytes that one read gives, both ways; None for as many as there are."""
        return self._ends[0].chunk

    @chunk.setter
    def chunk(self, size: int | None) -> None:
        for end in self._ends:
            end.chunk = size

    def clog(self) -> None:
        """Let nothing through, either way: what is sent waits."""
        for end in self._ends:
            end.clog()

    def unclog(self) -> None:
        """Let it through again."""
        for end in self._ends:
            end.unclog()

    def cut(self) -> None:
        """Break the link: both ends are reset, and what was under way is lost."""
        self._ends[0].cut()


@asynccontextmanager
async def pair(
    a: Any = Connection,
    b: Any = Connection,
    *,
    server: Server | None = None,
    chunk: int | None = None,
    capacity: int = CAPACITY,
    **settings: Any,
) -> AsyncIterator[Link]:
    """Join two connections in memory, on the running loop; both are closed at the end.

    Args:
        a, b: a `Connection` subclass, or an async function of a connection.
        server: becomes `a.server`, as for `wire`; `b` is its client.
        chunk: as `Link.chunk`.
        capacity: bytes under way each way before the sender must wait.
        settings: settings of both.

    Raises:
        TypeError: an unknown handler, setting or server.
    """
    loop = asyncio.get_running_loop()
    one, other = make_connection(a, settings, server), make_connection(b, settings, None)
    ends = memory_pair(loop, "pair", capacity)
    link = Link(one, other, ends)
    link.chunk = chunk
    # Both before either is started: a callback may look at the other side.
    for end, connection in zip(ends, (one, other), strict=True):
        loop.call_soon(attach, loop, end, connection, None, _unreachable)
    await asyncio.sleep(0)
    try:
        yield link
    finally:
        for connection in (one, other):
            connection.close()
        link.unclog()
        for connection in (one, other):
            await connection.wait_closed()
        await asyncio.sleep(0)


def _unreachable(exc: BaseException) -> None:
    raise exc
