"""Who waits for the next message of a connection: what `read()` awaits."""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any, Final

from trews.inbox import NEED

if TYPE_CHECKING:
    from collections.abc import Generator

# What a task that goes on is told was awaited: it asks for the result, and for nothing else. It is of no loop.
_DONE: Final[asyncio.Future[None]] = asyncio.Future(loop=types.SimpleNamespace(get_debug=bool))  # type: ignore[arg-type]
_DONE.set_result(None)


class Reader:
    """A `read()` in progress. `wait` waits for `give`, or for `wake`.

    A task asks a future of asyncio's own in C, and anything else by calls into Python: 5,000 instructions of 33,200 a
    request (CPython 3.13, compiled). So it waits for such a one. But a future's callbacks come in the next turn of the
    loop; `give` takes the task's off, and calls it here. The future is not done then, and is there for the next wait.

    Attributes:
        framer: the `framer` setting, or what this read() uses instead.
        future: what its task waits for. It has a callback as long as it may be given something.
        is_waiting: it asks for a message, and nobody has given one or woken it.
        is_timed_out: why it was woken.
        waited_for: the framer for which it, or the read() before that had it, has waited.
        limit: the most payload bytes that a message could have then.
        taken: messages that were there, since it last waited.
        took_since: when that began, in the loop's time; 0.0 if it has just waited.
    """

    __slots__ = (
        "_loop",
        "_message",
        "framer",
        "future",
        "is_timed_out",
        "is_waiting",
        "limit",
        "taken",
        "took_since",
        "waited_for",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.framer: Any = None
        self.waited_for: Any = NEED  # no framer
        self.limit = 0
        self.taken = 0
        self.took_since = 0.0
        self.is_waiting = self.is_timed_out = False
        self._loop = loop
        self._message: Any = NEED
        self.future: Any = asyncio.Future(loop=loop)

    @types.coroutine
    def wait(self) -> Generator[Any, None, Any]:
        """Wait, if it `is_waiting`. Returns the message that was given, NEED if it was woken."""
        # By way of `__await__` it takes 700 instructions more, since that is looked up and called from C.
        if self.is_waiting:
            future = self.future
            future._asyncio_future_blocking = True
            yield future
        message, self._message = self._message, NEED
        return message

    def give(self, callbacks: Any, message: Any) -> bool:
        """Let the task go on with this message, at once. Called from the loop.

        Args:
            callbacks: those of `future`, which are one.
            message: what it gets.

        Returns:
            Whether it has; if not, it waits as before: a task is running, or the task's context is entered.
        """
        ((callback, context),) = callbacks
        self.future.remove_done_callback(callback)
        self.is_waiting = False
        self._message = message
        try:
            context.run(callback, _DONE)
        except RuntimeError:
            if self._message is NEED:
                raise  # not of these: it has gone on
            self.future.add_done_callback(callback, context=context)
            self.is_waiting = True
            self._message = NEED
            return False
        return True

    def wake(self) -> None:
        """Let the task look again, in the next turn."""
        if self.is_waiting and not self.future.done():  # that is, cancelled
            self.is_waiting = False
            future, self.future = self.future, asyncio.Future(loop=self._loop)
            future.set_result(None)

    def time_out(self) -> None:
        self.is_timed_out = True
        self.wake()
