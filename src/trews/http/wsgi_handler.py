"""http.wsgi: a WSGI application as a handler of `http.Server`. What runs in threads is in `wsgi_threads`.

Inline, the application runs in the loop, which waits for it: right for what never blocks. Its input is all there before
it is called: in memory, a large one in a temporary file.

Source: PEP 3333.
"""

from __future__ import annotations

import concurrent.futures
import io
import os
import tempfile
from typing import TYPE_CHECKING, Any

from trews.http.environ import fill
from trews.http.wsgi_answer import (
    begin,
    checked,
    clipped,
    close,
    finish,
    finish_whole,
    opening,
    request_of,
    send_file,
    whole,
)
from trews.http.wsgi_call import Call, Direct
from trews.http.wsgi_streams import ErrorLog, FileWrapper, NoInput
from trews.http.wsgi_threads import ThreadedCall
from trews.names import takes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trews.http.connection import HTTPConnection
    from trews.http.request import Request

MEMORY = 512 * 1024  # bytes of an application's input that are kept in memory; more are in a temporary file
THREADS = min(32, (os.cpu_count() or 1) + 4)


def wsgi(app: Any, *, threads: int | None = None, stream_input: bool = False) -> WSGI:
    """A WSGI application as a handler: `http.serve(http.wsgi(app), 8080)`.

    Args:
        app: any WSGI application, called with an environ and `start_response`.
        threads: how many requests it works on at once, each in a thread; further ones wait for their turn, in order.
            Four more than the machine has processors by default, 32 at most. 0: it is called in the loop, which does
            nothing else until it returns; the fastest, for applications that never block.
        stream_input: it is called when the head is there, and reads the body as it comes, in its thread; so as many
            slow clients as there are threads keep all others waiting. Otherwise the body is read first, into a
            temporary file if it is more than 512 KiB, and a client that sends slowly holds no thread.

    Raises:
        TypeError, ValueError: `app` is no WSGI application, `threads` no number of threads, or 0 with `stream_input`.
    """
    if isinstance(app, type) or not callable(app) or not takes(app, 2):
        raise TypeError(f"a WSGI application is called with an environ and start_response (PEP 3333), not {app!r}")
    if threads is None:
        threads = THREADS
    if isinstance(threads, bool) or not isinstance(threads, int):
        raise TypeError(f"threads is a whole number, not {threads!r}")
    if threads < 0:
        raise ValueError(f"threads is 0, which is none, or more, not {threads!r}")
    if not isinstance(stream_input, bool):
        raise TypeError(f"stream_input is True or False, not {stream_input!r}")
    if stream_input and not threads:
        raise ValueError("stream_input needs threads: in the loop nobody can wait for the body")
    return WSGI(app, threads, stream_input)


class WSGI:
    """What `wsgi` returns.

    Attributes:
        app: the application.
        threads: how many; 0 if it runs in the loop.
        stream_input: whether it reads bodies as they come.
    """

    starts_at_head = True

    def __init__(self, app: Callable[..., Iterable[bytes]], threads: int, stream_input: bool) -> None:
        self.app = app
        self.threads = threads
        self.stream_input = stream_input
        self._shared = {
            "REQUEST_METHOD": "GET",  # until the request says something else
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_SOFTWARE": "trews",
            "wsgi.version": (1, 0),
            "wsgi.input": NoInput(),
            "wsgi.errors": ErrorLog(),
            "wsgi.multithread": threads > 1,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
        }
        # Its threads begin when there is work, and end with it.
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "trews-wsgi") if threads else None

    def __repr__(self) -> str:
        return f"<WSGI {self.app!r} threads={self.threads}>"

    def _direct(self, connection: HTTPConnection) -> Callable[..., Any] | None:
        """What answers the usual requests of a connection, without a Request (for `Pipeline`)."""
        if self._pool is not None or connection.trusted_proxies is not None:  # which speaks for another in each
            return None
        return Direct(self, connection).answer

    def __call__(self, request: Request) -> Any:
        """Answer a request."""
        body = request._body
        if self._pool is not None and (body is None or body.is_complete or self.stream_input):
            return ThreadedCall(self, request).run(self._pool)
        if self._pool is not None:
            return self._call_in_thread_when_read(request, self._pool)
        if body is None or (body.is_complete and not body.size):
            return self._call_inline(request, None)
        if body.is_complete:
            return self._call_inline(request, io.BytesIO(body.take()))
        return self._call_when_read(request)

    # -- what it is called with

    def base(self, connection: HTTPConnection) -> dict[str, Any]:
        """What is in the environ of all requests of a connection."""
        environ = self._shared.copy()
        local, remote = connection.local_address, connection.remote_address
        scheme = "http" if connection.tls is None else "https"
        is_inet = isinstance(local, tuple)
        environ["wsgi.url_scheme"] = scheme
        # PEP 3333 has both never empty; a Unix socket has neither.
        environ["SERVER_NAME"] = str(local[0]) if is_inet else "localhost"
        environ["SERVER_PORT"] = str(local[1]) if is_inet else "443" if scheme == "https" else "80"
        environ["REMOTE_ADDR"] = ""
        if isinstance(remote, tuple):
            environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = str(remote[0]), str(remote[1])
        return environ

    def environ(self, request: Request, stream: Any) -> dict[str, Any]:
        """The environ of a request.

        Args:
            stream: its input; None: it has none.
        """
        environ = self.base(request.connection)
        fill(environ, request._head)
        if request.connection.trusted_proxies is not None:
            environ.update(request._origin().environ())
        if stream is not None:
            environ["wsgi.input"] = stream
            if request._head.is_chunked:
                environ["wsgi.input_terminated"] = True  # by its end, as there is no CONTENT_LENGTH
        return environ

    async def _call_in_thread_when_read(self, request: Request, pool: concurrent.futures.Executor) -> None:
        with tempfile.SpooledTemporaryFile(MEMORY) as stream:
            await _read_into(stream, request)
            await ThreadedCall(self, request, stream).run(pool)

    # -- inline

    async def _call_when_read(self, request: Request) -> None:
        with tempfile.SpooledTemporaryFile(MEMORY) as stream:
            await _read_into(stream, request)
            rest = self._call_inline(request, stream)
            if rest is not None:
                await rest

    def _call_inline(self, request: Request, stream: Any) -> Any:
        """Call the application and answer. Returns what is to be awaited, if that is not all."""
        call = Call(self.environ(request, stream), self.sink)
        call.connection = request.connection
        call.head = request._head
        call.request = request
        return self.outcome(call, self.app(call.environ, call.start_response))[1]

    @staticmethod
    def sink(call: Call, data: bytes) -> None:
        """`write()` inline: what the peer does not take at once waits in memory, as nothing can wait here."""
        begin(call).write(data)
        call.connection._uncork()

    def outcome(self, call: Call, result: Any) -> Any:
        """Answer with what the application has returned.

        Returns:
            bytes, the answer, if all of it is there and there was no Request; else the Request, and what is to be
            awaited, if anything.
        """
        is_streamed = False
        try:
            part = result.part() if isinstance(result, FileWrapper) and call.status and not call.is_begun else None
            if part is not None:
                is_streamed = True
                return request_of(call), self._send_file(call, result, *part)
            first, blocks = opening(call, result)
            if blocks is not None:
                is_streamed = True
                return request_of(call), self._stream(call, result, first, blocks)
            if call.request is None:
                call.connection = None
                return whole(call, first)
            finish_whole(call, first)
            return call.request, None
        finally:
            if not is_streamed:
                close(result)

    async def _stream(self, call: Call, result: Any, first: bytes, blocks: Iterator[bytes]) -> None:
        connection = call.connection
        high, low = connection.write_high, connection.write_low
        # Nothing goes on while the application makes the next block; so the one before must be out (PEP 3333,
        # Buffering and Streaming): drain() waits for the last byte.
        connection.write_high = connection.write_low = 0
        try:
            request = begin(call)
            block: bytes | None = first
            is_wanted = request._writer is not None and not request._writer.is_silent
            while is_wanted and block is not None:
                if checked(block):
                    request.write(clipped(call, block))
                    await request.drain()
                block = next(blocks, None) if call.left else None
            finish(call)
        finally:
            connection.write_high, connection.write_low = high, low
            close(result)

    async def _send_file(self, call: Call, wrapper: FileWrapper, offset: int, size: int) -> None:
        try:
            await send_file(call, wrapper, offset, size)
        finally:
            close(wrapper)


async def _read_into(stream: Any, request: Request) -> None:
    """Read a body whole, before an application is called."""
    async for piece in request:
        stream.write(piece)
    stream.seek(0)
