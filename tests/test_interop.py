"""asyncio libraries, unmodified, on trews' loop; and trews' own server beside them on asyncio's and uvloop's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import aiohttp
import aiohttp.web
import pytest
import redis.asyncio.retry
import redis.backoff
import uvicorn
import uvloop

import trews
from trews import EventLoop, Server

# What the libraries themselves use that is deprecated is theirs to change.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LOOPS = {
    "trews": EventLoop,
    "trews, stock transports": lambda: EventLoop(transports="asyncio"),
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=LOOPS)
def on_loop(request):
    """Runs a coroutine on a loop of each kind."""

    def run(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main)

    return run


@pytest.fixture(scope="module", autouse=True)
def _what_uvloop_opens_once_in_a_process():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


class Echo(trews.Connection):
    def on_read(self, data):
        self.write(data)


@contextlib.asynccontextmanager
async def beside():
    """Our own server and client at work on the same loop, and seen to be."""
    async with Server(Echo).listen("tcp:127.0.0.1:0") as server:
        async with trews.connect(server.endpoints[0]) as conn:
            yield
            conn.write(b"still here")
            assert await conn.read(10) == b"still here"


# -- aiohttp

BODY = os.urandom(900_000)


async def upload(request):
    return aiohttp.web.Response(body=await request.read())


async def chunks(request):
    response = aiohttp.web.StreamResponse()
    await response.prepare(request)
    for number in range(100):
        await response.write(b"%d\n" % number)
    return response


async def chat(request):
    ws = aiohttp.web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data.upper())
    return ws


@contextlib.asynccontextmanager
async def aiohttp_site():
    app = aiohttp.web.Application(client_max_size=10_000_000)
    app.add_routes(
        [aiohttp.web.post("/upload", upload), aiohttp.web.get("/chunks", chunks), aiohttp.web.get("/chat", chat)]
    )
    runner = aiohttp.web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


def test_aiohttp_server_and_client(on_loop):
    async def main():
        async with beside(), aiohttp_site() as url, aiohttp.ClientSession() as session:
            for _ in range(3):  # keep-alive
                async with session.post(f"{url}/upload", data=BODY) as response:
                    assert await response.read() == BODY
            async with session.get(f"{url}/chunks") as response:
                assert (await response.text()).split() == [str(number) for number in range(100)]
            async with session.get(f"{url}/none") as response:
                assert response.status == 404
            async with session.ws_connect(f"{url}/chat") as ws:
                await ws.send_str("hello")
                assert await ws.receive_str() == "HELLO"
            answers = await asyncio.gather(*(fetch(session, f"{url}/chunks") for _ in range(30)))
            assert set(answers) == {200}

    on_loop(main())


async def fetch(session, url):
    async with session.get(url) as response:
        await response.read()
        return response.status


def test_aiohttp_client_that_gives_up_leaves_nothing(on_loop):
    async def main():
        async with aiohttp_site() as url, aiohttp.ClientSession() as session:
            async with session.get(f"{url}/chunks") as response:
                assert await response.content.readline() == b"0\n"
            with pytest.raises(asyncio.TimeoutError):
                timeout = aiohttp.ClientTimeout(total=0.001)
                async with session.ws_connect(f"{url}/chat", timeout=1) as ws:
                    async with asyncio.timeout(timeout.total):
                        await ws.receive()

    on_loop(main())


# -- uvicorn


async def app(scope, receive, send):
    """ASGI: echoes the body, in two pieces."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-loop", b"ours")]})
    await send({"type": "http.response.body", "body": body[:1000], "more_body": True})
    await send({"type": "http.response.body", "body": body[1000:]})


class Uvicorn(uvicorn.Server):
    """In this process, and this test's: signals are not its business."""

    def install_signal_handlers(self):
        pass

    def capture_signals(self):
        return contextlib.nullcontext()


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_uvicorn_serves_an_asgi_app(on_loop, http):
    async def main():
        config = uvicorn.Config(
            app, "127.0.0.1", 0, loop="none", http=http, ws="none", log_config=None, log_level=logging.WARNING
        )
        server = Uvicorn(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.001)
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
        try:
            async with beside():
                async with aiohttp.ClientSession() as session:
                    for _ in range(3):
                        async with session.post(url, data=BODY) as response:
                            assert response.headers["x-loop"] == "ours"
                            assert await response.read() == BODY
                    assert set(await asyncio.gather(*(fetch(session, url) for _ in range(20)))) == {200}
        finally:
            server.should_exit = True
            await task

    on_loop(main())


# -- redis


@pytest.fixture(scope="module")
def redis_path():
    """The Unix socket of a Redis of our own."""
    program = shutil.which("redis-server")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no redis-server here, and on CI the tests that need it must run", pytrace=False)
        pytest.skip("no redis-server here")
    with tempfile.TemporaryDirectory(prefix="trews-") as directory:  # a short path: it must fit a sockaddr
        path = Path(directory) / "redis.sock"
        process = subprocess.Popen(
            [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", directory, "--daemonize", "no"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for line in process.stdout:
                if "ready to accept connections" in line.lower():
                    break
            yield str(path)
        finally:
            process.terminate()
            process.communicate()


def test_redis_client(on_loop, redis_path):
    async def main():
        async with beside(), redis.asyncio.Redis(unix_socket_path=redis_path) as client:
            await client.flushall()
            assert await client.set("key", BODY)
            assert await client.get("key") == BODY
            async with client.pipeline() as pipe:
                for number in range(1000):
                    pipe.incrby("count", number)
                assert (await pipe.execute())[-1] == sum(range(1000))
            assert await asyncio.gather(*(client.incr("many") for _ in range(50)))
            assert await client.get("many") == b"50"

    on_loop(main())


def test_redis_publish_and_subscribe_into_our_connections(on_loop, redis_path):
    """What a chat over several processes would do: a subscription feeds the server's broadcast."""

    async def main():
        async with redis.asyncio.Redis(unix_socket_path=redis_path) as client, client.pubsub() as channel:
            await channel.subscribe("news")
            await channel.get_message(timeout=5)
            async with Server(Echo).listen("tcp:127.0.0.1:0") as server, trews.connect(server.endpoints[0]) as conn:
                conn.write(b"?")
                assert await conn.read() == b"?"
                await client.publish("news", "hello")
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=5)
                server.broadcast(message["data"])
                assert await conn.read() == b"hello"

    on_loop(main())


def test_redis_that_is_not_there_is_the_clients_own_error(on_loop, tmp_path):
    async def main():
        once = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
        async with redis.asyncio.Redis(unix_socket_path=str(tmp_path / "none"), retry=once) as client:
            with pytest.raises(redis.exceptions.ConnectionError):
                await client.get("key")

    on_loop(main())


# -- the standard library's own programs


def test_subprocess_streams_and_our_server_side_by_side(on_loop):
    async def main():
        async with beside():
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "print(input().upper())", stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert (await process.communicate(b"hello\n"))[0].split() == [b"HELLO"]

    on_loop(main())


# -- urgent data


def test_urgent_data_of_tcp_is_left_out_and_disturbs_nobody(on_loop):
    """Not offered; what a peer sends as such is not in the stream."""

    async def main():
        async with beside(), Server(Echo).listen("tcp:127.0.0.1:0") as server:
            loop = asyncio.get_running_loop()
            with socket.create_connection(("127.0.0.1", server.port)) as sock:
                sock.setblocking(False)
                for data, flags in ((b"a", 0), (b"!", socket.MSG_OOB), (b"b", 0)):
                    sock.send(data, flags)
                got = b""
                while len(got) < 2:
                    got += await loop.sock_recv(sock, 100)
                assert got == b"ab"

    on_loop(main())
