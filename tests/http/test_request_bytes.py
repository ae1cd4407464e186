"""What the test client asks with, as bytes; and what it says to who asks as other clients do."""

import pytest

from trews import http
from trews.http.request_bytes import make_request


def made(*args, **more):
    head, body, _ = make_request(*args, {}, **more)
    return head + b"".join(body)


REQUESTS = [
    (("GET", "/"), {}, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (("GET", "/a b?x=ä"), {}, b"GET /a%20b?x=%C3%A4 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (("GET", "/a%20b"), {}, b"GET /a%20b HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (("GET", "/a"), {"query": {"x": "1 2", "y": [3, 4]}}, b"GET /a?x=1+2&y=3&y=4 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (("GET", "/a?b=1"), {"query": [("c", "2")]}, b"GET /a?b=1&c=2 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (("OPTIONS", "*"), {}, b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (("GET", "/"), {"headers": {"host": "example.org"}}, b"GET / HTTP/1.1\r\nhost: example.org\r\n\r\n"),
    (
        ("POST", "/"),
        {"json": {"a": 1}},
        b'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}',
    ),
    (
        ("POST", "/"),
        {"form": {"a": "1 2"}},
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 5\r\n\r\na=1+2",
    ),
    (
        ("POST", "/"),
        {"data": "ü"},
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: 2\r\n\r\n\xc3\xbc",
    ),
    (("POST", "/"), {"data": b""}, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"),
    (("POST", "/"), {"data": bytearray(b"xy")}, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nxy"),
    (("POST", "/"), {"data": b"xy"}, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nxy"),
    (
        ("POST", "/"),
        {"data": [b"abc", b"", b"d"]},
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
    ),
]


@pytest.mark.parametrize(("args", "more", "expected"), REQUESTS)
def test_requests_as_bytes(args, more, expected):
    assert made(*args, **more) == expected


@pytest.mark.parametrize(
    ("args", "more", "error", "words"),
    [
        (("GET", "a"), {}, ValueError, "a path begins with '/': 'a'"),
        (("G T", "/"), {}, ValueError, "cannot be a method"),
        (("GET\r\nA: b", "/"), {}, ValueError, "cannot be a method"),
        (("GET", "/"), {"headers": {"A": "b\r\nC: d"}}, ValueError, "control character"),
        (("POST", "/"), {"json": 1, "data": b""}, TypeError, "one body"),
    ],
)
def test_what_is_no_request_is_refused(args, more, error, words):
    with pytest.raises(error, match=words):
        http.test_client(lambda request: "hi").request(*args, **more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"params": {"a": 1}}, "a request of http.test_client has no params=: use query="),
        ({"body": b"hi"}, "has no body=: use data=, or json= or form="),
        ({"content": b"hi"}, "has no content=: use data="),
        ({"files": {}}, "has no files=: use data= with the parts as bytes, and their Content-Type in headers="),
        ({"cookies": {}}, "has no cookies=: use client.cookies, a dict"),
        ({"timeout": 5}, r"has no timeout=: use http.test_client\(app, timeout=...\)"),
        ({"colour": 5}, "has no colour=: use query=, headers=, json=, form= or data="),
        ({"data": {"a": 1}}, "a mapping is sent by form= or json="),
        ({"data": 5}, "data= is the body as bytes, text or an iterable of bytes, not 5"),
        ({"data": [("a", "1")]}, r"data= is an iterable of bytes, and has \('a', '1'\): pairs are sent by form="),
        ({"data": ["text"]}, "data= is an iterable of bytes, and has 'text'"),
    ],
)
def test_who_asks_as_elsewhere_is_told_what_it_is_here(more, said):
    with pytest.raises(TypeError, match=said):
        http.test_client(lambda request: "hi").post("/", **more)
