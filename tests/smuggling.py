"""Requests that two programs might read in two ways: a name, and bytes that go on one connection.

`cases()` has several hundred, of each kind that has worked against some server. `/a` is the request that is meant;
`/s` stands where one would appear that somebody smuggled; behind every case follows `/t`, and then the connection ends.
The marks are made different for each case: `/a017`, `/s017`, `/t017`.

What may be said of them is the business of those who send them: test_http_frontends.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

INNER = b"GET /s000 HTTP/1.1\r\nHost: a\r\n\r\n"
TAIL = b"GET /t HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
_MARK = re.compile(rb"(?<!:/)/([ast])(?:000|(?![A-Za-z0-9]))")  # not the host of a URL


def cases() -> dict[str, bytes]:
    """All of them, by name."""
    made: dict[str, bytes] = {}
    for kind in (_codings, _lengths, _chunks, _trailers, _lines, _fields, _hosts, _targets, _connections, _pipelines):
        for name, data in kind():
            name = f"{kind.__name__[1:]}: {name}"
            assert name not in made, name
            made[name] = _mark(data + TAIL, len(made))
    return made


def _mark(data: bytes, number: int) -> bytes:
    return _MARK.sub(rb"/\g<1>%03d" % number, data)


def _post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST /a HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body


def _show(data: bytes) -> str:
    return data.decode("latin-1").encode("unicode_escape").decode()


def _codings() -> Iterator[tuple[str, bytes]]:
    """Transfer-Encoding in every spelling; with Content-Length before and behind it, and alone."""
    fields = [
        *(
            b"Transfer-Encoding:" + value
            for value in (
                b" chunked",
                b"chunked",
                b" Chunked",
                b" CHUNKED",
                b"  chunked  ",
                b"\tchunked",
                b" chunked\t",
                b" \x0bchunked",
                b" chunked\x0b",
                b" \x0cchunked",
                b" chunked\x00",
                b" \x00chunked",
                b" chunked\x85",
                b" \xa0chunked",
                b' "chunked"',
                b" 'chunked'",
                b" chunked;",
                b" chunked;q=1",
                b" chunked,",
                b" ,chunked",
                b" , chunked",
                b" chunked, chunked",
                b" chunked,identity",
                b" identity, chunked",
                b" identity",
                b" gzip, chunked",
                b" chunked, gzip",
                b" gzip",
                b" deflate",
                b" xchunked",
                b" chunkedx",
                b" x-chunked",
                b" chunke",
                b" chunk\xc5\xbfed",
                b" chun\xe2\x84\xaaed",
                b" chun ked",
                b"",
                b" ",
                b" cow",
                b" chunked cow",
                b" cow chunked",
                b" c\r\n hunked",
            )
        ),
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\t: chunked",
        b" Transfer-Encoding: chunked",
        b"\tTransfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding:\n chunked",
        b"X: y\nTransfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
        b"X: y\r\n\rTransfer-Encoding: chunked",
        b"X: y\x00\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding\x00: chunked",
        b"Transfer_Encoding: chunked",
        b"Transfer Encoding: chunked",
        b"transfer-encoding: chunked",
        b"TRANSFER-ENCODING: chunked",
        b"Transfer-\xc4\x93ncoding: chunked",
        b"\xefTransfer-Encoding: chunked",
        b"TE: chunked",
        b"X-Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding:\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer_Encoding: identity",
    ]
    body = b"0\r\n\r\n" + INNER
    for field in fields:
        length = b"Content-Length: %d\r\n" % len(body)
        yield f"CL, {_show(field)}", _post(length + field + b"\r\n", body)
        yield f"{_show(field)}, CL", _post(field + b"\r\n" + length, body)
        yield f"{_show(field)}", _post(field + b"\r\n", body)
        short = b"Content-Length: 4\r\n"
        yield (
            f"short CL, {_show(field)}",
            _post(short + field + b"\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)),
        )
    yield "HTTP/1.0", b"POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    yield (
        "HTTP/1.0, keep-alive",
        b"POST /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + body,
    )
    yield (
        "HTTP/1.0 with CL",
        b"POST /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: %d\r\n" % len(body)
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + body,
    )
    yield "GET", b"GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    yield "HEAD", b"HEAD /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    yield "HTTP/1.2", b"POST /a HTTP/1.2\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body


def _lengths() -> Iterator[tuple[str, bytes]]:
    """Content-Length: numbers that are none, several, and with bodies where none are expected."""
    size = len(INNER)
    for value in (
        b"%d", b" %d", b"%d ", b"\t%d\t", b"+%d", b"-%d", b"-0", b"-1", b"0%d", b"00000000000000000000000000000000%d",
        b"0x%x", b"0X%x", b"%dx", b"%d.0", b"%d.", b".%d", b"%de0", b"1_0", b"1 0", b"%d,%d", b"%d, %d", b"%d,",
        b",%d", b"%d, 0", b"0, %d", b"%d;", b'"%d"', b"'%d'", b"", b"   ", b"\x0b%d", b"%d\x0b", b"\x0c%d", b"%d\x00",
        b"\x00%d", b"\xa0%d", b"%d\x85", b"\xd9\xa3\xd9\xa0", b"\xb2", b"\xef\xbc\x93", b"%d\r\n ", b"\r\n %d",
        b"%d\n", b"%d\r", b"18446744073709551616", b"18446744073709551617", b"9223372036854775808", b"4294967296",
        b"4294967297", b"99999999999999999999999", b"NaN", b"Infinity", b"1e1", b"0b11", b"0o17", b"x", b"#%d",
        b"(%d)", b"%d\r\n\t0",
    ):  # fmt: skip
        text = value.replace(b"%d", b"%d" % size).replace(b"%x", b"%x" % size)
        yield _show(value), _post(b"Content-Length: " + text + b"\r\n", INNER)
    for name in (
        b"Content-Length :", b"Content-Length\t:", b" Content-Length:", b"\tContent-Length:", b"Content_Length:",
        b"Content Length:", b"Content-Length\x00:", b"\x00Content-Length:", b"content-length:", b"CONTENT-LENGTH:",
        b"Content-Lengt\xe8:", b"\xa0Content-Length:", b"Content\x2dLength:", b"\"Content-Length\":",
        b"Content-Length", b"Content-Length:\r", b"X: y\nContent-Length:", b"X: y\rContent-Length:",
        b"X: y\x0bContent-Length:", b"Content-Length;", b"Content-Length=", b"X-Content-Length:",
        b"Content-Length-X:", b"Content--Length:",
    ):  # fmt: skip
        yield f"name {_show(name)}", _post(name + b" %d\r\n" % size, INNER)
    yield "two the same", _post(b"Content-Length: %d\r\nContent-Length: %d\r\n" % (size, size), INNER)
    yield "two, the first 0", _post(b"Content-Length: 0\r\nContent-Length: %d\r\n" % size, INNER)
    yield "two, the second 0", _post(b"Content-Length: %d\r\nContent-Length: 0\r\n" % size, INNER)
    yield "two, cases", _post(b"Content-Length: %d\r\ncontent-length: 0\r\n" % size, INNER)
    yield "two, one with _", _post(b"Content-Length: 0\r\nContent_Length: %d\r\n" % size, INNER)
    yield "none", _post(b"", INNER)
    yield "0 and a body", _post(b"Content-Length: 0\r\n", INNER)
    yield "too short", _post(b"Content-Length: 5\r\n", b"hello" + INNER)
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT", b"PATCH", b"TRACE", b"get", b"FOO", b"PRI"):
        head = method + b" /a HTTP/1.1\r\nHost: a\r\n"
        yield f"{method.decode()} with", head + b"Content-Length: %d\r\n\r\n" % size + INNER
        yield f"{method.decode()} without", head + b"\r\n" + INNER
        yield f"{method.decode()} with a chunked one", head + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER
    yield "HTTP/1.0", b"POST /a HTTP/1.0\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + INNER
    yield (
        "HTTP/1.0, keep-alive",
        b"POST /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello" + INNER,
    )


def _chunks() -> Iterator[tuple[str, bytes]]:
    """Sizes and ends of chunks."""
    chunked = b"Transfer-Encoding: chunked\r\n"
    size = len(INNER)
    for line in (
        b"%x\r\n", b"%X\r\n", b"0%x\r\n", b"0000000000000000000000000000000000%x\r\n", b"0x%x\r\n", b"0X%x\r\n",
        b"+%x\r\n", b"-%x\r\n", b" %x\r\n", b"%x \r\n", b"\t%x\r\n", b"%x\t\r\n", b"%x\x0b\r\n", b"%x\x00\r\n",
        b"\x00%x\r\n", b"%x\n", b"%x\r", b"%x\r\r\n", b"%x\n\r\n", b"\r\n%x\r\n", b"\n%x\r\n", b"%x;\r\n",
        b"%x;x\r\n", b"%x;x=y\r\n", b"%x ; x = y\r\n", b"%x;x=\"y\"\r\n", b"%x;x=\"y\r\n", b"%x;x=\"\n\"\r\n",
        b"%x;x=\"\r\n\"\r\n", b"%x;x=\"\\\"\"\r\n", b"%x;x\ny\r\n", b"%x;x\ry\r\n", b"%x;\n\r\n", b"%x;\r",
        b"%x;x=\x00\r\n", b"%x;x=\xff\r\n", b"%x;;\r\n", b"%x;=\r\n", b"%x;x=y;z\r\n", b"%x x\r\n", b"%x,x\r\n",
        b"%xg\r\n", b"g\r\n", b"\r\n", b"%x_0\r\n", b"1_0\r\n", b"10000000000000000%x\r\n",
        b"1000000000000000000000000000000%x\r\n", b"ffffffffffffffff\r\n", b"7fffffffffffffff\r\n", b"%x.0\r\n",
        b"%xh\r\n", b"\xef\xbc\x93\r\n", b"%x\xa0\r\n", b"%x#\r\n", b"%x//\r\n", b"\"%x\"\r\n",
        b"%x;a=" + b"b" * 900 + b"\r\n", b"%x  ;x\r\n",
    ):  # fmt: skip
        text = line.replace(b"%x", b"%x" % size).replace(b"%X", b"%X" % size)
        yield f"size {_show(line[:40])}", _post(chunked, text + INNER + b"\r\n0\r\n\r\n")
    for end in (b"", b"\n", b"\r", b"\n\r", b"xx", b"\r\r\n", b"\n\n", b"\r\n\r\n", b" \r\n", b"\rx", b"x\n"):
        data = b"5\r\nhello" + end + b"0\r\n\r\n" + INNER
        yield f"end {_show(end)}", _post(chunked, data)
    for last in (
        b"0\r\n\r\n", b"0\n\n", b"0\r\n\n", b"0\n\r\n", b"0\r\r", b"00\r\n\r\n", b"000000000000000000000000\r\n\r\n",
        b"-0\r\n\r\n", b"0x0\r\n\r\n", b"0;x\r\n\r\n", b"0 \r\n\r\n", b" 0\r\n\r\n", b"0\r\n \r\n", b"0\r\n\r\r\n",
        b"0\r\nx\r\n\r\n", b"\r\n\r\n", b"0\r\n\rx", b"0;x=\"\r\n\r\n\"\r\n\r\n", b"0;\n\r\n\r\n", b"0\x00\r\n\r\n",
    ):  # fmt: skip
        data = b"5\r\nhello\r\n" + last + INNER
        yield f"last {_show(last)}", _post(chunked, data)
    # What ends a chunk, for those who skip two bytes, whatever they are.
    hidden = b"AAAAA\r\n0\r\n\r\n" + INNER
    yield "two bytes skipped", _post(chunked, b"5\r\nAAAAAXX2\r\n45\r\n0\r\n\r\n" + INNER)
    yield "two bytes skipped, a size", _post(chunked, b"5\r\nAAAAA%x\r\n" % len(hidden) + hidden + b"\r\n0\r\n\r\n")
    inner = b"0\r\n\r\n" + INNER
    yield "in an extension", _post(chunked, b"5;\n%x\r\nhello\r\n" % len(inner) + inner)
    yield "CR in an extension", _post(chunked, b"2;\rxx\r\nhi\r\n0\r\n\r\n" + INNER)


def _trailers() -> Iterator[tuple[str, bytes]]:
    """Fields behind the last chunk."""
    for lines in (
        b"X: y\r\n", b"X:y\r\n", b"X : y\r\n", b" X: y\r\n", b"X: y\r\n z\r\n", b"X: y\n", b"X: y\r", b"X\r\n",
        b": y\r\n", b"X: \x00\r\n", b"X: y\rz\r\n", b"X: \xff\r\n", b"X\xff: y\r\n", b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
        b"Trailer: X\r\n", b"X: " + b"y" * 3000 + b"\r\n", b"Authorization: x\r\n", b"Cookie: x\r\n",
        b"X-Forwarded-For: 192.0.2.1\r\n", b"Expect: 100-continue\r\n", b"GET /s HTTP/1.1\r\n",
        b"GET /s HTTP/1.1\r\nHost: a\r\n", b"X: y\r\n" * 120, b"Upgrade: websocket\r\n",
    ):  # fmt: skip
        data = b"5\r\nhello\r\n0\r\n" + lines + b"\r\n"
        yield _show(lines[:60]), _post(b"Transfer-Encoding: chunked\r\n", data + INNER)


def _lines() -> Iterator[tuple[str, bytes]]:
    """Where lines end, and where the head does."""
    get = b"GET /a HTTP/1.1\r\nHost: a\r\n"
    yield from {
        "LF only": b"GET /a HTTP/1.1\nHost: a\n\n",
        "LF after the request line": b"GET /a HTTP/1.1\nHost: a\r\n\r\n",
        "LF after a field": b"GET /a HTTP/1.1\r\nHost: a\n\r\n",
        "LF as the empty line": get + b"\n",
        "CR only": b"GET /a HTTP/1.1\rHost: a\r\r",
        "CR as the empty line": get + b"\r" + INNER,
        "CR CR LF": b"GET /a HTTP/1.1\r\r\nHost: a\r\n\r\n",
        "CR CR LF as the empty line": get + b"\r\r\n",
        "CR in a value": get + b"X: y\rz\r\n\r\n",
        "LF in a value": get + b"X: y\nz\r\n\r\n",
        "CR at a value's end": get + b"X: y\r\r\n\r\n",
        "a field behind CR": get + b"X: y\rConnection: close\r\n\r\n",
        "a request behind CR CR": get + b"X: y\r\r" + INNER,
        "a request behind LF LF": get + b"X: y\n\n" + INNER,
        "a request behind CR LF LF": get + b"X: y\r\n\n" + INNER,
        "NUL in a value": get + b"X: y\x00z\r\n\r\n",
        "NUL as a line end": get + b"X: y\x00Y: z\r\n\r\n",
        "VT in a value": get + b"X: y\x0bz\r\n\r\n",
        "ESC in a value": get + b"X: y\x1b[0m\r\n\r\n",
        "DEL in a value": get + b"X: y\x7f\r\n\r\n",
        "high bytes in a value": get + b"X: \x80\xff\xe2\x80\xa8\r\n\r\n",
        "NEL in a value": get + b"X: y\x85Y: z\r\n\r\n",
        "a folded field": get + b"X: y\r\n z\r\n\r\n",
        "a field folded with a tab": get + b"X: y\r\n\tz\r\n\r\n",
        "a folded field at the start": b"GET /a HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n",
        "a folded empty line": get + b"X: y\r\n \r\n\r\n",
        "a folded request": get + b"X: y\r\n " + INNER,
        "a folded Host": b"GET /a HTTP/1.1\r\nHost:\r\n a\r\n\r\n",
        "an empty line before": b"\r\n" + get + b"\r\n",
        "five empty lines before": b"\r\n" * 5 + get + b"\r\n",
        "LF before": b"\n" + get + b"\r\n",
        "CR before": b"\r" + get + b"\r\n",
        "a space before": b" " + get + b"\r\n",
        "a tab before": b"\t" + get + b"\r\n",
        "NUL before": b"\x00" + get + b"\r\n",
        "a mark before": b"\xef\xbb\xbf" + get + b"\r\n",
        "garbage before": b"xxxx" + get + b"\r\n",
        "a line before": b"hello\r\n" + get + b"\r\n",
        "empty lines between": get + b"\r\n\r\n\r\n" + INNER,
        "a space between": get + b"\r\n " + INNER,
        "no empty line": get,
    }.items()


def _fields() -> Iterator[tuple[str, bytes]]:
    """Names, and how many."""
    get = b"GET /a HTTP/1.1\r\nHost: a\r\n"
    for line in (
        b"X", b"X y", b":", b": y", b" : y", b"X: ", b"X:", b"X:y:z", b"X\x00: y", b"X\x80: y", b"X(: y", b"X): y",
        b"X<: y", b"X@: y", b"X,: y", b"X;: y", b"X\\: y", b"X\": y", b"X/: y", b"X[: y", b"X?: y", b"X=: y",
        b"X{: y", b"X y: z", b"X\t: y", b"X\x0b: y", b"X_Y: z", b"X-Y_Z: a", b"!#$%&'*+-.^_`|~: y", b"\xc5\xbfost: b",
        b"X: " + b"y" * 7000, b"X: y" + b"\r\nX: y" * 60, b"Content-Type: a\r\nContent-Type: b", b"X: \"",
        b"X: \"\r\nY: \"", b"X: \\", b"Proxy: x", b"Keep-Alive: timeout=1", b"X-Forwarded-For: 192.0.2.1",
        b"X-Forwarded-Host: b", b"X-Original-URL: /s", b"X-Rewrite-URL: /s", b"X-HTTP-Method-Override: POST",
        b"Forwarded: for=192.0.2.1", b"Max-Forwards: 0", b"Via: 1.1 a", b"HTTP2-Settings: x",
    ):  # fmt: skip
        yield _show(line[:40]), get + line + b"\r\n\r\n" + INNER


def _hosts() -> Iterator[tuple[str, bytes]]:
    """Host: missing, twice, and what is none."""
    for lines in (
        b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nHost: b\r\n", b"Host: b\r\nhost: a\r\n", b"Host:\r\n",
        b"Host: \r\n", b"Host: a b\r\n", b"Host: a,b\r\n", b"Host: a, b\r\n", b"Host: a/b\r\n", b"Host: a/../b\r\n",
        b"Host: a?b\r\n", b"Host: a#b\r\n", b"Host: a@b\r\n", b"Host: a:b\r\n", b"Host: a:80:80\r\n", b"Host: a:\r\n",
        b"Host: a:-1\r\n", b"Host: a:65536\r\n", b"Host: a:+80\r\n", b"Host: [::1]\r\n", b"Host: [::1]:80\r\n",
        b"Host: [::1\r\n", b"Host: ::1\r\n", b"Host: [a]\r\n", b"Host: a\\b\r\n", b"Host: a\x00b\r\n",
        b"Host: \xff\r\n", b"Host: a\"b\r\n", b"Host: <a>\r\n", b"Host: http://a\r\n", b"Host: .\r\n",
        b"Host: ..\r\n", b"Host : a\r\n", b" Host: a\r\n", b"Host: a\r\n b\r\n", b"Host: a\rHost: b\r\n",
        b"Host: a\nHost: b\r\n", b"Host: A.EXAMPLE:080\r\n", b"Host: %61\r\n", b"Host: %00\r\n", b"Host: %zz\r\n",
        b"Host: a%2fb\r\n", b"Host: -\r\n", b"Host: a_b\r\n", b"Host: *\r\n", b"Host: " + b"a" * 300 + b"\r\n",
        b"Host:a\r\n", b"Host:\ta\r\n", b"Host\r\n", b"X-Host: a\r\n", b"Host: a;b\r\n", b"Host: a:80,b\r\n",
    ):  # fmt: skip
        yield _show(lines[:60]), b"GET /a HTTP/1.1\r\n" + lines + b"\r\n"
    yield "HTTP/1.0 without", b"GET /a HTTP/1.0\r\n\r\n" + INNER
    yield "HTTP/1.0 with two", b"GET /a HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n" + INNER


def _targets() -> Iterator[tuple[str, bytes]]:
    """The request line."""
    rest = b"\r\nHost: a\r\n\r\n"
    for line in (
        b"GET /a HTTP/1.1", b"GET  /a HTTP/1.1", b"GET /a  HTTP/1.1", b"GET\t/a HTTP/1.1", b"GET /a\tHTTP/1.1",
        b"GET /a HTTP/1.1 ", b"GET /a HTTP/1.1\t", b"GET /a", b"GET /a ", b"GET HTTP/1.1", b"GET", b"/a HTTP/1.1",
        b"GET /a HTTP/1.1 HTTP/1.1", b"GET /a b HTTP/1.1", b"GET /a HTTP/1.0", b"GET /a HTTP/0.9", b"GET /a HTTP/2.0",
        b"GET /a HTTP/1.2", b"GET /a HTTP/1.9", b"GET /a HTTP/1.10", b"GET /a HTTP/01.1", b"GET /a HTTP/1.01",
        b"GET /a HTTP/1", b"GET /a HTTP/1.", b"GET /a HTTP/.1", b"GET /a HTTP/ 1.1", b"GET /a http/1.1",
        b"GET /a Http/1.1", b"GET /a HTTPS/1.1", b"GET /a HTTP/1,1", b"GET /a HTTP/+1.1", b"GET /a HTTP/1.1x",
        b"GET /a HTTP/3.0", b"GET /a XTTP/1.1", b"GET /a\x00 HTTP/1.1", b"GET /a\x0b HTTP/1.1",
        b"GET /a\x7f HTTP/1.1", b"GET /a\x80 HTTP/1.1", b"GET /a\xe2\x80\xa8 HTTP/1.1", b"GET /a# HTTP/1.1",
        b"GET /a#b HTTP/1.1", b"GET /a?x#y HTTP/1.1", b"GET /a? HTTP/1.1", b"GET /a?x=/s HTTP/1.1",
        b"GET /a\\ HTTP/1.1", b"GET /a\" HTTP/1.1", b"GET /a<> HTTP/1.1", b"GET /a{} HTTP/1.1", b"GET /a|^` HTTP/1.1",
        b"GET /a% HTTP/1.1", b"GET /a%4 HTTP/1.1", b"GET /a%zz HTTP/1.1", b"GET /a%00 HTTP/1.1",
        b"GET /a%0d%0aX:%20y HTTP/1.1", b"GET /a%20HTTP/1.1 HTTP/1.1", b"GET /a/../s HTTP/1.1",
        b"GET /a/%2e%2e/s HTTP/1.1", b"GET /a//s HTTP/1.1", b"GET //a HTTP/1.1", b"GET /./a HTTP/1.1",
        b"GET /a;x=/s HTTP/1.1", b"GET http://a/a HTTP/1.1", b"GET HTTP://a/a HTTP/1.1", b"GET https://a/a HTTP/1.1",
        b"GET http://b/a HTTP/1.1", b"GET http://a:80/a HTTP/1.1", b"GET http://a HTTP/1.1",
        b"GET http://a?/a HTTP/1.1", b"GET http://a?x/a HTTP/1.1", b"GET http:///a HTTP/1.1", b"GET http:/a HTTP/1.1",
        b"GET http:a HTTP/1.1", b"GET http://u@a/a HTTP/1.1", b"GET http://a@b/a HTTP/1.1",
        b"GET http://a\\b/a HTTP/1.1", b"GET http://a#/a HTTP/1.1", b"GET ftp://a/a HTTP/1.1",
        b"GET file:///a HTTP/1.1", b"GET a HTTP/1.1", b"GET a/a HTTP/1.1", b"GET * HTTP/1.1", b"GET a:80 HTTP/1.1",
        b"GET ?x HTTP/1.1", b"GET .. HTTP/1.1", b"OPTIONS * HTTP/1.1", b"OPTIONS /a HTTP/1.1", b"OPTIONS *x HTTP/1.1",
        b"CONNECT a:80 HTTP/1.1", b"CONNECT /a HTTP/1.1", b"CONNECT a HTTP/1.1", b"TRACE /a HTTP/1.1",
        b"get /a HTTP/1.1", b"G\x00T /a HTTP/1.1", b"G\x80T /a HTTP/1.1", b"G:T /a HTTP/1.1", b"G(T /a HTTP/1.1",
        b"GET: /a HTTP/1.1", b"X-Y /a HTTP/1.1", b"GET\x0b/a HTTP/1.1", b"GET\xa0/a HTTP/1.1", b"GET /a\xa0HTTP/1.1",
        b"GET /" + b"x" * 9000 + b"/a HTTP/1.1", b"M" * 300 + b" /a HTTP/1.1", b"PRI * HTTP/2.0",
    ):  # fmt: skip
        yield _show(line[:60]), line + rest
    yield "HTTP/0.9", b"GET /a\r\n"


def _connections() -> Iterator[tuple[str, bytes]]:
    """What is hop by hop: fields named in Connection, upgrades, 100-continue."""
    size = len(INNER)
    length = b"Content-Length: %d\r\n" % size
    chunked = b"Transfer-Encoding: chunked\r\n"
    for name in (
        b"Content-Length",
        b"content-length",
        b"Host",
        b"Transfer-Encoding",
        b"X",
        b"Expect",
        b"close, Content-Length",
        b"keep-alive, Host",
    ):
        yield f"Connection: {name.decode()}, CL", _post(b"Connection: " + name + b"\r\n" + length, INNER)
        yield (
            f"Connection: {name.decode()}, TE",
            _post(b"Connection: " + name + b"\r\n" + chunked, b"0\r\n\r\n" + INNER),
        )
    upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\n"
    for protocol in (b"websocket", b"h2c", b"TLS/1.0", b"x", b"HTTP/2.0"):
        field = upgrade % protocol
        yield f"Upgrade: {protocol.decode()}", b"GET /a HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n" + INNER
        yield f"Upgrade: {protocol.decode()}, CL", b"GET /a HTTP/1.1\r\nHost: a\r\n" + field + length + b"\r\n" + INNER
        yield f"Upgrade: {protocol.decode()}, TE", _post(field + chunked, b"0\r\n\r\n" + INNER)
    yield (
        "a WebSocket with a body",
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + length + b"\r\n" + INNER,
    )
    for value in (
        b"100-continue",
        b"100-Continue",
        b"100-continue, x",
        b"x",
        b"",
        b"100-continue;q=1",
        b"200-ok",
        b"100-continue\x0b",
    ):
        yield f"Expect: {_show(value)}, CL", _post(b"Expect: " + value + b"\r\n" + length, INNER)
        yield f"Expect: {_show(value)}, CL 0", _post(b"Expect: " + value + b"\r\nContent-Length: 0\r\n", INNER)
        yield f"Expect: {_show(value)}, none", _post(b"Expect: " + value + b"\r\n", INNER)
    for value in (
        b"close",
        b"Close",
        b"close, keep-alive",
        b"keep-alive",
        b"",
        b",",
        b"clos\xe9",
        b"close\x00",
        b"cl ose",
        b'"close"',
        b"close;x",
    ):
        yield f"Connection: {_show(value)}", b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: " + value + b"\r\n\r\n" + INNER
    yield (
        "Connection twice",
        b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n" + INNER,
    )
    yield "HTTP/1.0", b"GET /a HTTP/1.0\r\nHost: a\r\n\r\n" + INNER
    yield "HTTP/1.0, keep-alive", b"GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" + INNER
    yield "HTTP/1.0, Expect", b"POST /a HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\n" + length + b"\r\n" + INNER


def _pipelines() -> Iterator[tuple[str, bytes]]:
    """Requests behind each other, and bodies that end early."""
    get = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
    yield "two", get + INNER
    yield "fifty", get + INNER * 50
    yield "garbage behind", get + b"\x16\x03\x01\x02\x00\x01"
    yield "a bad one behind", get + b"GET /s HTTP/1.1\r\nHost : a\r\n\r\n" + INNER
    yield "a bad length behind", get + b"POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n" + INNER
    yield "a body of a request", _post(b"Content-Length: %d\r\n" % len(INNER), INNER) + get
    yield "one with a body behind", get + b"POST /s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    yield "a body that does not come", _post(b"Content-Length: 5000\r\n", INNER)
    yield "a chunk that does not come", _post(b"Transfer-Encoding: chunked\r\n", b"5000\r\n" + INNER)
    yield "the last chunk does not come", _post(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n")
    yield "a large body and one behind", _post(b"Content-Length: 70000\r\n", b"x" * 70000) + INNER
    yield (
        "a large chunk and one behind",
        _post(b"Transfer-Encoding: chunked\r\n", b"11170\r\n" + b"x" * 70000 + b"\r\n0\r\n\r\n") + INNER,
    )
    yield "a body beyond the limit", _post(b"Content-Length: 20000000\r\n", INNER)
    yield "a PROXY header", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + get
    yield "TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x00" * 160 + get
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" + get
    yield "SMTP", b"EHLO a\r\nMAIL FROM:<>\r\n" + get
