"""Calling the code of one connection: in its context, plain or async, one after the other.

Callbacks run in the connection's own `contextvars` context. A context cannot be entered twice, so everything here
is called from the loop, outside of it. What is async becomes a task in that context; an error ends the connection.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import sys
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from trews.errors import ConnectionClosed
from trews.live import Live
from trews.timers import as_coroutine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from collections.abc import Set as AbstractSet

logger = logging.getLogger("trews")

_EAGER = sys.version_info >= (3, 12)


class Started(asyncio.Future[None]):
    """What a method returns that starts when it is called: to await it is optional.

    An error that nobody can learn of any more, as this was thrown away, is the connection's.
    """

    def __init__(self, connection: Calls) -> None:
        super().__init__(loop=connection._loop)
        self._connection = connection

    def settle(self, exc: BaseException | None) -> None:
        """It is done, or has failed."""
        if self.done():
            return
        if exc is None:
            self.set_result(None)
        else:
            self.set_exception(exc)

    def __del__(self) -> None:
        if self._log_traceback and not self._loop.is_closed():  # set while an exception was not looked at
            exc = self.exception()
            if exc is not None and not self._connection._is_own_end(exc):
                self._loop.call_soon_threadsafe(self._connection._failed, exc)  # garbage is found on any thread


class Calls(Live, asyncio.Protocol):
    """The part of a connection that runs user code."""

    on_error: Callable[[BaseException], Any]
    _loop: asyncio.AbstractEventLoop
    _context: contextvars.Context

    # What most connections never change is on the class: an object of more than 30 attributes is slower and larger.
    # What is asked for at each message is not, as Python is slow to find what is both there and on the object.
    _task: asyncio.Task[Any] | None  # the callback that holds back the next
    _is_starting = False  # an async callback is in its first step
    _spawned: AbstractSet[asyncio.Task[Any]] = frozenset()  # a set once there are some
    _is_pump_due = False

    # -- what comes of it

    @abstractmethod
    def _pump(self) -> None:
        """Hand out the events that are due, in order."""

    @abstractmethod
    def _returned(self) -> None:
        """An async callback has ended; the next event may be handed out."""

    @abstractmethod
    def _spawned_returned(self) -> None:
        """A spawned task has ended."""

    @abstractmethod
    def _running(self) -> None:
        """An async callback is under way."""

    @abstractmethod
    def _failed(self, exc: BaseException) -> None:
        """User code raised: it is told, and the connection ends, so that no peer is left hanging."""

    @abstractmethod
    def _cancelled(self) -> None:
        """An async callback was cancelled, by the connection itself or by somebody else."""

    def _pump_soon(self) -> None:
        if not self._is_pump_due:
            self._is_pump_due = True
            self._loop.call_soon(self._pump_now)

    def _pump_now(self) -> None:
        self._is_pump_due = False
        self._pump()

    # -- waiting for something of it

    def _wait_in(self, name: str) -> asyncio.Future[None]:
        """Wait among those that `_wake(name)` lets go on."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        setattr(self, name, [*getattr(self, name), waiter])
        return waiter

    def _wake(self, name: str) -> None:
        waiters = getattr(self, name)
        if waiters:
            setattr(self, name, ())
            wake(waiters)

    # -- callbacks that never overlap

    def _deliver(self, callback: Callable[..., Any], *args: Any) -> bool:
        """Call one of the callbacks that never overlap. True if it has returned well."""
        try:
            result = self._context.run(callback, *args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self._failed(exc)
            return False
        return result is None or self._follow(result)

    def _follow(self, result: Any) -> bool:
        """Run what a callback returned, if it is awaitable. True if it has ended well already."""
        if not inspect.isawaitable(result):
            return True
        self._is_starting = True
        try:
            task = self._start(result)
        except BaseException as exc:  # KeyboardInterrupt or SystemExit in its first step
            self._failed(exc)
            raise
        finally:
            self._is_starting = False
        if task.done():
            return self._outcome(task)
        self._task = task
        task.add_done_callback(self._task_done)
        self._running()
        return False

    def _start(self, result: Awaitable[Any]) -> asyncio.Task[Any]:
        """A task in the connection's context. Only called where that is not entered, so it may run at once."""
        if _EAGER:
            return asyncio.Task(as_coroutine(result), loop=self._loop, context=self._context, eager_start=True)  # type: ignore[call-arg, unused-ignore]
        return asyncio.Task(as_coroutine(result), loop=self._loop, context=self._context)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        if self._task is task:  # and not left behind
            self._task = None
            self._outcome(task)
            self._returned()

    def _outcome(self, task: asyncio.Task[Any]) -> bool:
        """Whether a callback, handler or spawned task ended well; if not, its connection is aborted."""
        if task.cancelled():
            self._cancelled()
            return False
        exc = task.exception()
        if exc is None or self._is_own_end(exc):
            return True
        self._failed(exc)
        return False

    def _is_own_end(self, exc: BaseException) -> bool:
        """Whether it only says that this connection has ended: that ends a handler quietly."""
        if isinstance(exc, BaseExceptionGroup):  # of a TaskGroup
            return all(self._is_own_end(part) for part in exc.exceptions)
        return isinstance(exc, ConnectionClosed) and exc.connection is self

    # -- others

    def _notify(self, name: str) -> None:
        """Call one of the callbacks that do not wait for others."""
        try:
            result = self._context.run(getattr(self, name))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            self._failed(exc)
            return
        if inspect.isawaitable(result):
            self._spawn(result)

    def _tell_error(self, exc: BaseException) -> Awaitable[Any] | None:
        """Call `on_error`; returns what is to be awaited if it is async."""
        try:
            result = self._context.run(self.on_error, exc)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            logger.exception("%r: on_error failed while it was told of %r", self, exc)
            return None
        return self._guard(result, exc) if inspect.isawaitable(result) else None

    async def _guard(self, told: Awaitable[Any], exc: BaseException) -> None:
        """An async `on_error`, whose own errors are not told to it again."""
        try:
            await told
        except Exception:
            logger.exception("%r: on_error failed while it was told of %r", self, exc)

    def _spawn(self, awaitable: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run something beside the callbacks, for as long as the connection lives."""
        # Not by the loop's task factory: an eager one would enter the context a second time.
        task = asyncio.Task(as_coroutine(awaitable), loop=self._loop, context=self._context)
        if isinstance(self._spawned, set):
            self._spawned.add(task)
        else:
            self._spawned = {task}
        task.add_done_callback(self._spawned_done)
        return task

    def _spawned_done(self, task: asyncio.Task[Any]) -> None:
        if isinstance(self._spawned, set) and task in self._spawned:  # and not left behind
            self._spawned.discard(task)
            if not task.cancelled():
                self._outcome(task)
            self._spawned_returned()

    # -- their end

    def _has_tasks(self) -> bool:
        return self._task is not None or bool(self._spawned)

    def _cancel_tasks(self) -> None:
        for task in (self._task, *self._spawned):
            if task is not None:
                task.cancel()

    def _forget_tasks(self) -> None:
        tasks = [task for task in (self._task, *self._spawned) if task is not None]
        logger.error("%r: its code goes on after it was cancelled: %r", self, tasks)
        self._task = None
        self._spawned = frozenset()


def wake(waiters: Iterable[asyncio.Future[None]]) -> None:
    """Let everybody go on."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
