"""Connecting: every address tried and told, deadlines, and no socket left behind."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import contextmanager

import pytest

from trews import ConnectError, ConnectTimedOut, Endpoint, EndpointError, TimedOut, testing
from trews import run as run_really
from trews.testing import no_leaks
from trews.transport.connector import open_stream


def opened(text: str, run=run_really):
    """The socket that `open_stream` gives for an endpoint; leaks are failures."""

    async def main():
        sock, address = await open_stream(Endpoint.parse(text), asyncio.get_running_loop())
        with sock:
            return sock.getsockname(), address, sock.getblocking(), dict(options(sock))

    with no_leaks():
        return run(main())


def options(sock: socket.socket):
    if sock.family == socket.AF_INET:
        for name in ("TCP_NODELAY", "TCP_KEEPIDLE", "TCP_USER_TIMEOUT"):
            if hasattr(socket, name):
                yield name, sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))


@contextmanager
def listening(family=socket.AF_INET, address=("127.0.0.1", 0)):
    with socket.socket(family) as sock:
        sock.bind(address)
        sock.listen()
        yield sock.getsockname()


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


def test_source_is_the_address_it_comes_from():
    with listening() as (_, port):
        assert opened(f"tcp:127.0.0.1:{port}?source=127.0.0.3")[0][0] == "127.0.0.3"
        with pytest.raises(ConnectError, match="does not belong to this machine"):
            opened(f"tcp:127.0.0.1:{port}?source=192.0.2.1")


def test_unix_sockets(tmp_path):
    with listening(socket.AF_UNIX, str(tmp_path / "s")):
        assert opened(f"unix:{tmp_path}/s")[1] == f"{tmp_path}/s"
    with pytest.raises(ConnectError, match="connection refused"):  # the server is dead, its file is there
        opened(f"unix:{tmp_path}/s")
    with pytest.raises(ConnectError, match=r"cannot connect to unix:.*/none: no such file or directory"):
        opened(f"unix:{tmp_path}/none")
    with pytest.raises(ConnectError, match="path too long"):
        opened(f"unix:{tmp_path}/{'x' * 120}")


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
def test_abstract_names(tmp_path):
    name = f"trews-{os.getpid()}-{tmp_path.name}"
    with listening(socket.AF_UNIX, "\0" + name):
        assert opened(f"unix:@{name}")[1] == f"@{name}"
    with pytest.raises(ConnectError, match="connection refused"):
        opened(f"unix:@{name}")


def test_a_memory_name_that_nobody_has_is_one_sentence():
    with pytest.raises(ConnectError, match=r"^cannot connect to memory:none: no server of this loop listens under"):
        opened("memory:none")


@pytest.mark.parametrize("text", ["udp:80", "systemd:web"])
def test_kinds_that_cannot_be_connected_to_are_refused(text):
    with pytest.raises(EndpointError, match="cannot connect to"):
        opened(text)


@pytest.mark.parametrize("option", ["via=socks5://localhost:1080", "proxy_protocol=127.0.0.1", "interface=lo"])
def test_options_that_are_not_there_yet_are_refused_and_not_ignored(option):
    with pytest.raises(EndpointError, match=option.partition("=")[0]):
        opened(f"tcp:127.0.0.1:9?{option}")
