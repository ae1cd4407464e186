"""Framers: how a byte stream is cut into messages, and how a message becomes bytes.

A `Framer` is an immutable value that says what messages look like; one on a class serves every connection.
Its `decoder()` holds what one connection must remember. This module does no I/O, keeps no buffer (that is
`trews.inbox`) and waits for nothing: bytes in, messages or an exception out.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import permutations
from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, Any, Final

from trews.decoders import (
    Decoder,
    EndedDecoder,
    FixedDecoder,
    NetstringDecoder,
    PrefixedDecoder,
    RawDecoder,
    VarintDecoder,
    excerpt,
    search_for,
)
from trews.errors import FramingError
from trews.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Framer", "Decoder", "Raw", "Exactly", "Delimiter", "Packed", "Line", "JSONLines", "Netstring"]
__all__ += ["Prefixed", "Varint", "framer_for"]

_LINE_ENDS: Final = (b"\r\n", b"\n")


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


def _payload(message: Any) -> bytes:
    """A bytes-like message as bytes."""
    if isinstance(message, bytes):
        return message
    try:
        return bytes(memoryview(message))
    except TypeError:
        hint = "; a str must be encoded first" if isinstance(message, str) else ""
        raise TypeError(f"a message must be bytes, not {type(message).__name__}{hint}") from None


class Raw(Framer, Value):
    """Whatever has arrived, at most 256 KiB at a time; the shorthand is `None`. Has no limit."""

    __slots__ = ()

    def decoder(self) -> Decoder:
        return RawDecoder()

    def encode(self, message: Any) -> bytes:
        return _payload(message)


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
        return FixedDecoder(self.count, bytes)

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
        return FixedDecoder(self.struct.size, self.struct.unpack)

    def encode(self, message: Any) -> bytes:
        if not isinstance(message, tuple | list):
            raise TypeError(f"a message of {self!r} is a tuple of its fields, not {type(message).__name__}")
        try:
            return self.struct.pack(*message)
        except struct_error as exc:
            raise ValueError(f"{message!r} does not fit {self!r}: {exc}") from exc


class Delimiter(Framer, Value):
    """Bytes up to `delimiter`, which is removed; the shorthand is the delimiter itself."""

    __slots__ = __match_args__ = ("delimiter",)
    delimiter: bytes

    def __init__(self, delimiter: bytes) -> None:
        _check_end(delimiter)
        object.__setattr__(self, "delimiter", delimiter)

    def decoder(self) -> Decoder:
        return EndedDecoder((self.delimiter,), bytes)

    def encode(self, message: Any) -> bytes:
        data = _payload(message)
        wire = data + self.delimiter
        if wire.find(self.delimiter) != len(data):
            raise ValueError(f"the delimiter {self.delimiter!r} would be found inside {excerpt(data)}")
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
        return EndedDecoder(self.ends, convert, self.keep_end, self.final)

    def _text(self, data: bytes) -> str:
        try:
            return str(data, self.encoding or "")
        except UnicodeError as exc:
            raise FramingError(f"expected a line of {self.encoding}, got {excerpt(data)}: {exc}") from exc

    def encode(self, message: Any) -> bytes:
        if self.encoding is None:
            data = _payload(message)
        elif isinstance(message, str):
            data = message.encode(self.encoding)
        else:
            raise TypeError(f"a line with an encoding must be str, not {type(message).__name__}")
        wire = data if self.keep_end else data + self.ends[0]
        found = search_for(self.ends).find(wire, 0, len(wire))
        if found is None:
            raise ValueError(f"{excerpt(data)} has no line end, which keep_end=True expects")
        start, stop = found
        if stop != len(wire) or not (self.keep_end or start == len(data)):
            raise ValueError(f"a line end would be found inside {excerpt(data)}")
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
            raise FramingError(f"expected a line of JSON, got {excerpt(line)}: {exc}") from exc

    return read


class JSONLines(Framer, Value):
    """A JSON value on each line, in UTF-8. The last may lack its end; NaN and empty lines are refused."""

    __slots__ = ()

    def decoder(self) -> Decoder:
        return EndedDecoder(_LINE_ENDS, _json_reader(), final=True)

    def encode(self, message: Any) -> bytes:
        import json

        text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode() + b"\n"


class Netstring(Framer, Value):
    """A payload as `5:hello,`; leading zeros are refused.

    Source: D. J. Bernstein, Netstrings (1997).
    """

    __slots__ = ()

    def decoder(self) -> Decoder:
        return NetstringDecoder()

    def encode(self, message: Any) -> bytes:
        data = _payload(message)
        return b"%d:%b," % (len(data), data)


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
        return PrefixedDecoder(Struct(self.format), self.includes_prefix)

    def encode(self, message: Any) -> bytes:
        data = _payload(message)
        struct = Struct(self.format)
        length = len(data) + (struct.size if self.includes_prefix else 0)
        try:
            return struct.pack(length) + data
        except struct_error as exc:
            raise ValueError(f"a message of {len(data)} bytes is too long for {self!r}") from exc


class Varint(Framer, Value):
    """A payload after its length as an unsigned LEB128 of at most 64 bits, as Protocol Buffers write it.

    Source: protobuf.dev, Encoding, "Base 128 Varints".
    """

    __slots__ = ()

    def decoder(self) -> Decoder:
        return VarintDecoder()

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
