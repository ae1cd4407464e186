"""ThreadedCall: one call of a WSGI application in a thread, which may wait there: for the body, and for a slow peer.

The thread asks the loop for whatever touches the connection, one thing at a time, and waits for what comes of it. What
it waits for ends with the connection, whose deadlines see to that; so no thread waits longer than they say.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import io
from typing import TYPE_CHECKING, Any

from trews.errors import ConnectionClosed
from trews.http.errors import BadMessage
from trews.http.request import Answer
from trews.http.wsgi_answer import begin, checked, clipped, close, finish, finish_whole, opening, send_file
from trews.http.wsgi_call import Call
from trews.http.wsgi_streams import BLOCK, BodyInput, FileWrapper, InputError
from trews.threads import call_from_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from trews.http.request import Request
    from trews.http.wsgi_handler import WSGI

LOOK = 1.0  # seconds between two looks of a waiting thread, whether there is still a loop
_DEPTH = 16  # causes of an error that are looked at


class Gone(ConnectionAbortedError):
    """The client of a request is gone: there is nobody to write to."""


class ThreadedCall:
    """One call of the application, in a thread.

    Args:
        gateway: whose application it is.
        request: what it is to answer.
        stream: its body, if that is all there; otherwise it is read as it comes.
    """

    def __init__(self, gateway: WSGI, request: Request, stream: Any = None) -> None:
        self._app = gateway.app
        self._request = request
        self._connection = request.connection
        self._loop = asyncio.get_running_loop()  # where `call_from_thread` finds it
        self._failure: BaseException | None = None
        self._is_over = False
        if stream is None and request._body is not None:
            stream = io.BufferedReader(BodyInput(self._take), BLOCK)
        self._call = Call(gateway.environ(request, stream), self._sink)
        self._call.connection = request.connection
        self._call.head = request._head
        self._call.request = request

    async def run(self, pool: concurrent.futures.Executor) -> None:
        """Call the application in a thread of the pool, as soon as one is free, until it has answered."""
        context = contextvars.copy_context()
        try:
            await self._loop.run_in_executor(pool, context.run, self._work)
        except Exception as exc:
            behind = _behind(exc)
            if behind is None:
                raise
            raise behind from exc
        finally:
            self._is_over = True
        if self._failure is not None:
            raise self._failure

    # -- in the thread

    def _work(self) -> None:
        if self._is_over or self._connection.is_closed:
            return  # nobody waits for it any more
        try:
            result = self._app(self._call.environ, self._call.start_response)
            try:
                self._reply(result)
            finally:
                close(result)
        except StopIteration as exc:
            raise RuntimeError("the application raised StopIteration") from exc  # which no future can hold

    def _reply(self, result: Any) -> None:
        call = self._call
        part = result.part() if isinstance(result, FileWrapper) and call.status and not call.is_begun else None
        if part is not None:
            self._ask(self._send_file, result, *part)
            return
        block, blocks = opening(call, result)
        if blocks is None:
            # Not waited for: what follows in the loop is after it.
            self._loop.call_soon_threadsafe(self._finish_whole, block)
            return
        is_wanted = self._ask(self._write, clipped(call, block))
        while is_wanted and call.left:
            next_block = next(blocks, None)
            if next_block is None:
                break
            if checked(next_block):
                self._ask(self._write, clipped(call, next_block))
        self._ask(self._finish)

    def _sink(self, call: Call, data: bytes) -> None:
        self._ask(self._write, data)

    def _take(self) -> bytes:
        try:
            data: bytes = self._ask(self._more)
        except (BadMessage, ConnectionClosed) as exc:
            raise InputError(str(exc)) from exc
        return data

    def _ask(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Call `fn` in the loop, and wait for what it returns, or for what that awaits.

        Raises:
            Gone: the connection has ended, or the loop.
            what `fn` raises.
        """
        if self._has_ended():
            raise Gone("the request is over")
        try:
            future = call_from_thread(fn, *args)
        except RuntimeError as exc:
            raise Gone("the loop has ended") from exc
        while True:
            try:
                return future.result(LOOK)
            except TimeoutError:
                if future.done():
                    return future.result()
                if self._has_ended():
                    raise Gone("the request is over") from None
            except (asyncio.CancelledError, concurrent.futures.CancelledError) as exc:
                raise Gone("the loop ends") from exc

    def _has_ended(self) -> bool:
        return self._is_over or self._loop.is_closed()

    # -- in the loop

    def _require_open(self) -> None:
        connection = self._connection
        if connection.is_closed:
            raise connection._closed(connection.reason)

    def _more(self) -> Any:
        """The next of the body, or what waits for it."""
        body = self._request._body
        if body is None or body.is_complete or self._request._state is Answer.DONE:
            return body.take() if body is not None else b""
        return body.take() if body.size else body.next()

    def _write(self, data: bytes) -> Any:
        """Returns whether a body is wanted at all, or what waits for the peer and returns that."""
        self._require_open()
        request = begin(self._call)
        if data:
            request.write(data)
        if self._connection._is_full:
            return self._drain()
        return request._writer is not None and not request._writer.is_silent

    async def _drain(self) -> bool:
        await self._request.drain()
        return True

    async def _send_file(self, wrapper: FileWrapper, offset: int, size: int) -> None:
        self._require_open()
        await send_file(self._call, wrapper, offset, size)

    def _finish(self) -> None:
        self._require_open()
        finish(self._call)

    def _finish_whole(self, body: bytes) -> None:
        try:
            self._require_open()
            finish_whole(self._call, body)
        except BaseException as exc:
            self._failure = exc


def _behind(exc: BaseException) -> BaseException | None:
    """What the connection or the peer did, if that is behind an error of the application."""
    looked: BaseException | None = exc
    for _ in range(_DEPTH):
        if looked is None:
            return None
        if isinstance(looked, (InputError, Gone)) and looked.__cause__ is not None:
            return looked.__cause__
        if isinstance(looked, (ConnectionClosed, BadMessage)):
            return looked
        looked = looked.__cause__ or looked.__context__
    return None
