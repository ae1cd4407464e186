"""How a server stops: the accept queue, the connections, the grace, and what ignores it."""

from __future__ import annotations

import asyncio
import socket

import pytest

import trews
from tests.servers import NAME, turns, virtually
from trews import Drained, Error, Server
from trews.framing import Line
from trews.testing import no_leaks


class Idle(trews.Connection):
    """Says so when it is told to stop, and closes."""

    def on_stop(self):
        self.write(b"bye")
        self.close()


class Stubborn(trews.Connection):
    def on_stop(self):
        pass


async def clients_of(count: int) -> list[trews.Connection]:
    clients = [await trews.connect(NAME) for _ in range(count)]
    await turns()
    return clients


async def gone(*clients: trews.Connection) -> None:
    for client in clients:
        client.close()
        await client.wait_closed()


# -- in order


@virtually
async def test_every_connection_is_told_once_and_may_say_goodbye():
    server = await Server(Idle).listen(NAME).start()
    clients = await clients_of(3)
    begin = asyncio.get_running_loop().time()
    drained = server.stop()
    for client in clients:
        assert await client.read_all() == b"bye"
        await client.wait_closed()
        assert isinstance(client.reason, trews.ClosedByPeer)
    assert await drained == Drained(3, 0)
    assert asyncio.get_running_loop().time() == begin  # nobody waits for a grace that is not needed
    await gone(*clients)


@virtually
async def test_the_default_on_stop_closes_and_what_waits_is_sent_first():
    class Big(trews.Connection):
        def on_connect(self):
            self.write(bytes(1_000_000))

    server = await Server(Big).listen(NAME).start()
    client = await trews.connect(NAME)
    await turns()
    drained = server.stop()
    assert len(await client.read_all()) == 1_000_000
    assert await drained == Drained(1, 0)
    await gone(client)


@virtually
async def test_an_async_on_stop_may_take_as_long_as_the_grace():
    class Slow(trews.Connection):
        async def on_stop(self):
            await asyncio.sleep(4)
            await self.send(b"done")
            self.close()

    server = await Server(Slow).listen(NAME).start()
    (client,) = await clients_of(1)
    drained = server.stop(grace=5)
    assert await client.read_all() == b"done"
    assert await drained == Drained(1, 0)
    await gone(client)


@virtually
async def test_on_stop_of_the_server_comes_after_the_last_on_close_and_before_stop_returns():
    notes = []

    class Leaving(trews.Connection):
        async def on_close(self, reason):
            await asyncio.sleep(1)
            notes.append("closed")

    class Shop(Server):
        async def on_stop(self):
            notes.append("stopping")
            await asyncio.sleep(1)
            notes.append("stopped")

    server = await Shop(Leaving).listen(NAME).start()
    clients = await clients_of(2)
    await server.stop()
    assert notes == ["closed", "closed", "stopping", "stopped"]
    await gone(*clients)


@virtually
async def test_on_stop_of_the_server_that_raises_is_logged_and_it_has_stopped(caplog):
    class Shop(Server):
        def on_stop(self):
            raise OSError("disk full")

    server = await Shop(Idle).listen(NAME).start()
    assert await server.stop() == Drained(0, 0)
    assert "disk full" in caplog.text


@virtually
async def test_a_handlers_read_at_a_boundary_ends_as_at_eof_and_within_a_message_goes_on():
    got = []

    async def handler(conn):
        async for line in conn:
            got.append(line)
            await conn.send(b"ok " + line)
        await conn.send(b"goodbye")

    server = await Server(handler, framer=Line()).listen(NAME).start()
    idle, busy = await clients_of(2)
    busy.write(b"half a ")
    await turns()
    drained = server.stop(grace=10)
    assert await idle.read_all() == b"goodbye\r\n"
    await asyncio.sleep(3)
    busy.write(b"line\n")
    assert await busy.read_all() == b"ok half a line\r\ngoodbye\r\n"
    assert got == [b"half a line"]
    assert await drained == Drained(2, 0)
    await gone(idle, busy)


@virtually
async def test_a_handler_between_two_reads_finishes_its_work_and_then_sees_the_end():
    async def handler(conn):
        message = await conn.read()
        await asyncio.sleep(5)
        await conn.send(message)
        with pytest.raises(trews.ClosedByPeer):
            await conn.read()
        await conn.send(b" end")

    server = await Server(handler).listen(NAME).start()
    (client,) = await clients_of(1)
    client.write(b"work")
    await turns()
    drained = server.stop(grace=6)
    assert await client.read_all() == b"work end"
    assert await drained == Drained(1, 0)
    await gone(client)


@virtually
async def test_messages_that_have_come_are_read_before_the_end():
    got = []

    async def handler(conn):
        await asyncio.sleep(1)
        async for line in conn:
            got.append(line)

    server = await Server(handler, framer=Line()).listen(NAME).start()
    (client,) = await clients_of(1)
    client.write(b"1\n2\n3\n")
    await turns()
    await server.stop()
    assert got == [b"1", b"2", b"3"]
    await gone(client)


# -- the grace


@virtually
async def test_after_the_grace_the_rest_is_aborted_and_counted():
    reasons = []

    class Deaf(Stubborn):
        def on_close(self, reason):
            reasons.append(reason)

    server = await Server(Deaf).listen(NAME).start()
    clients = await clients_of(3)
    clients[0].close()
    await turns()
    loop = asyncio.get_running_loop()
    begin = loop.time()
    drained = await server.stop(grace=7)
    assert loop.time() == begin + 7
    assert drained == Drained(0, 2)
    assert [type(reason) for reason in reasons] == [trews.ClosedByPeer, trews.Aborted, trews.Aborted]
    assert "grace" in str(reasons[1])
    for client in clients[1:]:
        with pytest.raises(trews.ConnectionReset):
            await client.read()
    await gone(*clients)


@virtually
async def test_some_end_within_the_grace_and_some_do_not():
    server = await Server(Stubborn).listen(NAME).start()
    clients = await clients_of(5)
    drained = server.stop(grace=10)
    await asyncio.sleep(5)
    clients[0].close()
    clients[1].close()
    assert await drained == Drained(2, 3)
    await gone(*clients)


@virtually
async def test_a_running_handler_is_cancelled_at_the_end_of_the_grace_and_may_clean_up():
    notes = []

    async def handler(conn):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            notes.append("cancelled")
            raise
        finally:
            notes.append("cleaned")

    server = await Server(handler).listen(NAME).start()
    (client,) = await clients_of(1)
    assert await server.stop(grace=2) == Drained(0, 1)
    assert notes == ["cancelled", "cleaned"]
    await gone(client)


@virtually
async def test_a_handler_that_ignores_its_cancellation_is_left_behind_with_a_line_in_the_log(caplog):
    released = asyncio.Event()

    async def handler(conn):
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                pass

    server = await Server(handler).listen(NAME).start()
    (client,) = await clients_of(1)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    assert await server.stop(grace=2) == Drained(0, 1)
    assert loop.time() <= begin + 4
    assert "ignores the end of its server" in caplog.text
    released.set()
    await turns()
    await gone(client)


@virtually
async def test_no_grace_aborts_at_once():
    server = await Server(Stubborn).listen(NAME).start()
    clients = await clients_of(2)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    assert await server.stop(grace=0) == Drained(0, 2)
    assert loop.time() == begin
    await gone(*clients)


@pytest.mark.parametrize(
    ("second", "ends_after"), [(1, 6), (0, 5), (20, 10), (5, 10)], ids=["sooner", "now", "later", "same"]
)
def test_a_second_stop_shortens_the_grace_and_never_extends_it(second, ends_after):
    @virtually
    async def check():
        server = await Server(Stubborn).listen(NAME).start()
        clients = await clients_of(1)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        first = server.stop(grace=10)
        await asyncio.sleep(5)
        assert await server.stop(grace=second) == Drained(0, 1)
        assert await first == Drained(0, 1)
        assert loop.time() == begin + ends_after
        await gone(*clients)

    check()


@virtually
async def test_concurrent_stops_all_get_the_same_answer_and_so_does_a_late_one():
    server = await Server(Idle).listen(NAME).start()
    clients = await clients_of(2)
    answers = await asyncio.gather(*(server.stop() for _ in range(5)), server.serve())
    assert answers == [Drained(2, 0)] * 6
    assert await server.stop() == Drained(2, 0)
    await gone(*clients)


@virtually
async def test_who_gives_up_waiting_for_a_stop_does_not_undo_it():
    server = await Server(Stubborn).listen(NAME).start()
    clients = await clients_of(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await server.stop(grace=5)
    assert await server.stop(grace=30) == Drained(0, 1)
    await gone(*clients)


# -- from where it is called


def test_stop_before_the_start_closes_the_listeners():
    async def main():
        server = Server(Idle).listen("tcp:127.0.0.1:0")
        assert await server.stop() == Drained(0, 0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        with pytest.raises(Error, match=r"started before|stopped"):
            await server.start()

    with no_leaks():
        trews.run(main())


class StopsInConnect(trews.Connection):
    def on_connect(self):
        self.write(b"x")
        self.server.stop()


class StopsInRead(trews.Connection):
    def on_read(self, data):
        self.write(data)
        self.server.stop()


class StopsInClose(trews.Connection):
    def on_connect(self):
        self.write(b"x")
        self.close()

    def on_close(self, reason):
        self.server.stop()


class StopsInAsync(trews.Connection):
    async def on_read(self, data):
        await self.send(data)
        self.server.stop()
        await asyncio.sleep(1)


async def stops_in_handler(conn):
    await conn.send(await conn.read())
    conn.server.stop()


@pytest.mark.parametrize(
    "handler", [StopsInConnect, StopsInRead, StopsInClose, StopsInAsync, stops_in_handler], ids=lambda h: h.__name__
)
def test_stop_inside_a_callback_lets_it_finish(handler):
    @virtually
    async def check():
        server = await Server(handler).listen(NAME).start()
        client = await trews.connect(NAME)
        client.write(b"x")
        assert await client.read_all() == b"x"
        assert (await server.serve()).aborted == 0
        await gone(client)

    check()


@virtually
async def test_a_handler_that_awaits_the_stop_of_its_server_is_ended_by_the_grace():
    async def handler(conn):
        await conn.server.stop(grace=1)

    server = await Server(handler).listen(NAME).start()
    (client,) = await clients_of(1)
    assert await server.serve() == Drained(0, 1)
    await gone(client)


class StopsInAccept(Server):
    def on_accept(self, connection):
        self.stop()


@pytest.mark.parametrize("endpoint", [NAME, "tcp:127.0.0.1:0"])
def test_stop_inside_on_accept_drains_that_connection_too(endpoint):
    async def main():
        server = await StopsInAccept(Idle).listen(endpoint).start()
        client = await trews.connect(server.endpoints[0])
        assert await client.read_all() == b"bye"
        assert await server.serve() == Drained(1, 0)
        await gone(client)

    with no_leaks():
        trews.run(main())


# -- who comes late


@pytest.mark.parametrize("factory", [trews.EventLoop, asyncio.new_event_loop], ids=["trews", "asyncio"])
def test_what_is_in_the_accept_queue_is_taken_told_and_drained(factory):
    async def main():
        server = await Server(Idle).listen("tcp:127.0.0.1:0").start()
        # Connected in the kernel, and the loop has had no turn to accept them.
        clients = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(20)]
        drained = server.stop()
        while server.stats.bytes_out < 60:
            await asyncio.sleep(0.001)
        for client in clients:
            assert client.recv(10) == b"bye"
            client.close()
        assert await drained == Drained(20, 0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)

    with no_leaks(), asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@virtually
async def test_who_waits_for_room_when_the_server_stops_is_refused_and_does_not_hang():
    server = await Server(Idle, max_connections=1).listen(NAME).start()
    served, waiting = await clients_of(2)
    assert await server.stop() == Drained(1, 0)
    with pytest.raises(trews.ConnectionClosed):
        await waiting.read()
    await gone(served, waiting)


@virtually
async def test_connections_that_linger_belong_to_the_drain():
    server = await Server(Idle).listen(NAME).start()
    client = await trews.connect(NAME, half_close=True)
    await turns()
    loop = asyncio.get_running_loop()
    begin = loop.time()
    assert await server.stop(grace=10) == Drained(1, 0)
    assert loop.time() == begin + 2  # of silence
    await gone(client)


# -- async with and serve()


@virtually
async def test_async_with_stops_at_its_end_also_after_an_error():
    with pytest.raises(ZeroDivisionError):
        async with Server(Idle).listen(NAME):
            (client,) = await clients_of(1)
            raise ZeroDivisionError
    assert await client.read_all() == b"bye"
    await gone(client)
    with pytest.raises(trews.ConnectError):
        await trews.connect(NAME)


@virtually
async def test_a_cancelled_serve_stops_first():
    server = Server(Idle).listen(NAME)
    task = asyncio.create_task(server.serve())
    await turns()
    (client,) = await clients_of(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await client.read_all() == b"bye"
    await gone(client)


@virtually
async def test_serve_starts_waits_and_returns_what_the_stop_did():
    server = Server(Idle).listen(NAME)
    trews.after(5, server.stop)
    task = asyncio.create_task(server.serve())
    await turns()
    clients = await clients_of(2)
    assert await task == Drained(2, 0)
    assert await server.serve() == Drained(2, 0)
    await gone(*clients)
