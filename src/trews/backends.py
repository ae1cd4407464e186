"""What a poller waits with: epoll, kqueue, poll or select, behind one contract.

Masks are those of epoll and poll; the others answer in them too. All are level-triggered: an event that nobody acted
on is reported again.
"""

from __future__ import annotations

import errno
import math
import os
import select
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

READ: Final = 1
WRITE: Final = 4
FAILED: Final = 8 | 16  # ERR and HUP: reported whether asked for or not


class Backend(Protocol):
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
