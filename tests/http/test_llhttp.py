"""llhttp's vectors as a corpus: what it refuses in its strict mode we refuse, what it reads we read the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.http.codec import Outcome, chunkings, read, read_responses
from tests.http.llhttp import PUT_IN, Case, cases, text
from tests.http.llhttp_deviations import OTHERWISE, STRICTER


@pytest.fixture(scope="module")
def vectors(needs_shared: Path) -> list[Case]:
    return list(cases(needs_shared / "vectors" / "http1-llhttp"))


def outcome(case: Case, pieces: list[bytes]) -> Outcome:
    if case.kind.startswith("request"):
        return read(pieces)
    return read_responses(pieces, ["HEAD" if case.is_head else "GET"])


def messages(case: Case, found: Outcome) -> list[Any]:
    """As llhttp tells of them."""
    told = []
    for message in found.messages:
        first, second, _ = message.start
        start = (first.encode(), second) if case.kind.startswith("request") else (second, b"")
        told.append((start, [pair for pair in message.fields if pair[0] != PUT_IN], message.body))
    return told


def agrees(case: Case, found: Outcome) -> bool:
    ours = messages(case, found)
    if case.switched:  # they stop, and what is behind is looked at by nobody
        return ours[: len(case.messages)] == case.messages
    refused = type(found.end) is int
    if case.closed and not refused and not found.left:
        return False
    return refused == case.refused and (
        ours == case.messages or (found.end in ("done", "switched") and ours == case.messages + case.partial)
    )


def test_the_vectors_are_read(vectors: list[Case]) -> None:
    assert len([case for case in vectors if case.is_strict]) > 200
    assert len([case for case in vectors if not case.is_strict]) > 30
    assert sum(case.refused for case in vectors if case.is_strict) > 50
    assert sum(len(case.messages) for case in vectors) > 100
    assert len({case.name for case in vectors}) == len(vectors)
    assert text("a\\r\\\nb\\x00\nc\n") == b"a\rb\0\r\nc"


def test_what_is_meant_strictly(vectors: list[Case]) -> None:
    """A case that agrees though it is said to deviate fails, too: the list is what is true."""
    explained = {**STRICTER, **OTHERWISE}
    differing = {case.name for case in vectors if case.is_strict and not agrees(case, outcome(case, [case.wire]))}
    assert differing == set(explained)


def test_where_we_are_stricter_we_refuse(vectors: list[Case]) -> None:
    for case in vectors:
        if case.name in STRICTER:
            assert type(outcome(case, [case.wire]).end) is int, case.name


def test_nothing_that_is_refused_strictly_is_accepted(vectors: list[Case]) -> None:
    accepted = {
        case.name
        for case in vectors
        if case.is_strict and case.refused and type(outcome(case, [case.wire]).end) is not int
    }
    assert accepted == {
        "request/invalid.md: HTTP protocol and ANNOUNCE method",
        "request/invalid.md: Invalid HTTP version",
    }


def test_what_is_meant_leniently_is_refused_or_not_read(vectors: list[Case]) -> None:
    for case in vectors:
        if not case.is_strict:
            found = outcome(case, [case.wire])
            assert type(found.end) is int or found.left or len(found.messages) < len(case.messages), case.name


def test_they_read_alike_however_they_come(vectors: list[Case]) -> None:
    for case in vectors:
        whole = outcome(case, [case.wire])
        for pieces in chunkings(case.wire)[1:]:
            assert outcome(case, pieces) == whole, case.name
