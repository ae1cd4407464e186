"""The handshake of a socket that has no protocol yet: its deadline, its failures, what the peer gets of them."""

from __future__ import annotations

import asyncio
import gc
import math
import socket
import ssl
import weakref

import pytest

from tests.clients import LOOPS
from tests.servers import virtually
from tests.tlspeer import V12, V13, VERSIONS, Peer, begin, contexts, join, memory_ends, settle
from trews.backends import READ
from trews.errors import TLSError
from trews.transport.handshake import Handshake
from trews.transport.tls import DISCARDS_A_TURN, HANDSHAKE_TIMEOUT, LEAVE_TIMEOUT, TLSSocket

BOTH_VERSIONS = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
ON_LOOPS = pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS)


def now():
    return asyncio.get_running_loop().time()


class Gone:
    """Counts how often it was told that the socket is closed."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1


def started(**kwargs):
    near, far = memory_ends()
    gone = Gone()
    made = begin(near, gone=gone, **kwargs)
    return made, far, gone


# -- in time


@virtually
async def test_a_silent_client_has_ten_seconds():
    made, far, gone = started()
    began = now()
    assert HANDSHAKE_TIMEOUT == 10
    error = await made
    assert isinstance(error, TLSError)
    assert "not done in time" in str(error)
    assert now() == began + 10
    assert gone.count == 1
    assert far.recv(100) == b""


@virtually
async def test_a_client_that_sends_byte_by_byte_does_not_extend_it():
    made, far, gone = started()
    began = now()
    _, hello = Peer(far, contexts()[0]).step()
    for byte in hello:
        far.send(bytes([byte]))
        await asyncio.sleep(1)
        if made.done():
            break
    assert now() <= began + 11
    assert "not done in time" in str(made.result())
    assert gone.count == 1


@virtually
async def test_one_that_is_done_in_the_last_moment_has_no_deadline_any_more():
    made, far, gone = started()
    peer = Peer(far, contexts()[0])
    await asyncio.sleep(9.9)
    await peer.shake()
    connection = join(await made)
    await asyncio.sleep(1000)
    assert connection.is_open
    connection.close()
    await connection.wait_closed()
    assert gone.count == 0


@virtually
async def test_without_a_timeout_it_waits_for_ever():
    made, far, _ = started(timeout=math.inf, server_side=False)
    await asyncio.sleep(10_000)
    assert not made.done()
    far.close()
    assert isinstance(await made, TLSError)


# -- failures


@BOTH_VERSIONS
@virtually
async def test_the_alert_reaches_the_client(version):
    made, far, gone = started(version=version)
    peer = Peer(far, contexts(V12 if version is V13 else V13)[0])
    await peer.send(peer.step()[1])
    error = await made
    assert "none of the versions" in str(error)
    with pytest.raises(ssl.SSLError) as caught:
        peer.step()
    assert caught.value.reason == "TLSV1_ALERT_PROTOCOL_VERSION"
    assert gone.count == 0  # until the client has had the time to take it
    far.shutdown(socket.SHUT_WR)
    await settle()
    assert gone.count == 1


@virtually
async def test_what_comes_after_a_failure_is_thrown_away_until_the_deadline():
    """A close over unread input would be a reset, which takes the alert away."""
    made, far, gone = started()
    began = now()
    far.send(b"GET / HTTP/1.1\r\n\r\n")
    assert "plain HTTP" in str(await made)
    for _ in range(15):
        far.send(bytes(1000))
        await asyncio.sleep(0.1)
    assert far.inbound == 0 or far.recv(100)[:1] == b"\x15"  # an alert, or nothing: OpenSSL sends none to HTTP
    assert gone.count == 0
    while not gone.count:
        await asyncio.sleep(0.5)
    assert began + LEAVE_TIMEOUT <= now() <= began + LEAVE_TIMEOUT + 0.5  # not the 10 s of a handshake


@virtually
async def test_what_is_thrown_away_takes_no_more_than_its_turn():
    made, far, gone = started()
    far.send(b"GET / HTTP/1.1\r\n\r\n")
    assert "plain HTTP" in str(await made)
    calls = []
    far.peer.chunk = 1
    receive = far.peer.recv
    far.send(bytes(100))

    def counted(size):
        calls.append(now())
        return receive(size)

    tls = far.peer._watcher
    tls._recv = counted
    tls.on_event(READ)
    assert len(calls) == DISCARDS_A_TURN
    while far.peer.inbound:
        await asyncio.sleep(0)
    far.close()
    while not gone.count:
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "plain HTTP"),
        (b"CONNECT x:443 HTTP/1.1\r\n\r\n", "proxy"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak TLS"),
        (bytes(100), "does not speak TLS"),
        (b"\x16\x03\x01\x00\x05hello", "TLS"),
        (b"\x16\x03\x01\xff\xff" + bytes(70_000), "TLS"),
    ],
)
@virtually
async def test_what_is_not_tls(data, words):
    made, far, gone = started()
    far.send(data[:60_000])
    assert words in str(await made)
    far.close()
    await settle()
    assert gone.count == 1


@virtually
async def test_clients_that_go_away():
    for how in ("close", "reset", "half of a hello"):
        made, far, gone = started()
        if how == "reset":
            far.setsockopt(1, socket.SO_LINGER, b"")
        elif how == "half of a hello":
            far.send(Peer(far, contexts()[0]).step()[1][:50])
            await settle()
        far.close()
        assert "closed the connection during the TLS handshake" in str(await made)
        await settle()
        assert gone.count == 1


@BOTH_VERSIONS
@virtually
async def test_a_client_that_is_refused_says_why(version):
    stranger = ssl.create_default_context()
    stranger.minimum_version = stranger.maximum_version = version
    made, far, gone = started(version=version, server_side=False, context=stranger)
    peer = Peer(far, contexts(version)[1], server_side=True)
    while not made.done():
        try:
            await peer.send(peer.step()[1])
        except ssl.SSLError:
            break
        await settle()
    assert "not trusted" in str(await made)
    assert gone.count == 1
    peer.take()
    with pytest.raises(ssl.SSLError) as caught:
        peer.tls.do_handshake()
        peer.tls.read(1)
    assert caught.value.reason == "TLSV1_ALERT_UNKNOWN_CA"


@virtually
async def test_a_context_for_the_other_side():
    for server_side in (True, False):
        made, _, gone = started(server_side=server_side, context=contexts()[not server_side])
        assert "TLS context" in str(await made)
        assert gone.count == 1


@virtually
async def test_a_client_without_a_name_to_check():
    near, _ = memory_ends()
    made = asyncio.get_running_loop().create_future()
    client = contexts()[0]
    loop = asyncio.get_running_loop()
    Handshake(loop, near, client, server_side=False, done=made.set_result, gone=lambda: None).start()
    assert "say server_name=" in str(await made)


@virtually
async def test_giving_up():
    made, far, gone = started()
    made.handshake.give_up("enough")
    assert str(made.result()) == "enough"
    assert gone.count == 1
    assert far.recv(100) == b""
    made.handshake.give_up("again")  # does nothing
    assert gone.count == 1


@virtually
async def test_giving_up_what_has_failed_closes_it():
    made, far, gone = started()
    far.send(bytes(100))
    assert isinstance(await made, TLSError)
    assert gone.count == 0
    made.handshake.give_up("the end of the server")
    assert gone.count == 1


@virtually
async def test_giving_up_what_is_done_does_nothing():
    made, far, gone = started()
    await Peer(far, contexts()[0]).shake()
    connection = join(await made)
    made.handshake.give_up("enough")
    await settle()
    assert connection.is_open
    assert gone.count == 0
    connection.abort()
    await connection.wait_closed()


@virtually
async def test_a_peer_that_does_not_read_its_answers():
    """What a handshake has to say is bounded, too."""
    near, far = memory_ends(capacity=10)
    loop = asyncio.get_running_loop()
    errors = []
    tls = TLSSocket(loop, near, near, contexts()[1], server_side=True, unsent=b"x" * 300_000)
    tls.start(errors.append, lambda: None)
    await settle()
    assert errors == []  # what was to be sent before it does not count
    tls._outgoing.write(bytes(300_000))
    far.send(b"\x16")
    await settle()
    assert "does not read" in str(errors[0])
    tls.close()


# -- on every loop, on real sockets


def run(make, main):
    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main)


async def shaken(server_side, sock, **kwargs):
    loop = asyncio.get_running_loop()
    made = loop.create_future()
    Handshake(
        loop,
        sock,
        contexts()[server_side],
        server_side=server_side,
        server_name=None if server_side else "localhost",
        done=made.set_result,
        gone=lambda: None,
        **kwargs,
    ).start()
    return await made


def sockets():
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    return ends


@ON_LOOPS
def test_both_ends(make):
    async def main():
        one, other = sockets()
        client, server = await asyncio.gather(shaken(False, one), shaken(True, other))
        assert client.tls.version == server.tls.version == "TLSv1.3"
        ends = join(client), join(server)
        await asyncio.sleep(0)
        ends[0].write(b"x" * 100_000)
        ends[0].close()
        await asyncio.wait_for(ends[1].wait_closed(), 20)
        assert ends[1].got == b"x" * 100_000
        assert ends[1].notes == ["eof", "ClosedByPeer"]
        await asyncio.wait_for(ends[0].wait_closed(), 20)
        await asyncio.sleep(0.01)

    run(make, main())


@ON_LOOPS
def test_a_deadline_on_every_loop(make):
    async def main():
        one, other = sockets()
        result = await asyncio.wait_for(shaken(True, other, timeout=0.01), 20)
        assert "not done in time" in str(result)
        one.close()
        await asyncio.sleep(0.01)

    run(make, main())


@ON_LOOPS
def test_giving_up_before_the_loop_has_made_its_transport(make):
    async def main():
        one, other = sockets()
        loop = asyncio.get_running_loop()
        results, gone = [], Gone()
        handshake = Handshake(loop, other, contexts()[1], server_side=True, done=results.append, gone=gone)
        handshake.start()
        handshake.give_up("stop")
        handshake.give_up("stop")
        assert [str(result) for result in results] == ["stop"]
        assert gone.count == 1
        await asyncio.sleep(0.01)
        one.close()

    run(make, main())


@ON_LOOPS
def test_nothing_is_left_of_failures(make):
    async def main():
        left = []
        for number in range(60):
            one, other = sockets()
            one.sendall((b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00", b"")[number % 3])
            one.close()
            result = await asyncio.wait_for(shaken(True, other), 20)
            assert isinstance(result, TLSError)
            left.append(weakref.ref(result))
            del result
        await asyncio.sleep(0.01)
        gc.collect()
        assert [ref for ref in left if ref() is not None] == []
        assert not [found for found in gc.get_objects() if isinstance(found, (TLSSocket, Handshake))]

    run(make, main())
