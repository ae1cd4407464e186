"""Call: one call of a WSGI application, from `start_response` to the answer; compiled.

`Direct` is the short way of a connection: no Request, no task, one piece. Whatever is not usual goes to its gateway.

Source: PEP 3333, The start_response() Callable.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from trews.http.environ import fill
from trews.http.errors import BadAnswer
from trews.http.head import RequestHead
from trews.http.http1 import NUMBERS, as_latin1, check_name, check_value, has_no_body
from trews.http.pipeline import date_line

if TYPE_CHECKING:
    from mypy_extensions import i64

_STATUS: Final = re.compile(r"[2-5][0-9][0-9] [\t -~\x80-\xff]*")
_MAX_KNOWN: Final = 256  # status lines and names of fields that are remembered
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
    }
)


class _Status:
    """A status as applications give it."""

    __slots__ = ("code", "line", "words")

    def __init__(self, status: str) -> None:
        self.code: i64 = int(status[:3])
        self.words: str = status[4:]
        self.line: bytes = b"HTTP/1.1 " + status.encode("latin-1")


_statuses: Final[dict[str, _Status]] = {}
_names: Final[dict[str, bytes]] = {}  # of a field, between the CR LF before it and its value


class Call:
    """One call of the application.

    Args:
        environ: what it is called with.
        sink: called with this and bytes that are given to `write()`.

    Attributes:
        status: as a number, 0 until it is said.
        words: those after it.
        fields: as `start_response` got them.
        length: Content-Length, -1 without one.
        left: bytes of it that are to come, -1 without one.
        is_begun: the head is on its way.
        connection, head, request: whose it is, for who needs that; no connection: it is over, without a Request.
    """

    __slots__ = (
        "_has_date",
        "_lines",
        "_sink",
        "connection",
        "environ",
        "fields",
        "head",
        "is_begun",
        "left",
        "length",
        "request",
        "status",
        "words",
    )

    def __init__(self, environ: dict[str, Any], sink: Any) -> None:
        self.environ: dict[str, Any] = environ
        self._sink: Any = sink
        self.status: i64 = 0
        self.words: str = ""
        self.fields: list[Any] = []
        self.length: i64 = -1
        self.left: i64 = -1
        self.is_begun: bool = False
        self._lines: bytes = b""  # of the head, without the last CR LF
        self._has_date: bool = False
        self.connection: Any = None
        self.head: Any = None
        self.request: Any = None

    def start_response(self, status: Any, headers: Any, exc_info: Any = None) -> Any:
        """As PEP 3333 has it.

        Raises:
            BadAnswer: the status or the headers cannot be sent.
            RuntimeError: it was called before, and there is no `exc_info`.
            what `exc_info` has: the head is on its way already.
        """
        if exc_info is not None:
            if self.is_begun:
                try:
                    raise exc_info[1].with_traceback(exc_info[2])
                finally:
                    exc_info = None
        elif self.status:
            raise RuntimeError("start_response() was called again without exc_info (PEP 3333)")
        known = _statuses.get(status) if isinstance(status, str) else None
        if known is None:
            known = _check_status(status)
        if not isinstance(headers, list):
            raise BadAnswer(f"start_response() takes a list of headers, not {headers!r} (PEP 3333)")
        lines = known.line
        self.length = self.left = -1
        self._has_date = False
        has_type: bool = False
        has_location: bool = False
        for pair in headers:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise BadAnswer(f"a header is a tuple of a name and a value, not {pair!r} (PEP 3333)")
            name: Any = pair[0]
            value: Any = pair[1]
            if not isinstance(name, str) or not isinstance(value, str):
                raise BadAnswer(f"a header is a tuple of two str, not {pair!r} (PEP 3333)")
            start = _names.get(name)
            if start is None:
                start = self._note(name, value)
            elif not start:
                self._note_length(value)
            size: i64 = len(start)
            if size == 16 and name.lower() == "content-type":  # with CR LF before it, and ": " behind
                if has_type:
                    raise BadAnswer("an answer has one field Content-Type, not two (RFC 9110, 5.3)")
                has_type = True
            elif size == 12 and name.lower() == "location":
                if has_location:
                    raise BadAnswer("an answer has one field Location, not two (RFC 9110, 5.3)")
                has_location = True
            if size:
                # What is printable has no control characters; what is not may have a tab, or none of them.
                raw = as_latin1(value) if value.isprintable() else check_value(start[2:-2], as_latin1(value))
                lines = b"%b%b%b" % (lines, start, raw)  # for a few fields half the cost of joining a list
        self.fields = headers
        self.words = known.words
        self.status = known.code
        self._lines = lines
        return self

    def _note(self, name: str, value: str) -> bytes:
        """The name of a field, which is not known, or not like others; b"" for one that is not sent as it is."""
        raw = check_name(as_latin1(name))
        lower = name.lower()
        if lower == "content-length":
            self._note_length(value)
            if len(_names) < _MAX_KNOWN:
                _names[name] = b""
            return b""
        if lower in _HOP_BY_HOP:
            raise BadAnswer(f"{name} is a matter of the server, and no header of an application (PEP 3333)")
        start = b"\r\n" + raw + b": "
        if lower == "date":
            if self._has_date:
                raise BadAnswer("an answer has one field Date, not two (RFC 9110, 5.3)")
            self._has_date = True
        elif len(_names) < _MAX_KNOWN:
            _names[name] = start
        return start

    def _note_length(self, value: str) -> None:
        """The value of Content-Length, which is not sent as it is."""
        if not value.isascii() or not value.isdigit() or len(value) > 18 or 0 <= self.length != int(value):
            raise BadAnswer(f"Content-Length is one number, not {value!r} (RFC 9110, 8.6)")
        self.length = self.left = int(value)

    def __call__(self, data: Any) -> None:
        """The `write` that `start_response` returns, which is this: a method would be one more object a request."""
        if not isinstance(data, bytes):
            raise TypeError(f"write() takes bytes, not {data!r} (PEP 3333)")
        if 0 <= self.left < len(data):
            raise BadAnswer(f"a body of more bytes than its Content-Length, by {len(data) - self.left}")
        if self.left >= 0:
            self.left -= len(data)
        if data:
            self._sink(self, data)

    def clip(self, data: bytes) -> bytes:
        """What of a block is to be sent: no more than Content-Length says."""
        if self.left >= 0:
            if len(data) > self.left:
                data = data[: self.left]
            self.left -= len(data)
        return data

    def whole(self, body: bytes) -> bytes:
        """The answer in one piece, to a request that is no HEAD, on a connection that goes on."""
        size: i64 = len(body)
        length = NUMBERS[size] if size < 4096 else b"%d" % size
        if self._has_date:
            return b"%b\r\nContent-Length: %b\r\n\r\n%b" % (self._lines, length, body)
        return b"%b\r\n%bContent-Length: %b\r\n\r\n%b" % (self._lines, date_line(), length, body)


class Direct:
    """The short way of one connection.

    Args:
        gateway: has `app`; `base(connection)`, what the environ of each request has; `sink`; and
            `outcome(call, result)`, which goes on with what is not usual.
        connection: whose requests are answered.
    """

    __slots__ = ("_app", "_base", "_connection", "_gateway", "_sink")

    def __init__(self, gateway: Any, connection: Any) -> None:
        self._gateway: Any = gateway
        self._app: Any = gateway.app
        self._sink: Any = gateway.sink
        self._connection: Any = connection
        self._base: dict[str, Any] | None = None  # when the first request has come

    def answer(self, head: RequestHead) -> Any:
        """Answer a request without a body, on a connection that goes on.

        Returns:
            bytes, the answer; or a Request and what is to be awaited, if anything.
        """
        base = self._base
        if base is None:
            base = self._gateway.base(self._connection)
            self._base = base
        environ = base.copy()
        fill(environ, head)
        call = Call(environ, self._sink)
        call.connection = self._connection
        call.head = head
        try:
            result = self._app(environ, call.start_response)
            if type(result) is list and len(result) == 1 and not call.is_begun:
                body: Any = result[0]
                status = call.status
                if (
                    isinstance(body, bytes)
                    and status
                    and (call.length < 0 or call.length == len(body))
                    and head.method != "HEAD"
                    and status != 205
                    and not has_no_body(status)
                ):
                    call.connection = None
                    return call.whole(body)
            return self._gateway.outcome(call, result)
        except BaseException:
            call.connection = None
            raise


def _check_status(status: Any) -> _Status:
    if not isinstance(status, str) or _STATUS.fullmatch(status) is None:
        raise BadAnswer(f"a status is a str such as '200 OK', not {status!r} (PEP 3333)")
    known = _Status(status)
    if len(_statuses) < _MAX_KNOWN:
        _statuses[status] = known
    return known
