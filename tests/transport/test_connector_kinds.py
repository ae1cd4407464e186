"""Connecting to what is not TCP, and what can never be connected to."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import pytest

import trews
from tests.connecting import listening, opened
from trews import ConnectError, Endpoint, EndpointError
from trews import run as run_really
from trews.transport.connector import check, open_stream


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


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("udp:80", "this version cannot connect to udp: endpoints"),
        ("systemd:web", "systemd: endpoints are for servers"),
        ("localhost:0", "port 0 is for listening, on any free one: say which to connect to"),
        ("tls:localhost:0", "port 0 is for listening"),
    ],
)
def test_what_cannot_be_connected_to_is_refused(text, why):
    with pytest.raises(EndpointError, match=why):
        opened(text)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_a_path_with_another_thing_than_a_socket_for_streams(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConnectError, match=r": that is not a socket$"):
        opened(f"unix:{tmp_path}/file")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"{tmp_path}/datagrams")
        with pytest.raises(
            ConnectError, match=r": the socket there is not for streams: if it is for datagrams, trews\."
        ):
            opened(f"unix:{tmp_path}/datagrams")


CHECKED = [
    ("systemd:web", EndpointError, "are for servers"),
    ("localhost:0", EndpointError, "port 0"),
    ("tcp:x:1?proxy_protocol=10.0.0.0/8", EndpointError, "proxy_protocol= is for servers"),
    ("tls:x:1?client_ca=a.pem", EndpointError, "client_ca= is for servers"),
    ("tls:x:1?ca=/no/such.pem", ConnectError, "ca=/no/such.pem: no such file"),
    ("tcp:x:1?via=ftp://y:1", EndpointError, "not ftp://"),
    ("tcp:[fe80::1%25]:1?via=http://y:1", EndpointError, "means nothing to a proxy"),
    ("exec:no-such-program", ConnectError, "there is no program 'no-such-program'"),
]


@pytest.mark.parametrize(("text", "error", "why"), CHECKED)
def test_what_can_never_work_shows_without_connecting(text, error, why):
    endpoint = Endpoint.parse(text)
    with pytest.raises(error, match=why):
        check(endpoint)
    with pytest.raises(error, match=why):
        trews.run(trews.connect(endpoint)._connect())


@pytest.mark.parametrize(
    "text", ["9", "unix:/no/such", "tls:x:1?verify=no", "tcp:x:1?via=socks5://y:1", "exec:sh -c x"]
)
def test_what_may_work_later_passes_in_silence(text, caplog):
    check(Endpoint.parse(text))
    assert not caplog.records


def test_tls_has_the_same_socket_as_tcp():
    with listening() as (_, port):
        assert opened(f"tls:127.0.0.1:{port}")[1] == ("127.0.0.1", port)


def test_a_system_without_unix_sockets_says_so(monkeypatch):
    async def main():
        loop = asyncio.get_running_loop()
        monkeypatch.delattr(socket, "AF_UNIX")
        with pytest.raises(ConnectError, match="Python has no Unix sockets on this system"):
            await open_stream(Endpoint.parse("unix:/run/x"), loop)

    run_really(main())


@pytest.mark.parametrize("option", ["proxy_protocol=127.0.0.1"])
def test_options_that_are_not_there_yet_are_refused_and_not_ignored(option):
    with pytest.raises(EndpointError, match=option.partition("=")[0]):
        opened(f"tcp:127.0.0.1:9?{option}")
