"""HTTP/1 messages without I/O: bodies taken apart and put together, heads written.

What is sent is validated here, once, whoever made it: names, values, reasons, and that a message is as long as it says.
What is received is cut here: `LengthBody`, `ChunkedBody`, `EndlessBody` take the bytes of a body out of what came.

Source: RFC 9112, 6 and 7; RFC 9110, 5.5, 6.4 and 15.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from trews.http.errors import BadMessage, reason
from trews.http.head import Fields, Limits, scan_trailers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mypy_extensions import i64

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
# RFC 9112, 7.1.1, with the space around '=' and ';' that 7.1.1 has of old, and quoted strings.
_EXTENSION: Final = re.compile(
    rb"""[0-9A-Fa-f]+(?:[\t ]*;[\t ]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+"""
    rb"""(?:[\t ]*=[\t ]*(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t !-~\x80-\xff])*"))?)*"""
)
_MAX_SIZE_LINE: Final = 1024  # bytes of a chunk's first line with its extensions
_MAX_EXTENSIONS: Final = 16 * 1024  # bytes of them in one body: who sends one byte a chunk may not make it ten thousand

_FRAMING: Final = (b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade")


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

    __slots__ = ("_kept", "_left", "_limits", "_spent", "_state", "is_done", "rest", "trailers")

    def __init__(self, max_trailers: int = 8 * 1024, max_fields: int = 100) -> None:
        self.rest: i64 = -1
        self.is_done: bool = False
        self.trailers: Fields | None = None
        self._limits: Limits = Limits(max_trailers, max_fields)
        self._state: i64 = _SIZE
        self._left: i64 = 0  # bytes of the chunk that are to come
        self._spent: i64 = 0  # bytes of extensions so far
        self._kept: bytes = b""  # a line, or trailers, of which not all is there

    def take(self, data: bytes, start: i64, pieces: list[bytes]) -> i64:
        """As `LengthBody.take`."""
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
                fields = scan_trailers(data, at, self._limits)
                if fields is None:
                    if size - at > self._limits.head:
                        raise BadMessage(431, f"trailers of more than {self._limits.head} bytes")
                    break
                self.trailers = fields
                self.is_done = True
                return fields.next - before
        if at < size:
            self._kept = data[at:]
        return size - before

    def _take_size(self, data: bytes, at: i64) -> i64:
        """The line with the size of a chunk. Returns where it ends, -1 if it is not all there."""
        end: i64 = data.find(b"\r", at)
        limit: i64 = at + _MAX_SIZE_LINE
        if (end if end >= 0 else len(data)) > limit:
            raise BadMessage(400, f"a chunk's first line of more than {_MAX_SIZE_LINE} bytes")
        line = data[at:end] if end >= 0 else data[at:]
        if end < 0:
            if line and (_CHUNK_START.fullmatch(line) is None):
                raise BadMessage(400, "a chunk without a size (RFC 9112, 7.1)")
            return -1
        if end + 1 < len(data) and data[end + 1] != 10:
            raise BadMessage(400, "a CR without LF after a chunk's size (RFC 9112, 7.1)")
        digits: i64 = len(line)
        if digits > 15 or not line.isalnum():
            # int() would take '0x1', '+1', ' 1' and '1_0', too.
            if _EXTENSION.fullmatch(line) is None:
                raise BadMessage(400, "a chunk without a size, or with extensions that are none (RFC 9112, 7.1)")
            if b";" in line:
                self._spent += digits
                if self._spent > _MAX_EXTENSIONS:
                    raise BadMessage(400, f"more than {_MAX_EXTENSIONS} bytes of chunk extensions")
                line = line[: line.index(b";")].rstrip(b" \t")
            if len(line.lstrip(b"0")) > 15:
                raise BadMessage(413, "a chunk beyond all measure")
        elif _HEX.fullmatch(line) is None:
            raise BadMessage(400, "a chunk without a size (RFC 9112, 7.1)")
        if end + 1 >= len(data):
            return -1
        self._left = int(line, 16)
        self._state = _DATA if self._left else _TRAILERS
        return end + 2


_HEX: Final = re.compile(rb"[0-9A-Fa-f]+")
_CHUNK_START: Final = re.compile(rb"[0-9A-Fa-f]+(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*|[\t ]*)")


# -- messages that go


class BadAnswer(ValueError):
    """What this program wants to send is no HTTP message; nothing of it was sent."""


def check_name(name: bytes) -> bytes:
    """A field's name as it is, if it is one (RFC 9110, 5.1)."""
    if _NAME.fullmatch(name) is None:
        raise BadAnswer(f"{name!r} cannot be the name of a field (RFC 9110, 5.1)")
    return name


def check_value(name: bytes, value: bytes) -> bytes:
    """A field's value as it is, if it is one (RFC 9110, 5.5)."""
    if _VALUE.fullmatch(value) is None:
        raise BadAnswer(
            f"the field {name.decode()} cannot have the value {value!r}: it has control characters (RFC 9110, 5.5)"
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
        raw_name = as_latin1(name)
        raw_value = as_latin1(value)
        check_name(raw_name)
        check_value(raw_name, raw_value)
        lines.append(b"%b: %b\r\n" % (raw_name, raw_value))
    return b"".join(lines)


def as_latin1(text: Any) -> bytes:
    """A name or a value as bytes."""
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            raise BadAnswer(
                f"a field cannot have {text!r}: it takes Latin-1 only; encode it first (RFC 9110, 5.5)"
            ) from None
    raise BadAnswer(f"a field takes str or bytes, not {text!r}")


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
        status: once the head is made.
    """

    __slots__ = (
        "_is_1_1",
        "_is_chunked",
        "_left",
        "_method_is_head",
        "is_done",
        "is_silent",
        "persists",
        "sent",
        "status",
    )

    def __init__(self, method: str, minor: int, persists: bool) -> None:
        self._method_is_head: bool = method == "HEAD"
        self._is_1_1: bool = minor > 0
        self.persists: bool = persists
        self.status: i64 = 0
        self.is_done: bool = False
        self._is_chunked: bool = False
        self.is_silent: bool = False  # no body is sent, whatever is written
        self._left: i64 = -1  # bytes that are still to be written, if the head says how many
        self.sent: i64 = 0

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
            BadAnswer: it cannot be sent.
        """
        lines: list[bytes] = [status_line(status, words)]
        has_date = False
        declared: int = -1
        for name, value in fields:
            raw_name = as_latin1(name)
            raw_value = as_latin1(value)
            check_name(raw_name)
            check_value(raw_name, raw_value)
            size = len(raw_name)
            if size == 4 or size == 7 or size == 10 or size == 14 or size == 17:
                lower = raw_name.lower()
                if lower == b"date":
                    has_date = True
                elif lower == b"content-length":
                    if not raw_value.isdigit() or len(raw_value) > 18 or (0 <= declared != int(raw_value)):
                        raise BadAnswer(f"Content-Length is one number, not {raw_value!r} (RFC 9110, 8.6)")
                    declared = int(raw_value)
                    continue
                elif lower == b"transfer-encoding":
                    raise BadAnswer(
                        "Transfer-Encoding is trews' own: leave it and Content-Length out, and the body is chunked"
                    )
                elif lower == b"connection":
                    if b"close" in raw_value.lower():
                        self.persists = False
                    if b"upgrade" not in raw_value.lower():
                        continue
                elif lower == b"keep-alive":
                    continue
            lines.append(b"%b: %b\r\n" % (raw_name, raw_value))
        if not has_date:
            lines.append(date)
        if declared < 0:
            declared = length
        self.status = status
        self._frame(lines, status, declared)
        if not self.persists:
            lines.append(b"Connection: close\r\n")
        elif not self._is_1_1:
            lines.append(b"Connection: keep-alive\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def _frame(self, lines: list[bytes], status: int, length: int) -> None:
        """RFC 9112, 6.3: how long the body is."""
        if has_no_body(status):
            self.is_silent = True
            if status == 304 and length >= 0:
                lines.append(b"Content-Length: %d\r\n" % length)  # of what a GET would have had
        elif length >= 0:
            lines.append(b"Content-Length: %d\r\n" % length)
            self._left = length
            self.is_silent = self._method_is_head
        elif self._is_1_1:
            lines.append(b"Transfer-Encoding: chunked\r\n")
            self._is_chunked = True
            self.is_silent = self._method_is_head
        else:
            self.persists = False  # its end is that of the connection
            self.is_silent = self._method_is_head

    def body(self, data: bytes) -> bytes:
        """A piece of the body as it is sent; b"" if nothing is.

        Raises:
            BadAnswer: it is more than Content-Length said.
        """
        size = len(data)
        if self._left >= 0:
            if size > self._left:
                raise BadAnswer(f"a body of more bytes than its Content-Length, by {size - self._left}")
            self._left -= size
        if self.is_silent or not size:
            return b""
        self.sent += size
        return b"%x\r\n%b\r\n" % (size, data) if self._is_chunked else data

    def count(self, size: int) -> None:
        """So many bytes of the body go another way, as those of a file do; only with a Content-Length."""
        self._left -= size
        self.sent += size

    def end(self, trailers: Iterable[tuple[Any, Any]] = ()) -> bytes:
        """What ends the body.

        Raises:
            BadAnswer: it is less than Content-Length said; or there are trailers and it has no place for them.
        """
        if self._left > 0 and not self.is_silent:
            raise BadAnswer(f"a body of fewer bytes than its Content-Length, by {self._left}")
        lines = field_lines(trailers)
        self.is_done = True
        if not self._is_chunked:
            if lines:
                raise BadAnswer("trailers need a chunked body: HTTP/1.1, and no Content-Length (RFC 9112, 7.1.2)")
            return b""
        return b"" if self.is_silent else b"0\r\n%b\r\n" % lines


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
