"""Writing: never blocks, never partial, never raises for the network's reasons, and close() flushes."""

from __future__ import annotations

import array
import asyncio
import hashlib
from typing import Any

from trews.connection import Connection
from trews.errors import ClosedLocally, ConnectionClosed, WriteBufferFull
from trews.testing.conformance.suite import (
    KIB,
    MIB,
    Echo,
    OpenPair,
    Recorder,
    answers,
    check,
    closed,
    raised,
    raised_by,
    slow,
    turns,
    until,
)


class _Hashing(Recorder):
    """Counts and hashes what it reads, in place of keeping it."""

    def __init__(self) -> None:
        super().__init__()
        self.hash, self.count = hashlib.blake2b(), 0

    def on_read(self, message: Any) -> None:
        self.hash.update(message)
        self.count += len(message)


async def _write_at_once(open_pair: OpenPair, size: int) -> None:
    block = bytes(range(251)) * 4177  # 1 MiB or so, of a length that no buffer has
    data = block * (size // len(block) + 1)
    async with (
        open_pair(Recorder, _Hashing) as (client, server),
        open_pair(Connection, Echo) as (neighbour, _),
    ):
        client.write(data)
        served = 0
        while server.count < len(data) and served < 5000:
            assert await answers(neighbour)
            served += server.count < len(data)
        await until(lambda: server.count >= len(data))
        assert server.hash.digest() == hashlib.blake2b(data).digest()
        assert served, "the neighbour had to wait for all of it"


@check
async def a_large_write_arrives_whole_while_others_are_served(open_pair: OpenPair) -> None:
    await _write_at_once(open_pair, 12 * MIB)


@check
@slow
async def a_huge_write_arrives_whole_while_others_are_served(open_pair: OpenPair) -> None:
    await _write_at_once(open_pair, 64 * MIB)


@check
async def writes_in_on_connect_arrive(open_pair: OpenPair) -> None:
    class Greeting(Recorder):
        def on_connect(self) -> None:
            self.write(b"hel")
            self.write(b"lo")

    async with open_pair(Recorder, Greeting) as (client, _):
        await until(lambda: client.data == b"hello")


@check
async def what_was_written_may_be_changed_afterwards(open_pair: OpenPair) -> None:
    size = 4 * MIB  # more than is sent at once
    async with open_pair(Recorder, _Hashing) as (client, server):
        server.pause_reading()
        expected = hashlib.blake2b()
        buffer = bytearray(size)
        for letter in b"abc":
            buffer[:] = bytes([letter]) * size
            expected.update(buffer)
            client.write(buffer if letter != ord("b") else memoryview(buffer))
            buffer[:] = bytes(size)
        buffer.clear()  # nobody holds a view of it
        server.resume_reading()
        await until(lambda: server.count >= 3 * size)
        assert server.hash.digest() == expected.digest()


@check
async def a_memoryview_counts_its_bytes(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        numbers = array.array("I", [1, 2, 3])
        client.write(memoryview(numbers))
        await until(lambda: server.data == numbers.tobytes())
        client.write(memoryview(b"abcdef")[::2])
        await until(lambda: server.data == numbers.tobytes() + b"ace")
        assert client.bytes_out == server.bytes_in == 15


@check
async def what_is_not_bytes_is_refused_where_it_is_written(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        for wrong in ("text", None, 5, ["x"]):
            raised_by(TypeError, client.write, wrong)
        client.write(b"")
        client.write(b"fine")
        await until(lambda: server.of("read") == [b"fine"])


@check
async def write_after_ones_own_close_raises(open_pair: OpenPair) -> None:
    for end in ("close", "close_write"):
        async with open_pair(Recorder, Recorder) as (client, server):
            client.write(b"last")
            getattr(client, end)()
            assert raised_by(ClosedLocally, client.write, b"x").connection is client
            await closed(server)
            assert server.data == b"last"


@check
async def write_after_the_peers_end_drops(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        client.close()
        await closed(server)
        server.write(b"x")
        server.send(b"x")
        assert server.names.count("close") == 1
        assert not server.of("error")


@check
async def a_write_to_a_connection_just_reset_disturbs_nobody(open_pair: OpenPair) -> None:
    async with (
        open_pair(Recorder, Recorder) as (client, server),
        open_pair(Connection, Echo) as (neighbour, _),
    ):
        client.abort()
        for _ in range(100):
            server.write(b"x" * 1000)
        await closed(server)
        server.write(b"x")
        assert not server.reason.is_clean or not getattr(open_pair, "tells_resets", True)
        assert server.names.count("close") == 1
        assert not server.of("error")
        assert await answers(neighbour)


@check
async def a_peer_that_never_reads_ends_at_write_limit(open_pair: OpenPair) -> None:
    limit = 256 * KIB
    async with (
        open_pair(Recorder, Recorder, write_limit=limit) as (client, server),
        open_pair(Connection, Echo) as (neighbour, _),
    ):
        server.pause_reading()
        written = most = 0
        while not client.is_closed:
            assert written < 64 * MIB, "never refused"
            most = max(most, written - client.bytes_out)
            client.write(bytes(64 * KIB))
            written += 64 * KIB
            await turns(1)
        assert most <= limit + 64 * KIB
        await closed(client)
        assert isinstance(client.reason, WriteBufferFull)
        client.write(b"dropped")
        assert await answers(neighbour)


@check
async def one_write_of_any_size_passes_write_limit(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, _Hashing, write_limit=0) as (client, server):
        client.write(bytes(12 * MIB))
        await until(lambda: server.count == 12 * MIB)
        client.write(b"x")
        await until(lambda: server.count == 12 * MIB + 1)


@check
async def close_right_after_a_large_write_delivers_it(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, _Hashing) as (client, server):
        client.write(bytes(12 * MIB))
        client.close()
        await closed(client, server)
        assert server.count == 12 * MIB
        assert client.reason.is_clean
        assert server.reason.is_clean


@check
async def close_delivers_even_while_the_peer_is_still_sending(open_pair: OpenPair) -> None:
    class Answering(Recorder):
        def on_read(self, message: Any) -> None:
            self.write(bytes(12 * MIB))
            self.close()

    async with open_pair(_Hashing, Answering) as (client, server):
        for _ in range(2000):
            if client.of("eof"):
                break
            if not client.is_closed:
                client.write(bytes(16 * KIB))
            await asyncio.sleep(0)
        await closed(client, server)
        assert client.count == 12 * MIB
        assert isinstance(server.reason, ClosedLocally)


@check
async def what_is_not_awaited_fails_silently(open_pair: OpenPair) -> None:
    async with open_pair(Recorder, Recorder) as (client, server):
        server.abort()
        sent = client.send(b"x")
        await closed(client)
        client.send(b"y")
        for awaitable in (sent, client.drain()):
            exc = await raised(ConnectionClosed, awaitable)
            assert exc.connection is client
            assert exc is not client.reason
