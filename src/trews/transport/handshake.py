"""The TLS handshake of a connection that has no protocol yet, on a connected socket, on every kind of loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from trews.errors import TLSError, sentence
from trews.transport.adapter import TransportSocket
from trews.transport.tls import HANDSHAKE_TIMEOUT, TLSSocket

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable


class Handshake:
    """One handshake in progress; the socket is its own until it is done.

    Args:
        sock: connected and non-blocking, or what behaves like that.
        done: called once, with the TLS socket to go on with, or with why there is none.
        gone: called once if there is none, when the socket is closed.
        timeout: seconds until it fails.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: Any,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str | None = None,
        done: Callable[[TLSSocket | TLSError], None],
        gone: Callable[[], None],
        timeout: float = HANDSHAKE_TIMEOUT,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._context = context
        self._server_side, self._server_name = server_side, server_name
        self._done, self._gone = done, gone
        self._due = loop.time() + timeout
        self._tls: TLSSocket | None = None
        self._task: asyncio.Task[Any] | None = None
        self._is_over = False

    def start(self) -> None:
        """Begin; it may be over when this returns."""
        loop, sock = self._loop, self._sock
        poller = sock if hasattr(sock, "watch") else getattr(loop, "clock", None)
        if poller is not None:
            self._shake(sock, poller)
            return
        adapter = TransportSocket(loop, lambda adapter: self._shake(adapter, adapter))
        self._task = loop.create_task(loop.connect_accepted_socket(lambda: adapter, sock))
        self._task.add_done_callback(self._attached)

    def give_up(self, why: str) -> None:
        """Fail, if it is still under way."""
        if self._tls is not None:
            self._tls.give_up(why)
        elif not self._is_over:
            self._end(TLSError(why))

    def _attached(self, task: asyncio.Task[Any]) -> None:
        exc: BaseException | None = asyncio.CancelledError() if task.cancelled() else task.exception()
        if exc is not None and not self._is_over:
            self._end(TLSError(sentence(exc)))

    def _shake(self, sock: Any, poller: Any) -> None:
        if self._is_over:
            sock.close()
            return
        try:
            self._tls = TLSSocket(
                self._loop,
                sock,
                poller,
                self._context,
                server_side=self._server_side,
                server_name=self._server_name,
            )
            self._tls.start(self._report, self._gone, self._due - self._loop.time())
        except (OSError, ValueError) as exc:  # ValueError: a context that is not for this
            if self._tls is not None:
                self._tls.close()
            else:
                sock.close()
            if not self._is_over:
                self._end(TLSError(sentence(exc)))

    def _report(self, error: TLSError | None) -> None:
        self._is_over = True
        tls = self._tls
        if error is not None:
            self._done(error)
        elif tls is not None:
            self._done(tls)

    def _end(self, error: TLSError) -> None:
        self._is_over = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
        self._sock.close()
        self._done(error)
        self._gone()
