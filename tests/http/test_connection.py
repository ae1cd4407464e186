"""Requests off one connection: order, pipelining, persistence, bodies and their ends."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from tests.http.serving import answers, chunked, get, post, serve, statuses, told
from trews import http
from trews.http.answering import Answering
from trews.http.connection import HTTPConnection
from trews.http.pipeline import REQUESTS_A_TURN

KIB = 1024


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


# -- order


@pytest.mark.parametrize("app", [path, waits])
def test_pipelined_requests_are_answered_in_order(app: Any) -> None:
    w = serve(app)
    w.feed(b"".join(get(f"/{n}") for n in range(20))).advance(20)
    assert [answer.body for answer in told(w)] == [b"/%d" % n for n in range(20)]


def test_one_request_is_in_progress() -> None:
    running: list[str] = []
    most = 0

    async def app(request: http.Request) -> str:
        nonlocal most
        running.append(request.path)
        most = max(most, len(running))
        await asyncio.sleep(1)
        running.remove(request.path)
        return request.path

    w = serve(app)
    w.feed(get("/a") + get("/b"))
    w.feed(get("/c")).advance(3)
    assert [answer.body for answer in told(w)] == [b"/a", b"/b", b"/c"]
    assert most == 1


def test_a_mix_of_kinds_in_one_read() -> None:
    async def app(request: http.Request) -> Any:
        if request.path == "/waits":
            await asyncio.sleep(1)
        if request.path == "/stream":
            return iter(["one", "two"])
        return await request.read()

    data = post(b"one") + get("/waits") + chunked(b"t", b"wo") + get("/stream") + get(method="HEAD") + post(b"last")
    w = serve(app)
    w.feed(data).advance(1)
    methods = ("POST", "GET", "POST", "GET", "HEAD", "POST")
    assert [answer.body for answer in told(w, *methods)] == [b"one", b"", b"two", b"onetwo", b"", b"last"]


# -- how it is sent


@pytest.mark.parametrize("kind", ["text", "status", "steps", "async", "body"])
def test_answers_of_one_wake_up_are_one_send(kind: str) -> None:
    def app(request: http.Request) -> Any:
        if kind == "text":
            return "text"
        if kind == "status":
            return 404
        request.start().write("text")
        request.finish()
        return None

    async def waiting(request: http.Request) -> str:
        return "text"

    w = serve(waiting if kind == "async" else (lambda request: "text") if kind == "body" else app)
    sizes = count_sends(w)
    w.feed((post(b"abc") if kind == "body" else get()) * 6)
    assert len(told(w)) == 6
    assert len(sizes) == 1 or (kind == "async" and sys.version_info < (3, 12))  # where a task begins in the next turn


def test_the_head_goes_with_the_first_piece() -> None:
    async def app(request: http.Request) -> None:
        request.start().write("one")
        await request.drain()
        request.write("two")
        await request.drain()
        request.finish()

    w = serve(app)
    sizes = count_sends(w)
    w.feed(get())
    assert told(w)[0].body == b"onetwo"
    assert len(sizes) == 3


# -- bounds on what is pipelined


def test_pipelined_bytes_wait_within_read_high_and_then_the_peer_does() -> None:
    async def app(request: http.Request) -> str:
        await asyncio.sleep(1)
        return ""

    w = serve(app, capacity=4 * KIB, read_high=8 * KIB)
    w.feed(get())
    with pytest.raises(BufferError, match="does not read"):
        w.feed(get() * 10_000)
    assert len(w.connection._rest) <= 16 * KIB
    found = []
    for _ in range(600):
        found += statuses(w.advance(1))
    assert len(found) > 100
    assert set(found[:-1]) == {200}  # the last that was fed is cut off


@pytest.mark.parametrize("app", [lambda request: "x" * KIB, waits])
def test_a_peer_that_reads_no_answers_is_not_served(app: Any) -> None:
    count = 0

    def counted(request: http.Request) -> Any:
        nonlocal count
        count += 1
        return app(request)

    w = serve(counted, capacity=16 * KIB, write_high=4 * KIB, read_high=4 * KIB, write_timeout=None)
    w.clog()
    for _ in range(1000):
        try:
            w.feed(get("/" + "x" * KIB))
        except BufferError:
            break
        w.advance(1)
    else:
        pytest.fail("everything was read")
    assert count <= 20
    assert w.connection._transport.get_write_buffer_size() <= 16 * KIB
    before = count
    w.unclog().advance(60)
    assert count > before
    assert set(statuses(w)[:-1]) == {200}  # the last that was fed is cut off


def test_large_answers_to_pipelined_requests_are_made_one_by_one() -> None:
    """64 of a megabyte are more than write_limit: no answer is made before the peer has room for it."""
    made = 0

    def app(request: http.Request) -> bytes:
        nonlocal made
        made += 1
        return bytes(KIB * KIB)

    w = serve(app, capacity=64 * KIB)
    w.clog()
    w.feed(get() * 64)
    assert made == 1
    w.unclog()
    assert statuses(w) == [200] * 64


def test_a_connection_has_its_turn_and_then_the_others() -> None:
    at_turn: list[int] = []
    count = 0

    def app(request: http.Request) -> str:
        nonlocal count
        if count == 0:
            asyncio.get_running_loop().call_soon(lambda: at_turn.append(count))
        count += 1
        return ""

    w = serve(app)
    w.feed(get() * 1000)
    assert at_turn[0] <= 2 * REQUESTS_A_TURN
    assert len(told(w)) == 1000


# -- persistence


def test_keep_alive_and_close() -> None:
    w = serve(path)
    w.feed(get("/a"))
    assert "connection" not in told(w)[0].fields
    w.feed(get("/b", Connection="close") + get("/never"))
    (answer,) = told(w)
    assert (answer.body, answer.fields["connection"]) == (b"/b", "close")
    assert w.closed
    assert not w.was_reset


def test_http_1_0_closes_unless_it_is_asked_not_to() -> None:
    w = serve(path)
    w.feed(get("/a", version="1.0", Connection="Keep-Alive"))
    (answer,) = told(w)
    assert (answer.body, answer.fields["connection"]) == (b"/a", "keep-alive")
    w.feed(get("/b", version="1.0"))
    (answer,) = told(w)
    assert (answer.body, answer.fields["connection"]) == (b"/b", "close")
    assert w.closed


def test_http_1_0_without_host() -> None:
    w = serve(path)
    w.feed(b"GET /a HTTP/1.0\r\n\r\n")
    assert [answer.body for answer in told(w)] == [b"/a"]


@pytest.mark.parametrize("fields", [{}, {"Connection": "keep-alive"}])
def test_a_stream_to_http_1_0_ends_with_the_connection(fields: dict[str, str]) -> None:
    w = serve(lambda request: iter(["one", "two"]))
    w.feed(get(version="1.0", **fields))
    (answer,) = told(w)
    assert answer.body == b"onetwo"
    assert "transfer-encoding" not in answer.fields
    assert "content-length" not in answer.fields
    assert answer.fields["connection"] == "close"
    assert w.closed
    assert not w.was_reset


def test_a_handler_may_close_by_a_field() -> None:
    w = serve(lambda request: (200, "last", {"Connection": "close"}))
    w.feed(get() * 2)
    (answer,) = told(w)
    assert answer.fields["connection"] == "close"
    assert w.closed


# -- answers without a body


def test_head_has_the_fields_of_get_and_no_body() -> None:
    for app in (path, echo, lambda request: {"a": 1}, lambda request: (201, "x"), lambda request: iter(["a"])):
        w = serve(app)
        w.feed(get("/abc", "HEAD") + get("/abc"))
        head, full = told(w, "HEAD", "GET")
        assert head.fields == full.fields
        assert head.body == b""


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("how", ["status", "body", "stream", "steps"])
def test_204_and_304_have_no_body(status: int, how: str) -> None:
    def app(request: http.Request) -> Any:
        if how == "steps":
            request.start(status).write("none")
            request.finish()
            return None
        return {"status": status, "body": (status, "none"), "stream": http.Response(iter(["none"]), status)}[how]

    w = serve(app)
    w.feed(get() + get())
    for answer in told(w):
        assert answer.status == status
        assert "transfer-encoding" not in answer.fields
        assert "content-length" not in answer.fields or status == 304
    assert not w.closed


# -- the date


def test_the_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    import email.utils

    from trews.http import pipeline

    made: list[float] = []
    formatdate = email.utils.formatdate

    def counted(now: float, *, usegmt: bool) -> str:
        made.append(now)
        return formatdate(now, usegmt=usegmt)

    if not pipeline.__file__.endswith(".py"):
        pytest.skip("patches what is compiled here")
    monkeypatch.setattr(email.utils, "formatdate", counted)
    monkeypatch.setattr(pipeline._DATE, "second", 0)
    now = 784111777.0
    monkeypatch.setattr(pipeline, "time", lambda: now)
    w = serve(path)
    w.feed(get() * 3)
    now += 0.9
    w.feed(get())
    assert {answer.fields["date"] for answer in told(w)} == {"Sun, 06 Nov 1994 08:49:37 GMT"}
    now += 0.1
    w.feed(get())
    assert told(w)[0].fields["date"] == "Sun, 06 Nov 1994 08:49:38 GMT"
    assert len(made) == 2


def test_a_handler_may_have_a_date_of_its_own() -> None:
    w = serve(lambda request: (200, "", {"Date": "Sun, 06 Nov 1994 08:49:37 GMT"}))
    w.feed(get())
    assert told(w)[0].fields["date"] == "Sun, 06 Nov 1994 08:49:37 GMT"


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


# -- streaming


def test_a_body_in_pieces_holds_the_peer_back() -> None:
    got = 0

    async def app(request: http.Request) -> str:
        nonlocal got
        async for piece in request:
            got += len(piece)
            await asyncio.sleep(1)
        return str(got)

    w = serve(app, capacity=8 * KIB, read_high=8 * KIB)
    w.feed(get("/", "POST", Content_Length=str(1000 * KIB)))
    sent = 0
    while sent < 1000 * KIB:
        try:
            w.feed(bytes(8 * KIB))
            sent += 8 * KIB
        except BufferError:
            w.advance(0.5)
            sent = w.connection.bytes_in  # what was refused is lost: the test goes by what came
            break
        assert w.connection._incoming is None or w.connection._incoming.size <= 32 * KIB
    assert sent < 1000 * KIB


def test_an_answer_in_pieces_waits_for_the_peer() -> None:
    made = 0

    def pieces() -> Any:
        nonlocal made
        for _ in range(1000):
            made += KIB
            yield bytes(KIB)

    w = serve(lambda request: pieces(), capacity=16 * KIB, write_high=16 * KIB, write_timeout=None)
    w.clog()
    w.feed(get())
    assert made <= 64 * KIB
    w.unclog()
    assert len(told(w)[0].body) == 1000 * KIB


def test_an_echo_of_pieces() -> None:
    async def app(request: http.Request) -> Any:
        return http.Response(piece.upper() async for piece in request)

    w = serve(app)
    w.feed(get("/", "POST", Transfer_Encoding="chunked"))
    w.feed(b"3\r\nabc\r\n")
    assert w.sent().endswith(b"3\r\nABC\r\n")
    w.feed(b"1\r\nd\r\n0\r\n\r\n" + get())
    assert w.sent().startswith(b"1\r\nD\r\n0\r\n\r\nHTTP/1.1 200 OK")
    assert not w.closed


class Pieces:
    """An iterator that notes its end."""

    def __init__(self, log: list[str], count: int = 1000) -> None:
        self.log = log
        self.count = count

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> bytes:
        self.count -= 1
        if self.count < 0:
            raise StopIteration
        return bytes(KIB)

    def close(self) -> None:
        self.log.append("closed")


class AsyncPieces(Pieces):
    __iter__ = None  # type: ignore[assignment]

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)
        try:
            return self.__next__()
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        await asyncio.sleep(0.1)
        self.log.append("closed")

    close = None  # type: ignore[assignment]


def generator(log: list[str]) -> Any:
    try:
        for _ in range(1000):
            yield bytes(KIB)
    finally:
        log.append("closed")


async def async_generator(log: list[str]) -> Any:
    try:
        for _ in range(1000):
            await asyncio.sleep(0)
            yield bytes(KIB)
    finally:
        await asyncio.sleep(0.1)
        log.append("closed")


class Iterable:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def __iter__(self) -> Any:
        return generator(self.log)


class AsyncIterable:
    def __init__(self, log: list[str]) -> None:
        self.log = log

    def __aiter__(self) -> Any:
        return async_generator(self.log)


STREAMS = [Pieces, AsyncPieces, generator, async_generator, Iterable, AsyncIterable]
EVERY_STREAM = pytest.mark.parametrize("stream", STREAMS)


@EVERY_STREAM
def test_what_gives_pieces_is_closed_at_its_end(stream: Any) -> None:
    log: list[str] = []
    w = serve(lambda request: stream(log))
    w.feed(get()).advance(1)
    assert len(told(w)[0].body) == 1000 * KIB
    assert log == ["closed"]


@EVERY_STREAM
@pytest.mark.parametrize("end", ["reset", "eof", "stall"])
def test_what_gives_pieces_is_closed_when_the_client_leaves(stream: Any, end: str) -> None:
    log: list[str] = []
    w = serve(lambda request: stream(log), capacity=16 * KIB, write_timeout=5, close_timeout=5)
    w.clog()
    w.feed(get())
    if end != "stall":
        getattr(w, end)()
    w.advance(20)
    assert log == ["closed"]
    assert w.connection._is_ended


@pytest.mark.parametrize("stream", [Pieces, AsyncPieces])
@pytest.mark.parametrize("why", ["HEAD", "204", "bad field", "gone", "answered"])
def test_what_gives_pieces_is_closed_even_if_it_was_never_begun(stream: Any, why: str) -> None:
    log: list[str] = []

    def app(request: http.Request) -> Any:
        if why == "204":
            return 204, stream(log)
        if why == "bad field":
            return 200, stream(log), {"X": "\r\n"}
        if why == "gone":
            request.connection.abort()
        if why == "answered":
            request.respond("already")
        return http.Response(stream(log))

    w = serve(app, type("Quiet", (http.Server,), {"on_error": lambda self, connection, exc: None}))
    w.feed(get(method="HEAD" if why == "HEAD" else "GET")).advance(1)
    assert log == ["closed"]


def test_a_coroutine_that_will_not_run_is_closed() -> None:
    def app(request: http.Request) -> Any:
        request.connection.abort()
        return read(request)

    w = serve(app)
    w.feed(get())  # RuntimeWarning: never awaited, if it was not
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


# -- the client's end


def test_a_client_that_half_closes_gets_all_its_answers() -> None:
    for app in (path, waits):
        w = serve(app)
        w.feed(b"".join(get(f"/{n}") for n in range(5)))
        w.eof().advance(5)
        assert [answer.body for answer in told(w)] == [b"/%d" % n for n in range(5)]
        assert w.closed
        assert not w.was_reset


def test_disconnected_tells_of_the_end_and_cancels_nothing() -> None:
    log: list[str] = []

    async def app(request: http.Request) -> str:
        assert not request.is_disconnected
        await request.disconnected()
        assert request.is_disconnected
        await request.disconnected()
        log.append("gone")
        await asyncio.sleep(10)
        log.append("went on")
        return "to nobody"

    for end in ("eof", "reset"):
        log.clear()
        w = serve(app)
        w.feed(get())
        assert log == []
        getattr(w, end)()
        assert log == ["gone"]
        w.advance(10)
        assert log == ["gone", "went on"]
        assert (statuses(w) == [200]) is (end == "eof")
        assert w.closed


def test_disconnected_may_be_waited_for_again_and_again() -> None:
    async def app(request: http.Request) -> str:
        for _ in range(100):
            try:
                await asyncio.wait_for(request.disconnected(), 1)
            except TimeoutError:
                pass
        assert len(request.connection._gone_watchers) == 0
        return ""

    w = serve(app)
    w.feed(get()).advance(100)
    assert statuses(w) == [200]


def test_a_handler_whose_client_is_lost_has_close_timeout() -> None:
    log: list[str] = []

    async def app(request: http.Request) -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    w = serve(app, close_timeout=5)
    w.feed(get())
    w.reset().advance(4.9)
    assert log == []
    w.advance(0.2)
    assert log == ["cancelled"]
    assert w.connection._is_ended


def test_an_error_after_the_client_has_left_is_told() -> None:
    told_of: list[str] = []

    class Noting(http.Server):
        def on_error(self, connection: Any, exc: BaseException, /) -> None:
            told_of.append(f"{connection.request.path} {exc}")

    async def app(request: http.Request) -> None:
        await request.disconnected()
        await asyncio.sleep(1)
        raise ValueError("late")

    w = serve(app, Noting)
    w.feed(get("/x"))
    w.reset().advance(1)
    assert told_of == ["/x late"]


@pytest.mark.parametrize("end", ["eof", "reset"])
@pytest.mark.parametrize("app", [echo, read])
def test_a_client_that_leaves_in_the_middle_of_a_body(end: str, app: Any, caplog: pytest.LogCaptureFixture) -> None:
    w = serve(app)
    w.feed(post(bytes(1000))[:-1])
    getattr(w, end)()
    assert statuses(w) == ([400] if end == "eof" else [])
    assert w.closed
    assert w.connection._is_ended or end == "eof"
    assert "Traceback" not in caplog.text


def test_a_deferred_answer_to_a_client_that_has_left_is_dropped() -> None:
    requests: list[http.Request] = []

    def app(request: http.Request) -> None:
        request.defer()
        requests.append(request)

    w = serve(app)
    w.feed(get())
    w.reset()
    assert w.connection._is_ended
    assert requests[0].is_disconnected
    requests[0].respond("to nobody")
    w.settle()


@pytest.mark.parametrize("method", ["close", "abort"])
@pytest.mark.parametrize("kind", ["def", "async", "waiting"])
def test_a_handler_may_end_the_connection(method: str, kind: str) -> None:
    def plain(request: http.Request) -> str:
        getattr(request.connection, method)()
        return "never"

    async def at_once(request: http.Request) -> str:
        return plain(request)

    async def waiting(request: http.Request) -> str:
        await asyncio.sleep(1)
        plain(request)
        await asyncio.sleep(1)
        return "never"

    handlers: dict[str, Any] = {"def": plain, "async": at_once, "waiting": waiting}
    w = serve(handlers[kind])
    w.feed(get() * 2).advance(5)
    assert w.sent() == b""
    assert w.closed
    assert w.was_reset is (method == "abort")
    w.eof() if method == "close" else None
    assert w.connection._is_ended


# -- pauses


def test_a_paused_connection_goes_on() -> None:
    async def app(request: http.Request) -> str:
        request.connection.pause_reading()
        await asyncio.sleep(1)
        request.connection.resume_reading()
        return "on"

    w = serve(app)
    w.feed(get())
    w.feed(get()).advance(3)
    assert [answer.body for answer in told(w)] == [b"on"] * 2


# -- empty lines, and heads in pieces


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n"])
def test_empty_lines_before_a_request_are_passed_over(before: bytes) -> None:
    w = serve(path)
    w.feed(before + get("/a") + before + get("/b"))
    for byte in before + get("/c"):
        w.feed(bytes([byte]))
    assert [answer.body for answer in told(w)] == [b"/a", b"/b", b"/c"]
    w.feed(b"\r\n").advance(60)  # as some old clients send behind a body: nobody waits for a head
    assert not w.closed


def test_a_large_head_in_pieces_above_read_high() -> None:
    w = serve(path, max_head=256 * KIB, max_fields=1000, read_high=4 * KIB, capacity=4 * KIB)
    fields = {f"X-{n}": "x" * KIB for n in range(100)}
    w.feed(get("/", **fields))
    assert statuses(w) == [200]


# -- names


def test_only_what_is_meant_to_be_overridden_is() -> None:
    """A name that both use would be overridden without anybody noticing: `_tell`, `_start`, `_emit` were."""
    meant = {
        "_bind_write",
        "_deadlines",
        "_deadlines_class",
        "_go_down",
        "_has_news",
        "_prepare",
        "_regulate",
        "eof_received",
        "half_close",
        "on_connect",
        "on_stop",
        "pause_writing",
        "resume_writing",
    }
    automatic = {"__module__", "__doc__", "__annotations__", "__abstractmethods__", "_abc_impl", "_consumer"}
    automatic |= {"_has_on_read", "__firstlineno__", "__static_attributes__"}
    for cls in (HTTPConnection, Answering):
        for base in cls.__mro__[1:]:
            if base in (object, Answering):
                continue
            names = vars(cls).keys() | vars(cls).get("__annotations__", {}).keys()
            theirs = vars(base).keys() | vars(base).get("__annotations__", {}).keys()
            assert (names & theirs) - automatic - {"__init__", "__slots__"} <= meant, (cls, base)
