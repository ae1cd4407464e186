"""Answering: the half of an HTTP connection that asks the handler, and sends what comes of it.

    _call ──> the handler ──result──> _respond ────────────────────────> _answered ──> the next request, or the end
                 └──awaitable──> a task ──result──> _respond ──stream──> a task ──^
                 └──start, write, finish──────────────────────────────────────────^

What is written in answer to one read is sent by one `send` (`_out`).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import logging
from abc import abstractmethod
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, ClassVar

from trews.calls import wake
from trews.connection import Connection
from trews.errors import Aborted, ClosedLocally
from trews.http.access_log import GONE
from trews.http.errors import BadMessage, Error
from trews.http.http1 import Writer, answer, field_lines, has_no_body, status_line
from trews.http.pipeline import EAGER, LARGE, date_line
from trews.http.request import Answer, Request
from trews.http.response import JSON, TEXT, Response, as_response, encode, from_error, is_stream, pieces_of
from trews.phase import Phase
from trews.timers import as_coroutine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from trews.http.body import Body
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

_background: set[asyncio.Task[Any]] = set()  # of connections without a server: asyncio itself may forget a task


class Answering(Connection):
    """Asks the handler, one request at a time, and answers in order."""

    app: ClassVar[Callable[[Request], Any]]
    access_log: Any = None
    slow_request: float | None = None
    debug: bool = False

    _exchange: Request | None = None  # the request that is not answered
    _incoming: Body | None = None  # the body that is not complete: its, or that of the one before
    _rest: bytes = b""  # what has come; from `_at` on it was not used
    _at = 0
    _out: list[bytes] | None = None  # what is to be sent together
    _out_size = 0
    _unsent: Any = None  # the body of an answer, while its task was not begun
    _failing: Request | None = None  # whose handler's error is being told
    _gone_watchers: Sequence[asyncio.Future[None]] = ()  # who waits for the client to go
    _is_serving = False
    _is_draining = False  # the server is stopping
    _logs = False  # whether the ends of requests are noted
    _slow: SlowRequest | None = None

    # -- what comes of it

    @abstractmethod
    def _go_on(self) -> None:
        """Go on with what has come meanwhile."""

    @abstractmethod
    def _go_on_soon(self) -> None:
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
        if self._out is None and self._at < len(self._rest):
            self._out = []  # more may follow, to be sent together
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
            self._discard(result)
            self._over(request)
        elif inspect.isawaitable(result):
            self._handle(request, result, context)
        elif result is not None or request._state is Answer.NONE:
            self._use(request, result, context)
        elif request._state is Answer.BEGUN and not request._is_deferred:
            self._handler_failed(request, _unfinished())

    def _use(self, request: Request, result: Any, context: contextvars.Context) -> None:
        """Answer with this, if nothing was answered yet."""
        if self._phase is not _OPEN:
            self._discard(result)
            self._over(request)
            return
        try:
            if request._state is not Answer.NONE:
                self._discard(result)
                raise RuntimeError(f"handler returned {result!r}, and answers by itself, too")
            start = STARTS.get(type(result))
            if start is not None:
                self._answer_simply(request, start, encode(result)[0])
            else:
                self._respond(request, result, context)
        except Exception as exc:
            self._handler_failed(request, exc)

    def _handle(self, request: Request, awaitable: Any, context: contextvars.Context) -> None:
        """Run a coroutine of the handler, or of its answer, as a task: at once, as far as it goes."""
        before, self._task = self._task, None
        if before is not None:  # the handler, which has begun what is sent now
            self._leave(before, request)
        self._is_starting = True
        try:
            if EAGER:
                task: asyncio.Task[Any] = asyncio.Task(  # type: ignore[call-arg, unused-ignore]
                    as_coroutine(awaitable), loop=self._loop, context=context, eager_start=True
                )
            else:
                task = asyncio.Task(as_coroutine(awaitable), loop=self._loop, context=context)
        except BaseException:  # KeyboardInterrupt or SystemExit in its first step
            self._drop(Aborted("the program ends"))
            raise
        finally:
            self._is_starting = False
        self._take_task(request, task, context)

    def _take_task(self, request: Request, task: asyncio.Task[Any], context: contextvars.Context) -> None:
        """Answer with what comes of a task that has begun."""
        if task.done():
            self._outcome_of(request, task, context)
        elif request._state is Answer.DONE or self._task is not None:
            self._leave(task, request)  # it has answered, or what sends its answer is a task by now
        else:
            self._task = task
            task.add_done_callback(functools.partial(self._handled, context))
            self._running()

    def _handled(self, context: contextvars.Context, task: asyncio.Task[Any]) -> None:
        """What `_handle` began has ended."""
        if self._task is not task:
            return  # left to itself when the answer was complete, or behind
        self._task = None
        request = self._exchange
        if request is not None:
            self._outcome_of(request, task, context)
        self._returned()
        self._go_on()

    def _outcome_of(self, request: Request, task: asyncio.Task[Any], context: contextvars.Context) -> None:
        unsent, self._unsent = self._unsent, None
        if unsent is not None:
            self._discard(unsent)
        if task.cancelled():
            self._handler_failed(request, asyncio.CancelledError("the handler was cancelled"))
        elif (exc := task.exception()) is not None:
            self._handler_failed(request, exc)
        elif (result := task.result()) is not None or request._state is Answer.NONE or self._phase is not _OPEN:
            self._use(request, result, context)
        elif request._state is Answer.BEGUN and not request._is_deferred:
            self._handler_failed(request, _unfinished())

    # -- what goes on beside the requests that follow

    def _leave(self, task: asyncio.Task[Any], request: Request) -> None:
        """The answer does not need this any more: it goes on, whatever becomes of the connection."""
        task.add_done_callback(functools.partial(self._left, request))
        self._adopt(task)

    def _left(self, request: Request, task: asyncio.Task[Any]) -> None:
        """It has ended, too."""
        if not task.cancelled() and (exc := task.exception()) is not None and not self._is_own_end(exc):
            self._tell_of(request, exc)

    def _adopt(self, task: asyncio.Task[Any]) -> None:
        if self._server is not None:
            self._server._adopt(task)
        else:
            _background.add(task)
            task.add_done_callback(_background.discard)

    def _begin_beside(self, awaitable: Awaitable[Any]) -> None:
        """Run something that has nothing to do with the connection's end."""
        self._adopt(asyncio.Task(as_coroutine(awaitable), loop=self._loop, context=self._context))

    # -- what goes wrong

    def _handler_failed(self, request: Request, exc: BaseException) -> None:
        """An answer that tells nothing of the error; if one has begun, the client must see that it is cut off."""
        if isinstance(exc, (KeyboardInterrupt, SystemExit)):  # of a task: the loop has raised it already
            self._drop(Aborted("the program ends"))
            return
        body_error = request._body.error if request._body is not None else None
        is_end = self._is_own_end(exc) or (isinstance(exc, BadMessage) and exc is body_error)  # nobody's error here
        if self._phase is not _OPEN:
            if not is_end and not isinstance(exc, asyncio.CancelledError):
                self._tell_of(request, exc)
            self._over(request)
            return
        if request._state < Answer.BEGUN:
            request._state = Answer.NONE
            if isinstance(exc, Error):
                self._use(request, from_error(exc), self._context.copy())
                return
            if is_end and body_error is not None:  # it is too large or none; or the client has ended in the middle
                self._refuse(exc if isinstance(exc, BadMessage) else BadMessage(400, str(exc)))
                return
        if not is_end:
            self._tell_of(request, exc)
        if self._phase is not _OPEN:  # on_error may have ended it
            self._over(request)
        elif request._state < Answer.BEGUN:
            self._respond(request, self._debug_page(request, exc) if self.debug else 500)
        elif request._state is Answer.BEGUN:
            self._abandon(request)

    @staticmethod
    def _debug_page(request: Request, exc: BaseException) -> Any:
        from trews.http.debug_page import debug_page  # here, because nobody needs it in production

        return debug_page(request, exc)

    def _tell_of(self, request: Request, exc: BaseException) -> None:
        """Tell `on_error`, which may answer."""
        self._failing = request
        try:
            told = self._tell_error(exc)
        finally:
            self._failing = None
        if told is not None:
            self._begin_beside(told)

    def _abandon(self, request: Request) -> None:
        """The answer cannot be ended as it was begun: the connection is reset, which no client can take for its end."""
        self._uncork()  # the answers before it are whole
        self._drop(Aborted("the answer could not be completed"))

    def _discard(self, result: Any) -> None:
        """Close what will not be awaited or sent."""
        if isinstance(result, Response):
            result = result.body
        elif isinstance(result, tuple) and len(result) > 1:
            result = result[1]
        if inspect.iscoroutine(result):
            result.close()
        elif is_stream(result):
            self._begin_beside(self._close_quietly(result))

    async def _close_quietly(self, body: Any) -> None:
        try:
            await close(body)
        except Exception:
            logger.exception("%r: %r failed at its end", self, body)

    # -- the client

    @property
    def _is_client_gone(self) -> bool:
        """Whether it has ended, or the connection has."""
        return self._is_eof or self._phase > Phase.FLUSHING

    async def _wait_gone(self) -> None:
        if not self._is_client_gone:
            waiter = self._wait_in("_gone_watchers")
            try:
                await waiter
            finally:
                self._gone_watchers = [other for other in self._gone_watchers if other is not waiter]

    def _client_left(self) -> None:
        self._wake("_gone_watchers")
        request = self._exchange
        if request is not None and request._waiters is not None:
            waiters, request._waiters = request._waiters, None
            wake(waiters)

    # -- the answer

    def _persists(self, request: Request, is_whole: bool = True) -> bool:
        """Whether the connection may go on after this request (RFC 9112, 9.3)."""
        if not request._head.persists or (self._is_draining and self._at >= len(self._rest)):
            return False
        body = request._body
        if body is None or body.is_complete:
            return True
        # What is left of it must be read before the next request can be; much of it is not worth that. The body may
        # be read yet while the answer is sent in pieces; if it is not, the connection ends all the same.
        return body.error is None and not body.wants_continue and (body.rest <= SKIP_MAX or not is_whole)

    def _answer_simply(self, request: Request, start: bytes, body: bytes) -> None:
        """The usual answers, in one piece."""
        head = request._head
        if request._body is None and head.persists and head.minor and not self._is_draining:
            persists = True
        else:
            persists = self._persists(request)
        is_head = head.method == "HEAD"
        if len(body) <= LARGE or is_head:
            self._send_out(answer(start, date_line(), body, persists, head.minor > 0, is_head))
        else:
            self._send_large(answer(start, date_line(), body, persists, head.minor > 0, True), body)
        self._done(request, persists, 200, len(body))

    def _respond(self, request: Request, result: Any, context: contextvars.Context | None = None) -> None:
        """Answer with whatever a handler may return. What cannot be sent raises, and nothing was."""
        try:
            response = as_response(result)
            fields = response.headers.items()
            streams = is_stream(response.body)
            if streams:
                body, content_type = b"", "application/octet-stream"
            else:
                body, content_type = encode(response.body)
            has_content = body or streams or (isinstance(response.body, str) and not has_no_body(response.status))
            if has_content and "Content-Type" not in response.headers:
                fields.append(("Content-Type", response.content_type or content_type))
            writer = Writer(request._head.method, request._head.minor, self._persists(request, not streams))
            if streams:
                self._begin(request, writer, response.status, None, fields)
            else:
                trailers = response.trailers() if response.trailers is not None else ()
                length = -1 if trailers else len(body)
                head = writer.head(response.status, None, fields, date_line(), length)
                body, end = writer.body(body), writer.end(trailers)
        except BaseException:
            self._discard(result)
            raise
        if streams:
            request._is_deferred = True
            self._unsent = response.body
            self._handle(request, self._send_stream(request, response), context or contextvars.copy_context())
        else:
            request._writer = writer
            if len(body) <= LARGE:
                self._send_out(head + body + end)
            else:
                self._send_large(head, body)
                self._send_out(end)
            self._answered(request)

    def _send_large(self, head: bytes, body: bytes) -> None:
        """Send a body as it is: one that many ask for, and take slowly, is in memory once, and not once for each."""
        self._send_out(head)
        self._uncork()
        self._raw_write(body)

    def _begin_steps(
        self, request: Request, status: int, fields: Iterable[tuple[Any, Any]], words: str | bytes | None
    ) -> None:
        writer = Writer(request._head.method, request._head.minor, self._persists(request, is_whole=False))
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
        if self._slow is not None:
            self._slow.answered(request)
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
        self._unsent = None
        body = response.body
        writer = request._writer
        pieces = body  # until they are begun
        try:
            if writer is not None and writer.is_silent:
                pass  # the answer to HEAD, or one that has no body
            elif isinstance(body, AsyncIterable):
                pieces = aiter(body)
                async for piece in pieces:
                    request.write(piece)
                    await request.drain()
            else:
                pieces = pieces_of(body)
                for piece in pieces:
                    request.write(piece)
                    await request.drain()
            trailers = response.trailers() if response.trailers is not None else ()
        finally:
            await close(pieces)
            if pieces is not body:
                await close(body)
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

    def _send_body_file(self, request: Request, file: Any, offset: int, count: int) -> asyncio.Future[None]:
        """Send a file as the body of an answer whose head is made; what awaits it gets what `write_file` raises."""
        self._uncork()
        request._file_from = self.bytes_out + self._transport.get_write_buffer_size()
        return self._send_file(file, offset, count)

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
        if writer is not None:
            self._done(request, writer.persists, writer.status, writer.sent)

    def _done(self, request: Request, persists: bool, status: int, size: int) -> None:
        request._state = Answer.DONE
        task = self._task
        if task is not None and self._exchange is request:
            self._task = None
            self._leave(task, request)
        self._over(request)
        if self._logs:
            self._log(request, status, size)
        if self._phase is _OPEN:
            body = request._body
            if body is not None and not body.is_complete:
                persists = persists and body.error is None and not body.wants_continue and body.rest <= SKIP_MAX
                body.skip()
            if not persists:
                self._uncork()
                self._shut(ClosedLocally("the last answer was given"))
            elif not self._is_serving:
                self._go_on_soon()
        elif task is not None:
            self._pump_soon()  # it was all that the end of the connection waited for

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
            self.access_log(self, request, status, size, is_complete and not self._is_client_gone)

    def _log_cut(self, request: Request) -> None:
        """The same of a request of which the answer was cut off, or will never be given."""
        writer = request._writer
        if writer is not None:
            size = writer.sent if request._file_from < 0 else max(0, self.bytes_out - request._file_from)
            self._log(request, writer.status, size, False)
        else:
            self._log(request, GONE, 0, False)


def _unfinished() -> RuntimeError:
    return RuntimeError("the handler returned after start(), without finish() or defer()")


async def close(body: Any) -> None:
    """Close what gave the pieces of a body, if it can be closed."""
    end = getattr(body, "aclose", None) or getattr(body, "close", None)
    if end is not None:
        ended = end()
        if inspect.isawaitable(ended):
            await ended
