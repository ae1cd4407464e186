"""What tests of WSGI share: an application behind a real server, and raw requests to it."""

from __future__ import annotations

import asyncio
import contextlib

import trews
from trews import http

MODES = {"inline": 0, "threads": 4}


class Noting(http.Server):
    """Keeps the errors of handlers."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.errors = []

    def on_error(self, connection, exc):
        self.errors.append(exc)


@contextlib.asynccontextmanager
async def served(app, threads=0, grace=5.0, stream_input=False, **settings):
    """The server of an application, on a port of its own."""
    server = Noting(http.wsgi(app, threads=threads, stream_input=stream_input), **settings)
    server.listen("tcp:127.0.0.1:0")
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace)


async def send(server, *pieces):
    """Send bytes to it, and return all that comes, up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def ask(app, *pieces, threads=0, loop_factory=trews.EventLoop, **settings):
    """The bytes that an application answers to raw bytes."""

    async def main():
        async with served(app, threads, **settings) as server:
            return await send(server, *pieces)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main())


def get(path="/", *fields, method="GET", version="1.1", body=b""):
    """A request, of which the connection ends after the answer."""
    lines = [f"{method} {path} HTTP/{version}", "Host: example.org", *fields]
    if version == "1.1":
        lines.append("Connection: close")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def parts(answer):
    """The status line, the fields in lower case, and the body, taken out of its chunks."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if fields.get("transfer-encoding") == "chunked":
        body = unchunked(body)
    return line, fields, body


def unchunked(data):
    pieces = []
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        if not count:
            return b"".join(pieces)
        pieces.append(data[:count])
        data = data[count + 2 :]
    return b"".join(pieces) + b"(cut)"


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, world!"]


class Body:
    """An iterable that notes what happens to it."""

    def __init__(self, blocks, error=None):
        self.blocks = iter(blocks)
        self.error = error
        self.taken = self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.taken += 1
        try:
            return next(self.blocks)
        except StopIteration:
            if self.error is not None:
                raise self.error from None
            raise

    def close(self):
        self.closed += 1


def returns(body, status="200 OK", headers=()):
    def app(environ, start_response):
        start_response(status, list(headers))
        return body

    return app


def fails(app, threads, request=None):
    """The answer to an application that fails, and the error that was noted."""

    async def main():
        async with served(app, threads) as server:
            return await send(server, request or get()), server.errors

    return trews.run(main())


def environ_of(*pieces, threads, **settings):
    seen = []

    def app(environ, start_response):
        seen.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return []

    assert parts(ask(app, *pieces, threads=threads, **settings))[0] == "HTTP/1.1 200 OK"
    return seen[0]
