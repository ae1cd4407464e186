"""The life of a connection, from its transport's first word to `on_close`: all that decides, nothing that waits.

The states are in `phase`. `Lifecycle` is the `asyncio.Protocol` under `Connection`. Input waits in an `Inbox`, and
`_pump` is the one place that hands it out, one event after the other: messages, EOF, the close. It stops while an
async callback runs, while a `read()` waits, and while the user has paused. Users call `Connection`, nothing here.

Callbacks run in the connection's own context, which is not re-entrant. So they are called from the loop only:
what users call (`close`, `resume_reading`, …) never calls back, but asks for a turn (`call_soon`).
(Past 400 lines: one state machine, whose parts would have to share all of its state.)
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket
import struct
import time
from typing import TYPE_CHECKING, Any, ClassVar

from trews import debugging
from trews.addresses import from_name
from trews.deadlines import Deadlines
from trews.errors import (
    Aborted,
    ClosedByPeer,
    ClosedLocally,
    ConnectionClosed,
    ConnectionReset,
    closed_by,
)
from trews.inbox import NEED
from trews.intake import Intake
from trews.output import is_method
from trews.phase import Consumer, Phase
from trews.reader import Reader
from trews.settings import DEFAULTS, check_setting
from trews.timers import clock_of
from trews.transport.linger import Linger
from trews.transport.stream import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trews.transport.process import ProcessSocket

logger = logging.getLogger("trews")

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST

MESSAGE_SECONDS = 0.010  # for the messages of one connection in a turn; then the others get theirs
MESSAGES_A_TURN = 1024

_NEW, _OPEN, _FLUSHING, _DOWN, _CLOSED = Phase


class Lifecycle(Intake):
    """What happens to a connection, and in which order its callbacks learn of it."""

    # Settings, callbacks and methods of Connection that are used here.
    read_high: int
    message_timeout: float | None
    close_timeout: float | None
    half_close: bool
    on_connect: Callable[[], Any]
    on_eof: Callable[[], Any]
    on_close: Callable[[Any], Any]

    _id: int
    _opened_at = 0.0

    _server: Any = None
    _remote_address: Any = None
    _local_address: Any = None
    _host = ""  # a client's: whom it was to be connected to
    _consumer: ClassVar[Consumer] = Consumer.READ
    _closes_after_connect: ClassVar[bool] = False  # a handler function: its return ends the connection

    _down_waiters: Sequence[asyncio.Future[None]] = ()
    _end_waiters: Sequence[asyncio.Future[None]] = ()
    _gone_waiters: Sequence[asyncio.Future[None]] = ()
    _made: asyncio.Future[None] | None = None  # connect() waits for it
    _linger: Linger | None = None
    _is_connecting = False  # on_connect has not returned
    _is_eof_told = False
    _delivers_rest = False  # lost: what arrived before is still handed out
    _is_ended = False
    _is_gone = False
    _is_aborted = False
    _has_handed_over = False
    _deadlines_class: ClassVar[type[Deadlines]] = Deadlines

    def _prepare(self) -> None:
        """What is asked for at each message: see `Calls`."""
        self._phase = _NEW
        self._raw_write = self._write_unconnected
        self._task = None
        self._reader: Reader | None = None
        self._spare_reader: Reader | None = None  # of the read() before
        # Whether there is, or was, something to look at before bytes or a read(): what is in the inbox, an end of any
        # kind, a pause, that it is not open. Each sets it; `_regulate` looks again.
        self._has_news = True
        self._is_eof = False
        self._is_paused = False  # by the user
        self._is_pumping = False
        self._is_reading = True  # as far as the transport knows
        self._is_stopping = False  # to be closed when what has arrived is handed out

    # -- what the transport tells (asyncio.Protocol)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._transport: Any = transport
        self._context = contextvars.copy_context()
        self._clock = clock_of(loop)
        self._deadlines = self._deadlines_class(self, loop)
        self._opened_at = time.time()
        # What the server knows is said by a PROXY header, perhaps.
        if self._remote_address is None:
            self._remote_address = from_name(transport.get_extra_info("peername"))
        self._bind_write(transport)
        if loop.get_debug():
            debugging.check_threads(self)
        self._phase = _OPEN
        self._has_news = self._is_stopping
        if debugging.is_tracing:
            debugging.trace(self, transport)
        if self._server is not None:
            self._server._opened(self)
        self._is_connecting = True
        if self._deliver(self.on_connect):
            self._connected()
        self._pump()
        if self._made is not None:
            if self._made.cancelled():  # nobody waits for it any more
                self._drop(Aborted("connecting was cancelled"))
            elif not self._made.done():
                self._made.set_result(None)

    def eof_received(self) -> bool:
        self._is_eof = self._has_news = True
        self._pump()
        return True  # the transport stays open: what is closed when is decided here

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._phase <= _FLUSHING:
            was_open = self._phase is _OPEN
            if exc is None and was_open and not self._is_eof:
                exc = Aborted("the transport was closed under the connection")
            if exc is not None or was_open:
                self._set_reason(closed_by(exc))
            self._delivers_rest = was_open
            self._go_down()
        self._release()
        self._pump()

    # -- handing out events

    def _pump(self) -> None:
        """Hand out what is due, in order, until something must be waited for."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            if self._reader is not None:
                self._signal(self._reader)
            else:
                self._hand_out()
            if self._phase is _OPEN:
                self._regulate()
        except Exception as exc:
            self._failed(exc)
        finally:
            self._is_pumping = False

    def _hand_out(self) -> None:
        """Events until there are no more, or they have had their turn: a read may hold 262,144 messages."""
        now = self._clock.now
        end = now() + MESSAGE_SECONDS
        count = 0
        while self._task is None and self._step():
            count += 1
            if self._inbox.buffer and (count == MESSAGES_A_TURN or now() > end):
                self._pump_soon()
                return

    def _step(self) -> bool:
        """Hand out one event. False if there is none, or none before something else has happened."""
        phase = self._phase
        if phase is _OPEN or (phase is _DOWN and self._delivers_rest):
            if self._reader is not None:
                return False
            if self._is_paused and phase is _OPEN:
                return self._step_stop()
            if self._delivers_to_on_read():
                message = self._next_message()
                if message is not NEED:
                    self._deliver(self.on_read, message)
                    return True
            elif self._consumer is Consumer.NOBODY:
                self._inbox.clear()
            elif len(self._inbox) and phase is _OPEN:
                return self._step_stop()  # what is there is kept for read()
            if self._phase is not phase:
                return True  # the message was refused
            if self._is_eof:
                return self._step_eof(phase)
            if phase is _OPEN:
                return self._step_stop()
        if phase is _DOWN and not self._spawned:
            self._finish()
        return False

    def _step_eof(self, phase: Phase) -> bool:
        if not self._is_eof_told:
            self._is_eof_told = True
            self._deliver(self.on_eof)
            return True
        if phase is _OPEN and (self._is_write_closed or not self.half_close):
            self._shut(ClosedByPeer())
        elif phase is _OPEN:
            self._step_stop()
        elif not self._spawned:
            self._finish()
        return False

    def _step_stop(self) -> bool:
        """Nothing is to be handed out now: the end, if the connection was only waiting for that."""
        if self._is_stopping:
            self._shut(ClosedLocally(self._why_stopping()))
        return False

    def _why_stopping(self) -> str:
        return "the client is stopping" if self._server is None else "the server is stopping"

    def _delivers_to_on_read(self) -> bool:
        return self._has_on_read or not is_method(self, "on_read")

    def _signal(self, reader: Reader) -> None:
        """Wake the waiting `read()` if there is something for it."""
        if not reader.is_waiting:
            return
        if self._phase is _OPEN and not self._is_eof and not self._is_at_stop():
            try:
                if not self._own_inbox().peek(reader.framer, self.max_message):
                    return
            except Exception:
                pass  # the reader takes it and gets the error where it belongs
        reader.wake()

    def _is_at_stop(self) -> bool:
        """Whether a `read()` ends now because the server is stopping: it is, and this is between two messages."""
        return self._is_stopping and not len(self._inbox)

    # -- what comes of calls and turns

    def _returned(self) -> None:
        if self._phase is _CLOSED:
            self._end_if_idle()
            return
        if self._is_connecting:
            self._connected()
        self._pump()

    def _spawned_returned(self) -> None:
        # While the connection is open nothing waits for it: a pump for each of thousands would be their turn's time.
        if self._task is None and self._phase > _FLUSHING:
            self._returned()

    def _connected(self) -> None:
        """`on_connect` has returned."""
        self._is_connecting = False
        if self._closes_after_connect and self._phase is _OPEN:
            self._shut(ClosedByPeer() if self._is_eof else ClosedLocally("its handler returned"))

    def _failed(self, exc: BaseException) -> None:
        exc = self._explained(exc)
        reason = Aborted(f"the connection's own code failed: {exc!r}")
        reason.__cause__ = exc
        try:
            told = self._tell_error(exc)
        finally:  # also if that calls sys.exit()
            self._drop(reason)
        if told is not None:
            self._spawn(told)
            if self._phase > _FLUSHING:
                self._deadlines.watch_tasks(self.close_timeout)

    def _explained(self, exc: BaseException) -> BaseException:
        """What may be behind an error: a setting was assigned what it cannot be. It is undone."""
        for name in DEFAULTS.keys() & self.__dict__.keys():
            try:
                check_setting(name, self.__dict__[name])
            except (TypeError, ValueError) as error:
                del self.__dict__[name]
                error.__cause__ = exc
                exc = error
        return exc

    def _running(self) -> None:
        if self._phase > _FLUSHING:
            self._deadlines.watch_tasks(self.close_timeout)
            if self._is_aborted:  # in the first step of that code, before it could be cancelled
                self._cancel_tasks()

    def _cancelled(self) -> None:
        if self._phase <= _FLUSHING:
            self._drop(Aborted("the handler was cancelled"))

    def _end_grace(self) -> None:
        """Code that runs on after the transport is gone has had its time."""
        self._delivers_rest = False
        self._inbox.clear()
        self._cancel_tasks()

    def _leave_tasks(self) -> None:
        """Code that goes on although it was cancelled must not keep the connection from ending."""
        self._forget_tasks()
        if self._phase is _CLOSED:
            self._end_if_idle()
        else:
            self._pump_soon()

    def _tell(self, name: str) -> None:
        if self._phase is _OPEN:
            self._notify(name)

    # -- flow of input

    def _regulate(self) -> None:
        """Decide whether to read from the peer, and which clocks run."""
        reader = self._reader
        inbox = self._inbox
        if reader is not None:
            is_hungry = reader.is_waiting
        else:
            is_hungry = self._task is None and not (self._is_paused or self._is_pump_due)
            is_hungry = is_hungry and (self._consumer is not Consumer.READ or self._delivers_to_on_read())
        if self._is_paused or self._is_eof or self._is_at_stop() or (self._is_stopping and reader is None):
            wanted = False
        else:
            wanted = is_hungry or len(inbox) <= self.read_high
        if wanted is not self._is_reading:
            self._read_from_peer(wanted)
        is_ending = self._is_eof or self._is_stopping or self._phase is not _OPEN
        self._has_news = is_ending or not wanted or len(inbox) > 0
        if is_hungry and inbox.partial and (self.framer if reader is None else reader.framer) is not None:
            self._deadlines.run_message()
        else:
            self._deadlines.stop_message(is_complete=is_hungry or not len(inbox))
        if self.idle_timeout is not None and not self._is_paused:
            self._deadlines.watch_idle()

    def _read_from_peer(self, wanted: bool) -> None:
        self._is_reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # -- ending

    def _set_reason(self, reason: ConnectionClosed) -> None:
        """The first reason counts, but a goodbye that came to nothing was none."""
        if isinstance(reason, (ClosedByPeer, ClosedLocally, ConnectionReset)):
            reason = getattr(self._child_process(), "reason", None) or reason  # its status says more
        if self._reason is None or (self._reason.is_clean and not reason.is_clean):
            reason.connection = self
            self._reason = reason

    def _shut(self, reason: ConnectionClosed) -> None:
        """Begin an orderly end: flush, then FIN. Input is thrown away from now on."""
        if self._phase is not _OPEN:
            return
        self._set_reason(reason)
        self._phase = _FLUSHING
        self._has_news = True
        self._inbox.clear()
        self._is_paused = False
        transport = self._transport
        if isinstance(transport, StreamTransport):
            transport.core.gate = self._refuse_write
        if self._server is not None:
            self._server._closing(self)
        if not self._is_reading and not self._is_eof:
            self._read_from_peer(True)
        if self._reader is not None:
            self._reader.wake()
        if transport.get_write_buffer_size() or self._held is not None:
            transport.set_write_buffer_limits(0, 0)  # resume_writing comes when all is sent
            self._deadlines.watch_flush(self.close_timeout)
        else:
            self._loop.call_soon(self._flushed)

    def _flushed(self) -> None:
        """All is sent: say goodbye, and leave the socket to a `Linger`."""
        if self._phase is not _FLUSHING or self._held is not None or self._transport.get_write_buffer_size():
            return
        self._note_sent()
        self._go_down()
        if not self._is_write_closed:
            self._say_goodbye()
        self._linger = Linger(self._transport, self._loop, self._release)
        if self._is_eof:
            self._transport.close()
        self._pump()

    def _drop(self, reason: ConnectionClosed) -> None:
        """End now. Nothing that waits is sent. Running code is cancelled if this program wanted it (Aborted)."""
        if self._phase > _FLUSHING:
            self._is_aborted = True
            self._cancel_tasks()
            if self._linger is not None:
                self._linger.abort()
            return
        self._set_reason(reason)
        self._inbox.clear()
        self._note_sent()
        self._go_down()
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except (OSError, ValueError):
                pass  # gone already; ValueError is uvloop's way to say so
        self._transport.abort()
        if isinstance(reason, Aborted):  # otherwise its code learns of it, and has close_timeout
            self._is_aborted = True
            self._cancel_tasks()
        self._pump_soon()

    def _go_down(self) -> None:
        """The connection is over as far as bytes go; what its code still does has `close_timeout`."""
        was_open = self._phase is _OPEN
        self._note_address()
        self._phase = _DOWN
        self._has_news = True
        if was_open and self._server is not None:
            self._server._closing(self)
        for task in self._spawned:
            task.cancel()
        if self._reader is not None:
            self._reader.wake()
        self._wake("_drainers")
        self._wake("_down_waiters")
        self._end_files()
        self._deadlines.go_down()
        if self._has_tasks():
            self._deadlines.watch_tasks(self.close_timeout)

    def _note_address(self) -> None:
        """Ask for this end's address, if nobody has: it costs a system call and 140 bytes."""
        if self._local_address is None and self._phase is not _NEW:
            self._local_address = from_name(self._transport.get_extra_info("sockname"))

    def _release(self) -> None:
        """The socket is closed: its place is free."""
        self._wake("_gone_waiters")
        self._is_gone = True
        if self._server is not None:
            self._server._released(self)

    def _finish(self) -> None:
        """Everything before the close has been handed out: `on_close`, once."""
        self._phase = _CLOSED
        try:
            result = self._context.run(self.on_close, self._reason)
        except (KeyboardInterrupt, SystemExit):
            self._end_if_idle()
            raise
        except BaseException as exc:
            self._failed(exc)
            result = None
        self._deadlines.go_down()  # on_close has a close_timeout of its own
        self._is_aborted = False
        if self._has_tasks():
            self._running()
        try:
            self._follow(result)
        finally:
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        """The end of all, once what `on_close` and `on_error` began is over too."""
        if self._has_tasks() or self._is_ended:
            return
        child = self._child_process()
        if child is not None and not self._has_handed_over and child.outlives(self):
            return  # it calls this again
        self._is_ended = True
        self._deadlines.end()
        self._wake("_end_waiters")
        if self._server is not None:
            self._server._ended(self)

    def _child_process(self) -> ProcessSocket | None:
        """What it is connected to, if that is a program which was started for it."""
        sock = self._transport.core.sock if isinstance(self._transport, StreamTransport) else None
        return sock if hasattr(sock, "outlives") else None

    def _begin_stop(self) -> None:
        """The server is stopping: `on_stop`, soon."""
        self._loop.call_soon(self._tell, "on_stop")

    def _close_when_done(self) -> None:
        """Close when the running callback has returned and what has arrived is handed out; read no more."""
        self._is_stopping = self._has_news = True
        if self._phase is _OPEN:
            self._pump_soon()

    def _closed(self, reason: ConnectionClosed | None) -> ConnectionClosed:
        """A reason as a fresh exception of this connection."""
        exc = reason.fresh() if reason is not None else ClosedByPeer()
        exc.connection = self
        return exc
