"""nginx and haproxy in front of trews at work: large bodies, health checks, PROXY headers, servers that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import tempfile
from pathlib import Path

import pytest

import trews
from tests import fronts
from tests.servers import until
from trews import http

UNBUFFERED = (
    'location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection "";'
    "proxy_request_buffering off; proxy_buffering off; }"
)
BUFFERED = 'location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; }'
HTTP_1_0 = "location / { proxy_pass http://behind; }"
MIB = 1024 * 1024


@pytest.fixture
def place():
    """A directory with a path that is short enough for Unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="trews-") as name:
        yield Path(name)


@contextlib.asynccontextmanager
async def front(name: str, at: Path, directives: str, *upstreams: str):
    """A front end at `at / "front"`, before servers on Unix sockets."""
    if name == "nginx":
        servers = " max_fails=0; server ".join(f"unix:{upstream}" for upstream in upstreams)
        async with fronts.nginx(at, servers, {"front": directives}, wait=30):
            yield
    else:
        first, *others = upstreams
        options = directives.partition("|")[2]
        more = "".join(f"\n    server s{number} unix@{other} {options}" for number, other in enumerate(others))
        async with fronts.haproxy(at, f"unix@{first}", {"front": directives + more}, wait=30):
            yield


async def request(reader, writer, method: str, path: str, body: bytes = b"", chunked: bool = False):
    """One request; status, fields and the body of its answer."""
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n" if chunked else f"Content-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode())
    for at in range(0, len(body), MIB):
        piece = body[at : at + MIB]
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])}
    answer = b""
    if "content-length" in fields:
        answer = await reader.readexactly(int(fields["content-length"]))
    elif "chunked" in fields.get("transfer-encoding", ""):
        pieces = []
        while size := int(await reader.readline(), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        answer = b"".join(pieces)
    else:
        answer = await reader.read()
    return int(lines[0].split()[1]), fields, answer


# -- large bodies

PIECE = hashlib.sha256(b"").digest() * 2000


async def echo_hash(asked):
    """What was sent as a hash, or much in pieces."""
    if asked.path == "/down":
        return http.Response(pieces(int(asked.query["count"])))
    digest = hashlib.sha256()
    async for piece in asked:
        digest.update(piece)
    return digest.hexdigest()


async def pieces(count):
    for _ in range(count):
        yield PIECE


@pytest.mark.parametrize("size", [pytest.param(100 * MIB, marks=pytest.mark.slow), 5 * MIB])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(
    ("name", "directives"),
    [("nginx", UNBUFFERED), ("nginx", BUFFERED), ("nginx", HTTP_1_0), ("haproxy", "http-reuse always")],
    ids=["nginx, unbuffered", "nginx, buffered", "nginx, HTTP/1.0", "haproxy"],
)
def test_large_bodies_pass_both_ways(name, directives, chunked, size, place):
    body = PIECE * (size // len(PIECE))

    async def main():
        async with http.Server(echo_hash, max_body=None).listen(f"unix:{place}/s"):
            async with front(name, place, directives, f"{place}/s"):
                reader, writer = await asyncio.open_unix_connection(place / "front", limit=MIB)
                status, _, answer = await request(reader, writer, "POST", "/up", body, chunked)
                assert (status, answer.decode()) == (200, hashlib.sha256(body).hexdigest())
                status, _, answer = await request(reader, writer, "GET", f"/down?count={size // len(PIECE)}")
                assert status == 200
                assert answer == body
                writer.close()
                await writer.wait_closed()

    trews.run(main())


# -- servers that come and go

RETRYING = BUFFERED.replace("location /", "proxy_next_upstream error timeout http_502; location /")
CHECKED = (
    "http-reuse always; option redispatch; retries 5; retry-on conn-failure empty-response; balance roundrobin;"
    "option httpchk GET /health; timeout check 5s | check inter 100ms"
)


@pytest.mark.parametrize(("name", "directives"), [("nginx", RETRYING), ("haproxy", CHECKED)], ids=["nginx", "haproxy"])
def test_no_request_is_lost_while_servers_are_restarted_in_turn(name, directives, place):
    counts = [0, 0]

    def serving(number):
        async def app(asked):
            if asked.path == "/health":
                return "fine"
            counts[number] += 1
            await asyncio.sleep(0.002)
            return asked.path

        return http.Server(app).listen(f"unix:{place}/s{number}")

    async def client(number, failures, stopping):
        reader, writer = await asyncio.open_unix_connection(place / "front")
        asked = 0
        while not stopping.is_set():
            status, _, answer = await request(reader, writer, "GET", f"/{number}/{asked}")
            if (status, answer.decode()) != (200, f"/{number}/{asked}"):
                failures.append((status, answer))
            asked += 1
        writer.close()
        await writer.wait_closed()

    async def main():
        servers = [await serving(0).start(), await serving(1).start()]
        failures: list = []
        stopping = asyncio.Event()
        async with front(name, place, directives, f"{place}/s0", f"{place}/s1"), asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(client(number, failures, stopping))
            for turn in range(6):
                before = sum(counts)
                await until(lambda before=before: sum(counts) > before + 200)
                await servers[turn % 2].stop()
                await until(lambda before=before: sum(counts) > before + 300)
                servers[turn % 2] = await serving(turn % 2).start()
            stopping.set()
        for server in servers:
            await server.stop()
        assert failures == []
        assert min(counts) > 100

    trews.run(main())


def test_idle_connections_are_kept_and_used_again(place):
    """Twenty clients, a hundred requests each: few connections of nginx, all used again, none lost."""
    ends = set()

    def app(asked):
        ends.add(asked.connection.id)
        return "fine"

    async def client():
        reader, writer = await asyncio.open_unix_connection(place / "front")
        for _ in range(100):
            assert (await request(reader, writer, "POST", "/", b"x" * 100))[0] == 200
        writer.close()
        await writer.wait_closed()

    async def main():
        async with http.Server(app).listen(f"unix:{place}/s"):
            async with front("nginx", place, BUFFERED, f"{place}/s"), asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(client())

    trews.run(main())
    assert len(ends) <= 40


# -- who the client is


@pytest.mark.parametrize("option", ["send-proxy", "send-proxy-v2"])
def test_haproxy_tells_who_the_client_is(option, place):
    async def main():
        def app(asked):
            return f"{asked.client[0]}:{asked.client[1]}"

        async with http.Server(app).listen("tcp:127.0.0.1:0?proxy_protocol=127.0.0.0/8") as server:
            with socket.create_server(("127.0.0.1", 0)) as listening:
                directives = f"bind fd@{listening.fileno()} | {option}"
                async with fronts.haproxy(
                    place, f"127.0.0.1:{server.port}", {"front": directives}, fds=[listening.fileno()]
                ):
                    reader, writer = await asyncio.open_connection(*listening.getsockname())
                    own = "{}:{}".format(*writer.get_extra_info("sockname"))
                    for _ in range(3):
                        status, _, answer = await request(reader, writer, "GET", "/")
                        assert (status, answer.decode()) == (200, own)
                    writer.close()
                    await writer.wait_closed()

    trews.run(main())
