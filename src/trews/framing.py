"""Framers: how a byte stream is cut into messages, and how a message becomes bytes.

A `Framer` is an immutable value that says what messages look like; one on a class serves every connection.
Its `decoder()` holds what one connection must remember. This module does no I/O, keeps no buffer (that is
`trews.inbox`) and waits for nothing: bytes in, messages or an exception out.

It is longer than most files because each framer stands beside its decoder and there are ten of them.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from itertools import permutations
from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, Any, Final

from trews.errors import FramingError, MessageTooLong
from trews.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Framer", "Decoder", "Raw", "Exactly", "Delimiter", "Packed", "Line", "JSONLines", "Netstring"]
__all__ += ["Prefixed", "Varint", "framer_for"]

RAW_MAX: Final = 256 * 1024
_EXCERPT: Final = 40
_LINE_ENDS: Final = (b"\r\n", b"\n")


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


class _Need:
    """The type of `NEED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "NEED"


# No message yet. Not None, which is a message of JSONLines.
NEED: Final = _Need()


class OwnDecoder(Decoder):
    """One of those below, which can tell at once that some bytes are a message: the engine then keeps no buffer."""

    def whole(self, data: bytes) -> Any:
        """The message, if `data` is one and nothing else; NEED if `decode` has to look.

        Raises:
            What `decode` would.
        """
        return NEED


class Framer:
    """How a stream is cut into messages: an immutable spec. Subclassing is optional, the methods are not."""

    __slots__ = ()

    def decoder(self) -> Decoder:
        """Make the state for one connection."""
        raise NotImplementedError

    def encode(self, message: Any) -> bytes:
        """Turn a message into the bytes that `decoder()` reads as this message.

        Raises:
            TypeError: not the kind of message that this framer has.
            ValueError: a message that would be read as something else.
        """
        raise NotImplementedError


def _excerpt(data: bytes | bytearray) -> str:
    """The beginning of some bytes, for an error message."""
    if len(data) <= _EXCERPT:
        return repr(bytes(data))
    return f"{bytes(data[:_EXCERPT])!r}... ({len(data)} bytes)"


def _too_long(limit: int, data: bytes | bytearray) -> MessageTooLong:
    return MessageTooLong(f"a message of more bytes than max_message, {limit}: {_excerpt(data)}")


def cut(buffer: bytearray, start: int, stop: int) -> bytes:
    """Copy a piece of a buffer."""
    # A slice of a bytearray is copied twice, a memoryview's once: 64 KiB take 1.4 instead of 3.7 us,
    # 1 MB 20 instead of 1000; but making the view costs 80 ns, so short ones go the plain way.
    if stop - start < 4096:
        return bytes(buffer[start:stop])
    return bytes(memoryview(buffer)[start:stop])


def _payload(message: Any) -> bytes:
    """A bytes-like message as bytes."""
    if isinstance(message, bytes):
        return message
    try:
        return bytes(memoryview(message))
    except TypeError:
        hint = "; a str must be encoded first" if isinstance(message, str) else ""
        raise TypeError(f"a message must be bytes, not {type(message).__name__}{hint}") from None


class _RawDecoder(Decoder):
    def decode(self, buffer: bytearray, scanned: int) -> tuple[bytes, int]:
        size = min(len(buffer), RAW_MAX)
        return cut(buffer, 0, size), size


class Raw(Framer, Value):
    """Whatever has arrived, at most 256 KiB at a time; the shorthand is `None`. Has no limit."""

    __slots__ = ()

    def decoder(self) -> Decoder:
        return _RawDecoder()

    def encode(self, message: Any) -> bytes:
        return _payload(message)


class _FixedDecoder(OwnDecoder):
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


class Exactly(Framer, Value):
    """Exactly `count` bytes; the shorthand is the number. More than `max_message` is too long at once."""

    __slots__ = __match_args__ = ("count",)
    count: int

    def __init__(self, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int):
            raise TypeError(f"a number of bytes must be an int, not {count!r}")
        if count < 0:
            raise ValueError(f"a message cannot have {count} bytes")
        object.__setattr__(self, "count", count)  # one is made by each read(framer=5): 0.7 us less than by _set

    def decoder(self) -> Decoder:
        return _FixedDecoder(self.count, bytes)

    def encode(self, message: Any) -> bytes:
        data = _payload(message)
        if len(data) != self.count:
            raise ValueError(f"a message must have exactly {self.count} bytes, this one has {len(data)}")
        return data


class Packed(Framer, Value):
    """A tuple, the fields of a `struct.Struct`; the shorthand is the Struct itself."""

    __slots__ = __match_args__ = ("struct",)
    struct: Struct

    def __init__(self, struct: Struct) -> None:
        if not isinstance(struct, Struct):
            raise TypeError(f"Packed takes a struct.Struct such as Struct('!HH'), not {struct!r}")
        if struct.size == 0:
            raise ValueError(f"a Struct of no bytes ({struct.format!r}) cannot be a message")
        self._set(struct)

    @property
    def format(self) -> str:
        """The Struct's format."""
        return self.struct.format

    def _key(self) -> tuple[str]:
        return (self.format,)  # two Structs of one format are not equal

    def __repr__(self) -> str:
        return f"Packed(Struct({self.format!r}))"

    def decoder(self) -> Decoder:
        return _FixedDecoder(self.struct.size, self.struct.unpack)

    def encode(self, message: Any) -> bytes:
        if not isinstance(message, tuple | list):
            raise TypeError(f"a message of {self!r} is a tuple of its fields, not {type(message).__name__}")
        try:
            return self.struct.pack(*message)
        except struct_error as exc:
            raise ValueError(f"{message!r} does not fit {self!r}: {exc}") from exc


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
_search_for = lru_cache(_Ends)


class _EndedDecoder(OwnDecoder):
    """Messages up to one of `ends`: `convert` makes them from the bytes."""

    def __init__(
        self,
        ends: tuple[bytes, ...],
        convert: Callable[[bytes], Any],
        keep_end: bool = False,
        final: bool = False,
    ) -> None:
        self._ends = _search_for(ends)
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


class Delimiter(Framer, Value):
    """Bytes up to `delimiter`, which is removed; the shorthand is the delimiter itself."""

    __slots__ = __match_args__ = ("delimiter",)
    delimiter: bytes

    def __init__(self, delimiter: bytes) -> None:
        _check_end(delimiter)
        object.__setattr__(self, "delimiter", delimiter)

    def decoder(self) -> Decoder:
        return _EndedDecoder((self.delimiter,), bytes)

    def encode(self, message: Any) -> bytes:
        data = _payload(message)
        wire = data + self.delimiter
        if wire.find(self.delimiter) != len(data):
            raise ValueError(f"the delimiter {self.delimiter!r} would be found inside {_excerpt(data)}")
        return wire


class Line(Framer, Value):
    r"""A line, as bytes or, with an `encoding`, as str. Telnet (`\r\n`) and netcat (`\n`) both work.

    Args:
        ends: what ends a line. The earliest in the stream counts; the first of them is what `encode` appends.
        encoding: one that writes "\n" as the byte 0x0A; decoding is strict. `limit` counts bytes.
        keep_end: leave the end on the message (and expect it there in `encode`).
        final: the end of the stream also ends a line; otherwise an unterminated line is incomplete.

    Raises:
        TypeError, ValueError: no ends, an empty one, one inside another (`_check_ends`), UTF-16 and its like.
        LookupError: an encoding that Python does not know.
    """

    __slots__ = __match_args__ = ("ends", "encoding", "keep_end", "final")
    ends: tuple[bytes, ...]
    encoding: str | None
    keep_end: bool
    final: bool

    def __init__(
        self,
        ends: tuple[bytes, ...] = _LINE_ENDS,
        encoding: str | None = None,
        keep_end: bool = False,
        final: bool = True,
    ) -> None:
        if isinstance(ends, bytes | str):
            meant = f"ends=({ends!r},)" if isinstance(ends, bytes) else f"encoding={ends!r}"
            raise TypeError(f"ends must be a tuple of bytes; did you mean {meant}?")
        ends = tuple(ends)
        _check_ends(ends)
        if encoding is not None and "\n".encode(encoding) != b"\n":
            raise ValueError(f"{encoding} does not write a line feed as the one byte 0x0A")
        self._set(ends, encoding, keep_end, final)

    def decoder(self) -> Decoder:
        convert = bytes if self.encoding is None else self._text
        return _EndedDecoder(self.ends, convert, self.keep_end, self.final)

    def _text(self, data: bytes) -> str:
        try:
            return str(data, self.encoding or "")
        except UnicodeError as exc:
            raise FramingError(f"expected a line of {self.encoding}, got {_excerpt(data)}: {exc}") from exc

    def encode(self, message: Any) -> bytes:
        if self.encoding is None:
            data = _payload(message)
        elif isinstance(message, str):
            data = message.encode(self.encoding)
        else:
            raise TypeError(f"a line with an encoding must be str, not {type(message).__name__}")
        wire = data if self.keep_end else data + self.ends[0]
        found = _search_for(self.ends).find(wire, 0, len(wire))
        if found is None:
            raise ValueError(f"{_excerpt(data)} has no line end, which keep_end=True expects")
        start, stop = found
        if stop != len(wire) or not (self.keep_end or start == len(data)):
            raise ValueError(f"a line end would be found inside {_excerpt(data)}")
        return wire


def _check_end(end: Any) -> None:
    if not isinstance(end, bytes):
        hint = f"; did you mean {end.encode()!r}?" if isinstance(end, str) else ""
        raise TypeError(f"a delimiter must be bytes, not {type(end).__name__}{hint}")
    if not end:
        raise ValueError("a delimiter cannot be empty")


def _check_ends(ends: tuple[bytes, ...]) -> None:
    if not ends:
        raise ValueError("a line needs at least one end")
    for end in ends:
        _check_end(end)
    for inner, outer in permutations(ends, 2):
        if inner == outer or inner in outer[:-1]:
            rule = "an end may be part of another only as the end of it, or lines would depend on chunking"
            raise ValueError(f"{inner!r} in {outer!r}: {rule}")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


@cache
def _json_reader() -> Callable[[bytes], Any]:
    import json  # here and below, because few need it, and it costs 2.4 ms to import

    decode = json.JSONDecoder(parse_constant=_refuse_constant).decode

    def read(line: bytes) -> Any:
        try:
            return decode(str(line, "utf-8"))
        except (ValueError, RecursionError) as exc:
            raise FramingError(f"expected a line of JSON, got {_excerpt(line)}: {exc}") from exc

    return read


class JSONLines(Framer, Value):
    """A JSON value on each line, in UTF-8. The last may lack its end; NaN and empty lines are refused."""

    __slots__ = ()

    def decoder(self) -> Decoder:
        return _EndedDecoder(_LINE_ENDS, _json_reader(), final=True)

    def encode(self, message: Any) -> bytes:
        import json

        text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode() + b"\n"


class _CountedDecoder(OwnDecoder):
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
            came = f"{bytes(trailer)!r}: {_excerpt(buffer)}"
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


class _NetstringDecoder(_CountedDecoder):
    trailer = b","

    def header(self, buffer: bytes | bytearray) -> tuple[int, int] | int:
        length = 0
        for index, byte in enumerate(buffer):
            if byte == 0x3A and index:  # ":"
                return index + 1, length
            if not 0x30 <= byte <= 0x39:
                expected = 'a digit or ":"' if index else "a digit"
                raise FramingError(f"expected {expected} in a netstring, got {_excerpt(buffer[index:])}")
            if index and not length:
                raise FramingError(f"expected a netstring without leading zeros, got {_excerpt(buffer)}")
            length = length * 10 + byte - 0x30
            self.check(length)
        return len(buffer) + 1


class Netstring(Framer, Value):
    """A payload as `5:hello,`; leading zeros are refused.

    Source: D. J. Bernstein, Netstrings (1997).
    """

    __slots__ = ()

    def decoder(self) -> Decoder:
        return _NetstringDecoder()

    def encode(self, message: Any) -> bytes:
        data = _payload(message)
        return b"%d:%b," % (len(data), data)


class _PrefixedDecoder(_CountedDecoder):
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


class Prefixed(Framer, Value):
    """A payload after its length in binary.

    Args:
        format: how the length is written, one unsigned integer as in the `struct` module.
        includes_prefix: the length counts its own bytes too.

    Raises:
        TypeError, ValueError: not such a format.
    """

    __slots__ = __match_args__ = ("format", "includes_prefix")
    format: str
    includes_prefix: bool

    def __init__(self, format: str = "!H", includes_prefix: bool = False) -> None:
        if not isinstance(format, str):
            raise TypeError(f"a format must be str, not {type(format).__name__}")
        if not re.fullmatch(r"[@=<>!]?[BHILQ]|@?N", format):
            raise ValueError(f"expected a format of one unsigned integer such as '!H', got {format!r}")
        self._set(format, includes_prefix)

    def decoder(self) -> Decoder:
        return _PrefixedDecoder(Struct(self.format), self.includes_prefix)

    def encode(self, message: Any) -> bytes:
        data = _payload(message)
        struct = Struct(self.format)
        length = len(data) + (struct.size if self.includes_prefix else 0)
        try:
            return struct.pack(length) + data
        except struct_error as exc:
            raise ValueError(f"a message of {len(data)} bytes is too long for {self!r}") from exc


class _VarintDecoder(_CountedDecoder):
    def header(self, buffer: bytes | bytearray) -> tuple[int, int] | int:
        length = 0
        for index, byte in enumerate(buffer[:10]):
            if index == 9 and byte > 1:
                raise FramingError(f"expected a length of at most 64 bits, got {_excerpt(buffer[:10])}")
            length |= (byte & 0x7F) << (7 * index)
            self.check(length)
            if byte < 0x80:
                return index + 1, length
        return len(buffer) + 1


class Varint(Framer, Value):
    """A payload after its length as an unsigned LEB128 of at most 64 bits, as Protocol Buffers write it.

    Source: protobuf.dev, Encoding, "Base 128 Varints".
    """

    __slots__ = ()

    def decoder(self) -> Decoder:
        return _VarintDecoder()

    def encode(self, message: Any) -> bytes:
        data = _payload(message)
        prefix = bytearray()
        length = len(data)
        while length >= 0x80:
            prefix.append(length & 0x7F | 0x80)
            length >>= 7
        prefix.append(length)
        return bytes(prefix) + data


class _Spent(int):
    def __repr__(self) -> str:
        return "SPENT"


# A 0 that has had its one b"" and is not asked again; see trews.inbox.
SPENT: Final = _Spent(0)


def framer_for(value: Any) -> Framer:
    """Make a framer of a `framer` setting.

    Args:
        value: a framer, or None (`Raw`), an int (`Exactly`), bytes (`Delimiter`), a Struct (`Packed`).

    Raises:
        TypeError: anything else.
        ValueError: a negative number, an empty delimiter, a Struct of no bytes.
    """
    if value is None:
        return Raw()
    if isinstance(value, int) and not isinstance(value, bool):
        return Exactly(int(value))
    if isinstance(value, bytes):
        return Delimiter(value)
    if isinstance(value, Struct):
        return Packed(value)
    if not isinstance(value, type) and hasattr(value, "decoder") and hasattr(value, "encode"):
        return value  # type: ignore[no-any-return]  # it need not be a subclass
    raise TypeError(_refusal(value))


def _refusal(value: Any) -> str:
    if isinstance(value, type) and hasattr(value, "decoder"):
        return f"a framer must be an instance; did you mean {value.__name__}()?"
    if isinstance(value, str):
        return f"a delimiter must be bytes; did you mean {value.encode(errors='replace')!r}?"
    return (
        "framer must be None, a number of bytes, a delimiter as bytes, a struct.Struct or an object with"
        f" decoder() and encode(), not {value!r}"
    )
