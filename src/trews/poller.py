"""The poller: a `selectors` selector that calls our own transports straight from the poll.

asyncio's loop asks a selector for events and makes a Handle run for each. Events of fds that are registered
with `watch` never get that far: their watcher is called here, inside `select()`, which saves about a
microsecond an event. Everything else (asyncio's own readers and writers) is returned as usual.

Rules of a turn: one poll, and another only when the loop has nothing else to do; a watcher is called only if the fd is
still its own (fds are reused within a batch); after 64 calls or 10 ms the rest waits for the next turn, so that ready
callbacks and timers get theirs. What raises out of a watcher (KeyboardInterrupt, SystemExit) loses nothing: all
pollers are level-triggered.

What runs for each event is in `dispatcher`, what it waits with in `backends`.
"""

from __future__ import annotations

import os
import selectors
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trews.backends import BACKENDS, READ, WRITE
from trews.dispatcher import Dispatcher

if TYPE_CHECKING:
    from collections.abc import Iterator

_alive: weakref.WeakSet[Poller] = weakref.WeakSet()


class Poller(selectors.BaseSelector):
    """A selector for asyncio's loop, whose `dispatcher` calls transports of ours.

    Args:
        name: `"epoll"`, `"kqueue"`, `"poll"` or `"select"`; the best one there is by default.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name if name is not None else next(iter(BACKENDS))
        if self.name not in BACKENDS:
            raise ValueError(f"no poller {self.name!r} on this machine; there are: {', '.join(BACKENDS)}")
        self.dispatcher = Dispatcher(BACKENDS[self.name]())
        self.watch = self.dispatcher.watch
        self._keys = self.dispatcher.keys
        self._map = _Map(self)
        _alive.add(self)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
            raise ValueError(f"Invalid events: {events!r}")
        fd = _fileno(fileobj)
        if fd in self._keys or self.dispatcher.has_watcher(fd):
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        self.dispatcher.set_mask(fd, _to_mask(events))
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        old = self.get_key(fileobj)
        self.dispatcher.set_mask(old.fd, _to_mask(events))
        key = self._keys[old.fd] = old._replace(events=events, data=data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self.get_key(fileobj)
        del self._keys[key.fd]
        self.dispatcher.unset(key.fd)
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
        return self.dispatcher.select(timeout)

    def close(self) -> None:
        self.dispatcher.backend.close()
        self.dispatcher.clear()
        _alive.discard(self)

    def _known_fileno(self, fileobj: Any) -> int:
        try:
            return _fileno(fileobj)
        except ValueError:
            for key in self._keys.values():  # closed, but still registered
                if key.fileobj is fileobj:
                    return key.fd
            raise

    def _renew(self) -> None:
        """In a forked child: a backend of its own, for the parent's would be changed by both."""
        try:
            self.dispatcher.backend.close()
        except OSError:
            pass  # a kqueue does not come along; before Python 3.12.1 its object does not know
        self.dispatcher.renew(BACKENDS[self.name]())


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
