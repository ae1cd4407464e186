"""Joining a connected socket and a protocol, on whatever loop runs: the one place that knows which transport."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from trews.transport.stream import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Callable


def attach(
    loop: asyncio.AbstractEventLoop,
    sock: Any,
    protocol: asyncio.Protocol,
    peername: Any,
    failed: Callable[[BaseException], None],
) -> None:
    """Start `protocol` on an accepted or connected socket; at once on trews' loop, and on what is its own poller.

    Args:
        sock: connected and non-blocking, or what behaves like that.
        peername: the peer's address if it is known, else None.
        failed: called if another loop could not make its transport; the socket is closed then.
    """
    polls_itself = hasattr(sock, "watch")  # in memory, pipes, TLS
    if polls_itself and hasattr(sock, "belongs_to"):  # a program's
        sock.belongs_to(protocol)
    attach_stream = getattr(loop, "attach_stream", None)
    if attach_stream is not None:
        attach_stream(sock, protocol, peername, sock if polls_itself else None)
        return
    if polls_itself:
        StreamTransport(loop, sock, protocol, sock).start()
        return
    task = loop.create_task(loop.connect_accepted_socket(lambda: protocol, sock))

    def done(task: asyncio.Task[Any]) -> None:
        exc = asyncio.CancelledError() if task.cancelled() else task.exception()
        if exc is not None:
            sock.close()
            failed(exc)

    task.add_done_callback(done)
