"""The reading half of a connection, for who waits: messages as coroutines. What callbacks get is in `lifecycle`."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from trews.errors import BusyError, ClosedByPeer, ConnectionClosed, MessageTooLong, TimedOut
from trews.inbox import NEED, Ahead
from trews.lifecycle import MESSAGE_SECONDS, Lifecycle
from trews.phase import Phase
from trews.reader import Reader
from trews.settings import KIB, check_wait

_NEW, _OPEN, _FLUSHING, _DOWN, _CLOSED = Phase
READS_A_TURN = 128  # messages that read() gives without letting the others run


class _Setting:
    """Stands for "what the setting says" where None has a meaning."""

    def __repr__(self) -> str:
        return "<the setting>"


SETTING = _Setting()


class Input(Lifecycle):
    """The part of a connection that waits for messages."""

    async def read(self, framer: Any = SETTING, timeout: float | None = None) -> Any:
        """Wait for the next message.

        Args:
            framer: how to cut this one message; the setting by default.
            timeout: seconds to wait at most.

        Returns:
            The message, as the framer makes it.

        Raises:
            ClosedByPeer: the peer has ended, and every message was read.
            IncompleteMessage: it ended in the middle of one.
            ConnectionClosed: any other reason for which the connection ended.
            TimedOut: `timeout` ran out; no byte is lost and the connection is open.
            BusyError: another `read()` is waiting.
            ValueError: `timeout` is negative.
        """
        if timeout is not None:
            check_wait(timeout)
        reader = self._spare_reader
        if reader is None:
            reader = self._new_reader()
        self._reader = reader
        self._spare_reader = None
        reader.framer = value = self.framer if framer is SETTING else framer
        message: Any = NEED
        timer = None
        try:
            # If nothing is there and it waited for the same before, there is no need to look.
            if self._has_news or value is not reader.waited_for or self.max_message != reader.limit:
                reader.taken += 1
                if reader.taken > 1 and self._had_turn(reader):  # a full inbox must not keep the others from running
                    reader.taken = 1
                    await asyncio.sleep(0)
                    reader.took_since = self._clock.tick
                message = self._read_now(reader)
                if message is NEED:
                    reader.waited_for = value if self._inbox.waits_for_bytes() else NEED
                    reader.limit = self.max_message
            while message is NEED:
                if timeout is not None:
                    if reader.is_timed_out:
                        raise TimedOut(f"no message came within {timeout:g} s")
                    if timer is None:
                        timer = self._loop.call_later(timeout, reader.time_out)
                if reader.taken:
                    reader.taken = 0
                    reader.took_since = 0.0
                reader.is_waiting = True
                if self._has_news or self.idle_timeout is not None:
                    self._regulate()
                message = await reader.wait()
                if message is NEED:
                    message = self._read_now(reader)
            self._spare_reader = reader
        finally:
            self._reader = None
            if timer is not None:
                timer.cancel()
                reader.is_timed_out = False
            if self._has_news or self.idle_timeout is not None:
                self._after_read()
        if framer is SETTING and not message:
            self._spend(value, message)
        return message

    def _new_reader(self) -> Reader:
        if self._reader is not None:
            raise BusyError(f"another read() is waiting on {self!r}; a connection has one reader at a time")
        self._require_connected()
        return Reader(self._loop)

    def _had_turn(self, reader: Reader) -> bool:
        """Whether read() has given so many messages, or for so long, that the others must run."""
        reader.took_since = reader.took_since or self._clock.tick
        return reader.taken > READS_A_TURN or self._clock.now() > reader.took_since + MESSAGE_SECONDS

    def _read_now(self, reader: Reader) -> Any:
        """The next message for a `read()`, NEED if it must wait; raises if none can come."""
        if self._phase is _OPEN or self._delivers_rest:
            try:
                message = self._take(reader.framer)
            except ConnectionClosed as exc:
                self._break(exc)
                raise self._closed(exc) from exc.__cause__
            if message is not NEED:
                return message
            if self._is_eof:
                raise self._closed(ClosedByPeer())
            if self._phase is _OPEN:
                if self._is_at_stop():
                    raise self._closed(ClosedByPeer(self._why_stopping()))
                return NEED
        raise self._closed(self._reason)

    def _after_read(self) -> None:
        """What was held back for the reader may go on."""
        if self._phase is _OPEN and not (self._is_eof or self._is_stopping or len(self._inbox)):
            self._regulate()
        elif self._phase in (_OPEN, _DOWN):
            self._pump_soon()

    async def peek(self, count: int, timeout: float | None = None) -> bytes:
        """Wait for the next `count` bytes and look at them: they stay for the next `read()`, or for `on_read`.

        Args:
            count: how many bytes, at least 1 and at most `max_message`.
            timeout: seconds to wait at most.

        Returns:
            So many bytes; fewer only if the peer has ended after them.

        Raises:
            ValueError: `count` is not possible.
            As `read()`, whose place it takes while it waits.
        """
        if not 0 < count <= self.max_message:
            raise ValueError(f"peek() looks at 1 to {self.max_message} bytes (max_message), not {count}")
        data: bytes = await self.read(Ahead(count), timeout)
        return data

    async def read_all(self, limit: int = 16 * KIB * KIB) -> bytes:
        """Everything that the peer sends until its end, as bytes. If it is cancelled, what it has read is lost.

        Raises:
            MessageTooLong: it is more than `limit` bytes.
            ConnectionClosed: the connection ended other than by the peer's goodbye.
        """
        pieces: list[bytes] = []
        room = limit
        while True:
            try:
                piece = await self.read(framer=None)
            except ClosedByPeer:
                return b"".join(pieces)
            room -= len(piece)
            if room < 0:
                reason = MessageTooLong(f"the peer sent more than the limit of {limit} bytes")
                self._break(reason)
                raise self._closed(reason)
            pieces.append(piece)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.read()
        except ConnectionClosed as exc:
            if exc.is_clean:
                raise StopAsyncIteration from None
            raise
