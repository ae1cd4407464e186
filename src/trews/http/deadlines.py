"""The deadlines of an HTTP connection: a head that takes too long, a body that comes too slowly, nobody who asks.

All are looked at by the loop's wheel, so a request costs nothing for them: that something came is noted by the
transport anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trews.deadlines import Deadlines
from trews.errors import IdleTooLong
from trews.http.errors import BadMessage
from trews.phase import Phase

if TYPE_CHECKING:
    from trews.http.body import Body
    from trews.lifecycle import Lifecycle


class HTTPDeadlines(Deadlines):
    """Those of a connection, and `head_timeout`, `body_timeout`, `min_body_rate`, `keep_alive_timeout`."""

    __slots__ = ("_held_at",)

    _held_at: float

    def watch(self) -> None:
        """Look at what is due from now on."""
        due = self._http_due(self._connection, self._clock.now())
        if due:
            self._wheel.arm(self, due)

    def hold(self) -> None:
        """The peer is not read from: its time stands still."""
        self._held_at = self._clock.now()

    def go_on(self) -> None:
        """It is read from again."""
        connection: Any = self._connection
        request = connection._exchange
        body = request._body if request is not None else None
        if body is not None and body.begun_at:
            body.begun_at += self._clock.now() - self._held_at
        self.watch()

    def _check_open(self, connection: Lifecycle, now: float) -> float:
        due = super()._check_open(connection, now)
        if connection._phase is not Phase.OPEN:
            return 0.0
        own = self._http_due(connection, now)
        if own and own <= now:
            self._expire(connection)
            return 0.0 if self._is_over() else self._http_due(connection, now)
        return min(due, own) if due and own else due or own

    def _is_over(self) -> bool:
        return self._connection._phase is not Phase.OPEN

    def _http_due(self, connection: Any, now: float) -> float:
        """When the next of them is; 0.0 for none."""
        request = connection._exchange
        keep_alive: float | None = connection.keep_alive_timeout
        if request is None:
            if connection._head_at:
                timeout: float | None = connection.head_timeout
                return connection._head_at + timeout if timeout is not None else 0.0
            return self._idle_at(keep_alive) if keep_alive is not None else 0.0
        body = request._body
        if body is not None and body.begun_at and not body.is_complete and not connection._is_held:
            due = self._body_due(connection, body)
            if due:
                return due
        return (
            now + keep_alive if keep_alive is not None else 0.0
        )  # to look whether the next comes, when this has ended

    @staticmethod
    def _body_due(connection: Any, body: Body) -> float:
        """When so many bytes of a body as have come are too few."""
        timeout: float | None = connection.body_timeout
        if timeout is None or body.error is not None:
            return 0.0
        rate: float = connection.min_body_rate
        return body.begun_at + max(timeout, body.total / rate if rate else 0.0)

    def _expire(self, connection: Any) -> None:
        request = connection._exchange
        if request is not None:
            connection._body_too_slow(
                request, BadMessage(408, f"a body of fewer than {connection.min_body_rate:g} bytes/s")
            )
        elif connection._skipped is not None:
            connection._shut(IdleTooLong("the rest of a body took too long"))
        elif connection._head_at:
            connection._refuse(BadMessage(408, f"a head that took over {connection.head_timeout:g} s"))
        else:
            connection._shut(IdleTooLong(f"no request for {connection.keep_alive_timeout:g} s"))
