"""HTTP/1 messages without I/O: bodies taken apart and put together, heads written.

What is sent is validated here, once, whoever made it: names, values, reasons, and that a message is as long as it says.
What is received is cut here: `LengthBody`, `ChunkedBody`, `EndlessBody` take the bytes of a body out of what came.

It has more than 400 lines: what is sent here is what is taken apart here, by the same clauses.

Source: RFC 9112, 6 and 7; RFC 9110, 5.5, 6.4, 6.5 and 15.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from trews.http.errors import BadAnswer, BadMessage, reason
from trews.http.head import Fields, Limits, ResponseHead, check_incomplete_fields, scan_trailers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_extensions import i64

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")
_HEX: Final = re.compile(rb"[0-9A-Fa-f]++")
# RFC 9112, 7.1.1, with the space around '=' and ';' that it has of old, and quoted strings; between a size and CR LF.
_EXTENSIONS: Final = re.compile(
    rb"""(?:[\t ]*+;[\t ]*+[!#$%&'*+\-.^_`|~0-9A-Za-z]++"""
    rb"""(?:[\t ]*+=[\t ]*+(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++"""
    rb"""|"[\t !#-\[\]-~\x80-\xff]*+(?:\\[\t !-~\x80-\xff][\t !#-\[\]-~\x80-\xff]*+)*+"))?)*"""
)
_CHUNK_START: Final = re.compile(rb"[0-9A-Fa-f]++[\t ]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?")
_MAX_DIGITS: Final = 16  # of a chunk's size, with zeros before it
_MAX_SIZE_LINE: Final = 1024  # bytes of a chunk's first line with its extensions
_MAX_EXTENSIONS: Final = 16 * 1024  # bytes of them in one body: who sends one byte a chunk may not make it ten thousand

# RFC 9110, 6.5.1: what says how the message is framed, routed, read or who asks cannot come after it.
_NO_TRAILERS: Final = frozenset(
    b"age authorization cache-control connection content-encoding content-length content-range content-type cookie date"
    b" expect expires host keep-alive location max-forwards proxy-authenticate proxy-authorization range retry-after"
    b" set-cookie te trailer transfer-encoding upgrade vary www-authenticate".split()
)

# -- bodies that come


class LengthBody:
    """A body of so many bytes.

    Attributes:
        is_done: whether its last byte was taken.
        rest: how many bytes are to come; -1 if that is not known.
        trailers: after a chunked body, its trailers.
    """

    __slots__ = ("is_done", "rest", "trailers")

    def __init__(self, length: int) -> None:
        self.rest: i64 = length
        self.is_done: bool = length == 0
        self.trailers: Fields | None = None

    def take(self, data: bytes, start: i64, pieces: list[bytes]) -> i64:
        """Take what belongs to the body.

        Args:
            data: what has come; from `start` on it was not seen before.
            pieces: bytes of the body are added to it.

        Returns:
            Where in `data` what follows begins; its end if the body goes on.

        Raises:
            BadMessage: it cannot be accepted.
        """
        size: i64 = len(data)
        if size - start < self.rest:
            self.rest -= size - start
            if start < size:
                pieces.append(data[start:] if start else data)
            return size
        end: i64 = start + self.rest
        if end > start:
            pieces.append(data[start:end])
        self.rest = 0
        self.is_done = True
        return end


class EndlessBody:
    """A body up to the end of the connection, as a response may have (RFC 9112, 6.3). It is never done by itself."""

    __slots__ = ("is_done", "rest", "trailers")

    def __init__(self) -> None:
        self.rest: i64 = -1
        self.is_done: bool = False
        self.trailers: Fields | None = None

    def take(self, data: bytes, start: i64, pieces: list[bytes]) -> i64:
        """As `LengthBody.take`."""
        if start < len(data):
            pieces.append(data[start:] if start else data)
        return len(data)


_SIZE, _DATA, _DATA_END, _TRAILERS = 0, 1, 2, 3


class ChunkedBody:
    """A body in chunks, with trailers (RFC 9112, 7.1)."""

    __slots__ = ("_kept", "_left", "_limits", "_scanned", "_spent", "_state", "is_done", "rest", "trailers")

    def __init__(self, max_trailers: int = 8 * 1024, max_fields: int = 100) -> None:
        self.rest: i64 = -1
        self.is_done: bool = False
        self.trailers: Fields | None = None
        self._limits: Limits = Limits(max_trailers, max_fields)
        self._state: i64 = _SIZE
        self._left: i64 = 0  # bytes of the chunk that are to come
        self._spent: i64 = 0  # bytes of extensions so far
        self._kept: bytes = b""  # a line, or trailers, of which not all is there
        self._scanned: i64 = 0  # bytes of such trailers

    def take(self, data: bytes, start: i64, pieces: list[bytes]) -> i64:
        """As `LengthBody.take`."""
        if self.is_done:
            return start
        at: i64 = start
        size: i64 = len(data)
        before: i64 = 0
        if self._kept:
            before = len(self._kept)  # of which nothing is counted in what is returned
            data = self._kept + data[at:]
            self._kept = b""
            before -= at
            at = 0
            size = len(data)
        while at < size:
            if self._state == _DATA:
                end: i64 = at + self._left
                if end > size:
                    pieces.append(data[at:])
                    self._left -= size - at
                    at = size
                    break
                pieces.append(data[at:end])
                at = end
                self._state = _DATA_END
            elif self._state == _DATA_END:
                if size - at < 2:
                    if data[at] != 13:
                        raise BadMessage(400, "a chunk that does not end in CR LF (RFC 9112, 7.1)")
                    break
                if data[at] != 13 or data[at + 1] != 10:
                    raise BadMessage(400, "a chunk that does not end in CR LF (RFC 9112, 7.1)")
                at += 2
                self._state = _SIZE
            elif self._state == _SIZE:
                next_at = self._take_size(data, at)
                if next_at < 0:
                    break
                at = next_at
            else:
                fields = self._take_trailers(data, at)
                if fields is None:
                    break
                self.trailers = fields
                self.is_done = True
                return fields.next - before
        if at < size:
            self._kept = data[at:]
        return size - before

    def _take_trailers(self, data: bytes, at: i64) -> Fields | None:
        """The trailers; None if not all of them are there. A byte more is no reason to scan all of them again."""
        if self._scanned < 2 or data.find(b"\r\n\r\n", at + self._scanned - 3 if self._scanned > 3 else at) >= 0:
            fields = scan_trailers(data, at, self._limits)
            if fields is not None:
                return fields
        check_incomplete_fields(data, at, at + self._scanned, self._limits)
        self._scanned = len(data) - at
        return None

    def _take_size(self, data: bytes, at: i64) -> i64:
        """The line with the size of a chunk. Returns where it ends, -1 if it is not all there."""
        limit: i64 = at + _MAX_SIZE_LINE
        end: i64 = data.find(b"\r", at, limit + 1)
        if end < 0 or end + 1 >= len(data):
            line = data[at:] if end < 0 else data[at:end]
            if len(line) > _MAX_SIZE_LINE:
                raise BadMessage(400, f"a chunk's first line of more than {_MAX_SIZE_LINE} bytes")
            if (line or end >= 0) and _CHUNK_START.fullmatch(line) is None:
                raise BadMessage(400, "a chunk without a size (RFC 9112, 7.1)")
            return -1
        if data[end + 1] != 10:
            raise BadMessage(400, "a CR without LF after a chunk's size (RFC 9112, 7.1)")
        # int() would take '0x1', '+1', ' 1' and '1_0', too.
        match = _HEX.match(data, at, end)
        if match is None:
            raise BadMessage(400, "a chunk without a size (RFC 9112, 7.1)")
        digits_end: i64 = match.end()
        if digits_end < end:
            if _EXTENSIONS.fullmatch(data, digits_end, end) is None:
                raise BadMessage(400, "chunk extensions that are none (RFC 9112, 7.1.1)")
            self._spent += end - digits_end
            if self._spent > _MAX_EXTENSIONS:
                raise BadMessage(400, f"more than {_MAX_EXTENSIONS} bytes of chunk extensions")
        digits = data[at:digits_end]
        if len(digits) > _MAX_DIGITS or (len(digits) == _MAX_DIGITS and digits[0] != 48):
            raise BadMessage(413, "a chunk beyond all measure")
        self._left = int(digits, 16)
        self._state = _DATA if self._left else _TRAILERS
        return end + 2


def body_of_response(
    head: ResponseHead, method: str, max_trailers: int = 8 * 1024, max_fields: int = 100
) -> LengthBody | ChunkedBody | EndlessBody | None:
    """What takes the body of a response; None if none follows (RFC 9112, 6.3).

    An interim response (1xx) has none, and is followed by another; after 101, and after a 2xx to CONNECT, what follows
    is no HTTP. With an `EndlessBody` the connection can have no further response.

    Args:
        method: of the request that this answers.
    """
    status = head.status
    if method == "HEAD" or has_no_body(status) or (method == "CONNECT" and 200 <= status <= 299):
        return None
    if head.is_chunked:
        return ChunkedBody(max_trailers, max_fields)
    if head.length >= 0:
        return LengthBody(head.length)
    return EndlessBody()


# -- messages that go


def check_name(name: bytes) -> bytes:
    """A field's name as it is, if it is one (RFC 9110, 5.1)."""
    if _NAME.fullmatch(name) is None:
        raise BadAnswer(f"{name!r} cannot be the name of a field (RFC 9110, 5.1)")
    return name


def check_value(name: bytes, value: bytes) -> bytes:
    """A field's value as it is, if it is one (RFC 9110, 5.5)."""
    if _VALUE.fullmatch(value) is None:
        match = _VALUE.match(value)
        end = 0 if match is None else match.end()
        # Not the value itself, which may be a secret.
        raise BadAnswer(
            f"the field {name.decode()} has the control character {value[end : end + 1]!r} at {end} (RFC 9110, 5.5)"
        )
    return value


def field_lines(fields: Iterable[tuple[Any, Any]]) -> bytes:
    """Fields as lines, validated.

    Args:
        fields: `(name, value)`, each str (Latin-1) or bytes.

    Raises:
        BadAnswer: a name or a value that cannot be sent.
    """
    lines: list[bytes] = []
    for name, value in fields:
        raw_name = check_name(as_latin1(name))
        raw_value = check_value(raw_name, as_latin1(value, raw_name))
        lines.append(b"%b: %b\r\n" % (raw_name, raw_value))
    return b"".join(lines)


def trailer_lines(fields: Iterable[tuple[Any, Any]]) -> bytes:
    """The same for trailers, of which some names cannot be (RFC 9110, 6.5.1)."""
    trailers = list(fields)
    for name, _ in trailers:
        if as_latin1(name).lower() in _NO_TRAILERS:
            raise BadAnswer(f"the field {as_latin1(name).decode('latin-1')} cannot be a trailer (RFC 9110, 6.5.1)")
    return field_lines(trailers) if trailers else b""


def as_latin1(text: Any, name: bytes = b"") -> bytes:
    """A name, or the value of the field `name`, as bytes."""
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError as exc:
            raise BadAnswer(
                f"{_field(name)} cannot have {text[exc.start]!r}: it takes Latin-1 only; encode it first"
                " (RFC 9110, 5.5)"
            ) from None
    raise BadAnswer(f"{_field(name)} takes str or bytes, not {type(text).__name__}")


def _field(name: bytes) -> str:
    return f"the field {name.decode('latin-1')}" if name else "a field"


def status_line(status: int, words: str | bytes | None = None) -> bytes:
    """The first line of a response.

    Args:
        status: 100 to 999.
        words: the reason; that of the status by default.

    Raises:
        BadAnswer: they cannot be sent.
    """
    if words is None:
        known = _STATUS_LINES.get(status)
        if known is None:
            if not 100 <= status <= 999:
                raise BadAnswer(f"a status is 100 to 999, not {status}")
            known = b"HTTP/1.1 %d %b\r\n" % (status, reason(status).encode())
            _STATUS_LINES[status] = known
        return known
    raw = as_latin1(words)
    if _VALUE.fullmatch(raw) is None or not 100 <= status <= 999:
        raise BadAnswer(f"{status} {words!r} cannot be a status and its reason (RFC 9112, 4)")
    return b"HTTP/1.1 %d %b\r\n" % (status, raw)


_STATUS_LINES: Final[dict[int, bytes]] = {}


def has_no_body(status: int) -> bool:
    """Whether responses of a status never have a body (RFC 9110, 6.4.1)."""
    return status < 200 or status in (204, 304)


class Writer:
    """Writes one response: decides how it is framed, and sees that it is what its head says.

    Args:
        method: of the request.
        minor: of the request's version.
        persists: whether the connection may go on after it.

    Attributes:
        persists: whether it does, once the head is made.
        is_done: whether `end` was called.
        is_silent: no body is sent, whatever is written: HEAD, or a status without one.
        sent: bytes of the body so far.
        status: once the head is made; 0 before.
    """

    __slots__ = (
        "_declared",
        "_has_date",
        "_has_location",
        "_has_type",
        "_is_1_1",
        "_is_chunked",
        "_left",
        "_method",
        "_options",
        "is_done",
        "is_silent",
        "persists",
        "sent",
        "status",
    )

    def __init__(self, method: str, minor: int, persists: bool) -> None:
        self._method: str = method
        self._is_1_1: bool = minor > 0
        self.persists: bool = persists
        self.status: i64 = 0
        self.is_done: bool = False
        self._is_chunked: bool = False
        self.is_silent: bool = False
        self._left: i64 = -1  # bytes that are still to be written, if the head says how many
        self.sent: i64 = 0
        self._declared: i64 = -1  # Content-Length
        self._options: list[bytes] = []  # of Connection
        self._has_date: bool = False
        self._has_type: bool = False
        self._has_location: bool = False

    def head(
        self, status: int, words: str | bytes | None, fields: Iterable[tuple[Any, Any]], date: bytes, length: int = -1
    ) -> bytes:
        """The head.

        Args:
            status: 200 to 599.
            words: its reason; the usual one by default.
            fields: `(name, value)`; Content-Length says how long the body is; those about the connection are ours.
            date: the Date line, sent if `fields` has none.
            length: how long the body is, if `fields` need not say so; -1: not known.

        Raises:
            BadAnswer: it cannot be sent; another may be made, by another Writer.
        """
        if self.status:
            raise BadAnswer("an answer has one head, and this one has it")
        if not 200 <= status <= 599:
            raise BadAnswer(f"the status of an answer is 200 to 599, not {status}")
        lines: list[bytes] = [status_line(status, words)]
        for name, value in fields:
            raw_name = check_name(as_latin1(name))
            raw_value = check_value(raw_name, as_latin1(value, raw_name))
            size = len(raw_name)
            # Of these lengths are the names that `_note` knows.
            if size in (4, 8, 10, 12, 14, 17) and not self._note(raw_name.lower(), raw_value):
                continue
            lines.append(b"%b: %b\r\n" % (raw_name, raw_value))
        if not self._has_date:
            lines.append(date)
        self.status = status
        self._frame(lines, self._declared if self._declared >= 0 else length)
        self._note_persistence(lines)
        lines.append(b"\r\n")
        return b"".join(lines)

    def _note(self, name: bytes, value: bytes) -> bool:
        """Take notice of a field. Returns whether it is sent as it is."""
        if name == b"content-length":
            if not value.isdigit() or len(value) > 18 or (0 <= self._declared != int(value)):
                raise BadAnswer(f"Content-Length is one number, not {value!r} (RFC 9110, 8.6)")
            self._declared = int(value)
            return False
        elif name == b"content-type":
            self._once(self._has_type, name)
            self._has_type = True
        elif name == b"date":
            self._once(self._has_date, name)
            self._has_date = True
        elif name == b"location":
            self._once(self._has_location, name)
            self._has_location = True
        elif name == b"transfer-encoding":
            raise BadAnswer("Transfer-Encoding is trews' own: leave it and Content-Length out, and the body is chunked")
        elif name == b"connection":
            for option in value.split(b","):
                option = option.strip(b" \t")
                lower = option.lower()
                if lower == b"close":
                    self.persists = False
                elif option and lower != b"keep-alive":
                    self._options.append(option)
            return False
        elif name == b"keep-alive":
            return False
        return True

    @staticmethod
    def _once(is_there: bool, name: bytes) -> None:
        if is_there:
            # Those who read it may take either (RFC 9110, 5.3).
            raise BadAnswer(f"an answer has one field {name.decode()}, not two")

    def _frame(self, lines: list[bytes], length: i64) -> None:
        """How long the body is (RFC 9112, 6.3)."""
        status = self.status
        if has_no_body(status) or (self._method == "CONNECT" and status <= 299):
            self.is_silent = True
            if status == 304 and length >= 0:
                lines.append(b"Content-Length: %d\r\n" % length)  # of what a GET would have had
            return
        self.is_silent = self._method == "HEAD"
        if status == 205:  # RFC 9110, 15.3.6: none, and said so
            self.is_silent = True
            lines.append(b"Content-Length: 0\r\n")
        elif length >= 0:
            lines.append(b"Content-Length: %d\r\n" % length)
            self._left = length
        elif self._is_1_1:
            lines.append(b"Transfer-Encoding: chunked\r\n")
            self._is_chunked = True
        else:
            self.persists = False  # its end is that of the connection

    def _note_persistence(self, lines: list[bytes]) -> None:
        if not self.persists:
            self._options.append(b"close")
        elif not self._is_1_1:
            self._options.append(b"keep-alive")
        if self._options:
            lines.append(b"Connection: %b\r\n" % b", ".join(self._options))

    def body(self, data: bytes) -> bytes:
        """A piece of the body as it is sent; b"" if nothing is.

        Raises:
            BadAnswer: it is more than Content-Length said; or there is no head yet, or it has ended.
        """
        if not self.status or self.is_done:
            raise BadAnswer("a body comes between the head of an answer and its end")
        size = len(data)
        if self._left >= 0:
            if size > self._left:
                raise BadAnswer(f"a body of more bytes than its Content-Length, by {size - self._left}")
            self._left -= size
        if self.is_silent or not size:
            return b""
        self.sent += size
        return b"%x\r\n%b\r\n" % (size, data) if self._is_chunked else data

    def pass_by(self, size: int) -> None:
        """Take notice of so many bytes of the body that are sent by other means, such as sendfile.

        Raises:
            BadAnswer: it is more than Content-Length said.
        """
        if self._is_chunked:
            raise BadAnswer("a chunked body cannot be sent by other means")
        if self._left >= 0:
            if size > self._left:
                raise BadAnswer(f"a body of more bytes than its Content-Length, by {size - self._left}")
            self._left -= size
        if not self.is_silent:
            self.sent += size

    @property
    def is_chunked(self) -> bool:
        """Whether the body is sent in chunks, once the head is made."""
        return self._is_chunked

    def end(self, trailers: Iterable[tuple[Any, Any]] = ()) -> bytes:
        """What ends the body.

        Raises:
            BadAnswer: it is less than Content-Length said; there are trailers, and it has no place for them, or they
                cannot be such; or there is no head yet, or it has ended.
        """
        if not self.status or self.is_done:
            raise BadAnswer("an answer ends once, after its head")
        if self._left > 0 and not self.is_silent:
            raise BadAnswer(f"a body of fewer bytes than its Content-Length, by {self._left}")
        lines = trailer_lines(trailers) if trailers else b""
        if lines and not self._is_chunked:
            raise BadAnswer("trailers need a chunked body: HTTP/1.1, and no Content-Length (RFC 9112, 7.1.2)")
        self.is_done = True
        return b"0\r\n%b\r\n" % lines if self._is_chunked and not self.is_silent else b""


NUMBERS: Final[list[bytes]] = [b"%d" % number for number in range(4096)]  # as they are sent most


def answer(start: bytes, date: bytes, body: bytes, persists: bool, is_1_1: bool, is_head: bool) -> bytes:
    """A whole response that needs no validation: what most requests get, in 0.1 us.

    Args:
        start: the status line and the fields, each with its CR LF.
        date: the Date line.
    """
    size: i64 = len(body)
    length = NUMBERS[size] if size < 4096 else b"%d" % size  # 600 instructions less
    if persists and is_1_1:
        if is_head:
            return b"%b%bContent-Length: %b\r\n\r\n" % (start, date, length)
        return b"%b%bContent-Length: %b\r\n\r\n%b" % (start, date, length, body)
    connection = b"keep-alive" if persists else b"close"
    if is_head:
        body = b""
    return b"%b%bContent-Length: %b\r\nConnection: %b\r\n\r\n%b" % (start, date, length, connection, body)
