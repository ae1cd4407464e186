"""Requests whose answer takes long to begin: one line in the log while it does, with where the handler waits.

It looks at a connection when its request is `slow_request` seconds old, by the loop's wheel: never early, and late by
at most 250 ms. A handler that blocks the loop is seen when it has returned: nothing else runs before. An answer that
has begun may go on for as long as it likes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from trews.http.access_log import escaped, host_of
from trews.timers import wheel_of

if TYPE_CHECKING:
    import asyncio

    from trews.http.request import Request

logger = logging.getLogger("trews.http")

_LATE = 0.25  # seconds that the wheel may be late
_MAX_DEPTH = 100  # coroutines that wait for one another
_OURS = ("asyncio.", "trews.")


class SlowRequest:
    """Watches the requests of one connection.

    Args:
        connection: its requests.
        seconds: how long one may take.
    """

    __slots__ = ("_connection", "_seconds", "_told", "_watched", "_wheel", "wheel_slot")

    def __init__(self, connection: Any, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._wheel = wheel_of(connection._loop)
        self._told: Request | None = None  # the one there is nothing more to say of
        self._watched: Request | None = None  # the one that did not get its answer in one go
        self.wheel_slot = 0.0  # the wheel's

    def watch(self, request: Request) -> None:
        """A request is in progress."""
        if request is not self._told:
            self._watched = request
            self._wheel.arm(self, request._begun_at + self._seconds)

    def answered(self, request: Request) -> None:
        """The answer to a request has begun."""
        if request is not self._told:
            self._told = request
            took = self._connection._clock.now() - request._begun_at
            if took > self._seconds:
                self._tell_late(request, took)

    def ended(self, request: Request) -> None:
        """A request has its answer, or will have none."""
        self.answered(request)
        self._told = self._watched = None

    def _tell_late(self, request: Request, took: float) -> None:
        """Say of a request that it took long, as there was no time to say so while it did."""
        if request is not self._watched:
            why = ", and held up all others: it blocked the loop"
        elif took > self._seconds + _LATE:
            why = ", in which it or another one blocked the loop"
        else:
            why = ""
        logger.warning("%s took %.1f s%s", described(request), took, why)

    def end(self) -> None:
        """The connection has ended."""
        self._wheel.disarm(self)

    def on_deadline(self, now: float) -> float:
        """For the wheel: tell of a request that takes too long; return when to look again, 0.0 for never."""
        request: Request | None = self._connection._exchange
        if request is None or request is self._told:
            return 0.0
        due = request._begun_at + self._seconds
        if due > now:
            return due
        self._told = request
        logger.warning(
            "%s is not answered after %g s; %s", described(request), self._seconds, waits_for(self._connection)
        )
        return 0.0


def described(request: Request) -> str:
    """A request, for a line of a log: what is asked, who asks, its id."""
    return f"{request.method} {request.raw_path} from {escaped(host_of(request.client)) or '?'} [{request.id}]"


def waits_for(connection: Any) -> str:
    """What the answer to a connection's request waits for, as a clause."""
    if connection._gathers:
        return "its body has not come yet"
    task = connection._task
    if task is None:
        return "the handler has returned, and answers later"
    place = where(task)
    return f"the handler waits at {place}" if place else "the handler waits"


def where(task: asyncio.Task[Any]) -> str:
    """Where a task waits: file, line and function of the innermost coroutine that is neither asyncio's nor trews'."""
    awaited: Any = task.get_coro()
    place: Any = None
    for _ in range(_MAX_DEPTH):
        for kind in ("cr", "gi", "ag"):
            own = getattr(awaited, f"{kind}_frame", None)
            if own is not None:
                if place is None or not own.f_globals.get("__name__", "").startswith(_OURS):
                    place = own
                awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
                break
        else:
            break
    if place is None:
        return ""
    return f"{place.f_code.co_filename}:{place.f_lineno} in {place.f_code.co_name}"


def check_slow_request(value: Any) -> Any:
    """The setting `slow_request` as it is, if it can be (TypeError or ValueError)."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"slow_request is a number of seconds or None, not {value!r}")
    if not 0 < value < float("inf"):
        raise ValueError(f"slow_request is a number of seconds above 0, or None for no such log, not {value!r}")
    return value
