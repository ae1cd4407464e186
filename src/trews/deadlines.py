"""The deadlines of one connection: idle, slow message, peer that takes nothing, code that does not end.

The connection notes what happens; the loop's wheel asks here when the earliest of them may have passed.
A clock that must stand still (nobody asks for the message, the user has paused) is stopped, not ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trews.errors import IdleTooLong, MessageTooSlow, WriteStalled
from trews.phase import Phase
from trews.timers import clock_of, wheel_of
from trews.transport.stream import StreamTransport

if TYPE_CHECKING:
    import asyncio

    from trews.lifecycle import Lifecycle

SAMPLE = 0.01  # of write_timeout: how often a transport that does not tell is asked for progress


class Deadlines:
    """The clocks of one connection; `None` for a setting is no deadline.

    Attributes:
        heard_at: when the peer last sent something (seconds of the loop's time).
        sent_at: when something was last handed to a transport that is not ours.
    """

    __slots__ = (
        "_cancelled_at",
        "_clock",
        "_connection",
        "_down_at",
        "_sample",
        "_wheel",
        "heard_at",
        "message_at",
        "message_spent",
        "sent_at",
        "wheel_slot",
    )

    def __init__(self, connection: Lifecycle, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._clock = clock_of(loop)
        self._wheel = wheel_of(loop)
        self.wheel_slot = 0.0  # the wheel's
        self.heard_at = self.sent_at = self._clock.now()
        self.message_at = 0.0  # when the incomplete message began; 0.0 while its clock stands still
        self.message_spent = 0.0
        self._down_at = 0.0
        self._cancelled_at = 0.0
        self._sample = (-1, 0.0)  # bytes sent while some wait (-1: none do), and when that was first seen

    # -- what happens

    def heard(self) -> None:
        """A pause has ended: the peer's time counts from now on."""
        self.heard_at = self._clock.now()

    def sent(self) -> None:
        """Something was handed to a transport that is not ours."""
        self.sent_at = self._clock.now()

    def watch_idle(self) -> None:
        """See to it that `idle_timeout` is looked at."""
        timeout = self._connection.idle_timeout
        if timeout is not None:
            self._wheel.arm(self, self._idle_at(timeout))

    def watch_stall(self, timeout: float | None) -> None:
        """Bytes wait for the peer: it has `timeout` seconds to take the next one."""
        if timeout is not None:
            self._wheel.arm(self, self._stalled_at(timeout))

    def watch_flush(self, timeout: float | None) -> None:
        """As `watch_stall`, from now on: the connection is closing."""
        self._sample = (-1, 0.0)
        transport = self._connection._transport
        if isinstance(transport, StreamTransport):
            transport.core.sent_at = self._clock.now()
        self.watch_stall(timeout)

    def run_message(self) -> None:
        """An incomplete message is there and somebody waits for the rest."""
        timeout = self._connection.message_timeout
        if timeout is not None and not self.message_at:
            self.message_at = self._clock.now() - self.message_spent
            self._wheel.arm(self, self.message_at + timeout)

    def stop_message(self, is_complete: bool) -> None:
        """The message is complete; or nobody asks for the rest, and the peer is not to blame for that time."""
        if self.message_at:
            self.message_spent = self._clock.now() - self.message_at
            self.message_at = 0.0
        if is_complete:
            self.message_spent = 0.0

    def go_down(self) -> None:
        """The transport is gone."""
        self._wheel.disarm(self)
        self._down_at = self._clock.now()
        self._cancelled_at = 0.0

    def watch_tasks(self, timeout: float | None) -> None:
        """Code still runs: it has `timeout` seconds from when the transport went."""
        if timeout is not None:
            self._wheel.arm(self, max(self._down_at + timeout, self._clock.now()))

    def end(self) -> None:
        """The connection has ended."""
        self._wheel.disarm(self)

    # -- when they pass

    def on_deadline(self, now: float) -> float:
        """For the wheel: act on what has passed; return when the next deadline is, 0.0 for none."""
        connection = self._connection
        try:
            if connection._phase is Phase.OPEN:
                return self._check_open(connection, now)
            if connection._phase is Phase.FLUSHING:
                return self._check_stall(connection, now, connection.close_timeout)
            return self._check_down(connection, now)
        except Exception as exc:
            connection._failed(exc)
            return 0.0

    def _check_open(self, connection: Lifecycle, now: float) -> float:
        dues = [self._check_stall(connection, now, connection.write_timeout)]
        if self.message_at and connection.message_timeout is not None:
            dues.append(self.message_at + connection.message_timeout)
            if dues[-1] <= now:
                seconds, count = connection.message_timeout, len(connection._inbox)
                connection._shut(MessageTooSlow(f"a message took over {seconds:g} s; {count} bytes of it came"))
        if connection.idle_timeout is not None and not connection._is_paused:
            dues.append(self._idle_at(connection.idle_timeout))
            if dues[-1] <= now:
                connection._shut(IdleTooLong(f"no byte either way for {connection.idle_timeout:g} s"))
        # Ending it has armed what is needed from there on.
        return min((due for due in dues if due), default=0.0) if connection._phase is Phase.OPEN else 0.0

    def _check_stall(self, connection: Lifecycle, now: float, timeout: float | None) -> float:
        if timeout is None or not (waiting := connection._transport.get_write_buffer_size()):
            return 0.0
        due = self._stalled_at(timeout)
        if due > now:
            return due
        connection._drop(WriteStalled(f"the peer took none of {waiting} waiting bytes for {timeout:g} s"))
        return 0.0

    def _check_down(self, connection: Lifecycle, now: float) -> float:
        """Code that still runs is cancelled after `close_timeout`, and left behind after two of them."""
        timeout = connection.close_timeout
        if timeout is None or not connection._has_tasks():
            return 0.0
        due = (self._cancelled_at or self._down_at) + timeout
        if due > now:
            return due
        if self._cancelled_at:
            connection._leave_tasks()
            return 0.0
        self._cancelled_at = now
        connection._end_grace()
        return now + timeout

    def _idle_at(self, timeout: float) -> float:
        transport: Any = self._connection._transport
        if isinstance(transport, StreamTransport):
            return max(self.heard_at, transport.core.heard_at, transport.core.sent_at) + timeout
        is_backlogged = transport.get_write_buffer_size() > 0
        if not is_backlogged and self._sample[0] < 0:
            return max(self.heard_at, self.sent_at, self._sample[1]) + timeout
        next_look = self._look(timeout)
        due = max(self.heard_at, self.sent_at, self._sample[1]) + timeout
        if is_backlogged:
            return min(due, next_look)
        self._sample = (-1, self._sample[1])  # the last of it has gone
        return due

    def _stalled_at(self, timeout: float) -> float:
        """When bytes that wait will have waited for `timeout` since the peer last took one."""
        transport: Any = self._connection._transport
        if isinstance(transport, StreamTransport):
            return transport.core.sent_at + timeout
        next_look = self._look(timeout)
        return min(self._sample[1] + timeout, next_look)

    def _look(self, timeout: float) -> float:
        """A transport that is not ours does not tell when it sent something: looked at often, within 2 %.

        Returns:
            When to look again.
        """
        now = self._clock.now()
        sent = self._connection.bytes_out
        if sent != self._sample[0]:
            self._sample = (sent, now)
        return now + max(0.1, timeout * SAMPLE)
