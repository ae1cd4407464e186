"""The PROXY header, in the order of the specification: whole, byte by byte, in random pieces, with more behind it."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trews.proxy_header import MAX_HEADER, cut

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + struct.pack("!HH", 56324, 443)
V6 = bytes.fromhex("20010db8000000000000000000000001" + "20010db80000000000000000000000ff") + b"\x00\x07\xff\xff"
MAPPED = bytes.fromhex("00000000000000000000ffffc0000201" * 2) + b"\x00\x01\x00\x02"


def binary(command: int, kind: int, block: bytes = b"", length: int | None = None) -> bytes:
    return SIGNATURE + bytes([command, kind]) + struct.pack("!H", len(block) if length is None else length) + block


def unix(source: bytes, destination: bytes) -> bytes:
    return source.ljust(108, b"\0") + destination.ljust(108, b"\0")


def vector(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


TCP4 = (("192.0.2.1", 56324), ("198.51.100.2", 443))
TCP6 = (("2001:db8::1", 7), ("2001:db8::ff", 65535))
LONGEST = b"PROXY UNKNOWN " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n"

GOOD = [
    ("v1, IPv4", b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", TCP4),
    ("v1, extremes", b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", (("0.0.0.0", 0), ("255.255.255.255", 65535))),
    ("v1, IPv6", b"PROXY TCP6 2001:db8::1 2001:db8::ff 7 65535\r\n", TCP6),
    ("v1, IPv6 in full and capitals", b"PROXY TCP6 2001:0DB8:0:0:0:0:0:1 2001:DB8::00FF 7 65535\r\n", TCP6),
    ("v1, mapped", b"PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c633:6402 56324 443\r\n", TCP4),
    ("v1, unknown", b"PROXY UNKNOWN\r\n", None),
    ("v1, unknown with more", b"PROXY UNKNOWN any \x00thing \r at all\r\n", None),
    ("v1, the longest", LONGEST, None),
    ("v2, local", binary(0x20, 0x00), None),
    ("v2, local, family and block ignored", binary(0x20, 0xFF, b"anything"), None),
    ("v2, unspecified", binary(0x21, 0x00), None),
    ("v2, unspecified protocol", binary(0x21, 0x10, V4), None),
    ("v2, IPv4", binary(0x21, 0x11, V4), TCP4),
    ("v2, IPv6", binary(0x21, 0x21, V6), TCP6),
    ("v2, mapped", binary(0x21, 0x21, MAPPED), (("192.0.2.1", 1), ("192.0.2.1", 2))),
    ("v2, Unix", binary(0x21, 0x31, unix(b"/run/a", b"/run/b")), ("/run/a", "/run/b")),
    ("v2, Unix, no end", binary(0x21, 0x31, unix(b"a" * 108, b"b" * 108)), ("a" * 108, "b" * 108)),
    ("v2, Unix, abstract", binary(0x21, 0x31, unix(b"\0x\nx", b"/run/b")), ("@x\nx", "/run/b")),
    ("v2, Unix, not UTF-8", binary(0x21, 0x31, unix(b"/\xff", b"\0\xff")), ("/\udcff", "@\\xff")),
    ("v2, Unix, a client without a name", binary(0x21, 0x31, unix(b"", b"/run/b")), None),
    ("v2, vectors", binary(0x21, 0x11, V4 + vector(3, b"\0" * 4) + vector(4, b"") + vector(0x20, b"abc")), TCP4),
    ("v2, the longest", binary(0x21, 0x11, V4 + vector(4, bytes(MAX_HEADER - 16 - 12 - 3))), TCP4),
]  # fmt: skip
good = pytest.mark.parametrize(("header", "ends"), [row[1:] for row in GOOD], ids=[row[0] for row in GOOD])

BEHIND = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\r\n", b"PROXY TCP4 ", SIGNATURE, b"\n", bytes(5000)]


@good
def test_whole(header, ends):
    assert cut(header) == (len(header), True, ends)


@good
@pytest.mark.parametrize("more", BEHIND, ids=range(len(BEHIND)))
def test_with_more_behind_it_is_told_to_the_byte(header, ends, more):
    assert cut(header + more) == (len(header), True, ends)


@good
def test_byte_by_byte_all_that_is_there_belongs_to_it(header, ends):
    for count in range(len(header)):
        assert cut(header[:count]) == (count, False, None)


@good
def test_in_random_pieces_as_a_socket_gives_them(header, ends):
    choice = random.Random(7)
    for _ in range(100):
        rest, taken, is_complete = header + b"and more", b"", False
        while not is_complete:
            there = rest[: choice.randint(1, len(rest))]
            count, is_complete, found = cut(taken + there)
            assert len(taken) < count <= len(taken + there)
            count -= len(taken)
            taken, rest = taken + rest[:count], rest[count:]
        assert (taken, rest, found) == (header, b"and more", ends)


BAD = [
    ("another protocol", b"GET / HTTP/1.1\r\n", 1, "does not begin"),
    ("TLS", b"\x16\x03\x01", 1, "does not begin"),
    ("nearly", b"PROXY\tTCP4", 6, "does not begin"),
    ("lower case", b"proxy TCP4", 1, "does not begin"),
    ("almost the signature", b"\r\n\r\n\r", 5, "does not begin"),
    ("too long a line", LONGEST[:-2] + b"x\r\n", 107, "longer than 107"),
    ("an endless line", b"PROXY UNKNOWN" + b"x" * 10_000, 107, "longer than 107"),
    ("LF alone", b"PROXY UNKNOWN\n", 14, "CR LF"),
    ("LF in between", b"PROXY UNKNOWN a\nb\r\n", 16, "CR LF"),
    ("unknown and something", b"PROXY UNKNOWNX\r\n", 16, "form"),
    ("no protocol", b"PROXY \r\n", 8, "form"),
    ("another protocol name", b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", 32, "form"),
    ("protocol in lower case", b"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", 32, "form"),
    ("two spaces", b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", 33, "form"),
    ("tab", b"PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n", 32, "form"),
    ("space at the end", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", 33, "form"),
    ("a field too many", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", 34, "form"),
    ("a field too few", b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", 30, "form"),
    ("CR within", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n", 33, "form"),
    ("NUL within", b"PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n", 33, "form"),
    ("leading zero in a port", b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", 33, "form"),
    ("sign of a port", b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", 33, "form"),
    ("digits of another script", "PROXY TCP4 1.2.3.4 1.2.3.4 ٣ 2\r\n".encode(), 33, "form"),
    ("superscript in Latin-1", b"PROXY TCP4 1.2.3.4 1.2.3.4 \xb2 2\r\n", 32, "form"),
    ("port too high", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", 36, "65535"),
    ("leading zero in an address", b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n", 33, "IPv4"),
    ("three numbers", b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", 30, "IPv4"),
    ("five numbers", b"PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n", 34, "IPv4"),
    ("number too high", b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n", 34, "IPv4"),
    ("IPv6 as TCP4", b"PROXY TCP4 ::1 ::1 1 2\r\n", 24, "IPv4"),
    ("IPv4 as TCP6", b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", 32, "IPv6"),
    ("two ::", b"PROXY TCP6 1::2::3 ::1 1 2\r\n", 28, "IPv6"),
    ("a scope", b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", 33, "form"),
    ("brackets", b"PROXY TCP6 [::1] ::1 1 2\r\n", 26, "form"),
    ("version 1 in binary", binary(0x11, 0x11, V4), 13, "0x11"),
    ("version 3", binary(0x31, 0x11, V4), 13, "0x31"),
    ("another command", binary(0x22, 0x11, V4), 13, "0x22"),
    ("another family", binary(0x21, 0x41, V4), 14, "0x41"),
    ("another transport", binary(0x21, 0x13, V4), 14, "0x13"),
    ("too long", binary(0x21, 0x11, V4, MAX_HEADER - 15), 16, "4097 bytes long"),
    ("the longest that can be said", binary(0x20, 0x00, b"", 65535), 16, "65551 bytes long"),
    ("datagrams", binary(0x21, 0x12, V4), 28, "datagrams"),
    ("IPv4 cut off", binary(0x21, 0x11, V4[:-1]), 27, "11 bytes and not 12"),
    ("IPv6 cut off", binary(0x21, 0x21, V4), 28, "12 bytes and not 36"),
    ("Unix cut off", binary(0x21, 0x31, bytes(215)), 231, "215 bytes and not 216"),
    ("vector cut off", binary(0x21, 0x11, V4 + vector(4, b"abc")[:-1]), 33, "cut off"),
    ("vector's length cut off", binary(0x21, 0x11, V4 + b"\x04\x00"), 30, "cut off"),
    ("vector too long", binary(0x21, 0x11, V4 + b"\x04\xff\xffabc"), 34, "cut off"),
]  # fmt: skip
bad = pytest.mark.parametrize(("data", "at", "why"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])


@bad
def test_what_is_no_header_is_refused_as_soon_as_that_is_known(data, at, why):
    for count in range(at):
        assert cut(data[:count]) == (count, False, None)
    for count in range(at, len(data) + 1):
        with pytest.raises(ValueError, match=why):
            cut(data[:count])


@bad
def test_what_stands_behind_makes_nothing_right(data, at, why):
    with pytest.raises(ValueError, match=why):
        cut(data + b"\r\n" + bytes(70_000))


@given(st.one_of(st.binary(), st.binary().map(SIGNATURE.__add__), st.binary().map(b"PROXY TCP6 ".__add__)))
def test_whatever_comes_is_cut_or_refused(data):
    try:
        count, is_complete, ends = cut(data)
    except ValueError:
        return
    assert 0 <= count <= len(data)
    assert is_complete or (count == len(data) < MAX_HEADER and ends is None)
