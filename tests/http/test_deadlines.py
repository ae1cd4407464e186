"""Deadlines and limits of a request, each with its status, on the virtual clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.http.serving import chunked, get, post, serve, statuses, told
from trews import http
from trews.errors import ClosedLocally, IdleTooLong, WriteStalled
from trews.testing import VirtualLoop

KIB = 1024
HEAD = get("/", "POST", Content_Length="100000")


def path(request: http.Request) -> str:
    return request.path


def size(request: http.Request) -> str:
    return str(len(request.content))


async def read(request: http.Request) -> str:
    return str(len(await request.read()))


async def unread(request: http.Request) -> str:
    return "early"


BOTH = pytest.mark.parametrize("app", [size, read])


# -- sizes

TOO_LARGE: list[tuple[str, bytes, int]] = [
    ("head", get("/", **{f"X-{n}": "x" * KIB for n in range(33)}), 431),
    ("fields", get("/", **{f"X-{n}": "x" for n in range(100)}), 431),
    ("target", get("/" + "x" * 8 * KIB), 414),
    ("Content-Length", get("/", "POST", Content_Length=str(10 * KIB * KIB + 1)), 413),
    ("trailers", chunked(b"abc", trailers=b"X: " + b"x" * 8 * KIB + b"\r\n"), 431),
    ("many trailers", chunked(b"abc", trailers=b"X: x\r\n" * 101), 431),
]
JUST_NOT: list[tuple[str, bytes]] = [
    ("head", get("/", **{f"X-{n}": "x" * 1000 for n in range(32)})),
    ("fields", get("/", **{f"X-{n}": "x" for n in range(99)})),
    ("target", get("/" + "x" * (8 * KIB - 1))),
    ("trailers", chunked(b"abc", trailers=b"X: " + b"x" * (8 * KIB - 7) + b"\r\n")),
    ("many trailers", chunked(b"abc", trailers=b"X: x\r\n" * 100)),
]


@BOTH
@pytest.mark.parametrize(("data", "status"), [c[1:] for c in TOO_LARGE], ids=[c[0] for c in TOO_LARGE])
@pytest.mark.parametrize("chunk", [None, 4096])
def test_what_is_too_large_is_refused(app: Any, data: bytes, status: int, chunk: int | None) -> None:
    w = serve(app)
    w.feed(get("/", "HEAD"))
    assert statuses(w, "HEAD") == [200]
    w.feed(data, chunk=chunk)
    (answer,) = told(w)
    assert (answer.status, answer.fields["connection"]) == (status, "close")
    assert w.closed
    assert not w.was_reset
    assert isinstance(w.reason, ClosedLocally)


@BOTH
@pytest.mark.parametrize("data", [c[1] for c in JUST_NOT], ids=[c[0] for c in JUST_NOT])
@pytest.mark.parametrize("chunk", [None, 4096])
def test_what_is_just_not_too_large_is_served(app: Any, data: bytes, chunk: int | None) -> None:
    w = serve(app)
    w.feed(data, chunk=chunk)
    assert statuses(w) == [200]
    assert not w.closed


@BOTH
def test_a_body_that_says_that_it_is_too_large_is_not_waited_for(app: Any) -> None:
    w = serve(app, max_body=1000)
    w.feed(get("/", "POST", Content_Length="1000"))
    assert w.sent() == b""
    w = serve(app, max_body=1000)
    w.feed(get("/", "POST", Content_Length="1001"))
    assert statuses(w) == [413]


@BOTH
def test_a_chunked_body_is_refused_when_it_becomes_too_large(app: Any) -> None:
    w = serve(app, max_body=1000)
    w.feed(chunked(b"x" * 500, b"y" * 500))
    assert statuses(w) == [200]
    w.feed(get("/", "POST", Transfer_Encoding="chunked") + b"1f4\r\n" + bytes(500) + b"\r\n1f4\r\n" + bytes(500))
    assert w.sent() == b""
    w.feed(b"\r\n1\r\n")
    w.feed(b"x")
    assert statuses(w) == [413]
    assert w.closed


@BOTH
def test_no_limit_of_a_body(app: Any) -> None:
    w = serve(app, max_body=None, read_high=KIB * KIB)
    w.feed(post(bytes(11 * KIB * KIB)))
    assert [answer.body for answer in told(w)] == [b"11534336"]


def test_a_limit_reached_in_the_middle_of_an_answer_aborts() -> None:
    async def app(request: http.Request) -> None:
        request.start().write("begun")
        async for piece in request:
            request.write(piece)
        request.finish()

    w = serve(app, max_body=10)
    w.feed(get("/", "POST", Transfer_Encoding="chunked"))
    w.feed(b"b\r\n" + bytes(11) + b"\r\n")
    assert w.was_reset
    assert w.error is None  # it is the client's fault, and no error of the handler


def test_a_handler_may_see_that_the_body_is_too_large() -> None:
    async def app(request: http.Request) -> Any:
        try:
            await request.read()
        except http.BadMessage as exc:
            return 200, f"own words for {exc.status}"

    w = serve(app, max_body=10)
    w.feed(chunked(bytes(11)))
    # Nothing was called for a body that is wrong at once: the refusal needs no handler.
    assert statuses(w) == [413]
    w = serve(app, max_body=10)
    w.feed(get("/", "POST", Transfer_Encoding="chunked"))
    w.feed(b"b\r\n" + bytes(11))
    (answer,) = told(w)
    assert (answer.body, answer.fields["connection"]) == (b"own words for 413", "close")
    assert w.closed


# -- heads


@pytest.mark.parametrize("before", [b"", get()])
def test_a_head_has_10_s_from_its_first_byte(before: bytes) -> None:
    w = serve(path)
    w.advance(20)
    w.feed(before + b"GET / HT")
    w.advance(5)
    w.feed(b"TP/1.1\r\n")
    w.advance(4.9)
    assert not w.closed
    w.advance(0.2)
    assert statuses(w) == [200] * bool(before) + [408]
    assert w.closed


def test_a_head_that_came_in_time_leaves_nothing_behind() -> None:
    w = serve(path)
    for _ in range(3):
        w.feed(get()[:10])
        w.advance(9)
        w.feed(get()[10:])
        assert statuses(w) == [200]
        w.advance(20)
    assert not w.closed


def test_the_time_of_a_head_begins_when_it_may_be_read() -> None:
    """Bytes that wait behind a slow answer are not the client's fault."""

    async def app(request: http.Request) -> str:
        await asyncio.sleep(60)
        return "slow"

    w = serve(app)
    w.feed(get() + get()[:10])
    w.advance(60)
    w.advance(9)
    w.feed(get()[10:])
    w.advance(60)
    assert statuses(w) == [200, 200]


def test_no_limit_of_a_head() -> None:
    w = serve(path, head_timeout=None, keep_alive_timeout=None)
    w.feed(get()[:10]).advance(3600)
    w.feed(get()[10:])
    assert statuses(w) == [200]


# -- bodies


@BOTH
def test_a_body_that_stops_has_10_s(app: Any) -> None:
    w = serve(app)
    w.feed(HEAD + bytes(100)).advance(9.9)
    assert not w.closed
    w.advance(0.2)
    assert statuses(w) == [408]
    assert w.closed


@BOTH
def test_a_body_comes_with_500_bytes_a_second_after_10_s(app: Any) -> None:
    w = serve(app)
    w.feed(HEAD)
    for _ in range(30):
        w.feed(bytes(600)).advance(1)
    assert not w.closed
    w = serve(app)
    w.feed(HEAD)
    for second in range(30):
        w.feed(bytes(400))
        w.advance(1)
        assert w.closed is (second >= 9), second
        if w.closed:
            break
    assert statuses(w) == [408]


@BOTH
def test_bytes_that_have_come_count_for_later(app: Any) -> None:
    w = serve(app, keep_alive_timeout=None)
    w.feed(HEAD + bytes(50_000)).advance(99)
    assert not w.closed
    w.advance(2)
    assert statuses(w) == [408]


@BOTH
def test_no_limits_of_a_body(app: Any) -> None:
    for settings in ({"body_timeout": None}, {"min_body_rate": 0, "body_timeout": 1e6}):
        w = serve(app, **settings)
        w.feed(HEAD).advance(3600)
        w.feed(bytes(100_000))
        assert statuses(w) == [200]


def test_the_clock_of_a_body_stands_still_while_the_handler_holds_it_back() -> None:
    async def app(request: http.Request) -> str:
        await asyncio.sleep(600)
        return str(len(await request.read()))

    w = serve(app, read_high=8 * KIB, capacity=8 * KIB)
    w.feed(HEAD + bytes(10_000))
    w.advance(601)
    assert not w.closed
    w.advance(15)  # of 10,000 bytes it had 20 s
    assert not w.closed
    w.feed(bytes(90_000))
    assert [answer.body for answer in told(w)] == [b"100000"]


def test_the_clock_of_a_body_goes_on_after_that() -> None:
    async def app(request: http.Request) -> str:
        await asyncio.sleep(600)
        return str(len(await request.read()))

    w = serve(app, read_high=8 * KIB, capacity=8 * KIB)
    w.feed(HEAD + bytes(10_000))
    w.advance(600 + 21)
    assert statuses(w) == [408]


def test_a_slow_body_does_not_hurt_a_handler_that_does_not_read_it() -> None:
    async def app(request: http.Request) -> str:
        await asyncio.sleep(100)
        return "done"

    w = serve(app)
    w.feed(HEAD + bytes(10)).advance(100)
    (answer,) = told(w)
    assert (answer.body, answer.fields["connection"]) == (b"done", "close")


def test_the_clock_of_a_body_begins_with_100_continue() -> None:
    async def app(request: http.Request) -> str:
        await asyncio.sleep(60)
        return str(len(await request.read()))

    w = serve(app)
    w.feed(get("/", "POST", Content_Length="10", Expect="100-continue")).advance(69)
    assert w.sent() == b"HTTP/1.1 100 Continue\r\n\r\n"
    w.feed(bytes(10))
    assert statuses(w) == [200]
    w.feed(get("/", "POST", Content_Length="10", Expect="100-continue")).advance(60)
    w.sent()
    w.advance(10.1)
    assert statuses(w) == [408]


def test_the_rest_of_a_body_that_nobody_wanted_has_a_deadline() -> None:
    w = serve(unread)
    w.feed(get("/", "POST", Content_Length="1000") + bytes(10))
    assert statuses(w) == [200]
    w.advance(9.9)
    assert not w.closed
    w.advance(0.2)
    assert w.closed
    assert w.sent() == b""


# -- nobody asks


@pytest.mark.parametrize("before", [b"", get(), post(b"abc"), chunked(b"abc")])
def test_keep_alive_lasts_75_s(before: bytes) -> None:
    w = serve(path)
    w.feed(before).advance(74.9)
    assert not w.closed
    w.advance(0.2)
    assert w.closed
    assert isinstance(w.reason, IdleTooLong)
    assert statuses(w) == [200] * bool(before)


def test_keep_alive_begins_with_the_end_of_the_answer() -> None:
    async def app(request: http.Request) -> str:
        await asyncio.sleep(600)
        return "slow"

    w = serve(app)
    w.feed(get()).advance(600)
    assert statuses(w) == [200]
    w.advance(74.9)
    assert not w.closed
    w.advance(0.2)
    assert w.closed


def test_keep_alive_without_end() -> None:
    w = serve(path, keep_alive_timeout=None)
    w.feed(get()).advance(36_000)
    assert not w.closed


def test_idle_timeout_is_for_all_that_do_nothing() -> None:
    async def app(request: http.Request) -> str:
        await asyncio.sleep(600)
        return "slow"

    w = serve(app, idle_timeout=30)
    w.feed(get()).advance(31)
    assert isinstance(w.reason, IdleTooLong)


# -- who reads slowly


@pytest.mark.parametrize("kind", ["whole", "stream"])
def test_a_reader_that_takes_nothing_has_60_s(kind: str) -> None:
    def app(request: http.Request) -> Any:
        return bytes(KIB * KIB) if kind == "whole" else iter([bytes(KIB)] * KIB)

    w = serve(app, capacity=16 * KIB)
    w.clog()
    w.feed(get()).advance(59.9)
    assert not w.connection.is_closed
    w.advance(0.2)
    assert isinstance(w.reason, WriteStalled)


# -- fifty of each, and others


@pytest.mark.parametrize(
    ("kind", "data", "until"),
    [
        ("slow head", [get()[:n] for n in (1, 10, 20)], 10),
        ("slow body", [HEAD, HEAD + bytes(1000), chunked(b"abc")[:-5]], 10),
        ("slow reader", [get("/large")], 60),
        ("idle", [b"", get(), post(b"abc")], 75),
    ],
)
def test_fifty_that_dawdle_are_ended_while_others_are_served(kind: str, data: list[bytes], until: float) -> None:
    def app(request: http.Request) -> Any:
        return bytes(KIB * KIB) if request.path == "/large" else "quick"

    loop = VirtualLoop()

    async def main() -> None:
        server = http.Server(app, max_head=KIB).listen("memory:dawdle")
        async with server:
            from trews import connect

            slow = [await connect("memory:dawdle") for _ in range(50)]
            for n, connection in enumerate(slow):
                connection.pause_reading()
                connection.write(data[n % len(data)])
            quick = await connect("memory:dawdle")
            for _ in range(int(until * 1.02)):
                quick.write(get())
                assert (await quick.read(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                assert await quick.read(5) == b"quick"
                await asyncio.sleep(1)
            assert len(server.connections) == 1
            quick.close()
            for connection in slow:
                connection.abort()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_empty_lines_do_not_keep_a_connection() -> None:
    w = serve(path, keep_alive_timeout=75)
    w.feed(get())
    for _ in range(2):
        w.advance(30).feed(b"\r\n")
    assert not w.closed
    w.advance(15)
    assert w.closed
