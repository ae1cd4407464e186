"""Exchange: one request and its answer as ASGI tells them, compiled: the usual case, an answer in two messages.

What an application sends is checked here as it comes; the head of its answer waits for the first bytes of the body, so
that both go out in one piece. Whatever is not usual goes to the handler (`asgi_handler`), by `send_more` and `receive`.

Source: ASGI 3.0, HTTP & WebSocket message format 2.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from trews.http.head import RequestHead
from trews.http.http1 import Writer, field_lines, status_line
from trews.http.pipeline import Pipeline, date_line
from trews.http.request import Answer
from trews.phase import Phase

if TYPE_CHECKING:
    from mypy_extensions import i64

_OPEN: Final[Any] = Phase.OPEN
_DONE: Final[Any] = Answer.DONE

WAITING: Final = 0  # for http.response.start
STARTED: Final = 1  # it has come, and nothing was sent
BODY: Final = 2  # the head is sent, and the body goes on
TRAILERS: Final = 3  # the body is sent, and trailers were announced
DONE: Final = 4

ASGI: Final[dict[str, Any]] = {"version": "3.0", "spec_version": "2.5"}
EXTENSIONS: Final[dict[str, Any]] = {
    "http.response.pathsend": {},
    "http.response.trailers": {},
    "http.response.early_hint": {},
}

# Names of fields as they are sent, in lower case. Bounded: it learns nothing.
_LOWER: Final[dict[bytes, bytes]] = {
    form: name.lower()
    for name in (
        b"Host Connection User-Agent Accept Accept-Encoding Accept-Language Cache-Control Pragma Cookie Referer Origin "
        b"Content-Type Content-Length Transfer-Encoding Authorization Upgrade-Insecure-Requests Sec-Fetch-Dest "
        b"Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User DNT Priority If-Modified-Since If-None-Match Range TE "
        b"X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host X-Real-IP X-Requested-With"
    ).split()
    for form in (name, name.lower())
}


class Done:
    """What awaiting gives nothing, at once: most of what `send` returns. It is a coroutine to whoever asks."""

    __slots__ = ()

    def __await__(self) -> Any:
        return _NOTHING

    def send(self, value: Any) -> Any:
        """End, as a coroutine that has nothing to wait for."""
        raise StopIteration

    def throw(self, *exc: Any) -> Any:
        """Raise what is thrown in."""
        raise exc[1] if len(exc) > 1 and exc[1] is not None else exc[0]

    def close(self) -> None:
        """There is nothing to be ended."""


_NOTHING: Final[Any] = iter(())  # an iterator that has ended
DONE_AT_ONCE: Final = Done()


class Exchange:
    """One request, and how far its answer is.

    Args:
        request: the `Request`.
        handler: sees to what is not usual.

    Attributes:
        state: WAITING, STARTED, BODY, TRAILERS or DONE.
        start: the message http.response.start.
        is_received: the body was handed out to its end.
        is_told: the application was told that its client has gone.
        refusal: why the body of the request cannot be taken.
        trailers: those that have come.
    """

    __slots__ = (
        "connection",
        "handler",
        "head",
        "is_received",
        "is_told",
        "refusal",
        "request",
        "start",
        "state",
        "trailers",
    )

    def __init__(self, request: Any, handler: Any) -> None:
        self.request: Any = request
        self.connection: Any = request.connection
        self.head: RequestHead = request._head
        self.handler: Any = handler
        self.state: i64 = WAITING
        self.start: Any = None
        self.is_received: bool = False
        self.is_told: bool = False
        self.refusal: Any = None
        self.trailers: Any = None

    def receive(self) -> Any:
        """ASGI's `receive`."""
        return self.handler.receive(self)

    def send(self, message: Any) -> Any:
        """ASGI's `send`. It is done when this returns, but for waiting until the peer keeps up.

        Raises:
            Disconnected: the client has gone.
            RuntimeError, TypeError, ValueError: what is sent is no answer, or not the next part of one.
        """
        connection = self.connection
        if type(message) is not dict or connection._phase is not _OPEN or self.refusal is not None:
            return self.handler.send_more(self, message)
        kind = message.get("type")
        if kind == "http.response.start" and self.state == WAITING and not message.get("trailers"):
            status = message.get("status")
            if type(status) is int and 200 <= status <= 599:
                self.start = message
                self.state = STARTED
                return DONE_AT_ONCE
        elif kind == "http.response.body" and self.state == STARTED and not message.get("more_body"):
            body = message.get("body", b"")
            if type(body) is bytes and self.trailers is None:
                self._answer(connection, body)
                return DONE_AT_ONCE
        return self.handler.send_more(self, message)

    def _answer(self, connection: Any, body: bytes) -> None:
        """The whole answer, in one piece."""
        request = self.request
        pipeline: Pipeline = connection._pipeline
        # In the first step of a request that `Pipeline` has begun, no task and no body are there to be seen to.
        if connection._exchange is None and not pipeline.has_news and request._body is None:
            data = usual_answer(self.start, body, self.head)
            if data is not None:
                self.state = DONE
                request._state = _DONE
                if connection._out is not None:
                    connection._send_out(data)
                elif pipeline.core is not None:
                    pipeline.core.write(data)
                else:
                    connection._raw_write(data)
                if pipeline.is_logged:
                    connection._log(request, self.start["status"], len(body))
                if request._waiters is not None:
                    self.handler.wake(request)
                return
        writer, begin = self.make_head(connection._persists(request), len(body))
        piece = writer.body(body)
        end = writer.end()
        request._writer = writer
        self.state = DONE
        connection._send_out(begin + piece + end)
        connection._answered(request)
        if request._waiters is not None:
            self.handler.wake(request)

    def make_head(self, persists: bool, length: int) -> tuple[Writer, bytes]:
        """The head that the application has begun with.

        Raises:
            BadAnswer: it cannot be sent.
        """
        start = self.start
        fields = [(name, value) for name, value in start.get("headers", ())]  # which may be pairs of any kind
        writer = Writer(self.head.method, self.head.minor, persists)
        try:
            return writer, writer.head(start["status"], None, fields, date_line(), length)
        except ValueError:
            # ASGI: "You may send a Transfer-Encoding header in this message, but the server must ignore it."
            kept = [(name, value) for name, value in fields if bytes(name).lower() != b"transfer-encoding"]
            if len(kept) == len(fields):
                raise
            writer = Writer(self.head.method, self.head.minor, persists)
            return writer, writer.head(start["status"], None, kept, date_line(), length)


class _Line:
    """A field of an answer as it is sent, which was validated when it was made.

    Attributes:
        kind: what there is to see to.
        number: of Content-Length.
    """

    __slots__ = ("data", "kind", "number")

    def __init__(self, name: bytes, value: bytes) -> None:
        self.data: bytes = field_lines([(name, value)])
        lower = name.lower()
        self.kind: i64 = _KINDS.get(lower, _PLAIN)
        self.number: i64 = -1
        if self.kind == _LENGTH and value.isdigit() and len(value) < 18:
            self.number = int(value)


def usual_answer(start: Any, body: bytes, head: RequestHead) -> bytes | None:
    """An answer of usual fields to a usual request; None if `Writer` has to look at it."""
    status = start["status"]
    fields = start.get("headers")
    if type(fields) is not list or status == 204 or status == 304 or head.method == "HEAD" or head.is_tunnel:
        return None
    size: i64 = len(body)
    lines: list[bytes] = [status_line(status)]
    seen: i64 = 0
    for field in fields:
        if type(field) is not tuple or len(field) != 2 or type(field[0]) is not bytes or type(field[1]) is not bytes:
            return None
        line = _LINES.get(field)
        if line is None:
            line = _remember(field)
            if line is None:
                return None
        if line.kind == _PLAIN:
            lines.append(line.data)
        elif line.kind == _LENGTH:
            if line.number != size:
                return None
        elif line.kind & seen:
            return None
        else:
            seen |= line.kind
            lines.append(line.data)
    if not seen & _DATE:
        lines.append(date_line())
    lines.append(_LENGTHS[size] if size < 4096 else b"Content-Length: %d\r\n\r\n" % size)
    lines.append(body)
    return b"".join(lines)


def _remember(field: Any) -> _Line | None:
    """A field as it is sent. What many answers may have is kept, so that it is validated once."""
    try:
        line = _Line(field[0], field[1])
    except ValueError:
        return None  # it is refused where the head is made again
    if line.kind == _UNUSUAL:
        return None
    if len(line.data) <= _LINE_MAX:
        if len(_LINES) >= _LINES_MAX:
            _LINES.clear()
        _LINES[field] = line
    return line


_PLAIN: Final = 0
_DATE: Final = 1
_TYPE: Final = 2
_LOCATION: Final = 4
_LENGTH: Final = 8
_UNUSUAL: Final = 16
_KINDS: Final[dict[bytes, int]] = {
    b"date": _DATE,
    b"content-type": _TYPE,
    b"location": _LOCATION,
    b"content-length": _LENGTH,
    b"transfer-encoding": _UNUSUAL,
    b"connection": _UNUSUAL,
    b"keep-alive": _UNUSUAL,
    b"upgrade": _UNUSUAL,
}
_LENGTHS: Final[list[bytes]] = [b"Content-Length: %d\r\n\r\n" % number for number in range(4096)]
_LINE_MAX: Final = 256  # bytes of a field that is kept
_LINES_MAX: Final = 512  # fields
_LINES: Final[dict[Any, _Line]] = {}


def http_scope(base: dict[str, Any], head: RequestHead, root_path: str) -> dict[str, Any]:
    """The scope of a request.

    Args:
        base: what those of its connection have in common.
        root_path: where the application is mounted, which who stands before this server has taken off the path.
    """
    scope = base.copy()
    target = head.target
    query = b""
    is_escaped: bool = True
    first: i64 = target[0]
    if first == 47:
        is_escaped = False
        at: i64 = 0
        size: i64 = len(target)
        while at < size:
            code: i64 = target[at]
            if code == 63:
                break
            if code == 37:
                is_escaped = True
            at += 1
        if at < size:
            query = target[at + 1 :]
            target = target[:at]
    else:
        target, query = _split(target)
    path = unquote_to_bytes(target).decode("utf-8", "replace") if is_escaped else target.decode("ascii")
    if root_path:
        path = root_path + path
        target = root_path.encode() + target
        scope["root_path"] = root_path
    if head.minor == 0:
        scope["http_version"] = "1.0"
    scope["asgi"] = ASGI.copy()
    scope["extensions"] = EXTENSIONS.copy()
    scope["method"] = head.method
    scope["path"] = path
    scope["raw_path"] = target
    scope["query_string"] = query
    scope["headers"] = lower_pairs(head)
    return scope


def _split(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a target that is a URL, or `*` (RFC 9112, 3.2)."""
    rest = target.partition(b"://")[2]
    if not rest:
        return target, b""
    authority = rest.partition(b"?")[0].partition(b"/")[0]
    path, _, query = rest[len(authority) :].partition(b"?")
    return path or b"/", query


def lower_pairs(head: RequestHead) -> list[tuple[bytes, bytes]]:
    """`(name, value)` of each field in its order, the name in lower case."""
    found: list[tuple[bytes, bytes]] = []
    data = head.data
    at: i64 = head.begin
    end: i64 = head.end
    while at < end:
        colon: i64 = at
        code: i64 = data[colon]
        while code != 58:
            colon += 1
            code = data[colon]
        stop: i64 = colon
        while code != 13:
            stop += 1
            code = data[stop]
        name = data[at:colon]
        known = _LOWER.get(name)
        if known is None:
            known = name.lower()
        at = stop + 2
        colon += 1
        code = data[colon]
        while code == 32 or code == 9:
            colon += 1
            code = data[colon]
        if colon < stop:
            code = data[stop - 1]
            while code == 32 or code == 9:
                stop -= 1
                code = data[stop - 1]
        found.append((known, data[colon:stop]))
    return found
