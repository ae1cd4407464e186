"""Pipeline: the usual case of an HTTP connection, compiled: whole requests without a body, answered at once with text.

Whatever is not usual goes to the connection: `receive_more` for bytes, `take_result` for what a handler returned.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any, Final

from trews.http.errors import BadMessage
from trews.http.head import Limits, RequestHead, scan_request
from trews.http.http1 import answer, status_line

if TYPE_CHECKING:
    from mypy_extensions import i64

REQUESTS_A_TURN: Final = 64  # of one connection; then the others get theirs
_TEXT: Final = status_line(200) + b"Content-Type: text/plain; charset=utf-8\r\n"
_BYTES: Final = status_line(200) + b"Content-Type: application/octet-stream\r\n"

_date_second: int = -1
_date_line: bytes = b""


def date_line() -> bytes:
    """`Date: …` of now, with its CR LF (RFC 9110, 6.6.1). It is made once a second."""
    global _date_second, _date_line
    now = int(time())
    if now != _date_second:
        from email.utils import formatdate  # here, because it costs 10 ms to import

        _date_line = f"Date: {formatdate(now, usegmt=True)}\r\n".encode()
        _date_second = now
    return _date_line


class Pipeline:
    """The requests of one connection, as long as nothing unusual happens.

    Args:
        connection: the connection.
        app: the handler.
        request_class: what a handler gets; called with the connection and a head.
        limits: of a head.
        context: that of the connection; each request runs in a copy of it.

    Attributes:
        write: sends bytes.
        is_clear: nothing is in progress: the next byte begins a request.
        log: whether answers are logged.
    """

    __slots__ = ("_app", "_connection", "_context", "_limits", "_request_class", "is_clear", "log", "write")

    def __init__(self, connection: Any, app: Any, request_class: Any, limits: Limits, context: Any) -> None:
        self._connection: Any = connection
        self._app: Any = app
        self._request_class: Any = request_class
        self._limits: Limits = limits
        self._context: Any = context
        self.write: Any = None
        self.log: bool = False
        self.is_clear: bool = True

    def receive(self, data: bytes) -> None:
        """Bytes have come."""
        connection = self._connection
        if not self.is_clear or connection._has_news:
            connection.receive_more(data)
            return
        self.is_clear = False
        at: i64 = 0
        size: i64 = len(data)
        count: i64 = 0
        corked: bool = False
        head: RequestHead | None = None
        while at < size:
            try:
                head = scan_request(data, at, self._limits)
            except BadMessage:
                head = None  # it is refused where the scan is made again
            if head is None or head.has_body or not head.persists or not head.minor or head.is_tunnel:
                break
            count += 1
            if count > REQUESTS_A_TURN:
                break
            request = self._request_class(connection, head)
            connection._exchange = request
            if self.log:
                request._begun_at = connection._clock.now()
            end: i64 = head.next
            if end < size and not corked:
                corked = True
                connection._out = []
            context = self._context.copy()  # of each request its own: what one sets is not the next one's business
            try:
                result = context.run(self._app, request)
            except BaseException as exc:
                connection.handler_raised(request, exc, data[end:])
                return
            if type(result) is str:
                start = _TEXT
                body: bytes = result.encode("utf-8", "replace")
            elif type(result) is bytes:
                start = _BYTES
                body = result
            else:
                connection.take_result(request, result, context, data[end:])
                return
            if request._state or connection._has_news:
                connection.take_result(request, result, context, data[end:])
                return
            piece = answer(start, date_line(), body, True, True, head.method == "HEAD")
            connection._exchange = None
            if self.log:
                connection._log(request, 200, len(body))
            if not corked:
                self.is_clear = True
                self.write(piece)
                return
            connection._send_out(piece)
            at = end
        if at < size:
            connection.take_over(data[at:] if at else data, None if at else head)
        else:
            connection.take_over(b"", None)
