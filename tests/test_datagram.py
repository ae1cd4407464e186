"""Datagram, as its users see it: on every loop, with plain sockets as peers. (Long: one test for each promise.)"""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

import trews
from tests.datagrams import LO4, Echo, Noting, Peer, on_every_loop
from tests.servers import until
from tests.transport.test_multicast import interface_v6  # noqa: F401
from trews.settings import DATAGRAM_DEFAULTS

# -- classes


def make(**body):
    return type("Mine", (trews.Datagram,), body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"on_raed": lambda self, d, a: 0}, "would never be called; did you mean on_read?"),
        ({"on_opn": lambda self: 0}, "did you mean on_open?"),
        ({"on_read": lambda self, data: 0}, r"on_read is called as on_read\(self, data, address\)"),
        ({"on_error": lambda self: 0}, r"on_error is called as on_error\(self, exc\)"),
        ({"on_connect": lambda self: 0}, "on_connect would never be called; a Datagram has on_open"),
        ({"datagram_received": lambda self, d, a: 0}, "a Datagram has on_read"),
        ({"error_received": lambda self, exc: 0}, "a Datagram has on_error"),
        ({"connection_made": lambda self, t: 0}, "a Datagram has on_open"),
        ({"on_eof": lambda self: 0}, "on_eof is for a Connection"),
        ({"framer": None}, "framer is for a Connection"),
        ({"idle_timeout": 3}, "idle_timeout is for a Connection"),
        ({"write_hihg": 3}, "write_hihg is not a setting; did you mean write_high?"),
        ({"write_high": "3"}, "write_high is a number of bytes, not '3'"),
        ({"multicast_ttl": True}, "multicast_ttl is a number of routers or None, not True"),
        ({"multicast_loopback": 1}, "multicast_loopback is True, False or None, not 1"),
        ({"multicast_interface": 3}, "multicast_interface is the name of a network interface"),
        ({"multicast_interface": ""}, "multicast_interface is the name of a network interface"),
        ({"_inbox": None}, "_inbox is a name that trews uses itself"),
        ({"remote_address": None}, "remote_address is set by trews"),
        ({"write": 3}, "write would hide a method of Datagram"),
    ],
)
def test_what_a_class_cannot_have(body, message):
    with pytest.raises(TypeError, match=message):
        make(**body)


@pytest.mark.parametrize(
    ("name", "value"), [("write_high", -1), ("close_timeout", 0), ("multicast_ttl", 256), ("multicast_ttl", -1)]
)
def test_a_value_that_cannot_be(name, value):
    with pytest.raises(ValueError, match=name):
        make(**{name: value})


def test_a_private_name_in_a_method_is_found():
    with pytest.raises(TypeError, match=r"Mine.on_open assigns to _cores"):

        class Mine(trews.Datagram):
            def on_open(self):
                self._cores = []


def test_settings_are_attributes():
    assert {name: getattr(trews.Datagram, name) for name in DATAGRAM_DEFAULTS} == DATAGRAM_DEFAULTS
    assert make(write_high=5).write_high == 5


def test_one_that_is_not_open_says_so():
    new = trews.Datagram()
    for call in (new.close, new.abort, lambda: new.write(b""), lambda: new.join("224.0.0.251")):
        with pytest.raises(trews.Error, match="is not open yet: use it in on_open or later"):
            call()
    assert (repr(new), new.is_open, new.is_closed) == ("<Datagram new in=0 out=0>", False, False)


# -- sending and receiving


@on_every_loop
async def test_every_size_comes_whole_and_with_its_sender():
    async with trews.Server(Echo).listen("udp:0") as server:
        for host in ("127.0.0.1", "[::1]"):
            async with trews.connect(f"udp:{host}:{server.port}", trews.Datagram) as client:
                for size in (0, 1, 1500, 65507):
                    client.write(b"x" * size)
                    assert await client.read(timeout=5) == (b"x" * size, (host.strip("[]"), server.port))
                assert client.bytes_in == client.bytes_out == 67008
        assert server.stats.bytes_in == server.stats.bytes_out == 2 * 67008


@on_every_loop
async def test_callbacks_come_in_order_and_once():
    async with trews.Server(Noting).listen(LO4) as server:
        (served,) = server.datagrams
        assert (served.server, served.remote_address) == (server, None)
        with Peer() as peer:
            for data in (b"one", b"", b"three"):
                peer.send(data, server)
            await until(lambda: len(served.notes) == 4)
        assert repr(served) == f"<Noting 127.0.0.1:{server.port} open in=8 out=0>"
    assert served.notes == ["open", b"one", b"", b"three", "ClosedLocally"]
    assert (served.is_closed, served.bytes_in, server.datagrams) == (True, 8, [])
    assert repr(served).endswith("closed (ClosedLocally) in=8 out=0>")


@on_every_loop
async def test_async_callbacks_never_overlap_and_lose_nothing_that_fits():
    class Slow(trews.Datagram):
        running, got = 0, 0

        async def on_read(self, data, address):
            assert not self.running
            self.running = 1
            await asyncio.sleep(0)
            self.running = 0
            self.got += 1

    async with trews.Server(Slow).listen(LO4) as server:
        (slow,) = server.datagrams
        with Peer() as peer:
            for _ in range(150):
                peer.send(b"x", server)
            await until(lambda: slow.got == 150)


@on_every_loop
async def test_a_coroutine_may_do_it_all():
    class Counting(trews.Datagram):
        async def on_open(self):
            self.count = 0
            async for data, address in self:
                self.count += 1
                await self.send(b"%d %s" % (self.count, data), address)
            self.write(b"bye", address)  # the server is stopping, and waits for this

    with Peer() as peer:
        async with trews.Server(Counting).listen(LO4) as server:
            for number in (b"1", b"2"):
                peer.send(b"hello", server)
                await asyncio.sleep(0.01)
                assert peer.read() == (number + b" hello", ("127.0.0.1", server.port))
        assert peer.read()[0] == b"bye"


@on_every_loop
async def test_what_comes_while_nobody_reads_is_kept_up_to_a_bound():
    with Peer() as peer:
        async with trews.connect(peer.endpoint, read_high=10_000) as client:
            for number in range(200):
                peer.send(b"%04d" % number + bytes(96), client)
            await asyncio.sleep(0.02)
            assert client._inbox_size <= 10_000 + 400
            kept = [(await client.read(timeout=5))[0][:4] for _ in range(200)]  # the kernel had the rest
            assert kept == [b"%04d" % number for number in range(200)]


@on_every_loop
async def test_read_waits_so_long():
    with Peer() as peer:
        async with trews.connect(peer.endpoint) as client:
            with pytest.raises(trews.TimedOut, match=r"^no datagram came within 0.01 s$"):
                await client.read(timeout=0.01)
            for timeout in (-1, float("nan")):
                with pytest.raises(ValueError, match=r"^timeout is a number of seconds, 0 or more, or None"):
                    await client.read(timeout=timeout)
            with pytest.raises(TypeError):
                await client.read(5)  # which for a Connection is a framer
            waiting = asyncio.create_task(client.read())
            await asyncio.sleep(0)
            with pytest.raises(trews.BusyError, match="another read"):
                await client.read()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            peer.send(b"later", client)
            assert await client.read(timeout=5) == (b"later", peer.address)


@on_every_loop
async def test_read_and_the_loop_over_datagrams_end_with_it():
    with Peer() as peer:
        client = await trews.connect(peer.endpoint)
        waiting = asyncio.create_task(client.read())
        await asyncio.sleep(0)
        client.close()
        with pytest.raises(trews.ClosedLocally) as caught:
            await waiting
        assert caught.value.connection is client
        assert [item async for item in client] == []
        await client.wait_closed()
        client = await trews.connect(peer.endpoint)
        client.abort()
        with pytest.raises(trews.Aborted):
            async for _ in client:
                pass
        with pytest.raises(trews.Aborted):
            client.write(b"x")
        await client.wait_closed()


@on_every_loop
async def test_one_way_to_use_the_wrong_address():
    with Peer() as peer:
        async with trews.Server(Echo).listen(LO4) as server, trews.connect(peer.endpoint) as client:
            (served,) = server.datagrams
            with pytest.raises(ValueError, match=r"write\(data, address\): this has no peer of its own"):
                served.write(b"x")
            with pytest.raises(
                ValueError, match=r"\[::1\]:9 is of another kind than 127.0.0.1:[0-9]+, and out of reach"
            ):
                served.write(b"x", ("::1", 9))
            with pytest.raises(ValueError, match="'localhost' is not an IP address"):
                served.write(b"x", ("localhost", 9))
            with pytest.raises(ValueError, match=r"it is connected to 127.0.0.1:[0-9]+, and sends to nobody else"):
                client.write(b"x", ("127.0.0.1", 9))
            with pytest.raises(TypeError, match="not str; encode it first"):
                client.write("text")
            client.write(bytearray(b"own"), peer.address)
            served.write(memoryview(b"mapped"), ("::ffff:127.0.0.1", peer.address[1]))
            assert [peer.read()[0], peer.read()[0]] == [b"own", b"mapped"]


@on_every_loop
async def test_too_large_raises_with_the_limit():
    with Peer() as peer:
        async with trews.connect(peer.endpoint) as client:
            with pytest.raises(OSError, match="a datagram of 65508 bytes is too large: at most 65507 can be sent") as e:
                client.write(bytes(65508))
            assert e.value.errno == errno.EMSGSIZE
            client.write(b"fits")
            assert peer.read()[0] == b"fits"


# -- connected


@on_every_loop
async def test_nobody_else_gets_through_to_one_that_is_connected():
    with Peer() as peer, Peer() as stranger:
        async with trews.connect(peer.endpoint) as client:
            stranger.send(b"psst", client)
            peer.send(b"hello", client)
            assert await client.read(timeout=5) == (b"hello", peer.address)
            assert client.remote_address == peer.address


@on_every_loop
async def test_a_refusal_is_raised_by_read_and_survived():
    with Peer() as peer:
        endpoint, address = peer.endpoint, peer.address
    async with trews.connect(endpoint, Quiet) as client:
        client.write(b"anybody?")
        with pytest.raises(ConnectionRefusedError, match="connection refused"):
            await client.read(timeout=5)
        await until(lambda: client.errors)
        assert [type(exc) for exc in client.errors] == [ConnectionRefusedError]
        with Peer() as peer:
            peer.sock.close()
            peer.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            peer.sock.settimeout(5)
            peer.sock.bind(address)
            client.write(b"now?")
            data, sender = peer.read()
            peer.sock.sendto(b"yes", sender)
            assert (data, await client.read(timeout=5)) == (b"now?", (b"yes", address))


class Quiet(trews.Datagram):
    def __init__(self):
        self.errors = []

    def on_error(self, exc):
        self.errors.append(exc)


@on_every_loop
async def test_a_refusal_is_told_to_on_error():
    with Peer() as peer:
        endpoint = peer.endpoint
    async with trews.connect(endpoint, Noting) as client:
        client.write(b"anybody?")
        await until(lambda: len(client.notes) == 2)
        assert isinstance(client.notes[1], ConnectionRefusedError)
        assert client.is_open


@on_every_loop
async def test_a_server_is_not_told_of_its_peers_and_goes_on():
    with Peer() as peer:
        gone = peer.address
    async with trews.Server(Echo).listen(LO4) as server:
        (served,) = server.datagrams
        for _ in range(3):
            served.write(b"nobody", gone)
        with Peer() as peer:
            peer.send(b"still?", server)
            await asyncio.sleep(0.01)
            assert peer.read()[0] == b"still?"


# -- back-pressure


def stuffed(client):
    """Have the system take nothing more for now."""
    core = client._cores[0]

    class Full:
        def __getattr__(self, name):
            return getattr(core_sock, name)

        def send(self, data):
            raise BlockingIOError

    core_sock, core.sock = core.sock, Full()
    return lambda: setattr(core, "sock", core_sock)


@on_every_loop
async def test_a_full_network_stops_who_drains_and_loses_nothing():
    with Peer() as peer:
        async with trews.connect(peer.endpoint, write_high=3000, write_low=1000, write_limit=10_000) as client:
            release = stuffed(client)
            await client.send(bytes(1000))
            for _ in range(3):
                client.write(bytes(1000))
            draining = asyncio.create_task(client.drain())
            await asyncio.sleep(0)
            assert not draining.done()
            with pytest.raises(OSError, match="write_limit is reached") as caught:
                for _ in range(20):
                    client.write(bytes(1000))
            assert caught.value.errno == errno.ENOBUFS
            count = len(client._cores[0]._queue)
            release()
            await draining
            for _ in range(count):
                assert peer.read()[0] == bytes(1000)
            assert client.bytes_out == count * 1000


@on_every_loop
async def test_one_who_writes_and_drains_lets_the_others_run():
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with Peer() as peer:
        async with trews.connect(peer.endpoint) as client:
            other = asyncio.create_task(count())
            for _ in range(200):
                client.write(bytes(10_000))
                await client.drain()
            other.cancel()
    assert turns > 10


@on_every_loop
async def test_close_sends_what_waits():
    with Peer() as peer:
        client = await trews.connect(peer.endpoint)
        release = stuffed(client)
        client.write(b"last words")
        client.close()
        await asyncio.sleep(0)
        assert (client.is_open, client.is_closed) == (False, True)
        release()
        await client.wait_closed()
        assert peer.read()[0] == b"last words"
        assert isinstance(client.reason, trews.ClosedLocally)


# -- groups


@on_every_loop
async def test_joining_and_leaving():
    async with trews.Server(Noting).listen("udp:0") as server:
        (member,) = server.datagrams
        group = ("239.255.40.5", server.port)
        with Peer() as peer:
            peer.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            member.join(group[0], "lo")
            peer.sock.sendto(b"in", group)
            await until(lambda: b"in" in member.notes)
            member.leave(group[0], "lo")
            peer.sock.sendto(b"out", group)
            peer.send(b"plain", server)
            await until(lambda: b"plain" in member.notes)
            assert b"out" not in member.notes
            with pytest.raises(trews.ListenError, match="it was not joined there"):
                member.leave(group[0], "lo")
            with pytest.raises(ValueError, match=r"'127.0.0.1' is not a multicast group"):
                member.join("127.0.0.1")


@on_every_loop
async def test_the_interface_of_the_endpoint_is_where_groups_are_joined():
    async with trews.Server(Noting).listen("udp:0?interface=lo") as server:
        (member,) = server.datagrams
        member.join("239.255.40.6")
        with pytest.raises(trews.ListenError, match=r"cannot join 239.255.40.6 on lo: it is joined already"):
            member.join("239.255.40.6")


@on_every_loop
async def test_an_endpoint_that_is_a_group_hears_and_sends_to_it():
    async with trews.Server(Echo).listen("udp:239.255.40.7:0?interface=lo") as server:
        (member,) = server.datagrams
        assert member.remote_address == ("239.255.40.7", server.port)
        async with trews.connect(server.endpoints[0]) as client:
            client.write(b"who is there?")
            data, address = await client.read(timeout=5)
            assert (data, address[1]) == (b"who is there?", server.port)


@on_every_loop
async def test_groups_over_ipv6(interface_v6):  # noqa: F811
    async with trews.Server(Echo).listen(f"udp:[ff02::4244]:0?interface={interface_v6}") as server:
        async with trews.connect(server.endpoints[0]) as client:
            client.write(b"six")
            data, address = await client.read(timeout=5)  # answered by its scope: fe80::...%eth0
            assert (data, address[1]) == (b"six", server.port)


@on_every_loop
async def test_how_what_is_sent_to_groups_leaves():
    class Far(trews.Datagram):
        multicast_ttl = 9
        multicast_loopback = False
        multicast_interface = "127.0.0.1"

    async with trews.Server(Far).listen(LO4) as server:
        sock = server.datagrams[0]._cores[0].sock
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 9
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4) == socket.inet_aton("127.0.0.1")
        server.datagrams[0].join("239.255.40.8")
        with pytest.raises(trews.ListenError, match=r"on 127.0.0.1: it is joined already"):
            server.datagrams[0].join("239.255.40.8")


# -- broadcast


@on_every_loop
async def test_broadcasts_go_out_without_a_word():
    async with trews.Server(Noting).listen("udp:0") as server:
        (served,) = server.datagrams
        served.write(b"to all", ("127.255.255.255", server.port))
        await until(lambda: b"to all" in served.notes)
        async with trews.connect(f"udp:127.255.255.255:{server.port}") as client:
            client.write(b"from a client")
            await until(lambda: b"from a client" in served.notes)


# -- Unix sockets


@on_every_loop
async def test_unix_datagrams(tmp_path):
    path = f"{tmp_path}/sock"
    async with trews.Server(Echo).listen(f"unix:{path}", "unix:@trews-test") as server:
        for endpoint in server.endpoints:
            async with trews.connect(endpoint, trews.Datagram) as client:
                for size in (0, 1, 65507, 100_000):
                    client.write(b"x" * size)
                    assert await client.read(timeout=5) == (b"x" * size, endpoint.path)
    assert list(tmp_path.iterdir()) == []


@on_every_loop
async def test_a_unix_peer_without_a_name_cannot_be_answered(tmp_path):
    async with trews.Server(Noting).listen(f"unix:{tmp_path}/sock") as server:
        (served,) = server.datagrams
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"x", f"{tmp_path}/sock")
            await until(lambda: b"x" in served.notes)
        with pytest.raises(ValueError, match="this has no peer of its own"):
            served.write(b"answer", None)


@on_every_loop
async def test_who_went_away_at_a_unix_socket_is_told_and_survived(tmp_path):
    async with trews.Server(Noting).listen(f"unix:{tmp_path}/sock") as server:
        (served,) = server.datagrams
        served.write(b"x", f"{tmp_path}/gone")
        await until(lambda: len(served.notes) > 1)
        assert isinstance(served.notes[1], FileNotFoundError)
        assert served.is_open
