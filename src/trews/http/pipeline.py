"""Pipeline: the usual case of an HTTP connection, compiled: requests that are all there, answered at once.

Whatever is not usual goes to the connection: `receive_more` and `take_over` for bytes, `take_result` and the like for
what has become of a handler.
"""

from __future__ import annotations

import sys
from asyncio import Task
from time import gmtime, time
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final

from trews.http.errors import BadMessage
from trews.http.head import Limits, RequestHead, scan_request
from trews.http.http1 import answer, status_line
from trews.http.request import Answer
from trews.http.response import encode_json
from trews.transport.core import StreamCore

if TYPE_CHECKING:
    from mypy_extensions import i64

EAGER: Final[bool] = sys.version_info >= (3, 12)  # whether a task may begin at once
REQUESTS_A_TURN: Final = 64  # of one connection; then the others get theirs
_DONE: Final[Any] = Answer.DONE
LARGE: Final = 256 * 1024  # bytes of a body that is not copied behind its head
_TASK: Final[Any] = Task  # of Any, as mypy looks at it as Python 3.11 has it
_TEXT: Final = status_line(200) + b"Content-Type: text/plain; charset=utf-8\r\n"
_BYTES: Final = status_line(200) + b"Content-Type: application/octet-stream\r\n"
_JSON: Final = status_line(200) + b"Content-Type: application/json\r\n"


class _Date:
    """The Date line, made once a second."""

    __slots__ = ("line", "second")

    def __init__(self) -> None:
        self.second: i64 = 0
        self.line: bytes = b""


_DATE: Final = _Date()
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def made_date_line(now: int) -> bytes:
    """The same of a time in seconds; by hand, as an import of `email` costs 10 ms, and fails without a descriptor."""
    t = gmtime(now)
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    hour = f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
    return f"Date: {day}, {t.tm_mday:02} {month} {t.tm_year:04} {hour} GMT\r\n".encode()


def date_line() -> bytes:
    """`Date: …` of now, with its CR LF (RFC 9110, 6.6.1)."""
    now = int(time())
    second: i64 = now
    if second != _DATE.second:
        _DATE.line = made_date_line(now)
        _DATE.second = second
    return _DATE.line


class Pipeline:
    """The requests of one connection, as long as nothing unusual happens.

    Args:
        connection: the connection, whose handler and limits these are.
        request_class: what a handler gets; called with the connection and a head.

    Attributes:
        core: of the connection's transport, if it is one of ours; else bytes go by `write`.
        context: that of the connection; each request runs in a copy of it.
        is_clear: nothing is in progress: the next byte begins a request.
        has_news: the connection is about to end, or paused (`Lifecycle._has_news`).
        is_logged: whether answers are.
    """

    __slots__ = (
        "_app",
        "_connection",
        "_direct",
        "_limits",
        "_max_body",
        "_request_class",
        "_starts_at_head",
        "context",
        "core",
        "has_news",
        "is_clear",
        "is_logged",
        "write",
    )

    def __init__(self, connection: Any, request_class: Any) -> None:
        self._connection: Any = connection
        self._app: Any = connection.app
        self._request_class: Any = request_class
        self._limits: Limits = connection.head_limits
        self._starts_at_head: bool = connection.starts_at_head
        max_body = connection.max_body
        self._max_body: i64 = 1 << 62 if max_body is None else max_body
        # A handler with a shorter way than by a Request (http.wsgi): called with a head, it returns the answer as
        # bytes; or a Request, and what a handler would have returned.
        direct = getattr(self._app, "_direct", None)
        self._direct: Any = direct(connection) if direct is not None else None
        self.context: Any = None
        self.core: StreamCore | None = None
        self.write: Any = None
        self.is_logged: bool = False
        self.is_clear: bool = True
        self.has_news: bool = True

    def receive(self, data: bytes) -> None:
        """Bytes have come."""
        if not self.is_clear or self.has_news:
            self._connection.receive_more(data)
            return
        self.is_clear = False
        at: i64 = 0
        size: i64 = len(data)
        count: i64 = 0
        is_corked: bool = False
        head: RequestHead | None = None
        while at < size:
            try:
                head = scan_request(data, at, self._limits)
            except BadMessage:
                head = None  # it is refused where the scan is made again
            if head is None or not head.persists or not head.minor or head.is_tunnel:
                break
            end: i64 = head.next
            if head.has_body:
                if self._starts_at_head or head.is_chunked or head.length > size - end or head.length > self._max_body:
                    break
                end += head.length
            count += 1
            if count > REQUESTS_A_TURN:
                break
            if end < size and not is_corked:
                is_corked = True
                self._connection._out = []
            piece = self._serve(head, data, end)
            if piece is None:
                return
            if not is_corked:
                self.is_clear = True
                if not piece:
                    pass  # it is sent already
                elif self.core is not None:
                    self.core.write(piece)
                else:
                    self.write(piece)
                return
            if piece:
                self._connection._send_out(piece)
            at = end
            if self._connection._is_full:
                break  # the peer reads none of it
        if at < size:
            self._connection.take_over(data[at:] if at else data, None if at else head)
        else:
            self._connection.take_over(b"", None)

    def _serve(self, head: RequestHead, data: bytes, end: i64) -> bytes | None:
        """Ask the handler. Returns the answer; b"" if it is sent; None if the connection sees to it and the rest."""
        context = self.context.copy()  # of each request its own: what one sets is not the next one's business
        if self._direct is not None and not self.is_logged:
            return self._serve_directly(head, data, end, context)
        request = self._request_class(self._connection, head)
        if head.has_body:
            request._content = data[head.next : end]
        if self.is_logged:
            request._begun_at = self._connection._clock.now()
        try:
            result = context.run(self._app, request)
        except BaseException as exc:
            self._connection.handler_raised(request, exc, data[end:])
            return None
        if EAGER and type(result) is CoroutineType:
            try:
                task = _TASK(result, loop=self._connection._loop, context=context, eager_start=True)
            except BaseException as exc:  # KeyboardInterrupt or SystemExit in its first step
                self._connection.handler_raised(request, exc, data[end:])
                return None
            if not task.done() or task.cancelled() or task.exception() is not None:
                self._connection.take_task(request, task, context, data[end:])
                return None
            result = task.result()
            if result is None and request._state is _DONE and not self.has_news:
                return b""  # ASGI: it has answered by itself, as `asgi_exchange` does here
            if result is None:  # which from a coroutine says more than from a function: it is over
                self._connection.take_task(request, task, context, data[end:])
                return None
        if type(result) is str:
            start = _TEXT
            try:
                body: bytes = result.encode()
            except UnicodeEncodeError as exc:
                self._connection.handler_raised(request, exc, data[end:])
                return None
        elif type(result) is bytes:
            start = _BYTES
            body = result
        elif type(result) is dict or type(result) is list:
            start = _JSON
            try:
                body = encode_json(result)
            except BaseException as exc:
                self._connection.handler_raised(request, exc, data[end:])
                return None
        else:
            self._connection.take_result(request, result, context, data[end:])
            return None
        if self.has_news or request._state or len(body) > LARGE:
            self._connection.take_result(request, result, context, data[end:])
            return None
        if self.is_logged:
            self._connection._log(request, 200, len(body))
        return answer(start, date_line(), body, True, True, head.method == "HEAD")

    def _serve_directly(self, head: RequestHead, data: bytes, end: i64, context: Any) -> bytes | None:
        """The same, of a handler with a shorter way."""
        try:
            result = context.run(self._direct, head)
        except BaseException as exc:
            request = self._connection._exchange  # if it has begun to answer
            if request is None:
                request = self._request_class(self._connection, head)
            self._connection.handler_raised(request, exc, data[end:])
            return None
        if type(result) is bytes:
            return result
        self._connection.take_result(result[0], result[1], context, data[end:])
        return None
