"""From the loop into a thread, and from other threads into the loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
Args = TypeVarTuple("Args")

_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
_lock = threading.RLock()  # a garbage collection inside of it may finalise something that makes a loop
_caller = threading.local()  # .loop: whose in_thread this thread is working for


def in_thread(fn: Callable[[*Args], T], *args: *Args) -> asyncio.Future[T]:
    """Run `fn(*args)`, which blocks, in a thread of its own; the loop goes on meanwhile.

    It begins when called, so that plain callbacks may call it too. `fn` has a copy of the caller's context, and may
    use `call_from_thread`. The threads are those of the loop's default executor, a few more than the machine has
    processors; further calls wait for one. A function that has begun cannot be stopped: cancelling the future is
    giving up its result, and `trews.run` and `trews.serve` wait for it at their end.

    Returns:
        A future of what `fn` returns or raises, to be awaited.

    Raises:
        TypeError: `fn` cannot be called, or is `async`.
        RuntimeError: there is no running loop.
    """
    if not callable(fn):
        raise TypeError(f"trews.in_thread takes a function, then its arguments, not {fn!r}: trews.in_thread(fn, 1, 2)")
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__):
        raise TypeError(f"trews.in_thread is for functions that block, and {_name(fn)} is async: await it instead")
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "trews.in_thread() needs a running loop: call it in a callback, a handler or Server.on_start"
        ) from None
    context = contextvars.copy_context()
    return loop.run_in_executor(None, lambda: context.run(_result, loop, fn, args))


def _result(loop: asyncio.AbstractEventLoop, fn: Callable[[*Args], T], args: tuple[*Args]) -> T:
    _caller.loop = loop
    try:
        result = fn(*args)
    except StopIteration as exc:
        # No future can hold it: before Python 3.12 whoever waits would wait for ever.
        raise RuntimeError(f"{_name(fn)} raised StopIteration in a thread") from exc
    finally:
        del _caller.loop
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"trews.in_thread is for functions that block, and {_name(fn)} returned a coroutine")
    return result


def _name(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__qualname__", None) or repr(fn)


def call_from_thread(fn: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
    """Call `fn(*args)` on the loop, from any other thread; a loop that is waiting wakes up at once.

    The loop is that of the connection or server whose method `fn` is, else in a function that `in_thread` runs the
    one it was called from, else the one that trews runs.

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
            future.set_exception(
                concurrent.futures.CancelledError()
            )  # a thread that waits would keep the program alive
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
    caller: asyncio.AbstractEventLoop | None = getattr(_caller, "loop", None)
    if caller is not None and _is_served(caller):
        return caller
    with _lock:
        loops = [loop for loop in _loops if _is_served(loop)]
    if len(loops) == 1:
        return loops[0]
    if not loops:
        raise RuntimeError("trews.call_from_thread() found no running loop")
    raise RuntimeError(
        f"trews.call_from_thread() found {len(loops)} running loops; use loop.call_soon_threadsafe() of the right one"
    )


def _is_served(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it runs, or does so again and again, by `loop.step()`."""
    return loop.is_running() or (getattr(loop, "_is_stepped", False) and not loop.is_closed())


def _pass_on(task: asyncio.Task[Any], future: concurrent.futures.Future[Any]) -> None:
    if task.cancelled():
        future.set_exception(asyncio.CancelledError())
    elif (exc := task.exception()) is not None:
        future.set_exception(exc)
    else:
        future.set_result(task.result())
