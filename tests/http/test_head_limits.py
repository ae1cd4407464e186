"""How long a head may be, and what reading one costs: never more than in proportion to what came."""

from __future__ import annotations

import re
from collections.abc import Iterator
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from tests.http.codec import bytewise, chunkings, read, split
from trews.http import head as head_module
from trews.http import http1
from trews.http.errors import BadMessage
from trews.http.head import LINE_MORE, Limits, check_incomplete, scan_request, scan_trailers

LIMITS = Limits(head=1000, fields=10, target=200)
HOST = b" HTTP/1.1\r\nHost: x\r\n"


def ends(wire: bytes) -> set[Any]:
    return {(len(found.messages), found.end) for found in (read(p, limits=LIMITS) for p in chunkings(wire))}


class TestLimits:
    def test_a_target_of_the_limit(self) -> None:
        assert ends(b"GET /" + b"a" * 199 + HOST + b"\r\n") == {(1, "done")}
        assert ends(b"GET /" + b"a" * 200 + HOST + b"\r\n") == {(0, 414)}

    def test_a_target_without_end(self) -> None:
        assert ends(b"GET /" + b"a" * 5000) == {(0, 414)}

    def test_a_request_line_of_the_limit(self) -> None:
        method = b"M" * (LINE_MORE - len(b" / HTTP/1.1\r\n") + 1)
        target = b"/" * 200
        assert ends(b"%b %b%b\r\n" % (method, target, HOST)) == {(1, "done")}
        assert ends(b"M%b %b%b\r\n" % (method, target, HOST)) == {(0, 414)}

    def test_a_method_without_end(self) -> None:
        assert ends(b"M" * 5000) == {(0, 414)}

    def test_a_head_of_the_limit(self) -> None:
        start = b"GET /" + HOST + b"A: "
        wire = start + b"a" * (1000 - len(start) - 4) + b"\r\n\r\n"
        assert len(wire) == 1000
        assert ends(wire) == {(1, "done")}
        assert ends(wire + wire) == {(2, "done")}
        assert ends(wire.replace(b"A: ", b"A: a")) == {(0, 431)}

    def test_a_head_without_end(self) -> None:
        assert ends(b"GET /" + HOST + b"A: " + b"a" * 5000) == {(0, 431)}
        assert ends(b"GET /" + HOST + b"A" * 5000) == {(0, 431)}

    def test_fields_of_the_limit(self) -> None:
        assert ends(b"GET /" + HOST + b"A: b\r\n" * 9 + b"\r\n") == {(1, "done")}
        assert ends(b"GET /" + HOST + b"A: b\r\n" * 10 + b"\r\n") == {(0, 431)}

    def test_what_is_behind_a_head_does_not_count(self) -> None:
        wire = b"POST /" + HOST + b"Content-Length: 5000\r\n\r\n" + b"a" * 5000
        assert ends(wire) == {(1, "done")}

    def test_a_head_of_the_limit_somewhere_in_the_data(self) -> None:
        wire = b"GET /" + HOST + b"A: " + b"a" * 5000
        with pytest.raises(BadMessage) as caught:
            scan_request(b"." * 3000 + wire, 3000, LIMITS)
        assert caught.value.status == 431
        assert scan_request(b"." * 3000 + wire[:900], 3000, LIMITS) is None

    def test_trailers(self) -> None:
        assert scan_trailers(b"A: " + b"a" * 900, 0, LIMITS) is None
        for wire in (b"A: " + b"a" * 1000, b"A: b\r\n" * 11 + b"\r\n"):
            with pytest.raises(BadMessage) as caught:
                scan_trailers(wire, 0, LIMITS)
            assert caught.value.status == 431


class TestIncomplete:
    """What can be refused before the end of the head is there."""

    @pytest.mark.parametrize("wire", [b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\rX", b"GET / HTTP/1.1\r\nA: \0", b"G\x7f"])
    def test_controls(self, wire: bytes) -> None:
        for known in range(len(wire)):
            check_incomplete(wire[:known], max(0, known - 1), LIMITS)
        with pytest.raises(BadMessage) as caught:
            check_incomplete(wire, len(wire) - 1, LIMITS)
        assert caught.value.status == 400

    def test_line_ends_that_come_in_two_pieces(self) -> None:
        wire = b"GET / HTTP/1.1\r\nHost: x\r\n"
        for at in range(len(wire) + 1):
            check_incomplete(wire, at, LIMITS)


def repeats(pattern: Any, inside: bool = False) -> Iterator[bool]:
    """Of each repetition in a parsed expression that can give back what it took: whether it is inside of another."""
    for code, argument in pattern:
        gives_back = code in (codes.MAX_REPEAT, codes.MIN_REPEAT) and argument[0] != argument[1] and argument[1] > 1
        if gives_back:
            yield inside
        for part in argument if isinstance(argument, tuple) else (argument,):
            for one in part if isinstance(part, list) else (part,):
                if isinstance(one, _parser.SubPattern):
                    yield from repeats(one, inside or gives_back)


PATTERNS = {
    f"{module.__name__}.{name}": value
    for module in (head_module, http1)
    for name, value in vars(module).items()
    if isinstance(value, re.Pattern)
}


class TestCost:
    def test_the_check_below_finds_what_gives_back(self) -> None:
        assert list(repeats(_parser.parse("(a+)+b"))) == [False, True]
        assert list(repeats(_parser.parse("(?:a++|b?c{2})*+"))) == []

    @pytest.mark.parametrize("name", PATTERNS)
    def test_no_expression_gives_back_what_it_took(self, name: str) -> None:
        """So each takes time in proportion to what it looks at. Of one, each turn begins with a ';' of its own."""
        allowed = [False] if name.endswith("_EXTENSIONS") else []
        assert list(repeats(_parser.parse(PATTERNS[name].pattern))) == allowed

    def test_the_expressions_are_found(self) -> None:
        assert len(PATTERNS) >= 10

    def test_a_head_byte_by_byte_is_scanned_once_or_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """CVE-2025-69229's like: what each byte costs must not grow with what came before."""
        calls = []

        def counted(data: bytes, at: int, limits: Limits) -> Any:
            calls.append(len(data))
            return scan_request(data, at, limits)

        monkeypatch.setattr("tests.http.codec.scan_request", counted)
        wire = b"GET /" + HOST + b"A: b\r\n" * 8 + b"\r\n"
        assert read(bytewise(wire), limits=LIMITS).end == "done"
        assert calls == [1, len(wire)]

    @pytest.mark.pure_only
    def test_trailers_byte_by_byte_are_scanned_a_few_times(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []

        def counted(*args: Any) -> Any:
            calls.append(1)
            return scan_trailers(*args)

        monkeypatch.setattr(http1, "scan_trailers", counted)
        body = http1.ChunkedBody()
        wire = b"0\r\n" + b"A: b\r\n" * 50 + b"\r\n"
        for byte in bytewise(wire):
            body.take(byte, 0, [])
        assert body.is_done
        assert len(calls) == 3

    @pytest.mark.pure_only
    def test_the_loop_of_the_pure_form_looks_at_no_more_than_a_head_may_have(self) -> None:
        """It is slow, and is asked what is wrong with a head: of 100 MB it must look at 1,000 bytes."""

        class Counting(bytes):
            looks = 0

            def __getitem__(self, at: Any) -> Any:
                Counting.looks += not isinstance(at, slice)
                return bytes.__getitem__(self, at)

        data = Counting(b"GET /" + HOST + b"A: " + b"a" * 1_000_000)
        with pytest.raises(BadMessage):
            scan_request(data, 0, LIMITS)
        assert 900 < Counting.looks <= 1000
        Counting.looks = 0
        with pytest.raises(BadMessage):
            scan_request(Counting(b"a" * 1_000_000), 0, LIMITS)
        assert Counting.looks <= 200 + LINE_MORE

    def test_pieces_of_any_size_give_the_same(self) -> None:
        wire = b"GET /" + HOST + b"A: b\r\n" * 8 + b"\r\n"
        for size in range(1, 40):
            assert read(split(wire, range(size, len(wire), size)), limits=LIMITS) == read([wire], limits=LIMITS)
