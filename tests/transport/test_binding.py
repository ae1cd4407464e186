"""Binding for streams and for datagrams: which addresses, one port for all of them, and files."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from trews import Endpoint, ListenError
from trews.transport import binding
from trews.transport.binding import PAIR_ATTEMPTS, SocketFile, addresses_of, bind_all, bind_unix, has_ipv6, share_port

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
both_kinds = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["streams", "datagrams"])
SCHEMES: dict[int, str] = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}


def endpoint_of(kind: int, rest: str) -> Endpoint:
    return Endpoint.parse(f"{SCHEMES[kind]}:{rest}")


def maker(kind):
    def bind_one(family, address):
        sock = socket.socket(family, kind)
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
        except BaseException:
            sock.close()
            raise
        return sock

    return bind_one


@contextmanager
def bound(kind, rest):
    """The sockets of an endpoint, closed at the end."""
    endpoint = endpoint_of(kind, rest)
    sockets = bind_all(endpoint, addresses_of(endpoint, kind), maker(kind))
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def answer(monkeypatch, *found):
    """Have names looked up as these addresses."""
    entries = [(socket.AF_INET if len(a) == 2 else socket.AF_INET6, 0, 0, "", a) for a in found]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: entries)


# -- addresses


@needs_ipv6
@both_kinds
@pytest.mark.parametrize(
    ("rest", "hosts"),
    [
        ("7", ["0.0.0.0", "::"]),
        ("*:7", ["0.0.0.0", "::"]),
        ("7?ipv6only=yes", ["::"]),
        ("7?ipv6only=no", ["0.0.0.0", "::"]),
        ("127.0.0.1:7", ["127.0.0.1"]),
        ("[::1]:7", ["::1"]),
        ("[::1]:7?ipv6only=yes", ["::1"]),
    ],
)
def test_the_addresses_of_an_endpoint(kind, rest, hosts):
    found = addresses_of(endpoint_of(kind, rest), kind)
    assert [address[:2] for _, address in found] == [(host, 7) for host in hosts]
    assert [family == socket.AF_INET6 for family, _ in found] == [":" in host for host in hosts]


@both_kinds
def test_a_service_is_looked_up_for_that_kind_of_socket(kind, monkeypatch):
    asked = []

    def getaddrinfo(host, port, type, flags=0):
        asked.append((host, port, type))
        return [(socket.AF_INET, type, 0, "", ("127.0.0.1", 69))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    addresses_of(endpoint_of(kind, "here:service"), kind)
    addresses_of(endpoint_of(kind, "*:service"), kind)
    assert asked == [("here", "service", kind), (None, "service", kind)]


@both_kinds
def test_a_repeated_address_is_left_out(kind, monkeypatch):
    answer(monkeypatch, ("127.0.0.1", 0), ("127.0.0.2", 0), ("127.0.0.1", 0))
    with bound(kind, "here:0") as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1", "127.0.0.2"]
        assert len({sock.getsockname()[1] for sock in sockets}) == 1


@both_kinds
def test_a_machine_without_ipv6_listens_on_ipv4_only_and_says_nothing(kind, monkeypatch, caplog):
    class NoIPv6(socket.socket):
        def __init__(self, family=-1, *args, **kwargs):
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            super().__init__(family, *args, **kwargs)

    monkeypatch.setattr(socket, "socket", NoIPv6)
    caplog.set_level(logging.DEBUG)
    with bound(kind, "0") as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["0.0.0.0"]
    answer(monkeypatch, ("::1", 0, 0, 0), ("127.0.0.1", 0))  # the hosts file has it all the same
    with bound(kind, "localhost:0") as sockets:
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1"]
    assert not caplog.records


@both_kinds
@pytest.mark.parametrize("rest", ["127.0.0.1:0", "0", "v4.example:0"])
def test_ipv6only_without_ipv6_is_one_sentence(kind, rest, monkeypatch):
    answer(monkeypatch, ("127.0.0.1", 0))
    monkeypatch.setattr(binding, "has_ipv6", lambda: False)
    with pytest.raises(ListenError, match=r"^cannot listen on \S+: ipv6only=yes, and .*IPv6$"):
        addresses_of(endpoint_of(kind, f"{rest}?ipv6only=yes"), kind)


@needs_ipv6
@both_kinds
def test_of_a_name_ipv6only_takes_the_addresses_of_ipv6(kind, monkeypatch):
    answer(monkeypatch, ("127.0.0.1", 0), ("::1", 0, 0, 0))
    assert addresses_of(endpoint_of(kind, "here:0?ipv6only=yes"), kind) == [(socket.AF_INET6, ("::1", 0, 0, 0))]


@both_kinds
def test_an_unknown_host_is_one_sentence(kind, monkeypatch):
    def nobody(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(ListenError, match=r"^cannot listen on ...:nowhere:80: the host 'nowhere' is not known \(Name"):
        addresses_of(endpoint_of(kind, "nowhere:80"), kind)


@both_kinds
@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ("*:nosuchservice", "the service 'nosuchservice' is not known"),
        ("[fe80::1%nosuch0]:0", "there is no network interface 'nosuch0'; there are: "),
    ],
)
def test_what_cannot_be_looked_up_is_one_sentence(kind, rest, why):
    with pytest.raises(ListenError, match=rf"^cannot listen on \S+: {why}") as caught:
        addresses_of(endpoint_of(kind, rest), kind)
    assert caught.value.__suppress_context__


# -- one port for all of them


@needs_ipv6
@both_kinds
def test_port_0_is_the_same_port_on_ipv4_and_ipv6(kind):
    with bound(kind, "0") as (four, six):
        assert four.getsockname()[1] == six.getsockname()[1] != 0


@needs_ipv6
@both_kinds
def test_port_0_is_tried_again_when_the_free_ipv4_port_is_taken_on_ipv6(kind):
    endpoint, ports = endpoint_of(kind, "0"), []

    def unlucky(family, address):
        ports.append((family, address[1]))
        if family == socket.AF_INET6 and len(ports) <= 4:
            raise OSError(errno.EADDRINUSE, "busy")
        return maker(kind)(family, address)

    four, six = bind_all(endpoint, addresses_of(endpoint, kind), unlucky)
    assert four.getsockname()[1] == six.getsockname()[1]
    assert [port for family, port in ports if family == socket.AF_INET] == [0, 0, 0]  # always a fresh one
    four.close()
    six.close()


@needs_ipv6
@both_kinds
def test_no_port_that_is_free_on_both_families_is_an_error_that_leaves_nothing_bound(kind):
    endpoint, made = endpoint_of(kind, "0"), []

    def unlucky(family, address):
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRINUSE, "busy")
        made.append(maker(kind)(family, address))
        return made[-1]

    with pytest.raises(ListenError, match=r"cannot listen on ...:0: the address is in use"):
        bind_all(endpoint, addresses_of(endpoint, kind), unlucky)
    assert len(made) == PAIR_ATTEMPTS
    assert all(sock.fileno() < 0 for sock in made)


@both_kinds
def test_a_busy_port_is_one_sentence(kind):
    with bound(kind, "127.0.0.1:0") as (sock,):
        port = sock.getsockname()[1]
        if kind == socket.SOCK_STREAM:
            sock.listen()
        with pytest.raises(
            ListenError, match=f"^cannot listen on ...:127.0.0.1:{port}: the address is in use;"
        ) as caught:
            bound(kind, f"127.0.0.1:{port}").__enter__()
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.__suppress_context__


def test_an_address_of_another_machine_is_one_sentence():
    with pytest.raises(ListenError, match=r"^cannot listen on \S+: the address does not belong to this machine$"):
        bound(socket.SOCK_STREAM, "192.0.2.1:0").__enter__()


def test_what_is_said_in_words_stays():
    def bind_one(family, address):
        error = ListenError("cannot join 239.1.2.3: it is joined already")
        error.errno = errno.EADDRINUSE
        raise error

    endpoint = Endpoint.parse("udp:239.1.2.3:0")
    with pytest.raises(
        ListenError, match=r"^cannot listen on udp:239.1.2.3:0: cannot join 239.1.2.3: it is joined alr"
    ):
        bind_all(endpoint, addresses_of(endpoint, socket.SOCK_DGRAM), bind_one)


PRIVILEGED = """
import encodings.idna, os  # what is needed later may not be readable then
from trews import Endpoint, ListenError
from trews.transport import bound, listener
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for bind, endpoint in ((listener.bind, "tcp:127.0.0.1:1"), (bound.bind, "udp:127.0.0.1:1")):
    try:
        bind(Endpoint.parse(endpoint))
    except ListenError as exc:
        print(exc)
"""


def test_a_privileged_port_is_one_sentence():
    start = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if not start.is_file() or int(start.read_text()) <= 1:
        pytest.skip("every port may be bound by everybody here")
    done = subprocess.run([sys.executable, "-c", PRIVILEGED], capture_output=True, text=True, timeout=30)
    why = "permission denied; ports below 1024 need a privilege, choose a higher one"
    assert (done.stdout + done.stderr).splitlines() == [
        f"cannot listen on tcp:127.0.0.1:1: {why}",
        f"cannot listen on udp:127.0.0.1:1: {why}",
    ]


def test_a_system_that_cannot_share_ports_says_so(monkeypatch):
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    with socket.socket() as sock, pytest.raises(OSError, match=r"^reuse_port= is not known to this system$"):
        share_port(sock)


# -- Unix sockets


@pytest.fixture
def endpoint(tmp_path):
    return Endpoint.parse(f"unix:{tmp_path}/s")


@both_kinds
@pytest.mark.parametrize("mode", ["600", "660", "666"])
def test_a_unix_socket_has_the_mode_that_was_asked_for(tmp_path, kind, mode):
    with bind_unix(Endpoint.parse(f"unix:{tmp_path}/s?mode={mode}"), kind):
        assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == int(mode, 8)


@both_kinds
def test_a_unix_socket_does_not_block(endpoint, kind):
    with bind_unix(endpoint, kind) as sock:
        assert not sock.getblocking()
        assert sock.type == kind


@both_kinds
@pytest.mark.parametrize("dead", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_dead_servers_file_is_replaced(endpoint, kind, dead):
    with socket.socket(socket.AF_UNIX, dead) as sock:
        sock.bind(endpoint.path)
    assert os.path.exists(endpoint.path)
    with bind_unix(endpoint, kind), socket.socket(socket.AF_UNIX, kind) as client:
        client.connect(endpoint.path)


@both_kinds
def test_a_dead_servers_file_that_cannot_be_removed_is_one_sentence(endpoint, kind, monkeypatch):
    def forbidden(path):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with socket.socket(socket.AF_UNIX, kind) as dead:
        dead.bind(endpoint.path)
    monkeypatch.setattr(os, "unlink", forbidden)
    with pytest.raises(ListenError, match=r"^cannot listen on \S+/s: permission denied$"):
        bind_unix(endpoint, kind)


@both_kinds
@pytest.mark.parametrize("live", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_live_servers_file_is_refused_with_a_sentence_and_it_lives_on(endpoint, kind, live):
    with bind_unix(endpoint, live):
        with pytest.raises(ListenError, match=r"^cannot listen on \S+/s: a server is listening there already$"):
            bind_unix(endpoint, kind)
        with socket.socket(socket.AF_UNIX, live) as client:
            client.connect(endpoint.path)


@both_kinds
@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ("none/s", "there is no directory '.*/none'"),
        ("x" * 120, "the path is too long for a socket"),
        ("file", "there is a file of that name that is no socket"),
        ("", "there is a file of that name that is no socket"),
    ],
)
def test_what_cannot_be_bound_is_one_sentence(tmp_path, kind, rest, why):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ListenError, match=rf"^cannot listen on \S+: {why}") as caught:
        bind_unix(Endpoint.parse(f"unix:{tmp_path}/{rest}"), kind)
    assert "Errno" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert (tmp_path / "file").read_text() == "precious"


@both_kinds
def test_a_server_that_does_not_answer_is_refused(endpoint, kind, monkeypatch):
    def no_answer(self, path):
        raise TimeoutError(errno.ETIMEDOUT, "timed out")

    with bind_unix(endpoint, kind):
        monkeypatch.setattr(socket.socket, "connect", no_answer)
        with pytest.raises(ListenError, match=r"^cannot listen on \S+/s: no answer$") as caught:
            bind_unix(endpoint, kind)
    assert caught.value.__suppress_context__


@both_kinds
@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_abstract_names_leave_no_file_and_are_refused_while_taken(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"@trews-{os.getpid()}-{tmp_path.name}"
    endpoint = Endpoint.parse(f"unix:{name}")
    with bind_unix(endpoint, kind), socket.socket(socket.AF_UNIX, kind) as client:
        client.connect("\0" + name[1:])
        with pytest.raises(ListenError, match="a server is listening there already"):
            bind_unix(endpoint, kind)
        SocketFile(name).remove()
    assert not list(tmp_path.iterdir())
    bind_unix(endpoint, kind).close()


def test_a_system_without_unix_sockets_says_so(monkeypatch):
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ListenError, match="cannot listen on unix:/run/x: Python has no Unix sockets on this system"):
        bind_unix(Endpoint.parse("unix:/run/x"))


# -- files of theirs


def test_the_file_is_removed_wherever_the_process_has_gone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with bind_unix(Endpoint.parse("unix:./s")):
        file = SocketFile("./s")
        monkeypatch.chdir("/")
        file.remove()
        assert not list(tmp_path.iterdir())


def test_a_file_that_somebody_removed_does_no_harm(endpoint):
    with bind_unix(endpoint):
        file = SocketFile(endpoint.path)
        os.unlink(endpoint.path)
        file.remove()
        file.remove()


def test_the_file_of_another_server_that_has_taken_over_is_left(endpoint, tmp_path):
    with bind_unix(endpoint):
        file = SocketFile(endpoint.path)
        os.rename(endpoint.path, tmp_path / "old")  # keeps its inode from being given out again
        with bind_unix(endpoint):
            file.remove()
            assert stat.S_ISSOCK(os.stat(endpoint.path).st_mode)


def test_a_file_that_may_not_be_removed_any_more_is_told_once(endpoint, monkeypatch, caplog):
    def forbidden(path):
        raise PermissionError(errno.EACCES, "no")

    with bind_unix(endpoint):
        file = SocketFile(endpoint.path)
        monkeypatch.setattr(os, "unlink", forbidden)
        file.remove()
        file.remove()
    assert [record.message for record in caplog.records] == [
        f"cannot remove the socket file {endpoint.path}: permission denied"
    ]
