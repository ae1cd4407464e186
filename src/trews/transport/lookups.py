"""Calls that block for who knows how long, such as `getaddrinfo`, in threads that nobody ever waits for.

asyncio runs them in the loop's executor. There a resolver that hangs takes one thread after the other from everything
else, and the end of the program waits for it. These threads are daemons, and few. Not for work of users: that is
`in_thread`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MAX_THREADS = 16  # look-ups at one time; more of them wait


class _Lookup:
    def __init__(self, key: Hashable, function: Callable[[], Any]) -> None:
        self.key = key
        self.function = function
        self.waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]] = []


class Lookups:
    """Look-ups in progress. What is asked for a second time meanwhile waits for the same answer.

    So a client that tries again and again, with a resolver that hangs, holds one thread. Several loops may share it.
    """

    def __init__(self, max_threads: int = MAX_THREADS) -> None:
        self._max_threads = max_threads
        self.forget()

    def forget(self) -> None:
        """Begin anew: in a forked child, which has none of the threads."""
        self._lock = threading.RLock()  # a garbage collection inside of it may close a coroutine that waits
        self._known: dict[Hashable, _Lookup] = {}
        self._waiting: deque[_Lookup] = deque()
        self._threads = 0

    async def run(self, key: Hashable, function: Callable[[], Any]) -> Any:
        """What `function()` returns or raises; it blocks, and is the same for the same `key`.

        Raises:
            OSError: it cannot be asked, because no thread can be had.
        """
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        with self._lock:
            lookup = self._known.get(key)
            if lookup is None:
                lookup = self._begin(_Lookup(key, function))
            lookup.waiters.append((loop, waiter))
        try:
            return await waiter
        finally:
            self._leave(lookup, (loop, waiter))

    def _begin(self, lookup: _Lookup) -> _Lookup:
        if self._threads < self._max_threads:
            thread = threading.Thread(target=self._work, args=(lookup,), name="trews-lookup", daemon=True)
            try:
                thread.start()
            except RuntimeError as exc:
                raise OSError(errno.EAGAIN, f"a name cannot be looked up: {exc}") from None
            self._threads += 1
        else:
            self._waiting.append(lookup)
        self._known[lookup.key] = lookup
        return lookup

    def _leave(self, lookup: _Lookup, waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]) -> None:
        """Nobody is told any more; and what has not begun and nobody waits for need not be asked."""
        with self._lock:
            if waiter in lookup.waiters:
                lookup.waiters.remove(waiter)
            if not lookup.waiters and lookup in self._waiting:
                self._waiting.remove(lookup)
                del self._known[lookup.key]

    def _work(self, lookup: _Lookup | None) -> None:
        while lookup is not None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = lookup.function()
            except BaseException as exc:
                error = exc
            with self._lock:
                del self._known[lookup.key]
                waiters, lookup.waiters = lookup.waiters, []
                lookup = self._waiting.popleft() if self._waiting else None
                if lookup is None:
                    self._threads -= 1
            for loop, waiter in waiters:
                try:
                    loop.call_soon_threadsafe(_settle, waiter, result, error)
                except RuntimeError:
                    pass  # that loop is closed
            del result, error, waiters


def _settle(waiter: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if waiter.done():
        return
    if error is not None:
        waiter.set_exception(error)
    else:
        waiter.set_result(result)


lookups = Lookups()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lookups.forget)
