"""The virtual clock: an event loop whose time stands still while there is something to do, and then jumps.

Hours of timeouts pass in no time, always in the same order. Sockets work on it too, but real ones belong to the
real clock: an answer that is still on its way through the kernel may lose against a deadline.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from typing import TYPE_CHECKING, Any, TypeVar

from trews.loop import EventLoop
from trews.poller import Poller

if TYPE_CHECKING:
    import selectors
    from collections.abc import Coroutine

T = TypeVar("T")

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

    def settle(self) -> None:
        """Run until there is nothing to do at this time. Works inside another running loop too."""
        self._virtual.holds_still = True
        try:
            for _ in range(TURNS):
                self._virtual.was_busy = False
                self._turn()
                if not (self._ready or self._due() or self._virtual.was_busy):
                    return
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


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine on a `VirtualLoop` and return its result."""
    with asyncio.Runner(debug=debug, loop_factory=VirtualLoop) as runner:
        return runner.run(main)
