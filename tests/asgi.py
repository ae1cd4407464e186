"""What tests of ASGI share: applications by path, and asking a server of them over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct

from tests.clients import LOOPS
from trews import http

__all__ = [
    "LOOPS",
    "START",
    "LastAsked",
    "answers",
    "ask",
    "body",
    "body_of",
    "get",
    "of_requests",
    "on",
    "post",
    "sends",
    "serving",
]


def on(loop, main):
    """Run a coroutine on one of the loops."""
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(asyncio.wait_for(main, 5))


@contextlib.asynccontextmanager
async def serving(app, settings=(), **options):
    """A server of an application, on a port of its own."""
    server = http.Server(http.asgi(app, **options), **dict(settings)).listen("tcp:127.0.0.1:0")
    async with server:
        yield server


class LastAsked:
    """A client that asks one thing after the other on one connection."""

    def __init__(self, server):
        self._port = server.port

    async def __aenter__(self):
        self.reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *exc_info):
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def write(self, data):
        self._writer.write(data)

    def write_eof(self):
        self._writer.write_eof()

    def abort(self):
        """Leave with a reset. (A FIN alone may be that of a client that waits for its answer.)"""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def answer(self):
        """One answer with a Content-Length: its head and its body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        return head, await self.reader.readexactly(int(length[1]) if length else 0)


def get(path="/", *fields, last=True):
    lines = [f"GET {path} HTTP/1.1", "Host: example.org", *fields, *(["Connection: close"] if last else [])]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path, body, *fields, last=True):
    lines = [f"POST {path} HTTP/1.1", "Host: example.org", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, *(["Connection: close"] if last else []), "", ""]).encode() + body


async def ask(server, data):
    """Send bytes, and return all that comes to the end. (An abort is an end like others.)"""
    async with LastAsked(server) as client:
        client.write(data)
        found = b""
        with contextlib.suppress(OSError):
            while piece := await client.reader.read(65536):
                found += piece
        return found


def answers(loop, app, data, settings=(), **options):
    """All that an application's server says to these bytes."""

    async def main():
        async with serving(app, settings, **options) as server:
            return await ask(server, data)

    return on(loop, main())


def body_of(answer):
    return answer.partition(b"\r\n\r\n")[2]


def of_requests(function):
    """An application without a lifespan."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await function(scope, receive, send)

    return app


START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


def body(data, more=False):
    return {"type": "http.response.body", "body": data, "more_body": more}


def sends(*messages):
    """An application that sends these, and returns."""

    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return of_requests(app)
