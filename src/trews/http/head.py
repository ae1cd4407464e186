"""The head of an HTTP/1 message: scanned once, strictly, and its fields left as bytes until somebody asks for them.

A head that is not all there is None, one that cannot be accepted raises `BadMessage` with the status to answer. What
decides where the message ends (Content-Length, Transfer-Encoding) and what happens to the connection is known from the
scan; so whatever this accepts has one meaning only. Bytes only: no socket, no clock.

There are two forms of the scan, with one result for every input. Compiled, bytes are looked at one by one, which is 0.6
us for the 13 fields of a browser; interpreted, that would take 60 us, and regular expressions take 1.2. No repetition
in these gives back what it took (`++`, `*+`), so none can take longer than its input is long.

It has more than 400 lines, as what accepts a head and what it is made of belong together.

Source: RFC 9112, 2 to 6; RFC 9110, 5 to 7.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from trews.http.errors import BadMessage

if TYPE_CHECKING:
    from mypy_extensions import i64

COMPILED: Final[bool] = not __file__.endswith(".py")


def _table(characters: bytes) -> bytes:
    return bytes([1 if code in characters else 0 for code in range(256)])


# RFC 9110, 5.6.2: tchar
_IS_TOKEN: Final = _table(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_IS_PLAIN: Final = _table(b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")  # of a host

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++) ([!\"$-~]++) HTTP/\d\.\d\r\n")
# The space before a reason that is not there is left out by many servers (RFC 9112, 4, has it always).
_STATUS_LINE: Final = re.compile(rb"HTTP/(\d)\.(\d) ([1-9]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*+))?\r\n")
_VERSION: Final = re.compile(rb"HTTP/\d\.\d\r\n")
_FIELDS: Final = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+")
_SPECIAL: Final = re.compile(
    # Without (?i), which would have it try at every byte what now only follows a line end.
    rb"\n((?:[Hh][Oo][Ss][Tt]|[Ee][Xx][Pp][Ee][Cc][Tt]|[Cc][Oo][Nn](?:[Nn][Ee][Cc][Tt][Ii][Oo][Nn]"
    rb"|[Tt][Ee][Nn][Tt]-(?:[Tt][Yy][Pp][Ee]|[Ll][Ee][Nn][Gg][Tt][Hh]))"
    rb"|[Tt][Rr][Aa][Nn][Ss][Ff][Ee][Rr]-[Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg])):([^\r]*+)"
)
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|(?<!\r)\n")  # what no head may have
LINE_MORE: Final = 128  # bytes of a request line beside the target

# RFC 9112, 3.2; RFC 3986, 3.2.2: a host and a port. A Host field is empty for a URI without one; none but then.
_AUTHORITY: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]++(?:%25[0-9A-Za-z._~-]++)?\]"
    rb"|(?=[^:])[0-9A-Za-z._~!$&'()*+;=-]*+(?:%[0-9A-Fa-f]{2}[0-9A-Za-z._~!$&'()*+;=-]*+)*+)(:[0-9]{0,5}+)?"
)
_ABSOLUTE: Final = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]++)")
_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")

METHODS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")}

INCOMPLETE: Final = -1  # of a scan: where the fields end is not there yet


class Limits:
    """How large a head may be.

    Args:
        head: bytes from the first to the last, with the empty line (431).
        fields: lines in it, without the first (431).
        target: bytes of the request's target (414).
    """

    __slots__ = ("fields", "head", "target")

    def __init__(self, head: int = 32 * 1024, fields: int = 100, target: int = 8 * 1024) -> None:
        self.head: i64 = head
        self.fields: i64 = fields
        self.target: i64 = target


class Fields:
    """The fields of a head or of trailers, and what they say about framing.

    Attributes:
        data: where they are, from `begin` to `end`; the empty line is behind them.
        length: Content-Length, -1 without one.
        is_chunked: Transfer-Encoding: chunked.
        says_close, says_keep_alive, says_upgrade: what is in Connection.
        host: the Host field, None without one.
        expects_continue: Expect: 100-continue.
        next: where in `data` what follows the head begins.
    """

    __slots__ = (
        "begin",
        "data",
        "end",
        "expects_continue",
        "has_type",
        "host",
        "is_chunked",
        "length",
        "next",
        "says_close",
        "says_keep_alive",
        "says_upgrade",
    )

    def __init__(self) -> None:
        self.data: bytes = b""
        self.begin: i64 = 0
        self.end: i64 = 0
        self.next: i64 = 0
        self.length: i64 = -1
        self.host: bytes | None = None
        self.is_chunked: bool = False
        self.says_close: bool = False
        self.says_keep_alive: bool = False
        self.says_upgrade: bool = False
        self.expects_continue: bool = False
        self.has_type: bool = False

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """`(name, value)` of each field in its order, the name as it was sent."""
        found: list[tuple[bytes, bytes]] = []
        for line in self.data[self.begin : self.end].split(b"\r\n"):
            if line:
                colon = line.index(b":")
                found.append((line[:colon], line[colon + 1 :].strip(b" \t")))
        return found

    def note(self, name: bytes, value: bytes) -> None:
        """Take notice of a field that decides about framing or the connection.

        Args:
            name: in lower case.
            value: without the space around it.
        """
        if name == b"host":
            self.note_host(value)
        elif name == b"connection":
            if value == b"keep-alive":
                self.says_keep_alive = True
            else:
                self._note_connection(value.lower())
        elif name == b"content-length":
            self._note_length(value)
        elif name == b"transfer-encoding":
            if self.is_chunked or value.lower() != b"chunked":
                raise BadMessage(400, "a Transfer-Encoding other than one 'chunked' (RFC 9112, 6.1)")
            self.is_chunked = True
        elif name == b"expect":
            if value.lower() == b"100-continue":
                self.expects_continue = True
        elif name == b"content-type":
            if self.has_type:
                raise BadMessage(400, "two Content-Type fields (RFC 9110, 8.3)")
            self.has_type = True

    def note_host(self, value: bytes) -> None:
        """Take notice of the Host field."""
        if self.host is not None:
            raise BadMessage(400, "two Host fields (RFC 9112, 3.2)")
        if not is_host(value):
            raise BadMessage(400, "a Host field that is no host and port (RFC 9112, 3.2)")
        self.host = value

    def _note_connection(self, value: bytes) -> None:
        for option in (value,) if b"," not in value else value.split(b","):
            option = option.strip(b" \t")
            if option == b"close":
                self.says_close = True
            elif option == b"keep-alive":
                self.says_keep_alive = True
            elif option == b"upgrade":
                self.says_upgrade = True

    def _note_length(self, value: bytes) -> None:
        if self.length >= 0:
            raise BadMessage(400, "two Content-Length fields (RFC 9112, 6.3)")
        # isdigit() of bytes knows the ten of ASCII only; int() would take '+1', ' 1' and '1_0', too.
        if not value.isdigit():
            raise BadMessage(400, "a Content-Length that is no number (RFC 9110, 8.6)")
        if len(value) > 18:
            raise BadMessage(413, "a Content-Length beyond all measure")
        self.length = int(value)


class RequestHead(Fields):
    """The head of a request, accepted.

    Attributes:
        method: as it was sent; case counts.
        target: as it was sent.
        minor: of the version, 1 or 0.
        persists: whether another request may follow on the connection.
        has_body: whether it has one; of no bytes, perhaps, if it is chunked.
        is_tunnel: CONNECT.
    """

    __slots__ = ("has_body", "is_tunnel", "method", "minor", "persists", "target")

    def __init__(self) -> None:
        super().__init__()
        self.method: str = ""
        self.target: bytes = b""
        self.minor: i64 = 1
        self.persists: bool = True
        self.has_body: bool = False
        self.is_tunnel: bool = False


class ResponseHead(Fields):
    """The head of a response, accepted.

    Attributes:
        status: 100 to 599.
        reason: the words after it, perhaps none.
        minor: of the version, 1 or 0.
        persists: whether the connection may go on after it, as far as the head says.
    """

    __slots__ = ("minor", "persists", "reason", "status")

    def __init__(self) -> None:
        super().__init__()
        self.status: i64 = 0
        self.reason: bytes = b""
        self.minor: i64 = 1
        self.persists: bool = True


def scan_request(data: bytes, start: i64, limits: Limits) -> RequestHead | None:
    """The head of a request that begins at `start`; None if not all of it is there.

    Raises:
        BadMessage: it cannot be accepted, whatever may follow.
    """
    head = RequestHead()
    stop = _stop(data, start, limits.target + LINE_MORE)
    at = _request_line(head, data, start, stop, limits) if COMPILED else _match_line(head, data, start, stop, limits)
    if at >= 0:
        head.begin = at
        stop = _stop(data, start, limits.head)
        at = _scan_fields(head, data, at, stop, limits) if COMPILED else _match_fields(head, data, at, stop, limits)
    if at < 0:
        _check_size(data, start, limits)
        return None
    head.next = at
    if head.is_chunked:
        if head.length >= 0:
            # RFC 9112, 6.1: it ought to be an attempt at smuggling.
            raise BadMessage(400, "Content-Length beside Transfer-Encoding (RFC 9112, 6.1)")
        if head.minor == 0:
            raise BadMessage(400, "Transfer-Encoding in HTTP/1.0 (RFC 9112, 6.1)")
        head.has_body = True
    else:
        head.has_body = head.length > 0
    if head.minor == 0:
        head.persists = head.says_keep_alive and not head.says_close
        head.expects_continue = False  # RFC 9110, 10.1.1
    else:
        head.persists = not head.says_close
        if head.host is None:
            raise BadMessage(400, "no Host field (RFC 9112, 3.2)")
    # 37 is "%": for b"%" Python raises and drops an exception first, which takes 1,500 instructions.
    if head.target[0] != 47 or 37 in head.target or head.is_tunnel:
        check_target(head)
    return head


def scan_response(data: bytes, start: i64, limits: Limits) -> ResponseHead | None:
    """The head of a response that begins at `start`; None if not all of it is there.

    Whether a body follows depends on the request, too: `http1.body_of_response` knows.

    Raises:
        BadMessage: (502) it cannot be accepted, whatever may follow.
    """
    try:
        return _scan_response(data, start, limits)
    except BadMessage as exc:  # the peer is a server: who asked for the client's sake has this to say of it
        raise BadMessage(502, str(exc)) from None


def _scan_response(data: bytes, start: i64, limits: Limits) -> ResponseHead | None:
    stop = _stop(data, start, limits.head)
    match = _STATUS_LINE.match(data, start, stop)
    if match is None:
        if data.find(b"\n", start, stop) >= 0:
            raise BadMessage(502, "no status line (RFC 9112, 4)")
        _check_head_size(data, start, limits)
        return None
    if match.group(1) != b"1":
        raise BadMessage(502, "another version than HTTP/1 (RFC 9112, 2.3)")
    head = ResponseHead()
    head.minor = int(match.group(2) != b"0")
    head.status = int(match.group(3))
    head.reason = match.group(4) or b""
    at: i64 = match.end()
    head.begin = at
    at = _scan_fields(head, data, at, stop, limits) if COMPILED else _match_fields(head, data, at, stop, limits)
    if at < 0:
        _check_head_size(data, start, limits)
        return None
    head.next = at
    if head.is_chunked and (head.length >= 0 or head.minor == 0):
        raise BadMessage(502, "Transfer-Encoding beside Content-Length, or in HTTP/1.0 (RFC 9112, 6.1)")
    head.persists = not head.says_close if head.minor else head.says_keep_alive and not head.says_close
    return head


def scan_trailers(data: bytes, start: i64, limits: Limits) -> Fields | None:
    """The fields after the last chunk, at `start`; None if not all of them are there.

    Raises:
        BadMessage: they cannot be accepted; those about framing and routing are not (RFC 9110, 6.5.1).
    """
    fields = Fields()
    fields.begin = start
    stop = _stop(data, start, limits.head)
    at = (_scan_fields if COMPILED else _match_fields)(fields, data, start, stop, limits)
    if at < 0:
        _check_head_size(data, start, limits)
        return None
    if fields.length >= 0 or fields.is_chunked or fields.host is not None:
        raise BadMessage(400, "a field in the trailers that must be in the head (RFC 9110, 6.5.1)")
    fields.next = at
    return fields


def check_incomplete(data: bytes, scanned: i64, limits: Limits) -> None:
    """Refuse a request's head that is not all there if nothing can mend it; the scan would look at all of it again.

    Args:
        data: it, from its first byte.
        scanned: up to where this was looked at before.

    Raises:
        BadMessage: it is too long already, or has what no head may have.
    """
    _check_controls(data, scanned)
    _check_size(data, 0, limits)


def check_incomplete_fields(data: bytes, start: i64, scanned: i64, limits: Limits) -> None:
    """As `check_incomplete`, for trailers and the heads of responses, which begin at `start`."""
    _check_controls(data, scanned)
    _check_head_size(data, start, limits)


def _check_controls(data: bytes, scanned: i64) -> None:
    if _CONTROLS.search(data, max(0, scanned - 1)) is not None:
        raise BadMessage(400, "a control character, or a line that does not end in CR LF (RFC 9112, 2.2)")


def _check_size(data: bytes, start: i64, limits: Limits) -> None:
    most: i64 = limits.target + LINE_MORE
    if len(data) - start >= most and data.find(b"\r\n", start, start + most) < 0:
        raise BadMessage(414, f"a target of more than {limits.target} bytes")
    _check_head_size(data, start, limits)


def _check_head_size(data: bytes, start: i64, limits: Limits) -> None:
    if len(data) - start >= limits.head:
        raise BadMessage(431, f"fields of more than {limits.head} bytes")


def _stop(data: bytes, start: i64, most: i64) -> i64:
    """Up to where the scan looks: what is behind no head can reach."""
    size: i64 = len(data)
    return size if size - start < most else start + most


def check_target(head: RequestHead) -> None:
    """Refuse a target that is none of the four forms, or that contradicts Host (RFC 9112, 3.2)."""
    target = head.target
    if head.is_tunnel:
        match = _AUTHORITY.fullmatch(target)
        if match is None or len(match.group(1) or b"") < 2:
            raise BadMessage(400, "a CONNECT to what is no host and port (RFC 9112, 3.2.3)")
        return
    # In a query it is let through: browsers send what was typed there, "/?q=100%", and nothing is found by it.
    if _ESCAPE.search(target.partition(b"?")[0]) is not None:
        raise BadMessage(400, "a path with a '%' that escapes nothing (RFC 3986, 2.1)")
    if target.startswith(b"/"):
        return
    if target == b"*":
        if head.method != "OPTIONS":
            raise BadMessage(400, "the target '*' is for OPTIONS only (RFC 9112, 3.2.4)")
        return
    match = _ABSOLUTE.match(target)
    if match is None or _AUTHORITY.fullmatch(match.group(1)) is None:
        raise BadMessage(400, "a target that is neither a path nor a URL (RFC 9112, 3.2)")
    if head.host is not None and head.host.lower() != match.group(1).lower():
        # A server is to believe the target (RFC 9112, 3.2.2); one behind it may believe Host.
        raise BadMessage(400, "a target that names another host than Host does (RFC 9112, 3.2)")
    head.host = match.group(1)


# -- the scan, byte by byte


def _request_line(head: RequestHead, data: bytes, start: i64, stop: i64, limits: Limits) -> i64:
    at: i64 = start
    code: i64 = 0
    while at < stop:
        code = data[at]
        if not _IS_TOKEN[code]:
            break
        at += 1
    if at >= stop:
        return INCOMPLETE
    if code != 32 or at == start:
        raise BadMessage(400, "no method (RFC 9112, 3)")
    if at - start == 3 and data[start] == 71 and data[start + 1] == 69 and data[start + 2] == 84:
        head.method = "GET"
    else:
        _set_method(head, data[start:at])
    at += 1
    begin: i64 = at
    while at < stop:
        code = data[at]
        if code <= 32 or code >= 127 or code == 35:
            break
        at += 1
    if at - begin > limits.target:
        raise BadMessage(414, f"a target of more than {limits.target} bytes")
    if at >= stop:
        return INCOMPLETE
    if code != 32 or at == begin:
        raise BadMessage(400, "no target, or a character that cannot be in one (RFC 9112, 3.2)")
    head.target = data[begin:at]
    at += 1
    if stop - at < 10:
        if data.find(b"\n", at, stop) >= 0:
            raise BadMessage(400, "no version after the target (RFC 9112, 2.3)")
        return INCOMPLETE
    head.minor = 1 if _is_version_1_1(data, at) else _version(data[at : at + 10])
    return at + 10


def _scan_fields(fields: Fields, data: bytes, start: i64, stop: i64, limits: Limits) -> i64:
    at: i64 = start
    count: i64 = 0
    code: i64 = 0
    most: i64 = limits.fields
    while True:
        begin: i64 = at
        while at < stop:
            code = data[at]
            if not _IS_TOKEN[code]:
                break
            at += 1
        if at >= stop:
            return INCOMPLETE
        if code != 58 or at == begin:
            break
        colon: i64 = at
        at += 1
        while at < stop:
            code = data[at]
            if (code < 32 and code != 9) or code == 127:
                break
            at += 1
        if at >= stop:
            return INCOMPLETE
        if code != 13 or (at + 1 < stop and data[at + 1] != 10):
            raise BadMessage(
                400, "a control character in a field, or a line that does not end in CR LF (RFC 9110, 5.5)"
            )
        if at + 1 >= stop:
            return INCOMPLETE
        count += 1
        if count > most:
            raise BadMessage(431, f"more than {limits.fields} fields")
        length: i64 = colon - begin
        # By length and first letter: most fields are none of these, and slices of each took twice as long as the scan.
        first: i64 = data[begin] | 32
        if first == 104 and length == 4:
            if _matches(data, begin, b"host"):
                fields.note_host(_trimmed(data, colon + 1, at))
        elif (
            (first == 99 and (length == 10 or length == 12 or length == 14))
            or (first == 101 and length == 6)
            or (first == 116 and length == 17)
        ):
            fields.note(data[begin:colon].lower(), _trimmed(data, colon + 1, at))
        at += 2
    if code != 13 or at != begin:
        raise BadMessage(400, "a line that is no field (RFC 9112, 5.1)")
    if at + 1 >= stop:
        return INCOMPLETE
    if data[at + 1] != 10:
        raise BadMessage(400, "a CR without LF (RFC 9112, 2.2)")
    fields.data = data
    fields.end = at
    return at + 2


def _is_version_1_1(data: bytes, at: i64) -> bool:
    """Whether it is what nearly all send."""
    expected = b"HTTP/1.1\r\n"
    position: i64 = 0
    while position < 10:
        if data[at + position] != expected[position]:
            return False
        position += 1
    return True


def _matches(data: bytes, at: i64, name: bytes) -> bool:
    """Whether a name of letters, in lower case, is at a place, in any case."""
    size: i64 = len(name)
    position: i64 = 0
    while position < size:
        if data[at + position] | 32 != name[position]:
            return False
        position += 1
    return True


def _trimmed(data: bytes, begin: i64, end: i64) -> bytes:
    """What is between two places, without the space around it."""
    while begin < end and (data[begin] == 32 or data[begin] == 9):
        begin += 1
    while end > begin and (data[end - 1] == 32 or data[end - 1] == 9):
        end -= 1
    return data[begin:end]


# -- the same, by regular expressions; what they do not find is incomplete or wrong: the loop knows, and says


def _match_line(head: RequestHead, data: bytes, start: i64, stop: i64, limits: Limits) -> i64:
    match = _REQUEST_LINE.match(data, start, stop)
    if match is None or match.end(2) - match.start(2) > limits.target:
        return _request_line(head, data, start, stop, limits)
    word, head.target = match.group(1, 2)
    _set_method(head, word)
    head.minor = _version(data[match.end() - 10 : match.end()])
    return match.end()


def _match_fields(fields: Fields, data: bytes, start: i64, stop: i64, limits: Limits) -> i64:
    match = _FIELDS.match(data, start, stop)
    end: i64 = match.end() if match is not None else start
    if (
        end + 2 > stop
        or data[end : end + 2] != b"\r\n"
        or data.count(b"\r\n", start, end) > limits.fields
        or (end > start and (start == 0 or data[start - 1] != 10))  # _SPECIAL looks for what follows a line end
    ):
        return _scan_fields(fields, data, start, stop, limits)
    if end > start:
        for special in _SPECIAL.finditer(data, start - 1, end):
            fields.note(special.group(1).lower(), special.group(2).strip(b" \t"))
    fields.data = data
    fields.end = end
    return end + 2


def is_host(value: bytes) -> bool:
    """Whether this is a host, with a port perhaps; an empty one is, too (RFC 9112, 3.2)."""
    if COMPILED:  # most are of letters, digits, dots and a port, for which this takes a tenth of the time
        size: i64 = len(value)
        at: i64 = 0
        while at < size and _IS_PLAIN[value[at]]:
            at += 1
        if at == size:
            return True
        if at and value[at] == 58 and size - at <= 6:
            at += 1
            while at < size and 48 <= value[at] <= 57:
                at += 1
            if at == size:
                return True
    return not value or _AUTHORITY.fullmatch(value) is not None


def _set_method(head: RequestHead, word: bytes) -> None:
    method = METHODS.get(word)
    if method is not None:
        head.method = method
    else:
        head.method = word.decode()
        head.is_tunnel = word == b"CONNECT"


def _version(text: bytes) -> i64:
    """The minor version of `HTTP/1.1` and its CR LF."""
    if text == b"HTTP/1.1\r\n":
        return 1
    if text == b"HTTP/1.0\r\n":
        return 0
    if _VERSION.fullmatch(text) is not None:
        if text.startswith(b"HTTP/1."):
            return 1  # RFC 9110, 2.5: of a minor version that is not known, the highest that is
        raise BadMessage(505, "another version than HTTP/1 (RFC 9112, 2.3)")
    raise BadMessage(400, "no version after the target (RFC 9112, 2.3)")
