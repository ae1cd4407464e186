"""The usual case of ASGI: scopes from heads, and answers. Bytes only; servers are in `test_asgi_handler`."""

from __future__ import annotations

import asyncio
import collections.abc

import pytest

from trews.http.asgi_exchange import DONE_AT_ONCE, http_scope, lower_pairs
from trews.http.head import Limits, scan_request

BASE = {"type": "http", "http_version": "1.1", "scheme": "http", "root_path": ""}


def scanned(data, start=0):
    return scan_request(data, start, Limits())


def scope_of(target, root_path="", version="1.1", host="a"):
    head = scanned(f"GET {target} HTTP/{version}\r\nHost: {host}\r\n\r\n".encode())
    return http_scope(dict(BASE), head, root_path)


# (target, path, raw_path, query_string)
TARGETS = [
    ("/", "/", b"/", b""),
    ("/a/b?x=1&y=%20", "/a/b", b"/a/b", b"x=1&y=%20"),
    ("/a?", "/a", b"/a", b""),
    ("/?a?b", "/", b"/", b"a?b"),
    ("/a%20b", "/a b", b"/a%20b", b""),
    ("/%E4%BD%A0%2F", "/你/", b"/%E4%BD%A0%2F", b""),
    ("/%FF", "/�", b"/%FF", b""),  # what is no UTF-8 must not be a trap for who encodes it again
    ("//a/../b", "//a/../b", b"//a/../b", b""),
    ("http://a/b?c", "/b", b"/b", b"c"),
    ("http://a", "/", b"/", b""),
    ("http://a?c", "/", b"/", b"c"),
    ("http://a/?c://d", "/", b"/", b"c://d"),
]


@pytest.mark.parametrize(("target", "path", "raw_path", "query"), TARGETS)
def test_a_target_is_a_path_and_a_query(target, path, raw_path, query):
    scope = scope_of(target)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


def test_the_target_of_options_may_be_a_star():
    scope = http_scope(dict(BASE), scanned(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), "")
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("OPTIONS", "*", b"*")


def test_a_root_path_that_was_taken_off_is_put_back():
    scope = scope_of("/x%20y?q", "/api")
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api", "/api/x y", b"/api/x%20y")


def test_versions():
    assert scope_of("/")["http_version"] == "1.1"
    assert scope_of("/", version="1.0")["http_version"] == "1.0"
    assert scope_of("/")["asgi"] == {"version": "3.0", "spec_version": "2.5"}


def test_what_an_application_changes_in_a_scope_is_its_own():
    base = dict(BASE)
    head = scanned(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    first = http_scope(base, head, "")
    first["asgi"].clear()
    first["extensions"].pop("http.response.pathsend")
    first["type"] = "other"
    second = http_scope(base, head, "")
    assert second["type"] == "http"
    assert second["asgi"]["version"] == "3.0"
    assert "http.response.pathsend" in second["extensions"]


HEADS = [
    b"Host: a\r\n",
    b"HOST:a\r\nX-Odd:\t v w \t\r\nx-ODD:\r\nX-oDD: :\r\nAccept: a:b\r\n",
    b"host: a\r\nCookie: a=1; b=2\r\nCookie: c=3\r\nX-\x7cY: \xff\xe4\r\n",
]


@pytest.mark.parametrize("fields", HEADS)
def test_fields_are_those_of_the_head_with_names_in_lower_case(fields):
    before = b"GET /before HTTP/1.1\r\nHost: b\r\nX: y\r\n\r\n"
    for start in (0, len(before)):
        head = scanned(before[:start] + b"GET / HTTP/1.1\r\n" + fields + b"\r\nbehind: it\r\n\r\n", start)
        assert lower_pairs(head) == [(name.lower(), value) for name, value in head.pairs()]


def test_what_send_returns_is_a_coroutine_to_who_asks():
    async def main():
        assert await DONE_AT_ONCE is None
        assert await asyncio.create_task(DONE_AT_ONCE) is None
        assert await asyncio.gather(DONE_AT_ONCE, DONE_AT_ONCE) == [None, None]
        assert await asyncio.wait_for(DONE_AT_ONCE, 1) is None
        with pytest.raises(ValueError, match="thrown"):
            DONE_AT_ONCE.throw(ValueError("thrown"))
        DONE_AT_ONCE.close()

    assert isinstance(DONE_AT_ONCE, collections.abc.Coroutine)
    asyncio.run(main())
