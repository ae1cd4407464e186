"""The TLS handshakes of one server that are in progress, so many at most: the oldest gives way to a new one.

(The oldest, since a handshake takes milliseconds: clients that open connections and go silent must not keep out
the others. Refusing new ones, or leaving them to the kernel, would.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

    from trews.transport.handshake import Handshake


class Arrivals:
    """Those that are in progress."""

    def __init__(self) -> None:
        self._all: dict[Handshake, None] = {}

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
            self._all.pop(handshake, None)
            done(result)

        while len(self._all) >= limit:
            next(iter(self._all)).give_up(
                f"{limit} handshakes are in progress (max_handshakes), and this is the oldest"
            )
        handshake = Handshake(loop, sock, context, server_side=True, done=ended, gone=gone)
        self._all[handshake] = None
        handshake.start()

    def give_up(self, why: str) -> None:
        """End all of them."""
        for handshake in list(self._all):
            handshake.give_up(why)
