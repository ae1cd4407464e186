"""Invariant: an answer is a BadAnswer, or exactly one message, which h11 and we read as what was to be sent."""

from __future__ import annotations

from typing import Any

import h11

from tests.http.codec import read_responses
from trews.http import head, http1
from trews.http.errors import BadAnswer
from trews.http.http1 import Writer

MODULES = (head, http1)
NAMES = [b"Content-Length", b"Connection", b"Transfer-Encoding", b"Set-Cookie", b"Date", b"X", b"Location", b"Upgrade"]
OURS = {b"content-length", b"connection", b"transfer-encoding", b"keep-alive", b"date"}


class Choices:
    """What is to be done, out of bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        self._at += 1
        return self._data[self._at - 1] % below if self._at <= len(self._data) else 0

    def text(self) -> bytes:
        size = self.number(12)
        self._at += size
        return self._data[self._at - size : self._at]

    def fields(self) -> list[tuple[Any, Any]]:
        found: list[tuple[Any, Any]] = []
        for _ in range(self.number(4)):
            name = NAMES[i] if (i := self.number(len(NAMES) * 2)) < len(NAMES) else self.text()
            value = self.text()
            found.append((name.decode("latin-1"), value.decode("latin-1")) if self.number(2) else (name, value))
        return found


def by_h11(method: str, wire: bytes) -> Any:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    client.send(h11.EndOfMessage())
    client.receive_data(wire)
    response = client.next_event()
    if client.trailing_data[0] == b"" and not isinstance(response, h11.Response):
        raise AssertionError(response)
    body = b""
    client.receive_data(b"")
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage), event
    assert client.trailing_data[0] == b""
    return response, body, event.headers


def check(data: bytes) -> None:
    choices = Choices(data)
    method = ("GET", "HEAD", "POST")[choices.number(3)]
    writer = Writer(method, choices.number(2), bool(choices.number(2)))
    status = (200, 204, 205, 304, 404, 500, 100, 599)[choices.number(8)]
    words = (None, choices.text())[choices.number(2)]
    fields, body = choices.fields(), [choices.text() for _ in range(choices.number(3))]
    trailers = choices.fields()
    length = len(b"".join(body)) if choices.number(2) else -1
    try:
        wire = writer.head(status, words, fields, b"Date: now\r\n", length)
        wire += b"".join(writer.body(piece) for piece in body) + writer.end(trailers)
    except BadAnswer:
        return
    found = read_responses([wire], [method], strict_end=False)
    assert (len(found.messages), found.end, found.left) == (1, "done", b"")
    (message,) = found.messages
    silent = method == "HEAD" or status in (204, 205, 304)
    assert message.start[0] == status
    assert message.body == (b"" if silent else b"".join(body))
    sent = [(http1.as_latin1(name), http1.as_latin1(value).strip(b" \t")) for name, value in fields]
    kept = [pair for pair in message.fields if pair[0].lower() not in OURS]
    assert kept == [pair for pair in sent if pair[0].lower() not in OURS]
    response, their_body, _ = by_h11(method, wire)
    assert (response.status_code, their_body) == (status, message.body)
    assert len(list(response.headers)) == len(message.fields)
