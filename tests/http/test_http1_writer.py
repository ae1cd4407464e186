"""What is sent: validated in one place, whoever made it, and always as long as it says."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import pytest

from tests.http.codec import chunkings, read_responses
from trews.http.errors import BadAnswer
from trews.http.http1 import Writer, answer, as_latin1, field_lines, has_no_body, status_line, trailer_lines

DATE = b"Date: now\r\n"
CONTROLS = [bytes([code]) for code in range(32) if code != 9] + [b"\x7f"]


def head(fields: Any = (), status: int = 200, method: str = "GET", minor: int = 1, persists: bool = True, **more: Any):
    """The fields' lines of a head, without Date."""
    data = Writer(method, minor, persists).head(status, None, fields, DATE, **more)
    first, *lines = data.split(b"\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert lines[-2:] == [b"", b""]
    assert data.count(b"\r\n\r\n") == 1
    return [line for line in lines[:-2] if line != b"Date: now"]


def written(writer: Writer, pieces: list[bytes], fields: Any = (), status: int = 200, trailers: Any = ()) -> bytes:
    data = writer.head(status, None, fields, DATE)
    return data + b"".join(writer.body(piece) for piece in pieces) + writer.end(trailers)


class TestStatusLine:
    def test_the_usual_words(self) -> None:
        assert status_line(200) == b"HTTP/1.1 200 OK\r\n"
        assert status_line(404) == b"HTTP/1.1 404 Not Found\r\n"
        assert status_line(413) == b"HTTP/1.1 413 Content Too Large\r\n"  # the same on all Pythons
        assert status_line(599) == b"HTTP/1.1 599 Unknown\r\n"
        assert status_line(HTTPStatus.OK) == b"HTTP/1.1 200 OK\r\n"

    def test_other_words(self) -> None:
        assert status_line(200, "Très bien") == b"HTTP/1.1 200 Tr\xe8s bien\r\n"
        assert status_line(200, b"") == b"HTTP/1.1 200 \r\n"

    @pytest.mark.parametrize("control", CONTROLS)
    def test_no_control_character(self, control: bytes) -> None:
        for words in (b"OK" + control, (b"OK" + control + b"X: y").decode()):
            with pytest.raises(BadAnswer):
                status_line(200, words)

    @pytest.mark.parametrize("words", ["€", 5, ["OK"]])
    def test_no_words(self, words: Any) -> None:
        with pytest.raises((BadAnswer, TypeError)):
            status_line(200, words)

    @pytest.mark.parametrize("status", [-1, 0, 99, 1000, 20000])
    def test_no_status(self, status: int) -> None:
        for words in (None, "OK"):
            with pytest.raises(BadAnswer):
                status_line(status, words)


class TestFields:
    def test_they_are_sent_as_they_are(self) -> None:
        assert head([("A", "b"), (b"c-D", b"\xff\t x"), ("E", "é"), ("A", "")], length=0) == [
            b"A: b",
            b"c-D: \xff\t x",
            b"E: \xe9",
            b"A: ",
            b"Content-Length: 0",
        ]

    @pytest.mark.parametrize("control", CONTROLS)
    def test_no_control_character_in_a_value(self, control: bytes) -> None:
        for value in (control, b"a" + control, b"a" + control + b"Set-Cookie: b", (b"a" + control).decode()):
            for made in (lambda v=value: head([("X", v)]), lambda v=value: field_lines([("X", v)])):
                with pytest.raises(BadAnswer):
                    made()

    @pytest.mark.parametrize("name", ["", " ", "a b", "a:", "a\r\nb", "a\n", "é", "a\0", "(a)", "a\t", "a/b", "a\x7f"])
    def test_no_name(self, name: str) -> None:
        for given in (name, name.encode("latin-1")):
            for made in (lambda n=given: head([(n, "x")]), lambda n=given: field_lines([(n, "x")])):
                with pytest.raises(BadAnswer):
                    made()

    @pytest.mark.parametrize("value", ["€", 5, None, ["a"], bytearray(b"a")])
    def test_no_value(self, value: Any) -> None:
        with pytest.raises(BadAnswer):
            head([("X", value)])
        with pytest.raises(BadAnswer):
            as_latin1(value)

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            (5, "the field X-N takes str or bytes, not int"),
            (["a"], "the field X-N takes str or bytes, not list"),
            ("€", "the field X-N cannot have '€': it takes Latin-1 only"),
            ("\n", "the field X-N has the control character"),
        ],
    )
    def test_an_error_names_the_field(self, value: Any, says: str) -> None:
        for made in (lambda: head([("X-N", value)]), lambda: field_lines([(b"X-N", value)])):
            with pytest.raises(BadAnswer, match=f"^{says}"):
                made()

    @pytest.mark.parametrize("field", [("Set-Cookie", "id=secret\n"), ("Set-Cookie", "secret€"), ("X", ["secret"])])
    def test_an_error_does_not_show_the_value(self, field: Any) -> None:
        with pytest.raises(BadAnswer) as caught:
            head([field])
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("name", ["Date", "Content-Type", "Location", "content-TYPE"])
    def test_what_there_is_one_of_is_there_once(self, name: str) -> None:
        assert head([(name, "x")], length=0)[0] == name.encode() + b": x"
        for second in (name, name.upper()):
            with pytest.raises(BadAnswer, match="one field"):
                head([(name, "x"), (second, "x")])

    def test_date_is_theirs_or_ours(self) -> None:
        assert Writer("GET", 1, True).head(200, None, [("date", "then")], DATE, 0).count(b"ate:") == 1
        assert DATE in Writer("GET", 1, True).head(200, None, [], DATE, 0)

    @pytest.mark.parametrize("value", ["chunked", "gzip", "identity", ""])
    def test_transfer_encoding_is_ours(self, value: str) -> None:
        with pytest.raises(BadAnswer, match="trews' own"):
            head([("tRANSFER-eNCODING", value)])


class TestLength:
    @pytest.mark.parametrize("value", ["", "+1", "-1", " 1", "1 ", "1_0", "0x1", "1,1", "1.0", "²", "9" * 19])
    def test_no_length(self, value: str) -> None:
        with pytest.raises(BadAnswer):
            head([("Content-Length", value)])

    def test_two_that_agree_are_sent_once(self) -> None:
        assert head([("Content-Length", "5"), ("content-length", "05")]) == [b"Content-Length: 5"]

    def test_two_that_differ(self) -> None:
        with pytest.raises(BadAnswer):
            head([("Content-Length", "5"), ("Content-Length", "6")])

    def test_what_the_fields_say_counts(self) -> None:
        assert head([("Content-Length", "5")], length=7) == [b"Content-Length: 5"]

    @pytest.mark.parametrize("pieces", [[b"abcd"], [b"ab", b"cd"], [b"", b"abc", b"d"]])
    def test_more_than_it_says(self, pieces: list[bytes]) -> None:
        writer = Writer("GET", 1, True)
        writer.head(200, None, [("Content-Length", "3")], DATE)
        with pytest.raises(BadAnswer, match="more bytes"):
            for piece in pieces:
                writer.body(piece)

    def test_less_than_it_says(self) -> None:
        writer = Writer("GET", 1, True)
        writer.head(200, None, [("Content-Length", "3")], DATE)
        writer.body(b"ab")
        with pytest.raises(BadAnswer, match="fewer bytes"):
            writer.end()
        assert not writer.is_done
        assert writer.body(b"c") + writer.end() == b"c"


class TestFraming:
    """RFC 9112, 6.3."""

    def test_chunked_without_a_length(self) -> None:
        assert head() == [b"Transfer-Encoding: chunked"]

    def test_up_to_the_end_in_1_0(self) -> None:
        writer = Writer("GET", 0, True)
        data = written(writer, [b"abc", b"de"])
        assert data.endswith(b"\r\nConnection: close\r\n\r\nabcde")
        assert not writer.persists

    @pytest.mark.parametrize("status", [204, 304])
    @pytest.mark.parametrize("minor", [0, 1])
    def test_a_status_without_a_body(self, status: int, minor: int) -> None:
        writer = Writer("GET", minor, True)
        data = written(writer, [b"abc"], status=status)
        assert data.partition(b"\r\n\r\n")[2] == b""
        assert b"Content-Length" not in data
        assert b"Transfer-Encoding" not in data
        assert (writer.persists, writer.is_silent, writer.sent) == (True, True, 0)

    def test_204_has_no_length_and_304_has_that_of_a_get(self) -> None:
        assert head([("Content-Length", "5")], 204) == []
        assert head([("Content-Length", "5")], 304) == [b"Content-Length: 5"]

    @pytest.mark.parametrize("fields", [[], [("Content-Length", "5")]])
    def test_205_is_empty_and_says_so(self, fields: Any) -> None:
        data = written(Writer("GET", 1, True), [b"abc"], fields, 205)
        assert data.endswith(b"\r\nContent-Length: 0\r\n\r\n")

    @pytest.mark.parametrize("fields", [[], [("Content-Length", "3")]])
    def test_head_has_the_head_of_a_get(self, fields: Any) -> None:
        get = written(Writer("GET", 1, True), [b"abc"], fields)
        assert written(Writer("HEAD", 1, True), [b"abc"], fields) == get[: get.index(b"\r\n\r\n") + 4]
        assert written(Writer("HEAD", 1, True), [], fields) == get[: get.index(b"\r\n\r\n") + 4]

    def test_a_tunnel_has_no_framing(self) -> None:
        assert head([("Content-Length", "5")], 200, "CONNECT") == []
        assert head([("Content-Length", "5")], 403, "CONNECT") == [b"Content-Length: 5"]

    @pytest.mark.parametrize("status", [100, 101, 103, 199, 600, 99, 0, -1])
    def test_a_status_that_is_no_answer(self, status: int) -> None:
        with pytest.raises(BadAnswer):
            head(status=status)

    def test_no_body(self) -> None:
        assert [status for status in range(100, 600) if has_no_body(status)] == [*range(100, 200), 204, 304]


class TestConnection:
    @pytest.mark.parametrize(
        ("fields", "minor", "persists", "expected", "goes_on"),
        [
            ([], 1, True, None, True),
            ([], 1, False, b"close", False),
            ([], 0, True, b"keep-alive", True),
            ([], 0, False, b"close", False),
            ([("Connection", "close")], 1, True, b"close", False),
            ([("connection", "CLOSE")], 0, True, b"close", False),
            ([("Connection", "keep-alive")], 1, True, None, True),
            ([("Connection", "keep-alive")], 1, False, b"close", False),
            ([("Connection", "keep-alive"), ("Keep-Alive", "timeout=5")], 1, True, None, True),
            ([("Connection", "enclosed")], 1, True, b"enclosed", True),
            ([("Connection", "Upgrade"), ("Upgrade", "x")], 1, True, b"Upgrade", True),
            ([("Connection", "upgrade, close,,")], 1, True, b"upgrade, close", False),
            ([("Connection", "a"), ("Connection", "keep-alive, b")], 0, True, b"a, b, keep-alive", True),
        ],
    )
    def test_there_is_one(self, fields: Any, minor: int, persists: bool, expected: bytes | None, goes_on: bool) -> None:
        writer = Writer("GET", minor, persists)
        data = writer.head(200, None, fields, DATE, 0)
        assert re.findall(rb"(?i)\r\nconnection: ([^\r]*)", data) == ([] if expected is None else [expected])
        assert b"timeout" not in data
        assert writer.persists is goes_on


class TestChunks:
    def test_an_empty_piece_is_none(self) -> None:
        """Or it would be the last chunk."""
        data = written(Writer("GET", 1, True), [b"", b"a" * 26, b"", b"b"])
        assert data.partition(b"\r\n\r\n")[2] == b"1a\r\n" + b"a" * 26 + b"\r\n1\r\nb\r\n0\r\n\r\n"

    def test_trailers(self) -> None:
        data = written(Writer("GET", 1, True), [b"a"], trailers=[("X", "y"), (b"Z", b"")])
        assert data.endswith(b"0\r\nX: y\r\nZ: \r\n\r\n")

    @pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", b"HOST", "Set-Cookie", "Trailer", "Date"])
    def test_what_cannot_be_a_trailer(self, name: Any) -> None:
        with pytest.raises(BadAnswer, match="cannot be a trailer"):
            trailer_lines([(name, "5")])
        writer = Writer("GET", 1, True)
        writer.head(200, None, [], DATE)
        with pytest.raises(BadAnswer, match="cannot be a trailer"):
            writer.end([(name, "5")])

    @pytest.mark.parametrize("trailer", [("X", "a\r\nb"), ("X\r\n", "a"), ("X", "\n"), ("", "a"), ("X", 1), ("é", "a")])
    def test_trailers_are_validated_too(self, trailer: Any) -> None:
        writer = Writer("GET", 1, True)
        writer.head(200, None, [], DATE)
        with pytest.raises(BadAnswer):
            writer.end([trailer])

    def test_without_chunks_there_is_no_place_for_trailers(self) -> None:
        for minor, length in ((1, 0), (0, -1)):
            writer = Writer("GET", minor, True)
            writer.head(200, None, [], DATE, length)
            with pytest.raises(BadAnswer, match="chunked body"):
                writer.end([("X", "y")])


class TestOrder:
    """What is written in the wrong order would be read as something else."""

    def test_a_body_before_the_head(self) -> None:
        with pytest.raises(BadAnswer):
            Writer("GET", 1, True).body(b"a")
        with pytest.raises(BadAnswer):
            Writer("GET", 1, True).end()

    def test_two_heads(self) -> None:
        writer = Writer("GET", 1, True)
        writer.head(200, None, [], DATE)
        with pytest.raises(BadAnswer):
            writer.head(200, None, [], DATE)

    @pytest.mark.parametrize("length", [-1, 0])
    def test_more_after_the_end(self, length: int) -> None:
        writer = Writer("GET", 1, True)
        writer.head(200, None, [], DATE, length)
        writer.end()
        for more in (lambda: writer.body(b"a"), lambda: writer.body(b""), writer.end):
            with pytest.raises(BadAnswer):
                more()


class TestAnswer:
    """The short way gives what the Writer gives."""

    @pytest.mark.parametrize("persists", [True, False])
    @pytest.mark.parametrize("minor", [0, 1])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("body", [b"", b"Hello"])
    def test_it_is_the_same(self, persists: bool, minor: int, method: str, body: bytes) -> None:
        writer = Writer(method, minor, persists)
        fields = [("Content-Type", "text/plain")]
        data = writer.head(200, None, fields, DATE, len(body)) + writer.body(body) + writer.end()
        start = status_line(200) + b"Content-Type: text/plain\r\n"
        assert answer(start, DATE, body, persists, minor > 0, method == "HEAD") == data


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("fields", [[], [("Content-Length", "5")]])
@pytest.mark.parametrize("status", [200, 204, 205, 304, 404])
def test_what_we_send_we_read(method: str, fields: Any, status: int) -> None:
    body = b"12345" if status != 205 else b""
    wire = written(Writer(method, 1, True), [body[:2], body[2:]], fields, status)
    for pieces in chunkings(wire + wire):
        found = read_responses(pieces, [method])
        expected = b"" if method == "HEAD" or status in (204, 205, 304) else body
        assert ([message.body for message in found.messages], found.end) == ([expected] * 2, "done")
