"""h11 and httptools (llhttp) as judges: what both refuse we refuse, and what we accept they read the same way.

Each tolerated difference is here, in `TOLERATED` or beside the line that makes it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import h11
import httptools
import pytest
from hypothesis import example, given

from tests.http import heads
from tests.http.codec import Message, read, read_responses
from trews.http.http1 import Writer

NEXT = b"GET /the-next-one HTTP/1.1\r\nHost: next\r\n\r\n"

# What we accept and both refuse, and nothing else.
TOLERATED = {
    # RFC 9112, 2.2: an empty line before a request is passed over. llhttp does so, too, but knows some methods only;
    # h11 does not.
    "empty line": b"\r\nX-Y / HTTP/1.1\r\nHost: x\r\n\r\n",
}


LLHTTP_METHODS = {*heads.METHODS} - {b"get", b"X-Y"}


class Judged(NamedTuple):
    """The first message as another reads it."""

    method: bytes
    target: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    behind: bytes | None  # what follows it; None if that one does not tell


def lowered(pairs: Any) -> list[tuple[bytes, bytes]]:
    # h11 lowers names. llhttp leaves the space behind a value where it was.
    return [(bytes(name).lower(), bytes(value).strip(b" \t")) for name, value in pairs]


def by_h11(data: bytes) -> Judged | None:
    """None if it is refused, or not all there."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    body = b""
    request: Any = None
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                trailers = lowered(event.headers)
                rest = connection.trailing_data[0]
                return Judged(request.method, request.target, lowered(request.headers), body, trailers, rest)
            else:  # NEED_DATA, PAUSED
                return None
    except h11.RemoteProtocolError:
        return None


class Noting:
    """What httptools tells of the first message."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.method = self.target = self.body = b""
        self.ended = 0
        self.in_body = False
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        if not self.ended:
            self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.ended:
            (self.trailers if self.in_body else self.fields).append((name, value))

    def on_headers_complete(self) -> None:
        if not self.ended:
            self.method = self.parser.get_method()
            self.in_body = True

    def on_body(self, body: bytes) -> None:
        if not self.ended:
            self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1


def by_httptools(data: bytes) -> Judged | None:
    noting = Noting()
    try:
        noting.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        if not noting.ended:
            return None
    if not noting.ended:
        return None
    fields, trailers = lowered(noting.fields), lowered(noting.trailers)
    return Judged(noting.method, noting.target, fields, noting.body, trailers, None)


def is_tolerated(data: bytes, ours: Message) -> bool:
    return data.startswith(b"\r\n") and ours.start[0].encode() not in LLHTTP_METHODS


def compare(data: bytes) -> Message | None:
    """Check the first request in what comes; returns it if we accept it."""
    found = read([data])
    ours = found.messages[0] if found.messages else None
    first, second = by_h11(data), by_httptools(data)
    if ours is None:
        return None
    assert first or second or is_tolerated(data, ours), "accepted, and refused by both"
    for theirs in (first, second):
        if theirs is None:
            continue
        assert theirs.method == ours.start[0].encode()
        assert theirs.target == ours.start[1]
        assert theirs.fields == lowered(ours.fields)
        if theirs.method == b"CONNECT" and theirs is second:
            continue  # RFC 9110, 9.3.6: what follows is the tunnel's, and llhttp has no body of it
        says_upgrade = theirs is second and b"upgrade" in b",".join(v.lower() for n, v in theirs.fields)
        assert theirs.body == ours.body or says_upgrade
        assert theirs.trailers == lowered(ours.trailers) or says_upgrade
    return ours


@given(heads.requests | heads.anything)
@example(TOLERATED["empty line"])
def test_what_both_refuse_we_refuse_and_what_we_accept_they_read_alike(data: bytes) -> None:
    compare(data)


@given(heads.plain_requests())
def test_what_is_right_all_accept(data: bytes) -> None:
    """Or the test above could pass by refusing everything."""
    assert compare(data) is not None
    assert by_h11(data) is not None
    assert by_httptools(data) is not None


@given(heads.requests)
def test_the_next_message_begins_where_they_say(data: bytes) -> None:
    found = read([data + NEXT])
    theirs = by_h11(data + NEXT)
    if not found.messages or theirs is None or theirs.behind is None:
        return
    rest = read([theirs.behind])
    if found.end == "switched" and len(found.messages) == 1:
        assert found.left == theirs.behind
    else:
        assert (found.messages[1:], found.end) == (rest.messages, rest.end)


@given(heads.plain_requests(), heads.requests)
def test_both_find_the_second_request_behind_the_first(first: bytes, second: bytes) -> None:
    found = read([first + second])
    theirs = by_h11(first + second)
    assert theirs is not None
    assert theirs.behind == second
    assert (found.messages[1:], found.end) == (read([second]).messages, read([second]).end)


@pytest.mark.parametrize("name", TOLERATED)
def test_each_tolerated_difference_is_one(name: str) -> None:
    wire = TOLERATED[name]
    assert len(read([wire]).messages) == 1
    assert by_h11(wire) is None
    assert by_httptools(wire) is None


@pytest.mark.parametrize(
    "wire",
    [
        b"GET / HTTP/1.1\nHost: x\n\n",  # h11 takes LF for a line end
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",  # h11 unfolds
        b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",  # h11 takes equal ones
        b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",  # so it does a list
        b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",  # neither looks at Host
        b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # llhttp needs no Host
        b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_we_are_stricter_than_one_of_them(wire: bytes) -> None:
    """The other direction, for the record: these are refused here, and read by one of them at least."""
    assert read([wire]).messages == []
    assert by_h11(wire) or by_httptools(wire)


# -- responses, and what the Writer makes


@given(heads.plain_requests())
def test_responses_are_read_as_h11_reads_them(data: bytes) -> None:
    wire = b"HTTP/1.1 200 OK\r\n" + data.partition(b"\r\n")[2]
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(wire)
    client.receive_data(b"")
    body = b""
    fields = trailers = None
    while trailers is None:
        event = client.next_event()
        if isinstance(event, h11.Response):
            fields = lowered(event.headers)
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            trailers = lowered(event.headers)
        else:
            raise AssertionError(event)
    (ours,) = read_responses([wire]).messages
    assert (lowered(ours.fields), ours.body, lowered(ours.trailers)) == (fields, body, trailers)


@given(heads.plain_requests())
def test_h11_reads_what_the_writer_writes(data: bytes) -> None:
    (asked,) = read([data]).messages
    method, _, _ = asked.start
    fields = [(name, value) for name, value in asked.fields if name.lower() not in (b"host", b"transfer-encoding")]
    server = Writer(method, 1, True)
    is_chunked = not any(name.lower() == b"content-length" for name, _ in fields)
    trailers = asked.trailers if is_chunked else []
    wire = server.head(200, None, fields, b"Date: now\r\n") + server.body(asked.body) + server.end(trailers)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    client.send(h11.EndOfMessage())
    client.receive_data(wire)
    response: Any = client.next_event()
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert client.their_state is h11.DONE
    assert client.trailing_data == (b"", False)
    assert body == (b"" if method == "HEAD" else asked.body)
    assert lowered(event.headers) == ([] if method == "HEAD" else lowered(trailers))
    sent = [pair for pair in lowered(response.headers) if pair[0] not in (b"date", b"transfer-encoding")]
    assert sorted(sent) == sorted(lowered(fields))
