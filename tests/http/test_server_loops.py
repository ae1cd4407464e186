"""HTTP over real sockets, on every loop: on those that are not ours bytes come and go by their own transports."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests.clients import LOOPS
from tests.http.serving import answers, chunked, get, post
from trews import http

KIB = 1024
ON_EVERY_LOOP = pytest.mark.parametrize("loop", LOOPS)


async def app(request: http.Request) -> Any:
    if request.path == "/unread":
        return "early"
    if request.path == "/stream":
        return iter([bytes(KIB)] * 1000)
    if request.path == "/echo":
        return http.Response(piece async for piece in request)
    if request.path == "/error":
        raise http.Error(418)
    if request.path == "/waits":
        await asyncio.sleep(0.01)
    body = await request.read()
    return body or request.path


def plain(request: http.Request) -> Any:
    return request.content or request.path


async def ask(port: Any, data: bytes, ends: bool = True, pieces: int = 0) -> bytes:
    """What a server says to this, up to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        size = pieces or len(data)
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await writer.drain()
        if ends:
            writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


def on(loop: str, main: Any) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


CONVERSATIONS = {
    "one": (get("/a"), [b"/a"]),
    "pipelined": (get("/a") * 50, [b"/a"] * 50),
    "waiting": (get("/waits") * 3, [b"/waits"] * 3),
    "post": (post(b"abc") + get("/b"), [b"abc", b"/b"]),
    "large post": (post(b"x" * KIB * KIB) + get("/b"), [b"x" * KIB * KIB, b"/b"]),
    "chunked": (chunked(*[b"x" * 1000] * 1000) + get("/b"), [b"x" * 1000_000, b"/b"]),
    "mix": (get("/a") + post(b"1") + get("/error") + chunked(b"2"), [b"/a", b"1", b"418 I'm a Teapot\n", b"2"]),
    "close": (get("/a", Connection="close") + get("/never"), [b"/a"]),
    "http/1.0": (get("/a", version="1.0") + get("/never"), [b"/a"]),
}


@ON_EVERY_LOOP
@pytest.mark.parametrize("handler", ["plain", "async"])
@pytest.mark.parametrize("pieces", [0, 7])
def test_conversations_of_clients_that_half_close(loop: str, handler: str, pieces: int) -> None:
    async def main() -> None:
        async with http.Server(plain if handler == "plain" else app).listen("127.0.0.1:0") as server:
            for data, bodies in CONVERSATIONS.values():
                if (handler == "plain" and b"/error" in data) or (pieces and len(data) > 10_000):
                    continue
                found = [answer.body for answer in answers(await ask(server.port, data, pieces=pieces), ended=True)]
                assert found == bodies
        assert not server._alive

    on(loop, main)


@ON_EVERY_LOOP
def test_streams_both_ways(loop: str) -> None:
    async def main() -> None:
        async with http.Server(app).listen("127.0.0.1:0") as server:
            (answer,) = answers(await ask(server.port, get("/stream")))
            assert answer.body == bytes(1000 * KIB)
            data = os.urandom(5 * KIB * KIB)
            (answer,) = answers(await ask(server.port, post(data, "/echo")))
            assert answer.body == data

    on(loop, main)


@ON_EVERY_LOOP
def test_a_client_that_still_sends_10_mb_reads_the_answer(loop: str) -> None:
    async def main() -> None:
        async with http.Server(app).listen("127.0.0.1:0") as server:
            for _ in range(5):
                data = await ask(server.port, post(bytes(10 * KIB * KIB), "/unread"), ends=False)
                assert [answer.body for answer in answers(data)] == [b"early"]
            data = await ask(server.port, get("/", "POST", Content_Length=str(11 * KIB * KIB)) + bytes(KIB * KIB))
            assert [answer.status for answer in answers(data)] == [413]

    on(loop, main)


@ON_EVERY_LOOP
def test_a_slow_reader_holds_the_stream_back(loop: str) -> None:
    made = 0

    async def endless() -> Any:
        nonlocal made
        while made < 100_000:
            made += 1
            yield bytes(KIB)

    async def main() -> None:
        server = http.Server(lambda request: http.Response(endless()))
        async with server.listen("127.0.0.1:0"):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
            await asyncio.get_running_loop().sock_sendall(sock, get())
            before = -1
            while before != made or not made:  # until it does not move any more
                before = made
                await asyncio.sleep(0.05)
            assert made < 20_000
            sock.close()
            while server.connections:
                await asyncio.sleep(0.01)

    on(loop, main)


@ON_EVERY_LOOP
def test_disconnected(loop: str) -> None:
    gone: list[bool] = []

    async def waits(request: http.Request) -> str:
        await request.disconnected()
        gone.append(request.is_disconnected)
        return ""

    async def main() -> None:
        async with http.Server(waits).listen("127.0.0.1:0") as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(get())
            await writer.drain()
            while not server.connections or not next(iter(server.connections))._exchange:
                await asyncio.sleep(0.001)
            writer.transport.abort()
            while not gone:
                await asyncio.sleep(0.001)

    on(loop, main)


@ON_EVERY_LOOP
def test_100_continue(loop: str) -> None:
    async def main() -> None:
        async with http.Server(plain).listen("127.0.0.1:0") as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(get("/", "POST", Content_Length="3", Expect="100-continue"))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"abc")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(3) == b"abc"
            writer.close()
            await writer.wait_closed()

    on(loop, main)


@ON_EVERY_LOOP
def test_the_stop_of_a_server_in_the_middle_of_requests(loop: str) -> None:
    async def main() -> None:
        server = http.Server(app).listen("127.0.0.1:0")
        await server.start()
        asking = [asyncio.create_task(ask(server.port, get("/waits"), ends=False)) for _ in range(20)]
        while server.stats.accepted < 20:
            await asyncio.sleep(0.001)
        await asyncio.wait_for(server.stop(), 30)
        for data in await asyncio.gather(*asking):
            (answer,) = answers(data)
            assert (answer.body, answer.fields["connection"]) == (b"/waits", "close")

    on(loop, main)


@ON_EVERY_LOOP
def test_many_connections_leave_neither_descriptors_nor_objects(loop: str) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    async def noting(request: http.Request) -> Any:
        alive.add(request)
        alive.add(request.connection)
        return await request.read()

    async def main() -> None:
        async with http.Server(noting).listen("127.0.0.1:0") as server:
            await ask(server.port, get())
            before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
            for _ in range(100):
                await ask(server.port, (get() + post(b"abc") + chunked(b"abc")) * 5)
            while server._alive:
                await asyncio.sleep(0.001)
            assert not server._beside
            if before:
                assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
            gc.collect()
            assert len(alive) <= 2

    on(loop, main)


def test_requests_go_without_the_collector() -> None:
    """10,000 of all kinds: each is freed when it is answered, and its connection when it ends."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    async def noting(request: http.Request) -> Any:
        nonlocal most
        alive.add(request)
        most = max(most, len(alive))
        return await request.read()

    async def main() -> None:
        async with http.Server(noting).listen("127.0.0.1:0") as server:
            for _ in range(100):
                data = await ask(server.port, (get() * 30 + (post(b"abc") + chunked(b"abc")) * 35))
                assert data.count(b"HTTP/1.1 200") == 100

    gc.collect()
    gc.disable()
    try:
        on("trews", main)
        assert most <= 10
    finally:
        gc.enable()
