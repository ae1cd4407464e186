"""HTTP servers, as they were struck elsewhere: each test is named after what went wrong and shows that it cannot here.

Sections A (what is about a server's state), B (what is sent and logged) and C (exhaustion) of the list of failures, as
far as they concern a server. Those about heads and bodies as bytes are in the tests of the codec.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import tracemalloc
from typing import Any

import pytest

from tests.http.serving import answers, chunked, get, post, serve, statuses, told
from trews import http
from trews.errors import WriteStalled

KIB = 1024


class Served:
    """A handler that notes what it was asked."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def __call__(self, request: http.Request) -> bytes:
        self.paths.append(f"{request.method} {request.raw_path}")
        return request.content


class ServedAtHead(Served):
    starts_at_head = True

    async def __call__(self, request: http.Request) -> bytes:  # type: ignore[override]
        self.paths.append(f"{request.method} {request.raw_path}")
        return await request.read()


BOTH = pytest.mark.parametrize("kind", [Served, ServedAtHead])

# -- A: one request more, or in another order

SMUGGLED = get("/smuggled")


@BOTH
@pytest.mark.parametrize(
    "wrong",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxzz0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;\n\r\nx\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("chunk", [None, 1])
def test_cve_2024_49768_nothing_is_served_after_an_error(kind: type[Served], wrong: bytes, chunk: int | None) -> None:
    """waitress: a request pipelined behind one that was refused was processed."""
    app = kind()
    w = serve(app)
    w.feed(get("/first") + wrong + SMUGGLED, chunk=chunk)
    w.feed(SMUGGLED).advance(1)
    assert "GET /smuggled" not in app.paths
    assert statuses(w)[0] == 200
    assert w.closed


@BOTH
def test_cve_2026_69243_a_body_behind_upgrade_is_a_body(kind: type[Served]) -> None:
    """aiohttp: the protocol was switched before the body of the request was consumed."""
    app = kind()
    w = serve(app)
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "x" * 22 + "=="}
    w.feed(get("/a", Content_Length=str(len(SMUGGLED)), **fields) + SMUGGLED + get("/b"))
    assert [answer.body for answer in told(w)] == [SMUGGLED, b""]
    assert app.paths == ["GET /a", "GET /b"]


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("chunk", [None, 1])
def test_gunicorn_keep_alive_with_an_unread_body(is_chunked: bool, chunk: int | None) -> None:
    """gunicorn: what a handler left of a body was taken for the next request."""
    served: list[str] = []

    async def app(request: http.Request) -> str:
        served.append(request.path)
        return "early"

    w = serve(app)
    w.feed((chunked(SMUGGLED, path="/a") if is_chunked else post(SMUGGLED, "/a")) + get("/b"), chunk=chunk)
    assert served == ["/a", "/b"]
    assert statuses(w) == [200, 200]


def test_gunicorn_keep_alive_with_half_a_body_read() -> None:
    served: list[str] = []

    async def app(request: http.Request) -> str:
        served.append(request.path)
        async for _ in request:
            break
        return "enough"

    w = serve(app)
    whole = post(SMUGGLED * 3, "/a") + get("/b")
    w.feed(whole[:70])
    w.feed(whole[70:])
    assert served == ["/a", "/b"]


def test_cve_2023_46137_cve_2024_41671_pipelined_answers_keep_their_order() -> None:
    """Twisted: the answer to a later request could overtake that to an earlier one."""

    async def app(request: http.Request) -> str:
        await asyncio.sleep(1 / int(request.path[1:]))  # the later, the quicker
        return request.path

    w = serve(app)
    w.feed(b"".join(get(f"/{n}") for n in range(1, 10)))
    w.advance(10)
    assert [answer.body for answer in told(w)] == [b"/%d" % n for n in range(1, 10)]


def test_cve_2024_49769_a_client_that_half_closes_costs_nothing_while_it_waits() -> None:
    """waitress: a half-closed socket was polled in a busy loop."""

    async def app(request: http.Request) -> str:
        await asyncio.sleep(1000)
        return "late"

    w = serve(app)
    w.feed(get()).eof()
    turns = 0
    step = w.loop._run_once

    def counted() -> None:
        nonlocal turns
        turns += 1
        step()

    w.loop._run_once = counted
    w.advance(999)
    assert turns < 200
    w.advance(1)
    assert [answer.body for answer in told(w)] == [b"late"]
    assert w.closed


def test_cve_2022_31015_a_client_that_leaves_at_any_moment_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """waitress: a socket closed by one thread crashed the loop."""

    async def app(request: http.Request) -> Any:
        await asyncio.sleep(0)
        body = await request.read()
        await asyncio.sleep(0)
        return iter([body] * 10)

    data = post(b"abc") + chunked(b"abc", b"def") + get()
    for at in range(len(data)):
        for end in ("eof", "reset"):
            w = serve(app)
            w.feed(data[:at])
            getattr(w, end)()
            w.advance(60)
            w.end()
    assert "Traceback" not in caplog.text


# -- B: what is sent and logged

INJECTED = ["a\r\nSet-Cookie: b=c", "a\nb", "a\rb", "a\x00b", "a\x1bb", "a\x7fb"]


@pytest.mark.parametrize("text", INJECTED)
@pytest.mark.parametrize("where", ["value", "name", "reason", "type", "trailer", "cookie", "error", "interim", "late"])
def test_cve_2020_7695_cve_2018_1000164_cve_2025_67724_no_field_splits_an_answer(text: str, where: str) -> None:
    """uvicorn, gunicorn, Tornado: CR LF in a field, or in the reason, made another field or another answer."""

    def app(request: http.Request) -> Any:
        if where == "value":
            return 200, "x", {"Location": text}
        if where == "name":
            return 200, "x", {text: "x"}
        if where == "reason":
            request.start(200, (), text)
            request.finish("x")
        if where == "type":
            return http.Response("x", content_type=text)
        if where == "trailer":
            return http.Response("x", trailers=lambda: [("X", text)])
        if where == "cookie":
            response = http.Response("x")
            response.set_cookie("a", "b", path=text)
            return response
        if where == "error":
            raise http.Error(404, "x", {"X": text})
        if where == "interim":
            request.inform(103, [("Link", text)])
            return "x"
        request.respond((200, "x", {"X": text}))
        return None

    errors: list[BaseException] = []
    w = serve(app, type("Noting", (http.Server,), {"on_error": lambda self, connection, exc: errors.append(exc)}))
    w.feed(get())
    data = w.sent()
    assert b"Set-Cookie" not in data
    assert text.encode("latin-1") not in data
    assert [(answer.status, answer.body) for answer in answers(data)] == [(500, b"500 Internal Server Error\n")]
    assert len(errors) == 1
    assert not w.closed
    w.end()


def test_cve_2020_7694_no_log_line_has_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    """uvicorn: what a client asked went to the terminal, escape sequences and all."""

    def app(request: http.Request) -> Any:
        raise ValueError

    with caplog.at_level(logging.DEBUG):
        for target in ("/%1b%5b31m", "/%0d%0aINFO", "/%00"):
            w = serve(app)
            w.feed(get(target))
            assert statuses(w) == [500]
        for wrong in (
            b"GET /\x1b[31m HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n",
            b"\x1b[31m\r\n\r\n",
        ):
            w = serve(app)
            w.feed(wrong)
            assert statuses(w) == [400]
    assert "\x1b" not in caplog.text
    assert all("\r" not in record.getMessage() and "\x00" not in record.getMessage() for record in caplog.records)


def test_an_error_page_repeats_nothing_that_was_sent() -> None:
    """CVE-2025-67724 and its like: what a client sent came back as a page."""
    for wrong in (b"GET /<script> HTTP/9.9\r\n\r\n", b"<script> / HTTP/1.1\r\n\r\n", get("/<script>", Host="<script>")):
        w = serve(Served())
        w.feed(wrong)
        data = w.sent()
        assert b"<script>" not in data
        assert b"Content-Type: text/plain" in data


def test_cve_2026_42545_an_invalid_field_of_the_application_hurts_its_own_request_only() -> None:
    """granian: such a field aborted the process."""

    def app(request: http.Request) -> Any:
        return (200, "x", {"X": "a\r\nb"}) if request.path == "/bad" else "good"

    w = serve(app)
    w.feed(get("/bad") + get("/good") + get("/bad"))
    assert statuses(w) == [500, 200, 500]


# -- C: exhaustion


@pytest.mark.parametrize("app", [Served, ServedAtHead])
def test_cve_2007_6750_slowloris_has_a_deadline_wherever_it_dawdles(app: type[Served]) -> None:
    data = chunked(b"abc", b"def", trailers=b"X: y\r\n")
    for at in range(1, len(data) - 1):
        w = serve(app())
        w.feed(data[:at])
        for byte in data[at:-1]:
            w.advance(2)
            if w.closed:
                break
            w.feed(bytes([byte]))
        w.advance(11)
        assert w.closed, data[:at]
        assert statuses(w) == [408]


def test_slow_read_has_a_deadline() -> None:
    w = serve(lambda request: bytes(KIB * KIB), capacity=4 * KIB)
    w.clog()
    w.feed(get()).advance(61)
    assert isinstance(w.reason, WriteStalled)


def test_cve_2026_54273_a_queue_of_pipelined_requests_is_bounded() -> None:
    """aiohttp: requests were queued without limit while one was in progress."""

    async def app(request: http.Request) -> str:
        await asyncio.sleep(10_000)
        return ""

    w = serve(app, capacity=16 * KIB)
    w.feed(get())
    with pytest.raises(BufferError):
        w.feed(get() * 100_000)
    assert len(w.connection._rest) <= w.connection.read_high + 256 * KIB


def test_cve_2024_12254_an_answer_in_pieces_waits_for_a_slow_client() -> None:
    made = 0

    def endless() -> Any:
        nonlocal made
        while True:
            made += 1
            yield bytes(KIB)

    w = serve(lambda request: endless(), capacity=4 * KIB)
    w.clog()
    w.feed(get())
    assert made < 200
    w.reset()


def test_cve_2026_22815_trailers_are_bounded() -> None:
    for app in (Served(), ServedAtHead()):
        w = serve(app)
        w.feed(chunked(b"abc")[:-2])
        for n in range(200):
            if not w.closed:
                w.feed(b"X-%d: %b\r\n" % (n, b"x" * 100))
        assert statuses(w) == [431]


def test_cve_2025_69229_small_pieces_of_a_body_take_no_more_memory_than_large_ones() -> None:
    """aiohttp: many small chunks. Here a byte by itself would take 42: as many as come are kept in one piece."""
    for kind in (Served, ServedAtHead):
        w = serve(kind(), read_high=KIB * KIB)
        w.feed(get("/", "POST", Content_Length="100000"))
        tracemalloc.start()
        try:
            for _ in range(20_000):
                w.connection._receive(b"x")
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert size < 100_000


def test_cve_2026_54280_what_gives_pieces_is_closed_when_the_client_leaves() -> None:
    """aiohttp: files of answers were not closed on a disconnect. All kinds of them are in the tests of connections."""
    closed = []

    class File:
        def __iter__(self) -> Any:
            return iter([bytes(KIB)] * 1000)

        def close(self) -> None:
            closed.append(True)

    w = serve(lambda request: File(), capacity=4 * KIB)
    w.clog()
    w.feed(get())
    w.reset().advance(60)
    assert closed == [True]


def test_aiohttp_3_14_1_the_limit_of_a_line_holds_across_reads() -> None:
    for start in (b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nX: "):
        w = serve(Served())
        w.feed(start)
        sent = 0
        while not w.closed and sent < 100 * KIB:
            w.feed(b"x" * 100)
            sent += 100
        assert sent <= 34 * KIB
        assert statuses(w)[0] in (414, 431)


def test_cve_2025_13836_a_length_allocates_nothing() -> None:
    """http.client: Content-Length was allocated before a byte of the body had come."""
    for kind in (Served, ServedAtHead):
        w = serve(kind(), max_body=None)
        tracemalloc.start()
        try:
            w.feed(get("/", "POST", Content_Length=str(10**15)) + b"x")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < KIB * KIB


def test_cve_2022_21716_empty_lines_without_end_are_no_way_to_stay() -> None:
    w = serve(Served())
    for _ in range(40):
        w.feed(b"\r\n" * KIB)
        if w.closed:
            break
    assert w.closed
    w = serve(Served())
    w.feed(b"\r\n\r\n").advance(11)
    assert w.closed


def test_memory_after_many_requests_and_connections() -> None:
    """What is served leaves nothing behind, and needs no collector to go."""

    async def app(request: http.Request) -> Any:
        return await request.read() if request.method == "POST" else iter(["a", "b"])

    def round_() -> None:
        w = serve(app)
        w.feed(get() + post(b"abc") + chunked(b"abc")).advance(1)
        assert statuses(w) == [200] * 3
        w.eof().advance(100)
        assert w.connection._is_ended
        assert not w.connection.server._alive
        assert not w.connection.server._beside

    for _ in range(20):
        round_()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(20):
            round_()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(100):
            round_()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20 * KIB


# -- what the application has left running


@pytest.mark.parametrize("fails", [False, True])
def test_what_an_asgi_application_left_running_does_not_answer_once_more(fails: bool) -> None:
    late: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def answer(delay: float, what: bytes) -> None:
            await asyncio.sleep(delay)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": what})

        if scope["path"] != "/left":
            await answer(3, b"second")
            return
        late.append(asyncio.ensure_future(answer(2, b"of the first")))
        late.append(asyncio.ensure_future(receive()))
        late.append(asyncio.ensure_future(receive()))
        if fails:
            raise RuntimeError("it has failed")

    w = serve(http.asgi(app))
    w.feed(get("/left") + get("/next")).advance(1)
    assert statuses(w) == [500]
    w.advance(1.5)
    assert w.sent() == b""
    w.advance(2)
    assert [answer.body for answer in told(w)] == [b"second"]
    assert all(task.done() and task.exception() is None for task in late)
    assert late[2].result() == {"type": "http.disconnect"}


@pytest.mark.parametrize("path", ["/list", "/parts", "/boom"])
def test_the_write_of_a_wsgi_request_writes_nothing_into_the_next_answer(path: str) -> None:
    kept: list[Any] = []
    refused: list[BaseException] = []

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        kept.append(start_response("200 OK", []))
        if len(kept) > 1:
            try:
                kept[0](b"late")
            except Exception as exc:
                refused.append(exc)
        if environ["PATH_INFO"] == "/boom":
            raise ValueError
        return [b"a", b"b"] if environ["PATH_INFO"] == "/parts" else [b"ab"]

    w = serve(http.wsgi(app, threads=0))
    w.feed(get(path) + get("/next"))
    w.feed(get("/next"))
    assert [answer.status for answer in told(w)] == [500 if path == "/boom" else 200, 200, 200]
    assert [type(exc) for exc in refused] == [RuntimeError, RuntimeError]


@pytest.mark.parametrize("framing", [{"Content_Length": "100000"}, {"Transfer_Encoding": "chunked"}])
def test_slowloris_who_does_not_wait_for_100_continue_has_a_deadline(framing: dict[str, str]) -> None:
    async def app(request: http.Request) -> bytes:
        await asyncio.sleep(1)
        return await request.read()

    w = serve(app)
    w.feed(get("/", "POST", Expect="100-continue", **framing)).advance(0.5)
    w.feed(b"1\r\nx\r\n" if "Transfer_Encoding" in framing else b"x")
    w.advance(12)
    assert statuses(w) == [408]


def test_empty_lines_one_by_one_do_not_cost_more_and_more() -> None:
    """What is done for each is counted in calls, as seconds are noise."""
    calls = 0
    spent: list[int] = []

    def note(frame: Any, event: str, arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    w = serve(Served())
    w.feed(b"\r\n\r\n")
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for _ in range(500):
            calls = 0
            w.feed(b"\r\n")
            spent.append(calls)
    finally:
        sys.setprofile(before)
    assert spent[-1] < spent[10] + 50
    w.feed(get("/here"))
    assert statuses(w) == [200]


def test_cve_2025_69229_a_body_that_is_read_in_small_pieces_takes_no_more_memory() -> None:
    async def app(request: http.Request) -> str:
        return str(len(await request.read()))

    size = 40 * KIB
    w = serve(app)
    w.feed(get("/", "POST", Content_Length=str(size)))
    tracemalloc.start()
    try:
        for _ in range(size // 2 - 1):
            w.feed(b"xy")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    w.feed(b"xy")
    assert [answer.body for answer in told(w)] == [b"40960"]
    assert held < 3 * size  # it was 21 times


@BOTH
def test_slow_post_a_body_that_began_fast_may_not_pause_for_hours(kind: type[Served]) -> None:
    w = serve(kind())
    w.feed(get("/", "POST", Content_Length="500000") + bytes(400_000))
    w.advance(70)
    w.feed(bytes(1000)).advance(70)
    assert not w.closed
    w.advance(10)
    assert statuses(w) == [408]


def test_cve_2020_7694_what_a_wsgi_application_logs_moves_no_cursor(caplog: pytest.LogCaptureFixture) -> None:
    """Flask writes the path of a request that failed to wsgi.errors, decoded."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.errors"].write(f"failed on {environ['PATH_INFO']}\r\n\tin line 1\n")
        start_response("200 OK", [])
        return [b""]

    serve(http.wsgi(app, threads=0)).feed(get("/%1b[2J%0d%c2%9b%00"))
    assert [record.getMessage() for record in caplog.records] == [
        "wsgi.errors: failed on /\\x1b[2J\\x0d\xc2\\x9b\\x00",
        "wsgi.errors: \tin line 1",
    ]
