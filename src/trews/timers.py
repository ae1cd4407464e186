"""Time: `soon`, `after` and `every` for users, the wheel behind the deadlines of connections.

A connection has several deadlines and touches them with every byte; a timer for each would cost more than the
byte. So connections only note when something happened, and one `Wheel` a loop looks at them when the earliest
of their deadlines may have passed. It is never early, and late by at most 250 ms.
"""

from __future__ import annotations

import asyncio
import heapq
import inspect
import logging
import math
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

logger = logging.getLogger("trews")

GRANULARITY = 0.1  # seconds; a slot is at most one and a half of these behind a deadline


class Clock(Protocol):
    """`now()` is the loop's time in seconds; `tick` is the same as of a moment ago, and cheaper."""

    @property
    def now(self) -> Callable[[], float]: ...

    @property
    def tick(self) -> float: ...


class _LoopClock:
    """The clock of a loop that is not ours: asks it each time."""

    __slots__ = ("now",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time

    @property
    def tick(self) -> float:
        return self.now()


def clock_of(loop: asyncio.AbstractEventLoop) -> Clock:
    """The cheapest clock of a loop: on ours, the time of the last event."""
    clock: Clock | None = getattr(loop, "clock", None)
    return clock if clock is not None else _LoopClock(loop)


class Expiring(Protocol):
    """What a wheel holds. `wheel_slot` belongs to the wheel (0.0: not in it)."""

    wheel_slot: float

    def on_deadline(self, now: float) -> float:
        """Act on the deadlines that have passed; return when the next one is, 0.0 for none."""
        ...


class Wheel:
    """The deadlines of all connections of one loop, in slots of 100 ms (exact under a virtual clock)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._time = loop.time
        self._call_at = loop.call_at
        self._granularity: float = getattr(loop, "deadline_granularity", GRANULARITY)
        self._slots: dict[float, dict[int, Expiring]] = {}
        self._order: list[float] = []
        self._handle: asyncio.Handle | None = None
        self._due = 0.0  # of the handle; uvloop's do not know it
        self._count = 0

    def arm(self, entry: Expiring, due: float) -> None:
        """Look at `entry` at `due` (seconds of the loop's time), unless it will be looked at before."""
        slot = self._slot(due)
        armed = entry.wheel_slot
        if armed:
            if armed <= slot:
                return
            self.disarm(entry)
        entry.wheel_slot = slot
        bucket = self._slots.get(slot)
        if bucket is None:
            bucket = self._slots[slot] = {}
            heapq.heappush(self._order, slot)
        bucket[id(entry)] = entry
        self._count += 1
        if self._handle is None or slot < self._due:
            self._schedule()

    def disarm(self, entry: Expiring) -> None:
        """Forget `entry`."""
        if not entry.wheel_slot:
            return
        bucket = self._slots.get(entry.wheel_slot)
        if bucket is not None and bucket.pop(id(entry), None) is not None:
            self._count -= 1
        entry.wheel_slot = 0.0
        if not self._count:
            self._clear()

    def _slot(self, due: float) -> float:
        if not self._granularity:
            return due
        # Half a slot of slack: a tick may be as old as the turn of the loop is long, and early is forbidden.
        return math.ceil(due / self._granularity + 0.5) * self._granularity

    def _schedule(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        if self._order:
            self._due = self._order[0]
            self._handle = self._call_at(self._due, self._fire)

    def _clear(self) -> None:
        self._slots.clear()
        self._order.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        now = self._time()
        while self._order and self._order[0] <= now:
            slot = heapq.heappop(self._order)
            bucket = self._slots.get(slot)
            while bucket:  # where it stays meanwhile: one entry may disarm another
                _, entry = bucket.popitem()
                self._count -= 1
                entry.wheel_slot = 0.0
                due = entry.on_deadline(now)
                if due:
                    self.arm(entry, due)
            self._slots.pop(slot, None)
        if self._handle is None or (self._order and self._order[0] < self._due):
            self._schedule()


def wheel_of(loop: asyncio.AbstractEventLoop) -> Wheel:
    """The wheel of a loop, made when first asked for."""
    # On the loop, not in a table: a wheel refers to its loop, and a table would keep both for ever.
    wheel: Wheel | None = getattr(loop, "_trews_wheel", None)
    if wheel is None:
        wheel = Wheel(loop)
        loop._trews_wheel = wheel  # type: ignore[attr-defined]
    return wheel


class Timer:
    """A call to come. `cancel()` takes it back, `is_active` tells whether it will still happen."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._loop = loop
        self._fn = fn
        self._args = args
        self._handle: asyncio.Handle | None = None
        self._task: asyncio.Task[Any] | None = None
        self.is_active = True

    def cancel(self) -> None:
        """Take the call back; an `async` function that is running already is cancelled."""
        self.is_active = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._task is not None and self._task is not _current_task():
            self._task.cancel()

    def __repr__(self) -> str:
        name = getattr(self._fn, "__qualname__", repr(self._fn))
        return f"<{type(self).__name__} {name} {'active' if self.is_active else 'done'}>"

    def _fire(self) -> None:
        self._handle = None
        try:
            self._call()
        finally:  # also when it raises SystemExit
            if self._task is None:
                self._finished()

    def _call(self) -> None:
        try:
            result = self._fn(*self._args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self._report(exc)
            return
        if inspect.isawaitable(result):
            self._task = self._loop.create_task(as_coroutine(result))
            self._task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._task = None
        if not task.cancelled() and (exc := task.exception()) is not None:
            self._report(exc)
        self._finished()

    def _finished(self) -> None:
        self.is_active = False

    def _report(self, exc: BaseException) -> None:
        logger.error("%r failed", self, exc_info=exc)


class _Repeating(Timer):
    """`every`: the n-th call is due at start + n × period, so that lateness does not add up.

    Calls that could not be made in time (the loop was busy, the async function still ran) are left out.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, period: float, fn: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        super().__init__(loop, fn, args)
        self._period = period
        self._due = loop.time()

    def start(self, now: bool) -> None:
        if now:
            self._handle = self._loop.call_soon(self._fire)
        else:
            self._finished()

    def _finished(self) -> None:
        if not self.is_active:
            return
        if not self._period:
            self._handle = self._loop.call_soon(self._fire)
            return
        behind = self._loop.time() - self._due
        self._due += self._period * max(1, math.ceil(behind / self._period))
        if self._due <= self._loop.time():
            self._due += self._period
        self._handle = self._loop.call_at(self._due, self._fire)


def soon(fn: Callable[..., Any], *args: Any) -> Timer:
    """Call `fn(*args)` in the next turn of the running loop. `fn` may be `async`."""
    loop = _loop("soon")
    timer = Timer(loop, fn, args)
    timer._handle = loop.call_soon(timer._fire)
    return timer


def after(seconds: float, fn: Callable[..., Any], *args: Any) -> Timer:
    """Call `fn(*args)` once, in `seconds` seconds (never earlier). `fn` may be `async`."""
    loop = _loop("after")
    seconds = checked(seconds)
    timer = Timer(loop, fn, args)
    timer._handle = loop.call_later(seconds, timer._fire)
    return timer


def every(seconds: float, fn: Callable[..., Any], *args: Any, now: bool = False) -> Timer:
    """Call `fn(*args)` every `seconds` seconds, without drift; first in `seconds`, or at once with `now`.

    An `async` function never overlaps itself. An error is logged and the timer goes on. `every(0)` is every
    turn of the loop.
    """
    loop = _loop("every")
    timer = _Repeating(loop, checked(seconds), fn, args)
    timer.start(now)
    return timer


def checked(seconds: float) -> float:
    """A time that a user gave, if it is one."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"a time is a number of seconds, and comes before the function, not {seconds!r}")
    if not seconds >= 0 or math.isinf(seconds):
        raise ValueError(f"a time is a finite number of seconds, 0 or more, not {seconds!r}")
    return float(seconds)


def _loop(name: str) -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            f"trews.{name}() needs a running loop: call it in a callback, or in Server.on_start"
        ) from None


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def as_coroutine(awaitable: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    """An awaitable as what a Task runs."""
    if inspect.iscoroutine(awaitable):
        return awaitable

    async def wait() -> Any:
        return await awaitable

    return wait()
