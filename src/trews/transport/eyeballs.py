"""Happy Eyeballs (RFC 8305): several addresses, and the first that answers.

The next one is tried when one has failed, or has not answered for a moment; those before it go on. Nothing here
knows sockets. asyncio has this too, for its own `create_connection` (`happy_eyeballs_delay`), not as a public function.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

T = TypeVar("T")
R = TypeVar("R")

DELAY = 0.25  # seconds; RFC 8305 §8: "Connection Attempt Delay", recommended


def interleave(candidates: Iterable[T], family: Callable[[T], object]) -> list[T]:
    """The families in turn, beginning with that of the first (RFC 8305 §4); within one the order stays."""
    families: dict[object, list[T]] = {}
    for candidate in candidates:
        families.setdefault(family(candidate), []).append(candidate)
    ranked = [
        (rank, place, candidate)
        for place, members in enumerate(families.values())
        for rank, candidate in enumerate(members)
    ]
    return [candidate for _, _, candidate in sorted(ranked, key=lambda entry: entry[:2])]


async def first_of(
    candidates: Sequence[T],
    attempt: Callable[[T], Awaitable[R]],
    discard: Callable[[R], object],
    delay: float = DELAY,
) -> R | None:
    """What the first attempt that succeeds returns, None if none does.

    When this returns or raises, all other attempts have ended.

    Args:
        attempt: tries one candidate; an OSError is a failure, any other exception ends it all.
        discard: gets what came of attempts that succeeded too late, or for a caller who was cancelled.
        delay: seconds that one attempt has before the next begins beside it.
    """
    if len(candidates) == 1:  # most are: no task for them
        try:
            return await attempt(candidates[0])
        except OSError:
            return None
    loop = asyncio.get_running_loop()
    waiting = list(reversed(candidates))
    running: list[asyncio.Task[R]] = []
    winner: asyncio.Task[R] | None = None
    try:
        while winner is None and (waiting or running):
            if waiting:
                running.append(asyncio.Task(_started(attempt, waiting.pop()), loop=loop))
            timeout = delay if waiting else None
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            # In the order in which they began: that is the order of preference.
            winner = next((task for task in running if task in done and _has_succeeded(task)), None)
            running = [task for task in running if task not in done or (winner and task is not winner)]
        # While the others end, the caller may still be cancelled.
        losers, running = running, [winner] if winner else []
        await _end(losers, discard)
        running = []
    finally:
        await _end(running, discard)
    return winner.result() if winner else None


async def _started(attempt: Callable[[T], Awaitable[R]], candidate: T) -> R:
    return await attempt(candidate)


def _has_succeeded(task: asyncio.Task[R]) -> bool:
    error = task.exception()
    if error is None:
        return True
    if isinstance(error, OSError):
        return False
    raise error


async def _end(tasks: list[asyncio.Task[R]], discard: Callable[[R], object]) -> None:
    """Cancel them, and wait until they have ended."""
    for task in tasks:
        # Called even if this is cancelled itself.
        task.add_done_callback(lambda task: _discard(task, discard))
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
        await asyncio.sleep(0)  # the callbacks run in this turn, perhaps after what wakes this


def _discard(task: asyncio.Task[R], discard: Callable[[R], object]) -> None:
    if not task.cancelled() and task.exception() is None:
        discard(task.result())
