"""Requests as hypothesis makes them: mostly right, in all that may vary, and then spoilt a little."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

METHODS = [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"DELETE", b"CONNECT", b"TRACE", b"get", b"X-Y"]
TARGETS = [b"/", b"/a/b?c=d", b"*", b"http://x/a", b"http://y", b"x:80", b"/%41", b"/%", b"/a#b", b"//x", b"?", b"/a b"]
VERSIONS = [b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.1 ", b""]
HOSTS = [b"Host: x"] * 8 + [b"Host: x:80", b"host:x", b"Host: y", b"Host: x/", b"Host:", b"Host : x", b"A: b"]
FRAMING = [
    *[b"Content-Length: 3"] * 4,
    *[b"Transfer-Encoding: chunked"] * 4,
    b"content-length:\t03 ",
    b"Content-Length: +3",
    b"Content-Length: 3, 3",
    b"Content-Length: 4",
    b"TRANSFER-encoding: CHUNKED",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding:",
]
OTHERS = [
    b"A: b",
    b"A:",
    b"Accept: */*, x;q=0.1",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: close, x",
    b"Connection: upgrade",
    b"Expect: 100-continue",
    b"Content-Type: a/b",
    b"X: \xe4\xff",
    b"X: a\tb ",
    b"Cookie: a=b; c=d",
    b"Te\tst: x",
    b" folded",
    b": no name",
    b"no colon",
]
CHUNKS = [
    b"3\r\nabc\r\n0\r\n\r\n",
    b"3;a=b\r\nabc\r\n1\r\nd\r\n00\r\nX: y\r\n\r\n",
    b"0\r\nX: y\r\nZ:\r\n\r\n",
    b"0\r\n\r\n",
    b'2;a="b"\r\nab\r\n0\r\n\r\n',
    b"+3\r\nabc\r\n0\r\n\r\n",
    b"3\nabc\n0\n\n",
    b"3\r\nabcd\r\n0\r\n\r\n",
    b"3 \r\nabc\r\n0\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
]
SPOILT = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"a",
    b"0",
    b"-",
    b"%",
]


@st.composite
def right_requests(draw: st.DrawFn) -> bytes:
    """A request that is right or nearly so, with its body."""
    line = b" ".join([draw(st.sampled_from(METHODS)), draw(st.sampled_from(TARGETS)), draw(st.sampled_from(VERSIONS))])
    lines = [draw(st.sampled_from(HOSTS)), *draw(st.lists(st.sampled_from(OTHERS), max_size=3))]
    framing = draw(st.lists(st.sampled_from(FRAMING), max_size=1) | st.lists(st.sampled_from(FRAMING), max_size=2))
    lines = draw(st.permutations(lines + framing))
    body = b""
    if framing:
        body = draw(st.sampled_from(CHUNKS)) if b"hunked" in framing[-1] else b"abc"
    return b"\r\n".join([line, *lines, b"", b""]) + body


@st.composite
def plain_requests(draw: st.DrawFn) -> bytes:
    """A request of which most are accepted: for what others read in them."""
    method, target = draw(st.sampled_from(METHODS[:6])), draw(st.sampled_from(TARGETS[:2] + TARGETS[6:7]))
    names = st.text("abcdefgXYZ-_!#0189", min_size=1, max_size=8).map(lambda s: b"X" + s.encode())
    text = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=9)
    values = text.map(lambda s: s.encode("latin-1"))
    space = st.sampled_from([b"", b" ", b"\t", b"  "])
    lines = [name + b":" + draw(space) + draw(values) + draw(space) for name in draw(st.lists(names, max_size=4))]
    content = draw(st.binary(max_size=40))
    kind = draw(st.sampled_from(["none", "length", "chunked"]))
    body = b""
    if kind == "length":
        lines.append(b"Content-Length: %d" % len(content))
        body = content
    elif kind == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        cut = draw(st.integers(0, len(content)))
        for piece in filter(None, (content[:cut], content[cut:])):
            body += b"%x\r\n%b\r\n" % (len(piece), piece)
        body += b"0\r\n%b\r\n" % draw(st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]))
    lines.insert(draw(st.integers(0, len(lines))), b"Host: x")
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", *lines, b"", b""]) + body


@st.composite
def spoilt(draw: st.DrawFn, of: Any) -> bytes:
    """One of those with a few bytes put in, taken out or exchanged."""
    data: bytes = draw(of)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from(SPOILT) | st.just(b"")) + data[at + draw(st.integers(0, 2)) :]
    return data


requests = spoilt(right_requests() | plain_requests())
streams = st.lists(requests, min_size=1, max_size=3).map(b"".join)
anything = st.lists(
    st.sampled_from([*SPOILT, *METHODS, *TARGETS, *VERSIONS, *HOSTS, *FRAMING, *OTHERS, b"\r\n", b"\r\n", b"\r\n\r\n"]),
    max_size=20,
).map(b"".join)
