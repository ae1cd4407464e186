"""Bodies that come, cut out of what comes: tables in the order of RFC 9112, 7. What is sent: test_http1_writer.py."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.codec import bytewise, chunkings, take
from trews.http import http1
from trews.http.errors import BadMessage
from trews.http.http1 import ChunkedBody, EndlessBody, LengthBody

NEXT = b"GET / HTTP/1.1\r\n"

Pairs = list[tuple[bytes, bytes]]

# (what, the bytes, the body and the trailers)
CHUNKED: list[tuple[str, bytes, bytes, Pairs]] = [
    # 7.1
    ("empty", b"0\r\n\r\n", b"", []),
    ("one", b"3\r\nabc\r\n0\r\n\r\n", b"abc", []),
    ("two", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde", []),
    ("hex in both cases", b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789", []),
    ("zeros before", b"0003\r\nabc\r\n000\r\n\r\n", b"abc", []),
    ("sixteen digits", b"0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n", b"abc", []),
    ("line ends in the data", b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", []),
    ("what looks like an end in the data", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n", []),
    # 7.1.1
    ("an extension", b"3;a\r\nabc\r\n0\r\n\r\n", b"abc", []),
    ("an extension with a value", b"3;a=b;c=d\r\nabc\r\n0;e\r\n\r\n", b"abc", []),
    ("a quoted value", b'3;a="b;c\\"\\\\ \t=\xe9"\r\nabc\r\n0\r\n\r\n', b"abc", []),
    ("space of old", b"3 ;\ta = b\t; c\r\nabc\r\n0\r\n\r\n", b"abc", []),
    # 7.1.2
    ("a trailer", b"0\r\nA: b\r\n\r\n", b"", [(b"A", b"b")]),
    (
        "trailers",
        b"3\r\nabc\r\n0\r\nA: b\r\nC:\td e \r\nA:\r\n\r\n",
        b"abc",
        [(b"A", b"b"), (b"C", b"d e"), (b"A", b"")],
    ),
]

S = b"3\r\nabc\r\n"

# (what, the bytes, the status)
REFUSED: list[tuple[str, bytes, int]] = [
    # 7.1
    ("no size", b"\r\nabc\r\n0\r\n\r\n", 400),
    ("no hex", b"g\r\nabc\r\n", 400),
    ("0x", b"0x3\r\nabc\r\n", 400),
    ("plus", b"+3\r\nabc\r\n", 400),
    ("minus", b"-3\r\nabc\r\n", 400),
    ("minus nothing", b"-0\r\n\r\n", 400),
    ("underscore", b"0_3\r\nabc\r\n", 400),
    ("space before", b" 3\r\nabc\r\n", 400),
    ("space behind", b"3 \r\nabc\r\n", 400),
    ("tab behind", b"3\t\r\nabc\r\n", 400),
    ("digits of Unicode", "٣\r\nabc\r\n".encode(), 400),
    ("LF only", b"3\nabc\n0\n\n", 400),
    ("LF after the size", b"3\nabc\r\n0\r\n\r\n", 400),
    ("CR after the size", b"3\rabc\r\n0\r\n\r\n", 400),
    ("CR CR LF", b"3\r\r\nabc\r\n0\r\n\r\n", 400),
    ("LF after the data", b"3\r\nabc\n0\r\n\r\n", 400),
    ("CR after the data", b"3\r\nabc\r0\r\n\r\n", 400),
    ("any two bytes after the data", b"3\r\nabcXX0\r\n\r\n", 400),
    ("CR and another after the data", b"3\r\nabc\rX0\r\n\r\n", 400),
    ("one byte too many", b"3\r\nabcd\r\n0\r\n\r\n", 400),
    ("one byte too few", b"4\r\nabc\r\n0\r\n\r\n", 400),
    ("no data", b"3\r\n\r\n0\r\n\r\n", 400),
    ("an empty line between", S + b"\r\n0\r\n\r\n", 400),
    ("seventeen digits", b"00000000000000003\r\nabc\r\n", 413),
    ("beyond measure", b"1000000000000000\r\n", 413),
    ("beyond 64 bits", b"fffffffffffffffff\r\n", 413),
    ("a NUL", b"3\0\r\nabc\r\n", 400),
    # 7.1.1
    ("an extension without a name", b"3;\r\nabc\r\n", 400),
    ("an extension without a value", b"3;a=\r\nabc\r\n", 400),
    ("two in one", b"3;a=b=c\r\nabc\r\n", 400),
    ("a LF in it", b"3;a\nb\r\nabc\r\n", 400),
    ("a CR in it", b"3;a\rb\r\nabc\r\n", 400),
    ("a LF in quotes", b'3;a="\n"\r\nabc\r\n', 400),
    ("a LF behind a backslash", b'3;a="\\\n"\r\nabc\r\n', 400),
    ("open quotes", b'3;a="b\r\nabc\r\n', 400),
    ("quotes, and more", b'3;a="b"c\r\nabc\r\n', 400),
    ("a NUL in it", b"3;a\0\r\nabc\r\n", 400),
    ("space at the end", b"3;a \r\nabc\r\n", 400),
    ("a line too long", b"3;" + b"a" * 1023 + b"\r\nabc\r\n", 400),
    ("a line without end", b"3;" + b"a" * 5000, 400),
    # 7.1.2; RFC 9110, 6.5.1
    ("LF after the last size", b"0\n\r\n", 400),
    ("LF at the end", b"0\r\n\n", 400),
    ("CR at the end", b"0\r\n\rX", 400),
    ("more data", b"0\r\nabc\r\n\r\n", 400),
    ("space before the colon", b"0\r\nA : b\r\n\r\n", 400),
    ("folded", b"0\r\nA: b\r\n c\r\n\r\n", 400),
    ("LF after a trailer", b"0\r\nA: b\n\r\n", 400),
    ("a NUL in a trailer", b"0\r\nA: \0\r\n\r\n", 400),
    ("Content-Length", b"0\r\nContent-Length: 3\r\n\r\n", 400),
    ("Transfer-Encoding", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ("Host", b"0\r\nHost: x\r\n\r\n", 400),
    ("too many", b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
    ("too long", b"0\r\nA: " + b"b" * 8192 + b"\r\n\r\n", 431),
    ("without end", b"0\r\nA: " + b"b" * 9000, 431),
]


def pairs_of(body: ChunkedBody) -> Pairs:
    return [] if body.trailers is None else body.trailers.pairs()


@pytest.mark.parametrize(("wire", "expected", "trailers"), [case[1:] for case in CHUNKED], ids=[c[0] for c in CHUNKED])
@pytest.mark.parametrize("behind", [b"", b"0", NEXT], ids=["alone", "and a digit", "and a request"])
def test_chunked(wire: bytes, expected: bytes, trailers: Pairs, behind: bytes) -> None:
    for pieces in chunkings(wire + behind):
        body = ChunkedBody()
        assert take(body, pieces) == (expected, behind)
        assert body.is_done
        assert pairs_of(body) == trailers


@pytest.mark.parametrize(("wire", "status"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
@pytest.mark.parametrize("before", [b"", S], ids=["first", "later"])
def test_refused(wire: bytes, status: int, before: bytes) -> None:
    for pieces in chunkings(before + wire):
        body = ChunkedBody()
        with pytest.raises(BadMessage) as caught:
            take(body, pieces)
        assert caught.value.status == status
        assert not body.is_done


@pytest.mark.parametrize("wire", [case[1] for case in CHUNKED], ids=[case[0] for case in CHUNKED])
def test_it_is_done_at_its_last_byte_and_not_before(wire: bytes) -> None:
    for known in range(len(wire)):
        body = ChunkedBody()
        take(body, [wire[:known]])
        assert not body.is_done


@pytest.mark.parametrize("wire", [case[1] for case in CHUNKED], ids=[case[0] for case in CHUNKED])
def test_it_begins_anywhere_in_the_data(wire: bytes) -> None:
    body = ChunkedBody()
    assert body.take(b"head" + wire + b"next", 4, []) == 4 + len(wire)


def test_when_it_is_done_it_takes_nothing() -> None:
    for done in (ChunkedBody(), LengthBody(3)):
        wire = S + b"0\r\n\r\n" if isinstance(done, ChunkedBody) else b"abc"
        take(done, [wire])
        pieces: list[bytes] = []
        assert done.take(b"..more", 2, pieces) == 2
        assert (pieces, done.is_done) == ([], True)


class TestExtensions:
    """CVE-2025-69229's like: what a byte of the body costs is bounded."""

    def test_their_sum_is_bounded(self) -> None:
        chunk = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
        body = ChunkedBody()
        take(body, [chunk * 16])
        with pytest.raises(BadMessage) as caught:
            take(body, [chunk])
        assert caught.value.status == 400

    def test_they_are_counted_once_however_they_come(self) -> None:
        chunk = b"1;" + b"a" * 1000 + b"\r\nx\r\n"
        assert take(ChunkedBody(), bytewise(chunk * 16 + b"0\r\n\r\n")) == (b"x" * 16, b"")

    def test_a_line_of_the_limit(self) -> None:
        wire = b"1;" + b"a" * 1022 + b"\r\nx\r\n0\r\n\r\n"
        for pieces in chunkings(wire):
            assert take(ChunkedBody(), pieces) == (b"x", b"")

    def test_many_chunks_of_a_byte_without_are_fine(self) -> None:
        wire = b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n"
        assert take(ChunkedBody(), [wire[i : i + 1000] for i in range(0, len(wire), 1000)]) == (b"x" * 10_000, b"")


class TestTrailers:
    def test_their_limits_are_arguments(self) -> None:
        wire = b"0\r\nA: b\r\nC: d\r\n\r\n"
        assert take(ChunkedBody(14, 2), [wire]) == (b"", b"")
        for limits in ((13, 2), (14, 1)):
            for pieces in chunkings(wire):
                with pytest.raises(BadMessage) as caught:
                    take(ChunkedBody(*limits), pieces)
                assert caught.value.status == 431


class TestLength:
    @pytest.mark.parametrize("length", [0, 1, 5, 100])
    def test_it_takes_so_many(self, length: int) -> None:
        for pieces in chunkings(b"x" * length + NEXT):
            body = LengthBody(length)
            found: list[bytes] = []
            left = b""
            for piece in pieces:
                left += piece[body.take(piece, 0, found) :]
            assert (b"".join(found), left, body.rest, body.is_done) == (b"x" * length, NEXT, 0, True)

    def test_what_is_still_to_come(self) -> None:
        body = LengthBody(10)
        body.take(b"..abc", 2, [])
        assert (body.rest, body.is_done) == (7, False)

    def test_no_piece_is_empty(self) -> None:
        pieces: list[bytes] = []
        body = LengthBody(3)
        body.take(b"head", 4, pieces)
        body.take(b"abc", 0, pieces)
        assert pieces == [b"abc"]

    def test_nothing_is_allocated_up_front(self) -> None:
        """CVE-2025-13836: 10 ** 18 bytes are announced, and a few come."""
        found: list[bytes] = []
        LengthBody(10**18 - 1).take(b"abc", 0, found)
        take(chunked := ChunkedBody(), [b"fffffffffffffff\r\nabc"])
        assert found == [b"abc"]
        assert not chunked.is_done


class TestEndless:
    def test_it_takes_all_and_is_never_done(self) -> None:
        for pieces in chunkings(NEXT):
            body = EndlessBody()
            assert take(body, pieces) == (NEXT, b"")
            assert not body.is_done


@pytest.mark.parametrize("name", ["LengthBody", "ChunkedBody", "EndlessBody"])
def test_all_bodies_have_one_interface(name: str) -> None:
    body: Any = getattr(http1, name)(*([3] if name == "LengthBody" else []))
    assert (body.is_done, body.trailers, body.rest) == (False, None, 3 if name == "LengthBody" else -1)
