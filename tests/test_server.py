"""Servers: listening, what connections share, limits, and above all how they stop."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket

import pytest

import trews
from tests.servers import NAME, Echo, Notes, Noting, really, turns, until, virtually
from trews import Drained, Error, ListenError, Server, testing
from trews.framing import Line
from trews.testing import no_leaks

# -- listening


@really
async def test_one_server_serves_on_several_endpoints_of_mixed_kinds(tmp_path):
    server = Server(Echo).listen("tcp:127.0.0.1:0", f"unix:{tmp_path}/s").listen(NAME)
    assert [endpoint.kind for endpoint in server.endpoints] == ["tcp", "unix", "memory"]
    async with server:
        for endpoint in server.endpoints:
            async with trews.connect(endpoint) as conn:
                conn.write(b"hello")
                assert await conn.read(5) == b"hello"
        assert server.stats.accepted == 3
    assert not os.path.exists(tmp_path / "s")


def test_listen_binds_at_once_and_the_kernel_queues_until_the_start():
    server = Server(Echo).listen("tcp:127.0.0.1:0")
    assert server.port
    assert server.endpoints[0].port == server.port
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(b"early")

        async def main():
            async with server:
                await until(lambda: server.stats.bytes_out == 5)
                assert client.recv(5) == b"early"
                client.close()

        trews.run(main())


def test_a_failed_listen_leaves_nothing_of_its_call_bound_and_all_of_earlier_calls(tmp_path):
    server = Server(Echo).listen("tcp:127.0.0.1:0")
    with pytest.raises(ListenError, match="in use"):
        server.listen(f"unix:{tmp_path}/s", f"tcp:127.0.0.1:{server.port}")
    assert not os.path.exists(tmp_path / "s")
    with pytest.raises(trews.EndpointError):
        server.listen(f"unix:{tmp_path}/s", "tcp:localhost:99999")
    assert not os.path.exists(tmp_path / "s")
    assert len(server.endpoints) == 1
    socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
    server._close_listeners()


def test_the_port_is_the_first_endpoints_that_has_one(tmp_path):
    assert Server(Echo).port is None
    server = Server(Echo).listen(f"unix:{tmp_path}/s")
    assert server.port is None
    server.listen("tcp:127.0.0.1:0")
    assert server.port == server.endpoints[1].port
    server._close_listeners()


@virtually
async def test_listening_while_it_serves_accepts_at_once_and_may_fail_alone():
    async with Server(Echo).listen(NAME) as server:
        server.listen("memory:more")
        with pytest.raises(ListenError, match="has that name already"):
            server.listen("memory:third", NAME)
        assert len(server.endpoints) == 2
        with pytest.raises(trews.ConnectError):
            await trews.connect("memory:third")
        async with trews.connect("memory:more") as conn:
            conn.write(b"x")
            assert await conn.read() == b"x"


@really
async def test_listening_while_it_is_full_waits_without_spinning():
    async with Server(Echo, max_connections=1).listen("tcp:127.0.0.1:0") as server:
        async with trews.connect(server.endpoints[0]):
            async with trews.connect(server.endpoints[0]):  # it is full, and knows
                server.listen("tcp:127.0.0.1:0")
                async with trews.connect(server.endpoints[1]):
                    asked = count_calls(server._listeners[1], "_has_room")
                    await turns(50)
                    assert len(asked) <= 1


def count_calls(target, name):
    calls = []
    real = getattr(target, name)

    def counted(*args):
        calls.append(args)
        return real(*args)

    setattr(target, name, counted)
    return calls


MISUSES = [
    ("start without listen", lambda: Server(Echo).start(), "call listen"),
    ("serve without listen", lambda: Server(Echo).serve(), "call listen"),
]


@pytest.mark.parametrize(("misuse", "sentence"), [row[1:] for row in MISUSES], ids=[row[0] for row in MISUSES])
def test_misuse_is_a_sentence(misuse, sentence):
    async def main():
        with pytest.raises(Error, match=sentence):
            await misuse()

    testing.run(main())


@virtually
async def test_a_server_starts_once_and_does_not_listen_after_its_end():
    server = Server(Echo).listen(NAME)
    async with server:
        with pytest.raises(Error, match="started before"):
            await server.start()
    with pytest.raises(Error, match="stopped"):
        server.listen("memory:again")
    with pytest.raises(Error, match="started before"):
        await server.start()


def test_a_subclass_that_forgets_super_is_told_so():
    class Forgetful(Server):
        def __init__(self):
            self.notes = []

    with pytest.raises(Error, match=r"Forgetful.__init__ must call super\(\).__init__\(handler\)"):
        Forgetful().listen(0)


SLIPS = [
    ("a setting", lambda: Server(Echo, max_mesage=1), "max_mesage.*did you mean 'max_message'"),
    ("a limit", lambda: Server(Echo, max_conections=1), "max_conections.*did you mean 'max_connections'"),
    ("a callback", lambda: type("S", (Server,), {"on_sart": lambda self: None}), "did you mean on_start"),
    ("a limit of a class", lambda: type("S", (Server,), {"max_conections": 3}), "did you mean max_connections"),
    (
        "a setting of connections",
        lambda: type("S", (Server,), {"idle_timeout": 3}),
        r"^S.idle_timeout belongs on a Connection subclass, or is a keyword: Server\(..., idle_timeout=...\)$",
    ),
    (
        "a callback of connections",
        lambda: type("S", (Server,), {"on_read": lambda self, data: None}),
        "^S.on_read belongs on a Connection subclass$",
    ),
    ("an endpoint", lambda: Server("localhost:4040", int), r"trews\.Server\(Echo\)\.listen\(\"localhost:4040\"\)$"),  # type: ignore[call-arg]  # what is tested
    ("an endpoint behind", lambda: Server(int, 4040), "^trews.Server takes the handler; where"),  # type: ignore[call-arg]
    ("no handler", lambda: Server(3), "Connection subclass or an async function"),
    ("another class", lambda: Server(int), "not a subclass of trews.Connection"),
]


@pytest.mark.parametrize(("slip", "sentence"), [row[1:] for row in SLIPS], ids=[row[0] for row in SLIPS])
def test_slips_are_type_errors_that_name_the_right_one(slip, sentence):
    with pytest.raises(TypeError, match=sentence):
        slip()


class Callable:
    async def __call__(self, conn):
        await shout(conn)


async def shout(conn, end=b"!"):
    async for line in conn:
        await conn.send(line.upper() + end)


HANDLERS = {
    "function": shout,
    "partial": functools.partial(shout, end=b"!"),
    "object": Callable(),
    "lambda": lambda conn: shout(conn),
}


@pytest.mark.parametrize("kind", HANDLERS)
def test_a_handler_is_anything_that_is_called_with_a_connection_and_awaited(kind):
    async def main():
        async with Server(HANDLERS[kind], framer=Line()).listen(NAME), trews.connect(NAME) as conn:
            conn.write(b"hi\n")
            assert await conn.read(Line()) == b"HI!"

    testing.run(main())


@virtually
async def test_a_plain_function_that_returns_none_is_told_what_to_be():
    errors = []

    class Judge(Server):
        def on_error(self, connection, exc):
            errors.append(str(exc))

    def handler(conn):
        conn.write(b"x")

    async with Judge(handler).listen(NAME), trews.connect(NAME) as conn:
        await conn.wait_closed()
    assert len(errors) == 1
    assert "async def" in errors[0]
    assert "trews.green" in errors[0]


# -- what connections share


@virtually
async def test_connections_are_those_that_are_open_and_may_change_while_iterating():
    async with Server(Echo).listen(NAME) as server:
        clients = [await trews.connect(NAME) for _ in range(5)]
        await turns()
        assert len(server.connections) == 5
        seen = []
        for connection in server.connections:
            seen.append(connection)
            connection.close()
            assert connection not in server.connections  # closing, and still flushing
            assert not connection._is_ended
        assert len(seen) == 5
        assert not list(server.connections)
        assert server.stats.open == 0
        for client in clients:
            await client.wait_closed()


@virtually
async def test_handlers_reach_their_server_and_count_together():
    class Counter(Server):
        count = 0

    async def visit(conn):
        conn.server.count += 1
        await conn.send(str(conn.server.count))

    async with Counter(visit, framer=Line(encoding="utf-8")).listen(NAME) as server:
        for number in ("1", "2", "3"):
            async with trews.connect(NAME, framer=Line(encoding="utf-8")) as conn:
                assert await conn.read() == number
    assert server.count == 3


@pytest.mark.parametrize(
    ("exclude", "heard"),
    [
        (lambda c: (), [1, 1, 1]),
        (lambda c: c[0], [0, 1, 1]),
        (lambda c: [c[0], c[2]], [0, 1, 0]),
        (lambda c: {c[1]}, [1, 0, 1]),
        (lambda c: iter(c[:2]), [0, 0, 1]),
    ],
    ids=["nobody", "one", "a list", "a set", "an iterator"],
)
@pytest.mark.parametrize("handler", [Echo, shout], ids=["class", "function"])
def test_broadcast_encodes_for_all_but_the_excluded(handler, exclude, heard):
    async def main():
        async with Server(handler, framer=Line(encoding="utf-8")).listen(NAME) as server:
            clients = [await trews.connect(NAME) for _ in range(3)]
            await turns()
            server.broadcast("news", exclude=exclude(list(server.connections)))
            assert [conn.bytes_out for conn in server.connections] == [6 * n for n in heard]
            for client in clients:
                client.abort()
                await client.wait_closed()

    testing.run(main())


@virtually
async def test_broadcast_from_a_handler_excludes_itself_and_skips_who_is_leaving():
    async def relay(conn):
        async for line in conn:
            conn.server.broadcast(line, exclude=conn)

    async with Server(relay, framer=Line()).listen(NAME) as server:
        one, two, gone = [await trews.connect(NAME, framer=Line()) for _ in range(3)]
        await turns()
        gone.abort()
        one.send(b"hello")
        assert await two.read() == b"hello"
        two.send(b"bye")
        assert await one.read() == b"bye"
        assert len(server.connections) == 2
        for conn in (one, two):
            conn.close()
            await conn.wait_closed()


@virtually
async def test_on_error_logs_with_traceback_and_connection_and_only_that_one_ends(caplog):
    class Fragile(trews.Connection):
        def on_read(self, data):
            raise KeyError(data)

    async with Server(Fragile).listen(NAME) as server:
        good, bad = await trews.connect(NAME), await trews.connect(NAME)
        bad.write(b"boo")
        await bad.wait_closed()
        assert len(server.connections) == 1
        good.close()
        await good.wait_closed()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("trews", logging.ERROR)
    assert "<Fragile #" in record.getMessage()
    assert isinstance(record.exc_info[1], KeyError)
    caplog.clear()


@virtually
async def test_stats_count_connections_and_bytes_also_of_those_that_are_gone():
    async with Server(Echo).listen(NAME) as server:
        for _ in range(3):
            async with trews.connect(NAME) as conn:
                conn.write(b"12345")
                await conn.read(5)
        async with trews.connect(NAME) as conn:
            conn.write(b"123")
            await conn.read(3)
            stats = server.stats
            assert (stats.accepted, stats.open, stats.bytes_in, stats.bytes_out) == (4, 1, 18, 18)
            stats.accepted = 99  # a copy
            assert server.stats.accepted == 4
        assert "1 connections" not in repr(server)
        assert NAME in repr(server)


# -- starting


@virtually
async def test_on_start_may_be_async_and_comes_before_the_first_connection():
    class Slow(Notes):
        async def on_start(self):
            await asyncio.sleep(5)
            self.notes.append("start")

    server = Slow(Noting).listen(NAME)
    async with server:
        async with trews.connect(NAME):
            await turns()
    assert server.notes == ["start", "connect", "close ClosedByPeer", "stop"]


@pytest.mark.parametrize("is_async", [False, True])
def test_on_start_that_raises_leaves_nothing_bound(tmp_path, is_async):
    class Broken(Server):
        def on_start(self):
            if not is_async:
                raise OSError("no database")
            return self.later()

        async def later(self):
            raise OSError("no database")

    async def main():
        server = Broken(Echo).listen(f"unix:{tmp_path}/s")
        with pytest.raises(OSError, match="no database"):
            await server.start()
        assert not os.path.exists(tmp_path / "s")

    with no_leaks():
        trews.run(main())


@really
async def test_stop_during_an_async_on_start_ends_before_anybody_is_accepted():
    class Waiting(Notes):
        async def on_start(self):
            self.stop()
            await asyncio.sleep(0)

    server = Waiting(Noting).listen("tcp:127.0.0.1:0")
    assert await server.serve() == Drained(0, 0)
    assert server.notes == ["stop"]


class SlowStart(Notes):
    async def on_start(self):
        self.notes.append("start")
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            self.notes.append("cancelled")
            raise
        self.notes.append("started")


@pytest.mark.parametrize(
    ("grace", "seconds", "notes"),
    [(10, 5, ["start", "started", "stop"]), (2, 2, ["start", "cancelled"]), (0, 0, ["start", "cancelled"])],
    ids=["it returns within the grace", "it does not", "no grace"],
)
def test_stop_while_on_start_waits_waits_for_it(grace, seconds, notes):
    @virtually
    async def check():
        server = SlowStart(Noting).listen(NAME)
        serving = asyncio.create_task(server.serve())
        await turns()
        begin = asyncio.get_running_loop().time()
        assert await server.stop(grace) == Drained(0, 0)
        assert asyncio.get_running_loop().time() == begin + seconds
        assert await serving == Drained(0, 0)
        assert server.notes == notes

    check()


@virtually
async def test_an_on_start_that_fails_after_a_stop_is_told_to_who_started_and_there_is_no_on_stop():
    class Failing(SlowStart):
        async def on_start(self):
            await super().on_start()
            raise OSError("no database")

    server = Failing(Noting).listen(NAME)
    starting = asyncio.create_task(server.start())
    await turns()
    assert await server.stop() == Drained(0, 0)
    with pytest.raises(OSError, match="no database"):
        await starting
    assert server.notes == ["start", "started"]


@virtually
async def test_an_on_start_that_ignores_its_cancellation_does_not_keep_the_server_from_stopping():
    class Ignoring(Notes):
        async def on_start(self):
            for _ in range(3):
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    pass

    server = Ignoring(Noting).listen(NAME)
    starting = asyncio.create_task(server.start())
    await turns()
    begin = asyncio.get_running_loop().time()
    assert await server.stop(grace=2) == Drained(0, 0)
    assert asyncio.get_running_loop().time() <= begin + 4
    starting.cancel()
    await asyncio.wait([starting])


@virtually
async def test_a_server_that_never_started_has_no_on_stop():
    server = Notes(Noting).listen(NAME)
    assert await server.stop() == Drained(0, 0)
    assert server.notes == []


@virtually
async def test_broadcast_passes_over_who_has_said_its_goodbye():
    class HalfClosing(trews.Connection):
        half_close = True

        def on_read(self, data):
            self.close_write()

    async with Server(HalfClosing).listen(NAME) as server:
        async with trews.connect(NAME, half_close=True) as quiet, trews.connect(NAME) as other:
            quiet.write(b"x")
            await turns()
            assert len(server.connections) == 2
            server.broadcast(b"news")
            assert await other.read() == b"news"
            assert await quiet.read_all() == b""


def test_connections_are_not_to_be_assigned():
    class Chat(Server):
        def __init__(self):
            super().__init__(trews.Connection)
            self.connections = []

    with pytest.raises(AttributeError):
        Chat()
