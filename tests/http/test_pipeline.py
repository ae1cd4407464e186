"""Whole conversations, cut at every position: the answers do not depend on how the bytes came."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from tests.http.serving import answers, chunked, get, post, serve
from trews import http

DATE = re.compile(rb"Date: [^\r\n]*\r\n")
ERROR_TEXT = re.compile(rb"Content-Length: \d+\r\n")


def plain(request: http.Request) -> Any:
    if request.path == "/error":
        raise http.Error(403)
    if request.path == "/stream":
        return iter(["one", "two"])
    if request.path == "/json":
        return {"trailers": dict(request.trailers.items())}
    return request.content or request.raw_path


async def waiting(request: http.Request) -> Any:
    await request.read()
    return plain(request)


async def pieces(request: http.Request) -> Any:
    found = b"".join([piece async for piece in request])
    return found or plain(request)


async def unread(request: http.Request) -> Any:
    return "early"


TRAILERS = b"X-Sum: 3\r\nX-More: more\r\n"
CONVERSATIONS: dict[str, bytes] = {
    "one": get("/path?query=1", Accept="*/*"),
    "pipelined": b"".join(get(f"/{n}") for n in range(5)),
    "post": post(b"a body of some bytes", "/post") + get("/after"),
    "chunked with trailers": chunked(b"abc", b"de", b"f" * 20, path="/json", trailers=TRAILERS) + get("/after"),
    "chunk extensions": get("/x", "POST", Transfer_Encoding="chunked")
    + b'3;a=b;c="d\\"e"\r\nabc\r\n0;z\r\n\r\n'
    + get(),
    "mix": post(b"one") + get("/stream") + chunked(b"two") + get("/error") + get("/json") + post(b"last"),
    "head": get("/a", "HEAD") + get("/b"),
    "http/1.0": get("/a", version="1.0", Connection="keep-alive") + get("/b", version="1.0") + get("/never"),
    "close": get("/a") + get("/b", Connection="close") + get("/never"),
    "empty lines": b"\r\n" + post(b"abc") + b"\r\n\r\n" + get("/b"),
    "no bodies": post(b"") + chunked() + get("/c"),
    "absolute": b"GET http://x/a?b HTTP/1.1\r\nHost: x\r\n\r\n" + b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "refused": get("/a") + b"GET /b HTTP/1.1\r\nHost: x\r\nX Y: z\r\n\r\n" + get("/never"),
    "refused body": get("/a", "POST", Transfer_Encoding="chunked") + b"3\r\nabcd\r\n" + get("/never"),
    "connect": b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + get("/never"),
}


def talk(app: Any, pieces: list[bytes], ends: bool = False) -> bytes:
    """What a server answers to bytes that come so; the dates, and the words of refusals, left out."""
    w = serve(app)
    for piece in pieces:
        w.feed(piece)
    if ends:
        w.eof()
    data: bytes = w.sent()
    assert w.closed or not ends
    found = DATE.sub(b"", data)
    head, mark, text = found.rpartition(b"\r\n\r\n")
    if re.search(rb"HTTP/1.1 400", head):
        # Which of two mistakes is found first, and is told, may depend on what had come.
        return ERROR_TEXT.sub(b"", head[head.rindex(b"HTTP/1.1") :]) + b"|" + head[: head.rindex(b"HTTP/1.1")]
    return head + mark + text


EVERY = pytest.mark.parametrize("name", CONVERSATIONS)
APPS = pytest.mark.parametrize("app", [plain, waiting, pieces], ids=["plain", "waiting", "pieces"])


@EVERY
@APPS
@pytest.mark.parametrize("ends", [False, True])
def test_whole_and_byte_by_byte(name: str, app: Any, ends: bool) -> None:
    data = CONVERSATIONS[name]
    whole = talk(app, [data], ends)
    assert whole
    assert talk(app, [bytes([byte]) for byte in data], ends) == whole


@EVERY
@APPS
def test_cut_at_every_position(name: str, app: Any) -> None:
    data = CONVERSATIONS[name]
    whole = talk(app, [data])
    for at in range(1, len(data), 1 if app is plain else 4):
        assert talk(app, [data[:at], data[at:]]) == whole, at


@EVERY
@APPS
def test_cut_at_random(name: str, app: Any) -> None:
    data = CONVERSATIONS[name]
    whole = talk(app, [data])
    random_ = random.Random(name)
    for _ in range(5):
        cuts = sorted(random_.sample(range(1, len(data)), min(len(data) - 1, random_.randint(2, 12))))
        parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert talk(app, parts) == whole, cuts


@pytest.mark.parametrize("name", ["mix", "post", "chunked with trailers", "no bodies"])
def test_early_answers_cut_at_every_position(name: str) -> None:
    """Who does not read its body gets the same, but that a body may be too far away to be waited for."""
    data = CONVERSATIONS[name]
    bodies = [answer.body for answer in answers(serve(unread).feed(data).sent())]
    for at in range(1, len(data)):
        w = serve(unread)
        w.feed(data[:at])
        w.feed(data[at:])
        assert [answer.body for answer in answers(w.sent())] == bodies, at


@APPS
def test_100_continue_cut_at_every_position(app: Any) -> None:
    """The client may send its body without waiting; then 100 may come or not, and the rest is the same."""
    data = get("/x", "POST", Content_Length="6", Expect="100-continue") + b"a body" + get("/after")
    for at in range(1, len(data)):
        w = serve(app)
        w.feed(data[:at])
        w.feed(data[at:])
        found = [answer for answer in answers(w.sent()) if answer.status != 100]
        assert [(answer.status, answer.body) for answer in found] == [(200, b"a body"), (200, b"/after")], at
