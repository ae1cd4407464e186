"""Bodies of requests: 100-continue, those that nobody reads, trailers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.http.serving import answers, chunked, echo, get, post, read, serve, statuses, told, unread
from trews import http

KIB = 1024


# -- Expect: 100-continue

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def expecting(body: bytes = b"abc") -> tuple[bytes, bytes]:
    return get("/", "POST", Content_Length=str(len(body)), Expect="100-continue"), body


@pytest.mark.parametrize("app", [echo, read])
def test_100_continue_when_the_body_is_wanted(app: Any) -> None:
    head, body = expecting()
    w = serve(app)
    w.feed(head)
    assert w.sent() == CONTINUE
    w.feed(body)
    assert told(w)[0].body == b"abc"
    w.feed(head)
    assert w.sent() == CONTINUE


def test_100_continue_only_when_it_is_wanted() -> None:
    async def app(request: http.Request) -> bytes:
        await asyncio.sleep(1)
        return await request.read()

    head, body = expecting()
    w = serve(app)
    w.feed(head)
    assert w.sent() == b""
    w.advance(1)
    assert w.sent() == CONTINUE
    w.feed(body)
    assert told(w)[0].body == b"abc"


def test_no_100_continue_if_the_body_is_there_already() -> None:
    head, body = expecting()
    for data in ([head + body], [head + body[:1], body[1:]]):
        for app in (echo, read):
            w = serve(app)
            for part in data:
                w.feed(part)
            assert [(a.status, a.body) for a in told(w)] == [(200, b"abc")]


def test_no_100_continue_after_the_final_head() -> None:
    async def app(request: http.Request) -> None:
        request.start().write("begun")
        request.defer()
        asyncio.get_running_loop().call_later(1, request.finish)
        await request.read()

    head, body = expecting()
    w = serve(app)
    w.feed(head)
    w.feed(body)
    w.advance(1)
    (answer,) = told(w)
    assert (answer.status, answer.body, answer.fields["connection"]) == (200, b"begun", "close")


def test_a_refusal_instead_of_100_continue() -> None:
    head, _ = expecting()

    async def app(request: http.Request) -> int:
        return 403

    w = serve(app)
    w.feed(head)
    (answer,) = told(w)
    assert (answer.status, answer.fields["connection"]) == (403, "close")
    assert w.closed
    w = serve(echo, max_body=2)
    w.feed(head)
    assert statuses(w) == [413]


def test_no_100_continue_for_http_1_0() -> None:
    w = serve(echo)
    w.feed(get("/", "POST", "1.0", Content_Length="3", Expect="100-continue"))
    assert w.sent() == b""
    w.feed(b"abc")
    assert [a.status for a in told(w)] == [200]


def test_100_continue_keeps_its_place_among_answers() -> None:
    head, body = expecting()
    w = serve(echo)
    w.feed(post(b"one") + head)
    data = w.sent()
    assert data.endswith(CONTINUE)
    w.feed(body)
    assert [a.status for a in answers(data + w.sent())] == [200, 100, 200]


# -- bodies that nobody reads


@pytest.mark.parametrize("sent", [0, 100, 1000])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_small_body_that_nobody_reads_is_skipped(sent: int, is_chunked: bool) -> None:
    whole = chunked(bytes(500), bytes(500)) if is_chunked else post(bytes(1000))
    cut = whole.index(b"\r\n\r\n") + 4 + sent
    w = serve(unread)
    w.feed(whole[:cut])
    assert [answer.body for answer in told(w)] == [b"early"]
    w.feed(whole[cut:] + get())
    assert [answer.body for answer in told(w)] == [b"early"]
    assert not w.closed


def test_a_body_that_was_held_back_is_skipped_too() -> None:
    async def app(request: http.Request) -> str:
        await asyncio.sleep(1)
        return "early"

    w = serve(app, read_high=8 * KIB, capacity=4 * KIB)
    whole = post(bytes(24 * KIB))
    w.feed(whole[: 14 * KIB])
    assert not w.connection._is_reading
    w.advance(1)
    w.feed(whole[14 * KIB :] + get()).advance(1)
    assert [answer.body for answer in told(w)] == [b"early"] * 2


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_large_body_that_nobody_reads_ends_the_connection(is_chunked: bool) -> None:
    w = serve(unread)
    w.feed((chunked(bytes(KIB * KIB)) if is_chunked else post(bytes(KIB * KIB)))[: 100 * KIB])
    (answer,) = told(w)
    assert answer.body == b"early"
    assert is_chunked or answer.fields["connection"] == "close"
    w.feed(bytes(100 * KIB))
    assert w.closed
    assert not w.was_reset


def test_a_client_that_still_sends_reads_the_answer() -> None:
    w = serve(unread)
    w.feed(get("/", "POST", Content_Length=str(10 * KIB * KIB)))
    for _ in range(160):
        w.feed(bytes(64 * KIB))
    assert [answer.body for answer in told(w)] == [b"early"]
    assert w.closed
    assert not w.was_reset
    w.eof()


def test_bytes_behind_a_broken_body_are_no_request() -> None:
    """After an early answer, too, what follows bytes that are no chunk is thrown away."""
    served: list[str] = []

    async def app(request: http.Request) -> str:
        served.append(request.path)
        return "early"

    w = serve(app)
    w.feed(get("/a", "POST", Transfer_Encoding="chunked"))
    w.feed(b"zz\r\n" + get("/smuggled"))
    assert served == ["/a"]
    assert w.closed

    async def begins(request: http.Request) -> Any:
        served.append(request.path)
        request.start().write("begun")
        await asyncio.sleep(1)
        request.finish()

    w = serve(begins)
    w.feed(get("/b", "POST", Transfer_Encoding="chunked"))
    w.feed(b"zz\r\n" + get("/smuggled")).advance(1)
    assert served == ["/a", "/b"]
    assert [answer.body for answer in told(w)] == [b"begun"]
    assert w.closed


# -- trailers


@pytest.mark.parametrize("app", ["def", "async", "pieces"])
def test_trailers_of_a_request(app: str) -> None:
    def plain(request: http.Request) -> dict[str, str]:
        assert "X-Sum" not in request.headers
        return dict(request.trailers.items())

    async def waiting(request: http.Request) -> dict[str, str]:
        await request.read()
        return dict(request.trailers.items())

    async def pieces(request: http.Request) -> dict[str, str]:
        async for _ in request:
            pass
        return dict(request.trailers.items())

    handlers: dict[str, Any] = {"def": plain, "async": waiting, "pieces": pieces}
    w = serve(handlers[app])
    w.feed(chunked(b"abc", trailers=b"X-Sum: 3\r\n"))
    assert b'"X-Sum"' in told(w)[0].body


def test_trailers_of_an_answer() -> None:
    w = serve(lambda request: http.Response(iter(["abc"]), trailers=lambda: [("X-Sum", "3")]))
    w.feed(get())
    assert told(w)[0].trailers == {"x-sum": "3"}
    w = serve(lambda request: http.Response("abc", trailers=lambda: [("X-Sum", "3")]))
    w.feed(get())
    assert [(a.body, a.trailers) for a in told(w)] == [(b"abc", {"x-sum": "3"})]
