"""The end of a `Client`: by `stop` at any moment, in any callback, or with its loop."""

from __future__ import annotations

import asyncio

import pytest

import trews
from tests.clients import LINES, LOOPS, Board, Lines, Log, now, serve, silence
from tests.servers import NAME, Echo, really, until, virtually
from trews import Client, ConnectionClosed, Server


@virtually
async def test_stop_sends_what_waits_and_ends_in_an_orderly_way():
    got = []

    class Sink(trews.Connection):
        def on_read(self, data):
            got.append(len(data))

        def on_close(self, reason):
            got.append(type(reason))

    async with serve(Sink):
        async with Client(NAME) as client:
            await client.connected()
            client.send(bytes(1_000_000))
        while trews.ClosedByPeer not in got:
            await asyncio.sleep(0)
    assert sum(got[:-1]) == 1_000_000


@virtually
async def test_stop_tells_the_connection_which_may_say_goodbye():
    class Polite(Lines):
        def on_stop(self):
            self.send("goodbye")
            self.close()

    server = Board()
    async with serve(server):
        async with Client(NAME, Polite) as client:
            await client.connected()
        assert server.got == ["goodbye"]


@virtually
async def test_stop_ends_the_reading_of_a_handler_as_the_peers_end_does():
    ends = []

    async def talk(conn):
        async for _ in conn:
            pass
        await conn.send("goodbye")
        ends.append("in order")

    server = Board()
    async with serve(server):
        async with Client(NAME, talk, framer=LINES) as client:
            await client.connected()
        assert ends == ["in order"]
        assert server.got == ["goodbye"]


@virtually
async def test_a_connection_that_does_not_end_is_aborted_after_the_grace():
    async def hang(conn):
        await asyncio.Event().wait()

    async with serve():
        client = await Log(NAME, hang).start()
        await client.connected()
        begin = now()
        await client.stop(3)
        assert now() == begin + 3
        assert client.notes == ["up", "down Aborted"]


@virtually
async def test_a_second_stop_shortens_the_grace():
    async def hang(conn):
        await asyncio.Event().wait()

    async with serve():
        client = await Client(NAME, hang).start()
        await client.connected()
        begin = now()
        first = client.stop(1000)
        await client.stop(1)
        assert now() == begin + 1
        await first
        await client.stop()


@virtually
async def test_what_ignores_its_cancellation_is_left_behind(caplog):
    release = asyncio.Event()

    async def stubborn(connection):
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass

    async with serve():
        client = Client(NAME)
        client.on_up = stubborn
        await client.start()
        await asyncio.sleep(1)
        begin = now()
        await client.stop(1)
        assert now() == begin + 2
        release.set()
        await asyncio.sleep(0)
    assert "goes on after the end of the grace" in caplog.text


@virtually
async def test_stop_while_it_waits_for_the_next_attempt():
    client = await Log(NAME).start()
    await silence()
    waiting = asyncio.create_task(client.connected())
    await asyncio.sleep(0)
    begin = now()
    await client.stop()
    assert now() == begin
    with pytest.raises(
        ConnectionClosed, match="nothing is connected any more: <Log stopping down memory:here> is stopped"
    ):
        await waiting
    with pytest.raises(ConnectionClosed, match="is stopped"):
        await client.connected()


@pytest.mark.parametrize("turns", range(1, 12))
@virtually
async def test_stop_at_any_moment_of_an_attempt(turns):
    async with serve() as server:
        client = await Log(NAME).start()
        for _ in range(turns):
            await asyncio.sleep(0)
        await client.stop()
        assert client.notes in ([], ["up", "down ClosedLocally"])
        await asyncio.sleep(5)
        assert len(server.connections) == 0


@pytest.mark.parametrize("factory", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("turns", range(0, 16, 3))
def test_stop_at_any_moment_of_an_attempt_on_every_loop(factory, turns):
    async def main():
        async with Server(Echo).listen("tcp:127.0.0.1:0") as server:
            client = await Log(server.endpoints[0]).start()
            for _ in range(turns):
                await asyncio.sleep(0)
            await client.stop()
            assert client.notes in ([], ["up", "down ClosedLocally"])

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@pytest.mark.parametrize(("grace", "error"), [("3", TypeError), (-1, ValueError), (float("nan"), ValueError)])
@virtually
async def test_what_is_no_grace_is_refused(grace, error):
    async with Client(NAME) as client:
        with pytest.raises(error, match="grace is a number of seconds"):
            client.stop(grace)


@virtually
async def test_stop_before_start():
    client = Client(NAME)
    await client.stop()
    with pytest.raises(trews.Error, match="was started before"):
        await client.start()
    with pytest.raises(ConnectionClosed):
        await client.connected()


@pytest.mark.parametrize("name", ["on_up", "on_down"])
@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@virtually
async def test_stop_in_a_callback(name, is_async):
    def stop(_):
        client.stop()

    async def stop_and_wait(_):
        await client.stop()

    async with serve() as server:
        client = Log(NAME)
        setattr(client, name, stop_and_wait if is_async else stop)
        await client.start()
        await asyncio.sleep(1)
        for conn in server.connections:
            conn.abort()
        begin = now()
        await asyncio.sleep(2)
        await client.stop()
        assert now() == begin + 2
        assert server.stats.accepted == 1


@virtually
async def test_stop_in_a_handler_lets_it_finish():
    async def once(conn):
        await conn.send("hello")
        await client.stop()
        await asyncio.sleep(1)
        await conn.send("goodbye")

    server = Board()
    async with serve(server):
        client = await Log(NAME, once, framer=LINES).start()
        await asyncio.sleep(0.5)
        begin = now()
        await client.stop()
        assert now() < begin + 1
        assert client.notes in (["up", "down ClosedLocally"], [])
        await asyncio.sleep(0)
        assert server.got == ["hello", "goodbye"]


@virtually
async def test_a_block_that_raises_stops_it():
    async with serve() as server:
        with pytest.raises(ZeroDivisionError):
            async with Log(NAME) as client:
                await client.connected()
                raise ZeroDivisionError
        assert client.notes == ["up", "down ClosedLocally"]
        await asyncio.sleep(0)
        assert len(server.connections) == 0


@really
async def test_cancelling_start_stops_it():
    async with Server(Echo).listen("tcp:127.0.0.1:0") as server:
        client = Log(server.endpoints[0])
        task = asyncio.create_task(client.start())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.stop()
        assert client.connection is None
        await until(lambda: not len(server.connections))


@pytest.mark.leaks_ok("the client is left to the end of the loop on purpose")
@pytest.mark.parametrize("is_served", [False, True])
def test_the_end_of_the_loop_ends_it(is_served):
    async def main():
        if is_served:
            await serve().start()
            client = await Log(NAME).start()
            await client.connected()
        else:
            client = await Log(NAME).start()
            await asyncio.sleep(1)
        return client

    client = trews.testing.run(main())
    assert client.notes == (["up", "down Aborted"] if is_served else [])
    assert repr(client) == "<Log stopped down memory:here>"


@pytest.mark.leaks_ok("the test itself is left in the middle")
def test_sys_exit_in_a_callback_gets_out_and_nothing_stays_behind():
    def leave(connection):
        raise SystemExit(3)

    async def main():
        async with serve():
            client = Client(NAME)
            client.on_up = leave
            async with client:
                await silence()

    with pytest.raises(SystemExit):
        trews.testing.run(main())


@pytest.mark.parametrize("factory", LOOPS.values(), ids=LOOPS)
def test_stop_in_the_first_step_of_a_handler_sends_what_was_sent(factory):
    server = Board()

    async def main():
        async def once(conn):
            await conn.send("hello")
            client.stop()

        async with server.listen("tcp:127.0.0.1:0"):
            client = await Client(server.endpoints[0], once, framer=LINES).start()
            while not server.got:
                await asyncio.sleep(0)
            await client.stop()
        assert server.got == ["hello"]
        assert server.stats.accepted == 1

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
