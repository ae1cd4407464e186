"""`connect`: the same class as a client, awaited or as `async with`, as often as one likes."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

import trews
from tests.servers import NAME, Echo, virtually
from trews import ConnectError, Server
from trews.framing import Line
from trews.testing import no_leaks


@virtually
async def test_awaited_it_is_the_connection_and_on_connect_has_been_called():
    class Client(trews.Connection):
        is_told = False

        def on_connect(self):
            self.is_told = True

    async with Server(Echo).listen(NAME):
        conn = await trews.connect(NAME, Client)
        assert isinstance(conn, Client)
        assert conn.is_told
        assert conn.server is None
        conn.write(b"x")
        conn.close()
        await conn.wait_closed()


@virtually
async def test_async_with_closes_and_waits():
    async with Server(Echo).listen(NAME) as server:
        async with trews.connect(NAME) as conn:
            conn.write(b"hello")
            assert await conn.read() == b"hello"
        assert conn.is_closed
        assert isinstance(conn.reason, trews.ClosedLocally)
        assert server.stats.bytes_in == 5


@virtually
async def test_async_with_sends_what_waits_before_it_closes():
    got = []

    class Sink(trews.Connection):
        def on_read(self, data):
            got.append(len(data))

    async with Server(Sink).listen(NAME):
        async with trews.connect(NAME) as conn:
            conn.write(bytes(1_000_000))
    assert sum(got) == 1_000_000


@virtually
async def test_an_error_in_the_block_comes_out_and_the_connection_is_closed():
    async with Server(Echo).listen(NAME):
        with pytest.raises(ZeroDivisionError):
            async with trews.connect(NAME) as conn:
                raise ZeroDivisionError
        assert conn.is_closed


@virtually
async def test_a_cancelled_block_aborts_and_does_not_wait_for_a_peer_that_does_not_read():
    class Deaf(trews.Connection):
        def on_connect(self):
            self.pause_reading()

    async def client():
        async with trews.connect(NAME) as conn:
            conn.write(bytes(10_000_000))
            await asyncio.sleep(3600)

    loop = asyncio.get_running_loop()
    async with Server(Deaf).listen(NAME) as server:
        begin = loop.time()
        task = asyncio.create_task(client())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert loop.time() == begin + 1
        await server.stop(0)


@virtually
async def test_one_object_connects_as_often_as_it_is_awaited():
    async with Server(Echo).listen(NAME) as server:
        target = trews.connect(NAME)

        async def once():
            return await target

        connections = [await target for _ in range(3)] + list(await asyncio.gather(once(), once()))
        assert len({conn.id for conn in connections}) == 5
        for number, conn in enumerate(connections):
            conn.write(bytes([number]))
        assert [await conn.read() for conn in connections] == [bytes([number]) for number in range(5)]
        assert server.stats.accepted == 5
        for conn in connections:
            conn.close()
            await conn.wait_closed()


@virtually
async def test_one_object_serves_nested_blocks_and_each_closes_its_own():
    async with Server(Echo).listen(NAME):
        target = trews.connect(NAME)
        async with target as one:
            async with target as other:
                assert one is not other
            assert other.is_closed
            assert not one.is_closed
        assert one.is_closed


@virtually
async def test_a_function_is_a_client_too_and_its_return_closes():
    got = []

    async def ask(conn):
        await conn.send("how are you")
        got.append(await conn.read())

    async with Server(Echo).listen(NAME):
        conn = await trews.connect(NAME, ask, framer=Line(encoding="utf-8"))
        await conn.wait_closed()
    assert got == ["how are you"]
    assert isinstance(conn.reason, trews.ClosedLocally)


@virtually
async def test_settings_are_of_this_end_only():
    async with Server(Echo).listen(NAME):
        async with trews.connect(NAME, framer=3, max_message=10) as conn:
            assert (conn.framer, conn.max_message) == (3, 10)
            conn.write(b"abcdef")
            assert [await conn.read(), await conn.read()] == [b"abc", b"def"]
    assert trews.Connection.framer is None


AT_ONCE = [
    ("a bad endpoint", lambda: trews.connect("tcp:host:99999"), trews.EndpointError, "99999"),
    ("a slip", lambda: trews.connect(NAME, framr=1), TypeError, "did you mean 'framer'"),
    ("a bad handler", lambda: trews.connect(NAME, 3.5), TypeError, "Connection subclass"),  # type: ignore[call-overload]  # that is what is shown
    ("a bad value", lambda: trews.connect(NAME, max_message=-1), ValueError, "max_message"),
]


@pytest.mark.parametrize(("call", "error", "sentence"), [row[1:] for row in AT_ONCE], ids=[row[0] for row in AT_ONCE])
def test_what_is_written_wrongly_is_refused_where_it_is_written(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


@pytest.mark.parametrize(
    ("args", "settings"),
    [
        (("localhost", 4040), {}),
        ((Echo, "localhost:4040"), {}),
        ((Echo,), {}),
        (("localhost",), {"port": 4040}),
    ],
)
def test_a_call_that_is_mixed_up_is_shown_the_right_one(args, settings):
    with pytest.raises(TypeError, match=r'trews\.connect\("localhost:4040", Echo\)'):
        trews.connect(*args, **settings)


AWAIT_IT = r"await it: conn = await trews\.connect\(\.\.\.\)"


def test_what_is_not_awaited_says_so():
    connecting: Any = trews.connect(NAME)
    with pytest.raises(TypeError, match=AWAIT_IT):
        with connecting:
            pass
    with pytest.raises(AttributeError, match=f"'send'; {AWAIT_IT}"):
        connecting.send(b"hello")
    assert not hasattr(connecting, "read")
    with pytest.raises(TypeError, match=AWAIT_IT):
        aiter(connecting)


def test_the_time_for_connecting_is_in_the_endpoint():
    with pytest.raises(TypeError, match=r"localhost:4040\?timeout=3"):
        trews.connect(NAME, timeout=3)


@virtually
async def test_on_connect_that_raises_aborts_and_is_logged_as_on_any_connection(caplog):
    class Client(trews.Connection):
        def on_connect(self):
            raise KeyError("no")

    async with Server(Echo).listen(NAME) as server:
        conn = await trews.connect(NAME, Client)
        await conn.wait_closed()
        assert isinstance(conn.reason, trews.Aborted)
        assert isinstance(conn.reason.__cause__, KeyError)
        while len(server.connections):
            await asyncio.sleep(0)
    assert "Client #" in caplog.text


@virtually
async def test_a_server_that_talks_first_loses_nothing():
    class Greeter(trews.Connection):
        def on_connect(self):
            self.write(b"welcome")
            self.close()

    async with Server(Greeter).listen(NAME), trews.connect(NAME) as conn:
        assert await conn.read_all() == b"welcome"


@pytest.mark.parametrize("factory", [trews.EventLoop, asyncio.new_event_loop], ids=["trews", "asyncio"])
def test_tcp_addresses_are_known_at_both_ends(factory):
    async def main():
        async with Server(Echo).listen("tcp:127.0.0.1:0") as server:
            async with trews.connect(("127.0.0.1", server.port)) as conn:
                conn.write(b"x")
                await conn.read()
                (accepted,) = server.connections
                assert conn.remote_address == accepted.local_address == ("127.0.0.1", server.port)
                assert conn.local_address == accepted.remote_address

    with no_leaks(), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@pytest.mark.parametrize("factory", [trews.EventLoop, asyncio.new_event_loop], ids=["trews", "asyncio"])
@pytest.mark.parametrize("turns", range(8))
def test_cancelled_at_any_moment_connecting_leaks_nothing(factory, turns):
    async def main():
        async with Server(Echo).listen("tcp:127.0.0.1:0") as server:

            async def client():
                conn = await trews.connect(server.endpoints[0])
                conn.abort()
                await conn.wait_closed()

            task = asyncio.create_task(client())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() is None
            await server.stop(5)

    with no_leaks(), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_a_connection_that_is_refused_is_also_the_builtin_error():
    async def main():
        server = Server(Echo).listen("tcp:127.0.0.1:0")
        await server.stop()
        with pytest.raises(ConnectError, match=r"refused \(is a server listening there\?\)") as caught:
            await trews.connect(("127.0.0.1", server.port))
        assert isinstance(caught.value, ConnectionError)
        with pytest.raises(ConnectError):
            async with trews.connect(("127.0.0.1", server.port)):
                pass

    with no_leaks():
        trews.run(main())


@pytest.mark.parametrize("loop_factory", [asyncio.SelectorEventLoop, trews.new_event_loop])
def test_a_block_leaves_nothing_open_though_the_peer_says_nothing(loop_factory, monkeypatch):
    """The peer does not close, so the socket lingers when the block ends; then the loop is closed."""

    monkeypatch.setattr(trews.transport.linger, "SILENCE", 0.1)

    async def main(port):
        async with trews.connect(("127.0.0.1", port)) as conn:
            conn.write(b"x")

    with socket.create_server(("127.0.0.1", 0)) as silent:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main(silent.getsockname()[1]))


@virtually
async def test_connecting_in_memory_lets_the_server_accept():
    async with Server(Echo).listen(f"{NAME}?backlog=2"):
        connections = [await trews.connect(NAME) for _ in range(10)]
        for connection in connections:
            await connection.send(b"x")
            assert await connection.read() == b"x"
            connection.close()


@pytest.mark.parametrize("factory", [trews.EventLoop, asyncio.new_event_loop], ids=["trews", "asyncio"])
def test_cancelled_in_the_turn_in_which_it_is_made_the_connection_is_aborted(factory):
    made = []

    class Client(trews.Connection):
        def on_connect(self):
            made.append(self)
            asyncio.get_running_loop().call_soon(tasks[0].cancel)

    tasks = []

    async def connect(endpoint):
        return await trews.connect(endpoint, Client)

    async def main():
        async with Server(Echo).listen("tcp:127.0.0.1:0") as server:
            tasks.append(asyncio.create_task(connect(server.endpoints[0])))
            await asyncio.wait(tasks)
            if tasks[0].cancelled():
                assert isinstance(made[0].reason, trews.Aborted)
            else:
                made[0].abort()
            await made[0].wait_closed()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@virtually
async def test_a_connect_in_memory_that_is_cancelled_leaves_nothing_with_the_server():
    async with Server(Echo).listen(NAME) as server:
        task = asyncio.create_task(trews.connect(NAME)._connect())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(1)
        assert len(server.connections) == 0
