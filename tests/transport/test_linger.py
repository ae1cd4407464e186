"""Lingering: after the goodbye the socket stays until the peer's goodbye, 2 s of silence, or 30 s in all."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import closing

import pytest

import trews
from trews import Server
from trews.testing import VirtualLoop, no_leaks, wire
from trews.transport.linger import Linger
from trews.transport.memory import memory_pair
from trews.transport.pipe import PipeSocket
from trews.transport.stream import StreamTransport


class Lingering:
    """A transport on the virtual clock whose writing side is shut, and the peer's end of it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.begin = loop.time()
        near, self.far = memory_pair(loop)
        transport = StreamTransport(loop, near, asyncio.Protocol(), near)  # type: ignore[arg-type]
        transport.start()
        transport.pause_reading()
        transport.write_eof()
        self.gone_after: list[float] = []
        self.linger = Linger(transport, loop, lambda: self.gone_after.append(round(loop.time() - self.begin, 3)))


@pytest.fixture
def lingering():
    with closing(VirtualLoop()) as loop:
        made = Lingering(loop)
        loop.settle()
        yield made
        made.far.close()
        loop.advance(60)
        assert len(made.gone_after) == 1  # exactly once, whatever happened


def test_two_seconds_of_silence_end_it(lingering):
    lingering.loop.advance(1.99)
    assert lingering.gone_after == []
    lingering.loop.advance(0.01)
    assert lingering.gone_after == [2]


def test_the_peers_goodbye_ends_it_at_once(lingering):
    lingering.loop.advance(1)
    lingering.far.shutdown(socket.SHUT_WR)
    lingering.loop.settle()
    assert lingering.gone_after == [1]


def test_a_reset_ends_it_at_once(lingering):
    lingering.far.cut()
    lingering.loop.settle()
    assert lingering.gone_after == [0]


def test_a_peer_that_goes_on_is_read_but_for_thirty_seconds_at_most(lingering):
    for _ in range(40):
        if lingering.gone_after:
            break
        lingering.far.send(b"still talking" * 1000)
        lingering.loop.advance(1)
        assert lingering.gone_after or not lingering.far.peer.inbound  # it is thrown away
    assert lingering.gone_after == [30]


def test_silence_counts_from_the_last_byte(lingering):
    for _ in range(3):
        lingering.loop.advance(1.5)
        lingering.far.send(b"x")
    lingering.loop.advance(60)
    assert lingering.gone_after == [6.5]


def test_abort_ends_it_now(lingering):
    lingering.linger.abort()
    lingering.loop.settle()
    assert lingering.gone_after == [0]


def test_no_timer_stays_behind(lingering):
    lingering.far.shutdown(socket.SHUT_WR)
    lingering.loop.settle()
    assert lingering.loop._next() is None


# -- as connections use it


class Rude(trews.Connection):
    """Answers the first bytes at length and closes, whatever else is coming."""

    def on_read(self, data):
        self.write(bytes(200_000))
        self.close()


def test_on_close_does_not_wait_for_it():
    closed = []

    class Quick(Rude):
        def on_close(self, reason):
            closed.append(type(reason))

    w = wire(Quick, capacity=1_000_000).feed(b"x")
    assert closed == [trews.ClosedLocally]
    assert len(w.sent()) == 200_000
    assert w.closed
    assert not w.was_reset
    w.end()


def test_late_bytes_arrive_although_the_peer_is_still_sending():
    async def main():
        async with Server(Rude).listen("tcp:127.0.0.1:0") as server:
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                received = 0
                await loop.sock_sendall(client, b"x" * 100)
                while True:
                    # Never stops talking: an early close() of the server's would be a reset here.
                    try:
                        client.send(b"x" * 1000)
                    except BlockingIOError:
                        pass
                    count = len(await loop.sock_recv(client, 10_000))
                    if not count:
                        break
                    received += count
                assert received == 200_000

    with no_leaks():
        trews.run(main())


def test_nothing_lingers_after_the_peers_goodbye():
    async def main():
        loop = asyncio.get_running_loop()
        begin = loop.time()
        async with Server(trews.Connection).listen("memory:here") as server:
            conn = await trews.connect("memory:here")
            conn.close()
            await conn.wait_closed()
            while server._sockets:
                await asyncio.sleep(0)
            assert loop.time() == begin

    with no_leaks(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


def test_nothing_lingers_on_a_pipe():
    async def main():
        (reader, far_writer), (far_reader, writer) = os.pipe(), os.pipe()
        loop = asyncio.get_running_loop()
        pipe = PipeSocket(loop, reader, writer, "pipe")
        transport = StreamTransport(loop, pipe, asyncio.Protocol(), pipe)
        transport.start()
        transport.write_eof()
        gone = loop.create_future()
        Linger(transport, loop, lambda: gone.set_result(None))
        await gone
        await asyncio.sleep(0)
        with pytest.raises(BrokenPipeError):
            os.write(far_writer, b"x")
        os.close(far_writer)
        os.close(far_reader)

    with no_leaks():
        trews.run(main())
