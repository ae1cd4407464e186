"""`stdio:` and `fd:N`: which descriptors are taken, as what, and that they are given back if nothing comes of it."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import socket
import subprocess
import sys
import tty

import pytest
import uvloop

import trews
from trews import ConnectError, ListenError, Server
from trews.testing import no_leaks

LOOPS = {"trews": trews.EventLoop, "asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


class Upper(trews.Connection):
    def on_read(self, data):
        self.write(data.upper())


@pytest.fixture(params=LOOPS)
def on_loop(request):
    """Run a coroutine on each loop; nothing may stay open."""

    def run(main):
        with no_leaks(), asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(main(), 40))

    return run


def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def socket_ends(family=socket.AF_UNIX):
    """A socket's descriptor, and the other end."""
    if family == socket.AF_UNIX:
        near, far = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.create_connection(listener.getsockname())
            near, _ = listener.accept()
    return near.detach(), far


async def received(sock):
    """Everything until the end."""
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    pieces = []
    while piece := await loop.sock_recv(sock, 65536):
        pieces.append(piece)
    return b"".join(pieces)


# -- a server


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_a_connected_socket_is_one_connection_and_its_end_the_servers(on_loop, family):
    async def main():
        fd, far = socket_ends(family)
        with far:
            server = Server(Upper).listen(f"fd:{fd}")
            assert [str(endpoint) for endpoint in server.endpoints] == [f"fd:{fd}"]
            far.sendall(b"hello")
            far.shutdown(socket.SHUT_WR)
            serving = asyncio.ensure_future(server.serve())
            assert await received(far) == b"HELLO"
            assert await serving == (0, 0)
            assert server.stats.accepted == 1
        assert not is_open(fd)

    on_loop(main)


def test_the_address_of_a_socket_is_the_peers(on_loop):
    addresses = []

    class Noting(trews.Connection):
        def on_connect(self):
            addresses.append(self.remote_address)
            self.close()

    async def main():
        fd, far = socket_ends(socket.AF_INET)
        with far:
            far.shutdown(socket.SHUT_WR)
            await Server(Noting).listen(f"fd:{fd}").serve()
            assert addresses == [far.getsockname()]

    on_loop(main)


def test_a_pipe_is_one_connection(on_loop):
    got = []

    async def handler(conn):
        got.append((conn.remote_address, conn.local_address, await conn.read_all()))

    async def main():
        reader, writer = os.pipe()
        os.write(writer, b"hello")
        os.close(writer)
        await Server(handler).listen(f"fd:{reader}").serve()
        assert got == [(f"fd:{reader}", f"fd:{reader}", b"hello")]
        assert not is_open(reader)

    on_loop(main)


def test_a_listening_socket_is_a_listener(on_loop):
    async def main():
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        fd = listener.detach()
        async with Server(Upper).listen(f"fd:{fd}?backlog=7"):
            for _ in range(2):
                async with trews.connect(address) as conn:
                    await conn.send(b"x")
                    assert await conn.read() == b"X"
        assert not is_open(fd)

    on_loop(main)


@pytest.mark.parametrize("refuses", ["on_accept", "the class"])
def test_a_server_that_refuses_its_one_connection_stops(on_loop, caplog, refuses):
    class Failing(trews.Connection):
        def __init__(self):
            raise ValueError("no")

    class Refusing(Server):
        def on_accept(self, connection):
            return refuses != "on_accept"

    async def main():
        fd, far = socket_ends()
        with far:
            server = Refusing(Failing if refuses == "the class" else Upper).listen(f"fd:{fd}")
            await server.serve()
            assert (server.stats.accepted, far.recv(1)) == (0, b"")

    on_loop(main)


def test_one_of_two_that_has_ended_leaves_the_other(on_loop):
    async def main():
        (fd, far), (other_fd, other_far) = socket_ends(), socket_ends()
        with far, other_far:
            serving = asyncio.ensure_future(Server(Upper).listen(f"fd:{fd}", f"fd:{other_fd}").serve())
            far.shutdown(socket.SHUT_WR)
            assert await received(far) == b""
            other_far.sendall(b"x")
            other_far.shutdown(socket.SHUT_WR)
            assert await received(other_far) == b"X"
            await serving

    on_loop(main)


def test_it_waits_for_room_like_others(on_loop):
    async def main():
        ends = [socket_ends() for _ in range(2)]
        server = Server(Upper, max_connections=1).listen(*(f"fd:{fd}" for fd, _ in ends))
        serving = asyncio.ensure_future(server.serve())
        for _, far in ends:
            with far:
                far.sendall(b"x")
                far.shutdown(socket.SHUT_WR)
                assert await received(far) == b"X"
        await serving
        assert server.stats.accepted == 2

    on_loop(main)


def test_beside_a_listener_the_server_goes_on(on_loop):
    async def main():
        fd, far = socket_ends()
        async with Server(Upper).listen(f"fd:{fd}", "memory:inherited"):
            with far:
                far.shutdown(socket.SHUT_WR)
                assert await received(far) == b""
            async with trews.connect("memory:inherited") as conn:
                await conn.send(b"x")
                assert await conn.read() == b"X"

    on_loop(main)


def test_what_was_not_used_is_left_as_it_was(on_loop):
    async def main():
        fd, far = socket_ends()
        with far:
            with pytest.raises(ListenError):
                Server(Upper).listen(f"fd:{fd}", "unix:/no/such/place")
            assert os.get_blocking(fd)
            async with trews.connect(f"fd:{fd}") as conn:
                await conn.send(b"x")
                assert far.recv(1) == b"x"
                far.shutdown(socket.SHUT_WR)

    on_loop(main)


# -- a client


def test_a_client_on_a_socket_and_on_a_pipe(on_loop):
    async def main():
        fd, far = socket_ends()
        with far:
            async with trews.connect(f"fd:{fd}") as conn:
                await conn.send(b"question")
                assert far.recv(100) == b"question"
                far.sendall(b"answer")
                assert await conn.read() == b"answer"
                far.shutdown(socket.SHUT_WR)
        reader, writer = os.pipe()
        async with trews.connect(f"fd:{writer}") as conn:
            await conn.send(b"x")
        assert os.read(reader, 10) == b"x"
        assert os.read(reader, 10) == b""
        os.close(reader)

    on_loop(main)


def test_a_listening_socket_is_not_for_a_client(on_loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with pytest.raises(ConnectError, match="it is a listening socket, which is for a server"):
                await trews.connect(f"fd:{listener.fileno()}")

    on_loop(main)


# -- what is refused


def closed():
    return 987, lambda: None


def directory():
    fd = os.open("/", os.O_RDONLY)
    return fd, lambda: os.close(fd)


def poller():
    epoll = select.epoll()
    return epoll.fileno(), epoll.close


def datagrams():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    return sock.fileno(), sock.close


def unconnected():
    sock = socket.socket()
    return sock.fileno(), sock.close


REFUSED = [
    (closed, "file descriptor {} is not open"),
    (directory, "file descriptor {} is a directory"),
    (datagrams, "file descriptor {} is a socket, but not one of a stream"),
    (unconnected, "file descriptor {} is a socket that is not connected"),
    pytest.param(
        poller,
        "file descriptor {} is neither a socket nor a pipe, a terminal or a file",
        marks=pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll"),
    ),
]


@pytest.mark.parametrize(("make", "why"), REFUSED)
def test_what_cannot_be_a_connection_is_refused_in_one_sentence(make, why):
    fd, close = make()
    try:
        with pytest.raises(ListenError) as listening:
            Server(Upper).listen(f"fd:{fd}")
        with pytest.raises(ConnectError) as connecting:
            trews.run(trews.connect(f"fd:{fd}")._connect())
    finally:
        close()
    assert str(listening.value) == f"cannot listen on fd:{fd}: {why.format(fd)}"
    assert str(connecting.value) == f"cannot connect to fd:{fd}: {why.format(fd)}"


def test_a_descriptor_has_one_owner_at_a_time(on_loop):
    async def main():
        fd, far = socket_ends()
        with far:
            async with trews.connect(f"fd:{fd}"):
                with pytest.raises(ConnectError, match="belongs to another connection or listener of this process"):
                    await trews.connect(f"fd:{fd}")
                far.shutdown(socket.SHUT_WR)
        reader, writer = os.pipe()
        async with trews.connect(f"fd:{reader}"):
            with pytest.raises(ListenError, match="belongs to another"):
                Server(Upper).listen(f"fd:{reader}")
        os.close(writer)

    on_loop(main)


def test_a_peer_that_has_gone_meanwhile_is_an_end(on_loop):
    async def main():
        fd, far = socket_ends(socket.AF_INET)
        server = Server(Upper).listen(f"fd:{fd}")
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        await server.serve()

    on_loop(main)


# -- standard input and output, in a process of their own

SCRIPT = """
import asyncio, os, sys
import trews
from trews.transport import inherited

class Upper(trews.Connection):
    def on_read(self, data):
        print("printed", flush=True)
        self.write(data.upper())

server = trews.Server(Upper)
"""


def ran(code, **kwargs):
    """What a program does: status, output, errors."""
    command = [sys.executable, "-W", "error", "-c", SCRIPT + code]
    done = subprocess.run(command, capture_output=True, timeout=40, **kwargs)
    return done.returncode, done.stdout, done.stderr.decode()


def test_standard_input_and_output_are_one_connection():
    code = "trews.serve(server, 'stdio:'); print('after', os.read(0, 1))"
    assert ran(code, input=b"hi") == (0, b"HI", "printed\nafter b''\n")


@pytest.mark.parametrize("loop", ["asyncio.SelectorEventLoop", "__import__('uvloop').new_event_loop"])
def test_on_other_loops_too(loop):
    code = f"with asyncio.Runner(loop_factory={loop}) as runner: runner.run(server.listen('stdio:').serve())"
    assert ran(code, input=b"hi") == (0, b"HI", "printed\n")


def test_a_client_on_them():
    code = """
async def main():
    async with trews.connect("stdio:") as conn:
        await conn.send(await conn.read() + b"!")
trews.run(main())
"""
    assert ran(code, input=b"hi") == (0, b"hi!", "")


def test_they_are_given_back_if_nothing_comes_of_it():
    code = """
try:
    server.listen("stdio:", "unix:/no/such/place")
except trews.ListenError:
    print(sys.stdin.read(), flush=True)
    trews.Server(Upper).listen("stdio:")
"""
    assert ran(code, input=b"hi") == (0, b"hi\n", "")


def test_they_have_one_owner():
    code = """
for endpoints in ["stdio:"], ["stdio:"], ["fd:0"]:
    try:
        server.listen(*endpoints)
    except trews.ListenError as exc:
        print(exc)
"""
    status, out, err = ran(code, input=b"")
    assert (status, out) == (0, b"")
    why = "standard input belongs to another connection or listener of this process already"
    assert err == f"cannot listen on stdio: {why}\ncannot listen on fd:0: {why}\n"


def test_children_do_not_get_them():
    code = """
server.listen("stdio:")
taken = server._listeners[0]._inherited
assert not os.get_inheritable(taken.reader) and not os.get_inheritable(taken.writer)
os.system("cat; echo from a child")
"""
    assert ran(code, input=b"hi") == (0, b"", "from a child\n")


def test_a_listening_socket_as_standard_input_is_for_fd_0():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        status, _, err = ran("server.listen('stdio:')", stdin=listener)
    assert status == 1
    assert err.endswith("ListenError: cannot listen on stdio: standard input is a listening socket: use fd:0\n")


@pytest.mark.parametrize(
    ("redirected", "why"),
    [
        ("<&-", "standard input is not open"),
        (">&-", "standard output is not open"),
        ("0>/dev/null", "standard input is open for writing only"),
        ("1</dev/null", "standard output is open for reading only"),
    ],
)
def test_wrong_ones_are_refused_in_one_sentence(redirected, why):
    code = SCRIPT + "\ntry: server.listen('stdio:')\nexcept trews.ListenError as exc: os.write(2, str(exc).encode())"
    command = ["sh", "-c", f'"$@" {redirected}', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, timeout=40)
    assert done.stderr.decode() == f"cannot listen on stdio: {why}"


def test_without_standard_error_what_is_printed_is_lost():
    command = ["sh", "-c", '"$@" 2>&-', "sh", sys.executable, "-c", SCRIPT + "trews.serve(server, 'stdio:')"]
    done = subprocess.run(command, input=b"hi", stdout=subprocess.PIPE, timeout=40)
    assert (done.returncode, done.stdout) == (0, b"HI")


def test_windows_is_told(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ListenError, match="Windows cannot poll such descriptors"):
        Server(Upper).listen("stdio:")


def test_a_terminal_that_takes_nothing_stops_nobody():
    """One that polls as writable may take less than is written; a blocking write of that would stop the loop."""

    class Flooding(trews.Connection):
        write_timeout = 0.2

        def on_connect(self):
            self.write(bytes(1 << 20))

        def on_close(self, reason):
            self.server.reason = reason

    class Noting(trews.Server):
        reason = None

    master, slave = pty.openpty()
    tty.setraw(slave)
    was_blocking = os.get_blocking(slave)
    try:
        server = Noting(Flooding).listen(f"fd:{slave}")
        trews.run(server.serve())
        assert type(server.reason) is trews.WriteStalled
        assert was_blocking
    finally:
        os.close(master)
