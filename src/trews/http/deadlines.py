"""The deadlines of an HTTP connection: a head that takes too long, a body that comes too slowly, nobody who asks.

All are looked at by the loop's wheel, so a request costs nothing for them: that something came is noted by the
transport anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trews.deadlines import Deadlines
from trews.phase import Phase
from trews.transport.stream import StreamTransport

if TYPE_CHECKING:
    from trews.http.body import Body
    from trews.lifecycle import Lifecycle

# Seconds that a connection without a request yet has to send one when the server stops: who has just connected could
# not know, and a client may only send again what it sent on a connection that was used before (RFC 9110, 9.2.2).
LAST_CALL = 1.0


class HTTPDeadlines(Deadlines):
    """Those of a connection, and `head_timeout`, `body_timeout`, `min_body_rate`, `keep_alive_timeout`."""

    __slots__ = ("_held_at", "_last_call")

    _held_at: float
    _last_call: float

    def watch(self) -> None:
        """Look at what is due from now on."""
        due = self._http_due(self._connection, self._clock.now())
        if due:
            self._wheel.arm(self, due)

    def begin_last_call(self) -> None:
        """The server is stopping."""
        self._last_call = self._clock.now() + LAST_CALL
        self.watch()

    def begin_farewell(self) -> None:
        """The peer has ended. It may be gone, or wait for its answer: it has to go on, so that this shows."""
        if self._connection.close_timeout is not None:
            self.heard()
            self._wheel.arm(self, self._idle_at(self._connection.close_timeout))

    def reads(self, reads: bool) -> None:
        """The peer is not read from, and its time stands still; or it is again."""
        connection: Any = self._connection
        body: Body | None = connection._incoming
        if not reads:
            self._held_at = self._clock.now()
        elif body is not None and body.begun_at:
            body.begun_at += self._clock.now() - max(self._held_at, body.begun_at)
            self.heard()
            self.watch()

    def _check_open(self, connection: Lifecycle, now: float) -> float:
        due = super()._check_open(connection, now)
        if connection._phase is not Phase.OPEN:
            return 0.0
        own = self._http_due(connection, now)
        if own and own <= now:
            self._expire(connection)
            if self._is_over():
                return 0.0
            own = self._http_due(connection, now)
        return min(due, own) if due and own else due or own

    def _is_over(self) -> bool:
        return self._connection._phase is not Phase.OPEN

    def _http_due(self, connection: Any, now: float) -> float:
        """When the next of them is; 0.0 for none."""
        keep_alive: float | None = connection.keep_alive_timeout
        if connection._incoming is not None:
            due = self._body_due(connection, connection._incoming)
            if due:
                return due
        elif connection._exchange is None:
            if connection._head_at:
                timeout: float | None = connection.head_timeout
                return connection._head_at + timeout if timeout is not None else 0.0
            if connection._is_draining and not connection.bytes_in:
                return self._last_call
            return self._unasked_at(keep_alive) if keep_alive is not None else 0.0
        elif connection.close_timeout is not None and connection._waits_in_vain():
            return self._idle_at(connection.close_timeout)
        # To look whether the next request comes, when this one has ended.
        return now + keep_alive if keep_alive is not None else 0.0

    def _unasked_at(self, timeout: float) -> float:
        """When nobody will have asked for so long. Empty lines, which are passed over, ask for nothing."""
        transport: Any = self._connection._transport
        if isinstance(transport, StreamTransport):
            return max(self.heard_at, transport.core.sent_at) + timeout
        return self._idle_at(timeout)

    def _body_due(self, connection: Any, body: Body) -> float:
        """When so many bytes of a body as have come are too few; 0.0: the peer is not to blame that no more come."""
        timeout: float | None = connection.body_timeout
        if timeout is None or not body.begun_at or not connection._is_reading:
            return 0.0
        rate: float = connection.min_body_rate
        due: float = body.begun_at + max(timeout, body.total / rate if rate else 0.0)
        # Who has sent 10 MiB at once has not paid for six hours of silence with it.
        silent: float | None = connection.keep_alive_timeout
        return due if silent is None else min(due, self._idle_at(max(silent, timeout)))

    def _expire(self, connection: Any) -> None:
        if connection._incoming is not None:
            connection._body_too_slow(connection._incoming)
        elif connection._exchange is not None:
            connection._farewell()
        elif connection._head_at:
            connection._head_too_slow()
        else:
            connection._idle_too_long()
