"""The body of a request as it comes: pieces that wait for the handler, and the peer is held back when they are many."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from trews.errors import ConnectionClosed, IncompleteMessage
from trews.http.errors import BadMessage
from trews.http.http1 import ChunkedBody, LengthBody

if TYPE_CHECKING:
    import asyncio

    from trews.http.connection import HTTPConnection
    from trews.http.head import Fields, RequestHead


SMALL = 4096  # bytes of a piece that is put together with the next: alone, one of a byte takes 42


class Body:
    """What of a body has come and was not taken yet.

    Attributes:
        is_complete: all of it has come.
        error: why the rest of it will never come.
        total: bytes that have come.
        size: bytes that wait to be taken.
        begun_at: when the peer began to owe it, in the loop's time; 0.0: it waits for 100 Continue.
        is_unwanted: the request is answered; what still comes is thrown away.
        skipped: bytes that were.
    """

    __slots__ = (
        "_connection",
        "_decoder",
        "_pieces",
        "_waiter",
        "begun_at",
        "error",
        "is_complete",
        "is_unwanted",
        "size",
        "skipped",
        "total",
        "wants_continue",
    )

    def __init__(self, connection: HTTPConnection, head: RequestHead) -> None:
        self._connection = connection
        self._decoder: Any = (
            ChunkedBody(connection.max_trailers, connection.max_fields) if head.is_chunked else LengthBody(head.length)
        )
        self._pieces: deque[bytes | bytearray] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.is_complete = self.is_unwanted = False
        self.error: BaseException | None = None
        self.total = self.size = self.skipped = 0
        self.begun_at = 0.0
        self.wants_continue = head.expects_continue

    @property
    def rest(self) -> int:
        """Bytes that are to come; -1: not known."""
        rest: int = self._decoder.rest
        return rest

    @property
    def trailers(self) -> Fields | None:
        """The trailers, once it is complete."""
        fields: Fields | None = self._decoder.trailers
        return fields

    # -- what comes

    def feed(self, data: bytes, start: int) -> int:
        """Bytes have come. Returns where in them what follows the body begins.

        Raises:
            BadMessage: no body can be made of them, or it is larger than may be.
        """
        pieces: list[bytes] = []
        end: int = self._decoder.take(data, start, pieces)
        if pieces:
            # One piece for each time that something comes, however small its chunks.
            piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self.total += len(piece)
            limit = self._connection.max_body
            if limit is not None and self.total > limit:
                raise BadMessage(413, f"a body of more than {limit} bytes")
            if self.is_unwanted:
                self.skipped += len(piece)
            else:
                self._keep(piece)
        self.is_complete = self._decoder.is_done
        self.wants_continue = False
        if pieces or self.is_complete:
            self.wake()
        return end

    def _keep(self, piece: bytes) -> None:
        self.size += len(piece)
        keep(self._pieces, piece)

    def skip(self) -> None:
        """Nobody wants what is left of it."""
        self.is_unwanted = True
        self._pieces.clear()
        self.size = 0
        self.wake()

    def fail(self, error: BaseException) -> None:
        """The rest of it will never come."""
        if not self.is_complete and self.error is None:
            self.error = error
            self.wake()

    def wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- what is taken

    def take(self) -> bytes:
        """What has come so far, and was not taken."""
        pieces = self._pieces
        data = bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.size = 0
        self._connection._body_taken()
        return data

    async def next(self) -> bytes:
        """The next bytes of it; b"" at its end.

        Raises:
            BadMessage: what came is no body.
            ConnectionClosed: the connection ended before its end.
            RuntimeError: the request is answered.
        """
        while not self.size:
            if self.is_unwanted:
                raise RuntimeError("the request is answered: what was left of its body is thrown away")
            if self.is_complete:
                return b""
            if self.error is not None:
                raise self.error.fresh() if isinstance(self.error, ConnectionClosed) else self.error
            if self._waiter is not None:
                raise RuntimeError("another task reads the body of this request; there can be one reader")
            self._connection._continue(self)
            waiter = self._waiter = self._connection._loop.create_future()
            try:
                await waiter
            finally:
                if self._waiter is waiter:
                    self._waiter = None
        return self.take()


def keep(pieces: deque[bytes | bytearray] | list[bytes | bytearray], piece: bytes) -> None:
    """Add a piece to those that are kept; small ones are put together."""
    if len(piece) >= SMALL:
        pieces.append(piece)
    elif pieces and type(pieces[-1]) is bytearray and len(pieces[-1]) < SMALL:
        pieces[-1] += piece
    else:
        pieces.append(bytearray(piece) if pieces else piece)


def incomplete(connection: HTTPConnection) -> IncompleteMessage:
    """Why a body ends, if the peer ends in the middle of it."""
    why = IncompleteMessage(b"", "the peer ended in the middle of a request's body")
    why.connection = connection
    return why
