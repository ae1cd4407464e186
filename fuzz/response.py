"""Invariant: a stream of responses ends in messages or in a BadMessage of 502 (400 in a body), however it comes."""

from __future__ import annotations

from tests.http.codec import bytewise, read_responses, split
from trews.http import head, http1

MODULES = (head, http1)
END = b"\r\n\r\n"  # what is wrong with the fields of an incomplete head or trailer is told at its end
METHODS = ("GET", "HEAD", "CONNECT", "POST")


def check(data: bytes) -> None:
    at, wire = data[:3], data[3:] + END
    methods = [METHODS[one % 4] for one in at]
    if not methods:
        return
    whole = read_responses([wire], methods)
    assert read_responses(bytewise(wire), methods).verdict == whole.verdict
    assert read_responses(split(wire, [min(one, len(wire)) for one in at]), methods).verdict == whole.verdict
    assert type(whole.end) is not int or whole.end in (502, 400, 413, 431)
    for message in whole.messages:
        assert 100 <= message.start[0] <= 999
        for name, value in message.fields + message.trailers:
            assert name
            assert not {*name, *value} & {0, 10, 13}
