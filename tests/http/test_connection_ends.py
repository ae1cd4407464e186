"""Bodies in pieces, both ways, and clients that leave in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.http.serving import echo, get, path, post, read, serve, statuses, told, waits
from trews import http

KIB = 1024


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


async def _sleeps_after_its_last() -> AsyncIterator[str]:
    yield "data"
    await asyncio.sleep(1)


async def _sleeps_without_any() -> AsyncIterator[str]:
    await asyncio.sleep(1)
    nothing: tuple[str, ...] = ()
    for piece in nothing:
        yield piece


async def _in_steps(request: http.Request) -> None:
    request.start()
    request.write("data")
    await asyncio.sleep(1)
    request.finish()


@pytest.mark.parametrize(
    "app",
    [
        lambda request: http.Response(_sleeps_after_its_last()),
        lambda request: http.Response(_sleeps_without_any()),
        _in_steps,
    ],
)
def test_a_connection_is_gone_when_the_answer_to_a_client_that_was_lost_ends(app: Any) -> None:
    w = serve(app)
    w.feed(get())
    w.reset()
    assert w.connection in w.connection.server._alive.values()
    w.advance(2)
    assert not w.connection.server._alive


def test_a_stream_that_says_nothing_more_to_a_client_that_has_ended_is_closed() -> None:
    ends: list[str] = []

    async def pieces() -> AsyncIterator[str]:
        try:
            yield "hello"
            await asyncio.Event().wait()
        finally:
            ends.append("closed")

    w = serve(lambda request: http.Response(pieces()), close_timeout=30)
    w.feed(get()).advance(100)
    assert not ends
    w.eof().advance(29)
    assert not ends
    w.advance(1)
    assert ends == ["closed"]
    assert w.was_reset
    assert not w.connection.server._alive


def test_a_stream_that_goes_on_is_sent_to_a_client_that_has_ended() -> None:
    async def pieces() -> AsyncIterator[str]:
        for number in range(10):
            yield str(number)
            await asyncio.sleep(20)

    w = serve(lambda request: http.Response(pieces()), close_timeout=30)
    w.feed(get()).eof().advance(1000)
    assert told(w)[0].body == b"0123456789"


def test_start_without_finish_or_defer_is_an_error_of_a_plain_handler_too(caplog: pytest.LogCaptureFixture) -> None:
    def app(request: http.Request) -> None:
        request.start().write("half")

    w = serve(app)
    w.feed(get())
    assert w.was_reset
    assert "without finish() or defer()" in caplog.text
