"""From other threads into the loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
_lock = threading.RLock()  # a garbage collection inside of it may finalise something that makes a loop


def call_from_thread(fn: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
    """Call `fn(*args)` on the loop, from any other thread; a loop that is waiting wakes up at once.

    The loop is that of the connection or server whose method `fn` is, else the one that trews runs.

    Returns:
        A future of `concurrent.futures`: its `result(timeout)` waits for what `fn` returned or raised. If `fn` is
        `async`, for what it returns in the end.

    Raises:
        RuntimeError: no loop runs, or several do and `fn` does not tell which.
    """
    loop = _loop_for(fn)
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def call() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = fn(*args)
            if asyncio.iscoroutine(result):
                loop.create_task(result).add_done_callback(lambda task: _pass_on(task, future))
            else:
                future.set_result(result)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            future.set_exception(exc)

    loop.call_soon_threadsafe(call)
    return future


def enter(loop: asyncio.AbstractEventLoop) -> None:
    """`loop` is one that `call_from_thread` may find."""
    with _lock:
        _loops.add(loop)


def _loop_for(fn: Callable[..., Any]) -> asyncio.AbstractEventLoop:
    owner = getattr(fn, "__self__", None)
    loop = getattr(owner, "_loop", None) or getattr(owner, "loop", None)
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop
    with _lock:
        loops = [loop for loop in _loops if loop.is_running()]
    if len(loops) == 1:
        return loops[0]
    if not loops:
        raise RuntimeError("trews.call_from_thread() found no running loop")
    raise RuntimeError(
        f"trews.call_from_thread() found {len(loops)} running loops; use loop.call_soon_threadsafe() of the right one"
    )


def _pass_on(task: asyncio.Task[Any], future: concurrent.futures.Future[Any]) -> None:
    if task.cancelled():
        future.set_exception(asyncio.CancelledError())
    elif (exc := task.exception()) is not None:
        future.set_exception(exc)
    else:
        future.set_result(task.result())
