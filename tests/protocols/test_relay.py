"""A relay between two connections: whole, at the pace of the slower side, to the end of both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest

import trews
from tests.clients import LOOPS
from tests.servers import Echo, until, virtually
from trews import ClosedByPeer, Server
from trews.framing import Line
from trews.protocols.relay import STALLED, relay
from trews.testing import no_leaks

KIB = 1024


@pytest.fixture(params=LOOPS)
def on_loop(request):
    def run(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner, no_leaks():
            return runner.run(main)

    return run


class Joined:
    """A client and a server's connection to it, on two sides of a relay, and the relay's connections between."""

    def __init__(self):
        self.relayed = []  # (a, b) of each
        self.arrived = []  # connections of the target

    async def carry(self, a):
        b = await trews.connect(self.target, half_close=True)
        self.relayed.append((a, b))
        await relay(a, b)

    @contextlib.asynccontextmanager
    async def open(self, endpoint="memory:{}", handler=None, **settings):
        async with Server(handler or Holding).listen(endpoint.format("target")) as target:
            target.joined = self
            self.target = target.endpoints[0]
            async with Server(self.carry, half_close=True, **settings).listen(endpoint.format("relay")) as server:
                self.server = server
                async with trews.connect(server.endpoints[0], half_close=True) as client:
                    self.client = client
                    if handler is None:
                        await until(lambda: self.arrived and self.relayed)
                        self.peer = self.arrived[0]
                    try:
                        yield self
                    finally:
                        for conn in self.arrived:
                            conn.abort()


class Holding(trews.Connection):
    half_close = True

    def on_connect(self):
        self.server.joined.arrived.append(self)


ENDPOINTS = ["tcp:127.0.0.1:0", "unix:{}", "memory:{}"]


@pytest.fixture(params=ENDPOINTS, ids=["tcp", "unix", "memory"])
def endpoint(request, tmp_path):
    return request.param.replace("unix:", f"unix:{tmp_path}/")


def test_both_ways_and_half_close_carried_over(on_loop, endpoint):
    async def main():
        async with Joined().open(endpoint) as joined:
            client, peer = joined.client, joined.peer
            client.write(b"question")
            assert await peer.read(8) == b"question"
            client.close_write()
            with pytest.raises(ClosedByPeer):
                await peer.read()
            peer.write(b"the answer after the end of the question")
            assert await client.read(40) == b"the answer after the end of the question"
            peer.close_write()
            with pytest.raises(ClosedByPeer):
                await client.read()
            a, b = joined.relayed[0]
            await a.wait_closed()
            await b.wait_closed()
            assert a.reason.is_clean
            assert b.reason.is_clean

    on_loop(main())


def test_the_other_side_may_end_first(on_loop, endpoint):
    async def main():
        async with Joined().open(endpoint) as joined:
            joined.peer.write(b"bye")
            joined.peer.close_write()
            assert await joined.client.read_all() == b"bye"
            joined.client.write(b"still there")
            assert await joined.peer.read(11) == b"still there"

    on_loop(main())


def test_megabytes_both_ways_at_once(on_loop):
    data = os.urandom(3_000_000)

    async def main():
        async with Joined().open("tcp:127.0.0.1:0", Echo) as joined:
            joined.client.write(data)
            joined.client.close_write()
            assert await joined.client.read_all() == data

    on_loop(main())


def test_what_has_come_before_goes_along():
    async def carry(a):
        assert await a.read(framer=Line()) == b"head"
        await relay(a, await trews.connect("memory:echo"))

    async def main():
        async with Server(Echo).listen("memory:echo"), Server(carry, half_close=True).listen("memory:front"):
            async with trews.connect("memory:front", half_close=True) as client:
                client.write(b"head\nbody\n")
                client.close_write()
                assert await client.read_all() == b"body\n"

    trews.run(main())


def test_framers_of_the_connections_are_not_asked():
    async def main():
        async with Joined().open("memory:{}", framer=Line()) as joined:
            joined.client.write(b"no line, \0 no text")
            assert await joined.peer.read(18) == b"no line, \0 no text"

    trews.run(main())


def test_a_reset_takes_the_other_side_along(on_loop):
    async def main():
        for broken in ("client", "peer"):
            async with Joined().open("tcp:127.0.0.1:0") as joined:
                getattr(joined, broken).abort()
                other = joined.peer if broken == "client" else joined.client
                with pytest.raises(trews.ConnectionReset):
                    await other.read()

    on_loop(main())


def test_an_answer_is_not_lost_when_its_sender_wants_no_more(on_loop):
    """A server that answers, closes, and resets what still comes: the answer gets through."""
    answer = os.urandom(2_000_000)

    async def rude(conn):
        await conn.read(5)
        conn.write(answer)

    async def main():
        async with Joined().open("tcp:127.0.0.1:0", rude) as joined:
            joined.client.write(b"hello")
            got = bytearray()
            while len(got) < 1000:
                got += await joined.client.read()
            for _ in range(20):
                joined.client.write(bytes(1000))
                await asyncio.sleep(0)
            got += await joined.client.read_all()
            assert got == answer

    on_loop(main())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("direction", ["there", "back"])
def test_memory_is_bounded_while_a_reader_is_slow(on_loop, direction):
    size = 50 * KIB * KIB
    piece = os.urandom(256 * KIB)

    async def main():
        async with Joined().open("tcp:127.0.0.1:0") as joined:
            a, b = joined.relayed[0]
            sender, reader = (joined.client, joined.peer) if direction == "there" else (joined.peer, joined.client)
            source, sink = (a, b) if direction == "there" else (b, a)

            async def send():
                for _ in range(size // len(piece)):
                    await sender.send(piece)
                sender.close_write()

            sending = asyncio.create_task(send())
            reader.pause_reading()
            before = -1
            while before != (before := source.bytes_in):  # until nothing goes any more
                await asyncio.sleep(0.1)
            most = source.bytes_in - sink.bytes_out
            assert source.bytes_in < size
            reader.resume_reading()
            got = 0
            while True:
                try:
                    got += len(await reader.read())
                except ClosedByPeer:
                    break
                # What was read and is not with the kernel: in the source's inbox, or in the sink's output.
                most = max(most, source.bytes_in - sink.bytes_out)
            await sending
            assert got == size
            assert most <= source.read_high + sink.write_high + 2 * 256 * KIB

    on_loop(main())


@virtually
async def test_a_side_that_takes_nothing_is_given_up():
    async with Joined().open("memory:{}") as joined:
        joined.peer.pause_reading()
        joined.client.write(bytes(KIB * KIB))
        a, b = joined.relayed[0]
        begin = asyncio.get_running_loop().time()
        await b.wait_closed()
        assert isinstance(b.reason, trews.WriteStalled)
        assert STALLED <= asyncio.get_running_loop().time() - begin <= STALLED * 1.1
        await a.wait_closed()


@virtually
async def test_who_has_left_and_a_target_that_waits_for_ever_do_not_keep_each_other():
    """A client that is gone looks like one that has said all that it has to say."""
    async with Joined().open("memory:{}") as joined:
        joined.client.close_write()
        a, b = joined.relayed[0]
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(STALLED - 1)
        joined.peer.write(b"still here")
        assert await joined.client.read() == b"still here"
        await asyncio.gather(a.wait_closed(), b.wait_closed())
        assert 2 * STALLED - 1 <= asyncio.get_running_loop().time() - begin <= 3 * STALLED + 60


@virtually
async def test_without_half_close_the_end_of_a_side_is_the_end_of_both():
    async with Joined().open("memory:{}") as joined:
        joined.relayed[0][0].half_close = False
        joined.client.write(b"the last")
        joined.client.close_write()
        assert await joined.peer.read_all() == b"the last"
        assert await joined.client.read_all() == b""  # although the peer has not ended


class NoHalfClose(trews.Connection):
    def close_write(self):
        raise trews.Error("TLS 1.2 has no half-close")


@virtually
async def test_where_half_close_cannot_be_the_connection_ends_after_draining():
    got = []

    async def sink(conn):
        got.append(await conn.read_all())

    async def carry(a):
        await relay(a, await trews.connect("memory:sink", NoHalfClose))

    async with Server(sink).listen("memory:sink"), Server(carry, half_close=True).listen("memory:front"):
        async with trews.connect("memory:front", half_close=True) as client:
            client.write(bytes(300_000))
            client.close_write()
            assert await client.read_all() == b""
    assert [len(data) for data in got] == [300_000]


@virtually
async def test_a_mistake_is_not_swallowed():
    async with Server(Echo).listen("memory:echo"):
        a, b = await trews.connect("memory:echo"), await trews.connect("memory:echo")
        reading = asyncio.create_task(a.read())
        await asyncio.sleep(1)
        with pytest.raises(trews.BusyError):
            await relay(a, b)
        with pytest.raises(trews.Aborted):
            await reading


@virtually
async def test_one_that_has_ended_already_ends_the_other():
    async with Server(Echo).listen("memory:echo"):
        a, b = await trews.connect("memory:echo"), await trews.connect("memory:echo")
        b.close()
        await b.wait_closed()
        await relay(a, b)
        assert isinstance(a.reason, trews.ClosedLocally)


@virtually
async def test_cancelling_aborts_both():
    async with Joined().open("memory:{}") as joined:
        a, b = await trews.connect(joined.target), await trews.connect(joined.target)
        task = asyncio.create_task(relay(a, b))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(a.reason, trews.Aborted)
        assert isinstance(b.reason, trews.Aborted)


@virtually
async def test_a_stop_drains():
    """The end of the server is told the target as an end of the client; what it still says gets there."""

    async def last_words(conn):
        conn.write(b"got " + await conn.read_all())

    joined = Joined()
    async with joined.open("memory:{}", last_words, close_timeout=5):
        joined.client.write(b"half a question")
        await until(lambda: joined.relayed)
        stopping = joined.server.stop(grace=10)
        assert await joined.client.read_all() == b"got half a question"
        joined.client.close()
        assert await stopping == (1, 0)


def test_a_program_that_has_ended_ends_the_other_side(on_loop):
    async def carry(a):
        await relay(a, await trews.connect("exec:sh -c 'printf hello; exit 3'"))

    async def main():
        async with Server(carry, half_close=True).listen("tcp:127.0.0.1:0") as server:
            async with trews.connect(server.endpoints[0], half_close=True) as client:
                assert await client.read_all() == b"hello"
                await until(lambda: not len(server.connections))  # although the client has not ended

    on_loop(main())


def test_a_plain_socket_sees_a_fin_and_not_a_reset():
    async def main():
        async with Server(Echo).listen("tcp:127.0.0.1:0") as target:

            async def carry(a):
                await relay(a, await trews.connect(target.endpoints[0]))

            async with Server(carry, half_close=True).listen("tcp:127.0.0.1:0") as server:

                def talk():
                    with socket.create_connection(("127.0.0.1", server.port), 20) as sock:
                        sock.sendall(b"hi")
                        sock.shutdown(socket.SHUT_WR)
                        return b"".join(iter(lambda: sock.recv(100), b""))

                assert await trews.in_thread(talk) == b"hi"

    trews.run(main())
