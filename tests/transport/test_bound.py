"""Sockets for datagrams as endpoints say: which addresses, which options, and one sentence where that cannot be."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading

import pytest

from tests.transport.test_multicast import interface_v6  # noqa: F401
from trews.endpoint import Endpoint
from trews.errors import ConnectError, ConnectTimedOut, EndpointError, ListenError
from trews.transport import bound
from trews.transport.bound import bind, open_client
from trews.transport.resolver import Resolver


def bound_to(text):
    return bind(Endpoint.parse(text))


def client(text, resolver=None):
    return asyncio.run(open_client(Endpoint.parse(text), resolver))


def names(made):
    return [sock.getsockname()[:2] for sock in made.sockets]


def option(sock, name, level=socket.SOL_SOCKET):
    return sock.getsockopt(level, name)


@pytest.fixture
def free_port():
    """One that is free for IPv4 and IPv6 now."""
    made = bound_to("udp:0")
    made.close()
    return made.endpoint.port


# -- for a server


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("udp:0", ["0.0.0.0", "::"]),
        ("udp:*:0", ["0.0.0.0", "::"]),
        ("udp:0?ipv6only=yes", ["::"]),
        ("udp:127.0.0.1:0", ["127.0.0.1"]),
        ("udp:[::1]:0", ["::1"]),
    ],
)
def test_the_addresses_of_an_endpoint(text, hosts):
    made = bound_to(text)
    ports = {port for _, port in names(made)}
    assert [host for host, _ in names(made)] == hosts
    assert ports == {made.endpoint.port}
    assert all(sock.type == socket.SOCK_DGRAM and not sock.getblocking() for sock in made.sockets)
    assert made.peer is None
    made.close()


def test_a_name_may_be_several_addresses():
    made = bound_to("udp:localhost:0")
    assert {host for host, _ in names(made)} <= {"127.0.0.1", "::1"}
    made.close()


def test_both_addresses_have_a_socket_of_their_own_where_a_stream_has_one_for_both():
    made = bound_to("udp:[::]:0?ipv6only=no")
    assert [host for host, _ in names(made)] == ["0.0.0.0", "::"]
    assert all(option(sock, socket.IPV6_V6ONLY, socket.IPPROTO_IPV6) for sock in made.sockets[1:])
    made.close()


def test_a_host_without_ipv6_is_refused_by_ipv6only():
    with pytest.raises(ListenError, match=r"ipv6only=yes, and 127\.0\.0\.1 has no address of IPv6"):
        bound_to("udp:127.0.0.1:0?ipv6only=yes")


def test_a_port_is_not_taken_from_another_program():
    first = bound_to("udp:127.0.0.1:0")
    with pytest.raises(ListenError, match="the address is in use; choose another port, or stop what listens there"):
        bound_to(f"udp:127.0.0.1:{first.endpoint.port}")
    first.close()


def test_it_is_shared_if_both_say_so():
    first = bound_to("udp:127.0.0.1:0?reuse_port=yes")
    second = bound_to(f"udp:127.0.0.1:{first.endpoint.port}?reuse_port=yes")
    first.close()
    second.close()


def test_a_system_that_cannot_share_ports(monkeypatch):
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(ListenError, match="reuse_port= is not known to this system"):
        bound_to("udp:0?reuse_port=yes")
    with pytest.raises(ConnectError, match="reuse_port= is not known to this system"):
        client("udp:127.0.0.1:9?reuse_port=yes")


def test_one_interface_only():
    made = bound_to("udp:0?interface=lo")
    for sock in made.sockets:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
    assert made.interface == "lo"
    made.close()


@pytest.mark.parametrize("interface", ["lo", "127.0.0.1"])
def test_a_group_is_bound_and_joined(interface):
    made = bound_to(f"udp:239.255.40.3:0?interface={interface}")
    (sock,) = made.sockets
    assert names(made) == [("239.255.40.3", made.endpoint.port)]
    assert made.peer == ("239.255.40.3", made.endpoint.port)
    assert option(sock, socket.SO_REUSEADDR)
    assert not option(sock, socket.SO_BINDTODEVICE)
    sock.settimeout(5)
    sock.sendto(b"heard", made.peer)
    assert sock.recv(10) == b"heard"
    made.close()


@pytest.mark.parametrize("text", ["udp:[ff02::4243]:0?interface={}", "udp:[ff02::4243%{}]:0"])
def test_a_group_of_ipv6(interface_v6, text):  # noqa: F811
    made = bound_to(text.format(interface_v6))
    (sock,) = made.sockets
    index = socket.if_nametoindex(interface_v6)
    assert made.peer == ("ff02::4243", made.endpoint.port, 0, index)
    assert made.interface == interface_v6
    sock.settimeout(5)
    sock.sendto(b"heard", made.peer)
    assert sock.recv(10) == b"heard"
    made.close()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("udp:[ff02::fb]:0", ListenError, r"an address of one link only needs its interface: \[ff02::fb%eth0\]"),
        ("udp:[ff01::fb]:0", ListenError, "an address of one link only needs its interface"),
        ("udp:239.1.2.3:0?interface=nope0", ListenError, "there is no network interface 'nope0'; there are: lo"),
        ("udp:0?interface=nope0", ListenError, "there is no network interface 'nope0'"),
        ("udp:239.1.2.3:0?interface=203.0.113.7", ListenError, "that interface cannot do multicast"),
        ("udp:203.0.113.7:0", ListenError, "the address does not belong to this machine"),
        ("udp:no-such-host.invalid:0", ListenError, "the host 'no-such-host.invalid' is not known"),
        ("udp:0?source=127.0.0.1", EndpointError, "there is no source= where datagrams are received"),
        ("udp:0?timeout=3", EndpointError, "there is no timeout= where"),
        ("unix:/tmp/x?backlog=3", EndpointError, "there is no backlog= where"),
        ("unix:/no/such/directory", ListenError, "there is no directory '/no/such'"),
        ("unix:/tmp/" + "x" * 200, ListenError, "the path is too long"),
    ],
)
def test_what_cannot_be_bound_is_one_sentence(text, error, message):
    with pytest.raises(error, match=message) as caught:
        bound_to(text)
    assert "\n" not in str(caught.value)


def test_no_usable_interface(monkeypatch):
    def join(sock, group, interface, source):
        raise ListenError(f"cannot join {group}: no interface of this machine can do multicast there")

    monkeypatch.setattr(bound.multicast, "join", join)
    with pytest.raises(ListenError, match=r"^cannot listen on udp:239.1.2.3:0: cannot join 239.1.2.3: no interface"):
        bound_to("udp:239.1.2.3:0")


# -- Unix sockets


def test_a_unix_socket_and_its_file(tmp_path):
    path = tmp_path / "sock"
    made = bound_to(f"unix:{path}?mode=620")
    assert path.stat().st_mode & 0o777 == 0o620
    with pytest.raises(ListenError, match="a server is listening there already"):
        bound_to(f"unix:{path}")
    made.close()
    assert not path.exists()


def test_a_unix_client_can_be_answered(tmp_path):
    for name in (f"unix:{tmp_path}/sock", f"unix:@trews-{os.getpid()}-{tmp_path.name}"):
        server = bound_to(name)
        made = client(name)
        made.sockets[0].send(b"hello")
        data, address = server.sockets[0].recvfrom(10)
        server.sockets[0].sendto(b"answer", address)
        assert (data, made.sockets[0].recv(10)) == (b"hello", b"answer")
        assert made.is_connected
        made.close()
        server.close()


def test_nobody_at_a_path(tmp_path):
    with pytest.raises(ConnectError, match="no such file or directory"):
        client(f"unix:{tmp_path}/none")


def test_a_system_without_unix_sockets_says_so(monkeypatch):
    async def main():
        with monkeypatch.context() as patched:  # within, for the loop has such sockets of its own
            patched.delattr(socket, "AF_UNIX")
            await open_client(Endpoint.parse("unix:/run/x"))

    with pytest.raises(ConnectError, match="unix:/run/x: Python has no Unix sockets on this system"):
        asyncio.run(main())


# -- for a client


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("udp:127.0.0.1:9", ("127.0.0.1", 9)),
        ("udp:[::1]:9", ("::1", 9, 0, 0)),
        ("udp:[::ffff:127.0.0.1]:9", ("127.0.0.1", 9)),
    ],
)
def test_a_literal_address_is_not_looked_up(text, peer, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", None)
    made = client(text)
    assert (made.peer, made.is_connected) == (peer, True)
    assert made.sockets[0].getpeername() == peer
    made.close()


def test_a_name_is_looked_up_off_the_loop(monkeypatch):
    asked = []
    real = socket.getaddrinfo

    def getaddrinfo(*args, **kwargs):
        asked.append(threading.current_thread() is threading.main_thread())
        return real(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    client("udp:localhost:9").close()
    assert asked == [False]


def test_a_service_is_looked_up_for_datagrams(monkeypatch):
    def getaddrinfo(host, service, type, **kwargs):
        assert (host, service, type) == (None, "only-udp", socket.SOCK_DGRAM)
        return [(socket.AF_INET, type, 0, "", ("0.0.0.0", 4242))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    made = client("udp:127.0.0.1:only-udp")
    assert made.peer == ("127.0.0.1", 4242)
    made.close()


def test_the_resolver_is_asked_and_the_first_address_that_can_be_had_is_taken(monkeypatch):
    tried, real = [], bound._open_one

    def open_one(sock, address, endpoint):
        tried.append(address)
        if address[0] != "127.0.0.1":
            raise OSError(errno.ENETUNREACH, "no way")
        return real(sock, address, endpoint)

    monkeypatch.setattr(bound, "_open_one", open_one)
    made = client("udp:somewhere:9", Resolver(overrides={"somewhere": ["::1", "127.0.0.1"]}))
    assert tried == [("::1", 9, 0, 0), ("127.0.0.1", 9)]
    assert made.peer == ("127.0.0.1", 9)
    made.close()


def test_all_that_was_tried_is_told(monkeypatch):
    def open_one(sock, address, endpoint):
        raise OSError(errno.ENETUNREACH, "no way")

    monkeypatch.setattr(bound, "_open_one", open_one)
    with pytest.raises(ConnectError, match=r"^cannot connect to udp:\[::1\]:9: \[::1\]:9: the network cannot be reach"):
        client("udp:[::1]:9")


def test_a_resolver_that_hangs():
    class Hanging(Resolver):
        async def look_up(self, host):
            await asyncio.Event().wait()

    with pytest.raises(ConnectTimedOut, match=r"the look-up of 'somewhere': no answer within 0.01 s"):
        client("udp:somewhere:9?timeout=0.01", Hanging())


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("udp:no-such-host.invalid:9", ConnectError, "the host 'no-such-host.invalid' is not known"),
        ("udp:[fe80::1%nope0]:9", ConnectError, "there is no network interface 'nope0'"),
        ("udp:127.0.0.1:9?interface=nope0", ConnectError, "there is no network interface 'nope0'"),
        ("udp:127.0.0.1:9?source=::1", ConnectError, "left out, for source=::1 is an address of IPv6"),
        ("udp:[fe80::1]:9", ConnectError, "an address of one link only needs its interface"),
        ("udp:127.0.0.1:9?source=203.0.113.7", ConnectError, "the address does not belong to this machine"),
        ("udp:127.0.0.1:9?ipv6only=yes", ConnectError, "left out, for ipv6only=yes"),
        ("unix:/tmp/x?mode=600", EndpointError, "there is no mode= for a client"),
    ],
)
def test_what_cannot_be_had(text, error, message):
    with pytest.raises(error, match=message) as caught:
        client(text)
    assert "\n" not in str(caught.value)


def test_the_source_of_a_client():
    made = client("udp:127.0.0.1:9?source=127.0.0.5&interface=lo&reuse_port=yes")
    assert made.sockets[0].getsockname()[0] == "127.0.0.5"
    assert option(made.sockets[0], socket.SO_REUSEPORT)
    made.close()


def test_the_source_may_have_a_port(free_port):
    for host, source in (("127.0.0.1", f"127.0.0.5:{free_port}"), ("[::1]", f"[::1]:{free_port}")):
        made = client(f"udp:{host}:9?source={source}")
        assert made.sockets[0].getsockname()[1] == free_port
        with pytest.raises(ConnectError, match="the address is in use by another program"):
            client(f"udp:{host}:9?source={source}")  # not shared, as streams share the port of a source
        made.close()


def test_a_client_of_a_group_hears_all_who_answer():
    made = client("udp:239.255.40.4:9?interface=lo")
    (sock,) = made.sockets
    assert (made.peer, made.is_connected) == (("239.255.40.4", 9), False)
    assert sock.getsockname()[1]
    made.close()


@pytest.mark.parametrize("host", ["127.255.255.255", "255.255.255.255"])
@pytest.mark.parametrize("source", ["", "?source=127.0.0.1"])
def test_a_client_of_a_broadcast_address(host, source):
    made = client(f"udp:{host}:9{source}")
    (sock,) = made.sockets
    assert (made.peer, made.is_connected) == ((host, 9), False)
    assert option(sock, socket.SO_BROADCAST)
    assert sock.getsockname()[1]
    made.close()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
@pytest.mark.parametrize(
    ("name", "why"),
    [("file", "that is not a socket$"), ("streams", "the socket there is not for datagrams: if it is for streams")],
)
def test_a_path_with_another_thing_than_a_socket_for_datagrams(tmp_path, name, why):
    (tmp_path / "file").write_text("x")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(f"{tmp_path}/streams")
        sock.listen()
        with pytest.raises(ConnectError, match=why):
            asyncio.run(open_client(Endpoint.parse(f"unix:{tmp_path}/{name}")))
