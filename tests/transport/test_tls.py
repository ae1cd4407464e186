"""TLS on a socket: records however they come, and every way in which it ends."""

from __future__ import annotations

import asyncio
import random

import pytest

import trews
from tests.servers import virtually
from tests.tlspeer import V12, V13, VERSIONS, Noting, Peer, begin, contexts, join, memory_ends, secured, settle
from trews.errors import ClosedByPeer, ConnectionReset, TLSError
from trews.transport.memory import memory_pair
from trews.transport.tls import CONTROL_MAX, TLSSocket

BOTH_VERSIONS = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
BOTH_SIDES = pytest.mark.parametrize("server_side", [True, False], ids=["server", "client"])
MESSAGES = [b"a", b"hello", bytes(range(256)) * 64, b"x" * 40_000, b"", b"end"]
ALL = b"".join(MESSAGES)


def pieces_of(data, seed):
    """Cut at random places."""
    cuts = random.Random(seed)
    while data:
        count = cuts.choice((1, 2, 5, 6, 100, 5000, 30_000))
        yield data[:count]
        data = data[count:]


# -- records, cut anywhere


@BOTH_VERSIONS
@BOTH_SIDES
@pytest.mark.parametrize("chunk", [None, 1, 4, 5, 6, 16_384])
@virtually
async def test_records_in_pieces(version, server_side, chunk):
    is_slow = chunk is not None and chunk < 100
    messages = [b"a", b"hello", b"x" * 300] if is_slow else [message for message in MESSAGES if message]
    async with secured(version=version, server_side=server_side) as (connection, peer):
        await peer.send(peer.seal(*messages), chunk)
        await settle()
        assert connection.got == b"".join(messages)
        assert connection.bytes_in == len(connection.got)


@pytest.mark.parametrize("seed", range(20))
@virtually
async def test_records_cut_at_random(seed):
    async with secured(version=(V12, V13)[seed % 2]) as (connection, peer):
        for piece in pieces_of(peer.seal(*filter(None, MESSAGES)), seed):
            await peer.send(piece)
            if seed % 3:
                await settle(seed % 5)
        await settle(50)
        assert connection.got == ALL


@virtually
async def test_many_records_in_one_segment_are_one_delivery():
    """As they have come by one recv, all are opened: none may wait in memory for a next event."""
    async with secured() as (connection, peer):
        await peer.send(peer.seal(*[b"%d " % number for number in range(500)]))
        await settle()
        assert connection.got == b"".join(b"%d " % number for number in range(500))


@BOTH_VERSIONS
@pytest.mark.parametrize("chunk", [None, 1, 7])
@virtually
async def test_the_handshake_in_pieces(version, chunk):
    for server_side in (True, False):
        near, far = memory_ends()
        made = begin(near, server_side=server_side, version=version)
        peer = Peer(far, contexts(version)[not server_side], server_side=not server_side)
        await peer.shake(chunk)
        await settle()
        connection = join(await made)
        await peer.send(peer.seal(b"hello"), chunk)
        await settle()
        assert connection.got == b"hello"
        connection.abort()
        await connection.wait_closed()


@pytest.mark.parametrize("first", [b"GET /", b"x" * 40_000])
@virtually
async def test_the_first_request_in_one_segment_with_the_end_of_the_handshake(first):
    """It is in memory then, and no poller tells."""
    near, far = memory_ends()
    made = begin(near)
    peer = Peer(far, contexts()[0])
    _, hello = peer.step()
    await peer.send(hello)
    await settle()
    is_done, finished = peer.step()
    assert is_done
    await peer.send(finished + peer.seal(first))
    connection = join(await made)
    await settle()
    assert connection.got == first
    connection.abort()
    await connection.wait_closed()


@virtually
async def test_what_comes_behind_the_handshake_is_opened_in_slices_too():
    """Or key updates in that one segment would stop the loop for half a second."""
    near, far = memory_ends()
    made = begin(near)
    peer = Peer(far, contexts()[0])
    await peer.send(peer.step()[1])
    await settle()
    await peer.send(peer.step()[1] + peer.seal(bytes(40_000)))
    tls = await made
    assert tls._incoming.pending == 0  # OpenSSL has none of it yet
    assert len(tls._records._sealed) > 40_000
    tls.close()
    await settle()


@virtually
async def test_the_first_request_waits_in_memory_for_who_does_not_read_yet():
    near, far = memory_ends()
    made = begin(near)
    peer = Peer(far, contexts()[0])
    await peer.send(peer.step()[1])
    await settle()
    await peer.send(peer.step()[1] + peer.seal(b"first"))

    class Later(Noting):
        def on_connect(self):
            self.pause_reading()

    connection = join(await made, Later)
    await settle()
    assert connection.got == b""
    connection.resume_reading()
    await settle()
    assert connection.got == b"first"
    connection.abort()
    await connection.wait_closed()


@virtually
async def test_who_half_closes_at_once_still_gets_what_came_with_the_handshake():
    """OpenSSL throws away what is complete when it says goodbye: APPLICATION_DATA_AFTER_CLOSE_NOTIFY."""
    near, far = memory_ends()
    made = begin(near)
    peer = Peer(far, contexts()[0])
    await peer.send(peer.step()[1])
    await settle()
    await peer.send(peer.step()[1] + peer.seal(b"first"))

    class Short(Noting):
        half_close = True

        def on_connect(self):
            self.write(b"all that I have to say")
            self.close_write()

    connection = join(await made, Short)
    await settle()
    assert connection.got == b"first"
    assert (peer.opened(), peer.end) == (b"all that I have to say", "goodbye")
    await peer.send(peer.seal(b" and second") + peer.goodbye())
    peer.sock.shutdown(1)
    await connection.wait_closed()
    assert connection.got == b"first and second"
    assert connection.notes == ["eof", "ClosedByPeer"]


# -- its ends


@BOTH_VERSIONS
@BOTH_SIDES
@virtually
async def test_goodbye_in_one_segment_with_the_last_data(version, server_side):
    async with secured(version=version, server_side=server_side) as (connection, peer):
        await peer.send(peer.seal(b"last words") + peer.goodbye())
        await connection.wait_closed()
        assert connection.got == b"last words"
        assert connection.notes == ["eof", "ClosedByPeer"]
        assert (peer.opened(), peer.end) == (b"", "goodbye")


@BOTH_VERSIONS
@pytest.mark.parametrize("chunk", [None, 1])
@virtually
async def test_goodbye_then_the_end_is_clean(version, chunk):
    async with secured(version=version) as (connection, peer):
        await peer.send(peer.seal(b"x"), chunk)
        await peer.send(peer.goodbye(), chunk)
        peer.sock.shutdown(1)
        await connection.wait_closed()
        assert isinstance(connection.reason, ClosedByPeer)
        assert connection.got == b"x"


@BOTH_VERSIONS
@BOTH_SIDES
@pytest.mark.parametrize("before", [b"", b"what came before"])
@pytest.mark.parametrize("rest", [0, 1, 4, 5, 6, 20], ids=lambda count: f"{count} bytes of a record")
@pytest.mark.parametrize("ignores_cuts", [False, True])
@virtually
async def test_an_end_without_goodbye_is_an_error_after_what_came_before(
    version, server_side, before, rest, ignores_cuts
):
    """Also with a context, or a configuration of OpenSSL, that would take it for a goodbye."""
    ends = secured(version=version, server_side=server_side, ignores_cuts=ignores_cuts)
    async with ends as (connection, peer):
        data = peer.seal(before) if before else b""
        await peer.send(data + peer.seal(b"never complete")[:rest])
        peer.sock.shutdown(1)
        await connection.wait_closed()
        assert connection.got == before
        assert connection.notes == ["TLSError"]
        assert "goodbye" in str(connection.reason)
        assert not connection.reason.is_clean


@virtually
async def test_an_end_without_goodbye_is_what_a_reader_gets():
    async with secured(trews.Connection) as (connection, peer):
        await peer.send(peer.seal(b"some"))
        peer.sock.shutdown(1)
        with pytest.raises(TLSError, match="goodbye"):
            await connection.read_all()


@virtually
async def test_a_record_that_was_changed():
    async with secured() as (connection, peer):
        bad = bytearray(peer.seal(b"changed on the way"))
        bad[-1] ^= 1
        await peer.send(bytes(bad))
        await connection.wait_closed()
        assert connection.got == b""
        assert connection.notes == ["TLSError"]
        assert "changed" in str(connection.reason)


@pytest.mark.parametrize("junk", [b"\x17\x03\x03\x00\x20" + bytes(32), b"GET / HTTP/1.1\r\n\r\n", bytes(100)])
@BOTH_VERSIONS
@virtually
async def test_data_and_then_what_is_no_record(version, junk):
    async with secured(version=version) as (connection, peer):
        await peer.send(peer.seal(b"good", b"too") + junk)
        await connection.wait_closed()
        assert connection.got == b"goodtoo"
        assert connection.notes == ["TLSError"]


@virtually
async def test_the_error_behind_data_waits_for_who_has_paused():
    class Pausing(Noting):
        def on_read(self, data):
            super().on_read(data)
            self.pause_reading()

    async with secured(Pausing) as (connection, peer):
        await peer.send(peer.seal(b"good") + bytes(50))
        await asyncio.sleep(100)
        assert connection.got == b"good"
        assert connection.is_open
        connection.resume_reading()
        await connection.wait_closed()
        assert isinstance(connection.reason, TLSError)


@virtually
async def test_a_reset_is_a_reset():
    async with secured() as (connection, peer):
        peer.sock.setsockopt(1, 13, b"")
        peer.sock.close()
        await connection.wait_closed()
        assert isinstance(connection.reason, ConnectionReset)


@virtually
async def test_close_says_goodbye_after_the_last_data():
    for version in (V12, V13):
        async with secured(version=version) as (connection, peer):
            connection.write(b"x" * 30_000)
            connection.close()
            await settle()
            assert (peer.opened(), peer.end) == (b"x" * 30_000, "goodbye")
            assert peer.is_cut


@virtually
async def test_much_on_the_way_when_it_closes():
    data = random.Random(1).randbytes(1_000_000)
    async with secured() as (connection, peer):
        connection.write(data)
        connection.close()
        assert await peer.until(len(data)) == data
        peer.opened()
        await settle()
        peer.opened()
        assert peer.end == "goodbye"


@BOTH_SIDES
@virtually
async def test_half_close_of_ours(server_side):
    """With half a record received at that time, which goes on after it."""
    async with secured(server_side=server_side, half_close=True) as (connection, peer):
        record = peer.seal(b"in the middle")
        await peer.send(record[:9])
        await settle()
        connection.close_write()
        await settle()
        assert (peer.opened(), peer.end) == (b"", "goodbye")
        await peer.send(record[9:])
        await settle()
        assert connection.got == b"in the middle"
        await peer.send(peer.seal(b"x" * 100_000))
        await settle(30)
        assert connection.got == b"in the middle" + b"x" * 100_000
        assert connection.is_open
        await peer.send(peer.goodbye())
        await connection.wait_closed()
        assert connection.notes == ["eof", "ClosedByPeer"]


@BOTH_SIDES
@virtually
async def test_half_close_of_theirs(server_side):
    async with secured(server_side=server_side, half_close=True) as (connection, peer):
        await peer.send(peer.seal(b"question") + peer.goodbye())
        peer.sock.shutdown(1)
        await settle()
        assert connection.notes == ["eof"]
        connection.write(b"x" * 200_000)
        assert await peer.until(200_000) == b"x" * 200_000
        connection.close()
        await connection.wait_closed()
        peer.opened()
        assert peer.end == "goodbye"


@virtually
async def test_a_cut_after_our_goodbye_is_still_none_of_theirs():
    async with secured(half_close=True) as (connection, peer):
        connection.close_write()
        await peer.send(peer.seal(b"not all"))
        peer.sock.shutdown(1)
        await connection.wait_closed()
        assert connection.got == b"not all"
        assert connection.notes == ["TLSError"]


@virtually
async def test_in_tls_1_2_one_direction_cannot_be_closed_alone():
    async with secured(version=V12) as (connection, peer):
        with pytest.raises(trews.Error, match=r"TLSv1.2 cannot close one direction alone: use close\(\)"):
            connection.close_write()
        connection.write(b"goes on")
        await settle()
        assert peer.opened() == b"goes on"
        connection.close()
        await settle()
        assert (peer.opened(), peer.end) == (b"", "goodbye")


@virtually
async def test_goodbye_that_finds_no_room_is_said_later():
    """The peer has ended and is slow to read: what makes the end a clean one must not be what is left behind."""
    async with secured(capacity=20_000, half_close=True) as (connection, peer):
        await peer.send(peer.goodbye())
        await settle()
        count = 0
        while connection.sock._room() > 1000:
            connection.write(b"x" * 500)
            count += 500
        left = connection.sock._room() - 22
        if left > 0:
            connection.write(b"x" * (left - 1))
            count += left - 1
        assert connection.sock._room() == 1
        connection.close()
        await settle()
        assert await peer.until(count) == b"x" * count
        await settle()
        peer.opened()
        assert peer.end == "goodbye"


@virtually
async def test_the_end_of_ours_comes_behind_a_goodbye_that_found_no_room():
    async with secured(capacity=10_000, half_close=True) as (connection, peer):
        connection.write(b"x" * (10_000 - 23))
        connection.close_write()
        assert connection.sock._room() == 0  # a byte of it has gone
        assert await peer.until(10_000 - 23)
        await settle()
        peer.opened()
        assert peer.end == "goodbye"
        peer.take()
        assert peer.is_cut
        assert connection.is_open
        await peer.send(peer.seal(b"still heard") + peer.goodbye())
        await connection.wait_closed()
        assert connection.got == b"still heard"


@virtually
async def test_a_goodbye_that_finds_no_room_has_two_seconds():
    for is_aborted in (False, True):
        async with secured(capacity=10_000, half_close=True) as (connection, peer):
            await peer.send(peer.goodbye())
            await settle()
            connection.write(b"x" * (10_000 - 23))
            connection.close_write()
            tls = connection._transport.core.sock
            if is_aborted:
                connection.abort()
            await connection.wait_closed()
            await settle()
            assert connection.sock._is_closed is is_aborted  # an abort gives it no time
            await asyncio.sleep(2.1)
            assert connection.sock._is_closed
            tls.close()  # again, which does nothing


# -- what a peer may ask for


@virtually
async def test_answers_that_a_peer_does_not_read_are_bounded():
    """Requests for new keys, each of which is answered; OpenSSL makes as many as it is asked for."""
    loop = asyncio.get_running_loop()
    near, _far = memory_pair(loop, "tls", 1000)
    tls = TLSSocket(loop, near, near, contexts()[1], server_side=True)
    for owed in (0, 500):
        tls._state, tls._rest, tls._owed, tls._unsent = 1, None, owed, b""
        tls._outgoing.write(bytes(CONTROL_MAX + 70_000))
        tls._push_control()
        assert isinstance(tls._rest, TLSError)
        with pytest.raises(TLSError, match="reads"):
            tls.recv(1)
    tls.close()


def test_a_context_for_the_other_side_is_told():
    async def main():
        near, _ = memory_ends()
        client, server = contexts()
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="for clients"):
            TLSSocket(loop, near, near, client, server_side=True)
        with pytest.raises(ValueError, match="for servers"):
            TLSSocket(loop, near, near, server, server_side=False, server_name="localhost")

    asyncio.run(main())
