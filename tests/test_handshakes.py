"""The TLS handshakes of a server: how many, in which order they give way, and that a stop ends them."""

from __future__ import annotations

import asyncio
import logging

import pytest

import trews
from tests.servers import Notes, really, until, virtually
from tests.tlspeer import V13, Noting, Peer, contexts, memory_ends, settle
from trews import Server
from trews.errors import TLSError
from trews.handshakes import SORTS, Handshakes


class Some:
    """Handshakes, and what became of each."""

    def __init__(self):
        self.handshakes = Handshakes()
        self.results, self.gone, self.ends = {}, [], {}

    def begin(self, name, limit=3):
        near, far = memory_ends()
        self.ends[name] = far
        loop = asyncio.get_running_loop()

        def done(result):
            self.results[name] = result

        self.handshakes.begin(loop, near, contexts()[1], limit, done, lambda: self.gone.append(name))
        return far


@virtually
async def test_the_oldest_gives_way():
    some = Some()
    for name in "abcd":
        some.begin(name)
    assert list(some.results) == some.gone == ["a"]
    assert "3 handshakes are in progress (max_handshakes), and this is the oldest" in str(some.results["a"])
    assert len(some.handshakes) == 3
    some.begin("e", limit=1)
    assert some.gone == ["a", "b", "c", "d"]
    some.handshakes.give_up("the end")
    assert len(some.handshakes) == 0
    assert some.gone == ["a", "b", "c", "d", "e"]


@virtually
async def test_what_is_done_counts_no_more_and_is_left_alone():
    some = Some()
    peer = Peer(some.begin("a"), contexts()[0])
    await peer.shake()
    assert len(some.handshakes) == 0
    some.handshakes.give_up("the end")
    await settle()
    tls = some.results["a"]
    assert tls.tls.version == "TLSv1.3"
    assert some.gone == []
    tls.close()


@virtually
async def test_what_has_failed_and_waits_for_the_alert_to_be_taken_counts_and_gives_way_too():
    some = Some()
    for name in "abc":
        some.begin(name).send(bytes(100))
    await settle()
    assert set(some.results) == {"a", "b", "c"}
    assert some.gone == []
    assert len(some.handshakes) == 3
    some.begin("d")
    assert some.gone == ["a"]
    assert "does not speak TLS" in str(some.results["a"])  # told once
    some.handshakes.give_up("the end")
    assert some.gone == ["a", "b", "c", "d"]
    assert len(some.handshakes) == 0


@virtually
async def test_who_goes_away_makes_room():
    some = Some()
    for name in "abc":
        some.begin(name).close()
    await settle()
    assert sorted(some.gone) == ["a", "b", "c"]
    assert len(some.handshakes) == 0


# -- of a server


async def raw(server):
    return await asyncio.open_connection("127.0.0.1", server.port)


def tls_server(handler=Noting, cls=Notes, **settings):
    return cls(handler, tls_context=contexts(V13, "127.0.0.1")[1], **settings).listen("tls:127.0.0.1:0")


def client_context():
    return contexts(V13, "127.0.0.1")[0]


@virtually
async def test_while_the_server_is_full_each_has_a_second():
    some, is_full = Some(), True
    loop = asyncio.get_running_loop()
    some.begin("a")
    await asyncio.sleep(0.5)
    some.handshakes.hurry(loop, lambda: is_full)
    some.begin("b")
    await asyncio.sleep(0.75)
    assert some.gone == []  # it is looked at once a second
    await asyncio.sleep(0.3)
    assert some.gone == ["a", "b"]
    assert "the server is full or stopping" in str(some.results["a"])
    some.begin("c")
    some.handshakes.hurry(loop, lambda: is_full)
    is_full = False
    await asyncio.sleep(5)
    assert len(some.handshakes) == 1
    some.handshakes.hurry(loop, lambda: is_full)
    some.handshakes.give_up("the end")  # no timer stays behind, or this test fails


@virtually
async def test_failures_of_one_sort_are_warnings_once_a_minute(caplog):
    caplog.set_level(logging.INFO, "trews")
    handshakes = Handshakes()
    for now, why in ((0, "one"), (1, "one"), (2, "other"), (59, "one"), (60, "one"), (61, "one")):
        handshakes.tell(f"at {now}", TLSError(why), now)
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert levels == [
        ("WARNING", "at 0: one"),
        ("INFO", "at 1: one"),
        ("WARNING", "at 2: other"),
        ("INFO", "at 59: one"),
        ("WARNING", "at 60: one"),
        ("INFO", "at 61: one"),
    ]
    for number in range(10_000):
        handshakes.tell("it", TLSError(str(number)), 62)
    assert len(handshakes._told) <= SORTS


@really
async def test_a_stop_does_not_wait_for_who_says_nothing(monkeypatch):
    monkeypatch.setattr("trews.handshakes.PATIENCE", 0.05)
    async with tls_server() as server:
        reader, writer = await raw(server)
        await until(lambda: server.stats.accepted == 1)
        drained = await asyncio.wait_for(server.stop(grace=60), 20)
        assert drained.aborted == 0
        assert server.stats.handshakes_failed == 1
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()


@really
async def test_max_handshakes_of_a_server():
    async with tls_server(max_handshakes=2) as server:
        first = await raw(server)
        await until(lambda: server.stats.accepted == 1)
        others = [await raw(server) for _ in range(2)]
        await until(lambda: server.stats.accepted == 3)
        assert await asyncio.wait_for(first[0].read(), 20) == b""
        assert server.stats.handshakes_failed == 1
        async with trews.connect(server.endpoints[0], tls_context=client_context()):
            assert server.stats.handshakes_failed == 2
        for _, writer in (first, *others):
            writer.close()
        await until(lambda: server.stats.handshakes_failed == 3)


@really
async def test_a_stop_lets_handshakes_finish_within_the_grace():
    async with tls_server() as server:
        reader, writer = await raw(server)
        await until(lambda: server.stats.accepted == 1)
        stopping = server.stop(grace=20)
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(
            writer.transport, asyncio.StreamReaderProtocol(reader), client_context(), server_hostname="127.0.0.1"
        )
        drained = await asyncio.wait_for(stopping, 20)
        assert drained.aborted == 0
        assert server.notes == ["stop"]
        assert server.stats.handshakes_failed == 0
        transport.abort()
        writer.close()


@really
async def test_the_end_of_the_grace_ends_handshakes(caplog):
    caplog.set_level(logging.INFO, "trews")
    server = tls_server()
    await server.start()
    silent, failed = await raw(server), await raw(server)
    failed[1].write(b"GET / HTTP/1.1\r\n\r\n")
    await until(lambda: server.stats.handshakes_failed == 1)
    await until(lambda: server.stats.accepted == 2)
    await asyncio.wait_for(server.stop(grace=0), 20)
    assert server.stats.handshakes_failed == 2
    assert server.notes == ["stop"]  # no connection was told anything
    assert await asyncio.wait_for(silent[0].read(), 20) == b""
    messages = [record.getMessage() for record in caplog.records]
    assert len([text for text in messages if "the server's grace is over" in text]) == 1
    assert len([text for text in messages if "plain HTTP" in text]) == 1
    for _, writer in (silent, failed):
        writer.close()


@really
async def test_max_connections_counts_handshakes():
    async with tls_server(max_connections=2) as server:
        silent = [await raw(server) for _ in range(2)]
        await until(lambda: server.stats.accepted == 2)
        waiting = asyncio.ensure_future(trews.connect(server.endpoints[0], tls_context=client_context()).__aenter__())
        await asyncio.sleep(0.05)
        assert server.stats.accepted == 2
        assert not waiting.done()
        silent[0][1].close()
        conn = await asyncio.wait_for(waiting, 20)
        assert server.stats.accepted == 3
        conn.close()
        await conn.wait_closed()
        silent[1][1].close()


@pytest.mark.parametrize("is_welcome", [True, False])
def test_on_accept_is_asked_before_the_handshake(is_welcome):
    asked = []

    class Door(Server):
        def on_accept(self, connection):
            asked.append((connection.remote_address[0], connection.tls))
            return is_welcome

    @really
    async def test():
        async with tls_server(cls=Door) as server:
            reader, writer = await raw(server)
            if not is_welcome:
                assert await asyncio.wait_for(reader.read(), 20) == b""
                assert server.stats.refused == 1
            await until(lambda: asked)
            assert asked == [("127.0.0.1", None)]
            assert len(server.connections) == 0
            writer.close()

    test()


@really
async def test_failures_reach_no_callback_are_counted_and_told_once(caplog):
    caplog.set_level(logging.DEBUG, "trews")
    async with tls_server() as server:
        reader, writer = await raw(server)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 20)
        writer.close()
        await until(lambda: server.stats.handshakes_failed == 1)
        assert server.stats.open == 0
        with pytest.raises(trews.ConnectError, match="not trusted") as caught:
            await trews.connect(f"tls:127.0.0.1:{server.port}")
        assert isinstance(caught.value.__cause__, TLSError)
        await until(lambda: server.stats.handshakes_failed == 2)
    assert server.notes == ["stop"]
    told = [record for record in caplog.records if "handshake" in record.getMessage()]
    assert len(told) == 2
    assert {record.levelname for record in told} == {"WARNING"}
    assert not any(record.exc_info for record in told)
