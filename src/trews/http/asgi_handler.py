"""http.asgi: an ASGI application as a handler of `http.Server`.

The scope `http` is here, with the extensions pathsend, trailers and early hints; `lifespan` is in `asgi_lifespan`; what
most requests need, in `asgi_exchange`. Each request is a task of its own, in a context of its own.

Source: ASGI 3.0, HTTP & WebSocket message format 2.5.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import stat
from typing import TYPE_CHECKING, Any

from trews.errors import ConnectionClosed
from trews.http.asgi_exchange import BODY, DONE, STARTED, TRAILERS, WAITING, Exchange, http_scope
from trews.http.asgi_lifespan import Lifespan, StartupFailed
from trews.http.errors import BadAnswer, BadMessage
from trews.http.request import Answer, Request
from trews.names import takes
from trews.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from trews.http.server import Server

__all__ = ["ASGI", "Disconnected", "StartupFailed", "asgi"]

logger = logging.getLogger("trews.http")

_OPEN = Phase.OPEN
_CHUNK = 64 * 1024  # bytes of a file that is sent in chunks


class Disconnected(OSError):
    """Raised by ASGI's `send`: the client has gone. An application need not catch it."""


def asgi(app: Callable[..., Any], *, root_path: str = "", lifespan: bool | None = None) -> ASGI:
    """An ASGI 3 application as a handler: `http.serve(http.asgi(app), 8000)`.

    Args:
        app: a coroutine function of `(scope, receive, send)`, or an object that can be called like one.
        root_path: where the application is mounted, if whoever stands before this server takes that off the path:
            `"/api"`.
        lifespan: whether it is told when the server starts and stops; None: if it knows that protocol.

    Raises:
        TypeError, ValueError: it is none, or `root_path` is no path.
    """
    return ASGI(app, root_path, lifespan)


class ASGI:
    """What `asgi` returns: a function of a request."""

    starts_at_head = True

    def __init__(self, app: Callable[..., Any], root_path: str = "", lifespan: bool | None = None) -> None:
        self._app = check(app)
        root_path = root_path.rstrip("/")
        if root_path and not root_path.startswith("/"):
            raise ValueError(f"root_path is a path such as '/api', not {root_path!r}")
        self._root_path = root_path
        self._has_lifespan = lifespan
        self._state: dict[str, Any] = {}
        self._lifespan: Lifespan | None = None
        self._server: Server | None = None

    def __repr__(self) -> str:
        return f"<http.asgi({getattr(self._app, '__qualname__', None) or self._app!r})>"

    # -- start and stop, which http.Server calls

    async def on_start(self, server: Server) -> None:
        """The server starts: the application's lifespan begins.

        Raises:
            StartupFailed: the application has said that it cannot start.
        """
        if self._server is not None:
            raise RuntimeError(f"{self!r} serves {self._server!r} already; make one for each server")
        if self._has_lifespan is False:
            return
        self._server = server
        self._state = {}
        lifespan = self._lifespan = Lifespan(self._app, self._state, self._has_lifespan is True)
        try:
            await lifespan.start()
        except BaseException:
            self._server = self._lifespan = None
            raise

    async def on_stop(self, server: Server) -> None:
        """The server has stopped: the lifespan ends."""
        lifespan, self._lifespan = self._lifespan, None
        self._server = None
        if lifespan is not None:
            await lifespan.stop()

    # -- a request

    async def __call__(self, request: Request) -> None:
        connection = request.connection
        base = connection._scope
        if base is None:
            base = scope_base(request)
            if connection.trusted_proxies is None:
                connection._scope = base  # otherwise each request may have come from somewhere else
        scope = http_scope(base, request._head, self._root_path)
        if connection.trusted_proxies is not None:
            scope["headers"] = with_host(scope["headers"], request.host)
        scope["state"] = self._state.copy()
        exchange = Exchange(request, self)
        try:
            try:
                await self._app(scope, exchange.receive, exchange.send)
            except Exception as exc:
                if not exchange.is_told or exchange.state == DONE:
                    raise
                logger.info("%r: %r ended after its client had gone", connection, request, exc_info=exc)
            if exchange.state != DONE:
                self._unanswered(exchange)
        finally:
            # What the application has left running must not answer once more: the client would take it for the answer
            # to its next request.
            exchange.state = DONE
            if request._waiters is not None:
                self.wake(request)

    def _unanswered(self, exchange: Exchange) -> None:
        """The application has returned, and there is no answer, or half of one."""
        request = exchange.request
        connection = exchange.connection
        if connection._phase is not _OPEN:
            return
        if exchange.refusal is not None and request._state is Answer.NONE:
            raise exchange.refusal
        if exchange.is_told:
            connection._abandon(request)
        else:
            raise RuntimeError(_MISSING[exchange.state])

    # -- receive

    async def receive(self, exchange: Exchange) -> dict[str, Any]:
        """What ASGI's `receive` gives: the body piece by piece, and in the end that the client has gone."""
        request = exchange.request
        if not exchange.is_received and exchange.state != DONE:
            body = request._body
            if body is None:
                exchange.is_received = True
                return {"type": "http.request", "body": b"", "more_body": False}
            try:
                data = await body.next()
            except (BadMessage, ConnectionClosed) as exc:
                exchange.refusal = exc
                exchange.is_received = True
            else:
                exchange.is_received = body.is_complete and not body.size
                return {"type": "http.request", "body": data, "more_body": not exchange.is_received}
        while exchange.state != DONE and exchange.refusal is None and not request.is_disconnected:
            await self._until_over(request)
        if exchange.state != DONE:
            exchange.is_told = True
        return {"type": "http.disconnect"}

    async def _until_over(self, request: Any) -> None:
        """Wait until the answer is complete, or the client has gone."""
        waiter = asyncio.get_running_loop().create_future()
        request._waiters = [*(request._waiters or ()), waiter]
        try:
            await waiter
        finally:
            if request._waiters is not None and waiter in request._waiters:  # frameworks ask with no time to wait
                request._waiters = [other for other in request._waiters if other is not waiter] or None

    def wake(self, request: Any) -> None:
        """The answer is complete: let who waits for the end of the client go on."""
        waiters, request._waiters = request._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    # -- send

    async def send_more(self, exchange: Exchange, message: Any) -> None:
        """ASGI's `send`, for all but the usual answer."""
        kind = message.get("type")
        if exchange.state == DONE:
            if kind not in _KINDS:
                raise ValueError(f"an ASGI application cannot send {kind!r}")
            return  # ASGI: "any further messages on the channel will be ignored"
        if exchange.connection._phase is not _OPEN or exchange.refusal is not None:
            exchange.is_told = True
            raise Disconnected("the client has gone, and cannot be sent anything")
        if kind == "http.response.body":
            await self._send_body(exchange, message)
        elif kind == "http.response.start":
            self._start(exchange, message)
        elif kind == "http.response.pathsend":
            await self._send_path(exchange, message)
        elif kind == "http.response.trailers":
            self._send_trailers(exchange, message)
        elif kind == "http.response.early_hint":
            self._hint(exchange, message)
        else:
            raise ValueError(f"an ASGI application cannot send {kind!r}")

    def _start(self, exchange: Exchange, message: Any) -> None:
        if exchange.state != WAITING:
            raise RuntimeError("an ASGI application sends 'http.response.start' once, and it has")
        status = message.get("status")
        if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
            raise ValueError(f"'http.response.start' has a status from 200 to 599, not {status!r}")
        exchange.start = {**message, "status": int(status)}
        exchange.trailers = [] if message.get("trailers") else None
        exchange.state = STARTED

    async def _send_body(self, exchange: Exchange, message: Any) -> None:
        if exchange.state not in (STARTED, BODY):
            raise RuntimeError(f"an ASGI application sends 'http.response.body' {_BEFORE_BODY[exchange.state]}")
        body = message.get("body", b"")
        if type(body) is not bytes:
            if not isinstance(body, (bytes, bytearray, memoryview)):
                raise TypeError(f"the body in 'http.response.body' is bytes, not {type(body).__name__}")
            body = bytes(body)
        is_last = not message.get("more_body")
        begins = exchange.state == STARTED
        begin = self._begin(exchange, len(body) if is_last and exchange.trailers is None else -1)
        request = exchange.request
        connection = exchange.connection
        try:
            piece = begin + request._writer.body(body)
            if is_last and exchange.trailers is None:
                piece += request._writer.end()
        except BadAnswer:
            self._cut(exchange, begins)
            raise
        if begins:
            request._state = Answer.BEGUN
            exchange.state = BODY
        if piece:
            connection._send_out(piece)
        if not is_last:
            connection._uncork()
            await self._drain(exchange)
        elif exchange.trailers is None:
            self._complete(exchange)
        else:
            exchange.state = TRAILERS

    def _begin(self, exchange: Exchange, length: int) -> bytes:
        """The head, if it is not sent yet."""
        if exchange.state != STARTED:
            return b""
        connection = exchange.connection
        writer, head = exchange.make_head(connection._persists(exchange.request, length >= 0), length)
        request = exchange.request
        request._writer = writer
        if connection._slow is not None:
            connection._slow.answered(request)
        return head

    def _cut(self, exchange: Exchange, is_unsent: bool) -> None:
        """The body is not what Content-Length says. If the head is gone, the client must see that."""
        if is_unsent:
            exchange.request._writer = None
        else:
            exchange.connection._abandon(exchange.request)

    def _complete(self, exchange: Exchange) -> None:
        exchange.state = DONE
        exchange.connection._answered(exchange.request)
        self.wake(exchange.request)

    async def _drain(self, exchange: Exchange) -> None:
        try:
            await exchange.connection.drain()
        except ConnectionClosed as exc:
            exchange.is_told = True
            raise Disconnected(f"the client has gone: {exc}") from exc

    def _send_trailers(self, exchange: Exchange, message: Any) -> None:
        if exchange.state != TRAILERS:
            raise RuntimeError(
                "an ASGI application sends 'http.response.trailers' after the last of the body, and only if "
                "'http.response.start' said so"
            )
        exchange.trailers += message.get("headers", ())
        if message.get("more_trailers"):
            return
        request = exchange.request
        writer = request._writer
        try:
            last = writer.end(exchange.trailers if _takes_trailers(exchange) else ())
        except BadAnswer:
            self._cut(exchange, False)
            raise
        if last:
            exchange.connection._send_out(last)
        self._complete(exchange)

    async def _send_path(self, exchange: Exchange, message: Any) -> None:
        if exchange.state != STARTED:
            raise RuntimeError(
                "an ASGI application sends 'http.response.pathsend' once, after 'http.response.start', and no "
                "'http.response.body' beside it"
            )
        path = message["path"]
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"'http.response.pathsend' sends regular files, and {path!r} is none")
        if exchange.trailers is not None:
            await self._send_file_in_chunks(exchange, path)
            return
        size = status.st_size
        head = self._begin(exchange, size)
        request = exchange.request
        connection = exchange.connection
        writer = request._writer
        is_silent = writer.is_silent
        try:
            writer.pass_by(size)
            writer.end()
        except BadAnswer:
            self._cut(exchange, True)
            raise
        request._state = Answer.BEGUN
        exchange.state = BODY
        connection._send_out(head)
        connection._uncork()
        if not is_silent:
            try:
                await asyncio.shield(connection._send_body_file(request, path, 0, size))
            except ConnectionClosed as exc:
                exchange.is_told = True
                raise Disconnected(f"the client has gone: {exc}") from exc
            except (OSError, EOFError):
                connection._abandon(request)
                raise
        self._complete(exchange)

    async def _send_file_in_chunks(self, exchange: Exchange, path: str) -> None:
        """With trailers behind it, for which the body must be chunked."""
        file = await asyncio.to_thread(open, path, "rb")
        try:
            while data := await asyncio.to_thread(file.read, _CHUNK):
                await self._send_body(exchange, {"body": data, "more_body": True})
        finally:
            file.close()
        await self._send_body(exchange, {})

    def _hint(self, exchange: Exchange, message: Any) -> None:
        request = exchange.request
        if exchange.state > STARTED or not request._head.minor:
            return  # RFC 8297 has them before the answer; ASGI: "The server may decide to ignore this message"
        exchange.connection._inform(request, 103, [(b"Link", link) for link in message.get("links", ())])


_KINDS = frozenset(
    {
        "http.response.start",
        "http.response.body",
        "http.response.pathsend",
        "http.response.trailers",
        "http.response.early_hint",
    }
)
_MISSING = {
    WAITING: "the ASGI application returned without an answer: it sent no 'http.response.start'",
    STARTED: "the ASGI application returned without an answer: it sent 'http.response.start', and no body after it",
    BODY: "the ASGI application returned in the middle of its answer: 'more_body' was True to the last",
    TRAILERS: "the ASGI application returned without the trailers that its 'http.response.start' announced",
}
_BEFORE_BODY = {
    WAITING: "after 'http.response.start'",
    TRAILERS: "until 'more_body' is False, and it was",
    DONE: "while its request is in progress, and it is over",
}


def scope_base(request: Request) -> dict[str, Any]:
    """What the scopes of a connection's requests have in common."""
    client = request.client
    local = request.connection.local_address
    return {
        "type": "http",
        "http_version": "1.1",
        "scheme": request.scheme,
        "root_path": "",
        "client": client if isinstance(client, tuple) else None,
        "server": local if isinstance(local, tuple) else (local, None) if local else None,
    }


def with_host(fields: list[tuple[bytes, bytes]], host: str) -> list[tuple[bytes, bytes]]:
    """Fields with the host that a known proxy says: applications make URLs of it."""
    return [field for field in fields if field[0] != b"host"] + ([(b"host", host.encode("ascii"))] if host else [])


def _takes_trailers(exchange: Exchange) -> bool:
    """Whether the client wants them (RFC 9110, 10.1.4), and the body has a place for them."""
    if not exchange.request._writer.is_chunked:
        return False
    options = b",".join(value for name, value in exchange.head.pairs() if name.lower() == b"te").lower().split(b",")
    return any(option.split(b";")[0].strip() == b"trailers" for option in options)


def check(app: Any) -> Any:
    """An ASGI application as it is, if it can be one (TypeError)."""
    if isinstance(app, type) or not callable(app):
        hint = "; of a class, give an object" if isinstance(app, type) else ""
        raise TypeError(f"an ASGI application is a coroutine function of (scope, receive, send), not {app!r}{hint}")
    if not takes(app, 3):
        name = getattr(app, "__qualname__", None) or type(app).__qualname__
        hint = ""
        if takes(app, 2):
            hint = "; a WSGI application is http.wsgi(app)"
        elif takes(app, 1) and not inspect.iscoroutinefunction(app):
            hint = "; one of ASGI 2 is for asgiref.compatibility.guarantee_single_callable"
        raise TypeError(f"the ASGI application {name} is called with three arguments, scope, receive and send{hint}")
    return app
