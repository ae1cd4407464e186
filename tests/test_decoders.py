"""Decoders by themselves: one call, some bytes, the verdict. What they make of a whole stream is in test_framing.py."""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trews.decoders import NEED, RAW_MAX, Decoder, OwnDecoder, RawDecoder, cut, excerpt
from trews.errors import FramingError, MessageTooLong
from trews.framing import (
    Delimiter,
    Exactly,
    JSONLines,
    Line,
    Netstring,
    Packed,
    Prefixed,
    Varint,
)

LIMIT = 65536


def decoder_of(framer: Any, limit: int = LIMIT) -> Any:
    decoder = framer.decoder()
    decoder.limit = limit
    return decoder


def verdict(function: Any, *args: Any) -> Any:
    """What it returns; or the type and the text of its exception."""
    try:
        return function(*args)
    except (MessageTooLong, FramingError) as exc:
        return type(exc), str(exc)


# -- every decoder of ours: `whole` says what `decode` says

BYTES = st.binary(max_size=12)
NO_ENDS = st.binary(max_size=12).map(lambda data: data.translate(None, b"\r\n|a:"))
TEXT = st.text("xyé€", max_size=6)

# Each framer with its options, and messages that it can encode.
OWN: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Exactly(0), st.just(b"")),
    (Exactly(3), st.binary(min_size=3, max_size=3)),
    (Packed(struct.Struct("!HB")), st.tuples(st.integers(0, 65535), st.integers(0, 255))),
    (Delimiter(b"\n"), NO_ENDS),
    (Delimiter(b"aa"), NO_ENDS),
    (Delimiter(b"aba"), NO_ENDS),
    (Line(), NO_ENDS),
    (Line(final=False), NO_ENDS),
    (Line(keep_end=True), NO_ENDS.map(lambda data: data + b"\r\n")),
    (Line(encoding="utf-8"), TEXT),
    (Line(encoding="latin-1", keep_end=True), st.text("xyé", max_size=6).map(lambda text: text + "\n")),
    (Line(ends=(b"\n",)), NO_ENDS),
    (Line(ends=(b"|", b"\n")), NO_ENDS),
    (Line(ends=(b"|", b"\n"), keep_end=True, final=False), NO_ENDS.map(lambda data: data + b"|")),
    (Line(ends=(b"\n", b"1\n", b":1\n")), st.just(b"xx")),
    (Netstring(), BYTES),
    (Prefixed("B"), BYTES),
    (Prefixed("!H"), BYTES),
    (Prefixed("<I", includes_prefix=True), BYTES),
    (Varint(), st.binary(max_size=12) | st.binary(min_size=126, max_size=130)),
    (JSONLines(), st.none() | st.integers(0, 999) | TEXT | st.lists(st.just(1), max_size=3)),
]
IDS = [repr(framer) for framer, _ in OWN]
NASTY = st.lists(
    st.sampled_from([b"\r", b"\n", b"a", b"b", b"|", b"0", b"1", b"3", b":", b",", b"\0", b"\2", b"\x80", b"\xff"]),
    max_size=9,
).map(b"".join)
SPOILT: list[Any] = [
    lambda wire: wire,
    lambda wire: wire[:-1],
    lambda wire: wire[1:],
    lambda wire: wire * 2,  # pipelined
    lambda wire: wire + wire[:1],
    lambda wire: wire + b"\n",
    lambda wire: b"",
    lambda wire: wire[:-1] + b"\xff",
]


@st.composite
def inputs(draw: st.DrawFn, framer: Any, messages: st.SearchStrategy[Any]) -> tuple[bytes, int]:
    """Some bytes and a limit: a message, what is almost one, and what is none."""
    if draw(st.booleans()):
        wire = framer.encode(draw(messages))
        limit = draw(st.sampled_from([LIMIT, *range(max(0, len(wire) - 4), len(wire) + 2)]))
        return draw(st.sampled_from(SPOILT))(wire), limit
    return draw(NASTY | BYTES), draw(st.sampled_from([0, 1, 2, 3, 5, LIMIT]))


@pytest.mark.parametrize(("framer", "messages"), OWN, ids=IDS)
@given(data=st.data())
def test_what_is_whole_is_what_decode_makes_of_all_of_it(framer: Any, messages: Any, data: st.DataObject) -> None:
    wire, limit = data.draw(inputs(framer, messages))
    at_once = verdict(decoder_of(framer, limit).whole, wire)
    looked = verdict(decoder_of(framer, limit).decode, bytearray(wire), 0)
    if at_once is not NEED and isinstance(at_once, tuple) and isinstance(at_once[0], type):
        assert looked == at_once  # the same words, too
    elif at_once is not NEED:
        assert looked == (at_once, len(wire))
        assert type(looked[0]) is type(at_once)
    elif isinstance(looked, tuple) and not isinstance(looked[0], type):
        # Nothing is missed: only what takes less than all of the bytes, or none, is left to `decode`.
        assert looked[1] != len(wire) or not wire


@pytest.mark.parametrize(("framer", "messages"), OWN, ids=IDS)
@given(data=st.data())
def test_a_message_alone_is_whole(framer: Any, messages: Any, data: st.DataObject) -> None:
    message = data.draw(messages)
    wire = framer.encode(message)
    if wire:
        assert decoder_of(framer).whole(wire) == message
        assert decoder_of(framer).whole(wire + wire) is NEED
    assert decoder_of(framer).whole(b"") is NEED


@pytest.mark.parametrize(("framer", "messages"), OWN, ids=IDS)
@given(data=st.data())
def test_what_was_asked_before_does_not_matter(framer: Any, messages: Any, data: st.DataObject) -> None:
    """`whole` keeps nothing: the same decoder says the same to the next."""
    first, _ = data.draw(inputs(framer, messages))
    wire, limit = data.draw(inputs(framer, messages))
    used, fresh = decoder_of(framer, limit), decoder_of(framer, limit)
    verdict(used.whole, first)
    assert verdict(used.whole, wire) == verdict(fresh.whole, wire)
    assert verdict(used.decode, bytearray(wire), 0) == verdict(fresh.decode, bytearray(wire), 0)


# -- `decode`


@pytest.mark.parametrize(("framer", "messages"), OWN, ids=IDS)
@given(data=st.data())
def test_the_contract_of_decode(framer: Any, messages: Any, data: st.DataObject) -> None:
    wire, limit = data.draw(inputs(framer, messages))
    buffer = bytearray(wire)
    found = verdict(decoder_of(framer, limit).decode, buffer, 0)
    assert buffer == wire  # it is not changed
    buffer.clear()  # and not kept: a view of it would be an error here
    if isinstance(found, int):
        assert found > len(wire)
        # Whatever was there before, the same is said; fewer bytes are no reason for another verdict.
        for scanned in range(len(wire)):
            if isinstance(verdict(decoder_of(framer, limit).decode, bytearray(wire[:scanned]), 0), int):
                assert decoder_of(framer, limit).decode(bytearray(wire), scanned) == found
    elif not isinstance(found[0], type):
        assert 0 <= found[1] <= len(wire)
        for scanned in range(found[1]):
            assert decoder_of(framer, limit).decode(bytearray(wire), scanned) == found


@pytest.mark.parametrize(
    ("framer", "wire", "need"),
    [
        (Exactly(3), b"a", 3),
        (Packed(struct.Struct("!HB")), b"", 3),
        (Delimiter(b"\r\n"), b"ab", 3),
        (Line(), b"", 1),
        (Netstring(), b"5", 2),
        (Netstring(), b"5:ab", 8),
        (Prefixed("!I"), b"\0", 4),
        (Prefixed("!I"), b"\0\0\0\5a", 9),
        (Varint(), b"\x80", 2),
        (Varint(), b"\3", 4),
    ],
)
def test_it_asks_for_the_least_that_can_help(framer: Any, wire: bytes, need: int) -> None:
    assert decoder_of(framer).decode(bytearray(wire), 0) == need
    assert decoder_of(framer).whole(wire) is NEED


@pytest.mark.parametrize("delimiter", [b"a", b"ab", b"aa", b"aab", b"aba", b"abb"])
def test_delimiter_is_too_long_exactly_when_no_continuation_can_help(delimiter: bytes) -> None:
    for limit, size in itertools.product(range(4), range(1, 7)):
        for letters in itertools.product((b"a", b"b"), repeat=size):
            data = b"".join(letters)
            if 0 <= data.find(delimiter) <= limit:
                continue
            hope = any(
                0 <= (data + rest).find(delimiter) <= limit for rest in (delimiter[i:] for i in range(len(delimiter)))
            )
            found = verdict(decoder_of(Delimiter(delimiter), limit).decode, bytearray(data), 0)
            assert isinstance(found, int) if hope else found[0] is MessageTooLong, (data, limit)


def test_raw_is_what_has_arrived_in_pieces_without_a_limit() -> None:
    decoder = RawDecoder()
    decoder.limit = 1
    assert decoder.decode(bytearray(b"abc"), 0) == (b"abc", 3)
    assert decoder.decode(bytearray(RAW_MAX + 1), 0) == (bytes(RAW_MAX), RAW_MAX)
    assert not isinstance(decoder, OwnDecoder)  # a piece of the stream is no message that could be whole


def test_a_decoder_that_inherits_only_must_decode() -> None:
    with pytest.raises(NotImplementedError):
        Decoder().decode(bytearray(), 0)
    assert Decoder().eof(bytearray(b"x")) is None
    assert OwnDecoder().whole(b"x") is NEED


# -- the end of the stream


@pytest.mark.parametrize(
    ("framer", "rest", "expected"),
    [
        (Line(), b"ab", (b"ab", 2)),
        (Line(), b"ab\r", (b"ab\r", 3)),
        (Line(encoding="utf-8"), "é".encode(), ("é", 2)),
        (Line(final=False), b"ab", None),
        (Delimiter(b"\n"), b"ab", None),
        (JSONLines(), b"[1]", ([1], 3)),
        (Netstring(), b"2:a", None),
        (Prefixed(), b"\0", None),
        (Varint(), b"\x80", None),
        (Exactly(3), b"ab", None),
    ],
)
def test_what_the_end_makes_of_the_rest(framer: Any, rest: bytes, expected: Any) -> None:
    assert decoder_of(framer).eof(bytearray(rest)) == expected


@pytest.mark.parametrize("framer", [Line(), JSONLines()])
def test_the_last_line_has_the_limit_too(framer: Any) -> None:
    assert decoder_of(framer, 3).eof(bytearray(b"123"))[1] == 3
    with pytest.raises(MessageTooLong):
        decoder_of(framer, 3).eof(bytearray(b"1234"))


# -- errors


def message_of(framer: Any, wire: bytes, limit: int = LIMIT) -> str:
    with pytest.raises((FramingError, MessageTooLong)) as caught:
        decoder_of(framer, limit).decode(bytearray(wire), 0)
    return str(caught.value)


def test_errors_say_what_came_and_what_was_expected() -> None:
    assert message_of(Netstring(), b"3:abcX") == "expected b',' after 3 bytes, got b'X': b'3:abcX'"
    assert message_of(Netstring(), b"GET /") == "expected a digit in a netstring, got b'GET /'"
    assert "expected a line of utf-8, got b'\\xff'" in message_of(Line(encoding="utf-8"), b"\xff\n")
    assert "expected a line of JSON, got b''" in message_of(JSONLines(), b"\n")
    assert message_of(Exactly(9), b"", 3) == "a message of 9 bytes, max_message is 3"
    assert message_of(Prefixed("B"), b"\x09", 3) == "a message of at least 9 bytes, max_message is 3"


@pytest.mark.parametrize("framer", [Netstring(), JSONLines(), Line(encoding="ascii"), Delimiter(b"\n")])
def test_errors_are_bounded(framer: Any) -> None:
    limit = 10 if isinstance(framer, Delimiter) else 60000
    assert len(message_of(framer, b"\xff" * 50000 + b"\n", limit)) < 500


# -- small things


def test_an_excerpt_is_all_of_the_bytes_or_their_beginning() -> None:
    assert excerpt(b"ab") == excerpt(bytearray(b"ab")) == "b'ab'"
    assert excerpt(bytes(40)) == repr(bytes(40))
    assert excerpt(bytearray(41)) == f"{bytes(40)!r}... (41 bytes)"


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 100_000])
def test_a_piece_that_is_cut_is_a_copy(size: int) -> None:
    buffer = bytearray(range(256)) * 500
    piece = cut(buffer, 5, 5 + size)
    assert type(piece) is bytes
    assert piece == bytes(buffer)[5 : 5 + size]
    buffer.clear()  # no view of it is left


def test_need_is_one_and_no_message() -> None:
    assert repr(NEED) == "NEED"
    assert NEED is not None
    with pytest.raises(AttributeError):
        NEED.anything = 1  # type: ignore[attr-defined]  # that it fails is the test
