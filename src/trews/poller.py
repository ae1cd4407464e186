"""The poller: a `selectors` selector that calls our own transports straight from the poll.

asyncio's loop asks a selector for events and makes a Handle run for each. Events of fds that are registered
with `watch` never get that far: their watcher is called here, inside `select()`, which saves about a
microsecond an event. Everything else (asyncio's own readers and writers) is returned as usual.

Rules of a turn: one poll; a watcher is called only if the fd is still its own (fds are reused within a batch);
after 64 calls or 10 ms the rest waits for the next turn, so that ready callbacks and timers get theirs.
What raises out of a watcher (KeyboardInterrupt, SystemExit) loses nothing: all pollers are level-triggered.

The four backends stand first; they are in one file with the selector since they are all that it is about.
"""

from __future__ import annotations

import errno
import math
import os
import select
import selectors
import sys
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READ = 1  # the bits of epoll and poll, which every backend answers in
WRITE = 4
FAILED = 8 | 16  # ERR and HUP: reported whether asked for or not

CALLS_A_TURN = 64
SECONDS_A_TURN = 0.010


class Watcher(Protocol):
    """What `watch` registers: `on_event` gets the bits READ, WRITE, FAILED that are set."""

    def on_event(self, mask: int) -> None: ...


class _Backend(Protocol):
    def register(self, fd: int, mask: int, /) -> None: ...
    def modify(self, fd: int, mask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
    def poll(self, timeout: float | None, /) -> list[tuple[int, int]]: ...
    def close(self) -> None: ...


class _Poll:
    """poll(2)."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        return self._poll.poll(None if timeout is None else math.ceil(timeout * 1e3))

    def close(self) -> None:
        pass


FD_SETSIZE = 1024  # of every libc; Windows counts sockets instead, and Python raises there


class _Select:
    """select(2): everywhere, but not for fds from FD_SETSIZE on."""

    def __init__(self) -> None:
        self._masks: dict[int, int] = {}

    def register(self, fd: int, mask: int) -> None:
        if fd >= FD_SETSIZE and sys.platform != "win32":
            # Here, for this descriptor alone: in poll() it would be an error for all.
            raise OSError(errno.EMFILE, f"select() cannot watch descriptors from {FD_SETSIZE} on")
        self._masks[fd] = mask

    modify = register

    def unregister(self, fd: int) -> None:
        self._masks.pop(fd, None)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        readers = [fd for fd, mask in self._masks.items() if mask & READ]
        writers = [fd for fd, mask in self._masks.items() if mask & WRITE]
        found: dict[int, int] = {}
        try:
            # Windows reports a failed connect in the third set only.
            readable, writable, failed = select.select(readers, writers, writers, timeout)
        except OSError as exc:
            if exc.errno != errno.EBADF:
                raise
            # One that was closed under us must not be the end of all. The other backends forget it, too.
            self._masks = {fd: mask for fd, mask in self._masks.items() if _is_open(fd)}
            return []
        for fd in readable:
            found[fd] = READ
        for fd in {*writable, *failed}:
            found[fd] = found.get(fd, 0) | WRITE
        return list(found.items())

    def close(self) -> None:
        self._masks.clear()


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


_select: Any = select  # kqueue's names are not known to type checkers elsewhere


class _Kqueue:
    """kqueue(2) of the BSDs and macOS: one filter a direction, EV_EOF comes with the filter it concerns.

    Filters are level-triggered (no EV_CLEAR), and go by themselves when their descriptor is closed. An error in a
    change is raised by `control`, as it is called with no room for EV_ERROR.
    """

    def __init__(self) -> None:
        self._queue = _select.kqueue()
        self._masks: dict[int, int] = {}

    def register(self, fd: int, mask: int) -> None:
        try:
            self.modify(fd, mask)
        except OSError:
            self.unregister(fd)  # a pipe that nobody reads may have taken the one filter and refused the other
            raise

    def modify(self, fd: int, mask: int) -> None:
        for bit, kind in ((READ, _select.KQ_FILTER_READ), (WRITE, _select.KQ_FILTER_WRITE)):
            old = self._masks.get(fd, 0)
            if (old ^ mask) & bit:
                flags = _select.KQ_EV_ADD if mask & bit else _select.KQ_EV_DELETE
                self._queue.control([_select.kevent(fd, kind, flags)], 0, 0)
                self._masks[fd] = old ^ bit

    def unregister(self, fd: int) -> None:
        try:
            self.modify(fd, 0)
        finally:
            self._masks.pop(fd, None)

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        found: dict[int, int] = {}
        for event in self._queue.control(None, 2 * len(self._masks) or 1, timeout):
            bit = READ if event.filter == _select.KQ_FILTER_READ else WRITE
            found[event.ident] = found.get(event.ident, 0) | bit
        return list(found.items())

    def close(self) -> None:
        self._queue.close()


def _backends() -> dict[str, Callable[[], Any]]:
    """The backends of this machine, the best first."""
    found: dict[str, Callable[[], Any]] = {}
    if hasattr(select, "epoll"):
        found["epoll"] = select.epoll
    if hasattr(select, "kqueue"):
        found["kqueue"] = _Kqueue
    if hasattr(select, "poll"):
        found["poll"] = _Poll
    found["select"] = _Select
    return found


BACKENDS = _backends()
_alive: weakref.WeakSet[Poller] = weakref.WeakSet()


class Poller(selectors.BaseSelector):
    """A selector for asyncio's loop, with `watch` for transports of ours.

    Args:
        name: `"epoll"`, `"kqueue"`, `"poll"` or `"select"`; the best one there is by default.

    `tick` is the time of the last event, in seconds of `time.monotonic()`: a clock that costs nothing to read.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name if name is not None else next(iter(BACKENDS))
        if self.name not in BACKENDS:
            raise ValueError(f"no poller {self.name!r} on this machine; there are: {', '.join(BACKENDS)}")
        self._backend: _Backend = BACKENDS[self.name]()
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._map = _Map(self)
        self._watchers: dict[int, Watcher] = {}
        self._masks: dict[int, int] = {}
        self._batch: list[tuple[int, int, Watcher]] = []
        self._next = 0
        self.now = time.monotonic  # the virtual clock puts its own here
        self.tick = self.now()
        self._report: Callable[[Watcher, float], None] | None = None
        self._turn: Callable[[], None] = self._dispatch  # debug mode puts `_dispatch_timed` here
        _alive.add(self)

    # -- our own transports

    def watch(self, fd: int, watcher: Watcher, mask: int) -> None:
        """Have `watcher.on_event` called for the events in `mask`; 0 stops it."""
        if mask:
            self._watchers[fd] = watcher
            self._set(fd, mask)
        elif self._watchers.pop(fd, None) is not None:
            self._unset(fd)

    # -- the selectors interface, for asyncio

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
            raise ValueError(f"Invalid events: {events!r}")
        fd = _fileno(fileobj)
        if fd in self._keys or fd in self._watchers:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        self._set(fd, _to_mask(events))
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        old = self.get_key(fileobj)
        self._set(old.fd, _to_mask(events))
        key = self._keys[old.fd] = old._replace(events=events, data=data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self.get_key(fileobj)
        del self._keys[key.fd]
        self._unset(key.fd)
        return key

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        fd = fileobj if type(fileobj) is int else self._known_fileno(fileobj)
        try:
            return self._keys[fd]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def get_map(self) -> _Map:
        return self._map

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._batch:  # the rest of a batch that used up its turn
            self._turn()
            return []
        events = self._backend.poll(timeout)
        self.tick = self.now()
        if not events:
            return []
        ready: list[tuple[selectors.SelectorKey, int]] = []
        watchers = self._watchers
        for fd, mask in events:
            watcher = watchers.get(fd)
            if watcher is not None:
                self._batch.append((fd, mask, watcher))
            else:
                self._add_foreign(ready, fd, mask)
        if self._batch:
            self._turn()
        return ready

    def select_and_tell(self, timeout: float | None) -> tuple[list[tuple[selectors.SelectorKey, int]], bool]:
        """As `select`, and whether a watcher was called."""
        is_busy = False
        turn = self._turn

        def noting() -> None:
            nonlocal is_busy
            is_busy = True
            self._turn = turn  # a watcher may turn debug mode on
            turn()

        self._turn = noting
        try:
            ready = self.select(timeout)
        finally:
            if self._turn is noting:
                self._turn = turn
        return ready, is_busy

    def close(self) -> None:
        self._backend.close()
        self._keys.clear()
        self._watchers.clear()
        self._masks.clear()
        self._batch.clear()
        _alive.discard(self)

    # -- inside

    def report_calls(self, report: Callable[[Watcher, float], None] | None) -> None:
        """Tell `report` of each call and the seconds it took; None ends that. (For debug mode: it costs.)"""
        self._report = report
        self._turn = self._dispatch if report is None else self._dispatch_timed

    def _dispatch_timed(self) -> None:
        end = self.now() + SECONDS_A_TURN
        for _ in range(CALLS_A_TURN):
            watcher = self._batch[self._next][2]
            begin = self.now()
            self._dispatch(1)
            if self._report is not None:
                self._report(watcher, self.now() - begin)
            if not self._batch or self.now() >= end:
                break

    def _dispatch(self, calls: int = CALLS_A_TURN) -> None:
        """Call the watchers of the batch, as far as this turn reaches."""
        batch = self._batch
        watchers = self._watchers
        position = self._next
        last = min(position + calls, len(batch))
        now = self.now
        tick = self.tick = now()
        end = tick + SECONDS_A_TURN
        try:
            while position < last and tick < end:
                fd, mask, watcher = batch[position]
                position += 1
                if watchers.get(fd) is watcher:
                    watcher.on_event(mask)
                    self.tick = tick = now()
        finally:
            if position < len(batch):
                self._next = position
            else:
                self._next = 0
                batch.clear()

    def _add_foreign(self, ready: list[tuple[selectors.SelectorKey, int]], fd: int, mask: int) -> None:
        key = self._keys.get(fd)
        if key is not None:
            # Whatever is not plainly the one direction concerns both, as in `selectors`.
            events = (selectors.EVENT_READ if mask & ~WRITE else 0) | (selectors.EVENT_WRITE if mask & ~READ else 0)
            if events & key.events:
                ready.append((key, events & key.events))

    def _set(self, fd: int, mask: int) -> None:
        if fd not in self._masks:
            self._backend.register(fd, mask)
        elif self._masks[fd] != mask:
            self._backend.modify(fd, mask)
        self._masks[fd] = mask

    def _unset(self, fd: int) -> None:
        if self._masks.pop(fd, None) is not None:
            try:
                self._backend.unregister(fd)
            except (OSError, KeyError):
                pass  # closed under us: the kernel has forgotten it already

    def _known_fileno(self, fileobj: Any) -> int:
        try:
            return _fileno(fileobj)
        except ValueError:
            for key in self._keys.values():  # closed, but still registered
                if key.fileobj is fileobj:
                    return key.fd
            raise

    def _renew(self) -> None:
        """In a forked child: a poller of its own, for the parent's would be changed by both."""
        try:
            self._backend.close()
        except OSError:
            pass  # a kqueue does not come along; before Python 3.12.1 its object does not know
        self._backend = BACKENDS[self.name]()
        for fd, mask in list(self._masks.items()):
            try:
                self._backend.register(fd, mask)
            except OSError:
                pass


class _Map(Mapping[Any, selectors.SelectorKey]):
    """The keys of a poller by descriptor or file object, as asyncio asks for them since Python 3.13."""

    def __init__(self, poller: Poller) -> None:
        self._keys = poller._keys
        self._fileno = poller._known_fileno

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj if type(fileobj) is int else self._fileno(fileobj)]

    def get(self, fileobj: Any, default: Any = None) -> Any:
        return self._keys.get(fileobj if type(fileobj) is int else self._fileno(fileobj), default)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)


def _fileno(fileobj: Any) -> int:
    fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd


def _to_mask(events: int) -> int:
    return (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0)


def _renew_all() -> None:
    for poller in list(_alive):
        poller._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
