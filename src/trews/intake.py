"""What comes from the transport: a message that is all of it is handed out here and now, everything else is kept.

`lifecycle` hands out what was kept, in order with the other events.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from trews.errors import ConnectionClosed
from trews.framing import SPENT
from trews.inbox import NEED, Inbox, is_zero
from trews.output import Output
from trews.phase import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from trews.reader import Reader
    from trews.timers import Clock

_OPEN = Phase.OPEN
_NO_INBOX = Inbox()  # of all that have kept nothing yet; nobody puts anything in


class Intake(Output):
    """The part of a connection that bytes come to."""

    # Settings and callbacks of Connection that are used here.
    framer: Any
    max_message: int
    idle_timeout: float | None
    on_read: Callable[[Any], Any]

    _clock: Clock
    _reader: Reader | None
    _has_news: bool  # see `Lifecycle._prepare`
    _is_eof: bool
    _is_paused: bool  # by the user
    _is_pumping: bool

    _inbox = _NO_INBOX
    _has_on_read: ClassVar[bool] = False  # that is: Consumer.ON_READ
    _bytes_in = 0  # as far as the transport does not count

    # -- what comes of it

    @abstractmethod
    def _regulate(self) -> None:
        """Decide whether to read from the peer, and which clocks run."""

    @abstractmethod
    def _shut(self, reason: ConnectionClosed) -> None:
        """Begin an orderly end."""

    # -- bytes

    def data_received(self, data: bytes) -> None:
        # Of another loop's transport. Ours counts by itself, and calls `_receive`.
        self._bytes_in += len(data)
        self._deadlines.heard_at = self._clock.tick
        self._receive(data)

    def _receive(self, data: bytes) -> None:
        """Bytes have come. If somebody waits for a message, and nothing else does, it is handed out here and now.

        That is the usual case; through `_pump` a message of a framer takes 2.5 us longer (CPython 3.13, uncompiled).
        """
        reader = self._reader
        if self._has_news or self._is_pumping:
            if self._phase is _OPEN:  # closing, it is thrown away
                self._keep(data)
        elif reader is not None:
            callbacks = reader.future._callbacks
            if callbacks:
                framer = reader.framer
                message = data if framer is None else self._at_once(framer, data)
                if message is not NEED and not reader.give(callbacks, message):
                    self._keep(data)
            else:
                self._keep(data)
        elif not self._has_on_read or self._task is not None:
            self._keep(data)
        else:
            try:
                framer = self.framer
                message = data if framer is None else self._at_once(framer, data)
                if message is NEED:
                    return
                result = self._context.run(self.on_read, message)
                if result is not None:
                    self._follow(result)
                if self.framer is not framer:
                    self._pump()  # a message of no bytes, perhaps
                elif self.idle_timeout is not None and self._phase is _OPEN:
                    self._deadlines.watch_idle()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as exc:
                self._failed(exc)

    def _at_once(self, framer: Any, data: bytes) -> Any:
        """The message that has come, if it is one and nothing else. Otherwise NEED, and the rest is seen to."""
        if framer is None:
            return data
        try:
            message = self._own_inbox().receive(framer, self.max_message, data)
        except (KeyboardInterrupt, SystemExit):
            self._has_news = True
            raise
        except BaseException as exc:
            self._has_news = True
            if self._reader is None:
                self._refused(exc)
            else:
                self._reader.wake()  # it takes it, and gets the error where it belongs
            return NEED
        if message is NEED:
            self._has_news = True
            self._pump()
        return message

    def _own_inbox(self) -> Inbox:
        """What keeps bytes: made when it is first needed, as many connections never do."""
        inbox = self._inbox
        if inbox is _NO_INBOX:
            inbox = self._inbox = Inbox()
        return inbox

    def _keep(self, data: bytes) -> None:
        """Somebody will want it."""
        self._own_inbox().feed(data)
        self._has_news = True
        if self._is_pump_due:
            self._regulate()  # it has had this turn already
        else:
            self._pump()

    # -- messages

    def _next_message(self) -> Any:
        """The next message for `on_read`, or NEED."""
        framer = self.framer
        try:
            message = self._take(framer)
        except BaseException as exc:
            self._refused(exc)
            return NEED
        if not message:
            self._spend(framer, message)
        return message

    def _refused(self, exc: BaseException) -> None:
        """There is no message in what has come."""
        if isinstance(exc, ConnectionClosed):
            self._break(exc)
        elif isinstance(exc, (KeyboardInterrupt, SystemExit)):
            raise exc
        else:  # of a user's framer, or a framer that is none
            self._failed(exc)

    def _spend(self, framer: Any, message: Any) -> None:
        """After a message by the setting: 0 makes one b"" for each time that it is assigned."""
        if not message and message is not NEED and is_zero(framer):
            self.framer = SPENT

    def _take(self, framer: Any) -> Any:
        if framer is None and self._inbox is _NO_INBOX:
            return NEED
        inbox = self._own_inbox()
        take = inbox.finish if self._is_eof else inbox.take
        message = take(framer, self.max_message)
        deadlines = self._deadlines
        if message is not NEED and (deadlines.message_at or deadlines.message_spent):
            deadlines.stop_message(is_complete=True)
        return message

    def _break(self, exc: ConnectionClosed) -> None:
        """The peer sent what the framer refuses, or ended in the middle."""
        self._inbox.clear()
        self._shut(exc)
