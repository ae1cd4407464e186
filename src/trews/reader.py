"""Who waits for the next message of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class Reader:
    """A `read()` in progress. Its future only signals; the message is taken in the reader's own step."""

    __slots__ = ("framer", "is_timed_out", "waiter")

    def __init__(self, framer: Any) -> None:
        self.framer = framer
        self.waiter: asyncio.Future[None] | None = None
        self.is_timed_out = False

    def time_out(self) -> None:
        self.is_timed_out = True
        self.wake()

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    @property
    def is_waiting(self) -> bool:
        return self.waiter is not None and not self.waiter.done()
