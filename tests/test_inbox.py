"""The framing engine: what it keeps between calls, how much work it does, and how it meets bad decoders.

One test a promise of the engine; they share two decoders to watch it with, so they stay in one file.
"""

from __future__ import annotations

import random
import struct
from enum import IntEnum
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trews.decoders import RAW_MAX
from trews.errors import FramingError, IncompleteMessage, MessageTooLong
from trews.framing import (
    Decoder,
    Delimiter,
    Exactly,
    JSONLines,
    Line,
    Netstring,
    Packed,
    Prefixed,
    Raw,
    Varint,
)
from trews.inbox import NEED, SPENT, Inbox

LIMIT = 65536
HEADER = struct.Struct("!BH")


def inbox_of(data: bytes) -> Inbox:
    inbox = Inbox()
    inbox.feed(data)
    return inbox


class Wrapped:
    """A framer of one's own that passes on to another, counting calls; its decoder is no `Decoder`."""

    def __init__(self, framer: Any) -> None:
        self.framer = framer
        self.decoders = 0
        self.calls: list[tuple[int, int]] = []

    def decoder(self) -> Any:
        self.decoders += 1
        return WrappedDecoder(self.framer.decoder(), self.calls)

    def encode(self, message: Any) -> bytes:
        return bytes(self.framer.encode(message))


class WrappedDecoder:
    def __init__(self, decoder: Decoder, calls: list[tuple[int, int]]) -> None:
        self.inner = decoder
        self.calls = calls

    def decode(self, buffer: bytearray, scanned: int) -> Any:
        self.calls.append((len(buffer), scanned))
        return self.inner.decode(buffer, scanned)

    def eof(self, buffer: bytearray) -> Any:
        return self.inner.eof(buffer)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "limit":
            self.inner.limit = value
        else:
            super().__setattr__(name, value)


# --- the bytes ---


def test_new_inbox_is_empty() -> None:
    inbox = Inbox()
    assert len(inbox) == 0
    assert not inbox.partial
    assert inbox.leftover() == b""
    for framer in (None, 1, b"\n", Line(), struct.Struct("B"), SPENT):
        assert not inbox.peek(framer, LIMIT)
        assert inbox.take(framer, LIMIT) is NEED
        assert inbox.finish(framer, LIMIT) is NEED
    assert repr(NEED) == "NEED"
    assert repr(SPENT) == "SPENT"


def test_feed_takes_any_bytes_and_copies_them() -> None:
    inbox = Inbox()
    data = bytearray(b"ab")
    inbox.feed(data)
    inbox.feed(memoryview(b"cd"))
    data[:] = b"xx"
    assert len(inbox) == 4
    assert inbox.take(None, LIMIT) == b"abcd"
    assert len(inbox) == 0


def test_raw_is_bytes_and_at_most_a_piece() -> None:
    inbox = inbox_of(bytes(RAW_MAX + 5))
    first = inbox.take(None, 1)
    assert type(first) is bytes
    assert len(first) == RAW_MAX
    assert inbox.take(None, 1) == bytes(5)


def test_clear_and_leftover_drop_what_was_decoded_ahead() -> None:
    inbox = inbox_of(b"one\ntwo")
    line = Line()
    assert inbox.peek(line, LIMIT)
    assert inbox.leftover() == b"one\ntwo"
    inbox.feed(b"x\n")
    assert inbox.peek(line, LIMIT)
    inbox.clear()
    assert len(inbox) == 0
    assert inbox.take(line, LIMIT) is NEED


def test_clear_drops_the_state_of_the_decoder() -> None:
    framer = Wrapped(Line())
    inbox = inbox_of(b"abc")
    assert inbox.take(framer, LIMIT) is NEED
    inbox.clear()
    inbox.feed(b"\n")
    assert inbox.take(framer, LIMIT) == b""
    assert framer.calls == [(3, 0), (1, 0)]
    assert framer.decoders == 2


# --- peek, take, finish ---


def test_take_after_peek_does_not_decode_again() -> None:
    framer = Wrapped(Line())
    inbox = inbox_of(b"one\ntwo\n")
    assert inbox.peek(framer, LIMIT)
    assert inbox.peek(framer, LIMIT)
    assert len(inbox) == 8
    inbox.feed(b"more")
    assert inbox.take(framer, LIMIT) == b"one"
    assert len(inbox) == 8
    assert len(framer.calls) == 1


def test_another_framer_reads_peeked_bytes_anew() -> None:
    line, other = Line(), Line(ends=(b"|",))
    inbox = inbox_of(b"one|1\ntwo|2\n")
    assert inbox.peek(line, LIMIT)
    assert inbox.take(other, LIMIT) == b"one"
    assert inbox.take(line, LIMIT) == b"1"
    assert inbox.peek(line, LIMIT)
    assert inbox.take(2, LIMIT) == b"tw"
    assert inbox.peek(line, LIMIT)
    assert inbox.take(SPENT, LIMIT) is NEED
    assert inbox.take(line, LIMIT) == b"o|2"
    inbox.feed(b"x\ny")
    assert inbox.peek(line, LIMIT)
    assert inbox.take(None, LIMIT) == b"x\ny"


def test_a_limit_lowered_after_peek_counts() -> None:
    line = Line()
    inbox = inbox_of(b"abcd\n")
    assert inbox.peek(line, 4)
    with pytest.raises(MessageTooLong):
        inbox.take(line, 3)
    assert inbox.take(line, 4) == b"abcd"


def test_a_limit_changed_in_the_middle_counts() -> None:
    for framer in (Netstring(), b"\n", Prefixed("B")):
        wire = {Netstring(): b"9:abc", b"\n": b"abcdefghi"}.get(framer, b"\x09abc")
        inbox = inbox_of(wire)
        assert inbox.take(framer, 9) is NEED
        with pytest.raises(MessageTooLong):
            inbox.take(framer, 8)
        assert inbox.take(framer, 9) is NEED


def test_an_error_is_repeated_and_keeps_the_bytes() -> None:
    inbox = inbox_of(b"x:")
    netstring = Netstring()
    for _ in range(3):
        with pytest.raises(FramingError):
            inbox.take(netstring, LIMIT)
    assert inbox.leftover() == b"x:"


# (framer, bytes, messages of finish, what an IncompleteMessage then has)
FINISH: list[tuple[Any, bytes, list[Any], bytes | None]] = [
    (None, b"abc", [b"abc"], None),
    (2, b"abcd", [b"ab", b"cd"], None),
    (2, b"abc", [b"ab"], b"c"),
    (Exactly(2), b"abc", [b"ab"], b"c"),
    (b"\n", b"a\nb", [b"a"], b"b"),
    (Line(), b"a\nb", [b"a", b"b"], None),
    (Line(final=False), b"a\nb", [b"a"], b"b"),
    (HEADER, b"\1\0\2\1", [(1, 2)], b"\1"),
    (Netstring(), b"1:a,2:b", [b"a"], b"2:b"),
    (Prefixed(), b"\0\1a\0", [b"a"], b"\0"),
    (Varint(), b"\1a\x80", [b"a"], b"\x80"),
    (JSONLines(), b"1\nnull", [1, None], None),
    (SPENT, b"abc", [], b"abc"),
]


@pytest.mark.parametrize(("framer", "data", "messages", "partial"), FINISH)
def test_finish(framer: Any, data: bytes, messages: list[Any], partial: bytes | None) -> None:
    inbox = inbox_of(data)
    assert [inbox.finish(framer, LIMIT) for _ in messages] == messages
    if partial is not None:
        with pytest.raises(IncompleteMessage) as caught:
            inbox.finish(framer, LIMIT)
        assert caught.value.partial == partial
    assert len(inbox) == 0
    assert inbox.finish(framer, LIMIT) is NEED


def test_finish_asks_eof_although_more_bytes_were_needed() -> None:
    class Greedy(Decoder):
        def decode(self, buffer: bytearray, scanned: int) -> Any:
            return 1000

        def eof(self, buffer: bytearray) -> Any:
            return bytes(buffer[:2]), 2

    class Framer:
        def decoder(self) -> Greedy:
            return Greedy()

        def encode(self, message: bytes) -> bytes:
            return message

    framer = Framer()
    inbox = inbox_of(b"abcd")
    assert inbox.take(framer, LIMIT) is NEED
    assert [inbox.finish(framer, LIMIT) for _ in range(3)] == [b"ab", b"cd", NEED]


# --- numbers ---


class Size(IntEnum):
    NONE = 0
    TWO = 2


@pytest.mark.parametrize("zero", [0, Exactly(0), Size.NONE])
def test_zero_makes_an_empty_message_at_every_call(zero: Any) -> None:
    for data in (b"", b"abc"):
        inbox = inbox_of(data)
        for _ in range(2):
            assert inbox.peek(zero, LIMIT)
            assert inbox.take(zero, LIMIT) == b""
            assert inbox.finish(zero, LIMIT) == b""
        assert inbox.leftover() == data


def test_spent_is_a_zero_that_makes_nothing() -> None:
    assert SPENT == 0
    inbox = inbox_of(b"abc")
    assert not inbox.peek(SPENT, LIMIT)
    assert inbox.take(SPENT, LIMIT) is NEED
    assert not inbox.partial  # these bytes wait for a framer, not for the peer
    assert inbox.take(3, LIMIT) == b"abc"


@pytest.mark.parametrize("count", [4, Exactly(4)])
def test_too_large_a_number_is_refused_before_any_byte(count: Any) -> None:
    inbox = Inbox()
    for call in (inbox.take, inbox.peek):
        with pytest.raises(MessageTooLong):
            call(count, 3)
    assert inbox.finish(count, 3) is NEED  # a clean end all the same


@pytest.mark.parametrize("value", [-1, True, False, "x", b"", 1.5, Line])
def test_what_is_no_framer_is_refused_even_when_empty(value: Any) -> None:
    inbox = Inbox()
    for call in (inbox.take, inbox.peek):
        with pytest.raises((TypeError, ValueError)):
            call(value, LIMIT)
    assert inbox.take(None, LIMIT) is NEED


def test_an_int_of_another_class_is_a_number() -> None:
    assert inbox_of(b"abc").take(Size.TWO, LIMIT) == b"ab"


# --- changing framers ---


def read_records(inbox: Inbox, state: list[Any], found: list[Any]) -> None:
    """Header, body, header, ...: the framer is set anew after each message, as in `on_read`."""
    while (message := inbox.take(state[0], LIMIT)) is not NEED:
        found.append(message)
        state[0] = message[1] if isinstance(message, tuple) else HEADER


@given(bodies=st.lists(st.binary(max_size=40)), data=st.data())
def test_header_and_body_in_every_chunking(bodies: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(HEADER.pack(7, len(body)) + body for body in bodies)
    expected = [part for body in bodies for part in ((7, len(body)), body)]
    at = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    for marks in ([0, *at, len(wire)], list(range(len(wire) + 1))):
        inbox = Inbox()
        state: list[Any] = [HEADER]
        found: list[Any] = []
        for start, stop in pairwise(marks):
            inbox.feed(wire[start:stop])
            read_records(inbox, state, found)
        assert found == expected


def test_every_message_with_a_framer_of_its_own() -> None:
    parts: list[tuple[Any, bytes, Any]] = [
        (2, b"ab", b"ab"),
        (Line(encoding="utf-8"), b"line\n", "line"),
        (0, b"", b""),
        (Netstring(), b"2:hi,", b"hi"),
        (b"--", b"x--", b"x"),
        (Packed(HEADER), b"\1\0\2", (1, 2)),
        (Varint(), b"\1v", b"v"),
        (JSONLines(), b"[]\r\n", []),
        (Raw(), b"rest", b"rest"),
    ]
    rng = random.Random(1)
    wire = b"".join(data for _, data, _ in parts)
    inbox = inbox_of(wire)
    for framer, _, message in parts:
        for other, _, _ in rng.sample(parts, 3):
            if other != framer and other not in (2, b"--"):
                try_peek(inbox, other)
        assert inbox.take(framer, LIMIT) == message


def try_peek(inbox: Inbox, framer: Any) -> None:
    try:
        inbox.peek(framer, LIMIT)
    except (FramingError, MessageTooLong):
        pass


def test_the_decoder_lives_as_long_as_the_same_framer_is_passed() -> None:
    framer, other = Wrapped(Line()), Wrapped(Line())
    inbox = inbox_of(b"1\n2\n3\n4\n5\n6\n")
    for _ in range(2):
        inbox.take(framer, LIMIT)
        inbox.take(framer, LIMIT + 1)
    assert framer.decoders == 1
    inbox.take(other, LIMIT)
    inbox.take(framer, LIMIT)
    assert (framer.decoders, other.decoders) == (2, 1)


# --- partial ---


@pytest.mark.parametrize("framer", [3, Exactly(3), b"\n", Line(), Netstring(), struct.Struct("3s")])
def test_partial_is_a_message_that_has_begun(framer: Any) -> None:
    inbox = Inbox()
    assert inbox.take(framer, LIMIT) is NEED
    assert not inbox.partial
    inbox.feed(b"2")
    assert inbox.take(framer, LIMIT) is NEED
    assert inbox.partial
    assert not inbox.peek(framer, LIMIT)
    assert inbox.partial
    inbox.clear()
    assert not inbox.partial


def test_partial_after_whole_messages() -> None:
    line = Line()
    inbox = inbox_of(b"a\nb")
    assert inbox.peek(line, LIMIT)
    assert not inbox.partial
    inbox.take(line, LIMIT)
    assert not inbox.partial  # nobody has asked yet
    assert inbox.take(line, LIMIT) is NEED
    assert inbox.partial
    assert inbox.take(None, LIMIT) == b"b"
    assert not inbox.partial


# --- the work done ---


def test_decode_is_skipped_until_the_bytes_asked_for_are_there() -> None:
    framer = Wrapped(Netstring())
    inbox = Inbox()
    for byte in b"1000:" + bytes(1000) + b",":
        inbox.feed(bytes([byte]))
        inbox.peek(framer, LIMIT)
    assert inbox.take(framer, LIMIT) == bytes(1000)
    assert [size for size, _ in framer.calls] == [1, 2, 3, 4, 5, 1006]


@pytest.mark.parametrize("size", [1 << 18, 1 << 19])
def test_numbers_and_prefixes_cost_two_looks_a_message(size: int) -> None:
    framer = Wrapped(Prefixed("!I"))
    inbox = inbox_of(struct.pack("!I", size))
    for _ in range(size):
        assert inbox.take(framer, size) is NEED
        inbox.feed(b"x")
    assert len(inbox.take(framer, size)) == size
    assert len(framer.calls) == 2


def test_a_large_message_in_pieces_is_scanned_once() -> None:
    size, piece = 16 << 20, 64 << 10
    framer = Wrapped(Delimiter(b"\r\n"))
    inbox = Inbox()
    for _ in range(size // piece):
        inbox.feed(bytes(piece))
        assert inbox.take(framer, size) is NEED
    inbox.feed(b"\r\n")
    assert len(inbox.take(framer, size)) == size
    assert sum(length - scanned for length, scanned in framer.calls) == size + 2


def test_many_short_messages_in_one_feed_cost_one_look_each() -> None:
    count = 100_000
    framer = Wrapped(Line())
    inbox = inbox_of(b"x\n" * count)
    for _ in range(count):
        assert inbox.take(framer, LIMIT) == b"x"
    assert inbox.take(framer, LIMIT) is NEED
    assert len(framer.calls) == count
    assert all(scanned == 0 for _, scanned in framer.calls)


class CountingBuffer(bytearray):
    """A buffer that counts the bytes which searches and copies run through."""

    work = 0

    def find(self, what: Any, start: Any = 0, stop: Any = None) -> int:
        bound = min(len(self), len(self) if stop is None else stop)
        at = super().find(what, start, bound)
        self.work += max(0, (bound if at < 0 else at) - start) + 1
        return at

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        self.work += len(value) if isinstance(value, bytearray) else 1
        return value


@pytest.mark.parametrize("framer", [Delimiter(b"\r\n"), Line(), JSONLines()], ids=repr)
@pytest.mark.parametrize("size", [1 << 12, 1 << 13])
def test_a_message_that_comes_bytewise_is_scanned_once(framer: Any, size: int) -> None:
    wire = framer.encode("x" * size if isinstance(framer, JSONLines) else b"x" * size)
    decoder = framer.decoder()
    buffer = CountingBuffer()
    scanned = 0
    for byte in wire:
        buffer.append(byte)
        result = decoder.decode(buffer, scanned)
        scanned = len(buffer)
    assert not isinstance(result, int)
    assert buffer.work < 6 * size


def test_short_lines_in_one_buffer_are_scanned_once() -> None:
    buffer = CountingBuffer(b"x\n" * 5000)
    decoder = Line().decoder()
    for _ in range(5000):
        assert decoder.decode(buffer, 0) == (b"x", 2)
        del buffer[:2]
    assert buffer.work < 6 * 10000


# --- decoders of somebody's own ---


class Own:
    """A framer whose decoder does what it is told."""

    def __init__(self, result: Any, end: Any = None) -> None:
        self.result = result
        self.end = end

    def __repr__(self) -> str:
        return "Own()"

    def decoder(self) -> Any:
        return OwnDecoder(self.result, self.end)

    def encode(self, message: bytes) -> bytes:
        return message


class OwnDecoder:
    __slots__ = ("end", "result")  # and no limit

    def __init__(self, result: Any, end: Any) -> None:
        self.result = result
        self.end = end

    def decode(self, buffer: bytearray, scanned: int) -> Any:
        return self.result(buffer) if callable(self.result) else self.result

    def eof(self, buffer: bytearray) -> Any:
        return self.end


BROKEN: list[tuple[Any, type[Exception], str]] = [
    (3, ValueError, "wants 3 bytes and has 3"),
    (0, ValueError, "wants 0 bytes"),
    (None, TypeError, r"must return \(message, consumed\) or a number, not None"),
    (b"abc", TypeError, "must return"),
    ((b"abc",), TypeError, "must return"),
    ((b"abc", 3, 3), TypeError, "must return"),
    ((b"abc", "3"), TypeError, "must return"),
    ((b"abc", 0), ValueError, "took 0 of 3 bytes"),
    ((b"abc", -1), ValueError, "took -1 of 3 bytes"),
    ((b"abc", 4), ValueError, "took 4 of 3 bytes"),
]


@pytest.mark.parametrize(("result", "error", "text"), BROKEN)
def test_a_broken_decoder_is_named(result: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=r"the decoder of the framer Own\(\).*" + text):
        inbox_of(b"abc").take(Own(result), LIMIT)


def test_a_broken_eof_is_named() -> None:
    with pytest.raises(ValueError, match=r"Own\(\).*took 9 of 3 bytes"):
        inbox_of(b"abc").finish(Own(4, end=(b"abc", 9)), LIMIT)


# One that wants a byte more each time, and one that is never to be asked again.
@pytest.mark.parametrize("need", [lambda buffer: len(buffer) + 1, 1 << 40])
def test_a_decoder_that_knows_no_limit_is_cut_off(need: Any) -> None:
    framer = Own(need)
    inbox = Inbox()
    with pytest.raises(MessageTooLong, match="max_message is 100"):
        for _ in range(2000):
            inbox.feed(b"x")
            inbox.take(framer, 100)
    assert len(inbox) == 100 + 1024 + 1


def test_a_decoder_of_no_class_of_ours_is_told_the_limit() -> None:
    framer = Wrapped(Line())
    with pytest.raises(MessageTooLong):
        inbox_of(b"abcd").take(framer, 3)


def test_what_a_decoder_raises_comes_through() -> None:
    def fail(buffer: bytearray) -> Any:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        inbox_of(b"x").take(Own(fail), LIMIT)
