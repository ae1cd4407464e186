"""TLS under pressure: receivers that pause, peers that do not read, chunks that are stuck, files."""

from __future__ import annotations

import asyncio
import io
import random
import ssl

import pytest

import trews
from tests.servers import virtually
from tests.tlspeer import V12, V13, VERSIONS, Noting, Peer, begin, contexts, memory_ends, secured, settle
from trews.backends import READ, WRITE
from trews.errors import ConnectionClosed, WriteBufferFull, WriteStalled
from trews.transport.records import RECORD
from trews.transport.tls import CHUNK_MAX, RECV_MAX, RECV_MIN, RECV_NEXT

BOTH_VERSIONS = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
DATA = random.Random(0).randbytes(400_000)


# -- receivers that pause


@BOTH_VERSIONS
@virtually
async def test_a_receiver_that_pauses_in_the_middle_and_goes_on(version):
    class Pausing(Noting):
        def on_read(self, data):
            super().on_read(data)
            self.pause_reading()
            trews.after(1, self.resume_reading)

    async with secured(Pausing, version=version, capacity=30_000) as (connection, peer):
        await peer.send(peer.seal(DATA))
        await peer.send(peer.goodbye())
        await connection.wait_closed()
        assert connection.got == DATA
        assert connection.notes == ["eof", "ClosedByPeer"]


@virtually
async def test_who_has_paused_is_not_sent_more_than_buffers_hold():
    async with secured() as (connection, peer):
        connection.pause_reading()
        peer.tls.write(DATA)
        records, sent = peer.outgoing.read(), 0
        for _ in range(100):
            try:
                sent += peer.sock.send(records[sent:])
            except BlockingIOError:
                await asyncio.sleep(1)
        assert sent < 150_000
        assert connection.bytes_in <= 64 * 1024
        connection.resume_reading()
        await peer.send(records[sent:])
        await settle(20)
        assert connection.got == DATA


@virtually
async def test_a_reader_takes_its_time():
    """`read_high` is kept: what is not read holds back the peer."""
    async with secured(trews.Connection, read_high=10_000) as (connection, peer):
        sending = asyncio.ensure_future(peer.send(peer.seal(DATA)))
        await asyncio.sleep(5)
        assert not sending.done()
        got = b""
        while len(got) < len(DATA):
            got += await connection.read(1000 if len(DATA) - len(got) >= 1000 else len(DATA) - len(got))
        await sending
        assert got == DATA


# -- peers that do not read


@virtually
async def test_write_limit():
    async with secured(write_limit=100_000) as (connection, peer):
        while connection.is_open:
            connection.write(bytes(10_000))
        assert isinstance(connection.reason, WriteBufferFull)
        assert connection.bytes_out <= 64 * 1024
        del peer


@virtually
async def test_write_timeout():
    loop = asyncio.get_running_loop()
    async with secured(write_timeout=7) as (connection, _peer):
        began = loop.time()
        connection.write(DATA)
        await connection.wait_closed()
        assert isinstance(connection.reason, WriteStalled)
        assert loop.time() == began + 7


@virtually
async def test_a_slow_peer_is_not_taken_for_one_that_has_stopped():
    """A chunk is sent in many seconds here, and every byte of it counts."""
    async with secured(write_timeout=7, capacity=1000) as (connection, peer):
        connection.write(DATA[:60_000])
        got = b""
        for _ in range(80):
            await asyncio.sleep(5)
            got += peer.opened()
        assert connection.is_open
        assert got == DATA[:60_000]


@virtually
async def test_a_slow_peer_within_close_timeout():
    async with secured(close_timeout=7, capacity=1000) as (connection, peer):
        connection.write(DATA[:60_000])
        connection.close()
        got = b""
        for _ in range(80):
            await asyncio.sleep(5)
            got += peer.opened()
        assert got == DATA[:60_000]
        assert peer.end == "goodbye"


@virtually
async def test_bytes_out_are_those_that_are_sent():
    async with secured(capacity=50_000) as (connection, peer):
        connection.write(DATA)
        got = 0
        while got < len(DATA):
            assert connection.bytes_out - CHUNK_MAX < got + 50_000
            got += len(peer.opened())
            await settle(2)
            assert connection.bytes_out <= got + 50_000
        assert connection.bytes_out == len(DATA)


@virtually
async def test_the_writer_is_told_to_wait_and_to_go_on():
    class Telling(Noting):
        def on_full(self):
            self.notes.append("full")

        def on_drain(self):
            self.notes.append("drain")

    async with secured(Telling, capacity=20_000, write_high=50_000, write_low=10_000) as (connection, peer):
        connection.write(DATA)
        await settle()
        assert connection.notes == ["full"]
        draining = asyncio.ensure_future(connection.drain())
        assert await peer.until(len(DATA) - 80_000)
        assert not draining.done()
        await peer.until(80_000 - 16_000)
        await draining
        await settle()
        assert connection.notes == ["full", "drain"]


@pytest.mark.parametrize("capacity", [100, 1000, 20_000])
@virtually
async def test_small_writes_behind_a_chunk_that_is_stuck(capacity):
    """They are put together with it, after it was sealed: neither lost nor sent twice."""
    async with secured(capacity=capacity) as (connection, peer):
        expected = b""
        got = b""
        for number in range(3000):
            piece = b"%d," % number
            connection.write(piece)
            expected += piece
            if number % 100 == 0:
                await settle(2)
                got += peer.opened()
        got += await peer.until(len(expected) - len(got))
        assert got == expected
        assert connection.bytes_out == len(expected)


@pytest.mark.parametrize("seed", range(30))
@virtually
async def test_writes_of_any_size_to_peers_of_any_slowness(seed):
    dice = random.Random(seed)
    async with secured(version=dice.choice((V12, V13)), capacity=dice.choice((7, 500, 16_406, 20_000, 65_536))) as (
        connection,
        peer,
    ):
        expected, got = b"", b""
        for _ in range(60):
            piece = DATA[: dice.choice((1, 10, 1000, 4095, 4096, 16_384, 16_385, 70_000))]
            connection.write(bytearray(piece))
            expected += piece
            for _ in range(dice.choice((0, 0, 1, 3))):
                await asyncio.sleep(0)
                got += peer.opened()
            if dice.random() < 0.1:
                await peer.send(peer.seal(b"something else"))
            if len(expected) > 500_000 or (connection.sock._capacity < 1000 and len(expected) > 50_000):
                break
        got += await peer.until(len(expected) - len(got))
        assert got == expected
        connection.close()
        await peer.until(1)
        assert peer.end == "goodbye"


# -- files


@pytest.mark.parametrize("capacity", [300, 20_000, 65_536])
@pytest.mark.parametrize("kind", ["path", "in memory"])
@virtually
async def test_a_file_among_writes(tmp_path, capacity, kind):
    size = 30_000 if capacity < 1000 else 300_000
    path = tmp_path / "file"
    path.write_bytes(DATA[:size])
    async with secured(capacity=capacity) as (connection, peer):
        connection.write(b"before")
        sending = connection.write_file(path if kind == "path" else io.BytesIO(DATA[:size]))
        connection.write(b"after")
        second = connection.write_file(path, 100, 1000)
        expected = b"before" + DATA[:size] + b"after" + DATA[100:1100]
        await settle()
        assert not sending.done()
        assert await peer.until(len(expected)) == expected
        await sending
        await second
        assert connection.bytes_out == len(expected)


@virtually
async def test_a_file_that_becomes_shorter_while_it_is_stuck(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    async with secured(capacity=1000) as (connection, peer):
        sending = connection.write_file(path)
        await settle()
        path.write_bytes(b"")
        got = b""
        while not sending.done():
            got += peer.opened()
            await asyncio.sleep(0)
        with pytest.raises(EOFError, match="has become shorter"):
            await sending
        got += peer.opened()
        assert got
        assert DATA.startswith(got)
        assert len(got) == connection.bytes_out
        connection.write(b"goes on")
        assert await peer.until(7) == b"goes on"


# -- records on the wire


@virtually
async def test_chunks_grow_while_the_peer_keeps_up():
    """More is sealed at once the longer all is taken; after a chunk that is stuck it is one record again."""
    async with secured(capacity=1 << 20) as (connection, peer):
        tls = connection._transport.core.sock
        assert tls._chunk == RECORD
        connection.write(DATA)
        await settle()
        assert tls._chunk == CHUNK_MAX
        await peer.until(len(DATA))
        connection.write(bytes(2 << 20))
        await settle()
        assert tls._chunk == RECORD


@virtually
async def test_as_much_is_received_at_once_as_lately_came():
    async with secured() as (connection, peer):
        tls = connection._transport.core.sock
        sizes = []

        def recv(size, recv=tls._recv):
            sizes.append(size)
            return recv(size)

        tls._recv = recv
        await peer.send(peer.seal(b"little"))
        await settle()
        assert set(sizes) == {RECV_MIN}
        await peer.send(peer.seal(DATA))
        await settle()
        assert RECV_NEXT < max(sizes) <= RECV_MAX
        for _ in range(10):
            await peer.send(peer.seal(b"little"))
            await settle()
        assert sizes[-1] == RECV_MIN
        assert connection.got == b"little" + DATA + b"little" * 10


@virtually
async def test_what_came_before_a_failed_send_is_salvaged_though_it_is_more_than_a_recv_takes():
    """Of a record that is received in part nothing can be given, and the core calls until nothing is."""
    async with secured(capacity=1 << 20) as (connection, peer):
        tls = connection._transport.core.sock

        def send(data):
            raise BrokenPipeError

        tls._send = send
        peer.sock.send(peer.seal(DATA[:RECORD], DATA[RECORD:]))
        assert tls._room < RECORD
        connection.write(b"which nobody takes")
        await settle()
        assert connection.got == DATA
        assert isinstance(connection.reason, ConnectionClosed)
        assert not connection.is_open


@virtually
async def test_a_write_that_needs_input_first():
    """As in a renegotiation of TLS 1.2: the very same bytes are given to OpenSSL again, when something has come."""

    class Waiting:
        """OpenSSL's part of it."""

        def __init__(self, write):
            self._write, self.tried, self.is_waiting = write, [], True

        def write(self, data):
            self.tried.append(bytes(data))
            if self.is_waiting:
                raise ssl.SSLWantReadError
            return self._write(data)

    for is_paused in (False, True):
        async with secured(version=V12) as (connection, peer):
            tls = connection._transport.core.sock
            session = Waiting(tls._seal)
            tls._seal = session.write
            if is_paused:
                connection.pause_reading()
            connection.write(b"one ")
            connection.write(b"two")
            await settle()
            assert session.tried == [b"one "]
            session.is_waiting = False
            await peer.send(peer.seal(b"what it waited for"))
            assert await peer.until(7) == b"one two"
            assert session.tried[:2] == [b"one ", b"one "]
            connection.resume_reading()
            await settle()
            assert connection.got == b"what it waited for"


class Lazy:
    """Stands on a TLS socket and never changes what it watches for."""

    def __init__(self, tls, answer):
        self.tls, self.answer, self.got = tls, answer, b""
        tls.watch(tls.fileno(), self, READ)

    def on_event(self, mask):
        try:
            if data := self.tls.recv(1):
                self.got += data
                self.tls.send(self.answer)
        except BlockingIOError:
            pass


@virtually
async def test_what_is_polled_for_follows_though_the_watcher_asks_for_nothing_else():
    near, far = memory_ends(2000)
    made = begin(near)
    peer = Peer(far, contexts()[0])
    await peer.shake()
    tls = await made
    lazy = Lazy(tls, bytes(9000))
    await settle()
    peer.opened()
    await peer.send(peer.seal(b"request"))
    await settle()
    assert near._mask == READ | WRITE  # what the socket below has not taken
    assert len(await peer.until(9000)) == 9000
    await settle()
    assert near._mask == READ
    await peer.send(peer.goodbye())
    await settle()
    assert near._mask == 0  # nothing comes after the end: its FIN would be told for ever
    assert lazy.got == b"request"
    tls.close()
    await settle()
