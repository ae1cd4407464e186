"""Connecting: every address tried and told, deadlines, and no socket left behind."""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import os
import socket
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import trews
from tests.clients import LOOPS
from tests.connecting import listening, opened
from trews import ConnectError, ConnectTimedOut, Endpoint, EndpointError, TimedOut, testing
from trews import run as run_really
from trews.testing import no_leaks
from trews.transport.connector import open_stream, open_tcp

LOOPBACK = socket.if_nameindex()[0][1]
REFUSED = errno.ECONNREFUSED


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@contextmanager
def closed_port():
    """A port on which nobody listens, kept from being given out meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def resolve_to(monkeypatch, *addresses):
    """Have every name stand for these addresses."""
    found = [
        (socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
        for address in addresses
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)


def test_tcp_is_connected_without_blocking_and_with_the_options():
    with listening() as (_, port):
        _, address, blocks, found = opened(f"tcp:127.0.0.1:{port}?tcp_user_timeout=3")
    assert address == ("127.0.0.1", port)
    assert not blocks
    assert bool(found["TCP_NODELAY"])
    if sys.platform == "linux":
        assert (found["TCP_KEEPIDLE"], found["TCP_USER_TIMEOUT"]) == (60, 3000)


def test_literal_addresses_need_no_look_up(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("looked up")

    with listening() as (_, port):
        monkeypatch.setattr(socket, "getaddrinfo", forbidden)
        assert opened(f"127.0.0.1:{port}")[1] == ("127.0.0.1", port)


def test_no_host_is_localhost(monkeypatch):
    asked = []
    with listening() as (_, port):

        def look_up(host, port, *args, **kwargs):
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        opened(str(port))
    assert asked == ["localhost"]


def test_a_refusal_lists_every_address_and_why(monkeypatch):
    with closed_port() as port:
        resolve_to(monkeypatch, ("127.0.0.1", port), ("127.0.0.2", port))
        with pytest.raises(ConnectError) as caught:
            opened(f"tcp:service.test:{port}")
    why = "connection refused (is a server listening there?)"
    assert caught.value.attempts == ((f"127.0.0.1:{port}", why), (f"127.0.0.2:{port}", why))
    assert str(caught.value) == (
        f"cannot connect to tcp:service.test:{port}: 127.0.0.1:{port}: {why}; 127.0.0.2:{port}: {why}"
    )
    assert caught.value.target == f"tcp:service.test:{port}"


def test_addresses_are_tried_until_one_answers(monkeypatch):
    with listening() as (_, port):
        resolve_to(monkeypatch, ("127.0.0.2", port), ("127.0.0.1", port))
        assert opened(f"tcp:service.test:{port}")[1] == ("127.0.0.1", port)


def test_an_address_of_a_kind_that_the_machine_lacks_is_one_more_that_failed(monkeypatch):
    class NoIPv6(socket.socket):
        def __init__(self, family=-1, *args, **kwargs):
            if family == socket.AF_INET6:
                raise OSError(97, os.strerror(97))
            super().__init__(family, *args, **kwargs)

    with listening() as (_, port):
        resolve_to(monkeypatch, ("::1", port, 0, 0), ("127.0.0.1", port))
        monkeypatch.setattr(socket, "socket", NoIPv6)
        assert opened(f"tcp:service.test:{port}")[1] == ("127.0.0.1", port)


@pytest.mark.parametrize(
    "failure", [socket.gaierror(socket.EAI_NONAME, "Name or service not known"), UnicodeError("label too long")]
)
def test_an_unknown_host_is_one_sentence(monkeypatch, failure):
    def look_up(*args, **kwargs):
        raise failure

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(ConnectError, match=r"^cannot connect to tcp:nowhere:80: the host 'nowhere' is not known \("):
        opened("tcp:nowhere:80")


def test_a_refusal_is_shown_without_the_error_that_it_says_in_words(monkeypatch, tmp_path):
    def look_up(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for text in ("tcp:nowhere:80", f"unix:{tmp_path}/none"):
        with pytest.raises(ConnectError) as caught:
            opened(text)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def never_connects(monkeypatch, loop):
    started = []

    async def sock_connect(sock, address):
        started.append(sock)
        await loop.create_future()

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    return started


@pytest.mark.parametrize(("query", "seconds"), [("", 30), ("?timeout=2.5", 2.5)], ids=["default", "as asked"])
def test_no_answer_ends_in_connect_timed_out(monkeypatch, query, seconds):
    async def main():
        loop = asyncio.get_running_loop()
        never_connects(monkeypatch, loop)
        begin = loop.time()
        with pytest.raises(ConnectTimedOut, match=f"no answer within {seconds:g} s") as caught:
            await open_stream(Endpoint.parse(f"tcp:127.0.0.1:9{query}"), loop)
        assert loop.time() == begin + seconds
        assert isinstance(caught.value, (ConnectError, TimedOut))
        assert isinstance(caught.value, TimeoutError)

    with no_leaks():
        testing.run(main())


def test_the_timeout_is_for_all_addresses_together_and_those_that_failed_are_listed(monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()

        async def sock_connect(sock, address):
            await asyncio.sleep(2)
            if address[0] == "127.0.0.1":
                raise ConnectionRefusedError(111, "refused")
            await loop.create_future()

        async def getaddrinfo(*args, **kwargs):
            return [(socket.AF_INET, 1, 6, "", (host, 9)) for host in ("127.0.0.1", "127.0.0.2")]

        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        begin = loop.time()
        with pytest.raises(ConnectTimedOut, match=r"127.0.0.1:9: connection refused.*no answer within 5 s"):
            await open_stream(Endpoint.parse("tcp:service.test:9?timeout=5"), loop)
        assert loop.time() == begin + 5

    with no_leaks():
        testing.run(main())


def test_a_timeout_of_the_caller_is_the_callers(monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()
        never_connects(monkeypatch, loop)
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1):
                await open_stream(Endpoint.parse("tcp:127.0.0.1:9"), loop)
        assert not isinstance(caught.value, ConnectError)

    with no_leaks():
        testing.run(main())


def test_cancelling_closes_the_socket(monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()
        started = never_connects(monkeypatch, loop)
        task = asyncio.create_task(open_stream(Endpoint.parse("tcp:127.0.0.1:9"), loop))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [sock.fileno() for sock in started] == [-1]

    with no_leaks():
        testing.run(main())


# -- several addresses


class Fates:
    """`sock_connect` and names of a loop that are told what to do: seconds, and an error or None."""

    def __init__(self, monkeypatch, loop, **addresses):
        self.fates = {host.replace("_", "."): fate for host, fate in addresses.items()}
        self.started = []
        self.socks = {}
        self.loop = loop
        self.begin = loop.time()
        monkeypatch.setattr(loop, "getaddrinfo", self.getaddrinfo)
        monkeypatch.setattr(loop, "sock_connect", self.sock_connect)
        monkeypatch.setattr(socket.socket, "getsockname", lambda sock: ("127.0.0.1", 50000))

    async def getaddrinfo(self, host, port, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in self.fates]

    async def sock_connect(self, sock, address):
        self.started.append((self.loop.time() - self.begin, address[0]))
        self.socks[address[0]] = sock
        seconds, error = self.fates[address[0]]
        await asyncio.sleep(seconds)
        if error is not None:
            raise OSError(error, os.strerror(error))


def with_fates(monkeypatch, text, **fates):
    """What `open_stream` does: its result or error, and the fates."""

    async def main():
        loop = asyncio.get_running_loop()
        told = Fates(monkeypatch, loop, **fates)
        try:
            sock, address = await open_stream(Endpoint.parse(text), loop)
        except ConnectError as exc:
            return exc, told
        with sock:
            assert sock is told.socks[address[0]]
            assert [host for host, other in told.socks.items() if other.fileno() >= 0] == [address[0]]
        return address[0], told

    with no_leaks():
        return testing.run(main())


def test_the_next_address_is_tried_beside_one_that_hangs(monkeypatch):
    winner, told = with_fates(monkeypatch, "db.example:80", **{"10_0_0_1": (1e9, None), "10_0_0_2": (0.1, None)})
    assert winner == "10.0.0.2"
    assert told.started == [(0, "10.0.0.1"), (0.25, "10.0.0.2")]


def test_of_two_that_answer_in_one_turn_the_other_is_closed(monkeypatch):
    winner, told = with_fates(monkeypatch, "db.example:80", **{"10_0_0_1": (0.5, None), "10_0_0_2": (0.25, None)})
    assert winner == "10.0.0.1"
    assert len(told.socks) == 2


def test_the_families_take_turns(monkeypatch):
    class Both(trews.Resolver):
        async def look_up(self, host):
            return ["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3"]

    async def main():
        loop = asyncio.get_running_loop()

        async def sock_connect(sock, address):
            raise OSError(REFUSED, os.strerror(REFUSED))

        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        with pytest.raises(ConnectError) as caught:
            await open_stream(Endpoint.parse("db.example:80"), loop, Both())
        tried = ["[2001:db8::1]:80", "192.0.2.1:80", "[2001:db8::2]:80", "192.0.2.2:80", "192.0.2.3:80"]
        assert [address for address, _ in caught.value.attempts] == tried

    with no_leaks():
        testing.run(main())


def test_when_the_time_is_over_every_address_is_listed_with_what_is_known(monkeypatch):
    exc, _ = with_fates(
        monkeypatch,
        "db.example:80?timeout=3",
        **{"10_0_0_1": (1e9, None), "10_0_0_2": (1, REFUSED), "10_0_0_3": (1e9, None)},
    )
    assert isinstance(exc, ConnectTimedOut)
    assert exc.attempts == (
        ("10.0.0.1:80", "no answer within 3 s"),
        ("10.0.0.2:80", "connection refused (is a server listening there?)"),
        ("10.0.0.3:80", "no answer within 3 s"),
    )


def test_an_error_lists_the_addresses_in_the_order_in_which_they_were_tried(monkeypatch):
    exc, _ = with_fates(monkeypatch, "db.example:80", **{"10_0_0_1": (1, errno.EHOSTUNREACH), "10_0_0_2": (0, REFUSED)})
    assert [address for address, _ in exc.attempts] == ["10.0.0.1:80", "10.0.0.2:80"]
    assert "10.0.0.1:80: the host cannot be reached; 10.0.0.2:80: connection refused" in str(exc)


def test_a_name_that_is_not_answered_is_told_as_such(monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*args, **kwargs):
            await asyncio.sleep(1e9)

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        late = "^cannot connect to tcp:db.example:80: the look-up of 'db.example': no answer within 30 s$"
        with pytest.raises(ConnectTimedOut, match=late):
            await open_stream(Endpoint.parse("db.example:80"), loop)

    testing.run(main())


def test_another_host_than_that_of_the_endpoint():
    """As for a proxy: its address, the endpoint's options, and the list goes on."""

    async def main(port, attempts):
        endpoint = Endpoint.parse("tcp:db.example:80?source=127.0.0.3")
        return await open_tcp("127.0.0.1", port, endpoint, asyncio.get_running_loop(), attempts)

    with listening() as (_, port):
        sock, address = run_really(main(port, []))
        with sock:
            assert (address, sock.getsockname()[0]) == (("127.0.0.1", port), "127.0.0.3")
    attempts = [("another", "failed")]
    with closed_port() as port, pytest.raises(ConnectError, match=r"cannot connect to tcp:db.example:80") as caught:
        run_really(main(port, attempts))
    assert [address for address, _ in caught.value.attempts] == ["another", f"127.0.0.1:{port}"]
    # What a URL of a proxy may hold and an endpoint may not.
    with pytest.raises(ConnectError, match=r"'127.1' is not an IPv4 address"):
        run_really(open_tcp("127.1", 80, Endpoint.parse("tcp:a:80"), None, []))


def test_a_service_is_a_port(monkeypatch):
    def getaddrinfo(host, port, *args, **kwargs):
        number = server_port if port == "chat" else 0
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", number))]

    with listening() as (_, server_port):
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        assert opened("tcp:127.0.0.1:chat")[1] == ("127.0.0.1", server_port)
        assert opened("tcp:db.example:chat")[1] == ("127.0.0.1", server_port)


def test_an_unknown_service_is_one_sentence():
    with pytest.raises(
        ConnectError, match=r"^cannot connect to tcp:127.0.0.1:nosuch: the service 'nosuch' is not known"
    ):
        opened("tcp:127.0.0.1:nosuch")


# -- from where


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_source_is_the_address_it_comes_from(loop):
    run = functools.partial(run_on, loop)
    with listening() as (_, port), closed_port() as free:
        assert opened(f"tcp:127.0.0.1:{port}?source=127.0.0.3", run)[0][0] == "127.0.0.3"
        assert opened(f"tcp:127.0.0.1:{port}?source=127.0.0.3:{free}", run)[0] == ("127.0.0.3", free)
        with pytest.raises(ConnectError, match=r"127.0.0.1:[0-9]+: the address does not belong to this machine"):
            opened(f"tcp:127.0.0.1:{port}?source=192.0.2.99", run)


@pytest.mark.skipif(sys.platform == "win32", reason="there the port would be shared")
def test_the_port_of_a_source_may_be_used_again_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server, listening() as (_, other), closed_port() as free:
        source = ("127.0.0.3", free)
        opened(f"tcp:127.0.0.1:{server.getsockname()[1]}?source=127.0.0.3:{free}")
        server.accept()[0].close()  # the client has closed first, so its port is in TIME_WAIT
        assert opened(f"tcp:127.0.0.1:{other}?source=127.0.0.3:{free}")[0] == source


def run_on(loop, main):
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


@needs_ipv6
@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_ipv6(loop):
    run = functools.partial(run_on, loop)
    scope = socket.if_nametoindex(LOOPBACK)
    with listening(socket.AF_INET6, ("::1", 0)) as (_, port, *_), closed_port() as free:
        assert opened(f"tcp:[::1]:{port}", run)[1] == ("::1", port, 0, 0)
        assert opened(f"tcp:[::1%{LOOPBACK}]:{port}", run)[1] == ("::1", port, 0, scope)
        assert opened(f"tcp:[::1%{scope}]:{port}", run)[1] == ("::1", port, 0, scope)
        assert opened(f"tcp:[::1]:{port}?source=::1", run)[0][0] == "::1"
        assert opened(f"tcp:[::1]:{port}?source=[::1]:{free}", run)[0][:2] == ("::1", free)


def link_local():
    """An address of this machine that needs its interface, as text."""
    try:
        lines = Path("/proc/net/if_inet6").read_text().split("\n")
    except OSError:
        lines = []
    for fields in map(str.split, lines):
        if fields and fields[3] == "20":
            return f"{ipaddress.IPv6Address(bytes.fromhex(fields[0]))}%{fields[5]}"
    pytest.skip("this machine has no link-local address")


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_addresses_of_one_link(loop):
    host, _, name = link_local().partition("%")

    async def main():
        async with trews.Server(trews.Connection).listen(f"tcp:[{host}%{name}]:0") as server:
            port = server.port
            async with trews.connect(f"tcp:[{host}%{name}]:{port}") as conn:
                assert conn.remote_address == (f"{host}%{name}", port)
                assert conn.local_address[0] == f"{host}%{name}"
                while not server.connections:
                    await asyncio.sleep(0.001)
                (accepted,) = server.connections
                assert accepted.remote_address == conn.local_address
                assert f"[{host}%{name}]:{port}" in repr(conn)
            with pytest.raises(ConnectError, match=r"needs its interface: \[fe80::[0-9a-f:]+%eth0\]"):
                await trews.connect(f"tcp:[{host}]:{port}")
            with pytest.raises(ConnectError, match="there is no network interface 'nosuch0'"):
                await trews.connect(f"tcp:[{host}%nosuch0]:{port}")

    run_on(loop, main())


def test_addresses_that_do_not_fit_the_source_are_left_out_and_told(monkeypatch):
    with listening() as (_, port):
        resolve_to(monkeypatch, ("::1", port, 0, 0), ("127.0.0.1", port))
        assert opened(f"tcp:db.example:{port}?source=127.0.0.3")[0][0] == "127.0.0.3"
        resolve_to(monkeypatch, ("::1", port, 0, 0), ("fd00::1", port, 0, 0))
        with pytest.raises(ConnectError) as caught:
            opened(f"tcp:db.example:{port}?source=127.0.0.3")
    why = "left out, for source=127.0.0.3 is an address of IPv4"
    assert caught.value.attempts == ((f"[::1]:{port}", why), (f"[fd00::1]:{port}", why))


def test_ipv6only_leaves_out_the_others(monkeypatch):
    resolve_to(monkeypatch, ("127.0.0.1", 9))
    with pytest.raises(ConnectError, match=r"127.0.0.1:9: left out, for ipv6only=yes"):
        opened("tcp:db.example:9?ipv6only=yes")


@pytest.mark.skipif(not hasattr(socket, "SO_BINDTODEVICE"), reason="SO_BINDTODEVICE is Linux's")
def test_interface_keeps_to_it():
    with listening() as (_, port):
        assert opened(f"tcp:127.0.0.1:{port}?interface={LOOPBACK}")[1] == ("127.0.0.1", port)
        with pytest.raises(ConnectError, match=r"127.0.0.1:[0-9]+: there is no network interface 'nosuch0'"):
            opened(f"tcp:127.0.0.1:{port}?interface=nosuch0")


def test_interface_is_refused_where_the_system_cannot_do_it(monkeypatch):
    monkeypatch.delattr(socket, "SO_BINDTODEVICE", raising=False)
    with pytest.raises(EndpointError, match="interface= is not to be had on this system"):
        opened("tcp:127.0.0.1:9?interface=lo")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse it by themselves")
@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_socket_that_met_itself_is_a_refusal(loop):
    """Nobody listens; our own port is the one that is asked for, as can happen to any port of the ephemeral range."""
    with closed_port() as port, pytest.raises(ConnectError, match="connection refused"):
        opened(f"tcp:127.0.0.4:{port}?source=127.0.0.4:{port}", functools.partial(run_on, loop))


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_server_that_does_not_take_connections_and_one_that_does(loop, monkeypatch):
    """Happy Eyeballs with real sockets: the queue of the first is full, so it never answers."""
    if sys.platform != "linux":
        pytest.skip("what a full queue does differs")
    with socket.socket() as full, listening(address=("127.0.0.2", 0)) as (_, port):
        full.bind(("127.0.0.5", port))
        full.listen(0)
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.5", port))
        resolve_to(monkeypatch, ("127.0.0.5", 0), ("127.0.0.2", 0))
        try:
            assert opened(f"tcp:db.example:{port}", functools.partial(run_on, loop))[1] == ("127.0.0.2", port)
        finally:
            for filler in fillers:
                filler.close()
