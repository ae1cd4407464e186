"""The part of a poller that runs for every event: one poll, and the watchers that it concerns are called.

It has no base class and plain attributes, because mypyc compiles it. What asyncio sees is the `Poller` around it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from trews.backends import READ, WRITE

if TYPE_CHECKING:
    import selectors
    from collections.abc import Callable

    from trews.backends import Backend

CALLS_A_TURN: Final = 64
SECONDS_A_TURN: Final = 0.010
CANCELLED_MAX: Final = 100  # timers that were cancelled and are still kept
EVENT_READ: Final = 1  # of `selectors`
EVENT_WRITE: Final = 2


class Watcher(Protocol):
    """What `watch` registers: `on_event` gets the bits READ, WRITE, FAILED that are set."""

    def on_event(self, mask: int) -> None: ...


class NativeWatcher:
    """A watcher that is compiled where the dispatcher is, and called without a look-up."""

    __slots__ = ()

    def on_event(self, mask: int) -> None:
        """As of a Watcher."""
        raise NotImplementedError


class Stamped(NativeWatcher):
    """One that notes when the peer last took a byte.

    Attributes:
        sent_at: that; for a write in its own event the dispatcher sets it when the event is over.
    """

    __slots__ = ("sent_at",)

    sent_at: float


class Dispatcher:
    """Polls, and calls the watchers of what it finds.

    Attributes:
        now: the loop's time in seconds; the virtual clock puts its own here.
        tick: the same as of the last event: a clock that costs nothing to read.
        calls: how often a watcher was called.
        keys: what asyncio has registered, by descriptor.
        current: whose event this is, if it is native; what hands an event on puts the other here.
        has_written: it has, and its `sent_at` is due when the event is over.
        loop: whose turns these are. None: `select` polls just once.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend: Any = backend
        self.poll: Any = backend.poll
        self.now: Callable[[], float] = time.monotonic
        self.tick: float = self.now()
        self.calls: int = 0
        self.keys: dict[int, selectors.SelectorKey] = {}
        self.loop: Any = None
        self.current: NativeWatcher | None = None
        self.has_written: bool = False
        self._watchers: dict[int, Any] = {}
        self._masks: dict[int, int] = {}
        # A batch: what one poll has found. It may take several turns.
        self._batch: list[tuple[Any, Any]] = []
        self._next: int = 0
        self._fresh: set[int] = set()  # descriptors registered since: their events are somebody else's
        self._report: Callable[[Any, float], None] | None = None

    # -- who is called for what

    def watch(self, fd: int, watcher: Watcher, mask: int) -> None:
        """Have `watcher.on_event` called for the events in `mask`; 0 stops it."""
        if mask:
            self._watchers[fd] = watcher
            self.set_mask(fd, mask)
        elif self._watchers.pop(fd, None) is not None:
            self.unset(fd)

    def has_watcher(self, fd: int) -> bool:
        """Whether events of this descriptor go to a watcher."""
        return fd in self._watchers

    def set_mask(self, fd: int, mask: int) -> None:
        """Poll for these events."""
        old = self._masks.get(fd)
        if old is None:
            self.backend.register(fd, mask)
            if self._batch:
                self._fresh.add(fd)
        elif old != mask:
            self.backend.modify(fd, mask)
        self._masks[fd] = mask

    def unset(self, fd: int) -> None:
        """Poll for it no more."""
        if self._masks.pop(fd, None) is not None:
            try:
                self.backend.unregister(fd)
            except (OSError, KeyError):
                pass  # closed under us: the kernel has forgotten it already

    def renew(self, backend: Backend) -> None:
        """Go on with another backend."""
        self.backend = backend
        self.poll = backend.poll
        for fd, mask in list(self._masks.items()):
            try:
                backend.register(fd, mask)
            except OSError:
                pass

    def clear(self) -> None:
        """Forget all."""
        self.keys.clear()
        self._watchers.clear()
        self._masks.clear()
        self._fresh.clear()
        self._batch = []
        self._next = 0

    def report_calls(self, report: Callable[[Any, float], None] | None) -> None:
        """Tell `report` of each call and the seconds it took; None ends that. (For debug mode: it costs.)"""
        self._report = report

    @property
    def is_reporting(self) -> bool:
        return self._report is not None

    # -- turns

    def select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Poll, call watchers as far as a turn reaches, and return the events that are asyncio's.

        While there is nothing else to do for the loop it polls again: a turn of asyncio's costs 0.7 us, and with
        64 busy connections a poll brings 4 events on average.
        """
        if self._batch:  # the rest of a batch that used up its turn
            self.tick = self.now()
            self._turn()
            return []
        loop = self.loop
        waiting = () if loop is None else loop._ready
        timers: list[Any] = [] if loop is None else loop._scheduled
        timer = timers[0] if timers else None
        end = 0.0 if timeout is None else self.now() + timeout
        while True:
            events: list[tuple[Any, Any]] = self.poll(timeout)
            self.tick = self.now()
            if not events:
                return []
            ready = self._foreign(events)
            if len(ready) < len(events):
                self._batch = events
                self._turn()
                if ready:  # a watcher may have taken some of them away
                    ready = [event for event in ready if self.keys.get(event[0].fd) is event[0]]
            if ready or self._batch or waiting or loop is None:
                return ready
            if loop._stopping or (timers[0] if timers else None) is not timer:
                return ready
            if loop._timer_cancelled_count > CANCELLED_MAX:
                return ready  # asyncio forgets them in its turn: of a timeout around each read() there are thousands
            if timeout is not None:
                timeout = end - self.tick
                if timeout <= 0.0:
                    return ready

    def _foreign(self, events: list[tuple[Any, Any]]) -> list[tuple[selectors.SelectorKey, int]]:
        """Those events that no watcher gets, for asyncio."""
        watchers = self._watchers
        ready: list[tuple[selectors.SelectorKey, int]] = []
        for fd, mask in events:
            if fd not in watchers:
                self._add_foreign(ready, fd, mask)
        return ready

    def _add_foreign(self, ready: list[tuple[selectors.SelectorKey, int]], fd: int, mask: int) -> None:
        key = self.keys.get(fd)
        if key is not None:
            # Whatever is not plainly the one direction concerns both, as in `selectors`.
            events = (EVENT_READ if mask & ~WRITE else 0) | (EVENT_WRITE if mask & ~READ else 0)
            if events & key.events:
                ready.append((key, events & key.events))

    def _turn(self) -> None:
        if self._report is None:
            self._dispatch(CALLS_A_TURN)
        else:
            self._dispatch_timed(self._report)

    def _dispatch(self, most: int) -> None:
        """Call the watchers of the batch, as far as this turn reaches."""
        batch = self._batch
        watchers = self._watchers
        fresh = self._fresh
        now = self.now
        position = self._next
        last = min(position + most, len(batch))
        tick: float = self.tick
        end = tick + SECONDS_A_TURN
        try:
            while position < last and tick < end:
                fd, mask = batch[position]
                position += 1
                watcher = watchers.get(fd)
                # A descriptor is reused at once: who has taken it over since the poll is not meant.
                if watcher is None or (fresh and fd in fresh):
                    continue
                self.calls += 1
                if isinstance(watcher, NativeWatcher):
                    self.current = watcher
                    watcher.on_event(mask)
                else:
                    self.current = None
                    watcher.on_event(mask)
                tick = now()
                self.tick = tick
                if self.has_written:
                    self.has_written = False
                    if isinstance(self.current, Stamped):
                        self.current.sent_at = tick
        finally:
            self.current = None
            self.has_written = False
            if position < len(batch):
                self._next = position
            else:
                self._next = 0
                self._batch = []
                fresh.clear()

    def _dispatch_timed(self, report: Callable[[Any, float], None]) -> None:
        end = self.now() + SECONDS_A_TURN
        for _ in range(CALLS_A_TURN):
            watcher = self._watchers.get(self._batch[self._next][0])
            calls = self.calls
            begin = self.now()
            self._dispatch(1)
            if self.calls > calls:
                report(watcher, self.now() - begin)
            if not self._batch or self.now() >= end:
                break
