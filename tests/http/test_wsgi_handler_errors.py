"""http.wsgi with applications that fail, and that break the rules of PEP 3333, inline and in threads."""

from __future__ import annotations

import pytest

from tests.http.gateways import MODES, Body, ask, fails, get, hello, parts, returns
from tests.http.serving import get as raw
from tests.http.serving import serve, told
from trews import http

TEXT = [("Content-Type", "text/plain")]


@pytest.fixture(params=list(MODES.values()), ids=list(MODES))
def threads(request):
    return request.param


def raising(environ, start_response):
    raise ValueError("mine")


def raising_later(environ, start_response):
    start_response("200 OK", [])
    raise ValueError("mine")


def raising_at_once(environ, start_response):
    start_response("200 OK", [])
    return Body([], ValueError("mine"))


def raising_stop(environ, start_response):
    raise StopIteration


def not_started(environ, start_response):
    return [b"x"]


def not_started_stream(environ, start_response):
    yield b"x"


def nothing(environ, start_response):
    start_response("200 OK", [])


def text(environ, start_response):
    start_response("200 OK", [])
    return ["x"]


def not_iterable(environ, start_response):
    start_response("200 OK", [])
    return b"x"


def twice(environ, start_response):
    start_response("200 OK", [])
    start_response("200 OK", [])
    return [b"x"]


BAD = [
    raising,
    raising_later,
    raising_at_once,
    raising_stop,
    not_started,
    not_started_stream,
    nothing,
    text,
    not_iterable,
    twice,
]


@pytest.mark.parametrize("app", BAD)
def test_an_application_that_fails_is_a_500_which_tells_nothing(app, threads):
    answer, errors = fails(app, threads)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"mine" not in answer
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200", []),
        ("OK", []),
        ("20 OK", []),
        ("100 Continue", []),
        ("200 OK\r\nX: y", []),
        ("200 \u20ac", []),
        (b"200 OK", []),
        (200, []),
        ("200 OK", ()),
        ("200 OK", None),
        ("200 OK", [("A", "b", "c")]),
        ("200 OK", [["A", "b"]]),
        ("200 OK", [("A", 5)]),
        ("200 OK", [(b"A", b"b")]),
        ("200 OK", [("A b", "c")]),
        ("200 OK", [("", "c")]),
        ("200 OK", [("A", "b\r\nC: d")]),
        ("200 OK", [("A", "b\nc")]),
        ("200 OK", [("A", "\x00")]),
        ("200 OK", [("A", "\u20ac")]),
        ("200 OK", [("Content-Length", "-1")]),
        ("200 OK", [("Content-Length", "\xb2")]),
        ("200 OK", [("Content-Length", "1"), ("content-length", "2")]),
        ("200 OK", [("Connection", "close")]),
        ("200 OK", [("Transfer-Encoding", "chunked")]),
        ("200 OK", [("keep-alive", "1")]),
        ("200 OK", [("Upgrade", "h2c")]),
    ],
)
def test_what_cannot_be_sent_is_refused_in_start_response(status, headers, threads):
    seen = []

    def app(environ, start_response):
        try:
            start_response(status, headers)
        except http.BadAnswer as exc:
            seen.append(exc)
            start_response("500 So it is", [])
        return [b"told"]

    answer = ask(app, get(), threads=threads)
    assert answer.startswith(b"HTTP/1.1 500 So it is\r\n")
    assert len(seen) == 1


def test_an_error_in_the_middle_is_seen_by_the_client(threads):
    body = Body([b"a", b"b"], ValueError("mine"))
    answer, errors = fails(returns(body), threads)
    assert answer == b"reset" or not answer.endswith(b"0\r\n\r\n")
    assert isinstance(errors[0], ValueError)
    assert body.closed == 1


def test_exc_info_replaces_what_was_not_sent(threads):
    def app(environ, start_response):
        import sys

        start_response("200 OK", [("X-A", "b"), ("Content-Length", "5")])
        try:
            raise ValueError("mine")
        except ValueError:
            start_response("503 Later", [("X-C", "d")], sys.exc_info())
        return [b"later on"]

    line, fields, body = parts(ask(app, get(), threads=threads))
    assert (line, body, fields["content-length"]) == ("HTTP/1.1 503 Later", b"later on", "8")
    assert "x-a" not in fields
    assert fields["x-c"] == "d"


def test_exc_info_is_raised_when_the_head_was_sent(threads):
    body_closed = []

    def app(environ, start_response):
        import sys

        try:
            write = start_response("200 OK", [])
            write(b"begun")
            try:
                raise ValueError("mine")
            except ValueError:
                start_response("503 Later", [], sys.exc_info())
        finally:
            body_closed.append(True)

    answer, errors = fails(app, threads)
    assert b"503" not in answer
    assert str(errors[0]) == "mine"
    assert not answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("data", ["text", bytearray(b"x"), None])
def test_write_takes_bytes(threads, data):
    def app(environ, start_response):
        start_response("200 OK", [])(data)
        return []

    answer, errors = fails(app, threads)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert isinstance(errors[0], TypeError)


def test_write_no_more_than_was_said(threads):
    def app(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "3")])
        write(b"ab")
        try:
            write(b"cd")
        except http.BadAnswer:
            write(b"c")
        return []

    assert parts(ask(app, get(), threads=threads))[2] == b"abc"


def test_write_and_then_a_stream(threads):
    def app(environ, start_response):
        write = start_response("200 OK", [])
        write(b"a")
        write(b"")
        write(b"b")
        return iter([b"c", b"d"])

    assert parts(ask(app, get(), threads=threads))[2] == b"abcd"


def test_a_close_that_fails_is_logged(threads, caplog):
    class Bad(Body):
        def close(self):
            super().close()
            raise ValueError("mine")

    body = Bad([b"a", b"b"])
    assert parts(ask(returns(body), get(), threads=threads))[2] == b"ab"
    assert body.closed == 1
    assert "mine" in caplog.text


def test_errors_go_to_the_log(threads, caplog):
    def app(environ, start_response):
        errors = environ["wsgi.errors"]
        errors.write("one\ntw")
        errors.writelines(["o\n", "three"])
        errors.flush()
        return hello(environ, start_response)

    ask(app, get(), threads=threads)
    assert [record.getMessage() for record in caplog.records if "wsgi" in record.getMessage()] == [
        "wsgi.errors: one",
        "wsgi.errors: two",
        "wsgi.errors: three",
    ]


@pytest.mark.parametrize("name", ["Content-Type", "Location", "Date"])
def test_a_field_that_is_one_is_not_sent_twice(name, threads):
    def app(environ, start_response):
        start_response("200 OK", [(name, "a"), (name.lower(), "b")])
        return [b"x"]

    answer, errors = fails(app, threads)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert len(errors) == 1


def test_the_short_way_sends_what_the_long_one_does():
    def app(environ, start_response):
        start_response(environ["QUERY_STRING"].replace("%20", " "), [])
        return [b"abc"]

    for version in ("1.0", "1.1"):
        for status, expected in (("205%20Reset", (205, b"")), ("999%20X", (500, None)), ("600%20X", (500, None))):
            w = serve(http.wsgi(app, threads=0))
            w.feed(raw("/?" + status, version=version, Connection="keep-alive"))
            (answer,) = told(w)
            assert answer.status == expected[0]
            assert expected[1] is None or answer.body == expected[1]
