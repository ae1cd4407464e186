"""What an answer begins with, and how it is framed; over connections it is in test_wsgi_handler.py."""

from __future__ import annotations

import pytest

from trews.http.errors import BadAnswer
from trews.http.head import Limits, scan_request
from trews.http.wsgi_answer import clipped, close, opening, whole
from trews.http.wsgi_call import Call


def call_of(status="200 OK", headers=(), method="GET"):
    call = Call({"REQUEST_METHOD": method, "REQUEST_URI": "/a"}, None)
    call.head = scan_request(f"{method} /a HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 0, Limits())
    if status:
        call.start_response(status, list(headers))
    return call


@pytest.mark.parametrize(
    ("result", "first", "rest"),
    [
        ([b"a"], b"a", None),
        ((b"a", b"", b"b"), b"ab", None),
        ([], b"", None),
        (iter([]), b"", None),
        (iter([b"", b""]), b"", None),
        (iter([b"", b"a", b"", b"b"]), b"a", [b"", b"b"]),
        (iter([b"a"]), b"a", []),
    ],
)
def test_opening(result, first, rest):
    got, blocks = opening(call_of(), result)
    assert got == first
    assert (blocks if blocks is None else list(blocks)) == rest


def test_what_is_as_long_as_was_said_is_all():
    assert opening(call_of(headers=[("Content-Length", "2")]), iter([b"ab", b"cd"])) == (b"ab", None)


@pytest.mark.parametrize("result", [b"a", "a", ["a"], [b"a", None], iter(["a"]), iter([bytearray(b"a")]), None, 5])
def test_what_is_no_body(result):
    with pytest.raises(TypeError):
        opening(call_of(), result)


@pytest.mark.parametrize("result", [[b"a"], [], iter([b"a"]), iter([])])
def test_before_start_response(result):
    with pytest.raises(RuntimeError, match="start_response"):
        opening(call_of(status=""), result)


FRAMES = [
    ("a body", "200 OK", [], "GET", b"abc", b"Content-Length: 3", b"abc"),
    ("none", "200 OK", [], "GET", b"", b"Content-Length: 0", b""),
    ("said", "200 OK", [("Content-Length", "3")], "GET", b"abc", b"Content-Length: 3", b"abc"),
    ("too long", "200 OK", [("Content-Length", "2")], "GET", b"abc", b"Content-Length: 2", b"ab"),
    ("HEAD", "200 OK", [], "HEAD", b"abc", b"Content-Length: 3", b""),
    ("HEAD, said", "200 OK", [("Content-Length", "9")], "HEAD", b"", b"Content-Length: 9", b""),
    ("HEAD, unknown", "200 OK", [], "HEAD", b"", b"Transfer-Encoding: chunked", b""),
    ("204", "204 No Content", [], "GET", b"", None, b""),
    ("304", "304 Not Modified", [], "GET", b"", None, b""),
    ("304, said", "304 Not Modified", [("Content-Length", "9")], "GET", b"", b"Content-Length: 9", b""),
]


@pytest.mark.parametrize(("name", "status", "headers", "method", "body", "frame", "sent"), FRAMES)
def test_framing(name, status, headers, method, body, frame, sent):
    head, _, got = whole(call_of(status, headers, method), body).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    frames = [line for line in lines if line.startswith((b"Content-Length", b"Transfer-Encoding"))]
    assert frames == ([frame] if frame is not None else [])
    assert got == sent
    assert lines[0] == f"HTTP/1.1 {status}".encode()


def test_too_short():
    with pytest.raises(BadAnswer, match="fewer bytes"):
        whole(call_of(headers=[("Content-Length", "5")]), b"abc")


def test_what_is_cut_is_logged(caplog):
    call = call_of(headers=[("Content-Length", "2")])
    assert clipped(call, b"ab") == b"ab"
    assert not caplog.records
    assert clipped(call, b"c") == b""
    assert "GET /a: a body of more than its Content-Length of 2 bytes" in caplog.text


def test_close(caplog):
    class Result:
        def __init__(self, error=None):
            self.error = error
            self.count = 0

        def close(self):
            self.count += 1
            if self.error:
                raise self.error

    result = Result()
    close(result)
    assert result.count == 1
    close([])
    assert not caplog.records
    close(Result(ValueError("mine")))
    assert "mine" in caplog.text
