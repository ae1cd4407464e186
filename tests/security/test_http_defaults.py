"""What an HTTP server defends against without being asked: clients that are slow, endless, or say two things at once;
and values that a program passes on unchecked. docs/explanation/threat-model.md names these tests."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from trews import http
from trews.testing import Wire, wire

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def ok(request: Any) -> str:
    return "ok"


async def reads(request: Any) -> bytes:
    content: bytes = await request.read()
    return content


def connected(app: Any = ok, **settings: Any) -> Wire[Any]:
    return wire(http.Server(app, **settings))


# -- slow, and endless


def test_slowloris_a_head_that_trickles_in_has_a_deadline() -> None:
    with connected() as w:
        w.feed(b"GET / HTTP/1.1\r\n")
        for _ in range(9):
            w.advance(1).feed(b"A: b\r\n")
        assert w.sent() == b""
        w.advance(1)
        assert w.sent().startswith(b"HTTP/1.1 408 ")
        assert w.closed


@pytest.mark.parametrize("app", [ok, reads])
@pytest.mark.parametrize("framing", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"])
def test_slowloris_a_body_that_trickles_in_has_a_deadline(app: Any, framing: bytes) -> None:
    with connected(app) as w:
        w.feed(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
        for _ in range(9):
            w.advance(1).feed(b"1\r\nx\r\n")
        assert w.sent() == b""
        w.advance(1)
        assert w.sent().startswith(b"HTTP/1.1 408 ")
        assert w.closed


def test_slow_read_a_client_that_takes_no_answer_has_a_deadline() -> None:
    with connected(lambda request: b"x" * 1_000_000) as w:
        w.clog().feed(GET)
        w.advance(59)
        assert not w.connection.is_closed
        w.advance(2)
        assert w.connection.is_closed


def test_a_client_that_asks_nothing_is_ended() -> None:
    for first in (b"", GET):
        with connected() as w:
            w.feed(first).advance(74)
            assert not w.closed
            w.advance(2)
            assert w.closed


@pytest.mark.parametrize(
    ("beginning", "endless", "status"),
    [
        (b"GET /", b"a" * 1000, 414),
        (b"G", b"E" * 1000, 414),
        (b"GET / HTTP/1.1\r\nA: ", b"b" * 1000, 431),
        (b"GET / HTTP/1.1\r\n", b"A: b\r\n" * 100, 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 1000, 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 100, 431),
    ],
)
def test_what_never_ends_is_refused(beginning: bytes, endless: bytes, status: int) -> None:
    with connected(reads) as w:
        w.feed(beginning)
        for _ in range(12_000):
            if w.closed:
                break
            w.feed(endless)
        assert w.sent().startswith(b"HTTP/1.1 %d " % status)


def test_a_length_of_a_body_is_refused_before_it_comes() -> None:
    with connected(reads) as w:
        w.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")
        assert w.sent().startswith(b"HTTP/1.1 413 ")


def test_requests_that_are_sent_ahead_do_not_queue_without_end() -> None:
    def never(request: Any) -> None:
        request.defer()

    with connected(never) as w:
        count = 0
        with pytest.raises(BufferError):
            while count < 10_000:
                w.feed(GET * 100)
                count += 100
        assert count * len(GET) < 400_000  # what is held, what a read brings, what the wire holds


# -- two meanings


def test_what_follows_a_refused_request_is_no_request() -> None:
    called = []

    def app(request: Any) -> str:
        called.append(request.path)
        return "ok"

    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    bodies = [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n",
    ]
    for body in bodies:
        with connected(app) as w:
            w.feed(body + smuggled).feed(smuggled)
            assert w.sent().count(b"HTTP/1.1 ") == 1
    assert called == []


# -- what a program passes on


EVIL = "x\r\nSet-Cookie: evil=1\r\n\r\n<script>"


@pytest.mark.parametrize(
    "app",
    [
        lambda request: (200, "", {"Location": request.query["next"]}),
        lambda request: (200, "", {request.query["next"]: "x"}),
        lambda request: http.Response("x", content_type=request.query["next"]),
        lambda request: http.Response("", headers=[("Set-Cookie", f"a={request.query['next']}")]),
        lambda request: http.Response("").set_cookie("a", request.query["next"]),
        lambda request: http.Response("").set_cookie("a", "b", path=request.query["next"]),
        lambda request: http.Response("").set_cookie("a", "b", domain=request.query["next"]),
        lambda request: request.start(200, reason=request.query["next"]).finish(),
        lambda request: request.start(200, {"A": request.query["next"]}).finish(),
        lambda request: request.inform(103, [("A", request.query["next"])]),
    ],
)
def test_response_splitting_no_value_breaks_out_of_its_field(app: Any) -> None:
    client = http.test_client(app, raise_errors=False)
    reply = client.get("/", query={"next": EVIL})
    assert (reply.status, "evil" in reply.text, "Set-Cookie" in reply.headers) == (500, False, False)


def test_an_error_tells_the_client_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def app(request: Any) -> None:
        raise ValueError("the password is hunter2")

    reply = http.test_client(app, raise_errors=False).get("/")
    assert (reply.status, reply.text) == (500, "500 Internal Server Error\n")
    assert "hunter2" not in str(reply.headers)
    assert "hunter2" in caplog.text


def test_an_answer_that_is_cut_off_does_not_look_complete() -> None:
    def app(request: Any) -> None:
        request.start()
        request.write("half")
        raise ValueError

    with connected(app) as w:
        with pytest.raises(ValueError):
            w.feed(GET)
        assert w.was_reset
        assert not w.sent().endswith(b"0\r\n\r\n")


def test_log_injection_a_line_of_the_access_log_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trews.http.access"):
        client = http.test_client(ok, access_log="combined")
        client.get("/%0a%1b[31m", headers={"User-Agent": 'x" 200 1\x9b\t"', "Referer": "\u00e9"})
    (line,) = [record.getMessage() for record in caplog.records if record.name == "trews.http.access"]
    assert line.isascii()
    assert line.isprintable()
    assert line.count(' "') == 3


def test_spoofing_nobody_may_say_for_whom_he_asks_by_default() -> None:
    def app(request: Any) -> Any:
        return [request.client[0], request.scheme, request.host]

    said = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil",
        "Forwarded": "for=6.6.6.6;host=evil",
    }
    assert http.test_client(app).get("/", headers=said).json() == ["127.0.0.1", "http", "localhost"]


def test_a_method_is_no_name_of_an_attribute() -> None:
    class Items(http.Resource):
        def get(self, request: Any) -> str:
            return "ok"

        def secret(self, request: Any) -> str:
            raise AssertionError

    for method in ("SECRET", "secret", "__CLASS__", "_NAMES"):
        assert http.test_client(Items()).request(method, "/").status == 405


def test_cookies_are_careful_by_default() -> None:
    assert http.set_cookie("a", "b") == "a=b; Path=/; Secure; HttpOnly; SameSite=Lax"
