"""`trews serve`, as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

import trews
from trews.cli import main

ROOT = Path(__file__).resolve().parents[2]
TREWS = [sys.executable, "-W", "error", "-m", "trews"]
ECHO = f"{ROOT}/examples/echo.py:Echo"

APP = """
import asyncio
import trews
from trews.framing import Line

class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)

async def settings(conn):
    await conn.send(f"{conn.idle_timeout} {conn.half_close} {conn.server.max_connections}".encode())

async def two_lines(conn):
    async for line in conn:
        conn.framer = Line()
        await conn.send(b"got " + line.strip())
    await conn.send(b"bye")

class Stubborn(trews.Connection):
    def on_connect(self):
        self.write(b"hello")
    async def on_stop(self):
        self.write(b"stopping")
        await asyncio.Event().wait()

server = trews.Server(Echo)

class FailsToStart(trews.Server):
    def on_start(self):
        raise RuntimeError("no database")
fails = FailsToStart(Echo)

class Talkative(trews.Connection):
    def on_connect(self):
        print("printed", flush=True)
        print("kept in a buffer")
    def on_read(self, data):
        self.write(data)
    def on_close(self, reason):
        print(type(reason).__name__, flush=True)

class Slow(trews.Server):
    async def on_start(self):
        await asyncio.sleep(0)
        print("started", flush=True)
slow = Slow(Echo)
"""

LISTENS = """
from app_to_serve import Echo
import trews
server = trews.Server(Echo).listen("tcp:127.0.0.1:0")
"""


@pytest.fixture
def app(tmp_path, monkeypatch):
    (tmp_path / "app_to_serve.py").write_text(APP)
    (tmp_path / "listens_already.py").write_text(LISTENS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def connected(endpoint):
    parsed = trews.Endpoint.parse(endpoint)
    if parsed.kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(parsed.path)
        return sock
    return socket.create_connection((parsed.host or "localhost", parsed.port), timeout=20)


def to_the_end(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


STOPPING = "stopping, 1 connection open (Ctrl-C again ends them at once)\n"


def ended(process):
    """How it ended: status and all of its output."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_every_endpoint_and_ends_with_a_signal(start, listening, app, number):
    path = app / "sock"
    process = start("serve", ECHO, "tcp:0", "tcp:127.0.0.1:0", f"unix:{path}")
    endpoints = listening(process, 3)
    assert [endpoint.rpartition(":")[0] for endpoint in endpoints] == ["tcp:localhost", "tcp:127.0.0.1", "unix"]
    for endpoint in endpoints:
        with connected(endpoint) as sock:
            sock.sendall(b"hello")
            sock.shutdown(socket.SHUT_WR)
            assert to_the_end(sock) == b"hello"
    process.send_signal(number)
    assert ended(process) == (0, "", "")
    assert not path.exists()


@pytest.mark.parametrize("name", ["Echo", "server", "slow"])
def test_a_module_of_the_current_directory(start, listening, app, name):
    process = start("serve", f"app_to_serve:{name}", "0")
    if name == "slow":
        assert process.stdout.readline() == b"started\n"
    with connected(*listening(process)) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"


def test_a_server_that_listens_already_needs_no_endpoint(start, listening, app):
    process = start("serve", "listens_already:server")
    with connected(*listening(process)) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"


def test_all_interfaces_only_when_asked_for(start, listening):
    assert listening(start("serve", ECHO, "tcp:*:0"))[0].startswith("tcp:*:")


def test_settings_reach_connections_and_server(start, listening, app):
    process = start(
        "serve", "app_to_serve:settings", "0",
        *("--set", "idle_timeout=12.5"), *("--set", "half_close=true"), *("--set", "max_connections=7"),
    )  # fmt: skip
    with connected(*listening(process)) as sock:
        assert to_the_end(sock) == b"12.5 True 7"


def test_trace_prints_the_traffic(start, listening):
    process = start("serve", ECHO, "0", "--trace")
    with connected(*listening(process)) as sock:
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
    process.terminate()
    status, _, err = ended(process)
    assert status == 0
    assert "68 65 6c 6c 6f" in err
    assert "receives 5 bytes" in err


def test_ctrl_c_drains(start, listening, app):
    process = start("serve", "app_to_serve:two_lines", "0", "--grace", "1000")
    with connected(*listening(process)) as sock:
        sock.sendall(b"one\n")
        assert sock.recv(100) == b"got one\r\n"
        process.send_signal(signal.SIGINT)
        assert to_the_end(sock) == b"bye\r\n"
    assert ended(process) == (0, f"{STOPPING}stopped; connections closed: 1, aborted: 0\n", "")


def test_a_second_ctrl_c_ends_it_at_once(start, listening, app):
    process = start("serve", "app_to_serve:Stubborn", "0", "--grace", "1000")
    with connected(*listening(process)) as sock:
        assert sock.recv(100) == b"hello"
        process.send_signal(signal.SIGINT)
        assert sock.recv(100) == b"stopping"
        process.send_signal(signal.SIGINT)
        assert ended(process) == (0, f"{STOPPING}stopped; connections closed: 0, aborted: 1\n", "")


def test_at_the_first_ctrl_c_it_says_how_many_are_connected(start, listening, app):
    process = start("serve", "app_to_serve:Stubborn", "0", "--grace", "1000")
    endpoint = listening(process)[0]
    with connected(endpoint) as one, connected(endpoint) as other:
        assert (one.recv(100), other.recv(100)) == (b"hello", b"hello")
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == b"stopping, 2 connections open (Ctrl-C again ends them at once)\n"
        process.send_signal(signal.SIGINT)
        assert ended(process) == (0, "stopped; connections closed: 0, aborted: 2\n", "")


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["Echo", "Stubborn"])
def test_ctrl_c_again_and_again_prints_no_traceback(start, listening, app, name, count):
    process = start("serve", f"app_to_serve:{name}", "0", "--grace", "0.2")
    with connected(*listening(process)) as sock:
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"
        for _ in range(count):
            process.send_signal(signal.SIGINT)
        status, _, err = ended(process)
    assert err == ""
    assert status in ((0,) if count == 1 else (0, -signal.SIGINT))


def test_ctrl_c_while_the_module_is_imported(start, tmp_path):
    (tmp_path / "waits.py").write_text("print('importing', flush=True)\nimport signal\nsignal.pause()\n")
    process = start("serve", f"{tmp_path}/waits.py:Echo", "0")
    assert process.stdout.readline() == b"importing\n"
    process.send_signal(signal.SIGINT)
    assert ended(process) == (-signal.SIGINT, "", "")


def test_no_grace(start, listening, app):
    process = start("serve", "app_to_serve:Stubborn", "0", "--grace", "0")
    with connected(*listening(process)) as sock:
        assert sock.recv(100) == b"hello"
        process.terminate()
        assert ended(process) == (0, f"{STOPPING}stopped; connections closed: 0, aborted: 1\n", "")


def test_a_server_that_cannot_start_says_why_in_one_line(trews_command, app):
    result = trews_command("serve", "app_to_serve:fails", "0")
    assert result.returncode == 1
    assert result.stdout == b""
    assert result.stderr.startswith(b"trews: on_start of FailsToStart failed: RuntimeError: no database (app_to_serve")
    assert result.stderr.count(b"\n") == 1


# -- its own input and output


def test_its_input_and_output_are_one_connection_and_its_end_is_the_commands(trews_command):
    ended = trews_command("serve", ECHO, "stdio:", input=b"hello")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"hello", b"")


def test_files_in_and_out(trews_command, tmp_path):
    content = os.urandom(5_000_000)
    (tmp_path / "in").write_bytes(content)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as sink:
        ended = trews_command("serve", ECHO, "stdio:", stdin=source, stdout=sink)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (tmp_path / "out").read_bytes() == content


def test_much_through_pipes(trews_command):
    content = os.urandom(5_000_000)
    assert trews_command("serve", ECHO, "stdio:", input=content).stdout == content


def test_no_input_at_all(trews_command):
    ended = trews_command("serve", ECHO, "stdio:")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_what_is_printed_does_not_get_between_what_is_sent(trews_command, app):
    ended = trews_command("serve", "app_to_serve:Talkative", "stdio:", input=b"hello")
    assert (ended.returncode, ended.stdout) == (0, b"hello")
    assert ended.stderr == b"printed\nkept in a buffer\nClosedByPeer\n"


def test_a_reader_that_has_seen_enough_ends_it(start):
    process = start("serve", ECHO, "stdio:", stdin=subprocess.PIPE)
    process.stdin.write(b"hello")
    assert process.stdout.read(5) == b"hello"
    process.stdout.close()
    assert process.wait(20) == 0  # though its input is still open
    assert process.stderr.read() == b""


def test_the_descriptors_stay_blocking(start):
    (reader, writer), (far_reader, far_writer) = os.pipe(), os.pipe()
    try:
        process = start("serve", ECHO, "stdio:", stdin=reader, stdout=far_writer)
        os.write(writer, b"x")
        assert os.read(far_reader, 1) == b"x"
        assert os.get_blocking(reader)
        assert os.get_blocking(far_writer)
        os.close(writer)
        writer = -1
        assert process.wait(20) == 0
    finally:
        for fd in {reader, writer, far_reader, far_writer} - {-1}:
            os.close(fd)


def test_beside_other_endpoints_it_serves_on(start, listening):
    process = start("serve", ECHO, "stdio:", "tcp:127.0.0.1:0", stdin=subprocess.PIPE)
    process.stdin.write(b"hello")
    assert process.stdout.read(5) == b"hello"
    process.stdin.close()
    assert process.stdout.read() == b""
    line = process.stderr.readline().decode()
    assert line.startswith("listening on tcp:127.0.0.1:")
    with connected(line.split()[-1]) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
    process.terminate()
    assert process.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_though_its_input_is_open(start, app, number):
    process = start("serve", "app_to_serve:two_lines", "stdio:", stdin=subprocess.PIPE)
    process.stdin.write(b"one\n")
    assert process.stdout.read(9) == b"got one\r\n"
    process.send_signal(number)
    assert process.wait(20) == 0
    assert process.stdout.read() == b"bye\r\n"
    assert process.stderr.read().decode() == f"{STOPPING}stopped; connections closed: 1, aborted: 0\n"


def test_lines_from_a_terminal_and_ctrl_d(on_terminal, app):
    child = on_terminal("serve", "app_to_serve:two_lines", "stdio:")
    child.sendline("one")
    child.expect("got one")
    child.sendline("two")
    child.expect("got two")
    child.sendeof()
    child.expect("bye")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_ctrl_c_on_its_terminal(on_terminal, app):
    child = on_terminal("serve", "app_to_serve:two_lines", "stdio:")
    child.sendline("one")
    child.expect("got one")
    child.sendintr()
    child.expect("bye")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_one_socket_as_input_and_output(start):
    near, far = socket.socketpair()
    with near, far:
        process = start("serve", ECHO, "stdio:", stdin=far, stdout=far)
        far.close()
        near.settimeout(20)
        near.sendall(b"hello")
        near.shutdown(socket.SHUT_WR)
        assert to_the_end(near) == b"hello"
        assert process.wait(20) == 0


def test_an_accepted_connection_as_a_descriptor(start, app):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname(), timeout=20) as sock:
            accepted, _ = listener.accept()
            with accepted:
                number = accepted.fileno()
                process = start("serve", ECHO, f"fd:{number}", pass_fds=[number])
            sock.sendall(b"hello")
            sock.shutdown(socket.SHUT_WR)
            assert to_the_end(sock) == b"hello"
    assert ended(process) == (0, "", "")


def test_a_listening_socket_as_a_descriptor(start, listening):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        process = start("serve", ECHO, f"fd:{number}", pass_fds=[number])
        address = listener.getsockname()
    assert listening(process) == [f"fd:{number}"]
    for _ in range(2):
        with socket.create_connection(address, timeout=20) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
    process.terminate()
    assert process.wait(20) == 0


@pytest.mark.parametrize(("closed", "name"), [("<&-", "standard input"), (">&-", "standard output")])
def test_an_input_or_output_that_is_closed_is_one_line(closed, name):
    command = [*TREWS, "serve", ECHO, "stdio:"]
    ended = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], capture_output=True, timeout=40)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr == f"trews: cannot listen on stdio: {name} is not open\n".encode()


def test_a_terminals_ctrl_c(on_terminal):
    child = on_terminal("serve", ECHO, "tcp:127.0.0.1:0")
    child.expect(r"listening on tcp:127.0.0.1:\d+")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


BAD = [
    (["nothing_of_that_name:X", "0"], "there is no module 'nothing_of_that_name'"),
    (["nothing.py:X", "0"], "there is no file 'nothing.py'"),
    ([f"{ROOT}/examples/echo.py:Ecko", "0"], "did you mean 'Echo'?"),
    (["os:getcwd", "0"], "cannot be served"),
    ([ECHO], "say where to listen"),
    ([ECHO, "exec:ls"], "cannot listen on exec:"),
    ([ECHO, "fd:987"], "cannot listen on fd:987: file descriptor 987 is not open"),
    ([ECHO, "unix:/no/such/place/x"], "there is no directory '/no/such/place'"),
    ([ECHO, "tcp:192.0.2.1:0"], "the address does not belong to this machine"),
    ([ECHO, "0", "--set", "max_mesage=1"], "there is no setting 'max_mesage'; did you mean 'max_message'?"),
    ([ECHO, "0", "--set", "max_conections=1"], "did you mean 'max_connections'?"),
    ([ECHO, "0", "--set", "max_message=many"], "max_message is a number of bytes, not 'many'"),
    ([ECHO, "0", "--set", "max_connections=many"], "max_connections"),
    ([ECHO, "0", "--set", "max_connections=-1"], "max_connections"),
    ([ECHO, "0", "--set", "idle_timeout=0"], "idle_timeout is a number of seconds above 0"),
    ([ECHO, "0", "--set", "framer=line"], "--set framer= takes a number of bytes or none"),
    ([ECHO, "0", "--set", "max_message"], "--set takes NAME=VALUE"),
    ([ECHO, "0", "--grace", "long"], "--grace takes a number of seconds, 0 or more, not 'long'"),
]


@pytest.mark.parametrize(("args", "expected"), BAD, ids=[case[1] + str(i) for i, case in enumerate(BAD)])
def test_bad_input_is_one_line_and_status_2(args, expected, trews_command):
    result = trews_command("serve", *args)
    assert (result.returncode, result.stdout) == (2, b"")
    err = result.stderr.decode()
    assert err.startswith("trews: ")
    assert expected in err
    assert err.count("\n") == 1


def test_settings_of_a_server_are_given_where_it_is_made(app, trews_command):
    result = trews_command("serve", "app_to_serve:server", "0", "--set", "max_message=1")
    assert result.returncode == 2
    assert b"give it the settings where it is made" in result.stderr


def test_a_bad_endpoint_is_shown_with_the_place(capsys):
    assert main(["serve", ECHO, "tcp:8000?backlgo=5"]) == 2
    assert capsys.readouterr().err == (
        "trews: unknown option 'backlgo': did you mean 'backlog'?\n  tcp:8000?backlgo=5\n           ^\n"
    )


def test_a_busy_port(capsys):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        assert main(["serve", ECHO, f"tcp:127.0.0.1:{port}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"trews: cannot listen on tcp:127.0.0.1:{port}: the address is in use;")
    assert err.count("\n") == 1


def test_a_live_unix_socket_is_not_taken_over(tmp_path, capsys):
    path = tmp_path / "sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        assert main(["serve", ECHO, f"unix:{path}"]) == 2
    assert "a server is listening there already" in capsys.readouterr().err


def test_a_privileged_port():
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except OSError:
        first = 1024
    if first <= 80 or not hasattr(os, "setuid"):
        pytest.skip("ports below 1024 need no privilege here")
    # Nobody may not be able to read this checkout or run this Python: all is imported before.
    script = (
        "import os, sys, trews.cli.serve, trews.serving\n"
        "'x'.encode('idna')\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "async def handler(conn): pass\n"
        "sys.exit(trews.cli.main(['serve', '__main__:handler', 'tcp:127.0.0.1:80']))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=20, cwd="/")
    assert result.returncode == 2
    assert result.stderr == (
        b"trews: cannot listen on tcp:127.0.0.1:80: permission denied; "
        b"ports below 1024 need a privilege, choose a higher one\n"
    )
