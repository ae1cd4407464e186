"""Sections A and B, as far as they are about where a message ends and what its head says: each by its name.

Here are bytes only. What is about the order of answers, or about two programs one behind the other, is tested with
connections: tests/http/test_connection.py, tests/test_http_frontends.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.codec import LIMITS, bytewise, chunkings, read, read_responses
from tests.http.test_head_forms import agree
from trews.http.errors import BadAnswer
from trews.http.head import scan_request
from trews.http.http1 import Writer, field_lines, status_line

EVIL = b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

# A. Refused, with all that comes behind it. (the id, what comes)
REFUSED: list[tuple[str, bytes]] = [
    ("CVE-2019-16785 waitress: LF is a line end", b"GET / HTTP/1.1\nHost: x\n\n"),
    ("CVE-2019-16785 waitress: LF in a value", POST + b"A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("CVE-2019-16786 waitress: xchunked", POST + b"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    (
        "CVE-2019-16789 waitress: space before",
        POST + b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    ("CVE-2019-16789 waitress: space in the name", POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("CVE-2019-16792 waitress: two lengths", POST + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\n"),
    ("CVE-2022-24761 waitress: plus", POST + b"Content-Length: +0\r\n\r\n"),
    ("CVE-2022-24761 waitress: 0x", CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    ("CVE-2022-24761 waitress: underscore", CHUNKED + b"0_3\r\nabc\r\n0\r\n\r\n"),
    ("CVE-2024-49768 waitress: what follows an error", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
    (
        "CVE-2024-1135 gunicorn: two codings",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    ),
    ("CVE-2024-1135 gunicorn: a list", POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("CVE-2024-6827 gunicorn: no coding", POST + b"Transfer-Encoding: chunke\r\nContent-Length: 0\r\n\r\n"),
    ("gunicorn 25.3: CR in an extension", CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    ("gunicorn #3366: two Hosts", b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
    ("gunicorn #3366: two types", POST + b"Content-Type: a/b\r\nContent-Type: a/c\r\n\r\n"),
    ("gunicorn 26.0: chunked in 1.0", b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("gunicorn 26.0: stacked", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("gunicorn 26.0: a list of lengths", POST + b"Content-Length: 0, 0\r\n\r\n"),
    ("gunicorn 26.0: authority form", b"GET x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n"),
    ("gunicorn 26.0: asterisk form", b"GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("gunicorn 26.0: a trailer", CHUNKED + b"0\r\nContent-Length: 30\r\n\r\n"),
    ("CVE-2023-37276 aiohttp, CVE-2023-30589 node: CR", POST + b"A: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("CVE-2023-47627 aiohttp: minus", POST + b"Content-Length: -0\r\n\r\n"),
    ("CVE-2023-47627 aiohttp: NUL in a value", POST + b"A: \0\r\n\r\n"),
    ("CVE-2023-47627 aiohttp: a sign in the version", b"GET / HTTP/+1.1\r\nHost: x\r\n\r\n"),
    ("CVE-2023-47641 aiohttp: both", POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("CVE-2024-23829 aiohttp: a space in a name", POST + b"A B: c\r\n\r\n"),
    ("CVE-2024-23829 aiohttp: quotes in a name", POST + b'A"B: c\r\n\r\n'),
    ("CVE-2024-23829 aiohttp: digits of Unicode", "GET / HTTP/1.١\r\nHost: x\r\n\r\n".encode()),
    ("CVE-2024-52304 aiohttp: LF in an extension", CHUNKED + b"0;\n\r\n\r\n"),
    ("CVE-2025-53643 aiohttp: trailers are parsed", CHUNKED + b"0\r\nA\r\n\r\n"),
    ("CVE-2025-53643 aiohttp: a request for a trailer", CHUNKED + b"0\r\nGET /evil HTTP/1.1\r\n\r\n"),
    (
        "CVE-2025-69224 aiohttp: lowered to ASCII",
        POST + "Transfer-Encoding: chunKed\r\n\r\n".replace("K", "\u212a").encode(),
    ),
    ("CVE-2025-69224 aiohttp: a name lowered", POST + "Kost: y\r\n\r\n".replace("K", "\u212a").encode()),
    ("aiohttp 3.13.4: another Host", b"GET / HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n"),
    ("CVE-2025-43859 h11: any two bytes for CR LF", CHUNKED + b"3\r\nabcXX0\r\n\r\n"),
    ("CVE-2022-24801 Twisted: plus", POST + b"Content-Length: +5\r\n\r\nhello"),
    ("CVE-2022-24801 Twisted: 0x", CHUNKED + b"0x0\r\n\r\n"),
    ("CVE-2022-24801 Twisted: LF in an extension", CHUNKED + b"0;a\nb\r\n\r\n"),
    ("CVE-2022-24801 Twisted: stripped", POST + b"Content-Length: \x1c0\r\n\r\n"),
    ("CVE-2020-10108 Twisted: two lengths", POST + b"Content-Length: 0\r\nContent-Length: 30\r\n\r\n"),
    ("CVE-2020-10109 Twisted: both", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("GHSA-753j-mpmx-qq6g Tornado: both", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"),
    ("GHSA-753j-mpmx-qq6g Tornado: stripped", POST + b"Transfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n"),
    ("GHSA-qppv-j76h-2rpx Tornado: minus", CHUNKED + b"-0\r\n\r\n"),
    ("GHSA-qppv-j76h-2rpx Tornado: underscore", POST + b"Content-Length: 0_0\r\n\r\n"),
    ("CVE-2023-41419 gevent: a request in the trailers", CHUNKED + b"0\r\n\r" + b"GET /evil HTTP/1.1\r\n\r\n"),
    ("CVE-2026-48710 Starlette: a path in Host", b"GET / HTTP/1.1\r\nHost: x/evil?\r\n\r\n"),
    ("CVE-2022-39348 Twisted: markup in Host", b"GET / HTTP/1.1\r\nHost: <script>\r\n\r\n"),
]


@pytest.mark.parametrize("wire", [case[1] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused(wire: bytes) -> None:
    """And nothing behind it is read as a request."""
    for pieces in chunkings(wire + EVIL):
        found = read(pieces)
        assert (found.messages, found.end) == ([], 400)


def test_gunicorn_3382_a_truncated_last_chunk_is_no_end() -> None:
    for wire in (CHUNKED + b"3\r\nabc\r\n0\r\n", CHUNKED + b"3\r\nabc\r\n0", CHUNKED + b"3\r\nabc\r\n0\r\n\r"):
        assert read([wire]).messages == []
        assert read([wire]).end == "incomplete"


def test_cve_2026_111750_aiohttp_what_is_compiled_and_what_is_not_agree() -> None:
    for _, wire in REFUSED:
        for known in range(len(wire)):
            agree(wire[:known], 0)


@pytest.mark.parametrize("framing", [b"Content-Length: %d" % len(EVIL), b"Transfer-Encoding: chunked"])
def test_cve_2026_69243_aiohttp_the_body_comes_before_the_switch(framing: bytes) -> None:
    """What asks for an upgrade has its body first, and what is in that is neither a request nor the other protocol."""
    wire = b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n%b\r\n\r\n" % framing
    head = scan_request(wire, 0, LIMITS)
    assert head is not None
    assert head.has_body
    body = EVIL if b"Length" in framing else b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVIL), EVIL)
    for pieces in chunkings(wire + body):
        (message,) = read(pieces).messages
        assert message.body == EVIL


def test_cve_2025_53643_aiohttp_trailers_are_not_fields() -> None:
    (message,) = read([CHUNKED + b"0\r\nX-Forwarded-For: 6.6.6.6\r\nAuthorization: x\r\n\r\n"]).messages
    assert [name for name, _ in message.fields] == [b"Host", b"Transfer-Encoding"]
    assert [name for name, _ in message.trailers] == [b"X-Forwarded-For", b"Authorization"]


def test_cve_2026_22815_aiohttp_trailers_are_bounded() -> None:
    for pieces in ([CHUNKED + b"0\r\n" + b"A: b\r\n" * 5000], bytewise(CHUNKED + b"0\r\n" + b"A: b\r\n" * 1500)):
        assert read(pieces).end == 431


def test_aiohttp_3_14_1_a_limit_holds_over_pieces() -> None:
    for wire, status in ((b"GET /" + b"a" * 20_000, 414), (b"GET / HTTP/1.1\r\nA: " + b"a" * 40_000, 431)):
        pieces = [wire[i : i + 100] for i in range(0, len(wire), 100)]
        assert read(pieces).end == read([wire]).end == status


# B. What is sent.

SPLITS = [
    "a\r\nX: y",
    "a\nX: y",
    "a\rX: y",
    "a\r\n\r\n<html>",
    "a\0",
    "\x1b[31m",
    "a\x7f",
    "a\r\n ",
    "\r\n",
    "a\n",
    "a\x0b",
    "a\x85\n",
]

FIELDS: list[tuple[str, str]] = [
    ("CVE-2020-7695 uvicorn", "X-Header"),
    ("CVE-2018-1000164 gunicorn", "X-Header"),
    ("CVE-2012-2374 Tornado", "X-Header"),
    ("CVE-2016-9964 bottle, CVE-2020-35678 autobahn: redirects", "Location"),
    ("CVE-2026-0865 wsgiref", "Content-Type"),
    ("CVE-2026-1527 undici: upgrade", "Upgrade"),
    ("CVE-2026-1527 undici: connection", "Connection"),
    ("CVE-2026-35536, CVE-2026-91991, CVE-2026-123535 Tornado, CVE-2026-3644 CPython: cookies", "Set-Cookie"),
    ("aiohttp 3.13.4: controls", "Keep-Alive"),
    ("a length", "Content-Length"),
]


def refuses(make: Any) -> None:
    with pytest.raises(BadAnswer):
        make()


@pytest.mark.parametrize("name", [case[1] for case in FIELDS], ids=[case[0] for case in FIELDS])
@pytest.mark.parametrize("value", SPLITS)
def test_no_value_splits_an_answer(name: str, value: str) -> None:
    for given in (value, value.encode("latin-1")):
        refuses(lambda v=given: Writer("GET", 1, True).head(200, None, [(name, v)], b""))
        refuses(lambda v=given: field_lines([(name, v)]))


@pytest.mark.parametrize("name", [*SPLITS, "a: b\r\nX", "", " a", "a ", "a:"])
def test_cve_2020_7695_no_name_does(name: str) -> None:
    for given in (name, name.encode("latin-1")):
        refuses(lambda n=given: Writer("GET", 1, True).head(200, None, [(n, "v")], b""))
        refuses(lambda n=given: field_lines([(n, "v")]))


@pytest.mark.parametrize("words", SPLITS)
def test_cve_2025_67724_tornado_no_reason_does(words: str) -> None:
    for given in (words, words.encode("latin-1")):
        refuses(lambda w=given: status_line(200, w))
        refuses(lambda w=given: Writer("GET", 1, True).head(200, w, [], b""))


@pytest.mark.parametrize("value", SPLITS)
def test_cve_2026_22815_no_trailer_does(value: str) -> None:
    writer = Writer("GET", 1, True)
    writer.head(200, None, [], b"")
    refuses(lambda: writer.end([("X", value)]))
    refuses(lambda: writer.end([(value, "x")]))


def test_ghsa_w235_7p84_xx57_tornado_what_encodes_to_a_line_end_is_none() -> None:
    """Characters of which an encoding, or their last byte, would be CR or LF."""
    for value in ("a\u010d\u010aX: y", "\u560d\u560a", "\u2028"):
        refuses(lambda v=value: Writer("GET", 1, True).head(200, None, [("X", v)], b""))


def test_cve_2026_1525_undici_there_is_one_length() -> None:
    refuses(lambda: Writer("GET", 1, True).head(200, None, [("Content-Length", "1"), ("content-length", "2")], b""))
    data = Writer("GET", 1, True).head(200, None, [("Content-Length", "1"), ("content-length", "1")], b"")
    assert data.lower().count(b"content-length") == 1


@pytest.mark.parametrize(
    "field", [("\0", "x"), ("X", "\n"), ("€", "x"), ("X", None), (None, "x"), ("X", 5), (b"\xff", b"")]
)
def test_cve_2026_42545_granian_a_field_that_cannot_be_sent_is_an_exception(field: Any) -> None:
    """And the next answer is sent as if nothing had been."""
    refuses(lambda: Writer("GET", 1, True).head(200, None, [field], b""))
    writer = Writer("GET", 1, True)
    assert read_responses([writer.head(200, None, [], b"", 0) + writer.end()]).end == "done"


def test_an_answer_is_as_long_as_it_says_or_the_peer_can_tell() -> None:
    """No body of the application can be read as the next answer."""
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    for method in ("GET", "HEAD"):
        for status in (200, 204, 304):
            for fields in ([], [("Content-Length", str(len(body)))]):
                writer = Writer(method, 1, True)
                wire = writer.head(status, None, fields, b"") + writer.body(body) + writer.end()
                assert len(read_responses([wire], [method]).messages) == 1
    writer = Writer("GET", 1, True)
    writer.head(200, None, [("Content-Length", "0")], b"")
    refuses(lambda: writer.body(body))
