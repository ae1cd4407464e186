"""Listening sockets: how they are bound, what people read when they cannot be, and the loop that accepts."""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import socket
import stat
import sys
from contextlib import closing, contextmanager

import pytest

import trews
from trews import Endpoint, EndpointError, EventLoop, ListenError
from trews.testing import VirtualLoop
from trews.transport import listener as listening
from trews.transport.binding import BACKLOG
from trews.transport.listener import Listener, bind

LOOPBACK = "tcp:127.0.0.1:0"
INTERFACE = socket.if_nameindex()[0][1]  # the loopback one, on every system that is tested


@contextmanager
def bound(*texts):
    """The listeners of some endpoints, closed at the end."""
    listeners = []
    try:
        for text in texts:
            listeners += bind(Endpoint.parse(text))
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def call(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=5)


def elapse(loop: asyncio.AbstractEventLoop, seconds: float) -> None:
    """Let time pass on a virtual clock; what is under way comes first."""
    loop.run_until_complete(asyncio.sleep(seconds))


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


# -- where it is bound


@needs_ipv6
@pytest.mark.parametrize("text", ["0", "tcp:0", "tcp:*:0"])
def test_port_0_is_the_same_port_on_ipv4_and_ipv6(text):
    with bound(text) as (four, six):
        assert four.endpoint.port == six.endpoint.port != 0
        for host in ("127.0.0.1", "::1"):
            call(four.endpoint.port, host).close()


@needs_ipv6
def test_ipv6only_is_ipv6_only():
    with bound("tcp:0?ipv6only=1") as listeners:
        assert len(listeners) == 1
        call(listeners[0].endpoint.port, "::1").close()
        with pytest.raises(ConnectionRefusedError):
            call(listeners[0].endpoint.port)


@needs_ipv6
@pytest.mark.parametrize(("query", "both"), [("", False), ("?ipv6only=yes", False), ("?ipv6only=no", True)])
def test_the_address_of_all_of_ipv6_takes_ipv4_too_if_that_is_asked_for(query, both):
    with bound(f"tcp:[::]:0{query}") as listeners:
        assert len(listeners) == 1
        call(listeners[0].endpoint.port, "::1").close()
        if both:
            call(listeners[0].endpoint.port).close()
        else:
            with pytest.raises(ConnectionRefusedError):
                call(listeners[0].endpoint.port)


@needs_ipv6
def test_peers_by_ipv4_are_shown_as_such_on_a_socket_for_both():
    async def main():
        async with trews.Server(trews.Connection).listen("tcp:[::]:0?ipv6only=no") as server:
            async with trews.connect(f"tcp:127.0.0.1:{server.port}") as conn:
                while not server.connections:
                    await asyncio.sleep(0.001)
                (accepted,) = server.connections
                assert accepted.remote_address == conn.local_address
                assert accepted.remote_address[0] == accepted.local_address[0] == "127.0.0.1"

    trews.run(main())


@needs_ipv6
def test_a_scope_is_part_of_the_address():
    for scope in (INTERFACE, socket.if_nametoindex(INTERFACE)):
        with bound(f"tcp:[::1%{scope}]:0") as (listener,):
            call(listener.endpoint.port, "::1").close()
    with pytest.raises(
        ListenError, match=r"^cannot listen on \S+: there is no network interface 'nosuch0'; there are: "
    ):
        bind(Endpoint.parse("tcp:[fe80::1%nosuch0]:0"))
    with pytest.raises(
        ListenError, match=r"^cannot listen on \S+: an address of one link only needs its interface: \["
    ):
        bind(Endpoint.parse("tcp:[fe80::1]:0"))


@pytest.mark.skipif(not hasattr(socket, "SO_BINDTODEVICE"), reason="SO_BINDTODEVICE is Linux's")
def test_interface_keeps_the_sockets_to_it():
    with bound(f"tcp:0?interface={INTERFACE}") as listeners:
        for listener in listeners:
            name = listener._sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 32)
            assert name.rstrip(b"\0").decode() == INTERFACE
        with call(listeners[0].endpoint.port), taken(listeners[0]) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 32)
    with pytest.raises(
        ListenError, match=r"^cannot listen on \S+: there is no network interface 'nosuch0'; there are: "
    ):
        bind(Endpoint.parse("tcp:0?interface=nosuch0"))


def test_interface_is_refused_where_the_system_cannot_do_it(monkeypatch):
    monkeypatch.delattr(socket, "SO_BINDTODEVICE", raising=False)
    with pytest.raises(EndpointError, match="interface= is not to be had on this system"):
        bind(Endpoint.parse("tcp:127.0.0.1:0?interface=lo"))


def test_a_host_is_that_interface_only():
    with bound("tcp:127.0.0.1:0") as (listener,):
        call(listener.endpoint.port).close()
        with pytest.raises(ConnectionRefusedError):
            call(listener.endpoint.port, "127.0.0.2")


# -- options of the sockets

TCP = socket.IPPROTO_TCP
OPTIONS = [
    ("no delay", "", TCP, "TCP_NODELAY", 1),
    ("keep-alive", "", socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    ("first probe", "", TCP, "TCP_KEEPIDLE", 60),
    ("further probes", "", TCP, "TCP_KEEPINTVL", 10),
    ("probes in all", "", TCP, "TCP_KEEPCNT", 6),
    ("user timeout only on request", "", TCP, "TCP_USER_TIMEOUT", 0),
    ("user timeout", "?tcp_user_timeout=2.5", TCP, "TCP_USER_TIMEOUT", 2500),
]


@pytest.mark.parametrize(("query", "level", "option", "expected"), [row[1:] for row in OPTIONS], ids=lambda v: str(v))
def test_accepted_sockets_have_the_options(query, level, option, expected):
    if not hasattr(socket, option):
        pytest.skip(f"no {option} on this system")
    with bound(LOOPBACK + query) as (listener,), call(listener.endpoint.port):
        sock = taken(listener)
        assert sock.getsockopt(level, getattr(socket, option)) == expected
        sock.close()


def taken(listener: Listener) -> socket.socket:
    """The connection that waits, accepted in a turn of a loop."""
    got: list[socket.socket] = []

    def accept(sock, address):
        got.append(sock)
        loop.stop()

    with closing(EventLoop()) as loop:
        listener.start(loop, accept, lambda: True)
        loop.run_forever()
        listener.pause()
    return got[0]


def test_accepted_sockets_do_not_block():
    with bound(LOOPBACK) as (listener,), call(listener.endpoint.port), taken(listener) as sock:
        assert not sock.getblocking()


@pytest.mark.skipif(sys.platform == "win32", reason="there the option means something else")
def test_a_server_restarts_on_its_port_while_old_connections_are_in_time_wait():
    with bound(LOOPBACK) as (listener,):
        port = listener.endpoint.port
        with call(port) as client:
            taken(listener).close()  # the side that closes first is the one that waits
            assert client.recv(1) == b""
    with socket.socket() as plain, pytest.raises(OSError, match="in use"):
        plain.bind(("127.0.0.1", port))
    with bound(f"tcp:127.0.0.1:{port}") as (again,):
        call(port).close()
        assert again.endpoint.port == port


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT on this system")
def test_reuse_port_shares_a_port_and_without_it_none_is_shared():
    with bound(LOOPBACK + "?reuse_port=1") as (one,):
        port = one.endpoint.port
        with bound(f"tcp:127.0.0.1:{port}?reuse_port=1") as (other,):
            assert other.endpoint.port == port
        with pytest.raises(ListenError):
            bind(Endpoint.parse(f"tcp:127.0.0.1:{port}"))
    with bound(LOOPBACK) as (alone,), pytest.raises(ListenError):
        bind(Endpoint.parse(f"tcp:127.0.0.1:{alone.endpoint.port}?reuse_port=1"))


@pytest.mark.parametrize(
    ("query", "expected"), [("", BACKLOG), ("?backlog=7", 7)], ids=["the default is large", "as asked"]
)
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_backlog(monkeypatch, tmp_path, kind, query, expected):
    asked = []

    class Noting(socket.socket):
        def listen(self, *args):
            asked.append(*args)
            super().listen(*args)

    monkeypatch.setattr(socket, "socket", Noting)
    with bound(LOOPBACK + query if kind == "tcp" else f"unix:{tmp_path}/s{query}"):
        assert asked == [expected]


def test_more_connections_than_the_old_default_wait_in_the_kernel():
    with closing(VirtualLoop()) as loop, bound(LOOPBACK) as (listener,):
        clients = [call(listener.endpoint.port) for _ in range(200)]
        got: list[socket.socket] = []
        listener.start(loop, lambda sock, address: got.append(sock), lambda: True)
        elapse(loop, 0.001)
        assert len(got) == 200
        for sock in clients + got:
            sock.close()


# -- what cannot be bound


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("unix:{tmp}/none/s", "there is no directory '.*/none'"),
        ("unix:{tmp}/" + "x" * 120, "the path is too long for a socket"),
        ("unix:{tmp}/file", "there is a file of that name that is no socket"),
        ("unix:{tmp}", "there is a file of that name that is no socket"),
        ("tcp:192.0.2.1:0", "the address does not belong to this machine"),
        ("tcp:*:nosuchservice", "the service 'nosuchservice' is not known"),
    ],
)
def test_refusals_are_one_sentence(tmp_path, text, sentence):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ListenError, match=rf"^cannot listen on \S+: {sentence}") as caught:
        bind(Endpoint.parse(text.format(tmp=tmp_path)))
    assert "\n" not in str(caught.value)
    assert "Errno" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "precious"


def refused_listening(text: str) -> ListenError:
    with pytest.raises(ListenError) as caught:
        bind(Endpoint.parse(text))
    return caught.value


PRIVILEGED = """
import encodings.idna, os  # what is needed later may not be readable then
from trews import Endpoint, ListenError
from trews.transport.listener import bind
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    bind(Endpoint.parse("tcp:127.0.0.1:1"))
except ListenError as exc:
    print(exc)
"""


@pytest.mark.parametrize("text", ["udp:0", "exec:cat", "tls:0?cert=c&key=k"])
def test_kinds_that_cannot_be_listened_on_are_refused(text):
    with pytest.raises((EndpointError, ListenError), match="cannot listen on"):
        bind(Endpoint.parse(text))


@pytest.mark.parametrize("option", ["source=127.0.0.1", "via=socks5://localhost:1080"])
def test_options_that_are_not_there_yet_are_refused_and_not_ignored(option):
    listeners = []
    with pytest.raises(EndpointError, match=option.partition("=")[0]):
        listeners += bind(Endpoint.parse(f"tcp:127.0.0.1:0?{option}"))
    for listener in listeners:
        listener.close()


# -- Unix sockets


def test_a_unix_socket_is_removed_when_it_is_closed(tmp_path):
    with bound(f"unix:{tmp_path}/s") as (listener,):
        assert listener.endpoint == Endpoint.parse(f"unix:{tmp_path}/s")
        assert stat.S_ISSOCK(os.stat(tmp_path / "s").st_mode)
    assert not os.path.exists(tmp_path / "s")


def test_a_file_that_somebody_removed_does_no_harm(tmp_path):
    with bound(f"unix:{tmp_path}/s") as (listener,):
        os.unlink(tmp_path / "s")
        listener.close()
        listener.close()  # twice is once


# -- accepting


class FaultySocket:
    """A listening socket whose accept fails with each of `errors` before it works."""

    def __init__(self, sock, loop, errors):
        self._sock, self._loop, self._errors = sock, loop, list(errors)
        self.fileno, self.close = sock.fileno, sock.close
        self.tried: list[float] = []

    def accept(self):
        self.tried.append(self._loop.time())
        if self._errors:
            number = self._errors.pop(0)
            raise OSError(number, os.strerror(number))
        return self._sock.accept()


@pytest.fixture(params=["readiness", "completion"])
def way(request, monkeypatch):
    """How accepting is done: by readiness everywhere, by completion on Windows' Proactor loop."""
    if request.param == "completion":
        monkeypatch.setattr(asyncio, "ProactorEventLoop", asyncio.SelectorEventLoop, raising=False)


both_ways = pytest.mark.usefixtures("way")


@contextmanager
def faulty(errors):
    """A listener with one caller waiting, on the virtual clock; what it accepts is counted and closed."""
    accepted: list[float] = []

    def accept(sock, address):
        accepted.append(loop.time())
        sock.close()

    with closing(VirtualLoop()) as loop, bound(LOOPBACK) as (listener,), call(listener.endpoint.port):
        sock = listener._sock = FaultySocket(listener._sock, loop, errors)
        listener.start(loop, accept, lambda: True)
        yield loop, listener, sock, accepted
        listener.close()
        elapse(loop, 0)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
@both_ways
def test_out_of_descriptors_backs_off_and_is_logged_once(number, caplog):
    caplog.set_level(logging.INFO, "trews")
    with faulty([number] * 10) as (loop, _, sock, accepted):
        elapse(loop, 0.009)
        assert len(sock.tried) == 1  # it does not spin
        elapse(loop, 60)
        waits = [round(after - before, 3) for before, after in zip(sock.tried, sock.tried[1:], strict=False)]
        assert waits[:10] == [0.010, 0.020, 0.040, 0.080, 0.160, 0.320, 0.640, 1.0, 1.0, 1.0]
        assert len(accepted) == 1
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "cannot accept for now" in record.getMessage()


@both_ways
def test_a_second_shortage_waits_from_the_start_and_is_logged_once_in_a_while(caplog):
    with faulty([]) as (loop, listener, sock, accepted):
        for pause, lines in ((0, 1), (1, 1), (listening.QUIET, 2)):
            elapse(loop, pause)
            sock._errors, sock.tried = [errno.EMFILE] * 3, []
            with call(listener.endpoint.port):
                elapse(loop, 5)
            assert [round(when - sock.tried[0], 3) for when in sock.tried[:4]] == [0, 0.010, 0.030, 0.070]
            assert len(caplog.records) == lines
        assert len(accepted) == 4


@pytest.mark.parametrize(
    "number", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EAGAIN, errno.EINTR]
)
@both_ways
def test_a_caller_that_hung_up_while_it_waited_disturbs_nobody(number, caplog):
    with faulty([number]) as (loop, _, _, accepted):
        start = loop.time()
        elapse(loop, 1)
        assert accepted == [start]
    assert not caplog.records  # at the level of warnings


@both_ways
def test_closing_while_it_backs_off_leaves_no_timer():
    with faulty([errno.EMFILE] * 100) as (loop, listener, sock, accepted):
        elapse(loop, 0.05)
        count = len(sock.tried)
        listener.close()
        elapse(loop, 60)
        assert len(sock.tried) == count
        assert not accepted
        assert loop._next() is None


@both_ways
def test_pausing_while_it_backs_off_holds_until_it_is_resumed():
    with faulty([errno.EMFILE]) as (loop, listener, _, accepted):
        elapse(loop, 0.005)
        listener.pause()
        elapse(loop, 10)
        assert not accepted
        listener.resume()
        elapse(loop, 0.001)
        assert len(accepted) == 1


@both_ways
def test_a_paused_listener_leaves_callers_to_the_kernel_and_does_not_spin():
    with faulty([]) as (loop, listener, sock, accepted):
        listener.pause()
        elapse(loop, 0.001)
        with call(listener.endpoint.port):
            elapse(loop, 0.001)
            assert not sock.tried
            listener.resume()
            elapse(loop, 0.001)
        assert len(accepted) == 2


def test_take_all_takes_what_waits_in_the_kernel_as_far_as_there_is_room():
    got: list[socket.socket] = []
    with closing(VirtualLoop()) as loop, bound(LOOPBACK) as (listener,):
        clients = [call(listener.endpoint.port) for _ in range(5)]
        listener.start(loop, lambda sock, address: got.append(sock), lambda: len(got) < 3)
        listener.take_all()
        assert len(got) == 3
        for sock in clients + got:
            sock.close()


def test_a_wake_up_takes_no_more_than_its_share(monkeypatch):
    monkeypatch.setattr(listening, "ACCEPTS_A_TURN", 10)
    got: list[socket.socket] = []
    counts = []

    def look():
        counts.append(len(got))
        if len(got) < 25:
            loop.call_soon(look)
        else:
            loop.stop()

    # Any loop: accepting is one loop of ours on all of them.
    with closing(asyncio.new_event_loop()) as loop, bound(LOOPBACK) as (listener,):
        clients = [call(listener.endpoint.port) for _ in range(25)]
        listener.start(loop, lambda sock, address: got.append(sock), lambda: True)
        loop.call_soon(look)
        loop.run_forever()
        for sock in clients + got:
            sock.close()
        assert max(after - before for before, after in itertools.pairwise(counts)) == 10
