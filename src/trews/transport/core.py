"""The core of the stream transport: moves bytes between one socket and one protocol.

recv → protocol, write → send, and one function computes what to poll for. A poller calls it for each event. It is the
same for real sockets, those in memory and TLS. It has no base class and plain attributes, because mypyc compiles it;
asyncio sees the `StreamTransport` around it.

State:

    OPEN ──close()──> CLOSING ──all sent──> LOST ──next turn──> connection_lost, socket closed
      └─────────────abort(), an error──────────^
"""

from __future__ import annotations

import socket
from collections import deque
from itertools import islice
from typing import Any, Final

from trews.backends import FAILED, READ, WRITE
from trews.dispatcher import Dispatcher, Stamped
from trews.timers import clock_of
from trews.transport.filepart import FilePart

# A bytes object of 512 with its header, the largest that Python's own allocator has: malloc takes 0.1 us longer.
RECV_MIN: Final = 479
RECV_NEXT: Final = 16 * 1024
RECV_MAX: Final = 256 * 1024  # what one recv may take; a connection that fills its buffer gets twice as much next time
SMALL: Final = 4096  # bytes of a write that is copied together with its neighbours
PIECES_A_SEND: Final = 64  # buffers handed to one sendmsg
SALVAGE: Final = 16  # recvs after a failed send: what the peer said before it left is delivered

OPEN: Final = 0
CLOSING: Final = 1
LOST: Final = 2

NOTHING: Final = ()  # a buffer without anything: an empty deque is 600 bytes, and most connections wait for none


def as_bytes(data: Any, what: str = "write()") -> bytes:
    """`data` as bytes that nobody can change any more. TypeError for what is not bytes-like."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    hint = "; encode it first: text.encode()" if isinstance(data, str) else ""
    raise TypeError(f"{what} takes bytes, bytearray or memoryview, not {type(data).__name__}{hint}")


class StreamCore(Stamped):
    """Moves bytes between one socket and one protocol. Everything here runs on the loop's thread.

    Args:
        sock: a connected, non-blocking socket, or what behaves like one.
        poller: calls `on_event`, as it was told by `watch`.
        face: the `StreamTransport` that asyncio sees.
    """

    __slots__ = (
        "buffer",
        "data_received",
        "dispatcher",
        "empty_waiter",
        "eof_seen",
        "eof_wanted",
        "face",
        "fd",
        "file_bytes",
        "gate",
        "heard_at",
        "into",
        "loop",
        "mask",
        "now",
        "offset",
        "owner",
        "paused",
        "poller",
        "recv",
        "send",
        "size",
        "sock",
        "starting",
        "state",
        "total_in",
        "total_out",
        "waiting",
    )

    def __init__(self, sock: Any, poller: Any, loop: Any, face: Any) -> None:
        self.sock: Any = sock
        self.fd: int = sock.fileno()
        self.recv: Any = sock.recv
        self.send: Any = sock.send
        self.poller: Any = poller
        self.loop: Any = loop
        clock: Any = clock_of(loop)
        self.now: Any = clock.now
        self.dispatcher: Dispatcher | None = clock if isinstance(clock, Dispatcher) else None  # of a loop of ours
        self.face: Any = face
        # Whose bytes these are: told of writes after the end (`_refuse_write`), asked before more is added to a
        # backlog (`_admit_more`), told that there is one (`_backlogged`). The face, or a connection of ours.
        self.owner: Any = face
        self.data_received: Any = nobody
        self.into: bool = False  # a BufferedProtocol: recv_into its buffer
        self.state: int = OPEN
        self.mask: int = 0  # what is being polled for
        self.starting: bool = True  # nothing is read before connection_made
        self.paused: bool = False
        self.eof_seen: bool = False
        self.eof_wanted: bool = False
        self.size: int = RECV_MIN
        self.buffer: Any = NOTHING  # a deque of bytes, bytearrays and FileParts when there is something
        self.offset: int = 0  # bytes of buffer[0] that are sent
        self.waiting: int = 0  # bytes of buffer that are not
        self.file_bytes: int = 0  # how many of these are in files, and not in memory
        self.total_in: int = 0  # bytes received
        self.total_out: int = 0  # bytes accepted by write
        self.sent_at = poller.tick
        self.heard_at: float = self.sent_at  # when it last sent one
        self.empty_waiter: Any = None
        # Set while a write is not simply a write: it is given the data instead.
        self.gate: Any = None

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
            data: bytes = self.recv(size)
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
                self.size = max(RECV_NEXT, size * 2)
        elif size > RECV_MIN and count < size >> 2:
            self.size = max(RECV_MIN, size >> 1)
        self.total_in += count
        if self.dispatcher is not None:
            self.heard_at = self.dispatcher.tick
        else:
            self.heard_at = self.poller.tick
        try:
            self.data_received(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self.face._fatal_error(exc, "Fatal error: protocol.data_received() call failed.")

    def read_into(self) -> None:
        protocol = self.face.get_protocol()
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
        self.total_in += count
        self.heard_at = self.poller.tick
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
            keep_open = self.face.get_protocol().eof_received()
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
        count: int = 0
        try:
            count = self.send(data)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as exc:
            self.break_off(exc)
            return
        size = len(data)
        self.total_out += size
        dispatcher = self.dispatcher
        if dispatcher is not None and dispatcher.current is self:
            dispatcher.has_written = count == size  # it reads the clock anyway, when this event is over
            if count != size:
                self.sent_at = self.now()
        else:
            self.sent_at = self.now()  # not `tick`, as code that ran long may write late
        if count != size:
            self.offset = count
            self.waiting = size - count
            self.buffer = deque((data,))
            self.watch()
            self.owner._backlogged()

    def enqueue(self, data: bytes) -> None:
        """Add to what the peer has not taken yet."""
        if not data or not self.owner._admit_more():
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
        self.owner._backlogged()

    def write_file(self, part: FilePart) -> None:
        """Send a part of a file after what waits, and before what is written from now on."""
        if not self.buffer:
            self.sent_at = self.now()  # what deadlines count from
        self.total_out += len(part)
        self.waiting += len(part)
        self.file_bytes += len(part)
        if self.buffer:
            self.buffer.append(part)
        else:
            self.buffer = deque((part,))
        self.watch()
        self.owner._backlogged()

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
                    pieces = _before_file(pieces)
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
        if not self.buffer:
            self.buffer = NOTHING
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
        if not buffer:
            self.buffer = NOTHING

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
        self.gate = self.owner._refuse_write
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
            self.gate = self.owner._refuse_write
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
                self.total_in += len(data)
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
        self.buffer = NOTHING
        self.offset = self.waiting = self.file_bytes = 0
        self.gate = self.owner._refuse_write
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


def nobody(data: bytes) -> None:
    """Input that nobody wants."""


def _before_file(pieces: list[Any]) -> list[Any]:
    """What one sendmsg may take: up to the first part of a file."""
    for index, piece in enumerate(pieces):
        if isinstance(piece, FilePart):
            return pieces[:index]
    return pieces
