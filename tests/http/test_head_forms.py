"""Both forms of the scan give the same for every input; no verdict changes when more comes, or comes otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http import heads
from tests.http.codec import INCOMPLETE, LIMITS, bytewise, read, read_responses, split
from tests.http.test_head import REQUESTS
from trews.http import head as module
from trews.http.errors import BadMessage
from trews.http.head import Fields, Limits, RequestHead, is_host, scan_request, scan_response

SMALL = Limits(head=120, fields=4, target=20)
FORMS = [(module._request_line, module._scan_fields), (module._match_line, module._match_fields)]


def facts(thing: Any) -> dict[str, Any]:
    names = [name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())]
    names += [name for name in dir(thing) if not name.startswith("_") and name not in names]
    return {name: getattr(thing, name) for name in names if not callable(getattr(thing, name))}


def by(form: Any, data: bytes, start: int, limits: Limits) -> Any:
    """What one form finds: the facts, None, or a refusal; in the way `scan_request` uses it."""
    line, fields = form
    head = RequestHead()
    try:
        at = line(head, data, start, module._stop(data, start, limits.target + module.LINE_MORE), limits)
        if at >= 0:
            at = fields(head, data, at, module._stop(data, start, limits.head), limits)
    except BadMessage as exc:
        return exc.status, str(exc)
    return None if at < 0 else (at, facts(head))


def by_fields(form: Any, data: bytes, start: int, limits: Limits) -> Any:
    found = Fields()
    try:
        at = form[1](found, data, start, module._stop(data, start, limits.head), limits)
    except BadMessage as exc:
        return exc.status, str(exc)
    return None if at < 0 else (at, facts(found))


def agree(data: bytes, start: int) -> None:
    for limits in (LIMITS, SMALL):
        assert by(FORMS[0], data, start, limits) == by(FORMS[1], data, start, limits)
        assert by_fields(FORMS[0], data, start, limits) == by_fields(FORMS[1], data, start, limits)


def test_the_facts_are_compared() -> None:
    """Or those below would compare nothing."""
    head = scan_request(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n", 0, LIMITS)
    found = facts(head)
    assert (found["host"], found["length"], found["method"], found["is_chunked"]) == (b"x", 3, "GET", False)


@pytest.mark.parametrize("wire", [case[1] for case in REQUESTS], ids=[case[0] for case in REQUESTS])
def test_the_forms_agree_on_the_table(wire: bytes) -> None:
    for known in range(len(wire) + 1):
        agree(wire[:known], 0)
    agree(b"x\n" + wire, 2)
    agree(b"xx" + wire, 2)


@given(heads.requests | heads.anything | heads.streams, st.sampled_from([b"", b"\n", b"\r\n", b"x", b"0\r\n"]))
def test_the_forms_agree(data: bytes, before: bytes) -> None:
    agree(before + data, len(before))
    fields = data.partition(b"\r\n")[2]
    agree(before + fields, len(before))


@given(st.binary(max_size=60) | st.text("aZ0.-_~%4f:[]@/, ").map(str.encode))
def test_the_forms_agree_on_hosts(value: bytes) -> None:
    """The short way of the compiled form is only a short way."""
    assert is_host(value) == (not value or module._AUTHORITY.fullmatch(value) is not None)


@given(heads.requests | heads.anything)
def test_a_verdict_stays(data: bytes) -> None:
    """What a part of it was refused or accepted for, all of it is; and what is behind changes nothing."""

    def verdict(part: bytes) -> Any:
        try:
            head = scan_request(part, 0, LIMITS)
        except BadMessage as exc:
            return exc.status
        return head and (head.method, head.target, head.next, head.pairs(), head.length, head.is_chunked)

    final = verdict(data)
    seen = [verdict(data[:known]) for known in range(len(data))]
    first = next((i for i, one in enumerate(seen) if one is not None), len(seen))
    assert all(one == seen[first] for one in seen[first:])
    if first < len(seen):
        assert final == seen[first]
    if final is not None:
        assert verdict(data + b"GET") == final


@given(heads.streams | heads.anything, st.data())
def test_requests_read_alike_however_they_come(data: bytes, draw: Any) -> None:
    data += b"\r\n\r\n"  # what is wrong with trailers that go on is told at their end
    whole = read([data]).verdict
    assert read(bytewise(data)).verdict == whole
    assert read(split(data, draw.draw(st.lists(st.integers(0, len(data)), max_size=4)))).verdict == whole


@given(heads.requests | heads.anything, st.data())
def test_responses_read_alike_however_they_come(data: bytes, draw: Any) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + data.partition(b"\r\n")[2] + b"\r\n\r\n"
    whole = read_responses([data]).verdict
    assert read_responses(bytewise(data)).verdict == whole
    assert read_responses(split(data, draw.draw(st.lists(st.integers(0, len(data)), max_size=4)))).verdict == whole


@given(st.binary(max_size=200))
def test_no_input_raises_anything_else(data: bytes) -> None:
    for begin in (b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.1 200 OK\r\n"):
        for scan in (scan_request, scan_response):
            try:
                scan(begin + data, 0, LIMITS)
            except BadMessage:
                pass
    assert read([data]).end != INCOMPLETE or data
