"""Decoders: what one connection remembers of the message that is coming, and how it finds its end.

Each belongs to a framer (`trews.framing`), which makes one for each connection. Bytes in, a message or an exception
out: no I/O, and no buffer, which is `trews.inbox`'s.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from trews.errors import FramingError, MessageTooLong

if TYPE_CHECKING:
    from collections.abc import Callable
    from struct import Struct

RAW_MAX: Final = 256 * 1024
_EXCERPT: Final = 40


class _Need:
    """The type of `NEED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NEED"


# No message yet. Not None, which is a message of JSONLines.
NEED: Final = _Need()


class Decoder:
    """What one connection remembers between the pieces of a message.

    A subclass keeps to `limit` itself. A decoder that is no subclass is cut off by the engine when more than
    `limit` + 1024 bytes wait and it still asks for more.

    Attributes:
        limit: most payload bytes of one message. The engine assigns it.
        least: fewest buffered bytes with which the engine calls `decode`; 0 only for decoders that can make,
            or refuse, a message without a byte.
    """

    limit: int = 65536
    least: int = 1

    def decode(self, buffer: bytearray, scanned: int) -> tuple[Any, int] | int:
        """Look for one message at the start of the buffer, which must not be changed or kept.

        Args:
            buffer: the bytes that have arrived, from index 0.
            scanned: how many of them were there at the previous call for this same message, 0 at the first.

        Returns:
            `(message, consumed)`; or, when bytes are missing, the least number of bytes in the buffer (more
            than there are) with which another call can succeed or fail.

        Raises:
            MessageTooLong: the payload has more than `limit` bytes, or will have.
            FramingError: bytes that no message can have there.
        """
        raise NotImplementedError

    def eof(self, buffer: bytearray) -> tuple[Any, int] | None:
        """Decide what the end of the stream makes of the bytes (at least one) that are not yet a message.

        Returns:
            `(message, consumed)`, or None (the default) if they are the beginning of a message that is lost.
        """
        return None


class OwnDecoder(Decoder):
    """One of those below, which can tell at once that some bytes are a message: the engine then keeps no buffer."""

    def whole(self, data: bytes) -> Any:
        """The message, if `data` is one and nothing else; NEED if `decode` has to look.

        Raises:
            What `decode` would.
        """
        return NEED


def excerpt(data: bytes | bytearray) -> str:
    """The beginning of some bytes, for an error message."""
    if len(data) <= _EXCERPT:
        return repr(bytes(data))
    return f"{bytes(data[:_EXCERPT])!r}... ({len(data)} bytes)"


def _too_long(limit: int, data: bytes | bytearray) -> MessageTooLong:
    return MessageTooLong(f"a message of more bytes than max_message, {limit}: {excerpt(data)}")


def cut(buffer: bytearray, start: int, stop: int) -> bytes:
    """Copy a piece of a buffer."""
    # A slice of a bytearray is copied twice, a memoryview's once: 64 KiB take 1.4 instead of 3.7 us,
    # 1 MB 20 instead of 1000; but making the view costs 80 ns, so short ones go the plain way.
    if stop - start < 4096:
        return bytes(buffer[start:stop])
    return bytes(memoryview(buffer)[start:stop])


class RawDecoder(Decoder):
    def decode(self, buffer: bytearray, scanned: int) -> tuple[bytes, int]:
        size = min(len(buffer), RAW_MAX)
        return cut(buffer, 0, size), size


class FixedDecoder(OwnDecoder):
    """Messages of one size: `convert` makes them from that many bytes."""

    least = 0

    def __init__(self, size: int, convert: Callable[[bytes], Any]) -> None:
        self._size = size
        self._convert = convert

    def decode(self, buffer: bytearray, scanned: int) -> tuple[Any, int] | int:
        if self._size > self.limit:
            raise MessageTooLong(f"a message of {self._size} bytes, max_message is {self.limit}")
        if len(buffer) < self._size:
            return self._size
        return self._convert(cut(buffer, 0, self._size)), self._size

    def whole(self, data: bytes) -> Any:
        return self._convert(data) if len(data) == self._size <= self.limit and self._size else NEED


class _Ends:
    """A search for the earliest of some ends; where two of them stop at the same byte the longer is meant.

    No end may occur inside another but as its suffix (`_check_ends`). So what completes first is always a
    *root*, an end with no other as its suffix: search the roots, then see how far the end reaches back.
    """

    def __init__(self, ends: tuple[bytes, ...]) -> None:
        self.longest = max(map(len, ends))
        self._ends = sorted(ends, key=len, reverse=True)
        roots = [end for end in ends if not any(end != other and end.endswith(other) for other in ends)]
        self._root = roots[0]
        # One search for all of several roots: a `find` for one that never comes would run through everything
        # buffered at every message. `find` is for the usual single one: 115 ns instead of 650 for 100 bytes.
        self._any_root = re.compile(b"|".join(map(re.escape, roots))) if len(roots) > 1 else None

    def find(self, data: bytes | bytearray, start: int, bound: int) -> tuple[int, int] | None:
        """Where the first end that stops in data[start:bound] starts and stops."""
        if self._any_root is None:
            at = data.find(self._root, start, bound)
            stop = at + len(self._root)
        else:
            match = self._any_root.search(data, start, bound)
            at, stop = match.span() if match else (-1, -1)
        if at < 0:
            return None
        for end in self._ends:
            if data.endswith(end, 0, stop):
                at = stop - len(end)
                break
        return at, stop

    def possible(self, data: bytearray) -> int:
        """The first index where an end may start of which the rest has not yet arrived."""
        at = max(0, len(data) - self.longest + 1)
        while not any(end.startswith(bytes(data[at:])) for end in self._ends):
            at += 1
        return at


# `encode` of a line asks for it every time: 0.1 us instead of 2.
search_for = lru_cache(_Ends)


class EndedDecoder(OwnDecoder):
    """Messages up to one of `ends`: `convert` makes them from the bytes."""

    def __init__(
        self,
        ends: tuple[bytes, ...],
        convert: Callable[[bytes], Any],
        keep_end: bool = False,
        final: bool = False,
    ) -> None:
        self._ends = search_for(ends)
        self._only = ends[0] if len(ends) == 1 else b""
        self._convert = convert
        self._keep_end = keep_end
        self._final = final

    def decode(self, buffer: bytearray, scanned: int) -> tuple[Any, int] | int:
        longest = self._ends.longest
        found = self._ends.find(buffer, max(0, scanned - longest + 1), self.limit + longest)
        if found is None and (len(buffer) <= self.limit or self._ends.possible(buffer) <= self.limit):
            return len(buffer) + 1
        if found is None or found[0] > self.limit:
            raise _too_long(self.limit, buffer)
        start, stop = found
        return self._convert(cut(buffer, 0, stop if self._keep_end else start)), stop

    def whole(self, data: bytes) -> Any:
        if self._only:
            start, stop = data.find(self._only), len(data)
            if start < 0 or start + len(self._only) != stop:
                return NEED
        else:
            found = self._ends.find(data, 0, len(data))
            if found is None:
                return NEED
            start, stop = found
            if stop != len(data):
                return NEED
        return NEED if start > self.limit else self._convert(data if self._keep_end else data[:start])

    def eof(self, buffer: bytearray) -> tuple[Any, int] | None:
        if not self._final:
            return None
        if len(buffer) > self.limit:
            raise _too_long(self.limit, buffer)
        return self._convert(bytes(buffer)), len(buffer)


class CountedDecoder(OwnDecoder):
    """A length, that many bytes, and a trailer."""

    trailer = b""

    def header(self, buffer: bytes | bytearray) -> tuple[int, int] | int:
        """Where the payload starts and how long it is; or what `decode` returns when bytes are missing.

        It reads from left to right and the first violation counts, however many bytes are there: the verdict
        does not depend on chunking.
        """
        raise NotImplementedError

    def decode(self, buffer: bytearray, scanned: int) -> tuple[bytes, int] | int:
        found = self.header(buffer)
        if isinstance(found, int):
            return found
        start, length = found
        payload_stop = start + length
        stop = payload_stop + len(self.trailer)
        if len(buffer) < stop:
            return stop
        trailer = buffer[payload_stop:stop]
        if trailer != self.trailer:
            came = f"{bytes(trailer)!r}: {excerpt(buffer)}"
            raise FramingError(f"expected {self.trailer!r} after {length} bytes, got {came}")
        return cut(buffer, start, payload_stop), stop

    def whole(self, data: bytes) -> Any:
        found = self.header(data)
        if isinstance(found, int):
            return NEED
        start, length = found
        stop = start + length
        return data[start:stop] if stop + len(self.trailer) == len(data) and data.endswith(self.trailer) else NEED

    def check(self, length: int) -> None:
        """Refuse a length beyond the limit."""
        if length > self.limit:
            raise MessageTooLong(f"a message of at least {length} bytes, max_message is {self.limit}")


class NetstringDecoder(CountedDecoder):
    trailer = b","

    def header(self, buffer: bytes | bytearray) -> tuple[int, int] | int:
        length = 0
        for index, byte in enumerate(buffer):
            if byte == 0x3A and index:  # ":"
                return index + 1, length
            if not 0x30 <= byte <= 0x39:
                expected = 'a digit or ":"' if index else "a digit"
                raise FramingError(f"expected {expected} in a netstring, got {excerpt(buffer[index:])}")
            if index and not length:
                raise FramingError(f"expected a netstring without leading zeros, got {excerpt(buffer)}")
            length = length * 10 + byte - 0x30
            self.check(length)
        return len(buffer) + 1


class PrefixedDecoder(CountedDecoder):
    def __init__(self, struct: Struct, includes_prefix: bool) -> None:
        self._struct = struct
        self._extra = struct.size if includes_prefix else 0

    def header(self, buffer: bytes | bytearray) -> tuple[int, int] | int:
        size = self._struct.size
        if len(buffer) < size:
            return size
        (length,) = self._struct.unpack_from(buffer)
        if length < self._extra:
            raise FramingError(f"expected a length that includes its own {size} bytes, got {length}")
        self.check(length - self._extra)
        return size, length - self._extra


class VarintDecoder(CountedDecoder):
    def header(self, buffer: bytes | bytearray) -> tuple[int, int] | int:
        length = 0
        for index, byte in enumerate(buffer[:10]):
            if index == 9 and byte > 1:
                raise FramingError(f"expected a length of at most 64 bits, got {excerpt(buffer[:10])}")
            length |= (byte & 0x7F) << (7 * index)
            self.check(length)
            if byte < 0x80:
                return index + 1, length
        return len(buffer) + 1
