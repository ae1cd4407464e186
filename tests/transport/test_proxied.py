"""Sockets whose PROXY header is being read: not a byte too much is taken, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import socket
import struct
from contextlib import closing, contextmanager

import pytest

import trews
from tests.clients import LOOPS
from tests.servers import Echo, really, until
from trews import Endpoint, ListenError, Server
from trews.testing import VirtualLoop
from trews.transport import proxied
from trews.transport.listener import bind
from trews.transport.proxied import HEADER_TIMEOUT, QUIET, Arrivals, is_within

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
ENDS = (("192.0.2.1", 56324), ("198.51.100.2", 443))
START = b"\r\n\r\n\0\r\nQUIT\n"
BINARY = START + b"\x21\x11" + struct.pack("!H4B4BHH", 12, 192, 0, 2, 1, 198, 51, 100, 2, 56324, 443)
LOCAL = START + b"\x20\x00\x00\x00"
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256))
HERE = "tcp:127.0.0.1:0?proxy_protocol="
PEER = ("127.0.0.1", 999)

both = pytest.mark.parametrize("header", [LINE, BINARY], ids=["v1", "v2"])
on_every_loop = pytest.mark.parametrize("name", LOOPS)


class Stage:
    """Arrivals of a listener that trusts loopback, and what they told."""

    def __init__(self, loop, text=HERE + "127.0.0.0/8"):
        self.loop = loop
        self.accepted, self.refused = [], 0
        self.arrivals = Arrivals(loop, Endpoint.parse(text), self._accept, self._refuse)

    def _accept(self, sock, source, destination):
        self.accepted.append((sock, source, destination))

    def _refuse(self):
        self.refused += 1

    def call(self, address=PEER, first=b""):
        """A client, which has sent its first bytes when it is accepted."""
        ours, client = socket.socketpair()
        ours.setblocking(False)
        client.settimeout(5)
        client.sendall(first)
        self.arrivals.add(ours, address)
        return client


@contextmanager
def stage(text=HERE + "127.0.0.0/8"):
    with closing(VirtualLoop()) as loop:
        made = Stage(loop, text)
        yield made
        made.arrivals.close()
        for sock, _, _ in made.accepted:
            sock.close()
        assert loop._next() is None  # no timer is left


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


# -- to the byte


@both
@pytest.mark.parametrize("more", [b"", HELLO, b"\r\n", LINE, BINARY], ids=["nothing", "TLS", "CRLF", "v1", "v2"])
def test_what_follows_in_the_same_segment_is_still_in_the_socket(header, more):
    with stage() as it, it.call(first=header + more):
        ((sock, *ends),) = it.accepted
        assert tuple(ends) == ENDS
        assert (sock.recv(1000) if more else b"") == more
        assert (it.arrivals.count, it.refused) == (0, 0)


@both
def test_a_header_that_comes_byte_by_byte_is_taken_byte_by_byte(header):
    with stage() as it, it.call() as client:
        for byte in header:
            assert not it.accepted
            assert it.arrivals.count == 1
            client.sendall(bytes([byte]))
            it.loop.settle()
        client.sendall(HELLO)
        ((sock, *ends),) = it.accepted
        assert tuple(ends) == ENDS
        assert sock.recv(1000) == HELLO


@both
def test_in_random_pieces_with_more_behind(header):
    choice = random.Random(3)
    with stage() as it:
        for _ in range(50):
            with it.call() as client:
                rest = header + HELLO
                while rest:
                    count = choice.randint(1, 20)
                    client.sendall(rest[:count])
                    rest = rest[count:]
                    it.loop.settle()
                sock, *ends = it.accepted[-1]
                assert tuple(ends) == ENDS
                assert sock.recv(1000) == HELLO
        assert len(it.accepted) == 50


def test_an_unfinished_header_does_not_wake_the_loop_again(monkeypatch):
    reads = []
    real = Arrivals._read
    monkeypatch.setattr(Arrivals, "_read", lambda self, arrival: reads.append(1) or real(self, arrival))
    with stage() as it, it.call(first=LINE[:20]) as client:
        client.sendall(LINE[20:30])
        for _ in range(20):
            it.loop.settle()
        assert len(reads) == 2


def test_a_socket_that_gives_less_than_it_showed_is_read_again():
    class Sparing(socket.socket):
        def recv(self, count, flags=0):
            return super().recv(count if flags else min(count, 10), flags)

    with stage() as it:
        ours, client = socket.socketpair()
        with client:
            sparing = Sparing(fileno=ours.detach())
            sparing.setblocking(False)
            client.sendall(BINARY + HELLO)
            it.arrivals.add(sparing, PEER)
            it.loop.settle()
            ((sock, *ends),) = it.accepted
            assert tuple(ends) == ENDS
            assert sock.recv(5, socket.MSG_PEEK) == HELLO[:5]


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"], ids=["LOCAL", "UNKNOWN"])
def test_without_another_peer_it_is_the_socket_s_own(header):
    with stage() as it, it.call(first=header):
        ((_, source, destination),) = it.accepted
        assert (source, destination) == (PEER, None)


# -- whom to believe

TRUST = [
    ("127.0.0.1", "127.0.0.0/8", True),
    ("127.0.0.1", "10.0.0.0/8,127.0.0.1", True),
    ("10.0.0.1", "127.0.0.0/8", False),
    ("::1", "127.0.0.1", False),
    ("::1", "::1", True),
    ("::ffff:10.1.2.3", "10.0.0.0/8", True),
    ("::ffff:11.1.2.3", "10.0.0.0/8", False),
    ("::ffff:10.1.2.3", "::ffff:0:0/96", True),
    ("10.1.2.3", "::/0", False),
    ("fe80::1%eth0", "fe80::/10", True),
]


@pytest.mark.parametrize(("peer", "networks", "trusted"), TRUST)
def test_only_peers_of_the_networks_are_believed(peer, networks, trusted):
    assert is_within((peer, 1), [ipaddress.ip_network(text) for text in networks.split(",")]) is trusted


@pytest.mark.parametrize("address", [None, "", "/run/peer", b"\0peer"])
def test_who_has_no_address_is_not_in_a_network(address):
    assert not is_within(address, [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])


@pytest.mark.parametrize("address", ["", "/run/peer", b"\0peer"])
def test_on_a_unix_socket_everybody_is_believed(address):
    with stage("unix:/run/x?proxy_protocol=127.0.0.1") as it, it.call(address, LINE):
        assert [tuple(ends) for _, *ends in it.accepted] == [ENDS]


def test_a_peer_from_elsewhere_is_closed_unread(caplog):
    with stage() as it:
        for _ in range(100):
            with it.call(("192.0.2.9", 7), LINE) as client:
                assert is_closed(client)
        assert (it.accepted, it.refused, it.arrivals.count) == ([], 100, 0)
        it.loop.advance(QUIET)
        it.call(("192.0.2.10", 7)).close()
    lines = [record.getMessage() for record in caplog.records]  # one a minute
    assert len(lines) == 2
    assert lines[0].endswith("192.0.2.9:7 is not among those whose PROXY headers are taken; it was closed")
    assert "192.0.2.10:7" in lines[1]


# -- what else may come

BAD = [
    (b"GET / HTTP/1.1\r\n\r\n", "b'GET / HTTP/1.1\\r\\n\\r\\n': it does not begin as a PROXY header does"),
    (HELLO, "but b'\\x16\\x03\\x01"),
    (b"\x1b[31m\nall is lost", "but b'\\x1b[31m\\nall is lost'"),
    (LINE[:-2] + b"\n", "the line does not end"),
    (b"PROXY UNKNOWN" + b"x" * 200, "longer than 107 bytes"),
    (START + b"\x21\x12\x00\x0c" + bytes(12), "datagrams"),
]


@pytest.mark.parametrize(("data", "why"), BAD)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_no_header_is_closed_and_told_in_one_plain_line(data, why, size, caplog):
    with stage() as it, it.call() as client:
        for start in range(0, len(data), size):
            try:
                client.sendall(data[start : start + size])
            except BrokenPipeError:
                break  # it was enough
            it.loop.settle()
        assert is_closed(client)
        assert (it.accepted, it.refused, it.arrivals.count) == ([], 1, 0)
    (record,) = caplog.records
    line = record.getMessage()
    assert line.isprintable()
    assert len(line) < 300
    if size > 1:
        assert why in line


@pytest.mark.parametrize("first", [b"", LINE[:7], BINARY[:20]])
def test_hanging_up_early_is_told_once(first, caplog):
    with stage() as it:
        for _ in range(3):
            client = it.call(first=first)
            client.close()
            it.loop.settle()
        assert (it.accepted, it.refused, it.arrivals.count) == ([], 3, 0)
    assert [record.getMessage().partition("127.0.0.1:999 ")[2] for record in caplog.records] == [
        "hung up before its PROXY header was complete; it was closed"
    ]


def test_a_reset_is_a_loss_like_any_other(caplog):
    with socket.create_server(("127.0.0.1", 0)) as server, stage() as it:
        client = socket.create_connection(server.getsockname())
        ours, address = server.accept()
        ours.setblocking(False)
        it.arrivals.add(ours, address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        it.loop.settle()
        assert (it.refused, it.arrivals.count) == (1, 0)
    assert "was lost before its PROXY header was complete" in caplog.text


# -- deadline and bound


@pytest.mark.parametrize("first", [b"", LINE[:7], BINARY[:20]])
def test_a_header_must_be_there_in_ten_seconds(first, caplog):
    with stage() as it, it.call(first=first) as client:
        it.loop.advance(HEADER_TIMEOUT - 0.01)
        assert it.arrivals.count == 1
        it.loop.advance(0.01)
        assert is_closed(client)
        assert (it.refused, it.arrivals.count) == (1, 0)
    assert "no whole PROXY header within 10 s" in caplog.text


def test_a_byte_now_and_then_does_not_extend_it():
    with stage() as it, it.call() as client:
        for byte in LINE[:19]:
            client.sendall(bytes([byte]))
            it.loop.advance(0.5)
        assert it.arrivals.count == 1
        it.loop.advance(0.5)
        assert is_closed(client)


def test_each_has_its_own_ten_seconds():
    with stage() as it:
        clients = []
        for _ in range(5):
            clients.append(it.call())
            it.loop.advance(2)
        clients[1].sendall(LINE)
        left = [it.arrivals.count]
        for _ in range(4):
            it.loop.advance(2)
            left.append(it.arrivals.count)
        assert left == [4, 3, 2, 1, 0]
        assert (len(it.accepted), it.refused, it.arrivals.count) == (1, 4, 0)
        for client in clients:
            client.close()


def test_silent_ones_give_way_to_new_ones_the_oldest_first(monkeypatch, caplog):
    monkeypatch.setattr(proxied, "MAX_ARRIVING", 3)
    with stage() as it:
        clients = [it.call() for _ in range(5)]
        assert (it.arrivals.count, it.refused) == (3, 2)
        assert [is_closed(client) for client in clients[:2]] == [True, True]
        with it.call(first=LINE):  # one that says who it is takes nobody's place
            assert (len(it.accepted), it.arrivals.count, it.refused) == (1, 3, 2)
        for client in clients[2:]:
            client.sendall(BINARY)
        it.loop.settle()
        assert len(it.accepted) == 4
        for client in clients:
            client.close()
    assert len(caplog.records) == 1


# -- the listener


def test_a_loop_without_add_reader_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(asyncio, "ProactorEventLoop", asyncio.SelectorEventLoop, raising=False)
    (listener,) = bind(Endpoint.parse(HERE + "127.0.0.1"))
    with closing(VirtualLoop()) as loop:
        with pytest.raises(ListenError, match="proxy_protocol= needs a loop with add_reader"):
            listener.start(loop, print, lambda: True)
        listener.close()


class Telling(trews.Connection):
    """Says whom it takes its peer and itself for, then echoes."""

    def on_connect(self):
        self.write(f"{self.remote_address} {self.local_address}\n".encode())

    def on_read(self, data):
        self.write(data)


def told(ends):
    return f"{ends[0]} {ends[1]}\n".encode()


def run_on(name, main):
    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(main)


@on_every_loop
@both
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_connection_has_the_addresses_of_the_header(name, header, kind, tmp_path):
    text = HERE + "127.0.0.1" if kind == "tcp" else f"unix:{tmp_path}/s?proxy_protocol=::"

    async def main():
        async with Server(Telling).listen(text) as server:
            place = server.endpoints[0].with_options(proxy_protocol=None)
            for pieces in ([header + b"hi"], [header[:9], header[9:] + b"hi"]):
                async with trews.connect(place) as conn:
                    for piece in pieces:
                        await conn.send(piece)
                        await asyncio.sleep(0.01)
                    answer = told(ENDS)
                    assert await conn.read(framer=len(answer) + 2) == answer + b"hi"
            assert server.stats.accepted == 2

    run_on(name, main())


@on_every_loop
def test_a_local_one_has_its_own_addresses(name):
    async def main():
        async with Server(Telling).listen(HERE + "127.0.0.1") as server:
            async with trews.connect(("127.0.0.1", server.port)) as conn:
                await conn.send(LOCAL)
                answer = told((conn.local_address, conn.remote_address))
                assert await conn.read(framer=len(answer)) == answer

    run_on(name, main())


@really
async def test_who_is_one_host_is_said_by_the_header():
    asked = []

    class Door(Server):
        def on_accept(self, connection):
            asked.append((connection.remote_address, connection.local_address))

    async with Door(Echo, max_connections_per_host=1).listen(HERE + "127.0.0.1") as server:
        place = ("127.0.0.1", server.port)
        async with trews.connect(place) as first, trews.connect(place) as same, trews.connect(place) as other:
            await first.send(LINE + b"a")
            assert await first.read(framer=1) == b"a"
            await same.send(LINE.replace(b"56324", b"56325"))
            await same.wait_closed()
            await other.send(LINE.replace(b"192.0.2.1", b"192.0.2.2") + b"b")
            assert await other.read(framer=1) == b"b"
            assert server.stats.refused == 1
    assert asked == [ENDS, (("192.0.2.2", 56324), ENDS[1])]


# -- the server's limits and its end


@really
async def test_those_who_have_said_nothing_count_as_connections_until_they_are_refused():
    async with Server(Echo, max_connections=2).listen(HERE + "127.0.0.1", HERE + "127.0.0.1") as server:
        places = [endpoint.with_options(proxy_protocol=None) for endpoint in server.endpoints]
        silent, good = await trews.connect(places[0]), await trews.connect(places[1])
        await good.send(LINE + b"a")
        assert await good.read(framer=1) == b"a"
        await until(lambda: server._is_full or server._listeners[0].arriving)
        late = await trews.connect(places[1])
        await late.send(LINE + b"b")
        await until(lambda: server._is_full)
        assert len(server.connections) == 1
        await silent.send(b"no header")
        assert await late.read(framer=1) == b"b"  # on the other endpoint
        await silent.wait_closed()
        good.close()
        late.close()
        assert server.stats.refused == 1


@really
async def test_one_that_on_accept_rejects_makes_room():
    class Door(Server):
        def on_accept(self, connection):
            return connection.remote_address != ENDS[0]

    async with Door(Echo, max_connections=1).listen(HERE + "127.0.0.1") as server:
        place = ("127.0.0.1", server.port)
        unwelcome, other = await trews.connect(place), await trews.connect(place)
        await other.send(BINARY.replace(b"\xc0\x00\x02\x01", b"\xc0\x00\x02\x02") + b"b")
        await until(lambda: server._is_full)
        await unwelcome.send(LINE)
        assert await other.read(framer=1) == b"b"
        await unwelcome.wait_closed()
        other.close()


@really
async def test_a_server_that_stops_takes_whose_header_is_there_and_drops_the_others(caplog):
    caplog.set_level(logging.WARNING)
    server = await Server(Telling).listen(HERE + "127.0.0.1").start()
    silent, half, there = (socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(3))
    await until(lambda: server._listeners[0].arriving == 3)
    half.sendall(LINE[:10])
    there.sendall(LINE)
    drained = await server.stop()
    assert drained == (1, 0)
    assert there.recv(1000) == told(ENDS)
    for client in (silent, half, there):
        assert is_closed(client)
        client.close()
    assert not caplog.records
