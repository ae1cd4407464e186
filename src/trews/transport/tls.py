"""TLS on a socket: records are opened and made in memory, and the socket below carries them.

A `TLSSocket` behaves like the connected socket that it stands on, and is the poller of what stands on it. So
`StreamTransport` runs on it as on any other, with its limits, deadlines and files; and it stands on anything that
behaves so itself: a descriptor, a socket in memory, another TLSSocket, an `adapter` over another loop's transport.

(Not on `ssl.SSLSocket`, which talks to the descriptor itself: OpenSSL reads a record from there by two system calls,
where here one brings all that has come, which is quicker. And what it has read ahead can be asked for here.)

It has plain attributes and no base class, because mypyc compiles it.

    SHAKING ──handshake──> OPEN ──close──> CLOSED
       │                        └──close, goodbye unsent──> LEAVING ──sent, deadline──^
       └──refused, timed out──> BROKEN: the alert is sent, input thrown away ──their end, deadline──^
"""

from __future__ import annotations

import contextvars
import math
import socket
import ssl
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from trews.backends import FAILED, READ, WRITE
from trews.dispatcher import Dispatcher, NativeWatcher
from trews.errors import TLSError
from trews.timers import clock_of, wheel_of
from trews.transport.certificates import explain, plain_name
from trews.transport.records import RECORD, Records, engine_of
from trews.transport.tls_facts import TLS

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable


HANDSHAKE_TIMEOUT: Final = 10.0  # seconds
RECV_MIN: Final = 479  # of what is below, at once: see `core`
RECV_NEXT: Final = 2 * RECORD
RECV_MAX: Final = 16 * RECORD
CHUNK_MAX: Final = 4 * RECORD  # sealed at once: more each time that all is taken, one record after it was not
SEND_MAX: Final = 16 * RECORD  # then the others get their turn
LEAVE_TIMEOUT: Final = 2.0  # seconds for a goodbye that has found no room, and for an alert to be taken
DISCARDS_A_TURN: Final = 4  # recvs of what nobody wants; then the others get theirs
CONTROL_MAX: Final = 256 * 1024  # answers to what a peer asks for on the level of TLS, and does not read

SHAKING: Final = 0
OPEN: Final = 1
BROKEN: Final = 2
LEAVING: Final = 3
CLOSED: Final = 4


class TLSSocket(NativeWatcher):
    """One end of a TLS connection.

    Args:
        sock: what carries the records: a connected, non-blocking socket, or what behaves like one.
        poller: what calls for its events.
        server_name: of a client: whom to ask for (SNI), and whom the certificate must name.
        unsent: bytes that go out before the first record, in clear.

    Raises:
        ValueError: `context` wants to check a name, and there is none; or it is for the other side.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: Any,
        poller: Any,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str | None = None,
        unsent: bytes = b"",
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        if context.check_hostname and not server_side and not server_name:
            # Without a name OpenSSL would check none, and `wrap_bio` does not ask (`wrap_socket` does).
            raise ValueError("this TLS context checks the name of the server, and none is known: say server_name=")
        name = plain_name(server_name) if server_name and not server_side else None
        try:
            self._session = context.wrap_bio(self._incoming, self._outgoing, server_side, name)
        except ssl.SSLError:
            whose, other = ("clients", "server") if server_side else ("servers", "client")
            raise ValueError(f"this is a TLS context for {whose}, and here the {other}'s part is taken") from None
        self._loop = loop
        self._sock = sock
        self._fd: int = sock.fileno()
        self._recv: Callable[[int], bytes] = sock.recv
        self._send: Callable[[Any], int] = sock.send
        self._poller: Any = poller  # a Dispatcher, or a socket that polls for itself
        clock: Any = clock_of(loop)
        self._dispatcher: Dispatcher | None = clock if isinstance(clock, Dispatcher) else None  # of a loop of ours
        self._wheel = wheel_of(loop)
        self.wheel_slot: float = 0.0
        self._context = contextvars.copy_context()
        self._server_side = server_side
        self._server_name = server_name or ""
        self._done: Callable[[TLSError | None], None] = _nothing
        self._gone: Callable[[], None] = _nothing
        self._due = 0.0
        self._state = SHAKING
        self._room = RECV_MIN
        self._chunk = RECORD
        self._unsent: bytes | memoryview = unsent  # what the socket below has not taken yet
        self._unsent_max = CONTROL_MAX + len(unsent)
        self._owed = 0  # bytes of the caller in it, that are sent when it is empty
        engine = engine_of(self._session)
        self._seal: Callable[[Any], int] = engine.write
        self._sealed: Callable[[], bytes] = self._outgoing.read
        self._records = Records(engine, self._incoming, self._broken)
        self._rest: TLSError | bytes | None = None  # what comes after all that was received: an error or the end
        self._wants_input = False  # to be able to send
        self._stuck = b""  # what could not be sealed without it
        self._is_shut = False
        self._resets = False  # close() is a reset
        self._watcher: Any = None  # a `Watcher`; what stands on this has a `sent_at` too
        self._mask = 0  # what it is watched for
        self._polled = 0  # what is polled for below
        self._is_kicked = False
        self.tls = TLS(self._session)

    # -- the handshake

    def start(
        self,
        done: Callable[[TLSError | None], None],
        gone: Callable[[], None],
        timeout: float = HANDSHAKE_TIMEOUT,
    ) -> None:
        """Begin the handshake.

        Args:
            done: called once: with None when it is done, or with why it has failed.
            gone: called once if it has failed: the socket is closed.
            timeout: seconds until it fails.
        """
        self._done, self._gone = done, gone
        self._due = self._loop.time() + timeout
        if timeout < math.inf:
            self._wheel.arm(self, self._due)
        self._shake()

    def give_up(self, why: str) -> None:
        """Fail now, if the handshake is still under way; close the socket."""
        if self._state == SHAKING:
            self._fail(TLSError(why))
        if self._state == BROKEN and self._watcher is None:
            self.close()

    def on_deadline(self, now: float) -> float:
        if self._due > now:
            return self._due
        if self._state == LEAVING:
            self._close_below()
            return 0.0
        timeout = "the TLS handshake was not done in time: the peer went silent in it, or does not speak TLS"
        self.give_up(timeout)
        return 0.0

    def _shake(self) -> None:
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            self._push_control()
            if len(self._unsent) > self._unsent_max:
                self.give_up("the peer does not read in the TLS handshake")
            self._poll()
            return
        except (ssl.SSLError, ValueError) as exc:  # ValueError: of a name that is none
            error = TLSError(explain(exc, server_side=self._server_side, host=self._server_name))
            error.__cause__ = exc
            self._fail(error)
            return
        self._push_control()
        self._state = OPEN
        self._wheel.disarm(self)
        leftover = self._incoming.read()  # what came behind the handshake, to be opened in slices as all that follows
        if leftover:
            self._records.feed(leftover)
        self._gone = _nothing
        self._poll()
        if self._records.has_more and self._mask & READ:
            self._kick()
        self._report(None)

    def _feed_handshake(self) -> None:
        try:
            data = self._recv(RECV_MAX)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            error = TLSError(explain(exc, server_side=self._server_side, host=self._server_name))
            error.__cause__ = exc
            self._fail(error)
            return
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        self._shake()

    def _fail(self, error: TLSError) -> None:
        """Send the alert, if there is one. A server waits for the peer's end, as a reset would take the alert away."""
        self._state = BROKEN
        self._rest = error
        self._push_control()
        self._is_shut = True
        if not self._unsent:
            self._shut_below()
        self._report(error)
        if self._state == BROKEN and self._watcher is not None:  # a transport on this, which closes it
            self._kick()
        elif self._state == BROKEN:
            if self._server_side and not self._incoming.eof:
                self._due = min(self._due, self._loop.time() + LEAVE_TIMEOUT)
                self._wheel.arm(self, self._due)
                self._poll()
            else:
                self.close()

    def _discard(self) -> None:
        try:
            for _ in range(DISCARDS_A_TURN):
                if not self._recv(RECV_MAX):
                    break
            else:
                return  # it is told again
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self.close()

    def _report(self, error: TLSError | None) -> None:
        done, self._done = self._done, _nothing
        done(error)

    # -- the socket

    @property
    def family(self) -> Any:
        return getattr(self._sock, "family", -1)

    @property
    def lingers(self) -> bool:
        return getattr(self._sock, "lingers", True)

    @property
    def face(self) -> Any:
        """The transport that stands on this, for messages about slow callbacks."""
        return self._watcher.face  # or AttributeError, which is what is meant

    def fileno(self) -> int:
        return self._fd

    def getsockname(self) -> Any:
        return self._sock.getsockname()

    def getpeername(self) -> Any:
        return self._sock.getpeername()

    def getsockopt(self, *args: Any) -> Any:
        return self._sock.getsockopt(*args)

    def setsockopt(self, *args: Any) -> None:
        self._resets = self._resets or args[1] == socket.SO_LINGER
        self._sock.setsockopt(*args)

    def recv(self, size: int) -> bytes:
        """What has come, in clear: all records of one recv below, or so many as a turn allows.

        That may be more than `size`. It says how much is wanted below: the most there is, for who calls until nothing
        comes and would take a part of a record for that (`salvage` of the core).
        """
        if self._rest is not None:
            return self._ended(self._rest)
        if self._state != OPEN:
            raise BlockingIOError
        records = self._records
        data = b""
        if not records.has_more:
            data = records.one(self._receive(RECV_MAX if size >= RECV_MAX else self._room))
        if not data:
            data = records.take()
            if records.rest is not None:
                self._rest = records.rest
        if self._outgoing.pending:
            self._push_control()
        if data:
            return data
        if self._rest is None:
            raise BlockingIOError
        return self._ended(self._rest)

    def _receive(self, room: int) -> bytes:
        data = self._recv(room)
        count = len(data)
        if not count:
            self._records.cut()
        elif count == room:
            self._room = min(max(room * 2, RECV_NEXT), RECV_MAX)
        elif room > RECV_MIN and count < room >> 2:
            self._room = max(room >> 1, RECV_MIN)
        return data

    def _broken(self, exc: ssl.SSLError) -> TLSError:
        error = TLSError(explain(exc, server_side=self._server_side, host=self._server_name))
        error.__cause__ = exc
        return error

    def _ended(self, rest: TLSError | bytes) -> bytes:
        if isinstance(rest, bytes):
            return rest
        raise rest

    def send(self, data: Any) -> int:
        """Seal and send. What the socket below takes only a part of is not sent: it is to be given here again."""
        if self._unsent:
            self._push()
            if self._unsent:
                raise BlockingIOError
        if self._owed:
            owed, self._owed = self._owed, 0
            return owed
        if self._state != OPEN:
            if isinstance(self._rest, TLSError):
                raise self._rest
            raise BlockingIOError
        if self._stuck:
            return self._send_chunk(self._stuck)
        size = len(data)
        if size <= self._chunk:
            return self._send_chunk(data)
        sent = 0
        view = memoryview(data)
        while sent < min(size, SEND_MAX):
            try:
                sent += self._send_chunk(view[sent : sent + self._chunk])
            except BlockingIOError:
                if not sent:
                    raise
                break
        return sent

    def _send_chunk(self, chunk: Any) -> int:
        try:
            count = self._seal(chunk)
        except ssl.SSLWantReadError:  # a renegotiation of TLS 1.2, for contexts that allow it
            self._stuck = bytes(chunk)  # OpenSSL wants the very same again
            self._wants_input = True
            self._push_control()
            self._poll()
            raise BlockingIOError from None
        except ssl.SSLError as exc:
            raise self._broken(exc) from exc
        self._stuck = b""
        data = self._sealed()
        try:
            taken = self._send(data)
        except (BlockingIOError, InterruptedError):
            taken = 0
        if taken == len(data):
            if count == self._chunk < CHUNK_MAX:
                self._chunk *= 2
            return count
        if taken:
            self.sent_at = self._poller.tick
        self._chunk = RECORD
        self._unsent = memoryview(data)[taken:]
        self._owed = count
        raise BlockingIOError

    def sendmsg(self, pieces: Iterable[Any]) -> int:
        if self._owed:
            return self.send(b"")
        chunk = bytearray()
        for piece in islice(pieces, 1024):
            chunk += memoryview(piece)[: CHUNK_MAX - len(chunk)]
            if len(chunk) == CHUNK_MAX:
                break
        return self.send(chunk)

    def shutdown(self, how: int) -> None:
        """Say goodbye (close_notify), then FIN. What comes can still be received (in TLS 1.3, also by the peer)."""
        if self._is_shut:
            return
        if self._state == SHAKING:
            self._fail(TLSError("the connection was closed in the TLS handshake"))
            return
        # It would look for the peer's goodbye, and throw away the data that it finds.
        waiting = self._incoming.read()
        try:
            self._session.unwrap()
        except (ssl.SSLError, OSError):
            pass  # WantRead: the peer has not said its own
        self._incoming.write(waiting)
        self._push_control()
        self._is_shut = True
        if not self._unsent:
            self._shut_below()

    def _shut_below(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer is gone; reading will tell

    def close(self) -> None:
        if self._state >= LEAVING:
            return
        if self._state == OPEN and self._is_shut and self._unsent and not self._resets:
            # The peer has room for the last data but not for our goodbye, without which the end is none.
            self._state = LEAVING
            self._watcher = None
            self._due = self._loop.time() + LEAVE_TIMEOUT
            self._wheel.arm(self, self._due)
            self._poll()
            return
        self._close_below()

    def _close_below(self) -> None:
        was_shaking, self._state = self._state == SHAKING, CLOSED
        self._watcher = None
        self._wheel.disarm(self)
        if self._polled:
            self._polled = 0
            self._poller.watch(self._fd, self, 0)
        self._sock.close()
        gone, self._gone = self._gone, _nothing
        if was_shaking:
            self._report(TLSError("the connection was closed in the TLS handshake"))
        gone()

    # -- records that wait

    def _push_control(self) -> None:
        """Hand what TLS itself has to say to the socket below."""
        data = self._outgoing.read()
        if data and not self._is_shut:  # nothing may follow our goodbye
            self._unsent = b"".join((self._unsent, data)) if self._unsent else data
        if len(self._unsent) > self._unsent_max and self._rest is None and self._state == OPEN:
            self._rest = TLSError("the peer asks for more on the level of TLS than it reads")
        self._push()
        self._poll()

    def _push(self) -> None:
        if not self._unsent:
            return
        try:
            count = self._send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._unsent = b""  # the peer is gone: reading tells, and so does the next send
            return
        self._unsent = memoryview(self._unsent)[count:] if count < len(self._unsent) else b""
        self.sent_at = self._poller.tick
        if not self._unsent and self._is_shut:
            self._shut_below()

    # -- the poller of what stands on this, and the watcher of what is below

    @property
    def tick(self) -> float:
        tick: float = self._poller.tick
        return tick

    @property
    def sent_at(self) -> float:
        """When the peer last took a byte: the time of what stands on this, which learns of whole chunks only."""
        return getattr(self._watcher, "sent_at", 0.0)

    @sent_at.setter
    def sent_at(self, tick: float) -> None:
        if self._watcher is not None:
            self._watcher.sent_at = tick

    def watch(self, fd: int, watcher: Any, mask: int) -> None:
        self._watcher = watcher
        self._mask = mask
        if self._state == OPEN or self._rest is not None:
            if mask & READ and (self._records.has_more or self._rest is not None):
                self._kick()
            self._poll()

    def on_event(self, ready: int) -> None:
        if self._unsent and ready & (WRITE | FAILED):
            self._push()
        if self._state != OPEN:
            if self._state == SHAKING and ready & (READ | FAILED):
                self._feed_handshake()
            elif self._state == BROKEN and self._watcher is None and ready & (READ | FAILED):
                self._discard()
            elif self._state == LEAVING and not self._unsent:
                self._close_below()
            return
        if self._wants_input and ready & (READ | FAILED):
            ready |= self._take_input()
        if self._unsent and not ready & FAILED:
            ready &= ~WRITE
        watcher = self._watcher
        if watcher is not None and ready & (self._mask | FAILED):
            if isinstance(watcher, NativeWatcher):
                dispatcher = self._dispatcher
                if dispatcher is not None and dispatcher.current is self:
                    dispatcher.current = watcher
                watcher.on_event(ready)
            else:
                watcher.on_event(ready)
        # Plain requests need none of these calls; to ask here is 3 % of a request.
        if self._records.has_more or self._rest is not None:
            self._tell_more()
        if self._polled != self._mask or self._unsent or self._rest is not None:
            self._poll()

    def _take_input(self) -> int:
        """Sending waits for something from the peer. What has come is kept in memory if nobody reads it."""
        self._wants_input = False
        if self._mask & READ:
            return WRITE
        try:
            self._records.feed(self._receive(self._room))
        except OSError:
            return WRITE
        self._records.has_more = True
        if self._records.load() > CONTROL_MAX:
            self._rest = TLSError("the peer sends much in a renegotiation, and does not end it")
        return WRITE

    def _tell_more(self) -> None:
        """What no poller tells: data that wait for their turn, the end."""
        # What came in one piece with the peer's goodbye was given first.
        if self._rest is not None and self._mask & READ and self._watcher is not None:
            self._watcher.on_event(READ)
        elif self._records.has_more and self._mask & READ:
            self._kick()

    def _kick(self) -> None:
        """Tell in the next turn what no poller will tell."""
        if not self._is_kicked:
            self._is_kicked = True
            self._loop.call_soon(self._kicked, context=self._context)

    def _kicked(self) -> None:
        self._is_kicked = False
        ready = READ if self._rest is None else READ | WRITE
        if self._state != CLOSED and self._watcher is not None:
            if ready & self._mask:
                self._watcher.on_event(ready)
            self._tell_more()

    def _poll(self) -> None:
        if self._state == CLOSED:
            return
        if self._state == OPEN:
            mask = self._mask & READ if self._rest is None else 0
            if self._wants_input:
                mask |= READ
            elif self._mask & WRITE:
                mask |= WRITE
        elif self._state == LEAVING:
            mask = 0
        else:
            mask = READ if self._state == SHAKING or self._watcher is None else 0
        if self._unsent:
            mask |= WRITE
        if mask != self._polled:
            self._polled = mask
            self._poller.watch(self._fd, self, mask)


def _nothing(*args: Any) -> None:
    """Nobody wants to know."""
