"""HTTPConnection: requests off one connection, one at a time.

Bytes come to `Pipeline`, which serves the usual case by itself: whole requests without a body, answered at once. All
else comes to `receive_more` and `take_over`, waits in `_rest`, and is taken by one loop, `_go_on`:

    waiting ──head──> gathering (a plain def has its body first) ──> handling ──answer──> waiting, or the end

What `_go_on` looks at is three things: `_rest`, bytes that have come and were not used; `_incoming`, a body that is not
complete; `_exchange`, a request that is not answered. Whatever happens (bytes, EOF, an answer, room for more of them)
changes one of these and asks it to go on.

Source: RFC 9112, 9; RFC 9110, 10.1.1.
"""

from __future__ import annotations

import logging
import re
from types import CoroutineType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from trews.errors import Aborted, ClosedByPeer, ClosedLocally, IdleTooLong
from trews.http.answering import SKIP_MAX, Answering
from trews.http.body import Body, incomplete
from trews.http.deadlines import HTTPDeadlines
from trews.http.errors import BadMessage, reason
from trews.http.head import Limits, RequestHead, check_incomplete, scan_request
from trews.http.http1 import answer, status_line
from trews.http.pipeline import EAGER, REQUESTS_A_TURN, Pipeline, date_line
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
_NOT_YOURS = (
    "on an HTTP connection would corrupt the answers: return what is to be sent (of a file an open file, as the body), "
    "or call request.start(), request.write() and request.finish()"
)
_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")


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
    _deadlines: HTTPDeadlines
    _pipeline: Pipeline
    _scanned = 0  # of `_rest`, if it is the beginning of a head
    _head_at = 0.0  # when that was first looked at, in the loop's time
    _scan: RequestHead | None = None  # the head that `_rest` begins with, if `Pipeline` has it
    _gathers = False  # the handler of `_exchange` was not called
    _is_next_due = False
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

    @property
    def request(self) -> Request | None:
        """The request in progress, if there is one; in `on_error` that whose handler failed."""
        return self._failing or self._exchange

    # -- what handlers may not do here: requests are answered by their own methods, and these bytes would be in between

    def write(self, data: Any) -> NoReturn:
        raise RuntimeError(f"write() {_NOT_YOURS}")

    def send(self, message: Any) -> NoReturn:
        raise RuntimeError(f"send() {_NOT_YOURS}")

    def write_file(self, path_or_file: Any, offset: int = 0, count: int | None = None) -> NoReturn:
        raise RuntimeError(f"write_file() {_NOT_YOURS}")

    # -- what comes

    def on_connect(self) -> None:
        self._deadlines.watch()

    def receive_more(self, data: bytes) -> None:
        """Bytes have come in the middle of something (for `Pipeline`)."""
        if self._phase is _OPEN:
            self._rest = self._rest[self._at :] + data if self._rest else data
            self._at = 0
            if self._is_next_due:
                self._regulate()
            else:
                self._go_on()

    def take_over(self, data: bytes, head: RequestHead | None) -> None:
        """Go on where `Pipeline` leaves it: with these bytes, of which the first may be this head."""
        self._rest = data
        self._at = 0
        self._scan = head
        self._go_on()

    def take_result(self, request: Request, result: Any, context: contextvars.Context, rest: bytes) -> None:
        """Answer with what a handler has returned to `Pipeline`, and go on with the rest of what had come."""
        self._begin_unusual(request, rest)
        if EAGER and type(result) is CoroutineType and self._pipeline._direct is None:
            self._use(request, result, context)  # what a coroutine has returned: an error, as `_outcome_of` has it
        else:
            self._take_result(request, result, context)
        self._end_unusual()

    def take_task(self, request: Request, task: asyncio.Task[Any], context: contextvars.Context, rest: bytes) -> None:
        """The same with the task of an `async` handler: it waits for something, has failed, or returned None."""
        self._begin_unusual(request, rest)
        self._take_task(request, task, context)
        self._end_unusual()

    def handler_raised(self, request: Request, exc: BaseException, rest: bytes) -> None:
        """The same, if it has raised."""
        self._begin_unusual(request, rest)
        if isinstance(exc, (KeyboardInterrupt, SystemExit)):
            self._drop(Aborted("the program ends"))
            raise exc
        self._handler_failed(request, exc)
        self._end_unusual()

    def _begin_unusual(self, request: Request, rest: bytes) -> None:
        if request._state is not Answer.DONE:
            self._exchange = request
        self._rest = rest
        self._at = 0
        self._is_serving = True

    def _end_unusual(self) -> None:
        self._is_serving = False
        self._go_on()

    def eof_received(self) -> bool:
        keeps = super().eof_received()
        self._client_left()
        self._deadlines.begin_farewell()
        self._go_on()
        return keeps

    # -- what is done with it

    def _go_on(self) -> None:
        """Take bodies and requests out of what has come, as far as may be now."""
        if self._is_serving:
            return  # further up in the stack
        self._is_serving = True
        count = 0
        try:
            while self._phase is _OPEN:
                if self._incoming is not None:
                    if not self._take_body(self._incoming):
                        break
                elif self._exchange is not None or self._is_full:
                    break  # an answer is awaited; or the peer reads none, and gets no more until it does
                elif self._at == len(self._rest):
                    self._be_idle()
                    break
                elif count == REQUESTS_A_TURN:
                    self._go_on_soon()
                    break
                elif self._take_request():
                    count += 1
                else:
                    break
        except BadMessage as exc:
            self._refuse(exc)
        finally:
            self._is_serving = False
            self._uncork()
            if self._phase is _OPEN:
                self._regulate()

    def _go_on_soon(self) -> None:
        if not self._is_next_due:
            self._is_next_due = True
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._is_next_due = False
        self._go_on()

    def _be_idle(self) -> None:
        """Nothing is in progress and nothing has come: the end, if nothing more is to come."""
        if self._is_eof:
            self._shut(ClosedByPeer())
        elif self._is_draining and self.bytes_in:  # who has just come is heard: see `HTTPDeadlines`
            self._shut(ClosedLocally(self._why_stopping()))

    # -- heads

    def _take_request(self) -> bool:
        """Begin with the next request. False if not all of its head is there."""
        head, self._scan = self._scan, None
        if head is None:
            head = self._take_head()
            if head is None:
                return False
        request = self._exchange = Request(self, head)
        self._at = head.next
        if self._logs:
            request._begun_at = self._clock.now()
        if head.is_tunnel:
            raise BadMessage(501, "CONNECT is for proxies")
        if not head.has_body:
            self._call(request)
            return True
        if self.max_body is not None and head.length > self.max_body:
            raise BadMessage(413, f"a body of more than {self.max_body} bytes")
        body = request._body = self._incoming = Body(self, head)
        self._gathers = True
        self._take_body(body)
        if not body.is_complete:
            self._expect(body)
            if self.starts_at_head:
                self._gathers = False
                self._call(request)
            else:
                self._continue(body)
        return True

    def _take_head(self) -> RequestHead | None:
        """The head that is next; None if not all of it is there."""
        data, at = self._rest, self._at
        if self._scanned and data.find(b"\r\n\r\n", max(at, self._scanned - 3)) < 0:
            self._await_head(data[at:])
            return None
        empty = _EMPTY_LINES.match(data, at)  # RFC 9112, 2.2: passed over; all of them again whenever one more comes
        if empty is not None:
            at = empty.end()
        size = len(data)
        head = scan_request(data, at, self.head_limits) if size - at > 1 else None
        if head is None:
            # One empty line alone is what some old clients send behind a body, and begins nothing.
            self._await_head(b"" if at == size == self._at + 2 else data[self._at :])
            return None
        self._scanned = 0
        self._head_at = 0.0
        return head

    def _await_head(self, data: bytes) -> None:
        """Not all of a head is there."""
        check_incomplete(data, self._scanned, self.head_limits)
        self._rest = data
        self._at = 0
        self._scanned = len(data)
        if self._is_eof:
            self._shut(ClosedByPeer())
        elif not data:
            self._head_at = 0.0
            self._be_idle()
        elif not self._head_at:
            self._head_at = self._clock.now()
            self._deadlines.watch()

    # -- bodies

    def _take_body(self, body: Body) -> bool:
        """Take what has come of a body. False if more of it is to come."""
        if self._at < len(self._rest):
            try:
                self._at = body.feed(self._rest, self._at)
            except BadMessage as exc:
                self._body_ends(body, exc)
                return False
            self._expect(body)  # who was to wait for 100 Continue, and has begun without it, owes the rest
        if body.is_complete:
            self._incoming = None
            if self._gathers and self._exchange is not None:
                self._gathers = False
                if not self.starts_at_head:
                    self._exchange._set_content(body.take())
                self._call(self._exchange)
            return True
        if self._is_eof:
            self._body_ends(body, incomplete(self))
        elif body.is_unwanted and body.skipped > SKIP_MAX:
            self._body_ends(body, BadMessage(413, "a long body that was not wanted"))
        return False

    def _body_ends(self, body: Body, why: BaseException) -> None:
        """The rest of a body will never come. Who waits for it gets to know."""
        self._incoming = None
        body.fail(why)
        if self._exchange is None:
            self._shut(ClosedByPeer() if self._is_eof else ClosedLocally(f"the rest of a body: {why}"))
        elif self._gathers:
            raise why if isinstance(why, BadMessage) else BadMessage(400, str(why))

    def _continue(self, body: Body) -> None:
        """Somebody wants the body: a client that waits to be told is told (RFC 9110, 10.1.1)."""
        request = self._exchange
        if body.wants_continue and request is not None and request._body is body and request._state < Answer.BEGUN:
            body.wants_continue = False
            self._send_out(_CONTINUE)
            self._uncork()
            self._expect(body)

    def _expect(self, body: Body) -> None:
        """From now on the peer owes what is left of a body."""
        if not body.begun_at and not body.wants_continue and not body.is_complete:
            body.begun_at = self._clock.now()
            self._deadlines.watch()

    def _body_too_slow(self, body: Body) -> None:
        try:
            self._body_ends(body, BadMessage(408, f"a body of fewer than {self.min_body_rate:g} bytes/s"))
        except BadMessage as exc:
            self._refuse(exc)

    def _body_taken(self) -> None:
        """The handler has taken what there was of the body."""
        if not self._is_reading and self._phase is _OPEN:
            self._regulate()

    # -- flow of input

    def _regulate(self) -> None:
        """Decide whether to read from the peer, and whether the usual case is here again."""
        if self._at:
            self._rest = self._rest[self._at :]
            self._at = 0
        wanted = not (self._is_paused or self._is_eof or self._is_crowded())
        if wanted is not self._is_reading:
            self._read_from_peer(wanted)
            self._deadlines.reads(wanted)
        self._has_news = self._is_eof or not wanted
        self._pipeline.is_clear = self._exchange is None and not (
            self._rest or self._incoming is not None or self._is_next_due or self._is_full or self._is_draining
        )
        if self.idle_timeout is not None and not self._is_paused:
            self._deadlines.watch_idle()
        if self._slow is not None and self._exchange is not None:
            self._slow.watch(self._exchange)

    def _is_crowded(self) -> bool:
        """Whether enough has come that nobody takes yet."""
        body = self._incoming
        if body is not None:
            return body.size > self.read_high and not self._gathers
        is_blocked = self._exchange is not None or self._is_full or self._is_next_due
        return is_blocked and len(self._rest) > self.read_high

    def pause_writing(self) -> None:
        super().pause_writing()
        self._pipeline.is_clear = False

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._phase is _OPEN:
            self._go_on_soon()

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
        self._shut(ClosedLocally(f"a request was refused: {exc}"))

    def _head_too_slow(self) -> None:
        self._refuse(BadMessage(408, f"a head that took over {self.head_timeout:g} s"))

    def _waits_in_vain(self) -> bool:
        """Whether an answer has begun, and the client, which may have gone, has ended."""
        request = self._exchange
        return self._is_eof and request is not None and request._state is Answer.BEGUN

    def _farewell(self) -> None:
        self._drop(Aborted(f"the client has ended, and nothing more was sent for {self.close_timeout:g} s"))

    def _idle_too_long(self) -> None:
        if self._is_draining:
            self._shut(ClosedLocally(self._why_stopping()))
        else:
            self._shut(IdleTooLong(f"no request for {self.keep_alive_timeout:g} s"))

    def _over(self, request: Request) -> None:
        if self._exchange is request:
            self._exchange = None
            self._gathers = False
            if self._logs and request._state is not Answer.DONE:
                self._log_cut(request)

    def on_stop(self) -> None:
        self._is_draining = True
        self._pipeline.is_clear = False
        self._deadlines.begin_last_call()
        self._go_on_soon()  # and not now: what has come already is read first

    def _go_down(self) -> None:
        super()._go_down()
        self._rest = b""
        self._at = 0
        self._out = None
        body, self._incoming = self._incoming, None
        if body is not None:
            body.fail(self._closed(self._reason))
        self._client_left()
        request = self._exchange
        if request is not None:
            if self._logs:
                self._log_cut(request)
            if self._task is None and not self._is_starting:
                self._over(request)  # of one that runs, what comes of it is awaited
        if self._slow is not None:
            self._slow.end()


# What the server itself sends goes by `_raw_write` and `_send_file`: of `write` no other is to be passed by.
HTTPConnection._plain_write = HTTPConnection.write
