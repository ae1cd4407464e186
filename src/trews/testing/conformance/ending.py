"""The end: on every path `on_close` comes once, last, with its reason, and whoever waits is released.

`PATHS` has a row for each way in which a connection (here the server's end) can end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from trews.connection import Connection
from trews.errors import (
    Aborted,
    ClosedByPeer,
    ClosedLocally,
    ConnectionClosed,
    ConnectionReset,
    FramingError,
    IdleTooLong,
)
from trews.framing import Line, Netstring
from trews.testing.conformance.suite import (
    Boom,
    OpenPair,
    Recorder,
    check,
    closed,
    ended_by_reset,
    fill,
    raised,
    soon,
    turns,
    until,
)


class Path(NamedTuple):
    """A way to end: what to do, and the reason that the server's end must have (None: as after a reset)."""

    name: str
    act: Callable[[Any, Any], Awaitable[None]]
    reason: type[ConnectionClosed] | None
    settings: dict[str, Any] = {}  # noqa: RUF012  # never changed


async def _peer_closes(client: Any, server: Any) -> None:
    client.close()


async def _peer_aborts(client: Any, server: Any) -> None:
    client.abort()


async def _closes(client: Any, server: Any) -> None:
    server.close()


async def _aborts(client: Any, server: Any) -> None:
    server.abort()


async def _closes_then_aborts(client: Any, server: Any) -> None:
    server.close()
    server.abort()


async def _nothing(client: Any, server: Any) -> None:
    pass


async def _code_fails(client: Any, server: Any) -> None:
    async def fail() -> None:
        raise Boom

    server.on_error = lambda exc: None
    server.spawn(fail())


async def _gets_garbage(client: Any, server: Any) -> None:
    client.write(b"x:oops")


async def _write_fails(client: Any, server: Any) -> None:
    server.pause_reading()  # so that it is the write which finds out
    client.abort()
    await soon(client.wait_closed())
    await turns()
    for _ in range(3):
        server.write(b"x")
        await turns()


async def _stops(client: Any, server: Any) -> None:
    if server.server is None:
        server.on_stop()  # joined without a Server: what that would call
    else:
        server.server.stop(grace=10)


PATHS = (
    Path("a_fin", _peer_closes, ClosedByPeer),
    Path("a_reset", _peer_aborts, None),
    Path("close", _closes, ClosedLocally),
    Path("abort", _aborts, Aborted),
    Path("close_and_abort", _closes_then_aborts, ConnectionClosed),
    Path("an_idle_deadline", _nothing, IdleTooLong, {"idle_timeout": 0.01}),
    Path("a_failing_callback", _code_fails, Aborted),
    Path("a_malformed_frame", _gets_garbage, FramingError, {"framer": Netstring()}),
    Path("a_failed_write", _write_fails, ConnectionReset),
    Path("the_servers_stop", _stops, ClosedLocally),
)


def _is_right(path: Path, reason: ConnectionClosed, open_pair: OpenPair) -> bool:
    if path.reason is None:
        return ended_by_reset(reason, open_pair)
    return isinstance(reason, path.reason)


async def _on_close_comes_once(path: Path, open_pair: OpenPair) -> None:
    server_class = type("Ending", (Recorder,), dict(path.settings))
    async with open_pair(Recorder, server_class) as (client, server):
        await path.act(client, server)
        await closed(server, client)
        client.close()
        server.abort()
        await turns()
        for conn in (client, server):
            assert [name for name in conn.names if name in ("connect", "close")] == ["connect", "close"]
            assert conn.names[-1] == "close"
            assert conn.of("close") == [conn.reason]
            assert conn.reason.connection is conn
            assert conn.is_closed
        assert _is_right(path, server.reason, open_pair), repr(server.reason)


async def _waiters_are_released(path: Path, open_pair: OpenPair) -> None:
    class Waiting(Recorder):
        locals().update(path.settings)

    async with open_pair(Recorder, Waiting) as (client, server):
        client.pause_reading()
        await fill(server)
        waits = [asyncio.ensure_future(wait) for wait in (server.read(), server.drain(), server.wait_closed())]
        await turns()
        assert not any(wait.done() for wait in waits[1:])
        await path.act(client, server)
        if not client.is_closed:
            client.resume_reading()
        _, pending = await asyncio.wait(waits, timeout=20)
        for wait in pending:
            wait.cancel()
        assert not pending, f"not released: {pending}"
        exc = waits[0].exception()
        assert isinstance(exc, ConnectionClosed)
        assert exc.connection is server
        assert exc is not server.reason
        assert waits[1].exception() is None or isinstance(waits[1].exception(), ConnectionClosed)
        assert waits[2].exception() is None
        assert server.of("close")


def _add(path: Path) -> None:
    async def once(open_pair: OpenPair) -> None:
        await _on_close_comes_once(path, open_pair)

    async def released(open_pair: OpenPair) -> None:
        await _waiters_are_released(path, open_pair)

    once.__name__ = f"on_close_comes_once_after_{path.name}"
    released.__name__ = f"waiters_are_released_by_{path.name}"
    check(once)
    if path.reason is not IdleTooLong:  # whoever waits for a drain is not idle
        check(released)


for _path in PATHS:
    _add(_path)


@check
async def the_peer_of_close_sees_an_end(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.write(b"bye")
        server.close()
        assert server.is_closed
        await closed(client)
        assert client.names == ["connect", "read", "eof", "close"]
        assert isinstance(client.reason, ClosedByPeer)


@check
async def the_peer_of_abort_sees_a_reset(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.abort()
        await closed(client)
        assert ended_by_reset(client.reason, open_pair), repr(client.reason)


@check
async def abort_drops_what_waits(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        client.pause_reading()
        total = await fill(server)
        server.abort()
        client.resume_reading()
        await closed(server, client)
        assert server.bytes_out < total
        assert len(client.data) < total


@check
async def what_came_before_a_reset_is_delivered_before_on_close(open_pair: OpenPair) -> None:
    class Slow(Recorder):
        def on_connect(self) -> None:
            self.gate = asyncio.Event()

        async def on_read(self, message: Any) -> None:
            await self.gate.wait()
            self.note("read", message)

    async with open_pair(Recorder, Slow, framer=Line()) as (client, server):
        client.write(b"a\nb\nc\n")
        await until(lambda: server.bytes_in == 6)
        client.abort()
        await closed(client)
        await turns()
        assert server.events == []
        server.gate.set()
        await closed(server)
        assert server.of("read") == [b"a", b"b", b"c"]
        assert server.names[-1] == "close"


@check
async def what_came_before_a_failure_can_still_be_read(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection, framer=Line()) as (client, server):
        client.write(b"a\nb\n")
        await until(lambda: server.bytes_in == 4)
        client.abort()
        await closed(client)
        await turns()
        assert [await soon(server.read()), await soon(server.read())] == [b"a", b"b"]
        assert ended_by_reset(await raised(ConnectionClosed, server.read()), open_pair)


@check
async def nothing_is_read_after_ones_own_end(open_pair: OpenPair) -> None:
    for end in ("close", "abort"):
        async with open_pair(Recorder, Recorder) as (client, server):
            client.write(b"too late")
            getattr(server, end)()
            client.write(b"even later")
            await closed(server, client)
            assert server.names == ["connect", "close"]


@check
async def close_and_abort_may_be_repeated(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.close()
        server.close()
        await closed(server)
        server.close()
        server.abort()
        server.abort()
        server.pause_reading()
        server.resume_reading()
        server.close_write()
        await closed(client)
        assert server.names.count("close") == 1


@check
async def it_may_end_in_on_connect(open_pair: OpenPair) -> None:
    for end in ("close", "abort"):

        class Refusing(Recorder):
            how = end

            def on_connect(self) -> None:
                super().on_connect()
                if self.how == "close":
                    self.write(b"go away")
                getattr(self, self.how)()

        async with open_pair(Recorder, Refusing) as (client, server):
            await closed(server, client)
            assert server.names == ["connect", "close"]
            assert client.data == (b"go away" if end == "close" else b"")


@check
async def on_close_may_call_anything(open_pair: OpenPair) -> None:
    class Busy(Recorder):
        def on_close(self, reason: ConnectionClosed) -> None:
            super().on_close(reason)
            self.close()
            self.abort()
            self.pause_reading()
            self.resume_reading()

    async with open_pair(Busy, Busy) as (client, server):
        client.close()
        await closed(server, client)
        await turns()
        assert not server.of("error")
        assert server.names.count("close") == 1


@check
async def wait_closed_waits_for_an_async_on_close(open_pair: OpenPair) -> None:
    class Slow(Recorder):
        async def on_close(self, reason: ConnectionClosed) -> None:
            self.note("begin")
            await turns(5)
            self.note("close", reason)

    async with open_pair(Recorder, Slow) as (client, server):
        client.close()
        await soon(server.wait_closed())
        assert server.names[-2:] == ["begin", "close"]
        await soon(server.wait_closed())
