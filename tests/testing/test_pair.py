"""pair: two connections, and the link between them in the test's hands."""

import asyncio

import pytest

import trews
from trews import Connection
from trews.framing import Line
from trews.testing import pair, run


class Noting(Connection):
    def __init__(self):
        self.reads = []
        self.calls = []

    def on_connect(self):
        self.calls.append("connect")

    def on_read(self, message):
        self.reads.append(message)

    def on_close(self, reason):
        self.calls.append(type(reason).__name__)


async def turns():
    for _ in range(20):
        await asyncio.sleep(0)


def test_both_are_connected_and_unpack():
    async def main():
        async with pair(Noting, Noting) as link:
            one, other = link
            assert (one, other) == (link.a, link.b)
            assert one.calls == other.calls == ["connect"]
            assert one.remote_address == other.local_address
            one.write(b"ping")
            other.write(b"pong")
            await turns()
            assert (one.reads, other.reads) == ([b"pong"], [b"ping"])
        assert one.calls[1:] == ["ClosedLocally"]
        assert other.is_closed

    run(main())


def test_settings_are_for_both_and_functions_are_handlers():
    async def upper(conn):
        async for line in conn:
            await conn.send(line.upper())

    async def main():
        async with pair(Connection, upper, framer=Line(encoding="utf-8")) as (one, _):
            await one.send("hi")
            assert await one.read() == "HI"

    run(main())


def test_the_first_is_on_the_server_if_there_is_one():
    class Room(trews.Server):
        def on_error(self, connection, exc):
            self.told = connection, exc

    class Guest(Connection):
        def on_read(self, message):
            raise ZeroDivisionError

    async def main():
        room = Room(Guest, framer=Line(), max_message=5)
        async with pair(Guest, server=room) as (one, other):
            assert (one.server, other.server) == (room, None)
            assert list(room.connections) == [one]
            assert (one.max_message, other.max_message) == (5, Connection.max_message)
            room.broadcast(b"news")
            assert await other.read() == b"news\r\n"
            other.write(b"x\n")
            await one.wait_closed()
            assert room.told[0] is one
            assert isinstance(room.told[1], ZeroDivisionError)
        async with pair(Guest, server=room) as (one, other):
            other.write(b"abcdef")
            await one.wait_closed()
            assert isinstance(one.reason, trews.MessageTooLong)
        assert len(room.connections) == 0
        with pytest.raises(TypeError, match=r"server= takes a trews.Server, made with its handler, not "):
            async with pair(Guest, server=Room):
                pass

    run(main())


def test_chunks_are_the_most_that_arrives_at_once():
    async def main():
        async with pair(Noting, Noting, chunk=2) as link:
            assert link.chunk == 2
            link.a.write(b"abcde")
            await turns()
            assert link.b.reads == [b"ab", b"cd", b"e"]
            link.chunk = None
            link.b.write(b"abcde")
            await turns()
            assert link.a.reads == [b"abcde"]

    run(main())


def test_a_clogged_link_lets_nothing_through():
    async def main():
        async with pair(Noting, Noting, capacity=100) as link:
            link.clog()
            link.a.write(bytes(5000))
            link.b.write(b"x")
            await turns()
            assert link.a.reads == link.b.reads == []
            assert link.a.bytes_out == 100
            link.unclog()
            await turns()
            assert b"".join(link.b.reads) == bytes(link.b.bytes_in)
            assert link.a.reads == [b"x"]

    run(main())


def test_a_clogged_link_meets_deadlines():
    async def main():
        async with pair(Noting, Noting, write_timeout=60, capacity=100) as link:
            link.clog()
            link.a.write(bytes(5000))
            before = asyncio.get_running_loop().time()
            await link.a.wait_closed()
            assert isinstance(link.a.reason, trews.WriteStalled)
            assert 60 <= asyncio.get_running_loop().time() - before < 62

    run(main())


def test_a_cut_link_resets_both():
    async def main():
        async with pair(Noting, Noting) as link:
            link.a.write(b"under way")
            link.cut()
            await turns()
            assert link.a.calls == link.b.calls == ["connect", "ConnectionReset"]
            assert link.b.reads == []

    run(main())


def test_the_end_of_the_block_closes_even_what_is_clogged():
    async def main():
        async with pair(Noting, Noting, capacity=100) as link:
            link.a.write(bytes(5000))
            link.clog()
        assert link.a.is_closed
        assert link.b.is_closed
        assert link.a.calls[1:] == ["ClosedLocally"]

    run(main())


def test_it_works_on_asyncios_loop():
    async def main():
        async with pair(Noting, Noting) as (one, other):
            one.close()
            await other.wait_closed()
            assert other.calls == ["connect", "ClosedByPeer"]

    asyncio.run(main())
