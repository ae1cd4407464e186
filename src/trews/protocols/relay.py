"""A relay: what one connection sends goes to another, and the other way round.

Not here: where the connections come from, or what is said on them before.
"""

from __future__ import annotations

import asyncio

import trews

# Seconds without a byte taken by a side for which some wait, or one either way when one side has ended. A person
# may pause a download for a while; a side that does nothing for so long has left.
STALLED = 600.0


async def relay(a: trews.Connection, b: trews.Connection) -> None:
    """Carry bytes both ways, until both sides have ended. Both connections are closed then.

    Each side goes at the pace of the other, so that no more than `read_high` and `write_high` bytes are held each way.
    The end of a side that has the setting `half_close` is passed on as one (`close_write`), and the other direction
    goes on; where that cannot be, or without the setting, the other connection is closed when everything is sent. A
    connection that breaks takes the other one along, except for what is still on its way in a direction that has
    ended already. Cancelling aborts both.

    Args:
        a, b: open connections that nobody reads from. What they have received and not delivered is carried, too.

    Raises:
        BusyError: somebody reads from one of them.
    """
    for connection in (a, b):
        connection.write_timeout = connection.close_timeout = STALLED
    ways = [asyncio.create_task(_carry(a, b)), asyncio.create_task(_carry(b, a))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        await _while_it_goes_on(ways, (a, b))
        is_half_done = any(way.done() and not way.exception() for way in ways)
        for connection in (a, b):
            if is_half_done:
                connection.close()
            else:
                connection.abort()
        for connection in (a, b):
            await connection.wait_closed()
        for way in ways:
            error = way.exception() if way.done() else None
            if error is not None and not isinstance(error, trews.ConnectionClosed):
                raise error
    except asyncio.CancelledError:
        a.abort()
        b.abort()
        raise
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _while_it_goes_on(ways: list[asyncio.Task[None]], connections: tuple[trews.Connection, ...]) -> None:
    """One way has ended: wait for the other, as long as something moves. Who has left for good looks like one who
    has only said all, so without this a target that waits for ever would keep both."""
    moved = -1
    while not all(way.done() for way in ways) and not any(way.done() and way.exception() for way in ways):
        before, moved = moved, sum(connection.bytes_in + connection.bytes_out for connection in connections)
        if moved == before:
            return
        await asyncio.wait(ways, timeout=STALLED, return_when=asyncio.FIRST_EXCEPTION)


async def _carry(source: trews.Connection, sink: trews.Connection) -> None:
    """One way, to the end of the source.

    Raises:
        ConnectionClosed: one of the two broke.
    """
    while True:
        try:
            data = await source.read(framer=None)
        except trews.ConnectionClosed as exc:
            # A program that failed (exec:) has said what it had to say, as one that did not.
            if not (exc.is_clean or isinstance(exc, trews.ProcessExited)):
                raise
            break
        sink.write(data)
        await sink.drain()
    if source.is_closed or not source.half_close:  # nobody is there for what the sink would answer
        sink.close()
        return
    try:
        sink.close_write()
    except (trews.Error, NotImplementedError):  # TLS 1.2 has no half-close
        sink.close()
