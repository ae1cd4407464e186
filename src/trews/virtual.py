"""The virtual clock: an event loop whose time stands still while there is something to do, and then jumps.

Hours of timeouts pass in no time, always in the same order. Sockets work on it too, but real ones belong to the
real clock: an answer that is still on its way through the kernel may lose against a deadline.

Tests know it as `trews.testing.VirtualLoop`; `DetachedLoop` is what a wire and `http.test_client` turn by hand.
"""

from __future__ import annotations

import threading
import time
from asyncio import events
from typing import TYPE_CHECKING, Any

from trews.loop import EventLoop
from trews.poller import Poller

if TYPE_CHECKING:
    import asyncio
    import selectors
    from collections.abc import Callable

TURNS = 10_000  # what `settle` gives a program that always has something to do


class _VirtualPoller(Poller):
    """Never waits if there is a deadline to jump to."""

    def __init__(self, start: float, name: str | None) -> None:
        super().__init__(name)
        self.dispatcher.now = self._standing
        self.dispatcher.tick = start
        self.holds_still = False  # time is moved by `advance` only
        self.was_busy = False  # a poll has brought something

    def _standing(self) -> float:
        return self.dispatcher.tick

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        waits = None if timeout is None and not self.holds_still else 0
        calls = self.dispatcher.calls
        ready = super().select(waits)
        self.was_busy = self.was_busy or bool(ready) or self.dispatcher.calls > calls
        if not ready and timeout and not self.holds_still:
            self.dispatcher.tick += timeout
        return ready


class VirtualLoop(EventLoop):
    """An event loop on virtual time.

    Args:
        start: the time in seconds at which it begins.
        poller: the name of a poller, as for `EventLoop`.
    """

    deadline_granularity = 0.0  # deadlines of connections are exact
    _virtual: _VirtualPoller

    def __init__(self, start: float = 1000.0, *, poller: str | None = None) -> None:
        self._virtual = _VirtualPoller(start, poller)
        super().__init__(self._virtual)
        self.clock.loop = None  # one poll a turn: the virtual time moves between them

    def time(self) -> float:
        """The virtual time in seconds."""
        return self.clock.tick

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for its threads: without a timeout, for they do not live on virtual time."""
        await super().shutdown_default_executor()

    is_busy = False  # `settle` gave up

    def settle(self) -> None:
        """Run until there is nothing to do at this time. Works inside another running loop too.

        A program that never rests is left after 10,000 turns; `is_busy` tells that.
        """
        self.is_busy = False
        self._virtual.holds_still = True
        try:
            for _ in range(TURNS):
                self._virtual.was_busy = False
                self._turn()
                if not (self._ready or self._due() or self._virtual.was_busy):
                    return
            self.is_busy = True
        finally:
            self._virtual.holds_still = False

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at each deadline on the way, and settle."""
        end = self.clock.tick + seconds
        self.settle()
        while (when := self._next()) is not None and when <= end:
            self.clock.tick = max(self.clock.tick, when)
            self.settle()
        self.clock.tick = end
        self.settle()

    def _due(self) -> bool:
        when = self._next()
        return when is not None and when <= self.clock.tick

    def _next(self) -> float | None:
        """When the next timer is due."""
        return min((handle.when() for handle in self._scheduled if not handle.cancelled()), default=None)

    def _turn(self) -> None:
        outer = events._get_running_loop()
        events._set_running_loop(None)
        try:
            self.call_soon(self.stop)
            self.run_forever()
        finally:
            events._set_running_loop(outer)


_REAL_WAIT = 0.05  # seconds, at most, until what is outside is looked at again


class DetachedLoop(VirtualLoop):
    """A loop that is turned by hand, by `settle`, `advance` and `pass_time`, and has nothing of the operating system's:
    a forgotten one leaves nothing open.

    Attributes:
        is_real: time is that of the clock on the wall, as somebody outside works whom it cannot see.
        in_threads: how many calls run in executors.
    """

    def __init__(self) -> None:
        self.is_real = False
        self._news = threading.Event()  # another thread has called
        self._threads = set(threading.enumerate())  # which are none of ours
        self.in_threads = 0
        super().__init__(poller="select")  # which needs no descriptor

    def pass_time(self, until: float) -> bool:
        """Nothing is left to do now: let time pass up to the next deadline, and settle.

        While something outside may bring more (a thread, a socket, a child), time is real: this waits a moment of it.

        Args:
            until: how far at most, in the loop's time.

        Returns:
            Whether it went on: False if nothing can come, or `until` is reached.
        """
        if self.clock.tick >= until:
            return False
        if self._is_outside():
            self._wait_outside(until)
        else:
            when = self._next()
            if when is None:
                return False
            self.clock.tick = max(self.clock.tick, min(when, until))
        self.settle()
        return True

    def _is_outside(self) -> bool:
        # Those of its own executor are idle, unless a call of theirs is counted.
        own = getattr(getattr(self, "_default_executor", None), "_threads", ())
        return (
            self.is_real
            or self.in_threads > 0
            or len(self._selector.get_map()) > 0
            or any(thread not in self._threads and thread not in own for thread in threading.enumerate())
        )

    def _wait_outside(self, until: float) -> None:
        when = self._next()
        most = min(_REAL_WAIT, until - self.clock.tick, max(0.0, (when or until) - self.clock.tick))
        begun = time.monotonic()
        if len(self._selector.get_map()):
            most = min(most, 0.005)  # sockets are looked at by `settle`, and do not end this
        self._news.wait(most)
        self._news.clear()
        self.clock.tick += max(time.monotonic() - begun, 1e-6)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future: asyncio.Future[Any] = super().run_in_executor(executor, func, *args)
        self.in_threads += 1
        future.add_done_callback(self._returned_from_thread)
        return future

    def _returned_from_thread(self, future: asyncio.Future[Any]) -> None:
        self.in_threads -= 1

    def _make_self_pipe(self) -> None:
        self._csock = None

    def _close_self_pipe(self) -> None:
        pass

    def _write_to_self(self) -> None:
        self._news.set()

    def __del__(self) -> None:
        pass  # asyncio warns of a loop that was not closed
