"""What an answer is taken for: framed as it says, to the byte; whole, byte by byte, cut anywhere, with more behind."""

import random

import pytest

from trews import http
from trews.http.reply import Reply, parse_set_cookie


class Sender:
    """In the place of a wire: what has come is put into `data`."""

    def __init__(self):
        self.data = b""
        self.is_held = self.is_reset = self.is_dropped = False
        self.has_sent = True

    def drop(self):
        self.is_dropped = True


class Client:
    """In the place of the client."""

    def __init__(self):
        self.free = []

    def took_head(self, reply):
        pass

    def raise_due(self):
        pass

    def is_free(self, wire):
        self.free.append(wire)


def replied(pieces, method="GET"):
    wire = Sender()
    client = Client()
    reply = Reply(client, wire, method, f"{method} /")
    for piece in pieces:
        wire.data += piece
        reply.take()
    return reply, wire, client


OK = b"HTTP/1.1 200 OK\r\n"
# name, method, what is sent, status, content, whether the connection may be used again
WHOLE = [
    ("a length", "GET", OK + b"Content-Length: 2\r\n\r\nhi", 200, b"hi", True),
    ("no bytes", "GET", OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
    ("chunks", "GET", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n", 200, b"hi!", True),
    ("close", "GET", OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi", 200, b"hi", False),
    ("1.0", "GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    ("HEAD", "HEAD", OK + b"Content-Length: 2\r\n\r\n", 200, b"", True),
    ("204", "GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    ("304", "GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b"", True),
    (
        "interim",
        "GET",
        b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx",
        200,
        b"x",
        True,
    ),
]


def cuts(data):
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    chance = random.Random(1)
    for _ in range(20):
        at = sorted(chance.sample(range(len(data) + 1), 3))
        yield [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


@pytest.mark.parametrize(
    ("method", "data", "status", "content", "again"), [pytest.param(*c[1:], id=c[0]) for c in WHOLE]
)
def test_a_whole_answer(method, data, status, content, again):
    for pieces in cuts(data):
        reply, wire, client = replied(pieces, method)
        assert (reply.is_complete, reply.status, reply.content) == (True, status, content)
        assert (client.free == [wire], wire.is_dropped) == (again, not again)


@pytest.mark.parametrize(("method", "data"), [pytest.param(*c[1:3], id=c[0]) for c in WHOLE])
def test_what_is_behind_it_is_an_error(method, data):
    with pytest.raises(http.BadMessage, match="5 bytes behind its end: b'extra'"):
        replied([data + b"extra"], method)


def test_what_is_not_complete_is_not():
    for data in (OK, OK + b"Content-Length: 3\r\n\r\nhi", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"):
        assert not replied([data])[0].is_complete


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"A: b\nC: d\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_no_http_is_an_error(data):
    with pytest.raises(http.BadMessage, match="the answer to GET / is no HTTP: "):
        replied([data])


def test_an_answer_without_length_ends_with_the_connection():
    reply, _, client = replied([OK + b"\r\nall ", b"of it"])
    assert not reply.is_complete
    reply.ended()
    assert (reply.is_complete, reply.content, client.free) == (True, b"all of it", [])


def test_a_reset_is_not_its_end():
    reply, wire, _ = replied([OK + b"\r\nall "])
    wire.is_reset = True
    reply.ended()
    assert not reply.is_complete


def test_interim_answers_and_trailers_are_kept_apart():
    data = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + OK
    data += b"Transfer-Encoding: chunked\r\nB: head\r\n\r\n0\r\nB: behind\r\n\r\n"
    reply, _, _ = replied([data])
    assert [(status, fields["Link"]) for status, fields in reply.informed] == [(103, "</a.css>")]
    assert (reply.headers["B"], reply.trailers["B"]) == ("head", "behind")


def test_text_and_json():
    body = '{"a":"ü"}'.encode("latin-1")
    reply, _, _ = replied([OK + b"Content-Type: text/plain; charset=latin-1\r\nContent-Length: 9\r\n\r\n" + body])
    assert reply.text == '{"a":"ü"}'
    reply, _, _ = replied([OK + b'Content-Length: 8\r\n\r\n{"a": 1}'])
    assert reply.json() == {"a": 1}
    assert repr(reply) == "<Reply 200 OK to GET />"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=1", ("a", "1", False)),
        ("a=1=2; Path=/; HttpOnly", ("a", "1=2", False)),
        ("a=1; max-age=60", ("a", "1", False)),
        ("a=; Max-Age=0", ("a", "", True)),
        ("a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ("a", "", True)),
        ("a=1; Expires=Fri, 31 Dec 9999 23:59:59 GMT", ("a", "1", False)),
        ("a=1; Max-Age=5; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ("a", "1", False)),  # RFC 6265, 5.3: Max-Age wins
    ],
)
def test_set_cookie(line, expected):
    assert parse_set_cookie(line) == expected
