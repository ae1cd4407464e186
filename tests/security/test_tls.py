"""TLS, as it was broken elsewhere: each test is named after what went wrong there and shows that it cannot here."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
import struct

import pytest

import trews
from tests.clients import LOOPS
from tests.servers import Echo, Notes, until, virtually
from tests.tlspeer import VERSIONS, Noting, Peer, begin, contexts, join, memory_ends, secured, settle
from trews.errors import TLSError
from trews.framing import Line
from trews.testing import wire
from trews.transport.handshake import Handshake
from trews.transport.tls import CONTROL_MAX, TLSSocket

GO = b"220 go ahead\r\n"
RESET = struct.pack("ii", 1, 0)


class Mail(trews.Connection):
    framer = Line(encoding="utf-8")

    def __init__(self):
        self.commands = []

    def on_read(self, line):
        self.commands.append(line)
        if line == "STARTTLS":
            self.start_tls(contexts()[1], reply=GO, server_side=True)


# -- what came in clear must not count as protected


@pytest.mark.parametrize("chunk", [None, 1, 3])
@pytest.mark.parametrize("behind", [b"\n", b"RCPT TO:<evil>\r\n", b"\x16\x03\x01"])
def test_cve_2011_0411_commands_injected_behind_starttls(behind, chunk):
    """Postfix and many others; CVE-2024-34083 is aiosmtpd's. What is read one by one ends it in the handshake."""
    w = wire(Mail)
    w.feed(b"STARTTLS\r\n" + behind, chunk=chunk)
    w.advance(11)
    assert w.connection.commands == ["STARTTLS"]
    assert isinstance(w.reason, TLSError)
    if chunk is None:
        assert w.sent() == b""  # not even the reply: the client must not go on


@virtually
async def test_cve_2021_38371_answers_injected_behind_the_reply_of_starttls():
    """Exim, and CVE-2021-22947 of curl: what a server said in clear was taken for its answer under TLS."""
    near, far = memory_ends()
    connection = join(near, trews.Connection, framer=Line())
    await settle()
    far.send(GO + b"250 forged\r\n")
    assert await connection.read() == GO.strip()
    with pytest.raises(TLSError, match="12 bytes in clear"):
        await connection.start_tls(contexts()[0], server_side=False, server_name="localhost")
    with pytest.raises(TLSError):
        await connection.read()


@pytest.mark.parametrize("ends_with", ["end", "reset", "silence"])
@virtually
async def test_cve_2023_40217_data_before_the_handshake_is_never_delivered(ends_with):
    """CPython's SSLSocket: clear text and an end before the handshake could be read as if it had come under TLS."""
    near, far = memory_ends()
    made = begin(near)
    far.send(b"DELETE /everything HTTP/1.1\r\n\r\n")
    if ends_with == "end":
        far.shutdown(socket.SHUT_WR)
    elif ends_with == "reset":
        far.setsockopt(1, socket.SO_LINGER, b"")
        far.close()
    result = await made
    assert isinstance(result, TLSError)
    await asyncio.sleep(20)


@virtually
async def test_clear_text_inside_of_tls_is_never_delivered():
    async with secured() as (connection, peer):
        await peer.send(peer.seal(b"sealed") + b"in clear, and long enough for a record of its own")
        await connection.wait_closed()
        assert connection.got == b"sealed"
        assert isinstance(connection.reason, TLSError)


# -- ends that are forged


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
@virtually
async def test_truncation_a_fin_of_somebody_between_is_not_the_end(version):
    """Cookie cutter: half of `Set-Cookie: …; Secure`. What has no length of its own must not look complete."""
    for ignores_cuts in (False, True):
        async with secured(trews.Connection, version=version, ignores_cuts=ignores_cuts) as (connection, peer):
            await peer.send(peer.seal(b"Set-Cookie: session=1"))
            peer.sock.shutdown(socket.SHUT_WR)
            with pytest.raises(TLSError):
                await connection.read_all()


# -- names


@virtually
async def test_a_client_that_knows_no_name_does_not_go_on_without_checking():
    """`SSLContext.wrap_bio` checks no name if there is none, whatever `check_hostname` says."""
    near, far = memory_ends()
    connection = join(near, Noting)
    await settle()
    assert contexts()[0].check_hostname
    with pytest.raises(ValueError, match="say server_name="):
        connection.start_tls(contexts()[0], server_side=False)
    connection.abort()
    await connection.wait_closed()
    del far


# -- exhaustion


@virtually
async def test_cve_2007_6750_slowloris_in_the_handshake():
    near, far = memory_ends()
    loop = asyncio.get_running_loop()
    began = loop.time()
    made = begin(near)
    _, hello = Peer(far, contexts()[0]).step()
    sending = iter(hello)
    while not made.done():
        far.send(bytes([next(sending)]))
        await asyncio.sleep(0.9)
    assert loop.time() - began < 11
    assert isinstance(made.result(), TLSError)


@virtually
async def test_floods_of_questions_whose_answers_are_not_read():
    """A peer that asks for new keys again and again and reads nothing: the answers must not fill the memory."""
    async with secured(write_timeout=None, capacity=100_000) as (connection, peer):
        connection.write(bytes(500_000))  # a chunk is stuck
        tls = connection._transport.core.sock
        assert tls._owed
        for _ in range(200):
            tls._outgoing.write(bytes(10_000))  # as OpenSSL answers
            await peer.send(peer.seal(b"x"))
            await settle(2)
            if not connection.is_open:
                break
        assert len(tls._unsent) < CONTROL_MAX + 100_000
        await connection.wait_closed()
        assert isinstance(connection.reason, TLSError)


def _attack(port, kind):
    """One client. What it leaves behind is what the server has to do with."""
    sock = socket.create_connection(("127.0.0.1", port))
    outgoing = ssl.MemoryBIO()
    tls = contexts()[0].wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = outgoing.read()
    if kind == "half":
        sock.sendall(hello[:100])
    elif kind in ("whole", "reset"):
        sock.sendall(hello)
    elif kind == "garbage":
        sock.sendall(os.urandom(200))
    elif kind == "http":
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    if kind in ("reset", "reset at once"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return sock


KINDS = ("silent", "half", "whole", "garbage", "http", "reset", "reset at once")


@pytest.mark.parametrize(("make", "times"), [(LOOPS["trews"], 2000), (LOOPS["asyncio"], 300), (LOOPS["uvloop"], 300)])
def test_a_flood_of_handshakes_leaves_nothing(make, times):
    async def main():
        async with Notes(Echo, tls_context=contexts()[1], max_handshakes=100).listen("tls:127.0.0.1:0") as server:
            loop = asyncio.get_running_loop()

            def wave(first):
                return [_attack(server.port, KINDS[number % len(KINDS)]) for number in range(first, first + 100)]

            before = None
            for first in range(0, times, 100):
                socks = await loop.run_in_executor(None, wave, first)
                await until(lambda done=first + 100: server.stats.accepted == done)
                for sock in socks:
                    sock.close()
                if before is None:
                    await until(lambda: not server._sockets)
                    await settle()
                    before = len(os.listdir("/proc/self/fd"))
            await until(lambda: not server._sockets)
            await settle()
            assert server.stats.accepted == server.stats.handshakes_failed == times
            assert (len(server._handshakes), server._hosts, server.notes) == (0, {}, [])
            if before is not None:
                assert len(os.listdir("/proc/self/fd")) <= before
            conn = await trews.connect(f"tls:127.0.0.1:{server.port}?server_name=localhost", tls_context=contexts()[0])
            conn.write(b"still here")
            assert await conn.read(10) == b"still here"
            conn.close()
            await conn.wait_closed()
            await until(lambda: not server._sockets)

    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())
    gc.collect()
    assert [found for found in gc.get_objects() if isinstance(found, (TLSSocket, Handshake))] == []
