"""`systemd:NAME`, by doing systemd's part: sockets are opened here, and passed to the process that serves on them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import trews
from tests.clients import LOOPS
from tests.conftest import ROOT, absent
from tests.servers import Echo
from trews import Endpoint, EndpointError, ListenError, Server
from trews.transport import systemd
from trews.transport.listener import bind

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such thing on Windows")

BASE = 200  # where the sockets are put; 3 belongs to somebody else in this process
PAGE = ROOT / "docs" / "howto" / "systemd.md"


def listening(family=socket.AF_INET, address=("127.0.0.1", 0)):
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(address)
    sock.listen()
    return sock


@pytest.fixture
def passed(monkeypatch):
    """Passes sockets or descriptors to this process: `passed([(name, socket), …])`."""
    with ExitStack() as stack:

        def give(pairs, **environment):
            for number, (_, sock) in enumerate(pairs):
                stack.enter_context(sock) if hasattr(sock, "fileno") else stack.callback(os.close, sock)
                os.dup2(sock if isinstance(sock, int) else sock.fileno(), BASE + number)
                stack.callback(os.close, BASE + number)
            names = ":".join(name for name, _ in pairs)
            values = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(pairs)), "LISTEN_FDNAMES": names}
            for name, value in {**values, **environment}.items():
                monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)

        for name in systemd._VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(systemd, "FIRST", BASE)
        monkeypatch.setattr(systemd, "_all", [])
        yield give


@contextmanager
def bound(*texts):
    listeners = []
    try:
        for text in texts:
            listeners += bind(Endpoint.parse(text))
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def port_of(sock):
    return sock.getsockname()[1]


# -- which


def test_a_socket_is_found_by_its_name(passed):
    web, admin = listening(), listening()
    passed([("web", web), ("admin", admin)])
    with bound("systemd:admin") as (listener,):
        assert listener.endpoint == Endpoint.parse(("127.0.0.1", port_of(admin)))
    with bound("systemd:web") as (listener,):
        assert listener.endpoint.port == port_of(web)


def test_all_of_one_name_are_served(passed, tmp_path):
    ours = [listening(), listening(), listening(socket.AF_UNIX, str(tmp_path / "s"))]
    passed([("web", ours[0]), ("other", listening()), ("web", ours[1]), ("web", ours[2])])
    with bound("systemd:web") as listeners:
        assert [str(listener.endpoint) for listener in listeners] == [
            f"tcp:127.0.0.1:{port_of(ours[0])}",
            f"tcp:127.0.0.1:{port_of(ours[1])}",
            f"unix:{tmp_path}/s",
        ]


@pytest.mark.parametrize("names", [None, ""])
def test_without_names_a_number_counts_from_0(passed, names):
    socks = [listening(), listening()]
    passed([("", sock) for sock in socks], LISTEN_FDNAMES=names)
    for number, sock in enumerate(socks):
        with bound(f"systemd:{number}") as (listener,):
            assert listener.endpoint.port == port_of(sock)
    with bound("systemd:unknown") as listeners:  # systemd's own word for it
        assert len(listeners) == 2


def test_a_name_that_is_a_number_is_a_name(passed):
    socks = [listening(), listening()]
    passed([("1", socks[0]), ("web", socks[1])])
    with bound("systemd:1") as (listener,):
        assert listener.endpoint.port == port_of(socks[0])
    with bound("systemd:0") as (listener,):
        assert listener.endpoint.port == port_of(socks[0])


def test_the_addresses_are_the_sockets_own(passed, tmp_path):
    try:
        six = listening(socket.AF_INET6, ("::", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    abstract = listening(socket.AF_UNIX, f"\0{tmp_path}")
    passed([("six", six), ("abstract", abstract)])
    with bound("systemd:six", "systemd:abstract") as listeners:
        assert [str(listener.endpoint) for listener in listeners] == [f"tcp:[::]:{port_of(six)}", f"unix:@{tmp_path}"]


# -- what is refused

ABSENT = "no sockets were passed to this process; it must be started by its .socket unit"
ENVIRONMENTS = [
    ({"LISTEN_PID": None}, ABSENT),
    ({"LISTEN_PID": ""}, ABSENT),
    ({"LISTEN_FDS": None}, ABSENT),
    ({"LISTEN_PID": "1"}, "the sockets were passed to process 1, and this is PID: what starts it must `exec` it"),
    ({"LISTEN_FDS": "0"}, "LISTEN_FDS must be a number above 0, not '0'"),
    ({"LISTEN_FDS": "-1"}, "LISTEN_FDS must be a number above 0, not '-1'"),
    ({"LISTEN_FDS": "x\n"}, "LISTEN_FDS must be a number above 0, not 'x\\n'"),
    ({"LISTEN_FDS": "9" * 5000, "LISTEN_FDNAMES": None}, "LISTEN_FDS must be a number above 0, not '999"),
    ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": None}, "LISTEN_FDS is 2, but descriptor 201: "),
    ({"LISTEN_FDS": "999999999", "LISTEN_FDNAMES": None}, "LISTEN_FDS is 999999999, but descriptor 201: "),
    ({"LISTEN_FDNAMES": "a:b"}, "LISTEN_FDNAMES has 2 names for 1 sockets: 'a:b'"),
    ({}, "no socket of that name was passed; there are 'web' (number 0)"),
]


@pytest.mark.parametrize(("environment", "why"), ENVIRONMENTS)
def test_what_is_not_there_is_one_sentence(passed, environment, why):
    passed([("web", listening())], **environment)
    with pytest.raises(ListenError) as caught:
        bind(Endpoint.parse("systemd:wbe"))
    assert str(caught.value).startswith("cannot listen on systemd:wbe: " + why.replace("PID", str(os.getpid())))


def datagrams():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def connected():
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours


def a_pipe():
    reader, writer = os.pipe()
    os.close(writer)
    return reader


UNFIT = [
    (
        datagrams,
        "socket 'web' (number 0) is not for streams, as only those are taken; its unit needs ListenStream=",
    ),
    (connected, "socket 'web' (number 0) is a connection and does not listen; its unit needs Accept=no, or use fd:"),
    (a_pipe, "socket 'web' (number 0) is no socket: "),
]


@pytest.mark.parametrize(("make", "why"), UNFIT, ids=["datagrams", "connected", "pipe"])
def test_what_cannot_be_listened_on_is_refused_and_stays_open(passed, make, why):
    passed([("web", make())])
    for _ in range(2):
        with pytest.raises(ListenError) as caught:
            bind(Endpoint.parse("systemd:web"))
        assert str(caught.value).startswith(f"cannot listen on systemd:web: {why}")
    os.fstat(BASE)


def test_none_of_a_name_is_taken_if_one_cannot_be(passed):
    passed([("web", listening()), ("web", datagrams())])
    with pytest.raises(ListenError, match="number 1"):
        bind(Endpoint.parse("systemd:web"))
    with bound("systemd:0"):
        pass


def test_twice_at_once_is_refused_one_after_the_other_is_not(passed):
    sock = listening()
    passed([("web", sock)])
    with bound("systemd:web"):
        for text in ("systemd:web", "systemd:0"):
            with pytest.raises(ListenError, match=r"'web'.*is listened on by this process already"):
                bind(Endpoint.parse(text))
    with bound("systemd:web") as (listener,):
        assert listener.endpoint.port == port_of(sock)


def test_no_descriptor_left_is_a_sentence_and_leaves_nothing(passed, monkeypatch):
    passed([("web", listening()), ("web", listening())])
    real, made = os.dup, []

    def dup(fd):
        if made:
            raise OSError(24, "Too many open files")
        made.append(real(fd))
        return made[0]

    monkeypatch.setattr(os, "dup", dup)
    with pytest.raises(ListenError, match="cannot listen on systemd:web: "):
        bind(Endpoint.parse("systemd:web"))
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(made[0])


@pytest.mark.parametrize("option", ["backlog=5", "mode=660", "reuse_port=1", "ipv6only=1", "tcp_user_timeout=5"])
def test_options_that_are_the_unit_s_are_refused(option):
    with pytest.raises(EndpointError, match="not for systemd"):
        Endpoint.parse(f"systemd:web?{option}")


# -- what becomes of them


def test_the_variables_are_gone_for_children_and_descriptors_are_not_inherited(passed):
    passed([("web", listening()), ("other", listening())])
    os.set_inheritable(BASE, True)
    os.set_inheritable(BASE + 1, True)
    with bound("systemd:web") as (listener,):
        assert not {name for name in os.environ if name.startswith("LISTEN_")}
        assert [os.get_inheritable(fd) for fd in (BASE, BASE + 1, listener._sock.fileno())] == [False] * 3


def test_closing_closes_our_copy_and_leaves_the_file(passed, tmp_path):
    path = tmp_path / "s"
    passed([("web", listening(socket.AF_UNIX, str(path)))])
    with bound("systemd:web"):
        pass
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))  # it is still queued for who comes next


@pytest.mark.parametrize("name", LOOPS)
def test_a_server_serves_on_all_of_them(name, passed, tmp_path):
    passed([("web", listening()), ("web", listening(socket.AF_UNIX, str(tmp_path / "s"))), ("admin", listening())])

    async def main():
        async with Server(Echo).listen("systemd:web", "systemd:admin") as server:
            assert len(server.endpoints) == 3
            for endpoint in server.endpoints:
                async with trews.connect(endpoint) as conn:
                    await conn.send(b"hello")
                    assert await conn.read(framer=5) == b"hello"
            assert server.port == server.endpoints[0].port

    with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
        runner.run(main())


def test_accepted_connections_are_set_as_on_every_listener(passed):
    passed([("web", listening())])
    with bound("systemd:web") as (listener,):
        for level, option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)):
            assert listener._sock.getsockopt(level, option)
        assert not listener._sock.getblocking()


def test_headers_of_a_proxy_are_taken_there_too(passed):
    passed([("web", listening())])

    async def main():
        async with Server(Echo).listen("systemd:web?proxy_protocol=127.0.0.1") as server:
            async with trews.connect(("127.0.0.1", server.port)) as conn:
                await conn.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello")
                assert await conn.read(framer=5) == b"hello"
                assert [one.remote_address for one in server.connections] == [("192.0.2.1", 1)]

    trews.run(main())


# -- as a process

START = """
import os, sys
fds, names, command = eval(sys.argv[1]), sys.argv[2], sys.argv[3:]
for number, fd in enumerate([os.dup(os.dup(os.dup(fd))) for fd in fds]):
    os.dup2(fd, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=names)
os.environ["WATCHDOG_PID"] = os.environ["LISTEN_PID"]
os.execv(sys.executable, [sys.executable, "-W", "error", *command])
"""

APP = '''
import os, subprocess, sys
import trews

CHILD = """
import os
print([name for name in os.environ if name.startswith("LISTEN_")], os.listdir("/proc/self/fd"))
"""

class Show(trews.Connection):
    def on_read(self, data):
        if data == b"stuck":
            self.write(b"stuck")  # goes out at once
            sys.stdin.read()  # blocks the loop until it is closed
        else:
            self.write(subprocess.check_output([sys.executable, "-c", CHILD]))
'''


@contextmanager
def started(directory: Path, pairs, *command: str, **environment: str):
    """A process to which these sockets were passed as systemd does it."""
    (directory / "app.py").write_text(APP)
    fds = [sock.fileno() for _, sock in pairs]
    process = subprocess.Popen(
        [sys.executable, "-c", START, repr(fds), ":".join(name for name, _ in pairs), "-m", "trews", *command],
        pass_fds=fds,
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    for sock in {sock for _, sock in pairs}:
        sock.close()  # ours; the process has it
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(where, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as client:
        client.settimeout(30)
        client.connect(where)
        client.sendall(data)
        return client.recv(10_000)


def test_trews_serve_takes_the_sockets_and_tells_how_it_goes(tmp_path):
    web, unix = listening(), listening(socket.AF_UNIX, str(tmp_path / "s"))
    where = web.getsockname()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        pairs = [("web", web), ("web", unix)]
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
        with started(tmp_path, pairs, "serve", "app:Show", "systemd:web", **environment) as process:
            shown = f"tcp:127.0.0.1:{where[1]}", f"unix:{tmp_path}/s"
            assert manager.recv(1000).decode() == f"READY=1\nSTATUS=listening on {shown[0]}, {shown[1]}"
            assert manager.recv(1000) == b"WATCHDOG=1"
            assert [process.stdout.readline() for _ in shown] == [f"listening on {text}\n" for text in shown]
            for address in (where, str(tmp_path / "s")):
                names, _, fds = ask(address, b"x").decode().partition("] ")
                assert names == "["
                assert len(eval(fds)) == 4  # its three, and that of the folder
            ask(where, b"stuck")
            manager.setblocking(False)
            told = drained(manager)
            assert set(told) <= {b"WATCHDOG=1"}
            assert not drained(manager)  # see tests/test_notify.py for how long
            process.stdin.close()
            manager.settimeout(30)
            assert manager.recv(1000) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            while (text := manager.recv(1000)) == b"WATCHDOG=1":
                pass
            assert text == b"STOPPING=1\nSTATUS=stopping, 0 connections open"
            assert process.wait(30) == 0
            process.stdin = None
        assert (tmp_path / "s").is_socket()


def drained(sock: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(sock.recv(1000))
        except BlockingIOError:
            return found


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("systemd:wbe", "no socket of that name was passed; there are 'web' (number 0), 'admin' (number 1)"),
        (
            "systemd:admin",
            "socket 'admin' (number 1) is not for streams, as only those are taken; its unit needs ListenStream=",
        ),
    ],
)
def test_trews_serve_says_what_is_wrong_in_a_sentence(endpoint, why, tmp_path):
    with started(tmp_path, [("web", listening()), ("admin", datagrams())], "serve", "app:Show", endpoint) as process:
        assert process.communicate(timeout=30) == ("", f"trews: cannot listen on {endpoint}: {why}\n")
        assert process.returncode == 2


def test_a_wrapper_that_does_not_exec_is_told(tmp_path):
    with listening() as sock:
        done = subprocess.run(
            [sys.executable, "-m", "trews", "serve", f"{ROOT}/examples/echo.py:Echo", "systemd:web"],
            env={**os.environ, "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"},
            pass_fds=[sock.fileno()],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"trews: cannot listen on systemd:web: the sockets were passed to process {os.getpid()}"
    )


# -- systemd's own programs


def program(name: str) -> str:
    return shutil.which(name) or absent(f"{name} (of the package systemd) is not installed")


def test_systemd_socket_activate_starts_it_for_the_first_connection(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "trews", "serve", f"{ROOT}/examples/echo.py:Echo", "systemd:web"]
    activate = program("systemd-socket-activate")
    keep = [f"--setenv={name}" for name in ("PYTHONPATH", "PATH") if name in os.environ]
    with subprocess.Popen(
        [activate, "-l", str(tmp_path / "s"), "--fdname=web", *keep, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            while not (tmp_path / "s").is_socket():
                assert process.poll() is None
                time.sleep(0.01)
            assert ask(str(tmp_path / "s"), b"hello") == b"hello"
        finally:
            process.terminate()


def units() -> dict[str, str]:
    """The unit files of the page, by name."""
    parts = PAGE.read_text("utf-8").split("```ini\n# ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2].partition("```")[0] for part in parts}


def test_the_units_of_the_page_are_good(tmp_path):
    found = units()
    assert sorted(found) == ["echo.service", "echo.socket"]
    for name, text in found.items():
        # What they start need not be installed here.
        (tmp_path / name).write_text(text.replace("/opt/echo/bin/trews", sys.executable))
    done = subprocess.run(
        [program("systemd-analyze"), "verify", *(str(tmp_path / name) for name in found)],
        capture_output=True,
        text=True,
        timeout=50,
    )
    wrong = [line for line in (done.stdout + done.stderr).splitlines() if "echo." in line]
    assert not wrong
