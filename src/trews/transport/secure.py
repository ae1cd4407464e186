"""Connecting to a `tls:` endpoint: the socket of `open_stream`, and the client's side of the handshake on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from trews.addresses import shown
from trews.errors import ConnectError, ConnectTimedOut, TLSError
from trews.transport.certificates import client_context
from trews.transport.connector import TIMEOUT, open_stream
from trews.transport.handshake import Handshake

if TYPE_CHECKING:
    import ssl

    from trews.endpoint import Endpoint
    from trews.transport.resolver import Resolver
    from trews.transport.tls import TLSSocket


async def open_tls(
    endpoint: Endpoint,
    context: ssl.SSLContext | None,
    loop: asyncio.AbstractEventLoop,
    resolver: Resolver | None = None,
) -> tuple[TLSSocket, Any]:
    """Connect and shake hands, within the `timeout=` of the endpoint (30 s) in all.

    Args:
        context: what to use instead of the endpoint's options about certificates.
        resolver: how names become addresses; None: the operating system is asked.

    Returns:
        The TLS socket and the address it is connected to.

    Raises:
        ConnectError: no address answered, or the handshake failed (`__cause__` is the TLSError).
        ConnectTimedOut: the time ran out.
        EndpointError: the endpoint makes no sense for a client.
    """
    began = loop.time()
    if context is None:
        context, name = client_context(endpoint)
    else:
        name = endpoint.get("server_name") or endpoint.host or "localhost"
    sock, address = await open_stream(endpoint, loop, resolver)
    timeout = endpoint.get("timeout") or TIMEOUT
    try:
        async with asyncio.timeout(began + timeout - loop.time()):
            result = await _shake(sock, loop, context, name)
    except TimeoutError:
        reason = f"the TLS handshake was not done within {timeout:g} s"
        raise ConnectTimedOut(endpoint.shown, [(shown(address), reason)]) from None
    if isinstance(result, TLSError):
        raise ConnectError(endpoint.shown, [(shown(address), str(result))]) from result
    return result, address


async def _shake(
    sock: Any, loop: asyncio.AbstractEventLoop, context: ssl.SSLContext, name: str | None
) -> TLSSocket | TLSError:
    shaken: asyncio.Future[TLSSocket | TLSError] = loop.create_future()

    def done(result: TLSSocket | TLSError) -> None:
        if not shaken.cancelled():
            shaken.set_result(result)

    # The caller's deadline is the one that counts.
    handshake = Handshake(
        loop, sock, context, server_side=False, server_name=name, done=done, gone=_nothing, timeout=float("inf")
    )
    handshake.start()
    try:
        return await shaken
    except asyncio.CancelledError:
        handshake.give_up("connecting was cancelled")
        if shaken.done() and not shaken.cancelled() and not isinstance(result := shaken.result(), TLSError):
            result.close()  # it was done in this turn, and nobody will have it
        raise


def _nothing() -> None:
    """Nobody waits for the socket."""
