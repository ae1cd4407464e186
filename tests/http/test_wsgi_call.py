"""start_response and the short way, by bytes: the same answer as the long way, or none of it."""

from __future__ import annotations

import sys

import pytest

from trews.http.errors import BadAnswer
from trews.http.head import Limits, scan_request
from trews.http.wsgi_call import Call, Direct


def call_of():
    written = []
    call = Call({}, lambda call, data: written.append(data))
    return call, written


def test_what_is_said():
    call, _ = call_of()
    assert call.status == 0
    call.start_response("404 Not Here", [("X-A", "b"), ("Content-Length", "5")])
    assert (call.status, call.words, call.length, call.left) == (404, "Not Here", 5, 5)
    assert call.fields == [("X-A", "b"), ("Content-Length", "5")]
    assert not call.is_begun


def test_in_one_piece():
    for _ in range(2):  # names and status are remembered
        call, _ = call_of()
        call.start_response("200 Fine", [("X-A", "b"), ("content-length", "3"), ("X-\xe9"[:2] + "C", "\xe9\td")])
        head, _, body = call.whole(b"abc").partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[:3] == [b"HTTP/1.1 200 Fine", b"X-A: b", b"X-C: \xe9\td"]
        assert lines[3].startswith(b"Date: ")
        assert lines[4:] == [b"Content-Length: 3"]
        assert body == b"abc"


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 100_000])
def test_the_length_of_any_body(size):
    call, _ = call_of()
    call.start_response("200 OK", [])
    assert b"\r\nContent-Length: %d\r\n\r\n" % size in call.whole(b"x" * size)


def test_a_date_of_its_own():
    call, _ = call_of()
    call.start_response("200 OK", [("DATE", "now")])
    assert call.whole(b"") == b"HTTP/1.1 200 OK\r\nDATE: now\r\nContent-Length: 0\r\n\r\n"


def test_again_with_exc_info():
    call, _ = call_of()
    call.start_response("200 OK", [("Content-Length", "5"), ("Date", "now")])
    try:
        raise ValueError("mine")
    except ValueError:
        call.start_response("500 No", [("X-A", "b")], sys.exc_info())
    assert (call.status, call.length, call.left) == (500, -1, -1)
    assert b"Date: now" not in call.whole(b"x")
    call.is_begun = True
    try:
        raise ValueError("mine")
    except ValueError:
        info = sys.exc_info()
    with pytest.raises(ValueError, match="mine"):
        call.start_response("500 No", [], info)


def test_again_without():
    call, _ = call_of()
    call.start_response("200 OK", [])
    with pytest.raises(RuntimeError, match="again"):
        call.start_response("200 OK", [])


def test_what_was_refused_said_nothing():
    call, _ = call_of()
    with pytest.raises(BadAnswer):
        call.start_response("200 OK", [("X-A", "b\n")])
    assert call.status == 0
    call.start_response("200 OK", [])


def test_write_counts():
    call, written = call_of()
    write = call.start_response("200 OK", [("Content-Length", "5")])
    write(b"ab")
    write(b"")
    assert call.left == 3
    with pytest.raises(BadAnswer, match="by 1"):
        write(b"cdef")
    write(b"cde")
    assert (written, call.left) == ([b"ab", b"cde"], 0)


def test_clip():
    call, _ = call_of()
    call.start_response("200 OK", [])
    assert call.clip(b"abc") == b"abc"
    call, _ = call_of()
    call.start_response("200 OK", [("Content-Length", "5")])
    assert [call.clip(b"abc"), call.clip(b"def"), call.clip(b"g")] == [b"abc", b"de", b""]


def test_statuses_and_names_that_are_remembered_are_bounded():
    for number in range(1000):
        call, _ = call_of()
        call.start_response(f"200 Number {number}", [(f"X-Name-{number}", "a")])
        assert call.whole(b"").startswith(b"HTTP/1.1 200 Number %d\r\nX-Name-%d: a\r\n" % (number, number))


class Gateway:
    """Notes what comes to it."""

    def __init__(self, app):
        self.app = app
        self.bases = 0
        self.outcomes = []

    def base(self, connection):
        self.bases += 1
        return {"of": connection, "REQUEST_METHOD": "GET", "QUERY_STRING": ""}

    def sink(self, call, data):
        call.is_begun = True

    def outcome(self, call, result):
        self.outcomes.append(result)
        return "otherwise"


def answered(app, line=b"GET / HTTP/1.1"):
    gateway = Gateway(app)
    direct = Direct(gateway, "it")
    head = scan_request(line + b"\r\nHost: a\r\n\r\n", 0, Limits())
    return direct.answer(head), gateway, direct


def test_the_short_way():
    seen = []

    def app(environ, start_response):
        seen.append(environ)
        start_response("200 OK", [("Date", "now")])
        return [b"abc"]

    answer, gateway, direct = answered(app)
    assert answer == b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 3\r\n\r\nabc"
    direct.answer(scan_request(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n", 0, Limits()))
    assert gateway.bases == 1
    assert [environ["PATH_INFO"] for environ in seen] == ["/", "/b"]
    assert gateway.outcomes == []


OTHERWISE = {
    "HEAD": ("200 OK", [], [b"abc"], b"HEAD / HTTP/1.1"),
    "no body": ("204 No Content", [], [b""], b"GET / HTTP/1.1"),
    "not modified": ("304 Not Modified", [], [b""], b"GET / HTTP/1.1"),
    "another length": ("200 OK", [("Content-Length", "5")], [b"abc"], b"GET / HTTP/1.1"),
    "two blocks": ("200 OK", [], [b"a", b"b"], b"GET / HTTP/1.1"),
    "no block": ("200 OK", [], [], b"GET / HTTP/1.1"),
    "a tuple": ("200 OK", [], (b"a",), b"GET / HTTP/1.1"),
    "text": ("200 OK", [], ["a"], b"GET / HTTP/1.1"),
    "nothing": ("200 OK", [], None, b"GET / HTTP/1.1"),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_is_not_usual_goes_to_the_gateway(name):
    status, headers, result, line = OTHERWISE[name]

    def app(environ, start_response):
        start_response(status, headers)
        return result

    answer, gateway, _ = answered(app, line)
    assert answer == "otherwise"
    assert gateway.outcomes == [result]


def test_so_does_what_was_not_started_and_what_was_written():
    assert answered(lambda environ, start_response: [b"a"])[0] == "otherwise"

    def app(environ, start_response):
        start_response("200 OK", [])(b"a")
        return [b"b"]

    assert answered(app)[0] == "otherwise"
