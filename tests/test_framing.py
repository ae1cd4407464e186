"""Every framer: its wire cases whole, byte by byte, randomly split and with trailing data.

Half of it is tables, a line a case: every framer has its own, and that makes the file long. The decoders by
themselves are in test_decoders.py.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import random
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trews.errors import FramingError, IncompleteMessage, MessageTooLong
from trews.framing import (
    Delimiter,
    Exactly,
    Framer,
    JSONLines,
    Line,
    Netstring,
    Packed,
    Prefixed,
    Raw,
    Varint,
    framer_for,
)
from trews.inbox import NEED, Inbox

ROOT = Path(__file__).parent.parent
LIMIT = 65536
HH = struct.Struct("!HH")


def load_example() -> Any:
    spec = importlib.util.spec_from_file_location("own_framer", ROOT / "examples" / "own_framer.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError("examples/own_framer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


own_framer = load_example()
StxEtx = own_framer.StxEtx


def cut(framer: Any, pieces: list[bytes], limit: int = LIMIT, end: bool = True) -> list[Any]:
    """All messages; then, if that is how it ended, the type of the exception."""
    inbox = Inbox()
    found: list[Any] = []
    try:
        for piece in filter(None, pieces):
            inbox.feed(piece)
            while (message := inbox.take(framer, limit)) is not NEED:
                found.append(message)
        while end and (message := inbox.finish(framer, limit)) is not NEED:
            found.append(message)
    except (MessageTooLong, FramingError, IncompleteMessage) as exc:
        found.append(type(exc))
    return found


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def split(data: bytes, at: list[int]) -> list[bytes]:
    marks = [0, *sorted(at), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks)]


def chunkings(data: bytes) -> list[list[bytes]]:
    rng = random.Random(data)
    spots = range(len(data) + 1)
    some = [split(data, rng.choices(spots, k=rng.randrange(1, 6))) for _ in range(8)]
    halves = [split(data, [i]) for i in spots] if len(data) < 64 else []
    return [[data], bytewise(data), *some, *halves]


TWO_ROOTS = Line(ends=(b"|", b"\n"))
CRLF_LF = Line()
KEEP = Line(keep_end=True)
UTF8 = Line(encoding="utf-8")
STRICT_END = Line(final=False)
VAR_FF = b"\xff" * 9

# (framer, limit, wire, messages and the exception that ends them)
WIRE: list[tuple[Any, int, bytes, list[Any]]] = [
    # Exactly
    (3, LIMIT, b"abcdef", [b"abc", b"def"]),
    (3, LIMIT, b"abcd", [b"abc", IncompleteMessage]),
    (Exactly(3), LIMIT, b"abcdef", [b"abc", b"def"]),
    (3, 3, b"abc", [b"abc"]),
    (4, 3, b"a", [MessageTooLong]),
    (Exactly(4), 3, b"a", [MessageTooLong]),
    # Packed
    (HH, LIMIT, b"\0\1\0\2\0\3\0\4", [(1, 2), (3, 4)]),
    (HH, LIMIT, b"\0\1\0\2\0", [(1, 2), IncompleteMessage]),
    (HH, 4, b"\0\1\0\2", [(1, 2)]),
    (HH, 3, b"\0\1\0\2", [MessageTooLong]),
    # Delimiter
    (b"\r\n", LIMIT, b"a\r\n\r\nb\r\n", [b"a", b"", b"b"]),
    (b"\r\n", LIMIT, b"a\r\r\nb\n\r\n", [b"a\r", b"b\n"]),
    (b"\r\n", LIMIT, b"a\r\nb", [b"a", IncompleteMessage]),
    (b"aa", LIMIT, b"aaaxaa", [b"", b"ax"]),
    (b"aba", LIMIT, b"ababa", [b"", IncompleteMessage]),
    (b"\r\n", 3, b"abc\r\n", [b"abc"]),
    (b"\r\n", 3, b"abcd\r\n", [MessageTooLong]),
    (b"\r\n", 3, b"abc\rx", [MessageTooLong]),
    (b"\r\n", 3, b"abc\r", [IncompleteMessage]),
    (b"\r\n", 3, b"ab\r\r\n", [b"ab\r"]),
    (b"\r\n", 0, b"\r\n", [b""]),
    (b"\r\n", 0, b"a\r\n", [MessageTooLong]),
    # Line
    (CRLF_LF, LIMIT, b"one\r\ntwo\n\r\n\nend", [b"one", b"two", b"", b"", b"end"]),
    (CRLF_LF, LIMIT, b"a\r\r\nb\rc\n", [b"a\r", b"b\rc"]),
    (CRLF_LF, LIMIT, b"a\r", [b"a\r"]),
    (STRICT_END, LIMIT, b"a\nb", [b"a", IncompleteMessage]),
    (KEEP, LIMIT, b"a\r\nb\n\nc", [b"a\r\n", b"b\n", b"\n", b"c"]),
    (UTF8, LIMIT, "grüß\r\n€\n".encode(), ["grüß", "€"]),
    (UTF8, LIMIT, b"ok\n\xff\n", ["ok", FramingError]),
    (UTF8, LIMIT, b"ok\n\xc3", ["ok", FramingError]),
    (TWO_ROOTS, LIMIT, b"a|b\n|\nc", [b"a", b"b", b"", b"", b"c"]),
    (Line(ends=(b"\n", b"\r\n", b"#\r\n")), LIMIT, b"a#\r\nb\r\n#\n", [b"a", b"b", b"#"]),
    (CRLF_LF, 3, b"abc\r\n", [b"abc"]),
    (CRLF_LF, 3, b"abc\n", [b"abc"]),
    (CRLF_LF, 3, b"abcd\n", [MessageTooLong]),
    (CRLF_LF, 3, b"abc\rd\n", [MessageTooLong]),
    (CRLF_LF, 3, b"abcd", [MessageTooLong]),
    (CRLF_LF, 3, b"abc\r", [MessageTooLong]),
    (CRLF_LF, 3, b"abc", [b"abc"]),
    (KEEP, 3, b"abc\r\n", [b"abc\r\n"]),
    (KEEP, 3, b"abcd\n", [MessageTooLong]),
    (UTF8, 3, "€\n".encode(), ["€"]),
    (UTF8, 2, "€\n".encode(), [MessageTooLong]),
    # Netstring
    (Netstring(), LIMIT, b"5:hello,0:,1:x,", [b"hello", b"", b"x"]),
    (Netstring(), LIMIT, b"3:abc", [IncompleteMessage]),
    (Netstring(), LIMIT, b"3", [IncompleteMessage]),
    (Netstring(), LIMIT, b":,", [FramingError]),
    (Netstring(), LIMIT, b"x", [FramingError]),
    (Netstring(), LIMIT, b"-1:,", [FramingError]),
    (Netstring(), LIMIT, b"+1:a,", [FramingError]),
    (Netstring(), LIMIT, b" 1:a,", [FramingError]),
    (Netstring(), LIMIT, b"1_0:a,", [FramingError]),
    (Netstring(), LIMIT, "\u0661:a,".encode(), [FramingError]),
    (Netstring(), LIMIT, b"00:,", [FramingError]),
    (Netstring(), LIMIT, b"03:abc,", [FramingError]),
    (Netstring(), LIMIT, b"3:abcd", [FramingError]),
    (Netstring(), LIMIT, b"0:x", [FramingError]),
    (Netstring(), LIMIT, b"1:a,x", [b"a", FramingError]),
    (Netstring(), 3, b"3:abc,", [b"abc"]),
    (Netstring(), 3, b"4:abcd,", [MessageTooLong]),
    (Netstring(), 99, b"100x", [MessageTooLong]),
    (Netstring(), 99, b"10x", [FramingError]),
    (Netstring(), 3, b"9" * 5000, [MessageTooLong]),
    (Netstring(), 0, b"0:,1:a,", [b"", MessageTooLong]),
    # Prefixed
    (Prefixed(), LIMIT, b"\0\2hi\0\0\0\1x", [b"hi", b"", b"x"]),
    (Prefixed("B"), LIMIT, b"\2hi\0", [b"hi", b""]),
    (Prefixed("<I"), LIMIT, b"\2\0\0\0hi", [b"hi"]),
    (Prefixed("!H"), LIMIT, b"\0\2h", [IncompleteMessage]),
    (Prefixed("!H"), LIMIT, b"\0", [IncompleteMessage]),
    (Prefixed("!H", True), LIMIT, b"\0\4hi\0\2", [b"hi", b""]),
    (Prefixed("!H", True), LIMIT, b"\0\1", [FramingError]),
    (Prefixed("!H", True), LIMIT, b"\0\0abc", [FramingError]),
    (Prefixed("!H"), 3, b"\0\3abc", [b"abc"]),
    (Prefixed("!H"), 3, b"\0\4", [MessageTooLong]),
    (Prefixed("!H", True), 3, b"\0\5abc", [b"abc"]),
    (Prefixed("!H", True), 3, b"\0\6", [MessageTooLong]),
    (Prefixed("!Q"), LIMIT, b"\xff" * 8, [MessageTooLong]),
    (Prefixed("!H"), 0, b"\0\0", [b""]),
    # Varint
    (Varint(), LIMIT, b"\2hi\0\x81\x00x", [b"hi", b"", b"x"]),
    (Varint(), LIMIT, b"\xac\x02" + b"x" * 300, [b"x" * 300]),
    (Varint(), LIMIT, b"\x80" * 9 + b"\x00", [b""]),
    (Varint(), LIMIT, b"\x80" * 10, [FramingError]),
    (Varint(), LIMIT, b"\x80" * 9 + b"\x02", [FramingError]),
    (Varint(), 2**64, VAR_FF + b"\x02", [FramingError]),
    (Varint(), 2**64, VAR_FF + b"\x01", [IncompleteMessage]),
    (Varint(), 2**64 - 2, VAR_FF + b"\x01", [MessageTooLong]),
    (Varint(), LIMIT, VAR_FF + b"\x02", [MessageTooLong]),
    (Varint(), LIMIT, b"\x80", [IncompleteMessage]),
    (Varint(), LIMIT, b"\3ab", [IncompleteMessage]),
    (Varint(), 3, b"\3abc", [b"abc"]),
    (Varint(), 3, b"\4", [MessageTooLong]),
    (Varint(), 0, b"\0", [b""]),
    # JSONLines
    (JSONLines(), LIMIT, b'{"a":1}\n[2]\r\nnull\n"\xc3\xbc"', [{"a": 1}, [2], None, "ü"]),
    (JSONLines(), LIMIT, b" 1 \n", [1]),
    (JSONLines(), LIMIT, b"1\n\n", [1, FramingError]),
    (JSONLines(), LIMIT, b"1\n \n", [1, FramingError]),
    (JSONLines(), LIMIT, b"{\n", [FramingError]),
    (JSONLines(), LIMIT, b"{", [FramingError]),
    (JSONLines(), LIMIT, b"1 2\n", [FramingError]),
    (JSONLines(), LIMIT, b"NaN\n", [FramingError]),
    (JSONLines(), LIMIT, b"[-Infinity]\n", [FramingError]),
    (JSONLines(), LIMIT, b'"\xff"\n', [FramingError]),
    (JSONLines(), LIMIT, b"\xef\xbb\xbf1\n", [FramingError]),
    (JSONLines(), LIMIT, '"utf-16"\n'.encode("utf-16-le"), [FramingError]),
    (JSONLines(), LIMIT, b"9" * 5000 + b"\n", [FramingError]),
    (JSONLines(), LIMIT, b"[" * 60000 + b"\n", [FramingError]),
    (JSONLines(), 3, b"123\r\n", [123]),
    (JSONLines(), 3, b"1234\n", [MessageTooLong]),
    (JSONLines(), 3, b"1234", [MessageTooLong]),
    # a framer of one's own
    (StxEtx(), LIMIT, b"\2hello\3\2\3", [b"hello", b""]),
    (StxEtx(), LIMIT, b"\2hello\3\2", [b"hello", IncompleteMessage]),
    (StxEtx(), LIMIT, b"\2hello\3x", [b"hello", FramingError]),
    (StxEtx(), 3, b"\2abc\3", [b"abc"]),
    (StxEtx(), 3, b"\2abcd\3", [MessageTooLong]),
]
IDS = [f"{framer!r}-{limit}-{wire[:24]!r}" for framer, limit, wire, _ in WIRE]


@pytest.mark.parametrize(("framer", "limit", "wire", "expected"), WIRE, ids=IDS)
def test_wire_case_in_every_chunking(framer: Any, limit: int, wire: bytes, expected: list[Any]) -> None:
    for pieces in chunkings(wire):
        assert cut(framer, pieces, limit) == expected


# Those that the end of the stream does not decide.
OPEN = [case for case in WIRE if cut(case[0], [case[2]], case[1], end=False) == case[3]]


@pytest.mark.parametrize(("framer", "limit", "wire", "expected"), OPEN)
def test_wire_case_with_trailing_data(framer: Any, limit: int, wire: bytes, expected: list[Any]) -> None:
    failed = isinstance(expected[-1], type)
    trailing, more = (b"\x00trailing\n", []) if failed else (wire, expected)
    for pieces in chunkings(wire + trailing):
        assert cut(framer, pieces, limit) == expected + more


# (framer, limit, the bytes with the last of which the verdict is certain)
CERTAIN: list[tuple[Any, int, bytes]] = [
    (b"\r\n", 3, b"abcd"),
    (b"\r\n", 3, b"abc\rx"),
    (b"\r\n", 3, b"abc\r\r"),
    (b"ab", 1, b"aaa"),
    (b"end", 0, b"enx"),
    (CRLF_LF, 3, b"abcd"),
    (CRLF_LF, 3, b"abc\r\r"),
    (JSONLines(), 3, b"1234"),
    (Netstring(), 99, b"100"),
    (Netstring(), 0, b"1"),
    (Prefixed("!H"), 3, b"\0\4"),
    (Varint(), 200, b"\xff\x7f"),
    (Varint(), 126, b"\xff"),
    (HH, 3, b"\0"),
    (4, 3, b"a"),
    (StxEtx(), 3, b"\2abcd"),
]


@pytest.mark.parametrize(("framer", "limit", "wire"), CERTAIN)
def test_too_long_as_soon_as_certain(framer: Any, limit: int, wire: bytes) -> None:
    for pieces in chunkings(wire):
        assert cut(framer, pieces, limit, end=False) == [MessageTooLong]
    if len(wire) > 1:
        assert cut(framer, [wire[:-1]], limit, end=False) == []


@pytest.mark.parametrize("count", [0, 4])
def test_exactly_too_long_before_any_byte(count: int) -> None:
    for framer in (count, Exactly(count)):
        if count > 3:
            with pytest.raises(MessageTooLong, match="4 bytes"):
                Inbox().take(framer, 3)
        else:
            assert Inbox().take(framer, 3) == b""


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=8,
)
LINE_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))
BYTES = st.binary(max_size=300)

ROUND_TRIPS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Exactly(5), st.binary(min_size=5, max_size=5)),
    (Packed(struct.Struct("!Hbd")), st.tuples(st.integers(0, 65535), st.integers(-128, 127), st.just(0.5))),
    (Delimiter(b"::"), BYTES.filter(lambda b: (b + b"::").find(b"::") == len(b))),
    (Line(), BYTES.filter(lambda b: b"\n" not in b)),
    (Line(encoding="utf-8"), LINE_TEXT),
    (Line(keep_end=True), BYTES.filter(lambda b: b"\n" not in b).map(lambda b: b + b"\n")),
    (Line(ends=(b"|", b"\n")), BYTES.filter(lambda b: b"\n" not in b and b"|" not in b)),
    (Netstring(), BYTES),
    (Prefixed(), BYTES),
    (Prefixed("<Q", includes_prefix=True), BYTES),
    (Varint(), BYTES),
    (JSONLines(), JSON),
    (StxEtx(), BYTES.filter(lambda b: b"\3" not in b)),
]


@pytest.mark.parametrize(("framer", "messages"), ROUND_TRIPS, ids=[repr(f) for f, _ in ROUND_TRIPS])
@given(data=st.data())
def test_decode_inverts_encode_in_every_chunking(framer: Any, messages: Any, data: st.DataObject) -> None:
    sent = data.draw(st.lists(messages, max_size=5))
    wire = b"".join(map(framer.encode, sent))
    at = data.draw(st.lists(st.integers(0, len(wire)), max_size=6))
    assert cut(framer, split(wire, at), limit=1 << 20) == sent


ANY_FRAMER = st.sampled_from(
    [
        2,
        struct.Struct("BB"),
        b"\r\n",
        b"aa",
        Line(),
        Line(encoding="utf-8"),
        Line(ends=(b"a", b"\n"), keep_end=True),
        Line(ends=(b"\n", b"1\n", b":1\n"), final=False),
        Netstring(),
        Prefixed("B"),
        Prefixed("B", includes_prefix=True),
        Varint(),
        JSONLines(),
        StxEtx(),
    ]
)
NASTY = st.lists(st.sampled_from([b"\r", b"\n", b"a", b"0", b"1", b"3", b":", b",", b"\2", b"\3", b"\x80", b"\xff"]))


@given(framer=ANY_FRAMER, limit=st.integers(0, 5), wire=NASTY.map(b"".join), data=st.data())
def test_messages_and_errors_do_not_depend_on_chunking(
    framer: Any, limit: int, wire: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.lists(st.integers(0, len(wire)), max_size=6))
    whole = cut(framer, [wire], limit)
    assert cut(framer, bytewise(wire), limit) == whole
    assert cut(framer, split(wire, at), limit) == whole


LIMITS: list[tuple[Any, Any]] = [
    (Delimiter(b"\r\n"), bytes),
    (Line(), bytes),
    (Line(ends=(b"|", b"\n")), bytes),
    (Line(encoding="latin-1"), lambda n: "\xe4" * n),
    (Line(keep_end=True), lambda n: bytes(n) + b"\n"),
    (Netstring(), bytes),
    (Prefixed("!I"), bytes),
    (Prefixed("!I", includes_prefix=True), bytes),
    (Varint(), bytes),
    (JSONLines(), lambda n: "x" * (n - 2)),
    (StxEtx(), bytes),
]


@pytest.mark.parametrize(("framer", "make"), LIMITS, ids=[repr(f) for f, _ in LIMITS])
@pytest.mark.parametrize("limit", [2, 127, 1000])
def test_limit_passes_and_one_more_does_not(framer: Any, make: Any, limit: int) -> None:
    for size, expected in ((limit, make(limit)), (limit + 1, MessageTooLong)):
        for pieces in chunkings(framer.encode(make(size))):
            assert cut(framer, pieces, limit) == [expected]


# (framer, message, exception, part of its text)
ENCODE_REFUSALS: list[tuple[Any, Any, type[Exception], str]] = [
    (Raw(), "text", TypeError, "must be bytes, not str; a str must be encoded"),
    (Raw(), 5, TypeError, "must be bytes, not int"),
    (Exactly(3), b"ab", ValueError, "exactly 3 bytes, this one has 2"),
    (Packed(HH), b"ab", TypeError, "tuple of its fields"),
    (Packed(HH), (1,), ValueError, "does not fit"),
    (Packed(HH), (1, 70000), ValueError, "does not fit"),
    (Packed(HH), (1, "x"), ValueError, "does not fit"),
    (Delimiter(b"--"), b"a--b", ValueError, "inside"),
    (Delimiter(b"--"), b"a-", ValueError, "inside"),
    (Line(), b"a\nb", ValueError, "inside"),
    (Line(), "a", TypeError, "must be bytes"),
    (Line(ends=(b"\n", b"\r\n")), b"a\r", ValueError, "inside"),
    (Line(encoding="utf-8"), b"a", TypeError, "must be str"),
    (Line(encoding="ascii"), "ü", ValueError, "ascii"),
    (Line(keep_end=True), b"a", ValueError, "no line end"),
    (Line(keep_end=True), b"a\nb\n", ValueError, "inside"),
    (Line(keep_end=True), b"a\nb", ValueError, "inside"),
    (Netstring(), "a", TypeError, "must be bytes"),
    (Prefixed("B"), bytes(256), ValueError, "too long"),
    (Prefixed("B", includes_prefix=True), bytes(255), ValueError, "too long"),
    (Varint(), "a", TypeError, "must be bytes"),
    (JSONLines(), float("nan"), ValueError, "JSON"),
    (JSONLines(), {1j: 2}, TypeError, "complex"),
    (JSONLines(), "\ud800", ValueError, "surrogates"),
    (StxEtx(), b"\3", ValueError, "ETX"),
]


@pytest.mark.parametrize(("framer", "message", "error", "text"), ENCODE_REFUSALS)
def test_encode_refuses(framer: Any, message: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        framer.encode(message)


ENCODINGS: list[tuple[Any, Any, bytes]] = [
    (Raw(), bytearray(b"ab"), b"ab"),
    (Raw(), memoryview(b"abcd")[::2], b"ac"),
    (Packed(HH), [1, 2], b"\0\1\0\2"),
    (Line(), b"a\r", b"a\r\r\n"),
    (Line(ends=[b"\n"], encoding="utf-8"), "ü", b"\xc3\xbc\n"),  # type: ignore[arg-type]  # a list will do
    (Netstring(), b"", b"0:,"),
    (Prefixed("!H", includes_prefix=True), b"hi", b"\0\4hi"),
    (Varint(), bytes(300), b"\xac\x02" + bytes(300)),
    (JSONLines(), {"ü": [1, None]}, b'{"\xc3\xbc":[1,null]}\n'),
    (JSONLines(), "a\nb", b'"a\\nb"\n'),
]


@pytest.mark.parametrize(("framer", "message", "wire"), ENCODINGS)
def test_encode(framer: Any, message: Any, wire: bytes) -> None:
    assert framer.encode(message) == wire


# (what makes it, of what, exception, part of its text)
CONSTRUCTOR_REFUSALS: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (Exactly, {"count": -1}, ValueError, "-1"),
    (Exactly, {"count": True}, TypeError, "True"),
    (Exactly, {"count": 1.0}, TypeError, "1.0"),
    (Delimiter, {"delimiter": b""}, ValueError, "empty"),
    (Delimiter, {"delimiter": "\n"}, TypeError, r"did you mean b'\n'?"),
    (Delimiter, {"delimiter": bytearray(b"x")}, TypeError, "bytearray"),
    (Packed, {"struct": "!H"}, TypeError, "struct.Struct"),
    (Packed, {"struct": struct.Struct("")}, ValueError, "no bytes"),
    (Line, {"ends": ()}, ValueError, "at least one"),
    (Line, {"ends": (b"",)}, ValueError, "empty"),
    (Line, {"ends": b"\n"}, TypeError, r"did you mean ends=(b'\n',)?"),
    (Line, {"ends": ("\n",)}, TypeError, r"did you mean b'\n'?"),
    (Line, {"ends": (b"\n", b"\n")}, ValueError, "chunking"),
    (Line, {"ends": (b"\r", b"\r\n")}, ValueError, "chunking"),
    (Line, {"ends": (b"b", b"abc")}, ValueError, "chunking"),
    (Line, {"ends": (b"a", b"aba")}, ValueError, "chunking"),
    (Line, {"encoding": "utf-16"}, ValueError, "utf-16"),
    (Line, {"encoding": "utf-8-sig"}, ValueError, "utf-8-sig"),
    (Line, {"encoding": "no-such"}, LookupError, "no-such"),
    (Line, {"encoding": "hex"}, LookupError, "hex"),
    (Prefixed, {"format": "!h"}, ValueError, "'!h'"),
    (Prefixed, {"format": "!HH"}, ValueError, "'!HH'"),
    (Prefixed, {"format": "!f"}, ValueError, "'!f'"),
    (Prefixed, {"format": "!N"}, ValueError, "'!N'"),
    (Prefixed, {"format": ""}, ValueError, "''"),
    (Prefixed, {"format": b"!H"}, TypeError, "bytes"),
    (framer_for, {"value": "\n"}, TypeError, r"did you mean b'\n'?"),
    (framer_for, {"value": Line}, TypeError, "did you mean Line()?"),
    (framer_for, {"value": StxEtx}, TypeError, "did you mean StxEtx()?"),
    (framer_for, {"value": True}, TypeError, "not True"),
    (framer_for, {"value": -1}, ValueError, "-1"),
    (framer_for, {"value": b""}, ValueError, "empty"),
    (framer_for, {"value": struct.Struct("")}, ValueError, "no bytes"),
    (framer_for, {"value": bytearray(b"x")}, TypeError, "framer must be None, a number"),
    (framer_for, {"value": 1.5}, TypeError, "not 1.5"),
    (framer_for, {"value": int}, TypeError, "not <class 'int'>"),
    (framer_for, {"value": object()}, TypeError, "decoder() and encode()"),
]


@pytest.mark.parametrize(("make", "settings", "error", "text"), CONSTRUCTOR_REFUSALS)
def test_constructor_refuses(make: Any, settings: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        make(**settings)


def test_framer_for_takes_shorthands_and_framers() -> None:
    line = Line()
    own = StxEtx()
    assert framer_for(None) == Raw()
    assert framer_for(0) == Exactly(0)
    assert framer_for(b"\n") == Delimiter(b"\n")
    assert framer_for(struct.Struct("!H")) == Packed(struct.Struct("!H"))
    assert framer_for(line) is line
    assert framer_for(own) is own


def test_framers_are_values() -> None:
    pairs: list[tuple[Framer, Framer]] = [
        (Raw(), Raw()),
        (Exactly(3), Exactly(3)),
        (Packed(struct.Struct("!H")), Packed(struct.Struct("!H"))),
        (Delimiter(b"x"), Delimiter(b"x")),
        (Line(encoding="utf-8"), Line(encoding="utf-8")),
        (Netstring(), Netstring()),
        (Prefixed("B"), Prefixed("B")),
        (Varint(), Varint()),
        (JSONLines(), JSONLines()),
    ]
    for one, other in pairs:
        assert one == other
        assert hash(one) == hash(other)
        with pytest.raises((AttributeError, TypeError)):
            one.anything = 1  # type: ignore[attr-defined]  # that it fails is the test
    assert len({one for one, _ in pairs}) == len(pairs)
    assert Packed(struct.Struct("!H")) != Packed(struct.Struct("!I"))


def test_repr_shows_how_to_make_it() -> None:
    assert repr(Packed(struct.Struct("!H"))) == "Packed(Struct('!H'))"
    assert repr(Prefixed("B")) == "Prefixed(format='B', includes_prefix=False)"
    assert repr(Netstring()) == "Netstring()"


def test_json_lines_reads_what_json_writes() -> None:
    value = {"nested": [1, 2.5, {"x": "y"}]}
    assert cut(JSONLines(), [json.dumps(value).encode() + b"\r\n"]) == [value]
