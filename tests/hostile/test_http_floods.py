"""Hostile clients against a live http.Server: all others are served meanwhile, and nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import random
import selectors
import socket
import sys
from pathlib import Path
from typing import Any, cast

import pytest

import trews
from tests.handshakes import Authority
from tests.hostile.attack import HERE, dial, is_empty, logged, program, reset, until
from trews import http
from trews.testing import no_leaks

LOOPS: dict[str, Any] = {"trews": trews.EventLoop, "asyncio": asyncio.SelectorEventLoop}
try:
    import uvloop
except ImportError:  # no wheel for this system
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LARGE = bytes(3_000_000)
MIB = 1024 * 1024


async def pieces() -> Any:
    for _ in range(300):
        yield bytes(10_000)


async def later(request: http.Request) -> Any:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await request.disconnected()
    return "late"


def app(request: http.Request) -> Any:
    """Answers of each kind: at once, later, large, in pieces."""
    match request.path:
        case "/large":
            return LARGE
        case "/pieces":
            return http.Response(pieces())
        case "/later":
            return later(request)
    return "alive"


async def gathering(request: http.Request) -> Any:
    return str(len(await request.read()))


@pytest.fixture(params=list(LOOPS.values()), ids=list(LOOPS))
def on_loop(request: Any) -> Any:
    """Runs a coroutine on a loop of each kind; it must leave nothing open."""

    def run(coroutine: Any) -> None:
        with no_leaks(), asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(coroutine)

    return run


async def still_serves(server: Any) -> None:
    """A new client has its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(GET)
        assert (await reader.readuntil(b"alive")).startswith(b"HTTP/1.1 200 OK\r\n")
    finally:
        writer.close()
        await writer.wait_closed()


async def survives(
    attack: Any, handler: Any = app, endpoint: str = HERE, logs: tuple[str, ...] = (), **settings: Any
) -> None:
    """Run `attack(port)` in a thread, and see that it did no harm, and that what is logged ends so."""
    server = http.Server(handler, **settings)
    with logged() as records:
        async with server.listen(endpoint):
            task = asyncio.ensure_future(asyncio.to_thread(attack, server.port))
            if handler is app and endpoint == HERE:
                while not task.done():
                    await still_serves(server)
                    await asyncio.sleep(0.01)
                await still_serves(server)
            await task
            await until(lambda: is_empty(server))
    for record, text in zip(records, logs, strict=True):
        assert record.getMessage().endswith(text)


# -- clients that die

# What a client may have said when it dies.
SAID = {
    "nothing": b"",
    "a part of a head": b"GET / HT",
    "a head without its end": b"GET / HTTP/1.1\r\nHost: a\r\n",
    "a request": GET,
    "a request that takes its time": GET.replace(b"/ ", b"/later "),
    "a request for much": GET.replace(b"/ ", b"/large "),
    "a request for pieces": GET.replace(b"/ ", b"/pieces "),
    "a part of a body": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
    "a part of a chunk": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "no trailers": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "a body that waits": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    "requests behind one that takes its time": GET.replace(b"/ ", b"/later ") + GET * 50,
    "what is refused": b"GET / HTTP/1.1\r\n\r\n",
    "what is refused, and more": b"GET / HTTP/1.1\r\n\r\n" + bytes(300_000),
}


def dies(sock: socket.socket) -> None:
    sock.close()


def ends_its_half(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass
    sock.close()


def reads_a_little_and_resets(sock: socket.socket) -> None:
    sock.settimeout(0.05)
    with contextlib.suppress(OSError):
        sock.recv(1000)
    reset(sock)


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_clients_that_die_in_every_state(on_loop: Any, said: bytes) -> None:
    def storm(port: int) -> None:
        for number in range(24):
            sock = dial(port)
            with contextlib.suppress(OSError):
                sock.sendall(said)
            (reset, dies, ends_its_half, reads_a_little_and_resets)[number % 4](sock)

    on_loop(survives(storm))
    on_loop(survives(storm, gathering))


def test_half_open_clients_are_ended_by_their_deadlines(on_loop: Any) -> None:
    def silent(port: int) -> None:
        socks = [dial(port) for _ in SAID for _ in range(4)]
        for sock, said in zip(socks, list(SAID.values()) * 4, strict=True):
            with contextlib.suppress(OSError):
                sock.sendall(said)
        for sock in socks:
            with contextlib.suppress(OSError):
                while sock.recv(65536):
                    pass
            sock.close()

    on_loop(survives(silent, head_timeout=0.3, body_timeout=0.3, keep_alive_timeout=0.3, write_timeout=5.0))


# -- what is no HTTP


def test_garbage(on_loop: Any) -> None:
    rng = random.Random(9)

    def storm(port: int) -> None:
        for number in range(200):
            data = rng.randbytes(rng.choice((1, 10, 1000, 50_000)))
            if number % 3 == 0:  # damage in what was a request
                kept = bytearray(
                    b"POST /x?y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" * 3
                )
                for _ in range(3):
                    kept[rng.randrange(len(kept))] = rng.randrange(256)
                data = bytes(kept)
            with dial(port) as sock, contextlib.suppress(OSError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass

    on_loop(survives(storm))


def test_tls_at_a_plain_port(on_loop: Any) -> None:
    def shake(port: int) -> None:
        import ssl

        for _ in range(10):
            with dial(port) as sock, pytest.raises(OSError):
                ssl._create_unverified_context().wrap_socket(sock)

    on_loop(survives(shake))


def test_plain_http_at_a_tls_port(on_loop: Any, tmp_path: Path) -> None:
    pem = Authority(tmp_path).issue("server.pem", "localhost")

    def ask(port: int) -> None:
        for _ in range(10):
            with dial(port) as sock, contextlib.suppress(OSError):
                sock.sendall(GET)
                while sock.recv(65536):
                    pass

    # One line in the log for all of them.
    on_loop(survives(ask, endpoint=f"tls:127.0.0.1:0?cert={pem}", logs=("its URL must begin with https://",)))


# -- too much, too little


def test_one_byte_at_a_time(on_loop: Any) -> None:
    def drip(port: int) -> None:
        with dial(port) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = (
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"
                * 20
            )
            for at in range(len(data)):
                sock.sendall(data[at : at + 1])
            sock.shutdown(socket.SHUT_WR)
            said = b""
            while piece := sock.recv(65536):
                said += piece
            assert said.count(b"HTTP/1.1 200 OK") == 20

    on_loop(survives(drip))


def resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("path", [b"/", b"/large", b"/pieces", b"/later"])
def test_a_million_requests_of_one_that_never_reads(on_loop: Any, path: bytes) -> None:
    """They wait in its own kernel, and the answers to them are few; its deadline ends it."""
    request = GET.replace(b"/ ", path + b" ")
    grown = []

    def flood(port: int) -> None:
        before = resident()
        sock = dial(port)
        sock.settimeout(0.5)
        batch = memoryview(request * 1000)
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(1000):
                sock.sendall(batch)
            pytest.fail("all of it was taken")
        grown.append(resident() - before)
        with contextlib.suppress(OSError):
            while sock.send(b"x") is not None:
                sock.settimeout(30)
        sock.close()

    on_loop(survives(flood, write_timeout=2.0))
    assert grown[0] < 20 * MIB


@pytest.mark.parametrize("count", [pytest.param(10_000, marks=pytest.mark.slow), 1000])
def test_thousands_that_come_and_go(on_loop: Any, count: int) -> None:
    def churn(port: int) -> None:
        for number in range(count):
            sock = dial(port)
            if number % 2:
                sock.sendall(GET)
            if number % 5 == 0:
                reset(sock)
            else:
                sock.close()

    on_loop(survives(churn))


SERVER = """
import trews
from trews import http

server = http.Server(lambda request: "alive")
server.listen("tcp:127.0.0.1:0")
print(server.port, flush=True)
http.serve(server)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux'")
def test_more_clients_than_descriptors() -> None:
    """The process may have 64: those who have come are served, and the others when they have gone."""
    with program(SERVER, "prlimit", "--nofile=64") as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        answered = 0
        with selectors.DefaultSelector() as waiting:
            for _ in range(200):
                waiting.register(dial(port), selectors.EVENT_READ)
            for key in list(waiting.get_map().values()):  # the first request too comes when there is none left
                cast(socket.socket, key.fileobj).sendall(GET)
            while answered < 200:
                for key, _ in waiting.select():
                    with cast(socket.socket, key.fileobj) as sock:
                        waiting.unregister(sock)
                        assert b"alive" in sock.recv(1000)
                        answered += 1
        process.terminate()
        assert process.wait(20) == 0
