"""Where Datagrams come from: servers that listen for them, alone or beside connections, and clients."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

import trews
from tests.clients import LOOPS
from tests.datagrams import LO4, Echo, Noting, Peer, on_every_loop
from tests.servers import Echo as StreamEcho
from tests.servers import until
from tests.transport.test_multicast import interface_v6  # noqa: F401  # a fixture
from trews import Server


async def handler(conn):
    pass


any_client: Any = trews.Client  # type checkers find what is wrong with it


class Wants(trews.Datagram):
    def __init__(self, something):
        pass


# -- what is refused


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Server(handler).listen("udp:0"), trews.EndpointError, "udp: is for datagrams"),
        (lambda: Server(StreamEcho).listen("udp:0"), trews.EndpointError, "udp:0: Echo is for connections"),
        (lambda: Server(Echo).listen(4040), trews.EndpointError, "4040: Echo is for datagrams: write 'udp:4040'"),
        (
            lambda: Server(Echo).listen("localhost:4040"),
            trews.EndpointError,
            "Echo is for datagrams: write 'udp:localhost:4040'",
        ),
        (lambda: Server(Echo).listen("memory:x"), trews.EndpointError, "memory:x: Echo is for datagrams: take udp:"),
        (lambda: Server(Echo, framer=None), TypeError, "framer is for connections: Echo is for datagrams"),
        (lambda: Server(Echo, write_hihg=3), TypeError, "there is no setting 'write_hihg'; did you mean 'write_high'"),
        (lambda: Server(Echo, write_high=-3), ValueError, "write_high is a number of bytes"),
        (lambda: Server(Echo, max_connections=3), TypeError, "there is no setting 'max_connections'"),
        (lambda: Server(Echo, datagram=Echo), TypeError, "Echo is for datagrams already"),
        (lambda: Server(StreamEcho, datagram=StreamEcho), TypeError, "by a subclass of trews.Datagram, not by Echo"),
        (lambda: Server(StreamEcho, datagram=handler), TypeError, "by a subclass of trews.Datagram, not by handler"),
        (lambda: Server(StreamEcho, datagram=Echo()), TypeError, "give the class Echo, not an instance"),
        (lambda: Server(Wants), TypeError, "Wants is made without arguments"),
        (lambda: trews.connect("udp:localhost:9", handler), TypeError, "by a subclass of trews.Datagram"),
        (lambda: trews.connect("udp:localhost:9", StreamEcho), TypeError, "by a subclass of trews.Datagram"),
        (lambda: trews.connect("udp:localhost:9", framer=None), TypeError, "framer is for connections: Datagram is"),
        (
            lambda: Server(Echo, idle_timeout=4),
            TypeError,
            "idle_timeout is for connections: Echo is for datagrams, which",
        ),
        (
            lambda: trews.connect("tcp:localhost:9", Echo),
            trews.EndpointError,
            "Echo is for datagrams: take udp: or unix:",
        ),
        (lambda: trews.Client("udp:localhost:9"), trews.EndpointError, "datagrams have no connection to keep"),
        (lambda: any_client("localhost:9", Echo), TypeError, "Echo is not a subclass of trews.Connection"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@on_every_loop
async def test_a_class_for_datagrams_and_another_kind_of_endpoint():
    with pytest.raises(trews.EndpointError, match="localhost:9: Echo is for datagrams: take udp: or unix:"):
        await trews.connect("localhost:9", Echo)


# -- servers


@on_every_loop
async def test_one_server_for_both(tmp_path):
    server = Server(StreamEcho, datagram=Echo, max_connections=5)
    server.listen("tcp:127.0.0.1:0")
    server.listen(f"udp:127.0.0.1:{server.port}", f"unix:{tmp_path}/sock")
    assert [endpoint.kind for endpoint in server.endpoints] == ["tcp", "udp", "unix"]
    async with server:
        for endpoint in (f"tcp:127.0.0.1:{server.port}", f"unix:{tmp_path}/sock"):
            async with trews.connect(endpoint) as conn:
                conn.write(b"stream")
                assert await conn.read(6) == b"stream"
        async with trews.connect(f"udp:127.0.0.1:{server.port}", trews.Datagram) as client:
            client.write(b"datagram")
            assert (await client.read(timeout=5))[0] == b"datagram"
        stats = server.stats
        assert (stats.accepted, stats.open, len(server.datagrams)) == (2, 0, 1)
        assert stats.bytes_in == stats.bytes_out == 2 * 6 + 8


@on_every_loop
async def test_each_endpoint_has_its_own_and_they_share_the_server():
    class Shared(Server):
        def __init__(self, *args, **settings):
            super().__init__(*args, **settings)
            self.notes = []

        def on_start(self):
            self.notes.append("start")

        def on_stop(self):
            self.notes.append("stop")

    class Member(trews.Datagram):
        def on_open(self):
            self.server.notes.append("open")

        def on_close(self, reason):
            self.server.notes.append("close")

    server = Shared(Member, write_high=99).listen(LO4, "udp:[::1]:0")
    assert server.datagrams == []
    async with server:
        one, two = server.datagrams
        assert (one.local_address[0], two.local_address[0], one.write_high) == ("127.0.0.1", "::1", 99)
    assert server.notes == ["start", "open", "open", "close", "close", "stop"]


@on_every_loop
async def test_one_more_endpoint_while_it_serves():
    async with Server(Noting).listen(LO4) as server:
        server.listen("udp:[::1]:0")
        assert [datagram.notes for datagram in server.datagrams] == [["open"], ["open"]]


@on_every_loop
async def test_what_waits_in_the_kernel_before_the_start_is_not_lost():
    server = Server(Noting).listen(LO4)
    with Peer() as peer:
        peer.send(b"early", server)
        async with server:
            (served,) = server.datagrams
            await until(lambda: b"early" in served.notes)


@on_every_loop
async def test_an_endpoint_that_cannot_be_bound_leaves_nothing_bound():
    with Peer() as taken:
        server = Server(Echo)
        with pytest.raises(trews.ListenError, match="the address is in use"):
            server.listen(LO4, f"udp:127.0.0.1:{taken.address[1]}")
        assert server.endpoints == []
        with pytest.raises(trews.Error, match="nothing to serve on"):
            await server.start()


@on_every_loop
async def test_a_server_that_cannot_start_leaves_nothing_open():
    made = []

    class Failing(Noting):
        def __init__(self):
            super().__init__()
            made.append(self)
            if len(made) > 1:
                raise ValueError("the second one fails")

    with pytest.raises(ValueError, match="the second one fails"):
        await Server(Failing).listen(LO4, "udp:[::1]:0").start()
    await until(lambda: made[0].notes == ["open", "Aborted"])

    class Refusing(Server):
        def on_start(self):
            raise ValueError("no database")

    with pytest.raises(ValueError, match="no database"):
        await Refusing(Echo).listen(LO4).start()


@on_every_loop
async def test_a_server_that_was_never_started():
    server = Server(Echo).listen(LO4)
    await server.stop()
    with Peer() as peer:
        peer.sock.close()
        peer.sock.__init__(peer.sock.family, peer.sock.type)
        peer.sock.bind(("127.0.0.1", server.port))


@on_every_loop
async def test_one_that_closes_itself_uses_up_its_server():
    class Once(trews.Datagram):
        def on_read(self, data, address):
            self.write(data, address)
            self.close()

    server = await Server(Once).listen(LO4).start()
    with Peer() as peer:
        peer.send(b"once", server)
        await asyncio.wait_for(server.serve(), 5)
        assert peer.read()[0] == b"once"


@on_every_loop
async def test_a_full_server_goes_on_with_datagrams():
    async with Server(StreamEcho, datagram=Echo, max_connections=1).listen("tcp:127.0.0.1:0", LO4) as server:
        udp = next(endpoint for endpoint in server.endpoints if endpoint.kind == "udp")
        async with trews.connect(server.endpoints[0]) as conn:
            conn.write(b"x")
            await conn.read(1)
            async with trews.connect(udp) as client:
                client.write(b"still here")
                assert (await client.read(timeout=5))[0] == b"still here"


def test_serve_until_a_signal():
    threads = []

    class Ready(Server):
        def on_start(self):
            threads.append(threading.Thread(target=self.talk))
            threads[0].start()

        def talk(self):
            with Peer() as peer:
                peer.send(b"hello", self)
                self.answer = peer.read()[0]
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)

    server = Ready(Echo)
    assert trews.serve(server, LO4) == (0, 0)
    threads[0].join()
    assert server.answer == b"hello"


def test_serve_takes_both():
    class Once(trews.Datagram):
        def on_open(self):
            signal.raise_signal(signal.SIGINT)

    assert trews.serve(StreamEcho, "tcp:127.0.0.1:0", LO4, datagram=Once) == (0, 0)


# -- clients


@pytest.mark.parametrize("loop", LOOPS)
def test_connect_without_a_class_gives_a_datagram(loop):
    async def main():
        with Peer() as peer:
            client = await trews.connect(peer.endpoint)
            assert type(client) is trews.Datagram
            assert client.server is None
            client.close()
            await client.wait_closed()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


@on_every_loop
async def test_settings_of_a_client():
    with Peer() as peer:
        async with trews.connect(peer.endpoint, Noting, write_high=7) as client:
            assert (client.write_high, type(client).__name__, client.notes) == (7, "Noting", ["open"])


@on_every_loop
async def test_a_multicast_interface_that_is_none():
    class Lost(Echo):
        multicast_interface = "nope0"

    why = "there is no network interface 'nope0'"
    with Peer() as peer, pytest.raises(trews.ConnectError, match=rf"^cannot connect to udp:\S+: {why}"):
        await trews.connect(peer.endpoint, Lost)
    with pytest.raises(trews.ListenError, match=rf"^cannot listen on udp:127.0.0.1:[0-9]+: {why}"):
        await Server(Lost).listen(LO4).start()


@on_every_loop
async def test_an_interface_by_its_address_of_ipv4_does_for_a_server_of_ipv6_too(monkeypatch):
    class Near(Noting):
        multicast_interface = "127.0.0.1"

    found = [(socket.AF_INET6, 2, 17, "", ("::1", 0, 0, 0)), (socket.AF_INET, 2, 17, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    for endpoint in ("udp:0", "udp:six-before-four.example:0"):
        async with Server(Near).listen(endpoint) as server:
            sockets = {core.family: core.sock for core in server.datagrams[0]._cores}
            own = sockets[socket.AF_INET].getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4)
            assert (len(sockets), own) == (2, socket.inet_aton("127.0.0.1"))
    monkeypatch.undo()
    with pytest.raises(
        trews.ListenError, match=r"for IPv6 an interface is given by its name, such as eth0, not as '127"
    ):
        await Server(Near).listen("udp:[::1]:0").start()


@on_every_loop
async def test_settings_for_groups_are_nothing_to_a_unix_socket(tmp_path):
    class Far(Echo):
        multicast_ttl, multicast_loopback, multicast_interface = 4, False, "127.0.0.1"

    async with Server(Far).listen(f"unix:{tmp_path}/s") as server:
        assert [datagram.is_open for datagram in server.datagrams] == [True]


@on_every_loop
async def test_names_are_looked_up_by_the_resolver_that_is_given():
    with Peer() as peer:
        resolver = trews.Resolver(overrides={"peer.example": "127.0.0.1"})
        async with trews.connect(f"udp:peer.example:{peer.address[1]}", resolver=resolver) as client:
            assert client.remote_address == peer.address


@on_every_loop
async def test_the_block_ends_by_closing_it_or_by_aborting():
    with Peer() as peer:
        async with trews.connect(peer.endpoint, Noting) as client:
            pass
        assert client.notes == ["open", "ClosedLocally"]
        with pytest.raises(asyncio.CancelledError):
            async with trews.connect(peer.endpoint, Noting) as client:
                raise asyncio.CancelledError
        assert client.notes == ["open", "Aborted"]


# -- several receivers

RECEIVER = """
import sys, trews

class Receiver(trews.Datagram):
    def on_open(self):
        print(self.server.port, flush=True)

    def on_read(self, data, address):
        print(data.decode(), flush=True)
        self.close()

trews.serve(Receiver, sys.argv[1])
"""


@pytest.mark.parametrize("group", ["239.255.40.10", "[ff02::4245]"])
def test_two_processes_hear_one_group_on_one_port(group, request):
    interface = request.getfixturevalue("interface_v6") if ":" in group else "127.0.0.1"
    port, processes = 0, []
    try:
        for _ in range(2):
            endpoint = f"udp:{group}:{port}?interface={interface}"
            command = [sys.executable, "-W", "error", "-c", RECEIVER, endpoint]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
            port = int(processes[-1].stdout.readline())

        async def send():
            async with trews.connect(f"udp:{group}:{port}?interface={interface}") as client:
                client.write(b"hello, all")

        trews.run(send())
        for process in processes:
            assert process.communicate(timeout=20) == (b"hello, all\n", b"")
            assert process.returncode == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()
