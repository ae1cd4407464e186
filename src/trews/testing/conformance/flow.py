"""Back-pressure: who writes too much learns of it, and who does not read makes its peer wait."""

from __future__ import annotations

import asyncio
from typing import Any

from trews.connection import Connection
from trews.testing.conformance.suite import (
    KIB,
    MIB,
    OpenPair,
    Recorder,
    check,
    closed,
    ended_by_reset,
    fill,
    soon,
    turns,
    until,
)


class _Measuring(Recorder):
    """Notes how many bytes wait at on_full and on_drain."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def write(self, data: Any) -> None:
        self.written += len(data)
        super().write(data)

    def on_full(self) -> None:
        self.note("full", self.written - self.bytes_out)

    def on_drain(self) -> None:
        self.note("drain", self.written - self.bytes_out)


class _Counting(Recorder):
    """Counts what it reads, in place of keeping it."""

    def on_read(self, message: Any) -> None:
        pass


@check
async def on_full_and_on_drain_come_in_pairs(open_pair: OpenPair) -> None:
    async with open_pair(_Measuring, _Counting) as (client, server):
        for _ in range(2):
            server.pause_reading()
            await fill(client)
            server.resume_reading()
            await until(lambda: len(client.of("drain")) == len(client.of("full")))
            await until(lambda: server.bytes_in == client.written)
        await turns()
        assert client.names == ["connect", "full", "drain", "full", "drain"]
        assert min(client.of("full")) > client.write_high
        assert max(client.of("drain")) <= client.write_low


@check
async def limits_assigned_in_on_connect_take_effect(open_pair: OpenPair) -> None:
    class Roomy(_Measuring):
        def on_connect(self) -> None:
            self.write_high, self.write_low = MIB, 0

    async with open_pair(Roomy, _Counting) as (client, server):
        server.pause_reading()
        await fill(client)
        assert client.of("full")[0] > MIB
        server.resume_reading()
        await until(lambda: client.of("drain"))
        assert client.of("drain") == [0]


@check
async def less_than_write_high_is_not_full(open_pair: OpenPair) -> None:
    async with open_pair(_Measuring, _Counting, write_high=MIB) as (client, server):
        server.pause_reading()
        while client.written - client.bytes_out < 512 * KIB:
            client.write(bytes(16 * KIB))
            await asyncio.sleep(0)
        await turns()
        assert client.of("full") == []
        server.resume_reading()
        await until(lambda: server.bytes_in == client.written)
        assert client.names == ["connect"]


@check
async def settings_may_be_keywords(open_pair: OpenPair) -> None:
    async with open_pair(_Measuring, _Counting, write_high=512 * KIB, write_low=100) as (client, server):
        server.pause_reading()
        await fill(client)
        assert client.of("full")[0] > 512 * KIB
        server.resume_reading()
        await until(lambda: client.of("drain"))
        assert client.of("drain")[0] <= 100


@check
async def drain_waits_and_goes_on(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, _Counting) as (client, server):
        await soon(client.drain())
        server.pause_reading()
        await fill(client)
        draining = [asyncio.ensure_future(client.drain()) for _ in range(3)]
        await turns()
        assert not any(task.done() for task in draining)
        server.resume_reading()
        await soon(asyncio.gather(*draining))
        assert client.of("full")


@check
async def a_loop_of_write_and_drain_is_bounded(open_pair: OpenPair) -> None:
    async def produce(conn: Connection) -> None:
        for _ in range(256):
            conn.write(bytes(64 * KIB))
            assert conn.server is None or conn.is_open
            await conn.drain()

    async with open_pair(Recorder, Recorder) as (client, server):
        server.pause_reading()
        task = client.spawn(produce(client))
        await until(lambda: client.of("full"))
        await turns()
        stuck = client.bytes_out
        await turns()
        assert not task.done()
        assert client.bytes_out == stuck < 16 * MIB
        server.on_read = lambda message: None
        server.resume_reading()
        await until(lambda: server.bytes_in == 16 * MIB)
        await soon(task)


@check
async def pause_reading_makes_the_peer_wait(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.pause_reading()
        total = await fill(client)
        assert server.of("read") == []
        assert server.bytes_in <= 512 * KIB
        server.resume_reading()
        await until(lambda: len(server.data) == total)


@check
async def an_async_on_read_makes_the_peer_wait(open_pair: OpenPair) -> None:
    class Slow(Recorder):
        read_high = 1000

        async def on_read(self, message: Any) -> None:
            self.note("read", message)
            await self.gate.wait()

        def on_connect(self) -> None:
            self.gate = asyncio.Event()

    async with open_pair(Recorder, Slow) as (client, server):
        total = await fill(client)
        assert len(server.of("read")) == 1
        assert server.bytes_in <= 1000 + 512 * KIB  # and two reads
        server.gate.set()
        await until(lambda: len(server.data) == total)


@check
async def messages_that_nobody_reads_make_the_peer_wait(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Connection, read_high=1000) as (client, server):
        total = await fill(client)
        assert server.bytes_in <= 1000 + 512 * KIB
        got = 0
        while got < total:
            got += len(await soon(server.read()))
        assert got == total


@check
async def one_slow_reader_does_not_stop_others(open_pair: OpenPair) -> None:
    async with (
        open_pair(Recorder, Recorder) as (client, server),
        open_pair(Recorder, Recorder) as (other, neighbour),
    ):
        server.pause_reading()
        await fill(client)
        other.write(b"hi")
        await until(lambda: neighbour.data == b"hi")
        assert server.of("read") == []


@check
async def pauses_do_not_count(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        for _ in range(3):
            server.pause_reading()
        server.resume_reading()
        client.write(b"x")
        await until(lambda: server.data == b"x")
        server.resume_reading()
        client.write(b"y")
        await until(lambda: server.data == b"xy")


@check
async def a_reset_while_paused_shows_when_resumed(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.pause_reading()
        client.abort()
        await closed(client)
        await turns()
        server.resume_reading()
        await closed(server)
        assert ended_by_reset(server.reason, open_pair)


@check
async def a_paused_connection_can_be_closed(open_pair: OpenPair) -> None:
    for end in ("close", "abort"):
        async with open_pair(Recorder, Recorder) as (client, server):
            server.pause_reading()
            client.write(b"x" * 100_000)
            getattr(server, end)()
            await closed(server, client)
            assert server.of("read") == []
