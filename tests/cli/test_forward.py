"""`trews forward`, as a process."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import contextmanager

import pytest

import trews
from trews.cli import main

KIB = 1024
# What the kernel's buffers on the way hold, generously.
KERNEL = 16 * KIB * KIB


def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)


@contextmanager
def peer(handle=echo, family=socket.AF_INET, address=("127.0.0.1", 0)):
    """A plain server for one connection, and its endpoint."""
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        listener.settimeout(20)

        def serve():
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(20)
                handle(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        name = listener.getsockname()
        try:
            yield f"unix:{name}" if family == socket.AF_UNIX else f"tcp:127.0.0.1:{name[1]}"
        finally:
            thread.join()


def connected(endpoint):
    """A plain socket that is connected to an endpoint."""
    sock = socket.socket(socket.AF_UNIX if endpoint.startswith("unix:") else socket.AF_INET)
    sock.settimeout(20)
    try:
        if endpoint.startswith("unix:"):
            sock.connect(endpoint.removeprefix("unix:"))
        else:
            sock.connect(("127.0.0.1", int(endpoint.rpartition(":")[2])))
    except OSError:
        sock.close()
        raise
    return sock


def all_of(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


@pytest.fixture
def forward(start, listening):
    def run(a, b, *args, **kwargs):
        process = start("forward", a, b, *args, **kwargs)
        (endpoint,) = listening(process)
        return process, endpoint

    return run


def stopped(process):
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    return process.stderr.read().decode()


def test_datagrams(forward):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.bind(("127.0.0.1", 0))
        target.settimeout(20)
        process, endpoint = forward("udp:localhost:0", f"udp:127.0.0.1:{target.getsockname()[1]}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.settimeout(20)
            sender.connect(("127.0.0.1", trews.Endpoint.parse(endpoint).port))
            for data in (b"question", b"", bytes(60_000)):
                sender.send(data)
                got, address = target.recvfrom(65536)
                assert got == data
                target.sendto(got[::-1] + b"!", address)
                assert sender.recv(65536) == data[::-1] + b"!"
    assert stopped(process) == ""


@pytest.mark.parametrize("a", ["tcp:127.0.0.1:0", "unix:a"])
@pytest.mark.parametrize("b", ["tcp", "unix"])
def test_both_ways_with_half_close(forward, tmp_path, monkeypatch, a, b):
    monkeypatch.chdir(tmp_path)

    def answer(sock):  # after the end of the question
        sock.sendall(all_of(sock)[::-1])

    place = {"family": socket.AF_UNIX, "address": str(tmp_path / "b")} if b == "unix" else {}
    data = os.urandom(1_000_000)
    with peer(answer, **place) as target:
        process, endpoint = forward(a, target)
        with connected(endpoint) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            assert all_of(sock) == data[::-1]
    assert stopped(process) == ""


def test_a_program_for_every_client(forward):
    process, endpoint = forward("tcp:127.0.0.1:0", "exec:sh -c 'read name; echo hello $name'")
    for name in (b"ann", b"bob"):
        with connected(endpoint) as sock:
            sock.sendall(name + b"\n")
            assert all_of(sock) == b"hello " + name + b"\n"  # although we have not ended
    assert stopped(process) == ""


def test_nobody_there_is_a_line_in_the_log_and_an_end_for_the_client(forward):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        process, endpoint = forward("tcp:127.0.0.1:0", f"tcp:127.0.0.1:{port}")
        for _ in range(2):  # it goes on
            with pytest.raises(ConnectionResetError), connected(endpoint) as client:
                client.recv(1)
    lines = stopped(process).splitlines()
    assert len(lines) == 2
    assert all("connection refused (is a server listening there?)" in line for line in lines)
    assert all(f"cannot connect to tcp:127.0.0.1:{port}" in line for line in lines)


def test_a_password_of_a_proxy_is_in_no_line(forward):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        via = f"socks5h://ann:hunter2@127.0.0.1:{sock.getsockname()[1]}"
        process, endpoint = forward("tcp:127.0.0.1:0", f"tcp:example.org:80?via={via}")
        with pytest.raises(ConnectionResetError), connected(endpoint) as client:
            client.recv(1)
    told = stopped(process)
    assert "the proxy socks5h://127.0.0.1:" in told
    assert "hunter2" not in told


def resident(process):
    """Bytes of memory that a process has."""
    with open(f"/proc/{process.pid}/statm", "rb") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="looks at /proc")
def test_a_slow_reader_holds_back_the_sender_and_costs_no_memory(forward, fill):
    size = 50 * KIB * KIB
    go = threading.Event()
    counts = []

    def read_late(sock):
        assert go.wait(60)
        counts.append(0)
        while data := sock.recv(1 << 20):
            counts[0] += len(data)

    with peer(read_late) as target:
        process, endpoint = forward("tcp:127.0.0.1:0", target)
        with connected(endpoint) as sock:
            before = resident(process)
            try:
                taken = fill(sock.fileno(), size)
                assert taken < KERNEL
                assert resident(process) - before < 4 * KIB * KIB
            finally:
                go.set()
            for _ in range(taken, size, 1 << 20):
                sock.sendall(bytes(1 << 20))
            assert resident(process) - before < 4 * KIB * KIB
    assert counts[0] >= size
    assert stopped(process) == ""


def test_a_stop_drains(forward):
    """What is under way at SIGTERM arrives: the end is passed on, and the answer to it comes back."""
    arrived = threading.Event()

    def answer(sock):
        question = sock.recv(15, socket.MSG_WAITALL)
        arrived.set()
        sock.sendall(b"got " + question + all_of(sock))

    with peer(answer) as target:
        process, endpoint = forward("tcp:127.0.0.1:0", target)
        with connected(endpoint) as sock:
            sock.sendall(b"half a question")
            assert arrived.wait(20)
            process.send_signal(signal.SIGTERM)
            assert all_of(sock) == b"got half a question"
        assert process.wait(20) == 0
    assert b"stopped; connections closed: 1, aborted: 0" in process.stdout.read()


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("udp:5353", "8080", "udp:localhost:5353 and tcp:8080: streams are joined with streams, and udp: with udp:"),
        (
            "8080",
            "udp:localhost:53",
            "tcp:localhost:8080 and udp:localhost:53: streams are joined with streams, and udp: with udp:",
        ),
        ("8080", "stdio:", "stdio: cannot be forwarded to: it is one connection, and each client needs one of its own"),
        ("8080", "fd:3", "fd:3 cannot be forwarded to: it is one connection, and each client needs one of its own"),
        ("8080", "systemd:web", "systemd:web cannot be forwarded to: systemd: is for listening"),
        ("memory:x", "8080", "memory:x: memory: is within one program, and no other can connect to it"),
        ("8080", "memory:x", "memory:x cannot be forwarded to: memory: is within one program"),
        ("8080", "tls:x:1?client_ca=a.pem", "client_ca= is for servers"),
        ("8080", "tls:x:1?ca=/no/such.pem", "ca=/no/such.pem: no such file or directory"),
        ("8080", "tls:x:1?cert=/no/such.pem", "cert=/no/such.pem: no such file or directory"),
        ("8080", "tcp:x:1?via=ftp://y:1", "via= takes socks5://, socks5h:// or http://, not ftp://"),
        ("8080", "tcp:x:1?proxy_protocol=10.0.0.0/8", "proxy_protocol= is for servers"),
        ("8080", "exec:no-such-program -x", "there is no program 'no-such-program'"),
        ("8080", "exec:/etc/passwd", "'/etc/passwd' is not a program that may be executed"),
        ("8080", "exec:cat 'x", "a quote or a backslash too many"),
        ("8080", "0", "port 0 is for listening"),
        ("exec:cat", "8080", "exec:cat"),
        ("8080", "unx:/x", "did you mean 'unix'?"),
        ("8080", "tcp:localhost:8080", "A and B are both tcp:localhost:8080: each connection would be"),
        ("nonsense", "8080", "a port is missing"),
    ],
)
def test_what_cannot_be_forwarded_is_said_and_status_2(a, b, expected, capsys):
    assert main(["forward", a, b]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("trews: ")
    assert expected in err


def test_it_stays_on_this_machine_unless_told_otherwise(monkeypatch):
    asked = []
    monkeypatch.setattr("trews.cli.forward.run_aloud", lambda *args: None)
    monkeypatch.setattr("trews.Server.listen", lambda self, endpoint: asked.append(str(endpoint)))
    assert main(["forward", "8080", "unix:/run/x"]) == 0
    assert main(["forward", "tcp:*:8080", "unix:/run/x"]) == 0
    assert asked == ["tcp:localhost:8080", "tcp:*:8080"]
