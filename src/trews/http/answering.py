"""Answering: the half of an HTTP connection that asks the handler, and sends what comes of it.

    _call ──> the handler ──result──> _respond ────────────────────────> _answered ──> the next request, or the end
                 └──awaitable──> a task ──result──> _respond ──stream──> a task ──^
                 └──start, write, finish──────────────────────────────────────────^

What is written in answer to one read is sent by one `send` (`_out`).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import abstractmethod
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, ClassVar

from trews.connection import Connection
from trews.errors import Aborted, ClosedLocally
from trews.http.access_log import GONE
from trews.http.errors import BadMessage, Error
from trews.http.http1 import Writer, answer, field_lines, status_line
from trews.http.pipeline import EAGER, date_line
from trews.http.request import Answer, Request
from trews.http.response import JSON, TEXT, as_response, encode, from_error, is_stream
from trews.phase import Phase
from trews.timers import as_coroutine

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Iterable

    from trews.http.deadlines import HTTPDeadlines
    from trews.http.slow_request import SlowRequest

logger = logging.getLogger("trews.http")

_OPEN = Phase.OPEN
CORK_MAX = 64 * 1024  # bytes that are held back to be sent together
SKIP_MAX = 64 * 1024  # bytes of a body that nobody wanted, which are read to keep the connection

# The status line and Content-Type of what handlers return most.
STARTS: dict[Any, bytes] = {
    kind: status_line(200) + f"Content-Type: {content_type}\r\n".encode()
    for kind, content_type in ((str, TEXT), (bytes, "application/octet-stream"), (dict, JSON), (list, JSON))
}


class Answering(Connection):
    """Asks the handler, one request at a time, and answers in order."""

    app: ClassVar[Callable[[Request], Any]]
    access_log: Any = None
    slow_request: float | None = None
    debug: bool = False

    _exchange: Request | None = None  # the request that is not answered
    _skipped: Any = None  # what takes the body that nobody wanted, of the last request
    _head_at = 0.0  # when what is awaited began to come, in the loop's time: a head, or the rest of `_skipped`
    _out: list[bytes] | None = None  # what is to be sent together
    _out_size = 0
    _is_serving = False
    _is_draining = False  # the server is stopping
    _deadlines: HTTPDeadlines
    _logs = False  # whether the ends of requests are noted
    _slow: SlowRequest | None = None

    # -- what comes of it

    @abstractmethod
    def _next(self) -> None:
        """Go on with what has come meanwhile."""

    @abstractmethod
    def _next_soon(self) -> None:
        """The same in the next turn."""

    @abstractmethod
    def _refuse(self, exc: BadMessage) -> None:
        """Answer that a message cannot be accepted, and end."""

    @abstractmethod
    def _over(self, request: Request) -> None:
        """This request is not in progress any more."""

    # -- the handler

    def _call(self, request: Request) -> None:
        """Give a request to the handler, and answer with what it returns."""
        context = self._context.copy()  # of each request its own: what one sets is not the next one's business
        try:
            result = context.run(type(self).app, request)
        except (KeyboardInterrupt, SystemExit):
            self._drop(Aborted("the program ends"))
            raise
        except BaseException as exc:
            self._handler_failed(request, exc)
            return
        self._take_result(request, result, context)

    def _take_result(self, request: Request, result: Any, context: contextvars.Context) -> None:
        """Answer with what the handler has returned."""
        if self._phase is not _OPEN:
            if inspect.iscoroutine(result):
                result.close()
            self._over(request)
        elif result is None and request._state is not Answer.NONE:
            pass  # it answers by itself, now or later
        elif inspect.isawaitable(result):
            self._handle(request, result, context)
        else:
            self._answer_with(request, result)

    def _answer_with(self, request: Request, result: Any) -> None:
        start = STARTS.get(type(result))
        if start is not None and request._state is Answer.NONE:
            self._answer_simply(request, start, result)
        else:
            self._respond_safely(request, result)

    def _handle(self, request: Request, awaitable: Any, context: contextvars.Context) -> None:
        """Run a coroutine of the handler, or of its answer, as a task: at once, as far as it goes."""
        coroutine = as_coroutine(awaitable)
        try:
            if EAGER:
                task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=self._loop, context=context, eager_start=True)  # type: ignore[call-arg, unused-ignore]
            else:
                task = asyncio.Task(coroutine, loop=self._loop, context=context)
        except BaseException:  # KeyboardInterrupt or SystemExit in its first step
            self._drop(Aborted("the program ends"))
            raise
        self._take_task(request, task)

    def _take_task(self, request: Request, task: asyncio.Task[Any]) -> None:
        if task.done():
            self._outcome_of(request, task)
        elif request._state is Answer.DONE:
            self._leave(task)
        else:
            self._task = task
            task.add_done_callback(self._handled)

    def _handled(self, task: asyncio.Task[Any]) -> None:
        """What `_handle` began has ended."""
        if self._task is not task:
            return  # left to itself when the answer was complete, or behind
        self._task = None
        request = self._exchange
        if request is not None:
            self._outcome_of(request, task)
        self._returned()
        if self._exchange is None:
            self._next()

    def _outcome_of(self, request: Request, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._handler_failed(request, asyncio.CancelledError("the handler was cancelled"))
        elif (exc := task.exception()) is not None:
            self._handler_failed(request, exc)
        elif self._phase is not _OPEN:
            self._over(request)  # whatever it returned, there is nobody to send it to
        elif request._state is Answer.NONE:
            self._answer_with(request, task.result())
        elif request._state is Answer.BEGUN and request._writer is not None and not request._is_deferred:
            self._handler_failed(
                request, RuntimeError("the handler returned after start(), without finish() or defer()")
            )

    def _leave(self, task: asyncio.Task[Any]) -> None:
        """The answer is complete, the handler is not: it goes on beside the requests that follow."""
        if self._server is not None:
            self._server._adopt(task, self)
        else:
            task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[Any]) -> None:
        """It has ended, too."""
        if not task.cancelled() and (exc := task.exception()) is not None and not self._is_own_end(exc):
            told = self._tell_error(exc)
            if told is not None:
                self._loop.create_task(as_coroutine(told))

    def _handler_failed(self, request: Request, exc: BaseException) -> None:
        """An answer that tells nothing of the error; if one has begun, the client must see that it is cut off."""
        if self._phase is not _OPEN:
            if not self._is_own_end(exc) and not isinstance(exc, asyncio.CancelledError):
                self._tell_handler_error(exc)
            self._over(request)
            return
        if isinstance(exc, Error) and request._state < Answer.BEGUN:
            self._respond_safely(request, from_error(exc))
            return
        if isinstance(exc, BadMessage) and request._state < Answer.BEGUN:
            self._refuse(exc)
            return
        if self._is_own_end(exc):  # of the body: the client has ended in the middle of it
            if request._state < Answer.BEGUN:
                self._refuse(BadMessage(400, str(exc)))
            else:
                self._abandon(request)
            return
        self._tell_handler_error(exc)
        if self._phase is not _OPEN or request._state is Answer.DONE:  # on_error may have ended it
            return
        if request._state < Answer.BEGUN:
            request._state = Answer.NONE
            self._respond(request, self._debug_page(request, exc) if self.debug else 500)
        else:
            self._abandon(request)

    @staticmethod
    def _debug_page(request: Request, exc: BaseException) -> Any:
        from trews.http.debug_page import debug_page  # here, because nobody needs it in production

        return debug_page(request, exc)

    def _tell_handler_error(self, exc: BaseException) -> None:
        told = self._tell_error(exc)
        if told is not None and self._phase is _OPEN:
            self._spawn(told)

    def _abandon(self, request: Request) -> None:
        """The answer cannot be ended as it was begun: the connection is reset, which no client can take for its end."""
        self._over(request)
        self._out = None
        self._drop(Aborted("the answer could not be completed"))

    # -- the answer

    def _persists(self, request: Request) -> bool:
        """Whether the connection may go on after this request (RFC 9112, 9.3)."""
        if not request._head.persists or self._is_draining:
            return False
        body = request._body
        if body is None or body.is_complete:
            return True
        # What is left of it must be read before the next request can be; much of it is not worth that.
        return body.error is None and 0 <= body.rest <= SKIP_MAX and not body.wants_continue

    def _answer_simply(self, request: Request, start: bytes, result: Any) -> None:
        """The usual answers, in one piece."""
        try:
            body = result if type(result) is bytes else result.encode() if type(result) is str else encode(result)[0]
        except (TypeError, ValueError) as exc:
            self._handler_failed(request, exc)
            return
        head = request._head
        if request._body is None and head.persists and head.minor and not self._is_draining:
            data = answer(start, date_line(), body, True, True, head.method == "HEAD")
            persists = True
        else:
            persists = self._persists(request)
            data = answer(start, date_line(), body, persists, head.minor > 0, head.method == "HEAD")
        if self._out is None:
            self._raw_write(data)
        else:
            self._send_out(data)
        if self._logs:
            self._log(request, 200, len(body))
        request._state = Answer.DONE
        if persists and request._body is None:
            self._exchange = None
        else:
            self._over(request)
            self._after(request, persists)

    def _respond_safely(self, request: Request, result: Any) -> None:
        try:
            self._respond(request, result)
        except Exception as exc:
            self._handler_failed(request, exc)

    def _respond(self, request: Request, result: Any) -> None:
        """Answer with whatever a handler may return. What cannot be sent raises, and nothing was."""
        response = as_response(result)
        fields = response.headers.items()
        streams = is_stream(response.body)
        if streams:
            body, content_type = b"", "application/octet-stream"
        else:
            body, content_type = encode(response.body)
        if (body or streams) and "Content-Type" not in response.headers:
            fields.append(("Content-Type", response.content_type or content_type))
        writer = Writer(request._head.method, request._head.minor, self._persists(request))
        if streams:
            self._begin(request, writer, response.status, None, fields)
            self._handle(request, self._send_stream(request, response), self._context.copy())
            return
        trailers = response.trailers() if response.trailers is not None else ()
        length = -1 if trailers else len(body)
        data = (
            writer.head(response.status, None, fields, date_line(), length) + writer.body(body) + writer.end(trailers)
        )
        request._writer = writer
        self._send_out(data)
        self._answered(request)

    def _begin_steps(
        self, request: Request, status: int, fields: Iterable[tuple[Any, Any]], words: str | bytes | None
    ) -> None:
        writer = Writer(request._head.method, request._head.minor, self._persists(request))
        self._begin(request, writer, status, words, fields)

    def _begin(
        self,
        request: Request,
        writer: Writer,
        status: int,
        words: str | bytes | None,
        fields: Iterable[tuple[Any, Any]],
    ) -> None:
        """The head of an answer that comes in pieces; it is held back a moment for the first of them."""
        data = writer.head(status, words, fields, date_line())
        request._writer = writer
        request._state = Answer.BEGUN
        if self._out is None:
            self._out = []
            self._loop.call_soon(self._uncork)
        self._send_out(data)

    def _inform(self, request: Request, status: int, fields: Iterable[tuple[Any, Any]]) -> None:
        if not 100 <= status <= 199 or status == 101:
            raise ValueError(f"an interim answer has a status from 100 to 199, but not 101; not {status}")
        data = status_line(status) + field_lines(fields) + b"\r\n"
        if request._head.minor:
            self._send_out(data)
            self._uncork()

    async def _send_stream(self, request: Request, response: Any) -> None:
        body = response.body
        writer = request._writer
        try:
            if writer is not None and writer.is_silent:
                pass  # the answer to HEAD, or one that has no body
            elif isinstance(body, AsyncIterable):
                async for piece in body:
                    request.write(piece)
                    await request.drain()
            else:
                for piece in body:
                    request.write(piece)
                    await request.drain()
            trailers = response.trailers() if response.trailers is not None else ()
        finally:
            close = getattr(body, "aclose", None) or getattr(body, "close", None)
            if close is not None:
                closed = close()
                if inspect.isawaitable(closed):
                    await closed
        request.finish(trailers=trailers)

    # -- sending

    def _send_out(self, data: bytes) -> None:
        """Send, or keep to be sent with what follows in this turn."""
        out = self._out
        if out is None:
            self._raw_write(data)
            return
        out.append(data)
        self._out_size += len(data)
        if self._out_size > CORK_MAX:
            self._flush_out(out)
            self._out = []

    def _uncork(self) -> None:
        out = self._out
        if out is not None:
            self._flush_out(out)

    def _flush_out(self, out: list[bytes]) -> None:
        self._out = None
        self._out_size = 0
        if out and self._phase is _OPEN:
            self._raw_write(out[0] if len(out) == 1 else b"".join(out))

    # -- after it

    def _answered(self, request: Request) -> None:
        """The answer is complete."""
        writer = request._writer
        persists = writer is not None and writer.persists
        request._state = Answer.DONE
        if not self._is_serving:
            self._uncork()
        if self._logs and writer is not None:
            self._log(request, writer.status, writer.sent)
        if self._task is not None and self._exchange is request:
            task, self._task = self._task, None
            self._leave(task)
        self._over(request)
        self._after(request, persists)

    def _after(self, request: Request, persists: bool) -> None:
        """What follows an answer: what is left of the body, the next request, or the end."""
        if self._phase is not _OPEN:
            return
        if not persists:
            self._uncork()
            self._shut(ClosedLocally("the last answer was given"))
            return
        body = request._body
        if body is not None and not body.is_complete:
            self._skipped = body._decoder
            self._head_at = self._clock.now()
            self._deadlines.watch()
        if not self._is_serving:
            self._next_soon()

    def _log(self, request: Request | None, status: int, size: int, is_complete: bool = True) -> None:
        """For the logs: a request has ended, each once; `request` is None if there was none that could be read."""
        if request is not None:
            if request._is_logged:
                return
            request._is_logged = True
            if self._slow is not None:
                self._slow.ended(request)
            if request.method == "HEAD":
                size = 0
        if self.access_log is not None:
            self.access_log(self, request, status, size, is_complete and self._phase <= Phase.FLUSHING)

    def _log_cut(self, request: Request) -> None:
        """The same of a request of which the answer was cut off, or will never be given."""
        writer = request._writer
        if writer is not None:
            self._log(request, writer.status, writer.sent, False)
        else:
            self._log(request, GONE, 0, False)
