"""Invariant: a stream of requests ends in messages or in a BadMessage, the same however it comes and by either form."""

from __future__ import annotations

from tests.http.codec import bytewise, read, split
from tests.http.test_head_forms import agree
from trews.http import head, http1

MODULES = (head, http1)
END = b"\r\n\r\n"  # what is wrong with the fields of an incomplete head or trailer is told at its end


def check(data: bytes) -> None:
    at, wire = data[:2], data[2:] + END
    whole = read([wire])
    assert read(bytewise(wire)).verdict == whole.verdict
    assert read(split(wire, [min(one, len(wire)) for one in at])).verdict == whole.verdict
    assert len(whole.messages) <= len(wire) // 18  # none is shorter than "A / HTTP/1.0" and its line ends
    for message in whole.messages:
        for name, value in message.fields + message.trailers:
            assert name
            assert not {*name, *value} & {0, 10, 13}
    agree(wire, 0)
    agree(data, len(at))
