"""The stream transport: a non-blocking socket, or anything that behaves like one, as an `asyncio.Transport`.

`StreamCore` moves the bytes: recv → protocol, write → send, and one function computes what to poll for. It is
called by a poller for each event. `StreamTransport` is the face that asyncio wants to see around it. The same
two carry real sockets and the in-memory ones.

State of a core:

    OPEN ──close()──> CLOSING ──all sent──> LOST ──next turn──> connection_lost, socket closed
      └─────────────abort(), an error──────────^
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import warnings
from asyncio import constants, transports, trsock
from collections import deque
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trews.poller import Poller

from trews.poller import FAILED, READ, WRITE
from trews.timers import clock_of
from trews.transport.filepart import FilePart

logger = logging.getLogger("asyncio")

RECV_MIN = 16 * 1024
RECV_MAX = 256 * 1024  # what one recv may take; a connection that fills its buffer gets twice as much next time
SMALL = 4096  # bytes of a write that is copied together with its neighbours
PIECES_A_SEND = 64  # buffers handed to one sendmsg
SALVAGE = 16  # recvs after a failed send: what the peer said before it left is delivered

OPEN, CLOSING, LOST = 0, 1, 2


def as_bytes(data: Any, what: str = "write()") -> bytes:
    """`data` as bytes that nobody can change any more. TypeError for what is not bytes-like."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    hint = "; encode it first: text.encode()" if isinstance(data, str) else ""
    raise TypeError(f"{what} takes bytes, bytearray or memoryview, not {type(data).__name__}{hint}")


class StreamCore:
    """Moves bytes between one socket and one protocol. Everything here runs on the loop's thread."""

    __slots__ = (
        "admit",
        "backlogged",
        "buffer",
        "data_received",
        "empty_waiter",
        "eof_seen",
        "eof_wanted",
        "face",
        "fd",
        "file_bytes",
        "gate",
        "into",
        "loop",
        "mask",
        "now",
        "offset",
        "paused",
        "poller",
        "recv",
        "refuse",
        "send",
        "sent_at",
        "size",
        "sock",
        "starting",
        "state",
        "total_out",
        "waiting",
    )

    def __init__(self, sock: Any, poller: Poller, loop: asyncio.AbstractEventLoop, face: StreamTransport) -> None:
        self.sock = sock
        self.fd: int = sock.fileno()
        self.recv: Callable[[int], bytes] = sock.recv
        self.send: Callable[[Any], int] = sock.send
        self.poller = poller
        self.loop = loop
        self.now = clock_of(loop).now
        self.face = face
        self.data_received: Callable[[bytes], None] = _nobody
        self.into = False  # a BufferedProtocol: recv_into its buffer
        self.state = OPEN
        self.mask = 0  # what is being polled for
        self.starting = True  # nothing is read before connection_made
        self.paused = False
        self.eof_seen = False
        self.eof_wanted = False
        self.size = RECV_MIN
        self.buffer: deque[bytes | bytearray | FilePart] = deque()
        self.offset = 0  # bytes of buffer[0] that are sent
        self.waiting = 0  # bytes of buffer that are not
        self.file_bytes = 0  # how many of these are in files, and not in memory
        self.total_out = 0  # bytes accepted by write
        self.sent_at = poller.tick  # when the peer last took a byte
        self.empty_waiter: asyncio.Future[None] | None = None
        # Set while a write is not simply a write: it is given the data instead.
        self.gate: Callable[[bytes], None] | None = None
        self.refuse: Callable[[bytes], None] = face._dropped  # the gate after the end
        # Asked before more is added to a backlog; told that there is one.
        self.admit: Callable[[], bool] | None = None
        self.backlogged: Callable[[], None] = face._maybe_pause_protocol

    # -- events

    def on_event(self, mask: int) -> None:
        wanted = self.mask
        if wanted & READ and mask & (READ | FAILED):
            self.readable()
        if wanted & WRITE and mask & (WRITE | FAILED) and self.buffer:
            self.flush()

    def readable(self) -> None:
        if self.into:
            self.read_into()
            return
        size = self.size
        try:
            data = self.recv(size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self.lose(exc)
            return
        count = len(data)
        if not count:
            self.at_eof()
            return
        if count == size:
            if size < RECV_MAX:
                self.size = size * 2
        elif count < size >> 2 and size > RECV_MIN:
            self.size = size >> 1
        try:
            self.data_received(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self.face._fatal_error(exc, "Fatal error: protocol.data_received() call failed.")

    def read_into(self) -> None:
        protocol = cast("asyncio.BufferedProtocol", self.face.get_protocol())
        try:
            buffer = protocol.get_buffer(-1)
            if not len(memoryview(buffer)):
                raise RuntimeError("get_buffer() returned an empty buffer")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self.face._fatal_error(exc, "Fatal error: protocol.get_buffer() call failed.")
            return
        try:
            count = self.sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self.lose(exc)
            return
        if not count:
            self.at_eof()
            return
        try:
            protocol.buffer_updated(count)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self.face._fatal_error(exc, "Fatal error: protocol.buffer_updated() call failed.")

    def at_eof(self) -> None:
        self.eof_seen = True
        self.watch()
        try:
            keep_open = self.face.get_protocol().eof_received()  # type: ignore[attr-defined]  # any stream protocol
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self.face._fatal_error(exc, "Fatal error: protocol.eof_received() call failed.")
            return
        if not keep_open:
            self.close()

    # -- writing

    def write(self, data: Any) -> None:
        if type(data) is not bytes:
            data = as_bytes(data)
        if self.gate is not None:
            self.gate(data)
            return
        if self.buffer:
            self.enqueue(data)
            return
        if not data:
            return
        try:
            count = self.send(data)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as exc:
            self.break_off(exc)
            return
        size = len(data)
        self.total_out += size
        self.sent_at = self.now()  # not `tick`, as code that ran long may write late: 40 ns
        if count != size:
            self.offset = count
            self.waiting = size - count
            self.buffer.append(data)
            self.watch()
            self.backlogged()

    def enqueue(self, data: bytes) -> None:
        """Add to what the peer has not taken yet."""
        if not data or (self.admit is not None and not self.admit()):
            return
        self.total_out += len(data)
        self.waiting += len(data)
        tail = self.buffer[-1]
        if isinstance(tail, bytearray) and len(tail) < SMALL:
            tail += data
        else:
            # Small writes share a buffer: 16 MiB of two bytes each took 450 MiB as objects of their own.
            self.buffer.append(bytearray(data) if len(data) < SMALL else data)
        self.watch()
        self.backlogged()

    def write_file(self, part: FilePart) -> None:
        """Send a part of a file after what waits, and before what is written from now on."""
        if not self.buffer:
            self.sent_at = self.now()  # what deadlines count from
        self.total_out += len(part)
        self.waiting += len(part)
        self.file_bytes += len(part)
        self.buffer.append(part)
        self.watch()
        self.backlogged()

    def flush(self) -> None:
        buffer = self.buffer
        head = buffer[0]
        try:
            if isinstance(head, FilePart):
                count = self.send_file(head)
            elif len(buffer) == 1:
                count = self.send(memoryview(head)[self.offset :] if self.offset else head)
            else:
                pieces: list[Any] = list(islice(buffer, PIECES_A_SEND))
                if self.file_bytes:
                    pieces = list(takewhile(lambda piece: not isinstance(piece, FilePart), pieces))
                if self.offset:
                    pieces[0] = memoryview(head)[self.offset :]
                count = self.sock.sendmsg(pieces)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self.break_off(exc)
            return
        self.advance(count)
        self.face._maybe_resume_protocol()  # may write
        if not self.buffer and self.state != LOST:
            self.flushed()

    def send_file(self, part: FilePart) -> int:
        """Send some of the part of a file that is at the front; drop it if the file cannot give the rest."""
        count = part.send(self.sock, self.offset)
        if count:
            self.file_bytes -= count
            return count
        missing = len(part) - self.offset
        self.buffer.popleft()
        self.offset = 0
        self.total_out -= missing
        self.waiting -= missing
        self.file_bytes -= missing
        return 0

    def advance(self, count: int) -> None:
        """Forget `count` bytes: the peer's kernel has them."""
        if count:
            self.sent_at = self.poller.tick
        self.waiting -= count
        count += self.offset
        buffer = self.buffer
        while buffer and count >= len(buffer[0]):
            piece = buffer.popleft()
            count -= len(piece)
            if isinstance(piece, FilePart):
                piece.finish()
        self.offset = count

    def flushed(self) -> None:
        self.watch()
        if self.empty_waiter is not None and not self.empty_waiter.done():
            self.empty_waiter.set_result(None)
        if self.state == CLOSING:
            self.lose(None)
        elif self.eof_wanted:
            self.shut_writing()

    def write_eof(self) -> None:
        if self.state != OPEN or self.eof_wanted:
            return
        self.eof_wanted = True
        self.gate = self.refuse
        if not self.buffer:
            self.shut_writing()

    def shut_writing(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer is gone; reading will tell

    # -- ends

    def close(self) -> None:
        if self.state == OPEN:
            self.state = CLOSING
            self.gate = self.refuse
            if self.buffer:
                self.watch()
            else:
                self.lose(None)

    def break_off(self, exc: OSError) -> None:
        """A send failed. What the peer sent before is still to be read, so the end comes after it."""
        self.drop_output(exc)
        if self.state == OPEN and not self.paused and not self.eof_seen and not self.starting:
            self.state = CLOSING
            self.watch()
            self.loop.call_soon(self.salvage, exc)
        else:
            self.lose(exc)

    def salvage(self, exc: OSError) -> None:
        for _ in range(SALVAGE):
            if self.paused or self.eof_seen or self.state == LOST or self.into:
                break
            try:
                data = self.recv(RECV_MAX)
                if not data:
                    break
                self.data_received(data)
            except OSError:
                break
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self.face._fatal_error(error, "Fatal error: protocol.data_received() call failed.")
        self.lose(exc)

    def lose(self, exc: BaseException | None) -> None:
        """The end: nothing is read or sent any more, and the protocol will be told."""
        if self.state == LOST:
            return
        self.state = LOST
        self.drop_output(exc)
        self.watch()
        self.loop.call_soon(self.face._call_connection_lost, exc)

    def drop_output(self, exc: BaseException | None) -> None:
        self.total_out -= self.waiting
        for piece in self.buffer:
            if isinstance(piece, FilePart):
                piece.close()
        self.buffer.clear()
        self.offset = self.waiting = self.file_bytes = 0
        self.gate = self.refuse
        if self.empty_waiter is not None and not self.empty_waiter.done():
            self.empty_waiter.set_exception(exc or ConnectionError("Connection is closed by peer"))

    # -- what to poll for

    def watch(self) -> None:
        mask = 0
        if self.state == OPEN and not (self.paused or self.eof_seen or self.starting):
            mask = READ
        if self.buffer and self.state != LOST:
            mask |= WRITE
        if mask != self.mask:
            self.mask = mask
            # A paused fd is unregistered, not masked: a hang-up would be reported again and again.
            self.poller.watch(self.fd, self, mask)


class StreamTransport(transports._FlowControlMixin, asyncio.Transport):
    """The `asyncio.Transport` around a `StreamCore`.

    Args:
        loop, protocol: as ever in asyncio.
        sock: a non-blocking socket, or what behaves like one.
        poller: calls the core for each event of the socket.
        extra: what `get_extra_info` knows beside socket, sockname and peername.
        server: an `asyncio.Server` that counts its connections.
    """

    # Of asyncio's classes, which do not declare them.
    _extra: dict[str, Any]
    _maybe_pause_protocol: Callable[[], None]
    _maybe_resume_protocol: Callable[[], None]

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: Any,
        protocol: asyncio.BaseProtocol,
        poller: Poller,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> None:
        super().__init__(extra, loop)
        self._loop = loop
        self._sock: Any = sock
        self._sock_fd: int = sock.fileno()
        self._server = server
        self._drops = 0
        self._extra.setdefault("socket", trsock.TransportSocket(sock) if isinstance(sock, socket.socket) else sock)
        self._extra.setdefault("sockname", _name(sock.getsockname))
        self._extra.setdefault("peername", _name(sock.getpeername))
        self.core = StreamCore(sock, poller, loop, self)
        self.write = self.core.write  # type: ignore[method-assign]  # one call less on the hot path
        self.set_protocol(protocol)
        if server is not None:
            _attach(server, self)

    def start(self) -> None:
        """Tell the protocol, then read."""
        self._protocol.connection_made(self)
        self._start_reading()

    def _start_reading(self) -> None:
        self.core.starting = False
        self.core.watch()

    # -- protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol: Any = protocol
        self.core.into = isinstance(protocol, asyncio.BufferedProtocol)
        self.core.data_received = getattr(protocol, "data_received", _nobody)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", self._protocol)

    # -- reading

    def is_reading(self) -> bool:
        return self.core.state == OPEN and not self.core.paused

    def pause_reading(self) -> None:
        if self.is_reading():
            self.core.paused = True
            self.core.watch()

    def resume_reading(self) -> None:
        if self.core.paused and self.core.state == OPEN:
            self.core.paused = False
            self.core.watch()

    # -- writing (`write` is the core's)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.core.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self.core.waiting

    def _dropped(self, data: bytes) -> None:
        """A write after the end: asyncio warns when a protocol does not notice."""
        if self.core.eof_wanted:
            _after_eof(data)
        if data and self.core.state == LOST:
            self._drops += 1
            if self._drops == constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("socket.send() raised exception.")

    # -- ends

    def is_closing(self) -> bool:
        return self.core.state != OPEN

    def close(self) -> None:
        self.core.close()

    def abort(self) -> None:
        self.core.lose(None)

    def _force_close(self, exc: BaseException | None) -> None:
        self.core.lose(exc)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        if not isinstance(exc, OSError):
            self._loop.call_exception_handler(
                {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
            )
        self.core.lose(exc)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._sock.close()
            self._sock = None
            self.core.data_received = _nobody
            server, self._server = self._server, None
            if server is not None:
                _detach(server, self)

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_sock", None) is not None:
            if isinstance(self._sock, socket.socket):  # in memory there is nothing to run out of
                _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            self._sock.close()
            if self._server is not None:
                _detach(self._server, self)

    def __repr__(self) -> str:
        core = self.core
        state = ("open", "closing", "closed")[core.state]
        reading, writing = ("polling" if core.mask & side else "idle" for side in (READ, WRITE))
        name = type(self).__name__
        return f"<{name} {state} fd={self._sock_fd} read={reading} write=<{writing}, bufsize={core.waiting}>>"

    # -- what asyncio's loop asks of a transport for sendfile and start_tls

    def _make_empty_waiter(self) -> asyncio.Future[None]:
        core = self.core
        if core.empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        core.empty_waiter = waiter = self._loop.create_future()
        core.gate = _during_sendfile
        if not core.buffer:
            waiter.set_result(None)
        return waiter

    def _reset_empty_waiter(self) -> None:
        self.core.empty_waiter = None
        if self.core.state == OPEN:
            self.core.gate = _after_eof if self.core.eof_wanted else None


def _nobody(data: bytes) -> None:
    """Input that nobody wants."""


def _after_eof(data: bytes) -> None:
    raise RuntimeError("Cannot call write() after write_eof()")


def _during_sendfile(data: bytes) -> None:
    raise RuntimeError("unable to write; sendfile is in progress")


def _name(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except OSError:
        return None


# An asyncio.Server counts its connections; from Python 3.13 on it wants to know which.
if sys.version_info >= (3, 13):

    def _attach(server: Any, transport: StreamTransport) -> None:
        server._attach(transport)

    def _detach(server: Any, transport: StreamTransport) -> None:
        server._detach(transport)
else:

    def _attach(server: Any, transport: StreamTransport) -> None:
        server._attach()

    def _detach(server: Any, transport: StreamTransport) -> None:
        server._detach()
