"""The head of a response, and whether a body follows it: tables in the order of RFC 9112."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.codec import LIMITS, SWITCHED, chunkings, read_responses
from trews.http.errors import BadMessage
from trews.http.head import Limits, scan_response

NEXT = b"HTTP/1.1 202 Next\r\nContent-Length: 0\r\n\r\n"
E = b"Content-Length: 0\r\n\r\n"

# (what, the bytes, the status of the refusal, or (status, reason, minor))
RESPONSES: list[tuple[str, bytes, Any]] = [
    # RFC 9112, 2.2
    ("an empty line before", b"\r\nHTTP/1.1 200 OK\r\n" + E, 502),
    ("LF only", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", 502),
    ("LF after the status line", b"HTTP/1.1 200 OK\n" + E, 502),
    ("CR in the reason", b"HTTP/1.1 200 O\rK\r\n" + E, 502),
    # 2.3
    ("1.0", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + E, (200, b"OK", 0)),
    ("a higher minor version", b"HTTP/1.9 200 OK\r\n" + E, (200, b"OK", 1)),
    ("2.0", b"HTTP/2.0 200 OK\r\n" + E, 502),
    ("another protocol", b"ICY 200 OK\r\n" + E, 502),
    ("lower case", b"http/1.1 200 OK\r\n" + E, 502),
    # 4
    ("a reason of many words", b"HTTP/1.1 404 Not \tFound\xe9\r\n" + E, (404, b"Not \tFound\xe9", 1)),
    ("an empty reason", b"HTTP/1.1 200 \r\n" + E, (200, b"", 1)),
    ("no reason and no space", b"HTTP/1.1 200\r\n" + E, (200, b"", 1)),
    ("a status that is no HTTP's", b"HTTP/1.1 999 No\r\n" + E, (999, b"No", 1)),
    ("two digits", b"HTTP/1.1 20 OK\r\n" + E, 502),
    ("four digits", b"HTTP/1.1 2000 OK\r\n" + E, 502),
    ("a zero before", b"HTTP/1.1 020 OK\r\n" + E, 502),
    ("a sign", b"HTTP/1.1 +20 OK\r\n" + E, 502),
    ("digits of Unicode", "HTTP/1.1 ٢٠٠ OK\r\n".encode() + E, 502),
    ("two spaces before the status", b"HTTP/1.1  200 OK\r\n" + E, 502),
    ("a tab", b"HTTP/1.1\t200 OK\r\n" + E, 502),
    ("no status", b"HTTP/1.1 OK\r\n" + E, 502),
    ("NUL in the reason", b"HTTP/1.1 200 \0\r\n" + E, 502),
    # 5
    ("space before the colon", b"HTTP/1.1 200 OK\r\nA : b\r\n" + E, 502),
    ("folded", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n" + E, 502),
    ("NUL in a value", b"HTTP/1.1 200 OK\r\nA: \0\r\n" + E, 502),
    ("no name", b"HTTP/1.1 200 OK\r\n: b\r\n" + E, 502),
    # 6.1
    ("gzip, chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 502),
    ("chunked in 1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502),
    ("chunked and a length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + E, 502),
    # 6.2
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n" + E, 502),
    ("twice a length", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + E, 502),
    ("a sign before the length", b"HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n", 502),
    ("a length beyond measure", b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n", 502),
]


@pytest.mark.parametrize(("wire", "expected"), [case[1:] for case in RESPONSES], ids=[case[0] for case in RESPONSES])
@pytest.mark.parametrize("behind", [b"", NEXT], ids=["alone", "and another"])
def test_responses(wire: bytes, expected: Any, behind: bytes) -> None:
    for pieces in chunkings(wire + behind):
        found = read_responses(pieces)
        if isinstance(expected, int):
            assert (found.messages, found.end) == ([], expected)
        else:
            wanted = [expected, (202, b"Next", 1)] if behind else [expected]
            assert ([message.start for message in found.messages], found.end) == (wanted, "done")


CHUNKED = b"Transfer-Encoding: chunked\r\n"
TEN = b"Content-Length: 10\r\n"

# RFC 9112, 6.3, in its order: (method, status, fields, what comes, the body, how it ends, what is left)
BODIES: list[tuple[str, int, bytes, bytes, bytes, str]] = [
    ("HEAD", 200, TEN, NEXT, b"", "next"),
    ("HEAD", 200, CHUNKED, NEXT, b"", "next"),
    ("HEAD", 200, b"", NEXT, b"", "next"),
    ("GET", 204, b"", NEXT, b"", "next"),
    ("GET", 204, TEN, NEXT, b"", "next"),
    ("GET", 204, CHUNKED, NEXT, b"", "next"),
    ("GET", 304, TEN, NEXT, b"", "next"),
    ("GET", 304, CHUNKED, NEXT, b"", "next"),
    ("GET", 103, b"Link: </a>\r\n", NEXT, b"", "next"),
    ("GET", 100, b"", NEXT, b"", "next"),
    ("GET", 101, b"Connection: upgrade\r\nUpgrade: x\r\n", b"HTTP/ no more", b"", "switched"),
    ("CONNECT", 200, TEN, NEXT, b"", "next"),  # the driver goes on; a client hands over what follows
    ("CONNECT", 407, TEN, b"0123456789" + NEXT, b"0123456789", "next"),
    ("GET", 200, CHUNKED, b"3\r\nabc\r\n0\r\n\r\n" + NEXT, b"abc", "next"),
    ("GET", 205, b"Content-Length: 0\r\n", NEXT, b"", "next"),
    ("GET", 200, TEN, b"0123456789" + NEXT, b"0123456789", "next"),
    ("GET", 200, TEN, b"01234", b"", "incomplete"),
    ("GET", 200, CHUNKED, b"3\r\nabc\r\n", b"", "incomplete"),
    ("GET", 200, CHUNKED, b"3\r\nabc\r\n0\r\n", b"", "incomplete"),
    ("GET", 200, b"", b"up to the end" + NEXT, b"up to the end" + NEXT, "done"),
    ("GET", 200, b"Connection: close\r\n", b"up to the end", b"up to the end", "switched"),
    ("GET", 200, b"Connection: close\r\n" + TEN, b"0123456789behind", b"0123456789", "switched"),
]


@pytest.mark.parametrize(("method", "status", "lines", "wire", "body", "end"), BODIES)
def test_bodies_of_responses(method: str, status: int, lines: bytes, wire: bytes, body: bytes, end: str) -> None:
    for pieces in chunkings(b"HTTP/1.1 %d Any\r\n%b\r\n%b" % (status, lines, wire)):
        found = read_responses(pieces, [method, "GET"])
        if end == "incomplete":
            assert (found.messages, found.end) == ([], end)
            continue
        assert found.messages[0].body == body
        assert [message.start[0] for message in found.messages[1:]] == ([202] if end == "next" else [])
        assert found.end == ("done" if end == "next" else end)


def test_behind_a_switch_all_is_left_as_it_came() -> None:
    for pieces in chunkings(b"HTTP/1.1 101 Switching\r\n\r\n\0\1\2\r\n\r\n"):
        found = read_responses(pieces)
        assert (found.end, found.left) == (SWITCHED, b"\0\1\2\r\n\r\n")


@pytest.mark.parametrize(
    ("minor", "connection", "persists"),
    [
        (1, b"", True),
        (1, b"Connection: close\r\n", False),
        (0, b"", False),
        (0, b"Connection: Keep-Alive\r\n", True),
    ],
)
def test_persistence(minor: int, connection: bytes, persists: bool) -> None:
    head = scan_response(b"HTTP/1.%d 200 OK\r\n%b\r\n" % (minor, connection), 0, LIMITS)
    assert head is not None
    assert head.persists is persists


@pytest.mark.parametrize(
    "wire",
    [
        b"x" * 100,
        b"HTTP/1.1 200 " + b"x" * 90,
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 90,
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20,
    ],
    ids=["no line", "a reason", "a value", "fields"],
)
def test_a_head_has_its_limit(wire: bytes) -> None:
    limits = Limits(head=100, fields=10)
    with pytest.raises(BadMessage) as caught:
        scan_response(wire, 0, limits)
    assert caught.value.status == 502
    for pieces in chunkings(wire):
        assert read_responses(pieces, limits=limits).end == 502
