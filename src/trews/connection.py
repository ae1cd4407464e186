"""Connection: one end of a byte stream, as callbacks, as coroutines, or both.

This is what users subclass and call. What happens when is decided in `lifecycle`; what waits is here.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar, cast

from trews.addresses import shown
from trews.errors import (
    Aborted,
    ClosedLocally,
    ConnectionClosed,
    Error,
)
from trews.framing import Framer, framer_for
from trews.handover import hand_over
from trews.input import Input
from trews.names import check_names, private_names
from trews.phase import Consumer, Phase
from trews.settings import CALLBACKS, DEFAULTS, KIB, check_class, check_context
from trews.transport.core import as_bytes
from trews.transport.stream import StreamTransport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine, Generator

    from trews.datagram import Datagram
    from trews.transport.tls_facts import TLS

logger = logging.getLogger("trews")
C = TypeVar("C", bound="Connection")

_NEW, _OPEN, _FLUSHING, _DOWN, _CLOSED = Phase
_UNYIELDED = 64 * KIB  # bytes that a peer may take at once before `drain` lets the others run
_ids = itertools.count()  # 0 has the one that is looked at for `_private`


class PeerCredentials(NamedTuple):
    """Who is at the other end of a Unix socket."""

    pid: int
    uid: int
    gid: int


class Sent:
    """What `send` returns: awaiting it waits until the peer keeps up (`drain`). It may be thrown away."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection | Datagram) -> None:
        self._connection = connection

    def __await__(self) -> Generator[Any, None, None]:
        return self._connection.drain().__await__()


class Connection(Input):
    """One end of a byte stream. Subclass it and override the callbacks, or await `read` and `send`.

    Settings are the class attributes below; a subclass overrides them, an instance assigns them, and `Server`,
    `serve` and `connect` take them as keywords. Callbacks are plain or `async`, and never overlap.

    Attributes:
        id: a number of its own in this process.
        server: the `Server` that accepted it; None for a client.
        remote_address, local_address: `(host, port)`, or the path of a Unix socket.
        tls: what TLS knows of it (version, cipher, alpn, peer_certificate, …); None on a plain connection.
        opened_at: seconds since the epoch.
    """

    framer: Any = None
    max_message: int = DEFAULTS["max_message"]
    read_high: int = DEFAULTS["read_high"]
    message_timeout: float | None = DEFAULTS["message_timeout"]
    idle_timeout: float | None = DEFAULTS["idle_timeout"]
    write_high: int = DEFAULTS["write_high"]
    write_low: int = DEFAULTS["write_low"]
    write_limit: int = DEFAULTS["write_limit"]
    write_timeout: float | None = DEFAULTS["write_timeout"]
    close_timeout: float | None = DEFAULTS["close_timeout"]
    half_close: bool = DEFAULTS["half_close"]
    tls_context: ssl.SSLContext | None = DEFAULTS["tls_context"]

    _id: int
    _unyielded = 0  # bytes sent when drain() last let the others run

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_names(cls, Connection, _private)
        check_class(cls, CALLBACKS, DEFAULTS)
        if "_consumer" not in vars(cls):  # which only classes made for a handler or for settings bring along
            cls._consumer = Consumer.NOBODY if cls.on_read is Connection.on_read else Consumer.ON_READ
        cls._has_on_read = cls._consumer is Consumer.ON_READ

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Here and not in __init__: a subclass that forgets super().__init__() does no harm.
        self = super().__new__(cls)
        self._id = next(_ids)
        self._prepare()
        return self

    # -- callbacks, to be overridden

    def on_connect(self) -> Any:
        """The connection is there."""

    def on_read(self, message: Any, /) -> Any:
        """A message has come, as `framer` cuts it. (Without this, messages wait for `read()`.)"""

    def on_eof(self) -> Any:
        """The peer will send no more. Unless `half_close`, the connection is closed when this has returned."""

    def on_close(self, reason: ConnectionClosed, /) -> Any:
        """The connection has ended. Called exactly once for each `on_connect`."""

    def on_full(self) -> None:
        """More than `write_high` bytes wait for the peer. Plain functions only."""

    def on_drain(self) -> None:
        """No more than `write_low` bytes wait, after `on_full`. Plain functions only."""

    def on_stop(self) -> Any:
        """The server is stopping. An async one may take as long as the grace.

        The default reads no more and closes, once a running async callback or handler has returned and what has
        arrived is handed out. A `read()` of theirs ends there as at EOF, between two messages.
        """
        self._close_when_done()

    def on_error(self, exc: BaseException, /) -> Any:
        """A callback, handler or spawned task raised `exc`; the connection is aborted after this.

        The default tells the server's `on_error`, which logs; a client's is logged here.
        """
        if self._server is not None:
            return self._server.on_error(self, exc)
        logger.error("%r: its code failed, the connection is aborted", self, exc_info=exc)
        return None

    # -- what is known

    @property
    def id(self) -> int:
        """A number of its own in this process."""
        return self._id

    @property
    def server(self) -> Any:
        """The server that accepted it, None for a client. (A subclass may declare it: `server: Room`.)"""
        return self._server

    @property
    def remote_address(self) -> Any:
        """The peer's `(host, port)`, or the path of a Unix socket."""
        return self._remote_address

    @property
    def local_address(self) -> Any:
        """The same of this end."""
        if self._local_address is None:
            self._note_address()
        return self._local_address

    @property
    def tls(self) -> TLS | None:
        """Version, cipher, alpn, server_name, peer_certificate of TLS; None on a plain connection."""
        transport = self._transport if self._phase is not _NEW else None
        return getattr(transport.core.sock, "tls", None) if isinstance(transport, StreamTransport) else None

    @property
    def opened_at(self) -> float:
        """When it was opened, in seconds since the epoch."""
        return self._opened_at

    @property
    def bytes_in(self) -> int:
        """Bytes received so far."""
        if self._in_in_all is not None:
            return self._in_in_all
        if self._phase is not _NEW and isinstance(self._transport, StreamTransport):
            return self._transport.core.total_in - self._in_before
        return self._bytes_in

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent and received: connected, and not closing."""
        return self._phase is _OPEN

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more: closing counts."""
        return self._phase > _OPEN

    @property
    def reason(self) -> ConnectionClosed | None:
        """Why the connection ended, None while it has not."""
        return self._reason

    @property
    def peer_credentials(self) -> PeerCredentials | None:
        """Process, user and group at the other end of a Unix socket; None elsewhere and after the end."""
        sock = self._transport.get_extra_info("socket") if self._phase is not _NEW else None
        option = getattr(socket, "SO_PEERCRED", None)
        if sock is None or option is None or getattr(sock, "family", None) != socket.AF_UNIX:
            return None
        try:
            return PeerCredentials(*struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, 12)))
        except (OSError, ValueError):  # uvloop's way to say that it is closed
            return None

    def __repr__(self) -> str:
        state = self._phase.name.lower()
        if self._reason is not None:
            state += f" ({type(self._reason).__name__})"
        where = f"{shown(self.local_address)} - {shown(self.remote_address)} " if self._phase else ""
        return f"<{type(self).__name__} #{self.id} {where}{state} in={self.bytes_in} out={self.bytes_out}>"

    # -- writing

    def write(self, data: Any) -> None:
        """Send bytes. Never blocks, never partial; what the peer does not take at once waits.

        Args:
            data: bytes, bytearray or memoryview; it may be changed afterwards.

        Raises:
            TypeError: `data` is not bytes-like.
            ClosedLocally: after `close()` or `close_write()` of one's own. If the peer or the network ended the
                connection, nothing is raised and the data is dropped.
        """
        self._raw_write(data)

    def send(self, message: Any) -> Sent:
        """Encode a message with `framer` and write it. Await what it returns to let a slow peer keep up.

        Raises:
            TypeError, ValueError: the framer cannot encode `message`.
        """
        framer = self.framer
        encode = framer.encode if isinstance(framer, Framer) else framer_for(framer).encode
        self.write(encode(message))
        return Sent(self)

    def write_file(self, path_or_file: Any, offset: int = 0, count: int | None = None) -> asyncio.Future[None]:
        """Send a file, or a part of it, without holding it in memory; by sendfile where the system can.

        It begins when called: what is written from then on is sent after it. Awaiting it is optional, and
        cancelling what waits for it does not stop it.

        Args:
            path_or_file: a path; or a regular file that is open for reading bytes, or what has `seek` and `read` like
                one. It is not closed and must not be until this is done.
            offset: the byte to begin with.
            count: how many bytes; None is to the end that the file has now.

        Returns:
            A future: done when the last byte is with the operating system. It has OSError for a file that cannot be
            read, EOFError for one that is too short or has become so (what is missing is not sent, and the peer
            cannot know), the reason if the connection ended before. An error is the connection's, as if a
            callback had raised it, if the future is thrown away.

        Raises:
            TypeError, ValueError: this cannot be sent as a file, or the class overrides `write`.
            ClosedLocally: after `close()` or `close_write()` of one's own.
        """
        self._require_connected()
        return self._send_file(path_or_file, offset, count)

    # -- reading

    def pause_reading(self) -> None:
        """Take nothing from the peer, and deliver nothing, until `resume_reading()`. Idle time stands still."""
        self._is_paused = True
        if self._phase is _OPEN:
            self._regulate()

    def resume_reading(self) -> None:
        """End `pause_reading()`; what has arrived is delivered in the next turn."""
        if self._is_paused:
            self._is_paused = False
            if self._phase is _OPEN:
                self._deadlines.heard()
                self._pump_soon()

    # -- ends

    def close(self) -> None:
        """Send what is waiting, say goodbye, and end. What still comes from the peer is thrown away."""
        self._require_connected()
        self._is_closed_by_user = True
        self._shut(ClosedLocally())

    def abort(self) -> None:
        """End now: what is waiting is dropped, the peer gets a reset, running handlers are cancelled."""
        self._require_connected()
        self._drop(Aborted())

    def close_write(self) -> None:
        """Tell the peer that nothing more will come, and go on reading (half-close).

        Raises:
            Error: over TLS 1.2, where the peer answers by closing and throws away what it had to say (RFC 5246,
                7.2.1). In TLS 1.3 the two directions end one by one (RFC 8446, 6.1).
        """
        self._require_connected()
        if self._phase is not _OPEN or self._is_write_closed:
            return
        if self.tls is not None and self.tls.version != "TLSv1.3":
            if not self.tls.version:
                raise Error(f"{self!r} is in a TLS handshake: await start_tls(...) before close_write()")
            raise Error(f"{self.tls.version} cannot close one direction alone: use close(), or TLS 1.3")
        self._is_write_closed = True
        self._say_goodbye()
        if self._is_eof_told:
            self._pump_soon()  # both directions are shut now

    def start_tls(
        self,
        context: ssl.SSLContext,
        reply: bytes = b"",
        *,
        server_side: bool | None = None,
        server_name: str | None = None,
    ) -> asyncio.Future[None]:
        """Begin TLS on this connection, as STARTTLS and its like ask for.

        It begins when called: nothing more is read in clear, `reply` is sent in clear, and the handshake follows, for
        which there are 10 s. What is written from now on is sent when it is done. Awaiting it is optional.

        Args:
            context: of the server its certificate, of a client whom it trusts.
            reply: what says to the peer that it may begin. Given here, and not written before, so that the peer's
                first record cannot come before this end is ready for it.
            server_side: which part of the handshake to take; by default that of the end that was connected to.
            server_name: of a client: whom the certificate must name; by default the host that was connected to.

        Returns:
            A future: done when the handshake is; has the reason if the connection ended instead.

        Raises:
            TypeError, ValueError: the context is none, or not for this side.
            Error: a file is being sent: await `write_file()` first; or a handshake is under way.
            ConnectionClosed: the connection has ended.

        Whatever the peer has sent in clear that is not read yet ends the connection with TLSError.
        """
        self._require_connected()
        if self._phase is not _OPEN or self._is_write_closed or self._is_eof:
            raise self._closed(self._reason)
        check_context(context)
        if self._sends_file():
            raise Error(f"{self!r} is sending a file: await write_file(...) before start_tls()")
        if self.tls is not None and not self.tls.version:
            raise Error(f"{self!r} is in a TLS handshake already")
        from trews.upgrade import start_tls  # here because it imports ssl, which costs 5 ms

        is_server = self._server is not None if server_side is None else server_side
        name = None if is_server else server_name or self._host or None
        return start_tls(self, context, as_bytes(reply, "reply"), is_server, name)

    def switch(self, other: type[C] | C) -> C:
        """Let another connection go on with the transport; this one ends, with `Switched`.

        What has come and was not delivered goes along, and so does what is still to be sent. The other has this one's
        server and addresses; it is told `on_connect` in the next turn of the loop, and can be prepared until then.

        Args:
            other: a `Connection` subclass, or an object of one that is not connected.

        Returns:
            The other connection.

        Raises:
            TypeError: `other` is neither.
            Error: a file is being sent: await `write_file()` first.
            ConnectionClosed: the connection has ended.
        """
        self._require_connected()
        if self._phase is not _OPEN:
            raise self._closed(self._reason)
        new: object = other() if isinstance(other, type) else other
        if not isinstance(new, Connection):
            raise TypeError(f"switch() takes a Connection subclass, or an object of one, not {other!r}")
        if new._phase is not _NEW or new is self:
            raise TypeError(f"switch() takes a connection that is not connected, not {new!r}")
        if self._sends_file():
            raise Error(f"{self!r} is sending a file: await write_file(...) before switch()")
        hand_over(self, new)
        return cast("C", new)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine as a task that is cancelled when the connection ends. Its error is the connection's.

        It does not keep the connection open: the peer's end, `close()` and the stop of the server do not wait for it.
        """
        if self._phase not in (_OPEN, _FLUSHING):
            coroutine.close()
            self._require_connected()
            raise self._closed(self._reason)
        return self._spawn(coroutine)

    # -- waiting for the peer to keep up, and for the end

    async def drain(self) -> None:
        """Wait until no more than `write_low` bytes wait for the peer, if more than `write_high` do.

        Raises:
            ConnectionClosed: the reason, if the connection has ended.
        """
        self._require_connected()
        while True:
            if self._phase > _FLUSHING:
                raise self._closed(self._reason)
            if not self._is_full and self._held is None:
                break
            await self._wait_in("_drainers")
        # A peer that takes everything at once must not keep the others from running; nor may one that has gone, which
        # the loop tells in its next turn only.
        sent = self.bytes_out
        if sent - self._unyielded > _UNYIELDED or self._transport.is_closing():
            self._unyielded = sent
            await asyncio.sleep(0)

    async def wait_closed(self) -> None:
        """Wait until the connection has ended and `on_close` has returned.

        In the connection's own callbacks and handler, which `on_close` waits for: until the last byte is sent
        or lost.
        """
        self._require_connected()
        task = asyncio.current_task()
        is_own = self._is_starting or task is self._task or task in self._spawned
        while not (self._phase > _FLUSHING if is_own else self._is_ended):
            await self._wait_in("_down_waiters" if is_own else "_end_waiters")


Connection._plain_write = Connection.write
_private: frozenset[str] = frozenset()
_private = private_names(Connection()) - {"_consumer"}
