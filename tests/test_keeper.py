"""How a client keeps its connection, against a server in memory that comes and goes."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest

import trews
from tests.clients import LOOPS, Log, now, serve, silence
from tests.servers import NAME, Echo, virtually
from trews import Client, Server

# -- coming and going


@virtually
async def test_it_connects_and_is_the_connection_that_it_gives():
    async with serve(), Log(NAME, framer=4) as client:
        conn = await client.connected()
        assert client.connection is conn
        assert await client.connected() is conn
        client.send(b"ping")
        assert await conn.read() == b"ping"
        assert client.notes == ["up"]
    assert client.notes == ["up", "down ClosedLocally"]
    assert client.connection is None


@virtually
async def test_start_does_not_wait_for_the_server():
    begin = now()
    async with Log(NAME) as client:
        assert now() == begin
        assert client.connection is None
        await asyncio.sleep(100)
        async with serve():
            await client.connected()
            assert client.notes == ["up"]
            await client.stop()


@virtually
async def test_when_the_server_is_back_it_connects_again():
    async with Log(NAME, Echo) as client:
        for round in range(1, 4):
            async with serve():
                conn = await client.connected()
                assert type(conn) is Echo
            assert conn.is_closed
            assert client.connection is None
            await silence()
            assert client.notes == ["up", "down ClosedByPeer"] * round


@virtually
async def test_a_reset_is_a_reason_too():
    async with serve() as server, Log(NAME) as client:
        first = await client.connected()
        for conn in server.connections:
            conn.abort()
        await silence(1)
        assert client.notes == ["up", "down ConnectionReset", "up"]
        assert await client.connected() is not first


@virtually
async def test_one_that_is_closed_by_hand_is_followed_by_another():
    async with serve(), Log(NAME) as client:
        first = await client.connected()
        first.close()
        assert client.connection is None
        assert await client.connected() is not first
        assert client.notes == ["up", "down ClosedLocally", "up"]


@virtually
async def test_a_function_is_a_handler_too_and_its_return_is_followed_by_another_call():
    calls = []

    async def ask(conn):
        calls.append(conn)
        await conn.send(b"hello")
        assert await conn.read() == b"hello"

    async with serve(), Log(NAME, ask) as client:
        while len(calls) < 3:
            await asyncio.sleep(0.1)
        assert client.notes[:4] == ["up", "down ClosedLocally"] * 2
    assert len({conn.id for conn in calls}) == len(calls)


@virtually
async def test_settings_are_of_every_connection():
    async with Client(NAME, framer=3, max_message=10) as client:
        for _ in range(2):
            async with serve():
                conn = await client.connected()
                assert (conn.framer, conn.max_message, conn.server) == (3, 10, None)


@virtually
async def test_many_tasks_wait_for_one_connection():
    async with Client(NAME) as client:
        waiting = [asyncio.create_task(client.connected()) for _ in range(5)]
        await asyncio.sleep(1)
        waiting[0].cancel()
        async with serve():
            found = await asyncio.gather(*waiting[1:])
            assert set(found) == {client.connection}
            await client.stop()


@virtually
async def test_connected_with_a_timeout_leaves_nothing_behind():
    async with Client(NAME) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await client.connected()
        assert client._waiters == []


@pytest.mark.parametrize("factory", LOOPS.values(), ids=LOOPS)
def test_it_works_on_every_loop(factory):
    async def main():
        server = Server(Echo).listen("tcp:127.0.0.1:0")
        endpoint = server.endpoints[0]
        await server.start()
        async with Log(endpoint, framer=4) as client:
            for _ in range(2):
                conn = await client.connected()
                client.send(b"ping")
                assert await conn.read() == b"ping"
                for accepted in server.connections:
                    accepted.abort()
                await conn.wait_closed()
            await client.connected()
        await server.stop()
        assert client.notes == ["up", "down ConnectionReset"] * 2 + ["up", "down ClosedLocally"]

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


# -- waits between attempts


def accepted(server):
    """The times at which connections came, to be filled."""
    times = []
    server.on_accept = lambda connection: times.append(now())
    return times


def gaps(times):
    return [b - a for a, b in itertools.pairwise(times)]


@virtually
async def test_a_server_that_accepts_and_closes_at_once_is_not_hammered():
    class Rude(trews.Connection):
        def on_connect(self):
            self.close()

    server = serve(Rude)
    times = accepted(server)
    async with server, Log(NAME) as client:
        await silence(600)
        longest = [min(0.5 * 2**i, 60) for i in range(len(times) - 1)]
        assert len(times) < 25
        for gap, most in zip(gaps(times), longest, strict=True):
            assert most / 2 <= gap <= most + 0.1
        assert client.notes == ["up", "down ClosedByPeer"] * len(times)


@virtually
async def test_one_that_rejects_is_not_hammered_either():
    async with serve() as server, Client(NAME):
        server.on_accept = lambda connection: False
        await silence(600)
        assert 10 < server.stats.refused < 25


@virtually
async def test_after_a_good_connection_the_waits_are_short_again():
    async with Client(NAME) as client:
        await silence()
        for seconds_up, is_short in [(11, True), (11, True), (1, False)]:
            async with serve():
                await client.connected()
                await asyncio.sleep(seconds_up)
            down = now()
            async with serve():
                await client.connected()
                assert (now() - down <= 0.5) is is_short
            await silence()


@virtually
async def test_failed_attempts_are_counted_and_told_once_for_each_reason(caplog):
    caplog.set_level(logging.INFO, "trews")
    async with Log(NAME) as client:
        await silence()
        assert client.failures > 5
        assert client.notes == []
        assert [record.getMessage() for record in caplog.records] == [
            f"cannot connect to {NAME}: no server of this loop listens under that name"
        ]
        async with serve():
            await client.connected()
            assert client.failures == 0
        await silence()
        assert client.failures >= 4
    assert [record.getMessage() for record in caplog.records][1:] == [
        f"connected to {NAME}",
        f"the connection to {NAME} has ended: the peer closed the connection",
        f"cannot connect to {NAME}: no server of this loop listens under that name",
    ]


# -- callbacks


@virtually
async def test_on_up_that_raises_is_logged_ends_that_connection_and_the_next_is_tried(caplog):
    class Failing(Log):
        def on_up(self, connection):
            super().on_up(connection)
            if len(self.notes) == 1:
                raise KeyError("login")

    async with serve(), Failing(NAME) as client:
        conn = await client.connected()
        assert client.notes == ["up", "down Aborted", "up"]
        assert conn.is_open
    assert "on_up failed" in caplog.text
    assert "KeyError: 'login'" in caplog.text


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@virtually
async def test_on_down_that_raises_is_logged_and_the_next_is_tried(caplog, is_async):
    def fail(reason):
        raise KeyError("bye")

    async def fail_later(reason):
        await asyncio.sleep(1)
        raise KeyError("bye")

    client = Client(NAME)
    client.on_down = fail_later if is_async else fail
    async with serve(), client:
        for _ in range(3):
            (await client.connected()).abort()
        await client.connected()
    assert caplog.text.count("on_down failed") == 4


@virtually
async def test_the_reason_of_a_failed_on_up_has_it_as_its_cause():
    reasons = []
    client = Client(NAME)

    async def fail(connection):
        raise KeyError("login")

    client.on_up = fail
    client.on_down = reasons.append
    async with serve(), client:
        while not reasons:
            await asyncio.sleep(1)
    assert isinstance(reasons[0].__cause__, KeyError)


@virtually
async def test_the_end_of_its_own_connection_ends_on_up_quietly(caplog):
    class Reading(Log):
        async def on_up(self, connection):
            super().on_up(connection)
            while True:
                self.notes.append(await connection.read())

    async def twice(conn):
        await conn.send(b"a")
        await conn.read()

    async with serve(twice), Reading(NAME) as client:
        await asyncio.sleep(1)
        await client.stop()
    assert client.notes == ["up", b"a", "down ClosedLocally"]
    assert "failed" not in caplog.text


@virtually
async def test_on_up_and_on_down_never_overlap_and_the_next_attempt_waits():
    class Slow(Log):
        async def on_up(self, connection):
            self.notes.append("up")
            await asyncio.sleep(3)
            self.notes.append("up done")

        async def on_down(self, reason):
            self.notes.append("down")
            await asyncio.sleep(5)
            self.notes.append("down done")

    async with serve() as server, Slow(NAME) as client:
        await asyncio.sleep(1)
        for conn in server.connections:
            conn.abort()
        await asyncio.sleep(9)
        assert client.notes == ["up", "up done", "down", "down done", "up"]


@virtually
async def test_on_up_that_hangs_has_close_timeout_after_the_end_of_its_connection():
    class Hanging(Log):
        async def on_up(self, connection):
            self.notes.append("up")
            await asyncio.Event().wait()

    async with serve() as server, Hanging(NAME, close_timeout=5) as client:
        await asyncio.sleep(100)
        assert client.notes == ["up"]
        for conn in server.connections:
            conn.abort()
        await asyncio.sleep(4.9)
        assert client.notes == ["up"]
        await asyncio.sleep(1)
        assert client.notes == ["up", "down ConnectionReset", "up"]
        await client.stop(0)


@virtually
async def test_on_up_that_is_cancelled_ends_the_connection():
    class Cancelled(Log):
        async def on_up(self, connection):
            super().on_up(connection)
            if len(self.notes) == 1:
                asyncio.current_task().cancel()
                await asyncio.sleep(1)

    async with serve(), Cancelled(NAME) as client:
        await client.connected()
        assert client.notes == ["up", "down Aborted", "up"]


@virtually
async def test_connected_in_on_down_would_wait_for_itself(caplog):
    class Waiting(Log):
        async def on_down(self, reason):
            await self.connected()

    async with serve(), Waiting(NAME) as client:
        (await client.connected()).abort()
        await client.connected()
    assert "connected() in them would never return" in caplog.text


@virtually
async def test_a_connection_that_ends_in_on_connect_was_never_up(caplog):
    class Failing(trews.Connection):
        def on_connect(self):
            raise KeyError("no")

    async with serve(), Log(NAME, Failing) as client:
        await asyncio.sleep(5)
        assert client.failures > 2
        assert client.notes == []
    assert "Failing #" in caplog.text


@virtually
async def test_a_class_that_cannot_be_made_is_logged_and_tried_again(caplog):
    class Failing(trews.Connection):
        is_broken = True

        def __init__(self):
            if Failing.is_broken:
                raise KeyError("no")

    async with serve(), Log(NAME, Failing) as client:
        await asyncio.sleep(5)
        Failing.is_broken = False
        await client.connected()
    assert caplog.text.count("Failing() failed: KeyError('no')") == 1
