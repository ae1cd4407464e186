"""HTTPConnection: requests off one connection, one at a time.

Bytes come to `Pipeline`, which serves the usual case by itself: whole requests without a body, answered at once. All
else comes to `_receive_more` and `_serve`: heads and bodies in pieces, handlers that take their time.

    waiting ──head──> gathering (a plain def has its body first) ──> handling ──> answering ──> waiting, or the end

Source: RFC 9112, 9; RFC 9110, 10.1.1.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, ClassVar

from trews.errors import Aborted, ClosedByPeer, ClosedLocally, ConnectionClosed
from trews.http.answering import Answering
from trews.http.body import Body, incomplete
from trews.http.deadlines import HTTPDeadlines
from trews.http.errors import BadMessage, reason
from trews.http.head import Limits, RequestHead, check_incomplete, scan_request
from trews.http.http1 import answer, status_line
from trews.http.pipeline import REQUESTS_A_TURN, Pipeline, date_line
from trews.http.request import Answer, Request
from trews.http.response import TEXT
from trews.http.slow_request import SlowRequest
from trews.phase import Phase
from trews.transport.stream import StreamTransport

if TYPE_CHECKING:
    import asyncio
    import contextvars

    from trews.http.forwarded import Proxies

logger = logging.getLogger("trews.http")

_OPEN = Phase.OPEN
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HTTPConnection(Answering):
    """One connection of an `http.Server`. Handlers find it as `request.connection`.

    Its settings are those of `http.Server`, which derives a class with the handler and the settings for itself.
    """

    half_close = True
    starts_at_head: ClassVar[bool] = False  # whether the handler takes the body as it comes
    head_limits: ClassVar[Limits] = Limits()
    trusted_proxies: ClassVar[Proxies | None] = None
    max_body: int | None = 10 * 1024 * 1024
    max_trailers: int = 8 * 1024
    max_fields: int = 100
    head_timeout: float | None = 10.0
    body_timeout: float | None = 10.0
    min_body_rate: float = 500.0
    keep_alive_timeout: float | None = 75.0

    _deadlines_class = HTTPDeadlines
    _pipeline: Pipeline
    _rest: bytes = b""  # what has come and was not looked at, or is no whole head
    _scanned = 0  # of `_rest`, if it is the beginning of a head
    _gathers = False  # the body is gathered before the handler is called
    _is_next_due = False
    _is_held = False  # not reading, as enough has come
    _scope: dict[str, Any] | None = None  # what the ASGI scopes of its requests have in common

    def _prepare(self) -> None:
        self._pipeline = Pipeline(self, Request)
        super()._prepare()

    @property
    def _has_news(self) -> bool:
        return self._pipeline.has_news

    @_has_news.setter
    def _has_news(self, value: bool) -> None:
        self._pipeline.has_news = value

    def _bind_write(self, transport: asyncio.BaseTransport) -> None:
        pipeline = self._pipeline
        self._receive = pipeline.receive  # type: ignore[method-assign]
        super()._bind_write(transport)
        pipeline.context = self._context
        if self.slow_request is not None:
            self._slow = SlowRequest(self, self.slow_request)
        self._logs = pipeline.is_logged = self.access_log is not None or self._slow is not None
        pipeline.write = self._raw_write
        pipeline.core = transport.core if isinstance(transport, StreamTransport) else None

    # -- what comes

    def on_connect(self) -> None:
        self._deadlines.watch()

    def receive_more(self, data: bytes) -> None:
        """Bytes have come in the middle of something (for `Pipeline`)."""
        if self._phase is _OPEN and not self._is_eof:
            request = self._exchange
            if request is not None:
                self._receive_body(request, data)
            elif self._is_next_due or self._is_full:
                self._keep_rest(self._rest + data)
            elif self._skipped is not None:
                self._skip(data)
            elif self._rest:
                self._serve_head(self._rest + data)
            else:
                self._serve(data)
            self._settle()

    def take_over(self, data: bytes, head: RequestHead | None) -> None:
        """Go on where `Pipeline` leaves it: with these bytes, of which the first may be this head."""
        if self._phase is _OPEN:
            if self._exchange is not None or self._skipped is not None or self._is_full:
                if data:
                    self._go_on_later(data)
            elif data:
                self._serve(data, head)
            elif self._is_eof:
                self._end()
        self._uncork()
        self._settle()

    def take_result(self, request: Request, result: Any, context: contextvars.Context, rest: bytes) -> None:
        """Answer with what a handler has returned to `Pipeline`, and go on with the rest of what had come."""
        self._begin_unusual(request)
        self._take_result(request, result, context)
        self._end_unusual(rest)

    def take_task(self, request: Request, task: asyncio.Task[Any], rest: bytes) -> None:
        """The same with the task of an `async` handler: it waits for something, or has failed."""
        self._begin_unusual(request)
        self._take_task(request, task)
        self._end_unusual(rest)

    def handler_raised(self, request: Request, exc: BaseException, rest: bytes) -> None:
        """The same, if it has raised."""
        self._begin_unusual(request)
        if isinstance(exc, (KeyboardInterrupt, SystemExit)):
            self._drop(Aborted("the program ends"))
            raise exc
        self._handler_failed(request, exc)
        self._end_unusual(rest)

    def _begin_unusual(self, request: Request) -> None:
        if request._state is not Answer.DONE:
            self._exchange = request
        self._is_serving = True

    def _end_unusual(self, rest: bytes) -> None:
        self._is_serving = False
        self.take_over(rest, None)

    def _settle(self) -> None:
        """See whether the usual case is here again."""
        self._pipeline.is_clear = (
            self._exchange is None
            and not (self._rest or self._is_next_due or self._is_full or self._is_draining)
            and self._skipped is None
        )
        if self._phase is _OPEN and self.idle_timeout is not None:
            self._deadlines.watch_idle()
        if self._slow is not None and self._exchange is not None:
            self._slow.watch(self._exchange)

    def _receive_body(self, request: Request, data: bytes) -> None:
        body = request._body
        if body is None or body.is_complete or body.error is not None:
            self._keep_rest(self._rest + data)
            return
        at = self._feed(request, body, data)
        if at < 0:
            return
        if at < len(data):
            self._keep_rest(data[at:])
        if body.size > self.read_high and not self._gathers:
            self._hold()
        if self._gathers and body.is_complete:
            self._gathers = False
            self._serve_gathered(request)

    def _keep_rest(self, data: bytes) -> None:
        """Keep what is for later; too much of it, and the peer has to wait."""
        self._rest = data
        if len(data) > self.read_high:
            self._hold()

    def _hold(self) -> None:
        if not self._is_held:
            self._is_held = True
            self._deadlines.hold()
            self.pause_reading()

    def _go_on_reading(self) -> None:
        if self._is_held:
            self._is_held = False
            self._deadlines.go_on()
            self.resume_reading()

    def _body_taken(self) -> None:
        """The handler has taken what there was of the body."""
        if len(self._rest) <= self.read_high:
            self._go_on_reading()

    def _serve_head(self, data: bytes) -> None:
        """More of a head has come."""
        if data.find(b"\r\n\r\n", max(0, self._scanned - 3)) < 0:
            try:
                self._await_head(data)
            except BadMessage as exc:
                self._refuse(exc)
            return
        self._rest = b""
        self._scanned = 0
        self._head_at = 0.0
        self._serve(data)

    def _serve(self, data: bytes, head: RequestHead | None = None) -> None:
        """Requests, as many as are there and may be answered now; the first has this head, perhaps."""
        at = 0
        count = 0
        size = len(data)
        self._is_serving = True
        try:
            while at < size and self._phase is _OPEN:
                if count == REQUESTS_A_TURN or self._is_full or self._skipped is not None:
                    break
                if head is None:
                    begin = at
                    while data.startswith(b"\r\n", at):  # RFC 9112, 2.2: empty lines before a request are passed over
                        at += 2
                    head = scan_request(data, at, self.head_limits) if data[at:] != b"\r" else None
                    if head is None:
                        self._await_head(data[begin:])
                        return
                request = self._exchange = Request(self, head)
                at = head.next
                count += 1
                if head.is_tunnel:
                    raise BadMessage(501, "CONNECT is for proxies")
                if head.has_body:
                    at = self._begin_body(request, data, at)
                if self._logs:
                    request._begun_at = self._clock.now()
                if self._gathers:
                    break
                if at < size and self._out is None:
                    self._out = []
                self._call(request)
                head = None
                if self._exchange is not None:
                    break
            if at < size and self._phase is _OPEN:
                self._go_on_later(data[at:])
            elif self._is_eof:
                self._end()
        except BadMessage as exc:
            self._refuse(exc)
        finally:
            self._is_serving = False
            self._uncork()

    def _go_on_later(self, data: bytes) -> None:
        """What has come is not for now: a request is in progress, or the others have their turn."""
        if self._exchange is None and self._skipped is not None:
            self._skip(data)
            return
        self._keep_rest(data)
        if self._exchange is None:
            self._next_soon()

    def _await_head(self, data: bytes) -> None:
        """Not all of a head is there."""
        check_incomplete(data, self._scanned, self.head_limits)
        self._rest = data
        self._scanned = len(data)
        if self._is_eof:
            self._end()
        elif not self._head_at:
            self._head_at = self._clock.now()
            self._deadlines.watch()

    # -- bodies

    def _begin_body(self, request: Request, data: bytes, at: int) -> int:
        """Take what has come of a body. Returns where in `data` what follows it begins.

        Raises:
            BadMessage: it is none, or too large.
        """
        head = request._head
        if self.max_body is not None and head.length > self.max_body:
            raise BadMessage(413, f"a body of more than {self.max_body} bytes")
        body = request._body = Body(self, head)
        if at < len(data):
            at = body.feed(data, at)
        if self.starts_at_head:
            pass
        elif body.is_complete:
            request._set_content(body.take())
        else:
            self._gathers = True
            self._continue(body)
        if not body.is_complete and not body.wants_continue:
            body.begun_at = self._clock.now()
            self._deadlines.watch()
        return at

    def _feed(self, request: Request, body: Body, data: bytes) -> int:
        """Take more of a body. Returns where in `data` what follows it begins; -1 if it is none."""
        try:
            return body.feed(data, 0)
        except BadMessage as exc:
            body.fail(exc)
            if self._gathers:
                self._refuse(exc)
            return -1

    def _serve_gathered(self, request: Request) -> None:
        """The body that the handler is to have first is there."""
        body = request._body
        if body is not None:
            request._set_content(body.take())
        self._call(request)
        if self._exchange is None:
            self._next()

    def _continue(self, body: Body) -> None:
        """Somebody wants the body: a client that waits to be told is told (RFC 9110, 10.1.1)."""
        if body.wants_continue:
            body.wants_continue = False
            request = self._exchange
            if request is not None and request._body is body and request._state < Answer.BEGUN:
                self._send_out(_CONTINUE)
                self._uncork()
            body.begun_at = self._clock.now()
            self._deadlines.watch()

    def _skip(self, data: bytes) -> None:
        """Read what is left of a body that nobody wanted."""
        try:
            at = self._skipped.take(data, 0, [])
        except BadMessage:
            self._end()
            return
        if self._skipped.is_done:
            self._skipped = None
            self._head_at = 0.0
            if at < len(data):
                self._serve(data[at:])

    # -- what has come meanwhile

    def _next_soon(self) -> None:
        if not self._is_next_due:
            self._is_next_due = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Go on with what has come meanwhile."""
        self._is_next_due = False
        if self._phase is not _OPEN or self._exchange is not None or self._is_serving:
            return
        if self._task is not None:
            return  # the handler has answered, and has not returned
        if self._is_full:
            return  # the peer reads no answers: resume_writing goes on
        data, self._rest = self._rest, b""
        self._scanned = 0
        if data:
            self._serve(data) if self._skipped is None else self._skip(data)
        elif self._is_eof:
            self._end()
        self._settle()
        if self._pipeline.is_clear:
            self._go_on_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._phase is _OPEN and self._rest and self._exchange is None:
            self._next_soon()

    # -- ends

    def _refuse(self, exc: BadMessage) -> None:
        """Answer that the message cannot be accepted, and end."""
        request = self._exchange
        if request is not None:
            request._state = Answer.DONE
            self._over(request)
        text = f"{exc.status} {reason(exc.status)}: {exc}\n".encode()
        start = status_line(exc.status) + f"Content-Type: {TEXT}\r\n".encode()
        is_head = request is not None and request.method == "HEAD"
        self._send_out(answer(start, date_line(), text, False, True, is_head))
        self._uncork()
        logger.info("%r: %d, %s", self, exc.status, exc)
        if self._logs:
            self._log(request, exc.status, len(text))
        self._rest = b""
        self._shut(ClosedLocally(f"a request was refused: {exc}"))

    def _over(self, request: Request) -> None:
        if self._exchange is request:
            self._exchange = None
            self._gathers = False
            if self._logs and request._state is not Answer.DONE:
                self._log_cut(request)

    def _body_too_slow(self, request: Request, exc: BadMessage) -> None:
        """A body comes too slowly. Who waits for it gets the error; the answer is that, unless there is one already."""
        body = request._body
        if body is not None:
            body.fail(exc)
        if request._state < Answer.BEGUN and self._task is None:
            self._refuse(exc)
        elif request._state is Answer.BEGUN:
            self._abandon(request)

    def _end(self) -> None:
        """Nothing more will come, or is wanted."""
        if self._phase is _OPEN and self._exchange is None:
            self._uncork()
            self._shut(ClosedByPeer() if self._is_eof else ClosedLocally("nothing more was asked"))

    def eof_received(self) -> bool:
        keeps = super().eof_received()
        request = self._exchange
        if request is not None:
            self._peer_ended(request, incomplete())
        return keeps

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        request = self._exchange
        if self._slow is not None:
            self._slow.end()
        if request is not None:
            if self._logs:
                self._log_cut(request)
            self._peer_ended(request, self._closed(self._reason))
            if self._task is None:
                self._over(request)

    def _peer_ended(self, request: Request, why: ConnectionClosed) -> None:
        why.connection = self
        body = request._body
        request._disconnect()
        if body is not None and not body.is_complete:
            body.fail(why)
            if self._gathers and self._phase is _OPEN:
                self._refuse(BadMessage(400, str(why)))

    def on_eof(self) -> None:
        if self._exchange is None and not self._is_next_due:
            if self._rest:
                self._next_soon()
            else:
                self._end()

    def on_stop(self) -> None:
        self._is_draining = True
        if self._exchange is None and not self._rest and self._skipped is None:
            self._loop.call_soon(self._end)

    @property
    def request(self) -> Request | None:
        """The request in progress, if there is one."""
        return self._exchange
