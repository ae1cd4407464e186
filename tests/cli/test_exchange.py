"""`trews connect udp:...`, and `trews serve` for datagrams, as processes."""

from __future__ import annotations

import signal
import socket
import subprocess

import pytest

import trews
from tests.datagrams import Peer

APP = """
import trews

class Echo(trews.Datagram):
    def on_read(self, data, address):
        self.write(data, address)

class Stream(trews.Connection):
    def on_read(self, data):
        self.write(data)

async def handler(conn):
    pass

both = trews.Server(Stream, datagram=Echo)

class Needs(trews.Datagram):
    def __init__(self, something):
        pass
"""


@pytest.fixture
def app(tmp_path, monkeypatch):
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- connect


def test_lines_are_datagrams_and_answers_are_printed(start):
    with Peer() as peer:
        process = start("connect", peer.endpoint, stdin=subprocess.PIPE)
        process.stdin.write(b"one\ntwo")
        data, address = peer.read()
        assert data == b"one\n"
        peer.sock.sendto(b"answer\n", address)
        assert process.stdout.readline() == b"answer\n"
        process.stdin.close()
        assert peer.read() == (b"two", address)
        peer.sock.sendto(b"late", address)
        assert (process.stdout.read(), process.wait(20), process.stderr.read()) == (b"late", 0, b"")


def test_nobody_is_there(trews_command):
    with Peer() as peer:
        endpoint = peer.endpoint
    result = trews_command("connect", endpoint, input=b"anybody?\n")
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == f"trews: {endpoint}: connection refused (is a server listening there?)\n"


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("udp:no-such-host.invalid:9", "the host 'no-such-host.invalid' is not known"),
        ("udp:127.0.0.1:9?interface=nope0", "there is no network interface 'nope0'"),
        ("udp:127.0.0.1:9?backlog=3", "the option 'backlog' is for"),
    ],
)
def test_what_cannot_be_connected(trews_command, endpoint, message):
    result = trews_command("connect", endpoint)
    assert message in result.stderr.decode()
    assert "Traceback" not in result.stderr.decode()
    assert result.returncode == 2


def test_a_line_that_is_too_long(trews_command):
    with Peer() as peer:
        result = trews_command("connect", peer.endpoint, input=b"x" * 200_000)
    assert result.returncode == 1
    assert result.stderr == b"trews: a line is longer than a datagram can be, 65507 bytes\n"


def test_ctrl_c_ends_it(start):
    with Peer() as peer:
        process = start("connect", peer.endpoint, stdin=subprocess.PIPE)
        process.stdin.write(b"here\n")
        assert peer.read()[0] == b"here\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() in (b"", b"\n")


# -- serve


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_datagrams_and_ends_with_a_signal(start, listening, app, number):
    process = start("serve", "app:Echo", "udp:0", f"unix:{app}/sock")
    first, second = listening(process, 2)
    assert (first.rpartition(":")[0], second) == ("udp:localhost", f"unix:{app}/sock")
    port = trews.Endpoint.parse(first).port
    with Peer() as peer:
        peer.sock.sendto(b"hello", ("127.0.0.1", port))
        assert peer.read() == (b"hello", ("127.0.0.1", port))
    process.send_signal(number)
    assert (*process.communicate(timeout=20), process.returncode) == (b"", b"", 0)
    assert not (app / "sock").exists()


def test_a_server_for_both(start, listening, app):
    process = start("serve", "app:both", "tcp:127.0.0.1:0", "udp:127.0.0.1:0")
    tcp, udp = (trews.Endpoint.parse(text) for text in listening(process, 2))
    with socket.create_connection(("127.0.0.1", tcp.port), timeout=20) as sock, Peer() as peer:
        sock.sendall(b"stream")
        assert sock.recv(100) == b"stream"
        peer.sock.sendto(b"datagram", ("127.0.0.1", udp.port))
        assert peer.read()[0] == b"datagram"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["app:Echo", "4040"], "tcp:localhost:4040: Echo is for datagrams: write 'udp:localhost:4040'"),
        (["app:Stream", "udp:4040"], "udp:localhost:4040: Stream is for connections, and udp: is for datagrams"),
        (["app:handler", "udp:4040"], "udp:localhost:4040: handler is for connections"),
        (["app:Echo", "udp:0", "--set", "framer=3"], "framer is for connections: Echo is for datagrams"),
        (["app:Needs", "udp:0"], "Needs is made without arguments"),
        (["app:Echo", "udp:239.1.2.3:0?interface=nope0"], "there is no network interface 'nope0'"),
        (["app:Echo", "udp:[ff02::fb]:0"], "an address of one link only needs its interface"),
        (["app:Echo", "udp:0?source=::1"], "there is no source= where datagrams are received"),
    ],
)
def test_what_cannot_be_served_is_one_sentence_and_status_2(trews_command, app, arguments, message):
    result = trews_command("serve", *arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert message in result.stderr.decode()
    assert result.stderr.count(b"\n") == 1


def test_a_port_that_is_taken(trews_command, app):
    with Peer() as peer:
        result = trews_command("serve", "app:Echo", peer.endpoint)
    assert result.returncode == 2
    assert b"the address is in use; choose another port" in result.stderr
