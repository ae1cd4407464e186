"""The environ of a request: what of a head becomes which key, and what does not."""

from __future__ import annotations

import random

import pytest

from trews.http.environ import fill, key_of
from trews.http.head import Limits, scan_request


def environ_of(text, before=b""):
    """What `fill` makes of a head, which is not the first thing in what was received."""
    data = text.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n"
    head = scan_request(before + data + b"GET", len(before), Limits())
    assert head is not None
    environ = {"REQUEST_METHOD": "GET", "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1"}
    fill(environ, head)
    return environ


TARGETS = [
    ("a path", "GET /a HTTP/1.1", "/a", "", "/a"),
    ("with a query", "GET /a?b=%20&c HTTP/1.1", "/a", "b=%20&c", "/a?b=%20&c"),
    ("with an empty query", "GET /a? HTTP/1.1", "/a", "", "/a?"),
    ("with two marks", "GET /a?b?c HTTP/1.1", "/a", "b?c", "/a?b?c"),
    ("escaped", "GET /a%20b%2Fc HTTP/1.1", "/a b/c", "", "/a%20b%2Fc"),
    ("UTF-8, as Latin-1", "GET /%C3%A9 HTTP/1.1", "/\xc3\xa9", "", "/%C3%A9"),
    ("any byte", "GET /%00%ff HTTP/1.1", "/\x00\xff", "", "/%00%ff"),
    ("an escaped mark", "GET /a%3Fb?c HTTP/1.1", "/a?b", "c", "/a%3Fb?c"),
    ("two slashes", "GET //other/a HTTP/1.1", "//other/a", "", "//other/a"),
    ("a URL", "GET http://h/a?b HTTP/1.1", "/a", "b", "http://h/a?b"),
    ("a URL without a path", "GET http://h HTTP/1.1", "/", "", "http://h"),
    ("a URL with a query only", "GET http://h?b HTTP/1.1", "/", "b", "http://h?b"),
    ("the server", "OPTIONS * HTTP/1.1", "", "", "*"),
]


@pytest.mark.parametrize(("name", "line", "path", "query", "uri"), TARGETS)
def test_target(name, line, path, query, uri):
    environ = environ_of(f"{line}\nHost: h")
    assert environ["PATH_INFO"] == path
    assert environ["QUERY_STRING"] == query
    assert environ["REQUEST_URI"] == uri
    assert environ["HTTP_HOST"] == "h"
    assert environ["REQUEST_METHOD"] == line.split()[0]


FIELDS = [
    ("a name", "Accept: a", {"HTTP_ACCEPT": "a"}),
    ("in lower case", "accept-language: a", {"HTTP_ACCEPT_LANGUAGE": "a"}),
    ("in any case", "aCCept-lAnguage: a", {"HTTP_ACCEPT_LANGUAGE": "a"}),
    ("one that nobody knows", "X-Nobody-Knows: a", {"HTTP_X_NOBODY_KNOWS": "a"}),
    ("a very long one", f"X-{'y' * 200}: a", {f"HTTP_X_{'Y' * 200}": "a"}),
    ("no space", "Accept:a", {"HTTP_ACCEPT": "a"}),
    ("much space", "Accept: \t a \t ", {"HTTP_ACCEPT": "a"}),
    ("a tab", "Accept:\ta", {"HTTP_ACCEPT": "a"}),
    ("space at the end", "Accept: a ", {"HTTP_ACCEPT": "a"}),
    ("space within", "Accept: a  b", {"HTTP_ACCEPT": "a  b"}),
    ("no value", "Accept:", {"HTTP_ACCEPT": ""}),
    ("only space", "Accept: ", {"HTTP_ACCEPT": ""}),
    ("more space", "Accept:   ", {"HTTP_ACCEPT": ""}),
    ("a colon in it", "Referer: http://a:1", {"HTTP_REFERER": "http://a:1"}),
    ("Latin-1", "X-Name: \xe9", {"HTTP_X_NAME": "\xe9"}),
    ("type", "Content-Type: a/b", {"CONTENT_TYPE": "a/b"}),
    ("length", "content-length: 5", {"CONTENT_LENGTH": "5"}),
    ("an underscore", "X_Forwarded_For: 1", {}),
    ("one among hyphens", "X-Forwarded_For: 1", {}),
    ("type with an underscore", "Content_Length: 5", {}),
    ("httpoxy", "Proxy: http://evil", {}),
    ("httpoxy in lower case", "proxy: http://evil", {}),
    ("beside the true one", "X_Real_IP: 1\nX-Real-IP: 2", {"HTTP_X_REAL_IP": "2"}),
    ("the true one first", "X-Real-IP: 2\nX_Real_IP: 1", {"HTTP_X_REAL_IP": "2"}),
    ("repeated", "Accept: a\nX-B: c\naccept: b", {"HTTP_ACCEPT": "a,b", "HTTP_X_B": "c"}),
    ("repeated cookies", "Cookie: a=1\nCookie: b=2", {"HTTP_COOKIE": "a=1; b=2"}),
    ("repeated and left out", "Proxy: 1\nX-A: 1\nX-A: 2\nProxy: 2\nX_A: 3", {"HTTP_X_A": "1,2"}),
]


@pytest.mark.parametrize(("name", "fields", "expected"), FIELDS)
@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_fields(name, fields, expected, before):
    environ = environ_of(f"POST / HTTP/1.1\nHost: h\n{fields}", before)
    own = ("HTTP_HOST", "REQUEST_METHOD", "REQUEST_URI", "PATH_INFO", "QUERY_STRING", "SERVER_PROTOCOL")
    assert {key: value for key, value in environ.items() if key not in own} == expected
    assert environ["HTTP_HOST"] == "h"


def test_the_version():
    assert environ_of("GET / HTTP/1.0")["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert environ_of("GET / HTTP/1.1\nHost: h")["SERVER_PROTOCOL"] == "HTTP/1.1"


def test_fields_of_any_kind_are_those_of_the_head():
    draw = random.Random(6)
    for _ in range(500):
        names = [draw.choice(["Accept", "x-a", "X-B", "Proxy", "X_A", "Cookie"]) for _ in range(draw.randrange(8))]
        values = [draw.choice(["", " ", "a", " a ", "\ta b\t", "\xe9", " :", "\xa0a"]) for _ in names]
        lines = [f"{name}:{value}" for name, value in zip(names, values, strict=True)]
        environ = environ_of("\n".join(["GET / HTTP/1.1", "Host: h", *lines]))
        expected = {}
        for name, value in zip(names, values, strict=True):
            key = key_of(name)
            if key:
                expected.setdefault(key, []).append(value.strip(" \t"))
        found = {key: value for key, value in environ.items() if key.startswith("HTTP_") and key != "HTTP_HOST"}
        assert found == {key: ("; " if key == "HTTP_COOKIE" else ",").join(of) for key, of in expected.items()}


def test_names_that_are_remembered_are_bounded():
    for number in range(3000):  # more than are remembered: all have their key nevertheless
        assert environ_of(f"GET / HTTP/1.1\nHost: h\nX-N{number}: a")[f"HTTP_X_N{number}"] == "a"
    assert environ_of("GET / HTTP/1.1\nHost: h\naccept: a")["HTTP_ACCEPT"] == "a"
