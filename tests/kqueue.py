"""An imitation of `select.kqueue` for systems without one, by what kqueue(2) and Python's documentation say of it.

It is no proof that anything works on a BSD or on macOS; it holds our side to the documented contract, on real sockets:

- `control(changes, room, timeout)` applies the changes in order, then waits for at most `room` events; with no room
  an error in a change is raised, and the changes before it stand.
- EV_ADD adds or changes the filter of (ident, filter), EV_DELETE removes it: ENOENT if there is none, EBADF if the
  descriptor is closed. Without EV_CLEAR a filter is level-triggered.
- EVFILT_READ is reported when there is something to read, or EV_EOF; EVFILT_WRITE when there is room, or EV_EOF.
- Closing a descriptor removes its filters. A forked child does not inherit the queue.
"""

from __future__ import annotations

import errno
import math
import os
import select
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

KQ_FILTER_READ = -1
KQ_FILTER_WRITE = -2
KQ_EV_ADD = 0x0001
KQ_EV_DELETE = 0x0002
KQ_EV_CLEAR = 0x0020
KQ_EV_ERROR = 0x4000
KQ_EV_EOF = 0x8000


@dataclass
class kevent:  # Python's name for it
    ident: int
    filter: int = KQ_FILTER_READ
    flags: int = KQ_EV_ADD
    fflags: int = 0
    data: int = 0
    udata: int = 0


class kqueue:
    def __init__(self) -> None:
        self._fd = os.open(os.devnull, os.O_RDONLY)  # it takes a number, too
        self._pid = os.getpid()
        self._filters: dict[tuple[int, int], tuple[int, int]] = {}  # → which file the descriptor was
        self.closed = False

    def fileno(self) -> int:
        self._check()
        return self._fd

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._fd)
            if os.getpid() != self._pid:
                raise OSError(errno.EBADF, "Bad file descriptor")  # as before Python 3.12.1

    def control(self, changes: Iterable[kevent] | None, room: int, timeout: float | None = None) -> list[kevent]:
        self._check()
        if room < 0:
            raise ValueError("Length of eventlist must be 0 or positive")
        if timeout is not None and timeout < 0:
            raise ValueError("timeout must be positive or None")
        for change in changes or ():
            number = self._apply(change)
            if number:
                if not room:
                    raise OSError(number, os.strerror(number))
                return [kevent(change.ident, change.filter, KQ_EV_ERROR, data=number)]
        return self._wait(room, timeout) if room else []

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed kqueue object")
        if os.getpid() != self._pid:
            raise OSError(errno.EBADF, "Bad file descriptor")

    def _apply(self, change: kevent) -> int:
        key = (change.ident, change.filter)
        file = _file(change.ident)
        if file is None:
            self._filters.pop(key, None)
            return errno.EBADF
        if change.flags & KQ_EV_ADD:
            assert not change.flags & KQ_EV_CLEAR, "edge-triggered filters are not imitated"
            if change.filter == KQ_FILTER_WRITE and _has_no_reader(change.ident):
                return errno.EPIPE
            self._filters[key] = file
        elif change.flags & KQ_EV_DELETE and self._filters.pop(key, None) != file:
            return errno.ENOENT
        return 0

    def _wait(self, room: int, timeout: float | None) -> list[kevent]:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._forget_closed()
            poll = select.poll()
            masks: dict[int, int] = {}
            for fd, kind in self._filters:
                masks[fd] = masks.get(fd, 0) | (
                    select.POLLIN | select.POLLRDHUP if kind == KQ_FILTER_READ else select.POLLOUT
                )
            for fd, mask in masks.items():
                poll.register(fd, mask)
            left = None if end is None else max(0, math.ceil((end - time.monotonic()) * 1000))
            ready = dict(poll.poll(left))
            found = [event for fd, kind in self._filters if (event := _event(fd, kind, ready.get(fd, 0)))]
            if found or (end is not None and time.monotonic() >= end):
                return found[:room]

    def _forget_closed(self) -> None:
        for key, file in list(self._filters.items()):
            if _file(key[0]) != file:
                del self._filters[key]


def _event(fd: int, kind: int, found: int) -> kevent | None:
    is_over = found & (select.POLLHUP | select.POLLERR)
    if kind == KQ_FILTER_READ:
        if found & (select.POLLIN | select.POLLRDHUP) or is_over:
            return kevent(fd, kind, KQ_EV_EOF if is_over or found & select.POLLRDHUP else 0)
    elif found & select.POLLOUT or is_over:
        return kevent(fd, kind, KQ_EV_EOF if is_over else 0)
    return None


def _file(fd: int) -> tuple[int, int] | None:
    """Which open file a descriptor is; None if it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _has_no_reader(fd: int) -> bool:
    """FreeBSD and macOS do not take a write filter for a pipe whose other end is closed."""
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return False
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return any(mask & select.POLLERR for _, mask in poll.poll(0))


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give `select` these names, where it has none of its own."""
    for name in ("kqueue", "kevent", *(name for name in globals() if name.startswith("KQ_"))):
        monkeypatch.setattr(select, name, globals()[name], raising=False)
