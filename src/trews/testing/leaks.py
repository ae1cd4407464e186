"""The leak check: what a test leaves open makes it fail, with the place where it was made.

    with no_leaks():
        asyncio.run(main())

Sockets, files, other descriptors, tasks and trews' timers are looked at. A task that is still there when
`asyncio.run` (or a `Runner`) ends counts: it would be cancelled silently.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from trews import timers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FRAMES = 6  # of the place where it was made
_FDS = "/proc/self/fd"


class Leak(AssertionError):
    """Something was left open; says what, and where it was made."""


class _Record:
    """What was made while a check runs, and where."""

    def __init__(self) -> None:
        self.sockets: WeakKeyDictionary[socket.socket, str] = WeakKeyDictionary()
        # Held: a loop that is closed forgets its timers, and the test did not cancel them all the same.
        self.timers: list[tuple[timers.Timer, str]] = []
        self.opened: dict[str, str] = {}  # by path
        self.tasks: list[str] = []

    def leaks(self, fds_before: dict[int, str]) -> list[str]:
        found = list(self.tasks)
        known = set()
        for sock, place in self.sockets.items():
            if sock.fileno() >= 0:
                known.add(sock.fileno())
                found.append(f"an open socket: {sock!r}\n{place}")
        for timer, place in self.timers:
            if timer.is_active:
                found.append(f"an active timer: {timer!r}\n{place}")
        for fd, target in _open_fds().items():
            if fd not in known and fds_before.get(fd) != target:
                found.append(f"an open descriptor: {fd} -> {target}\n{self.opened.get(target, '')}")
        return found


_active: _Record | None = None
_is_hooked = False


@contextmanager
def no_leaks() -> Iterator[None]:
    """Fail with `Leak` if the block leaves a socket, file, task or timer behind.

    Raises:
        Leak: at the end of a block that did not raise itself.
    """
    global _active
    if _active is not None:  # one check at a time: the outer one sees everything
        yield
        return
    _hook_opens()
    _open_what_stays()
    record = _active = _Record()
    before = _open_fds()
    undo = _instrument(record)
    try:
        yield
    finally:
        _active = None
        undo()
    leaks = record.leaks(before)
    if leaks:
        gc.collect()  # only now, for it is slow: what nothing refers to is no leak
        leaks = record.leaks(before)
    if leaks:
        raise Leak(f"{len(leaks)} left open:\n" + "\n".join(leaks))


def _instrument(record: _Record) -> Callable[[], None]:
    """Have creation noted; returns what undoes it."""
    socket_init = socket.socket.__init__
    timer_init = timers.Timer.__init__
    cancel_all = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]
    depth = sys.get_coroutine_origin_tracking_depth()

    def init_socket(self: socket.socket, *args: Any, **kwargs: Any) -> None:
        socket_init(self, *args, **kwargs)
        record.sockets[self] = _here()

    def init_timer(self: timers.Timer, *args: Any) -> None:
        timer_init(self, *args)
        record.timers.append((self, _here()))

    def cancel_all_tasks(loop: asyncio.AbstractEventLoop) -> None:
        record.tasks += [_task_place(task) for task in asyncio.all_tasks(loop) if not task.done()]
        cancel_all(loop)

    socket.socket.__init__ = init_socket  # type: ignore[method-assign]
    timers.Timer.__init__ = init_timer  # type: ignore[method-assign, assignment]
    asyncio.runners._cancel_all_tasks = cancel_all_tasks  # type: ignore[attr-defined]
    sys.set_coroutine_origin_tracking_depth(max(depth, _FRAMES))

    def undo() -> None:
        socket.socket.__init__ = socket_init  # type: ignore[method-assign]
        timers.Timer.__init__ = timer_init  # type: ignore[method-assign]
        asyncio.runners._cancel_all_tasks = cancel_all  # type: ignore[attr-defined]
        sys.set_coroutine_origin_tracking_depth(depth)

    return undo


def _hook_opens() -> None:
    """Note where files are opened; an audit hook cannot be removed, so there is one that is mostly asleep."""
    global _is_hooked
    if _is_hooked:
        return
    _is_hooked = True

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and _active is not None and isinstance(args[0], str):
            _active.opened[os.path.abspath(args[0])] = _here()

    sys.addaudithook(hook)


@functools.cache
def _open_uvloop() -> None:
    import uvloop

    uvloop.new_event_loop().close()


def _open_what_stays() -> None:
    """libuv opens a pipe for signals with the first loop of a process, and keeps it."""
    if "uvloop" in sys.modules:
        _open_uvloop()


def _open_fds() -> dict[int, str]:
    found = {}
    try:
        names = os.listdir(_FDS)
    except OSError:
        return {}  # no such list on this system
    for name in names:
        try:
            found[int(name)] = os.readlink(f"{_FDS}/{name}")
        except OSError:
            pass  # the descriptor that listed them
    return found


def _here() -> str:
    """The innermost frames that are not of this module or asyncio's; without their text, which would open files."""
    skip = (__file__, os.path.dirname(asyncio.__file__), socket.__file__)
    frame = sys._getframe(1)
    lines: list[str] = []
    while len(lines) < _FRAMES:
        code = frame.f_code
        if not code.co_filename.startswith(skip):
            lines.append(f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}')
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "\n".join(lines)


def _task_place(task: asyncio.Task[Any]) -> str:
    origin = getattr(task.get_coro(), "cr_origin", None) or ()
    lines = [f'  File "{name}", line {line}, in {function}' for name, line, function in reversed(origin)]
    return "\n".join([f"a running task: {task!r}", *lines])
