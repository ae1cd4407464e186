"""Who gets in: `on_accept`, what goes wrong there, and the limits of a server."""

from __future__ import annotations

import asyncio
import functools
import socket
import struct

import pytest

import trews
from tests.servers import NAME, Echo, Notes, Noting, really, turns, until, virtually
from trews import Server

# -- on_accept


@virtually
async def test_on_accept_false_rejects_and_knows_the_address():
    asked = []

    class Door(Server):
        def on_accept(self, connection):
            asked.append((connection.server is self, connection.remote_address))
            return False if len(asked) == 1 else None

    class Never(Noting):
        def on_connect(self):
            self.write(b"in")

        def on_close(self, reason):
            pass

    async with Door(Never).listen(NAME) as server:
        first = await trews.connect(NAME)
        with pytest.raises(trews.ConnectionClosed):
            await first.read()
        async with trews.connect(NAME) as second:
            assert await second.read() == b"in"
        stats = server.stats
        assert (stats.accepted, stats.refused) == (1, 1)
    assert [mine for mine, _ in asked] == [True, True]
    await first.wait_closed()


@virtually
async def test_on_accept_that_raises_rejects_and_is_told_to_on_error():
    class Door(Notes):
        def on_accept(self, connection):
            raise LookupError("no list of guests")

    async with Door(Noting).listen(NAME) as server:
        conn = await trews.connect(NAME)
        await conn.wait_closed()
        assert server.notes == ["error LookupError('no list of guests')"]
        assert server.stats.refused == 1


@virtually
async def test_a_class_that_cannot_be_made_is_logged_and_the_next_is_served(caplog):
    class Picky(Echo):
        made = 0

        def __init__(self):
            Picky.made += 1
            if Picky.made == 1:
                raise RuntimeError("not today")

    async with Server(Picky).listen(NAME) as server:
        conn = await trews.connect(NAME)
        await conn.wait_closed()
        async with trews.connect(NAME) as conn:
            conn.write(b"x")
            assert await conn.read() == b"x"
        assert (server.stats.failed, server.stats.accepted) == (1, 1)
    assert "not today" in caplog.text
    caplog.clear()


class Rejecting(Notes):
    def on_accept(self, connection):
        raise LookupError("no list of guests")


@really
async def test_on_error_that_fails_itself_still_rejects_and_the_next_is_asked(caplog):
    class Worse(Rejecting):
        def on_error(self, connection, exc):
            raise ValueError("nor a doorman")

    async with Worse(Noting).listen("tcp:127.0.0.1:0") as server:
        for _ in range(2):
            conn = await trews.connect(server.endpoints[0])
            with pytest.raises(trews.ConnectionClosed):
                await conn.read(timeout=10)
            await conn.wait_closed()
        assert server.stats.refused == 2
    assert "nor a doorman" in caplog.text


@virtually
async def test_an_async_on_error_is_awaited_for_on_accept_too():
    told = []

    class Later(Rejecting):
        async def on_error(self, connection, exc):
            await asyncio.sleep(1)
            told.append(exc)

    async with Later(Noting).listen(NAME):
        conn = await trews.connect(NAME)
        await conn.wait_closed()
        await asyncio.sleep(2)
    assert [type(exc) for exc in told] == [LookupError]


def test_an_async_on_accept_is_refused_at_class_definition():
    with pytest.raises(TypeError, match=r"on_accept must be a plain function"):

        class Slow(Server):
            async def on_accept(self, connection):
                return False


@virtually
async def test_an_awaitable_from_on_accept_rejects():
    """Taken for true it would let everybody in."""

    async def later(connection):
        return False

    server = Notes(Noting).listen(NAME)
    server.on_accept = functools.partial(later)
    async with server:
        async with trews.connect(NAME) as conn:
            with pytest.raises(trews.ConnectionClosed):
                await conn.read(timeout=10)
        assert server.stats.accepted == 0
    assert "TypeError" in server.notes[0]


@really
async def test_a_caller_that_resets_while_it_waits_is_opened_and_closed_once():
    server = Notes(Noting).listen("tcp:127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    async with server:
        await until(lambda: len(server.notes) == 2 or server.stats.accepted == 0)
        assert server.notes in ([], ["connect", "close ConnectionReset"])


# -- limits


@virtually
async def test_max_connections_leaves_the_rest_waiting_until_one_has_gone_lingering_ones_count():
    async with Server(Echo, max_connections=2).listen(NAME) as server:
        clients = [await trews.connect(NAME, half_close=True) for _ in range(4)]
        clients[2].write(b"third")
        await turns()
        assert len(server.connections) == server.stats.accepted == 2
        next(iter(server.connections)).close()
        await turns()
        assert len(server.connections) == 1
        assert server.stats.accepted == 2  # the client says nothing: its socket lingers
        await asyncio.sleep(1.9)
        assert server.stats.accepted == 2
        await asyncio.sleep(0.2)
        assert server.stats.accepted == 3
        assert await clients[2].read() == b"third"
        clients[1].abort()
        await turns()
        assert server.stats.accepted == 4
        for client in clients:
            client.abort()
            await client.wait_closed()


@really
async def test_max_connections_on_sockets_serves_everybody_in_the_end():
    async def one(server, number):
        async with trews.connect(server.endpoints[0]) as conn:
            conn.write(bytes([number]))
            return await conn.read()

    async with Server(Echo, max_connections=3).listen("tcp:127.0.0.1:0") as server:
        answers = await asyncio.gather(*(one(server, number) for number in range(40)))
        assert answers == [bytes([number]) for number in range(40)]
        assert (server.stats.accepted, server.stats.refused) == (40, 0)


@really
async def test_max_connections_per_host_refuses_the_excess_and_other_hosts_are_served():
    async with Server(Echo, max_connections_per_host=2).listen("tcp:127.0.0.1:0") as server:
        text = f"tcp:127.0.0.1:{server.port}"
        kept = [await trews.connect(text) for _ in range(2)]
        excess = await trews.connect(text)
        with pytest.raises(trews.ConnectionClosed):
            await excess.read()
        async with trews.connect(text + "?source=127.0.0.2") as other:
            other.write(b"x")
            assert await other.read() == b"x"
        assert (server.stats.accepted, server.stats.refused) == (3, 1)
        kept.pop().abort()
        await until(lambda: len(server._sockets) == 1)
        async with trews.connect(text) as again:
            again.write(b"x")
            assert await again.read() == b"x"
        kept.pop().abort()
        await until(lambda: not server._hosts)  # nothing is remembered of who has left
        await excess.wait_closed()


@pytest.mark.parametrize("name", ["max_connections", "max_connections_per_host"])
@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (0, ValueError), ("5", TypeError), (1.5, TypeError)])
def test_limits_that_make_no_sense_are_refused(name, value, error):
    with pytest.raises(error, match=name):
        Server(Echo, **{name: value})
    with pytest.raises(error, match=name):
        type("Limited", (Server,), {name: value})
