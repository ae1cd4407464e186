"""What tests of HTTP servers share: a wire to one, requests, and answers taken apart strictly."""

from __future__ import annotations

import asyncio
import re
from typing import Any, NamedTuple

from trews import http
from trews.testing import Wire, wire

HEAD_END = b"\r\n\r\n"


class Answer(NamedTuple):
    """One response as it was sent."""

    status: int
    fields: dict[str, str]  # by name in lower case
    body: bytes
    trailers: dict[str, str]


class Server(http.Server):
    """A server with an on_error of its own: the wire does not raise what handlers do."""

    def on_error(self, connection: Any, exc: BaseException) -> Any:
        return super().on_error(connection, exc)


def serve(app: Any, server_class: type[http.Server] = Server, capacity: int = 1024 * 1024, **settings: Any) -> Any:
    """A wire to a connection of a server of `app`; the server is `.connection.server`."""
    server = server_class(app, **settings)
    cls: Any = server._class
    made: Wire[Any] = wire(cls, server=server, capacity=capacity)
    return made


def get(path: str = "/", method: str = "GET", version: str = "1.1", **fields: str) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: x"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def post(body: bytes, path: str = "/", **fields: str) -> bytes:
    return get(path, "POST", Content_Length=str(len(body)), **fields) + body


def chunked(*pieces: bytes, path: str = "/", trailers: bytes = b"", **fields: str) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return get(path, "POST", Transfer_Encoding="chunked", **fields) + chunks + b"0\r\n" + trailers + b"\r\n"


def answers(data: bytes, *methods: str, ended: bool = False) -> list[Answer]:
    """The responses that these bytes are, and nothing else.

    Args:
        methods: of the requests, as far as they are not GET.
        ended: the connection has ended, so that the last body may go up to its end.
    """
    found: list[Answer] = []
    while data:
        head, mark, rest = data.partition(HEAD_END)
        assert mark, f"a head without an end: {data!r}"
        line, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) [^\r\n]*", line)
        assert match is not None, line
        status = int(match.group(1))
        fields: dict[str, str] = {}
        for name, _, value in (line.partition(": ") for line in lines):
            assert name.lower() not in fields or name.lower() == "set-cookie", f"two fields {name}"
            fields[name.lower()] = value
        method = methods[len([a for a in found if a.status >= 200])] if len(methods) > len(found) else "GET"
        trailers: dict[str, str] = {}
        if status < 200 or status in (204, 304) or method == "HEAD":
            body, data = b"", rest
        elif fields.get("transfer-encoding") == "chunked":
            body, trailers, data = _chunks(rest)
        elif "content-length" in fields:
            size = int(fields["content-length"])
            assert len(rest) >= size, "a body that is cut off"
            body, data = rest[:size], rest[size:]
        else:
            assert ended, "a body without an end"
            body, data = rest, b""
        if status >= 200:
            assert "date" in fields
        found.append(Answer(status, fields, body, trailers))
    return found


def _chunks(data: bytes) -> tuple[bytes, dict[str, str], bytes]:
    body = b""
    while True:
        line, mark, data = data.partition(b"\r\n")
        assert mark, "a body that is cut off"
        size = int(line, 16)
        if not size:
            break
        assert data[size : size + 2] == b"\r\n", "a chunk that is cut off"
        body += data[:size]
        data = data[size + 2 :]
    trailers: dict[str, str] = {}
    while True:
        line, mark, data = data.partition(b"\r\n")
        assert mark, "trailers that are cut off"
        if not line:
            return body, trailers, data
        name, _, value = line.decode().partition(": ")
        trailers[name.lower()] = value


def told(w: Any, *methods: str) -> list[Answer]:
    """What the wire was answered since it was last asked."""
    return answers(w.sent(), *methods, ended=w.closed)


def statuses(w: Any, *methods: str) -> list[int]:
    return [answer.status for answer in told(w, *methods)]


# -- handlers, and who is told of them


def path(request: http.Request) -> str:
    return request.path


def echo(request: http.Request) -> bytes:
    return request.content


async def read(request: http.Request) -> bytes:
    return await request.read()


async def waits(request: http.Request) -> str:
    await asyncio.sleep(1)
    return request.path


async def unread(request: http.Request) -> str:
    return "early"


class Noting(http.Server):
    """Notes what its handlers raise, and with which request."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.errors: list[tuple[str, str]] = []

    def on_error(self, connection: Any, exc: BaseException, /) -> Any:
        self.errors.append((connection.request.path, f"{type(exc).__name__}: {exc}"))


async def later(value: Any) -> Any:
    await asyncio.sleep(1)
    return value


def answer_of(app: Any, request: bytes | None = None, **settings: Any) -> Any:
    w = serve(app, **settings)
    w.feed(request if request is not None else get())
    (answer,) = told(w)
    return answer


def count_sends(w: Any) -> list[int]:
    """The size of each send from now on."""
    sizes: list[int] = []
    core = w.connection._transport.core
    send = core.send

    def counted(data: Any) -> int:
        sent: int = send(data)
        sizes.append(sent)
        return sent

    core.send = counted
    return sizes
