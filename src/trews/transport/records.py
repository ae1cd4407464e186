"""What has come of a TLS connection, sealed: opened bit by bit, so much in a turn, and with an eye on what is in it.

OpenSSL works off all that it is given in one call, until there is data: of 256 KiB of key updates that is half a
second. So it is given slices, and a peer that sends records without data, over and over, is found out.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from trews.errors import TLSError

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD: Final = 16 * 1024  # bytes in one record at most (RFC 8446, 5.1)
HEADER: Final = 5  # bytes before each record: kind, version, and in the last two how many follow (5.1)
RECORDS_A_TURN: Final = 256  # then the others get theirs
OVERHEAD: Final = 96  # bytes around the data of a record, at most (TLS 1.2 with CBC)
BARREN_MAX: Final = 4 * RECORD  # bytes without data. A record, tickets, a renegotiation with its certificates are less.


def engine_of(session: ssl.SSLObject) -> Any:
    """What does the work of a session: the same `read` and `write` without the layer of Python around them.

    It is private to `ssl`, and there in all versions so far; without it the session does as well. It saves 0.2 us of a
    request and its answer: 2 %.
    """
    return getattr(session, "_sslobj", session)


class Records:
    """The receiving half of a session. (Plain attributes and no base class, because mypyc compiles it.)

    Args:
        engine: what reads from `incoming`: see `engine_of`.
        incoming: the memory that it reads from.
        broken: makes the error that stands for one of OpenSSL's.

    Attributes:
        rest: what comes after all that was taken: an error, or `b""` for the peer's goodbye; None: more may come.
        has_more: `take` may give something without anything being fed.
    """

    def __init__(self, engine: Any, incoming: ssl.MemoryBIO, broken: Callable[[ssl.SSLError], TLSError]) -> None:
        self._read: Callable[[int], bytes] = engine.read
        self._incoming = incoming
        self._write: Callable[[bytes | memoryview], int] = incoming.write
        self._broken = broken
        self._sealed: bytes | memoryview = b""  # not given to OpenSSL yet
        self._barren: int = 0  # bytes given to it, less the records that came of them
        self._is_cut: bool = False
        self._is_even: bool = False  # OpenSSL has nothing left of what it was given, not even a part of a record
        self.rest: TLSError | bytes | None = None
        self.has_more: bool = False

    def feed(self, data: bytes) -> None:
        """This has come."""
        self._sealed = b"".join((self._sealed, data)) if self._sealed else data
        self.has_more = True

    def cut(self) -> None:
        """Nothing more will come. (OpenSSL is not told: to some contexts that would be a goodbye.)"""
        self._is_cut = True

    def load(self) -> int:
        """Give all to OpenSSL, for a call that waits for input; returns how much it has not worked off."""
        self._write(self._sealed)
        self._sealed = b""
        self._is_even = False
        return self._incoming.pending

    def one(self, data: bytes) -> bytes:
        """This has come, and nothing waits: the data in it, if it is one record; else `b""`, and `take` has the rest.

        That is the usual case. OpenSSL can have nothing left after it and is not asked; and no more is read into than
        was received: 16 KiB would be of malloc, which is given back all but some bytes of it.
        """
        size = len(data)
        if not self._is_even or size < HEADER or (data[3] << 8 | data[4]) != size - HEADER:
            self.feed(data)
            return b""
        self._is_even = False
        self._write(data)
        try:
            piece = self._read(size)
        except ssl.SSLWantReadError:  # a ticket, a key update, a record of nothing
            self._barren += size
            return b""
        except ssl.SSLError as exc:
            self._fail(exc)
            return b""
        if not piece:
            self.rest = b""
        elif len(piece) < size:
            self._is_even = True
        else:  # it was compressed: this may not be all of it
            self.has_more = True
        return piece

    def take(self) -> bytes:
        """The data of what has come, so much as a turn allows; `b""`: there is none yet, or `rest` says why."""
        if self.rest is not None:
            return b""
        read, incoming = self._read, self._incoming
        pieces: list[bytes] = []
        self.has_more = self._is_even = False
        try:
            self._give()
            while True:
                try:
                    piece = read(RECORD)
                except ssl.SSLWantReadError:
                    if not self._sealed:
                        break
                    self._give()
                    continue
                if not piece:
                    self.rest = b""
                    break
                pieces.append(piece)
                barren = self._barren - len(piece) - OVERHEAD
                self._barren = barren if barren > 0 else 0
                # That was all of the record, as so much was asked for: OpenSSL has nothing left but what it was given.
                # (To read on until it raises WantRead would be 1.5 us.)
                if not incoming.pending:
                    if not self._sealed:
                        self._is_even = True
                        break
                    self._give()
                if len(pieces) == RECORDS_A_TURN:
                    self.has_more = True
                    break
        except ssl.SSLError as exc:
            self._fail(exc)
        except TLSError as exc:
            self.rest = exc
        if self._is_cut and self.rest is None and not self.has_more:
            self.rest = TLSError("the peer, or somebody between, cut the stream short: it ended without TLS' goodbye")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _fail(self, exc: ssl.SSLError) -> None:
        # ZeroReturn is the end, after we have said ours.
        self.rest = b"" if isinstance(exc, ssl.SSLZeroReturnError) else self._broken(exc)

    def _give(self) -> None:
        piece = self._sealed
        if len(piece) > RECORD:
            view = memoryview(piece)
            piece, self._sealed = view[:RECORD], view[RECORD:]
        else:
            self._sealed = b""
        self._barren += len(piece)
        if self._barren > BARREN_MAX:
            raise TLSError("the peer sends much on the level of TLS, and no data: this looks like an attack")
        self._write(piece)
