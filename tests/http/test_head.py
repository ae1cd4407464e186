"""The head of a request: a table in RFC 9112's order, each line whole, byte by byte, randomly split, with more behind.

The table makes this file long. Responses are in test_head_responses.py, limits in test_head_limits.py, and that both
forms of the scan agree in test_head_forms.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.codec import LIMITS, SWITCHED, chunkings, read
from trews.http.head import METHODS, RequestHead, scan_request

NEXT = b"GET /next HTTP/1.1\r\nHost: n\r\n\r\n"

PUT = b"PUT / HTTP/1.1\r\nHost: x\r\n"

# (what, the bytes, the status of the refusal, or (method, target, minor))
REQUESTS: list[tuple[str, bytes, Any]] = [
    # RFC 9112, 2.2: message parsing
    ("usual", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", b"/", 1)),
    ("an empty line before", b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", b"/", 1)),
    ("empty lines before", b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", b"/", 1)),
    ("LF before", b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("CR before", b"\rGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("space before", b" GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("LF only", b"GET / HTTP/1.1\nHost: x\n\n", 400),
    ("LF after the request line", b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
    ("LF after a field", b"GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
    ("LF at the end", b"GET / HTTP/1.1\r\nHost: x\r\n\n", 400),
    ("CR only", b"GET / HTTP/1.1\rHost: x\r\r", 400),
    ("CR CR LF", b"GET / HTTP/1.1\r\nHost: x\r\r\n\r\n", 400),
    ("CR at the end", b"GET / HTTP/1.1\r\nHost: x\r\n\rX", 400),
    ("CR in a value", b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400),
    ("CR in the request line", b"GET /\ra HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("space before the first field", b"GET / HTTP/1.1\r\n A: b\r\nHost: x\r\n\r\n", 400),
    ("a TLS ClientHello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    # 2.3: the version
    ("1.0", b"GET / HTTP/1.0\r\n\r\n", ("GET", b"/", 0)),
    ("a higher minor version", b"GET / HTTP/1.7\r\nHost: x\r\n\r\n", ("GET", b"/", 1)),
    ("0.9, with a version", b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505),
    ("2.0", b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("9.9", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
    ("lower case", b"GET / http/1.1\r\nHost: x\r\n\r\n", 400),
    ("another protocol", b"GET / ICY/1.1 \r\nHost: x\r\n\r\n", 400),
    ("two digits", b"GET / HTTP/1.10\r\nHost: x\r\n\r\n", 400),
    ("two digits before", b"GET / HTTP/01.1\r\nHost: x\r\n\r\n", 400),
    ("no minor", b"GET / HTTP/1.\r\nHost: x\r\n\r\n", 400),
    ("no version", b"GET /\r\nHost: x\r\n\r\n", 400),
    ("no version, but a space", b"GET / \r\nHost: x\r\n\r\n", 400),
    ("a short version", b"GET / HTTP\r\nHost: x\r\n\r\n", 400),
    ("digits of Unicode", "GET / HTTP/١.١\r\nHost: x\r\n\r\n".encode(), 400),
    # 3: the request line
    ("a method of one's own", b"BREW!#$%&'*+-.^_`|~9 / HTTP/1.1\r\nHost: x\r\n\r\n", ("BREW!#$%&'*+-.^_`|~9", b"/", 1)),
    ("a method in lower case", b"get / HTTP/1.1\r\nHost: x\r\n\r\n", ("get", b"/", 1)),
    ("no method", b" / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a method with a colon", b"GE:T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a method with a NUL", b"GE\0T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a method of no ASCII", b"G\xc9T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("two spaces before the target", b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("two spaces behind it", b"GET /  HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a space at the end", b"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
    ("tabs", b"GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a form feed", b"GET\x0c/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a space in the target", b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("no target", b"GET HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("an empty request line's worth", b"GET\r\nHost: x\r\n\r\n", 400),
    # 3.2: targets
    ("a query", b"GET /a/b?c=d&e HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", b"/a/b?c=d&e", 1)),
    ("escapes", b"GET /%e4%41?%zz=100% HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", b"/%e4%41?%zz=100%", 1)),
    ("two slashes", b"GET //a HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", b"//a", 1)),
    ("what browsers leave as it is", b"GET /a|b^c[]{}? HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", b"/a|b^c[]{}?", 1)),
    ("an escape of nothing", b"GET /100% HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("an escape of no hex", b"GET /%4g HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a fragment", b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a control character", b"GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("DEL", b"GET /a\x7f HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("UTF-8 in the target", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("no form", b"GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a query only", b"GET ?a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    # 3.2.2: absolute form
    ("a URL", b"GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", b"http://x/a", 1)),
    ("a URL of https", b"GET HTTPS://X:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", ("GET", b"HTTPS://X:443", 1)),
    ("a URL with a query", b"GET http://x?a HTTP/1.1\r\nHost: x\r\n\r\n", ("GET", b"http://x?a", 1)),
    ("a URL in 1.0, without Host", b"GET http://x/a HTTP/1.0\r\n\r\n", ("GET", b"http://x/a", 0)),
    ("a URL, and no Host", b"GET http://x/a HTTP/1.1\r\n\r\n", 400),
    ("a URL with an escape of nothing", b"GET http://x/% HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a URL of another scheme", b"GET ftp://x/a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a URL without a host", b"GET http:///a HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("a URL with a port only", b"GET http://:80/ HTTP/1.1\r\nHost: :80\r\n\r\n", 400),
    ("a URL with a user", b"GET http://me@x/a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a URL with a backslash", b"GET http://x\\y/a HTTP/1.1\r\nHost: x\\y\r\n\r\n", 400),
    ("a URL of another host", b"GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a URL of another port", b"GET http://x:81/a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    # 3.2.3: authority form
    ("CONNECT", b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", ("CONNECT", b"x:443", 1)),
    ("CONNECT to IPv6", b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n", ("CONNECT", b"[::1]:443", 1)),
    ("CONNECT without a port", b"CONNECT x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("CONNECT with an empty port", b"CONNECT x: HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("CONNECT to IPv6 without a port", b"CONNECT [::1] HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("CONNECT to a port only", b"CONNECT :443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("CONNECT to a path", b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("CONNECT to a URL", b"CONNECT http://x:80/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("authority form for others", b"GET x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 400),
    # 3.2.4: asterisk form
    ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", ("OPTIONS", b"*", 1)),
    ("* for others", b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("* and more", b"OPTIONS *a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    # 3.2, 7.2 of RFC 9110: Host
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("no Host in 1.0", b"GET / HTTP/1.0\r\nA: b\r\n\r\n", ("GET", b"/", 0)),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    ("twice the same Host", b"GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n", 400),
    ("two Hosts in 1.0", b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    *(
        (f"Host: {value!r}", b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % value, ("GET", b"/", 1))
        for value in (
            b"",
            b"x",
            b"x:",
            b"x:80",
            b"127.0.0.1:8080",
            b"[::1]",
            b"[fe80::1%25eth0]:1",
            b"a_b.c-d~!$&'()*+;=",
        )
    ),
    *(
        (f"Host: {value!r}", b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % value, ("GET", b"/", 1))
        for value in (b"%41", b"a%41b%42:1", b"x.", b"XN--A")
    ),
    *(
        (f"Host: {value!r}", b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % value, 400)
        for value in (
            b"x/",
            b"x?y",
            b"x#y",
            b"me@x",
            b"x\\y",
            b"x y",
            b"x,y",
            b":80",
            b"x:8o",
            b"x:123456",
            b"x:80:80",
            b"::1",
        )
    ),
    *(
        (f"Host: {value!r}", b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % value, 400)
        for value in (
            b"[::1",
            b"[]",
            b"[::1]x",
            b"[x]",
            b"x%4",
            b"x%",
            b"\xc3\xa4",
            b"x\ty",
            b'"x"',
            b"<x>",
            b"x|y",
            b"http://x",
        )
    ),
    # 5: fields; RFC 9110, 5.5
    ("no space", b"GET / HTTP/1.1\r\nHost:x\r\nA:b\r\n\r\n", ("GET", b"/", 1)),
    ("space around", b"GET / HTTP/1.1\r\nHost: \t x \t \r\nA:\t\r\n\r\n", ("GET", b"/", 1)),
    ("no value", b"GET / HTTP/1.1\r\nHost: x\r\nA:\r\nB: \r\n\r\n", ("GET", b"/", 1)),
    ("bytes of no ASCII", b"GET / HTTP/1.1\r\nHost: x\r\nA: \x80\xff\r\n\r\n", ("GET", b"/", 1)),
    ("all of a token", b"GET / HTTP/1.1\r\nHost: x\r\n!#$%&'*+-.^_`|~09Az: b\r\n\r\n", ("GET", b"/", 1)),
    ("colons", b"GET / HTTP/1.1\r\nHost: x\r\nA::b: c:\r\n\r\n", ("GET", b"/", 1)),
    ("space before the colon", b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
    ("tab before the colon", b"GET / HTTP/1.1\r\nHost: x\r\nA\t: b\r\n\r\n", 400),
    ("no colon", b"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n", 400),
    ("no name", b"GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", 400),
    *(
        (f"{c!r} in a name", b"GET / HTTP/1.1\r\nHost: x\r\nA%bB: b\r\n\r\n" % c, 400)
        for c in (
            b"\0",
            b"\x0b",
            b" ",
            b'"',
            b"(",
            b"/",
            b";",
            b"@",
            b"[",
            b"{",
            b"\x7f",
            b"\x80",
            b"\xff",
            b"\xc5\xbf",
        )
    ),
    *(
        (f"{c!r} in a value", b"GET / HTTP/1.1\r\nHost: x\r\nA: b%bc\r\n\r\n" % c, 400)
        for c in (b"\0", b"\x01", b"\x08", b"\x0b", b"\x0c", b"\x1b", b"\x1f", b"\x7f")
    ),
    # 5.2: folding
    ("folded by a space", b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
    ("folded by a tab", b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n", 400),
    ("a folded name", b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-\r\n Encoding: chunked\r\n\r\n", 400),
    # 6.1: Transfer-Encoding
    ("chunked", b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ("PUT", b"/", 1)),
    ("Chunked", b"PUT / HTTP/1.1\r\nHost: x\r\ntransfer-encoding:\tCHUNKED \r\n\r\n0\r\n\r\n", ("PUT", b"/", 1)),
    *(
        (f"TE {value!r}", b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %b\r\n\r\n0\r\n\r\n" % value, 400)
        for value in (
            b"",
            b"identity",
            b"gzip",
            b"gzip, chunked",
            b"chunked, gzip",
            b"chunked, chunked",
            b"chunked,",
            b",chunked",
            b"xchunked",
            b"chunkedx",
            b"chunked;a=b",
            b'"chunked"',
            b"chun ked",
            b"\x0bchunked",
            b"chunked\xa0",
            b"chun\xc7ed",
            "chunKed".replace("K", "\u212a").encode(),
        )
    ),
    ("two codings", b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("two of one", PUT + b"Transfer-Encoding: chunked\r\nTransfer-encoding: chunked\r\n\r\n", 400),
    ("chunked in 1.0", b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("both, TE first", PUT + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    ("both, CL first", PUT + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    # 6.2: Content-Length; RFC 9110, 8.6
    ("a length", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", ("PUT", b"/", 1)),
    ("zeros", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0003\r\n\r\nabc", ("PUT", b"/", 1)),
    ("none", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", ("PUT", b"/", 1)),
    ("of a GET", b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", ("GET", b"/", 1)),
    *(
        (f"CL {value!r}", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\nabc" % value, 400)
        for value in (
            b"",
            b"+3",
            b"-3",
            b"-0",
            b"0x3",
            b"1_0",
            b"3.",
            b"3.0",
            b"3 3",
            b"3,3",
            b"3, 3",
            b"3;",
            b"three",
            b'"3"',
            b"\x0b3",
            "٣".encode(),
            b"\xb2",
        )
    ),
    ("two lengths", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    ("twice a length", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("beyond measure", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999999999\r\n\r\n", 413),
    ("a space before its colon", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc", 400),
    # RFC 9110, 8.3
    ("two Content-Types", b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n", 400),
]


@pytest.mark.parametrize(("wire", "expected"), [case[1:] for case in REQUESTS], ids=[case[0] for case in REQUESTS])
@pytest.mark.parametrize("behind", [b"", NEXT], ids=["alone", "pipelined"])
def test_requests(wire: bytes, expected: Any, behind: bytes) -> None:
    for pieces in chunkings(wire + behind):
        found = read(pieces)
        if isinstance(expected, int):
            assert (found.messages, found.end) == ([], expected)
            continue
        assert found.messages[0].start == expected
        if found.end == SWITCHED:  # 1.0, or CONNECT
            assert len(found.messages) == 1
            assert found.left == behind
        else:
            assert [message.start for message in found.messages[1:]] == ([("GET", b"/next", 1)] if behind else [])
            assert found.end == "done"


def test_what_names_the_cases_is_no_case_twice() -> None:
    assert len({case[0] for case in REQUESTS}) == len(REQUESTS)


def head_of(wire: bytes) -> RequestHead:
    head = scan_request(wire, 0, LIMITS)
    assert head is not None
    return head


def with_fields(lines: bytes, minor: int = 1) -> RequestHead:
    return head_of(b"GET / HTTP/1.%d\r\nHost: x\r\n%b\r\n" % (minor, lines))


class TestFields:
    def test_they_are_as_they_were_sent_without_the_space_around(self) -> None:
        head = with_fields(b"A:b\r\nCamel-CASE:\t c  d \t\r\nA: \r\nX:y:z\r\n")
        assert head.pairs() == [(b"Host", b"x"), (b"A", b"b"), (b"Camel-CASE", b"c  d"), (b"A", b""), (b"X", b"y:z")]

    def test_no_other_whitespace_is_taken_for_space(self) -> None:
        assert with_fields(b"A: \x85b\xa0\r\n").pairs()[1] == (b"A", b"\x85b\xa0")

    def test_a_head_without_any(self) -> None:
        assert head_of(b"GET / HTTP/1.0\r\n\r\n").pairs() == []

    def test_where_it_ends(self) -> None:
        wire = b"....GET / HTTP/1.1\r\nHost: x\r\n\r\nrest"
        head = scan_request(wire, 4, LIMITS)
        assert head is not None
        assert wire[head.next :] == b"rest"
        assert wire[head.begin : head.end] == b"Host: x\r\n"

    @pytest.mark.parametrize("method", [*METHODS, b"TRACE", b"a"])
    def test_methods(self, method: bytes) -> None:
        assert head_of(b"%b / HTTP/1.1\r\nHost: x\r\n\r\n" % method).method == method.decode()


class TestPersistence:
    """RFC 9112, 9.3."""

    @pytest.mark.parametrize(
        ("minor", "connection", "persists"),
        [
            (1, None, True),
            (1, b"keep-alive", True),
            (1, b"close", False),
            (1, b"CLOSE", False),
            (1, b"a , close\t,b", False),
            (1, b"keep-alive, close", False),
            (1, b"closed, enclosed", True),
            (1, b'"close"', True),
            (0, None, False),
            (0, b"keep-alive", True),
            (0, b"Keep-Alive", True),
            (0, b"keep-alive, close", False),
            (0, b"close", False),
        ],
    )
    def test_connection(self, minor: int, connection: bytes | None, persists: bool) -> None:
        lines = b"" if connection is None else b"Connection: %b\r\n" % connection
        assert with_fields(lines, minor).persists is persists

    def test_two_fields_are_one_list(self) -> None:
        head = with_fields(b"Connection: upgrade\r\nConnection: close\r\n")
        assert head.says_upgrade
        assert not head.persists


class TestHost:
    def test_it_is_what_was_sent(self) -> None:
        assert head_of(b"GET / HTTP/1.1\r\nhOST:\tEx.org:80 \r\n\r\n").host == b"Ex.org:80"

    def test_of_a_url_it_is_the_one_in_it(self) -> None:
        assert head_of(b"GET http://Ex.org/ HTTP/1.1\r\nHost: ex.ORG\r\n\r\n").host == b"Ex.org"
        assert head_of(b"GET http://ex.org/ HTTP/1.0\r\n\r\n").host == b"ex.org"

    def test_without_it_there_is_none(self) -> None:
        assert head_of(b"GET / HTTP/1.0\r\n\r\n").host is None


class TestBody:
    """RFC 9112, 6.3."""

    @pytest.mark.parametrize(
        ("lines", "has_body", "length", "is_chunked"),
        [
            (b"", False, -1, False),
            (b"Content-Length: 0\r\n", False, 0, False),
            (b"Content-Length: 12\r\n", True, 12, False),
            (b"Content-Length: 999999999999999999\r\n", True, 10**18 - 1, False),
            (b"Transfer-Encoding: chunked\r\n", True, -1, True),
        ],
    )
    def test_what_follows(self, lines: bytes, has_body: bool, length: int, is_chunked: bool) -> None:
        head = with_fields(lines)
        assert (head.has_body, head.length, head.is_chunked) == (has_body, length, is_chunked)

    def test_names_that_only_begin_or_end_like_these_are_others(self) -> None:
        head = with_fields(
            b"X-Content-Length: 5\r\nContent-Lengths: 6\r\nContent-Lengtg: x\r\nTransfer-Encodinh: x\r\n"
        )
        assert (head.has_body, head.length) == (False, -1)


class TestExpect:
    """RFC 9110, 10.1.1."""

    @pytest.mark.parametrize(
        ("minor", "value", "expects"),
        [(1, b"100-continue", True), (1, b"100-Continue", True), (0, b"100-continue", False), (1, b"x", False)],
    )
    def test_continue(self, minor: int, value: bytes, expects: bool) -> None:
        assert with_fields(b"Expect: %b\r\nContent-Length: 1\r\n" % value, minor).expects_continue is expects
