"""Invariant: a chunked body is done, goes on or is refused, however it comes; and what it says was sent."""

from __future__ import annotations

from typing import Any

from tests.http.codec import bytewise, split, take
from trews.http import head, http1
from trews.http.errors import BadMessage

MODULES = (head, http1)
END = b"\r\n\r\n"  # what is wrong with the fields of an incomplete head or trailer is told at its end


def outcome(pieces: list[bytes]) -> Any:
    body = http1.ChunkedBody(200, 5)
    try:
        found, left = take(body, pieces)
    except BadMessage:
        return "refused"
    return body.is_done, found, left if body.is_done else b"", body.trailers and body.trailers.pairs()


def check(data: bytes) -> None:
    at, wire = data[:2], data[2:] + END
    whole = outcome([wire])
    assert outcome(bytewise(wire)) == whole
    assert outcome(split(wire, [min(one, len(wire)) for one in at])) == whole
    if whole != "refused":
        is_done, found, left, _ = whole
        assert len(found) < len(wire)
        assert wire.endswith(left)
        if is_done:  # written again, it is read as the same
            again = b"".join(b"1\r\n%c\r\n" % byte for byte in found) + b"0\r\n\r\n"
            assert outcome([again]) == (True, found, b"", [])
