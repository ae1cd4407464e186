"""TLS that begins on a connection that is there (STARTTLS): a layer is put between its transport and its socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trews import debugging
from trews.calls import Started
from trews.errors import TLSError
from trews.phase import Phase
from trews.transport.adapter import TransportSocket
from trews.transport.core import NOTHING
from trews.transport.stream import StreamTransport
from trews.transport.tls import TLSSocket

if TYPE_CHECKING:
    import ssl

    from trews.lifecycle import Lifecycle


def start_tls(
    connection: Lifecycle, context: ssl.SSLContext, reply: bytes, server_side: bool, server_name: str | None
) -> Started:
    """Begin. From here on the transport takes what is written as clear text of TLS, and keeps it until it may go."""
    started = Started(connection)
    came = len(connection._inbox)
    if came:
        # What came in clear must not count as if it had come protected (CVE-2011-0411 and its many children).
        error = TLSError(f"the peer sent {came} bytes in clear behind the request for TLS, where nothing may come")
        connection._drop(error)
        started.settle(connection._closed(error))
        return started
    if reply and debugging.is_tracing:
        debugging.show(f"{connection!r} sends {len(reply)} bytes, and begins TLS", reply)
    transport = connection._transport
    if isinstance(transport, StreamTransport):
        tls = _under(transport, context, reply, server_side, server_name)
    else:
        tls = _over(connection, context, reply, server_side, server_name)

    def done(error: TLSError | None) -> None:
        if error is not None:
            if connection._phase <= Phase.FLUSHING:
                connection._drop(error)
            started.settle(connection._closed(connection._reason))
        else:
            started.settle(None)

    tls.start(done, _nothing)
    return started


def _under(
    transport: StreamTransport, context: ssl.SSLContext, reply: bytes, server_side: bool, server_name: str | None
) -> TLSSocket:
    """Between our own transport and its socket. What was not sent yet goes out before the first record."""
    core = transport.core
    # Nothing is read before the handshake begins, as no event can come between these lines.
    unsent = b"".join([bytes(piece) for piece in core.buffer if isinstance(piece, (bytes, bytearray))])
    unsent = unsent[core.offset :] + reply
    tls = TLSSocket(
        core.loop, core.sock, core.poller, context, server_side=server_side, server_name=server_name, unsent=unsent
    )
    core.total_out += len(reply)
    core.buffer = NOTHING
    core.offset = core.waiting = 0
    core.sent_at = core.now()
    if core.mask:
        core.mask = 0
        core.poller.watch(core.fd, core, 0)
    core.sock = transport._sock = tls
    core.recv, core.send = tls.recv, tls.send
    core.poller = tls
    core.watch()
    core.loop.call_soon(transport._maybe_resume_protocol)
    return tls


def _over(
    connection: Lifecycle, context: ssl.SSLContext, reply: bytes, server_side: bool, server_name: str | None
) -> TLSSocket:
    """On another loop's transport: it carries the records, and a transport of ours is put on them."""
    below: Any = connection._transport
    loop = connection._loop
    adapter = TransportSocket(loop)
    tls = TLSSocket(loop, adapter, adapter, context, server_side=server_side, server_name=server_name)
    below.pause_reading()  # before the reply: what comes after it is TLS
    connection._note_sent()
    if reply:
        below.write(reply)
    extra = {name: below.get_extra_info(name) for name in ("socket", "sockname", "peername")}
    adapter.take(below)
    transport = StreamTransport(loop, tls, connection, tls, extra)  # type: ignore[arg-type]  # its own poller
    connection._out_before = -(connection._accepted_out + len(reply))
    connection._in_before = -connection._bytes_in
    connection._limits = (-1, -1)
    connection._transport = transport
    if connection._is_full:  # what is waiting is the adapter's business now
        connection.resume_writing()
    connection._bind_write(transport)
    if not connection._is_reading:
        transport.pause_reading()
    transport._start_reading()
    return tls


def _nothing() -> None:
    """The transport closes the socket."""
