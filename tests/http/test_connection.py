"""Requests off one connection: order, pipelining, persistence."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import socket
import sys
import time
import tracemalloc
from typing import Any

import pytest

import trews
from tests.http.serving import chunked, count_sends, echo, get, path, post, serve, statuses, told, waits
from trews import http
from trews.http.answering import Answering
from trews.http.connection import HTTPConnection
from trews.http.pipeline import REQUESTS_A_TURN

KIB = 1024


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


@pytest.mark.parametrize("made", [lambda body: body, lambda body: http.Response(body), lambda body: (200, body)])
def test_a_large_body_is_in_memory_once_however_many_ask_for_it(made: Any) -> None:
    body = b"x" * 4_000_000
    asked = 0

    def app(request: http.Request) -> Any:
        nonlocal asked
        asked += 1
        return made(body)

    async def main() -> None:
        async with http.Server(app).listen("tcp:127.0.0.1:0") as server:
            with contextlib.ExitStack() as stack:
                tracemalloc.start()
                stack.callback(tracemalloc.stop)
                for _ in range(20):
                    client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port or 0)))
                    client.sendall(get())
                while asked < 20:
                    await asyncio.sleep(0)
                assert tracemalloc.get_traced_memory()[1] < 8_000_000

    trews.run(main())


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
        if status == 204:  # with one it is an error: tests/http/test_response.py
            return {"status": 204, "body": (204, ""), "stream": http.Response("", 204)}[how]
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
    from trews.http import pipeline

    made: list[float] = []

    def counted(now: float) -> time.struct_time:
        made.append(now)
        return time.gmtime(now)

    if not pipeline.__file__.endswith(".py"):
        pytest.skip("patches what is compiled here")
    monkeypatch.setattr(pipeline, "gmtime", counted)
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


@pytest.mark.parametrize("day", range(0, 40_000, 1997))
def test_the_date_is_that_of_the_standard_library(day: int) -> None:
    from trews.http.pipeline import made_date_line

    now = day * 86_400 + day * 7919 % 86_400
    assert made_date_line(now) == f"Date: {email.utils.formatdate(now, usegmt=True)}\r\n".encode()


def test_a_handler_may_have_a_date_of_its_own() -> None:
    w = serve(lambda request: (200, "", {"Date": "Sun, 06 Nov 1994 08:49:37 GMT"}))
    w.feed(get())
    assert told(w)[0].fields["date"] == "Sun, 06 Nov 1994 08:49:37 GMT"


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
        "_plain_write",
        "_prepare",
        "_regulate",
        "eof_received",
        "half_close",
        "on_connect",
        "on_stop",
        "pause_writing",
        "resume_writing",
        "send",
        "write",
        "write_file",
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


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda connection: connection.write(b"raw"), r"write\(\) on an HTTP connection"),
        (lambda connection: connection.send(b"raw"), r"send\(\) on an HTTP connection"),
        (lambda connection: connection.write_file(__file__), r"write_file\(\) on an HTTP connection"),
    ],
)
def test_a_handler_cannot_write_past_its_answer(call: Any, says: str) -> None:
    def app(request: http.Request) -> str:
        with pytest.raises(RuntimeError, match=says + " would corrupt the answers: return what is to be sent"):
            call(request.connection)
        return "mine"

    w = serve(app)
    w.feed(get())
    assert [a.body for a in told(w)] == [b"mine"]
