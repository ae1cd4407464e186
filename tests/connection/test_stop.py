"""What a connection learns when its server drains."""

from __future__ import annotations

import asyncio

import pytest

import trews
from tests.connection.recorder import Recorder
from trews.testing import run


class Lines(Recorder):
    framer = b"\n"


class TestStop:
    """`on_stop()`: the server is draining; the default closes."""

    @staticmethod
    def stop(handler, steps, **settings):
        """Serve one client, run `steps(client, server_side)`, stop; what the client got and how it went."""

        async def main():
            server = trews.Server(handler, **settings).listen("memory:stop")
            async with server:
                async with trews.connect("memory:stop") as client:
                    await client.send(b"hello\n")
                    await asyncio.sleep(1)
                    (conn,) = server.connections
                    stopping = server.stop(grace=10)
                    await steps(client, conn)
                    got = await client.read_all()
                    return got, conn, await stopping

        return run(main())

    @staticmethod
    async def nothing(client, conn):
        pass

    def test_the_default_closes(self):
        _, conn, drained = self.stop(Lines, self.nothing)
        assert drained == (1, 0)
        assert type(conn.closes[0]) is trews.ClosedLocally

    def test_the_default_lets_an_async_callback_finish_and_hands_out_what_has_arrived(self):
        class Slow(Lines):
            async def on_read(self, message):
                await asyncio.sleep(3)
                await self.send(message.upper())

        class Client(trews.Connection):
            async def on_connect(self):
                await self.send(b"hello\nthere\nhalf")

        async def main():
            async with trews.Server(Slow).listen("memory:stop") as server:
                async with trews.connect("memory:stop", Client) as client:
                    await asyncio.sleep(1)
                    stopping = server.stop(grace=10)
                    await asyncio.sleep(1)
                    await client.send(b" too late\n")
                    return await client.read_all(), await stopping

        assert run(main()) == (b"HELLO\nTHERE\n", (1, 0))

    def test_the_default_waits_for_on_connect_too(self):
        class Slow(Lines):
            async def on_connect(self):
                await asyncio.sleep(3)
                await self.send(b"welcome")

        got, _, drained = self.stop(Slow, self.nothing)
        assert got == b"welcome\n"
        assert drained == (1, 0)

    def test_the_default_closes_a_paused_connection(self):
        class Pausing(Lines):
            def on_connect(self):
                self.pause_reading()

        got, conn, drained = self.stop(Pausing, self.nothing)
        assert (got, conn.messages, drained) == (b"", [], (1, 0))

    def test_who_still_runs_at_the_end_of_the_grace_is_aborted(self):
        class Busy(Lines):
            async def on_read(self, message):
                await asyncio.sleep(1e6)

        async def wait(client, conn):
            await conn.wait_closed()

        with pytest.raises(trews.ConnectionReset):
            self.stop(Busy, wait)

    def test_it_may_be_overridden_to_say_goodbye(self):
        class Polite(Lines):
            def on_stop(self):
                self.send(b"bye")
                super().on_stop()

        got, _, drained = self.stop(Polite, self.nothing)
        assert got == b"bye\n"
        assert drained == (1, 0)

    def test_it_may_be_async_within_the_grace(self):
        class Slow(Lines):
            async def on_stop(self):
                await asyncio.sleep(9)
                self.send(b"bye")
                self.close()

        got, _, drained = self.stop(Slow, self.nothing)
        assert got == b"bye\n"
        assert drained == (1, 0)

    def test_who_does_not_close_is_aborted_after_the_grace(self):
        class Stubborn(Lines):
            def on_stop(self):
                pass

        async def wait(client, conn):
            await conn.wait_closed()

        with pytest.raises(trews.ConnectionReset):
            self.stop(Stubborn, wait)

    def test_it_comes_even_while_an_async_callback_runs(self):
        class Busy(Lines):
            async def on_read(self, message):
                await asyncio.sleep(1e6)

            def on_stop(self):
                self.events.append(("stop",))
                self.abort()

        async def check(client, conn):
            await conn.wait_closed()
            assert conn.names == ["connect", "stop", "close"]

        with pytest.raises(trews.ConnectionReset):
            self.stop(Busy, check)

    def test_a_handlers_next_read_at_a_boundary_ends_as_at_eof(self):
        async def handler(conn):
            async for line in conn:
                await asyncio.sleep(3)
                await conn.send(line.upper())
            await conn.send(b"bye")

        async def another(client, conn):
            await client.send(b"not read any more\n")

        got, _, drained = self.stop(handler, self.nothing, framer=b"\n")
        assert got == b"HELLO\nbye\n"
        assert drained == (1, 0)

    def test_a_handler_that_waits_in_read_is_told_at_once(self):
        async def handler(conn):
            await conn.read()
            try:
                await conn.read()
            except trews.ClosedByPeer:
                await conn.send(b"bye")

        assert self.stop(handler, self.nothing, framer=b"\n")[0] == b"bye\n"

    def test_part_of_a_message_may_be_completed(self):
        async def handler(conn):
            async for line in conn:
                await conn.send(line.upper())

        async def complete(client, conn):
            await asyncio.sleep(2)
            await client.send(b"lo\n")

        async def main():
            server = trews.Server(handler, framer=b"\n").listen("memory:part")
            async with server:
                async with trews.connect("memory:part") as client:
                    await client.send(b"hel")
                    await asyncio.sleep(1)
                    stopping = server.stop()
                    await complete(client, None)
                    got = await client.read_all()
                    return got, await stopping

        assert run(main()) == (b"HELLO\n", (1, 0))
