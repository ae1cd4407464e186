"""What strangers can do with datagrams: floods, garbage, senders that cannot be answered."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import tracemalloc

import pytest

import trews
from tests.datagrams import LO4, Echo, Noting, Peer, on_every_loop
from tests.servers import Echo as StreamEcho
from tests.servers import until
from trews import Server
from trews.transport.datagram import OVERHEAD


def flood(peer, server, count=300, size=100):
    for _ in range(count):
        peer.send(bytes(size), server)


@on_every_loop
async def test_a_flood_does_not_starve_connections():
    """While the kernel's queue is never empty, a connection gets its turns."""
    async with Server(StreamEcho, datagram=Endless).listen("tcp:127.0.0.1:0", LO4) as server:
        (endless,) = server.datagrams
        with Peer() as peer:
            endless.peer = peer
            flood(peer, endless)
            await until(lambda: endless.count)
            async with trews.connect(server.endpoints[0]) as conn:
                for _ in range(20):
                    conn.write(b"ping")
                    assert await conn.read(4) == b"ping"
            before = endless.count
            await until(lambda: endless.count > before)  # and it is still going on
            endless.peer = None


class Endless(trews.Datagram):
    """Each datagram that is taken is replaced by another."""

    peer = None
    count = 0

    def on_read(self, data, address):
        self.count += 1
        if self.peer is not None:
            self.peer.send(data, self)


@on_every_loop
@pytest.mark.parametrize("size", [0, 1, 1000])
async def test_a_flood_takes_no_more_memory_than_the_bound(size):
    class Stuck(trews.Datagram):
        async def on_read(self, data, address):
            await self.go_on.wait()

    async with Server(Stuck).listen(LO4) as server:
        (stuck,) = server.datagrams
        stuck.go_on = asyncio.Event()
        with Peer() as peer:
            tracemalloc.start()
            try:
                for _ in range(100):
                    flood(peer, server, 100, size)
                    await asyncio.sleep(0)
                taken = tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
        assert stuck._inbox_size <= stuck.read_high + size + OVERHEAD
        assert taken < 1_000_000
        stuck.go_on.set()


@on_every_loop
async def test_garbage_never_ends_a_server(caplog):
    class Parser(trews.Datagram):
        def on_read(self, data, address):
            self.write(b"%d" % int(data.decode()), address)

    generator = random.Random(1)
    async with Server(Parser).listen(LO4) as server:
        (served,) = server.datagrams
        with Peer() as peer:
            for _ in range(100):
                peer.send(generator.randbytes(generator.randrange(50)), server)
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            peer.send(b"42", server)
            await asyncio.sleep(0.01)
            while peer.read()[0] != b"42":
                pass
        assert served.is_open
    failures = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert 1 <= len(failures) <= 3  # not a line for each


@on_every_loop
async def test_a_sender_that_cannot_be_answered_harms_nobody():
    async with Server(Noting).listen("udp:0") as server:
        (served,) = server.datagrams
        # As forged senders are: port 0, nowhere, a group, everybody.
        for address in (("127.0.0.1", 0), ("0.0.0.0", 9), ("240.0.0.1", 9), ("::", 0), ("ff02::1", 9)):
            served._took(b"forged", address)
            served.write(b"answer", address)
        await asyncio.sleep(0.01)
        with Peer() as peer:
            peer.send(b"honest", server)
            await until(lambda: b"honest" in served.notes)
        assert all(isinstance(n, OSError) for n in served.notes if not isinstance(n, bytes | str))


@on_every_loop
async def test_unix_clients_that_do_not_read_hold_back_nobody(tmp_path):
    async with Server(Echo).listen(f"unix:{tmp_path}/sock") as server:
        (served,) = server.datagrams
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
            deaf.bind(f"{tmp_path}/deaf")
            deaf.setblocking(False)
            for _ in range(2000):
                try:
                    deaf.sendto(bytes(500), f"{tmp_path}/sock")
                except BlockingIOError:
                    await asyncio.sleep(0)
            async with trews.connect(server.endpoints[0], trews.Datagram) as client:
                client.write(b"me, too")
                assert (await client.read(timeout=5))[0] == b"me, too"
            assert served._waiting < 200_000


@on_every_loop
async def test_names_of_unix_senders_cannot_break_a_log_line(tmp_path):
    async with Server(Noting).listen(f"unix:{tmp_path}/sock") as server:
        (served,) = server.datagrams
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as evil:
            evil.bind(b"\0evil\n\x1b[31m\xff")
            evil.settimeout(5)
            evil.sendto(b"x", f"{tmp_path}/sock")
            await until(lambda: b"x" in served.notes)
            address = "@evil\n\x1b[31m\udcff"
            served.write(b"answer", address)
            assert evil.recv(10) == b"answer"
        served.write(b"gone", address)
        await until(lambda: len(served.notes) > 2)
        text = str(served.notes[-1])
        assert text.isprintable()
