"""The TLS handshakes of one server that are in progress, so many at most: the oldest gives way to a new one.

(The oldest, since a handshake takes milliseconds: clients that open connections and go silent must not keep out
the others. Refusing new ones, or leaving them to the kernel, would.)
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from trews.errors import TLSError

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

    from trews.transport.handshake import Handshake

logger = logging.getLogger("trews")

PATIENCE = 1.0  # seconds for a handshake while others wait for its place
QUIET = 60.0  # seconds between two warnings of one sort
SORTS = 100  # that are remembered


class Handshakes:
    """Those that are in progress, or have failed and whose sockets wait for the peer to take the alert."""

    def __init__(self) -> None:
        self._all: dict[Handshake, float] = {}  # and when each began
        self._timer: asyncio.TimerHandle | None = None
        self._told: dict[str, float] = {}  # when each sort of failure was last a warning

    def __len__(self) -> int:
        return len(self._all)

    def begin(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: Any,
        context: ssl.SSLContext,
        limit: int,
        done: Callable[[Any], None],
        gone: Callable[[], None],
    ) -> None:
        """Begin one.

        Args:
            limit: how many there may be.
            done: called once, with the TLS socket, or with the TLSError for which there is none.
            gone: called when the socket is closed, if there is none.
        """
        from trews.transport.handshake import Handshake  # here because it imports ssl, which costs 5 ms

        def ended(result: Any) -> None:
            if not isinstance(result, TLSError):
                self._forget(handshake)
            done(result)

        def closed() -> None:
            self._forget(handshake)
            gone()

        while len(self._all) >= limit:
            oldest = next(iter(self._all))
            oldest.give_up(f"{limit} handshakes are in progress (max_handshakes), and this is the oldest")
        handshake = Handshake(loop, sock, context, server_side=True, done=ended, gone=closed)
        self._all[handshake] = loop.time()
        handshake.start()

    def _forget(self, handshake: Handshake) -> None:
        self._all.pop(handshake, None)
        if not self._all and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def tell(self, what: str, error: TLSError, now: float) -> None:
        """Log a failure: as a warning, but of one sort once a minute, as strangers must not fill the log."""
        why = str(error)
        if len(self._told) >= SORTS:
            self._told.clear()
        is_new = now >= self._told.get(why, -QUIET) + QUIET
        if is_new:
            self._told[why] = now
        logger.log(logging.WARNING if is_new else logging.INFO, "%s: %s", what, why)

    def hurry(self, loop: asyncio.AbstractEventLoop, is_full: Callable[[], bool]) -> None:
        """The server is full, or stopping: as long as it is, a handshake has a second, for others wait for it."""
        if self._all and self._timer is None:
            self._timer = loop.call_later(PATIENCE, self._hurried, loop, is_full)

    def _hurried(self, loop: asyncio.AbstractEventLoop, is_full: Callable[[], bool]) -> None:
        self._timer = None
        if is_full():
            slow = [handshake for handshake, began in self._all.items() if began <= loop.time() - PATIENCE]
            for handshake in slow:
                handshake.give_up("the server is full or stopping, and this handshake takes long")
            self.hurry(loop, is_full)

    def give_up(self, why: str) -> None:
        """End all of them."""
        for handshake in list(self._all):
            handshake.give_up(why)
