"""Queries, text and JSON, as they should be and as they come."""

from __future__ import annotations

import encodings
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trews.http.content import (
    MAX_PARAMETERS,
    as_bytes,
    charset_of,
    decode_json,
    decode_text,
    parse_query,
    percent_decoded,
)
from trews.http.errors import Error

# -- queries


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("a=1", [("a", "1")]),
        ("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("a", [("a", "")]),
        ("a=", [("a", "")]),
        ("=1", [("", "1")]),
        ("&&a=1&", [("a", "1")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=1+2%2B3%20", [("a", "1 2+3 ")]),
        ("%61%3D=%26", [("a=", "&")]),
        ("a=%C3%A9", [("a", "é")]),
        ("a=%FF%ED%A0%80", [("a", "\ufffd\ufffd\ufffd\ufffd")]),  # no lone surrogate comes of it
        ("a=%", [("a", "%")]),
        ("a=%zz", [("a", "%zz")]),
        ("a=%00", [("a", "\0")]),
        # CVE-2020-28473: caches do not know that `;` separates
        ("a=1;b=2", [("a", "1;b=2")]),
        ("a=1?b=2", [("a", "1?b=2")]),
        ("a[]=1&a[b]=2", [("a[]", "1"), ("a[b]", "2")]),
    ],
)
def test_query(text, pairs):
    assert parse_query(text).items() == pairs


def test_so_many_parameters_and_no_more():
    assert len(parse_query("&".join(["a=1"] * MAX_PARAMETERS)).get_all("a")) == MAX_PARAMETERS
    with pytest.raises(Error, match="400 more than 1000 parameters"):
        parse_query("&".join(["a=1"] * (MAX_PARAMETERS + 1)))


def test_ampersands_alone_are_no_parameters():
    assert parse_query("&" * 8000 + "a=1").items() == [("a", "1")]


@given(st.text(st.characters(codec="ascii"), max_size=300))
def test_whatever_comes_can_be_sent_on(text):
    try:
        pairs = parse_query(text).items()
    except Error:
        return
    for name, value in pairs:
        name.encode()
        value.encode()


def test_percent_decoded():
    assert percent_decoded("/a%20b") == "/a b"
    assert percent_decoded("/a+b") == "/a+b"
    assert percent_decoded("/%ff") == "/\ufffd"


# -- text


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        ("", "utf-8"),
        ("text/plain", "utf-8"),
        ("text/plain; charset=ISO-8859-1", "iso-8859-1"),
        ('text/plain; a=b; CharSet = "UTF-16" ', "utf-16"),
        ("text/plain; charset=", "utf-8"),
        ('text/plain; charset=""', "utf-8"),
        ("text/plain; charset=a; charset=b", "a"),
        ("charset=ascii", "utf-8"),  # that is a type, not a parameter
    ],
)
def test_charset_of(content_type, charset):
    assert charset_of(content_type) == charset


@pytest.mark.parametrize(
    "charset",
    [
        *("utf-8", "UTF8", "utf-16", "utf-16le", "utf-16-be", "utf-32", "iso-8859-1", "latin1", "iso-8859-15"),
        *("windows-1252", "cp1251", "koi8-r", "shift_jis", "euc-jp", "euc-kr", "gbk", "gb2312", "gb18030", "big5"),
        *("us-ascii", "ascii"),
    ],
)
def test_charsets_that_are_known(charset):
    assert decode_text("abc".encode(charset), f"text/plain; charset={charset}") == "abc"


# Python has a codec for each of these: of source code, of host names in quadratic time, of no text at all.
@pytest.mark.parametrize(
    "charset",
    [
        *(
            "idna",
            "punycode",
            "unicode_escape",
            "raw-unicode-escape",
            "utf-7",
            "utf_7",
            "rot13",
            "zlib",
            "hex",
            "base64",
        ),
        *("bz2", "undefined", "mbcs", "oem", "palmos", "charmap", "iso-8859-12", "iso-8859-99", "nonsense", "\xe9"),
        *("../../x", "a.b"),
    ],
)
def test_charsets_that_are_not(charset):
    with pytest.raises(Error) as caught:
        decode_text(b"abc", f"text/plain; charset={charset}")
    assert caught.value.status == 415


def test_names_that_a_peer_makes_up_are_not_kept():
    """Python remembers each name that it did not find, for ever."""
    for number in range(50):
        with pytest.raises(Error):
            decode_text(b"", f"text/plain; charset=made-up-{number}")
    assert not [name for name in encodings._cache if "made" in name]


@pytest.mark.parametrize(
    ("content", "charset"), [(b"\xff", "utf-8"), (b"\xed\xa0\x80", "utf-8"), (b"\xff", "ascii"), (b"\x00", "utf-16")]
)
def test_text_that_is_none(content, charset):
    with pytest.raises(Error) as caught:
        decode_text(content, f"text/plain; charset={charset}")
    assert caught.value.status == 400


# -- JSON


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b'{"a": [1, 2.5, null, true, "\\u00e9"]}', {"a": [1, 2.5, None, True, "é"]}),
        (b" 1 ", 1),
        ('"é"'.encode(), "é"),
        ('"é"'.encode("utf-8-sig"), "é"),
        ('"é"'.encode("utf-16"), "é"),
        (b'"\\ud800"', "\ud800"),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
)
def test_json(content, value):
    assert decode_json(content) == value


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b"[1,]",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"\xff",
        b'"\xed\xa0\x80"',
        b"1 2",
        b'"\n"',
        b"nul",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
    ],
    ids=lambda content: content[:10].hex(),
)
def test_json_that_is_none(content):
    with pytest.raises(Error, match="400 the body is no JSON"):
        decode_json(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b" ", "Expecting value at line 1, column 2"),
        (b'{"a": 1,\n "b" 2}', "Expecting ':' delimiter at line 2, column 6"),
        (b"[1] 2", "Extra data at line 1, column 5"),
        (b'"\\x"', "Invalid \\escape at line 1, column 2"),
        (b'["a", "\xff"]', "byte 7 is no UTF-8"),
        (b"[NaN]", "NaN is not in JSON"),
        (b"-Infinity", "-Infinity is not in JSON"),
        (b"[" * 100_000, "it nests too deeply"),
        (b"1" * 5000, "a number of too many digits"),
    ],
    ids=lambda value: value[:12].hex() if isinstance(value, bytes) else value,
)
def test_what_is_no_json_and_where(content, says):
    with pytest.raises(Error) as caught:
        decode_json(content)
    assert caught.value.text == f"the body is no JSON: {says}\n"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_json_as_python_reads_it(value):
    assert decode_json(json.dumps(value).encode()) == value


# -- bytes


@pytest.mark.parametrize("data", ["é", "é".encode(), bytearray("é".encode()), memoryview("é".encode())])
def test_as_bytes(data):
    assert as_bytes(data) == "é".encode()
    assert type(as_bytes(data)) is bytes


@pytest.mark.parametrize("data", [5, None, [b"a"], True])
def test_what_is_no_bytes(data):
    with pytest.raises(TypeError, match="a piece of a body is str or bytes, not"):
        as_bytes(data)
